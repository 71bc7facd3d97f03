/*
 * registry.h - which shapes there are, by handle, definition and table; their birth and their end. Any thread; registry_lock is
 * taken inside unless it says "held".
 */
#ifndef BUSBAR_SHAPES_REGISTRY_H
#define BUSBAR_SHAPES_REGISTRY_H

#include "pg/publication.h"
#include "shapes/core/shape.h"
#include "wal/stream.h"

struct shapes;

/* A table that has, or lately had, shapes. Under registry_lock. */
struct table_state {
	uint32_t oid;
	struct pg_table *table; /* a reference; replaced when the catalog says otherwise */
	struct pg_join join;
	bool joined;
	char *ground;      /* what its shapes stand on (ground.c), NULL: nobody has looked yet */
	uint64_t ground_version; /* how often that has changed in this process */
	uint64_t ground_births;  /* how often shapes were born onto it */
	bool joining;      /* a PG thread is at it: one at a time */
	uint64_t watched;  /* a hash of what the watching query said last of its types; 0 nothing yet */
	uint64_t watched_ground; /* the ground's version then */
	struct shape_link *shapes; /* those in the registry that name it, in their condition too */
	uint32_t nshapes;
	int64_t idle_since_ms; /* of the last shape's end */
};

struct shape *shape_make(struct shapes *s, const struct shape_def *def, uint64_t id, const char *handle);
/* Takes the shape out of the registry (idempotent) and has INGEST drop it. Clients are told the reason, `why` is logged. Any thread. */
void shape_rotate(struct shape *s, enum reason reason, const char *why);
/* The same for what happened to a table that the shape names: of one that only its condition names, the log says which. */
void shape_rotate_for(struct shape *s, uint32_t oid, enum reason reason, const char *why);
/* Its first half: out of the registry; false if it was out already. */
bool shape_unlink(struct shape *s, enum reason reason, const char *why);
/* Says how many shapes went besides the one that was named, when no more follow. Called every now and then. */
void registry_tell_removed(struct shapes *s);
/* Rotates all active shapes of a table, or of all tables. */
void shapes_rotate_table(struct shapes *s, uint32_t oid, enum reason reason, const char *why);
void shapes_rotate_all(struct shapes *s, enum reason reason, const char *why);
void shape_set_failed(struct shape *s, const struct err *e);
struct table_state *registry_table(struct shapes *s, uint32_t oid); /* with registry_lock held */
/* The shapes that name a table, be it in their condition, those being made too; or all shapes (0): references, in memory of the
 * caller's. */
struct shape **registry_shapes(struct shapes *s, uint32_t oid, size_t *n);
/* Its end is durable. */
void registry_left(struct shapes *s, struct shape *shape);
/* Takes a shape from the tables that it names, registry_lock held for writing. */
void registry_leave(struct shapes *s, struct shape *shape);
/* Of the server that streams: what a snapshot's must be. */
struct server_id {
	char system_id[sizeof ((struct stream_server *)0)->system_id];
	uint32_t timeline;
};
struct server_id server_id(struct shapes *s);
/* At the end, when no thread is left: shapes, tables, what is known of them. */
void registry_free(struct shapes *s);
/* Links a loaded or new shape into the maps, registry_lock held for writing. */
void registry_link(struct shapes *s, struct shape *shape);

#endif
