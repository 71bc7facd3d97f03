/*
 * test_store.c - everything in store.h against a real LMDB in a directory of its own.
 *
 * Not here: what failing disks and power cuts do (test_store_faults.c), and the refusal of a network
 * filesystem, for which one would have to be mounted.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/seal.h"
#include "store/store.h"
#include "store_test.h"

#define INF LOG_OP_INF
#define LIMIT ((size_t)64 << 20)

static char dir[TEMP_DIR_MAX];
static struct err e;

static struct store *must_open(const char *where)
{
	struct store *s = NULL;
	err_clear(&e);
	if (store_open(&s, where, false, &e) != 0) {
		printf("cannot open %s: %s\n", where, e.text);
		exit(2);
	}
	return s;
}

static void must_begin(struct store *s)
{
	if (store_begin(s, &e) != 0) {
		printf("begin: %s\n", e.text);
		exit(2);
	}
}

static void must_commit(struct store *s)
{
	if (store_commit(s, &e) != 0) {
		printf("commit: %s\n", e.text);
		exit(2);
	}
}

static struct store_read *must_read(struct store *s)
{
	struct store_read *r = store_read_begin(s, &e);
	if (r == NULL) {
		printf("read: %s\n", e.text);
		exit(2);
	}
	return r;
}

static void fresh_dir(void) { temp_dir_new(dir); }
static void drop_dir(void) { temp_dir_remove(dir); }

static struct store_entry entry(lsn_t tx, uint64_t op, const char *text)
{
	return (struct store_entry){at(tx, op), text, "", (uint32_t)strlen(text), 0, NULL, 0};
}

static uint64_t file_bytes(const char *in)
{
	char file[TEMP_DIR_MAX + 64];
	struct stat st;
	snprintf(file, sizeof file, "%s/busbar/data.mdb", in);
	return stat(file, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- opening ---- */

static void test_open(void)
{
	fresh_dir();
	char deep[TEMP_DIR_MAX + 32];
	snprintf(deep, sizeof deep, "%s/a/b//c/", dir);
	struct store *s = must_open(deep);
	CHECK(file_bytes(deep) > 0);
	must_begin(s);
	CHECK_OK(store_put_meta_u64(s, "durable", 77, &e), &e);
	must_commit(s);
	store_writer_done(s);
	store_close(s);

	char file[TEMP_DIR_MAX + 64];
	snprintf(file, sizeof file, "%s/a/b/c/busbar/data.mdb", dir);
	CHECK(access(file, R_OK) == 0);
	for (int i = 0; i < 3; i++) {
		s = must_open(deep);
		struct store_read *r = must_read(s);
		uint64_t v = 0;
		CHECK_INT(store_get_meta_u64(r, "durable", &v, &e), 0);
		CHECK_INT(v, 77);
		store_read_end(r);
		store_close(s);
	}
	store_close(NULL);

	/* A file where the directory should be; a path without room; a file that isn't a store. */
	struct store *none = NULL;
	snprintf(file, sizeof file, "%s/plain", dir);
	FILE *f = fopen(file, "w");
	fclose(f);
	err_clear(&e);
	CHECK(store_open(&none, file, false, &e) == -1 && e.kind == ERR_IO && strstr(e.text, "cannot") != NULL);
	char *longest = mem_alloc(5000);
	memset(longest, 'x', 4999);
	longest[0] = '/';
	longest[4999] = '\0';
	CHECK(store_open(&none, longest, false, &e) == -1 && e.kind == ERR_CONFIG);
	longest[1000] = '\0';
	CHECK(store_open(&none, longest, false, &e) == -1 && e.kind == ERR_IO);
	free(longest);
	CHECK(none == NULL);
	drop_dir();
}

/* A process that is ending is waited for. */
static void test_lock_wait(void)
{
	fresh_dir();
	int ready[2];
	CHECK(pipe(ready) == 0);
	pid_t child = fork();
	if (child == 0) {
		(void)must_open(dir);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		(void)poll(NULL, 0, 300); /* what it still has to do */
		_exit(0);
	}
	char byte;
	CHECK(read(ready[0], &byte, 1) == 1);
	store_lock_wait_ms = 30000;
	store_close(must_open(dir));
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	drop_dir();
}

static void test_deleted(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	CHECK(!store_deleted(s));
	char file[TEMP_DIR_MAX + 32];
	snprintf(file, sizeof file, "%s/busbar/data.mdb", dir);
	CHECK(unlink(file) == 0 && store_deleted(s));
	store_close(s);
	drop_dir();
}

static void test_lock(void)
{
	fresh_dir();
	store_lock_wait_ms = 0;
	struct store *s = must_open(dir), *other = NULL;
	err_clear(&e);
	CHECK(store_open(&other, dir, false, &e) == -1);
	CHECK_INT(e.kind, ERR_CONFIG);
	CHECK(strstr(e.text, dir) != NULL && strstr(e.text, "in use by another Busbar process") != NULL);
	CHECK(strchr(e.text, '\n') == NULL);
	CHECK(other == NULL);
	pid_t child = fork();
	if (child == 0)
		_exit(store_open(&other, dir, false, &e) == -1 && e.kind == ERR_CONFIG ? 0 : 1);
	int status = 1;
	waitpid(child, &status, 0);
	CHECK_INT(status, 0);
	/* The refused one has taken nothing away. */
	must_begin(s);
	CHECK_OK(store_put_meta_u64(s, "a", 1, &e), &e);
	must_commit(s);
	store_close(s);

	/* The lock of a process that was killed is gone with it. */
	int ready[2];
	CHECK(pipe(ready) == 0);
	child = fork();
	if (child == 0) {
		s = must_open(dir);
		must_begin(s);
		if (store_put_meta_u64(s, "a", 2, &e) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	char byte;
	CHECK(read(ready[0], &byte, 1) == 1);
	CHECK(store_open(&other, dir, false, &e) == -1);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(ready[0]);
	close(ready[1]);
	s = must_open(dir);
	struct store_read *r = must_read(s);
	uint64_t v = 0;
	CHECK(store_get_meta_u64(r, "a", &v, &e) == 0 && v == 1);
	store_read_end(r);
	store_close(s);
	drop_dir();
}

/* ---- the file seen from outside: a second handle while the store is closed ---- */

static MDB_env *raw_open(void)
{
	char path[TEMP_DIR_MAX + 16];
	snprintf(path, sizeof path, "%s/busbar", dir);
	MDB_env *env;
	if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, (size_t)1 << 30) != 0 || mdb_env_set_maxdbs(env, 16) != 0 ||
	    mdb_env_open(env, path, MDB_NOTLS, 0666) != 0) {
		printf("raw handle failed\n");
		exit(2);
	}
	return env;
}

/* Who writes without the store says which commit it was, as the store does. */
static int raw_stamp(MDB_txn *txn)
{
	MDB_dbi dbi;
	uint64_t v[2] = {mdb_txn_id(txn), 0};
	v[1] = seal_of(DB_META, "commit", 6, v, 8);
	char name[] = "commit";
	MDB_val k = {6, name}, val = {sizeof v, v};
	int rc = mdb_dbi_open(txn, "meta", 0, &dbi);
	return rc != 0 ? rc : mdb_put(txn, dbi, &k, &val, 0);
}

static void raw_put(const char *db, const void *key, size_t key_len, const void *p, size_t len)
{
	MDB_env *env = raw_open();
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {len, (void *)(uintptr_t)p};
	int rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc == 0)
		rc = mdb_dbi_open(txn, db, 0, &dbi);
	if (rc == 0)
		rc = mdb_put(txn, dbi, &k, &v, 0);
	if (rc == 0)
		rc = raw_stamp(txn);
	if (rc == 0)
		rc = mdb_txn_commit(txn);
	if (rc != 0) {
		printf("raw put: %s\n", mdb_strerror(rc));
		exit(2);
	}
	mdb_env_close(env);
}

static void test_version(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	store_close(s);
	/* A Busbar to come: both values say so, and it may have other databases. */
	uint64_t version = 5;
	raw_put("meta", "format", 6, &version, sizeof version);
	raw_put("meta", "version", 7, &version, sizeof version);
	raw_put("meta", "something", 9, "else", 4);
	err_clear(&e);
	CHECK(store_open(&s, dir, false, &e) == -1 && e.kind == ERR_CONFIG);
	CHECK(strstr(e.text, "format version 5") != NULL && strstr(e.text, "reads version 4") != NULL && strchr(e.text, '\n') == NULL);
	/* And again: the refusal has changed nothing, and let the lock go. */
	CHECK(store_open(&s, dir, false, &e) == -1 && strstr(e.text, "format version 5") != NULL);
	/* One alone is damage, and a new store begins. */
	static const uint64_t odd[] = {0, 3, 4 | 1 << 7, 6};
	for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
		raw_put("meta", i % 2 == 0 ? "format" : "version", i % 2 == 0 ? 6 : 7, &odd[i], 8);
		s = must_open(dir);
		struct store_read *r = store_read_begin(s, &e);
		CHECK_INT(store_get_meta_u64(r, "format", &version, &e), 0);
		CHECK_INT(version, 4);
		store_read_end(r);
		store_close(s);
		char aside[TEMP_DIR_MAX + 40];
		snprintf(aside, sizeof aside, "%s/busbar/data.mdb.damaged", dir);
		CHECK(access(aside, F_OK) == 0);
	}
	drop_dir();
}

/* ---- small values ---- */

