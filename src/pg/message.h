/*
 * message.h - logical messages: what goes into the WAL without a table. One thread per connection.
 */
#ifndef BUSBAR_PG_MESSAGE_H
#define BUSBAR_PG_MESSAGE_H

#include <libpq-fe.h>

#include "base/err.h"

/* In a transaction of its own: when this returns it is in the WAL, and durable as a commit is. */
int pg_emit_message(PGconn *conn, const char *prefix, const char *text, struct err *e) MUST_USE;

/*
 * A commit that changes nothing, after which all WAL from before is on the server's disk. It waits for no standby, and for the disk so
 * long at most as a statement of ours may take. No transaction is open, before and after.
 */
int pg_commit_nothing(PGconn *conn, struct err *e) MUST_USE;

#endif
