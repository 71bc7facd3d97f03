/*
 * test_held_back.c - definitions that are held back (shapes/core/held_back.c): for how long, and when that is forgotten. The clock is
 * played.
 */
#include <stdatomic.h>

#include "base/clock.h"
#include "check.h"
#include "shape_test.h"

static int64_t now_ms;
static int64_t fake_mono_ms(void) { return now_ms; }

#define clock_mono_ms fake_mono_ms
#include "shapes/core/held_back.c"

static struct shapes *engine;

static struct shape_def definition(int n)
{
	char text[40];
	struct shape_def d = def_make(table_make(7, "public", "items", "id:23:pk0"), NULL, REPLICA_DEFAULT);
	free(d.identity);
	d.identity_len = (size_t)snprintf(text, sizeof text, "definition %d", n);
	d.identity = mem_strdup(text);
	d.where = d.identity; /* it has a condition, whatever it is */
	return d;
}

static int held_s(const struct shape_def *d)
{
	enum reason reason;
	const char *why;
	return shapes_held_back(engine, d, &reason, &why);
}

static bool says(const struct shape_def *d, const char *text)
{
	enum reason reason;
	const char *why = NULL;
	return shapes_held_back(engine, d, &reason, &why) > 0 && strstr(why, text) != NULL;
}

static void begin(void)
{
	engine = mem_zalloc(sizeof *engine);
	engine_init_locks(engine);
	now_ms = 1000000;
}

static void end(void)
{
	held_back_free(engine);
	engine_free_locks(engine);
	free(engine);
}

/* So often as nobody minds, a second apart. */
static void change(const struct shape_def *d, int times)
{
	for (int i = 0; i < times; i++) {
		now_ms += 1000;
		held_back_changed(engine, d);
	}
}

static void test_changes(void)
{
	struct shape_def d = definition(1), other = definition(2);
	begin();
	CHECK_INT(held_s(&d), 0);
	change(&d, CHANGES_FREE);
	CHECK_INT(held_s(&d), 0);
	change(&d, 1);
	CHECK_INT(held_s(&d), 1);
	CHECK(says(&d, "keeps changing"));
	CHECK_INT(held_s(&other), 0);
	now_ms += 999;
	CHECK_INT(held_s(&d), 1); /* what is left, rounded up */
	now_ms += 1;
	CHECK_INT(held_s(&d), 0);
	/* Longer each time, up to a limit. */
	static const int waits[] = {2, 4, 4};
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		held_back_changed(engine, &d);
		CHECK_INT(held_s(&d), waits[i]);
		now_ms += 5000;
	}
	end();
	shape_def_clear(&d);
	shape_def_clear(&other);
}

/* What was noted so long ago that it doesn't count any more: the next one is the first, and its wait the shortest. */
static void test_changes_are_forgotten(void)
{
	struct shape_def d = definition(1);
	begin();
	change(&d, CHANGES_FREE + 2);
	CHECK_INT(held_s(&d), 2);
	now_ms += CHANGES_FORGET_MS;
	held_back_changed(engine, &d); /* just in time: as before */
	CHECK_INT(held_s(&d), CHANGES_WAIT_MAX_S);
	now_ms += CHANGES_FORGET_MS + 1;
	change(&d, CHANGES_FREE - 1);
	now_ms += 1000;
	held_back_changed(engine, &d);
	CHECK_INT(held_s(&d), 0);
	change(&d, 1);
	CHECK_INT(held_s(&d), 1);
	end();
	shape_def_clear(&d);
}

static void test_costly(void)
{
	struct shape_def d = definition(1);
	begin();
	change(&d, CHANGES_FREE + 1); /* a wait for another reason isn't doubled */
	for (int wait_s = COSTLY_WAIT_MIN_S; wait_s < 2 * COSTLY_WAIT_MAX_S; wait_s *= 2) {
		int most_s = wait_s < COSTLY_WAIT_MAX_S ? wait_s : COSTLY_WAIT_MAX_S;
		held_back_costly(engine, &d);
		CHECK_INT(held_s(&d), most_s);
		CHECK(says(&d, "too costly"));
		now_ms += most_s * (int64_t)1000;
		CHECK_INT(held_s(&d), 0);
	}
	/* Its sets changing makes it neither longer nor another reason. */
	held_back_costly(engine, &d);
	change(&d, 2 * CHANGES_FREE);
	CHECK(says(&d, "too costly"));
	now_ms += COSTLY_WAIT_MAX_S * (int64_t)1000;
	/* Without another time for long, it is as if new. */
	now_ms += COSTLY_FORGET_MS;
	held_back_costly(engine, &d);
	CHECK_INT(held_s(&d), COSTLY_WAIT_MIN_S);
	change(&d, 1);
	CHECK_INT(held_s(&d), COSTLY_WAIT_MIN_S - 1);
	end();
	shape_def_clear(&d);
}

/* Many definitions come by once: they are let go of in time, and at the limit the first that would be. What still counts stays. */
static void test_room(void)
{
	begin();
	struct shape_def costly = definition(0);
	held_back_costly(engine, &costly);
	for (int i = 1; i <= 100; i++) {
		struct shape_def d = definition(i);
		held_back_changed(engine, &d);
		shape_def_clear(&d);
	}
	CHECK_INT(engine->held_back.len, 101);
	now_ms += CHANGES_FORGET_MS + 1;
	struct shape_def late = definition(101);
	held_back_changed(engine, &late);
	CHECK_INT(engine->held_back.len, 2); /* the costly one and this */
	for (int i = 102; i < HELD_BACK_MAX + 1000; i++) {
		struct shape_def d = definition(i);
		now_ms += i % 10 == 0;
		held_back_changed(engine, &d);
		shape_def_clear(&d);
		if (engine->held_back.len > HELD_BACK_MAX)
			break;
	}
	CHECK_INT(engine->held_back.len, HELD_BACK_MAX);
	CHECK(map_get(&engine->held_back, late.identity, late.identity_len) == NULL); /* the oldest */
	now_ms = 1000000;
	CHECK_INT(held_s(&costly), COSTLY_WAIT_MIN_S);
	end();
	shape_def_clear(&costly);
	shape_def_clear(&late);
}

int main(void)
{
	RUN(test_changes);
	RUN(test_changes_are_forgotten);
	RUN(test_costly);
	RUN(test_room);
	return check_done("held_back");
}
