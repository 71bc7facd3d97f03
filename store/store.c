/*
 * store.c - the LMDB environment: opening, locking, transactions, and every key and value in it.
 *
 * Keys are big-endian, so that LMDB's byte order is the order we mean; see FORMAT.md. One writer,
 * pooled read transactions (reset and renewed, so that beginning one costs tens of nanoseconds).
 */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define STORE_FORMAT_VERSION 3u
#define STORE_FORMAT_OLDEST 1u /* read, and from then on of this version */
#define STORE_READERS_MAX 126 /* LMDB's own default for its reader table; readers beyond it wait for a slot */
#define STORE_PATH_MAX 4096
#define FREE_BYTES_LEAST (1u << 20) /* a failed write with less than this free was for want of room */

static_assert(sizeof(size_t) == 8, "the map is reserved in terabytes");

enum { DB_META, DB_SHAPES, DB_TABLES, DB_JOURNAL, DB_BLOCKS, DB_CHUNKS, DB_SNAPSHOTS, DB_DROPPED, DB_COMMITS, DB_COUNT };
static const char *const db_names[DB_COUNT] = {"meta", "shapes", "tables", "journal", "blocks", "chunks", "snapshots", "dropped",
                                                "commits"};

/* Address space to reserve, the first that the process may have: the file only grows as it is used. */
static const size_t map_sizes[] = {(size_t)1 << 40, (size_t)256 << 30, (size_t)64 << 30, (size_t)16 << 30, (size_t)4 << 30,
                                   (size_t)1 << 30};

struct store_read {
	struct store *store;
	MDB_txn *txn;
	struct store_read *next_free, *next_all;
};

struct store {
	char path[STORE_PATH_MAX]; /* the environment's directory */
	bool temporary, born; /* born: the data file was there or has been made */
	int lock_fd;
	MDB_env *env;
	MDB_dbi db[DB_COUNT];

	MDB_txn *txn; /* the writer's */
	size_t txn_bytes, txn_puts;
	pthread_t writer;
	bool has_writer, broken; /* broken: reopen before the next transaction */
	/* A commit that failed may be there nevertheless (its meta page was written and couldn't be taken
	 * back): from then on blocks that are written again replace those. */
	bool uncertain;

	/* Held shared during a read, exclusively while the environment is reopened. */
	pthread_rwlock_t gate;
	pthread_mutex_t lock; /* the two lists */
	pthread_cond_t reader_free;
	struct store_read *free_readers, *all_readers;
	int nreaders;
};

/* ---- bytes of keys ---- */

static void put_be32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void put_be64(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> (56 - 8 * i));
}

static uint32_t get_be32(const unsigned char *p)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++)
		v = v << 8 | p[i];
	return v;
}

static uint64_t get_be64(const unsigned char *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

#define LOG_KEY_BYTES 24 /* shape id, tx, op */

static MDB_val log_key(unsigned char key[LOG_KEY_BYTES], uint64_t id, struct log_offset at)
{
	put_be64(key, id);
	put_be64(key + 8, at.tx);
	put_be64(key + 16, at.op);
	return (MDB_val){LOG_KEY_BYTES, key};
}

static struct log_offset log_key_offset(const MDB_val *k)
{
	const unsigned char *p = k->mv_data;
	return (struct log_offset){get_be64(p + 8), get_be64(p + 16)};
}

static bool key_is_of(const MDB_val *k, uint64_t id)
{
	return k->mv_size >= 8 && get_be64(k->mv_data) == id;
}

/* Of the shape's log; a key of another length is damage, and ends the log. */
static bool log_key_is_of(const MDB_val *k, uint64_t id)
{
	return k->mv_size == LOG_KEY_BYTES && key_is_of(k, id);
}

/* ---- errors ---- */

static int lmdb_error(struct err *e, int rc, const char *what)
{
	if (rc == MDB_MAP_FULL)
		return err_set(e, ERR_FULL, "store: %s: the reserved map is full", what);
	if (rc == ENOSPC || rc == EDQUOT)
		return err_set(e, ERR_FULL, "store: %s: no space left on the device; free space under ELECTRIC_STORAGE_DIR", what);
	return err_set(e, ERR_IO, "store: %s: %s", what, mdb_strerror(rc));
}

/* ---- opening ---- */

static bool is_network_filesystem(const char *path)
{
	/* f_type values of linux/magic.h: NFS, SMB, CIFS, SMB2, AFS, CEPH, NCP, CODA. */
	static const unsigned long types[] = {0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x5346414F, 0x00C36400, 0x564C, 0x73757245};
	struct statfs fs;
	if (statfs(path, &fs) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (((unsigned long)fs.f_type & 0xFFFFFFFF) == types[i])
			return true;
	return false;
}

/* mkdir -p, as Electric creates its storage directory. */
static int make_dirs(const char *path, struct err *e)
{
	char part[STORE_PATH_MAX];
	size_t len = strlen(path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0777) != 0 && errno != EEXIST)
			return err_errno(e, errno, "cannot create the storage directory %s", part);
	}
	return 0;
}

