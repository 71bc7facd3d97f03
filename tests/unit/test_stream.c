/*
 * test_stream.c - the replication connection against a real Postgres.
 *
 * Needs BUSBAR_TEST_DATABASE_URL, a superuser's URL of a server with wal_level = logical; without it
 * there is nothing to do. Everything it makes is named busbar_test_stream… and removed at the end.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"
#include "pg/conn.h"
#include "wal/setup.h"
#include "wal/stream.h"

#define WAIT_MS 20000
#define STOP_MS 200

static char slot_name[] = "busbar_test_stream", publication_name[] = "busbar_test_stream_pub";
static struct config config = {
	.tcp_keepalive_idle_ms = -1, .tcp_keepalive_interval_ms = -1, .tcp_user_timeout_ms = -1, .tcp_keepalive_count = -1,
	.slot_name = slot_name, .publication_name = publication_name,
};
static PGconn *admin;

/* One stream, its thread, and a sink that counts. */
struct run {
	struct stream *stream;
	pthread_t thread;
	int result;
	struct err err;
	/* below: under the lock */
	pthread_mutex_t lock;
	struct stream_server server;
	enum stream_phase phase;
	char error[400];
	int unready; /* how often it was told not to read */
	int starts, changes, commits, inserts, updates, deletes, truncates, relations, keepalives, keepalives_inside, idles, losses;
	bool inside, blocked, refuse;
	bool hold_durable; /* durable stays as it is; else it follows commits and keepalives */
	lsn_t durable, last_end;
	char value[64];
	int64_t idle_ms, idle_gap_max_ms;
	enum stream_wait wait;
	int attempts;
	int64_t attempt_ms; /* when the last of them was, whenever we look */
};

#define LOCKED(r, statement) do { pthread_mutex_lock(&(r)->lock); statement; pthread_mutex_unlock(&(r)->lock); } while (0)

static int on_start(void *ctx, const struct stream_server *server, lsn_t *start_at, struct err *e)
{
	struct run *r = ctx;
	(void)e;
	LOCKED(r, r->server = *server; r->starts++; *start_at = r->durable);
	return 0;
}

static int on_change(void *ctx, const struct wal_change *c, struct err *e)
{
	struct run *r = ctx;
	int result = 0;
	pthread_mutex_lock(&r->lock);
	r->changes += c->kind == WAL_INSERT || c->kind == WAL_UPDATE || c->kind == WAL_DELETE || c->kind == WAL_TRUNCATE;
	if (r->refuse && c->kind == WAL_INSERT) {
		r->refuse = false;
		result = err_set(e, ERR_FULL, "the test's sink is full");
	}
	switch (c->kind) {
	case WAL_BEGIN: r->inside = true; r->changes = 0; break;
	case WAL_COMMIT:
		r->inside = false;
		if (!r->hold_durable && c->u.commit.end_lsn > r->durable)
			r->durable = c->u.commit.end_lsn;
		if (r->changes == 0)
			break; /* PostgreSQL 14 also tells of transactions that have nothing for us */
		r->commits++;
		r->last_end = c->u.commit.end_lsn;
		break;
	case WAL_RELATION: r->relations++; break;
	case WAL_INSERT:
		r->inserts++;
		snprintf(r->value, sizeof r->value, "%.*s", (int)c->u.row.new_tuple.values[1].len, c->u.row.new_tuple.values[1].data);
		break;
	case WAL_UPDATE: r->updates++; break;
	case WAL_DELETE: r->deletes++; break;
	case WAL_TRUNCATE: r->truncates++; break;
	default: break;
	}
	pthread_mutex_unlock(&r->lock);
	return result;
}

static int on_keepalive(void *ctx, lsn_t wal_end, struct err *e)
{
	struct run *r = ctx;
	(void)e;
	LOCKED(r, r->keepalives++; r->keepalives_inside += r->inside;
	       if (!r->hold_durable && wal_end > r->durable) r->durable = wal_end);
	return 0;
}

static bool on_ready(void *ctx)
{
	struct run *r = ctx;
	bool blocked;
	LOCKED(r, blocked = r->blocked; r->unready += blocked);
	return !blocked;
}

