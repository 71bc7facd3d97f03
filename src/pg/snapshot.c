/*
 * snapshot.c - the snapshot transaction, its values, and rows by COPY; see snapshot.h.
 *
 * The order of statements is the point here. In a REPEATABLE READ transaction the first statement
 * that needs a snapshot fixes it; BEGIN, SET and LOCK TABLE don't need one, every SELECT does.
 */
#include "pg/snapshot.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pg/conn.h"
#include "pg/encoding.h"
#include "pg/kept.h"
#include "pg/query.h"

#define COPY_POLL_MS 100        /* how often `cancelled` is asked while nothing comes */
#define COPY_CHECK_ROWS 1024    /* and after how many rows while they do */
#define COPY_DRAIN_MAX_MS 10000 /* what is under way after a cancel; then the connection is given up */
#define XIP_MAX 10000000u       /* far above max_connections + max_prepared_transactions */
#define TRANSACTION_TIMEOUT_SINCE 170000
#define TIMELINE_HEX_DIGITS 8   /* at the start of a WAL file's name */

/* ---- values of a snapshot ---- */

void pg_snapshot_clear(struct pg_snapshot *s)
{
	free(s->xip);
	*s = (struct pg_snapshot){0};
}

static int by_xid(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

bool pg_snapshot_holds(const struct pg_snapshot *s, uint32_t xid)
{
	/* The 64-bit xid with these low bits that is nearest to xmax: Postgres keeps all that matter within
	 * 2^31. Before the first epoch there is nothing, such an xid is as old as can be. */
	int32_t ahead = (int32_t)(xid - (uint32_t)s->xmax);
	if (ahead >= 0)
		return false;
	uint64_t back = (uint64_t)-(int64_t)ahead;
	if (back > s->xmax)
		return true;
	uint64_t full = s->xmax - back;
	if (full < s->xmin || s->nxip == 0)
		return true;
	return bsearch(&full, s->xip, s->nxip, sizeof full, by_xid) == NULL;
}

static bool read_xid(const char **p, char end, uint64_t *out)
{
	char *stop;
	if (**p < '0' || **p > '9')
		return false;
	*out = strtoull(*p, &stop, 10);
	if (*stop != end && !(end == ',' && *stop == '\0'))
		return false;
	*p = *stop == '\0' ? stop : stop + 1;
	return true;
}

/* "xmin:xmax:xip,xip" */
static bool parse_snapshot(const char *text, struct pg_snapshot *out)
{
	const char *p = text;
	if (!read_xid(&p, ':', &out->xmin) || !read_xid(&p, ':', &out->xmax) || out->xmin > out->xmax)
		return false;
	if (*p == '\0')
		return true;
	uint32_t n = 1;
	for (const char *c = p; *c != '\0'; c++)
		n += *c == ',';
	if (n > XIP_MAX)
		return false;
	out->xip = mem_alloc(n * sizeof out->xip[0]);
	for (uint32_t i = 0; i < n; i++)
		if (!read_xid(&p, ',', &out->xip[out->nxip++]))
			return false;
	qsort(out->xip, out->nxip, sizeof out->xip[0], by_xid);
	return *p == '\0';
}

/* ---- COPY text ---- */

void pg_copy_json(struct buf *out, struct pg_copy_value v)
{
	static const char hex[] = "0123456789ABCDEF";
	const char *p = v.data, *end = v.data + v.len;
	const char *run = p; /* [run, p) is seen and waits to be put */
	for (;;) {
		p += json_plain_run(p, (size_t)(end - p));
		if (p == end)
			break;
		unsigned char c = (unsigned char)*p;
		if (c == '"') {
			buf_put(out, run, (size_t)(p - run));
			buf_putc(out, '\\');
			run = p++;
		} else if (c != '\\') {
			char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
			buf_put(out, run, (size_t)(p - run));
			buf_put(out, text, sizeof text);
			run = ++p;
		} else {
			char next = p + 1 < end ? p[1] : '\0';
			if (next != '\0' && strchr("\\nrtbf", next) != NULL) {
				p += 2; /* the same in JSON */
				continue;
			}
			buf_put(out, run, (size_t)(p - run));
			run = ++p; /* another byte stands for itself: seen as any byte next */
			if (next == 'v') {
				buf_puts(out, "\\u000B");
				run = ++p;
			} else if (next == '\0' && p == end) {
				buf_puts(out, "\\\\"); /* alone at the end: no COPY writes that */
			}
		}
	}
	buf_put(out, run, (size_t)(p - run));
}

static char unescaped(char c)
{
	switch (c) {
	case 'b': return '\b';
	case 'f': return '\f';
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	case 'v': return '\v';
	default: return c;
	}
}

void pg_copy_raw(struct buf *out, struct pg_copy_value v)
{
	const char *p = v.data, *end = v.data + v.len;
	while (p < end) {
		const char *esc = memchr(p, '\\', (size_t)(end - p));
		if (esc == NULL || esc + 1 == end)
			break;
		buf_put(out, p, (size_t)(esc - p));
		buf_putc(out, unescaped(esc[1]));
		p = esc + 2;
	}
	buf_put(out, p, (size_t)(end - p));
}

/* ---- the transaction ---- */

/* Gives an error of Postgres the text and kind that docs/protocol.md 8.3 wants. Returns -1. */
static int snapshot_error(const struct pg_table *t, struct err *e)
{
	if (e->kind != ERR_PG)
		return -1;
	if (pg_sqlstate_is(e, PG_SQLSTATE_LOCK_TIMEOUT) || pg_sqlstate_is(e, PG_SQLSTATE_DEADLOCK))
		return pg_lock_timed_out(t->schema, t->name, e);
	if (pg_sqlstate_is(e, PG_SQLSTATE_PRIVILEGE))
		return err_wrap(e, "Unable to create initial snapshot");
	if (pg_is_undefined(e)) {
		e->kind = ERR_NOT_FOUND;
		e->why = pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_COLUMN) ? REASON_SCHEMA_CHANGED : REASON_TABLE_GONE;
	}
	return -1;
}

