/*
 * jsonb.c - JSON text to a tree and back; order, equality, hash and containment of jsonb.
 *
 * The parser is a loop with a stack of its own. What recurses (output, comparison, hash, containment) goes as
 * deep as the value is, which every maker of values keeps below JSON_DEPTH_MAX.
 */
#include "where/jsonb.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/collation.h"
#include "where/numeric.h"

#define ELEMENT_STEPS 4 /* to compare one with another */
#define STACK_SLOTS 64          /* parts of unfinished containers before memory is asked for */
#define STACK_FRAMES 32
#define PLAIN_NUMBER_MAX 1000   /* digits that numeric takes whatever they are */
#define SORT_BY_INSERTION_MAX 16

#define NOT_JSON "invalid input syntax for type json"
#define NOT_TEXT "unsupported Unicode escape sequence"
#define TOO_DEEP "json is nested deeper than %d levels"

/* ---- lexing ------------------------------------------------------------------------------------- */

#define ONES 0x0101010101010101u
#define HIGHS 0x8080808080808080u

/* Some byte of the eight is `"`, `\` or below a space (or the one above such a byte, which does no harm). */
static inline bool has_special(uint64_t w)
{
	uint64_t quote = w ^ (ONES * '"'), slash = w ^ (ONES * '\\');
	return (((w - ONES * 0x20) & ~w) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash)) & HIGHS;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* -1: not four hexadecimal digits. */
static int hex4(const char *p, const char *end)
{
	if (end - p < 4)
		return -1;
	int v = 0;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit(p[i]);
		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

static inline bool is_high(int c) { return c >= 0xD800 && c <= 0xDBFF; }
static inline bool is_low(int c) { return c >= 0xDC00 && c <= 0xDFFF; }

/* `p` is behind the backslash. The escape's end, NULL if it isn't one. */
static const char *escape_end(const char *p, const char *end, unsigned *seen)
{
	*seen |= JSON_ESCAPED;
	if (p == end)
		return NULL;
	if (*p != 'u')
		return *p != '\0' && strchr("\"\\/bfnrt", *p) ? p + 1 : NULL;
	int c = hex4(p + 1, end);
	if (c < 0)
		return NULL;
	p += 5;
	if (c == 0 || is_low(c)) {
		*seen |= JSON_NOT_TEXT;
	} else if (is_high(c)) {
		int low = end - p >= 2 && p[0] == '\\' && p[1] == 'u' ? hex4(p + 2, end) : 0;
		if (is_low(low))
			return p + 6;
		*seen |= JSON_NOT_TEXT;
	}
	return p;
}

const char *json_string_end(const char *p, const char *end, unsigned *seen)
{
	for (;;) {
		uint64_t w;
		for (; end - p >= 8; p += 8) {
			memcpy(&w, p, 8);
			if (has_special(w))
				break;
		}
		while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
			p++;
		if (p == end || (unsigned char)*p < 0x20)
			return NULL;
		if (*p == '"')
			return p;
		p = escape_end(p + 1, end, seen);
		if (p == NULL)
			return NULL;
	}
}

static size_t put_utf8(char *to, unsigned c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	for (size_t i = n; --i > 0; c >>= 6)
		to[i] = (char)(0x80 | (c & 0x3F));
	to[0] = (char)((0xF00 >> n) | c);
	return n;
}

size_t json_unescape(char *to, const char *from, const char *end)
{
	static const char letters[] = "bfnrt", bytes[] = "\b\f\n\r\t";
	char *start = to;
	while (from < end) {
		const char *slash = memchr(from, '\\', (size_t)(end - from));
		size_t run = (size_t)((slash ? slash : end) - from);
		memmove(to, from, run);
		to += run;
		from += run;
		if (slash == NULL)
			break;
		char c = from[1];
		from += 2;
		if (c != 'u') {
			const char *letter = strchr(letters, c);
			*to++ = letter ? bytes[letter - letters] : c;
			continue;
		}
		unsigned code = (unsigned)hex4(from, end);
		from += 4;
		if (is_high((int)code)) {
			code = 0x10000 + ((code - 0xD800) << 10) + ((unsigned)hex4(from + 2, end) - 0xDC00);
			from += 6;
		}
		to += put_utf8(to, code);
	}
	return (size_t)(to - start);
}

static const char *digits_end(const char *p, const char *end)
{
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p;
}

/* The end of a number; NULL: none. *plain: without an exponent. */
static const char *json_number_end(const char *p, const char *end, bool *plain)
{
	*plain = true;
	p += p < end && *p == '-';
	const char *from = p;
	p = digits_end(p, end);
	if (p == from || (*from == '0' && p - from > 1))
		return NULL;
	if (p < end && *p == '.') {
		from = ++p;
		p = digits_end(p, end);
		if (p == from)
			return NULL;
	}
	if (p < end && (*p | 0x20) == 'e') {
		*plain = false;
		p++;
		p += p < end && (*p == '+' || *p == '-');
		from = p;
		p = digits_end(p, end);
		if (p == from)
			return NULL;
	}
	return p;
}

/* true, false or null; the caller checks what follows. */
static const char *literal_end(const char *p, const char *end, const char **word)
{
	static const char *const words[] = {"true", "false", "null"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t n = strlen(words[i]);
		if ((size_t)(end - p) >= n && memcmp(p, words[i], n) == 0) {
			*word = words[i];
			return p + n;
		}
	}
	return NULL;
}

void json_quote(struct buf *out, const char *p, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t done = 0;
	buf_putc(out, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];
		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		buf_put(out, p + done, i - done);
		done = i + 1;
		char text[6] = {'\\', (char)c, '0', '0', hex[c >> 4], hex[c & 15]};
		const char *letter = c < 0x20 && c != '\0' ? strchr("\bb\ff\nn\rr\tt", c) : NULL;
		if (letter != NULL)
			text[1] = letter[1];
		else if (c < 0x20)
			text[1] = 'u';
		buf_put(out, text, text[1] == 'u' && c < 0x20 ? 6 : 2);
	}
	buf_put(out, p + done, n - done);
	buf_putc(out, '"');
}

