/*
 * test_explain.c - `busbar explain`: what it says of many conditions (ops/explain.c, shapes/routing/filter_tell.c), without a
 * database.
 */
#include <jansson.h>

#include "base/log.h"
#include "check.h"
#include "ops/explain.h"
#include "shape_test.h"

static struct pg_table *things, *members, *groups;

static bool there_is_no_other(void *ctx, const struct def_table_name *name)
{
	(void)ctx;
	(void)name;
	return false;
}

/* The answer, parsed; NULL: refused. */
static json_t *answer(const char *where, enum explain_result *result)
{
	const struct pg_table *inner[] = {things, members, groups};
	struct where_tables tables = {.list = inner, .n = 3};
	static const struct where_param values[] = {{"ada", 3}};
	struct explain_input in = {things, &tables, where, where != NULL ? strlen(where) : 0, {values, 1}};
	struct explain x;
	char message[WHERE_MESSAGE_MAX];
	struct buf json = BUF_INIT(1u << 20), text = BUF_INIT(1u << 20);
	json_t *root = NULL;
	*result = explain_condition(&in, there_is_no_other, NULL, &x, message);
	if (*result == EXPLAIN_DONE) {
		explain_put_json(&x, &json);
		explain_put_text(&x, &text);
		CHECK(!json.failed && !text.failed && strstr(text.data, "cost:") != NULL);
		root = json_loadb(json.data, json.len, 0, NULL);
		CHECK(root != NULL);
	} else {
		CHECK(message[0] != '\0');
	}
	explain_clear(&x);
	buf_clear(&json);
	buf_clear(&text);
	return root;
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s != NULL ? s : "";
}

/* The strings of a list, with | between them. */
static const char *list(const json_t *o, const char *key)
{
	static char out[4][2000];
	static unsigned turn;
	char *p = out[turn++ % 4];
	const json_t *all = json_object_get(o, key);
	p[0] = '\0';
	for (size_t i = 0; i < json_array_size(all); i++) {
		size_t n = strlen(p);
		snprintf(p + n, sizeof out[0] - n, "%s%s", i > 0 ? "|" : "", json_string_value(json_array_get(all, i)));
	}
	return p;
}

struct expect { const char *where, *cost, *index, *evaluated, *advice; }; /* advice: how each begins, "" none */

static void check_advice(const json_t *root, const char *want, const char *where)
{
	const char *got = list(root, "advice");
	if (want[0] == '\0' ? !CHECK_STR(got, "") : !CHECK(strncmp(got, want, strlen(want)) == 0))
		printf("  %s: %s\n", where, got);
}

static void test_conditions(void)
{
	static const struct expect all[] = {
		{NULL, "all", "", "", ""},
		{"true", "all", "", "", ""},
		{"a = 1 AND false", "never", "", "", ""},
		{"a = 1", "indexed", "eq(a)", "", ""},
		{"a = 1 AND b = 2", "indexed", "eq(a, b)", "", ""},
		{"a = 1 AND c > 5", "indexed", "eq(a) > range(c)", "", ""},
		{"a IN (1, 2, 3)", "indexed", "eq(a)", "", ""},
		{"a = 1 OR b = 2", "indexed", "eq(a)|eq(b)", "", ""},
		{"lower(t) = 'x'", "indexed", "eq(lower(t))", "", ""},
		{"t LIKE 'abc%'", "indexed", "prefix(t)", "", ""},
		{"t ILIKE 'Ab%'", "indexed", "prefix(lower(t))", "", ""},
		{"tags @> ARRAY['x']", "indexed", "has(tags)", "", ""},
		{"a % 2 = 0", "indexed", "eq(a % const)", "", ""},
		{"flag", "indexed", "eq(flag)", "", ""},
		{"a = 1 AND b <> 3", "residual", "eq(a)", "b <> '3'", "NOT, <>"},
		{"a = 1 AND t LIKE '%x' AND n <> 2", "residual", "eq(a)", "t LIKE '%x'|n <> '2'", "NOT, <>"},
		{"t LIKE 'ab%c'", "residual", "prefix(t)", "t LIKE 'ab%c'", "LIKE 'abc%d'"},
		{"a <> 1", "unindexed", "", "a <> '1'", "NOT, <>"},
		{"a NOT IN (1, 2)", "unindexed", "", NULL, "NOT, <>"},
		{"a IS DISTINCT FROM 1", "unindexed", "", "(a IS DISTINCT FROM '1')", "NOT, <>"},
		{"NOT (a = 1 AND b = 2)", "unindexed", "", "NOT (a = '1' AND b = '2')", "NOT, <>"},
		{"a = 1 OR b <> 2", "unindexed", "", "(a = '1' OR b <> '2')", "OR: "},
		{"t LIKE '%x'", "unindexed", "", "t LIKE '%x'", "LIKE '%...'"},
		{"t ~ '^ab'", "unindexed", "", "t ~ '^ab'", "regular expressions"},
		{"a = b", "unindexed", "", "a = b", "two columns"},
		{"a < b AND c = 1", "residual", "eq(c)", "a < b", "two columns"},
		{"j @> '{\"k\": 1}'", "unindexed", "", NULL, "jsonb operators"},
		{"j->>'k' = 'v'", "indexed", "eq(j ->> const)", "", ""},
	};
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		const struct expect *x = &all[i];
		const char *where = x->where != NULL ? x->where : "(none)";
		enum explain_result result;
		json_t *root = answer(x->where, &result);
		if (!CHECK(root != NULL)) {
			printf("  %s\n", where);
			continue;
		}
		bool fine = CHECK_STR(str(root, "cost"), x->cost);
		fine = CHECK_STR(list(root, "index"), x->index) && fine;
		fine = (x->evaluated == NULL || CHECK_STR(list(root, "evaluated"), x->evaluated)) && fine;
		if (!fine)
			printf("  %s\n", where);
		check_advice(root, x->advice, where);
		CHECK_STR(str(root, "table"), "public.things");
		CHECK((x->where == NULL) == (str(root, "condition")[0] == '\0') && (x->where == NULL) == (str(root, "canonical")[0] == '\0'));
		json_decref(root);
	}
}

