/*
 * loop.c - see loop.h. One round of a loop: wait for events; look at all of them (nothing is freed
 * meanwhile); resume what was woken or is due; run each touched daemon.
 */
#include "http/loop.h"

#include <errno.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock_order.h"

/* libpg_query writes its tree by recursion: 32,000 nested sums, the most a condition has room for, take 3 MB. Only
 * what is used becomes memory. */
#define LOOP_STACK_BYTES (16u << 20)
#define EVENTS_MAX 512
#define WAKE_BATCH 4096
#define LATE "the request didn't arrive in time"

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
	REQUIRE(c->loop == l);
	bool hungup = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
	if (c->state == CONN_REFUSED) {
		intake_discard(c);
		return;
	}
	if (c->state == CONN_NEW) {
		c->hungup = c->hungup || hungup;
		if (!intake_first(l, c) && hungup) /* the rest will never come */
			conn_drop(c);
		return;
	}
	if (hungup)
		conn_hungup(l, c);
	if (c->asleep)
		(void)intake_next(l, c);
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
			(void)intake_next(l, batch[i]);
}

static void unpark_all(struct loop *l)
{
	for (struct conn *c = l->conns; c != NULL; c = c->next)
		if (c->state == CONN_PARKED)
			conn_unpark(c);
}

/* Between requests: whether the next one has arrived, which is then read. To close what has unread bytes would be a
 * reset. */
static bool has_arrived(struct loop *l, struct conn *c)
{
	int waiting = 0;
	return c->asleep ? intake_next(l, c) : ioctl(c->fd, SIOCINQ, &waiting) == 0 && waiting > 0;
}

static void conn_due(struct loop *l, struct conn *c)
{
	struct conn *to;
	switch (c->state) {
	case CONN_NEW:
		if (c->begun && !intake_first(l, c))
			intake_refuse(l, c, 408, LATE, false);
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
			intake_refuse(l, to, 408, LATE, false); /* of a request that we have read, and the library hasn't */
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
		accept_listen(l->http, true);
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
		case SOURCE_DAEMON:
			daemon_touch(l, CONTAINER_OF(s, struct daemon, source));
			break;
		case SOURCE_CONN:
			conn_event(l, CONTAINER_OF(s, struct conn, source), events[i].events);
			break;
		default:
			REQUIRE(!"an epoll event of ours");
		}
	}
	if (woken)
		take_woken(l);
	if (woken && atomic_exchange(&l->unpark_all, false))
		unpark_all(l);
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
		accept_listen(l->http, false);
	for (struct conn *c = l->conns, *next; c != NULL; c = next) {
		next = c->next;
		if (c->state == CONN_NEW) {
			if (!intake_first(l, c) && !c->begun)
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
	}
	unpark_all(l);
	daemons_run(l);
	take_woken(l); /* what was handed to us meanwhile */
	daemons_end(l);
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
	l->self = pthread_self();
	l->now_ms = clock_mono_ms();
	if (l->index == 0)
		accept_listen(l->http, true);
	while (!l->stopping || (l->now_ms < l->stop_at_ms && !close_door(l))) {
		handle_events(l);
		if (!l->stopping && atomic_load(&l->http->stopping))
			begin_stop(l);
		handle_due(l);
		daemons_run(l);
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
	lock_rank(&l->wake_lock, LOCK_WAITER);
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

void loops_unpark(struct http *h)
{
	for (unsigned i = 0; i < h->nloops; i++) {
		atomic_store(&h->loops[i].unpark_all, true);
		eventfd_write(h->loops[i].wake_fd, 1);
	}
}
