/*
 * statsd.c - see statsd.h. Datagrams as https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/ describes them.
 */
#include "ops/statsd.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ops/ops.h"

#define DATAGRAM_BYTES_MAX 1431 /* what goes through most networks in one piece, beside the headers */
#define LINE_BYTES_MAX 512
#define NAME_BYTES_MAX 254      /* of a host; and of an instance's id */
#define PORT_DEFAULT "8125"
#define RESOLVE_EVERY_MS 60000  /* a name may come to mean another host, and UDP says nothing of that */
#define ROUND_LEAST_MS 1000

struct statsd {
	const struct ops *ops;
	char host[NAME_BYTES_MAX + 2], port[6], tag[NAME_BYTES_MAX + 16];
	int64_t every_ms;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	int refs;      /* the thread, and whoever stops it: the last frees this */
	bool stopping;
	bool using;    /* the thread is at it: `ops` is in use */
	/* the thread's */
	int fd; /* -1: none */
	int64_t resolved_ms;
	bool failed; /* a datagram couldn't be sent */
	struct metric_values was, now;
	char datagram[DATAGRAM_BYTES_MAX + 1];
	size_t len;
};

/* ---- the setting ---- */

static int bad_host(const char *text, struct err *e)
{
	return err_set(e, ERR_CONFIG, "ELECTRIC_STATSD_HOST: \"%s\" is not a host, or host:port", text);
}

/* "host", "host:port", "[::1]:port", "::1". */
static int split_host(const char *text, char *host, char port[6], struct err *e)
{
	const char *colon = strrchr(text, ':'), *end = text + strlen(text);
	bool bracket = text[0] == '[';
	if (bracket) {
		end = strchr(text++, ']');
		colon = end != NULL && end[1] == ':' ? end + 1 : NULL;
		if (end == NULL || (end[1] != '\0' && colon == NULL))
			return bad_host(text - 1, e);
	} else if (colon != NULL && strchr(text, ':') != colon) {
		colon = NULL; /* an address of IPv6 */
	} else if (colon != NULL) {
		end = colon;
	}
	const char *digits = colon != NULL ? colon + 1 : PORT_DEFAULT;
	size_t n = (size_t)(end - text), ndigits = strlen(digits);
	if (n == 0 || n > NAME_BYTES_MAX || ndigits == 0 || ndigits > 5 || strspn(digits, "0123456789") != ndigits ||
	    strtol(digits, NULL, 10) < 1 || strtol(digits, NULL, 10) > 65535)
		return bad_host(bracket ? text - 1 : text, e);
	memcpy(host, text, n);
	host[n] = '\0';
	memcpy(port, digits, ndigits + 1);
	return 0;
}

int statsd_check_config(const struct config *c, struct err *e)
{
	char host[NAME_BYTES_MAX + 1], port[6];
	return c->statsd_host != NULL ? split_host(c->statsd_host, host, port, e) : 0;
}

/* The id of the setting, without what would end a tag; or a random one. */
static void make_tag(const char *id, char *tag, size_t max)
{
	unsigned char r[16] = {0};
	if (id != NULL) {
		snprintf(tag, max, "instance_id:%.*s", NAME_BYTES_MAX, id);
		for (char *p = tag + strlen("instance_id:"); *p != '\0'; p++)
			if (strchr("|,#\n\r @", *p) != NULL)
				*p = '_';
		return;
	}
	if (getrandom(r, sizeof r, 0) != sizeof r)
		memset(r, 0, sizeof r);
	snprintf(tag, max, "instance_id:%02x%02x%02x%02x-%02x%02x-4%x%02x-%x%x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1], r[2], r[3], r[4],
	         r[5], r[6] & 15, r[7], 8 + (r[8] & 3), r[8] >> 4, r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
}

/* ---- where to ---- */

/* Without the lock; may take long. */
static int connect_to(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM}, *list = NULL;
	int fd = -1, r = getaddrinfo(host, port, &hints, &list);
	for (const struct addrinfo *a = r == 0 ? list : NULL; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
			close(fd);
			fd = -1;
		}
	}
	if (fd < 0)
		log_seldom(LOG_WARNING, log_repeat_key(0, "statsd", 6), "StatsD at %s (ELECTRIC_STATSD_HOST) can't be found: %s", host,
		           r != 0 ? gai_strerror(r) : strerror(errno));
	if (list != NULL)
		freeaddrinfo(list);
	return fd;
}

static void look_up(struct statsd *s)
{
	int64_t now_ms = clock_mono_ms();
	if (s->fd >= 0 && !s->failed && now_ms - s->resolved_ms < RESOLVE_EVERY_MS)
		return;
	int fd = connect_to(s->host, s->port);
	s->resolved_ms = now_ms;
	if (fd < 0 && !s->failed)
		return; /* a name server that is away takes nothing from us */
	if (s->fd >= 0)
		close(s->fd);
	s->fd = fd;
	s->failed = false;
}

/* ---- what ---- */

