/* client.c - see client.h. */
#include "bench/client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"

#define READ_BYTES (256 * 1024)
#define READS_IN_A_ROW 16 /* of one connection, then the others get their turn */
#define EVENTS_MAX 512
#define BUSY_MAX_DEFAULT 200
#define TICK_NS (20 * NS_PER_MS)
#define PADDING "X-Padding: "
#define RETRY_NS (20 * NS_PER_MS)
#define RETRIES_A_SECOND 5000 /* of all clients: more would take the machine from a server that stops or starts */
#define STALLS_MAX 500 /* answers that don't move on before it counts as a fault */

int loop_init(struct loop *l, struct err *e)
{
	memset(l, 0, sizeof *l);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		return err_errno(e, errno, "epoll");
	l->read_buf = mem_alloc(READ_BYTES);
	l->busy_max = BUSY_MAX_DEFAULT;
	l->queue_tail = &l->queue;
	return 0;
}

void loop_clear(struct loop *l)
{
	if (l->read_buf == NULL)
		return;
	close(l->epoll_fd);
	free(l->read_buf);
	memset(l, 0, sizeof *l);
}

static size_t on_fast(void *ctx, const char *data, size_t len);

void trail_init(struct trail *t)
{
	t->n = 0;
	for (unsigned i = 0; i < TRAIL_MAX; i++)
		buf_init(&t->body[i], TRAIL_BYTES_MAX);
}

static void trail_reset(struct trail *t)
{
	t->n = 0;
	for (unsigned i = 0; i < TRAIL_MAX; i++)
		buf_reset(&t->body[i]);
}

void trail_clear(struct trail *t)
{
	t->n = 0;
	for (unsigned i = 0; i < TRAIL_MAX; i++)
		buf_clear(&t->body[i]);
}

void client_init(struct client *c, struct loop *l, const struct url *u, const char *secret, const char *query)
{
	memset(c, 0, sizeof *c);
	c->loop = l;
	l->clients++;
	c->url = u;
	c->secret = secret;
	c->query = query;
	c->fd = -1;
	httpres_init(&c->http);
	scan_init(&c->scan);
	c->scan.fast = on_fast;
	c->scan.fast_ctx = c;
	sse_init(&c->sse);
	buf_init(&c->error, 1024);
}

static void disconnect(struct client *c)
{
	if (c->fd >= 0) {
		close(c->fd);
		c->loop->open--;
	}
	c->fd = -1;
	c->used = false;
	free(c->unsent);
	c->unsent = NULL;
}

static void settle(struct client *c)
{
	if (c->counted)
		c->loop->busy--;
	c->counted = false;
}

static void unlink_from(struct client **list, struct client *c)
{
	for (; *list != NULL; list = &(*list)->next)
		if (*list == c) {
			*list = c->next;
			return;
		}
}

static void client_stop(struct client *c)
{
	struct loop *l = c->loop;

	settle(c);
	if (c->state == CLIENT_QUEUED) {
		unlink_from(&l->queue, c);
		l->queue_tail = &l->queue;
		while (*l->queue_tail != NULL)
			l->queue_tail = &(*l->queue_tail)->next;
	} else if (c->state == CLIENT_SLEEPING) {
		unlink_from(&l->sleepers, c);
	}
	disconnect(c);
	c->state = CLIENT_IDLE;
}

void client_clear(struct client *c)
{
	if (c->loop == NULL)
		return;
	client_stop(c);
	c->loop->clients--;
	httpres_clear(&c->http);
	scan_clear(&c->scan);
	sse_clear(&c->sse);
	buf_clear(&c->error);
	c->loop = NULL;
}