static int take_file_lock(struct store *s, const char *dir, struct err *e)
{
	char file[STORE_PATH_MAX + 16];
	snprintf(file, sizeof file, "%s/lock", s->path);
	s->lock_fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (s->lock_fd < 0)
		return err_errno(e, errno, "cannot open %s", file);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(e, ERR_CONFIG, "the storage directory %s is in use by another Busbar process; stop it, or give this one "
		               "another ELECTRIC_STORAGE_DIR", dir);
	return err_errno(e, errno, "cannot lock %s", file);
}

static int open_databases(struct store *s, struct err *e)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc != 0)
		return lmdb_error(e, rc, "begin");
	for (int i = 0; i < DB_COUNT; i++)
		if ((rc = mdb_dbi_open(txn, db_names[i], MDB_CREATE, &s->db[i])) != 0) {
			mdb_txn_abort(txn);
			return lmdb_error(e, rc, "open database");
		}
	char name[] = "format";
	MDB_val k = {sizeof name - 1, name}, v;
	uint64_t version = STORE_FORMAT_VERSION;
	rc = mdb_get(txn, s->db[DB_META], &k, &v);
	if (rc == MDB_NOTFOUND) {
		v = (MDB_val){sizeof version, &version};
		rc = mdb_put(txn, s->db[DB_META], &k, &v, 0);
	} else if (rc == 0) {
		if (v.mv_size == sizeof version)
			memcpy(&version, v.mv_data, sizeof version);
		if (v.mv_size != sizeof version || version < STORE_FORMAT_OLDEST || version > STORE_FORMAT_VERSION) {
			mdb_txn_abort(txn);
			return err_set(e, ERR_CONFIG, "the store in %s has format version %llu, this Busbar reads version %u: run the Busbar that "
			               "wrote it, or remove the directory (clients will refetch)", s->path, (unsigned long long)version,
			               STORE_FORMAT_VERSION);
		}
		if (version < STORE_FORMAT_VERSION) {
			version = STORE_FORMAT_VERSION;
			v = (MDB_val){sizeof version, &version};
			rc = mdb_put(txn, s->db[DB_META], &k, &v, 0);
		}
	}
	if (rc != 0) {
		mdb_txn_abort(txn);
		return lmdb_error(e, rc, "format version");
	}
	if ((rc = mdb_txn_commit(txn)) != 0)
		return lmdb_error(e, rc, "first commit");
	return 0;
}

/* Two meta pages of the smallest size: a file no longer than that holds nothing yet. */
#define STORE_BIRTH_BYTES 8192

/*
 * Whether the data file is to be made. What a crash or a full disk left of an earlier birth is removed:
 * LMDB would refuse it for ever. Beyond that size the two meta pages are on the disk, see env_open().
 */
