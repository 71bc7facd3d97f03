/*
 * targets.h - `busbar-bench --targets`: all cases of the list of targets, and how the server stands to it.
 */
#ifndef BUSBAR_BENCH_TARGETS_H
#define BUSBAR_BENCH_TARGETS_H

#include <stdio.h>

#include "bench/results.h"

/* Command lines, one after another, for opt_step(); ends with NULL. */
extern const char *const target_steps[];

/* A line for each target: wanted, measured (medians), the floor's; as a table in Markdown. */
void targets_print(const struct results *r, const char *server, FILE *f);

#endif
