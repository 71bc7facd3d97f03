/*
 * route.c - from libmicrohttpd's callbacks to handlers. The path is resolved before anything else is
 * decided, the secret before everything but preflights (the original once let `//v1/shape` pass).
 */
#include "http/route.h"

#include <string.h>

#include "base/log.h"
#include "http/admit.h"
#include "http/handlers.h"
#include "http/reply.h"

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
	const struct config_secrets *want = atomic_load(&r->http->config->secrets);
	if (want == NULL)
		return true;
	const struct pval *given = pval_get(params, "secret");
	if (given == NULL)
		given = pval_get(params, "api_secret");
	if (given == NULL || given->type != PVAL_STRING)
		return false;
	bool now = same_secret(given->p, given->len, want->now);
	/* Compared always, so that the time doesn't show which one it was. */
	bool before = want->previous != NULL && same_secret(given->p, given->len, want->previous);
	if (before && !now)
		log_seldom(LOG_INFO, log_repeat_key(0, "previous", 8), "Requests come with BUSBAR_SECRET_PREVIOUS");
	return now | before;
}

/* ---- the table -------------------------------------------------------------------------------------- */

#define METHOD(name) (1u << METHOD_##name)

struct route {
	enum route_path path;
	unsigned methods; /* METHOD() of each */
	enum step (*start)(struct request *r);
	enum step (*step)(struct request *r); /* NULL: it never parks */
	bool secret; /* is asked for */
	bool body;   /* is read; of all others it passes */
	bool place;  /* takes one (admit.h) */
};

#define GET_OR_HEAD (METHOD(GET) | METHOD(HEAD))

static const struct route routes[] = {
	{.path = PATH_SHAPE, .methods = GET_OR_HEAD, .start = shape_step, .step = shape_step, .secret = true, .place = true},
	{.path = PATH_SHAPE, .methods = METHOD(POST), .start = shape_step, .step = shape_step, .secret = true, .body = true,
	 .place = true},
	{.path = PATH_SHAPE, .methods = METHOD(DELETE), .start = delete_step, .step = delete_step, .secret = true},
	{.path = PATH_SHAPE, .methods = METHOD(OPTIONS), .start = options_start},
	{.path = PATH_HEALTH, .methods = GET_OR_HEAD, .start = health_start},
	{.path = PATH_READY, .methods = GET_OR_HEAD, .start = ready_start},
	{.path = PATH_ROOT, .methods = GET_OR_HEAD, .start = root_start},
};

static const struct route *route_of(const struct request *r)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (routes[i].path == r->path && (routes[i].methods & 1u << r->method) != 0)
			return &routes[i];
	return NULL;
}

/* ---- dispatch --------------------------------------------------------------------------------------- */

/* The headers are there, the body isn't: whether it will be looked at. */
static bool wants_body(struct request *r)
{
	if (r->route == NULL || !r->route->body)
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

static enum step start(struct request *r)
{
	struct pval params;
	size_t len;
	const char *query = request_query(r, &len);
	if (r->route == NULL)
		return reply_not_found(r);
	if (!r->route->secret)
		return r->route->start(r);
	if (params_decode_query(&r->conn->loop->scratch, query, len, &params) < 0)
		return reply_empty(r, 400);
	if (!authorized(r, &params))
		return reply_unauthorized(r);
	if (r->route->place && !take_place(r, &params))
		return admit_refuse(r);
	return r->route->start(r);
}

static enum step resume(struct request *r)
{
	request_cancel(r);
	REQUIRE(r->route != NULL && r->route->step != NULL);
	if (r->conn->hungup || r->conn->cut)
		return STEP_CLOSE;
	return r->route->step(r);
}

/* ---- libmicrohttpd's callbacks ---------------------------------------------------------------------- */

void *route_uri(void *cls, const char *uri, struct MHD_Connection *mhd)
{
	struct conn *c = conn_of(mhd);
	(void)cls;
	if (c == NULL)
		return NULL;
	request_free(c->request);
	struct request *r = request_new(c, uri);
	conn_headers(c);
	/* The library would go on to keep each parameter in a structure of its own, which for a long query string
	 * take more memory than there is for the connection. We read them from our copy: let it see none. */
	char *mark = uri == NULL ? NULL : strchr((char *)(uintptr_t)uri, '?');
	if (mark != NULL)
		mark[1] = '\0';
	return r;
}

/* Answers queued before the body was read: the library closes the connection afterwards. */
static enum MHD_Result first_call(struct request *r, const char *method, const char *version)
{
	uint64_t body_bytes;
	conn_learn_pool(r->conn, method);
	unsigned status = request_read_head(r, method, version, &body_bytes);
	if (status != 0)
		return reply_empty(r, status) == STEP_DONE ? MHD_YES : MHD_NO;
	r->route = route_of(r);
	if (body_bytes > BODY_DISCARD_BYTES_MAX) {
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
	REQUIRE(r == NULL || (r->magic == REQUEST_MAGIC && conn_is_ours(r->conn)));
	if (r == NULL || r->conn->state == CONN_CLOSING) /* closing: the client was taken away, conn_leave() */
		return MHD_NO;
	if (!r->headers_seen)
		return first_call(r, method, version);
	if (*upload_len > 0) {
		request_take_body(r, upload, *upload_len);
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
	REQUIRE(r->magic == REQUEST_MAGIC);
	struct conn *c = r->conn;
	bool complete = why == MHD_REQUEST_TERMINATED_COMPLETED_OK, close = r->close, stays = r->persistent;
	*context = NULL;
	if (complete)
		request_delivered(r);
	request_free(r);
	if (complete && !close)
		conn_idle(c, stays);
	else
		conn_closing(c, complete);
}

void route_closed(struct conn *c) { request_free(c->request); }
