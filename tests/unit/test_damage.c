/*
 * test_damage.c - one bit of the data file is another than was written: what is served then are the right rows or none.
 *
 * A store is made with a bit of everything in it: several shapes, snapshots as lines and packed, blocks of one page and
 * of many, chunk ends, a journal, a shape that is to be deleted, leftovers of a staged transaction. Then, for bit after
 * bit, a child opens a copy with that bit flipped, loads it as the daemon does, reads all that it serves, writes more,
 * and opens it once more. A shape may be gone; a wrong or missing row, a refusal to start, or a signal may not be.
 *
 * BUSBAR_TEST_FLIPS sets how many, BUSBAR_TEST_BIT one alone, with the engine's log.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "base/log.h"
#include "engine_test.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/line.h"
#include "shapes/core/registry.h"
#include "shapes/core/shape.h"
#include "shapes/logs/commits.h"
#include "shapes/logs/record.h"
#include "shapes/routing/row.h"

#define LIMIT ((size_t)1 << 30)
#define SHAPES 6
#define GONE_ID 40
#define PAGE_BITS 32768
#define META_BITS (176 * 8)

static struct err e;
static const struct config config = {.chunk_bytes_threshold = 20000};

/* ---- a store with everything ---- */

static struct pg_table *table_of(uint64_t id)
{
	return table_make(id % 2 == 0 ? 100 : 200, "public", id % 2 == 0 ? "items" : "things", "id:23:pk0 name:25");
}

static struct shape *shape_of(struct shapes *engine, uint64_t id)
{
	char name[40];
	snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)id, (unsigned long long)id * 1000);
	struct shape_def d = def_make(table_of(id), NULL, REPLICA_DEFAULT);
	free(d.identity);
	d.identity = mem_strdup(name);
	d.identity_len = strlen(name);
	struct shape *shape = shape_make(engine, &d, id, name);
	shape_def_clear(&d);
	return shape;
}

static void put_record(struct store *s, struct shape *shape, uint32_t nchunks)
{
	struct pg_snapshot snap = {.xmin = 5, .xmax = 6, .insert_lsn = 1};
	struct buf b = BUF_INIT(LIMIT);
	record_shape(shape, &snap, true, nchunks, &b);
	CHECK_OK(store_put_shape(s, shape->id, b.data, b.len, &e), &e);
	buf_clear(&b);
}

static void put_table(struct store *s, uint64_t id)
{
	struct table_state t = {.table = table_of(id), .join = {.added_by_us = true, .publication_rel_oid = 7}};
	struct buf b = BUF_INIT(LIMIT);
	record_table(&t, &b);
	CHECK_OK(store_put_table(s, t.table->oid, b.data, b.len, &e), &e);
	pg_table_unref(t.table);
	buf_clear(&b);
}

/* Chunks of pieces, the later ones packed. */
static void put_snapshot(struct store *s, struct shape *shape)
{
	struct row_form *form = row_form_new(&shape->def, "");
	char a[32], text[700];
	for (uint32_t chunk = 0; chunk < 3; chunk++)
		for (uint32_t piece = 0; piece < 3; piece++) {
			struct buf b = BUF_INIT(LIMIT);
			uint64_t lines = 0;
			bool packed = chunk > 0;
			if (packed)
				row_pack_begin(form, &b);
			for (unsigned i = 0; i < 1 + (piece + shape->id) % 3 * 12; i++) {
				int n = snprintf(a, sizeof a, "%u", chunk * 1000 + piece * 100 + i);
				int m = snprintf(text, sizeof text, "shape %llu row %*u", (unsigned long long)shape->id, 3 + (int)i * 7, i);
				struct pg_copy_value v[2] = {{.data = a, .len = (uint32_t)n}, {.data = text, .len = (uint32_t)m}};
				if (packed)
					lines += row_pack(form, v, &b);
				else
					row_put(form, v, &b);
			}
			if (packed)
				row_pack_end(&b, lines);
			CHECK_OK(store_put_snapshot(s, shape->id, chunk, piece, b.data, b.len, piece == 2, &e), &e);
			buf_clear(&b);
		}
	row_form_free(form);
}

