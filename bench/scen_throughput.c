/*
 * scen_throughput.c - changes a second, from Postgres to a client, against the number of shapes and their kind.
 *
 * Modes: live (sessions that commit single rows while the server reads), backlog (the server is stopped while
 * single-row transactions pile up), rows (the same with transactions of some rows), huge (one transaction). The time ends when a last
 * row, committed behind all others, has reached a client; the stream is in order, so everything before it has been
 * dealt with. Then the shapes, or some hundred of them, are read and each row is checked.
 *
 * A backlog lies in Postgres, all of it: before it is written, rows that no shape shows fill the sockets' buffers of the
 * stopped server until its walsender is stuck; then comes a run-up of ordinary rows, then one row, the gate, and with its
 * arrival the time begins. So nothing that was already sent, and no start-up, is part of the figure. While the bare client
 * has its turn the servers are stopped in the same way: their walsenders would otherwise decode the same WAL beside its own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/floors.h"
#include "bench/members.h"
#include "bench/walker.h"
#include "bench/writer.h"

#define BARE "bare client"
#define WORKERS 64       /* clients that make shapes and read them */
#define PROBES_MAX 300   /* shapes that are read after each run */
#define PROBES_ALL_MAX 20 /* of shapes that match every row */
#define LIVE_SESSIONS 4
#define PILE_SESSIONS 2
#define PILE_REST_MS 100 /* after the last write, for disk and caches */
#define PATIENCE_S 300
#define CAUGHT_UP_S 120
#define NO_PROGRESS_S 3 /* a walsender that hasn't moved for so long is somebody else's, and stuck */
#define FILL_ROWS 256 /* of a transaction that fills sockets */
#define FILL_PAYLOAD PAYLOAD_MAX
#define FILL_ROUNDS_MAX 24 /* 48 MB: more than the buffers of a connection */
#define FILL_WAIT_MS 200 /* a walsender that hasn't read a transaction of 2 MB by then is stuck */
#define BARE_NAP_NS 200000
#define RUN_UP_MIN 2000 /* rows before the gate: a quarter of the backlog, within these */
#define RUN_UP_MAX 10000
#define EVALUATIONS_MAX 5000000 /* of a round of ILIKE shapes: enough to measure, and a slow server gets done */

enum kind { K_TABLE, K_EQ, K_RANGE, K_ARRAY, K_LIKE, K_ILIKE, K_ALL, K_SUBQUERY, K_NOT_IN, K_INNER, KINDS };
static const char *const kind_names[KINDS] = {"table", "eq", "range", "array", "like", "ilike", "all", "subquery", "notin", "inner"};
#define KINDS_DEFAULT "table,eq,range,array,like,ilike,all"

enum mode { M_LIVE, M_BACKLOG, M_ROWS, M_HUGE, MODES };
static const char *const mode_names[MODES] = {"live", "backlog", "rows", "huge"};

struct tp {
	struct bench *bench;
	enum kind kind;
	int64_t n;
	char title[80]; /* "1,000 eq shapes" */
	struct tp_side {
		char table[NAME_BYTES], members[NAME_BYTES]; /* members: of subqueries; else "" */
		struct shape *shape; /* n of them, and behind them the witness's */
		struct shape *probe; /* some of them again, with positions of their own; queries borrowed */
		int64_t *probe_of;
		size_t probes;
		int64_t next_id;
		bool broken;
	} side[3]; /* the servers, the floor */
	bool walking; /* the floor is measured too */
	char filler[NAME_BYTES]; /* a table of large rows that no shape shows */
	struct shape filling[2]; /* the servers' shapes of it: so that its rows are in their streams */
	int64_t filled;          /* ids used in it */
	int64_t foreign;         /* walsenders that were behind already */
};

static bool can_pause(const struct bench *b, int which)
{
	return b->server[which].pid > 0 || (b->servers == 1 && b->opt.pause_cmd != NULL && b->opt.resume_cmd != NULL);
}

static int pause_server(struct bench *b, int which)
{
	if (b->opt.pause_cmd == NULL || b->servers > 1)
		return server_pause(b->server[which].pid, &b->err);
	if (wait_command(run_command(b->opt.pause_cmd), 30000) == 0)
		return 0;
	return err_set(&b->err, ERR_IO, "--pause-cmd failed");
}

