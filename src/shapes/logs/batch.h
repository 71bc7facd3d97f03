/*
 * batch.h - what the files of the WRITER share: fold.c, failing.c, apply.c, housekeep.c, batch.c and writer.c at the top. All of it
 * is its thread's alone.
 */
#ifndef BUSBAR_SHAPES_BATCH_H
#define BUSBAR_SHAPES_BATCH_H

#include "shapes/core/items.h"
#include "shapes/logs/commits.h"
#include "shapes/logs/writer.h"

/* Entries deleted at a time for dropped shapes and trimmed journal. */
#define GC_ENTRIES_MAX 2000

/* Before the first attempt after a failure of the store; each later one waits twice as long. */
#define STORE_RETRY_MS 500

/* What one commit is made of. */
struct batch {
	struct item **items;
	size_t n;
	struct item_rows **rows; /* those with rows, for the journal */
	size_t nrows_items;
	size_t journal_refs;
	lsn_t durable, mark;
	bool has_mark, reset; /* reset: the durable LSN is set, not raised */
	uint64_t mark_seq;
	/* What an attempt has seen lives here until committed(): the next attempt begins from none of it. */
	uint64_t attempt;  /* a shape with this number in wr.drop_attempt had its ITEM_DROP in it */
	uint64_t next_id;  /* 0: no shape was in it */
	struct buf journal;
	struct buf commits;  /* a run */
	lsn_t commits_first;
	uint64_t commits_bytes; /* of the list, with all that this batch does to it */
};

/* The calling thread is the WRITER. */
static inline bool writer_is_mine(const struct writer *w) { return w->owned && pthread_equal(w->owner, pthread_self()); }

/* failing.c */
/* What failed works again: says so, once. */
void failing_works_again(struct shapes *s, unsigned source);
/* What is damaged in the store costs its shape, and nobody else waits: 0, and the transaction goes on without it; else -1. */
int failing_unless_damaged(struct shape *shape, const struct err *e);
/* How long to wait after the rest that didn't help; waits so long, or until the process ends. */
int64_t failing_next_rest(int64_t rest_ms);
void failing_rest(struct writer *w, int64_t rest_ms);
/* Reopens the store until that works; false: it doesn't, and the process ends. */
bool failing_recover(struct shapes *s, unsigned source, struct err *e);

/* fold.c */
bool fold_due(const struct writer *w);
/* One step of folding in a transaction of its own. */
int fold_step(struct shapes *s, struct err *e) MUST_USE;
/* The tails of the shapes that an ITEM_STAGE has rows for, in transactions of their own. */
int fold_before_staging(struct shapes *s, const struct item_stage *it, struct err *e) MUST_USE;
/* Writes entries as blocks that end where chunks end and at STORE_BLOCK_BYTES_MAX. */
int fold_put_blocks(struct store *store, uint64_t id, const struct entry *entries, size_t n, struct err *e) MUST_USE;

/* apply.c */
/* Inside the transaction. -1: it is aborted. */
int apply_item(struct shapes *s, struct batch *b, struct item *it, struct err *e) MUST_USE;
/* Behind the commit. */
void apply_committed(struct shapes *s, struct item *it);

/* batch.c */
/* Everything in `b->items`, in one transaction; they are freed then. -1: it failed, and they stay. */
int batch_commit(struct shapes *s, struct batch *b, struct err *e) MUST_USE;

/* measure.c */
/* Tells core/usage.h what the store takes, if it hasn't lately. */
void measure_now_and_then(struct shapes *s);
/* When it must, at the latest, though nothing is written: whoever makes a shape may wait for it. INT64_MAX: it needn't. */
int64_t measure_due_ms(const struct writer *w);
/* Bytes that are used, 0: that can't be told. */
uint64_t measure_used(struct shapes *s);

/* housekeep.c */
/* There is something to do, and it isn't put off. */
bool housekeep_busy(const struct writer *w);
void housekeep(struct shapes *s);
/* Gives free memory back to the system, now and then. */
void housekeep_memory(struct shapes *s, bool idle);

#endif
