/* setup.c - identity, lock, publication, slot, history and start of a replication connection. */
#include "wal/setup.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/events.h"
#include "base/log.h"
#include "pg/publication.h"

#define SQL_BYTES_MAX 4096 /* longest statement here with its two names, which Postgres limits to 63 bytes */
#define VERSION_UNTESTED 190000
#define VERSION_MIN 140000
#define VERSION_GENERATED 180000        /* publish_generated_columns */
#define VERSION_STANDBY_SNAPSHOT 160000 /* pg_log_standby_snapshot() */
#define SLOT_TRIES_MAX 3                /* the slot appears or disappears between our looking and our acting */

/* ---- statements ---- */

/* A statement on the replication connection; formats as printf. */
static int query(struct setup *u, int timeout_ms, const struct loop_tick *tick, PGresult **out, struct err *e, const char *fmt, ...)
	PRINTF_LIKE(6, 7);
static int query(struct setup *u, int timeout_ms, const struct loop_tick *tick, PGresult **out, struct err *e, const char *fmt, ...)
{
	char sql[SQL_BYTES_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(sql, sizeof sql, fmt, ap);
	va_end(ap);
	*out = NULL;
	if (n < 0 || n >= SQL_BYTES_MAX)
		return err_set(e, ERR_CONFIG, "the name of the slot or the publication is too long");
	return loop_query(u->loop, u->conn, sql, timeout_ms, tick, out, e);
}

static int command(struct setup *u, struct err *e, const char *sql)
{
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e, "%s", sql) < 0)
		return -1;
	PQclear(res);
	return 0;
}

/* The result must have this shape, else it is cleared. */
static int expect(PGresult **res, int rows_min, int columns, struct err *e)
{
	if (PQntuples(*res) >= rows_min && PQnfields(*res) >= columns)
		return 0;
	int r = err_set(e, ERR_PROTOCOL, "Postgres answered with %d rows of %d columns, expected %d of %d", PQntuples(*res),
	                PQnfields(*res), rows_min, columns);
	PQclear(*res);
	*res = NULL;
	return r;
}

static const char *field(const PGresult *res, int column) { return PQgetvalue(res, 0, column); }
static bool field_true(const PGresult *res, int column) { return field(res, column)[0] == 't'; }
static bool field_null(const PGresult *res, int column) { return PQgetisnull(res, 0, column) != 0; }
static bool is(const struct err *e, const char *sqlstate) { return strcmp(e->sqlstate, sqlstate) == 0; }

/* Quotes by doubling. Names come from the settings and are checked there; this is so that it need not matter. */
struct quoted {
	char text[300];
};

static struct quoted quote(const char *s, char mark)
{
	struct quoted q;
	size_t n = 0;
	q.text[n++] = mark;
	for (; *s != '\0' && n + 3 < sizeof q.text; s++) {
		if (*s == mark)
			q.text[n++] = mark;
		q.text[n++] = *s;
	}
	q.text[n++] = mark;
	q.text[n] = '\0';
	return q;
}

#define IDENT(s) quote((s), '"').text
#define LITERAL(s) quote((s), '\'').text

/* A statement on a connection of its own, made for it and closed after it. */
static int helper_query(struct setup *u, const char *sql, PGresult **out, struct err *e)
{
	PGconn *conn = loop_connect(u->loop, u->config, PG_ROLE_ADMIN, SETUP_HELPER_TIMEOUT_MS, e);
	if (conn == NULL)
		return -1;
	int r = loop_query(u->loop, conn, sql, SETUP_HELPER_TIMEOUT_MS, NULL, out, e);
	PQfinish(conn);
	return r;
}

/* ---- identity ---- */

/* A role's or database's own timeouts would end the waits below. One SELECT, because a walsender of
 * PostgreSQL 14 takes one statement at a time, and because not every version has all of them. */
