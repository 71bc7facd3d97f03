/* reply.c - see reply.h. The order of the headers is that of docs/protocol.md 1.4 and 4.4. */
#include "http/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/metrics.h"
#include "http/note.h"
#include "http/refusal.h"
#include "http/work.h"

#define EXPOSED_HEADERS \
	"electric-cursor,electric-handle,electric-has-data,electric-offset,electric-schema,electric-up-to-date," \
	"electric-internal-known-error,retry-after,electric-snapshot,electric-reason"
#define REQUEST_ID_BYTES_MIN 20
#define REQUEST_ID_BYTES_MAX 200
#define ID_NAME "x-request-id"

static const char too_wide[] =
	"{\"message\":\"The headers of this response are too large. Please list fewer columns in the 'columns' parameter\"}";

/* ---- headers ---------------------------------------------------------------------------------------- */

void reply_header(struct reply *p, const char *name, const char *value)
{
	buf_put(&p->headers, name, strlen(name) + 1);
	buf_put(&p->headers, value, strlen(value) + 1);
}

void reply_headerf(struct reply *p, const char *name, const char *fmt, ...)
{
	char value[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	reply_header(p, name, value);
}

static bool own_request_id(const struct request *r)
{
	size_t len = r->request_id == NULL ? 0 : strlen(r->request_id);
	return len >= REQUEST_ID_BYTES_MIN && len <= REQUEST_ID_BYTES_MAX;
}

void reply_begin(struct request *r, struct reply *p, unsigned status, const char *cache, bool cors)
{
	p->status = status;
	buf_init(&p->headers, RESPONSE_HEADERS_BYTES_MAX);
	if (status != 204)
		reply_header(p, "vary", "accept-encoding");
	if (cache != NULL)
		reply_header(p, "cache-control", cache);
	/* A fresh id is put in later, so that responses that differ in it only can be shared. */
	reply_header(p, ID_NAME, own_request_id(r) ? r->request_id : "");
	reply_header(p, "electric-server", "Busbar/" BUSBAR_VERSION);
	if (!cors)
		return;
	reply_header(p, "access-control-allow-origin", r->origins == 1 && r->origin[0] != '\0' ? r->origin : "*");
	reply_header(p, "access-control-expose-headers", EXPOSED_HEADERS);
	bool shape = r->path == PATH_SHAPE && r->method != METHOD_OTHER;
	reply_header(p, "access-control-allow-methods", shape ? "GET, POST, HEAD, DELETE, OPTIONS" : "GET, HEAD");
}

void reply_begin_shape(struct request *r, struct reply *p, unsigned status, const char *cache, const char *type)
{
	bool cached = r->method == METHOD_GET || r->method == METHOD_HEAD;
	if (!cached)
		cache = "no-cache";
	else if (status >= 400 && status != 409)
		cache = "no-store";
	reply_begin(r, p, status, cache, true);
	if (type != NULL)
		reply_header(p, "content-type", type);
	if (cached && status >= 400 && status != 409)
		reply_header(p, "surrogate-control", "no-store");
}

/* ---- queueing --------------------------------------------------------------------------------------- */

/* `value`, or where that is empty a fresh one. */
static const char *request_id(struct request *r, const char *value, char id[32])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	if (value[0] != '\0')
		return value;
	uint64_t a = loop_random(r->conn->loop), b = loop_random(r->conn->loop);
	for (int i = 0; i < 20; i++)
		id[i] = letters[(i < 10 ? a : b) >> (i % 10 * 6) & 63];
	id[20] = '\0';
	return id;
}

static void add_header(struct request *r, struct MHD_Response *response, const char *name, const char *value)
{
	char id[32];
	if (strcmp(name, ID_NAME) == 0)
		value = request_id(r, value, id);
	/* This one is the library's own; it only has to be told. */
	if (strcmp(name, "connection") == 0 && strcmp(value, "keep-alive") == 0) {
		MHD_set_response_options(response, MHD_RF_SEND_KEEP_ALIVE_HEADER, MHD_RO_END);
		return;
	}
	/* libmicrohttpd has no empty values; a blank is trimmed by every reader. */
	MHD_add_response_header(response, name, value[0] == '\0' ? " " : value);
}

