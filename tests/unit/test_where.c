/*
 * test_where.c - conditions: what is accepted, how refusals read, the SQL that is made, the stored form.
 *
 * Whether the evaluation is Postgres's is the truth test's business (tests/truth).
 */
#include "check.h"
#include "shape_test.h"
#include "where/pool.h"
#include "where/where.h"

static struct pg_table *table;
static char message[WHERE_MESSAGE_MAX];

/* The SQL, or the message. */
static const char *sql_with(const char *text, const struct where_params *params, bool subset)
{
	static struct buf out = BUF_INIT(1u << 20);
	struct where *w, *again;
	struct err e = {0};
	buf_reset(&out);
	if (where_parse(table, NULL, text, strlen(text), params, NULL, subset, &w, message) != 0)
		return message;
	where_sql(w, &out);
	/* The stored form comes back as itself, and means the same. */
	struct buf a = BUF_INIT(WHERE_CANONICAL_MAX), b = BUF_INIT(WHERE_CANONICAL_MAX), sql = BUF_INIT(1u << 20);
	where_canonical(w, &a);
	if (CHECK(where_load(table, NULL, a.data, a.len, &again, &e) == 0)) {
		where_canonical(again, &b);
		where_sql(again, &sql);
		CHECK_STR(b.data, a.data);
		CHECK_STR(sql.data, out.data);
		where_free(again);
	} else {
		printf("%s: %s\n%s\n", text, e.text, a.data);
	}
	/* Damaged at any place it is refused or still well-formed, never worse. */
	for (size_t i = 3; i < a.len && a.len < 600; i++) {
		char was = a.data[i];
		a.data[i] = (char)(was + 1);
		if (where_load(table, NULL, a.data, a.len, &again, &e) == 0)
			where_free(again);
		a.data[i] = was;
		if (where_load(table, NULL, a.data, i, &again, &e) == 0)
			where_free(again);
	}
	buf_clear(&a);
	buf_clear(&b);
	buf_clear(&sql);
	where_free(w);
	return out.data;
}

static const char *sql(const char *text) { return sql_with(text, NULL, false); }

static const char *sql_params(const char *text, const char *a, const char *b)
{
	struct where_param v[2] = {{a, strlen(a)}, {b, strlen(b)}};
	struct where_params p = {v, b[0] == '\0' ? 1 : 2};
	return sql_with(text, &p, false);
}

static char *canonical(const char *text, const char *param)
{
	struct where_param v = {param, strlen(param)};
	struct where_params p = {&v, 1};
	struct where *w;
	struct buf out = BUF_INIT(1u << 20);
	if (where_parse(table, NULL, text, strlen(text), &p, NULL, false, &w, message) != 0) {
		printf("%s: %s\n", text, message);
		return mem_strdup(text);
	}
	where_canonical(w, &out);
	where_free(w);
	return buf_detach(&out, NULL);
}

static bool same(const char *a, const char *b)
{
	char *x = canonical(a, "1"), *y = canonical(b, "1");
	bool equal = strcmp(x, y) == 0;
	free(x);
	free(y);
	return equal;
}

