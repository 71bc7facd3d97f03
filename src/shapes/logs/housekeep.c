/*
 * housekeep.c - what the WRITER does beside the commits of what is queued: folding, trimming, deleting, each in steps.
 */
#include <malloc.h>

#include "base/clock.h"
#include "shapes/core/engine.h"
#include "shapes/logs/batch.h"

#define FOLDS_PER_ROUND 16 /* before the next commit of new rows */
#define TRIM_AFTER_BYTES (4u << 20) /* written since the last trim */
#define TRIM_BUSY_MS 5000           /* where no second is idle */

/* Whether there is more to do is so once what was done is committed. */
static int trim_step(struct shapes *s, uint64_t upto, bool *pending, struct err *e)
{
	bool more;
	if (store_begin(s->store, e) != 0 || store_trim_journal(s->store, upto, GC_ENTRIES_MAX, &more, e) != 0 ||
	    store_commit(s->store, e) != 0)
		return -1;
	*pending = more;
	return 0;
}

static int gc_step(struct shapes *s, bool *pending, struct err *e)
{
	bool more;
	uint64_t before = measure_used(s), after;
	if (store_begin(s->store, e) != 0 || store_gc_step(s->store, GC_ENTRIES_MAX, &more, e) != 0 || store_commit(s->store, e) != 0)
		return -1;
	after = measure_used(s);
	if (before > after)
		usage_freed(s, before - after);
	*pending = more;
	return 0;
}

/* Lines are made by one thread and freed by another: after a burst the allocator holds on to much that
 * is free. An idle second is the time to give it back. */
void housekeep_memory(struct shapes *s, bool idle)
{
	struct writer *w = &s->writer;
	int64_t now = clock_mono_ms();
	if (w->written_bytes < TRIM_AFTER_BYTES || (!idle && now - w->trimmed_ms < TRIM_BUSY_MS))
		return;
	w->written_bytes = 0;
	w->trimmed_ms = now;
	malloc_trim(0);
}

/* No shape has anything in the journal that isn't folded, or dropped with it, and yet it is counted: shapes also
 * leave the list of those to fold by being dropped, and before they are staged. */
static bool journal_is_dead(const struct writer *w) { return w->fold_head == NULL && w->journal_bytes > 0; }

static void forget_journal(struct writer *w)
{
	w->journal_bytes = w->journal_refs = 0;
	w->trim_upto = w->first_seq = w->next_seq;
	w->trim_pending = true;
}

/* Folding must keep up with what comes; beside it, deleting goes in small steps. */
static int keep_house(struct shapes *s, struct err *e)
{
	struct writer *w = &s->writer;
	for (int i = 0; i < FOLDS_PER_ROUND && fold_due(w); i++)
		if (fold_step(s, e) != 0)
			return -1;
	if (journal_is_dead(w))
		forget_journal(w);
	if (w->trim_pending && trim_step(s, w->trim_upto, &w->trim_pending, e) != 0)
		return -1;
	return w->gc_pending ? gc_step(s, &w->gc_pending, e) : 0;
}

size_t writer_journal_bytes(const struct shapes *s) { return atomic_load(&s->writer.journal_bytes); }

static bool has_work(const struct writer *w) { return fold_due(w) || w->trim_pending || w->gc_pending || journal_is_dead(w); }

bool housekeep_busy(const struct writer *w) { return has_work(w) && clock_mono_ms() >= w->rest_until_ms; }

void housekeep(struct shapes *s)
{
	struct writer *w = &s->writer;
	struct err e = {0};
	REQUIRE(writer_is_mine(w));
	if (has_work(w) && !housekeep_busy(w))
		return;
	if (!has_work(w) || keep_house(s, &e) == 0) {
		w->rest_ms = 0;
		failing_works_again(s, FAILING_HOUSEKEEPING);
		return;
	}
	/* Commits may still work (a full disk has room for small ones): not again at once. What fails is what was to be done
	 * here, so that neither they nor an environment that can be opened say that it works. */
	(void)failing_recover(s, FAILING_HOUSEKEEPING, &e);
	w->rest_ms = failing_next_rest(w->rest_ms);
	w->rest_until_ms = clock_mono_ms() + w->rest_ms;
}
