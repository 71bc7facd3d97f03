/*
 * stream.c - responses produced piece by piece: large parts of a log, and server-sent events. Called
 * by libmicrohttpd whenever the client can take more; a slow client holds this one buffer and nothing
 * else, no transaction, and of a stream of events not even that for long: a position in the log is enough.
 *
 * Server-sent events (docs/protocol.md 7.3, docs/invariants.md 3.6): everything that waits
 * is sent, chunk after chunk, then an up-to-date message, then the connection stays open.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "http/lines.h"
#include "http/stream.h"
#include "http/work.h"

#define SSE_KEEPALIVE ": keep-alive\n\n"
#define LOOK_AGAIN_MAX 8 /* woken for nothing: at once so often, then after a little while */
#define LOOK_AGAIN_MS 50
/* Read at a time for a stream of events, doubled for as long as the client keeps taking it, up to PAGE_BYTES_MAX. */
#define PIECE_BYTES_LEAST (16u << 10)

#define STREAM_MAGIC 0x53747265u

struct stream {
	unsigned magic; /* STREAM_MAGIC as long as it is there */
	struct request *r;   /* may be gone when the response is let go */
	struct loop *loop;
	struct loop_work *work; /* the loop's */
	struct shape *shape; /* the request's, held here too */
	struct buf out;      /* ready for the client */
	size_t sent;
	struct shape_reader *reader; /* of the slice being sent, NULL between slices */
	struct shape_slice slice;
	lsn_t seen;
	uint64_t size; /* of the whole body, if it is known */
	bool large_block;
	bool sse, first, ended;
	bool comma; /* goes before what is in `out` */
	bool group_open; /* messages were sent since the last up-to-date message */
	int tries; /* of looking again at once */
	/* Of events: `out` is what the reader gave from here on, if `of_reader`, and the up-to-date message if that ended the
	 * slice. Once it is let go, `skip` bytes of that were sent; `inside`: the last of them not the end of an event. */
	struct shape_place from;
	bool of_reader, slice_ended, let_go, inside;
	size_t skip, piece_bytes;
	bool held;
	struct stream *held_next, *held_prev;
	int64_t filled_ms, taken_ms; /* when the client last took some */
	int64_t until_ms, spoke_ms, progress_ms;
};

static struct stream *stream_new(struct request *r, struct stream_plan *plan)
{
	struct stream *s = mem_zalloc(sizeof *s);
	s->magic = STREAM_MAGIC;
	s->r = r;
	s->loop = r->conn->loop;
	s->work = s->loop->work;
	s->shape = shape_ref(r->shape);
	s->sse = plan->sse;
	s->slice = plan->slice;
	s->seen = plan->seen;
	s->reader = plan->reader;
	s->first = true;
	s->spoke_ms = s->progress_ms = s->loop->now_ms;
	s->until_ms = s->spoke_ms + SSE_TOTAL_MS;
	s->piece_bytes = PIECE_BYTES_LEAST;
	buf_init(&s->out, SIZE_MAX / 2);
	s->size = plan->size;
	s->large_block = s->size > 0 && s->work->large_blocks < LARGE_BLOCKS_MAX;
	s->work->large_blocks += s->large_block;
	if (s->sse && !s->slice.empty)
		s->reader = shape_reader_new(s->shape, &s->slice);
	if (s->sse || s->size > 0)
		return s;
	buf_putc(&s->out, '[');
	put_lines(&s->out, plan->lines.data, plan->lines.len, false, &s->first);
	buf_clear(&plan->lines);
	return s;
}

/*
 * The buffer is of a size that the C library gets from the kernel and gives back to it, page by page, each time; a
 * stream that goes on takes one that another, or itself, has just used.
 */
static void take_out(struct stream *s)
{
	struct loop_work *w = s->work;
	if (s->out.data == NULL && w->nspares > 0)
		s->out = w->spares[--w->nspares];
	buf_reset(&s->out);
}

static void give_out(struct stream *s)
{
	struct loop_work *w = s->work;
	if (w->nspares == SPARES_MAX || s->out.cap > SPARE_BYTES_MAX || s->out.data == NULL) {
		w->held.freed_bytes += s->out.cap;
		buf_clear(&s->out);
		return;
	}
	buf_reset(&s->out);
	w->spares[w->nspares++] = s->out;
	w->spares_used = true;
	buf_init(&s->out, SIZE_MAX / 2);
}

/* ---- rows that nobody takes ------------------------------------------------------------------------- */

/* What a huge row takes isn't counted, and stays longer: to read it again and again for a few bytes costs more. */
static bool is_huge(const struct stream *s) { return s->out.cap > 4 * (size_t)PAGE_BYTES_MAX; }

