/*
 * test_jsonb.c - json and jsonb: text, order, operators, functions, casts. Expectations are PostgreSQL 15's.
 */
#include "call_test.h"
#include "where/jsonb.h"

static const char *call(const char *prosrc, const char *result, ...)
{
	va_list ap;
	va_start(ap, result);
	const char *text = call_list(where_impl_json, prosrc, result, ap);
	va_end(ap);
	return text;
}

#define JSON(text) call("", "json", "json", text, NULL)
#define JSONB(text) call("", "jsonb", "jsonb", text, NULL)
#define TWO(fn, result, a, b) call(fn, result, "jsonb", a, "jsonb", b, NULL)
#define BAD "error: invalid input syntax for type json"
#define BAD_TEXT "error: unsupported Unicode escape sequence"

static void test_text(void)
{
	CHECK_STR(JSONB(" { \"b\" : [ 1 , null, true,false ] , \"a\":{} } "), "{\"a\": {}, \"b\": [1, null, true, false]}");
	CHECK_STR(JSONB("{\"bb\":1,\"a\":2,\"c\":3,\"\":4}"), "{\"\": 4, \"a\": 2, \"c\": 3, \"bb\": 1}");
	CHECK_STR(JSONB("{\"a\":1,\"b\":2,\"a\":3,\"\\u0061\":4}"), "{\"a\": 4, \"b\": 2}");
	CHECK_STR(JSONB("[-0, -0.0, 1.50, 1e3, 1E-2, -1.0e0, 10]"), "[0, 0.0, 1.50, 1000, 0.01, -1.0, 10]");
	CHECK_STR(JSONB("\"\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\u0001\\\"\\\\\x7f\""),
	          "\"\xC3\xA9\xF0\x9F\x98\x80/\\b\\f\\n\\r\\t\\u0001\\\"\\\\\x7f\"");
	CHECK_STR(JSONB("123456789012345678901234567890.5"), "123456789012345678901234567890.5");
	CHECK_STR(JSON(" {\"b\":1,  \"a\":2,\"a\":\"\\u0000\\ud800\"} "), " {\"b\":1,  \"a\":2,\"a\":\"\\u0000\\ud800\"} ");
	CHECK_STR(JSON("1e999999"), "1e999999");
	CHECK(strncmp(JSONB("1e999999"), "error: ", 7) == 0);
	CHECK_STR(call("jsonb_pretty", "text", "jsonb", "{\"a\":[1,{}],\"b\":[]}", NULL),
	          "{\n    \"a\": [\n        1,\n        {\n        }\n    ],\n    \"b\": [\n    ]\n}");
}

static void test_malformed(void)
{
	static const char *const texts[] = {
		"", " ", "{", "}", "[", "]", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{1:1}",
		"{\"a\" 1}", "[1}", "{\"a\":1]", "[1] 2", "1 2", "01", "+1", "-", "-a", "1.", ".5", "1e", "1e+", "1a", "0x1",
		"nul", "nulll",
		"True", "\"", "\"a", "\"\\", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "'a'", "NaN", "[1 2]", "\v1",
		"\"a\"b", "{\"a\":1 \"b\":2}",
	};
	static const char *const not_text[] = {
		"\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\ud800\\udc00\"", "\"\\ud800a\"", "\"\\ud83d\\n\"",
		"{\"\\u0000\":1}", "[[\"\\udc00\\ud800\"]]",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CHECK_STR(JSONB(texts[i]), BAD);
		CHECK_STR(JSON(texts[i]), BAD);
	}
	for (size_t i = 0; i < ARRAY_LEN(not_text); i++) {
		CHECK_STR(JSONB(not_text[i]), BAD_TEXT);
		CHECK_STR(JSON(not_text[i]), not_text[i]);
		CHECK_STR(call("json_object_field", "json", "json", not_text[i], "text", "a", NULL), BAD_TEXT);
		CHECK_STR(call("json_strip_nulls", "json", "json", not_text[i], NULL), BAD_TEXT);
	}
}

