/*
 * test_prep_create.c - the birth of shapes (shapes/prep/create.c, copy.c, claims.c) against scripted answers of Postgres and INGEST:
 * whatever happens at whatever step, a shape is complete or has failed, and nothing stays open.
 */
#include "prep_test.h"

static struct err why_of(struct shape *shape)
{
	struct err e = {0};
	pthread_mutex_lock(shape_lock(shape));
	if (shape->tail.err != NULL)
		e = *shape->tail.err;
	pthread_mutex_unlock(shape_lock(shape));
	return e;
}

/* No transaction, no claim, no table that others may not make shapes of; a shape that isn't there is out of the registry. */
static void check_at_rest(struct prep *p, struct shape **shapes, int n)
{
	struct shapes *s = p->engine;
	const struct fake_conn *snap = (const struct fake_conn *)p->create.snap;
	CHECK(snap == NULL || !snap->in_transaction);
	CHECK(registry_table(s, TABLE_OID) != NULL);
	const struct table_state *t;
	for (size_t i = 0; (t = map_next(&s->tables, &i)) != NULL;)
		CHECK(!t->joining);
	for (size_t i = 0; i < ARRAY_LEN(s->preparing); i++)
		CHECK_INT(s->preparing[i], 0);
	CHECK_INT(script.registered, 0);
	int gone = 0;
	for (int i = 0; i < n; i++) {
		enum shape_state state = tail_state(shapes[i]);
		CHECK(state == SHAPE_LIVE || state == SHAPE_FAILED || state == SHAPE_GONE);
		CHECK_INT(atomic_load(&shapes[i]->dropped), state != SHAPE_LIVE);
		gone += state != SHAPE_LIVE;
	}
	gone += p->other != NULL && atomic_load(&p->other->dropped);
	CHECK_INT(p->drops, gone); /* INGEST hears of each once */
	CHECK(p->completed >= n - gone); /* one that was complete may go */
}

static void let_go(struct shape **shapes, int n)
{
	for (int i = 0; i < n; i++)
		shape_unref(shapes[i]);
}

/* A session that is open and idle, as after another shape. */
static void warm(struct prep *p)
{
	p->other = prep_shape(p, 99, NULL);
	CHECK(run_next(p, &p->create));
	drain(p);
	CHECK_INT(tail_state(p->other), SHAPE_LIVE);
	p->completed = p->drops = p->pieces = 0;
}

static void test_goes_well(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = prep_shape(&p, 1, NULL);
	CHECK(run_next(&p, &p.create));
	CHECK_STR(script.log, "connect join connect begin REGISTER take children ground FILTER copy row row row end");
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	CHECK_INT(p.pieces, 1); /* rows and end in one */
	CHECK(registry_table(p.engine, TABLE_OID)->joined);
	shape_unref(shape);
	prep_close(&p);
}

/* One has a smaller oid than the shape's own, one a larger. */
static void add_inner_tables(void)
{
	prep_inner(TABLE_OID - 2, "members", "item_id:23:pk0 team_id:23");
	prep_inner(TABLE_OID + 2, "teams", "id:23:pk0 size:23");
}

/* A shape whose condition names both; `n` tells them apart. */
static struct shape *inner_shape(struct prep *p, int n)
{
	char text[200];
	snprintf(text, sizeof text, "id IN (SELECT item_id FROM members WHERE team_id IN (SELECT id FROM teams WHERE size > %d))", n);
	return prep_shape_in(p, text);
}

/* `steps`: how many there were; returns the first shape's state. `inner`: their conditions name two other tables. */
static enum shape_state run_over(bool inner, bool warmed, int shapes, int at, enum act act, int *steps)
{
	struct prep p;
	struct shape *all[4];
	prep_open(&p);
	if (inner)
		add_inner_tables();
	if (warmed)
		warm(&p);
	for (int i = 0; i < shapes; i++)
		all[i] = inner ? inner_shape(&p, i) : prep_shape(&p, i, NULL);
	script_at(at, act);
	err_set(&script.refusal, ERR_PG, "canceling statement due to statement timeout");
	snprintf(script.refusal.sqlstate, sizeof script.refusal.sqlstate, "57014");
	int before = script.steps;
	CHECK(run_next(&p, &p.create));
	*steps = script.steps - before;
	CHECK_INT(script.happened, at >= 0);
	atomic_store(&p.engine->stopping, false);
	drain(&p);
	check_at_rest(&p, all, shapes);
	enum shape_state state = tail_state(all[0]);
	if (act == ACT_LOSE && state == SHAPE_FAILED) {
		struct err e = why_of(all[0]);
		CHECK_INT(e.kind, ERR_PG_CONN);
		CHECK_STR(e.text, "Database connection not available");
	}
	let_go(all, shapes);
	prep_close(&p);
	return state;
}

