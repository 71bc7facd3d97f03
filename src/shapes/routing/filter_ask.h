/*
 * filter_ask.h - what a condition asks of which expression: its conjuncts, as filter_ask.c reads them off
 * the pool's nodes and filter_place.c puts them into indexes. Everything here lives in the filter's scratch
 * arena while one member is added.
 */
#ifndef BUSBAR_SHAPES_FILTER_ASK_H
#define BUSBAR_SHAPES_FILTER_ASK_H

#include "shapes/routing/filter_private.h"

enum ask_kind {
	ASK_TEST,   /* just a bool expression */
	ASK_EQ,     /* expr is one of values */
	ASK_HAS,    /* the array has one of values */
	ASK_PREFIX, /* the text starts with values[0] */
	ASK_RANGE,
	ASK_OR,     /* one of the branches */
	ASK_NEVER,
};

struct asks;

/* One conjunct. `test` is the bool expression it comes from. */
struct ask {
	struct ask *next;
	uint8_t kind;
	bool safe; /* its evaluation can't fail */
	bool done; /* already asked above */
	uint32_t test;
	struct filter_part part;
	struct where_value *values; /* of constants of the pool: they live as long as `test` */
	uint32_t nvalues;
	struct filter_range range;
	struct asks *branches; /* nvalues of them */
};

struct asks { struct ask *first, **last; uint32_t n; };

/* Expressions made on the way, released in the end. */
struct made { struct made *next; uint32_t id; };

struct placing {
	struct filter *f;
	struct filter_member *m;
	struct made *made;
};

/* Adds to `out` what the truth of a bool expression asks. Expressions made for that are in a->made: the caller
 * releases them. */
void filter_ask(struct placing *a, uint32_t id, struct asks *out);

#endif
