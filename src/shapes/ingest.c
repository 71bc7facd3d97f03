/*
 * ingest.c - the INGEST thread: the sink of the replication stream.
 *
 * A transaction's changes are routed to the shapes of their table, rendered once per format, and kept
 * until the commit; then each touched shape's tail is published (readers see it at once, waiting
 * clients are woken) and the writer gets the same rows to make them durable. The order, asserted
 * where it happens: the mark covers it -> tails -> wake; and, independently, store commit -> feedback.
 *
 * Transactions too large for memory are staged: their rows go straight into blocks that no reader
 * looks at until the commit is durable (design.md 2).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/internal.h"

#define PASSED_PAGE_BITS 32768u /* xids a page of the passed set covers */
#define LINE_BYTES_MAX (1200u << 20) /* a row of Postgres is below 1 GB, and escaping may lengthen it */

struct passed_page {
	uint32_t number; /* xid / PASSED_PAGE_BITS */
	uint32_t count;
	uint64_t bits[PASSED_PAGE_BITS / 64];
};

struct recent {
	uint32_t xid;
	uint64_t txn;
};

struct ingest {
	struct map relations;  /* oid -> relation */
	struct map routes;     /* oid -> route */
	struct map leaves;     /* oid -> leaf */
	struct map formats;    /* key -> format */
	struct map passed;     /* page number -> passed_page: xids the stream has passed */
	struct recent *recent; /* those passed while some shape joins */
	size_t nrecent, recent_cap, njoining;
	size_t nroots;         /* routed shapes whose table has partitions or children */
	struct buf scratch;

	/* the running transaction */
	bool in_txn, skip, ending;
	uint32_t xid;
	lsn_t tx, end_lsn;
	uint64_t op, txn_number, change_number;
	struct txn_shape **touched;
	size_t ntouched, touched_cap, txn_bytes;
	int64_t wire_bytes;
	bool staged, oversize;

	lsn_t processed;       /* commits below are published (or were before we started) */
	lsn_t keepalive;       /* a position from a keepalive that waits to be made durable */
	int64_t keepalive_ms;
	uint64_t start_xmax;   /* of the server when we began; 0: no synchronous standbys, it doesn't matter */
	lsn_t snapshots_lsn;   /* the newest snapshot's insert position */
	lsn_t publishing_tx;   /* staged: waiting for the writer to publish it */
	bool publishing;
	bool streaming;
	bool unresolved;       /* a look-up failed: what came since can't be routed */
	uint32_t resolving;    /* oid whose ancestors a PG thread looks up; 0: none */
	uint32_t relation_version;

	lsn_t mark_limit;      /* nothing above this is delivered */
	lsn_t mark_wanted;     /* of the request under way */
	uint64_t mark_seq;
	int64_t delivered_ms;
	bool mark_idle;        /* drawn back */
};

/* ---- the set of passed transactions (design.md 6 rule 3) ------------------------------------------ */

static void passed_add(struct ingest *in, uint32_t xid)
{
	if (in->njoining > 0) {
		if (in->nrecent == in->recent_cap) {
			in->recent_cap = in->recent_cap ? in->recent_cap * 2 : 64;
			in->recent = mem_realloc(in->recent, in->recent_cap * sizeof *in->recent);
		}
		in->recent[in->nrecent++] = (struct recent){xid, in->txn_number};
	}
	uint32_t number = xid / PASSED_PAGE_BITS;
	struct passed_page *p = map_get(&in->passed, &number, sizeof number);
	if (p == NULL) {
		p = mem_zalloc(sizeof *p);
		p->number = number;
		map_put(&in->passed, &p->number, sizeof p->number, p);
	}
	p->bits[xid % PASSED_PAGE_BITS / 64] |= (uint64_t)1 << (xid % 64);
}

/* Forgets what every later snapshot shows: pages wholly below xmin. */
static void passed_prune(struct ingest *in, uint64_t xmin)
{
	uint32_t limit = (uint32_t)xmin / PASSED_PAGE_BITS;
	for (;;) {
		struct passed_page *old = NULL, *p;
		for (size_t i = 0; old == NULL && (p = map_next(&in->passed, &i)) != NULL;)
			if (p->number != limit && (int32_t)((uint32_t)(p->number * PASSED_PAGE_BITS) - (uint32_t)xmin) < 0)
				old = p;
		if (old == NULL)
			return;
		map_del(&in->passed, &old->number, sizeof old->number);
		free(old);
	}
}

/*
 * The same for what an earlier process of ours had passed: it committed before this one began, and
 * still counts as running while a synchronous standby hasn't answered. Whether such a transaction is
 * one of those or just long can't be told; the snapshot is taken again until it has ended.
 */
static bool doubtful(struct ingest *in, const struct pg_snapshot *snap)
{
	for (uint32_t i = 0; in->start_xmax != 0 && i < snap->nxip; i++) {
		uint32_t xid = (uint32_t)snap->xip[i], number = xid / PASSED_PAGE_BITS;
		const struct passed_page *p = map_get(&in->passed, &number, sizeof number);
		bool streamed = p != NULL && (p->bits[xid % PASSED_PAGE_BITS / 64] >> (xid % 64) & 1) != 0;
		if (snap->xip[i] < in->start_xmax && !streamed)
			return true;
	}
	return false;
}

static int by_xid(const void *a, const void *b)
{
	uint32_t x = ((const struct recent *)a)->xid, y = ((const struct recent *)b)->xid;
	return x < y ? -1 : x > y;
}

/*
 * Whether a transaction that the stream had passed before the shape registered (with transaction
 * number `joined`) isn't in the snapshot: it still counts as running there, and its rows would never
 * come. Those passed since are in the shape's buffer and are no trouble.
 */
static bool passed_not_held(struct ingest *in, const struct pg_snapshot *snap, uint64_t joined)
{
	struct recent *since = mem_alloc(in->nrecent * sizeof *since);
	size_t n = 0;
	for (size_t i = 0; i < in->nrecent; i++)
		if (in->recent[i].txn > joined)
			since[n++] = in->recent[i];
	qsort(since, n, sizeof *since, by_xid);
	bool found = false;
	struct passed_page *p;
	for (size_t i = 0; !found && (p = map_next(&in->passed, &i)) != NULL;)
		for (uint32_t w = 0; !found && w < ARRAY_LEN(p->bits); w++)
			for (uint64_t bits = p->bits[w]; !found && bits != 0; bits &= bits - 1) {
				struct recent key = {p->number * PASSED_PAGE_BITS + w * 64 + (uint32_t)__builtin_ctzll(bits), 0};
				found = !pg_snapshot_holds(snap, key.xid) && bsearch(&key, since, n, sizeof key, by_xid) == NULL;
			}
	free(since);
	return found;
}

static bool is_root(const struct shape *shape) { return shape->def.table->relkind == 'p' || shape->def.table->nleaves > 0; }

static void set_joining(struct ingest *in, struct shape *shape, bool joining)
{
	if (shape->in.joining == joining)
		return;
	shape->in.joining = joining;
	in->njoining += joining ? 1 : (size_t)-1;
	if (in->njoining == 0)
		in->nrecent = 0;
}

/* ---- routes and formats --------------------------------------------------------------------------- */