static const char settings_sql[] =
	"SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout',"
	" 'lock_timeout', 'transaction_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout')"
	" UNION ALL SELECT pg_catalog.set_config(name, value, false) FROM (VALUES ('client_encoding', 'UTF8'),"
	" ('default_transaction_read_only', 'off'), ('client_min_messages', 'warning')," /* stream.c must hear a warning */
	" ('search_path', 'pg_catalog'), ('bytea_output', 'hex'), ('DateStyle', 'ISO, DMY'), ('TimeZone', 'UTC'),"
	" ('extra_float_digits', '1'), ('IntervalStyle', 'iso_8601')) AS s (name, value)";

/* So that a backend which waits, for a slot to be made say, ends when we do. Only Linux servers have it, the rest goes
 * without. */
static const char notice_our_end_sql[] = "SELECT pg_catalog.set_config('client_connection_check_interval', '2s', false)";

static const char server_sql[] =
	"SELECT pg_catalog.current_setting('server_version_num'),"
	" (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'),"
	" pg_catalog.current_setting('server_encoding'), pg_catalog.pg_is_in_recovery(),"
	" (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),"
	" coalesce((SELECT (extract(epoch FROM w.stats_reset) * 1000000)::pg_catalog.int8 FROM pg_catalog.pg_stat_wal w), 0),"
	" coalesce((SELECT pg_catalog.string_agg(l.transactionid::pg_catalog.text, ' ') FROM pg_catalog.pg_locks l"
	" WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted"
	" AND pg_catalog.current_setting('synchronous_standby_names') <> ''), '')";

void setup_init(struct setup *u)
{
	uint64_t number;
	/* Without the kernel's random numbers, which it has, another process could be taken for this one. */
	REQUIRE(getrandom(&number, sizeof number, 0) == (ssize_t)sizeof number);
	snprintf(u->name, sizeof u->name, "busbar %016llx", (unsigned long long)number);
}

#define STARTED_US "(extract(epoch FROM a.backend_start) * 1000000)::pg_catalog.int8"

/* Names the session, and takes note of it. */
static int identify_session(struct setup *u, struct err *e)
{
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e,
	          "SELECT pg_catalog.set_config('application_name', %s, false), pg_catalog.pg_backend_pid(), (SELECT " STARTED_US
	          " FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_catalog.pg_backend_pid())", LITERAL(u->name)) < 0 ||
	    expect(&res, 1, 3, e) < 0)
		return -1;
	u->sessions[u->nsessions++ % SETUP_SESSIONS_MAX] =
		(struct setup_session){(int)strtol(field(res, 1), NULL, 10), strtoll(field(res, 2), NULL, 10)};
	PQclear(res);
	return 0;
}

static int identify_system(struct setup *u, struct err *e)
{
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e, "IDENTIFY_SYSTEM") < 0 || expect(&res, 1, 3, e) < 0)
		return -1;
	struct stream_server *s = u->server;
	snprintf(s->system_id, sizeof s->system_id, "%s", field(res, 0));
	s->timeline = (uint32_t)strtoul(field(res, 1), NULL, 10);
	int r = lsn_parse(field(res, 2), &s->wal_end) ? 0 : err_set(e, ERR_PROTOCOL, "IDENTIFY_SYSTEM: not a WAL position");
	PQclear(res);
	return r;
}

static int refuse_server(const struct stream_server *s, const char *encoding, bool standby, struct err *e)
{
	if (s->version_num < VERSION_MIN)
		return err_set(e, ERR_CONFIG, "Busbar needs PostgreSQL 14 or later, this server is %d.%d", s->version_num / 10000,
		               s->version_num % 10000);
	if (strcmp(encoding, "SQL_ASCII") == 0)
		return err_set(e, ERR_CONFIG, "The database has the encoding SQL_ASCII, whose text can't be told to clients as "
		               "UTF-8. Use a database with another encoding, such as UTF8");
	if (standby)
		return err_set(e, ERR_PG_CONN, "the database server is a standby (in recovery); Busbar needs the primary");
	return 0;
}

