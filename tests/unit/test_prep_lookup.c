/*
 * test_prep_lookup.c - look-ups of tables, and the threads that make them (shapes/prep/lookup.c, pool.c), against scripted answers of
 * Postgres.
 */
#include "prep_test.h"

struct asked {
	struct table_lookup *lookup;
	struct waiter waiter;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	int woken;
	struct pg_table *table;
	struct err e;
};

static void wake(struct waiter *w)
{
	struct asked *a = CONTAINER_OF(w, struct asked, waiter);
	pthread_mutex_lock(&a->lock);
	a->woken++;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->lock);
}

static int begin(struct prep *p, struct asked *a)
{
	memset(a, 0, sizeof *a);
	a->waiter.wake = wake;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->cond, NULL);
	a->lookup = shapes_table_lookup(p->engine, "public", "items");
	return table_lookup_result(a->lookup, &a->waiter, &a->table, &a->e);
}

static void ask(struct prep *p, struct asked *a) { CHECK_INT(begin(p, a), 2); }

static int answer(struct asked *a)
{
	CHECK_INT(a->woken, 1);
	return table_lookup_result(a->lookup, &a->waiter, &a->table, &a->e);
}

/* One look-up, by this test's thread. */
static int look_up(struct prep *p, struct asked *a)
{
	ask(p, a);
	CHECK(run_next(p, &p->admin));
	return answer(a);
}

static void test_found_and_absent(void)
{
	struct prep p;
	struct asked a, together;
	prep_open(&p);
	ask(&p, &a);
	ask(&p, &together); /* one look-up for both */
	CHECK(run_next(&p, &p.admin));
	CHECK(!run_next(&p, &p.admin));
	CHECK_INT(answer(&a), 0);
	CHECK_INT(answer(&together), 0);
	CHECK(a.table == script.table && together.table == script.table);
	CHECK_STR(script.log, "connect lookup");
	table_lookup_unref(a.lookup);
	table_lookup_unref(together.lookup);
	struct pg_table *table = script.table;
	script.table = NULL;
	CHECK_INT(look_up(&p, &a), 1);
	table_lookup_unref(a.lookup);
	script.table = table;
	prep_close(&p);
}

/* The role that reads tables is another one: each session is told. */
static void test_reader(void)
{
	struct prep p;
	struct asked a;
	prep_open(&p);
	p.config.pooled_database.user = (char *)"reader";
	CHECK_INT(look_up(&p, &a), 0);
	CHECK_STR(script.log, "connect reader lookup");
	table_lookup_unref(a.lookup);
	session_close(&p.admin);
	script_at_name("reader", ACT_LOSE);
	registry_cache_clear(p.engine);
	CHECK_INT(look_up(&p, &a), -1);
	CHECK(p.admin.admin == NULL); /* a session that isn't told isn't used */
	table_lookup_unref(a.lookup);
	prep_close(&p);
}

static void refused(const char *sqlstate, const char *text, enum err_kind kind, const char *says)
{
	struct prep p;
	struct asked a;
	prep_open(&p);
	script_refuse("lookup", ERR_PG, sqlstate, text);
	CHECK_INT(look_up(&p, &a), -1);
	CHECK_INT(a.e.kind, kind);
	if (!CHECK(strstr(a.e.text, says) != NULL))
		printf("  %s\n", a.e.text);
	CHECK(!p.engine->inflight.len);
	table_lookup_unref(a.lookup);
	prep_close(&p);
}

/* What comes again is the table's; what the server couldn't do now is not. */
static void test_refused(void)
{
	refused("42501", "permission denied for table pg_class", ERR_PG, "permission denied");
	refused("57014", "canceling statement due to statement timeout", ERR_TIMEOUT, "\"public.items\": canceling statement");
	refused("53300", "too many connections for role", ERR_TIMEOUT, "too many connections");
	refused("53200", "out of memory", ERR_TIMEOUT, "out of memory");
	refused("XX000", "cache lookup failed", ERR_TIMEOUT, "cache lookup failed");
}

static void test_lost(void)
{
	struct prep p;
	struct asked a;
	prep_open(&p);
	script_at_name("lookup", ACT_LOSE); /* on a session that is new: an outage */
	CHECK_INT(look_up(&p, &a), -1);
	CHECK_INT(a.e.kind, ERR_PG_CONN);
	table_lookup_unref(a.lookup);
	CHECK_INT(look_up(&p, &a), 0);
	table_lookup_unref(a.lookup);
	script_at_name("lookup", ACT_LOSE); /* one that was idle is opened anew */
	CHECK_INT(look_up(&p, &a), 0);
	CHECK_STR(script.log, "lookup connect lookup");
	table_lookup_unref(a.lookup);
	/* Postgres is away: what is known is served. */
	session_close(&p.admin);
	script_at_name("connect", ACT_LOSE);
	CHECK_INT(look_up(&p, &a), 0);
	CHECK(a.table == script.table);
	table_lookup_unref(a.lookup);
	prep_close(&p);
}

