/*
 * list.h - all shapes, a line of figures each, for those who watch: what the admin port lists.
 *
 * Any thread but INGEST, WRITER and the HTTP loops: it walks over all shapes, LIST_STEP places of the registry at a time, and lets
 * go of it in between. So it may miss a shape, or have one that has gone, if shapes come and go meanwhile.
 */
#ifndef BUSBAR_SHAPES_LIST_H
#define BUSBAR_SHAPES_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/metrics.h"
#include "shapes/shapes.h"

#define SHAPES_LIST_HANDLE_MAX 40

struct shape_facts {
	uint64_t id; /* rises from shape to shape, across restarts too */
	char handle[SHAPES_LIST_HANDLE_MAX];
	bool listed; /* it is of the table that was asked for */
	enum shape_state state;
	int64_t rows;      /* -1: not known, or it has none to count (log=changes_only) */
	uint64_t snapshot_bytes, log_bytes; /* in the store */
	uint64_t changes;  /* put into its log by this process */
	uint32_t readers;  /* clients that wait on it now */
	int64_t read_ms;   /* monotonic: when it was read last, made or loaded */
	int routing;       /* enum metric_routing, -1: no change finds it (yet) */
};

/* All of them by id, of which those of `table` ("schema.name", NULL: all) are listed. The caller's to free. */
struct shape_facts *shapes_list(struct shapes *s, const char *table, size_t *n);

/* Its condition as SQL: appends what fits of it; false if that isn't all, or the stored form can't be read. Nothing without one. */
bool shapes_list_where(const struct shape *shape, struct buf *out);

#endif
