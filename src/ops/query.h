/*
 * query.h - the parameters of a path of a side listener. Any thread, nothing fails but by what is returned.
 */
#ifndef BUSBAR_OPS_QUERY_H
#define BUSBAR_OPS_QUERY_H

#include <stddef.h>

/* The first `name=value` of "a=b&c=d", percent-decoded and terminated: 1; 0: it isn't there, or its value is empty ("" in `out`); -1: it
 * doesn't fit, or is no text. */
int query_param(const char *query, const char *name, char *out, size_t max);
/*
 * The name of the next parameter from *at on, percent-decoded and terminated, with its value if `value` isn't NULL, as query_param() does;
 * *at moves behind it. 1; 0: there are no more; -1: the name or the value doesn't fit, or is no text.
 */
int query_next(const char **at, char *name, size_t max, char *value, size_t value_max);

#endif
