/*
 * test_prep_watch.c - looking after tables with shapes (shapes/prep/watch.c, inspect.c, leaves.c, reconcile.c) against scripted answers of
 * Postgres: a changed table, an outage, and what INGEST waits for.
 */
#include "prep_test.h"

/* A table with one live shape, and sessions that are open. */
static struct shape *live(struct prep *p)
{
	prep_open(p);
	struct shape *shape = prep_shape(p, 1, NULL);
	CHECK(run_next(p, &p->create));
	struct err e;
	CHECK(session_admin(&p->admin, &e) != NULL);
	drain(p);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	p->tables = 0;
	script_at(-1, ACT_NONE);
	return shape;
}

static void end(struct prep *p, struct shape *shape)
{
	const struct table_state *t = known_table(p->engine, TABLE_OID);
	CHECK(t == NULL || !t->joining);
	shape_unref(shape);
	prep_close(p);
}

static void other_table(uint32_t oid, const char *name, const char *columns)
{
	pg_table_unref(script.table);
	script.table = table_make(oid, "public", name, columns);
}

/* ---- the watch ---- */

static void test_watch(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	watch_run(&p.admin); /* at the first look it is looked at in full */
	CHECK_STR(script.log, "ground_look lookup_oid check keep");
	script.log[0] = '\0';
	watch_run(&p.admin);
	CHECK_STR(script.log, "ground_look"); /* nothing has changed */
	known_table(p.engine, TABLE_OID)->ground_version++;
	other_table(TABLE_OID, "items", "id:23:pk0 renamed:25");
	watch_run(&p.admin);
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	end(&p, shape);
}

static void test_watch_gone(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	script.ground_gone = TABLE_OID;
	other_table(TABLE_OID + 1, "items", "id:23:pk0 name:25");
	watch_run(&p.admin);
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	end(&p, shape);
}

/* Nothing is concluded from an outage; a look that could be made in part is made again at once. */
static void test_watch_outage(void)
{
	static const char *const at[] = {"ground_look", "lookup_oid", "check", "keep"};
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		struct prep p;
		struct shape *shape = live(&p);
		script_at_name(at[i], ACT_LOSE);
		watch_run(&p.admin);
		CHECK(script.happened);
		drain(&p);
		CHECK_INT(tail_state(shape), SHAPE_LIVE);
		CHECK_INT(p.engine->reconcile_now, i == 1 || i == 2);
		end(&p, shape);
	}
}

/* Whether it is the calling thread's turn. */
static bool turn_to_watch(struct shapes *s)
{
	pthread_mutex_lock(&s->job_lock);
	bool turn = queue_watch(s);
	pthread_mutex_unlock(&s->job_lock);
	return turn;
}

static void test_watch_rests(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	struct shapes *s = p.engine;
	int64_t now = script.now_ms;
	s->watch_took_ms = 300;
	queue_rest_from_watch(s, now - 1100); /* the shorter of two counts */
	CHECK_INT(s->next_watch_ms, now + (300 - WATCH_FREE_MS) * WATCH_REST_TIMES);
	CHECK(!turn_to_watch(s));
	script.now_ms = s->next_watch_ms;
	CHECK(turn_to_watch(s));
	CHECK(!turn_to_watch(s)); /* somebody is at it */
	s->reconcile_queued = false;
	CHECK(!turn_to_watch(s));
	jobs_watch_soon(s);
	script.now_ms += TABLE_WATCH_SOON_MS;
	CHECK(turn_to_watch(s));
	s->reconcile_queued = false;
	end(&p, shape);
}

/* The engine stops, or the shapes go, at any step of a look. */
static void test_watch_every_step(enum act act)
{
	for (int at = 0; at < 4; at++) {
		struct prep p;
		struct shape *shape = live(&p);
		script_at(at, act);
		watch_run(&p.admin);
		drain(&p);
		CHECK_INT(tail_state(shape), act == ACT_DROP ? SHAPE_GONE : SHAPE_LIVE);
		end(&p, shape);
	}
}