static void add_headers(struct request *r, const struct reply *p, struct MHD_Response *response)
{
	const char *at = p->headers.data, *end = at + p->headers.len;
	while (at < end) {
		const char *value = at + strlen(at) + 1;
		add_header(r, response, at, value);
		at = value + strlen(value) + 1;
	}
}

/* The connection's last request, by its own wish or ours: said in the response. */
static void decide_close(struct request *r, struct reply *p)
{
	int64_t max = r->http->config->conn_max_requests;
	if (r->conn->loop->stopping || (max > 0 && r->conn->requests + 1 >= max))
		r->close = true;
	if (r->close)
		reply_header(p, "connection", "close");
}

static void count_answer(const struct request *r, unsigned status)
{
	static const unsigned known[] = {200, 204, 304, 400, 401, 404, 405, 409, 413, 500, 503}; /* the metric's labels; the last: others */
	unsigned i = 0;
	while (i < ARRAY_LEN(known) && known[i] != status)
		i++;
	if (r->path == PATH_SHAPE)
		metric_add_label(METRIC_E_REQUESTS, i, 1);
}

static enum step queue(struct request *r, unsigned status, struct MHD_Response *response)
{
	if (MHD_queue_response(r->conn->mhd, status, response) != MHD_YES)
		return STEP_CLOSE;
	count_answer(r, status);
	conn_sending(r->conn);
	return STEP_DONE;
}

/* Headers that don't fit the daemon's memory beside the request's would end the connection without a word. */
static bool headers_fit(struct request *r, struct reply *p)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
	size_t request_bytes = info == NULL ? ARRIVAL_LINE_BYTES_MAX : info->header_size;
	size_t pool_bytes = r->conn->daemon->pool_bytes;
	if (!p->headers.failed && p->headers.len + request_bytes + HEADERS_OVERHEAD_BYTES <= pool_bytes)
		return true;
	log_seldom(LOG_ERROR, log_repeat_key(0, "headers", 7), "the headers of a response take more than the %zu bytes there are for a connection: has the table several "
	          "hundred columns? Name fewer in 'columns'", pool_bytes);
	buf_clear(&p->headers);
	reply_begin_shape(r, p, 500, NULL, TYPE_JSON);
	return false;
}

static enum step queue_new(struct request *r, struct reply *p, struct MHD_Response *response)
{
	enum step step = STEP_CLOSE;
	if (response != NULL) {
		add_headers(r, p, response);
		step = queue(r, p->status, response);
		MHD_destroy_response(response);
	}
	buf_clear(&p->headers);
	return step;
}

enum step reply_text(struct request *r, struct reply *p, const char *body, size_t len)
{
	if (!headers_fit(r, p)) {
		body = too_wide;
		len = sizeof too_wide - 1;
	}
	decide_close(r, p);
	return queue_new(r, p, MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY));
}

enum step reply_buf(struct request *r, struct reply *p, struct buf *body)
{
	enum step step = reply_text(r, p, body->data == NULL ? "" : body->data, body->len);
	buf_clear(body);
	return step;
}

static void free_page(void *cls) { page_unref(cls); }

enum step reply_page(struct request *r, struct reply *p, struct page *page)
{
	struct page_cache *cache = r->conn->loop->work->pages;
	if (!headers_fit(r, p)) {
		page_unref(page);
		return reply_text(r, p, too_wide, sizeof too_wide - 1);
	}
	decide_close(r, p);
	bool share = !own_request_id(r);
	struct MHD_Response *response =
		share ? pages_find_response(cache, page, p->headers.data, p->headers.len) : NULL;
	if (response != NULL) {
		enum step step = queue(r, p->status, response);
		buf_clear(&p->headers);
		page_unref(page);
		return step;
	}
	response = MHD_create_response_from_buffer_with_free_callback_cls(page->len, page->data, free_page, page);
	if (response == NULL) {
		page_unref(page);
		buf_clear(&p->headers);
		return STEP_CLOSE;
	}
	add_headers(r, p, response);
	enum step step = queue(r, p->status, response);
	if (!share || !pages_add_response(cache, page, p->headers.data, p->headers.len, response))
		MHD_destroy_response(response);
	buf_clear(&p->headers);
	return step;
}

