/*
 * test_keys.c - hashes and sets of keys, how often each is there, and what a transaction comes to for each.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shape_test.h"
#include "shapes/core/engine.h"
#include "shapes/core/line.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/render.h"

static void test_hash(void)
{
	char bytes[64];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)(i * 37);
	for (size_t n = 0; n < sizeof bytes; n++) {
		struct key_hash whole = key_hash(bytes, n);
		/* In pieces it is the same; with one byte more or less it isn't. */
		for (size_t cut = 0; cut <= n; cut++) {
			struct key_hasher h;
			key_hash_begin(&h);
			key_hash_put(&h, bytes, cut);
			key_hash_put(&h, bytes + cut, n - cut);
			CHECK(key_hash_same(key_hash_end(&h), whole));
			CHECK(cut == n || !key_hash_same(key_hash(bytes, cut), whole));
		}
	}
	/* Values have ends. */
	struct key_hasher h;
	struct key_hash of[4];
	for (int i = 0; i < 4; i++) {
		key_hash_begin(&h);
		key_hash_put_value(&h, "ab", i == 0 ? 2 : 1, false);
		key_hash_put_value(&h, i == 0 ? "c" : "bc", i == 0 ? 1 : 2, i == 2);
		key_hash_put_value(&h, "", 0, i == 3);
		of[i] = key_hash_end(&h);
	}
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			CHECK(!key_hash_same(of[i], of[k]));
}

static struct key_hash numbered(uint64_t n) { return key_hash(&n, sizeof n); }

static void test_set(void)
{
	struct key_set s = {0};
	CHECK(!key_set_has(&s, numbered(1)));
	for (uint64_t i = 0; i < 20000; i++) {
		key_set_add(&s, numbered(i));
		key_set_add(&s, numbered(i / 2));
	}
	CHECK_INT(s.n, 20000);
	for (uint64_t i = 0; i < 40000; i++)
		CHECK(key_set_has(&s, numbered(i)) == (i < 20000));
	key_set_clear(&s);
	CHECK(!key_set_has(&s, numbered(1)));
}

/* Against plain arrays; keys that come and go make gaps that others have to close. */
static void test_counts(uint64_t seed)
{
	struct rng r = rng_seeded(seed);
	struct key_counts c = {0};
	static uint32_t want[3000];
	size_t keys = 0;
	CHECK_INT(key_counts_take(&c, numbered(1)), 0);
	CHECK_INT(key_counts_of(&c, numbered(1)), 0);
	for (int i = 0; i < 300000; i++) {
		/* Grows, shrinks to little, and so on. */
		uint64_t k = rng_below(&r, ARRAY_LEN(want));
		bool add = rng_below(&r, 10) < (i / 20000 % 2 == 0 ? 7 : 2);
		uint32_t before = want[k];
		if (add) {
			keys += want[k]++ == 0;
			if (key_counts_add(&c, numbered(k)) != want[k])
				CHECK(false);
		} else {
			if (key_counts_take(&c, numbered(k)) != before)
				CHECK(false);
			if (before > 0)
				keys -= --want[k] == 0;
		}
		if (c.n != keys)
			CHECK(false);
	}
	for (uint64_t k = 0; k < ARRAY_LEN(want); k++)
		CHECK_INT(key_counts_of(&c, numbered(k)), want[k]);
	key_counts_clear(&c);
	CHECK_INT(key_counts_of(&c, numbered(1)), 0);
}

#define KEY "\\\"public\\\".\\\"t\\\"/\\\"a\\\\\\\"//1\\\"/_"
#define HEADERS(op, more) "\"headers\":{\"relation\":[\"public\",\"\\\"operation\\\":\\\"x\"],\"operation\":\"" op "\",\"lsn\":\"1\"" more "}}"

