/*
 * test_compact.c - what the store takes, and its file made smaller: all that is in it stays, whenever that is interrupted.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "store/format.h"
#include "stores_test.h"

#define LIMIT ((size_t)1 << 30)
#define PIECE_BYTES (100u << 10)
#define SHAPES 40

static char dir[TEMP_DIR_MAX];
static struct err e;

static void path_of(const char *name, char out[TEMP_DIR_MAX + 64]) { snprintf(out, TEMP_DIR_MAX + 64, "%s/busbar/%s", dir, name); }

static uint64_t file_bytes(const char *name)
{
	char file[TEMP_DIR_MAX + 64];
	struct stat st;
	path_of(name, file);
	return stat(file, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static struct store *must_open(void)
{
	struct store *s = NULL;
	if (store_open(&s, dir, STORE_KEPT, &e) != 0) {
		printf("cannot open: %s\n", e.text);
		exit(2);
	}
	return s;
}

static bool compacts(struct store_compacted *done)
{
	struct store_compacted ignored;
	err_clear(&e);
	return store_compact(dir, STORE_KEPT, done != NULL ? done : &ignored, &e) == 0;
}

/* ---- what is in it ---- */

static uint64_t hash(uint64_t sum, const void *p, size_t n) { return store_sum(p, n) * 31 + sum * 1000003; }

static int hash_value(void *ctx, uint64_t id, const void *p, size_t len, struct err *why)
{
	uint64_t *sum = ctx;
	(void)why;
	*sum = hash(hash(*sum, &id, sizeof id), p, len);
	return 0;
}

static int hash_piece(void *ctx, const void *p, size_t len, struct err *why)
{
	uint64_t *sum = ctx;
	(void)why;
	*sum = hash(*sum, p, len);
	return 0;
}

/* All that can be read, as a number. */
static uint64_t contents(struct store *s)
{
	uint64_t sum = 0, id;
	bool closes;
	struct store_read *r = store_read_begin(s, &e);
	CHECK(r != NULL && store_each_shape(r, hash_value, &sum, &e) == 0 && store_each_table(r, hash_value, &sum, &e) == 0 &&
	      store_each_journal(r, hash_value, &sum, &e) == 0 && store_each_commits(r, hash_value, &sum, &e) == 0);
	for (id = 1; id <= SHAPES; id++) {
		struct buf out = BUF_INIT(LIMIT);
		struct log_offset reached;
		bool end;
		for (uint32_t piece = 0; store_take_snapshot(r, id, 0, piece, hash_piece, &sum, &closes, &e) == 0; piece++)
			;
		CHECK_OK(read_log(r, id, at(0, LOG_OP_INF), at(UINT64_MAX, 0), LIMIT, &out, &reached, &end, &e), &e);
		sum = hash(sum, out.data, out.len);
		buf_clear(&out);
	}
	store_read_end(r);
	return sum;
}

static void begin(struct store *s) { CHECK_OK(store_begin(s, &e), &e); }
static void commit(struct store *s) { CHECK_OK(store_commit(s, &e), &e); }

/* A shape with some pieces of rows, and a log. */
static void put_shape(struct store *s, uint64_t id, struct rng *rng)
{
	static char bytes[PIECE_BYTES];
	begin(s);
	CHECK_OK(store_put_shape(s, id, "shape", 5, &e), &e);
	for (uint32_t piece = 0; piece < 4; piece++) {
		size_t len = rng_below(rng, 3) == 0 ? 50 : 1 + rng_below(rng, PIECE_BYTES);
		memset(bytes, 'a' + (int)(id % 26), len);
		CHECK_OK(store_put_snapshot(s, id, 0, piece, bytes, len, piece == 3, &e), &e);
	}
	for (uint64_t tx = 1; tx <= 3; tx++) {
		struct store_entry entry = {.at = at(tx, 0), .a = bytes, .a_len = (uint32_t)rng_below(rng, 20000)};
		CHECK_OK(store_put_block(s, id, &entry, 1, tx == 2, &e), &e);
	}
	CHECK_OK(store_put_meta_u64(s, "durable", id, &e), &e);
	commit(s);
}

static void gc(struct store *s)
{
	bool more = true;
	while (more) {
		begin(s);
		CHECK_OK(store_gc_step(s, 2000, &more, &e), &e);
		commit(s);
	}
}

