/*
 * get_shape.c - GET, HEAD and POST of /v1/shape: from parameters to the shape, from the shape to what the
 * response covers, waiting where there is something to wait for. The order of the checks is that of
 * docs/protocol.md 2.6; what Busbar does better is said where it is done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "http/admit.h"
#include "http/answer.h"
#include "http/handlers.h"
#include "http/hold.h"
#include "http/note.h"
#include "http/reply.h"
#include "http/resolve.h"
#include "http/subset.h"

#define SLICE_TRIES_MAX 8 /* of asking again at once, before we wait a little */
#define SLICE_RETRY_MS 50
#define WAL_RETRY_AFTER_S 10

static int64_t now(const struct request *r) { return r->conn->loop->now_ms; }
static bool stopping(const struct request *r) { return r->conn->loop->stopping; }

static enum step enter(struct request *r, enum phase phase)
{
	r->phase = (uint8_t)phase;
	r->phase_began_ms = now(r);
	return STEP_NEXT;
}

/* ---- which shape ------------------------------------------------------------------------------------ */

#define GENERATED_COLUMNS_SINCE 180000

static enum step generated_unpublished(struct request *r)
{
	struct buf text = BUF_INIT(2048);
	buf_printf(&text, "Publication \"%s\" does not publish generated columns. This is a feature introduced in PostgreSQL "
	           "18 and requires setting the publication parameter 'publish_generated_columns' to 'stored'. Alternatively, "
	           "you can exclude them from the shape by explicitly listing which columns to fetch in the 'columns' query "
	           "param.",
	           r->http->config->publication_name);
	if (shapes_server_version(r->http->shapes) >= GENERATED_COLUMNS_SINCE)
		buf_printf(&text, " Run, as the publication's owner: ALTER PUBLICATION \"%s\" SET (publish_generated_columns = stored)",
		           r->http->config->publication_name);
	enum step step = reply_refused(r, REASON_POSTGRES_REFUSES, text.data, 10, true);
	buf_clear(&text);
	return step;
}

/* The stream doesn't carry such a column: of a changed row nobody could say whether it matches. */
static enum step generated_condition(struct request *r, const char *column)
{
	struct buf text = BUF_INIT(1024);
	buf_printf(&text, "column %s is generated, and generated columns are not published; use the expression that generates it "
	           "instead", column);
	enum step step = reply_error(r, "where", text.data);
	buf_clear(&text);
	return step;
}

/* Rows that clients couldn't tell apart: one of them would be lost to them. */
static enum step keys_clash(struct request *r, const struct pg_table *t)
{
	struct buf text = BUF_INIT(DEF_TEXT_BYTES_MAX);
	def_keys_clash(t, &text);
	enum step step = reply_error(r, "table", text.failed ? "its primary key does not cover the rows of a child" : text.data);
	buf_clear(&text);
	return step;
}

/* The shape of this definition, made if there is none. */
static enum step find_or_create(struct request *r, const struct shape_def *def)
{
	struct shapes *s = r->http->shapes;
	struct shape *found = shapes_find(s, def);
	if (found == NULL) {
		enum step step = hold_ready(r);
		if (step != STEP_NEXT)
			return step;
		if (def->table->keys == PG_KEYS_CLASH)
			return keys_clash(r, def->table);
		if (def_selects_generated(def) && !shapes_publishes_generated(s))
			return generated_unpublished(r);
		const char *generated = def_where_unpublished(def, shapes_publishes_generated(s));
		if (generated != NULL)
			return generated_condition(r, generated);
		char refusal[WAL_REFUSAL_TEXT_MAX];
		if (shapes_wal_refuses(s, refusal, sizeof refusal))
			return reply_refused(r, REASON_LIMIT_WAL, refusal, WAL_RETRY_AFTER_S, true);
		enum reason reason;
		const char *why;
		int wait_s = shapes_held_back(s, def, &reason, &why);
		if (wait_s > 0)
			return reply_refused(r, reason, why, wait_s, true);
		char full[STORE_FULL_TEXT_MAX];
		if (shapes_full(s, full, sizeof full, &wait_s))
			return reply_refused(r, REASON_LIMIT_STORE, full, wait_s, true);
		struct err e;
		err_clear(&e);
		found = shapes_get(s, def, &e);
		if (found == NULL) {
			log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "cannot create a shape of \"%s\".\"%s\": %s",
			           def->table->schema, def->table->name, e.text);
			return reply_refused_by(r, err_reason(&e), "Failed to create shape, please retry", e.text, 1, false);
		}
	}
	request_set_shape(r, found);
	return STEP_NEXT;
}

