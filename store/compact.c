/*
 * compact.c - the store's file, written anew without its free pages (store_compact()).
 *
 * Entry by entry and not by LMDB's own compacting copy, which refuses a file with pages that belong to nobody (which a failed
 * commit may leave), takes the length of a large value from its first page instead of its leaf, and begins to count transactions
 * anew, where each tree of ours says which one wrote it. Values are copied as they are, with their seals: what is damaged stays so,
 * and costs its shape when it is read.
 */
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/check.h"
#include "store/disk.h"
#include "store/format.h"
#include "store/seal.h"
#include "store/store.h"

#define FILE_PATH_MAX (STORE_PATH_MAX + 40)
#define SPARE_BYTES ((uint64_t)64 << 20) /* of the copy's map, beside what the store has */

struct side {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi db[DB_COUNT];
	bool has_db[DB_COUNT];
};

struct compaction {
	char path[STORE_PATH_MAX], file[FILE_PATH_MAX]; /* LMDB keeps in the file whether it was opened by its own name: we don't */
	char copy_path[FILE_PATH_MAX], copy[FILE_PATH_MAX];
	const char *dir;
	struct stat st;      /* of the file */
	int lock_fd;
	struct side from, to;
	size_t bytes, puts;  /* of the copy's running transaction */
};

static int failed(struct err *e, int rc, const char *what)
{
	if (rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL)
		return err_set(e, ERR_FULL, "store: %s: no space left for a compacted copy; the store is as it was", what);
	return err_set(e, ERR_IO, "store: %s: %s", what, mdb_strerror(rc));
}

static void side_close(struct side *x)
{
	if (x->txn != NULL)
		mdb_txn_abort(x->txn);
	if (x->env != NULL)
		mdb_env_close(x->env);
	*x = (struct side){0};
}

static int side_begin(struct side *x, unsigned flags, struct err *e)
{
	int rc = mdb_txn_begin(x->env, NULL, flags, &x->txn);
	if (rc == 0)
		return 0;
	x->txn = NULL;
	return failed(e, rc, "begin");
}

/* Without LMDB's lock file: ours says that nobody else is here. */
static int side_open(struct side *x, const char *path, uint64_t map_bytes, unsigned flags, struct err *e)
{
	int rc = mdb_env_create(&x->env);
	if (rc == 0 && (rc = mdb_env_set_mapsize(x->env, map_bytes)) == 0 && (rc = mdb_env_set_maxdbs(x->env, DB_COUNT)) == 0)
		rc = mdb_env_open(x->env, path, flags | MDB_NOLOCK, 0666);
	if (rc != 0) {
		mdb_env_close(x->env);
		x->env = NULL;
		return failed(e, rc, path);
	}
	return side_begin(x, flags & MDB_RDONLY, e);
}

/* Those that are there: older formats have fewer. */
static int find_databases(struct side *x, struct err *e)
{
	for (int i = 0; i < DB_COUNT; i++) {
		int rc = mdb_dbi_open(x->txn, seal_dbs[i].name, 0, &x->db[i]);
		x->has_db[i] = rc == 0;
		if (rc != 0 && rc != MDB_NOTFOUND)
			return failed(e, rc, seal_dbs[i].name);
	}
	return 0;
}

static int open_from(struct compaction *c, struct err *e)
{
	uint64_t bytes = (uint64_t)c->st.st_size;
	return side_open(&c->from, c->path, bytes, MDB_RDONLY, e) != 0 ? -1 : find_databases(&c->from, e);
}

/* ---- writing the copy ---- */

/* It belongs to whom the file belongs, so that the daemon can open it. */
static int give_to_owner(struct compaction *c, struct err *e)
{
	int fd;
	if (mdb_env_get_fd(c->to.env, &fd) != 0 || (c->st.st_uid != geteuid() && fchown(fd, c->st.st_uid, c->st.st_gid) != 0) ||
	    fchmod(fd, c->st.st_mode & 07777) != 0)
		return err_errno(e, errno, "cannot give %s to the owner of %s; run this as the user that Busbar runs as", c->copy, c->file);
	return 0;
}