/* ---- checking text ------------------------------------------------------------------------------ */

static const char *scalar_end(const char *p, const char *end)
{
	unsigned seen = 0;
	bool plain;
	const char *word;
	if (p == end)
		return NULL;
	if (*p == '"') {
		p = json_string_end(p + 1, end, &seen);
		return p ? p + 1 : NULL;
	}
	return *p == '-' || (*p >= '0' && *p <= '9') ? json_number_end(p, end, &plain) : literal_end(p, end, &word);
}

/* From an object's `{` or `,` to its value. */
static const char *key_end(const char *p, const char *end)
{
	unsigned seen = 0;
	p = json_skip_space(p, end);
	if (p == end || *p != '"' || (p = json_string_end(p + 1, end, &seen)) == NULL)
		return NULL;
	p = json_skip_space(p + 1, end);
	return p < end && *p == ':' ? p + 1 : NULL;
}

int json_check(struct where_call *c, const char *p, size_t n)
{
	const char *end = p + n;
	unsigned char objects[JSON_DEPTH_MAX / 8 + 1]; /* a bit per level: an object, or an array */
	unsigned depth = 0;
	for (;;) {
		p = json_skip_space(p, end);
		if (p < end && (*p == '{' || *p == '[')) {
			bool object = *p == '{';
			if (depth == JSON_DEPTH_MAX)
				return where_fail(c, TOO_DEEP, JSON_DEPTH_MAX);
			objects[depth / 8] = (unsigned char)((objects[depth / 8] & ~(1u << depth % 8)) | (unsigned)object << depth % 8);
			p = json_skip_space(p + 1, end);
			if (p < end && *p == (object ? '}' : ']')) {
				p++;
			} else {
				depth++;
				if (object && (p = key_end(p, end)) == NULL)
					return where_fail(c, NOT_JSON);
				continue;
			}
		} else if ((p = scalar_end(p, end)) == NULL) {
			return where_fail(c, NOT_JSON);
		}
		for (;;) {
			p = json_skip_space(p, end);
			if (depth == 0)
				return p == end ? 0 : where_fail(c, NOT_JSON);
			bool object = objects[(depth - 1) / 8] >> (depth - 1) % 8 & 1;
			if (p == end || (*p != ',' && *p != (object ? '}' : ']')))
				return where_fail(c, NOT_JSON);
			if (*p++ != ',') {
				depth--;
				continue;
			}
			if (object && (p = key_end(p, end)) == NULL)
				return where_fail(c, NOT_JSON);
			break;
		}
	}
}

/* ---- making containers -------------------------------------------------------------------------- */