static const char *nested(struct buf *b, int depth, const char *open, const char *inside, const char *close)
{
	buf_reset(b);
	for (int i = 0; i < depth; i++)
		buf_puts(b, open);
	buf_puts(b, inside);
	for (int i = 0; i < depth; i++)
		buf_puts(b, close);
	return b->data;
}

static void test_depth(void)
{
	struct buf b = BUF_INIT(1 << 20);
	char limit[80];
	snprintf(limit, sizeof limit, "error: json is nested deeper than %d levels", JSON_DEPTH_MAX);
	const char *deep = nested(&b, JSON_DEPTH_MAX, "[", "", "]");
	CHECK_STR(JSONB(deep), deep);
	CHECK_STR(JSON(deep), deep);
	CHECK_STR(TWO("jsonb_eq", "bool", deep, deep), "t");
	CHECK_STR(TWO("jsonb_lt", "bool", deep, deep), "f");
	CHECK_STR(TWO("jsonb_contains", "bool", deep, deep), "t");
	CHECK_STR(call("json_strip_nulls", "json", "json", deep, NULL), deep);
	CHECK_STR(call("jsonb_strip_nulls", "jsonb", "jsonb", deep, NULL), deep);
	CHECK_STR(JSONB(nested(&b, JSON_DEPTH_MAX + 1, "[", "", "]")), limit);
	CHECK_STR(JSON(nested(&b, JSON_DEPTH_MAX + 1, "[", "", "]")), limit);
	CHECK_STR(JSONB(nested(&b, JSON_DEPTH_MAX + 1, "{\"a\":", "1", "}")), limit);
	CHECK_STR(JSONB(nested(&b, 100000, "[", "", "")), limit);
	deep = nested(&b, JSON_DEPTH_MAX, "{\"a\": ", "1", "}");
	CHECK_STR(JSONB(deep), deep);
	CHECK_STR(JSON(deep), deep);
	CHECK_STR(TWO("jsonb_concat", "jsonb", deep, "[]"), limit);
	CHECK_STR(call("jsonb_set", "jsonb", "jsonb", deep, "_text", "{a,a}", "jsonb", deep, "bool", "t", NULL), limit);
	buf_clear(&b);
}

static void test_order(void)
{
	static const char *const rising[] = { /* each smaller than all behind it */
		"[]", "null", "\"\"", "\"A\"", "\"a\"", "\"aa\"", "\"b\"", "-10", "-1.5", "-1.49", "0", "0.001", "1", "1.5", "2", "10",
		"100000000000000000000", "false", "true", "[null]", "[1]", "[[]]", "[{}]", "[1, 2]", "[1, 2, 3]", "{}", "{\"a\": 1}",
		"{\"a\": 2}", "{\"a\": []}", "{\"b\": 1}", "{\"bb\": 1}", "{\"c\": 0}", "{\"a\": 1, \"b\": 2}",
	};
	for (size_t i = 0; i < ARRAY_LEN(rising); i++)
		for (size_t k = 0; k < ARRAY_LEN(rising); k++) {
			const char *a = rising[i], *b = rising[k];
			int ok = CHECK_STR(TWO("jsonb_lt", "bool", a, b), i < k ? "t" : "f");
			ok &= CHECK_STR(TWO("jsonb_le", "bool", a, b), i <= k ? "t" : "f");
			ok &= CHECK_STR(TWO("jsonb_gt", "bool", a, b), i > k ? "t" : "f");
			ok &= CHECK_STR(TWO("jsonb_ge", "bool", a, b), i >= k ? "t" : "f");
			ok &= CHECK_STR(TWO("jsonb_eq", "bool", a, b), i == k ? "t" : "f");
			ok &= CHECK_STR(TWO("jsonb_ne", "bool", a, b), i != k ? "t" : "f");
			if (!ok)
				printf("  %s and %s\n", a, b);
		}
}