static int open_to(struct compaction *c, struct err *e)
{
	if (disk_remove_copy(c->path, e) != 0)
		return -1;
	if (mkdir(c->copy_path, 0777) != 0)
		return err_errno(e, errno, "cannot make the directory %s", c->copy_path);
	/* Synced once, at the end. */
	if (side_open(&c->to, c->copy_path, (uint64_t)c->st.st_size + SPARE_BYTES, MDB_NOSYNC, e) != 0 || give_to_owner(c, e) != 0)
		return -1;
	for (int i = 0; i < DB_COUNT; i++) {
		int rc = c->from.has_db[i] ? mdb_dbi_open(c->to.txn, seal_dbs[i].name, MDB_CREATE, &c->to.db[i]) : 0;
		c->to.has_db[i] = c->from.has_db[i];
		if (rc != 0)
			return failed(e, rc, seal_dbs[i].name);
	}
	return 0;
}

static int commit_copy(struct compaction *c, struct err *e)
{
	int rc = mdb_txn_commit(c->to.txn);
	c->to.txn = NULL;
	c->bytes = c->puts = 0;
	return rc == 0 ? 0 : failed(e, rc, "commit");
}

/* The number of the transaction that wrote the tree: the last thing that is written. */
static bool is_stamp(int db, const MDB_val *k) { return db == DB_META && k->mv_size == 6 && memcmp(k->mv_data, "commit", 6) == 0; }

static int put_copy(struct compaction *c, int db, MDB_val *k, const MDB_val *v, struct err *e)
{
	MDB_val to = {v->mv_size, NULL};
	int rc = mdb_put(c->to.txn, c->to.db[db], k, &to, MDB_APPEND | MDB_RESERVE);
	if (rc != 0)
		return failed(e, rc, seal_dbs[db].name);
	if (v->mv_size > 0)
		memcpy(to.mv_data, v->mv_data, v->mv_size);
	c->bytes += k->mv_size + v->mv_size;
	c->puts++;
	if (c->bytes < STORE_TXN_BYTES_MAX && c->puts < STORE_TXN_PUTS_MAX)
		return 0;
	return commit_copy(c, e) != 0 ? -1 : side_begin(&c->to, 0, e);
}

static int copy_database(struct compaction *c, int db, bool *stamped, struct err *e)
{
	MDB_cursor *at;
	MDB_val k, v;
	int rc = mdb_cursor_open(c->from.txn, c->from.db[db], &at), bad = 0;
	if (rc != 0)
		return failed(e, rc, seal_dbs[db].name);
	for (rc = mdb_cursor_get(at, &k, &v, MDB_FIRST); rc == 0 && bad == 0; rc = mdb_cursor_get(at, &k, &v, MDB_NEXT)) {
		if (is_stamp(db, &k))
			*stamped = true;
		else
			bad = put_copy(c, db, &k, &v, e);
	}
	mdb_cursor_close(at);
	return bad != 0 ? -1 : rc == MDB_NOTFOUND ? 0 : failed(e, rc, seal_dbs[db].name);
}

static int put_stamp(struct compaction *c, struct err *e)
{
	char name[] = "commit";
	unsigned char p[8 + SEAL_BYTES];
	uint64_t n = mdb_txn_id(c->to.txn);
	memcpy(p, &n, sizeof n);
	uint64_t seal = seal_of(DB_META, name, 6, p, 8);
	memcpy(p + 8, &seal, sizeof seal);
	MDB_val k = {6, name}, v = {sizeof p, p};
	int rc = mdb_put(c->to.txn, c->to.db[DB_META], &k, &v, 0);
	return rc == 0 ? 0 : failed(e, rc, "meta");
}

