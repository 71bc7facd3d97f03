/*
 * test_writer.c - the WRITER thread and loading: what is published, folded, staged and dropped is there
 * again after a clean stop, after a kill at any moment and after a failing disk - all below the durable
 * LSN, nothing above it.
 *
 * The engine is made by hand, without Postgres: the test plays INGEST. Transaction k is known in advance
 * (which shapes it touches, its lines, where chunks end), so a store says by its durable LSN what must be
 * in it, and the next life goes on from there, as the stream would.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine_test.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/limits.h"
#include "shapes/core/line.h"
#include "shapes/core/registry.h"
#include "shapes/core/shape.h"
#include "shapes/core/tail.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/sink.h"
#include "shapes/load.h"
#include "shapes/logs/record.h"
#include "shapes/logs/writer.h"
#include "store/seal.h"

#define LIMIT ((size_t)1 << 30)
#define SHAPES 4
#define CHUNK_BYTES 20000
#define TEXT_MAX 70000
#define WAIT_MAX_MS 10000

static struct err e;

/* ---- a disk that fails when told to: these come before the C library's, for liblmdb.so too ---- */

int fdatasync(int fd);
ssize_t pwrite(int fd, const void *p, size_t n, off_t off);

static _Atomic int fail_in; /* the n-th operation from now fails; 0: none */
static _Atomic bool fail_all;
static _Atomic(struct writer *) fail_idle; /* fails what its thread does while nothing is queued: housekeeping */
static int64_t failed_ms[8]; /* when each of the first was, since failures_from_now() */
static _Atomic size_t nfailed;

static void failures_from_now(void) { atomic_store(&nfailed, 0); }

static bool note_failing(void)
{
	size_t n = atomic_load(&nfailed);
	if (n < ARRAY_LEN(failed_ms)) {
		failed_ms[n] = clock_mono_ms();
		atomic_store(&nfailed, n + 1);
	}
	return true;
}

static bool is_idle(struct writer *w)
{
	pthread_mutex_lock(&w->lock);
	bool idle = w->ndone == w->nput;
	pthread_mutex_unlock(&w->lock);
	return idle;
}

static bool fails_now(void)
{
	struct writer *w = atomic_load(&fail_idle);
	if (atomic_load(&fail_all) || (w != NULL && is_idle(w)))
		return note_failing();
	int n = atomic_load(&fail_in);
	while (n > 0 && !atomic_compare_exchange_weak(&fail_in, &n, n - 1))
		;
	return n == 1;
}

int fdatasync(int fd)
{
	if (!fails_now())
		return (int)syscall(SYS_fdatasync, fd);
	errno = EIO;
	return -1;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	if (!fails_now())
		return syscall(SYS_pwrite64, fd, p, n, off);
	errno = ENOSPC;
	return -1;
}

/* ---- what is known in advance ---- */

static lsn_t lsn_of(uint64_t k) { return 1000 + k * 100; }
static lsn_t end_of(uint64_t k) { return lsn_of(k) + 50; }
static uint64_t transaction_below(lsn_t durable) { return durable < end_of(1) ? 0 : (durable - 1050) / 100; }
static bool is_staged(uint64_t k) { return k % 9 == 4; }

static uint64_t hash_of(uint64_t a, uint64_t b)
{
	struct rng r = rng_seeded(a * 1000003 + b);
	return rng_next(&r) >> 20;
}

/* Entries of transaction k for a shape; entry j has op 2j and the same line in all shapes. */
static size_t entries_of(uint64_t k, uint64_t id)
{
	uint64_t h = hash_of(k, id);
	return h % 3 == 0 ? 0 : 1 + h / 3 % (is_staged(k) ? 30 : 4);
}

static size_t line_text(uint64_t k, size_t j, char *text, bool last)
{
	uint64_t h = hash_of(k, 1000 + j);
	size_t pad = h % 50 == 0 ? 60000 : h / 50 % 300;
	size_t n = (size_t)sprintf(text, "{\"key\":\"%llu.%zu\",\"headers\":{%s\"x\":\"", (unsigned long long)k, j,
	                           last ? LINE_LAST : "");
	memset(text + n, 'a' + (int)(k % 26), pad);
	strcpy(text + n + pad, "\"}}");
	return n + pad + 3;
}

static struct line *line_of(uint64_t k, size_t j)
{
	static char text[TEXT_MAX];
	size_t n = line_text(k, j, text, false);
	return line_new(text, n, (size_t)(strstr(text, "\"x\"") - text));
}

/* ---- the engine ---- */

struct world {
	struct shapes *engine;
	struct config config;
	struct shape *shapes[SHAPES + 1]; /* by id; [0] unused */
	uint64_t published;
};

static void world_open(struct world *w, const char *dir)
{
	memset(w, 0, sizeof *w);
	w->config.chunk_bytes_threshold = CHUNK_BYTES;
	struct shapes *s = w->engine = engine_begin(&w->config, dir);
	struct shape *shape;
	for (size_t i = 0; (shape = map_next(&s->by_handle, &i)) != NULL;)
		if (shape->id <= SHAPES)
			w->shapes[shape->id] = shape;
	w->published = transaction_below(atomic_load(&s->durable));
}

static void world_close(struct world *w)
{
	struct shapes *s = w->engine;
	atomic_store(&s->stopping, true);
	writer_stop(s);
	engine_close(s);
}

/* ---- shapes ---- */

static void put_record(struct world *w, enum item_kind kind, struct shape *shape, uint32_t nchunks)
{
	struct pg_snapshot snap = {.xmin = 5, .xmax = 6, .insert_lsn = 1};
	struct buf b = BUF_INIT(LIMIT);
	uint64_t next_id = atomic_load(&w->engine->next_id);
	record_shape(shape, &snap, kind == ITEM_COMPLETE, nchunks, &b);
	writer_put(w->engine, kind == ITEM_COMPLETE ? item_complete_new(shape, &b, nchunks, next_id) : item_shape_new(shape, &b, next_id));
}

static void put_pieces(struct world *w, struct shape *shape)
{
	for (uint32_t chunk = 0; chunk < 2; chunk++)
		for (uint32_t piece = 0; piece < 3; piece++) {
			struct buf b = BUF_INIT(LIMIT);
			buf_printf(&b, "shape %llu, %u.%u\n", (unsigned long long)shape->id, chunk, piece);
			writer_put(w->engine, item_piece_new(shape, chunk, piece, piece == 2, &b));
		}
}