int jsonb_key_cmp(const struct jsonb *a, const char *key, size_t n)
{
	if (a->n != n)
		return a->n < n ? -1 : 1;
	return n ? memcmp(a->u.text, key, n) : 0;
}

static int memory_check(struct where_call *c, size_t more)
{
	if (c->mem->used > WHERE_EVAL_BYTES_MAX || more > WHERE_EVAL_BYTES_MAX)
		return where_fail(c, "a json value needs more than %u MB of memory", WHERE_EVAL_BYTES_MAX >> 20);
	return 0;
}

static int container(struct where_call *c, struct jsonb *out, unsigned depth)
{
	if (depth >= JSON_DEPTH_MAX)
		return where_fail(c, TOO_DEEP, JSON_DEPTH_MAX);
	out->depth = (uint16_t)(depth + 1);
	return 0;
}

static int array_make(struct where_call *c, const struct jsonb *items, uint32_t n, struct jsonb *out)
{
	unsigned depth = 0;
	for (uint32_t i = 0; i < n; i++)
		if (items[i].depth > depth)
			depth = items[i].depth;
	*out = (struct jsonb){.kind = JSONB_ARRAY, .n = n, .u.items = items};
	return container(c, out, depth);
}

static int object_make(struct where_call *c, const struct jsonb_pair *pairs, uint32_t n, struct jsonb *out)
{
	unsigned depth = 0;
	for (uint32_t i = 0; i < n; i++)
		if (pairs[i].value.depth > depth)
			depth = pairs[i].value.depth;
	*out = (struct jsonb){.kind = JSONB_OBJECT, .n = n, .u.pairs = pairs};
	return container(c, out, depth);
}

const struct jsonb *jsonb_array_of(struct where_call *c, const struct jsonb *items, size_t n)
{
	struct jsonb out;
	if (memory_check(c, n * sizeof *items) != 0 ||
	    array_make(c, arena_dup(c->mem, items, n * sizeof *items), (uint32_t)n, &out) != 0)
		return NULL;
	return arena_dup(c->mem, &out, sizeof out);
}

const struct jsonb *jsonb_object_of(struct where_call *c, const struct jsonb_pair *pairs, size_t n)
{
	struct jsonb out;
	if (memory_check(c, n * sizeof *pairs) != 0 ||
	    object_make(c, arena_dup(c->mem, pairs, n * sizeof *pairs), (uint32_t)n, &out) != 0)
		return NULL;
	return arena_dup(c->mem, &out, sizeof out);
}

/* Of equal keys the one further behind in the text is the larger: their bytes are where the text had them. */
static int pair_order(const void *x, const void *y)
{
	const struct jsonb_pair *a = x, *b = y;
	int order = jsonb_key_cmp(&a->key, b->key.u.text, b->key.n);
	if (order != 0)
		return order;
	return (a->key.u.text > b->key.u.text) - (a->key.u.text < b->key.u.text);
}

/* Sorts in place and keeps the last of equal keys; the number that is left. What Postgres sends is in order. */
static uint32_t pairs_sort(struct jsonb_pair *pairs, uint32_t n)
{
	uint32_t i = 1, kept = 0;
	while (i < n && jsonb_key_cmp(&pairs[i - 1].key, pairs[i].key.u.text, pairs[i].key.n) < 0)
		i++;
	if (i >= n)
		return n;
	if (n > SORT_BY_INSERTION_MAX) {
		qsort(pairs, n, sizeof *pairs, pair_order);
	} else {
		for (; i < n; i++) {
			struct jsonb_pair pair = pairs[i];
			uint32_t at = i;
			for (; at > 0 && pair_order(&pairs[at - 1], &pair) > 0; at--)
				pairs[at] = pairs[at - 1];
			pairs[at] = pair;
		}
	}
	for (i = 0; i < n; i++) {
		if (i + 1 < n && jsonb_key_cmp(&pairs[i].key, pairs[i + 1].key.u.text, pairs[i + 1].key.n) == 0)
			continue;
		pairs[kept++] = pairs[i];
	}
	return kept;
}

/* ---- parsing ------------------------------------------------------------------------------------ */

struct frame { uint32_t base; bool object; };

struct parser {
	struct where_call *c;
	char *p, *end; /* a copy of the text: strings are unescaped in it and stay there */
	struct jsonb_pair *slots; /* parts of the containers that aren't closed yet; elements have no key */
	uint32_t nslots, slots_cap;
	struct frame *frames;
	uint32_t nframes, frames_cap;
};

