/* message.c - see message.h. */
#include "pg/message.h"

#include "pg/query.h"

int pg_emit_message(PGconn *conn, const char *prefix, const char *text, struct err *e)
{
	const char *const params[] = {prefix, text};
	PGresult *res = pg_query(conn, "SELECT pg_catalog.pg_logical_emit_message(true, $1::pg_catalog.text, $2::pg_catalog.text)", 2, params, e);
	PQclear(res);
	return res != NULL ? 0 : -1;
}
