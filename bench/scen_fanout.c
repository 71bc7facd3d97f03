/*
 * scen_fanout.c - one row to many who wait: C clients of one shape (fanout), or N shapes with a client each that
 * all match the row (diverse). What counts is the last client.
 *
 * All clients have their requests under way before the row is written, and ask again only when all have it, so that the time
 * is that of answering alone. The floor is a minimal epoll server that sends the same number of bytes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/floors.h"
#include "bench/writer.h"

#define FLOOR "minimal epoll server"
#define SETTLE_MS 150
#define LOOK_MS 100 /* at the server's memory */
#define PATIENCE_S 60
#define WORKERS 64

struct fan {
	struct bench *bench;
	const char *scenario;
	char variant[80];
	char series[40];
	int64_t clients;
	bool diverse;
	enum client_mode mode;
	char table[2][NAME_BYTES];
	struct shape *shape[2];
	size_t shapes;
	int64_t next_id[2];
	bool broken[2], floor_broken;
};

/* Who writes the row: a session, or the floor's trigger. */
struct trigger {
	struct db *db; /* NULL: the floor */
	struct floor_server *floor;
};

struct fan_run {
	struct fan *fan;
	struct trigger trigger;
	int64_t id;       /* of the row that is due */
	int64_t *next;    /* of each client */
	int64_t *arrived; /* of each client, in this event */
	int64_t got;
	struct hist each; /* all clients, all events */
	int64_t ack_ns, sched_ns, asked_ns;
	const struct server *server; /* NULL: the floor */
	struct usage usage;
	int64_t looked_ns, waiting_kb; /* RssAnon while all wait, before the first row */
};

static bool fan_msg(struct crowd *c, struct client *who, const struct msg *m, int64_t now)
{
	struct fan_run *r = c->ctx;
	struct rows_want want = {.payload = r->fan->bench->opt.payload, .last_id = -1};
	int64_t id, group;
	const char *why;

	if (m->kind == MSG_UP_TO_DATE)
		return true;
	if (!row_check(m, &want, &id, &group, &why))
		return crowd_wrong(c, who, "%s", why);
	if (id != r->id || r->next[who->number] != id)
		return crowd_wrong(c, who, "row %" PRId64 " came where %" PRId64 " was due", id, r->next[who->number]);
	r->next[who->number]++;
	r->arrived[r->got++] = now;
	if (r->got == c->size)
		c->done = true;
	return true;
}

/* A response, or a chunk of an event stream, of the size that a server's has. */
static void floor_bytes(struct buf *b, const struct fan_run *r)
{
	struct buf row = BUF_INIT(65536);
	bool sse = r->fan->mode == CLIENT_SSE;

	if (sse) {
		buf_puts(&row, "data: ");
		row_json(&row, "floor", r->id, 0, r->fan->bench->opt.payload);
		buf_printf(&row, "\n\ndata: {\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"%" PRId64 "\"}}\n\n",
			   1000 + r->id);
		buf_printf(b, "%zx\r\n%s\r\n", row.len, row.data);
	} else {
		buf_puts(&row, "[");
		row_json(&row, "floor", r->id, 0, r->fan->bench->opt.payload);
		buf_printf(&row, ",{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"%" PRId64 "\"}}]", 1000 + r->id);
		buf_printf(b,
			   "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nvary: accept-encoding\r\n"
			   "cache-control: public, max-age=5, stale-while-revalidate=5\r\nx-request-id: 0000000000000000000000\r\n"
			   "access-control-allow-origin: *\r\naccess-control-expose-headers: electric-cursor,electric-handle,"
			   "electric-has-data,electric-offset,electric-schema,electric-up-to-date,electric-internal-known-error,"
			   "retry-after\r\naccess-control-allow-methods: GET, POST, HEAD, DELETE, OPTIONS\r\n"
			   "content-type: application/json; charset=utf-8\r\nelectric-cursor: 1\r\nelectric-handle: floor\r\n"
			   "electric-offset: %" PRId64 "_0\r\nelectric-has-data: true\r\nelectric-up-to-date: \r\n\r\n%s",
			   row.len, 1000 + r->id, row.data);
	}
	buf_clear(&row);
}