static int prepare_birth(struct store *s, bool *birth, struct err *e)
{
	char file[STORE_PATH_MAX + 16];
	struct stat st;
	snprintf(file, sizeof file, "%s/data.mdb", s->path);
	*birth = stat(file, &st) != 0 ? errno == ENOENT : st.st_size <= STORE_BIRTH_BYTES;
	/* Not under a running engine: its shapes would go on without their beginnings. */
	if (*birth && s->born)
		return err_set(e, ERR_IO, "store: %s is gone; restart Busbar to begin with an empty store", file);
	if (*birth && unlink(file) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove the unfinished %s", file);
	return 0;
}

/* Makes a new file's name durable, too; not all filesystems can, and then it can't be helped. */
static void sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

static int env_open(struct store *s, struct err *e)
{
	int rc = ENOMEM;
	bool birth;
	if (prepare_birth(s, &birth, e) != 0)
		return -1;
	/* LMDB's lock file knows processes by id, which two containers may share; our own file lock has
	 * already said that nobody else is here, so what is left in it is of the dead. */
	char file[STORE_PATH_MAX + 16];
	snprintf(file, sizeof file, "%s/lock.mdb", s->path);
	if (unlink(file) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove the stale %s", file);
	unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (s->temporary ? MDB_NOSYNC : 0u);
	for (size_t i = 0; i < ARRAY_LEN(map_sizes) && (rc == ENOMEM || rc == EINVAL); i++) {
		if ((rc = mdb_env_create(&s->env)) != 0)
			break;
		if ((rc = mdb_env_set_mapsize(s->env, map_sizes[i])) == 0 && (rc = mdb_env_set_maxdbs(s->env, DB_COUNT)) == 0 &&
		    (rc = mdb_env_set_maxreaders(s->env, STORE_READERS_MAX)) == 0)
			rc = mdb_env_open(s->env, s->path, flags, 0666);
		if (rc == 0)
			break;
		mdb_env_close(s->env);
		s->env = NULL;
	}
	if (rc != 0)
		return lmdb_error(e, rc, s->path);
	/* The meta pages come before anything else, so that a longer file always has them. */
	if (birth && !s->temporary && (rc = mdb_env_sync(s->env, 1)) != 0) {
		mdb_env_close(s->env);
		s->env = NULL;
		return lmdb_error(e, rc, s->path);
	}
	if (open_databases(s, e) != 0) {
		mdb_env_close(s->env);
		s->env = NULL;
		return -1;
	}
	if (birth && !s->temporary)
		sync_directory(s->path);
	s->born = true;
	s->broken = false;
	return 0;
}

static int choose_path(struct store *s, const char *dir, struct err *e)
{
	if (s->temporary) {
		const char *tmp = getenv("TMPDIR");
		snprintf(s->path, sizeof s->path, "%s/busbar-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
		if (mkdtemp(s->path) == NULL)
			return err_errno(e, errno, "cannot create a temporary store %s", s->path);
		return 0;
	}
	if ((size_t)snprintf(s->path, sizeof s->path, "%s/busbar", dir) >= sizeof s->path)
		return err_set(e, ERR_CONFIG, "ELECTRIC_STORAGE_DIR is too long");
	if (make_dirs(s->path, e) != 0)
		return -1;
	if (is_network_filesystem(s->path))
		return err_set(e, ERR_CONFIG, "the storage directory %s is on a network filesystem, where the store's memory map is not safe; "
		               "set ELECTRIC_STORAGE_DIR to a local disk", dir);
	return 0;
}

int store_open(struct store **out, const char *dir, bool temporary, struct err *e)
{
	struct store *s = mem_zalloc(sizeof *s);
	s->temporary = temporary;
	s->lock_fd = -1;
	/* Reads that overlap without end must not keep a reopening away; they are never nested. */
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->reader_free, NULL);
	if (choose_path(s, dir, e) != 0 || take_file_lock(s, dir, e) != 0 || env_open(s, e) != 0) {
		store_close(s);
		return -1;
	}
	*out = s;
	return 0;
}

static void env_close(struct store *s)
{
	pthread_mutex_lock(&s->lock); /* a reader may just be joining the list */
	for (struct store_read *r = s->all_readers; r != NULL; r = r->next_all)
		if (r->txn != NULL) {
			mdb_txn_abort(r->txn);
			r->txn = NULL;
		}
	pthread_mutex_unlock(&s->lock);
	if (s->env != NULL)
		mdb_env_close(s->env);
	s->env = NULL;
}

static void remove_temporary(struct store *s)
{
	static const char *const files[] = {"data.mdb", "lock.mdb", "lock"};
	char file[STORE_PATH_MAX + 16];
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(file, sizeof file, "%s/%s", s->path, files[i]);
		unlink(file);
	}
	rmdir(s->path);
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	store_abort(s);
	env_close(s);
	if (s->temporary && s->path[0] != '\0')
		remove_temporary(s);
	for (struct store_read *r = s->all_readers, *next; r != NULL; r = next) {
		next = r->next_all;
		free(r);
	}
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	pthread_cond_destroy(&s->reader_free);
	pthread_mutex_destroy(&s->lock);
	pthread_rwlock_destroy(&s->gate);
	free(s);
}

int store_reopen(struct store *s, struct err *e)
{
	store_abort(s);
	pthread_rwlock_wrlock(&s->gate);
	env_close(s);
	int rc = env_open(s, e);
	pthread_rwlock_unlock(&s->gate);
	return rc;
}

/* ---- writing ---- */

static void require_writer(struct store *s)
{
	if (!s->has_writer) {
		s->writer = pthread_self();
		s->has_writer = true;
	}
	REQUIRE(pthread_equal(s->writer, pthread_self()));
}

void store_writer_done(struct store *s)
{
	require_writer(s);
	REQUIRE(s->txn == NULL);
	s->has_writer = false;
}

int store_begin(struct store *s, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn == NULL);
	if (s->broken || s->env == NULL)
		return err_set(e, ERR_IO, "store: the environment must be reopened first");
	s->txn_bytes = s->txn_puts = 0;
	int rc = mdb_txn_begin(s->env, NULL, 0, &s->txn);
	if (rc != 0) {
		s->txn = NULL;
		s->broken = true;
		return lmdb_error(e, rc, "begin");
	}
	return 0;
}

void store_abort(struct store *s)
{
	if (s->txn != NULL)
		mdb_txn_abort(s->txn);
	s->txn = NULL;
}