static void continue_server(struct bench *b)
{
	if (b->opt.pause_cmd == NULL || b->servers > 1)
		server_continue();
	else
		(void)wait_command(run_command(b->opt.resume_cmd), 30000);
}

/* ---- shapes of a kind ---- */

static char *kind_query(const struct tp *t, const struct tp_side *side, int64_t k)
{
	const char *table = side->table;

	switch (t->kind) {
	case K_EQ: return shape_query(table, "n = %" PRId64, k);
	case K_RANGE:
		return shape_query(table, "v >= %" PRId64 " AND v < %" PRId64, k * GROUP_WIDTH, (k + 1) * GROUP_WIDTH);
	case K_ARRAY: return shape_query(table, "tags @> '{t%" PRId64 "}'", k);
	case K_LIKE: return shape_query(table, "name LIKE 'item-%" PRId64 "-%%'", k);
	case K_ILIKE: return shape_query(table, "name ILIKE '%%nothing-%" PRId64 "-%%'", k);
	case K_ALL: return shape_query(table, "v >= %" PRId64, -1000000 - k);
	case K_SUBQUERY:
	case K_INNER: return members_query(table, side->members, "IN", k);
	case K_NOT_IN: return members_query(table, side->members, "NOT IN", k);
	default: return shape_query(table, NULL);
	}
}

/* Most rows are in every shape. */
static bool is_wide(enum kind kind) { return kind == K_ALL || kind == K_NOT_IN; }

/* How many rows of [from, to) a shape must show; the last row of the batch is `to`, and the gate (0: none) is in it. */
static int64_t kind_expects(const struct tp *t, int64_t k, int64_t gate, int64_t from, int64_t to)
{
	if (t->kind == K_ILIKE || t->kind == K_INNER)
		return 0;
	if (t->kind == K_ALL)
		return to - from + 1;
	/* ids with id % n == k */
	int64_t group = (to - 1 - k + t->n) / t->n - (from - 1 - k + t->n) / t->n;
	return t->kind == K_NOT_IN ? to - from + 1 - group : group - (gate > 0 && gate % t->n == k);
}

/* ---- checking ---- */

struct probe_run {
	const struct tp *t;
	const struct tp_side *side;
	struct rows_want want;
	struct seen *seen; /* one for all, or one for each probe when all match */
	int64_t *count;
	int64_t from, to;
};

static bool probe_msg(void *ctx, size_t i, const struct msg *m, const char **why)
{
	struct probe_run *p = ctx;
	int64_t id, group;

	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END)
		return true;
	if (!row_check(m, &p->want, &id, &group, why))
		return false;
	*why = "a row of another shape";
	if (p->t->kind == K_ILIKE || p->t->kind == K_INNER || (!is_wide(p->t->kind) && group != p->side->probe_of[i]))
		return false;
	*why = "a row twice, or of another run";
	p->count[i]++;
	return seen_add(&p->seen[is_wide(p->t->kind) ? i : 0], id);
}

/* Reads the probes: each must show its rows, all of them, each once. */
static int check_probes(struct tp *t, int which, int64_t gate, int64_t from, int64_t to)
{
	struct bench *b = t->bench;
	struct tp_side *side = &t->side[which];
	size_t sets = is_wide(t->kind) ? side->probes : 1;
	struct probe_run p = {.t = t, .side = side, .from = from, .to = to};
	int result;

	if (t->kind == K_TABLE)
		return 0; /* the witness saw each row itself */
	progress("throughput, %s: checking %zu shapes of %s", t->title, side->probes, b->server[which].name);
	p.want = (struct rows_want){.payload = b->opt.payload, .groups = t->n, .last_id = to, .gate_id = gate};
	p.seen = mem_zalloc(sizeof *p.seen * sets);
	p.count = mem_zalloc(sizeof *p.count * side->probes);
	for (size_t i = 0; i < sets; i++)
		seen_init(&p.seen[i], from, to + 1);
	result = shapes_sync(b, &b->server[which], side->probe, side->probes, WORKERS, CLIENT_SYNC, probe_msg, &p, NULL);
	for (size_t i = 0; result == 0 && i < side->probes; i++) {
		int64_t expect = kind_expects(t, side->probe_of[i], gate, from, to);
		if (p.count[i] != expect)
			result = err_set(&b->err, ERR_PROTOCOL, "wrong rows: %s shows %" PRId64 " new rows, not %" PRId64,
					 side->probe[i].query, p.count[i], expect);
	}
	for (size_t i = 0; i < sets; i++)
		seen_clear(&p.seen[i]);
	free(p.seen);
	free(p.count);
	return result;
}

