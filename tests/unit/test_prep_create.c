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
	CHECK(known_table(s, TABLE_OID) != NULL);
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
	CHECK(known_table(p.engine, TABLE_OID)->joined);
	shape_unref(shape);
	prep_close(&p);
}

/* Registered with a description of before, when whoever looks at the catalog had looked already. */
static void test_null_meanwhile(void)
{
	struct prep p;
	prep_open(&p);
	warm(&p);
	struct shape *shape = prep_shape(&p, 1, NULL);
	CHECK(strstr(shape_schema_header(shape), "not_null") != NULL);
	struct pg_table *before = script.table;
	script.table = table_make(TABLE_OID, "public", "items", "id:23:pk0 name:25:notnull");
	script.nulls = true;
	script.log[0] = '\0';
	CHECK(run_next(&p, &p.create));
	CHECK(strstr(script.log, "take children lookup_oid ground") != NULL);
	drain(&p);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	CHECK(strstr(strstr(shape_schema_header(shape), "\"name\""), "not_null") != NULL);
	CHECK_STR(known_table(p.engine, TABLE_OID)->table->schema_json, script.table->schema_json); /* what a restart finds */
	CHECK(p.engine->reconcile_now); /* and if somebody had a younger description, it comes again */
	shape_unref(shape);
	pg_table_unref(before);
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
	          "connect encoding look.members look look.teams join.members join join.teams connect begin lock_columns take children.members children children.teams ground "
	          "select select REGISTER FILTER copy row row row end");
	drain(&p);
	check_at_rest(&p, &shape, 1);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	for (uint32_t oid = TABLE_OID - 2; oid <= TABLE_OID + 2; oid += 2)
		CHECK(known_table(p.engine, oid)->joined);
	CHECK_INT(p.tables, 3); /* records of their joins */
	shape_unref(shape);
	prep_close(&p);
}

