/*
 * test_pool.c - evaluation pools: sharing and release of nodes, folding, null semantics, what fails and what
 * must not be reached.
 */
#include "pool_test.h"
#include "where/catalog.h"

static struct pg_table *table;

static const struct row plain = {.texts = {
	[COL_ID] = "1", [COL_A] = "5", [COL_B] = "0", [COL_C] = "7", [COL_F] = "1.5", [COL_N] = "10.50", [COL_T] = "Straße",
	[COL_V] = "abc", [COL_BC] = "ab   ", [COL_FLAG] = "t", [COL_TAGS] = "{x,y,NULL}", [COL_NUMS] = "{{1,2,3},{4,5,6}}",
	[COL_MOOD] = "ok", [COL_DOM] = "5", [COL_BOX] = "(1,1),(0,0)", [COL_J] = "{\"k\": 1}", [COL_OID] = "4294967295",
}};
static const struct row empty; /* all NULL */

/* The answer for a row, or "refused" by the parser, or "bad" by the pool. Nothing may be left of it. */
static const char *answer(const char *text, const struct row *row)
{
	struct where *w = test_parse(table, text, false);
	struct where_pool *p = where_pool_new(table);
	char reason[WHERE_REASON_MAX];
	uint32_t id;
	const char *got = "refused";
	if (w != NULL && where_pool_add(p, where_root(w), &id, reason) != 0)
		got = "bad";
	else if (w != NULL) {
		where_free(w); /* nothing of it may be needed from here on */
		w = NULL;
		where_pool_row(p, test_fetch, (void *)(uintptr_t)row);
		got = test_answer(where_pool_eval(p, id));
		if (strcmp(got, "error") == 0)
			CHECK(where_pool_reason(p)[0] != '\0');
		where_pool_unref(p, id);
	}
	CHECK_INT(where_pool_nodes(p), 0);
	where_free(w);
	where_pool_free(p);
	return got;
}

static void test_logic(void)
{
	CHECK_STR(answer("a = 5", &plain), "t");
	CHECK_STR(answer("a = 5", &empty), "null");
	CHECK_STR(answer("a = 6 AND 1 / b = 1", &plain), "f");
	CHECK_STR(answer("1 / b = 1 AND a = 6", &plain), "f");
	CHECK_STR(answer("a = 5 OR 1 / b = 1", &plain), "t");
	CHECK_STR(answer("1 / b = 1 OR a = 5", &plain), "t");
	CHECK_STR(answer("a = 5 AND NULL", &plain), "null");
	CHECK_STR(answer("a = 6 AND NULL", &plain), "f");
	CHECK_STR(answer("NOT (a = 5 AND flag)", &plain), "f");
	CHECK_STR(answer("NOT (a = 5 AND flag)", &empty), "null");
	CHECK_STR(answer("(a = 5) IS NOT TRUE", &empty), "t");
	CHECK_STR(answer("(a = 5) IS UNKNOWN", &empty), "t");
	CHECK_STR(answer("flag IS NOT FALSE", &plain), "t");
	CHECK_STR(answer("flag IS FALSE", &empty), "f");
	CHECK_STR(answer("a IS DISTINCT FROM 5", &plain), "f");
	CHECK_STR(answer("a IS DISTINCT FROM 5", &empty), "t");
	CHECK_STR(answer("a IS NOT DISTINCT FROM b", &empty), "t");
	CHECK_STR(answer("a IS NOT DISTINCT FROM NULL", &plain), "f");
}

