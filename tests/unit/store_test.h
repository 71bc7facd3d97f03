/*
 * store_test.h - what the tests of the store share: a directory that goes away, random numbers with a
 * seed that is printed, a log entry in one line.
 *
 * BUSBAR_TEST_SEED sets the seed, to see a failure again.
 */
#ifndef BUSBAR_TESTS_STORE_TEST_H
#define BUSBAR_TESTS_STORE_TEST_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/lsn.h"
#include "check.h"
#include "store/store.h"

#define TEMP_DIR_MAX 256

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

static inline void temp_dir_new(char dir[TEMP_DIR_MAX])
{
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, TEMP_DIR_MAX, "%s/busbar-test-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL) {
		perror(dir);
		exit(2);
	}
}

static inline void temp_dir_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *f;
	while (d != NULL && (f = readdir(d)) != NULL) {
		char path[2 * TEMP_DIR_MAX + 256];
		if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
		struct stat st;
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
			temp_dir_remove(path);
		else
			unlink(path);
	}
	if (d != NULL)
		closedir(d);
	rmdir(dir);
}

static inline int temp_dir_count(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *f;
	int n = 0;
	while (d != NULL && (f = readdir(d)) != NULL)
		n += strcmp(f->d_name, ".") != 0 && strcmp(f->d_name, "..") != 0;
	if (d != NULL)
		closedir(d);
	return n;
}

/* xorshift: the same numbers on every machine for a seed. */
struct rng {
	uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return r->s;
}

static inline uint64_t rng_below(struct rng *r, uint64_t n) { return (rng_next(r) >> 11) % n; }

static inline struct rng rng_seeded(uint64_t seed)
{
	struct rng r = {seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du};
	if (r.s == 0)
		r.s = 1;
	for (int i = 0; i < 8; i++)
		rng_next(&r);
	return r;
}

static inline uint64_t test_seed(const char *name)
{
	const char *set = getenv("BUSBAR_TEST_SEED");
	uint64_t seed = set != NULL && set[0] != '\0' ? strtoull(set, NULL, 10) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
	printf("%s: BUSBAR_TEST_SEED=%llu\n", name, (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

static inline struct log_offset at(lsn_t tx, uint64_t op) { return (struct log_offset){tx, op}; }

#define CHECK_OFFSET(got, want_tx, want_op) check_offset((got), at((want_tx), (want_op)), #got, __FILE__, __LINE__)

static inline int check_offset(struct log_offset got, struct log_offset want, const char *what, const char *file, int line)
{
	char a[LOG_OFFSET_TEXT_MAX], b[LOG_OFFSET_TEXT_MAX];
	return check_str(log_offset_text(got, a), log_offset_text(want, b), what, file, line);
}

/* ---- what the store holds ---- */

/* store_read_log_on() for a reader that comes once. */
static inline int read_log(struct store_read *r, uint64_t id, struct log_offset after, struct log_offset upto, size_t max,
                           struct buf *out, struct log_offset *reached, bool *end, struct err *e)
{
	struct log_offset verified = {0, LOG_OP_INF};
	return store_read_log_on(r, id, after, upto, max, &verified, out, reached, end, e);
}

static inline int append_piece(void *ctx, const void *p, size_t len, struct err *e)
{
	struct buf *out = ctx;
	buf_put(out, p, len);
	return out->failed ? err_set(e, ERR_LIMIT, "%zu bytes do not fit", len) : 0;
}

static inline int read_snapshot(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece, struct buf *out, struct err *e)
{
	bool closes;
	return store_take_snapshot(r, id, chunk, piece, append_piece, out, &closes, e);
}

struct head_wanted {
	uint64_t id;
	struct store_head *out;
	bool found;
};

static inline int keep_head(void *ctx, uint64_t id, const struct store_head *h, struct err *e)
{
	struct head_wanted *w = ctx;
	(void)e;
	if (id == w->id) {
		*w->out = *h;
		w->found = true;
	}
	return 0;
}

/* Where the shape's log ends: 0; 1: it has no entries; -1. */
static inline int read_head(struct store_read *r, uint64_t id, struct store_head *out, struct err *e)
{
	struct head_wanted w = {id, out, false};
	*out = (struct store_head){{0, LOG_OP_INF}, {0, LOG_OP_INF}, 0};
	return store_each_head(r, keep_head, &w, e) != 0 ? -1 : !w.found || out->last.tx == 0;
}

/* ---- checks ---- */

/* Like CHECK(call == 0), and prints the error. */
#define CHECK_OK(call, e) check_ok((call), (e), #call, __FILE__, __LINE__)

static inline int check_ok(int rc, const struct err *e, const char *what, const char *file, int line)
{
	if (rc != 0)
		printf("  error %s\n", e->text);
	return check_one(rc == 0, what, file, line);
}

#endif
