/*
 * stream.c - the life of the replication connection: connect, set up, receive, and again.
 *
 * Messages inside COPY BOTH, integers big-endian, times in microseconds since 2000-01-01:
 *
 *   from the server   | 'w' | start_lsn 8 | wal_end 8 | time 8 | a pgoutput message |
 *                     | 'k' | wal_end 8 | time 8 | reply now 1 |
 *   from us           | 'r' | written 8 | flushed 8 | applied 8 | time 8 | reply now 1 |
 *
 * Two numbers must not be mixed up. `received` is how far this connection has come: starts of data
 * messages, ends of commits, keepalives' wal_end. What the sink calls durable is what may be flushed;
 * only that lets Postgres forget WAL. A data message's wal_end is where the server is, not we: unused.
 */
#include "wal/stream.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "wal/loop.h"
#include "wal/pgoutput.h"
#include "wal/setup.h"
#include "wal/skew.h"
#include "wal/stall.h"

#define FEEDBACK_MAX_MS 10000   /* at least this often, or wal_sender_timeout / 3 if that is less */
#define FEEDBACK_MIN_MS 10      /* at most this often for a new durable position: it costs the server, too */
#define SILENCE_MAX_MS 10000    /* then the server is asked where it is, see ask_due() */
#define SKEW_EVERY_MS 30000     /* ... and so often in any case: its clock is read off the answer (skew.h) */
#define ASK_MIN_MS 100          /* between questions that stream_ask() wants */
#define MESSAGES_PER_IDLE 1000  /* in a stream that never pauses */
#define MESSAGES_PER_CLOCK 16   /* looking at the clock for each message would cost as much as parsing it */
/*
 * The walsender sends each message by itself. A reader that waits in poll() is woken for each, and that costs the
 * server more than decoding does: half of its rate. So while messages come as fast as this, the reader naps and
 * takes what has gathered; what naps cost in delay is far below what the server is behind then.
 */
#define HURRY_MESSAGES 64
#define HURRY_US 3200 /* for so many: 20,000 a second */
#define NAP_US 500
#define READ_WORTH_BYTES (1 << 20) /* waiting: read on without a nap */
#define SPIN_US 100 /* inside a transaction, see rest_is_here() */
#define BACKOFF_FIRST_MS 500    /* most breaks are over at once: a terminated backend, a restart of a proxy */
#define BACKOFF_SECOND_MS 1000
#define BACKOFF_MAX_MS 10000
#define BACKOFF_ASKED_MS 1000   /* where somebody waits for it, see stream_hurry() */
/*
 * A walsender that lives answers a question at once, unless it reads a huge transaction that has nothing for us: older
 * minor versions hear nothing then. So after this much silence another session looks at what it does (and again each
 * time the second has passed); what follows from that: stall.h.
 */
#define SILENT_MAX_MS 25000
#define LOOK_EVERY_MS 10000
#define AWAY_MS 5000 /* between two turns that should be LOOP_IDLE_MS apart: the process was stopped, or the machine */
#define STABLE_MS 5000          /* a stream that ran this long starts its next back-off from the beginning */
#define LAST_WORDS_MS 2000      /* for the error that ended the stream to come in */

#define DATA_HEADER_BYTES 25
#define KEEPALIVE_BYTES 18
#define FEEDBACK_BYTES 34

struct stream {
	const struct config *config;
	struct stream_sink sink;
	struct loop loop;
	struct pgoutput *decoder;
	struct setup setup;
	struct stream_server server;
	PGconn *conn;

