/*
 * regex_parse.c - from a pattern to a tree, and from that to the NFA's nodes. See regex.h.
 *
 * The grammar is PostgreSQL's "advanced regular expressions" (its documentation, 9.7.3.1 to 9.7.3.6), quirks
 * included: what it calls invalid is invalid here, with its words.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "where/regex_private.h"

#define INFINITE (REGEX_REPEAT_MAX + 1)
/* Steps (value.h) of a pattern, each of its bytes, a node made of it, and a character whose cases are looked up. */
#define COMPILE_STEPS 4096
#define CHAR_STEPS 32
#define EMIT_STEPS 32
#define CASE_STEPS 16
#define EMIT_STEPS_MAX (16u * REGEX_NODES_MAX) /* repeating the empty makes no nodes, but takes its time */

enum kind { TREE_CHAR, TREE_SET, TREE_ASSERT, TREE_CAT, TREE_ALT, TREE_REPEAT };

struct tree {
	enum kind kind;
	uint32_t arg;     /* TREE_CHAR: the code point; TREE_SET, TREE_ASSERT as in nodes */
	uint32_t min, max; /* TREE_REPEAT */
	struct tree *first, *next;
};

struct parser {
	struct regex *r;
	struct arena mem;
	const uint32_t *p, *end; /* code points */
	unsigned flags;
	unsigned depth;
	uint32_t sets_cap, emitted;
	uint64_t steps, steps_max;
	char *reason;
	bool failed;
};

/* Always NULL, for callers that return a tree. */
PRINTF_LIKE(2, 3) static struct tree *fail(struct parser *ps, const char *fmt, ...)
{
	if (ps->failed)
		return NULL;
	ps->failed = true;
	va_list ap;
	va_start(ap, fmt);
	int n = snprintf(ps->reason, WHERE_REASON_MAX, "invalid regular expression: ");
	vsnprintf(ps->reason + n, WHERE_REASON_MAX - (size_t)n, fmt, ap);
	va_end(ap);
	return NULL;
}

PRINTF_LIKE(2, 3) static struct tree *refuse(struct parser *ps, const char *fmt, ...)
{
	if (ps->failed)
		return NULL;
	ps->failed = true;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(ps->reason, WHERE_REASON_MAX, fmt, ap);
	va_end(ap);
	if (n >= 0 && n < WHERE_REASON_MAX)
		snprintf(ps->reason + n, WHERE_REASON_MAX - (size_t)n, " in regular expressions");
	return NULL;
}

static bool see(const struct parser *ps, uint32_t c) { return ps->p < ps->end && *ps->p == c; }

static bool see_at(const struct parser *ps, size_t i, uint32_t c)
{
	return (size_t)(ps->end - ps->p) > i && ps->p[i] == c;
}

static bool take(struct parser *ps, uint32_t c)
{
	if (!see(ps, c))
		return false;
	ps->p++;
	return true;
}

static bool is_digit(uint32_t c) { return c >= '0' && c <= '9'; }
static bool is_letter(uint32_t c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static struct tree *tree_new(struct parser *ps, enum kind kind, uint32_t arg)
{
	struct tree *t = arena_alloc(&ps->mem, sizeof *t);
	*t = (struct tree){.kind = kind, .arg = arg};
	return t;
}

/* Counts work before it is done; false: it is too much. */
static bool spend(struct parser *ps, uint64_t steps)
{
	ps->steps += steps;
	if (ps->steps <= ps->steps_max || ps->failed)
		return !ps->failed;
	ps->failed = true;
	snprintf(ps->reason, WHERE_REASON_MAX, "compiling the regular expression takes too much work");
	return false;
}

/* ---- sets of characters ---------------------------------------------------------------------------------- */

static void set_add(struct parser *ps, struct regex_set *s, uint32_t from, uint32_t to)
{
	if (s->n > 0 && s->ranges[s->n - 1].to + 1 == from) {
		s->ranges[s->n - 1].to = to;
		return;
	}
	if (s->n == REGEX_SET_RANGES_MAX) {
		refuse(ps, "a bracket expression of more than %d ranges is not supported", REGEX_SET_RANGES_MAX);
		return;
	}
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 4;
		s->ranges = mem_realloc(s->ranges, s->cap * sizeof *s->ranges);
	}
	s->ranges[s->n++] = (struct regex_range){from, to};
}

