/*
 * test_text_fn.c - functions of text, bytea, uuid, enums and "char"; LIKE, SIMILAR TO and regular expressions.
 *
 * Expected values are Postgres 15's. Each call is made as it is per row and, where the function prepares constant
 * arguments, prepared as well.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "check.h"
#include "where/collation.h"
#include "where/regex.h"
#include "where/types.h"

#define ARGS_MAX 6
#define LONG_TEXT 200000

static struct arena mem = ARENA_INIT;
static const struct where_collation *collation;
static char reason[WHERE_REASON_MAX];

static const struct where_impl *impl_of(const char *prosrc)
{
	for (const struct where_impl *i = where_impl_text; i->prosrc != NULL; i++)
		if (strcmp(i->prosrc, prosrc) == 0)
			return i;
	printf("no function %s\n", prosrc);
	exit(1);
}

static const struct where_io *io_of(const char *type)
{
	for (const struct where_io *i = where_io_text; i->type != NULL; i++)
		if (strcmp(i->type, type) == 0)
			return i;
	printf("no type %s\n", type);
	exit(1);
}

static struct where_value text(const char *s) { return where_bytes(s, strlen(s)); }

/* -1 or the outcome; *out may be NULL. Checks that preparing changes nothing. */
static int call(const char *prosrc, uint32_t nargs, const struct where_value *args, const struct where_type *const *types,
                struct where_value *out)
{
	const struct where_impl *i = impl_of(prosrc);
	struct where_value constant[ARGS_MAX], prepared_out;
	struct where_call c = {.mem = &mem, .collation = collation, .arg_types = types, .nargs = nargs, .typmod = -1};
	int r = i->fn(&c, args, out);
	snprintf(reason, sizeof reason, "%s", r < 0 ? c.reason : "");
	if (i->prepare == NULL)
		return r;
	bool failed = false;
	memcpy(constant, args, nargs * sizeof *args);
	constant[0].is = WHERE_ERROR;
	c.prepared = i->prepare(&c, constant, &failed);
	int again = failed ? -1 : i->fn(&c, args, &prepared_out);
	CHECK_INT(again, r);
	if (again == 0 && r == 0)
		CHECK_INT(prepared_out.u.i, out->u.i);
	if (i->release != NULL)
		i->release(c.prepared);
	else
		free(c.prepared);
	return r;
}

/* "t", "f" or "error". */
static const char *truth(const char *prosrc, const char *a, const char *b)
{
	struct where_value args[2] = {text(a), text(b)}, out;
	return call(prosrc, 2, args, NULL, &out) < 0 ? "error" : out.u.i ? "t" : "f";
}

static const char *as_string(int r, const struct where_value *v)
{
	static char s[4096];
	if (r < 0)
		return "error";
	if (v->is == WHERE_NULL)
		return "NULL";
	snprintf(s, sizeof s, "%.*s", (int)v->len, v->u.p);
	return s;
}

static const char *text1(const char *prosrc, const char *a)
{
	struct where_value args[1] = {text(a)}, out;
	int r = call(prosrc, 1, args, NULL, &out);
	return as_string(r, &out);
}

static const char *text2(const char *prosrc, const char *a, const char *b)
{
	struct where_value args[2] = {text(a), text(b)}, out;
	int r = call(prosrc, 2, args, NULL, &out);
	return as_string(r, &out);
}

static const char *text3(const char *prosrc, const char *a, const char *b, const char *d)
{
	struct where_value args[3] = {text(a), text(b), text(d)}, out;
	int r = call(prosrc, 3, args, NULL, &out);
	return as_string(r, &out);
}

static const char *text_int(const char *prosrc, const char *a, int64_t n)
{
	struct where_value args[2] = {text(a), where_int(n)}, out;
	int r = call(prosrc, 2, args, NULL, &out);
	return as_string(r, &out);
}

static const char *text_int2(const char *prosrc, const char *a, int64_t n, int64_t m)
{
	struct where_value args[3] = {text(a), where_int(n), where_int(m)}, out;
	int r = call(prosrc, 3, args, NULL, &out);
	return as_string(r, &out);
}

static long long number(const char *prosrc, const char *a)
{
	struct where_value args[1] = {text(a)}, out;
	return call(prosrc, 1, args, NULL, &out) < 0 ? -1000 : out.u.i;
}