static struct route *route_get(struct ingest *in, uint32_t oid, bool make)
{
	struct route *r = map_get(&in->routes, &oid, sizeof oid);
	if (r == NULL && make) {
		r = mem_zalloc(sizeof *r);
		r->oid = oid;
		map_put(&in->routes, &r->oid, sizeof r->oid, r);
	}
	return r;
}

static void route_add(struct ingest *in, uint32_t oid, struct shape *s)
{
	struct route *r = route_get(in, oid, true);
	s->in.route_at = r->n;
	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 4;
		r->shapes = mem_realloc(r->shapes, r->cap * sizeof(struct shape *));
	}
	r->shapes[r->n++] = s;
}

static void route_remove(struct ingest *in, uint32_t oid, struct shape *s)
{
	struct route *r = route_get(in, oid, false);
	if (r == NULL)
		return;
	REQUIRE(r->shapes[s->in.route_at] == s);
	struct shape *moved = r->shapes[s->in.route_at] = r->shapes[--r->n];
	moved->in.route_at = s->in.route_at;
	if (r->n == 0) {
		map_del(&in->routes, &r->oid, sizeof r->oid);
		free(r->shapes);
		free(r);
	}
}

static struct format *format_intern(struct ingest *in, const struct shape_def *def)
{
	struct buf key = BUF_INIT(RECORD_BYTES_MAX);
	buf_put(&key, &def->table, sizeof(struct pg_table *));
	buf_put(&key, &def->replica, sizeof def->replica);
	buf_put(&key, &def->selects_all, sizeof def->selects_all);
	buf_put(&key, def->selected, def->nselected * sizeof *def->selected);
	struct format *f = map_get(&in->formats, key.data, key.len);
	if (f != NULL) {
		f->refs++;
		buf_clear(&key);
		return f;
	}
	f = mem_zalloc(sizeof *f);
	f->refs = 1;
	f->key = buf_detach(&key, &f->key_len);
	shape_def_copy(&f->def, def);
	struct buf b = BUF_INIT(4096);
	line_relation_json(def->table, &b);
	f->relation_json = buf_detach(&b, NULL);
	line_key_prefix(def->table, &b);
	f->key_prefix = buf_detach(&b, NULL);
	map_put(&in->formats, f->key, f->key_len, f);
	return f;
}

static void format_forget_lines(struct format *f)
{
	for (int i = 0; i < 2; i++)
		if (f->lines[i] != NULL) {
			line_unref(f->lines[i]);
			f->lines[i] = NULL;
		}
}

static void format_unref(struct ingest *in, struct format *f)
{
	if (f == NULL || --f->refs > 0)
		return;
	map_del(&in->formats, f->key, f->key_len);
	format_forget_lines(f);
	shape_def_clear(&f->def);
	free(f->relation_json);
	free(f->key_prefix);
	free(f->map);
	free(f->key);
	free(f);
}

/* ---- partitions ---- */

static struct leaf *leaf_get(struct ingest *in, uint32_t oid) { return map_get(&in->leaves, &oid, sizeof oid); }

static void leaf_add(struct ingest *in, uint32_t oid, uint32_t root)
{
	struct leaf *l = leaf_get(in, oid);
	if (l == NULL) {
		l = mem_zalloc(sizeof *l);
		l->oid = oid;
		map_put(&in->leaves, &l->oid, sizeof l->oid, l);
	}
	for (size_t i = 0; i < l->n; i++)
		if (l->roots[i] == root)
			return;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 2;
		l->roots = mem_realloc(l->roots, l->cap * sizeof *l->roots);
	}
	l->roots[l->n++] = root;
}

static void leaves_add(struct ingest *in, const struct pg_table *t)
{
	for (uint32_t i = 0; i < t->nleaves; i++)
		leaf_add(in, t->leaves[i], t->oid);
}

/* The leaves of `t` are these and no others: what was detached isn't its any more. */
static void leaves_set(struct ingest *in, const struct pg_table *t)
{
	struct leaf *l;
	for (size_t i = 0; (l = map_next(&in->leaves, &i)) != NULL;)
		for (size_t j = 0; j < l->n; j++)
			if (l->roots[j] == t->oid)
				l->roots[j--] = l->roots[--l->n];
	leaves_add(in, t);
}

static bool has_leaf(const struct pg_table *t, uint32_t oid)
{
	for (uint32_t i = 0; i < t->nleaves; i++)
		if (t->leaves[i] == oid)
			return true;
	return false;
}

static void route_shape(struct shapes *s, struct shape *shape)
{
	struct ingest *in = s->ingest;
	if (shape->in.routed)
		return;
	shape->in.routed = true;
	shape->in.format = format_intern(in, &shape->def);
	route_add(in, shape->def.table->oid, shape);
	if (is_root(shape)) {
		in->nroots++;
		leaves_add(in, shape->def.table);
	}
}

static void buffered_clear(struct shape *shape)
{
	for (size_t i = 0; i < shape->in.nbuffered; i++)
		line_unref(shape->in.buffered[i].line);
	free(shape->in.buffered);
	free(shape->in.buffered_xid);
	free(shape->in.buffered_end);
	shape->in.buffered = NULL;
	shape->in.buffered_xid = NULL;
	shape->in.buffered_end = NULL;
	shape->in.nbuffered = shape->in.buffered_cap = shape->in.buffered_bytes = 0;
}

static void unroute_shape(struct shapes *s, struct shape *shape)
{
	struct ingest *in = s->ingest;
	if (!shape->in.routed)
		return;
	shape->in.routed = false;
	set_joining(in, shape, false);
	buffered_clear(shape);
	route_remove(in, shape->def.table->oid, shape);
	if (is_root(shape))
		in->nroots--;
	format_unref(in, shape->in.format);
	shape->in.format = NULL;
}

/* ---- the running transaction ---------------------------------------------------------------------- */

static void forget_entries(struct txn_shape *t);

static void txn_shape_free(struct txn_shape *t)
{
	forget_entries(t);
	free(t->entries);
	if (t->shape != NULL) {
		t->shape->in.txn = NULL;
		shape_unref(t->shape);
	}
	free(t);
}

static void txn_clear(struct ingest *in)
{
	for (size_t i = 0; i < in->ntouched; i++)
		txn_shape_free(in->touched[i]);
	in->ntouched = in->txn_bytes = 0;
	in->in_txn = in->skip = in->staged = in->ending = in->oversize = false;
	in->wire_bytes = 0;
}

static struct txn_shape *txn_touch(struct ingest *in, struct shape *shape)
{
	if (shape->in.txn_seq == in->txn_number && shape->in.txn != NULL)
		return shape->in.txn;
	struct txn_shape *t = mem_zalloc(sizeof *t);
	t->shape = shape_ref(shape);
	t->open_bytes_before = shape->in.open_bytes;
	shape->in.txn = t;
	shape->in.txn_seq = in->txn_number;
	if (in->ntouched == in->touched_cap) {
		in->touched_cap = in->touched_cap ? in->touched_cap * 2 : 16;
		in->touched = mem_realloc(in->touched, in->touched_cap * sizeof(struct txn_shape *));
	}
	in->touched[in->ntouched++] = t;
	return t;
}

