/*
 * slot.h - what Postgres keeps for a replication slot, seen from beside it: how much WAL, by whose fault, within which limits.
 * One thread per connection.
 */
#ifndef BUSBAR_PG_SLOT_H
#define BUSBAR_PG_SLOT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/lsn.h"

enum pg_slot_status {
	SLOT_MISSING,    /* there is none of this name, or it isn't ours (another database, another plugin) */
	SLOT_RESERVED,
	SLOT_EXTENDED,   /* beyond max_wal_size */
	SLOT_UNRESERVED, /* the next checkpoint may take what it needs */
	SLOT_LOST,
};

struct pg_slot_look {
	enum pg_slot_status status;
	bool active;            /* a walsender serves it */
	lsn_t wal_end;          /* of what is written */
	lsn_t restart, confirmed; /* 0: it has none (yet) */
	int64_t safe_bytes;     /* that may be written before it is in danger; -1: as many as you like */
	int64_t keep_bytes;     /* max_slot_wal_keep_size; -1: no limit */
	int64_t segment_bytes;  /* of a WAL file */
	char invalidation[40];  /* why it was invalidated, where the server says so (from 17 on) */
	char sync_names[200];   /* synchronous_standby_names, cut to this */
};

/* The transaction that runs the longest of those that have written, whatever its database; those of ours count too, but this
 * session's. */
struct pg_oldest {
	uint32_t xid;       /* 0: nobody's */
	int pid;            /* 0: it is prepared */
	int64_t age_ms;     /* -1: this role may not see since when */
	char who[300];      /* "process 12 (user \"u\", database \"d\", application \"a\")", "prepared transaction \"g\" …": for the log */
};

int pg_slot_look(PGconn *conn, const char *slot, struct pg_slot_look *out, struct err *e) MUST_USE;
int pg_slot_oldest(PGconn *conn, struct pg_oldest *out, struct err *e) MUST_USE;

/*
 * Drops the slot if nobody uses it, nobody holds the lock of its name, which is taken for the statement, and it stands no further
 * than at `upto`. *dropped tells whether it was.
 */
int pg_slot_drop_unused(PGconn *conn, const char *slot, lsn_t upto, bool *dropped, struct err *e) MUST_USE;

/* True if this value of synchronous_standby_names ("FIRST 1 (a, *)") counts every walsender there is: then commits wait for ours. */
bool pg_sync_names_all(const char *names);

#endif
