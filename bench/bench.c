/* bench.c - see bench.h. */
#include "bench/bench.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define READY_S 120 /* clients may take this long to connect */
#define QUERY_BYTES_MAX 8192

static bool shown;

void progress(const char *fmt, ...)
{
	struct winsize size;
	char line[400];
	va_list ap;

	if (!isatty(2))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	/* A line that is wrapped can't be written over. */
	if (ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && size.ws_col <= sizeof line)
		line[size.ws_col - 1] = '\0';
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	shown = true;
}

bool progress_shown(void) { return isatty(2); }

void progress_end(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
	fflush(stderr);
}

void case_failed(struct bench *b, const char *scenario, const char *variant, const char *subject)
{
	if (stopping())
		return;
	progress_end();
	printf("FAILED  %s, %s, %s: %s\n", scenario, variant, subject, b->err.text);
	fflush(stdout);
	results_fail(&b->results, scenario, variant, subject, false, b->err.text);
	err_clear(&b->err);
}

void case_skipped(struct bench *b, const char *scenario, const char *variant, const char *subject, const char *why)
{
	progress_end();
	printf("skipped %s%s%s: %s\n", scenario, variant[0] ? ", " : "", variant, why);
	fflush(stdout);
	results_fail(&b->results, scenario, variant, subject, true, why);
}

struct list list_or(const struct list *given, int n, const int64_t *normal, int quick_n, const int64_t *quick, bool is_quick)
{
	struct list l = {0};

	if (given->n > 0)
		return *given;
	l.n = is_quick ? quick_n : n;
	memcpy(l.v, is_quick ? quick : normal, (size_t)l.n * sizeof l.v[0]);
	return l;
}

int turn(const struct bench *b, int round, int i)
{
	return b->servers == 2 && round % 2 == 1 ? 1 - i : i;
}

int bench_table(struct bench *b, char name[NAME_BYTES], const char *prefix, bool floor)
{
	/* A name of its own in each run: a server may still know an earlier run's tables of the same name. */
	snprintf(name, NAME_BYTES, "%s_%" PRIx64 "_%u", prefix, (uint64_t)time(NULL) & 0xffffff, b->tables++);
	if (rows_create(&b->admin, name, b->opt.payload, &b->err))
		return -1;
	if (!floor)
		return 0;
	if (!b->publication && db_exec(&b->admin, &b->err, "CREATE PUBLICATION " PUBLICATION))
		return -1;
	b->publication = true;
	return db_exec(&b->admin, &b->err, "ALTER PUBLICATION " PUBLICATION " ADD TABLE " SCHEMA ".%s", name);
}

void bench_drop(struct bench *b, const char *name)
{
	struct err e;

	if (name[0] != '\0' && !stopping() && rows_drop(&b->admin, name, &e))
		progress("dropping %s: %s", name, e.text);
}

char *shape_query(const char *table, const char *where_fmt, ...)
{
	struct buf b = BUF_INIT(QUERY_BYTES_MAX);
	char where[2048];
	va_list ap;

	buf_printf(&b, "table=" SCHEMA ".%s", table);
	if (where_fmt != NULL) {
		va_start(ap, where_fmt);
		vsnprintf(where, sizeof where, where_fmt, ap);
		va_end(ap);
		buf_puts(&b, "&where=");
		url_encode(&b, where);
	}
	return buf_detach(&b, NULL);
}

void shapes_free(struct shape *s, size_t n)
{
	for (size_t i = 0; s != NULL && i < n; i++)
		free(s[i].query);
	free(s);
}

/* ---- shapes_sync ---- */

struct sync_run {
	struct bench *bench;
	struct shape *shape;
	size_t n, next, finished;
	enum client_mode mode;
	shape_msg_fn *fn;
	void *ctx;
	struct hist *each;
	uint64_t bytes;
	struct sync_stats *stats;
	bool done;
	int restarts;
};

static void sync_begin(struct sync_run *r, struct client *c)
{
	if (r->next == r->n)
		return;
	c->number = (int64_t)r->next++;
	c->query = r->shape[c->number].query;
	c->retries = 0;
	if (c->number != 0)
		c->record = NULL;
	client_start(c, r->mode, r->shape[c->number].handle, r->shape[c->number].offset);
}

static bool sync_msg(struct client *c, const struct msg *m, int64_t now)
{
	struct sync_run *r = c->ctx;
	const char *why = "wrong message";

	(void)now;
	if (r->fn == NULL || r->fn(r->ctx, (size_t)c->number, m, &why))
		return true;
	err_set(&r->bench->err, ERR_PROTOCOL, "wrong rows: %s; shape %s, message with the key %.*s", why, c->query,
		(int)(m->key.len < 100 ? m->key.len : 100), m->key.p ? m->key.p : "");
	return false;
}

static size_t sync_fast(struct client *c, const char *data, size_t len)
{
	struct sync_run *r = c->ctx;

	return r->stats->fast(r->ctx, (size_t)c->number, data, len);
}

static void sync_finished(struct sync_run *r, struct client *c)
{
	if (++r->finished == r->n)
		r->done = true;
	else
		sync_begin(r, c);
}