static void txn_rotate(struct ingest *in, struct shape *shape, const char *why)
{
	struct txn_shape *t = txn_touch(in, shape);
	if (t->rotate)
		return;
	t->rotate = true;
	snprintf(t->why, sizeof t->why, "%s", why);
}

static void txn_append(struct ingest *in, struct txn_shape *t, struct line *line, uint64_t op)
{
	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 2;
		t->entries = mem_realloc(t->entries, t->cap * sizeof *t->entries);
	}
	t->entries[t->n++] = (struct entry){{in->tx, op}, line_ref(line), 0};
	in->txn_bytes += sizeof(struct entry);
}

/* Marks where chunks end: after the entry that brings the open chunk to the threshold. */
static void account(struct shape *shape, struct entry *e)
{
	shape->in.open_bytes += entry_bytes(e);
	if (shape->in.open_bytes < shape->chunk_bytes)
		return;
	e->flags |= ENTRY_CHUNK_END;
	shape->in.open_bytes = 0;
}

/* True if the shape must not see the running transaction. */
static bool filtered(struct ingest *in, const struct shape *shape)
{
	if (shape->in.joined_txn >= in->txn_number)
		return true; /* it joined in the middle of it: the snapshot shows it, or is taken again */
	return shape->in.filter.known && in->tx < shape->in.filter.snap.insert_lsn &&
	       pg_snapshot_holds(&shape->in.filter.snap, in->xid);
}

/* Whether a touched shape is still to get the transaction's rows: it may have been dropped meanwhile,
 * and its snapshot may have become known after its first rows were collected. */
static bool wanted(struct ingest *in, const struct txn_shape *t)
{
	return !t->rotate && t->shape->in.routed && !filtered(in, t->shape);
}

static void forget_entries(struct txn_shape *t)
{
	for (size_t i = 0; i < t->n; i++)
		line_unref(t->entries[i].line);
	t->n = 0;
}

/* Rows of the running transaction go to the store, each shape's newest held back: it may be its last. */
static void stage_rows(struct shapes *s, bool all)
{
	struct ingest *in = s->ingest;
	struct item *it = item_new(ITEM_STAGE);
	size_t n = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		n += in->touched[i]->n;
	it->rows = mem_alloc(n * sizeof *it->rows);
	it->tx = in->tx;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		/* A shape whose snapshot isn't known yet can't be staged: it takes the snapshot again, after this. */
		if (t->shape->in.joining)
			t->shape->in.overflowed = true;
		if (t->shape->in.joining || !wanted(in, t)) {
			forget_entries(t);
			continue;
		}
		if (t->n == 0)
			continue;
		size_t take = all ? t->n : t->n - 1;
		for (size_t j = 0; j < take; j++) {
			if (all && j == t->n - 1)
				t->entries[j].flags |= ENTRY_LAST;
			account(t->shape, &t->entries[j]);
			it->rows[it->nrows++] = (struct row){t->shape, t->entries[j]};
			it->bytes += t->entries[j].line->len + sizeof(struct row);
		}
		if (take > 0)
			t->staged = true;
		if (take < t->n)
			t->entries[0] = t->entries[t->n - 1];
		t->n -= take;
	}
	in->staged = true;
	in->txn_bytes = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		for (size_t j = 0; j < in->touched[i]->n; j++)
			in->txn_bytes += in->touched[i]->entries[j].line->len;
	writer_put(s, it);
}

/* The connection went away in the middle of a staged transaction. */
static void unstage(struct shapes *s)
{
	struct ingest *in = s->ingest;
	struct item *it = item_new(ITEM_UNSTAGE);
	struct buf ids = BUF_INIT(RECORD_BYTES_MAX);
	it->tx = in->tx;
	for (size_t i = 0; i < in->ntouched; i++)
		if (in->touched[i]->staged) {
			struct txn_shape *t = in->touched[i];
			t->shape->in.open_bytes = t->open_bytes_before;
			buf_put(&ids, &t->shape->id, sizeof t->shape->id);
		}
	it->data = buf_detach(&ids, &it->len);
	writer_put(s, it);
}

/* ---- joining: the snapshot isn't known yet --------------------------------------------------------- */

static void join_buffer(struct ingest *in, struct txn_shape *t)
{
	struct shape *shape = t->shape;
	for (size_t i = 0; i < t->n; i++) {
		if (shape->in.overflowed)
			break;
		if (shape->in.nbuffered == shape->in.buffered_cap) {
			size_t cap = shape->in.buffered_cap ? shape->in.buffered_cap * 2 : 16;
			shape->in.buffered = mem_realloc(shape->in.buffered, cap * sizeof *shape->in.buffered);
			shape->in.buffered_xid = mem_realloc(shape->in.buffered_xid, cap * sizeof *shape->in.buffered_xid);
			shape->in.buffered_end = mem_realloc(shape->in.buffered_end, cap * sizeof *shape->in.buffered_end);
			shape->in.buffered_cap = cap;
		}
		size_t at = shape->in.nbuffered++;
		shape->in.buffered[at] = t->entries[i];
		line_ref(t->entries[i].line);
		if (i == t->n - 1)
			shape->in.buffered[at].flags |= ENTRY_LAST;
		shape->in.buffered_xid[at] = in->xid;
		shape->in.buffered_end[at] = in->end_lsn;
		shape->in.buffered_bytes += t->entries[i].line->len + sizeof(struct entry);
	}
	if (shape->in.buffered_bytes > JOIN_BYTES_MAX) {
		shape->in.overflowed = true;
		buffered_clear(shape);
	}
}

/* ---- the mark (design.md 2 rule 3) ------------------------------------------------------------------ */

static void mark_request(struct shapes *s, lsn_t to)
{
	struct ingest *in = s->ingest;
	struct item *it = item_new(ITEM_MARK);
	it->lsn = in->mark_wanted = to;
	it->number = ++in->mark_seq;
	/* Until it is durable only what both the old and the new mark cover may be delivered. */
	if (to < in->mark_limit)
		in->mark_limit = to;
	writer_put(s, it);
}

static void mark_poll(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (in->mark_limit != in->mark_wanted && atomic_load(&s->mark_done) == in->mark_seq)
		in->mark_limit = in->mark_wanted;
}

/* True if clients may see positions up to `lsn`; asks for room where it is short. */
static bool mark_covers(struct shapes *s, lsn_t lsn)
{
	struct ingest *in = s->ingest;
	mark_poll(s);
	bool pending = in->mark_limit != in->mark_wanted;
	if (!pending && lsn + MARK_STEP_BYTES / 2 > in->mark_limit) {
		mark_request(s, lsn + MARK_STEP_BYTES);
		in->mark_idle = false;
	}
	return lsn <= in->mark_limit;
}

static void mark_idle(struct shapes *s)
{
	struct ingest *in = s->ingest;
	mark_poll(s);
	if (in->in_txn || in->mark_idle || in->mark_limit != in->mark_wanted || clock_mono_ms() - in->delivered_ms < MARK_IDLE_MS)
		return;
	in->mark_idle = true;
	if (atomic_load(&s->delivered) < in->mark_limit)
		mark_request(s, atomic_load(&s->delivered));
}

static void set_seen(struct shapes *s, lsn_t lsn)
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

/* ---- publishing ------------------------------------------------------------------------------------- */

/* From here on the shape gets nothing more, and its drop is ahead of everything that follows: a commit
 * that makes a later transaction durable has forgotten the shape. */
