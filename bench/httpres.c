/* httpres.c - see httpres.h. */
#include "bench/httpres.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SSE_EVENT_BYTES_MAX (64u << 20)

void httpres_init(struct httpres *p)
{
	memset(p, 0, sizeof *p);
	buf_init(&p->line, HTTP_LINE_BYTES_MAX);
}

void httpres_next(struct httpres *p)
{
	struct buf line = p->line;

	buf_reset(&line);
	memset(p, 0, sizeof *p);
	p->line = line;
}

void httpres_clear(struct httpres *p)
{
	buf_clear(&p->line);
}

static ptrdiff_t fail(struct httpres *p, const char *why)
{
	p->error = why;
	return -1;
}

static void keep(char *to, size_t size, const char *value, size_t len)
{
	if (len >= size)
		len = size - 1;
	memcpy(to, value, len);
	to[len] = '\0';
}

/* Digits only; -1 if it isn't a number below 2^62. */
static int64_t number(const char *s, size_t len, int base)
{
	int64_t v = 0;

	if (len == 0)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int d;
		if (s[i] >= '0' && s[i] <= '9')
			d = s[i] - '0';
		else if (base == 16 && (s[i] | 32) >= 'a' && (s[i] | 32) <= 'f')
			d = (s[i] | 32) - 'a' + 10;
		else
			return -1;
		if (v >= (int64_t)1 << 57)
			return -1;
		v = v * base + d;
	}
	return v;
}

static bool is(const char *name, size_t len, const char *want)
{
	return len == strlen(want) && strncasecmp(name, want, len) == 0;
}

/* Whether a comma separated list holds a word. */
static bool lists(const char *value, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= len; i++)
		if (strncasecmp(value + i, word, n) == 0)
			return true;
	return false;
}

static int status_line(struct httpres *p, const char *s, size_t len)
{
	int64_t status;

	if (len < 12 || memcmp(s, "HTTP/1.", 7) != 0 || s[8] != ' ')
		return (int)fail(p, "the answer isn't HTTP/1.x");
	status = number(s + 9, 3, 10);
	if (status < 100)
		return (int)fail(p, "the answer has no status");
	p->status = (int)status;
	p->close = s[7] == '0';
	p->state = HTTP_HEADERS;
	return 0;
}

static int header(struct httpres *p, const char *s, size_t len)
{
	const char *colon = memchr(s, ':', len), *value;
	size_t name_len, n;
	int64_t v;

	if (colon == NULL)
		return (int)fail(p, "a header line without a colon");
	name_len = (size_t)(colon - s);
	value = colon + 1;
	n = len - name_len - 1;
	while (n > 0 && (*value == ' ' || *value == '\t'))
		value++, n--;
	while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
		n--;
	if (is(s, name_len, "content-length")) {
		v = number(value, n, 10);
		if (v < 0)
			return (int)fail(p, "content-length isn't a number");
		p->has_length = true;
		p->left = (uint64_t)v;
	} else if (is(s, name_len, "transfer-encoding")) {
		p->chunked = lists(value, n, "chunked");
	} else if (is(s, name_len, "connection")) {
		if (lists(value, n, "close"))
			p->close = true;
		else if (lists(value, n, "keep-alive"))
			p->close = false;
	} else if (is(s, name_len, "content-type")) {
		p->event_stream = lists(value, n, "text/event-stream");
	} else if (is(s, name_len, "electric-handle")) {
		keep(p->handle, sizeof p->handle, value, n);
	} else if (is(s, name_len, "electric-offset")) {
		keep(p->offset, sizeof p->offset, value, n);
	} else if (is(s, name_len, "electric-cursor")) {
		keep(p->cursor, sizeof p->cursor, value, n);
	} else if (is(s, name_len, "electric-up-to-date")) {
		p->up_to_date = true;
	} else if (is(s, name_len, "electric-server")) {
		keep(p->server, sizeof p->server, value, n);
	} else if (is(s, name_len, "retry-after")) {
		v = number(value, n, 10);
		p->retry_after_s = v > 0 && v < 3600 ? (int)v : 0;
	}
	return 0;
}

static void headers_end(struct httpres *p)
{
	if (p->status < 200) /* 100 Continue and the like: the real one follows */
		httpres_next(p);
	else if (p->status == 204 || p->status == 304)
		p->state = HTTP_DONE;
	else if (p->chunked)
		p->state = HTTP_CHUNK_SIZE;
	else if (p->has_length)
		p->state = p->left ? HTTP_BODY_LENGTH : HTTP_DONE;
	else {
		p->close = true;
		p->state = HTTP_BODY_CLOSE;
	}
}

static int chunk_size(struct httpres *p, const char *s, size_t len)
{
	const char *semi = memchr(s, ';', len);
	size_t n = semi ? (size_t)(semi - s) : len;
	int64_t v;

	while (n > 0 && s[n - 1] == ' ')
		n--;
	v = number(s, n, 16);
	if (v < 0)
		return (int)fail(p, "a chunk's size isn't a number");
	p->left = (uint64_t)v;
	p->state = v ? HTTP_CHUNK_DATA : HTTP_TRAILERS;
	return 0;
}