/* A failure is unknown: beside what decides it is nothing, and where unknown would decide it stays a failure. */
static void test_undecided(void)
{
	struct row missing = plain;
	missing.texts[COL_T] = TEXT_MISSING;
	CHECK_STR(answer("(a <> 10 / b AND NULL) OR t = 'Straße'", &plain), "t");
	CHECK_STR(answer("a NOT IN (10 / b, NULL) OR t = 'Straße'", &plain), "t");
	CHECK_STR(answer("(10 / b BETWEEN NULL AND 1) OR t = 'Straße'", &plain), "t");
	CHECK_STR(answer("(a <> 10 / b AND NULL) OR t = 'x'", &plain), "error");
	CHECK_STR(answer("1 / b = 1 OR a = 6", &plain), "error");
	CHECK_STR(answer("1 / b = 1 AND a = 5", &plain), "error");
	CHECK_STR(answer("1 / b = 1 AND NULL", &plain), "error");
	CHECK_STR(answer("NOT (1 / b = 1)", &plain), "error");
	CHECK_STR(answer("NOT (1 / b = 1 AND a = 6)", &plain), "t");
	CHECK_STR(answer("NOT (1 / b = 1 OR a = 5)", &plain), "f");
	CHECK_STR(answer("a IN (10 / b, 5)", &plain), "t");
	CHECK_STR(answer("a IN (10 / b, 6)", &plain), "error");
	CHECK_STR(answer("a IN (10 / b, c - 2)", &plain), "t");
	CHECK_STR(answer("a NOT IN (10 / b, 5)", &plain), "f");
	CHECK_STR(answer("a BETWEEN 10 / b AND 4", &plain), "f");
	CHECK_STR(answer("a BETWEEN 10 / b AND 6", &plain), "error");
	CHECK_STR(answer("a NOT BETWEEN 10 / b AND 4", &plain), "t");
	CHECK_STR(answer("(a, 1 / b) = (6, 1)", &plain), "f");
	CHECK_STR(answer("(1 / b, a) <> (1, 6)", &plain), "t");
	CHECK_STR(answer("(1 / b, a) IS NULL", &plain), "f");
	CHECK_STR(answer("(1 / b, a) IS NULL", &empty), "t");
	CHECK_STR(answer("t LIKE ANY (ARRAY['x' || chr(92), 'Str%'])", &plain), "t");
	CHECK_STR(answer("t LIKE ANY (ARRAY['Str' || chr(92), 'x%'])", &plain), "error");
	CHECK_STR(answer("t NOT LIKE ALL (ARRAY['Str' || chr(92), 'Str%'])", &plain), "f");
	CHECK_STR(answer("a = ANY (ARRAY[10 / b, 5])", &plain), "error"); /* there is no array */
	CHECK_STR(answer("10 / b = ANY (ARRAY[1, 5])", &plain), "error");
	CHECK_STR(answer("t = 'x' OR a = 5", &missing), "t");
	CHECK_STR(answer("t = 'x' OR a = 6", &missing), "error");
	/* Unknown would decide here. */
	CHECK_STR(answer("(1 / b = 1) IS NULL", &plain), "error");
	CHECK_STR(answer("(1 / b = 1) IS NOT TRUE", &plain), "error");
	CHECK_STR(answer("(1 / b = 1) IS UNKNOWN", &plain), "error");
	CHECK_STR(answer("(1 / b = 1 AND a = 6) IS NOT TRUE", &plain), "t");
	CHECK_STR(answer("(1 / b = 1) IS DISTINCT FROM true", &plain), "error");
	CHECK_STR(answer("coalesce(1 / b = 1, true)", &plain), "error");
	CHECK_STR(answer("CASE WHEN 1 / b = 1 THEN false ELSE true END", &plain), "error");
	/* An SQL function that Postgres inlines: its cast fails beside a NULL as well. */
	CHECK_STR(answer("date_part(t, d) IS NULL", &(struct row){.texts = {[COL_D] = "5874897-12-31"}}), "error");
	CHECK_STR(answer("date_part(t, d) IS NULL", &(struct row){.texts = {[COL_D] = "2004-10-19"}}), "t");
	CHECK_STR(answer("date_part(t, d) IS NULL", &(struct row){.texts = {[COL_T] = "year"}}), "t");
	CHECK_STR(answer("date_part(NULL, d) IS NULL", &(struct row){.texts = {[COL_D] = "5874897-12-31"}}), "t");
	/* A NULL that only we compute beforehand saves nothing beside it: timetz() of a timestamptz is stable. */
	CHECK_STR(answer("(timetz('-infinity'::timestamptz) + f * '3 days'::interval) IS NULL",
	                 &(struct row){.texts = {[COL_F] = "-1e188"}}), "error");
	CHECK_STR(answer("(timetz('-infinity'::timestamptz) + f * '3 days'::interval) IS NULL", &(struct row){.texts = {[COL_F] = "2"}}), "t");
	CHECK_STR(answer("1 / b * array_position('{2024-03-31}'::timestamp[], '2023-01-01'::text::timestamp) IS NULL",
	                 &(struct row){.texts = {[COL_B] = "0"}}), "error");
	CHECK_STR(answer("1 / b * array_position('{3}'::int[], '4'::text::int) IS NULL", &(struct row){.texts = {[COL_B] = "0"}}), "t");
	CHECK_STR(answer("(NULL::timetz + f * '3 days'::interval) IS NULL", &(struct row){.texts = {[COL_F] = "-1e188"}}), "t");
	/* A constant that fails and isn't immutable: only if it is needed. */
	CHECK_STR(answer("ts > date_trunc('x', '2020-01-01'::timestamptz) OR a = 5", &plain), "t");
	CHECK_STR(answer("a = 5 OR ts > date_trunc('x', '2020-01-01'::timestamptz)", &plain), "t");
	CHECK_STR(answer("ts > date_trunc('x', '2020-01-01'::timestamptz) AND a = 5", &plain), "error");
	CHECK_STR(answer("ts > date_trunc('x', '2020-01-01'::timestamptz)", &plain), "refused");
	CHECK_STR(answer("1 / 0 = 1 OR a = 5", &plain), "refused"); /* the planner computes it */
	CHECK_STR(answer("true OR 1 / 0 = 1", &plain), "t");
	CHECK_STR(answer("a = 5 OR true OR 1 / 0 = 1", &plain), "t");
}