static void drop_shape(struct shapes *s, struct shape *shape)
{
	unroute_shape(s, shape);
	if (shape->in.drop_put)
		return;
	shape->in.drop_put = true;
	struct item *it = item_new(ITEM_DROP);
	it->shape = shape_ref(shape);
	writer_put(s, it);
}

static void rotate_now(struct shapes *s, struct shape *shape, const char *why)
{
	shape_unlink(shape, why);
	drop_shape(s, shape);
}

/* Before the transaction's rows go anywhere: its rotations must be durable no later than itself. */
static void rotate_touched(struct shapes *s)
{
	struct ingest *in = s->ingest;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct shape *shape = in->touched[i]->shape;
		if (!in->touched[i]->rotate || !shape->in.routed || filtered(in, shape))
			continue;
		/* Whether the snapshot holds it isn't known yet: take it again, after this. */
		if (shape->in.joining)
			shape->in.overflowed = true;
		else
			rotate_now(s, shape, in->touched[i]->why);
	}
}

/* Publishes the small transaction at hand: tails first, then the position, then the writer. */
static void publish(struct shapes *s)
{
	struct ingest *in = s->ingest;
	rotate_touched(s);
	struct item *it = item_new(ITEM_ROWS);
	size_t total = 0, at = 0;
	for (size_t i = 0; i < in->ntouched; i++)
		total += in->touched[i]->n;
	it->rows = mem_alloc(total * sizeof *it->rows);
	it->lsn = in->end_lsn;
	it->bytes = sizeof *it;
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!wanted(in, t) || t->n == 0)
			continue;
		if (t->shape->in.joining) {
			join_buffer(in, t);
			continue;
		}
		t->entries[t->n - 1].flags |= ENTRY_LAST;
		for (size_t j = 0; j < t->n; j++) {
			account(t->shape, &t->entries[j]);
			line_ref(t->entries[j].line);
			it->rows[at++] = (struct row){t->shape, t->entries[j]};
			it->bytes += t->entries[j].line->len + sizeof(struct row);
		}
		/* The tail takes the references that the transaction held. */
		tail_publish(t->shape, t->entries, t->n);
		t->n = 0;
	}
	it->nrows = at;
	atomic_fetch_add(&s->stat_appended, at);
	writer_put(s, it);
}

/* A staged transaction: the rest of its rows, then the word that makes it visible, once durable. */
static void publish_staged(struct shapes *s)
{
	struct ingest *in = s->ingest;
	rotate_touched(s);
	/* The writer shows it to readers before we hear of it. */
	if (in->end_lsn - 1 > atomic_load(&s->delivered))
		atomic_store(&s->delivered, in->end_lsn - 1);
	for (size_t i = 0; i < in->ntouched; i++)
		if (wanted(in, in->touched[i]) && in->touched[i]->shape->in.joining)
			join_buffer(in, in->touched[i]);
	struct item *it = item_new(ITEM_PUBLISH);
	it->rows = mem_alloc(in->ntouched * sizeof *it->rows);
	it->tx = in->tx;
	it->lsn = in->end_lsn;
	struct line *none = line_new("", 0, 0);
	for (size_t i = 0; i < in->ntouched; i++) {
		struct txn_shape *t = in->touched[i];
		if (!wanted(in, t) || t->shape->in.joining || (t->n == 0 && !t->staged))
			continue;
		REQUIRE(t->n > 0); /* the newest was held back */
		it->rows[it->nrows++] = (struct row){t->shape, {t->entries[t->n - 1].at, line_ref(none), 0}};
	}
	line_unref(none);
	stage_rows(s, true);
	in->publishing = true;
	in->publishing_tx = in->tx;
	writer_put(s, it);
}

static void finish_txn(struct shapes *s)
{
	struct ingest *in = s->ingest;
	passed_add(in, in->xid);
	in->processed = in->end_lsn;
	in->keepalive = 0;
	in->delivered_ms = clock_mono_ms();
	/* The end of a commit is where the next record starts, which may be the next commit: value - 1. */
	set_seen(s, in->end_lsn - 1);
	atomic_fetch_add(&s->stat_transactions, 1);
	txn_clear(in);
}

/* Goes on with the end of the transaction as far as the mark and the writer allow. False: not done. */
static bool try_finish(struct shapes *s)
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

/* ---- changes ------------------------------------------------------------------------------------------ */

static struct relation *relation_of(struct ingest *in, uint32_t oid) { return map_get(&in->relations, &oid, sizeof oid); }

static void relation_free(struct relation *r)
{
	for (uint16_t i = 0; i < r->ncolumns; i++)
		free(r->names[i]);
	free(r->names);
	free(r->types);
	free(r->schema);
	free(r->name);
	free(r);
}

static void relation_seen(struct shapes *s, const struct wal_relation *w)
{
	struct ingest *in = s->ingest;
	struct relation *r = mem_zalloc(sizeof *r);
	r->oid = w->oid;
	r->version = ++in->relation_version;
	r->schema = mem_strdup(w->schema);
	r->name = mem_strdup(w->name);
	r->replica_identity = w->replica_identity;
	r->ncolumns = w->ncolumns;
	r->names = mem_alloc(w->ncolumns * sizeof(char *));
	r->types = mem_alloc(w->ncolumns * sizeof *r->types);
	for (uint16_t i = 0; i < w->ncolumns; i++) {
		r->names[i] = mem_strdup(w->columns[i].name);
		r->types[i] = w->columns[i].type_oid;
	}
	struct relation *old = map_put(&in->relations, &r->oid, sizeof r->oid, r);
	if (old != NULL) {
		/* Nobody may stay bound to what is freed. */
		struct format *f;
		for (size_t i = 0; (f = map_next(&in->formats, &i)) != NULL;)
			if (f->bound == old)
				f->bound = NULL;
		relation_free(old);
	}
	registry_cache_doubt(s, w->oid);
}

/* Asks a PG thread whose partition this is; the stream waits meanwhile. */
static void resolve(struct shapes *s, uint32_t oid)
{
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_RESOLVE;
	j->oid = oid;
	s->ingest->resolving = oid;
	job_post(s, j);
}

static void row_for_shape(struct shapes *s, struct shape *shape, const struct relation *rel, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	if (filtered(in, shape))
		return;
	struct format *f = shape->in.format;
	if (f->bound != rel || f->bound_version != rel->version)
		format_bind(f, rel);
	if (!f->bound_ok) {
		txn_rotate(in, shape, f->bound_why);
		return;
	}
	if (f->change_seq != in->change_number) {
		format_forget_lines(f);
		line_render(f, c, in->tx, in->op, in->xid, &in->scratch);
		f->change_seq = in->change_number;
		for (int i = 0; i < f->nlines; i++)
			in->txn_bytes += f->lines[i]->len + sizeof(struct line);
	}
	if (f->nlines < 0) {
		txn_rotate(in, shape, "a row came without its old values: the table's replica identity is not FULL");
		return;
	}
	if (f->nlines == 0)
		return;
	if (in->oversize) {
		txn_rotate(in, shape, "a transaction exceeded ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE");
		return;
	}
	struct txn_shape *t = txn_touch(in, shape);
	for (int i = 0; i < f->nlines; i++)
		txn_append(in, t, f->lines[i], in->op + (uint64_t)i);
}