static struct shape *make_shape(struct world *w, uint64_t id)
{
	char name[40];
	snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)id, (unsigned long long)id * 1000);
	struct shape_def d = def_make(table_make(100, "public", "items", "id:23:pk0 name:25"), NULL, REPLICA_DEFAULT);
	free(d.identity);
	d.identity = mem_strdup(name);
	d.identity_len = strlen(name);
	struct shape *shape = shape_make(w->engine, &d, id, name);
	shape_def_clear(&d);
	if (atomic_load(&w->engine->next_id) <= id)
		atomic_store(&w->engine->next_id, id + 1);
	registry_link(w->engine, shape);
	struct err adopting = {0};
	REQUIRE(ingest_adopt(w->engine, shape, &adopting) == 0);
	put_record(w, ITEM_SHAPE, shape, 0);
	return shape;
}

static void make_shapes(struct world *w)
{
	for (uint64_t id = 1; id <= SHAPES; id++) {
		w->shapes[id] = make_shape(w, id);
		put_pieces(w, w->shapes[id]);
		put_record(w, ITEM_COMPLETE, w->shapes[id], 2);
	}
	CHECK(writer_flush(w->engine, &e) == 0);
	for (uint64_t id = 1; id <= SHAPES; id++)
		CHECK(w->shapes[id]->tail.state == SHAPE_LIVE);
}

/* ---- publishing ---- */

static struct entry *make_entries(struct shape *shape, uint64_t k, struct line **lines, size_t n)
{
	struct entry *entries = mem_alloc(n * sizeof *entries);
	for (size_t j = 0; j < n; j++) {
		entries[j] = (struct entry){at(lsn_of(k), j * 2), line_ref(lines[j]), j == n - 1 ? ENTRY_LAST : 0};
		shape->in.open_bytes += entry_bytes(&entries[j]);
		if (shape->in.open_bytes < shape->chunk_bytes)
			continue;
		entries[j].flags |= ENTRY_CHUNK_END;
		shape->in.open_bytes = 0;
	}
	return entries;
}

static void publish_rows(struct world *w, uint64_t k, struct line **lines)
{
	struct item_rows *it = item_rows_new(&(struct item_txn){.end = end_of(k)}, SHAPES * 40);
	for (uint64_t id = 1; id <= SHAPES; id++) {
		size_t n = entries_of(k, id);
		struct entry *entries = make_entries(w->shapes[id], k, lines, n);
		for (size_t j = 0; j < n; j++) {
			line_ref(entries[j].line);
			item_rows_add(it, w->shapes[id], &entries[j]);
		}
		tail_publish(w->shapes[id], entries, n, (struct change_times){0, 0});
		free(entries);
	}
	writer_put(w->engine, &it->item);
}

/* Entries [from, to) of every shape, in per mille of what it has. */
static void stage_part(struct world *w, uint64_t k, struct entry *const *entries, unsigned from, unsigned to)
{
	struct item_stage *it = item_stage_new(lsn_of(k));
	for (uint64_t id = 1; id <= SHAPES; id++) {
		size_t n = entries_of(k, id);
		for (size_t j = n * from / 1000; j < n * to / 1000; j++) {
			line_ref(entries[id][j].line);
			item_stage_add(it, w->shapes[id], &entries[id][j]);
		}
	}
	writer_put(w->engine, &it->item);
}

/* Lets some entries be staged without the word that they are the last, as INGEST does when it can't know: the
 * item that says so later. */
static struct item_last *forget_last(struct world *w, uint64_t k, struct entry **entries, struct rng *rng)
{
	struct item_last *it = item_last_new(lsn_of(k));
	for (uint64_t id = 1; id <= SHAPES; id++) {
		size_t n = entries_of(k, id);
		if (n == 0 || rng_below(rng, 2) == 0)
			continue;
		struct entry *newest = &entries[id][n - 1];
		/* Where it closes a chunk, it may do so only with the word. */
		bool late = (newest->flags & ENTRY_CHUNK_END) != 0 && rng_below(rng, 2) == 0;
		newest->flags &= ~(ENTRY_LAST | (late ? ENTRY_CHUNK_END : 0));
		item_last_add(it, (struct staged_end){w->shapes[id], newest->at, newest->line->split, late}, 0);
	}
	return it;
}

static void unstage_all(struct world *w, uint64_t k, struct rng *rng)
{
	for (uint64_t id = 1; id <= SHAPES; id++) {
		struct buf ids = BUF_INIT(LIMIT);
		buf_put(&ids, &id, sizeof id);
		writer_put(w->engine, item_unstage_new(lsn_of(k), &ids, id < SHAPES));
		if (rng_below(rng, 4) == 0)
			CHECK(writer_flush(w->engine, &e) == 0);
	}
}

static void publish_staged(struct world *w, uint64_t k, struct line **lines, struct rng *rng)
{
	struct entry *entries[SHAPES + 1] = {NULL};
	for (uint64_t id = 1; id <= SHAPES; id++)
		entries[id] = make_entries(w->shapes[id], k, lines, entries_of(k, id));
	struct item_last *last = forget_last(w, k, entries, rng);
	unsigned middle = (unsigned)rng_below(rng, 1001);
	stage_part(w, k, entries, 0, middle);
	if (rng_below(rng, 2) == 0)
		CHECK(writer_flush(w->engine, &e) == 0);
	if (rng_below(rng, 3) == 0) { /* the connection was lost in the middle of it */
		unstage_all(w, k, rng);
		if (rng_below(rng, 2) == 0)
			CHECK(writer_flush(w->engine, &e) == 0);
		middle = 0;
	}
	stage_part(w, k, entries, middle, 1000);
	if (rng_below(rng, 2) == 0)
		CHECK(writer_flush(w->engine, &e) == 0);
	writer_put(w->engine, &last->item);
	struct item_publish *it = item_publish_new(&(struct item_txn){.tx = lsn_of(k), .end = end_of(k), .xid = (uint32_t)k});
	for (uint64_t id = 1; id <= SHAPES; id++) {
		size_t n = entries_of(k, id);
		if (n > 0)
			item_publish_add(it, w->shapes[id], entries[id][n - 1].at);
	}
	writer_put(w->engine, &it->item);
	while (atomic_load(&w->engine->published_tx) != lsn_of(k)) /* INGEST waits for it, too */
		CHECK(writer_flush(w->engine, &e) == 0);
	for (uint64_t id = 1; id <= SHAPES; id++) {
		for (size_t j = 0; j < entries_of(k, id); j++)
			line_unref(entries[id][j].line);
		free(entries[id]);
	}
}

