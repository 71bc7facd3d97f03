/*
 * members.h - the table inside of subqueries: who is in which project. A shape shows a user the rows whose group is one
 * of the user's projects.
 */
#ifndef BUSBAR_BENCH_MEMBERS_H
#define BUSBAR_BENCH_MEMBERS_H

#include "bench/bench.h"

#define MEMBERS_SET 10 /* projects of each user of members_fill() */

/*
 * Makes SCHEMA.name (user_id, project_id, note) and, as tables of rows.h have it, a procedure put_NAME(from, to, groups,
 * per_txn): its rows are about as wide as those, and of users who have no shape. bench_drop() removes both.
 */
int members_create(struct bench *b, char name[NAME_BYTES]) MUST_USE;

/* User k of 0..users-1 is in k, users + k, 2 users + k, …: so of the projects below `users` each has one user. */
int members_fill(struct bench *b, const char *name, int64_t users) MUST_USE;

/* What the user sees of `items`, a table of rows.h (`in` is IN), or all else (NOT IN). To be freed. */
char *members_query(const char *items, const char *members, const char *in, int64_t user);

#endif
