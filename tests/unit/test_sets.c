/*
 * test_sets.c - what the subqueries of a condition selected (shapes/core/sets.c): read, written down, read back, bound into the
 * condition, compared; and the rows that are the same (where/bag.c). Texts lie in memory of their exact length where they may be
 * damaged, so that the sanitizers see a byte too many.
 */
#include "check.h"
#include "shape_test.h"
#include "shapes/core/def.h"
#include "shapes/core/sets.h"
#include "where/pool.h"

static struct pg_table *items, *members, *teams;
static struct err e;

/* ---- sets from a few words ------------------------------------------------------------------------------------ */

static struct shape_def def_with(const char *condition)
{
	const struct pg_table *list[] = {members, teams};
	struct where_tables tables = {.list = list, .n = 2};
	struct pg_table *named[2];
	char message[WHERE_MESSAGE_MAX];
	struct where *w = NULL;
	if (where_parse(items, &tables, condition, strlen(condition), NULL, NULL, false, &w, message) != 0) {
		printf("%s: %s\n", condition, message);
		exit(2);
	}
	size_t n = 0;
	if (strstr(condition, "members") != NULL)
		named[n++] = members;
	if (strstr(condition, "teams") != NULL)
		named[n++] = teams;
	struct buf canonical = BUF_INIT(WHERE_CANONICAL_MAX);
	where_canonical(w, &canonical);
	where_free(w);
	buf_putc(&canonical, '\0');
	struct shape_def d = def_make(pg_table_ref(items), NULL, REPLICA_DEFAULT);
	def_set_where(&d, canonical.data, named, n);
	buf_clear(&canonical);
	return d;
}

static struct sets *begin(const struct shape_def *d)
{
	struct sets_plan *p = sets_plan_new(d, &e);
	CHECK_OK(p != NULL ? 0 : -1, &e);
	return sets_new(p);
}

#define ROW_MAX 16

/* Rows as "1|2;3|NULL", each once: a row ends in ';', or with the text. */
static int put_rows(struct sets *s, size_t number, const char *rows)
{
	size_t width = where_subquery_width(s->plan->steps[number].around, s->plan->steps[number].at);
	while (*rows != '\0') {
		struct where_text_value row[ROW_MAX];
		for (size_t i = 0; i < width; i++) {
			size_t n = strcspn(rows, "|;");
			row[i] = n == 4 && memcmp(rows, "NULL", 4) == 0 ? (struct where_text_value){NULL, 0} : (struct where_text_value){rows, n};
			rows += n + (rows[n] != '\0');
		}
		if (width == 0)
			rows += strspn(rows, "*;");
		if (sets_put(s, number, row, 1, &e) != 0)
			return -1;
	}
	return 0;
}

/* Of each subquery, inner ones first: their rows. Finished. */
static struct sets *read_sets(const struct shape_def *d, const char *const *rows)
{
	struct sets *s = begin(d);
	for (size_t i = 0; i < s->n; i++)
		CHECK_OK(put_rows(s, i, rows[i]), &e);
	CHECK_OK(sets_finish(s, &e), &e);
	return s;
}

static int restore(const struct shape_def *d, const char *texts, size_t len, struct sets **out)
{
	char *exact = mem_alloc(len + 1);
	memcpy(exact, texts, len);
	exact = mem_realloc(exact, len > 0 ? len : 1);
	err_clear(&e);
	int rc = sets_restore(d, exact, len, out, &e);
	free(exact);
	return rc;
}

/* ---- what a condition says then --------------------------------------------------------------------------------- */

static bool fetch(void *ctx, uint16_t column, struct where_text *out)
{
	const char *const *row = ctx;
	const char *text = row[column];
	*out = (struct where_text){text, text == NULL ? 0 : (uint32_t)strlen(text), text == NULL};
	return true;
}

