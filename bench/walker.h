/*
 * walker.h - the floor of everything that follows the WAL: a bare replication client on a temporary slot of its own,
 * that walks pgoutput's messages (each field's length, the first column's number) and does nothing with them.
 * It runs in the thread that calls it.
 */
#ifndef BUSBAR_BENCH_WALKER_H
#define BUSBAR_BENCH_WALKER_H

#include "bench/db.h"

struct walker {
	struct db db;
	uint64_t received; /* end of the WAL seen, for feedback */
	int64_t feedback_ns;
	int64_t nap_ns; /* if not 0: when nothing has come, sleep that long instead of waiting for the next byte */
	int64_t rows, txns, bytes;
	char slot[64];
};

/* A row came: its first two columns as numbers. False ends walker_run(). */
typedef bool walker_row_fn(void *ctx, int64_t id, int64_t group, int64_t now);

/* Makes the slot: what is written from here on will be in the stream. */
int walker_open(struct walker *w, const char *url, struct err *e) MUST_USE;
int walker_stream(struct walker *w, struct err *e) MUST_USE; /* starts the stream of the publication */
/* 0 when `row` said so, -1 with an error; also past the deadline (ERR_TIMEOUT) and on a stop (ERR_CANCELLED). */
int walker_run(struct walker *w, walker_row_fn *row, void *ctx, int64_t deadline_ns, struct err *e) MUST_USE;
void walker_close(struct walker *w);

#endif
