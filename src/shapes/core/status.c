/*
 * status.c - what is known of the stream, the server and the store: whether answers are current, and the waits that belong
 * to no single shape.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/events.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"

/* A process that has just started, or been woken, serves nothing before it knows who holds the lock, or that Postgres is unreachable.
 * After this time (a network that drops packets, say) it serves what it has. */
#define UNPROVEN_MAX_MS 5000

#define WAL_END_FRESH_MS 200 /* an answer this young is asked for only once */

void status_fatal(struct shapes *s, const struct err *e)
{
	pthread_mutex_lock(&s->status_lock);
	bool first = !s->fatal;
	s->fatal = true;
	if (first)
		s->fatal_err = *e;
	void (*notify)(void *) = s->on_fatal;
	void *ctx = s->on_fatal_ctx;
	pthread_mutex_unlock(&s->status_lock);
	if (first && notify != NULL)
		notify(ctx);
}

bool shapes_fatal(struct shapes *s, struct err *e)
{
	pthread_mutex_lock(&s->status_lock);
	bool fatal = s->fatal;
	if (fatal)
		*e = s->fatal_err;
	pthread_mutex_unlock(&s->status_lock);
	return fatal;
}

void shapes_on_fatal(struct shapes *s, void (*notify)(void *), void *ctx)
{
	pthread_mutex_lock(&s->status_lock);
	s->on_fatal = notify;
	s->on_fatal_ctx = ctx;
	bool now = s->fatal;
	pthread_mutex_unlock(&s->status_lock);
	if (now && notify != NULL)
		notify(ctx);
}

void shapes_on_foreign(struct shapes *s, void (*notify)(void *), void *ctx)
{
	pthread_mutex_lock(&s->status_lock);
	s->on_foreign = notify;
	s->on_foreign_ctx = ctx;
	if (notify != NULL && s->currency == SHAPES_FOREIGN) /* some may have begun to wait before */
		notify(ctx);
	pthread_mutex_unlock(&s->status_lock);
}

/* Only what lasts: an attempt to connect is none. */
static void note_phase(enum stream_phase was, enum stream_phase phase, const char *error)
{
	if (phase == STREAM_RUNNING && was != phase)
		event_put(EVENT_STREAM, REASON_NONE, NULL, NULL, "runs");
	else if (phase == STREAM_BACKING_OFF || phase == STREAM_FATAL)
		event_put(EVENT_STREAM, phase == STREAM_FATAL ? REASON_POSTGRES_REFUSES : REASON_POSTGRES_AWAY, NULL, NULL, "lost: %s",
		          error != NULL ? error : "");
}

void status_phase(struct shapes *s, enum stream_phase phase, const char *error)
{
	pthread_mutex_lock(&s->status_lock);
	enum stream_phase was = s->phase;
	s->phase = phase;
	s->backing_off = phase == STREAM_BACKING_OFF;
	if (phase == STREAM_RUNNING)
		s->stream_was_active = true;
	/* It has let the lock go, and others may have had it. */
	if (was == STREAM_RESTING && phase != STREAM_RESTING && s->currency == SHAPES_CURRENT) {
		s->currency = SHAPES_UNPROVEN;
		s->unproven_ms = clock_mono_ms();
	}
	if (phase != STREAM_CONNECTING)
		s->away = phase == STREAM_BACKING_OFF;
	/*
	 * Somebody else's lock makes us foreign until the stream runs, not until we have the lock: they may have moved the
	 * slot, and start() then rotates what we have. While Postgres is merely away we are what we were.
	 */
	if (phase == STREAM_RUNNING)
		s->currency = SHAPES_CURRENT;
	else if ((phase == STREAM_BACKING_OFF || phase == STREAM_FATAL) && s->currency == SHAPES_UNPROVEN)
		s->currency = SHAPES_CURRENT;
	if (phase == STREAM_BACKING_OFF || phase == STREAM_RUNNING)
		s->wait = STREAM_WAIT_NONE;
	snprintf(s->phase_error, sizeof s->phase_error, "%s", error != NULL ? error : "");
	wait_list_wake_all(&s->status_waiters);
	pthread_mutex_unlock(&s->status_lock);
	note_phase(was, phase, error);
}

void status_wait(struct shapes *s, enum stream_wait wait)
{
	pthread_mutex_lock(&s->status_lock);
	bool foreign = wait == STREAM_WAIT_FOREIGN_LOCK && s->currency != SHAPES_FOREIGN;
	enum shapes_currency was = shapes_currency(s);
	if (wait == STREAM_WAIT_FOREIGN_LOCK)
		s->currency = SHAPES_FOREIGN;
	else if (s->currency == SHAPES_UNPROVEN)
		s->currency = SHAPES_CURRENT; /* we have the lock, or had it till now */
	if (s->wait != wait || shapes_currency(s) != was)
		wait_list_wake_all(&s->status_waiters);
	s->wait = wait;
	/* Under the lock, so that nobody is told who has said that he isn't there any more. */
	if (foreign && s->on_foreign != NULL)
		s->on_foreign(s->on_foreign_ctx);
	pthread_mutex_unlock(&s->status_lock);
	if (foreign)
		event_put(EVENT_STREAM, REASON_LOCK_HELD, NULL, NULL, "another session holds the lock");
}

