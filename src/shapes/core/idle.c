/* idle.c - see idle.h. */
#include "shapes/core/idle.h"

#include "base/clock.h"
#include "base/events.h"
#include "base/log.h"
#include "shapes/core/engine.h"
#include "shapes/core/wait.h"

void idle_touch(struct shapes *s) { atomic_store(&s->idle.active_ms, clock_mono_ms()); }

void idle_started(struct shapes *s, lsn_t wal_end)
{
	pthread_mutex_lock(&s->status_lock);
	s->idle.goal = wal_end;
	pthread_mutex_unlock(&s->status_lock);
	idle_touch(s);
}

/* A request stores when it came (shapes_wake()), and then looks whether we sleep; here it is the other way round. So one of the two
 * sees the other. What is queued without a request is looked for again by the caller. */
void idle_sleep(struct shapes *s, int64_t active_ms)
{
	struct idle *i = &s->idle;
	pthread_mutex_lock(&s->status_lock);
	atomic_store(&i->state, IDLE_ASLEEP);
	bool sleeps = atomic_load(&i->active_ms) == active_ms;
	if (sleeps) {
		i->since_ms = clock_mono_ms();
		i->goal = 0;
		stream_rest(s->stream);
	} else {
		atomic_store(&i->state, IDLE_AWAKE);
	}
	pthread_mutex_unlock(&s->status_lock);
	if (!sleeps)
		return;
	long long seconds = (long long)(s->config->idle_timeout_ms / 1000);
	log_notice("Closing all database connections after the replication stream has been idle for %lld seconds", seconds);
	event_put(EVENT_STREAM, REASON_NONE, NULL, NULL, "asleep: idle for %lld seconds", seconds);
}

void idle_wake(struct shapes *s, const char *why)
{
	struct idle *i = &s->idle;
	if (atomic_load(&i->state) != IDLE_ASLEEP)
		return;
	pthread_mutex_lock(&s->status_lock);
	bool wakes = idle_state(i) == IDLE_ASLEEP;
	int64_t now_ms = clock_mono_ms(), slept_ms = now_ms - i->since_ms;
	if (wakes) {
		i->since_ms = now_ms;
		atomic_store(&i->state, IDLE_WAKING);
		stream_rouse(s->stream);
	}
	pthread_mutex_unlock(&s->status_lock);
	if (!wakes)
		return;
	log_notice("Opening the database connections again after %lld s: %s", (long long)(slept_ms / 1000), why);
	event_put(EVENT_STREAM, REASON_NONE, NULL, NULL, "woken: %s", why);
}

/* Under status_lock. */
static bool is_awake(const struct shapes *s, int64_t now_ms, lsn_t reached)
{
	const struct idle *i = &s->idle;
	bool hopeless = s->phase == STREAM_BACKING_OFF || s->phase == STREAM_FATAL || s->currency == SHAPES_FOREIGN;
	/* Still running without having begun again: it was woken before it had closed its connection. */
	bool there = s->phase == STREAM_RUNNING && reached >= i->goal;
	return hopeless || there || now_ms - i->since_ms >= IDLE_WAKE_MAX_MS;
}

bool idle_recover(struct shapes *s, lsn_t reached)
{
	int64_t now_ms = clock_mono_ms();
	pthread_mutex_lock(&s->status_lock);
	bool awake = is_awake(s, now_ms, reached);
	if (awake) {
		atomic_store(&s->idle.active_ms, now_ms);
		atomic_store(&s->idle.state, IDLE_AWAKE);
		wait_list_wake_all(&s->status_waiters);
	}
	pthread_mutex_unlock(&s->status_lock);
	return awake;
}

int64_t idle_asleep_since(struct shapes *s)
{
	pthread_mutex_lock(&s->status_lock);
	int64_t since_ms = idle_asleep(&s->idle) ? s->idle.since_ms : 0;
	pthread_mutex_unlock(&s->status_lock);
	return since_ms;
}

bool shapes_wake(struct shapes *s, struct waiter *w)
{
	struct idle *i = &s->idle;
	if (s->config->idle_timeout_ms == 0)
		return false;
	idle_touch(s);
	if (atomic_load(&i->state) == IDLE_AWAKE)
		return false;
	idle_wake(s, "a request has come");
	pthread_mutex_lock(&s->status_lock);
	bool wait = idle_state(i) == IDLE_WAKING;
	if (wait)
		wait_list_add(&s->status_waiters, w);
	pthread_mutex_unlock(&s->status_lock);
	return wait;
}

bool shapes_asleep(struct shapes *s) { return idle_asleep(&s->idle); }