static void held_remove(struct stream *s)
{
	struct held *h = &s->work->held;
	if (!s->held)
		return;
	*(s->held_prev != NULL ? &s->held_prev->held_next : &h->first) = s->held_next;
	*(s->held_next != NULL ? &s->held_next->held_prev : &h->last) = s->held_prev;
	h->bytes -= is_huge(s) ? 0 : s->out.cap;
	metric_add_label(METRIC_MEMORY, MEMORY_EVENT_STREAMS, -(int64_t)s->out.cap);
	s->held = false;
}

/* A position is enough: the rows are in the log. A message of our own is short. */
static void let_go(struct stream *s)
{
	struct buf rest = BUF_INIT(SIZE_MAX / 2);
	held_remove(s);
	s->work->held.freed_bytes += s->out.cap;
	s->work->held.let_go = true;
	s->let_go = s->of_reader;
	if (s->of_reader) {
		s->skip = s->sent;
		s->inside = s->sent > 1 ? memcmp(s->out.data + s->sent - 2, "\n\n", 2) != 0 : s->sent == 1;
	} else {
		buf_put(&rest, s->out.data + s->sent, s->out.len - s->sent);
	}
	s->sent = 0;
	s->piece_bytes = PIECE_BYTES_LEAST;
	buf_clear(&s->out);
	s->out = rest;
}

static void held_add(struct stream *s)
{
	struct held *h = &s->work->held;
	held_remove(s);
	s->taken_ms = s->loop->now_ms;
	s->held = true;
	s->held_next = NULL;
	s->held_prev = h->last;
	*(h->last != NULL ? &h->last->held_next : &h->first) = s;
	h->last = s;
	h->bytes += is_huge(s) ? 0 : s->out.cap;
	metric_add_label(METRIC_MEMORY, MEMORY_EVENT_STREAMS, (int64_t)s->out.cap);
	for (struct stream *old = h->first, *next; h->bytes > HELD_BYTES_MAX && old != s; old = next) {
		next = old->held_next;
		if (!is_huge(old))
			let_go(old);
	}
}

void streams_let_go(struct loop_work *w, int64_t now_ms)
{
	for (struct stream *s = w->held.first, *next; s != NULL; s = next) {
		next = s->held_next;
		if (now_ms - s->taken_ms >= HELD_MAX_MS + (int64_t)(s->out.cap / HELD_BYTES_PER_MS))
			let_go(s);
	}
}

static void stream_free(void *cls)
{
	struct stream *s = cls;
	REQUIRE(s->magic == STREAM_MAGIC && loop_is_ours(s->loop));
	held_remove(s);
	s->work->large_blocks -= s->large_block;
	shape_reader_free(s->reader);
	shape_unref(s->shape);
	buf_clear(&s->out);
	s->magic = 0;
	free(s);
}

/* Whoever waits waits no longer: we stop, or can't say any more that what we have is current. */
static bool ending(const struct stream *s)
{
	return s->loop->stopping || shapes_currency(s->loop->http->shapes) == SHAPES_FOREIGN;
}

/* ---- filling ---------------------------------------------------------------------------------------- */

enum fill { FILL_MORE, FILL_PARKED, FILL_END, FILL_FAILED };

static enum fill park(struct stream *s, int64_t deadline_ms)
{
	return request_park(s->r, deadline_ms) == STEP_DONE ? FILL_PARKED : FILL_FAILED;
}

static void end_group(struct stream *s)
{
	if (s->sse) {
		buf_puts(&s->out, "data: ");
		put_up_to_date(&s->out, s->slice.to.tx != 0 ? s->slice.to.tx : s->slice.seen);
		buf_puts(&s->out, "\n\n");
		s->group_open = false;
		return;
	}
	if (!s->first)
		buf_putc(&s->out, ',');
	put_up_to_date(&s->out, s->seen);
}

static enum fill slice_done(struct stream *s)
{
	shape_reader_free(s->reader);
	s->reader = NULL;
	if (s->slice.up_to_date && (!s->sse || s->group_open))
		end_group(s);
	if (s->sse)
		return FILL_MORE;
	buf_putc(&s->out, ']');
	s->ended = true;
	return FILL_MORE;
}

/* As JSON, lines become members of an array where they are: a newline stands between them and nowhere else. */
static enum shape_read read_members(struct stream *s, struct err *e)
{
	enum shape_read state = shape_reader_next(s->reader, &s->out, PAGE_BYTES_MAX, &s->r->waiter, e);
	if (s->out.len == 0)
		return state;
	s->out.len -= s->out.data[s->out.len - 1] == '\n';
	for (char *p = s->out.data, *end = p + s->out.len; (p = memchr(p, '\n', (size_t)(end - p))) != NULL;)
		*p++ = ',';
	s->comma = !s->first;
	s->first = false;
	return state;
}

