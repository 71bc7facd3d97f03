/*
 * test_guard.c - the WAL guard (shapes/prep/guard.c): figures in, step out; and what a look leads to, with the slot, the other
 * sessions and the clock played by prep_test.h.
 */
#include "prep_test.h"

#define MB INT64_C(1000000)
#define LIMIT (1000 * MB)
#define AT UINT64_C(1000000000000)

/* ---- the policy ---- */

static void test_permille(void)
{
	static const struct { struct guard_figures f; int want; } cases[] = {
		{{0, 0, 0, 0}, 0},                       /* no limits */
		{{500 * MB, 100000, 0, 0}, 0},
		{{500 * MB, 0, LIMIT, 0}, 500},
		{{LIMIT - 1, 0, LIMIT, 0}, 999},
		{{LIMIT, 0, LIMIT, 0}, 1000},
		{{INT64_MAX / 2, 0, LIMIT, 0}, 2000},    /* no overflow */
		{{0, 30000, 0, 60000}, 500},
		{{100 * MB, 54000, LIMIT, 60000}, 900},  /* the nearer one counts */
		{{950 * MB, 54000, LIMIT, 60000}, 950},
		{{-5, -5, LIMIT, 60000}, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_INT(guard_permille(&cases[i].f), cases[i].want);
}

static void test_decide(void)
{
	static const struct { int permille; enum guard_step was, want; } cases[] = {
		{0, GUARD_NONE, GUARD_NONE}, {499, GUARD_NONE, GUARD_NONE}, {500, GUARD_NONE, GUARD_WARN}, {699, GUARD_WARN, GUARD_WARN},
		{700, GUARD_WARN, GUARD_REFUSE}, {850, GUARD_NONE, GUARD_DROP}, {999, GUARD_DROP, GUARD_DROP},
		{1000, GUARD_NONE, GUARD_GIVEN_UP}, {2000, GUARD_GIVEN_UP, GUARD_GIVEN_UP},
		/* back a little later than there */
		{499, GUARD_WARN, GUARD_WARN}, {450, GUARD_WARN, GUARD_WARN}, {449, GUARD_WARN, GUARD_NONE}, {640, GUARD_REFUSE, GUARD_REFUSE},
		{629, GUARD_REFUSE, GUARD_WARN}, {764, GUARD_DROP, GUARD_REFUSE}, {640, GUARD_DROP, GUARD_REFUSE}, {460, GUARD_DROP, GUARD_WARN},
		{0, GUARD_DROP, GUARD_NONE},
		/* another slot begins anew */
		{950, GUARD_GIVEN_UP, GUARD_DROP}, {490, GUARD_GIVEN_UP, GUARD_NONE}, {0, GUARD_GIVEN_UP, GUARD_NONE},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (!CHECK_INT(guard_decide(cases[i].permille, cases[i].was), cases[i].want))
			printf("  %d after %d\n", cases[i].permille, cases[i].was);
}

/* Whatever comes: more held is never less done, and a step that is taken back isn't taken again at once. */
static void test_decide_all(void)
{
	for (int was = GUARD_NONE; was <= GUARD_GIVEN_UP; was++)
		for (int p = 0; p <= 2000; p++) {
			enum guard_step step = guard_decide(p, (enum guard_step)was);
			CHECK(step >= guard_decide(p, GUARD_NONE) && guard_decide(p + 1, (enum guard_step)was) >= step);
			CHECK_INT(guard_decide(p, step == GUARD_GIVEN_UP ? (enum guard_step)was : step), step);
		}
}

/* ---- looks ---- */

static void guard_open(struct prep *p)
{
	prep_open(p);
	p->config.slot_name = (char *)"slot";
	p->config.wal_limit_bytes = LIMIT;
	script.slot_there = true;
	script.slot = (struct pg_slot_look){
		.status = SLOT_RESERVED, .active = true, .wal_end = AT, .restart = AT - 10 * (lsn_t)MB, .confirmed = AT, .safe_bytes = -1,
		.keep_bytes = -1, .segment_bytes = 16 << 20,
	};
}

/* One look, with so much behind our position. */
static struct guard_state look(struct prep *p, int64_t ours_bytes)
{
	struct guard_state st;
	script.slot.wal_end = script.slot.confirmed + (lsn_t)ours_bytes;
	(void)guard_run(&p->admin);
	guard_read(p->engine, &st);
	CHECK_INT(st.step, atomic_load(&p->engine->guard.step));
	return st;
}

static bool refuses(struct prep *p)
{
	char text[WAL_REFUSAL_TEXT_MAX];
	return shapes_wal_refuses(p->engine, text, sizeof text);
}

static void test_steps(void)
{
	struct prep p;
	guard_open(&p);
	struct guard_state st = look(&p, 100 * MB);
	CHECK_INT(st.step, GUARD_NONE);
	CHECK(st.known && st.active && st.text[0] == '\0' && !refuses(&p));
	CHECK_INT(st.ours_bytes, 100 * MB);
	CHECK_INT(st.others_bytes, 10 * MB);
	CHECK_INT(st.retained_bytes, 110 * MB);
	st = look(&p, 600 * MB);
	CHECK_INT(st.step, GUARD_WARN);
	CHECK_STR(st.text, "Postgres keeps 600 MB of WAL for the replication slot, 60 % of BUSBAR_WAL_LIMIT");
	CHECK(!refuses(&p));
	guard_held(p.engine, GUARD_HOLD_STORE);
	st = look(&p, 720 * MB);
	CHECK_INT(st.step, GUARD_REFUSE);
	CHECK_STR(st.text, "Postgres keeps 720 MB of WAL for the replication slot, 72 % of BUSBAR_WAL_LIMIT: no new shapes are made (the "
	          "store takes less than what comes)");
	CHECK(refuses(&p));
	st = look(&p, 900 * MB);
	CHECK_INT(st.step, GUARD_DROP);
	CHECK(refuses(&p));
	st = look(&p, 1001 * MB);
	CHECK_INT(st.step, GUARD_GIVEN_UP);
	CHECK(strstr(st.text, "it is given up") != NULL && !refuses(&p));
	CHECK_INT(script.gave_up, 1);
	CHECK(script.gave_up_at == AT);
	CHECK_INT(script.gave_up_bytes, LIMIT);
	st = look(&p, 1002 * MB); /* under way */
	CHECK_INT(st.step, GUARD_GIVEN_UP);
	CHECK_INT(script.gave_up, 1);
	script.now_ms += GIVE_UP_MS;
	st = look(&p, 1002 * MB); /* nothing came of it */
	CHECK_INT(script.gave_up, 2);
	script.slot.confirmed += 1010 * MB;
	st = look(&p, 0);
	CHECK_INT(st.step, GUARD_NONE);
	CHECK(st.text[0] == '\0');
	prep_close(&p);
}

/* Off by default: measured, and that is all. */
static void test_no_limits(void)
{
	struct prep p;
	guard_open(&p);
	p.config.wal_limit_bytes = 0;
	struct guard_state st = look(&p, 100 * LIMIT);
	CHECK_INT(st.step, GUARD_NONE);
	CHECK_INT(st.ours_bytes, 100 * LIMIT);
	script.now_ms += 86400000;
	st = look(&p, 100 * LIMIT);
	CHECK_INT(st.step, GUARD_NONE);
	CHECK_INT(st.age_ms, 86400000);
	CHECK_INT(script.gave_up, 0);
	prep_close(&p);
}

/* It counts while the position stands still with WAL behind it, whatever its bytes. */
static void test_age(void)
{
	struct prep p;
	guard_open(&p);
	p.config.wal_limit_bytes = 0;
	p.config.wal_limit_age_ms = 600000;
	CHECK_INT(look(&p, MB).age_ms, 0);
	script.now_ms += 400000;
	struct guard_state st = look(&p, 2 * MB);
	CHECK_INT(st.age_ms, 400000);
	CHECK_INT(st.step, GUARD_WARN);
	CHECK_STR(st.text, "the replication slot has stood still for 400 s, 66 % of BUSBAR_WAL_LIMIT_AGE");
	script.slot.confirmed += MB; /* it moves a little */
	CHECK_INT(look(&p, MB).step, GUARD_NONE);
	script.now_ms += 500000;
	CHECK_INT(look(&p, MB).behind_ms, 500000);
	CHECK_INT(look(&p, 0).age_ms, 0); /* nothing behind it */
	script.now_ms += 599000;
	st = look(&p, MB);
	CHECK_INT(st.step, GUARD_DROP);
	CHECK_INT(st.behind_ms, 0); /* it may have come just now */
	script.now_ms += 1000;
	CHECK_INT(look(&p, MB).step, GUARD_GIVEN_UP);
	CHECK_INT(script.gave_up, 1);
	CHECK_INT(script.gave_up_bytes, 0); /* only if it still stands there */
	prep_close(&p);
}

/* What others hold is said, with their process, and nothing is done about it. */
static void test_others(void)
{
	struct prep p;
	guard_open(&p);
	script.slot.restart = AT - 5 * (lsn_t)LIMIT;
	script.oldest = (struct pg_oldest){.xid = 700, .pid = 4711, .age_ms = 65000, .who = "process 4711 (user \"u\")"};
	struct guard_state st = look(&p, 0);
	CHECK_INT(st.step, GUARD_NONE);
	CHECK(st.others);
	CHECK_STR(st.text, "another session's transaction (process 4711, for 65 s) makes Postgres keep 5000 MB of WAL, which nothing that "
	          "Busbar does frees");
	CHECK(!refuses(&p) && script.gave_up == 0);
	script.oldest.age_ms = 500; /* a short one: it isn't to blame */
	script.oldest.xid = 701;
	CHECK(!look(&p, 0).others);
	script.oldest.age_ms = -1; /* we may not see since when: so long as we have seen it */
	script.oldest.xid = 702;
	CHECK(!look(&p, 0).others);
	script.now_ms += OLD_MS;
	CHECK(look(&p, 0).others);
	prep_close(&p);
}

/* A slot that could not be made again at once is kept, and it is said for whom. */
static void test_in_the_way(void)
{
	struct prep p;
	guard_open(&p);
	script.oldest = (struct pg_oldest){.xid = 700, .pid = 4711, .age_ms = 65000, .who = "process 4711 (user \"u\")"};
	struct guard_state st = look(&p, LIMIT);
	CHECK_INT(st.step, GUARD_DROP);
	CHECK(strstr(st.text, "it isn't given up, as another could not be made before the transaction of process 4711") != NULL);
	script.oldest = (struct pg_oldest){.xid = 700, .age_ms = 65000, .who = "prepared transaction \"x\""};
	st = look(&p, LIMIT);
	CHECK_INT(st.step, GUARD_DROP);
	CHECK(strstr(st.text, "before a prepared transaction has ended") != NULL);
	CHECK_INT(script.gave_up, 0);
	script.oldest = (struct pg_oldest){0};
	CHECK_INT(look(&p, LIMIT).step, GUARD_GIVEN_UP);
	CHECK_INT(script.gave_up, 1);
	prep_close(&p);
}

/* Without a replication connection the slot is dropped from beside it, if nobody has it. */
static void test_not_running(void)
{
	struct prep p;
	guard_open(&p);
	status_phase(p.engine, STREAM_BACKING_OFF, "no");
	CHECK_INT(look(&p, LIMIT).step, GUARD_DROP); /* somebody has it */
	script.slot.active = false;
	CHECK_INT(look(&p, LIMIT).step, GUARD_GIVEN_UP);
	CHECK(script.slot_dropped);
	CHECK_INT(script.gave_up, 0);
	script.slot = (struct pg_slot_look){.status = SLOT_MISSING, .wal_end = AT, .keep_bytes = -1};
	struct guard_state st = look(&p, 0);
	CHECK_INT(st.step, GUARD_NONE);
	CHECK_INT(st.slot, SLOT_MISSING);
	prep_close(&p);
}

/* Another instance's slot is its own affair. */
static void test_foreign(void)
{
	struct prep p;
	guard_open(&p);
	CHECK_INT(look(&p, 900 * MB).step, GUARD_DROP);
	status_phase(p.engine, STREAM_WAITING_LOCK, NULL);
	status_wait(p.engine, STREAM_WAIT_FOREIGN_LOCK);
	struct guard_state st = look(&p, 2 * LIMIT);
	CHECK(!st.known && st.step == GUARD_NONE && script.gave_up == 0 && !script.slot_dropped);
	prep_close(&p);
}

/* Not knowing is no reason for a step, nor for taking one back. */
static void test_blind(void)
{
	struct prep p;
	guard_open(&p);
	CHECK_INT(look(&p, 720 * MB).step, GUARD_REFUSE);
	script.slot_there = false;
	struct guard_state st = look(&p, 0);
	CHECK(!st.known && st.step == GUARD_REFUSE);
	/* The stream's start has seen the slot; but whether another could be made nobody knows. */
	p.engine->server = (struct stream_server){.version_num = 150000, .wal_end = AT + 2 * (lsn_t)LIMIT, .confirmed_flush = AT};
	p.engine->server_ms = script.now_ms;
	st = look(&p, 0);
	CHECK(st.known && st.step == GUARD_DROP && script.gave_up == 0);
	CHECK(strstr(st.text, "nobody could look whether another can be made") != NULL);
	script.now_ms += BLIND_MAX_MS;
	CHECK(!look(&p, 0).known);
	prep_close(&p);
}

/* What of ours holds the stream: only shapes for which something must be looked at that can't be. */
static void test_drop(void)
{
	static const struct { int hold; bool gone; } cases[] = {
		{-1, false}, {GUARD_HOLD_STORE, false}, {GUARD_HOLD_LOOK, false}, {GUARD_HOLD_GROUND, true}, {GUARD_HOLD_PARTITION, false},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct prep p;
		guard_open(&p);
		struct shape *shape = prep_shape(&p, 1, NULL);
		CHECK_INT(look(&p, 860 * MB).step, GUARD_DROP);
		script.now_ms += STALLED_MS;
		if (cases[i].hold >= 0)
			guard_held(p.engine, (enum guard_hold)cases[i].hold);
		CHECK_INT(look(&p, 860 * MB).step, GUARD_DROP);
		CHECK_INT(shape->dropped, cases[i].gone);
		if (!cases[i].gone)
			shape_rotate(shape, REASON_DELETED, "the test ends");
		drain(&p);
		shape_unref(shape);
		prep_close(&p);
	}
}

/* Of whose partitions can't be looked up only those that may have some go. */
static void test_drop_families(void)
{
	struct prep p;
	guard_open(&p);
	script.table->relkind = 'p';
	struct shape *shape = prep_shape(&p, 1, NULL);
	(void)look(&p, 860 * MB);
	guard_held(p.engine, GUARD_HOLD_PARTITION);
	(void)look(&p, 860 * MB);
	CHECK(!shape->dropped); /* for how long it is held isn't known yet */
	script.now_ms += STALLED_MS;
	guard_held(p.engine, GUARD_HOLD_PARTITION);
	(void)look(&p, 860 * MB);
	CHECK(shape->dropped);
	drain(&p);
	shape_unref(shape);
	prep_close(&p);
}

static void test_ready(void)
{
	struct prep p;
	guard_open(&p);
	struct shapes_ready ready;
	shapes_ready(p.engine, &ready);
	CHECK(ready.ready && ready.wal == NULL && ready.reason == NULL);
	(void)look(&p, 600 * MB);
	shapes_ready(p.engine, &ready);
	CHECK(ready.ready && ready.reason == NULL && strstr(ready.wal_text, "60 % of BUSBAR_WAL_LIMIT") != NULL);
	CHECK_STR(ready.wal, "warn");
	(void)look(&p, 800 * MB);
	shapes_ready(p.engine, &ready); /* no shape: nobody would get anything */
	CHECK(!ready.ready);
	CHECK_STR(ready.status, "refusing");
	CHECK_STR(ready.wal, "refuse");
	atomic_store(&p.engine->nshapes, 1);
	shapes_ready(p.engine, &ready);
	CHECK(ready.ready);
	CHECK_STR(ready.wal, "refuse");
	prep_close(&p);
}

/* Often near the limit, seldom without one; at once when somebody asks. */
static void test_when(void)
{
	struct prep p;
	guard_open(&p);
	struct shapes *s = p.engine;
	(void)look(&p, 0);
	CHECK_INT(guard_run(&p.admin), LOOK_LIMITED_MS);
	script.slot.wal_end = AT + 300 * (lsn_t)MB;
	CHECK_INT(guard_run(&p.admin), LOOK_NEAR_MS);
	p.config.wal_limit_bytes = 0;
	CHECK_INT(guard_run(&p.admin), LOOK_MS);
	s->guard.next_ms = script.now_ms + 5;
	CHECK(!queue_guard(s));
	jobs_guard_now(s);
	CHECK(queue_guard(s));
	CHECK(!queue_guard(s)); /* somebody is at it */
	prep_close(&p);
}

/* While all connections are closed it seldom opens one; much that is to be read opens all. */
static void test_asleep(void)
{
	struct prep p;
	guard_open(&p);
	struct idle *idle = &p.engine->idle;
	struct stream_sink sink = {0};
	p.engine->stream = stream_new(&p.config, &sink);
	script.slot.active = false;
	(void)look(&p, 0);
	script.looks = 0;
	atomic_store(&idle->state, IDLE_ASLEEP);
	idle->since_ms = script.now_ms;
	CHECK_INT(guard_run(&p.admin), LOOK_ASLEEP_LIMITED_MS);
	script.now_ms += LOOK_ASLEEP_LIMITED_MS - 1;
	CHECK_INT(guard_run(&p.admin), 1);
	CHECK_INT(script.looks, 0);
	struct guard_state st;
	guard_read(p.engine, &st);
	CHECK(!st.known);
	script.now_ms++;
	st = look(&p, 200 * MB);
	CHECK_INT(script.looks, 1);
	CHECK_INT(st.ours_bytes, 200 * MB);
	CHECK(st.known && st.step == GUARD_NONE);
	CHECK_INT(idle_state(idle), IDLE_WAKING); /* more than 100 MB */
	atomic_store(&idle->state, IDLE_ASLEEP);
	p.config.wal_limit_bytes = 100 * MB;
	script.now_ms += LOOK_ASLEEP_LIMITED_MS;
	(void)look(&p, 24 * MB);
	CHECK_INT(idle_state(idle), IDLE_ASLEEP);
	script.now_ms += LOOK_ASLEEP_LIMITED_MS;
	script.slot.safe_bytes = 20 * MB; /* Postgres would end the slot then */
	(void)look(&p, 24 * MB);
	CHECK_INT(idle_state(idle), IDLE_WAKING);
	atomic_store(&idle->state, IDLE_ASLEEP);
	script.slot.safe_bytes = -1;
	script.now_ms += LOOK_ASLEEP_LIMITED_MS;
	st = look(&p, 200 * MB); /* whatever there is, no step is taken: reading takes it away */
	CHECK(st.step == GUARD_NONE && !refuses(&p) && script.gave_up == 0 && !script.slot_dropped);
	CHECK_INT(idle_state(idle), IDLE_WAKING);
	atomic_store(&idle->state, IDLE_ASLEEP);
	script.slot.active = true; /* another instance reads */
	script.now_ms += LOOK_ASLEEP_LIMITED_MS;
	(void)look(&p, 200 * MB);
	CHECK_INT(idle_state(idle), IDLE_ASLEEP);
	p.config.wal_limit_bytes = 0;
	CHECK_INT(guard_run(&p.admin), LOOK_ASLEEP_MS);
	p.config.wal_limit_age_ms = 60000;
	CHECK_INT(guard_run(&p.admin), 12000);
	atomic_store(&idle->state, IDLE_AWAKE);
	stream_free(p.engine->stream);
	p.engine->stream = NULL;
	prep_close(&p);
}

static void test_sync_names(void)
{
	static const char *const all[] = {"*", "FIRST 1 (a, *)", "ANY 2 (*)", "a,*,b", "\"*\"", "2 ( b , \"*\" )"};
	static const char *const some[] = {"", "a", "FIRST 1 (a, b)", "\"a*\"", "a*", "\"a, *\"", "ANY 1 (\"x\"\"*\", y)", "\"unended *"};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (!CHECK(pg_sync_names_all(all[i])))
			printf("  %s\n", all[i]);
	for (size_t i = 0; i < ARRAY_LEN(some); i++)
		if (!CHECK(!pg_sync_names_all(some[i])))
			printf("  %s\n", some[i]);
}

int main(void)
{
	log_init(LOG_EMERGENCY);
	RUN(test_permille);
	RUN(test_decide);
	RUN(test_decide_all);
	RUN(test_steps);
	RUN(test_no_limits);
	RUN(test_age);
	RUN(test_others);
	RUN(test_in_the_way);
	RUN(test_not_running);
	RUN(test_foreign);
	RUN(test_blind);
	RUN(test_drop);
	RUN(test_drop_families);
	RUN(test_ready);
	RUN(test_when);
	RUN(test_asleep);
	RUN(test_sync_names);
	return check_done("guard");
}
