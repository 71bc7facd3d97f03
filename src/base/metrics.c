/*
 * metrics.c - blocks of counters, and their sum.
 */
#include "base/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/require.h"

/* Two lines: processors fetch them in pairs, and what another thread counts must not be in the same. */
#define BLOCK_ALIGN 128

_Thread_local struct metric_block *metric_mine;

static _Atomic(struct metric_block *) blocks;
static _Atomic int64_t levels[METRIC_CELLS];
static _Atomic bool level_known[METRIC_CELLS];

#define LABELS(set, name, ...) static const char *const labels_##set[] = {__VA_ARGS__};
#define METRIC(id, name, type, unit, set, help)
#include "base/metrics_table.h"

static const char *const labels_REASON[REASONS] = {
	"",
#define X(name, code, meaning) code,
#include "base/reason_table.h"
};

#define LABELS(set, name, ...) static const char label_of_##set[] = name;
#define METRIC(id, name, type, unit, set, help)
#include "base/metrics_table.h"
static const char label_of_REASON[] = "reason";

static const struct metric_info infos[METRICS] = {
#define LABELS(set, name, ...)
#define METRIC(id, name, type, unit, set, help) \
	{name, METRIC_##type, METRIC_##unit, label_of_##set, labels_##set, METRIC_NLABELS_##set, help},
#include "base/metrics_table.h"
};

const struct metric_info *metric_info(enum metric m) { return &infos[m]; }

struct metric_block *metric_block_new(void)
{
	size_t size = (sizeof(struct metric_block) + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
	struct metric_block *b = aligned_alloc(BLOCK_ALIGN, size);
	REQUIRE(b != NULL);
	memset(b, 0, size);
	b->next = atomic_load(&blocks);
	while (!atomic_compare_exchange_weak(&blocks, &b->next, b))
		continue;
	metric_mine = b;
	return b;
}

/* ---- levels ---- */

static void set_cell(size_t cell, int64_t value)
{
	atomic_store(&levels[cell], value);
	atomic_store(&level_known[cell], true);
}

void metric_set_label(enum metric m, unsigned label, int64_t value)
{
	REQUIRE((infos[m].type == METRIC_LEVEL || infos[m].type == METRIC_GAUGE) && label < infos[m].nvalues);
	set_cell(metric_first[m] + label, value);
}

void metric_set(enum metric m, int64_t value) { metric_set_label(m, 0, value); }

void metric_set_state(enum metric m, unsigned label)
{
	for (unsigned i = 0; i < infos[m].nvalues; i++)
		metric_set_label(m, i, i == label);
}

void metric_unset(enum metric m)
{
	REQUIRE(infos[m].type == METRIC_LEVEL);
	for (unsigned i = 0; i < infos[m].nvalues; i++)
		atomic_store(&level_known[metric_first[m] + i], false);
}

/* ---- reading ---- */

void metrics_read(struct metric_values *out)
{
	memset(out, 0, sizeof *out);
	for (const struct metric_block *b = atomic_load(&blocks); b != NULL; b = b->next)
		for (size_t i = 0; i < METRIC_CELLS; i++)
			out->cells[i] += atomic_load_explicit(&b->cells[i], memory_order_relaxed);
	for (unsigned m = 0; m < METRICS; m++)
		for (size_t i = metric_first[m], end = m + 1 < METRICS ? metric_first[m + 1] : METRIC_CELLS; i < end; i++) {
			out->known[i] = infos[m].type != METRIC_LEVEL || atomic_load(&level_known[i]);
			out->cells[i] += (uint64_t)atomic_load(&levels[i]);
		}
}

void metric_value_set(struct metric_values *v, enum metric m, int64_t value)
{
	REQUIRE(infos[m].type == METRIC_LEVEL || infos[m].type == METRIC_COUNTER);
	v->cells[metric_first[m]] = (uint64_t)value;
	v->known[metric_first[m]] = true;
}
