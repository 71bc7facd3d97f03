/*
 * db.h - plain sessions with Postgres, and the scratch schema.
 *
 * A session is used by one thread at a time. When the program is asked to stop, a statement under way is cancelled, unless
 * the session is marked as unstoppable: the one that cleans up.
 */
#ifndef BUSBAR_BENCH_DB_H
#define BUSBAR_BENCH_DB_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SCHEMA "busbar_bench"
#define PUBLICATION "busbar_bench"

struct db {
	PGconn *conn;
	bool unstoppable;
};

int db_open(struct db *d, const char *url, bool replication, struct err *e) MUST_USE;
void db_close(struct db *d);

int db_exec(struct db *d, struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4) MUST_USE;
/* The first field of the first row; "" if there is none. */
int db_text(struct db *d, char *out, size_t size, struct err *e, const char *fmt, ...) PRINTF_LIKE(5, 6) MUST_USE;
int db_number(struct db *d, int64_t *out, struct err *e, const char *fmt, ...) PRINTF_LIKE(4, 5) MUST_USE;

/* Runs COPY … TO STDOUT and throws the rows away: how many, and their bytes with the line ends. */
int db_copy_out(struct db *d, const char *sql, int64_t *rows, int64_t *bytes, struct err *e) MUST_USE;

/*
 * The scratch schema: refused if one of that name isn't ours (it carries a comment), or if another bench runs in this
 * database (an advisory lock of the session). What an earlier run left is removed first.
 */
int scratch_open(struct db *d, struct err *e) MUST_USE;
int scratch_remove(struct db *d, struct err *e) MUST_USE; /* the schema with all in it, the publication, slots */

#endif
