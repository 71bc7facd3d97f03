/*
 * mark.c - the mark (docs/invariants.md 2.3): durable, and above everything that a client can have
 * seen. Reserved ahead in steps, drawn back when nothing is delivered for a while.
 */
#include "base/clock.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/ingest/ingest.h"

/* With nothing delivered for so long, the mark is drawn back to what was. */
#define MARK_IDLE_MS 10000

void mark_request(struct shapes *s, lsn_t to)
{
	struct ingest *in = s->ingest;
	in->mark_wanted = to;
	in->mark_seq++;
	/* Until it is durable only what both the old and the new mark cover may be delivered. */
	if (to < in->mark_limit)
		in->mark_limit = to;
	writer_put(s, item_mark_new(to, in->mark_seq));
}

void mark_poll(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (in->mark_limit != in->mark_wanted && atomic_load(&s->mark_done) == in->mark_seq)
		in->mark_limit = in->mark_wanted;
}

/* True if clients may see positions up to `lsn`; asks for room where it is short. */
bool mark_covers(struct shapes *s, lsn_t lsn)
{
	struct ingest *in = s->ingest;
	mark_poll(s);
	bool pending = in->mark_limit != in->mark_wanted;
	if (!pending && lsn_add(lsn, MARK_STEP_BYTES / 2) > in->mark_limit) {
		mark_request(s, lsn_add(lsn, MARK_STEP_BYTES));
		in->mark_idle = false;
	}
	return lsn <= in->mark_limit;
}

void mark_idle(struct shapes *s)
{
	struct ingest *in = s->ingest;
	mark_poll(s);
	if (in->in_txn || in->mark_idle || in->mark_limit != in->mark_wanted || clock_mono_ms() - in->delivered_ms < MARK_IDLE_MS)
		return;
	in->mark_idle = true;
	if (atomic_load(&s->delivered) < in->mark_limit)
		mark_request(s, atomic_load(&s->delivered));
}

bool mark_awaited(struct shapes *s)
{
	pthread_mutex_lock(&s->lsn_lock);
	bool yes = s->lsn_waiters.head != NULL;
	pthread_mutex_unlock(&s->lsn_lock);
	return yes;
}

void mark_set_seen(struct shapes *s, lsn_t lsn)
{
	if (lsn <= atomic_load(&s->seen))
		return;
	REQUIRE(lsn <= s->ingest->mark_limit);
	atomic_store(&s->seen, lsn);
	if (lsn > atomic_load(&s->delivered))
		atomic_store(&s->delivered, lsn);
	pthread_mutex_lock(&s->lsn_lock);
	wait_list_wake_lsn(&s->lsn_waiters, lsn);
	pthread_mutex_unlock(&s->lsn_lock);
}