static bool same_definition(const struct shape *s, const struct shape_def *def)
{
	const struct shape_def *d = shape_definition(s);
	return d->identity_len == def->identity_len && memcmp(d->identity, def->identity, d->identity_len) == 0;
}

/* docs/protocol.md 3.3 */
static enum step resolve(struct request *r, const struct shape_params *p, struct shape *known,
                         const struct shape_def *def)
{
	if (p->offset_kind == OFFSET_AT && known != NULL && same_definition(known, def)) {
		request_set_shape(r, shape_ref(known));
		return enter(r, PHASE_STARTED);
	}
	enum step step = find_or_create(r, def);
	if (step != STEP_NEXT)
		return step;
	if (p->offset_kind != OFFSET_AT)
		return enter(r, PHASE_STARTED);
	if (p->handle != NULL)
		note_named(r, p->handle, p->handle_len);
	return enter(r, PHASE_CONFLICT);
}

/* A whole number and nothing else; what doesn't fit is as good as absent. */
static bool parse_cursor(const struct pval *v, int64_t *out)
{
	if (v == NULL || v->type != PVAL_STRING || v->len == 0 || v->len > 18)
		return false;
	char *end;
	*out = strtoll(v->p, &end, 10);
	return end == v->p + v->len && v->p[0] != ' ' && v->p[0] != '\t';
}

static enum step body_refusal(struct request *r, enum body_result result, const struct buf *details)
{
	switch (result) {
	case BODY_SYNTAX:
		return reply_body_error(r, 400, "Invalid JSON in request body", details->data);
	case BODY_NOT_OBJECT:
		return reply_body_error(r, 400, "Request body must be a JSON object", NULL);
	default:
		return reply_body_error(r, 413, "Request body too large", NULL);
	}
}

static enum step read_params(struct request *r, struct shape_params *p)
{
	struct arena *a = &r->conn->loop->scratch;
	struct params_errors errors;
	struct pval tree;
	size_t len;
	const char *query = request_query(r, &len);
	if (params_decode_query(a, query, len, &tree) < 0)
		return reply_empty(r, 400);
	r->has_cursor = parse_cursor(pval_get(&tree, "cursor"), &r->cursor);
	if (r->body_too_large)
		return body_refusal(r, BODY_TOO_LARGE, NULL);
	if (r->body_refused)
		return reply_refused(r, REASON_LIMIT_BODIES, "Too many large requests at once, please retry", 5, false);
	struct buf details = BUF_INIT(4096);
	enum body_result result = body_merge(a, r->body.data, r->body.len, &tree, &details);
	enum step step = STEP_NEXT;
	if (result != BODY_OK)
		step = body_refusal(r, result, &details);
	else if (params_check(a, &tree, p, &errors) < 0)
		step = reply_errors(r, &errors);
	buf_clear(&details);
	return step;
}

/* Before its text is understood, which it may not be any more: a column of it may have gone. */
static bool may_have_subqueries(const struct shape_params *p)
{
	static const char word[] = "select";
	for (size_t i = 0; p->where != NULL && i + sizeof word - 1 <= p->where_len; i++)
		if (strncasecmp(p->where + i, word, sizeof word - 1) == 0)
			return true;
	return false;
}

