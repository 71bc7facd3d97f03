/* accept.c - accepting connections, on the first loop, and handing them to the one that has the fewest. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/metrics.h"
#include "http/loop.h"

void accept_listen(struct http *h, bool on)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = &h->listener};
	h->accepting = on;
	epoll_ctl(h->loops[0].epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, h->listen_fd, &event);
	if (!on)
		h->accept_again_ms = h->loops[0].now_ms + ACCEPT_PAUSE_MS;
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
		metric_add(METRIC_CONNECTIONS, 1);
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
	metric_add(METRIC_CONNECTIONS, 1);
	conn_arrive(own, c);
}

bool accept_some(struct http *h)
{
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		unsigned total = 0;
		for (unsigned k = 0; k < h->nloops; k++)
			total += atomic_load(&h->loops[k].nconns);
		if (total >= h->conns_max) {
			accept_listen(h, false);
			return false;
		}
		int fd = accept4(h->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK) {
				log_warning("cannot accept connections for the moment: %s", strerror(errno));
				accept_listen(h, false);
			}
			return false;
		}
		hand_over(h, fd);
	}
	return true;
}
