/* gen.c - random conditions; see gen.h. */
#include "gen.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/catalog.h"

#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof *(a)))
#define DEPTH_MAX 4
#define TEXT_SOFT_MAX 1200 /* beyond, only leaves are written */
#define TYPES_MAX 96
#define STRAY_ROWS 3           /* percent of all expressions with a row where a value should be */

static void expr(struct gen *g, uint32_t type, int depth);

/* ---- chance ----------------------------------------------------------------------------------------- */

uint32_t gen_random(struct gen *g, uint32_t n)
{
	uint64_t x = g->seed += 0x9e3779b97f4a7c15u; /* splitmix64 */
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	x ^= x >> 31;
	return (uint32_t)((x >> 32) * n >> 32);
}

static bool chance(struct gen *g, uint32_t percent)
{
	return gen_random(g, 100) < percent;
}

static const char *from_pool(struct gen *g, const char *const *pool)
{
	uint32_t n = 0;
	while (pool[n])
		n++;
	return pool[gen_random(g, n)];
}

#define PICK(g, a) ((a)[gen_random(g, COUNT(a))])

static void say(struct gen *g, const char *s)
{
	buf_puts(&g->out, s);
}

/* A keyword as people write it. */
static void keyword(struct gen *g, const char *s)
{
	uint32_t style = gen_random(g, 6);
	for (; *s; s++)
		buf_putc(&g->out, (char)(style == 0 || (style == 1 && chance(g, 50)) ? tolower((unsigned char)*s) : *s));
}

/* What separates words. */
static void blank(struct gen *g)
{
	static const char *const blanks[] = {" ", "\n", "\t ", " /* a 'comment */ ", " -- b\n", "/**/"};
	say(g, chance(g, 96) ? " " : PICK(g, blanks));
}

static void span(struct gen *g, size_t start)
{
	if (g->nspans < GEN_SPANS_MAX)
		g->spans[g->nspans++] = (struct gen_span){(uint32_t)start, (uint32_t)g->out.len};
}

/* ---- types ------------------------------------------------------------------------------------------ */

const struct gen_type *gen_find_type(const struct gen *g, uint32_t oid)
{
	for (size_t i = 0; i < g->ntypes; i++)
		if (g->types[i].oid == oid)
			return &g->types[i];
	return NULL;
}

static uint32_t array_of(const struct gen *g, uint32_t elem)
{
	for (size_t i = 0; i < g->ntypes; i++)
		if (g->types[i].elem == elem)
			return g->types[i].oid;
	return 0;
}

static uint32_t any_type(struct gen *g)
{
	for (;;) {
		const struct gen_type *t = &g->types[gen_random(g, (uint32_t)g->ntypes)];
		if (t->category != 'P')
			return t->oid;
	}
}

static uint32_t any_elem(struct gen *g)
{
	for (;;) {
		const struct gen_type *t = &g->types[gen_random(g, (uint32_t)g->ntypes)];
		if (t->elem != 0)
			return t->elem;
	}
}

/* Types with `=` and an order. */
static uint32_t comparable_type(struct gen *g)
{
	for (;;) {
		uint32_t t = any_type(g);
		if (t != OID_JSON && t != 199)
			return t;
	}
}

static const char *type_name(struct gen *g, uint32_t oid)
{
	static const struct {
		uint32_t oid;
		const char *names[8];
	} aliases[] = {
		{OID_INT4, {"int4", "int", "integer", "pg_catalog.int4", "INTEGER"}},
		{OID_INT8, {"int8", "bigint", "pg_catalog.int8"}},
		{OID_INT2, {"int2", "smallint"}},
		{OID_BOOL, {"bool", "boolean", "Boolean"}},
		{OID_FLOAT8, {"float8", "double precision", "float", "float(53)"}},
		{OID_FLOAT4, {"float4", "real", "float(24)"}},
		{OID_NUMERIC, {"numeric", "decimal", "dec"}},
		{OID_VARCHAR, {"varchar", "character varying", "char varying"}},
		{OID_TIMETZ, {"timetz", "time with time zone"}},
		{OID_TIMESTAMPTZ, {"timestamptz", "timestamp with time zone"}},
		{OID_TIMESTAMP, {"timestamp", "timestamp without time zone"}},
		{OID_TEXT, {"text", "pg_catalog.text", "\"text\""}},
		{1007, {"int4[]", "int[]", "integer[3]", "_int4", "int array", "int[][]"}},
		{1009, {"text[]", "_text", "text ARRAY[4]"}},
	};
	for (uint32_t i = 0; i < COUNT(aliases); i++)
		if (aliases[i].oid == oid) {
			uint32_t n = 0;
			while (n < 8 && aliases[i].names[n])
				n++;
			return aliases[i].names[gen_random(g, n)];
		}
	return gen_find_type(g, oid)->sql;
}

/* A type with a length or precision, where it has one. */
static const char *type_with_modifier(struct gen *g, uint32_t oid)
{
	static const char *const numeric[] = {"numeric(5,2)", "numeric(10)", "numeric(20,5)", "decimal(38,10)",
	                                      "numeric(3,0)"};
	static const char *const varchar[] = {"varchar(3)", "varchar(1)", "character varying(10)"};
	static const char *const bpchar[] = {"char(3)", "character(6)", "char", "bpchar(4)"};
	static const char *const timestamp[] = {"timestamp(0)", "timestamp(3)", "timestamp(2) without time zone"};
	static const char *const timestamptz[] = {"timestamptz(0)", "timestamp(3) with time zone"};
	static const char *const time[] = {"time(0)", "time(3)"}, *const timetz[] = {"timetz(0)", "time(2) with time zone"};
	static const char *const interval[] = {
		"interval(0)",    "interval year",   "interval day to hour",   "interval second(2)",
		"interval month", "interval minute", "interval year to month", "interval hour to second(3)"};
	static const char *const numerics[] = {"numeric(5,2)[]"}, *const varchars[] = {"varchar(2)[]"};
	switch (oid) {
	case OID_NUMERIC:
		return PICK(g, numeric);
	case OID_VARCHAR:
		return PICK(g, varchar);
	case OID_BPCHAR:
		return PICK(g, bpchar);
	case OID_TIMESTAMP:
		return PICK(g, timestamp);
	case OID_TIMESTAMPTZ:
		return PICK(g, timestamptz);
	case OID_TIME:
		return PICK(g, time);
	case OID_TIMETZ:
		return PICK(g, timetz);
	case OID_INTERVAL:
		return PICK(g, interval);
	case 1231:
		return numerics[0];
	case 1015:
		return varchars[0];
	default:
		return type_name(g, oid);
	}
}

