/*
 * scen_membership.c - shapes whose condition is a subquery: what a change of a membership takes until the clients have
 * their new rows, for one client and for many by one transaction, and what such shapes cost while nothing changes.
 *
 * Each user is in a project of their own and, while granted, in a second one. User u's are u and `users` + u; the
 * table's rows are spread over all projects in turn. A round has users of its own: a server may hold back a condition
 * whose rows have changed several times in a row.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/members.h"
#include "bench/writer.h"

#define REST_MS 300       /* before a change */
#define REST_BESIDE_MS 3000 /* likewise, while the lag of another table at rest is measured */
#define PATIENCE_S 120
#define WORKERS_MAX 1000
#define STORM_ROWS 10     /* of each shape, where many change at once */
#define BESIDE_RATE 200
#define BESIDE_MAX LAG_RING
#define BIRTH_WORKERS 200
#define BIRTH_ROWS 100
#define SETTLE_MS 1500

/* ---- beside it: another table's rows, a client and a thread of its own ---- */

struct beside {
	struct bench bench; /* a copy, for its errors */
	struct crowd crowd;
	struct pace pace;
	struct lag *lag; /* when rows were due and acknowledged */
	char table[NAME_BYTES];
	struct shape shape;
	int64_t *arrived; /* by id */
	int64_t next_id, stopped_ns;
	atomic_bool stop;
	bool following, running;
	pthread_t thread;
};

static bool beside_msg(struct crowd *c, struct client *who, const struct msg *m, int64_t now)
{
	struct beside *s = c->ctx;
	struct rows_want want = {.payload = s->bench.opt.payload, .last_id = -1};
	int64_t id, group;
	const char *why;

	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END)
		return true;
	if (!row_check(m, &want, &id, &group, &why))
		return crowd_wrong(c, who, "%s", why);
	if (id != s->next_id || id >= BESIDE_MAX)
		return crowd_wrong(c, who, "row %" PRId64 " came where %" PRId64 " was due", id, s->next_id);
	s->arrived[s->next_id++] = now;
	return true;
}

/* After the writer's end it waits for what was written last. */
static void beside_tick(void *ctx, int64_t now)
{
	struct crowd *c = ctx;
	struct beside *s = c->ctx;

	if (!atomic_load(&s->stop))
		return;
	if (s->stopped_ns == 0)
		s->stopped_ns = now;
	if (s->next_id > atomic_load(&s->pace.written) || now - s->stopped_ns > PATIENCE_S * NS_PER_S)
		c->done = true;
}

static void *beside_main(void *arg)
{
	struct beside *s = arg;

	/* Longer than all waits of a round. */
	(void)!crowd_run(&s->crowd, now_ns() + 10 * PATIENCE_S * NS_PER_S, "the other table's client waited too long");
	return NULL;
}

/* The client and its thread's loop; `s` is zeroed, and beside_clear() ends it in any case. */
static int beside_start(struct beside *s, struct bench *b, const struct server *sv)
{
	s->bench = *b;
	s->arrived = mem_zalloc(sizeof *s->arrived * BESIDE_MAX);
	s->next_id = 1;
	s->lag = lag_new();
	if (bench_table(b, s->table, "beside", false))
		return -1;
	s->shape.query = shape_query(s->table, NULL);
	if (shapes_sync(b, sv, &s->shape, 1, 1, CLIENT_SYNC, NULL, NULL, NULL))
		return -1;
	if (crowd_start(&s->crowd, &s->bench, &sv->url, sv->secret, &s->shape, 1, 1, CLIENT_POLL, false)) {
		b->err = s->bench.err;
		return -1;
	}
	s->following = true;
	s->crowd.on_msg = beside_msg;
	s->crowd.ctx = s;
	s->crowd.loop.tick = beside_tick;
	s->pace = (struct pace){.lag = s->lag, .first_id = 1, .rate = BESIDE_RATE, .start_ns = now_ns()};
	if (pace_start(&s->pace, b->opt.db, s->table, b->opt.payload, &b->err))
		return -1;
	if (pthread_create(&s->thread, NULL, beside_main, s) != 0)
		return err_set(&b->err, ERR_IO, "a thread couldn't be started");
	s->running = true;
	return 0;
}