	/* of the connection */
	bool started;        /* sink->start() was called: sink->lost() is due */
	bool ran;            /* of the process: the stream has run once */
	bool advised;        /* likewise: that the doctor was named */
	bool sink_refused;   /* the error is the sink's own: always tried again */
	bool in_transaction; /* between Begin and Commit */
	bool send_blocked;   /* feedback is still in libpq's buffer */
	bool tls, looked;    /* see look_again() */
	bool skipping;       /* see on_notice() */
	bool ask_now;        /* stream_ask() */
	bool gave_up;        /* it ended because the slot is to be given up */
	bool rests;          /* ... because of stream_rest() */
	lsn_t received, acked;
	unsigned messages;
	bool hurried; /* see HURRY_MESSAGES */
	unsigned window_at, napped_at; /* of `messages` */
	int64_t window_us;
	int64_t heard_ms;    /* something came, or we didn't listen */
	int64_t look_ms;     /* the next look at a silent server */
	int64_t turn_ms;     /* when we listened last */
	int64_t running_since_ms, received_ms, sent_ms, asked_ms, feedback_ms;
	struct skew skew;

	/* over connections */
	_Atomic bool hurry;       /* stream_hurry() */
	_Atomic bool rest;        /* stream_rest(), until stream_rouse() */
	_Atomic bool give_up;     /* stream_give_up_slot(); the two are written before it */
	_Atomic lsn_t give_up_confirmed;
	_Atomic int64_t give_up_bytes;
	int64_t backoff_ms;       /* the next wait; 0: none yet */
	struct stall stall;
	int64_t failing_since_ms; /* 0: not failing */
	char last_error[900];
	bool tells;            /* the failed attempt at hand is said in the log */
	uint64_t told_key;     /* of the error that was said last, */
	int64_t told_ms;       /* when, */
	unsigned untold;       /* and how many attempts weren't since */
};

/* ---- life ---- */

static void call_idle(void *ctx)
{
	struct stream *s = ctx;
	s->sink.idle(s->sink.ctx);
}

static void call_waits(void *ctx, enum stream_wait wait)
{
	struct stream *s = ctx;
	s->sink.waits(s->sink.ctx, wait);
}

struct stream *stream_new(const struct config *config, const struct stream_sink *sink)
{
	struct stream *s = mem_zalloc(sizeof *s);
	s->config = config;
	s->sink = *sink;
	loop_init(&s->loop, call_idle, s);
	s->decoder = pgoutput_new();
	s->setup.loop = &s->loop;
	s->setup.config = config;
	s->setup.server = &s->server;
	s->setup.waits = sink->waits != NULL ? call_waits : NULL;
	s->setup.waits_ctx = s;
	setup_init(&s->setup);
	return s;
}

void stream_free(struct stream *s)
{
	if (s == NULL)
		return;
	REQUIRE(s->conn == NULL);
	pgoutput_free(s->decoder);
	loop_clear(&s->loop);
	free(s);
}

void stream_wake(struct stream *s) { loop_wake(&s->loop); }
void stream_stop(struct stream *s) { loop_stop(&s->loop); }
void stream_hurry(struct stream *s)
{
	if (!atomic_exchange(&s->hurry, true))
		loop_wake(&s->loop);
}
void stream_ask(struct stream *s) { s->ask_now = true; }
void stream_rest(struct stream *s) { atomic_store(&s->rest, true); }
void stream_rouse(struct stream *s)
{
	atomic_store(&s->rest, false);
	loop_wake(&s->loop);
}

void stream_give_up_slot(struct stream *s, lsn_t confirmed, int64_t bytes)
{
	atomic_store(&s->give_up_confirmed, confirmed);
	atomic_store(&s->give_up_bytes, bytes);
	atomic_store(&s->give_up, true);
	loop_wake(&s->loop);
}

/* The next setup_slot() sees to it, in whichever connection that is. */
static void take_give_up(struct stream *s)
{
	if (atomic_exchange(&s->give_up, false))
		s->setup.give_up = (struct setup_give_up){true, atomic_load(&s->give_up_confirmed), atomic_load(&s->give_up_bytes)};
}

static void set_phase(struct stream *s, enum stream_phase phase, const char *error)
{
	s->sink.phase(s->sink.ctx, phase, error);
}

/* ---- feedback ---- */

static char *put_u64(char *p, uint64_t v)
{
	for (int shift = 56; shift >= 0; shift -= 8)
		*p++ = (char)(v >> shift);
	return p;
}

