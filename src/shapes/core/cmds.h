/*
 * cmds.h - commands into INGEST, which runs them between changes, in their order. Any thread but INGEST posts or calls.
 */
#ifndef BUSBAR_SHAPES_CMDS_H
#define BUSBAR_SHAPES_CMDS_H

#include "shapes/core/limits.h"
#include "shapes/core/shape.h"

struct key_counts;
struct shapes;

/* Commands into INGEST. A command with `done` is waited for by a PG thread. */
enum cmd_kind {
	CMD_REGISTER, CMD_FILTER, CMD_UNREGISTER, CMD_DROP, CMD_RESOLVED, CMD_PRUNE, CMD_NOP,
	CMD_GROUND, /* what was looked for at the start of the stream is in the queue before it; result -1: it couldn't be */
	CMD_LOOKED, /* a JOB_LOOK is done: its rotations are in the queue before this; result -1: an outage */
	CMD_COUNTS, /* the first rows of a shape are counted: INGEST takes `counts` */
	CMD_SUBSET_BEGIN, CMD_SUBSET_END, /* around the snapshot of a subset query; always both */
};

/* A snapshot is to be taken again: what was registered for it stays as it is; or has lost something, and is to be registered again. */
#define CMD_AGAIN 1
#define CMD_ANEW 3

struct cmd {
	struct cmd *next;
	enum cmd_kind kind;
	struct shape *shapes[SNAPSHOT_SHARED_MAX];
	int nshapes;
	struct sets **sets;        /* CMD_FILTER: of shapes with subqueries, as read in the snapshot, NULL of others; taken ones are NULL then. NULL: no shape has any */
	struct pg_snapshot *snap;  /* CMD_FILTER, CMD_SUBSET_END (NULL: there is none): borrowed from the waiting thread */
	uint64_t joined;           /* CMD_SUBSET_BEGIN: transactions so far; CMD_SUBSET_END: given back */
	bool mark_pending;         /* CMD_SUBSET_END: the mark covers the snapshot once the writer has done its queue */
	struct key_counts *counts; /* CMD_COUNTS: it is emptied */
	uint64_t xmin;             /* CMD_PRUNE; CMD_LOOKED: the oldest that ran before the look */
	uint64_t number;           /* CMD_GROUND, CMD_LOOKED: the job's */
	lsn_t lsn;                 /* CMD_LOOKED: where the WAL ended before the look */
	uint32_t oid;              /* CMD_RESOLVED: the leaf */
	uint32_t xid;              /* CMD_RESOLVED: the transaction INGEST asked in; 0: nobody asked */
	uint32_t ancestors[16];
	int nancestors;
	bool had_rows[16];         /* CMD_RESOLVED: it came to this ancestor with rows: its older shapes rotate */
	bool waited, done;         /* under cmd_lock; not waited: freed by INGEST */
	int result;                /* CMD_FILTER, CMD_SUBSET_END: 0, CMD_AGAIN, CMD_ANEW; -1 no stream */
};

void cmd_post(struct shapes *s, struct cmd *c);             /* not waited for; INGEST frees it */
int cmd_call(struct shapes *s, struct cmd *c);              /* waits; -1 when stopping */
/* Comes back when all that was posted has run: the drops of shapes that were rotated are in the writer's queue then. */
void cmd_settle(struct shapes *s);
/* INGEST takes the next command, and says that it is done: frees it, or wakes who waits. */
struct cmd *cmd_take(struct shapes *s);
void cmd_done(struct shapes *s, struct cmd *c);

#endif
