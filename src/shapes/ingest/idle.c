/*
 * idle.c - when all connections to Postgres are closed because nothing happens (core/idle.h), and when that is over: decided here,
 * where it is known what has come and what is under way (docs/invariants.md 4.9).
 */
#include "shapes/core/idle.h"

#include "base/clock.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/ingest/ingest.h"

/* What of the WAL may be unread: a record is rarely there as a whole, and the rest comes with the next stream. */
#define UNREAD_BYTES_MAX ((lsn_t)1 << 20)
/* A snapshot's position may lie so far behind the end of the record before it. */
#define WAL_PAGE_HEADER_MAX 40

struct facts {
	int64_t now_ms, active_ms, timeout_ms;
	bool settled;  /* nothing is in hand, all is durable, nobody waits for the stream */
	bool busy;     /* a PG thread or a subset works, or has something to do; or commits in Postgres wait for our answers */
	lsn_t reached; /* how far the stream has come: a server that decodes much, for us or for nobody, says little meanwhile */
	lsn_t wal_end; /* the end of the WAL, as asked for since the time was over; 0: not known */
};

enum verdict {
	STAY,
	ASK, /* for the end of the WAL, and the server for how far it has come */
	SLEEP,
};

static bool is_due(const struct facts *f)
{
	return f->timeout_ms > 0 && f->now_ms - f->active_ms >= f->timeout_ms && f->settled;
}

static enum verdict judge(const struct facts *f)
{
	if (!is_due(f))
		return STAY;
	if (f->wal_end == 0 || f->reached + UNREAD_BYTES_MAX < f->wal_end)
		return ASK;
	return f->busy ? STAY : SLEEP;
}

/* Nothing is lost, and nobody the worse, if the connection ends here. */
static bool is_settled(struct shapes *s)
{
	const struct ingest *in = s->ingest;
	bool in_hand = in->in_txn || in->ending || in->staged || in->publishing || in->grounding || in->looking || in->resolving != 0 ||
	               in->njoining > 0 || in->commits.comparing;
	return in->streaming && !in->unresolved && !in_hand && in->processed <= atomic_load(&s->durable) &&
	       in->snapshots_lsn <= in->processed + WAL_PAGE_HEADER_MAX && atomic_load(&s->snapshots_ahead) == 0 &&
	       atomic_load(&s->ahead_bytes) == 0 && atomic_load(&s->store_failing) == 0 && !mark_awaited(s);
}

static bool has_work(struct shapes *s) { return jobs_busy(s) || atomic_load(&s->subsets_open) > 0; }

void idle_poll(struct shapes *s)
{
	const struct ingest *in = s->ingest;
	struct facts f = {.timeout_ms = s->config->idle_timeout_ms};
	if (f.timeout_ms == 0 || idle_asleep(&s->idle))
		return;
	/* What has come with a keepalive counts before it is durable. */
	f.reached = in->keepalive > in->processed ? in->keepalive : in->processed;
	if (idle_state(&s->idle) == IDLE_WAKING) {
		if (!idle_recover(s, f.reached) && in->streaming)
			stream_ask(s->stream);
		return;
	}
	f.active_ms = atomic_load(&s->idle.active_ms);
	f.now_ms = clock_mono_ms();
	f.settled = f.now_ms - f.active_ms >= f.timeout_ms && is_settled(s);
	if (is_due(&f)) {
		f.wal_end = shapes_wal_end(s, f.active_ms + f.timeout_ms);
		f.busy = has_work(s) || atomic_load(&s->guard.is_standby);
	}
	enum verdict verdict = judge(&f);
	if (verdict == ASK)
		stream_ask(s->stream);
	if (verdict != SLEEP)
		return;
	idle_sleep(s, f.active_ms);
	if (has_work(s)) /* since the look above: whoever queued it found us awake */
		idle_wake(s, "there was something to do as they were closed");
}