static enum shape_read read_events(struct stream *s, struct err *e)
{
	struct buf *lines = &s->work->lines;
	s->from = shape_reader_place(s->reader);
	enum shape_read state = shape_reader_next(s->reader, lines, s->piece_bytes, &s->r->waiter, e);
	put_lines(&s->out, lines->data, lines->len, true, &s->first);
	s->of_reader = s->out.len > 0;
	buf_reset(lines);
	if (lines->cap > SPARE_BYTES_MAX)
		buf_clear(lines);
	return state;
}

/* Into an empty buffer. */
static enum fill read_lines(struct stream *s)
{
	struct err e;
	err_clear(&e);
	enum shape_read state = s->sse ? read_events(s, &e) : read_members(s, &e);
	if (s->out.len > 0) {
		s->group_open = true;
		s->progress_ms = s->spoke_ms = s->loop->now_ms;
	}
	switch (state) {
	case SHAPE_READ_MORE:
		return FILL_MORE;
	case SHAPE_READ_END:
		if (!s->of_reader)
			return slice_done(s);
		s->slice_ended = true; /* its reader is kept, it may have to read this again */
		if (s->slice.up_to_date) /* with the rows: a write of its own would come after those of all other clients */
			end_group(s);
		return FILL_MORE;
	case SHAPE_READ_WAIT:
		if (s->out.len > 0)
			return FILL_MORE;
		if (s->loop->now_ms >= s->progress_ms + SNAPSHOT_PROGRESS_MAX_MS || ending(s))
			return FILL_FAILED;
		return park(s, s->progress_ms + SNAPSHOT_PROGRESS_MAX_MS);
	case SHAPE_READ_GONE:
		/* Half an answer must not look like a whole one; a stream of events may end anywhere. */
		return s->sse ? FILL_END : FILL_FAILED;
	default:
		lines_cannot_read(s->shape, e.text);
		return FILL_FAILED;
	}
}

/* Until something happens, the next keep-alive, or the end. */
static enum fill wait_events(struct stream *s, int64_t until_ms)
{
	int64_t keepalive_ms = s->spoke_ms + SSE_KEEPALIVE_MS;
	if (keepalive_ms < until_ms)
		until_ms = keepalive_ms;
	s->tries = 0;
	return park(s, s->until_ms < until_ms ? s->until_ms : until_ms);
}

/* At the tail. FILL_MORE: there may be something new. */
static enum fill wait_tail(struct stream *s, int64_t now)
{
	if (now >= s->spoke_ms + SSE_KEEPALIVE_MS) {
		buf_puts(&s->out, SSE_KEEPALIVE);
		s->spoke_ms = now;
		return FILL_PARKED; /* not yet, but there is something to send first */
	}
	if (shape_wait_change(s->shape, s->slice.to, &s->r->waiter))
		return wait_events(s, s->until_ms);
	if (++s->tries > LOOK_AGAIN_MAX)
		return wait_events(s, now + LOOK_AGAIN_MS);
	return FILL_MORE;
}

static enum fill next_slice(struct stream *s)
{
	struct request *r = s->r;
	int64_t now = s->loop->now_ms;
	/* For its time it ends only after an up-to-date message: a client cut inside a group begins again from
	 * where this connection began, and a backlog that takes longer than one connection would never arrive. */
	if ((now >= s->until_ms && !s->group_open) || ending(s))
		return FILL_END;
	if (s->slice.kind == SLICE_LOG && s->slice.up_to_date) {
		enum fill done = wait_tail(s, now);
		if (done != FILL_MORE)
			return done;
	}
	struct shape_slice next;
	request_cancel(r);
	shape_slice(s->shape, false, s->slice.to, &r->waiter, &next);
	if (next.kind == SLICE_WAIT)
		return now >= s->until_ms ? FILL_END : wait_events(s, s->until_ms);
	if (next.kind != SLICE_SNAPSHOT && next.kind != SLICE_LOG)
		return FILL_END; /* rotated; or something we can't tell the client inside a stream */
	s->slice = next;
	if (!next.empty)
		s->reader = shape_reader_new(s->shape, &next);
	else if (next.up_to_date && s->group_open)
		end_group(s);
	return FILL_MORE;
}

static enum fill fill_some(struct stream *s)
{
	if (s->ended)
		return FILL_END;
	if (s->slice_ended) {
		s->slice_ended = false;
		return slice_done(s);
	}
	return s->reader != NULL ? read_lines(s) : s->sse ? next_slice(s) : slice_done(s);
}

static enum fill fill(struct stream *s)
{
	take_out(s);
	s->sent = 0;
	s->of_reader = false;
	if (s->piece_bytes < PAGE_BYTES_MAX && s->loop->now_ms - s->filled_ms < HELD_MAX_MS)
		s->piece_bytes *= 2;
	s->filled_ms = s->loop->now_ms;
	for (;;) {
		enum fill done = fill_some(s);
		if (s->out.len > 0 && done != FILL_FAILED)
			return FILL_MORE;
		if (done != FILL_MORE)
			return done;
	}
}