static void on_idle(void *ctx)
{
	struct run *r = ctx;
	int64_t now_ms = clock_mono_ms();
	LOCKED(r, r->idles++;
	       if (r->idle_ms != 0 && now_ms - r->idle_ms > r->idle_gap_max_ms) r->idle_gap_max_ms = now_ms - r->idle_ms;
	       r->idle_ms = now_ms);
}

static lsn_t on_durable(void *ctx)
{
	struct run *r = ctx;
	lsn_t durable;
	LOCKED(r, durable = r->durable);
	return durable;
}

static void on_lost(void *ctx)
{
	struct run *r = ctx;
	LOCKED(r, r->losses++; r->inside = false);
}

static void on_phase(void *ctx, enum stream_phase phase, const char *error)
{
	struct run *r = ctx;
	bool attempt = phase == STREAM_CONNECTING;
	int64_t now_ms = clock_mono_ms();
	LOCKED(r, r->phase = phase; r->attempts += attempt; r->attempt_ms = attempt ? now_ms : r->attempt_ms;
	       if (error != NULL) snprintf(r->error, sizeof r->error, "%s", error));
}

static void on_waits(void *ctx, enum stream_wait wait)
{
	struct run *r = ctx;
	LOCKED(r, r->wait = wait);
}

static void *run_thread(void *arg)
{
	struct run *r = arg;
	r->result = stream_run(r->stream, &r->err);
	return NULL;
}

static void run_start_with(struct run *r, const struct config *c)
{
	memset(r, 0, sizeof *r);
	pthread_mutex_init(&r->lock, NULL);
	struct stream_sink sink = {r, on_start, on_change, on_keepalive, on_ready, on_idle, on_durable, on_lost, on_phase, on_waits};
	r->stream = stream_new(c, &sink);
	pthread_create(&r->thread, NULL, run_thread, r);
}

static void run_start(struct run *r) { run_start_with(r, &config); }

/* Stops it, and checks that this is quick whatever it is doing. */
static void run_stop(struct run *r)
{
	int64_t from_ms = clock_mono_ms();
	stream_stop(r->stream);
	pthread_join(r->thread, NULL);
	CHECK(clock_mono_ms() - from_ms <= STOP_MS);
	CHECK_INT(r->result, 0);
	stream_free(r->stream);
}

/* Waits until the condition (over the run, locked) holds. */
#define WAIT_FOR(r, cond) \
	do { \
		int64_t wait_until_ms = clock_mono_ms() + WAIT_MS; \
		bool wait_ok = false; \
		while (!wait_ok && clock_mono_ms() < wait_until_ms) { \
			LOCKED(r, wait_ok = (cond)); \
			if (!wait_ok) \
				usleep(2000); \
		} \
		check_one(wait_ok, "in time: " #cond, __FILE__, __LINE__); \
	} while (0)

/* Numbers that the stream's thread goes on changing. */
static int idles(struct run *r)
{
	int n;
	LOCKED(r, n = r->idles);
	return n;
}

static enum stream_phase phase(struct run *r)
{
	enum stream_phase p;
	LOCKED(r, p = r->phase);
	return p;
}

static void sql(const char *text)
{
	PGresult *res = PQexec(admin, text);
	if (!CHECK(PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK))
		printf("  %s: %s\n", text, PQerrorMessage(admin));
	PQclear(res);
}

static lsn_t sql_lsn(const char *text)
{
	PGresult *res = PQexec(admin, text);
	lsn_t lsn = 0;
	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1)
		(void)lsn_parse(PQgetvalue(res, 0, 0), &lsn);
	PQclear(res);
	return lsn;
}

static int sql_int(const char *text)
{
	PGresult *res = PQexec(admin, text);
	int v = PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1 ? atoi(PQgetvalue(res, 0, 0)) : -1;
	PQclear(res);
	return v;
}

static lsn_t confirmed(void)
{
	return sql_lsn("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'busbar_test_stream'");
}

/* Sessions that should be gone take a moment. */
static void await_slot_inactive(void)
{
	for (int i = 0; i < WAIT_MS / 10; i++) {
		if (sql_int("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'busbar_test_stream' AND active") == 0)
			return;
		usleep(10000);
	}
	CHECK(!"the slot is still active");
}

