/*
 * fn_json.c - json and jsonb: input, output, operators, functions, casts.
 *
 * json is its text: `->` and the like walk it without making anything, and answer with a piece of it. As in
 * Postgres the last of equal keys counts, and the whole text is looked at (a \u0000 anywhere is an error).
 * jsonb is a tree (jsonb.h); answers share its parts.
 */
#include <limits.h>
#include <string.h>

#include "where/collation.h"
#include "where/jsonb.h"
#include "where/number_text.h"
#include "where/numeric.h"
#include "where/types.h"

typedef const struct where_value *args_t;

static bool is_null(const struct where_value *v) { return v->is != WHERE_VALUE; }

static struct where_value text_of(const char *p, size_t n) { return where_bytes(n ? p : "", n); }

static struct where_value jsonb_value(const struct jsonb *j)
{
	return (struct where_value){.u.jsonb = j, .is = WHERE_VALUE};
}

/* NULL pointer: the maker failed, or there is nothing. */
static int jsonb_result(const struct jsonb *j, struct where_value *out)
{
	if (j == NULL)
		return -1;
	*out = jsonb_value(j);
	return 0;
}

static int jsonb_or_null(const struct jsonb *j, struct where_value *out)
{
	*out = j ? jsonb_value(j) : where_null();
	return 0;
}

/* What a buffer has become, in the arena; frees the buffer. */
static int buf_result(struct where_call *c, struct buf *text, struct where_value *out)
{
	int rc = 0;
	if (text->failed)
		rc = where_fail(c, "a text is larger than %u MB", WHERE_EVAL_BYTES_MAX >> 20);
	else
		*out = where_bytes(arena_strndup(c->mem, text->len ? text->data : "", text->len), text->len);
	buf_clear(text);
	return rc;
}

/* As `->>` gives it. */
static int jsonb_as_text(struct where_call *c, const struct jsonb *j, struct where_value *out)
{
	if (j == NULL || j->kind == JSONB_NULL) {
		*out = where_null();
	} else if (j->kind == JSONB_STRING || j->kind == JSONB_NUMBER) {
		*out = text_of(j->u.text, j->n);
	} else if (j->kind == JSONB_BOOL) {
		*out = j->truth ? text_of("true", 4) : text_of("false", 5);
	} else {
		struct buf text = BUF_INIT(WHERE_EVAL_BYTES_MAX);
		jsonb_format(j, &text);
		return buf_result(c, &text, out);
	}
	return 0;
}

/* An integer as strtol reads it: blanks in front, a sign; nothing behind. INT_MIN: none, or out of range. */
static int index_of(const struct where_value *text)
{
	const char *p = text->u.p, *end = p + text->len;
	int64_t v = 0;
	while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r')))
		p++;
	bool negative = p < end && *p == '-';
	p += negative || (p < end && *p == '+');
	if (p == end)
		return INT_MIN;
	for (; p < end && *p >= '0' && *p <= '9'; p++)
		if (v <= INT_MAX)
			v = v * 10 + (*p - '0');
	if (p < end || v > INT_MAX)
		return INT_MIN;
	return (int)(negative ? -v : v);
}

static bool has_null(const struct where_array *a)
{
	for (uint32_t i = 0; i < a->n; i++)
		if (is_null(&a->values[i]))
			return true;
	return false;
}

/* ---- json: walking the text --------------------------------------------------------------------- */

#define ANY_LEVEL UINT32_MAX

struct step { const struct where_value *name; int index; bool has_index; };

/* `p` and `end` bound what is valid JSON: whatever made the value checked it. */
struct walk {
	struct where_call *c;
	const char *end;
	unsigned seen;         /* of json_string_end() */
	struct step *steps;
	uint32_t nsteps;
	bool from_end;         /* some index is negative */
	const char *from, *to; /* the last match, NULL: none */
};

/* Behind a string whose opening quote is at `p`. */
static const char *skip_string(struct walk *w, const char *p)
{
	const char *quote = json_string_end(p + 1, w->end, &w->seen);
	return quote ? quote + 1 : w->end;
}