int setup_identify(struct setup *u, struct err *e)
{
	struct stream_server *s = u->server;
	memset(s, 0, sizeof *s);
	if (command(u, e, settings_sql) < 0)
		return -1;
	if (command(u, e, notice_our_end_sql) < 0 && e->kind != ERR_PG)
		return -1;
	if (identify_session(u, e) < 0 || identify_system(u, e) < 0)
		return -1;
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e, "%s", server_sql) < 0 || expect(&res, 1, 7, e) < 0)
		return -1;
	s->version_num = (int)strtol(field(res, 0), NULL, 10);
	u->wal_sender_timeout_ms = strtoll(field(res, 1), NULL, 10);
	s->database_oid = (uint32_t)strtoul(field(res, 4), NULL, 10);
	s->incarnation_us = strtoll(field(res, 5), NULL, 10);
	for (char *at = (char *)(uintptr_t)field(res, 6), *end; s->nrunning < STREAM_RUNNING_MAX; at = end) {
		uint32_t xid = (uint32_t)strtoul(at, &end, 10);
		if (end == at)
			break;
		s->running[s->nrunning++] = xid;
	}
	int r = refuse_server(s, field(res, 2), field_true(res, 3), e);
	PQclear(res);
	if (r == 0 && s->version_num >= VERSION_UNTESTED && !u->version_said) {
		u->version_said = true;
		log_warning("PostgreSQL %d is newer than what Busbar has been tested with, 14 to %d", s->version_num / 10000,
		            VERSION_UNTESTED / 10000 - 1);
	}
	if (r == 0)
		log_info("Postgres server version = %d, system identifier = %s, timeline_id = %u", s->version_num, s->system_id,
		         s->timeline);
	return r;
}

int setup_pooled(struct setup *u, struct err *e)
{
	if (u->pooled_seen || !pg_pooled_differs(u->config))
		return 0;
	PGconn *conn = loop_connect(u->loop, u->config, PG_ROLE_SNAPSHOT, SETUP_HELPER_TIMEOUT_MS, e);
	if (conn == NULL && e->kind == ERR_CANCELLED)
		return -1;
	u->pooled_seen = true;
	if (conn != NULL) {
		PQfinish(conn);
		return 0;
	}
	struct config theirs = *u->config; /* to look at; whose it is doesn't change */
	theirs.database = theirs.pooled_database;
	char line[sizeof e->text];
	if (pg_classify(&theirs, e, line, sizeof line) == PG_FATAL)
		return err_set(e, ERR_CONFIG, "ELECTRIC_POOLED_DATABASE_URL: %s", line);
	log_warning("The database can't be reached by ELECTRIC_POOLED_DATABASE_URL: %s. No shapes can be made until it can", line);
	return 0;
}

/* ---- lock ---- */

static void waits(struct setup *u, enum stream_wait wait)
{
	if (u->waits != NULL)
		u->waits(u->waits_ctx, wait);
}

static bool is_ours(const struct setup *u, struct setup_session session, const char *name)
{
	for (unsigned i = 0; i < SETUP_SESSIONS_MAX; i++)
		if (session.pid != 0 && u->sessions[i].pid == session.pid && u->sessions[i].started_us == session.started_us)
			return true;
	return strcmp(name, u->name) == 0;
}

#define LOCK_IS_OURS                                                                                                   \
	"l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"                                                          \
	" AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"          \
	" AND ((l.classid::bigint << 32) | l.objid::bigint) = pg_catalog.hashtext(%s)::bigint"

/* Its connection is closed on our side; the server may take a minute to notice, or have it hang. */
static int end_former(struct setup *u, struct setup_session former, struct err *e)
{
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e,
	          "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE a.pid = %d AND " STARTED_US
	          " = %lld", former.pid, (long long)former.started_us) < 0)
		return e->kind == ERR_PG ? 0 : -1; /* it may have ended, or not be ours to end */
	PQclear(res);
	return 0;
}