/* Ends writer and client; `result` is what was wrong so far. */
static int beside_end(struct beside *s, struct bench *b, int result)
{
	struct err e;

	atomic_store(&s->pace.stop, true);
	if (pace_join(&s->pace, &e) && result == 0) {
		b->err = e;
		result = -1;
	}
	atomic_store(&s->stop, true);
	if (s->running)
		pthread_join(s->thread, NULL);
	s->running = false;
	if (result != 0)
		return -1;
	if (s->crowd.failed) {
		b->err = s->bench.err;
		return -1;
	}
	if (s->next_id <= atomic_load(&s->pace.written))
		return err_set(&b->err, ERR_PROTOCOL, "wrong rows: of the other table's, %" PRId64 " is missing", s->next_id);
	return 0;
}

static void beside_clear(struct beside *s, struct bench *b, const struct server *sv)
{
	if (s->following)
		crowd_stop(&s->crowd);
	if (s->shape.query != NULL)
		shapes_delete(b, sv, &s->shape, 1);
	bench_drop(b, s->table);
	free(s->shape.query);
	free(s->arrived);
	lag_free(s->lag);
}

struct span {
	int64_t from, to;
};

/* Adds the lag of the rows that were due in that time. After beside_end(). */
static void beside_lag(const struct beside *s, struct span when, struct hist *into)
{
	for (int64_t id = 1; id < s->next_id; id++) {
		int64_t due = atomic_load(&s->lag->intended[id]);
		if (due >= when.from && due < when.to)
			hist_add(into, s->arrived[id] - atomic_load(&s->lag->acked[id]));
	}
}

/* ---- a membership comes and goes ---- */

struct grants {
	struct bench *bench;
	int64_t users, rows; /* rows of a shape while granted */
	bool beside;
	char variant[80];
	char items[2][NAME_BYTES], members[2][NAME_BYTES]; /* of the servers */
	bool broken[2];
};

struct follower {
	uint32_t turn;             /* how often it has begun, from 1 on */
	int64_t rows;              /* in this turn */
	int64_t told_ns, whole_ns; /* since the change: its 409, and being up to date with all rows; 0: not yet */
};

struct grant_run {
	struct grants *g;
	const struct server *server;
	int64_t first; /* user */
	struct shape *shape;
	struct crowd crowd;
	struct rows_want want;
	struct row_form form;
	bool granted;
	uint32_t *seen; /* by row: in which turn of its client it came last */
	struct follower *follower;
	int64_t finished;
	struct usage usage;
	struct beside beside;
};

struct times {
	double told_ms, whole_ms; /* the last client's, from the commit's acknowledgement */
	struct span rest, busy;
};

static int64_t first_row(const struct grants *g) { return 2 * g->users; }

static int64_t rows_due(const struct grant_run *r)
{
	return r->granted ? r->g->rows : r->g->rows - r->g->rows / 2;
}

/* A row came to the client of that number. */
static bool take_row(struct grant_run *r, int64_t number, int64_t id, int64_t project, const char **why)
{
	struct follower *f = &r->follower[number];
	int64_t users = r->g->users, at = id - first_row(r->g);

	*why = "a row without a change of the membership";
	if (f->told_ns == 0)
		return false;
	*why = "a row of another user's";
	if (project % users != number || at < 0 || at >= users * r->g->rows)
		return false;
	*why = "a row that was revoked";
	if (!r->granted && project >= users)
		return false;
	*why = "a row twice";
	if (r->seen[at] == f->turn)
		return false;
	r->seen[at] = f->turn;
	f->rows++;
	return true;
}

static size_t grant_fast(struct client *who, const char *data, size_t len)
{
	struct crowd *c = who->ctx;
	struct grant_run *r = c->ctx;
	int64_t id, project;
	const char *why;
	size_t n = row_form_match(&r->form, &r->want, data, len, &id, &project);

	return n > 0 && take_row(r, who->number, id, project, &why) ? n : 0;
}

