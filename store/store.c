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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/check.h"
#include "store/disk.h"
#include "store/format.h"
#include "store/seal.h"

#define STORE_READERS_MAX 126 /* LMDB's own default for its reader table; readers beyond it wait for a slot */
/* Reading ahead: values from this size on, and so many bytes of them at a time. */
#define AHEAD_VALUE_BYTES (16u << 10)
#define AHEAD_BYTES (16u << 20)
#define AHEAD_CALL_BYTES (128u << 10) /* of one call the kernel may take no more: a device's read_ahead_kb */
#define AHEAD_AGAIN_MS 1000   /* what was asked for may have gone again */
#define AHEAD_LOOK_PAGES 64   /* whether a value is in the page cache: so much of it is looked at */
#define AHEAD_SMALL_VALUES 64 /* in a row: beyond, what follows lies in pages that looking reads one by one */
#define AHEAD_EACH_PIECES 8   /* of a snapshot's pieces, each so many-th is looked at */

static_assert(sizeof(size_t) == 8, "the map is reserved in terabytes");

/* Address space to reserve, the first that the process may have: the file only grows as it is used. */
static const size_t map_sizes[] = {(size_t)1 << 40, (size_t)256 << 30, (size_t)64 << 30, (size_t)16 << 30, (size_t)4 << 30,
                                   (size_t)1 << 30};

#define AHEAD_KEY_BYTES 24

/* The keys whose values were requested last, by the reader that has this. */
struct ahead {
	int db;
	unsigned char first[AHEAD_KEY_BYTES], last[AHEAD_KEY_BYTES];
	int64_t asked_ms;
};

struct store_read {
	struct store *store;
	MDB_txn *txn;
	int (*on_damage)(void *ctx, uint64_t id, const void *p, size_t len, struct err *e);
	struct ahead ahead;
	struct store_read *next_free, *next_all;
};

struct store {
	char path[STORE_PATH_MAX]; /* the environment's directory */
	bool temporary, born; /* born: the data file was there or has been made */
	bool damaged;         /* it can't be opened again as it is */
	int lock_fd;
	MDB_env *env;
	MDB_dbi db[DB_COUNT];
	const unsigned char *map; /* where LMDB has the file */
	size_t map_bytes, page_bytes;
	uint64_t unchecked_below; /* shapes with smaller ids may have values without a seal: of an older format */

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
		return err_set(e, ERR_FULL, "store: %s: the reserved map is full: remove ELECTRIC_STORAGE_DIR's folder while Busbar is stopped (clients refetch), or "
		               "raise the limit of address space (ulimit -v) if the log says at start how far the store can grow", what);
	if (rc == ENOSPC || rc == EDQUOT)
		return err_set(e, ERR_FULL, "store: %s: no space left on the device; free space under ELECTRIC_STORAGE_DIR", what);
	return err_set(e, ERR_IO, "store: %s: %s", what, mdb_strerror(rc));
}

static const char *key_text(int db, const MDB_val *k, char text[96])
{
	if (db == DB_META)
		snprintf(text, 96, "meta value %.*s", (int)(k->mv_size < 40 ? k->mv_size : 40), (const char *)k->mv_data);
	else if (k->mv_size == 4)
		snprintf(text, 96, "%s entry of table %u", seal_dbs[db].name, get_be32(k->mv_data));
	else
		snprintf(text, 96, "%s entry of %s %llu", seal_dbs[db].name, db == DB_JOURNAL ? "batch" : "shape",
		         (unsigned long long)(k->mv_size >= 8 ? get_be64(k->mv_data) : 0));
	return text;
}

static int damaged(int db, const MDB_val *k, struct err *e)
{
	char text[96];
	(void)err_set(e, ERR_DAMAGED, "store: the %s is damaged", key_text(db, k, text));
	return -1; /* said here, so that the compiler knows too: whoever gets 0 has what was asked for */
}

/* What stands before the seal of a value; ERR_DAMAGED. */
static int unseal(int db, const MDB_val *k, MDB_val *v, struct err *e)
{
	size_t len = v->mv_size;
	if (!seal_holds(db, k->mv_data, k->mv_size, v->mv_data, &len))
		return damaged(db, k, e);
	v->mv_size = len;
	return 0;
}

/* Over what was put at v, all but its last bytes. */
static void put_seal(int db, const MDB_val *k, const MDB_val *v)
{
	size_t len = v->mv_size - SEAL_BYTES;
	uint64_t seal = seal_of(db, k->mv_data, k->mv_size, v->mv_data, len);
	memcpy((char *)v->mv_data + len, &seal, SEAL_BYTES);
}

/* Records and batches of older formats have no seal. Their first byte is 1, and that of newer ones never a bit away
 * from it. */
#define UNSEALED_VERSION 1

static bool may_lack_seal(const struct store *s, int db, const MDB_val *v)
{
	return s->unchecked_below > 0 && (db == DB_SHAPES || db == DB_JOURNAL) && v->mv_size > 0 &&
	       *(const unsigned char *)v->mv_data == UNSEALED_VERSION;
}

static int checked(const struct store *s, int db, const MDB_val *k, MDB_val *v, struct err *e)
{
	return may_lack_seal(s, db, v) ? 0 : unseal(db, k, v, e);
}

/* ---- heads: where a shape's log in blocks ends ---- */

#define HEAD_BYTES 40

static const struct store_head no_log = {{0, LOG_OP_INF}, {0, LOG_OP_INF}, 0};

static void head_pack(const struct store_head *h, unsigned char p[HEAD_BYTES])
{
	const uint64_t v[5] = {h->last.tx, h->last.op, h->chunk_end.tx, h->chunk_end.op, h->open_bytes};
	memcpy(p, v, sizeof v);
}

static int head_unpack(const MDB_val *k, MDB_val *v, struct store_head *h, struct err *e)
{
	uint64_t n[5];
	if (unseal(DB_HEADS, k, v, e) != 0)
		return -1;
	if (v->mv_size != HEAD_BYTES)
		return damaged(DB_HEADS, k, e);
	memcpy(n, v->mv_data, sizeof n);
	*h = (struct store_head){{n[0], n[1]}, {n[2], n[3]}, n[4]};
	return 0;
}

/* 0, 1 not there, -1. */
static int head_get(struct store *s, MDB_txn *txn, uint64_t id, struct store_head *h, struct err *e)
{
	unsigned char key[8];
	put_be64(key, id);
	MDB_val k = {sizeof key, key}, v;
	int rc = mdb_get(txn, s->db[DB_HEADS], &k, &v);
	if (rc == MDB_NOTFOUND)
		return 1;
	return rc == 0 ? head_unpack(&k, &v, h, e) : lmdb_error(e, rc, "heads");
}

/* ---- opening ---- */

static int put_raw(struct store *s, MDB_txn *txn, int db, const void *key, size_t key_len, const void *p, size_t len)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {len, (void *)(uintptr_t)p};
	return mdb_put(txn, s->db[db], &k, &v, 0);
}

static int put_sealed(struct store *s, MDB_txn *txn, int db, const void *key, size_t key_len, const void *p, size_t len)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {len + SEAL_BYTES, NULL};
	int rc = mdb_put(txn, s->db[db], &k, &v, MDB_RESERVE);
	if (rc != 0)
		return rc;
	if (len > 0)
		memcpy(v.mv_data, p, len);
	put_seal(db, &k, &v);
	return 0;
}

/* Each commit says in its own tree which it is: a meta page whose number is damaged is known by that. */
static int put_stamp(struct store *s, MDB_txn *txn)
{
	uint64_t n = mdb_txn_id(txn);
	return put_sealed(s, txn, DB_META, "commit", 6, &n, sizeof n);
}

/* The two that say the format are as every version has read them: plain. */
static int put_versions(struct store *s, MDB_txn *txn)
{
	uint64_t version = STORE_FORMAT_VERSION;
	int rc = put_raw(s, txn, DB_META, "format", 6, &version, sizeof version);
	return rc != 0 ? rc : put_raw(s, txn, DB_META, "version", 7, &version, sizeof version);
}