static void row_for_route(struct shapes *s, const struct route *route, const struct relation *rel, const struct wal_change *c)
{
	for (size_t i = 0; route != NULL && i < route->n; i++)
		row_for_shape(s, route->shapes[i], rel, c);
}

/* ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE, if set: the shapes that such a transaction touches rotate. */
static void count_bytes(struct shapes *s, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	const struct wal_tuple *tuples[] = {&c->u.row.old_tuple, &c->u.row.new_tuple};
	for (size_t k = 0; k < ARRAY_LEN(tuples); k++) {
		if ((k == 0 && c->kind == WAL_INSERT) || (k == 1 && c->kind == WAL_DELETE))
			continue;
		for (uint16_t i = 0; i < tuples[k]->ncolumns; i++)
			in->wire_bytes += tuples[k]->values[i].len + 5;
	}
	if (in->oversize || in->wire_bytes <= s->config->max_txn_bytes)
		return;
	in->oversize = true;
	log_warning("Collected transaction exceeds limit of %" PRId64 " bytes. The shapes it touches are rotated.", s->config->max_txn_bytes);
	for (size_t i = 0; i < in->ntouched; i++)
		if (in->touched[i]->n > 0)
			txn_rotate(in, in->touched[i]->shape, "a transaction exceeded ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE");
}

static int row_change(struct shapes *s, const struct wal_change *c, struct err *e)
{
	struct ingest *in = s->ingest;
	if (s->config->max_txn_bytes > 0)
		count_bytes(s, c);
	in->change_number++;
	atomic_fetch_add_explicit(&s->stat_changes, 1, memory_order_relaxed);
	struct route *route = route_get(in, c->u.row.relation_oid, false);
	const struct leaf *leaf = in->nroots > 0 ? leaf_get(in, c->u.row.relation_oid) : NULL;
	if (route != NULL || leaf != NULL) {
		struct relation *rel = relation_of(in, c->u.row.relation_oid);
		if (rel == NULL)
			return err_set(e, ERR_PROTOCOL, "a change of relation %u came before its description", c->u.row.relation_oid);
		row_for_route(s, route, rel, c);
		for (size_t i = 0; leaf != NULL && i < leaf->n; i++)
			row_for_route(s, route_get(in, leaf->roots[i], false), rel, c);
	}
	in->op += 2;
	if (in->txn_bytes > TXN_BYTES_MAX)
		stage_rows(s, false);
	return 0;
}

static void truncate_route(struct ingest *in, const struct route *route)
{
	for (size_t j = 0; route != NULL && j < route->n; j++)
		if (!filtered(in, route->shapes[j]))
			txn_rotate(in, route->shapes[j], "the table was truncated");
}

static void truncate_change(struct shapes *s, const struct wal_change *c)
{
	struct ingest *in = s->ingest;
	for (uint32_t i = 0; i < c->u.truncate.count; i++, in->op += 2) {
		uint32_t oid = c->u.truncate.relation_oids[i];
		truncate_route(in, route_get(in, oid, false));
		const struct leaf *leaf = leaf_get(in, oid);
		for (size_t j = 0; leaf != NULL && j < leaf->n; j++)
			truncate_route(in, route_get(in, leaf->roots[j], false));
	}
}

static int begin(struct shapes *s, const struct wal_change *c, struct err *e)
{
	struct ingest *in = s->ingest;
	if (in->in_txn)
		return err_set(e, ERR_PROTOCOL, "a transaction began inside another");
	in->in_txn = true;
	in->txn_number++;
	in->xid = c->u.begin.xid;
	in->tx = c->u.begin.final_lsn;
	in->op = 0;
	/* Replays: by commit position and `<`; a position that was durable may be the next commit's own. */
	in->skip = in->tx < in->processed;
	return 0;
}

static int commit(struct shapes *s, const struct wal_change *c, struct err *e)
{
	struct ingest *in = s->ingest;
	if (!in->in_txn || c->u.commit.commit_lsn != in->tx || c->u.commit.end_lsn <= in->tx)
		return err_set(e, ERR_PROTOCOL, "a commit that belongs to no transaction");
	if (in->skip) {
		passed_add(in, in->xid);
		txn_clear(in);
		return 0;
	}
	in->end_lsn = c->u.commit.end_lsn;
	in->ending = true;
	try_finish(s);
	return 0;
}

static int on_change(void *ctx, const struct wal_change *c, struct err *e)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (in->unresolved)
		return err_set(e, ERR_PG_CONN, "cannot look up whose partition a relation is; starting again from what is durable");
	bool inside = c->kind == WAL_COMMIT || c->kind == WAL_INSERT || c->kind == WAL_UPDATE || c->kind == WAL_DELETE ||
	              c->kind == WAL_TRUNCATE;
	if (inside && !in->in_txn)
		return err_set(e, ERR_PROTOCOL, "a change ('%c') outside a transaction", c->kind);
	switch (c->kind) {
	case WAL_BEGIN:
		return begin(s, c, e);
	case WAL_COMMIT:
		return commit(s, c, e);
	case WAL_RELATION:
		relation_seen(s, &c->u.relation);
		struct relation *r = relation_of(in, c->u.relation.oid);
		if (!r->resolved && in->nroots > 0)
			resolve(s, r->oid);
		return 0;
	case WAL_INSERT:
	case WAL_UPDATE:
	case WAL_DELETE:
		return in->skip ? 0 : row_change(s, c, e);
	case WAL_TRUNCATE:
		if (!in->skip)
			truncate_change(s, c);
		return 0;
	default:
		return 0;
	}
}

/* ---- commands ------------------------------------------------------------------------------------------- */

static void register_shapes(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	c->result = in->streaming ? 0 : -1;
	if (c->table != NULL)
		leaves_add(in, c->table);
	for (int i = 0; i < c->nshapes && c->result == 0; i++) {
		struct shape *shape = c->shapes[i];
		if (atomic_load(&shape->dropped))
			continue;
		route_shape(s, shape);
		buffered_clear(shape);
		set_joining(in, shape, true);
		shape->in.overflowed = false;
		/* A transaction in the middle of which it joins counts as passed. */
		shape->in.joined_txn = in->txn_number;
		if (in->in_txn)
			passed_add(in, in->xid);
	}
}

static void unregister_shapes(struct shapes *s, struct cmd *c)
{
	for (int i = 0; i < c->nshapes; i++)
		unroute_shape(s, c->shapes[i]);
}

static struct pg_snapshot snapshot_copy(const struct pg_snapshot *from)
{
	struct pg_snapshot to = *from;
	to.xip = mem_alloc(from->nxip * sizeof *to.xip);
	if (from->nxip > 0)
		memcpy(to.xip, from->xip, from->nxip * sizeof *to.xip);
	return to;
}

