/*
 * intake.c - what arrives for a connection that no daemon reads from: looked at (arrival.h), and given to a daemon of the
 * class that it needs, or refused by our own hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"
#include "http/loop.h"
#include "http/refusal.h"

#define EMPTY_READS_MAX 4 /* of ARRIVAL_BYTES_MAX each: nobody who means well sends so many empty lines */

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

void intake_discard(struct conn *c)
{
	REQUIRE(c->state == CONN_REFUSED);
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

void intake_refuse(struct loop *l, struct conn *c, unsigned status, const char *why, bool head)
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
		intake_discard(c);
	else
		conn_drop(c);
}

bool intake_first(struct loop *l, struct conn *c)
{
	REQUIRE(conn_is_ours(c) && c->state == CONN_NEW && c->mhd == NULL);
	struct arrival a;
	switch (look(c, &a)) {
	case LOOKED_NOTHING:
		return false;
	case LOOKED_END:
		conn_drop(c);
		return true;
	case LOOKED_REFUSED:
		intake_refuse(l, c, a.status, a.why, a.head);
		return true;
	case LOOKED_WHOLE:
		break;
	}
	c->first = true;
	let_pass(c, &a);
	daemon_take(l, c, class_of(&a));
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
	REQUIRE(conn_is_ours(c) && c->asleep);
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
	metric_add(METRIC_CONNECTIONS, 1);
	conn_link(l, to);
	conn_moved(c);
	return to;
}

bool intake_next(struct loop *l, struct conn *c)
{
	REQUIRE(conn_is_ours(c) && c->asleep && c->mhd != NULL);
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
			intake_refuse(l, to, a.status, a.why, a.head);
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
			daemon_take(l, to, class_of(&a));
			return true;
		}
		if (c->daemon->pool_bytes == POOL_SMALL_BYTES) /* better no answer than a wrong one */
			conn_cut(c);
	}
	let_pass(c, &a);
	conn_rouse(c);
	return true;
}
