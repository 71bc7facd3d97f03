/*
 * read.c - what a response covers, and its lines.
 *
 * A shape's log is in two places: blocks in the store up to `folded`, entries in memory above it. A
 * reader goes by position and checks at each step which of the two has the next entry, so a fold in between
 * changes nothing. No lock is held during a read of the store.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/routing/row.h"

static const struct log_offset log_start = {0, LOG_OP_INF};

/* ---- slices ---- */

/* The chunk of the snapshot that comes after `from`. */
static uint32_t next_chunk(bool from_start, struct log_offset from)
{
	return from_start ? 0 : from.op >= UINT32_MAX ? UINT32_MAX : (uint32_t)from.op + 1;
}

/* With the lock held: whether the request is about the snapshot, and then fills the slice. */
static bool snapshot_slice(struct shape *s, bool from_start, struct log_offset from, struct waiter *w, struct shape_slice *out)
{
	if (!from_start && (from.tx != 0 || from.op == LOG_OP_INF))
		return false;
	uint32_t chunk = next_chunk(from_start, from);
	uint32_t complete = s->tail.snap_chunk;
	out->chunk = chunk;
	out->to = (struct log_offset){0, chunk};
	if (chunk < complete || (chunk == complete && s->tail.snap_pieces > 0)) {
		out->kind = SLICE_SNAPSHOT;
		return true;
	}
	if (s->tail.snap_complete)
		return false;
	out->kind = SLICE_WAIT;
	w->seen = (struct log_offset){0, 0};
	wait_list_add(&s->tail.waiters, w);
	return true;
}

/* The end of the completed chunk that `from` falls in, as far as memory knows; false: ask the store. */
static bool chunk_end_in_tail(struct shape *s, struct log_offset from, struct log_offset *end)
{
	for (size_t i = 0; i < s->tail.n; i++) {
		const struct entry *e = &s->tail.entries[s->tail.first + i];
		if ((e->flags & ENTRY_CHUNK_END) && log_offset_cmp(e->at, from) > 0) {
			*end = e->at;
			return true;
		}
	}
	return false;
}

/* What is damaged of a shape can't be had again: it ends, and its clients fetch the next one. */
static void end_damaged(struct shape *s, const struct err *e)
{
	if (e->kind != ERR_DAMAGED || atomic_load(&s->dropped))
		return;
	log_error("Shape %s is dropped: %s", s->handle, e->text);
	shape_rotate(s, REASON_STORE_DAMAGED, "its part of the store is damaged");
}

static bool chunk_end_in_store(struct shape *s, struct log_offset from, struct log_offset *end)
{
	struct err e;
	struct store_read *r = store_read_begin(s->engine->store, &e);
	if (r == NULL)
		return false;
	int rc = store_chunk_end(r, s->id, from, end, &e);
	store_read_end(r);
	if (rc < 0)
		end_damaged(s, &e);
	return rc == 0;
}

void shape_slice(struct shape *s, bool from_start, struct log_offset from, struct waiter *w, struct shape_slice *out)
{
	memset(out, 0, sizeof *out);
	/* Before the tail is looked at: what is seen by then is in the tail. */
	out->seen = atomic_load(&s->engine->seen);
	pthread_mutex_lock(shape_lock(s));
	out->from = from;
	if (s->tail.state == SHAPE_GONE || s->tail.state == SHAPE_FAILED) {
		out->kind = SLICE_GONE;
		pthread_mutex_unlock(shape_lock(s));
		return;
	}
	if (snapshot_slice(s, from_start, from, w, out)) {
		pthread_mutex_unlock(shape_lock(s));
		return;
	}
	if (from_start || from.tx == 0)
		out->from = from = log_start;
	struct log_offset last = s->tail.last, last_end = s->tail.last_chunk_end, folded = s->tail.folded, end = last;
	bool in_completed = log_offset_cmp(from, last_end) < 0 && last_end.tx != 0;
	bool in_tail = in_completed && log_offset_cmp(from, folded) >= 0 && chunk_end_in_tail(s, from, &end);
	pthread_mutex_unlock(shape_lock(s));

	out->kind = SLICE_LOG;
	if (log_offset_cmp(from, last) >= 0) {
		out->empty = out->up_to_date = true;
		out->to = from;
		if (from.tx > out->seen && log_offset_cmp(from, last) > 0)
			out->kind = SLICE_AHEAD;
		return;
	}
	while (in_completed && !in_tail && !chunk_end_in_store(s, from, &end)) {
		/* The chunk ends above what is folded, unless a fold came between the two looks: then once more. */
		pthread_mutex_lock(shape_lock(s));
		bool moved = log_offset_cmp(s->tail.folded, folded) != 0;
		folded = s->tail.folded;
		in_tail = !moved && chunk_end_in_tail(s, from, &end);
		pthread_mutex_unlock(shape_lock(s));
		if (!in_tail && !moved) {
			end = last; /* the store can't be read: the reader will say so */
			break;
		}
	}
	out->to = end;
	out->up_to_date = log_offset_cmp(end, last) >= 0;
}

