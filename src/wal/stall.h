/*
 * stall.h - whether a replication connection that has been silent for long is given up, by what another session sees of the
 * server's process for it: private to src/wal. Nothing is asked or waited for here.
 *
 * One that waits for us hangs, or its network swallows all. One that seems to work may go on as long as it is seen to get on,
 * else until a limit, which doubles with each connection that got no further than the one before: whatever a huge transaction
 * takes, it is reached in the end.
 *
 * The stream's thread. Zeroed: none was given up yet. Times are of the monotonic clock.
 */
#ifndef BUSBAR_WAL_STALL_H
#define BUSBAR_WAL_STALL_H

#include <stdint.h>

#include "base/lsn.h"
#include "wal/setup.h"

#define STALL_FIRST_MS 60000
#define STALL_DOUBLINGS_MAX 6 /* 64 minutes */

struct stall {
	/* of the connection */
	char looked_like[300]; /* what the last look showed; "" none yet */
	int64_t moved_ms;      /* when that changed last */
	/* over connections */
	int given_up;          /* one after the other, that got no further than `at` */
	lsn_t at;
};

enum stall_step { STALL_GO_ON, STALL_GONE, STALL_HANGS, STALL_STANDS };

/* Another connection. */
void stall_begin(struct stall *t, int64_t now_ms);
/* `look` NULL: it failed, which tells nothing. `heard_ms`: when something came last; `received`: how far it has come. */
enum stall_step stall_decide(struct stall *t, const struct setup_look *look, int64_t now_ms, int64_t heard_ms, lsn_t received);
/* The connection is given up, for that or for anything else that its silence means. */
void stall_gave_up(struct stall *t, lsn_t received);

#endif
