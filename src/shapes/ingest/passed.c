/*
 * passed.c - which transactions the stream has passed, for snapshots that still call them running
 * (docs/invariants.md 6.3). A bitmap by xid in pages, pruned by what every later snapshot shows.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/ingest/ingest.h"

struct passed_page {
	uint32_t number; /* xid / PASSED_PAGE_BITS */
	uint64_t bits[PASSED_PAGE_BITS / 64];
};

/* ---- who is about to take a snapshot, and what was passed since the first of them ---- */

#define RECENT_KEPT 4096 /* so many may stay allocated when nobody looks */

/* Ordered by number: a watcher begins at the newest. Those in the middle that have ended go with what is before them. */
void passed_watch(struct ingest *in)
{
	struct watcher *last = in->nwatchers > 0 ? &in->watchers[in->nwatchers - 1] : NULL;
	in->njoining++;
	if (last != NULL && last->txn == in->txn_number) {
		last->n++;
		return;
	}
	REQUIRE(last == NULL || last->txn < in->txn_number);
	if (in->nwatchers == in->watchers_cap) {
		in->watchers_cap = in->watchers_cap ? in->watchers_cap * 2 : 16;
		in->watchers = mem_realloc(in->watchers, in->watchers_cap * sizeof *in->watchers);
	}
	in->watchers[in->nwatchers++] = (struct watcher){in->txn_number, 1};
}