/* 't', 'f', '-' for null, '!' for an error. */
static char says(const struct where *w, const char *const *row)
{
	const struct pg_table *t = where_table(w);
	struct where_pool *pool = where_pool_new(t == items ? items : t == members ? members : teams);
	char reason[WHERE_REASON_MAX], answer = '!';
	uint32_t id;
	if (CHECK_INT(where_pool_add(pool, where_root(w), &id, reason), 0)) {
		where_pool_row(pool, fetch, (void *)(uintptr_t)row);
		const struct where_value *v = where_pool_eval(pool, id);
		answer = v->is == WHERE_NULL ? '-' : v->is == WHERE_ERROR ? '!' : v->u.i ? 't' : 'f';
		where_pool_unref(pool, id);
	}
	where_pool_free(pool);
	return answer;
}

/* Of items: id, t, n */
static const char *const item_rows[][3] = {{"1", "a", "1"}, {"2", "b", "2.0"}, {"3", NULL, NULL}, {NULL, "a", "4"}};

/* One sign for each of item_rows. */
static void outer_says(const struct sets *s, char answers[5])
{
	memset(answers, 0, 5);
	for (size_t i = 0; i < ARRAY_LEN(item_rows); i++) {
		const char *row[20] = {item_rows[i][0], item_rows[i][1], item_rows[i][2]};
		answers[i] = says(s->bound[s->n], row);
	}
}

static const struct {
	const char *condition, *rows[3], *says;
} meanings[] = {
	{"id IN (SELECT item_id FROM members)", {"1;3"}, "tft-"},
	{"id IN (SELECT item_id FROM members)", {"1;NULL"}, "t---"},
	{"id IN (SELECT item_id FROM members)", {""}, "ffff"},
	{"id IN (SELECT item_id FROM members)", {"NULL"}, "----"},
	{"id NOT IN (SELECT item_id FROM members)", {"1;3"}, "ftf-"},
	{"id NOT IN (SELECT item_id FROM members)", {"1;NULL"}, "f---"},
	{"id NOT IN (SELECT item_id FROM members)", {""}, "tttt"},
	{"n IN (SELECT n FROM members)", {"1.00;2"}, "tt-f"},
	{"(id, t) IN (SELECT item_id, t FROM members)", {"1|a;2|a;3|NULL"}, "tf--"},
	{"(id, t) NOT IN (SELECT item_id, t FROM members)", {"1|a;9|NULL"}, "ftt-"},
	{"EXISTS (SELECT 1 FROM members WHERE team_id = 7)", {"*"}, "tttt"},
	{"EXISTS (SELECT 1 FROM members WHERE team_id = 7)", {""}, "ffff"},
	{"NOT EXISTS (SELECT 1 FROM members WHERE team_id = 7)", {"*"}, "ffff"},
	{"EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id)", {"1;NULL"}, "tfff"},
	{"NOT EXISTS (SELECT 1 FROM members WHERE members.item_id = items.id)", {"1;NULL"}, "fttt"},
	{"EXISTS (SELECT 1 FROM members m WHERE m.item_id = items.id AND m.t = items.t)", {"1|a;2|a;3|NULL"}, "tfff"},
	/* inner ones first */
	{"id IN (SELECT item_id FROM members WHERE team_id IN (SELECT id FROM teams))", {"7", "2"}, "ftf-"},
	{"id IN (SELECT item_id FROM members) OR t IN (SELECT name FROM teams)", {"2", "a"}, "tt-t"},
	{"id IN (SELECT item_id FROM members) AND EXISTS (SELECT 1 FROM teams)", {"2", ""}, "ffff"},
};

static void test_meanings(void)
{
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
		char answers[5], again[5];
		struct shape_def d = def_with(meanings[i].condition);
		struct sets *s = read_sets(&d, meanings[i].rows), *restored;
		outer_says(s, answers);
		if (!CHECK_STR(answers, meanings[i].says))
			printf("  %s with %s\n", meanings[i].condition, meanings[i].rows[0]);
		/* The record has it too; how often each is there it doesn't know. */
		if (CHECK_OK(restore(&d, s->texts.data, s->texts.len, &restored), &e)) {
			int64_t count;
			outer_says(restored, again);
			CHECK_STR(again, answers);
			CHECK(sets_same(s, restored) && sets_same(restored, s));
			CHECK(restored->texts.len == s->texts.len && memcmp(restored->texts.data, s->texts.data, s->texts.len) == 0);
			for (size_t k = 0; k < restored->n; k++)
				for (const struct where_bag_row *r = NULL; (r = where_bag_next(restored->bags[k], r, &count)) != NULL;)
					CHECK(count == SET_COUNT_LOST);
			sets_unbind(restored); /* texts and counts are left */
			CHECK(sets_same(s, restored));
			sets_free(restored);
		}
		sets_free(s);
		shape_def_clear(&d);
	}
}