/* ---- the start of the stream ---- */

static void post_ground(struct prep *p, uint64_t number)
{
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_GROUND;
	j->number = number;
	job_post(p->engine, j);
}

static void test_ground(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	post_ground(&p, 3);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.grounded, 1);
	CHECK_INT(p.last.number, 3);
	CHECK_INT(p.last.result, 0);
	script_at_name("ground_look", ACT_LOSE);
	post_ground(&p, 4);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, -1); /* the stream begins again */
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	session_close(&p.admin);
	script_refuse("ground_look", ERR_PG, "57014", "canceling statement due to statement timeout");
	post_ground(&p, 5);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, 0); /* it would be refused again: the shapes begin again */
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	end(&p, shape);
}

/* ---- a table that only the condition names ---- */

#define INNER_OID 9
#define INNER_COLUMNS "item_id:23:pk0 user_id:23 note:25"

static struct shape *live_inner(struct prep *p)
{
	prep_open(p);
	prep_inner(INNER_OID, "members", INNER_COLUMNS);
	struct shape *shape = prep_shape_in(p, "id IN (SELECT item_id FROM members WHERE user_id = 1)");
	CHECK(run_next(p, &p->create));
	struct err e;
	CHECK(session_admin(&p->admin, &e) != NULL);
	drain(p);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	watch_run(&p->admin); /* the first look is at all there is */
	drain(p);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	p->tables = 0;
	script_at(-1, ACT_NONE);
	return shape;
}

static void change_inner(struct pg_table *now)
{
	pg_table_unref(script.inner[0]);
	script.inner[0] = now;
}

/* What the watch makes of it. */
static enum shape_state watched_inner(struct pg_table *now)
{
	struct prep p;
	struct shape *shape = live_inner(&p);
	change_inner(now);
	known_table(p.engine, INNER_OID)->ground_version++;
	watch_run(&p.admin);
	drain(&p);
	enum shape_state state = tail_state(shape);
	CHECK(!known_table(p.engine, INNER_OID)->joining);
	end(&p, shape);
	return state;
}

static struct pg_table *with_leaf(struct pg_table *t, char relkind)
{
	t->relkind = relkind;
	t->nleaves = 1;
	t->leaves = mem_alloc(sizeof *t->leaves);
	t->leaves[0] = 30;
	return t;
}

static struct pg_table *with_keys(struct pg_table *t, enum pg_keys keys)
{
	t->keys = keys;
	return t;
}

static struct pg_table *inner_as(const char *name, const char *columns) { return table_make(INNER_OID, "public", name, columns); }

static void test_watch_inner(void)
{
	CHECK_INT(watched_inner(inner_as("members", INNER_COLUMNS)), SHAPE_LIVE);
	CHECK_INT(watched_inner(inner_as("members2", INNER_COLUMNS)), SHAPE_GONE);
	CHECK_INT(watched_inner(NULL), SHAPE_GONE);
	/* A column that the condition looks at; another one is nobody's concern. */
	CHECK_INT(watched_inner(inner_as("members", "item_id:23:pk0 uid:23 note:25")), SHAPE_GONE);
	CHECK_INT(watched_inner(inner_as("members", "item_id:23:pk0 user_id:20 note:25")), SHAPE_GONE);
	CHECK_INT(watched_inner(inner_as("members", "item_id:23:pk0 user_id:23")), SHAPE_LIVE);
	CHECK_INT(watched_inner(inner_as("members", INNER_COLUMNS " more:25")), SHAPE_LIVE);
	/* What tells its rows apart isn't, either. */
	CHECK_INT(watched_inner(inner_as("members", "item_id:23 user_id:23 note:25")), SHAPE_LIVE);
	CHECK_INT(watched_inner(with_keys(inner_as("members", INNER_COLUMNS), PG_KEYS_CLASH)), SHAPE_LIVE);
	/* A child comes with rows that the stream hasn't told of; a partition is told of from its first row on. */
	CHECK_INT(watched_inner(with_leaf(inner_as("members", INNER_COLUMNS), 'r')), SHAPE_GONE);
	CHECK_INT(watched_inner(with_leaf(inner_as("members", INNER_COLUMNS), 'p')), SHAPE_LIVE);
}

