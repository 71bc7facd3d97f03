/*
 * permit.h - which tables subqueries of conditions may name (BUSBAR_SUBQUERY_TABLES). Private to src/http; immutable, any thread.
 */
#ifndef BUSBAR_HTTP_PERMIT_H
#define BUSBAR_HTTP_PERMIT_H

#include <stdbool.h>

#include "base/err.h"

struct permit;

/* `list`: NULL or blank: all. -1 with a line that names the setting. */
int permit_new(struct permit **out, const char *list, struct err *e) MUST_USE;
void permit_free(struct permit *p); /* NULL is fine */
bool permit_allows(const struct permit *p, const char *schema, const char *name);

#endif
