/*
 * test_tail.c - tails, blocks and those who read and wait: tail.c, wait.c, read.c around a real store.
 *
 * The engine here is made by hand: a store, locks, one shape; the test plays INGEST (publish) and WRITER
 * (fold). A log is known in advance: entry i has its offset, its text and whether it ends a chunk, so a
 * reader can check what it gets without a second copy.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "shape_test.h"
#include "shapes/core/engine.h"
#include "shapes/core/limits.h"
#include "shapes/core/line.h"
#include "shapes/core/registry.h"
#include "shapes/core/shape.h"
#include "shapes/core/tail.h"
#include "shapes/core/wait.h"
#include "shapes/logs/writer.h"

#define LIMIT ((size_t)256 << 20)
#define INF LOG_OP_INF

static struct err e;

/* ---- the log that is written ---- */

#define ENTRIES_OF_TX 5
#define CHUNK 7 /* entries */

static struct log_offset offset_of(size_t i) { return at(1000 + i / ENTRIES_OF_TX * 10, i % ENTRIES_OF_TX * 2); }
static size_t index_of(struct log_offset o) { return (o.tx - 1000) / 10 * ENTRIES_OF_TX + o.op / 2; }
static bool is_last(size_t i) { return i % ENTRIES_OF_TX == ENTRIES_OF_TX - 1; }
static bool is_chunk_end(size_t i) { return i % CHUNK == CHUNK - 1; }

static size_t text_of(size_t i, char *text, size_t max, bool whole)
{
	static const char pad[] = "..........................................................................................";
	return (size_t)snprintf(text, max, "{\"key\":\"%zu\",\"headers\":{%s\"x\":\"%.*s\"}}", i,
	                        whole && is_last(i) ? LINE_LAST : "", (int)(i * 37 % 90), pad);
}

static struct entry entry_of(size_t i)
{
	char text[256];
	size_t n = text_of(i, text, sizeof text, false);
	uint32_t flags = (is_last(i) ? ENTRY_LAST : 0) | (is_chunk_end(i) ? ENTRY_CHUNK_END : 0);
	return (struct entry){offset_of(i), line_new(text, n, (size_t)(strstr(text, "\"x\"") - text)), flags};
}

/* ---- the engine ---- */

struct world {
	struct shapes *engine;
	struct shape *shape;
	size_t published, folded;
	struct config config;
};

static void world_make(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->engine = mem_zalloc(sizeof *w->engine);
	w->engine->config = &w->config;
	for (int i = 0; i < SHAPE_LOCKS; i++) {
		pthread_mutex_init(&w->engine->shape_locks[i], NULL);
		lock_rank(&w->engine->shape_locks[i], LOCK_SHAPE);
	}
	if (store_open(&w->engine->store, "", true, &e) != 0) {
		printf("store: %s\n", e.text);
		exit(2);
	}
	struct shape_def d = def_make(table_make(100, "public", "items", "id:23:pk0 name:25"), NULL, REPLICA_DEFAULT);
	w->shape = shape_make(w->engine, &d, 300, "1-2");
	shape_def_clear(&d);
	w->shape->tail.state = SHAPE_LIVE;
	w->shape->tail.snap_complete = true;
	w->shape->tail.snap_chunk = 1;
}

static void world_end(struct world *w)
{
	CHECK(w->shape->tail.waiters.head == NULL);
	CHECK_INT(w->shape->refs, 1);
	shape_unref(w->shape);
	store_close(w->engine->store);
	for (int i = 0; i < SHAPE_LOCKS; i++)
		pthread_mutex_destroy(&w->engine->shape_locks[i]);
	free(w->engine);
}

static void publish(struct world *w, size_t n)
{
	struct entry *entries = mem_alloc(n * sizeof *entries);
	for (size_t i = 0; i < n; i++)
		entries[i] = entry_of(w->published + i);
	w->published += n;
	tail_publish(w->shape, entries, n, (struct change_times){0, 0});
	free(entries);
}

/* Commits the next n entries as blocks that end where chunks end; then the tail may forget them. */
static void fold(struct world *w, size_t n, size_t block_max)
{
	static char text[CHUNK * 10][256];
	struct store *s = w->engine->store;
	size_t end = w->folded + n < w->published ? w->folded + n : w->published;
	bool good = end == w->folded || store_begin(s, &e) == 0;
	for (size_t i = w->folded; i < end && good;) {
		struct store_entry se[CHUNK * 10];
		size_t k = 0;
		bool chunk_end = false;
		for (; i < end && k < block_max && k < ARRAY_LEN(se) && !chunk_end; i++, k++) {
			se[k] = (struct store_entry){offset_of(i), text[k], "", (uint32_t)text_of(i, text[k], sizeof text[0], true), 0, NULL, 0};
			chunk_end = is_chunk_end(i);
		}
		good = store_put_block(s, w->shape->id, se, k, chunk_end, &e) == 0;
	}
	if (end == w->folded)
		return;
	CHECK_OK(good ? store_commit(s, &e) : -1, &e);
	w->folded = end;
	tail_folded(w->shape, offset_of(end - 1));
}

