/*
 * gen.h - random conditions over a table: text that is mostly well typed, and the pools of edge values that
 * rows and literals are taken from. Same seed, same text.
 *
 * Operators and functions come from src/where/catalog.h, whatever of it has an implementation, so
 * that none is forgotten here; constructs with syntax of their own are in gen.c.
 */
#ifndef BUSBAR_TESTS_TRUTH_GEN_H
#define BUSBAR_TESTS_TRUTH_GEN_H

#include "base/buf.h"
#include "where/types.h"

#define GEN_SPANS_MAX 400
#define GEN_PARAMS_MAX 4
#define GEN_COLUMNS_MAX 80
#define GEN_TEXT_MAX 6000

struct gen_column {
	const char *name; /* as it is in the catalog */
	uint32_t type;    /* of the generator's types; a domain's base */
	bool domain;
};

/* A type that expressions are made of. */
struct gen_type {
	uint32_t oid;
	const char *sql;         /* one way to write it */
	const char *const *pool; /* texts of values, NULL terminated; NULL for arrays */
	uint32_t elem;           /* of arrays */
	char category;           /* pg_type.typcategory */
};

/* A piece of the text that is an expression by itself. */
struct gen_span {
	uint32_t start, end;
};

struct gen {
	uint64_t seed; /* the state of the random numbers */
	const struct gen_type *types;
	size_t ntypes;
	const struct gen_column *columns;
	size_t ncolumns;
	const char *table; /* unqualified name */
	uint32_t enum_oid;
	const char *const *text_pool; /* what text literals are taken from for the moment, or NULL */

	struct buf out;
	struct gen_span spans[GEN_SPANS_MAX];
	size_t nspans;
	char *params[GEN_PARAMS_MAX]; /* free() */
	size_t nparams;
	/* Polymorphic functions and ARRAY[] of domains are of the domain for Postgres, of its base type for us: literals
	 * beside them are then read with other lengths and scales. */
	bool no_domains;
	uint32_t stray; /* so many arguments on, a row stands where a value should: most of that is refused */
	bool lazy; /* something in it needn't be evaluated, and whose errors may stay unseen */
	/* Rows compared by order, OVERLAPS (SQL functions in Postgres): what Postgres doesn't look at after a NULL
	 * we may. */
	bool loose;
};

uint32_t gen_random(struct gen *g, uint32_t n); /* 0 .. n-1 */

/* Types that are built in; the caller adds its own. */
extern const struct gen_type gen_builtin_types[];
extern const size_t gen_nbuiltin_types;

const struct gen_type *gen_find_type(const struct gen *g, uint32_t oid);

/* A random text of a value of the type, as an input function takes it. */
void gen_value(struct gen *g, const struct gen_type *t, struct buf *out);

/* fresh.c: a value that isn't from a pool, now and then with a fault in it; false: not for this type. Patterns. */
bool gen_fresh(struct gen *g, uint32_t type, struct buf *out);
void gen_regex(struct gen *g, struct buf *out);
void gen_like(struct gen *g, struct buf *out);
void gen_similar(struct gen *g, struct buf *out);

/* Makes a new expression in g->out: of type bool, or of any type. */
void gen_condition(struct gen *g);
void gen_any(struct gen *g);

/* `text` as a plain SQL literal. */
void gen_quote(struct buf *out, const char *text);

#endif