static void test_lazy(void)
{
	CHECK_STR(answer("CASE WHEN a = 5 THEN flag ELSE 1 / b = 1 END", &plain), "t");
	CHECK_STR(answer("CASE WHEN a = 6 THEN flag ELSE 1 / b = 1 END", &plain), "error");
	CHECK_STR(answer("CASE WHEN a = 6 THEN 1 / (a - a) = 1 ELSE flag END", &plain), "t");
	CHECK_STR(answer("CASE WHEN a = 5 THEN 1 / (a - a) = 1 ELSE flag END", &plain), "error");
	CHECK_STR(answer("CASE WHEN a = 6 THEN true END", &plain), "null");
	CHECK_STR(answer("CASE a WHEN 5 THEN 'x' WHEN 6 THEN 'y' END = 'x'", &plain), "t");
	CHECK_STR(answer("coalesce(a, 1 / (a - a)) = 5", &plain), "t");
	CHECK_STR(answer("coalesce(a, 1 / (a - a)) = 5", &empty), "null");
	CHECK_STR(answer("coalesce(NULL, a, 3) = 3", &empty), "t");
	CHECK_STR(answer("1 / 0 = 1", &plain), "refused");
	CHECK_STR(answer("a = 1 / 0", &plain), "refused");
	CHECK_STR(answer("a = 6 AND b = 1 / (a - a)", &plain), "f");
	CHECK_STR(answer("a = 5 AND b = 1 / (a - a)", &plain), "error");
	CHECK_STR(answer("a = 1 / 0 + NULL", &plain), "refused");
	CHECK_STR(answer("1 / b > NULL", &plain), "null"); /* as the planner has it */
	CHECK_STR(answer("1 / b = 1 AND false", &plain), "f");
	CHECK_STR(answer("nullif(a, 5) IS NULL", &plain), "t");
	CHECK_STR(answer("nullif(a, NULL) = 5", &plain), "t");
	CHECK_STR(answer("nullif(NULL, 1 / b) IS NULL", &plain), "t");
	CHECK_STR(answer("greatest(a, NULL, c, 2) = 7", &plain), "t");
	CHECK_STR(answer("least(a, NULL, c, 2) = 2", &plain), "t");
	CHECK_STR(answer("greatest(t, 'z', v) = 'z'", &plain), "t");
	CHECK_STR(answer("greatest(a, b) IS NULL", &empty), "t");
}