static void clean_up(void)
{
	await_slot_inactive();
	sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'busbar_test_stream'");
	sql("DROP PUBLICATION IF EXISTS busbar_test_stream_pub");
	sql("DROP TABLE IF EXISTS public.busbar_test_stream");
}

static void make_table(void)
{
	sql("CREATE TABLE public.busbar_test_stream (id bigint PRIMARY KEY, v text)");
	sql("ALTER TABLE public.busbar_test_stream REPLICA IDENTITY FULL");
}

static void publish(void) { sql("ALTER PUBLICATION busbar_test_stream_pub ADD TABLE public.busbar_test_stream"); }

static void test_first_start_and_changes(void)
{
	struct run r;
	run_start(&r);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	CHECK_INT(r.starts, 1);
	CHECK(r.server.slot_created);
	CHECK(r.server.publication_created);
	CHECK_INT(r.server.version_num, PQserverVersion(admin));
	CHECK(strlen(r.server.system_id) > 10);
	CHECK(r.server.database_oid > 0);
	CHECK(r.server.confirmed_flush > 0);
	CHECK_INT(r.server.publishes_generated, r.server.version_num >= 180000);
	publish();
	sql("INSERT INTO public.busbar_test_stream VALUES (1, 'one')");
	WAIT_FOR(&r, r.commits == 1);
	CHECK_INT(r.inserts, 1);
	CHECK_INT(r.relations, 1);
	CHECK_STR(r.value, "one");
	sql("BEGIN; UPDATE public.busbar_test_stream SET v = 'two'; DELETE FROM public.busbar_test_stream; COMMIT");
	WAIT_FOR(&r, r.commits == 2);
	CHECK_INT(r.updates, 1);
	CHECK_INT(r.deletes, 1);
	sql("TRUNCATE public.busbar_test_stream");
	WAIT_FOR(&r, r.truncates == 1 && r.commits == 3);
	/* One transaction of many rows: idle is called in the middle of it. */
	int before = idles(&r);
	LOCKED(&r, r.idle_gap_max_ms = 0);
	sql("INSERT INTO public.busbar_test_stream SELECT i, 'x' || i FROM generate_series(1, 50000) i");
	WAIT_FOR(&r, r.commits == 4);
	CHECK_INT(r.inserts, 50001);
	CHECK(idles(&r) - before >= 40);
	WAIT_FOR(&r, r.idle_gap_max_ms <= 300);
	CHECK_STR(r.value, "x50000");
	run_stop(&r);
	CHECK_INT(r.losses, 1);
}

/* Only what is durable is acknowledged, at once when it is, and at a stop. */
static void test_feedback(void)
{
	struct run r;
	lsn_t before = confirmed();
	run_start(&r);
	LOCKED(&r, r.hold_durable = true);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	CHECK(!r.server.slot_created);
	CHECK(!r.server.publication_created);
	CHECK(r.server.confirmed_flush >= before);
	sql("INSERT INTO public.busbar_test_stream VALUES (100001, 'a')");
	WAIT_FOR(&r, r.commits == 1);
	CHECK(confirmed() < r.last_end);
	lsn_t part = r.last_end - 1; /* what is acknowledged says no more, though all has been received */
	LOCKED(&r, r.durable = part);
	stream_wake(r.stream);
	WAIT_FOR(&r, confirmed() >= part);
	CHECK(confirmed() == part);
	LOCKED(&r, r.durable = r.last_end);
	stream_wake(r.stream);
	WAIT_FOR(&r, confirmed() >= r.last_end);
	CHECK(confirmed() == r.last_end);
	/* More than we have received is never acknowledged. */
	LOCKED(&r, r.durable = r.last_end + (1 << 30));
	stream_wake(r.stream);
	sql("INSERT INTO public.busbar_test_stream VALUES (100002, 'b')");
	WAIT_FOR(&r, r.commits == 2);
	CHECK(confirmed() <= sql_lsn("SELECT pg_current_wal_lsn()"));
	LOCKED(&r, r.durable = r.last_end);
	run_stop(&r);
	await_slot_inactive();
	CHECK(confirmed() >= r.last_end);
}