static void test_meta(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	struct store_read *r = must_read(s);
	struct buf b = BUF_INIT(LIMIT), tiny = BUF_INIT(3);
	uint64_t v = 5;
	CHECK_INT(store_get_meta_u64(r, "none", &v, &e), 1);
	CHECK_INT(store_get_meta(r, "none", &b, &e), 1);
	CHECK(v == 5 && b.len == 0);
	store_read_end(r);

	must_begin(s);
	CHECK_OK(store_put_meta_u64(s, "n", UINT64_MAX, &e), &e);
	CHECK_OK(store_put_meta(s, "text", "a\0b", 3, &e), &e);
	CHECK_OK(store_put_meta(s, "longer", "12345", 5, &e), &e);
	CHECK_OK(store_put_meta(s, "empty", "", 0, &e), &e);
	CHECK_OK(store_put_meta_u64(s, "n", 0x0102030405060708, &e), &e);
	r = must_read(s); /* what isn't committed isn't seen */
	CHECK_INT(store_get_meta_u64(r, "n", &v, &e), 1);
	store_read_end(r);
	must_commit(s);
	must_begin(s);
	CHECK_OK(store_put_meta_u64(s, "n", 3, &e), &e);
	store_abort(s);
	store_abort(s);

	r = must_read(s);
	CHECK_INT(store_get_meta_u64(r, "n", &v, &e), 0);
	CHECK(v == 0x0102030405060708);
	CHECK_INT(store_get_meta(r, "n", &b, &e), 0);
	CHECK(b.len == 8 && b.data[0] == 8 && b.data[7] == 1); /* little endian */
	buf_reset(&b);
	CHECK_INT(store_get_meta(r, "text", &b, &e), 0);
	CHECK(b.len == 3 && memcmp(b.data, "a\0b", 3) == 0);
	CHECK_INT(store_get_meta(r, "empty", &b, &e), 0);
	CHECK_INT(b.len, 3);
	CHECK_INT(store_get_meta_u64(r, "text", &v, &e), -1);
	CHECK(e.kind == ERR_IO && strstr(e.text, "text") != NULL);
	CHECK_INT(store_get_meta(r, "longer", &tiny, &e), -1);
	CHECK_INT(e.kind, ERR_LIMIT);
	store_read_end(r);
	buf_clear(&b);
	buf_clear(&tiny);
	store_close(s);
	drop_dir();
}

struct seen {
	uint64_t ids[64];
	size_t n, stop_at;
	char text[4096];
	size_t len;
};

static int see(void *ctx, uint64_t id, const void *p, size_t len, struct err *err)
{
	struct seen *s = ctx;
	if (s->stop_at != 0 && s->n == s->stop_at)
		return err_set(err, ERR_PROTOCOL, "stopped at %llu", (unsigned long long)id);
	s->ids[s->n++] = id;
	memcpy(s->text + s->len, p, len);
	s->len += len;
	s->text[s->len++] = ';';
	s->text[s->len] = '\0';
	return 0;
}

static void test_shapes_and_tables(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	must_begin(s);
	CHECK_OK(store_put_shape(s, 256, "d", 1, &e), &e);
	CHECK_OK(store_put_shape(s, 1, "a", 1, &e), &e);
	CHECK_OK(store_put_shape(s, (uint64_t)1 << 61, "e", 1, &e), &e);
	CHECK_OK(store_put_shape(s, 255, "c", 1, &e), &e);
	CHECK_OK(store_put_shape(s, 2, "x", 1, &e), &e);
	CHECK_OK(store_put_shape(s, 2, "bb", 2, &e), &e);
	CHECK_OK(store_put_table(s, UINT32_MAX, "T3", 2, &e), &e);
	CHECK_OK(store_put_table(s, 16384, "T1", 2, &e), &e);
	CHECK_OK(store_put_table(s, 16640, "T2", 2, &e), &e);
	must_commit(s);

	struct store_read *r = must_read(s);
	struct seen all = {0}, tables = {0}, some = {.stop_at = 2}, journal = {0};
	CHECK_OK(store_each_shape(r, see, &all, &e), &e);
	CHECK_STR(all.text, "a;bb;c;d;e;");
	CHECK(all.n == 5 && all.ids[0] == 1 && all.ids[1] == 2 && all.ids[2] == 255 && all.ids[3] == 256 &&
	      all.ids[4] == (uint64_t)1 << 61);
	CHECK_OK(store_each_table(r, see, &tables, &e), &e);
	CHECK_STR(tables.text, "T1;T2;T3;");
	CHECK(tables.ids[0] == 16384 && tables.ids[2] == UINT32_MAX);
	CHECK_INT(store_each_shape(r, see, &some, &e), -1);
	CHECK_STR(e.text, "stopped at 255");
	CHECK_OK(store_each_journal(r, see, &journal, &e), &e);
	CHECK_INT(journal.n, 0);
	store_read_end(r);

	must_begin(s);
	CHECK_OK(store_drop_shape(s, 2, &e), &e);
	CHECK_OK(store_drop_shape(s, 99, &e), &e); /* unknown: fine */
	CHECK_OK(store_drop_table(s, 16640, &e), &e);
	CHECK_OK(store_drop_table(s, 5, &e), &e);
	must_commit(s);
	store_writer_done(s);
	store_close(s);

	s = must_open(dir);
	r = must_read(s);
	memset(&all, 0, sizeof all);
	memset(&tables, 0, sizeof tables);
	CHECK_OK(store_each_shape(r, see, &all, &e), &e);
	CHECK_STR(all.text, "a;c;d;e;");
	CHECK_OK(store_each_table(r, see, &tables, &e), &e);
	CHECK_STR(tables.text, "T1;T3;");
	store_read_end(r);
	store_close(s);
	drop_dir();
}

struct span {
	uint64_t first, last, n, bytes;
	bool in_order;
};

static int span_of(void *ctx, uint64_t seq, const void *p, size_t len, struct err *err)
{
	struct span *s = ctx;
	(void)err;
	uint64_t inside;
	s->in_order = s->in_order && len >= sizeof inside && (s->n == 0 || seq == s->last + 1);
	memcpy(&inside, p, sizeof inside);
	s->in_order = s->in_order && inside == seq;
	if (s->n++ == 0)
		s->first = seq;
	s->last = seq;
	s->bytes += len;
	return 0;
}

static struct span journal_span(struct store *s)
{
	struct span j = {.in_order = true};
	struct store_read *r = must_read(s);
	CHECK_OK(store_each_journal(r, span_of, &j, &e), &e);
	store_read_end(r);
	return j;
}

static void put_journal(struct store *s, uint64_t from, uint64_t to, size_t len)
{
	char *text = mem_zalloc(len);
	for (uint64_t seq = from; seq < to; seq++) {
		memcpy(text, &seq, sizeof seq);
		CHECK_OK(store_put_journal(s, seq, text, len, &e), &e);
	}
	free(text);
}

static int count_run(void *ctx, uint64_t first, const void *p, size_t len, struct err *err)
{
	uint64_t *sum = ctx;
	(void)p;
	(void)err;
	sum[0] = sum[1] == 0 ? first : sum[0];
	sum[1]++;
	sum[2] += len;
	return 0;
}

/* Runs of commits: the first one left, how many, their bytes. */
static void check_runs(struct store *s, uint64_t first, uint64_t n, uint64_t bytes)
{
	uint64_t sum[3] = {0};
	struct store_read *r = must_read(s);
	CHECK_OK(store_each_commits(r, count_run, sum, &e), &e);
	store_read_end(r);
	CHECK_INT(sum[0], first);
	CHECK_INT(sum[1], n);
	CHECK_INT(sum[2], bytes);
}

static void test_commits(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	char run[200] = {0};
	uint64_t gone;
	must_begin(s);
	for (uint64_t first = 1000; first < 2000; first += 10)
		CHECK_OK(store_put_commits(s, first, run, 20, &e), &e);
	CHECK_OK(store_put_commits(s, 1990, run, 200, &e), &e); /* the same again, longer */
	must_commit(s);
	check_runs(s, 1000, 100, 99 * 20 + 200);
	must_begin(s);
	CHECK_OK(store_trim_commits(s, 100, 3, &gone, &e), &e); /* no more than three */
	CHECK_INT(gone, 60);
	CHECK_OK(store_trim_commits(s, 30, 10, &gone, &e), &e); /* whole runs */
	CHECK_INT(gone, 40);
	must_commit(s);
	check_runs(s, 1050, 95, 94 * 20 + 200);
	must_begin(s);
	CHECK_OK(store_clear_commits(s, &e), &e);
	CHECK_OK(store_put_commits(s, 7, run, 20, &e), &e);
	must_commit(s);
	check_runs(s, 7, 1, 20);
	must_begin(s);
	CHECK_OK(store_trim_commits(s, 1000, 10, &gone, &e), &e);
	CHECK_INT(gone, 20);
	CHECK_OK(store_trim_commits(s, 1000, 10, &gone, &e), &e);
	CHECK_INT(gone, 0);
	must_commit(s);
	check_runs(s, 0, 0, 0);
	store_close(s);
}