static void publish(struct world *w, struct rng *rng)
{
	uint64_t k = ++w->published;
	size_t most = 0;
	for (uint64_t id = 1; id <= SHAPES; id++)
		most = entries_of(k, id) > most ? entries_of(k, id) : most;
	struct line *lines[40];
	for (size_t j = 0; j < most; j++)
		lines[j] = line_of(k, j);
	if (is_staged(k))
		publish_staged(w, k, lines, rng);
	else
		publish_rows(w, k, lines);
	for (size_t j = 0; j < most; j++)
		line_unref(lines[j]);
}

/* A shape that lives for a while. */
static void drop_shape(struct world *w, struct shape *shape)
{
	struct shapes *s = w->engine;
	ingest_release(s); /* routes of all; the test routes by itself */
	map_del(&s->by_handle, shape->handle, strlen(shape->handle));
	map_del(&s->by_identity, shape->def.identity, shape->def.identity_len);
	writer_put(s, item_drop_new(shape));
}

/* ---- looking ---- */

/* The log of a shape up to transaction k: what a client reads, chunk by chunk. */
static bool log_is_right(struct world *w, uint64_t id, uint64_t k)
{
	static char text[TEXT_MAX];
	struct shape *shape = w->shapes[id];
	struct buf got = BUF_INIT(LIMIT), want = BUF_INIT(LIMIT);
	struct log_offset from = at(0, LOG_OP_INF), last = from, end = from;
	struct waiter waiter = {0};
	bool good = true, done = false;
	uint64_t open_bytes = 0, tx = 1;
	size_t j = 0;
	while (good && !done) {
		/* Up to the next chunk end, or to the tail. */
		buf_reset(&want);
		for (bool closed = false; tx <= k && !closed;) {
			size_t n = entries_of(tx, id);
			if (j < n) {
				size_t len = line_text(tx, j, text, j == n - 1);
				buf_put(&want, text, len);
				buf_putc(&want, '\n');
				open_bytes += len;
				last = at(lsn_of(tx), j * 2);
				closed = open_bytes >= CHUNK_BYTES;
				open_bytes = closed ? 0 : open_bytes;
			}
			tx += j + 1 >= n;
			j = j + 1 >= n ? 0 : j + 1;
		}
		end = want.len > 0 ? last : from;
		struct shape_slice s;
		shape_slice(shape, false, from, &waiter, &s);
		good = s.kind == SLICE_LOG && log_offset_cmp(s.to, end) == 0 && s.empty == (want.len == 0);
		if (!good) {
			char a[LOG_OFFSET_TEXT_MAX], b[LOG_OFFSET_TEXT_MAX];
			printf("  shape %llu: slice to %s, want %s\n", (unsigned long long)id, log_offset_text(s.to, a),
			       log_offset_text(end, b));
			break;
		}
		buf_reset(&got);
		struct shape_reader *r = shape_reader_new(shape, &s);
		enum shape_read rc;
		while ((rc = shape_reader_next(r, &got, got.len + 5000, &waiter, &e)) == SHAPE_READ_MORE)
			;
		shape_reader_free(r);
		good = rc == SHAPE_READ_END && got.len == want.len && (got.len == 0 || memcmp(got.data, want.data, got.len) == 0);
		from = s.to;
		done = s.up_to_date;
	}
	while (tx <= k && entries_of(tx, id) == 0)
		tx++;
	good = good && tx > k && shape->in.open_bytes == open_bytes && log_offset_cmp(shape->tail.last, last) == 0;
	buf_clear(&got);
	buf_clear(&want);
	return good;
}

static bool snapshot_is_right(struct world *w, uint64_t id)
{
	struct buf got = BUF_INIT(LIMIT), want = BUF_INIT(LIMIT);
	struct waiter waiter = {0};
	for (uint32_t chunk = 0; chunk < 2; chunk++) {
		struct shape_slice s;
		shape_slice(w->shapes[id], chunk == 0, chunk == 0 ? OFFSET_BEFORE_ALL : at(0, 0), &waiter, &s);
		if (s.kind != SLICE_SNAPSHOT || s.chunk != chunk)
			return false;
		struct shape_reader *r = shape_reader_new(w->shapes[id], &s);
		while (shape_reader_next(r, &got, LIMIT, &waiter, &e) == SHAPE_READ_MORE)
			;
		shape_reader_free(r);
		for (uint32_t piece = 0; piece < 3; piece++)
			buf_printf(&want, "shape %llu, %u.%u\n", (unsigned long long)id, chunk, piece);
	}
	bool good = got.len == want.len && memcmp(got.data, want.data, want.len) == 0;
	buf_clear(&got);
	buf_clear(&want);
	return good;
}

static bool all_is_right(struct world *w, uint64_t k)
{
	bool good = true;
	for (uint64_t id = 1; id <= SHAPES; id++)
		if (w->shapes[id] == NULL || !snapshot_is_right(w, id) || !log_is_right(w, id, k)) {
			printf("  shape %llu is wrong at transaction %llu\n", (unsigned long long)id, (unsigned long long)k);
			good = false;
		}
	return good;
}

/* ---- the tests ---- */

/* Several lives with clean stops: everything that was queued is there. */
static void test_lives(uint64_t seed)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct rng rng = rng_seeded(seed);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	for (int life = 0; life < 4; life++) {
		uint64_t n = 20 + rng_below(&rng, 60);
		for (uint64_t i = 0; i < n; i++) {
			publish(&w, &rng);
			if (i % 17 == 0)
				CHECK(all_is_right(&w, w.published));
		}
		CHECK(writer_flush(w.engine, &e) == 0);
		CHECK_INT(atomic_load(&w.engine->durable), end_of(w.published));
		CHECK(all_is_right(&w, w.published));
		uint64_t published = w.published;
		world_close(&w);
		world_open(&w, dir);
		CHECK_INT(w.published, published);
		CHECK_INT(w.engine->nshapes, SHAPES);
		CHECK(all_is_right(&w, published));
	}
	world_close(&w);
	temp_dir_remove(dir);
}

/* The disk fails again and again: the same rows are written again, each once, and nothing waits for ever. */
static void test_failing_disk(uint64_t seed)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct rng rng = rng_seeded(seed);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	int happened = 0, failures = UNDER_TSAN || UNDER_ASAN ? 20 : 60;
	for (int i = 0; i < failures; i++) {
		/* Batches small and large, staged and not; sometimes the second try fails, too. */
		for (uint64_t n = rng_below(&rng, 12); n > 0; n--)
			publish(&w, &rng);
		lsn_t before = atomic_load(&w.engine->durable);
		atomic_store(&fail_in, 1 + (int)rng_below(&rng, 6));
		for (uint64_t n = 1 + rng_below(&rng, 12); n > 0; n--)
			publish(&w, &rng);
		CHECK(writer_flush(w.engine, &e) == 0);
		CHECK(atomic_load(&w.engine->durable) >= before && atomic_load(&w.engine->durable) == end_of(w.published));
		happened += atomic_exchange(&fail_in, 0) == 0;
		CHECK(all_is_right(&w, w.published));
	}
	CHECK(happened > failures / 3);
	int64_t until = clock_mono_ms() + WAIT_MAX_MS;
	while (atomic_load(&w.engine->store_failing) && clock_mono_ms() < until)
		usleep(1000);
	CHECK(!atomic_load(&w.engine->store_failing));
	uint64_t published = w.published;
	world_close(&w);
	world_open(&w, dir);
	CHECK_INT(w.published, published);
	CHECK(all_is_right(&w, published));
	world_close(&w);
	temp_dir_remove(dir);
}