static bool is_delimiter(char c)
{
	return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static void index_resolve(struct walk *w, const char *p, uint32_t level);

/* `level`: how many containers are around the value, ANY_LEVEL where arrays inside aren't to be looked at. */
static const char *skip_value(struct walk *w, const char *p, uint32_t level)
{
	uint32_t depth = 0;
	if (p < w->end && *p != '{' && *p != '[' && *p != '"') {
		while (p < w->end && !is_delimiter(*p))
			p++;
		return p;
	}
	while (p < w->end) {
		char c = *p;
		if (c == '"') {
			p = skip_string(w, p);
		} else {
			if (c == '[' && w->from_end && level < w->nsteps && depth < w->nsteps - level)
				index_resolve(w, p, level + depth);
			p++;
			depth += c == '{' || c == '[';
			depth -= c == '}' || c == ']';
		}
		if (depth == 0)
			break;
	}
	return p;
}

static bool key_is(struct walk *w, const char *from, const char *end, bool escaped, const struct where_value *name)
{
	size_t n = (size_t)(end - from);
	if (escaped) {
		char *plain = arena_alloc(w->c->mem, n);
		n = json_unescape(plain, from, end);
		from = plain;
	}
	return n == name->len && (n == 0 || memcmp(from, name->u.p, n) == 0);
}

static const char *walk_value(struct walk *w, const char *p, uint32_t level);

/* Behind the comma, or at the closing bracket. */
static const char *skip_comma(struct walk *w, const char *p)
{
	p = json_skip_space(p, w->end);
	return p < w->end && *p == ',' ? json_skip_space(p + 1, w->end) : p;
}

static const char *walk_object(struct walk *w, const char *p, uint32_t level)
{
	p = json_skip_space(p + 1, w->end);
	while (p < w->end && *p == '"') {
		unsigned before = w->seen;
		w->seen &= ~(unsigned)JSON_ESCAPED;
		const char *key = p + 1;
		p = skip_string(w, p);
		bool match = !(w->seen & JSON_NOT_TEXT) && key < p &&
		             key_is(w, key, p - 1, w->seen & JSON_ESCAPED, w->steps[level].name);
		w->seen |= before;
		p = json_skip_space(p, w->end);
		p = json_skip_space(p < w->end ? p + 1 : p, w->end); /* the colon */
		p = match ? walk_value(w, p, level + 1) : skip_value(w, p, level + 1);
		p = skip_comma(w, p);
	}
	return p < w->end ? p + 1 : p;
}

static int count_elements(struct walk *w, const char *p)
{
	int n = 0;
	for (p = json_skip_space(p + 1, w->end); p < w->end && *p != ']'; n++)
		p = skip_comma(w, skip_value(w, p, ANY_LEVEL));
	return n;
}

/* A negative index becomes one from the front at the first array of its level that is long enough, on the path
 * or off it, and stays that for those behind: Postgres 15 does so. */
static void index_resolve(struct walk *w, const char *p, uint32_t level)
{
	struct step *step = &w->steps[level];
	if (!step->has_index || step->index >= 0 || step->index == INT_MIN)
		return;
	int n = count_elements(w, p);
	if (-step->index <= n)
		step->index += n;
}

static const char *walk_array(struct walk *w, const char *p, uint32_t level)
{
	index_resolve(w, p, level);
	p = json_skip_space(p + 1, w->end);
	for (int i = 0; p < w->end && *p != ']'; i++) {
		p = i == w->steps[level].index ? walk_value(w, p, level + 1) : skip_value(w, p, level + 1);
		p = skip_comma(w, p);
	}
	return p < w->end ? p + 1 : p;
}

/* The value at `p`, which the first `level` steps led to; returns its end. As deep as the value at most. */
static const char *walk_value(struct walk *w, const char *p, uint32_t level)
{
	const char *from = p;
	if (level == w->nsteps) {
		p = skip_value(w, p, ANY_LEVEL);
		w->from = from;
		w->to = p;
		return p;
	}
	if (p < w->end && *p == '{' && w->steps[level].name)
		return walk_object(w, p, level);
	if (p < w->end && *p == '[' && w->steps[level].has_index)
		return walk_array(w, p, level);
	return skip_value(w, p, level);
}

static int json_piece(struct where_call *c, const char *from, const char *to, bool as_text, struct where_value *out)
{
	const char *p = json_skip_space(from, to);
	if (!as_text || p == to || (*p != '"' && *p != 'n')) {
		*out = text_of(from, (size_t)(to - from));
		return 0;
	}
	if (*p == 'n') {
		*out = where_null();
		return 0;
	}
	from = p + 1;
	to--;
	if (memchr(from, '\\', (size_t)(to - from)) == NULL) {
		*out = text_of(from, (size_t)(to - from));
		return 0;
	}
	char *plain = arena_alloc(c->mem, (size_t)(to - from));
	*out = text_of(plain, json_unescape(plain, from, to));
	return 0;
}

static int json_get(struct where_call *c, const struct where_value *json, struct step *steps, uint32_t nsteps,
                    bool as_text, struct where_value *out)
{
	struct walk w = {.c = c, .end = json->u.p + json->len, .steps = steps, .nsteps = nsteps};
	for (uint32_t i = 0; i < nsteps; i++)
		w.from_end = w.from_end || (steps[i].has_index && steps[i].index < 0 && steps[i].index != INT_MIN);
	walk_value(&w, json_skip_space(json->u.p, w.end), 0);
	if (w.seen & JSON_NOT_TEXT)
		return where_fail(c, "unsupported Unicode escape sequence");
	if (w.from == NULL) {
		*out = where_null();
		return 0;
	}
	if (nsteps == 0 && *w.from != '{' && *w.from != '[')
		w.from = json->u.p; /* Postgres keeps the blanks before a lone scalar */
	return json_piece(c, w.from, w.to, as_text, out);
}

static int json_object_field(struct where_call *c, args_t a, struct where_value *out)
{
	struct step step = {&a[1], INT_MIN, false};
	return json_get(c, &a[0], &step, 1, false, out);
}

static int json_object_field_text(struct where_call *c, args_t a, struct where_value *out)
{
	struct step step = {&a[1], INT_MIN, false};
	return json_get(c, &a[0], &step, 1, true, out);
}

static int json_array_element(struct where_call *c, args_t a, struct where_value *out)
{
	struct step step = {NULL, (int)a[1].u.i, true};
	return json_get(c, &a[0], &step, 1, false, out);
}

static int json_array_element_text(struct where_call *c, args_t a, struct where_value *out)
{
	struct step step = {NULL, (int)a[1].u.i, true};
	return json_get(c, &a[0], &step, 1, true, out);
}

static int json_path(struct where_call *c, args_t a, bool as_text, struct where_value *out)
{
	const struct where_array *path = a[1].u.array;
	*out = where_null();
	if (has_null(path))
		return 0;
	struct step *steps = arena_alloc(c->mem, path->n * sizeof *steps);
	for (uint32_t i = 0; i < path->n; i++)
		steps[i] = (struct step){&path->values[i], index_of(&path->values[i]), true};
	return json_get(c, &a[0], steps, path->n, as_text, out);
}

static int json_extract_path(struct where_call *c, args_t a, struct where_value *out)
{
	return json_path(c, a, false, out);
}

static int json_extract_path_text(struct where_call *c, args_t a, struct where_value *out)
{
	return json_path(c, a, true, out);
}

static char json_first(const struct where_value *v)
{
	const char *end = v->u.p + v->len, *p = json_skip_space(v->u.p, end);
	return p < end ? *p : '\0';
}

static int json_typeof(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	char first = json_first(&a[0]);
	const char *name = first == '{'   ? "object"
	                   : first == '[' ? "array"
	                   : first == '"' ? "string"
	                   : first == 'n' ? "null"
	                   : first == 't' || first == 'f' ? "boolean"
	                                                  : "number";
	*out = text_of(name, strlen(name));
	return 0;
}

static int json_array_length(struct where_call *c, args_t a, struct where_value *out)
{
	char first = json_first(&a[0]);
	struct walk w = {.c = c, .end = a[0].u.p + a[0].len};
	if (first != '[')
		return where_fail(c, "cannot get array length of a %s", first == '{' ? "non-array" : "scalar");
	*out = where_int(count_elements(&w, json_skip_space(a[0].u.p, w.end)));
	return 0;
}

/* ---- json_strip_nulls --------------------------------------------------------------------------- */

/* Writes the string at `p` again with Postgres's escapes. */
static const char *strip_string(struct walk *w, const char *p, struct buf *out)
{
	const char *from = p + 1, *end = skip_string(w, p);
	if (w->seen & JSON_NOT_TEXT || end <= from)
		return end;
	size_t n = (size_t)(end - 1 - from);
	if (memchr(from, '\\', n) != NULL) {
		char *plain = arena_alloc(w->c->mem, n);
		n = json_unescape(plain, from, end - 1);
		from = plain;
	}
	json_quote(out, from, n);
	return end;
}

static const char *strip_value(struct walk *w, const char *p, struct buf *out);

static const char *strip_object(struct walk *w, const char *p, struct buf *out)
{
	bool first = true;
	buf_putc(out, '{');
	p = json_skip_space(p + 1, w->end);
	while (p < w->end && *p == '"') {
		const char *key = p;
		p = json_skip_space(skip_string(w, p), w->end);
		p = json_skip_space(p < w->end ? p + 1 : p, w->end);
		if (p < w->end && *p == 'n') {
			p = skip_comma(w, skip_value(w, p, ANY_LEVEL));
			continue;
		}
		if (!first)
			buf_putc(out, ',');
		first = false;
		strip_string(w, key, out);
		buf_putc(out, ':');
		p = skip_comma(w, strip_value(w, p, out));
	}
	buf_putc(out, '}');
	return p < w->end ? p + 1 : p;
}

static const char *strip_array(struct walk *w, const char *p, struct buf *out)
{
	bool first = true;
	buf_putc(out, '[');
	p = json_skip_space(p + 1, w->end);
	while (p < w->end && *p != ']') {
		if (!first)
			buf_putc(out, ',');
		first = false;
		p = skip_comma(w, strip_value(w, p, out));
	}
	buf_putc(out, ']');
	return p < w->end ? p + 1 : p;
}

static const char *strip_value(struct walk *w, const char *p, struct buf *out)
{
	if (p < w->end && *p == '{')
		return strip_object(w, p, out);
	if (p < w->end && *p == '[')
		return strip_array(w, p, out);
	if (p < w->end && *p == '"')
		return strip_string(w, p, out);
	const char *end = skip_value(w, p, ANY_LEVEL);
	buf_put(out, p, (size_t)(end - p));
	return end;
}

static int json_strip_nulls(struct where_call *c, args_t a, struct where_value *out)
{
	struct walk w = {.c = c, .end = a[0].u.p + a[0].len};
	struct buf text = BUF_INIT(WHERE_EVAL_BYTES_MAX);
	strip_value(&w, json_skip_space(a[0].u.p, w.end), &text);
	if (w.seen & JSON_NOT_TEXT) {
		buf_clear(&text);
		return where_fail(c, "unsupported Unicode escape sequence");
	}
	return buf_result(c, &text, out);
}

/* ---- jsonb: order ------------------------------------------------------------------------------- */

static int jsonb_eq(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = where_bool(jsonb_equal(a[0].u.jsonb, a[1].u.jsonb));
	return 0;
}

static int jsonb_ne(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = where_bool(!jsonb_equal(a[0].u.jsonb, a[1].u.jsonb));
	return 0;
}

static bool has_strings(const struct jsonb *j)
{
	if (j->kind == JSONB_STRING || (j->kind == JSONB_OBJECT && j->n > 0))
		return true;
	for (uint32_t i = 0; j->kind == JSONB_ARRAY && i < j->n; i++)
		if (has_strings(&j->u.items[i]))
			return true;
	return false;
}

/* Strings inside are ordered by the database's collation: the call's, if it has one. */
static int order_of(struct where_call *c, args_t a, int *order)
{
	const struct jsonb *x = a[0].u.jsonb, *y = a[1].u.jsonb;
	if (c->collation && c->collation->order == WHERE_ORDER_NONE && has_strings(x) && has_strings(y) && !jsonb_equal(x, y))
		return where_fail(c, "the order of collation %s is not known here", c->collation->name);
	*order = jsonb_cmp(x, y, c->collation);
	return 0;
}

#define COMPARISON(name, test)                                                               \
	static int name(struct where_call *c, args_t a, struct where_value *out)             \
	{                                                                                    \
		int order = 0;                                                                 \
		if (order_of(c, a, &order) != 0)                                             \
			return -1;                                                           \
		*out = (test);                                                               \
		return 0;                                                                    \
	}

COMPARISON(jsonb_lt, where_bool(order < 0))
COMPARISON(jsonb_le, where_bool(order <= 0))
COMPARISON(jsonb_gt, where_bool(order > 0))
COMPARISON(jsonb_ge, where_bool(order >= 0))

/* ---- jsonb: looking inside ---------------------------------------------------------------------- */

/* A scalar counts as an array of itself where an index is asked for. */
static const struct jsonb *element_of(const struct jsonb *j, int64_t i)
{
	if (jsonb_is_scalar(j))
		return i == 0 || i == -1 ? j : NULL;
	return jsonb_element(j, i);
}

static int jsonb_object_field(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	return jsonb_or_null(jsonb_field(a[0].u.jsonb, a[1].u.p, a[1].len), out);
}

static int jsonb_object_field_text(struct where_call *c, args_t a, struct where_value *out)
{
	return jsonb_as_text(c, jsonb_field(a[0].u.jsonb, a[1].u.p, a[1].len), out);
}

static int jsonb_array_element(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	return jsonb_or_null(element_of(a[0].u.jsonb, a[1].u.i), out);
}

static int jsonb_array_element_text(struct where_call *c, args_t a, struct where_value *out)
{
	return jsonb_as_text(c, element_of(a[0].u.jsonb, a[1].u.i), out);
}

static const struct jsonb *follow(args_t a)
{
	const struct jsonb *j = a[0].u.jsonb;
	const struct where_array *path = a[1].u.array;
	if (has_null(path))
		return NULL;
	for (uint32_t i = 0; i < path->n && j != NULL; i++) {
		const struct where_value *name = &path->values[i];
		int index = j->kind == JSONB_ARRAY ? index_of(name) : INT_MIN;
		j = j->kind == JSONB_OBJECT ? jsonb_field(j, name->u.p, name->len)
		    : index != INT_MIN      ? jsonb_element(j, index)
		                            : NULL;
	}
	return j;
}

static int jsonb_extract_path(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	return jsonb_or_null(follow(a), out);
}

static int jsonb_extract_path_text(struct where_call *c, args_t a, struct where_value *out)
{
	return jsonb_as_text(c, follow(a), out);
}

static int fn_contains(struct where_call *c, args_t a, struct where_value *out)
{
	*out = where_bool(jsonb_contains(c, a[0].u.jsonb, a[1].u.jsonb));
	return c->too_costly ? -1 : 0;
}

static int fn_contained(struct where_call *c, args_t a, struct where_value *out)
{
	*out = where_bool(jsonb_contains(c, a[1].u.jsonb, a[0].u.jsonb));
	return c->too_costly ? -1 : 0;
}

static int fn_exists(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = where_bool(jsonb_exists(a[0].u.jsonb, a[1].u.p, a[1].len));
	return 0;
}

/* Whether some key (`any`), or each, exists; NULLs among them don't count. */
static bool exists_of(args_t a, bool any)
{
	const struct where_array *keys = a[1].u.array;
	for (uint32_t i = 0; i < keys->n; i++) {
		const struct where_value *key = &keys->values[i];
		if (!is_null(key) && jsonb_exists(a[0].u.jsonb, key->u.p, key->len) == any)
			return any;
	}
	return !any;
}

static int jsonb_exists_any(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = where_bool(exists_of(a, true));
	return 0;
}

static int jsonb_exists_all(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	*out = where_bool(exists_of(a, false));
	return 0;
}

static const char *kind_name(const struct jsonb *j)
{
	static const char *const names[] = {"null", "string", "number", "boolean", "array", "object"};
	return names[j->kind];
}

static int jsonb_typeof(struct where_call *c, args_t a, struct where_value *out)
{
	(void)c;
	const char *name = kind_name(a[0].u.jsonb);
	*out = text_of(name, strlen(name));
	return 0;
}

static int jsonb_array_length(struct where_call *c, args_t a, struct where_value *out)
{
	const struct jsonb *j = a[0].u.jsonb;
	if (j->kind != JSONB_ARRAY)
		return where_fail(c, "cannot get array length of a %s", j->kind == JSONB_OBJECT ? "non-array" : "scalar");
	*out = where_int(j->n);
	return 0;
}

static int jsonb_pretty(struct where_call *c, args_t a, struct where_value *out)
{
	struct buf text = BUF_INIT(WHERE_EVAL_BYTES_MAX);
	jsonb_format_pretty(a[0].u.jsonb, &text);
	return buf_result(c, &text, out);
}

/* ---- jsonb: putting together and taking apart --------------------------------------------------- */

/* Room for the parts of a container to be. */
static void *parts(struct where_call *c, uint64_t n, size_t size)
{
	if (c->mem->used <= WHERE_EVAL_BYTES_MAX && n * size <= WHERE_EVAL_BYTES_MAX)
		return arena_alloc(c->mem, n * size);
	where_fail(c, "a json value needs more than %u MB of memory", WHERE_EVAL_BYTES_MAX >> 20);
	return NULL;
}

/* Both in order; of equal keys the second's value. */
static const struct jsonb *merge(struct where_call *c, const struct jsonb *a, const struct jsonb *b)
{
	struct jsonb_pair *pairs = parts(c, (uint64_t)a->n + b->n, sizeof *pairs);
	uint32_t i = 0, k = 0, n = 0;
	if (pairs == NULL)
		return NULL;
	while (i < a->n || k < b->n) {
		int order = i == a->n ? 1 : k == b->n ? -1 : 0;
		if (order == 0)
			order = jsonb_key_cmp(&a->u.pairs[i].key, b->u.pairs[k].key.u.text, b->u.pairs[k].key.n);
		pairs[n++] = order < 0 ? a->u.pairs[i] : b->u.pairs[k];
		i += order <= 0;
		k += order >= 0;
	}
	return jsonb_object_of(c, pairs, n);
}

static const struct jsonb *concat(struct where_call *c, const struct jsonb *a, const struct jsonb *b)
{
	if (a->kind == JSONB_OBJECT && b->kind == JSONB_OBJECT)
		return merge(c, a, b);
	const struct jsonb *both[] = {a, b};
	uint32_t n = 0;
	struct jsonb *items = parts(c, (uint64_t)a->n + b->n + 2, sizeof *items);
	if (items == NULL)
		return NULL;
	for (int i = 0; i < 2; i++) {
		if (both[i]->kind != JSONB_ARRAY) {
			items[n++] = *both[i];
			continue;
		}
		if (both[i]->n > 0)
			memcpy(items + n, both[i]->u.items, both[i]->n * sizeof *items);
		n += both[i]->n;
	}
	return jsonb_array_of(c, items, n);
}

static int jsonb_concat(struct where_call *c, args_t a, struct where_value *out)
{
	return jsonb_result(concat(c, a[0].u.jsonb, a[1].u.jsonb), out);
}

static bool named(const struct jsonb *string, const struct where_value *names, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (string->kind == JSONB_STRING && !is_null(&names[i]) && jsonb_key_cmp(string, names[i].u.p, names[i].len) == 0)
			return true;
	return false;
}

/* Without the keys, or the strings among the elements, that are named. */
static const struct jsonb *without(struct where_call *c, const struct jsonb *j, const struct where_value *names,
                                   uint32_t n)
{
	uint32_t kept = 0;
	if (j->kind == JSONB_OBJECT) {
		struct jsonb_pair *pairs = parts(c, j->n, sizeof *pairs);
		for (uint32_t i = 0; pairs && i < j->n; i++)
			if (!named(&j->u.pairs[i].key, names, n))
				pairs[kept++] = j->u.pairs[i];
		return pairs ? jsonb_object_of(c, pairs, kept) : NULL;
	}
	struct jsonb *items = parts(c, j->n, sizeof *items);
	for (uint32_t i = 0; items && i < j->n; i++)
		if (!named(&j->u.items[i], names, n))
			items[kept++] = j->u.items[i];
	return items ? jsonb_array_of(c, items, kept) : NULL;
}

static int jsonb_delete(struct where_call *c, args_t a, struct where_value *out)
{
	if (jsonb_is_scalar(a[0].u.jsonb))
		return where_fail(c, "cannot delete from scalar");
	return jsonb_result(without(c, a[0].u.jsonb, &a[1], 1), out);
}

static int jsonb_delete_array(struct where_call *c, args_t a, struct where_value *out)
{
	const struct where_array *names = a[1].u.array;
	if (names->ndims > 1)
		return where_fail(c, "wrong number of array subscripts");
	if (jsonb_is_scalar(a[0].u.jsonb))
		return where_fail(c, "cannot delete from scalar");
	return jsonb_result(without(c, a[0].u.jsonb, names->values, names->n), out);
}

/* The array without the elements [from, from + cut), and with `more` there. */
static const struct jsonb *spliced(struct where_call *c, const struct jsonb *j, uint32_t from, uint32_t cut,
                                   const struct jsonb *more)
{
	struct jsonb *items = parts(c, (uint64_t)j->n + 1, sizeof *items);
	uint32_t n = from, rest = j->n - from - cut;
	if (items == NULL)
		return NULL;
	if (from > 0)
		memcpy(items, j->u.items, from * sizeof *items);
	if (more != NULL)
		items[n++] = *more;
	if (rest > 0)
		memcpy(items + n, j->u.items + from + cut, rest * sizeof *items);
	return jsonb_array_of(c, items, n + rest);
}

/* The same of an object: what is at `from` goes if `cut`, and the pair comes. */
static const struct jsonb *paired(struct where_call *c, const struct jsonb *j, uint32_t from, uint32_t cut,
                                  const struct jsonb_pair *more)
{
	struct jsonb_pair *pairs = parts(c, (uint64_t)j->n + 1, sizeof *pairs);
	uint32_t n = from, rest = j->n - from - cut;
	if (pairs == NULL)
		return NULL;
	if (from > 0)
		memcpy(pairs, j->u.pairs, from * sizeof *pairs);
	if (more != NULL)
		pairs[n++] = *more;
	if (rest > 0)
		memcpy(pairs + n, j->u.pairs + from + cut, rest * sizeof *pairs);
	return jsonb_object_of(c, pairs, n + rest);
}

static int jsonb_delete_idx(struct where_call *c, args_t a, struct where_value *out)
{
	const struct jsonb *j = a[0].u.jsonb;
	int64_t i = a[1].u.i;
	if (jsonb_is_scalar(j))
		return where_fail(c, "cannot delete from scalar");
	if (j->kind == JSONB_OBJECT)
		return where_fail(c, "cannot delete from object using integer index");
	i += i < 0 ? j->n : 0;
	if (i < 0 || i >= j->n)
		return jsonb_result(j, out);
	return jsonb_result(spliced(c, j, (uint32_t)i, 1, NULL), out);
}

/* ---- jsonb: at a path --------------------------------------------------------------------------- */

enum change { CHANGE_DELETE, CHANGE_REPLACE, CHANGE_SET, CHANGE_BEFORE, CHANGE_AFTER };

struct changer {
	struct where_call *c;
	enum change how;
	const struct where_value *path;
	uint32_t n;
	struct jsonb value;
};

static bool creates(const struct changer *s) { return s->how >= CHANGE_SET; }

static const struct jsonb *change(struct changer *s, const struct jsonb *j, uint32_t level);

static const struct jsonb *change_object(struct changer *s, const struct jsonb *j, uint32_t level)
{
	const struct where_value *name = &s->path[level];
	bool last = level == s->n - 1;
	uint32_t at = 0;
	int order = 1;
	while (at < j->n && (order = jsonb_key_cmp(&j->u.pairs[at].key, name->u.p, name->len)) < 0)
		at++;
	bool found = at < j->n && order == 0;
	struct jsonb_pair pair = {{.kind = JSONB_STRING, .n = name->len, .u.text = name->u.p}, s->value};
	if (!found)
		return last && creates(s) ? paired(s->c, j, at, 0, &pair) : j;
	if (!last) {
		const struct jsonb *below = change(s, &j->u.pairs[at].value, level + 1);
		if (below == NULL || below == &j->u.pairs[at].value)
			return below ? j : NULL;
		pair.value = *below;
		return paired(s->c, j, at, 1, &pair);
	}
	if (s->how == CHANGE_BEFORE || s->how == CHANGE_AFTER) {
		where_fail(s->c, "cannot replace existing key");
		return NULL;
	}
	return paired(s->c, j, at, 1, s->how == CHANGE_DELETE ? NULL : &pair);
}

static const struct jsonb *change_array(struct changer *s, const struct jsonb *j, uint32_t level)
{
	const struct where_value *name = &s->path[level];
	bool last = level == s->n - 1;
	int64_t i = index_of(name);
	/* index_of() says INT_MIN to the one number that is this, too: Postgres takes it as an index. */
	if (i == INT_MIN && !(name->len >= 11 && memcmp(name->u.p + name->len - 11, "-2147483648", 11) == 0)) {
		where_fail(s->c, "path element at position %u is not an integer", level + 1);
		return NULL;
	}
	bool before_all = i < 0 && i + j->n < 0;
	i += i < 0 ? j->n : 0;
	if (before_all || i >= j->n) {
		if (!last || !creates(s))
			return j;
		return spliced(s->c, j, before_all ? 0 : j->n, 0, &s->value);
	}
	uint32_t at = (uint32_t)i;
	if (!last) {
		const struct jsonb *below = change(s, &j->u.items[at], level + 1);
		if (below == NULL || below == &j->u.items[at])
			return below ? j : NULL;
		return spliced(s->c, j, at, 1, below);
	}
	switch (s->how) {
	case CHANGE_DELETE: return spliced(s->c, j, at, 1, NULL);
	case CHANGE_BEFORE: return spliced(s->c, j, at, 0, &s->value);
	case CHANGE_AFTER: return spliced(s->c, j, at + 1, 0, &s->value);
	default: return spliced(s->c, j, at, 1, &s->value);
	}
}

/* The value with the change made below it; the same pointer if there is none. NULL after where_fail(). */
static const struct jsonb *change(struct changer *s, const struct jsonb *j, uint32_t level)
{
	if (is_null(&s->path[level])) {
		where_fail(s->c, "path element at position %u is null", level + 1);
		return NULL;
	}
	if (j->kind == JSONB_OBJECT)
		return change_object(s, j, level);
	return j->kind == JSONB_ARRAY ? change_array(s, j, level) : j;
}

static int change_at(struct where_call *c, args_t a, enum change how, const struct jsonb *value,
                     struct where_value *out)
{
	const struct jsonb *j = a[0].u.jsonb;
	const struct where_array *path = a[1].u.array;
	struct changer s = {.c = c, .how = how, .path = path->values, .n = path->n};
	if (value != NULL)
		s.value = *value;
	if (path->ndims > 1)
		return where_fail(c, "wrong number of array subscripts");
	if (jsonb_is_scalar(j))
		return where_fail(c, how == CHANGE_DELETE ? "cannot delete path in scalar" : "cannot set path in scalar");
	if (path->n == 0 || (j->n == 0 && !creates(&s)))
		return jsonb_result(j, out);
	return jsonb_result(change(&s, j, 0), out);
}

static int jsonb_delete_path(struct where_call *c, args_t a, struct where_value *out)
{
	return change_at(c, a, CHANGE_DELETE, NULL, out);
}

static int jsonb_set(struct where_call *c, args_t a, struct where_value *out)
{
	return change_at(c, a, a[3].u.i ? CHANGE_SET : CHANGE_REPLACE, a[2].u.jsonb, out);
}

static int jsonb_insert(struct where_call *c, args_t a, struct where_value *out)
{
	return change_at(c, a, a[3].u.i ? CHANGE_AFTER : CHANGE_BEFORE, a[2].u.jsonb, out);
}

static const struct jsonb *stripped(struct where_call *c, const struct jsonb *j)
{
	uint32_t n = 0;
	if (jsonb_is_scalar(j))
		return j;
	if (j->kind == JSONB_ARRAY) {
		struct jsonb *items = parts(c, j->n, sizeof *items);
		for (; items && n < j->n; n++) {
			const struct jsonb *below = stripped(c, &j->u.items[n]);
			if (below == NULL)
				return NULL;
			items[n] = *below;
		}
		return items ? jsonb_array_of(c, items, n) : NULL;
	}
	struct jsonb_pair *pairs = parts(c, j->n, sizeof *pairs);
	for (uint32_t i = 0; pairs && i < j->n; i++) {
		if (j->u.pairs[i].value.kind == JSONB_NULL)
			continue;
		const struct jsonb *below = stripped(c, &j->u.pairs[i].value);
		if (below == NULL)
			return NULL;
		pairs[n++] = (struct jsonb_pair){j->u.pairs[i].key, *below};
	}
	return pairs ? jsonb_object_of(c, pairs, n) : NULL;
}

static int jsonb_strip_nulls(struct where_call *c, args_t a, struct where_value *out)
{
	return jsonb_result(stripped(c, a[0].u.jsonb), out);
}

/* ---- casts -------------------------------------------------------------------------------------- */

static int cast_check(struct where_call *c, const struct jsonb *j, enum jsonb_kind kind, const char *type)
{
	const char *name = j->kind == JSONB_NUMBER ? "numeric" : kind_name(j);
	if (j->kind == (uint8_t)kind)
		return 0;
	if (jsonb_is_scalar(j))
		return where_fail(c, "cannot cast jsonb %s to type %s", name, type);
	return where_fail(c, "cannot cast jsonb array or object to type %s", type);
}

static int jsonb_bool(struct where_call *c, args_t a, struct where_value *out)
{
	if (cast_check(c, a[0].u.jsonb, JSONB_BOOL, "boolean") != 0)
		return -1;
	*out = where_bool(a[0].u.jsonb->truth);
	return 0;
}

static int jsonb_numeric(struct where_call *c, args_t a, struct where_value *out)
{
	const struct jsonb *j = a[0].u.jsonb;
	if (cast_check(c, j, JSONB_NUMBER, "numeric") != 0)
		return -1;
	const struct numeric *v = numeric_parse(c, j->u.text, j->n);
	*out = (struct where_value){.u.numeric = v, .is = WHERE_VALUE};
	return v ? 0 : -1;
}

static int to_integer(struct where_call *c, const struct jsonb *j, int64_t least, int64_t most, const char *type,
                      struct where_value *out)
{
	int64_t v;
	if (cast_check(c, j, JSONB_NUMBER, type) != 0)
		return -1;
	const struct numeric *number = numeric_parse(c, j->u.text, j->n);
	if (number == NULL || numeric_to_int64(c, number, &v) != 0)
		return -1;
	if (v < least || v > most)
		return where_fail(c, "%s out of range", type);
	*out = where_int(v);
	return 0;
}

static int jsonb_int2(struct where_call *c, args_t a, struct where_value *out)
{
	return to_integer(c, a[0].u.jsonb, INT16_MIN, INT16_MAX, "smallint", out);
}

static int jsonb_int4(struct where_call *c, args_t a, struct where_value *out)
{
	return to_integer(c, a[0].u.jsonb, INT32_MIN, INT32_MAX, "integer", out);
}

static int jsonb_int8(struct where_call *c, args_t a, struct where_value *out)
{
	return to_integer(c, a[0].u.jsonb, INT64_MIN, INT64_MAX, "bigint", out);
}

/* As Postgres: the number's text, read as a float. */
static int to_float(struct where_call *c, const struct jsonb *j, bool single, const char *type, struct where_value *out)
{
	*out = (struct where_value){.is = WHERE_VALUE};
	if (cast_check(c, j, JSONB_NUMBER, type) != 0)
		return -1;
	return (single ? number_parse_float4 : number_parse_float8)(c, j->u.text, j->n, &out->u.f);
}

static int jsonb_float4(struct where_call *c, args_t a, struct where_value *out)
{
	return to_float(c, a[0].u.jsonb, true, "real", out);
}

static int jsonb_float8(struct where_call *c, args_t a, struct where_value *out)
{
	return to_float(c, a[0].u.jsonb, false, "double precision", out);
}

/* ---- to_jsonb ----------------------------------------------------------------------------------- */

static const struct where_type *base_of(const struct where_type *t)
{
	return t->base ? t->base : t;
}

static bool is_number_type(uint32_t oid)
{
	return oid == OID_INT2 || oid == OID_INT4 || oid == OID_INT8 || oid == OID_FLOAT4 || oid == OID_FLOAT8 ||
	       oid == OID_NUMERIC;
}

/* Timestamps have a T, and minutes in their offset; infinities haven't. */
static void timestamp_text(struct buf *text, bool zone, const char *p, size_t n)
{
	const char *space = memchr(p, ' ', n), *plus = memchr(p, '+', n);
	if (space == NULL) {
		buf_put(text, p, n);
		return;
	}
	const char *cut = zone && plus ? plus + 3 : p + n; /* behind "+00" */
	buf_put(text, p, (size_t)(space - p));
	buf_putc(text, 'T');
	buf_put(text, space + 1, (size_t)(cut - space - 1));
	if (zone && plus)
		buf_put(text, ":00", 3);
	buf_put(text, cut, (size_t)(p + n - cut));
}

/* The output of `v`, as a number if it is one, else as a string. */
static int scalar_to_jsonb(struct where_call *c, const struct where_type *t, const struct where_value *v,
                           struct jsonb *out)
{
	struct buf text = BUF_INIT(WHERE_EVAL_BYTES_MAX), stamp = BUF_INIT(WHERE_EVAL_BYTES_MAX);
	struct where_value s = where_null();
	if (where_out(c, t, v, &text) != 0) {
		buf_clear(&text);
		return -1;
	}
	const char *p = text.len ? text.data : "";
	if (is_number_type(t->oid) && p[strspn(p, "-0123456789.eE+")] == '\0') {
		const struct jsonb *number = jsonb_parse(c, p, text.len);
		buf_clear(&text);
		if (number != NULL)
			*out = *number;
		return number ? 0 : -1;
	}
	if (t->oid == OID_TIMESTAMP || t->oid == OID_TIMESTAMPTZ) {
		timestamp_text(&stamp, t->oid == OID_TIMESTAMPTZ, p, text.len);
		buf_clear(&text);
		text = stamp;
	}
	if (buf_result(c, &text, &s) != 0)
		return -1;
	*out = (struct jsonb){.kind = JSONB_STRING, .n = s.len, .u.text = s.u.p};
	return 0;
}

static int value_to_jsonb(struct where_call *c, const struct where_type *t, const struct where_value *v,
                          struct jsonb *out);

/* The array's elements from *at on as nested arrays, those of dimension `dim`. */
static int array_to_jsonb(struct where_call *c, const struct where_array *a, int dim, uint32_t *at, struct jsonb *out)
{
	uint32_t n = a->ndims > 0 ? (uint32_t)a->dims[dim] : 0;
	struct jsonb *items = parts(c, n, sizeof *items);
	if (items == NULL)
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		int rc = dim + 1 < a->ndims ? array_to_jsonb(c, a, dim + 1, at, &items[i])
		                            : value_to_jsonb(c, a->elem, &a->values[(*at)++], &items[i]);
		if (rc != 0)
			return -1;
	}
	const struct jsonb *made = jsonb_array_of(c, items, n);
	if (made != NULL)
		*out = *made;
	return made ? 0 : -1;
}