/* 1,024 places are indexed, more aren't. */
static void test_lists(void)
{
	struct buf where = BUF_INIT(1u << 16);
	enum explain_result result;
	for (int n = 1024; n <= 1025; n++) {
		buf_reset(&where);
		for (int i = 0; i < n; i++)
			buf_printf(&where, "%s%d", i == 0 ? "a IN (" : ",", i);
		buf_putc(&where, ')');
		json_t *root = answer(where.data, &result);
		CHECK_STR(str(root, "cost"), n == 1024 ? "indexed" : "unindexed");
		check_advice(root, n == 1024 ? "" : "a list", "a long list");
		json_decref(root);
	}
	buf_clear(&where);
}

static void test_subqueries(void)
{
	enum explain_result result;
	json_t *root = answer("a IN (SELECT thing FROM members WHERE who = $1)", &result);
	CHECK_STR(str(root, "cost"), "indexed");
	CHECK_STR(list(root, "index"), "eq(a)");
	check_advice(root, "", "limited by who asks");
	const json_t *sub = json_array_get(json_object_get(root, "subqueries"), 0);
	CHECK_STR(str(sub, "table"), "public.members");
	CHECK_STR(str(sub, "cost"), "indexed");
	CHECK_STR(list(sub, "index"), "eq(who)");
	CHECK(strstr(str(sub, "selects"), "\"members\"") != NULL && strstr(str(sub, "rotates"), "409") != NULL);
	json_decref(root);

	root = answer("a IN (SELECT thing FROM members)", &result);
	check_advice(root, "a subquery's own condition has no equality", "for everybody");
	CHECK_STR(str(json_array_get(json_object_get(root, "subqueries"), 0), "cost"), "all");
	json_decref(root);

	root = answer("a IN (SELECT thing FROM members WHERE who = $1 AND grp IN (SELECT id FROM groups WHERE title LIKE '%x'))", &result);
	const json_t *subs = json_object_get(root, "subqueries");
	CHECK_INT(json_array_size(subs), 2);
	CHECK_STR(list(json_array_get(subs, 0), "index"), "eq(who, grp)");
	CHECK_STR(str(json_array_get(subs, 1), "table"), "public.groups");
	CHECK_INT(json_integer_value(json_object_get(json_array_get(subs, 1), "depth")), 2);
	check_advice(root, "LIKE '%...'", "inside");
	json_decref(root);

	root = answer("a NOT IN (SELECT thing FROM members WHERE who = $1)", &result);
	CHECK_STR(str(root, "cost"), "unindexed");
	json_decref(root);
	root = answer("EXISTS (SELECT 1 FROM members WHERE who = $1)", &result);
	CHECK(root != NULL);
	json_decref(root);
}

static void test_refused(void)
{
	enum explain_result result;
	CHECK(answer("nosuch = 1", &result) == NULL && result == EXPLAIN_REFUSED);
	CHECK(answer("a = ", &result) == NULL && result == EXPLAIN_REFUSED);
	CHECK(answer("now() > ts", &result) == NULL && result == EXPLAIN_REFUSED);
	CHECK(answer("a IN (SELECT x FROM elsewhere)", &result) == NULL && result == EXPLAIN_LACKS);
}

int main(void)
{
	log_init(LOG_EMERGENCY);
	things = table_make(10, "public", "things", "id:23:pk0 a:23 b:23 c:20 n:1700 t:25 flag:16 tags:1009 j:3802 ts:1114");
	members = table_make(11, "public", "members", "who:25:pk0 thing:23 grp:23");
	groups = table_make(12, "public", "groups", "id:23:pk0 title:25");
	RUN(test_conditions);
	RUN(test_lists);
	RUN(test_subqueries);
	RUN(test_refused);
	pg_table_unref(things);
	pg_table_unref(members);
	pg_table_unref(groups);
	return check_done("explain");
}
