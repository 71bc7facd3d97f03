/*
 * measure.c - how much the store takes, for core/usage.h: by the WRITER, for nothing changes without it. What is asked of the store
 * is a dozen numbers that LMDB keeps.
 */
#include "base/clock.h"
#include "shapes/core/engine.h"
#include "shapes/logs/batch.h"

#define MEASURE_MS 20 /* at most so often; a commit takes about half of it */

static bool measure(struct shapes *s, struct store_usage *u)
{
	struct err ignored; /* whoever writes next finds it, and says so */
	struct store_read *r = store_read_begin(s->store, &ignored);
	if (r == NULL)
		return false;
	int rc = store_usage(r, u, &ignored);
	store_read_end(r);
	return rc == 0;
}

/* Nothing is on its way out: no end of a shape is queued, and what those that ended had is deleted. */
static void see_all_freed(struct shapes *s)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	if (s->leaving.len == 0)
		usage_all_freed(s);
	pthread_rwlock_unlock(&s->registry_lock);
}

void measure_now_and_then(struct shapes *s)
{
	struct writer *w = &s->writer;
	struct store_usage u;
	int64_t now = clock_mono_ms();
	if (now - w->measured_ms < MEASURE_MS)
		return;
	w->measured_ms = now;
	if (!w->gc_pending && atomic_load(&s->usage.going) > 0)
		see_all_freed(s);
	if (!measure(s, &u))
		return;
	usage_measured(s, &u, w->unmeasured);
	w->unmeasured = 0;
}

int64_t measure_due_ms(const struct writer *w) { return w->unmeasured > 0 ? MEASURE_MS : INT64_MAX; }

uint64_t measure_used(struct shapes *s)
{
	struct store_usage u;
	return measure(s, &u) ? u.used : 0;
}
