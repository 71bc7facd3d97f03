/*
 * pool.h - many conditions over one table, evaluated together.
 *
 * A pool holds the expressions of all conditions on a table as one array of nodes in which equal
 * sub-expressions are the same node, reference counted. A row's columns are decoded when first asked for;
 * each node is evaluated at most once per row. One thread (INGEST's). Nothing is allocated per row but from
 * the pool's arena.
 */
#ifndef BUSBAR_WHERE_POOL_H
#define BUSBAR_WHERE_POOL_H

#include "where/node.h"
#include "where/where.h"

struct where_pool;

/* A column's text as the stream has it. */
struct where_text { const char *p; uint32_t len; bool null; };
/* The text of column `column` (index into the table's columns) of the row that where_pool_row() announced.
 * false: not there (an unchanged TOASTed value without its old one): evaluation fails. */
typedef bool where_fetch(void *ctx, uint16_t column, struct where_text *out);

/* Work on the constants of one condition, those of its subqueries with it, some 20 ms at most: it is done where requests are
 * answered. Ordinary conditions need some thousands. */
#define WHERE_FOLD_STEPS_MAX (1u << 24)

#define POOL_NODES_MAX (1u << 30) /* whoever has a node's id may use the two bits above */

struct where_pool *where_pool_new(struct pg_table *table); /* takes a reference */
void where_pool_free(struct where_pool *p);
size_t where_pool_nodes(const struct where_pool *p);

/* Adds an expression (a reference to its node is the caller's); constants are folded. -1: a constant
 * part fails; -2: a constant pattern is refused; -3: computing them takes more than WHERE_FOLD_STEPS_MAX. */
int where_pool_add(struct where_pool *p, const struct where_node *n, uint32_t *id, char reason[WHERE_REASON_MAX]) MUST_USE;
/*
 * From now on an immutable constant that fails makes where_pool_add() fail also below AND and OR, and behind CASE and
 * COALESCE, where otherwise it fails only if reached: Postgres's planner computes it in any case, and so refuses every
 * statement that has it. `steps`: what folding may still cost, of several pools together; what it takes is taken off.
 */
void where_pool_fold_as_planner(struct where_pool *p, uint64_t *steps);
void where_pool_ref(struct where_pool *p, uint32_t id);
void where_pool_unref(struct where_pool *p, uint32_t id);
const struct where_type *where_pool_type(const struct where_pool *p, uint32_t id);

/* From now on expressions are those of this row; what was evaluated before is gone. */
void where_pool_row(struct where_pool *p, where_fetch *fetch, void *ctx);
/* Valid until the next where_pool_row(), where_pool_trim() or change of the pool. WHERE_ERROR: where_pool_reason() says
 * why (of the last failure). In AND, OR and NOT, and among what ANY and ALL compare, a failure counts as unknown: what
 * decides does so wherever it stands. */
const struct where_value *where_pool_eval(struct where_pool *p, uint32_t id);
const char *where_pool_reason(const struct where_pool *p);
int where_pool_column(const struct where_pool *p); /* the column that couldn't be read, -1: it wasn't that */
/*
 * What evaluating may cost, in steps (value.h), for the row at hand: beyond `max` (0: without end) evaluations fail and
 * where_pool_too_costly() is true, until there is another budget or some of what was spent is given back. Such failures
 * aren't remembered. where_pool_row() begins at 0 and without end.
 */
void where_pool_budget(struct where_pool *p, uint64_t max);
void where_pool_refund(struct where_pool *p, uint64_t steps);
uint64_t where_pool_work(const struct where_pool *p);
bool where_pool_too_costly(const struct where_pool *p);
/* Between evaluations of one row: forgets what was evaluated if that takes much memory. */
void where_pool_trim(struct where_pool *p);

/*
 * For shapes/filter.c: what a node is after folding. Ids are never 0, equal expressions have the same id.
 * Relabelings are gone (arg_types has what the operator sees), IN is ANY or OR, ILIKE may be LIKE.
 * Valid until the pool changes.
 */
struct where_pool_node {
	uint8_t kind;    /* enum where_kind */
	bool safe;       /* can't fail on any row whose columns are all there */
	uint16_t column;
	uint32_t nargs;
	const uint32_t *args;
	const struct where_type *type;
	const struct where_type *const *arg_types; /* of calls and of ANY (value, element), else NULL */
	const struct where_collation *collation;   /* the same */
	const struct where_proc *proc;
	const struct where_oper *oper;
	const struct where_value *value;           /* of constants, else NULL */
};
void where_pool_look(const struct where_pool *p, uint32_t id, struct where_pool_node *out);
/* A bool computed from others: WHERE_AND, WHERE_NOT, WHERE_IS_NULL, WHERE_IS_TRUE …; the reference is the caller's. */
uint32_t where_pool_make(struct where_pool *p, enum where_kind kind, const uint32_t *args, uint32_t nargs);

#endif