/* All of it, durable under its own name. */
static int write_copy(struct compaction *c, struct err *e)
{
	bool stamped = false;
	if (open_to(c, e) != 0)
		return -1;
	for (int i = 0; i < DB_COUNT; i++)
		if (c->from.has_db[i] && copy_database(c, i, &stamped, e) != 0)
			return -1;
	if ((stamped && put_stamp(c, e) != 0) || commit_copy(c, e) != 0)
		return -1;
	int rc = mdb_env_sync(c->to.env, 1);
	side_close(&c->to);
	return rc == 0 ? 0 : failed(e, rc, c->copy);
}

/* ---- looking at it ---- */

static int differs(const struct compaction *c, int db, struct err *e)
{
	return err_set(e, ERR_IO, "store: the compacted copy of %s has other %s than the store; the store is as it was", c->file, seal_dbs[db].name);
}

/* Goes on to the next entry that is to be the same on both sides. */
static int next_entry(MDB_cursor *at, int db, MDB_val *k, MDB_val *v, MDB_cursor_op op)
{
	int rc = mdb_cursor_get(at, k, v, op);
	return rc == 0 && is_stamp(db, k) ? mdb_cursor_get(at, k, v, MDB_NEXT) : rc;
}

static bool same(const MDB_val *a, const MDB_val *b)
{
	return a->mv_size == b->mv_size && (a->mv_size == 0 || memcmp(a->mv_data, b->mv_data, a->mv_size) == 0);
}

static int compare_database(struct compaction *c, int db, struct err *e)
{
	MDB_cursor *a = NULL, *b = NULL;
	MDB_val ka, va, kb, vb;
	int rc = mdb_cursor_open(c->from.txn, c->from.db[db], &a), rd = 0;
	if (rc == 0 && (rc = mdb_cursor_open(c->to.txn, c->to.db[db], &b)) != 0)
		mdb_cursor_close(a);
	if (rc != 0)
		return failed(e, rc, seal_dbs[db].name);
	bool equal = true;
	for (MDB_cursor_op op = MDB_FIRST; rc == 0 && equal; op = MDB_NEXT) {
		rc = next_entry(a, db, &ka, &va, op);
		rd = next_entry(b, db, &kb, &vb, op);
		equal = rc == rd && (rc != 0 || (same(&ka, &kb) && same(&va, &vb)));
	}
	mdb_cursor_close(a);
	mdb_cursor_close(b);
	return !equal ? differs(c, db, e) : rc == MDB_NOTFOUND ? 0 : failed(e, rc, seal_dbs[db].name);
}

/* What was written is what is in the store, by the pages and by each value. */
static int compare(struct compaction *c, struct err *e)
{
	struct err why = {0};
	struct stat st;
	if (check_file(c->copy, STORE_FORMAT_VERSION, STORE_FORMAT_SEALED, &why) != CHECK_SOUND)
		return err_set(e, ERR_IO, "store: the compacted copy of %s isn't sound (%s); the store is as it was", c->file, why.text);
	if (stat(c->copy, &st) != 0)
		return err_errno(e, errno, "cannot look at %s", c->copy);
	if (side_open(&c->to, c->copy_path, (uint64_t)st.st_size, MDB_RDONLY, e) != 0 || find_databases(&c->to, e) != 0)
		return -1;
	for (int i = 0; i < DB_COUNT; i++) {
		if (c->from.has_db[i] != c->to.has_db[i])
			return differs(c, i, e);
		if (c->from.has_db[i] && compare_database(c, i, e) != 0)
			return -1;
	}
	return 0;
}

/* ---- all of it ---- */

