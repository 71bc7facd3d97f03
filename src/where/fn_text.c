/*
 * fn_text.c - functions of text, varchar, char(n) and name, their input and output, and the table of all text
 * functions (those of fn_bytes.c and fn_match.c included).
 *
 * Positions and lengths are in characters. Results are slices of their arguments where they can be. A char(n) is
 * held as Postgres sends it, padded; what ignores its blanks says so.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "where/find.h"
#include "where/textcase.h"
#include "where/textfn.h"

#define NAME_BYTES_MAX 63
#define TYPMOD_HEADER 4              /* counted in the typmod of varchar(n) and char(n) */
#define ALLOC_BYTES_MAX 0x3fffffff   /* Postgres's largest single allocation */
#define COMPARE_STACK_BYTES 512
#define TRIM_WORK_MAX (1u << 30)
#define STRCOLL_BYTE_STEPS 30        /* of the C library's comparison */
#define SEARCH_STEPS 64              /* to begin one memmem() */

typedef const struct where_value *args_t;

/* The value without the blanks at its end. */
static struct where_value textfn_unpad(struct where_value v)
{
	while (v.len > 0 && v.u.p[v.len - 1] == ' ')
		v.len--;
	return v;
}

/* ---- comparisons -------------------------------------------------------------------------------------------- */

static const char *terminated(struct where_call *c, const struct where_value *v, char *small)
{
	char *copy = v->len < COMPARE_STACK_BYTES ? small : textfn_room(c, (uint64_t)v->len + 1);
	if (copy == NULL)
		return NULL;
	memcpy(copy, v->u.p, v->len);
	copy[v->len] = '\0';
	return copy;
}

/* `cmp`: the sign of the comparison. Fails if the collation's order is unknown. */
static int textfn_compare(struct where_call *c, const struct where_value *a, const struct where_value *b, int *cmp)
{
	char small_a[COMPARE_STACK_BYTES], small_b[COMPARE_STACK_BYTES];
	*cmp = where_bytes_cmp(a, b);
	if (c->collation->order == WHERE_ORDER_BYTES || (*cmp == 0 && c->collation->deterministic))
		return 0;
	if (c->collation->order == WHERE_ORDER_NONE)
		return where_fail(c, "the order of texts under the collation \"%s\" is known to the database only",
		                  c->collation->name);
	if (where_spend(c, STRCOLL_BYTE_STEPS * ((uint64_t)a->len + b->len)) != 0)
		return -1;
	const char *x = terminated(c, a, small_a), *y = terminated(c, b, small_b);
	if (x == NULL || y == NULL)
		return -1;
	int order = strcoll_l(x, y, c->collation->compare);
	*cmp = order != 0 ? order : *cmp;
	return 0;
}

static int equal(struct where_call *c, const struct where_value *a, const struct where_value *b, bool *result)
{
	if (!c->collation->deterministic)
		return where_fail(c, "equality under the nondeterministic collation \"%s\" is known to the database only",
		                  c->collation->name);
	*result = a->len == b->len && (a->len == 0 || memcmp(a->u.p, b->u.p, a->len) == 0);
	return 0;
}

#define EQUALITY(name, prepare, result) \
	static int name(struct where_call *c, args_t args, struct where_value *out) \
	{ \
		struct where_value a = prepare(args[0]), b = prepare(args[1]); \
		bool same = false; \
		if (equal(c, &a, &b, &same) < 0) \
			return -1; \
		*out = where_bool(result); \
		return 0; \
	}

#define ORDER(name, prepare, result) \
	static int name(struct where_call *c, args_t args, struct where_value *out) \
	{ \
		struct where_value a = prepare(args[0]), b = prepare(args[1]); \
		int cmp; \
		if (textfn_compare(c, &a, &b, &cmp) < 0) \
			return -1; \
		*out = (result); \
		return 0; \
	}

#define BY_BYTES(name, prepare, result) \
	static int name(struct where_call *c, args_t args, struct where_value *out) \
	{ \
		struct where_value a = prepare(args[0]), b = prepare(args[1]); \
		int cmp = where_bytes_cmp(&a, &b); \
		(void)c; \
		*out = (result); \
		return 0; \
	}

static struct where_value whole(struct where_value v) { return v; }
static struct where_value sign(int cmp) { return where_int((cmp > 0) - (cmp < 0)); }