static void test_lines(void)
{
	static const struct {
		const char *line;
		char operation;
		int partner;
		size_t number_len;
	} cases[] = {
		{"{\"key\":\"" KEY "\",\"value\":{\"headers\":\"x\"}," HEADERS("insert", ""), 'i', 0, 0},
		{"{\"key\":\"" KEY "/12\",\"value\":{\"a\":\",\\\"headers\\\":{\\\"operation\\\":\\\"u\"}," HEADERS("delete", ""), 'd', 0, 3},
		{"{\"key\":\"" KEY "\",\"value\":{}," HEADERS("delete", ",\"key_change_to\":\"k\""), 'd', 1, 0},
		{"{\"key\":\"" KEY "/2\",\"value\":{\"headers\":null}," HEADERS("insert", ",\"key_change_from\":\"k\""), 'i', -1, 2},
		{"{\"key\":\"" KEY "\",\"value\":{},\"headers\":{\"operation\":\"insert\",\"relation\":[\"a\",\"b\"]}}", 'i', 0, 0},
	};
	struct key_line k;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *line = cases[i].line, *headers = strstr(line, ",\"headers\":{\"");
		for (int with_split = 0; with_split < 2; with_split++) {
			size_t split = with_split ? (size_t)(headers - line) + strlen(",\"headers\":{") : 0;
			if (!CHECK(key_line_read(line, strlen(line), split, &k)))
				continue;
			CHECK(k.operation == cases[i].operation && k.partner == cases[i].partner);
			CHECK_INT(k.key_len, strlen(KEY));
			CHECK(memcmp(line + k.key_at, KEY, strlen(KEY)) == 0);
			CHECK_INT(k.key_end, k.key_at + k.key_len + cases[i].number_len);
		}
		/* What is cut is refused, or at least read within its bounds. */
		for (size_t n = 0; n < strlen(line); n++) {
			char *cut = mem_alloc(n + 1);
			memcpy(cut, line, n);
			(void)key_line_read(cut, n, 0, &k);
			free(cut);
		}
	}
	CHECK(!key_line_read("{\"headers\":{\"control\":\"snapshot-end\"}}", 41, 0, &k));
}

/* Keys and rows as small numbers; `of` is the half itself. */
static struct key_half half(uint64_t key, uint64_t row, uint64_t op, bool added)
{
	static const char names[100];
	return (struct key_half){numbered(key), numbered(1000 + row), op, added, names + key * 10 + row};
}

static int of_key(const void *of) { return of == NULL ? -1 : (int)((uintptr_t)of - (uintptr_t)half(0, 0, 0, true).of) / 10; }
static int of_row(const void *of) { return of == NULL ? -1 : (int)((uintptr_t)of - (uintptr_t)half(0, 0, 0, true).of) % 10; }

static void test_nets(void)
{
	struct key_net out[8];
	CHECK_INT(key_nets(NULL, 0, out), 0);
	/* Rows 1, 2, 3 under keys 1, 2, 3 move one up, and row 9 comes to key 1. */
	struct key_half moved[] = {
		half(1, 1, 0, false), half(2, 1, 1, true), half(2, 2, 2, false), half(3, 2, 3, true),
		half(3, 3, 4, false), half(4, 3, 5, true), half(1, 9, 6, true),
	};
	CHECK_INT(key_nets(moved, ARRAY_LEN(moved), out), 4);
	static const int want[][4] = {{2, 2, 1, 2}, {3, 3, 2, 4}, {4, -1, 3, 5}, {1, 1, 9, 6}}; /* key, was, now, op */
	for (int i = 0; i < 4; i++) {
		CHECK_INT(of_key(out[i].added), want[i][0]);
		CHECK_INT(of_row(out[i].removed), want[i][1]);
		CHECK_INT(of_row(out[i].added), want[i][2]);
		CHECK_INT(out[i].op, (uint64_t)want[i][3]);
	}
	/* One row moved on and on, and it is back: nothing. */
	struct key_half back[] = {half(1, 1, 0, false), half(2, 1, 1, true), half(2, 1, 2, false), half(1, 1, 3, true)};
	CHECK_INT(key_nets(back, ARRAY_LEN(back), out), 0);
	/* Equal rows: which of them went doesn't matter. */
	struct key_half equal[] = {half(1, 1, 0, true), half(1, 1, 2, false), half(1, 1, 4, true), half(1, 2, 6, false)};
	CHECK_INT(key_nets(equal, ARRAY_LEN(equal), out), 1);
	CHECK(of_row(out[0].removed) == 2 && of_row(out[0].added) == 1 && out[0].op == 6);
	/* A delete alone stands where its key was touched last. */
	struct key_half gone[] = {half(1, 1, 0, false), half(1, 2, 0, true), half(1, 2, 8, false)};
	CHECK_INT(key_nets(gone, ARRAY_LEN(gone), out), 1);
	CHECK(of_row(out[0].removed) == 1 && out[0].added == NULL && out[0].op == 8);
	/* Two rows under one key are no end of a transaction. */
	struct key_half two[] = {half(1, 1, 0, true), half(1, 2, 2, true)};
	CHECK_INT(key_nets(two, 2, out), -1);
	struct key_half twice[] = {half(1, 1, 0, true), half(1, 1, 2, true)};
	CHECK_INT(key_nets(twice, 2, out), -1);
	struct key_half lost[] = {half(1, 1, 0, false), half(1, 2, 2, false)};
	CHECK_INT(key_nets(lost, 2, out), -1);
}