/* `block`: bytes that the library asks for at a time; not where the body is chunked, which takes the daemon's memory. */
static enum step reply_read(struct request *r, struct reply *p, uint64_t size, size_t block, MHD_ContentReaderCallback read,
                            void *source, void (*free_source)(void *))
{
	if (!headers_fit(r, p)) {
		free_source(source);
		return reply_text(r, p, too_wide, sizeof too_wide - 1);
	}
	decide_close(r, p);
	struct MHD_Response *response = MHD_create_response_from_callback(size, block, read, source, free_source);
	if (response == NULL)
		free_source(source);
	return queue_new(r, p, response);
}

enum step reply_source(struct request *r, struct reply *p, MHD_ContentReaderCallback read, void *source,
                       void (*free_source)(void *))
{
	if (r->method == METHOD_HEAD) { /* the library would send the end of a chunked body that isn't there */
		free_source(source);
		return reply_text(r, p, "", 0);
	}
	return reply_read(r, p, MHD_SIZE_UNKNOWN, r->persistent ? 64 : 16384, read, source, free_source);
}

enum step reply_sized(struct request *r, struct reply *p, uint64_t size, size_t block, MHD_ContentReaderCallback read,
                      void *source, void (*free_source)(void *))
{
	return reply_read(r, p, size, block, read, source, free_source);
}

/* ---- by our own hand -------------------------------------------------------------------------------- */

static void put_head(struct request *r, const struct reply *p, struct buf *out)
{
	char id[32];
	const char *at = p->headers.data, *end = at + p->headers.len;
	refusal_begin(out, p->status);
	while (at < end) {
		const char *value = at + strlen(at) + 1;
		buf_printf(out, "%s: %s\r\n", at, strcmp(at, ID_NAME) == 0 ? request_id(r, value, id) : value);
		at = value + strlen(value) + 1;
	}
	buf_puts(out, "\r\n");
}

static ssize_t no_body(void *cls, uint64_t at, char *to, size_t max)
{
	(void)cls;
	(void)at;
	(void)to;
	(void)max;
	return MHD_CONTENT_READER_END_OF_STREAM;
}

/*
 * The library would say Content-Length: 0, which a cache could take for the length of what it has. So it doesn't get to
 * say anything: the client is taken away from it. Where that can't be, a response of which it doesn't know the length,
 * ended by the connection's end.
 */
enum step reply_not_modified(struct request *r, struct reply *p)
{
	struct conn *to = NULL;
	decide_close(r, p);
	if (!r->close && r->conn->settled && r->conn->pending == 1 && !r->conn->hungup) {
		conn_suspend(r->conn);
		to = conn_leave(r->conn);
		if (to == NULL)
			conn_rouse(r->conn);
	}
	if (to == NULL) {
		if (!r->close)
			reply_header(p, "connection", "close");
		r->close = true;
		struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64, no_body, NULL, NULL);
		if (response != NULL)
			MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
		return queue_new(r, p, response);
	}
	struct buf out = BUF_INIT(2 * RESPONSE_HEADERS_BYTES_MAX);
	put_head(r, p, &out);
	to->requests++;
	count_answer(r, p->status);
	if (out.failed || send(to->fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)out.len)
		conn_cut(to);
	buf_clear(&out);
	buf_clear(&p->headers);
	return STEP_DONE; /* route_handle() ends what is left to the library */
}

/* ---- whole answers ---------------------------------------------------------------------------------- */

enum step reply_empty(struct request *r, unsigned status)
{
	struct reply p = {.status = status, .headers = BUF_INIT(64)};
	r->close = true;
	return reply_text(r, &p, "", 0);
}

enum step reply_not_found(struct request *r)
{
	struct reply p;
	reply_begin(r, &p, 404, CACHE_DEFAULT, true);
	return reply_text(r, &p, "Not found", strlen("Not found"));
}