/* Both tables are looked at; a look that INGEST waits for may be at the inner one. */
static void test_look_inner(void)
{
	struct prep p;
	struct shape *shape = live_inner(&p);
	reconcile_run(&p.admin);
	CHECK(strstr(script.log, "check.members keep.members") != NULL && strstr(script.log, "check keep") != NULL);
	change_inner(inner_as("members", "item_id:20:pk0 user_id:23 note:25"));
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_LOOK;
	j->number = 1;
	j->oids = mem_alloc(sizeof *j->oids);
	j->oids[0] = INNER_OID;
	j->noids = 1;
	job_post(p.engine, j);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, 0);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	end(&p, shape);
}

/* Whose transaction is not visible yet, and whose new partition had rows. */
static void test_resolve_inner(void)
{
	struct prep p;
	struct shape *shape = live_inner(&p);
	script.ancestor = INNER_OID;
	script_at_name("attached", ACT_REFUSE);
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_RESOLVE;
	j->oid = 20;
	j->xid = 50;
	snprintf(j->relation, sizeof j->relation, "public.leaf");
	job_post(p.engine, j);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.ancestors[0], INNER_OID);
	CHECK(p.last.had_rows[0]);
	CHECK_INT(tail_state(shape), SHAPE_LIVE); /* INGEST does that */
	end(&p, shape);
}

static void test_out_of_publication_inner(void)
{
	struct prep p;
	struct shape *shape = live_inner(&p);
	script.out = INNER_OID;
	reconcile_run(&p.admin);
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	end(&p, shape);
}

/* It stays published for as long as a shape names it, and lingers like any other. */
static void test_lingers_inner(void)
{
	struct prep p;
	struct shape *shape = live_inner(&p);
	script.now_ms += 2 * TABLE_LINGER_MS;
	reconcile_run(&p.admin);
	CHECK(strstr(script.log, "leave") == NULL);
	shape_rotate(shape, REASON_DELETED, "a test drops it");
	drain(&p);
	CHECK_INT(known_table(p.engine, INNER_OID)->nshapes, 0);
	known_table(p.engine, TABLE_OID)->idle_since_ms = known_table(p.engine, INNER_OID)->idle_since_ms = script.now_ms;
	reconcile_run(&p.admin);
	CHECK(strstr(script.log, "leave") == NULL);
	script.now_ms += TABLE_LINGER_MS + 1;
	reconcile_run(&p.admin);
	CHECK(strstr(script.log, "leave.members") != NULL);
	CHECK(known_table(p.engine, INNER_OID) == NULL && known_table(p.engine, TABLE_OID) == NULL);
	drain(&p);
	end(&p, shape);
}

/* The name stands for another table now; a request finds that out. */
static void test_swapped_inner(void)
{
	struct prep p;
	struct shape *shape = live_inner(&p);
	struct pg_table *was = script.inner[0], *now = table_make(INNER_OID + 1, "public", "members", INNER_COLUMNS);
	look_up_differs(p.engine, was, now);
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	pg_table_unref(now);
	end(&p, shape);
}

/* ---- a look that INGEST waits for ---- */

static void post_look(struct prep *p, uint64_t number, uint32_t xid)
{
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_LOOK;
	j->number = number;
	j->xid = xid;
	j->oids = mem_alloc(sizeof *j->oids);
	j->oids[0] = TABLE_OID;
	j->noids = 1;
	job_post(p->engine, j);
}

static void test_look(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	script.unseen = 2; /* the transaction is waited for */
	post_look(&p, 1, 50);
	CHECK(run_next(&p, &p.admin));
	CHECK_STR(script.log, "unseen unseen unseen horizon lookup_oid");
	drain(&p);
	CHECK_INT(p.looked, 1);
	CHECK_INT(p.last.number, 1);
	CHECK_INT(p.last.result, 0);
	CHECK_INT(p.last.lsn, 77);
	CHECK_INT(p.last.xmin, 5);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	other_table(TABLE_OID, "items", "id:23:pk0 name:23");
	post_look(&p, 2, 0);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, 0);
	CHECK_INT(tail_state(shape), SHAPE_GONE); /* its type is another */
	end(&p, shape);
}