EQUALITY(text_eq, whole, same)
EQUALITY(text_ne, whole, !same)
ORDER(text_lt, whole, where_bool(cmp < 0))
ORDER(text_le, whole, where_bool(cmp <= 0))
ORDER(text_gt, whole, where_bool(cmp > 0))
ORDER(text_ge, whole, where_bool(cmp >= 0))
ORDER(text_cmp, whole, sign(cmp))
ORDER(text_larger, whole, cmp > 0 ? a : b)
ORDER(text_smaller, whole, cmp < 0 ? a : b)
EQUALITY(bpchar_eq, textfn_unpad, same)
EQUALITY(bpchar_ne, textfn_unpad, !same)
ORDER(bpchar_lt, textfn_unpad, where_bool(cmp < 0))
ORDER(bpchar_le, textfn_unpad, where_bool(cmp <= 0))
ORDER(bpchar_gt, textfn_unpad, where_bool(cmp > 0))
ORDER(bpchar_ge, textfn_unpad, where_bool(cmp >= 0))
ORDER(bpchar_cmp, textfn_unpad, sign(cmp))
ORDER(bpchar_larger, textfn_unpad, args[cmp < 0])
ORDER(bpchar_smaller, textfn_unpad, args[cmp > 0])
BY_BYTES(pattern_lt, whole, where_bool(cmp < 0))
BY_BYTES(pattern_le, whole, where_bool(cmp <= 0))
BY_BYTES(pattern_gt, whole, where_bool(cmp > 0))
BY_BYTES(pattern_ge, whole, where_bool(cmp >= 0))
BY_BYTES(pattern_cmp, whole, sign(cmp))
BY_BYTES(bpchar_pattern_lt, textfn_unpad, where_bool(cmp < 0))
BY_BYTES(bpchar_pattern_le, textfn_unpad, where_bool(cmp <= 0))
BY_BYTES(bpchar_pattern_gt, textfn_unpad, where_bool(cmp > 0))
BY_BYTES(bpchar_pattern_ge, textfn_unpad, where_bool(cmp >= 0))
BY_BYTES(bpchar_pattern_cmp, textfn_unpad, sign(cmp))

/* ---- joining ------------------------------------------------------------------------------------------------ */

static int join(struct where_call *c, const struct where_value *parts, size_t n, struct where_value *out)
{
	uint64_t total = 0;
	for (size_t i = 0; i < n; i++)
		total += parts[i].len;
	char *start = textfn_room(c, total), *to = start;
	if (to == NULL)
		return -1;
	for (size_t i = 0; i < n; i++) {
		memcpy(to, parts[i].u.p, parts[i].len);
		to += parts[i].len;
	}
	*out = where_bytes(start, (size_t)total);
	return 0;
}

static int text_cat(struct where_call *c, args_t args, struct where_value *out) { return join(c, args, 2, out); }

static bool is_text(const struct where_type *t)
{
	return t->oid == OID_TEXT || t->oid == OID_VARCHAR || t->oid == OID_BPCHAR || t->oid == OID_NAME || t->oid == OID_UNKNOWN;
}

/* What the type's output function writes. */
static int output(struct where_call *c, const struct where_type *t, const struct where_value *v, struct where_value *out)
{
	if (is_text(t)) {
		*out = *v;
		return 0;
	}
	struct buf text = BUF_INIT(WHERE_EVAL_BYTES_MAX);
	int r = where_out(c, t, v, &text);
	if (r == 0 && text.failed)
		r = where_fail(c, "the result is too large");
	if (r == 0)
		*out = where_bytes(arena_dup(c->mem, text.data != NULL ? text.data : "", text.len), text.len);
	buf_clear(&text);
	return r;
}

/* What a cast to text gives. */
static int as_text(struct where_call *c, const struct where_type *t, const struct where_value *v, struct where_value *out)
{
	t = t->base != NULL ? t->base : t;
	if (t->oid == OID_BOOL) {
		*out = v->u.i ? where_bytes("true", 4) : where_bytes("false", 5);
		return 0;
	}
	if (t->oid == OID_CHAR)
		return where_char_text(c, v, out);
	if (output(c, t, v, out) < 0)
		return -1;
	if (t->oid == OID_BPCHAR)
		*out = textfn_unpad(*out);
	return 0;
}

static int text_any_cat(struct where_call *c, args_t args, struct where_value *out)
{
	struct where_value parts[2] = {args[0]};
	return as_text(c, c->arg_types[1], &args[1], &parts[1]) < 0 ? -1 : join(c, parts, 2, out);
}