/* That a shape is gone is told when it is durably so: its handle must not come again after a crash. */
static enum step wait_left(struct request *r, const struct shape_params *p)
{
	struct shape *leaving = shapes_leaving(r->http->shapes, p->handle, p->handle_len);
	request_set_shape(r, leaving);
	if (leaving == NULL || !shape_wait_gone(leaving, &r->waiter))
		return STEP_NEXT;
	int64_t until = r->began_ms + SHAPE_START_MAX_MS;
	if (now(r) < until && !stopping(r))
		return request_park(r, until);
	r->gone_first = false;
	return reply_refused(r, stopping(r) ? REASON_STOPPING : REASON_STORE_FAILING,
	                     "The end of this shape could not be stored yet, please retry", 5, false);
}

static enum step phase_start(struct request *r)
{
	struct shape_params p;
	struct shape_def def;
	enum step step = read_params(r, &p);
	r->why = REASON_UNKNOWN_HANDLE;
	if (step != STEP_NEXT)
		return step;
	struct shape *known = p.handle == NULL ? NULL : shapes_by_handle(r->http->shapes, p.handle, p.handle_len);
	if (p.handle != NULL)
		r->why = (uint8_t)(known != NULL ? REASON_OTHER_DEFINITION : shapes_why_gone(p.handle, p.handle_len));
	r->gone_first = p.handle != NULL && known == NULL && p.offset_kind == OFFSET_AT && may_have_subqueries(&p);
	if (r->gone_first && (step = wait_left(r, &p)) != STEP_NEXT)
		return step;
	/* A subset is about the table as it is now. */
	step = resolve_def(r, &p, p.subset == NULL ? known : NULL, &def);
	if (step == STEP_NEXT) {
		if (p.subset != NULL)
			step = params_subset_ok(p.subset) ? subset_prepare(r, &p, &def) : reply_error(r, "subset", "is invalid");
		if (step == STEP_NEXT)
			step = resolve(r, &p, known, &def);
		shape_def_clear(&def);
	}
	shape_unref(known);
	if (step != STEP_NEXT)
		return step;
	r->offset = p.offset;
	r->offset_kind = (uint8_t)p.offset_kind;
	r->live = p.live;
	r->sse = p.sse;
	request_shed(r);
	return STEP_NEXT;
}

/* ---- until it has started --------------------------------------------------------------------------- */

static enum step snapshot_failed(struct request *r, const struct err *e)
{
	char text[sizeof e->text + 64];
	/* What a statement of ours can never do: trying again won't help. Of a bad value the text may quote a row that
	 * the client is not to see. */
	if (err_may_quote(e))
		return reply_message(r, 500, "Unexpected error while creating snapshot: the condition fails on a row of the table", 0,
		                     false);
	bool hopeless = e->kind == ERR_PG && strcmp(e->sqlstate, "42501") != 0 &&
	                (strncmp(e->sqlstate, "42", 2) == 0 || strncmp(e->sqlstate, "54", 2) == 0);
	switch (hopeless ? ERR_PROTOCOL : e->kind) {
	case ERR_NOT_FOUND:
		note_refetch(r, err_reason(e), e->text);
		return reply_must_refetch(r, NULL, err_reason(e));
	case ERR_REQUEST:
		return reply_error(r, "where", e->text);
	case ERR_TIMEOUT:
	case ERR_CONFIG:
	case ERR_PG_CONN:
	case ERR_LIMIT:
	case ERR_PG:
		return reply_refused(r, err_reason(e), e->text, 10, true);
	default:
		snprintf(text, sizeof text, "Unexpected error while creating snapshot: %s", e->text);
		return reply_message(r, 500, text, 0, false);
	}
}