static int parse_string(struct parser *s, struct jsonb *out)
{
	unsigned seen = 0;
	char *from = s->p + 1;
	const char *quote = json_string_end(from, s->end, &seen);
	if (quote == NULL)
		return where_fail(s->c, NOT_JSON);
	if (seen & JSON_NOT_TEXT)
		return where_fail(s->c, NOT_TEXT);
	size_t n = (size_t)(quote - from);
	s->p = from + n + 1;
	if (seen & JSON_ESCAPED)
		n = json_unescape(from, from, quote);
	if (n > JSONB_STRING_MAX)
		return where_fail(s->c, "string too long to represent as jsonb string");
	*out = (struct jsonb){.kind = JSONB_STRING, .n = (uint32_t)n, .u.text = from};
	return 0;
}

static int parse_number(struct parser *s, struct jsonb *out)
{
	bool plain;
	const char *from = s->p, *end = json_number_end(from, s->end, &plain);
	if (end == NULL)
		return where_fail(s->c, NOT_JSON);
	s->p += end - from;
	size_t n = (size_t)(end - from);
	if (!plain || n > PLAIN_NUMBER_MAX) {
		const struct numeric *v = numeric_parse(s->c, from, n);
		if (v == NULL)
			return -1;
		struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
		numeric_format(v, &text);
		n = text.len;
		from = arena_strndup(s->c->mem, text.data, n);
		buf_clear(&text);
	} else if (*from == '-' && strspn(from + 1, "0.") >= n - 1) { /* there is no negative zero; a NUL ends the text */
		from++;
		n--;
	}
	*out = (struct jsonb){.kind = JSONB_NUMBER, .n = (uint32_t)n, .u.text = from};
	return 0;
}

static int parse_scalar(struct parser *s, struct jsonb *out)
{
	if (s->p < s->end && *s->p == '"')
		return parse_string(s, out);
	if (s->p < s->end && (*s->p == '-' || (*s->p >= '0' && *s->p <= '9')))
		return parse_number(s, out);
	const char *word, *end = literal_end(s->p, s->end, &word);
	if (end == NULL)
		return where_fail(s->c, NOT_JSON);
	s->p += end - s->p;
	*out = (struct jsonb){.kind = *word == 'n' ? JSONB_NULL : JSONB_BOOL, .truth = *word == 't'};
	return 0;
}

static void parse_space(struct parser *s)
{
	s->p += json_skip_space(s->p, s->end) - s->p;
}

static int slot_add(struct parser *s)
{
	if (s->nslots == s->slots_cap) {
		size_t cap = (size_t)s->slots_cap * 2;
		if (memory_check(s->c, cap * sizeof *s->slots) != 0)
			return -1;
		struct jsonb_pair *more = arena_alloc(s->c->mem, cap * sizeof *more);
		memcpy(more, s->slots, s->nslots * sizeof *more);
		s->slots = more;
		s->slots_cap = (uint32_t)cap;
	}
	s->nslots++;
	return 0;
}

static int frame_open(struct parser *s, bool object)
{
	if (s->nframes == JSON_DEPTH_MAX)
		return where_fail(s->c, TOO_DEEP, JSON_DEPTH_MAX);
	if (s->nframes == s->frames_cap) {
		struct frame *more = arena_alloc(s->c->mem, (size_t)s->frames_cap * 2 * sizeof *more);
		memcpy(more, s->frames, s->nframes * sizeof *more);
		s->frames = more;
		s->frames_cap *= 2;
	}
	s->frames[s->nframes++] = (struct frame){s->nslots, object};
	return 0;
}

/* Makes the container of the slots since it was opened. */
static int frame_close(struct parser *s, struct jsonb *out)
{
	struct frame f = s->frames[--s->nframes];
	uint32_t n = s->nslots - f.base;
	struct jsonb_pair *slots = &s->slots[f.base];
	s->nslots = f.base;
	if (memory_check(s->c, n * sizeof *slots) != 0)
		return -1;
	if (f.object) {
		n = pairs_sort(slots, n);
		return object_make(s->c, arena_dup(s->c->mem, slots, n * sizeof *slots), n, out);
	}
	struct jsonb *items = arena_alloc(s->c->mem, n * sizeof *items);
	for (uint32_t i = 0; i < n; i++)
		items[i] = slots[i].value;
	return array_make(s->c, items, n, out);
}