static bool cases(struct parser *ps, uint32_t c, uint32_t *lower, uint32_t *upper)
{
	if (regex_cases(ps->r->collation, c, lower, upper))
		return true;
	refuse(ps, "case-insensitive matching under the collation \"%s\" is not supported", ps->r->collation->name);
	return false;
}

/* Postgres takes a single character's lower and upper case, not itself, and a range as it is with their cases. */
static void set_add_cases(struct parser *ps, struct regex_set *s, uint32_t from, uint32_t to)
{
	uint32_t lower, upper;
	if (!(ps->flags & REGEX_ICASE)) {
		set_add(ps, s, from, to);
		return;
	}
	if (from != to)
		set_add(ps, s, from, to);
	if (to - from > REGEX_CASE_RANGE_MAX) {
		refuse(ps, "so large a range without regard to case is not supported");
		return;
	}
	if (!spend(ps, (uint64_t)(to - from + 1) * CASE_STEPS))
		return;
	for (uint32_t c = from; c <= to && !ps->failed; c++) {
		if (!cases(ps, c, &lower, &upper))
			return;
		if (from == to || lower != c)
			set_add(ps, s, lower, lower);
		if ((from == to && upper != lower) || (from != to && upper != c))
			set_add(ps, s, upper, upper);
	}
}

static int by_start(const void *a, const void *b)
{
	const struct regex_range *x = a, *y = b;
	return (x->from > y->from) - (x->from < y->from);
}

static void set_sort(struct regex_set *s)
{
	if (s->n == 0)
		return;
	qsort(s->ranges, s->n, sizeof *s->ranges, by_start);
	uint32_t last = 0;
	for (uint32_t i = 1; i < s->n; i++) {
		if (s->ranges[i].from <= s->ranges[last].to + 1) {
			if (s->ranges[i].to > s->ranges[last].to)
				s->ranges[last].to = s->ranges[i].to;
		} else {
			s->ranges[++last] = s->ranges[i];
		}
	}
	s->n = last + 1;
}

static bool set_same(const struct regex_set *a, const struct regex_set *b)
{
	return a->n == b->n && a->classes == b->classes && a->not_classes == b->not_classes && a->negated == b->negated &&
	       a->no_newline == b->no_newline && (a->n == 0 || memcmp(a->ranges, b->ranges, a->n * sizeof *a->ranges) == 0);
}

/* Takes the set; its index. */
static uint32_t set_enter(struct parser *ps, struct regex_set *s)
{
	struct regex *r = ps->r;
	set_sort(s);
	for (uint32_t i = 0; i < r->nsets; i++)
		if (set_same(&r->sets[i], s)) {
			free(s->ranges);
			return i;
		}
	if (r->nsets == REGEX_SETS_MAX) {
		refuse(ps, "more than %d bracket expressions are not supported", REGEX_SETS_MAX);
		free(s->ranges);
		return 0;
	}
	if (r->nsets == ps->sets_cap) {
		ps->sets_cap = ps->sets_cap ? 2 * ps->sets_cap : 4;
		r->sets = mem_realloc(r->sets, ps->sets_cap * sizeof *r->sets);
	}
	r->sets[r->nsets] = *s;
	return r->nsets++;
}

static struct tree *tree_set(struct parser *ps, struct regex_set *s)
{
	uint32_t i = set_enter(ps, s);
	return ps->failed ? NULL : tree_new(ps, TREE_SET, i);
}

static struct tree *tree_class(struct parser *ps, enum regex_class class, bool complement)
{
	struct regex_set s = {0};
	if (complement)
		s.not_classes = (uint16_t)(1u << class);
	else
		s.classes = (uint16_t)(1u << class);
	return tree_set(ps, &s);
}