/* The position to acknowledge. Never beyond what this connection has brought: were the server's WAL
 * shorter than our memory of it (restored from a backup), it would skip what it has yet to send. */
static lsn_t acknowledgeable(struct stream *s)
{
	lsn_t durable = s->sink.durable(s->sink.ctx);
	if (durable > s->received)
		durable = s->received;
	return durable > s->acked ? durable : s->acked;
}

static int flush_feedback(struct stream *s, struct err *e)
{
	int r = PQflush(s->conn);
	s->send_blocked = r > 0;
	return r < 0 ? pg_error(e, s->conn, NULL) : 0;
}

static int send_feedback(struct stream *s, bool ask, struct err *e)
{
	s->sent_ms = clock_mono_ms(); /* also if it can't be sent now: the next try is later, not at once */
	if (s->send_blocked && flush_feedback(s, e) < 0)
		return -1;
	if (s->send_blocked)
		return 0; /* the server reads nothing now; the next one says more */
	lsn_t flushed = acknowledgeable(s);
	REQUIRE(flushed <= s->received && flushed >= s->acked);
	char message[FEEDBACK_BYTES], *p = message;
	*p++ = 'r';
	p = put_u64(p, s->received);
	p = put_u64(p, flushed);
	p = put_u64(p, flushed);
	p = put_u64(p, (uint64_t)(clock_wall_us() - CLOCK_POSTGRES_EPOCH_US));
	*p++ = ask ? 1 : 0;
	REQUIRE(p == message + FEEDBACK_BYTES);
	int r = PQputCopyData(s->conn, message, FEEDBACK_BYTES);
	if (r < 0)
		return pg_error(e, s->conn, NULL);
	if (r == 0)
		return 0;
	s->acked = flushed;
	if (ask) {
		s->asked_ms = s->sent_ms;
		skew_asked(&s->skew);
		s->ask_now = false;
	}
	return flush_feedback(s, e);
}

/* When the server is to be asked for a keepalive: it sends none by itself while it only reads what isn't
 * ours, and then its WAL could not be acknowledged. */
static int64_t ask_due(const struct stream *s)
{
	int64_t since_ms = s->received_ms > s->asked_ms ? s->received_ms : s->asked_ms;
	return since_ms + SILENCE_MAX_MS;
}

static int64_t feedback_due(struct stream *s)
{
	return s->sent_ms + (acknowledgeable(s) > s->acked ? FEEDBACK_MIN_MS : s->feedback_ms);
}

/* ---- a silent server ---- */

static int give_up_connection(struct stream *s, const char *what, struct err *e)
{
	stall_gave_up(&s->stall, s->received);
	return err_set(e, ERR_PG_CONN, "the replication connection has been silent for %llds: %s",
	               (long long)((clock_mono_ms() - s->heard_ms) / 1000), what);
}

static bool something_came(const struct stream *s)
{
	struct pollfd fd = {.fd = PQsocket(s->conn), .events = POLLIN};
	return poll(&fd, 1, 0) > 0;
}

static int look_at_server(struct stream *s, struct err *e)
{
	struct setup_look look;
	char what[400];
	if (something_came(s)) /* we were away, or slow */
		return 0;
	int failed = setup_look(&s->setup, &look, e);
	int64_t now_ms = clock_mono_ms();
	if (failed && (e->kind == ERR_CANCELLED || loop_stopping(&s->loop)))
		return -1;
	s->look_ms = now_ms + LOOK_EVERY_MS;
	s->turn_ms = now_ms;
	if (something_came(s))
		return 0;
	/* No room for another session, say, tells nothing of the walsender. */
	if (failed && e->sqlstate[0] == '\0') {
		snprintf(what, sizeof what, "and Postgres doesn't answer elsewhere either (%.300s)", e->text);
		return give_up_connection(s, what, e);
	}
	switch (stall_decide(&s->stall, failed ? NULL : &look, now_ms, s->heard_ms, s->received)) {
	case STALL_GO_ON:
		log_debug("The replication connection is silent; the server's process for it: %s", failed ? e->text : look.state);
		return 0;
	case STALL_GONE:
		snprintf(what, sizeof what, "the server's process for it is gone%s", look.state);
		break;
	case STALL_HANGS:
		snprintf(what, sizeof what, "the server's process for it doesn't react: %s", look.state);
		break;
	case STALL_STANDS:
		snprintf(what, sizeof what, "the server's process for it doesn't get on (%s); the next one gets more time",
		         s->stall.looked_like);
		break;
	}
	return give_up_connection(s, what, e);
}