/* LMDB reports a short write as EIO; on a full disk that is what it was. */
static bool disk_is_full(const struct store *s)
{
	struct statfs fs;
	return statfs(s->path, &fs) == 0 && (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < FREE_BYTES_LEAST;
}

/* The transaction can't be used any more: the error says why. */
static int give_up(struct store *s)
{
	store_abort(s);
	s->broken = true;
	return -1;
}

static int write_failed(struct store *s, struct err *e, int rc, const char *what)
{
	if (rc == EIO && disk_is_full(s))
		rc = ENOSPC;
	(void)lmdb_error(e, rc, what);
	return give_up(s);
}

int store_commit(struct store *s, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	int rc = mdb_txn_commit(s->txn);
	s->txn = NULL;
	s->uncertain = s->uncertain || rc != 0;
	return rc == 0 ? 0 : write_failed(s, e, rc, "commit");
}

bool store_txn_is_large(const struct store *s)
{
	return s->txn_bytes >= STORE_TXN_BYTES_MAX || s->txn_puts >= STORE_TXN_PUTS_MAX;
}

static int put(struct store *s, int db, const void *key, size_t key_len, const void *p, size_t len, unsigned flags, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {len, (void *)(uintptr_t)p};
	int rc = mdb_put(s->txn, s->db[db], &k, &v, flags);
	if (rc != 0)
		return write_failed(s, e, rc, db_names[db]);
	s->txn_bytes += len + key_len;
	s->txn_puts++;
	return 0;
}

static int del(struct store *s, int db, const void *key, size_t key_len, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	MDB_val k = {key_len, (void *)(uintptr_t)key};
	int rc = mdb_del(s->txn, s->db[db], &k, NULL);
	s->txn_puts++;
	return rc == 0 || rc == MDB_NOTFOUND ? 0 : write_failed(s, e, rc, db_names[db]);
}

int store_put_meta(struct store *s, const char *name, const void *p, size_t len, struct err *e)
{
	return put(s, DB_META, name, strlen(name), p, len, 0, e);
}

int store_put_meta_u64(struct store *s, const char *name, uint64_t v, struct err *e)
{
	return store_put_meta(s, name, &v, sizeof v, e);
}

int store_put_shape(struct store *s, uint64_t id, const void *p, size_t len, struct err *e)
{
	unsigned char key[8];
	put_be64(key, id);
	return put(s, DB_SHAPES, key, sizeof key, p, len, 0, e);
}

int store_drop_shape(struct store *s, uint64_t id, struct err *e)
{
	unsigned char key[8];
	put_be64(key, id);
	if (del(s, DB_SHAPES, key, sizeof key, e) != 0)
		return -1;
	return put(s, DB_DROPPED, key, sizeof key, "", 0, 0, e);
}

int store_put_table(struct store *s, uint32_t oid, const void *p, size_t len, struct err *e)
{
	unsigned char key[4];
	put_be32(key, oid);
	return put(s, DB_TABLES, key, sizeof key, p, len, 0, e);
}

int store_drop_table(struct store *s, uint32_t oid, struct err *e)
{
	unsigned char key[4];
	put_be32(key, oid);
	return del(s, DB_TABLES, key, sizeof key, e);
}

int store_put_journal(struct store *s, uint64_t seq, const void *p, size_t len, struct err *e)
{
	unsigned char key[8];
	put_be64(key, seq);
	return put(s, DB_JOURNAL, key, sizeof key, p, len, 0, e);
}

/* Deletes entries of `db` from the first key at or above `from` while `in` holds; at most *left. */
static int delete_range(struct store *s, int db, const void *from, size_t from_len, bool (*in)(const MDB_val *k, uint64_t arg),
                        uint64_t arg, size_t *left, bool *more, struct err *e)
{
	MDB_cursor *c;
	int rc = mdb_cursor_open(s->txn, s->db[db], &c);
	if (rc != 0)
		return write_failed(s, e, rc, "cursor");
	MDB_val k = {from_len, (void *)(uintptr_t)from}, v;
	*more = false;
	for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); rc == 0 && in(&k, arg); rc = mdb_cursor_get(c, &k, &v, MDB_GET_CURRENT)) {
		if (*left == 0) {
			*more = true;
			break;
		}
		(*left)--;
		s->txn_puts++;
		if ((rc = mdb_cursor_del(c, 0)) != 0)
			break;
	}
	mdb_cursor_close(c);
	/* After the last entry is gone the cursor has no current one: EINVAL in LMDB 0.9. */
	return rc == 0 || rc == MDB_NOTFOUND || rc == EINVAL ? 0 : write_failed(s, e, rc, "delete");
}

static bool seq_is_below(const MDB_val *k, uint64_t seq) { return k->mv_size != 8 || get_be64(k->mv_data) < seq; }

int store_trim_journal(struct store *s, uint64_t seq, size_t max, bool *more, struct err *e)
{
	unsigned char from[8] = {0};
	require_writer(s);
	return delete_range(s, DB_JOURNAL, from, sizeof from, seq_is_below, seq, &max, more, e);
}

int store_put_commits(struct store *s, lsn_t first, const void *p, size_t len, struct err *e)
{
	unsigned char key[8];
	put_be64(key, first);
	return put(s, DB_COMMITS, key, sizeof key, p, len, 0, e);
}

int store_trim_commits(struct store *s, uint64_t bytes, size_t max, uint64_t *gone, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	require_writer(s);
	*gone = 0;
	int rc = mdb_cursor_open(s->txn, s->db[DB_COMMITS], &c);
	if (rc != 0)
		return write_failed(s, e, rc, "cursor");
	while (rc == 0 && *gone < bytes && max-- > 0 && (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST)) == 0) {
		*gone += v.mv_size;
		s->txn_puts++;
		rc = mdb_cursor_del(c, 0);
	}
	mdb_cursor_close(c);
	return rc == 0 || rc == MDB_NOTFOUND ? 0 : write_failed(s, e, rc, "delete");
}

int store_clear_commits(struct store *s, struct err *e)
{
	require_writer(s);
	int rc = mdb_drop(s->txn, s->db[DB_COMMITS], 0);
	return rc == 0 ? 0 : write_failed(s, e, rc, "delete");
}

