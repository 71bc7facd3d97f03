/*
 * test_limits.c - which shapes go when the store is at its limit, and when that is (policy.c, usage.c), without a store.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "check.h"
#include "engine_test.h"
#include "shapes/core/engine.h"
#include "shapes/core/held_back.h"
#include "shapes/core/usage.h"
#include "shapes/prep/policy.h"

#define MIB ((uint64_t)1 << 20)

static struct err e;

/* ---- the policy ---- */

static struct candidate shape_of(uint64_t id, int64_t read_ms, uint64_t snapshot, uint64_t log)
{
	return (struct candidate){.id = id, .read_ms = read_ms, .snapshot_bytes = snapshot, .log_bytes = log, .born = true};
}

static void is_order(const struct candidate *all, size_t n, const uint64_t *ids)
{
	for (size_t i = 0; i < n; i++)
		CHECK_INT(all[i].id, ids[i]);
}

static void test_idle(void)
{
	const struct candidate some[] = {shape_of(1, 50, 10, 0), shape_of(2, 20, 10, 5), shape_of(3, 40, 10, 0), shape_of(4, 10, 10, 0),
	                                 shape_of(5, 20, 10, 0)};
	struct candidate all[5];
	memcpy(all, some, sizeof all);
	CHECK_INT(policy_idle(all, 5, 0), 0);
	CHECK_INT(policy_idle(all, 5, 1), 1);
	is_order(all, 1, (uint64_t[]){4});
	CHECK_INT(policy_idle(all, 5, 25), 2); /* 10 and 15: of those read at the same time the older first */
	is_order(all, 2, (uint64_t[]){4, 2});
	CHECK_INT(policy_idle(all, 5, 26), 3);
	is_order(all, 3, (uint64_t[]){4, 2, 5});
	CHECK_INT(policy_idle(all, 5, UINT64_MAX), 5);
	is_order(all, 5, (uint64_t[]){4, 2, 5, 3, 1});
	/* Neither what is read nor what is being made. */
	memcpy(all, some, sizeof all);
	all[3].in_use = true;
	all[1].born = false;
	CHECK_INT(policy_idle(all, 5, UINT64_MAX), 3);
	is_order(all, 3, (uint64_t[]){5, 3, 1});
	for (int i = 0; i < 5; i++)
		all[i].in_use = true;
	CHECK_INT(policy_idle(all, 5, UINT64_MAX), 0);
	CHECK_INT(policy_idle(all, 0, UINT64_MAX), 0);
}

static void test_in_use(void)
{
	struct candidate all[] = {shape_of(1, 50, 900, 3), shape_of(2, 20, 10, 70), shape_of(3, 40, 10, 900), shape_of(4, 10, 10, 0)};
	all[2].born = false; /* its first rows aren't there: it gives way by itself */
	CHECK_INT(policy_in_use(all, 4, 2 * 4096), 1);
	CHECK_INT(all[0].id, 2);
	/* A page for each of the two logs, in the journal too: more can't have come by changes. */
	CHECK_INT(policy_in_use(all, 4, 2 * 2 * 4096), 1);
	CHECK_INT(policy_in_use(all, 4, 2 * 2 * 4096 + 1), 0);
	/* No logs: births have gone past the limit, nobody's rows go for that. A limit that was lowered: the longest unread. */
	struct candidate new[] = {shape_of(1, 50, 10, 0), shape_of(2, 20, 10, 0), shape_of(3, 40, 10, 0)};
	CHECK_INT(policy_in_use(new, 3, 1), 0);
	CHECK_INT(policy_in_use(new, 3, POLICY_OVER_MAX), 0);
	CHECK_INT(policy_in_use(new, 3, POLICY_OVER_MAX + 1), 1);
	CHECK_INT(new[0].id, 2);
	CHECK_INT(policy_in_use(new, 0, UINT64_MAX), 0);
}

static void test_expired(void)
{
	struct candidate all[] = {shape_of(1, 50, 10, 0), shape_of(2, 20, 10, 0), shape_of(3, 40, 10, 0), shape_of(4, 30, 10, 0)};
	CHECK_INT(policy_expired(all, 4, 20), 0);
	CHECK_INT(policy_expired(all, 4, 41), 3);
	is_order(all, 3, (uint64_t[]){2, 4, 3});
	all[0].born = false;
	CHECK_INT(policy_expired(all, 4, 41), 2);
}

