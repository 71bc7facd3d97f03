/* horizon.c - the end of the WAL, the oldest transaction; see horizon.h. */
#include "pg/horizon.h"

#include <stdlib.h>

#include "pg/query.h"

#define WAL_END "pg_catalog.pg_current_wal_insert_lsn()"
#define OLDEST "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())"

static int read_lsn(const PGresult *res, lsn_t *out, struct err *e)
{
	return lsn_parse(pg_value(res, 0, 0), out) ? 0 : err_set(e, ERR_PROTOCOL, "Postgres answered with a position that can't be read");
}

int pg_wal_end(PGconn *conn, lsn_t *wal_end, struct err *e)
{
	PGresult *res = pg_query(conn, "SELECT " WAL_END, 0, NULL, e);
	int rc = res != NULL ? read_lsn(res, wal_end, e) : -1;
	PQclear(res);
	return rc;
}

int pg_oldest_running(PGconn *conn, uint64_t *xmin, struct err *e)
{
	PGresult *res = pg_query(conn, "SELECT " OLDEST, 0, NULL, e);
	if (res == NULL)
		return -1;
	*xmin = strtoull(pg_value(res, 0, 0), NULL, 10);
	PQclear(res);
	return 0;
}

int pg_horizon(PGconn *conn, lsn_t *wal_end, uint64_t *xmin, struct err *e)
{
	PGresult *res = pg_query(conn, "SELECT " WAL_END ", " OLDEST, 0, NULL, e);
	if (res == NULL)
		return -1;
	int rc = read_lsn(res, wal_end, e);
	*xmin = strtoull(pg_value(res, 0, 1), NULL, 10);
	PQclear(res);
	return rc;
}