int store_gc_step(struct store *s, size_t max, bool *more, struct err *e)
{
	static const int dbs[] = {DB_BLOCKS, DB_CHUNKS, DB_SNAPSHOTS};
	require_writer(s);
	*more = false;
	while (max > 0) {
		MDB_cursor *c;
		MDB_val k, v;
		int rc = mdb_cursor_open(s->txn, s->db[DB_DROPPED], &c);
		if (rc != 0)
			return write_failed(s, e, rc, "cursor");
		rc = mdb_cursor_get(c, &k, &v, MDB_FIRST);
		unsigned char id_key[8];
		bool known = rc == 0 && k.mv_size == sizeof id_key;
		if (known)
			memcpy(id_key, k.mv_data, sizeof id_key);
		mdb_cursor_close(c);
		if (rc == MDB_NOTFOUND || (rc == 0 && !known)) /* a damaged key is left alone */
			return 0;
		if (rc != 0)
			return write_failed(s, e, rc, "dropped");
		bool left_over = false;
		for (size_t i = 0; i < ARRAY_LEN(dbs) && !left_over; i++)
			if (delete_range(s, dbs[i], id_key, sizeof id_key, key_is_of, get_be64(id_key), &max, &left_over, e) != 0)
				return -1;
		*more = true;
		if (left_over)
			return 0;
		if (del(s, DB_DROPPED, id_key, sizeof id_key, e) != 0)
			return -1;
		if (max > 0)
			max--;
	}
	return 0;
}

/*
 * A block: u32 count, u32 flags, u64 bytes open before it (Σ text since the last chunk end, before its
 * first entry), then per entry { u64 tx, u64 op, u32 end of its text }, then the text. Native byte order:
 * the store doesn't move between machines. Entries are 20 bytes and unaligned; read with memcpy.
 */
#define BLOCK_HEADER_BYTES 16
#define BLOCK_ENTRY_BYTES 20
#define BLOCK_CHUNK_END 1u

static int open_bytes_at_end(const MDB_val *v, uint64_t *out, struct err *e);

/* Deletes blocks and chunk ends of the shape that end at or above `from`. */
static int cut_from(struct store *s, uint64_t id, struct log_offset from, struct err *e)
{
	static const int dbs[] = {DB_BLOCKS, DB_CHUNKS};
	unsigned char key[LOG_KEY_BYTES];
	log_key(key, id, from);
	for (size_t i = 0; i < ARRAY_LEN(dbs); i++) {
		size_t all = SIZE_MAX;
		bool more;
		if (delete_range(s, dbs[i], key, sizeof key, key_is_of, id, &all, &more, e) != 0)
			return -1;
	}
	return 0;
}

int store_put_block(struct store *s, uint64_t id, const struct store_entry *entries, size_t n, bool chunk_end, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL && n > 0 && n <= UINT32_MAX);
	size_t text = 0;
	for (size_t i = 0; i < n; i++) {
		REQUIRE(i == 0 || log_offset_cmp(entries[i - 1].at, entries[i].at) < 0);
		text += (size_t)entries[i].a_len + entries[i].b_len + entries[i].c_len;
	}
	REQUIRE(text <= UINT32_MAX);
	if (s->uncertain && cut_from(s, id, entries[0].at, e) != 0)
		return -1;
	/* How full the open chunk is before this block: what the block before it ends with. */
	MDB_cursor *c;
	MDB_val k, v;
	unsigned char key[LOG_KEY_BYTES];
	int rc = mdb_cursor_open(s->txn, s->db[DB_BLOCKS], &c);
	if (rc != 0)
		return write_failed(s, e, rc, "cursor");
	k = log_key(key, id, (struct log_offset){UINT64_MAX, UINT64_MAX});
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	rc = rc == 0 ? mdb_cursor_get(c, &k, &v, MDB_PREV) : rc == MDB_NOTFOUND ? mdb_cursor_get(c, &k, &v, MDB_LAST) : rc;
	uint64_t open_bytes = 0;
	bool bad = false;
	if (rc == 0 && log_key_is_of(&k, id)) {
		REQUIRE(log_offset_cmp(log_key_offset(&k), entries[0].at) < 0);
		bad = open_bytes_at_end(&v, &open_bytes, e) != 0;
	}
	mdb_cursor_close(c);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return write_failed(s, e, rc, "blocks");
	if (bad)
		return give_up(s);

	k = log_key(key, id, entries[n - 1].at);
	size_t len = BLOCK_HEADER_BYTES + n * BLOCK_ENTRY_BYTES + text;
	v = (MDB_val){len, NULL};
	rc = mdb_put(s->txn, s->db[DB_BLOCKS], &k, &v, MDB_RESERVE);
	if (rc != 0)
		return write_failed(s, e, rc, "blocks");
	unsigned char *p = v.mv_data;
	uint32_t count = (uint32_t)n, flags = chunk_end ? BLOCK_CHUNK_END : 0, end = 0;
	memcpy(p, &count, 4);
	memcpy(p + 4, &flags, 4);
	memcpy(p + 8, &open_bytes, 8);
	p += BLOCK_HEADER_BYTES;
	unsigned char *t = p + n * BLOCK_ENTRY_BYTES;
	for (size_t i = 0; i < n; i++, p += BLOCK_ENTRY_BYTES) {
		memcpy(t + end, entries[i].a, entries[i].a_len);
		end += entries[i].a_len;
		if (entries[i].b_len > 0)
			memcpy(t + end, entries[i].b, entries[i].b_len);
		end += entries[i].b_len;
		if (entries[i].c_len > 0)
			memcpy(t + end, entries[i].c, entries[i].c_len);
		end += entries[i].c_len;
		memcpy(p, &entries[i].at.tx, 8);
		memcpy(p + 8, &entries[i].at.op, 8);
		memcpy(p + 16, &end, 4);
	}
	s->txn_bytes += len;
	s->txn_puts++;
	return chunk_end ? put(s, DB_CHUNKS, key, sizeof key, "", 0, 0, e) : 0;
}