/* A key and its colon, into a slot of its own. */
static int parse_key(struct parser *s)
{
	parse_space(s);
	if (s->p == s->end || *s->p != '"')
		return where_fail(s->c, NOT_JSON);
	if (slot_add(s) != 0 || parse_string(s, &s->slots[s->nslots - 1].key) != 0)
		return -1;
	parse_space(s);
	if (s->p == s->end || *s->p != ':')
		return where_fail(s->c, NOT_JSON);
	s->p++;
	return 0;
}

/* Opens containers down to the first value that is complete. */
static int parse_down(struct parser *s, struct jsonb *v)
{
	for (;;) {
		parse_space(s);
		if (s->p == s->end || (*s->p != '{' && *s->p != '['))
			return parse_scalar(s, v);
		bool object = *s->p++ == '{';
		if (frame_open(s, object) != 0)
			return -1;
		parse_space(s);
		if (s->p < s->end && *s->p == (object ? '}' : ']')) {
			s->p++;
			return frame_close(s, v);
		}
		if (object && parse_key(s) != 0)
			return -1;
	}
}

/* Puts a value where it belongs and closes containers after it. 1: more to read, 0: *v is the whole. */
static int parse_up(struct parser *s, struct jsonb *v)
{
	for (;;) {
		parse_space(s);
		if (s->nframes == 0)
			return s->p == s->end ? 0 : where_fail(s->c, NOT_JSON);
		bool object = s->frames[s->nframes - 1].object;
		if (!object && slot_add(s) != 0)
			return -1;
		s->slots[s->nslots - 1].value = *v;
		if (s->p == s->end || (*s->p != ',' && *s->p != (object ? '}' : ']')))
			return where_fail(s->c, NOT_JSON);
		if (*s->p++ == ',')
			return object && parse_key(s) != 0 ? -1 : 1;
		if (frame_close(s, v) != 0)
			return -1;
	}
}

const struct jsonb *jsonb_parse(struct where_call *c, const char *p, size_t n)
{
	struct jsonb_pair slots[STACK_SLOTS];
	struct frame frames[STACK_FRAMES];
	if (n > WHERE_VALUE_BYTES_MAX || memory_check(c, n) != 0) {
		where_fail(c, "a json value is larger than %u MB", WHERE_EVAL_BYTES_MAX >> 20);
		return NULL;
	}
	char *copy = arena_strndup(c->mem, p, n);
	struct parser s = {c, copy, copy + n, slots, 0, STACK_SLOTS, frames, 0, STACK_FRAMES};
	struct jsonb v = {.kind = JSONB_NULL};
	int more = 1;
	while (more == 1)
		more = parse_down(&s, &v) != 0 ? -1 : parse_up(&s, &v);
	return more == 0 ? arena_dup(c->mem, &v, sizeof v) : NULL;
}

/* ---- output ------------------------------------------------------------------------------------- */

static void format_scalar(const struct jsonb *j, struct buf *out)
{
	if (j->kind == JSONB_STRING)
		json_quote(out, j->u.text, j->n);
	else if (j->kind == JSONB_NUMBER)
		buf_put(out, j->u.text, j->n);
	else
		buf_puts(out, j->kind == JSONB_NULL ? "null" : j->truth ? "true" : "false");
}

/* `indent`: of what is inside; -1: all on one line. */
static void format_break(struct buf *out, bool first, int indent)
{
	if (!first)
		buf_put(out, ", ", indent < 0 ? 2 : 1);
	if (indent < 0)
		return;
	buf_putc(out, '\n');
	for (int i = 0; i < indent; i++)
		buf_puts(out, "    ");
}

static void format(const struct jsonb *j, struct buf *out, int indent)
{
	if (jsonb_is_scalar(j)) {
		format_scalar(j, out);
		return;
	}
	int inside = indent < 0 ? -1 : indent + 1;
	buf_putc(out, j->kind == JSONB_ARRAY ? '[' : '{');
	for (uint32_t i = 0; i < j->n && !out->failed; i++) {
		format_break(out, i == 0, inside);
		if (j->kind == JSONB_ARRAY) {
			format(&j->u.items[i], out, inside);
			continue;
		}
		json_quote(out, j->u.pairs[i].key.u.text, j->u.pairs[i].key.n);
		buf_put(out, ": ", 2);
		format(&j->u.pairs[i].value, out, inside);
	}
	if (indent >= 0)
		format_break(out, true, indent);
	buf_putc(out, j->kind == JSONB_ARRAY ? ']' : '}');
}