static int tables_error(const struct pg_snapshot_tables *tables, struct err *e)
{
	return snapshot_error(tables->failed != NULL ? tables->failed : tables->list[0], e);
}

/* Sends all at once; *nlocked: how many LOCK TABLEs were done, also after -1. */
static int run_locks(PGconn *conn, const char *sql, size_t *nlocked, struct err *e)
{
	*nlocked = 0;
	int rc = PQsendQuery(conn, sql) == 1 ? 0 : pg_error(e, conn, NULL);
	for (PGresult *res; rc == 0 && (res = PQgetResult(conn)) != NULL; PQclear(res)) {
		if (PQresultStatus(res) != PGRES_COMMAND_OK)
			rc = pg_error(e, conn, res);
		else
			*nlocked += strcmp(PQcmdStatus(res), "LOCK TABLE") == 0;
	}
	for (PGresult *res; (res = PQgetResult(conn)) != NULL;)
		PQclear(res);
	return rc;
}

static void put_begin(PGconn *conn, struct buf *sql)
{
	buf_puts(sql, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ");
	buf_puts(sql, pg_session_settings_sql(true));
	/* A long copy is bounded by us; row_security off turns silent filtering into an error. */
	buf_printf(sql,
	           "; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;"
	           " SET LOCAL row_security = off; SET LOCAL lock_timeout = %d",
	           SNAPSHOT_LOCK_TIMEOUT_MS);
	if (PQserverVersion(conn) >= TRANSACTION_TIMEOUT_SINCE)
		buf_puts(sql, "; SET LOCAL transaction_timeout = 0");
}

/* A table of which some columns are denied is read by the others. */
static bool reads_columns(const struct pg_table *t)
{
	bool some = false, others = false;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		some = some || t->columns[i].denied;
		others = others || !t->columns[i].denied;
	}
	return some && others;
}

/* `whole`: only those tables are locked that aren't read by columns. A statement for each, in one message: the number of
 * those that were done tells which failed. */