/* Who holds the lock: a session that this process had before, which is ended, or somebody else. */
static int look_at_holder(struct setup *u, struct err *e)
{
	PGresult *res;
	/* A start time that this role may not see is another role's session. */
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e,
	          "SELECT l.pid, a.application_name, coalesce(" STARTED_US ", 0) FROM pg_catalog.pg_locks l"
	          " LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE " LOCK_IS_OURS, LITERAL(u->config->slot_name)) < 0)
		return e->kind == ERR_PG && is(e, "57014") ? 0 : -1;
	if (PQntuples(res) == 0 || PQnfields(res) < 3) {
		PQclear(res); /* it has just let go */
		return 0;
	}
	struct setup_session holder = {(int)strtol(field(res, 0), NULL, 10), strtoll(field(res, 2), NULL, 10)};
	bool ours = is_ours(u, holder, field(res, 1));
	if (holder.pid != u->holder.pid || holder.started_us != u->holder.started_us)
		log_notice("The lock %s is held by %s, process %d of the server (application_name \"%s\")%s", u->config->slot_name,
		           ours ? "a former session of this process" : "another session", holder.pid, field(res, 1),
		           ours ? "" : ": nothing is served until it lets go");
	u->holder = holder;
	PQclear(res);
	waits(u, ours ? STREAM_WAIT_NONE : STREAM_WAIT_FOREIGN_LOCK);
	return ours ? end_former(u, holder, e) : 0;
}

/*
 * The holder's slot is not active: its walsender is gone or never came, yet the session lives on (behind a
 * broken network, say). Such a backend is ended. Not one that is only a few seconds old in what it does:
 * between taking the lock and starting the stream a healthy instance has an inactive slot too.
 */
static void break_lock(struct setup *u)
{
	struct quoted slot = quote(u->config->slot_name, '\'');
	char sql[SQL_BYTES_MAX];
	snprintf(sql, sizeof sql,
	         "SELECT pg_catalog.pg_terminate_backend(l.pid) FROM pg_catalog.pg_locks l"
	         " JOIN pg_catalog.pg_replication_slots s ON s.slot_name = %s AND s.database = pg_catalog.current_database()"
	         " AND NOT s.active LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
	         " WHERE " LOCK_IS_OURS
	         " AND l.pid NOT IN (%d, pg_catalog.pg_backend_pid())"
	         " AND coalesce(a.state_change < pg_catalog.now() - interval '%d seconds', true)",
	         slot.text, slot.text, PQbackendPID(u->conn), SETUP_LOCK_STUCK_S);
	PGresult *res = NULL;
	struct err e;
	err_clear(&e);
	if (helper_query(u, sql, &res, &e) < 0) {
		if (e.kind != ERR_CANCELLED)
			log_warning("Could not look for a stuck holder of the lock %s: %s", u->config->slot_name, e.text);
		return;
	}
	if (PQntuples(res) > 0 && field_true(res, 0))
		log_notice("Terminated a stuck backend to free the lock %s because slot with same name was inactive",
		           u->config->slot_name);
	PQclear(res);
}

static int try_lock(struct setup *u, bool *got, struct err *e)
{
	PGresult *res;
	*got = false;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e, "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext(%s))",
	          LITERAL(u->config->slot_name)) < 0) {
		/* Cancelled by somebody (pg_cancel_backend()): asked again soon. */
		return e->kind == ERR_PG && is(e, "57014") ? 0 : -1;
	}
	if (expect(&res, 1, 1, e) < 0)
		return -1;
	*got = field_true(res, 0);
	PQclear(res);
	return 0;
}

/*
 * Asks again and again rather than once with pg_advisory_lock(): a statement that waits has a snapshot, and for as
 * long as it waits, which may be weeks, vacuum would remove no row that died since, in the whole database.
 */
