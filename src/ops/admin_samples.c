/* admin_samples.c - what had been counted each second, and what follows from two of them. */
#include "base/clock.h"
#include "ops/admin_private.h"

void admin_look(const struct admin *a, struct admin_sample *out)
{
	struct metric_values v;
	struct guard_state wal; /* and not shapes_stats(): no disk that hangs may keep MAIN from its signals */
	metrics_read(&v);
	guard_read(a->ops->shapes, &wal);
	*out = (struct admin_sample){
		.wall_us = clock_wall_us(), .mono_ms = clock_mono_ms(), .changes = *metric_values_of(&v, METRIC_CHANGES),
		.transactions = *metric_values_of(&v, METRIC_TRANSACTIONS), .entries = *metric_values_of(&v, METRIC_LOG_ENTRIES),
		.wal_ours = wal.known ? wal.ours_bytes : -1, .wal_others = wal.known ? wal.others_bytes : -1,
	};
	for (unsigned i = 0; i < METRIC_NLABELS_COST; i++)
		out->steps += metric_values_of(&v, METRIC_EVALUATION_STEPS)[i];
	for (unsigned i = 0; i < METRIC_NLABELS_HTTP_STATUS; i++)
		out->requests += metric_values_of(&v, METRIC_E_REQUESTS)[i];
	for (unsigned i = 0; i < ADMIN_BUCKETS; i++) {
		out->to_log[i] = metric_values_of(&v, METRIC_COMMIT_TO_LOG)[i];
		out->to_client[i] = metric_values_of(&v, METRIC_COMMIT_TO_CLIENT)[i];
	}
	for (unsigned i = 0; i < REASONS; i++) {
		out->refusals[i] = (uint32_t)metric_values_of(&v, METRIC_REFUSALS)[i];
		out->rotations[i] = (uint32_t)metric_values_of(&v, METRIC_ROTATIONS)[i];
	}
	for (unsigned i = 0; i < METRIC_NLABELS_WAITERS; i++) {
		int64_t n = (int64_t)metric_values_of(&v, METRIC_WAITERS)[i];
		out->waiting += n > 0 ? (uint32_t)n : 0; /* blocks are read one after the other */
	}
}

void admin_sample(struct admin *a)
{
	struct admin_sample now;
	admin_look(a, &now);
	pthread_mutex_lock(&a->lock);
	a->ring[a->taken++ % ADMIN_SAMPLES] = now;
	pthread_mutex_unlock(&a->lock);
}

void admin_before(struct admin *a, int64_t age_ms, struct admin_sample *out)
{
	int64_t latest_ms = clock_mono_ms() - age_ms;
	pthread_mutex_lock(&a->lock);
	for (uint64_t n = a->taken; n > 0 && a->taken - n < ADMIN_SAMPLES; n--) {
		*out = a->ring[(n - 1) % ADMIN_SAMPLES];
		if (out->mono_ms <= latest_ms)
			break;
	}
	pthread_mutex_unlock(&a->lock);
}

size_t admin_samples(struct admin *a, int64_t after_us, struct admin_sample *out)
{
	size_t n = 0;
	pthread_mutex_lock(&a->lock);
	uint64_t first = a->taken > ADMIN_SAMPLES ? a->taken - ADMIN_SAMPLES : 0;
	for (uint64_t i = first; i < a->taken; i++) {
		/* The one before is what the first of them is measured from. */
		const struct admin_sample *s = &a->ring[i % ADMIN_SAMPLES];
		if (s->wall_us <= after_us)
			n = 0;
		out[n++] = *s;
	}
	pthread_mutex_unlock(&a->lock);
	return n;
}

int64_t admin_rate(uint64_t then, uint64_t now, int64_t ms)
{
	return ms <= 0 ? -1 : now <= then ? 0 : (int64_t)((double)(now - then) * 1e6 / (double)ms);
}

int64_t admin_percentile(const uint64_t *then, const uint64_t *now, unsigned percent)
{
	static const uint32_t bounds[METRIC_NBOUNDS] = METRIC_BOUNDS;
	uint64_t all = 0, below = 0;
	for (unsigned i = 0; i < ADMIN_BUCKETS; i++)
		all += now[i] - then[i];
	if (all == 0)
		return -1;
	double rank = (double)all * percent / 100;
	for (unsigned i = 0; i < METRIC_NBOUNDS; i++) {
		uint64_t in = now[i] - then[i];
		double low = i > 0 ? bounds[i - 1] : 0;
		if (in > 0 && (double)(below + in) >= rank)
			/* Evenly inside a bucket, as Prometheus has it. */
			return (int64_t)(low + (bounds[i] - low) * (rank - (double)below) / (double)in);
		below += in;
	}
	return bounds[METRIC_NBOUNDS - 1];
}
