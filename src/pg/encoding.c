/* encoding.c - characters that a database lacks; see encoding.h. */
#include "pg/encoding.h"

#include <string.h>

#include "pg/query.h"

void pg_blame_encoding(struct err *e)
{
	if (e->kind != ERR_PG || !pg_sqlstate_is(e, PG_SQLSTATE_UNTRANSLATABLE))
		return;
	err_wrap(e, "the database's encoding lacks a character of this condition, so no value can hold it");
	e->kind = ERR_REQUEST;
	e->sqlstate[0] = '\0';
}

int pg_check_encoding(PGconn *conn, const char *text, struct err *e)
{
	const char *encoding = PQparameterStatus(conn, "server_encoding");
	bool ascii = true;
	for (const char *p = text; *p != '\0' && ascii; p++)
		ascii = (unsigned char)*p < 0x80;
	if (ascii || (encoding != NULL && strcmp(encoding, "UTF8") == 0))
		return 0;
	/* What a statement brings is converted before anything is done with it. */
	PGresult *res = pg_query(conn, "SELECT pg_catalog.length($1::pg_catalog.text)", 1, (const char *const[]){text}, e);
	if (res == NULL)
		pg_blame_encoding(e);
	PQclear(res);
	return res != NULL ? 0 : -1;
}
