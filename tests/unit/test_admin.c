/*
 * test_admin.c - the admin port from inside: parameters, JSON, percentiles, a listing of many shapes page by page and while others
 * come and go; where `busbar top` asks, and what it makes of it.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "check.h"
#include "engine_test.h"
#include "ops/admin_private.h"
#include "ops/fields.h"
#include "ops/query.h"
#include "ops/readable.h"
#include "ops/top_fetch.h"
#include "ops/top_show.h"
#include "shapes/list.h"

#define SHAPES 20000
#define COMING 3000
#define LISTINGS 20

static struct config config = {.chunk_bytes_threshold = 1 << 20, .storage_memory = true};
static struct shapes *engine;
static struct ops ops = {.config = &config, .version = "1.2.3", .commit = "abc"};

/* ---- parameters, fields ---- */

static void param(const char *query, int want, const char *value)
{
	char out[8];
	if (!CHECK(query_param(query, "x", out, sizeof out) == want) || (want >= 0 && !CHECK(strcmp(out, value) == 0)))
		printf("  %s\n", query);
}

static void test_params(void)
{
	param("", 0, "");
	param("y=1", 0, "");
	param("x", 0, "");
	param("x=", 0, "");
	param("xx=1&x=2&x=3", 1, "2");
	param("&&x=2", 1, "2");
	param("y=x=1&x=a=b", 1, "a=b");
	param("x=a+b%2bc", 1, "a b+c");
	param("x=%41%4a", 1, "AJ");
	param("x=1234567", 1, "1234567");
	param("x=12345678", -1, "");
	param("x=%4", -1, "");
	param("x=%", -1, "");
	param("x=%zz", -1, "");
	param("x=%00", -1, "");
	static const struct { const char *name, *value; } all[] = {{"a", "1 2"}, {"params[1]", ""}, {"b", ""}, {"c", "d=e"}};
	const char *at = "&a=1+2&&params%5B1%5D=&b&c=d=e&";
	char name[12], value[8];
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		CHECK_INT(query_next(&at, name, sizeof name, value, sizeof value), 1);
		CHECK(strcmp(name, all[i].name) == 0 && strcmp(value, all[i].value) == 0);
	}
	CHECK_INT(query_next(&at, name, sizeof name, value, sizeof value), 0);
	CHECK_INT(query_next(&at, name, sizeof name, NULL, 0), 0);
	at = "much_too_long=1&a%zz=1&x=12345678&x=12345678&y=1";
	CHECK_INT(query_next(&at, name, sizeof name, NULL, 0), -1);
	CHECK_INT(query_next(&at, name, sizeof name, NULL, 0), -1);
	CHECK_INT(query_next(&at, name, sizeof name, value, sizeof value), -1);
	CHECK_INT(query_next(&at, name, sizeof name, NULL, 0), 1);
	CHECK_INT(query_next(&at, name, sizeof name, value, sizeof value), 1);
	CHECK(strcmp(name, "y") == 0 && strcmp(value, "1") == 0);
}

static void test_fields(void)
{
	struct buf out = BUF_INIT(1000);
	field_open(&out, NULL, '{');
	field_text(&out, "a", "x\"\n");
	field_text(&out, "b", NULL);
	field_open(&out, "c", '[');
	field_int(&out, NULL, -1);
	field_known(&out, NULL, -1);
	field_milli(&out, NULL, 1050);
	field_milli(&out, NULL, -1);
	field_bool(&out, NULL, true);
	field_close(&out, ']');
	field_open(&out, "d", '{');
	field_close(&out, '}');
	field_time(&out, "e", INT64_C(1764531600123456));
	field_close(&out, '}');
	CHECK_STR(out.data, "{\"a\":\"x\\\"\\n\",\"b\":null,\"c\":[-1,null,1.050,null,true],\"d\":{},\"e\":\"2025-11-30T19:40:00.123Z\"}");
	buf_clear(&out);
}

