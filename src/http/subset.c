/*
 * subset.c - answers to subset requests: what is asked for, waiting for the query, its rows as they come.
 *
 * The response begins with the query's first rows, or its end: until then it can still be a 400. Later an
 * error cuts the connection, so that half an answer never looks like a whole one.
 */
#include "http/subset.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/admit.h"
#include "http/condition.h"
#include "http/hold.h"
#include "http/lines.h"
#include "http/note.h"
#include "http/reply.h"

#define SUBSET_SQL_BYTES_MAX (8u << 20) /* of a condition, and of an order */
#define SUBSET_RETRY_MIN_MS 5000
#define SUBSET_RETRY_MAX_MS 60000
#define QUERY_LOST "The subset query makes no progress, please retry"

/* What a request keeps of its subset. */
struct subset_request {
	struct shape_def def;  /* as the request has it */
	char *where, *order_by; /* SQL of our making, NULL: none */
	bool where_may_fail;
	int64_t limit, offset;
	uint64_t counted;      /* of http.body_bytes */
	struct log_offset to;  /* electric-offset */
	struct subset *query;  /* NULL: not begun, or the response has it */
	struct subset_body *body;
};

#define BODY_MAGIC 0x53756273u

struct subset_body {
	unsigned magic; /* BODY_MAGIC as long as it is there */
	struct request *r; /* NULL once that has ended: the library lets go of a response before or after */
	struct subset *query;
	struct buf out;    /* ready for the client */
	size_t sent;
	bool first, ended;
};

static int64_t now(const struct request *r) { return r->conn->loop->now_ms; }

static void subset_request_free(struct request *r)
{
	struct subset_request *q = r->subset;
	if (q == NULL)
		return;
	request_cancel(r);
	if (q->body != NULL)
		q->body->r = NULL;
	subset_free(q->query);
	atomic_fetch_sub(&r->http->body_bytes, q->counted);
	shape_def_clear(&q->def);
	free(q->where);
	free(q->order_by);
	free(q);
	r->subset = NULL;
}

/* ---- complaints ------------------------------------------------------------------------------------- */

/* {"message":"Invalid request","errors":{"subset":{…}}} */
static enum step reply_subset_errors(struct request *r, const struct params_errors *e)
{
	if (reply_tells_gone(r))
		return reply_must_refetch(r, NULL, (enum reason)r->why);
	struct reply p;
	struct buf body = BUF_INIT(BODY_BYTES_MAX * 7u);
	reply_begin_shape(r, &p, 400, NULL, TYPE_JSON);
	buf_puts(&body, "{\"message\":\"Invalid request\",\"errors\":{\"subset\":{");
	for (size_t i = 0; i < e->count; i++) {
		if (i > 0)
			buf_putc(&body, ',');
		buf_json_string(&body, e->list[i].field, strlen(e->list[i].field));
		buf_puts(&body, ":[");
		buf_json_string(&body, e->list[i].text, strlen(e->list[i].text));
		buf_putc(&body, ']');
	}
	buf_puts(&body, "}}}");
	return reply_buf(r, &p, &body);
}

static enum step reply_subset_error(struct request *r, const char *field, const char *text)
{
	struct params_errors e = {.count = 0};
	params_error(&e, field, text);
	return reply_subset_errors(r, &e);
}

/* COMPAT: a value that Postgres refuses comes as a bare string. */
static enum step reply_bad_value(struct request *r, const char *text)
{
	if (reply_tells_gone(r))
		return reply_must_refetch(r, NULL, (enum reason)r->why);
	struct reply p;
	struct buf body = BUF_INIT(1u << 20);
	reply_begin_shape(r, &p, 400, NULL, TYPE_JSON);
	buf_puts(&body, "{\"message\":\"Invalid request\",\"errors\":{\"subset\":{\"where\":");
	buf_json_string(&body, text, strlen(text));
	buf_puts(&body, "}}}");
	return reply_buf(r, &p, &body);
}

/* ---- what is asked for ------------------------------------------------------------------------------ */

/* Else Postgres would refuse the query, which looks like something that passes. */
static enum step check_readable(struct request *r, const struct pg_table *table, const bool *wanted, const char *field)
{
	struct def_error complaint;
	const char *role = r->http->config->pooled_database.user;
	if (def_check_readable(&r->conn->loop->scratch, table, wanted, role, field, &complaint) == 0)
		return STEP_NEXT;
	return complaint.field == NULL ? reply_refused(r, REASON_POSTGRES_REFUSES, complaint.text, 10, true)
	                               : reply_subset_error(r, complaint.field, complaint.text);
}