/* A store of which every other shape has gone. */
static struct store *churned(struct rng *rng)
{
	struct store *s = must_open();
	for (uint64_t id = 1; id <= SHAPES; id++)
		put_shape(s, id, rng);
	for (uint64_t id = 1; id <= SHAPES; id += 2) {
		begin(s);
		CHECK_OK(store_drop_shape(s, id, &e), &e);
		commit(s);
	}
	gc(s);
	begin(s);
	CHECK_OK(store_put_table(s, 100, "table", 5, &e), &e);
	CHECK_OK(store_put_journal(s, 1, "batch", 5, &e), &e);
	CHECK_OK(store_put_commits(s, 1, "commits", 7, &e), &e);
	commit(s);
	return s;
}

/* ---- what it takes ---- */

static struct store_usage usage(struct store *s)
{
	struct store_usage u = {0};
	struct store_read *r = store_read_begin(s, &e);
	CHECK(r != NULL && store_usage(r, &u, &e) == 0);
	store_read_end(r);
	return u;
}

struct bytes {
	uint64_t of[SHAPES + 1], calls;
};

static int note_bytes(void *ctx, uint64_t id, uint64_t bytes, struct err *why)
{
	struct bytes *b = ctx;
	(void)why;
	CHECK(id > 0 && id <= SHAPES && b->of[id] == 0);
	b->of[id] = bytes;
	b->calls++;
	return 0;
}

static void test_usage(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	temp_dir_new(dir);
	struct store *s = must_open();
	struct store_usage empty = usage(s), full, left, again;
	CHECK(empty.used > 0 && empty.used <= empty.file && empty.knows_free && empty.free > 0);
	for (uint64_t id = 1; id <= SHAPES; id++)
		put_shape(s, id, &rng);
	full = usage(s);
	CHECK_INT(full.file, file_bytes(STORE_FILE));
	CHECK(full.used > empty.used && full.used <= full.file);
	struct bytes snapshots = {0}, logs = {0};
	struct store_read *r = store_read_begin(s, &e);
	CHECK_OK(store_each_bytes(r, STORE_SNAPSHOTS, note_bytes, &snapshots, &e), &e);
	CHECK_OK(store_each_bytes(r, STORE_LOGS, note_bytes, &logs, &e), &e);
	store_read_end(r);
	CHECK_INT(snapshots.calls, SHAPES);
	CHECK_INT(logs.calls, SHAPES);
	uint64_t sum = 0;
	for (uint64_t id = 1; id <= SHAPES; id++)
		sum += snapshots.of[id] + logs.of[id];
	CHECK(sum < full.used && sum > full.used / 2);
	/* All gone: as little is used as before, and the file stays as it is... */
	for (uint64_t id = 1; id <= SHAPES; id++) {
		begin(s);
		CHECK_OK(store_drop_shape(s, id, &e), &e);
		commit(s);
	}
	gc(s);
	left = usage(s);
	CHECK(left.used < empty.used + (256u << 10));
	CHECK(left.file >= full.file);
	/* ...and has room for the same again. */
	for (uint64_t id = SHAPES + 1; id <= 2 * SHAPES; id++)
		put_shape(s, id, &rng);
	again = usage(s);
	CHECK(again.file < full.file + full.file / 4);
	store_close(s);
	temp_dir_remove(dir);
}

/* ---- smaller ---- */

static void test_smaller(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	struct store_compacted done = {0}, twice = {0};
	temp_dir_new(dir);
	CHECK(!compacts(NULL)); /* there is none yet */
	CHECK_INT(e.kind, ERR_CONFIG);
	struct store *s = churned(&rng);
	uint64_t before = contents(s), bytes = file_bytes(STORE_FILE), used = usage(s).used;
	/* Not under a process that has it open. */
	store_lock_wait_ms = 100;
	CHECK(!compacts(NULL));
	CHECK_INT(e.kind, ERR_CONFIG);
	CHECK(strstr(e.text, "in use by another Busbar process") != NULL);
	store_close(s);
	if (!CHECK_OK(compacts(&done) ? 0 : -1, &e))
		return;
	CHECK_INT(done.before, bytes);
	CHECK_INT(done.after, file_bytes(STORE_FILE));
	CHECK(done.after < bytes * 2 / 3 && done.after <= used + (1u << 20));
	CHECK_INT(file_bytes(STORE_DIR_COMPACT "/" STORE_FILE), 0);
	for (int life = 0; life < 2; life++) { /* the pages and stamps of the second are our own again */
		s = must_open();
		CHECK_INT(contents(s), before);
		begin(s);
		CHECK_OK(store_put_meta_u64(s, "mark", 7, &e), &e);
		commit(s);
		store_close(s);
	}
	CHECK(compacts(&twice) && twice.after <= done.after + (256u << 10));
	s = must_open();
	CHECK_INT(contents(s), before);
	put_shape(s, SHAPES + 1, &rng);
	store_close(s);
	temp_dir_remove(dir);
}