static void test_equal_hash(void)
{
	static const char *const same[][2] = {
		{"1", "1.000"}, {"0", "-0.00"}, {"100", "1e2"}, {"-1.50", "-15e-1"},
		{"[1,{\"a\":2.0,\"b\":0}]", "[1.0, {\"b\":0.0,\"a\":2}]"},
		{"\"\\u0061\"", "\"a\""}, {"0.001", "1e-3"},
	};
	struct where_call c = {.mem = &call_mem, .typmod = -1};
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		const struct jsonb *a = jsonb_parse(&c, same[i][0], strlen(same[i][0]));
		const struct jsonb *b = jsonb_parse(&c, same[i][1], strlen(same[i][1]));
		CHECK(jsonb_equal(a, b) && jsonb_cmp(a, b, NULL) == 0 && jsonb_hash(a) == jsonb_hash(b));
	}
	const struct jsonb *a = jsonb_parse(&c, "[1]", 3), *b = jsonb_parse(&c, "[[1]]", 5);
	CHECK(!jsonb_equal(a, b) && jsonb_hash(a) != jsonb_hash(b));
}

#define DOC "{\"a\": 1, \"b\": {\"c\": [10, \"x\\ty\", null, {\"d\": true}]}, \"n\": null, \"s\": \"t\", \"a\": 2}"
#define FIELD(type, key) call(type "_object_field", type, type, DOC, "text", key, NULL)
#define FIELD_TEXT(type, key) call(type "_object_field_text", "text", type, DOC, "text", key, NULL)
#define PATH(type, path) call(type "_extract_path", type, type, DOC, "_text", path, NULL)
#define PATH_TEXT(type, path) call(type "_extract_path_text", "text", type, DOC, "_text", path, NULL)

static void test_access_json(void)
{
	CHECK_STR(FIELD("json", "a"), "2");
	CHECK_STR(FIELD("json", "n"), "null");
	CHECK_STR(FIELD_TEXT("json", "n"), "NULL");
	CHECK_STR(FIELD("json", "s"), "\"t\"");
	CHECK_STR(FIELD_TEXT("json", "s"), "t");
	CHECK_STR(FIELD("json", "x"), "NULL");
	CHECK_STR(FIELD_TEXT("json", "b"), "{\"c\": [10, \"x\\ty\", null, {\"d\": true}]}");
	CHECK_STR(PATH("json", "{b,c,1}"), "\"x\\ty\"");
	CHECK_STR(PATH_TEXT("json", "{b,c,1}"), "x\ty");
	CHECK_STR(PATH_TEXT("json", "{b,c,-1,d}"), "true");
	CHECK_STR(PATH_TEXT("json", "{b,c,x}"), "NULL");
	CHECK_STR(PATH_TEXT("json", "{b,NULL}"), "NULL");
	CHECK_STR(PATH_TEXT("json", "{a,b}"), "NULL");
	CHECK_STR(PATH("json", "{}"), DOC);
	CHECK_STR(call("json_array_element", "json", "json", "[1, [2,3] ,4]", "int4", "1", NULL), "[2,3]");
	CHECK_STR(call("json_array_element_text", "text", "json", "[1, [2,3] ,\"4\"]", "int4", "-1", NULL), "4");
	CHECK_STR(call("json_array_element", "json", "json", "[1]", "int4", "-2147483648", NULL), "NULL");
	CHECK_STR(call("json_array_element", "json", "json", "1", "int4", "0", NULL), "NULL");
	CHECK_STR(call("json_array_element", "json", "json", "{\"0\":1}", "int4", "0", NULL), "NULL");
	CHECK_STR(call("json_object_field", "json", "json", "{\"\\u0061\":[1]}", "text", "a", NULL), "[1]");
	CHECK_STR(call("json_extract_path", "json", "json", " 1 ", "_text", "{}", NULL), " 1");
	CHECK_STR(call("json_extract_path_text", "text", "json", " \"a\" ", "_text", "{}", NULL), "a");
	/* A negative index is counted from the end of the first array of its level. */
	CHECK_STR(call("json_extract_path", "json", "json", "{\"b\":[1,2],\"a\":[1,2,3]}", "_text", "{a,-1}", NULL), "2");
	CHECK_STR(call("json_typeof", "text", "json", " [1]", NULL), "array");
	CHECK_STR(call("json_typeof", "text", "json", "-1", NULL), "number");
	CHECK_STR(call("json_typeof", "text", "json", "false", NULL), "boolean");
	CHECK_STR(call("json_array_length", "int4", "json", "[1,[2,3],\"]\"]", NULL), "3");
	CHECK_STR(call("json_array_length", "int4", "json", "{}", NULL), "error: cannot get array length of a non-array");
	CHECK_STR(call("json_array_length", "int4", "json", "1", NULL), "error: cannot get array length of a scalar");
	CHECK_STR(call("json_strip_nulls", "json", "json", "{ \"a\" : null, \"b\\u00e9\" : [ null, {\"c\":null} ] }", NULL),
	          "{\"b\xC3\xA9\":[null,{}]}");
}