static int insert_into_last(const MDB_val *v, uint32_t split, const char *text, uint32_t len, bool chunk_end, char **out,
                            size_t *out_len, struct err *e);

int store_insert_last(struct store *s, uint64_t id, struct log_offset at, uint32_t split, const char *text, uint32_t len,
                      bool chunk_end, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	unsigned char key[LOG_KEY_BYTES];
	MDB_val k = log_key(key, id, at), v;
	int rc = mdb_get(s->txn, s->db[DB_BLOCKS], &k, &v);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return write_failed(s, e, rc, "blocks");
	if (rc != 0) {
		(void)err_set(e, ERR_IO, "store: the log entry to complete is not there");
		return give_up(s);
	}
	char *block = NULL;
	size_t n = 0;
	if (insert_into_last(&v, split, text, len, chunk_end, &block, &n, e) != 0)
		return give_up(s);
	rc = put(s, DB_BLOCKS, key, sizeof key, block, n, 0, e);
	free(block);
	if (rc != 0)
		return -1;
	return chunk_end ? put(s, DB_CHUNKS, key, sizeof key, "", 0, 0, e) : 0;
}

int store_cut_log(struct store *s, uint64_t id, lsn_t tx, struct err *e)
{
	require_writer(s);
	return cut_from(s, id, (struct log_offset){tx, 0}, e);
}

int store_put_snapshot(struct store *s, uint64_t id, uint32_t chunk, uint32_t piece, const void *p, size_t len, struct err *e)
{
	unsigned char key[16];
	put_be64(key, id);
	put_be32(key + 8, chunk);
	put_be32(key + 12, piece);
	return put(s, DB_SNAPSHOTS, key, sizeof key, p, len, 0, e);
}

/* ---- reading ---- */

struct store_read *store_read_begin(struct store *s, struct err *e)
{
	pthread_mutex_lock(&s->lock);
	/* Reads are short, so a slot comes free at once; the table must not be overrun. */
	while (s->free_readers == NULL && s->nreaders >= STORE_READERS_MAX)
		pthread_cond_wait(&s->reader_free, &s->lock);
	struct store_read *r = s->free_readers;
	if (r != NULL) {
		s->free_readers = r->next_free;
	} else {
		r = mem_zalloc(sizeof *r);
		r->store = s;
		r->next_all = s->all_readers;
		s->all_readers = r;
		s->nreaders++;
	}
	pthread_mutex_unlock(&s->lock);
	pthread_rwlock_rdlock(&s->gate);
	int rc = s->env == NULL ? EIO : r->txn != NULL ? mdb_txn_renew(r->txn) : mdb_txn_begin(s->env, NULL, MDB_RDONLY, &r->txn);
	if (rc == 0)
		return r;
	if (r->txn != NULL && s->env != NULL)
		mdb_txn_abort(r->txn);
	r->txn = NULL;
	lmdb_error(e, rc, "read");
	store_read_end(r);
	return NULL;
}

void store_read_end(struct store_read *r)
{
	struct store *s = r->store;
	if (r->txn != NULL)
		mdb_txn_reset(r->txn);
	pthread_rwlock_unlock(&s->gate);
	pthread_mutex_lock(&s->lock);
	r->next_free = s->free_readers;
	s->free_readers = r;
	pthread_cond_signal(&s->reader_free);
	pthread_mutex_unlock(&s->lock);
}

static int get(struct store_read *r, int db, const void *key, size_t key_len, MDB_val *v, struct err *e)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key};
	int rc = mdb_get(r->txn, r->store->db[db], &k, v);
	if (rc == MDB_NOTFOUND)
		return 1;
	return rc == 0 ? 0 : lmdb_error(e, rc, db_names[db]);
}

static int copied(struct buf *out, const void *p, size_t len, struct err *e)
{
	buf_put(out, p, len);
	return out->failed ? err_set(e, ERR_LIMIT, "store: a value of %zu bytes does not fit the reader's buffer", len) : 0;
}

int store_get_meta(struct store_read *r, const char *name, struct buf *out, struct err *e)
{
	MDB_val v;
	int rc = get(r, DB_META, name, strlen(name), &v, e);
	return rc != 0 ? rc : copied(out, v.mv_data, v.mv_size, e);
}

int store_get_meta_u64(struct store_read *r, const char *name, uint64_t *out, struct err *e)
{
	MDB_val v;
	int rc = get(r, DB_META, name, strlen(name), &v, e);
	if (rc != 0)
		return rc;
	if (v.mv_size != sizeof *out)
		return err_set(e, ERR_IO, "store: meta value %s has %zu bytes, not 8", name, v.mv_size);
	memcpy(out, v.mv_data, sizeof *out);
	return 0;
}

