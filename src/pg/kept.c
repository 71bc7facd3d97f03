/* kept.c - which statements a connection has prepared; see kept.h. */
#include "pg/kept.h"

#include <libpq-events.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/require.h"

struct kept {
	const char *names[PG_KEPT_MAX];
	int n;
};

static int on_event(PGEventId id, void *info, void *ctx)
{
	(void)ctx;
	if (id == PGEVT_CONNDESTROY)
		free(PQinstanceData(((PGEventConnDestroy *)info)->conn, on_event));
	return 1;
}

static struct kept *kept_of(const PGconn *conn) { return PQinstanceData(conn, on_event); }

void pg_keep_statements(PGconn *conn, int backend_pid)
{
	/* One that is registered does it already, or has given up. */
	if (PQbackendPID(conn) != backend_pid || PQregisterEventProc(conn, on_event, "kept statements", NULL) == 0)
		return;
	struct kept *k = mem_zalloc(sizeof *k);
	if (PQsetInstanceData(conn, on_event, k) == 0)
		free(k);
}

bool pg_keeps_statements(const PGconn *conn) { return kept_of(conn) != NULL; }

bool pg_kept_has(const PGconn *conn, const char *name)
{
	const struct kept *k = kept_of(conn);
	for (int i = 0; i < k->n; i++)
		if (strcmp(k->names[i], name) == 0)
			return true;
	return false;
}

void pg_kept_add(PGconn *conn, const char *name)
{
	struct kept *k = kept_of(conn);
	REQUIRE(k->n < PG_KEPT_MAX);
	k->names[k->n++] = name;
}

void pg_kept_give_up(PGconn *conn)
{
	free(kept_of(conn));
	(void)PQsetInstanceData(conn, on_event, NULL);
}
