/*
 * pgoutput.h - bytes of the pgoutput plugin (protocol version 1, PostgreSQL 14 to 18) to a wal_change.
 *
 * Pure: no I/O, no Postgres headers. Format: PostgreSQL documentation, "Logical Replication Message
 * Formats". Reads through a cursor that turns bad once and stays bad; a short message, trailing
 * bytes, an unknown type or flag are ERR_PROTOCOL and never a crash (fuzzed).
 */
#ifndef BUSBAR_WAL_PGOUTPUT_H
#define BUSBAR_WAL_PGOUTPUT_H

#include "base/err.h"
#include "wal/change.h"

struct pgoutput; /* scratch memory for column and value arrays; one per stream, one thread */

struct pgoutput *pgoutput_new(void);
void pgoutput_free(struct pgoutput *d);

/* `out` borrows from `p` and from `d` until the next call. */
int pgoutput_parse(struct pgoutput *d, const char *p, size_t len, struct wal_change *out, struct err *e) MUST_USE;

#endif
