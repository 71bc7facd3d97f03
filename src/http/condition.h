/*
 * condition.h - the `where` of a request: its parameters, its check, and a memory of those checked lately.
 *
 * Clients that follow a shape send its condition with every request, so each loop remembers the stored
 * form of the conditions it has seen. A loop's own thread only.
 */
#ifndef BUSBAR_HTTP_CONDITION_H
#define BUSBAR_HTTP_CONDITION_H

#include "http/params.h"
#include "shapes/core/def.h"
#include "where/where.h"

/* Conditions a loop remembers, and the longest one (text and parameters). The oldest goes first. */
#define CONDITION_CACHE_MAX 4096
#define CONDITION_CACHED_BYTES_MAX 4096

struct condition_cache;
struct condition_cache *condition_cache_new(void);
void condition_cache_free(struct condition_cache *c);

/*
 * `params`: a map of the numbers 1 to n to texts, NULL for none. -1 with a complaint under `field` if the
 * keys are others. What *out points to is in the arena and in the map.
 */
int condition_params(struct arena *a, const struct pval *params, const char *field, struct where_params *out,
                     struct params_errors *e) MUST_USE;

/* What a request's condition is made with, from one call to the next; zeroed for the first. */
#define CONDITION_TABLES_MAX (WHERE_SUBQUERIES_MAX + 1)
struct condition_input {
	struct pg_table *tables[CONDITION_TABLES_MAX]; /* that subqueries may name, as far as they are known; borrowed */
	size_t ntables;
	struct def_table_name missing; /* after CONDITION_LACKS, in the arena */
	bool checked;                  /* what follows has been read */
	struct where_params params;
};

enum condition_result {
	CONDITION_SET,
	CONDITION_REFUSED, /* with the complaint */
	CONDITION_LACKS,   /* `missing` isn't among the tables: again with it. The definition is as it was */
};

/*
 * Gives the definition the request's condition, if it has one (docs/protocol.md 2.6 g, from the syntax of
 * `where` on).
 */
enum condition_result condition_apply(struct condition_cache *c, struct arena *a, const struct shape_params *p, struct shape_def *def,
                                      struct condition_input *in, struct params_errors *e) MUST_USE;

#endif