static int any_text_cat(struct where_call *c, args_t args, struct where_value *out)
{
	struct where_value parts[2] = {[1] = args[1]};
	return as_text(c, c->arg_types[0], &args[0], &parts[0]) < 0 ? -1 : join(c, parts, 2, out);
}

/* Arguments from the `first` on, those that aren't NULL, with `separator` between them. */
static int concat_from(struct where_call *c, args_t args, uint32_t first, const struct where_value *separator,
                       struct where_value *out)
{
	struct where_value *parts = arena_alloc(c->mem, 2 * (c->nargs + 1) * sizeof *parts);
	size_t n = 0;
	for (uint32_t i = first; i < c->nargs; i++) {
		if (args[i].is != WHERE_VALUE)
			continue;
		if (n > 0 && separator->len > 0)
			parts[n++] = *separator;
		else if (n > 0)
			parts[n++] = where_bytes("", 0);
		if (output(c, c->arg_types[i], &args[i], &parts[n++]) < 0)
			return -1;
	}
	return join(c, parts, n, out);
}

static int concat(struct where_call *c, args_t args, struct where_value *out)
{
	struct where_value none = where_bytes("", 0);
	return concat_from(c, args, 0, &none, out);
}

static int concat_ws(struct where_call *c, args_t args, struct where_value *out)
{
	if (args[0].is == WHERE_NULL) {
		*out = where_null();
		return 0;
	}
	return concat_from(c, args, 1, &args[0], out);
}

/* ---- lengths -------------------------------------------------------------------------------------------------- */

static int text_len(struct where_call *c, args_t args, struct where_value *out)
{
	(void)c;
	*out = where_int((int64_t)utf8_count(args[0].u.p, args[0].len));
	return 0;
}

static int bpchar_len(struct where_call *c, args_t args, struct where_value *out)
{
	struct where_value v = textfn_unpad(args[0]);
	return text_len(c, &v, out);
}

static int octet_len(struct where_call *c, args_t args, struct where_value *out)
{
	(void)c;
	*out = where_int(args[0].len);
	return 0;
}

static int bit_length(struct where_call *c, args_t args, struct where_value *out)
{
	if (args[0].len > INT32_MAX / 8)
		return where_fail(c, "integer out of range");
	*out = where_int((int64_t)args[0].len * 8);
	return 0;
}

/* ---- parts ------------------------------------------------------------------------------------------------------ */

static struct where_value between(const char *from, const char *to) { return where_bytes(from, (size_t)(to - from)); }

/* The characters from position `from` (the first is 1) to before `to`. */
static struct where_value slice(const struct where_value *v, int64_t from, int64_t to)
{
	const char *end = v->u.p + v->len;
	from = from < 1 ? 1 : from;
	if (to <= from)
		return where_bytes(v->u.p, 0);
	const char *start = utf8_skip(v->u.p, end, (uint64_t)(from - 1));
	return between(start, utf8_skip(start, end, (uint64_t)(to - from)));
}

static int text_substr(struct where_call *c, args_t args, struct where_value *out)
{
	if (c->nargs > 2 && args[2].u.i < 0)
		return where_fail(c, "negative substring length not allowed");
	*out = slice(&args[0], args[1].u.i, c->nargs > 2 ? args[1].u.i + args[2].u.i : INT64_MAX);
	return 0;
}

static int text_left(struct where_call *c, args_t args, struct where_value *out)
{
	int64_t n = args[1].u.i;
	(void)c;
	if (n < 0)
		n += (int64_t)utf8_count(args[0].u.p, args[0].len);
	*out = slice(&args[0], 1, n + 1);
	return 0;
}

static int text_right(struct where_call *c, args_t args, struct where_value *out)
{
	int64_t n = args[1].u.i;
	(void)c;
	n = n == INT32_MIN ? 0 /* has no negative in Postgres's int */ : n < 0 ? -n : (int64_t)utf8_count(args[0].u.p, args[0].len) - n;
	*out = slice(&args[0], n + 1, INT64_MAX);
	return 0;
}

static int text_overlay(struct where_call *c, args_t args, struct where_value *out)
{
	int64_t n = c->nargs > 3 ? args[3].u.i : (int64_t)utf8_count(args[1].u.p, args[1].len);
	int64_t from = args[2].u.i, past = from + n;
	if (from <= 0)
		return where_fail(c, "negative substring length not allowed");
	if (past > INT32_MAX || past < INT32_MIN)
		return where_fail(c, "integer out of range");
	struct where_value parts[3] = {slice(&args[0], 1, from), args[1], slice(&args[0], past, INT64_MAX)};
	return join(c, parts, 3, out);
}

