/*
 * fn_match.c - LIKE, ILIKE, SIMILAR TO and regular expressions as functions of conditions: constant patterns are
 * compiled by `prepare`, others per row. The matching is like.c's and regex.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "where/like.h"
#include "where/regex.h"
#include "where/textcase.h"
#include "where/textfn.h"

#define LOWER_STACK_BYTES 512 /* ILIKE: shorter texts are lowered without the arena */

static int nondeterministic(struct where_call *c, const char *what)
{
	return where_fail(c, "nondeterministic collations are not supported for %s", what);
}

/* ---- LIKE -------------------------------------------------------------------------------------------------- */

static int like_answer(struct where_call *c, enum like_result r, uint64_t steps, bool negate, struct where_value *out)
{
	if (where_spend(c, steps) != 0)
		return -1;
	if (r == LIKE_BAD_ESCAPE)
		return where_fail(c, "LIKE pattern must not end with escape character");
	if (r == LIKE_TOO_LONG)
		return where_fail(c, "matching the LIKE pattern takes too much work");
	*out = where_bool((r == LIKE_YES) != negate);
	return 0;
}

static int like_texts(struct where_call *c, const struct where_value *text, const struct where_value *pattern, bool chars,
                      bool negate, struct where_value *out)
{
	uint64_t steps = where_work_left(c);
	if (c->prepared != NULL) {
		enum like_result r = like_run(c->prepared, text->u.p, text->len, &steps);
		return like_answer(c, r, steps, negate, out);
	}
	enum like_result r = like_match(text->u.p, text->len, pattern->u.p, pattern->len, chars, &steps);
	return like_answer(c, r, steps, negate, out);
}

static int like(struct where_call *c, const struct where_value *args, bool chars, bool negate, struct where_value *out)
{
	if (c->prepared == NULL && chars && !c->collation->deterministic)
		return nondeterministic(c, "LIKE");
	return like_texts(c, &args[0], &args[1], chars, negate, out);
}

int where_textlike(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return like(c, args, true, false, out);
}

int where_textnlike(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return like(c, args, true, true, out);
}

int where_bytealike(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return like(c, args, false, false, out);
}

int where_byteanlike(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return like(c, args, false, true, out);
}

void *where_like_prepare(struct where_call *c, const struct where_value *args, bool *failed)
{
	if (!c->collation->deterministic)
		*failed = nondeterministic(c, "LIKE") < 0;
	return *failed || args[1].is != WHERE_VALUE ? NULL : like_compile(args[1].u.p, args[1].len, true);
}

void *where_bytealike_prepare(struct where_call *c, const struct where_value *args, bool *failed)
{
	(void)c;
	(void)failed;
	return args[1].is == WHERE_VALUE ? like_compile(args[1].u.p, args[1].len, false) : NULL;
}

static int ilike(struct where_call *c, const struct where_value *args, bool negate, struct where_value *out)
{
	char small[LOWER_STACK_BYTES];
	struct where_value text, pattern = where_null();
	if (!c->collation->deterministic)
		return nondeterministic(c, "ILIKE");
	if (textcase_lower_ascii(c->collation, args[0].u.p, args[0].len, small, sizeof small))
		text = where_bytes(small, args[0].len);
	else if (textcase_lower(c, args[0].u.p, args[0].len, &text) < 0)
		return -1;
	if (c->prepared == NULL && textcase_lower(c, args[1].u.p, args[1].len, &pattern) < 0)
		return -1;
	return like_texts(c, &text, &pattern, true, negate, out);
}

int where_texticlike(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return ilike(c, args, false, out);
}

int where_texticnlike(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return ilike(c, args, true, out);
}

void *where_ilike_prepare(struct where_call *c, const struct where_value *args, bool *failed)
{
	struct where_value pattern;
	if (!c->collation->deterministic) {
		*failed = nondeterministic(c, "ILIKE") < 0;
		return NULL;
	}
	if (args[1].is != WHERE_VALUE)
		return NULL;
	*failed = textcase_lower(c, args[1].u.p, args[1].len, &pattern) < 0;
	return *failed ? NULL : like_compile(pattern.u.p, pattern.len, true);
}

/* ---- ESCAPE ------------------------------------------------------------------------------------------------- */

static bool same_char(const char *a, const char *b, size_t n) { return memcmp(a, b, n) == 0; }