static int each_of(struct store_read *r, int db, int (*each)(void *ctx, uint64_t id, const void *p, size_t len, struct err *e),
                   void *ctx, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_cursor_open(r->txn, r->store->db[db], &c);
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	int stopped = 0;
	for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		uint64_t id = k.mv_size == 8 ? get_be64(k.mv_data) : k.mv_size == 4 ? get_be32(k.mv_data) : UINT64_MAX;
		if ((stopped = each(ctx, id, v.mv_data, v.mv_size, e)) != 0)
			break;
	}
	mdb_cursor_close(c);
	if (stopped != 0)
		return -1;
	return rc == MDB_NOTFOUND ? 0 : lmdb_error(e, rc, db_names[db]);
}

int store_each_shape(struct store_read *r, int (*each)(void *, uint64_t, const void *, size_t, struct err *), void *ctx, struct err *e)
{
	return each_of(r, DB_SHAPES, each, ctx, e);
}

int store_each_table(struct store_read *r, int (*each)(void *, uint64_t, const void *, size_t, struct err *), void *ctx, struct err *e)
{
	return each_of(r, DB_TABLES, each, ctx, e);
}

int store_each_journal(struct store_read *r, int (*each)(void *, uint64_t, const void *, size_t, struct err *), void *ctx,
                       struct err *e)
{
	return each_of(r, DB_JOURNAL, each, ctx, e);
}

int store_each_commits(struct store_read *r, int (*each)(void *, uint64_t, const void *, size_t, struct err *), void *ctx,
                       struct err *e)
{
	return each_of(r, DB_COMMITS, each, ctx, e);
}

struct block {
	uint32_t count, flags;
	uint64_t open_bytes;
	const unsigned char *entries, *text;
	size_t text_len;
};

/* A block's parts; every length is checked, so that a damaged file is an error and not a crash. */
static int block_parse(const MDB_val *v, struct block *b, struct err *e)
{
	const unsigned char *p = v->mv_data;
	if (v->mv_size < BLOCK_HEADER_BYTES)
		goto damaged;
	memcpy(&b->count, p, 4);
	memcpy(&b->flags, p + 4, 4);
	memcpy(&b->open_bytes, p + 8, 8);
	if (b->count == 0 || (v->mv_size - BLOCK_HEADER_BYTES) / BLOCK_ENTRY_BYTES < b->count)
		goto damaged;
	b->entries = p + BLOCK_HEADER_BYTES;
	b->text = b->entries + (size_t)b->count * BLOCK_ENTRY_BYTES;
	b->text_len = v->mv_size - BLOCK_HEADER_BYTES - (size_t)b->count * BLOCK_ENTRY_BYTES;
	return 0;
damaged:
	return err_set(e, ERR_IO, "store: a damaged log block (%zu bytes)", v->mv_size);
}

static int open_bytes_at_end(const MDB_val *v, uint64_t *out, struct err *e)
{
	struct block b = {0};
	if (block_parse(v, &b, e) != 0)
		return -1;
	*out = b.flags & BLOCK_CHUNK_END ? 0 : b.open_bytes + b.text_len;
	return 0;
}

static struct log_offset block_entry(const struct block *b, uint32_t i, uint32_t *end)
{
	struct log_offset at;
	const unsigned char *p = b->entries + (size_t)i * BLOCK_ENTRY_BYTES;
	memcpy(&at.tx, p, 8);
	memcpy(&at.op, p + 8, 8);
	memcpy(end, p + 16, 4);
	return at;
}

/* A block's bytes (the caller frees them) with `text` inserted into its last entry, if it isn't there. */
static int insert_into_last(const MDB_val *v, uint32_t split, const char *text, uint32_t len, bool chunk_end, char **out,
                            size_t *out_len, struct err *e)
{
	struct block b = {0};
	if (block_parse(v, &b, e) != 0)
		return -1;
	uint32_t start = 0, end, flags = b.flags | (chunk_end ? BLOCK_CHUNK_END : 0);
	if (b.count > 1)
		block_entry(&b, b.count - 2, &start);
	block_entry(&b, b.count - 1, &end);
	if (start > end || end != b.text_len || split > end - start || end > UINT32_MAX - len)
		return err_set(e, ERR_IO, "store: a damaged log block");
	bool there = end - start - split >= len && memcmp(b.text + start + split, text, len) == 0;
	size_t n = there ? 0 : len, before = v->mv_size - b.text_len + start + split;
	char *p = mem_alloc(v->mv_size + n);
	memcpy(p, v->mv_data, before);
	memcpy(p + before, text, n);
	memcpy(p + before + n, (const char *)v->mv_data + before, v->mv_size - before);
	end += (uint32_t)n;
	memcpy(p + 4, &flags, 4);
	memcpy(p + BLOCK_HEADER_BYTES + (size_t)(b.count - 1) * BLOCK_ENTRY_BYTES + 16, &end, 4);
	*out = p;
	*out_len = v->mv_size + n;
	return 0;
}

