/*
 * kept.h - private to src/pg: which statements a connection has prepared. What is known of a connection is libpq's instance data, and
 * goes with it. One thread per connection.
 */
#ifndef BUSBAR_PG_KEPT_H
#define BUSBAR_PG_KEPT_H

#include <libpq-fe.h>
#include <stdbool.h>

#define PG_KEPT_MAX 16 /* statements of a connection */

/*
 * Lets a connection keep statements if it leads to a session of its own: `backend_pid` is what that session says, while a pooler makes up
 * a number when a connection is opened. Behind one, each transaction may be in another session. Any number of times.
 */
void pg_keep_statements(PGconn *conn, int backend_pid);

bool pg_keeps_statements(const PGconn *conn);
/* Of one that does: whether it has this statement; that it has it now (`name` is a literal); that they don't stay after all. */
bool pg_kept_has(const PGconn *conn, const char *name);
void pg_kept_add(PGconn *conn, const char *name);
void pg_kept_give_up(PGconn *conn);

#endif