static int value_to_jsonb(struct where_call *c, const struct where_type *t, const struct where_value *v,
                          struct jsonb *out)
{
	uint32_t at = 0;
	t = base_of(t);
	*out = (struct jsonb){.kind = JSONB_NULL};
	if (is_null(v))
		return 0;
	if (t->elem)
		return array_to_jsonb(c, v->u.array, 0, &at, out);
	if (t->oid == OID_BOOL)
		*out = (struct jsonb){.kind = JSONB_BOOL, .truth = v->u.i != 0};
	else if (t->oid == OID_JSONB)
		*out = *v->u.jsonb;
	else if (t->oid == OID_JSON) {
		const struct jsonb *parsed = jsonb_parse(c, v->u.p, v->len);
		if (parsed == NULL)
			return -1;
		*out = *parsed;
	} else {
		return scalar_to_jsonb(c, t, v, out);
	}
	return 0;
}

static int to_jsonb(struct where_call *c, args_t a, struct where_value *out)
{
	struct jsonb j;
	if (value_to_jsonb(c, c->arg_types[0], &a[0], &j) != 0)
		return -1;
	return jsonb_result(arena_dup(c->mem, &j, sizeof j), out);
}

/* ---- types -------------------------------------------------------------------------------------- */

/* The value is the text itself, which the caller keeps, as text's input does it. */
static int json_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	if (json_check(c, p, n) != 0)
		return -1;
	*out = where_bytes(p, n);
	return 0;
}