static int find_file(struct compaction *c, enum store_disk on, struct err *e)
{
	if ((size_t)snprintf(c->path, sizeof c->path, "%s/" STORE_DIR, c->dir) >= sizeof c->path)
		return err_set(e, ERR_CONFIG, "ELECTRIC_STORAGE_DIR is too long");
	snprintf(c->file, sizeof c->file, "%s/" STORE_FILE, c->path);
	snprintf(c->copy_path, sizeof c->copy_path, "%s/" STORE_DIR_COMPACT, c->path);
	snprintf(c->copy, sizeof c->copy, "%s/" STORE_DIR_COMPACT "/" STORE_FILE, c->path);
	if (stat(c->file, &c->st) != 0)
		return errno == ENOENT ? err_set(e, ERR_CONFIG, "there is no store in %s: is ELECTRIC_STORAGE_DIR what the daemon has?", c->dir)
		                       : err_errno(e, errno, "cannot look at %s", c->file);
	if (on != STORE_EPHEMERAL && disk_is_network(c->path))
		return err_set(e, ERR_CONFIG, "the storage directory %s is on a network filesystem", c->dir);
	return 0;
}

static int check_from(struct compaction *c, struct err *e)
{
	struct err why = {0};
	switch (check_file(c->file, STORE_FORMAT_VERSION, STORE_FORMAT_SEALED, &why)) {
	case CHECK_SOUND:
		break;
	case CHECK_NEWER:
		return err_set(e, ERR_CONFIG, "the store in %s has format version %s, this Busbar reads version %u: compact it with the Busbar "
		               "that wrote it", c->path, why.text, STORE_FORMAT_VERSION);
	case CHECK_DAMAGED:
		return err_set(e, ERR_DAMAGED, "the store %s is damaged (%s): it isn't compacted; a start of Busbar puts it aside", c->file,
		               why.text);
	default:
		*e = why;
		return -1;
	}
	/* While we waited for the lock it may have changed. */
	return stat(c->file, &c->st) == 0 ? 0 : err_errno(e, errno, "cannot look at %s", c->file);
}

static int check_room(struct compaction *c, struct err *e)
{
	uint64_t pages = 2, there;
	MDB_stat st = {0};
	for (int i = 0; i < DB_COUNT; i++)
		if (c->from.has_db[i] && mdb_stat(c->from.txn, c->from.db[i], &st) == 0)
			pages += st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
	uint64_t need = (pages + pages / 16) * st.ms_psize + ((uint64_t)1 << 20);
	if (!disk_free_bytes(c->path, &there) || there >= need)
		return 0;
	return err_set(e, ERR_FULL, "the disk of %s has %llu MiB free, and a compacted copy of the store needs %llu: free some space first; "
	               "or remove the directory %s, after which clients refetch", c->dir, (unsigned long long)(there >> 20),
	               (unsigned long long)(need >> 20), c->path);
}

/* In place of the file, which stays until then. */
static int swap(struct compaction *c, struct store_compacted *out, struct err *e)
{
	struct stat st;
	if (stat(c->copy, &st) != 0 || rename(c->copy, c->file) != 0)
		return err_errno(e, errno, "cannot put %s in the place of %s; the store is as it was", c->copy, c->file);
	disk_sync_directory(c->path);
	*out = (struct store_compacted){(uint64_t)c->st.st_size, (uint64_t)st.st_size};
	return 0;
}

int store_compact(const char *dir, enum store_disk on, struct store_compacted *out, struct err *e)
{
	struct compaction c = {.dir = dir, .lock_fd = -1};
	int rc = find_file(&c, on, e);
	if (rc == 0)
		rc = disk_lock(c.path, dir, &c.lock_fd, e);
	bool ours = rc == 0;
	if (rc == 0 && (check_from(&c, e) != 0 || open_from(&c, e) != 0 || check_room(&c, e) != 0 || write_copy(&c, e) != 0 ||
	                compare(&c, e) != 0))
		rc = -1;
	side_close(&c.from);
	side_close(&c.to);
	if (rc == 0)
		rc = swap(&c, out, e);
	struct err ignored;
	if (ours)
		(void)!disk_remove_copy(c.path, &ignored); /* if it can't be removed, the next start does, or says so */
	if (c.lock_fd >= 0)
		close(c.lock_fd);
	return rc;
}