static enum step too_long(struct request *r)
{
	char why[STORE_FAILING_TEXT_MAX], text[STORE_FAILING_TEXT_MAX + 64];
	if (!shapes_store_failing(r->http->shapes, NULL, why, sizeof why))
		return reply_refused(r, REASON_POSTGRES_SLOW,
		                     "Snapshot query took too long to start reading from the database", 10, true);
	snprintf(text, sizeof text, "The storage can't be written: %s", why);
	return reply_refused(r, REASON_STORE_FAILING, text, 10, true);
}

/* STEP_NEXT: durable, and its first rows are there. */
static enum step wait_started(struct request *r)
{
	struct err e;
	err_clear(&e);
	request_cancel(r);
	int64_t until = r->phase_began_ms + SHAPE_START_MAX_MS;
	switch (shape_started(r->shape, &r->waiter, &e)) {
	case SHAPE_CREATING:
		if (stopping(r))
			return reply_refused(r, REASON_STOPPING, "Shutting down, please retry", 1, false);
		if (now(r) < until)
			return request_park(r, until);
		return too_long(r);
	case SHAPE_FAILED:
		return snapshot_failed(r, &e);
	case SHAPE_GONE:
		return reply_must_refetch(r, NULL, shape_why(r->shape));
	default:
		admit_swap(r);
		return STEP_NEXT;
	}
}

static enum step phase_started(struct request *r)
{
	enum step step = wait_started(r);
	if (step != STEP_NEXT)
		return step;
	shape_touch(r->shape);
	return enter(r, PHASE_SLICE);
}

/*
 * Who shows what was revoked is told at once, and where to ask: for that the handle of the successor will do as it is, durable or
 * not, for nothing has been sent of it.
 */
static enum step phase_conflict(struct request *r)
{
	if (r->gone_first)
		return reply_must_refetch(r, shape_handle(r->shape), (enum reason)r->why);
	enum step step = wait_started(r);
	return step == STEP_NEXT ? reply_must_refetch(r, shape_handle(r->shape), (enum reason)r->why) : step;
}

/* The shape with this one's definition, begun if it must be; NULL: not now. */
static struct shape *successor(struct shapes *s, const struct shape *gone)
{
	const struct shape_def *def = shape_definition(gone);
	enum reason reason;
	const char *why;
	struct err e;
	struct shape *found = shapes_find(s, def);
	char text[WAL_REFUSAL_TEXT_MAX > STORE_FULL_TEXT_MAX ? WAL_REFUSAL_TEXT_MAX : STORE_FULL_TEXT_MAX];
	int wait_s;
	bool refused = found == NULL && (shapes_wal_refuses(s, text, sizeof text) || shapes_held_back(s, def, &reason, &why) > 0 ||
	                                 shapes_full(s, text, sizeof text, &wait_s));
	return found != NULL || refused ? found : shapes_get(s, def, &e);
}

/*
 * If all that has changed is what its subqueries select, its definition stands, and another shape takes its place. It is begun for
 * whoever is told, and with its handle they come back as clients of a known shape: a thousand that one commit sends away aren't
 * turned down as newcomers, but wait for snapshots that are on their way already.
 */
static enum step tell_ended(struct request *r)
{
	enum reason why = shape_why(r->shape);
	struct shape *next = why == REASON_SET_CHANGED ? successor(r->http->shapes, r->shape) : NULL;
	enum step step = reply_must_refetch(r, next != NULL ? shape_handle(next) : NULL, why);
	shape_unref(next);
	return step;
}

/* ---- what the response covers ----------------------------------------------------------------------- */

/*
 * The client is ahead of us: after a crash, or because it made the offset up. It is held until the stream
 * has passed it; refused only if the server's own WAL ends before it.
 */
