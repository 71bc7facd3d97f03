/*
 * store.h - what survives: shape definitions, their logs and snapshots, and the LSN that covers them.
 *
 * One LMDB environment, format in FORMAT.md. A commit makes everything put since store_begin()
 * visible and durable at once, so that the durable LSN (a meta value) can't disagree with the logs.
 *
 * Thread:  one writer thread calls store_begin() … store_commit(), and the puts between; asserted.
 *          Reading is open to all: store_read_begin() … store_read_end(), which must be short (a read
 *          transaction that stays open stops the reuse of pages) and never nested.
 * Memory:  readers copy into the caller's buffer; no pointer into LMDB leaves this module.
 * Damage:  every value has a seal (FORMAT.md), looked at whenever it is read: ERR_DAMAGED means that this value, so
 *          this shape, is lost and nothing else; a transaction goes on. LMDB's own pages and `meta` are looked at when
 *          the store is opened: damaged there, the file is put aside and a new one begun (one line in the log).
 * Fails:   ERR_FULL (disk or map), ERR_IO. After a failed put or commit the transaction is gone
 *          (store_abort() was done) and the environment must be reopened by store_reopen() before the
 *          next store_begin(): after a failed fsync the page cache proves nothing (docs/invariants.md 2.7).
 */
#ifndef BUSBAR_STORE_STORE_H
#define BUSBAR_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/lsn.h"

struct store;

/* Bytes one transaction may put: LMDB holds at most 131,071 dirty pages (512 MB), and a page can be
 * dirtied for far less than its size. */
#define STORE_TXN_BYTES_MAX (96u << 20)
#define STORE_TXN_PUTS_MAX 30000
/* A block's text: large enough for one sequential read, small enough to be copied at once. */
#define STORE_BLOCK_BYTES_MAX (1u << 20)

/* What it stands on. STORE_KEPT: a disk that outlives the process. STORE_TEMPORARY: a directory of its own that is gone with the
 * process, without fsync. STORE_EPHEMERAL: a disk that goes with the task, whatever file system it has. */
enum store_disk { STORE_KEPT, STORE_TEMPORARY, STORE_EPHEMERAL };

/*
 * Opens `<dir>/busbar`, creating it; takes the file lock that says which process owns it.
 * Refused with one clear line: a network filesystem (unless it is STORE_EPHEMERAL), a directory another process holds, a format
 * of another version.
 */
extern int store_lock_wait_ms; /* for the lock of a process that is ending; only tests change it */
int store_open(struct store **out, const char *dir, enum store_disk on, struct err *e) MUST_USE;
void store_close(struct store *s);
/* True if the data file was deleted while we have it open: all that is written is lost at the end. Any thread. */
bool store_deleted(struct store *s);
/* Looks at the file's pages, closes the environment and opens it; readers wait for the two last. On -1 it may be called
 * again, and nothing can be read until it succeeds. A data file that is gone is an error: no empty one takes its place.
 * Only the writer's thread. */
int store_reopen(struct store *s, struct err *e) MUST_USE;
/* Reopening found the file damaged: only a new process can begin with another. */
bool store_is_damaged(const struct store *s);

/*
 * Writes the store of `dir`, which nobody has open, anew without its free pages, and puts that in its place once it is durable and
 * has been compared with what it is made from: whenever this is interrupted, one of the two is there as a whole. Its format stays.
 * The sizes of the file go to `out`. ERR_CONFIG: there is none, somebody has it open, a later Busbar wrote it; ERR_DAMAGED;
 * ERR_FULL: no room for both; then all is as it was. The calling thread reads and writes all of it.
 */
struct store_compacted {
	uint64_t before, after;
};
int store_compact(const char *dir, enum store_disk on, struct store_compacted *out, struct err *e) MUST_USE;

/* ---- writing: the writer thread -------------------------------------------------------------------- */

int store_begin(struct store *s, struct err *e) MUST_USE;
/* The calling thread writes no more; the next to begin is the writer. */
void store_writer_done(struct store *s);
int store_commit(struct store *s, struct err *e) MUST_USE; /* durable when it returns 0 */
void store_abort(struct store *s);                        /* also without a transaction */
/* Bytes and puts of the running transaction, against the limits above. */
bool store_txn_is_large(const struct store *s);
/* Whether a transaction is open: what was written isn't durable yet. The writer's thread. */
bool store_in_txn(const struct store *s);

