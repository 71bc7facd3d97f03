/*
 * scen_lag.c - lag: from a commit to the clients that wait for it, at a fixed rate; and the same for ever (--watch).
 *
 * Each round of a case: the bare replication client, then the servers, one after the other, each with a table of its own,
 * so that none works for another's rows.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/walker.h"
#include "bench/writer.h"

#define PATIENCE_S 30 /* after the last commit */
#define WATCH_KEEP 10000 /* rows that stay in the table */
#define BARE "bare client"

struct lag_case {
	struct bench *bench;
	int64_t clients;
	char variant[80];
	char table[3][NAME_BYTES]; /* of the servers, and of the floor */
	struct shape shape[2];
	int64_t next_id[3];
	struct walker walker;
	bool walking;
};

/* One run of a schedule. */
struct lag_run {
	struct lag *lag;
	struct pace pace;
	int64_t first, last, got, want;
	int payload;
};

static int run_start(struct lag_run *r, struct bench *b, const char *table, int64_t first)
{
	const struct options *o = &b->opt;
	int64_t count = (int64_t)ceil(o->rate * o->duration_s);

	memset(r, 0, sizeof *r);
	r->lag = lag_new();
	r->first = first;
	r->last = first + count - 1;
	r->payload = o->payload;
	r->pace.lag = r->lag;
	r->pace.first_id = first;
	r->pace.count = count;
	r->pace.rate = o->rate;
	r->pace.start_ns = now_ns() + 200 * NS_PER_MS;
	return pace_start(&r->pace, o->db, table, o->payload, &b->err);
}

static int run_end(struct lag_run *r, struct bench *b, int result)
{
	struct err e;

	if (result != 0)
		atomic_store(&r->pace.stop, true);
	if (pace_join(&r->pace, &e) && result == 0) {
		b->err = e;
		result = -1;
	}
	lag_settle(r->lag);
	return result;
}

static double ms(int64_t ns) { return (double)ns / 1e6; }

static void lag_metrics(struct bench *b, const struct lag_run *r, struct sample *s)
{
	const struct lag *l = r->lag;

	sample_metric(s, "p50 ack", "ms", ms(hist_percentile(&l->ack, 50)), -1);
	sample_metric(s, "p90 ack", "ms", ms(hist_percentile(&l->ack, 90)), -1);
	sample_metric(s, "p99 ack", "ms", ms(hist_percentile(&l->ack, 99)), -1);
	sample_ratio(s);
	sample_metric(s, "p99.9 ack", "ms", ms(hist_percentile(&l->ack, 99.9)), -1);
	sample_metric(s, "max ack", "ms", ms(l->ack.max), -1);
	sample_metric(s, "p50 sched", "ms", ms(hist_percentile(&l->sched, 50)), -1);
	sample_metric(s, "p99 sched", "ms", ms(hist_percentile(&l->sched, 99)), -1);
	sample_metric(s, "p50 commit", "ms", ms(hist_percentile(&l->commit, 50)), 0);
	sample_metric(s, "p99 commit", "ms", ms(hist_percentile(&l->commit, 99)), 0);
	(void)b;
}

static struct sample *lag_sample(struct lag_case *k, const char *subject, int round)
{
	struct sample *s = sample_new(&k->bench->results, "lag", k->bench->opt.sse ? "SSE" : "long-poll", "clients",
				      (double)k->clients, subject, round);

	sample_variant(s, "%s", k->variant);
	return s;
}

/* ---- the floor ---- */

static bool bare_row(void *ctx, int64_t id, int64_t group, int64_t now)
{
	struct lag_run *r = ctx;

	(void)group;
	if (id < r->first)
		return true;
	if (id == r->first + r->got) {
		r->got++;
		lag_arrived(r->lag, id, now);
		if (r->got % 64 == 0)
			lag_settle(r->lag);
	}
	return id < r->last;
}

