/* hist.c - see hist.h. */
#include "bench/hist.h"

#include <math.h>
#include <string.h>

#define SUB (1 << HIST_SUB_BITS)

static unsigned bucket_of(int64_t ns)
{
	uint64_t v = (uint64_t)ns;
	unsigned shift;

	if (v >> HIST_TOP_BITS)
		return HIST_BUCKETS - 1;
	if (v < SUB)
		return (unsigned)v;
	shift = 63 - (unsigned)__builtin_clzll(v) - HIST_SUB_BITS;
	return ((shift + 1) << HIST_SUB_BITS) + (unsigned)((v >> shift) - SUB);
}

/* The largest value that falls into a bucket. */
static int64_t bucket_top(unsigned i)
{
	unsigned shift;

	if (i < SUB)
		return i;
	shift = (i >> HIST_SUB_BITS) - 1;
	return (int64_t)((((uint64_t)(i & (SUB - 1)) + SUB + 1) << shift) - 1);
}

void hist_reset(struct hist *h)
{
	memset(h, 0, sizeof *h);
}

void hist_add(struct hist *h, int64_t ns)
{
	if (ns < 0)
		ns = 0;
	if (h->count == 0 || ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
	h->count++;
	h->sum += (double)ns;
	h->bucket[bucket_of(ns)]++;
}

void hist_merge(struct hist *into, const struct hist *from)
{
	if (from->count == 0)
		return;
	if (into->count == 0 || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count += from->count;
	into->sum += from->sum;
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += from->bucket[i];
}

int64_t hist_percentile(const struct hist *h, double percent)
{
	uint64_t want, seen = 0;
	int64_t top;

	if (h->count == 0)
		return 0;
	want = (uint64_t)ceil(percent / 100.0 * (double)h->count);
	if (want < 1)
		want = 1;
	if (want >= h->count)
		return h->max;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen < want)
			continue;
		top = bucket_top(i);
		return top > h->max ? h->max : top;
	}
	return h->max;
}

double hist_mean(const struct hist *h)
{
	return h->count ? h->sum / (double)h->count : 0;
}
