/*
 * ingest.h - INGEST's own state, shared by the ingest_*.c files and nobody else. All of it belongs to the
 * INGEST thread.
 */
#ifndef BUSBAR_SHAPES_INGEST_H
#define BUSBAR_SHAPES_INGEST_H

#include "shapes/internal.h"

#define PASSED_PAGE_BITS 32768u /* xids a page of the passed set covers */

struct passed_page;

struct recent {
	uint32_t xid;
	uint64_t txn;
};

struct ingest {
	struct map relations;  /* oid -> relation */
	struct map routes;     /* oid -> route */
	struct map leaves;     /* oid -> leaf */
	struct map formats;    /* key -> format */
	struct map passed;     /* page number -> passed_page: xids the stream has passed */
	struct recent *recent; /* those passed while some shape joins */
	size_t nrecent, recent_cap, njoining;
	size_t nroots;         /* routed shapes whose table has partitions or children */
	struct buf scratch;

	/* the running transaction */
	bool in_txn, skip, ending;
	uint32_t xid;
	lsn_t tx, end_lsn;
	uint64_t op, txn_number, change_number;
	struct txn_shape **touched;
	size_t ntouched, touched_cap, txn_bytes;
	int64_t wire_bytes;
	bool staged, oversize;

	lsn_t processed;       /* commits below are published (or were before we started) */
	lsn_t keepalive;       /* a position from a keepalive that waits to be made durable */
	int64_t keepalive_ms;
	uint64_t start_xmax;   /* of the server when we began; 0: no synchronous standbys, it doesn't matter */
	lsn_t snapshots_lsn;   /* the newest snapshot's insert position */
	lsn_t publishing_tx;   /* staged: waiting for the writer to publish it */
	bool publishing;
	bool streaming;
	bool unresolved;       /* a look-up failed: what came since can't be routed */
	uint32_t resolving;    /* oid whose ancestors a PG thread looks up; 0: none */
	uint32_t relation_version;

	lsn_t mark_limit;      /* nothing above this is delivered */
	lsn_t mark_wanted;     /* of the request under way */
	uint64_t mark_seq;
	int64_t delivered_ms;
	bool mark_idle;        /* drawn back */
};

/* ingest_passed.c: the set of passed transactions */
void passed_add(struct ingest *in, uint32_t xid);
void passed_prune(struct ingest *in, uint64_t xmin);
bool passed_doubtful(struct ingest *in, const struct pg_snapshot *snap);
bool passed_not_held(struct ingest *in, const struct pg_snapshot *snap, uint64_t joined);

/* ingest_route.c: routes, formats, partitions, relations */
struct route *route_get(struct ingest *in, uint32_t oid, bool make);
void format_forget_lines(struct format *f);
struct relation *relation_of(struct ingest *in, uint32_t oid);
void relation_free(struct relation *r);
void relation_put(struct shapes *s, const struct wal_relation *w);
struct leaf *leaf_get(struct ingest *in, uint32_t oid);
void leaf_add(struct ingest *in, uint32_t oid, uint32_t root);
void leaf_add_all(struct ingest *in, const struct pg_table *t);
void leaf_set_all(struct ingest *in, const struct pg_table *t);
bool leaf_is_known(const struct pg_table *t, uint32_t oid);
void route_add_shape(struct shapes *s, struct shape *shape);
void route_remove_shape(struct shapes *s, struct shape *shape);
void ingest_drop(struct shapes *s, struct shape *shape);
void ingest_rotate(struct shapes *s, struct shape *shape, const char *why);

/* ingest_txn.c: the running transaction, and shapes whose snapshot isn't known yet */
void txn_clear(struct ingest *in);
struct txn_shape *txn_touch(struct ingest *in, struct shape *shape);
void txn_rotate(struct ingest *in, struct shape *shape, const char *why);
void txn_append(struct ingest *in, struct txn_shape *t, struct line *line, uint64_t op);
void txn_account(struct shape *shape, struct entry *e);
bool txn_filtered(struct ingest *in, const struct shape *shape);
void txn_stage(struct shapes *s, bool all);
void txn_unstage(struct shapes *s);
void join_set(struct ingest *in, struct shape *shape, bool joining);
void join_clear(struct shape *shape);
bool txn_try_finish(struct shapes *s);

/* ingest_mark.c: the mark */
void mark_request(struct shapes *s, lsn_t to);
void mark_poll(struct shapes *s);
bool mark_covers(struct shapes *s, lsn_t lsn);
void mark_idle(struct shapes *s);
void mark_set_seen(struct shapes *s, lsn_t lsn);

/* ingest_cmd.c: commands */
void cmd_run_all(struct shapes *s);

/* ingest_start.c: the sink's `start` (wal/stream.h) */
int ingest_on_start(void *ctx, const struct stream_server *server, lsn_t *start_at, struct err *e);

#endif
