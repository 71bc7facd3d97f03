/*
 * hist.h - a histogram of times with bounded memory and bounded error.
 *
 * Buckets are linear within each power of two: 128 to a doubling, so a percentile is at most 0.8 % above
 * the value that was measured (never below it). Values are nanoseconds from 0 to about an hour; what is larger counts
 * as the largest. 19 KB each, no allocation. One thread at a time.
 */
#ifndef BUSBAR_BENCH_HIST_H
#define BUSBAR_BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 7
#define HIST_TOP_BITS 42 /* values below 2^42 ns, 73 minutes */
#define HIST_BUCKETS ((HIST_TOP_BITS - HIST_SUB_BITS + 1) << HIST_SUB_BITS)

struct hist {
	uint64_t count;
	int64_t min, max; /* exact; 0 while count is 0 */
	double sum;
	uint32_t bucket[HIST_BUCKETS];
};

void hist_reset(struct hist *h);
void hist_add(struct hist *h, int64_t ns); /* a negative time counts as 0 */
void hist_merge(struct hist *into, const struct hist *from);

/* The least value that at least `percent` (0 to 100) of all are not above; 0 if empty. */
int64_t hist_percentile(const struct hist *h, double percent);
double hist_mean(const struct hist *h);

#endif
