/*
 * test_metrics.c - base/metrics: what threads count adds up, levels come and go, buckets are where their bounds say; and the
 * table keeps the rules of names.
 */
#include <pthread.h>
#include <string.h>

#include "base/metrics.h"
#include "check.h"

#define THREADS 8
#define EACH 100000

static uint64_t value(enum metric m, unsigned cell)
{
	static struct metric_values v;
	metrics_read(&v);
	return metric_values_of(&v, m)[cell];
}

static bool known(enum metric m, unsigned cell)
{
	static struct metric_values v;
	metrics_read(&v);
	return v.known[metric_first[m] + cell];
}

static void *count(void *arg)
{
	(void)arg;
	for (int i = 0; i < EACH; i++) {
		metric_add(METRIC_CHANGES, 2);
		metric_add_label(METRIC_WAITERS, WAITERS_SSE, i % 2 == 0 ? 1 : -1);
		metric_observe(METRIC_COMMIT_TO_LOG, 1000);
	}
	metric_add_label(METRIC_WAITERS, WAITERS_SSE, 1);
	return metric_mine;
}

static void test_threads(void)
{
	pthread_t t[THREADS];
	void *mine[THREADS];
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, count, NULL) == 0);
	for (uint64_t before = 0, now; before < 2 * THREADS * EACH; before = now) {
		now = value(METRIC_CHANGES, 0); /* read while they count: never less than before */
		if (now < before) {
			CHECK(now >= before);
			break;
		}
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], &mine[i]);
	for (int i = 1; i < THREADS; i++) /* nobody shares a line of a processor's cache with another */
		CHECK(mine[i] != mine[0] && (uintptr_t)mine[i] % 128 == 0);
	CHECK_INT(value(METRIC_CHANGES, 0), 2 * THREADS * EACH);
	CHECK_INT(value(METRIC_WAITERS, WAITERS_SSE), THREADS);
	CHECK_INT(value(METRIC_WAITERS, WAITERS_PARKED), 0);
	CHECK_INT(value(METRIC_COMMIT_TO_LOG, 1), THREADS * EACH);
	CHECK_INT(value(METRIC_COMMIT_TO_LOG, METRIC_SUM), THREADS * EACH * INT64_C(1000));
}

/* One thread adds, another takes away: the sum is right although a part is below zero. */
static void *take_away(void *arg)
{
	(void)arg;
	metric_add_label(METRIC_SHAPES, 2, -3);
	return NULL;
}

static void test_gauge(void)
{
	pthread_t t;
	metric_add_label(METRIC_SHAPES, 2, 5);
	CHECK(pthread_create(&t, NULL, take_away, NULL) == 0);
	pthread_join(t, NULL);
	CHECK_INT(value(METRIC_SHAPES, 2), 2);
}

static void test_histogram(void)
{
	static const uint32_t bounds[] = METRIC_BOUNDS;
	CHECK_INT(sizeof bounds / sizeof *bounds, METRIC_NBOUNDS);
	for (size_t i = 0; i < METRIC_NBOUNDS; i++) {
		CHECK(i == 0 || bounds[i] > bounds[i - 1]);
		metric_observe(METRIC_LOG_TO_SOCKET, bounds[i]);     /* a bound belongs to its bucket */
		metric_observe(METRIC_LOG_TO_SOCKET, bounds[i] + 1L); /* and what is above to the next */
	}
	CHECK_INT(value(METRIC_LOG_TO_SOCKET, 0), 1);
	for (unsigned i = 1; i < METRIC_NBOUNDS; i++)
		CHECK_INT(value(METRIC_LOG_TO_SOCKET, i), 2);
	CHECK_INT(value(METRIC_LOG_TO_SOCKET, METRIC_NBOUNDS), 1);
	uint64_t sum = value(METRIC_LOG_TO_SOCKET, METRIC_SUM);
	metric_observe(METRIC_LOG_TO_SOCKET, -5000000); /* two clocks */
	metric_observe(METRIC_LOG_TO_SOCKET, INT64_C(90000000000));
	CHECK_INT(value(METRIC_LOG_TO_SOCKET, 0), 2);
	CHECK_INT(value(METRIC_LOG_TO_SOCKET, METRIC_NBOUNDS), 2);
	CHECK_INT(value(METRIC_LOG_TO_SOCKET, METRIC_SUM), sum + 90000000000);
}