static int split_part(struct where_call *c, args_t args, struct where_value *out)
{
	int64_t n = args[2].u.i;
	const char *p = args[0].u.p, *end = p + args[0].len, *hit;
	size_t width = args[1].len;
	if (n == 0)
		return where_fail(c, "field position must not be zero");
	if (width == 0) {
		*out = n == 1 || n == -1 ? args[0] : where_bytes("", 0);
		return 0;
	}
	if (n < 0) {
		int64_t fields = 1;
		for (; (hit = where_find(p, (size_t)(end - p), args[1].u.p, width)) != NULL; p = hit + width) {
			if (where_spend(c, SEARCH_STEPS) != 0)
				return -1;
			fields++;
		}
		n += fields + 1;
		p = args[0].u.p;
	}
	*out = where_bytes("", 0);
	for (; n > 0; n--) {
		hit = where_find(p, (size_t)(end - p), args[1].u.p, width);
		if (n == 1)
			*out = between(p, hit != NULL ? hit : end);
		if (hit == NULL)
			return 0;
		if (where_spend(c, SEARCH_STEPS) != 0)
			return -1;
		p = hit + width;
	}
	return 0;
}

static int starts_with(struct where_call *c, args_t args, struct where_value *out)
{
	if (!c->collation->deterministic)
		return where_fail(c, "nondeterministic collations are not supported for substring searches");
	*out = where_bool(args[0].len >= args[1].len && memcmp(args[0].u.p, args[1].u.p, args[1].len) == 0);
	return 0;
}

static int text_pos(struct where_call *c, args_t args, struct where_value *out)
{
	if (!c->collation->deterministic)
		return where_fail(c, "nondeterministic collations are not supported for substring searches");
	const char *p = args[0].u.p, *hit = args[1].len == 0 ? p : where_find(p, args[0].len, args[1].u.p, args[1].len);
	*out = where_int(hit != NULL ? (int64_t)utf8_count(p, (size_t)(hit - p)) + 1 : 0);
	return 0;
}

/* ---- trimming ------------------------------------------------------------------------------------------------- */

struct trimmer {
	const struct where_value *set;
	bool ascii[128];
	uint64_t work; /* bytes of the set looked at */
};

static bool in_trim_set(struct trimmer *t, const char *p, size_t n)
{
	if ((unsigned char)*p < 128)
		return t->ascii[(unsigned char)*p];
	t->work += t->set->len;
	return where_find(t->set->u.p, t->set->len, p, n) != NULL;
}

static int trim(struct where_call *c, const struct where_value *v, const struct where_value *set, bool left, bool right,
                struct where_value *out)
{
	struct trimmer t = {.set = set};
	uint64_t work_max = where_work_left(c) < TRIM_WORK_MAX ? where_work_left(c) : TRIM_WORK_MAX;
	const char *p = v->u.p, *end = p + v->len;
	for (uint32_t i = 0; i < set->len; i++)
		if ((unsigned char)set->u.p[i] < 128)
			t.ascii[(unsigned char)set->u.p[i]] = true;
	while (left && p < end && t.work < work_max) {
		const char *next = utf8_next(p, end);
		if (!in_trim_set(&t, p, (size_t)(next - p)))
			break;
		p = next;
	}
	while (right && p < end && t.work < work_max) {
		const char *prev = utf8_prev(p, end);
		if (!in_trim_set(&t, prev, (size_t)(end - prev)))
			break;
		end = prev;
	}
	if (t.work >= TRIM_WORK_MAX)
		return where_fail(c, "trimming takes too much work");
	/* At the end of what may be done it may not be finished. */
	if (where_spend(c, t.work) != 0 || (t.work >= work_max && where_too_costly(c) != 0))
		return -1;
	*out = between(p, end);
	return 0;
}

static const struct where_value blank = {.u.p = " ", .len = 1, .is = WHERE_VALUE};

static int btrim(struct where_call *c, args_t args, struct where_value *out)
{
	return trim(c, &args[0], c->nargs > 1 ? &args[1] : &blank, true, true, out);
}

static int ltrim(struct where_call *c, args_t args, struct where_value *out)
{
	return trim(c, &args[0], c->nargs > 1 ? &args[1] : &blank, true, false, out);
}