static enum shape_state run_with(bool warmed, int shapes, int at, enum act act, int *steps)
{
	return run_over(false, warmed, shapes, at, act, steps);
}

/* Dropped between the last piece and the first row of a child, and nobody asks before the copy's end: nothing of it is kept,
 * and the copy goes on to its end. */
static void test_dropped_before_a_child(void)
{
	enum { VALUE = 5000 };
	char *value = mem_alloc(VALUE + 1);
	memset(value, 'x', VALUE);
	value[VALUE] = '\0';
	for (int turn = 240; turn < 250; turn++) { /* more than a megabyte before, and a piece that is more or less full */
		struct prep p;
		prep_open(&p);
		pg_table_unref(script.table);
		script.table = table_make(TABLE_OID, "public", "items", "id:23:pk0 name:25");
		script.table->nmembers = 1;
		script.table->members = mem_zalloc(sizeof *script.table->members);
		script.table->members[0] = (struct pg_member){TABLE_OID + 1, mem_strdup("public"), mem_strdup("kid")};
		script.rows = turn + 3;
		script.turn = turn;
		script.value = value;
		script.looks_away = true;
		struct shape *shape = prep_shape(&p, 1, NULL);
		/* connect join connect begin REGISTER take children ground FILTER copy, and the rows before it */
		script_at(10 + turn, ACT_DROP);
		CHECK(run_next(&p, &p.create));
		CHECK(script.happened);
		drain(&p);
		check_at_rest(&p, &shape, 1);
		shape_unref(shape);
		script.value = NULL;
		prep_close(&p);
	}
	free(value);
}

/* What happens at each step of a birth, on sessions that are opened for it or were idle. */
static void every_step(bool inner, enum act act)
{
	for (int warmed = 0; warmed < 2; warmed++)
		for (int shapes = 1; shapes <= 3; shapes += 2) {
			int steps, unused;
			CHECK_INT(run_over(inner, warmed, shapes, -1, ACT_NONE, &steps), SHAPE_LIVE);
			for (int at = 0; at < steps; at++)
				run_over(inner, warmed, shapes, at, act, &unused);
		}
}

static void test_every_step(enum act act)
{
	every_step(false, act);
	every_step(true, act);
}

/* join begin REGISTER take children ground FILTER copy…: what broke while it was idle is opened anew, once. */
static void test_idle_session_broke(void)
{
	int steps;
	CHECK_INT(run_with(true, 1, 0, ACT_LOSE, &steps), SHAPE_LIVE); /* join */
	CHECK_INT(run_with(true, 1, 1, ACT_LOSE, &steps), SHAPE_LIVE); /* begin */
	CHECK_INT(run_with(true, 1, 3, ACT_LOSE, &steps), SHAPE_LIVE); /* take */
	CHECK_INT(run_with(true, 1, 7, ACT_LOSE, &steps), SHAPE_FAILED); /* copy: rows may be in the store */
	CHECK_INT(run_with(false, 1, 1, ACT_LOSE, &steps), SHAPE_FAILED); /* a new one that breaks is an outage */
}

/* The job of shape 1 with a refusal at a step; what clients are told. */
static struct err refused_at(const char *name, enum err_kind kind, const char *sqlstate, const char *text)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = prep_shape(&p, 1, NULL);
	script_refuse(name, kind, sqlstate, text);
	CHECK(run_next(&p, &p.create));
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK_INT(tail_state(shape), SHAPE_FAILED);
	struct err e = why_of(shape);
	shape_unref(shape);
	prep_close(&p);
	return e;
}

