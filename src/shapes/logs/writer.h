/*
 * writer.h - the WRITER: its state, its life, and the waits for what it does. The queue itself is core/items.h.
 */
#ifndef BUSBAR_SHAPES_WRITER_H
#define BUSBAR_SHAPES_WRITER_H

#include <pthread.h>

#include "shapes/core/items.h"

/* What has failed last, and not worked since: shapes.store_failing. */
enum { FAILING_COMMITS = 1, FAILING_HOUSEKEEPING = 2 };

struct writer {
	pthread_t thread;
	bool started;
	bool owned;            /* by the thread `owner`, from its own first line on */
	pthread_t owner;
	pthread_mutex_t lock;
	pthread_cond_t cond, room;
	struct item *head, **tail;
	bool stop;
	size_t urgent;         /* queued items that somebody waits for: all but rows */
	size_t queued_bytes;
	unsigned flushing;     /* threads in writer_flush() */
	size_t snapshot_bytes; /* of queued pieces */
	uint64_t next_seq;     /* of the journal */
	uint64_t first_seq;    /* the oldest batch that may still be there */
	_Atomic size_t journal_bytes;
	size_t journal_refs;
	uint64_t trim_upto;    /* batches below are folded */
	bool trim_pending;
	int64_t rest_until_ms; /* no housekeeping before: it failed */
	int64_t rest_ms;       /* how long that is, 0: it works */
	uint64_t next_id;      /* as it stands in the store */
	uint64_t commits_bytes; /* of the list of commits */
	struct shape *fold_head, *fold_tail;
	size_t fold_shapes;
	bool gc_pending;
	size_t written_bytes;  /* since memory was last given back */
	int64_t trimmed_ms;
	uint64_t nput, ndone;  /* items, for writer_flush() */
	int64_t measured_ms;   /* measure.c */
	uint64_t unmeasured;   /* bytes of pieces committed since */
	size_t journal_max;    /* folding begins above it at the latest */
	uint64_t unstaged;     /* how often staged rows were cut, for those that count them */
	int64_t wait_max_ms;   /* a test's own limit instead of the named ones; 0 */
};

int writer_start(struct shapes *s, struct err *e) MUST_USE;
void writer_stop(struct shapes *s); /* everything queued is committed, the mark drawn back */
/* Adds to the fold list; also used while loading (before the thread runs). */
void writer_track(struct shapes *s, struct shape *shape, uint64_t seq);
void writer_untrack(struct shapes *s, struct shape *shape);
/*
 * What the store has, before the thread runs. writer_restore_batch(): the journal has this batch, of so many bytes;
 * returns the one that should have come (seq itself, if it is the first). writer_restore_row(): a row of it isn't folded.
 * writer_journal_ends(): what is behind `next` is damaged. writer_restored(): that was all.
 */
uint64_t writer_restore_batch(struct shapes *s, uint64_t seq, size_t len);
void writer_restore_row(struct shapes *s, struct shape *shape, uint64_t seq);
uint64_t writer_first_batch(const struct shapes *s);
void writer_journal_ends(struct shapes *s, uint64_t next);
void writer_restore_commits(struct shapes *s, size_t bytes);
void writer_restored(struct shapes *s);
void writer_init(struct writer *w);  /* of zeros */
void writer_free(struct writer *w); /* of one that has stopped */
/* Waits until everything queued by now is committed. ERR_CANCELLED: stopping; ERR_FULL or ERR_TIMEOUT, with what keeps
 * the store from it, after WRITER_FLUSH_MAX_MS (what was queued stays queued). */
int writer_flush(struct shapes *s, struct err *e) MUST_USE;
/* Blocks while too many snapshot rows are queued. 0; 1: the shape is dropped; -1 as writer_flush(), after
 * WRITER_ROOM_MAX_MS. */
int writer_room(struct shapes *s, struct shape *shape, struct err *e) MUST_USE;

/* The newest entries of all logs, which are in memory and in the journal; any thread. */
size_t writer_journal_bytes(const struct shapes *s);

#endif