int setup_lock(struct setup *u, struct err *e)
{
	const char *slot = u->config->slot_name;
	int64_t look_ms = 0, tick_ms = clock_mono_ms() + SETUP_TICK_MS;
	bool got;
	u->holder = (struct setup_session){0, 0};
	log_notice("Acquiring lock from postgres with name %s", slot);
	for (;;) {
		if (try_lock(u, &got, e) < 0)
			return -1;
		if (got)
			break;
		if (clock_mono_ms() >= look_ms) {
			if (look_at_holder(u, e) < 0)
				return -1;
			look_ms = clock_mono_ms() + SETUP_LOCK_LOOK_MS;
		}
		if (clock_mono_ms() >= tick_ms) {
			log_notice("Waiting for postgres lock to be acquired...");
			break_lock(u);
			tick_ms = clock_mono_ms() + SETUP_TICK_MS;
		}
		if (loop_sleep(u->loop, SETUP_LOCK_POLL_MS, e) < 0)
			return -1;
	}
	log_notice("Lock acquired from postgres with name %s", slot);
	waits(u, STREAM_WAIT_NONE);
	return 0;
}

/* ---- slot: looking and dropping ---- */

struct slot {
	bool exists, lost;
	int64_t kept_bytes; /* of WAL behind its position */
};

static int read_slot(struct setup *u, struct slot *out, struct err *e)
{
	const char *name = u->config->slot_name;
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e,
	          "SELECT plugin, database, database = pg_catalog.current_database(), confirmed_flush_lsn, wal_status,"
	          " (pg_catalog.pg_current_wal_lsn() - confirmed_flush_lsn)::pg_catalog.int8"
	          " FROM pg_catalog.pg_replication_slots WHERE slot_name = %s",
	          LITERAL(name)) < 0)
		return -1;
	int r = 0;
	*out = (struct slot){.exists = PQntuples(res) > 0};
	if (!out->exists)
		goto out;
	out->kept_bytes = strtoll(field(res, 5), NULL, 10);
	if (strcmp(field(res, 0), "pgoutput") != 0 || !field_true(res, 2)) {
		r = err_set(e, ERR_CONFIG, "Replication slot \"%s\" belongs to something else (plugin \"%s\", database \"%s\"). "
		            "Set ELECTRIC_REPLICATION_STREAM_ID to a value of its own for each database", name, field(res, 0), field(res, 1));
		goto out;
	}
	out->lost = strcmp(field(res, 4), "lost") == 0;
	/* No position yet: a backend that lost its client is still making it. */
	if (!out->lost && !lsn_parse(field(res, 3), &u->server->confirmed_flush))
		r = err_set(e, ERR_PG_CONN, "replication slot \"%s\" is still being made by another connection", name);
out:
	PQclear(res);
	return r;
}

/* Never another database's: names of slots are shared by all databases of the server, ours needn't be ours. */
static int drop_slot(struct setup *u, struct err *e)
{
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e,
	          "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots"
	          " WHERE slot_name = %s AND plugin = 'pgoutput' AND database = pg_catalog.current_database()",
	          LITERAL(u->config->slot_name)) < 0)
		return e->kind == ERR_PG && is(e, "42704") ? 0 : -1;
	if (PQntuples(res) > 0)
		log_notice("Dropped the replication slot %s", u->config->slot_name);
	PQclear(res);
	return 0;
}

/* ---- publication ---- */

struct publication {
	bool exists, complete, generated, may_create;
};

static int read_publication(struct setup *u, struct publication *out, struct err *e)
{
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e,
	          "SELECT p.oid, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, %s,"
	          " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')"
	          " FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_publication p ON p.pubname = %s",
	          u->server->version_num >= VERSION_GENERATED ? "p.pubgencols = 's'" : "false",
	          LITERAL(u->config->publication_name)) < 0 ||
	    expect(&res, 1, 4, e) < 0)
		return -1;
	*out = (struct publication){!field_null(res, 0), field_true(res, 1), field_true(res, 2), field_true(res, 3)};
	PQclear(res);
	return 0;
}