static void test_lists(void)
{
	CHECK_STR(answer("a IN (1, 5)", &plain), "t");
	CHECK_STR(answer("a IN (1, 6)", &plain), "f");
	CHECK_STR(answer("a IN (1, NULL)", &plain), "null");
	CHECK_STR(answer("a IN (5, NULL)", &plain), "t");
	CHECK_STR(answer("a NOT IN (1, 6)", &plain), "t");
	CHECK_STR(answer("a NOT IN (1, NULL)", &plain), "null");
	CHECK_STR(answer("a IN (1, 2, 3, 4, 5, 6, 7, 8, 9)", &plain), "t");
	CHECK_STR(answer("a IN (1, 2, 3, 4, 8, 6, 7, 9)", &plain), "f");
	CHECK_STR(answer("a IN (1, 2, 3, 4, 8, 6, 7, NULL)", &plain), "null");
	CHECK_STR(answer("a NOT IN (1, 2, 3, 4, 8, 6, 7, 9)", &plain), "t");
	CHECK_STR(answer("a <> ALL (ARRAY[1, 2, 3, 4, 8, 6, 7, 9])", &plain), "t");
	CHECK_STR(answer("a <> ALL (ARRAY[1, 2, 3, 4, 8, 6, 7, NULL])", &plain), "null");
	CHECK_STR(answer("a <> ALL (ARRAY[1, 2, 3, 4, 8, 6, 7, 5])", &plain), "f");
	CHECK_STR(answer("a IN (1, 2)", &empty), "null");
	CHECK_STR(answer("a IN (b, 5)", &plain), "t");
	CHECK_STR(answer("a IN (b, c, 1, 2)", &plain), "f");
	CHECK_STR(answer("a IN (b + 5, c)", &plain), "t");
	CHECK_STR(answer("t IN ('x', 'Straße', 'y', 'z', 'w', 'v')", &plain), "t");
	CHECK_STR(answer("n IN (10.5, 3, 4, 5, 6, 7)", &plain), "t");
	CHECK_STR(answer("a = ANY ('{1,5}')", &plain), "t");
	CHECK_STR(answer("a = ANY ('{}'::int[])", &empty), "f");
	CHECK_STR(answer("a > ALL ('{}'::int[])", &empty), "t");
	CHECK_STR(answer("a > ALL ('{1,2}')", &plain), "t");
	CHECK_STR(answer("a > ALL ('{1,NULL}')", &plain), "null");
	CHECK_STR(answer("a > ALL ('{9,NULL}')", &plain), "f");
	CHECK_STR(answer("'x' = ANY (tags)", &plain), "t");
	CHECK_STR(answer("'z' = ANY (tags)", &plain), "null");
	CHECK_STR(answer("3 = ANY (nums)", &plain), "t");
}

