/*
 * query.h - private to src/pg: one statement to one result, quoted names, values out of a result.
 *
 * Values travel as parameters; names can't, so they are quoted here and nowhere else. All results are
 * in text form. One thread per connection.
 */
#ifndef BUSBAR_PG_QUERY_H
#define BUSBAR_PG_QUERY_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* The longest statement we build: a COPY of 1,600 columns with quoted 63-byte names is 0.2 MB, the
 * rest is for conditions. */
#define PG_SQL_MAX_BYTES (8u << 20)

#define PG_SQLSTATE_DUPLICATE_OBJECT "42710"
#define PG_SQLSTATE_UNDEFINED_OBJECT "42704"
#define PG_SQLSTATE_UNDEFINED_TABLE "42P01"
#define PG_SQLSTATE_UNDEFINED_SCHEMA "3F000"
#define PG_SQLSTATE_UNDEFINED_COLUMN "42703"
#define PG_SQLSTATE_UNDEFINED_FUNCTION "42883"
#define PG_SQLSTATE_PRIVILEGE "42501"
#define PG_SQLSTATE_LOCK_TIMEOUT "55P03"
#define PG_SQLSTATE_DEADLOCK "40P01"
#define PG_SQLSTATE_UNTRANSLATABLE "22P05"
#define PG_SQLSTATE_NO_STATEMENT "26000"
#define PG_SQLSTATE_DUPLICATE_STATEMENT "42P05"
#define PG_SQLSTATE_CANCELLED "57014" /* by a timeout, too */

/* The rows of one statement, or NULL with `e`. PQclear() is the caller's. */
PGresult *pg_query(PGconn *conn, const char *sql, int nparams, const char *const *params, struct err *e) MUST_USE;

/*
 * The same for a statement that is asked again and again, with another `name` for each text: if the connection keeps statements
 * (kept.h) it is parsed there once, and mostly planned once.
 */
PGresult *pg_query_kept(PGconn *conn, const char *name, const char *sql, int nparams, const char *const *params, struct err *e) MUST_USE;

/* Statements without rows, several if separated by semicolons; the first that fails ends them. */
int pg_command(PGconn *conn, const char *sql, struct err *e) MUST_USE;

/* Ends whatever transaction is open, for the way out after an error; nothing is reported. */
void pg_rollback(PGconn *conn);

bool pg_sqlstate_is(const struct err *e, const char *sqlstate);
/* True if what was asked for isn't there (table, schema, column, function): 409 for a client. */
bool pg_is_undefined(const struct err *e);

/* "name" with inner quotes doubled; "schema"."name". */
void pg_put_ident(struct buf *b, const char *name);
void pg_put_table(struct buf *b, const char *schema, const char *name);

/* ERR_TIMEOUT: others hold locks on the table that keep ours waiting. */
int pg_lock_timed_out(const char *schema, const char *name, struct err *e);

const char *pg_value(const PGresult *res, int row, int col); /* "" for NULL */
bool pg_value_bool(const PGresult *res, int row, int col);   /* false for NULL */
int64_t pg_value_int(const PGresult *res, int row, int col); /* 0 for NULL */
uint32_t pg_value_oid(const PGresult *res, int row, int col);

#endif
