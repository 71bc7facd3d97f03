/*
 * test_ops.c - what is shown of metrics: Prometheus's text to the letter, values in their units, what 100,000 shapes make of the
 * time that a scrape takes, and where StatsD is said to be.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "check.h"
#include "shapes/core/guard.h"
#include "engine_test.h"
#include "ops/ops.h"
#include "ops/prometheus.h"
#include "ops/statsd.h"

#define SHAPES 100000
#define SCRAPES 20
#define SCRAPE_MAX_MS 50 /* of the fastest; it takes below one on an idle machine */

static struct config config = {.chunk_bytes_threshold = 1 << 20, .storage_memory = true};
static struct shapes *engine;
static struct ops ops = {.config = &config, .version = "1.2.3", .commit = "abc"};

static char *scrape(void)
{
	struct buf out = BUF_INIT((size_t)1 << 20);
	prometheus_fill(&ops, "", &out);
	CHECK(!out.failed);
	return buf_detach(&out, NULL);
}

static void has(const char *text, const char *lines)
{
	if (!CHECK(strstr(text, lines) != NULL))
		printf("  %s\n", lines);
}

static void test_text(void)
{
	metric_observe(METRIC_COMMIT_TO_LOG, 500);
	metric_observe(METRIC_COMMIT_TO_LOG, 1001);
	metric_observe(METRIC_COMMIT_TO_LOG, 99000000);
	metric_observe(METRIC_E_RECEIVE_LAG, 1500);
	metric_add(METRIC_CHANGES, 7);
	metric_add_label(METRIC_REFUSALS, REASON_LIMIT_INITIAL, 2);
	metric_add_label(METRIC_REFUSALS, REASON_NONE, 1);
	metric_set(METRIC_CLOCK_SKEW, -20500000);
	char *text = scrape();
	CHECK(strstr(text, "busbar_slot_state") == NULL); /* nobody has looked yet */
	CHECK(strstr(text, "busbar_wal_retained_bytes") == NULL);
	free(text);
	guard_publish(engine, &(struct guard_state){.known = true, .slot = SLOT_EXTENDED, .retained_bytes = 70, .ours_bytes = 50, .others_bytes = 20,
	                                            .age_ms = 2500, .limit_age_ms = 60000, .limit_bytes = 90, .step = GUARD_WARN});
	text = scrape();
	has(text, "# HELP busbar_build_info 1; what runs here\n# TYPE busbar_build_info gauge\n"
	          "busbar_build_info{version=\"1.2.3\",commit=\"abc\"} 1\n");
	has(text, "# TYPE busbar_commit_to_log_seconds histogram\nbusbar_commit_to_log_seconds_bucket{le=\"0.0005\"} 1\n"
	          "busbar_commit_to_log_seconds_bucket{le=\"0.001\"} 1\nbusbar_commit_to_log_seconds_bucket{le=\"0.0025\"} 2\n");
	has(text, "busbar_commit_to_log_seconds_bucket{le=\"60\"} 2\nbusbar_commit_to_log_seconds_bucket{le=\"+Inf\"} 3\n"
	          "busbar_commit_to_log_seconds_sum 99.001501\nbusbar_commit_to_log_seconds_count 3\n");
	has(text, "electric_postgres_replication_transaction_received_receive_lag_bucket{le=\"0.5\"} 0\n");
	has(text, "electric_postgres_replication_transaction_received_receive_lag_bucket{le=\"2.5\"} 1\n");
	has(text, "electric_postgres_replication_transaction_received_receive_lag_sum 1.5\n");
	has(text, "# TYPE busbar_changes counter\nbusbar_changes 7\n");
	has(text, "busbar_refusals{reason=\"limit-initial\"} 2\n");
	CHECK(strstr(text, "reason=\"\"") == NULL);
	has(text, "busbar_clock_skew_seconds -20.5\n");
	has(text, "busbar_slot_state{state=\"extended\"} 1\n");
	has(text, "busbar_slot_state{state=\"lost\"} 0\n");
	has(text, "busbar_up_status{status=\"starting\"} 0\nbusbar_up_status{status=\"waiting\"} 1\n");
	has(text, "electric_shapes_total_shapes_count 0\n");
	has(text, "busbar_wal_retained_bytes 70\n");
	has(text, "busbar_wal_held_by_us_bytes 50\n");
	has(text, "busbar_wal_held_by_others_bytes 20\n");
	has(text, "busbar_wal_limit_bytes 90\n");
	has(text, "busbar_wal_standing_still_seconds 2.5\n");
	has(text, "busbar_wal_limit_age_seconds 60\n");
	has(text, "busbar_wal_guard_step 1\n");
	has(text, "electric_postgres_replication_slot_confirmed_flush_lsn_lag 50\n");
	free(text);
	guard_publish(engine, &(struct guard_state){.known = false});
	text = scrape();
	CHECK(strstr(text, "busbar_wal_retained_bytes") == NULL);
	CHECK(strstr(text, "busbar_slot_state") == NULL);
	CHECK(strstr(text, "busbar_wal_standing_still") == NULL);
	free(text);
}

