/*
 * table.h - what Postgres's catalog says of a table, immutable and shared.
 *
 * A pg_table is made once by pg_catalog_lookup() (or from its stored JSON) and then only read; it is
 * reference counted, any thread may hold it. Only ordinary ('r') and partitioned ('p') tables exist
 * here, as for Electric; a table without columns counts as not found (docs/protocol.md 2.3).
 * Nothing here talks to a server: users of tables don't depend on libpq.
 */
#ifndef BUSBAR_PG_TABLE_H
#define BUSBAR_PG_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct pg_column {
	char *name;
	int16_t attnum;
	uint32_t type_oid;   /* as pgoutput's Relation message has it */
	int32_t typmod;
	char *type_name;     /* pg_type.typname; of the element if dims > 0 (the schema header's "type") */
	int dims;            /* attndims */
	bool not_null;
	bool generated;      /* stored or virtual */
	bool is_virtual;     /* PostgreSQL 18: generated and never in the stream */
	bool is_bool;        /* bool, or a domain over it: written true/false in a snapshot */
	int pk_index;        /* position in the primary key, -1: not part of it */
	int collation;       /* index into the table's collations, -1: its type has none */
	bool denied;         /* the role that reads tables has no SELECT on it, neither by the table nor by the column */
};

/* What a type is made of: an attribute of a composite type (attnum, name, type), a label of an enum (its oid: a label that
 * was renamed keeps it), the subtype of a range, the range of a multirange. */
struct pg_type_part {
	uint32_t id, type_oid; /* 0: none */
	int32_t typmod;
	char *name;            /* "" if it has none */
};

/* A column's type that isn't built in (oid >= 10000: not in pg_type.dat; this includes those of information_schema), or a
 * component of such a type. */
struct pg_type {
	uint32_t oid;
	char *schema, *name;
	char kind;           /* pg_type.typtype: 'b' (arrays among them), 'e', 'd', 'c', 'r' … */
	uint32_t elem_oid;   /* of true arrays: the element, else 0 */
	uint32_t base_oid;   /* of domains: pg_type.typbasetype (maybe a domain again) and its typmod, else 0 */
	int32_t base_typmod;
	uint16_t nlabels;    /* of enums: labels in order */
	char **labels;
	bool parts_known;    /* stored forms before version 3 don't say */
	uint16_t nparts;
	struct pg_type_part *parts;
};

/* A collation as the catalog has it; of "default" what the database has. */
struct pg_collation {
	uint32_t oid;        /* 100: the database's default */
	char *schema, *name;
	char provider;       /* 'c' libc, 'i' ICU, 'b' builtin */
	bool deterministic;
	char *collate, *ctype; /* locale names; for ICU and builtin both are the locale */
	char *version;       /* as recorded by the server, NULL if none */
};

/* What the catalog promises of rows and their keys (the primary key, or all columns): the further down, the less. */
enum pg_keys {
	PG_KEYS_UNIQUE,    /* no two rows have the same at any moment */
	PG_KEYS_AT_COMMIT, /* ... when a transaction ends: what sees to it is deferrable */
	PG_KEYS_COUNTED,   /* no primary key, and nothing that keeps whole rows from being equal */
	PG_KEYS_CLASH,     /* with a primary key, of which a child (`clash`) may have the same value again */
	PG_KEYS_UNKNOWN,   /* of a stored form of before */
};

/* A child by inheritance. Its rows have its own name in their keys: parent and child may use the same values. */
struct pg_member {
	uint32_t oid;
	char *schema, *name;
};

struct pg_table {
	_Atomic uint32_t refs;
	uint32_t oid;
	char *schema, *name;
	char relkind;
	bool no_usage;             /* that role has no USAGE on the schema; not stored, and of the time of the look-up */
	uint16_t ncolumns;
	struct pg_column *columns; /* in attnum order, dropped ones left out */
	uint16_t npk;              /* 0: no primary key; then every column is part of the key */
	uint16_t *pk;              /* indexes into columns, in key order */
	/* Tables whose rows are also this table's: all partitions or children, at all levels. */
	uint32_t nleaves;
	uint32_t *leaves;
	enum pg_keys keys;
	char *clash;               /* PG_KEYS_CLASH: "schema"."name" of the table in question, else NULL */
	uint32_t nmembers;         /* children by inheritance, at all levels; none of a partitioned table */
	struct pg_member *members;
	bool tableoid_denied;      /* with members: as a column's `denied`, of tableoid, which tells whose rows they are */
	uint16_t ntypes;
	struct pg_type *types;     /* all that are not built in */
	uint16_t ncollations;
	struct pg_collation *collations; /* [0] is the database's default, always there */
	char *schema_json;         /* the electric-schema object of all columns, see pg_table_schema_json() */
};

struct pg_table *pg_table_ref(struct pg_table *t);
void pg_table_unref(struct pg_table *t);

/* Index of a column by name, or -1. */
int pg_table_column(const struct pg_table *t, const char *name, size_t len);

/* True if `oid` is one of its partitions or children, at any level. */
bool pg_table_has_leaf(const struct pg_table *t, uint32_t oid);

/* The child of that oid, NULL: it is none by inheritance. */
const struct pg_member *pg_table_member(const struct pg_table *t, uint32_t oid);

/* The electric-schema header (docs/protocol.md 4.5) of the selected columns: indexes into t->columns, in output
 * order (sorted by name). Compact JSON. */
void pg_table_schema_json(const struct pg_table *t, const uint16_t *selected, uint16_t nselected, struct buf *out);

/* The stored form and back. The form carries a version; -1 with `e` for anything else. */
void pg_table_to_json(const struct pg_table *t, struct buf *out);
int pg_table_from_json(const char *p, size_t len, struct pg_table **out, struct err *e) MUST_USE;

const struct pg_type *pg_table_type(const struct pg_table *t, uint32_t oid); /* NULL: built in, or unknown */

/* True if a value of the column `a` of `then` means the same, and compares in the same way, as one of `b` of
 * `now`: type, typmod, collation; an enum's labels, a domain's base, an array's element. */
bool pg_column_same_meaning(const struct pg_table *then, const struct pg_column *a, const struct pg_table *now,
                            const struct pg_column *b);

/* False if what clients have of the column `a` may not be what `b` holds now: another type, a narrower typmod
 * (Postgres rewrites the values without a word in the stream), a label of an enum that was renamed. */
bool pg_column_keeps_values(const struct pg_table *then, const struct pg_column *a, const struct pg_table *now,
                            const struct pg_column *b);

/* True if a shape that selects these columns is still right after `now` replaced `then`, whatever its
 * condition: columns, key, types, collations (the database's default too). */
bool pg_table_same_columns(const struct pg_table *then, const struct pg_table *now);

/* True if their stored forms are the same, word for word. */
bool pg_table_identical(const struct pg_table *a, const struct pg_table *b);

#endif