static void test_journal(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	must_begin(s);
	bool more = true;
	CHECK_OK(store_trim_journal(s, 100, 10, &more, &e), &e); /* of an empty one */
	CHECK(!more);
	put_journal(s, 250, 2000, 300);
	must_commit(s);
	must_begin(s);
	put_journal(s, 2000, 2003, 2 << 20); /* values of many pages */
	must_commit(s);
	struct span j = journal_span(s);
	CHECK(j.in_order && j.first == 250 && j.last == 2002 && j.n == 1753);

	/* In steps: each removes what it may and says whether there is more. */
	uint64_t first = 250;
	for (int steps = 0; steps < 100; steps++) {
		must_begin(s);
		CHECK_OK(store_trim_journal(s, 1500, 97, &more, &e), &e);
		must_commit(s);
		first = first + 97 < 1500 ? first + 97 : 1500;
		j = journal_span(s);
		CHECK(j.in_order && j.first == first && j.last == 2002);
		CHECK(more == (first < 1500));
		if (!more)
			break;
	}
	CHECK_INT(first, 1500);
	must_begin(s);
	CHECK_OK(store_trim_journal(s, 1500, 97, &more, &e), &e);
	CHECK(!more);
	CHECK_OK(store_trim_journal(s, 1501, 1, &more, &e), &e); /* exactly what there is */
	CHECK(!more);
	CHECK_OK(store_trim_journal(s, 1600, 0, &more, &e), &e);
	CHECK(more);
	must_commit(s);
	CHECK_INT(journal_span(s).first, 1501);
	must_begin(s);
	CHECK_OK(store_trim_journal(s, UINT64_MAX, 100000, &more, &e), &e);
	CHECK(!more);
	must_commit(s);
	CHECK_INT(journal_span(s).n, 0);

	/* The pages are used again: the file doesn't grow with what was written in total. */
	uint64_t size = 0;
	for (uint64_t seq = 1; seq < 200; seq++) {
		must_begin(s);
		put_journal(s, seq, seq + 1, 100000);
		CHECK_OK(store_trim_journal(s, seq > 5 ? seq - 5 : 0, 10, &more, &e), &e);
		must_commit(s);
		if (seq == 50)
			size = file_bytes(dir);
	}
	CHECK(file_bytes(dir) <= size + (2u << 20));
	store_close(s);
	drop_dir();
}

static void test_large(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	char *mb = mem_zalloc(1 << 20);
	must_begin(s);
	CHECK(!store_txn_is_large(s));
	uint32_t n = 0;
	while (!store_txn_is_large(s) && n < 200)
		CHECK_OK(store_put_snapshot(s, 1, 0, n++, mb, 1 << 20, false, &e), &e);
	CHECK_INT(n, 96);
	must_commit(s);
	must_begin(s);
	CHECK(!store_txn_is_large(s));
	for (n = 0; !store_txn_is_large(s) && n < 100000; n++)
		CHECK_OK(store_put_shape(s, n, "x", 1, &e), &e);
	CHECK_INT(n, STORE_TXN_PUTS_MAX / 2); /* each has a head */
	must_commit(s);
	/* Scattered: a page and more is dirtied for each put, and it still fits one transaction. */
	must_begin(s);
	for (n = 0; !store_txn_is_large(s); n++) {
		struct store_entry en = {at(1, 0), mb, "", 3000, 0, NULL, 0};
		if (store_put_block(s, (uint64_t)n * 7919 + 10, &en, 1, true, &e) != 0)
			break;
	}
	CHECK(store_txn_is_large(s));
	CHECK_OK(store_commit(s, &e), &e);
	free(mb);
	store_close(s);
	drop_dir();
}

/* ---- logs ---- */

struct model_entry {
	struct log_offset at;
	char text[48];
	bool chunk_end;
};

struct model {
	uint64_t id;
	struct model_entry entries[400];
	size_t n;
};

/* A random log, as blocks of random sizes in transactions of random sizes. */
static void model_fill(struct model *m, struct store *s, struct rng *rng, size_t count)
{
	lsn_t tx = m->n > 0 ? m->entries[m->n - 1].at.tx : 1000;
	uint64_t op = m->n > 0 ? m->entries[m->n - 1].at.op : 0;
	for (size_t put = 0; put < count;) {
		struct store_entry block[20];
		size_t k = 1 + rng_below(rng, 20), first = m->n;
		for (size_t i = 0; i < k && m->n < ARRAY_LEN(m->entries); i++, put++) {
			if (rng_below(rng, 3) == 0) {
				tx += 1 + rng_below(rng, 300);
				op = rng_below(rng, 2) * rng_below(rng, 600);
			} else {
				op += 1 + rng_below(rng, 300);
			}
			struct model_entry *en = &m->entries[m->n++];
			en->at = at(tx, op);
			en->chunk_end = false;
			snprintf(en->text, sizeof en->text, "{%llu:%llu_%llu%.*s}", (unsigned long long)m->id, (unsigned long long)tx,
			         (unsigned long long)op, (int)rng_below(rng, 16), "----------------");
		}
		k = m->n - first;
		if (k == 0)
			return;
		for (size_t i = 0; i < k; i++) {
			struct model_entry *en = &m->entries[first + i];
			uint32_t len = (uint32_t)strlen(en->text), cut = (uint32_t)rng_below(rng, len + 1);
			block[i] = (struct store_entry){en->at, en->text, en->text + cut, cut, len - cut, NULL, 0};
		}
		m->entries[m->n - 1].chunk_end = rng_below(rng, 3) == 0;
		CHECK_OK(store_put_block(s, m->id, block, k, m->entries[m->n - 1].chunk_end, &e), &e);
	}
}

/* Reads (after, upto] in steps of `max` and compares with the model. Counts, so that it can run often. */
static bool model_reads(const struct model *m, struct store_read *r, struct log_offset after, struct log_offset upto, size_t max)
{
	struct buf want = BUF_INIT(LIMIT), got = BUF_INIT(LIMIT), step = BUF_INIT(LIMIT);
	struct log_offset last = after, reached = after;
	for (size_t i = 0; i < m->n; i++)
		if (log_offset_cmp(m->entries[i].at, after) > 0 && log_offset_cmp(m->entries[i].at, upto) <= 0) {
			buf_puts(&want, m->entries[i].text);
			buf_putc(&want, '\n');
			last = m->entries[i].at;
		}
	bool end = false, good = true;
	for (int steps = 0; good && !end && steps < 1000; steps++) {
		buf_reset(&step);
		good = read_log(r, m->id, reached, upto, max, &step, &reached, &end, &e) == 0;
		good = good && (step.len > 0 || end) && step.len <= max + sizeof m->entries[0].text;
		buf_put(&got, step.data, step.len);
	}
	good = good && end && got.len == want.len && (got.len == 0 || memcmp(got.data, want.data, got.len) == 0);
	good = good && log_offset_cmp(reached, last) == 0;
	buf_clear(&want);
	buf_clear(&got);
	buf_clear(&step);
	return good;
}

static size_t model_points(const struct model *m, struct log_offset *out, size_t max)
{
	size_t n = 0;
	out[n++] = at(0, INF);
	out[n++] = at(0, 0);
	out[n++] = at(UINT64_MAX, UINT64_MAX);
	for (size_t i = 0; i < m->n && n + 6 < max; i += 1 + i / 12) {
		struct log_offset o = m->entries[i].at;
		out[n++] = o;
		out[n++] = at(o.tx, o.op + 1);
		out[n++] = at(o.tx, o.op > 0 ? o.op - 1 : 0);
		out[n++] = at(o.tx, INF);
		out[n++] = at(o.tx - 1, INF);
		out[n++] = at(o.tx + 1, 0);
	}
	return n;
}

static bool model_chunk_ends(const struct model *m, struct store_read *r, struct log_offset after)
{
	struct log_offset got = at(1, 1);
	const struct model_entry *want = NULL;
	for (size_t i = 0; i < m->n && want == NULL; i++)
		if (m->entries[i].chunk_end && log_offset_cmp(m->entries[i].at, after) > 0)
			want = &m->entries[i];
	int rc = store_chunk_end(r, m->id, after, &got, &e);
	return want == NULL ? rc == 1 : rc == 0 && log_offset_cmp(got, want->at) == 0;
}

static bool model_tail(const struct model *m, struct store_read *r)
{
	struct store_head h;
	uint64_t want = 0;
	const struct model_entry *last_end = NULL;
	for (size_t i = 0; i < m->n; i++) {
		want = m->entries[i].chunk_end ? 0 : want + strlen(m->entries[i].text);
		if (m->entries[i].chunk_end)
			last_end = &m->entries[i];
	}
	int rc = read_head(r, m->id, &h, &e);
	if (m->n == 0)
		return rc == 1 && h.chunk_end.tx == 0;
	return rc == 0 && log_offset_cmp(h.last, m->entries[m->n - 1].at) == 0 && h.open_bytes == want &&
	       (last_end == NULL ? h.chunk_end.tx == 0 : log_offset_cmp(h.chunk_end, last_end->at) == 0);
}

static void model_check(const struct model *m, struct store *s)
{
	static const size_t maxes[] = {1, 40, 333, 1 << 20};
	struct log_offset points[120];
	size_t n = model_points(m, points, ARRAY_LEN(points)), bad = 0;
	struct store_read *r = must_read(s);
	for (size_t i = 0; i < n; i++) {
		bad += !model_chunk_ends(m, r, points[i]);
		for (size_t j = 0; j < n; j++)
			for (size_t k = 0; k < ARRAY_LEN(maxes); k++) {
				if (k < 2 && (i + j) % 7 != 0)
					continue; /* the slow ones now and then */
				bad += !model_reads(m, r, points[i], points[j], maxes[k]);
			}
	}
	CHECK_INT(bad, 0);
	CHECK(model_tail(m, r));
	store_read_end(r);
}

static void model_cut(struct model *m, lsn_t tx)
{
	while (m->n > 0 && m->entries[m->n - 1].at.tx >= tx)
		m->n--;
}