static void sync_event(struct client *c, enum client_event what)
{
	struct sync_run *r = c->ctx;
	struct shape *s = &r->shape[c->number];

	if (what == CLIENT_REFETCH && s->handle[0] != '\0' && r->stats != NULL && r->stats->refetch_ok) {
		r->stats->refetched++;
		s->handle[0] = '\0';
		sync_finished(r, c);
		return;
	}

	if (what == CLIENT_REFETCH && s->handle[0] == '\0' && r->restarts++ < 100) {
		client_start(c, r->mode, NULL, NULL); /* the server had an older idea of the table */
		return;
	}
	if (what == CLIENT_REFETCH && r->bench->err.kind == ERR_NONE)
		err_set(&r->bench->err, ERR_PROTOCOL, "the shape %s was rotated (409)", s->query);
	if (what == CLIENT_FAILED && r->bench->err.kind == ERR_NONE)
		err_set(&r->bench->err, ERR_PROTOCOL, "%s (%s)", c->error.data, s->query);
	if (what == CLIENT_REFETCH || what == CLIENT_FAILED)
		r->done = true;
	if (what != CLIENT_SYNCED)
		return;
	memcpy(s->handle, c->handle, sizeof s->handle);
	memcpy(s->offset, c->offset, sizeof s->offset);
	if (r->each != NULL)
		hist_add(r->each, now_ns() - c->started_ns);
	r->bytes += c->bytes;
	c->bytes = 0;
	if (c->same)
		r->stats->same(r->ctx, (size_t)c->number);
	sync_finished(r, c);
}

int shapes_sync(struct bench *b, const struct server *s, struct shape *v, size_t n, int workers, enum client_mode mode,
		shape_msg_fn *fn, void *ctx, struct sync_stats *stats)
{
	struct sync_run r = {.bench = b, .shape = v, .n = n, .mode = mode, .fn = fn, .ctx = ctx, .done = n == 0};
	struct loop loop;
	struct client *client;
	int64_t start = now_ns(), end = start + (60 + (int64_t)n / 20) * NS_PER_S;
	int result;

	err_clear(&b->err);
	r.each = stats ? stats->each : NULL;
	r.stats = stats;
	if (loop_init(&loop, &b->err))
		return -1;
	if ((size_t)workers > n)
		workers = (int)n;
	loop.busy_max = (unsigned)workers;
	client = mem_zalloc(sizeof *client * (size_t)(workers + 1));
	for (int i = 0; i < workers; i++) {
		client_init(&client[i], &loop, &s->url, s->secret, NULL);
		client[i].on_msg = sync_msg;
		client[i].on_event = sync_event;
		client[i].ctx = &r;
		if (stats != NULL) {
			client[i].fast = stats->fast ? sync_fast : NULL;
			client[i].trail = stats->trail;
			client[i].record = i == 0 ? stats->record : NULL;
		}
		sync_begin(&r, &client[i]);
	}
	result = loop_run(&loop, &r.done, end);
	if (result == -1)
		err_set(&b->err, ERR_TIMEOUT, "only %zu of %zu shapes were up to date after %.0f s", r.finished, n,
			(double)(now_ns() - start) / 1e9);
	else if (result == -2)
		err_set(&b->err, ERR_CANCELLED, "stopped");
	else if (r.finished < n)
		result = -1;
	if (stats != NULL) {
		stats->seconds = (double)(now_ns() - start) / 1e9;
		stats->bytes = r.bytes;
		stats->retries = loop.retries;
	}
	for (int i = 0; i < workers; i++)
		client_clear(&client[i]);
	free(client);
	loop_clear(&loop);
	return result ? -1 : 0;
}

void shapes_delete(struct bench *b, const struct server *s, struct shape *v, size_t n)
{
	struct err kept = b->err;
	struct buf path = BUF_INIT(QUERY_BYTES_MAX);
	int status;

	if (n == 0 || v == NULL || stopping())
		return;
	/* Asked once: servers allow it for tests only. */
	buf_printf(&path, "%s?%s", s->url.shape, v[0].query);
	if (s->secret != NULL)
		buf_printf(&path, "&secret=%s", s->secret);
	status = http_once(&s->url, "DELETE", path.data, NULL, 0, NULL, 5000);
	buf_clear(&path);
	if (status == 202 || status == 404)
		(void)!shapes_sync(b, s, v, n, 32, CLIENT_DELETE, NULL, NULL, NULL);
	b->err = kept;
}

/* ---- crowds ---- */

bool crowd_wrong(struct crowd *c, struct client *who, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (!c->failed)
		err_set(&c->bench->err, ERR_PROTOCOL, "wrong rows: client %" PRId64 ": %s", who->number, text);
	c->failed = c->done = true;
	return false;
}

static bool crowd_msg(struct client *who, const struct msg *m, int64_t now)
{
	struct crowd *c = who->ctx;

	return c->on_msg == NULL || c->on_msg(c, who, m, now);
}

