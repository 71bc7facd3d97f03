/*
 * filter_tell.h - how one condition is found, told to people: placed in a filter of its own, that no row is put to.
 *
 * Any thread. What fits into no limit of a buffer is cut.
 */
#ifndef BUSBAR_SHAPES_FILTER_TELL_H
#define BUSBAR_SHAPES_FILTER_TELL_H

#include "shapes/routing/filter.h"

/* What keeps (a part of) a condition from being indexed, as bits. */
enum filter_hint {
	HINT_OR = 1 << 0,         /* alternatives, of which one at least isn't indexable */
	HINT_NOT = 1 << 1,        /* what is excluded, rather than what is wanted */
	HINT_LIKE = 1 << 2,       /* a pattern that begins with a wildcard */
	HINT_LIKE_REST = 1 << 3,  /* ... or goes on behind one; the beginning is indexed */
	HINT_ILIKE = 1 << 4,
	HINT_REGEX = 1 << 5,
	HINT_COLLATION = 1 << 6,  /* the order of a collation other than C, or one that isn't deterministic */
	HINT_COLUMNS = 1 << 7,    /* two expressions of the row are compared with each other */
	HINT_TYPES = 1 << 8,      /* the constant has another type than the column: the column is converted */
	HINT_JSON = 1 << 9,
	HINT_LIST = 1 << 10,      /* a list, or combinations of lists, beyond FILTER_ENTRIES_MAX */
	HINT_FAILS = 1 << 11,     /* it may fail on a row */
	HINT_OTHER = 1 << 12,
};

enum filter_cost { COST_NEVER, COST_ALL, COST_INDEX, COST_INDEX_AND_REST, COST_REST };

struct filter_told {
	enum filter_cost cost;
	uint32_t entries;  /* in indexes */
	struct buf ways;   /* each way to it, a line each: `eq(user_id) > range(created)` */
	struct buf rest;   /* what is evaluated for the rows that lead there, a line for each conjunct */
	unsigned hints;    /* of the rest: enum filter_hint */
	bool by_equality;  /* each way goes through an equality with constants, or an array's element */
};

/* `w` has no subqueries, or they are bound. -1: a constant part of it fails. */
int filter_tell(const struct where *w, struct filter_told *out, char reason[WHERE_REASON_MAX]) MUST_USE;
void filter_told_clear(struct filter_told *t);

#endif