static int rtrim(struct where_call *c, args_t args, struct where_value *out)
{
	return trim(c, &args[0], c->nargs > 1 ? &args[1] : &blank, false, true, out);
}

/* ---- padding, repeating, replacing -------------------------------------------------------------------------- */

/* `with` again and again until `chars` characters are written. */
static char *fill(char *to, const struct where_value *with, int64_t chars)
{
	const char *p = with->u.p, *end = p + with->len;
	if (with->len == 1) {
		memset(to, *p, (size_t)chars);
		return to + chars;
	}
	for (; chars > 0; chars--) {
		const char *next = utf8_next(p, end);
		memcpy(to, p, (size_t)(next - p));
		to += next - p;
		p = next == end ? with->u.p : next;
	}
	return to;
}

static int pad(struct where_call *c, args_t args, bool left, struct where_value *out)
{
	const struct where_value *with = c->nargs > 2 ? &args[2] : &blank;
	int64_t chars = (int64_t)utf8_count(args[0].u.p, args[0].len), width = args[1].u.i < 0 ? 0 : args[1].u.i;
	if (with->len == 0 && width > chars)
		width = chars;
	if (width * UTF8_BYTES_MAX + TYPMOD_HEADER > ALLOC_BYTES_MAX)
		return where_fail(c, "requested length too large");
	if (width <= chars) {
		*out = slice(&args[0], 1, width + 1);
		return 0;
	}
	char *start = textfn_room(c, args[0].len + (uint64_t)(width - chars) * (with->len == 1 ? 1 : UTF8_BYTES_MAX)), *to = start;
	if (to == NULL)
		return -1;
	if (left)
		to = fill(to, with, width - chars);
	memcpy(to, args[0].u.p, args[0].len);
	to += args[0].len;
	if (!left)
		to = fill(to, with, width - chars);
	*out = between(start, to);
	return 0;
}

static int lpad(struct where_call *c, args_t args, struct where_value *out) { return pad(c, args, true, out); }
static int rpad(struct where_call *c, args_t args, struct where_value *out) { return pad(c, args, false, out); }

static int repeat(struct where_call *c, args_t args, struct where_value *out)
{
	uint64_t count = args[1].u.i > 0 ? (uint64_t)args[1].u.i : 0, n = args[0].len * count;
	if (n + TYPMOD_HEADER > ALLOC_BYTES_MAX)
		return where_fail(c, "requested length too large");
	char *to = textfn_room(c, n);
	if (to == NULL)
		return -1;
	if (n > 0)
		memcpy(to, args[0].u.p, args[0].len);
	for (size_t done = args[0].len; done < n;) { /* doubling what is there */
		size_t more = done < n - done ? done : (size_t)n - done;
		memcpy(to + done, to, more);
		done += more;
	}
	*out = where_bytes(to, (size_t)n);
	return 0;
}

/* -1: too costly. */
static int count_hits(struct where_call *c, const struct where_value *v, const struct where_value *what, uint64_t *n)
{
	const char *p = v->u.p, *end = p + v->len;
	for (*n = 0; (p = where_find(p, (size_t)(end - p), what->u.p, what->len)) != NULL; p += what->len, ++*n)
		if (where_spend(c, 2 * SEARCH_STEPS) != 0) /* and once more when it is replaced */
			return -1;
	return 0;
}

static int replace(struct where_call *c, args_t args, struct where_value *out)
{
	if (!c->collation->deterministic)
		return where_fail(c, "nondeterministic collations are not supported for substring searches");
	uint64_t hits = 0;
	if (args[1].len > 0 && count_hits(c, &args[0], &args[1], &hits) != 0)
		return -1;
	if (hits == 0) {
		*out = args[0];
		return 0;
	}
	char *start = textfn_room(c, args[0].len - hits * args[1].len + hits * args[2].len), *to = start;
	if (to == NULL)
		return -1;
	const char *p = args[0].u.p, *end = p + args[0].len, *hit;
	for (; (hit = where_find(p, (size_t)(end - p), args[1].u.p, args[1].len)) != NULL; p = hit + args[1].len) {
		memcpy(to, p, (size_t)(hit - p));
		to += hit - p;
		memcpy(to, args[2].u.p, args[2].len);
		to += args[2].len;
	}
	memcpy(to, p, (size_t)(end - p));
	*out = between(start, to + (end - p));
	return 0;
}

