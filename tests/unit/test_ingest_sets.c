/*
 * test_ingest_sets.c - INGEST and shapes with subqueries: the real sink, commands and WRITER, with the test in the places of the
 * stream and of the PG threads, as in test_ingest.c.
 *
 * The server's history is made up in advance: transactions over the shapes' table and two that their conditions name. What each
 * subquery selects follows from it, at any moment; so it is known which snapshots INGEST must refuse, after which transaction a
 * shape must be gone, and what its log holds until then. Nothing else may end a shape.
 */
#include "ingest_test.h"
#include "shapes/core/def.h"
#include "shapes/core/sets.h"

#define TXNS 60
#define OPS 8
#define SLOTS 6
#define CHUNK_BYTES 100000
#define HUGE_BYTES (3u << 20) /* a transaction of some such rows is staged */
#define ITEMS 200u
#define MEMBERS 100u /* smaller, and larger than the shape's own */
#define TEAMS 300u
#define IDS 7        /* 1…6; 0 is null where there may be one */
#define VALUES 32    /* of a set, at most */
#define MEMBERS_MAX 16

static struct pg_table *items, *members, *teams;

/* ---- the server's history ---- */

struct member { int user, item, note; };

struct op {
	uint32_t table;
	char kind;          /* 'I', 'U', 'D', 'T' */
	bool blind;         /* the old row isn't sent */
	int id;             /* ITEMS, TEAMS */
	int was_size, size; /* TEAMS: 0 for none */
	struct member was, now;
};

struct txn {
	lsn_t lsn, end;
	uint32_t xid;
	bool huge;
	size_t n;
	struct op ops[OPS];
};

struct state {
	struct member members[MEMBERS_MAX];
	size_t n;
	int teams[IDS]; /* size, 0: there is none */
	bool items[IDS];
};

struct history {
	struct txn txns[TXNS];
	size_t n;
};

static void apply_op(struct state *s, const struct op *op)
{
	size_t at = 0;
	switch (op->table) {
	case ITEMS:
		s->items[op->id] = op->kind != 'D' && op->kind != 'T';
		if (op->kind == 'T')
			memset(s->items, 0, sizeof s->items);
		return;
	case TEAMS:
		s->teams[op->id] = op->size;
		if (op->kind == 'T')
			memset(s->teams, 0, sizeof s->teams);
		return;
	default:
		break;
	}
	if (op->kind == 'T') {
		s->n = 0;
		return;
	}
	if (op->kind == 'I') {
		s->members[s->n++] = op->now;
		return;
	}
	while (at < s->n && memcmp(&s->members[at], &op->was, sizeof op->was) != 0)
		at++;
	REQUIRE(at < s->n);
	s->members[at] = op->kind == 'U' ? op->now : s->members[--s->n];
}

/* Most rows are nobody's: sets change now and then. */
static struct member any_member(struct rng *rng)
{
	int user = rng_below(rng, 2) == 0 ? 8 + (int)rng_below(rng, 2) : 1 + (int)rng_below(rng, 5);
	return (struct member){user, (int)rng_below(rng, IDS), 1 + (int)rng_below(rng, 2)};
}

static struct op any_op(const struct state *s, struct rng *rng, const struct txn *t)
{
	struct op op = {.table = MEMBERS};
	uint64_t which = rng_below(rng, 10);
	if (which < 4) {
		op.table = ITEMS;
		op.id = 1 + (int)rng_below(rng, IDS - 1);
		op.kind = !s->items[op.id] ? 'I' : rng_below(rng, 3) == 0 ? 'D' : 'U';
	} else if (which == 4) {
		op.table = TEAMS;
		op.id = 1 + (int)rng_below(rng, IDS - 1);
		op.was_size = s->teams[op.id];
		op.size = rng_below(rng, 3) == 0 ? 0 : 1 + (int)rng_below(rng, 9);
		op.kind = op.was_size == 0 ? 'I' : op.size == 0 ? 'D' : 'U';
		if (op.kind == 'I' && op.size == 0)
			op.size = 3;
	} else if (t->n > 0 && t->ops[t->n - 1].table == MEMBERS && t->ops[t->n - 1].kind == 'D' && rng_below(rng, 2) == 0) {
		op.kind = 'I'; /* what was just taken away comes back */
		op.now = t->ops[t->n - 1].was;
	} else if (s->n > 0 && (s->n == MEMBERS_MAX || rng_below(rng, 2) == 0)) {
		op.was = op.now = s->members[rng_below(rng, s->n)];
		op.kind = rng_below(rng, 2) == 0 || s->n == MEMBERS_MAX ? 'D' : 'U';
		struct member other = any_member(rng);
		switch (op.kind == 'D' ? 9 : rng_below(rng, 4)) {
		case 0: op.now.user = other.user; break;
		case 1: op.now.item = other.item; break;
		case 2: op.now.note = other.note; break;
		default: break; /* nothing has changed */
		}
	} else {
		op.kind = 'I';
		op.now = any_member(rng);
	}
	op.blind = op.table != ITEMS && op.kind != 'I' && rng_below(rng, 60) == 0;
	return op;
}

static void make_history(struct history *h, struct rng *rng)
{
	struct state s = {.n = 0};
	lsn_t at = 0x1000000;
	memset(h, 0, sizeof *h);
	h->n = TXNS;
	for (size_t i = 0; i < TXNS; i++) {
		struct txn *t = &h->txns[i];
		at += rng_below(rng, 3) * 1000;
		t->lsn = at;
		t->end = at = at + 48;
		t->xid = xid_of(i);
		t->huge = rng_below(rng, 16) == 0;
		size_t n = t->huge ? OPS : rng_below(rng, OPS);
		while (t->n < n) {
			t->ops[t->n] = any_op(&s, rng, t);
			apply_op(&s, &t->ops[t->n++]);
		}
		if (rng_below(rng, 30) == 0 && t->n < OPS) {
			static const uint32_t which[] = {ITEMS, MEMBERS, TEAMS};
			t->ops[t->n] = (struct op){.table = which[rng_below(rng, 3)], .kind = 'T'};
			apply_op(&s, &t->ops[t->n++]);
		}
	}
}

/* ---- conditions, and what their subqueries select ---- */

enum kind { IN_SET, NOT_IN_SET, ANY_ROW, CORRELATED, NESTED, PAIRS, KINDS };

static const char *const conditions[KINDS] = {
	[IN_SET] = "id IN (SELECT item FROM members WHERE usr = 1)",
	[NOT_IN_SET] = "id NOT IN (SELECT item FROM members WHERE usr = 2)",
	[ANY_ROW] = "EXISTS (SELECT 1 FROM members WHERE usr = 3)",
	[CORRELATED] = "EXISTS (SELECT 1 FROM members m WHERE m.item = items.id AND m.usr = 4)",
	[NESTED] = "id IN (SELECT item FROM members WHERE usr IN (SELECT id FROM teams WHERE size > 5))",
	[PAIRS] = "(id, name) IN (SELECT item, note FROM members WHERE usr < 3)",
};

/* How often each value is there, of each subquery. */
struct found {
	int64_t count[2][VALUES];
};

static size_t nsets(enum kind k) { return k == NESTED ? 2 : 1; }

