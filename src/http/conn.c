/*
 * conn.c - one connection: its deadline, the memory it keeps while it waits, parking and waking, its end.
 * All but conn_wake() run in the loop's own thread.
 */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/metrics.h"
#include "http/loop.h"

#define PAGE_BYTES 4096u /* of x86-64 and most others; with larger pages trimming is merely refused */

/* ---- giving memory back --------------------------------------------------------------------------- */

/*
 * The daemon keeps a pool of POOL_BYTES for each connection and zeroes all of it after each response,
 * which makes all of it resident; a waiting client needs a few hundred bytes of it. A page that holds
 * only zeroes can be given back at any time without a change that anybody could see (the next access
 * finds zeroes), whatever the library keeps where; it only must not be shared with somebody else who
 * writes it at that moment, so pages that aren't wholly inside the pool are left alone.
 */
static void conn_trim(struct conn *c)
{
	static const char zeroes[PAGE_BYTES];
	uintptr_t end = (uintptr_t)c->pool + POOL_BYTES; /* small pools aren't trimmed, see conn_learn_pool() */
	uintptr_t at = ((uintptr_t)c->pool + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
	uintptr_t run = at;
	for (; at + PAGE_BYTES <= end; at += PAGE_BYTES) {
		if (memcmp((const void *)at, zeroes, PAGE_BYTES) == 0)
			continue;
		if (at > run)
			madvise((void *)run, at - run, MADV_DONTNEED);
		run = at + PAGE_BYTES;
	}
	if (at > run)
		madvise((void *)run, at - run, MADV_DONTNEED);
}

static void trim_unqueue(struct conn *c)
{
	struct loop *l = c->loop;
	if (!c->trim_queued)
		return;
	*(c->trim_prev != NULL ? &c->trim_prev->trim_next : &l->trim_first) = c->trim_next;
	*(c->trim_next != NULL ? &c->trim_next->trim_prev : &l->trim_last) = c->trim_prev;
	c->trim_queued = false;
	l->trim_len--;
}

/*
 * The daemon is about to free the pool: what a pool holds doesn't matter any more, but if its pages stayed
 * in the allocator full of old bytes, the next connection's pool couldn't be trimmed.
 */
static void conn_wipe(struct conn *c)
{
	uintptr_t start = ((uintptr_t)c->pool + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
	uintptr_t end = ((uintptr_t)c->pool + POOL_BYTES) & ~(uintptr_t)(PAGE_BYTES - 1);
	if (c->pool != NULL)
		madvise((void *)start, end - start, MADV_DONTNEED);
	c->pool = NULL;
	trim_unqueue(c);
}

static void trim_queue(struct conn *c)
{
	struct loop *l = c->loop;
	if (c->trim_queued || c->pool == NULL)
		return;
	c->trim_queued = true;
	c->trim_at_ms = l->now_ms + TRIM_AFTER_MS;
	c->trim_next = NULL;
	c->trim_prev = l->trim_last;
	*(l->trim_last != NULL ? &l->trim_last->trim_next : &l->trim_first) = c;
	l->trim_last = c;
	l->trim_len++;
}

/* Who asks again at once shouldn't pay for it each time, and many at once shouldn't fill the memory. */
void conns_trim_due(struct loop *l)
{
	while (l->trim_first != NULL && (l->trim_len > TRIM_QUEUE_MAX || l->trim_first->trim_at_ms <= l->now_ms)) {
		struct conn *c = l->trim_first;
		trim_unqueue(c);
		/* In these states the pool is the daemon's for certain: it has no reason to close the connection, or
		 * would have closed and told us. */
		if (c->state == CONN_PARKED || (c->state == CONN_IDLE && !c->hungup && !c->cut))
			conn_trim(c);
	}
}

void conn_learn_pool(struct conn *c, const char *method)
{
	if (!conn_can_sleep())
		return;
	/* The first byte of the first request is where the pool begins: look() has taken empty lines away. Should another
	 * version of the library differ, nothing is trimmed. */
	if (c->pool != NULL || !c->first || (uintptr_t)method % 16 != 0)
		return;
	char *pool = (char *)(uintptr_t)method;
	size_t usable = malloc_usable_size(pool);
	if (usable >= POOL_BYTES && usable < POOL_BYTES + 64)
		c->pool = pool;
}

/* ---- connections ------------------------------------------------------------------------------------ */

void daemon_touch(struct loop *l, struct daemon *d)
{
	if (d->touched)
		return;
	d->touched = true;
	d->next_touched = l->touched;
	l->touched = d;
}

void conn_touch(struct conn *c) { daemon_touch(c->loop, c->daemon); }

struct conn *conn_new(struct loop *l, int fd)
{
	struct conn *c = mem_zalloc(sizeof *c);
	c->source.kind = SOURCE_CONN;
	c->loop = l;
	c->fd = fd;
	c->framed = true;
	return c;
}

void conn_link(struct loop *l, struct conn *c)
{
	c->next = l->conns;
	if (l->conns != NULL)
		l->conns->prev = c;
	l->conns = c;
	c->deadline_ms = l->now_ms + l->http->config->tcp_read_timeout_ms;
	deadline_add(l, c);
}

void conn_wake_unlink(struct loop *l, struct conn *c)
{
	*(c->wake_prev != NULL ? &c->wake_prev->wake_next : &l->woken) = c->wake_next;
	if (c->wake_next != NULL)
		c->wake_next->wake_prev = c->wake_prev;
	c->wake_queued = false;
}

void conn_free(struct conn *c)
{
	struct loop *l = c->loop;
	REQUIRE(conn_is_ours(c) && c->request == NULL);
	pthread_mutex_lock(&l->wake_lock);
	if (c->wake_queued)
		conn_wake_unlink(l, c);
	pthread_mutex_unlock(&l->wake_lock);
	trim_unqueue(c);
	deadline_remove(l, c);
	*(c->prev != NULL ? &c->prev->next : &l->conns) = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	atomic_fetch_sub(&l->nconns, 1);
	metric_add(METRIC_CONNECTIONS, -1);
	c->source.kind = 0;
	free(c);
}

/* Closes a connection that no daemon has. */
void conn_drop(struct conn *c)
{
	REQUIRE(c->mhd == NULL);
	close(c->fd);
	conn_free(c);
}

void conn_arrive(struct loop *l, struct conn *c)
{
	REQUIRE(c->loop == l && c->state == CONN_NEW && loop_is_ours(l));
	/* One registration for its whole life: for hang-ups, which a daemon doesn't see while the connection is
	 * suspended, and for what arrives while no daemon has it or it is asleep. */
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
	conn_link(l, c);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
		conn_drop(c);
}

/* The daemon notices and closes. What a client in the middle of an answer hasn't read yet is thrown away. */
void conn_cut(struct conn *c)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};
	if (c->cut)
		return;
	c->cut = true;
	if (c->state != CONN_IDLE)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	shutdown(c->fd, SHUT_RDWR);
}