void jsonb_format(const struct jsonb *j, struct buf *out) { format(j, out, -1); }
void jsonb_format_pretty(const struct jsonb *j, struct buf *out) { format(j, out, 0); }

/* ---- order, equality, hash ---------------------------------------------------------------------- */

/* A decimal in its parts, zeros at the end of the fraction left out. */
struct decimal { bool negative; const char *whole, *fraction; size_t nwhole, nfraction; };

static struct decimal decimal_of(const struct jsonb *j)
{
	const char *p = j->u.text, *end = p + j->n;
	struct decimal d = {.negative = *p == '-'};
	d.whole = p + d.negative;
	const char *point = memchr(d.whole, '.', (size_t)(end - d.whole));
	d.nwhole = (size_t)((point ? point : end) - d.whole);
	d.fraction = point ? point + 1 : end;
	d.nfraction = (size_t)(end - d.fraction);
	while (d.nfraction > 0 && d.fraction[d.nfraction - 1] == '0')
		d.nfraction--;
	return d;
}

static int number_cmp(const struct jsonb *x, const struct jsonb *y)
{
	struct decimal a = decimal_of(x), b = decimal_of(y);
	if (a.negative != b.negative)
		return a.negative ? -1 : 1;
	int order;
	if (a.nwhole != b.nwhole) {
		order = a.nwhole < b.nwhole ? -1 : 1; /* no zeros in front */
	} else {
		order = memcmp(a.whole, b.whole, a.nwhole);
		size_t n = a.nfraction < b.nfraction ? a.nfraction : b.nfraction;
		if (order == 0 && n > 0)
			order = memcmp(a.fraction, b.fraction, n);
		if (order == 0)
			order = (a.nfraction > b.nfraction) - (a.nfraction < b.nfraction);
	}
	return a.negative ? -order : order;
}

static int scalar_cmp(const struct jsonb *a, const struct jsonb *b, const struct where_collation *collation)
{
	switch (a->kind) {
	case JSONB_STRING: return where_text_cmp(collation, a->u.text, a->n, b->u.text, b->n);
	case JSONB_NUMBER: return number_cmp(a, b);
	case JSONB_BOOL: return a->truth - b->truth;
	default: return 0;
	}
}

/* Below the top: kinds in their order, containers by their size first, then part by part. */
static int inner_cmp(const struct jsonb *a, const struct jsonb *b, const struct where_collation *collation)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (jsonb_is_scalar(a))
		return scalar_cmp(a, b, collation);
	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	if (a->u.items == b->u.items)
		return 0;
	int order = 0;
	for (uint32_t i = 0; i < a->n && order == 0; i++) {
		if (a->kind == JSONB_ARRAY) {
			order = inner_cmp(&a->u.items[i], &b->u.items[i], collation);
			continue;
		}
		const struct jsonb_pair *x = &a->u.pairs[i], *y = &b->u.pairs[i];
		order = scalar_cmp(&x->key, &y->key, collation);
		if (order == 0)
			order = inner_cmp(&x->value, &y->value, collation);
	}
	return order;
}

/* At the top a scalar is an array of one to Postgres, smaller than another array of one. */
int jsonb_cmp(const struct jsonb *a, const struct jsonb *b, const struct where_collation *collation)
{
	bool x = jsonb_is_scalar(a), y = jsonb_is_scalar(b);
	if (x == y)
		return inner_cmp(a, b, collation);
	const struct jsonb *other = x ? b : a;
	int scalar_side = x ? -1 : 1;
	return other->kind == JSONB_ARRAY && other->n == 0 ? -scalar_side : scalar_side;
}

bool jsonb_equal(const struct jsonb *a, const struct jsonb *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case JSONB_NULL: return true;
	case JSONB_BOOL: return a->truth == b->truth;
	case JSONB_NUMBER: return number_cmp(a, b) == 0;
	case JSONB_STRING: return a->n == b->n && (a->n == 0 || memcmp(a->u.text, b->u.text, a->n) == 0);
	default: break;
	}
	if (a->n != b->n || a->depth != b->depth)
		return false;
	for (uint32_t i = 0; i < a->n; i++) {
		if (a->kind == JSONB_ARRAY) {
			if (!jsonb_equal(&a->u.items[i], &b->u.items[i]))
				return false;
		} else if (!jsonb_equal(&a->u.pairs[i].key, &b->u.pairs[i].key) ||
			   !jsonb_equal(&a->u.pairs[i].value, &b->u.pairs[i].value)) {
			return false;
		}
	}
	return true;
}