/* ---- waiters ---- */

struct sleeper {
	struct waiter w;
	_Atomic int woken;
};

static void woke(struct waiter *w) { atomic_fetch_add(&CONTAINER_OF(w, struct sleeper, w)->woken, 1); }

static struct sleeper sleeper_new(void) { return (struct sleeper){.w = {.wake = woke}}; }

static void test_wait_lists(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct wait_list l;
	wait_list_init(&l, &lock);
	struct sleeper s[6];
	CHECK(!waiter_cancel(&(struct waiter){.wake = woke}));
	pthread_mutex_lock(&lock);
	wait_list_wake_all(&l); /* nobody */
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		s[i] = sleeper_new();
		s[i].w.seen = at(10, i);
		s[i].w.lsn = 100 + i;
		wait_list_add(&l, &s[i].w);
	}
	wait_list_wake_above(&l, at(10, 2), (struct change_times){0, 0}); /* those who have seen less */
	pthread_mutex_unlock(&lock);
	CHECK(s[0].woken == 1 && s[1].woken == 1 && s[2].woken == 0 && s[5].woken == 0);
	CHECK(!waiter_cancel(&s[0].w)); /* woken: on no list any more */
	CHECK(waiter_cancel(&s[3].w) && !waiter_cancel(&s[3].w));
	pthread_mutex_lock(&lock);
	wait_list_wake_lsn(&l, 102);
	CHECK(s[2].woken == 1 && s[3].woken == 0 && s[4].woken == 0);
	wait_list_add(&l, &s[0].w); /* again */
	wait_list_wake_all(&l);
	pthread_mutex_unlock(&lock);
	CHECK(s[0].woken == 2 && s[3].woken == 0 && s[4].woken == 1 && s[5].woken == 1 && l.head == NULL);
	for (size_t i = 0; i < ARRAY_LEN(s); i++)
		CHECK(!waiter_cancel(&s[i].w));
}

static void test_wait_change(void)
{
	struct world w;
	world_make(&w);
	struct sleeper a = sleeper_new(), b = sleeper_new(), c = sleeper_new(), d = sleeper_new();
	CHECK(shape_wait_change(w.shape, at(0, INF), &a.w));
	publish(&w, 3);
	CHECK_INT(a.woken, 1);
	CHECK(!shape_wait_change(w.shape, at(0, INF), &a.w)); /* there is one already */
	CHECK(!shape_wait_change(w.shape, offset_of(1), &a.w));
	CHECK(shape_wait_change(w.shape, offset_of(2), &b.w));
	CHECK(shape_wait_change(w.shape, at(1000, INF), &c.w)); /* only a later transaction counts for this one */
	publish(&w, 1);
	CHECK(b.woken == 1 && c.woken == 0);
	publish(&w, 2);
	CHECK(b.woken == 1 && c.woken == 1);
	CHECK(shape_wait_change(w.shape, offset_of(5), &d.w));
	CHECK(waiter_cancel(&d.w));
	publish(&w, 1);
	CHECK_INT(d.woken, 0);
	fold(&w, 100, 100); /* folding is no news */
	CHECK(shape_wait_change(w.shape, offset_of(6), &d.w));
	tail_publish(w.shape, NULL, 0, (struct change_times){0, 0});
	CHECK_INT(d.woken, 0);
	pthread_mutex_lock(shape_lock(w.shape));
	w.shape->tail.state = SHAPE_GONE;
	wait_list_wake_all(&w.shape->tail.waiters);
	pthread_mutex_unlock(shape_lock(w.shape));
	CHECK_INT(d.woken, 1);
	CHECK(!shape_wait_change(w.shape, offset_of(6), &d.w));
	world_end(&w);
}

/* ---- slices ---- */

static struct shape_slice slice(struct world *w, struct log_offset from)
{
	struct sleeper s = sleeper_new();
	struct shape_slice out;
	shape_slice(w->shape, false, from, &s.w, &out);
	CHECK(!waiter_cancel(&s.w));
	return out;
}

