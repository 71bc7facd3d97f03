/* scan.c - see scan.h. */
#include "bench/scan.h"

#include <string.h>

#define DEPTH_MAX 64

/* A place in the text. `need` says that it ended too early, `bad` that it can't be JSON. */
struct cur {
	const char *p, *end;
	bool need, bad;
};

static void space(struct cur *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t' || *c->p == '\r'))
		c->p++;
}

static bool stop(struct cur *c, bool need)
{
	if (need)
		c->need = true;
	else
		c->bad = true;
	return false;
}

/* The next byte after white space must be `want`. */
static bool expect(struct cur *c, char want)
{
	if (c->p < c->end && *c->p == want) { /* nearly always without white space */
		c->p++;
		return true;
	}
	space(c);
	if (c->p == c->end)
		return stop(c, true);
	if (*c->p != want)
		return stop(c, false);
	c->p++;
	return true;
}

static bool peek(struct cur *c, char *out)
{
	space(c);
	if (c->p == c->end)
		return stop(c, true);
	*out = *c->p;
	return true;
}

/*
 * To the first byte that a string can't hold as it is (a quote, a backslash, a control character), eight at a time: each
 * difference has the top bit of a byte set that was 0, or below 0x20. Borrows reach upwards only, so the lowest is right.
 */
static const char *plain(const char *p, const char *end)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;

	for (; end - p >= 8; p += 8) {
		uint64_t v, quote, slash, found;
		memcpy(&v, p, 8);
		quote = v ^ (ones * '"');
		slash = v ^ (ones * '\\');
		found = (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((v - ones * 0x20) & ~v)) & tops;
		if (found != 0)
			return p + (__builtin_ctzll(found) >> 3);
	}
#endif
	while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
		p++;
	return p;
}

static bool string(struct cur *c, struct text *out)
{
	const char *p;

	if (!expect(c, '"'))
		return false;
	out->p = c->p;
	for (p = c->p; (p = plain(p, c->end)) < c->end; p += 2) {
		if (*p == '"') {
			out->len = (size_t)(p - out->p);
			c->p = p + 1;
			return true;
		}
		if (*p != '\\')
			return stop(c, false);
	}
	return stop(c, true);
}

/* null, true, false or a number: a run of such characters. The byte behind it must be there. */
static bool bare(struct cur *c, struct text *out)
{
	const char *p = c->p;

	while (p < c->end && (*p == '-' || *p == '+' || *p == '.' || (*p >= '0' && *p <= '9') ||
			      (*p >= 'a' && *p <= 'z') || *p == 'E'))
		p++;
	if (p == c->end)
		return stop(c, true);
	if (p == c->p)
		return stop(c, false);
	out->p = c->p;
	out->len = (size_t)(p - c->p);
	c->p = p;
	return true;
}

static bool skip_value(struct cur *c, unsigned depth);

/* Members or items, walked over; *c is behind the opening bracket. */
static bool skip_inside(struct cur *c, char close, unsigned depth)
{
	struct text t;
	char next;

	if (depth > DEPTH_MAX)
		return stop(c, false);
	if (!peek(c, &next))
		return false;
	if (next == close) {
		c->p++;
		return true;
	}
	for (;;) {
		if (close == '}' && !(string(c, &t) && expect(c, ':')))
			return false;
		if (!skip_value(c, depth) || !peek(c, &next))
			return false;
		c->p++;
		if (next == close)
			return true;
		if (next != ',')
			return stop(c, false);
	}
}

static bool skip_value(struct cur *c, unsigned depth)
{
	struct text t;
	char next;

	if (!peek(c, &next))
		return false;
	if (next == '"')
		return string(c, &t);
	if (next != '{' && next != '[')
		return bare(c, &t);
	c->p++;
	return skip_inside(c, next == '{' ? '}' : ']', depth + 1);
}

/* Inlined, so that the length of a literal is known. */
static inline __attribute__((always_inline)) bool equals(const struct text *t, const char *s)
{
	return t->p != NULL && t->len == strlen(s) && memcmp(t->p, s, strlen(s)) == 0;
}

