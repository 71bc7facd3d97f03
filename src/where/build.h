/*
 * build.h - making typed nodes. Private to src/where.
 *
 * parse.c reads libpg_query's tree and calls these; canonical.c calls the same when it reads a stored
 * condition, so that collations and types are derived in one place. All memory is the condition's arena.
 */
#ifndef BUSBAR_WHERE_BUILD_H
#define BUSBAR_WHERE_BUILD_H

#include <jansson.h>

#include "where/catalog.h"
#include "where/collation.h"
#include "where/node.h"
#include "where/where.h"

struct where {
	struct arena mem;
	struct pg_table *table; /* a reference */
	const struct where_node *root;
	bool *uses;             /* per column */
	const struct where_type **column_types;
	const struct where_collation **collations; /* of the table's list; made when first needed */
	struct where_user_type *types;             /* enums, domains and their arrays, made when first needed */
	struct where_subquery *subqueries;         /* by the column of their WHERE_SUBQUERY */
	uint16_t nsubqueries;
};

typedef const struct where_node *node_ref;

/* What a WHERE_SUBQUERY compares with. */
struct where_subquery {
	struct where *inner;   /* its table; `root` is its condition, NULL: there is none */
	node_ref *values;      /* of a row of that: the right sides of the comparison */
	const struct where_type **types; /* of these */
	uint16_t nvalues;
	const struct where_type *array; /* of the only value's type; NULL: there are several, or no such array */
};

struct where_user_type {
	struct where_user_type *next;
	struct where_type type;
};

/* What a build is doing, and where it failed. */
struct builder {
	struct where *w;
	struct arena *mem;
	const char *text;       /* the statement with its prefix: some numbers are read from it again */
	size_t text_len, prefix;
	const struct where_params *params;
	const struct where_type **param_types; /* the first type a parameter was resolved to */
	const char **param_texts; /* copies of those used */
	size_t constants;       /* bytes read, up to WHERE_CONSTANTS_MAX */
	const bool *columns;
	bool subset;
	char *message;          /* WHERE_MESSAGE_MAX; set by build_fail() */
	bool failed;
	uint32_t depth;
	struct where_tables *tables;  /* NULL: there can't be subqueries */
	const struct builder *outer;  /* of a subquery: the query around it */
	const char *alias;            /* what its table is called there, NULL: by its own name */
	unsigned level, *subqueries;  /* how many are around; how many there are in all */
	uint64_t *fold_steps;         /* what computing constants may still cost, in all */
	const struct parse_steps *parse;
};

struct where *where_new(const struct pg_table *t);
/* A place for one more, whose `inner` the condition owns from then on. */
struct where_subquery *where_add_subquery(struct where *w, struct where *inner);