static void test_sql(void)
{
	CHECK_STR(sql("i4 = 5"), "((\"i4\" OPERATOR(pg_catalog.=) '5'::\"pg_catalog\".\"int4\"))");
	CHECK_STR(sql("i4 = -5"), "((\"i4\" OPERATOR(pg_catalog.=) '-5'::\"pg_catalog\".\"int4\"))");
	CHECK_STR(sql("i4 = - /* 3 */ 5 AND i4 = 0"),
	          "(((\"i4\" OPERATOR(pg_catalog.=) '-5'::\"pg_catalog\".\"int4\") AND (\"i4\" OPERATOR(pg_catalog.=) "
	          "'0'::\"pg_catalog\".\"int4\")))");
	CHECK_STR(sql("i8 = 9000000000"), "((\"i8\" OPERATOR(pg_catalog.=) '9000000000'::\"pg_catalog\".\"int8\"))");
	CHECK_STR(sql("t = 'it''s' || E'\\\\'"),
	          "((\"t\" OPERATOR(pg_catalog.=) ('it''s'::\"pg_catalog\".\"text\" OPERATOR(pg_catalog.||)  "
	          "E'\\\\'::\"pg_catalog\".\"text\")))");
	CHECK_STR(sql("NOT b"), "((NOT \"b\"))");
	CHECK_STR(sql("(a AND b) IS NULL"), "(((\"a\" AND \"b\") IS NULL))");
	CHECK_STR(sql("\"q\"\"q\" IS NULL"), "((\"q\"\"q\" IS NULL))");
	CHECK_STR(sql("i4 IN (1, 2)"), "((\"i4\" OPERATOR(pg_catalog.=) ANY (ARRAY['1'::\"pg_catalog\".\"int4\", "
	                               "'2'::\"pg_catalog\".\"int4\"])))");
	CHECK_STR(sql("t LIKE 'a%'"), "((\"t\" OPERATOR(pg_catalog.~~) 'a%'::\"pg_catalog\".\"text\"))");
	CHECK_STR(sql("items.i4 = 1 AND public.items.i4 = 2"),
	          "(((\"i4\" OPERATOR(pg_catalog.=) '1'::\"pg_catalog\".\"int4\") AND (\"i4\" OPERATOR(pg_catalog.=) "
	          "'2'::\"pg_catalog\".\"int4\")))");
	CHECK_STR(sql("ip IS DISTINCT FROM NULL OR x IS NULL"), "(((\"ip\" IS NOT NULL) OR (\"x\" IS NULL)))");
	CHECK_STR(sql("i4 IS DISTINCT FROM NULL"), "((\"i4\" IS NOT NULL))");
	CHECK_STR(sql_params("i4 = $1 OR t = $2", "7", "x"),
	          "(((\"i4\" OPERATOR(pg_catalog.=) '7'::\"pg_catalog\".\"int4\") OR (\"t\" OPERATOR(pg_catalog.=) "
	          "'x'::\"pg_catalog\".\"text\")))");
	CHECK_STR(sql_params("$1", "true", ""), "('t'::\"pg_catalog\".\"bool\")");
	/* What a client wrote ends where we end it. */
	CHECK_STR(sql_params("t = $1", "'); DROP TABLE x; --", ""),
	          "((\"t\" OPERATOR(pg_catalog.=) '''); DROP TABLE x; --'::\"pg_catalog\".\"text\"))");
	CHECK_STR(sql_params("t = $1", "\\'); DROP TABLE x; --", ""),
	          "((\"t\" OPERATOR(pg_catalog.=)  E'\\\\''); DROP TABLE x; --'::\"pg_catalog\".\"text\"))");
}