/* What is expected of a slice of the log; entries first .. end. */
static bool slice_is_right(struct world *w, struct log_offset from, const struct shape_slice *s, size_t *first, size_t *end)
{
	*first = *end = 0;
	while (*first < w->published && log_offset_cmp(offset_of(*first), from) <= 0)
		++*first;
	*end = *first;
	if (*first == w->published) {
		struct log_offset last = w->published > 0 ? offset_of(w->published - 1) : at(0, INF);
		bool ahead = log_offset_cmp(from, last) > 0 && from.tx > atomic_load(&w->engine->seen);
		return s->kind == (ahead ? SLICE_AHEAD : SLICE_LOG) && s->empty && s->up_to_date && log_offset_cmp(s->to, from) == 0;
	}
	while (*end < w->published && !is_chunk_end(*end))
		++*end;
	if (*end < w->published)
		++*end;
	return s->kind == SLICE_LOG && !s->empty && log_offset_cmp(s->from, from) == 0 &&
	       log_offset_cmp(s->to, offset_of(*end - 1)) == 0 && s->up_to_date == (*end == w->published);
}

/* Reads a slice in steps of max; the lines must be those of entries first .. end. */
static bool reads_right(struct world *w, const struct shape_slice *s, size_t first, size_t end, size_t max)
{
	struct shape_reader *r = shape_reader_new(w->shape, s);
	struct buf step = BUF_INIT(LIMIT), got = BUF_INIT(LIMIT), want = BUF_INIT(LIMIT);
	struct sleeper sl = sleeper_new();
	char text[256];
	enum shape_read rc = SHAPE_READ_MORE;
	bool good = true;
	for (int i = 0; rc == SHAPE_READ_MORE && good && i < 10000; i++) {
		buf_reset(&step);
		rc = shape_reader_next(r, &step, max, &sl.w, &e);
		good = step.len <= max + sizeof text;
		buf_put(&got, step.data, step.len);
	}
	for (size_t i = first; i < end; i++) {
		text_of(i, text, sizeof text, true);
		buf_puts(&want, text);
		buf_putc(&want, '\n');
	}
	good = good && rc == SHAPE_READ_END && got.len == want.len && (got.len == 0 || memcmp(got.data, want.data, got.len) == 0);
	shape_reader_free(r);
	buf_clear(&step);
	buf_clear(&got);
	buf_clear(&want);
	return good;
}

static void check_everywhere(struct world *w)
{
	static const size_t maxes[] = {1, 100, 700, 1 << 20};
	struct log_offset points[300];
	size_t n = 0, bad = 0;
	points[n++] = at(0, INF);
	points[n++] = at(1, 0);
	points[n++] = at(999999, 0);
	for (size_t i = 0; i < w->published && n + 4 < ARRAY_LEN(points); i++) {
		points[n++] = offset_of(i);
		points[n++] = at(offset_of(i).tx, offset_of(i).op + 1);
		if (is_last(i)) {
			points[n++] = at(offset_of(i).tx, INF);
			points[n++] = at(offset_of(i).tx + 1, 0);
		}
	}
	for (size_t i = 0; i < n; i++) {
		struct shape_slice s = slice(w, points[i]);
		size_t first, end;
		if (!slice_is_right(w, points[i], &s, &first, &end)) {
			bad++;
			continue;
		}
		for (size_t k = 0; k < ARRAY_LEN(maxes) && s.kind == SLICE_LOG; k++)
			bad += !reads_right(w, &s, first, end, maxes[k]);
	}
	CHECK_INT(bad, 0);
}

static void test_slices(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	for (int round = 0; round < 6; round++) {
		struct world w;
		world_make(&w);
		atomic_store(&w.engine->seen, 5000);
		check_everywhere(&w);
		for (int step = 0; step < 12; step++) {
			publish(&w, 1 + rng_below(&rng, 9));
			check_everywhere(&w);
			if (round == 0)
				continue; /* all in the tail */
			if (round == 1)
				fold(&w, SIZE_MAX / 2, 1 + rng_below(&rng, 9)); /* all in blocks */
			else
				fold(&w, rng_below(&rng, 12), 1 + rng_below(&rng, 9));
			check_everywhere(&w);
		}
		fold(&w, SIZE_MAX / 2, 3);
		CHECK(w.shape->tail.n == 0 && w.shape->tail.entries == NULL);
		check_everywhere(&w);
		world_end(&w);
	}
}