static size_t line_text(uint64_t id, uint64_t tx, uint64_t op, char *text, size_t max)
{
	struct rng r = rng_seeded(id * 1000003 + tx * 31 + op);
	size_t n = (size_t)snprintf(text, max, "{\"s\":%llu,\"at\":\"%llu_%llu\",\"x\":\"", (unsigned long long)id, (unsigned long long)tx,
	                            (unsigned long long)op);
	for (size_t pad = rng_below(&r, 10) == 0 ? 5000 : rng_below(&r, 200); pad > 0; pad--)
		text[n++] = (char)('a' + rng_below(&r, 26));
	n += (size_t)snprintf(text + n, max - n, "\"}");
	return n;
}

static void put_blocks(struct store *s, uint64_t id, lsn_t from, lsn_t to)
{
	static char text[8][6000];
	for (lsn_t tx = from; tx < to; tx++) {
		struct store_entry en[8];
		size_t n = 1 + (tx + id) % 8;
		for (size_t i = 0; i < n; i++)
			en[i] = (struct store_entry){.at = at(tx, i * 2), .a = text[i], .a_len = (uint32_t)line_text(id, tx, i * 2, text[i], 6000)};
		CHECK_OK(store_put_block(s, id, en, n, (tx + id) % 5 == 0, &e), &e);
	}
}

/* Some shapes have rows in each batch, some share them. */
static void put_journal(struct store *s, struct shape **shapes, uint64_t seq, lsn_t tx)
{
	static char text[6000];
	struct item_rows it = {.rows = mem_zalloc((SHAPES + 1) * 3 * sizeof(struct row))};
	struct item_rows *items[1] = {&it};
	for (uint64_t id = 1; id <= SHAPES; id++) {
		if ((seq + id) % 3 == 0)
			continue;
		for (uint64_t op = 0; op < 1 + id % 3; op++) {
			size_t n = line_text(id, tx, op * 2, text, sizeof text);
			struct line *l = line_new(text, n, 1);
			it.rows[it.nrows++] = (struct row){shapes[id], {at(tx, op * 2), l, op == id % 3 ? ENTRY_LAST : 0}};
		}
	}
	struct buf b = BUF_INIT(LIMIT);
	journal_encode(items, 1, &b);
	CHECK_OK(store_put_journal(s, seq, b.data, b.len, &e), &e);
	buf_clear(&b);
	for (size_t i = 0; i < it.nrows; i++)
		line_unref(it.rows[i].entry.line);
	free(it.rows);
}

/* Each run of another size: in a page with others, and in pages of its own. */
static void put_commits(struct store *s)
{
	uint64_t lsn = 100;
	for (size_t n = 1; n <= 800; n *= 3) {
		struct buf b = BUF_INIT(LIMIT);
		for (size_t i = 0; i < n; i++)
			commits_encode(&(struct commit){.lsn = lsn + i, .time_us = 1, .xid = (uint32_t)(1 + i)}, &b);
		CHECK_OK(store_put_commits(s, lsn, b.data, b.len, &e), &e);
		lsn += n;
		buf_clear(&b);
	}
}

static void must_begin(struct store *s) { CHECK_OK(store_begin(s, &e), &e); }
static void must_commit(struct store *s) { CHECK_OK(store_commit(s, &e), &e); }