/* NULL, with the message: "At location N: <text>". `location` is the statement's; -1: 0. */
node_ref build_fail(struct builder *b, int location, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same without the location. */
node_ref build_fail_plain(struct builder *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What has only constants is computed, and patterns are looked into: a failure would hit every row. With the message. */
void build_check_constants(struct builder *b, node_ref n);

/* ---- types ---- */

/* Any type of the table, or built in; NULL if unknown. */
const struct where_type *build_type(struct where *w, uint32_t oid);
const struct where_type *build_type_named(struct where *w, const char *schema, const char *name);
const struct where_type *build_array_of(struct where *w, const struct where_type *elem); /* NULL: none */
/* Another condition's type as one of this. */
const struct where_type *build_same_type(struct where *w, const struct where_type *t);
/* Domains away. */
const struct where_type *build_base(const struct where_type *t);
/* As messages name it: int4, int4[], enum mood. In the arena. */
const char *build_type_text(struct builder *b, const struct where_type *t);
const struct where_collation *build_collation(struct where *w, int index);

/* ---- nodes (build.c). NULL arguments pass through: a failed argument makes a failed node ---- */

node_ref node_const(struct builder *b, const struct where_type *t, struct where_value v, char written, int location);
node_ref node_null(struct builder *b, const struct where_type *t, int location);
/* The text as a constant of the type; fails as Electric says it. The value may point into the text, so that is in the arena. */
node_ref node_text_const(struct builder *b, const struct where_type *t, const char *p, size_t n, int location);
/* The same, read with a type modifier: INTERVAL '1' HOUR is an hour, not a second. */
node_ref node_text_const_as(struct builder *b, const struct where_type *t, int32_t typmod, const char *p, size_t n, int location);
node_ref node_column(struct builder *b, uint16_t column, int location);
/* A call of exactly this function; arguments have its (resolved) argument types. `result` NULL: proc->result. */
node_ref node_call(struct builder *b, const struct where_proc *proc, const struct where_oper *oper,
                   const struct where_type *result, node_ref const *args, uint32_t nargs, int location);
node_ref node_logic(struct builder *b, enum where_kind kind, const struct where_type *type, node_ref const *args,
                    uint32_t nargs, int location);
/* Kinds that carry an operator: DISTINCT NULLIF ANY ALL IN ROW_COMPARE. */
node_ref node_with_oper(struct builder *b, enum where_kind kind, const struct where_type *type,
                        const struct where_oper *oper, node_ref const *args, uint32_t nargs, int location);
node_ref node_relabel(struct builder *b, node_ref arg, const struct where_type *type, int location);
node_ref node_collate(struct builder *b, node_ref arg, const struct where_collation *c, int location);
node_ref node_array_cast(struct builder *b, node_ref arg, node_ref elem_cast, const struct where_type *type, int location);
node_ref node_element(struct builder *b, const struct where_type *type);
/* `values` are those of the subquery; each pair has the types of its operator. */
node_ref node_subquery(struct builder *b, uint16_t index, const struct where_oper **opers, node_ref const *args,
                       node_ref const *values, uint32_t nargs, int location);

static inline bool node_is_unknown(node_ref n) { return n->type->oid == OID_UNKNOWN; }

/* ---- coercion and overloads (resolve.c) ---- */

enum coercion { COERCE_IMPLICIT, COERCE_ASSIGNMENT, COERCE_EXPLICIT };
enum pathway { PATH_NONE, PATH_FUNC, PATH_RELABEL, PATH_TEXT, PATH_ARRAY };

bool resolve_can_coerce(struct where *w, const struct where_type *source, const struct where_type *target,
                        enum coercion context);
/* The node as `target`, NULL with a message if it can't be. */
node_ref resolve_coerce(struct builder *b, node_ref n, const struct where_type *target, int32_t typmod,
                        enum coercion context, int location);
/* The common type of several, as CASE and UNION have it; NULL without a message, *bad names the two at odds. */
const struct where_type *resolve_common(struct builder *b, node_ref const *args, uint32_t n,
                                        const struct where_type *bad[2]);

node_ref resolve_binary(struct builder *b, const char *name, node_ref l, node_ref r, int location);
node_ref resolve_prefix(struct builder *b, const char *name, node_ref r, int location);
/* The operator for these types and the types it wants; NULL with a message. */
const struct where_oper *resolve_oper(struct builder *b, const char *name, const struct where_type *l,
                                      const struct where_type *r, int location, const struct where_type *declared[2],
                                      const struct where_type **result);
node_ref resolve_function(struct builder *b, const char *name, node_ref *args, uint32_t nargs, int location);

/* The refusal that names the function and its arguments' types. */
node_ref resolve_no_overload(struct builder *b, const char *name, node_ref const *args, uint32_t n, int location);

/* ---- texts ---- */

void sql_node(struct buf *out, const struct where *w, node_ref n);
void sql_identifier(struct buf *out, const char *name);
/* A name as messages show it: bare if it is of lower-case letters, digits and `_`, else quoted. COMPAT: letters
 * without case are quoted, too. */
void sql_name_shown(struct buf *out, const char *name);

#endif
