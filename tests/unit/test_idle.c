/*
 * test_idle.c - ELECTRIC_REPLICATION_IDLE_TIMEOUT (shapes/core/idle.c, shapes/ingest/idle.c): the decision, and the way from awake to asleep and back
 * with a stream that nobody runs.
 */
#include "shapes/ingest/idle.c"

#include "base/clock.h"
#include "base/log.h"
#include "check.h"
#include "engine_test.h"
#include "shapes/core/jobs.h"

#define TIMEOUT_MS 30000
#define AT UINT64_C(1000000000000)

/* ---- the decision ---- */

static void test_judge(void)
{
	const struct facts idle = {.now_ms = 100000, .active_ms = 70000, .timeout_ms = TIMEOUT_MS, .settled = true, .reached = AT, .wal_end = AT};
	struct facts f = idle;
	CHECK_INT(judge(&f), SLEEP);
	f.active_ms++;
	CHECK_INT(judge(&f), STAY);
	f = idle;
	f.timeout_ms = 0; /* never */
	CHECK_INT(judge(&f), STAY);
	f = idle;
	f.settled = false;
	CHECK_INT(judge(&f), STAY);
	f = idle;
	f.busy = true;
	CHECK_INT(judge(&f), STAY);
	f = idle;
	f.wal_end = 0; /* not known yet */
	CHECK_INT(judge(&f), ASK);
	f.busy = true; /* it is being asked for */
	CHECK_INT(judge(&f), ASK);
	f = idle;
	f.wal_end = AT + UNREAD_BYTES_MAX; /* hardly worth a stream */
	CHECK_INT(judge(&f), SLEEP);
	f.wal_end++; /* a server that decodes much, and says nothing meanwhile */
	CHECK_INT(judge(&f), ASK);
	f = idle;
	f.reached = AT + 5;
	CHECK_INT(judge(&f), SLEEP);
}

/* ---- there and back ---- */

static int woken;

static void wake(struct waiter *w)
{
	(void)w;
	woken++;
}

static int no_start(void *ctx, const struct stream_server *server, lsn_t *start_at, struct err *e)
{
	(void)ctx, (void)server, (void)start_at, (void)e;
	return -1;
}

static struct config config;

/* Awake since longer than the timeout, with the end of the WAL known. */
static struct shapes *begin(void)
{
	struct stream_sink sink = {.start = no_start};
	config = (struct config){.idle_timeout_ms = TIMEOUT_MS, .slot_name = (char *)"slot", .publication_name = (char *)"pub"};
	struct shapes *s = mem_zalloc(sizeof *s);
	s->config = &config;
	engine_init_locks(s);
	s->stream = stream_new(&config, &sink);
	s->currency = SHAPES_CURRENT;
	ingest_new(s);
	s->ingest->streaming = true;
	s->ingest->processed = AT;
	s->durable = AT;
	status_phase(s, STREAM_RUNNING, NULL);
	atomic_store(&s->idle.active_ms, clock_mono_ms() - TIMEOUT_MS - 1);
	s->wal_end = AT;
	s->wal_end_ms = clock_mono_ms();
	woken = 0;
	return s;
}

static void end(struct shapes *s)
{
	for (struct job *j; (j = s->admin_jobs) != NULL; free(j))
		s->admin_jobs = j->next;
	ingest_free(s);
	stream_free(s->stream);
	engine_free_locks(s);
	free(s);
}

static void fall_asleep(struct shapes *s)
{
	idle_poll(s);
	CHECK(idle_asleep(&s->idle) && shapes_asleep(s));
	status_phase(s, STREAM_RESTING, NULL);
}

static void test_sleeps(void)
{
	struct shapes *s = begin();
	struct shapes_ready ready;
	s->ingest->in_txn = true;
	idle_poll(s);
	CHECK(!idle_asleep(&s->idle));
	s->ingest->in_txn = false;
	s->durable = AT - 1;
	idle_poll(s);
	CHECK(!idle_asleep(&s->idle));
	s->durable = AT;
	s->wal_end_ms = 0; /* nobody has said yet where the WAL ends: that is asked for */
	idle_poll(s);
	CHECK(!idle_asleep(&s->idle) && s->admin_jobs != NULL && s->admin_jobs->kind == JOB_WAL_END);
	s->wal_end_ms = clock_mono_ms();
	idle_poll(s); /* that job is there */
	CHECK(!idle_asleep(&s->idle));
	free(s->admin_jobs);
	s->admin_jobs = NULL;
	s->admin_tail = &s->admin_jobs;
	s->pg_working = 1;
	idle_poll(s);
	CHECK(!idle_asleep(&s->idle));
	s->pg_working = 0;
	s->subsets_open = 1;
	idle_poll(s);
	CHECK(!idle_asleep(&s->idle));
	s->subsets_open = 0;
	s->guard.is_standby = true; /* commits in Postgres would wait for us */
	idle_poll(s);
	CHECK(!idle_asleep(&s->idle));
	s->guard.is_standby = false;
	fall_asleep(s);
	CHECK(idle_asleep_since(s) > 0);
	CHECK_INT(shapes_currency(s), SHAPES_CURRENT); /* those who wait get the answer of their timeout */
	shapes_ready(s, &ready);
	CHECK(ready.ready && ready.asleep && !ready.away);
	idle_poll(s); /* it stays so */
	CHECK(idle_asleep(&s->idle));
	end(s);
}

