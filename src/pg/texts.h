/*
 * texts.h - a text for each of some oids, as one query answered. The texts live until pg_texts_clear(); one thread.
 */
#ifndef BUSBAR_PG_TEXTS_H
#define BUSBAR_PG_TEXTS_H

#include <libpq-fe.h>

#include "base/err.h"
#include "base/map.h"

struct pg_texts {
	PGresult *rows;
	struct map by_oid; /* oid as text -> text, both of `rows` */
};

#define PG_TEXTS_INIT {NULL, MAP_INIT}

/* NULL: there was no row of it. */
const char *pg_texts_of(const struct pg_texts *t, uint32_t oid);
void pg_texts_clear(struct pg_texts *t);

/* Private to src/pg: the rows (oid, text) of a statement; `name`: for pg_query_kept(), or NULL. After -1 there is nothing to
 * clear. */
int pg_texts_query(PGconn *conn, const char *name, const char *sql, int nparams, const char *const *params, struct pg_texts *out,
                   struct err *e) MUST_USE;

#endif
