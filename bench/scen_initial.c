/*
 * scen_initial.c - the first sync of a table: cold (the shape is new), warm (it is there), restarted (it is there, but
 * nothing of it in memory), and from many clients at once.
 *
 * Every round of `initial` has a cold shape by another set of parameters that shows the same rows. Floors: COPY of the bare rows,
 * COPY of the JSON that a server has to make of them, and nginx with the very bytes of a warm sync as static files.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/floors.h"

#define PATIENCE_S 600
#define ALL_COLUMNS "id,n,name,payload,tags,v"
#define NGINX "nginx, static file"
#define COLD_MAX 4 /* ways to ask for the same rows as another shape */

struct initial {
	struct bench *bench;
	int64_t rows;
	char variant[80], table[NAME_BYTES];
	struct shape shape[2][COLD_MAX];
	struct nginx nginx;
	bool nginx_broken;
	bool broken[2];
};

/* One client that syncs once, and checks. */
struct sync {
	struct bench *bench;
	struct seen seen;
	struct rows_want want;
	bool done, failed;
	int64_t first_row_ns, end_ns;
	struct row_form form;
};

static size_t sync_fast(struct client *c, const char *data, size_t len)
{
	struct sync *s = c->ctx;
	int64_t id, group;
	size_t n = row_form_match(&s->form, &s->want, data, len, &id, &group);

	return n > 0 && seen_add(&s->seen, id) ? n : 0;
}

static bool sync_msg(struct client *c, const struct msg *m, int64_t now)
{
	struct sync *s = c->ctx;
	const char *why;
	int64_t id, group;

	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END)
		return true;
	if (s->first_row_ns == 0)
		s->first_row_ns = now;
	if (row_check(m, &s->want, &id, &group, &why) && seen_add(&s->seen, id)) {
		row_form_learn(&s->form, m);
		return true;
	}
	err_set(&s->bench->err, ERR_PROTOCOL, "wrong rows: %s, at the key %.*s", why ? why : "a row twice",
		(int)(m->key.len < 100 ? m->key.len : 100), m->key.p ? m->key.p : "");
	s->failed = s->done = true;
	return false;
}

static void sync_event(struct client *c, enum client_event what)
{
	struct sync *s = c->ctx;

	if (what == CLIENT_SYNCED) {
		s->end_ns = now_ns();
		s->done = true;
		return;
	}
	if (s->failed)
		return;
	s->failed = s->done = true;
	err_set(&s->bench->err, ERR_PROTOCOL, "%s", what == CLIENT_FAILED ? c->error.data : "409 during the sync");
}

struct sync_result {
	double seconds, first_byte_ms;
	uint64_t bytes;
};

/* From the start until up to date; shape->handle and offset are set. */
static int sync_once(struct bench *b, const struct server *sv, struct shape *shape, int64_t rows, struct sync_result *out)
{
	struct sync s = {.bench = b, .want = {.payload = b->opt.payload, .groups = 0, .last_id = -1}};
	struct loop loop;
	struct client c;
	int r;

	err_clear(&b->err);
	if (loop_init(&loop, &b->err))
		return -1;
	client_init(&c, &loop, &sv->url, sv->secret, shape->query);
	c.on_msg = sync_msg;
	c.fast = sync_fast;
	c.on_event = sync_event;
	c.ctx = &s;
	seen_init(&s.seen, 1, rows + 1);
	client_start(&c, CLIENT_SYNC, NULL, NULL);
	r = loop_run(&loop, &s.done, now_ns() + PATIENCE_S * NS_PER_S);
	if (r == -1)
		err_set(&b->err, ERR_TIMEOUT, "only %" PRId64 " rows came within %d s", s.seen.count, PATIENCE_S);
	else if (r == -2)
		err_set(&b->err, ERR_CANCELLED, "stopped");
	else if (s.failed)
		r = -1;
	else if (s.seen.count != rows)
		r = err_set(&b->err, ERR_PROTOCOL, "wrong rows: %" PRId64 " came, not %" PRId64, s.seen.count, rows);
	if (r == 0) {
		out->seconds = (double)(s.end_ns - c.started_ns) / 1e9;
		out->first_byte_ms = (double)(c.first_byte_ns - c.started_ns) / 1e6;
		out->bytes = c.bytes;
		memcpy(shape->handle, c.handle, sizeof shape->handle);
		memcpy(shape->offset, c.offset, sizeof shape->offset);
	}
	client_clear(&c);
	loop_clear(&loop);
	seen_clear(&s.seen);
	return r ? -1 : 0;
}