/* A disk that stays full: whoever waits is told why in time, and when it has room all of it goes on. */
static void test_full_disk(void)
{
	char dir[TEMP_DIR_MAX], why[300];
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	struct shapes *s = w.engine;
	struct err told;
	CHECK(!shapes_store_failing(s, NULL, why, sizeof why));
	CHECK_INT(writer_room(s, w.shapes[1], &told), 0);
	s->writer.wait_max_ms = 200;
	int64_t began = clock_mono_ms(), since = 0; /* before anything can fail */
	atomic_store(&fail_all, true);
	for (uint32_t piece = 0; piece < 20; piece++) {
		struct buf rows = BUF_INIT(LIMIT);
		char *zeros = buf_room(&rows, 1 << 20);
		memset(zeros, 0, 1 << 20);
		buf_added(&rows, 1 << 20);
		writer_put(s, item_piece_new(w.shapes[1], 9, piece, false, &rows));
	}
	CHECK_INT(writer_room(s, w.shapes[1], &told), -1);
	CHECK(told.kind == ERR_TIMEOUT && strstr(told.text, "storage") != NULL);
	CHECK_INT(writer_flush(s, &told), -1);
	CHECK(told.kind == ERR_TIMEOUT && clock_mono_ms() - began < 5000);
	while (!shapes_store_failing(s, &since, why, sizeof why) && clock_mono_ms() - began < WAIT_MAX_MS)
		usleep(1000);
	CHECK(shapes_store_failing(s, &since, why, sizeof why) && since >= began && strstr(why, "store: ") != NULL);
	CHECK_INT(writer_flush(s, &told), -1);
	CHECK(told.kind == ERR_TIMEOUT && strstr(told.text, why) != NULL);
	struct shapes_ready ready;
	shapes_ready(s, &ready);
	CHECK_STR(ready.status, "store_failing");
	CHECK(!ready.ready && ready.reason != NULL && strstr(ready.reason, why) != NULL);
	struct shape_def d = def_make(table_make(100, "public", "items", "id:23:pk0 name:25"), NULL, REPLICA_DEFAULT);
	s->phase = STREAM_RUNNING;
	CHECK(shapes_get(s, &d, &told) == NULL && told.kind == ERR_TIMEOUT && strstr(told.text, why) != NULL);
	shape_def_clear(&d);
	atomic_store(&w.shapes[2]->dropped, true);
	CHECK_INT(writer_room(s, w.shapes[2], &told), 1); /* whoever copies for one that is gone is let go at once */
	atomic_store(&w.shapes[2]->dropped, false);
	atomic_store(&fail_all, false);
	s->writer.wait_max_ms = WAIT_MAX_MS;
	CHECK_OK(writer_flush(s, &told), &told);
	CHECK_INT(writer_room(s, w.shapes[1], &told), 0);
	CHECK(!shapes_store_failing(s, NULL, NULL, 0));
	world_close(&w);
	temp_dir_remove(dir);
}

static bool has_failed(size_t times)
{
	int64_t until = clock_mono_ms() + WAIT_MAX_MS;
	while (atomic_load(&nfailed) < times && clock_mono_ms() < until)
		usleep(1000);
	return atomic_load(&nfailed) >= times;
}

/* Each attempt waits longer than the one before: it isn't for nothing that all pages are looked at. */
static void test_attempts(void)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	failures_from_now();
	atomic_store(&fail_all, true);
	put_pieces(&w, w.shapes[1]);
	CHECK(has_failed(4));
	CHECK(failed_ms[2] - failed_ms[1] >= 500);
	CHECK(failed_ms[3] - failed_ms[2] >= 1000);
	atomic_store(&fail_all, false);
	CHECK_OK(writer_flush(w.engine, &e), &e);
	world_close(&w);
	temp_dir_remove(dir);
}

/* A disk that has room for rows and none for folding or deleting: it is said once, and is so until that works. */
static void test_failing_housekeeping(void)
{
	char dir[TEMP_DIR_MAX], why[300];
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	struct rng rng = rng_seeded(1);
	struct shape *gone = make_shape(&w, 50);
	put_pieces(&w, gone);
	CHECK_OK(writer_flush(w.engine, &e), &e);
	failures_from_now();
	atomic_store(&fail_idle, &w.engine->writer);
	drop_shape(&w, gone);
	CHECK_OK(writer_flush(w.engine, &e), &e);
	CHECK(has_failed(1));
	int64_t since, first = 0;
	for (size_t times = 2; times <= 3; times++) {
		publish(&w, &rng);
		CHECK_OK(writer_flush(w.engine, &e), &e); /* what is to be committed is */
		CHECK(shapes_store_failing(w.engine, &since, why, sizeof why) && strstr(why, "store: commit: ") != NULL);
		CHECK(first == 0 || since == first);
		first = since;
		CHECK(has_failed(times));
	}
	CHECK(failed_ms[2] - failed_ms[1] >= 1000);
	atomic_store(&fail_idle, NULL);
	int64_t until = clock_mono_ms() + WAIT_MAX_MS;
	while (shapes_store_failing(w.engine, NULL, NULL, 0) && clock_mono_ms() < until)
		usleep(1000);
	CHECK(!shapes_store_failing(w.engine, NULL, NULL, 0));
	CHECK(all_is_right(&w, w.published));
	world_close(&w);
	temp_dir_remove(dir);
}

static size_t folded_shapes(struct world *w)
{
	size_t folded = 0;
	for (uint64_t id = 1; id <= SHAPES; id++) {
		pthread_mutex_lock(shape_lock(w->shapes[id]));
		folded += w->shapes[id]->tail.folded.tx != 0;
		pthread_mutex_unlock(shape_lock(w->shapes[id]));
	}
	return folded;
}