/* Each subquery's condition has the constants of those inside it. */
static void test_inner_conditions(void)
{
	struct shape_def d = def_with("id IN (SELECT item_id FROM members WHERE team_id IN (SELECT id FROM teams WHERE name = 'x') AND t = 'y')");
	static const char *const rows[] = {"7;8", "1"};
	struct sets *s = read_sets(&d, rows);
	const char *team[2][20] = {{"1", "x"}, {"1", "y"}};
	const char *member[3][20] = {{"5", "7", "y"}, {"5", "9", "y"}, {"5", "8", "z"}};
	CHECK_INT(s->n, 2);
	CHECK(where_table(s->bound[0]) == teams && where_table(s->bound[1]) == members && where_table(s->bound[2]) == items);
	CHECK_INT(says(s->bound[0], team[0]), 't');
	CHECK_INT(says(s->bound[0], team[1]), 'f');
	CHECK_INT(says(s->bound[1], member[0]), 't');
	CHECK_INT(says(s->bound[1], member[1]), 'f');
	CHECK_INT(says(s->bound[1], member[2]), 'f');
	struct buf sql = BUF_INIT(1u << 20);
	CHECK_OK(sets_where_sql(&d, s->texts.data, s->texts.len, &sql, &e), &e);
	CHECK(strstr(sql.data, "members") == NULL && strstr(sql.data, "{1}") != NULL);
	buf_clear(&sql);
	struct buf small = BUF_INIT(8);
	CHECK(sets_where_sql(&d, s->texts.data, s->texts.len, &small, &e) == -1 && e.kind == ERR_LIMIT);
	buf_clear(&small);
	sets_free(s);
	shape_def_clear(&d);
}

/* ---- which rows are the same --------------------------------------------------------------------------------------- */

