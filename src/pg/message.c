/* message.c - see message.h. */
#include "pg/message.h"

#include "pg/query.h"

int pg_commit_nothing(PGconn *conn, struct err *e)
{
	int rc = pg_command(conn, "BEGIN; SET LOCAL synchronous_commit = local; SET LOCAL statement_timeout = '5s';"
	                    " SELECT pg_catalog.pg_logical_emit_message(true, 'busbar_commit', ''); COMMIT", e);
	if (rc != 0)
		pg_rollback(conn);
	return rc;
}

int pg_emit_message(PGconn *conn, const char *prefix, const char *text, struct err *e)
{
	const char *const params[] = {prefix, text};
	PGresult *res = pg_query(conn, "SELECT pg_catalog.pg_logical_emit_message(true, $1::pg_catalog.text, $2::pg_catalog.text)", 2, params, e);
	PQclear(res);
	return res != NULL ? 0 : -1;
}
