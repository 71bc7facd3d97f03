/*
 * ingest_passed.c - which transactions the stream has passed, for snapshots that still call them running
 * (design.md 6 rule 3). A bitmap by xid in pages, pruned by what every later snapshot shows.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/ingest.h"

struct passed_page {
	uint32_t number; /* xid / PASSED_PAGE_BITS */
	uint32_t count;
	uint64_t bits[PASSED_PAGE_BITS / 64];
};

void passed_watch(struct ingest *in, bool on)
{
	in->njoining += on ? 1 : (size_t)-1;
	if (in->njoining == 0)
		in->nrecent = 0;
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
		uint32_t xid = in->doubts[i], number = xid / PASSED_PAGE_BITS;
		const struct passed_page *p = map_get(&in->passed, &number, sizeof number);
		bool streamed = p != NULL && (p->bits[xid % PASSED_PAGE_BITS / 64] >> (xid % 64) & 1) != 0;
		if (!streamed && !pg_snapshot_holds(snap, xid))
			return true;
		in->doubts[i] = in->doubts[--in->ndoubts];
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
bool passed_not_held(struct ingest *in, const struct pg_snapshot *snap, uint64_t joined)
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