static const struct {
	const char *column, *a, *b;
	bool same;
} pairs[] = {
	{"id", "1", "01", true}, {"id", "1", "2", false},
	{"n", "1.0", "1.00", true}, {"n", "1", "1.0", true}, {"n", "100", "1e2", true}, {"n", "0", "-0.0", true}, {"n", "NaN", "NaN", true},
	{"n", "1.0", "1.01", false}, {"n", "NaN", "Infinity", false},
	{"f", "0", "-0", true}, {"f", "NaN", "nan", true}, {"f", "1", "1.0", true}, {"f", "1", "1.0000000000000002", false},
	{"f", "Infinity", "-Infinity", false}, {"r", "0", "-0", true}, {"r", "0.5", "0.50", true},
	{"c", "a", "a   ", true}, {"c", "a", " a", false}, {"c", "", "  ", true},
	{"t", "a", "a ", false}, {"t", "a", "A", false}, {"t", "", "", true}, {"t", "NULL", "", false}, {"t", "NULL", "NULL", true},
	{"v", "1 day", "24:00:00", true}, {"v", "1 mon", "30 days", true}, {"v", "1 day", "25:00:00", false},
	{"j", "{\"a\": 1.0, \"b\": 2}", "{\"b\": 2, \"a\": 1.00}", true}, {"j", "[1, 2]", "[2, 1]", false}, {"j", "1", "[1]", false},
	{"j", "{\"a\": 1, \"a\": 2}", "{\"a\": 2}", true},
	{"a", "{1,2}", "{1, 02}", true}, {"a", "{1,2}", "{2,1}", false}, {"a", "{1}", "[0:0]={1}", false}, {"a", "{}", "{NULL}", false},
	{"an", "{1.0,NULL}", "{1.00,NULL}", true},
	{"u", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", true},
	{"z", "2024-01-01 00:00:00+00", "2024-01-01 01:00:00+01", true}, {"z", "2024-01-01 00:00:00+00", "2024-01-01 00:00:00+01", false},
	{"b", "\\x41", "A", true}, {"b", "\\x41", "\\x42", false},
	{"o", "t", "true", true}, {"o", "t", "f", false},
	{"m", "sad", "ok", false}, {"m", "sad", "sad", true},
	{"dn", "1.0", "1.00", true}, {"dn", "1.0", "1.1", false}, /* a domain over numeric */
	{"am", "{sad,ok}", "{\"sad\",ok}", true}, {"am", "{sad,ok}", "{ok,sad}", false}, /* enums in an array: by text */
};

/* A set of one value, or two; "NULL" is null. */
static struct sets *set_of(const struct shape_def *d, const char *one, const char *other)
{
	struct sets *s = begin(d);
	const char *texts[] = {one, other};
	for (size_t i = 0; i < ARRAY_LEN(texts) && texts[i] != NULL; i++) {
		struct where_text_value v = {texts[i], strlen(texts[i])};
		if (strcmp(texts[i], "NULL") == 0)
			v = (struct where_text_value){NULL, 0};
		CHECK_OK(sets_put(s, 0, &v, 1, &e), &e);
	}
	CHECK_OK(sets_finish(s, &e), &e);
	return s;
}

static void test_same_values(void)
{
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		char condition[100];
		const char *inner = strcmp(pairs[i].column, "id") == 0 ? "item_id" : pairs[i].column;
		snprintf(condition, sizeof condition, "%s IN (SELECT %s FROM members)", pairs[i].column, inner);
		struct shape_def d = def_with(condition);
		struct sets *both = set_of(&d, pairs[i].a, pairs[i].b), *restored;
		struct sets *a = set_of(&d, pairs[i].a, NULL), *b = set_of(&d, pairs[i].b, NULL);
		bool good = CHECK_INT(where_bag_rows(both->bags[0]), pairs[i].same ? 1 : 2);
		good = CHECK_INT(sets_same(a, b), pairs[i].same) && good;
		good = CHECK_INT(sets_same(b, a), pairs[i].same) && good;
		good = CHECK_INT(sets_same(both, a), pairs[i].same) && good;
		if (!good)
			printf("  %s: \"%s\", \"%s\"\n", pairs[i].column, pairs[i].a, pairs[i].b);
		if (CHECK_OK(restore(&d, both->texts.data, both->texts.len, &restored), &e)) {
			CHECK(sets_same(both, restored));
			sets_free(restored);
		}
		sets_free(both);
		sets_free(a);
		sets_free(b);
		shape_def_clear(&d);
	}
}

/* A row's text is that of the first of its equals; the same row counts once, however often it is there. */
static void test_counts(void)
{
	struct shape_def d = def_with("(id, n) IN (SELECT item_id, n FROM members)");
	struct sets *s = begin(&d);
	CHECK_OK(put_rows(s, 0, "1|1.0;1|1.00;2|1;1|NULL;01|1;1|NULL;NULL|NULL"), &e);
	CHECK_OK(sets_finish(s, &e), &e);
	static const int64_t want[] = {3, 1, 2, 1};
	int64_t count;
	size_t n = 0;
	for (const struct where_bag_row *r = NULL; (r = where_bag_next(s->bags[0], r, &count)) != NULL; n++)
		CHECK(n < ARRAY_LEN(want) && count == want[n]);
	CHECK_INT(n, ARRAY_LEN(want));
	uint32_t rows;
	memcpy(&rows, s->texts.data, sizeof rows);
	CHECK_INT(rows, 4);
	CHECK(memmem(s->texts.data, s->texts.len, "1.0", 3) != NULL && memmem(s->texts.data, s->texts.len, "1.00", 4) == NULL);
	sets_free(s);
	/* Numbers of rows alone: nothing, and something. */
	shape_def_clear(&d);
	d = def_with("EXISTS (SELECT 1 FROM members)");
	s = begin(&d);
	CHECK_OK(sets_put(s, 0, NULL, 5, &e), &e);
	CHECK_OK(sets_finish(s, &e), &e);
	CHECK(where_bag_next(s->bags[0], NULL, &count) != NULL && count == 5);
	sets_free(s);
	shape_def_clear(&d);
}

