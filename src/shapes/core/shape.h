/*
 * shape.h - a shape: what all threads know of it, and a part for each owner, whose header says who that is. References are
 * counted: any thread may hold one. shape_ref() and shape_unref() are in shapes.h.
 */
#ifndef BUSBAR_SHAPES_SHAPE_H
#define BUSBAR_SHAPES_SHAPE_H

#include "shapes/core/limits.h"
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

struct sets;

/* A shape in the list of a table that it names. Under registry_lock, but for `grounded`. */
struct shape_link {
	struct shape *shape;
	struct shape_link *next, **at;
	_Atomic bool grounded; /* it stands on this table's ground (ground.c) */
};

struct shape {
	_Atomic uint32_t refs;
	struct shapes *engine;
	uint64_t id;
	char handle[HANDLE_TEXT_MAX];
	struct shape_def def;
	_Atomic(struct header *) header;
	struct header **old_headers; /* whose texts somebody may still be reading; under headers_lock */
	_Atomic unsigned nold_headers;
	uint64_t chunk_bytes; /* the threshold it was made with */
	_Atomic int64_t read_ms; /* when it was read last, or made, or loaded */
	/* In the store, what is above its blocks included: its snapshot, its log. For who goes first; more or less. */
	_Atomic uint64_t snapshot_bytes, log_bytes;
	/* For those who watch: entries that came into its log in this process, and the rows that follow from its snapshot and them. */
	_Atomic uint64_t changes;
	_Atomic int64_t rows; /* below zero: not known, as its snapshot is from before this process */
	_Atomic bool dropped; /* no request finds it any more; its snapshot is given up */
	unsigned char why;    /* dropped: enum reason; stays */
	struct shape_link link;       /* to its table */
	struct shape_link *inner_links; /* to each of def.inner */

	uint8_t counted; /* as what it stands in METRIC_SHAPES, 0: nowhere; under shape_lock() */

	struct sets *sets; /* of its condition's subqueries, else NULL; who may do what: core/sets.h */

	struct shape_tail tail; /* under shape_lock(): what readers see */
	struct shape_in in;     /* INGEST's */
	struct shape_wr wr;     /* WRITER's */
};

#define SHAPE_ROWS_UNKNOWN (INT64_MIN / 2)

/* After a change of its state, with shape_lock() held or before anybody else knows it: counts it as what it is now. */
void shape_count(struct shape *s);

/* Its link to a table that it names, by oid. Of a shape that has been in the registry; it lives as long as the shape. */
struct shape_link *shape_link_to(struct shape *s, uint32_t oid);

/*
 * The table is described as `now`: columns may have become NOT NULL, or not, which changes nothing but the electric-schema
 * value; clients refuse a NULL in a column that it calls NOT NULL. The shape still fits (no column of its is gone). True if it
 * had another: whoever has looked at the catalog while it runs sees to it then that somebody looks again, for of two who look
 * at once the one that has the older answer may be the later to say so. Any thread.
 */
bool shape_renew_header(struct shape *shape, struct pg_table *now);

#endif