/* The set that a member's row is in; `own` has the constants that its condition stands for. -1: none. */
static int value_of(enum kind k, const struct member *m, const struct found *own)
{
	switch (k) {
	case IN_SET: return m->user == 1 ? m->item : -1;
	case NOT_IN_SET: return m->user == 2 ? m->item : -1;
	case ANY_ROW: return m->user == 3 ? 0 : -1;
	case CORRELATED: return m->user == 4 && m->item != 0 ? m->item : -1; /* NULL is like nobody's: it isn't in the set */
	case NESTED: return m->user < IDS && own->count[0][m->user] > 0 ? m->item : -1;
	default: return m->user < 3 ? m->item * 4 + m->note : -1;
	}
}

static void count_in(struct found *f, size_t set, int value, int64_t by)
{
	if (value >= 0)
		f->count[set][value] += by;
}

static struct found select_from(enum kind k, const struct state *s)
{
	struct found f = {0};
	for (int id = 1; k == NESTED && id < IDS; id++)
		count_in(&f, 0, s->teams[id] > 5 ? id : -1, 1);
	for (size_t i = 0; i < s->n; i++)
		count_in(&f, nsets(k) - 1, value_of(k, &s->members[i], &f), 1);
	return f;
}

static bool same_found(enum kind k, const struct found *a, const struct found *b)
{
	for (size_t i = 0; i < nsets(k); i++)
		for (int v = 0; v < VALUES; v++)
			if ((a->count[i][v] > 0) != (b->count[i][v] > 0))
				return false;
	return true;
}

static struct found delta_of(enum kind k, const struct txn *t, const struct found *own)
{
	struct found d = {0};
	for (size_t i = 0; i < t->n; i++) {
		const struct op *op = &t->ops[i];
		if (op->table == TEAMS && k == NESTED) {
			count_in(&d, 0, op->was_size > 5 ? op->id : -1, -1);
			count_in(&d, 0, op->size > 5 ? op->id : -1, 1);
		} else if (op->table == MEMBERS && op->kind != 'T') {
			count_in(&d, nsets(k) - 1, op->kind != 'I' ? value_of(k, &op->was, own) : -1, -1);
			count_in(&d, nsets(k) - 1, op->kind != 'D' ? value_of(k, &op->now, own) : -1, 1);
		}
	}
	return d;
}

static void put_value(struct sets *s, enum kind k, size_t set, int v, int64_t times)
{
	char item[8], note[8];
	int id = k == PAIRS ? v / 4 : v;
	struct where_text_value row[2] = {{item, (size_t)snprintf(item, sizeof item, "%d", id)}, {note, (size_t)snprintf(note, sizeof note, "x%d", v % 4)}};
	if (id == 0)
		row[0] = (struct where_text_value){NULL, 0};
	CHECK_OK(sets_put(s, set, row, times, &e), &e);
}

static struct sets *sets_of(enum kind k, const struct shape_def *d, const struct found *f)
{
	struct sets_plan *plan = sets_plan_new(d, &e);
	REQUIRE(plan != NULL && plan->n == nsets(k));
	struct sets *s = sets_new(plan);
	for (size_t i = 0; i < nsets(k); i++)
		for (int v = 0; v < VALUES; v++)
			if (f->count[i][v] > 0)
				put_value(s, k, i, v, f->count[i][v]);
	CHECK_OK(sets_finish(s, &e), &e);
	return s;
}

/* Whether the item is one of the shape's; its name goes with its id. */
static bool matches(enum kind k, int id, const struct found *f)
{
	bool any = false;
	for (int v = 0; v < VALUES; v++)
		any = any || f->count[nsets(k) - 1][v] > 0;
	switch (k) {
	case NOT_IN_SET: return !any || (f->count[0][id] == 0 && f->count[0][0] == 0);
	case ANY_ROW: return any;
	case PAIRS: return f->count[0][id * 4 + 1 + id % 2] > 0;
	default: return f->count[nsets(k) - 1][id] > 0;
	}
}

/* ---- the world ---- */

enum phase { ABSENT, SNAPPED, JOINING, ALIVE };

struct slot {
	enum phase phase;
	enum kind kind;
	struct shape *shape; /* a reference */
	struct found found;  /* the sets it has; JOINING: as it was registered */
	bool lost[2][VALUES]; /* how often it is there INGEST doesn't know since the restart */
	bool before[TXNS], since[TXNS]; /* JOINING: passed, or under way, when it registered; passed in whole since */
	bool shown[TXNS];               /* by its snapshot */
	bool in_midst;  /* it registered in the middle of the transaction under way */
	bool disturbed; /* JOINING: there was what asks for a new registration */
	struct pg_snapshot snap; /* SNAPPED, and `own`: taken before it registers, or registered */
	bool own;       /* JOINING: with what that snapshot shows, which INGEST is still to be asked about */
};

struct world {
	struct shapes *s;
	struct config config;
	struct stream_sink sink;
	struct history *h;
	struct rng *rng;
	struct slot slots[SLOTS];
	size_t at;   /* transactions before are passed */
	bool inside; /* in the middle of txns[at] */
	bool staged;
	size_t restarted_at; /* what was running then the server would have told; none was */
	bool quiet;  /* nothing comes between the changes, no connection is lost */
	lsn_t acknowledged;
	unsigned births, at_first, refusals, changed_meanwhile, guesses, rotations, losses, stagings, unsure;
};

/* Nothing has changed in the catalog so far. */
static lsn_t looked(const struct world *w) { return w->at < w->h->n ? w->h->txns[w->at].end : UINT64_MAX; }

static void wait_ready(struct world *w)
{
	await_ready(w->s, looked(w));
	lsn_t ack = w->sink.durable(w->s);
	w->acknowledged = ack != 0 ? ack : w->acknowledged;
}

static int call(struct world *w, struct cmd *c) { return ingest_call(w->s, c); }
static struct cmd about(enum cmd_kind kind, struct slot *slot) { return ingest_command(kind, slot != NULL ? slot->shape : NULL); }

/* ---- shapes ---- */

static struct shape_def def_with(const char *condition)
{
	const struct pg_table *list[] = {members, teams};
	struct pg_table *named[2] = {members, teams};
	struct where_tables tables = {.list = list, .n = 2};
	char message[WHERE_MESSAGE_MAX];
	struct where *where = NULL;
	REQUIRE(where_parse(items, &tables, condition, strlen(condition), NULL, NULL, false, &where, message) == 0);
	struct buf canonical = BUF_INIT(WHERE_CANONICAL_MAX);
	where_canonical(where, &canonical);
	where_free(where);
	buf_putc(&canonical, '\0');
	struct shape_def d = def_make(pg_table_ref(items), NULL, REPLICA_DEFAULT);
	def_set_where(&d, canonical.data, named, strstr(condition, "teams") != NULL ? 2 : 1);
	buf_clear(&canonical);
	return d;
}

static struct shape *make_shape(struct world *w, const char *condition)
{
	char name[40];
	uint64_t id = atomic_fetch_add(&w->s->next_id, 1);
	snprintf(name, sizeof name, "%llu-%llu", (unsigned long long)id, (unsigned long long)id * 1000);
	struct shape_def d = def_with(condition);
	/* Several of one condition: an identity of its own, which ends in the condition all the same. */
	struct buf identity = BUF_INIT(1u << 20);
	size_t nwhere = strlen(d.where);
	buf_puts(&identity, name);
	buf_put(&identity, d.where, nwhere + 1);
	free(d.identity);
	d.identity = buf_detach(&identity, &d.identity_len);
	d.identity_len--;
	d.where = d.identity + strlen(name);
	struct shape *shape = shape_ref(shape_make(w->s, &d, id, name));
	shape_def_clear(&d);
	pthread_rwlock_wrlock(&w->s->registry_lock);
	registry_link(w->s, shape);
	pthread_rwlock_unlock(&w->s->registry_lock);
	return shape;
}

