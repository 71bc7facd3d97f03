/*
 * sink.h - INGEST's life, for the engine: the thread that runs the stream, whose sink it is.
 */
#ifndef BUSBAR_SHAPES_SINK_H
#define BUSBAR_SHAPES_SINK_H

#include "base/err.h"
#include "pg/table/table.h"
#include "shapes/core/shape.h"
#include "wal/stream.h"

struct shapes;

void ingest_new(struct shapes *s);
/* What the stream calls, on its thread. A test may be the stream. */
struct stream_sink ingest_sink(struct shapes *s);
int ingest_start(struct shapes *s, struct err *e) MUST_USE;
void ingest_stop(struct shapes *s); /* after prep_stop() */
void ingest_release(struct shapes *s);
void ingest_free(struct shapes *s);
/* Puts a shape that was loaded into INGEST's routes; before the thread runs. */
int ingest_adopt(struct shapes *s, struct shape *shape, struct err *e) MUST_USE;
/*
 * What the store has of a shape, before the thread runs: the snapshot it began with, which is taken (after a crash the
 * stream may come from before it); how much its open chunk holds; an entry of the journal behind that; the last commits.
 */
void ingest_restore_snapshot(struct shape *shape, struct pg_snapshot *snap);
void ingest_restore_open(struct shape *shape, uint64_t bytes);
void ingest_restore_entry(struct shape *shape, const struct line *line, uint32_t flags);
int ingest_restore_commits(struct shapes *s, const void *p, size_t len, struct err *e) MUST_USE;
void ingest_forget_commits(struct shapes *s); /* their list is damaged */
/* Leaves of a table as they were last handled; before the thread runs. */
void ingest_adopt_table(struct shapes *s, const struct pg_table *t);
void ingest_set_processed(struct shapes *s, lsn_t lsn);

#endif