/* Writes the pattern with another escape character as one with the backslash. */
static size_t rewrite_escapes(const struct where_value *pattern, const struct where_value *escape, bool chars, char *to)
{
	const char *start = to, *p = pattern->u.p, *end = p + pattern->len, *next;
	bool escaped = false;
	for (; p < end; p = next) {
		next = chars ? utf8_next(p, end) : p + 1;
		size_t n = (size_t)(next - p);
		if (!escaped && n == escape->len && same_char(p, escape->u.p, n)) {
			*to++ = '\\';
			escaped = true;
			continue;
		}
		if (*p == '\\' && !escaped)
			*to++ = '\\';
		memcpy(to, p, n);
		to += n;
		escaped = false;
	}
	return (size_t)(to - start);
}

int where_like_escape(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	bool chars = c->result == NULL || c->result->oid != OID_BYTEA;
	const struct where_value *escape = &args[1];
	size_t escape_chars = chars ? utf8_count(escape->u.p, escape->len) : escape->len;
	if (escape_chars > 1)
		return where_fail(c, "invalid escape string");
	if (escape->len == 1 && escape->u.p[0] == '\\') {
		*out = args[0];
		return 0;
	}
	char *to = textfn_room(c, 2 * (uint64_t)args[0].len);
	if (to == NULL)
		return -1;
	*out = where_bytes(to, rewrite_escapes(&args[0], escape, chars, to));
	return 0;
}

/* ---- SIMILAR TO --------------------------------------------------------------------------------------------- */

struct similar {
	char *to;
	bool escaped, bracket;
	const char *bracket_start; /* where its first member may stand */
};

/* One character of the pattern, not escaped. False: how Postgres reads it differs between its versions. */
static bool similar_char(struct similar *s, const char *p, size_t n)
{
	if (s->bracket) {
		bool at_start = p == s->bracket_start;
		if (*p == '[' || (at_start && *p == ']'))
			return false;
		if (at_start && *p == '^')
			s->bracket_start = p + 1;
		if (*p == '\\')
			*s->to++ = '\\';
		s->bracket = *p != ']';
	} else if (*p == '[') {
		s->bracket = true;
		s->bracket_start = p + 1;
	} else if (*p == '%') {
		*s->to++ = '.';
		*s->to++ = '*';
		return true;
	} else if (*p == '_') {
		*s->to++ = '.';
		return true;
	} else if (*p == '(') {
		memcpy(s->to, "(?:", 3);
		s->to += 3;
		return true;
	} else if (strchr("\\.^$", *p) != NULL && *p != '\0') {
		*s->to++ = '\\';
	}
	memcpy(s->to, p, n);
	s->to += n;
	return true;
}

/* The pattern of SIMILAR TO as a regular expression. `escape`: NULL for the backslash; empty for none. */
static int similar(struct where_call *c, const struct where_value *pattern, const struct where_value *escape,
                   struct where_value *out)
{
	static const struct where_value backslash = {.u.p = "\\", .len = 1, .is = WHERE_VALUE};
	escape = escape != NULL ? escape : &backslash;
	if (utf8_count(escape->u.p, escape->len) > 1)
		return where_fail(c, "invalid escape string");
	char *start = textfn_room(c, 3 * (uint64_t)pattern->len + 16);
	if (start == NULL)
		return -1;
	struct similar s = {.to = start + 4};
	memcpy(start, "^(?:", 4);
	const char *p = pattern->u.p, *end = p + pattern->len, *next;
	for (; p < end; p = next) {
		next = utf8_next(p, end);
		size_t n = (size_t)(next - p);
		if (s.escaped) {
			if (*p == '"' && !s.bracket)
				return where_fail(c, "escape-double-quote separators are not supported in SIMILAR TO");
			*s.to++ = '\\';
			memcpy(s.to, p, n);
			s.to += n;
			s.escaped = false;
		} else if (escape->len == n && same_char(escape->u.p, p, n)) {
			s.escaped = true;
		} else if (!similar_char(&s, p, n)) {
			return where_fail(c, "a bracket or a first ] inside of a bracket expression is not supported in SIMILAR TO");
		}
	}
	memcpy(s.to, ")$", 2);
	*out = where_bytes(start, (size_t)(s.to + 2 - start));
	return 0;
}