/* As the server is after those that are shown. */
static struct state state_with(const struct history *h, const bool *shown)
{
	struct state s = {.n = 0};
	for (size_t i = 0; i < h->n; i++)
		for (size_t k = 0; shown[i] && k < h->txns[i].n; k++)
			apply_op(&s, &h->txns[i].ops[k]);
	return s;
}

static size_t committed(struct world *w)
{
	size_t n = w->at + (w->inside ? 1 : 0) + (w->quiet ? 0 : rng_below(w->rng, 3));
	return n < w->h->n ? n : w->h->n;
}

/* Registered with what a first look has found; it may be another one than the snapshot's. */
static void join(struct world *w, struct slot *slot, const struct found *guess)
{
	slot->found = *guess;
	sets_free(slot->shape->sets);
	slot->shape->sets = sets_of(slot->kind, &slot->shape->def, guess);
	struct cmd c = about(CMD_REGISTER, slot);
	CHECK_INT(call(w, &c), 0);
	CHECK(slot->shape->in.routed);
	slot->phase = JOINING;
	slot->disturbed = w->staged;
	slot->in_midst = w->inside;
	memset(slot->since, 0, sizeof slot->since);
	for (size_t i = 0; i < TXNS; i++)
		slot->before[i] = i < w->at + (w->inside ? 1 : 0);
}

static void unregister(struct world *w, struct slot *slot)
{
	struct cmd undo = about(CMD_UNREGISTER, slot);
	call(w, &undo);
	CHECK(slot->shape->in.kept == NULL && slot->shape->in.inner == NULL);
	slot->phase = ABSENT;
}

static void look_and_join(struct world *w, struct slot *slot)
{
	bool shown[TXNS];
	size_t n = committed(w);
	for (size_t i = 0; i < TXNS; i++)
		shown[i] = i < n;
	struct state s = state_with(w->h, shown);
	struct found guess = select_from(slot->kind, &s);
	join(w, slot, &guess);
}

/* Nothing after it depends on it, so it may still count as running: its rows are locked. */
static bool may_hang(const struct history *h, size_t hung, size_t n)
{
	bool inner = false, later = false;
	for (size_t i = hung; i < n; i++)
		for (size_t k = 0; k < h->txns[i].n; k++) {
			bool is_inner = h->txns[i].ops[k].table != ITEMS;
			inner = inner || (i == hung && is_inner);
			later = later || (i > hung && is_inner);
		}
	return !(inner && later);
}

/* What the server shows now: all it has committed, which the stream may not have brought yet, but for a transaction that waits
 * for a standby and still counts as running. */
static struct pg_snapshot take_snapshot(struct world *w, struct slot *slot)
{
	bool hangs = !w->quiet && rng_below(w->rng, 2) == 0;
	size_t n = hangs ? w->at + (w->inside ? 1 : 0) : committed(w), hung = TXNS;
	if (n > 0 && hangs)
		hung = n - 1 - rng_below(w->rng, n < 2 ? n : 2);
	if (hung < w->restarted_at || (hung < n && !may_hang(w->h, hung, n)))
		hung = TXNS;
	for (size_t i = 0; i < TXNS; i++)
		slot->shown[i] = i < n && i != hung;
	return snapshot_of(slot->shown, TXNS, n > 0 ? w->h->txns[n - 1].end : 1);
}

/* See test_ingest.c. */
static bool must_refuse(const struct world *w, const struct slot *slot, bool strictly)
{
	return one_is_lost(slot->before, slot->since, slot->shown, TXNS, strictly && w->inside && !slot->in_midst ? w->at : TXNS);
}

/* The transaction's changes counted in; true: a set is another one now. */
static bool count_txn(struct slot *slot, const struct txn *t, struct found *f)
{
	struct found d = delta_of(slot->kind, t, &slot->found), was = *f;
	for (size_t i = 0; i < 2; i++)
		for (int v = 0; v < VALUES; v++)
			f->count[i][v] += d.count[i][v];
	return !same_found(slot->kind, &was, f);
}

static void filter(struct world *w, struct slot *slot)
{
	struct pg_snapshot snap = take_snapshot(w, slot);
	struct state s = state_with(w->h, slot->shown);
	struct found now = select_from(slot->kind, &s);
	if (!same_found(slot->kind, &slot->found, &now)) { /* as create.c: what it is now is what it is registered with next */
		pg_snapshot_clear(&snap);
		unregister(w, slot);
		w->guesses++;
		join(w, slot, &now);
		return;
	}
	struct found counted = now;
	bool changed = false;
	for (size_t i = 0; i < TXNS; i++)
		if (slot->since[i] && !slot->shown[i])
			changed = count_txn(slot, &w->h->txns[i], &counted) || changed;
	struct sets *sets = sets_of(slot->kind, &slot->shape->def, &now);
	struct cmd c = about(CMD_FILTER, slot);
	c.snap = &snap;
	c.sets = &sets;
	int rc = call(w, &c);
	CHECK(rc == 0 || rc == CMD_AGAIN || rc == CMD_ANEW);
	CHECK(rc != 0 || !must_refuse(w, slot, true));
	CHECK(rc != 0 || !changed);
	CHECK(rc == 0 || must_refuse(w, slot, false) || changed || slot->disturbed);
	CHECK(rc != CMD_ANEW || slot->disturbed);
	CHECK((sets == NULL) == (rc == 0)); /* it takes them then */
	w->changed_meanwhile += rc != 0 && changed;
	w->refusals += rc != 0;
	if (rc == 0) {
		CHECK(slot->shape->in.kept == NULL && slot->shape->sets->bound == NULL);
		put_no_rows(slot->shape, &snap);
		w->births++;
		slot->found = counted;
		slot->phase = ALIVE;
	} else if (rc == CMD_ANEW) {
		unregister(w, slot);
	}
	sets_free(sets);
	pg_snapshot_clear(&snap);
}

/* As the first snapshot of a birth: it is there before the shape registers. */
static void snap_first(struct world *w, struct slot *slot)
{
	slot->snap = take_snapshot(w, slot);
	struct state s = state_with(w->h, slot->shown);
	slot->found = select_from(slot->kind, &s);
	atomic_fetch_add(&w->s->snapshots_ahead, 1);
	slot->phase = SNAPPED;
}

static void forget_snap(struct world *w, struct slot *slot)
{
	if (slot->phase == SNAPPED || slot->own) {
		pg_snapshot_clear(&slot->snap);
		atomic_fetch_sub(&w->s->snapshots_ahead, 1);
	}
	slot->own = false;
}

static void join_with_own(struct world *w, struct slot *slot)
{
	struct found found = slot->found;
	join(w, slot, &found);
	slot->own = true;
}

