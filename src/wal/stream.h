/*
 * stream.h - the replication connection: set-up, the receive loop, feedback.
 *
 * One thread (INGEST) runs stream_run() for the life of the process: it connects, takes the advisory
 * lock, makes or reuses publication and slot, starts replication at the position the sink names,
 * and hands every message to the sink, on the same thread. An error ends the connection and starts
 * again after a back-off (pg_classify()); a fatal one returns. The protocol and the loop
 * follow PostgreSQL's documentation, "Streaming Replication Protocol".
 *
 * Feedback: write = received, flush = apply = sink->durable(): what the store holds on disk and
 * nothing more. It is sent at least every min(wal_sender_timeout / 3, 10 s), at once when the server
 * asks, and when `durable` moved; also while the sink is applying back-pressure (see `ready`).
 */
#ifndef BUSBAR_WAL_STREAM_H
#define BUSBAR_WAL_STREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/err.h"
#include "wal/change.h"

/* Transactions that can write at the same time: max_connections is rarely a tenth of it. */
#define STREAM_RUNNING_MAX 8192

/* Whether the publication was gone: what was written then isn't in the stream, so the slot was made anew. */
enum stream_publication {
	PUBLICATION_STAYED,
	PUBLICATION_WAS_GONE,
	PUBLICATION_WENT, /* while the stream ran */
};

/* What the server says of itself, once per connection, before the stream starts. */
struct stream_server {
	char system_id[32];
	uint32_t timeline;
	int version_num;          /* 150018 */
	uint32_t database_oid;
	/* When the server's WAL statistics were last reset: crash recovery does that (of the postmaster or
	 * of a single backend), a clean restart doesn't. Another value means commits may have been lost. */
	int64_t incarnation_us;
	/* With synchronous standbys (else none are listed): the transactions that count as running at set-up.
	 * One of them may be committed already, waiting for a standby's answer. */
	uint32_t running[STREAM_RUNNING_MAX];
	int nrunning;
	lsn_t wal_end;            /* IDENTIFY_SYSTEM's xlogpos */
	bool slot_created;        /* the slot is new: whatever came before is lost to us */
	bool publication_created;
	enum stream_publication publication; /* why slot_created, or not for that */
	lsn_t confirmed_flush;    /* of a reused slot; the consistent point of a new one */
	/* Where each timeline before the server's own ended, ascending (TIMELINE_HISTORY). */
	struct { uint32_t timeline; lsn_t end; } history[64];
	int nhistory;
	bool publishes_generated; /* PostgreSQL 18: publish_generated_columns = stored */
};

enum stream_phase {
	STREAM_CONNECTING,
	STREAM_WAITING_LOCK,  /* another instance holds the advisory lock */
	STREAM_SETTING_UP,    /* lock held; slot, publication, restore */
	STREAM_RUNNING,
	STREAM_BACKING_OFF,
	STREAM_FATAL,
	STREAM_RESTING,       /* stream_rest(): no connection, and none is tried */
};

/* What a set-up waits for, beside the phase. */
enum stream_wait {
	STREAM_WAIT_NONE,         /* or for a former session of this stream's that holds the lock (its network broke, say) */
	STREAM_WAIT_FOREIGN_LOCK, /* the lock: somebody else's session holds it, and may be moving the slot */
	STREAM_WAIT_SLOT,         /* the slot is being made: Postgres waits for the transactions that are open */
};

struct stream_sink {
	void *ctx;
	/*
	 * The server is known and the lock is held. Decides by docs/invariants.md 2.3 and 2.4 whether shapes
	 * survive, and says where to start (0: the slot's own position). -1: try again later, `e` says why.
	 */
	int (*start)(void *ctx, const struct stream_server *server, lsn_t *start_at, struct err *e);
	/* One message. -1 ends the connection: the stream is started again from what is durable. */
	int (*change)(void *ctx, const struct wal_change *change, struct err *e);
	/*
	 * A keepalive's walEnd, or the header walEnd while idle: only outside a transaction. Nothing below
	 * it is still to come for us. Position of the *next* record: see docs/invariants.md 2.5. -1: as for change().
	 */
	int (*keepalive)(void *ctx, lsn_t wal_end, struct err *e);
	/* False: the sink takes no more messages now (its named limits); the loop keeps up feedback, reads
	 * nothing, and asks again when woken or after 100 ms. Called before each message. */
	bool (*ready)(void *ctx);
	/* Called each time round the loop, at least every 100 ms and after each stream_wake(); also
	 * between the messages of a long transaction (at least every 1,000): runs queued commands. */
	void (*idle)(void *ctx);
	/* The flush position to acknowledge; 0: nothing yet. Never moves back. */
	lsn_t (*durable)(void *ctx);
	/* The connection is gone (also a running transaction's rest): forget what isn't committed. */
	void (*lost)(void *ctx);
	/* Where we are; `error` is NULL or one line (no secrets). */
	void (*phase)(void *ctx, enum stream_phase phase, const char *error);
	/* Told at each change, and again while it stays. NULL: nobody asks. */
	void (*waits)(void *ctx, enum stream_wait wait);
};

struct stream;

struct stream *stream_new(const struct config *config, const struct stream_sink *sink);
void stream_free(struct stream *s);

/* Runs until stream_stop() (returns 0) or a fatal error (-1, `e` is the line to exit with). */
int stream_run(struct stream *s, struct err *e) MUST_USE;

/* Any thread: makes the loop call `idle` soon (an eventfd). */
void stream_wake(struct stream *s);
/* Any thread: somebody waits for the connection: a back-off under way is shortened, but no attempt follows another by
 * less than a second. */
void stream_hurry(struct stream *s);
/* From the sink's callbacks: a keepalive is wanted soon, to learn how far the server has come. */
void stream_ask(struct stream *s);
/*
 * Any thread: the slot is to be given up, for the WAL that it keeps. The connection ends, and the next one, once it has the lock,
 * drops the slot and makes another; unless it has moved beyond `confirmed` by then and keeps less than `bytes` (0: has moved at
 * all). Each step may be the process's last: a slot that is gone, or new, is known for that at the next start (docs/invariants.md 2.4).
 */
void stream_give_up_slot(struct stream *s, lsn_t confirmed, int64_t bytes);
/*
 * From the sink's callbacks: there is nothing to do for a while. The connection is closed, outside a transaction and after a last
 * feedback, and with it the lock let go; the next one is opened after stream_rouse(), which any thread may call.
 */
void stream_rest(struct stream *s);
void stream_rouse(struct stream *s);
/* Any thread: makes stream_run() return within 200 ms, after a last feedback. */
void stream_stop(struct stream *s);

#endif
