/* admin_private.h - what the files of the admin port share. Private to src/ops. */
#ifndef BUSBAR_OPS_ADMIN_PRIVATE_H
#define BUSBAR_OPS_ADMIN_PRIVATE_H

#include <pthread.h>

#include "base/metrics.h"
#include "ops/admin.h"
#include "shapes/stats.h"

#define ADMIN_JSON "application/json"

#define ADMIN_BUCKETS (METRIC_NBOUNDS + 1)
/* What had been counted by then. */
struct admin_sample {
	int64_t wall_us, mono_ms;
	uint64_t changes, transactions, entries, steps, requests;
	uint64_t to_log[ADMIN_BUCKETS], to_client[ADMIN_BUCKETS];
	uint32_t refusals[REASONS], rotations[REASONS];
	int64_t wal_ours, wal_others; /* -1: not known */
	uint32_t waiting;
};

struct admin_changes {
	uint64_t id, changes;
};
/* How many changes each shape had: what a rate is measured from. By id. */
struct admin_base {
	struct admin_changes *list;
	size_t n;
	int64_t mono_ms; /* 0: none */
};

struct admin {
	const struct ops *ops;
	pthread_mutex_t lock; /* a leaf, for moments: the ring */
	uint64_t taken;
	struct admin_sample *ring; /* number n, from 1, is at (n - 1) % ADMIN_SAMPLES */
	struct admin_base base, older; /* the listener's thread; of two looks, a second or more apart */
};

/* As it is now. */
void admin_look(const struct admin *a, struct admin_sample *out);
/* The newest that is at least so old, else the oldest. */
void admin_before(struct admin *a, int64_t age_ms, struct admin_sample *out);
/* Copies those after this time, oldest first; room for ADMIN_SAMPLES. How many. */
size_t admin_samples(struct admin *a, int64_t after_us, struct admin_sample *out);

/* What so many per cent of the times between two samples were below, in microseconds; -1: there were none. */
int64_t admin_percentile(const uint64_t *then, const uint64_t *now, unsigned percent);
/* A second, in thousandths; -1: no time has passed. */
int64_t admin_rate(uint64_t then, uint64_t now, int64_t ms);

unsigned admin_status(void *ctx, const char *query, struct buf *out);
unsigned admin_clients(void *ctx, const char *query, struct buf *out);
unsigned admin_memory(void *ctx, const char *query, struct buf *out);
unsigned admin_events(void *ctx, const char *query, struct buf *out);
unsigned admin_lag(void *ctx, const char *query, struct buf *out);
unsigned admin_shapes(void *ctx, const char *query, struct buf *out);
unsigned admin_explain(void *ctx, const char *query, struct buf *out);

#endif
