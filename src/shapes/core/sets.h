/*
 * sets.h - what the subqueries of a shape's condition selected, in the snapshot that the shape began with.
 *
 * While these sets stay, the shape is one with constants in the subqueries' places; when one changes, it has become another shape
 * and rotates (docs/invariants.md 7). So for a shape they are constant, as texts, and stored with it; how often each value is there
 * is counted by INGEST. A condition's subqueries, at all levels, are numbered with the inner ones before those around them.
 *
 * Made by a PG thread, or at start; then INGEST's, but for the texts, which any thread may read once the shape has its handle.
 */
#ifndef BUSBAR_SHAPES_SETS_H
#define BUSBAR_SHAPES_SETS_H

#include <stdatomic.h>

#include "base/buf.h"
#include "shapes/shapes.h"
#include "where/bag.h"
#include "where/where.h"

#define SET_ROWS_MAX 250000         /* different rows of values of one subquery */
#define SETS_BYTES_MAX (6u << 20)   /* of all values of a shape, as texts */
#define SETS_ALL_BYTES_MAX ((size_t)512 << 20) /* of all shapes, in memory */
#define SET_COUNT_LOST INT64_MAX    /* at least one: how many was known to an earlier process */

/* A condition taken apart. Its own; constant. */
struct sets_plan {
	struct where *where; /* the definition's */
	size_t n;
	struct { const struct where *around; size_t at; } steps[WHERE_SUBQUERIES_MAX]; /* where_subquery(around, at) */
};

struct sets {
	struct where_bag **bags; /* by number; INGEST's */
	size_t n;
	struct buf texts;        /* of different rows, encoded */
	size_t opened, counted_at, bytes; /* while they are read: numbers so far; where the newest has its count; bytes of values */
	_Atomic size_t *charged_to; /* sets_charge() */
	size_t charged;
	/* Until INGEST watches them: */
	struct sets_plan *plan;
	struct where **bound;    /* by number, then the outermost: conditions on one table each, with constants for subqueries */
};

/* NULL: `e`. Goes with the sets that it is given to. */
struct sets_plan *sets_plan_new(const struct shape_def *d, struct err *e);
static inline const struct where *sets_plan_inner(const struct sets_plan *p, size_t i)
{
	return where_subquery(p->steps[i].around, p->steps[i].at);
}

/*
 * Reading: rows are put in, number by number in their order, then it is finished, and bound. Takes the plan. A value's text is as
 * Postgres sends it, NULL for null. -1: too many (ERR_REQUEST, it names the limit), or a value can't be read.
 */
struct sets *sets_new(struct sets_plan *plan);
int sets_put(struct sets *s, size_t i, const struct where_text_value *row, int64_t times, struct err *e) MUST_USE;
int sets_finish(struct sets *s, struct err *e) MUST_USE;
/* From the texts of a record; how often each row is there isn't known. */
int sets_restore(const struct shape_def *d, const char *texts, size_t len, struct sets **out, struct err *e) MUST_USE;
/* Counts their memory into that of all, until they are freed: -1 if it is more than `max` then. They take no more than they need from then on. */
int sets_charge(struct sets *s, _Atomic size_t *all, size_t max, struct err *e) MUST_USE;
/* What only INGEST's registration needs is gone. */
void sets_unbind(struct sets *s);
void sets_free(struct sets *s);

/* Whether two readings of one condition found the same. */
bool sets_same(const struct sets *a, const struct sets *b);

/* The shape's condition as SQL, with its sets as constants. For any thread. */
int sets_where_sql(const struct shape_def *d, const char *texts, size_t len, struct buf *out, struct err *e) MUST_USE;

#endif