static void test_access_jsonb(void)
{
	CHECK_STR(FIELD("jsonb", "a"), "2");
	CHECK_STR(FIELD("jsonb", "n"), "null");
	CHECK_STR(FIELD_TEXT("jsonb", "n"), "NULL");
	CHECK_STR(FIELD_TEXT("jsonb", "s"), "t");
	CHECK_STR(FIELD("jsonb", "x"), "NULL");
	CHECK_STR(PATH_TEXT("jsonb", "{b,c,1}"), "x\ty");
	CHECK_STR(PATH_TEXT("jsonb", "{b,c,-1,d}"), "true");
	CHECK_STR(PATH_TEXT("jsonb", "{b,c,-5}"), "NULL");
	CHECK_STR(PATH_TEXT("jsonb", "{b,c,\" +1\"}"), "x\ty");
	CHECK_STR(PATH_TEXT("jsonb", "{b,c,1x}"), "NULL");
	CHECK_STR(PATH_TEXT("jsonb", "{b,c,4294967296}"), "NULL");
	CHECK_STR(call("jsonb_extract_path_text", "text", "jsonb", "\"a\"", "_text", "{}", NULL), "a");
	CHECK_STR(call("jsonb_array_element", "jsonb", "jsonb", "5", "int4", "-1", NULL), "5");
	CHECK_STR(call("jsonb_array_element_text", "text", "jsonb", "[1,{\"a\":[]}]", "int4", "1", NULL), "{\"a\": []}");
	CHECK_STR(call("jsonb_typeof", "text", "jsonb", "null", NULL), "null");
	CHECK_STR(call("jsonb_array_length", "int4", "jsonb", "[1,[2]]", NULL), "2");
	CHECK_STR(call("jsonb_array_length", "int4", "jsonb", "{}", NULL), "error: cannot get array length of a non-array");
}

