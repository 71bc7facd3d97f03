/*
 * ground.h - a table's ground: what its shapes depend on but the stream doesn't report, which is how the publication
 * includes the table, and which files and columns its rows were read from.
 *
 * It is a text, produced by the same SQL expression wherever it is read: in a shape's snapshot, at the start of the
 * stream, by the watch. Two readings are compared here, and a difference is described in words. Equal texts mean that
 * nothing happened in between. An operation that was removed from the publication and restored shows in
 * pg_publication.xmin, which every ALTER PUBLICATION … SET changes (so do OWNER TO and RENAME TO, indistinguishably)
 * and ADD, DROP and SET TABLE don't; a table that left and came back shows by the new oid of its entry.
 *
 * The words of the text, in the order of their bytes:
 *   p<oid>.<xmin>.<flags>    the publication; flags: insert, update, delete, truncate, via root, generated columns
 *   a | r<oid> | s<oid>      what publishes the table: FOR ALL TABLES, an entry (its own, of an ancestor), a schema
 *   f<relation>.<entry>      a row filter or column list on the table or one of its partitions
 *   c<relation>.a|r…|s…      what publishes a child by INHERITS, whose entry is its own
 *   x<relation>.<file>.<n:xmin,…>  the table, or one below it: pg_class.relfilenode, and its generated columns
 *   k<n>.<xmin>.<missing>.<default>  a column: pg_attribute.xmin, atthasmissing, pg_attrdef.oid
 *   m<relation>              one without a file (partitioned)
 *   w<xmin>.<schema>.<indexes>[.<child>.<columns>]  pg_class.xmin, how many indexes and the sum of their pg_index.xmin; of
 *                            a child by INHERITS the sum of its pg_attribute.xmin, too: not compared here, but another
 *                            text is a reason to look at the table
 *
 * ALTER TABLE … TYPE … USING changes a file and the column's row. What only moves bytes (VACUUM FULL, CLUSTER, SET
 * LOGGED, SET TABLESPACE) changes the file alone, SET STATISTICS and the like the row alone; but VACUUM FULL after
 * a fast default changes the column's row, too: it has no missing value any more, and the same default, which a
 * TYPE would have replaced.
 *
 * Pure functions, but for pg_ground_read…(), on the caller's thread and connection.
 */
#ifndef BUSBAR_PG_GROUND_H
#define BUSBAR_PG_GROUND_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/err.h"
#include "pg/texts.h"

/* The texts of those of the tables `oids` ("{1,2}") that exist. */
int pg_ground_read(PGconn *conn, const char *publication, const char *oids, struct pg_texts *out, struct err *e) MUST_USE;
/* The same of one table: by a statement that a connection keeps, since each snapshot asks. */
int pg_ground_read_one(PGconn *conn, const char *publication, uint32_t oid, struct pg_texts *out, struct err *e) MUST_USE;

/* 0: all changes of the table come. Else ERR_CONFIG with what is missing; ERR_TIMEOUT for what changed just now. */
int pg_ground_check(const char *ground, const struct config *c, const char *schema, const char *name, struct err *e) MUST_USE;

/* pg_publication.xmin, which each ALTER of the publication changes; 0: there is no publication. */
uint32_t pg_ground_publication_xmin(const char *ground);
/* Whether this is among what publishes the table: a pg_join's publication_rel_oid. */
bool pg_ground_has_entry(const char *ground, uint32_t publication_rel_oid);

/* Whether the column's values may have been written anew between two readings, as ALTER TABLE … TYPE … USING does.
 * `generated`: it is a stored generated column, of which partitions may have expressions of their own. */
bool pg_ground_rewrote(const char *then, const char *now, int16_t attnum, bool generated);
/* The columns that a reading knows, one after the other: *at begins as the reading. */
bool pg_ground_next_column(const char **at, int16_t *attnum);
/* False if pg_ground_rewrote() is so for all columns: no file changed. */
bool pg_ground_moved(const char *then, const char *now);

/* Why changes of the table may be missing between two readings; NULL: they all came. */
const char *pg_ground_gap(const char *then, const char *now);

#endif