/* Counts that came to nothing are as if the row weren't there. */
static void test_same_bags(void)
{
	const struct where_type *types[] = {where_type_builtin(OID_INT4), where_type_builtin(OID_TEXT)};
	struct where_bag *a = where_bag_new(types, 2), *b = where_bag_like(a);
	char reason[WHERE_REASON_MAX];
	bool made;
	struct where_value row[] = {where_int(1), where_bytes("x", 1)}, none[] = {where_null(), where_null()};
	CHECK(where_bag_same_rows(a, b));
	*where_bag_count(a, types, row, &made, reason) += 2;
	CHECK(made && !where_bag_same_rows(a, b) && !where_bag_same_rows(b, a));
	*where_bag_count(b, types, row, &made, reason) += 1;
	CHECK(made && where_bag_same_rows(a, b));
	*where_bag_count(b, types, none, NULL, reason) += 1;
	CHECK(!where_bag_same_rows(a, b) && !where_bag_same_rows(b, a));
	*where_bag_count(b, types, none, &made, reason) -= 1;
	CHECK(!made && where_bag_same_rows(a, b) && where_bag_same_rows(b, a));
	CHECK_INT(where_bag_rows(b), 2);
	int64_t count;
	const struct where_bag_row *r = where_bag_next(a, NULL, &count);
	CHECK_INT(count, 2);
	CHECK(*where_bag_count_of(b, r) == 1);
	where_bag_free(a);
	CHECK(where_bag_bytes(b) > 0);
	where_bag_free(b);
	where_bag_free(NULL);
}

static void test_large_bag(void)
{
	enum { ROWS = 100000 };
	const struct where_type *types[] = {where_type_builtin(OID_INT8), where_type_builtin(OID_TEXT)};
	struct where_bag *b = where_bag_new(types, 2);
	char reason[WHERE_REASON_MAX], text[32];
	for (int round = 0; round < 2; round++)
		for (int64_t i = 0; i < ROWS; i++) {
			bool made;
			int n = snprintf(text, sizeof text, "value %lld", (long long)i % 1000);
			struct where_value row[] = {where_int(i), where_bytes(text, (size_t)n)};
			int64_t *count = where_bag_count(b, types, row, &made, reason);
			++*count;
			if (made != (round == 0) || *count != round + 1) {
				CHECK(false);
				return;
			}
		}
	CHECK_INT(where_bag_rows(b), ROWS);
	int64_t count, n = 0;
	for (const struct where_bag_row *r = NULL; (r = where_bag_next(b, r, &count)) != NULL; n++)
		if (count != 2)
			break;
	CHECK_INT(n, ROWS);
	CHECK(where_bag_bytes(b) > ROWS * 32 && where_bag_bytes(b) < (size_t)ROWS * 400);
	where_bag_free(b);
}

/* ---- limits ---------------------------------------------------------------------------------------------------------- */

static int fill(struct sets *s, size_t rows, const struct where_text_value *row, size_t width)
{
	struct where_text_value values[ROW_MAX];
	char text[16];
	for (size_t i = 0; i < rows; i++) {
		memcpy(values, row, width * sizeof *row);
		values[0] = (struct where_text_value){text, (size_t)snprintf(text, sizeof text, "%zu", i)};
		if (sets_put(s, 0, values, 1, &e) != 0)
			return -1;
	}
	return 0;
}