static void test_contains(void)
{
	static const struct { const char *a, *b, *want; } cases[] = {
		{"{\"a\":1,\"b\":2}", "{\"a\":1.0}", "t"}, {"{\"a\":1}", "{\"a\":1,\"b\":2}", "f"}, {"{\"a\":1}", "{}", "t"},
		{"{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"c\":2}}", "t"}, {"{\"a\":[1,2]}", "{\"a\":[2]}", "t"},
		{"{\"a\":[1,2]}", "{\"a\":2}", "f"}, {"[1,2,3]", "[3,1,1]", "t"}, {"[1,2]", "2", "t"}, {"[\"a\"]", "\"a\"", "t"},
		{"2", "[2]", "f"}, {"2", "2.0", "t"}, {"[[1,2],[3]]", "[[1]]", "t"}, {"[[1,2]]", "[1]", "f"},
		{"[[1,2]]", "[[3]]", "f"},
		{"[{\"a\":1,\"b\":2}]", "[{\"a\":1}]", "t"}, {"[]", "[]", "t"}, {"{}", "[]", "f"}, {"[{}]", "{}", "f"},
		{"null", "null", "t"},
		{"[1]", "[[]]", "f"}, {"[[]]", "[[]]", "t"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int ok = CHECK_STR(TWO("jsonb_contains", "bool", cases[i].a, cases[i].b), cases[i].want);
		ok &= CHECK_STR(TWO("jsonb_contained", "bool", cases[i].b, cases[i].a), cases[i].want);
		if (!ok)
			printf("  %s @> %s\n", cases[i].a, cases[i].b);
	}
	CHECK_STR(call("jsonb_exists", "bool", "jsonb", "{\"a\":null}", "text", "a", NULL), "t");
	CHECK_STR(call("jsonb_exists", "bool", "jsonb", "[1,\"a\"]", "text", "a", NULL), "t");
	CHECK_STR(call("jsonb_exists", "bool", "jsonb", "\"a\"", "text", "a", NULL), "t");
	CHECK_STR(call("jsonb_exists", "bool", "jsonb", "[1]", "text", "1", NULL), "f");
	CHECK_STR(call("jsonb_exists_any", "bool", "jsonb", "{\"a\":1}", "_text", "{x,NULL,a}", NULL), "t");
	CHECK_STR(call("jsonb_exists_any", "bool", "jsonb", "{\"a\":1}", "_text", "{}", NULL), "f");
	CHECK_STR(call("jsonb_exists_all", "bool", "jsonb", "{\"a\":1}", "_text", "{a,NULL}", NULL), "t");
	CHECK_STR(call("jsonb_exists_all", "bool", "jsonb", "{\"a\":1}", "_text", "{a,b}", NULL), "f");
}

#define AT(fn, doc, path, value, flag) call(fn, "jsonb", "jsonb", doc, "_text", path, "jsonb", value, "bool", flag, NULL)

static void test_changes(void)
{
	CHECK_STR(TWO("jsonb_concat", "jsonb", "{\"a\":1,\"b\":2}", "{\"b\":3,\"aa\":4}"), "{\"a\": 1, \"b\": 3, \"aa\": 4}");
	CHECK_STR(TWO("jsonb_concat", "jsonb", "[1]", "[2,3]"), "[1, 2, 3]");
	CHECK_STR(TWO("jsonb_concat", "jsonb", "1", "{}"), "[1, {}]");
	CHECK_STR(TWO("jsonb_concat", "jsonb", "[]", "{\"a\":1}"), "[{\"a\": 1}]");
	CHECK_STR(call("jsonb_delete", "jsonb", "jsonb", "{\"a\":1,\"b\":2}", "text", "a", NULL), "{\"b\": 2}");
	CHECK_STR(call("jsonb_delete", "jsonb", "jsonb", "[\"a\",1,\"a\"]", "text", "a", NULL), "[1]");
	CHECK_STR(call("jsonb_delete", "jsonb", "jsonb", "1", "text", "a", NULL), "error: cannot delete from scalar");
	CHECK_STR(call("jsonb_delete_array", "jsonb", "jsonb", "{\"a\":1,\"b\":2}", "_text", "{a,NULL,b}", NULL), "{}");
	CHECK_STR(call("jsonb_delete_idx", "jsonb", "jsonb", "[1,2,3]", "int4", "-1", NULL), "[1, 2]");
	CHECK_STR(call("jsonb_delete_idx", "jsonb", "jsonb", "[1,2,3]", "int4", "-9", NULL), "[1, 2, 3]");
	CHECK_STR(call("jsonb_delete_idx", "jsonb", "jsonb", "{}", "int4", "0", NULL),
	          "error: cannot delete from object using integer index");
	CHECK_STR(call("jsonb_delete_path", "jsonb", "jsonb", "{\"a\":[1,{\"b\":2}]}", "_text", "{a,1,b}", NULL),
	          "{\"a\": [1, {}]}");
	CHECK_STR(call("jsonb_delete_path", "jsonb", "jsonb", "[1]", "_text", "{a}", NULL),
	          "error: path element at position 1 is not an integer");
	CHECK_STR(AT("jsonb_set", "{\"a\":[1,2]}", "{a,-1}", "\"x\"", "t"), "{\"a\": [1, \"x\"]}");
	CHECK_STR(AT("jsonb_set", "{\"a\":[1,2]}", "{a,9}", "3", "t"), "{\"a\": [1, 2, 3]}");
	CHECK_STR(AT("jsonb_set", "{\"a\":[1,2]}", "{a,-9}", "3", "t"), "{\"a\": [3, 1, 2]}");
	CHECK_STR(AT("jsonb_set", "{\"a\":1}", "{b}", "3", "f"), "{\"a\": 1}");
	CHECK_STR(AT("jsonb_set", "{\"a\":1}", "{b}", "3", "t"), "{\"a\": 1, \"b\": 3}");
	CHECK_STR(AT("jsonb_set", "{\"a\":1}", "{NULL}", "3", "t"), "error: path element at position 1 is null");
	CHECK_STR(AT("jsonb_set", "1", "{a}", "3", "t"), "error: cannot set path in scalar");
	CHECK_STR(AT("jsonb_insert", "[1,2]", "{0}", "3", "f"), "[3, 1, 2]");
	CHECK_STR(AT("jsonb_insert", "[1,2]", "{0}", "3", "t"), "[1, 3, 2]");
	CHECK_STR(AT("jsonb_insert", "{\"a\":1}", "{a}", "3", "t"), "error: cannot replace existing key");
	CHECK_STR(call("jsonb_strip_nulls", "jsonb", "jsonb", "{\"a\":null,\"b\":[null,{\"c\":null}]}", NULL),
	          "{\"b\": [null, {}]}");
}

static void test_casts(void)
{
	CHECK_STR(call("jsonb_bool", "bool", "jsonb", "true", NULL), "t");
	CHECK_STR(call("jsonb_bool", "bool", "jsonb", "1", NULL), "error: cannot cast jsonb numeric to type boolean");
	CHECK_STR(call("jsonb_int4", "int4", "jsonb", "null", NULL), "error: cannot cast jsonb null to type integer");
	CHECK_STR(call("jsonb_int4", "int4", "jsonb", "[1]", NULL), "error: cannot cast jsonb array or object to type integer");
	CHECK_STR(call("jsonb_int4", "int4", "jsonb", "\"1\"", NULL), "error: cannot cast jsonb string to type integer");
	CHECK_STR(call("jsonb_int4", "int4", "jsonb", "2.5", NULL), "3");
	CHECK_STR(call("jsonb_int4", "int4", "jsonb", "-2.5", NULL), "-3");
	CHECK_STR(call("jsonb_int2", "int2", "jsonb", "32767.4", NULL), "32767");
	CHECK_STR(call("jsonb_int2", "int2", "jsonb", "32767.5", NULL), "error: smallint out of range");
	CHECK_STR(call("jsonb_int8", "int8", "jsonb", "-9223372036854775808", NULL), "-9223372036854775808");
	CHECK(strncmp(call("jsonb_int8", "int8", "jsonb", "9223372036854775808", NULL), "error: ", 7) == 0);
	CHECK_STR(call("jsonb_numeric", "numeric", "jsonb", "1.50", NULL), "1.50");
	CHECK_STR(call("jsonb_float8", "float8", "jsonb", "0.5", NULL), "0.5");
	CHECK_STR(call("jsonb_float4", "float4", "jsonb", "0.25", NULL), "0.25");
	CHECK(strncmp(call("jsonb_float4", "float4", "jsonb", "1e39", NULL), "error: ", 7) == 0);
	CHECK(strncmp(call("jsonb_float8", "float8", "jsonb", "1e-400", NULL), "error: ", 7) == 0);
}

int main(void)
{
	RUN(test_text);
	RUN(test_malformed);
	RUN(test_depth);
	RUN(test_order);
	RUN(test_equal_hash);
	RUN(test_access_json);
	RUN(test_access_jsonb);
	RUN(test_contains);
	RUN(test_changes);
	RUN(test_casts);
	arena_clear(&call_mem);
	return check_done("test_jsonb");
}
