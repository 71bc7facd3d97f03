/*
 * subquery.h - from the syntax of a subquery to a WHERE_SUBQUERY, and which query's column a name means. Private to src/where.
 *
 * A subquery is parsed by a builder of its own, inside the one of the query around it. What it needs of the parser comes with
 * the builder, since the parser calls this.
 */
#ifndef BUSBAR_WHERE_SUBQUERY_H
#define BUSBAR_WHERE_SUBQUERY_H

#include <jansson.h>

#include "where/build.h"

/* Of parse.c. NULL and false after a failure, which the builder has. */
struct parse_steps {
	node_ref (*expr)(struct builder *b, const json_t *j);
	node_ref (*condition)(struct builder *b, const json_t *j); /* as a bool; location of the statement's WHERE */
	void (*note_param)(struct builder *b, node_ref before, node_ref after);
};

/* Fails for the first table of a subquery that isn't among b->tables, whatever else is wrong with that: before any of the text is
 * looked at closer, for the caller will come again. Also if there are too many subqueries. */
void subquery_find_tables(struct builder *b, const json_t *where);

/* The fields of a SubLink. */
node_ref subquery_link(struct builder *b, const json_t *f);

/* The column of this builder's own table that a (qualified) name means there; -1: none. */
int subquery_own_column(const struct builder *b, const json_t *parts);
/* After that: NULL, with the message for a name that means a column of a query around this one, or none at all. */
node_ref subquery_not_here(struct builder *b, const json_t *parts, int location);

#endif