static void test_limits(void)
{
	struct where_text_value row[ROW_MAX] = {{"", 0}};
	struct shape_def d = def_with("id IN (SELECT item_id FROM members)");
	struct sets *s = begin(&d);
	CHECK_OK(fill(s, SET_ROWS_MAX, row, 1), &e);
	CHECK_OK(fill(s, SET_ROWS_MAX, row, 1), &e); /* again: no new ones */
	CHECK_OK(sets_finish(s, &e), &e);
	struct sets *restored;
	CHECK_OK(restore(&d, s->texts.data, s->texts.len, &restored), &e);
	CHECK(sets_same(s, restored));
	/* Of all shapes together, for as long as they are there. */
	_Atomic size_t all = 0;
	CHECK_OK(sets_charge(s, &all, SIZE_MAX, &e), &e);
	size_t one = all;
	CHECK(one > SET_ROWS_MAX * sizeof(struct where_value));
	CHECK(sets_charge(restored, &all, 2 * one - 1, &e) == -1 && e.kind == ERR_LIMIT && all == 2 * one);
	sets_free(restored);
	CHECK(all == one);
	sets_free(s);
	CHECK(all == 0);
	s = begin(&d);
	CHECK(fill(s, SET_ROWS_MAX + 1, row, 1) == -1 && e.kind == ERR_REQUEST);
	CHECK(strstr(e.text, "more than 250000 different values") != NULL);
	sets_free(s);
	s = begin(&d);
	row[0] = (struct where_text_value){"x", 1};
	CHECK(sets_put(s, 0, row, 1, &e) == -1 && e.kind == ERR_REQUEST && strstr(e.text, "cannot be read") != NULL);
	sets_free(s);
	shape_def_clear(&d);
	/* One value that is as large as all may be, and a byte more. */
	d = def_with("t IN (SELECT t FROM members)");
	char *large = mem_alloc(SETS_BYTES_MAX + 1);
	memset(large, 'x', SETS_BYTES_MAX + 1);
	for (size_t more = 0; more < 2; more++) {
		s = begin(&d);
		row[0] = (struct where_text_value){large, SETS_BYTES_MAX + more};
		CHECK_INT(sets_put(s, 0, row, 1, &e), more == 0 ? 0 : -1);
		CHECK(more == 0 || strstr(e.text, "more than 6 MB of values") != NULL);
		if (more == 0)
			CHECK_OK(sets_finish(s, &e), &e);
		sets_free(s);
	}
	/* Values that as constants are longer than a condition may be. */
	memset(large, '\\', SETS_BYTES_MAX);
	s = begin(&d);
	row[0] = (struct where_text_value){large, SETS_BYTES_MAX};
	CHECK_OK(sets_put(s, 0, row, 1, &e), &e);
	CHECK(sets_finish(s, &e) == -1 && e.kind == ERR_REQUEST && strstr(e.text, "longer than 8 MB") != NULL);
	sets_free(s);
	free(large);
	shape_def_clear(&d);
}

/* ---- damage ------------------------------------------------------------------------------------------------------------ */

static void restore_damaged(const struct shape_def *d, const char *texts, size_t len, const struct sets *was)
{
	struct sets *s;
	if (restore(d, texts, len, &s) != 0) {
		CHECK(e.kind == ERR_DAMAGED || e.kind == ERR_REQUEST);
		CHECK(e.text[0] != '\0');
		return;
	}
	char answers[5];
	CHECK_INT(s->n, was->n);
	outer_says(s, answers);
	CHECK(strlen(answers) == 4);
	CHECK(sets_same(s, s));
	sets_free(s);
}

static void test_damaged(void)
{
	static const char flips[] = {1, 2, 32, (char)0x80, (char)0xff};
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++) {
		struct shape_def d = def_with(meanings[i].condition);
		struct sets *s = read_sets(&d, meanings[i].rows), *none;
		struct buf sql = BUF_INIT(1u << 20);
		for (size_t at = 0; at < s->texts.len; at++) {
			for (size_t f = 0; f < ARRAY_LEN(flips); f++) {
				s->texts.data[at] ^= flips[f];
				restore_damaged(&d, s->texts.data, s->texts.len, s);
				buf_reset(&sql);
				if (sets_where_sql(&d, s->texts.data, s->texts.len, &sql, &e) != 0)
					CHECK(e.kind == ERR_DAMAGED || e.kind == ERR_REQUEST);
				s->texts.data[at] ^= flips[f];
			}
			/* A piece of it isn't less of the same. */
			CHECK(restore(&d, s->texts.data, at, &none) == -1 && e.kind == ERR_DAMAGED);
		}
		buf_put(&s->texts, "", 1);
		CHECK(restore(&d, s->texts.data, s->texts.len, &none) == -1 && e.kind == ERR_DAMAGED);
		buf_clear(&sql);
		sets_free(s);
		shape_def_clear(&d);
	}
}

