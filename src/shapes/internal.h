/*
 * internal.h - the engine's own structures; private to src/shapes (and its unit tests).
 *
 * Threads and who owns what:
 *   INGEST   (one; runs wal/stream) owns relations, routes, the running transaction, the `in` part of
 *            each shape. Publishes tails.
 *   WRITER   (one) owns the store's write side, the fold list, the `wr` part of each shape.
 *   PG       (a few) run look-ups, joins, snapshots; meet the others through queues only.
 *   any      reads the `tail` part of a shape under its lock, the registry under registry_lock.
 *
 * Locks, in the order in which they may be taken (none is held during a call into libpq, LMDB or MHD):
 *   registry_lock > a shape's lock > a leaf: job_lock, cmd_lock, headers_lock, lookup_lock, lsn_lock, status_lock,
 *   server_lock, removed_lock (logs are written under it), failing_lock, writer.lock. A wait list has one of these, or its
 *   shape's; waiters are called with it held, and may take locks of whoever waits, which know none of ours.
 */
#ifndef BUSBAR_SHAPES_INTERNAL_H
#define BUSBAR_SHAPES_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/map.h"
#include "pg/conn.h"
#include "pg/publication.h"
#include "pg/snapshot.h"
#include "shapes/filter.h"
#include "shapes/shapes.h"
#include "store/store.h"
#include "wal/stream.h"

/* ---- named limits ------------------------------------------------------------------------------- */

/* A process that has just started serves nothing before it knows who has the lock or that Postgres is away; beyond
 * this (a network that swallows packets), what it knows. */
#define UNPROVEN_MAX_MS 5000
/* How far delivery may run ahead of the disk; at the limit the stream waits. */
#define AHEAD_BYTES_MAX (32u << 20)
/* Lines of a running transaction kept in memory; beyond, they are staged in the store. */
#define TXN_BYTES_MAX (8u << 20)
/* The same for what each shape that it touches takes beside the lines, which they share: half a million of them. */
#define TXN_REFS_BYTES_MAX (64u << 20)
/* Staged lines queued for the writer; at the limit the stream waits. */
#define STAGED_AHEAD_BYTES_MAX (16u << 20)
/* One commit of the writer: bytes it is given, and a page for each place it writes them to (LMDB keeps the
 * pages of its largest transaction for as long as the environment is open). */
#define BATCH_BYTES_MAX (16u << 20)
/* What one item may be of that, where there is more than one shape in it. */
#define STAGE_BYTES_MAX (BATCH_BYTES_MAX / 2)
#define PAGE_BYTES 4096u
/* Keys counted for a shape of a table where rows may be equal, and for all such shapes: up to 40 bytes each. */
#define SHAPE_KEYS_MAX 8000000u
#define KEYS_MAX 24000000u
/* Changes kept for such a shape while its first rows are copied, which are counted meanwhile; beyond, it rotates. */
#define COUNTING_BYTES_MAX (64u << 20)
/* Changes kept for a shape whose snapshot has begun and isn't known yet (a round trip); beyond, the
 * snapshot is taken again. */
#define JOIN_BYTES_MAX (16u << 20)
/* The mark is reserved this far ahead of what was delivered (bytes of WAL), and again at half of it. */
#define MARK_STEP_BYTES ((lsn_t)256 << 20)
/* With nothing delivered for so long, the mark is drawn back to what was. */
#define MARK_IDLE_MS 10000
/* The durable LSN moves to a keepalive's position at most this often: an fsync each. */
#define KEEPALIVE_COMMIT_MS 1000
/* Journal and tails: folding starts above base + per active shape, never above max. */
#define JOURNAL_BYTES_BASE (16u << 20)
#define JOURNAL_BYTES_PER_SHAPE 4096u
#define JOURNAL_BYTES_MAX (512u << 20)
#define JOURNAL_REFS_MAX 8000000u
/* One fold touches at most so many shapes and bytes: the writer is away from new commits meanwhile. */
#define FOLD_SHAPES_MAX 256
#define FOLD_BYTES_MAX (8u << 20)
/* Entries deleted at a time for dropped shapes and trimmed journal. */
#define GC_ENTRIES_MAX 2000
/* A snapshot's rows go to the store in pieces of about this size. */
#define SNAPSHOT_PIECE_BYTES (128u << 10)
/* A snapshot's first bytes lie in the store as they are sent, which is the faster to read again; beyond, packed, which
 * is the faster to write and less to keep. */
#define SNAPSHOT_PLAIN_BYTES (1u << 20)
/* Snapshot rows queued for the writer; beyond, the copying threads wait. */
#define SNAPSHOT_QUEUE_BYTES_MAX (16u << 20)
/* A copy waits so long for the writer to take its rows, with the table's snapshot held in Postgres; then it is given up
 * and its transaction ended. Well above what a busy disk needs for a queue of 16 MB. */