static void test_edges(void)
{
	struct world w;
	world_make(&w);
	/* Nothing at all: at the tail, up to date; the offset is the request's own. */
	struct shape_slice s = slice(&w, at(0, INF));
	CHECK(s.kind == SLICE_LOG && s.empty && s.up_to_date);
	CHECK_OFFSET(s.to, 0, INF);
	shape_slice_now(w.shape, &s);
	CHECK(s.kind == SLICE_LOG && s.empty && s.up_to_date);
	CHECK_OFFSET(s.to, 0, INF);
	/* Ahead of what the stream has passed: to be waited for, whether there is a log or not. */
	atomic_store(&w.engine->seen, 1500);
	s = slice(&w, at(1501, 0));
	CHECK(s.kind == SLICE_AHEAD);
	CHECK_OFFSET(s.to, 1501, 0);
	CHECK_INT(s.seen, 1500);
	s = slice(&w, at(1500, 0));
	CHECK(s.kind == SLICE_LOG && s.empty && s.up_to_date);
	publish(&w, 4);
	s = slice(&w, at(1501, 0));
	CHECK(s.kind == SLICE_AHEAD);
	atomic_store(&w.engine->seen, 900); /* the tail is published before `seen` rises */
	s = slice(&w, offset_of(3));
	CHECK(s.kind == SLICE_LOG && s.up_to_date && s.empty);
	s = slice(&w, at(1000, 7));
	CHECK(s.kind == SLICE_AHEAD);
	s = slice(&w, offset_of(2));
	CHECK(s.kind == SLICE_LOG && s.up_to_date && !s.empty);
	CHECK_INT(s.seen, 900);
	shape_slice_now(w.shape, &s);
	CHECK_OFFSET(s.to, offset_of(3).tx, offset_of(3).op);
	/* A slice that ends where a chunk ends, which is the tail, too. */
	publish(&w, CHUNK - 4);
	s = slice(&w, at(0, INF));
	CHECK(s.up_to_date && index_of(s.to) == CHUNK - 1);
	/* An empty slice has nothing to read. */
	s = slice(&w, offset_of(CHUNK - 1));
	CHECK(s.empty && reads_right(&w, &s, 0, 0, 100));

	/* The buffer is too small: an error and not half a line, from memory and from the store. */
	for (int i = 0; i < 2; i++) {
		s = slice(&w, at(0, INF));
		struct shape_reader *r = shape_reader_new(w.shape, &s);
		struct buf tiny = BUF_INIT(20);
		struct sleeper sl = sleeper_new();
		CHECK_INT(shape_reader_next(r, &tiny, 100, &sl.w, &e), SHAPE_READ_ERROR);
		CHECK_INT(e.kind, ERR_LIMIT);
		buf_clear(&tiny);
		shape_reader_free(r);
		fold(&w, 100, 100);
	}
	shape_reader_free(NULL);
	world_end(&w);
}

/* A reader stands in the middle of a slice, or goes back, while more comes, and while it is folded away under it. */
static void test_fold_under_reader(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	for (int round = 0; round < 200; round++) {
		struct world w;
		world_make(&w);
		publish(&w, 1 + rng_below(&rng, 20));
		fold(&w, rng_below(&rng, 20), 1 + rng_below(&rng, 5));
		struct shape_slice s = slice(&w, at(0, INF));
		size_t first, end;
		CHECK(slice_is_right(&w, at(0, INF), &s, &first, &end));
		struct shape_reader *r = shape_reader_new(w.shape, &s);
		struct buf got = BUF_INIT(LIMIT);
		struct sleeper sl = sleeper_new();
		enum shape_read rc = SHAPE_READ_MORE;
		for (int i = 0; rc == SHAPE_READ_MORE && i < 1000; i++) {
			struct shape_place place = shape_reader_place(r);
			size_t before = got.len;
			rc = shape_reader_next(r, &got, got.len + 1 + rng_below(&rng, 200), &sl.w, &e);
			if (rng_below(&rng, 2) == 0)
				publish(&w, 1 + rng_below(&rng, 3));
			fold(&w, rng_below(&rng, 4), 1 + rng_below(&rng, 5));
			if (got.len > before && rng_below(&rng, 3) == 0) {
				shape_reader_return(r, place);
				got.len = before;
				rc = SHAPE_READ_MORE;
			}
		}
		CHECK_INT(rc, SHAPE_READ_END);
		size_t bad = 0, lines = 0;
		char text[256];
		for (char *p = got.data; p < got.data + got.len; lines++) {
			size_t n = text_of(first + lines, text, sizeof text, true);
			bad += strncmp(p, text, n) != 0 || p[n] != '\n';
			p = strchr(p, '\n') + 1;
		}
		CHECK_INT(bad, 0);
		CHECK_INT(lines, end - first);
		buf_clear(&got);
		shape_reader_free(r);
		world_end(&w);
	}
}

/* As load.c does at start: blocks up to somewhere, the tail from the journal. */
static void test_restore(void)
{
	struct world w;
	world_make(&w);
	publish(&w, 20);
	fold(&w, 11, 4);
	CHECK_INT(w.shape->tail.n, 9);
	tail_clear(w.shape);
	CHECK(w.shape->tail.n == 0 && w.shape->tail.entries == NULL);
	w.shape->tail.last = w.shape->tail.folded = offset_of(10);
	w.shape->tail.last_chunk_end = offset_of(6);
	for (size_t i = 11; i < 20; i++) {
		struct entry en = entry_of(i);
		tail_restore(w.shape, en.at, en.flags, en.line);
		CHECK_INT(en.line->refs, 2);
		line_unref(en.line);
	}
	check_everywhere(&w);
	CHECK_OFFSET(w.shape->tail.last_chunk_end, offset_of(13).tx, offset_of(13).op);
	fold(&w, 100, 4);
	check_everywhere(&w);
	world_end(&w);
}

