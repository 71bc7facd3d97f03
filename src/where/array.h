/*
 * array.h - making arrays, and comparing their elements (any.c). Private to src/where.
 */
#ifndef BUSBAR_WHERE_ARRAY_H
#define BUSBAR_WHERE_ARRAY_H

#include "where/types.h"

#define ARRAY_ELEMENTS_MAX 134217727u /* Postgres's: pointers to them fit into 1 GB */

/* Values of an array; `values` isn't copied. n 0: the empty array, whatever ndims is. */
struct where_value array_value(struct arena *mem, const struct where_type *elem, unsigned ndims, const int32_t *dims,
                               const int32_t *lower, const struct where_value *values, uint32_t n);
/* One dimension, from 1. */
struct where_value array_of(struct arena *mem, const struct where_type *elem, const struct where_value *values,
                            uint32_t n);

/* Equality of two elements, chosen once per array; `elem` must be where_hashable(). */
typedef bool array_equality(const struct where_type *elem, const struct where_value *a, const struct where_value *b);
array_equality *array_equality_of(const struct where_type *elem);

#endif