#define WRITER_ROOM_MAX_MS 15000
/* Whoever waits until all that is queued is durable. */
#define WRITER_FLUSH_MAX_MS 15000
/* A store that can't be written is told again this often. */
#define STORE_FAILING_TELL_MS 60000
/* Retaking a snapshot that calls running what the stream has passed (a synchronous standby may be slow). */
#define SNAPSHOT_RETAKE_MAX_MS 20000
/* Shapes of one table that share one snapshot. */
#define SNAPSHOT_SHARED_MAX 128
/* They are copied one after another by one thread: of a table that isn't known to be quick, few, so that the other
 * threads take their part and no transaction stays open for many long copies. */
#define SNAPSHOT_SHARED_SLOW_MAX 8
#define QUICK_COPY_MS 20 /* for a shape, on average */
/* A snapshot that is to be taken again waits so long: the transaction in question must end on the server. */
#define RETAKE_WAIT_MS 20
/* Connections nobody has used for so long are closed. */
#define CONNECTION_IDLE_MS 60000
#define SHAPE_LOCKS 256
#define HANDLE_TEXT_MAX 40
/* A shape's record, a table's, a journal batch: sizes beyond are a bug or damage. */
#define RECORD_BYTES_MAX (16u << 20)
/* What the catalog says of a table is believed for so long; then a request for a new definition asks
 * again. A table dropped and made again under its name must not get the old one's shape. */
#define TABLE_FRESH_MS 200
/* Tables with shapes are watched by one small query this often: drops, renames, partitions. */
#define TABLE_WATCH_MS 1000
/* …but rest so many times as long as two looks took at least, up to this. */
#define WATCH_REST_TIMES 20
#define WATCH_REST_MAX_MS 30000
/* The start of the stream waits so long until somebody has looked at the ground of all tables; beyond, the stream
 * starts again. */
#define GROUND_WAIT_MS 30000
/* …and as soon as the stream gives a sign, at most this often. */
#define TABLE_WATCH_SOON_MS 100
/* The stream waits so long for a look at tables that may have changed; beyond, their shapes rotate. */
#define LOOK_WAIT_MS 10000
/* A table leaves the publication this long after its last shape. */
#define TABLE_LINGER_MS 600000

/* ---- waiting ------------------------------------------------------------------------------------ */

struct wait_list {
	pthread_mutex_t *lock; /* guards the list and what its waiters wait for */
	struct waiter *head;
};

void wait_list_init(struct wait_list *l, pthread_mutex_t *lock);
/* With the lock held. */
void wait_list_add(struct wait_list *l, struct waiter *w);
void wait_list_wake_all(struct wait_list *l);
/* Those with seen below `tail`, or all with `all`. */
void wait_list_wake_above(struct wait_list *l, struct log_offset tail);
void wait_list_wake_lsn(struct wait_list *l, lsn_t lsn);

/* ---- lines -------------------------------------------------------------------------------------- */

/* One rendered change, shared by all shapes that show it the same way. `split`: where `"last":true,` goes. */
struct line {
	_Atomic uint32_t refs;
	uint32_t len, split;
	char text[];
};

#define LINE_LAST "\"last\":true,"
#define LINE_LAST_LEN (sizeof LINE_LAST - 1)

struct line *line_new(const char *text, size_t len, size_t split);
struct line *line_ref(struct line *l);
void line_unref(struct line *l);

#define ENTRY_LAST 1u      /* the shape's last of its transaction */
#define ENTRY_CHUNK_END 2u /* closes a chunk */

struct entry {
	struct log_offset at;
	struct line *line; /* a reference */
	uint32_t flags;
};

static inline uint32_t entry_bytes(const struct entry *e)
{
	return e->line->len + (e->flags & ENTRY_LAST ? (uint32_t)LINE_LAST_LEN : 0u);
}

/* What a change is to a shape with a condition (reference where.md 5.2). */
enum change_view {
	VIEW_AS_IS,  /* insert, update, delete: inside before and after */
	VIEW_ENTERS, /* an update that brings the row in: an insert of the new row */
	VIEW_LEAVES, /* an update that takes it out: a delete of the old row */
	CHANGE_VIEWS,
};

/* A change as one view shows it; INGEST's, for the change at hand. */
struct rendered {
	uint64_t change_seq;
	struct line *lines[2]; /* [1]: the insert half of a changed key */
	int nlines;            /* -1: this change can't be shown: rotate */
};

/*
 * How a shape's changes are written: everything that two shapes must agree on to share a line.
 * Interned by INGEST.
 */
