/*
 * explain.h - what a condition costs: how a change finds the shapes that have it, what is evaluated for each changed row, which
 * subqueries let it start over, and how to write it better. Reads no row, asks nobody: tables in, answer out. Any thread.
 */
#ifndef BUSBAR_OPS_EXPLAIN_H
#define BUSBAR_OPS_EXPLAIN_H

#include <stdio.h>

#include "base/buf.h"
#include "shapes/core/def.h"
#include "shapes/routing/filter_tell.h"
#include "where/where.h"

struct explain_input {
	const struct pg_table *table;
	struct where_tables *tables; /* those that subqueries name, as far as they are known */
	const char *where;           /* NULL: no condition */
	size_t where_len;
	struct where_params params;
};

/* The condition, and then each of its subqueries with those inside them. */
struct explain_part {
	const struct pg_table *table; /* whose changes are put to it; as long as the input's */
	int depth;                    /* 0: the condition */
	char *select;                 /* of a subquery: the SQL of the rows it selects; NULL */
	bool told_by_sample;          /* it compares with what subqueries select, for which some value stands */
	bool untold;                  /* ... and there is none: how it is found depends on what they select */
	struct filter_told told;
};

#define EXPLAIN_PARTS_MAX (1 + WHERE_SUBQUERIES_MAX)

struct explain {
	struct buf sql, canonical; /* "": no condition */
	struct explain_part parts[EXPLAIN_PARTS_MAX];
	size_t nparts;
};

enum explain_result {
	EXPLAIN_DONE,
	EXPLAIN_LACKS,   /* a table: in->tables says which, and `look_up` why */
	EXPLAIN_REFUSED, /* as a request would be: `message` is the text of its 400 */
};

/*
 * The tables of subqueries are asked for one after the other, as they turn out to be missing: `look_up` adds one to in->tables, which
 * has room for EXPLAIN_PARTS_MAX then, or gives false. `out` is the caller's to clear, whatever came of it.
 */
typedef bool explain_look_up(void *ctx, const struct def_table_name *name);
enum explain_result explain_condition(const struct explain_input *in, explain_look_up *look_up, void *ctx, struct explain *out,
                                      char message[WHERE_MESSAGE_MAX]) MUST_USE;
void explain_clear(struct explain *x);

/* For people, and as one JSON object with a line's end. */
void explain_put_text(const struct explain *x, struct buf *out);
void explain_put_json(const struct explain *x, struct buf *out);

/* What follows `busbar explain`, as doctor_main(): asks the database for the tables that are named, and nothing else of it. Exit
 * status: 0 explained, 1 refused, or the database can't be asked, 2 usage. */
int explain_main(int argc, char **argv);
void explain_usage(FILE *out);

#endif
