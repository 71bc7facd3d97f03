/*
 * prometheus.h - all metrics as Prometheus reads them: the text format 0.0.4.
 */
#ifndef BUSBAR_OPS_PROMETHEUS_H
#define BUSBAR_OPS_PROMETHEUS_H

#include "base/buf.h"

#define PROMETHEUS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct ops;

/* For a path of a side listener: ctx is a struct ops. */
unsigned prometheus_fill(void *ctx, const char *query, struct buf *out);

#endif
