/*
 * condition.h - the `where` of a request: its parameters, its check, and a memory of those checked lately.
 *
 * Clients that follow a shape send its condition with every request, so each loop remembers the stored
 * form of the conditions it has seen. A loop's own thread only.
 */
#ifndef BUSBAR_HTTP_CONDITION_H
#define BUSBAR_HTTP_CONDITION_H

#include "http/params.h"
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

/*
 * Gives the definition the request's condition, if it has one (docs/protocol.md 2.6 g, from the syntax of
 * `where` on). -1 with the complaint.
 */
int condition_apply(struct condition_cache *c, struct arena *a, const struct shape_params *p, struct shape_def *def,
                    struct params_errors *e) MUST_USE;

#endif