/* What is due besides messages. `reading`: we are ready to take the answer to a question. */
static int housekeep(struct stream *s, bool reading, struct err *e)
{
	loop_idle(&s->loop);
	if (atomic_load(&s->give_up)) {
		s->gave_up = true;
		return err_set(e, ERR_CANCELLED, "the replication slot is given up");
	}
	if (atomic_load(&s->rest) && !s->in_transaction) { /* one may just have begun to come in */
		s->rests = true;
		return err_set(e, ERR_CANCELLED, "there is nothing to do");
	}
	int64_t now_ms = clock_mono_ms();
	if (!reading || s->received_ms > s->heard_ms)
		s->heard_ms = reading ? s->received_ms : now_ms;
	if (now_ms - s->turn_ms > AWAY_MS) /* it wasn't the server that was silent */
		s->heard_ms = now_ms;
	s->turn_ms = now_ms;
	if (now_ms >= s->heard_ms + SILENT_MAX_MS && now_ms >= s->look_ms && look_at_server(s, e) < 0)
		return -1;
	bool ask = reading && (now_ms >= ask_due(s) || now_ms >= s->asked_ms + SKEW_EVERY_MS || (s->ask_now && now_ms >= s->asked_ms + ASK_MIN_MS));
	if (ask || now_ms >= feedback_due(s))
		return send_feedback(s, ask, e);
	return 0;
}

/* ---- messages ---- */

static uint64_t get_u64(const char *p)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

static void advance(struct stream *s, lsn_t to)
{
	if (to > s->received)
		s->received = to;
}

static int take_data(struct stream *s, const char *p, size_t len, struct err *e)
{
	if (len < DATA_HEADER_BYTES)
		return err_set(e, ERR_PROTOCOL, "replication data message of %zu bytes", len);
	struct wal_change change;
	if (pgoutput_parse(s->decoder, p + DATA_HEADER_BYTES, len - DATA_HEADER_BYTES, &change, e) < 0)
		return -1;
	if (change.kind == WAL_BEGIN && s->in_transaction)
		return err_set(e, ERR_PROTOCOL, "a transaction begins inside another one");
	if (change.kind == WAL_COMMIT && !s->in_transaction)
		return err_set(e, ERR_PROTOCOL, "a transaction ends that didn't begin");
	if (change.kind == WAL_BEGIN)
		s->in_transaction = true;
	if (s->sink.change(s->sink.ctx, &change, e) < 0) {
		s->sink_refused = true;
		return -1;
	}
	advance(s, get_u64(p + 1));
	if (change.kind == WAL_COMMIT) {
		s->in_transaction = false;
		advance(s, change.u.commit.end_lsn);
	}
	return 0;
}

static int take_keepalive(struct stream *s, const char *p, size_t len, struct err *e)
{
	if (len != KEEPALIVE_BYTES)
		return err_set(e, ERR_PROTOCOL, "keepalive of %zu bytes", len);
	lsn_t wal_end = get_u64(p + 1);
	advance(s, wal_end);
	skew_answered(&s->skew, (int64_t)get_u64(p + 9));
	if (!s->in_transaction && s->sink.keepalive(s->sink.ctx, wal_end, e) < 0) {
		s->sink_refused = true;
		return -1;
	}
	return p[KEEPALIVE_BYTES - 1] != 0 ? send_feedback(s, false, e) : 0;
}

