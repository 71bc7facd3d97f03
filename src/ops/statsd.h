/*
 * statsd.h - all metrics as StatsD is sent them: datagrams with Datadog's tags, by a thread of its own.
 *
 * What was counted since the last round goes as counts, levels as gauges, histograms bucket by bucket, as the bucket's middle
 * and a rate that says how often. Nothing waits for it: what the socket doesn't take at once is lost, as UDP's may be.
 */
#ifndef BUSBAR_OPS_STATSD_H
#define BUSBAR_OPS_STATSD_H

#include "base/config.h"
#include "base/err.h"

struct ops;
struct statsd;

/* -1 with a line if ELECTRIC_STATSD_HOST isn't a host or host:port. */
int statsd_check_config(const struct config *c, struct err *e) MUST_USE;
/* *out is NULL if no host is set. `o` stays until statsd_stop(). */
int statsd_start(struct statsd **out, const struct ops *o, struct err *e) MUST_USE;
/* Once it has returned nothing of `o` is used any more. NULL is fine. A look-up of the name that hangs isn't waited for. */
void statsd_stop(struct statsd *s);

#endif