/* INGEST may take that snapshot if nothing has been passed in between, and nothing came to its tables inside since. */
static void filter_own(struct world *w, struct slot *slot)
{
	bool inner = false, changed = false;
	struct found counted = slot->found;
	for (size_t i = 0; i < TXNS; i++) {
		if (slot->since[i] && !slot->shown[i])
			changed = count_txn(slot, &w->h->txns[i], &counted) || changed;
		for (size_t k = 0; slot->since[i] && k < w->h->txns[i].n; k++)
			inner = inner || w->h->txns[i].ops[k].table != ITEMS;
	}
	struct sets *own = slot->shape->sets, *same = sets_of(slot->kind, &slot->shape->def, &slot->found);
	struct cmd c = about(CMD_FILTER, slot);
	c.snap = &slot->snap;
	c.sets = &own;
	int rc = call(w, &c);
	CHECK(rc == 0 || rc == CMD_AGAIN || rc == CMD_ANEW);
	CHECK(rc != 0 || (!must_refuse(w, slot, true) && !changed));
	CHECK(rc == 0 || must_refuse(w, slot, false) || inner || slot->disturbed);
	CHECK(sets_same(slot->shape->sets, same)); /* refused: they are what it is registered with, and nothing else */
	w->refusals += rc != 0;
	if (rc == 0) {
		CHECK(slot->shape->in.kept == NULL && slot->shape->sets->bound == NULL);
		put_no_rows(slot->shape, &slot->snap);
		w->births++;
		w->at_first++;
		slot->phase = ALIVE;
	} else if (rc == CMD_ANEW) {
		unregister(w, slot);
	}
	sets_free(same);
	pg_snapshot_clear(&slot->snap);
	atomic_fetch_sub(&w->s->snapshots_ahead, 1);
	slot->own = false;
}

static void let_go(struct slot *slot)
{
	shape_unref(slot->shape);
	*slot = (struct slot){0};
}

static void drop(struct world *w, struct slot *slot)
{
	shape_rotate(slot->shape, REASON_DELETED, "the test drops it");
	w->sink.idle(w->s);
	CHECK(!slot->shape->in.routed);
	CHECK(writer_flush(w->s, &e) == 0);
	let_go(slot);
}

/* ---- what a log must be ---- */