struct format {
	uint32_t refs;
	char *key;
	size_t key_len;
	struct shape_def def; /* the table, selected columns and replica mode are used */
	char *relation_json;  /* ["public","items"] */
	char *key_prefix;     /* "public"."items" as it stands in a key, not JSON-escaped */
	char *member_prefix;  /* the same of the child that it is bound to, NULL: of none */
	/* The binding: column i of def.table is column map[i] of the relation last seen; -1 none. */
	const struct relation *bound;
	uint32_t bound_version;
	bool bound_ok;        /* the relation still is what the definition says */
	char bound_why[160];
	bool key_identifies;  /* an update that comes without the old row has left the key as it was */
	int *map;
	struct rendered views[CHANGE_VIEWS];
};

/* A relation as the stream described it last. INGEST's. */
struct relation {
	uint32_t oid, version;
	char *schema, *name;
	char replica_identity;
	uint16_t ncolumns;
	char **names;
	uint32_t *types;
	bool *identity;  /* the column is part of the replica identity */
	bool resolved; /* its ancestors are known (or there are no parents to ask about) */
	struct relation *next_old; /* replaced, but changes that are held came with it */
};

/* Renders a change for a format as one view shows it; fills views[view] but for change_seq. `op` is its position. */
void line_render(struct format *f, enum change_view view, const struct wal_change *change, lsn_t lsn, uint64_t op,
                 uint32_t xid, struct buf *scratch);
/* Binds a format to a relation; bound_ok says whether shapes of it survive. */
void format_bind(struct format *f, const struct relation *r);

/* ---- row.c: the rows of a snapshot as lines ---- */

struct row_form; /* what is the same in each row, rendered once */
/* Borrows the definition until it is freed. `more_headers` goes behind the others: `,"name":…` or "". */
struct row_form *row_form_new(const struct shape_def *def, const char *more_headers);
void row_form_free(struct row_form *f);
struct key_counts;
/* Rows may be equal: counts them, and numbers their keys (keys.h). Borrowed until the form is freed. */
void row_form_count(struct row_form *f, struct key_counts *counts);
/* Of a table with children by inheritance: the rows that follow are of the table with this oid. 1: another than those
 * before, so that packed rows need another piece; 0: the same; -1: it isn't one of them. */
int row_form_turn(struct row_form *f, struct pg_copy_value oid);
/* Appends a row as a line, with its newline. Values are those of the selected columns. */
void row_put(struct row_form *f, const struct pg_copy_value *values, struct buf *out);
/*
 * The same in less space, for the store (FORMAT.md): row_pack_begin() puts what the rows share, row_pack() appends
 * a row and returns the length of its line, row_pack_end() puts their sum where row_lines_len() finds it, row_unpack()
 * appends the lines of such a piece or of one that holds lines as they are, each ended by `end`.
 */
void row_pack_begin(const struct row_form *f, struct buf *out);
size_t row_pack(struct row_form *f, const struct pg_copy_value *values, struct buf *out);
void row_pack_end(struct buf *piece, uint64_t line_bytes);
int64_t row_lines_len(const char *p, size_t len); /* of all lines of a piece, ends included; -1: it doesn't say */
int row_unpack(const char *p, size_t len, char end, struct buf *out, struct err *e) MUST_USE;
/* A part of a key: "/" and the value in quotes, its slashes doubled, as it stands inside a JSON string. */
void line_key_part(const char *p, size_t n, bool null, struct buf *out);
/* The columns that a key is made of: the primary key's, or all. */
uint16_t line_key_columns(const struct pg_table *t);
uint16_t line_key_column(const struct pg_table *t, uint16_t i);
/* "schema"."table" with quotes doubled and slashes doubled, the one form on both paths. */
void line_key_prefix(const char *schema, const char *name, struct buf *out);
void line_relation_json(const struct pg_table *t, struct buf *out);

/* The electric-schema value of some columns of a table, shared by the shapes that select them. */
struct header {
	uint32_t refs;  /* under headers_lock */
	struct pg_table *table;
	char *text;
	size_t key_len;
	char key[];     /* the table's address and the columns */
};

/* ---- a shape ------------------------------------------------------------------------------------ */

struct snapshot_filter {
	struct pg_snapshot snap;
	bool known;
};

struct txn_shape;

struct shape {
	_Atomic uint32_t refs;
	struct shapes *engine;
	uint64_t id;
	char handle[HANDLE_TEXT_MAX];
	struct shape_def def;
	struct header *header;
	uint64_t chunk_bytes; /* the threshold it was made with */
	_Atomic int64_t read_ms;
	_Atomic bool dropped; /* no request finds it any more; its snapshot is given up */
	struct shape *table_next, **table_at; /* of its table's; under registry_lock */
	_Atomic bool grounded; /* it stands on its table's ground (ground.c) */

