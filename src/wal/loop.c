/* loop.c - one poll() for all that the stream's thread waits for; connecting and statements on top of it. */
#include "wal/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pg/tls.h"

#define FOREVER_MS INT64_MAX

void loop_init(struct loop *l, void (*idle)(void *ctx), void *ctx)
{
	memset(l, 0, sizeof *l);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	REQUIRE(l->wake_fd >= 0);
	l->idle = idle;
	l->ctx = ctx;
}

void loop_clear(struct loop *l)
{
	close(l->wake_fd);
	l->wake_fd = -1;
}

static void poke(int fd)
{
	uint64_t one = 1;
	ssize_t ignored = write(fd, &one, sizeof one); /* full: then it is readable anyway */
	(void)ignored;
}

void loop_wake(struct loop *l)
{
	if (!atomic_exchange(&l->woken, true))
		poke(l->wake_fd);
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stopping, true);
	poke(l->wake_fd);
}

void loop_idle(struct loop *l)
{
	int64_t now_ms = clock_mono_ms();
	/* The flag falls before the call: a wake during it isn't lost. */
	bool woken = atomic_exchange(&l->woken, false);
	if (!woken && now_ms < l->idle_due_ms)
		return;
	l->idle(l->ctx);
	l->idle_due_ms = clock_mono_ms() + LOOP_IDLE_MS;
}

static void drain(int fd)
{
	uint64_t ignored_count;
	ssize_t ignored = read(fd, &ignored_count, sizeof ignored_count);
	(void)ignored;
}

int loop_wait(struct loop *l, int fd, short events, int64_t until_ms, struct err *e)
{
	loop_idle(l);
	if (until_ms > l->idle_due_ms)
		until_ms = l->idle_due_ms;
	int64_t left_ms = until_ms - clock_mono_ms();
	struct pollfd fds[2] = {{.fd = l->wake_fd, .events = POLLIN}, {.fd = fd, .events = events}};
	int r = loop_stopping(l) ? 0 : poll(fds, 2, left_ms < 0 ? 0 : (int)left_ms);
	if (r < 0 && errno != EINTR)
		return err_errno(e, errno, "poll on the connection to Postgres");
	if (r > 0 && fds[0].revents != 0)
		drain(l->wake_fd);
	loop_idle(l);
	if (loop_stopping(l))
		return err_set(e, ERR_CANCELLED, "stopping");
	return r > 0 ? fds[1].revents : 0;
}

void loop_nap(struct loop *l, int64_t us)
{
	struct pollfd fd = {.fd = l->wake_fd, .events = POLLIN};
	struct timespec ts = {us / 1000000, us % 1000000 * 1000};
	if (ppoll(&fd, 1, &ts, NULL) > 0)
		drain(l->wake_fd);
}

int loop_sleep(struct loop *l, int64_t ms, struct err *e)
{
	for (int64_t until_ms = clock_mono_ms() + ms; clock_mono_ms() < until_ms;)
		if (loop_wait(l, -1, 0, until_ms, e) < 0)
			return -1;
	return 0;
}

/* ---- addresses ----
 *
 * getaddrinfo() can't be interrupted and may take half a minute, so it has a thread of its own. Who
 * comes last, the thread or the one who gave up waiting, frees the job.
 */

struct resolve {
	_Atomic int refs;
	_Atomic bool done;
	int done_fd;
	char *host;
	bool prefer_ipv6;
	int result;
	struct pg_addresses addresses;
	struct err err;
};

static void resolve_unref(struct resolve *r)
{
	if (atomic_fetch_sub(&r->refs, 1) > 1)
		return;
	close(r->done_fd);
	free(r->host);
	free(r);
}

static void *resolve_thread(void *arg)
{
	struct resolve *r = arg;
	r->result = pg_resolve(r->host, r->prefer_ipv6, &r->addresses, &r->err);
	atomic_store(&r->done, true);
	poke(r->done_fd);
	resolve_unref(r);
	return NULL;
}

static int resolve(struct loop *l, const char *host, bool prefer_ipv6, int64_t until_ms, struct pg_addresses *out, struct err *e)
{
	int done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (done_fd < 0)
		return err_errno(e, errno, "eventfd");
	struct resolve *r = mem_zalloc(sizeof *r);
	atomic_store(&r->refs, 2);
	r->done_fd = done_fd;
	r->host = mem_strdup(host);
	r->prefer_ipv6 = prefer_ipv6;
	pthread_t thread;
	int failed = pthread_create(&thread, NULL, resolve_thread, r), result = -1;
	if (failed != 0) {
		resolve_unref(r);
		(void)err_errno(e, failed, "a thread to look up \"%s\"", host);
		goto out;
	}
	pthread_detach(thread);
	while (!atomic_load(&r->done)) {
		if (clock_mono_ms() >= until_ms) {
			(void)err_set(e, ERR_PG_CONN, "timeout expired while looking up host name \"%s\"", host);
			goto out;
		}
		if (loop_wait(l, r->done_fd, POLLIN, until_ms, e) < 0)
			goto out;
	}
	result = r->result;
	*out = r->addresses;
	if (result < 0)
		*e = r->err;
out:
	resolve_unref(r);
	return result;
}

/* ---- connecting ---- */