static int begin(PGconn *conn, struct pg_snapshot_tables *tables, bool whole, struct err *e)
{
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	put_begin(conn, &sql);
	for (size_t i = 0; i < tables->n; i++) {
		if (whole && reads_columns(tables->list[i]))
			continue;
		buf_puts(&sql, "; LOCK TABLE ");
		pg_put_table(&sql, tables->list[i]->schema, tables->list[i]->name);
		buf_puts(&sql, " IN ACCESS SHARE MODE");
	}
	size_t nlocked = 0;
	int rc = sql.failed ? err_set(e, ERR_LIMIT, "the names of %zu tables are too long for a statement", tables->n) :
	                      run_locks(conn, sql.data, &nlocked, e);
	if (rc != 0 && e->kind == ERR_PG)
		for (size_t i = 0; i < tables->n && tables->failed == NULL; i++)
			if (!(whole && reads_columns(tables->list[i])) && nlocked-- == 0)
				tables->failed = tables->list[i];
	buf_clear(&sql);
	return rc;
}

int pg_snapshot_begin(PGconn *conn, struct pg_snapshot_tables *tables, struct err *e)
{
	REQUIRE(tables->n > 0);
	tables->failed = NULL;
	if (begin(conn, tables, false, e) == 0)
		return 0;
	if (e->kind == ERR_PG && pg_sqlstate_is(e, PG_SQLSTATE_PRIVILEGE) && tables->failed != NULL && reads_columns(tables->failed)) {
		pg_rollback(conn);
		err_clear(e);
		tables->failed = NULL;
		if (begin(conn, tables, true, e) == 0)
			return 1;
	}
	return tables_error(tables, e);
}

/* The snapshot is older than the lock, which may have had to wait for somebody who replaced the table's files: the snapshot
 * doesn't show that. pg_relation_filenode() gives the current file, pg_class the snapshot's. */
static int files_agree(PGconn *conn, const struct pg_table *t, struct err *e)
{
	static const char sql[] =
		"WITH RECURSIVE family (oid) AS ("
		"  SELECT $1::pg_catalog.oid UNION SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid) "
		"SELECT count(*) FROM family f LEFT JOIN pg_catalog.pg_class c ON c.oid = f.oid"
		" WHERE c.oid IS NULL OR (c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid))";
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, t->oid);
	PGresult *res = pg_query(conn, sql, 1, (const char *const[]){oid}, e);
	if (res == NULL)
		return -1;
	int rc = pg_value_int(res, 0, 0) == 0 ? 0 : 1;
	PQclear(res);
	return rc;
}

static int lock_by_columns(PGconn *conn, const struct pg_table *t, struct err *e)
{
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	int n = 0;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		if (t->columns[i].denied)
			continue;
		buf_puts(&sql, n++ > 0 ? ", " : "SELECT ");
		pg_put_ident(&sql, t->columns[i].name);
	}
	buf_puts(&sql, " FROM ");
	pg_put_table(&sql, t->schema, t->name);
	buf_puts(&sql, " LIMIT 0");
	PGresult *res = pg_query(conn, sql.data, 0, NULL, e);
	buf_clear(&sql);
	if (res == NULL)
		return -1;
	/* Names were looked up as they are now; the snapshot may know others. */
	bool same = PQnfields(res) == n;
	for (int i = 0, at = 0; same && i < n; i++, at++) {
		while (t->columns[at].denied)
			at++;
		same = PQftable(res, i) == t->oid && PQftablecol(res, i) == t->columns[at].attnum;
	}
	PQclear(res);
	return same ? 0 : err_set(e, ERR_NOT_FOUND, "table \"%s.%s\" was changed", t->schema, t->name);
}