static void failed(struct client *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void failed(struct client *c, const char *fmt, ...)
{
	char text[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	buf_reset(&c->error);
	buf_puts(&c->error, text);
	if (c->loop->failures++ == 0)
		err_set(&c->loop->err, ERR_PROTOCOL, "%s", text);
	client_stop(c);
	c->on_event(c, CLIENT_FAILED);
}

static void nap(struct client *c, int64_t ns)
{
	disconnect(c);
	c->state = CLIENT_SLEEPING;
	c->wake_ns = now_ns() + ns;
	c->next = c->loop->sleepers;
	c->loop->sleepers = c;
	c->retries++;
	c->loop->retries++;
}

static int64_t retry_ns(const struct loop *l)
{
	int64_t ns = (int64_t)l->clients * NS_PER_S / RETRIES_A_SECOND;

	return ns > RETRY_NS ? ns : RETRY_NS;
}

/* Nobody there, or the connection broke: tried again where that is expected. */
static void broken(struct client *c, const char *what, int errnum)
{
	if (c->persist) {
		nap(c, retry_ns(c->loop));
		c->on_event(c, CLIENT_LOST);
	} else if (errnum)
		failed(c, "%s: %s", what, strerror(errnum));
	else
		failed(c, "%s", what);
}

static size_t request_text(struct client *c, char *out, size_t size)
{
	const char *method = c->mode == CLIENT_DELETE ? "DELETE" : "GET";
	int n, pad;

	n = snprintf(out, size, "%s %s?%s&offset=%s%s%s%s%s%s%s%s", method, c->url->shape, c->query, c->offset,
		     c->handle[0] ? "&handle=" : "", c->handle, c->live ? "&live=true" : "",
		     c->live && c->mode == CLIENT_SSE ? "&live_sse=true" : "", c->cursor[0] ? "&cursor=" : "",
		     c->cursor, c->secret ? "&secret=" : "");
	if (n < 0 || (size_t)n >= size)
		return 0;
	n += snprintf(out + n, size - (size_t)n, "%s HTTP/1.1\r\nHost: %s:%s\r\nUser-Agent: busbar-bench/%s\r\n",
		      c->secret ? c->secret : "", c->url->host, c->url->port, BUSBAR_VERSION);
	if (c->live && (pad = (int)c->loop->request_bytes - n - (int)(sizeof PADDING + 3)) > 0 && (size_t)n < size)
		n += snprintf(out + n, size - (size_t)n, PADDING "%0*d\r\n", pad, 0);
	if ((size_t)n + 2 >= size)
		return 0;
	memcpy(out + n, "\r\n", 2);
	return (size_t)n + 2;
}

static void watch(struct client *c, int op, uint32_t events)
{
	struct epoll_event ev = {events, {.ptr = c}};

	epoll_ctl(c->loop->epoll_fd, op, c->fd, &ev);
}

static void request_sent(struct client *c)
{
	if (!c->live)
		return;
	settle(c);
	if (!c->ready) {
		c->ready = true;
		c->on_event(c, CLIENT_READY);
	}
}

static void open_connection(struct client *c);

static void send_request(struct client *c)
{
	char text[REQUEST_BYTES_MAX];
	size_t len = request_text(c, text, sizeof text);
	ssize_t n;

	if (len == 0) {
		failed(c, "the request is longer than %d bytes", REQUEST_BYTES_MAX);
		return;
	}
	httpres_next(&c->http);
	scan_next(&c->scan);
	c->state = CLIENT_WAITING;
	c->requests++;
	n = send(c->fd, text, len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN) {
		if (c->used) { /* closed meanwhile: a new connection */
			disconnect(c);
			c->requests--;
			open_connection(c);
		} else {
			broken(c, "sending a request", errno);
		}
		return;
	}
	if (n < 0)
		n = 0;
	if ((size_t)n == len) {
		request_sent(c);
		return;
	}
	c->unsent = mem_alloc(len - (size_t)n);
	c->unsent_len = len - (size_t)n;
	c->unsent_at = 0;
	memcpy(c->unsent, text + n, c->unsent_len);
	watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void open_connection(struct client *c)
{
	int one = 1, r;

	c->fd = socket(c->url->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		failed(c, "a socket more: %s (open files are limited: ulimit -n)", strerror(errno));
		return;
	}
	c->loop->open++;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->used = false;
	r = connect(c->fd, (const struct sockaddr *)&c->url->addr, c->url->addr_len);
	if (r != 0 && errno != EINPROGRESS) {
		broken(c, "connecting", errno);
		return;
	}
	c->state = CLIENT_CONNECTING;
	watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* The next request: on the open connection, or on a new one. */
static void ask(struct client *c)
{
	if (c->fd >= 0)
		send_request(c);
	else
		open_connection(c);
}

static void enqueue(struct client *c)
{
	c->state = CLIENT_QUEUED;
	c->next = NULL;
	*c->loop->queue_tail = c;
	c->loop->queue_tail = &c->next;
}

void client_start(struct client *c, enum client_mode mode, const char *handle, const char *offset)
{
	if (c->state != CLIENT_IDLE)
		client_stop(c);
	c->mode = mode;
	c->live = false;
	c->ready = false;
	c->stalls = 0;
	c->cursor[0] = '\0';
	c->last_lsn = c->last_op = 0;
	c->started_ns = c->first_byte_ns = 0;
	c->step = 0;
	c->body_at = 0;
	if (c->record != NULL)
		trail_reset(c->record);
	c->own = false;
	c->same = mode == CLIENT_SYNC && c->trail != NULL && c->trail->n > 0;
	snprintf(c->handle, sizeof c->handle, "%s", handle ? handle : "");
	snprintf(c->offset, sizeof c->offset, "%s", c->handle[0] && offset ? offset : "-1");
	/* A client with a position counts as up to date, and waits from there. */
	if (c->handle[0] && (mode == CLIENT_POLL || mode == CLIENT_SSE))
		c->live = true;
	enqueue(c);
}

void client_refetch(struct client *c)
{
	char handle[sizeof c->handle];

	memcpy(handle, c->handle, sizeof handle); /* of the 409 */
	client_start(c, c->mode, NULL, NULL);
	c->live = false;
	memcpy(c->handle, handle, sizeof handle);
}

void client_go(struct client *c)
{
	if (c->state == CLIENT_HELD)
		ask(c);
}

static bool on_message(void *ctx, const struct msg *m);

/* A body with rows differs from the trail's: those before it, which were only compared, are read now. */
static bool replay(struct client *c)
{
	struct scan s;
	bool ok = true;

	c->same = false;
	scan_init(&s);
	for (unsigned i = 0; ok && i < c->step; i++) {
		scan_next(&s);
		ok = scan_feed(&s, c->trail->body[i].data, c->trail->body[i].len, on_message, c);
	}
	scan_clear(&s);
	return ok;
}

static size_t on_fast(void *ctx, const char *data, size_t len)
{
	struct client *c = ctx;

	return c->fast == NULL || c->same ? 0 : c->fast(c, data, len);
}

static bool on_message(void *ctx, const struct msg *m)
{
	struct client *c = ctx;

	if (c->same && (m->kind == MSG_INSERT || m->kind == MSG_UPDATE || m->kind == MSG_DELETE) && !replay(c))
		return false;
	if (m->has_lsn) {
		c->last_lsn = m->lsn;
		c->last_op = m->op_position;
	} else if (m->kind == MSG_UP_TO_DATE && m->seen_lsn > c->last_lsn) {
		c->last_lsn = m->seen_lsn;
		c->last_op = 0;
	}
	return c->on_msg == NULL || c->on_msg(c, m, c->read_ns);
}

static bool on_sse_event(void *ctx, const char *data, size_t len)
{
	struct msg m;
	ptrdiff_t n = scan_message(data, len, &m);

	return n > 0 && on_message(ctx, &m);
}

/* Bytes of a body that is compared with the trail's; from the first that differ on it is read, from its beginning. */
static bool compare(struct client *c, const char *data, size_t len)
{
	const struct buf *known = c->step < c->trail->n ? &c->trail->body[c->step] : NULL;

	if (known != NULL && len <= known->len - c->body_at && memcmp(known->data + c->body_at, data, len) == 0) {
		c->body_at += len;
		return true;
	}
	c->own = true;
	return (c->body_at == 0 || scan_feed(&c->scan, known->data, c->body_at, on_message, c)) &&
	       scan_feed(&c->scan, data, len, on_message, c);
}

/* At the end of a body that was compared: shorter than the trail's, it is read after all. False if that goes wrong. */
static bool was_whole(struct client *c)
{
	const struct buf *known = c->step < c->trail->n ? &c->trail->body[c->step] : NULL;

	if (known != NULL && c->body_at == known->len)
		return true;
	c->own = true;
	return c->body_at == 0 || scan_feed(&c->scan, known->data, c->body_at, on_message, c);
}

static void record(struct client *c, const char *data, size_t len)
{
	struct trail *t = c->record;

	if (c->step >= TRAIL_MAX || t->body[c->step].failed) {
		t->n = 0;
		c->record = NULL;
		return;
	}
	buf_put(&t->body[c->step], data, len);
	t->n = t->body[c->step].failed ? 0 : c->step + 1;
}

static bool on_body(void *ctx, const char *data, size_t len)
{
	struct client *c = ctx;

	c->bytes += len;
	if (c->first_byte_ns == 0)
		c->first_byte_ns = c->read_ns;
	if (c->mode == CLIENT_DELETE)
		return true;
	if (c->http.status >= 400) {
		if (c->error.len + len < 500)
			buf_put(&c->error, data, len);
		return true;
	}
	if (c->http.event_stream)
		return sse_feed(&c->sse, data, len, on_sse_event, c);
	if (c->record != NULL && c->mode == CLIENT_SYNC)
		record(c, data, len);
	if (c->same && !c->own)
		return compare(c, data, len);
	return scan_feed(&c->scan, data, len, on_message, c);
}

static bool finished_once(struct client *c)
{
	if (c->mode != CLIENT_DELETE)
		return false;
	if (c->http.close)
		disconnect(c);
	settle(c);
	c->state = CLIENT_IDLE;
	c->on_event(c, CLIENT_SYNCED);
	return true;
}

static void refused(struct client *c)
{
	int status = c->http.status;

	if (status == 409) {
		snprintf(c->handle, sizeof c->handle, "%s", c->http.handle);
		snprintf(c->offset, sizeof c->offset, "-1");
		if (c->http.close)
			disconnect(c);
		settle(c);
		c->state = CLIENT_IDLE;
		c->on_event(c, CLIENT_REFETCH);
	} else if ((status == 503 || status == 429) && (c->persist || c->retries < 100)) {
		bool live = c->live;
		nap(c, c->http.retry_after_s ? c->http.retry_after_s * NS_PER_S : 200 * NS_PER_MS);
		if (live)
			c->on_event(c, CLIENT_ANSWERED);
	} else {
		failed(c, "answered with %d: %.*s", status, (int)c->error.len, c->error.data ? c->error.data : "");
	}
}

/* Takes the position of the answer; false if the answer makes no sense. */
static bool advance(struct client *c)
{
	struct httpres *h = &c->http;
	bool moved;

	if (h->handle[0] == '\0' || (h->offset[0] == '\0' && !h->event_stream)) {
		failed(c, "an answer without electric-handle or electric-offset");
		return false;
	}
	if (c->handle[0] && strcmp(c->offset, "-1") != 0 && strcmp(c->handle, h->handle) != 0) {
		failed(c, "the handle changed from %s to %s without a 409", c->handle, h->handle);
		return false;
	}
	memcpy(c->handle, h->handle, sizeof c->handle);
	memcpy(c->cursor, h->cursor, sizeof c->cursor);
	if (h->event_stream) {
		if (c->last_lsn != 0)
			snprintf(c->offset, sizeof c->offset, "%" PRIu64 "_%" PRIu64, c->last_lsn, c->last_op);
		return true;
	}
	if (c->same && !c->own && !was_whole(c)) {
		failed(c, "the body isn't what was expected");
		return false;
	}
	if (!(c->same && !c->own) && !scan_done(&c->scan)) {
		failed(c, "the list of messages doesn't end");
		return false;
	}
	c->step++;
	c->body_at = 0;
	c->own = false;
	moved = strcmp(c->offset, h->offset) != 0;
	memcpy(c->offset, h->offset, sizeof c->offset);
	if (moved || h->up_to_date)
		c->stalls = 0;
	else if (++c->stalls > STALLS_MAX) {
		failed(c, "%d answers at offset %s that don't move on", STALLS_MAX, c->offset);
		return false;
	}
	return true;
}

static void answered(struct client *c)
{
	bool live = c->live;

	c->used = true;
	c->status = c->http.status;
	if (finished_once(c))
		return;
	if (c->http.status != 200) {
		refused(c);
		return;
	}
	if (!advance(c))
		return;
	if (c->http.close)
		disconnect(c);
	if (live) {
		c->state = CLIENT_HELD;
		c->on_event(c, CLIENT_ANSWERED);
		if (c->state == CLIENT_HELD && !c->hold)
			ask(c);
		return;
	}
	if (c->http.up_to_date && c->mode == CLIENT_SYNC) {
		settle(c);
		c->state = CLIENT_IDLE;
		c->on_event(c, CLIENT_SYNCED);
		return;
	}
	if (c->http.up_to_date)
		c->live = true;
	if (c->stalls > 3)
		nap(c, 10 * NS_PER_MS);
	else
		ask(c);
}

static void closed(struct client *c, int errnum)
{
	bool nothing = c->http.state == HTTP_STATUS && c->http.line.len == 0;

	if (nothing && c->used) { /* it may close a kept connection at any time: ask again on a new one */
		c->loop->reconnects++;
		disconnect(c);
		open_connection(c);
		return;
	}
	if (errnum == 0 && !nothing && httpres_eof(&c->http) == 0) {
		answered(c);
		return;
	}
	/* An event stream may be cut at any time; the client continues after its last event. */
	if (c->http.event_stream && c->last_lsn != 0 && c->persist) {
		snprintf(c->offset, sizeof c->offset, "%" PRIu64 "_%" PRIu64, c->last_lsn, c->last_op);
		nap(c, retry_ns(c->loop));
		c->on_event(c, CLIENT_LOST);
		return;
	}
	broken(c, errnum ? "reading an answer" : c->http.error ? c->http.error : "closed without an answer", errnum);
}

/* One read's bytes. False when the connection isn't to be read further now. */
static bool take(struct client *c, const char *data, size_t len)
{
	ptrdiff_t n;

	if (c->http.state == HTTP_STATUS && c->http.line.len == 0)
		buf_reset(&c->error);
	n = httpres_feed(&c->http, data, len, on_body, c);
	if (c->state != CLIENT_WAITING)
		return false; /* a callback stopped it */
	if (n < 0) {
		failed(c, "%s", c->http.error);
		return false;
	}
	if (c->http.state != HTTP_DONE)
		return true;
	if ((size_t)n < len) {
		failed(c, "bytes behind the end of an answer");
		return false;
	}
	answered(c);
	return false;
}

static void readable(struct client *c)
{
	for (int i = 0; i < READS_IN_A_ROW; i++) {
		ssize_t n = recv(c->fd, c->loop->read_buf, READ_BYTES, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		c->read_ns = now_ns();
		if (c->state != CLIENT_WAITING) { /* held or idle: the server closed, or talks unasked */
			disconnect(c);
			return;
		}
		if (n <= 0) {
			closed(c, n < 0 ? errno : 0);
			return;
		}
		if (!take(c, c->loop->read_buf, (size_t)n) || n < READ_BYTES)
			return;
	}
}

static void writable(struct client *c)
{
	ssize_t n = send(c->fd, c->unsent + c->unsent_at, c->unsent_len - c->unsent_at, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		broken(c, "sending a request", errno);
		return;
	}
	if (n > 0)
		c->unsent_at += (size_t)n;
	if (c->unsent_at < c->unsent_len)
		return;
	free(c->unsent);
	c->unsent = NULL;
	watch(c, EPOLL_CTL_MOD, EPOLLIN);
	request_sent(c);
}

static void handle_event(struct client *c, uint32_t events)
{
	int errnum = 0;
	socklen_t len = sizeof errnum;

	if (c->fd < 0)
		return;
	if (c->state == CLIENT_CONNECTING) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
		if (errnum != 0) {
			broken(c, "connecting", errnum);
			return;
		}
		watch(c, EPOLL_CTL_MOD, EPOLLIN);
		send_request(c);
		return;
	}
	if (c->unsent != NULL && (events & EPOLLOUT)) {
		writable(c);
		return;
	}
	readable(c);
}

static void start_queued(struct loop *l)
{
	while (l->queue != NULL && l->busy < l->busy_max) {
		struct client *c = l->queue;
		if ((l->queue = c->next) == NULL)
			l->queue_tail = &l->queue;
		l->busy++;
		c->counted = true;
		if (c->started_ns == 0)
			c->started_ns = now_ns();
		ask(c);
	}
}

/* Wakes sleepers; milliseconds to the next one or to the tick. */
static int sleepers(struct loop *l, int64_t now)
{
	struct client **at = &l->sleepers, *c;
	int64_t next = now + TICK_NS;

	while ((c = *at) != NULL) {
		if (c->wake_ns > now) {
			if (c->wake_ns < next)
				next = c->wake_ns;
			at = &c->next;
			continue;
		}
		*at = c->next;
		c->state = CLIENT_IDLE;
		ask(c);
		at = &l->sleepers; /* the list may have changed */
	}
	return (int)((next - now + NS_PER_MS - 1) / NS_PER_MS);
}

int loop_run(struct loop *l, const bool *done, int64_t deadline_ns)
{
	struct epoll_event events[EVENTS_MAX];

	for (;;) {
		int64_t now = now_ns();
		int n, wait_ms;
		start_queued(l);
		wait_ms = sleepers(l, now);
		if (l->tick != NULL && now - l->tick_ns >= TICK_NS) {
			l->tick_ns = now;
			l->tick(l->tick_ctx, now);
		}
		if (done != NULL && *done)
			return 0;
		if (stopping())
			return -2;
		if (now >= deadline_ns)
			return -1;
		if ((deadline_ns - now) / NS_PER_MS < wait_ms)
			wait_ms = (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS);
		if (l->queue != NULL && l->busy < l->busy_max)
			wait_ms = 0;
		n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, wait_ms);
		for (int i = 0; i < n; i++)
			handle_event(events[i].data.ptr, events[i].events);
	}
}
