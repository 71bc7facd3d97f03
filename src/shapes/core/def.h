/*
 * def.h - from what a request says about a shape to a checked definition.
 *
 * Identifiers, column lists and their texts follow docs/protocol.md 2.3 and 2.7. Pure functions: no
 * I/O, any thread. Memory for names and texts comes from the caller's arena; the definition itself
 * owns its own (shape_def_clear()).
 */
#ifndef BUSBAR_SHAPES_DEF_H
#define BUSBAR_SHAPES_DEF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "shapes/shapes.h"

struct where;

/* What is wrong, for `{"message":"Invalid request","errors":{<field>:[<text>]}}`. */
struct def_error {
	const char *field; /* a constant; NULL: what is asked for is fine, but the role has no right to the table at all (a 503) */
	const char *text;  /* in the arena, terminated */
};

struct def_table_name {
	const char *schema, *name; /* in the arena, terminated */
};

/* `table`: one or two identifiers with a dot between them; without a schema it is `public`. */
int def_parse_table(struct arena *a, const char *text, size_t len, struct def_table_name *out, struct def_error *e)
	MUST_USE;

/* A list of such names with commas between them, for a setting; SCHEMA.* stands for all tables of a schema, `name` NULL. */
int def_parse_tables(struct arena *a, const char *text, size_t len, struct def_table_name **out, size_t *n, struct def_error *e)
	MUST_USE;

/* One that initdb made: it can't be replicated. */
bool def_is_system_table(const struct pg_table *t);

/* The text for a table that isn't there. */
void def_no_such_table(struct arena *a, const struct def_table_name *t, struct def_error *e);

struct def_name {
	const char *p;
	size_t len;
};

/* `columns` or `queryable_columns`. Which names a list holds is known before its table is (def_read_list()). */
struct def_list {
	bool given;
	const struct def_name *names;
	size_t count;
};

/* A comma list of identifiers; -1 with a complaint about `field`. */
int def_read_list(struct arena *a, const char *field, const char *text, size_t len, struct def_list *out,
                  struct def_error *e) MUST_USE;

struct def_request {
	struct def_list columns, queryable_columns;
	enum shape_replica replica;
	enum shape_log_mode log_mode;
};

/*
 * Checks the lists against the table and fills *out; -1 with the first complaint. Before PostgreSQL 18
 * generated columns can't be replicated; server_version 0 (not known, Postgres is away) lets them pass:
 * such a request can only meet a shape that was made before.
 */
int def_build(struct arena *a, struct pg_table *table, const struct def_request *r, int server_version,
              struct shape_def *out, struct def_error *e) MUST_USE;

/* Gives the definition a condition, in its stored form; its identity changes with it. `tables`: of its subqueries, in any order. */
void def_set_where(struct shape_def *d, const char *canonical, struct pg_table *const *tables, size_t ntables);

/* Whether a condition in its stored form has any. */
bool def_has_subqueries(const char *canonical);
/* Its condition, to be freed; *out NULL if it has none. -1: it doesn't fit the tables any more. */
int def_load_where(const struct shape_def *d, struct where **out, struct err *e) MUST_USE;

/* The columns that conditions of subsets may name, by index; NULL: all. For a request that def_build() takes. */
const bool *def_queryable(struct arena *a, const struct pg_table *t, const struct def_request *r);

/* The condition as SQL of ours; nothing is added if there is none. -1: it doesn't fit the table any more, or is
 * longer than the buffer may be. */
int def_where_sql(const struct shape_def *d, struct buf *out, struct err *e) MUST_USE;

/* -1 if it selects, or its condition looks at, a column that the role that reads tables has no right to; the complaint has
 * the GRANT that gives it. */
int def_check_rights(struct arena *a, const struct shape_def *d, const char *role, struct def_error *e) MUST_USE;

/* The same for columns by index, with a complaint about `field` (a constant). */
int def_check_readable(struct arena *a, const struct pg_table *t, const bool *wanted, const char *role, const char *field,
                       struct def_error *e) MUST_USE;

/* True if the definition selects a generated column. */
bool def_selects_generated(const struct shape_def *d);

/* A generated column that the condition looks at and the stream lacks, NULL if there is none: a virtual one, or a stored
 * one if those aren't published. */
const char *def_where_unpublished(const struct shape_def *d, bool stored_published);

#define DEF_TEXT_BYTES_MAX (256u << 10) /* 1,600 quoted names */

/* Why a table whose keys clash (PG_KEYS_CLASH) has no shapes, and the SQL that mends it. */
void def_keys_clash(const struct pg_table *t, struct buf *out);

#endif
