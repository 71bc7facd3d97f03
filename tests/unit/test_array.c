/*
 * test_array.c - arrays: text form, order, operators, functions. Expectations are PostgreSQL 15's.
 */
#include "call_test.h"

static const char *call(const char *prosrc, const char *result, ...)
{
	va_list ap;
	va_start(ap, result);
	const char *text = call_list(where_impl_array, prosrc, result, ap);
	va_end(ap);
	return text;
}

#define IN(type, text) call("", type, type, text, NULL)
#define INTS(fn, result, a, b) call(fn, result, "_int4", a, "_int4", b, NULL)
#define TEXTS(fn, result, a, b) call(fn, result, "_text", a, "_text", b, NULL)

static void test_text(void)
{
	CHECK_STR(IN("_int4", "{1,2,3}"), "{1,2,3}");
	CHECK_STR(IN("_int4", " { 1 , -2,\n3\t} "), "{1,-2,3}");
	CHECK_STR(IN("_int4", "{}"), "{}");
	CHECK_STR(IN("_int4", " {\v } "), "{}");
	CHECK_STR(IN("_int4", "{{1,2},{3,NULL}}"), "{{1,2},{3,NULL}}");
	CHECK_STR(IN("_int4", "[0:1]={1,2}"), "[0:1]={1,2}");
	CHECK_STR(IN("_int4", "[1:2]={1,2}"), "{1,2}");
	CHECK_STR(IN("_int4", " [2] = {1,2}"), "{1,2}");
	CHECK_STR(IN("_int4", "[-1:0] [3:3]={{1},{2}}"), "[-1:0][3:3]={{1},{2}}");
	CHECK_STR(IN("_int4", "{{{{{{1}}}}}}"), "{{{{{{1}}}}}}");
	CHECK_STR(IN("_text", "{a,b c, d ,\"e\"}"), "{a,\"b c\",d,e}");
	CHECK_STR(IN("_text", "{NULL,null,nUlL,\"NULL\",n\\ull}"), "{NULL,NULL,NULL,\"NULL\",\"null\"}");
	CHECK_STR(IN("_text", "{\"\",\"a\\\"b\",\"c\\\\d\",e\\,f,g\\ }"), "{\"\",\"a\\\"b\",\"c\\\\d\",\"e,f\",\"g \"}");
	CHECK_STR(IN("_text", "{\"{\",\"}\",\xC3\xA9}"), "{\"{\",\"}\",\xC3\xA9}");
	CHECK_STR(IN("_bool", "{t,f,NULL}"), "{t,f,NULL}");
	CHECK_STR(IN("_jsonb", "{\"{\\\"a\\\":1}\",null}"), "{\"{\\\"a\\\": 1}\",NULL}");
}