static uint64_t digits(const struct text *t)
{
	uint64_t v = 0;

	for (size_t i = 0; i < t->len && i < 20; i++) {
		if (t->p[i] < '0' || t->p[i] > '9')
			return 0;
		v = v * 10 + (uint64_t)(t->p[i] - '0');
	}
	return v;
}

static bool member_value(struct cur *c, struct msg *m, const struct text *name)
{
	struct text t = {NULL, 0};
	char next;

	if (!peek(c, &next))
		return false;
	if (next == '"') {
		if (!string(c, &t))
			return false;
	} else if (next == '{' || next == '[') {
		if (!skip_value(c, 2))
			return false;
	} else {
		if (!bare(c, &t))
			return false;
		if (equals(&t, "null"))
			t.p = NULL;
	}
	if (m->columns == SCAN_COLUMNS_MAX)
		return stop(c, false);
	m->name[m->columns] = *name;
	m->value[m->columns++] = t;
	return true;
}

static void operation(struct msg *m, const struct text *t)
{
	if (equals(t, "insert"))
		m->kind = MSG_INSERT;
	else if (equals(t, "update"))
		m->kind = MSG_UPDATE;
	else if (equals(t, "delete"))
		m->kind = MSG_DELETE;
}

static void control(struct msg *m, const struct text *t)
{
	if (equals(t, "up-to-date"))
		m->kind = MSG_UP_TO_DATE;
	else if (equals(t, "snapshot-end"))
		m->kind = MSG_SNAPSHOT_END;
	else if (equals(t, "must-refetch"))
		m->kind = MSG_MUST_REFETCH;
}

static bool member_header(struct cur *c, struct msg *m, const struct text *name)
{
	struct text t;
	char next;

	if (!peek(c, &next))
		return false;
	if (next == '{' || next == '[')
		return skip_value(c, 2);
	if (!(next == '"' ? string(c, &t) : bare(c, &t)))
		return false;
	if (equals(name, "operation"))
		operation(m, &t);
	else if (equals(name, "control"))
		control(m, &t);
	else if (equals(name, "lsn")) {
		m->has_lsn = true;
		m->lsn = digits(&t);
	} else if (equals(name, "op_position"))
		m->op_position = digits(&t);
	else if (equals(name, "last"))
		m->last = equals(&t, "true");
	else if (equals(name, "global_last_seen_lsn"))
		m->seen_lsn = digits(&t);
	return true;
}

typedef bool member_fn(struct cur *c, struct msg *m, const struct text *name);

static bool object(struct cur *c, struct msg *m, member_fn *member)
{
	struct text name;
	char next;

	if (!expect(c, '{') || !peek(c, &next))
		return false;
	if (next == '}') {
		c->p++;
		return true;
	}
	for (;;) {
		if (!string(c, &name) || !expect(c, ':') || !member(c, m, &name) || !peek(c, &next))
			return false;
		c->p++;
		if (next == '}')
			return true;
		if (next != ',')
			return stop(c, false);
	}
}

static bool member_top(struct cur *c, struct msg *m, const struct text *name)
{
	if (equals(name, "key"))
		return string(c, &m->key);
	if (equals(name, "value"))
		return object(c, m, member_value);
	if (equals(name, "headers"))
		return object(c, m, member_header);
	return skip_value(c, 1);
}

ptrdiff_t scan_message(const char *data, size_t len, struct msg *m)
{
	struct cur c = {data, data + len, false, false};

	m->kind = MSG_OTHER;
	m->whole = (struct text){NULL, 0};
	m->key = (struct text){NULL, 0};
	m->has_lsn = m->last = false;
	m->lsn = m->op_position = m->seen_lsn = 0;
	m->columns = 0;
	if (object(&c, m, member_top)) {
		m->whole = (struct text){data, (size_t)(c.p - data)};
		return c.p - data;
	}
	return c.bad ? -1 : 0;
}

const struct text *msg_column_of(const struct msg *m, const char *name, size_t len)
{
	for (unsigned i = 0; i < m->columns; i++)
		if (m->name[i].len == len && memcmp(m->name[i].p, name, len) == 0)
			return &m->value[i];
	return NULL;
}

