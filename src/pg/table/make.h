/*
 * make.h - how a table description comes to be: for stored.c and for pg/catalog.c, which fill one in. Until
 * pg_table_finish() it belongs to one thread.
 */
#ifndef BUSBAR_PG_TABLE_MAKE_H
#define BUSBAR_PG_TABLE_MAKE_H

#include "pg/table/table.h"

#define TABLE_COLUMNS_MAX 1600           /* Postgres's own */
#define TABLE_JSON_MAX_BYTES (16u << 20) /* 1,600 columns and 100,000 partitions are 2 MB */
#define DEFAULT_COLLATION_OID 100
#define VARLENA_HEADER_BYTES 4 /* counted in the typmod of text types and numeric */

/* Columns are zero. pg_table_unref() frees it, whatever of it is there. */
struct pg_table *pg_table_new(uint16_t ncolumns);

/* What a new table needs once its columns are there; false if they make no sense. */
bool pg_table_finish(struct pg_table *t);

/* {"types":…,"collations":…,"keys":…} as the catalog's statement makes it, each as in the stored form; false if it isn't. */
bool pg_table_parse_more(const char *text, struct pg_table *t);

#endif
