/* query.c - statements, names and values; see query.h. */
#include "pg/query.h"

#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"
#include "pg/kept.h"

PGresult *pg_query(PGconn *conn, const char *sql, int nparams, const char *const *params, struct err *e)
{
	PGresult *res = PQexecParams(conn, sql, nparams, NULL, params, NULL, NULL, 0);
	if (PQresultStatus(res) == PGRES_TUPLES_OK)
		return res;
	(void)pg_error(e, conn, res);
	PQclear(res);
	return NULL;
}

/* 0: the connection has it. */
static int prepare(PGconn *conn, const char *name, const char *sql, struct err *e)
{
	if (pg_kept_has(conn, name))
		return 0;
	PGresult *res = PQprepare(conn, name, sql, 0, NULL);
	int rc = PQresultStatus(res) == PGRES_COMMAND_OK ? 0 : pg_error(e, conn, res);
	PQclear(res);
	if (rc == 0)
		pg_kept_add(conn, name);
	return rc;
}

static PGresult *run_prepared(PGconn *conn, const char *name, const char *sql, int nparams, const char *const *params, struct err *e)
{
	if (prepare(conn, name, sql, e) != 0)
		return NULL;
	PGresult *res = PQexecPrepared(conn, name, nparams, params, NULL, NULL, 0);
	if (PQresultStatus(res) == PGRES_TUPLES_OK)
		return res;
	(void)pg_error(e, conn, res);
	PQclear(res);
	return NULL;
}

PGresult *pg_query_kept(PGconn *conn, const char *name, const char *sql, int nparams, const char *const *params, struct err *e)
{
	if (!pg_keeps_statements(conn))
		return pg_query(conn, sql, nparams, params, e);
	PGresult *res = run_prepared(conn, name, sql, nparams, params, e);
	if (res != NULL || e->kind != ERR_PG ||
	    (!pg_sqlstate_is(e, PG_SQLSTATE_NO_STATEMENT) && !pg_sqlstate_is(e, PG_SQLSTATE_DUPLICATE_STATEMENT)))
		return res;
	/* Something on the way took them away. */
	pg_kept_give_up(conn);
	if (PQtransactionStatus(conn) != PQTRANS_IDLE) {
		e->kind = ERR_PG_CONN; /* the transaction has to begin anew, as after an outage */
		return NULL;
	}
	err_clear(e);
	return pg_query(conn, sql, nparams, params, e);
}

int pg_command(PGconn *conn, const char *sql, struct err *e)
{
	PGresult *res = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(res);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		(void)pg_error(e, conn, res);
		PQclear(res);
		return -1;
	}
	PQclear(res);
	return 0;
}

void pg_rollback(PGconn *conn)
{
	PGTransactionStatusType status = PQtransactionStatus(conn);
	if (status == PQTRANS_INTRANS || status == PQTRANS_INERROR)
		PQclear(PQexec(conn, "ROLLBACK"));
}

bool pg_sqlstate_is(const struct err *e, const char *sqlstate)
{
	return strcmp(e->sqlstate, sqlstate) == 0;
}

bool pg_is_undefined(const struct err *e)
{
	return pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_TABLE) || pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_SCHEMA) ||
	       pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_COLUMN) || pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_FUNCTION);
}

void pg_put_ident(struct buf *b, const char *name)
{
	buf_putc(b, '"');
	for (const char *quote; (quote = strchr(name, '"')) != NULL; name = quote + 1) {
		buf_put(b, name, (size_t)(quote - name));
		buf_puts(b, "\"\"");
	}
	buf_puts(b, name);
	buf_putc(b, '"');
}

void pg_put_table(struct buf *b, const char *schema, const char *name)
{
	pg_put_ident(b, schema);
	buf_putc(b, '.');
	pg_put_ident(b, name);
}

int pg_lock_timed_out(const char *schema, const char *name, struct err *e)
{
	return err_set(e, ERR_TIMEOUT, "Snapshot timed out while waiting for a table lock: others hold one on \"%s.%s\"", schema, name);
}

const char *pg_value(const PGresult *res, int row, int col)
{
	return PQgetvalue(res, row, col);
}

bool pg_value_bool(const PGresult *res, int row, int col)
{
	return pg_value(res, row, col)[0] == 't';
}

int64_t pg_value_int(const PGresult *res, int row, int col)
{
	return strtoll(pg_value(res, row, col), NULL, 10);
}

uint32_t pg_value_oid(const PGresult *res, int row, int col)
{
	return (uint32_t)strtoul(pg_value(res, row, col), NULL, 10);
}