static int floor_round(struct lag_case *k, int round)
{
	struct bench *b = k->bench;
	struct lag_run r;
	struct sample *s;
	int result;

	progress("lag, %s, round %d: %s", k->variant, round + 1, BARE);
	result = run_start(&r, b, k->table[2], k->next_id[2]);
	if (result == 0)
		result = walker_run(&k->walker, bare_row, &r,
				    r.pace.start_ns + (int64_t)((b->opt.duration_s + PATIENCE_S) * 1e9), &b->err);
	result = run_end(&r, b, result);
	if (result == 0 && r.got != r.pace.count)
		result = err_set(&b->err, ERR_PROTOCOL, "%" PRId64 " of %" PRId64 " rows came", r.got, r.pace.count);
	if (result == 0) {
		s = lag_sample(k, BARE, round);
		s->floor = true;
		lag_metrics(b, &r, s);
		sample_hists(s, &r.lag->ack, &r.lag->sched);
		sample_done(&b->results, s);
		k->next_id[2] = r.last + 1;
	}
	lag_free(r.lag);
	return result;
}

/* ---- a server ---- */

/* Each client must get each row once, in order. Its number is the next id it waits for, kept in ctx. */
struct lag_crowd {
	struct lag_run *run;
	int64_t *next;
	int64_t finished;
};

static bool server_row(struct crowd *c, struct client *who, const struct msg *m, int64_t now)
{
	struct lag_crowd *lc = c->ctx;
	struct lag_run *r = lc->run;
	struct rows_want want = {.payload = r->payload, .groups = 0, .last_id = -1};
	int64_t id, group;
	const char *why;

	if (m->kind == MSG_UP_TO_DATE)
		return true;
	if (!row_check(m, &want, &id, &group, &why))
		return crowd_wrong(c, who, "%s", why);
	if (id != lc->next[who->number])
		return crowd_wrong(c, who, "row %" PRId64 " came where %" PRId64 " was due", id, lc->next[who->number]);
	lc->next[who->number]++;
	r->got++;
	lag_arrived(r->lag, id, now);
	if (id == r->last && ++lc->finished == c->size)
		c->done = true;
	return true;
}

static void lag_tick(void *ctx, int64_t now)
{
	struct crowd *c = ctx;
	struct lag_crowd *lc = c->ctx;

	lag_settle(lc->run->lag);
	if (now % (NS_PER_S / 4) < 30 * NS_PER_MS)
		progress("lag, %" PRId64 " clients: %" PRId64 " of %" PRId64 " rows", c->size, lc->run->got,
			 lc->run->pace.count * c->size);
}

static int server_round(struct lag_case *k, int which, int round)
{
	struct bench *b = k->bench;
	const struct server *sv = &b->server[which];
	struct lag_run r;
	struct lag_crowd lc = {.run = &r};
	struct crowd crowd;
	struct usage usage;
	struct sample *s;
	int result;

	if (shapes_sync(b, sv, &k->shape[which], 1, 1, CLIENT_SYNC, NULL, NULL, NULL))
		return -1;
	if (crowd_start(&crowd, b, &sv->url, sv->secret, &k->shape[which], 1, k->clients,
			b->opt.sse ? CLIENT_SSE : CLIENT_POLL, false))
		return -1;
	lc.next = mem_alloc(sizeof *lc.next * (size_t)k->clients);
	for (int64_t i = 0; i < k->clients; i++)
		lc.next[i] = k->next_id[which];
	crowd.on_msg = server_row;
	crowd.ctx = &lc;
	crowd.loop.tick = lag_tick;
	usage_start(&usage, sv);
	result = run_start(&r, b, k->table[which], k->next_id[which]);
	if (result == 0)
		result = crowd_run(&crowd, r.pace.start_ns + (int64_t)((b->opt.duration_s + PATIENCE_S) * 1e9),
				   "rows are missing 30 s after the last commit");
	result = run_end(&r, b, result);
	if (result == 0 && r.got != r.pace.count * k->clients)
		result = err_set(&b->err, ERR_PROTOCOL, "wrong rows: %" PRId64 " came, not %" PRId64, r.got,
				 r.pace.count * k->clients);
	if (result == 0) {
		s = lag_sample(k, sv->name, round);
		lag_metrics(b, &r, s);
		usage_metrics(&usage, sv, s);
		sample_hists(s, &r.lag->ack, &r.lag->sched);
		sample_done(&b->results, s);
	}
	k->next_id[which] = r.last + 1;
	crowd_stop(&crowd);
	free(lc.next);
	lag_free(r.lag);
	return result;
}

static int lag_prepare(struct lag_case *k)
{
	struct bench *b = k->bench;

	for (int i = 0; i < b->servers; i++) {
		if (bench_table(b, k->table[i], "lag", false))
			return -1;
		k->shape[i].query = shape_query(k->table[i], NULL);
		k->next_id[i] = 1;
	}
	k->next_id[2] = 1;
	if (b->opt.no_floor)
		return 0;
	if (bench_table(b, k->table[2], "floor", true) || walker_open(&k->walker, b->opt.db, &b->err))
		return -1;
	k->walking = true;
	return walker_stream(&k->walker, &b->err);
}

