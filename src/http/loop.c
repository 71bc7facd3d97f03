/*
 * loop.c - see loop.h. One round of a loop: wait for events; look at all of them (nothing is freed
 * meanwhile); resume what was woken or is due; run each touched daemon.
 */
#include "http/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/refusal.h"

/* libpg_query writes its tree by recursion: 32,000 nested sums, the most a condition has room for, take 3 MB. Only
 * what is used becomes memory. */
#define LOOP_STACK_BYTES (16u << 20)
#define EVENTS_MAX 512
#define WAKE_BATCH 4096
#define EMPTY_READS_MAX 4 /* of ARRIVAL_BYTES_MAX each: nobody who means well sends so many empty lines */
#define LATE "the request didn't arrive in time"

/* ---- daemons -------------------------------------------------------------------------------------- */

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
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		struct conn *c = l->adding;
		c->mhd = mhd;
		*context = c;
		return;
	}
	struct conn *c = *context;
	if (c == NULL)
		return;
	if (l->adding == c)
		l->adding = NULL;
	l->http->handlers->closed(c);
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
	/* Still busy: in the next round, after the others. */
	if (!d->touched) {
		d->touched = true;
		d->next_touched = l->touched;
		l->touched = d;
	}
}

static void run_touched(struct loop *l)
{
	struct daemon *d = l->touched;
	l->touched = NULL;
	while (d != NULL) {
		struct daemon *next = d->next_touched;
		daemon_run(l, d);
		d = next;
	}
}

/* ---- accepting -------------------------------------------------------------------------------------- */

static void listen_again(struct http *h, bool on)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &h->listener};
	h->accepting = on;
	epoll_ctl(h->loops[0].epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, h->listen_fd, &event);
	if (!on)
		h->accept_again_ms = h->loops[0].now_ms + ACCEPT_PAUSE_MS;
}

/* From now on the loop owns it. */
static void conn_arrive(struct loop *l, struct conn *c)
{
	/* One registration for its whole life: for hang-ups, which a daemon doesn't see while the connection is
	 * suspended, and for what arrives while no daemon has it or it is asleep. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
	conn_link(l, c);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
		conn_drop(c);
}

static struct conn *conn_new(struct loop *l, int fd)
{
	struct conn *c = mem_zalloc(sizeof *c);
	c->source.kind = SOURCE_CONN;
	c->loop = l;
	c->fd = fd;
	c->framed = true;
	return c;
}

/* To another loop's thread; false if that takes no more. */
static bool give(struct loop *to, struct conn *c)
{
	pthread_mutex_lock(&to->wake_lock);
	bool poke = to->woken == NULL && to->arrived == NULL, taken = !to->ended;
	if (taken) {
		c->loop = to;
		c->next = to->arrived;
		to->arrived = c;
		atomic_fetch_add(&to->nconns, 1);
	}
	pthread_mutex_unlock(&to->wake_lock);
	if (taken && poke)
		eventfd_write(to->wake_fd, 1);
	return taken;
}

static void hand_over(struct http *h, int fd)
{
	struct loop *own = &h->loops[0], *to = own;
	for (unsigned i = 1; i < h->nloops; i++)
		if (atomic_load(&h->loops[i].nconns) < atomic_load(&to->nconns))
			to = &h->loops[i];
	struct conn *c = conn_new(own, fd);
	if (to != own && give(to, c))
		return;
	atomic_fetch_add(&own->nconns, 1);
	conn_arrive(own, c);
}

/* True if there may be more. */
static bool accept_some(struct http *h)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		unsigned total = 0;
		for (unsigned k = 0; k < h->nloops; k++)
			total += atomic_load(&h->loops[k].nconns);
		if (total >= h->conns_max) {
			listen_again(h, false);
			return false;
		}
		int fd = accept4(h->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK) {
				log_warning("cannot accept connections for the moment: %s", strerror(errno));
				listen_again(h, false);
			}
			return false;
		}
		hand_over(h, fd);
	}
	return true;
}

/* ---- requests that arrive ------------------------------------------------------------------------------ */

enum looked {
	LOOKED_NOTHING, /* not a byte, or not yet a whole head */
	LOOKED_END,     /* the client has closed its side, or the connection is broken */
	LOOKED_WHOLE,
	LOOKED_REFUSED,
};

/* What has arrived for a connection that no daemon reads from. Empty lines before a request are taken away, and aren't
 * the beginning of one; the library gets it from its first byte, see conn_learn_pool(). */