static bool grant_msg(struct crowd *c, struct client *who, const struct msg *m, int64_t now)
{
	struct grant_run *r = c->ctx;
	struct follower *f = &r->follower[who->number];
	int64_t id, project;
	const char *why;

	if (m->kind == MSG_SNAPSHOT_END)
		return true;
	if (m->kind != MSG_UP_TO_DATE) {
		if (!row_check(m, &r->want, &id, &project, &why) || !take_row(r, who->number, id, project, &why))
			return crowd_wrong(c, who, "%s", why);
		if (r->form.parts == 0)
			row_form_learn(&r->form, m);
		return true;
	}
	if (f->told_ns == 0 || f->whole_ns != 0)
		return true;
	if (f->rows != rows_due(r))
		return crowd_wrong(c, who, "%" PRId64 " rows, not %" PRId64 ", after the change", f->rows, rows_due(r));
	f->whole_ns = now;
	if (++r->finished == c->size)
		c->done = true;
	return true;
}

static void grant_refetch(struct crowd *c, struct client *who)
{
	struct grant_run *r = c->ctx;
	struct follower *f = &r->follower[who->number];

	if (f->told_ns == 0)
		f->told_ns = who->read_ns;
	f->rows = 0;
	f->turn++;
}

static void grant_tick(void *ctx, int64_t now)
{
	struct crowd *c = ctx;
	struct grant_run *r = c->ctx;

	(void)now;
	usage_tick(&r->usage, r->server);
}

static bool all_wait(const struct crowd *c)
{
	for (int64_t i = 0; i < c->size; i++)
		if (c->client[i].state != CLIENT_WAITING || !c->client[i].live || c->client[i].unsent != NULL)
			return false;
	return true;
}

/* Until all clients wait, and some time more. */
static int rest(struct grant_run *r, struct span *when)
{
	struct bench *b = r->g->bench;
	int64_t ms = r->g->beside ? REST_BESIDE_MS : REST_MS, end = now_ns() + PATIENCE_S * NS_PER_S;

	while (!all_wait(&r->crowd)) {
		if (loop_run(&r->crowd.loop, NULL, now_ns() + 5 * NS_PER_MS) == -2)
			return err_set(&b->err, ERR_CANCELLED, "stopped");
		if (r->crowd.failed)
			return -1;
		if (now_ns() > end)
			return err_set(&b->err, ERR_TIMEOUT, "the clients don't come to rest within %d s", PATIENCE_S);
	}
	when->from = now_ns();
	if (loop_run(&r->crowd.loop, NULL, when->from + ms * NS_PER_MS) == -2)
		return err_set(&b->err, ERR_CANCELLED, "stopped");
	when->to = now_ns();
	return r->crowd.failed ? -1 : 0;
}

/* All users' second memberships come or go, in one transaction. */
static int commit_change(struct grant_run *r)
{
	struct grants *g = r->g;
	struct bench *b = g->bench;
	const char *members = g->members[r->server - b->server];
	int64_t last = r->first + g->users - 1;

	if (!r->granted)
		return db_exec(&b->admin, &b->err,
			       "DELETE FROM " SCHEMA ".%s WHERE user_id BETWEEN %" PRId64 " AND %" PRId64
			       " AND project_id >= %" PRId64, members, r->first, last, g->users);
	return db_exec(&b->admin, &b->err,
		       "INSERT INTO " SCHEMA ".%s SELECT u, u + %" PRId64 " FROM generate_series(%" PRId64 "::bigint, %" PRId64
		       ") u", members, g->users - r->first, r->first, last);
}

