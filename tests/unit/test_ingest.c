/*
 * test_ingest.c - INGEST without a network: the real sink, commands and WRITER, and the test in the places of the stream and of
 * the PG threads.
 *
 * A history of transactions is made up in advance: the server's. The test sends it as Postgres would (each transaction whole,
 * after its commit; after a lost connection again from where the slot stands), and has shapes begin, with snapshots that show
 * what the server has committed, or most of it, at any moment: between transactions and inside them. What a shape's log must be
 * then follows from the history and from what its snapshot showed, and from nothing else.
 */
#include "ingest_test.h"
#include "shapes/load.h"

#define TXNS 50
#define OPS 12
#define SLOTS 5       /* shapes at a time */
#define CHUNK_BYTES 20000
#define HUGE_BYTES (3u << 19) /* a transaction of some such rows is staged */
#define ITEMS 100u    /* the table with a key */
#define BAG 200u      /* the table without one: its rows may be equal */
#define IDS 9

/* ---- the server's history ---- */

struct op {
	uint32_t table;
	char kind; /* 'I', 'U', 'D', 'T' */
	int id;    /* ITEMS: the key; BAG: the value */
	int version;
	uint32_t number; /* BAG: of the key, in a log that has the table from its beginning */
};

struct txn {
	lsn_t lsn, end;
	uint32_t xid;
	bool huge;
	size_t n;
	struct op ops[OPS];
};

struct history {
	struct txn txns[TXNS];
	int bag[TXNS + 1][IDS]; /* how often each value is there, before the transaction */
};

static void add_op(struct txn *t, uint32_t table, char kind, int id, int version)
{
	t->ops[t->n++] = (struct op){.table = table, .kind = kind, .id = id, .version = version};
}

static void make_history(struct history *h, struct rng *rng, bool far)
{
	bool live[IDS] = {false};
	int version = 0, bag[IDS] = {0};
	lsn_t at = 0x1000000;
	memset(h, 0, sizeof *h);
	for (size_t i = 0; i < TXNS; i++) {
		struct txn *t = &h->txns[i];
		memcpy(h->bag[i], bag, sizeof bag);
		/* Right where the one before ended; or, now and then, beyond all that a mark has been reserved for. */
		at += far && rng_below(rng, 6) == 0 ? MARK_STEP_BYTES + rng_below(rng, 1 << 20) : rng_below(rng, 3) * 1000;
		t->lsn = at;
		t->end = at = at + 48;
		t->xid = xid_of(i);
		t->huge = rng_below(rng, 16) == 0;
		size_t n = rng_below(rng, 8) == 0 ? 0 : 1 + rng_below(rng, OPS - 1);
		if (t->huge)
			n = OPS;
		while (t->n < n) {
			int id = (int)rng_below(rng, IDS);
			if (rng_below(rng, 3) == 0) {
				bool gone = bag[id] > 0 && rng_below(rng, 2) == 0;
				bag[id] += gone ? -1 : 1;
				add_op(t, BAG, gone ? 'D' : 'I', id, 0);
				t->ops[t->n - 1].number = (uint32_t)(gone ? bag[id] + 1 : bag[id]);
			} else if (!live[id]) {
				add_op(t, ITEMS, 'I', id, ++version);
				live[id] = true;
			} else {
				bool gone = rng_below(rng, 3) == 0;
				add_op(t, ITEMS, gone ? 'D' : 'U', id, gone ? version : ++version);
				live[id] = !gone;
			}
		}
		if (rng_below(rng, 25) == 0 && t->n < OPS) {
			uint32_t table = rng_below(rng, 2) == 0 ? ITEMS : BAG;
			add_op(t, table, 'T', 0, 0);
			memset(table == ITEMS ? (void *)live : (void *)bag, 0, table == ITEMS ? sizeof live : sizeof bag);
		}
	}
	memcpy(h->bag[TXNS], bag, sizeof bag);
}

/* ---- the world ---- */

enum phase { ABSENT, JOINING, COUNTING, ALIVE };

