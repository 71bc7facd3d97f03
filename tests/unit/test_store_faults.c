/*
 * test_store_faults.c - the store on a disk that fails, and on a machine that loses its power.
 *
 * write, pwrite, writev, fsync and fdatasync are defined here: a program's own symbols come before the
 * C library's, for liblmdb.so too. What goes to the store's data file passes through a model of a disk:
 *
 *   - a write lands in the page cache, which is the real file, and is pending until a sync;
 *   - a successful fdatasync makes all that is pending durable, a write through an O_DSYNC descriptor
 *     what is in its pages;
 *   - a failed fdatasync leaves pending writes on the disk or not, each by itself, and the next one
 *     says nothing of them: the page cache holds what the disk lacks;
 *   - a failed write has changed nothing, or the page cache, or both.
 *
 * A power cut is an image of the disk at some moment: all that was durable, and of the rest any sectors.
 *
 * The transactions are numbered. What the n-th writes follows from n, and its number goes with it as
 * "durable": so one look at the number says what must be there, and what must not.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/mem.h"
#include "store/store.h"
#include "store_test.h"

#define SECTOR 512
#define PAGE 4096
#define LIMIT ((size_t)64 << 20)

ssize_t write(int fd, const void *p, size_t n);
ssize_t pwrite(int fd, const void *p, size_t n, off_t off);
ssize_t writev(int fd, const struct iovec *iov, int niov);
int fdatasync(int fd);
int fsync(int fd);

/* ---- the disk ---- */

struct pending {
	off_t off;
	size_t len;
	char *data;
};

enum failure { NOTHING_WRITTEN, CACHE_WRITTEN, DISK_WRITTEN, SHORT_WRITE };

static struct {
	char file[TEMP_DIR_MAX + 32]; /* the data file; "": nothing is watched */
	struct rng rng;
	/* the model */
	char *image;
	size_t image_len;
	struct pending *pending;
	size_t npending, pending_cap;
	/* the plan: operation `fail_at` fails (counted from 1), and with `fail_on` all after it */
	uint64_t operations, fail_at;
	bool fail_on;
	int fail_errno;
	enum failure how;
	bool failed;
	/* the cut: an image taken in the middle of operation `cut_at` */
	uint64_t cut_at;
	char *cut;
	size_t cut_len;
	bool cut_taken;
} disk;

static void image_apply(char **image, size_t *image_len, off_t off, const char *p, size_t n)
{
	size_t end = (size_t)off + n;
	if (end > *image_len) {
		*image = mem_realloc(*image, end);
		memset(*image + *image_len, 0, end - *image_len);
		*image_len = end;
	}
	memcpy(*image + off, p, n);
}

/* Any sectors of a write. */
static void apply_some(char **image, size_t *image_len, const struct pending *w, struct rng *rng)
{
	uint64_t mode = rng_below(rng, 4); /* none, all, or sector by sector */
	for (size_t done = 0, n; done < w->len && mode != 0; done += n) {
		n = SECTOR - ((size_t)w->off + done) % SECTOR;
		n = n < w->len - done ? n : w->len - done;
		if (mode == 1 || rng_below(rng, 2) == 0)
			image_apply(image, image_len, w->off + (off_t)done, w->data + done, n);
	}
}

static void forget_pending(void)
{
	for (size_t i = 0; i < disk.npending; i++)
		free(disk.pending[i].data);
	disk.npending = 0;
}

static void add_pending(off_t off, const char *p, size_t n)
{
	if (disk.npending == disk.pending_cap) {
		disk.pending_cap = disk.pending_cap ? disk.pending_cap * 2 : 64;
		disk.pending = mem_realloc(disk.pending, disk.pending_cap * sizeof *disk.pending);
	}
	char *copy = mem_alloc(n);
	memcpy(copy, p, n);
	disk.pending[disk.npending++] = (struct pending){off, n, copy};
}

