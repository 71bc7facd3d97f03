/*
 * bag.h - how often each row of values is there: what a subquery selects, and what a transaction changes of that.
 *
 * Two rows are the same if their values are, by the default equality of the type that is compared (1.0 and 1.00, an interval of
 * a day and one of 24 hours, char(n) without its blanks); where we don't know it, if their texts are. NULL is the same as NULL.
 * Owns copies of all that is put into it. One thread at a time.
 */
#ifndef BUSBAR_WHERE_BAG_H
#define BUSBAR_WHERE_BAG_H

#include "where/types.h"

struct where_bag;

/* Rows of `n` values of these types, which may go before the bag does. n may be 0: there is one row then, the empty one. */
struct where_bag *where_bag_new(const struct where_type *const *types, uint32_t n);
/* An empty one for the same rows. */
struct where_bag *where_bag_like(const struct where_bag *b);
void where_bag_free(struct where_bag *b);

/*
 * Where the number of these rows stands, which is 0 if it wasn't in the bag; *made (may be NULL) says whether it is new. Stays
 * until the next row is put in. NULL: a value has no text (`reason`). `types` are those of `row` here, which mean the bag's.
 */
int64_t *where_bag_count(struct where_bag *b, const struct where_type *const *types, const struct where_value *row, bool *made,
                         char reason[WHERE_REASON_MAX]);
/* The same for a row of another bag of these rows, as where_bag_next() gives it; never NULL. */
struct where_bag_row;
int64_t *where_bag_count_of(struct where_bag *b, const struct where_bag_row *row);

/* The rows one after the other, from *at = NULL on: those whose number is 0, too. */
const struct where_bag_row *where_bag_next(const struct where_bag *b, const struct where_bag_row *at, int64_t *count);

/* Whether the same rows are in both, however often. */
bool where_bag_same_rows(const struct where_bag *a, const struct where_bag *b);

/* No more rows are to be expected: gives room for such back. */
void where_bag_trim(struct where_bag *b);

size_t where_bag_rows(const struct where_bag *b);  /* different ones, those whose number is 0 too */
size_t where_bag_bytes(const struct where_bag *b); /* of memory, about */

#endif
