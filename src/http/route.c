/*
 * route.c - from libmicrohttpd's callbacks to handlers. The path is resolved before anything else is
 * decided, the secret before everything but preflights (the original once let `//v1/shape` pass).
 */
#include "http/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/reply.h"
#include "http/request.h"

/* ---- paths ------------------------------------------------------------------------------------------ */

enum route_path route_path(const char *p, size_t len)
{
	char segments[2][8]; /* nothing longer is a segment of ours */
	size_t count = 0, start = 0;
	/* The absolute form, http://host/path, which a server must take too (RFC 9112, 3.2.2). */
	if (len > 7 && strncasecmp(p, "http://", 7) == 0) {
		const char *slash = memchr(p + 7, '/', len - 7);
		start = slash == NULL ? len : (size_t)(slash - p);
	}
	for (size_t at = start; at < len;) {
		const char *slash = memchr(p + at, '/', len - at);
		size_t end = slash == NULL ? len : (size_t)(slash - p);
		if (end > at) {
			/* At most three bytes for each that is left; a decoded slash stays inside its segment. */
			char decoded[sizeof segments[0] * 3];
			if (count == 2 || end - at > sizeof decoded)
				return PATH_NONE;
			size_t n = params_unescape(p + at, end - at, decoded, false);
			if (n >= sizeof segments[0] || memchr(decoded, '\0', n) != NULL)
				return PATH_NONE;
			memcpy(segments[count], decoded, n);
			segments[count++][n] = '\0';
		}
		at = end + 1;
	}
	if (count == 0)
		return PATH_ROOT;
	if (count != 2 || strcmp(segments[0], "v1") != 0)
		return PATH_NONE;
	return strcmp(segments[1], "shape") == 0 ? PATH_SHAPE : strcmp(segments[1], "health") == 0 ? PATH_HEALTH :
	       strcmp(segments[1], "ready") == 0 ? PATH_READY : PATH_NONE;
}

const char *request_query(const struct request *r, size_t *len)
{
	const char *mark = r->uri == NULL ? NULL : memchr(r->uri, '?', r->uri_len);
	*len = mark == NULL ? 0 : r->uri_len - (size_t)(mark + 1 - r->uri);
	return mark == NULL ? "" : mark + 1;
}

/* ---- the life of a request -------------------------------------------------------------------------- */

static void request_wake(struct waiter *w) { conn_wake(CONTAINER_OF(w, struct request, waiter)->conn); }
static void request_wake_rotation(struct waiter *w) { conn_wake(CONTAINER_OF(w, struct request, rotation)->conn); }

static struct request *request_new(struct conn *c)
{
	struct request *r = mem_zalloc(sizeof *r);
	r->conn = c;
	r->http = c->loop->http;
	r->waiter.wake = request_wake;
	r->rotation.wake = request_wake_rotation;
	r->began_ms = r->phase_began_ms = c->loop->now_ms;
	buf_init(&r->body, BODY_BYTES_MAX + 1);
	return r;
}

void request_cancel(struct request *r)
{
	waiter_cancel(&r->waiter);
	waiter_cancel(&r->rotation);
	r->waiting = false;
}

void request_set_shape(struct request *r, struct shape *s)
{
	request_cancel(r);
	shape_unref(r->shape);
	r->shape = s;
}

static void request_free(struct request *r)
{
	request_cancel(r);
	shape_unref(r->shape);
	subset_request_free(r);
	if (r->lookup != NULL)
		table_lookup_unref(r->lookup);
	admit_release(r);
	atomic_fetch_sub(&r->http->body_bytes, r->body_counted);
	buf_clear(&r->body);
	free(r->uri);
	if (r->conn->request == r)
		r->conn->request = NULL;
	free(r);
}

enum step request_park(struct request *r, int64_t deadline_ms)
{
	r->waiting = true;
	/* Those who were parked have been woken; this one comes after them. */
	if (shapes_currency(r->http->shapes) == SHAPES_FOREIGN)
		deadline_ms = r->conn->loop->now_ms;
	return conn_park(r->conn, deadline_ms) ? STEP_DONE : STEP_CLOSE;
}

/* ---- what the headers say --------------------------------------------------------------------------- */

static bool name_is(const char *name, const char *want) { return strcasecmp(name, want) == 0; }

struct header_scan {
	struct request *r;
	struct arrival_fields fields;
};

static enum MHD_Result scan_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header_scan *scan = cls;
	struct request *r = scan->r;
	(void)kind;
	if (value == NULL)
		return MHD_YES;
	/* Again, as far as it can be seen here: where connections don't sleep, heads aren't looked at before. */
	arrival_field(&scan->fields, name, strlen(name), value, strlen(value));
	if (name_is(name, "connection"))
		r->close = r->close || strcasestr(value, "close") != NULL;
	else if (name_is(name, "origin")) {
		r->origin = value;
		r->origins++;
	} else if (name_is(name, "x-request-id"))
		r->request_id = value;
	else if (name_is(name, "if-none-match"))
		r->has_etags = true;
	return MHD_YES;
}