/* A transaction that stays unseen (a synchronous standby): the shapes begin again, INGEST goes on. */
static void test_look_unseen(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	int64_t began = script.now_ms;
	script.unseen = 100000;
	post_look(&p, 1, 50);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK(script.now_ms - began >= UNSEEN_WAIT_MS && script.now_ms - began < UNSEEN_WAIT_MS + 2 * UNSEEN_POLL_MAX_MS);
	CHECK_INT(p.last.result, 0);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	end(&p, shape);
}

/* Lost with its connection at each step, it is said to have failed, and the next one is made, on a new connection. */
static void test_look_lost(void)
{
	static const char *const at[] = {"unseen", "horizon", "lookup_oid"};
	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		struct prep p;
		struct shape *shape = live(&p);
		script_at_name(at[i], ACT_LOSE);
		post_look(&p, 1, 50);
		CHECK(run_next(&p, &p.admin));
		CHECK(script.happened);
		drain(&p);
		CHECK_INT(p.looked, 1);
		CHECK_INT(p.last.result, -1);
		CHECK_INT(tail_state(shape), SHAPE_LIVE); /* nothing is known */
		atomic_fetch_add(&p.engine->outages, 1); /* INGEST begins again */
		post_look(&p, 2, 50);
		CHECK(run_next(&p, &p.admin));
		drain(&p);
		CHECK_INT(p.last.number, 2);
		CHECK_INT(p.last.result, 0);
		end(&p, shape);
	}
}

static void test_look_refused(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	script_refuse("lookup_oid", ERR_PG, "42501", "permission denied for table pg_attribute");
	post_look(&p, 1, 0);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, 0);
	CHECK_INT(tail_state(shape), SHAPE_GONE);
	end(&p, shape);
}

static void test_look_stopping(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	script.unseen = 100000;
	script_at_name("unseen", ACT_STOP);
	post_look(&p, 1, 50);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, -1);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	end(&p, shape);
}

/* ---- whose partition is it ---- */

static void post_resolve(struct prep *p, uint32_t oid)
{
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_RESOLVE;
	j->oid = oid;
	j->xid = 50;
	snprintf(j->relation, sizeof j->relation, "public.leaf");
	job_post(p->engine, j);
}

static void test_resolve(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	script.ancestor = TABLE_OID;
	post_resolve(&p, 20);
	CHECK(run_next(&p, &p.admin));
	CHECK_STR(script.log, "unseen ancestors attached");
	drain(&p);
	CHECK_INT(p.resolved, 1);
	CHECK_INT(p.last.nancestors, 1);
	CHECK(!p.last.had_rows[0]);
	CHECK(p.engine->reconcile_now); /* the leaf is to be FULL */
	script_at_name("attached", ACT_REFUSE); /* when we may not look it had rows */
	post_resolve(&p, 21);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK(p.last.had_rows[0]);
	script_at_name("ancestors", ACT_LOSE);
	post_resolve(&p, 22);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, -1);
	CHECK_INT(p.last.oid, 22);
	session_close(&p.admin);
	script_refuse("ancestors", ERR_PG, "57014", "canceling statement due to statement timeout");
	post_resolve(&p, 23);
	CHECK(run_next(&p, &p.admin));
	drain(&p);
	CHECK_INT(p.last.result, 0);
	CHECK_INT(tail_state(shape), SHAPE_LIVE); /* its table has no partitions, so this is none of them */
	end(&p, shape);
}

/* ---- reconciling ---- */

static void test_reconcile(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	reconcile_run(&p.admin);
	CHECK_STR(script.log, "lookup_oid check keep oldest");
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	script.rel_oid = 0;
	reconcile_run(&p.admin);
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_GONE); /* it was taken out of the publication */
	end(&p, shape);
}

