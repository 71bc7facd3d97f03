/* test_events.c - the ring of events: what is counted together and what isn't, its bound, many threads at once. */
#include <pthread.h>
#include <stdatomic.h>

/* The ring's time is ours. */
#define clock_wall_us test_wall_us
#include "base/events.c"
#include "check.h"

static _Atomic int64_t now_us = 1764000000000000;

int64_t test_wall_us(void) { return atomic_load(&now_us); }

static void pass(int64_t ms) { atomic_fetch_add(&now_us, ms * 1000); }

static struct event got[EVENTS_MAX + 1];

static uint64_t newest(void)
{
	struct event e;
	return events_copy(&e, 1, 0) == 1 ? e.number : 0;
}

static void test_counted_together(void)
{
	uint64_t before = newest();
	for (int i = 0; i < 1000; i++)
		event_put(EVENT_ROTATION, REASON_TABLE_TRUNCATED, i == 0 ? "1-1" : "2-2", "public.t", "the table was %s", "truncated");
	event_put(EVENT_ROTATION, REASON_TABLE_TRUNCATED, "3-3", "public.u", "the table was truncated");
	event_put(EVENT_REFUSAL, REASON_STARTING, NULL, NULL, "no");
	event_put(EVENT_ROTATION, REASON_TABLE_TRUNCATED, "4-4", "public.t", "the table was truncated");
	size_t n = events_copy(got, EVENTS_MAX, before);
	if (!CHECK_INT(n, 3))
		return;
	CHECK(got[0].kind == EVENT_REFUSAL && got[0].reason == REASON_STARTING && got[0].count == 1);
	CHECK_STR(got[0].shape, "");
	CHECK_STR(got[1].table, "public.u");
	CHECK_INT(got[2].count, 1001);
	CHECK_STR(got[2].shape, "1-1");
	CHECK_STR(got[2].text, "the table was truncated");
	CHECK(got[2].last_us >= got[2].at_us && got[2].at_us > 1700000000000000);
	CHECK_INT(got[0].number, got[2].number + 2);
}

/* A thousand tables that go by one cause don't wash everything else away. */
static void test_alike(void)
{
	pass(EVENT_AGAIN_MS);
	uint64_t before = newest(), all = 0;
	char table[40];
	for (int i = 0; i < 1000; i++) {
		snprintf(table, sizeof table, "public.t%d", i);
		event_put(EVENT_ROTATION, REASON_SLOT_LOST, "1-1", table, "the slot is new");
	}
	size_t n = events_copy(got, EVENTS_MAX, before);
	CHECK_INT(n, EVENT_ALIKE_MAX);
	for (size_t i = 0; i < n; i++)
		all += got[i].count;
	CHECK_INT(all, 1000);
	CHECK_STR(got[0].table, "");
	CHECK_STR(got[n - 1].table, "public.t0");
}

static void test_apart(void)
{
	pass(EVENT_AGAIN_MS);
	uint64_t before = newest();
	event_put(EVENT_REFUSAL, REASON_LIMIT_INITIAL, NULL, NULL, "too many");
	pass(EVENT_AGAIN_MS);
	event_put(EVENT_REFUSAL, REASON_LIMIT_INITIAL, NULL, NULL, "too many");
	CHECK_INT(events_copy(got, EVENTS_MAX, before), 2);
	/* Two shapes that go one after the other are two. */
	event_put(EVENT_ROTATION, REASON_DELETED, "1-1", "public.t", "deleted");
	pass(EVENT_TOGETHER_MS);
	event_put(EVENT_ROTATION, REASON_DELETED, "2-2", "public.t", "deleted");
	CHECK_INT(events_copy(got, EVENTS_MAX, before), 4);
	/* A clock that was set back. */
	pass(-3600000);
	event_put(EVENT_ROTATION, REASON_DELETED, "2-2", "public.t", "deleted");
	CHECK_INT(events_copy(got, EVENTS_MAX, before), 5);
	pass(3600000);
}

/* An outage of two hours, with an attempt each second and clients that ask: what it began with is still there. */
static void test_outage(void)
{
	enum { ATTEMPTS = 7200 };
	pass(EVENT_AGAIN_MS);
	uint64_t before = newest();
	event_put(EVENT_SLOT, REASON_SLOT_LOST, NULL, NULL, "the cause");
	int64_t began_us = test_wall_us();
	for (int i = 0; i < ATTEMPTS; i++) {
		event_put(EVENT_STREAM, REASON_POSTGRES_AWAY, NULL, NULL, "lost: refused");
		event_put(EVENT_REFUSAL, REASON_POSTGRES_AWAY, NULL, i % 2 == 0 ? "public.t" : "public.u", "refused");
		event_put(EVENT_REFUSAL, REASON_STARTING, NULL, NULL, "starting");
		pass(1000);
	}
	CHECK_INT(events_copy(got, EVENTS_MAX, before), 5);
	CHECK_STR(got[4].text, "the cause");
	CHECK(got[3].kind == EVENT_STREAM && got[3].count == ATTEMPTS && got[3].at_us == began_us);
	CHECK_INT(got[3].last_us - began_us, (ATTEMPTS - 1) * 1000000LL);
	CHECK_INT(got[2].count, ATTEMPTS / 2);
	CHECK_STR(got[2].table, "public.t");
	CHECK_INT(got[1].count, ATTEMPTS);
	CHECK_INT(got[0].count, ATTEMPTS / 2);
	/* It is over; another is another one. */
	event_put(EVENT_STREAM, REASON_NONE, NULL, NULL, "runs");
	pass(2000);
	event_put(EVENT_STREAM, REASON_POSTGRES_AWAY, NULL, NULL, "lost: refused");
	CHECK_INT(events_copy(got, EVENTS_MAX, before), 7);
	CHECK_INT(got[0].count, 1);
}

