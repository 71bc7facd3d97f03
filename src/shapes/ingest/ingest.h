/*
 * ingest.h - INGEST's own state, shared by the files of this folder and nobody else. All of it belongs to the
 * INGEST thread.
 *
 * The files call downwards only: ingest.c (the sink) > start.c > cmd.c > commit.c > keys.c > rows.c, stage.c > select.c >
 * route.c > count.c, join.c > inner.c > routes.c, selection.c > txn.c, mark.c, passed.c; beside them look.c and recount.c,
 * above route.c, and idle.c.
 */
#ifndef BUSBAR_SHAPES_INGEST_H
#define BUSBAR_SHAPES_INGEST_H

#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/ingest/route.h"
#include "shapes/logs/commits.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/render.h"

#define PASSED_PAGE_BITS 32768u /* xids a page of the passed set covers */

struct passed_page;

/* Columns that a condition looks at, as indexes into its table's; shared by those that look at the same. */
struct column_set {
	struct column_set *next;
	uint32_t refs;
	bool fits; /* the relation at hand still has them, with their types */
	uint16_t n;
	uint16_t columns[];
};

/*
 * The conditions of shapes on one description of a table. Bound to a relation as a format is: column i of
 * the table is column map[i] of the relation's tuples, -1: gone.
 */
struct selection {
	struct selection *next;
	struct pg_table *table; /* a reference */
	struct filter *filter;
	uint32_t refs;
	struct column_set *sets;
	const struct relation *bound;
	uint32_t bound_version;
	int *map;
	bool *used;             /* by any condition, per column of the table */
	bool misfit;            /* some set doesn't fit */
	uint64_t told_txn, unsure_txn; /* whose changes have rotated shapes already: for that; for a row without old values */
};

#define HIT_OLD 1u /* the condition holds for the row before the change */
#define HIT_NEW 2u /* ... after it */

/* ingest/passed.c */
struct recent {
	uint32_t xid;
	uint64_t txn;
};

/* Some who began to look at transaction number `txn`: shapes that join, subsets. */
struct watcher {
	uint64_t txn;
	size_t n;
};

struct ingest {
	bool owned;            /* by the thread `owner`, while that runs the stream */
	pthread_t owner;
	struct map relations;  /* oid -> relation */
	struct map routes;     /* oid -> route */
	struct map leaves;     /* oid -> leaf */
	struct map formats;    /* key -> format */
	struct shape **hits;   /* those with a condition that the change at hand touches */
	size_t nhits, hits_cap;
	struct shape **costly; /* those whose condition takes too much work for a row of the change at hand; references */
	size_t ncostly, costly_cap;
	struct inner **watch_hits; /* subqueries that select the row at hand */
	size_t nwatch_hits, watch_hits_cap;
	uint64_t failures;     /* evaluations that failed, ever */
	int64_t failure_logged_ms;
	struct map passed;     /* page number -> passed_page: xids the stream has passed */
	struct recent *recent; /* those passed while some shape joins, in their order */
	size_t nrecent, recent_cap;
	struct watcher *watchers;
	size_t nwatchers, watchers_cap, njoining;
	size_t nroots;         /* routed shapes whose table has partitions or children */
	struct buf scratch;
	struct format *large;  /* those with lines above RENDERED_KEPT_BYTES of the change at hand */

	/* the running transaction */
	bool in_txn, skip, ending;
	uint32_t xid;
	lsn_t tx, end_lsn;
	int64_t commit_us;
	int64_t heartbeat_due_ms;
	int64_t arrived_us; /* when its commit came, while that is handled; 0: before now */
	uint64_t op, txn_number, change_number;
	struct txn_shape **touched;
	size_t ntouched, touched_cap;
	size_t txn_bytes;      /* of lines in memory, since the last staging */
	size_t txn_refs_bytes; /* of entries and txn_shapes, since then */
	struct txn_shape *fresh, **fresh_tail; /* touched ones with entries, in the order of their first */
	struct txn_shape *spare; /* of transactions before, by next_fresh */
	size_t nspare;
	int64_t wire_bytes;
	bool staged, oversize;
	size_t ncounts;        /* shapes with counts */
	struct key_undo *undo; /* what staging has counted; ingest/count.c */
	size_t nundo, undo_cap;
	struct held *held;     /* by table; ingest/keys.c */
	struct arena held_rows;
	uint64_t held_number;  /* the change that `held_change` is of, 0: none */
	const struct held_change *held_change;
	struct inner *inner_touched; /* subqueries of which it changes what they select; ingest/inner.c */
	size_t deltas_bytes;   /* of those changes */
	struct map renumbered; /* lines made for numbers, while entries get them */
	struct relation *old_relations; /* that changes are held of */