/* Random histories of few rows and keys: what is left is what differs between their ends. */
static void test_random(uint64_t seed)
{
	struct rng r = rng_seeded(seed);
	for (int round = 0; round < 2000; round++) {
		enum { KEYS = 6 };
		int begin[KEYS], end[KEYS], there[KEYS][10] = {{0}};
		struct key_half halves[256];
		struct key_net out[256];
		uint64_t op = 0;
		size_t n = 0;
		for (int k = 0; k < KEYS; k++) {
			begin[k] = (int)rng_below(&r, 4);
			if (begin[k] > 0)
				there[k][begin[k]]++;
		}
		for (int i = 0; i < 60; i++) {
			uint64_t k = rng_below(&r, KEYS), row = 1 + rng_below(&r, 3);
			bool add = rng_below(&r, 2) == 0;
			if (!add && there[k][row] == 0)
				continue;
			there[k][row] += add ? 1 : -1;
			halves[n++] = half(k, row, op++, add);
		}
		/* Until each key has one row at most. */
		for (uint64_t k = 0; k < KEYS; k++) {
			int left = 0;
			end[k] = 0;
			for (uint64_t row = 1; row < 4; row++)
				for (; there[k][row] > 0; there[k][row]--) {
					if (left++ == 0)
						end[k] = (int)row;
					else
						halves[n++] = half(k, row, op++, false);
				}
		}
		long made = key_nets(halves, n, out);
		int seen = 0, differ = 0;
		for (long i = 0; i < made; i++) {
			int k = of_key(out[i].added != NULL ? out[i].added : out[i].removed);
			int was = of_row(out[i].removed), now = of_row(out[i].added);
			CHECK(i == 0 || out[i].op > out[i - 1].op);
			seen += (was < 0 ? begin[k] == 0 : begin[k] == was) && (now < 0 ? end[k] == 0 : end[k] == now);
		}
		for (int k = 0; k < KEYS; k++)
			differ += begin[k] != end[k];
		CHECK_INT(made, differ);
		CHECK_INT(seen, differ);
	}
}

/* Keys beyond the limits are refused in words that say what to do, and given back when their shape ends. */
static void test_limits(void)
{
	struct shapes s = {0};
	struct pg_table *t = table_make(1, "public", "t", "a:25");
	struct key_counts one = {0}, other = {0};
	struct err e;
	key_counts_add(&one, numbered(1));
	CHECK_INT(key_counts_charge(&one, &s.keys_counted, t, &e), 0);
	one.n = SHAPE_KEYS_MAX;
	CHECK_INT(key_counts_charge(&one, &s.keys_counted, t, &e), 0);
	CHECK_INT(s.keys_counted, SHAPE_KEYS_MAX);
	one.n++;
	CHECK_INT(key_counts_charge(&one, &s.keys_counted, t, &e), -1);
	CHECK(e.kind == ERR_LIMIT && strstr(e.text, "\"public\".\"t\"") != NULL && strstr(e.text, "more than 8000000") != NULL &&
	      strstr(e.text, "add a primary key") != NULL);
	one.n = 5;
	CHECK_INT(key_counts_charge(&one, &s.keys_counted, t, &e), 0);
	CHECK_INT(s.keys_counted, 5);
	for (int i = 0; i < 3; i++) {
		struct key_counts full = {.n = SHAPE_KEYS_MAX};
		CHECK_INT(key_counts_charge(&full, &s.keys_counted, t, &e), i < 2 ? 0 : -1);
	}
	CHECK(strstr(e.text, "more than 24000000") != NULL);
	CHECK_INT(key_counts_charge(&other, &s.keys_counted, t, &e), -1);
	key_counts_release(&one, &s.keys_counted);
	CHECK_INT(s.keys_counted, 3 * SHAPE_KEYS_MAX);
	CHECK_INT(key_counts_charge(&other, &s.keys_counted, t, &e), 0);
	pg_table_unref(t);
}

int main(void)
{
	RUN(test_hash);
	RUN(test_set);
	uint64_t seed = test_seed("test_keys");
	RUN(test_counts, seed);
	RUN(test_lines);
	RUN(test_limits);
	RUN(test_nets);
	RUN(test_random, seed);
	return check_done("test_keys");
}
