/*
 * request.c - see request.h. It calls nobody above it: what hangs on a request and is theirs is let go by their hooks.
 */
#include "http/request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"

/* ---- the life of a request -------------------------------------------------------------------------- */

/* Any thread. */
static void wake(const struct request *r)
{
	REQUIRE(r->magic == REQUEST_MAGIC);
	conn_wake(r->conn);
}

static void request_wake(struct waiter *w) { wake(CONTAINER_OF(w, struct request, waiter)); }
static void request_wake_rotation(struct waiter *w) { wake(CONTAINER_OF(w, struct request, rotation)); }

struct request *request_new(struct conn *c, const char *uri)
{
	REQUIRE(conn_is_ours(c) && c->request == NULL);
	struct request *r = c->request = mem_zalloc(sizeof *r);
	r->magic = REQUEST_MAGIC;
	r->conn = c;
	r->http = c->loop->http;
	r->waiter.wake = request_wake;
	r->rotation.wake = request_wake_rotation;
	r->began_ms = r->phase_began_ms = c->loop->now_ms;
	buf_init(&r->body, BODY_BYTES_MAX + 1);
	r->uri_len = uri == NULL ? 0 : strlen(uri);
	r->uri = mem_strndup(uri == NULL ? "" : uri, r->uri_len);
	return r;
}

void request_cancel(struct request *r)
{
	waiter_cancel(&r->waiter);
	waiter_cancel(&r->rotation);
	r->waiting = false;
	if (r->waits_as != 0)
		metric_add_label(METRIC_WAITERS, r->waits_as - 1u, -1);
	r->waits_as = 0;
}

void request_delivered(struct request *r)
{
	struct change_times t = r->waiter.times;
	if (t.commit_us == 0)
		return;
	r->waiter.times = (struct change_times){0, 0};
	int64_t now_us = clock_wall_us();
	metric_observe(METRIC_LOG_TO_SOCKET, now_us - t.logged_us);
	metric_observe(METRIC_COMMIT_TO_CLIENT, now_us - t.commit_us);
}

void request_set_shape(struct request *r, struct shape *s)
{
	request_cancel(r);
	shape_unref(r->shape);
	r->shape = s;
}

void request_shed(struct request *r)
{
	request_cancel(r);
	if (r->lookup != NULL)
		table_lookup_unref(r->lookup);
	r->lookup = NULL;
	buf_clear(&r->body);
	atomic_fetch_sub(&r->http->body_bytes, r->body_counted);
	metric_add_label(METRIC_MEMORY, MEMORY_BODIES, -(int64_t)r->body_counted);
	r->body_counted = 0;
	free(r->uri);
	r->uri = NULL;
}

void request_free(struct request *r)
{
	if (r == NULL)
		return;
	REQUIRE(r->magic == REQUEST_MAGIC && conn_is_ours(r->conn));
	request_cancel(r);
	shape_unref(r->shape);
	for (size_t i = 0; i < REQUEST_HELD; i++)
		if (r->release[i] != NULL)
			r->release[i](r);
	request_shed(r);
	free(r->named);
	if (r->conn->request == r)
		r->conn->request = NULL;
	r->magic = 0;
	free(r);
}

enum step request_park(struct request *r, int64_t deadline_ms)
{
	REQUIRE(r->conn->request == r);
	r->waiting = true;
	if (r->waits_as == 0) {
		enum metric_waiters kind = r->sse ? WAITERS_SSE : r->live_until_ms != 0 ? WAITERS_LONG_POLL : WAITERS_PARKED;
		metric_add_label(METRIC_WAITERS, kind, 1);
		r->waits_as = (uint8_t)(kind + 1);
	}
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

const char *request_query(const struct request *r, size_t *len)
{
	const char *mark = r->uri == NULL ? NULL : memchr(r->uri, '?', r->uri_len);
	*len = mark == NULL ? 0 : r->uri_len - (size_t)(mark + 1 - r->uri);
	return mark == NULL ? "" : mark + 1;
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

/* ---- the head --------------------------------------------------------------------------------------- */

unsigned request_read_head(struct request *r, const char *method, const char *version, uint64_t *body_bytes)
{
	struct header_scan scan = {.r = r};
	r->headers_seen = true;
	r->method = (uint8_t)method_of(method);
	const char *mark = memchr(r->uri, '?', r->uri_len);
	r->path = (uint8_t)route_path(r->uri, mark == NULL ? r->uri_len : (size_t)(mark - r->uri));
	if (log_shows(LOG_DEBUG))
		log_request(r, method);
	MHD_get_connection_values(r->conn->mhd, MHD_HEADER_KIND, scan_header, &scan);
	r->persistent = strcmp(version, "HTTP/1.1") == 0;
	r->close = r->close || !r->persistent;
	arrival_fields_end(&scan.fields, r->persistent);
	*body_bytes = scan.fields.length;
	if (strlen(method) + 1 + r->uri_len + 1 + strlen(version) > ARRIVAL_LINE_BYTES_MAX)
		return 414;
	r->body_too_large = scan.fields.length > BODY_BYTES_MAX;
	return scan.fields.status;
}

void request_take_body(struct request *r, const char *p, size_t len)
{
	conn_body(r->conn);
	REQUIRE(!r->waiting);
	if (!r->body_wanted || r->body_too_large || r->body_refused)
		return;
	if (r->body.len + len > BODY_BYTES_MAX) {
		r->body_too_large = true;
		return;
	}
	if (atomic_fetch_add(&r->http->body_bytes, len) + len > (uint64_t)r->http->config->body_memory)
		r->body_refused = true;
	r->body_counted += (uint32_t)len;
	metric_add_label(METRIC_MEMORY, MEMORY_BODIES, (int64_t)len);
	if (!r->body_refused)
		buf_put(&r->body, p, len);
}