/* What was let go, again; the pieces may have other sizes now. */
static enum fill fill_again(struct stream *s)
{
	s->let_go = s->slice_ended = false;
	s->filled_ms = s->loop->now_ms;
	shape_reader_return(s->reader, s->from);
	for (;;) {
		take_out(s);
		enum fill done = read_lines(s);
		if (done == FILL_END && s->inside) /* the shape is gone: half an event isn't to look like a whole one */
			return FILL_FAILED;
		if (done != FILL_MORE)
			return done;
		if (s->out.len > s->skip) {
			s->sent = s->skip;
			return FILL_MORE;
		}
		if (s->out.len == 0 || s->slice_ended) {
			lines_cannot_read(s->shape, "what was read before isn't there any more");
			return FILL_FAILED;
		}
		s->skip -= s->out.len;
	}
}

/* What is ready, as far as there is room. */
static size_t put_out(struct stream *s, char *to, size_t max)
{
	size_t n = s->out.len - s->sent < max ? s->out.len - s->sent : max;
	memcpy(to, s->out.data + s->sent, n);
	s->sent += n;
	if (s->sent == s->out.len) {
		held_remove(s);
		give_out(s);
	} else if (s->sse) {
		held_add(s);
	}
	return n;
}

static ssize_t stream_read(void *cls, uint64_t at, char *to, size_t max)
{
	struct stream *s = cls;
	struct request *r = s->r;
	REQUIRE(s->magic == STREAM_MAGIC && r->magic == REQUEST_MAGIC);
	(void)at;
	if (s->sent >= s->out.len) {
		request_cancel(r);
		if (r->conn->cut || (r->conn->hungup && s->sse))
			return MHD_CONTENT_READER_END_WITH_ERROR;
		switch (s->let_go ? fill_again(s) : fill(s)) {
		case FILL_PARKED:
			give_out(s);
			return 0;
		case FILL_END:
			return MHD_CONTENT_READER_END_OF_STREAM;
		case FILL_FAILED:
			return MHD_CONTENT_READER_END_WITH_ERROR;
		default:
			if (s->sse) /* the library sends it next */
				request_delivered(r);
			break;
		}
	}
	size_t lead = 0;
	if (s->comma) {
		to[lead++] = ',';
		s->comma = false;
	}
	return (ssize_t)(lead + put_out(s, to + lead, max - lead));
}

/* ---- bodies of a known size ------------------------------------------------------------------------- */

/* The next piece, into `to` where there is room for it, else by way of `out`. Bytes, or less than 0. */
static ssize_t next_piece(struct stream *s, char *to, size_t max)
{
	struct buf here;
	struct err e;
	err_clear(&e);
	buf_over(&here, to, max);
	enum shape_read state = shape_reader_next(s->reader, &here, 1, &s->r->waiter, &e);
	if (here.failed) {
		take_out(s);
		s->sent = 0;
		err_clear(&e);
		state = shape_reader_next(s->reader, &s->out, 1, &s->r->waiter, &e);
		if (state == SHAPE_READ_MORE)
			return 0;
	}
	if (state == SHAPE_READ_MORE)
		return (ssize_t)here.len;
	if (state != SHAPE_READ_GONE) /* half an answer doesn't look like a whole one: the size tells */
		lines_cannot_read(s->shape, state == SHAPE_READ_ERROR ? e.text : "it ends early");
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* The lines of `reader`, ended by ',', as an array. */
static ssize_t stream_read_sized(void *cls, uint64_t at, char *to, size_t max)
{
	struct stream *s = cls;
	size_t n = 0;
	REQUIRE(s->magic == STREAM_MAGIC && s->r->magic == REQUEST_MAGIC && at < s->size);
	if (s->r->conn->cut)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (at == 0)
		to[n++] = '[';
	while (s->sent >= s->out.len && at + n < s->size && (n <= 1 || max - n >= SIZED_BLOCK_BYTES)) {
		ssize_t got = next_piece(s, to + n, max - n);
		if (got < 0)
			return got;
		n += (size_t)got;
	}
	if (s->sent < s->out.len)
		n += put_out(s, to + n, max - n);
	if (at + n == s->size)
		to[n - 1] = ']';
	return (ssize_t)n;
}

enum step stream_reply(struct request *r, struct reply *p, struct stream_plan *plan)
{
	struct stream *s = stream_new(r, plan);
	if (s->size == 0)
		return reply_source(r, p, stream_read, s, stream_free);
	return reply_sized(r, p, s->size, s->large_block ? LARGE_BLOCK_BYTES : SIZED_BLOCK_BYTES, stream_read_sized, s, stream_free);
}
