/*
 * body.c - JSON request bodies: a strict reader that names the first offending byte, and the rules by
 * which a body's keys go over the query's.
 *
 * A reader of our own and not jansson's, because clients see its complaints: they are those of the
 * decoder in the original (docs/protocol.md 2.4), byte positions included.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "http/params.h"

#define INSPECTED_ITEMS_MAX 50 /* Elixir's limit */

struct reader {
	struct arena *arena;
	const char *text;
	size_t len, at;
	size_t nodes;
	struct buf *details;
	enum body_result result;
};

/* ---- complaints ------------------------------------------------------------------------------- */

/* As Elixir's inspect() shows a printable string. */
static void put_inspected(struct buf *b, const char *p, size_t len)
{
	static const char control[] = "\a\b\t\n\v\f\r\033\177", letter[] = "abtnvfred";
	buf_putc(b, '"');
	for (size_t i = 0; i < len; i++) {
		const char *c = p[i] == '\0' ? NULL : strchr(control, p[i]);
		if (c != NULL)
			buf_printf(b, "\\%c", letter[c - control]);
		else if (p[i] == '"' || p[i] == '\\' || (p[i] == '#' && i + 1 < len && p[i + 1] == '{'))
			buf_printf(b, "\\%c", p[i]);
		else
			buf_putc(b, p[i]);
	}
	buf_putc(b, '"');
}

static bool printable(unsigned char c) { return (c >= 0x20 && c <= 0x7F) || (c >= 7 && c <= 13) || c == 033; }

static bool fail_at(struct reader *r, size_t at)
{
	if (r->result != BODY_OK)
		return false;
	r->result = BODY_SYNTAX;
	if (at >= r->len) {
		buf_printf(r->details, "unexpected end of input at position %zu", at);
		return false;
	}
	unsigned char c = (unsigned char)r->text[at];
	buf_printf(r->details, "unexpected byte at position %zu: 0x%X", at, c);
	if (printable(c)) {
		buf_puts(r->details, " (");
		put_inspected(r->details, r->text + at, 1);
		buf_putc(r->details, ')');
	}
	return false;
}

/* A string, or its bytes if it can't be shown. */
static void put_binary(struct buf *b, const char *p, size_t len)
{
	bool text = utf8_valid(p, len);
	for (size_t i = 0; text && i < len; i++)
		text = (unsigned char)p[i] >= 0x80 || printable((unsigned char)p[i]);
	if (text) {
		put_inspected(b, p, len);
		return;
	}
	buf_puts(b, "<<");
	for (size_t i = 0; i < len; i++)
		buf_printf(b, i == 0 ? "%u" : ", %u", (unsigned char)p[i]);
	buf_puts(b, ">>");
}

static bool fail_token(struct reader *r, size_t at, size_t len)
{
	if (r->result != BODY_OK)
		return false;
	r->result = BODY_SYNTAX;
	buf_printf(r->details, "unexpected sequence at position %zu: ", at);
	put_binary(r->details, r->text + at, len);
	return false;
}

/* Elixir takes a list of numbers that are all characters for a text. */
static bool is_charlist(const struct pval *v)
{
	for (const struct pentry *e = v->first; e != NULL; e = e->next) {
		bool whole = e->value.type == PVAL_NUMBER && e->value.len <= 3 && strspn(e->value.p, "0123456789") >= e->value.len;
		long n = whole ? strtol(e->value.p, NULL, 10) : 0;
		if (n < 7 || n > 126 || !printable((unsigned char)n))
			return false;
	}
	return v->first != NULL;
}

static void put_charlist(struct buf *out, const struct pval *v)
{
	char text[INSPECTED_ITEMS_MAX];
	size_t n = 0;
	for (const struct pentry *e = v->first; e != NULL && n < sizeof text; e = e->next)
		text[n++] = (char)strtol(e->value.p, NULL, 10);
	buf_puts(out, "~c");
	put_inspected(out, text, n);
}

static void put_items(struct buf *out, const struct pval *v)
{
	size_t n = 0;
	for (const struct pentry *e = v->first; e != NULL; e = e->next) {
		if (n > 0)
			buf_puts(out, ", ");
		if (n++ == INSPECTED_ITEMS_MAX) {
			buf_puts(out, "...");
			return;
		}
		if (e->key != NULL) {
			put_binary(out, e->key, e->key_len);
			buf_puts(out, " => ");
		}
		params_inspect(out, &e->value);
	}
}

