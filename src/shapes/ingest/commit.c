/*
 * commit.c - the end of a transaction: the mark covers it, tails, the position, and the writer gets the same rows
 * (docs/invariants.md 2.1).
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/engine.h"
#include "shapes/core/held_back.h"
#include "shapes/core/items.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/ingest/route.h"

/* Changes kept for a shape whose snapshot has begun and isn't known yet (a round trip); beyond, the
 * snapshot is taken again. */
#define JOIN_BYTES_MAX (16u << 20)

/* Changes kept for such a shape while its first rows are copied, which are counted meanwhile; beyond, it rotates. */
#define COUNTING_BYTES_MAX (64u << 20)

void txn_clear(struct ingest *in)
{
	inner_txn_clear(in);
	txn_forget(in);
	keys_clear(in);
	counts_txn_clear(in);
}

/* For a shape whose snapshot isn't known yet, or whose rows are being counted. */
static void join_buffer(struct shapes *s, struct txn_shape *t)
{
	struct shape *shape = t->shape;
	join_keep(s->ingest, t);
	size_t bytes = shape->in.kept != NULL ? shape->in.kept->bytes : 0;
	if (shape->in.counting && bytes > COUNTING_BYTES_MAX)
		ingest_rotate(s, shape, REASON_ROWS_UNCOUNTED,
		              "too many changes came while equal rows of its table, which has no key, were counted");
	else if (shape->in.joining && bytes > JOIN_BYTES_MAX) {
		shape->in.overflowed = true;
		join_clear(shape);
	}
}

/* Before the transaction's rows go anywhere: its rotations must be durable no later than itself. */
static void rotate_touched(struct shapes *s)
{
	struct ingest *in = s->ingest;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct shape *shape = in->touched[i]->shape;
		if (!in->touched[i]->rotate || !shape->in.routed || txn_filtered(in, shape))
			continue;
		/* Whether the snapshot holds it isn't known yet: take it again, after this. */
		if (shape->in.joining)
			shape->in.overflowed = true;
		else {
			if (in->touched[i]->set_changed)
				held_back_changed(s, &shape->def);
			ingest_rotate(s, shape, in->touched[i]->reason, in->touched[i]->why);
		}
	}
}

/* Publishes the small transaction at hand: tails first, then the position, then the writer. */
static void publish(struct shapes *s)
{
	struct ingest *in = s->ingest;
	REQUIRE(in->end_lsn <= in->mark_limit && in->mark_limit <= atomic_load(&s->mark)); /* docs/invariants.md 2.1 */
	inner_commit(in);
	rotate_touched(s);
	size_t total = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		total += in->touched[i]->n;
	struct change_times times = {clock_of_postgres_us(in->commit_us), in->arrived_us != 0 ? in->arrived_us : clock_wall_us()};
	struct item_rows *it = item_rows_new(&(struct item_txn){in->tx, in->end_lsn, in->commit_us, in->xid}, total);
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!txn_wanted(in, t) || t->n == 0)
			continue;
		if (t->shape->in.joining || t->shape->in.counting) {
			join_buffer(s, t);
			continue;
		}
		REQUIRE(!t->shape->in.drop_put); /* docs/invariants.md 2.9 */
		t->entries[t->n - 1].flags |= ENTRY_LAST;
		for (size_t j = 0; j < t->n; j++) {
			txn_account(t->shape, &t->entries[j]);
			line_ref(t->entries[j].line);
			item_rows_add(it, t->shape, &t->entries[j]);
		}
		/* The tail takes the references that the transaction held. */
		tail_publish(t->shape, t->entries, t->n, times);
		t->n = t->ncounted = 0;
	}
	if (it->nrows > 0)
		metric_observe(METRIC_COMMIT_TO_LOG, times.logged_us - times.commit_us);
	metric_add(METRIC_LOG_ENTRIES, (int64_t)it->nrows);
	writer_put(s, &it->item);
}

/* A staged transaction: the rest of its rows, then the word that makes it visible, once durable. */
static void publish_staged(struct shapes *s)
{
	struct ingest *in = s->ingest;
	REQUIRE(in->end_lsn <= in->mark_limit && in->mark_limit <= atomic_load(&s->mark)); /* docs/invariants.md 2.1 */
	inner_commit(in);
	rotate_touched(s);
	/* The writer shows it to readers before we hear of it. */
	if (in->end_lsn - 1 > atomic_load(&s->delivered))
		atomic_store(&s->delivered, in->end_lsn - 1);
	txn_stage(s, true);
	rotate_touched(s); /* once more: those that couldn't be staged */
	in->publishing = true;
	in->publishing_tx = in->tx;
	txn_stage_end(s);
}

static void finish_txn(struct shapes *s)
{
	struct ingest *in = s->ingest;
	REQUIRE(in->ending && !in->skip && in->tx >= in->processed && in->end_lsn > in->tx);
	passed_add(in, in->xid);
	commits_add(&in->commits, (struct commit){in->tx, in->commit_us, in->xid});
	in->processed = in->end_lsn;
	in->keepalive = 0;
	in->delivered_ms = clock_mono_ms();
	/* The end of a commit is where the next record starts, which may be the next commit: value - 1. */
	mark_set_seen(s, in->end_lsn - 1);
	metric_add(METRIC_TRANSACTIONS, 1);
	txn_clear(in);
}

/* Goes on with the end of the transaction as far as the mark and the writer allow. False: not done. */
bool txn_try_finish(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (!in->ending)
		return true;
	if (in->publishing) {
		if (atomic_load(&s->published_tx) != in->publishing_tx)
			return false;
		in->publishing = false;
		finish_txn(s);
		return true;
	}
	if (!mark_covers(s, in->end_lsn))
		return false;
	if (in->staged) {
		publish_staged(s);
		return false;
	}
	publish(s);
	finish_txn(s);
	return true;
}