static void test_arrays(void)
{
	CHECK_STR(answer("nums[2][3] = 6", &plain), "t");
	CHECK_STR(answer("nums[2] IS NULL", &plain), "t");
	CHECK_STR(answer("nums[3][1] IS NULL", &plain), "t");
	CHECK_STR(answer("nums[a][1] IS NULL", &empty), "t");
	CHECK_STR(answer("nums[2:2] = '{{4,5,6}}'", &plain), "t");
	CHECK_STR(answer("nums[:1][2:] = '{{2,3}}'", &plain), "t");
	CHECK_STR(answer("nums[0:9][3:3] = '{{3},{6}}'", &plain), "t");
	CHECK_STR(answer("nums[5:6] = '{}'", &plain), "t");
	CHECK_STR(answer("nums[1:NULL] IS NULL", &plain), "t");
	CHECK_STR(answer("ARRAY[a, b, NULL] = '{5,0,NULL}'", &plain), "t");
	CHECK_STR(answer("ARRAY[[a], [b]] = '{{5},{0}}'", &plain), "t");
	CHECK_STR(answer("ARRAY[nums, nums] IS NULL", &plain), "f");
	CHECK_STR(answer("ARRAY[nums, '{1}'] IS NULL", &plain), "error");
	CHECK_STR(answer("ARRAY[nums, nums] = '{}'", &empty), "t");
	CHECK_STR(answer("nums::bigint[] = '{{1,2,3},{4,5,6}}'", &plain), "t");
	CHECK_STR(answer("nums::text[] @> ARRAY['4']", &plain), "t");
	CHECK_STR(answer("tags::int[] IS NULL", &plain), "error");
	CHECK_STR(answer("tags @> ARRAY['x']", &plain), "t");
}

static void test_rows(void)
{
	CHECK_STR(answer("(a, b) = (5, 0)", &plain), "t");
	CHECK_STR(answer("(a, b) < (5, 1)", &plain), "t");
	CHECK_STR(answer("(a, b) <= (5, 0)", &plain), "t");
	CHECK_STR(answer("(a, b) > (5, 0)", &plain), "f");
	CHECK_STR(answer("(a, b) >= (4, NULL)", &plain), "t");
	CHECK_STR(answer("(a, b) >= (5, NULL)", &plain), "null");
	CHECK_STR(answer("(t, c) < ('T', 1)", &plain), "t");
	CHECK_STR(answer("(a, b) IN ((1, 2), (5, 0))", &plain), "t");
	CHECK_STR(answer("(a, b) IS NULL", &empty), "t");
	CHECK_STR(answer("(a, box) IS NOT NULL", &plain), "t");
	struct row half = plain;
	half.texts[COL_A] = NULL;
	CHECK_STR(answer("(a, b) IS NULL", &half), "f");
	CHECK_STR(answer("(a, b) IS NOT NULL", &half), "f");
}

/* What the parser makes of row comparisons is its affair: this is the node by itself. */
static const char *row_compare(const char *pairs, const char *op, const struct row *row)
{
	struct where *w = test_parse(table, pairs, false); /* x < y AND x < y */
	const struct where_node *and = where_root(w), *l = and->args[0], *r = and->args[1];
	const struct where_node *args[4] = {l->args[0], r->args[0], l->args[1], r->args[1]};
	struct where_oper ops[2] = {*l->oper, *r->oper};
	const struct where_oper *op_list[2] = {&ops[0], &ops[1]};
	ops[0].name = ops[1].name = op;
	struct where_node n = {.kind = WHERE_ROW_COMPARE, .nargs = 4, .args = args, .row_ops = op_list, .type = and->type,
	                       .collation = r->collation, .typmod = -1};
	struct where_pool *p = where_pool_new(table);
	char reason[WHERE_REASON_MAX];
	uint32_t id;
	const char *got = "bad";
	if (where_pool_add(p, &n, &id, reason) == 0) {
		where_pool_row(p, test_fetch, (void *)(uintptr_t)row);
		got = test_answer(where_pool_eval(p, id));
		where_pool_unref(p, id);
	}
	CHECK_INT(where_pool_nodes(p), 0);
	where_pool_free(p);
	where_free(w);
	return got;
}