/* All passed transactions that the snapshot didn't show, the matching rows of each, and nothing else, in their order. */
static bool log_is_right(struct world *w, struct slot *slot)
{
	struct buf got = log_text(slot->shape);
	const char *p = got.data, *end = p + got.len;
	bool good = true;
	for (size_t i = 0; good && i < w->at; i++) {
		const struct txn *t = &w->h->txns[i];
		for (size_t k = 0; good && !slot->shown[i] && k < t->n; k++) {
			char want[100];
			if (t->ops[k].table != ITEMS || t->ops[k].kind == 'T' || !matches(slot->kind, t->ops[k].id, &slot->found))
				continue;
			const char *stop = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
			snprintf(want, sizeof want, "\"lsn\":\"%llu\",\"op_position\":%zu,", (unsigned long long)t->lsn, k * 2);
			good = stop != NULL && memmem(p, (size_t)(stop - p), want, strlen(want)) != NULL;
			snprintf(want, sizeof want, "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"%d\\\"\",", t->ops[k].id);
			good = good && (size_t)(stop - p) > strlen(want) && memcmp(p, want, strlen(want)) == 0;
			if (!good)
				printf("  not there: %llu_%zu of %d\n", (unsigned long long)t->lsn, k * 2, t->ops[k].id);
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
		if (w->slots[i].phase == ALIVE && !CHECK(log_is_right(w, &w->slots[i])))
			printf("  shape %zu, %s, is wrong behind transaction %zu\n", i, conditions[w->slots[i].kind], w->at);
}

/* ---- the stream ---- */

static int send(struct world *w, const struct wal_change *c)
{
	wait_ready(w);
	int rc = w->sink.change(w->s, c, &e);
	w->staged = w->s->ingest->staged;
	serve_jobs(w->s, looked(w));
	for (size_t i = 0; w->staged && i < SLOTS; i++)
		if (w->slots[i].phase == JOINING)
			w->slots[i].disturbed = true;
	return rc;
}

static int relate(struct world *w, uint32_t oid, const char *name, uint16_t n, const struct wal_column *columns)
{
	struct wal_change c = {.kind = WAL_RELATION};
	c.u.relation = (struct wal_relation){oid, "public", name, 'f', n, columns};
	return send(w, &c);
}

static void send_relations(struct world *w)
{
	static const struct wal_column of_items[] = {{"id", 23, -1, true}, {"name", 25, -1, true}, {"v", 25, -1, true}};
	static const struct wal_column of_members[] = {{"usr", 23, -1, true}, {"item", 23, -1, true}, {"note", 25, -1, true}};
	static const struct wal_column of_teams[] = {{"id", 23, -1, true}, {"size", 23, -1, true}};
	CHECK_INT(relate(w, ITEMS, "items", 3, of_items), 0);
	CHECK_INT(relate(w, MEMBERS, "members", 3, of_members), 0);
	CHECK_INT(relate(w, TEAMS, "teams", 2, of_teams), 0);
}

static struct wal_value number(char *to, int v)
{
	return v == 0 ? (struct wal_value){WAL_NULL, 0, NULL} : text(to, (size_t)sprintf(to, "%d", v));
}

/* A row and what its values' texts lie in. */
struct wire_row {
	char texts[3][16];
	char *large;
	struct wal_value values[3];
	struct wal_tuple tuple;
};

static void fill_member(struct wire_row *r, const struct member *m)
{
	r->values[0] = number(r->texts[0], m->user);
	r->values[1] = number(r->texts[1], m->item);
	r->values[2] = text(r->texts[2], (size_t)sprintf(r->texts[2], "x%d", m->note));
	r->tuple = (struct wal_tuple){3, r->values};
}

static void fill_item(struct wire_row *r, int id, size_t pad)
{
	r->large = mem_alloc(pad + 1);
	memset(r->large, 'v', pad);
	r->values[0] = number(r->texts[0], id);
	r->values[1] = text(r->texts[1], (size_t)sprintf(r->texts[1], "x%d", 1 + id % 2));
	r->values[2] = text(r->large, pad);
	r->tuple = (struct wal_tuple){3, r->values};
}

static void fill_team(struct wire_row *r, int id, int size)
{
	r->values[0] = number(r->texts[0], id);
	r->values[1] = number(r->texts[1], size);
	r->tuple = (struct wal_tuple){2, r->values};
}

static void send_row(struct world *w, const struct op *op, const struct wire_row *was, const struct wire_row *now)
{
	struct wal_change c = {.kind = (enum wal_kind)op->kind};
	c.u.row.relation_oid = op->table;
	c.u.row.old_kind = op->kind == 'I' || (op->blind && op->kind == 'U') ? 0 : op->blind ? 'K' : 'O';
	if (c.u.row.old_kind != 0)
		c.u.row.old_tuple = was->tuple;
	if (op->kind != 'D')
		c.u.row.new_tuple = now->tuple;
	CHECK(send(w, &c) == 0);
}

static void send_op(struct world *w, const struct txn *t, const struct op *op)
{
	struct wire_row was = {.large = NULL}, now = {.large = NULL};
	if (op->kind == 'T') {
		struct wal_change c = truncate_change(&op->table);
		CHECK(send(w, &c) == 0);
		return;
	}
	if (op->table == ITEMS) {
		fill_item(&was, op->id, 5);
		fill_item(&now, op->id, t->huge ? HUGE_BYTES : 10);
	} else if (op->table == MEMBERS) {
		fill_member(&was, &op->was);
		fill_member(&now, &op->now);
	} else {
		fill_team(&was, op->id, op->was_size);
		fill_team(&now, op->id, op->size);
	}
	send_row(w, op, &was, &now);
	free(was.large);
	free(now.large);
}

static void something_happens(struct world *w);

static void send_begin(struct world *w, const struct txn *t)
{
	struct wal_change c = begin_change(t->lsn, t->xid);
	CHECK(send(w, &c) == 0);
}

static void send_commit(struct world *w, const struct txn *t)
{
	struct wal_change c = commit_change(t->lsn, t->end);
	CHECK(send(w, &c) == 0);
	wait_ready(w); /* it is published */
	w->staged = false;
}

/* Of its own table, or one of its condition: emptied, or rows came without their old values. */
static bool ends_in_doubt(const struct slot *slot, const struct txn *t)
{
	for (size_t k = 0; k < t->n; k++) {
		const struct op *op = &t->ops[k];
		if ((op->kind == 'T' || op->blind) && (op->table != TEAMS || slot->kind == NESTED))
			return true;
	}
	return false;
}

/* Since a restart: values that were there then go, or others come. */
static bool ends_unsure(const struct slot *slot, const struct txn *t)
{
	struct found d = delta_of(slot->kind, t, &slot->found);
	for (size_t i = 0; i < 2; i++)
		for (int v = 0; v < VALUES; v++)
			if (slot->lost[i][v] && d.count[i][v] < 0)
				return true;
	return false;
}

static void after_txn(struct world *w, size_t at)
{
	const struct txn *t = &w->h->txns[at];
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &w->slots[i];
		bool doubt = ends_in_doubt(slot, t), lost = ends_unsure(slot, t);
		slot->since[at] = !slot->in_midst;
		slot->in_midst = false;
		if (slot->phase == JOINING && doubt)
			slot->disturbed = true;
		if (slot->phase != ALIVE)
			continue;
		struct found then = slot->found;
		bool changed = !slot->shown[at] && count_txn(slot, t, &then), ends = !slot->shown[at] && (changed || doubt || lost);
		bool dropped = atomic_load(&slot->shape->dropped);
		if (!CHECK_INT(dropped, ends))
			printf("  %s after transaction %zu (%s%s%s)\n", conditions[slot->kind], at, changed ? "changed " : "", doubt ? "doubt " : "",
			       lost ? "lost" : "");
		if (!dropped) {
			slot->found = then;
			continue;
		}
		w->rotations++;
		w->unsure += lost && !changed && !doubt;
		CHECK(slot->shape->tail.last.tx < t->lsn); /* nothing of that transaction */
		CHECK(writer_flush(w->s, &e) == 0 && slot->shape->tail.state == SHAPE_GONE);
		let_go(slot);
	}
}

static void start(struct world *w)
{
	lsn_t from = begin_stream(w->s, w->h->txns[w->h->n - 1].end, w->acknowledged != 0 ? w->acknowledged : w->h->txns[0].lsn);
	serve_jobs(w->s, looked(w));
	wait_ready(w);
	send_relations(w);
	/* Again what we have, from where the slot stands: it counts for nothing. */
	for (size_t i = 0; i < w->at; i++)
		if (w->h->txns[i].lsn >= from) {
			send_begin(w, &w->h->txns[i]);
			for (size_t k = 0; k < w->h->txns[i].n; k++)
				send_op(w, &w->h->txns[i], &w->h->txns[i].ops[k]);
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
	start(w);
}

static void send_txn(struct world *w)
{
	const struct txn *t = &w->h->txns[w->at];
	bool staged = false;
	size_t lost_at = w->quiet || rng_below(w->rng, 6) != 0 ? OPS + 1 : rng_below(w->rng, t->n + 1);
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

static void something_happens(struct world *w)
{
	struct slot *slot = &w->slots[rng_below(w->rng, SLOTS)];
	if (w->quiet || rng_below(w->rng, 2) != 0)
		return;
	if (slot->shape == NULL) {
		slot->kind = (enum kind)rng_below(w->rng, KINDS);
		slot->shape = make_shape(w, conditions[slot->kind]);
	}
	if (slot->phase == ABSENT && rng_below(w->rng, 2) == 0)
		look_and_join(w, slot);
	else if (slot->phase == ABSENT)
		snap_first(w, slot);
	if (slot->phase == SNAPPED && rng_below(w->rng, 4) != 0)
		join_with_own(w, slot);
	if (slot->phase == JOINING && slot->own && rng_below(w->rng, 2) == 0)
		filter_own(w, slot);
	else if (slot->phase == JOINING && !slot->own && rng_below(w->rng, 4) == 0)
		filter(w, slot);
	else if (slot->phase == ALIVE && rng_below(w->rng, 30) == 0)
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
		forget_snap(w, &w->slots[i]);
		if (w->slots[i].phase == JOINING)
			unregister(w, &w->slots[i]);
		shape_unref(w->slots[i].shape);
	}
	ingest_close(w->s);
}

/* The process ends, and another one goes on with the store: shapes that were being made are gone, counts are lost. */
static void restart(struct world *w, const char *dir)
{
	struct world was = *w;
	char handles[SLOTS][HANDLE_TEXT_MAX];
	CHECK(writer_flush(w->s, &e) == 0);
	was.acknowledged = w->sink.durable(w->s) != 0 ? w->sink.durable(w->s) : w->acknowledged;
	for (size_t i = 0; i < SLOTS; i++)
		snprintf(handles[i], sizeof handles[i], "%s", was.slots[i].phase == ALIVE ? was.slots[i].shape->handle : "");
	world_close(w);
	struct shapes *s;
	world_open(w, dir, was.h, was.rng);
	s = w->s;
	*w = (struct world){.s = s, .config = w->config, .sink = w->sink, .h = was.h, .rng = was.rng, .at = was.at, .restarted_at = was.at, .quiet = was.quiet,
	                    .acknowledged = was.acknowledged, .births = was.births, .at_first = was.at_first, .refusals = was.refusals, .guesses = was.guesses,
	                    .changed_meanwhile = was.changed_meanwhile, .rotations = was.rotations, .losses = was.losses,
	                    .stagings = was.stagings, .unsure = was.unsure};
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &w->slots[i];
		if (handles[i][0] == '\0')
			continue;
		*slot = was.slots[i];
		slot->shape = map_get(&s->by_handle, handles[i], strlen(handles[i]));
		if (!CHECK(slot->shape != NULL)) {
			*slot = (struct slot){0};
			continue;
		}
		shape_ref(slot->shape);
		for (size_t k = 0; k < 2; k++)
			for (int v = 0; v < VALUES; v++)
				slot->lost[k][v] = slot->found.count[k][v] > 0;
	}
	start(w);
}

/* ---- the tests ---- */

static void test_history(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	static struct history h;
	char dir[TEMP_DIR_MAX];
	struct world w;
	make_history(&h, &rng);
	temp_dir_new(dir);
	world_open(&w, dir, &h, &rng);
	start(&w);
	while (w.at < TXNS) {
		something_happens(&w);
		send_txn(&w);
		if (rng_below(&rng, 15) == 0)
			check_logs(&w);
		if (w.at == TXNS / 3 || w.at == 2 * TXNS / 3)
			restart(&w, dir);
	}
	check_logs(&w);
	printf("test_ingest_sets: seed %llu: %u births (%u with their first snapshot), %u guesses, %u refusals (%u: sets had changed), %u rotations (%u unsure), %u losses, %u staged\n",
	       (unsigned long long)seed, w.births, w.at_first, w.guesses, w.refusals, w.changed_meanwhile, w.rotations, w.unsure, w.losses, w.stagings);
	world_close(&w);
	temp_dir_remove(dir);
}

/* ---- one thing after the other ---- */

/* A snapshot that shows the first `n`, and no others. */
static int filter_with(struct world *w, struct slot *slot, size_t n, const struct found *found)
{
	uint64_t others[TXNS];
	struct pg_snapshot snap = {.xmin = 1000, .xmax = 1000 + TXNS, .xip = others, .insert_lsn = 0x7fffffff, .incarnation_us = 7};
	for (uint64_t xid = 1000; xid < snap.xmax; xid++)
		if (((xid - 1000) ^ 1) >= n)
			others[snap.nxip++] = xid;
	struct sets *sets = sets_of(slot->kind, &slot->shape->def, found);
	struct cmd c = about(CMD_FILTER, slot);
	c.snap = &snap;
	c.sets = &sets;
	int rc = call(w, &c);
	sets_free(sets);
	if (rc == 0) {
		put_no_rows(slot->shape, &snap);
		slot->phase = ALIVE;
	}
	return rc;
}

/* Alive; its snapshot shows all that has been passed, and of its one set these values. */
static void begin_shape(struct world *w, struct slot *slot, const char *condition, enum kind kind, const struct found *found)
{
	slot->kind = kind;
	slot->shape = make_shape(w, condition);
	join(w, slot, found);
	CHECK_INT(filter_with(w, slot, w->at, found), 0);
}

struct stage { struct world w; struct rng rng; struct history h; char dir[TEMP_DIR_MAX]; };

static struct world *stage_open(struct stage *s)
{
	*s = (struct stage){.rng = rng_seeded(1), .h.n = TXNS};
	for (size_t i = 0; i < TXNS; i++)
		s->h.txns[i] = (struct txn){.lsn = 0x1000000 + i * 1000, .end = 0x1000000 + i * 1000 + 48, .xid = xid_of(i)};
	temp_dir_new(s->dir);
	world_open(&s->w, s->dir, &s->h, &s->rng);
	s->w.quiet = true;
	start(&s->w);
	return &s->w;
}

static void stage_close(struct stage *s)
{
	world_close(&s->w);
	temp_dir_remove(s->dir);
}

static void begin_txn(struct world *w) { send_begin(w, &w->h->txns[w->at]); }

static void end_txn(struct world *w)
{
	send_commit(w, &w->h->txns[w->at++]);
	for (size_t i = 0; i < SLOTS; i++)
		w->slots[i].in_midst = false;
}

/* A row of members, or of a partition, comes, or goes; `note` is so long. */
static void member_of(struct world *w, uint32_t relation, char kind, const char *user, const char *item, char note, size_t len)
{
	struct wal_change c = {.kind = (enum wal_kind)kind};
	char *text_of_note = mem_alloc(len + 1);
	memset(text_of_note, note, len);
	struct wal_value values[] = {text(user, strlen(user)), item != NULL ? text(item, strlen(item)) : (struct wal_value){WAL_NULL, 0, NULL},
	                             text(text_of_note, len)};
	c.u.row.relation_oid = relation;
	c.u.row.old_kind = kind == 'I' ? 0 : 'O';
	*(kind == 'I' ? &c.u.row.new_tuple : &c.u.row.old_tuple) = (struct wal_tuple){3, values};
	CHECK(send(w, &c) == 0);
	free(text_of_note);
}

static void member(struct world *w, char kind, const char *user, const char *item, char note, size_t len)
{
	member_of(w, MEMBERS, kind, user, item, note, len);
}

static void item(struct world *w, int id, size_t pad)
{
	struct wire_row r = {.large = NULL};
	struct op op = {.table = ITEMS, .kind = 'I', .id = id};
	fill_item(&r, id, pad);
	send_row(w, &op, NULL, &r);
	free(r.large);
}

static bool gone(const struct slot *slot) { return atomic_load(&slot->shape->dropped); }

/* A row that costs too much rotates a shape that has to judge it, not one that has it in its snapshot. */
static void test_costly_of_before(void)
{
	static const char condition[] = "id IN (SELECT item FROM members WHERE md5(repeat(note, 3000000)) = 'x')";
	struct stage st;
	struct world *w = stage_open(&st);
	struct slot *slot = &w->slots[0];
	struct found none = {0};
	slot->kind = IN_SET;
	slot->shape = make_shape(w, condition);
	join(w, slot, &none);
	CHECK_INT(filter_with(w, slot, 1, &none), 0);
	for (int i = 0; i < 2; i++) {
		begin_txn(w);
		member(w, 'I', "1", "3", 'x', 60);
		end_txn(w);
		CHECK_INT(gone(slot), i > 0);
	}
	stage_close(&st);
}

/* It joins, a transaction passes, and the snapshot calls that running still (a standby hasn't answered). */
static void test_kept(void)
{
	struct stage st;
	struct world *w = stage_open(&st);
	struct slot *slot = &w->slots[0];
	struct found none = {0}, one = {.count[0][3] = 1};
	slot->kind = IN_SET;
	slot->shape = make_shape(w, conditions[IN_SET]);
	join(w, slot, &none);
	begin_txn(w);
	member(w, 'I', "1", "3", 'x', 1);
	end_txn(w);
	CHECK_INT(filter_with(w, slot, 0, &none), CMD_AGAIN); /* one that was empty isn't any more */
	CHECK(slot->shape->in.routed && slot->shape->in.kept->sets != NULL);
	CHECK_INT(filter_with(w, slot, 0, &none), CMD_AGAIN); /* looking at it has changed nothing */
	CHECK_INT(filter_with(w, slot, 1, &none), 0); /* shown: whatever the sets are, they have it already */
	CHECK(slot->shape->in.kept == NULL);
	unregister(w, slot);
	shape_unref(slot->shape);
	/* What isn't shown and changes no set is counted. */
	slot->shape = make_shape(w, conditions[IN_SET]);
	join(w, slot, &one);
	begin_txn(w);
	member(w, 'I', "1", "3", 'x', 1);
	member(w, 'I', "1", "4", 'x', 1);
	member(w, 'D', "1", "4", 'x', 1);
	end_txn(w);
	CHECK_INT(filter_with(w, slot, 1, &one), 0);
	begin_txn(w);
	member(w, 'D', "1", "3", 'x', 1);
	end_txn(w);
	CHECK(!gone(slot)); /* there were two */
	begin_txn(w);
	item(w, 3, 5);
	member(w, 'D', "1", "3", 'x', 1);
	end_txn(w);
	CHECK(gone(slot) && slot->shape->tail.last.tx < w->h->txns[w->at - 1].lsn);
	stage_close(&st);
}

/* The snapshot comes in the middle of a transaction whose changes have been counted so far; whether it shows that or not. */
static void test_filtered_amid(void)
{
	for (int shown = 0; shown < 2; shown++) {
		struct stage st;
		struct world *w = stage_open(&st);
		struct slot *slot = &w->slots[0];
		struct found before = {.count[0][3] = 1}, after = {.count[0][3] = 1, .count[0][4] = 1};
		slot->kind = IN_SET;
		slot->shape = make_shape(w, conditions[IN_SET]);
		join(w, slot, shown ? &after : &before);
		begin_txn(w);
		member(w, 'I', "1", "4", 'x', 1);
		CHECK_INT(filter_with(w, slot, shown ? 1 : 0, shown ? &after : &before), 0);
		item(w, 3, 5);
		end_txn(w);
		CHECK_INT(gone(slot), !shown);
		CHECK(slot->shape->tail.last.tx < w->h->txns[0].lsn);
		if (shown) { /* it was counted by the snapshot alone */
			begin_txn(w);
			member(w, 'D', "1", "4", 'x', 1);
			end_txn(w);
			CHECK(gone(slot));
		}
		stage_close(&st);
	}
}

/* The set changes in a transaction that is staged, before, between and behind its rows: nothing of it comes, then or after a
 * restart; a shape whose set doesn't change has all of it. */
static void test_staged(void)
{
	for (int at = 0; at < 3; at++) {
		struct stage st;
		struct world *w = stage_open(&st);
		struct found found = {.count[0][3] = 1};
		char handle[HANDLE_TEXT_MAX];
		begin_shape(w, &w->slots[0], conditions[IN_SET], IN_SET, &found);
		begin_shape(w, &w->slots[1], conditions[CORRELATED], CORRELATED, &found);
		snprintf(handle, sizeof handle, "%s", w->slots[0].shape->handle);
		begin_txn(w);
		w->inside = true;
		bool staged = false;
		for (int i = 0; i < 8; i++) {
			if (i == at * 4 - (at == 2))
				member(w, 'I', "1", "5", 'x', 1);
			item(w, 3, HUGE_BYTES);
			staged = staged || w->staged;
		}
		CHECK(staged && !gone(&w->slots[0]));
		w->inside = false;
		end_txn(w);
		CHECK(gone(&w->slots[0]) && w->slots[0].shape->tail.last.tx < w->h->txns[0].lsn);
		CHECK(!gone(&w->slots[1]) && w->slots[1].shape->tail.last.tx == w->h->txns[0].lsn);
		let_go(&w->slots[0]);
		restart(w, st.dir);
		CHECK(map_get(&w->s->by_handle, handle, strlen(handle)) == NULL);
		CHECK(w->slots[1].shape != NULL && w->slots[1].shape->tail.last.tx == w->h->txns[0].lsn);
		stage_close(&st);
	}
}

/* The connection is lost in a staged transaction that has changed the set so far: when it comes again it is judged as it is. */
static void test_lost_amid(void)
{
	struct stage st;
	struct world *w = stage_open(&st);
	struct found found = {.count[0][3] = 1};
	begin_shape(w, &w->slots[0], conditions[IN_SET], IN_SET, &found);
	for (int huge = 0; huge < 2; huge++) {
		begin_txn(w);
		member(w, 'D', "1", "3", 'x', 1);
		for (int i = 0; i < 4 && huge; i++)
			item(w, 3, HUGE_BYTES);
		CHECK_INT(w->staged, huge);
		lose(w);
		CHECK(w->s->ingest->inner_touched == NULL && w->s->ingest->deltas_bytes == 0);
	}
	begin_txn(w);
	member(w, 'D', "1", "3", 'x', 1);
	item(w, 3, 5);
	member(w, 'I', "1", "3", 'y', 1);
	end_txn(w);
	CHECK(!gone(&w->slots[0]) && w->slots[0].shape->tail.last.tx == w->h->txns[0].lsn);
	stage_close(&st);
}

/* A row on which a condition inside fails, or whose values can't be had; only who watches that one goes. */
static void test_evaluation_fails(void)
{
	static const struct { const char *condition, *user, *item; } cases[] = {
		{"id IN (SELECT item FROM members WHERE 10 / usr > 2)", "0", "3"},
		{"id IN (SELECT 10 / usr FROM members)", "0", "3"},
		{"EXISTS (SELECT 1 FROM members WHERE items.id = 10 / usr)", "0", "3"},
		{"id IN (SELECT item FROM members WHERE usr > 2)", "seven", "3"},
		{"id IN (SELECT item FROM members WHERE usr > 2)", "9", "three"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stage st;
		struct world *w = stage_open(&st);
		struct found none = {0};
		begin_shape(w, &w->slots[0], cases[i].condition, IN_SET, &none);
		begin_shape(w, &w->slots[1], "id IN (SELECT id FROM teams WHERE size > 5)", IN_SET, &none);
		begin_txn(w);
		member(w, 'I', cases[i].user, cases[i].item, 'x', 1);
		end_txn(w);
		if (!CHECK(gone(&w->slots[0])) | !CHECK(!gone(&w->slots[1])))
			printf("  %s\n", cases[i].condition);
		stage_close(&st);
	}
}

/* A column that a condition inside looks at, or that is selected, has another type now, or is gone. */
static void test_misfits(void)
{
	static const struct wal_column cases[][3] = {
		{{"usr", 20, -1, true}, {"item", 23, -1, true}, {"note", 25, -1, true}},
		{{"usr", 23, -1, true}, {"item", 20, -1, true}, {"note", 25, -1, true}},
		{{"user", 23, -1, true}, {"item", 23, -1, true}, {"note", 25, -1, true}},
		{{"usr", 23, -1, true}, {"item", 23, -1, true}, {"note", 1043, -1, true}}, /* which nobody looks at */
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct stage st;
		struct world *w = stage_open(&st);
		struct found none = {0};
		begin_shape(w, &w->slots[0], conditions[IN_SET], IN_SET, &none);
		begin_txn(w);
		CHECK_INT(relate(w, MEMBERS, "members", 3, cases[i]), 0);
		member(w, 'I', "9", "3", 'x', 1);
		end_txn(w);
		CHECK_INT(gone(&w->slots[0]), i < 3);
		stage_close(&st);
	}
}

/* A NULL in what an EXISTS compares is nothing, be it negated; in what IN compares it is something. */
static void test_nulls(void)
{
	struct stage st;
	struct world *w = stage_open(&st);
	struct found found = {.count[0][3] = 1};
	begin_shape(w, &w->slots[0], conditions[CORRELATED], CORRELATED, &found);
	begin_shape(w, &w->slots[1], "NOT EXISTS (SELECT 1 FROM members m WHERE m.item = items.id AND m.usr = 4)", CORRELATED, &found);
	begin_shape(w, &w->slots[2], "id NOT IN (SELECT item FROM members WHERE usr = 4)", CORRELATED, &found);
	for (int i = 0; i < 2; i++) {
		begin_txn(w);
		member(w, i == 0 ? 'I' : 'D', "4", NULL, 'x', 1);
		end_txn(w);
		CHECK(!gone(&w->slots[0]) && !gone(&w->slots[1]) && gone(&w->slots[2]));
	}
	begin_txn(w);
	member(w, 'I', "4", "5", 'x', 1);
	end_txn(w);
	CHECK(gone(&w->slots[0]) && gone(&w->slots[1]));
	stage_close(&st);
}

/* As the catalog describes it from now on: partitioned, with this one partition, or none (0). */
static void describe_members(char relkind, uint32_t leaf)
{
	struct pg_table *now = table_make(MEMBERS, "public", "members", "usr:23 item:23 note:25");
	now->relkind = relkind;
	now->nleaves = leaf != 0;
	if (leaf != 0)
		now->leaves = mem_alloc(sizeof *now->leaves);
	if (leaf != 0)
		now->leaves[0] = leaf;
	pg_table_unref(members);
	members = now;
}

/* A PG thread's answer to a relation that INGEST hadn't met: it is a partition of members, which came with rows or without. */
static void attached(struct world *w, uint32_t leaf, bool had_rows)
{
	static const struct wal_column of_members[] = {{"usr", 23, -1, true}, {"item", 23, -1, true}, {"note", 25, -1, true}};
	CHECK_INT(relate(w, leaf, "members_2", 3, of_members), 0);
	CHECK_INT(w->s->ingest->resolving, leaf); /* it waits for that */
	struct cmd c = {.kind = CMD_RESOLVED, .oid = leaf, .xid = w->s->ingest->xid, .ancestors = {MEMBERS}, .nancestors = 1, .had_rows = {had_rows}};
	call(w, &c);
	CHECK_INT(w->s->ingest->resolving, 0);
}

/* A table inside gets a partition. With rows it changes sets, and nothing in the stream tells of them: whoever doesn't have it in
 * his snapshot goes. What comes into an empty one counts. */
static void test_partition_attached(void)
{
	enum { LEAF = 150 };
	for (int had_rows = 0; had_rows < 2; had_rows++) {
		struct stage st;
		struct found found = {.count[0][3] = 1};
		describe_members('p', 0);
		struct world *w = stage_open(&st);
		begin_shape(w, &w->slots[0], conditions[IN_SET], IN_SET, &found);
		begin_shape(w, &w->slots[1], conditions[CORRELATED], CORRELATED, &found);
		begin_shape(w, &w->slots[2], "id IN (SELECT id FROM teams WHERE size > 5)", IN_SET, &found);
		describe_members('p', LEAF);
		begin_shape(w, &w->slots[3], "id IN (SELECT item FROM members WHERE usr = 6)", IN_SET, &found);
		begin_txn(w);
		attached(w, LEAF, had_rows);
		item(w, 3, 5);
		end_txn(w);
		for (int i = 0; i < 4; i++) {
			CHECK_INT(gone(&w->slots[i]), had_rows && i < 2);
			CHECK_INT(w->slots[i].shape->tail.last.tx == w->h->txns[0].lsn, !(had_rows && i < 2));
		}
		begin_txn(w);
		member_of(w, LEAF, 'I', "1", "5", 'x', 1);
		end_txn(w);
		CHECK(gone(&w->slots[0]) && gone(&w->slots[1]) == had_rows && !gone(&w->slots[2]) && !gone(&w->slots[3]));
		begin_txn(w);
		member_of(w, LEAF, 'I', "6", "5", 'x', 1);
		end_txn(w);
		CHECK(gone(&w->slots[3]) && !gone(&w->slots[2]));
		stage_close(&st);
	}
	describe_members('r', 0);
}

/* What is kept while a shape joins has an end: it is to be registered anew then. The same for a transaction's changes, which
 * end the shape, though they come to nothing. */
static void test_bounds(void)
{
	enum { LARGE = 1 << 20 };
	struct stage st;
	struct world *w = stage_open(&st);
	struct found none = {0};
	w->slots[0].kind = PAIRS;
	w->slots[0].shape = make_shape(w, conditions[PAIRS]);
	join(w, &w->slots[0], &none);
	for (int i = 0; i < 20; i++) {
		begin_txn(w);
		member(w, 'I', "1", "3", (char)('a' + i), LARGE);
		end_txn(w);
	}
	CHECK(w->slots[0].shape->in.overflowed && w->slots[0].shape->in.kept->sets == NULL);
	CHECK_INT(filter_with(w, &w->slots[0], TXNS, &none), CMD_ANEW);
	unregister(w, &w->slots[0]);
	join(w, &w->slots[0], &none);
	CHECK_INT(filter_with(w, &w->slots[0], 20, &none), 0);
	begin_txn(w);
	for (int i = 0; i < 80; i++)
		member(w, 'I', "1", "3", (char)('!' + i), LARGE);
	CHECK(w->s->ingest->deltas_bytes < (66u << 20));
	for (int i = 0; i < 80; i++)
		member(w, 'D', "1", "3", (char)('!' + i), LARGE);
	end_txn(w);
	CHECK(gone(&w->slots[0]));
	CHECK(w->s->ingest->deltas_bytes == 0);
	stage_close(&st);
}

/* After a restart one value less may be the last one: the shape ends once for that. Others of the value end nobody. */
static void test_restarted(void)
{
	struct stage st;
	struct world *w = stage_open(&st);
	struct found found = {.count[0][3] = 2};
	begin_shape(w, &w->slots[0], conditions[IN_SET], IN_SET, &found);
	restart(w, st.dir);
	begin_txn(w);
	member(w, 'I', "1", "3", 'x', 1);
	end_txn(w);
	begin_txn(w);
	member(w, 'D', "1", "3", 'x', 1);
	member(w, 'I', "1", "3", 'y', 1);
	end_txn(w);
	begin_txn(w);
	member(w, 'D', "8", "3", 'x', 1);
	end_txn(w);
	CHECK(!gone(&w->slots[0]));
	begin_txn(w);
	member(w, 'D', "1", "3", 'x', 1);
	end_txn(w);
	CHECK(gone(&w->slots[0]));
	let_go(&w->slots[0]);
	begin_shape(w, &w->slots[0], conditions[IN_SET], IN_SET, &found); /* its successor counts */
	begin_txn(w);
	member(w, 'D', "1", "3", 'x', 1);
	end_txn(w);
	CHECK(!gone(&w->slots[0]));
	begin_txn(w);
	member(w, 'I', "1", "5", 'x', 1);
	end_txn(w);
	CHECK(gone(&w->slots[0]));
	stage_close(&st);
}

int main(void)
{
	uint64_t seed = test_seed("test_ingest_sets");
	log_init(LOG_EMERGENCY);
	items = table_make(ITEMS, "public", "items", "id:23:pk0 name:25 v:25");
	members = table_make(MEMBERS, "public", "members", "usr:23 item:23 note:25");
	teams = table_make(TEAMS, "public", "teams", "id:23:pk0 size:23");
	items->keys = PG_KEYS_UNIQUE;
	RUN(test_costly_of_before);
	RUN(test_kept);
	RUN(test_filtered_amid);
	RUN(test_staged);
	RUN(test_lost_amid);
	RUN(test_evaluation_fails);
	RUN(test_misfits);
	RUN(test_nulls);
	RUN(test_partition_attached);
	RUN(test_bounds);
	RUN(test_restarted);
	for (uint64_t i = 0; i < 6; i++)
		RUN(test_history, seed + i);
	pg_table_unref(items);
	pg_table_unref(members);
	pg_table_unref(teams);
	return check_done("test_ingest_sets");
}