struct slot {
	enum phase phase;
	struct shape *shape; /* a reference */
	uint32_t table;
	bool before[TXNS], since[TXNS]; /* JOINING: passed, or under way, when it registered; passed in whole since */
	bool shown[TXNS];               /* by its snapshot */
	int held[IDS];                  /* BAG: how often each value was in it */
	bool in_midst;  /* it registered in the middle of the transaction under way */
	bool disturbed; /* JOINING: there was what may ask for another snapshot; COUNTING: a transaction was staged */
};

struct world {
	struct shapes *s;
	struct config config;
	struct stream_sink sink;
	struct history *h;
	struct rng *rng;
	struct slot slots[SLOTS];
	size_t at;        /* transactions before are passed */
	bool inside;      /* in the middle of txns[at] */
	bool staged;
	bool quiet;       /* nothing comes between the changes, no connection is lost */
	bool lossy;       /* but for this */
	lsn_t acknowledged;
	bool rewound; /* the slot stands at the beginning, whatever was acknowledged */
	struct slot *amid; /* begins to look in the middle of txns[amid_at], when that comes again; then it is NULL */
	size_t amid_at;
	struct waiter at_seen; /* for the end of txns[at] */
	unsigned refusals, births, losses, stagings, rotations;
};

static void look_at_bounds(struct world *w)
{
	struct ingest *in = w->s->ingest;
	lsn_t seen = atomic_load(&w->s->seen), mark = atomic_load(&w->s->mark), ack = w->sink.durable(w->s);
	bool good = seen <= in->mark_limit && in->mark_limit <= mark;
	lsn_t most = in->mark_limit > in->mark_wanted ? in->mark_limit : in->mark_wanted;
	good = good && atomic_load(&w->s->delivered) <= most && seen <= atomic_load(&w->s->delivered);
	good = good && ack <= in->processed && (ack == 0 || ack >= w->acknowledged);
	for (size_t i = 0; i < SLOTS; i++)
		if (w->slots[i].shape != NULL) {
			pthread_mutex_lock(shape_lock(w->slots[i].shape));
			good = good && w->slots[i].shape->tail.last.tx <= mark;
			pthread_mutex_unlock(shape_lock(w->slots[i].shape));
		}
	if (ack != 0)
		w->acknowledged = ack;
	CHECK(good);
}

/* Nothing has changed in the catalog so far. */
static lsn_t looked(const struct world *w) { return w->at < TXNS ? w->h->txns[w->at].end : UINT64_MAX; }

static void wait_ready(struct world *w)
{
	await_ready(w->s, looked(w));
	look_at_bounds(w);
}

static int call(struct world *w, struct cmd *c)
{
	ingest_call(w->s, c);
	look_at_bounds(w);
	return c->result;
}

static struct cmd about(enum cmd_kind kind, struct slot *slot) { return ingest_command(kind, slot != NULL ? slot->shape : NULL); }

/* ---- shapes ---- */

static void make_shape(struct world *w, struct slot *slot, uint32_t table)
{
	char name[40];
	uint64_t id = atomic_fetch_add(&w->s->next_id, 1);
	snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)id, (unsigned long long)id * 1000);
	struct pg_table *t = table == ITEMS ? table_make(ITEMS, "public", "items", "id:23:pk0 name:25") : table_make(BAG, "public", "bag", "v:25");
	t->keys = table == ITEMS ? PG_KEYS_UNIQUE : PG_KEYS_COUNTED;
	struct shape_def d = def_make(t, NULL, REPLICA_DEFAULT);
	free(d.identity);
	d.identity = mem_strdup(name);
	d.identity_len = strlen(name);
	*slot = (struct slot){.table = table, .shape = shape_ref(shape_make(w->s, &d, id, name))};
	shape_def_clear(&d);
	pthread_rwlock_wrlock(&w->s->registry_lock);
	registry_link(w->s, slot->shape);
	pthread_rwlock_unlock(&w->s->registry_lock);
}

static void join(struct world *w, struct slot *slot)
{
	struct cmd c = about(CMD_REGISTER, slot);
	CHECK_INT(call(w, &c), 0);
	slot->phase = JOINING;
	slot->disturbed = w->staged;
	slot->in_midst = w->inside;
	memset(slot->since, 0, sizeof slot->since);
	for (size_t i = 0; i < TXNS; i++)
		slot->before[i] = i < w->at + (w->inside ? 1 : 0);
}

