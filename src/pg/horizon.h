/*
 * horizon.h - where a server is: the end of its WAL, and the oldest transaction that still runs. One thread per connection.
 */
#ifndef BUSBAR_PG_HORIZON_H
#define BUSBAR_PG_HORIZON_H

#include <libpq-fe.h>

#include "base/err.h"
#include "base/lsn.h"

/* pg_current_wal_insert_lsn(); what was committed before the call lies below. */
int pg_wal_end(PGconn *conn, lsn_t *wal_end, struct err *e) MUST_USE;
/* Every transaction below *xmin (64 bits, with epoch) has ended, and all see what it did. */
int pg_oldest_running(PGconn *conn, uint64_t *xmin, struct err *e) MUST_USE;
/* Both at once. */
int pg_horizon(PGconn *conn, lsn_t *wal_end, uint64_t *xmin, struct err *e) MUST_USE;

#endif