static void test_refusals(void)
{
	static const char *const cases[][2] = {
		{"i4 = ", "At location 20: syntax error at end of input"},
		{"i4 = 1; SELECT 1", "unescaped \";\" causing statement split"},
		{"i4 = 1 ORDER BY i4", "malformed query ending with SQL clauses"},
		{"i4 = 1 LIMIT 1", "malformed query ending with SQL clauses"},
		{"i4 = 1 OFFSET 1", "malformed query ending with SQL clauses"},
		{"i4 = 1 UNION SELECT 2", "malformed query ending with SQL clauses"},
		{"i4 = 1 UNION SELECT 2 WHERE true", "malformed query ending with SQL clauses"},
		{"i4 = 1 FETCH FIRST 1 ROW ONLY", "malformed query ending with SQL clauses"},
		{"i4", "WHERE clause must return a boolean"},
		{"NULL", "WHERE clause must return a boolean"},
		{"'x'", "WHERE clause must return a boolean"},
		{"nope = 1", "At location 0: unknown reference nope"},
		{"\"No pe\" = 1", "At location 0: unknown reference \"No pe\""},
		{"x.y = 1", "At location 0: unknown reference x.y"},
		{"ctid = 1", "At location 0: unknown reference ctid"},
		{"i4 = $1", "At location 5: parameter $1 was not provided"},
		{"i4 = 'x'", "At location 5: invalid syntax for type int4: x"},
		{"i4 = '2147483648'", "At location 5: invalid syntax for type int4: 2147483648"},
		{"t = 1", "At location 2: Could not select an operator overload"},
		{"i4 = t", "At location 3: Could not select an operator overload"},
		{"b = 1", "At location 2: Could not select an operator overload"},
		{"b + b = 1", "At location 2: Could not select an operator overload"},
		{"a AND i4", "At location 6: reference i4 of type int4 is not castable to bool"},
		{"NOT i4", "At location 4: reference i4 of type int4 is not castable to bool"},
		{"a AND i4 + 1", "At location 9: function \"+\" returning int4 is not castable to bool"},
		{"i4 IS TRUE", "At location 3: argument of IS TRUE must be bool, not int4"},
		{"t IS NOT FALSE", "At location 2: argument of IS NOT FALSE must be bool, not text"},
		{"3 > ANY (3)", "At location 9: argument of ANY must be an array"},
		{"3 > ALL (i4)", "At location 9: argument of ANY must be an array"},
		{"3 + ANY (ia)", "At location 2: ANY/ALL requires operator that returns bool"},
		{"now() > now()", "At location 0: unknown or unsupported function now/0"},
		{"random() > 0.5", "At location 0: unknown or unsupported function random/0"},
		{"public.lower(t) = 'a'", "At location 0: unknown or unsupported function public.lower/1"},
		{"\"Foo\"(i4) = 1", "At location 0: unknown or unsupported function \"Foo\"/1"},
		{"pg_catalog.\"Lower\"(t) = 'a'", "At location 0: unknown or unsupported function \"Lower\"/1"},
		{"\"a \"\"b\"() = 1", "At location 0: unknown or unsupported function \"a \"\"b\"/0"},
		{"\"1st\"() = 1", "At location 0: unknown or unsupported function \"1st\"/0"},
		{"\"RI_FKey_check_ins\"() = 1", "At location 0: unknown or unsupported function \"RI_FKey_check_ins\"/0"},
		{"\"Of\".\"Mine\"(i4) = 1", "At location 0: unknown or unsupported function \"Of\".\"Mine\"/1"},
		{"été_1(i4) = 1", "At location 0: unknown or unsupported function été_1/1"},
		{"Été(i4) = 1", "At location 0: unknown or unsupported function \"Été\"/1"},
		{"日本(i4) = 1", "At location 0: unknown or unsupported function \"日本\"/1"},
		{"sum(i4) > 1", "At location 0: unknown or unsupported function sum/1"},
		{"count(*) > 1", "At location 0: aggregation is not supported in this context"},
		{"current_user = t", "At location 0: SQLValueFunction is not supported in this context"},
		{"B'101' = i4", "At location 0: BitString values are not supported"},
		{"t::citext = 'x'", "At location 3: unsupported type citext"},
		{"t::numeric(1001) = 1", "At location 3: unsupported type numeric"},
		{"i4 <-> 1", "At location 3: unknown binary operator \"<->\""},
		{"i4 IN (SELECT x FROM y)", "At location 21: the table public.y isn't there"},
		{"ARRAY[1, ARRAY['3', 2 + 2]] = ia", "At location 0: ARRAY types int4[] and int4 cannot be matched"},
		{"(a, b) = (a, b, b)", "At location 7: unequal number of entries in row expressions"},
		{"ip = '1.2.3.4'", "At location 3: Could not select an operator overload"},
		{"concat(ip) = 'x'", "At location 7: values of type inet can only be tested by IS NULL and IS NOT NULL"},
		{"coalesce(ip, ip) IS NULL", "At location 9: values of type inet can only be tested by IS NULL and IS NOT NULL"},
		{"ip::text = 'x'", "At location 0: unknown cast from type inet to type text"},
		{"x::text = 'x'", "At location 0: unknown cast from type xml to type text"},
		{"concat(VARIADIC ta) = 'x'", "At location 0: explicit VARIADIC function calls are not currently supported"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		CHECK_STR(sql(cases[i][0]), cases[i][1]);
	CHECK_STR(sql_with("i4 IN (SELECT x FROM y)", NULL, true), "Subqueries are not allowed in subsets");
	CHECK_STR(sql_params("$1 > 5 AND $1 + 'test' > 10", "6", ""), "At location 16: invalid syntax for type int4: test");
	CHECK_STR(sql_params("$1::int4 = 1 AND $1::text = 'x'", "1", ""), "At location 17: type conflict for $1: int4 and text");
}

static void test_sizes(void)
{
	struct buf b = BUF_INIT(1u << 20);
	for (int i = 0; i < 7000; i++)
		buf_puts(&b, "NOT ");
	buf_puts(&b, "b");
	CHECK(strstr(sql(b.data), "nested") != NULL);
	buf_reset(&b);
	for (int i = 0; i < 30000; i++)
		buf_putc(&b, '(');
	CHECK(strncmp(sql(b.data), "At location", 11) == 0 || strstr(message, "memory") != NULL);
	buf_reset(&b);
	for (int i = 0; i < 3000; i++)
		buf_printf(&b, "%si4 = %d", i > 0 ? " OR " : "", i);
	CHECK(strncmp(sql(b.data), "(((\"i4\"", 7) == 0);
	buf_reset(&b);
	for (int i = 0; i < 2000; i++)
		buf_printf(&b, "%s1", i > 0 ? " + " : "");
	buf_puts(&b, " = i4");
	CHECK(strstr(sql(b.data), "nested") != NULL);
	buf_reset(&b);
	for (int i = 0; i < 65537 - 15; i++)
		buf_putc(&b, ' ');
	CHECK_STR(sql(b.data), "cannot parse query: query size 65537 is bigger than maximum size 65536");
	buf_clear(&b);
}

/* `open` n times, `core`, `close` n times. */
static const char *sql_nested(int n, const char *open, const char *core, const char *close)
{
	struct buf b = BUF_INIT(1u << 20);
	for (int i = 0; i < n; i++)
		buf_puts(&b, open);
	buf_puts(&b, core);
	for (int i = 0; i < n; i++)
		buf_puts(&b, close);
	const char *out = sql(b.data);
	buf_clear(&b);
	return out;
}

/* What a short text or a parameter used often would make large. */
static void test_growth(void)
{
	CHECK(strstr(sql_nested(40, "(", "b", " BETWEEN SYMMETRIC a AND b)"), "too large") != NULL);
	CHECK(strstr(sql_nested(40, "(", "b", " BETWEEN a AND b)"), "too large") != NULL);
	CHECK(strstr(sql_nested(40, "((", "b", ", a) < (a, b))"), "too large") != NULL);
	CHECK(strstr(sql_nested(40, "(", "b", " IN (a, NOT a))"), "too large") != NULL);
	CHECK(strstr(sql_nested(40, "(CASE ", "b", " WHEN a THEN b WHEN b THEN a END)"), "too large") != NULL);
	CHECK(strstr(sql_nested(62, "abs(1.5 + abs(", "i4", "))"), "boolean") != NULL); /* not: too deep */
	CHECK(strncmp(sql_nested(180, "(NOT ", "b", ")"), "((NOT", 5) == 0);           /* and loads again */
	CHECK(strstr(sql_nested(199, "(b = NOT ", "b", ")"), "nested") != NULL);

	struct buf b = BUF_INIT(1u << 20);
	for (int i = 0; i < 2 * 98; i++)
		buf_puts(&b, i == 0 ? "(i4" : i == 98 ? ") < (i4" : ",i4");
	buf_putc(&b, ')');
	CHECK(strncmp(sql(b.data), "(((\"i4\"", 7) == 0);
	buf_reset(&b);
	for (int i = 0; i < 101; i++)
		buf_puts(&b, i > 0 ? ",t" : "concat(t");
	buf_puts(&b, ") = t");
	CHECK_STR(sql(b.data), "At location 0: cannot pass more than 100 arguments to a function");
	buf_reset(&b);
	for (int i = 0; i < 20; i++)
		buf_puts(&b, i > 0 ? " OR t = $1" : "t = $1");
	char *large = mem_alloc((1u << 20) + 1);
	memset(large, 'x', 1u << 20);
	large[1u << 20] = '\0';
	CHECK(strstr(sql_params(b.data, large, ""), "too long with its parameters") != NULL);
	free(large);
	buf_reset(&b);
	for (int i = 0; i < 20000; i++)
		buf_puts(&b, i > 0 ? ",1" : "i4 = ANY ('{1");
	buf_puts(&b, "}')");
	CHECK(strncmp(sql(b.data), "((\"i4\"", 6) == 0);
	buf_clear(&b);
}

static void test_param_bytes(void)
{
	static const struct where_param bad[] = {{"a\xff", 2}, {"\xed\xa0\x80", 3}, {"a\0b", 3}};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct where_params p = {&bad[i], 1};
		CHECK_STR(sql_with("t = $1", &p, false), "At location 4: parameter $1 is not a text in UTF-8");
	}
	static const struct where_param gap[] = {{NULL, 0}, {"x", 1}};
	CHECK_STR(sql_with("t = $1", &(struct where_params){gap, 2}, false), "At location 4: parameter $1 was not provided");
	CHECK(strncmp(sql_with("t = $2", &(struct where_params){gap, 2}, false), "((\"t\"", 5) == 0);
	CHECK_STR(sql_params("t = $70000", "x", ""), "At location 4: parameter $70000 was not provided");
}

/* A row is compared as a record where it isn't written out, and records count NULLs as equal. */
static void test_rows(void)
{
	CHECK_STR(sql("row(a, b) IS NOT DISTINCT FROM NULL"), "('f'::\"pg_catalog\".\"bool\")");
	CHECK_STR(sql("NULL IS DISTINCT FROM row(a, NULL)"), "('t'::\"pg_catalog\".\"bool\")");
	CHECK_STR(sql("nullif(row(a), row(b)) IS NULL"), "At location 7: RowExpr is not supported in this context");
	CHECK_STR(sql("CASE (a, b) WHEN (a, NULL) THEN b END"), "At location 5: RowExpr is not supported in this context");
	/* None is lost among values. */
	static const char *const mixed[] = {
		"i4 NOT IN (9, (1, 2))", "i4 IN ((1, 2), 8, 9)", "i4 IN (8, 9, (1, 2))", "i4 IN (8, ROW(9))", "i4 IN ((i4, 2), 8, 9)",
		"i4 IN ((1, 2))", "i4 NOT IN (i8, 9, 10, (1, 2))", "'x' NOT IN ('y', ('x', 'y'))", "NULL IN (1, (1, 2))",
		"(i4, 2) IN (3, (1, 2))", "(i4, 2) IN ((1, 2), 3)", "i4 BETWEEN (1, 2) AND 3", "i4 BETWEEN 1 AND (2, 3)",
		"(i4, 2) BETWEEN 1 AND (2, 3)", "i4 IS DISTINCT FROM (1, 2)", "(i4, 2) = ANY ('{}')", "CASE i4 WHEN (1, 2) THEN true END",
		"t LIKE (1, 2)", "(i4, 2) || 'x' = 'x'",
	};
	for (size_t i = 0; i < ARRAY_LEN(mixed); i++)
		CHECK(strstr(sql(mixed[i]), "Could not select an operator overload") != NULL);
	static const char *const elsewhere[] = {
		"i4 = ANY (ARRAY[(1, 2)])", "coalesce((1, 2), (1, 2)) IS NULL", "greatest((1, 2), (1, 3)) = 1", "least(1, (1, 3)) = 1",
		"coalesce(1, (1, 2)) = 1", "CASE WHEN b THEN (1, 2) END IS NULL", "CASE WHEN b THEN 1 ELSE (1, 2) END = 1",
		"(1, 2)::text = 'x'", "ARRAY[(1, 2)]::text[] = '{}'", "array_append(ARRAY[1], (1, 2)) = '{}'", "ia[(1, 2)] = 1",
		"(i4, 2) IS TRUE", "NOT (i4, 2)", "(i4, 2) AND b", "(i4, 2)", "- (1, 2) = 1",
	};
	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
		CHECK(sql(elsewhere[i])[0] != '(');
}

static bool holds(const char *condition, const char *text) { return where_sql_holds(sql(condition), text, strlen(text)); }

/* What an error may quote of a client's condition: constants, and no part of one. */
static void test_constants_of_sql(void)
{
	CHECK(holds("t = 'abc' OR i4 = 12", "abc"));
	CHECK(holds("t = 'abc' OR i4 = 12", "12"));
	CHECK(!holds("t = 'abc' OR i4 = 12", "ab") && !holds("t = 'abc'", "bc") && !holds("t = 'abc'", "abcd") && !holds("t = 'abc'", ""));
	CHECK(!holds("t = 'abc'", "pg_catalog") && !holds("t = 'abc'", "t") && !holds("t = 'abc'", "::"));
	CHECK(holds("t = 'x''abc''y'", "x'abc'y") && !holds("t = 'x''abc''y'", "abc"));
	CHECK(holds("t = E'a\\\\b'", "a\\b") && holds("\"q\"\"q\" IS NULL OR t = ''", "") && !holds("\"q\"\"q\" IS NULL", "q\"q"));
	CHECK(holds("t = E'\\\\' OR t = 'z'", "z") && holds("t = '\"' OR t = 'z'", "z"));
}

static bool may_fail(const char *text)
{
	struct where *w;
	if (!CHECK(where_parse(table, NULL, text, strlen(text), NULL, NULL, true, &w, message) == 0)) {
		printf("%s: %s\n", text, message);
		return false;
	}
	bool may = where_may_fail(w);
	where_free(w);
	return may;
}

/* Of a subset's condition that may, it is made sure that it isn't computed for rows that nobody may see. */
static void test_may_fail(void)
{
	static const char *const never[] = {
		"i4 = 5", "i4 IN (1, 2, 3)", "i4 = ANY('{1,2}')", "i4 BETWEEN 1 AND 3 AND t IS NOT NULL", "t LIKE 'a%' OR NOT b", "i4 IS DISTINCT FROM 3",
		"(i4, i8) = (1, 2)",
	};
	static const char *const some[] = {
		"1 / i4 = 2", "t::int4 = 1", "i4 + 1 = 2", "i4 = 3 AND 1 / i4 = 2", "1 / i4 = 2 OR ('2024-01-02'::date)::text = '2024-01-02'",
		"1 / i4 = 2 AND ('2024-01-02'::date)::text = '2024-01-03'", "NULLIF(nullif(('2024-01-02'::date)::text, '2024-01-02'), (1 / i4)::text) IS NULL",
		"ARRAY[t, t] = '{}'", "CASE WHEN b THEN 1 / i4 ELSE 1 END = 1", "(i4, 1 / i4) = (1, 2)",
	};
	for (size_t i = 0; i < ARRAY_LEN(never); i++)
		if (!CHECK(!may_fail(never[i])))
			printf("%s\n", never[i]);
	for (size_t i = 0; i < ARRAY_LEN(some); i++)
		if (!CHECK(may_fail(some[i])))
			printf("%s\n", some[i]);
}

/* Constants that take too much work are refused, however that is made; what is usual isn't near. */
static void test_costly(void)
{
	static const char *const costly[] = {
		"md5(repeat('ab', 49000001)) = 'x'", "t = repeat('a', 20000000)", "t = lpad('a', 20000000)", "t = rpad('a', 5000000, 'xyz')",
		"t = replace(repeat('a', 100000), 'a', repeat('b', 1000))", "repeat('ab', 40000) LIKE '%' || repeat('a_', 500) || 'c%'",
		"factorial(20000) > 1", "power(9.99::numeric, 130000) > 1", "power(repeat('9', 100000)::numeric, 2) > 1",
		"(7 ^ 99999::numeric) * (7 ^ 9999::numeric) > 1",
		"repeat('1', 100000)::numeric * repeat('9', 30000)::numeric > 1", "repeat('ab', 6000000) ~ 'c'",
		"btrim(repeat('ä', 100000), repeat('ö', 5000) || 'ä') = t",
		"sha512(decode(repeat('00', 6000000), 'hex')) = '\\x'", "t = translate(repeat('a', 10000000), 'a', 'b')",
		"i4 = cardinality(string_to_array(repeat('a,', 2000000), ','))", "t = split_part(repeat('a', 1000000), 'a', -1)",
		"true AND t = repeat('a', 20000000)", "b OR t = repeat('a', 20000000)", "CASE WHEN b THEN t = repeat('a', 20000000) END",
		"i4 IN (1, length(repeat('a', 20000000)))",
	};
	for (size_t i = 0; i < ARRAY_LEN(costly); i++)
		if (!CHECK(strstr(sql(costly[i]), "too costly: ") != NULL))
			printf("%s: %.200s\n", costly[i], sql(costly[i]));
	static const char *const usual[] = {
		"t = repeat('a', 10000)", "t LIKE '%' || repeat('a', 1000) || '%'", "md5('x') = t", "i8 > 2 ^ 100::numeric", "i8 = exp(100::numeric)",
		"t ~ '^(a|b)+$' AND 'abc' ~ '(a|b)*c'", "i8 = 123456789.123456789 * 987654321.987654321", "i8 = factorial(100)",
	};
	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		CHECK(sql(usual[i])[0] == '(');
}

/* libpg_query 15 loses integers that are 0 or negative: they are read from the text again. */
static void test_integers(void)
{
	static const char *const cases[][2] = {
		{"-7", "-7"}, {"- - 7", "7"}, {"- - - 7", "-7"}, {"-(7)", "-7"}, {"-(-(-(7)))", "-7"}, {"-/* 8 /* 9 */ 1 */ 7", "-7"},
		{"0", "0"}, {"-0", "0"}, {"00", "0"}, {"-(/*5*/ ((07)))", "-7"}, {"- -- 5\n7", "-7"}, {"-2147483648", "-2147483648"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[100], want[200];
		snprintf(text, sizeof text, "t = $$\xc3\xa9 5'$$ OR i4 = %s", cases[i][0]);
		snprintf(want, sizeof want, "(((\"t\" OPERATOR(pg_catalog.=) '\xc3\xa9 5'''::\"pg_catalog\".\"text\") OR (\"i4\" "
		         "OPERATOR(pg_catalog.=) '%s'::\"pg_catalog\".\"int4\")))", cases[i][1]);
		CHECK_STR(sql(text), want);
	}
	CHECK_STR(sql("'1 2'::interval day to hour = interval '26 hours'"),
	          "((pg_catalog.\"interval\"('P1DT2H'::\"pg_catalog\".\"interval\", '67698687'::\"pg_catalog\".\"int4\") "
	          "OPERATOR(pg_catalog.=) 'PT26H'::\"pg_catalog\".\"interval\"))");
}

static void test_identity(void)
{
	CHECK(same("i4 = 1", "I4  =\n1 -- x"));
	CHECK(same("i4 != 1", "i4 <> 1"));
	CHECK(same("i4 = $1", "i4 = '1'::int4"));
	CHECK(!same("i4 = 1", "i4 = $1"));
	CHECK(!same("i4 = 1", "i4 = 2"));
	CHECK(!same("i4 = 1 + 1", "i4 = 2"));
}

static void test_order_by(void)
{
	static const char *const cases[][2] = {
		{"i4", " ORDER BY \"i4\""},
		{"i4 DESC NULLS LAST, \"q\"\"q\"", " ORDER BY \"i4\" DESC NULLS LAST, \"q\"\"q\""},
		{"i4 ASC NULLS FIRST;", " ORDER BY \"i4\" NULLS FIRST"},
		{"nope", "At location 18: unknown reference nope"},
		{"lower(t)", "At location 18: FuncCall expressions are not allowed in ORDER BY clauses"},
		{"i4::text", "At location 22: TypeName expressions are not allowed in ORDER BY clauses"},
		{"$1", "At location 18: parameter $1 is not supported in ORDER BY clauses"},
		{"i4; SELECT 1", "Unexpected `;` in order by"},
		{"i4 LIMIT 1", "malformed query ending with SQL clauses"},
		{"i4,", "At location 21: syntax error at end of input"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out = BUF_INIT(4096);
		bool uses[32] = {false};
		int rc = where_order_by(table, cases[i][0], strlen(cases[i][0]), NULL, &out, uses, message);
		CHECK_STR(rc == 0 ? out.data : message, cases[i][1]);
		for (uint16_t c = 0; rc == 0 && c < table->ncolumns; c++) {
			const char *name = strcmp(table->columns[c].name, "q\"q") == 0 ? "q\"\"q" : table->columns[c].name;
			CHECK_INT(uses[c], strstr(out.data, name) != NULL);
		}
		buf_clear(&out);
	}
}

/* ---- a few evaluations, to see that parser and pool meet ---- */

static const char *const row[] = {"1", "9000000000", "abc", "t", NULL, "{1,2}", "x", "{a,NULL}"};

static bool fetch(void *ctx, uint16_t column, struct where_text *out)
{
	(void)ctx;
	*out = (struct where_text){row[column], row[column] != NULL ? (uint32_t)strlen(row[column]) : 0, row[column] == NULL};
	return true;
}

static const char *value_of(const char *text)
{
	struct where *w;
	char reason[WHERE_REASON_MAX];
	uint32_t id;
	const char *out = "error";
	if (where_parse(table, NULL, text, strlen(text), NULL, NULL, false, &w, message) != 0)
		return message;
	struct where_pool *p = where_pool_new(table);
	if (where_pool_add(p, where_root(w), &id, reason) == 0) {
		where_pool_row(p, fetch, NULL);
		const struct where_value *v = where_pool_eval(p, id);
		out = v->is == WHERE_NULL ? "null" : v->is == WHERE_ERROR ? "error" : v->u.i ? "true" : "false";
		where_pool_unref(p, id);
	}
	where_free(w);
	where_pool_free(p);
	return out;
}

static void test_values(void)
{
	CHECK_STR(value_of("i4 = 1 AND t = 'abc'"), "true");
	CHECK_STR(value_of("i4 = 1.0 AND i4 < i8"), "true");
	CHECK_STR(value_of("i4 IN (3, 2.5, 1)"), "true");
	CHECK_STR(value_of("i4 NOT IN (3, NULL)"), "null");
	CHECK_STR(value_of("b IS NULL AND (b IS NOT TRUE)"), "true");
	CHECK_STR(value_of("a AND b"), "null");
	CHECK_STR(value_of("2 = ANY(ia)"), "true");
	CHECK_STR(value_of("ia[2] = 2 AND ia[2:] = '{2}'"), "true");
	CHECK_STR(value_of("'b' = ANY(ta)"), "null");
	CHECK_STR(value_of("ta @> '{a}'"), "true");
	CHECK_STR(value_of("(i4, t) < (1, 'b')"), "true");
	CHECK_STR(value_of("CASE i4 WHEN 2 THEN 1/(i4-1) = 1 ELSE t LIKE 'a%' END"), "true");
	CHECK_STR(value_of("10 / (i4 - 1) = 1"), "error");
	CHECK_STR(value_of("i4 = 2 AND 10 / (i4 - 1) = 1"), "false");
	CHECK_STR(value_of("t ILIKE 'AB_' AND length(t) = 3 AND i4 BETWEEN SYMMETRIC 5 AND 0"), "true");
	CHECK_STR(value_of("greatest(i4, 7, NULL) = 7 AND coalesce(b, true)"), "true");
	CHECK_STR(value_of("t::int4 = 1"), "error");
	CHECK_STR(value_of("concat(t, i4, a) = 'abc1t'"), "true");
	CHECK_STR(value_of("'2024-02-29'::date + interval '1 year' = '2025-02-28'"), "true");
}

int main(void)
{
	table = table_make(4711, "public", "items", "i4:23:pk0 i8:20 t:25 a:16:bool b:16:bool ia:1007 q\"q:25 ta:1009 ip:869 x:142");
	RUN(test_sql);
	RUN(test_refusals);
	RUN(test_sizes);
	RUN(test_growth);
	RUN(test_param_bytes);
	RUN(test_rows);
	RUN(test_constants_of_sql);
	RUN(test_costly);
	RUN(test_may_fail);
	RUN(test_integers);
	RUN(test_identity);
	RUN(test_order_by);
	RUN(test_values);
	pg_table_unref(table);
	return check_done("where");
}