/* What the server shows now: all it has committed, which the stream may not have brought yet, but for a transaction that waits
 * for a standby and still counts as running. */
static struct pg_snapshot take_snapshot(struct world *w, struct slot *slot)
{
	size_t n = w->at + (w->inside ? 1 : 0) + rng_below(w->rng, 3), hung = TXNS;
	if (n > TXNS)
		n = TXNS;
	if (n > 0 && slot->table == ITEMS && rng_below(w->rng, 3) == 0) /* one that no later one depends on, as far as a log can tell */
		hung = n - 1 - rng_below(w->rng, n < 4 ? n : 4);
	for (size_t i = 0; i < TXNS; i++)
		slot->shown[i] = i < n && i != hung;
	return snapshot_of(slot->shown, TXNS, n > 0 ? w->h->txns[n - 1].end : 1);
}

/* How often each key was there in the snapshot; where the stream was, or where a hung transaction stood. */
static void count_rows(struct world *w, struct slot *slot, struct key_counts *out)
{
	memset(slot->held, 0, sizeof slot->held);
	for (size_t i = 0; i < TXNS; i++)
		for (size_t k = 0; slot->shown[i] && k < w->h->txns[i].n; k++) {
			const struct op *op = &w->h->txns[i].ops[k];
			if (op->table == BAG && op->kind == 'T')
				memset(slot->held, 0, sizeof slot->held);
			else if (op->table == BAG)
				slot->held[op->id] += op->kind == 'I' ? 1 : -1;
		}
	for (int id = 0; id < IDS; id++) {
		char key[80];
		int n = snprintf(key, sizeof key, "\\\"public\\\".\\\"bag\\\"/\\\"v%d\\\"", id);
		for (int k = 0; k < slot->held[id]; k++)
			key_counts_add(out, key_hash(key, (size_t)n));
	}
}

static void give_counts(struct world *w, struct slot *slot)
{
	struct key_counts counts = {0};
	count_rows(w, slot, &counts);
	struct cmd c = about(CMD_COUNTS, slot);
	c.counts = &counts;
	call(w, &c);
	key_counts_clear(&counts);
	slot->phase = ALIVE;
}

/* Only `strictly` is one that is under way now, and will be there in whole, left out. */
static bool must_refuse(const struct world *w, const struct slot *slot, bool strictly)
{
	return one_is_lost(slot->before, slot->since, slot->shown, TXNS, strictly && w->inside && !slot->in_midst ? w->at : TXNS);
}

static void filter(struct world *w, struct slot *slot)
{
	struct pg_snapshot snap = take_snapshot(w, slot);
	struct cmd c = about(CMD_FILTER, slot);
	c.snap = &snap;
	int rc = call(w, &c);
	CHECK(rc == 0 || rc == CMD_AGAIN || rc == CMD_ANEW);
	CHECK(rc != 0 || !must_refuse(w, slot, true));
	CHECK(rc == 0 || must_refuse(w, slot, false) || slot->disturbed);
	CHECK(rc != CMD_ANEW || slot->disturbed);
	/* The next snapshot may be of the same registration, unless that has lost something. */
	if (rc == CMD_AGAIN && rng_below(w->rng, 2) == 0) {
		w->refusals++;
	} else if (rc != 0) {
		struct cmd undo = about(CMD_UNREGISTER, slot);
		call(w, &undo);
		w->refusals++;
		slot->phase = ABSENT;
	} else {
		put_no_rows(slot->shape, &snap);
		w->births++;
		slot->disturbed = w->staged;
		slot->phase = slot->table == BAG ? COUNTING : ALIVE;
	}
	pg_snapshot_clear(&snap);
}

static void drop(struct world *w, struct slot *slot)
{
	shape_rotate(slot->shape, REASON_DELETED, "the test drops it");
	w->sink.idle(w->s);
	CHECK(!slot->shape->in.routed);
	CHECK(writer_flush(w->s, &e) == 0);
	CHECK(slot->shape->tail.state == SHAPE_GONE);
	shape_unref(slot->shape);
	*slot = (struct slot){0};
}

/* ---- what a log must be ---- */