static enum method method_of(const char *s)
{
	static const char *const names[] = {"GET", "HEAD", "POST", "DELETE", "OPTIONS"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(s, names[i]) == 0)
			return (enum method)i;
	return METHOD_OTHER;
}

/* ---- the log ---------------------------------------------------------------------------------------- */

/* The URI with the values of secret-like parameters left out. */
static void log_request(const struct request *r, const char *method)
{
	static const char *const secrets[] = {"secret", "api_secret", "token", "access_token", "api_key", "password"};
	struct buf line = BUF_INIT(2 * ARRIVAL_LINE_BYTES_MAX);
	size_t len, start = 0;
	const char *query = request_query(r, &len);
	buf_put(&line, r->uri, r->uri_len - len);
	while (start < len) {
		const char *amp = memchr(query + start, '&', len - start);
		size_t end = amp == NULL ? len : (size_t)(amp - query);
		const char *eq = memchr(query + start, '=', end - start);
		size_t name_len = eq == NULL ? 0 : (size_t)(eq - query) - start;
		char name[64];
		bool hide = false;
		/* As it will be understood: decoded, without brackets. */
		size_t n = name_len < sizeof name ? params_unescape(query + start, name_len, name, true) : 0;
		for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
			size_t want = strlen(secrets[i]);
			hide = hide || (n >= want && strncasecmp(name, secrets[i], want) == 0 && (n == want || name[want] == '['));
		}
		if (hide) {
			buf_put(&line, query + start, name_len + 1);
			buf_puts(&line, "[REDACTED]");
		} else {
			buf_put(&line, query + start, end - start);
		}
		if (end < len)
			buf_putc(&line, '&');
		start = end + 1;
	}
	log_debug("%s %s", method, line.data == NULL ? "" : line.data);
	buf_clear(&line);
}

/* ---- the secret ------------------------------------------------------------------------------------- */

/* Takes the same time whatever the bytes are; their number may show. */
static bool same_secret(const char *given, size_t given_len, const char *want)
{
	size_t want_len = strlen(want);
	volatile unsigned char differ = given_len != want_len;
	for (size_t i = 0; i < want_len; i++)
		differ |= (unsigned char)want[i] ^ (unsigned char)(given_len > 0 ? given[i % given_len] : 0);
	return differ == 0;
}

static bool authorized(const struct request *r, const struct pval *params)
{
	const char *want = r->http->config->secret;
	if (want == NULL)
		return true;
	const struct pval *given = pval_get(params, "secret");
	if (given == NULL)
		given = pval_get(params, "api_secret");
	return given != NULL && given->type == PVAL_STRING && same_secret(given->p, given->len, want);
}

/* ---- dispatch --------------------------------------------------------------------------------------- */

static bool shape_method(const struct request *r)
{
	return r->path == PATH_SHAPE && r->method != METHOD_OTHER && r->method != METHOD_OPTIONS;
}

/* The headers are there, the body isn't: whether it will be looked at. */
static bool wants_body(struct request *r)
{
	if (!shape_method(r) || r->method != METHOD_POST)
		return false;
	struct arena *a = &r->conn->loop->scratch;
	struct pval params;
	size_t len;
	const char *query = request_query(r, &len);
	bool wanted = params_decode_query(a, query, len, &params) == 0 && authorized(r, &params);
	arena_reset(a);
	return wanted;
}

/* All of the request is there: who is slow in sending it takes nobody's place. */
static bool take_place(struct request *r, const struct pval *params)
{
	const struct pval *handle = pval_get(params, "handle");
	struct shape *known = handle != NULL && handle->type == PVAL_STRING
	                              ? shapes_by_handle(r->http->shapes, handle->p, handle->len)
	                              : NULL;
	bool admitted = admit(r, known != NULL);
	shape_unref(known);
	return admitted;
}

static enum step start_shape_route(struct request *r)
{
	struct pval params;
	size_t len;
	const char *query = request_query(r, &len);
	if (params_decode_query(&r->conn->loop->scratch, query, len, &params) < 0)
		return reply_empty(r, 400);
	if (!authorized(r, &params))
		return reply_unauthorized(r);
	if (r->method == METHOD_DELETE)
		return delete_start(r);
	return take_place(r, &params) ? shape_start(r) : admit_refuse(r);
}

static enum step start(struct request *r)
{
	bool get = r->method == METHOD_GET || r->method == METHOD_HEAD;
	if (r->path == PATH_SHAPE && r->method == METHOD_OPTIONS)
		return options_start(r);
	if (shape_method(r))
		return start_shape_route(r);
	if (r->path == PATH_HEALTH && get)
		return health_start(r);
	if (r->path == PATH_READY && get)
		return ready_start(r);
	if (r->path == PATH_ROOT && get) {
		struct reply p;
		reply_begin(r, &p, 200, CACHE_DEFAULT, true);
		return reply_text(r, &p, "", 0);
	}
	return reply_not_found(r);
}