/* ---- values and literals ---------------------------------------------------------------------------- */

void gen_quote(struct buf *out, const char *text)
{
	buf_putc(out, '\'');
	for (; *text; text++) {
		if (*text == '\'')
			buf_putc(out, '\'');
		buf_putc(out, *text);
	}
	buf_putc(out, '\'');
}

static void array_element(struct gen *g, const struct gen_type *elem, struct buf *out)
{
	if (chance(g, 12)) {
		buf_puts(out, chance(g, 70) ? "NULL" : "null");
		return;
	}
	struct buf fresh = BUF_INIT(1 << 16);
	const char *text = from_pool(g, elem->pool);
	if (chance(g, 15) && gen_fresh(g, elem->oid, &fresh) && fresh.data)
		text = fresh.data;
	bool plain = *text != '\0' && strcasecmp(text, "null") != 0 && strpbrk(text, "{},\"\\ \t\n\v\f\r") == NULL;
	if (plain && chance(g, 80))
		buf_puts(out, text);
	else {
		buf_putc(out, '"');
		for (; *text; text++) {
			if (*text == '"' || *text == '\\')
				buf_putc(out, '\\');
			buf_putc(out, *text);
		}
		buf_putc(out, '"');
	}
	buf_clear(&fresh);
}

static void array_text(struct gen *g, const struct gen_type *elem, struct buf *out, int dims, const uint32_t *lengths)
{
	buf_putc(out, '{');
	for (uint32_t i = 0; i < lengths[0]; i++) {
		if (i > 0)
			buf_puts(out, chance(g, 85) ? "," : " , ");
		if (dims > 1)
			array_text(g, elem, out, dims - 1, lengths + 1);
		else
			array_element(g, elem, out);
	}
	buf_putc(out, '}');
}

void gen_value(struct gen *g, const struct gen_type *t, struct buf *out)
{
	if (t->elem == 0) {
		if (!chance(g, 30) || !gen_fresh(g, t->oid, out))
			buf_puts(out, from_pool(g, t->pool));
		return;
	}
	int dims = chance(g, 80) ? 1 : 2;
	uint32_t lengths[2] = {gen_random(g, 4), 1 + gen_random(g, 2)};
	if (dims == 2 && lengths[0] == 0)
		lengths[0] = 1;
	if (lengths[0] > 0 && chance(g, 8)) {
		int lower = (int)gen_random(g, 5) - 2;
		buf_printf(out, "[%d:%d]", lower, lower + (int)lengths[0] - 1);
		if (dims == 2)
			buf_printf(out, "[2:%u]", lengths[1] + 1);
		buf_putc(out, '=');
	}
	array_text(g, gen_find_type(g, t->elem), out, dims, lengths);
}

/* The next character of UTF-8, and its length. */
static uint32_t code_point(const unsigned char *p, int *len)
{
	*len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t c = *len == 1 ? p[0] : p[0] & (0xffu >> (*len + 1));
	for (int i = 1; i < *len; i++)
		c = c << 6 | (p[i] & 0x3f);
	return c;
}

/* A string constant in one of the spellings of SQL. */
static void quoted(struct gen *g, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t half = strlen(text) / 2;
	uint32_t style = gen_random(g, 20);
	if (style == 0) {
		say(g, chance(g, 50) ? "E'" : "e'");
		for (; *p; p++) {
			if (*p == '\'' || *p == '\\')
				buf_printf(&g->out, "\\%c", *p);
			else if (*p == '\n')
				say(g, "\\n");
			else if (*p < 0x80 && chance(g, 15))
				buf_printf(&g->out, chance(g, 50) ? "\\x%02x" : "\\%03o", *p);
			else
				buf_putc(&g->out, (char)*p);
		}
		say(g, "'");
	} else if (style == 1 && !strchr(text, '$')) {
		const char *tag = chance(g, 50) ? "$$" : "$q$";
		say(g, tag), say(g, text), say(g, tag);
	} else if (style == 2) {
		say(g, "U&'");
		for (int len; *p; p += len) {
			uint32_t c = code_point(p, &len);
			if (c == '\'' || c == '\\')
				buf_printf(&g->out, "%c%c", (int)c, (int)c);
			else if (c > 0xffff)
				buf_printf(&g->out, "\\+%06X", c);
			else if (c > 0x7e || chance(g, 10))
				buf_printf(&g->out, "\\%04x", c);
			else
				buf_putc(&g->out, (char)c);
		}
		say(g, "'");
	} else if (style == 3 && half > 0 && (p[half] & 0xc0) != 0x80) {
		char *first = mem_strndup(text, half);
		gen_quote(&g->out, first);
		say(g, "\n ");
		gen_quote(&g->out, text + half);
		free(first);
	} else
		gen_quote(&g->out, text);
}

static void param(struct gen *g, const char *text)
{
	if (g->nparams == GEN_PARAMS_MAX) {
		gen_quote(&g->out, text);
		return;
	}
	g->params[g->nparams++] = mem_strdup(text);
	buf_printf(&g->out, "$%zu", g->nparams);
}

static bool is_integer(const char *s)
{
	if (*s == '-')
		s++;
	size_t n = strspn(s, "0123456789");
	return n > 0 && s[n] == '\0';
}

static bool is_decimal(const char *s)
{
	if (*s == '-')
		s++;
	return *s != '\0' && strspn(s, "0123456789.eE-+") == strlen(s) && strpbrk(s, "0123456789") &&
	       (isdigit((unsigned char)*s) || *s == '.');
}

/* The text as a constant whose type is certain. */
static void typed_literal(struct gen *g, uint32_t type, const char *text)
{
	const char *name = chance(g, 90) ? type_name(g, type) : type_with_modifier(g, type);
	bool simple_name = strpbrk(name, "[. ") == NULL;
	if ((type == OID_INT4 || type == OID_INT8) && is_integer(text) && chance(g, 80)) {
		buf_printf(&g->out, *text == '-' && chance(g, 50) ? "(%s)" : chance(g, 5) ? "+ %s" : "%s", text);
		return;
	}
	if (type == OID_NUMERIC && is_decimal(text) && chance(g, 70)) {
		say(g, *text == '-' ? "(" : ""), say(g, text), say(g, *text == '-' ? ")" : "");
		return;
	}
	if (type == OID_BOOL && chance(g, 80)) {
		keyword(g, chance(g, 50) ? "TRUE" : "FALSE");
		return;
	}
	switch (gen_random(g, 10)) {
	case 0:
		keyword(g, "CAST"), say(g, "("), quoted(g, text), keyword(g, " AS "), say(g, name), say(g, ")");
		break;
	case 1:
	case 2:
		if (simple_name && type != OID_CHAR) {
			say(g, name), say(g, " "), quoted(g, text);
			break;
		}
		/* fallthrough */
	case 3:
		if (g->nparams < GEN_PARAMS_MAX && chance(g, 50)) {
			param(g, text), say(g, "::"), say(g, name);
			break;
		}
		/* fallthrough */
	case 4:
	case 5:
	case 6:
		if (type == OID_TEXT) {
			quoted(g, text);
			break;
		}
		/* fallthrough */
	default:
		quoted(g, text), say(g, chance(g, 90) ? "::" : " :: "), say(g, name);
	}
}