static int reverse(struct where_call *c, args_t args, struct where_value *out)
{
	char *start = textfn_room(c, args[0].len), *to = start + args[0].len;
	if (start == NULL)
		return -1;
	for (const char *p = args[0].u.p, *end = p + args[0].len, *next; p < end; p = next) {
		next = utf8_next(p, end);
		to -= next - p;
		memcpy(to, p, (size_t)(next - p));
	}
	*out = where_bytes(start, args[0].len);
	return 0;
}

/* translate(): what becomes of a character; `with_n` 0: it is left out. */
struct translation { uint32_t point, place; const char *with; uint32_t with_n; };

static int by_point(const void *a, const void *b)
{
	const struct translation *x = a, *y = b;
	if (x->point != y->point)
		return x->point < y->point ? -1 : 1;
	return (x->place > y->place) - (x->place < y->place);
}

/* The first of a character counts. */
static const struct translation *find_translation(const struct translation *t, size_t n, uint32_t point)
{
	size_t low = 0, high = n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (t[mid].point < point)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n && t[low].point == point ? &t[low] : NULL;
}

static struct translation *read_translations(struct where_call *c, const struct where_value *from,
                                             const struct where_value *to, size_t *n)
{
	struct translation *t = (void *)textfn_room(c, (uint64_t)from->len * sizeof *t);
	const char *p = from->u.p, *end = p + from->len, *q = to->u.p, *q_end = q + to->len;
	*n = 0;
	while (t != NULL && p < end) {
		const char *with = q;
		q = q < q_end ? utf8_next(q, q_end) : q;
		t[*n] = (struct translation){.place = (uint32_t)*n, .with = with, .with_n = (uint32_t)(q - with)};
		t[(*n)++].point = utf8_decode(&p, end);
	}
	if (t != NULL)
		qsort(t, *n, sizeof *t, by_point);
	return t;
}

static int translate(struct where_call *c, args_t args, struct where_value *out)
{
	size_t n;
	struct translation *t = read_translations(c, &args[1], &args[2], &n);
	char *start = textfn_room(c, (uint64_t)args[0].len * UTF8_BYTES_MAX), *to = start;
	if (t == NULL || to == NULL)
		return -1;
	for (const char *p = args[0].u.p, *end = p + args[0].len; p < end;) {
		const char *from = p;
		const struct translation *found = find_translation(t, n, utf8_decode(&p, end));
		const char *with = found != NULL ? found->with : from;
		size_t with_n = found != NULL ? found->with_n : (size_t)(p - from);
		memcpy(to, with, with_n);
		to += with_n;
	}
	*out = between(start, to);
	return 0;
}

/* ---- characters, case ----------------------------------------------------------------------------------------- */

static int ascii(struct where_call *c, args_t args, struct where_value *out)
{
	const char *p = args[0].u.p;
	(void)c;
	*out = where_int(args[0].len > 0 ? (int64_t)utf8_decode(&p, p + args[0].len) : 0);
	return 0;
}

static int chr(struct where_call *c, args_t args, struct where_value *out)
{
	int64_t point = args[0].u.i;
	if (point == 0)
		return where_fail(c, "null character not permitted");
	if (point < 0 || point > UTF8_POINT_MAX || (point >= 0xD800 && point <= 0xDFFF))
		return where_fail(c, "requested character not valid for encoding");
	char *to = arena_alloc(c->mem, UTF8_BYTES_MAX);
	*out = where_bytes(to, utf8_encode(to, (uint32_t)point));
	return 0;
}

static int lower(struct where_call *c, args_t args, struct where_value *out)
{
	return textcase_lower(c, args[0].u.p, args[0].len, out);
}

static int upper(struct where_call *c, args_t args, struct where_value *out)
{
	return textcase_upper(c, args[0].u.p, args[0].len, out);
}

static int initcap(struct where_call *c, args_t args, struct where_value *out)
{
	return textcase_initcap(c, args[0].u.p, args[0].len, out);
}

/* ---- casts and lengths of types --------------------------------------------------------------------------------- */

static int same(struct where_call *c, args_t args, struct where_value *out)
{
	(void)c;
	*out = args[0];
	return 0;
}

static struct where_value clip_bytes(struct where_value v, uint32_t max)
{
	if (v.len > max) {
		const char *end = v.u.p + max;
		while (end > v.u.p && utf8_is_continuation(*end))
			end--;
		v.len = (uint32_t)(end - v.u.p);
	}
	return v;
}