	lsn_t processed;       /* commits below are published (or were before we started) */
	struct commits commits; /* the last ones below it */
	char *other_history;   /* why the server isn't the one we knew: all rotate at the next start; NULL: it is */
	enum reason other_reason;
	lsn_t keepalive;       /* a position from a keepalive that waits to be made durable */
	int64_t keepalive_ms;
	uint32_t *doubts;      /* transactions that an earlier process of ours may have passed, though they run */
	size_t ndoubts;
	bool started;          /* the stream has been set up once in this process */
	lsn_t snapshots_lsn;   /* the newest snapshot's insert position */
	lsn_t publishing_tx;   /* staged: waiting for the writer to publish it */
	bool publishing;
	bool streaming;
	bool unresolved;       /* a look-up failed: what came since can't be routed */
	uint64_t starts;       /* of the stream */
	bool grounding;        /* a PG thread looks at the ground of all tables: nothing is read before */
	int64_t grounding_until_ms;
	bool looking;          /* a PG thread looks at the tables look_oids (ingest/look.c) */
	uint32_t look_relation; /* its message asked for the look */
	uint64_t looks;
	int64_t look_until_ms;
	uint32_t *look_oids;
	size_t nlook;
	uint32_t resolving;    /* oid whose ancestors a PG thread looks up; 0: none */
	int64_t resolve_until_ms;
	uint32_t relation_version;

	lsn_t mark_limit;      /* nothing above this is delivered */
	lsn_t mark_wanted;     /* of the request under way */
	uint64_t mark_seq;
	int64_t delivered_ms;
	bool mark_idle;        /* drawn back */
};

/* Of a running transaction's entries and txn_shapes in memory, beside the lines, which they share: half a million of them. */
#define TXN_REFS_BYTES_MAX (64u << 20)

/* The calling thread may touch it: INGEST's; before and after that one runs, whoever starts and stops it. */
static inline bool ingest_is_mine(const struct ingest *in) { return !in->owned || pthread_equal(in->owner, pthread_self()); }

/* ingest/passed.c: the set of passed transactions */
/* One more who is about to take a snapshot: what is passed from now on, by in->txn_number, is remembered with its number. */
void passed_watch(struct ingest *in);
/* One less, who began at transaction number `joined`. */
void passed_unwatch(struct ingest *in, uint64_t joined);
void passed_free(struct ingest *in); /* but the set */
/* The stream has passed this transaction: its commit, or the place where somebody begins to look. */
void passed_add(struct ingest *in, uint32_t xid);
/* The same of a replay: nobody who has begun to look since then got anything of it. */
void passed_add_again(struct ingest *in, uint32_t xid);
/* Forgets pages that every later snapshot shows; not while a shape joins. */
void passed_prune(struct ingest *in, uint64_t xmin);
/* True if the snapshot calls running what an earlier process of ours may have passed. */
bool passed_doubtful(struct ingest *in, const struct pg_snapshot *snap);
/* True if one passed before transaction number `joined` isn't shown by the snapshot: take it again. */
bool passed_not_held(struct ingest *in, const struct pg_snapshot *snap, uint64_t joined);

/* ingest/routes.c */
/* The shapes of a table; NULL if it has none and `make` is false. */
struct route *route_get(struct ingest *in, uint32_t oid, bool make);
/* Without shapes nothing is held for it; without anybody who looks at it it goes. */
void route_tidy(struct ingest *in, struct route *r);
/* Its place among those that watch a route; out of there. */
size_t route_watch(struct route *r, struct inner *i);
void route_unwatch(struct ingest *in, struct inner *i);

/* ingest/route.c: routes, formats, partitions, relations */
/* Lets go of the lines of the change before. */
void rendered_forget(struct rendered *r);
/* As the stream described it last, or NULL. */
struct relation *relation_of(struct ingest *in, uint32_t oid);
void relation_free(struct relation *r);
/* Nobody stays bound to it, and it is freed. */
void relation_drop(struct ingest *in, struct relation *r);
/* A Relation message: replaces what was known; formats bound to it bind anew. */
void relation_put(struct shapes *s, const struct wal_relation *w);
/* Whose partition a relation is, or NULL. */
struct leaf *leaf_get(struct ingest *in, uint32_t oid);
void leaf_add(struct ingest *in, uint32_t oid, uint32_t root);
/* From now on it is nobody's. */
void leaf_clear(struct ingest *in, uint32_t oid);
/* Adds the leaves of `t`. */
void leaf_add_all(struct ingest *in, const struct pg_table *t);
/* From the next change on the shape gets its table's changes; idempotent, as is the removal. -1: its
 * condition doesn't fit the table; nothing was added. */