static void test_logs(uint64_t seed)
{
	static const uint64_t ids[] = {1, 2, 255, 256, ((uint64_t)1 << 62) - 1};
	static struct model models[ARRAY_LEN(ids)];
	struct rng rng = rng_seeded(seed);
	fresh_dir();
	struct store *s = must_open(dir);
	memset(models, 0, sizeof models);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		models[i].id = ids[i];
		model_check(&models[i], s); /* empty */
	}
	for (int round = 0; round < 3; round++) {
		must_begin(s);
		for (size_t i = 0; i < ARRAY_LEN(ids); i++)
			if (rng_below(&rng, 4) != 0)
				model_fill(&models[i], s, &rng, 1 + rng_below(&rng, 60));
		must_commit(s);
		for (size_t i = 0; i < ARRAY_LEN(ids); i++)
			model_check(&models[i], s);
	}
	store_writer_done(s);
	store_close(s);
	s = must_open(dir);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		model_check(&models[i], s);

	/* Staging: blocks of one transaction behind everything, cut again, then written anew. */
	for (int round = 0; round < 3; round++) {
		struct model *m = &models[rng_below(&rng, ARRAY_LEN(ids))];
		lsn_t tx = m->n > 0 ? m->entries[m->n - 1].at.tx + 1 : 5;
		struct model before = *m;
		must_begin(s);
		struct model_entry *en;
		for (int i = 0; i < 5; i++) {
			en = &m->entries[m->n++];
			en->at = at(tx, (uint64_t)i * 2);
			snprintf(en->text, sizeof en->text, "staged %d", i);
			en->chunk_end = i % 2 == 0;
			struct store_entry se = {en->at, en->text, "", (uint32_t)strlen(en->text), 0, NULL, 0};
			CHECK_OK(store_put_block(s, m->id, &se, 1, en->chunk_end, &e), &e);
		}
		must_commit(s);
		model_check(m, s);
		must_begin(s);
		CHECK_OK(store_cut_log(s, m->id, tx, &e), &e);
		CHECK_OK(store_cut_log(s, m->id, tx, &e), &e);
		CHECK_OK(store_cut_log(s, 77777, tx, &e), &e);
		must_commit(s);
		model_cut(m, tx);
		CHECK_INT(m->n, before.n);
		for (size_t i = 0; i < ARRAY_LEN(ids); i++)
			model_check(&models[i], s);
		must_begin(s);
		model_fill(m, s, &rng, 10);
		must_commit(s);
		model_check(m, s);
	}
	must_begin(s);
	CHECK_OK(store_cut_log(s, models[2].id, 0, &e), &e); /* all of it */
	must_commit(s);
	models[2].n = 0;
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		model_check(&models[i], s);
	store_close(s);
	drop_dir();
}

/* The word for a staged entry that turned out to be the last: into the text of the newest, once. */
static void test_insert_last(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	struct store_entry block[] = {entry(10, 0, "first"), entry(10, 2, "headtail")};
	for (int again = 0; again < 2; again++) {
		must_begin(s);
		for (uint64_t id = 1; id <= 3; id++)
			if (again == 0)
				CHECK_OK(store_put_block(s, id, block + (id == 2 ? 1 : 0), id == 2 ? 1 : 2, false, &e), &e);
		/* The second time as after a commit that had failed and was there nevertheless. */
		CHECK_OK(store_insert_last(s, 1, at(10, 2), 4, "-last-", 6, false, &e), &e);
		CHECK_OK(store_insert_last(s, 2, at(10, 2), 8, "-last-", 6, true, &e), &e);
		must_commit(s);
		static const char *const texts[] = {"first\nhead-last-tail\n", "headtail-last-\n", "first\nheadtail\n"};
		static const uint64_t open_bytes[] = {5 + 14, 0, 5 + 8};
		struct store_read *r = must_read(s);
		for (uint64_t id = 1; id <= 3; id++) {
			struct buf out = BUF_INIT(1000);
			struct log_offset reached;
			struct store_head h;
			bool end;
			CHECK_OK(read_log(r, id, at(0, INF), at(10, INF), 1000, &out, &reached, &end, &e), &e);
			CHECK_STR(out.data, texts[id - 1]);
			CHECK_OK(read_head(r, id, &h, &e), &e);
			CHECK_OFFSET(h.last, 10, 2);
			CHECK_INT(h.open_bytes, open_bytes[id - 1]);
			CHECK_OFFSET(h.chunk_end, id == 2 ? 10 : 0, id == 2 ? 2 : LOG_OP_INF);
			buf_clear(&out);
		}
		store_read_end(r);
	}
	/* No such entry; not the end of a block; beyond its text: errors, and the store goes on when reopened. */
	static const struct { struct log_offset at; uint32_t split; } bad[] = {{{10, 0}, 0}, {{11, 0}, 0}, {{10, 2}, 9}};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		must_begin(s);
		CHECK_INT(store_insert_last(s, 3, bad[i].at, bad[i].split, "-last-", 6, false, &e), -1);
		CHECK_INT(e.kind, ERR_DAMAGED);
		CHECK_OK(store_reopen(s, &e), &e);
	}
	store_close(s);
	drop_dir();
}

static void test_big_entries(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	size_t big = 5 << 20;
	char *text = mem_alloc(big);
	memset(text, 'x', big);
	text[0] = '<';
	text[big - 1] = '>';
	must_begin(s);
	struct store_entry block[] = {
		entry(10, 0, "small"),
		{at(10, 2), text, text, (uint32_t)big, (uint32_t)big, NULL, 0},
		entry(10, 4, ""), /* nothing in it: still an entry */
		entry(10, 6, "after"),
	};
	CHECK_OK(store_put_block(s, 1, block, 4, false, &e), &e);
	must_commit(s);
	struct store_read *r = must_read(s);
	struct buf out = BUF_INIT(LIMIT);
	struct log_offset reached;
	bool end;
	CHECK_OK(read_log(r, 1, at(0, INF), at(10, INF), 1, &out, &reached, &end, &e), &e);
	CHECK(out.len == 6 && !end);
	buf_reset(&out);
	CHECK_OK(read_log(r, 1, reached, at(10, INF), 1, &out, &reached, &end, &e), &e);
	CHECK(out.len == 2 * big + 1 && !end && out.data[0] == '<' && out.data[big] == '<' && out.data[2 * big - 1] == '>');
	CHECK_OFFSET(reached, 10, 2);
	buf_reset(&out);
	CHECK_OK(read_log(r, 1, reached, at(10, INF), 100, &out, &reached, &end, &e), &e);
	CHECK_STR(out.data, "\nafter\n");
	CHECK(end);
	struct buf small = BUF_INIT(1000);
	CHECK_INT(read_log(r, 1, at(0, INF), at(10, INF), 1 << 20, &small, &reached, &end, &e), -1);
	CHECK_INT(e.kind, ERR_LIMIT);
	buf_reset(&small);
	CHECK_INT(read_log(r, 1, at(0, INF), at(10, 0), 1 << 20, &small, &reached, &end, &e), 0);
	CHECK_STR(small.data, "small\n");
	struct store_head h;
	CHECK_OK(read_head(r, 1, &h, &e), &e);
	CHECK_INT(h.open_bytes, 2 * big + 10);
	store_read_end(r);
	buf_clear(&small);
	buf_clear(&out);
	free(text);
	store_close(s);
	drop_dir();
}

static void test_snapshots(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	char text[64];
	for (uint32_t chunk = 0; chunk < 3; chunk++) {
		must_begin(s);
		for (uint32_t piece = 0; piece < 300; piece++) {
			int n = snprintf(text, sizeof text, "%u/%u\n", chunk, piece);
			CHECK_OK(store_put_snapshot(s, 9, chunk, piece, text, (size_t)n, false, &e), &e);
		}
		must_commit(s);
	}
	struct store_read *r = must_read(s);
	struct buf out = BUF_INIT(LIMIT), want = BUF_INIT(LIMIT);
	for (uint32_t chunk = 0; chunk < 3; chunk++) {
		buf_reset(&out);
		buf_reset(&want);
		uint32_t piece = 0;
		while (read_snapshot(r, 9, chunk, piece, &out, &e) == 0)
			buf_printf(&want, "%u/%u\n", chunk, piece++);
		CHECK_INT(piece, 300);
		CHECK_STR(out.data, want.data);
	}
	CHECK_INT(read_snapshot(r, 9, 3, 0, &out, &e), 1);
	CHECK_INT(read_snapshot(r, 8, 0, 0, &out, &e), 1);
	CHECK_INT(read_snapshot(r, 9, UINT32_MAX, UINT32_MAX, &out, &e), 1);
	struct buf tiny = BUF_INIT(2);
	CHECK_INT(read_snapshot(r, 9, 0, 0, &tiny, &e), -1);
	CHECK_INT(e.kind, ERR_LIMIT);
	store_read_end(r);
	buf_clear(&out);
	buf_clear(&want);
	store_close(s);
	drop_dir();
}

/* ---- dropping ---- */

#define GC_ENTRIES 40

static void gc_fill(struct store *s, uint64_t id)
{
	must_begin(s);
	CHECK_OK(store_put_shape(s, id, "rec", 3, &e), &e);
	for (uint32_t i = 0; i < GC_ENTRIES; i++) {
		struct store_entry en = entry(100 + i, 0, "entry");
		CHECK_OK(store_put_block(s, id, &en, 1, i % 4 == 3, &e), &e);
		CHECK_OK(store_put_snapshot(s, id, i / 10, i % 10, "row\n", 4, false, &e), &e);
	}
	must_commit(s);
}

