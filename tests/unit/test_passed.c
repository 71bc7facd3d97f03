/*
 * test_passed.c - the set of passed transactions (ingest/passed.c) against the plain definition: is there one that the
 * stream passed before the shape registered, and that the snapshot calls running?
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "check.h"
#include "shapes/core/engine.h"
#include "shapes/ingest/ingest.h"

static void forget(struct ingest *in)
{
	struct passed_page *p;
	for (size_t i = 0; (p = map_next(&in->passed, &i)) != NULL;)
		free(p);
	map_clear(&in->passed);
	passed_free(in);
}

/* A commit that waits for a synchronous standby is streamed while it is the snapshot's very xmax, the list empty. */
static void test_xmax_itself(void)
{
	struct ingest in = {.txn_number = 6};
	struct pg_snapshot snap = {.xmin = 1000, .xmax = 1000};
	passed_watch(&in);
	in.txn_number = 7;
	passed_add(&in, 999);
	CHECK(!passed_not_held(&in, &snap, 7));
	passed_add(&in, 1000);
	CHECK(passed_not_held(&in, &snap, 7));
	/* Passed after the shape registered: its rows are in the shape's buffer. */
	CHECK(!passed_not_held(&in, &snap, 6));
	snap.xmax = snap.xmin = 1001;
	CHECK(!passed_not_held(&in, &snap, 7));
	forget(&in);
}

static void test_listed(void)
{
	struct ingest in = {.txn_number = 3};
	uint64_t xip[] = {(5ull << 32) + 40000};
	struct pg_snapshot snap = {.xmin = xip[0], .xmax = (5ull << 32) + 90000, .xip = xip, .nxip = 1};
	for (uint32_t xid = 39990; xid < 90000; xid += 7)
		if (xid != 40000)
			passed_add(&in, xid);
	CHECK(!passed_not_held(&in, &snap, 3));
	passed_add(&in, 40000);
	CHECK(passed_not_held(&in, &snap, 3));
	forget(&in);
}

/* Where xids begin anew at 0: ahead and behind are by distance. */
static void test_wrap(void)
{
	struct ingest in = {.txn_number = 1};
	struct pg_snapshot snap = {.xmin = (2ull << 32) - 20, .xmax = (2ull << 32) + 5};
	for (uint32_t xid = UINT32_MAX - 30; xid != 5; xid++)
		passed_add(&in, xid);
	CHECK(!passed_not_held(&in, &snap, 1));
	passed_add(&in, 5);
	CHECK(passed_not_held(&in, &snap, 1));
	forget(&in);
}

struct passed {
	uint32_t xid;
	uint64_t txn;
};

static bool by_definition(const struct passed *all, size_t n, const struct pg_snapshot *snap, uint64_t joined)
{
	for (size_t i = 0; i < n; i++)
		if (all[i].txn <= joined && !pg_snapshot_holds(snap, all[i].xid))
			return true;
	return false;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void test_random(unsigned seed)
{
	srandom(seed);
	for (int round = 0; round < 300; round++) {
		struct ingest in = {.txn_number = 0};
		uint64_t base = ((uint64_t)(random() % 3) << 32) + 100000u + (uint64_t)(random() % 4) * 0x3fffff00u;
		struct passed all[200];
		size_t n = 0;
		uint64_t joined = (uint64_t)(random() % 150);
		bool seen[400] = {false};
		for (int i = 0; i < 150; i++) {
			unsigned at = (unsigned)random() % 400;
			if (in.txn_number == joined)
				passed_watch(&in);
			in.txn_number++;
			if (seen[at])
				continue;
			seen[at] = true;
			all[n++] = (struct passed){(uint32_t)(base + at), in.txn_number};
			passed_add(&in, (uint32_t)(base + at));
		}
		uint64_t xip[20];
		struct pg_snapshot snap = {.xmin = base + (uint64_t)(random() % 200), .xip = xip};
		snap.xmax = snap.xmin + (uint64_t)(random() % 250);
		for (uint64_t x = snap.xmin; x < snap.xmax && snap.nxip < ARRAY_LEN(xip); x += 1 + (uint64_t)(random() % 60))
			xip[snap.nxip++] = x;
		qsort(xip, snap.nxip, sizeof *xip, by_value);
		CHECK(passed_not_held(&in, &snap, joined) == by_definition(all, n, &snap, joined));
		forget(&in);
	}
}

#define WATCHERS 8
#define XIDS 3000

/* Some begin to look and some end, without a pause: what is remembered is right for each, and no more than since the oldest. */
static void test_overlap(unsigned seed)
{
	srandom(seed);
	static struct passed all[XIDS];
	struct ingest in = {.txn_number = 1};
	uint64_t joined[WATCHERS] = {0}, xip[] = {0, 0, 0};
	size_t n = 0;
	for (uint32_t xid = 5000; xid < 5000 + XIDS; xid++) {
		if (random() % 4 > 0)
			in.txn_number++;
		all[n++] = (struct passed){xid, in.txn_number};
		passed_add(&in, xid);
		uint64_t oldest = UINT64_MAX;
		size_t at = (size_t)random() % WATCHERS;
		if (joined[at] != 0)
			passed_unwatch(&in, joined[at]);
		joined[at] = in.txn_number;
		passed_watch(&in);
		for (size_t i = 0; i < WATCHERS; i++)
			if (joined[i] != 0 && joined[i] < oldest)
				oldest = joined[i];
		CHECK(in.nrecent <= 2 * (in.txn_number - oldest + 1) * 10);
		struct pg_snapshot snap = {.xmin = xid - 30, .xmax = xid + 1 - (uint64_t)(random() % 3), .xip = xip, .nxip = ARRAY_LEN(xip)};
		for (size_t i = 0; i < ARRAY_LEN(xip); i++)
			xip[i] = snap.xmin + i * 9;
		for (size_t i = 0; i < WATCHERS; i++)
			if (joined[i] != 0)
				CHECK(passed_not_held(&in, &snap, joined[i]) == by_definition(all, n, &snap, joined[i]));
	}
	for (size_t i = 0; i < WATCHERS; i++)
		if (joined[i] != 0)
			passed_unwatch(&in, joined[i]);
	CHECK_INT(in.nrecent, 0);
	CHECK_INT(in.njoining, 0);
	CHECK_INT(in.nwatchers, 0);
	forget(&in);
}

int main(void)
{
	const char *given = getenv("BUSBAR_TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	printf("test_passed: BUSBAR_TEST_SEED=%u\n", seed);
	RUN(test_xmax_itself);
	RUN(test_listed);
	RUN(test_wrap);
	RUN(test_random, seed);
	RUN(test_overlap, seed);
	return check_done("test_passed");
}