static void test_idle_server_moves(void)
{
	struct run r;
	run_start(&r);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	sql("CREATE TABLE public.busbar_test_other AS SELECT i FROM generate_series(1, 20000) i");
	sql("DROP TABLE public.busbar_test_other");
	lsn_t target = sql_lsn("SELECT pg_current_wal_lsn()");
	WAIT_FOR(&r, r.durable >= target);
	WAIT_FOR(&r, confirmed() >= target);
	CHECK_INT(r.keepalives_inside, 0);
	CHECK_INT(r.commits, 0);
	run_stop(&r);
}

static void test_back_pressure(void)
{
	struct run r;
	run_start(&r);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	LOCKED(&r, r.blocked = true);
	stream_wake(r.stream);
	WAIT_FOR(&r, r.unready > 0);
	sql("INSERT INTO public.busbar_test_stream VALUES (200001, 'a')");
	/* wal_sender_timeout is 2 s here: that the server hears of us 3 s later means that it was given feedback. */
	sql("CREATE TEMPORARY TABLE began AS SELECT clock_timestamp() AS at");
	WAIT_FOR(&r, sql_int("SELECT count(*) FROM pg_stat_replication s, pg_replication_slots r, began WHERE s.pid = r.active_pid"
	                     " AND r.slot_name = 'busbar_test_stream' AND s.reply_time > began.at + interval '3 s'") == 1);
	sql("DROP TABLE began");
	CHECK_INT(r.commits, 0);
	CHECK_INT(r.losses, 0);
	LOCKED(&r, r.blocked = false);
	stream_wake(r.stream);
	WAIT_FOR(&r, r.commits == 1);
	CHECK_INT(r.losses, 0);
	run_stop(&r);
}

static void test_reconnect(void)
{
	struct run r;
	run_start(&r);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'busbar_test_stream'");
	WAIT_FOR(&r, r.losses == 1);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING && r.starts == 2);
	CHECK_STR(r.error, "terminating connection due to administrator command");
	sql("INSERT INTO public.busbar_test_stream VALUES (300001, 'again')");
	WAIT_FOR(&r, r.commits == 1);
	/* The sink's own error: what it refused comes again. */
	LOCKED(&r, r.refuse = true);
	sql("INSERT INTO public.busbar_test_stream VALUES (300002, 'refused')");
	WAIT_FOR(&r, r.starts == 3 && r.commits == 2);
	CHECK_STR(r.value, "refused");
	CHECK_STR(r.error, "the test's sink is full");
	run_stop(&r);
}

/* The slot is given up when it is still what it was as that was decided: it stands there, or enough is kept for it. */
static void test_give_up(void)
{
	struct run r;
	run_start(&r);
	LOCKED(&r, r.hold_durable = true);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	CHECK(!r.server.slot_created);
	sql("INSERT INTO public.busbar_test_stream VALUES (310001, 'held')");
	WAIT_FOR(&r, r.commits == 1);
	lsn_t at = confirmed();
	stream_give_up_slot(r.stream, at - 1, INT64_C(1) << 40); /* it has moved since, and keeps little */
	WAIT_FOR(&r, r.starts == 2 && r.phase == STREAM_RUNNING);
	CHECK(!r.server.slot_created && confirmed() == at);
	stream_give_up_slot(r.stream, at, 0); /* it stands there */
	WAIT_FOR(&r, r.starts == 3 && r.phase == STREAM_RUNNING);
	CHECK(r.server.slot_created && confirmed() > at);
	sql("INSERT INTO public.busbar_test_stream VALUES (310002, 'held')");
	at = confirmed();
	stream_give_up_slot(r.stream, at - 1, 1); /* it has moved, and keeps enough */
	WAIT_FOR(&r, r.starts == 4 && r.phase == STREAM_RUNNING);
	CHECK(r.server.slot_created && confirmed() > at);
	/* Once: the next connection keeps it. */
	sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'busbar_test_stream'");
	WAIT_FOR(&r, r.starts == 5 && r.phase == STREAM_RUNNING);
	CHECK(!r.server.slot_created);
	LOCKED(&r, r.hold_durable = false);
	run_stop(&r);
}