int pg_snapshot_lock_columns(PGconn *conn, struct pg_snapshot_tables *tables, struct err *e)
{
	int rc = 0;
	tables->failed = NULL;
	for (size_t i = 0; rc == 0 && i < tables->n; i++) {
		const struct pg_table *t = tables->list[i];
		if (!reads_columns(t))
			continue;
		rc = lock_by_columns(conn, t, e);
		if (rc == 0)
			rc = files_agree(conn, t, e);
		if (rc < 0)
			tables->failed = t;
	}
	return rc < 0 ? tables_error(tables, e) : rc;
}

/* The first SELECT, which fixes the snapshot. The insert position is read while the statement runs,
 * so after its snapshot was made: the commit records of all it shows were inserted below it. */
static int read_snapshot(PGconn *conn, uint32_t timeline, bool *may_ask_system_id, struct pg_snapshot *out, struct err *e)
{
	static const char sql[] =
		"SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, r,"
		" CASE WHEN NOT r THEN pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text END,"
		" CASE WHEN NOT r THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END,"
		" pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),"
		" coalesce((SELECT (extract(epoch FROM w.stats_reset) * 1000000)::pg_catalog.int8 FROM pg_catalog.pg_stat_wal w), 0),"
		" pg_catalog.pg_backend_pid() "
		"FROM pg_catalog.pg_is_in_recovery() AS f (r)";
	PGresult *res = pg_query_kept(conn, "busbar_snapshot", sql, 0, NULL, e);
	if (res == NULL)
		return -1;
	pg_keep_statements(conn, (int)pg_value_int(res, 0, 6));
	int rc = 0;
	char wal_timeline[TIMELINE_HEX_DIGITS + 1];
	snprintf(wal_timeline, sizeof wal_timeline, "%s", pg_value(res, 0, 3));
	*may_ask_system_id = pg_value_bool(res, 0, 4);
	out->incarnation_us = strtoll(pg_value(res, 0, 5), NULL, 10);
	uint32_t have = (uint32_t)strtoul(wal_timeline, NULL, 16);
	if (pg_value_bool(res, 0, 1))
		rc = err_set(e, ERR_CONFIG, "The snapshot connection leads to a server in recovery (a standby): "
		             "ELECTRIC_POOLED_DATABASE_URL must lead to the primary that DATABASE_URL leads to");
	else if (!parse_snapshot(pg_value(res, 0, 0), out) || !lsn_parse(pg_value(res, 0, 2), &out->insert_lsn))
		rc = err_set(e, ERR_PROTOCOL, "Postgres answered with a snapshot that can't be read");
	else if (timeline != 0 && have != timeline)
		rc = err_set(e, ERR_CONFIG, "The snapshot connection leads to a server on timeline %" PRIu32
		             ", the replication stream to one on timeline %" PRIu32
		             ": ELECTRIC_POOLED_DATABASE_URL and DATABASE_URL must lead to the same primary", have, timeline);
	PQclear(res);
	return rc;
}

static int check_system_id(PGconn *conn, const char *system_id, struct err *e)
{
	PGresult *res = pg_query_kept(conn, "busbar_system", "SELECT system_identifier FROM pg_catalog.pg_control_system()", 0, NULL, e);
	if (res == NULL)
		return -1;
	int rc = 0;
	if (strcmp(pg_value(res, 0, 0), system_id) != 0)
		rc = err_set(e, ERR_CONFIG, "The snapshot connection leads to another server than the replication stream "
		             "(system identifier %s, not %s): ELECTRIC_POOLED_DATABASE_URL and DATABASE_URL must lead to the "
		             "same primary", pg_value(res, 0, 0), system_id);
	PQclear(res);
	return rc;
}

