/*
 * where.h - conditions: from a client's text to a checked, typed tree, and from there to SQL of our own, to
 * a canonical text that is stored, and (pool.h) to an evaluation that agrees with Postgres.
 *
 * The text is parsed by libpg_query and typed by Postgres's rules over Postgres's own catalog of
 * operators, functions and casts (catalog.c). Nothing of the client's text survives: SQL and canonical
 * text are written from the tree. A struct where is immutable; any thread.
 */
#ifndef BUSBAR_WHERE_WHERE_H
#define BUSBAR_WHERE_WHERE_H

#include "base/buf.h"
#include "base/err.h"
#include "pg/table/table.h"

#define WHERE_STATEMENT_MAX 65536 /* with the prefix "SELECT 1 WHERE ", as Electric's */
#define WHERE_DEPTH_MAX 200       /* nesting of the typed tree; Postgres's own limit is its stack */
#define WHERE_NODES_MAX (1u << 18) /* of the typed tree: x BETWEEN SYMMETRIC stands for four x, those of nested ones multiply */

#define WHERE_CONSTANTS_MAX (8u << 20) /* text of all constants, of a parameter as often as it is read */
#define WHERE_CANONICAL_MAX (1u << 20) /* the stored form */

struct where;
struct where_type;

#define WHERE_SUBQUERIES_MAX 32     /* of a condition, with those inside others */
#define WHERE_SUBQUERY_DEPTH_MAX 8  /* how many are inside each other */
#define WHERE_SUBQUERY_WIDTH_MAX 1664 /* columns, as in Postgres */
#define WHERE_NAME_BYTES 64        /* Postgres's NAMEDATALEN */

/* The tables that a condition's subqueries may name. */
struct where_tables {
	const struct pg_table *const *list;
	size_t n;
	char missing_schema[WHERE_NAME_BYTES], missing_name[WHERE_NAME_BYTES]; /* after a refusal: the one that isn't there, if that was it */
};

/* Values of $1..$n, in order; `p` NULL: not provided. */
struct where_param { const char *p; size_t len; };
struct where_params { const struct where_param *values; size_t n; };

/*
 * 0, or -1 with the text for `errors.where` in `message` (cut at its end if it doesn't fit).
 * `columns`: NULL, or which columns (by index into t->columns) the text may name.
 * `subset`: the texts of subset conditions differ slightly (no subqueries at all).
 * `tables`: those of subqueries (NULL: there are none); a name without a schema is one of `public`. A table that isn't among them
 * is told of (missing_schema, missing_name) before anything else but the syntax: it is cheap to ask again with it.
 */
#define WHERE_MESSAGE_MAX 1024
int where_parse(const struct pg_table *t, struct where_tables *tables, const char *text, size_t len,
                const struct where_params *params, const bool *columns, bool subset, struct where **out,
                char message[WHERE_MESSAGE_MAX]) MUST_USE;
void where_free(struct where *w);
/* Only whether the text parses as one condition; -1 with the text of what where_parse() would say first. */
int where_check_syntax(const char *text, size_t len, char message[WHERE_MESSAGE_MAX]) MUST_USE;

/* The condition as SQL, in parentheses, every operator, function and type qualified, every constant quoted
 * by us; column names unqualified. Needs standard UTF-8 client encoding, no other setting. */
void where_sql(const struct where *w, struct buf *out);
/* Whether a constant in what where_sql() wrote is this text, all of it. */
bool where_sql_holds(const char *sql, const char *p, size_t n);

/* The stored form: starts with its version. Two conditions are the same if these bytes are. where_load()
 * reads it back for the same tables: -1 if one, or a column or type it names, is gone or has another type. */
void where_canonical(const struct where *w, struct buf *out);
int where_load(const struct pg_table *t, const struct where_tables *tables, const char *canonical, size_t len,
               struct where **out, struct err *e) MUST_USE;

/* Whether a stored form has subqueries. */
bool where_has_subqueries(const char *canonical);

/* Its own subqueries, not those inside them: their number, and the condition of each on its table. */
size_t where_subqueries(const struct where *w);
const struct where *where_subquery(const struct where *w, size_t i);
const struct pg_table *where_table(const struct where *w);

/*
 * The rows that a subquery selects, as SQL: what belongs between COPY ( and ) TO, or behind FROM. As many columns as are
 * compared, in that order; none if only the number of rows matters.
 */
void where_subquery_sql(const struct where *w, size_t i, struct buf *out);

/* What it selected: `values` has `nrows` times as many as are compared, `p` NULL: null. */
#define WHERE_BOUND_MAX (8u << 20) /* of where_bind()'s form */
struct where_text_value { const char *p; size_t len; };
struct where_set { size_t nrows; const struct where_text_value *values; };

/* What a subquery compares with, of a row of its table; the types live as long as the condition. */
size_t where_subquery_width(const struct where *w, size_t i);
const struct where_type *const *where_subquery_types(const struct where *w, size_t i);

/*
 * Whether a row of it with a NULL among the values is as good as none: of an EXISTS, which is true for those that are equal and
 * false for all others. Walks the condition.
 */
bool where_subquery_ignores_nulls(const struct where *w, size_t i);

/* The stored form of the same condition with these sets, one for each of its own subqueries, in their places: constants, so
 * that where_load() needs no other table; one that says "true" for a subquery's condition that isn't there. Fails (out->failed) like where_canonical(), if it gets too long. */
void where_bind(const struct where *w, const struct where_set *sets, struct buf *out);

/* Whether Postgres may raise an error when it computes the condition for some row. */
bool where_may_fail(const struct where *w);

/* True if the condition looks at the column, itself or in what it compares with a subquery. */
bool where_uses(const struct where *w, uint16_t column);
/* The same of any table: true if it, or a subquery at any depth, looks at that column of the table with this oid. */
bool where_uses_of(const struct where *w, uint32_t oid, uint16_t column);

/* ORDER BY of a subset: writes `ORDER BY …` of our own making into `sql`, and into `uses` which columns it names. Errors as
 * above. */
int where_order_by(const struct pg_table *t, const char *text, size_t len, const bool *columns, struct buf *sql, bool *uses,
                   char message[WHERE_MESSAGE_MAX]) MUST_USE;

#endif