static void flush(struct statsd *s)
{
	/* No room in the socket is a datagram lost; anything else says that nobody is there. */
	if (s->len > 0 && s->fd >= 0 && send(s->fd, s->datagram, s->len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN &&
	    errno != ENOBUFS)
		s->failed = true;
	s->len = 0;
}

static void put_line(struct statsd *s, const struct buf *line)
{
	if (line->failed || line->len > DATAGRAM_BYTES_MAX)
		return;
	if (s->len > 0 && s->len + 1 + line->len > DATAGRAM_BYTES_MAX)
		flush(s);
	if (s->len > 0)
		s->datagram[s->len++] = '\n';
	memcpy(s->datagram + s->len, line->data, line->len);
	s->len += line->len;
}

static void end_line(struct statsd *s, struct buf *line, const struct metric_info *m, unsigned label)
{
	buf_printf(line, "|#%s", s->tag);
	if (m->label[0] != '\0')
		buf_printf(line, ",%s:%s", m->label, m->values[label]);
	put_line(s, line);
	buf_reset(line);
}

static void put_histogram(struct statsd *s, struct buf *line, const struct metric_info *m, const uint64_t *now, const uint64_t *was)
{
	static const uint32_t bounds[METRIC_NBOUNDS] = METRIC_BOUNDS;
	for (size_t i = 0; i <= METRIC_NBOUNDS; i++) {
		uint64_t n = now[i] - was[i];
		if (n == 0)
			continue;
		int64_t from = i > 0 ? (int64_t)bounds[i - 1] : 0, to = i < METRIC_NBOUNDS ? (int64_t)bounds[i] : from;
		buf_printf(line, "%s:", m->name);
		ops_put_value(line, m->unit, (from + to) / 2);
		buf_puts(line, "|h");
		if (n > 1)
			buf_printf(line, "|@%.10f", 1 / (double)n);
		end_line(s, line, m, 0);
	}
}

static void put_metric(struct statsd *s, struct buf *line, enum metric id)
{
	const struct metric_info *m = metric_info(id);
	const uint64_t *now = metric_values_of(&s->now, id), *was = metric_values_of(&s->was, id);
	if (m->type == METRIC_HISTOGRAM) {
		put_histogram(s, line, m, now, was);
		return;
	}
	for (unsigned i = 0; i < m->nvalues; i++) {
		bool counter = m->type == METRIC_COUNTER;
		bool shown = m->label[0] == '\0' || m->values[i][0] != '\0';
		if (!shown || !s->now.known[metric_first[id] + i] || (counter && now[i] == was[i]))
			continue;
		buf_printf(line, "%s:", m->name);
		if (counter)
			buf_put_u64(line, now[i] - was[i]);
		else
			ops_put_value(line, m->unit, (int64_t)now[i]);
		buf_puts(line, counter ? "|c" : "|g");
		end_line(s, line, m, i);
	}
}

static void send_all(struct statsd *s)
{
	struct buf line = BUF_INIT(LINE_BYTES_MAX);
	ops_collect(s->ops, &s->now);
	for (unsigned m = 0; m < METRICS; m++)
		put_metric(s, &line, (enum metric)m);
	flush(s);
	s->was = s->now;
	buf_clear(&line);
}

/* ---- the thread ---- */

/* Takes the lock and lets it go; the last frees all. */
static void unref(struct statsd *s)
{
	pthread_mutex_lock(&s->lock);
	bool last = --s->refs == 0;
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	if (s->fd >= 0)
		close(s->fd);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
	free(s);
}

/* Begins, or ends, to use what isn't ours. False: we are to stop. */
static bool use(struct statsd *s, bool on)
{
	pthread_mutex_lock(&s->lock);
	bool go_on = !s->stopping;
	s->using = on && go_on;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void wait_round(struct statsd *s, int64_t until_ms)
{
	pthread_mutex_lock(&s->lock);
	for (int64_t left; !s->stopping && (left = until_ms - clock_mono_ms()) > 0;)
		clock_cond_wait(&s->changed, &s->lock, left);
	pthread_mutex_unlock(&s->lock);
}

static void *statsd_main(void *arg)
{
	struct statsd *s = arg;
	for (;;) {
		int64_t next_ms = clock_mono_ms() + s->every_ms;
		look_up(s);
		if (!use(s, true))
			break;
		send_all(s);
		use(s, false);
		wait_round(s, next_ms);
	}
	unref(s);
	return NULL;
}

int statsd_start(struct statsd **out, const struct ops *o, struct err *e)
{
	const struct config *c = o->config;
	*out = NULL;
	if (c->statsd_host == NULL)
		return 0;
	struct statsd *s = mem_zalloc(sizeof *s);
	s->ops = o;
	s->fd = -1;
	s->refs = 2;
	s->every_ms = c->system_metrics_poll_ms / 1000 * 1000;
	if (s->every_ms < ROUND_LEAST_MS)
		s->every_ms = ROUND_LEAST_MS;
	make_tag(c->instance_id, s->tag, sizeof s->tag);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	sigset_t all, before; /* signals belong to the main thread */
	sigfillset(&all);
	pthread_t thread;
	int rc = split_host(c->statsd_host, s->host, s->port, e);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = rc == 0 ? pthread_create(&thread, NULL, statsd_main, s) : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0 && error == 0) {
		pthread_detach(thread);
		*out = s;
		return 0;
	}
	s->refs = 1;
	unref(s);
	return rc != 0 ? -1 : err_errno(e, error, "cannot start a thread for StatsD");
}

void statsd_stop(struct statsd *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->changed);
	while (s->using)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	unref(s);
}