static int check_row_security(PGconn *conn, const struct pg_table *t, struct err *e)
{
	/* True whatever row_security says: would the table's policies apply to this role? */
	static const char sql[] =
		"SELECT pg_catalog.row_security_active($1::pg_catalog.oid), CURRENT_USER,"
		" (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(polname), ', ' ORDER BY polname)"
		"  FROM pg_catalog.pg_policy WHERE polrelid = $1::pg_catalog.oid)";
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, t->oid);
	PGresult *res = pg_query_kept(conn, "busbar_row_security", sql, 1, (const char *const[]){oid}, e);
	if (res == NULL)
		return -1;
	int rc = 0;
	if (pg_value_bool(res, 0, 0))
		rc = err_set(e, ERR_CONFIG, "Unable to create initial snapshot: row-level security of table \"%s.%s\" would hide rows "
		             "from role \"%s\" (policies: %s); give the role BYPASSRLS or disable row-level security on the table",
		             t->schema, t->name, pg_value(res, 0, 1), PQgetisnull(res, 0, 2) ? "none" : pg_value(res, 0, 2));
	PQclear(res);
	return rc;
}

static int check_table(PGconn *conn, const struct pg_table *t, struct err *e)
{
	struct pg_table *now;
	int rc = pg_catalog_lookup_oid(conn, t->oid, &now, e);
	if (rc < 0)
		return -1;
	if (rc > 0) {
		err_set(e, ERR_NOT_FOUND, "table \"%s.%s\" is gone", t->schema, t->name);
		return err_why(e, REASON_TABLE_GONE);
	}
	/* The lock was taken by name: with oid and name as they were it is this table that is locked. */
	bool same = strcmp(now->schema, t->schema) == 0 && strcmp(now->name, t->name) == 0 && now->relkind == t->relkind &&
	            pg_table_same_columns(t, now);
	pg_table_unref(now);
	if (!same)
		return err_set(e, ERR_NOT_FOUND, "table \"%s.%s\" was changed", t->schema, t->name);
	return check_row_security(conn, t, e);
}

static int pg_snapshot_check(PGconn *conn, struct pg_snapshot_tables *tables, struct err *e)
{
	for (size_t i = 0; i < tables->n; i++)
		if (check_table(conn, tables->list[i], e) != 0) {
			tables->failed = tables->list[i];
			return -1;
		}
	return 0;
}

int pg_snapshot_take(PGconn *conn, struct pg_snapshot_tables *tables, const char *system_id, uint32_t timeline,
                     struct pg_snapshot *out, struct err *e)
{
	*out = (struct pg_snapshot){0};
	tables->failed = NULL;
	bool may_ask_system_id = false;
	if (read_snapshot(conn, timeline, &may_ask_system_id, out, e) != 0)
		goto fail;
	/* Some hosts forbid the question; then the timeline has to do. */
	if (system_id != NULL && may_ask_system_id && check_system_id(conn, system_id, e) != 0)
		goto fail;
	if (pg_snapshot_check(conn, tables, e) != 0)
		goto fail;
	return 0;
fail:
	pg_snapshot_clear(out);
	return tables_error(tables, e);
}

int pg_snapshot_outrun(PGconn *conn, struct err *e)
{
	struct err ignored;
	PGresult *res = conn == NULL ? NULL : pg_query(conn, "SELECT pg_catalog.current_setting('synchronous_standby_names')", 0, NULL, &ignored);
	const char *standbys = res != NULL ? pg_value(res, 0, 0) : "";
	(void)err_set(e, ERR_TIMEOUT, "A transaction that the replication stream has brought still counts as running in Postgres, so that no "
	              "snapshot shows it%s%s%s", standbys[0] != '\0' ? ": it waits for a synchronous standby. Is one of these slow or away? "
	              "synchronous_standby_names = '" : "", standbys, standbys[0] != '\0' ? "'" : "");
	PQclear(res);
	return -1;
}

int pg_snapshot_end(PGconn *conn, struct err *e)
{
	switch (PQtransactionStatus(conn)) {
	case PQTRANS_IDLE:
		return 0;
	case PQTRANS_INTRANS:
		return pg_command(conn, "COMMIT", e);
	case PQTRANS_INERROR:
		return pg_command(conn, "ROLLBACK", e);
	default:
		return err_set(e, ERR_PG_CONN, "the snapshot's connection is broken or still busy");
	}
}

/* ---- rows ---- */