static enum looked look(struct conn *c, struct arrival *a)
{
	char p[ARRIVAL_BYTES_MAX];
	ssize_t n;
	for (int i = 0;; i++) {
		n = recv(c->fd, p, sizeof p, MSG_PEEK | MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? LOOKED_NOTHING : LOOKED_END;
		if (n == 0)
			return LOOKED_END;
		arrival_look(p, (size_t)n, a);
		if (a->skip > 0 && recv(c->fd, p, a->skip, MSG_DONTWAIT) != (ssize_t)a->skip)
			return LOOKED_END;
		c->looked += a->skip;
		if ((size_t)n > a->skip)
			break;
		/* What lies behind them may have come with the same event: there won't be another. */
		if (i == EMPTY_READS_MAX)
			return LOOKED_END;
	}
	if (!c->begun) {
		c->begun = true;
		conn_set_deadline(c, c->loop->now_ms + (c->hungup ? HUNGUP_REQUEST_MS : HEADERS_MAX_MS));
	}
	return a->kind == ARRIVAL_REFUSED ? LOOKED_REFUSED : a->kind == ARRIVAL_WHOLE ? LOOKED_WHOLE : LOOKED_NOTHING;
}

static size_t class_of(const struct arrival *a)
{
	/* Where the next request can't be looked at, there must be room for a large one. */
	return a->small && conn_can_sleep() ? POOL_SMALL_BYTES : POOL_BYTES;
}

/* What has been looked at goes to a daemon. */
static void let_pass(struct conn *c, const struct arrival *a)
{
	c->begun = false;
	c->looked += a->bytes;
	c->pending += a->requests;
	c->framed = c->framed && !a->endless;
}

/* Gives a connection, whose first request has been looked at, to a daemon with so much memory. */
static void start_in(struct loop *l, struct conn *c, size_t pool_bytes)
{
	struct daemon *d = emptiest(l, pool_bytes);
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

/* What a client still sends after it has been refused; and its end. */
static void discard(struct conn *c)
{
	char p[16384];
	for (int i = 0; i < DISCARD_READS_MAX; i++) {
		ssize_t n = recv(c->fd, p, sizeof p, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
	}
	conn_drop(c);
}

/* By our own hand; no daemon has it. */
static void refuse(struct loop *l, struct conn *c, unsigned status, const char *why, bool head)
{
	struct buf text = BUF_INIT(4096);
	refusal_put(&text, status, why, head);
	log_debug("a request is refused (%u): %s", status, why);
	c->state = CONN_REFUSED;
	conn_set_deadline(c, l->now_ms + REFUSED_MAX_MS);
	/* To close a socket with unread bytes would be a reset, which takes the answer away again. */
	bool sent = send(c->fd, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)text.len;
	buf_clear(&text);
	if (sent && shutdown(c->fd, SHUT_WR) == 0)
		discard(c);
	else
		conn_drop(c);
}

/* A connection that no daemon has yet. False: nothing has arrived. */
static bool start_connection(struct loop *l, struct conn *c)
{
	struct arrival a;
	switch (look(c, &a)) {
	case LOOKED_NOTHING:
		return false;
	case LOOKED_END:
		conn_drop(c);
		return true;
	case LOOKED_REFUSED:
		refuse(l, c, a.status, a.why, a.head);
		return true;
	case LOOKED_WHOLE:
		break;
	}
	c->first = true;
	let_pass(c, &a);
	start_in(l, c, class_of(&a));
	return true;
}

/* From now on the loop hears of `fd`, and the connection's own number means a dead socket. */
static bool swap_in(struct loop *l, struct conn *c, int fd, struct epoll_event *event)
{
	struct epoll_event before = {.events = event->events, .data.ptr = c};
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, event) != 0)
		return false;
	/* Before the number means another file: the set would keep what it can't be told to forget. */
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL) == 0) {
		if (dup3(l->dead_fd, c->fd, O_CLOEXEC) >= 0)
			return true;
		(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &before);
	}
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	return false;
}

struct conn *conn_leave(struct conn *c)
{
	struct loop *l = c->loop;
	int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	if (fd < 0)
		return NULL;
	struct conn *to = conn_new(l, fd);
	to->requests = c->requests;
	to->looked = c->looked;
	to->hungup = c->hungup;
	event.data.ptr = to;
	if (!swap_in(l, c, fd, &event)) {
		close(fd);
		free(to);
		return NULL;
	}
	atomic_fetch_add(&l->nconns, 1);
	conn_link(l, to);
	conn_moved(c);
	return to;
}