/* What a synchronous write brings along: its pages are written as they stand in the cache. */
static void sync_pages(off_t off, size_t n)
{
	off_t from = off / PAGE * PAGE, to = (off + (off_t)n + PAGE - 1) / PAGE * PAGE;
	for (size_t i = 0; i < disk.npending; i++) {
		struct pending *w = &disk.pending[i];
		off_t a = w->off > from ? w->off : from, b = w->off + (off_t)w->len < to ? w->off + (off_t)w->len : to;
		if (a < b)
			image_apply(&disk.image, &disk.image_len, a, w->data + (a - w->off), (size_t)(b - a));
	}
}

static void take_cut(void)
{
	disk.cut_taken = true;
	disk.cut_len = disk.image_len;
	disk.cut = mem_alloc(disk.image_len);
	if (disk.image_len > 0)
		memcpy(disk.cut, disk.image, disk.image_len);
	for (size_t i = 0; i < disk.npending; i++)
		apply_some(&disk.cut, &disk.cut_len, &disk.pending[i], &disk.rng);
}

static bool is_watched(int fd)
{
	struct stat a, b;
	return disk.file[0] != '\0' && fstat(fd, &a) == 0 && stat(disk.file, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool fails_now(void)
{
	disk.operations++;
	bool now = disk.fail_at != 0 && (disk.operations == disk.fail_at || (disk.fail_on && disk.operations > disk.fail_at));
	disk.failed = disk.failed || now;
	return now;
}

static ssize_t to_file(int fd, const char *p, size_t n, off_t off)
{
	size_t done = 0;
	while (done < n) {
		long rc = syscall(SYS_pwrite64, fd, p + done, n - done, off + (off_t)done);
		if (rc <= 0)
			return -1;
		done += (size_t)rc;
	}
	return (ssize_t)n;
}

static ssize_t disk_write(int fd, const char *p, size_t n, off_t off)
{
	bool synchronous = (fcntl(fd, F_GETFL) & O_DSYNC) != 0, fail = fails_now();
	enum failure how = !fail ? DISK_WRITTEN : disk.operations == disk.fail_at ? disk.how : NOTHING_WRITTEN;
	size_t len = how == NOTHING_WRITTEN ? 0 : how == SHORT_WRITE ? n / 2 : n;
	if (to_file(fd, p, len, off) < 0)
		return -1;
	if (how == SHORT_WRITE)
		n = len;
	if (len > 0)
		add_pending(off, p, len);
	if (disk.operations == disk.cut_at)
		take_cut();
	if (synchronous && how == DISK_WRITTEN)
		sync_pages(off, len);
	/* Written to the cache by a synchronous write that failed: clean or dirty, who knows. */
	if (synchronous && len > 0 && (how == DISK_WRITTEN || rng_below(&disk.rng, 2) == 0))
		free(disk.pending[--disk.npending].data);
	if (!fail || (how == SHORT_WRITE && n > 0))
		return (ssize_t)n;
	errno = disk.fail_errno;
	return -1;
}

static int disk_sync(void)
{
	bool fail = fails_now();
	if (disk.operations == disk.cut_at)
		take_cut();
	for (size_t i = 0; i < disk.npending; i++) {
		struct pending *w = &disk.pending[i];
		if (fail)
			apply_some(&disk.image, &disk.image_len, w, &disk.rng);
		else
			image_apply(&disk.image, &disk.image_len, w->off, w->data, w->len);
	}
	forget_pending();
	if (!fail)
		return 0;
	errno = disk.fail_errno;
	return -1;
}

ssize_t write(int fd, const void *p, size_t n)
{
	if (!is_watched(fd))
		return syscall(SYS_write, fd, p, n);
	off_t off = lseek(fd, 0, SEEK_CUR);
	ssize_t rc = disk_write(fd, p, n, off);
	if (rc > 0)
		lseek(fd, off + rc, SEEK_SET);
	return rc;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
	return is_watched(fd) ? disk_write(fd, p, n, off) : syscall(SYS_pwrite64, fd, p, n, off);
}

ssize_t writev(int fd, const struct iovec *iov, int niov)
{
	if (!is_watched(fd))
		return syscall(SYS_writev, fd, iov, niov);
	struct buf all = BUF_INIT(SIZE_MAX / 2);
	for (int i = 0; i < niov; i++)
		buf_put(&all, iov[i].iov_base, iov[i].iov_len);
	off_t off = lseek(fd, 0, SEEK_CUR);
	ssize_t rc = disk_write(fd, all.data, all.len, off);
	if (rc > 0)
		lseek(fd, off + rc, SEEK_SET);
	buf_clear(&all);
	return rc;
}

int fdatasync(int fd) { return is_watched(fd) ? disk_sync() : (int)syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return is_watched(fd) ? disk_sync() : (int)syscall(SYS_fsync, fd); }

static void disk_plan(uint64_t fail_at, bool fail_on, int fail_errno, enum failure how)
{
	disk.operations = 0;
	disk.fail_at = fail_at;
	disk.fail_on = fail_on;
	disk.fail_errno = fail_errno;
	disk.how = how;
	disk.failed = false;
}

static void disk_works(void) { disk_plan(0, false, 0, NOTHING_WRITTEN); }

static void disk_new(const char *dir, uint64_t seed)
{
	forget_pending();
	free(disk.pending);
	free(disk.image);
	free(disk.cut);
	memset(&disk, 0, sizeof disk);
	disk.rng = rng_seeded(seed);
	snprintf(disk.file, sizeof disk.file, "%s/busbar/data.mdb", dir);
}

/* ---- numbered transactions ---- */

#define SHAPES 5
#define STAGED_ID 50
#define JOURNAL_KEPT 6

static struct err e;

static struct rng content(uint64_t n, uint64_t id) { return rng_seeded(n * 1000003 + id); }

static bool touches(uint64_t n, uint64_t id)
{
	struct rng r = content(n, id);
	return rng_below(&r, 3) != 0;
}

static size_t text_of(uint64_t n, uint64_t id, char *text, size_t max)
{
	struct rng r = content(n, id + 77);
	static const size_t sizes[] = {20, 300, 3000, 9000, 40000};
	size_t len = 10 + rng_below(&r, sizes[rng_below(&r, 5)]);
	len = len < max ? len : max;
	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + rng_next(&r) % 26);
	return len;
}

#define TEXT_MAX 50000

static int put_entry(struct store *s, uint64_t n, uint64_t id, uint64_t op, bool chunk_end, char *text)
{
	size_t len = text_of(n, id + op, text, TEXT_MAX);
	struct store_entry en = {at(n, op), text, "", (uint32_t)len, 0, NULL, 0};
	return store_put_block(s, id, &en, 1, chunk_end, &e);
}

static int txn_puts(struct store *s, uint64_t n, char *text)
{
	for (uint64_t id = 1; id <= SHAPES; id++)
		if (touches(n, id) && (put_entry(s, n, id, 0, false, text) != 0 || put_entry(s, n, id, 2, n % 4 == 0, text) != 0))
			return -1;
	size_t len = text_of(n, 0, text, TEXT_MAX);
	bool more;
	if (store_put_journal(s, n, text, len, &e) != 0 ||
	    store_trim_journal(s, n > JOURNAL_KEPT ? n - JOURNAL_KEPT : 0, 100, &more, &e) != 0)
		return -1;
	if (store_put_snapshot(s, 1, (uint32_t)n / 3, n % 3, text, len, false, &e) != 0)
		return -1;
	if (n % 11 == 5 && put_entry(s, n, STAGED_ID, 0, true, text) != 0)
		return -1;
	if (n % 11 == 6 && store_cut_log(s, STAGED_ID, n - 1, &e) != 0)
		return -1;
	uint64_t brief = 1000 + n / 7;
	if (n % 7 == 1 && (store_put_shape(s, brief, text, len, &e) != 0 || put_entry(s, n, brief, 0, true, text) != 0))
		return -1;
	if (n % 7 == 3 && store_drop_shape(s, brief, &e) != 0)
		return -1;
	if (n % 7 == 5 && store_gc_step(s, 1000, &more, &e) != 0)
		return -1;
	return store_put_meta_u64(s, "durable", n, &e);
}

static int txn(struct store *s, uint64_t n)
{
	char *text = mem_alloc(TEXT_MAX);
	int rc = store_begin(s, &e);
	if (rc == 0)
		rc = txn_puts(s, n, text);
	if (rc == 0)
		rc = store_commit(s, &e);
	free(text);
	return rc;
}

/* ---- looking at it ---- */

static bool same_log(struct store_read *r, uint64_t id, uint64_t from, uint64_t n, char *text)
{
	struct buf out = BUF_INIT(LIMIT), want = BUF_INIT(LIMIT);
	struct log_offset reached, last = at(0, 0), last_end = at(0, 0);
	struct store_head head;
	uint64_t open_bytes = 0;
	for (uint64_t k = from; k <= n; k++) {
		if (id <= SHAPES && !touches(k, id))
			continue;
		for (uint64_t op = 0; op <= (id <= SHAPES ? 2 : 0); op += 2) {
			size_t len = text_of(k, id + op, text, TEXT_MAX);
			buf_put(&want, text, len);
			buf_putc(&want, '\n');
			last = at(k, op);
			open_bytes += len;
			if (id > SHAPES || (op == 2 && k % 4 == 0)) {
				last_end = last;
				open_bytes = 0;
			}
		}
	}
	bool end, good = read_log(r, id, at(0, LOG_OP_INF), at(UINT64_MAX, LOG_OP_INF), LIMIT, &out, &reached, &end, &e) == 0;
	good = good && end && out.len == want.len && (want.len == 0 || memcmp(out.data, want.data, want.len) == 0);
	int rc = read_head(r, id, &head, &e);
	good = good && (last.tx == 0 ? rc == 1 : rc == 0 && log_offset_cmp(head.last, last) == 0 && head.open_bytes == open_bytes);
	good = good && (last_end.tx == 0 ? head.chunk_end.tx == 0 : log_offset_cmp(head.chunk_end, last_end) == 0);
	buf_clear(&out);
	buf_clear(&want);
	return good;
}

struct journal_look {
	uint64_t next, n;
	char *text;
	bool good;
};

static int look_at_batch(void *ctx, uint64_t seq, const void *p, size_t len, struct err *err)
{
	struct journal_look *j = ctx;
	(void)err;
	j->good = j->good && seq == j->next && text_of(seq, 0, j->text, TEXT_MAX) == len && memcmp(p, j->text, len) == 0;
	j->next++;
	return 0;
}

struct shape_look {
	uint64_t want;
	size_t n;
	bool good;
};

static int look_at_shape(void *ctx, uint64_t id, const void *p, size_t len, struct err *err)
{
	struct shape_look *l = ctx;
	(void)p;
	(void)len;
	(void)err;
	l->good = l->good && id == l->want;
	l->n++;
	return 0;
}

/* Whether everything agrees with the durable number, which is returned; UINT64_MAX if not. */
static uint64_t state_of(struct store *s)
{
	struct store_read *r = store_read_begin(s, &e);
	if (r == NULL)
		return UINT64_MAX;
	char *text = mem_alloc(TEXT_MAX);
	uint64_t n = 0;
	bool good = store_get_meta_u64(r, "durable", &n, &e) >= 0;
	for (uint64_t id = 1; id <= SHAPES; id++)
		good = good && same_log(r, id, 1, n, text);
	if (n % 11 == 5)
		good = good && same_log(r, STAGED_ID, n, n, text);
	else
		good = good && same_log(r, STAGED_ID, 1, 0, text);
	struct journal_look j = {n > JOURNAL_KEPT ? n - JOURNAL_KEPT : 1, n, text, true};
	good = good && store_each_journal(r, look_at_batch, &j, &e) == 0 && j.good && j.next == n + 1;
	struct buf out = BUF_INIT(LIMIT);
	for (uint64_t k = 1; good && k <= n + 1; k++) {
		buf_reset(&out);
		int rc = read_snapshot(r, 1, (uint32_t)k / 3, k % 3, &out, &e);
		size_t len = text_of(k, 0, text, TEXT_MAX);
		good = k <= n ? rc == 0 && out.len == len && memcmp(out.data, text, len) == 0 : rc == 1;
	}
	buf_clear(&out);
	uint64_t brief = 1000 + n / 7;
	bool lives = n % 7 == 1 || n % 7 == 2;
	struct shape_look l = {brief, 0, true};
	good = good && store_each_shape(r, look_at_shape, &l, &e) == 0 && l.good && l.n == (lives ? 1 : 0);
	if (lives || n % 7 == 3 || n % 7 == 4)
		good = good && same_log(r, brief, n / 7 * 7 + 1, n / 7 * 7 + 1, text);
	else if (n > 0)
		good = good && same_log(r, brief, 1, 0, text);
	free(text);
	store_read_end(r);
	return good ? n : UINT64_MAX;
}

/* ---- (a) the n-th operation fails ---- */

struct fault {
	const char *name;
	int number;
	enum failure how;
	bool goes_on;  /* until the environment is reopened */
	bool may_stay; /* the commit may turn out to have come through */
};

static const struct fault faults[] = {
	{"EIO", EIO, NOTHING_WRITTEN, false, false},
	{"ENOSPC", ENOSPC, NOTHING_WRITTEN, false, false},
	{"EDQUOT", EDQUOT, NOTHING_WRITTEN, false, false},
	{"short write", EIO, SHORT_WRITE, false, false},
	{"EIO after the page cache", EIO, CACHE_WRITTEN, false, false},
	{"EIO after the disk", EIO, DISK_WRITTEN, false, false},
	{"EIO from then on", EIO, NOTHING_WRITTEN, true, false},
	{"ENOSPC from then on", ENOSPC, NOTHING_WRITTEN, true, false},
	{"EIO after the page cache, from then on", EIO, CACHE_WRITTEN, true, true},
};

static struct store *must_open(const char *dir)
{
	struct store *s = NULL;
	if (store_open(&s, dir, false, &e) != 0) {
		printf("cannot open: %s\n", e.text);
		exit(2);
	}
	return s;
}

static struct store *close_and_open(struct store *s, const char *dir)
{
	store_close(s);
	return must_open(dir);
}

static void check_failure(struct store *s, const struct fault *f, uint64_t n)
{
	CHECK_INT(e.kind, f->number == ENOSPC || f->number == EDQUOT ? ERR_FULL : ERR_IO);
	CHECK(strncmp(e.text, "store: ", 7) == 0);
	if (e.kind == ERR_FULL)
		CHECK(strstr(e.text, "ELECTRIC_STORAGE_DIR") != NULL);
	/* For readers nothing has happened; after a failed write of a meta page they are told to wait. */
	uint64_t now = state_of(s);
	if (!CHECK(now == n - 1 || (f->may_stay && now == n) || strstr(e.text, "MDB_PANIC") != NULL))
		printf("  %s: state %llu before %llu: %s\n", f->name, (unsigned long long)now, (unsigned long long)n, e.text);
	CHECK(store_begin(s, &e) == -1 && strstr(e.text, "reopened") != NULL);
}

/* Transaction n, its k-th operation failing, for k = 1, 2, … until it has no k-th. */
static uint64_t every_operation_fails(struct store **s, const char *dir, const struct fault *f, uint64_t n)
{
	for (uint64_t k = 1; k < 1000; k++) {
		disk_plan(k, f->goes_on, f->number, f->how);
		err_clear(&e);
		int rc = txn(*s, n);
		bool failed = disk.failed;
		disk_works();
		if (!failed) {
			CHECK_OK(rc, &e);
			return k - 1;
		}
		CHECK_INT(rc, -1);
		check_failure(*s, f, n);
		bool restart = k % 3 == 0;
		if (restart)
			*s = close_and_open(*s, dir);
		else
			CHECK_OK(store_reopen(*s, &e), &e);
		uint64_t now = state_of(*s);
		CHECK(now == n - 1 || (f->may_stay && now == n));
		/* A new process takes what it finds and goes on from there; a running one writes it again. */
		if (restart && now == n)
			return k;
	}
	CHECK(0);
	return 0;
}

#define TRANSACTIONS 14

static void test_transactions(const struct fault *f)
{
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	disk_new(dir, 1);
	struct store *s = must_open(dir);
	uint64_t total = 0;
	for (uint64_t n = 1; n <= TRANSACTIONS; n++) {
		total += every_operation_fails(&s, dir, f, n);
		if (!CHECK_INT(state_of(s), n)) {
			printf("  after transaction %llu, %s\n", (unsigned long long)n, f->name);
			break;
		}
	}
	CHECK(total >= TRANSACTIONS * 3);
	s = close_and_open(s, dir);
	CHECK_INT(state_of(s), TRANSACTIONS);
	store_close(s);
	temp_dir_remove(dir);
}

/* The same while the store is made, and while it is opened again. */
static void test_opening(const struct fault *f)
{
	char dir[TEMP_DIR_MAX];
	uint64_t k = 1;
	for (bool failed = true; failed && k < 100; k++) {
		temp_dir_new(dir);
		disk_new(dir, k);
		disk_plan(k, f->goes_on, f->number, f->how);
		struct store *s = NULL;
		err_clear(&e);
		int rc = store_open(&s, dir, false, &e);
		failed = disk.failed;
		disk_works();
		CHECK(rc == (failed ? -1 : 0));
		if (failed) {
			if (f->how == SHORT_WRITE) /* LMDB guesses that the disk is full while it makes the file */
				CHECK(e.kind == ERR_IO || e.kind == ERR_FULL);
			else
				CHECK_INT(e.kind, f->number == ENOSPC || f->number == EDQUOT ? ERR_FULL : ERR_IO);
			s = must_open(dir);
		}
		CHECK_OK(txn(s, 1), &e);
		CHECK_INT(state_of(s), 1);
		/* An environment that exists is opened without writing: nothing can fail. */
		disk_plan(1, true, EIO, NOTHING_WRITTEN);
		CHECK_OK(store_reopen(s, &e), &e);
		CHECK(!disk.failed);
		disk_works();
		store_close(s);
		temp_dir_remove(dir);
	}
	CHECK(k > 3);
}

/* ---- (b) power cuts ---- */

static bool write_file(const char *dir, const char *p, size_t n)
{
	char path[TEMP_DIR_MAX + 32];
	snprintf(path, sizeof path, "%s/busbar", dir);
	mkdir(path, 0777);
	snprintf(path, sizeof path, "%s/busbar/data.mdb", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	bool good = fd >= 0 && to_file(fd, p, n, 0) == (ssize_t)n;
	close(fd);
	return good;
}

/* Opens what the cut left: it is the state after one of the transactions that may have come through. */
static void check_cut(uint64_t seed, uint64_t committed, uint64_t attempted)
{
	char dir[TEMP_DIR_MAX], watched[sizeof disk.file];
	memcpy(watched, disk.file, sizeof watched);
	disk.file[0] = '\0';
	temp_dir_new(dir);
	CHECK(write_file(dir, disk.cut, disk.cut_len));
	struct store *s;
	if (CHECK_OK(store_open(&s, dir, false, &e), &e)) {
		uint64_t n = state_of(s);
		if (!CHECK(n != UINT64_MAX && n >= committed && n <= attempted))
			printf("  seed %llu: state %llu, %llu committed, %llu attempted\n", (unsigned long long)seed, (unsigned long long)n,
			       (unsigned long long)committed, (unsigned long long)attempted);
		else
			for (uint64_t next = n + 1; next <= n + 3; next++) { /* and it goes on from there */
				CHECK_OK(txn(s, next), &e);
				CHECK_INT(state_of(s), next);
			}
		store_close(s);
	}
	temp_dir_remove(dir);
	memcpy(disk.file, watched, sizeof watched);
}

static void plan_cut(struct rng *rng)
{
	free(disk.cut);
	disk.cut = NULL;
	disk.cut_taken = false;
	disk.cut_at = disk.operations + 1 + rng_below(rng, 60);
}

/* One life of a store: transactions, now and then a failing disk, now and then a cut. */
static void test_power_cuts(uint64_t seed, bool disk_fails)
{
	static const int numbers[] = {EIO, ENOSPC};
	struct rng rng = rng_seeded(seed);
	char dir[TEMP_DIR_MAX];
	temp_dir_new(dir);
	disk_new(dir, seed);
	struct store *s = must_open(dir);
	disk_works();
	plan_cut(&rng);
	uint64_t committed = 0, attempted = 0, cut_committed = 0;
	int cuts = 0;
	for (int i = 0; i < 60; i++) {
		attempted = committed + 1;
		cut_committed = committed;
		if (disk_fails && rng_below(&rng, 4) == 0) {
			disk.fail_at = disk.operations + 1 + rng_below(&rng, 8);
			disk.fail_on = false;
			disk.fail_errno = numbers[rng_below(&rng, 2)];
			disk.how = (enum failure)rng_below(&rng, 4);
		}
		bool failed = txn(s, attempted) != 0;
		disk.fail_at = 0;
		if (disk.cut_taken) {
			check_cut(seed, cut_committed, attempted);
			cuts++;
			plan_cut(&rng);
		}
		if (!failed) {
			committed = attempted;
			continue;
		}
		CHECK_OK(store_reopen(s, &e), &e);
		if (rng_below(&rng, 3) == 0)
			s = close_and_open(s, dir);
		/* The failed one isn't there now. It may be after a cut, until the next has come through. */
		CHECK_INT(state_of(s), committed);
		if (rng_below(&rng, 2) == 0) {
			disk.cut_taken = false;
			free(disk.cut);
			take_cut();
			check_cut(seed, committed, attempted);
			cuts++;
			plan_cut(&rng);
		}
	}
	CHECK(cuts > 0);
	CHECK_INT(state_of(s), committed);
	store_close(s);
	temp_dir_remove(dir);
}

/* The cut while the store is being made: nothing is lost; what is left must be usable or refused. */
static void test_cut_at_birth(uint64_t seed)
{
	int refused = 0;
	for (uint64_t i = 0; i < 40; i++) {
		char dir[TEMP_DIR_MAX];
		temp_dir_new(dir);
		disk_new(dir, seed + i);
		disk.cut_at = 1 + i % 8;
		struct store *s = must_open(dir);
		CHECK_OK(txn(s, 1), &e);
		store_close(s);
		temp_dir_remove(dir);
		if (!disk.cut_taken)
			continue;
		disk.file[0] = '\0';
		temp_dir_new(dir);
		CHECK(write_file(dir, disk.cut, disk.cut_len));
		err_clear(&e);
		if (store_open(&s, dir, false, &e) == 0) {
			uint64_t n = state_of(s);
			CHECK(n == 0 || n == 1);
			CHECK_OK(txn(s, n + 1), &e);
			CHECK_INT(state_of(s), n + 1);
			store_close(s);
		} else {
			CHECK(e.text[0] != '\0');
			refused++;
		}
		temp_dir_remove(dir);
	}
	printf("test_store_faults: %d of 40 cuts at birth left a file that is refused\n", refused);
}

int main(void)
{
	uint64_t seed = test_seed("test_store_faults");
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		RUN(test_transactions, &faults[i]);
		RUN(test_opening, &faults[i]);
	}
	uint64_t lives = UNDER_ASAN || UNDER_TSAN ? 3 : 12;
	for (uint64_t i = 0; i < lives; i++) {
		RUN(test_power_cuts, seed + i, false);
		RUN(test_power_cuts, seed + i, true);
	}
	RUN(test_cut_at_birth, seed);
	disk_new("", 0);
	return check_done("test_store_faults");
}