/* How much of a shape is there: blocks, chunk ends and snapshot pieces. */
static size_t gc_count(struct store *s, uint64_t id)
{
	struct store_read *r = must_read(s);
	struct buf out = BUF_INIT(LIMIT);
	struct log_offset reached = at(0, INF);
	bool end = false;
	size_t n = 0;
	for (uint32_t i = 0; i < GC_ENTRIES; i++) { /* one by one: what is missing before it makes an error */
		buf_reset(&out);
		n += read_log(r, id, at(99 + i, INF), at(100 + i, 0), LIMIT, &out, &reached, &end, &e) == 0 && out.len > 0;
	}
	reached = at(0, INF);
	while (store_chunk_end(r, id, reached, &reached, &e) == 0)
		n++;
	for (uint32_t i = 0; i < GC_ENTRIES; i++)
		n += read_snapshot(r, id, i / 10, i % 10, &out, &e) == 0;
	store_read_end(r);
	buf_clear(&out);
	return n;
}

/* Takes the data file out of the page cache; false where that can't be (a file system in memory). */
static bool make_cold(void)
{
	char file[TEMP_DIR_MAX + 32];
	unsigned char cached = 1;
	snprintf(file, sizeof file, "%s/busbar/data.mdb", dir);
	int fd = open(file, O_RDONLY);
	if (fd < 0 || fsync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		return false;
	void *p = mmap(NULL, 1u << 20, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	bool cold = p != MAP_FAILED && mincore((char *)p + (512u << 10), 1, &cached) == 0 && (cached & 1) == 0;
	if (p != MAP_FAILED)
		munmap(p, 1u << 20);
	return cold;
}

static long major_faults(void)
{
	struct rusage u;
	getrusage(RUSAGE_THREAD, &u);
	return u.ru_majflt;
}

/* After a restart large values are read ahead, not page by page: each page would be waited for. */
static void test_cold_reads(void)
{
	enum { PIECES = 96, BLOCKS = 16, PIECE_BYTES = 128 << 10, BLOCK_BYTES = 512 << 10 };
	struct store *s = must_open(dir);
	struct buf out = BUF_INIT(LIMIT);
	char *text = mem_alloc(BLOCK_BYTES);
	memset(text, 'x', BLOCK_BYTES);
	for (uint32_t i = 0; i < PIECES; i++) {
		must_begin(s);
		CHECK_OK(store_put_snapshot(s, 1, 0, i, text, PIECE_BYTES, i == PIECES - 1, &e), &e);
		struct store_entry entry = {.at = at(100 + i, 0), .a = text, .a_len = BLOCK_BYTES};
		if (i < BLOCKS)
			CHECK_OK(store_put_block(s, 1, &entry, 1, false, &e), &e);
		must_commit(s);
	}
	store_close(s);
	bool cold = make_cold();
	printf("  %s\n", cold ? "the data file is cold" : "the data file can't be taken out of the page cache: the faults aren't looked at");

	s = must_open(dir);
	cold = cold && make_cold(); /* opening has looked at pages, and the kernel has read around them */
	struct store_read *r = must_read(s);
	long before = major_faults();
	for (uint32_t i = 0; i < PIECES; i++) {
		buf_reset(&out);
		CHECK_INT(read_snapshot(r, 1, 0, i, &out, &e), 0);
		CHECK_INT(out.len, PIECE_BYTES);
	}
	long snapshot = major_faults() - before;
	struct log_offset reached = at(0, INF);
	bool end = false;
	for (size_t i = 0; i < BLOCKS; i++) {
		buf_reset(&out);
		CHECK_OK(read_log(r, 1, reached, at(1000, 0), 1, &out, &reached, &end, &e), &e);
		CHECK_INT(out.len, BLOCK_BYTES + 1);
	}
	long log = major_faults() - before - snapshot;
	printf("  major faults: %ld for %d MB of snapshot, %ld for %d MB of log\n", snapshot, PIECES * PIECE_BYTES >> 20, log,
	       BLOCKS * BLOCK_BYTES >> 20);
	/* One for each page would be 3,072 and 2,048. */
	CHECK(!cold || (snapshot < PIECES && log < 4 * BLOCKS));
	store_read_end(r);
	store_close(s);
	buf_clear(&out);
	free(text);
}

static void test_gc(size_t step)
{
	static const uint64_t ids[] = {1, 2, 3, 255, 256, 257, (uint64_t)1 << 61};
	const size_t full = GC_ENTRIES * 2 + GC_ENTRIES / 4;
	fresh_dir();
	struct store *s = must_open(dir);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		gc_fill(s, ids[i]);
	must_begin(s);
	bool more = true;
	CHECK_OK(store_gc_step(s, 100, &more, &e), &e);
	CHECK(!more);
	CHECK_OK(store_drop_shape(s, 2, &e), &e);
	CHECK_OK(store_drop_shape(s, 256, &e), &e);
	must_commit(s);
	CHECK_INT(gc_count(s, 2), full); /* nothing is deleted before a step */
	size_t steps = 0, was = gc_count(s, 2) + gc_count(s, 256);
	do {
		must_begin(s);
		CHECK_OK(store_gc_step(s, step, &more, &e), &e);
		must_commit(s);
		size_t now = gc_count(s, 2) + gc_count(s, 256);
		CHECK(was - now <= step);
		CHECK(now < was || !more || steps > 0);
		was = now;
	} while (more && ++steps < 1000);
	CHECK(!more && was == 0);
	CHECK(steps >= 2 * full / step && steps <= 2 * full / step + 3);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		CHECK_INT(gc_count(s, ids[i]), ids[i] == 2 || ids[i] == 256 ? 0 : full);
	struct store_read *r = must_read(s);
	struct seen all = {0};
	CHECK_OK(store_each_shape(r, see, &all, &e), &e);
	CHECK_INT(all.n, ARRAY_LEN(ids) - 2);
	store_read_end(r);

	/* What is to be done outlives a restart. */
	must_begin(s);
	CHECK_OK(store_drop_shape(s, (uint64_t)1 << 61, &e), &e);
	CHECK_OK(store_drop_shape(s, 1, &e), &e);
	must_commit(s);
	must_begin(s);
	CHECK_OK(store_gc_step(s, 10, &more, &e), &e);
	CHECK(more);
	must_commit(s);
	store_writer_done(s);
	store_close(s);
	s = must_open(dir);
	must_begin(s);
	do
		CHECK_OK(store_gc_step(s, 1000, &more, &e), &e);
	while (more);
	must_commit(s);
	CHECK(gc_count(s, 1) == 0 && gc_count(s, (uint64_t)1 << 61) == 0 && gc_count(s, 3) == full);
	store_close(s);
	drop_dir();
}

/* ---- threads ---- */

#define RACE_SHAPES 3

struct race {
	struct store *store;
	_Atomic bool stop;
	_Atomic uint64_t reads, wrong, failed;
	unsigned hold_us;
};

/* One read transaction is one state: the count and the end of every log agree. */
static void *race_reader(void *arg)
{
	struct race *race = arg;
	struct buf out = BUF_INIT(LIMIT);
	struct err err;
	for (uint64_t i = 0; !atomic_load(&race->stop); i++) {
		struct store_read *r = store_read_begin(race->store, &err);
		if (r == NULL) {
			atomic_fetch_add(&race->failed, 1);
			continue;
		}
		uint64_t count = 0;
		struct log_offset reached;
		struct store_head h;
		bool end, bad = store_get_meta_u64(r, "count", &count, &err) < 0;
		for (uint64_t id = 1; id <= RACE_SHAPES && count > 0; id++) {
			bad = bad || read_head(r, id, &h, &err) != 0 || h.last.tx != count;
			buf_reset(&out);
			struct log_offset from = at(count > 5 ? count - 5 : 0, 0), upto = at(count, INF);
			bad = bad || read_log(r, id, from, upto, 1 << 20, &out, &reached, &end, &err) != 0;
			bad = bad || !end || reached.tx != count || out.len < 6;
		}
		if (race->hold_us > 0)
			usleep(race->hold_us);
		store_read_end(r);
		if (bad)
			atomic_fetch_add(&race->wrong, 1);
		atomic_fetch_add(&race->reads, 1);
	}
	buf_clear(&out);
	return NULL;
}

static void race_write(struct store *s, uint64_t n)
{
	char text[40];
	snprintf(text, sizeof text, "entry %llu", (unsigned long long)n);
	must_begin(s);
	for (uint64_t id = 1; id <= RACE_SHAPES; id++) {
		struct store_entry en = entry(n, id, text);
		if (store_put_block(s, id, &en, 1, n % 3 == 0, &e) != 0)
			return;
	}
	bool more;
	put_journal(s, n, n + 1, 5000);
	CHECK_OK(store_trim_journal(s, n > 3 ? n - 3 : 0, 100, &more, &e), &e);
	CHECK_OK(store_put_meta_u64(s, "count", n, &e), &e);
	must_commit(s);
}

static void test_readers(void)
{
	enum { THREADS = 4 };
	fresh_dir();
	struct race race = {.store = must_open(dir)};
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, race_reader, &race);
	int64_t until = clock_mono_ms() + 1500;
	uint64_t n = 0;
	while (clock_mono_ms() < until) {
		race_write(race.store, ++n);
		if (n % 50 == 0)
			CHECK_OK(store_reopen(race.store, &e), &e);
		if (n % 70 == 0) { /* and in the middle of a transaction, which is gone then */
			must_begin(race.store);
			CHECK_OK(store_put_meta_u64(race.store, "count", 1, &e), &e);
			CHECK_OK(store_reopen(race.store, &e), &e);
		}
	}
	atomic_store(&race.stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK(n > 10 && race.reads > 10);
	CHECK_INT(race.wrong, 0);
	CHECK_INT(race.failed, 0);
	store_close(race.store);
	drop_dir();
}

/* More readers than LMDB has slots for wait for each other. */
static void test_many_readers(void)
{
	enum { THREADS = 160 };
	fresh_dir();
	struct race race = {.store = must_open(dir), .hold_us = 2000};
	race_write(race.store, 1);
	static pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, race_reader, &race) == 0);
	int64_t until = clock_mono_ms() + 10000;
	while (race.reads < 10 * THREADS && clock_mono_ms() < until)
		usleep(1000);
	atomic_store(&race.stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK(race.reads >= 10 * THREADS);
	CHECK_INT(race.wrong, 0);
	CHECK_INT(race.failed, 0);
	store_close(race.store);
	drop_dir();
}

static _Atomic bool reopened;

static void *reopen_often(void *arg)
{
	struct race *race = arg;
	struct err err;
	for (int i = 0; i < 20; i++)
		if (store_reopen(race->store, &err) != 0)
			return NULL;
	atomic_store(&reopened, true);
	return NULL;
}

/* Readers that come one after the other without a gap don't keep the environment from being reopened. */
static void test_reopen_comes_through(void)
{
	enum { THREADS = 8 };
	fresh_dir();
	struct race race = {.store = must_open(dir), .hold_us = 3000};
	race_write(race.store, 1);
	pthread_t t[THREADS], w;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, race_reader, &race);
	atomic_store(&reopened, false);
	pthread_create(&w, NULL, reopen_often, &race);
	int64_t until = clock_mono_ms() + 5000;
	while (!atomic_load(&reopened) && clock_mono_ms() < until)
		usleep(1000);
	CHECK(atomic_load(&reopened));
	atomic_store(&race.stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	pthread_join(w, NULL);
	CHECK_INT(race.wrong, 0);
	store_close(race.store);
	drop_dir();
}

/* ---- pread: check.c reads with it, and its first read of a reopening can be held until a reader was served ---- */

ssize_t pread(int fd, void *p, size_t n, off_t off);

static struct store *_Atomic look_while; /* NULL: nobody looks */
static _Atomic int looked;               /* 1: a reader was served while the file was looked at, -1: it had to wait */

static void *read_once(void *arg)
{
	struct err err;
	struct store_read *r = store_read_begin(arg, &err);
	if (r != NULL)
		store_read_end(r);
	return r;
}

static pthread_t reader;
static _Atomic int unreadable; /* the n-th read from now fails; 0: none */

ssize_t pread(int fd, void *p, size_t n, off_t off)
{
	struct store *s = atomic_exchange(&look_while, NULL);
	if (s != NULL && pthread_create(&reader, NULL, read_once, s) == 0) {
		struct timespec until;
		void *got = NULL;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 5;
		bool served = pthread_timedjoin_np(reader, &got, &until) == 0;
		atomic_store(&looked, served && got != NULL ? 1 : -1);
		if (!served)
			pthread_detach(reader);
	}
	if (atomic_load(&unreadable) > 0 && atomic_fetch_sub(&unreadable, 1) == 1) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pread64, fd, p, n, off);
}

