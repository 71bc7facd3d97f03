/*
 * answer.c - answers that carry data: their headers (docs/protocol.md 4), etags, bodies, and whether a
 * body is shared, streamed or a stream of events.
 */
#include "http/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "http/lines.h"
#include "http/stream.h"
#include "http/work.h"

#define CURSOR_EPOCH_S 1728432000 /* 2024-10-09T00:00:00Z */
#define CURSOR_JITTER_S 3600

static int64_t now(const struct request *r) { return r->conn->loop->now_ms; }

/* ---- headers of data -------------------------------------------------------------------------------- */

static const char *request_offset_text(const struct request *r, char text[LOG_OFFSET_TEXT_MAX])
{
	if (r->offset_kind == OFFSET_AT)
		return log_offset_text(r->offset, text);
	return r->offset_kind == OFFSET_START ? "-1" : "now";
}

/*
 * A client that asks again within the interval gets a cursor above its own, by an amount that varies; but
 * the same for all who stood at the same cursor and get the same answer, so that they go on asking alike: one
 * response serves them, and a cache in front collapses their next requests.
 */
static int64_t jitter(struct log_offset to)
{
	uint64_t x = (to.tx ^ to.op * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
	return (int64_t)((x ^ x >> 33) % CURSOR_JITTER_S);
}

static void cursor_text(const struct request *r, struct log_offset to, char text[32])
{
	int64_t interval = r->http->config->live.long_poll_timeout_ms / 1000, next = 0;
	if (interval > 0) {
		int64_t d = clock_wall_us() / 1000000 - CURSOR_EPOCH_S, before = r->has_cursor ? r->cursor : 0;
		next = (d + interval - 1) / interval * interval;
		if (next <= before)
			next = before + 1 + jitter(to);
	}
	snprintf(text, 32, "%lld", (long long)next);
}

#define CACHE_RULE_MAX 128
#define MIN(a, b) ((a) < (b) ? (a) : (b))

static const char *cache_rule(const struct request *r, char text[CACHE_RULE_MAX])
{
	const struct config *c = r->http->config;
	long long most = shape_definition(r->shape)->has_subqueries ? (long long)c->live.subquery_cache_max_age_s : INT64_MAX;
	if (r->offset_kind == OFFSET_START) {
		snprintf(text, CACHE_RULE_MAX, "public, max-age=%lld, s-maxage=%lld, stale-while-revalidate=%lld", MIN(604800, most), MIN(3600, most),
		         MIN(2629746, most));
		return text;
	}
	if (r->live && r->sse) {
		snprintf(text, CACHE_RULE_MAX, "public, max-age=%d", SSE_TOTAL_MS / 1000 - 1);
		return text;
	}
	if (r->live)
		return "public, max-age=5, stale-while-revalidate=5";
	snprintf(text, CACHE_RULE_MAX, "public, max-age=%lld, stale-while-revalidate=%lld", MIN((long long)c->live.cache_max_age_s, most),
	         MIN((long long)c->live.cache_stale_age_s, most));
	return text;
}

struct data_headers {
	unsigned status;
	const char *type;
	struct log_offset etag_to;   /* what the answer covers */
	const char *offset;          /* electric-offset */
	bool schema, up_to_date, has_data, once; /* once: an etag that never matches again */
};

static void begin_data(struct request *r, struct reply *p, const struct data_headers *d)
{
	char cache[CACHE_RULE_MAX], from[LOG_OFFSET_TEXT_MAX], to[LOG_OFFSET_TEXT_MAX], cursor[32];
	const char *handle = shape_handle(r->shape);
	reply_begin_shape(r, p, d->status, cache_rule(r, cache), d->type);
	if (r->live) {
		cursor_text(r, d->etag_to, cursor);
		reply_header(p, "electric-cursor", cursor);
	}
	const char *from_text = request_offset_text(r, from), *to_text = log_offset_text(d->etag_to, to);
	if (d->once)
		reply_headerf(p, "etag", "\"%s:%s:%s:%lld\"", handle, from_text, to_text, (long long)(now(r) / 1000));
	else
		reply_headerf(p, "etag", "\"%s:%s:%s\"", handle, from_text, to_text);
	reply_header(p, "electric-handle", handle);
	if (d->schema)
		reply_header(p, "electric-schema", shape_schema_header(r->shape));
	if (d->up_to_date)
		reply_header(p, "electric-up-to-date", "");
	reply_header(p, "electric-has-data", d->has_data ? "true" : "false");
	reply_header(p, "electric-offset", d->offset);
}

/* ---- If-None-Match ---------------------------------------------------------------------------------- */

struct etag_scan {
	const char *want; /* without quotes */
	bool found;
};

static enum MHD_Result scan_etags(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct etag_scan *scan = cls;
	(void)kind;
	if (value != NULL && strcasecmp(name, "if-none-match") == 0 && params_etag_listed(value, scan->want))
		scan->found = true;
	return MHD_YES;
}

bool answer_etag_matches(struct request *r, struct log_offset to_offset)
{
	char want[256], from[LOG_OFFSET_TEXT_MAX], to[LOG_OFFSET_TEXT_MAX];
	if (!r->has_etags)
		return false;
	snprintf(want, sizeof want, "%s:%s:%s", shape_handle(r->shape), request_offset_text(r, from),
	         log_offset_text(to_offset, to));
	struct etag_scan scan = {.want = want};
	MHD_get_connection_values(r->conn->mhd, MHD_HEADER_KIND, scan_etags, &scan);
	return scan.found;
}

enum step answer_not_modified(struct request *r, const struct shape_slice *slice)
{
	char to[LOG_OFFSET_TEXT_MAX];
	struct data_headers d = {.status = 304,
	                         .type = r->sse ? "text/event-stream" : TYPE_JSON,
	                         .etag_to = slice->to,
	                         .offset = log_offset_text(slice->to, to),
	                         .up_to_date = slice->up_to_date,
	                         /* A cache then replaces what it has stored of it. */
	                         .schema = !r->live && shape_schema_renewed(r->shape),
	                         .has_data = true};
	struct reply p;
	begin_data(r, &p, &d);
	return reply_not_modified(r, &p);
}

/* ---- bodies ----------------------------------------------------------------------------------------- */

/* The position in an up-to-date message (docs/protocol.md 5.6). */
static lsn_t seen_of(const struct request *r, const struct shape_slice *slice)
{
	if (!slice->up_to_date)
		return 0;
	if (r->live)
		return slice->to.tx != 0 ? slice->to.tx : slice->seen;
	return slice->seen > slice->to.tx ? slice->seen : slice->to.tx;
}

static struct page *render(const struct buf *lines, bool up_to_date, lsn_t seen)
{
	struct buf body = BUF_INIT(2 * PAGE_BYTES_MAX + lines->len);
	bool first = true;
	buf_putc(&body, '[');
	put_lines(&body, lines->data, lines->len, false, &first);
	if (up_to_date) {
		if (!first)
			buf_putc(&body, ',');
		put_up_to_date(&body, seen);
	}
	buf_putc(&body, ']');
	return page_take(&body);
}

static enum step read_failed(struct request *r, const struct err *e)
{
	char text[sizeof e->text + 64];
	lines_cannot_read(r->shape, e->text);
	snprintf(text, sizeof text, "Unable to retrieve shape log: %s", e->text);
	return reply_message(r, 500, text, 0, false);
}

static struct data_headers data_headers(const struct request *r, const struct shape_slice *slice, char *to)
{
	return (struct data_headers){.status = 200,
	                             .type = TYPE_JSON,
	                             .etag_to = slice->to,
	                             .offset = log_offset_text(slice->to, to),
	                             .schema = !r->live,
	                             .up_to_date = slice->up_to_date,
	                             .has_data = true};
}

static enum step stream_sized(struct request *r, const struct shape_slice *slice, struct shape_reader *reader,
                              const struct data_headers *d, int64_t lines)
{
	/* A bracket, then lines of which each ends in a comma, the last one in the other bracket. */
	shape_reader_end_lines(reader, ',');
	struct stream_plan plan = {.slice = *slice, .reader = reader, .size = (uint64_t)lines + 1};
	struct reply p;
	begin_data(r, &p, d);
	return stream_reply(r, &p, &plan);
}

/* Reads the slice; small ones become a page that others share, the rest is streamed. */
static enum step read_and_reply(struct request *r, const struct shape_slice *slice, const struct page_key *key,
                                const struct data_headers *d)
{
	struct buf lines = BUF_INIT(SIZE_MAX / 2);
	struct err e;
	struct shape_reader *reader = slice->empty ? NULL : shape_reader_new(r->shape, slice);
	enum shape_read state = reader == NULL ? SHAPE_READ_END : SHAPE_READ_MORE;
	err_clear(&e);
	request_cancel(r);
	int64_t size = reader == NULL || slice->up_to_date ? -1 : shape_reader_size(reader);
	if (size > (int64_t)PAGE_BYTES_MAX)
		return stream_sized(r, slice, reader, d, size);
	/* A reader that says "more" without adding anything wants an empty buffer: the stream brings one. */
	for (size_t before = SIZE_MAX; state == SHAPE_READ_MORE && lines.len < PAGE_BYTES_MAX && lines.len != before;) {
		before = lines.len;
		state = shape_reader_next(reader, &lines, PAGE_BYTES_MAX + 1, &r->waiter, &e);
	}
	struct reply p;
	enum step step;
	switch (state) {
	case SHAPE_READ_END: {
		shape_reader_free(reader);
		struct page *page = render(&lines, slice->up_to_date, key->seen);
		pages_add(r->conn->loop->work->pages, key, page, now(r));
		begin_data(r, &p, d);
		step = reply_page(r, &p, page);
		break;
	}
	case SHAPE_READ_MORE:
	case SHAPE_READ_WAIT: {
		struct stream_plan plan = {.slice = *slice, .seen = key->seen, .reader = reader, .lines = lines};
		begin_data(r, &p, d);
		return stream_reply(r, &p, &plan);
	}
	case SHAPE_READ_GONE:
		shape_reader_free(reader);
		step = reply_must_refetch(r, NULL, shape_why(r->shape));
		break;
	default:
		shape_reader_free(reader);
		step = read_failed(r, &e);
		break;
	}
	buf_clear(&lines);
	return step;
}

static enum step reply_slice(struct request *r, const struct shape_slice *slice, const struct data_headers *d,
                             lsn_t seen)
{
	struct page_key key = {.handle = shape_handle(r->shape),
	                       .kind = PAGE_JSON,
	                       .slice = slice->kind,
	                       .from = slice->from,
	                       .to = slice->to,
	                       .seen = seen,
	                       .up_to_date = slice->up_to_date};
	struct page *page = pages_find(r->conn->loop->work->pages, &key);
	if (page == NULL)
		return read_and_reply(r, slice, &key, d);
	struct reply p;
	begin_data(r, &p, d);
	return reply_page(r, &p, page);
}

enum step answer_data(struct request *r, const struct shape_slice *slice)
{
	char to[LOG_OFFSET_TEXT_MAX];
	struct data_headers d = data_headers(r, slice, to);
	return reply_slice(r, slice, &d, seen_of(r, slice));
}

/* Nothing new: the end of a long poll, and offset=now. */
enum step answer_no_changes(struct request *r, const struct shape_slice *slice)
{
	char to[LOG_OFFSET_TEXT_MAX];
	struct data_headers d = data_headers(r, slice, to);
	struct shape_slice nothing = *slice;
	nothing.empty = true;
	nothing.from = slice->to;
	d.has_data = false;
	d.once = true;
	return reply_slice(r, &nothing, &d, slice->seen);
}

/*
 * The response carries the request's own offset: only an up-to-date message takes a client further, so a
 * connection cut anywhere before it makes it ask again from where it was (docs/invariants.md 3.6).
 */
enum step answer_sse(struct request *r, const struct shape_slice *slice)
{
	char from[LOG_OFFSET_TEXT_MAX];
	struct data_headers d = {.status = 200,
	                         .type = "text/event-stream",
	                         .etag_to = slice->to,
	                         .offset = request_offset_text(r, from),
	                         .up_to_date = true,
	                         .has_data = true};
	struct stream_plan plan = {.sse = true, .slice = *slice};
	struct reply p;
	begin_data(r, &p, &d);
	reply_header(&p, "connection", "keep-alive");
	return stream_reply(r, &p, &plan);
}
