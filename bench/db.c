/* db.c - see db.h. */
#include "bench/db.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "bench/util.h"

#define SQL_BYTES_MAX (8u << 20)
#define MARK "made by busbar-bench, removed when it ends"
#define LOCK_KEY 4711420115L

static int pg_fail(struct db *d, PGresult *r, struct err *e, const char *sql)
{
	const char *text = r ? PQresultErrorMessage(r) : PQerrorMessage(d->conn);
	int len = (int)strcspn(text, "\n");

	if (len == 0 && r != NULL)
		text = PQresStatus(PQresultStatus(r)), len = (int)strlen(text);
	err_set(e, ERR_PG, "Postgres: %.*s (%.80s)", len, text, sql);
	PQclear(r);
	return -1;
}

static void quiet(void *ctx, const char *message)
{
	(void)ctx;
	(void)message;
}

int db_open(struct db *d, const char *url, bool replication, struct err *e)
{
	const char *keys[] = {"dbname", "application_name", replication ? "replication" : NULL, NULL};
	const char *values[] = {url, "busbar-bench", "database", NULL};

	memset(d, 0, sizeof *d);
	d->conn = PQconnectdbParams(keys, values, 1);
	if (d->conn == NULL || PQstatus(d->conn) != CONNECTION_OK) {
		const char *text = d->conn ? PQerrorMessage(d->conn) : "no memory";
		err_set(e, ERR_PG_CONN, "Postgres: %.*s", (int)strcspn(text, "\n"), text);
		PQfinish(d->conn);
		d->conn = NULL;
		return -1;
	}
	PQsetNoticeProcessor(d->conn, quiet, NULL);
	return 0;
}

void db_close(struct db *d)
{
	PQfinish(d->conn);
	d->conn = NULL;
}

static void cancel(struct db *d)
{
	char text[256];
	PGcancel *c = PQgetCancel(d->conn);

	if (c != NULL)
		PQcancel(c, text, sizeof text);
	PQfreeCancel(c);
}

/* As PQexec(), but a stop cancels it. The last result; NULL if the connection broke. */
static PGresult *execute(struct db *d, const char *sql)
{
	struct pollfd fd = {PQsocket(d->conn), POLLIN, 0};
	PGresult *r, *last = NULL;
	bool cancelled = false;

	if (!PQsendQuery(d->conn, sql))
		return NULL;
	for (;;) {
		while (PQisBusy(d->conn)) {
			if (stopping() && !d->unstoppable && !cancelled) {
				cancel(d);
				cancelled = true;
			}
			if (poll(&fd, 1, 100) > 0 && !PQconsumeInput(d->conn))
				break;
		}
		if ((r = PQgetResult(d->conn)) == NULL)
			return last;
		PQclear(last);
		last = r;
		if (PQresultStatus(r) == PGRES_COPY_OUT)
			return last;
	}
}

static PGresult *run(struct db *d, struct buf *sql, const char *fmt, va_list ap)
{
	char *room;
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	room = buf_room(sql, (size_t)n + 1);
	if (n < 0 || room == NULL || d->conn == NULL)
		return NULL;
	vsnprintf(room, (size_t)n + 1, fmt, ap);
	return execute(d, room);
}

int db_exec(struct db *d, struct err *e, const char *fmt, ...)
{
	struct buf sql = BUF_INIT(SQL_BYTES_MAX);
	PGresult *r;
	va_list ap;
	int status, result = 0;

	va_start(ap, fmt);
	r = run(d, &sql, fmt, ap);
	va_end(ap);
	status = PQresultStatus(r);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		result = pg_fail(d, r, e, sql.data ? sql.data : "");
	else
		PQclear(r);
	buf_clear(&sql);
	return result;
}