static bool is_line(const char *line, size_t len, const struct slot *slot, const struct txn *t, size_t i, uint32_t number, bool last)
{
	const struct op *op = &t->ops[i];
	char want[200], key[80], nth[16] = "", *head = mem_strndup(line, len < 200 ? len : 200);
	char *tail = len < 300 ? mem_strndup(line, len) : mem_strndup(line + len - 300, 300);
	bool good = true;
	if (number > 1)
		snprintf(nth, sizeof nth, "/%u", number);
	if (slot->table == ITEMS)
		snprintf(key, sizeof key, "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"%d\\\"\",", op->id);
	else
		snprintf(key, sizeof key, "{\"key\":\"\\\"public\\\".\\\"bag\\\"/\\\"v%d\\\"%s\",", op->id, nth);
	good = good && strncmp(head, key, strlen(key)) == 0;
	snprintf(want, sizeof want, "\"name\":\"%d:", op->version);
	good = good && (slot->table == BAG || op->kind == 'D' || strstr(head, want) != NULL);
	good = good && (slot->table == BAG || op->kind == 'D' || !t->huge || len > HUGE_BYTES);
	good = good && strstr(tail, op->kind == 'I' ? "\"insert\"" : op->kind == 'U' ? "\"update\"" : "\"delete\"") != NULL;
	snprintf(want, sizeof want, "\"lsn\":\"%llu\",\"op_position\":%zu,", (unsigned long long)t->lsn, i * 2);
	good = good && strstr(tail, want) != NULL;
	good = good && (strstr(tail, "\"last\":true") != NULL) == last;
	if (!good)
		printf("  at %llu_%zu, %c of %d (version %d, number %u, last %d): %s … %s\n", (unsigned long long)t->lsn, i * 2, op->kind, op->id,
		       op->version, number, last, head, tail);
	free(head);
	free(tail);
	return good;
}

/* All passed transactions that the snapshot didn't show, and nothing else, in their order. */
static bool log_is_right(struct world *w, struct slot *slot)
{
	struct buf got = log_text(slot->shape);
	const char *p = got.data, *end = p + got.len;
	int held[IDS];
	bool good = true;
	memcpy(held, slot->held, sizeof held);
	for (size_t i = 0; good && i < w->at; i++) {
		const struct txn *t = &w->h->txns[i];
		size_t last = OPS;
		if (slot->shown[i])
			continue;
		for (size_t k = 0; k < t->n; k++)
			if (t->ops[k].table == slot->table)
				last = k;
		for (size_t k = 0; good && k < t->n; k++) {
			const struct op *op = &t->ops[k];
			const char *stop = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
			if (op->table != slot->table)
				continue;
			int number = slot->table == BAG ? op->kind == 'I' ? ++held[op->id] : held[op->id]-- : 1;
			good = stop != NULL;
			if (!good)
				printf("  the log ends before %llu_%zu\n", (unsigned long long)t->lsn, k * 2);
			else
				good = is_line(p, (size_t)(stop - p), slot, t, k, (uint32_t)number, k == last);
			p = good ? stop + 1 : p;
		}
	}
	if (good && p != end)
		printf("  the log goes on: %.200s\n", p);
	good = good && p == end;
	buf_clear(&got);
	return good;
}

static void check_logs(struct world *w)
{
	CHECK(writer_flush(w->s, &e) == 0);
	for (size_t i = 0; i < SLOTS; i++)
		if (w->slots[i].phase == ALIVE && !atomic_load(&w->slots[i].shape->dropped) && !CHECK(log_is_right(w, &w->slots[i])))
			printf("  shape %zu of table %u is wrong behind transaction %zu\n", i, w->slots[i].table, w->at);
}

/* ---- the stream ---- */

static int send(struct world *w, const struct wal_change *c)
{
	wait_ready(w);
	int rc = w->sink.change(w->s, c, &e);
	w->staged = w->s->ingest->staged;
	serve_jobs(w->s, looked(w));
	for (size_t i = 0; w->staged && i < SLOTS; i++)
		if (w->slots[i].phase != ALIVE)
			w->slots[i].disturbed = true;
	return rc;
}