/* A connection that is asleep. False: nothing has arrived, or not all. */
static bool next_request(struct loop *l, struct conn *c)
{
	struct arrival a;
	struct conn *to;
	switch (look(c, &a)) {
	case LOOKED_NOTHING:
		return false;
	case LOOKED_END:
		conn_rouse(c);
		return true;
	case LOOKED_REFUSED:
		if ((to = conn_leave(c)) != NULL)
			refuse(l, to, a.status, a.why, a.head);
		else
			conn_cut(c);
		conn_rouse(c);
		return true;
	case LOOKED_WHOLE:
		break;
	}
	if (class_of(&a) != c->daemon->pool_bytes) {
		if ((to = conn_leave(c)) != NULL) {
			to->first = true;
			let_pass(to, &a);
			start_in(l, to, class_of(&a));
			return true;
		}
		if (c->daemon->pool_bytes == POOL_SMALL_BYTES) /* better no answer than a wrong one */
			conn_cut(c);
	}
	let_pass(c, &a);
	conn_rouse(c);
	return true;
}

/* ---- events ----------------------------------------------------------------------------------------- */

static void conn_hungup(struct loop *l, struct conn *c)
{
	c->hungup = true;
	if (c->state == CONN_PARKED)
		conn_unpark(c);
	else if (c->state == CONN_IDLE)
		conn_set_deadline(c, l->now_ms + HUNGUP_IDLE_MS);
	else if (c->state == CONN_HEADERS || c->state == CONN_BODY)
		conn_set_deadline(c, l->now_ms + HUNGUP_REQUEST_MS);
	conn_touch(c);
}

static void conn_event(struct loop *l, struct conn *c, uint32_t events)
{
	bool hungup = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (c->state == CONN_REFUSED) {
		discard(c);
		return;
	}
	if (c->state == CONN_NEW) {
		c->hungup = c->hungup || hungup;
		if (!start_connection(l, c) && hungup) /* the rest will never come */
			conn_drop(c);
		return;
	}
	if (hungup)
		conn_hungup(l, c);
	if (c->asleep)
		(void)next_request(l, c);
}

static void take_woken(struct loop *l)
{
	eventfd_t ignored;
	eventfd_read(l->wake_fd, &ignored);
	/* Copied, because other threads may queue a connection again before we have come to it. */
	struct conn *batch[WAKE_BATCH];
	size_t n = 0;
	pthread_mutex_lock(&l->wake_lock);
	struct conn *arrived = l->arrived;
	l->arrived = NULL;
	while (l->woken != NULL && n < WAKE_BATCH) {
		batch[n++] = l->woken;
		conn_wake_unlink(l, l->woken);
	}
	bool more = l->woken != NULL;
	pthread_mutex_unlock(&l->wake_lock);
	if (more)
		eventfd_write(l->wake_fd, 1);
	for (struct conn *next; arrived != NULL; arrived = next) {
		next = arrived->next;
		conn_arrive(l, arrived);
	}
	for (size_t i = 0; i < n; i++)
		if (batch[i]->state == CONN_PARKED)
			conn_unpark(batch[i]);
		else if (batch[i]->asleep)
			(void)next_request(l, batch[i]);
}

/* Between requests: whether the next one has arrived, which is then read. To close what has unread bytes would be a
 * reset. */
static bool has_arrived(struct loop *l, struct conn *c)
{
	int waiting = 0;
	return c->asleep ? next_request(l, c) : ioctl(c->fd, SIOCINQ, &waiting) == 0 && waiting > 0;
}

static void conn_due(struct loop *l, struct conn *c)
{
	struct conn *to;
	switch (c->state) {
	case CONN_NEW:
		if (c->begun && !start_connection(l, c))
			refuse(l, c, 408, LATE, false);
		else if (!c->begun)
			conn_drop(c);
		return;
	case CONN_REFUSED:
		conn_drop(c);
		return;
	case CONN_PARKED:
		conn_unpark(c);
		return;
	case CONN_SENDING:
		conn_check_progress(l, c);
		return;
	case CONN_CLOSING:
		/* The library puts this off until something happens on the socket, which may be never; but in each
		 * run it looks after connections with a timeout of their own. */
		MHD_set_connection_option(c->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 1u);
		conn_set_deadline(c, l->now_ms + HEADERS_MAX_MS);
		conn_touch(c);
		return;
	case CONN_IDLE:
	case CONN_HEADERS:
	case CONN_BODY:
		if (c->state == CONN_IDLE && !c->late && has_arrived(l, c)) { /* in this very round */
			c->late = true;
		} else if (c->state == CONN_IDLE && c->asleep && c->begun && (to = conn_leave(c)) != NULL) {
			refuse(l, to, 408, LATE, false); /* of a request that we have read, and the library hasn't */
			conn_rouse(c);
		} else {
			conn_cut(c);
			conn_rouse(c);
		}
		conn_set_deadline(c, l->now_ms + HEADERS_MAX_MS);
		conn_touch(c);
		return;
	}
}