static void test_row_compare(void)
{
	CHECK_STR(row_compare("a < 5 AND t < 'Z'", "<", &plain), "t");
	CHECK_STR(row_compare("a < 5 AND t < 'A'", "<", &plain), "f");
	CHECK_STR(row_compare("a < 5 AND t < 'Straße'", "<", &plain), "f");
	CHECK_STR(row_compare("a < 5 AND t < 'Straße'", "<=", &plain), "t");
	CHECK_STR(row_compare("a < 5 AND t < 'Straße'", ">=", &plain), "t");
	CHECK_STR(row_compare("a < 5 AND t < 'Straße'", ">", &plain), "f");
	CHECK_STR(row_compare("a < 4 AND t < 'Z'", ">", &plain), "t");
	CHECK_STR(row_compare("a < 5 AND t < NULL", ">", &plain), "null");
	CHECK_STR(row_compare("a < 4 AND t < NULL", ">", &plain), "t");
	CHECK_STR(row_compare("c < 7::int AND 1 / b < 1", "<", &plain), "error");
	CHECK_STR(row_compare("c < 8::int AND 1 / b < 1", "<", &plain), "t");
	CHECK_STR(row_compare("a < 1 AND 1 / (b - b) < 1", "<", &empty), "null");
}

static void test_types(void)
{
	CHECK_STR(answer("mood = 'ok'", &plain), "t");
	CHECK_STR(answer("mood > 'sad'", &plain), "t");
	CHECK_STR(answer("mood IN ('ok', 'happy')", &plain), "t");
	CHECK_STR(answer("mood < 'ok'", &plain), "f");
	CHECK_STR(answer("ARRAY[mood] = '{ok}'", &plain), "t");
	CHECK_STR(answer("'{sad,ok}'::mood[] @> ARRAY[mood, mood]", &plain), "t");
	CHECK_STR(answer("dom = 5", &plain), "t");
	CHECK_STR(answer("dom IN (5, 6)", &plain), "t");
	CHECK_STR(answer("box IS NULL", &plain), "f");
	CHECK_STR(answer("box IS NOT NULL", &empty), "f");
	CHECK_STR(answer("bc = 'ab'", &plain), "t");
	CHECK_STR(answer("v ILIKE 'A%'", &plain), "t");
	CHECK_STR(answer("t NOT ILIKE '%RASS%'", &plain), "t");
	CHECK_STR(answer("t ILIKE 'STRA_E'", &plain), "t");
	CHECK_STR(answer("a::text = '5'", &plain), "t");
	CHECK_STR(answer("t::int = 5", &plain), "error");
	CHECK_STR(answer("n = 10.5", &plain), "t");
	CHECK_STR(answer("o = 4294967295", &plain), "t");
	CHECK_STR(answer("o::int = -1", &plain), "t");
	CHECK_STR(answer("(-1)::int::oid = o", &plain), "t");
	CHECK_STR(answer("c = a + 2", &plain), "t");
	struct row missing = plain, broken = plain;
	missing.texts[COL_A] = TEXT_MISSING;
	CHECK_STR(answer("a = 5", &missing), "error");
	CHECK_STR(answer("a IS NULL", &missing), "error");
	CHECK_STR(answer("flag OR a = 5", &missing), "t");
	broken.texts[COL_A] = "five";
	CHECK_STR(answer("a = 5", &broken), "error");
	CHECK_STR(answer("a IS NULL", &broken), "f");
}

static uint32_t add(struct where_pool *p, const char *text)
{
	struct where *w = test_parse(table, text, false);
	char reason[WHERE_REASON_MAX];
	uint32_t id = 0;
	CHECK(w != NULL && where_pool_add(p, where_root(w), &id, reason) == 0);
	where_free(w);
	return id;
}

static int fetched;

static bool counting_fetch(void *ctx, uint16_t column, struct where_text *out)
{
	fetched++;
	return test_fetch(ctx, column, out);
}