static void test_random_texts(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	struct shape_def d = def_with("id IN (SELECT item_id FROM members WHERE t IN (SELECT name FROM teams))");
	static const char *const rows[] = {"a", "1"};
	struct sets *s = read_sets(&d, rows);
	for (int i = 0; i < 20000; i++) {
		char texts[40];
		size_t n = rng_below(&rng, sizeof texts);
		for (size_t k = 0; k < n; k++)
			texts[k] = (char)(rng_below(&rng, 3) != 0 ? rng_below(&rng, 3) : rng_below(&rng, 256));
		restore_damaged(&d, texts, n, s);
	}
	sets_free(s);
	shape_def_clear(&d);
}

/* The tables aren't what they were when it was defined. */
static void test_other_tables(void)
{
	struct shape_def d = def_with("id IN (SELECT item_id FROM members)");
	static const char *const rows[] = {"1"};
	struct sets *s = read_sets(&d, rows), *none;
	struct pg_table *was = d.inner[0];
	d.inner[0] = table_make(was->oid, "public", "members", "item:23:pk0");
	CHECK(restore(&d, s->texts.data, s->texts.len, &none) == -1);
	CHECK(sets_plan_new(&d, &e) == NULL);
	struct buf sql = BUF_INIT(1000);
	CHECK(sets_where_sql(&d, s->texts.data, s->texts.len, &sql, &e) == -1);
	pg_table_unref(d.inner[0]);
	d.inner[0] = was;
	sets_free(s);
	shape_def_clear(&d);
}

#define MANY "\"%s\",%d,%d,-1,\"%s\",0,false,false,false,-1,%d"

/* Columns of all kinds of types, behind those that are named. */
static struct pg_table *table_of_all(uint32_t oid, const char *name, const char *first)
{
	static const struct { const char *name; int type; } columns[] = {
		{"t", 25}, {"n", 1700}, {"f", 701}, {"r", 700}, {"c", 1042}, {"v", 1186}, {"j", 3802}, {"a", 1007}, {"an", 1231}, {"u", 2950},
		{"z", 1184}, {"b", 17}, {"o", 16}, {"m", 20001}, {"dm", 20002}, {"dn", 20003}, {"am", 20004},
	};
	struct buf json = BUF_INIT((size_t)1 << 20);
	buf_printf(&json, "{\"v\":2,\"oid\":%u,\"schema\":\"public\",\"name\":\"%s\",\"relkind\":\"r\",\"columns\":["
	                  "[\"%s\",1,23,-1,\"int4\",0,true,false,false,0,-1]", oid, name, first);
	int attnum = 2;
	if (strcmp(first, "item_id") == 0)
		buf_printf(&json, ",[" MANY "]", "team_id", attnum++, 23, "int4", -1);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		int type = columns[i].type;
		buf_printf(&json, ",[" MANY "]", columns[i].name, attnum++, type, columns[i].name, type == 25 || type == 1042 ? 0 : -1);
	}
	buf_puts(&json, "],\"leaves\":[],\"types\":[[20001,\"s\",\"mood\",\"e\",0,0,-1,[\"sad\",\"ok\"]],[20002,\"s\",\"dm\",\"d\",0,20001,-1,[]],"
	                "[20003,\"s\",\"dn\",\"d\",0,1700,-1,[]],[20004,\"s\",\"_mood\",\"b\",20001,0,-1,[]]],"
	                "\"collations\":[[100,\"pg_catalog\",\"default\",\"c\",true,\"C.UTF-8\",\"C.UTF-8\",null]]}");
	struct pg_table *t;
	if (pg_table_from_json(json.data, json.len, &t, &e) != 0) {
		printf("%s\n%s\n", json.data, e.text);
		exit(2);
	}
	buf_clear(&json);
	return t;
}

int main(void)
{
	uint64_t seed = test_seed("test_sets");
	items = table_of_all(5, "items", "id");
	members = table_of_all(3, "members", "item_id");
	teams = table_make(9, "public", "teams", "id:23:pk0 name:25");
	RUN(test_meanings);
	RUN(test_inner_conditions);
	RUN(test_same_values);
	RUN(test_counts);
	RUN(test_same_bags);
	RUN(test_large_bag);
	RUN(test_limits);
	RUN(test_damaged);
	RUN(test_random_texts, seed);
	RUN(test_other_tables);
	pg_table_unref(items);
	pg_table_unref(members);
	pg_table_unref(teams);
	return check_done("test_sets");
}