/* A crowd that comes for hours, each with a handle of its own, and attempts that say something else each time. */
static void test_crowd(void)
{
	pass(EVENT_AGAIN_MS);
	char handle[40];
	uint64_t before = newest(), all = 0;
	for (int i = 0; i < 60000; i++) {
		snprintf(handle, sizeof handle, "%d-1700000000000000", i);
		event_put(EVENT_REFETCH, REASON_UNKNOWN_HANDLE, handle, "public.t", "not known");
		event_put(EVENT_STREAM, REASON_POSTGRES_AWAY, NULL, NULL, "lost: port %d", i);
		pass(10);
	}
	size_t n = events_copy(got, EVENTS_MAX, before);
	/* Ten minutes. */
	CHECK(n <= 2 * EVENT_ALIKE_MAX * (600000 / EVENT_AGAIN_MS + 1));
	for (size_t i = 0; i < n; i++)
		all += got[i].count;
	CHECK_INT(all, 120000);
}

static void test_bound(void)
{
	enum { REASONS_USED = 30, DIFFERENT = EVENT_KINDS * REASONS_USED * EVENT_ALIKE_MAX };
	uint64_t before = newest();
	for (int i = 0; i < DIFFERENT; i++)
		event_put((enum event_kind)(i % EVENT_KINDS), (enum reason)(1 + i / EVENT_KINDS % REASONS_USED), NULL, NULL, "%d",
		          i / EVENT_KINDS / REASONS_USED);
	CHECK(newest() > before + EVENTS_MAX);
	size_t n = events_copy(got, EVENTS_MAX + 1, 0);
	CHECK_INT(n, EVENTS_MAX);
	for (size_t i = 1; i < n; i++)
		CHECK(got[i].number == got[i - 1].number - 1);
	CHECK_INT(events_copy(got, 3, 0), 3);
	CHECK_INT(got[0].number, newest());
	CHECK_INT(events_copy(got, EVENTS_MAX, newest()), 0);
	CHECK_INT(events_copy(got, EVENTS_MAX, newest() + 10), 0);
}

static void test_cut(void)
{
	char text[900], last[201];
	for (size_t i = 0; i + 2 < sizeof text; i += 2)
		memcpy(text + i, "\xc3\xa9", 3);
	pass(EVENT_AGAIN_MS);
	event_put(EVENT_PROCESS, REASON_NONE, text, text, "%s", text);
	event_put(EVENT_PROCESS, REASON_NONE, text, text, "x%s", text);
	CHECK_INT(events_copy(got, 2, 0), 2);
	CHECK_INT(strlen(got[0].text), sizeof got[0].text - 1);
	CHECK_INT(strlen(got[1].text), sizeof got[1].text - 2);
	snprintf(last, sizeof last, "%s", got[1].text + strlen(got[1].text) - 2);
	CHECK_STR(last, "\xc3\xa9");
	CHECK_INT(strlen(got[0].shape), sizeof got[0].shape - 2);
}

static void *many(void *arg)
{
	struct event few[8];
	for (int i = 0; i < 20000; i++) {
		event_put(EVENT_STORE, REASON_STORE_FAILING, NULL, NULL, "%s %d", (const char *)arg, i % 4);
		if (i % 100 == 0)
			(void)events_copy(few, 8, 0);
	}
	return NULL;
}

static void test_threads(void)
{
	static char a[] = "a", b[] = "b";
	pthread_t one, two;
	pass(EVENT_AGAIN_MS);
	uint64_t before = newest(), all = 0;
	if (!CHECK(pthread_create(&one, NULL, many, a) == 0 && pthread_create(&two, NULL, many, b) == 0))
		return;
	pthread_join(one, NULL);
	pthread_join(two, NULL);
	size_t n = events_copy(got, EVENTS_MAX, before);
	for (size_t i = 0; i < n; i++)
		all += got[i].count;
	CHECK_INT(all, 40000);
}

int main(void)
{
	CHECK_INT(events_copy(got, EVENTS_MAX, 0), 0);
	CHECK_STR(event_kind_text(EVENT_PROCESS), "process");
	CHECK_STR(event_kind_text(EVENT_WAL), "wal");
	RUN(test_counted_together);
	RUN(test_alike);
	RUN(test_apart);
	RUN(test_outage);
	RUN(test_crowd);
	RUN(test_bound);
	RUN(test_cut);
	RUN(test_threads);
	return check_done("events");
}