/* A tail of many entries goes in steps, and its memory is used again. */
static void test_long_tail(void)
{
	struct world w;
	world_make(&w);
	for (int i = 0; i < 40; i++) {
		publish(&w, 500);
		fold(&w, 450, 10);
	}
	CHECK_INT(w.shape->tail.n, 40 * 50);
	CHECK(w.shape->tail.cap < 8192);
	struct log_offset from = at(0, INF);
	size_t read = 0;
	for (;;) {
		struct shape_slice s = slice(&w, from);
		size_t first, end;
		if (!CHECK(slice_is_right(&w, from, &s, &first, &end)) || s.empty)
			break;
		CHECK(reads_right(&w, &s, first, end, 1 << 20));
		read += end - first;
		from = s.to;
	}
	CHECK_INT(read, w.published);
	fold(&w, SIZE_MAX / 2, 10);
	CHECK_INT(w.shape->tail.n, 0);
	world_end(&w);
}

/* One line in the tail may be larger than what a response wants at once, and than a block. */
static void test_large_log(void)
{
	struct world w;
	world_make(&w);
	size_t big = 3 << 20;
	char *text = mem_alloc(big);
	memset(text, 'x', big);
	enum { N = 8 };
	for (int folded = 0; folded < 2; folded++) {
		lsn_t tx = 1000 + (lsn_t)folded;
		struct entry entries[N];
		for (uint64_t i = 0; i < N; i++)
			entries[i] = (struct entry){at(tx, i), line_new(text, i % 2 ? big : 10, 5), i == N - 1 ? ENTRY_LAST : 0};
		tail_publish(w.shape, entries, N, (struct change_times){0, 0});
		if (folded) {
			struct store_entry se[2 * N];
			CHECK_OK(store_begin(w.engine->store, &e), &e);
			for (int i = 0; i < 2 * N; i++)
				se[i] = (struct store_entry){at(1000 + (lsn_t)i / N, (uint64_t)i % N), text, "", (uint32_t)(i % 2 ? big : 10), 0, NULL, 0};
			CHECK_OK(store_put_block(w.engine->store, w.shape->id, se, 2 * N, false, &e), &e);
			CHECK_OK(store_commit(w.engine->store, &e), &e);
			tail_folded(w.shape, at(1001, N - 1));
		}
		struct shape_slice s = slice(&w, at(0, INF));
		struct shape_reader *r = shape_reader_new(w.shape, &s);
		struct buf out = BUF_INIT(LIMIT);
		struct sleeper sl = sleeper_new();
		size_t total = 0, steps = 0;
		enum shape_read rc;
		do {
			buf_reset(&out);
			rc = shape_reader_next(r, &out, 1 << 20, &sl.w, &e);
			CHECK(out.len <= (1u << 20) + big + 20);
			total += out.len;
			steps++;
		} while (rc == SHAPE_READ_MORE && steps < 100);
		CHECK_INT(rc, SHAPE_READ_END);
		size_t n = folded ? 2 * N : N;
		CHECK_INT(total, n / 2 * (10 + 1 + big + 1) + (folded ? 0 : LINE_LAST_LEN));
		CHECK(steps >= n / 2);
		buf_clear(&out);
		shape_reader_free(r);
	}
	free(text);
	world_end(&w);
}

/* ---- the snapshot ---- */

static void put_piece(struct world *w, uint32_t chunk, uint32_t piece)
{
	char text[64];
	int n = snprintf(text, sizeof text, "row %u.%u\nsame\n", chunk, piece);
	CHECK_OK(store_begin(w->engine->store, &e), &e);
	CHECK_OK(store_put_snapshot(w->engine->store, w->shape->id, chunk, piece, text, (size_t)n, chunk > 0 || piece == 2, &e), &e);
	CHECK_OK(store_commit(w->engine->store, &e), &e);
}

/* What the writer makes known after a commit. */
static void tell(struct world *w, uint32_t chunk, uint32_t pieces, bool complete)
{
	pthread_mutex_lock(shape_lock(w->shape));
	w->shape->tail.snap_chunk = chunk;
	w->shape->tail.snap_pieces = pieces;
	w->shape->tail.snap_complete = complete;
	wait_list_wake_all(&w->shape->tail.waiters);
	pthread_mutex_unlock(shape_lock(w->shape));
}

static enum shape_read next(struct shape_reader *r, struct buf *out, size_t max, struct sleeper *s)
{
	buf_clear(out);
	return shape_reader_next(r, out, max, &s->w, &e);
}