static int change(struct grant_run *r, bool grant, struct times *t)
{
	int64_t ack, told = 0, whole = 0;
	uint64_t before = r->crowd.refetches;

	if (rest(r, &t->rest))
		return -1;
	r->granted = grant;
	r->finished = 0;
	r->crowd.done = false;
	for (int64_t i = 0; i < r->crowd.size; i++)
		r->follower[i].told_ns = r->follower[i].whole_ns = 0;
	if (r->crowd.refetches != before)
		return err_set(&r->g->bench->err, ERR_PROTOCOL, "a 409 without a change of a membership");
	t->busy.from = now_ns();
	if (commit_change(r))
		return -1;
	ack = now_ns();
	if (crowd_run(&r->crowd, ack + PATIENCE_S * NS_PER_S, "some clients haven't got their new rows after 120 s"))
		return -1;
	t->busy.to = now_ns();
	for (int64_t i = 0; i < r->crowd.size; i++) {
		const struct follower *f = &r->follower[i];
		told = f->told_ns > told ? f->told_ns : told;
		whole = f->whole_ns > whole ? f->whole_ns : whole;
	}
	if (r->crowd.refetches - before != (uint64_t)r->crowd.size)
		return err_set(&r->g->bench->err, ERR_PROTOCOL, "%" PRIu64 " 409s for one change of %" PRId64 " shapes",
			       r->crowd.refetches - before, r->crowd.size);
	t->told_ms = told > ack ? (double)(told - ack) / 1e6 : 0;
	t->whole_ms = whole > ack ? (double)(whole - ack) / 1e6 : 0;
	return 0;
}

static double p99_ms(const struct hist *h) { return (double)hist_percentile(h, 99) / 1e6; }

static void beside_metrics(const struct grant_run *r, const struct times *t, struct sample *s)
{
	struct hist *busy = mem_zalloc(sizeof *busy), *quiet = mem_zalloc(sizeof *quiet);

	for (int i = 0; i < 2; i++) {
		beside_lag(&r->beside, t[i].busy, busy);
		beside_lag(&r->beside, t[i].rest, quiet);
	}
	sample_metric(s, "other table's p99", "ms", p99_ms(busy), -1);
	sample_metric(s, "of rows", "", (double)busy->count, 0);
	sample_metric(s, "its p99 at rest", "ms", p99_ms(quiet), -1);
	free(busy);
	free(quiet);
}

/* t: of the revocation, of the grant. */
static void grant_sample(const struct grant_run *r, const struct times t[2], double first_s, int round)
{
	struct grants *g = r->g;
	struct results *all = &g->bench->results;
	struct sample *s;

	if (g->beside)
		s = sample_new(all, "membership", "many shapes", "shapes", (double)g->users, r->server->name, round);
	else
		s = sample_new(all, "membership", "one shape", "rows", (double)g->rows, r->server->name, round);

	sample_variant(s, "%s", g->variant);
	sample_metric(s, "granted: all rows", "ms", t[1].whole_ms, -1);
	sample_metric(s, "granted: 409", "ms", t[1].told_ms, -1);
	sample_metric(s, "revoked: all rows", "ms", t[0].whole_ms, -1);
	sample_metric(s, "revoked: 409", "ms", t[0].told_ms, -1);
	sample_metric(s, "first sync", "ms", first_s * 1e3, -1);
	if (r->crowd.loop.retries > 0)
		sample_metric(s, "retries", "", (double)r->crowd.loop.retries, -1);
	if (g->beside)
		beside_metrics(r, t, s);
	usage_metrics(&r->usage, r->server, s);
	sample_done(all, s);
}

static int follow(struct grant_run *r)
{
	const struct server *sv = r->server;
	struct grants *g = r->g;
	size_t n = (size_t)g->users;

	if (crowd_start(&r->crowd, g->bench, &sv->url, sv->secret, r->shape, n, g->users, CLIENT_POLL, false))
		return -1;
	r->crowd.on_msg = grant_msg;
	r->crowd.on_refetch = grant_refetch;
	r->crowd.ctx = r;
	r->crowd.refetch = true;
	r->crowd.loop.busy_max = (unsigned)n; /* as so many browsers would, all ask at once */
	r->crowd.loop.tick = grant_tick;
	for (int64_t i = 0; i < g->users; i++)
		r->crowd.client[i].fast = grant_fast;
	return 0;
}