static void value_text(struct gen *g, uint32_t type, struct buf *out)
{
	const struct gen_type *t = gen_find_type(g, type);
	if (g->text_pool && t->category == 'S' && chance(g, 80))
		buf_puts(out, from_pool(g, g->text_pool));
	else
		gen_value(g, t, out);
	if (!out->data)
		buf_puts(out, "");
}

static void literal(struct gen *g, uint32_t type)
{
	struct buf text = BUF_INIT(1 << 16);
	value_text(g, type, &text);
	if (type == 2275)
		quoted(g, text.data);
	else
		typed_literal(g, type, text.data);
	buf_clear(&text);
}

/* A constant that gets its type from what is around it. */
static void unknown_literal(struct gen *g, uint32_t type)
{
	struct buf text = BUF_INIT(1 << 16);
	value_text(g, type, &text);
	if (chance(g, 25))
		param(g, text.data);
	else
		quoted(g, text.data);
	buf_clear(&text);
}

static void column_reference(struct gen *g, const struct gen_column *c)
{
	bool simple = c->name[strspn(c->name, "abcdefghijklmnopqrstuvwxyz_0123456789")] == '\0';
	if (chance(g, 8))
		buf_printf(&g->out, "%s.", g->table);
	if (simple && chance(g, 85)) {
		keyword(g, c->name);
		return;
	}
	buf_putc(&g->out, '"');
	for (const char *p = c->name; *p; p++) {
		if (*p == '"')
			buf_putc(&g->out, '"');
		buf_putc(&g->out, *p);
	}
	buf_putc(&g->out, '"');
}

static bool is_wanted(const struct gen *g, const struct gen_column *c, uint32_t type)
{
	return c->type == type && !(c->domain && g->no_domains);
}

static bool column_of(struct gen *g, uint32_t type)
{
	uint32_t n = 0;
	for (size_t i = 0; i < g->ncolumns; i++)
		n += is_wanted(g, &g->columns[i], type);
	if (n == 0)
		return false;
	n = gen_random(g, n);
	for (size_t i = 0; i < g->ncolumns; i++)
		if (is_wanted(g, &g->columns[i], type) && n-- == 0)
			column_reference(g, &g->columns[i]);
	return true;
}

static void leaf(struct gen *g, uint32_t type)
{
	if (g->text_pool == NULL && chance(g, 65) && column_of(g, type))
		return;
	literal(g, type);
}

/* ---- operators and functions from the catalog -------------------------------------------------------- */

struct candidate {
	const struct where_proc *proc;
	const struct where_oper *oper;
};

/* By result type: the index of the type, the last for all results whatever. */
static struct candidate *candidates[TYPES_MAX + 1];
static size_t ncandidates[TYPES_MAX + 1];

static bool is_poly_elem(uint32_t t)
{
	return t == OID_ANYELEMENT || t == OID_ANYNONARRAY || t == OID_ANYCOMPATIBLE || t == OID_ANYCOMPATIBLENONARRAY;
}

static bool is_poly_array(uint32_t t)
{
	return t == OID_ANYARRAY || t == OID_ANYCOMPATIBLEARRAY;
}

static bool is_known(const struct gen *g, uint32_t t)
{
	return gen_find_type(g, t) || is_poly_elem(t) || is_poly_array(t) || t == OID_ANYENUM || t == OID_ANY;
}

static bool usable(const struct gen *g, const struct where_proc *p)
{
	if (!where_impl_of(p) || p->retset)
		return false;
	/* Of the supports of indexes only the sign means something. */
	size_t length = strlen(p->name);
	if (p->result == OID_INT4 && length > 3 && strcmp(p->name + length - 3, "cmp") == 0)
		return false;
	/* Coercions to a length take type modifiers, which nobody writes: casts are for them. */
	if (p->nargs >= 2 && p->args[1] == OID_INT4 && where_type_by_name(p->name))
		return false;
	bool ok = is_known(g, p->result);
	for (int i = 0; i < p->nargs; i++)
		ok &= is_known(g, p->args[i]);
	return ok;
}

static bool yields(const struct gen *g, uint32_t result, const struct gen_type *t)
{
	return result == t->oid || (is_poly_elem(result) && t->elem == 0 && t->category != 'P') ||
	       (is_poly_array(result) && t->elem != 0) || (result == OID_ANYENUM && t->oid == g->enum_oid);
}

static void add_candidate(struct gen *g, const struct where_proc *p, const struct where_oper *o)
{
	if (!usable(g, p))
		return;
	for (size_t i = 0; i <= g->ntypes; i++) {
		if (i < g->ntypes && !yields(g, p->result, &g->types[i]))
			continue;
		candidates[i] = mem_realloc(candidates[i], (ncandidates[i] + 1) * sizeof *candidates[i]);
		candidates[i][ncandidates[i]++] = (struct candidate){p, o};
	}
}

/* Types' places stay the same from table to table. */
static void make_candidates(struct gen *g)
{
	if (ncandidates[g->ntypes] > 0)
		return;
	for (uint32_t oid = 1; oid < 16384; oid++) {
		const struct where_oper *o = where_oper_by_oid(oid);
		if (o && where_proc_by_oid(o->proc))
			add_candidate(g, where_proc_by_oid(o->proc), o);
		const struct where_proc *p = where_proc_by_oid(oid);
		if (p)
			add_candidate(g, p, NULL);
	}
}

#define HINT(name, ...) static const char *const name[] = {__VA_ARGS__, NULL}
HINT(hint_fields, "year", "month", "day", "hour", "minute", "second", "milliseconds", "microseconds", "quarter", "week",
     "dow", "isodow", "doy", "isoyear", "decade", "century", "millennium", "epoch", "julian", "timezone",
     "timezone_hour", "timezone_minute", "YEAR", "mon", "bogus", "msec");