	/* under shape_lock(): what readers see */
	struct {
		enum shape_state state;
		struct err *err;      /* SHAPE_FAILED: why, else NULL */
		uint32_t snap_chunk, snap_pieces; /* the open chunk, and how many of its pieces are committed */
		bool snap_complete;
		struct entry *entries; /* above `folded`, ascending */
		size_t first, n, cap;  /* entries[first .. first+n) */
		struct log_offset folded; /* everything up to here is in the store's blocks; {0, inf}: nothing */
		struct log_offset last;   /* the newest delivered; {0, inf}: none */
		struct log_offset last_chunk_end; /* {0, inf}: none */
		struct wait_list waiters;
	} tail;

	/* INGEST's */
	struct {
		bool routed;
		bool drop_put;        /* its ITEM_DROP is in the writer's queue */
		struct format *format;
		size_t route_at;      /* its place in its own table's route */
		size_t plain_at;      /* without a condition: its place among those */
		struct selection *selection; /* with one: where its condition is looked for */
		struct filter_member member;
		const struct column_set *uses; /* the columns that its condition looks at */
		uint64_t hit_change;  /* the change that `hits` is about */
		uint8_t hits;         /* HIT_OLD, HIT_NEW */
		struct snapshot_filter filter;
		bool joining;         /* registered, the snapshot isn't known yet */
		uint64_t joined_txn;  /* transactions up to this one were before it registered */
		struct entry *buffered; /* while joining; entries with xid */
		uint32_t *buffered_xid;
		size_t nbuffered, buffered_cap, buffered_bytes;
		bool overflowed;
		uint64_t open_bytes;  /* Σ text since the last chunk end */
		uint64_t txn_seq;     /* the transaction that touched it last */
		struct txn_shape *txn;
		struct key_counts *counts; /* where rows may be equal: how often each key is there; ingest_count.c */
		bool counting;        /* its first rows are being counted: what comes is buffered as while joining */
	} in;

	/* WRITER's */
	struct {
		struct shape *fold_prev, *fold_next;
		bool in_fold_list;
		bool dropped;         /* its ITEM_DROP is committed */
		uint64_t drop_attempt; /* the attempt to commit that its ITEM_DROP was seen in last; 0: none */
		uint64_t oldest_seq;  /* journal batch of its oldest entry that isn't folded */
		struct log_offset staged_chunk_end; /* the last chunk end that was staged */
	} wr;
};

pthread_mutex_t *shape_lock(const struct shape *s);

/* ---- the writer's queue --------------------------------------------------------------------------- */

enum item_kind {
	ITEM_ROWS,     /* a transaction's entries, and the LSN it ends at */
	ITEM_LSN,      /* nothing of ours up to `lsn` */
	ITEM_MARK,
	ITEM_SHAPE,    /* a shape's record: now it is durable, clients may see it */
	ITEM_DROP,
	ITEM_PIECE,    /* snapshot rows */
	ITEM_COMPLETE, /* the snapshot is complete: the record again, with its state */
	ITEM_TABLE,    /* record of a table; len 0: forget it */
	ITEM_STAGE,    /* entries of a running transaction, straight into blocks nobody reads yet */
	ITEM_LAST,     /* staged entries that turned out to be the last of their shapes */
	ITEM_PUBLISH,  /* the staged transaction is complete */
	ITEM_UNSTAGE,  /* it was lost with the connection */
	ITEM_META,     /* a named value */
};

struct row {
	struct shape *shape; /* alive until its ITEM_DROP has passed */
	struct entry entry;
};

/* ITEM_LAST, ITEM_PUBLISH: the newest entry of a staged shape. */
struct staged_end {
	struct shape *shape; /* as in struct row */
	struct log_offset at;
	uint32_t split;      /* of its line */
	bool chunk_end;      /* with `last` it closes a chunk */
};

struct item {
	struct item *next;
	enum item_kind kind;
	size_t bytes;       /* what it counts against its queue limit */
	size_t scattered;   /* besides those, a page for each place in the store that it changes */
	lsn_t lsn;          /* ITEM_ROWS, ITEM_LSN, ITEM_PUBLISH: position all is durable below; ITEM_MARK: the mark */
	lsn_t tx;           /* ITEM_ROWS, ITEM_STAGE, ITEM_PUBLISH, ITEM_UNSTAGE: the transaction */
	int64_t commit_us;  /* ITEM_ROWS, ITEM_PUBLISH: when it committed, and its number */
	uint32_t xid;
	uint64_t number;    /* ITEM_MARK: its sequence; ITEM_TABLE: oid; ITEM_UNSTAGE: 1 if another follows */
	struct shape *shape; /* a reference, for SHAPE, DROP, PIECE, COMPLETE */
	uint32_t chunk, piece;
	bool chunk_closed;
	char name[16];
	char *data;         /* a record, snapshot rows, a meta value; ITEM_UNSTAGE: ids of shapes */
	size_t len;
	struct row *rows;
	size_t nrows;
	struct staged_end *ends;
	size_t nends;
};

struct item *item_new(enum item_kind kind);
void writer_put(struct shapes *s, struct item *it);

