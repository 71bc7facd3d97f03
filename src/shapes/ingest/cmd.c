/*
 * cmd.c - commands from the PG threads: shapes that join, their snapshots, drops, partitions.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/ingest/route.h"
#include "shapes/logs/record.h"
#include "shapes/routing/render.h"

/* Who begins to look in the middle of a transaction counts it as passed. Of a replay nobody else gets anything either, who
 * began before. */
static void pass_at_hand(struct ingest *in)
{
	if (in->in_txn && in->skip)
		passed_add_again(in, in->xid);
	else if (in->in_txn)
		passed_add(in, in->xid);
}

static void register_shapes(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	c->result = in->streaming ? 0 : -1;
	for (int i = 0; i < c->nshapes && c->result == 0; i++) {
		struct shape *shape = c->shapes[i];
		if (atomic_load(&shape->dropped))
			continue;
		struct err e = {0};
		if (route_add_shape(s, shape, &e) != 0) {
			ingest_rotate(s, shape, REASON_CONDITION_UNUSABLE, e.text);
			continue;
		}
		join_clear(shape);
		join_begin(in, shape);
		shape->in.overflowed = false;
		pass_at_hand(in);
	}
}

static void unregister_shapes(struct shapes *s, struct cmd *c)
{
	for (int i = 0; i < c->nshapes; i++)
		route_remove_shape(s, c->shapes[i]);
}

static struct pg_snapshot snapshot_copy(const struct pg_snapshot *from)
{
	struct pg_snapshot to = *from;
	to.xip = from->nxip > 0 ? mem_alloc(from->nxip * sizeof *to.xip) : NULL;
	if (from->nxip > 0)
		memcpy(to.xip, from->xip, from->nxip * sizeof *to.xip);
	return to;
}

/* Everything a shape saw while its snapshot wasn't known, less what the snapshot shows. */
static void join_release(struct shapes *s, struct shape *shape)
{
	size_t n = 0;
	struct err e;
	REQUIRE(shape->in.filter.known && !shape->in.joining && !shape->in.counting);
	const struct kept *all = shape->in.kept;
	if (all == NULL || all->n == 0) {
		join_clear(shape);
		return;
	}
	struct entry *kept = mem_alloc(all->n * sizeof *kept);
	for (size_t i = 0; i < all->n; i++) {
		struct entry en = all->entries[i];
		if (en.at.tx < shape->in.filter.snap.insert_lsn && pg_snapshot_holds(&shape->in.filter.snap, all->xids[i]))
			continue;
		kept[n] = en;
		line_ref(kept[n++].line);
	}
	join_clear(shape);
	if (shape->in.counts != NULL && counts_number_entries(s->ingest, shape, kept, n, &e) != 0) {
		for (size_t i = 0; i < n; i++)
			line_unref(kept[i].line);
		free(kept);
		ingest_rotate(s, shape, REASON_ROWS_UNCOUNTED, e.text);
		return;
	}
	struct item_rows *it = item_rows_new(&(struct item_txn){.end = s->ingest->processed}, n);
	for (size_t i = 0; i < n; i++) {
		txn_account(shape, &kept[i]);
		line_ref(kept[i].line);
		item_rows_add(it, shape, &kept[i]);
	}
	tail_publish(shape, kept, n, (struct change_times){0, 0});
	free(kept);
	writer_put(s, &it->item);
}

static void take_counts(struct shapes *s, struct shape *shape, struct key_counts *counts)
{
	struct ingest *in = s->ingest;
	if (!shape->in.routed || !shape->in.counting)
		return;
	shape->in.counts = mem_alloc(sizeof *shape->in.counts);
	*shape->in.counts = *counts;
	*counts = (struct key_counts){0};
	in->ncounts++;
	shape->in.counting = false;
	join_release(s, shape);
	/* The commit at hand has been counted already, but for this shape. */
	struct txn_shape *t = in->in_txn && shape->in.txn_seq == in->txn_number ? shape->in.txn : NULL;
	if (t != NULL && in->ending && shape->in.routed && !txn_filtered(in, shape))
		(void)counts_number(in, t, false);
	counts_forget_lines(in);
}

static void put_shape_record(struct shapes *s, struct shape *shape, const struct pg_snapshot *snap)
{
	struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	record_shape(shape, snap, false, 0, &b);
	writer_put(s, item_shape_new(shape, &b, atomic_load(&s->next_id)));
}

/* What a snapshot shows is delivered: it counts for the mark (docs/invariants.md 6.5), from before a client can see it. */
static void snapshot_counts(struct shapes *s, const struct pg_snapshot *snap)
{
	struct ingest *in = s->ingest;
	lsn_t lsn = snap->insert_lsn;
	if (lsn > atomic_load(&s->delivered))
		atomic_store(&s->delivered, lsn);
	if (lsn > in->snapshots_lsn)
		in->snapshots_lsn = lsn;
	if (lsn > in->mark_limit || lsn > in->mark_wanted)
		mark_request(s, lsn_add(lsn > in->mark_wanted ? lsn : in->mark_wanted, MARK_STEP_BYTES));
}

static struct sets *sets_of(const struct cmd *c, int i) { return c->sets != NULL ? c->sets[i] : NULL; }