static enum step hold_ahead(struct request *r, int *tries)
{
	struct shapes *s = r->http->shapes;
	int64_t until = r->phase_began_ms + r->http->config->live.long_poll_timeout_ms / 2;
	lsn_t end = shapes_wal_end(s, r->began_ms);
	if (now(r) >= until || stopping(r)) {
		if (end != 0 && end < r->offset.tx)
			return reply_error(r, "offset", "out of bounds for this shape");
		return reply_refused(r, stopping(r) ? REASON_STOPPING : REASON_STREAM_BEHIND,
		                     "The replication stream has not reached this offset yet, please retry", 5, false);
	}
	request_cancel(r);
	if (!shapes_wait_lsn(s, r->offset.tx, &r->waiter) || !shape_wait_change(r->shape, r->offset, &r->rotation)) {
		if (++*tries < SLICE_TRIES_MAX)
			return STEP_NEXT;
		request_cancel(r);
		if (now(r) + SLICE_RETRY_MS < until)
			until = now(r) + SLICE_RETRY_MS;
	}
	return request_park(r, until);
}

/* Live, and nothing new: until there is. */
static enum step hold_live(struct request *r, const struct shape_slice *slice, int *tries)
{
	if (r->live_until_ms == 0)
		r->live_until_ms = now(r) + r->http->config->live.long_poll_timeout_ms;
	if (now(r) >= r->live_until_ms || stopping(r))
		return answer_no_changes(r, slice);
	int64_t until = r->live_until_ms;
	request_cancel(r);
	if (!shape_wait_change(r->shape, slice->to, &r->waiter)) {
		if (++*tries < SLICE_TRIES_MAX)
			return STEP_NEXT;
		if (now(r) + SLICE_RETRY_MS < until)
			until = now(r) + SLICE_RETRY_MS;
	}
	return request_park(r, until);
}

static enum step wait_snapshot(struct request *r)
{
	int64_t until = r->phase_began_ms + SNAPSHOT_PROGRESS_MAX_MS;
	if (now(r) < until && !stopping(r))
		return request_park(r, until);
	return reply_refused(r, stopping(r) ? REASON_STOPPING : REASON_POSTGRES_SLOW,
	                     "The initial snapshot makes no progress, please retry", 10, true);
}

static enum step try_slice(struct request *r, int *tries)
{
	struct shape_slice slice;
	request_cancel(r);
	if (r->offset_kind == OFFSET_NOW)
		shape_slice_now(r->shape, &slice);
	else
		shape_slice(r->shape, r->offset_kind == OFFSET_START, r->offset, &r->waiter, &slice);
	switch (slice.kind) {
	case SLICE_GONE:
		return tell_ended(r);
	case SLICE_WAIT:
		return wait_snapshot(r);
	case SLICE_AHEAD:
		return hold_ahead(r, tries);
	default:
		break;
	}
	if (r->subset != NULL)
		return subset_start(r, &slice);
	if (r->offset_kind == OFFSET_NOW)
		return answer_no_changes(r, &slice);
	if (r->live_until_ms == 0 && answer_etag_matches(r, slice.to))
		return answer_not_modified(r, &slice);
	if (r->sse)
		return answer_sse(r, &slice);
	if (r->live && slice.kind == SLICE_LOG && slice.empty && slice.up_to_date)
		return hold_live(r, &slice, tries);
	return answer_data(r, &slice);
}

static enum step phase_slice(struct request *r)
{
	enum step step;
	int tries = 0;
	do
		step = try_slice(r, &tries);
	while (step == STEP_NEXT);
	return step;
}

/* ---- the machine ------------------------------------------------------------------------------------ */

enum step shape_step(struct request *r)
{
	enum step step = hold_current(r);
	if (step != STEP_NEXT)
		return step;
	for (;;) {
		switch ((enum phase)r->phase) {
		case PHASE_START:
			step = phase_start(r);
			break;
		case PHASE_STARTED:
			step = phase_started(r);
			break;
		case PHASE_CONFLICT:
			step = phase_conflict(r);
			break;
		case PHASE_SUBSET:
			step = subset_step(r);
			break;
		default:
			step = phase_slice(r);
			break;
		}
		if (step != STEP_NEXT)
			return step;
	}
}