struct writer {
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t cond, room;
	struct item *head, **tail;
	bool stop;
	size_t urgent;         /* queued items that somebody waits for: all but rows */
	size_t queued_bytes;
	unsigned flushing;     /* threads in writer_flush() */
	size_t snapshot_bytes; /* of queued pieces */
	uint64_t next_seq;     /* of the journal */
	uint64_t first_seq;    /* the oldest batch that may still be there */
	_Atomic size_t journal_bytes;
	size_t journal_refs;
	uint64_t trim_upto;    /* batches below are folded */
	bool trim_pending;
	int64_t rest_until_ms; /* no housekeeping before: it failed */
	uint64_t next_id;      /* as it stands in the store */
	uint64_t commits_bytes; /* of the list of commits */
	struct shape *fold_head, *fold_tail;
	size_t fold_shapes;
	bool gc_pending;
	size_t written_bytes;  /* since memory was last given back */
	uint64_t nput, ndone;  /* items, for writer_flush() */
	int64_t wait_max_ms;   /* a test's own limit instead of the named ones; 0 */
};

/* ---- the engine --------------------------------------------------------------------------------- */

/* A table that has, or lately had, shapes. Under registry_lock. */
struct table_state {
	uint32_t oid;
	struct pg_table *table; /* a reference; replaced when the catalog says otherwise */
	struct pg_join join;
	bool joined;
	char *ground;      /* what its shapes stand on (ground.c), NULL: nobody has looked yet */
	uint64_t ground_version; /* how often that has changed in this process */
	uint64_t ground_births;  /* how often shapes were born onto it */
	bool joining;      /* a PG thread is at it: one at a time */
	uint64_t watched;  /* a hash of what the watching query said last of its types; 0 nothing yet */
	uint64_t watched_ground; /* the ground's version then */
	struct shape *shapes; /* those in the registry, by table_next */
	uint32_t nshapes;
	int64_t idle_since_ms; /* of the last shape's end */
};

struct table_lookup {
	_Atomic uint32_t refs;
	struct shapes *engine;
	char *schema, *name;
	struct pg_table *stale; /* what the cache had: the answer if Postgres is away */
	char *key;              /* in `inflight`: several requests share one look-up */
	size_t key_len;
	/* under lookup_lock */
	bool done;
	int rc;
	struct pg_table *table;
	struct err err;
	struct wait_list waiters;
};

enum job_kind { JOB_LOOKUP, JOB_CREATE, JOB_RESOLVE, JOB_WAL_END, JOB_GROUND, JOB_LOOK };

struct job {
	struct job *next;
	enum job_kind kind;
	struct table_lookup *lookup; /* JOB_LOOKUP: a reference */
	struct shape *shapes[SNAPSHOT_SHARED_MAX]; /* JOB_CREATE: references, of one table */
	int nshapes;
	uint32_t oid, xid;           /* JOB_RESOLVE: the relation, the transaction that it came with; JOB_LOOK: that */
	uint64_t number;             /* JOB_GROUND: the start of the stream that waits for it; JOB_LOOK: its own */
	uint32_t *oids;              /* JOB_LOOK: tables with shapes; the job's */
	size_t noids;
};

/* Commands into INGEST. A command with `done` is waited for by a PG thread. */
enum cmd_kind {
	CMD_REGISTER, CMD_FILTER, CMD_UNREGISTER, CMD_DROP, CMD_RESOLVED, CMD_PRUNE, CMD_NOP,
	CMD_GROUND, /* what was looked for at the start of the stream is in the queue before it; result -1: it couldn't be */
	CMD_LOOKED, /* a JOB_LOOK is done: its rotations are in the queue before this; result -1: an outage */
	CMD_COUNTS, /* the first rows of a shape are counted: INGEST takes `counts` */
	CMD_SUBSET_BEGIN, CMD_SUBSET_END, /* around the snapshot of a subset query; always both */
};

struct cmd {
	struct cmd *next;
	enum cmd_kind kind;
	struct shape *shapes[SNAPSHOT_SHARED_MAX];
	int nshapes;
	struct pg_snapshot *snap;  /* CMD_FILTER, CMD_SUBSET_END (NULL: there is none): borrowed from the waiting thread */
	uint64_t joined;           /* CMD_SUBSET_BEGIN: transactions so far; CMD_SUBSET_END: given back */
	bool mark_pending;         /* CMD_SUBSET_END: the mark covers the snapshot once the writer has done its queue */
	struct key_counts *counts; /* CMD_COUNTS: it is emptied */
	uint64_t xmin;             /* CMD_PRUNE; CMD_LOOKED: the oldest that ran before the look */
	uint64_t number;           /* CMD_GROUND, CMD_LOOKED: the job's */
	lsn_t lsn;                 /* CMD_LOOKED: where the WAL ended before the look */
	uint32_t oid;              /* CMD_RESOLVED: the leaf */
	uint32_t xid;              /* CMD_RESOLVED: the transaction INGEST asked in; 0: nobody asked */
	uint32_t ancestors[16];
	int nancestors;
	bool had_rows[16];         /* CMD_RESOLVED: it came to this ancestor with rows: its older shapes rotate */
	bool waited, done;         /* under cmd_lock; not waited: freed by INGEST */
	int result;                /* CMD_FILTER, CMD_SUBSET_END: 1 take the snapshot again; -1 no stream */
};