static int drop_old_slot(struct setup *u, struct err *e)
{
	if (u->publication == PUBLICATION_STAYED)
		u->publication = PUBLICATION_WAS_GONE;
	if (drop_slot(u, e) < 0)
		return -1;
	log_warning("The publication %s was dropped, and what was written since is missing from the stream. Making it and the replication "
	            "slot %s anew, and all shapes; nobody but Busbar should drop it", u->config->publication_name, u->config->slot_name);
	event_put(EVENT_SLOT, REASON_PUBLICATION_CHANGED, NULL, NULL, "%s was given up: the publication was dropped", u->config->slot_name);
	return 0;
}

/* The old slot goes before the publication comes: a crash between the two must not leave a slot whose
 * changes were decoded without the publication and would be missing in the stream. */
static int create_publication(struct setup *u, struct publication *p, struct err *e)
{
	struct slot slot;
	if (!p->may_create)
		return pg_publication_missing(u->config, true, e);
	if (read_slot(u, &slot, e) < 0 || (slot.exists && drop_old_slot(u, e) < 0))
		return -1;
	p->generated = u->server->version_num >= VERSION_GENERATED;
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e, "CREATE PUBLICATION %s%s", IDENT(u->config->publication_name),
	          p->generated ? " WITH (publish_generated_columns = stored)" : "") == 0) {
		PQclear(res);
		u->server->publication_created = p->exists = p->complete = true;
		log_notice("Created the publication %s", u->config->publication_name);
		return 0;
	}
	if (e->kind == ERR_PG && is(e, "42501"))
		return pg_publication_missing(u->config, true, e);
	if (e->kind == ERR_PG && is(e, "42710"))
		return read_publication(u, p, e); /* somebody else was quicker */
	return -1;
}

int setup_publication(struct setup *u, struct err *e)
{
	struct publication p;
	if (read_publication(u, &p, e) < 0)
		return -1;
	if (!p.exists && create_publication(u, &p, e) < 0)
		return -1;
	if (!p.exists)
		return pg_publication_missing(u->config, true, e);
	/* Also where the publication is ours: without one of the four, shapes would silently miss changes. */
	if (!p.complete)
		return pg_publication_incomplete(u->config->publication_name, e);
	u->server->publishes_generated = p.generated;
	return 0;
}

/* ---- slot: making ---- */

/* Making a slot waits until all transactions that were running have ended, and learns of that from a record
 * which an idle server doesn't write by itself. */
static void create_tick(void *ctx)
{
	struct setup *u = ctx;
	log_notice("Waiting for the replication connection setup to complete... Check that you don't have pending transactions "
	           "in the database. Postgres finishes a new replication slot only after all transactions that were open have ended");
	struct err e;
	err_clear(&e);
	PGresult *res = NULL;
	bool supported = u->server->version_num >= VERSION_STANDBY_SNAPSHOT;
	if (supported && helper_query(u, "SELECT pg_catalog.pg_log_standby_snapshot()", &res, &e) == 0) {
		PQclear(res);
		log_notice("Forced a standby snapshot to unblock replication slot creation");
		return;
	}
	if (u->hinted || (supported && !is(&e, "42501") && !is(&e, "42883")))
		return;
	u->hinted = true;
	log_warning("Replication slot creation is blocked by a pending transaction. It goes on by itself some time after that "
	            "transaction has ended; %s", supported ? "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() would speed that up"
	                                                   : "any write to the database speeds that up");
}