static void test_grown(void)
{
	struct candidate all[] = {shape_of(1, 0, 2 * MIB, 21 * MIB), shape_of(2, 0, 1000, MIB + 1), shape_of(3, 0, 10, 10000),
	                          shape_of(4, 0, 0, 5 * MIB)};
	all[3].only_log = true;
	CHECK_INT(policy_grown(all, 4, 10, MIB), 1);
	CHECK_INT(all[0].id, 2); /* a thousand times as much, where the other has ten */
	all[0].born = false;
	CHECK_INT(policy_grown(all, 4, 10, MIB), 1);
	CHECK_INT(all[0].id, 1);
	CHECK_INT(policy_grown(all, 4, 11, MIB), 0);
	CHECK_INT(policy_grown(all, 4, 2, 30 * MIB), 0); /* the floor */
}

/* ---- when ---- */

static void test_levels(void)
{
	CHECK_INT(usage_level_of(1 << 30, 0), USAGE_FINE); /* no limit */
	CHECK_INT(usage_level_of(90 * MIB, 100 * MIB), USAGE_FINE);
	CHECK_INT(usage_level_of(90 * MIB + 4096, 100 * MIB), USAGE_EVICT);
	CHECK_INT(usage_level_of(95 * MIB + 4096, 100 * MIB), USAGE_REFUSE);
	CHECK_INT(usage_level_of(100 * MIB, 100 * MIB), USAGE_REFUSE);
	CHECK_INT(usage_level_of(100 * MIB + 1, 100 * MIB), USAGE_FULL);
}

static void test_most(void)
{
	struct usage u = {.limit = 0};
	struct store_usage now = {.used = 100 * MIB, .file = 200 * MIB, .free = 50 * MIB, .knows_free = true};
	uint64_t frozen = 0;
	CHECK_INT(usage_most(&u, &now, &frozen), 0);
	u.limit = 1000 * MIB;
	CHECK_INT(usage_most(&u, &now, &frozen), 1000 * MIB);
	/* The file, and what may be added to it. */
	u.min_free = 20 * MIB;
	CHECK_INT(usage_most(&u, &now, &frozen), 230 * MIB);
	u.limit = 220 * MIB;
	CHECK_INT(usage_most(&u, &now, &frozen), 220 * MIB);
	/* The disk is full: the file as it was then, and not as it is when the journal has made it grow. */
	now.free = 19 * MIB;
	CHECK_INT(usage_most(&u, &now, &frozen), 200 * MIB);
	now.file = 210 * MIB;
	CHECK_INT(usage_most(&u, &now, &frozen), 200 * MIB);
	now.free = 21 * MIB;
	CHECK_INT(usage_most(&u, &now, &frozen), 211 * MIB);
	now.free = 0;
	CHECK_INT(usage_most(&u, &now, &frozen), 210 * MIB);
	/* A small store on a full disk has room for the journal. */
	now = (struct store_usage){.used = MIB, .file = MIB, .free = 0, .knows_free = true};
	frozen = 0;
	CHECK_INT(usage_most(&u, &now, &frozen), USAGE_LIMIT_LEAST);
	now.knows_free = false;
	CHECK_INT(usage_most(&u, &now, &frozen), 220 * MIB);
}

/* ---- who asks ---- */

static struct shapes *engine_new(struct config *config)
{
	struct shapes *s = mem_zalloc(sizeof *s);
	*config = (struct config){.chunk_bytes_threshold = 1000};
	s->config = config;
	engine_init_locks(s);
	s->usage.limit = 100 * MIB;
	return s;
}

static void engine_end(struct shapes *s)
{
	held_back_free(s);
	engine_free_locks(s);
	free(s);
}

static void measured(struct shapes *s, uint64_t mib)
{
	struct store_usage now = {.used = mib * MIB, .file = 300 * MIB};
	usage_measured(s, &now, 0);
}

static void test_refusal(void)
{
	struct config config;
	struct shapes *s = engine_new(&config);
	char text[STORE_FULL_TEXT_MAX];
	int retry_s;
	measured(s, 94);
	CHECK(!shapes_full(s, text, sizeof text, &retry_s));
	measured(s, 96);
	CHECK(shapes_full(s, text, sizeof text, &retry_s));
	CHECK(strstr(text, "BUSBAR_STORE_LIMIT") != NULL && strstr(text, "being removed") != NULL);
	CHECK_INT(retry_s, 1);
	atomic_store(&s->usage.nothing_left, true);
	CHECK(shapes_full(s, text, sizeof text, &retry_s));
	CHECK(strstr(text, "BUSBAR_STORE_LIMIT") != NULL && strstr(text, "being read") != NULL);
	CHECK_INT(retry_s, 10);
	measured(s, 50);
	CHECK(!shapes_full(s, text, sizeof text, &retry_s));
	CHECK(!atomic_load(&s->usage.nothing_left)); /* another time it is looked at again */
	engine_end(s);
}