static bool is_plain_meta(const MDB_val *k)
{
	return (k->mv_size == 6 && memcmp(k->mv_data, "format", 6) == 0) || (k->mv_size == 7 && memcmp(k->mv_data, "version", 7) == 0);
}

static int put_first(struct store *s, MDB_txn *txn)
{
	int rc = put_versions(s, txn);
	return rc != 0 ? rc : put_stamp(s, txn);
}

/* Every value of `meta`: one that is damaged costs the whole store. */
static int check_meta(struct store *s, MDB_txn *txn, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_cursor_open(txn, s->db[DB_META], &c), bad = 0;
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0 && bad == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		bad = is_plain_meta(&k) ? 0 : unseal(DB_META, &k, &v, e);
		if (bad == 0 && k.mv_size == 9 && memcmp(k.mv_data, "unchecked", 9) == 0) {
			if (v.mv_size != sizeof s->unchecked_below)
				bad = damaged(DB_META, &k, e);
			else
				memcpy(&s->unchecked_below, v.mv_data, sizeof s->unchecked_below);
		}
	}
	mdb_cursor_close(c);
	return bad != 0 ? -1 : rc == MDB_NOTFOUND ? 0 : lmdb_error(e, rc, "meta");
}

static int upgrade(struct store *s, MDB_txn *txn, struct err *e);