void shape_slice_now(struct shape *s, struct shape_slice *out)
{
	memset(out, 0, sizeof *out);
	out->seen = atomic_load(&s->engine->seen);
	pthread_mutex_lock(shape_lock(s));
	bool gone = s->tail.state == SHAPE_GONE || s->tail.state == SHAPE_FAILED;
	out->from = out->to = s->tail.last;
	pthread_mutex_unlock(shape_lock(s));
	out->kind = gone ? SLICE_GONE : SLICE_LOG;
	out->empty = out->up_to_date = true;
}

bool shape_wait_change(struct shape *s, struct log_offset seen, struct waiter *w)
{
	pthread_mutex_lock(shape_lock(s));
	bool wait = s->tail.state != SHAPE_GONE && s->tail.state != SHAPE_FAILED && log_offset_cmp(s->tail.last, seen) <= 0;
	if (wait) {
		w->seen = seen;
		wait_list_add(&s->tail.waiters, w);
	}
	pthread_mutex_unlock(shape_lock(s));
	return wait;
}

/* ---- readers ---- */

struct shape_reader {
	struct shape *shape;
	struct shape_slice slice;
	struct log_offset at; /* the last entry delivered */
	struct log_offset verified; /* the last entry of the block whose seal was looked at */
	uint32_t piece;
	bool closed; /* the chunk's last piece was read */
	char end; /* of the lines of a snapshot */
};

struct shape_reader *shape_reader_new(struct shape *s, const struct shape_slice *slice)
{
	REQUIRE(slice->kind == SLICE_SNAPSHOT || slice->kind == SLICE_LOG);
	struct shape_reader *r = mem_zalloc(sizeof *r);
	r->shape = shape_ref(s);
	r->slice = *slice;
	r->at = slice->from;
	r->verified = log_start;
	r->end = '\n';
	return r;
}

void shape_reader_free(struct shape_reader *r)
{
	if (r == NULL)
		return;
	shape_unref(r->shape);
	free(r);
}

struct shape_place shape_reader_place(const struct shape_reader *r) { return (struct shape_place){r->at, r->piece}; }

void shape_reader_return(struct shape_reader *r, struct shape_place place)
{
	r->at = place.at;
	r->piece = place.piece;
	r->closed = false; /* there was more from there on */
}

/* Looked at after a read of the store: what a dropped shape had there may be going already. */
static bool is_gone(struct shape *s)
{
	pthread_mutex_lock(shape_lock(s));
	bool gone = s->tail.state == SHAPE_GONE || s->tail.state == SHAPE_FAILED;
	pthread_mutex_unlock(shape_lock(s));
	return gone;
}

struct unpacking {
	struct buf *out;
	char end; /* of a line */
};

static int unpack(void *ctx, const void *p, size_t len, struct err *e)
{
	struct unpacking *u = ctx;
	return row_unpack(p, len, u->end, u->out, e);
}

static enum shape_read read_piece(struct shape_reader *r, struct buf *out, struct err *e)
{
	if (r->closed)
		return SHAPE_READ_END;
	struct store_read *sr = store_read_begin(r->shape->engine->store, e);
	if (sr == NULL)
		return SHAPE_READ_ERROR;
	struct unpacking u = {out, r->end};
	bool closed = false, tells = store_closes_chunks(sr, r->shape->id);
	int rc = store_take_snapshot(sr, r->shape->id, r->slice.chunk, r->piece, unpack, &u, &closed, e);
	store_read_end(sr);
	if (rc == 0) { /* else it is asked for again, with more room */
		r->piece++;
		r->closed = closed;
	}
	if (rc == 1 && tells)
		rc = err_set(e, ERR_DAMAGED, "store: a piece of the snapshot is missing");
	return rc == 0 ? SHAPE_READ_MORE : rc == 1 ? SHAPE_READ_END : SHAPE_READ_ERROR;
}

/* Adds up lengths of lines; an error once one isn't known. */
static int add_length(void *ctx, const void *p, size_t len, struct err *e)
{
	int64_t *sum = ctx, n = row_lines_len(p, len);
	(void)e;
	*sum += n;
	return n < 0 ? -1 : 0;
}

/* Whether pieces may still come to the reader's chunk. With the lock held. */
static bool chunk_is_open(const struct shape_reader *r)
{
	const struct shape *s = r->shape;
	return !s->tail.snap_complete && r->slice.chunk >= s->tail.snap_chunk;
}

int64_t shape_reader_size(struct shape_reader *r)
{
	struct shape *s = r->shape;
	struct err e;
	int64_t sum = 0;
	if (r->slice.kind != SLICE_SNAPSHOT)
		return -1;
	pthread_mutex_lock(shape_lock(s));
	bool open = chunk_is_open(r);
	pthread_mutex_unlock(shape_lock(s));
	struct store_read *sr = open ? NULL : store_read_begin(s->engine->store, &e);
	if (sr == NULL)
		return -1;
	int rc;
	uint32_t piece = 0;
	bool closed = false;
	do {
		rc = store_peek_snapshot(sr, s->id, r->slice.chunk, piece++, add_length, &sum, &closed, &e);
	} while (rc == 0 && !closed);
	bool whole = closed || (rc == 1 && !store_closes_chunks(sr, s->id));
	store_read_end(sr);
	/* Of a dropped shape some pieces may be gone already. */
	return whole && !is_gone(s) ? sum : -1;
}