static enum step prepare_where(struct request *r, const struct subset_params *p, const struct pg_table *table,
                               const bool *columns)
{
	char message[WHERE_MESSAGE_MAX];
	struct where_params values;
	struct where *condition;
	struct params_errors errors = {.count = 0};
	if (condition_params(&r->conn->loop->scratch, p->params, "params", &values, &errors) < 0)
		return reply_subset_errors(r, &errors);
	if (where_parse(table, NULL, p->where, p->where_len, &values, columns, true, &condition, message) < 0)
		return reply_subset_error(r, "where", message);
	bool *uses = arena_alloc(&r->conn->loop->scratch, table->ncolumns + 1u);
	for (uint16_t i = 0; i < table->ncolumns; i++)
		uses[i] = where_uses(condition, i);
	struct buf sql = BUF_INIT(SUBSET_SQL_BYTES_MAX);
	where_sql(condition, &sql);
	r->subset->where_may_fail = where_may_fail(condition);
	where_free(condition);
	bool failed = sql.failed;
	r->subset->counted += sql.len;
	r->subset->where = failed ? NULL : buf_detach(&sql, NULL);
	buf_clear(&sql);
	if (failed)
		return reply_subset_error(r, "where", "the condition is too long with its parameters");
	return check_readable(r, table, uses, "where");
}

static enum step prepare_order(struct request *r, const struct subset_params *p, const struct pg_table *table,
                               const bool *columns)
{
	char message[WHERE_MESSAGE_MAX];
	struct buf sql = BUF_INIT(SUBSET_SQL_BYTES_MAX);
	bool *uses = arena_alloc(&r->conn->loop->scratch, table->ncolumns + 1u);
	int rc = where_order_by(table, p->order_by, p->order_by_len, columns, &sql, uses, message);
	r->subset->counted += sql.len;
	r->subset->order_by = rc == 0 ? buf_detach(&sql, NULL) : NULL;
	buf_clear(&sql);
	return rc == 0 ? check_readable(r, table, uses, "order_by") : reply_subset_error(r, "order_by", message);
}

enum step subset_prepare(struct request *r, const struct shape_params *p, const struct shape_def *def)
{
	struct arena *a = &r->conn->loop->scratch;
	struct subset_params subset;
	struct params_errors errors;
	subset_request_free(r);
	if (params_check_subset(a, p->subset, &subset, &errors) < 0)
		return reply_subset_errors(r, &errors);
	struct subset_request *q = r->subset = mem_zalloc(sizeof *q);
	r->release[HELD_SUBSET] = subset_request_free;
	shape_def_copy(&q->def, def);
	q->limit = subset.limit;
	q->offset = subset.offset;
	const bool *columns = def_queryable(a, def->table, &p->def);
	enum step step = STEP_NEXT;
	if (subset.order_by != NULL)
		step = prepare_order(r, &subset, def->table, columns);
	if (step == STEP_NEXT && subset.where != NULL)
		step = prepare_where(r, &subset, def->table, columns);
	/* What waits for a session is kept; like bodies, it is bounded for all requests together. */
	if (atomic_fetch_add(&r->http->body_bytes, q->counted) + q->counted > (uint64_t)r->http->config->body_memory && step == STEP_NEXT)
		step = reply_refused(r, REASON_LIMIT_BODIES, "Too many large requests at once, please retry", 5, false);
	return step;
}

/* ---- the body --------------------------------------------------------------------------------------- */

static void body_free(void *cls)
{
	struct subset_body *b = cls;
	REQUIRE(b->magic == BODY_MAGIC);
	if (b->r != NULL) {
		request_cancel(b->r); /* it may wait for the query */
		b->r->subset->body = NULL;
	}
	subset_free(b->query);
	buf_clear(&b->out);
	b->magic = 0;
	free(b);
}

static struct subset_body *body_new(struct request *r)
{
	struct subset_body *b = mem_zalloc(sizeof *b);
	b->magic = BODY_MAGIC;
	b->r = r;
	b->query = r->subset->query;
	r->subset->query = NULL;
	r->subset->body = b;
	b->first = true;
	buf_init(&b->out, SIZE_MAX / 2);
	buf_puts(&b->out, "{\"metadata\":");
	subset_metadata(b->query, &b->out);
	buf_puts(&b->out, ", \"data\": [");
	return b;
}