struct selection; /* ingest.h */

struct route { /* INGEST's: the shapes of a table */
	uint32_t oid;
	struct shape **shapes; /* all */
	size_t n, cap;
	struct shape **plain;  /* those without a condition */
	size_t nplain, plain_cap;
	struct selection *selections; /* those with one */
	struct pg_table *loose; /* not NULL: keys are unique at commits only, for `nloose` of the shapes; ingest_keys.c */
	size_t nloose;
	struct held *held;      /* of the running transaction */
	lsn_t looked_upto;     /* where the WAL ended when the table was looked at last (ingest_look.c), … */
	uint32_t looked_xmin;  /* … and the oldest transaction that ran then */
};

struct leaf { /* INGEST's: whose partition or child a relation is, at all levels */
	uint32_t oid;
	uint32_t *roots;
	size_t n, cap;
};

struct txn_shape { /* INGEST's: what the running transaction has for a shape */
	struct shape *shape;
	struct entry *entries; /* those that aren't staged */
	size_t n, cap;
	struct txn_shape *next_fresh; /* among those with entries */
	size_t ncounted;       /* entries whose keys have their numbers */
	bool staged, rotate;
	bool no_undo;          /* its counts can't be taken back: too much was staged */
	bool marked;           /* the newest staged entry says that it is the last */
	struct log_offset last; /* the newest staged entry, its flags, and where `last` would go in */
	uint32_t last_flags, last_split, last_len;
	size_t last_bytes;     /* the bytes it was staged with */
	uint64_t open_bytes_before;
	char *why;             /* rotate: why */
};

struct ingest; /* ingest.c */

struct shapes {
	const struct config *config;
	struct store *store;
	struct stream *stream;
	pthread_t ingest_thread;
	bool ingest_started;
	struct ingest *ingest;
	struct writer writer;

	pthread_rwlock_t registry_lock;
	struct map costly;                 /* identity -> struct costly: those whose condition was too costly lately */
	struct map by_handle, by_identity; /* active shapes; each holds one reference (by_handle's) */
	struct map tables;                 /* oid -> table_state */
	struct map cache;                  /* "schema\0name" -> struct cached */
	pthread_mutex_t headers_lock;      /* a leaf */
	struct map headers;                /* key -> header */
	struct map inflight;               /* the same key -> table_lookup; under lookup_lock */
	_Atomic uint64_t next_id;
	int64_t last_handle_us;
	_Atomic uint64_t nshapes;

	pthread_mutex_t shape_locks[SHAPE_LOCKS];

	/* What was said last of a shape that went, and how many others went since by the same cause: registry.c. */
	pthread_mutex_t removed_lock;
	struct {
		char table[2 * 64 + 2], why[160];
		size_t more;
		int64_t said_ms;
	} removed;

	pthread_mutex_t status_lock;
	struct wait_list status_waiters;
	enum stream_phase phase;
	enum stream_wait wait;  /* what its set-up waits for */
	int64_t started_ms;     /* this process */
	_Atomic int currency;   /* enum shapes_currency */
	_Atomic bool backing_off; /* the stream waits before it connects again */
	bool stream_was_active; /* in this process */
	bool loaded;
	char phase_error[400];
	bool fatal;
	struct err fatal_err;
	void (*on_fatal)(void *);
	void *on_fatal_ctx;

	pthread_mutex_t lookup_lock;

	pthread_mutex_t lsn_lock;
	struct wait_list lsn_waiters;

	pthread_mutex_t cmd_lock;
	pthread_cond_t cmd_cond;
	struct cmd *cmds, **cmds_tail;

	pthread_mutex_t job_lock;
	pthread_cond_t job_cond;
	struct job *admin_jobs, **admin_tail, *create_jobs, **create_tail;
	pthread_t pg_threads[16];
	uint32_t quick[32];     /* tables whose shapes are quickly copied, as of late; next_quick: the place for one more */
	unsigned next_quick;
	uint32_t preparing[16]; /* by thread: the table that it joins and takes a snapshot of, 0: none */
	int npg;
	bool pg_stop;
	int64_t next_reconcile_ms, next_watch_ms;
	int64_t watch_took_ms;  /* the last look of the watch */
	bool reconcile_queued, reconcile_now;
	_Atomic bool watch_soon;       /* the stream has seen a sign that something changed */