void params_inspect(struct buf *out, const struct pval *v)
{
	switch (v->type) {
	case PVAL_NULL:
		buf_puts(out, "nil");
		return;
	case PVAL_BOOL:
		buf_puts(out, v->boolean ? "true" : "false");
		return;
	case PVAL_NUMBER:
		buf_put(out, v->p, v->len);
		return;
	case PVAL_STRING:
		put_binary(out, v->p, v->len);
		return;
	case PVAL_LIST:
		if (is_charlist(v)) {
			put_charlist(out, v);
			return;
		}
		buf_putc(out, '[');
		put_items(out, v);
		buf_putc(out, ']');
		return;
	case PVAL_MAP:
		buf_puts(out, "%{");
		put_items(out, v);
		buf_putc(out, '}');
		return;
	}
}

static bool too_large(struct reader *r)
{
	if (r->result == BODY_OK)
		r->result = BODY_TOO_LARGE;
	return false;
}

/* ---- strings ---------------------------------------------------------------------------------- */

static int hex4(const char *p)
{
	int v = 0;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* At the backslash of `\uXXXX`; a pair of surrogates is one character. */
static bool read_unicode(struct reader *r, char *to, size_t *n)
{
	size_t start = r->at, left = r->len - r->at;
	if (left < 6)
		return fail_at(r, start);
	int first = hex4(r->text + start + 2);
	if (first < 0 || (first >= 0xDC00 && first <= 0xDFFF))
		return fail_token(r, start, 6);
	if (first < 0xD800 || first > 0xDFFF) {
		*n += utf8_encode(to + *n, (uint32_t)first);
		r->at += 6;
		return true;
	}
	if (left < 12 || r->text[start + 6] != '\\' || r->text[start + 7] != 'u')
		return fail_at(r, start + 6);
	/* The last two digits are looked at first: a wrong one is a complaint of its own. */
	const char *low = r->text + start + 10, zeros[] = {'0', '0', low[0], low[1]};
	int second = hex4(r->text + start + 8);
	if (hex4(zeros) < 0)
		return fail_token(r, start + 6, 6);
	if (second < 0xDC00 || second > 0xDFFF)
		return fail_token(r, start, 12);
	*n += utf8_encode(to + *n, 0x10000u + (((uint32_t)first & 0x3FF) << 10) + ((uint32_t)second & 0x3FF));
	r->at += 12;
	return true;
}

static bool read_escape(struct reader *r, char *to, size_t *n)
{
	static const char from[] = "btnfr\"/\\", into[] = "\b\t\n\f\r\"/\\";
	if (r->at + 1 >= r->len)
		return fail_at(r, r->at);
	char c = r->text[r->at + 1];
	if (c == 'u')
		return read_unicode(r, to, n);
	const char *found = c == '\0' ? NULL : strchr(from, c);
	if (found == NULL)
		return fail_at(r, r->at + 1);
	to[(*n)++] = into[found - from];
	r->at += 2;
	return true;
}

/* Length of the UTF-8 character at p, 0 if it is none. */
static size_t char_length(const char *p, size_t left)
{
	unsigned char c = (unsigned char)*p;
	size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
	return n <= left && utf8_valid(p, n) ? n : 0;
}

/* After the opening quote. */
static bool read_string(struct reader *r, const char **p, size_t *len)
{
	/* Decoded text is never longer than what it is written as. */
	const char *close = r->text + r->at;
	const char *end = r->text + r->len;
	while (close < end && *close != '"')
		close += *close == '\\' && close + 1 < end ? 2 : 1;
	char *to = arena_alloc(r->arena, (size_t)((close > end ? end : close) - (r->text + r->at)) + 5);
	size_t n = 0;
	for (;;) {
		if (r->at >= r->len)
			return fail_at(r, r->len);
		char c = r->text[r->at];
		if (c == '"')
			break;
		if (c == '\\') {
			if (!read_escape(r, to, &n))
				return false;
			continue;
		}
		size_t bytes = (unsigned char)c < 0x20 ? 0 : char_length(r->text + r->at, r->len - r->at);
		if (bytes == 0)
			return fail_at(r, r->at);
		memcpy(to + n, r->text + r->at, bytes);
		n += bytes;
		r->at += bytes;
	}
	r->at++;
	to[n] = '\0';
	*p = to;
	*len = n;
	return true;
}

/* ---- values ----------------------------------------------------------------------------------- */

static void skip_space(struct reader *r)
{
	while (r->at < r->len && strchr(" \t\r\n", r->text[r->at]) != NULL && r->text[r->at] != '\0')
		r->at++;
}

static char peek(const struct reader *r) { return r->at < r->len ? r->text[r->at] : '\0'; }

static bool digits(struct reader *r)
{
	size_t start = r->at;
	while (peek(r) >= '0' && peek(r) <= '9')
		r->at++;
	return r->at > start || fail_at(r, r->at);
}

static bool read_number(struct reader *r, struct pval *out)
{
	size_t start = r->at;
	bool real = false;
	if (peek(r) == '-')
		r->at++;
	if (peek(r) == '0')
		r->at++;
	else if (!digits(r))
		return false;
	if (peek(r) == '.') {
		real = true;
		r->at++;
		if (!digits(r))
			return false;
	}
	if ((peek(r) | 0x20) == 'e') {
		real = true;
		r->at++;
		if (peek(r) == '+' || peek(r) == '-')
			r->at++;
		if (!digits(r))
			return false;
	}
	out->type = PVAL_NUMBER;
	out->p = arena_strndup(r->arena, r->text + start, r->at - start);
	out->len = r->at - start;
	if (real && isinf(strtod(out->p, NULL)))
		return fail_token(r, start, out->len);
	return true;
}

static bool read_word(struct reader *r, const char *word, struct pval *out, struct pval value)
{
	size_t len = strlen(word);
	if (r->len - r->at < len || memcmp(r->text + r->at, word, len) != 0)
		return fail_at(r, r->at);
	r->at += len;
	*out = value;
	return true;
}

static bool read_value(struct reader *r, struct pval *out, int depth);

static struct pentry *new_entry(struct reader *r, struct pval *to)
{
	if (++r->nodes > PARAMS_NODES_MAX) {
		too_large(r);
		return NULL;
	}
	return pval_append(r->arena, to);
}

static bool read_list(struct reader *r, struct pval *out, int depth)
{
	out->type = PVAL_LIST;
	r->at++;
	skip_space(r);
	if (peek(r) == ']' && r->at < r->len) {
		r->at++;
		return true;
	}
	for (;;) {
		struct pentry *e = new_entry(r, out);
		if (e == NULL || !read_value(r, &e->value, depth + 1))
			return false;
		skip_space(r);
		if (peek(r) == ',') {
			r->at++;
			continue;
		}
		if (peek(r) != ']')
			return fail_at(r, r->at);
		r->at++;
		return true;
	}
}

static bool read_map(struct reader *r, struct pval *out, int depth)
{
	out->type = PVAL_MAP;
	r->at++;
	skip_space(r);
	if (peek(r) == '}') {
		r->at++;
		return true;
	}
	for (;;) {
		skip_space(r);
		if (peek(r) != '"')
			return fail_at(r, r->at);
		struct pentry *e = new_entry(r, out);
		r->at++;
		if (e == NULL || !read_string(r, &e->key, &e->key_len))
			return false;
		skip_space(r);
		if (peek(r) != ':')
			return fail_at(r, r->at);
		r->at++;
		if (!read_value(r, &e->value, depth + 1))
			return false;
		skip_space(r);
		if (peek(r) == ',') {
			r->at++;
			continue;
		}
		if (peek(r) != '}')
			return fail_at(r, r->at);
		r->at++;
		return true;
	}
}

static bool read_value(struct reader *r, struct pval *out, int depth)
{
	if (depth > PARAMS_DEPTH_MAX)
		return too_large(r);
	*out = (struct pval){0};
	skip_space(r);
	switch (r->at < r->len ? r->text[r->at] : '\0') {
	case '{':
		return read_map(r, out, depth);
	case '[':
		return read_list(r, out, depth);
	case '"':
		out->type = PVAL_STRING;
		r->at++;
		return read_string(r, &out->p, &out->len);
	case 't':
		return read_word(r, "true", out, (struct pval){.type = PVAL_BOOL, .boolean = true});
	case 'f':
		return read_word(r, "false", out, (struct pval){.type = PVAL_BOOL});
	case 'n':
		return read_word(r, "null", out, (struct pval){.type = PVAL_NULL});
	case '-':
	case '0': case '1': case '2': case '3': case '4':
	case '5': case '6': case '7': case '8': case '9':
		return read_number(r, out);
	default:
		return fail_at(r, r->at);
	}
}

enum body_result json_parse(struct arena *a, const char *p, size_t len, struct pval *out, struct buf *details)
{
	struct reader r = {.arena = a, .text = p, .len = len, .details = details, .result = BODY_OK};
	if (!read_value(&r, out, 0))
		return r.result;
	skip_space(&r);
	if (r.at < r.len)
		fail_at(&r, r.at);
	return r.result;
}

/* ---- merging ---------------------------------------------------------------------------------- */

static const char *const subset_names[] = {"where", "order_by", "limit", "offset", "params", "where_expr", "order_by_expr"};

static bool subset_key(const struct pentry *e)
{
	for (size_t i = 0; i < ARRAY_LEN(subset_names); i++)
		if (strlen(subset_names[i]) == e->key_len && memcmp(subset_names[i], e->key, e->key_len) == 0)
			return true;
	return false;
}

/* The query's `subset` or `subset__x` keys as one map, with those keys of `over` that are about subsets put over
 * them. */
static struct pval merge_subset(struct arena *a, const struct pval *params, const struct pval *over)
{
	static const char prefix[] = "subset__";
	const size_t skip = sizeof prefix - 1;
	struct pval merged = {.type = PVAL_MAP};
	const struct pval *given = pval_get(params, "subset");
	if (given != NULL && given->type == PVAL_MAP) {
		for (struct pentry *e = given->first; e != NULL; e = e->next)
			pval_put(a, &merged, e->key, e->key_len, &e->value);
	} else {
		for (struct pentry *e = params->first; e != NULL; e = e->next)
			if (e->key_len >= skip && memcmp(e->key, prefix, skip) == 0)
				pval_put(a, &merged, e->key + skip, e->key_len - skip, &e->value);
	}
	for (size_t i = 0; i < ARRAY_LEN(subset_names); i++) {
		const struct pval *v = pval_get(over, subset_names[i]);
		if (v != NULL)
			pval_put(a, &merged, subset_names[i], strlen(subset_names[i]), v);
	}
	return merged;
}

static void put_over(struct arena *a, struct pval *params, const struct pval *body, bool with_subset_keys)
{
	static const char *const names[] = {"table", "offset", "handle", "live", "live_sse", "experimental_live_sse", "where",
	                                    "params", "columns", "queryable_columns", "replica", "log",
	                                    "experimental_compaction", "subset"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct pval *v = pval_get(body, names[i]);
		struct pentry named = {.key = names[i], .key_len = strlen(names[i])};
		if (v != NULL && (with_subset_keys || !subset_key(&named)))
			pval_put(a, params, names[i], strlen(names[i]), v);
	}
}

enum body_result body_merge(struct arena *a, const char *p, size_t len, struct pval *params, struct buf *details)
{
	if (len == 0)
		return BODY_OK;
	struct pval body;
	enum body_result result = json_parse(a, p, len, &body, details);
	if (result != BODY_OK)
		return result;
	if (body.type != PVAL_MAP)
		return BODY_NOT_OBJECT;

	const struct pval *subset = pval_get(&body, "subset");
	bool object = subset != NULL && subset->type == PVAL_MAP, flat = false;
	for (struct pentry *e = body.first; e != NULL && !flat; e = e->next)
		flat = subset_key(e);
	if (!object && !flat) {
		put_over(a, params, &body, true);
		return BODY_OK;
	}
	struct pval merged = merge_subset(a, params, object ? subset : &body);
	put_over(a, params, &body, object);
	pval_put(a, params, "subset", strlen("subset"), &merged);
	return BODY_OK;
}