/* Enough of a log that the journal is folded several times: the blocks and the rest are one log. */
static void test_folding(uint64_t seed)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct rng rng = rng_seeded(seed);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	uint64_t most = UNDER_TSAN || UNDER_ASAN ? 6000 : 15000;
	for (uint64_t i = 0; i < most; i++) {
		publish(&w, &rng);
		if (i % 101 == 0) /* now and then in a fold */
			atomic_store(&fail_in, 1 + (int)rng_below(&rng, 60));
		if (i % 200 == 0)
			CHECK(writer_flush(w.engine, &e) == 0);
	}
	atomic_store(&fail_in, 0);
	CHECK(writer_flush(w.engine, &e) == 0);
	CHECK(all_is_right(&w, w.published));
	int64_t until = clock_mono_ms() + WAIT_MAX_MS; /* after a failure the WRITER rests a little */
	while (folded_shapes(&w) < SHAPES && clock_mono_ms() < until)
		usleep(1000);
	CHECK_INT(folded_shapes(&w), SHAPES);
	CHECK(all_is_right(&w, w.published));
	uint64_t published = w.published;
	world_close(&w);
	world_open(&w, dir);
	CHECK_INT(w.published, published);
	CHECK(all_is_right(&w, published));
	world_close(&w);
	temp_dir_remove(dir);
}

#define BULK_TXNS 40 /* of a row each: more than the journal may have before it is folded */
#define BULK_BYTES (512u << 10)

static struct entry bulk_entry(uint64_t k)
{
	char *text = mem_alloc(BULK_BYTES);
	size_t n = (size_t)sprintf(text, "{\"n\":%llu,\"x\":\"", (unsigned long long)k);
	memset(text + n, 'x', BULK_BYTES - n - 2);
	memcpy(text + BULK_BYTES - 2, "\"}", 2);
	struct entry en = {at(lsn_of(k), 0), line_new(text, BULK_BYTES, 1), ENTRY_CHUNK_END};
	free(text);
	return en;
}

/* Rows 1 to BULK_TXNS, each once. */
static bool bulk_is_right(struct shape *shape)
{
	struct buf got = BUF_INIT(LIMIT);
	struct waiter waiter = {0};
	struct log_offset from = {0, LOG_OP_INF};
	uint64_t k = 1;
	bool good = shape != NULL;
	for (bool done = false; good && !done;) {
		struct shape_slice sl;
		char want[40];
		shape_slice(shape, false, from, &waiter, &sl);
		done = sl.empty;
		if (done)
			break;
		buf_reset(&got);
		struct shape_reader *r = shape_reader_new(shape, &sl);
		while (shape_reader_next(r, &got, LIMIT, &waiter, &e) == SHAPE_READ_MORE)
			;
		shape_reader_free(r);
		int n = snprintf(want, sizeof want, "{\"n\":%llu,", (unsigned long long)k++);
		good = sl.kind == SLICE_LOG && got.len == BULK_BYTES + 1 && memcmp(got.data, want, (size_t)n) == 0;
		from = sl.to;
		done = sl.up_to_date;
	}
	buf_clear(&got);
	return good && k == BULK_TXNS + 1;
}

static struct log_offset folded_upto(struct shape *shape)
{
	pthread_mutex_lock(shape_lock(shape));
	struct log_offset upto = shape->tail.folded;
	pthread_mutex_unlock(shape_lock(shape));
	return upto;
}

/* Rows are in the tail before they are queued: a fold that finds some that aren't durable leaves them there, and the next one, and a
 * restart, has each once. */
static void test_folds_what_is_durable(void)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	struct shape *shape = make_shape(&w, 60);
	put_record(&w, ITEM_COMPLETE, shape, 0);
	CHECK(writer_flush(w.engine, &e) == 0);
	struct entry all[BULK_TXNS];
	for (uint64_t k = 1; k <= BULK_TXNS; k++) {
		struct entry en = all[k - 1] = bulk_entry(k);
		line_ref(en.line);
		tail_publish(shape, &en, 1, (struct change_times){0, 0});
	}
	for (uint64_t k = 1; k <= BULK_TXNS; k++) {
		struct item_rows *it = item_rows_new(&(struct item_txn){.end = end_of(k)}, 1);
		item_rows_add(it, shape, &all[k - 1]);
		if (k == BULK_TXNS) { /* of this one nothing is known but to those who read the tail */
			int64_t until = clock_mono_ms() + WAIT_MAX_MS;
			CHECK(writer_flush(w.engine, &e) == 0);
			while (folded_upto(shape).tx == 0 && clock_mono_ms() < until)
				usleep(1000);
			lsn_t folded = folded_upto(shape).tx;
			CHECK(folded > 0 && folded < lsn_of(k));
			CHECK(bulk_is_right(shape));
		}
		writer_put(w.engine, &it->item);
	}
	CHECK(writer_flush(w.engine, &e) == 0);
	CHECK(bulk_is_right(shape));
	world_close(&w);
	world_open(&w, dir);
	CHECK(bulk_is_right(map_get(&w.engine->by_handle, "60-60000", strlen("60-60000"))));
	world_close(&w);
	temp_dir_remove(dir);
}

static uint64_t log_bytes_of(uint64_t id, uint64_t upto, uint64_t *entries)
{
	static char text[TEXT_MAX];
	uint64_t sum = 0;
	*entries = 0;
	for (uint64_t k = 1; k <= upto; k++) {
		size_t n = entries_of(k, id);
		for (size_t j = 0; j < n; j++)
			sum += line_text(k, j, text, j == n - 1);
		*entries += n;
	}
	return sum;
}

/* What each shape takes, for who goes first: counted as it is written, staged and cut, and again at a start. */
static void test_bytes(uint64_t seed)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct rng rng = rng_seeded(seed);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	for (int k = 0; k < 40; k++) /* four of them are staged, some twice */
		publish(&w, &rng);
	CHECK(writer_flush(w.engine, &e) == 0);
	uint64_t upto = w.published;
	for (int life = 0; life < 2; life++) {
		for (uint64_t id = 1; id <= SHAPES; id++) {
			/* In the store each entry has a place in its block; of staged ones some don't count that they are the last. */
			uint64_t entries, want = log_bytes_of(id, upto, &entries), slack = upto * LINE_LAST_LEN, got = atomic_load(&w.shapes[id]->log_bytes);
			CHECK(got + slack >= want && got <= want + slack + (life == 0 ? 0 : entries * 64));
			uint64_t snapshot = atomic_load(&w.shapes[id]->snapshot_bytes);
			CHECK(snapshot >= 6 * strlen("shape 1, 0.0\n") && snapshot <= 6 * (strlen("shape 1, 0.0\n") + (life == 0 ? 0 : 9)));
		}
		world_close(&w);
		world_open(&w, dir);
	}
	/* One that goes is on its way out until it is deleted. */
	struct shapes *s = w.engine;
	struct shape *gone = shape_ref(w.shapes[1]);
	ingest_release(s);
	CHECK(shape_unlink(gone, REASON_EXPIRED, "a test"));
	CHECK_INT(atomic_load(&s->usage.going), atomic_load(&gone->log_bytes) + atomic_load(&gone->snapshot_bytes));
	writer_put(s, item_drop_new(gone));
	CHECK(writer_flush(s, &e) == 0);
	int64_t until = clock_mono_ms() + WAIT_MAX_MS;
	while (atomic_load(&s->usage.going) > 0 && clock_mono_ms() < until)
		(void)poll(NULL, 0, 5);
	CHECK_INT(atomic_load(&s->usage.going), 0);
	CHECK(atomic_load(&s->usage.used) > 0 && atomic_load(&s->usage.file) >= atomic_load(&s->usage.used));
	shape_unref(gone);
	world_close(&w);
	temp_dir_remove(dir);
}

