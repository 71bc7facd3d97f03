/*
 * metrics.h - counters, gauges and histograms; all of them are in metrics_table.h.
 *
 * Counting costs a few instructions and touches memory of the calling thread only: each thread that counts has a block of its
 * own, made when it first does, that nobody else writes. Whoever reads adds the blocks up, and sees each number as it was at
 * some moment of late, without stopping anybody. Any thread, under any lock. Nothing here fails; blocks stay until the process
 * ends, those of ended threads too, so threads that come and go don't count.
 */
#ifndef BUSBAR_BASE_METRICS_H
#define BUSBAR_BASE_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/reason.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_LEVEL, METRIC_HISTOGRAM };
enum metric_unit { METRIC_ONE, METRIC_BYTES, METRIC_SECONDS, METRIC_MILLISECONDS };

/* Upper ends of a histogram's buckets in microseconds, each included; one more bucket has what is above. */
#define METRIC_BOUNDS \
	{500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000}
#define METRIC_NBOUNDS 16
#define METRIC_SUM (METRIC_NBOUNDS + 1) /* cell of a histogram: all that was observed, added up */

enum metric {
#define LABELS(set, name, ...)
#define METRIC(id, name, type, unit, set, help) METRIC_##id,
#include "base/metrics_table.h"
	METRICS
};

/* How many values a set of labels has. */
enum {
#define LABELS(set, name, ...) METRIC_NLABELS_##set = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),
#define METRIC(id, name, type, unit, set, help)
#include "base/metrics_table.h"
	METRIC_NLABELS_REASON = REASONS
};

/* Values of labels, in the order of metrics_table.h, that have no enum elsewhere. */
enum metric_admission { ADMISSION_INITIAL, ADMISSION_EXISTING };
enum metric_shape_state { SHAPES_CREATING, SHAPES_SNAPSHOTTING, SHAPES_LIVE, SHAPES_LEAVING };
enum metric_routing { ROUTING_ALL, ROUTING_INDEXED, ROUTING_RESIDUAL, ROUTING_UNINDEXED };
enum metric_waiters { WAITERS_LONG_POLL, WAITERS_SSE, WAITERS_PARKED };
enum metric_evaluation { EVALUATION_LOOKUP, EVALUATION_CONDITION, EVALUATION_SUBQUERY, EVALUATION_FAILED };
enum metric_cost { COST_CONDITIONS, COST_SUBQUERIES };
enum metric_slot_state { SLOT_IS_RESERVED, SLOT_IS_EXTENDED, SLOT_IS_UNRESERVED, SLOT_IS_LOST, SLOT_IS_MISSING };
enum metric_memory { MEMORY_STORE_CACHE, MEMORY_SETS, MEMORY_JOURNAL, MEMORY_WRITER_QUEUE, MEMORY_BODIES, MEMORY_EVENT_STREAMS, MEMORY_SUBSET_ROWS };

/* The cells of each metric: a number per label, or buckets and the sum. */
struct metric_cells {
#define METRIC_CELLS_COUNTER(n) n
#define METRIC_CELLS_GAUGE(n) n
#define METRIC_CELLS_LEVEL(n) n
#define METRIC_CELLS_HISTOGRAM(n) METRIC_SUM + n
#define LABELS(set, name, ...)
#define METRIC(id, name, type, unit, set, help) uint64_t id[METRIC_CELLS_##type(METRIC_NLABELS_##set)];
#include "base/metrics_table.h"
};
#define METRIC_CELLS (sizeof(struct metric_cells) / sizeof(uint64_t))

static const uint16_t metric_first[METRICS] = {
#define LABELS(set, name, ...)
#define METRIC(id, name, type, unit, set, help) offsetof(struct metric_cells, id) / sizeof(uint64_t),
#include "base/metrics_table.h"
};

struct metric_block {
	_Atomic uint64_t cells[METRIC_CELLS];
	struct metric_block *next;
};

extern _Thread_local struct metric_block *metric_mine; /* NULL: this thread hasn't counted yet */
struct metric_block *metric_block_new(void);

static inline void metric_cell_add(size_t cell, uint64_t n)
{
	struct metric_block *b = metric_mine;
	if (b == NULL)
		b = metric_block_new();
	/* Nobody else writes it. */
	atomic_store_explicit(&b->cells[cell], atomic_load_explicit(&b->cells[cell], memory_order_relaxed) + n, memory_order_relaxed);
}

/* Of a counter, or a gauge (`n` below zero takes away). */
static inline void metric_add(enum metric m, int64_t n) { metric_cell_add(metric_first[m], (uint64_t)n); }
/* `label`: its place in the set. */
static inline void metric_add_label(enum metric m, unsigned label, int64_t n) { metric_cell_add(metric_first[m] + label, (uint64_t)n); }

/* Of a histogram: a time in microseconds. One below zero, of two clocks that don't agree, counts as none. */
static inline void metric_observe(enum metric m, int64_t us)
{
	static const uint32_t bounds[METRIC_NBOUNDS] = METRIC_BOUNDS;
	size_t i = 0;
	if (us < 0)
		us = 0;
	while (i < METRIC_NBOUNDS && us > (int64_t)bounds[i])
		i++;
	metric_cell_add(metric_first[m] + i, 1);
	metric_cell_add(metric_first[m] + METRIC_SUM, (uint64_t)us);
}

/* Of a level, or one of a gauge's values that nobody adds to: what it is now, in bytes or microseconds where it has such a unit. Not for what happens thousands of times a
 * second: all threads share the place. */
void metric_set(enum metric m, int64_t value);
void metric_set_label(enum metric m, unsigned label, int64_t value);
/* 1 for this label, 0 for the others. */
void metric_set_state(enum metric m, unsigned label);
/* It isn't known any more: with all labels, it isn't shown. */
void metric_unset(enum metric m);

/* ---- reading ---- */

struct metric_info {
	const char *name;
	enum metric_type type;
	enum metric_unit unit;
	const char *label; /* "": none */
	const char *const *values; /* of the label; one NULL if there is none */
	unsigned nvalues;
	const char *help;
};
const struct metric_info *metric_info(enum metric m);

struct metric_values {
	uint64_t cells[METRIC_CELLS]; /* of gauges and levels as int64_t */
	bool known[METRIC_CELLS];     /* false only of levels that nobody has set */
};
void metrics_read(struct metric_values *out);
/* Of a level or a counter that somebody else knows. */
void metric_value_set(struct metric_values *v, enum metric m, int64_t value);
/* Its first cell. */
static inline const uint64_t *metric_values_of(const struct metric_values *v, enum metric m) { return &v->cells[metric_first[m]]; }

#endif