/* ---- the load ---- */

struct load {
	enum mode mode;
	struct crew crew;
	int64_t first;    /* id, of the run-up */
	int64_t gate;     /* of a backlog: the row that begins it, from - 1; else 0 */
	int64_t from, to; /* what is measured; the last row has the id `to` */
	int64_t start_ns; /* where the time begins */
	int paused; /* servers that are stopped */
	double held; /* of a backlog: the percentage still in Postgres when it began, the rest is in sockets; -1: all, or unknown */
};

static int64_t load_size(const struct tp *t, enum mode mode)
{
	const struct options *o = &t->bench->opt;
	/* Live is as fast as the disk lets sessions commit: it would take long. */
	int64_t n = mode == M_HUGE ? o->huge : mode == M_LIVE ? (o->changes + 7) / 8 : o->changes;

	/* Where each change goes to every shape, as many changes as give about the same number of lines. */
	if (is_wide(t->kind) && t->n > 20)
		n = n * 20 / t->n > 2000 ? n * 20 / t->n : 2000;
	if (t->kind == K_ILIKE && n > EVALUATIONS_MAX / t->n)
		n = EVALUATIONS_MAX / t->n > 500 ? EVALUATIONS_MAX / t->n : 500;
	return n;
}

/* Where the load goes; gate and last row always go to the shapes' table. */
static const char *written_table(const struct tp *t, int which)
{
	return t->kind == K_INNER && which < 2 ? t->side[which].members : t->side[which].table;
}

static int load_open(struct load *l, struct tp *t, int which, enum mode mode)
{
	struct bench *b = t->bench;
	const char *table = written_table(t, which);
	int sessions = mode == M_LIVE ? LIVE_SESSIONS : mode == M_HUGE ? 1 : PILE_SESSIONS;
	int64_t n = load_size(t, mode), per = mode == M_ROWS ? b->opt.txn_rows : 1;

	memset(l, 0, sizeof *l);
	l->mode = mode;
	if (mode == M_ROWS)
		n = (n + per - 1) / per * per;
	l->from = l->first = t->side[which].next_id;
	if (mode == M_BACKLOG || mode == M_ROWS) {
		l->gate = l->first + (n / 4 < RUN_UP_MIN ? RUN_UP_MIN : n / 4 > RUN_UP_MAX ? RUN_UP_MAX : n / 4);
		l->from = l->gate + 1;
	}
	l->to = l->from + n;
	t->side[which].next_id = l->to + 1;
	if (crew_open(&l->crew, sessions, b->opt.db,
		      mode == M_LIVE ? NULL : "SET synchronous_commit = off", &b->err))
		return -1;
	for (int i = 0; i < sessions; i++) {
		char *sql = l->crew.member[i].sql;
		size_t size = sizeof l->crew.member[i].sql;
		int64_t a = l->from + n / per * i / sessions * per, z = l->from + n / per * (i + 1) / sessions * per;
		if (mode == M_HUGE)
			rows_batch_sql(sql, size, table, l->from, l->to, t->n, b->opt.payload);
		else
			snprintf(sql, size, "CALL " SCHEMA ".put_%s(%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 ")", table, a, z,
				 t->n, per);
	}
	/* Its commit flushes what the others have left in Postgres's buffers. */
	size_t at = (size_t)snprintf(l->crew.last_sql, sizeof l->crew.last_sql, "SET synchronous_commit = on; ");
	rows_last_sql(l->crew.last_sql + at, sizeof l->crew.last_sql - at, t->side[which].table, l->to, b->opt.payload);
	return 0;
}