/* The index of the first entry above `after`. */
static uint32_t block_first_above(const struct block *b, struct log_offset after)
{
	uint32_t lo = 0, hi = b->count, end;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		if (log_offset_cmp(block_entry(b, mid, &end), after) > 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* Copies the entries of one block in (after, upto]; *full: stopped for `max`; *past: met one above upto. */
static int block_copy(const struct block *b, struct log_offset after, struct log_offset upto, size_t max, struct buf *out,
                      struct log_offset *reached, bool *full, bool *past, struct err *e)
{
	uint32_t i = block_first_above(b, after), start = 0, end = 0;
	if (i > 0)
		block_entry(b, i - 1, &start);
	for (; i < b->count; i++, start = end) {
		struct log_offset at = block_entry(b, i, &end);
		if (end < start || end > b->text_len)
			return err_set(e, ERR_IO, "store: a damaged log block");
		if (log_offset_cmp(at, upto) > 0) {
			*past = true;
			return 0;
		}
		if (out->len >= max) {
			*full = true;
			return 0;
		}
		buf_put(out, b->text + start, end - start);
		buf_putc(out, '\n');
		if (out->failed)
			return err_set(e, ERR_LIMIT, "store: a log entry of %u bytes does not fit the reader's buffer", end - start);
		*reached = at;
	}
	return 0;
}

int store_read_log(struct store_read *r, uint64_t id, struct log_offset after, struct log_offset upto, size_t max, struct buf *out,
                   struct log_offset *reached, bool *end, struct err *e)
{
	MDB_cursor *c;
	unsigned char key[LOG_KEY_BYTES];
	struct log_offset above = {after.tx, after.op == UINT64_MAX ? UINT64_MAX : after.op + 1};
	MDB_val k = log_key(key, id, above), v;
	*reached = after;
	*end = false;
	int rc = mdb_cursor_open(r->txn, r->store->db[DB_BLOCKS], &c);
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	bool full = false, past = false;
	int failed = 0;
	for (rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); rc == 0 && log_key_is_of(&k, id); rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		struct block b;
		failed = block_parse(&v, &b, e) != 0 || block_copy(&b, after, upto, max, out, reached, &full, &past, e) != 0;
		if (failed || full || past)
			break;
	}
	mdb_cursor_close(c);
	if (failed)
		return -1;
	*end = !full;
	return rc == 0 || rc == MDB_NOTFOUND ? 0 : lmdb_error(e, rc, "blocks");
}

int store_chunk_end(struct store_read *r, uint64_t id, struct log_offset after, struct log_offset *out, struct err *e)
{
	MDB_cursor *c;
	unsigned char key[LOG_KEY_BYTES];
	struct log_offset above = {after.tx, after.op == UINT64_MAX ? UINT64_MAX : after.op + 1};
	MDB_val k = log_key(key, id, above), v;
	int rc = mdb_cursor_open(r->txn, r->store->db[DB_CHUNKS], &c);
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	bool found = rc == 0 && log_key_is_of(&k, id);
	/* The op "inf" is above every entry of its transaction: SET_RANGE on it can only hit itself. */
	if (found)
		*out = log_key_offset(&k);
	mdb_cursor_close(c);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return lmdb_error(e, rc, "chunks");
	return found ? 0 : 1;
}

/* The last entry of `db` that belongs to the shape: 0, 1, -1. */
static int last_of(struct store_read *r, int db, uint64_t id, MDB_val *k, MDB_val *v, struct err *e)
{
	MDB_cursor *c;
	unsigned char key[LOG_KEY_BYTES];
	*k = log_key(key, id, (struct log_offset){UINT64_MAX, UINT64_MAX});
	int rc = mdb_cursor_open(r->txn, r->store->db[db], &c);
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
	rc = mdb_cursor_get(c, k, v, rc == 0 ? MDB_PREV : MDB_LAST);
	mdb_cursor_close(c);
	if (rc == 0 && log_key_is_of(k, id))
		return 0;
	return rc == 0 || rc == MDB_NOTFOUND ? 1 : lmdb_error(e, rc, db_names[db]);
}

int store_last_chunk_end(struct store_read *r, uint64_t id, struct log_offset *out, struct err *e)
{
	MDB_val k, v;
	int rc = last_of(r, DB_CHUNKS, id, &k, &v, e);
	if (rc == 0)
		*out = log_key_offset(&k);
	return rc;
}

int store_log_tail(struct store_read *r, uint64_t id, struct log_offset *last, uint64_t *open_bytes, struct err *e)
{
	MDB_val k, v;
	int rc = last_of(r, DB_BLOCKS, id, &k, &v, e);
	if (rc != 0)
		return rc;
	*last = log_key_offset(&k);
	return open_bytes_at_end(&v, open_bytes, e);
}

int store_take_snapshot(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece,
                        int (*take)(void *ctx, const void *p, size_t len, struct err *e), void *ctx, struct err *e)
{
	unsigned char key[16];
	MDB_val v;
	put_be64(key, id);
	put_be32(key + 8, chunk);
	put_be32(key + 12, piece);
	int rc = get(r, DB_SNAPSHOTS, key, sizeof key, &v, e);
	return rc != 0 ? rc : take(ctx, v.mv_data, v.mv_size, e);
}

static int append(void *ctx, const void *p, size_t len, struct err *e) { return copied(ctx, p, len, e); }

int store_read_snapshot(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece, struct buf *out, struct err *e)
{
	return store_take_snapshot(r, id, chunk, piece, append, out, e);
}

uint64_t store_file_bytes(struct store *s)
{
	char file[STORE_PATH_MAX + 16];
	struct stat st;
	snprintf(file, sizeof file, "%s/data.mdb", s->path);
	return stat(file, &st) == 0 ? (uint64_t)st.st_size : 0;
}
