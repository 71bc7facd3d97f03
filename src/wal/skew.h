/*
 * skew.h - Postgres's clock less ours, off the answers to questions about where it is (METRIC_CLOCK_SKEW): private to src/wal.
 *
 * The stream's thread. Zeroed: nothing is known of this server's clock.
 */
#ifndef BUSBAR_WAL_SKEW_H
#define BUSBAR_WAL_SKEW_H

#include <stdint.h>

struct skew {
	int64_t asked_us;         /* by the wall clock; 0: the answer has come, or wasn't waited for */
	int64_t error_us, at_ms;  /* of what the metric shows */
};

void skew_asked(struct skew *k);
/* `server_us`: when the server sent it, as it says, since 2000. */
void skew_answered(struct skew *k, int64_t server_us);

#endif