HINT(hint_zones, "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "PST", "EST5EDT", "+02", "-05:30", "utc",
     "CEST", "<+03>-03", "America/St_Johns", "Nowhere/Land", "Z", "Australia/Lord_Howe", "europe/berlin");
HINT(hint_encodings, "hex", "base64", "escape", "HEX", "rot13");
HINT(hint_patterns, "%", "_", "a%", "%a", "%b%", "a_c", "A%", "\\%", "a\\_b", "a\\\\b", "", "abc", "__", "%\xc3\xa4%",
     "_\xc3\xb6_", "%\\", "h%o w%d", "\xc3\x84%", "___", "%%", "_%_", "a%c%",
     "stra\xc3\x9f"
     "e",
     "STRA%", "\xf0\x9f\x98\x80", "_\n_", "%\n%", "\\a%", "x'y");
HINT(hint_regexes, "a", "^a", "c$", "^abc$", "a.c", "a*", "a+b?", "[abc]", "[^abc]", "[a-z]+", "a|b", "(a)(b)", "(ab)+",
     "a{2}", "a{1,3}", "\\d+", "\\w", "\\s", "^\\s*$", ".", "", "^.$", "^.{3}$", "[[:alpha:]]+", "[[:space:]]",
     "(?i)ABC", "a{2,}?", ".*?b", "\\.", "\\\\", "(", "[", "^(a|b)*$", "\xc3\xa4", "[\xc3\xa4-\xc3\xbc]", "\\bhello\\b",
     "\\mhello\\M", "(a)\\1", "x*", "$", "^", "a\nb", "(?:a|ab)(?:c|bcd)?", "\\Aab", "d\\Z", "[[:upper:]]", "[0-9]{3}",
     "ABC", "\xc3\x84", "[A-C]b", "^[^ ]+ [^ ]+$", "(?=a)", "\\x41", "***=a.b", "a{0}", "()", "[]a]", "[a-]", "^*");
HINT(hint_flags, "", "i", "g", "gi", "n", "c", "x", "s");
HINT(hint_keys, "a", "b", "c", "x", "y", "", "0", "1", "-1", "2", "aa", "null");
HINT(hint_small, "0", "1", "2", "3", "-1", "4", "5", "10", "-2", "20");
HINT(hint_tiny, "0", "1", "2", "0.5", "-1", "3", "1.5", "-0.5", "10");
HINT(hint_path, "{a}", "{a,b}", "{a,b,0}", "{0}", "{-1}", "{}", "{a,b,2,c}", "{x,y,z,1}", "{1,0}", "{NULL}", "{b}",
     "{\"\"}", "{a,NULL}");
HINT(hint_dims, "{2}", "{1,2}", "{0}", "{}", "{3}", "{2,NULL}", "{-1}", "{1}", "{2,2,1}");
HINT(hint_classes, "NFC", "NFD", "NFKC", "NFKD", "bogus");
HINT(hint_separators, ",", ".", "", " ", "ab", "b", "a");

/* What an argument should be about, where anything would be dull, or slow. NULL: anything. */
static const char *const *function_hint(const char *name, int arg, uint32_t type)
{
	static const struct {
		const char *name;
		int arg;
		const char *const *pool;
	} hints[] = {
		{"date_trunc", 0, hint_fields},
		{"date_trunc", 2, hint_zones},
		{"date_part", 0, hint_fields},
		{"extract", 0, hint_fields},
		{"timezone", 0, hint_zones},
		{"make_timestamptz", 6, hint_zones},
		{"encode", 1, hint_encodings},
		{"decode", 1, hint_encodings},
		{"like", 1, hint_patterns},
		{"notlike", 1, hint_patterns},
		{"textlike", 1, hint_patterns},
		{"texticlike", 1, hint_patterns},
		{"like_escape", 0, hint_patterns},
		{"similar_to_escape", 0, hint_patterns},
		{"similar_escape", 0, hint_patterns},
		{"normalize", 1, hint_classes},
		{"is_normalized", 1, hint_classes},
		{"split_part", 1, hint_separators},
		{"string_to_array", 1, hint_separators},
		{"array_to_string", 1, hint_separators},
		{"power", 1, hint_tiny},
		{"pow", 1, hint_tiny},
		{"numeric_power", 1, hint_tiny},
		{"dpow", 1, hint_tiny},
		{"exp", 0, hint_tiny},
		{"numeric_exp", 0, hint_tiny},
		{"factorial", 0, hint_small},
		{"array_fill", 1, hint_dims},
		{"array_fill", 2, hint_dims},
		{"repeat", 1, hint_small},
		{"lpad", 1, hint_small},
		{"rpad", 1, hint_small},
		{"make_interval", 6, hint_tiny},
	};
	for (uint32_t i = 0; i < COUNT(hints); i++)
		if (hints[i].arg == arg && strcmp(hints[i].name, name) == 0)
			return hints[i].pool;
	bool text = type == OID_TEXT;
	if (text && (strstr(name, "regexp_") || strstr(name, "regex")) && arg == 1)
		return hint_regexes;
	if (text && strstr(name, "regexp_") && arg >= 2)
		return hint_flags;
	if (text && strstr(name, "json") && arg >= 1)
		return hint_keys;
	if ((type == OID_TEXT || type == OID_BPCHAR) && strstr(name, "like") && arg == 1)
		return hint_patterns;
	if (type == OID_INT4 && arg > 0 && strncmp(name, "int", 3) != 0)
		return hint_small;
	if (type == 1009 && strstr(name, "json"))
		return hint_path;
	return NULL;
}

static const char *const *operator_hint(const char *name, uint32_t type)
{
	bool text = type == OID_TEXT;
	if (strstr(name, "~~"))
		return hint_patterns;
	if (text && strchr(name, '~'))
		return hint_regexes;
	if (text &&
	    (strcmp(name, "->") == 0 || strcmp(name, "->>") == 0 || strcmp(name, "?") == 0 || strcmp(name, "-") == 0))
		return hint_keys;
	if (type == OID_INT4 && (strncmp(name, "->", 2) == 0 || strcmp(name, "<<") == 0 || strcmp(name, ">>") == 0))
		return hint_small;
	if (strcmp(name, "^") == 0)
		return hint_tiny;
	if (type == 1009 && (strchr(name, '#') || strchr(name, '?')))
		return hint_path;
	return NULL;
}