/* To look at all pages of a large file takes seconds: readers don't wait for that. */
static void test_reads_while_pages_are_looked_at(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	race_write(s, 1);
	atomic_store(&looked, 0);
	atomic_store(&look_while, s);
	CHECK_OK(store_reopen(s, &e), &e);
	CHECK_INT(atomic_load(&looked), 1);
	race_write(s, 2);
	store_close(s);
	drop_dir();
}

static void *write_one(void *arg)
{
	struct store *s = arg;
	struct err err;
	if (store_begin(s, &err) == 0 && store_put_meta_u64(s, "count", 9, &err) == 0 && store_commit(s, &err) == 0)
		store_writer_done(s);
	return NULL;
}

static void test_writers(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	must_begin(s);
	must_commit(s);
	store_writer_done(s);
	pthread_t t;
	pthread_create(&t, NULL, write_one, s);
	pthread_join(t, NULL);
	must_begin(s); /* handed on, and back */
	CHECK_OK(store_put_meta_u64(s, "count", 10, &e), &e);
	must_commit(s);
	struct store_read *r = must_read(s);
	uint64_t v = 0;
	CHECK(store_get_meta_u64(r, "count", &v, &e) == 0 && v == 10);
	store_read_end(r);
	store_close(s);

	/* Two writers at a time are a mistake of ours, and are stopped. */
	pid_t child = UNDER_TSAN ? -1 : fork();
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 2);
		struct rlimit none = {0, 0};
		setrlimit(RLIMIT_CORE, &none);
		s = must_open(dir);
		must_begin(s);
		pthread_create(&t, NULL, write_one, s);
		pthread_join(t, NULL);
		_exit(0);
	}
	int status = 0;
	if (child > 0) {
		waitpid(child, &status, 0);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
	drop_dir();
}

static void test_failed_reopen(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	race_write(s, 1);
	char from[TEMP_DIR_MAX + 16], to[TEMP_DIR_MAX + 16];
	snprintf(from, sizeof from, "%s/busbar", dir);
	snprintf(to, sizeof to, "%s/elsewhere", dir);
	CHECK(rename(from, to) == 0);
	CHECK_INT(store_reopen(s, &e), -1);
	CHECK_INT(e.kind, ERR_IO);
	CHECK_INT(store_reopen(s, &e), -1);
	CHECK(store_read_begin(s, &e) == NULL);
	CHECK_INT(store_begin(s, &e), -1);
	CHECK(strstr(e.text, "reopened") != NULL);
	CHECK(rename(to, from) == 0);
	/* The data file alone is gone: an empty one in its place would be a log without its beginning. */
	char data[TEMP_DIR_MAX + 32], away[TEMP_DIR_MAX + 32];
	snprintf(data, sizeof data, "%s/busbar/data.mdb", dir);
	snprintf(away, sizeof away, "%s/busbar/away", dir);
	CHECK(rename(data, away) == 0);
	CHECK_INT(store_reopen(s, &e), -1);
	CHECK(strstr(e.text, "data.mdb is gone") != NULL && access(data, F_OK) != 0);
	CHECK(rename(away, data) == 0);
	CHECK_OK(store_reopen(s, &e), &e);
	race_write(s, 2);
	struct store_read *r = must_read(s);
	uint64_t v = 0;
	CHECK(store_get_meta_u64(r, "count", &v, &e) == 0 && v == 2);
	store_read_end(r);
	store_close(s);
	drop_dir();
}

/* ---- where it lives ---- */

static void test_small_address_space(void)
{
	if (UNDER_ASAN || UNDER_TSAN)
		return; /* they need terabytes for themselves */
	static const struct {
		rlim_t limit;
		bool opens;
	} cases[] = {{(rlim_t)400 << 30, true}, {(rlim_t)6 << 30, true}, {(rlim_t)2 << 30, true}, {(rlim_t)512 << 20, false}};
	fresh_dir();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		pid_t child = fork();
		if (child == 0) {
			struct rlimit l = {cases[i].limit, cases[i].limit};
			struct store *s = NULL;
			if (setrlimit(RLIMIT_AS, &l) != 0)
				_exit(1);
			err_clear(&e);
			int rc = store_open(&s, dir, false, &e);
			if (rc != 0)
				_exit(!cases[i].opens && e.text[0] != '\0' ? 0 : 2);
			race_write(s, i + 1);
			if (store_reopen(s, &e) != 0)
				_exit(3);
			store_close(s);
			_exit(cases[i].opens ? 0 : 4);
		}
		int status = 1;
		waitpid(child, &status, 0);
		CHECK_INT(status, 0);
	}
	struct store *s = must_open(dir);
	struct store_read *r = must_read(s);
	uint64_t v = 0;
	CHECK(store_get_meta_u64(r, "count", &v, &e) == 0 && v == 3);
	store_read_end(r);
	store_close(s);
	drop_dir();
}

/* What can't be made says which setting moves it. */
static void test_texts_name_settings(void)
{
	char below[TEMP_DIR_MAX + 32];
	struct store *s;
	fresh_dir();
	snprintf(below, sizeof below, "%s/file", dir);
	FILE *f = fopen(below, "w");
	CHECK(f != NULL && fclose(f) == 0);
	CHECK_INT(store_open(&s, below, false, &e), -1);
	CHECK(strstr(e.text, below) != NULL && strstr(e.text, "ELECTRIC_STORAGE_DIR") != NULL);
	const char *tmp = getenv("TMPDIR");
	char *before = tmp != NULL ? strdup(tmp) : NULL;
	setenv("TMPDIR", below, 1);
	CHECK_INT(store_open(&s, "", true, &e), -1);
	CHECK(strstr(e.text, "TMPDIR") != NULL);
	if (before != NULL)
		setenv("TMPDIR", before, 1);
	else
		unsetenv("TMPDIR");
	free(before);
	drop_dir();
}