/* What can't be compacted is left as it is. */
static void test_refused(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	char file[TEMP_DIR_MAX + 64];
	temp_dir_new(dir);
	store_close(churned(&rng));
	path_of(STORE_FILE, file);
	int fd = open(file, O_RDWR);
	unsigned char byte;
	CHECK(pread(fd, &byte, 1, 17) == 1);
	byte ^= 0x10;
	CHECK(pwrite(fd, &byte, 1, 17) == 1);
	uint64_t bytes = file_bytes(STORE_FILE);
	CHECK(!compacts(NULL));
	CHECK_INT(e.kind, ERR_DAMAGED);
	CHECK(file_bytes(STORE_FILE) == bytes && file_bytes(STORE_DIR_COMPACT "/" STORE_FILE) == 0);
	byte ^= 0x10;
	CHECK(pwrite(fd, &byte, 1, 17) == 1);
	close(fd);
	CHECK_OK(compacts(NULL) ? 0 : -1, &e);
	temp_dir_remove(dir);
}

/* What an interrupted one has left is gone with the next start. */
static void test_leftover(void)
{
	char file[TEMP_DIR_MAX + 64];
	temp_dir_new(dir);
	store_close(must_open());
	path_of(STORE_DIR_COMPACT, file);
	CHECK_INT(mkdir(file, 0777), 0);
	path_of(STORE_DIR_COMPACT "/" STORE_FILE, file);
	FILE *f = fopen(file, "w");
	CHECK(f != NULL && fputs("half of it", f) >= 0);
	fclose(f);
	store_close(must_open());
	path_of(STORE_DIR_COMPACT, file);
	CHECK_INT(access(file, F_OK), -1);
	temp_dir_remove(dir);
}

/* Killed at any moment, one of the two is there as a whole. */
static void test_killed(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	temp_dir_new(dir);
	struct store *s = churned(&rng);
	uint64_t before = contents(s);
	int ended = 0;
	store_close(s);
	for (int i = 0; i < 24; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(compacts(NULL) ? 0 : 1);
		int status;
		(void)poll(NULL, 0, (int)rng_below(&rng, 300)); /* the moment is what is random here: nothing is waited for */
		kill(pid, SIGKILL);
		if (!CHECK(waitpid(pid, &status, 0) == pid))
			break;
		CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		ended += WIFEXITED(status);
		s = must_open();
		CHECK_INT(contents(s), before);
		CHECK_INT(file_bytes(STORE_DIR_COMPACT "/" STORE_FILE), 0);
		store_close(s);
	}
	printf("killed %d of 24\n", 24 - ended);
	temp_dir_remove(dir);
}

/* A store of an older format stays one: the Busbar that wrote it may come back. */
static void test_older(int version)
{
	char command[2 * TEMP_DIR_MAX + 600], file[TEMP_DIR_MAX + 64], copy[TEMP_DIR_MAX + 64];
	struct store_compacted done;
	temp_dir_new(dir);
	if (!stores_unpack(dir, version))
		return;
	path_of(STORE_FILE, file);
	path_of("as-it-was", copy);
	snprintf(command, sizeof command, "cp '%s' '%s'", file, copy);
	CHECK_INT(system(command), 0);
	CHECK_OK(compacts(&done) ? 0 : -1, &e);
	CHECK(done.after <= done.before);
	struct store *s = must_open();
	uint64_t compacted = contents(s);
	store_close(s);
	CHECK_INT(rename(copy, file), 0);
	s = must_open();
	CHECK_INT(contents(s), compacted);
	store_close(s);
	temp_dir_remove(dir);
}

int main(void)
{
	uint64_t seed = test_seed("compact");
	RUN(test_usage, seed);
	RUN(test_smaller, seed);
	RUN(test_refused, seed);
	RUN(test_leftover);
	RUN(test_killed, seed);
	for (int i = 1; i <= 3; i++)
		RUN(test_older, i);
	return check_done("compact");
}