/* What clients are told when a step of an inner table is refused: it is that table's. */
static void test_inner_refusals(void)
{
	static const struct {
		const char *at, *table;
	} cases[] = {{"look.members", "members"}, {"look", "items"}, {"look.teams", "teams"},
	             {"join.members", "members"}, {"join", "items"}, {"join.teams", "teams"}, {"begin", "teams"}, {"take", "teams"},
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
		if (strncmp(cases[i].at, "look", 4) == 0)
			CHECK(strstr(script.log, "join") == NULL); /* no table is altered for a shape that can't be */
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
	CHECK(strstr(script.log, "ground end join.members join join.teams begin take") != NULL);
	CHECK_INT(script.selects, 2); /* not before all stands */
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

/* ---- what subqueries select ---- */

#define JOINED "connect encoding look.members look join.members join connect "
#define SNAPSHOT "take children.members children ground select "
#define FIRST "begin " SNAPSHOT "REGISTER FILTER "

/* One table inside, and one subquery: `n` tells them apart, in its SQL too. */
static struct shape *set_shape(struct prep *p, int n)
{
	char text[100];
	if (script.ninner == 0)
		prep_inner(TABLE_OID - 2, "members", "item_id:23:pk0 team_id:23 note:25");
	snprintf(text, sizeof text, "id IN (SELECT item_id FROM members WHERE team_id = %d)", n);
	return prep_shape_in(p, text);
}

/* The number of the shape whose subquery it is. */
static int number_of(const char *sql)
{
	for (int n = 1; n < 10; n++) {
		char constant[8];
		snprintf(constant, sizeof constant, "'%d'", n);
		if (strstr(sql, constant) != NULL)
			return n;
	}
	CHECK_STR(sql, "with a number");
	return 0;
}

/* Whether its condition has this value in the subquery's place. */
static void check_has(const struct shape *shape, const char *value, bool has)
{
	struct err e;
	struct buf sql = BUF_INIT(1u << 20);
	CHECK(shape->sets->bound == NULL && shape->sets->plan == NULL); /* INGEST has done with it */
	if (CHECK(sets_where_sql(&shape->def, shape->sets->texts.data, shape->sets->texts.len, &sql, &e) == 0))
		if (!CHECK_INT(strstr(sql.data, value) != NULL, has))
			printf("%s in %s\n", value, sql.data);
	buf_clear(&sql);
}

static void birth(struct prep *p, struct shape **shapes, int n)
{
	CHECK(run_next(p, &p->create));
	CHECK(!run_next(p, &p->create));
	drain(p);
	check_at_rest(p, shapes, n);
}

static const char *select_other_once(const char *sql, int call)
{
	(void)sql;
	return call == 0 ? "11" : "11;12;\\N";
}

/* The first snapshot is what it is registered with, and its own if INGEST agrees. */
static void test_first_is_enough(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = set_shape(&p, 1);
	birth(&p, &shape, 1);
	CHECK_STR(script.log, JOINED FIRST "copy row row row end");
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	check_has(shape, "1", true);
	shape_unref(shape);
	prep_close(&p);
}

/* Else the next one is taken at once. If what it selects has changed: it is registered with what it is now, then the snapshot is
 * taken again; nobody waits for anything. */
static void test_guess_was_wrong(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = set_shape(&p, 1);
	script.select = select_other_once;
	script.filter[0] = CMD_AGAIN;
	int64_t before = script.now_ms;
	birth(&p, &shape, 1);
	CHECK_STR(script.log, JOINED FIRST "end begin " SNAPSHOT "UNREGISTER end "
	                      "begin REGISTER " SNAPSHOT "FILTER copy row row row end");
	CHECK_INT(script.now_ms, before);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	check_has(shape, "11", true);
	check_has(shape, "12", true);
	check_has(shape, "13", false);
	shape_unref(shape);
	prep_close(&p);
}

static struct prep *looked_into;

static const char *select_holds_nobody_up(const char *sql, int call)
{
	(void)sql, (void)call;
	CHECK_INT(looked_into->engine->preparing[looked_into->create.index], 0);
	return "11";
}

/* Subqueries may be slow: while they are read another thread may make shapes of the same table. */
static void test_slow_subquery(void)
{
	struct prep p;
	prep_open(&p);
	looked_into = &p;
	struct shape *shape = set_shape(&p, 1);
	script.select = select_holds_nobody_up;
	birth(&p, &shape, 1);
	CHECK(strstr(script.log, "select") != NULL);
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	shape_unref(shape);
	prep_close(&p);
}

static const char *select_others(const char *sql, int call)
{
	static char rows[2][16];
	bool changes = number_of(sql) % 2 != 0;
	snprintf(rows[call % 2], sizeof rows[0], "%d", changes ? call : 5);
	return rows[call % 2];
}

/* One whose subqueries never select the same twice is given up, and says so; those that share its snapshots are made. */
static void test_never_the_same(void)
{
	for (int n = 1; n <= 4; n++) {
		struct prep p;
		struct shape *all[4];
		prep_open(&p);
		script.select = select_others;
		script.filter[0] = CMD_AGAIN;
		for (int i = 0; i < n; i++)
			all[i] = set_shape(&p, i + 1);
		birth(&p, all, n);
		CHECK_INT(script.selects, n * (1 + GUESSES_MAX));
		for (int i = 0; i < n; i++) {
			CHECK_INT(tail_state(all[i]), i % 2 == 0 ? SHAPE_FAILED : SHAPE_LIVE);
			if (i % 2 == 0) {
				struct err e = why_of(all[i]);
				CHECK_INT(e.kind, ERR_TIMEOUT);
				CHECK(strstr(e.text, "What the subqueries of this condition select changed 5 times") == e.text);
			} else {
				check_has(all[i], "5", true);
			}
		}
		let_go(all, n);
		prep_close(&p);
	}
}

/* All of them: none is left for the snapshot. */
static void test_none_the_same(void)
{
	struct prep p;
	prep_open(&p);
	script.select = select_others;
	script.filter[0] = CMD_AGAIN;
	struct shape *all[] = {set_shape(&p, 1), set_shape(&p, 3), set_shape(&p, 5)};
	birth(&p, all, 3);
	CHECK(strstr(strstr(script.log, "FILTER") + 1, "FILTER") == NULL);
	for (int i = 0; i < 3; i++)
		CHECK_INT(why_of(all[i]).kind, ERR_TIMEOUT);
	let_go(all, 3);
	prep_close(&p);
}

static int fails_from, fails_until;

static const char *select_failing(const char *sql, int call)
{
	return number_of(sql) == 2 && call >= fails_from && call < fails_until ? NULL : "4";
}

/* A subquery that fails on some row is its shape's concern, in the first snapshot and in another. */
static void test_one_fails(void)
{
	for (int at = 0; at < 2; at++) {
		struct prep p;
		prep_open(&p);
		fails_from = at * 3;
		fails_until = fails_from + 3;
		script.select = select_failing;
		script.filter[0] = at == 1 ? CMD_AGAIN : 0;
		struct shape *all[] = {set_shape(&p, 1), set_shape(&p, 2), set_shape(&p, 3)};
		birth(&p, all, 3);
		CHECK(strstr(script.log, "back") != NULL);
		struct err e = why_of(all[1]);
		CHECK_INT(e.kind, ERR_PG);
		CHECK_STR(e.sqlstate, "22012");
		CHECK(strstr(e.text, "division") == NULL); /* what is said of data may hold data */
		for (int i = 0; i < 3; i++)
			CHECK_INT(tail_state(all[i]), i == 1 ? SHAPE_FAILED : SHAPE_LIVE);
		let_go(all, 3);
		prep_close(&p);
	}
	/* One that is alone, or among others, which go on; the same of one that takes too long. */
	for (int n = 1; n <= 6; n += n == 3 ? 1 : 2) {
		struct prep p;
		struct shape *all[6];
		prep_open(&p);
		if (n <= 3)
			script_refuse("select", ERR_PG, "22012", "division by zero");
		else
			script_refuse("select", ERR_TIMEOUT, "", "Snapshot query took too long to return data");
		for (int i = 0; i < n; i++)
			all[i] = set_shape(&p, i + 1);
		birth(&p, all, n);
		int failed = 0;
		for (int i = 0; i < n; i++)
			failed += tail_state(all[i]) == SHAPE_FAILED;
		CHECK_INT(failed, 1);
		let_go(all, n);
		prep_close(&p);
	}
}

/* The connection breaks behind the subqueries of some: nobody goes on with it. */
static void test_lost_among_sets(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *all[] = {set_shape(&p, 1), set_shape(&p, 2), set_shape(&p, 3)};
	script_at_name("back", ACT_LOSE);
	fails_from = 0, fails_until = 3;
	script.select = select_failing;
	birth(&p, all, 3);
	CHECK(script.happened);
	for (int i = 0; i < 3; i++)
		CHECK_INT(tail_state(all[i]), SHAPE_FAILED);
	let_go(all, 3);
	prep_close(&p);
}

/* INGEST wants another snapshot: what it is registered with stays, or is put there anew; the guess is as good as before. */
static void test_sets_taken_again(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = set_shape(&p, 1);
	script.filter[0] = script.filter[1] = CMD_AGAIN;
	script.filter[2] = CMD_ANEW;
	int64_t before = script.now_ms;
	birth(&p, &shape, 1);
	CHECK_STR(script.log, JOINED FIRST "end begin " SNAPSHOT "FILTER end begin " SNAPSHOT
	                      "FILTER UNREGISTER end begin REGISTER " SNAPSHOT "FILTER copy row row row end");
	CHECK_INT(script.now_ms - before, 2 * RETAKE_WAIT_MS); /* the first was older than the registration */
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	shape_unref(shape);
	prep_close(&p);
}

static const char *select_later_another(const char *sql, int call)
{
	(void)sql;
	return call < 2 ? "11" : "12";
}

/* ...unless the next snapshot shows another set. */
static void test_changed_when_taken_again(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = set_shape(&p, 1);
	script.filter[0] = script.filter[1] = CMD_AGAIN;
	script.select = select_later_another;
	birth(&p, &shape, 1);
	CHECK_STR(script.log, JOINED FIRST "end begin " SNAPSHOT "FILTER end begin " SNAPSHOT "UNREGISTER end "
	                      "begin REGISTER " SNAPSHOT "FILTER copy row row row end");
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	check_has(shape, "11", false);
	check_has(shape, "12", true);
	shape_unref(shape);
	prep_close(&p);
}

/* It never agrees: after a while that is said, and nothing stays registered. */
static void test_never_agreed(void)
{
	static const int answers[] = {CMD_AGAIN, CMD_ANEW};
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct prep p;
		prep_open(&p);
		struct shape *all[] = {set_shape(&p, 1), set_shape(&p, 2)};
		for (size_t k = 0; k < ARRAY_LEN(script.filter); k++)
			script.filter[k] = answers[i];
		script.then = answers[i];
		int64_t before = script.now_ms;
		birth(&p, all, 2);
		CHECK(script.now_ms - before > SNAPSHOT_RETAKE_MAX_MS && script.now_ms - before < SNAPSHOT_RETAKE_MAX_MS + 1000);
		for (int k = 0; k < 2; k++)
			CHECK(strstr(why_of(all[k]).text, answers[i] == CMD_ANEW ? "again and again" : "what the stream has passed") != NULL);
		let_go(all, 2);
		prep_close(&p);
	}
}

/* The table was rewritten between the first snapshot and its lock. */
static void test_first_look_again(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shape = set_shape(&p, 1);
	script.begin_rc = 1;
	script.locked[0] = 1;
	birth(&p, &shape, 1);
	CHECK_STR(script.log, JOINED "begin lock_columns end begin lock_columns " SNAPSHOT "REGISTER FILTER copy row row row end");
	CHECK_INT(tail_state(shape), SHAPE_LIVE);
	shape_unref(shape);
	prep_close(&p);
}

static const char *selected;
static const char *select_it(const char *sql, int call)
{
	(void)sql, (void)call;
	return selected;
}

/* A shape with this condition, and what its subquery selects. */
static struct err refused_values(const char *condition, const char *rows)
{
	struct prep p;
	prep_open(&p);
	prep_inner(TABLE_OID - 2, "members", "item_id:23:pk0 team_id:23 note:25");
	struct shape *all[] = {prep_shape_in(&p, condition)};
	script.select = select_it;
	selected = rows;
	birth(&p, all, 1);
	CHECK_INT(tail_state(all[0]), SHAPE_FAILED);
	struct err e = why_of(all[0]);
	let_go(all, 1);
	prep_close(&p);
	return e;
}

/* Sets beyond their limits, and values that aren't any, are the condition's fault; the text names the limit. */
static void test_sets_refused(void)
{
	struct buf rows = BUF_INIT(16u << 20);
	for (int i = 0; i <= SET_ROWS_MAX; i++)
		buf_printf(&rows, "%d;", i);
	struct err e = refused_values("id IN (SELECT item_id FROM members)", rows.data);
	CHECK_INT(e.kind, ERR_REQUEST);
	CHECK(strstr(e.text, "more than 250000 different values") != NULL);
	buf_reset(&rows);
	for (int i = 0; i < 7; i++) {
		for (int k = 0; k < 1 << 20; k++)
			buf_putc(&rows, (char)('a' + i));
		buf_putc(&rows, ';');
	}
	e = refused_values("name IN (SELECT note FROM members)", rows.data);
	CHECK_INT(e.kind, ERR_REQUEST);
	CHECK(strstr(e.text, "more than 6 MB of values") != NULL);
	buf_clear(&rows);
	e = refused_values("id IN (SELECT item_id FROM members)", "1;x");
	CHECK_INT(e.kind, ERR_REQUEST);
	CHECK(strstr(e.text, "cannot be read") != NULL);
}

/* All shapes' sets together are what one server keeps: who comes when that is used up is told so, takes nothing of it, and is made
 * when there is room. That so much is there already is said to the counter; that it counts what there is test_sets tells. */
static void test_sets_of_all(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *all[] = {set_shape(&p, 1), NULL, NULL};
	birth(&p, all, 1);
	CHECK_INT(tail_state(all[0]), SHAPE_LIVE);
	size_t one = atomic_load(&p.engine->sets_bytes), others = SETS_ALL_BYTES_MAX - one;
	CHECK(one > 0);
	atomic_fetch_add(&p.engine->sets_bytes, others);
	for (int i = 1; i < 3; i++)
		all[i] = set_shape(&p, 1 + i);
	birth(&p, all, 3);
	CHECK_INT(tail_state(all[0]), SHAPE_LIVE);
	for (int i = 1; i < 3; i++) {
		struct err e = why_of(all[i]);
		CHECK_INT(e.kind, ERR_LIMIT);
		CHECK(strstr(e.text, "what the subqueries of all shapes select takes more than 512 MB") == e.text);
		shape_unref(all[i]);
	}
	CHECK_INT(atomic_load(&p.engine->sets_bytes), SETS_ALL_BYTES_MAX);
	atomic_fetch_sub(&p.engine->sets_bytes, others);
	p.drops = 0;
	all[1] = set_shape(&p, 2);
	birth(&p, all, 2);
	CHECK_INT(tail_state(all[1]), SHAPE_LIVE);
	CHECK_INT(atomic_load(&p.engine->sets_bytes), 2 * one);
	let_go(all, 2);
	prep_close(&p);
}

static const char *const *answers;
static const char *select_answers(const char *sql, int call)
{
	(void)sql;
	return answers[call];
}

/* How the sets of one condition come, call by call; whether the first were as good as the next. */
static void test_kinds_of_sets(void)
{
	static const struct {
		const char *condition, *answers[12];
		int guesses;
	} cases[] = {
		/* how many there are is nothing, whether there are any is */
		{"EXISTS (SELECT 1 FROM members WHERE team_id = 3)", {"5", "7"}, 1},
		{"EXISTS (SELECT 1 FROM members WHERE team_id = 3)", {"0", "0"}, 1},
		{"NOT EXISTS (SELECT 1 FROM members WHERE team_id = 3)", {"0", "7", "7"}, 2},
		{"EXISTS (SELECT 1 FROM members WHERE team_id = 3)", {"1", "0", "0"}, 2},
		/* of what is correlated: the values */
		{"EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id)", {"1;2;2", "2;1"}, 1},
		{"EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id)", {"1;2", "1;2;\\N"}, 1}, /* which match nobody */
		{"NOT EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id)", {"1;2;\\N", "1;2"}, 1},
		{"id IN (SELECT item_id FROM members)", {"1;2", "1;2;\\N", "\\N;2;1"}, 2},
		{"id NOT IN (SELECT item_id FROM members)", {"1;2", "1;2;\\N", "\\N;2;1"}, 2},
		{"EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id AND members.note = items.name)", {"1,a", "1,a;\\N,b;2,\\N"}, 1},
		{"EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id AND members.note = items.name)", {"1,a;2,b", "2,b;1,a"}, 1},
		{"EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id AND members.note = items.name)", {"1,a", "1,b", "1,b"}, 2},
		{"(id, name) IN (SELECT item_id, note FROM members)", {"1,a;\\N,\\N", "1,a", "1,a"}, 2},
		/* the inner one comes first; a change of it alone is a change */
		{"id IN (SELECT item_id FROM members WHERE team_id IN (SELECT id FROM teams))", {"1;2", "7", "2;1", "7"}, 1},
		{"id IN (SELECT item_id FROM members WHERE team_id IN (SELECT id FROM teams))", {"1;2", "7", "2;3", "7", "2;3", "7"}, 2},
		{"id IN (SELECT item_id FROM members) AND id NOT IN (SELECT id FROM teams)", {"1", "", "1", "", ""}, 1},
		{"id IN (SELECT item_id FROM members) AND id NOT IN (SELECT id FROM teams)", {"1", "", "1", "4", "1", "4"}, 2},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct prep p;
		prep_open(&p);
		prep_inner(TABLE_OID - 2, "members", "item_id:23:pk0 team_id:23 note:25");
		prep_inner(TABLE_OID + 2, "teams", "id:23:pk0 size:23");
		struct shape *shape = prep_shape_in(&p, cases[i].condition);
		answers = cases[i].answers;
		script.select = select_answers;
		script.filter[0] = CMD_AGAIN;
		birth(&p, &shape, 1);
		if (!CHECK_INT(tail_state(shape), SHAPE_LIVE) | !CHECK_INT(script.selects, (cases[i].guesses + 1) * (int)shape->sets->n))
			printf("%zu: %s\n%s\n%s\n", i, cases[i].condition, why_of(shape).text, script.log);
		CHECK_INT(strstr(script.log, "UNREGISTER") != NULL, cases[i].guesses > 1);
		shape_unref(shape);
		prep_close(&p);
	}
}

/* All are dropped, or the engine stops, in the middle of a second snapshot that keeps its registration. */
static void test_every_step_taken_again(enum act act)
{
	int steps = 1;
	for (int at = -1; at < steps; at++) {
		struct prep p;
		prep_open(&p);
		struct shape *all[] = {set_shape(&p, 1), set_shape(&p, 2)};
		script_at(at, act);
		err_set(&script.refusal, ERR_PG, "canceling statement due to statement timeout");
		script.filter[0] = CMD_AGAIN;
		script.select = select_later_another;
		int before = script.steps;
		CHECK(run_next(&p, &p.create));
		if (at < 0)
			steps = script.steps - before;
		else
			CHECK(script.happened || script.steps - before <= at);
		atomic_store(&p.engine->stopping, false);
		drain(&p);
		check_at_rest(&p, all, 2);
		let_go(all, 2);
		prep_close(&p);
	}
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

/* A job goes to who has a connection, if one waits; else to anybody. */
static void test_warm_first(void)
{
	struct prep p;
	prep_open(&p);
	struct shape *shapes[] = {prep_shape(&p, 1, NULL), prep_shape(&p, 2, NULL)};
	p.engine->ready_create = 1;
	CHECK(!run_next(&p, &p.create));
	p.engine->ready_create = 0;
	p.engine->ready_admin = 1;
	CHECK(run_next(&p, &p.create));
	drain(&p);
	check_at_rest(&p, shapes, 2);
	let_go(shapes, 2);
	shapes[0] = prep_shape(&p, 3, NULL);
	p.engine->ready_create = 1;
	CHECK(run_next(&p, &p.create));
	drain(&p);
	shape_unref(shapes[0]);

	p.engine->ready_create = p.engine->ready_admin = 0;
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

/* A handle is used once: however often a shape is made anew within one microsecond, and while the clock that was set back comes up. */
static void test_handles(void)
{
	enum { AHEAD_US = 1800 * 1000000 };
	struct prep p;
	prep_open(&p);
	int64_t last_us = p.engine->last_handle_us = clock_wall_us() + AHEAD_US;
	for (int i = 1; i <= 3; i++) {
		struct shape *shape = prep_shape(&p, 1, NULL);
		const char *us = strchr(shape->handle, '-');
		if (CHECK(us != NULL))
			CHECK_INT(strtoll(us + 1, NULL, 10), last_us + i);
		drop_all(p.engine);
		drain(&p);
		shape_unref(shape);
	}
	prep_close(&p);
}

/* A store that takes nothing while rows are copied: the copy waits for room, and not for ever. Its transaction ends, clients are
 * told what it is, and the other shapes of the snapshot don't wait in their turn. */
static void test_store_takes_nothing(bool failing)
{
	enum { VALUE = 5000, ROWS = 4000 }; /* 40 MB */
	struct prep p;
	prep_open(&p);
	char *value = mem_alloc(VALUE + 1);
	memset(value, 'x', VALUE);
	value[VALUE] = '\0';
	script.value = value;
	script.rows = ROWS;
	struct shape *all[] = {prep_shape(&p, 1, NULL), prep_shape(&p, 2, NULL)};
	p.engine->writer.wait_max_ms = 20;
	atomic_store(&p.engine->store_failing, failing ? FAILING_COMMITS : 0);
	snprintf(p.engine->failing_text, sizeof p.engine->failing_text, "store: commit: No space left on device");
	CHECK(run_next(&p, &p.create));
	CHECK(script.steps < ROWS);
	CHECK_INT(script.copies, 1);
	drain(&p);
	CHECK(p.pieces > 100);
	CHECK_INT(p.completed, 0);
	for (int i = 0; i < 2; i++) {
		struct err e = why_of(all[i]);
		CHECK_INT(tail_state(all[i]), SHAPE_FAILED);
		CHECK_INT(e.kind, ERR_TIMEOUT);
		CHECK_INT(err_reason(&e), REASON_STORE_FAILING);
		CHECK(strstr(e.text, failing ? "No space left" : "too slow") != NULL);
	}
	atomic_store(&p.engine->store_failing, 0);
	check_at_rest(&p, all, 2);
	let_go(all, 2);
	script.value = NULL;
	free(value);
	prep_close(&p);
}

int main(void)
{
	log_init(LOG_ERROR);
	RUN(test_goes_well);
	RUN(test_null_meanwhile);
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
	RUN(test_first_is_enough);
	RUN(test_guess_was_wrong);
	RUN(test_slow_subquery);
	RUN(test_never_the_same);
	RUN(test_none_the_same);
	RUN(test_one_fails);
	RUN(test_lost_among_sets);
	RUN(test_sets_taken_again);
	RUN(test_changed_when_taken_again);
	RUN(test_never_agreed);
	RUN(test_first_look_again);
	RUN(test_sets_refused);
	RUN(test_sets_of_all);
	RUN(test_kinds_of_sets);
	RUN(test_every_step_taken_again, ACT_LOSE);
	RUN(test_every_step_taken_again, ACT_REFUSE);
	RUN(test_every_step_taken_again, ACT_STOP);
	RUN(test_every_step_taken_again, ACT_DROP);
	RUN(test_changes_only);
	RUN(test_pieces);
	RUN(test_handles);
	RUN(test_store_takes_nothing, true);
	RUN(test_store_takes_nothing, false);
	RUN(test_warm_first);
	return check_done("prep_create");
}
