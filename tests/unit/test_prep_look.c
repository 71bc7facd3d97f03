/*
 * test_prep_look.c - a Relation message holds its transaction until its table has been looked at (ingest/look.c, prep/inspect.c), with the
 * real INGEST and scripted answers of Postgres: a look that failed, or was lost with its connection, is made again,
 * whatever the look-up beside it found.
 */
#include "prep_test.h"
#include "shapes/ingest/ingest.c"

static struct wal_column columns[] = {{.name = "id", .type_oid = 23, .key = true}, {.name = "other", .type_oid = 25}};

/* A table with one shape, of which INGEST has a route; the stream is running. */
static struct shape *open_stream(struct prep *p)
{
	prep_open(p);
	struct shapes *s = p->engine;
	ingest_new(s);
	s->ingest->streaming = true;
	struct shape *shape = prep_shape(p, 1, NULL);
	CHECK(run_next(p, &p->create));
	drain(p);
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_REGISTER;
	c->shapes[0] = shape_ref(shape);
	c->nshapes = 1;
	cmd_post(s, c);
	cmd_run_all(s);
	s->ingest->nroots = 1; /* some table has partitions: relations that nobody knows are looked up */
	return shape;
}

static void close_stream(struct prep *p, struct shape *shape)
{
	p->engine->ingest->nroots = 0;
	drain(p);
	ingest_release(p->engine);
	shape_unref(shape);
	struct shapes *s = p->engine;
	ingest_free(s);
	s->ingest = NULL;
	prep_close(p);
}

/* The table's description as the stream has it now: another than the shape's. Returns what change() does. */
static int relation(struct prep *p)
{
	struct err e;
	struct wal_change begins = {.kind = WAL_BEGIN, .u.begin = {.final_lsn = 1000, .xid = 50}};
	struct wal_change says = {.kind = WAL_RELATION, .u.relation = {TABLE_OID, "public", "items", 'f', 2, columns}};
	if (on_change(p->engine, &begins, &e) != 0)
		return -1;
	return on_change(p->engine, &says, &e);
}

static int jobs(const struct prep *p)
{
	int n = 0;
	for (const struct job *j = p->engine->admin_jobs; j != NULL; j = j->next)
		n++;
	return n;
}

/* The second of the two jobs first. */
static void swap_jobs(struct shapes *s)
{
	struct job *a = s->admin_jobs, *b = a->next;
	b->next = a;
	a->next = NULL;
	s->admin_jobs = b;
	s->admin_tail = &a->next;
}

/* The look fails at `at`, the look-up beside it succeeds: before, or after it. */
static void test_failed_beside_a_lookup(const char *at, bool lookup_first)
{
	struct prep p;
	struct err e;
	struct shape *shape = open_stream(&p);
	struct shapes *s = p.engine;
	CHECK_INT(relation(&p), 0);
	CHECK_INT(jobs(&p), 2); /* JOB_LOOK, JOB_RESOLVE */
	CHECK(s->ingest->looking);
	CHECK(!on_ready(s)); /* the transaction is held */
	if (lookup_first) {
		swap_jobs(s);
		CHECK(run_next(&p, &p.admin));
	}
	script_at_name(at, ACT_LOSE);
	CHECK(run_next(&p, &p.admin));
	CHECK(script.happened);
	if (!lookup_first)
		CHECK(run_next(&p, &p.admin));
	cmd_run_all(s);
	CHECK(!s->ingest->looking);
	CHECK(s->ingest->unresolved); /* nothing that follows can be routed */
	CHECK_INT(relation(&p), -1);
	on_lost(s);
	CHECK(!s->ingest->unresolved);
	/* The stream has begun again, and brings the same. */
	s->ingest->streaming = true;
	CHECK_INT(relation(&p), 0);
	CHECK(s->ingest->looking);
	while (run_next(&p, &p.admin))
		;
	cmd_run_all(s);
	CHECK(!s->ingest->looking && !s->ingest->unresolved);
	CHECK(atomic_load(&shape->dropped) == false);
	struct wal_change commits = {.kind = WAL_COMMIT, .u.commit = {.commit_lsn = 1000, .end_lsn = 1040}};
	CHECK_INT(on_change(s, &commits, &e), 0);
	close_stream(&p, shape);
}

/* The connection of the stream is lost while the look is under way: its answer comes to nobody, and another one is made. */
static void test_lost_with_the_stream(void)
{
	struct prep p;
	struct shape *shape = open_stream(&p);
	struct shapes *s = p.engine;
	CHECK_INT(relation(&p), 0);
	CHECK(s->ingest->looking);
	on_lost(s);
	while (run_next(&p, &p.admin))
		;
	cmd_run_all(s); /* too late */
	CHECK(!s->ingest->looking);
	s->ingest->streaming = true;
	CHECK_INT(relation(&p), 0);
	CHECK(s->ingest->looking);
	CHECK(jobs(&p) > 0);
	while (run_next(&p, &p.admin))
		;
	cmd_run_all(s);
	CHECK(!s->ingest->looking && !s->ingest->unresolved);
	on_lost(s);
	close_stream(&p, shape);
}

int main(void)
{
	log_init(LOG_ERROR);
	for (int first = 0; first < 2; first++) {
		RUN(test_failed_beside_a_lookup, "horizon", first);
		RUN(test_failed_beside_a_lookup, "lookup_oid", first);
	}
	RUN(test_lost_with_the_stream);
	return check_done("prep_look");
}