static int text_name(struct where_call *c, args_t args, struct where_value *out)
{
	(void)c;
	*out = clip_bytes(args[0], NAME_BYTES_MAX);
	return 0;
}

static int bpchar_name(struct where_call *c, args_t args, struct where_value *out)
{
	(void)c;
	*out = textfn_unpad(clip_bytes(args[0], NAME_BYTES_MAX));
	return 0;
}

/* What is beyond `chars` characters goes, if it is blanks or the cast was written. */
static int cut(struct where_call *c, const char *type, const struct where_value *v, int64_t chars, bool written,
               struct where_value *out)
{
	*out = slice(v, 1, chars + 1);
	for (const char *p = out->u.p + out->len; !written && p < v->u.p + v->len; p++)
		if (*p != ' ')
			return where_fail(c, "value too long for type %s(%lld)", type, (long long)chars);
	return 0;
}

static int to_varchar(struct where_call *c, const struct where_value *v, int64_t typmod, bool written,
                      struct where_value *out)
{
	if (typmod < TYPMOD_HEADER || v->len <= typmod - TYPMOD_HEADER) {
		*out = *v;
		return 0;
	}
	return cut(c, "character varying", v, typmod - TYPMOD_HEADER, written, out);
}

static int to_bpchar(struct where_call *c, const struct where_value *v, int64_t typmod, bool written,
                     struct where_value *out)
{
	int64_t chars = (int64_t)utf8_count(v->u.p, v->len), width = typmod - TYPMOD_HEADER;
	*out = *v;
	if (width < 0 || chars == width)
		return 0;
	if (chars > width)
		return cut(c, "character", v, width, written, out);
	char *to = textfn_room(c, v->len + (uint64_t)(width - chars));
	if (to == NULL)
		return -1;
	memcpy(to, v->u.p, v->len);
	memset(to + v->len, ' ', (size_t)(width - chars));
	*out = where_bytes(to, v->len + (size_t)(width - chars));
	return 0;
}

static int varchar(struct where_call *c, args_t args, struct where_value *out)
{
	return to_varchar(c, &args[0], c->nargs > 1 ? args[1].u.i : c->typmod, c->nargs > 2 ? args[2].u.i != 0 : true, out);
}

static int bpchar(struct where_call *c, args_t args, struct where_value *out)
{
	return to_bpchar(c, &args[0], c->nargs > 1 ? args[1].u.i : c->typmod, c->nargs > 2 ? args[2].u.i != 0 : true, out);
}

/* ---- input and output ------------------------------------------------------------------------------------------- */

static int text_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	(void)c;
	*out = where_bytes(p, n);
	return 0;
}

static int varchar_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	struct where_value v = where_bytes(p, n);
	return to_varchar(c, &v, c->typmod, false, out);
}

static int bpchar_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	struct where_value v = where_bytes(p, n);
	return to_bpchar(c, &v, c->typmod, false, out);
}

static int name_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	struct where_value v = where_bytes(p, n);
	return text_name(c, &v, out);
}

static int text_out(struct where_call *c, const struct where_value *v, struct buf *text)
{
	(void)c;
	buf_put(text, v->u.p, v->len);
	return 0;
}

static int bpchar_order(const struct where_value *a, const struct where_value *b)
{
	struct where_value x = textfn_unpad(*a), y = textfn_unpad(*b);
	return where_bytes_cmp(&x, &y);
}

static uint64_t bpchar_hash(const struct where_value *v)
{
	struct where_value x = textfn_unpad(*v);
	return where_bytes_hash(&x);
}

const struct where_io where_io_text[] = {
	{"text", text_in, text_out, where_bytes_cmp, where_bytes_hash},
	{"varchar", varchar_in, text_out, where_bytes_cmp, where_bytes_hash},
	{"bpchar", bpchar_in, text_out, bpchar_order, bpchar_hash},
	{"name", name_in, text_out, where_bytes_cmp, where_bytes_hash},
	{"char", where_char_in, where_char_out, where_char_cmp, where_char_hash},
	{"bytea", where_bytea_in, where_bytea_out, where_bytes_cmp, where_bytes_hash},
	{"uuid", where_uuid_in, where_uuid_out, where_bytes_cmp, where_bytes_hash},
	{"unknown", text_in, text_out, where_bytes_cmp, where_bytes_hash},
	{NULL, NULL, NULL, NULL, NULL},
};

/* ---- the table ---------------------------------------------------------------------------------------------------- */