struct copy {
	PGconn *conn;
	uint16_t ncolumns;
	struct pg_copy_value *values;
	int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e);
	void *ctx;
	bool (*cancelled)(void *);
	void *cancel_ctx;
	int64_t started_ms; /* clock_mono_ms() */
	uint64_t rows;
};

/* 0: go on. Looked at while waiting and every COPY_CHECK_ROWS rows. */
static int copy_may_go_on(const struct copy *c, struct err *e)
{
	if (c->cancelled != NULL && c->cancelled(c->cancel_ctx))
		return err_set(e, ERR_CANCELLED, "the snapshot was cancelled");
	int64_t took_ms = clock_mono_ms() - c->started_ms;
	if (c->rows == 0 && took_ms >= SNAPSHOT_FIRST_ROW_MAX_MS)
		return err_set(e, ERR_TIMEOUT, "Snapshot query took too long to return data (cancelled after %dms). Please ensure "
		               "snapshot queries are using an index to avoid taking up all database connections.",
		               SNAPSHOT_FIRST_ROW_MAX_MS);
	if (took_ms >= SNAPSHOT_TIME_MAX_MS)
		return err_set(e, ERR_TIMEOUT, "Snapshot query took longer than %d hours and was cancelled",
		               SNAPSHOT_TIME_MAX_MS / 3600000);
	return 0;
}

/* Waits up to COPY_POLL_MS for bytes and takes what has come. */
static int wait_input(PGconn *conn, struct err *e)
{
	struct pollfd fd = {.fd = PQsocket(conn), .events = POLLIN};
	if (poll(&fd, 1, COPY_POLL_MS) > 0 && PQconsumeInput(conn) == 0)
		return pg_error(e, conn, NULL);
	return 0;
}

/* The next result without blocking for longer than the copy may go on. */
static int next_result(const struct copy *c, PGresult **out, struct err *e)
{
	while (PQisBusy(c->conn))
		if (copy_may_go_on(c, e) != 0 || wait_input(c->conn, e) != 0)
			return -1;
	*out = PQgetResult(c->conn);
	return 0;
}

/* One line of COPY text, its newline included: tabs inside values are escaped, so each tab separates. */
static int copy_row(struct copy *c, const char *line, size_t len, struct err *e)
{
	if (len > 0 && line[len - 1] == '\n')
		len--;
	const char *p = line, *end = line + len;
	uint16_t n = 0;
	for (;;) {
		/* Most values need no escaping: then the tab is the first byte that isn't plain. */
		const char *stop = p + json_plain_run(p, (size_t)(end - p));
		bool plain = stop == end || *stop == '\t';
		const char *tab = plain ? stop : memchr(stop, '\t', (size_t)(end - stop));
		stop = tab != NULL ? tab : end;
		if (n == c->ncolumns)
			return err_set(e, ERR_PROTOCOL, "a COPY row has more than %u columns", c->ncolumns);
		c->values[n++] = (struct pg_copy_value){p, (uint32_t)(stop - p), plain};
		if (stop == end)
			break;
		p = stop + 1;
	}
	if (n != c->ncolumns)
		return err_set(e, ERR_PROTOCOL, "a COPY row has %u columns, not %u", n, c->ncolumns);
	c->rows++;
	return c->row(c->ctx, c->values, e);
}

static int copy_rows(struct copy *c, struct err *e)
{
	for (;;) {
		char *line;
		int n = PQgetCopyData(c->conn, &line, 1);
		if (n > 0) {
			int rc = copy_row(c, line, (size_t)n, e);
			PQfreemem(line);
			if (rc != 0 || (c->rows % COPY_CHECK_ROWS == 0 && copy_may_go_on(c, e) != 0))
				return -1;
		} else if (n == 0) {
			if (copy_may_go_on(c, e) != 0 || wait_input(c->conn, e) != 0)
				return -1;
		} else if (n == -1) {
			return 0;
		} else {
			return pg_error(e, c->conn, NULL);
		}
	}
}