	_Atomic bool stopping, ingest_quit;
	_Atomic unsigned outages;      /* of the stream: connections older than the last are doubtful */
	_Atomic lsn_t seen, durable, received;
	_Atomic lsn_t delivered;       /* the largest LSN a client of this process can have seen */
	_Atomic lsn_t mark;            /* as it stands in the store */
	_Atomic uint64_t mark_done;    /* sequence of the last committed mark */
	_Atomic size_t ahead_bytes;    /* queued for the writer or being written: ROWS and STAGE */
	_Atomic bool store_failing;
	pthread_mutex_t failing_lock;  /* a leaf */
	char failing_text[300];        /* while it fails: what the store said */
	int64_t failing_since_ms, failing_told_ms;
	_Atomic lsn_t published_tx;    /* last staged transaction the writer has published */
	_Atomic size_t keys_counted;   /* of all shapes whose rows may be equal */
	_Atomic uint64_t stat_transactions, stat_changes, stat_appended, stat_where_failures;

	struct subsets *subsets; /* subset.c */

	pthread_mutex_t server_lock;
	struct stream_server server;   /* of the running connection; version 0: none yet */
	lsn_t wal_end;
	int64_t wal_end_asked_ms, wal_end_ms;
	bool wal_end_queued;
};

/* engine.c: the process is to end, for what the user must mend; the first reason counts. Any thread, holding nothing. */
void status_fatal(struct shapes *s, const struct err *e);
/* engine.c: what the stream has learned; INGEST calls them. */
void status_phase(struct shapes *s, enum stream_phase phase, const char *error);
void status_wait(struct shapes *s, enum stream_wait wait);
/* At least every 100 ms: ends SHAPES_UNPROVEN in time. */
void status_poll(struct shapes *s);

/* registry.c */
struct shape *shape_make(struct shapes *s, const struct shape_def *def, uint64_t id, const char *handle);
/* Takes the shape out of the registry (idempotent) and has INGEST drop it. `why` is logged. Any thread. */
void shape_rotate(struct shape *s, const char *why);
/* The condition was too costly for a row: for a while, longer each time, no shape of it is made. */
void registry_note_costly(struct shapes *s, const struct shape_def *def);
void registry_forget_costly(struct shapes *s); /* at the end */
/* Its first half: out of the registry; false if it was out already. */
bool shape_unlink(struct shape *s, const char *why);
/* Says how many shapes went besides the one that was named, when no more follow. Called every now and then. */
void registry_tell_removed(struct shapes *s);
/* All active shapes of a table (and, with `ancestors`, …): calls rotate on each. */
void shapes_rotate_table(struct shapes *s, uint32_t oid, const char *why);
void shapes_rotate_all(struct shapes *s, const char *why);
void shape_set_failed(struct shape *s, const struct err *e);
struct table_state *registry_table(struct shapes *s, uint32_t oid); /* with registry_lock held */
/* The shapes of a table, those being made too, or of all tables (0): references, in memory of the caller's. */
struct shape **registry_shapes(struct shapes *s, uint32_t oid, size_t *n);
/* Takes a shape from its table, registry_lock held for writing. */
void registry_leave(struct table_state *t, struct shape *shape);
/* Of the server that streams: what a snapshot's must be. */
struct server_id {
	char system_id[sizeof ((struct stream_server *)0)->system_id];
	uint32_t timeline;
};
struct server_id server_id(struct shapes *s);
/* True if the shape shows the column, has it in its key, or its condition looks at it. */
bool shape_uses(const struct shape *s, uint16_t column);
/* Puts the table's record into the writer's queue; with registry_lock held. */
void table_save(struct shapes *s, const struct table_state *t);
/* Returns what the cache holds now: the older of two that say the same, so that shapes share it. */
struct pg_table *registry_cache_put(struct shapes *s, struct pg_table *t, int64_t verified_ms);
/* Not believed any more (0: of all tables); it stays as the answer for when Postgres is away. */
void registry_cache_doubt(struct shapes *s, uint32_t oid);
void registry_cache_clear(struct shapes *s);
/* Links a loaded or new shape into the maps, registry_lock held for writing. */
void registry_link(struct shapes *s, struct shape *shape);

/* ground.c */
/* Before a snapshot begins, for ground_born(). */
uint64_t ground_version(struct shapes *s, uint32_t oid);
/* What a snapshot of a table is measured by. */
struct ground_since {
	uint64_t version;          /* ground_version() before it began */
	uint32_t publication_xmin; /* as the table's join saw it */
};
/*
 * In a snapshot that is taken: its shapes stand on what it shows of table and publication; older ones that don't bear
 * the difference rotate. 1: take the snapshot again. GROUND_JOIN: the publication was altered since the table joined: join
 * it again, then take the snapshot. -1: not everything is published (ERR_CONFIG), or an error.
 */