static void test_snapshot(void)
{
	struct world w;
	world_make(&w);
	w.shape->tail.state = SHAPE_SNAPSHOTTING;
	tell(&w, 0, 0, false);
	struct sleeper s = sleeper_new();
	struct shape_slice sl;
	struct buf out = BUF_INIT(LIMIT);

	shape_slice(w.shape, true, OFFSET_BEFORE_ALL, &s.w, &sl); /* nothing yet */
	CHECK_INT(sl.kind, SLICE_WAIT);
	put_piece(&w, 0, 0);
	tell(&w, 0, 1, false);
	CHECK_INT(s.woken, 1);
	shape_slice(w.shape, true, OFFSET_BEFORE_ALL, &s.w, &sl);
	CHECK(sl.kind == SLICE_SNAPSHOT && sl.chunk == 0 && !sl.up_to_date);
	CHECK_OFFSET(sl.to, 0, 0);

	/* What is there goes out; then the reader waits, and is woken by the next piece. */
	struct shape_reader *r = shape_reader_new(w.shape, &sl);
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_MORE);
	CHECK_STR(out.data, "row 0.0\nsame\n");
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_WAIT);
	CHECK(out.len == 0 && s.woken == 1);
	put_piece(&w, 0, 1);
	put_piece(&w, 0, 2);
	tell(&w, 0, 3, false);
	CHECK_INT(s.woken, 2);
	CHECK_INT(next(r, &out, 1, &s), SHAPE_READ_MORE);
	CHECK_STR(out.data, "row 0.1\nsame\n");
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_MORE);
	CHECK_STR(out.data, "row 0.2\nsame\n");
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_WAIT);
	tell(&w, 1, 0, false); /* the chunk is closed */
	CHECK_INT(s.woken, 3);
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_END);
	CHECK_INT(out.len, 0);
	shape_reader_free(r);

	/* The next chunk isn't there yet; nor is what comes after it. */
	shape_slice(w.shape, false, at(0, 0), &s.w, &sl);
	CHECK(sl.kind == SLICE_WAIT && waiter_cancel(&s.w));
	shape_slice(w.shape, false, at(0, 1), &s.w, &sl);
	CHECK(sl.kind == SLICE_WAIT && waiter_cancel(&s.w));
	/* A closed chunk is read at once, by several at a time. */
	shape_slice(w.shape, true, OFFSET_BEFORE_ALL, &s.w, &sl);
	CHECK_INT(sl.kind, SLICE_SNAPSHOT);
	r = shape_reader_new(w.shape, &sl);
	struct shape_reader *second = shape_reader_new(w.shape, &sl);
	CHECK_INT(next(second, &out, 5, &s), SHAPE_READ_MORE);
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_END);
	CHECK_STR(out.data, "row 0.0\nsame\nrow 0.1\nsame\nrow 0.2\nsame\n");
	struct shape_place place = shape_reader_place(second);
	CHECK_INT(next(second, &out, 1000, &s), SHAPE_READ_END);
	CHECK_STR(out.data, "row 0.1\nsame\nrow 0.2\nsame\n");
	shape_reader_return(second, place); /* from behind the last piece */
	CHECK_INT(next(second, &out, 5, &s), SHAPE_READ_MORE);
	CHECK_STR(out.data, "row 0.1\nsame\n");
	CHECK_INT(next(second, &out, 1000, &s), SHAPE_READ_END);
	CHECK_STR(out.data, "row 0.2\nsame\n");
	shape_reader_free(r);
	shape_reader_free(second);

	/* The log has grown meanwhile; it isn't shown before the snapshot is through. */
	publish(&w, 2);
	put_piece(&w, 1, 0);
	tell(&w, 1, 1, false);
	shape_slice(w.shape, false, at(0, 0), &s.w, &sl);
	CHECK(sl.kind == SLICE_SNAPSHOT && sl.chunk == 1);
	CHECK_OFFSET(sl.to, 0, 1);
	r = shape_reader_new(w.shape, &sl);
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_MORE);
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_WAIT);
	tell(&w, 2, 0, true);
	CHECK_INT(next(r, &out, 1000, &s), SHAPE_READ_END);
	shape_reader_free(r);
	struct log_offset froms[] = {at(0, 1), at(0, 2), at(0, 77), at(0, INF), at(0, UINT32_MAX), at(0, (uint64_t)1 << 40)};
	for (size_t i = 0; i < ARRAY_LEN(froms); i++) {
		shape_slice(w.shape, false, froms[i], &s.w, &sl);
		CHECK(sl.kind == SLICE_LOG && sl.up_to_date && !sl.empty && index_of(sl.to) == 1);
		CHECK(reads_right(&w, &sl, 0, 2, 1000));
	}
	/* The log's start is after the snapshot also for those who come with -1 to a shape without one. */
	tell(&w, 0, 0, true);
	shape_slice(w.shape, true, OFFSET_BEFORE_ALL, &s.w, &sl);
	CHECK(sl.kind == SLICE_LOG && index_of(sl.to) == 1);
	buf_clear(&out);
	world_end(&w);
}