static int take_message(struct stream *s, const char *p, size_t len, struct err *e)
{
	if (len > 0 && p[0] == 'w')
		return take_data(s, p, len, e);
	if (len > 0 && p[0] == 'k')
		return take_keepalive(s, p, len, e);
	return err_set(e, ERR_PROTOCOL, "unknown message in the replication stream (%zu bytes)", len);
}

/*
 * PostgreSQL 18 doesn't end the stream when the publication is gone, or wasn't there yet where the slot
 * stands: it warns (55000, naming the publication) and leaves the changes out. That is a hole.
 */
static void on_notice(void *ctx, const PGresult *res)
{
	struct stream *s = ctx;
	const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	log_debug("Postgres says: %s", text != NULL ? text : "");
	if (sqlstate != NULL && strcmp(sqlstate, "55000") == 0 && text != NULL && strstr(text, s->config->publication_name) != NULL)
		s->skipping = true;
}

static int publication_skipped(struct stream *s, struct err *e)
{
	(void)err_set(e, ERR_PG, "publication \"%s\" does not exist at this point of the stream", s->config->publication_name);
	snprintf(e->sqlstate, sizeof e->sqlstate, "42704");
	return -1;
}

/* ---- the loop ---- */

/* The stream is over; the reason is what the server says next. */
static int stream_ended(struct stream *s, struct err *e)
{
	int64_t until_ms = clock_mono_ms() + LAST_WORDS_MS;
	while (PQisBusy(s->conn) && clock_mono_ms() < until_ms) {
		int r = loop_wait(&s->loop, PQsocket(s->conn), POLLIN, until_ms, e);
		if (r < 0)
			return -1;
		if (r > 0 && !PQconsumeInput(s->conn))
			break;
	}
	PGresult *res = PQstatus(s->conn) == CONNECTION_BAD || !PQisBusy(s->conn) ? PQgetResult(s->conn) : NULL;
	if (PQresultStatus(res) == PGRES_FATAL_ERROR)
		(void)pg_error(e, s->conn, res);
	else
		(void)err_set(e, ERR_PG_CONN, "Postgres ended the replication stream");
	PQclear(res);
	return -1;
}

/* Whether messages come so fast that waiting for a single one is a waste; asked when there is none to read. */
static bool hurrying(struct stream *s)
{
	int64_t now_us = clock_mono_us(), us = now_us - s->window_us, n = s->messages - s->window_at;
	if (n >= HURRY_MESSAGES || us > HURRY_US) {
		s->hurried = n * HURRY_US >= us * HURRY_MESSAGES;
		s->window_at = s->messages;
		s->window_us = now_us;
	}
	/* A nap that brought nothing is followed by a wait. */
	bool any = s->messages != s->napped_at;
	s->napped_at = s->messages;
	return s->hurried && any;
}

/*
 * libpq reads 16 KB at a time, and one such read for each nap suits the walsender best: the less often its messages
 * are acknowledged, the more of them travel in one segment (62,000 to 69,000 single-row transactions a second against
 * 35,000 to 47,000 when all that waits is read). Only what would then be too slow reads on.
 */
static bool much_is_here(const struct stream *s)
{
	int n = 0;
	return ioctl(PQsocket(s->conn), FIONREAD, &n) == 0 && n >= READ_WORTH_BYTES;
}

/* The walsender sends a transaction's messages one by one, microseconds apart: inside one, going to sleep and being
 * woken for each would take longer than they do. */
static bool rest_is_here(struct stream *s)
{
	struct pollfd fd = {.fd = PQsocket(s->conn), .events = POLLIN};
	for (int64_t until_us = clock_mono_us() + SPIN_US; clock_mono_us() < until_us; sched_yield()) {
		if (poll(&fd, 1, 0) > 0)
			return true;
		if (loop_woken(&s->loop) || loop_stopping(&s->loop))
			return false;
	}
	return false;
}

/* Nothing to read, or the sink takes nothing: waits for the socket (not in the second case: what we don't
 * read stays with the server), a wake, or the next thing due. */
