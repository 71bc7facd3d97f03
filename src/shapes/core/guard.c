/* guard.c - what the WAL guard has found; see guard.h. */
#include "shapes/core/guard.h"

#include <stdio.h>

#include "base/clock.h"
#include "shapes/core/engine.h"

void guard_read(struct shapes *s, struct guard_state *out)
{
	pthread_mutex_lock(&s->guard.lock);
	*out = s->guard.state;
	pthread_mutex_unlock(&s->guard.lock);
}

void guard_publish(struct shapes *s, const struct guard_state *state)
{
	pthread_mutex_lock(&s->guard.lock);
	s->guard.state = *state;
	atomic_store(&s->guard.step, (int)state->step);
	pthread_mutex_unlock(&s->guard.lock);
}

void guard_give_up(struct shapes *s, lsn_t confirmed, int64_t bytes) { stream_give_up_slot(s->stream, confirmed, bytes); }

void guard_held(struct shapes *s, enum guard_hold why)
{
	atomic_store_explicit(&s->guard.held_ms[why], clock_mono_ms(), memory_order_relaxed);
}

const char *guard_step_name(enum guard_step step)
{
	static const char *const names[] = {NULL, "warn", "refuse", "drop", "given_up"};
	return names[step];
}

bool shapes_wal_refuses(struct shapes *s, char *text, size_t max)
{
	/* While the slot is given up nobody gets a shape anyway, and with a new one there is nothing to refuse for. */
	int step = atomic_load_explicit(&s->guard.step, memory_order_relaxed);
	if (step != GUARD_REFUSE && step != GUARD_DROP)
		return false;
	struct guard_state now;
	guard_read(s, &now);
	snprintf(text, max, "New shapes are refused for now: %s", now.text);
	return true;
}