static void test_gone(void)
{
	static const enum shape_state states[] = {SHAPE_GONE, SHAPE_FAILED};
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		struct world w;
		world_make(&w);
		put_piece(&w, 0, 0);
		publish(&w, 10);
		fold(&w, 5, 2);
		struct sleeper s = sleeper_new();
		struct shape_slice log = slice(&w, at(0, INF)), tail = slice(&w, offset_of(8)), snap, gone;
		shape_slice(w.shape, true, OFFSET_BEFORE_ALL, &s.w, &snap);
		struct shape_reader *readers[] = {shape_reader_new(w.shape, &log), shape_reader_new(w.shape, &tail),
		                                  shape_reader_new(w.shape, &snap)};
		pthread_mutex_lock(shape_lock(w.shape));
		w.shape->tail.state = states[i];
		pthread_mutex_unlock(shape_lock(w.shape));
		shape_slice(w.shape, true, OFFSET_BEFORE_ALL, &s.w, &gone);
		CHECK_INT(gone.kind, SLICE_GONE);
		CHECK_INT(slice(&w, at(0, INF)).kind, SLICE_GONE);
		CHECK_INT(slice(&w, at(999999, 0)).kind, SLICE_GONE);
		shape_slice_now(w.shape, &gone);
		CHECK_INT(gone.kind, SLICE_GONE);
		struct buf out = BUF_INIT(LIMIT);
		/* What the store had may be going: it isn't shown. The tail is whole as long as it is held. */
		CHECK_INT(next(readers[0], &out, 1000, &s), SHAPE_READ_GONE);
		CHECK_INT(next(readers[2], &out, 1000, &s), SHAPE_READ_GONE);
		enum shape_read rc = next(readers[1], &out, 1000, &s);
		CHECK(rc == SHAPE_READ_GONE || rc == SHAPE_READ_END);
		CHECK(!waiter_cancel(&s.w));
		for (size_t k = 0; k < ARRAY_LEN(readers); k++)
			shape_reader_free(readers[k]);
		buf_clear(&out);
		world_end(&w);
	}
}

/* ---- threads ---- */

#define RACE_ENTRIES (UNDER_TSAN ? 6000u : 30000u)

struct follower {
	struct world *w;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool woken;
	struct waiter waiter;
	size_t from_index; /* where it begins, again and again */
	size_t turns, wrong_lines, wrong_ends, errors;
	_Atomic size_t slept;
	struct rng rng;
};

static void follower_wake(struct waiter *w)
{
	struct follower *f = CONTAINER_OF(w, struct follower, waiter);
	pthread_mutex_lock(&f->lock);
	f->woken = true;
	pthread_cond_signal(&f->cond);
	pthread_mutex_unlock(&f->lock);
}

static void follower_sleep(struct follower *f)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	f->slept++;
	pthread_mutex_lock(&f->lock);
	int rc = 0;
	while (!f->woken && rc == 0)
		rc = pthread_cond_timedwait(&f->cond, &f->lock, &until);
	f->errors += !f->woken;
	f->woken = false;
	pthread_mutex_unlock(&f->lock);
	waiter_cancel(&f->waiter);
}

/* Lines must be those of the next entries; returns how many there are. */
static size_t check_lines(struct follower *f, size_t next_index, const struct buf *out)
{
	char text[256];
	size_t lines = 0;
	for (const char *p = out->data; out->len > 0 && p < out->data + out->len; lines++) {
		size_t n = text_of(next_index + lines, text, sizeof text, true);
		f->wrong_lines += strncmp(p, text, n) != 0 || p[n] != '\n';
		p = strchr(p, '\n') + 1;
	}
	return lines;
}