static void test_percentiles(void)
{
	uint64_t then[ADMIN_BUCKETS] = {5}, now[ADMIN_BUCKETS] = {5};
	CHECK_INT(admin_percentile(then, now, 99), -1);
	now[2] = 100; /* from 1 to 2.5 ms */
	CHECK_INT(admin_percentile(then, now, 50), 1750);
	now[METRIC_NBOUNDS] = 100; /* above the last */
	CHECK_INT(admin_percentile(then, now, 50), 2500);
	CHECK_INT(admin_percentile(then, now, 99), 60000000);
	CHECK_INT(admin_rate(5, 10, 500), 10000);
	CHECK_INT(admin_rate(5, 10, 0), -1);
	CHECK_INT(admin_rate(10, 5, 1000), 0);
}

/* ---- shapes ---- */

static struct shape *add_shape(struct pg_table *t, uint64_t id)
{
	char handle[HANDLE_TEXT_MAX];
	struct shape_def d = def_make(pg_table_ref(t), NULL, REPLICA_DEFAULT);
	free(d.identity);
	d.identity = mem_strndup((char *)&id, sizeof id);
	d.identity_len = sizeof id;
	snprintf(handle, sizeof handle, "%llu-1", (unsigned long long)id);
	struct shape *shape = shape_make(engine, &d, id, handle);
	shape_def_clear(&d);
	atomic_store(&shape->log_bytes, id % 7);
	pthread_rwlock_wrlock(&engine->registry_lock);
	registry_link(engine, shape);
	pthread_rwlock_unlock(&engine->registry_lock);
	return shape;
}

static json_t *list(struct admin *a, const char *query)
{
	struct buf out = BUF_INIT((size_t)64 << 20);
	CHECK_INT(admin_shapes(a, query, &out), 200);
	json_t *root = json_loadb(out.data, out.len, 0, NULL);
	CHECK(root != NULL);
	buf_clear(&out);
	return root;
}

/* All of them by bytes, each once. */
static void walk_pages(struct admin *a)
{
	bool *seen = mem_zalloc(SHAPES + 1);
	char query[200] = "limit=1000&sort=bytes";
	size_t n = 0;
	for (bool more = true; more;) {
		json_t *page = list(a, query), *shape;
		size_t i;
		json_array_foreach(json_object_get(page, "shapes"), i, shape) {
			uint64_t id = strtoull(json_string_value(json_object_get(shape, "handle")), NULL, 10);
			CHECK(id >= 1 && id <= SHAPES && !seen[id]);
			CHECK_INT(json_integer_value(json_object_get(shape, "bytes")), id % 7);
			seen[id] = true;
			n++;
		}
		const char *next = json_string_value(json_object_get(page, "next"));
		more = next != NULL;
		snprintf(query, sizeof query, "limit=1000&sort=bytes&after=%s", more ? next : "");
		json_decref(page);
	}
	CHECK_INT(n, SHAPES);
	free(seen);
}

static void *come_and_go(void *ctx)
{
	for (uint64_t i = 1; i <= COMING; i++) {
		struct shape *shape = add_shape(ctx, SHAPES + i);
		if (i % 2 == 0)
			shape_rotate(shape, REASON_DELETED, "test");
	}
	return NULL;
}

/* Those that stay are there whatever others do, and none twice. */
static void list_meanwhile(struct pg_table *t)
{
	pthread_t thread;
	CHECK_INT(pthread_create(&thread, NULL, come_and_go, t), 0);
	for (int i = 0; i < LISTINGS; i++) {
		size_t n, missing = 0;
		struct shape_facts *all = shapes_list(engine, NULL, &n);
		for (size_t k = 1; k < n; k++)
			CHECK(all[k - 1].id < all[k].id);
		for (size_t k = 0; k < SHAPES && k < n; k++)
			missing += all[k].id > SHAPES;
		CHECK(missing <= COMING / 2); /* what is let go of may move what is behind it over a step */
		free(all);
	}
	pthread_join(thread, NULL);
	size_t n;
	free(shapes_list(engine, NULL, &n));
	CHECK_INT(n, SHAPES + COMING / 2);
}

