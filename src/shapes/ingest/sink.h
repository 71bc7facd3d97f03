/*
 * sink.h - INGEST's life, for the engine: the thread that runs the stream, whose sink it is.
 */
#ifndef BUSBAR_SHAPES_SINK_H
#define BUSBAR_SHAPES_SINK_H

#include "base/err.h"
#include "pg/table/table.h"
#include "shapes/core/shape.h"

struct shapes;

void ingest_new(struct shapes *s);
int ingest_start(struct shapes *s, struct err *e) MUST_USE;
void ingest_stop(struct shapes *s); /* after pgwork_stop() */
void ingest_release(struct shapes *s);
void ingest_free(struct shapes *s);
/* Puts a shape that was loaded into INGEST's routes; before the thread runs. */
int ingest_adopt(struct shapes *s, struct shape *shape, struct err *e) MUST_USE;
/* Leaves of a table as they were last handled; before the thread runs. */
void ingest_adopt_table(struct shapes *s, const struct pg_table *t);
void ingest_set_processed(struct shapes *s, lsn_t lsn);

#endif