static int pause_reading(struct stream *s, bool reading, struct err *e)
{
	if (housekeep(s, reading, e) < 0)
		return -1;
	if (s->send_blocked && flush_feedback(s, e) < 0)
		return -1;
	bool hurry = reading && !s->send_blocked && hurrying(s);
	if (hurry && !much_is_here(s))
		loop_nap(&s->loop, NAP_US);
	if (hurry || (reading && !s->send_blocked && s->in_transaction && rest_is_here(s))) {
		s->received_ms = clock_mono_ms();
		(void)PQconsumeInput(s->conn);
		return 0;
	}
	short events = (short)((reading ? POLLIN : 0) | (s->send_blocked ? POLLOUT : 0));
	int r = loop_wait(&s->loop, events != 0 ? PQsocket(s->conn) : -1, events, feedback_due(s), e);
	if (r < 0)
		return -1;
	if (reading && (r & ~POLLOUT) != 0) {
		s->received_ms = clock_mono_ms();
		(void)PQconsumeInput(s->conn); /* a broken connection is found by receive(), after what came before */
	}
	return 0;
}

/* Takes one message if there is one. 1: taken, 0: none there, -1: the end. */
static int take_next(struct stream *s, struct err *e)
{
	char *p = NULL;
	int len = PQgetCopyData(s->conn, &p, 1);
	if (len == 0)
		return s->skipping ? publication_skipped(s, e) : 0;
	if (len == -1)
		return stream_ended(s, e);
	if (len < 0)
		return pg_error(e, s->conn, NULL);
	s->messages++;
	/* The warning came before this message: what it says may already lack changes. */
	int r = s->skipping ? publication_skipped(s, e) : take_message(s, p, (size_t)len, e);
	PQfreemem(p);
	return r < 0 ? -1 : 1;
}

static bool housekeeping_due(struct stream *s)
{
	if (s->messages % MESSAGES_PER_IDLE == 0)
		s->loop.idle_due_ms = 0;
	if (loop_woken(&s->loop) || s->loop.idle_due_ms == 0)
		return true;
	if (s->messages % MESSAGES_PER_CLOCK != 0)
		return false;
	int64_t now_ms = clock_mono_ms();
	return now_ms >= s->loop.idle_due_ms || now_ms >= feedback_due(s);
}

/* poll() doesn't see the rest of a TLS record that didn't fit into libpq's buffer: with TLS, input is looked
 * for once more before waiting. True if it was. */
static bool look_again(struct stream *s)
{
	bool again = s->tls && !s->looked;
	s->looked = again;
	if (again)
		(void)PQconsumeInput(s->conn);
	return again;
}

/* Until something ends it: always -1. */
static int receive(struct stream *s, struct err *e)
{
	for (;;) {
		if (loop_stopping(&s->loop))
			return err_set(e, ERR_CANCELLED, "stopping");
		bool reading = s->sink.ready(s->sink.ctx);
		int r = reading ? take_next(s, e) : 0;
		if (r < 0)
			return -1;
		if (r > 0) {
			s->looked = false;
			if (housekeeping_due(s) && housekeep(s, true, e) < 0)
				return -1;
			continue;
		}
		if (reading && PQstatus(s->conn) == CONNECTION_BAD)
			return pg_error(e, s->conn, NULL);
		if (reading && look_again(s))
			continue;
		if (pause_reading(s, reading, e) < 0)
			return -1;
	}
}

/* ---- one connection ---- */

static int set_up(struct stream *s, lsn_t *start_at, struct err *e)
{
	struct setup *u = &s->setup;
	u->conn = s->conn;
	if (setup_identify(u, e) < 0 || setup_pooled(u, e) < 0)
		return -1;
	set_phase(s, STREAM_WAITING_LOCK, NULL);
	if (setup_lock(u, e) < 0)
		return -1;
	set_phase(s, STREAM_SETTING_UP, NULL);
	take_give_up(s);
	if (setup_publication(u, e) < 0 || setup_slot(u, e) < 0 || setup_history(u, e) < 0)
		return -1;
	*start_at = 0;
	s->started = true;
	if (s->sink.start(s->sink.ctx, &s->server, start_at, e) < 0) {
		s->sink_refused = true;
		return -1;
	}
	return setup_start(u, *start_at, e);
}

