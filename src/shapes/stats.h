/*
 * stats.h - what the engine says of itself to those who watch it: beside what its threads count in base/metrics.
 */
#ifndef BUSBAR_SHAPES_STATS_H
#define BUSBAR_SHAPES_STATS_H

#include <stdbool.h>
#include <stddef.h>

#include "shapes/core/guard.h"
#include "shapes/shapes.h"

struct shapes_stats {
	enum shapes_status status;
	bool asleep; /* all connections to Postgres are closed, for idleness */
	bool store_failing;
	/* bytes */
	size_t sets;    /* what subqueries of all shapes select */
	size_t journal; /* the newest entries of all logs, which are in memory and in the journal */
	size_t ahead;   /* on their way to the store */
	size_t subset_rows; /* that wait for clients */
	int64_t store_file, store_free; /* of the store's file, and free on its disk for us; -1: not known, or it is a temporary one */
	uint64_t store_used, store_limit;  /* while a limit is set and it has been looked at, else 0 */
	struct guard_state wal;            /* core/guard.h */
};

/* Any thread; two system calls about files. It takes a lock that is held for moments, and none that a change is handled under; it walks no list. */
void shapes_stats(struct shapes *s, struct shapes_stats *out);

#endif