/* 0: made. 1: it is there already. */
static int create_slot(struct setup *u, struct err *e)
{
	const char *name = u->config->slot_name;
	struct loop_tick tick = {SETUP_TICK_MS, create_tick, u};
	PGresult *res;
	waits(u, STREAM_WAIT_SLOT);
	int sent = query(u, 0, &tick, &res, e, "CREATE_REPLICATION_SLOT %s%s LOGICAL pgoutput NOEXPORT_SNAPSHOT", IDENT(name),
	                 u->config->temporary_slot ? " TEMPORARY" : "");
	waits(u, STREAM_WAIT_NONE);
	if (sent < 0)
		return e->kind == ERR_PG && is(e, "42710") ? 1 : -1;
	if (expect(&res, 1, 2, e) < 0)
		return -1;
	int r = lsn_parse(field(res, 1), &u->server->confirmed_flush)
	                ? 0
	                : err_set(e, ERR_PROTOCOL, "CREATE_REPLICATION_SLOT: \"%s\" is not a WAL position", field(res, 1));
	PQclear(res);
	u->server->slot_created = true;
	u->server->publication = u->publication;
	u->publication = PUBLICATION_STAYED;
	log_notice("Created the replication slot %s", name);
	event_put(EVENT_SLOT, REASON_NONE, NULL, NULL, "made: %s", name);
	return r;
}

/* Whether it is still what it was when that was decided: much may have happened until we had the lock. */
static bool is_to_give_up(struct setup *u, const struct slot *slot)
{
	const struct setup_give_up *g = &u->give_up;
	if (!g->wanted || !slot->exists || slot->lost)
		return false;
	bool stays = u->server->confirmed_flush <= g->confirmed || (g->bytes > 0 && slot->kept_bytes >= g->bytes);
	if (!stays)
		log_notice("The replication slot %s has moved on meanwhile: it is kept", u->config->slot_name);
	u->give_up.wanted = stays;
	return stays;
}

/* Why a slot that is there is dropped. */
static void tell_renewed(const struct setup *u, const struct slot *slot, bool give_up)
{
	const char *name = u->config->slot_name;
	bool unpublished = !slot->lost && u->publication != PUBLICATION_STAYED;
	const char *what = slot->lost ? "was given up by Postgres" : unpublished ? "misses what was written while there was no publication"
	                                                                         : "has a gap";
	if (give_up)
		log_warning("Giving up the replication slot %s, for which Postgres keeps %lld bytes of WAL, and making a new one. What was "
		            "written meanwhile is missing from the stream, so all shapes are made anew", name, (long long)slot->kept_bytes);
	else
		log_warning("Couldn't start replication: slot has been invalidated: %s %s%s; making a new one. What was written meanwhile is "
		            "missing from the stream, so all shapes are made anew", name, what,
		            slot->lost ? " (see max_slot_wal_keep_size, and idle_replication_slot_timeout in PostgreSQL 18)" : "");
	event_put(EVENT_SLOT, give_up ? REASON_LIMIT_WAL : unpublished ? REASON_PUBLICATION_CHANGED : REASON_SLOT_LOST, NULL, NULL, "%s %s",
	          name, give_up ? "was given up for the WAL that it kept" : what);
}

int setup_slot(struct setup *u, struct err *e)
{
	for (int i = 0; i < SLOT_TRIES_MAX; i++) {
		struct slot slot;
		if (read_slot(u, &slot, e) < 0)
			return -1;
		bool give_up = is_to_give_up(u, &slot);
		if (slot.exists && !slot.lost && !u->slot_lost && !give_up)
			return 0;
		if (slot.exists)
			tell_renewed(u, &slot, give_up);
		if (slot.exists && drop_slot(u, e) < 0)
			return -1;
		if (slot.exists)
			u->slot_lost = false;
		u->give_up.wanted = false;
		int r = create_slot(u, e);
		if (r <= 0) {
			u->slot_lost = u->slot_lost && r < 0;
			return r;
		}
	}
	return err_set(e, ERR_PG_CONN, "replication slot \"%s\" comes and goes: does another program use it?", u->config->slot_name);
}

