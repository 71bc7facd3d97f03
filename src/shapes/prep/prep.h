/*
 * prep.h - the PG threads: look-ups, births, watching, subsets. Other threads ask them by jobs (core/jobs.h); what is here is
 * their life, and what the files of this room share.
 */
#ifndef BUSBAR_SHAPES_PREP_H
#define BUSBAR_SHAPES_PREP_H

#include "pg/conn.h"
#include "shapes/core/registry.h"

struct shapes;

int pgwork_start(struct shapes *s, struct err *e) MUST_USE;
void pgwork_stop(struct shapes *s);

/* subset.c: threads with a connection each, at most `threads`. */
int subsets_start(struct shapes *s, int threads, struct err *e) MUST_USE;
void subsets_stop(struct shapes *s); /* every query's end has been told before */

/* tables.c */
/* True if the shape shows the column, has it in its key, or its condition looks at it. */
bool shape_uses(const struct shape *s, uint16_t column);
bool condition_uses(const struct shape_def *d, uint16_t column); /* the last of these */
/* Puts the table's record into the writer's queue; with registry_lock held. */
void table_save(struct shapes *s, const struct table_state *t);

/* ground.c */
/* Before a snapshot begins, for ground_born(). */
uint64_t ground_version(struct shapes *s, uint32_t oid);
/* What a snapshot of a table is measured by. */
struct ground_since {
	uint64_t version;          /* ground_version() before it began */
	uint32_t publication_xmin; /* as the table's join saw it */
};
/*
 * In a snapshot that is taken: its shapes stand on what it shows of table and publication; older ones that don't bear
 * the difference rotate. 1: take the snapshot again. GROUND_JOIN: the publication was altered since the table joined: join
 * it again, then take the snapshot. -1: not everything is published (ERR_CONFIG), or an error.
 */
#define GROUND_JOIN 2
int ground_born(struct shapes *s, PGconn *snap, const struct pg_table *table, struct ground_since since, struct shape *const *shapes,
                int n, struct err *e) MUST_USE;
/* One look at the ground of all tables with shapes; what doesn't bear the difference rotates. *gone: those that don't
 * exist any more, the caller's to free, also after an error. PG threads. */
int ground_look(struct shapes *s, PGconn *conn, uint32_t **gone, size_t *ngone, struct err *e) MUST_USE;

#endif
