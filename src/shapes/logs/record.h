/*
 * record.h - what the store keeps of shapes and tables, and the batches of the journal, as bytes and back (store/FORMAT.md). Pure.
 */
#ifndef BUSBAR_SHAPES_RECORD_H
#define BUSBAR_SHAPES_RECORD_H

#include "base/map.h"
#include "pg/snapshot.h"
#include "shapes/core/items.h"
#include "shapes/core/registry.h"

void record_shape(const struct shape *s, const struct pg_snapshot *snap, bool complete, uint32_t nchunks, struct buf *out);
struct shape_record {
	char handle[HANDLE_TEXT_MAX];
	struct shape_def def;
	uint64_t chunk_bytes;
	struct pg_snapshot snap;
	bool complete;
	uint32_t nchunks;
	char *sets; /* of the condition's subqueries (core/sets.h), else NULL */
	size_t sets_len;
};
/* Tables met before, by the bytes of their record: shapes of one table share it. */
struct interned {
	struct pg_table *table;
	size_t len;
	char bytes[];
};
void interned_clear(struct map *m);
int record_shape_parse(const char *p, size_t len, struct map *tables, struct shape_record *out, struct err *e) MUST_USE;
void shape_record_clear(struct shape_record *r);
void record_table(const struct table_state *t, struct buf *out);
int record_table_parse(const char *p, size_t len, struct table_state *out, struct err *e) MUST_USE;
/* A journal batch: see store/FORMAT.md. */
void journal_encode(struct item_rows *const *items, size_t n, struct buf *out);
int journal_decode(const char *p, size_t len,
                   int (*row)(void *ctx, uint64_t shape_id, struct log_offset at, uint32_t flags, struct line *line, struct err *e),
                   void *ctx, struct err *e) MUST_USE;
/* The shapes that a damaged batch had rows for, some more than once; false: that can't be told. */
bool journal_names(const char *p, size_t len, void (*each)(void *ctx, uint64_t shape_id), void *ctx);

#endif