static struct tree *tree_any(struct parser *ps)
{
	struct regex_set s = {.negated = true, .no_newline = (ps->flags & REGEX_NEWLINE_STOP) != 0};
	return tree_set(ps, &s);
}

static struct tree *tree_char(struct parser *ps, uint32_t c)
{
	if (!(ps->flags & REGEX_ICASE))
		return tree_new(ps, TREE_CHAR, c);
	uint32_t lower, upper;
	if (!cases(ps, c, &lower, &upper))
		return NULL;
	if (lower == upper)
		return tree_new(ps, TREE_CHAR, lower);
	struct regex_set s = {0};
	set_add_cases(ps, &s, c, c);
	return tree_set(ps, &s);
}

/* ---- escapes ------------------------------------------------------------------------------------------------ */

enum escape { ESCAPE_CHAR, ESCAPE_CLASS, ESCAPE_NOT_CLASS, ESCAPE_ASSERT, ESCAPE_BAD };

static int hex_value(uint32_t c)
{
	if (is_digit(c))
		return (int)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (int)(c - 'a') + 10 : -1;
}

static enum escape bad_escape(struct parser *ps)
{
	fail(ps, "invalid escape \\ sequence");
	return ESCAPE_BAD;
}

/* At least `min` and at most `max` hexadecimal digits. */
static enum escape read_hex(struct parser *ps, unsigned min, unsigned max, uint32_t *value)
{
	unsigned n = 0;
	*value = 0;
	for (; n < max && ps->p < ps->end && hex_value(*ps->p) >= 0; n++, ps->p++) {
		*value = *value * 16 + (uint32_t)hex_value(*ps->p);
		if (*value > UTF8_POINT_MAX) {
			refuse(ps, "characters above U+10FFFF are not supported");
			return ESCAPE_BAD;
		}
	}
	return n < min ? bad_escape(ps) : ESCAPE_CHAR;
}

struct escape_of { char letter; enum escape escape; uint32_t value; };

static const struct escape_of escapes[] = {
	{'a', ESCAPE_CHAR, '\a'}, {'b', ESCAPE_CHAR, '\b'}, {'B', ESCAPE_CHAR, '\\'}, {'e', ESCAPE_CHAR, 033},
	{'f', ESCAPE_CHAR, '\f'}, {'n', ESCAPE_CHAR, '\n'}, {'r', ESCAPE_CHAR, '\r'}, {'t', ESCAPE_CHAR, '\t'},
	{'v', ESCAPE_CHAR, '\v'},
	{'d', ESCAPE_CLASS, CLASS_DIGIT}, {'s', ESCAPE_CLASS, CLASS_SPACE}, {'w', ESCAPE_CLASS, CLASS_WORD},
	{'D', ESCAPE_NOT_CLASS, CLASS_DIGIT}, {'S', ESCAPE_NOT_CLASS, CLASS_SPACE}, {'W', ESCAPE_NOT_CLASS, CLASS_WORD},
	{'A', ESCAPE_ASSERT, ASSERT_TEXT_START}, {'Z', ESCAPE_ASSERT, ASSERT_TEXT_END},
	{'m', ESCAPE_ASSERT, ASSERT_WORD_START}, {'M', ESCAPE_ASSERT, ASSERT_WORD_END},
	{'y', ESCAPE_ASSERT, ASSERT_WORD_EDGE}, {'Y', ESCAPE_ASSERT, ASSERT_NOT_WORD_EDGE},
};

/* After the backslash. */
static enum escape read_escape(struct parser *ps, uint32_t *value)
{
	if (ps->p == ps->end)
		return bad_escape(ps);
	uint32_t c = *ps->p++;
	*value = c;
	if (is_digit(c)) {
		refuse(ps, c == '0' ? "octal escapes are not supported" : "back-references are not supported");
		return ESCAPE_BAD;
	}
	if (!is_letter(c))
		return ESCAPE_CHAR;
	for (size_t i = 0; i < ARRAY_LEN(escapes); i++)
		if ((uint32_t)escapes[i].letter == c) {
			*value = escapes[i].value;
			return escapes[i].escape;
		}
	if (c == 'x')
		return read_hex(ps, 1, 255, value);
	if (c == 'u')
		return read_hex(ps, 4, 4, value);
	if (c == 'U')
		return read_hex(ps, 8, 8, value);
	if (c != 'c' || ps->p == ps->end)
		return bad_escape(ps);
	*value = *ps->p++ & 037;
	return ESCAPE_CHAR;
}