/* Shapes that go, shapes whose snapshot never came to its end, and a twin of one definition. */
static void test_drops(void)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct rng rng = rng_seeded(1);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	publish(&w, &rng);
	struct shape *gone = make_shape(&w, 50), *unfinished = make_shape(&w, 51);
	put_pieces(&w, gone);
	put_pieces(&w, unfinished);
	put_record(&w, ITEM_COMPLETE, gone, 2);
	shape_ref(gone);
	drop_shape(&w, gone);
	put_record(&w, ITEM_COMPLETE, gone, 2); /* late, from a thread that hadn't heard */
	put_pieces(&w, gone);
	CHECK(writer_flush(w.engine, &e) == 0);
	CHECK_INT(gone->tail.state, SHAPE_GONE);
	CHECK_INT(unfinished->tail.state, SHAPE_SNAPSHOTTING);
	shape_unref(gone);
	world_close(&w);
	world_open(&w, dir);
	CHECK_INT(w.engine->nshapes, SHAPES); /* neither of the two */
	CHECK(atomic_load(&w.engine->next_id) >= 52);
	CHECK(all_is_right(&w, 1));
	world_close(&w);
	/* Deletion in steps has run: nothing of the two is left. */
	world_open(&w, dir);
	CHECK(writer_flush(w.engine, &e) == 0);
	struct store *s;
	world_close(&w);
	CHECK_OK(store_open(&s, dir, false, &e), &e);
	bool more = true;
	for (int i = 0; i < 100 && more; i++) {
		CHECK_OK(store_begin(s, &e), &e);
		CHECK_OK(store_gc_step(s, 1000, &more, &e), &e);
		CHECK_OK(store_commit(s, &e), &e);
	}
	struct store_read *r = store_read_begin(s, &e);
	struct buf out = BUF_INIT(LIMIT);
	for (uint64_t id = 50; id <= 51; id++)
		CHECK_INT(read_snapshot(r, id, 0, 0, &out, &e), 1);
	CHECK_INT(read_snapshot(r, 1, 0, 0, &out, &e), 0);
	store_read_end(r);
	buf_clear(&out);
	store_close(s);
	temp_dir_remove(dir);
}

/* Nothing of the shape is left in the store. */
static bool is_deleted(struct shapes *s, uint64_t id)
{
	int64_t until = clock_mono_ms() + WAIT_MAX_MS;
	int dropped = 1;
	for (; dropped == 1 && clock_mono_ms() < until; usleep(1000)) {
		struct store_read *r = store_read_begin(s->store, &e);
		dropped = store_is_dropped(r, id, &e);
		store_read_end(r);
	}
	return dropped == 0;
}

/* A thread that hadn't heard that a shape is gone queues its record and rows when all of it has been deleted: they don't bring it
 * back. */
static void test_late_record(void)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	struct shape *gone = shape_ref(make_shape(&w, 50));
	put_pieces(&w, gone);
	CHECK(writer_flush(w.engine, &e) == 0);
	drop_shape(&w, gone);
	CHECK(writer_flush(w.engine, &e) == 0);
	CHECK(is_deleted(w.engine, 50));
	put_pieces(&w, gone);
	put_record(&w, ITEM_COMPLETE, gone, 2);
	CHECK(writer_flush(w.engine, &e) == 0);
	CHECK_INT(gone->tail.state, SHAPE_GONE);
	struct buf out = BUF_INIT(LIMIT);
	struct store_read *r = store_read_begin(w.engine->store, &e);
	CHECK_INT(read_snapshot(r, 50, 0, 0, &out, &e), 1);
	store_read_end(r);
	buf_clear(&out);
	shape_unref(gone);
	world_close(&w);
	world_open(&w, dir);
	CHECK_INT(w.engine->nshapes, SHAPES);
	CHECK(all_is_right(&w, 0));
	world_close(&w);
	temp_dir_remove(dir);
}

/* The bytes `what` in the data file, wherever they stand, are others from now on. */
static size_t damage_file(const char *dir, const void *what, size_t len)
{
	char path[TEMP_DIR_MAX + 32];
	snprintf(path, sizeof path, "%s/busbar/data.mdb", dir);
	int fd = open(path, O_RDWR);
	struct stat st;
	REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
	char *all = mem_alloc((size_t)st.st_size), *p = all;
	REQUIRE(pread(fd, all, (size_t)st.st_size, 0) == st.st_size);
	size_t n = 0;
	for (; (p = memmem(p, (size_t)(all + st.st_size - p), what, len)) != NULL; p++, n++) {
		char other = (char)(*p ^ 1);
		REQUIRE(pwrite(fd, &other, 1, p - all) == 1);
	}
	free(all);
	close(fd);
	return n;
}

/* What stands in the store where a shape's log ends, as long as it has none. */
static size_t damage_empty_head(const char *dir, uint64_t id)
{
	unsigned char key[8];
	uint64_t head[6] = {0, LOG_OP_INF, 0, LOG_OP_INF, 0, 0};
	for (int i = 0; i < 8; i++)
		key[i] = (unsigned char)(id >> (56 - 8 * i));
	head[5] = seal_of(DB_HEADS, key, sizeof key, head, 40);
	return damage_file(dir, head, sizeof head);
}

/* Damage is met between a shape's two records: it costs that shape, and the WRITER goes on. */
static void test_damaged_head(void)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	struct shape *bad = make_shape(&w, 50);
	put_pieces(&w, bad);
	CHECK(writer_flush(w.engine, &e) == 0);
	CHECK(damage_empty_head(dir, 50) > 0);
	w.engine->writer.wait_max_ms = 3000;
	put_record(&w, ITEM_COMPLETE, bad, 2);
	CHECK_OK(writer_flush(w.engine, &e), &e);
	CHECK(atomic_load(&bad->dropped));
	CHECK(!shapes_store_failing(w.engine, NULL, NULL, 0));
	CHECK(all_is_right(&w, 0));
	world_close(&w);
	world_open(&w, dir);
	CHECK_INT(w.engine->nshapes, SHAPES);
	CHECK(all_is_right(&w, 0));
	world_close(&w);
	temp_dir_remove(dir);
}