/* At rest there is no connection and no lock; what is committed meanwhile comes afterwards. */
static void test_rest(void)
{
	struct run r;
	run_start(&r);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	sql("INSERT INTO public.busbar_test_stream VALUES (320001, 'before')");
	WAIT_FOR(&r, r.commits == 1);
	stream_rest(r.stream);
	WAIT_FOR(&r, r.phase == STREAM_RESTING);
	await_slot_inactive();
	CHECK(confirmed() >= r.last_end); /* its last word */
	CHECK_INT(r.losses, 1);
	int before = idles(&r), attempts = r.attempts;
	sql("INSERT INTO public.busbar_test_stream VALUES (320002, 'meanwhile')");
	WAIT_FOR(&r, r.idles > before + 2); /* it isn't deaf */
	CHECK_INT(r.attempts, attempts);
	CHECK_INT(sql_int("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'busbar %'"), 0);
	stream_rouse(r.stream);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING && r.starts == 2);
	WAIT_FOR(&r, r.commits == 2);
	CHECK_STR(r.value, "meanwhile");
	/* Roused before it has come to rest: then it doesn't. */
	stream_rest(r.stream);
	stream_rouse(r.stream);
	sql("INSERT INTO public.busbar_test_stream VALUES (320003, 'on')");
	WAIT_FOR(&r, r.commits == 3 && r.phase == STREAM_RUNNING);
	/* It stops at rest, too. */
	stream_rest(r.stream);
	WAIT_FOR(&r, r.phase == STREAM_RESTING);
	run_stop(&r);
}