bool msg_number_of(const struct msg *m, const char *name, size_t len, int64_t *out)
{
	const struct text *t = msg_column_of(m, name, len);
	int64_t v = 0;
	size_t i = 0;

	if (t == NULL || t->p == NULL || t->len == 0 || t->len > 19)
		return false;
	if (t->p[0] == '-')
		i = 1;
	if (i == t->len)
		return false;
	for (; i < t->len; i++) {
		if (t->p[i] < '0' || t->p[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, t->p[i] - '0', &v))
			return false;
	}
	*out = t->p[0] == '-' ? -v : v;
	return true;
}

void scan_init(struct scan *s)
{
	s->state = SCAN_START;
	s->fast = NULL;
	s->fast_ctx = NULL;
	buf_init(&s->held, SCAN_MSG_BYTES_MAX);
}

void scan_next(struct scan *s)
{
	s->state = SCAN_START;
	buf_reset(&s->held);
}

void scan_clear(struct scan *s)
{
	buf_clear(&s->held);
}

bool scan_done(const struct scan *s)
{
	return s->state == SCAN_END;
}

/* One byte of the list's own syntax; true if a message begins here. */
static bool framing(struct scan *s, char ch)
{
	if (ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t')
		return false;
	switch (s->state) {
	case SCAN_START:
		s->state = ch == '[' ? SCAN_FIRST : SCAN_BAD;
		return false;
	case SCAN_FIRST:
	case SCAN_ITEM:
		if (ch == '{')
			return true;
		s->state = ch == ']' && s->state == SCAN_FIRST ? SCAN_END : SCAN_BAD;
		return false;
	case SCAN_COMMA:
		s->state = ch == ',' ? SCAN_ITEM : ch == ']' ? SCAN_END : SCAN_BAD;
		return false;
	default:
		s->state = SCAN_BAD;
		return false;
	}
}

/* Messages that lie whole in [data, data + len); *used says how far. */
static bool run(struct scan *s, const char *data, size_t len, size_t *used, scan_msg_fn *fn, void *ctx)
{
	struct msg m;
	size_t at = 0;
	ptrdiff_t n;

	*used = 0;
	while (at < len) {
		if (!framing(s, data[at])) {
			if (s->state == SCAN_BAD)
				return false;
			*used = ++at;
			continue;
		}
		n = s->fast != NULL ? (ptrdiff_t)s->fast(s->fast_ctx, data + at, len - at) : 0;
		if (n > 0) {
			s->state = SCAN_COMMA;
			*used = at += (size_t)n;
			continue;
		}
		n = scan_message(data + at, len - at, &m);
		if (n < 0)
			s->state = SCAN_BAD;
		if (n <= 0)
			return n == 0;
		if (!fn(ctx, &m)) {
			s->state = SCAN_BAD;
			return false;
		}
		s->state = SCAN_COMMA;
		*used = at += (size_t)n;
	}
	return true;
}

/*
 * A message that was cut: completed by its first part of `data`, doubling what is looked at, so that a long message
 * in small reads isn't walked again for each of them more often than it must.
 */
static bool finish_held(struct scan *s, const char **data, size_t *len, scan_msg_fn *fn, void *ctx)
{
	size_t step = s->held.len < 4096 ? 4096 : s->held.len, before, used;

	while (*len > 0 && s->held.len > 0) {
		size_t n = *len < step ? *len : step;
		before = s->held.len;
		buf_put(&s->held, *data, n);
		if (s->held.failed || !run(s, s->held.data, s->held.len, &used, fn, ctx))
			return false;
		if (used > 0) {
			/* Everything behind the messages that were whole is read again from `data`. */
			if (used >= before) {
				*data += used - before;
				*len -= used - before;
				buf_reset(&s->held);
				return true;
			}
			return false; /* cannot be: held is the beginning of one message */
		}
		*data += n;
		*len -= n;
		step *= 2;
	}
	return true;
}

bool scan_feed(struct scan *s, const char *data, size_t len, scan_msg_fn *msg, void *ctx)
{
	size_t used;

	if (s->state == SCAN_BAD || !finish_held(s, &data, &len, msg, ctx))
		return false;
	if (len == 0)
		return true;
	if (!run(s, data, len, &used, msg, ctx))
		return false;
	buf_put(&s->held, data + used, len - used);
	return !s->held.failed;
}