static int64_t wal_position(struct bench *b)
{
	struct err e;
	int64_t at = 0;

	(void)!db_number(&b->admin, &at, &e, "SELECT (pg_current_wal_lsn() - '0/0')::bigint");
	return at;
}

/*
 * The walsender of the stopped server is the one that is furthest behind. What it has sent lies in the sockets' buffers
 * and costs Postgres nothing any more.
 */
static double still_held(struct bench *b, int64_t from)
{
	struct err e;
	int64_t sent = 0, end = wal_position(b);

	if (db_number(&b->admin, &sent, &e,
		      "SELECT coalesce(min(sent_lsn - '0/0'), 0)::bigint FROM pg_stat_replication WHERE sent_lsn - '0/0' >= %" PRId64
		      " AND application_name <> 'busbar-bench'",
		      from) ||
	    sent < from || end <= from)
		return -1;
	return (double)(end - sent) / (double)(end - from) * 100;
}

/* How many walsenders, the bare client's too, have WAL below `lsn` to read; 0 also where we may not see them. */
static int64_t behind(struct bench *b, int64_t lsn)
{
	struct err e;
	int64_t n = 0;

	(void)!db_number(&b->admin, &n, &e,
			 "SELECT count(*) FROM pg_stat_replication WHERE sent_lsn - '0/0' < %" PRId64, lsn);
	return n;
}

/* So that no server is measured, or in another's way, while it still reads what came before. */
static void wait_caught_up(struct tp *t)
{
	struct bench *b = t->bench;
	int64_t lsn = wal_position(b), now = now_ns(), end = now + CAUGHT_UP_S * NS_PER_S, moved = now, sum = 0, before = 0;
	struct err e;

	while ((t->foreign = behind(b, lsn)) > 0 && !stopping() && now < end && now - moved < NO_PROGRESS_S * NS_PER_S) {
		sleep_ms(10);
		(void)!db_number(&b->admin, &sum, &e, "SELECT coalesce(sum(sent_lsn - '0/0'), 0) FROM pg_stat_replication");
		now = now_ns();
		if (sum != before)
			moved = now;
		before = sum;
	}
	sleep_ms(PILE_REST_MS);
}

/* Rows for nobody until as many walsenders are stuck as servers are stopped. True if they are. */
static bool fill_sockets(struct tp *t, int stopped)
{
	struct bench *b = t->bench;
	struct err e;

	for (int round = 0; round < FILL_ROUNDS_MAX && !stopping() && t->filler[0]; round++) {
		int64_t lsn, end;
		if (rows_insert(&b->admin, t->filler, t->filled + 1, t->filled + FILL_ROWS + 1, 0, FILL_PAYLOAD, &e))
			return false;
		t->filled += FILL_ROWS;
		lsn = wal_position(b);
		end = now_ns() + FILL_WAIT_MS * NS_PER_MS;
		while (behind(b, lsn) >= stopped + t->foreign)
			if (now_ns() > end)
				return true;
			else
				sleep_ms(5);
	}
	return false;
}

/* The servers' shapes of the filler table; without them backlogs are as they come. */
static void filler_prepare(struct tp *t)
{
	struct bench *b = t->bench;

	if (bench_table(b, t->filler, "filler", false)) {
		t->filler[0] = '\0';
		return;
	}
	for (int i = 0; i < b->servers; i++) {
		t->filling[i].query = shape_query(t->filler, "n = %d", LAST_GROUP);
		if (can_pause(b, i) && shapes_sync(b, &b->server[i], &t->filling[i], 1, 1, CLIENT_SYNC, NULL, NULL, NULL))
			progress("filler: %s", b->err.text);
	}
}

static void filler_clear(struct tp *t)
{
	struct bench *b = t->bench;

	for (int i = 0; i < b->servers; i++) {
		if (t->filling[i].query != NULL)
			shapes_delete(b, &b->server[i], &t->filling[i], 1);
		free(t->filling[i].query);
	}
	bench_drop(b, t->filler);
}

/* For the bare client's turn: all servers stopped. */
static int stop_servers(struct load *l, struct tp *t)
{
	struct bench *b = t->bench;

	for (int i = 0; i < b->servers; i++)
		if (!can_pause(b, i))
			return 0;
	wait_caught_up(t);
	for (int i = 0; i < b->servers; i++) {
		if (pause_server(b, i))
			return -1;
		l->paused++;
	}
	return 0;
}