static void value(enum metric_unit unit, int64_t v, const char *want)
{
	struct buf out = BUF_INIT(100);
	ops_put_value(&out, unit, v);
	CHECK_STR(out.data, want);
	buf_clear(&out);
}

static void test_values(void)
{
	value(METRIC_ONE, 1500000, "1500000");
	value(METRIC_BYTES, -1, "-1");
	value(METRIC_SECONDS, 0, "0");
	value(METRIC_SECONDS, 1, "0.000001");
	value(METRIC_SECONDS, 60000000, "60");
	value(METRIC_SECONDS, 1050000, "1.05");
	value(METRIC_SECONDS, -1050000, "-1.05");
	value(METRIC_MILLISECONDS, 1, "0.001");
	value(METRIC_MILLISECONDS, 2500, "2.5");
	value(METRIC_ONE, INT64_MIN, "-9223372036854775808");
}

/* Nothing walks over shapes: with them a scrape takes what it takes without. */
static void test_many_shapes(void)
{
	struct pg_table *t = table_make(16384, "public", "t", "id:23:pk0 name:25");
	char handle[HANDLE_TEXT_MAX];
	pthread_rwlock_wrlock(&engine->registry_lock);
	for (uint64_t i = 1; i <= SHAPES; i++) {
		struct shape_def d = def_make(pg_table_ref(t), NULL, REPLICA_DEFAULT);
		free(d.identity);
		d.identity = mem_strndup((char *)&i, sizeof i);
		d.identity_len = sizeof i;
		snprintf(handle, sizeof handle, "%llu-1", (unsigned long long)i);
		registry_link(engine, shape_make(engine, &d, i, handle));
		shape_def_clear(&d);
	}
	/* Somebody else reads the registry, or makes a shape: no scrape waits for him. */
	int64_t best_us = INT64_MAX;
	for (int i = 0; i < SCRAPES; i++) {
		int64_t from = clock_mono_us();
		char *text = scrape();
		int64_t us = clock_mono_us() - from;
		best_us = us < best_us ? us : best_us;
		if (i == 0)
			has(text, "electric_shapes_total_shapes_count 100000\n");
		if (i == 0)
			has(text, "busbar_shapes{state=\"creating\"} 100000\n");
		free(text);
	}
	pthread_rwlock_unlock(&engine->registry_lock);
	printf("a scrape with %d shapes: %lld us\n", SHAPES, (long long)best_us);
	CHECK(best_us < SCRAPE_MAX_MS * 1000);
	shapes_rotate_all(engine, REASON_DELETED, "test");
	char *text = scrape();
	has(text, "electric_shapes_total_shapes_count 0\n");
	has(text, "busbar_shapes{state=\"creating\"} 0\n");
	has(text, "busbar_shapes{state=\"leaving\"} 100000\n");
	has(text, "busbar_rotations{reason=\"deleted\"} 100000\n");
	free(text);
	pg_table_unref(t);
}

static void host(const char *text, bool good)
{
	struct config c = {.statsd_host = (char *)(uintptr_t)text};
	struct err e;
	err_clear(&e);
	if (!CHECK((statsd_check_config(&c, &e) == 0) == good))
		printf("  %s\n", text);
	CHECK(good || strstr(e.text, "ELECTRIC_STATSD_HOST") != NULL);
}

static void test_hosts(void)
{
	static const char *const good[] = {"localhost", "localhost:8126", "10.0.0.1", "10.0.0.1:1", "[::1]", "[::1]:65535", "::1", "a.b-c.d:99"};
	static const char *const bad[] = {"localhost:", "localhost:x", "localhost:0", "localhost:65536", ":8125", "[::1", "[::1]x", "[]", "h:123456"};
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		host(good[i], true);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		host(bad[i], false);
	struct config none = {0};
	struct err e;
	CHECK(statsd_check_config(&none, &e) == 0);
}

int main(void)
{
	struct err e;
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	if (engine_open(&config, dir, &engine, &e) != 0) {
		printf("cannot start: %s\n", e.text);
		return 2;
	}
	ops.shapes = engine;
	RUN(test_values);
	RUN(test_text);
	RUN(test_hosts);
	RUN(test_many_shapes);
	engine_close(engine);
	temp_dir_remove(dir);
	return check_done("ops");
}