static void set_running(struct stream *s, lsn_t start_at)
{
	int64_t now_ms = clock_mono_ms();
	s->received = start_at > s->server.confirmed_flush ? start_at : s->server.confirmed_flush;
	s->acked = 0;
	s->in_transaction = s->send_blocked = s->looked = s->skipping = false;
	s->tls = PQsslInUse(s->conn) != 0;
	s->messages = s->window_at = s->napped_at = 0;
	s->hurried = false;
	s->heard_ms = now_ms;
	s->look_ms = 0;
	s->skew = (struct skew){0}; /* it may be another server */
	s->ask_now = true;
	stall_begin(&s->stall, now_ms);
	s->running_since_ms = s->received_ms = s->sent_ms = s->asked_ms = s->turn_ms = now_ms;
	int64_t third_ms = s->setup.wal_sender_timeout_ms / 3;
	s->feedback_ms = third_ms > 0 && third_ms < FEEDBACK_MAX_MS ? third_ms : FEEDBACK_MAX_MS;
	if (s->failing_since_ms != 0)
		log_notice("Reconnection succeeded after %lldms", (long long)(now_ms - s->failing_since_ms));
	s->failing_since_ms = 0;
	s->untold = 0;
	s->last_error[0] = '\0';
	s->ran = true;
	set_phase(s, STREAM_RUNNING, NULL);
}

static int run_connection(struct stream *s, struct err *e)
{
	set_phase(s, STREAM_CONNECTING, s->last_error[0] != '\0' ? s->last_error : NULL);
	s->conn = loop_connect(&s->loop, s->config, PG_ROLE_REPLICATION, PG_CONNECT_TIMEOUT_S * 1000, e);
	if (s->conn == NULL)
		return -1;
	PQsetNoticeReceiver(s->conn, on_notice, s);
	lsn_t start_at;
	if (set_up(s, &start_at, e) < 0)
		return -1;
	set_running(s, start_at);
	return receive(s, e);
}

/* `well`: by our own will. */
static void close_connection(struct stream *s, bool well)
{
	struct err ignored;
	if (well && s->running_since_ms != 0 && s->conn != NULL) {
		(void)!send_feedback(s, false, &ignored);
		loop_end_copy(s->conn);
	}
	PQfinish(s->conn);
	s->conn = s->setup.conn = NULL;
	if (s->started)
		s->sink.lost(s->sink.ctx);
	s->started = false;
}

/* ---- over connections ---- */

static int64_t next_backoff(struct stream *s)
{
	if (s->running_since_ms != 0 && clock_mono_ms() - s->running_since_ms >= STABLE_MS)
		s->backoff_ms = 0;
	if (s->backoff_ms == 0)
		s->backoff_ms = BACKOFF_FIRST_MS;
	else if (s->backoff_ms < BACKOFF_SECOND_MS)
		s->backoff_ms = BACKOFF_SECOND_MS;
	else
		s->backoff_ms = s->backoff_ms * 2 < BACKOFF_MAX_MS ? s->backoff_ms * 2 : BACKOFF_MAX_MS;
	return s->backoff_ms;
}

/*
 * Of an outage that lasts, attempts at the longest distance are told once in a while, with a count of the others; another error, and
 * everything before, always.
 */
static bool attempt_is_told(struct stream *s)
{
	int64_t now_ms = clock_mono_ms();
	uint64_t key = log_repeat_key(0, s->last_error, strlen(s->last_error));
	if (s->backoff_ms == BACKOFF_MAX_MS && key == s->told_key && now_ms - s->told_ms < LOG_SELDOM_MS) {
		s->untold++;
		return false;
	}
	s->told_key = key;
	s->told_ms = now_ms;
	return true;
}

