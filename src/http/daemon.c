/* daemon.c - the many small daemons of a loop: made when the others are full, run when something has happened. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/loop.h"

static void mhd_log(void *cls, const char *fmt, va_list ap)
{
	(void)cls;
	char line[400];
	vsnprintf(line, sizeof line, fmt, ap);
	line[strcspn(line, "\r\n")] = '\0';
	log_debug("libmicrohttpd: %s", line);
}

static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *s)
{
	(void)cls;
	(void)mhd;
	return strlen(s);
}

static void connection_notify(void *cls, struct MHD_Connection *mhd, void **context,
                              enum MHD_ConnectionNotificationCode code)
{
	struct loop *l = cls;
	REQUIRE(loop_is_ours(l));
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		struct conn *c = l->adding;
		REQUIRE(c != NULL && conn_is_ours(c) && c->mhd == NULL);
		c->mhd = mhd;
		*context = c;
		return;
	}
	struct conn *c = *context;
	if (c == NULL)
		return;
	REQUIRE(conn_is_ours(c) && c->loop == l);
	if (l->adding == c)
		l->adding = NULL;
	l->http->handlers->closed(c);
	REQUIRE(c->daemon->connections > 0);
	c->daemon->connections--;
	conn_free(c);
}

#define DAEMON_FLAGS (MHD_USE_NO_LISTEN_SOCKET | MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG)
#define NO_THREAD_SAFETY (1u << 19) /* MHD_USE_NO_THREAD_SAFETY, which headers before 1.0 don't have */

/* One thread for each daemon: no locks, no descriptor to poke itself with. Without it 1.x adds connections in a later
 * run. Asked of the library that runs: one package name stands for both. */
static unsigned daemon_flags(void) { return DAEMON_FLAGS | (MHD_get_version()[0] >= '1' ? NO_THREAD_SAFETY : 0); }

static struct daemon *daemon_new(struct loop *l, size_t pool_bytes)
{
	const struct loop_handlers *h = l->http->handlers;
	struct daemon *d = mem_zalloc(sizeof *d);
	d->source.kind = SOURCE_DAEMON;
	d->pool_bytes = pool_bytes;
	d->mhd = MHD_start_daemon(
		daemon_flags(), 0, NULL, NULL,
		h->handle, l, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		pool_bytes, MHD_OPTION_CONNECTION_LIMIT, (unsigned)(2 * DAEMON_CONNECTIONS_MAX),
		MHD_OPTION_NOTIFY_CONNECTION, connection_notify, l, MHD_OPTION_NOTIFY_COMPLETED, h->completed, l,
		MHD_OPTION_URI_LOG_CALLBACK, h->uri, l, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_END);
	if (d->mhd == NULL) {
		free(d);
		return NULL;
	}
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = d};
	if (info == NULL || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, info->epoll_fd, &event) != 0) {
		MHD_stop_daemon(d->mhd);
		free(d);
		return NULL;
	}
	l->daemons = mem_realloc(l->daemons, (l->ndaemons + 1) * sizeof(struct daemon *));
	l->daemons[l->ndaemons++] = d;
	return d;
}

static struct daemon *emptiest(struct loop *l, size_t pool_bytes)
{
	struct daemon *best = NULL;
	for (size_t i = 0; i < l->ndaemons; i++) {
		struct daemon *d = l->daemons[i];
		if (d->pool_bytes == pool_bytes && (best == NULL || d->connections < best->connections))
			best = d;
	}
	if (best != NULL && best->connections < DAEMON_CONNECTIONS_MAX)
		return best;
	return daemon_new(l, pool_bytes);
}

static void daemon_run(struct loop *l, struct daemon *d)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;
	int64_t until_us = clock_mono_us() + DAEMON_RUN_US;
	d->touched = false;
	for (int i = 0; i == 0 || (i < DAEMON_RUNS_MAX && clock_mono_us() < until_us); i++) {
		MHD_run(d->mhd);
		if (MHD_get_timeout(d->mhd, &wait_ms) != MHD_YES || wait_ms > 0)
			return;
	}
	daemon_touch(l, d); /* still busy: in the next round, after the others */
}

void daemons_run(struct loop *l)
{
	struct daemon *d = l->touched;
	l->touched = NULL;
	while (d != NULL) {
		struct daemon *next = d->next_touched;
		daemon_run(l, d);
		d = next;
	}
}

void daemon_take(struct loop *l, struct conn *c, size_t pool_bytes)
{
	struct daemon *d = emptiest(l, pool_bytes);
	REQUIRE(conn_is_ours(c) && c->mhd == NULL && c->state == CONN_NEW);
	struct sockaddr_in addr = {.sin_family = AF_INET}; /* not looked at: it would only be kept in memory */
	if (d == NULL) {
		conn_drop(c);
		return;
	}
	c->daemon = d;
	c->state = CONN_HEADERS;
	conn_set_deadline(c, l->now_ms + (c->hungup ? HUNGUP_REQUEST_MS : HEADERS_MAX_MS));
	d->connections++;
	l->adding = c;
	if (MHD_add_connection(d->mhd, c->fd, (struct sockaddr *)&addr, sizeof addr) != MHD_YES) {
		/* The library has closed the descriptor, and told connection_notify() if it had told it before. */
		if (l->adding == c) {
			d->connections--;
			conn_free(c);
		}
		l->adding = NULL;
		return;
	}
	l->adding = NULL;
	conn_touch(c);
}

void daemons_end(struct loop *l)
{
	for (size_t i = 0; i < l->ndaemons; i++) {
		MHD_stop_daemon(l->daemons[i]->mhd);
		free(l->daemons[i]);
	}
	free(l->daemons);
}
