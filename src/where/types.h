/*
 * types.h - the types of Postgres as far as conditions know them.
 *
 * Built-in types are a constant table (catalog_data.h, generated from a server's catalog by
 * scripts/where-catalog.sh); enums and domains of a table's columns come from pg_table.types and are
 * made per condition. A where_type is immutable; built-in ones live for ever, others as long as the
 * condition (or the evaluation pool) that made them.
 */
#ifndef BUSBAR_WHERE_TYPES_H
#define BUSBAR_WHERE_TYPES_H

#include "where/value.h"

enum { /* facts of pg_type.dat, the same in all majors */
	OID_BOOL = 16, OID_BYTEA = 17, OID_CHAR = 18, OID_NAME = 19, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23,
	OID_TEXT = 25, OID_OID = 26, OID_JSON = 114, OID_FLOAT4 = 700, OID_FLOAT8 = 701, OID_UNKNOWN = 705,
	OID_BPCHAR = 1042, OID_VARCHAR = 1043, OID_DATE = 1082, OID_TIME = 1083, OID_TIMESTAMP = 1114,
	OID_TIMESTAMPTZ = 1184, OID_INTERVAL = 1186, OID_TIMETZ = 1266, OID_NUMERIC = 1700, OID_RECORD = 2249,
	OID_UUID = 2950, OID_JSONB = 3802,
	OID_ANYELEMENT = 2283, OID_ANYARRAY = 2277, OID_ANYNONARRAY = 2776, OID_ANYENUM = 3500, OID_ANYRANGE = 3831,
	OID_ANY = 2276, OID_ANYMULTIRANGE = 4537, OID_ANYCOMPATIBLE = 5077, OID_ANYCOMPATIBLEARRAY = 5078,
	OID_ANYCOMPATIBLENONARRAY = 5079, OID_ANYCOMPATIBLERANGE = 5080, OID_ANYCOMPATIBLEMULTIRANGE = 4538,
};

struct where_type {
	uint32_t oid;
	const char *schema;           /* NULL: pg_catalog */
	const char *name;             /* pg_type.typname, "_int4" for arrays */
	char kind;                    /* pg_type.typtype: b e d c p r */
	char category;                /* pg_type.typcategory */
	bool preferred, collatable;
	uint32_t elem_oid, array_oid; /* 0: none; elem only for true arrays (typsubscript array_subscript_handler) */
	const struct where_io *io;    /* NULL: its values can't be computed with (null tests only); arrays: NULL */
	const struct where_type *elem; /* of arrays */
	const struct where_type *base; /* of domains: the type below, itself no domain */
	/* enums: labels in order */
	const char *const *labels;
	uint32_t nlabels;
};

/* A built-in type; NULL if we don't know it. */
const struct where_type *where_type_builtin(uint32_t oid);
const struct where_type *where_type_by_name(const char *name); /* pg_catalog only, typname */

static inline bool where_type_is_array(const struct where_type *t) { return t->elem != NULL; }

/* Any type, arrays, enums and domains included: reads and writes text, compares and hashes. -1 with
 * c->reason. `where_cmp` orders by the default btree order (enums by label position, arrays by element;
 * text by bytes); where_equal() is the type's default equality. Only for types whose io has them. */
int where_in(struct where_call *c, const struct where_type *t, const char *p, size_t n, struct where_value *out);
int where_out(struct where_call *c, const struct where_type *t, const struct where_value *v, struct buf *text);
bool where_comparable(const struct where_type *t); /* has a default order */
bool where_hashable(const struct where_type *t);   /* has a default equality and a hash */
int where_cmp(const struct where_type *t, const struct where_value *a, const struct where_value *b);
bool where_equal(const struct where_type *t, const struct where_value *a, const struct where_value *b);
uint64_t where_hash(const struct where_type *t, const struct where_value *v);

/* Copies a value and all it points to; arrays and rows deeply. */
struct where_value where_copy(struct arena *to, const struct where_type *t, const struct where_value *v);

/* Of arrays alone. */
int where_array_cmp(const struct where_type *array, const struct where_value *a, const struct where_value *b);
bool where_array_equal(const struct where_type *array, const struct where_value *a, const struct where_value *b);
uint64_t where_array_hash(const struct where_type *array, const struct where_value *v);

#endif