static _Noreturn void live_until_killed(const char *dir, uint64_t seed, int ready)
{
	struct rng rng = rng_seeded(seed);
	struct world w;
	check_failed = 0;
	world_open(&w, dir);
	if (!all_is_right(&w, w.published))
		_exit(3);
	if (write(ready, "x", 1) != 1)
		_exit(2);
	for (;;) {
		publish(&w, &rng);
		if (rng_below(&rng, 10) == 0 && !(writer_flush(w.engine, &e) == 0))
			_exit(2);
		if (rng_below(&rng, 50) == 0 && !all_is_right(&w, w.published))
			_exit(3);
		if (check_failed > 0)
			_exit(4);
	}
}

/* A process that is killed at any moment: what was durable is there, and only that. */
static void test_kills(uint64_t seed)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct rng rng = rng_seeded(seed);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	world_close(&w);
	uint64_t was = 0;
	int kills = UNDER_TSAN || UNDER_ASAN ? 6 : 20;
	for (int i = 0; i < kills; i++) {
		int ready[2];
		char byte;
		CHECK(pipe(ready) == 0);
		fflush(stdout);
		pid_t child = fork();
		if (child == 0)
			live_until_killed(dir, seed + (uint64_t)i, ready[1]);
		close(ready[1]);
		CHECK(read(ready[0], &byte, 1) == 1);
		close(ready[0]);
		usleep((useconds_t)rng_below(&rng, UNDER_TSAN || UNDER_ASAN ? 300000 : 60000));
		kill(child, SIGKILL);
		int status = 0;
		waitpid(child, &status, 0);
		if (!CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
			printf("  the child ended by itself: %#x\n", (unsigned)status);
		world_open(&w, dir);
		CHECK(w.published >= was);
		if (!CHECK(all_is_right(&w, w.published)))
			printf("  after kill %d\n", i);
		CHECK_INT(w.engine->nshapes, SHAPES);
		was = w.published;
		world_close(&w);
	}
	CHECK(was > 0);
	printf("test_writer: %llu transactions in %d lives\n", (unsigned long long)was, kills);
	temp_dir_remove(dir);
}

/* ---- ids ---- */

static bool hold; /* the WRITER is kept from its queue while items for one commit are put */

static void hold_writer(struct world *w)
{
	hold = true;
	pthread_mutex_lock(&w->engine->writer.lock);
}

/* As writer_put() does, with its lock held. */
static void put_held(struct world *w, struct item *it)
{
	struct writer *wr = &w->engine->writer;
	REQUIRE(hold);
	it->next = NULL;
	*wr->tail = it;
	wr->tail = &it->next;
	wr->nput++;
	wr->urgent += it->kind != ITEM_ROWS;
	wr->queued_bytes += it->bytes;
}

static void let_go(struct world *w)
{
	pthread_cond_signal(&w->engine->writer.cond);
	pthread_mutex_unlock(&w->engine->writer.lock);
	hold = false;
}

static struct shape *lone_shape(struct world *w, uint64_t id, const char *name)
{
	struct shape_def d = def_make(table_make(100, "public", "items", "id:23:pk0 name:25"), NULL, REPLICA_DEFAULT);
	free(d.identity);
	d.identity = mem_strdup(name);
	d.identity_len = strlen(name);
	struct shape *shape = shape_make(w->engine, &d, id, name);
	shape_def_clear(&d);
	atomic_store(&w->engine->next_id, id + 1);
	return shape;
}

static struct item *record_item(struct world *w, enum item_kind kind, struct shape *shape)
{
	struct pg_snapshot snap = {.xmin = 5, .xmax = 6, .insert_lsn = 1};
	struct buf b = BUF_INIT(LIMIT);
	uint64_t next_id = atomic_load(&w->engine->next_id);
	record_shape(shape, &snap, kind == ITEM_COMPLETE, 0, &b);
	return kind == ITEM_COMPLETE ? item_complete_new(shape, &b, 0, next_id) : item_shape_new(shape, &b, next_id);
}

static struct item *row_item(struct shape *shape, uint64_t k)
{
	struct item_rows *it = item_rows_new(&(struct item_txn){.end = end_of(k)}, 1);
	item_rows_add(it, shape, &(struct entry){at(lsn_of(k), 0), line_of(k, 0), ENTRY_LAST});
	return &it->item;
}

/* A shape is made, has a row and is dropped, all in one commit, which fails the first time: its id is used up, whatever
 * is left of it. */
static void test_ids(bool fails)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	make_shapes(&w);
	uint64_t id = SHAPES + 1;
	struct shape *brief = lone_shape(&w, id, "brief-7");
	struct item *drop = item_drop_new(brief);
	struct item *record = record_item(&w, ITEM_SHAPE, brief), *row = row_item(brief, 1);
	hold_writer(&w);
	put_held(&w, record);
	put_held(&w, row);
	put_held(&w, drop);
	if (fails)
		atomic_store(&fail_in, 1);
	let_go(&w);
	CHECK(writer_flush(w.engine, &e) == 0);
	CHECK_INT(atomic_load(&fail_in), 0);
	world_close(&w);
	world_open(&w, dir);
	CHECK(atomic_load(&w.engine->next_id) > id);
	/* The id that a shape of another table gets now. */
	struct shape *later = make_shape(&w, atomic_load(&w.engine->next_id));
	put_record(&w, ITEM_COMPLETE, later, 0);
	CHECK(writer_flush(w.engine, &e) == 0);
	char handle[HANDLE_TEXT_MAX];
	memcpy(handle, later->handle, sizeof handle);
	world_close(&w);
	world_open(&w, dir);
	later = map_get(&w.engine->by_handle, handle, strlen(handle));
	CHECK(later != NULL && later->tail.n == 0);
	world_close(&w);
	temp_dir_remove(dir);
}

