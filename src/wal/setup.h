/*
 * setup.h - what is said on a new replication connection before the stream starts: private to src/wal.
 *
 * In this order: setup_identify(), setup_lock(), setup_publication(), setup_slot(),
 * setup_history(), setup_start(). All run on the stream's thread through loop.h; -1 means that the
 * connection is to be given up, pg_classify() says what then.
 */
#ifndef BUSBAR_WAL_SETUP_H
#define BUSBAR_WAL_SETUP_H

#include "base/config.h"
#include "wal/loop.h"
#include "wal/stream.h"

#define SETUP_STATEMENT_TIMEOUT_MS 30000 /* of statements that wait for nobody */
#define SETUP_TICK_MS 10000              /* how often a wait is talked about */
#define SETUP_LOCK_POLL_MS 150           /* between two questions for the lock */
#define SETUP_HELPER_TIMEOUT_MS 5000     /* of a side connection that tries to shorten the wait */
#define SETUP_LOCK_LOOK_MS 1000          /* between two looks at who holds it */
#define SETUP_LOCK_STUCK_S 10            /* a lock holder younger than this is taken to be setting up */

#define SETUP_SESSIONS_MAX 16            /* of our own that are remembered: the older ones have ended long since */

/* A session as the server knows it: numbers of processes are used again, with their start they aren't. */
struct setup_session {
	int pid;
	int64_t started_us; /* since 1970 */
};

/* stream_give_up_slot() */
struct setup_give_up {
	bool wanted;
	lsn_t confirmed;
	int64_t bytes;
};

struct setup {
	struct loop *loop;
	const struct config *config;
	PGconn *conn;
	struct stream_server *server; /* filled step by step */
	int64_t wal_sender_timeout_ms; /* 0: none */
	bool slot_lost;                /* drop the slot even if it looks well */
	enum stream_publication publication; /* until a slot is made for that */
	struct setup_give_up give_up;  /* until it is done, or needn't be */
	bool version_said;             /* that the server is newer than what was tested: once per process */
	bool pooled_seen;              /* setup_pooled() needn't look any more */
	bool hinted;                   /* the hint about pending transactions was logged: once per process */
	/* How a session of this stream is told from others when it is found holding the lock. */
	char name[40];                 /* its application_name, with a number nobody else has */
	struct setup_session sessions[SETUP_SESSIONS_MAX], holder;
	unsigned nsessions;            /* so many so far; [n % SETUP_SESSIONS_MAX] */
	void (*waits)(void *ctx, enum stream_wait wait);
	void *waits_ctx;
};

/* Once per process, before the others. */
void setup_init(struct setup *u);
/* Session settings; who the server is; refusals (too old, SQL_ASCII, standby). */
int setup_identify(struct setup *u, struct err *e) MUST_USE;
/* Whether snapshots can connect, where they have a URL of their own: wrong credentials end the start, as those of the
 * stream do. Asked once per process; an outage of theirs is nothing to wait for here. */
int setup_pooled(struct setup *u, struct err *e) MUST_USE;
/* The advisory lock of the slot's name; waits for ever, but between statements. */
int setup_lock(struct setup *u, struct err *e) MUST_USE;
/* The publication exists with all operations; a slot that is older than it has been dropped. */
int setup_publication(struct setup *u, struct err *e) MUST_USE;
/* The slot exists and can be streamed from; may wait for running transactions. */
int setup_slot(struct setup *u, struct err *e) MUST_USE;
int setup_history(struct setup *u, struct err *e) MUST_USE;
/* START_REPLICATION; the connection is in COPY BOTH afterwards. */
int setup_start(struct setup *u, lsn_t start_at, struct err *e) MUST_USE;

/* What another session sees of the walsender that serves this connection. */
struct setup_look {
	bool there;      /* it exists */
	bool waits;      /* ... and waits for its client, us: then it would have answered */
	char state[300]; /* one that works changes this sooner or later: what it waits for, how far it has come */
};
/* Through a connection of its own. */
int setup_look(struct setup *u, struct setup_look *out, struct err *e) MUST_USE;

/* The lines "timeline <tab> LSN <tab> reason" of a timeline history file. */
void setup_parse_history(const char *p, size_t len, struct stream_server *out);

#endif