int db_text(struct db *d, char *out, size_t size, struct err *e, const char *fmt, ...)
{
	struct buf sql = BUF_INIT(SQL_BYTES_MAX);
	PGresult *r;
	va_list ap;
	int result = 0;

	va_start(ap, fmt);
	r = run(d, &sql, fmt, ap);
	va_end(ap);
	out[0] = '\0';
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		result = pg_fail(d, r, e, sql.data ? sql.data : "");
	else {
		if (PQntuples(r) > 0 && PQnfields(r) > 0)
			snprintf(out, size, "%s", PQgetvalue(r, 0, 0));
		PQclear(r);
	}
	buf_clear(&sql);
	return result;
}

int db_number(struct db *d, int64_t *out, struct err *e, const char *fmt, ...)
{
	struct buf sql = BUF_INIT(SQL_BYTES_MAX);
	PGresult *r;
	va_list ap;
	int result = 0;

	va_start(ap, fmt);
	r = run(d, &sql, fmt, ap);
	va_end(ap);
	*out = 0;
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		result = pg_fail(d, r, e, sql.data ? sql.data : "");
	else {
		if (PQntuples(r) > 0)
			*out = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
		PQclear(r);
	}
	buf_clear(&sql);
	return result;
}

int db_copy_out(struct db *d, const char *sql, int64_t *rows, int64_t *bytes, struct err *e)
{
	PGresult *r = execute(d, sql);
	bool cancelled = false;
	char *line;
	int n;

	*rows = *bytes = 0;
	if (PQresultStatus(r) != PGRES_COPY_OUT)
		return pg_fail(d, r, e, sql);
	PQclear(r);
	while ((n = PQgetCopyData(d->conn, &line, 0)) > 0) {
		*rows += 1;
		*bytes += n;
		PQfreemem(line);
		if (stopping() && !cancelled) {
			cancel(d);
			cancelled = true;
		}
	}
	r = PQgetResult(d->conn);
	if (n == -2 || PQresultStatus(r) != PGRES_COMMAND_OK)
		return pg_fail(d, r, e, sql);
	PQclear(r);
	while ((r = PQgetResult(d->conn)) != NULL)
		PQclear(r);
	return 0;
}

/* Tables are dropped one transaction each: one DROP of thousands would need as many locks at once. */
static int drop_tables(struct db *d, struct err *e)
{
	char name[256];

	for (;;) {
		if (db_text(d, name, sizeof name, e,
			    "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = '" SCHEMA "' LIMIT 1"))
			return -1;
		if (name[0] == '\0')
			return 0;
		if (db_exec(d, e, "DROP TABLE %s CASCADE", name))
			return -1;
	}
}

int scratch_remove(struct db *d, struct err *e)
{
	if (db_exec(d, e, "SET lock_timeout = '20s'") || db_exec(d, e, "DROP PUBLICATION IF EXISTS " PUBLICATION) ||
	    drop_tables(d, e) || db_exec(d, e, "DROP SCHEMA IF EXISTS " SCHEMA " CASCADE"))
		return -1;
	/* Ours are temporary; this is for one whose session the server hasn't noticed to be gone. */
	return db_exec(d, e, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
			     "WHERE slot_name LIKE 'busbar_bench_%%' AND NOT active AND database = current_database()");
}

int scratch_open(struct db *d, struct err *e)
{
	char text[200];
	int64_t got;

	if (db_number(d, &got, e, "SELECT CASE WHEN pg_try_advisory_lock(%ld) THEN 1 ELSE 0 END", LOCK_KEY))
		return -1;
	if (!got)
		return err_set(e, ERR_CONFIG, "another busbar-bench runs in this database");
	if (db_text(d, text, sizeof text, e,
		    "SELECT coalesce(obj_description(oid, 'pg_namespace'), 'none') FROM pg_namespace WHERE nspname = '" SCHEMA "'"))
		return -1;
	if (text[0] != '\0' && strcmp(text, MARK) != 0)
		return err_set(e, ERR_CONFIG, "the database has a schema " SCHEMA " that isn't the bench's: rename it, or use "
			       "another database");
	if (scratch_remove(d, e) || db_exec(d, e, "CREATE SCHEMA " SCHEMA) ||
	    db_exec(d, e, "COMMENT ON SCHEMA " SCHEMA " IS '" MARK "'"))
		return -1;
	return 0;
}
