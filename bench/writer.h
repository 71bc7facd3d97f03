/*
 * writer.h - who writes into Postgres while others are measured.
 *
 * A `pace` is one session in a thread that commits single rows on a schedule, and knows for each when it should have
 * been written and when Postgres acknowledged it. `lag` turns that and arrivals into two histograms: a stall of the writer
 * counts against the schedule, so it can't hide. A `crew` is sessions in threads that run one statement each.
 */
#ifndef BUSBAR_BENCH_WRITER_H
#define BUSBAR_BENCH_WRITER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "bench/db.h"
#include "bench/hist.h"

#define LAG_RING 65536 /* rows whose times are known; an arrival later than that isn't measured */

struct lag {
	_Atomic int64_t intended[LAG_RING], acked[LAG_RING];
	_Atomic int64_t acked_id; /* up to here all are acknowledged */
	struct hist sched; /* from the schedule to the arrival */
	struct hist ack;   /* from the acknowledgement to the arrival; earlier than it counts as 0 */
	struct hist commit; /* from the schedule to the acknowledgement: the writer's own part */
	uint64_t early; /* arrivals before the acknowledgement */
	/* arrivals that wait for their acknowledgement */
	struct lag_arrival {
		int64_t id, at;
	} *pending;
	size_t pending_len, pending_cap;
};

struct lag *lag_new(void);
void lag_free(struct lag *l);
void lag_arrived(struct lag *l, int64_t id, int64_t at); /* the reader's thread */
void lag_settle(struct lag *l); /* after the writer's end, and now and then before */

struct pace {
	pthread_t thread;
	bool started;
	struct db db;
	struct lag *lag; /* may be NULL */
	int64_t first_id, count; /* count 0: until stopped */
	double rate;
	int64_t keep; /* if not 0, each commit also deletes the row that many ids back: the table stays small */
	atomic_bool stop, done;
	_Atomic int64_t written; /* the last id that is acknowledged */
	int64_t start_ns;
	struct err err;
	bool failed;
};

/* Prepares the statement and starts the schedule at start_ns. */
int pace_start(struct pace *p, const char *url, const char *table, int payload, struct err *e) MUST_USE;
int pace_join(struct pace *p, struct err *e); /* waits for the end; -1 if a write failed */

#define CREW_MAX 32
struct crew {
	int size;
	struct crew_member {
		pthread_t thread;
		struct db db;
		char sql[4096];
		struct err err;
		bool failed;
	} member[CREW_MAX];
	char last_sql[2048]; /* run by the last one to finish, if not empty */
	_Atomic int64_t done_ns; /* when that was, before last_sql */
	atomic_int running;
	atomic_bool finished;
};

/* A session each; `setup` may be NULL. */
int crew_open(struct crew *c, int size, const char *url, const char *setup, struct err *e) MUST_USE;
void crew_go(struct crew *c); /* each runs its member[i].sql */
int crew_join(struct crew *c, struct err *e) MUST_USE;
void crew_close(struct crew *c);

#endif