static void *follow(void *arg)
{
	struct follower *f = arg;
	struct world *w = f->w;
	struct buf out = BUF_INIT(LIMIT);
	struct err err;
	while (f->wrong_lines + f->wrong_ends + f->errors == 0) {
		struct log_offset from = f->from_index == 0 ? at(0, INF) : offset_of(f->from_index - 1);
		size_t at_index = f->from_index;
		while (at_index < RACE_ENTRIES && f->errors == 0) {
			struct shape_slice s;
			shape_slice(w->shape, false, from, &f->waiter, &s);
			if (s.kind != SLICE_LOG) {
				f->errors++;
				break;
			}
			if (s.empty) {
				if (shape_wait_change(w->shape, from, &f->waiter))
					follower_sleep(f);
				continue;
			}
			/* To the end of the chunk it is in, or to the tail if that comes first: never beyond. */
			size_t end = index_of(s.to), chunk_end = at_index / CHUNK * CHUNK + CHUNK - 1;
			f->wrong_ends += end > chunk_end || (end < chunk_end && !s.up_to_date);
			struct shape_reader *r = shape_reader_new(w->shape, &s);
			enum shape_read rc;
			do {
				buf_reset(&out);
				rc = shape_reader_next(r, &out, 1 + rng_below(&f->rng, 600), &f->waiter, &err);
				at_index += check_lines(f, at_index, &out);
			} while (rc == SHAPE_READ_MORE);
			f->errors += rc != SHAPE_READ_END || at_index != end + 1;
			shape_reader_free(r);
			from = s.to;
		}
		f->turns++;
		if (f->from_index == RACE_ENTRIES)
			break;
		f->from_index = f->from_index + RACE_ENTRIES / 4 < RACE_ENTRIES ? f->from_index + RACE_ENTRIES / 4 : RACE_ENTRIES;
	}
	buf_clear(&out);
	return NULL;
}

struct folder {
	struct world *w;
	struct rng rng;
};

/* WRITER: folds behind the publisher. */
static void *fold_behind(void *arg)
{
	struct folder *f = arg;
	struct world *w = f->w;
	while (w->folded < RACE_ENTRIES) {
		pthread_mutex_lock(shape_lock(w->shape));
		size_t there = w->folded + w->shape->tail.n;
		pthread_mutex_unlock(shape_lock(w->shape));
		w->published = there; /* nobody else looks at it meanwhile */
		if (there > w->folded)
			fold(w, 1 + rng_below(&f->rng, 60), 1 + rng_below(&f->rng, 12));
		else
			sched_yield();
	}
	store_writer_done(w->engine->store);
	return NULL;
}

static bool anybody_slept(const struct follower *followers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (atomic_load(&followers[i].slept) > 0)
			return true;
	return false;
}

static void test_threads(uint64_t seed)
{
	enum { FOLLOWERS = 3 };
	struct world w;
	world_make(&w);
	atomic_store(&w.engine->seen, UINT64_MAX);
	struct rng rng = rng_seeded(seed);
	static struct follower followers[FOLLOWERS];
	pthread_t threads[FOLLOWERS], writer;
	memset(followers, 0, sizeof followers);
	for (size_t i = 0; i < FOLLOWERS; i++) {
		struct follower *f = &followers[i];
		f->w = &w;
		pthread_mutex_init(&f->lock, NULL);
		pthread_cond_init(&f->cond, NULL);
		f->waiter.wake = follower_wake;
		f->rng = rng_seeded(seed + 1 + i);
		pthread_create(&threads[i], NULL, follow, f);
	}
	struct folder folder = {.w = &w, .rng = rng_seeded(seed + 100)};
	pthread_create(&writer, NULL, fold_behind, &folder);
	for (size_t i = 0; i < RACE_ENTRIES;) {
		struct entry entries[16];
		size_t n = 1 + rng_below(&rng, ARRAY_LEN(entries));
		n = n < RACE_ENTRIES - i ? n : RACE_ENTRIES - i;
		for (size_t k = 0; k < n; k++)
			entries[k] = entry_of(i + k);
		/* Once they have all there is, they wait: that is part of what is tested. */
		while (i < RACE_ENTRIES / 2 && i + n >= RACE_ENTRIES / 2 && !anybody_slept(followers, FOLLOWERS))
			usleep(200);
		i += n;
		tail_publish(w.shape, entries, n, (struct change_times){0, 0});
		if (rng_below(&rng, 64) == 0)
			usleep(500);
	}
	pthread_join(writer, NULL);
	for (size_t i = 0; i < FOLLOWERS; i++) {
		pthread_join(threads[i], NULL);
		CHECK_INT(followers[i].wrong_lines, 0);
		CHECK_INT(followers[i].wrong_ends, 0);
		CHECK_INT(followers[i].errors, 0);
		pthread_mutex_destroy(&followers[i].lock);
		pthread_cond_destroy(&followers[i].cond);
	}
	CHECK(anybody_slept(followers, FOLLOWERS));
	CHECK_INT(w.shape->tail.n, 0);
	world_end(&w);
}

int main(void)
{
	uint64_t seed = test_seed("test_tail");
	RUN(test_wait_lists);
	RUN(test_wait_change);
	RUN(test_slices, seed);
	RUN(test_edges);
	RUN(test_fold_under_reader, seed);
	RUN(test_restore);
	RUN(test_long_tail);
	RUN(test_large_log);
	RUN(test_snapshot);
	RUN(test_gone);
	for (uint64_t i = 0; i < 3; i++)
		RUN(test_threads, seed + i);
	return check_done("test_tail");
}
