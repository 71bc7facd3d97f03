/*
 * query.h - the parameters of a path of a side listener. Any thread, nothing fails but by what is returned.
 */
#ifndef BUSBAR_OPS_QUERY_H
#define BUSBAR_OPS_QUERY_H

#include <stdbool.h>
#include <stddef.h>

/* The first `name=value` of "a=b&c=d", percent-decoded and terminated: 1; 0: it isn't there, or its value is empty ("" in `out`); -1: it
 * doesn't fit, or is no text. */
int query_param(const char *query, const char *name, char *out, size_t max);
/* Whether it is there, also with an empty value. */
bool query_has(const char *query, const char *name);

#endif