static void test_malformed(void)
{
	static const char *const texts[] = {
		"", " ", "1", "{", "}", "{1", "{1,}", "{,1}", "{1,,2}", "{1}}", "{1} x", "{{1},2}", "{1,{2}}", "{{1,2},{3}}",
		"{{}}", "{{1},{}}", "{\"1}", "{\"1\"2}", "{1\"2\"}", "{\"1\"\"2\"}", "{1{2}", "{\\", "{\"\\", "{1\\",
		"[1]{1}", "[1:2]={1}", "[1:1][1:1]={1}", "[]={1}", "[1={1}", "[1:]={1}", "[1:2", "[1]=", "[1]=1", "[1:1]={}",
		"[99999999999]={1}", "[-99999999999:1]={1}", "{{{1}},{2}}", "{{1},{{2}}}",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (!CHECK(strncmp(IN("_int4", texts[i]), "error: ", 7) == 0))
			printf("  %s\n", texts[i]);
	CHECK_STR(IN("_int4", "[2:1]={1}"), "error: upper bound cannot be less than lower bound");
	CHECK_STR(IN("_int4", "[2147483647:2147483647]={1}"), "error: array size exceeds the maximum allowed");
	CHECK_STR(IN("_int4", "[-2147483648:2147483647]={1}"), "error: array size exceeds the maximum allowed");
	CHECK_STR(IN("_int4", "{{{{{{{1}}}}}}}"), "error: number of array dimensions exceeds the maximum allowed (6)");
	CHECK_STR(IN("_int4", "[1][1][1][1][1][1][1]={1}"),
	          "error: number of array dimensions exceeds the maximum allowed (6)");
	CHECK(strncmp(IN("_int4", "{1,x}"), "error: ", 7) == 0);
}

static void test_order(void)
{
	static const char *const rising[] = { /* each smaller than all behind it */
		"{}", "{1}", "[2:2]={1}", "{1,2}", "{{1,2}}", "{{1},{2}}", "[0:1]={1,3}", "{1,NULL}", "{1,NULL,1}", "{2}",
		"{NULL}",
	};
	for (size_t i = 0; i < ARRAY_LEN(rising); i++)
		for (size_t k = 0; k < ARRAY_LEN(rising); k++) {
			const char *a = rising[i], *b = rising[k];
			CHECK_STR(INTS("btarraycmp", "int4", a, b), i < k ? "-1" : i > k ? "1" : "0");
			CHECK_STR(INTS("array_lt", "bool", a, b), i < k ? "t" : "f");
			CHECK_STR(INTS("array_le", "bool", a, b), i <= k ? "t" : "f");
			CHECK_STR(INTS("array_gt", "bool", a, b), i > k ? "t" : "f");
			CHECK_STR(INTS("array_ge", "bool", a, b), i >= k ? "t" : "f");
			CHECK_STR(INTS("array_eq", "bool", a, b), i == k ? "t" : "f");
			CHECK_STR(INTS("array_ne", "bool", a, b), i != k ? "t" : "f");
			CHECK_STR(INTS("array_larger", "_int4", a, b), i > k ? a : b);
			CHECK_STR(INTS("array_smaller", "_int4", a, b), i < k ? a : b);
		}
	CHECK_STR(call("array_eq", "bool", "_numeric", "{1.0,2}", "_numeric", "{1.00,2.0}", NULL), "t");
	CHECK_STR(call("array_eq", "bool", "_jsonb", "{1.0,\"{}\"}", "_jsonb", "{1.00,\"{}\"}", NULL), "t");
	CHECK_STR(call("array_eq", "bool", "_json", "{1}", "_json", "{1}", NULL),
	          "error: could not identify an equality operator for type json");
	CHECK_STR(call("array_lt", "bool", "_json", "{1}", "_json", "{1}", NULL),
	          "error: could not identify a comparison function for type json");
}

static void test_inclusion(void)
{
	CHECK_STR(TEXTS("arraycontains", "bool", "{a,b,c}", "{c,a,a}"), "t");
	CHECK_STR(TEXTS("arraycontains", "bool", "{a,b,c}", "{d}"), "f");
	CHECK_STR(TEXTS("arraycontains", "bool", "{a,b,c}", "{}"), "t");
	CHECK_STR(TEXTS("arraycontains", "bool", "{}", "{a}"), "f");
	CHECK_STR(TEXTS("arraycontains", "bool", "{a,NULL}", "{a}"), "t");
	CHECK_STR(TEXTS("arraycontains", "bool", "{a,NULL}", "{a,NULL}"), "f");
	CHECK_STR(TEXTS("arraycontains", "bool", "{{a},{b}}", "{b}"), "t");
	CHECK_STR(TEXTS("arraycontained", "bool", "{a,a}", "{a,b}"), "t");
	CHECK_STR(TEXTS("arraycontained", "bool", "{a,NULL}", "{a,NULL}"), "f");
	CHECK_STR(TEXTS("arrayoverlap", "bool", "{a,b}", "{b,c}"), "t");
	CHECK_STR(TEXTS("arrayoverlap", "bool", "{a,NULL}", "{c,NULL}"), "f");
	CHECK_STR(TEXTS("arrayoverlap", "bool", "{}", "{}"), "f");
	CHECK_STR(call("arraycontains", "bool", "_numeric", "{1.0,2}", "_numeric", "{1.00}", NULL), "t");
}

/* The same answers with the hash table that long arrays get. */
static void test_long_inclusion(void)
{
	struct buf all = BUF_INIT(1 << 20), some = BUF_INIT(1 << 20);
	for (int i = 0; i < 3000; i++)
		buf_printf(&all, "%c%d.0", i == 0 ? '{' : ',', i);
	buf_puts(&all, ",NULL,7}");
	for (int i = 2999; i >= 0; i -= 2)
		buf_printf(&some, "%c%d", i == 2999 ? '{' : ',', i);
	buf_putc(&some, '}');
	CHECK_STR(call("arraycontains", "bool", "_numeric", all.data, "_numeric", some.data, NULL), "t");
	CHECK_STR(call("arraycontained", "bool", "_numeric", all.data, "_numeric", some.data, NULL), "f");
	CHECK_STR(call("arrayoverlap", "bool", "_numeric", all.data, "_numeric", some.data, NULL), "t");
	some.data[some.len - 1] = ',';
	buf_puts(&some, "3000.5}");
	CHECK_STR(call("arraycontains", "bool", "_numeric", all.data, "_numeric", some.data, NULL), "f");
	buf_clear(&all);
	buf_clear(&some);
}

static void test_shape(void)
{
	CHECK_STR(call("array_ndims", "int4", "_int4", "{{1},{2}}", NULL), "2");
	CHECK_STR(call("array_ndims", "int4", "_int4", "{}", NULL), "NULL");
	CHECK_STR(call("array_length", "int4", "_int4", "{{1},{2}}", "int4", "1", NULL), "2");
	CHECK_STR(call("array_length", "int4", "_int4", "{{1},{2}}", "int4", "3", NULL), "NULL");
	CHECK_STR(call("array_length", "int4", "_int4", "{}", "int4", "1", NULL), "NULL");
	CHECK_STR(call("array_length", "int4", "_int4", "{1}", "int4", "0", NULL), "NULL");
	CHECK_STR(call("array_lower", "int4", "_int4", "[-2:0]={1,2,3}", "int4", "1", NULL), "-2");
	CHECK_STR(call("array_upper", "int4", "_int4", "[-2:0]={1,2,3}", "int4", "1", NULL), "0");
	CHECK_STR(call("array_cardinality", "int4", "_int4", "{{1,2},{3,4}}", NULL), "4");
	CHECK_STR(call("array_cardinality", "int4", "_int4", "{}", NULL), "0");
	CHECK_STR(call("array_dims", "text", "_int4", "[-2:0]={1,2,3}", NULL), "[-2:0]");
	CHECK_STR(call("array_dims", "text", "_int4", "{{1,2}}", NULL), "[1:1][1:2]");
	CHECK_STR(call("array_dims", "text", "_int4", "{}", NULL), "NULL");
}

#define TOO_FAR "error: integer out of range"

static void test_building(void)
{
	CHECK_STR(INTS("array_cat", "_int4", "{1,2}", "{3}"), "{1,2,3}");
	CHECK_STR(INTS("array_cat", "_int4", "{}", "{3}"), "{3}");
	CHECK_STR(INTS("array_cat", "_int4", "[0:0]={1}", "[5:5]={3}"), "[0:1]={1,3}");
	CHECK_STR(INTS("array_cat", "_int4", "{1,2}", "{{3,4}}"), "{{1,2},{3,4}}");
	CHECK_STR(INTS("array_cat", "_int4", "{{1,2}}", "{3,4}"), "{{1,2},{3,4}}");
	CHECK_STR(INTS("array_cat", "_int4", "{{1,2}}", "{3}"), "error: cannot concatenate incompatible arrays");
	CHECK_STR(INTS("array_cat", "_int4", "{{{1}}}", "{3}"), "error: cannot concatenate incompatible arrays");
	CHECK_STR(INTS("array_cat", "_int4", NULL_ARG, "{3}"), "{3}");
	CHECK_STR(INTS("array_cat", "_int4", "{3}", NULL_ARG), "{3}");
	CHECK_STR(INTS("array_cat", "_int4", NULL_ARG, NULL_ARG), "NULL");
	CHECK_STR(call("array_append", "_int4", "_int4", "[0:0]={1}", "int4", "2", NULL), "[0:1]={1,2}");
	CHECK_STR(call("array_append", "_int4", "_int4", NULL_ARG, "int4", NULL_ARG, NULL), "{NULL}");
	CHECK_STR(call("array_append", "_int4", "_int4", "{{1}}", "int4", "2", NULL),
	          "error: argument must be empty or one-dimensional array");
	CHECK_STR(call("array_append", "_int4", "_int4", "[2147483646:2147483646]={1}", "int4", "2", NULL), TOO_FAR);
	CHECK_STR(call("array_prepend", "_int4", "int4", "2", "_int4", "[0:0]={1}", NULL), "[0:1]={2,1}");
	CHECK_STR(call("array_prepend", "_int4", "int4", "2", "_int4", "{}", NULL), "{2}");
	CHECK_STR(call("array_prepend", "_int4", "int4", "2", "_int4", "[-2147483648:-2147483648]={1}", NULL), TOO_FAR);
	CHECK_STR(call("trim_array", "_int4", "_int4", "[0:2]={1,2,3}", "int4", "1", NULL), "{1,2}");
	CHECK_STR(call("trim_array", "_int4", "_int4", "{{1,2},{3,4}}", "int4", "1", NULL), "{{1,2}}");
	CHECK_STR(call("trim_array", "_int4", "_int4", "{1}", "int4", "1", NULL), "{}");
	CHECK_STR(call("trim_array", "_int4", "_int4", "{1}", "int4", "2", NULL),
	          "error: number of elements to trim must be between 0 and 1");
}

static void test_search(void)
{
	CHECK_STR(call("array_position", "int4", "_text", "[5:7]={a,b,a}", "text", "b", NULL), "6");
	CHECK_STR(call("array_position", "int4", "_text", "{a,b}", "text", "x", NULL), "NULL");
	CHECK_STR(call("array_position", "int4", "_text", "{a,NULL}", "text", NULL_ARG, NULL), "2");
	CHECK_STR(call("array_position", "int4", "_text", "{a,b}", "text", NULL_ARG, NULL), "NULL");
	CHECK_STR(call("array_position", "int4", "_text", "{}", "text", "a", NULL), "NULL");
	CHECK_STR(call("array_position", "int4", "_text", "{{a}}", "text", "a", NULL),
	          "error: searching for elements in multidimensional arrays is not supported");
	CHECK_STR(call("array_position_start", "int4", "_text", "{a,b,a}", "text", "a", "int4", "2", NULL), "3");
	CHECK_STR(call("array_position_start", "int4", "_text", "{a}", "text", "a", "int4", NULL_ARG, NULL),
	          "error: initial position must not be null");
	CHECK_STR(call("array_positions", "_int4", "_text", "{a,b,a}", "text", "a", NULL), "{1,3}");
	CHECK_STR(call("array_positions", "_int4", "_text", "{a,NULL}", "text", NULL_ARG, NULL), "{2}");
	CHECK_STR(call("array_positions", "_int4", "_text", "{}", "text", "a", NULL), "{}");
	CHECK_STR(call("array_remove", "_text", "_text", "[3:5]={a,b,a}", "text", "b", NULL), "[3:4]={a,a}");
	CHECK_STR(call("array_remove", "_text", "_text", "{a,NULL}", "text", NULL_ARG, NULL), "{a}");
	CHECK_STR(call("array_remove", "_text", "_text", "{a}", "text", "a", NULL), "{}");
	CHECK_STR(call("array_replace", "_text", "_text", "{{a},{b}}", "text", "a", "text", NULL_ARG, NULL), "{{NULL},{b}}");
	CHECK_STR(call("array_replace", "_text", "_text", "{a,NULL}", "text", NULL_ARG, "text", "x", NULL), "{a,x}");
}

static void test_strings(void)
{
	CHECK_STR(call("array_to_text", "text", "_text", "{a,NULL,\"b c\"}", "text", ", ", NULL), "a, b c");
	CHECK_STR(call("array_to_text", "text", "_int4", "{{1,2},{3,4}}", "text", "-", NULL), "1-2-3-4");
	CHECK_STR(call("array_to_text_null", "text", "_text", "{a,NULL}", "text", ",", "text", "*", NULL), "a,*");
	CHECK_STR(call("array_to_text_null", "text", "_text", "{a,NULL}", "text", ",", "text", NULL_ARG, NULL), "a");
	CHECK_STR(call("array_to_text_null", "text", "_text", "{a}", "text", NULL_ARG, "text", "", NULL), "NULL");
	CHECK_STR(call("text_to_array", "_text", "text", "a,b,,c,", "text", ",", NULL), "{a,b,\"\",c,\"\"}");
	CHECK_STR(call("text_to_array", "_text", "text", "a\xC3\xA9z", "text", NULL_ARG, NULL), "{a,\xC3\xA9,z}");
	CHECK_STR(call("text_to_array", "_text", "text", "abc", "text", "", NULL), "{abc}");
	CHECK_STR(call("text_to_array", "_text", "text", "", "text", ",", NULL), "{}");
	CHECK_STR(call("text_to_array", "_text", "text", NULL_ARG, "text", ",", NULL), "NULL");
	CHECK_STR(call("text_to_array_null", "_text", "text", "a--b", "text", "-", "text", "", NULL), "{a,NULL,b}");
}

int main(void)
{
	RUN(test_text);
	RUN(test_malformed);
	RUN(test_order);
	RUN(test_inclusion);
	RUN(test_long_inclusion);
	RUN(test_shape);
	RUN(test_building);
	RUN(test_search);
	RUN(test_strings);
	arena_clear(&call_mem);
	return check_done("test_array");
}