static void run_init(struct grant_run *r, struct grants *g, int which, int round)
{
	r->g = g;
	r->server = &g->bench->server[which];
	r->first = round * g->users;
	r->granted = true;
	r->want = (struct rows_want){.payload = g->bench->opt.payload, .groups = 2 * g->users, .last_id = -1};
	r->shape = mem_zalloc(sizeof *r->shape * (size_t)g->users);
	r->seen = mem_zalloc(sizeof *r->seen * (size_t)(g->users * g->rows));
	r->follower = mem_zalloc(sizeof *r->follower * (size_t)g->users);
	for (int64_t i = 0; i < g->users; i++) {
		r->shape[i].query = members_query(g->items[which], g->members[which], "IN", r->first + i);
		r->follower[i].turn = 1;
	}
}

static void run_clear(struct grant_run *r)
{
	struct grants *g = r->g;

	if (g->beside)
		beside_clear(&r->beside, g->bench, r->server);
	for (int64_t i = 0; i < g->users; i++)
		r->shape[i].handle[0] = '\0'; /* whichever is there now */
	shapes_delete(g->bench, r->server, r->shape, (size_t)g->users);
	shapes_free(r->shape, (size_t)g->users);
	free(r->seen);
	free(r->follower);
	free(r);
}

static int grant_round(struct grants *g, int which, int round)
{
	struct bench *b = g->bench;
	struct grant_run *r = mem_zalloc(sizeof *r);
	struct sync_stats first = {0};
	struct times t[2] = {0};
	int workers = g->users < WORKERS_MAX ? (int)g->users : WORKERS_MAX, result;

	progress("membership, %s, round %d: %s", g->variant, round + 1, b->server[which].name);
	run_init(r, g, which, round);
	result = shapes_sync(b, r->server, r->shape, (size_t)g->users, workers, CLIENT_SYNC, NULL, NULL, &first);
	if (result == 0)
		result = follow(r);
	if (result != 0)
		goto cleanup;
	if (g->beside)
		result = beside_start(&r->beside, b, r->server);
	usage_start(&r->usage, r->server);
	for (int grant = 0; grant < 2 && result == 0; grant++)
		result = change(r, grant == 1, &t[grant]);
	if (g->beside)
		result = beside_end(&r->beside, b, result);
	if (result == 0)
		grant_sample(r, t, first.seconds, round);
	crowd_stop(&r->crowd);
cleanup:
	run_clear(r);
	return result;
}

/* Of all rounds' users, in both projects: the first change revokes. */
static int grant_tables(struct grants *g, int which)
{
	struct bench *b = g->bench;
	const char *items = g->items[which], *members = g->members[which];
	int64_t from = first_row(g), to = from + g->users * g->rows;

	if (bench_table(b, g->items[which], "items", false) || members_create(b, g->members[which]) ||
	    rows_insert(&b->admin, items, from, to, 2 * g->users, b->opt.payload, &b->err) ||
	    db_exec(&b->admin, &b->err, "CREATE INDEX ON " SCHEMA ".%s (n)", items) ||
	    db_exec(&b->admin, &b->err,
		    "INSERT INTO " SCHEMA ".%s SELECT u, u %% %" PRId64 " + p * %" PRId64
		    " FROM generate_series(0::bigint, %" PRId64 ") u, generate_series(0, 1) p",
		    members, g->users, g->users, g->users * b->opt.rounds - 1))
		return -1;
	return db_exec(&b->admin, &b->err, "VACUUM ANALYZE " SCHEMA ".%s, " SCHEMA ".%s", items, members);
}

static void grant_case(struct bench *b, int64_t users, int64_t rows, bool beside)
{
	struct grants g = {.bench = b, .users = users, .rows = rows, .beside = beside};
	char clients[32], many[32];

	format_value(clients, sizeof clients, (double)users, "");
	format_value(many, sizeof many, (double)rows, "");
	snprintf(g.variant, sizeof g.variant, "%s shape%s of %s rows, a client each", clients, users == 1 ? "" : "s", many);
	progress("membership, %s: writing the tables", g.variant);
	for (int i = 0; i < b->servers && !stopping(); i++)
		if (grant_tables(&g, i)) {
			g.broken[i] = true;
			case_failed(b, "membership", g.variant, "preparation");
		}
	for (int round = 0; round < b->opt.rounds && !stopping(); round++)
		for (int k = 0; k < b->servers && !stopping(); k++) {
			int which = turn(b, round, k);
			if (!g.broken[which] && grant_round(&g, which, round)) {
				g.broken[which] = true;
				case_failed(b, "membership", g.variant, b->server[which].name);
			}
		}
	for (int i = 0; i < b->servers; i++) {
		bench_drop(b, g.items[i]);
		bench_drop(b, g.members[i]);
	}
}