struct conn *conn_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct conn *c = info == NULL ? NULL : info->socket_context;
	REQUIRE(c == NULL || conn_is_ours(c));
	return c;
}

bool conn_park(struct conn *c, int64_t deadline_ms)
{
	REQUIRE(conn_is_ours(c) && c->request != NULL && conn_in_request(c) && !c->asleep);
	if (c->hungup || c->cut)
		return false;
	c->state = CONN_PARKED;
	conn_set_deadline(c, deadline_ms);
	trim_queue(c);
	MHD_suspend_connection(c->mhd);
	return true;
}

void conn_unpark(struct conn *c)
{
	REQUIRE(conn_is_ours(c) && c->state == CONN_PARKED);
	c->state = CONN_SENDING;
	c->acked = UINT64_MAX;
	conn_set_deadline(c, c->loop->now_ms + c->loop->http->config->tcp_send_timeout_ms);
	MHD_resume_connection(c->mhd);
	conn_touch(c);
}

void conn_rouse(struct conn *c)
{
	REQUIRE(conn_is_ours(c));
	if (!c->asleep)
		return;
	REQUIRE(c->state != CONN_PARKED);
	c->asleep = false;
	MHD_resume_connection(c->mhd);
	conn_touch(c);
}

void conn_suspend(struct conn *c)
{
	REQUIRE(conn_is_ours(c) && !c->asleep && c->state != CONN_PARKED);
	c->asleep = true;
	MHD_suspend_connection(c->mhd);
}

void conn_moved(struct conn *c)
{
	REQUIRE(conn_is_ours(c) && c->asleep && (c->state == CONN_IDLE || conn_in_request(c)));
	c->state = CONN_CLOSING;
	if (c->request == NULL) /* in the middle of one the daemon still reads what it has */
		conn_wipe(c);
	conn_set_deadline(c, c->loop->now_ms + HEADERS_MAX_MS);
	conn_rouse(c);
}

void conn_wake(struct conn *c)
{
	struct loop *l = c->loop;
	REQUIRE(c->source.kind == SOURCE_CONN);
	pthread_mutex_lock(&l->wake_lock);
	bool poke = l->woken == NULL && l->arrived == NULL;
	if (!c->wake_queued) {
		c->wake_queued = true;
		c->wake_prev = NULL;
		c->wake_next = l->woken;
		if (l->woken != NULL)
			l->woken->wake_prev = c;
		l->woken = c;
	}
	pthread_mutex_unlock(&l->wake_lock);
	if (poke)
		eventfd_write(l->wake_fd, 1);
}