static void test_temporary(void)
{
	fresh_dir();
	const char *tmp = getenv("TMPDIR");
	char *was = tmp != NULL ? mem_strdup(tmp) : NULL;
	setenv("TMPDIR", dir, 1);
	struct store *a = NULL, *b = NULL;
	CHECK_OK(store_open(&a, "/nowhere/at/all", true, &e), &e);
	CHECK_OK(store_open(&b, "/nowhere/at/all", true, &e), &e); /* two don't meet */
	CHECK_INT(temp_dir_count(dir), 2);
	race_write(a, 1);
	race_write(b, 5);
	CHECK_OK(store_reopen(a, &e), &e);
	struct store_read *r = must_read(a);
	uint64_t v = 0;
	CHECK(store_get_meta_u64(r, "count", &v, &e) == 0 && v == 1);
	store_read_end(r);
	must_begin(a);
	store_close(a); /* with a transaction open */
	CHECK_INT(temp_dir_count(dir), 1);
	store_close(b);
	CHECK_INT(temp_dir_count(dir), 0);
	char missing[TEMP_DIR_MAX + 16];
	snprintf(missing, sizeof missing, "%s/missing", dir);
	setenv("TMPDIR", missing, 1);
	CHECK(store_open(&a, "x", true, &e) == -1 && strstr(e.text, "temporary store") != NULL);
	if (was != NULL)
		setenv("TMPDIR", was, 1);
	else
		unsetenv("TMPDIR");
	free(was);
	drop_dir();
}

/* ---- damage ---- */

static void be64(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> (56 - 8 * i));
}

/* Every function on the shape: results may be anything, a crash or a read out of bounds may not be. */
static void use_everything(struct store *s, uint64_t id)
{
	struct store_read *r = must_read(s);
	struct buf out = BUF_INIT(LIMIT);
	struct log_offset o = {0, 0};
	struct store_head h;
	bool end;
	(void)!read_log(r, id, at(0, INF), at(UINT64_MAX, INF), LIMIT, &out, &o, &end, &e);
	(void)!read_log(r, id, at(1000, 3), at(1000, 5), 10, &out, &o, &end, &e);
	(void)!store_chunk_end(r, id, at(0, INF), &o, &e);
	(void)!read_head(r, id, &h, &e);
	(void)!read_snapshot(r, id, 0, 0, &out, &e);
	store_read_end(r);
	buf_clear(&out);
	must_begin(s);
	bool more;
	struct store_entry en = entry(UINT64_MAX, 7, "new");
	if (store_put_block(s, id, &en, 1, true, &e) != 0)
		CHECK_INT(e.kind, ERR_DAMAGED); /* the transaction goes on */
	CHECK_OK(store_reopen(s, &e), &e);
	must_begin(s);
	CHECK_OK(store_drop_shape(s, id, &e), &e);
	CHECK_OK(store_trim_journal(s, UINT64_MAX, 1000, &more, &e), &e);
	CHECK_OK(store_gc_step(s, 1000, &more, &e), &e);
	store_abort(s);
}

struct head_seen {
	uint64_t id;
	size_t n;
};

static int see_head(void *ctx, uint64_t id, const struct store_head *h, struct err *err)
{
	struct head_seen *seen = ctx;
	(void)h, (void)err;
	seen->n += id == seen->id;
	return 0;
}

static void block_key(unsigned char key[24])
{
	be64(key, 5);
	be64(key + 8, 1000);
	be64(key + 16, 4);
}

static void put_block_value(const void *value, size_t len)
{
	unsigned char key[24];
	block_key(key);
	raw_put("blocks", key, sizeof key, value, len);
}

static void test_damaged_blocks(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	fresh_dir();
	struct store *s = must_open(dir);
	must_begin(s);
	struct store_entry whole[] = {entry(1000, 0, "one"), entry(1000, 2, "two"), entry(1000, 4, "three")};
	CHECK_OK(store_put_block(s, 5, whole, 3, true, &e), &e);
	struct store_entry other = entry(1, 1, "neighbour");
	CHECK_OK(store_put_block(s, 4, &other, 1, true, &e), &e);
	CHECK_OK(store_put_block(s, 6, &other, 1, true, &e), &e);
	must_commit(s);
	store_writer_done(s);
	store_close(s);

	unsigned char value[32 + 3 * 20 + 11 + 8], key[24];
	const uint32_t count = 3, ends[3] = {3, 6, 11}, flags = 0xC5000001;
	const uint64_t no_block = UINT64_MAX;
	const size_t text_at = 32 + 3 * 20;
	memset(value, 0, sizeof value);
	memcpy(value, &count, 4);
	memcpy(value + 4, &flags, 4);
	memcpy(value + 24, &no_block, 8);
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t tx = 1000, op = i * 2;
		memcpy(value + 32 + i * 20, &tx, 8);
		memcpy(value + 40 + i * 20, &op, 8);
		memcpy(value + 48 + i * 20, &ends[i], 4);
	}
	memcpy(value + text_at, "onetwothree", 11);
	block_key(key);
	uint64_t seal = seal_of(DB_BLOCKS, key, sizeof key, value, text_at + 11);
	memcpy(value + text_at + 11, &seal, 8);
	struct buf out = BUF_INIT(LIMIT);
	struct log_offset o;
	struct store_head h;
	bool end;
	put_block_value(value, sizeof value); /* the layout as it is documented */
	s = must_open(dir);
	struct store_read *r = must_read(s);
	CHECK_OK(read_log(r, 5, at(0, INF), at(2000, 0), LIMIT, &out, &o, &end, &e), &e);
	CHECK_STR(out.data, "one\ntwo\nthree\n");
	store_read_end(r);
	store_close(s);

	/* Cut at every length: none of it is believed. */
	for (size_t len = 0; len < sizeof value; len++) {
		put_block_value(value, len);
		s = must_open(dir);
		r = must_read(s);
		buf_reset(&out);
		CHECK_INT(read_log(r, 5, at(0, INF), at(2000, 0), LIMIT, &out, &o, &end, &e), -1);
		CHECK(e.kind == ERR_DAMAGED && strstr(e.text, "damaged") != NULL);
		CHECK_OK(read_head(r, 5, &h, &e), &e); /* the head doesn't need it */
		buf_reset(&out);
		CHECK_OK(read_log(r, 6, at(0, INF), at(2000, 0), LIMIT, &out, &o, &end, &e), &e);
		CHECK_STR(out.data, "neighbour\n");
		store_read_end(r);
		if (len % 8 == 0)
			use_everything(s, 5);
		store_close(s);
	}
	/* Random bytes in it, and nothing but random bytes. */
	for (int i = 0; i < 150; i++) {
		unsigned char bad[sizeof value];
		memcpy(bad, value, sizeof bad);
		if (i % 3 == 0)
			for (size_t j = 0; j < sizeof bad; j++)
				bad[j] = (unsigned char)rng_next(&rng);
		for (int j = 0; j < 3; j++)
			bad[rng_below(&rng, text_at)] = (unsigned char)(rng_below(&rng, 3) == 0 ? 255 : rng_below(&rng, 256));
		put_block_value(bad, i % 2 == 0 ? sizeof bad : rng_below(&rng, sizeof bad));
		s = must_open(dir);
		use_everything(s, 5);
		store_close(s);
	}
	buf_clear(&out);
	drop_dir();
}

/* A byte of the value at `key` becomes another. */
static void raw_damage(const char *db, const void *key, size_t key_len, size_t at)
{
	MDB_env *env = raw_open();
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {0, NULL};
	CHECK(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, db, 0, &dbi) == 0 && mdb_get(txn, dbi, &k, &v) == 0);
	char *copy = malloc(v.mv_size);
	memcpy(copy, v.mv_data, v.mv_size);
	copy[at] ^= 1;
	v.mv_data = copy;
	CHECK(mdb_put(txn, dbi, &k, &v, 0) == 0 && raw_stamp(txn) == 0 && mdb_txn_commit(txn) == 0);
	free(copy);
	mdb_env_close(env);
}

/* What a cut leaves behind is damaged: no head says that the log ends where it doesn't any more, and whoever writes to
 * the shape is told. */
static void test_damage_met_by_a_cut(bool in_block)
{
	fresh_dir();
	struct store *s = must_open(dir);
	must_begin(s);
	struct store_entry first = entry(1000, 4, "first"), staged = entry(2000, 0, "staged"), other = entry(2000, 0, "neighbour");
	CHECK_OK(store_put_block(s, 5, &first, 1, true, &e), &e);
	CHECK_OK(store_put_block(s, 5, &staged, 1, false, &e), &e);
	CHECK_OK(store_put_block(s, 6, &other, 1, false, &e), &e);
	must_commit(s);
	store_writer_done(s);
	store_close(s);
	unsigned char key[24];
	block_key(key);
	raw_damage(in_block ? "blocks" : "chunks", key, sizeof key, in_block ? 40 : 3);
	s = must_open(dir);
	must_begin(s);
	CHECK_INT(store_cut_log(s, 5, 2000, &e), -1);
	CHECK_INT(e.kind, ERR_DAMAGED);
	CHECK_OK(store_cut_log(s, 6, 2000, &e), &e); /* the transaction goes on */
	must_commit(s);
	for (int life = 0; life < 2; life++) {
		struct store_read *r = must_read(s);
		struct head_seen seen = {.id = 5};
		CHECK_OK(store_each_head(r, see_head, &seen, &e), &e);
		CHECK_INT(seen.n, 0);
		store_read_end(r);
		must_begin(s);
		CHECK_INT(store_put_block(s, 5, &staged, 1, false, &e), -1);
		CHECK_INT(e.kind, ERR_DAMAGED);
		CHECK_OK(store_put_block(s, 6, &other, 1, false, &e), &e);
		CHECK_OK(store_cut_log(s, 6, 2000, &e), &e);
		must_commit(s);
		store_writer_done(s);
		store_close(s);
		s = must_open(dir);
	}
	store_close(s);
	drop_dir();
}