/* ---- births and memory ---- */

struct births {
	struct bench *bench;
	const char *kind;
	bool sets; /* a subquery; else the equality that has the same rows */
	int64_t n, from; /* shapes; the first of those that are made now */
	char variant[80], items[NAME_BYTES], members[NAME_BYTES];
	struct rows_want want;
	uint8_t *got;
	int64_t empty_kb, half_kb; /* RssAnon with none, and with half of them; 0: unknown */
};

/* Shape k has the row of the group k, if there is one. */
static bool birth_msg(void *ctx, size_t i, const struct msg *m, const char **why)
{
	struct births *k = ctx;
	int64_t id, group;

	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END)
		return true;
	if (!row_check(m, &k->want, &id, &group, why))
		return false;
	*why = "a row of another shape, or twice";
	return group == k->from + (int64_t)i && k->got[group]++ == 0;
}

static int birth_check(struct births *k, const struct shape *v)
{
	for (int64_t i = 0; i < k->n; i++)
		if (k->got[i] != (i < BIRTH_ROWS))
			return err_set(&k->bench->err, ERR_PROTOCOL, "wrong rows: %s gave %d", v[i].query, k->got[i]);
	return 0;
}

static int birth_tables(struct births *k)
{
	struct bench *b = k->bench;

	if (bench_table(b, k->items, "items", false) ||
	    rows_insert(&b->admin, k->items, BIRTH_ROWS, 2 * BIRTH_ROWS, BIRTH_ROWS, b->opt.payload, &b->err))
		return -1;
	return k->sets && (members_create(b, k->members) || members_fill(b, k->members, k->n)) ? -1 : 0;
}

static int64_t anon_kb(const struct server *sv)
{
	struct proc_stat now;

	return sv->pid > 0 && proc_read(sv->pid, &now) == 0 ? now.anon_kb : 0;
}

/* In two halves: what the second takes is what further shapes cost, without what the first of any take once. */
static int births(struct births *k, const struct server *sv, struct shape *v, struct sync_stats *st)
{
	int64_t half = k->n / 2;
	double seconds;

	k->from = 0;
	if (shapes_sync(k->bench, sv, v, (size_t)half, BIRTH_WORKERS, CLIENT_SYNC, birth_msg, k, st))
		return -1;
	seconds = st->seconds;
	sleep_ms(SETTLE_MS);
	k->half_kb = anon_kb(sv);
	k->from = half;
	if (shapes_sync(k->bench, sv, v + half, (size_t)(k->n - half), BIRTH_WORKERS, CLIENT_SYNC, birth_msg, k, st))
		return -1;
	st->seconds += seconds;
	sleep_ms(SETTLE_MS);
	return birth_check(k, v);
}

static void birth_sample(struct births *k, const struct server *sv, const struct sync_stats *st, int round)
{
	struct bench *b = k->bench;
	struct sample *s = sample_new(&b->results, "membership", k->kind, "shapes", (double)k->n, sv->name, round);
	bool fresh = round == 0 || (b->opt.start_cmd != NULL && sv == &b->server[0]);
	int64_t now_kb = anon_kb(sv);

	sample_variant(s, "%s", k->variant);
	sample_metric(s, "new shapes", "/s", (double)k->n / st->seconds, 1);
	sample_metric(s, "p50", "ms", (double)hist_percentile(st->each, 50) / 1e6, -1);
	sample_metric(s, "p99", "ms", p99_ms(st->each), -1);
	/* Memory that a server keeps from earlier shapes isn't new: only a process that has made none tells. */
	if (now_kb > 0 && fresh) {
		sample_metric(s, "RssAnon before", "MB", (double)k->empty_kb / 1024, -1);
		sample_metric(s, "RssAnon", "MB", (double)now_kb / 1024, -1);
		sample_metric(s, "RssAnon a shape", "KB", (double)(now_kb - k->empty_kb) / (double)k->n, -1);
		sample_metric(s, "RssAnon a further shape", "KB", (double)(now_kb - k->half_kb) / (double)(k->n - k->n / 2), -1);
	}
	sample_done(&b->results, s);
}