/* From the sent statement to the last result. */
static int copy_run(struct copy *c, struct err *e)
{
	PGresult *res;
	if (next_result(c, &res, e) != 0)
		return -1;
	ExecStatusType status = PQresultStatus(res);
	int rc = 0;
	if (status == PGRES_COPY_OUT) {
		rc = copy_rows(c, e);
	} else {
		rc = pg_error(e, c->conn, res);
		pg_blame_encoding(e); /* no row was looked at yet: it is the statement */
	}
	PQclear(res);
	if (rc != 0)
		return -1;
	while ((rc = next_result(c, &res, e)) == 0 && res != NULL) {
		status = PQresultStatus(res);
		if (status != PGRES_COMMAND_OK)
			rc = pg_error(e, c->conn, res);
		PQclear(res);
		if (rc != 0)
			return -1;
	}
	return rc;
}

/* Cancels what runs and reads its end, so that the connection can roll back. What doesn't end in
 * COPY_DRAIN_MAX_MS is left busy, and pg_snapshot_end() will say so. */
static void copy_abort(PGconn *conn)
{
	PGcancel *cancel = PQtransactionStatus(conn) == PQTRANS_ACTIVE ? PQgetCancel(conn) : NULL;
	if (cancel == NULL)
		return;
	char why[256];
	(void)PQcancel(cancel, why, sizeof why);
	PQfreeCancel(cancel);
	int64_t deadline_ms = clock_mono_ms() + COPY_DRAIN_MAX_MS;
	struct err ignored;
	while (clock_mono_ms() < deadline_ms && PQstatus(conn) == CONNECTION_OK) {
		char *line;
		int n = PQgetCopyData(conn, &line, 1); /* -2 when no copy is on */
		if (n > 0) {
			PQfreemem(line);
		} else if (n == 0 || PQisBusy(conn)) {
			if (wait_input(conn, &ignored) != 0)
				return;
		} else {
			PGresult *res = PQgetResult(conn);
			if (res == NULL)
				return;
			PQclear(res);
		}
	}
}

/*
 * Of an AND the planner has the cheaper part computed first. An error of the second condition would tell of rows that the first
 * one hides, so where it may have one it stands in a CASE behind the first; which stands before that, too, for the indexes, unless it
 * is so long that the statement would be too long.
 */
#define GUARD_REST_BYTES (256u << 10) /* of the statement: 1,600 columns' names, the order */

static void put_where(struct buf *sql, const struct pg_rows *rows)
{
	const char *first = rows->where[0], *second = rows->where[1], *joint = " WHERE ";
	bool guarded = rows->guarded && first != NULL && second != NULL;
	bool fits = !guarded || 2 * strlen(first) + strlen(second) < PG_SQL_MAX_BYTES - GUARD_REST_BYTES;
	if (first != NULL && fits) {
		buf_printf(sql, "%s(%s)", joint, first);
		joint = " AND ";
	}
	if (guarded)
		buf_printf(sql, "%sCASE WHEN (%s) THEN (%s) ELSE false END", joint, first, second);
	else if (second != NULL)
		buf_printf(sql, "%s(%s)", joint, second);
}

static void put_copy(struct buf *sql, const struct pg_table *t, const uint16_t *selected, uint16_t nselected,
                     const struct pg_rows *rows)
{
	buf_puts(sql, "COPY (SELECT ");
	for (uint16_t i = 0; i < nselected; i++) {
		REQUIRE(selected[i] < t->ncolumns);
		if (i > 0)
			buf_puts(sql, ", ");
		pg_put_ident(sql, t->columns[selected[i]].name);
	}
	if (t->nmembers > 0)
		buf_puts(sql, ", tableoid");
	buf_puts(sql, " FROM ");
	pg_put_table(sql, t->schema, t->name); /* not ONLY: rows of partitions and children are its rows */
	put_where(sql, rows);
	if (rows->order_by != NULL) {
		buf_putc(sql, ' ');
		buf_puts(sql, rows->order_by);
	}
	if (rows->limit >= 0)
		buf_printf(sql, " LIMIT %" PRId64, rows->limit);
	if (rows->offset > 0)
		buf_printf(sql, " OFFSET %" PRId64, rows->offset);
	buf_puts(sql, ") TO STDOUT (FORMAT text)");
}