enum stream_phase status_phase_now(struct shapes *s)
{
	pthread_mutex_lock(&s->status_lock);
	enum stream_phase phase = s->phase;
	pthread_mutex_unlock(&s->status_lock);
	return phase;
}

void status_poll(struct shapes *s)
{
	if (atomic_load_explicit(&s->currency, memory_order_relaxed) != SHAPES_UNPROVEN ||
	    clock_mono_ms() < s->unproven_ms + UNPROVEN_MAX_MS)
		return;
	pthread_mutex_lock(&s->status_lock);
	if (s->currency == SHAPES_UNPROVEN)
		s->currency = SHAPES_CURRENT;
	wait_list_wake_all(&s->status_waiters);
	pthread_mutex_unlock(&s->status_lock);
}

enum shapes_currency shapes_currency(struct shapes *s) { return (enum shapes_currency)atomic_load(&s->currency); }

enum shapes_currency shapes_currency_wait(struct shapes *s, struct waiter *w)
{
	enum shapes_currency c = shapes_currency(s);
	/* Whatever it asks for, it would rather have it as it is now. */
	if (atomic_load_explicit(&s->backing_off, memory_order_relaxed))
		stream_hurry(s->stream);
	if (c != SHAPES_UNPROVEN)
		return c;
	pthread_mutex_lock(&s->status_lock);
	c = shapes_currency(s);
	if (c == SHAPES_UNPROVEN)
		wait_list_add(&s->status_waiters, w);
	pthread_mutex_unlock(&s->status_lock);
	return c;
}

/* What the WAL guard adds to it. */
static void ready_wal(struct shapes *s, struct shapes_ready *out)
{
	struct guard_state wal;
	guard_read(s, &wal);
	if (wal.text[0] == '\0')
		return;
	/* With no shape there is nothing that would be answered. */
	if ((wal.step == GUARD_REFUSE || wal.step == GUARD_DROP) && out->ready && atomic_load(&s->nshapes) == 0)
		*out = (struct shapes_ready){.status = "refusing", .why = REASON_LIMIT_WAL, .reason = "no shape is known, and no new ones are made"};
	out->wal = wal.step > GUARD_NONE ? guard_step_name(wal.step) : "held_by_others";
	memcpy(out->wal_text, wal.text, sizeof out->wal_text);
}

/* What keeps the stream from running. Under status_lock. */
static enum reason why_waiting(const struct shapes *s)
{
	if (s->fatal || s->phase == STREAM_FATAL)
		return REASON_POSTGRES_REFUSES;
	if (s->wait == STREAM_WAIT_SLOT)
		return REASON_SLOT_WAITS;
	if (s->currency == SHAPES_FOREIGN)
		return REASON_LOCK_HELD;
	return s->away ? REASON_POSTGRES_AWAY : REASON_STARTING;
}

enum reason shapes_status_why(struct shapes *s)
{
	pthread_mutex_lock(&s->status_lock);
	enum reason why = why_waiting(s);
	pthread_mutex_unlock(&s->status_lock);
	return why;
}

/* The first that keeps a request from its answer. */
void shapes_ready(struct shapes *s, struct shapes_ready *out)
{
	enum shapes_currency c = shapes_currency(s);
	pthread_mutex_lock(&s->status_lock);
	enum stream_phase phase = s->phase;
	enum stream_wait wait = s->wait;
	bool fatal = s->fatal;
	enum reason waiting = why_waiting(s);
	pthread_mutex_unlock(&s->status_lock);
	char why[STORE_FAILING_TEXT_MAX];
	*out = (struct shapes_ready){.status = "starting", .why = waiting};
	if (fatal || phase == STREAM_FATAL)
		out->reason = "the configuration must be changed: the log says what";
	else if (shapes_store_failing(s, NULL, why, sizeof why)) {
		snprintf(out->text, sizeof out->text, "the store can't be written: %s", why);
		out->status = "store_failing";
		out->why = REASON_STORE_FAILING;
		out->reason = out->text;
	} else if (idle_state(&s->idle) != IDLE_AWAKE)
		*out = (struct shapes_ready){.ready = true, .asleep = true, .status = "ready"};
	else if (wait == STREAM_WAIT_SLOT)
		out->reason = "Postgres makes the replication slot once all transactions that are open have ended";
	else if (c == SHAPES_FOREIGN)
		*out = (struct shapes_ready){.status = "waiting", .why = waiting, .reason = "another instance holds the lock of the replication slot"};
	else if (c == SHAPES_UNPROVEN)
		out->reason = "whether another instance holds the lock of the replication slot isn't known yet";
	else if (phase == STREAM_RUNNING)
		*out = (struct shapes_ready){.ready = true, .status = "ready"};
	else if (atomic_load(&s->nshapes) > 0)
		*out = (struct shapes_ready){.ready = true, .away = true, .status = "ready",
		                             .reason = "no replication connection: known shapes are served, new ones are not made"};
	else
		out->reason = "no replication connection, and no shape is known";
	ready_wal(s, out);
}