static void make_store(const char *dir)
{
	struct shapes *engine;
	if (engine_open(&config, dir, &engine, &e) != 0) {
		printf("cannot start: %s\n", e.text);
		exit(2);
	}
	struct store *s = engine->store;
	struct shape *shapes[SHAPES + 1], *gone = shape_of(engine, GONE_ID);
	must_begin(s);
	for (uint64_t id = 1; id <= SHAPES; id++) {
		put_table(s, id);
		shapes[id] = shape_of(engine, id);
		put_snapshot(s, shapes[id]);
		put_record(s, shapes[id], 3);
	}
	put_record(s, gone, 3);
	put_snapshot(s, gone);
	must_commit(s);
	for (lsn_t tx = 100; tx < 130; tx += 10) { /* in several commits, so that there are free pages, too */
		must_begin(s);
		for (uint64_t id = 1; id < SHAPES; id++) /* the last has its rows in the journal only */
			put_blocks(s, id, tx, tx + 10);
		put_blocks(s, GONE_ID, tx, tx + 10);
		must_commit(s);
	}
	for (uint64_t seq = 0; seq < 9; seq++) {
		must_begin(s);
		put_journal(s, shapes, seq, 200 + seq);
		must_commit(s);
	}
	must_begin(s);
	bool more;
	CHECK_OK(store_trim_journal(s, 2, 10, &more, &e), &e);
	put_commits(s);
	for (uint64_t id = 1; id <= 3; id++)
		put_blocks(s, id, 300, 303); /* staged */
	struct { char system[32]; uint32_t timeline, oid; int64_t us; } identity = {"7000000000000000001", 1, 5, 12345};
	CHECK_OK(store_put_meta(s, "identity", &identity, sizeof identity, &e), &e);
	CHECK_OK(store_put_meta_u64(s, "durable", 290, &e), &e);
	CHECK_OK(store_put_meta_u64(s, "staging", 300, &e), &e);
	CHECK_OK(store_put_meta_u64(s, "next_id", GONE_ID + 1, &e), &e);
	CHECK_OK(store_drop_shape(s, GONE_ID, &e), &e);
	must_commit(s);
	/* One bit of a meta page leads back to the commit before the last, see FORMAT.md: a mark that differs. */
	must_begin(s);
	CHECK_OK(store_put_meta_u64(s, "mark", 299, &e), &e);
	must_commit(s);
	store_writer_done(s);
	for (uint64_t id = 1; id <= SHAPES; id++)
		shape_unref(shapes[id]);
	shape_unref(gone);
	engine_close(engine);
}

/* ---- reading ---- */

enum look { RIGHT, LOST, WRONG };

static const char *wrong_why = "";

/* All that a client gets of a shape; LOST: it is told that it can't have it. */
static enum look read_shape(struct shape *shape, struct buf *out)
{
	struct waiter waiter = {0};
	struct log_offset from = OFFSET_BEFORE_ALL;
	bool start = true;
	for (int i = 0; i < 1000; i++) {
		struct shape_slice sl;
		shape_slice(shape, start, from, &waiter, &sl);
		if (sl.kind == SLICE_GONE)
			return LOST;
		if (sl.kind != SLICE_SNAPSHOT && sl.kind != SLICE_LOG) {
			wrong_why = "it waits";
			return WRONG;
		}
		struct shape_reader *r = shape_reader_new(shape, &sl);
		enum shape_read rc;
		int64_t size = shape_reader_size(r);
		size_t before = out->len;
		while ((rc = shape_reader_next(r, out, out->len + 3000, &waiter, &e)) == SHAPE_READ_MORE)
			;
		shape_reader_free(r);
		if (rc != SHAPE_READ_END)
			return LOST;
		if (size >= 0 && (uint64_t)size != out->len - before) {
			wrong_why = "the size that was told";
			return WRONG;
		}
		start = false;
		from = sl.to;
		if (sl.up_to_date)
			return RIGHT;
	}
	wrong_why = "it has no end";
	return WRONG;
}

static struct buf expected[SHAPES + 1];

static enum look look_at(struct shapes *engine, uint64_t except_above)
{
	size_t right = 0;
	struct shape *all[SHAPES * 2], *shape;
	size_t n = 0;
	for (size_t i = 0; (shape = map_next(&engine->by_handle, &i)) != NULL && n < SHAPES * 2;)
		all[n++] = shape_ref(shape);
	enum look worst = RIGHT;
	(void)except_above;
	for (size_t i = 0; i < n && worst != WRONG; i++) {
		uint64_t id = all[i]->id;
		char name[40];
		snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)id, (unsigned long long)id * 1000);
		if (id < 1 || id > SHAPES || strcmp(all[i]->handle, name) != 0) {
			wrong_why = "a shape that nobody made";
			worst = WRONG;
			break;
		}
		struct buf out = BUF_INIT(LIMIT);
		enum look look = read_shape(all[i], &out);
		if (look == RIGHT && (out.len != expected[id].len || memcmp(out.data, expected[id].data, out.len) != 0)) {
			wrong_why = "its rows";
			look = WRONG;
		}
		worst = look > worst ? look : worst;
		right += look == RIGHT;
		buf_clear(&out);
	}
	for (size_t i = 0; i < n; i++)
		shape_unref(all[i]);
	return worst == WRONG ? WRONG : right == SHAPES ? RIGHT : LOST;
}

