/*
 * catalog.h - tables as the catalog of a server has them (pg/table/table.h), by SQL on the caller's connection.
 */
#ifndef BUSBAR_PG_CATALOG_H
#define BUSBAR_PG_CATALOG_H

#include <libpq-fe.h>

#include "pg/table/table.h"
#include "pg/texts.h"

/*
 * 0: found, *out is the caller's reference. 1: there is no such table. -1: error. Rights are those of the
 * connection's role, or of the one in its setting PG_READER_SETTING, if there is such a role.
 */
#define PG_READER_SETTING "busbar.reader"
int pg_catalog_set_reader(PGconn *conn, const char *role, struct err *e) MUST_USE;
/* From now on this session can write nothing. */
int pg_catalog_read_only(PGconn *conn, struct err *e) MUST_USE;
int pg_catalog_lookup(PGconn *conn, const char *schema, const char *name, struct pg_table **out, struct err *e) MUST_USE;
int pg_catalog_lookup_oid(PGconn *conn, uint32_t oid, struct pg_table **out, struct err *e) MUST_USE;

/* Ancestors (parents at all levels, nearest first) of a relation, for changes that come under a
 * partition's own oid. At most `max`; returns the count, or -1. */
int pg_catalog_ancestors(PGconn *conn, uint32_t oid, uint32_t *out, int max, struct err *e) MUST_USE;

/* Of a table as it is now: whether it has any child or partition; whether a column of the description has become NOT NULL, or
 * no longer is. */
int pg_catalog_glance(PGconn *conn, const struct pg_table *t, bool *children, bool *nulls, struct err *e) MUST_USE;

/*
 * Whether `oid` came to its ancestors with rows in it (ATTACH), rows the stream never had: there is a row older than one of
 * the links above it, or of the same transaction and an earlier command. Rows put in later are younger than all links.
 * When we may not look, or not at once, it had rows: somebody waits for the answer, so it looks only for a moment. The
 * connection is in no transaction.
 */
bool pg_catalog_attached_with_rows(PGconn *conn, uint32_t oid);

/*
 * What the catalog has of types and collations by oid ("{1,2}"): another text means that one was changed, by ALTER TYPE (labels
 * of an enum, columns of a composite) or else.
 */
int pg_catalog_types_said(PGconn *conn, const char *oids, struct pg_texts *out, struct err *e) MUST_USE;

/*
 * Tables to which transaction `xid` (the stream's 32 bits), still running for everybody else, may have
 * given partitions or children, and the ancestors of these; *out is the caller's to free. Returns the
 * count, or -1. If none of them matters, statements that begin later see all links the transaction made.
 */
int pg_catalog_unseen_parents(PGconn *conn, uint32_t xid, uint32_t **out, struct err *e) MUST_USE;

#endif