/* A shape that is being made waits for others to go, and not for nothing. */
static void test_room(void)
{
	struct config config;
	struct shapes *s = engine_new(&config);
	struct shape_def d = def_make(table_make(100, "public", "items", "id:23:pk0"), NULL, REPLICA_DEFAULT);
	struct shape *shape = shape_make(s, &d, 1, "1-1");
	const char *why;
	enum reason reason;
	measured(s, 99);
	CHECK_OK(usage_room(s, shape, &e), &e);
	measured(s, 101);
	atomic_store(&s->usage.nothing_left, true);
	CHECK_INT(usage_room(s, shape, &e), -1);
	CHECK_INT(e.kind, ERR_LIMIT);
	CHECK_INT(e.why, REASON_LIMIT_STORE);
	CHECK(strstr(e.text, "BUSBAR_STORE_LIMIT") != NULL);
	/* Whoever asks again at once would have the table read again. */
	CHECK_INT(shapes_held_back(s, &d, &reason, &why), 10);
	CHECK(strstr(why, "BUSBAR_STORE_LIMIT") != NULL);
	CHECK_INT(reason, REASON_LIMIT_STORE);
	CHECK_INT(usage_room(s, shape, &e), -1);
	CHECK_INT(shapes_held_back(s, &d, &reason, &why), 20);
	/* One that is gone, or that nobody waits for, goes on: its copy ends by other means. */
	atomic_store(&s->usage.nothing_left, false);
	atomic_store(&shape->dropped, true);
	CHECK_OK(usage_room(s, shape, &e), &e);
	shape_unref(shape);
	shape_def_clear(&d);
	engine_end(s);
}

/* What was handed to the WRITER counts before it is measured. */
static void test_coming(void)
{
	struct config config;
	struct shapes *s = engine_new(&config);
	struct shape_def d = def_make(table_make(100, "public", "items", "id:23:pk0"), NULL, REPLICA_DEFAULT);
	struct shape *shape = shape_make(s, &d, 1, "1-1");
	struct store_usage now = {.used = 95 * MIB, .file = 300 * MIB};
	usage_measured(s, &now, 0);
	usage_comes(s, 4 * MIB);
	CHECK_OK(usage_room(s, shape, &e), &e);
	usage_comes(s, 2 * MIB);
	atomic_store(&s->usage.nothing_left, true);
	CHECK_INT(usage_room(s, shape, &e), -1);
	CHECK_INT(e.why, REASON_LIMIT_STORE);
	/* A store that can't be written isn't a full one. */
	atomic_store(&s->usage.nothing_left, false);
	atomic_store(&s->store_failing, 1);
	CHECK_OK(usage_room(s, shape, &e), &e);
	atomic_store(&s->store_failing, 0);
	atomic_store(&s->usage.nothing_left, true);
	now.used = 99 * MIB; /* of the first 4, which aren't counted twice */
	usage_measured(s, &now, 4 * MIB);
	CHECK_INT(atomic_load(&s->usage.coming), 2 * MIB);
	CHECK_INT(usage_room(s, shape, &e), -1);
	now.used = 98 * MIB;
	usage_measured(s, &now, 0);
	CHECK_OK(usage_room(s, shape, &e), &e);
	shape_unref(shape);
	shape_def_clear(&d);
	engine_end(s);
}

static void test_going(void)
{
	struct config config;
	struct shapes *s = engine_new(&config);
	struct shape_def d = def_make(table_make(100, "public", "items", "id:23:pk0"), NULL, REPLICA_DEFAULT);
	struct shape *shape = shape_make(s, &d, 1, "1-1");
	atomic_store(&shape->snapshot_bytes, 1000);
	atomic_store(&shape->log_bytes, 500);
	usage_leaves(s, shape);
	CHECK_INT(atomic_load(&s->usage.going), 1500);
	usage_freed(s, 600);
	CHECK_INT(atomic_load(&s->usage.going), 900);
	usage_freed(s, 10000); /* what else was deleted */
	CHECK_INT(atomic_load(&s->usage.going), 0);
	shape_unref(shape);
	shape_def_clear(&d);
	engine_end(s);
}

int main(void)
{
	RUN(test_idle);
	RUN(test_in_use);
	RUN(test_expired);
	RUN(test_grown);
	RUN(test_levels);
	RUN(test_most);
	RUN(test_refusal);
	RUN(test_room);
	RUN(test_coming);
	RUN(test_going);
	return check_done("limits");
}