static int birth_round(struct births *k, int which, int round)
{
	struct bench *b = k->bench;
	const struct server *sv = &b->server[which];
	struct shape *v = mem_zalloc(sizeof *v * (size_t)k->n);
	struct hist *each = mem_zalloc(sizeof *each);
	struct sync_stats st = {.each = each};
	int result = -1;

	progress("membership, %s, round %d: %s", k->variant, round + 1, sv->name);
	k->items[0] = k->members[0] = '\0';
	k->got = mem_zalloc((size_t)k->n);
	if ((which == 0 && server_renew(b, false)) || birth_tables(k))
		goto cleanup;
	for (int64_t i = 0; i < k->n; i++)
		v[i].query = k->sets ? members_query(k->items, k->members, "IN", i) : shape_query(k->items, "n = %" PRId64, i);
	sleep_ms(SETTLE_MS);
	k->empty_kb = anon_kb(sv);
	if (births(k, sv, v, &st))
		goto cleanup;
	birth_sample(k, sv, &st, round);
	result = 0;
cleanup:
	if (v[0].query != NULL)
		shapes_delete(b, sv, v, (size_t)k->n);
	shapes_free(v, (size_t)k->n);
	bench_drop(b, k->items);
	bench_drop(b, k->members);
	free(each);
	free(k->got);
	return result;
}

static void birth_case(struct bench *b, const char *kind, int64_t n)
{
	struct births k = {.bench = b, .kind = kind, .n = n, .sets = strcmp(kind, "subquery") == 0,
			   .want = {.payload = b->opt.payload, .groups = BIRTH_ROWS, .last_id = -1}};
	bool broken[2] = {false, false};
	char number[32];

	format_value(number, sizeof number, (double)n, "");
	if (k.sets)
		snprintf(k.variant, sizeof k.variant, "%s subquery shapes, sets of %d", number, MEMBERS_SET);
	else
		snprintf(k.variant, sizeof k.variant, "%s %s shapes", number, kind);
	for (int round = 0; round < b->opt.rounds && !stopping(); round++)
		for (int i = 0; i < b->servers && !stopping(); i++) {
			int which = turn(b, round, i);
			if (!broken[which] && birth_round(&k, which, round)) {
				broken[which] = true;
				case_failed(b, "membership", k.variant, b->server[which].name);
			}
		}
}

void scen_membership(struct bench *b)
{
	static const int64_t shapes[] = {10000}, few_shapes[] = {1000}, clients[] = {1000}, few_clients[] = {100};
	static const int64_t rows[] = {10, 1000, 100000}, few_rows[] = {10, 1000};
	static const char *const kinds[] = {"subquery", "eq"};
	struct list n = list_or(&b->opt.shapes, 1, shapes, 1, few_shapes, b->opt.quick);
	struct list r = list_or(&b->opt.rows, 3, rows, 2, few_rows, b->opt.quick);
	struct list c = list_or(&b->opt.clients, 1, clients, 1, few_clients, b->opt.quick);

	for (int k = 0; k < 2; k++)
		for (int i = 0; i < n.n && !stopping(); i++)
			if (n.v[i] > 0 && opt_lists(b->opt.kinds, "eq,subquery", kinds[k]))
				birth_case(b, kinds[k], n.v[i]);
	for (int i = 0; i < r.n && !stopping(); i++)
		grant_case(b, 1, r.v[i], false);
	for (int i = 0; i < c.n && !stopping(); i++)
		if (c.v[i] > 0)
			grant_case(b, c.v[i], STORM_ROWS, true);
}
