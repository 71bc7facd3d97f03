/* arrival.c - see arrival.h. */
#include "http/arrival.h"

#include <string.h>
#include <strings.h>

#define METHOD_BYTES_MAX 32
#define LENGTH_DIGITS_MAX 18

/* ---- small things ----------------------------------------------------------------------------------- */

static bool starts(const char *p, size_t n, const char *word)
{
	size_t len = strlen(word);
	return n >= len && strncasecmp(p, word, len) == 0;
}

static bool is(const char *p, size_t n, const char *word) { return n == strlen(word) && strncasecmp(p, word, n) == 0; }

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* What names of methods and fields consist of (RFC 9110, 5.6.2). */
static bool is_token(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i], letter = c | 0x20;
		if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
			return false;
	}
	return n > 0;
}

static bool has_control(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

/* ---- fields ----------------------------------------------------------------------------------------- */

static void wrong(struct arrival_fields *f, unsigned status, const char *why)
{
	if (f->status != 0)
		return;
	f->status = status;
	f->why = why;
}

static void take_length(struct arrival_fields *f, const char *value, size_t len)
{
	uint64_t length = 0;
	size_t digits = 0;
	while (digits < len && value[digits] >= '0' && value[digits] <= '9') {
		if (digits < LENGTH_DIGITS_MAX)
			length = length * 10 + (uint64_t)(value[digits] - '0');
		digits++;
	}
	if (digits != len || len == 0)
		wrong(f, 400, "Content-Length isn't a number");
	else if (digits > LENGTH_DIGITS_MAX)
		wrong(f, 413, "Content-Length is too large");
	else if (f->lengths > 0 && length != f->length)
		wrong(f, 400, "two different Content-Length");
	f->lengths++;
	f->length = length;
}

static void take_coding(struct arrival_fields *f, const char *value, size_t len)
{
	if (f->codings++ > 0)
		wrong(f, 400, "more than one Transfer-Encoding");
	else if (!is(value, len, "chunked"))
		wrong(f, 501, "no transfer coding but chunked is understood");
}

static void take_host(struct arrival_fields *f, const char *value, size_t len)
{
	if (f->hosts++ > 0)
		wrong(f, 400, "more than one Host");
	for (size_t i = 0; i < len; i++)
		if (is_blank(value[i]) || strchr(",/?#@", value[i]) != NULL)
			wrong(f, 400, "Host isn't the name of a host");
}

void arrival_field(struct arrival_fields *f, const char *name, size_t name_len, const char *value, size_t len)
{
	if (!is_token(name, name_len))
		wrong(f, 400, "a header's name has a character that isn't allowed there, or a blank before the colon");
	if (has_control(value, len))
		wrong(f, 400, "a header's value has a control character");
	while (len > 0 && is_blank(value[0])) {
		value++;
		len--;
	}
	/* Blanks behind these two stay for the library, which then doesn't know what they say. */
	if (is(name, name_len, "content-length"))
		take_length(f, value, len);
	else if (is(name, name_len, "transfer-encoding"))
		take_coding(f, value, len);
	while (len > 0 && is_blank(value[len - 1]))
		len--;
	if (is(name, name_len, "host"))
		take_host(f, value, len);
}

void arrival_fields_end(struct arrival_fields *f, int minor)
{
	if (f->lengths > 0 && f->codings > 0)
		wrong(f, 400, "both Content-Length and Transfer-Encoding");
	if (f->codings > 0 && minor == 0)
		wrong(f, 400, "Transfer-Encoding in a request of HTTP/1.0");
	if (f->hosts == 0 && minor > 0)
		wrong(f, 400, "no Host");
}

/* ---- lines ------------------------------------------------------------------------------------------ */

/* A head being looked at: lines are taken off its front. */
struct head {
	const char *at, *end;
	const char *line;
	size_t len; /* of the line, without its end */
	bool crlf, lf; /* how lines ended so far */
};

static bool next_line(struct head *h)
{
	const char *eol = memchr(h->at, '\n', (size_t)(h->end - h->at));
	if (eol == NULL)
		return false;
	bool crlf = eol > h->at && eol[-1] == '\r';
	h->line = h->at;
	h->len = (size_t)(eol - h->at) - crlf;
	h->crlf = h->crlf || crlf;
	h->lf = h->lf || !crlf;
	h->at = eol + 1;
	return true;
}

/* `live=true` as the only parameter of that name in the request's target. */
static bool asks_live(const char *p, size_t n)
{
	static const char name[] = "live=", yes[] = "true";
	const char *end = p + n;
	int found = 0;
	bool live = false;
	for (const char *at = memchr(p, '?', n); at != NULL; at = memchr(at, '&', (size_t)(end - at))) {
		at++;
		if (!starts(at, (size_t)(end - at), name))
			continue;
		found++;
		at += sizeof name - 1;
		size_t left = (size_t)(end - at);
		live = starts(at, left, yes) && (left == sizeof yes - 1 || at[sizeof yes - 1] == '&');
	}
	return live && found == 1;
}

/* What a head costs the library's memory beside its own bytes. */
static size_t beside(const char *line, size_t len, size_t name_len)
{
	size_t cost = ARRIVAL_FIELD_BYTES;
	if (!is(line, name_len, "cookie"))
		return cost;
	cost += len + ARRIVAL_FIELD_BYTES;
	for (size_t i = name_len; i < len; i++)
		cost += line[i] == ';' || line[i] == ',' ? ARRIVAL_FIELD_BYTES : 0;
	return cost;
}

/* ---- a head ----------------------------------------------------------------------------------------- */

struct look {
	enum arrival_kind kind;
	size_t head_bytes;
	uint64_t body_bytes;
	bool endless, small, head;
	unsigned status;
	const char *why;
};

static void refuse(struct look *o, unsigned status, const char *why)
{
	o->kind = ARRIVAL_REFUSED;
	o->status = status;
	o->why = why;
}

/* Before the line is whole: what is no request at all isn't waited for (a TLS greeting). */
static bool begins_well(const char *p, size_t n)
{
	const char *blank = memchr(p, ' ', n < METHOD_BYTES_MAX ? n : METHOD_BYTES_MAX);
	if (blank == NULL && n > METHOD_BYTES_MAX)
		return false;
	size_t len = blank == NULL ? n : (size_t)(blank - p);
	return is_token(p, len);
}

/* The line ends with a version, and it isn't one of HTTP/1. */
static bool is_other_version(const char *line, size_t len)
{
	if (len <= 9)
		return false;
	const char *v = line + len - 9;
	return memcmp(v, " HTTP/", 6) == 0 && v[6] != '1' && v[6] >= '0' && v[6] <= '9' && v[7] == '.' && v[8] >= '0' &&
	       v[8] <= '9';
}

/* False: it is refused. */
static bool look_at_line(const struct head *h, struct look *o, int *minor)
{
	static const char version[] = " HTTP/1.";
	const size_t version_len = sizeof version; /* with the digit */
	const char *p = h->line, *blank = memchr(p, ' ', h->len);
	if (h->len > ARRIVAL_LINE_BYTES_MAX) {
		refuse(o, 414, "the request line is longer than 10,000 bytes");
		return false;
	}
	if (blank == NULL || !begins_well(p, h->len) || has_control(p, h->len) || memchr(p, '\t', h->len) != NULL) {
		refuse(o, 400, "this is no request line of HTTP/1.1");
		return false;
	}
	const char *target = blank + 1, *last = h->line + h->len - version_len;
	o->head = is(p, (size_t)(blank - p), "head");
	if (last <= target || memcmp(last, version, version_len - 1) != 0 || last[version_len - 1] < '0' || last[version_len - 1] > '9') {
		bool other = is_other_version(h->line, h->len);
		refuse(o, other ? 505 : 400, other ? "only HTTP/1.1 and HTTP/1.0 are spoken here" : "this is no request line of HTTP/1.1");
		return false;
	}
	if (memchr(target, ' ', (size_t)(last - target)) != NULL) {
		refuse(o, 400, "the request's target has a blank; it is to be written as %20");
		return false;
	}
	*minor = last[version_len - 1] - '0';
	o->small = *minor == 1 && starts(p, (size_t)(blank - p), "GET") && blank - p == 3 && asks_live(target, (size_t)(last - target));
	return true;
}

static void look_at_fields(struct head *h, struct look *o, size_t *cost)
{
	int lines = 0, minor = 0;
	struct arrival_fields f = {.status = 0};
	const char *begin = h->line;
	if (!look_at_line(h, o, &minor))
		return;
	for (;;) {
		if (!next_line(h)) {
			o->kind = ARRIVAL_PARTIAL;
			return;
		}
		if (h->len == 0)
			break;
		const char *colon = memchr(h->line, ':', h->len);
		size_t name_len = colon == NULL ? h->len : (size_t)(colon - h->line);
		if (is_blank(h->line[0]) || colon == NULL) {
			refuse(o, 400, colon == NULL ? "a header without a colon" : "a header that goes on in a second line");
			return;
		}
		arrival_field(&f, h->line, name_len, colon + 1, h->len - name_len - 1);
		*cost += beside(h->line, h->len, name_len);
		/* The library keeps a structure for each, and cookies twice. */
		o->small = o->small && ++lines <= ARRIVAL_SMALL_LINES_MAX && !is(h->line, name_len, "cookie") &&
		           !is(h->line, name_len, "expect") && !is(h->line, name_len, "upgrade") &&
		           !(is(h->line, name_len, "origin") && h->len > ARRIVAL_REPEATED_BYTES_MAX);
	}
	arrival_fields_end(&f, minor);
	/* A proxy that takes a lone LF for part of a value passes on what another takes for a header. Typed by hand, all
	 * lines may end so. */
	if (h->crlf && h->lf)
		wrong(&f, 400, "some lines end with CR LF and some with LF alone");
	if (f.status != 0) {
		refuse(o, f.status, f.why);
		return;
	}
	o->head_bytes = (size_t)(h->at - begin);
	o->body_bytes = f.codings > 0 ? 0 : f.length;
	o->endless = f.codings > 0;
	o->small = o->small && f.lengths == 0 && f.codings == 0;
}

static void look_at_head(const char *p, size_t n, struct look *o)
{
	struct head h = {.at = p, .end = p + n};
	size_t cost = 0;
	*o = (struct look){.kind = ARRIVAL_WHOLE};
	if (next_line(&h))
		look_at_fields(&h, o, &cost);
	else if (!begins_well(p, n < ARRIVAL_LINE_BYTES_MAX ? n : ARRIVAL_LINE_BYTES_MAX))
		refuse(o, 400, "this is no request line of HTTP/1.1");
	else if (n > ARRIVAL_LINE_BYTES_MAX)
		refuse(o, 414, "the request line is longer than 10,000 bytes");
	else
		o->kind = ARRIVAL_PARTIAL;
	size_t bytes = o->kind == ARRIVAL_WHOLE ? o->head_bytes : n;
	if (o->kind != ARRIVAL_REFUSED && bytes + cost > ARRIVAL_HEAD_BYTES_MAX)
		refuse(o, 431, "the request's headers are too large, or too many");
}

void arrival_look(const char *p, size_t n, struct arrival *out)
{
	*out = (struct arrival){.kind = ARRIVAL_PARTIAL};
	size_t at = 0;
	while (at < n && (p[at] == '\n' || (p[at] == '\r' && (at + 1 == n || p[at + 1] == '\n'))))
		at++;
	if (at > 0 && p[at - 1] == '\r') /* half of an empty line */
		at--;
	out->skip = at;
	if (at == n || (at + 1 == n && p[at] == '\r'))
		return;
	struct look look;
	look_at_head(p + at, n - at, &look);
	out->kind = look.kind;
	out->status = look.status;
	out->why = look.why;
	out->head = look.head;
	bool small = look.small && look.head_bytes <= ARRIVAL_SMALL_BYTES_MAX;
	/* And those right behind it; where one isn't well, the answer before it is the last. */
	while (look.kind == ARRIVAL_WHOLE) {
		out->requests++;
		out->bytes += look.head_bytes + look.body_bytes;
		out->endless = look.endless;
		if (out->endless || look.body_bytes > n || at + look.head_bytes + look.body_bytes >= n)
			break;
		at += look.head_bytes + (size_t)look.body_bytes;
		look_at_head(p + at, n - at, &look);
	}
	out->small = small && out->requests == 1 && out->skip + out->bytes == n;
}