static void hinted(struct gen *g, uint32_t type, const char *const *pool)
{
	struct buf fresh = BUF_INIT(1 << 16);
	if (pool == hint_regexes && chance(g, 60))
		gen_regex(g, &fresh);
	else if (pool == hint_patterns && chance(g, 50))
		gen_like(g, &fresh);
	const char *text = fresh.data ? fresh.data : from_pool(g, pool);
	uint32_t style = gen_random(g, 10);
	if (style < 6 && gen_find_type(g, type)->category == 'S')
		quoted(g, text);
	else if (style == 6)
		param(g, text);
	else
		typed_literal(g, type, text);
	buf_clear(&fresh);
}

/* Something that Postgres takes for the type, most of the time. */
static void argument(struct gen *g, uint32_t type, int depth)
{
	uint32_t what = gen_random(g, 100);
	if (type == 2275) {
		literal(g, type);
		return;
	}
	if (g->stray > 0 && --g->stray == 0) {
		say(g, chance(g, 50) ? "(1, 2)" : "ROW(NULL)");
		return;
	}
	if (what < 14)
		unknown_literal(g, type);
	else if (what < 17)
		keyword(g, "NULL");
	else if (what < 24) {
		for (int i = 0; i < 40; i++) {
			uint32_t source = any_type(g);
			const struct where_cast *c = where_cast_find(source, type);
			if (c && c->context == 'i') {
				expr(g, source, depth - 1);
				return;
			}
		}
		expr(g, type, depth - 1);
	} else if (what < 26)
		expr(g, any_type(g), depth - 1);
	else
		expr(g, type, depth - 1);
}

static uint32_t resolve(struct gen *g, uint32_t declared, uint32_t elem)
{
	if (is_poly_elem(declared))
		return elem;
	if (is_poly_array(declared))
		return array_of(g, elem);
	if (declared == OID_ANYENUM)
		return g->enum_oid;
	if (declared == OID_ANY)
		return any_type(g);
	return declared;
}

static void call_operator(struct gen *g, const struct candidate *c, uint32_t elem, int depth)
{
	const struct where_oper *o = c->oper;
	uint32_t left = o->left ? resolve(g, o->left, elem) : 0, right = resolve(g, o->right, elem);
	const char *const *pool = operator_hint(o->name, right);
	bool bare = chance(g, 8);
	if (!bare)
		say(g, "(");
	if (left) {
		argument(g, left, depth);
		say(g, " ");
	}
	const char *name = strcmp(o->name, "<>") == 0 && chance(g, 30) ? "!=" : o->name;
	buf_printf(&g->out, chance(g, 3) ? "OPERATOR(pg_catalog.%s) " : "%s ", name);
	if (pool && chance(g, 85))
		hinted(g, right, pool);
	else
		argument(g, right, depth);
	if (!bare)
		say(g, ")");
}

/* Lengths must not be large; and what isn't the name of a time zone may still be one by POSIX's rules, of which we
 * take few. */
static bool only_hints(const struct where_proc *p)
{
	static const char *const names[] = {"repeat", "lpad", "rpad", "array_fill", "factorial", "timezone"};
	for (uint32_t i = 0; i < COUNT(names); i++)
		if (strcmp(p->name, names[i]) == 0)
			return true;
	return false;
}

static void call_function(struct gen *g, const struct candidate *c, uint32_t elem, int depth)
{
	const struct where_proc *p = c->proc;
	g->loose |= strcmp(p->name, "overlaps") == 0;
	if (chance(g, 5))
		say(g, "pg_catalog.");
	buf_printf(&g->out, chance(g, 8) ? "\"%s\"(" : "%s(", p->name);
	int n = p->nargs - (p->ndefaults ? (int)gen_random(g, p->ndefaults + 1u) : 0);
	if (p->variadic)
		n += (int)gen_random(g, 3);
	for (int i = 0; i < n; i++) {
		uint32_t declared = p->args[i < p->nargs ? i : p->nargs - 1];
		if (p->variadic && i >= p->nargs - 1)
			declared = p->variadic;
		uint32_t type = resolve(g, declared, elem);
		const char *const *pool = function_hint(p->name, i, type);
		if (i > 0)
			say(g, chance(g, 80) ? ", " : ",");
		if (pool && (only_hints(p) || chance(g, 85)))
			hinted(g, type, pool);
		else
			argument(g, type, depth);
	}
	say(g, ")");
}

static void call_candidate(struct gen *g, const struct candidate *c, uint32_t elem, int depth)
{
	bool before = g->no_domains;
	for (int i = 0; i < c->proc->nargs; i++)
		g->no_domains |= is_poly_elem(c->proc->args[i]) || is_poly_array(c->proc->args[i]);
	if (c->oper)
		call_operator(g, c, elem, depth);
	else
		call_function(g, c, elem, depth);
	g->no_domains = before;
}

static bool call(struct gen *g, uint32_t type, int depth)
{
	const struct gen_type *t = gen_find_type(g, type);
	size_t i = (size_t)(t - g->types);
	if (ncandidates[i] == 0)
		return false;
	const struct candidate *c = &candidates[i][gen_random(g, (uint32_t)ncandidates[i])];
	uint32_t elem = any_elem(g);
	if (is_poly_elem(c->proc->result))
		elem = type;
	else if (is_poly_array(c->proc->result))
		elem = t->elem;
	for (int a = 0; a < c->proc->nargs; a++)
		if (is_poly_array(c->proc->args[a]) && array_of(g, elem) == 0)
			return false;
	call_candidate(g, c, elem, depth);
	return true;
}

/* ---- syntax of its own, for any type ----------------------------------------------------------------- */

static void condition(struct gen *g, int depth)
{
	expr(g, OID_BOOL, depth - 1);
}

static void list(struct gen *g, uint32_t type, uint32_t n, int depth)
{
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			say(g, ", ");
		argument(g, type, depth);
	}
}

static void case_expression(struct gen *g, uint32_t type, int depth)
{
	g->lazy = true;
	keyword(g, "CASE");
	uint32_t tested = chance(g, 30) ? comparable_type(g) : 0, n = 1 + gen_random(g, 2);
	if (tested)
		say(g, " "), argument(g, tested, depth);
	for (uint32_t i = 0; i < n; i++) {
		keyword(g, " WHEN ");
		if (tested)
			argument(g, tested, depth);
		else
			condition(g, depth);
		keyword(g, " THEN ");
		argument(g, type, depth);
	}
	if (chance(g, 70))
		keyword(g, " ELSE "), argument(g, type, depth);
	keyword(g, " END");
}

static void variadic(struct gen *g, const char *name, uint32_t type, uint32_t n, int depth)
{
	keyword(g, name), say(g, "("), list(g, type, n, depth), say(g, ")");
}