#define F(prosrc, function) {prosrc, function, NULL, NULL},
#define LIKE_ROW(prosrc, function) {prosrc, function, where_like_prepare, NULL},
#define BYTEA_LIKE_ROW(prosrc, function) {prosrc, function, where_bytealike_prepare, NULL},
#define ILIKE_ROW(prosrc, function) {prosrc, function, where_ilike_prepare, NULL},
#define REGEX_ROW(prosrc, function) {prosrc, function, where_regex_prepare, where_regex_release},
#define IREGEX_ROW(prosrc, function) {prosrc, function, where_iregex_prepare, where_regex_release},

const struct where_impl where_impl_text[] = {
	F("texteq", text_eq) F("textne", text_ne) F("text_lt", text_lt) F("text_le", text_le) F("text_gt", text_gt)
	F("text_ge", text_ge) F("bttextcmp", text_cmp) F("text_larger", text_larger) F("text_smaller", text_smaller)
	F("bpchareq", bpchar_eq) F("bpcharne", bpchar_ne) F("bpcharlt", bpchar_lt) F("bpcharle", bpchar_le)
	F("bpchargt", bpchar_gt) F("bpcharge", bpchar_ge) F("bpcharcmp", bpchar_cmp) F("bpchar_larger", bpchar_larger)
	F("bpchar_smaller", bpchar_smaller)
	F("nameeq", text_eq) F("namene", text_ne) F("namelt", text_lt) F("namele", text_le) F("namegt", text_gt)
	F("namege", text_ge) F("btnamecmp", text_cmp)
	F("nameeqtext", text_eq) F("namenetext", text_ne) F("namelttext", text_lt) F("nameletext", text_le)
	F("namegttext", text_gt) F("namegetext", text_ge) F("btnametextcmp", text_cmp)
	F("texteqname", text_eq) F("textnename", text_ne) F("textltname", text_lt) F("textlename", text_le)
	F("textgtname", text_gt) F("textgename", text_ge) F("bttextnamecmp", text_cmp)
	F("text_pattern_lt", pattern_lt) F("text_pattern_le", pattern_le) F("text_pattern_gt", pattern_gt)
	F("text_pattern_ge", pattern_ge) F("bttext_pattern_cmp", pattern_cmp)
	F("bpchar_pattern_lt", bpchar_pattern_lt) F("bpchar_pattern_le", bpchar_pattern_le)
	F("bpchar_pattern_gt", bpchar_pattern_gt) F("bpchar_pattern_ge", bpchar_pattern_ge)
	F("btbpchar_pattern_cmp", bpchar_pattern_cmp)
	F("textcat", text_cat) F("textanycat", text_any_cat) F("anytextcat", any_text_cat) F("text_concat", concat)
	F("text_concat_ws", concat_ws)
	F("textlen", text_len) F("bpcharlen", bpchar_len) F("textoctetlen", octet_len) F("bpcharoctetlen", octet_len)
	F("bit_length", bit_length)
	F("text_substr", text_substr) F("text_substr_no_len", text_substr) F("text_left", text_left)
	F("text_right", text_right) F("textoverlay", text_overlay) F("textoverlay_no_len", text_overlay)
	F("split_part", split_part) F("text_starts_with", starts_with) F("textpos", text_pos)
	F("btrim", btrim) F("btrim1", btrim) F("ltrim", ltrim) F("ltrim1", ltrim) F("rtrim", rtrim) F("rtrim1", rtrim)
	F("lpad", lpad) F("rpad", rpad) F("repeat", repeat) F("replace_text", replace) F("text_reverse", reverse)
	F("translate", translate)
	F("ascii", ascii) F("chr", chr) F("lower", lower) F("upper", upper) F("initcap", initcap)
	F("name_text", same) F("name_bpchar", same) F("text_name", text_name) F("bpchar_name", bpchar_name)
	F("varchar", varchar) F("bpchar", bpchar)
	WHERE_BYTES_FNS(F)
	WHERE_LIKE_FNS(LIKE_ROW)
	WHERE_BYTEA_LIKE_FNS(BYTEA_LIKE_ROW)
	WHERE_ILIKE_FNS(ILIKE_ROW)
	WHERE_REGEX_FNS(REGEX_ROW)
	WHERE_IREGEX_FNS(IREGEX_ROW)
	{"regexp_like", where_regexp_like, where_regexp_like_prepare, where_regex_release},
	WHERE_ESCAPE_FNS(F)
	{NULL, NULL, NULL, NULL},
};