int route_add_shape(struct shapes *s, struct shape *shape, struct err *e) MUST_USE;
void route_remove_shape(struct shapes *s, struct shape *shape);
/* Out of the routes, and its ITEM_DROP into the writer's queue (once). */
void ingest_drop(struct shapes *s, struct shape *shape);
/* Out of the registry too. What is queued after it can't become durable before it. */
void ingest_rotate(struct shapes *s, struct shape *shape, enum reason reason, const char *why);

/* ingest/rows.c */
/* Gives a change to the shapes of a route, at in->op. */
void row_for_route(struct shapes *s, const struct route *route, const struct relation *rel, const struct wal_change *c);

/* ingest/keys.c: tables whose keys are unique at the end of a transaction only */
/* Keeps a change until the commit; copies it. */
void keys_hold(struct shapes *s, struct route *route, const struct relation *rel, const struct wal_change *c);
/* Lets go of what is held when it is too much. */
void keys_bound(struct shapes *s);
/* At the commit, before anything of the transaction is published. */
void keys_commit(struct shapes *s);
/* Lets go of all that is held. */
void keys_clear(struct ingest *in);

/* ingest/count.c: tables where rows may be equal */
/* Gives entries that the transaction has for the shape their numbers, once; false: it rotates. `undo`: what was counted
 * can be taken back by counts_undo(). */
bool counts_number(struct ingest *in, struct txn_shape *t, bool undo);
/* Lets go of lines that were made for numbers, which shapes share until then. */
void counts_forget_lines(struct ingest *in);
/* At the commit: those still in memory. */
void counts_commit(struct ingest *in);
/* The transaction is lost; it will come again. Those with `no_undo` are to rotate. */
void counts_undo(struct ingest *in);
void counts_txn_clear(struct ingest *in);
/* Numbers entries that aren't of the running transaction; -1: what is known of the keys isn't right. */
int counts_number_entries(struct ingest *in, struct shape *shape, struct entry *entries, size_t n, struct err *e) MUST_USE;
/* Counts one line; its key, and the number of that. 0: there is no such row. */
uint32_t counts_line(struct key_counts *c, const char *text, const struct key_line *k, struct key_hash *key);
void counts_drop(struct shape *shape);

/* ingest/recount.c */
/* Before the stream begins: what is known of keys is read from the logs. */
void counts_restore(struct shapes *s);

/* ingest/selection.c: conditions */
struct condition {
	struct pg_table *table;
	const struct where *where, *uses; /* it; and one that looks at no fewer columns */
	void *member;                     /* of the filter */
};
/* Puts a condition into the filter of its table, in a list of them: -1 if it can't be evaluated. */
int selection_add(struct selection **list, const struct condition *c, struct selected *out, struct err *e) MUST_USE;
void selection_remove(struct selection **list, struct selected *s);
/* To the relation as the stream described it last. */
void selection_bind(struct selection *sel, const struct relation *rel);
/* True if no column that any condition looks at differs: then one evaluation is enough. */
bool selection_same(const struct selection *sel, const struct wal_tuple *was, const struct wal_tuple *now);
/* A row for filter_row(): selection_fetch() has this as its context. */
struct selection_row {
	const struct selection *sel;
	const struct wal_tuple *tuple, *older; /* `older` has what TOAST left out of `tuple` */
};
bool selection_fetch(void *ctx, uint16_t column, struct where_text *out);
uint64_t selection_row_work(const struct selection_row *r); /* what it may cost */
/* The shape's condition took more for a row: it rotates when the change has been to all (select_dismiss()). */
void selection_costly(struct ingest *in, struct shape *shape);
/* Puts the shape's condition into the filter of its table: -1 if it doesn't fit the table any more. */
int select_add(struct route *route, struct shape *shape, struct err *e) MUST_USE;
void select_remove(struct route *route, struct shape *shape);

/* Once a transaction and not once a change: it looks at all shapes of the table. Those that come meanwhile
 * don't see the transaction. */
static inline bool first_in_txn(const struct ingest *in, uint64_t *told)
{
	bool first = *told != in->txn_number;
	*told = in->txn_number;
	return first;
}

/* ingest/select.c: whom a change concerns */
/* Fills in->hits with the shapes of the selection whose condition holds before or after the change. */
void select_hits(struct shapes *s, struct selection *sel, const struct relation *rel, const struct wal_change *c);
/* After the change: rotates those that were too costly. */
void select_dismiss(struct shapes *s);

