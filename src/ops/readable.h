/*
 * readable.h - SQL of ours for people. Private to src/ops; pure.
 */
#ifndef BUSBAR_OPS_READABLE_H
#define BUSBAR_OPS_READABLE_H

#include "base/buf.h"

/* Ours names the schema of each operator, function and type. To read it, Postgres's own goes without saying; it means the same. */
void readable_sql(struct buf *sql);

#endif