/* Sends the statement, of which the copy's other parts are set. */
static int copy_all(struct copy *c, const struct buf *sql, struct err *e)
{
	c->values = mem_alloc(c->ncolumns * sizeof c->values[0]);
	c->started_ms = clock_mono_ms();
	int rc = 0;
	if (sql->failed)
		rc = err_set(e, ERR_LIMIT, "the snapshot's query is longer than %u bytes", PG_SQL_MAX_BYTES);
	else if (PQsendQuery(c->conn, sql->data) == 0)
		rc = pg_error(e, c->conn, NULL);
	else
		rc = copy_run(c, e);
	if (rc != 0 && e != NULL)
		e->of_rows = e->kind == ERR_PG;
	if (rc != 0)
		copy_abort(c->conn);
	free(c->values);
	return rc;
}

int pg_snapshot_rows(PGconn *conn, const struct pg_table *t, const uint16_t *selected, uint16_t nselected,
                     const struct pg_rows *rows,
                     int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                     bool (*cancelled)(void *), void *cancel_ctx, struct err *e)
{
	REQUIRE(nselected > 0);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	put_copy(&sql, t, selected, nselected, rows);
	uint16_t ncolumns = (uint16_t)(nselected + (t->nmembers > 0 ? 1 : 0));
	struct copy c = {.conn = conn, .ncolumns = ncolumns, .row = row, .ctx = ctx,
	                 .cancelled = cancelled, .cancel_ctx = cancel_ctx};
	int rc = copy_all(&c, &sql, e);
	buf_clear(&sql);
	return rc;
}

int pg_snapshot_flushed(PGconn *conn, lsn_t *lsn, struct err *e)
{
	PGresult *res = pg_query(conn, "SELECT pg_catalog.pg_current_wal_flush_lsn()", 0, NULL, e);
	if (res == NULL)
		return -1;
	int rc = 0;
	if (!lsn_parse(pg_value(res, 0, 0), lsn))
		rc = err_set(e, ERR_PROTOCOL, "unexpected answer from Postgres: \"%.100s\" is no position", pg_value(res, 0, 0));
	PQclear(res);
	return rc;
}

int pg_snapshot_select(PGconn *conn, const char *select, uint16_t ncolumns,
                       int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                       bool (*cancelled)(void *), void *cancel_ctx, struct err *e)
{
	REQUIRE(ncolumns > 0);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_puts(&sql, "COPY (");
	buf_puts(&sql, select);
	buf_puts(&sql, ") TO STDOUT (FORMAT text)");
	struct copy c = {.conn = conn, .ncolumns = ncolumns, .row = row, .ctx = ctx, .cancelled = cancelled, .cancel_ctx = cancel_ctx};
	int rc = copy_all(&c, &sql, e);
	buf_clear(&sql);
	return rc;
}

int pg_snapshot_copy(PGconn *conn, const struct pg_table *t, const uint16_t *selected, uint16_t nselected,
                     const char *where_sql,
                     int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                     bool (*cancelled)(void *), void *cancel_ctx, struct err *e)
{
	struct pg_rows rows = {.where = {where_sql}, .limit = -1};
	int rc = pg_snapshot_rows(conn, t, selected, nselected, &rows, row, ctx, cancelled, cancel_ctx, e);
	return rc == 0 ? 0 : snapshot_error(t, e);
}

int pg_snapshot_save(PGconn *conn, struct err *e) { return pg_command(conn, "SAVEPOINT of_one_shape", e); }

int pg_snapshot_back(PGconn *conn)
{
	struct err ignored;
	switch (PQtransactionStatus(conn)) {
	case PQTRANS_INTRANS:
		return 0; /* it wasn't Postgres that failed */
	case PQTRANS_INERROR:
		return pg_command(conn, "ROLLBACK TO SAVEPOINT of_one_shape", &ignored); /* which keeps it */
	default:
		return -1;
	}
}
