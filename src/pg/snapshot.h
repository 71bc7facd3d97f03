/*
 * snapshot.h - one consistent read of a table for one or several shapes, with the tables that their conditions name.
 *
 * pg_snapshot_begin(): BEGIN REPEATABLE READ READ ONLY, our settings, LOCK TABLE … ACCESS SHARE of each table with
 * a lock timeout - before any snapshot exists (docs/invariants.md 6.6); then the caller registers its
 * shapes with the stream (6.3) and calls pg_snapshot_take(), which fixes the snapshot and tells its
 * xmin, xmax, xip and the WAL insert position right after it (6.5), and only now, because a look
 * into the catalog would have fixed it too early, checks server and tables. pg_snapshot_copy() then
 * runs `COPY (SELECT columns FROM table) TO STDOUT` once per shape and hands the rows on, as they come.
 *
 * One thread per connection. After each -1 the caller ends the transaction by pg_snapshot_end(); if
 * that fails too the connection must be closed. Errors carry the client's text (docs/protocol.md 8.3):
 * ERR_NOT_FOUND: the table or a column is gone -> 409; ERR_TIMEOUT, ERR_CONFIG (row-level security,
 * a server that isn't the stream's) and ERR_PG with sqlstate 42501 -> 503.
 */
#ifndef BUSBAR_PG_SNAPSHOT_H
#define BUSBAR_PG_SNAPSHOT_H

#include <libpq-fe.h>

#include "base/config.h"
#include "base/lsn.h"
#include "pg/catalog.h"

#define SNAPSHOT_LOCK_TIMEOUT_MS 5000
#define SNAPSHOT_FIRST_ROW_MAX_MS 30000 /* Electric's; beyond: 503 with its text */
#define SNAPSHOT_TIME_MAX_MS (6 * 3600 * 1000) /* a copy that takes longer is given up */

struct pg_snapshot {
	uint64_t xmin, xmax; /* 64-bit, with epoch */
	uint64_t *xip;       /* the caller frees with pg_snapshot_clear() */
	uint32_t nxip;
	lsn_t insert_lsn;    /* pg_current_wal_insert_lsn() right after the snapshot: everything the snapshot
	                        shows was committed below it */
	int64_t incarnation_us; /* when the server's WAL statistics were reset, as crash recovery does */
};

void pg_snapshot_clear(struct pg_snapshot *s);

/* True if the transaction is visible in the snapshot; xid is the stream's 32 bits. */
bool pg_snapshot_holds(const struct pg_snapshot *s, uint32_t xid);

/* What a snapshot is of. */
struct pg_snapshot_tables {
	struct pg_table *const *list; /* borrowed; at least one, in the order in which they are locked: by oid */
	size_t n;
	const struct pg_table *failed; /* after -1: the one that the error is about, NULL: of none, or not known; one of the list */
};

/*
 * 0: begun and all are locked. 1: begun; of some the role may read only some columns, so pg_snapshot_lock_columns() locks
 * these by reading, once the shapes are registered; the others are locked.
 */
int pg_snapshot_begin(PGconn *conn, struct pg_snapshot_tables *tables, struct err *e) MUST_USE;
/*
 * After a 1: locks those tables of which the role may read only some columns, each with a SELECT of these. The first fixes
 * the snapshot before its lock is held: 1 means that one of them was rewritten or truncated in between, so the snapshot
 * shows none of its rows and must be taken again.
 */
int pg_snapshot_lock_columns(PGconn *conn, struct pg_snapshot_tables *tables, struct err *e) MUST_USE;

/* Fixes the snapshot, then checks that the server is the stream's primary (system id, NULL: not
 * checked; timeline, 0: not checked; not in recovery) and of each table that what is locked is still what the list says
 * (ERR_NOT_FOUND if not) and no row-level security hides rows of it (ERR_CONFIG, naming the policies). */
int pg_snapshot_take(PGconn *conn, struct pg_snapshot_tables *tables, const char *system_id, uint32_t timeline,
                     struct pg_snapshot *out, struct err *e) MUST_USE;

/* One row: `values[i]` for the i-th selected column, in COPY text form unescaped by nobody: the bytes
 * between the tabs, see pg_copy_json(); NULL is the two bytes \N. */
struct pg_copy_value {
	const char *data;
	uint32_t len;
	bool plain; /* known to be the inside of a JSON string as it is */
};
#define PG_COPY_IS_NULL(v) ((v).len == 2 && (v).data[0] == '\\' && (v).data[1] == 'N')

/* Appends a COPY text value as the inside of a JSON string: \b \f \n \r \t \\ are the same in both. */
void pg_copy_json(struct buf *out, struct pg_copy_value v);
/* Appends a COPY text value with its escapes undone. */
void pg_copy_raw(struct buf *out, struct pg_copy_value v);

/*
 * Rows of the columns `selected` (indexes into t->columns), in heap order. With children by inheritance one more value
 * follows: the oid of the table that the row is in. `row` returns -1 to stop
 * (then `e` is the row function's own). `where_sql`: NULL, or a condition made by us from a checked
 * tree, never a client's text. A statement that must stop early is cancelled on the server.
 */
int pg_snapshot_copy(PGconn *conn, const struct pg_table *t, const uint16_t *selected, uint16_t nselected,
                     const char *where_sql,
                     int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                     bool (*cancelled)(void *), void *cancel_ctx, struct err *e) MUST_USE;
/*
 * The same for part of the rows, in an order. All SQL is made by us. Errors of Postgres come as they are
 * (ERR_PG with sqlstate): a value of a row may be what fails.
 */
struct pg_rows {
	const char *where[2];    /* both hold; NULL: none */
	bool guarded;            /* the second is computed only for rows of which the first holds */
	const char *order_by;    /* "ORDER BY …", NULL: none */
	int64_t limit, offset;   /* limit below 0: none */
};
int pg_snapshot_rows(PGconn *conn, const struct pg_table *t, const uint16_t *selected, uint16_t nselected,
                     const struct pg_rows *rows,
                     int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                     bool (*cancelled)(void *), void *cancel_ctx, struct err *e) MUST_USE;
/* Up to where the WAL is on the server's disk by now. */
int pg_snapshot_flushed(PGconn *conn, lsn_t *lsn, struct err *e) MUST_USE;
/* The rows of a SELECT of ours, of any tables that are locked. Errors as pg_snapshot_rows(). */
int pg_snapshot_select(PGconn *conn, const char *select, uint16_t ncolumns,
                       int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                       bool (*cancelled)(void *), void *cancel_ctx, struct err *e) MUST_USE;
/*
 * After take: a place that pg_snapshot_back() goes back to when a copy failed, as often as one likes, so that others can go
 * on with the snapshot. Of pg_snapshot_back() -1 means that they can't: the transaction is over.
 */
int pg_snapshot_save(PGconn *conn, struct err *e) MUST_USE;
int pg_snapshot_back(PGconn *conn) MUST_USE;
/* The ERR_TIMEOUT after too many attempts: snapshots don't show what the stream has passed. Names the standbys that commits
 * wait for, if any. The connection is in no transaction; NULL: there is none. */
int pg_snapshot_outrun(PGconn *conn, struct err *e);
/* COMMIT, after an error ROLLBACK; nothing if no transaction is open. -1: close the connection. */
int pg_snapshot_end(PGconn *conn, struct err *e) MUST_USE;

#endif