/* Everything a shape saw while its snapshot wasn't known, less what the snapshot shows. */
static void release_buffered(struct shapes *s, struct shape *shape)
{
	if (shape->in.nbuffered == 0)
		return;
	struct item *it = item_new(ITEM_ROWS);
	it->rows = mem_alloc(shape->in.nbuffered * sizeof *it->rows);
	it->lsn = s->ingest->processed;
	it->bytes = sizeof *it;
	struct entry *kept = mem_alloc(shape->in.nbuffered * sizeof *kept);
	for (size_t i = 0; i < shape->in.nbuffered; i++) {
		struct entry e = shape->in.buffered[i];
		if (e.at.tx < shape->in.filter.snap.insert_lsn && pg_snapshot_holds(&shape->in.filter.snap, shape->in.buffered_xid[i]))
			continue;
		account(shape, &e);
		kept[it->nrows] = e;
		line_ref(e.line);
		line_ref(e.line);
		it->rows[it->nrows++] = (struct row){shape, e};
		it->bytes += e.line->len + sizeof(struct row);
	}
	tail_publish(shape, kept, it->nrows);
	free(kept);
	writer_put(s, it);
	buffered_clear(shape);
}

static void put_shape_record(struct shapes *s, struct shape *shape, const struct pg_snapshot *snap)
{
	struct item *it = item_new(ITEM_SHAPE);
	struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	record_shape(shape, snap, false, 0, &b);
	it->data = buf_detach(&b, &it->len);
	it->shape = shape_ref(shape);
	it->number = atomic_load(&s->next_id);
	writer_put(s, it);
}

static void filter_shapes(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	/* A snapshot of a server that has been restarted since may show what it lost (rule 5). */
	c->result = in->streaming && c->snap->incarnation_us == s->server.incarnation_us ? 0 : -1;
	uint64_t joined = UINT64_MAX;
	for (int i = 0; i < c->nshapes; i++) {
		if (!c->shapes[i]->in.joining)
			continue;
		joined = c->shapes[i]->in.joined_txn < joined ? c->shapes[i]->in.joined_txn : joined;
		if (c->result == 0 && c->shapes[i]->in.overflowed)
			c->result = 1;
	}
	if (c->result == 0 && joined != UINT64_MAX && (passed_not_held(in, c->snap, joined) || doubtful(in, c->snap)))
		c->result = 1;
	if (c->result != 0)
		return;
	lsn_t delivered = atomic_load(&s->delivered);
	/* What the snapshot shows is delivered: it counts for the mark (rule 5). */
	if (c->snap->insert_lsn > delivered)
		atomic_store(&s->delivered, c->snap->insert_lsn);
	in->snapshots_lsn = c->snap->insert_lsn > in->snapshots_lsn ? c->snap->insert_lsn : in->snapshots_lsn;
	/* Before the shapes are durable, and so before a client can see them. */
	if (c->snap->insert_lsn > in->mark_limit || c->snap->insert_lsn > in->mark_wanted)
		mark_request(s, (c->snap->insert_lsn > in->mark_wanted ? c->snap->insert_lsn : in->mark_wanted) + MARK_STEP_BYTES);
	for (int i = 0; i < c->nshapes; i++) {
		struct shape *shape = c->shapes[i];
		if (atomic_load(&shape->dropped) || !shape->in.routed)
			continue;
		shape->in.filter.snap = snapshot_copy(c->snap);
		shape->in.filter.known = true;
		set_joining(in, shape, false);
		put_shape_record(s, shape, c->snap);
		release_buffered(s, shape);
	}
}

static void resolved(struct shapes *s, struct cmd *c)
{
	struct ingest *in = s->ingest;
	if (in->resolving == c->oid) {
		in->resolving = 0;
		in->unresolved = c->result != 0;
	}
	struct relation *r = relation_of(in, c->oid);
	if (r != NULL)
		r->resolved = c->result == 0;
	for (int i = 0; i < c->nancestors; i++) {
		struct route *route = route_get(in, c->ancestors[i], false);
		/* Backwards: a rotation takes the shape out of the route. Those whose definition knows the leaf
		 * have its rows in their snapshot. */
		for (size_t j = c->had_rows[i] && route != NULL ? route->n : 0; j > 0; j--)
			if (!has_leaf(route->shapes[j - 1]->def.table, c->oid)) {
				bool last = route->n == 1;
				rotate_now(s, route->shapes[j - 1], "a partition with rows was attached");
				if (last)
					break; /* the route is gone with its last shape */
			}
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
			drop_shape(s, c->shapes[i]);
		break;
	case CMD_RESOLVED:
		resolved(s, c);
		break;
	case CMD_PRUNE:
		/* A shape that joins may yet need to know of one that has ended since its snapshot. */
		if (s->ingest->njoining == 0)
			passed_prune(s->ingest, c->xmin);
		break;
	case CMD_LEAVES:
		leaves_set(s->ingest, c->table);
		break;
	case CMD_NOP:
		break;
	}
}

static void cmd_free(struct cmd *c)
{
	if (c->table != NULL)
		pg_table_unref(c->table);
	for (int i = 0; i < c->nshapes; i++)
		shape_unref(c->shapes[i]);
	free(c);
}

static void run_commands(struct shapes *s)
{
	for (;;) {
		pthread_mutex_lock(&s->cmd_lock);
		struct cmd *c = s->cmds;
		if (c != NULL) {
			s->cmds = c->next;
			if (s->cmds == NULL)
				s->cmds_tail = &s->cmds;
		}
		pthread_mutex_unlock(&s->cmd_lock);
		if (c == NULL)
			return;
		run_command(s, c);
		if (!c->waited) {
			cmd_free(c);
			continue;
		}
		pthread_mutex_lock(&s->cmd_lock);
		c->done = true;
		pthread_cond_broadcast(&s->cmd_cond);
		pthread_mutex_unlock(&s->cmd_lock);
	}
}

static void enqueue(struct shapes *s, struct cmd *c)
{
	c->next = NULL;
	*s->cmds_tail = c;
	s->cmds_tail = &c->next;
}

void cmd_post(struct shapes *s, struct cmd *c)
{
	pthread_mutex_lock(&s->cmd_lock);
	enqueue(s, c);
	pthread_mutex_unlock(&s->cmd_lock);
	if (s->stream != NULL)
		stream_wake(s->stream);
}

int cmd_call(struct shapes *s, struct cmd *c)
{
	c->waited = true;
	pthread_mutex_lock(&s->cmd_lock);
	enqueue(s, c);
	pthread_mutex_unlock(&s->cmd_lock);
	stream_wake(s->stream);
	pthread_mutex_lock(&s->cmd_lock);
	/* INGEST runs commands in every phase, and once more after its loop has ended. */
	while (!c->done)
		pthread_cond_wait(&s->cmd_cond, &s->cmd_lock);
	pthread_mutex_unlock(&s->cmd_lock);
	return c->result;
}

/* ---- the rest of the sink -------------------------------------------------------------------------------- */

static bool on_ready(void *ctx)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (in->resolving != 0)
		return false;
	if (!try_finish(s))
		return false;
	return atomic_load(&s->ahead_bytes) < AHEAD_BYTES_MAX && atomic_load(&s->writer.journal_bytes) < JOURNAL_BYTES_MAX;
}

/* A position from which nothing is to come: durable first, then acknowledged. */
static void keepalive_poll(struct shapes *s)
{
	struct ingest *in = s->ingest;
	int64_t now = clock_mono_ms();
	/* What makes a snapshot safe isn't kept waiting. */
	bool urgent = in->snapshots_lsn > in->processed && in->keepalive >= in->snapshots_lsn;
	if (in->keepalive == 0 || in->in_txn || (!urgent && now - in->keepalive_ms < KEEPALIVE_COMMIT_MS))
		return;
	if (in->keepalive > in->processed) {
		struct item *it = item_new(ITEM_LSN);
		it->lsn = in->processed = in->keepalive;
		writer_put(s, it);
	}
	in->keepalive = 0;
	in->keepalive_ms = now;
}

