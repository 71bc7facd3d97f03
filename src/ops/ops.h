/*
 * ops.h - what those who tell others how Busbar does have in common.
 */
#ifndef BUSBAR_OPS_OPS_H
#define BUSBAR_OPS_OPS_H

#include "base/buf.h"
#include "base/config.h"
#include "base/metrics.h"
#include "shapes/shapes.h"

/* Borrowed, all of it; read-only. */
struct ops {
	const struct config *config;
	struct shapes *shapes;
	const char *version, *commit;
};

/* Sets the levels that somebody has to ask for, and reads all metrics. Takes short locks of the engine, none of which is on the
 * path of a change; a system call or two. Any thread but those that serve. */
void ops_collect(const struct ops *o, struct metric_values *out);

/* A number of microseconds in the unit, without zeroes at the end; any other as it is. */
void ops_put_value(struct buf *out, enum metric_unit unit, int64_t v);

#endif