static struct sample *initial_sample(struct initial *k, const char *series, const char *subject, int round, double seconds,
				     uint64_t bytes)
{
	struct sample *s = sample_new(&k->bench->results, "initial", series, "rows", (double)k->rows, subject, round);

	sample_variant(s, "%s, %s", k->variant, series);
	sample_metric(s, "took", "ms", seconds * 1e3, -1);
	sample_metric(s, "rows", "/s", (double)k->rows / seconds, 1);
	sample_metric(s, "rate", "MB/s", (double)bytes / 1e6 / seconds, 1);
	sample_metric(s, "bytes", "MB", (double)bytes / 1e6, 0);
	return s;
}

/* ---- floors ---- */

static int copy_round(struct initial *k, bool json, int round)
{
	struct bench *b = k->bench;
	struct sample *s;
	char sql[2048];
	int64_t rows, bytes, start;
	double seconds;

	rows_copy_sql(sql, sizeof sql, k->table, json);
	progress("initial, %s, round %d: COPY", k->variant, round + 1);
	start = now_ns();
	if (db_copy_out(&b->admin, sql, &rows, &bytes, &b->err))
		return -1;
	seconds = (double)(now_ns() - start) / 1e9;
	if (rows != k->rows)
		return err_set(&b->err, ERR_PROTOCOL, "COPY gave %" PRId64 " rows", rows);
	s = initial_sample(k, "cold", json ? "COPY of JSON" : "COPY of rows", round, seconds, (uint64_t)bytes);
	s->floor = true;
	sample_done(&b->results, s);
	return 0;
}

/* An nginx that gives the answers of a shape that is there; *n is to be stopped in any case. */
static int nginx_of(struct bench *b, const struct server *sv, const char *query, struct nginx *n)
{
	char offset[HTTP_OFFSET_MAX] = "-1";
	struct buf path = BUF_INIT(16384);
	size_t size = (size_t)128 << 20;
	char *body = mem_alloc(size);
	struct httpres head;
	int result = nginx_open(n, &b->err);

	memset(&head, 0, sizeof head);
	while (result == 0 && !head.up_to_date && !stopping()) {
		buf_reset(&path);
		buf_printf(&path, "%s?%s&offset=%s%s%s", sv->url.shape, query, offset, head.handle[0] ? "&handle=" : "", head.handle);
		if (sv->secret != NULL)
			buf_printf(&path, "&secret=%s", sv->secret);
		if (http_once(&sv->url, "GET", path.data, body, size, &head, 60000) != 200)
			result = err_set(&b->err, ERR_PROTOCOL, "the bodies for nginx couldn't be read");
		else if (head.body_bytes >= size)
			result = err_set(&b->err, ERR_LIMIT, "an answer above 128 MB isn't kept for nginx");
		else
			result = nginx_put(n, offset, &head, body, (size_t)head.body_bytes, &b->err);
		memcpy(offset, head.offset, sizeof offset);
	}
	free(body);
	buf_clear(&path);
	return result == 0 ? nginx_run(n, &b->err) : result;
}

static int nginx_round(struct initial *k, int round)
{
	struct server static_files = {.url = k->nginx.url};
	struct shape shape = {.query = k->shape[0][0].query};
	struct sync_result r;
	struct sample *s;

	progress("initial, %s, round %d: nginx", k->variant, round + 1);
	if (sync_once(k->bench, &static_files, &shape, k->rows, &r))
		return -1;
	s = initial_sample(k, "warm", NGINX, round, r.seconds, r.bytes);
	s->floor = true;
	sample_done(&k->bench->results, s);
	return 0;
}