static void send_relation(struct world *w, uint32_t table)
{
	static const struct wal_column items[] = {{"id", 23, -1, true}, {"name", 25, -1, true}}, bag[] = {{"v", 25, -1, true}};
	struct wal_change c = {.kind = WAL_RELATION};
	c.u.relation = (struct wal_relation){table, "public", table == ITEMS ? "items" : "bag", 'f', table == ITEMS ? 2 : 1,
	                                     table == ITEMS ? items : bag};
	CHECK(send(w, &c) == 0);
}

static void send_op(struct world *w, const struct txn *t, const struct op *op)
{
	struct wal_change c = {.kind = (enum wal_kind)op->kind};
	char id[16];
	int nid = snprintf(id, sizeof id, op->table == ITEMS ? "%d" : "v%d", op->id);
	size_t pad = t->huge ? HUGE_BYTES : 10;
	char *name = mem_alloc(pad + 32);
	int n = snprintf(name, 32, "%d:", op->version);
	memset(name + n, 'x', pad);
	struct wal_value now[2] = {text(id, (size_t)nid), text(name, (size_t)n + pad)}, was[2] = {now[0], text("before", 6)};
	uint16_t columns = op->table == ITEMS ? 2 : 1;
	if (op->kind == 'T') {
		c = truncate_change(&op->table);
	} else {
		c.u.row.relation_oid = op->table;
		c.u.row.old_kind = op->kind == 'I' ? 0 : 'O';
		if (op->kind != 'I')
			c.u.row.old_tuple = (struct wal_tuple){columns, was};
		if (op->kind != 'D')
			c.u.row.new_tuple = (struct wal_tuple){columns, now};
	}
	CHECK(send(w, &c) == 0);
	free(name);
}

static void something_happens(struct world *w);

static void send_begin(struct world *w, const struct txn *t)
{
	struct wal_change c = begin_change(t->lsn, t->xid);
	CHECK(send(w, &c) == 0);
}

/* Who hears that a transaction has been seen finds its rows in the logs (docs/invariants.md 3.2). By the thread that publishes. */
static void has_been_seen(struct waiter *waiter)
{
	struct world *w = (struct world *)((char *)waiter - offsetof(struct world, at_seen));
	const struct txn *t = &w->h->txns[w->at];
	for (size_t i = 0; i < SLOTS && !w->staged; i++) {
		const struct slot *slot = &w->slots[i];
		bool has_rows = slot->phase == ALIVE && !slot->shown[w->at];
		size_t rows = 0;
		for (size_t k = 0; k < t->n; k++) {
			rows += t->ops[k].table == slot->table;
			has_rows = has_rows && (t->ops[k].table != slot->table || t->ops[k].kind != 'T');
		}
		if (has_rows && rows > 0 && !atomic_load(&slot->shape->dropped))
			CHECK(slot->shape->tail.last.tx == t->lsn);
	}
}

static void send_commit(struct world *w, const struct txn *t)
{
	struct wal_change c = commit_change(t->lsn, t->end);
	w->at_seen.wake = has_been_seen;
	bool waits = t == &w->h->txns[w->at] && shapes_wait_lsn(w->s, t->end - 1, &w->at_seen);
	CHECK(send(w, &c) == 0);
	wait_ready(w); /* it is published */
	CHECK(!waits || !waiter_cancel(&w->at_seen));
	w->staged = false;
}

/* Which shapes a transaction ends: those of a table that it empties, or that were counting when it was too large. */
static void after_txn(struct world *w, size_t at)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &w->slots[i];
		bool emptied = false;
		slot->since[at] = !slot->in_midst;
		slot->in_midst = false;
		for (size_t k = 0; k < w->h->txns[at].n; k++)
			emptied = emptied || (w->h->txns[at].ops[k].kind == 'T' && w->h->txns[at].ops[k].table == slot->table);
		if (slot->phase == JOINING && emptied)
			slot->disturbed = true;
		if (slot->phase == ABSENT || slot->phase == JOINING)
			continue;
		bool dropped = atomic_load(&slot->shape->dropped);
		if (emptied && !slot->shown[at])
			CHECK(dropped);
		else
			CHECK(!dropped || (slot->disturbed && slot->table == BAG && w->h->txns[at].huge));
		slot->disturbed = false;
		if (dropped) {
			w->rotations++;
			CHECK(writer_flush(w->s, &e) == 0 && slot->shape->tail.state == SHAPE_GONE);
			shape_unref(slot->shape);
			*slot = (struct slot){0};
		}
	}
}