static int pull(struct fan_run *r)
{
	struct bench *b = r->fan->bench;
	struct buf bytes = BUF_INIT(1 << 20);
	char text[24];
	const char *values[2] = {text, "0"};
	PGresult *p;
	int result = 0;

	r->sched_ns = now_ns();
	if (r->trigger.floor != NULL) {
		floor_bytes(&bytes, r);
		r->ack_ns = now_ns();
		floor_server_wake(r->trigger.floor, bytes.data, bytes.len);
		buf_clear(&bytes);
		return 0;
	}
	snprintf(text, sizeof text, "%" PRId64, r->id);
	p = PQexecPrepared(r->trigger.db->conn, "put", 2, values, NULL, NULL, 0);
	r->ack_ns = now_ns();
	if (PQresultStatus(p) != PGRES_COMMAND_OK)
		result = err_set(&b->err, ERR_PG, "Postgres: %s", PQerrorMessage(r->trigger.db->conn));
	PQclear(p);
	return result;
}

/* Every client has its request (or its stream) with the server, as far as can be seen from here. */
static bool all_wait(const struct crowd *c, enum client_mode mode)
{
	for (int64_t i = 0; i < c->size; i++) {
		const struct client *who = &c->client[i];
		if (who->state != CLIENT_WAITING || who->unsent != NULL)
			return false;
		if (mode == CLIENT_SSE && who->http.state < HTTP_CHUNK_SIZE && who->http.state != HTTP_BODY_CLOSE)
			return false;
	}
	return true;
}

/* The peak of memory; and who was answered without the row (a long-poll that timed out) asks again. Now and then is enough. */
static void now_and_then(void *ctx, int64_t now)
{
	struct crowd *c = ctx;
	struct fan_run *r = c->ctx;

	if (r->server != NULL && now - r->looked_ns >= LOOK_MS * NS_PER_MS) {
		r->looked_ns = now;
		usage_tick(&r->usage, r->server);
	}
	if (now - r->asked_ns < NS_PER_S)
		return;
	r->asked_ns = now;
	for (int64_t i = 0; i < c->size; i++)
		if (r->next[i] == r->id)
			client_go(&c->client[i]);
}

static int settle(struct crowd *c, struct fan_run *r)
{
	int64_t end = now_ns() + PATIENCE_S * NS_PER_S;
	int64_t quiet = SETTLE_MS + c->size / 30;

	do {
		c->done = false;
		int run = loop_run(&c->loop, &c->done, now_ns() + 20 * NS_PER_MS);
		if (run == -2)
			return err_set(&r->fan->bench->err, ERR_CANCELLED, "stopped");
		if (c->failed)
			return -1;
		if (now_ns() > end)
			return err_set(&r->fan->bench->err, ERR_TIMEOUT, "not all clients came to wait within %d s", PATIENCE_S);
	} while (!all_wait(c, r->fan->mode));
	c->done = false;
	if (loop_run(&c->loop, &c->done, now_ns() + quiet * NS_PER_MS) == -2)
		return err_set(&r->fan->bench->err, ERR_CANCELLED, "stopped");
	return c->failed ? -1 : 0;
}

struct fan_times {
	double first[10000], middle[10000], last[10000], commit[10000];
	int n;
};

static int64_t anon_kb(const struct server *sv)
{
	struct proc_stat p;

	return sv != NULL && sv->pid > 0 && proc_read(sv->pid, &p) == 0 ? p.anon_kb : 0;
}

static int one_event(struct crowd *c, struct fan_run *r, struct fan_times *t)
{
	if (settle(c, r))
		return -1;
	if (t->n == 0)
		r->waiting_kb = anon_kb(r->server);
	r->got = 0;
	c->done = false;
	if (pull(r) || crowd_run(c, now_ns() + PATIENCE_S * NS_PER_S, "a row didn't reach all clients within 60 s"))
		return -1;
	/* In the order of arrival. What comes before the acknowledgement counts as 0. */
	t->first[t->n] = (double)(r->arrived[0] - r->ack_ns) / 1e6;
	t->middle[t->n] = (double)(r->arrived[c->size / 2] - r->ack_ns) / 1e6;
	t->last[t->n] = (double)(r->arrived[c->size - 1] - r->ack_ns) / 1e6;
	t->commit[t->n++] = (double)(r->ack_ns - r->sched_ns) / 1e6;
	for (int64_t i = 0; i < c->size; i++)
		hist_add(&r->each, r->arrived[i] - r->ack_ns);
	r->id++;
	for (int64_t i = 0; i < c->size; i++)
		client_go(&c->client[i]);
	return 0;
}