static void test_level(void)
{
	CHECK(!known(METRIC_WAL_RETAINED, 0));
	metric_set(METRIC_WAL_RETAINED, 0);
	CHECK(known(METRIC_WAL_RETAINED, 0));
	metric_set(METRIC_WAL_RETAINED, 1234);
	CHECK_INT(value(METRIC_WAL_RETAINED, 0), 1234);
	metric_unset(METRIC_WAL_RETAINED);
	CHECK(!known(METRIC_WAL_RETAINED, 0));
	metric_set(METRIC_CLOCK_SKEW, -1500);
	CHECK_INT((int64_t)value(METRIC_CLOCK_SKEW, 0), -1500);
	CHECK(!known(METRIC_SLOT_STATE, SLOT_IS_LOST));
	metric_set_state(METRIC_SLOT_STATE, SLOT_IS_EXTENDED);
	metric_set_state(METRIC_SLOT_STATE, SLOT_IS_LOST);
	CHECK_INT(value(METRIC_SLOT_STATE, SLOT_IS_EXTENDED), 0);
	CHECK_INT(value(METRIC_SLOT_STATE, SLOT_IS_LOST), 1);
	CHECK(known(METRIC_SLOT_STATE, SLOT_IS_MISSING) && !known(METRIC_WAL_RETAINED, 0));
	CHECK(known(METRIC_CHANGES, 0)); /* counters are there from the start */
}

/* Enums that name labels by their place. */
static void test_places(void)
{
	CHECK_STR(metric_info(METRIC_WAITERS)->values[WAITERS_PARKED], "parked");
	CHECK_STR(metric_info(METRIC_E_REJECTED)->values[ADMISSION_EXISTING], "existing");
	CHECK_STR(metric_info(METRIC_SHAPES_BY_INDEX)->values[ROUTING_UNINDEXED], "unindexed");
	CHECK_STR(metric_info(METRIC_EVALUATIONS)->values[EVALUATION_FAILED], "failed");
	CHECK_STR(metric_info(METRIC_SLOT_STATE)->values[SLOT_IS_MISSING], "none");
	CHECK_STR(metric_info(METRIC_EVALUATION_STEPS)->values[COST_SUBQUERIES], "subqueries");
	CHECK_STR(metric_info(METRIC_SHAPES)->values[SHAPES_LEAVING], "leaving");
	CHECK_STR(metric_info(METRIC_REFUSALS)->values[REASON_LIMIT_INITIAL], "limit-initial");
	CHECK_STR(metric_info(METRIC_ROTATIONS)->values[REASON_NONE], "");
	CHECK_STR(metric_info(METRIC_MEMORY)->values[MEMORY_SUBSET_ROWS], "subset_rows");
}

static bool of_name(const char *s, const char *more)
{
	for (; *s != '\0'; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '_' || strchr(more, *s) != NULL))
			return false;
	return true;
}

static bool ends(const char *s, const char *end)
{
	size_t n = strlen(s), e = strlen(end);
	return n >= e && strcmp(s + n - e, end) == 0;
}

/* What a name says of what it counts. */
static void test_names(void)
{
	for (unsigned m = 0; m < METRICS; m++) {
		const struct metric_info *i = metric_info((enum metric)m);
		bool ours = strncmp(i->name, "busbar.", 7) == 0, electric = strncmp(i->name, "electric.", 9) == 0;
		bool good = of_name(i->name, ".") && (ours || electric || strncmp(i->name, "process.", 8) == 0) && !ends(i->name, "_total") &&
		            i->help[0] != '\0' && (i->unit != METRIC_MILLISECONDS || electric) && i->nvalues > 0 &&
		            (i->label[0] == '\0') == (i->values[0] == NULL) && (i->type != METRIC_HISTOGRAM || i->label[0] == '\0');
		if (!electric && i->unit == METRIC_SECONDS)
			good = good && ends(i->name, "_seconds");
		if (!electric && i->unit == METRIC_BYTES)
			good = good && ends(i->name, "_bytes");
		for (unsigned v = 0; i->label[0] != '\0' && v < i->nvalues; v++) /* "": not shown */
			good = good && of_name(i->values[v], "-");
		if (!CHECK(good))
			printf("  %s\n", i->name);
		for (unsigned n = 0; n < m; n++)
			CHECK(strcmp(i->name, metric_info((enum metric)n)->name) != 0);
	}
}

int main(void)
{
	RUN(test_threads);
	RUN(test_gauge);
	RUN(test_histogram);
	RUN(test_level);
	RUN(test_places);
	RUN(test_names);
	return check_done("metrics");
}