/* Whoever waits for the lock stands in nobody's way: no statement of it waits, so no snapshot of it stays. */
static void check_waits_without_snapshot(void)
{
	static const char waiting[] = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
	static const char xmins[] = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND pid NOT IN (SELECT"
	                            " active_pid FROM pg_replication_slots WHERE active) AND backend_xmin IS NOT NULL";
	bool none = false;
	for (int i = 0; i < 200 && !none; i++) {
		none = sql_int(xmins) == 0;
		usleep(5000);
	}
	CHECK(none);
	CHECK_INT(sql_int(waiting), 0);
}

/* The second waits for the lock (and can be stopped there); when the first ends it takes over and has no gap. */
static void test_two(void)
{
	struct run a, b;
	run_start(&a);
	WAIT_FOR(&a, a.phase == STREAM_RUNNING);
	run_start(&b);
	WAIT_FOR(&b, b.phase == STREAM_WAITING_LOCK);
	/* It goes on doing what is to be done now and then. */
	int before = idles(&b);
	WAIT_FOR(&b, b.idles >= before + 2);
	CHECK_INT(phase(&b), STREAM_WAITING_LOCK);
	check_waits_without_snapshot();
	WAIT_FOR(&b, b.wait == STREAM_WAIT_FOREIGN_LOCK);
	run_stop(&b);
	run_start(&b);
	WAIT_FOR(&b, b.phase == STREAM_WAITING_LOCK);
	sql("INSERT INTO public.busbar_test_stream VALUES (400001, 'before')");
	WAIT_FOR(&a, a.commits == 1);
	run_stop(&a);
	sql("INSERT INTO public.busbar_test_stream VALUES (400002, 'after')");
	WAIT_FOR(&b, b.commits == 1);
	CHECK_STR(b.value, "after");
	CHECK_INT(b.wait, STREAM_WAIT_NONE);
	CHECK(!b.server.slot_created);
	run_stop(&b);
}

/* A slot waits for open transactions; stopping doesn't. And when the publication is gone, both are made anew. */
static void test_slot_waits(void)
{
	clean_up();
	make_table();
	struct err e;
	PGconn *other = pg_connect(&config, PG_ROLE_ADMIN, &e);
	CHECK(other != NULL);
	PQclear(PQexec(other, "BEGIN; SELECT txid_current()"));
	struct run r;
	run_start(&r);
	WAIT_FOR(&r, r.phase == STREAM_SETTING_UP);
	WAIT_FOR(&r, sql_int("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%' AND state = 'active'") == 1);
	int before = idles(&r);
	WAIT_FOR(&r, r.idles >= before + 2);
	CHECK_INT(phase(&r), STREAM_SETTING_UP);
	LOCKED(&r, CHECK_INT(r.wait, STREAM_WAIT_SLOT));
	run_stop(&r);
	PQclear(PQexec(other, "ROLLBACK"));
	PQfinish(other);
	run_start(&r);
	WAIT_FOR(&r, r.phase == STREAM_RUNNING);
	publish();
	sql("DROP PUBLICATION busbar_test_stream_pub");
	sql("INSERT INTO public.busbar_test_stream VALUES (1, 'unpublished')");
	WAIT_FOR(&r, r.starts == 2 && r.phase == STREAM_RUNNING);
	CHECK(r.server.publication_created);
	CHECK(r.server.slot_created);
	CHECK(r.server.publication == PUBLICATION_WENT);
	/* Gone and back between two looks: the changes before it came back are lost to the slot, so that goes too. */
	publish();
	sql("INSERT INTO public.busbar_test_stream VALUES (2, 'published')");
	sql("DROP PUBLICATION busbar_test_stream_pub");
	sql("INSERT INTO public.busbar_test_stream VALUES (3, 'lost')");
	sql("CREATE PUBLICATION busbar_test_stream_pub FOR TABLE public.busbar_test_stream");
	WAIT_FOR(&r, r.starts == 3 && r.phase == STREAM_RUNNING);
	CHECK(r.server.slot_created);
	CHECK(r.server.publication == PUBLICATION_WENT);
	run_stop(&r);
}

static void expect_fatal(const struct config *c, const char *line)
{
	struct run r;
	run_start_with(&r, c);
	WAIT_FOR(&r, r.phase == STREAM_FATAL);
	stream_stop(r.stream);
	pthread_join(r.thread, NULL);
	CHECK_INT(r.result, -1);
	CHECK_STR(r.err.text, line);
	CHECK_INT(r.phase, STREAM_FATAL);
	stream_free(r.stream);
}

static void test_fatal(void)
{
	static char wrong[] = "wrong", nowhere[] = "nosuchhost.invalid";
	struct config c = config;
	c.database.database = wrong;
	expect_fatal(&c, "database \"wrong\" does not exist");
	c = config;
	c.database.host = nowhere;
	expect_fatal(&c, "domain does not exist: nosuchhost.invalid");
	c = config;
	c.database.sslmode = SSLMODE_REQUIRE;
	/* libpq has no TLS for sockets of Unix, and asks for none. */
	if (config.database.host[0] != '/' && sql_int("SELECT count(*) FROM pg_settings WHERE name = 'ssl' AND setting = 'off'") == 1)
		expect_fatal(&c, "Database server not configured to accept SSL connections");
	sql("ALTER PUBLICATION busbar_test_stream_pub SET (publish = 'insert')");
	expect_fatal(&config, "Publication \"busbar_test_stream_pub\" does not publish all required operations: "
	                      "INSERT, UPDATE, DELETE, TRUNCATE. Run, as its owner: ALTER PUBLICATION \"busbar_test_stream_pub\" SET "
	                      "(publish = 'insert, update, delete, truncate')");
}

/* Nobody there: it retries, and stops at once. */
static void test_no_server(void)
{
	static char local[] = "127.0.0.1";
	struct config c = config;
	c.database.host = local;
	c.database.port = 1;
	struct run r;
	run_start_with(&r, &c);
	WAIT_FOR(&r, r.phase == STREAM_BACKING_OFF);
	CHECK(strstr(r.error, "connection refused while trying to connect to ") == r.error);
	/* The fourth wait is of 4 s. Somebody who waits shortens it, but attempts are a second apart. */
	WAIT_FOR(&r, r.attempts == 4 && r.phase == STREAM_BACKING_OFF);
	int64_t from_ms = r.attempt_ms;
	stream_hurry(r.stream);
	WAIT_FOR(&r, r.attempts == 5);
	int64_t took_ms = r.attempt_ms - from_ms;
	if (!CHECK(took_ms >= 900 && took_ms < 3000))
		printf("  %lld ms\n", (long long)took_ms);
	run_stop(&r);
	CHECK_INT(r.losses, 0);
}

static void expect_foreign(const char *plugin, const char *database)
{
	char line[400];
	snprintf(line, sizeof line, "Replication slot \"busbar_test_stream\" belongs to something else (plugin \"%s\", database \"%s\"). "
	         "Set ELECTRIC_REPLICATION_STREAM_ID to a value of its own for each database", plugin, database);
	expect_fatal(&config, line);
	CHECK_INT(sql_int("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'busbar_test_stream'"), 1);
	CHECK_INT(sql_int("SELECT count(*) FROM pg_publication WHERE pubname = 'busbar_test_stream_pub'"), 0);
}

/* Names of slots are shared by all that use the server. One that is something else's stays, also where there is no publication
 * yet: before that is made, our slot goes. */
static void test_foreign_slot(void)
{
	static char name[] = "busbar_test_other";
	struct config c = config;
	struct err e;
	clean_up();
	sql("SELECT pg_create_physical_replication_slot('busbar_test_stream')");
	expect_foreign("", "");
	clean_up();
	sql("SELECT pg_create_logical_replication_slot('busbar_test_stream', 'test_decoding')");
	expect_foreign("test_decoding", config.database.database);
	clean_up();
	sql("DROP DATABASE IF EXISTS busbar_test_other");
	sql("CREATE DATABASE busbar_test_other");
	c.database.database = name;
	PGconn *other = pg_connect(&c, PG_ROLE_ADMIN, &e);
	PQclear(PQexec(other, "SELECT pg_create_logical_replication_slot('busbar_test_stream', 'pgoutput')"));
	expect_foreign("pgoutput", name);
	PQclear(PQexec(other, "SELECT pg_drop_replication_slot('busbar_test_stream')"));
	PQfinish(other);
	sql("DROP DATABASE busbar_test_other");
}

static void test_history(void)
{
	static const char file[] = "1\t0/3000000\tno recovery target specified\n\n# a comment\n2\t16/B374D848\tbefore x\n";
	struct stream_server s;
	memset(&s, 0, sizeof s);
	setup_parse_history(file, sizeof file - 1, &s);
	CHECK_INT(s.nhistory, 2);
	CHECK_INT(s.history[0].timeline, 1);
	CHECK_INT(s.history[0].end, 0x3000000);
	CHECK_INT(s.history[1].timeline, 2);
	CHECK_INT(s.history[1].end, 0x16B374D848);
	for (int i = 0; i < 70; i++)
		setup_parse_history("9\t0/1\t", 6, &s);
	CHECK_INT(s.nhistory, 64);
}

static void test_all(void)
{
	RUN(test_history);
	clean_up();
	make_table();
	RUN(test_first_start_and_changes);
	RUN(test_feedback);
	RUN(test_idle_server_moves);
	sql("ALTER SYSTEM SET wal_sender_timeout = '2s'");
	sql("SELECT pg_reload_conf()");
	RUN(test_back_pressure);
	sql("ALTER SYSTEM RESET wal_sender_timeout");
	sql("SELECT pg_reload_conf()");
	RUN(test_reconnect);
	RUN(test_give_up);
	RUN(test_rest);
	RUN(test_two);
	RUN(test_slot_waits);
	RUN(test_fatal);
	RUN(test_no_server);
	RUN(test_foreign_slot);
	clean_up();
}

int main(void)
{
	const char *url = getenv("BUSBAR_TEST_DATABASE_URL");
	if (url == NULL)
		return check_done("test_stream");
	pg_init();
	log_init(getenv("BUSBAR_TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	struct err e;
	err_clear(&e);
	if (!CHECK(config_parse_url(url, &config.database, &e) == 0) ||
	    !CHECK((admin = pg_connect(&config, PG_ROLE_ADMIN, &e)) != NULL))
		printf("%s\n", e.text);
	else
		RUN(test_all);
	PQfinish(admin);
	config_url_clear(&config.database);
	return check_done("test_stream");
}