/* A round on a server (sv) or the floor. */
static int fan_round(struct fan *f, const struct server *sv, const struct url *url, const struct shape *shapes, size_t n,
		     struct trigger trigger, int64_t *next_id, int round)
{
	struct bench *b = f->bench;
	struct fan_run *r = mem_zalloc(sizeof *r);
	struct fan_times *t = mem_zalloc(sizeof *t);
	struct crowd crowd;
	struct sample *s;
	int64_t before = anon_kb(sv);
	int result;

	r->fan = f;
	r->trigger = trigger;
	r->server = sv;
	r->id = *next_id;
	r->next = mem_alloc(sizeof *r->next * (size_t)f->clients);
	r->arrived = mem_alloc(sizeof *r->arrived * (size_t)f->clients);
	for (int64_t i = 0; i < f->clients; i++)
		r->next[i] = r->id;
	result = crowd_start(&crowd, b, url, sv ? sv->secret : NULL, shapes, n, f->clients, f->mode, f->mode == CLIENT_POLL);
	if (result == 0) {
		crowd.on_msg = fan_msg;
		crowd.ctx = r;
		crowd.loop.tick = now_and_then;
		if (sv != NULL)
			usage_start(&r->usage, sv);
		for (int64_t i = 0; result == 0 && i < b->opt.events; i++) {
			progress("%s, %s, round %d, %s: row %" PRId64 " of %" PRId64, f->scenario, f->variant, round + 1,
				 sv ? sv->name : FLOOR, i + 1, b->opt.events);
			result = one_event(&crowd, r, t);
		}
		crowd_stop(&crowd);
		*next_id = r->id + (result != 0);
	}
	if (result == 0) {
		s = sample_new(&b->results, f->scenario, f->series, f->diverse ? "shapes" : "clients", (double)f->clients,
			       sv ? sv->name : FLOOR, round);
		sample_variant(s, "%s", f->variant);
		s->floor = sv == NULL;
		sample_metric(s, "last client", "ms", median(t->last, t->n), -1);
		sample_metric(s, "worst", "ms", t->n ? t->last[t->n - 1] : 0, -1); /* sorted by median() */
		sample_metric(s, "middle client", "ms", median(t->middle, t->n), -1);
		sample_metric(s, "first client", "ms", median(t->first, t->n), -1);
		if (sv != NULL) {
			sample_metric(s, "commit", "ms", median(t->commit, t->n), 0);
			usage_metrics(&r->usage, sv, s);
			if (r->waiting_kb > before && round == 0) { /* later rounds find the memory of the first */
				sample_metric(s, "RssAnon a client", "KB", (double)(r->waiting_kb - before) / (double)f->clients, -1);
				sample_metric(s, "at the peak", "KB", (double)(r->usage.peak_anon_kb - before) / (double)f->clients, -1);
			}
		}
		sample_hists(s, &r->each, NULL);
		sample_done(&b->results, s);
	}
	free(r->next);
	free(r->arrived);
	free(r);
	free(t);
	return result;
}

static int floor_round(struct fan *f, int round)
{
	struct bench *b = f->bench;
	struct floor_server floor;
	struct shape shape = {.handle = "floor", .offset = "0_0"};
	int64_t id = 1;
	int result;

	shape.query = shape_query("floor", NULL);
	result = floor_server_start(&floor, &b->err);
	if (result == 0) {
		result = fan_round(f, NULL, &floor.url, &shape, 1, (struct trigger){.floor = &floor}, &id, round);
		floor_server_stop(&floor);
	}
	free(shape.query);
	return result;
}

