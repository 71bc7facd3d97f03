/*
 * node.h - the typed tree of a condition. Private to src/where, and read by shapes/filter.c, which looks
 * for what it can index. Immutable once made; everything lives in the arena of its struct where.
 */
#ifndef BUSBAR_WHERE_NODE_H
#define BUSBAR_WHERE_NODE_H

#include "where/types.h"

struct where_oper; /* catalog.h */
struct where_proc;
struct where_collation;

enum where_kind {
	WHERE_CONST,     /* value; `written` says how it was written */
	WHERE_COLUMN,    /* column */
	WHERE_CALL,      /* operator or function: proc, oper (NULL for a function), args */
	WHERE_RELABEL,   /* args[0] as another type of the same representation */
	WHERE_VIA_TEXT,  /* args[0] by its output function and the target's input function */
	WHERE_ARRAY_CAST,/* args[0]: each element through `elem_cast` whose argument is a WHERE_ELEMENT */
	WHERE_ELEMENT,   /* the element at hand of the WHERE_ARRAY_CAST above */
	WHERE_AND, WHERE_OR, /* args: two or more */
	WHERE_NOT,
	WHERE_IS_NULL, WHERE_IS_NOT_NULL, /* args[0]; of rows field by field */
	WHERE_IS_TRUE, WHERE_IS_NOT_TRUE, WHERE_IS_FALSE, WHERE_IS_NOT_FALSE, WHERE_IS_UNKNOWN, WHERE_IS_NOT_UNKNOWN,
	WHERE_DISTINCT, WHERE_NOT_DISTINCT, /* proc/oper: the `=` of the two */
	WHERE_NULLIF,    /* proc/oper: the `=` */
	WHERE_ANY, WHERE_ALL, /* args[0] op any/all (args[1], an array); proc/oper on (args[0], element) */
	WHERE_IN,        /* args[0] = args[1..]: as OR of `=`; proc/oper; all of one type */
	WHERE_ARRAY,     /* ARRAY[args]; multidimensional if `nested` */
	WHERE_ROW,       /* ROW(args): only below comparisons and null tests */
	WHERE_ROW_COMPARE, /* args[0..n) op args[n..2n), row_ops[n]: `<` and the like; = and <> become AND and OR */
	WHERE_CASE,      /* args: when, then, when, then …, else (always there); no test expression */
	WHERE_COALESCE, WHERE_GREATEST, WHERE_LEAST,
	WHERE_SUBSCRIPT, /* args[0][args[1]]… : element */
	WHERE_SLICE,     /* args[0], then lower, upper per dimension; NULL pointers where left out */
	WHERE_SUBQUERY,  /* args = any of the rows that subquery `column` selects, row_ops[nargs]; none: whether there is one */
};

struct where_node {
	uint8_t kind;         /* enum where_kind */
	bool nested;
	uint8_t written;      /* of constants: '\0' as a literal of its own type, 'q' as an unknown string or a param */
	uint16_t column;
	uint32_t nargs;
	int32_t typmod;       /* of casts; -1: none */
	const struct where_type *type;
	const struct where_collation *collation; /* the one functions of it are called with (input collation) */
	const struct where_proc *proc;
	const struct where_oper *oper;
	const struct where_node **args;
	const struct where_node *elem_cast;
	const struct where_oper **row_ops;
	struct where_value value;
	int location;         /* in the client's text, -1: unknown; messages only */
	const struct where_collation *own; /* the collation of its result */
	uint8_t strength;     /* of that: 0 none, 1 implicit, 2 explicit, 3 conflict */
	uint16_t depth;       /* of the tree below, and its nodes: shared ones count wherever they stand */
	uint32_t size;
};

struct where;
const struct where_node *where_root(const struct where *w);
/* What a row of the table inside is compared with: where_subquery_width() nodes. */
const struct where_node *const *where_subquery_values(const struct where *w, size_t i);

#endif