static enum shapes_status status_of(const struct shapes *s)
{
	if (s->phase == STREAM_RUNNING)
		return SHAPES_ACTIVE;
	if (s->currency == SHAPES_FOREIGN)
		return SHAPES_WAITING;
	bool no_lock = s->phase == STREAM_CONNECTING || s->phase == STREAM_WAITING_LOCK || s->phase == STREAM_BACKING_OFF;
	return no_lock && !s->stream_was_active ? SHAPES_WAITING : SHAPES_STARTING;
}

enum shapes_status shapes_status(struct shapes *s)
{
	pthread_mutex_lock(&s->status_lock);
	enum shapes_status st = status_of(s);
	pthread_mutex_unlock(&s->status_lock);
	return st;
}

enum shapes_status shapes_status_wait(struct shapes *s, struct waiter *w)
{
	idle_wake(s, "a request waits for Postgres");
	pthread_mutex_lock(&s->status_lock);
	enum shapes_status st = status_of(s);
	if (st != SHAPES_ACTIVE)
		wait_list_add(&s->status_waiters, w);
	pthread_mutex_unlock(&s->status_lock);
	return st;
}

void shapes_status_text(struct shapes *s, char *text, size_t max)
{
	static const char hint[] = "Check that you don't have pending transactions in the database. Electric has to wait for all pending "
	                           "transactions to commit or rollback before it can create the replication slot.";
	pthread_mutex_lock(&s->status_lock);
	bool client = s->phase == STREAM_SETTING_UP;
	const char *what = client ? "Timeout waiting for replication client to be ready" : "Timeout waiting for Postgres lock acquisition";
	if (s->phase_error[0] != '\0')
		snprintf(text, max, "%s: %s", what, s->phase_error);
	else if (client)
		snprintf(text, max, "%s. %s", what, hint);
	else
		snprintf(text, max, "%s", what);
	pthread_mutex_unlock(&s->status_lock);
}

int shapes_server_version(struct shapes *s)
{
	pthread_mutex_lock(&s->server_lock);
	int v = s->server.version_num;
	pthread_mutex_unlock(&s->server_lock);
	return v;
}

bool shapes_publishes_generated(struct shapes *s)
{
	pthread_mutex_lock(&s->server_lock);
	bool yes = s->server.publishes_generated;
	pthread_mutex_unlock(&s->server_lock);
	return yes;
}

bool shapes_store_failing(struct shapes *s, int64_t *since_ms, char *text, size_t max)
{
	if (!atomic_load(&s->store_failing))
		return false;
	pthread_mutex_lock(&s->failing_lock);
	if (since_ms != NULL)
		*since_ms = s->failing_since_ms;
	if (text != NULL)
		snprintf(text, max, "%s", s->failing_text);
	pthread_mutex_unlock(&s->failing_lock);
	return true;
}

/* ---- positions ---- */

bool shapes_wait_lsn(struct shapes *s, lsn_t lsn, struct waiter *w)
{
	pthread_mutex_lock(&s->lsn_lock);
	bool wait = atomic_load(&s->seen) < lsn;
	if (wait) {
		w->lsn = lsn;
		wait_list_add(&s->lsn_waiters, w);
	}
	pthread_mutex_unlock(&s->lsn_lock);
	return wait;
}

lsn_t shapes_wal_end(struct shapes *s, int64_t since_mono_ms)
{
	lsn_t lsn = 0;
	bool ask = false;
	pthread_mutex_lock(&s->server_lock);
	if (s->wal_end != 0 && s->wal_end_ms >= since_mono_ms)
		lsn = s->wal_end;
	else if (!s->wal_end_queued && clock_mono_ms() - s->wal_end_asked_ms > WAL_END_FRESH_MS) {
		ask = s->wal_end_queued = true;
		s->wal_end_asked_ms = clock_mono_ms();
	}
	pthread_mutex_unlock(&s->server_lock);
	if (ask) {
		struct job *j = mem_zalloc(sizeof *j);
		j->kind = JOB_WAL_END;
		job_post(s, j);
	}
	return lsn;
}
