/*
 * jobs.h - what the PG threads are asked for. A job belongs to the queue once it is posted. Any thread posts.
 */
#ifndef BUSBAR_SHAPES_JOBS_H
#define BUSBAR_SHAPES_JOBS_H

#include "shapes/core/cache.h"
#include "shapes/core/limits.h"
#include "shapes/core/shape.h"

struct shapes;

enum job_kind { JOB_LOOKUP, JOB_CREATE, JOB_RESOLVE, JOB_WAL_END, JOB_GROUND, JOB_LOOK, JOB_HEARTBEAT };

struct job {
	struct job *next;
	enum job_kind kind;
	struct table_lookup *lookup; /* JOB_LOOKUP: a reference */
	struct shape *shapes[SNAPSHOT_SHARED_MAX]; /* JOB_CREATE: references, of one table */
	int nshapes;
	uint32_t oid, xid;           /* JOB_RESOLVE: the relation, the transaction that it came with; JOB_LOOK: that */
	char relation[2 * 64];       /* JOB_RESOLVE: its name, "schema.table", for the log */
	uint64_t number;             /* JOB_GROUND: the start of the stream that waits for it; JOB_LOOK: its own */
	uint32_t *oids;              /* JOB_LOOK: tables with shapes; the job's */
	size_t noids;
};

/* The prefix of our logical messages, and what they hold: heartbeat_id, and when it was sent (clock_mono_us()). */
#define HEARTBEAT_PREFIX "busbar_heartbeat"
#define HEARTBEAT_FORMAT "%016" PRIx64 " %" PRId64
#define HEARTBEAT_SCAN "%16" SCNx64 " %" SCNd64

void job_post(struct shapes *s, struct job *j);
/* The tables are looked at soon; the catalog is compared with ours at once. */
void jobs_watch_soon(struct shapes *s);
void jobs_reconcile_now(struct shapes *s);
/* Whether there is anything to do, or somebody at it. */
bool jobs_busy(struct shapes *s);
/* The guard looks at the slot at once. */
void jobs_guard_now(struct shapes *s);

#endif