static int finish_connecting(struct loop *l, PGconn *conn, int64_t until_ms, struct err *e)
{
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	while (state != PGRES_POLLING_OK) {
		if (state == PGRES_POLLING_FAILED)
			return pg_error(e, conn, NULL);
		if (clock_mono_ms() >= until_ms)
			return err_set(e, ERR_PG_CONN, "timeout expired while connecting");
		int r = loop_wait(l, PQsocket(conn), state == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ms, e);
		if (r < 0)
			return -1;
		if (r > 0)
			state = PQconnectPoll(conn);
	}
	if (PQsetnonblocking(conn, 1) != 0)
		return pg_error(e, conn, NULL);
	return 0;
}

PGconn *loop_connect(struct loop *l, const struct config *c, enum pg_role role, int timeout_ms, struct err *e)
{
	const struct config_url *u = role == PG_ROLE_SNAPSHOT ? &c->pooled_database : &c->database;
	int64_t until_ms = clock_mono_ms() + timeout_ms;
	struct pg_addresses addresses;
	if (resolve(l, u->host, c->database_use_ipv6, until_ms, &addresses, e) < 0)
		return NULL;
	for (int i = 0; i < addresses.n; i++) {
		PGconn *conn = pg_connect_start(c, role, addresses.text[i], e);
		if (conn == NULL)
			continue;
		/* An address that swallows packets must leave time for the next one. */
		int64_t now_ms = clock_mono_ms();
		if (finish_connecting(l, conn, now_ms + (until_ms - now_ms) / (addresses.n - i), e) == 0)
			return conn;
		PQfinish(conn);
		if (e->kind == ERR_CANCELLED || e->sqlstate[0] != '\0')
			return NULL; /* a server answered: another address is no remedy */
	}
	pg_tls_explain(c, u, addresses.text[addresses.n - 1], e);
	return NULL;
}

/* ---- statements ---- */

/* Takes what results are there. 1: the statement is over, 0: not yet. Keeps the first error, else the last result. */
static int take_results(PGconn *conn, PGresult **kept)
{
	while (!PQisBusy(conn)) {
		PGresult *res = PQgetResult(conn);
		if (res == NULL)
			return 1;
		if (*kept != NULL && PQresultStatus(*kept) == PGRES_FATAL_ERROR) {
			PQclear(res);
			continue;
		}
		PQclear(*kept);
		*kept = res;
		if (PQresultStatus(res) == PGRES_COPY_BOTH)
			return 1;
	}
	return 0;
}

static int await_results(struct loop *l, PGconn *conn, int64_t until_ms, const struct loop_tick *tick, PGresult **kept,
                         struct err *e)
{
	int64_t tick_ms = tick != NULL ? clock_mono_ms() + tick->every_ms : FOREVER_MS;
	for (;;) {
		int unsent = PQflush(conn);
		if (unsent < 0)
			return pg_error(e, conn, NULL);
		if (take_results(conn, kept))
			return 0;
		int64_t now_ms = clock_mono_ms();
		if (now_ms >= until_ms)
			return err_set(e, ERR_TIMEOUT, "Postgres gave no answer in time");
		if (now_ms >= tick_ms) {
			tick->call(tick->ctx);
			tick_ms = clock_mono_ms() + tick->every_ms;
		}
		int r = loop_wait(l, PQsocket(conn), unsent ? POLLIN | POLLOUT : POLLIN, tick_ms < until_ms ? tick_ms : until_ms, e);
		if (r < 0)
			return -1;
		/* poll() doesn't see the rest of a TLS record that didn't fit into libpq's buffer. */
		if (((r & ~POLLOUT) != 0 || PQsslInUse(conn)) && !PQconsumeInput(conn)) {
			/* What the server said before it closed counts more than that it did; this doesn't block any more. */
			PQclear(*kept);
			*kept = PQgetResult(conn);
			return *kept != NULL ? 0 : pg_error(e, conn, NULL);
		}
	}
}

int loop_query(struct loop *l, PGconn *conn, const char *sql, int timeout_ms, const struct loop_tick *tick, PGresult **out,
               struct err *e)
{
	*out = NULL;
	if (!PQsendQuery(conn, sql))
		return pg_error(e, conn, NULL);
	PGresult *res = NULL;
	if (await_results(l, conn, timeout_ms > 0 ? clock_mono_ms() + timeout_ms : FOREVER_MS, tick, &res, e) < 0)
		goto failed;
	ExecStatusType status = PQresultStatus(res);
	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_COPY_BOTH) {
		(void)pg_error(e, conn, res);
		goto failed;
	}
	*out = res;
	return 0;
failed:
	PQclear(res);
	return -1;
}

/* ---- leaving ---- */

/* What still comes isn't taken: the server sends it again to who comes next. Negative when the copy has ended. */
static int drop_copied(PGconn *conn)
{
	char *p;
	int len;
	while ((len = PQgetCopyData(conn, &p, 1)) > 0)
		PQfreemem(p);
	return len;
}

void loop_end_copy(PGconn *conn)
{
	if (PQputCopyEnd(conn, NULL) != 1)
		return;
	for (int64_t now_ms = clock_mono_ms(), until_ms = now_ms + LOOP_END_MAX_MS; now_ms < until_ms; now_ms = clock_mono_ms()) {
		int unsent = PQflush(conn);
		if (unsent < 0 || (drop_copied(conn) < 0 && !PQisBusy(conn)))
			return;
		struct pollfd fd = {.fd = PQsocket(conn), .events = (short)(POLLIN | (unsent > 0 ? POLLOUT : 0))};
		if ((poll(&fd, 1, (int)(until_ms - now_ms)) < 0 && errno != EINTR) || !PQconsumeInput(conn))
			return;
	}
}