static void test_leaves_publication(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	shape_rotate(shape, REASON_DELETED, "a test drops it");
	drain(&p);
	known_table(p.engine, TABLE_OID)->idle_since_ms = script.now_ms;
	reconcile_run(&p.admin);
	CHECK_STR(script.log, "oldest"); /* not at once */
	script.now_ms += TABLE_LINGER_MS + 1;
	script_at_name("leave", ACT_LOSE);
	reconcile_run(&p.admin);
	CHECK(known_table(p.engine, TABLE_OID) != NULL && known_table(p.engine, TABLE_OID)->joined);
	session_close(&p.admin);
	reconcile_run(&p.admin);
	CHECK(known_table(p.engine, TABLE_OID) == NULL);
	drain(&p);
	CHECK_INT(p.tables, 1); /* its record goes */
	end(&p, shape);
}

/* What another thread is joining is left to it. */
static void test_claimed(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	struct pg_join known;
	bool has;
	CHECK(claim_table(p.engine, TABLE_OID, &known, &has));
	CHECK(has);
	reconcile_run(&p.admin);
	CHECK_STR(script.log, "lookup_oid oldest");
	CHECK(!claim_table(p.engine, TABLE_OID, &known, &has));
	claim_release(p.engine, script.table, NULL, NULL);
	CHECK(!p.engine->reconcile_now);
	drain(&p);
	end(&p, shape);
}

/* A join that brought other leaves than the table is known with: who deals with the difference is asked to. */
static void test_released_with_news(void)
{
	struct prep p;
	struct shape *shape = live(&p);
	struct pg_join known;
	bool has;
	struct pg_table *now = table_make(TABLE_OID, "public", "items", "id:23:pk0 name:25");
	now->leaves = mem_alloc(sizeof *now->leaves);
	now->leaves[0] = 30;
	now->nleaves = 1;
	CHECK(claim_table(p.engine, TABLE_OID, &known, &has));
	claim_release(p.engine, now, &known, NULL);
	CHECK(p.engine->reconcile_now);
	CHECK(known_table(p.engine, TABLE_OID)->table == script.table);
	CHECK(claim_table(p.engine, TABLE_OID, &known, &has));
	claim_release(p.engine, now, &known, script.table);
	CHECK(known_table(p.engine, TABLE_OID)->table == now);
	pg_table_unref(now);
	drain(&p);
	end(&p, shape);
}

static void test_evict(void)
{
	struct prep p;
	struct shape *old = live(&p), *young = prep_shape(&p, 2, NULL);
	CHECK(run_next(&p, &p.create));
	drain(&p);
	atomic_store(&young->read_ms, atomic_load(&old->read_ms) + 1);
	evict_run(p.engine);
	p.config.live.max_shapes = 1;
	evict_run(p.engine);
	drain(&p);
	CHECK_INT(tail_state(old), SHAPE_GONE);
	CHECK_INT(tail_state(young), SHAPE_LIVE);
	shape_unref(young);
	end(&p, old);
}

int main(void)
{
	log_init(LOG_ERROR);
	RUN(test_watch);
	RUN(test_watch_gone);
	RUN(test_watch_outage);
	RUN(test_watch_rests);
	RUN(test_watch_every_step, ACT_STOP);
	RUN(test_watch_every_step, ACT_DROP);
	RUN(test_watch_inner);
	RUN(test_look_inner);
	RUN(test_resolve_inner);
	RUN(test_out_of_publication_inner);
	RUN(test_lingers_inner);
	RUN(test_swapped_inner);
	RUN(test_ground);
	RUN(test_look);
	RUN(test_look_unseen);
	RUN(test_look_lost);
	RUN(test_look_refused);
	RUN(test_look_stopping);
	RUN(test_resolve);
	RUN(test_reconcile);
	RUN(test_leaves_publication);
	RUN(test_claimed);
	RUN(test_released_with_news);
	RUN(test_evict);
	return check_done("prep_watch");
}
