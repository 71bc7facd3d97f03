/*
 * items.h - what the WRITER is given, in the order in which it is to become durable. An item belongs to the queue once it is put
 * there. Any thread puts; none waits.
 *
 * Each kind has a struct, which begins with a `struct item`, and a constructor that counts what it holds. What the kinds do is
 * in logs/apply.c; of those with rows for the journal, logs/record.c has the stored form (journal_encode()).
 */
#ifndef BUSBAR_SHAPES_ITEMS_H
#define BUSBAR_SHAPES_ITEMS_H

#include "base/buf.h"
#include "shapes/core/shape.h"

struct shapes;

enum item_kind {
	ITEM_ROWS,     /* a transaction's entries, and the LSN it ends at */
	ITEM_LSN,      /* nothing of ours up to there */
	ITEM_MARK,
	ITEM_SHAPE,    /* a shape's record: now it is durable, clients may see it */
	ITEM_DROP,
	ITEM_PIECE,    /* snapshot rows */
	ITEM_COMPLETE, /* the snapshot is complete: the record again, with its state */
	ITEM_TABLE,    /* record of a table, or that it is forgotten */
	ITEM_STAGE,    /* entries of a running transaction, straight into blocks nobody reads yet */
	ITEM_LAST,     /* staged entries that turned out to be the last of their shapes */
	ITEM_PUBLISH,  /* the staged transaction is complete */
	ITEM_UNSTAGE,  /* it was lost with the connection */
	ITEM_META,     /* a named value */
};

struct item {
	struct item *next;
	enum item_kind kind;
	size_t bytes;       /* what it counts against its queue limit */
	size_t scattered;   /* besides those, a page for each place in the store that it changes */
};

#define ITEM_PAGE_BYTES 4096u

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

struct staged_ends {
	struct staged_end *list;
	size_t n, cap;
};

/* A transaction: its commit record, where it ends, when it committed. */
struct item_txn {
	lsn_t tx, end; /* all below `end` is durable with it */
	int64_t commit_us;
	uint32_t xid;  /* 0: rows that a shape had waited with while its snapshot was taken */
};

struct item_rows {
	struct item item;
	struct item_txn txn;
	struct row *rows;
	size_t nrows, cap;
};

struct item_lsn {
	struct item item;
	lsn_t lsn;
	bool set; /* not raised: another history begins there */
};

struct item_mark {
	struct item item;
	lsn_t mark;
	uint64_t seq;
};

/* ITEM_SHAPE, ITEM_COMPLETE. */
struct item_shape {
	struct item item;
	struct shape *shape; /* a reference */
	char *record;
	size_t len;
	uint64_t next_id;    /* the counter of shapes, at that time */
	uint32_t nchunks;    /* of the complete snapshot */
};

struct item_drop {
	struct item item;
	struct shape *shape; /* a reference */
};

struct item_piece {
	struct item item;
	struct shape *shape; /* a reference */
	uint32_t chunk, piece;
	bool chunk_closed;   /* it is the chunk's last; it may be empty then */
	char *data;
	size_t len;
};

struct item_table {
	struct item item;
	uint32_t oid;
	char *record; /* NULL: forget it */
	size_t len;
};

struct item_stage {
	struct item item;
	lsn_t tx;
	struct row *rows;
	size_t nrows, cap;
};

struct item_last {
	struct item item;
	lsn_t tx;
	struct staged_ends ends;
};

struct item_publish {
	struct item item;
	struct item_txn txn;
	struct staged_ends ends;
};

struct item_unstage {
	struct item item;
	lsn_t tx;
	uint64_t *ids; /* of shapes */
	size_t n;
	bool more;     /* another of the same transaction follows */
};

struct item_meta {
	struct item item;
	char name[16];
	char *data;
	size_t len;
};

/*
 * Constructors. Those that return a `struct item` are complete; a record, a value, ids are taken out of the buffer. The others
 * are filled by what stands behind them, which takes the entry's reference to its line, and put as &it->item.
 */
struct item_rows *item_rows_new(const struct item_txn *txn, size_t room); /* for so many rows */
struct item *item_lsn_new(lsn_t lsn);                   /* nothing of ours below it */
struct item *item_lsn_new_set(lsn_t lsn);               /* the durable LSN is set, commits of before are forgotten */
struct item *item_mark_new(lsn_t mark, uint64_t seq);
struct item *item_shape_new(struct shape *shape, struct buf *record, uint64_t next_id);
struct item *item_complete_new(struct shape *shape, struct buf *record, uint32_t nchunks, uint64_t next_id);
struct item *item_drop_new(struct shape *shape);
struct item *item_piece_new(struct shape *shape, uint32_t chunk, uint32_t piece, bool chunk_closed, struct buf *rows);
struct item *item_table_new(uint32_t oid, struct buf *record);
struct item *item_table_new_gone(uint32_t oid);
struct item_stage *item_stage_new(lsn_t tx);
void item_stage_add(struct item_stage *it, struct shape *shape, const struct entry *e);
struct item_last *item_last_new(lsn_t tx);
void item_last_add(struct item_last *it, struct staged_end end, size_t rewritten); /* bytes that the word has written again */
struct item_publish *item_publish_new(const struct item_txn *txn);
void item_publish_add(struct item_publish *it, struct shape *shape, struct log_offset newest);
struct item *item_unstage_new(lsn_t tx, struct buf *ids, bool more);
struct item *item_meta_new(const char *name, const void *data, size_t len);
void item_free(struct item *it);

/* One change in many shapes is one line in memory, and in the journal: it counts once. */
static inline void item_rows_add(struct item_rows *it, struct shape *shape, const struct entry *e)
{
	REQUIRE(it->nrows < it->cap);
	bool shared = it->nrows > 0 && it->rows[it->nrows - 1].entry.line == e->line;
	it->item.bytes += sizeof(struct row) + (shared ? 0 : e->line->len);
	it->rows[it->nrows++] = (struct row){shape, *e};
}

/* The struct of an item's kind; it must be of that. */
#define ITEM_AS(name, kind_a, kind_b) \
	static inline struct item_##name *item_as_##name(struct item *it) \
	{ \
		REQUIRE(it->kind == (kind_a) || it->kind == (kind_b)); \
		return CONTAINER_OF(it, struct item_##name, item); \
	}
ITEM_AS(rows, ITEM_ROWS, ITEM_ROWS)
ITEM_AS(lsn, ITEM_LSN, ITEM_LSN)
ITEM_AS(mark, ITEM_MARK, ITEM_MARK)
ITEM_AS(shape, ITEM_SHAPE, ITEM_COMPLETE)
ITEM_AS(drop, ITEM_DROP, ITEM_DROP)
ITEM_AS(piece, ITEM_PIECE, ITEM_PIECE)
ITEM_AS(table, ITEM_TABLE, ITEM_TABLE)
ITEM_AS(stage, ITEM_STAGE, ITEM_STAGE)
ITEM_AS(last, ITEM_LAST, ITEM_LAST)
ITEM_AS(publish, ITEM_PUBLISH, ITEM_PUBLISH)
ITEM_AS(unstage, ITEM_UNSTAGE, ITEM_UNSTAGE)
ITEM_AS(meta, ITEM_META, ITEM_META)

void writer_put(struct shapes *s, struct item *it);
bool item_is_urgent(const struct item *it); /* somebody waits for it: all but rows */
struct writer;
void writer_room_again(struct shapes *s); /* who waits in writer_room() looks again: it is stopping, or a shape has gone */
/* Whether what is queued may wait for more of it. With the writer's lock held. */
bool writer_can_gather(const struct writer *w);

#endif