static void test_shapes(void)
{
	struct pg_table *t = table_make(16384, "public", "t", "id:23:pk0 name:25");
	struct admin *a = admin_new(&ops);
	json_t *none = list(a, "");
	CHECK_INT(json_integer_value(json_object_get(none, "total")), 0);
	CHECK(json_is_null(json_object_get(none, "next")));
	json_decref(none);
	for (uint64_t i = 1; i <= SHAPES; i++)
		add_shape(t, i);
	int64_t best_us = INT64_MAX;
	for (int i = 0; i < LISTINGS; i++) {
		int64_t from = clock_mono_us();
		json_decref(list(a, "sort=bytes"));
		int64_t us = clock_mono_us() - from;
		best_us = us < best_us ? us : best_us;
	}
	printf("a listing of %d shapes: %lld us\n", SHAPES, (long long)best_us);
	walk_pages(a);
	json_t *other = list(a, "table=public.other");
	CHECK_INT(json_integer_value(json_object_get(other, "total")), 0);
	json_decref(other);
	list_meanwhile(t);
	admin_free(a);
	pg_table_unref(t);
}

/* ---- busbar top ---- */

static void place(const char *text, const char *port, const char *host, const char *at)
{
	struct top_place p;
	bool good = top_place_parse(text, port, &p) == 0;
	if (!CHECK(good == (host != NULL)) || (good && !CHECK(strcmp(p.host, host) == 0 && strcmp(p.port, at) == 0)))
		printf("  %s\n", text);
}

static void test_places(void)
{
	place("http://127.0.0.1:3002", NULL, "127.0.0.1", "3002");
	place("HTTP://busbar.example:1/admin?x", NULL, "busbar.example", "1");
	place("busbar", "3002", "busbar", "3002");
	place("3002", NULL, "127.0.0.1", "3002");
	place("[::1]:3", NULL, "::1", "3");
	place("[::1]", "4", "::1", "4");
	place("::1", "4", "::1", "4");
	place("busbar", NULL, NULL, NULL);
	place("busbar:", NULL, NULL, NULL);
	place("busbar:http", NULL, NULL, NULL);
	place("busbar:123456789", NULL, NULL, NULL);
	place("[::1", "4", NULL, NULL);
	place("", "4", NULL, NULL);
	place("http://", "4", NULL, NULL);
}

/* ---- what is told of one who stands still, sleeps, or can't be looked at ---- */

static json_t *status_of(struct admin *a)
{
	struct buf out = BUF_INIT(100000);
	CHECK_INT(admin_status(a, "", &out), 200);
	json_t *root = json_loadb(out.data, out.len, 0, NULL);
	CHECK(root != NULL);
	buf_clear(&out);
	return root;
}

/* The lines of `busbar top`, with a status that says ready, or away, or asleep. */
static void top_says(json_t *status, const char *also, const char *live, const char *lag, const char *postgres)
{
	json_t *clients = json_object(), *shapes = json_object();
	struct top_look l = {status, clients, shapes};
	struct buf out = BUF_INIT(100000);
	char want[3][200];
	json_object_set_new(status, "ready", json_true());
	json_object_set_new(status, "status", json_string("active"));
	json_object_set_new(status, "postgres_asleep", json_boolean(strcmp(also, "asleep") == 0));
	json_object_set_new(status, "postgres_away", json_boolean(strcmp(also, "away") == 0));
	top_show(&out, &l, 120, 0, false);
	snprintf(want[0], sizeof want[0], "\nlive     %s", live);
	snprintf(want[1], sizeof want[1], "\nlag      %s", lag);
	snprintf(want[2], sizeof want[2], "\npostgres %s", postgres);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		if (!CHECK(strstr(out.data, want[i]) != NULL))
			printf("  not there: %s in %s\n", want[i] + 1, out.data);
	buf_clear(&out);
	json_decref(clients);
	json_decref(shapes);
	json_decref(status);
}