static void start(struct world *w)
{
	lsn_t from = begin_stream(w->s, w->h->txns[TXNS - 1].end, w->acknowledged != 0 && !w->rewound ? w->acknowledged : w->h->txns[0].lsn);
	serve_jobs(w->s, looked(w));
	wait_ready(w);
	send_relation(w, ITEMS);
	send_relation(w, BAG);
	/* Again what we have, from where the slot stands. */
	for (size_t i = 0; i < w->at; i++)
		if (w->h->txns[i].lsn >= from) {
			send_begin(w, &w->h->txns[i]);
			for (size_t k = 0; k < w->h->txns[i].n && k < 2; k++)
				send_op(w, &w->h->txns[i], &w->h->txns[i].ops[k]);
			if (w->amid != NULL && i == w->amid_at) {
				join(w, w->amid);
				w->amid = NULL;
			}
			send_commit(w, &w->h->txns[i]);
		}
}

static void lose(struct world *w)
{
	w->sink.lost(w->s);
	w->inside = w->staged = false;
	w->losses++;
	for (size_t i = 0; i < SLOTS; i++)
		w->slots[i].in_midst = false;
	look_at_bounds(w);
	start(w);
}

static void send_txn(struct world *w)
{
	const struct txn *t = &w->h->txns[w->at];
	bool staged = false;
	size_t lost_at = (w->quiet && !w->lossy) || rng_below(w->rng, 6) != 0 ? OPS + 1 : rng_below(w->rng, t->n + 1);
	for (bool again = true; again;) {
		again = false;
		send_begin(w, t);
		w->inside = true;
		for (size_t k = 0; k < t->n && !again; k++) {
			if (k == lost_at)
				again = true;
			else
				send_op(w, t, &t->ops[k]);
			something_happens(w);
			staged = staged || w->staged;
		}
		lost_at = OPS + 1;
		if (again)
			lose(w);
	}
	send_commit(w, t);
	w->inside = false;
	w->stagings += staged;
	w->at++;
	after_txn(w, w->at - 1);
}

static void subset(struct world *w)
{
	struct cmd begin = about(CMD_SUBSET_BEGIN, NULL);
	CHECK_INT(call(w, &begin), 0);
	struct slot slot = {.table = ITEMS};
	for (size_t i = 0; i < TXNS; i++)
		slot.before[i] = i < w->at + (w->inside ? 1 : 0);
	struct pg_snapshot snap = take_snapshot(w, &slot);
	struct cmd end = about(CMD_SUBSET_END, NULL);
	end.snap = &snap;
	end.joined = begin.joined;
	CHECK_INT(call(w, &end), must_refuse(w, &slot, false) ? 1 : 0);
	CHECK(end.result == 1 || atomic_load(&w->s->delivered) >= snap.insert_lsn);
	pg_snapshot_clear(&snap);
}

static void something_happens(struct world *w)
{
	struct slot *slot = &w->slots[rng_below(w->rng, SLOTS)];
	if (w->quiet || rng_below(w->rng, 3) != 0)
		return;
	switch (rng_below(w->rng, 6)) {
	case 0:
		subset(w);
		return;
	case 1: {
		struct cmd prune = about(CMD_PRUNE, NULL);
		prune.xmin = 1000;
		call(w, &prune);
		return;
	}
	default:
		break;
	}
	if (slot->shape == NULL)
		make_shape(w, slot, rng_below(w->rng, 3) == 0 ? BAG : ITEMS);
	if (slot->phase == ABSENT)
		join(w, slot);
	else if (slot->phase == JOINING)
		filter(w, slot);
	else if (slot->phase == COUNTING)
		give_counts(w, slot);
	else if (rng_below(w->rng, 8) == 0)
		drop(w, slot);
}

/* ---- the world's beginning and end ---- */

static void world_open(struct world *w, const char *dir, struct history *h, struct rng *rng)
{
	*w = (struct world){.h = h, .rng = rng};
	w->config.chunk_bytes_threshold = CHUNK_BYTES;
	w->s = ingest_open(&w->config, dir);
	w->sink = ingest_sink(w->s);
}