static void test_refusals(void)
{
	struct err e = refused_at("join", ERR_CONFIG, "", "Publication \"pub\" not found in the database");
	CHECK_INT(e.kind, ERR_CONFIG);
	CHECK(strstr(e.text, "Publication \"pub\" not found") != NULL);
	CHECK(strstr(script.log, "connect begin") == NULL); /* nothing was begun */
	e = refused_at("begin", ERR_PG, "42501", "Unable to create initial snapshot: permission denied for table items");
	CHECK_INT(e.kind, ERR_PG);
	CHECK(strstr(e.text, "GRANT SELECT ON") != NULL); /* what mends it */
	CHECK(strstr(script.log, " REGISTER") == NULL);
	e = refused_at("take", ERR_CONFIG, "", "row-level security hides rows");
	CHECK_INT(e.kind, ERR_CONFIG);
	e = refused_at("join", ERR_PG, "57014", "canceling statement due to statement timeout");
	CHECK_INT(e.kind, ERR_PG);
	CHECK(strstr(e.text, "statement timeout") != NULL);
	e = refused_at("copy", ERR_TIMEOUT, "", "the first row took too long");
	CHECK_INT(e.kind, ERR_TIMEOUT);
	/* The table is gone: who asks next asks the catalog. */
	e = refused_at("take", ERR_NOT_FOUND, "", "the table is gone");
	CHECK_INT(e.kind, ERR_NOT_FOUND);
}

/* INGEST, or the ground, wants another snapshot; the publication was altered: another join first. */
static void test_taken_again(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = prep_shape(&p, 1, NULL);
	script.filter[0] = CMD_AGAIN;
	script.filter[1] = CMD_ANEW;
	script.born[2] = 1;
	script.born[3] = GROUND_JOIN;
	int64_t before = script.now_ms;
	CHECK(run_next(&p, &p.create));
	CHECK_STR(script.log,
	          "connect join connect begin REGISTER take children ground FILTER end " /* what it is registered for it keeps */
	          "begin take children ground FILTER UNREGISTER end "
	          "begin REGISTER take children ground UNREGISTER end "
	          "begin REGISTER take children ground UNREGISTER end join "
	          "begin REGISTER take children ground FILTER copy row row row end");
	CHECK_INT(script.now_ms - before, 3 * RETAKE_WAIT_MS);
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	shape_unref(shape);
	prep_close(&p);
}

static void test_taken_again_has_an_end(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = prep_shape(&p, 1, NULL);
	for (size_t i = 0; i < ARRAY_LEN(script.born); i++)
		script.born[i] = GROUND_JOIN;
	CHECK(run_next(&p, &p.create));
	drain(&p);
	check_at_rest(&p, &shape, 1);
	struct err e = why_of(shape);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK(strstr(e.text, "kept being altered") != NULL);
	shape_unref(shape);
	prep_close(&p);
}

/* Columns alone may be read: the lock fixes the snapshot, after the shapes are registered. */
static void test_lock_by_columns(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = prep_shape(&p, 1, NULL);
	script.begin_rc = 1;
	CHECK(run_next(&p, &p.create));
	CHECK(strstr(script.log, "begin REGISTER lock_columns take") != NULL);
	drain(&p);
	check_at_rest(&p, &shape, 1);
	shape_unref(shape);
	prep_close(&p);
}

/* Shapes that wait together share a snapshot; one whose condition fails on a row fails alone, one whose condition has a
 * character that the database lacks before anything is done. */
static void test_shared(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *all[] = {prep_shape(&p, 1, "{}"), prep_shape(&p, 2, NULL), prep_shape(&p, 3, NULL), prep_shape(&p, 4, NULL)};
	script.unheld = "{}";
	script.failing_shape = 2;
	CHECK(run_next(&p, &p.create));
	CHECK_STR(script.log, "connect encoding join connect begin REGISTER take children ground FILTER save copy row row row "
	                      "copy row row row back copy row row row end");
	CHECK(!run_next(&p, &p.create));
	drain(&p);
	check_at_rest(&p, all, 4);
	CHECK_INT(tail_state(all[0]), SHAPE_FAILED);
	CHECK_INT(why_of(all[0]).kind, ERR_REQUEST);
	int failed = 0;
	for (int i = 1; i < 4; i++) {
		struct err e = why_of(all[i]);
		failed += e.kind == ERR_PG;
		CHECK(strstr(e.text, "division") == NULL); /* what is said of data may hold data */
	}
	CHECK_INT(failed, 1);
	let_go(all, 4);
	prep_close(&p);
}

/* A table that left the publication and came back: what was made before missed changes. */
static void test_came_back(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *all[] = {prep_shape(&p, 1, NULL), NULL};
	CHECK(run_next(&p, &p.create));
	drain(&p);
	script.rel_oid = 101;
	all[1] = prep_shape(&p, 2, NULL);
	CHECK(run_next(&p, &p.create));
	drain(&p);
	check_at_rest(&p, all, 2);
	CHECK_INT(tail_state(all[0]), SHAPE_GONE);
	CHECK_INT(tail_state(all[1]), SHAPE_LIVE);
	let_go(all, 2);
	prep_close(&p);
}