static void test_standing_still(void)
{
	static const struct { int64_t behind_ms; const char *state, *lag; } all[] = {
		{0, "fine", "no change in the last"}, {14000, "fine", "no change in the last"}, {15000, "fine", "at least 15 s: "},
		{30000, "watch", "at least 30 s: "}, {299000, "watch", "at least 5 min: "}, {300000, "danger", "at least 5 min: "},
	};
	struct admin *a = admin_new(&ops);
	admin_sample(a);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct guard_state st = {.known = true, .looked_ms = clock_mono_ms(), .slot = SLOT_RESERVED, .ours_bytes = 1 << 20, .behind_ms = all[i].behind_ms};
		char postgres[40];
		guard_publish(engine, &st);
		json_t *status = status_of(a);
		const json_t *wal = json_object_get(status, "postgres");
		CHECK_STR(json_string_value(json_object_get(wal, "state")), all[i].state);
		CHECK(json_number_value(json_object_get(wal, "looked_s_ago")) < 10);
		snprintf(postgres, sizeof postgres, "%s: WAL for us 1.0 MB", all[i].state);
		top_says(status, "", "yes: active", all[i].lag, postgres);
	}
	admin_free(a);
}

static void test_not_looking(void)
{
	struct admin *a = admin_new(&ops);
	struct guard_state st = {.known = true, .looked_ms = clock_mono_ms() - 7200000, .slot = SLOT_RESERVED, .behind_ms = 7200000};
	admin_sample(a);
	guard_publish(engine, &st);
	top_says(status_of(a), "asleep", "asleep: the next request wakes it", "asleep: what has changed is read", "danger"); /* that is as of awake */
	st.known = false;
	guard_publish(engine, &st);
	top_says(status_of(a), "asleep", "asleep: the next request wakes it", "asleep: ", "unknown: not looked at for 2 h");
	top_says(status_of(a), "away", "known shapes only", "not known: ", "unknown: not looked at for 2 h");
	st.looked_ms = 0;
	guard_publish(engine, &st);
	top_says(status_of(a), "", "yes: active", "no change", "unknown: nobody could look yet");
	atomic_store(&engine->idle.state, IDLE_ASLEEP);
	st.known = true;
	guard_publish(engine, &st);
	json_t *status = status_of(a);
	CHECK(json_is_true(json_object_get(status, "postgres_asleep")));
	CHECK_STR(json_string_value(json_object_get(json_object_get(status, "postgres"), "state")), "fine");
	json_decref(status);
	atomic_store(&engine->idle.state, IDLE_AWAKE);
	admin_free(a);
}

/* ---- SQL to be read ---- */

static void readable(const char *sql, const char *want)
{
	struct buf text = BUF_INIT(1000);
	buf_puts(&text, sql);
	readable_sql(&text);
	CHECK_STR(text.data, want);
	CHECK_INT(text.len, strlen(want));
	buf_clear(&text);
}

static void test_readable(void)
{
	readable("((\"i\" OPERATOR(pg_catalog.=) '5'::\"pg_catalog\".\"int4\"))", "((\"i\" = '5'::\"int4\"))");
	readable("(pg_catalog.lower(\"a'b\") OPERATOR(pg_catalog.=) 'x''pg_catalog.'::\"pg_catalog\".\"text\")",
	         "(lower(\"a'b\") = 'x''pg_catalog.'::\"text\")");
	readable("\"don't\" OPERATOR(pg_catalog.~~)  E'\\\\''(' OR \"it's\" OPERATOR(pg_catalog.=) \"pg_catalog.\"\"pg_catalog\"\".x\"",
	         "\"don't\" ~~  E'\\\\''(' OR \"it's\" = \"pg_catalog.\"\"pg_catalog\"\".x\"");
	readable("\"a\" OPERATOR(pg_catalog.=) 'cut OPERATOR(pg_catalog.", "\"a\" = 'cut OPERATOR(pg_catalog.");
	readable("", "");
}

/* ---- a screen ---- */