/* ---- servers ---- */

enum phase { COLD, WARM, RESTARTED };

static int server_round(struct initial *k, int which, enum phase phase, int round)
{
	struct bench *b = k->bench;
	static const char *const names[] = {"cold", "warm", "restarted"};
	const struct server *sv = &b->server[which];
	struct sync_result r;
	struct usage usage;
	struct proc_stat after;
	struct sample *s;

	progress("initial, %s, %s, round %d: %s", k->variant, names[phase], round + 1, sv->name);
	if (phase == RESTARTED && server_renew(b, true))
		return -1;
	usage_start(&usage, sv);
	if (sync_once(b, sv, &k->shape[which][round % COLD_MAX], k->rows, &r))
		return -1;
	s = initial_sample(k, names[phase], sv->name, round, r.seconds, r.bytes);
	sample_metric(s, "first byte", "ms", r.first_byte_ms, -1);
	if (phase == RESTARTED && proc_read(sv->pid, &after) == 0)
		sample_metric(s, "major faults", "", (double)(after.major_faults - usage.at_start.major_faults), -1);
	usage_metrics(&usage, sv, s);
	sample_done(&b->results, s);
	return 0;
}

static void initial_round(struct initial *k, int round)
{
	struct bench *b = k->bench;

	for (int json = 0; json < 2 && !b->opt.no_floor && !stopping(); json++)
		if (copy_round(k, json, round))
			case_failed(b, "initial", k->variant, "COPY");
	for (enum phase phase = COLD; phase <= RESTARTED; phase++) {
		for (int i = 0; i < b->servers && !stopping(); i++) {
			int which = turn(b, round, i);
			if (phase == RESTARTED && (which > 0 || b->opt.store == NULL || b->opt.start_cmd == NULL || b->server[0].pid == 0))
				continue;
			if (!k->broken[which] && server_round(k, which, phase, round)) {
				k->broken[which] = true;
				case_failed(b, "initial", k->variant, b->server[which].name);
			}
		}
	}
	if (b->opt.no_floor || b->results.nginx[0] == '\0' || k->broken[0] || k->nginx_broken || stopping())
		return;
	if ((k->nginx.pid == 0 && nginx_of(b, &b->server[0], k->shape[0][0].query, &k->nginx)) || nginx_round(k, round)) {
		case_failed(b, "initial", k->variant, NGINX);
		k->nginx_broken = true;
	}
}

static void initial_case(struct bench *b, int64_t rows)
{
	static const char *const ways[COLD_MAX] = {"", "&replica=full", "&columns=" ALL_COLUMNS,
						  "&columns=" ALL_COLUMNS "&replica=full"};
	struct initial k = {.bench = b, .rows = rows};
	char number[32], query[256];
	int rounds = b->opt.rounds < COLD_MAX ? b->opt.rounds : COLD_MAX;

	format_value(number, sizeof number, (double)rows, "");
	snprintf(k.variant, sizeof k.variant, "%s rows", number);
	progress("initial, %s: writing the table", k.variant);
	if (bench_table(b, k.table, "initial", false) ||
	    rows_insert(&b->admin, k.table, 1, rows + 1, 0, b->opt.payload, &b->err) ||
	    db_exec(&b->admin, &b->err, "VACUUM ANALYZE " SCHEMA ".%s", k.table)) {
		case_failed(b, "initial", k.variant, "preparation");
		bench_drop(b, k.table);
		return;
	}
	for (int i = 0; i < b->servers; i++)
		for (int w = 0; w < COLD_MAX; w++) {
			snprintf(query, sizeof query, "table=" SCHEMA ".%s%s", k.table, ways[w]);
			k.shape[i][w].query = mem_strdup(query);
		}
	for (int round = 0; round < rounds && !stopping(); round++)
		initial_round(&k, round);
	nginx_stop(&k.nginx);
	for (int i = 0; i < b->servers; i++) {
		shapes_delete(b, &b->server[i], k.shape[i], (size_t)rounds);
		for (int w = 0; w < COLD_MAX; w++)
			free(k.shape[i][w].query);
	}
	bench_drop(b, k.table);
}