/* More to send in `out`, or the connection is parked. false: it is over. */
static bool body_fill(struct subset_body *b)
{
	struct request *r = b->r;
	struct buf lines = BUF_INIT(SIZE_MAX / 2);
	struct err e;
	err_clear(&e);
	bool fine = true;
	switch (subset_next(b->query, &lines, PAGE_BYTES_MAX, &r->waiter, &e)) {
	case SUBSET_ROWS:
		put_lines(&b->out, lines.data, lines.len, false, &b->first);
		break;
	case SUBSET_END:
		buf_puts(&b->out, "]}");
		b->ended = true;
		break;
	case SUBSET_FAILED:
		err_hide_values(&e);
		log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "a subset of shape %s ends early: %s", shape_handle(r->shape),
		           e.text);
		fine = false;
		break;
	default:
		fine = !r->conn->loop->stopping && shapes_currency(r->http->shapes) != SHAPES_FOREIGN &&
		       request_park(r, now(r) + SUBSET_START_MAX_MS) == STEP_DONE;
		break;
	}
	buf_clear(&lines);
	return fine;
}

static ssize_t body_read(void *cls, uint64_t at, char *to, size_t max)
{
	struct subset_body *b = cls;
	struct request *r = b->r;
	REQUIRE(b->magic == BODY_MAGIC && r->magic == REQUEST_MAGIC && b->sent <= b->out.len);
	(void)at;
	if (b->sent >= b->out.len) {
		if (b->ended)
			return MHD_CONTENT_READER_END_OF_STREAM;
		request_cancel(r);
		buf_clear(&b->out);
		b->sent = 0;
		/* Nobody there to read: the query ends with the response. */
		if (r->conn->cut || r->conn->hungup || !body_fill(b))
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (b->out.len == 0)
			return 0;
	}
	size_t n = b->out.len - b->sent < max ? b->out.len - b->sent : max;
	memcpy(to, b->out.data + b->sent, n);
	b->sent += n;
	return (ssize_t)n;
}

/* ---- waiting for it --------------------------------------------------------------------------------- */

static enum step reply_rows(struct request *r)
{
	struct reply p;
	char to[LOG_OFFSET_TEXT_MAX];
	reply_begin_shape(r, &p, 200, "no-cache", TYPE_JSON);
	reply_header(&p, "electric-handle", shape_handle(r->shape));
	if (!r->live)
		reply_header(&p, "electric-schema", shape_schema_header(r->shape));
	reply_header(&p, "electric-offset", log_offset_text(r->subset->to, to));
	reply_header(&p, "electric-snapshot", "true");
	return reply_source(r, &p, body_read, body_new(r), body_free);
}