/* Piles it up before the time begins, or begins. */
static int load_go(struct load *l, struct tp *t, int which)
{
	struct bench *b = t->bench;
	bool pile = l->gate > 0, stuck;
	char sql[2048];
	int64_t from;

	l->held = -1;
	l->start_ns = now_ns();
	if (!pile) {
		crew_go(&l->crew);
		return 0;
	}
	if (which < 2) {
		if (pause_server(b, which))
			return -1;
		l->paused = true;
	}
	stuck = which == 2 || fill_sockets(t, 1);
	rows_last_sql(sql, sizeof sql, t->side[which].table, l->gate, b->opt.payload);
	if (db_exec(&b->admin, &b->err, "SET synchronous_commit = off") ||
	    db_exec(&b->admin, &b->err, "CALL " SCHEMA ".put_%s(%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 ")",
		    written_table(t, which), l->first, l->gate, t->n, l->mode == M_ROWS ? b->opt.txn_rows : 1) ||
	    db_exec(&b->admin, &b->err, "RESET synchronous_commit") || db_exec(&b->admin, &b->err, "%s", sql))
		return -1;
	from = wal_position(b);
	crew_go(&l->crew);
	while (!atomic_load(&l->crew.finished) && !stopping())
		sleep_ms(10);
	if (crew_join(&l->crew, &b->err))
		return -1;
	sleep_ms(PILE_REST_MS);
	if (!stuck)
		l->held = still_held(b, from);
	l->start_ns = now_ns();
	if (which < 2) {
		continue_server(b);
		l->paused = 0;
	}
	return 0;
}

static int load_end(struct load *l, struct tp *t, int result)
{
	struct bench *b = t->bench;
	struct err e;

	if (l->paused > 0)
		continue_server(b);
	l->paused = 0;
	if (crew_join(&l->crew, &e) && result == 0) {
		b->err = e;
		result = -1;
	}
	if (l->mode == M_HUGE)
		l->start_ns = atomic_load(&l->crew.done_ns);
	crew_close(&l->crew);
	return result;
}

static void variant_text(char *out, size_t size, const struct tp *t, enum mode mode)
{
	const struct options *o = &t->bench->opt;
	char n[32];

	format_value(n, sizeof n, (double)load_size(t, mode), "");
	switch (mode) {
	case M_LIVE: snprintf(out, size, "%s, live: %d sessions", t->title, LIVE_SESSIONS); break;
	case M_BACKLOG: snprintf(out, size, "%s, backlog of %s", t->title, n); break;
	case M_ROWS: snprintf(out, size, "%s, backlog of %" PRId64 "-row transactions", t->title, o->txn_rows); break;
	default: snprintf(out, size, "%s, one transaction of %s rows", t->title, n); break;
	}
}

static struct sample *load_sample(const struct load *l, struct tp *t, const char *subject, int round, int64_t end_ns)
{
	struct bench *b = t->bench;
	double seconds = (double)(end_ns - l->start_ns) / 1e9, n = (double)(l->to - l->from + 1);
	char series[40], variant[80];
	struct sample *s;

	snprintf(series, sizeof series, "%s, %s", kind_names[t->kind], mode_names[l->mode]);
	s = sample_new(&b->results, "throughput", series, "shapes", (double)t->n, subject, round);
	variant_text(variant, sizeof variant, t, l->mode);
	sample_variant(s, "%s", variant);
	sample_metric(s, l->mode == M_HUGE || l->mode == M_ROWS ? "rows" : "changes", "/s", n / seconds, 1);
	sample_metric(s, "took", "s", seconds, -1);
	if (l->held >= 0 && l->held < 99)
		sample_metric(s, "held by Postgres", "%", l->held, 0);
	if (l->mode == M_LIVE) {
		double wrote = (double)(atomic_load(&l->crew.done_ns) - l->start_ns) / 1e9;
		sample_metric(s, "writers", "/s", n / wrote, 0);
		sample_metric(s, "behind at the end", "ms", (seconds - wrote) * 1e3, -1);
	}
	return s;
}

/* ---- one run ---- */