/* What the WRITER would do: deletes in steps, appends, trims. */
static bool write_more(struct shapes *engine)
{
	struct store *s = engine->store;
	bool more = true;
	for (int i = 0; i < 100 && more; i++)
		if (store_begin(s, &e) != 0 || store_gc_step(s, 20, &more, &e) != 0 || store_commit(s, &e) != 0)
			return false;
	struct shape *shape;
	if (more || store_begin(s, &e) != 0)
		return false;
	for (size_t i = 0; (shape = map_next(&engine->by_handle, &i)) != NULL;) {
		struct store_entry en = {.at = at(1000, 0), .a = "{}", .a_len = 2};
		if (!atomic_load(&shape->dropped) && store_put_block(s, shape->id + 1000, &en, 1, true, &e) != 0 && e.kind != ERR_DAMAGED)
			return false;
		if (store_put_block(s, shape->id, &en, 1, false, &e) != 0 && e.kind != ERR_DAMAGED)
			return false;
		if (store_cut_log(s, shape->id, 1000, &e) != 0 && e.kind != ERR_DAMAGED)
			return false;
	}
	if (store_put_meta_u64(s, "durable", 291, &e) != 0 || store_commit(s, &e) != 0)
		return false;
	/* The list of commits: from the front, then all of it. */
	uint64_t gone;
	if (store_begin(s, &e) != 0 || store_trim_commits(s, 400 * COMMIT_BYTES, 100, &gone, &e) != 0 || store_commit(s, &e) != 0)
		return false;
	return store_begin(s, &e) == 0 && store_clear_commits(s, &e) == 0 && store_commit(s, &e) == 0;
}

/* In a child: 0 all is right, 1 something is lost, 2 something is wrong. */
static int live_once(const char *dir)
{
	int worst = 0;
	for (int life = 0; life < 3; life++) {
		struct shapes *engine;
		if (engine_open(&config, dir, &engine, &e) != 0) {
			printf("  cannot start: %s\n", e.text);
			return 2;
		}
		enum look look = look_at(engine, 0);
		if (look == WRONG) {
			printf("  wrong in life %d: %s\n", life, wrong_why);
			return 2;
		}
		worst = look == LOST ? 1 : worst;
		if (life == 0 && !write_more(engine)) {
			printf("  cannot write: %s\n", e.text);
			return 2;
		}
		if (engine->store != NULL && life == 0)
			store_writer_done(engine->store);
		engine_close(engine);
	}
	return worst;
}

static bool copy_file(const char *from, const char *to, uint64_t bit)
{
	static char *data;
	static size_t len;
	if (data == NULL) {
		struct stat st;
		int fd = open(from, O_RDONLY);
		if (fd < 0 || fstat(fd, &st) != 0)
			return false;
		len = (size_t)st.st_size;
		data = mem_alloc(len);
		if (read(fd, data, len) != (ssize_t)len)
			return false;
		close(fd);
	}
	size_t size = bit == UINT64_MAX || bit / 8 < len ? len : (size_t)(bit / 8 - len) % len; /* beyond: cut there */
	if (bit / 8 < size)
		data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	bool good = fd >= 0 && write(fd, data, size) == (ssize_t)size;
	close(fd);
	if (bit / 8 < size)
		data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
	return good;
}

static size_t counts[3];