/* ---- bracket expressions -------------------------------------------------------------------------------------- */

static const char *const class_names[CLASS_COUNT] = {
	[CLASS_ALNUM] = "alnum", [CLASS_ALPHA] = "alpha", [CLASS_ASCII] = "ascii", [CLASS_BLANK] = "blank",
	[CLASS_CNTRL] = "cntrl", [CLASS_DIGIT] = "digit", [CLASS_GRAPH] = "graph", [CLASS_LOWER] = "lower",
	[CLASS_PRINT] = "print", [CLASS_PUNCT] = "punct", [CLASS_SPACE] = "space", [CLASS_UPPER] = "upper",
	[CLASS_XDIGIT] = "xdigit", [CLASS_WORD] = "word",
};

static bool name_is(const uint32_t *p, size_t n, const char *name)
{
	if (strlen(name) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (p[i] != (unsigned char)name[i])
			return false;
	return true;
}

/* After "[:". */
static void read_class(struct parser *ps, struct regex_set *s)
{
	const uint32_t *name = ps->p;
	while (ps->p < ps->end && is_letter(*ps->p))
		ps->p++;
	size_t n = (size_t)(ps->p - name);
	if (!see(ps, ':') || !see_at(ps, 1, ']')) {
		fail(ps, ps->p == ps->end ? "brackets [] not balanced" : "invalid character class");
		return;
	}
	ps->p += 2;
	for (unsigned class = 0; class < CLASS_COUNT; class++) {
		if (!name_is(name, n, class_names[class]))
			continue;
		if ((ps->flags & REGEX_ICASE) && (class == CLASS_LOWER || class == CLASS_UPPER))
			class = CLASS_ALPHA;
		s->classes |= (uint16_t)(1u << class);
		return;
	}
	fail(ps, "invalid character class");
}

/* One end of a range or a character by itself; false: a class, entered, or a failure. */
static bool read_member(struct parser *ps, struct regex_set *s, uint32_t *c)
{
	*c = *ps->p++;
	if (*c == '[' && ps->p < ps->end && (*ps->p == '.' || *ps->p == '=' || *ps->p == ':')) {
		uint32_t which = *ps->p++;
		if (which == ':')
			read_class(ps, s);
		else
			refuse(ps, which == '.' ? "collating elements [. .] are not supported"
			                        : "equivalence classes [= =] are not supported");
		return false;
	}
	if (*c != '\\')
		return true;
	switch (read_escape(ps, c)) {
	case ESCAPE_CHAR:
		return true;
	case ESCAPE_CLASS:
		s->classes |= (uint16_t)(1u << *c);
		return false;
	case ESCAPE_NOT_CLASS:
		s->not_classes |= (uint16_t)(1u << *c);
		return false;
	case ESCAPE_ASSERT:
		bad_escape(ps);
		return false;
	case ESCAPE_BAD:
		break;
	}
	return false;
}

/* A hyphen that makes a range: not the last of the bracket. */
static bool see_range(const struct parser *ps) { return see(ps, '-') && !see_at(ps, 1, ']'); }

static void read_item(struct parser *ps, struct regex_set *s, bool is_first)
{
	uint32_t from, to;
	if (!is_first && see_range(ps)) {
		fail(ps, "invalid character range");
		return;
	}
	if (!read_member(ps, s, &from))
		return;
	if (!see_range(ps)) {
		set_add_cases(ps, s, from, from);
		return;
	}
	ps->p++;
	if (ps->p == ps->end) {
		fail(ps, "brackets [] not balanced");
		return;
	}
	if (!read_member(ps, s, &to) || from > to) {
		fail(ps, "invalid character range");
		return;
	}
	set_add_cases(ps, s, from, to);
}

/* After the "[". */
static struct tree *read_bracket(struct parser *ps)
{
	struct regex_set s = {0};
	s.negated = take(ps, '^');
	s.no_newline = s.negated && (ps->flags & REGEX_NEWLINE_STOP);
	for (bool is_first = true; !ps->failed; is_first = false) {
		if (ps->p == ps->end)
			fail(ps, "brackets [] not balanced");
		else if (!is_first && take(ps, ']'))
			break;
		else
			read_item(ps, &s, is_first);
	}
	if (ps->failed) {
		free(s.ranges);
		return NULL;
	}
	return tree_set(ps, &s);
}

/* ---- atoms, quantifiers, branches --------------------------------------------------------------------------- */

static struct tree *read_alternatives(struct parser *ps);

static void skip_comments(struct parser *ps)
{
	while (see(ps, '(') && see_at(ps, 1, '?') && see_at(ps, 2, '#')) {
		while (ps->p < ps->end && *ps->p != ')')
			ps->p++;
		take(ps, ')');
	}
}

static struct tree *bad_quantifier(struct parser *ps) { return fail(ps, "quantifier operand invalid"); }

/* After the "(". */
static struct tree *read_group(struct parser *ps)
{
	if (take(ps, '?')) {
		if (see(ps, '=') || see(ps, '!') || (see(ps, '<') && (see_at(ps, 1, '=') || see_at(ps, 1, '!'))))
			return refuse(ps, "lookahead and lookbehind are not supported");
		if (!take(ps, ':'))
			return bad_quantifier(ps);
	}
	if (++ps->depth > REGEX_DEPTH_MAX)
		return refuse(ps, "more than %d levels of parentheses are not supported", REGEX_DEPTH_MAX);
	struct tree *t = read_alternatives(ps);
	ps->depth--;
	if (!ps->failed && !take(ps, ')'))
		return fail(ps, "parentheses () not balanced");
	return t;
}

static struct tree *read_escaped_atom(struct parser *ps)
{
	uint32_t value;
	switch (read_escape(ps, &value)) {
	case ESCAPE_CHAR: return tree_char(ps, value);
	case ESCAPE_CLASS: return tree_class(ps, (enum regex_class)value, false);
	case ESCAPE_NOT_CLASS: return tree_class(ps, (enum regex_class)value, true);
	case ESCAPE_ASSERT: return tree_new(ps, TREE_ASSERT, value);
	case ESCAPE_BAD: break;
	}
	return NULL;
}

/* [[:<:]] and [[:>:]], after the first bracket. */
static struct tree *read_word_bracket(struct parser *ps)
{
	bool end = see_at(ps, 2, '>');
	if (!see(ps, '[') || !see_at(ps, 1, ':') || (!end && !see_at(ps, 2, '<')) || !see_at(ps, 3, ':') ||
	    !see_at(ps, 4, ']') || !see_at(ps, 5, ']'))
		return NULL;
	ps->p += 6;
	return tree_new(ps, TREE_ASSERT, end ? ASSERT_WORD_END : ASSERT_WORD_START);
}

static struct tree *read_atom(struct parser *ps)
{
	bool lines = (ps->flags & REGEX_NEWLINE_ANCHOR) != 0;
	uint32_t c = *ps->p++;
	struct tree *t;
	switch (c) {
	case '*': case '+': case '?': return bad_quantifier(ps);
	case '{':
		return ps->p < ps->end && is_digit(*ps->p) ? bad_quantifier(ps) : tree_char(ps, c);
	case '^': return tree_new(ps, TREE_ASSERT, lines ? ASSERT_LINE_START : ASSERT_TEXT_START);
	case '$': return tree_new(ps, TREE_ASSERT, lines ? ASSERT_LINE_END : ASSERT_TEXT_END);
	case '(': return read_group(ps);
	case '.': return tree_any(ps);
	case '[': return (t = read_word_bracket(ps)) != NULL ? t : read_bracket(ps);
	case '\\': return read_escaped_atom(ps);
	default: return tree_char(ps, c);
	}
}

static bool read_count(struct parser *ps, uint32_t *out)
{
	uint32_t n = 0;
	for (; ps->p < ps->end && is_digit(*ps->p) && n < REGEX_REPEAT_MAX; ps->p++)
		n = n * 10 + (*ps->p - '0');
	*out = n;
	return n <= REGEX_REPEAT_MAX && (ps->p == ps->end || !is_digit(*ps->p));
}

/* After the "{", which a digit follows. */
static bool read_bounds(struct parser *ps, uint32_t *min, uint32_t *max)
{
	bool good = read_count(ps, min);
	*max = *min;
	if (good && take(ps, ',')) {
		*max = INFINITE;
		if (ps->p < ps->end && is_digit(*ps->p))
			good = read_count(ps, max);
	}
	if (good && ps->p == ps->end)
		fail(ps, "braces {} not balanced");
	else if (!good || *min > *max || !take(ps, '}'))
		fail(ps, "invalid repetition count(s)");
	return !ps->failed;
}

/* NULL after a failure. */
static struct tree *read_quantified(struct parser *ps)
{
	struct tree *t = read_atom(ps);
	if (t == NULL || t->kind == TREE_ASSERT)
		return t;
	skip_comments(ps);
	uint32_t min = 0, max = INFINITE;
	if (take(ps, '+')) {
		min = 1;
	} else if (take(ps, '?')) {
		max = 1;
	} else if (see(ps, '{') && ps->p + 1 < ps->end && is_digit(ps->p[1])) {
		ps->p++;
		if (!read_bounds(ps, &min, &max))
			return NULL;
	} else if (!take(ps, '*')) {
		return t;
	}
	take(ps, '?');
	struct tree *repeat = tree_new(ps, TREE_REPEAT, 0);
	repeat->min = min;
	repeat->max = max;
	repeat->first = t;
	return repeat;
}

static struct tree *read_branch(struct parser *ps)
{
	struct tree *cat = tree_new(ps, TREE_CAT, 0), **tail = &cat->first;
	for (;;) {
		skip_comments(ps);
		if (ps->p == ps->end || *ps->p == '|' || *ps->p == ')')
			return cat;
		struct tree *t = read_quantified(ps);
		if (t == NULL)
			return NULL;
		*tail = t;
		tail = &t->next;
	}
}

static struct tree *read_alternatives(struct parser *ps)
{
	struct tree *alt = tree_new(ps, TREE_ALT, 0), **tail = &alt->first;
	do {
		struct tree *branch = read_branch(ps);
		if (branch == NULL)
			return NULL;
		*tail = branch;
		tail = &branch->next;
	} while (take(ps, '|'));
	return alt;
}

/* ---- what stands before the expression ------------------------------------------------------------------------ */

static struct tree *read_literal(struct parser *ps)
{
	struct tree *cat = tree_new(ps, TREE_CAT, 0), **tail = &cat->first;
	for (; ps->p < ps->end; tail = &(*tail)->next)
		if ((*tail = tree_char(ps, *ps->p++)) == NULL)
			return NULL;
	return cat;
}

static void read_option(struct parser *ps, uint32_t c)
{
	unsigned newline = REGEX_NEWLINE_STOP | REGEX_NEWLINE_ANCHOR;
	switch (c) {
	case 'c': ps->flags &= ~(unsigned)REGEX_ICASE; break;
	case 'i': ps->flags |= REGEX_ICASE; break;
	case 'm': case 'n': ps->flags |= newline; break;
	case 'p': ps->flags = (ps->flags & ~newline) | REGEX_NEWLINE_STOP; break;
	case 'w': ps->flags = (ps->flags & ~newline) | REGEX_NEWLINE_ANCHOR; break;
	case 's': ps->flags &= ~newline; break;
	case 't': break;
	case 'b': case 'e': case 'q': case 'x': refuse(ps, "the embedded option %c is not supported", (char)c); break;
	default: fail(ps, "invalid embedded option");
	}
}

static void read_options(struct parser *ps)
{
	if (!see(ps, '(') || !see_at(ps, 1, '?') || ps->end - ps->p < 3 || !is_letter(ps->p[2]))
		return;
	for (ps->p += 2; ps->p < ps->end && is_letter(*ps->p) && !ps->failed; ps->p++)
		read_option(ps, *ps->p);
	if (!ps->failed && !take(ps, ')'))
		fail(ps, "invalid embedded option");
}

static struct tree *read_whole(struct parser *ps)
{
	if (see(ps, '*') && see_at(ps, 1, '*') && see_at(ps, 2, '*') && ps->end - ps->p > 3) {
		ps->p += 3;
		if (take(ps, '=')) {
			ps->flags &= REGEX_ICASE;
			return read_literal(ps);
		}
		if (!take(ps, ':'))
			return bad_quantifier(ps);
	}
	read_options(ps);
	if (ps->failed)
		return NULL;
	struct tree *t = read_alternatives(ps);
	if (t != NULL && ps->p < ps->end)
		return fail(ps, "parentheses () not balanced");
	return t;
}

/* ---- nodes ---------------------------------------------------------------------------------------------------- */

static uint32_t emit_node(struct parser *ps, enum regex_op op, uint32_t arg)
{
	struct regex *r = ps->r;
	if (r->nnodes == REGEX_NODES_MAX || ++ps->emitted > EMIT_STEPS_MAX) {
		refuse(ps, "more than %d states are not supported", REGEX_NODES_MAX);
		return 0;
	}
	r->nodes[r->nnodes] = (struct regex_node){.op = (uint16_t)op, .arg = arg};
	return r->nnodes++;
}

static void emit_to(struct parser *ps, uint32_t node, uint32_t to)
{
	if (!ps->failed)
		ps->r->nodes[node].to = (uint16_t)to;
}

static void emit(struct parser *ps, const struct tree *t);

/* Jumps of a list of alternatives, to be pointed to its end, are chained through `to`. */
static void emit_alternatives(struct parser *ps, const struct tree *t)
{
	uint32_t chain = UINT16_MAX;
	for (const struct tree *branch = t->first; branch != NULL && !ps->failed; branch = branch->next) {
		if (branch->next == NULL) {
			emit(ps, branch);
			break;
		}
		uint32_t split = emit_node(ps, NODE_SPLIT, 0);
		emit(ps, branch);
		uint32_t jump = emit_node(ps, NODE_JUMP, 0);
		emit_to(ps, jump, chain);
		chain = jump;
		emit_to(ps, split, ps->r->nnodes);
	}
	while (chain != UINT16_MAX && !ps->failed) {
		uint32_t next = ps->r->nodes[chain].to;
		emit_to(ps, chain, ps->r->nnodes);
		chain = next;
	}
}

static void emit_repeat(struct parser *ps, const struct tree *t)
{
	for (uint32_t i = 0; i < t->min && !ps->failed; i++)
		emit(ps, t->first);
	if (t->max == INFINITE) {
		uint32_t split = emit_node(ps, NODE_SPLIT, 0);
		emit(ps, t->first);
		uint32_t jump = emit_node(ps, NODE_JUMP, 0);
		emit_to(ps, jump, split);
		emit_to(ps, split, ps->r->nnodes);
		return;
	}
	uint32_t chain = UINT16_MAX;
	for (uint32_t i = t->min; i < t->max && !ps->failed; i++) {
		uint32_t split = emit_node(ps, NODE_SPLIT, 0);
		emit_to(ps, split, chain);
		chain = split;
		emit(ps, t->first);
	}
	while (chain != UINT16_MAX && !ps->failed) {
		uint32_t next = ps->r->nodes[chain].to;
		emit_to(ps, chain, ps->r->nnodes);
		chain = next;
	}
}

static uint32_t literal_index(const struct regex *r, uint32_t c)
{
	uint32_t low = 0, high = r->nliterals;
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		if (r->literals[mid] < c)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void emit(struct parser *ps, const struct tree *t)
{
	if (ps->failed)
		return;
	if (!spend(ps, EMIT_STEPS))
		return;
	if (++ps->emitted > EMIT_STEPS_MAX) {
		refuse(ps, "so many repetitions of nothing are not supported");
		return;
	}
	switch (t->kind) {
	case TREE_CHAR: emit_node(ps, NODE_CHAR, t->arg); break;
	case TREE_SET: emit_node(ps, NODE_SET, t->arg); break;
	case TREE_ASSERT:
		ps->r->words |= t->arg >= ASSERT_WORD_START;
		ps->r->lines |= t->arg == ASSERT_LINE_START || t->arg == ASSERT_LINE_END;
		emit_node(ps, NODE_ASSERT, t->arg);
		break;
	case TREE_CAT:
		for (const struct tree *item = t->first; item != NULL && !ps->failed; item = item->next)
			emit(ps, item);
		break;
	case TREE_ALT: emit_alternatives(ps, t); break;
	case TREE_REPEAT: emit_repeat(ps, t); break;
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Turns the code points of NODE_CHAR into indexes. */
static void number_literals(struct regex *r)
{
	r->literals = mem_alloc((r->nnodes + 1) * sizeof *r->literals);
	for (uint32_t i = 0; i < r->nnodes; i++)
		if (r->nodes[i].op == NODE_CHAR)
			r->literals[r->nliterals++] = r->nodes[i].arg;
	if (r->lines)
		r->literals[r->nliterals++] = '\n';
	qsort(r->literals, r->nliterals, sizeof *r->literals, by_value);
	uint32_t n = 0;
	for (uint32_t i = 0; i < r->nliterals; i++)
		if (n == 0 || r->literals[n - 1] != r->literals[i])
			r->literals[n++] = r->literals[i];
	r->nliterals = n;
	for (uint32_t i = 0; i < r->nnodes; i++)
		if (r->nodes[i].op == NODE_CHAR)
			r->nodes[i].arg = literal_index(r, r->nodes[i].arg);
	if (r->lines)
		r->newline = literal_index(r, '\n');
}

static const uint32_t *decode(struct parser *ps, const char *pattern, size_t n, size_t *count)
{
	uint32_t *points = arena_alloc(&ps->mem, (n + 1) * sizeof *points);
	*count = 0;
	for (const char *end = pattern + n; pattern < end;)
		points[(*count)++] = utf8_decode(&pattern, end);
	return points;
}

int regex_parse(struct regex *r, const char *pattern, size_t n, unsigned flags, uint64_t *steps, char reason[WHERE_REASON_MAX])
{
	struct parser ps = {.r = r, .mem = ARENA_INIT, .flags = flags, .reason = reason,
	                    .steps_max = *steps < REGEX_STEPS_MAX ? *steps : REGEX_STEPS_MAX};
	size_t count;
	if (n > REGEX_PATTERN_BYTES_MAX) {
		refuse(&ps, "patterns of more than %d bytes are not supported", REGEX_PATTERN_BYTES_MAX);
		*steps = 0;
		return -1;
	}
	struct tree *t = NULL;
	if (spend(&ps, COMPILE_STEPS + n * CHAR_STEPS)) {
		ps.p = decode(&ps, pattern, n, &count);
		ps.end = ps.p + count;
		t = read_whole(&ps);
	}
	if (t != NULL && !ps.failed) {
		r->nodes = mem_alloc(REGEX_NODES_MAX * sizeof *r->nodes);
		emit(&ps, t);
		emit_node(&ps, NODE_MATCH, 0);
	}
	if (!ps.failed) {
		r->nodes = mem_realloc(r->nodes, r->nnodes * sizeof *r->nodes);
		number_literals(r);
		if (r->words) {
			struct regex_set word = {.classes = 1u << CLASS_WORD};
			r->word_set = set_enter(&ps, &word);
		}
	}
	arena_clear(&ps.mem);
	*steps = ps.steps;
	return ps.failed ? -1 : 0;
}