static void filter_shapes(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	/* A snapshot of a server that has been restarted since may show what it lost (docs/invariants.md 6.5). */
	c->result = in->streaming && c->snap->incarnation_us == s->server.incarnation_us ? 0 : -1;
	uint64_t joined = UINT64_MAX;
	for (int i = 0; i < c->nshapes; i++) {
		if (!c->shapes[i]->in.joining)
			continue;
		joined = c->shapes[i]->in.joined_txn < joined ? c->shapes[i]->in.joined_txn : joined;
		if (c->result == 0 && c->shapes[i]->in.overflowed)
			c->result = CMD_ANEW;
	}
	if (c->result == 0 && joined != UINT64_MAX && (passed_not_held(in, c->snap, joined) || passed_doubtful(in, c->snap)))
		c->result = CMD_AGAIN;
	for (int i = 0; i < c->nshapes && c->result == 0; i++)
		if (sets_of(c, i) != NULL && c->shapes[i]->in.joining && !inner_counts(c->shapes[i], c->sets[i], c->snap))
			c->result = CMD_AGAIN;
	if (c->result != 0)
		return;
	snapshot_counts(s, c->snap); /* in the queue before the shapes, which are durable before a client sees them */
	for (int i = 0; i < c->nshapes; i++) {
		struct shape *shape = c->shapes[i];
		if (atomic_load(&shape->dropped) || !shape->in.routed)
			continue;
		shape->in.filter.snap = snapshot_copy(c->snap);
		shape->in.filter.known = true;
		join_end(in, shape);
		if (sets_of(c, i) != NULL) {
			inner_take(shape, c->sets[i]);
			c->sets[i] = NULL;
		}
		put_shape_record(s, shape, c->snap);
		shape->in.counting = shape->def.table->keys == PG_KEYS_COUNTED;
		if (!shape->in.counting)
			join_release(s, shape);
	}
}

/*
 * A client asks for a subset and has, or may have, what the stream passed up to now: a snapshot that calls
 * one of these transactions running would give it older rows, and nothing would ever correct them.
 */
static void subset_begin(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	c->result = in->streaming ? 0 : -1;
	passed_watch(in);
	c->joined = in->txn_number;
	pass_at_hand(in);
}

static void subset_end(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	c->result = -1;
	if (c->snap != NULL && in->streaming && c->snap->incarnation_us == s->server.incarnation_us)
		c->result = passed_not_held(in, c->snap, c->joined) || passed_doubtful(in, c->snap) ? CMD_AGAIN : 0;
	passed_unwatch(in, c->joined);
	if (c->result != 0)
		return;
	snapshot_counts(s, c->snap);
	mark_poll(s);
	c->mark_pending = in->mark_limit != in->mark_wanted;
}

/* Shapes whose subqueries select from a table that got a leaf with rows. */
static void rotate_watchers(struct shapes *s, uint32_t root, uint32_t leaf)
{
	const struct route *route;
	for (size_t i = 0; (route = route_get(s->ingest, root, false)) != NULL && i < route->nwatches;) {
		if (pg_table_has_leaf(route->watches[i]->table, leaf))
			i++;
		else
			ingest_rotate(s, route->watches[i]->shape, REASON_PARTITION_CHANGED,
			              "a partition with rows was attached to a table in its condition"); /* another takes its place */
	}
}

static void resolved(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	if (in->resolving == c->oid && in->xid == c->xid) {
		in->resolving = 0;
		in->unresolved = in->unresolved || c->result != 0; /* a look may have failed meanwhile */
	}
	struct relation *r = relation_of(in, c->oid);
	if (r != NULL)
		r->resolved = c->result == 0;
	if (c->result == 0)
		leaf_clear(in, c->oid); /* it may have been detached */
	for (int i = 0; i < c->nancestors; i++) {
		struct route *route = route_get(in, c->ancestors[i], false);
		/* Backwards: a rotation takes the shape out of the route. Those whose definition knows the leaf
		 * have its rows in their snapshot. */
		for (size_t j = c->had_rows[i] && route != NULL ? route->n : 0; j > 0 && route != NULL; j--)
			if (!pg_table_has_leaf(route->shapes[j - 1]->def.table, c->oid)) {
				ingest_rotate(s, route->shapes[j - 1], REASON_PARTITION_CHANGED, "a partition with rows was attached");
				route = route_get(in, c->ancestors[i], false); /* it is gone with its last shape */
			}
		if (c->had_rows[i])
			rotate_watchers(s, c->ancestors[i], c->oid);
		leaf_add(in, c->oid, c->ancestors[i]);
	}
}

static void run_command(struct shapes *s, struct cmd *c)
{
	switch (c->kind) {
	case CMD_REGISTER:
		register_shapes(s, c);
		break;
	case CMD_FILTER:
		filter_shapes(s, c);
		break;
	case CMD_UNREGISTER:
		unregister_shapes(s, c);
		break;
	case CMD_DROP:
		for (int i = 0; i < c->nshapes; i++)
			ingest_drop(s, c->shapes[i]);
		break;
	case CMD_RESOLVED:
		resolved(s, c);
		break;
	case CMD_GROUND:
		if (s->ingest->grounding && c->number == s->ingest->starts) {
			s->ingest->grounding = false;
			s->ingest->unresolved = s->ingest->unresolved || c->result != 0;
		}
		break;
	case CMD_LOOKED:
		look_done(s, c);
		break;
	case CMD_PRUNE:
		/* A shape that joins, or is about to, may yet need to know of one that has ended since its snapshot. */
		if (s->ingest->njoining == 0 && atomic_load(&s->snapshots_ahead) == 0)
			passed_prune(s->ingest, c->xmin);
		break;
	case CMD_COUNTS:
		take_counts(s, c->shapes[0], c->counts);
		break;
	case CMD_SUBSET_BEGIN:
		subset_begin(s, c);
		break;
	case CMD_SUBSET_END:
		subset_end(s, c);
		break;
	case CMD_NOP:
		break;
	}
}

void cmd_run_all(struct shapes *s)
{
	REQUIRE(ingest_is_mine(s->ingest));
	for (struct cmd *c; (c = cmd_take(s)) != NULL; cmd_done(s, c))
		run_command(s, c);
}