static void lag_case(struct bench *b, int64_t clients)
{
	struct lag_case k = {.bench = b, .clients = clients};
	bool failed[2] = {false, false};

	snprintf(k.variant, sizeof k.variant, "%" PRId64 " client%s, %g commits/s, %s", clients, clients == 1 ? "" : "s",
		 b->opt.rate, b->opt.sse ? "SSE" : "long-poll");
	if (lag_prepare(&k)) {
		case_failed(b, "lag", k.variant, "preparation");
		goto cleanup;
	}
	for (int round = 0; round < b->opt.rounds && !stopping(); round++) {
		if (k.walking && floor_round(&k, round)) {
			case_failed(b, "lag", k.variant, BARE);
			walker_close(&k.walker);
			k.walking = false;
		}
		for (int i = 0; i < b->servers && !stopping(); i++) {
			int which = turn(b, round, i);
			progress("lag, %s, round %d: %s", k.variant, round + 1, b->server[which].name);
			if (!failed[which] && server_round(&k, which, round)) {
				failed[which] = true;
				case_failed(b, "lag", k.variant, b->server[which].name);
			}
		}
	}
cleanup:
	if (k.walking)
		walker_close(&k.walker);
	for (int i = 0; i < b->servers; i++) {
		shapes_delete(b, &b->server[i], &k.shape[i], k.shape[i].query ? 1 : 0);
		free(k.shape[i].query);
	}
	for (int i = 0; i < 3; i++)
		bench_drop(b, k.table[i]);
}

void scen_lag(struct bench *b)
{
	static const int64_t normal[] = {1, 100}, quick[] = {1, 100};
	struct list l = list_or(&b->opt.clients, 2, normal, 2, quick, b->opt.quick);

	for (int i = 0; i < l.n && !stopping(); i++)
		if (l.v[i] > 0)
			lag_case(b, l.v[i]);
}

/* ---- --watch ---- */

struct watch {
	struct bench *bench;
	struct lag *lag; /* of the last second */
	struct hist all;
	struct lag_run run;
	int64_t *next, start_ns, rows;
	int64_t quiet_ns;
};

static bool watch_row(struct crowd *c, struct client *who, const struct msg *m, int64_t now)
{
	struct watch *w = c->ctx;
	struct rows_want want = {.payload = w->bench->opt.payload, .last_id = -1};
	int64_t id, group;
	const char *why;

	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END || m->kind == MSG_DELETE)
		return true;
	if (!row_check(m, &want, &id, &group, &why))
		return crowd_wrong(c, who, "%s", why);
	if (!m->has_lsn) { /* of a snapshot, after a rotation */
		if (id >= w->next[who->number])
			w->next[who->number] = id + 1;
		return true;
	}
	if (id != w->next[who->number])
		return crowd_wrong(c, who, "row %" PRId64 " came where %" PRId64 " was due", id, w->next[who->number]);
	w->next[who->number] = id + 1;
	w->rows++;
	lag_arrived(w->lag, id, now);
	return true;
}

static void watch_line(struct watch *w, const struct crowd *c, int64_t now)
{
	struct lag *l = w->lag;
	int64_t written = atomic_load(&w->run.pace.written), behind = 0;
	char line[300];

	lag_settle(l);
	for (int64_t i = 0; i < c->size; i++)
		if (written - w->next[i] + 1 > behind)
			behind = written - w->next[i] + 1;
	hist_merge(&w->all, &l->ack);
	snprintf(line, sizeof line,
		 "%5.0f s %5" PRIu64 " rows/s  p50 %7.3f  p99 %7.3f  max %7.3f ms  behind %" PRId64 "  all: p50 %.3f p99 %.3f max %.3f ms  "
		 "schedule: p99 %.3f ms",
		 (double)(now - w->start_ns) / 1e9, l->ack.count, ms(hist_percentile(&l->ack, 50)),
		 ms(hist_percentile(&l->ack, 99)), ms(l->ack.max), behind, ms(hist_percentile(&w->all, 50)),
		 ms(hist_percentile(&w->all, 99)), ms(w->all.max), ms(hist_percentile(&l->sched, 99)));
	if (progress_shown())
		progress("%s", line);
	else
		printf("%s\n", line), fflush(stdout);
	if (w->bench->results.json != NULL) {
		fprintf(w->bench->results.json,
			"{\"type\":\"watch\",\"t\":%.1f,\"rows\":%" PRIu64 ",\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"max_ms\":%.4f,"
			"\"sched_p99_ms\":%.4f,\"behind\":%" PRId64 "}\n",
			(double)(now - w->start_ns) / 1e9, l->ack.count, ms(hist_percentile(&l->ack, 50)),
			ms(hist_percentile(&l->ack, 99)), ms(l->ack.max), ms(hist_percentile(&l->sched, 99)), behind);
		fflush(w->bench->results.json);
	}
	hist_reset(&l->ack);
	hist_reset(&l->sched);
}