static int server_round(struct fan *f, int which, int round)
{
	struct bench *b = f->bench;
	const struct server *sv = &b->server[which];
	struct db db;
	char sql[2048];
	PGresult *p;
	int result = -1;

	if (shapes_sync(b, sv, f->shape[which], f->shapes, WORKERS, CLIENT_SYNC, NULL, NULL, NULL) ||
	    db_open(&db, b->opt.db, false, &b->err))
		return -1;
	rows_insert_sql(sql, sizeof sql, f->table[which], b->opt.payload);
	p = PQprepare(db.conn, "put", sql, 2, NULL);
	if (PQresultStatus(p) == PGRES_COMMAND_OK)
		result = fan_round(f, sv, &sv->url, f->shape[which], f->shapes, (struct trigger){.db = &db}, &f->next_id[which],
				   round);
	else
		err_set(&b->err, ERR_PG, "Postgres: %s", PQerrorMessage(db.conn));
	PQclear(p);
	db_close(&db);
	return result;
}

static int prepare(struct fan *f, int which)
{
	struct bench *b = f->bench;

	f->next_id[which] = 1;
	if (bench_table(b, f->table[which], f->scenario, false))
		return -1;
	f->shape[which] = mem_zalloc(sizeof **f->shape * f->shapes);
	for (size_t i = 0; i < f->shapes; i++)
		f->shape[which][i].query = f->diverse ? shape_query(f->table[which], "v >= %" PRId64, -1 - (int64_t)i) :
						       shape_query(f->table[which], NULL);
	progress("%s, %s: making the shapes on %s", f->scenario, f->variant, b->server[which].name);
	return shapes_sync(b, &b->server[which], f->shape[which], f->shapes, WORKERS, CLIENT_SYNC, NULL, NULL, NULL);
}

static void fan_case(struct bench *b, const char *scenario, int64_t clients, bool diverse, enum client_mode mode)
{
	struct fan f = {.bench = b, .scenario = scenario, .clients = clients, .diverse = diverse, .mode = mode};
	char number[32];

	format_value(number, sizeof number, (double)clients, "");
	snprintf(f.variant, sizeof f.variant, "%s %s, %s", number, diverse ? "shapes, a client each" : "clients",
		 mode == CLIENT_SSE ? "SSE" : "long-poll");
	snprintf(f.series, sizeof f.series, "%s", mode == CLIENT_SSE ? "SSE" : "long-poll");
	f.shapes = diverse ? (size_t)clients : 1;
	for (int i = 0; i < b->servers && !stopping(); i++)
		if (prepare(&f, i)) {
			f.broken[i] = true;
			case_failed(b, scenario, f.variant, b->server[i].name);
		}
	f.floor_broken = b->opt.no_floor || (f.broken[0] && (b->servers == 1 || f.broken[1]));
	for (int round = 0; round < b->opt.rounds && !stopping(); round++) {
		if (!f.floor_broken && floor_round(&f, round)) {
			f.floor_broken = true;
			case_failed(b, scenario, f.variant, FLOOR);
		}
		for (int i = 0; i < b->servers && !stopping(); i++) {
			int which = turn(b, round, i);
			if (!f.broken[which] && server_round(&f, which, round)) {
				f.broken[which] = true;
				case_failed(b, scenario, f.variant, b->server[which].name);
			}
		}
	}
	for (int i = 0; i < b->servers; i++) {
		if (f.shape[i] != NULL)
			shapes_delete(b, &b->server[i], f.shape[i], f.shapes);
		shapes_free(f.shape[i], f.shapes);
		bench_drop(b, f.table[i]);
	}
}

void scen_fanout(struct bench *b)
{
	static const int64_t normal[] = {100, 1000}, quick[] = {100, 1000};
	struct list l = list_or(&b->opt.clients, 2, normal, 2, quick, b->opt.quick);

	for (int sse = 0; sse < 2; sse++)
		for (int i = 0; i < l.n && !stopping(); i++)
			if (l.v[i] > 0)
				fan_case(b, "fanout", l.v[i], false, sse ? CLIENT_SSE : CLIENT_POLL);
}

void scen_diverse(struct bench *b)
{
	static const int64_t normal[] = {100, 1000}, quick[] = {100};
	struct list l = list_or(&b->opt.shapes, 2, normal, 1, quick, b->opt.quick);

	for (int i = 0; i < l.n && !stopping(); i++)
		if (l.v[i] > 0 && l.v[i] <= CLIENTS_MAX)
			fan_case(b, "diverse", l.v[i], true, b->opt.sse ? CLIENT_SSE : CLIENT_POLL);
}