static void test_compare(void)
{
	CHECK_STR(truth("texteq", "a", "a"), "t");
	CHECK_STR(truth("texteq", "a", "a "), "f");
	CHECK_STR(truth("bpchareq", "a", "a  "), "t");
	CHECK_STR(truth("bpcharlt", "a  ", "a!"), "t");
	CHECK_STR(truth("text_lt", "B", "a"), "t");
	CHECK_STR(truth("text_ge", "a", ""), "t");
	CHECK_STR(truth("text_pattern_lt", "a", "\xc3\xa9"), "t");
	CHECK_STR(text2("text_larger", "a", "b"), "b");
	CHECK_STR(text2("bpchar_smaller", "a ", "a"), "a ");
	CHECK_STR(truth("text_starts_with", "abc", "ab"), "t");
	CHECK_STR(truth("text_starts_with", "abc", "b"), "f");
	const struct where_collation *before = collation;
	collation = where_collation_get("unknown", 'i', "de", "de", NULL, true);
	CHECK_STR(truth("text_lt", "a", "b"), "error");
	CHECK_STR(truth("texteq", "a", "b"), "f");
	collation = where_collation_get("odd", 'i', "de", "de", NULL, false);
	CHECK_STR(truth("texteq", "a", "b"), "error");
	CHECK_STR(truth("textlike", "a", "b"), "error");
	CHECK_STR(truth("textregexeq", "a", "b"), "error");
	collation = before;
}

static void test_collations(void)
{
	CHECK(where_collation_c()->order == WHERE_ORDER_BYTES && where_collation_c()->ascii_case);
	const struct where_collation *c = where_collation_get("default", 'c', "C.UTF-8", "C.UTF-8", NULL, true);
	CHECK(c->order == WHERE_ORDER_BYTES && !c->ascii_case && c->ctype != (locale_t)0);
	CHECK(c == where_collation_get("default", 'c', "C.UTF-8", "C.UTF-8", NULL, true));
	CHECK(c != where_collation_get("default", 'c', "C.UTF-8", "C.UTF-8", "1", true));
	CHECK(where_collation_get("default", 'b', "C.UTF-8", "C.UTF-8", "1", true)->order == WHERE_ORDER_BYTES);
	CHECK(where_collation_get("default", 'b', "C", "C", "1", true)->ascii_case);
	CHECK(where_collation_get("x", 'c', "xx_XX.UTF-8", "xx_XX.UTF-8", "0.1", true)->order == WHERE_ORDER_NONE);
	CHECK(where_collation_get("tr", 'i', "tr", "tr", "1", true)->ctype == (locale_t)0);
}