static uint64_t bytes_acked(const struct conn *c)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;
	if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return 0;
	return info.tcpi_bytes_acked;
}

void conn_sending(struct conn *c)
{
	REQUIRE(conn_is_ours(c) && c->request != NULL && conn_in_request(c));
	c->state = CONN_SENDING;
	c->acked = UINT64_MAX; /* looked at only if it takes long */
	conn_set_deadline(c, c->loop->now_ms + c->loop->http->config->tcp_send_timeout_ms / 2);
}

/* A client that has closed its side has sent all it will send: what isn't complete soon never will be. (The
 * library may not notice: the end came together with the last bytes.) */
static int64_t request_deadline(const struct conn *c, int64_t max_ms)
{
	return c->loop->now_ms + (c->hungup ? HUNGUP_REQUEST_MS : max_ms);
}

void conn_body(struct conn *c)
{
	REQUIRE(conn_is_ours(c) && (c->state == CONN_HEADERS || c->state == CONN_BODY));
	if (c->state == CONN_BODY)
		return;
	c->state = CONN_BODY;
	conn_set_deadline(c, request_deadline(c, BODY_MAX_MS));
}

void conn_headers(struct conn *c)
{
	REQUIRE(conn_is_ours(c) && c->mhd != NULL && !c->asleep && c->state != CONN_PARKED);
	c->state = CONN_HEADERS;
	conn_set_deadline(c, request_deadline(c, HEADERS_MAX_MS));
}

/*
 * The versions (Debian 12's and 13's) of which we know what the library doesn't promise, see ARCHITECTURE.md: that a
 * connection may be suspended as its request ends, that it then reads nothing, and where its memory is. With any other
 * connections don't sleep, all are of the large class, and nothing is given back while they wait.
 */
bool conn_can_sleep(void)
{
	const char *version = MHD_get_version();
	return strcmp(version, "0.9.75") == 0 || strcmp(version, "1.0.1") == 0;
}

/* The bytes that the daemon has read, *waiting: that it hasn't. */
static bool bytes_read(const struct conn *c, uint64_t *read, int *waiting)
{
	struct tcp_info info = {0};
	int before = -1;
	for (int tries = 0; tries < 4; tries++) {
		socklen_t len = sizeof info;
		if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 || ioctl(c->fd, SIOCINQ, waiting) != 0)
			return false;
		/* More may arrive between the two. */
		*read = info.tcpi_bytes_received - (uint64_t)*waiting;
		if (*waiting == 0 || *waiting == before)
			return true;
		before = *waiting;
	}
	return false;
}

bool conn_request_read(struct conn *c)
{
	uint64_t read;
	int waiting;
	c->settled = false;
	if (!conn_can_sleep())
		return true;
	if (!c->framed || !bytes_read(c, &read, &waiting))
		return false;
	c->settled = read == c->looked;
	return read <= c->looked;
}

void conn_idle(struct conn *c, bool stays)
{
	int waiting = 0;
	REQUIRE(conn_is_ours(c) && c->request == NULL && conn_in_request(c)); /* not only SENDING: the library has answers of its own */
	c->state = CONN_IDLE;
	c->requests++;
	c->first = c->late = false;
	c->pending -= c->pending > 0;
	if (stays && c->settled && c->pending == 0 && !c->hungup && !c->cut) {
		/* The library goes on believing that it is to write; when it is resumed it tries, does nothing and
		 * looks again. */
		conn_suspend(c);
		if (ioctl(c->fd, SIOCINQ, &waiting) == 0 && waiting > 0) /* of that there was an event already */
			conn_wake(c);
	}
	/* The library may have missed the end of what a client sent together with its last request. */
	int64_t wait_ms = c->hungup ? HUNGUP_IDLE_MS : c->loop->http->config->tcp_read_timeout_ms;
	if (c->loop->stopping)
		wait_ms = 0;
	conn_set_deadline(c, c->loop->now_ms + wait_ms);
	trim_queue(c);
}

void conn_closing(struct conn *c, bool at_once)
{
	REQUIRE(conn_is_ours(c) && c->request == NULL && c->mhd != NULL && !c->asleep);
	c->state = CONN_CLOSING;
	c->requests++;
	conn_wipe(c);
	conn_set_deadline(c, c->loop->now_ms + (at_once ? HEADERS_MAX_MS : 0));
}

void conn_check_progress(struct loop *l, struct conn *c)
{
	uint64_t acked = bytes_acked(c);
	REQUIRE(c->state == CONN_SENDING);
	if (acked == c->acked) {
		conn_cut(c);
		conn_touch(c);
	}
	c->acked = acked;
	conn_set_deadline(c, l->now_ms + l->http->config->tcp_send_timeout_ms);
}
