/*
 * shape.h - a shape: what all threads know of it, and a part for each owner, whose header says who that is. References are
 * counted: any thread may hold one. shape_ref() and shape_unref() are in shapes.h.
 */
#ifndef BUSBAR_SHAPES_SHAPE_H
#define BUSBAR_SHAPES_SHAPE_H

#include "shapes/core/tail.h"
#include "shapes/ingest/shape_in.h"
#include "shapes/logs/shape_wr.h"
#include "shapes/shapes.h"

/* The electric-schema value of some columns of a table, shared by the shapes that select them. */
struct header {
	uint32_t refs;  /* under headers_lock */
	struct pg_table *table;
	char *text;
	size_t key_len;
	char key[];     /* the table's address and the columns */
};

struct shape {
	_Atomic uint32_t refs;
	struct shapes *engine;
	uint64_t id;
	char handle[HANDLE_TEXT_MAX];
	struct shape_def def;
	struct header *header;
	uint64_t chunk_bytes; /* the threshold it was made with */
	_Atomic int64_t read_ms;
	_Atomic bool dropped; /* no request finds it any more; its snapshot is given up */
	struct shape *table_next, **table_at; /* of its table's; under registry_lock */
	_Atomic bool grounded; /* it stands on its table's ground (ground.c) */

	struct shape_tail tail; /* under shape_lock(): what readers see */

	struct shape_in in;     /* INGEST's */

	struct shape_wr wr;     /* WRITER's */
};

#endif