int where_similar_escape(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	if (args[0].is == WHERE_NULL) { /* similar_escape isn't strict */
		*out = where_null();
		return 0;
	}
	return similar(c, &args[0], c->nargs > 1 && args[1].is == WHERE_VALUE ? &args[1] : NULL, out);
}

/* ---- regular expressions ---------------------------------------------------------------------------------- */

static struct regex *compile(struct where_call *c, const struct where_value *pattern, unsigned flags, uint64_t *steps)
{
	if (!c->collation->deterministic) {
		nondeterministic(c, "regular expressions");
		*steps = 0;
		return NULL;
	}
	return regex_compile(pattern->u.p, pattern->len, c->collation, flags, steps, c->reason);
}

static int regex(struct where_call *c, const struct where_value *args, unsigned flags, bool negate,
                 struct where_value *out)
{
	uint64_t steps = where_work_left(c);
	struct regex *r = c->prepared;
	if (r == NULL) { /* of a row: compiled for each */
		r = compile(c, &args[1], flags, &steps);
		if (where_spend(c, steps) != 0) {
			regex_free(r);
			return -1;
		}
	}
	if (r == NULL)
		return -1;
	steps = where_work_left(c);
	int found = regex_match(r, args[0].u.p, args[0].len, &steps, c->reason);
	if (c->prepared == NULL)
		regex_free(r);
	if (where_spend(c, steps) != 0 || found < 0)
		return -1;
	*out = where_bool((found > 0) != negate);
	return 0;
}

int where_textregexeq(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return regex(c, args, 0, false, out);
}

int where_textregexne(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return regex(c, args, 0, true, out);
}

int where_texticregexeq(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return regex(c, args, REGEX_ICASE, false, out);
}

int where_texticregexne(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return regex(c, args, REGEX_ICASE, true, out);
}

static void *prepare_regex(struct where_call *c, const struct where_value *args, unsigned flags, bool *failed)
{
	if (args[1].is != WHERE_VALUE)
		return NULL;
	uint64_t steps = UINT64_MAX; /* once for all rows, and not of their budget */
	struct regex *r = compile(c, &args[1], flags, &steps);
	*failed = r == NULL;
	return r;
}

void *where_regex_prepare(struct where_call *c, const struct where_value *args, bool *failed)
{
	return prepare_regex(c, args, 0, failed);
}

void *where_iregex_prepare(struct where_call *c, const struct where_value *args, bool *failed)
{
	return prepare_regex(c, args, REGEX_ICASE, failed);
}

void where_regex_release(void *prepared) { regex_free(prepared); }

/* The flags of regexp_like(), the last of several that contradict each other decides. */
static int read_flags(struct where_call *c, const struct where_value *v, unsigned *flags)
{
	unsigned newline = REGEX_NEWLINE_STOP | REGEX_NEWLINE_ANCHOR;
	*flags = 0;
	for (uint32_t i = 0; i < v->len; i++) {
		switch (v->u.p[i]) {
		case 'c': *flags &= ~(unsigned)REGEX_ICASE; break;
		case 'i': *flags |= REGEX_ICASE; break;
		case 'm': case 'n': *flags |= newline; break;
		case 'p': *flags = (*flags & ~newline) | REGEX_NEWLINE_STOP; break;
		case 'w': *flags = (*flags & ~newline) | REGEX_NEWLINE_ANCHOR; break;
		case 's': *flags &= ~newline; break;
		case 't': break;
		case 'b': case 'e': case 'q': case 'x':
			return where_fail(c, "the option %c is not supported in regular expressions", v->u.p[i]);
		case 'g': return where_fail(c, "regexp_like() does not support the \"global\" option");
		default: return where_fail(c, "invalid regular expression option");
		}
	}
	return 0;
}

int where_regexp_like(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	unsigned flags = 0;
	if (c->prepared == NULL && read_flags(c, &args[2], &flags) < 0)
		return -1;
	return regex(c, args, flags, false, out);
}

void *where_regexp_like_prepare(struct where_call *c, const struct where_value *args, bool *failed)
{
	unsigned flags;
	if (args[2].is != WHERE_VALUE)
		return NULL;
	*failed = read_flags(c, &args[2], &flags) < 0;
	return *failed ? NULL : prepare_regex(c, args, flags, failed);
}