static int line_done(struct httpres *p, const char *s, size_t len)
{
	if (len > 0 && s[len - 1] == '\r')
		len--;
	switch (p->state) {
	case HTTP_STATUS:
		return status_line(p, s, len);
	case HTTP_HEADERS:
		if (len > 0)
			return header(p, s, len);
		headers_end(p);
		return 0;
	case HTTP_CHUNK_SIZE:
		return chunk_size(p, s, len);
	case HTTP_CHUNK_END:
		if (len > 0)
			return (int)fail(p, "a chunk is longer than it says");
		p->state = HTTP_CHUNK_SIZE;
		return 0;
	default: /* trailers */
		if (len == 0)
			p->state = HTTP_DONE;
		return 0;
	}
}

/* One line, whole in `data` or begun by earlier pieces. Bytes used, or -1. */
static ptrdiff_t take_line(struct httpres *p, const char *data, size_t len)
{
	const char *end = memchr(data, '\n', len);
	size_t n = end ? (size_t)(end - data) : len;
	int r;

	if (end != NULL && p->line.len == 0)
		return line_done(p, data, n) ? -1 : (ptrdiff_t)n + 1;
	buf_put(&p->line, data, n);
	if (p->line.failed)
		return fail(p, "a header line is too long");
	if (end == NULL)
		return (ptrdiff_t)n;
	r = line_done(p, p->line.data ? p->line.data : "", p->line.len);
	buf_reset(&p->line);
	return r ? -1 : (ptrdiff_t)n + 1;
}

static void body_end(struct httpres *p)
{
	if (p->state == HTTP_BODY_LENGTH)
		p->state = HTTP_DONE;
	else
		p->state = HTTP_CHUNK_END;
}

ptrdiff_t httpres_feed(struct httpres *p, const char *data, size_t len, http_body_fn *body, void *ctx)
{
	size_t at = 0;

	while (at < len && p->state != HTTP_DONE) {
		size_t n = len - at;
		if (p->state == HTTP_BODY_LENGTH || p->state == HTTP_CHUNK_DATA || p->state == HTTP_BODY_CLOSE) {
			if (p->state != HTTP_BODY_CLOSE && n > p->left)
				n = (size_t)p->left;
			p->body_bytes += n;
			if (body != NULL && !body(ctx, data + at, n))
				return fail(p, p->error ? p->error : "the body isn't what was expected");
			if (p->state != HTTP_BODY_CLOSE && (p->left -= n) == 0)
				body_end(p);
			at += n;
			continue;
		}
		ptrdiff_t used = take_line(p, data + at, n);
		if (used < 0)
			return -1;
		at += (size_t)used;
	}
	return (ptrdiff_t)at;
}

int httpres_eof(struct httpres *p)
{
	if (p->state == HTTP_BODY_CLOSE) {
		p->state = HTTP_DONE;
		return 0;
	}
	if (p->state == HTTP_DONE)
		return 0;
	return (int)fail(p, p->state == HTTP_STATUS && p->line.len == 0 ? "closed without an answer" :
			 "closed in the middle of an answer");
}

void sse_init(struct sse *s)
{
	memset(s, 0, sizeof *s);
	buf_init(&s->line, SSE_EVENT_BYTES_MAX);
	buf_init(&s->data, SSE_EVENT_BYTES_MAX);
}

void sse_clear(struct sse *s)
{
	buf_clear(&s->line);
	buf_clear(&s->data);
}

static bool sse_line(struct sse *s, const char *p, size_t n, http_body_fn *event, void *ctx)
{
	bool ok = true;

	if (n > 0 && p[n - 1] == '\r')
		n--;
	if (n == 0) {
		if (s->data.len > 0)
			ok = event(ctx, s->data.data, s->data.len);
		buf_reset(&s->data);
		return ok;
	}
	if (p[0] == ':')
		s->comments++;
	if (n < 5 || memcmp(p, "data:", 5) != 0)
		return true;
	p += 5, n -= 5;
	if (n > 0 && p[0] == ' ')
		p++, n--;
	if (s->data.len > 0)
		buf_putc(&s->data, '\n');
	buf_put(&s->data, p, n);
	return !s->data.failed;
}

bool sse_feed(struct sse *s, const char *data, size_t len, http_body_fn *event, void *ctx)
{
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t n = end ? (size_t)(end - data) : len;
		bool ok;
		if (end == NULL || s->line.len > 0)
			buf_put(&s->line, data, n);
		if (s->line.failed)
			return false;
		if (end == NULL)
			return true;
		ok = s->line.len > 0 ? sse_line(s, s->line.data, s->line.len, event, ctx) :
				       sse_line(s, data, n, event, ctx);
		buf_reset(&s->line);
		if (!ok)
			return false;
		data += n + 1, len -= n + 1;
	}
	return true;
}