void scen_initial(struct bench *b)
{
	static const int64_t normal[] = {10000, 100000, 1000000}, quick[] = {10000, 100000};
	struct list l = list_or(&b->opt.rows, 3, normal, 2, quick, b->opt.quick);

	for (int i = 0; i < l.n && !stopping(); i++)
		initial_case(b, l.v[i]);
}

/* ---- concurrent ---- */

/* Which client has how many of its rows in the sync under way. */
struct counts {
	int64_t rows;
	struct rows_want want;
	int64_t *count;
	uint8_t *bits; /* of each sync, one after the other */
	size_t stride;
	struct row_form form;
};

static bool count_row(struct counts *c, size_t i, int64_t id, const char **why)
{
	uint8_t *bits = c->bits + i * c->stride, bit;

	*why = "a row that isn't in the table";
	if (id < 1 || id > c->rows)
		return false;
	*why = "a row twice";
	bit = (uint8_t)(1u << (id & 7));
	if (bits[id >> 3] & bit)
		return false;
	bits[id >> 3] |= bit;
	c->count[i]++;
	return true;
}

static size_t count_fast(void *ctx, size_t i, const char *data, size_t len)
{
	struct counts *c = ctx;
	const char *why;
	int64_t id, group;
	size_t n = row_form_match(&c->form, &c->want, data, len, &id, &group);

	return n > 0 && count_row(c, i, id, &why) ? n : 0;
}

/* The same bytes as a sync that was checked row by row. */
static void count_same(void *ctx, size_t i)
{
	struct counts *c = ctx;

	c->count[i] = c->rows;
}

static bool count_msg(void *ctx, size_t i, const struct msg *m, const char **why)
{
	struct counts *c = ctx;
	int64_t id, group;

	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END)
		return true;
	if (!row_check(m, &c->want, &id, &group, why) || !count_row(c, i, id, why))
		return false;
	row_form_learn(&c->form, m);
	return true;
}

/* `syncs` syncs in all, `clients` at a time; each must be whole. */
static int concurrent_run(struct bench *b, const struct server *sv, const char *table, int64_t rows, int64_t clients,
			  int64_t syncs, struct sync_stats *st)
{
	struct counts c = {.rows = rows, .want = {.payload = b->opt.payload, .last_id = -1}};
	struct shape *v = mem_zalloc(sizeof *v * (size_t)syncs);
	char *query = shape_query(table, NULL);
	int result;

	c.stride = (size_t)rows / 8 + 1;
	c.count = mem_zalloc(sizeof *c.count * (size_t)syncs);
	c.bits = mem_zalloc(c.stride * (size_t)syncs);
	for (int64_t i = 0; i < syncs; i++)
		v[i].query = query;
	st->fast = count_fast;
	st->same = count_same;
	result = shapes_sync(b, sv, v, (size_t)syncs, (int)clients, CLIENT_SYNC, count_msg, &c, st);
	for (int64_t i = 0; result == 0 && i < syncs; i++)
		if (c.count[i] != rows)
			result = err_set(&b->err, ERR_PROTOCOL, "wrong rows: a sync gave %" PRId64 " rows, not %" PRId64,
					 c.count[i], rows);
	free(c.count);
	free(c.bits);
	free(query);
	free(v);
	return result;
}