static void world_close(struct world *w)
{
	ingest_end(w->s);
	for (size_t i = 0; i < SLOTS; i++) {
		if (w->slots[i].phase == JOINING) {
			struct cmd undo = about(CMD_UNREGISTER, &w->slots[i]);
			call(w, &undo);
		}
		shape_unref(w->slots[i].shape);
	}
	ingest_close(w->s);
}

/* ---- the tests ---- */

static void test_history(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	static struct history h;
	char dir[TEMP_DIR_MAX];
	struct world w;
	make_history(&h, &rng, true);
	temp_dir_new(dir);
	world_open(&w, dir, &h, &rng);
	start(&w);
	while (w.at < TXNS) {
		something_happens(&w);
		send_txn(&w);
		if (rng_below(&rng, 20) == 0)
			check_logs(&w);
	}
	check_logs(&w);
	printf("test_ingest: seed %llu: %u births, %u refusals, %u rotations, %u losses, %u staged\n", (unsigned long long)seed, w.births,
	       w.refusals, w.rotations, w.losses, w.stagings);
	world_close(&w);
	temp_dir_remove(dir);
}

/* A transaction that the stream passed, that a shape registered behind, and that the stream brings again before the snapshot,
 * which calls it running (a standby hasn't answered): nobody has its rows for the shape, so the snapshot is taken again. */
static void test_replayed_while_joining(uint64_t seed, bool another)
{
	struct rng rng = rng_seeded(seed);
	static struct history h;
	char dir[TEMP_DIR_MAX];
	struct world w;
	make_history(&h, &rng, false);
	temp_dir_new(dir);
	world_open(&w, dir, &h, &rng);
	w.quiet = true;
	start(&w);
	while (w.at < 5)
		send_txn(&w);
	make_shape(&w, &w.slots[0], ITEMS);
	join(&w, &w.slots[0]);
	if (another) { /* in its middle another one registers: for the first it is no news either */
		make_shape(&w, &w.slots[1], ITEMS);
		w.amid = &w.slots[1];
		w.amid_at = 4;
	}
	w.rewound = true;
	lose(&w);
	CHECK(w.amid == NULL);
	uint64_t hung = h.txns[4].xid, others[TXNS];
	struct pg_snapshot snap = {.xmin = hung, .xmax = 1000 + TXNS, .xip = others, .insert_lsn = h.txns[4].end, .incarnation_us = 7};
	for (size_t i = 0; i < TXNS; i++)
		if (i >= 4)
			others[snap.nxip++] = h.txns[i].xid;
	struct cmd c = about(CMD_FILTER, &w.slots[0]);
	c.snap = &snap;
	CHECK_INT(call(&w, &c), 1);
	world_close(&w);
	temp_dir_remove(dir);
}

static void begin_shape(struct world *w, struct slot *slot, uint32_t table)
{
	struct pg_snapshot snap = {.xmin = 1000, .xmax = 1000, .insert_lsn = 1, .incarnation_us = 7};
	make_shape(w, slot, table);
	join(w, slot);
	struct cmd c = about(CMD_FILTER, slot);
	c.snap = &snap;
	CHECK_INT(call(w, &c), 0);
	put_no_rows(slot->shape, &snap);
	if (table == BAG)
		give_counts(w, slot);
	slot->phase = ALIVE;
}

static uint64_t staging_in_store(struct world *w)
{
	uint64_t staging = 0;
	CHECK(writer_flush(w->s, &e) == 0);
	struct store_read *r = store_read_begin(w->s->store, &e);
	CHECK(store_get_meta_u64(r, "staging", &staging, &e) == 0);
	store_read_end(r);
	return staging;
}

/* The connection is lost when half of a transaction is staged: what of it is in the store is cut, also where chunks would end
 * counts from before it, and when it comes again it is there once. */