/* ---- history ---- */

void setup_parse_history(const char *p, size_t len, struct stream_server *out)
{
	const int max = (int)ARRAY_LEN(out->history);
	const char *end = p + len;
	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((newline != NULL ? newline : end) - p);
		char line[200];
		snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), p);
		unsigned timeline, hi, lo;
		if (sscanf(line, "%u %X/%X", &timeline, &hi, &lo) == 3) {
			/* More than fit: the oldest are forgotten. */
			if (out->nhistory == max)
				memmove(&out->history[0], &out->history[1], sizeof out->history[0] * (size_t)--out->nhistory);
			out->history[out->nhistory].timeline = timeline;
			out->history[out->nhistory++].end = (lsn_t)hi << 32 | lo;
		}
		p += n + 1;
	}
}

int setup_history(struct setup *u, struct err *e)
{
	if (u->server->timeline <= 1)
		return 0;
	PGresult *res;
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e, "TIMELINE_HISTORY %u", u->server->timeline) < 0) {
		if (e->kind != ERR_PG)
			return -1;
		/* An upgraded or reset cluster has none. Then nothing is known of earlier timelines. */
		log_warning("The history of timeline %u can't be read: %s", u->server->timeline, e->text);
		return 0;
	}
	if (expect(&res, 1, 2, e) < 0)
		return -1;
	setup_parse_history(PQgetvalue(res, 0, 1), (size_t)PQgetlength(res, 0, 1), u->server);
	PQclear(res);
	return 0;
}

/* ---- a stream that has fallen silent ---- */

int setup_look(struct setup *u, struct setup_look *out, struct err *e)
{
	char sql[SQL_BYTES_MAX];
	PGresult *res;
	*out = (struct setup_look){.there = false};
	snprintf(sql, sizeof sql,
	         "SELECT coalesce(a.wait_event_type IN ('Client', 'Activity'), false),"
	         " pg_catalog.concat_ws(', ', coalesce(a.wait_event, 'running'), 'sent ' || r.sent_lsn, 'spilled ' || s.spill_bytes,"
	         " 'decoded ' || s.total_bytes) FROM pg_catalog.pg_stat_activity a"
	         " LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = a.pid"
	         " LEFT JOIN pg_catalog.pg_stat_replication_slots s ON s.slot_name = %s WHERE a.pid = %d",
	         LITERAL(u->config->slot_name), u->sessions[(u->nsessions - 1) % SETUP_SESSIONS_MAX].pid);
	if (helper_query(u, sql, &res, e) < 0)
		return -1;
	if (PQntuples(res) > 0 && PQnfields(res) >= 2) {
		out->there = true;
		out->waits = field_true(res, 0);
		snprintf(out->state, sizeof out->state, "%s", field(res, 1));
	}
	PQclear(res);
	return 0;
}

/* ---- start ---- */

int setup_start(struct setup *u, lsn_t start_at, struct err *e)
{
	char text[LSN_TEXT_MAX];
	PGresult *res;
	log_notice("Starting replication from postgres at %s", lsn_text(start_at, text));
	/* publication_names is a list of identifiers inside a string: quoted twice. */
	struct quoted publication = quote(u->config->publication_name, '"');
	if (query(u, SETUP_STATEMENT_TIMEOUT_MS, NULL, &res, e,
	          "START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', publication_names %s%s)", IDENT(u->config->slot_name), text,
	          LITERAL(publication.text), u->config->heartbeat_ms > 0 ? ", messages 'true'" : "") < 0)
		return -1;
	ExecStatusType status = PQresultStatus(res);
	PQclear(res);
	if (status != PGRES_COPY_BOTH)
		return err_set(e, ERR_PROTOCOL, "START_REPLICATION: unexpected answer %s", PQresStatus(status));
	return 0;
}