/* After a crowd has gone, the C library would keep what it held. */
static bool crowd_gone(const struct loop *l) { return l->peak >= CROWD_MIN && atomic_load(&l->nconns) < l->peak / 2; }

static void upkeep(struct loop *l)
{
	unsigned count = atomic_load(&l->nconns);
	l->upkeep_at_ms = l->now_ms + UPKEEP_MS;
	if (count > l->peak)
		l->peak = count;
	bool gone = crowd_gone(l);
	if (gone)
		l->peak = count;
	if (l->http->handlers->upkeep(l, gone) || gone)
		malloc_trim(0);
}

static void handle_due(struct loop *l)
{
	while (l->heap_len > 0 && l->heap[0]->deadline_ms <= l->now_ms)
		conn_due(l, l->heap[0]);
	if (l->index == 0 && !l->http->accepting && !l->stopping && l->now_ms >= l->http->accept_again_ms)
		listen_again(l->http, true);
	if (l->now_ms >= l->upkeep_at_ms)
		upkeep(l);
	conns_trim_due(l);
}

static int wait_time(const struct loop *l)
{
	if (l->touched != NULL)
		return 0;
	int64_t until = l->now_ms + 60000;
	if (l->heap_len > 0 && l->heap[0]->deadline_ms < until)
		until = l->heap[0]->deadline_ms;
	if (l->trim_first != NULL && l->trim_first->trim_at_ms < until)
		until = l->trim_first->trim_at_ms;
	if (l->upkeep_at_ms < until && (crowd_gone(l) || l->http->handlers->upkeep_wanted(l)))
		until = l->upkeep_at_ms;
	if (l->index == 0 && !l->http->accepting && !l->stopping && l->http->accept_again_ms < until)
		until = l->http->accept_again_ms;
	if (l->stopping && l->stop_at_ms < until)
		until = l->stop_at_ms;
	return until <= l->now_ms ? 0 : (int)(until - l->now_ms);
}

static void handle_events(struct loop *l)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, wait_time(l));
	l->now_ms = clock_mono_ms();
	bool woken = false;
	for (int i = 0; i < n; i++) {
		struct source *s = events[i].data.ptr;
		switch (s->kind) {
		case SOURCE_WAKE:
			woken = true;
			break;
		case SOURCE_LISTENER:
			(void)accept_some(l->http);
			break;
		case SOURCE_DAEMON: {
			struct daemon *d = CONTAINER_OF(s, struct daemon, source);
			if (!d->touched) {
				d->touched = true;
				d->next_touched = l->touched;
				l->touched = d;
			}
			break;
		}
		case SOURCE_CONN:
			conn_event(l, CONTAINER_OF(s, struct conn, source), events[i].events);
			break;
		}
	}
	if (woken)
		take_woken(l);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void stop_idle(struct loop *l, struct conn *c)
{
	if (has_arrived(l, c) || c->begun)
		return;
	conn_cut(c);
	conn_rouse(c);
	conn_touch(c);
}

/* Whoever waits is answered, as at a timeout, and whoever has asked; whoever is idle is closed. */
static void begin_stop(struct loop *l)
{
	l->stopping = true;
	l->stop_at_ms = l->now_ms + STOP_GRACE_MS;
	take_woken(l);
	for (int i = 0; l->index == 0 && i < LISTEN_BACKLOG / ACCEPT_BATCH && accept_some(l->http); i++)
		continue;
	if (l->index == 0 && l->http->accepting)
		listen_again(l->http, false);
	for (struct conn *c = l->conns, *next; c != NULL; c = next) {
		next = c->next;
		if (c->state == CONN_NEW) {
			if (!start_connection(l, c) && !c->begun)
				conn_drop(c);
		} else if (c->state == CONN_PARKED) {
			conn_unpark(c);
		} else if (c->state == CONN_IDLE) {
			stop_idle(l, c);
		}
	}
}

static void end_daemons(struct loop *l)
{
	/* A daemon must not be stopped with suspended connections, and a resumed one must have been run. */
	for (struct conn *c = l->conns; c != NULL; c = c->next) {
		conn_cut(c);
		conn_rouse(c);
		if (c->state == CONN_PARKED)
			conn_unpark(c);
	}
	run_touched(l);
	take_woken(l); /* what was handed to us meanwhile */
	for (size_t i = 0; i < l->ndaemons; i++) {
		MHD_stop_daemon(l->daemons[i]->mhd);
		free(l->daemons[i]);
	}
	free(l->daemons);
	while (l->conns != NULL)
		conn_drop(l->conns);
}

