/* policy.c - see policy.h. */
#include "shapes/prep/policy.h"

#include <stdlib.h>

static int by_age(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	if (x->read_ms != y->read_ms)
		return x->read_ms < y->read_ms ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void to_front(struct candidate *all, size_t at, size_t to)
{
	struct candidate c = all[at];
	all[at] = all[to];
	all[to] = c;
}

static uint64_t bytes_of(const struct candidate *c) { return c->snapshot_bytes + c->log_bytes; }

size_t policy_idle(struct candidate *all, size_t n, uint64_t bytes)
{
	size_t idle = 0, go = 0;
	for (size_t i = 0; i < n; i++)
		if (all[i].born && !all[i].in_use)
			to_front(all, i, idle++);
	if (bytes == 0 || idle == 0)
		return 0;
	qsort(all, idle, sizeof *all, by_age);
	for (uint64_t sum = 0; go < idle && sum < bytes; go++)
		sum += bytes_of(&all[go]);
	return go;
}

#define PAGE_BYTES 4096
#define LOG_COPIES 2 /* the journal's, and its own */

static uint64_t log_pages(const struct candidate *c)
{
	return c->log_bytes == 0 ? 0 : (c->log_bytes / PAGE_BYTES + 1) * PAGE_BYTES * LOG_COPIES;
}

size_t policy_in_use(struct candidate *all, size_t n, uint64_t over)
{
	size_t most = n;
	uint64_t logs = 0;
	for (size_t i = 0; i < n; i++) {
		if (!all[i].born)
			continue;
		logs += log_pages(&all[i]);
		if (most == n || all[i].log_bytes > all[most].log_bytes ||
		    (all[i].log_bytes == all[most].log_bytes && by_age(&all[i], &all[most]) < 0))
			most = i;
	}
	if (most == n || (logs < over && over <= POLICY_OVER_MAX))
		return 0;
	to_front(all, most, 0);
	return 1;
}

size_t policy_expired(struct candidate *all, size_t n, int64_t before_ms)
{
	size_t expired = 0;
	for (size_t i = 0; i < n; i++)
		if (all[i].born && all[i].read_ms < before_ms)
			to_front(all, i, expired++);
	if (expired > 1)
		qsort(all, expired, sizeof *all, by_age);
	return expired;
}

static double growth(const struct candidate *c) { return (double)c->log_bytes / (double)(c->snapshot_bytes > 0 ? c->snapshot_bytes : 1); }

size_t policy_grown(struct candidate *all, size_t n, uint64_t times, uint64_t least)
{
	size_t most = n;
	for (size_t i = 0; i < n; i++) {
		const struct candidate *c = &all[i];
		if (!c->born || c->only_log || c->log_bytes <= least || c->log_bytes / times < c->snapshot_bytes)
			continue;
		if (most == n || growth(c) > growth(&all[most]))
			most = i;
	}
	if (most == n)
		return 0;
	to_front(all, most, 0);
	return 1;
}