/* ---- conditions that name other tables ---- */

static void test_inner_tables(void)
{
	struct prep p;
	prep_open(&p);
	add_inner_tables();
	struct shape *shape = inner_shape(&p, 1);
	script.begin_rc = 1;
	CHECK(run_next(&p, &p.create));
	CHECK_STR(script.log,
	          "connect encoding join.members join join.teams connect begin lock_columns take select select end "
	          "begin REGISTER lock_columns take "
	          "children.members children children.teams ground select select FILTER copy row row row end");
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	for (uint32_t oid = TABLE_OID - 2; oid <= TABLE_OID + 2; oid += 2)
		CHECK(registry_table(p.engine, oid)->joined);
	CHECK_INT(p.tables, 3); /* records of their joins */
	shape_unref(shape);
	prep_close(&p);
}

/* What clients are told when a step of an inner table is refused: it is that table's. */
static void test_inner_refusals(void)
{
	static const struct {
		const char *at, *table;
	} cases[] = {{"join.members", "members"}, {"join", "items"}, {"join.teams", "teams"}, {"begin", "teams"}, {"take", "teams"},
	             {"children.members", "members"}, {"children", "items"}, {"children.teams", "teams"}, {"ground", "teams"},
	             {"select", NULL}, {"copy", NULL}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct prep p;
		prep_open(&p);
		add_inner_tables();
		struct shape *shape = inner_shape(&p, 1);
		script_refuse(cases[i].at, ERR_PG, "42501", "permission denied");
		CHECK(run_next(&p, &p.create));
		CHECK(script.happened);
		drain(&p);
		check_at_rest(&p, &shape, 1);
		struct err e = why_of(shape);
		char grant[100];
		snprintf(grant, sizeof grant, "GRANT SELECT ON \"public\".\"%s\" TO", cases[i].table != NULL ? cases[i].table : "");
		if (cases[i].table != NULL ? !CHECK(strstr(e.text, grant) != NULL) : !CHECK(strstr(e.text, "GRANT") == NULL))
			printf("%s: %s\n", cases[i].at, e.text);
		shape_unref(shape);
		prep_close(&p);
	}
}

/* The publication is all tables': they all join again. */
static void test_inner_joined_again(void)
{
	struct prep p;
	prep_open(&p);
	add_inner_tables();
	struct shape *shape = inner_shape(&p, 1);
	script.born[0] = GROUND_JOIN;
	CHECK(run_next(&p, &p.create));
	CHECK(strstr(script.log, "ground UNREGISTER end join.members join join.teams begin REGISTER take") != NULL);
	CHECK_INT(script.selects, 2 + 2); /* what was guessed is as good as before */
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	shape_unref(shape);
	shape = inner_shape(&p, 2);
	script.nborn = 0;
	for (size_t i = 0; i < ARRAY_LEN(script.born); i++)
		script.born[i] = GROUND_JOIN;
	CHECK(run_next(&p, &p.create));
	drain(&p);
	CHECK(strstr(why_of(shape).text, "kept being altered while the snapshot of table \"public.teams\"") != NULL);
	shape_unref(shape);
	prep_close(&p);
}

static bool is_believed(struct prep *p, const char *name)
{
	struct table_lookup *l = shapes_table_lookup(p->engine, "public", name);
	bool believed = l->done;
	table_lookup_unref(l);
	return believed;
}

/* Between the look and the lock an inner table got a partition, or a child. */
static void test_inner_leaves(void)
{
	for (int i = 0; i < 2; i++) {
		struct prep p;
		prep_open(&p);
		add_inner_tables();
		struct shape *shape = inner_shape(&p, 1);
		struct pg_table *then = script.inner[i], *now = table_make(then->oid, "public", then->name, "item_id:23:pk0 team_id:23");
		then->relkind = now->relkind = 'p';
		now->leaves = mem_alloc(sizeof *now->leaves);
		now->leaves[0] = 30;
		now->nleaves = 1;
		script.inner[i] = now;
		/* From just now, however slow this test is. */
		pg_table_unref(registry_cache_put(p.engine, then, real_mono_ms() + 60000));
		CHECK(is_believed(&p, then->name));
		CHECK(run_next(&p, &p.create));
		CHECK(!is_believed(&p, then->name)); /* who comes next asks the catalog */
		drain(&p);
		check_at_rest(&p, &shape, 1);
		struct err e = why_of(shape);
		CHECK_INT(e.kind, ERR_NOT_FOUND);
		CHECK(strstr(e.text, i == 0 ? "public.members" : "public.teams") != NULL);
		pg_table_unref(then);
		shape_unref(shape);
		prep_close(&p);
	}
}