struct tp_witness {
	struct tp *t;
	const struct server *server;
	struct load *load;
	struct usage usage; /* from the gate on */
	struct seen seen;
	struct rows_want want;
	int64_t end_ns;
};

static bool witness_msg(struct crowd *c, struct client *who, const struct msg *m, int64_t now)
{
	struct tp_witness *w = c->ctx;
	int64_t id, group;
	const char *why;

	if (m->kind == MSG_UP_TO_DATE)
		return true;
	if (!row_check(m, &w->want, &id, &group, &why))
		return crowd_wrong(c, who, "%s", why);
	if (w->t->kind != K_TABLE && group != LAST_GROUP)
		return crowd_wrong(c, who, "row %" PRId64 " isn't of its shape", id);
	if (!seen_add(&w->seen, id))
		return crowd_wrong(c, who, "row %" PRId64 " came twice, or is of another run", id);
	if (id == w->load->gate) { /* the time begins */
		int64_t peak = w->usage.peak_anon_kb;
		usage_start(&w->usage, w->server);
		w->usage.peak_anon_kb = peak;
		w->load->start_ns = now;
	} else if (group == LAST_GROUP) {
		w->end_ns = now;
		c->done = true;
	}
	return true;
}

static void witness_tick(void *ctx, int64_t now)
{
	struct crowd *c = ctx;
	struct tp_witness *w = c->ctx;

	(void)now;
	usage_tick(&w->usage, w->server);
}

static int server_run(struct tp *t, int which, enum mode mode, int round)
{
	struct bench *b = t->bench;
	const struct server *sv = &b->server[which];
	struct shape *shape = &t->side[which].shape[t->kind == K_TABLE ? 0 : t->n];
	struct load load = {0};
	struct tp_witness w = {.t = t, .server = sv, .load = &load};
	struct crowd crowd;
	struct sample *s;
	int result;

	wait_caught_up(t);
	if (shapes_sync(b, sv, shape, 1, 1, CLIENT_SYNC, NULL, NULL, NULL) ||
	    crowd_start(&crowd, b, &sv->url, sv->secret, shape, 1, 1, CLIENT_POLL, false))
		return -1;
	crowd.on_msg = witness_msg;
	crowd.ctx = &w;
	crowd.client[0].persist = true; /* a stopped server may drop connections */
	crowd.loop.tick = witness_tick;
	result = load_open(&load, t, which, mode);
	w.want = (struct rows_want){
		.payload = b->opt.payload, .groups = t->n, .last_id = load.to, .gate_id = load.gate};
	seen_init(&w.seen, load.first, load.to + 1);
	if (result == 0)
		result = load_go(&load, t, which);
	usage_start(&w.usage, sv);
	if (result == 0)
		result = crowd_run(&crowd, now_ns() + PATIENCE_S * NS_PER_S, "the last row didn't come within 300 s");
	result = load_end(&load, t, result);
	if (result == 0 && t->kind == K_TABLE && w.seen.count != load.to - load.first + 1)
		result = err_set(&b->err, ERR_PROTOCOL, "wrong rows: %" PRId64 " of %" PRId64 " came before the last one",
				 w.seen.count, load.to - load.first + 1);
	seen_clear(&w.seen);
	crowd_stop(&crowd);
	struct sample *held = NULL;
	if (result == 0) {
		held = s = load_sample(&load, t, sv->name, round, w.end_ns);
		usage_metrics(&w.usage, sv, s);
		if (t->kind == K_ILIKE)
			sample_metric(s, "evaluations", "/s", s->m[0].value * (double)t->n, 1);
	}
	if (result == 0)
		result = check_probes(t, which, load.gate, load.first, load.to);
	if (held != NULL) {
		if (result != 0) /* a fast wrong answer is no figure */
			held->metrics = 0;
		else
			sample_done(&b->results, held);
	}
	return result;
}

struct bare {
	int64_t gate, from, rows, start_ns, end_ns;
};

static bool bare_row(void *ctx, int64_t id, int64_t group, int64_t now)
{
	struct bare *r = ctx;

	if (id == r->gate)
		r->start_ns = now;
	if (id < r->from)
		return true;
	r->rows++;
	if (group != LAST_GROUP)
		return true;
	r->end_ns = now;
	return false;
}