static void cast(struct gen *g, uint32_t type, int depth)
{
	const struct gen_type *t = gen_find_type(g, type);
	uint32_t source = any_type(g);
	const char *const *before = g->text_pool;
	for (int i = 0; i < 30 && !where_cast_find(source, type); i++)
		source = any_type(g);
	if (chance(g, 35)) {
		source = OID_TEXT;
		g->text_pool = t->pool;
	} else if (chance(g, 10))
		source = type;
	const char *name = chance(g, 60) ? type_name(g, type) : type_with_modifier(g, type);
	if (chance(g, 30)) {
		keyword(g, "CAST"), say(g, "("), expr(g, source, depth - 1), keyword(g, " AS "), say(g, name), say(g, ")");
	} else {
		say(g, "(("), expr(g, source, depth - 1), say(g, ")::"), say(g, name), say(g, ")");
	}
	g->text_pool = before;
}

static void subscript(struct gen *g, uint32_t type, int depth)
{
	uint32_t array = array_of(g, type);
	if (array == 0) {
		leaf(g, type);
		return;
	}
	say(g, "("), expr(g, array, depth - 1), say(g, ")[");
	if (chance(g, 70))
		say(g, from_pool(g, hint_small));
	else
		argument(g, OID_INT4, depth);
	say(g, "]");
	if (chance(g, 15))
		say(g, "[1]");
}

static void array_syntax(struct gen *g, const struct gen_type *t, int depth)
{
	if (chance(g, 50)) {
		bool nested = chance(g, 15);
		uint32_t n = (nested || chance(g, 95)) + gen_random(g, 3);
		keyword(g, "ARRAY"), say(g, "[");
		for (uint32_t i = 0; i < (nested ? 2u : 1u); i++) {
			say(g, nested ? (i ? ", [" : "[") : "");
			list(g, chance(g, 5) ? t->oid : t->elem, n, depth);
			say(g, nested ? "]" : "");
		}
		say(g, "]");
		if (n == 0 || chance(g, 20))
			say(g, "::"), say(g, type_name(g, t->oid));
		return;
	}
	say(g, "("), expr(g, t->oid, depth - 1), say(g, ")[");
	if (chance(g, 75))
		say(g, from_pool(g, hint_small));
	say(g, ":");
	if (chance(g, 75))
		say(g, from_pool(g, hint_small));
	say(g, chance(g, 10) ? "][1:2]" : "]");
}

static void collate(struct gen *g, uint32_t type, int depth)
{
	static const char *const names[] = {"\"C\"", "\"POSIX\"", "\"C\"", "ucs_basic", "\"default\"", "pg_catalog.\"C\""};
	say(g, "("), expr(g, type, depth - 1), keyword(g, " COLLATE "), say(g, PICK(g, names)), say(g, ")");
}

static void text_syntax(struct gen *g, int depth)
{
	static const char *const sides[] = {"", "BOTH ", "LEADING ", "TRAILING "};
	switch (gen_random(g, 6)) {
	case 0:
		keyword(g, "SUBSTRING"), say(g, "("), argument(g, OID_TEXT, depth), keyword(g, " FROM ");
		argument(g, OID_INT4, 1);
		if (chance(g, 50))
			keyword(g, " FOR "), say(g, from_pool(g, hint_small));
		say(g, ")");
		break;
	case 1:
		keyword(g, "SUBSTRING"), say(g, "("), argument(g, OID_TEXT, depth), keyword(g, " FROM "),
			quoted(g, from_pool(g, hint_regexes)), say(g, ")");
		break;
	case 2:
		keyword(g, "TRIM"), say(g, "("), keyword(g, PICK(g, sides));
		if (chance(g, 50))
			argument(g, OID_TEXT, 1);
		keyword(g, " FROM "), argument(g, OID_TEXT, depth), say(g, ")");
		break;
	case 3:
		keyword(g, "OVERLAY"), say(g, "("), argument(g, OID_TEXT, depth), keyword(g, " PLACING "),
			argument(g, OID_TEXT, 1);
		keyword(g, " FROM "), say(g, from_pool(g, hint_small));
		if (chance(g, 50))
			keyword(g, " FOR "), say(g, from_pool(g, hint_small));
		say(g, ")");
		break;
	case 4:
		keyword(g, "NORMALIZE"), say(g, "("), argument(g, OID_TEXT, depth), say(g, chance(g, 50) ? ", NFD)" : ")");
		break;
	default:
		say(g, "("), argument(g, OID_TEXT, depth), say(g, " || "),
			argument(g, chance(g, 60) ? OID_TEXT : any_type(g), depth), say(g, ")");
	}
}

static void datetime_syntax(struct gen *g, uint32_t type, int depth)
{
	uint32_t source = type == OID_TIMESTAMP ? OID_TIMESTAMPTZ : type == OID_TIMESTAMPTZ ? OID_TIMESTAMP : OID_TIMETZ;
	say(g, "("), argument(g, source, depth), keyword(g, " AT TIME ZONE ");
	if (chance(g, 80))
		quoted(g, from_pool(g, hint_zones));
	else
		argument(g, OID_INTERVAL, depth);
	say(g, ")");
}

static void interval_syntax(struct gen *g)
{
	static const char *const texts[] = {"1", "1.5", "-3", "1-2", "1 2:03", "10:20", "2:03:04.5", "1 day", "P1D"};
	static const char *const fields[] = {" YEAR",
	                                     " MONTH",
	                                     " DAY",
	                                     " HOUR",
	                                     " MINUTE",
	                                     " SECOND",
	                                     " SECOND(2)",
	                                     " YEAR TO MONTH",
	                                     " DAY TO SECOND",
	                                     " HOUR TO MINUTE",
	                                     " DAY TO MINUTE",
	                                     " MINUTE TO SECOND(1)",
	                                     ""};
	keyword(g, "INTERVAL "), gen_quote(&g->out, PICK(g, texts)), keyword(g, PICK(g, fields));
}

static void extract(struct gen *g, int depth)
{
	static const uint32_t sources[] = {OID_DATE, OID_TIME, OID_TIMETZ, OID_TIMESTAMP, OID_TIMESTAMPTZ, OID_INTERVAL};
	keyword(g, "EXTRACT"), say(g, "(");
	if (chance(g, 85))
		keyword(g, from_pool(g, hint_fields));
	else
		gen_quote(&g->out, from_pool(g, hint_fields));
	keyword(g, " FROM "), argument(g, PICK(g, sources), depth), say(g, ")");
}

/* Without parentheses: precedence is the grammar's. */
static void chain(struct gen *g, uint32_t type)
{
	static const char *const operators[] = {" + ", " - ", " * ", "/", " % ", " ^ ", "+", "*", " - - ", "-"};
	uint32_t n = 2 + gen_random(g, 3);
	say(g, "(");
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			say(g, PICK(g, operators));
		else if (chance(g, 15))
			say(g, "-");
		leaf(g, type);
	}
	say(g, ")");
}