static enum step resume(struct request *r)
{
	request_cancel(r);
	if (r->conn->hungup || r->conn->cut)
		return STEP_CLOSE;
	return r->phase == PHASE_DELETE || r->method == METHOD_DELETE ? delete_step(r) : shape_step(r);
}

/* Keeps what the body is needed for, lets the rest pass. */
static void take_body(struct request *r, const char *p, size_t len)
{
	conn_body(r->conn);
	if (!r->body_wanted || r->body_too_large || r->body_refused)
		return;
	if (r->body.len + len > BODY_BYTES_MAX) {
		r->body_too_large = true;
		return;
	}
	if (atomic_fetch_add(&r->http->body_bytes, len) + len > BODIES_BYTES_MAX)
		r->body_refused = true;
	r->body_counted += (uint32_t)len;
	if (!r->body_refused)
		buf_put(&r->body, p, len);
}

/* ---- libmicrohttpd's callbacks ---------------------------------------------------------------------- */

void *route_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct conn *c = conn_of(mhd);
	(void)cls;
	if (c == NULL)
		return NULL;
	if (c->request != NULL)
		request_free(c->request);
	struct request *r = c->request = request_new(c);
	conn_headers(c);
	r->uri_len = uri == NULL ? 0 : strlen(uri); /* NULL: a line of one word */
	r->uri = mem_strndup(uri == NULL ? "" : uri, r->uri_len);
	if (uri == NULL)
		return r;
	/* The library would go on to keep each parameter in a structure of its own, which for a long query string
	 * take more memory than there is for the connection. We read them from our copy: let it see none. */
	char *mark = memchr((char *)(uintptr_t)uri, '?', r->uri_len);
	if (mark != NULL)
		mark[1] = '\0';
	return r;
}

static enum MHD_Result first_call(struct request *r, const char *method, const char *version)
{
	struct header_scan scan = {.r = r};
	r->headers_seen = true;
	conn_learn_pool(r->conn, method);
	r->method = (uint8_t)method_of(method);
	const char *mark = memchr(r->uri, '?', r->uri_len);
	r->path = (uint8_t)route_path(r->uri, mark == NULL ? r->uri_len : (size_t)(mark - r->uri));
	if (r->http->config->log_level == LOG_DEBUG)
		log_request(r, method);
	MHD_get_connection_values(r->conn->mhd, MHD_HEADER_KIND, scan_header, &scan);
	r->persistent = strcmp(version, "HTTP/1.1") == 0;
	r->close = r->close || !r->persistent;
	arrival_fields_end(&scan.fields, r->persistent);
	r->too_long = strlen(method) + 1 + r->uri_len + 1 + strlen(version) > ARRIVAL_LINE_BYTES_MAX;
	/* Queued before the body was read: the library closes the connection afterwards. */
	if (scan.fields.status != 0 || r->too_long)
		return reply_empty(r, r->too_long ? 414 : scan.fields.status) == STEP_DONE ? MHD_YES : MHD_NO;
	r->body_too_large = scan.fields.length > BODY_BYTES_MAX;
	if (scan.fields.length > BODY_DISCARD_BYTES_MAX) {
		r->close = true;
		return reply_body_error(r, 413, "Request body too large", NULL) == STEP_DONE ? MHD_YES : MHD_NO;
	}
	r->body_wanted = wants_body(r);
	return MHD_YES;
}

enum MHD_Result route_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                             const char *version, const char *upload, size_t *upload_len, void **context)
{
	struct request *r = *context;
	(void)cls;
	(void)mhd;
	(void)url;
	if (r == NULL || r->conn->state == CONN_CLOSING) /* closing: the client was taken away, conn_leave() */
		return MHD_NO;
	if (!r->headers_seen)
		return first_call(r, method, version);
	if (*upload_len > 0) {
		take_body(r, upload, *upload_len);
		*upload_len = 0;
		return MHD_YES;
	}
	enum step step;
	if (r->waiting)
		step = resume(r);
	else {
		if (!conn_request_read(r->conn))
			r->close = true;
		step = start(r);
	}
	arena_reset(&r->conn->loop->scratch);
	return step == STEP_DONE ? MHD_YES : MHD_NO;
}

void route_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why)
{
	struct request *r = *context;
	(void)cls;
	(void)mhd;
	if (r == NULL)
		return;
	struct conn *c = r->conn;
	bool complete = why == MHD_REQUEST_TERMINATED_COMPLETED_OK, close = r->close, stays = r->persistent;
	*context = NULL;
	request_free(r);
	if (complete && !close)
		conn_idle(c, stays);
	else
		conn_closing(c, complete);
}

void route_closed(struct conn *c)
{
	if (c->request != NULL)
		request_free(c->request);
}