#define GROUND_JOIN 2
int ground_born(struct shapes *s, PGconn *snap, const struct pg_table *table, struct ground_since since, struct shape *const *shapes,
                int n, struct err *e) MUST_USE;
/* One look at the ground of all tables with shapes; what doesn't bear the difference rotates. *gone: those that don't
 * exist any more, the caller's to free, also after an error. PG threads. */
int ground_look(struct shapes *s, PGconn *conn, uint32_t **gone, size_t *ngone, struct err *e) MUST_USE;

/* record.c */
void record_shape(const struct shape *s, const struct pg_snapshot *snap, bool complete, uint32_t nchunks, struct buf *out);
struct shape_record {
	char handle[HANDLE_TEXT_MAX];
	struct shape_def def;
	uint64_t chunk_bytes;
	struct pg_snapshot snap;
	bool complete;
	uint32_t nchunks;
};
/* Tables met before, by the bytes of their record: shapes of one table share it. */
struct interned {
	struct pg_table *table;
	size_t len;
	char bytes[];
};
void interned_clear(struct map *m);
int record_shape_parse(const char *p, size_t len, struct map *tables, struct shape_record *out, struct err *e) MUST_USE;
void record_table(const struct table_state *t, struct buf *out);
int record_table_parse(const char *p, size_t len, struct table_state *out, struct err *e) MUST_USE;
/* A journal batch: see store/FORMAT.md. */
void journal_encode(struct item *const *items, size_t n, struct buf *out);
int journal_decode(const char *p, size_t len,
                   int (*row)(void *ctx, uint64_t shape_id, struct log_offset at, uint32_t flags, struct line *line, struct err *e),
                   void *ctx, struct err *e) MUST_USE;
/* The shapes that a damaged batch had rows for, some more than once; false: that can't be told. */
bool journal_names(const char *p, size_t len, void (*each)(void *ctx, uint64_t shape_id), void *ctx);

/* load.c */
int engine_load(struct shapes *s, struct err *e) MUST_USE;

/* writer.c */
int writer_start(struct shapes *s, struct err *e) MUST_USE;
void writer_stop(struct shapes *s); /* everything queued is committed, the mark drawn back */
/* Adds to the fold list; also used while loading (before the thread runs). */
void writer_track(struct shapes *s, struct shape *shape, uint64_t seq);
void writer_untrack(struct shapes *s, struct shape *shape);
/* Waits until everything queued by now is committed. ERR_CANCELLED: stopping; ERR_FULL or ERR_TIMEOUT, with what keeps
 * the store from it, after WRITER_FLUSH_MAX_MS (what was queued stays queued). */
int writer_flush(struct shapes *s, struct err *e) MUST_USE;
/* Blocks while too many snapshot rows are queued. 0; 1: the shape is dropped; -1 as writer_flush(), after
 * WRITER_ROOM_MAX_MS. */
int writer_room(struct shapes *s, struct shape *shape, struct err *e) MUST_USE;

/* ingest.c */
void ingest_new(struct shapes *s);
int ingest_start(struct shapes *s, struct err *e) MUST_USE;
void ingest_stop(struct shapes *s); /* after pgwork_stop() */
void ingest_release(struct shapes *s);
void ingest_free(struct shapes *s);
/* Puts a shape that was loaded into INGEST's routes; before the thread runs. */
int ingest_adopt(struct shapes *s, struct shape *shape, struct err *e) MUST_USE;
/* Leaves of a table as they were last handled; before the thread runs. */
void ingest_adopt_table(struct shapes *s, const struct pg_table *t);
void ingest_set_processed(struct shapes *s, lsn_t lsn);
void cmd_post(struct shapes *s, struct cmd *c);             /* not waited for; INGEST frees it */
int cmd_call(struct shapes *s, struct cmd *c);              /* waits; -1 when stopping */

/* ingest_count.c: keys of rows that may be equal. Any thread: counts `c` against the limits; -1: too many. */
int counts_charge(struct shapes *s, struct key_counts *c, const struct pg_table *t, struct err *e) MUST_USE;
void counts_release(struct shapes *s, struct key_counts *c);

/* tail.c: appends published entries under the shape's lock and wakes. Takes the line references. */
void tail_publish(struct shape *s, struct entry *entries, size_t n);
/* Restores entries at start; no waking. */
void tail_restore(struct shape *s, struct log_offset at, uint32_t flags, struct line *line);
/* Drops what is folded now. */
void tail_folded(struct shape *s, struct log_offset upto);
void tail_clear(struct shape *s);

/* subset.c: threads with a connection each, at most `threads`. */
int subsets_start(struct shapes *s, int threads, struct err *e) MUST_USE;
void subsets_stop(struct shapes *s); /* every query's end has been told before */

/* pgwork.c */
int pgwork_start(struct shapes *s, struct err *e) MUST_USE;
void pgwork_stop(struct shapes *s);
void job_post(struct shapes *s, struct job *j);

#endif