/* A small named value; numbers are 8 bytes, little endian. */
int store_put_meta(struct store *s, const char *name, const void *p, size_t len, struct err *e) MUST_USE;
int store_put_meta_u64(struct store *s, const char *name, uint64_t v, struct err *e) MUST_USE;

/* ERR_DAMAGED: the shape's head is; nothing was put. */
int store_put_shape(struct store *s, uint64_t id, const void *p, size_t len, struct err *e) MUST_USE;
/* Forgets the definition; log and snapshot are deleted in steps by store_gc_step(). */
int store_drop_shape(struct store *s, uint64_t id, struct err *e) MUST_USE;
/* Forgets where its log ends: whoever loads it finds it damaged. */
int store_drop_head(struct store *s, uint64_t id, struct err *e) MUST_USE;
/* Deletes at most `max` entries of dropped shapes; *more tells whether there is more to do. */
int store_gc_step(struct store *s, size_t max, bool *more, struct err *e) MUST_USE;

int store_put_table(struct store *s, uint32_t oid, const void *p, size_t len, struct err *e) MUST_USE;
int store_drop_table(struct store *s, uint32_t oid, struct err *e) MUST_USE;

/* `seq` rises by one per batch. */
int store_put_journal(struct store *s, uint64_t seq, const void *p, size_t len, struct err *e) MUST_USE;
/* Removes at most `max` batches below `seq`; *more as above. */
int store_trim_journal(struct store *s, uint64_t seq, size_t max, bool *more, struct err *e) MUST_USE;

int store_drop_journal(struct store *s, uint64_t seq, struct err *e) MUST_USE;
/* The last commits received, in runs: `first` is the position of a run's first, and its place in the order. */
int store_put_commits(struct store *s, lsn_t first, const void *p, size_t len, struct err *e) MUST_USE;
/* Removes the oldest runs until `bytes` are gone, at most `max` of them; *gone: how many bytes were. */
int store_trim_commits(struct store *s, uint64_t bytes, size_t max, uint64_t *gone, struct err *e) MUST_USE;
int store_clear_commits(struct store *s, struct err *e) MUST_USE;

/* One log entry: its text is a, then b, then c (so that a caller can insert without copying). */
struct store_entry {
	struct log_offset at;
	const char *a, *b;
	uint32_t a_len, b_len;
	const char *c;
	uint32_t c_len;
};
/* Appends entries (ascending, above all earlier ones) as one block; `chunk_end`: the last of them
 * closes a chunk. After a failed commit, which may be there nevertheless, it replaces what it finds at
 * and above its first entry. ERR_DAMAGED: the shape's head is, or tells of entries above these; nothing was put. */
int store_put_block(struct store *s, uint64_t id, const struct store_entry *entries, size_t n, bool chunk_end,
                    struct err *e) MUST_USE;
/* Inserts `text` at byte `split` of the shape's newest entry, which is at `at`, unless it stands there already;
 * `chunk_end`: the entry closes a chunk now. ERR_DAMAGED if there is no such entry. */
int store_insert_last(struct store *s, uint64_t id, struct log_offset at, uint32_t split, const char *text, uint32_t len,
                      bool chunk_end, struct err *e) MUST_USE;
/* Deletes blocks and chunk ends at and above tx: leftovers of staging. ERR_DAMAGED: the shape's log is, and whoever
 * writes or loads it next will find that. */
int store_cut_log(struct store *s, uint64_t id, lsn_t tx, struct err *e) MUST_USE;

/* Piece `piece` of snapshot chunk `chunk`: rows, in a form that is the caller's. `closes`: the chunk's last. */
int store_put_snapshot(struct store *s, uint64_t id, uint32_t chunk, uint32_t piece, const void *p, size_t len, bool closes,
                       struct err *e) MUST_USE;

/* ---- reading: any thread --------------------------------------------------------------------------- */

struct store_read;
struct store_read *store_read_begin(struct store *s, struct err *e) MUST_USE; /* NULL on error */
void store_read_end(struct store_read *r);

/* 0 found, 1 not there, -1 error. */
int store_get_meta(struct store_read *r, const char *name, struct buf *out, struct err *e) MUST_USE;
int store_get_meta_u64(struct store_read *r, const char *name, uint64_t *out, struct err *e) MUST_USE;

/* Until the read ends, damaged entries go to `tell` with all their bytes, instead of ending store_each_…(); it
 * returns as `each` does, with the same ctx. */
