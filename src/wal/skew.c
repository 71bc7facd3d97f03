/*
 * skew.c - see skew.h.
 *
 * An answer was given somewhere between question and answer. The tightest of a minute counts; where data was in the way the
 * answer came late, and says little. A keepalive that crossed the question is taken for its answer, which is wrong by less
 * than the way there takes.
 */
#include "wal/skew.h"

#include <stdbool.h>

#include "base/clock.h"
#include "base/metrics.h"

#define STAYS_MS 60000 /* what was read so long ago gives way to anything */

void skew_asked(struct skew *k) { k->asked_us = clock_wall_us(); }

void skew_answered(struct skew *k, int64_t server_us)
{
	int64_t now_us = clock_wall_us(), now_ms = clock_mono_ms(), error_us = (now_us - k->asked_us + 1) / 2;
	bool asked = k->asked_us != 0 && error_us >= 0;
	bool better = k->at_ms == 0 || error_us <= k->error_us || now_ms - k->at_ms > STAYS_MS;
	if (asked && better) {
		k->error_us = error_us;
		k->at_ms = now_ms;
		metric_set(METRIC_CLOCK_SKEW, clock_of_postgres_us(server_us) - (k->asked_us + error_us));
		metric_set(METRIC_CLOCK_SKEW_ERROR, error_us);
	}
	k->asked_us = 0;
}