/* The stream broke since the session was opened: it isn't used again. */
static void test_outage(void)
{
	struct prep p;
	struct asked a;
	prep_open(&p);
	CHECK_INT(look_up(&p, &a), 0);
	table_lookup_unref(a.lookup);
	atomic_fetch_add(&p.engine->outages, 1);
	script_at(-1, ACT_NONE);
	CHECK_INT(look_up(&p, &a), 0);
	CHECK_STR(script.log, "connect lookup");
	table_lookup_unref(a.lookup);
	prep_close(&p);
}

/* A shape is there, then the table is `changed`: who looks it up next ends the shape. */
static void test_table_changed(struct pg_table *changed)
{
	struct prep p;
	struct asked a;
	prep_open(&p);
	CHECK_INT(look_up(&p, &a), 0);
	table_lookup_unref(a.lookup);
	struct shape *shape = prep_shape(&p, 1, NULL);
	CHECK(run_next(&p, &p.create));
	drain(&p);
	pg_table_unref(script.table);
	script.table = changed;
	CHECK_INT(look_up(&p, &a), 0);
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	CHECK_INT(a.table->oid, changed->oid);
	table_lookup_unref(a.lookup);
	shape_unref(shape);
	prep_close(&p);
}

static void test_wal_end(void)
{
	struct prep p;
	prep_open(&p);
	CHECK_INT(shapes_wal_end(p.engine, 0), 0);
	CHECK(run_next(&p, &p.admin));
	CHECK_INT(shapes_wal_end(p.engine, 0), 77);
	p.engine->wal_end_queued = true;
	script_at_name("wal_end", ACT_LOSE);
	lookup_wal_end(&p.admin);
	CHECK_INT(shapes_wal_end(p.engine, 0), 77); /* as it was */
	CHECK(!p.engine->wal_end_queued);
	prep_close(&p);
}

/* ---- the threads ---- */

static int wait_answer(struct asked *a)
{
	pthread_mutex_lock(&a->lock);
	while (a->woken == 0)
		pthread_cond_wait(&a->cond, &a->lock);
	pthread_mutex_unlock(&a->lock);
	return answer(a);
}

#define ASKERS 40

/* Look-ups and shapes go through the threads while sessions break; at the end what is left in the queue is let go of. */
static void test_threads(void)
{
	struct prep p;
	struct asked all[ASKERS];
	struct shape *shapes[ASKERS];
	struct err e;
	prep_open(&p);
	CHECK_INT(prep_start(p.engine, &e), 0);
	CHECK_INT(p.engine->npg, 3); /* two ADMIN, one CREATE */
	for (int i = 0; i < ASKERS; i++) {
		pthread_mutex_lock(&script.lock);
		if (i % 8 == 3) {
			script.at_name = "lookup";
			script.act = ACT_LOSE;
			script.happened = false;
		}
		pthread_mutex_unlock(&script.lock);
		shapes[i] = prep_shape(&p, i, NULL);
		int rc = begin(&p, &all[i]);
		if (rc == 2)
			rc = wait_answer(&all[i]);
		CHECK(rc == 0 || all[i].e.kind == ERR_PG_CONN);
		table_lookup_unref(all[i].lookup);
	}
	atomic_store(&p.engine->stopping, true);
	prep_stop(p.engine);
	CHECK_INT(p.engine->npg, 0);
	CHECK_INT(script.connections, 0);
	drain(&p);
	for (int i = 0; i < ASKERS; i++)
		shape_unref(shapes[i]);
	prep_close(&p);
}

int main(void)
{
	log_init(LOG_ERROR);
	RUN(test_found_and_absent);
	RUN(test_reader);
	RUN(test_refused);
	RUN(test_lost);
	RUN(test_outage);
	/* Under its name there is another table; and the same one with other columns, which the shape selects as well. */
	RUN(test_table_changed, table_make(TABLE_OID + 1, "public", "items", "id:23:pk0 name:25"));
	RUN(test_table_changed, table_make(TABLE_OID, "public", "items", "id:23:pk0 name:25 more:25"));
	RUN(test_wal_end);
	RUN(test_threads);
	return check_done("prep_lookup");
}
