/*
 * inner.h - what the subqueries of a shape select, watched: a change of a table inside is put to their conditions, and what it
 * brings and takes is counted, for the transaction and at its commit. INGEST's.
 */
#ifndef BUSBAR_SHAPES_INNER_H
#define BUSBAR_SHAPES_INNER_H

#include "pg/snapshot.h"
#include "shapes/ingest/shape_in.h"
#include "wal/change.h"

struct ingest;
struct relation;
struct route;
struct sets;
struct shapes;

/* One subquery of a shape. */
struct inner {
	struct shape *shape;
	struct pg_table *table;  /* as its definition has it */
	struct route *route;     /* of that table */
	size_t route_at;
	struct selected selected; /* its condition, with constants for the subqueries inside it */
	uint32_t *values;        /* what is compared, in that filter's pool */
	uint32_t nvalues;
	bool ignores_nulls;      /* a row with a NULL among the values isn't counted */
	struct where_bag *bag;   /* what there is: the shape's, of its sets */
	struct where_bag *delta; /* what the running transaction changes of that, NULL: nothing */
	struct inner *next_touched, **touched_at; /* among those that the running transaction touches; NULL: it doesn't */
};

/* The shape's subqueries, as its sets have them bound, from the next change on. -1: a condition doesn't fit; nothing was added. */
int inner_add(struct ingest *in, struct shape *shape, struct err *e) MUST_USE;
void inner_remove(struct ingest *in, struct shape *shape);
/* A changed row of a table that subqueries select from. Shapes whose conditions are too costly wait for select_dismiss(). */
void inner_change(struct shapes *s, struct route *route, const struct relation *rel, const struct wal_change *c);
/* What goes as a whole: shapes that don't have it in their snapshot rotate. */
void inner_rotate(struct ingest *in, struct route *route, enum reason reason, const char *why);
/* At the commit, before anything of the transaction goes anywhere: a set that differs now rotates its shape. */
void inner_commit(struct ingest *in);
/* The transaction is over, or lost. */
void inner_txn_clear(struct ingest *in);
/*
 * A shape that joins has its snapshot, and its sets read in that: those that it joined with, or others that are equal. What was
 * kept meanwhile and the snapshot doesn't show is counted into them, but not into the former. False: they have changed since, or
 * may have, another snapshot is needed.
 */
bool inner_counts(struct shape *shape, struct sets *sets, const struct pg_snapshot *snap) MUST_USE;
/* From now on its counts are these; they are the shape's, if they weren't. */
void inner_take(struct shape *shape, struct sets *sets);
void inner_kept_clear(struct kept *kept);
#endif
