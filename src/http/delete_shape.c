/* delete_shape.c - DELETE /v1/shape (docs/protocol.md 1.9): forgets a shape, never makes one. */
#include <string.h>

#include "http/handlers.h"
#include "http/hold.h"
#include "http/reply.h"
#include "http/resolve.h"

#define MISMATCH \
	"The specified shape definition and handle do not match. Please ensure the shape definition is correct or omit the " \
	"shape handle from the request to obtain a new one."

static enum step accepted(struct request *r)
{
	struct reply p;
	reply_begin_shape(r, &p, 202, NULL, TYPE_JSON);
	reply_header(&p, "electric-has-data", "true");
	return reply_text(r, &p, "", 0);
}

/* Answered only when it is durable: a client must not meet the handle again. */
static enum step wait_gone(struct request *r)
{
	int64_t now = r->conn->loop->now_ms, until = r->phase_began_ms + DELETE_MAX_MS;
	request_cancel(r);
	if (!shape_wait_gone(r->shape, &r->waiter))
		return accepted(r);
	if (now < until && !r->conn->loop->stopping)
		return request_park(r, until);
	return reply_refused(r, r->conn->loop->stopping ? REASON_STOPPING : REASON_STORE_FAILING,
	                     "The deletion could not be stored yet, please retry", 5, false);
}

static enum step find(struct request *r, const struct shape_params *p, struct shape **found)
{
	struct shapes *s = r->http->shapes;
	*found = NULL;
	if (p->table == NULL) {
		*found = shapes_by_handle(s, p->handle, p->handle_len);
		return STEP_NEXT;
	}
	struct shape_def def;
	enum step step = resolve_def(r, p, NULL, &def);
	if (step != STEP_NEXT)
		return step;
	*found = shapes_find(s, &def);
	shape_def_clear(&def);
	return step;
}

static enum step delete_it(struct request *r, const struct shape_params *p)
{
	struct shape *found;
	enum step step = find(r, p, &found);
	if (step != STEP_NEXT)
		return step;
	if (found == NULL)
		return reply_message(r, 404, "No existing shape found", 0, false);
	const char *handle = shape_handle(found);
	if (p->handle != NULL && (strlen(handle) != p->handle_len || memcmp(handle, p->handle, p->handle_len) != 0)) {
		shape_unref(found);
		return reply_message(r, 400, MISMATCH, 0, false);
	}
	request_set_shape(r, found);
	shapes_delete(r->http->shapes, found);
	r->phase = PHASE_DELETE;
	r->phase_began_ms = r->conn->loop->now_ms;
	return wait_gone(r);
}

enum step delete_step(struct request *r)
{
	enum step step = hold_current(r);
	if (step != STEP_NEXT)
		return step;
	if (r->phase == PHASE_DELETE)
		return wait_gone(r);
	step = hold_ready(r);
	if (step != STEP_NEXT)
		return step;
	if (!r->http->config->enable_integration_testing)
		return reply_message(r, 405, "DELETE not allowed", 0, false);
	struct arena *a = &r->conn->loop->scratch;
	struct params_errors errors;
	struct shape_params p;
	struct pval tree;
	size_t len;
	const char *query = request_query(r, &len);
	if (params_decode_query(a, query, len, &tree) < 0)
		return reply_empty(r, 400);
	if (params_check_delete(a, &tree, &p, &errors) < 0)
		return reply_errors(r, &errors);
	return delete_it(r, &p);
}
