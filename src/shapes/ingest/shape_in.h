/*
 * shape_in.h - what INGEST knows of a shape: its routes, its snapshot, what it is collecting. INGEST's thread alone, but before it
 * runs and after it has ended.
 */
#ifndef BUSBAR_SHAPES_SHAPE_IN_H
#define BUSBAR_SHAPES_SHAPE_IN_H

#include "base/mem.h"
#include "pg/snapshot.h"
#include "shapes/core/line.h"
#include "shapes/routing/filter.h"

struct column_set;
struct format;
struct inner;
struct inner_kept;
struct key_counts;
struct selection;
struct txn_shape;

/* A condition in the filter of its table; ingest/selection.c. */
struct selected {
	struct selection *selection; /* NULL: it is in none */
	struct filter_member member;
	const struct column_set *uses; /* the columns that it looks at */
};

struct snapshot_filter {
	struct pg_snapshot snap;
	bool known;
};

/* What came while its snapshot wasn't known, or its first rows were being counted. */
struct kept {
	struct entry *entries; /* join.c; each with its xid */
	uint32_t *xids;
	size_t n, cap, bytes;
	struct inner_kept *sets, *last_set; /* inner.c: what changed its sets */
	size_t sets_bytes;
};

/* There may be a hundred thousand: what is small stands together. */
struct shape_in {
	bool routed;
	_Atomic uint8_t counted_as; /* enum metric_routing and one, 0: as none; ingest/route.c, route_way() */
	bool drop_put;        /* its ITEM_DROP is in the writer's queue */
	bool joining;         /* registered, the snapshot isn't known yet */
	bool overflowed;      /* more came meanwhile than is kept, or what can't be judged: another snapshot is needed */
	bool counting;        /* its first rows are being counted: what comes is kept as while joining */
	uint8_t hits;         /* HIT_OLD, HIT_NEW */
	uint16_t ninner;
	struct format *format;
	size_t route_at;      /* its place in its own table's route */
	size_t plain_at;      /* without a condition: its place among those */
	struct selected selected; /* with one: where it is looked for */
	struct inner *inner;  /* the subqueries of that, by number (core/sets.h) */
	uint64_t hit_change;  /* the change that `hits` is about */
	struct snapshot_filter filter;
	uint64_t joined_txn;  /* transactions up to this one were before it registered */
	struct kept *kept;    /* NULL: nothing */
	uint64_t open_bytes;  /* Σ text since the last chunk end */
	uint64_t txn_seq;     /* the transaction that touched it last */
	struct txn_shape *txn;
	struct key_counts *counts; /* where rows may be equal: how often each key is there; ingest/count.c */
};

/* What is kept for it, which may be nothing yet; until join_clear(). INGEST. */
static inline struct kept *shape_in_kept(struct shape_in *in)
{
	if (in->kept == NULL)
		in->kept = mem_zalloc(sizeof *in->kept);
	return in->kept;
}

/* What a shape that goes leaves of its own; whatever else there is INGEST has let go of before. Any thread: the last. */
static inline void shape_in_clear(struct shape_in *in) { pg_snapshot_clear(&in->filter.snap); }

#endif
