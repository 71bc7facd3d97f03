/*
 * items.h - what the WRITER is given, in the order in which it is to become durable. An item belongs to the queue once it is put
 * there. Any thread puts; none waits.
 */
#ifndef BUSBAR_SHAPES_ITEMS_H
#define BUSBAR_SHAPES_ITEMS_H

#include "shapes/core/shape.h"

struct shapes;

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
void item_free(struct item *it);
void writer_put(struct shapes *s, struct item *it);
bool item_is_urgent(const struct item *it); /* somebody waits for it: all but rows */
struct writer;
void writer_room_again(struct shapes *s); /* who waits in writer_room() looks again: it is stopping, or a shape has gone */
/* Whether what is queued may wait for more of it. With the writer's lock held. */
bool writer_can_gather(const struct writer *w);

#endif