/* ingest/txn.c: the running transaction */
/* Forgets what it has for its shapes; see txn_clear(). */
void txn_forget(struct ingest *in);
/* At the end: what is kept from transaction to transaction. */
void txn_free(struct ingest *in);
/* What the running transaction has for a shape; made when first asked for. */
struct txn_shape *txn_touch(struct ingest *in, struct shape *shape);
/* At its commit the transaction rotates the shape; `why` is copied. */
void txn_rotate(struct ingest *in, struct shape *shape, enum reason reason, const char *why);
/* Adds an entry at (tx, op), with a reference of its own to the line. */
void txn_append(struct ingest *in, struct txn_shape *t, struct line *line, uint64_t op);
void txn_forget_entries(struct txn_shape *t);
/* True if the shape must not see the running transaction: its snapshot shows it. */
bool txn_filtered(struct ingest *in, const struct shape *shape);
/* Whether a touched shape is still to get the transaction's rows: it may have been dropped meanwhile,
 * and its snapshot may have become known after its first rows were collected. */
bool txn_wanted(struct ingest *in, const struct txn_shape *t);

/* No shape has entries in memory. */
static inline void txn_no_fresh(struct ingest *in)
{
	in->fresh = NULL;
	in->fresh_tail = &in->fresh;
	in->txn_bytes = in->txn_refs_bytes = 0;
}

/* Counts the entry into the open chunk and flags it if it brings that to the threshold, where chunks end. */
static inline void txn_account(struct shape *shape, struct entry *e)
{
	shape->in.open_bytes += entry_bytes(e);
	if (shape->in.open_bytes < shape->chunk_bytes)
		return;
	e->flags |= ENTRY_CHUNK_END;
	shape->in.open_bytes = 0;
}

/* ingest/stage.c: a transaction too large for memory */
/* Rows so far go to the store, unseen; `ends`: at the commit, each shape's newest is its last. */
void txn_stage(struct shapes *s, bool ends);
/* At the commit, behind the last rows: which were the last of their shapes, and the word that makes all visible. */
void txn_stage_end(struct shapes *s);
/* The connection was lost before the commit: the store cuts what was staged. */
void txn_unstage(struct shapes *s);

/* Stages the transaction if it has become too large for memory. */
static inline void txn_bound(struct shapes *s)
{
	if (s->ingest->txn_bytes > TXN_BYTES_MAX || s->ingest->txn_refs_bytes > TXN_REFS_BYTES_MAX)
		txn_stage(s, false);
}

/* ingest/join.c: shapes whose snapshot isn't known yet */
/* The shape's snapshot is about to be taken (anew): what is passed from here on is kept for it. */
void join_begin(struct ingest *in, struct shape *shape);
/* It is known, or isn't wanted any more. */
void join_end(struct ingest *in, struct shape *shape);
/* Keeps what the running transaction has for the shape. */
void join_keep(struct ingest *in, const struct txn_shape *t);
/* Drops what was kept for it meanwhile. */
void join_clear(struct shape *shape);

/* ingest/commit.c: the end of a transaction */
/* Forgets the running transaction. */
void txn_clear(struct ingest *in);
/* Goes on with a commit as far as mark and writer allow; true when nothing is left to do. */
bool txn_try_finish(struct shapes *s);

/* ingest/mark.c: the mark */
/* Asks the writer for another mark; a lower one holds at once. */
void mark_request(struct shapes *s, lsn_t to);
/* Takes note of a request that has become durable. */
void mark_poll(struct shapes *s);
/* True if clients may see positions up to `lsn`; asks for room where it is short. */
bool mark_covers(struct shapes *s, lsn_t lsn);
/* Draws the mark back when nothing was delivered for MARK_IDLE_MS. */
void mark_idle(struct shapes *s);
/* Somebody waits for the stream to come to a position. */
bool mark_awaited(struct shapes *s);
/* Everything up to `lsn` is delivered; wakes who waits for it. The mark must cover it. */
void mark_set_seen(struct shapes *s, lsn_t lsn);

/* ingest/look.c: tables that may have changed */
/* A Relation message came and isn't known yet: the stream may have to wait for a look. */
void look_at_relation(struct shapes *s, const struct wal_relation *w);
/* CMD_LOOKED */
void look_done(struct shapes *s, const struct cmd *c);
/* The stream has waited too long for it: it is given up. The drops of what rotates are in the queue of commands then. */
bool look_overdue(const struct ingest *in);
void look_give_up(struct shapes *s);

/* ingest/cmd.c: runs every queued command (cmd_post(), cmd_call()) */
void cmd_run_all(struct shapes *s);

/* ingest/start.c: the sink's `start` (wal/stream.h) */
/* True while what changed of publication and tables when nobody looked is still looked for; not for ever. */
bool ground_awaited(struct shapes *s);
int ingest_on_start(void *ctx, const struct stream_server *server, lsn_t *start_at, struct err *e);

/* idle.c: falls asleep, or is awake again, when it is time. At least every 100 ms; also with a keepalive that requests wait for. */
void idle_poll(struct shapes *s);

/* heartbeat.c: has one sent when it is due; what has come back. */
void heartbeat_poll(struct shapes *s);
void heartbeat_came(const struct shapes *s, const struct wal_change *c);

#endif