enum step reply_unauthorized(struct request *r)
{
	static const char body[] = "{\"message\":\"Unauthorized - Invalid API secret\"}";
	struct reply p;
	reply_begin(r, &p, 401, CACHE_DEFAULT, false);
	return reply_text(r, &p, body, sizeof body - 1);
}

bool reply_tells_gone(const struct request *r)
{
	return r->gone_first && shapes_currency(r->http->shapes) == SHAPES_CURRENT;
}

enum step reply_errors(struct request *r, const struct params_errors *e)
{
	if (reply_tells_gone(r))
		return reply_must_refetch(r, NULL, (enum reason)r->why);
	struct reply p;
	struct buf body = BUF_INIT(BODY_BYTES_MAX * 7u);
	reply_begin_shape(r, &p, 400, NULL, TYPE_JSON);
	params_errors_json(e, &body);
	return reply_buf(r, &p, &body);
}

enum step reply_error(struct request *r, const char *field, const char *text)
{
	struct params_errors e = {.count = 0};
	params_error(&e, field, text);
	return reply_errors(r, &e);
}

void reply_reason(struct reply *p, enum reason why)
{
	REQUIRE(why != REASON_NONE);
	reply_header(p, "electric-reason", reason_code(why));
}

static enum step message(struct request *r, unsigned status, enum reason why, const char *text, const char *cause, int retry_after_s,
                         bool known)
{
	struct reply p;
	struct buf body = BUF_INIT(1u << 20);
	if (reply_tells_gone(r))
		return reply_must_refetch(r, NULL, (enum reason)r->why);
	reply_begin_shape(r, &p, status, NULL, TYPE_JSON);
	if (known)
		reply_header(&p, "electric-internal-known-error", "true");
	if (retry_after_s > 0)
		reply_headerf(&p, "retry-after", "%d", retry_after_s);
	if (why != REASON_NONE) {
		reply_reason(&p, why);
		note_refusal(r, why, cause);
	}
	buf_puts(&body, "{\"message\":");
	buf_json_string(&body, text, strlen(text));
	buf_putc(&body, '}');
	return reply_buf(r, &p, &body);
}

enum step reply_message(struct request *r, unsigned status, const char *text, int retry_after_s, bool known)
{
	REQUIRE(status != 503);
	return message(r, status, REASON_NONE, text, NULL, retry_after_s, known);
}

enum step reply_refused(struct request *r, enum reason why, const char *text, int retry_after_s, bool known)
{
	return reply_refused_by(r, why, text, text, retry_after_s, known);
}

enum step reply_refused_by(struct request *r, enum reason why, const char *text, const char *cause, int retry_after_s, bool known)
{
	REQUIRE(why != REASON_NONE);
	return message(r, 503, why, text, cause, retry_after_s, known);
}

enum step reply_body_error(struct request *r, unsigned status, const char *error, const char *details)
{
	struct reply p;
	struct buf body = BUF_INIT(1u << 20);
	reply_begin(r, &p, status, CACHE_DEFAULT, true);
	reply_header(&p, "content-type", TYPE_JSON);
	buf_puts(&body, "{\"error\":");
	buf_json_string(&body, error, strlen(error));
	if (details != NULL) {
		buf_puts(&body, ",\"details\":");
		buf_json_string(&body, details, strlen(details));
	}
	buf_putc(&body, '}');
	return reply_buf(r, &p, &body);
}

enum step reply_must_refetch(struct request *r, const char *handle, enum reason why)
{
	static const char body[] = "[{\"headers\":{\"control\":\"must-refetch\"}}]";
	struct reply p;
	metric_add_label(METRIC_REFETCHES, why, 1);
	if (why == REASON_UNKNOWN_HANDLE || why == REASON_OTHER_DEFINITION)
		note_refetch(r, why, NULL);
	reply_begin_shape(r, &p, 409, handle != NULL ? "public, max-age=60, must-revalidate"
	                                             : "public, max-age=1, must-revalidate", TYPE_JSON);
	if (handle != NULL) {
		reply_headerf(&p, "etag", "\"%s::\"", handle);
		reply_header(&p, "electric-handle", handle);
	}
	reply_reason(&p, why);
	return reply_text(r, &p, body, sizeof body - 1);
}