static void crowd_let_go(struct crowd *c, const struct client *who, bool dropped)
{
	if (c->let_go == NULL || c->let_go[who->number])
		return;
	c->let_go[who->number] = 1;
	c->gone++;
	c->dropped += dropped;
	c->gone_ns = now_ns();
}

static void crowd_event(struct client *who, enum client_event what)
{
	struct crowd *c = who->ctx;

	switch (what) {
	case CLIENT_READY:
		if (++c->ready == c->size)
			c->all_ready = true;
		return;
	case CLIENT_ANSWERED:
		c->answered++;
		crowd_let_go(c, who, false);
		return;
	case CLIENT_LOST:
		crowd_let_go(c, who, true);
		return;
	case CLIENT_REFETCH:
		c->refetches++;
		if (c->refetch) {
			if (c->on_refetch != NULL)
				c->on_refetch(c, who);
			client_refetch(who);
			return;
		}
		crowd_wrong(c, who, "the shape was rotated (409)");
		return;
	case CLIENT_FAILED:
		if (!c->failed)
			err_set(&c->bench->err, ERR_PROTOCOL, "client %" PRId64 ": %s", who->number, who->error.data);
		c->failed = c->done = c->all_ready = true;
		return;
	default:
		return;
	}
}

static void crowd_tick(void *ctx, int64_t now)
{
	struct crowd *c = ctx;

	(void)now;
	if (!c->all_ready)
		progress("connecting: %" PRId64 " of %" PRId64 " clients", c->ready, c->size);
}

int crowd_run(struct crowd *c, int64_t deadline_ns, const char *what)
{
	int r = loop_run(&c->loop, &c->done, deadline_ns);

	if (r == -2)
		return err_set(&c->bench->err, ERR_CANCELLED, "stopped");
	if (c->failed)
		return -1;
	if (r == -1)
		return err_set(&c->bench->err, ERR_TIMEOUT, "%s", what);
	return 0;
}

int crowd_start(struct crowd *c, struct bench *b, const struct url *url, const char *secret, const struct shape *shapes,
		size_t shapes_n, int64_t clients, enum client_mode mode, bool hold)
{
	int r;

	memset(c, 0, sizeof *c);
	err_clear(&b->err);
	c->bench = b;
	if (loop_init(&c->loop, &b->err))
		return -1;
	c->loop.tick = crowd_tick;
	c->loop.tick_ctx = c;
	c->loop.request_bytes = (size_t)b->opt.request_bytes;
	c->client = mem_zalloc(sizeof *c->client * (size_t)(clients + 1));
	c->size = clients;
	for (int64_t i = 0; i < clients; i++) {
		struct client *who = &c->client[i];
		const struct shape *s = &shapes[(size_t)i % shapes_n];
		client_init(who, &c->loop, url, secret, s->query);
		who->on_msg = crowd_msg;
		who->on_event = crowd_event;
		who->ctx = c;
		who->number = i;
		who->hold = hold;
		client_start(who, mode, s->handle, s->offset);
	}
	if (clients == 0)
		return 0;
	r = loop_run(&c->loop, &c->all_ready, now_ns() + READY_S * NS_PER_S);
	if (r == -1)
		err_set(&b->err, ERR_TIMEOUT, "only %" PRId64 " of %" PRId64 " clients could connect within %d s", c->ready,
			clients, READY_S);
	else if (r == -2)
		err_set(&b->err, ERR_CANCELLED, "stopped");
	if (r != 0 || c->failed) {
		crowd_stop(c);
		return -1;
	}
	return 0;
}

void crowd_stop(struct crowd *c)
{
	for (int64_t i = 0; c->client != NULL && i < c->size; i++)
		client_clear(&c->client[i]);
	free(c->client);
	c->client = NULL;
	loop_clear(&c->loop);
}

void usage_start(struct usage *u, const struct server *s)
{
	memset(u, 0, sizeof *u);
	u->start_ns = now_ns();
	if (s->pid > 0)
		(void)!proc_read(s->pid, &u->at_start);
}

void usage_tick(struct usage *u, const struct server *s)
{
	struct proc_stat p;

	if (s->pid > 0 && proc_read(s->pid, &p) == 0 && p.anon_kb > u->peak_anon_kb)
		u->peak_anon_kb = p.anon_kb;
}

void usage_metrics(const struct usage *u, const struct server *s, struct sample *sample)
{
	struct proc_stat p;
	double seconds = (double)(now_ns() - u->start_ns) / 1e9;

	if (s->pid <= 0 || proc_read(s->pid, &p) != 0)
		return;
	sample_metric(sample, "CPU", "%", seconds > 0 ? (p.cpu_s - u->at_start.cpu_s) / seconds * 100 : 0, -1);
	if (u->peak_anon_kb > 0)
		sample_metric(sample, "peak RssAnon", "MB",
			      (double)(p.anon_kb > u->peak_anon_kb ? p.anon_kb : u->peak_anon_kb) / 1024, -1);
	else
		sample_metric(sample, "RssAnon", "MB", (double)p.anon_kb / 1024, -1);
	sample_metric(sample, "VmRSS", "MB", (double)p.rss_kb / 1024, -1);
}