static void on_idle(void *ctx)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	run_commands(s);
	if (in->ending)
		try_finish(s);
	keepalive_poll(s);
	/* Until the stream has passed a snapshot, a restart of Postgres costs its shapes: on an idle server
	 * nothing but a keepalive says that it has. */
	if (in->streaming && !in->in_txn && in->snapshots_lsn > in->processed && in->snapshots_lsn > in->keepalive)
		stream_ask(s->stream);
	mark_idle(s);
}

static bool somebody_waits(struct shapes *s)
{
	pthread_mutex_lock(&s->lsn_lock);
	bool yes = s->lsn_waiters.head != NULL;
	pthread_mutex_unlock(&s->lsn_lock);
	return yes;
}

static void on_keepalive(void *ctx, lsn_t wal_end)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (in->in_txn || wal_end <= in->processed)
		return;
	in->keepalive = wal_end;
	/* The next record starts there, so all below has been seen; but no further than the mark allows: a
	 * position alone isn't worth an fsync. */
	mark_poll(s);
	if (wal_end - 1 <= in->mark_limit)
		set_seen(s, wal_end - 1);
	else if (in->mark_limit == in->mark_wanted && (!in->mark_idle || somebody_waits(s)))
		mark_request(s, wal_end + MARK_STEP_BYTES);
	keepalive_poll(s);
}

static lsn_t on_durable(void *ctx)
{
	return atomic_load(&((struct shapes *)ctx)->durable);
}

static void on_lost(void *ctx)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	atomic_fetch_add(&s->outages, 1);
	in->streaming = in->unresolved = false;
	in->resolving = 0;
	if (in->ending) {
		/* Complete: what was read of it is all there is. It is finished by on_idle(). */
		return;
	}
	if (in->staged)
		unstage(s);
	txn_clear(in);
	in->keepalive = 0;
}

/* ---- starting the stream: does what we have still belong to this server? (rules 3 and 4) ------------------- */

struct identity {
	char system_id[32];
	uint32_t timeline, database_oid;
	int64_t incarnation_us;
};

static int identity_load(struct shapes *s, struct identity *out, bool *found, struct err *e)
{
	struct buf b = BUF_INIT(256);
	struct store_read *r = store_read_begin(s->store, e);
	if (r == NULL)
		return -1;
	int rc = store_get_meta(r, "identity", &b, e);
	store_read_end(r);
	*found = rc == 0 && b.len == sizeof *out;
	if (*found)
		memcpy(out, b.data, sizeof *out);
	buf_clear(&b);
	return rc < 0 ? -1 : 0;
}

static void identity_put(struct shapes *s, const struct identity *id)
{
	struct item *it = item_new(ITEM_META);
	snprintf(it->name, sizeof it->name, "identity");
	it->data = mem_alloc(sizeof *id);
	memcpy(it->data, id, sizeof *id);
	it->len = sizeof *id;
	writer_put(s, it);
}

/* Where the server's history leaves the timeline `ours`; 0: it never had it. */
static lsn_t left_at(const struct stream_server *server, uint32_t ours)
{
	for (int i = 0; i < server->nhistory; i++)
		if (server->history[i].timeline == ours)
			return server->history[i].end;
	return 0;
}

/* NULL: everything stays; else why all shapes rotate. */
static const char *why_rotate_all(struct shapes *s, const struct stream_server *server, const struct identity *was, bool known,
                                  char *text, size_t max)
{
	lsn_t durable = atomic_load(&s->durable), reach = atomic_load(&s->delivered);
	char a[LSN_TEXT_MAX], b[LSN_TEXT_MAX];
	if (!known)
		return NULL;
	if (strcmp(was->system_id, server->system_id) != 0 || was->database_oid != server->database_oid) {
		snprintf(text, max, "Detected different Postgres DB, with ID: %s", server->system_id);
		return text;
	}
	if (server->slot_created) {
		snprintf(text, max, "the replication slot is new: changes since %s are not known", lsn_text(durable, a));
		return text;
	}
	if (server->timeline != was->timeline) {
		lsn_t end = left_at(server, was->timeline);
		if (end == 0 || reach > end) {
			snprintf(text, max, "Detected PITR to timeline %u: it left ours at %s, clients may have seen %s", server->timeline,
			         end == 0 ? "an unknown position" : lsn_text(end, a), lsn_text(reach, b));
			return text;
		}
		log_notice("the server is on timeline %u now, which left ours at %s after everything clients can have seen (%s)",
		           server->timeline, lsn_text(end, a), lsn_text(reach, b));
	}
	if (server->timeline == was->timeline && server->wal_end < durable) {
		snprintf(text, max, "the server's WAL ends at %s, before our %s: it was restored from the past", lsn_text(server->wal_end, a),
		         lsn_text(durable, b));
		return text;
	}
	if (durable != 0 && server->confirmed_flush > durable) {
		snprintf(text, max, "the replication slot is at %s, ahead of our %s: somebody else has read from it",
		         lsn_text(server->confirmed_flush, a), lsn_text(durable, b));
		return text;
	}
	return NULL;
}

/* Rule 5: a snapshot may show commits that crash recovery of Postgres has lost. */
static void rotate_unflushed(struct shapes *s, const struct stream_server *server, const struct identity *was)
{
	if (was->incarnation_us == server->incarnation_us && was->timeline == server->timeline)
		return;
	struct shape *doomed[64];
	size_t n;
	do {
		n = 0;
		pthread_rwlock_rdlock(&s->registry_lock);
		struct shape *shape;
		for (size_t i = 0; n < ARRAY_LEN(doomed) && (shape = map_next(&s->by_handle, &i)) != NULL;)
			if (shape->in.filter.known && shape->in.filter.snap.insert_lsn > s->ingest->processed && !atomic_load(&shape->dropped))
				doomed[n++] = shape_ref(shape);
		pthread_rwlock_unlock(&s->registry_lock);
		for (size_t i = 0; i < n; i++) {
			rotate_now(s, doomed[i], "Postgres crashed before the shape's snapshot was known to be on its disk");
			shape_unref(doomed[i]);
		}
	} while (n == ARRAY_LEN(doomed));
}

/* What the slot has is all there is, and positions may be smaller than before. The stream goes on
 * when the store says so too: a flush position of the old history must not be acknowledged. */
static int begin_anew(struct shapes *s, lsn_t from, struct err *e)
{
	struct ingest *in = s->ingest;
	struct item *it = item_new(ITEM_LSN);
	it->lsn = from;
	it->number = 1; /* set, not raised */
	writer_put(s, it);
	in->mark_limit = 0;
	mark_request(s, from);
	if (!writer_flush(s))
		return err_set(e, ERR_CANCELLED, "stopping");
	in->processed = from;
	in->snapshots_lsn = 0;
	atomic_store(&s->seen, 0);
	atomic_store(&s->delivered, from);
	struct passed_page *p;
	for (size_t i = 0; (p = map_next(&in->passed, &i)) != NULL;)
		free(p);
	map_clear(&in->passed);
	return 0;
}

