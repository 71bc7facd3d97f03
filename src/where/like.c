/* like.c - matching of LIKE patterns, see like.h. */
#include "where/like.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "where/find.h"

/* What stands between two `%`: characters to skip, text (with `any` where it holds a `_`), characters to skip. */
struct piece {
	const char *text;
	const bool *any;     /* NULL: plain text */
	size_t skip, n, tail;
	size_t chars;        /* all of it */
};

struct like {
	bool chars;
	bool dangling;       /* ends in a lone backslash: matched as it stands, for the error */
	bool open_start, open_end; /* starts, ends with % */
	const char *pattern;
	size_t pattern_n;
	size_t npieces;
	struct piece pieces[];
};

static const char *step(const char *p, const char *end, bool chars) { return chars ? utf8_next(p, end) : p + 1; }

/* n characters on, or NULL if there are fewer. */
static const char *skip(const char *p, const char *end, size_t n, bool chars)
{
	if (n > (size_t)(end - p))
		return NULL;
	if (!chars)
		return p + n;
	for (; n > 0; n--) {
		if (p == end)
			return NULL;
		p = utf8_next(p, end);
	}
	return p;
}

/* ---- a pattern as it stands -------------------------------------------------------------------------------- */

struct position {
	const char *t, *p;
	const char *star_t, *star_p; /* where the last % may be made longer; star_p NULL: there was none */
};

static bool retry(struct position *at, const char *t_end, bool chars)
{
	if (at->star_p == NULL)
		return false;
	at->star_t = step(at->star_t, t_end, chars);
	at->t = at->star_t;
	at->p = at->star_p;
	return at->t < t_end;
}

/* Takes the % at hand and what follows it of % and _. */
static enum like_result take_star(struct position *at, const char *t_end, const char *p_end, bool chars, bool *done)
{
	*done = true;
	for (at->p++; at->p < p_end; at->p++) {
		if (*at->p == '%')
			continue;
		if (*at->p != '_')
			break;
		if (at->t == t_end)
			return LIKE_NO;
		at->t = step(at->t, t_end, chars);
	}
	if (at->p == p_end)
		return LIKE_YES;
	if (*at->p == '\\' && at->p + 1 == p_end)
		return LIKE_BAD_ESCAPE;
	at->star_p = at->p;
	at->star_t = at->t;
	*done = at->t == t_end;
	return LIKE_NO;
}

/* What a match may take, and takes. */
struct steps { uint64_t n, max; };

static struct steps steps_of(uint64_t max) { return (struct steps){0, max < LIKE_STEPS_MAX ? max : LIKE_STEPS_MAX}; }

static enum like_result match_as_it_stands(const char *text, size_t n, const char *pattern, size_t pattern_n, bool chars,
                                           struct steps *steps)
{
	const char *t_end = text + n, *p_end = pattern + pattern_n;
	struct position at = {text, pattern, NULL, NULL};
	for (;; steps->n++) {
		if (steps->n > steps->max)
			return LIKE_TOO_LONG;
		if (at.t == t_end) {
			while (at.p < p_end && *at.p == '%')
				at.p++;
			return at.p == p_end ? LIKE_YES : LIKE_NO;
		}
		if (at.p < p_end && *at.p == '%') {
			bool done;
			enum like_result r = take_star(&at, t_end, p_end, chars, &done);
			if (done)
				return r;
			continue;
		}
		if (at.p < p_end && *at.p == '_') {
			at.t = step(at.t, t_end, chars);
			at.p++;
			continue;
		}
		bool escaped = at.p < p_end && *at.p == '\\';
		if (escaped && at.p + 1 == p_end)
			return LIKE_BAD_ESCAPE;
		if (at.p < p_end && at.p[escaped] == *at.t) {
			at.t++;
			at.p += 1 + escaped;
		} else if (!retry(&at, t_end, chars)) {
			return LIKE_NO;
		}
	}
}

enum like_result like_match(const char *text, size_t n, const char *pattern, size_t pattern_n, bool chars, uint64_t *steps)
{
	struct steps taken = steps_of(*steps);
	enum like_result r = match_as_it_stands(text, n, pattern, pattern_n, chars, &taken);
	*steps = taken.n;
	return r;
}

/* ---- compiled ------------------------------------------------------------------------------------------------ */

/* Reads one piece; `bytes` and `any` have room for it. Returns where it ends: at a % or at `end`. */
static const char *read_piece(struct piece *out, const char *p, const char *end, char *bytes, bool *any, bool chars)
{
	memset(out, 0, sizeof *out);
	size_t n = 0, last = 0; /* last: past the last byte of text */
	bool holes = false;
	for (; p < end && *p != '%'; p++) {
		bool hole = *p == '_';
		if (hole && n == 0) {
			out->skip++;
			continue;
		}
		p += *p == '\\';
		bytes[n] = *p;
		any[n++] = hole;
		if (!hole) {
			holes |= n - last > 1;
			last = n;
		}
	}
	out->text = bytes;
	out->any = holes ? any : NULL;
	out->n = last;
	out->tail = n - last;
	out->chars = out->skip + out->tail;
	for (size_t i = 0; i < last; i++)
		out->chars += any[i] || !chars || !utf8_is_continuation(bytes[i]);
	return p;
}