/*
 * The bare client. It has a backlog in the same way as a server: it streams, and doesn't read while the backlog is
 * written. (A stream that begins afterwards is up to 1.8 times as fast: its TCP connection has seen no burst yet and keeps
 * few segments in flight, so that the walsender's messages travel several at once.)
 */
static int floor_run(struct tp *t, enum mode mode, int round)
{
	struct bench *b = t->bench;
	bool pile = mode == M_BACKLOG || mode == M_ROWS;
	struct load load = {0};
	struct walker walker;
	struct bare r = {0};
	struct sample *s;
	int result;

	if (walker_open(&walker, b->opt.db, &b->err))
		return -1;
	walker.nap_ns = BARE_NAP_NS;
	result = load_open(&load, t, 2, mode);
	r.from = load.from;
	r.gate = load.gate;
	if (result == 0 && pile)
		result = walker_stream(&walker, &b->err);
	if (result == 0)
		result = stop_servers(&load, t);
	if (result == 0 && !pile) {
		(void)fill_sockets(t, load.paused); /* their walsenders are at rest */
		result = walker_stream(&walker, &b->err);
	}
	if (result == 0)
		result = load_go(&load, t, 2);
	if (result == 0)
		result = walker_run(&walker, bare_row, &r, now_ns() + PATIENCE_S * NS_PER_S, &b->err);
	if (load.gate > 0)
		load.start_ns = r.start_ns;
	walker_close(&walker);
	result = load_end(&load, t, result);
	if (result == 0 && r.rows != load.to - load.from + 1)
		result = err_set(&b->err, ERR_PROTOCOL, "the bare client got %" PRId64 " rows", r.rows);
	if (result != 0)
		return -1;
	s = load_sample(&load, t, BARE, round, r.end_ns);
	s->floor = true;
	sample_done(&b->results, s);
	return 0;
}

/* ---- a case: a kind and a number of shapes, in all its modes ---- */

static int side_prepare(struct tp *t, int which)
{
	struct bench *b = t->bench;
	struct tp_side *side = &t->side[which];
	size_t probes = (size_t)(is_wide(t->kind) ? PROBES_ALL_MAX : PROBES_MAX), n = (size_t)t->n;

	side->next_id = 1;
	if (bench_table(b, side->table, which == 2 ? "floor" : "tp", which == 2))
		return -1;
	if (which == 2)
		return 0;
	if ((t->kind == K_SUBQUERY || t->kind == K_NOT_IN || t->kind == K_INNER) &&
	    (members_create(b, side->members) || members_fill(b, side->members, t->n)))
		return -1;
	side->shape = mem_zalloc(sizeof *side->shape * (n + 1));
	for (size_t k = 0; k < n; k++)
		side->shape[k].query = kind_query(t, side, (int64_t)k);
	side->shape[n].query = shape_query(side->table, "n = %d", LAST_GROUP);
	progress("throughput, %s: making the shapes on %s", t->title, b->server[which].name);
	if (shapes_sync(b, &b->server[which], side->shape, t->kind == K_TABLE ? n : n + 1, WORKERS, CLIENT_SYNC, NULL, NULL,
			NULL))
		return -1;
	side->probes = n < probes ? n : probes;
	side->probe = mem_zalloc(sizeof *side->probe * side->probes);
	side->probe_of = mem_zalloc(sizeof *side->probe_of * side->probes);
	for (size_t i = 0; i < side->probes; i++) {
		side->probe_of[i] = (int64_t)(i * n / side->probes);
		side->probe[i] = side->shape[side->probe_of[i]];
	}
	return 0;
}

static void side_clear(struct tp *t, int which)
{
	struct bench *b = t->bench;
	struct tp_side *side = &t->side[which];

	if (which < b->servers && side->shape != NULL)
		shapes_delete(b, &b->server[which], side->shape, (size_t)(t->kind == K_TABLE ? t->n : t->n + 1));
	shapes_free(side->shape, (size_t)t->n + 1);
	free(side->probe);
	free(side->probe_of);
	bench_drop(b, side->table);
	bench_drop(b, side->members);
}

