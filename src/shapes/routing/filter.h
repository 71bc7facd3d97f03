/*
 * filter.h - which shapes of a table a row belongs to, in time proportional to those shapes.
 *
 * A filter is a tree of nodes. A node indexes conditions by what they ask of one expression: equality
 * (several at once: a hash of the tuple of values), membership of an array, ranges (an interval tree),
 * prefixes of texts, null tests; what isn't indexable is a residual, evaluated on candidates only. An
 * entry of an index leads to the shapes whose condition ends there, or to a node with what else they
 * ask. Expressions live in the filter's where_pool: each distinct one is evaluated once per row.
 *
 * Only a top-level conjunct (and OR of indexables, IN, = ANY(constants)) is indexed: there NULL and
 * false are the same. What an index leads to is exact; nothing has to be checked again.
 *
 * One thread (INGEST's). Members are opaque pointers, each in the filter once.
 */
#ifndef BUSBAR_SHAPES_FILTER_H
#define BUSBAR_SHAPES_FILTER_H

#include "where/pool.h"
#include "where/where.h"

struct filter;

/* The filter's hold on one member. Embedded in, or allocated with, the member; the filter owns what
 * `entries` points to. Zeroed: not in a filter. Small: 100,000 of them are usual. */
struct filter_member {
	void *member;
	uint64_t seen;     /* row number in which it was last found, so that it is reported once */
	void *entries;     /* where it is, for its removal */
	uint32_t nentries;
};

/*
 * What one row may cost, all conditions together, in steps (where/value.h): a base, and so much for each of its bytes,
 * so that a table of long texts has more. The base is some 0.1 s of INGEST's time; ordinary conditions take some hundred
 * steps each, and one more per byte that they read.
 */
#define FILTER_ROW_STEPS (1u << 27)
#define FILTER_BYTE_STEPS 256u

struct filter *filter_new(struct pg_table *table);
/* Members that are still in it are forgotten, without a look at them: `entries` of those with more than one place is
 * then the caller's to free. */
void filter_free(struct filter *f);

/* -1: a constant part of the condition fails (it was checked when parsed, so this is rare). */
int filter_add(struct filter *f, struct filter_member *m, const struct where *w, char reason[WHERE_REASON_MAX]) MUST_USE;
void filter_remove(struct filter *f, struct filter_member *m);
size_t filter_members(const struct filter *f);
/* Where its expressions are; others over the same rows may be added, and evaluated after filter_row() for its row. */
struct where_pool *filter_pool(const struct filter *f);

/*
 * Finds the members whose condition is true for the row. `found` is called once for each, in no order; it
 * must not change the filter. `failed` is called for each member whose evaluation failed on this row (it
 * doesn't count as found); `column` is the column at fault or -1 if not known. If the expression of an index fails,
 * it is called for one of its members only.
 */
void filter_row(struct filter *f, where_fetch *fetch, void *fetch_ctx, void (*found)(void *ctx, void *member),
                void (*failed)(void *ctx, void *member, int column, const char *reason), void *ctx);

/*
 * Bounds the work for each row from now on. If a row would take more than `work` (0: unlimited), `costly` is called for the
 * members whose expression took most of it (a shared one is charged to the first), and evaluation continues without them:
 * they may have been found or not, and must leave the filter after filter_row().
 */
void filter_limit(struct filter *f, uint64_t work, void (*costly)(void *ctx, void *member));

/* By what it is found, in short. It stays the same although others come and go. */
enum filter_way { FILTER_INDEX, FILTER_INDEX_AND_REST, FILTER_REST };
enum filter_way filter_way(const struct filter_member *m);
/* How many conditions, or what was left of them, the last row was put to. */
size_t filter_tested(const struct filter *f);

/* For `busbar explain`, tests and the bench: how a condition is found, e.g. `eq(user_id) > range(created) > residual`; by the first
 * of its places, and by each (below m->nentries). */
void filter_explain_place(struct filter *f, const struct filter_member *m, uint32_t place, struct buf *out);
/* What is left to be evaluated at that place: an expression of filter_pool(), 0: nothing. */
uint32_t filter_rest(const struct filter_member *m, uint32_t place);
void filter_explain(struct filter *f, const struct filter_member *m, struct buf *out);

#endif
