/* texts.c - a text for each of some oids; see texts.h. */
#include "pg/texts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pg/query.h"

#define OID_TEXT_MAX 12

const char *pg_texts_of(const struct pg_texts *t, uint32_t oid)
{
	char text[OID_TEXT_MAX];
	int len = snprintf(text, sizeof text, "%" PRIu32, oid);
	return map_get(&t->by_oid, text, (size_t)len);
}

void pg_texts_clear(struct pg_texts *t)
{
	map_clear(&t->by_oid);
	PQclear(t->rows);
	t->rows = NULL;
}

int pg_texts_query(PGconn *conn, const char *name, const char *sql, int nparams, const char *const *params, struct pg_texts *out,
                   struct err *e)
{
	*out = (struct pg_texts)PG_TEXTS_INIT;
	out->rows = name != NULL ? pg_query_kept(conn, name, sql, nparams, params, e) : pg_query(conn, sql, nparams, params, e);
	if (out->rows == NULL)
		return -1;
	for (int i = 0; i < PQntuples(out->rows); i++) {
		char *oid = PQgetvalue(out->rows, i, 0);
		map_put(&out->by_oid, oid, strlen(oid), PQgetvalue(out->rows, i, 1));
	}
	return 0;
}