static void tell_failed(struct stream *s, const struct err *e)
{
	char more[60] = "";
	s->tells = attempt_is_told(s);
	if (!s->tells)
		return;
	if (s->untold > 0)
		snprintf(more, sizeof more, " (%u attempts more since it was said)", s->untold);
	s->untold = 0;
	bool coded = e->sqlstate[0] != '\0';
	log_warning("Database connection in replication mode failed: %s%s%s%s. Retrying...%s", s->last_error, coded ? " (PG code: " : "",
	            coded ? e->sqlstate : "", coded ? ")" : "", more);
}

/* 0: try again. -1: `e` is the line to end with. */
static int judge(struct stream *s, struct err *e)
{
	enum pg_error_class class = pg_classify(s->config, e, s->last_error, sizeof s->last_error);
	/* What worked once may work again: the database may be recreated, a password may just be changing. Meanwhile stored data
	 * is served. */
	bool was_fatal = class == PG_FATAL && s->ran;
	if (s->sink_refused || was_fatal)
		class = PG_RETRY;
	if (class == PG_FATAL) {
		enum err_kind kind = e->kind;
		char sqlstate[sizeof e->sqlstate];
		memcpy(sqlstate, e->sqlstate, sizeof sqlstate);
		(void)err_set(e, kind, "%s", s->last_error);
		memcpy(e->sqlstate, sqlstate, sizeof sqlstate);
		set_phase(s, STREAM_FATAL, e->text);
		return -1;
	}
	/* Also where the publication has come back since: between, the stream has a hole. */
	bool unpublished = !s->sink_refused && s->running_since_ms != 0 && strcmp(e->sqlstate, "42704") == 0 &&
	                   strstr(e->text, "publication") != NULL;
	if (class == PG_SLOT_LOST || unpublished)
		s->setup.slot_lost = true;
	if (unpublished)
		s->setup.publication = PUBLICATION_WENT;
	tell_failed(s, e);
	if (!s->ran && !s->advised)
		log_notice("Run `busbar doctor` with the same settings: it looks at the database and says what mends it");
	s->advised = true;
	return 0;
}

/* -1: stopped meanwhile. */
static int back_off(struct stream *s, int64_t wait_ms, struct err *e)
{
	int64_t from_ms = clock_mono_ms(), until_ms = from_ms + wait_ms;
	while (clock_mono_ms() < until_ms) {
		if (loop_wait(&s->loop, -1, 0, until_ms, e) < 0)
			return -1;
		if (atomic_load(&s->hurry) && from_ms + BACKOFF_ASKED_MS < until_ms)
			until_ms = from_ms + BACKOFF_ASKED_MS;
	}
	return 0;
}

/* -1: stopped meanwhile. */
static int rest(struct stream *s, struct err *e)
{
	set_phase(s, STREAM_RESTING, NULL);
	while (atomic_load(&s->rest))
		if (loop_wait(&s->loop, -1, 0, INT64_MAX, e) < 0)
			return -1;
	return 0;
}

int stream_run(struct stream *s, struct err *e)
{
	for (;;) {
		s->running_since_ms = 0;
		s->sink_refused = s->gave_up = s->rests = false;
		err_clear(e);
		int r = run_connection(s, e);
		REQUIRE(r < 0);
		bool stopping = loop_stopping(&s->loop);
		close_connection(s, stopping || s->rests);
		if (stopping || (s->rests && rest(s, e) < 0 && loop_stopping(&s->loop)))
			return 0;
		if (s->rests || s->gave_up)
			continue;
		if (s->failing_since_ms == 0)
			s->failing_since_ms = clock_mono_ms();
		if (judge(s, e) < 0)
			return -1;
		int64_t wait_ms = next_backoff(s);
		if (s->tells)
			log_warning("Reconnecting in %lldms", (long long)wait_ms);
		atomic_store(&s->hurry, false);
		set_phase(s, STREAM_BACKING_OFF, s->last_error);
		if (back_off(s, wait_ms, e) < 0 && loop_stopping(&s->loop))
			return 0;
	}
}