static void test_like(void)
{
	static const char *const rows[][3] = {
		{"abc", "abc", "t"}, {"abc", "a%", "t"}, {"abc", "%c", "t"}, {"abc", "%b%", "t"}, {"abc", "a_c", "t"},
		{"abc", "_", "f"}, {"\xc3\xa9", "_", "t"}, {"a\nb", "a%b", "t"}, {"a\nb", "a_b", "t"}, {"", "", "t"}, {"", "%", "t"},
		{"", "_", "f"}, {"a%c", "a\\%c", "t"}, {"abc", "a\\%c", "f"}, {"a\\c", "a\\\\c", "t"}, {"abc", "%a%c%", "t"},
		{"abab", "%ab", "t"}, {"aab", "%ab", "t"}, {"aba", "a%a", "t"}, {"a", "a%a", "f"}, {"abcbd", "a%b_", "t"},
		{"abcbd", "a%_b%", "t"}, {"xaybz", "%a_b%", "t"}, {"xaaybz", "_%a_b_", "t"}, {"a", "a\\", "f"},
		{"ab", "a\\", "error"},
		{"", "\\", "f"}, {"a", "%\\", "error"}, {"b", "a\\", "f"}, {"abc", "%%_%", "t"}, {"ab", "%__", "t"}, {"a", "%__", "f"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!CHECK_STR(truth("textlike", rows[i][0], rows[i][1]), rows[i][2]))
			printf("  '%s' LIKE '%s'\n", rows[i][0], rows[i][1]);
	CHECK_STR(truth("textnlike", "abc", "b%"), "t");
	CHECK_STR(truth("texticlike", "AbC\xc3\x89", "aBc\xc3\xa9"), "t");
	CHECK_STR(truth("texticnlike", "AbC", "abc"), "f");
	CHECK_STR(truth("bytealike", "\xc3\xa9", "_"), "f");
	CHECK_STR(truth("bytealike", "\xc3\xa9", "__"), "t");
	CHECK_STR(text2("like_escape", "a#%b\\", "#"), "a\\%b\\\\");
	CHECK_STR(text2("like_escape", "a\\b", ""), "a\\\\b");
	CHECK_STR(text2("like_escape", "a", "##"), "error");
	CHECK_STR(reason, "invalid escape string");
}

static void test_regex(void)
{
	static const char *const rows[][3] = {
		{"abc", "b", "t"}, {"abc", "^b", "f"}, {"abc", "c$", "t"}, {"abc\n", "c$", "f"}, {"a\nb", "a.b", "t"},
		{"a\nb", "(?n)a.b", "f"}, {"a\nb", "(?w)^b", "t"}, {"a\nb", "^b", "f"}, {"aaa", "^a{2,3}$", "t"}, {"a", "^a{2,}$", "f"},
		{"ab", "^(a|b)+?$", "t"}, {"", "", "t"}, {"x", "a|", "t"}, {"\xc3\xa9", "^\\w$", "t"}, {"\xc3\xa9", "^.$", "t"},
		{"\xc3\xa9", "[\xc3\xa0-\xc3\xbf]", "t"}, {"1", "[[:digit:]]", "t"}, {"a", "[^[:alpha:]]", "f"}, {"-", "[a-]", "t"},
		{"]", "[]]", "t"}, {"a b", "\\mb\\M", "t"}, {"ab", "\\mb", "f"}, {"ab", "a\\Yb", "t"}, {"ab", "\\yab\\y", "t"},
		{"a", "\\x61", "t"}, {"a{,2}", "a{,2}", "t"}, {"a.b", "***=a.b", "t"}, {"axb", "***=a.b", "f"}, {"A", "(?i)a", "t"},
		{"a", "(?#comment)a(?#x)+", "t"}, {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", "(a*)*b", "f"}, {"ab", "\\Aab\\Z", "t"},
		{"x", "a{0}x", "t"}, {"\\", "\\B", "t"}, {"ab", "(^)*b", "t"},
	};
	static const char *const wrong[] = {
		"(", ")", "a)", "[", "[b-a]", "[a-c-e]", "[[:foo:]]", "a**", "*a", "a{2,1}", "a{256}", "a{1", "\\", "\\q", "(?k)a", "[a-\\d]",
		"\\y*", "***a", "a(?)", "^*",
		"(a)\\1", "(?=a)", "(?<!a)", "[[.a.]]", "[[=a=]]", "\\012", "(?x)a", "((((a{99}){99}){99}){99})",
		"(((((){255}){255}){255}){255})",
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!CHECK_STR(truth("textregexeq", rows[i][0], rows[i][1]), rows[i][2]))
			printf("  '%s' ~ '%s'\n", rows[i][0], rows[i][1]);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (!CHECK_STR(truth("textregexeq", "a", wrong[i]), "error"))
			printf("  '%s'\n", wrong[i]);
	truth("textregexeq", "a", "(a)\\1");
	CHECK_STR(reason, "back-references are not supported in regular expressions");
	truth("textregexeq", "a", "a**");
	CHECK_STR(reason, "invalid regular expression: quantifier operand invalid");
	CHECK_STR(truth("textregexne", "abc", "b"), "f");
	CHECK_STR(truth("texticregexeq", "\xc3\x89", "\xc3\xa9"), "t");
	CHECK_STR(truth("texticregexne", "A", "[a-b]"), "f");
	struct where_value args[3] = {text("A\nb"), text("^B"), text("in")}, out;
	CHECK(call("regexp_like", 3, args, NULL, &out) == 0 && out.u.i == 1);
	args[2] = text("g");
	CHECK_INT(call("regexp_like", 3, args, NULL, &out), -1);
}

/* A cache of states that fills many times over, and a long text, are but slow. */
static void test_regex_limits(void)
{
	char *long_text = arena_alloc(&mem, LONG_TEXT);
	for (size_t i = 0; i < LONG_TEXT; i++)
		long_text[i] = "ab"[(i * 7919 >> 3) & 1];
	struct where_value args[2] = {where_bytes(long_text, LONG_TEXT), text("(a|b)*a(a|b){14}c")}, out;
	CHECK(call("textregexeq", 2, args, NULL, &out) == 0 && out.u.i == 0);
	char pattern[64], why[WHERE_REASON_MAX];
	snprintf(pattern, sizeof pattern, "((a|b)*a(a|b){%d}){%d}c", 200, 5);
	uint64_t steps = UINT64_MAX;
	struct regex *r = regex_compile(pattern, strlen(pattern), collation, 0, &steps, why);
	steps = UINT64_MAX;
	if (CHECK(r != NULL))
		CHECK(regex_match(r, long_text, LONG_TEXT, &steps, why) <= 0);
	regex_free(r);
	/* More different characters than symbols. */
	struct buf wide = BUF_INIT(1 << 20);
	buf_puts(&wide, "[");
	for (unsigned i = 0; i < 3000; i++)
		buf_printf(&wide, "%c%c%c", 0xE4 + (i >> 12), 0x80 | (i >> 6 & 63), 0x80 | (i & 63));
	args[0] = where_bytes(wide.data + 1, wide.len - 1);
	args[1] = text("^[^x]*\\w$");
	CHECK(call("textregexeq", 2, args, NULL, &out) == 0 && out.u.i == 1);
	buf_clear(&wide);
}

/* With so many steps left: "costly", "error", or what it comes to. */
static const char *with_budget(const char *prosrc, const struct where_value *args, uint64_t left, struct where_value *out)
{
	struct where_call c = {.mem = &mem, .collation = collation, .nargs = 2, .typmod = -1, .work = 5, .work_max = 5 + left};
	int r = impl_of(prosrc)->fn(&c, args, out);
	return c.too_costly ? "costly" : r < 0 ? "error" : "done";
}

/* What a row asks for is paid for out of the row's budget: also compiling its pattern, and to the last step. */
static void test_budgets(void)
{
	struct where_value args[2] = {text("x"), text("(a{200}){5}")}, out;
	CHECK_STR(with_budget("textregexeq", args, 1000000, &out), "done");
	CHECK_STR(with_budget("textregexeq", args, 10000, &out), "costly");
	args[1] = text("[\u2000-\U0001F000]"); /* the cases of so many characters are looked up */
	CHECK_STR(with_budget("texticregexeq", args, 100000, &out), "costly");
	struct buf many = BUF_INIT(1 << 20);
	buf_puts(&many, "[");
	for (int i = 0; i < 500; i++)
		buf_puts(&many, "一-鿿");
	buf_puts(&many, "]");
	args[1] = where_bytes(many.data, many.len);
	CHECK_STR(with_budget("texticregexeq", args, UINT64_MAX - 5, &out), "error"); /* nor without end, for a request's own */
	buf_clear(&many);
	args[0] = text("ääbää");
	args[1] = text("öä");
	CHECK_STR(with_budget("btrim", args, 1000, &out), "done");
	CHECK(out.len == 1);
	for (uint64_t left = 0; left < 40; left++)
		if (strcmp(with_budget("btrim", args, left, &out), "costly") != 0)
			CHECK(out.len == 1);
}

static void test_similar(void)
{
	CHECK_STR(text1("similar_to_escape_1", "a%_b"), "^(?:a.*.b)$");
	CHECK_STR(text1("similar_to_escape_1", "(a|b)\\%.^$"), "^(?:(?:a|b)\\%\\.\\^\\$)$");
	CHECK_STR(text2("similar_to_escape_2", "a#%[^b\\]", "#"), "^(?:a\\%[^b\\\\])$");
	CHECK_STR(text2("similar_to_escape_2", "a\\", ""), "^(?:a\\\\)$");
	CHECK_STR(text1("similar_to_escape_1", "[[:digit:]]"), "error");
	CHECK_STR(text2("similar_to_escape_2", "a", "ab"), "error");
}

static void test_parts(void)
{
	CHECK_STR(text_int("text_substr_no_len", "a\xc3\xa9g", 2), "\xc3\xa9g");
	CHECK_STR(text_int2("text_substr", "abc", -1, 3), "a");
	CHECK_STR(text_int2("text_substr", "abc", 2, INT32_MAX), "bc");
	CHECK_STR(text_int2("text_substr", "abc", 2, -1), "error");
	CHECK_STR(text_int("text_left", "a\xc3\xa9g", 2), "a\xc3\xa9");
	CHECK_STR(text_int("text_left", "abc", -2), "a");
	CHECK_STR(text_int("text_right", "a\xc3\xa9g", 2), "\xc3\xa9g");
	CHECK_STR(text_int("text_right", "abc", -2), "c");
	CHECK_STR(text_int("text_right", "abc", INT32_MIN), "abc"); /* as Postgres, whose int has no negative of it */
	struct where_value args[4] = {text("a,b,c"), text(","), where_int(2)}, out;
	CHECK_STR(as_string(call("split_part", 3, args, NULL, &out), &out), "b");
	args[2] = where_int(-1);
	CHECK_STR(as_string(call("split_part", 3, args, NULL, &out), &out), "c");
	args[2] = where_int(0);
	CHECK_INT(call("split_part", 3, args, NULL, &out), -1);
	args[2] = where_int(2), args[3] = where_int(3);
	CHECK_STR(as_string(call("textoverlay", 4, args, NULL, &out), &out), "a,c");
	CHECK_STR(text2("btrim", "xxaxx", "x"), "a");
	CHECK_STR(text2("ltrim", "\xc3\xa9x a", "x\xc3\xa9"), " a");
	CHECK_STR(text1("rtrim1", " a  "), " a");
	CHECK_STR(text_int("lpad", "a", 3), "  a");
	CHECK_STR(text_int("rpad", "abc", 2), "ab");
	CHECK_STR(text_int("repeat", "ab", 3), "ababab");
	CHECK_STR(text_int("repeat", "ab", INT32_MAX), "error");
	CHECK_STR(text_int("lpad", "a", INT32_MAX), "error");
	CHECK_STR(text3("replace_text", "aaa", "aa", "b"), "ba");
	CHECK_STR(text3("translate", "abcb", "bc", "x"), "axx");
	CHECK_STR(text1("text_reverse", "a\xc3\xa9"), "\xc3\xa9" "a");
	CHECK_STR(text2("textcat", "a", "b"), "ab");
	CHECK_STR(text_int2("varchar", "abc  ", 4 + 3, 0), "abc");
	CHECK_STR(text_int2("varchar", "abc d", 4 + 3, 0), "error");
	CHECK_STR(text_int2("varchar", "abc d", 4 + 3, 1), "abc");
	CHECK_STR(text_int2("bpchar", "\xc3\xa9", 4 + 3, 1), "\xc3\xa9  ");
	CHECK_INT(number("textlen", "a\xc3\xa9"), 2);
	CHECK_INT(number("bpcharlen", "a  "), 1);
	CHECK_INT(number("textoctetlen", "a\xc3\xa9"), 3);
	CHECK_INT(number("bit_length", "ab"), 16);
	CHECK_INT(number("ascii", "\xc3\xa9"), 0xE9);
	struct where_value find[2] = {text("a\xc3\xa9" "b"), text("b")};
	CHECK(call("textpos", 2, find, NULL, &out) == 0 && out.u.i == 3);
}

static void test_case(void)
{
	const struct where_collation *before = collation;
	CHECK_STR(text1("lower", "A\xc3\x89"), "a\xc3\xa9");
	CHECK_STR(text1("upper", "a\xc3\xa9\xc3\x9f"), "A\xc3\x89\xc3\x9f");
	CHECK_STR(text1("initcap", "hELLO o'neil \xc3\xa9" "a"), "Hello O'Neil \xc3\x89" "a");
	collation = where_collation_c();
	CHECK_STR(text1("lower", "A\xc3\x89"), "a\xc3\x89");
	CHECK_STR(truth("texticlike", "\xc3\x89", "\xc3\xa9"), "f");
	CHECK_STR(truth("textregexeq", "\xc3\xa9", "\\w"), "f");
	collation = where_collation_get("icu", 'i', "de", "de", NULL, true);
	CHECK_STR(text1("upper", "a\xc3\xa9"), "A\xc3\x89");
	CHECK_STR(text1("upper", "a\xc3\x9f"), "error");
	CHECK_STR(text1("lower", "\xce\xa3"), "error");
	CHECK_STR(text1("initcap", "ab cd"), "Ab Cd");
	CHECK_STR(text1("initcap", "o'neil"), "error");
	collation = where_collation_get("turkish", 'i', "tr", "tr", NULL, true);
	CHECK_STR(text1("lower", "I"), "error");
	collation = before;
}

static const char *in_out(const char *type, const char *s)
{
	static struct buf out = BUF_INIT(1 << 20);
	struct where_call c = {.mem = &mem, .collation = collation, .typmod = -1};
	struct where_value v;
	buf_reset(&out);
	buf_putc(&out, '\0');
	buf_reset(&out);
	if (io_of(type)->in(&c, s, strlen(s), &v) < 0)
		return "error";
	return io_of(type)->out(&c, &v, &out) < 0 ? "error" : out.len == 0 ? "" : out.data;
}

static void test_input(void)
{
	static const char uuid[] = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
	CHECK_STR(in_out("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"), uuid);
	CHECK_STR(in_out("uuid", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}"), uuid);
	CHECK_STR(in_out("uuid", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11"), uuid);
	CHECK_STR(in_out("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"), "error");
	CHECK_STR(in_out("uuid", " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), "error");
	CHECK_STR(in_out("bytea", "\\x00fF 1a"), "\\x00ff1a");
	CHECK_STR(in_out("bytea", "a\\\\\\101"), "\\x615c41");
	CHECK_STR(in_out("bytea", "\\x0"), "error");
	CHECK_STR(in_out("bytea", "a\\9"), "error");
	CHECK_STR(in_out("char", "ab"), "a");
	CHECK_STR(in_out("char", ""), "");
	CHECK_STR(in_out("text", ""), "");
	CHECK(strlen(in_out("name", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa9")) == 62);
}

static void test_bytes(void)
{
	struct where_value args[4] = {where_bytes("\0\x01\xff", 3), where_bytes("\x01", 1)}, out;
	CHECK(call("byteapos", 2, args, NULL, &out) == 0 && out.u.i == 2);
	CHECK(call("byteagt", 2, args, NULL, &out) == 0 && out.u.i == 0);
	args[1] = text("Hex");
	CHECK_STR(as_string(call("binary_encode", 2, args, NULL, &out), &out), "0001ff");
	args[1] = text("base64");
	CHECK_STR(as_string(call("binary_encode", 2, args, NULL, &out), &out), "AAH/");
	args[1] = text("escape");
	CHECK_STR(as_string(call("binary_encode", 2, args, NULL, &out), &out), "\\000\x01\\377");
	args[1] = text("x");
	CHECK_INT(call("binary_encode", 2, args, NULL, &out), -1);
	CHECK_STR(text2("binary_decode", "YWI=", "base64"), "ab");
	CHECK_STR(text2("binary_decode", "YWI", "base64"), "error");
	CHECK_STR(text1("md5_text", "abc"), "900150983cd24fb0d6963f7d28e17f72");
	CHECK_INT(call("sha256_bytea", 1, (struct where_value[]){text("abc")}, NULL, &out), 0);
	CHECK(out.len == 32 && memcmp(out.u.p, "\xba\x78\x16\xbf\x8f\x01\xcf\xea", 8) == 0);
}

static void test_enum(void)
{
	static const char *const labels[] = {"low", "high", "a"};
	static const struct where_type mood = {.oid = 99999, .name = "mood", .kind = 'e', .labels = labels, .nlabels = 3};
	const struct where_type *types[2] = {&mood, &mood};
	struct where_value args[2] = {text("high"), text("a")}, out;
	CHECK(call("enum_lt", 2, args, types, &out) == 0 && out.u.i == 1);
	CHECK(call("enum_eq", 2, args, types, &out) == 0 && out.u.i == 0);
	CHECK(call("enum_larger", 2, args, types, &out) == 0 && out.u.p[0] == 'a');
	args[0] = text("new");
	CHECK_INT(call("enum_lt", 2, args, types, &out), -1);
	CHECK(call("enum_ne", 2, args, types, &out) == 0 && out.u.i == 1);
}

static void test_concat(void)
{
	const struct where_type *types[3] = {where_type_builtin(OID_TEXT), where_type_builtin(OID_BPCHAR),
	                                     where_type_builtin(OID_BOOL)};
	struct where_value args[3] = {text("a"), text("b "), where_bool(true)}, out;
	CHECK_STR(as_string(call("text_concat", 3, args, types, &out), &out), "ab t");
	CHECK_STR(as_string(call("text_concat_ws", 3, args, types, &out), &out), "b at");
	args[1] = where_null();
	CHECK_STR(as_string(call("text_concat_ws", 3, args, types, &out), &out), "t");
	args[0] = where_null();
	CHECK_STR(as_string(call("text_concat_ws", 3, args, types, &out), &out), "NULL");
	args[0] = text("a"), args[1] = where_bool(true);
	types[1] = where_type_builtin(OID_BOOL);
	CHECK_STR(as_string(call("textanycat", 2, args, types, &out), &out), "atrue");
}

int main(void)
{
	collation = where_collation_get("default", 'c', "C.UTF-8", "C.UTF-8", NULL, true);
	RUN(test_collations);
	RUN(test_compare);
	RUN(test_like);
	RUN(test_regex);
	RUN(test_regex_limits);
	RUN(test_budgets);
	RUN(test_similar);
	RUN(test_parts);
	RUN(test_case);
	RUN(test_input);
	RUN(test_bytes);
	RUN(test_enum);
	RUN(test_concat);
	arena_clear(&mem);
	return check_done("text_fn");
}