/* Postgres's classes of errors that pass: resources, locks and conflicts, the server going away. */
static bool passes(const char *sqlstate)
{
	static const char *const classes[] = {"08", "40", "53", "55", "57", "58"};
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

/*
 * An error of data may quote a value of a row: one that the shape's own condition hides, or of a column that isn't
 * selected. A constant of the client's condition, all of it, can be shown: a part of one may be what a row has.
 */
static bool may_quote(const struct subset_request *q, const char *text)
{
	const char *first = strchr(text, '"'), *last = strrchr(text, '"');
	if (q->def.where == NULL && q->def.nselected == q->def.table->ncolumns)
		return true;
	if (first == NULL || q->where == NULL)
		return false;
	size_t len = (size_t)(last - first);
	return len > 1 && where_sql_holds(q->where, first + 1, len - 1);
}

static enum step reply_failed(struct request *r, struct err *e)
{
	if (err_may_quote(e)) {
		if (!may_quote(r->subset, e->text))
			err_hide_values(e);
		return reply_bad_value(r, e->text);
	}
	switch (e->kind) {
	case ERR_NOT_FOUND:
		note_refetch(r, err_reason(e), e->text);
		return reply_must_refetch(r, NULL, err_reason(e));
	case ERR_REQUEST:
		return reply_subset_error(r, "where", e->text);
	case ERR_TIMEOUT:
	case ERR_CONFIG:
	case ERR_PG_CONN:
	case ERR_LIMIT:
	case ERR_CANCELLED:
		return reply_refused(r, err_reason(e), e->text, 10, true);
	default:
		break;
	}
	/* 42501 is about the role's rights, as when a shape is made. */
	if (e->kind == ERR_PG && (passes(e->sqlstate) || strcmp(e->sqlstate, "42501") == 0))
		return reply_refused(r, err_reason(e), e->text, 10, true);
	log_seldom(LOG_ERROR, log_repeat_key(0, e->text, strlen(e->text)), "a subset of shape %s: %s", shape_handle(r->shape), e->text);
	return reply_message(r, 500, e->text, 0, false);
}

/* The address at the other end; of IPv6 the half that one network has. */
static uint64_t address_of(const struct conn *c)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof addr;
	uint64_t from = 0;
	if (getpeername(c->fd, (struct sockaddr *)&addr, &len) != 0)
		return 0;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&addr;
	if (addr.ss_family == AF_INET)
		from = ((const struct sockaddr_in *)&addr)->sin_addr.s_addr;
	else if (addr.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		memcpy(&from, v6->sin6_addr.s6_addr + 12, 4);
	else if (addr.ss_family == AF_INET6)
		memcpy(&from, v6->sin6_addr.s6_addr, 8);
	return from;
}

static enum step reply_too_many(struct request *r)
{
	int64_t wait_ms = shapes_subset_wait_ms(r->http->shapes);
	if (wait_ms < SUBSET_RETRY_MIN_MS)
		wait_ms = SUBSET_RETRY_MIN_MS;
	if (wait_ms > SUBSET_RETRY_MAX_MS)
		wait_ms = SUBSET_RETRY_MAX_MS;
	return reply_refused(r, REASON_LIMIT_SUBSETS,
	                     "Too many subset queries at once, please retry", admit_retry_after(r, wait_ms), false);
}

static enum step begin_query(struct request *r)
{
	struct subset_request *q = r->subset;
	enum step step = hold_ready(r);
	if (step != STEP_NEXT)
		return step;
	struct subset_spec spec = {.def = &q->def, .where = q->where, .where_may_fail = q->where_may_fail, .order_by = q->order_by, .limit = q->limit,
	                           .offset = q->offset, .shape = r->shape, .from = address_of(r->conn)};
	q->query = shapes_subset_start(r->http->shapes, &spec);
	if (q->query == NULL)
		return reply_too_many(r);
	r->phase_began_ms = now(r);
	return STEP_NEXT;
}

enum step subset_step(struct request *r)
{
	struct subset_request *q = r->subset;
	struct err e;
	err_clear(&e);
	if (q->query == NULL) {
		enum step step = begin_query(r);
		if (step != STEP_NEXT)
			return step;
	}
	request_cancel(r);
	int64_t until;
	switch (subset_look(q->query, &r->waiter, &e)) {
	case SUBSET_QUEUED:
		until = r->phase_began_ms + SUBSET_QUEUE_MAX_MS;
		if (now(r) < until && !r->conn->loop->stopping)
			return request_park(r, until);
		return reply_too_many(r);
	case SUBSET_RUNNING:
		until = r->phase_began_ms + SUBSET_START_MAX_MS;
		if (now(r) < until && !r->conn->loop->stopping)
			return request_park(r, until);
		return reply_refused(r, r->conn->loop->stopping ? REASON_STOPPING : REASON_POSTGRES_SLOW, QUERY_LOST, 10, true);
	case SUBSET_FAILED:
		return reply_failed(r, &e);
	default:
		break;
	}
	/* The shape may have gone meanwhile; its rows would belong to no log. */
	enum shape_state state = shape_started(r->shape, &r->waiter, &e);
	request_cancel(r);
	if (state == SHAPE_GONE || state == SHAPE_FAILED)
		return reply_must_refetch(r, NULL, shape_why(r->shape));
	return reply_rows(r);
}

enum step subset_start(struct request *r, const struct shape_slice *slice)
{
	request_cancel(r);
	/* Official clients go on from there: it must lie before the snapshot, and be no further than what they have.
	 * (The original names the end of what it would have sent.) */
	r->subset->to = r->offset_kind == OFFSET_AT && !slice->empty ? r->offset : slice->to;
	r->phase = PHASE_SUBSET;
	r->phase_began_ms = now(r);
	return subset_step(r);
}