void store_read_on_damage(struct store_read *r, int (*tell)(void *ctx, uint64_t id, const void *p, size_t len, struct err *e));
/* Calls `each` for every entry in key order; it returns -1 to stop (with `e` set). p is valid during the call. */
int store_each_shape(struct store_read *r, int (*each)(void *ctx, uint64_t id, const void *p, size_t len, struct err *e),
                     void *ctx, struct err *e) MUST_USE;
int store_each_table(struct store_read *r, int (*each)(void *ctx, uint64_t oid, const void *p, size_t len, struct err *e),
                     void *ctx, struct err *e) MUST_USE;
int store_each_commits(struct store_read *r, int (*each)(void *ctx, uint64_t first, const void *p, size_t len, struct err *e),
                       void *ctx, struct err *e) MUST_USE;
int store_each_journal(struct store_read *r, int (*each)(void *ctx, uint64_t seq, const void *p, size_t len, struct err *e),
                       void *ctx, struct err *e) MUST_USE;

/*
 * Appends the lines (each ended by '\n') of the entries in (after, upto], until `out` holds about `max` bytes (one entry
 * may be larger); `reached` is the offset of the last one appended (`after` if none). *end: no more entries in the range.
 * *verified is the block whose seal this reader checked last, which isn't checked again: {0, LOG_OP_INF} at first.
 */
int store_read_log_on(struct store_read *r, uint64_t id, struct log_offset after, struct log_offset upto, size_t max,
                      struct log_offset *verified, struct buf *out, struct log_offset *reached, bool *end, struct err *e) MUST_USE;
/* Where the shape's log in blocks ends: the last entry, the last that closes a chunk ({0, LOG_OP_INF}: none), the
 * bytes since. Damaged entries are left out: a shape without a head is lost. */
struct store_head {
	struct log_offset last, chunk_end;
	uint64_t open_bytes;
};
int store_each_head(struct store_read *r, int (*each)(void *ctx, uint64_t id, const struct store_head *h, struct err *e), void *ctx,
                    struct err *e) MUST_USE;
/* The first chunk end above `after`: 0 found, 1 none, -1 error. */
int store_chunk_end(struct store_read *r, uint64_t id, struct log_offset after, struct log_offset *out, struct err *e) MUST_USE;
/* Calls `take` with a piece of a snapshot chunk, which is valid during the call: what it returns (0, -1); 1 not there,
 * -1 error. *closes: it is the chunk's last. */
int store_take_snapshot(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece,
                        int (*take)(void *ctx, const void *p, size_t len, struct err *e), void *ctx, bool *closes, struct err *e) MUST_USE;
/* The same without a look at its seal: for who needs a guess of it before it is read. */
int store_peek_snapshot(struct store_read *r, uint64_t id, uint32_t chunk, uint32_t piece,
                        int (*take)(void *ctx, const void *p, size_t len, struct err *e), void *ctx, bool *closes, struct err *e) MUST_USE;
/* Whether the last piece of each of the shape's chunks says so: not if it was written by an older format. */
bool store_closes_chunks(const struct store_read *r, uint64_t id);

/* `used`: pages that hold something. What was deleted is free for the next commit but one, and for readers' ends; the file itself
 * never shrinks. `free`: on its file system, if `knows_free`. Costs some microseconds, whatever the store's size. */
struct store_usage {
	uint64_t used, file, free; /* bytes */
	bool knows_free;
};
int store_usage(struct store_read *r, struct store_usage *out, struct err *e) MUST_USE;
/* Without a look inside: bytes of the file, and free for us on its file system; -1: not known, or it is a temporary one. Any thread. */
void store_sizes(const struct store *s, int64_t *file_bytes, int64_t *free_bytes);
/* Calls `each` with the bytes of each shape's log in blocks, or of its snapshot; shapes without any are left out. */
enum store_part { STORE_LOGS, STORE_SNAPSHOTS };
int store_each_bytes(struct store_read *r, enum store_part part, int (*each)(void *ctx, uint64_t id, uint64_t bytes, struct err *e),
                     void *ctx, struct err *e) MUST_USE;

/* Whether it waits for store_gc_step(): 0 yes, 1 no, -1 error. */
int store_is_dropped(struct store_read *r, uint64_t id, struct err *e) MUST_USE;
/* The largest shape id that stands anywhere but in the journal; 0: none. */
int store_max_id(struct store_read *r, uint64_t *out, struct err *e) MUST_USE;

/* The checksum of the store's seals, for parts of a value that are to be told apart. */
uint64_t store_sum(const void *p, size_t len);
#define STORE_SEAL_BYTES 8 /* behind what store_read_on_damage() is given */

#endif