/* 0, or -1 with ERR_DAMAGED if the whole store is. */
static int open_databases(struct store *s, struct err *e)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc != 0)
		return lmdb_error(e, rc, "begin");
	for (int i = 0; i < DB_COUNT; i++)
		if ((rc = mdb_dbi_open(txn, seal_dbs[i].name, MDB_CREATE, &s->db[i])) != 0) {
			mdb_txn_abort(txn);
			return lmdb_error(e, rc, "open database");
		}
	char name[] = "format";
	MDB_val k = {sizeof name - 1, name}, v;
	uint64_t version = 0;
	s->unchecked_below = 0;
	rc = mdb_get(txn, s->db[DB_META], &k, &v);
	if (rc == MDB_NOTFOUND) {
		rc = put_first(s, txn);
	} else if (rc == 0) {
		if (v.mv_size == sizeof version)
			memcpy(&version, v.mv_data, sizeof version);
		if (version < STORE_FORMAT_OLDEST || version > STORE_FORMAT_VERSION) {
			mdb_txn_abort(txn);
			return err_set(e, ERR_DAMAGED, "store: the format version is damaged");
		}
		bool older = version < STORE_FORMAT_SEALED;
		if ((older ? upgrade(s, txn, e) : check_meta(s, txn, e)) != 0) {
			mdb_txn_abort(txn);
			return -1;
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

/* Where LMDB has the file: a small value lies in its leaf, which knows its number. Not in a transaction that has
 * written it. */
static int find_map(struct store *s, MDB_txn *txn, struct err *e)
{
	MDB_stat st;
	char name[] = "format";
	MDB_val k = {sizeof name - 1, name}, v;
	int rc = mdb_env_stat(s->env, &st);
	if (rc != 0 || (rc = mdb_get(txn, s->db[DB_META], &k, &v)) != 0)
		return lmdb_error(e, rc, "format version");
	uint64_t number;
	s->page_bytes = st.ms_psize;
	const unsigned char *page = (const unsigned char *)((uintptr_t)v.mv_data & ~(uintptr_t)(s->page_bytes - 1));
	memcpy(&number, page, sizeof number);
	s->map = page - number * s->page_bytes;
	return 0;
}

static int find_map_of_born(struct store *s, struct err *e)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
	if (rc != 0)
		return lmdb_error(e, rc, "begin");
	rc = find_map(s, txn, e);
	mdb_txn_abort(txn);
	return rc;
}

/* Two meta pages of the smallest size: a file no longer than that holds nothing yet. */
#define STORE_BIRTH_BYTES 8192

static void data_file(const struct store *s, char out[STORE_PATH_MAX + 16]) { snprintf(out, STORE_PATH_MAX + 16, "%s/" STORE_FILE, s->path); }

/*
 * Whether the data file is to be made. What a crash or a full disk left of an earlier birth is removed:
 * LMDB would refuse it for ever. Beyond that size the two meta pages are on the disk, see env_open().
 */
static int prepare_birth(struct store *s, bool *birth, struct err *e)
{
	char file[STORE_PATH_MAX + 16];
	struct stat st;
	data_file(s, file);
	bool there = stat(file, &st) == 0;
	*birth = there ? st.st_size <= STORE_BIRTH_BYTES : errno == ENOENT;
	/* Not under a running engine: its shapes would go on without their beginnings. */
	if (*birth && s->born)
		return err_set(e, ERR_IO, "store: %s is gone; restart Busbar to begin with an empty store", file);
	if (*birth && there && st.st_size > 0)
		log_notice("The data file %s holds nothing: the making of it was interrupted, or it was cut off. It is made anew", file);
	if (*birth && unlink(file) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove the unfinished %s", file);
	return 0;
}

/*
 * A file that can't be trusted as a whole is put aside: Postgres has all that was in it, and clients fetch it again.
 * It is kept for inspection, if the disk has room for another of its size; an earlier one is removed.
 */
static int set_aside(struct store *s, const char *why, struct err *e)
{
	char file[STORE_PATH_MAX + 16], aside[STORE_PATH_MAX + 32];
	struct stat st;
	uint64_t free_bytes;
	data_file(s, file);
	snprintf(aside, sizeof aside, "%s/" STORE_FILE ".damaged", s->path);
	if (unlink(aside) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove %s", aside);
	bool keep = stat(file, &st) == 0 && disk_free_bytes(s->path, &free_bytes) && (uint64_t)st.st_blocks * 512 < free_bytes;
	if ((keep ? rename(file, aside) : unlink(file)) != 0)
		return err_errno(e, errno, "cannot put the damaged %s aside", file);
	log_error("The store %s is damaged (%s): all shapes are dropped, clients refetch. The file is %s%s", file, why,
	          keep ? "kept as " : "removed, as the disk has no room for two", keep ? aside : "");
	return 0;
}

/* Before LMDB follows what the file says. 1: it was put aside, and is to be made. */
static int check_pages(struct store *s, struct err *e)
{
	char file[STORE_PATH_MAX + 16];
	struct err why = {0};
	data_file(s, file);
	switch (check_file(file, STORE_FORMAT_VERSION, STORE_FORMAT_SEALED, &why)) {
	case CHECK_SOUND:
		return 0;
	case CHECK_NEWER:
		return err_set(e, ERR_CONFIG, "the store in %s has format version %s, this Busbar reads version %u: run the Busbar that wrote "
		               "it, or remove the directory (clients will refetch)", s->path, why.text, STORE_FORMAT_VERSION);
	case CHECK_DAMAGED:
		s->damaged = s->born;
		/* Under a running engine nothing can be taken away. */
		return s->born ? err_set(e, ERR_DAMAGED, "store: %s is damaged (%s)", file, why.text)
		               : set_aside(s, why.text, e) != 0 ? -1 : 1;
	default:
		*e = why;
		return -1;
	}
}

/* What the map may take: half of what the process may have, so that threads and memory find room. */
static size_t address_space(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return SIZE_MAX;
	return (size_t)limit.rlim_cur / 2;
}

/* Whether the file is to be made, or can be opened as it is. */
static int look_at_file(struct store *s, bool *birth, struct err *e)
{
	if (prepare_birth(s, birth, e) != 0)
		return -1;
	if (*birth || s->temporary)
		return 0;
	int rc = check_pages(s, e);
	*birth = rc == 1;
	return rc < 0 ? -1 : 0;
}

static int env_open(struct store *s, bool birth, struct err *e)
{
	int rc = ENOMEM;
	/* LMDB's lock file knows processes by id, which two containers may share; our own file lock has
	 * already said that nobody else is here, so what is left in it is of the dead. */
	char file[STORE_PATH_MAX + 16];
	snprintf(file, sizeof file, "%s/lock.mdb", s->path);
	if (unlink(file) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove the stale %s", file);
	unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (s->temporary ? MDB_NOSYNC : 0u);
	size_t allowed = address_space();
	for (size_t i = 0; i < ARRAY_LEN(map_sizes) && (rc == ENOMEM || rc == EINVAL); i++) {
		if (map_sizes[i] > allowed)
			continue;
		if ((rc = mdb_env_create(&s->env)) != 0)
			break;
		s->map_bytes = map_sizes[i];
		if ((rc = mdb_env_set_mapsize(s->env, map_sizes[i])) == 0 && (rc = mdb_env_set_maxdbs(s->env, DB_COUNT)) == 0 &&
		    (rc = mdb_env_set_maxreaders(s->env, STORE_READERS_MAX)) == 0)
			rc = mdb_env_open(s->env, s->path, flags, 0666);
		if (rc == 0) {
			if (i > 0 && !s->born)
				log_warning("The store can't grow beyond %zu GiB, for the process may not have more address space (ulimit -v)",
				            map_sizes[i] >> 30);
			break;
		}
		mdb_env_close(s->env);
		s->env = NULL;
	}
	if (rc == ENOMEM)
		return err_set(e, ERR_CONFIG, "store: no address space for the map of %s, which is at least 1 GiB: raise the limit "
		               "(ulimit -v, LimitAS= of systemd) to 2 GiB at least, better unlimited", s->path);
	if (rc != 0)
		return lmdb_error(e, rc, s->path);
	/* The meta pages come before anything else, so that a longer file always has them. */
	if (birth && !s->temporary && (rc = mdb_env_sync(s->env, 1)) != 0) {
		mdb_env_close(s->env);
		s->env = NULL;
		return lmdb_error(e, rc, s->path);
	}
	if (open_databases(s, e) != 0 || find_map_of_born(s, e) != 0) {
		mdb_env_close(s->env);
		s->env = NULL;
		if (e->kind != ERR_DAMAGED || birth)
			return -1;
		s->damaged = s->born;
		/* Once more, with a new file. */
		struct err why = *e;
		return s->born || set_aside(s, why.text, e) != 0 ? -1 : env_open(s, true, e);
	}
	if (birth && !s->temporary)
		disk_sync_directory(s->path);
	s->born = true;
	s->broken = false;
	return 0;
}

static int choose_path(struct store *s, const char *dir, enum store_disk on, struct err *e)
{
	if (s->temporary) {
		const char *tmp = getenv("TMPDIR");
		snprintf(s->path, sizeof s->path, "%s/busbar-XXXXXX", tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
		if (mkdtemp(s->path) == NULL)
			return err_errno(e, errno, "cannot create a temporary store %s (set TMPDIR to a directory that can be written)", s->path);
		return 0;
	}
	if ((size_t)snprintf(s->path, sizeof s->path, "%s/busbar", dir) >= sizeof s->path)
		return err_set(e, ERR_CONFIG, "ELECTRIC_STORAGE_DIR is too long");
	if (disk_make_dirs(s->path, e) != 0)
		return -1;
	if (on != STORE_EPHEMERAL && disk_is_network(s->path))
		return err_set(e, ERR_CONFIG, "the storage directory %s is on a network filesystem, where the store's memory map is not safe; "
		               "set ELECTRIC_STORAGE_DIR to a local disk, or BUSBAR_STORAGE=ephemeral if it need not outlive this process", dir);
	return 0;
}

int store_open(struct store **out, const char *dir, enum store_disk on, struct err *e)
{
	struct store *s = mem_zalloc(sizeof *s);
	s->temporary = on == STORE_TEMPORARY;
	s->lock_fd = -1;
	/* Reads that overlap without end must not keep a reopening away; they are never nested. */
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->gate, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&s->lock, NULL);
	lock_rank(&s->gate, LOCK_STORE_GATE);
	lock_rank(&s->lock, LOCK_STORE);
	pthread_cond_init(&s->reader_free, NULL);
	bool birth;
	if (choose_path(s, dir, on, e) != 0 || disk_lock(s->path, dir, &s->lock_fd, e) != 0 || disk_remove_copy(s->path, e) != 0 ||
	    look_at_file(s, &birth, e) != 0 || env_open(s, birth, e) != 0) {
		store_close(s);
		return -1;
	}
	*out = s;
	return 0;
}

bool store_deleted(struct store *s)
{
	struct stat st;
	int fd;
	pthread_rwlock_rdlock(&s->gate);
	bool gone = s->env != NULL && mdb_env_get_fd(s->env, &fd) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0;
	pthread_rwlock_unlock(&s->gate);
	return gone && !s->temporary;
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
	static const char *const files[] = {STORE_FILE, "lock.mdb", "lock"};
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

bool store_is_damaged(const struct store *s) { return s->damaged; }

int store_reopen(struct store *s, struct err *e)
{
	store_abort(s);
	/* It takes a while to look at each page. Nobody but us writes, so that readers may go on meanwhile. */
	bool birth;
	int rc = look_at_file(s, &birth, e);
	pthread_rwlock_wrlock(&s->gate);
	env_close(s);
	if (rc == 0)
		rc = env_open(s, birth, e);
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

/* The transaction can't be used any more: the error says why. */
static int give_up(struct store *s)
{
	store_abort(s);
	s->broken = true;
	return -1;
}

/* Anything but damage, which is of one shape, ends the transaction. */
static int unless_damaged(struct store *s, const struct err *e) { return e->kind == ERR_DAMAGED ? -1 : give_up(s); }

static int write_failed(struct store *s, struct err *e, int rc, const char *what)
{
	if (rc == EIO && disk_is_full(s->path))
		rc = ENOSPC;
	(void)lmdb_error(e, rc, what);
	return give_up(s);
}

int store_commit(struct store *s, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	int rc = s->txn_puts > 0 ? put_stamp(s, s->txn) : 0;
	if (rc != 0)
		return write_failed(s, e, rc, "commit");
	rc = mdb_txn_commit(s->txn);
	s->txn = NULL;
	s->uncertain = s->uncertain || rc != 0;
	return rc == 0 ? 0 : write_failed(s, e, rc, "commit");
}

bool store_txn_is_large(const struct store *s)
{
	return s->txn_bytes >= STORE_TXN_BYTES_MAX || s->txn_puts >= STORE_TXN_PUTS_MAX;
}

bool store_in_txn(const struct store *s) { return s->txn != NULL; }

/*
 * The head of a large value's first page is LMDB's: it frees as many pages as it says, whatever they hold by then. All
 * of it follows from where and how long the value is, so that before a value goes a damaged head is put right.
 */
static int mend_head(struct store *s, const MDB_val *v, struct err *e)
{
	const size_t head = 16;
	const unsigned char *p = v->mv_data;
	if (p < s->map || p >= s->map + s->map_bytes || ((uintptr_t)p & (s->page_bytes - 1)) != head)
		return 0; /* in a leaf, or not written yet */
	uint64_t number = (uint64_t)(p - s->map) / s->page_bytes, is;
	uint16_t flags = 4, is_flags;
	uint32_t pages = (uint32_t)((head - 1 + v->mv_size) / s->page_bytes + 1), is_pages;
	memcpy(&is, p - head, 8);
	memcpy(&is_flags, p - head + 10, 2);
	memcpy(&is_pages, p - head + 12, 4);
	if (is == number && is_flags == flags && is_pages == pages)
		return 0;
	unsigned char right[16] = {0};
	memcpy(right, &number, 8);
	memcpy(right + 10, &flags, 2);
	memcpy(right + 12, &pages, 4);
	int fd;
	log_warning("store: the head of page %llu was damaged and is put right", (unsigned long long)number);
	if (mdb_env_get_fd(s->env, &fd) != 0 || pwrite(fd, right, sizeof right, (off_t)(number * s->page_bytes)) != (ssize_t)sizeof right)
		return write_failed(s, e, EIO, "a damaged page");
	return 0;
}

/* Of a value that is about to be replaced or deleted. */
static int mend_value(struct store *s, int db, const void *key, size_t key_len, struct err *e)
{
	MDB_val k = {key_len, (void *)(uintptr_t)key}, v;
	int rc = mdb_get(s->txn, s->db[db], &k, &v);
	if (rc == MDB_NOTFOUND)
		return 0;
	return rc == 0 ? mend_head(s, &v, e) : write_failed(s, e, rc, seal_dbs[db].name);
}

static int put(struct store *s, int db, const void *key, size_t key_len, const void *p, size_t len, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	bool replaces = db == DB_SHAPES || db == DB_TABLES || db == DB_JOURNAL || db == DB_COMMITS || s->uncertain;
	if (replaces && mend_value(s, db, key, key_len, e) != 0)
		return -1;
	int rc = put_sealed(s, s->txn, db, key, key_len, p, len);
	if (rc != 0)
		return write_failed(s, e, rc, seal_dbs[db].name);
	s->txn_bytes += len + key_len;
	s->txn_puts++;
	return 0;
}

static int del(struct store *s, int db, const void *key, size_t key_len, struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	if (mend_value(s, db, key, key_len, e) != 0)
		return -1;
	MDB_val k = {key_len, (void *)(uintptr_t)key};
	int rc = mdb_del(s->txn, s->db[db], &k, NULL);
	s->txn_puts++;
	return rc == 0 || rc == MDB_NOTFOUND ? 0 : write_failed(s, e, rc, seal_dbs[db].name);
}

static int put_head(struct store *s, uint64_t id, const struct store_head *h, struct err *e)
{
	unsigned char key[8], p[HEAD_BYTES];
	put_be64(key, id);
	head_pack(h, p);
	return put(s, DB_HEADS, key, sizeof key, p, sizeof p, e);
}

int store_put_meta(struct store *s, const char *name, const void *p, size_t len, struct err *e)
{
	return put(s, DB_META, name, strlen(name), p, len, e);
}

int store_put_meta_u64(struct store *s, const char *name, uint64_t v, struct err *e)
{
	return store_put_meta(s, name, &v, sizeof v, e);
}

int store_put_shape(struct store *s, uint64_t id, const void *p, size_t len, struct err *e)
{
	unsigned char key[8];
	put_be64(key, id);
	/* From now on its log can't be missing unseen. */
	struct store_head h;
	int rc = head_get(s, s->txn, id, &h, e);
	if (rc < 0)
		return unless_damaged(s, e);
	if (rc == 1 && put_head(s, id, &no_log, e) != 0)
		return -1;
	return put(s, DB_SHAPES, key, sizeof key, p, len, e);
}

int store_drop_shape(struct store *s, uint64_t id, struct err *e)
{
	unsigned char key[8];
	put_be64(key, id);
	if (del(s, DB_SHAPES, key, sizeof key, e) != 0)
		return -1;
	return put(s, DB_DROPPED, key, sizeof key, "", 0, e);
}

int store_put_table(struct store *s, uint32_t oid, const void *p, size_t len, struct err *e)
{
	unsigned char key[4];
	put_be32(key, oid);
	return put(s, DB_TABLES, key, sizeof key, p, len, e);
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
	return put(s, DB_JOURNAL, key, sizeof key, p, len, e);
}

int store_drop_journal(struct store *s, uint64_t seq, struct err *e)
{
	unsigned char key[8];
	put_be64(key, seq);
	return del(s, DB_JOURNAL, key, sizeof key, e);
}

int store_drop_head(struct store *s, uint64_t id, struct err *e)
{
	unsigned char key[8];
	put_be64(key, id);
	return del(s, DB_HEADS, key, sizeof key, e);
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
		if (mend_head(s, &v, e) != 0)
			return -1; /* the cursor went with the transaction */
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
	return put(s, DB_COMMITS, key, sizeof key, p, len, e);
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
		*gone += v.mv_size > SEAL_BYTES ? v.mv_size - SEAL_BYTES : 0;
		s->txn_puts++;
		if (mend_head(s, &v, e) != 0)
			return -1; /* the cursor went with the transaction */
		rc = mdb_cursor_del(c, 0);
	}
	mdb_cursor_close(c);
	return rc == 0 || rc == MDB_NOTFOUND ? 0 : write_failed(s, e, rc, "delete");
}

int store_clear_commits(struct store *s, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	require_writer(s);
	int rc = mdb_cursor_open(s->txn, s->db[DB_COMMITS], &c);
	if (rc != 0)
		return write_failed(s, e, rc, "cursor");
	s->txn_puts++;
	while ((rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0)
		if (mend_head(s, &v, e) != 0)
			return -1; /* the cursor went with the transaction */
	mdb_cursor_close(c);
	rc = rc == MDB_NOTFOUND ? mdb_drop(s->txn, s->db[DB_COMMITS], 0) : rc;
	return rc == 0 ? 0 : write_failed(s, e, rc, "delete");
}

int store_gc_step(struct store *s, size_t max, bool *more, struct err *e)
{
	static const int dbs[] = {DB_BLOCKS, DB_CHUNKS, DB_SNAPSHOTS, DB_HEADS};
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
		bool known = rc == 0 && k.mv_size == sizeof id_key, sound = known && unseal(DB_DROPPED, &k, &v, NULL) == 0;
		if (known)
			memcpy(id_key, k.mv_data, sizeof id_key);
		mdb_cursor_close(c);
		if (rc == MDB_NOTFOUND || (rc == 0 && !known))
			return 0;
		if (rc != 0)
			return write_failed(s, e, rc, "dropped");
		bool left_over = false;
		/* A damaged one may name a shape that lives. What it did name has a head without a record. */
		for (size_t i = 0; i < ARRAY_LEN(dbs) && sound && !left_over; i++)
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
 * A block: u32 count, u32 flags, u64 bytes open before it (Σ text since the last chunk end, before its first entry),
 * u64 tx and u64 op of the last entry of the block before it, then per entry { u64 tx, u64 op, u32 end of its text },
 * then the text. Native byte order: the store doesn't move between machines. Entries are 20 bytes and unaligned; read
 * with memcpy. Blocks of older formats have neither the block before nor a seal; the flags' highest byte tells, by more
 * than one bit.
 */
#define BLOCK_OLD_HEADER_BYTES 16
#define BLOCK_HEADER_BYTES 32
#define BLOCK_ENTRY_BYTES 20
#define BLOCK_CHUNK_END 1u
#define BLOCK_KIND_MASK 0xFF000000u
#define BLOCK_SEALED 0xC5000000u

struct block {
	uint32_t count, flags;
	uint64_t open_bytes;
	struct log_offset before; /* {0, inf}: it is the first */
	bool sealed;
	const unsigned char *entries, *text;
	size_t text_len;
};

static int block_parse(const struct store *s, const MDB_val *k, const MDB_val *v, bool verify, struct block *b, struct err *e);

static uint64_t open_at_end(const struct block *b) { return b->flags & BLOCK_CHUNK_END ? 0 : b->open_bytes + b->text_len; }

/* The last entry of `db` that belongs to the shape: 0, 1, -1. */
static int last_in(struct store *s, MDB_txn *txn, int db, uint64_t id, MDB_val *k, MDB_val *v, struct err *e)
{
	MDB_cursor *c;
	unsigned char key[LOG_KEY_BYTES];
	*k = log_key(key, id, (struct log_offset){UINT64_MAX, UINT64_MAX});
	int rc = mdb_cursor_open(txn, s->db[db], &c);
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
	rc = rc == 0 ? mdb_cursor_get(c, k, v, MDB_PREV) : rc == MDB_NOTFOUND ? mdb_cursor_get(c, k, v, MDB_LAST) : rc;
	mdb_cursor_close(c);
	if (rc == 0 && log_key_is_of(k, id))
		return 0;
	return rc == 0 || rc == MDB_NOTFOUND ? 1 : lmdb_error(e, rc, seal_dbs[db].name);
}

/* A chunk's end is its key; of older formats it has no seal. */
static int chunk_is_sound(const MDB_val *k, MDB_val *v, struct err *e)
{
	return v->mv_size == 0 ? 0 : unseal(DB_CHUNKS, k, v, e);
}

/* As the blocks and chunk ends that are there say. */
static int head_from_log(struct store *s, MDB_txn *txn, uint64_t id, struct store_head *h, struct err *e)
{
	MDB_val k, v;
	struct block b;
	*h = no_log;
	int rc = last_in(s, txn, DB_BLOCKS, id, &k, &v, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (block_parse(s, &k, &v, true, &b, e) != 0)
		return -1;
	h->last = log_key_offset(&k);
	h->open_bytes = open_at_end(&b);
	rc = last_in(s, txn, DB_CHUNKS, id, &k, &v, e);
	if (rc < 0 || (rc == 0 && chunk_is_sound(&k, &v, e) != 0))
		return -1;
	if (rc == 0)
		h->chunk_end = log_key_offset(&k);
	return 0;
}

/* The head that a block is put behind; of a shape whose record isn't there yet there may be none. */
static int head_to_extend(struct store *s, uint64_t id, struct store_head *h, struct err *e)
{
	MDB_val k, v;
	int rc = head_get(s, s->txn, id, h, e);
	if (rc != 1)
		return rc;
	*h = no_log;
	rc = last_in(s, s->txn, DB_BLOCKS, id, &k, &v, e);
	return rc == 1 ? 0 : rc == 0 ? damaged(DB_HEADS, &k, e) : -1;
}

/* Deletes blocks and chunk ends of the shape that end at or above `from`. ERR_DAMAGED: the shape's log is, and now at
 * the latest it has no head, for the one that was there names blocks that are gone. */
static int cut_from(struct store *s, uint64_t id, struct log_offset from, struct err *e)
{
	static const int dbs[] = {DB_BLOCKS, DB_CHUNKS};
	unsigned char key[LOG_KEY_BYTES];
	struct store_head h;
	int rc = head_get(s, s->txn, id, &h, e);
	if (rc < 0)
		return unless_damaged(s, e);
	/* A block and its head come in one commit. */
	if (rc == 1 || log_offset_cmp(h.last, from) < 0 || h.last.tx == 0)
		return 0;
	log_key(key, id, from);
	for (size_t i = 0; i < ARRAY_LEN(dbs); i++) {
		size_t all = SIZE_MAX;
		bool more;
		if (delete_range(s, dbs[i], key, sizeof key, key_is_of, id, &all, &more, e) != 0)
			return -1;
	}
	if (head_from_log(s, s->txn, id, &h, e) == 0)
		return put_head(s, id, &h, e);
	if (e->kind != ERR_DAMAGED)
		return give_up(s);
	(void)!store_drop_head(s, id, e);
	return -1;
}

static int put_chunk_end(struct store *s, uint64_t id, struct log_offset at, struct err *e)
{
	unsigned char key[LOG_KEY_BYTES];
	log_key(key, id, at);
	return put(s, DB_CHUNKS, key, sizeof key, "", 0, e);
}

/* `p` has room for all of it; `head` is what the block goes behind. */
static void block_fill(unsigned char *p, const struct store_entry *entries, size_t n, bool chunk_end, const struct store_head *head)
{
	uint32_t count = (uint32_t)n, flags = BLOCK_SEALED | (chunk_end ? BLOCK_CHUNK_END : 0), end = 0;
	memcpy(p, &count, 4);
	memcpy(p + 4, &flags, 4);
	memcpy(p + 8, &head->open_bytes, 8);
	memcpy(p + 16, &head->last.tx, 8);
	memcpy(p + 24, &head->last.op, 8);
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
	struct store_head head;
	if (head_to_extend(s, id, &head, e) != 0)
		return unless_damaged(s, e);
	unsigned char key[LOG_KEY_BYTES];
	MDB_val k = log_key(key, id, entries[n - 1].at);
	if (head.last.tx != 0 && log_offset_cmp(head.last, entries[0].at) >= 0)
		return damaged(DB_HEADS, &k, e);
	size_t len = BLOCK_HEADER_BYTES + n * BLOCK_ENTRY_BYTES + text + SEAL_BYTES;
	MDB_val v = {len, NULL};
	int rc = mdb_put(s->txn, s->db[DB_BLOCKS], &k, &v, MDB_RESERVE);
	if (rc != 0)
		return write_failed(s, e, rc, "blocks");
	block_fill(v.mv_data, entries, n, chunk_end, &head);
	put_seal(DB_BLOCKS, &k, &v);
	s->txn_bytes += len;
	s->txn_puts++;
	head.last = entries[n - 1].at;
	head.open_bytes = chunk_end ? 0 : head.open_bytes + text;
	if (chunk_end)
		head.chunk_end = head.last;
	if (put_head(s, id, &head, e) != 0)
		return -1;
	return chunk_end ? put_chunk_end(s, id, head.last, e) : 0;
}

static int insert_into_last(const struct block *b, const MDB_val *v, uint32_t split, const char *text, uint32_t len, bool chunk_end,
                            char **out, size_t *out_len, struct err *e);

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
	if (rc != 0)
		return err_set(e, ERR_DAMAGED, "store: the log entry to complete is not there");
	struct block b;
	struct store_head head;
	char *block = NULL;
	size_t n = 0;
	rc = head_get(s, s->txn, id, &head, e);
	if (rc == 1 || (rc == 0 && log_offset_cmp(head.last, at) != 0))
		return damaged(DB_HEADS, &k, e);
	if (rc != 0 || block_parse(s, &k, &v, true, &b, e) != 0 ||
	    insert_into_last(&b, &v, split, text, len, chunk_end, &block, &n, e) != 0)
		return unless_damaged(s, e);
	head.open_bytes = chunk_end || (b.flags & BLOCK_CHUNK_END) ? 0 : b.open_bytes + b.text_len + (n + SEAL_BYTES - v.mv_size);
	if (chunk_end)
		head.chunk_end = at;
	rc = mend_head(s, &v, e);
	if (rc == 0)
		rc = put(s, DB_BLOCKS, key, sizeof key, block, n, e);
	free(block);
	if (rc != 0 || put_head(s, id, &head, e) != 0)
		return -1;
	return chunk_end ? put_chunk_end(s, id, at, e) : 0;
}

int store_cut_log(struct store *s, uint64_t id, lsn_t tx, struct err *e)
{
	require_writer(s);
	return cut_from(s, id, (struct log_offset){tx, 0}, e);
}

#define PIECE_FLAGS 0xA4u /* the byte behind a piece: with bit 0, it closes its chunk */

static MDB_val snapshot_key(unsigned char key[16], uint64_t id, uint32_t chunk, uint32_t piece)
{
	put_be64(key, id);
	put_be32(key + 8, chunk);
	put_be32(key + 12, piece);
	return (MDB_val){16, key};
}

int store_put_snapshot(struct store *s, uint64_t id, uint32_t chunk, uint32_t piece, const void *p, size_t len, bool closes,
                       struct err *e)
{
	require_writer(s);
	REQUIRE(s->txn != NULL);
	unsigned char key[16];
	MDB_val k = snapshot_key(key, id, chunk, piece), v = {len + 1 + SEAL_BYTES, NULL};
	if (s->uncertain && mend_value(s, DB_SNAPSHOTS, key, sizeof key, e) != 0)
		return -1;
	int rc = mdb_put(s->txn, s->db[DB_SNAPSHOTS], &k, &v, MDB_RESERVE);
	if (rc != 0)
		return write_failed(s, e, rc, "snapshots");
	unsigned char *to = v.mv_data;
	if (len > 0)
		memcpy(to, p, len);
	to[len] = (unsigned char)(PIECE_FLAGS | closes);
	put_seal(DB_SNAPSHOTS, &k, &v);
	s->txn_bytes += v.mv_size + sizeof key;
	s->txn_puts++;
	return 0;
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
	r->on_damage = NULL;
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
	return rc == 0 ? checked(r->store, db, &k, v, e) : lmdb_error(e, rc, seal_dbs[db].name);
}

void store_read_on_damage(struct store_read *r, int (*tell)(void *ctx, uint64_t id, const void *p, size_t len, struct err *e))
{
	r->on_damage = tell;
}

static int copied(struct buf *out, const void *p, size_t len, struct err *e)
{
	buf_put(out, p, len);
	return out->failed ? err_set(e, ERR_LIMIT, "store: a value of %zu bytes does not fit the reader's buffer", len) : 0;
}

static int get_meta(struct store_read *r, const char *name, MDB_val *v, struct err *e)
{
	MDB_val k = {strlen(name), (void *)(uintptr_t)name};
	if (!is_plain_meta(&k))
		return get(r, DB_META, k.mv_data, k.mv_size, v, e);
	int rc = mdb_get(r->txn, r->store->db[DB_META], &k, v);
	return rc == MDB_NOTFOUND ? 1 : rc == 0 ? 0 : lmdb_error(e, rc, "meta");
}

int store_get_meta(struct store_read *r, const char *name, struct buf *out, struct err *e)
{
	MDB_val v;
	int rc = get_meta(r, name, &v, e);
	return rc != 0 ? rc : copied(out, v.mv_data, v.mv_size, e);
}

int store_get_meta_u64(struct store_read *r, const char *name, uint64_t *out, struct err *e)
{
	MDB_val v;
	int rc = get_meta(r, name, &v, e);
	if (rc != 0)
		return rc;
	if (v.mv_size != sizeof *out)
		return err_set(e, ERR_IO, "store: meta value %s has %zu bytes, not 8", name, v.mv_size);
	memcpy(out, v.mv_data, sizeof *out);
	return 0;
}

/* ---- reading ahead ---- */

/*
 * The map is read without the kernel's own reading ahead (MDB_NORDAHEAD: of a tree's pages it would read what nobody
 * wants). But large values are runs of pages, and those of a shape are read one behind the other: after a restart each
 * of their pages would be waited for alone, on the thread that serves everybody.
 */

static bool is_cached(const MDB_val *v, uintptr_t page)
{
	unsigned char pages[AHEAD_LOOK_PAGES];
	uintptr_t at = (uintptr_t)v->mv_data & ~(page - 1), end = (uintptr_t)v->mv_data + v->mv_size;
	size_t n = (end - at + page - 1) / page;
	n = n < AHEAD_LOOK_PAGES ? n : AHEAD_LOOK_PAGES;
	if (mincore((void *)at, n * page, pages) != 0) /* what can't be asked is read as it comes */
		return true;
	for (size_t i = 0; i < n; i++)
		if ((pages[i] & 1) == 0)
			return false;
	return true;
}

struct run {
	uintptr_t start, end;
};

static void run_ask(struct run *run)
{
	for (uintptr_t at = run->start, n; at < run->end; at += n) {
		n = run->end - at < AHEAD_CALL_BYTES ? run->end - at : AHEAD_CALL_BYTES;
		(void)madvise((void *)at, n, MADV_WILLNEED);
	}
	*run = (struct run){0, 0};
}

static void ahead_key(unsigned char to[AHEAD_KEY_BYTES], const MDB_val *k)
{
	memset(to, 0, AHEAD_KEY_BYTES);
	memcpy(to, k->mv_data, k->mv_size < AHEAD_KEY_BYTES ? k->mv_size : AHEAD_KEY_BYTES);
}

static bool was_asked(const struct ahead *a, int db, const MDB_val *k)
{
	unsigned char key[AHEAD_KEY_BYTES];
	ahead_key(key, k);
	return a->asked_ms != 0 && a->db == db && memcmp(key, a->first, sizeof key) >= 0 && memcmp(key, a->last, sizeof key) <= 0 &&
	       clock_mono_ms() - a->asked_ms < AHEAD_AGAIN_MS;
}

/* Requests the value of a key, and of the following ones of the same shape, unless it is in memory. */
static void read_ahead(struct store_read *r, int db, const MDB_val *key, const MDB_val *value)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	bool shapes = db == DB_BLOCKS || db == DB_SNAPSHOTS;
	MDB_cursor *c;
	MDB_val k = *key, v = *value;
	struct run run = {0, 0};
	if (v.mv_size < AHEAD_VALUE_BYTES || is_cached(&v, page) || was_asked(&r->ahead, db, key) ||
	    mdb_cursor_open(r->txn, r->store->db[db], &c) != 0)
		return;
	r->ahead.db = db;
	r->ahead.asked_ms = clock_mono_ms();
	ahead_key(r->ahead.first, key);
	size_t bytes = 0, small = 0;
	for (int rc = mdb_cursor_get(c, &k, &v, MDB_SET_KEY); rc == 0 && bytes < AHEAD_BYTES && small < AHEAD_SMALL_VALUES; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		uintptr_t start = (uintptr_t)v.mv_data & ~(page - 1), end = ((uintptr_t)v.mv_data + v.mv_size + page - 1) & ~(page - 1);
		if (shapes && (k.mv_size < 8 || memcmp(k.mv_data, key->mv_data, 8) != 0))
			break;
		ahead_key(r->ahead.last, &k);
		bytes += v.mv_size;
		small = v.mv_size < AHEAD_VALUE_BYTES ? small + 1 : 0;
		if (small > 0)
			continue;
		if (start != run.end)
			run_ask(&run);
		run = (struct run){run.start == 0 ? start : run.start, end};
	}
	run_ask(&run);
	mdb_cursor_close(c);
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
		read_ahead(r, db, &k, &v);
		bool sound = checked(r->store, db, &k, &v, e) == 0;
		stopped = sound ? each(ctx, id, v.mv_data, v.mv_size, e)
		          : r->on_damage != NULL ? r->on_damage(ctx, id, v.mv_data, v.mv_size, e) : -1;
		if (stopped != 0)
			break;
	}
	mdb_cursor_close(c);
	if (stopped != 0)
		return -1;
	return rc == MDB_NOTFOUND ? 0 : lmdb_error(e, rc, seal_dbs[db].name);
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

struct heads {
	int (*each)(void *ctx, uint64_t id, const struct store_head *h, struct err *e);
	void *ctx;
};

static int unpack_head(void *ctx, uint64_t id, const void *p, size_t len, struct err *e)
{
	const struct heads *all = ctx;
	struct store_head h;
	uint64_t n[5];
	if (len != HEAD_BYTES)
		return err_set(e, ERR_DAMAGED, "store: the heads entry of shape %llu is damaged", (unsigned long long)id);
	memcpy(n, p, sizeof n);
	h = (struct store_head){{n[0], n[1]}, {n[2], n[3]}, n[4]};
	return all->each(all->ctx, id, &h, e);
}

static int skip_head(void *ctx, uint64_t id, const void *p, size_t len, struct err *e)
{
	(void)ctx, (void)id, (void)p, (void)len, (void)e;
	return 0;
}

int store_each_head(struct store_read *r, int (*each)(void *ctx, uint64_t id, const struct store_head *h, struct err *e), void *ctx,
                    struct err *e)
{
	struct heads all = {each, ctx};
	store_read_on_damage(r, skip_head);
	int rc = each_of(r, DB_HEADS, unpack_head, &all, e);
	store_read_on_damage(r, NULL);
	return rc;
}

/* A block's parts; every length is checked, so that a damaged file is an error and not a crash. */
static int block_parse(const struct store *s, const MDB_val *k, const MDB_val *v, bool verify, struct block *b, struct err *e)
{
	const unsigned char *p = v->mv_data;
	size_t len = v->mv_size;
	if (len < BLOCK_OLD_HEADER_BYTES)
		return damaged(DB_BLOCKS, k, e);
	memcpy(&b->count, p, 4);
	memcpy(&b->flags, p + 4, 4);
	memcpy(&b->open_bytes, p + 8, 8);
	b->sealed = (b->flags & BLOCK_KIND_MASK) == BLOCK_SEALED;
	if (!b->sealed && ((b->flags & BLOCK_KIND_MASK) != 0 || get_be64(k->mv_data) >= s->unchecked_below))
		return damaged(DB_BLOCKS, k, e);
	size_t header = b->sealed ? BLOCK_HEADER_BYTES : BLOCK_OLD_HEADER_BYTES;
	if (b->sealed && (len < header + SEAL_BYTES || (verify && !seal_holds(DB_BLOCKS, k->mv_data, k->mv_size, p, &len))))
		return damaged(DB_BLOCKS, k, e);
	len = b->sealed ? v->mv_size - SEAL_BYTES : len;
	if (b->count == 0 || (len - header) / BLOCK_ENTRY_BYTES < b->count)
		return damaged(DB_BLOCKS, k, e);
	b->before = no_log.last;
	if (b->sealed) {
		memcpy(&b->before.tx, p + 16, 8);
		memcpy(&b->before.op, p + 24, 8);
	}
	b->entries = p + header;
	b->text = b->entries + (size_t)b->count * BLOCK_ENTRY_BYTES;
	b->text_len = len - header - (size_t)b->count * BLOCK_ENTRY_BYTES;
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

/* A block's bytes without their seal (the caller frees them) with `text` inserted into its last entry, if it isn't
 * there. */
static int insert_into_last(const struct block *b, const MDB_val *v, uint32_t split, const char *text, uint32_t len, bool chunk_end,
                            char **out, size_t *out_len, struct err *e)
{
	uint32_t start = 0, end, flags = b->flags | (chunk_end ? BLOCK_CHUNK_END : 0);
	if (b->count > 1)
		block_entry(b, b->count - 2, &start);
	block_entry(b, b->count - 1, &end);
	if (!b->sealed || start > end || end != b->text_len || split > end - start || end > UINT32_MAX - len)
		return err_set(e, ERR_DAMAGED, "store: a damaged log block");
	bool there = end - start - split >= len && memcmp(b->text + start + split, text, len) == 0;
	size_t is = v->mv_size - SEAL_BYTES, n = there ? 0 : len, before = is - b->text_len + start + split;
	char *p = mem_alloc(is + n);
	memcpy(p, v->mv_data, before);
	memcpy(p + before, text, n);
	memcpy(p + before + n, (const char *)v->mv_data + before, is - before);
	end += (uint32_t)n;
	memcpy(p + 4, &flags, 4);
	memcpy(p + BLOCK_HEADER_BYTES + (size_t)(b->count - 1) * BLOCK_ENTRY_BYTES + 16, &end, 4);
	*out = p;
	*out_len = is + n;
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
			return err_set(e, ERR_DAMAGED, "store: a damaged log block");
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

static int block_missing(uint64_t id, struct log_offset after, struct err *e)
{
	char text[LOG_OFFSET_TEXT_MAX];
	return err_set(e, ERR_DAMAGED, "store: a block of shape %llu behind %s is missing", (unsigned long long)id, log_offset_text(after, text));
}

/* Whether the blocks that were met reach as far as they should: to `upto`, or to the log's end. */
static int reaches(struct store_read *r, uint64_t id, struct log_offset upto, struct log_offset met, struct err *e)
{
	struct store_head h;
	int rc = head_get(r->store, r->txn, id, &h, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0; /* of a shape that is going */
	struct log_offset need = log_offset_cmp(h.last, upto) < 0 ? h.last : upto;
	return h.last.tx == 0 || log_offset_cmp(met, need) >= 0 ? 0 : block_missing(id, met, e);
}

int store_read_log_on(struct store_read *r, uint64_t id, struct log_offset after, struct log_offset upto, size_t max,
                      struct log_offset *verified, struct buf *out, struct log_offset *reached, bool *end, struct err *e)
{
	MDB_cursor *c;
	unsigned char key[LOG_KEY_BYTES];
	struct log_offset above = {after.tx, after.op == UINT64_MAX ? UINT64_MAX : after.op + 1}, met = after;
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
		struct log_offset at = log_key_offset(&k);
		if (out->len >= max && out->len > 0) { /* the next one needn't be looked at */
			past = log_offset_cmp(met, upto) >= 0;
			full = !past;
			break;
		}
		bool verify = log_offset_cmp(at, *verified) != 0;
		if (verify)
			read_ahead(r, DB_BLOCKS, &k, &v);
		failed = block_parse(r->store, &k, &v, verify, &b, e) != 0;
		*verified = failed ? no_log.last : at;
		if (!failed && b.before.tx != 0 && log_offset_cmp(b.before, met) > 0)
			failed = block_missing(id, met, e);
		failed = failed || block_copy(&b, after, upto, max, out, reached, &full, &past, e) != 0;
		met = at;
		if (failed || full || past)
			break;
	}
	mdb_cursor_close(c);
	if (failed)
		return -1;
	*end = !full;
	if (rc != 0 && rc != MDB_NOTFOUND)
		return lmdb_error(e, rc, "blocks");
	return full || past ? 0 : reaches(r, id, upto, met, e);
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
	if (found && chunk_is_sound(&k, &v, e) != 0) {
		mdb_cursor_close(c);
		return -1;
	}
	/* The op "inf" is above every entry of its transaction: SET_RANGE on it can only hit itself. */
	if (found)
		*out = log_key_offset(&k);
	mdb_cursor_close(c);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return lmdb_error(e, rc, "chunks");
	return found ? 0 : 1;
}

/* Taken off its flags; a shape of an older format has none. */
static int open_piece(const struct store *s, const MDB_val *k, MDB_val *v, bool verify, bool *closes, struct err *e)
{
	*closes = false;
	if (get_be64(k->mv_data) < s->unchecked_below)
		return 0;
	size_t len = v->mv_size;
	if (verify ? !seal_holds(DB_SNAPSHOTS, k->mv_data, k->mv_size, v->mv_data, &len) : len < SEAL_BYTES)
		return damaged(DB_SNAPSHOTS, k, e);
	len = v->mv_size - SEAL_BYTES;
	unsigned flags = len > 0 ? ((const unsigned char *)v->mv_data)[len - 1] : 0;
	if ((flags & ~1u) != PIECE_FLAGS)
		return damaged(DB_SNAPSHOTS, k, e);
	*closes = flags & 1;
	v->mv_size = len - 1;
	return 0;
}

static int take_piece(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece, bool verify,
                      int (*take)(void *ctx, const void *p, size_t len, struct err *e), void *ctx, bool *closes, struct err *e)
{
	unsigned char key[16];
	MDB_val k = snapshot_key(key, id, chunk, piece), v;
	*closes = false;
	int rc = mdb_get(r->txn, r->store->db[DB_SNAPSHOTS], &k, &v);
	if (rc == MDB_NOTFOUND)
		return 1;
	if (rc != 0)
		return lmdb_error(e, rc, "snapshots");
	if (piece % AHEAD_EACH_PIECES == 0)
		read_ahead(r, DB_SNAPSHOTS, &k, &v);
	return open_piece(r->store, &k, &v, verify, closes, e) != 0 ? -1 : take(ctx, v.mv_data, v.mv_size, e);
}

int store_take_snapshot(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece,
                        int (*take)(void *ctx, const void *p, size_t len, struct err *e), void *ctx, bool *closes, struct err *e)
{
	return take_piece(r, id, chunk, piece, true, take, ctx, closes, e);
}

int store_peek_snapshot(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece,
                        int (*take)(void *ctx, const void *p, size_t len, struct err *e), void *ctx, bool *closes, struct err *e)
{
	return take_piece(r, id, chunk, piece, false, take, ctx, closes, e);
}

bool store_closes_chunks(const struct store_read *r, uint64_t id) { return id >= r->store->unchecked_below; }

static int max_id(struct store *s, MDB_txn *txn, uint64_t *out, struct err *e);

int store_max_id(struct store_read *r, uint64_t *out, struct err *e)
{
	return max_id(r->store, r->txn, out, e);
}

static int max_id(struct store *s, MDB_txn *txn, uint64_t *out, struct err *e)
{
	static const int dbs[] = {DB_SHAPES, DB_BLOCKS, DB_CHUNKS, DB_SNAPSHOTS, DB_DROPPED, DB_HEADS};
	*out = 0;
	for (size_t i = 0; i < ARRAY_LEN(dbs); i++) {
		MDB_cursor *c;
		MDB_val k, v;
		int rc = mdb_cursor_open(txn, s->db[dbs[i]], &c);
		if (rc != 0)
			return lmdb_error(e, rc, "cursor");
		rc = mdb_cursor_get(c, &k, &v, MDB_LAST);
		uint64_t id = rc == 0 && k.mv_size >= 8 ? get_be64(k.mv_data) : 0;
		mdb_cursor_close(c);
		if (rc != 0 && rc != MDB_NOTFOUND)
			return lmdb_error(e, rc, seal_dbs[dbs[i]].name);
		*out = id > *out ? id : *out;
	}
	return 0;
}

static int pages_of(struct store_read *r, MDB_dbi db, uint64_t *pages, struct err *e)
{
	MDB_stat st;
	int rc = mdb_stat(r->txn, db, &st);
	if (rc != 0)
		return lmdb_error(e, rc, "stat");
	*pages += st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
	return 0;
}

int store_usage(struct store_read *r, struct store_usage *out, struct err *e)
{
	const struct store *s = r->store;
	MDB_envinfo info;
	uint64_t pages = 2; /* of the meta pages; then the list of free pages, the list of databases, each of them */
	int rc = pages_of(r, 0, &pages, e) != 0 || pages_of(r, 1, &pages, e) != 0 ? -1 : 0;
	for (int i = 0; i < DB_COUNT && rc == 0; i++)
		rc = pages_of(r, s->db[i], &pages, e);
	if (rc != 0 || (rc = mdb_env_info(s->env, &info)) != 0)
		return rc < 0 ? -1 : lmdb_error(e, rc, "info");
	*out = (struct store_usage){pages * s->page_bytes, (info.me_last_pgno + 1) * s->page_bytes, 0, false};
	out->knows_free = disk_free_bytes(s->path, &out->free);
	return 0;
}

void store_sizes(const struct store *s, int64_t *file_bytes, int64_t *free_bytes)
{
	char file[STORE_PATH_MAX + 16];
	struct stat st;
	uint64_t free_now;
	data_file(s, file);
	*file_bytes = !s->temporary && stat(file, &st) == 0 ? (int64_t)st.st_size : -1;
	*free_bytes = !s->temporary && disk_free_bytes(s->path, &free_now) ? (int64_t)free_now : -1;
}

int store_each_bytes(struct store_read *r, enum store_part part, int (*each)(void *ctx, uint64_t id, uint64_t bytes, struct err *e),
                     void *ctx, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	uint64_t id = 0, bytes = 0;
	int db = part == STORE_LOGS ? DB_BLOCKS : DB_SNAPSHOTS, rc = mdb_cursor_open(r->txn, r->store->db[db], &c), stopped = 0;
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0 && stopped == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		if (bytes > 0 && !key_is_of(&k, id)) {
			stopped = each(ctx, id, bytes, e);
			bytes = 0;
		}
		id = k.mv_size >= 8 ? get_be64(k.mv_data) : 0;
		bytes += v.mv_size; /* stands in the leaf: the value itself isn't read */
	}
	mdb_cursor_close(c);
	if (stopped == 0 && rc != MDB_NOTFOUND)
		return lmdb_error(e, rc, seal_dbs[db].name);
	return stopped != 0 || (bytes > 0 && each(ctx, id, bytes, e) != 0) ? -1 : 0;
}

int store_is_dropped(struct store_read *r, uint64_t id, struct err *e)
{
	unsigned char key[8];
	put_be64(key, id);
	MDB_val k = {sizeof key, key}, v;
	int rc = mdb_get(r->txn, r->store->db[DB_DROPPED], &k, &v);
	return rc == 0 ? 0 : rc == MDB_NOTFOUND ? 1 : lmdb_error(e, rc, "dropped");
}

uint64_t store_sum(const void *p, size_t len) { return seal_of(SEAL_OF_NO_DB, "", 0, p, len); }

/* ---- older formats ---- */

/* Values without a seal get one: small ones, all in memory meanwhile. */
static int seal_all(struct store *s, MDB_txn *txn, int db, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	struct buf all = BUF_INIT(UINT32_MAX);
	int rc = mdb_cursor_open(txn, s->db[db], &c);
	if (rc != 0)
		return lmdb_error(e, rc, "cursor");
	for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		if (db == DB_META && (is_plain_meta(&k) || k.mv_size > 64))
			continue;
		if (mend_head(s, &v, e) != 0) {
			mdb_cursor_close(c);
			buf_clear(&all);
			return -1;
		}
		uint32_t n[2] = {(uint32_t)k.mv_size, (uint32_t)v.mv_size};
		buf_put(&all, n, sizeof n);
		buf_put(&all, k.mv_data, k.mv_size);
		buf_put(&all, v.mv_data, v.mv_size);
	}
	mdb_cursor_close(c);
	rc = all.failed ? ENOMEM : rc == MDB_NOTFOUND ? 0 : rc;
	for (size_t at = 0; rc == 0 && at < all.len;) {
		uint32_t n[2];
		memcpy(n, all.data + at, sizeof n);
		const char *p = all.data + at + sizeof n;
		rc = put_sealed(s, txn, db, p, n[0], p + n[0], n[1]);
		at += sizeof n + n[0] + n[1];
	}
	buf_clear(&all);
	return rc == 0 ? 0 : lmdb_error(e, rc, seal_dbs[db].name);
}

/* A head for each shape. One whose last block can't be read gets none, and is dropped by whoever loads it. */
static int make_heads(struct store *s, MDB_txn *txn, struct err *e)
{
	MDB_cursor *c;
	MDB_val k, v;
	int rc = mdb_drop(txn, s->db[DB_HEADS], 0);
	if (rc == 0)
		rc = mdb_cursor_open(txn, s->db[DB_SHAPES], &c);
	if (rc != 0)
		return lmdb_error(e, rc, "heads");
	int bad = 0;
	for (rc = mdb_cursor_get(c, &k, &v, MDB_FIRST); rc == 0 && bad == 0; rc = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		struct store_head h;
		unsigned char key[8], p[HEAD_BYTES];
		if (k.mv_size != sizeof key)
			continue;
		memcpy(key, k.mv_data, sizeof key);
		if (head_from_log(s, txn, get_be64(key), &h, e) != 0) {
			bad = e->kind == ERR_DAMAGED ? 0 : -1;
			continue;
		}
		head_pack(&h, p);
		if ((rc = put_sealed(s, txn, DB_HEADS, key, sizeof key, p, sizeof p)) != 0)
			break;
	}
	mdb_cursor_close(c);
	return bad != 0 ? -1 : rc == 0 || rc == MDB_NOTFOUND ? 0 : lmdb_error(e, rc, "heads");
}

/*
 * To this format, in one commit: what is small gets its seals, shapes their heads. Blocks, snapshots, shape records and
 * journal batches stay as they are; each says, by itself or by its shape's id, that it has none.
 */
static int upgrade(struct store *s, MDB_txn *txn, struct err *e)
{
	uint64_t next = 0, largest;
	char name[] = "next_id";
	MDB_val k = {sizeof name - 1, name}, v;
	int rc = mdb_get(txn, s->db[DB_META], &k, &v);
	if (rc == 0 && v.mv_size == sizeof next)
		memcpy(&next, v.mv_data, sizeof next);
	else if (rc != 0 && rc != MDB_NOTFOUND)
		return lmdb_error(e, rc, "meta");
	if (max_id(s, txn, &largest, e) != 0 || find_map(s, txn, e) != 0)
		return -1;
	s->unchecked_below = next > largest ? next : largest + 1;
	if (seal_all(s, txn, DB_META, e) != 0 || seal_all(s, txn, DB_TABLES, e) != 0 || seal_all(s, txn, DB_DROPPED, e) != 0 ||
	    make_heads(s, txn, e) != 0)
		return -1;
	rc = put_sealed(s, txn, DB_META, "unchecked", 9, &s->unchecked_below, sizeof s->unchecked_below);
	if (rc == 0)
		rc = put_first(s, txn);
	return rc == 0 ? 0 : lmdb_error(e, rc, "format version");
}