static void test_columns(void)
{
	static const struct { const char *text; unsigned width; const char *want; } all[] = {
		{"abcdef", 4, "abcd\n"}, {"h\xc3\xa9llo", 3, "h\xc3\xa9l\n"}, {"\xe6\xbc\xa2\xe5\xad\x97x", 5, "\xe6\xbc\xa2\xe5\xad\x97x\n"},
		{"\xe6\xbc\xa2\xe5\xad\x97x", 4, "\xe6\xbc\xa2\xe5\xad\x97\n"}, {"\xe6\xbc\xa2\xe5\xad\x97x", 3, "\xe6\xbc\xa2\n"},
		{"a\xe2\x80\xae" "b\xe2\x80\x8b" "c\xef\xbb\xbf" "d\xe2\x81\xa6" "e", 9, "abcde\n"}, {"\xf0\x9f\x9a\x80!", 2, "\xf0\x9f\x9a\x80\n"},
		{"\xf0\x9f\x9a\x80", 1, "\n"}, {"a\nb\tc\033[2Jd", 20, "abc[2Jd\n"}, {"a\xff\xe2\x80z", 20, "az\n"},
		{"\xf3\xa0\x81\x81x\xef\xb8\x8f", 20, "x\n"}, {"e\xcc\x81\xcc\x81\xcc\x81", 2, "e\xcc\x81\n"}, {"a", 0, "\n"}, {"", 5, "\n"},
	};
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct buf out = BUF_INIT(1000);
		top_line(&out, all[i].text, all[i].width);
		CHECK_STR(out.data, all[i].want);
		buf_clear(&out);
	}
}

static void test_height(void)
{
	json_t *status = json_object(), *clients = json_object(), *shapes = json_pack("{s:[{}, {}, {}, {}, {}, {}]}", "shapes");
	struct top_look l = {status, clients, shapes};
	for (unsigned height = 0; height <= 20; height++) {
		struct buf out = BUF_INIT(100000);
		unsigned lines = 0, most = height == 0 ? 16 : height > 1 ? height - 1 : 1;
		top_show(&out, &l, 80, height, true);
		for (const char *p = out.data; *p != '\0'; p++)
			lines += *p == '\n';
		CHECK_INT(lines, most < 16 ? most : 16);
		buf_clear(&out);
	}
	json_decref(status);
	json_decref(clients);
	json_decref(shapes);
}

static void test_screen(void)
{
	json_t *status = json_pack("{s:s, s:s, s:b, s:s, s:{s:i}}", "version", "1.2.3", "status", "active", "ready", 1, "reason_text", "a\033[2Jb\xc2\x9b" "c\xc3\xa9",
	                           "shapes", "live", 3);
	json_t *clients = json_object(), *shapes = json_pack("{s:s, s:[{s:s, s:s, s:i}, {}, {}]}", "sort", "rows", "shapes", "table", "public.t", "where", "x", "rows", 12);
	struct top_look l = {status, clients, shapes};
	for (unsigned width = 0; width <= 200; width += 20) {
		struct buf out = BUF_INIT(100000);
		top_show(&out, &l, width, 12, false);
		unsigned n = 0, lines = 0;
		for (const char *p = out.data; *p != '\0'; p++) {
			n = *p == '\n' ? 0 : n + ((*p & 0xc0) != 0x80);
			lines += *p == '\n';
			CHECK(n <= width && *p != '\033' && strncmp(p, "\xc2\x9b", 2) != 0);
		}
		CHECK_INT(lines, 11);
		CHECK(width < 60 || strstr(out.data, "live     yes: active, a[2Jbc\xc3\xa9\n") != NULL);
		CHECK(width < 80 || strstr(out.data, "    *ROWS ") != NULL);
		buf_clear(&out);
	}
	json_decref(status);
	json_decref(clients);
	json_decref(shapes);
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
	log_init(LOG_ERROR);
	RUN(test_params);
	RUN(test_fields);
	RUN(test_percentiles);
	RUN(test_shapes);
	RUN(test_places);
	RUN(test_standing_still);
	RUN(test_not_looking);
	RUN(test_readable);
	RUN(test_columns);
	RUN(test_height);
	RUN(test_screen);
	engine_close(engine);
	temp_dir_remove(dir);
	return check_done("admin");
}