/* Does the pattern end in a backslash that escapes nothing? */
static bool is_dangling(const char *p, size_t n)
{
	size_t backslashes = 0;
	while (backslashes < n && p[n - 1 - backslashes] == '\\')
		backslashes++;
	return backslashes % 2 == 1;
}

struct like *like_compile(const char *pattern, size_t n, bool chars)
{
	size_t pieces_max = 1;
	for (size_t i = 0; i < n; i++)
		pieces_max += pattern[i] == '%';
	struct like *l = mem_zalloc(sizeof *l + pieces_max * sizeof *l->pieces + 3 * (n + 1));
	char *copy = (char *)(l->pieces + pieces_max), *bytes = copy + n + 1;
	bool *any = (bool *)(void *)(bytes + n + 1);
	memcpy(copy, pattern, n);
	l->chars = chars;
	l->pattern = copy;
	l->pattern_n = n;
	l->dangling = is_dangling(pattern, n);
	if (l->dangling)
		return l;
	const char *p = copy, *end = copy + n;
	l->open_start = n > 0 && *p == '%';
	while (p < end) {
		if (*p == '%') {
			l->open_end = true;
			p++;
			continue;
		}
		l->open_end = false;
		struct piece *piece = &l->pieces[l->npieces++];
		const char *next = read_piece(piece, p, end, bytes, any, chars);
		bytes += next - p;
		any += next - p;
		p = next;
	}
	return l;
}

/* The text of a piece at exactly `t`; past it, or NULL. */
static const char *match_text(const struct piece *w, const char *t, const char *end, bool chars, struct steps *steps)
{
	if (w->any == NULL) {
		if ((size_t)(end - t) < w->n || memcmp(t, w->text, w->n) != 0)
			return NULL;
		return t + w->n;
	}
	for (size_t i = 0; i < w->n; i++) {
		steps->n++;
		if (t == end)
			return NULL;
		if (w->any[i])
			t = step(t, end, chars);
		else if (*t++ != w->text[i])
			return NULL;
	}
	return t;
}

static const char *match_piece(const struct piece *w, const char *t, const char *end, bool chars, struct steps *steps)
{
	if ((t = skip(t, end, w->skip, chars)) == NULL || (t = match_text(w, t, end, chars, steps)) == NULL)
		return NULL;
	return skip(t, end, w->tail, chars);
}

/* The first place from `t` on where the piece stands; past it, or NULL. */
static const char *find_piece(const struct piece *w, const char *t, const char *end, bool chars, struct steps *steps)
{
	t = skip(t, end, w->skip, chars);
	while (t != NULL && w->n > 0) {
		if (w->any == NULL) {
			t = where_find(t, (size_t)(end - t), w->text, w->n);
			t = t != NULL ? t + w->n : NULL;
			break;
		}
		t = memchr(t, w->text[0], (size_t)(end - t));
		if (t == NULL)
			break;
		const char *past = match_text(w, t, end, chars, steps);
		if (past != NULL || steps->n > steps->max) {
			t = past;
			break;
		}
		t++;
	}
	return t != NULL ? skip(t, end, w->tail, chars) : NULL;
}

/* The piece at the very end of the text, not before `t`. */
static bool match_end(const struct piece *w, const char *t, const char *end, bool chars, struct steps *steps)
{
	if (w->any == NULL && w->skip == 0 && w->tail == 0)
		return (size_t)(end - t) >= w->n && memcmp(end - w->n, w->text, w->n) == 0;
	const char *from = end;
	for (size_t i = 0; i < w->chars; i++) {
		if (from == t)
			return false;
		from = chars ? utf8_prev(t, from) : from - 1;
	}
	return match_piece(w, from, end, chars, steps) == end;
}

static enum like_result run(const struct like *l, const char *text, size_t n, struct steps *steps)
{
	if (l->dangling)
		return match_as_it_stands(text, n, l->pattern, l->pattern_n, l->chars, steps);
	const char *t = text, *end = text + n;
	if (l->npieces == 0)
		return l->open_start || n == 0 ? LIKE_YES : LIKE_NO;
	size_t i = 0, last = l->npieces - (l->open_end ? 0 : 1);
	if (!l->open_start) {
		if (l->npieces == 1 && !l->open_end)
			return match_piece(&l->pieces[0], t, end, l->chars, steps) == end ? LIKE_YES : LIKE_NO;
		t = match_piece(&l->pieces[i++], t, end, l->chars, steps);
	}
	for (; t != NULL && i < last; i++)
		t = find_piece(&l->pieces[i], t, end, l->chars, steps);
	if (steps->n > steps->max)
		return LIKE_TOO_LONG;
	if (t == NULL)
		return LIKE_NO;
	return l->open_end || match_end(&l->pieces[last], t, end, l->chars, steps) ? LIKE_YES : LIKE_NO;
}

enum like_result like_run(const struct like *l, const char *text, size_t n, uint64_t *steps)
{
	struct steps taken = steps_of(*steps);
	enum like_result r = run(l, text, n, &taken);
	*steps = taken.n;
	return r;
}