static bool special(struct gen *g, uint32_t type, int depth)
{
	const struct gen_type *t = gen_find_type(g, type);
	bool has_order = type != OID_JSON && type != 199;
	switch (gen_random(g, 14)) {
	case 0:
	case 1:
		case_expression(g, type, depth);
		return true;
	case 2:
		g->lazy = true;
		variadic(g, "COALESCE", type, 1 + gen_random(g, 3), depth);
		return true;
	case 3:
		if (!has_order)
			return false;
		variadic(g, "NULLIF", type, 2, depth);
		return true;
	case 4:
		if (!has_order)
			return false;
		variadic(g, chance(g, 50) ? "GREATEST" : "LEAST", type, 1 + gen_random(g, 3), depth);
		return true;
	case 5:
	case 6:
	case 7:
		cast(g, type, depth);
		return true;
	case 8:
		if (t->elem)
			return false;
		subscript(g, type, depth);
		return true;
	case 9:
		if (t->category != 'S')
			return false;
		collate(g, type, depth);
		return true;
	case 10:
		if (t->category != 'N' || type == OID_OID)
			return false;
		chain(g, type);
		return true;
	default:
		if (t->elem) {
			bool before = g->no_domains;
			g->no_domains = true;
			array_syntax(g, t, depth);
			g->no_domains = before;
		} else if (type == OID_TEXT)
			text_syntax(g, depth);
		else if (type == OID_TIMESTAMP || type == OID_TIMESTAMPTZ || type == OID_TIMETZ)
			datetime_syntax(g, type, depth);
		else if (type == OID_INTERVAL)
			interval_syntax(g);
		else if (type == OID_NUMERIC)
			extract(g, depth);
		else if (type == OID_INT4) {
			keyword(g, "POSITION"), say(g, "("), argument(g, OID_TEXT, depth), keyword(g, " IN "),
				argument(g, OID_TEXT, depth), say(g, ")");
		} else
			return false;
		return true;
	}
}

/* ---- conditions ------------------------------------------------------------------------------------- */

static void comparison_operator(struct gen *g)
{
	static const char *const names[] = {"=", "=", "<>", "!=", "<", "<=", ">", ">="};
	blank(g), say(g, PICK(g, names)), blank(g);
}

static void row(struct gen *g, const uint32_t *types, uint32_t n, int depth)
{
	if (n == 1 || chance(g, 50))
		keyword(g, "ROW");
	say(g, "(");
	for (uint32_t i = 0; i < n; i++) {
		say(g, i ? ", " : "");
		argument(g, types[i], depth);
	}
	say(g, ")");
}

static void row_condition(struct gen *g, int depth)
{
	uint32_t types[3], n = 1 + gen_random(g, 3);
	for (uint32_t i = 0; i < n; i++)
		types[i] = comparable_type(g);
	g->lazy = true;
	row(g, types, n, depth);
	switch (gen_random(g, 7)) {
	case 0:
		keyword(g, chance(g, 50) ? " IS NULL" : " IS NOT NULL");
		return;
	case 1:
		keyword(g, chance(g, 50) ? " IS DISTINCT FROM " : " IS NOT DISTINCT FROM ");
		row(g, types, n, depth);
		return;
	case 2:
		keyword(g, chance(g, 70) ? " IN (" : " NOT IN (");
		row(g, types, n, depth), say(g, ", "), row(g, types, n, depth), say(g, ")");
		return;
	default:
		g->loose = true;
		comparison_operator(g);
		row(g, types, n, depth);
	}
}

static void pattern_condition(struct gen *g, int depth)
{
	static const char *const likes[] = {" LIKE ",       " NOT LIKE ",       " ILIKE ", " NOT ILIKE ",
	                                    " SIMILAR TO ", " NOT SIMILAR TO ", " ~~ ",    " !~~* "};
	static const char *const regexes[] = {" ~ ", " ~* ", " !~ ", " !~* "};
	static const char *const escapes[] = {"'\\'", "''", "'#'", "'%'", "'_'", "'ab'", "'\xc3\xa4'", "NULL"};
	static const char *const similar[] = {"a%",  "(a|b)%", "a|b", "[a-c]+", "%(b|d)%", "a{1,2}",
	                                      "_",   "a+",     "abc", "(ab)*",  "a.c",     "%\xc3\xa4%",
	                                      "\\%", "[^a]%",  "a?b", "^a$",    "#\"",     "a\\_b"};
	uint32_t types[] = {OID_TEXT, OID_TEXT, OID_VARCHAR, OID_BPCHAR, OID_NAME, OID_BYTEA};
	argument(g, PICK(g, types), depth);
	if (chance(g, 40)) {
		say(g, PICK(g, regexes));
		if (chance(g, 90))
			hinted(g, OID_TEXT, hint_regexes);
		else
			argument(g, OID_TEXT, depth);
		return;
	}
	const char *like = PICK(g, likes);
	keyword(g, like);
	if (!strstr(like, "SIMILAR") && chance(g, 12)) {
		g->lazy = true;
		keyword(g, chance(g, 50) ? "ANY" : "ALL"), say(g, " (");
		keyword(g, "ARRAY"), say(g, "[");
		hinted(g, OID_TEXT, hint_patterns), say(g, ", "), hinted(g, OID_TEXT, hint_patterns), say(g, "])");
		return;
	}
	if (chance(g, 10))
		argument(g, OID_TEXT, depth);
	else if (strstr(like, "SIMILAR") && chance(g, 60)) {
		struct buf fresh = BUF_INIT(1 << 16);
		gen_similar(g, &fresh);
		quoted(g, fresh.data);
		buf_clear(&fresh);
	} else if (strstr(like, "SIMILAR"))
		quoted(g, PICK(g, similar));
	else
		hinted(g, OID_TEXT, hint_patterns);
	if (like[1] != '~' && like[1] != '!' && chance(g, 20))
		keyword(g, " ESCAPE "), say(g, PICK(g, escapes));
}

static void tests(struct gen *g, int depth)
{
	static const char *const truths[] = {" IS TRUE",      " IS NOT TRUE", " IS FALSE",
	                                     " IS NOT FALSE", " IS UNKNOWN",  " IS NOT UNKNOWN"};
	static const char *const nulls[] = {" IS NULL", " IS NOT NULL", " ISNULL", " NOTNULL"};
	if (chance(g, 50))
		condition(g, depth), keyword(g, PICK(g, truths));
	else
		argument(g, any_type(g), depth), keyword(g, PICK(g, nulls));
}