static void watch_tick(void *ctx, int64_t now)
{
	struct crowd *c = ctx;
	struct watch *w = c->ctx;

	lag_settle(w->lag);
	if (atomic_load(&w->run.pace.done)) { /* only a failed write ends it */
		c->done = true;
		return;
	}
	if (now - w->quiet_ns >= NS_PER_S) {
		w->quiet_ns = now;
		watch_line(w, c, now);
	}
}

static int watch_loop(struct crowd *c)
{
	for (;;) {
		int r = loop_run(&c->loop, &c->done, now_ns() + 3600 * NS_PER_S);
		if (r != -1)
			return c->failed || c->done ? -1 : 0;
	}
}

int scen_watch(struct bench *b)
{
	static const int64_t normal[] = {1};
	struct list l = list_or(&b->opt.clients, 1, normal, 1, normal, false);
	struct watch w = {.bench = b};
	struct server *sv = &b->server[0];
	struct shape shape = {0};
	struct crowd crowd;
	char table[NAME_BYTES];
	int result;

	if (l.v[0] < 1)
		return err_set(&b->err, ERR_CONFIG, "--watch needs at least one client");
	if (bench_table(b, table, "watch", false))
		return -1;
	shape.query = shape_query(table, NULL);
	result = shapes_sync(b, sv, &shape, 1, 1, CLIENT_SYNC, NULL, NULL, NULL);
	if (result == 0)
		result = crowd_start(&crowd, b, &sv->url, sv->secret, &shape, 1, l.v[0],
				     b->opt.sse ? CLIENT_SSE : CLIENT_POLL, false);
	if (result != 0) {
		free(shape.query);
		return -1;
	}
	for (int64_t i = 0; i < crowd.size; i++)
		crowd.client[i].persist = true;
	w.lag = lag_new();
	w.next = mem_alloc(sizeof *w.next * (size_t)crowd.size);
	for (int64_t i = 0; i < crowd.size; i++)
		w.next[i] = 1;
	crowd.refetch = true;
	crowd.on_msg = watch_row;
	crowd.ctx = &w;
	crowd.loop.tick = watch_tick;
	w.run.pace = (struct pace){.lag = w.lag, .first_id = 1, .rate = b->opt.rate, .keep = WATCH_KEEP, .start_ns = now_ns() + 100 * NS_PER_MS};
	w.start_ns = w.quiet_ns = w.run.pace.start_ns;
	printf("%s: %g commits a second, %" PRId64 " client%s, %s; Ctrl-C ends it\n", sv->name, b->opt.rate, crowd.size,
	       crowd.size == 1 ? "" : "s", b->opt.sse ? "SSE" : "long-poll");
	fflush(stdout);
	result = pace_start(&w.run.pace, b->opt.db, table, b->opt.payload, &b->err);
	if (result == 0)
		result = watch_loop(&crowd);
	atomic_store(&w.run.pace.stop, true);
	if (pace_join(&w.run.pace, &b->err))
		result = -1;
	progress_end();
	lag_settle(w.lag);
	hist_merge(&w.all, &w.lag->ack);
	printf("%" PRId64 " rows; from the commit: p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, max %.3f ms\n", w.rows,
	       ms(hist_percentile(&w.all, 50)), ms(hist_percentile(&w.all, 90)), ms(hist_percentile(&w.all, 99)),
	       ms(hist_percentile(&w.all, 99.9)), ms(w.all.max));
	crowd_stop(&crowd);
	lag_free(w.lag);
	free(w.next);
	free(shape.query);
	return result;
}
