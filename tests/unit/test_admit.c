/* test_admit.c - how fast places of new shapes are said to become free. */
#include "check.h"
#include "http/admit.h"

#define PLACES 10

static struct config config = {.live = {.max_concurrent_initial = PLACES, .max_concurrent_existing = 1000}};
static struct http http = {.config = &config};
static struct loop loop;
static struct conn conn = {.loop = &loop};

static size_t let_in(struct request *r, size_t n)
{
	size_t in = 0;
	for (size_t i = 0; i < n; i++) {
		r[i] = (struct request){.http = &http, .conn = &conn};
		in += admit(&r[i], false);
	}
	return in;
}

static void release_at(struct request *r, int64_t now_ms)
{
	loop.now_ms = now_ms;
	admit_release(r);
}

static void leave(struct request *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		admit_release(&r[i]);
}

/* A crowd after a quiet time: how long it was quiet says nothing of how fast we are. */
static void test_after_idle(void)
{
	struct request r[PLACES + 1];
	admit_init(&http);
	double at_first = http.pace.per_s;
	loop.now_ms = 1000;
	for (int crowd = 0; crowd < 3; crowd++) {
		CHECK_INT(let_in(r, PLACES + 1), PLACES);
		release_at(&r[0], loop.now_ms + 100000);
		CHECK(http.pace.per_s == at_first);
		leave(r, PLACES + 1);
		CHECK(http.pace.per_s == at_first);
		CHECK_INT(atomic_load(&http.initial), 0);
	}
	admit_clear(&http);
}

/* While places are wanted it is measured: here 20 a second. */
static void test_measured(void)
{
	struct request r[PLACES];
	admit_init(&http);
	loop.now_ms = 500000;
	CHECK_INT(let_in(r, PLACES), PLACES);
	for (int i = 0; i < 400; i++) {
		release_at(&r[i % PLACES], loop.now_ms + 50);
		CHECK_INT(let_in(&r[i % PLACES], 1), 1);
	}
	CHECK(http.pace.per_s > 19 && http.pace.per_s < 21);
	leave(r, PLACES);
	admit_clear(&http);
}

/* One place alone: nothing is ever measured while it is free. */
static void test_one_place(void)
{
	struct request r;
	config.live.max_concurrent_initial = 1;
	admit_init(&http);
	double at_first = http.pace.per_s;
	for (int i = 0; i < 5; i++) {
		CHECK_INT(let_in(&r, 1), 1);
		release_at(&r, loop.now_ms + 100000);
	}
	CHECK(http.pace.per_s == at_first);
	admit_clear(&http);
	config.live.max_concurrent_initial = PLACES;
}

int main(void)
{
	RUN(test_after_idle);
	RUN(test_measured);
	RUN(test_one_place);
	return check_done("test_admit");
}