/* A head that is whole and tells of entries that nobody wrote. */
static void test_head_ahead(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	must_begin(s);
	struct store_entry far = entry(9000, 0, "far"), near = entry(2000, 0, "near");
	CHECK_OK(store_put_block(s, 5, &far, 1, false, &e), &e);
	CHECK_INT(store_put_block(s, 5, &near, 1, false, &e), -1);
	CHECK(e.kind == ERR_DAMAGED && strstr(e.text, "shape 5") != NULL);
	CHECK_OK(store_put_block(s, 6, &near, 1, false, &e), &e);
	must_commit(s);
	store_close(s);
	drop_dir();
}

/* LMDB's head of each large value that begins with `marker`: another length, or another kind. */
static size_t raw_damage_heads(const char *marker, bool kind)
{
	char file[TEMP_DIR_MAX + 32];
	unsigned char page[4096];
	snprintf(file, sizeof file, "%s/busbar/data.mdb", dir);
	int fd = open(file, O_RDWR);
	size_t n = 0;
	for (off_t off = 0; pread(fd, page, sizeof page, off) == (ssize_t)sizeof page; off += (off_t)sizeof page) {
		if (page[10] != 4 || memcmp(page + 16, marker, strlen(marker)) != 0)
			continue;
		page[kind ? 10 : 12] ^= kind ? 6 : 64;
		CHECK(pwrite(fd, page, 16, off) == 16);
		n++;
	}
	close(fd);
	return n;
}

enum large { TRIMMED, CLEARED, REPLACED, UPGRADED, LARGE_ENDS };

static void use_large(struct store *s, enum large how, const char *large, size_t len)
{
	uint64_t gone;
	must_begin(s);
	if (how == TRIMMED)
		CHECK_OK(store_trim_commits(s, 2 * len, 10, &gone, &e), &e);
	else if (how == CLEARED)
		CHECK_OK(store_clear_commits(s, &e), &e);
	else if (how == REPLACED)
		CHECK_OK(store_put_commits(s, 1000, large, len, &e), &e);
	must_commit(s);
}

static int count_shape(void *ctx, uint64_t id, const void *p, size_t len, struct err *err)
{
	(void)id, (void)p, (void)len, (void)err;
	++*(size_t *)ctx;
	return 0;
}

/* A large value whose head is damaged goes without a page of anybody else's. */
static void test_damaged_heads(enum large how, bool kind)
{
	enum { LEN = 30000 };
	static char large[LEN];
	memset(large, 'x', sizeof large);
	memcpy(large, "marker", 6);
	fresh_dir();
	struct store *s = must_open(dir);
	must_begin(s);
	for (uint64_t first = 1000; first < 1003; first++)
		CHECK_OK(store_put_commits(s, first, large, LEN, &e), &e);
	must_commit(s);
	must_begin(s);
	memcpy(large, "record", 6);
	for (uint64_t id = 1; id <= 20; id++)
		CHECK_OK(store_put_shape(s, id, large, LEN, &e), &e);
	must_commit(s);
	store_writer_done(s);
	store_close(s);
	if (how == UPGRADED) {
		unsigned char key[4] = {0, 0, 0, 9};
		uint64_t older = 3;
		memcpy(large, "marker", 6);
		raw_put("tables", key, sizeof key, large, LEN);
		raw_put("meta", "format", 6, &older, sizeof older);
		raw_put("meta", "version", 7, &older, sizeof older);
	}
	CHECK(raw_damage_heads("marker", kind) >= 3);
	s = must_open(dir);
	use_large(s, how, large, LEN);
	/* Pages that were freed are written to. */
	must_begin(s);
	memcpy(large, "others", 6);
	for (uint64_t id = 30; id <= 60; id++)
		CHECK_OK(store_put_shape(s, id, large, LEN, &e), &e);
	must_commit(s);
	store_writer_done(s);
	store_close(s);
	s = must_open(dir);
	struct store_read *r = must_read(s);
	size_t n = 0;
	CHECK_OK(store_each_shape(r, count_shape, &n, &e), &e);
	CHECK_INT(n, 20 + 31);
	store_read_end(r);
	store_close(s);
	drop_dir();
}

/* Keys of lengths that nobody writes. */
static void test_damaged_keys(void)
{
	static const char *const dbs[] = {"shapes", "tables", "journal", "blocks", "chunks", "snapshots", "dropped", "meta"};
	fresh_dir();
	store_close(must_open(dir));
	unsigned char key[40];
	memset(key, 0, sizeof key);
	for (size_t i = 0; i < ARRAY_LEN(dbs); i++)
		for (size_t len = 1; len <= sizeof key; len += i < 7 ? 1 : 13) {
			be64(key, 5);
			raw_put(dbs[i], key, len, "junk", 4);
			struct store *s = must_open(dir);
			struct store_read *r = must_read(s);
			struct seen all[3] = {{.n = 0}, {.n = 0}, {.n = 0}};
			(void)!store_each_shape(r, see, &all[0], &e);
			(void)!store_each_table(r, see, &all[1], &e);
			(void)!store_each_journal(r, see, &all[2], &e);
			store_read_end(r);
			use_everything(s, 5);
			use_everything(s, 0);
			store_close(s);
		}
	drop_dir();
}

static void test_damaged_file(void)
{
	fresh_dir();
	struct store *s = must_open(dir);
	race_write(s, 1);
	store_close(s);
	char file[TEMP_DIR_MAX + 32];
	snprintf(file, sizeof file, "%s/busbar/data.mdb", dir);
	/* The two meta pages overwritten: put aside, and a new one made. */
	int fd = open(file, O_RDWR);
	char junk[8192];
	memset(junk, 0x5A, sizeof junk);
	CHECK(pwrite(fd, junk, sizeof junk, 0) == (ssize_t)sizeof junk);
	close(fd);
	s = must_open(dir);
	store_close(s);
	char aside[TEMP_DIR_MAX + 48];
	snprintf(aside, sizeof aside, "%s.damaged", file);
	CHECK(access(aside, F_OK) == 0);
	/* Nothing in it, as after a crash before the first sync: a new store. */
	CHECK(truncate(file, 0) == 0);
	s = must_open(dir);
	race_write(s, 1);
	store_close(s);
	/* A leftover lock file of LMDB, of whatever kind, is nobody's. */
	snprintf(file, sizeof file, "%s/busbar/lock.mdb", dir);
	FILE *f = fopen(file, "w");
	fwrite(junk, 1, sizeof junk, f);
	fclose(f);
	s = must_open(dir);
	race_write(s, 2);
	store_close(s);
	drop_dir();
}

/* A file that is damaged, and can't be read in one place: what is said is one or the other, never neither. */
static void test_damaged_and_unreadable(void)
{
	char file[TEMP_DIR_MAX + 32], aside[TEMP_DIR_MAX + 48];
	fresh_dir();
	struct store *s = must_open(dir);
	race_write(s, 1);
	race_write(s, 2);
	store_close(s);
	unsigned char key[24] = {0};
	raw_put("blocks", key, 3, "junk", 4); /* LMDB's rules aren't broken, ours are */
	snprintf(file, sizeof file, "%s/busbar/data.mdb", dir);
	snprintf(aside, sizeof aside, "%s.damaged", file);
	bool failed = true;
	int refused = 0;
	for (int n = 1; n < 100 && failed; n++) {
		atomic_store(&unreadable, n);
		err_clear(&e);
		int rc = store_open(&s, dir, false, &e);
		failed = atomic_exchange(&unreadable, 0) <= 0;
		if (rc == 0)
			store_close(s);
		refused += rc != 0;
		if (!CHECK(rc == 0 || (e.kind == ERR_IO && strncmp(e.text, "store: ", 7) == 0)))
			printf("  read %d: %s\n", n, e.text);
		if (access(aside, F_OK) == 0)
			CHECK(rename(aside, file) == 0);
	}
	CHECK(refused > 3 && !failed);
	drop_dir();
}

int main(void)
{
	uint64_t seed = test_seed("test_store");
	RUN(test_open);
	RUN(test_lock);
	RUN(test_lock_wait);
	RUN(test_deleted);
	RUN(test_version);
	RUN(test_meta);
	RUN(test_shapes_and_tables);
	RUN(test_journal);
	RUN(test_commits);
	RUN(test_large);
	for (uint64_t i = 0; i < (UNDER_TSAN || UNDER_ASAN ? 1 : 4); i++)
		RUN(test_logs, seed + i);
	RUN(test_insert_last);
	RUN(test_big_entries);
	RUN(test_snapshots);
	RUN(test_cold_reads);
	RUN(test_gc, 1);
	RUN(test_gc, 3);
	RUN(test_gc, 7);
	RUN(test_gc, 90);
	RUN(test_gc, 1000);
	RUN(test_readers);
	RUN(test_many_readers);
	RUN(test_reopen_comes_through);
	RUN(test_reads_while_pages_are_looked_at);
	RUN(test_writers);
	RUN(test_failed_reopen);
	RUN(test_small_address_space);
	RUN(test_texts_name_settings);
	RUN(test_temporary);
	RUN(test_damaged_blocks, seed);
	RUN(test_damage_met_by_a_cut, true);
	RUN(test_damage_met_by_a_cut, false);
	RUN(test_head_ahead);
	for (int how = TRIMMED; how < LARGE_ENDS; how++) {
		RUN(test_damaged_heads, (enum large)how, false);
		RUN(test_damaged_heads, (enum large)how, true);
	}
	RUN(test_damaged_keys);
	RUN(test_damaged_file);
	RUN(test_damaged_and_unreadable);
	return check_done("test_store");
}