/* The first one that was passed after transaction number `txn`. */
static size_t first_after(const struct ingest *in, uint64_t txn)
{
	size_t from = 0, to = in->nrecent;
	while (from < to) {
		size_t mid = from + (to - from) / 2;
		if (in->recent[mid].txn <= txn)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

/* What is before the oldest watcher's number is passed for all of them. Moved when that is half of it: each once or twice. */
static void forget_recent(struct ingest *in)
{
	size_t gone = in->nwatchers > 0 ? first_after(in, in->watchers[0].txn) : in->nrecent;
	if (gone < in->nrecent && gone < in->nrecent / 2)
		return;
	in->nrecent -= gone;
	if (in->nrecent > 0)
		memmove(in->recent, in->recent + gone, in->nrecent * sizeof *in->recent);
	if (in->recent_cap <= RECENT_KEPT || in->nrecent > in->recent_cap / 4)
		return;
	in->recent_cap = in->nrecent > RECENT_KEPT / 2 ? in->nrecent * 2 : RECENT_KEPT;
	in->recent = mem_realloc(in->recent, in->recent_cap * sizeof *in->recent);
}

void passed_unwatch(struct ingest *in, uint64_t joined)
{
	size_t at = 0, ended = 0;
	while (at < in->nwatchers && in->watchers[at].txn != joined)
		at++;
	REQUIRE(at < in->nwatchers && in->watchers[at].n > 0 && in->njoining > 0);
	in->watchers[at].n--;
	in->njoining--;
	while (ended < in->nwatchers && in->watchers[ended].n == 0)
		ended++;
	if (ended == 0)
		return;
	in->nwatchers -= ended; /* of those that are left, maybe none */
	memmove(in->watchers, in->watchers + ended, in->nwatchers * sizeof *in->watchers);
	forget_recent(in);
}

void passed_free(struct ingest *in)
{
	free(in->watchers);
	free(in->recent);
	free(in->doubts);
}

/* ---- the set ---- */

void passed_add_again(struct ingest *in, uint32_t xid)
{
	uint32_t number = xid / PASSED_PAGE_BITS;
	struct passed_page *p = map_get(&in->passed, &number, sizeof number);
	if (p == NULL) {
		p = mem_zalloc(sizeof *p);
		p->number = number;
		map_put(&in->passed, &p->number, sizeof p->number, p);
	}
	p->bits[xid % PASSED_PAGE_BITS / 64] |= (uint64_t)1 << (xid % 64);
}

void passed_add(struct ingest *in, uint32_t xid)
{
	if (in->njoining > 0) {
		if (in->nrecent == in->recent_cap) {
			in->recent_cap = in->recent_cap ? in->recent_cap * 2 : 64;
			in->recent = mem_realloc(in->recent, in->recent_cap * sizeof *in->recent);
		}
		in->recent[in->nrecent++] = (struct recent){xid, in->txn_number};
	}
	passed_add_again(in, xid);
}

static bool is_passed(const struct ingest *in, uint32_t xid)
{
	uint32_t number = xid / PASSED_PAGE_BITS;
	const struct passed_page *p = map_get(&in->passed, &number, sizeof number);
	return p != NULL && (p->bits[xid % PASSED_PAGE_BITS / 64] >> (xid % 64) & 1) != 0;
}

/* Forgets what every later snapshot shows: pages wholly below xmin. */
void passed_prune(struct ingest *in, uint64_t xmin)
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
 * still counts as running while a synchronous standby hasn't answered. Whether one of those that ran
 * when we began is such a transaction, or just long, can't be told; the snapshot is taken again until it
 * has been streamed, or has ended.
 */
bool passed_doubtful(struct ingest *in, const struct pg_snapshot *snap)
{
	for (size_t i = 0; i < in->ndoubts;) {
		uint32_t xid = in->doubts[i];
		if (!is_passed(in, xid) && !pg_snapshot_holds(snap, xid))
			return true;
		in->doubts[i] = in->doubts[--in->ndoubts];
	}
	return false;
}

struct xids {
	uint32_t *list;
	size_t n, cap;
};

static void add_xid(struct xids *to, uint32_t xid)
{
	if (to->n == to->cap) {
		to->cap = to->cap ? to->cap * 2 : 16;
		to->list = mem_realloc(to->list, to->cap * sizeof *to->list);
	}
	to->list[to->n++] = xid;
}

static bool is_ahead(uint32_t xid, uint64_t of) { return (int32_t)(xid - (uint32_t)of) >= 0; }

/* Those of a page at or above xmax. */
static void add_ahead(const struct passed_page *p, uint64_t xmax, struct xids *to)
{
	uint32_t first = p->number * PASSED_PAGE_BITS;
	if (!is_ahead(first + (PASSED_PAGE_BITS - 1), xmax))
		return;
	for (uint32_t w = 0; w < ARRAY_LEN(p->bits); w++)
		for (uint64_t bits = p->bits[w]; bits != 0; bits &= bits - 1) {
			uint32_t xid = first + w * 64 + (uint32_t)__builtin_ctzll(bits);
			if (is_ahead(xid, xmax))
				add_xid(to, xid);
		}
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* How many of the (sorted) list were passed after transaction number `joined`. */
static size_t passed_since(const struct ingest *in, const struct xids *of, uint64_t joined)
{
	bool *found = mem_zalloc(of->n * sizeof *found);
	size_t n = 0;
	for (size_t i = first_after(in, joined); i < in->nrecent; i++) {
		const uint32_t *at = bsearch(&in->recent[i].xid, of->list, of->n, sizeof *of->list, by_number);
		if (at == NULL || found[at - of->list])
			continue;
		found[at - of->list] = true;
		n++;
	}
	free(found);
	return n;
}

/*
 * Whether a transaction that the stream had passed before the shape registered (with transaction
 * number `joined`) isn't in the snapshot: it still counts as running there, and its rows would never
 * come. Those passed since are in the shape's buffer and are no trouble.
 *
 * A snapshot calls running what is in its list, and all at or above xmax (a commit that waits for a synchronous
 * standby may be that very xmax, with an empty list); however many the stream has passed since the oldest running
 * transaction, only those are looked at.
 */
bool passed_not_held(struct ingest *in, const struct pg_snapshot *snap, uint64_t joined)
{
	struct xids missing = {NULL, 0, 0};
	for (uint32_t i = 0; i < snap->nxip; i++)
		if (is_passed(in, (uint32_t)snap->xip[i]))
			add_xid(&missing, (uint32_t)snap->xip[i]);
	const struct passed_page *p;
	for (size_t i = 0; (p = map_next(&in->passed, &i)) != NULL;)
		add_ahead(p, snap->xmax, &missing);
	bool any = false;
	if (missing.n > 0) {
		qsort(missing.list, missing.n, sizeof *missing.list, by_number);
		any = passed_since(in, &missing, joined) < missing.n;
	}
	free(missing.list);
	return any;
}