static uint64_t number_hash(const struct jsonb *j)
{
	struct decimal d = decimal_of(j);
	const char *end = d.nfraction > 0 ? d.fraction + d.nfraction : d.whole + d.nwhole;
	return where_hash_bytes(j->u.text, (size_t)(end - j->u.text));
}

uint64_t jsonb_hash(const struct jsonb *j)
{
	switch (j->kind) {
	case JSONB_NUMBER: return number_hash(j);
	case JSONB_STRING: return where_hash_bytes(j->u.text, j->n) + JSONB_STRING;
	case JSONB_ARRAY:
	case JSONB_OBJECT: break;
	default: return where_hash_u64(j->kind * 2u + j->truth);
	}
	uint64_t h = j->kind;
	for (uint32_t i = 0; i < j->n; i++) {
		if (j->kind == JSONB_ARRAY) {
			h = where_hash_u64(h * 31 + jsonb_hash(&j->u.items[i]));
			continue;
		}
		h = where_hash_u64(h * 31 + jsonb_hash(&j->u.pairs[i].key));
		h = where_hash_u64(h * 31 + jsonb_hash(&j->u.pairs[i].value));
	}
	return h;
}

/* ---- looking inside ----------------------------------------------------------------------------- */

const struct jsonb *jsonb_field(const struct jsonb *j, const char *key, size_t n)
{
	if (j->kind != JSONB_OBJECT)
		return NULL;
	uint32_t low = 0, high = j->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = jsonb_key_cmp(&j->u.pairs[middle].key, key, n);
		if (order == 0)
			return &j->u.pairs[middle].value;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

const struct jsonb *jsonb_element(const struct jsonb *j, int64_t i)
{
	if (j->kind != JSONB_ARRAY)
		return NULL;
	if (i < 0)
		i += j->n;
	return i >= 0 && i < j->n ? &j->u.items[i] : NULL;
}

static bool array_has(const struct jsonb *a, const struct jsonb *scalar)
{
	for (uint32_t i = 0; i < a->n; i++)
		if (jsonb_equal(&a->u.items[i], scalar))
			return true;
	return false;
}

static bool contains(struct where_call *c, const struct jsonb *a, const struct jsonb *b);

static bool array_contains(struct where_call *c, const struct jsonb *a, const struct jsonb *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		const struct jsonb *wanted = &b->u.items[i];
		/* As many comparisons as both have elements, and so on further down. */
		if (where_spend(c, (uint64_t)a->n * ELEMENT_STEPS) != 0)
			return false;
		bool found = jsonb_is_scalar(wanted) && array_has(a, wanted);
		for (uint32_t k = 0; k < a->n && !found && !jsonb_is_scalar(wanted); k++)
			found = contains(c, &a->u.items[k], wanted);
		if (!found)
			return false;
	}
	return true;
}

static bool contains(struct where_call *c, const struct jsonb *a, const struct jsonb *b)
{
	if (a->kind != b->kind)
		return false;
	if (jsonb_is_scalar(a))
		return jsonb_equal(a, b);
	if (a->kind == JSONB_ARRAY)
		return array_contains(c, a, b);
	if (a->n < b->n)
		return false;
	for (uint32_t i = 0; i < b->n; i++) {
		const struct jsonb_pair *wanted = &b->u.pairs[i];
		const struct jsonb *value = jsonb_field(a, wanted->key.u.text, wanted->key.n);
		if (value == NULL || !contains(c, value, &wanted->value))
			return false;
	}
	return true;
}

bool jsonb_contains(struct where_call *c, const struct jsonb *a, const struct jsonb *b)
{
	if (a->kind == JSONB_ARRAY && jsonb_is_scalar(b)) /* only here, not further down */
		return array_has(a, b);
	return contains(c, a, b);
}

bool jsonb_exists(const struct jsonb *j, const char *key, size_t n)
{
	if (j->kind == JSONB_OBJECT)
		return jsonb_field(j, key, n) != NULL;
	const struct jsonb string = {.kind = JSONB_STRING, .n = (uint32_t)n, .u.text = key};
	return j->kind == JSONB_ARRAY ? array_has(j, &string) : jsonb_equal(j, &string);
}
