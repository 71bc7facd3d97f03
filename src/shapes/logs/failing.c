/*
 * failing.c - a store that can't be written, or whose environment must be opened anew (docs/invariants.md 2.7): what is said of
 * it, and how long it is left alone.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/events.h"
#include "base/log.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/logs/batch.h"

/* A store that can't be written is told again this often. */
#define STORE_FAILING_TELL_MS 60000

/* The longest rest between attempts (STORE_RETRY_MS is the first). An attempt opens the environment
 * anew, for which all of its pages are looked at. */
#define STORE_RETRY_MAX_MS 8000

static const char *consequence(unsigned source)
{
	return source == FAILING_COMMITS ? "nothing is acknowledged to Postgres until the store works again"
	                                 : "what is in the journal stays there, and in memory, until the store works again";
}

static void failing_note(struct shapes *s, unsigned source, const struct err *e)
{
	int64_t now = clock_mono_ms();
	pthread_mutex_lock(&s->failing_lock);
	unsigned before = atomic_load(&s->store_failing);
	bool first = before == 0, another = (before & source) == 0;
	snprintf(s->failing_text, sizeof s->failing_text, "%s", e->text);
	if (first)
		s->failing_since_ms = now;
	bool tell = another || now - s->failing_told_ms >= STORE_FAILING_TELL_MS;
	if (tell)
		s->failing_told_ms = now;
	int64_t for_s = (now - s->failing_since_ms) / 1000;
	pthread_mutex_unlock(&s->failing_lock);
	atomic_fetch_or(&s->store_failing, source);
	if (another) {
		log_error("%s - %s", e->text, consequence(source));
		event_put(EVENT_STORE, REASON_STORE_FAILING, NULL, NULL, "%s", e->text);
	}
	if (!another && tell)
		log_error("%s - for %" PRId64 " s now; Postgres keeps its WAL since %s until the store works again", e->text, for_s,
		          lsn_text(atomic_load(&s->durable), (char[LSN_TEXT_MAX]){0}));
}

void failing_works_again(struct shapes *s, unsigned source)
{
	if (atomic_fetch_and(&s->store_failing, ~source) != source)
		return; /* nothing failed, or something still does */
	pthread_mutex_lock(&s->failing_lock);
	int64_t for_s = (clock_mono_ms() - s->failing_since_ms) / 1000;
	pthread_mutex_unlock(&s->failing_lock);
	log_notice("the store works again, after %" PRId64 " s", for_s);
	event_put(EVENT_STORE, REASON_NONE, NULL, NULL, "works again, after %" PRId64 " s", for_s);
}

/* What is damaged in the store costs its shape, and nobody else waits: the transaction goes on without it. */
int failing_unless_damaged(struct shape *shape, const struct err *e)
{
	if (e->kind != ERR_DAMAGED)
		return -1;
	if (!atomic_load(&shape->dropped))
		log_error("Shape %s is dropped: %s", shape->handle, e->text);
	shape_rotate(shape, REASON_STORE_DAMAGED, "its part of the store is damaged");
	return 0;
}

int64_t failing_next_rest(int64_t rest_ms)
{
	return rest_ms == 0 ? STORE_RETRY_MS : rest_ms < STORE_RETRY_MAX_MS / 2 ? rest_ms * 2 : STORE_RETRY_MAX_MS;
}

/* Until the next attempt on a failing store; for a process that ends, the shortest of them. */
void failing_rest(struct writer *w, int64_t rest_ms)
{
	int64_t began = clock_mono_ms(), left;
	pthread_mutex_lock(&w->lock);
	while ((left = began + (w->stop ? STORE_RETRY_MS : rest_ms) - clock_mono_ms()) > 0)
		clock_cond_wait(&w->cond, &w->lock, left);
	pthread_mutex_unlock(&w->lock);
}

/* Reopens until it works, or we are told to stop. */
bool failing_recover(struct shapes *s, unsigned source, struct err *e)
{
	failing_note(s, source, e);
	for (int64_t rest_ms = 0;;) {
		struct err again = {0};
		if (store_reopen(s->store, &again) == 0)
			return true;
		if (store_is_damaged(s->store))
			status_fatal(s, &again);
		failing_note(s, source, &again);
		if (atomic_load(&s->stopping)) {
			log_error("giving up on the store while stopping: %s", again.text);
			return false;
		}
		rest_ms = failing_next_rest(rest_ms);
		failing_rest(&s->writer, rest_ms);
	}
}