/* Only shapes that name the same tables share a snapshot, as the same descriptions have them. */
static void test_inner_shared(void)
{
	struct prep p;
	prep_open(&p);
	add_inner_tables();
	struct shape *all[] = {inner_shape(&p, 1), prep_shape(&p, 9, NULL), prep_shape_in(&p, "id IN (SELECT item_id FROM members)"),
	                       inner_shape(&p, 2), NULL};
	pg_table_unref(script.inner[1]);
	script.inner[1] = table_make(TABLE_OID + 2, "public", "teams", "id:23:pk0 size:23");
	all[4] = inner_shape(&p, 3);
	static const unsigned together[] = {1u << 0 | 1u << 3, 1u << 1, 1u << 2, 1u << 4};
	unsigned done = 0;
	for (size_t run = 0; run < ARRAY_LEN(together); run++) {
		CHECK(run_next(&p, &p.create));
		drain(&p);
		done |= together[run];
		for (unsigned i = 0; i < ARRAY_LEN(all); i++)
			CHECK_INT(tail_state(all[i]), done & 1u << i ? SHAPE_LIVE : SHAPE_CREATING);
	}
	check_at_rest(&p, all, 5);
	let_go(all, 5);
	prep_close(&p);
}

/* An inner table that left the publication and came back: older shapes that name it missed changes of it. */
static void test_inner_came_back(void)
{
	struct prep p;
	prep_open(&p);
	add_inner_tables();
	struct shape *all[] = {inner_shape(&p, 1), prep_shape(&p, 9, NULL), NULL};
	CHECK(run_next(&p, &p.create));
	CHECK(run_next(&p, &p.create));
	drain(&p);
	script.back = TABLE_OID + 2;
	all[2] = inner_shape(&p, 2);
	CHECK(run_next(&p, &p.create));
	drain(&p);
	check_at_rest(&p, all, 3);
	CHECK_INT(tail_state(all[0]), SHAPE_GONE);
	CHECK_INT(tail_state(all[1]), SHAPE_LIVE);
	CHECK_INT(tail_state(all[2]), SHAPE_LIVE);
	let_go(all, 3);
	prep_close(&p);
}

/* log=changes_only: there are no rows to copy. */
static void test_changes_only(void)
{
	struct prep p;
	prep_open(&p);
	struct shape_def d = def_make(pg_table_ref(script.table), NULL, 0);
	d.log_mode = LOG_MODE_CHANGES_ONLY;
	struct err e;
	struct shape *shape = shapes_get(p.engine, &d, &e);
	shape_def_clear(&d);
	CHECK(run_next(&p, &p.create));
	CHECK(strstr(script.log, "copy") == NULL);
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	shape_unref(shape);
	prep_close(&p);
}

/* Many rows are many pieces; chunks end where they should. */
static void test_pieces(void)
{
	struct prep p;
	prep_open(&p);
	script.rows = 60000;
	struct shape *shape = prep_shape(&p, 1, NULL);
	script.log[0] = 'x'; /* as long as it is: steps aren't told any more */
	memset(script.log, 'x', sizeof script.log - 1);
	CHECK(run_next(&p, &p.create));
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK(p.pieces > 100);
	shape_unref(shape);
	prep_close(&p);
}

int main(void)
{
	log_init(LOG_ERROR);
	RUN(test_goes_well);
	RUN(test_dropped_before_a_child);
	RUN(test_every_step, ACT_LOSE);
	RUN(test_every_step, ACT_REFUSE);
	RUN(test_every_step, ACT_STOP);
	RUN(test_every_step, ACT_DROP);
	RUN(test_idle_session_broke);
	RUN(test_refusals);
	RUN(test_taken_again);
	RUN(test_taken_again_has_an_end);
	RUN(test_lock_by_columns);
	RUN(test_shared);
	RUN(test_came_back);
	RUN(test_inner_tables);
	RUN(test_inner_refusals);
	RUN(test_inner_joined_again);
	RUN(test_inner_leaves);
	RUN(test_inner_shared);
	RUN(test_inner_came_back);
	RUN(test_changes_only);
	RUN(test_pieces);
	return check_done("prep_create");
}