static void overlaps(struct gen *g, int depth)
{
	static const uint32_t kinds[] = {OID_DATE, OID_TIMESTAMP, OID_TIMESTAMPTZ, OID_TIME, OID_TIMETZ};
	uint32_t t = PICK(g, kinds);
	g->loose = true;
	for (int i = 0; i < 2; i++) {
		say(g, "("), argument(g, t, depth), say(g, ", "), argument(g, chance(g, 70) ? t : OID_INTERVAL, depth),
			say(g, ")");
		if (i == 0)
			keyword(g, " OVERLAPS ");
	}
}

/* Fails on one row in so many. */
static void failing(struct gen *g)
{
	buf_printf(&g->out, "%u / (id %% %u)", gen_random(g, 12), 2 + gen_random(g, 3));
}

static void operand(struct gen *g, int depth)
{
	if (chance(g, 40))
		failing(g);
	else if (chance(g, 40))
		keyword(g, "NULL");
	else
		say(g, "("), expr(g, OID_INT4, depth - 1), say(g, ")");
}

/* What fails beside what decides, with NULLs that the planner takes for false. */
static void arms(struct gen *g, int depth)
{
	size_t start = g->out.len;
	uint32_t what = gen_random(g, depth > 0 ? 9 : 5);
	g->lazy = true;
	say(g, "(");
	switch (what) {
	case 0:
		failing(g), comparison_operator(g), operand(g, depth);
		break;
	case 1:
		operand(g, depth), keyword(g, chance(g, 70) ? " BETWEEN " : " NOT BETWEEN "), operand(g, depth), keyword(g, " AND "),
			operand(g, depth);
		break;
	case 2:
		operand(g, depth), keyword(g, chance(g, 50) ? " IN (" : " NOT IN ("), operand(g, depth), say(g, ", "), operand(g, depth),
			say(g, ")");
		break;
	case 3:
		keyword(g, chance(g, 50) ? "NULL" : "id < 12");
		break;
	case 4:
		condition(g, depth);
		break;
	case 5:
		keyword(g, "NOT "), arms(g, depth - 1);
		break;
	default:
		arms(g, depth - 1);
		for (uint32_t n = 1 + gen_random(g, 2); n > 0; n--)
			keyword(g, what == 6 ? " AND " : " OR "), arms(g, depth - 1);
	}
	say(g, ")");
	span(g, start);
}

/* Written bare: the caller puts parentheses around it. */
static void condition_syntax(struct gen *g, int depth)
{
	uint32_t type = comparable_type(g);
	uint32_t n = 1 + gen_random(g, 3);
	switch (gen_random(g, 17)) {
	case 15:
		arms(g, depth);
		break;
	case 0:
	case 1:
		g->lazy = true;
		condition(g, depth);
		for (const char *word = chance(g, 50) ? " AND " : " OR "; n > 0; n--)
			keyword(g, word), condition(g, depth);
		break;
	case 2:
		keyword(g, "NOT "), condition(g, depth);
		break;
	case 3:
	case 4:
	case 5:
		argument(g, type, depth), comparison_operator(g), argument(g, type, depth);
		break;
	case 6:
		argument(g, type, depth), keyword(g, chance(g, 50) ? " IS DISTINCT FROM " : " IS NOT DISTINCT FROM "),
			argument(g, type, depth);
		break;
	case 7:
		g->lazy = true;
		argument(g, type, depth), keyword(g, chance(g, 70) ? " BETWEEN " : " NOT BETWEEN "),
			keyword(g, chance(g, 30) ? "SYMMETRIC " : "");
		say(g, "("), argument(g, type, depth), say(g, ")"), keyword(g, " AND "), argument(g, type, depth);
		break;
	case 8:
	case 9:
		g->lazy = true;
		argument(g, type, depth), keyword(g, chance(g, 70) ? " IN (" : " NOT IN ("), list(g, type, n, depth),
			say(g, ")");
		break;
	case 10:
	case 11: {
		uint32_t elem = any_elem(g), array = array_of(g, elem);
		g->lazy = true;
		argument(g, elem, depth), comparison_operator(g),
			keyword(g, chance(g, 70)   ? "ANY"
		               : chance(g, 50) ? "ALL"
		                               : "SOME");
		say(g, " ("), argument(g, array, depth), say(g, ")");
		break;
	}
	case 12:
	case 13:
		pattern_condition(g, depth);
		break;
	case 14:
		if (chance(g, 60))
			row_condition(g, depth);
		else
			overlaps(g, depth);
		break;
	default:
		tests(g, depth);
	}
}

static void expr(struct gen *g, uint32_t type, int depth)
{
	size_t start = g->out.len;
	if (depth <= 0 || g->out.len > TEXT_SOFT_MAX || type == 2275 || chance(g, 12)) {
		leaf(g, type);
		return;
	}
	bool done = false;
	if (type == OID_BOOL && chance(g, 60)) {
		say(g, "("), condition_syntax(g, depth), say(g, ")");
		done = true;
	} else if (chance(g, 40))
		done = special(g, type, depth);
	if (!done)
		done = call(g, type, depth);
	if (!done)
		leaf(g, type);
	else
		span(g, start);
}

static void begin(struct gen *g)
{
	make_candidates(g);
	buf_reset(&g->out);
	for (size_t i = 0; i < g->nparams; i++)
		free(g->params[i]);
	g->nparams = g->nspans = 0;
	g->lazy = g->loose = g->no_domains = false;
	g->stray = chance(g, STRAY_ROWS) ? 1 + gen_random(g, 12) : 0;
	g->text_pool = NULL;
}

void gen_condition(struct gen *g)
{
	begin(g);
	expr(g, OID_BOOL, 1 + (int)gen_random(g, DEPTH_MAX));
}

/* Every operator and function has the same chance to be the outermost. */
void gen_any(struct gen *g)
{
	begin(g);
	int depth = 1 + (int)gen_random(g, DEPTH_MAX - 1);
	if (chance(g, 40)) {
		expr(g, any_type(g), depth);
		return;
	}
	size_t all = g->ntypes;
	if (ncandidates[all] == 0) {
		leaf(g, OID_BOOL);
		return;
	}
	for (;;) {
		const struct candidate *c = &candidates[all][gen_random(g, (uint32_t)ncandidates[all])];
		uint32_t elem = any_elem(g);
		if (c->proc->result == 2275)
			continue;
		call_candidate(g, c, elem, depth);
		span(g, 0);
		return;
	}
}