static void flip(const char *of, uint64_t bit, bool quiet)
{
	char dir[TEMP_DIR_MAX], from[TEMP_DIR_MAX + 40], path[TEMP_DIR_MAX + 40];
	temp_dir_new(dir);
	snprintf(from, sizeof from, "%s/busbar/data.mdb", of);
	snprintf(path, sizeof path, "%s/busbar", dir);
	mkdir(path, 0777);
	snprintf(path, sizeof path, "%s/busbar/data.mdb", dir);
	CHECK(copy_file(from, path, bit));
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		log_init(quiet ? LOG_EMERGENCY : LOG_INFO);
		alarm(60);
		int rc = live_once(dir);
		fflush(stdout);
		_exit(rc);
	}
	int status = 0;
	waitpid(child, &status, 0);
	bool good = WIFEXITED(status) && WEXITSTATUS(status) < 2;
	if (!CHECK(good))
		printf("  BUSBAR_TEST_BIT=%llu: status %#x\n", (unsigned long long)bit, (unsigned)status);
	else
		counts[WEXITSTATUS(status)]++;
	temp_dir_remove(dir);
}

static char origin[TEMP_DIR_MAX];

/* What is right is what the sound store says, from a copy, as loading changes it. */
static void test_sound_store(void)
{
	char file[TEMP_DIR_MAX + 40], twin[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 40];
	make_store(origin);
	snprintf(file, sizeof file, "%s/busbar/data.mdb", origin);
	temp_dir_new(twin);
	snprintf(path, sizeof path, "%s/busbar", twin);
	mkdir(path, 0777);
	snprintf(path, sizeof path, "%s/busbar/data.mdb", twin);
	CHECK(copy_file(file, path, UINT64_MAX));
	struct shapes *engine;
	CHECK_OK(engine_open(&config, twin, &engine, &e), &e);
	struct shape *shape;
	CHECK_INT(engine->nshapes, SHAPES);
	for (size_t i = 0; (shape = map_next(&engine->by_handle, &i)) != NULL;) {
		buf_init(&expected[shape->id], LIMIT);
		CHECK_INT(read_shape(shape, &expected[shape->id]), RIGHT);
		CHECK(expected[shape->id].len > 1000);
	}
	engine_close(engine);
	temp_dir_remove(twin);
}

static void test_no_flip(void)
{
	flip(origin, UINT64_MAX, true);
	CHECK_INT(counts[0], 1);
}

/* Bits of [from, to). */
static void test_flips(struct rng *rng, uint64_t n, uint64_t from, uint64_t to)
{
	for (uint64_t i = 0; i < n; i++)
		flip(origin, from + rng_below(rng, to - from), true);
}

int main(void)
{
	uint64_t seed = test_seed("test_damage");
	struct rng rng = rng_seeded(seed);
	const char *flips = getenv("BUSBAR_TEST_FLIPS"), *one = getenv("BUSBAR_TEST_BIT");
	log_init(LOG_EMERGENCY);
	temp_dir_new(origin);
	RUN(test_sound_store);
	char file[TEMP_DIR_MAX + 40];
	struct stat st;
	snprintf(file, sizeof file, "%s/busbar/data.mdb", origin);
	CHECK(stat(file, &st) == 0);
	uint64_t bits = (uint64_t)st.st_size * 8, n = flips != NULL ? strtoull(flips, NULL, 10) : UNDER_ASAN || UNDER_TSAN ? 60 : 400;
	if (one != NULL) {
		flip(origin, strtoull(one, NULL, 10), false);
	} else {
		RUN(test_no_flip);
		/* All of a meta page that means anything, then anywhere; of ten, one is a file that ends early. */
		for (uint64_t page = 0; page < 2; page++)
			RUN(test_flips, &rng, n / 8, page * PAGE_BITS, page * PAGE_BITS + META_BITS);
		RUN(test_flips, &rng, n * 27 / 40, 0, bits);
		RUN(test_flips, &rng, n * 3 / 40, bits, bits + bits / 10);
		printf("test_damage: %llu bytes; of %llu flips %zu were harmless, %zu cost shapes\n", (unsigned long long)st.st_size,
		       (unsigned long long)n, counts[0], counts[1]);
	}
	for (size_t i = 1; i <= SHAPES; i++)
		buf_clear(&expected[i]);
	temp_dir_remove(origin);
	return check_done("test_damage");
}
