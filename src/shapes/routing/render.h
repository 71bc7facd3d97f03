/*
 * render.h - a change as the line that clients get. INGEST's: formats are interned by it and belong to it.
 */
#ifndef BUSBAR_SHAPES_RENDER_H
#define BUSBAR_SHAPES_RENDER_H

#include "shapes/core/def.h"
#include "shapes/core/line.h"
#include "wal/change.h"

/* What a change is to a shape with a condition (docs/protocol.md 5.3). */
enum change_view {
	VIEW_AS_IS,  /* insert, update, delete: inside before and after */
	VIEW_ENTERS, /* an update that brings the row in: an insert of the new row */
	VIEW_LEAVES, /* an update that takes it out: a delete of the old row */
	CHANGE_VIEWS,
};

/* A change as one view shows it; INGEST's, for the change at hand. */
struct rendered {
	uint64_t change_seq;
	struct line *lines[2]; /* [1]: the insert half of a changed key */
	int nlines;            /* -1: this change can't be shown: rotate */
};

/*
 * How a shape's changes are written: everything that two shapes must agree on to share a line.
 * Interned by INGEST.
 */
struct format {
	uint32_t refs;
	char *key;
	size_t key_len;
	struct shape_def def; /* the table, selected columns and replica mode are used */
	char *relation_json;  /* ["public","items"] */
	char *key_prefix;     /* "public"."items" as in a key, not JSON-escaped */
	char *member_prefix;  /* the same of the child that it is bound to, NULL: of none */
	/* The binding: column i of def.table is column map[i] of the relation last seen; -1 none. */
	const struct relation *bound;
	uint32_t bound_version;
	bool bound_ok;        /* the relation still is what the definition says */
	char bound_why[160];
	bool key_identifies;  /* an update that comes without the old row has left the key as it was */
	int *map;
	struct rendered views[CHANGE_VIEWS];
	struct format *large_next; /* of ingest.large */
	bool is_large;
};

/* A relation as the stream described it last. INGEST's. */
struct relation {
	uint32_t oid, version;
	char *schema, *name;
	char replica_identity;
	uint16_t ncolumns;
	char **names;
	uint32_t *types;
	bool *identity;  /* the column is part of the replica identity */
	bool resolved; /* its ancestors are known (or there are no parents to ask about) */
	bool looked;   /* its table was looked at when it came, if that was needed; false: the look never ended */
	struct relation *next_old; /* replaced, but changes that are held came with it */
};

/* Renders a change for a format as one view shows it; fills views[view] but for change_seq. `op` is its position. */
void line_render(struct format *f, enum change_view view, const struct wal_change *change, lsn_t lsn, uint64_t op,
                 uint32_t xid, struct buf *scratch);
/* Binds a format to a relation; bound_ok says whether shapes of it survive. */
void format_bind(struct format *f, const struct relation *r);

/* A part of a key: "/" and the value in quotes, its slashes doubled, as it stands inside a JSON string. */
void line_key_part(const char *p, size_t n, bool null, struct buf *out);
/* The columns that form a key: the primary key's, or all. */
uint16_t line_key_columns(const struct pg_table *t);
uint16_t line_key_column(const struct pg_table *t, uint16_t i);
/* "schema"."table" with quotes doubled and slashes doubled, the one form on both paths. */
void line_key_prefix(const char *schema, const char *name, struct buf *out);
void line_relation_json(const struct pg_table *t, struct buf *out);

#endif