/* Which modes a case runs when --modes doesn't say. */
static bool mode_wanted(const struct tp *t, enum mode mode)
{
	const struct options *o = &t->bench->opt;
	bool pause = can_pause(t->bench, 0), main_kind = t->kind == K_EQ || t->kind == K_TABLE;

	if (t->kind == K_INNER && mode == M_HUGE)
		return false;
	if (o->modes[0])
		return opt_lists(o->modes, "", mode_names[mode]);
	switch (mode) {
	case M_LIVE: return main_kind || !pause;
	case M_BACKLOG: return pause;
	case M_ROWS: return pause && t->kind == K_EQ && t->n == 100;
	default: return t->kind == K_TABLE || (t->kind == K_EQ && t->n == 100);
	}
}

static void run_mode(struct tp *t, enum mode mode)
{
	struct bench *b = t->bench;
	char variant[80];

	variant_text(variant, sizeof variant, t, mode);
	for (int round = 0; round < b->opt.rounds && !stopping(); round++) {
		if (t->walking) {
			progress("throughput, %s, round %d: %s", variant, round + 1, BARE);
			if (floor_run(t, mode, round)) {
				case_failed(b, "throughput", variant, BARE);
				t->walking = false;
			}
		}
		for (int i = 0; i < b->servers && !stopping(); i++) {
			int which = turn(b, round, i);
			bool pile = mode == M_BACKLOG || mode == M_ROWS;
			if (t->side[which].broken)
				continue;
			if (pile && !can_pause(b, which)) {
				if (round == 0)
					case_skipped(b, "throughput", variant, b->server[which].name,
						     "a backlog needs the server's --pid, or --pause-cmd and --resume-cmd");
				continue;
			}
			progress("throughput, %s, round %d: %s", variant, round + 1, b->server[which].name);
			if (server_run(t, which, mode, round)) {
				t->side[which].broken = true;
				case_failed(b, "throughput", variant, b->server[which].name);
			}
		}
	}
}

static void tp_case(struct bench *b, enum kind kind, int64_t n)
{
	struct tp t = {.bench = b, .kind = kind, .n = n};
	char number[32];

	format_value(number, sizeof number, (double)n, "");
	if (kind == K_TABLE)
		snprintf(t.title, sizeof t.title, "the whole table");
	else
		snprintf(t.title, sizeof t.title, "%s %s shape%s", number, kind_names[kind], n == 1 ? "" : "s");
	err_clear(&b->err);
	for (int i = 0; i < b->servers && !stopping(); i++)
		if (side_prepare(&t, i)) {
			t.side[i].broken = true;
			case_failed(b, "throughput", t.title, b->server[i].name);
		}
	if (t.side[0].broken && (b->servers == 1 || t.side[1].broken))
		goto cleanup;
	if (!b->opt.no_floor && !stopping()) {
		if (side_prepare(&t, 2))
			case_failed(b, "throughput", t.title, BARE);
		else
			t.walking = true;
	}
	filler_prepare(&t);
	for (int mode = 0; mode < MODES && !stopping(); mode++)
		if (mode_wanted(&t, (enum mode)mode))
			run_mode(&t, (enum mode)mode);
cleanup:
	for (int i = 0; i < 3; i++)
		side_clear(&t, i);
	filler_clear(&t);
}

void scen_throughput(struct bench *b)
{
	static const int64_t normal[] = {1, 100, 1000}, quick[] = {1, 100};
	struct list l = list_or(&b->opt.shapes, 3, normal, 2, quick, b->opt.quick);

	for (int kind = 0; kind < KINDS && !stopping(); kind++) {
		if (!opt_lists(b->opt.kinds, KINDS_DEFAULT, kind_names[kind]))
			continue;
		for (int i = 0; i < l.n && !stopping(); i++) {
			if (kind == K_TABLE && i > 0)
				break;
			if (l.v[i] < 1)
				continue;
			/* By default only equality is a curve; of the others one point, and ILIKE at the largest too. */
			if (b->opt.kinds[0] == '\0' && kind > K_EQ && l.v[i] != 100 && l.n > 1 && !(kind == K_ILIKE && i == l.n - 1))
				continue;
			tp_case(b, (enum kind)kind, kind == K_TABLE ? 1 : l.v[i]);
		}
	}
}