/* A request, until the stream is where Postgres was; who comes meanwhile waits with it. */
static void test_request_wakes(void)
{
	struct shapes *s = begin();
	struct waiter w = {.wake = wake}, other = {.wake = wake};
	CHECK(!shapes_wake(s, &w)); /* awake: but it counts */
	idle_poll(s);
	CHECK(!idle_asleep(&s->idle));
	atomic_store(&s->idle.active_ms, clock_mono_ms() - TIMEOUT_MS - 1);
	fall_asleep(s);
	CHECK(shapes_wake(s, &w));
	CHECK(!shapes_asleep(s) && idle_asleep_since(s) == 0);
	status_phase(s, STREAM_CONNECTING, NULL);
	CHECK_INT(shapes_currency(s), SHAPES_UNPROVEN); /* another may have had the lock */
	waiter_cancel(&w);
	CHECK(shapes_wake(s, &w) && shapes_wake(s, &other));
	woken = 0;
	idle_poll(s);
	idle_started(s, AT + 1000);
	waiter_cancel(&w), waiter_cancel(&other);
	CHECK(shapes_wake(s, &w) && shapes_wake(s, &other));
	status_phase(s, STREAM_RUNNING, NULL);
	waiter_cancel(&w), waiter_cancel(&other);
	CHECK(shapes_wake(s, &w) && shapes_wake(s, &other));
	woken = 0;
	CHECK_INT(shapes_currency(s), SHAPES_CURRENT);
	s->ingest->keepalive = AT + 999;
	idle_poll(s);
	CHECK_INT(woken, 0);
	s->ingest->keepalive = AT + 1000;
	idle_poll(s);
	CHECK_INT(woken, 2);
	CHECK(!shapes_wake(s, &w));
	idle_poll(s); /* its time begins anew */
	CHECK(!idle_asleep(&s->idle));
	end(s);
}

/* What can't be had isn't waited for. */
static void test_wakes_to_nothing(void)
{
	for (int how = 0; how < 3; how++) {
		struct shapes *s = begin();
		struct waiter w = {.wake = wake};
		fall_asleep(s);
		s->ingest->streaming = false;
		CHECK(shapes_wake(s, &w));
		status_phase(s, STREAM_CONNECTING, NULL);
		waiter_cancel(&w);
		CHECK(shapes_wake(s, &w));
		if (how == 0) {
			status_phase(s, STREAM_BACKING_OFF, "no");
		} else if (how == 1) {
			status_phase(s, STREAM_WAITING_LOCK, NULL);
			status_wait(s, STREAM_WAIT_FOREIGN_LOCK);
		} else {
			s->idle.since_ms -= IDLE_WAKE_MAX_MS;
		}
		waiter_cancel(&w);
		CHECK(shapes_wake(s, &w));
		woken = 0;
		idle_poll(s);
		CHECK_INT(woken, 1);
		CHECK(!shapes_wake(s, &w));
		CHECK_INT(shapes_currency(s), how == 0 ? SHAPES_CURRENT : how == 1 ? SHAPES_FOREIGN : SHAPES_UNPROVEN);
		waiter_cancel(&w);
		end(s);
	}
}

/* Woken before the connection was closed: nothing begins again, and nothing is waited for. */
static void test_woken_at_once(void)
{
	struct shapes *s = begin();
	struct waiter w = {.wake = wake};
	idle_poll(s);
	CHECK(shapes_wake(s, &w));
	idle_poll(s);
	CHECK_INT(woken, 1);
	CHECK(!shapes_wake(s, &w));
	CHECK_INT(shapes_currency(s), SHAPES_CURRENT);
	end(s);
}

/* So does whatever needs a connection. */
static void test_job_wakes(void)
{
	struct shapes *s = begin();
	struct job *j = mem_zalloc(sizeof *j);
	fall_asleep(s);
	j->kind = JOB_WAL_END;
	job_post(s, j);
	CHECK_INT(idle_state(&s->idle), IDLE_WAKING);
	end(s);
}

static void test_off(void)
{
	struct shapes *s = begin();
	struct waiter w = {.wake = wake};
	config.idle_timeout_ms = 0;
	idle_poll(s);
	CHECK(!shapes_asleep(s) && !shapes_wake(s, &w));
	end(s);
}

int main(void)
{
	log_init(LOG_EMERGENCY);
	RUN(test_judge);
	RUN(test_sleeps);
	RUN(test_request_wakes);
	RUN(test_wakes_to_nothing);
	RUN(test_woken_at_once);
	RUN(test_job_wakes);
	RUN(test_off);
	return check_done("idle");
}
