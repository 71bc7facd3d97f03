/*
 * test_formats.c - stores that released Busbars wrote open with their handles and their rows.
 *
 * tests/unit/stores/format-N.mdb.xz is a data file of format N, made by the Busbar of then: tables `items` (snapshots
 * longer than a megabyte) and `notes` (a staged transaction, then small ones), four shapes, a clean stop.
 * format-N.expected has what it served before: handle, bytes and CRC-32 of all lines, definition. A new format adds a
 * pair; none is ever changed.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "engine_test.h"
#include "shapes/core/engine.h"
#include "shapes/core/shape.h"
#include "shapes/routing/render.h"
#include "stores_test.h"

#define LIMIT ((size_t)1 << 30)
#define STORES_FIRST 1
#define STORES_LAST 3

static struct err e;
static const struct config config = {.chunk_bytes_threshold = 20000};

/* ---- looking ---- */

static uint32_t crc32_of(const char *p, size_t n)
{
	static uint32_t table[256];
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xEDB88320u ^ c >> 1 : c >> 1;
		table[i] = c;
	}
	uint32_t c = ~0u;
	for (size_t i = 0; i < n; i++)
		c = table[(c ^ (unsigned char)p[i]) & 255] ^ c >> 8;
	return ~c;
}

static bool read_all(struct shape *shape, struct buf *out)
{
	struct waiter waiter = {0};
	struct log_offset from = OFFSET_BEFORE_ALL;
	struct err why;
	bool start = true;
	for (int i = 0; i < 1000; i++) {
		struct shape_slice sl;
		shape_slice(shape, start, from, &waiter, &sl);
		if (sl.kind != SLICE_SNAPSHOT && sl.kind != SLICE_LOG)
			return false;
		struct shape_reader *r = shape_reader_new(shape, &sl);
		enum shape_read rc;
		while ((rc = shape_reader_next(r, out, out->len + 30000, &waiter, &why)) == SHAPE_READ_MORE)
			;
		shape_reader_free(r);
		if (rc != SHAPE_READ_END)
			return false;
		start = false;
		from = sl.to;
		if (sl.up_to_date)
			return true;
	}
	return false;
}

static void check_shapes(struct shapes *s, const char *expected)
{
	char handle[64], crc[16];
	unsigned long len;
	int n = 0;
	FILE *f = fopen(expected, "r");
	if (!CHECK(f != NULL))
		return;
	while (fscanf(f, "%63s %lu %15s %*s", handle, &len, crc) == 3) {
		n++;
		struct shape *shape = map_get(&s->by_handle, handle, strlen(handle));
		if (!CHECK(shape != NULL))
			continue;
		struct buf out = BUF_INIT(LIMIT);
		char got[16];
		CHECK(read_all(shape, &out));
		snprintf(got, sizeof got, "%08x", crc32_of(out.data, out.len));
		CHECK_INT(out.len, len);
		CHECK_STR(got, crc);
		buf_clear(&out);
	}
	fclose(f);
	CHECK_INT(n, 4);
	CHECK_INT(s->nshapes, 4);
}

static void test_format(int version)
{
	char dir[TEMP_DIR_MAX], stores[STORES_PATH_MAX], expected[STORES_PATH_MAX + 40], tail[32];
	temp_dir_new(dir);
	stores_folder(stores);
	snprintf(expected, sizeof expected, "%s/format-%d.expected", stores, version);
	if (!stores_unpack(dir, version))
		return;
	for (int life = 0; life < 3; life++) { /* the first makes it one of this version */
		struct shapes *s;
		if (!CHECK_OK(engine_open(&config, dir, &s, &e), &e))
			break;
		check_shapes(s, expected);
		struct store_read *r = store_read_begin(s->store, &e);
		uint64_t v = 0, identity = 0;
		struct buf b = BUF_INIT(1000);
		CHECK_OK(store_get_meta_u64(r, "format", &v, &e), &e);
		CHECK_INT(v, 4);
		CHECK_OK(store_get_meta(r, "identity", &b, &e), &e);
		CHECK_INT(b.len, 48);
		CHECK(store_get_meta_u64(r, "durable", &identity, &e) == 0 && identity > 0);
		store_read_end(r);
		buf_clear(&b);
		/* What is appended has a seal, behind blocks that have none. */
		struct shape *shape = NULL, *x;
		for (size_t i = 0; (x = map_next(&s->by_handle, &i)) != NULL;)
			shape = shape == NULL || x->id > shape->id ? x : shape;
		if (life == 1 && CHECK(shape != NULL && shape->tail.folded.tx != 0)) {
			struct buf out = BUF_INIT(LIMIT);
			struct log_offset from = shape->tail.folded, to = {from.tx + 1, 0}, reached;
			struct store_entry en = {.at = to, .a = "{}", .a_len = 2};
			bool end;
			CHECK_OK(store_begin(s->store, &e), &e);
			CHECK_OK(store_put_block(s->store, shape->id, &en, 1, false, &e), &e);
			CHECK_OK(store_commit(s->store, &e), &e);
			r = store_read_begin(s->store, &e);
			CHECK_OK(read_log(r, shape->id, from, to, LIMIT, &out, &reached, &end, &e), &e);
			snprintf(tail, sizeof tail, "%.*s", (int)out.len, out.len < sizeof tail ? out.data : "?");
			CHECK_STR(tail, "{}\n");
			store_read_end(r);
			CHECK_OK(store_begin(s->store, &e), &e);
			CHECK_OK(store_cut_log(s->store, shape->id, to.tx, &e), &e);
			CHECK_OK(store_commit(s->store, &e), &e);
			store_writer_done(s->store);
			buf_clear(&out);
		}
		engine_close(s);
	}
	temp_dir_remove(dir);
}

struct readers {
	struct shapes *engine;
	_Atomic bool stop;
	_Atomic int reads, failed;
};

static void *read_often(void *arg)
{
	struct readers *r = arg;
	struct shape *shape;
	while (!atomic_load(&r->stop))
		for (size_t i = 0; (shape = map_next(&r->engine->by_handle, &i)) != NULL && !atomic_load(&r->stop);) {
			struct buf out = BUF_INIT(LIMIT);
			if (!read_all(shape, &out))
				atomic_fetch_add(&r->failed, 1);
			atomic_fetch_add(&r->reads, 1);
			buf_clear(&out);
		}
	return NULL;
}

/* What the store knows of shapes of an older format holds also while it is opened again; TSan is the one who sees it. */
static void test_reopened_below_readers(int version)
{
	enum { THREADS = 4, TIMES = 20 };
	char dir[TEMP_DIR_MAX];
	struct shapes *s;
	temp_dir_new(dir);
	if (!stores_unpack(dir, version) || !CHECK_OK(engine_open(&config, dir, &s, &e), &e))
		return;
	struct readers r = {.engine = s};
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, read_often, &r) == 0);
	for (int i = 0; i < TIMES && atomic_load(&r.failed) == 0; i++)
		CHECK_OK(store_reopen(s->store, &e), &e);
	atomic_store(&r.stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK_INT(r.failed, 0);
	CHECK(r.reads > 0);
	engine_close(s);
	temp_dir_remove(dir);
}

int main(void)
{
	log_init(LOG_EMERGENCY);
	for (int version = STORES_FIRST; version <= STORES_LAST; version++)
		RUN(test_format, version);
	RUN(test_reopened_below_readers, STORES_LAST);
	return check_done("test_formats");
}