static void test_sharing(void)
{
	struct where_pool *p = where_pool_new(table);
	uint32_t x = add(p, "lower(t) = 'abc'"), y = add(p, "lower(t) = 'abc'"), z = add(p, "lower(t) LIKE 'x%' AND mood = 'ok'");
	CHECK_INT(x, y);
	size_t nodes = where_pool_nodes(p);
	uint32_t i = add(p, "t ILIKE 'X%'"); /* LIKE 'x%' over lower(t): there already */
	CHECK_INT(where_pool_nodes(p), nodes);
	where_pool_row(p, counting_fetch, (void *)(uintptr_t)&plain);
	CHECK_STR(test_answer(where_pool_eval(p, x)), "f");
	CHECK_STR(test_answer(where_pool_eval(p, z)), "f");
	CHECK_STR(test_answer(where_pool_eval(p, i)), "f");
	CHECK_INT(fetched, 1);
	CHECK_INT(where_pool_column(p), -1);
	uint32_t one = add(p, "a = 1 + 1"), other = add(p, "a = 2"), in = add(p, "a IN (2)");
	CHECK(one == other && other == in);
	uint32_t mood = add(p, "mood = 'ok'"), again = add(p, "mood = 'ok'"); /* each parsed with a type of its own */
	CHECK_INT(mood, again);
	uint32_t numeric = add(p, "n = 1.0"), scaled = add(p, "n = 1.00");
	CHECK(numeric != scaled);
	uint32_t all[] = {x, y, z, i, one, other, in, numeric, scaled, mood, again};
	for (size_t k = 0; k < sizeof all / sizeof *all; k++)
		where_pool_unref(p, all[k]);
	CHECK_INT(where_pool_nodes(p), 0);
	x = add(p, "a = 3");
	where_pool_free(p); /* what is still in it goes with it */
}

static void test_reasons(void)
{
	struct where_pool *p = where_pool_new(table);
	struct row missing = plain;
	missing.texts[COL_T] = TEXT_MISSING;
	uint32_t x = add(p, "1 / b = 1"), y = add(p, "t = 'x'");
	where_pool_row(p, test_fetch, &missing);
	CHECK_STR(test_answer(where_pool_eval(p, x)), "error");
	CHECK_STR(where_pool_reason(p), "division by zero");
	CHECK_INT(where_pool_column(p), -1);
	CHECK_STR(test_answer(where_pool_eval(p, y)), "error");
	CHECK_INT(where_pool_column(p), COL_T);
	CHECK_STR(test_answer(where_pool_eval(p, x)), "error"); /* remembered, with its reason */
	CHECK_STR(where_pool_reason(p), "division by zero");
	where_pool_unref(p, x);
	where_pool_unref(p, y);
	where_pool_free(p);
}

/* Small values for many conditions: nodes stay small, and all of them go. */
static void test_many(void)
{
	enum { MANY = 20000 };
	struct where_pool *p = where_pool_new(table);
	uint32_t *ids = mem_alloc(MANY * sizeof *ids);
	struct where *w = test_parse(table, "a < 0", false);
	struct where_node *n = (struct where_node *)(uintptr_t)where_root(w), *k = (struct where_node *)(uintptr_t)n->args[1];
	char reason[WHERE_REASON_MAX];
	for (int i = 0; i < MANY; i++) {
		k->value.u.i = i;
		CHECK(where_pool_add(p, n, &ids[i], reason) == 0);
	}
	CHECK_INT(where_pool_nodes(p), 2 * MANY + 1);
	where_pool_row(p, test_fetch, (void *)(uintptr_t)&plain);
	int found = 0;
	for (int i = 0; i < MANY; i++)
		found += where_pool_eval(p, ids[i])->u.i != 0;
	CHECK_INT(found, MANY - 6);
	for (int i = 0; i < MANY; i++)
		where_pool_unref(p, ids[i]);
	CHECK_INT(where_pool_nodes(p), 0);
	free(ids);
	where_free(w);
	where_pool_free(p);
}

int main(void)
{
	table = test_table();
	RUN(test_logic);
	RUN(test_undecided);
	RUN(test_lazy);
	RUN(test_lists);
	RUN(test_arrays);
	RUN(test_rows);
	RUN(test_row_compare);
	RUN(test_types);
	RUN(test_sharing);
	RUN(test_reasons);
	RUN(test_many);
	pg_table_unref(table);
	return check_done("pool");
}