static int json_out(struct where_call *c, const struct where_value *v, struct buf *text)
{
	(void)c;
	buf_put(text, v->u.p, v->len);
	return 0;
}

static int jsonb_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	return jsonb_result(jsonb_parse(c, p, n), out);
}

static int jsonb_out(struct where_call *c, const struct where_value *v, struct buf *text)
{
	(void)c;
	jsonb_format(v->u.jsonb, text);
	return 0;
}

static int io_cmp(const struct where_value *a, const struct where_value *b)
{
	return jsonb_cmp(a->u.jsonb, b->u.jsonb, NULL);
}

static uint64_t io_hash(const struct where_value *v) { return jsonb_hash(v->u.jsonb); }

const struct where_io where_io_json[] = {
	{"json", json_in, json_out, NULL, NULL},
	{"jsonb", jsonb_in, jsonb_out, io_cmp, io_hash},
	{NULL, NULL, NULL, NULL, NULL},
};

const struct where_impl where_impl_json[] = {
	{"json_object_field", json_object_field, NULL, NULL},
	{"json_object_field_text", json_object_field_text, NULL, NULL},
	{"json_array_element", json_array_element, NULL, NULL},
	{"json_array_element_text", json_array_element_text, NULL, NULL},
	{"json_extract_path", json_extract_path, NULL, NULL},
	{"json_extract_path_text", json_extract_path_text, NULL, NULL},
	{"json_typeof", json_typeof, NULL, NULL},
	{"json_array_length", json_array_length, NULL, NULL},
	{"json_strip_nulls", json_strip_nulls, NULL, NULL},
	{"jsonb_eq", jsonb_eq, NULL, NULL},
	{"jsonb_ne", jsonb_ne, NULL, NULL},
	{"jsonb_lt", jsonb_lt, NULL, NULL},
	{"jsonb_le", jsonb_le, NULL, NULL},
	{"jsonb_gt", jsonb_gt, NULL, NULL},
	{"jsonb_ge", jsonb_ge, NULL, NULL},
	{"jsonb_object_field", jsonb_object_field, NULL, NULL},
	{"jsonb_object_field_text", jsonb_object_field_text, NULL, NULL},
	{"jsonb_array_element", jsonb_array_element, NULL, NULL},
	{"jsonb_array_element_text", jsonb_array_element_text, NULL, NULL},
	{"jsonb_extract_path", jsonb_extract_path, NULL, NULL},
	{"jsonb_extract_path_text", jsonb_extract_path_text, NULL, NULL},
	{"jsonb_contains", fn_contains, NULL, NULL},
	{"jsonb_contained", fn_contained, NULL, NULL},
	{"jsonb_exists", fn_exists, NULL, NULL},
	{"jsonb_exists_any", jsonb_exists_any, NULL, NULL},
	{"jsonb_exists_all", jsonb_exists_all, NULL, NULL},
	{"jsonb_typeof", jsonb_typeof, NULL, NULL},
	{"jsonb_array_length", jsonb_array_length, NULL, NULL},
	{"jsonb_pretty", jsonb_pretty, NULL, NULL},
	{"jsonb_concat", jsonb_concat, NULL, NULL},
	{"jsonb_delete", jsonb_delete, NULL, NULL},
	{"jsonb_delete_array", jsonb_delete_array, NULL, NULL},
	{"jsonb_delete_idx", jsonb_delete_idx, NULL, NULL},
	{"jsonb_delete_path", jsonb_delete_path, NULL, NULL},
	{"jsonb_set", jsonb_set, NULL, NULL},
	{"jsonb_insert", jsonb_insert, NULL, NULL},
	{"jsonb_strip_nulls", jsonb_strip_nulls, NULL, NULL},
	{"to_jsonb", to_jsonb, NULL, NULL},
	{"jsonb_bool", jsonb_bool, NULL, NULL},
	{"jsonb_numeric", jsonb_numeric, NULL, NULL},
	{"jsonb_int2", jsonb_int2, NULL, NULL},
	{"jsonb_int4", jsonb_int4, NULL, NULL},
	{"jsonb_int8", jsonb_int8, NULL, NULL},
	{"jsonb_float4", jsonb_float4, NULL, NULL},
	{"jsonb_float8", jsonb_float8, NULL, NULL},
	{NULL, NULL, NULL, NULL},
};