void shape_reader_end_lines(struct shape_reader *r, char end) { r->end = end; }

static enum shape_read next_of_snapshot(struct shape_reader *r, struct buf *out, size_t max, struct waiter *w, struct err *e)
{
	struct shape *s = r->shape;
	for (;;) {
		pthread_mutex_lock(shape_lock(s));
		bool gone = s->tail.state == SHAPE_GONE || s->tail.state == SHAPE_FAILED;
		bool there = !chunk_is_open(r) || r->piece < s->tail.snap_pieces;
		/* Only with nothing to give: what is there goes out first. */
		if (!gone && !there && out->len == 0) {
			w->seen = (struct log_offset){0, 0};
			wait_list_add(&s->tail.waiters, w);
		}
		pthread_mutex_unlock(shape_lock(s));
		if (gone)
			return SHAPE_READ_GONE;
		if (!there)
			return out->len == 0 ? SHAPE_READ_WAIT : SHAPE_READ_MORE;
		enum shape_read rc = read_piece(r, out, e);
		if (is_gone(s))
			return SHAPE_READ_GONE;
		if (rc == SHAPE_READ_ERROR)
			end_damaged(s, e);
		if (rc != SHAPE_READ_MORE || out->len >= max)
			return rc;
	}
}

/* Copies entries above r->at from memory; false if the next one is in the store. */
static bool from_tail(struct shape_reader *r, struct buf *out, size_t max, bool *end)
{
	struct shape *s = r->shape;
	pthread_mutex_lock(shape_lock(s));
	if (log_offset_cmp(r->at, s->tail.folded) < 0 && s->tail.folded.tx != 0) {
		pthread_mutex_unlock(shape_lock(s));
		return false;
	}
	size_t lo = s->tail.first, hi = s->tail.first + s->tail.n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (log_offset_cmp(s->tail.entries[mid].at, r->at) > 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	size_t stop = s->tail.first + s->tail.n;
	*end = true;
	for (size_t i = lo; i < stop; i++) {
		const struct entry *en = &s->tail.entries[i];
		if (log_offset_cmp(en->at, r->slice.to) > 0)
			break;
		if (out->len >= max) {
			*end = false;
			break;
		}
		buf_put(out, en->line->text, en->line->split);
		if (en->flags & ENTRY_LAST)
			buf_put(out, LINE_LAST, LINE_LAST_LEN);
		buf_put(out, en->line->text + en->line->split, en->line->len - en->line->split);
		buf_putc(out, '\n');
		r->at = en->at;
	}
	pthread_mutex_unlock(shape_lock(s));
	return true;
}

static enum shape_read next_of_log(struct shape_reader *r, struct buf *out, size_t max, struct err *e)
{
	struct shape *s = r->shape;
	bool end = false;
	while (!from_tail(r, out, max, &end)) {
		pthread_mutex_lock(shape_lock(s));
		struct log_offset folded = s->tail.folded;
		pthread_mutex_unlock(shape_lock(s));
		struct log_offset upto = log_offset_cmp(folded, r->slice.to) < 0 ? folded : r->slice.to, reached;
		struct store_read *sr = store_read_begin(s->engine->store, e);
		if (sr == NULL)
			return SHAPE_READ_ERROR;
		bool blocks_end;
		int rc = store_read_log_on(sr, s->id, r->at, upto, max, &r->verified, out, &reached, &blocks_end, e);
		store_read_end(sr);
		if (is_gone(s))
			return SHAPE_READ_GONE;
		if (rc != 0) {
			end_damaged(s, e);
			return SHAPE_READ_ERROR;
		}
		r->at = reached;
		if (!blocks_end)
			return SHAPE_READ_MORE;
		r->at = upto; /* nothing more at or below it */
		if (log_offset_cmp(upto, r->slice.to) >= 0)
			return SHAPE_READ_END;
		if (out->len >= max)
			return SHAPE_READ_MORE;
	}
	if (out->failed) {
		err_set(e, ERR_LIMIT, "a log entry does not fit the reader's buffer");
		return SHAPE_READ_ERROR;
	}
	return end ? SHAPE_READ_END : SHAPE_READ_MORE;
}

enum shape_read shape_reader_next(struct shape_reader *r, struct buf *out, size_t max, struct waiter *w, struct err *e)
{
	shape_touch(r->shape); /* a download may take longer than a shape may be left alone */
	if (r->slice.kind == SLICE_SNAPSHOT)
		return next_of_snapshot(r, out, max, w, e);
	if (r->slice.empty)
		return SHAPE_READ_END;
	return next_of_log(r, out, max, e);
}