static int rewind_to(struct shapes *s, lsn_t to, struct err *e)
{
	struct item *it = item_new(ITEM_LSN);
	it->lsn = to;
	it->number = 1; /* set, not raised */
	writer_put(s, it);
	if (!writer_flush(s))
		return err_set(e, ERR_CANCELLED, "stopping");
	s->ingest->processed = to;
	s->ingest->keepalive = 0;
	return 0;
}

static int on_start(void *ctx, const struct stream_server *server, lsn_t *start_at, struct err *e)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (in->ending && !try_finish(s))
		return err_set(e, ERR_IO, "waiting for the store to take the last transaction");
	struct identity was, now = {.timeline = server->timeline, .database_oid = server->database_oid,
	                            .incarnation_us = server->incarnation_us};
	snprintf(now.system_id, sizeof now.system_id, "%s", server->system_id);
	bool known;
	if (identity_load(s, &was, &known, e) != 0)
		return -1;
	char text[300];
	const char *why = why_rotate_all(s, server, &was, known, text, sizeof text);
	if (why != NULL) {
		if (atomic_load(&s->nshapes) > 0)
			log_warning("Database ID or timeline changed. Purging shape logs from disk. Clients will refetch shape data automatically. (%s)", why);
		shapes_rotate_all(s, why);
		run_commands(s); /* their drops go to the writer before anything that follows */
	} else if (known) {
		rotate_unflushed(s, server, &was);
		run_commands(s);
		/* What was delivered came from WAL that the server had flushed. */
		if (atomic_load(&s->delivered) > server->wal_end && server->wal_end >= atomic_load(&s->seen))
			atomic_store(&s->delivered, server->wal_end);
	}
	if ((why != NULL || atomic_load(&s->durable) == 0) && begin_anew(s, server->confirmed_flush, e) != 0)
		return -1;
	/* Positions we have from keepalives alone may lie beyond where the new timeline left the old one;
	 * what it wrote there since is to come. */
	lsn_t left = why == NULL && known && was.timeline != server->timeline ? left_at(server, was.timeline) : 0;
	if (left != 0 && left < in->processed && rewind_to(s, left, e) != 0)
		return -1;
	if (in->start_xmax == 0 && server->has_sync_standbys)
		in->start_xmax = server->xmax;
	identity_put(s, &now);
	struct relation *r;
	for (size_t i = 0; (r = map_next(&in->relations, &i)) != NULL;)
		r->resolved = false;
	*start_at = in->processed;
	in->streaming = true;
	pthread_mutex_lock(&s->server_lock);
	s->server = *server;
	pthread_mutex_unlock(&s->server_lock);
	return 0;
}

static void on_phase(void *ctx, enum stream_phase phase, const char *error)
{
	struct shapes *s = ctx;
	pthread_mutex_lock(&s->status_lock);
	s->phase = phase;
	if (phase == STREAM_RUNNING)
		s->stream_was_active = true;
	snprintf(s->phase_error, sizeof s->phase_error, "%s", error != NULL ? error : "");
	wait_list_wake_all(&s->status_waiters);
	pthread_mutex_unlock(&s->status_lock);
	if (phase != STREAM_RUNNING)
		return;
	/* What happened to our tables while we were away is looked at at once. */
	pthread_mutex_lock(&s->job_lock);
	s->reconcile_now = true;
	pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

void ingest_new(struct shapes *s)
{
	s->ingest = mem_zalloc(sizeof *s->ingest);
	buf_init(&s->ingest->scratch, LINE_BYTES_MAX);
}

void ingest_adopt(struct shapes *s, struct shape *shape)
{
	route_shape(s, shape);
}

void ingest_adopt_table(struct shapes *s, const struct pg_table *t) { leaves_add(s->ingest, t); }

void ingest_set_processed(struct shapes *s, lsn_t lsn)
{
	s->ingest->processed = lsn;
	s->ingest->mark_limit = s->ingest->mark_wanted = atomic_load(&s->mark);
}

static void *ingest_main(void *arg)
{
	struct shapes *s = arg;
	struct err e = {0};
	if (stream_run(s->stream, &e) != 0) {
		pthread_mutex_lock(&s->status_lock);
		s->fatal = true;
		s->fatal_err = e;
		void (*notify)(void *) = s->on_fatal;
		void *ctx = s->on_fatal_ctx;
		pthread_mutex_unlock(&s->status_lock);
		s->ingest->streaming = false;
		if (notify != NULL)
			notify(ctx);
		/* Known shapes are served until main has decided; commands still get their answers. */
		while (!atomic_load(&s->ingest_quit)) {
			run_commands(s);
			struct timespec ts = {0, 50 * 1000000};
			nanosleep(&ts, NULL);
		}
	}
	return NULL;
}

int ingest_start(struct shapes *s, struct err *e)
{
	static const struct stream_sink callbacks = {
		.start = on_start, .change = on_change, .keepalive = on_keepalive, .ready = on_ready,
		.idle = on_idle, .durable = on_durable, .lost = on_lost, .phase = on_phase,
	};
	struct stream_sink sink = callbacks;
	sink.ctx = s;
	s->stream = stream_new(s->config, &sink);
	s->ingest->delivered_ms = clock_mono_ms();
	int rc = pthread_create(&s->ingest_thread, NULL, ingest_main, s);
	if (rc != 0)
		return err_errno(e, rc, "cannot start the ingest thread");
	s->ingest_started = true;
	return 0;
}

/* After the PG threads have ended: nobody calls, and the last posts are run here. */
void ingest_stop(struct shapes *s)
{
	if (!s->ingest_started)
		return;
	atomic_store(&s->ingest_quit, true);
	stream_stop(s->stream);
	pthread_join(s->ingest_thread, NULL);
	s->ingest_started = false;
	s->ingest->streaming = false;
	run_commands(s);
	if (s->ingest->staged && !s->ingest->ending)
		unstage(s);
	txn_clear(s->ingest);
}

/* At the very end: the shapes let go of formats, so that they can be freed. */
void ingest_release(struct shapes *s)
{
	struct shape *shape;
	for (size_t i = 0; s->ingest != NULL && (shape = map_next(&s->by_handle, &i)) != NULL;)
		unroute_shape(s, shape);
}

void ingest_free(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (in == NULL)
		return;
	struct relation *rel;
	for (size_t i = 0; (rel = map_next(&in->relations, &i)) != NULL;)
		relation_free(rel);
	struct passed_page *p;
	for (size_t i = 0; (p = map_next(&in->passed, &i)) != NULL;)
		free(p);
	struct route *r;
	for (size_t i = 0; (r = map_next(&in->routes, &i)) != NULL;) {
		free(r->shapes);
		free(r);
	}
	struct leaf *leaf;
	for (size_t i = 0; (leaf = map_next(&in->leaves, &i)) != NULL;) {
		free(leaf->roots);
		free(leaf);
	}
	map_clear(&in->leaves);
	map_clear(&in->relations);
	map_clear(&in->passed);
	map_clear(&in->routes);
	map_clear(&in->formats);
	buf_clear(&in->scratch);
	free(in->touched);
	free(in->recent);
	free(in);
	s->ingest = NULL;
}