static void test_lost_staged(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	static struct history h;
	char dir[TEMP_DIR_MAX];
	struct world w;
	make_history(&h, &rng, false);
	for (size_t i = 0; i < 5; i++)
		if (h.txns[i].n > 0 && h.txns[i].ops[h.txns[i].n - 1].kind == 'T')
			h.txns[i].n--;
	struct txn *t = &h.txns[5];
	t->huge = true;
	t->n = 0;
	while (t->n < OPS)
		add_op(t, ITEMS, 'U', (int)t->n % IDS, 1000 + (int)t->n);
	temp_dir_new(dir);
	world_open(&w, dir, &h, &rng);
	w.quiet = true;
	start(&w);
	begin_shape(&w, &w.slots[0], ITEMS);
	while (w.at < 5)
		send_txn(&w);
	struct shape *shape = w.slots[0].shape;
	uint64_t open_bytes = shape->in.open_bytes = 100; /* as if there had been rows in its chunk */
	for (int times = 0; times < 2; times++) {
		send_begin(&w, t);
		w.inside = true;
		for (size_t k = 0; k < OPS - 2; k++)
			send_op(&w, t, &t->ops[k]);
		CHECK(w.staged);
		CHECK_INT(staging_in_store(&w), t->lsn);
		lose(&w);
		CHECK_INT(staging_in_store(&w), 0);
		CHECK_INT(shape->in.open_bytes, open_bytes);
	}
	send_txn(&w);
	CHECK(!atomic_load(&shape->dropped));
	check_logs(&w);
	world_close(&w);
	temp_dir_remove(dir);
}

static void keep_logs(struct world *w, struct buf kept[2])
{
	CHECK(writer_flush(w->s, &e) == 0);
	for (int i = 0; i < 2; i++)
		kept[i] = log_text(w->slots[i].shape);
}

static void same_logs(struct world *w, const struct buf kept[2])
{
	CHECK(writer_flush(w->s, &e) == 0);
	for (int i = 0; i < 2; i++) {
		struct buf now = log_text(w->slots[i].shape);
		CHECK(now.len > 0 && now.len == kept[i].len && memcmp(now.data, kept[i].data, now.len) == 0);
		buf_clear(&now);
	}
}

/* The same history gives the same bytes: sent in one go, with the connection lost again and again, and after a restart with
 * all of it sent once more. */
static void test_same_bytes(uint64_t seed)
{
	static struct history h;
	struct buf kept[2];
	struct rng rng = rng_seeded(seed);
	make_history(&h, &rng, true);
	for (size_t i = 0; i < TXNS; i++)
		if (h.txns[i].n > 0 && h.txns[i].ops[h.txns[i].n - 1].kind == 'T')
			h.txns[i].n--;
	for (int lossy = 0; lossy < 2; lossy++) {
		char dir[TEMP_DIR_MAX], handles[2][HANDLE_TEXT_MAX];
		struct world w;
		temp_dir_new(dir);
		world_open(&w, dir, &h, &rng);
		w.quiet = true;
		start(&w);
		begin_shape(&w, &w.slots[0], ITEMS);
		begin_shape(&w, &w.slots[1], BAG);
		w.lossy = lossy;
		while (w.at < TXNS)
			send_txn(&w);
		if (lossy == 0)
			keep_logs(&w, kept);
		same_logs(&w, kept);
		check_logs(&w);
		for (int i = 0; i < 2; i++)
			memcpy(handles[i], w.slots[i].shape->handle, sizeof handles[i]);
		world_close(&w);
		world_open(&w, dir, &h, &rng);
		for (int i = 0; i < 2; i++)
			w.slots[i].shape = shape_ref(map_get(&w.s->by_handle, handles[i], strlen(handles[i])));
		counts_restore(w.s);
		w.at = TXNS;
		start(&w);
		same_logs(&w, kept);
		world_close(&w);
		temp_dir_remove(dir);
	}
	buf_clear(&kept[0]);
	buf_clear(&kept[1]);
}

int main(void)
{
	uint64_t seed = test_seed("test_ingest");
	log_init(LOG_EMERGENCY);
	RUN(test_replayed_while_joining, seed, false);
	RUN(test_replayed_while_joining, seed, true);
	RUN(test_lost_staged, seed);
	RUN(test_same_bytes, seed);
	for (uint64_t i = 0; i < 4; i++)
		RUN(test_history, seed + i);
	return check_done("test_ingest");
}