static int concurrent_round(struct bench *b, const struct server *sv, bool floor, const char *table, int64_t rows,
			    int64_t clients, bool cold, const char *variant, int round)
{
	struct hist *each = mem_zalloc(sizeof *each);
	struct trail trail;
	struct sync_stats st = {.each = each}, first = {.record = &trail};
	struct usage usage;
	struct sample *s;
	int64_t syncs = cold ? clients : clients * b->opt.syncs;
	int result;

	progress("concurrent, %s, round %d: %s", variant, round + 1, sv->name);
	trail_init(&trail);
	/* Warm: one sync is checked row by row and kept, the others are compared with it byte by byte. */
	result = cold ? 0 : concurrent_run(b, sv, table, rows, 1, 1, &first);
	if (!cold)
		st.trail = &trail;
	usage_start(&usage, sv);
	if (result == 0)
		result = concurrent_run(b, sv, table, rows, clients, syncs, &st);
	trail_clear(&trail);
	if (result == 0) {
		s = sample_new(&b->results, "concurrent", cold ? "cold" : "warm", "clients", (double)clients, sv->name, round);
		sample_variant(s, "%s", variant);
		sample_metric(s, "syncs", "/s", (double)syncs / st.seconds, 1);
		sample_metric(s, "p50", "ms", (double)hist_percentile(each, 50) / 1e6, -1);
		sample_metric(s, "p99", "ms", (double)hist_percentile(each, 99) / 1e6, -1);
		sample_metric(s, "max", "ms", (double)each->max / 1e6, -1);
		sample_metric(s, "rate", "MB/s", (double)st.bytes / 1e6 / st.seconds, 1);
		sample_metric(s, "bytes a sync", "KB", (double)st.bytes / 1e3 / (double)syncs, 0);
		if (st.retries > 0)
			sample_metric(s, "retries", "", (double)st.retries, -1);
		usage_metrics(&usage, sv, s);
		s->floor = floor;
		sample_done(&b->results, s);
	}
	free(each);
	return result;
}

/* The same syncs, warm, of the same bytes from nginx. */
static int concurrent_floor(struct bench *b, const char *table, int64_t rows, int64_t clients, const char *variant, int round)
{
	struct server static_files = {.name = NGINX};
	struct nginx nginx;
	char *query = shape_query(table, NULL);
	int result = nginx_of(b, &b->server[0], query, &nginx);

	static_files.url = nginx.url;
	if (result == 0)
		result = concurrent_round(b, &static_files, true, table, rows, clients, false, variant, round);
	nginx_stop(&nginx);
	free(query);
	return result;
}

static void concurrent_case(struct bench *b, int64_t clients, int64_t rows)
{
	char table[NAME_BYTES], variant[2][80], number[32];
	bool broken[2] = {false, false};

	format_value(number, sizeof number, (double)rows, "");
	for (int cold = 0; cold < 2; cold++)
		snprintf(variant[cold], sizeof variant[cold], "%" PRId64 " clients at a time, %s rows, %s", clients, number,
			 cold ? "cold" : "warm");
	for (int round = 0; round < b->opt.rounds && !stopping(); round++) {
		/* A table of its own each round: the shape is new for the first one. */
		if (bench_table(b, table, "concurrent", false) ||
		    rows_insert(&b->admin, table, 1, rows + 1, 0, b->opt.payload, &b->err)) {
			case_failed(b, "concurrent", variant[0], "preparation");
			return;
		}
		for (int cold = 1; cold >= 0; cold--)
			for (int i = 0; i < b->servers && !stopping(); i++) {
				int which = turn(b, round, i);
				if (!broken[which] &&
				    concurrent_round(b, &b->server[which], false, table, rows, clients, cold, variant[cold], round)) {
					broken[which] = true;
					case_failed(b, "concurrent", variant[cold], b->server[which].name);
				}
			}
		if (!broken[0] && !b->opt.no_floor && b->results.nginx[0] != '\0' && !stopping() &&
		    concurrent_floor(b, table, rows, clients, variant[0], round))
			case_failed(b, "concurrent", variant[0], NGINX);
		for (int i = 0; i < b->servers; i++) {
			struct shape s = {.query = shape_query(table, NULL)};
			shapes_delete(b, &b->server[i], &s, 1);
			free(s.query);
		}
		bench_drop(b, table);
	}
}

void scen_concurrent(struct bench *b)
{
	static const int64_t clients[] = {200};
	struct list c = list_or(&b->opt.clients, 1, clients, 1, clients, false);

	for (int i = 0; i < c.n && !stopping(); i++)
		if (c.v[i] > 0)
			concurrent_case(b, c.v[i], b->opt.sync_rows);
}