/* Whether nobody is left; from then on nobody is handed over either. */
static bool close_door(struct loop *l)
{
	pthread_mutex_lock(&l->wake_lock);
	l->ended = l->conns == NULL && l->arrived == NULL;
	pthread_mutex_unlock(&l->wake_lock);
	return l->ended;
}

static void *loop_main(void *arg)
{
	struct loop *l = arg;
	l->now_ms = clock_mono_ms();
	if (l->index == 0)
		listen_again(l->http, true);
	while (!l->stopping || (l->now_ms < l->stop_at_ms && !close_door(l))) {
		handle_events(l);
		if (!l->stopping && atomic_load(&l->http->stopping))
			begin_stop(l);
		handle_due(l);
		run_touched(l);
	}
	end_daemons(l);
	return NULL;
}

uint64_t loop_random(struct loop *l)
{
	/* xorshift64*: for ids, retry times and cursors, nothing that must not be guessed. */
	l->random ^= l->random >> 12;
	l->random ^= l->random << 25;
	l->random ^= l->random >> 27;
	return l->random * 2685821657736338717u;
}

/* A socket from which nothing but the end can be read; -1 if there is none to be had. */
static int dead_socket(void)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
		return -1;
	close(ends[1]);
	return ends[0];
}

static int loop_init(struct http *h, unsigned index, struct err *e)
{
	struct loop *l = &h->loops[index];
	l->http = h;
	l->index = index;
	l->wake_source.kind = SOURCE_WAKE;
	if (getrandom(&l->random, sizeof l->random, 0) != sizeof l->random || l->random == 0)
		l->random = (uint64_t)clock_wall_us() + index;
	pthread_mutex_init(&l->wake_lock, NULL);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &l->wake_source};
	l->dead_fd = dead_socket();
	if (l->epoll_fd < 0 || l->wake_fd < 0 || l->dead_fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &event) != 0)
		return err_errno(e, errno, "cannot set up an event loop");
	l->work = h->handlers->work_new();
	return 0;
}

static void loop_clear(struct loop *l)
{
	/* Handed over when the loop's thread had already ended. */
	for (struct conn *c = l->arrived, *next; c != NULL; c = next) {
		next = c->next;
		close(c->fd);
		free(c);
	}
	l->arrived = NULL;
	l->http->handlers->work_free(l->work);
	if (l->epoll_fd > 0)
		close(l->epoll_fd);
	if (l->wake_fd > 0)
		close(l->wake_fd);
	if (l->dead_fd > 0)
		close(l->dead_fd);
	arena_clear(&l->scratch);
	free(l->heap);
	pthread_mutex_destroy(&l->wake_lock);
}

int loops_start(struct http *h, struct err *e)
{
	h->listener.kind = SOURCE_LISTENER;
	unsigned ready = 0;
	for (; ready < HTTP_LOOPS; ready++)
		if (loop_init(h, ready, e) < 0) {
			loop_clear(&h->loops[ready]);
			goto failed;
		}
	h->nloops = HTTP_LOOPS;
	/* Signals belong to the main thread. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	unsigned started = 0;
	pthread_attr_t attr;
	int error = pthread_attr_init(&attr);
	if (error == 0)
		error = pthread_attr_setstacksize(&attr, LOOP_STACK_BYTES);
	for (; started < HTTP_LOOPS && error == 0; started += error == 0)
		error = pthread_create(&h->loops[started].thread, &attr, loop_main, &h->loops[started]);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error == 0)
		return 0;
	err_errno(e, error, "cannot start a thread");
	atomic_store(&h->stopping, true);
	for (unsigned i = 0; i < started; i++) {
		eventfd_write(h->loops[i].wake_fd, 1);
		pthread_join(h->loops[i].thread, NULL);
	}
failed:
	while (ready > 0)
		loop_clear(&h->loops[--ready]);
	return -1;
}

void loops_stop(struct http *h)
{
	atomic_store(&h->stopping, true);
	for (unsigned i = 0; i < h->nloops; i++)
		eventfd_write(h->loops[i].wake_fd, 1);
	for (unsigned i = 0; i < h->nloops; i++)
		pthread_join(h->loops[i].thread, NULL);
	for (unsigned i = 0; i < h->nloops; i++)
		loop_clear(&h->loops[i]);
}