/* What stands anywhere under an id that was never counted. */
static void test_largest_id(void)
{
	for (int where = 0; where < 5; where++) {
		char dir[TEMP_DIR_MAX];
		temp_dir_new(dir);
		struct world w;
		world_open(&w, dir);
		make_shapes(&w);
		struct shape *other = lone_shape(&w, 70, "other-7");
		registry_link(w.engine, other); /* which frees it */
		if (where == 0) {
			writer_put(w.engine, row_item(other, 1));
			CHECK(writer_flush(w.engine, &e) == 0);
		}
		world_close(&w);
		struct store *s;
		CHECK_OK(store_open(&s, dir, false, &e), &e);
		CHECK_OK(store_begin(s, &e), &e);
		struct store_entry en = {at(5000, 0), "{}", NULL, 2, 0, NULL, 0};
		if (where == 1)
			CHECK_OK(store_put_block(s, 70, &en, 1, false, &e), &e);
		if (where == 2)
			CHECK_OK(store_put_block(s, 70, &en, 1, true, &e), &e);
		if (where == 3)
			CHECK_OK(store_put_snapshot(s, 70, 0, 0, "{}\n", 3, false, &e), &e);
		if (where == 4)
			CHECK_OK(store_drop_shape(s, 70, &e), &e);
		CHECK_OK(store_commit(s, &e), &e);
		store_writer_done(s);
		store_close(s);
		world_open(&w, dir);
		CHECK_INT(atomic_load(&w.engine->next_id), 71);
		world_close(&w);
		temp_dir_remove(dir);
	}
}

/* ---- one transaction in many shapes ---- */

#define MANY 5000
#define MANY_LINE 4000

/* Shape i's row: some close a chunk, some only because `"last":true,` goes in. */
static size_t many_length(uint64_t i) { return i % 500 == 3 ? CHUNK_BYTES - 5 : i % 500 == 4 ? CHUNK_BYTES + 5 : MANY_LINE; }

static bool many_is_right(struct shapes *s, uint64_t i, bool again)
{
	char name[40];
	snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)i, (unsigned long long)i * 1000);
	struct shape *shape = map_get(&s->by_handle, name, strlen(name));
	struct buf got = BUF_INIT(LIMIT);
	struct waiter waiter = {0};
	size_t len = many_length(i), want = len + LINE_LAST_LEN;
	/* A second row comes behind the first: then that one isn't the last, and no chunk that lacks the word ends at it. */
	bool closes = again ? len >= CHUNK_BYTES : want >= CHUNK_BYTES;
	struct log_offset first = at(5000, i * 2), second = at(5000, (MANY + i) * 2), from = at(0, LOG_OP_INF);
	size_t open_bytes = closes ? 0 : again ? len : want;
	if (again) {
		open_bytes += want;
		open_bytes = open_bytes >= CHUNK_BYTES ? 0 : open_bytes;
	}
	bool done = false, good = shape != NULL && shape->in.open_bytes == open_bytes;
	while (good && !done) {
		struct shape_slice sl;
		shape_slice(shape, false, from, &waiter, &sl);
		if (sl.kind != SLICE_LOG || sl.empty)
			break;
		struct shape_reader *r = shape_reader_new(shape, &sl);
		while (shape_reader_next(r, &got, got.len + 5000, &waiter, &e) == SHAPE_READ_MORE)
			;
		shape_reader_free(r);
		from = sl.to;
		done = sl.up_to_date;
	}
	const char *line = good ? got.data : "";
	good = good && log_offset_cmp(from, again ? second : first) == 0 && got.len == (again ? len + 1 : 0) + want + 1;
	good = good && (strncmp(line, "{\"last\":true,x", 14) == 0) == !again;
	good = good && (!again || strncmp(line + len + 1, "{\"last\":true,x", 14) == 0);
	if (good && closes && !again)
		good = log_offset_cmp(shape->tail.last_chunk_end, first) == 0;
	buf_clear(&got);
	return good;
}

static void many_append(struct shapes *s, uint64_t i, uint64_t op, char *text)
{
	struct ingest *in = s->ingest;
	char name[40];
	snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)i, (unsigned long long)i * 1000);
	struct line *l = line_new(text, many_length(i), 1);
	txn_append(in, txn_touch(in, map_get(&s->by_handle, name, strlen(name))), l, op);
	in->txn_bytes += l->len;
	line_unref(l);
	if (in->txn_bytes > TXN_BYTES_MAX)
		txn_stage(s, false);
}

/* A row in each of thousands of shapes, more than memory may hold: staged in few items, each shape's last row says
 * that it is, wherever it was when the commit came; also after a restart. */
static void test_each_shape_once(void)
{
	char dir[TEMP_DIR_MAX], text[CHUNK_BYTES + 10];
	memset(text, 'x', sizeof text);
	text[0] = '{';
	temp_dir_new(dir);
	struct world w;
	world_open(&w, dir);
	struct shapes *s = w.engine;
	for (uint64_t i = 1; i <= MANY; i++)
		put_record(&w, ITEM_COMPLETE, make_shape(&w, i), 0);
	CHECK(writer_flush(s, &e) == 0);
	uint64_t before = s->writer.nput;
	struct ingest *in = s->ingest;
	in->in_txn = true;
	in->txn_number++;
	in->tx = 5000;
	size_t most = 0;
	for (uint64_t i = 1; i <= MANY; i++) {
		many_append(s, i, i * 2, text);
		most = in->txn_bytes > most ? in->txn_bytes : most;
	}
	for (uint64_t i = 7; i <= MANY; i += 7)
		many_append(s, i, (MANY + i) * 2, text);
	CHECK(in->staged && most <= TXN_BYTES_MAX);
	in->end_lsn = 5050;
	in->ending = true;
	while (!txn_try_finish(s))
		CHECK(writer_flush(s, &e) == 0);
	CHECK(s->writer.nput - before < 30);
	for (int life = 0; life < 2; life++) {
		size_t right = 0;
		for (uint64_t i = 1; i <= MANY; i++)
			right += many_is_right(w.engine, i, i % 7 == 0);
		CHECK_INT(right, MANY);
		world_close(&w);
		if (life == 0)
			world_open(&w, dir);
	}
	temp_dir_remove(dir);
}

int main(void)
{
	uint64_t seed = test_seed("test_writer");
	log_init(LOG_EMERGENCY); /* failing disks are reported, as they should be */
	RUN(test_drops);
	RUN(test_bytes, seed);
	RUN(test_late_record);
	RUN(test_folds_what_is_durable);
	RUN(test_ids, false);
	RUN(test_ids, true);
	RUN(test_damaged_head);
	RUN(test_largest_id);
	RUN(test_full_disk);
	RUN(test_attempts);
	RUN(test_failing_housekeeping);
	RUN(test_each_shape_once);
	for (uint64_t i = 0; i < 2; i++)
		RUN(test_lives, seed + i);
	RUN(test_failing_disk, seed);
	RUN(test_kills, seed);
	RUN(test_folding, seed);
	return check_done("test_writer");
}
