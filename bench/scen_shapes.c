/*
 * scen_shapes.c - what shapes and clients cost while nothing happens, and a server's own life: create, restart, idle.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/floors.h"

#define CREATE_WORKERS 200
#define CREATE_ROWS 100
#define CREATE_GROUPS 10
#define IDLE_SETTLE_MS 1500
#define RESTART_CLIENTS 100
#define ACTIVE_S 120
#define STOP_S 300
#define LET_GO_S 5 /* for clients to notice that the process is gone */

/* Counts the rows of each shape, and checks them. */
struct tally {
	struct rows_want want;
	int64_t groups, *count;
};

static bool tally_msg(void *ctx, size_t i, const struct msg *m, const char **why)
{
	struct tally *t = ctx;
	int64_t id, group;

	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END)
		return true;
	if (!row_check(m, &t->want, &id, &group, why))
		return false;
	*why = "a row of another shape";
	if (t->groups > 0 && group != (int64_t)i % t->groups)
		return false;
	t->count[i]++;
	return true;
}

/* ---- create ---- */

static int create_round(struct bench *b, int which, int64_t n, const char *variant, int round)
{
	const struct server *sv = &b->server[which];
	struct tally t = {.want = {.payload = b->opt.payload, .groups = CREATE_GROUPS, .last_id = -1}, .groups = CREATE_GROUPS};
	struct shape *v = mem_zalloc(sizeof *v * (size_t)n);
	struct hist *each = mem_zalloc(sizeof *each);
	struct sync_stats st = {.each = each};
	struct proc_stat before = {0}, after = {0};
	struct usage usage;
	struct sample *s;
	char table[NAME_BYTES] = "";
	int result = -1;

	t.count = mem_zalloc(sizeof *t.count * (size_t)n);
	progress("create, %s, round %d: %s", variant, round + 1, sv->name);
	if (bench_table(b, table, "create", false) ||
	    rows_insert(&b->admin, table, 1, CREATE_ROWS + 1, CREATE_GROUPS, b->opt.payload, &b->err))
		goto cleanup;
	for (int64_t k = 0; k < n; k++)
		v[k].query = shape_query(table, "n = %" PRId64 " AND v >= %" PRId64, k % CREATE_GROUPS, -k);
	if (sv->pid > 0)
		(void)!proc_read(sv->pid, &before);
	usage_start(&usage, sv);
	result = shapes_sync(b, sv, v, (size_t)n, CREATE_WORKERS, CLIENT_SYNC, tally_msg, &t, &st);
	for (int64_t k = 0; result == 0 && k < n; k++)
		if (t.count[k] != CREATE_ROWS / CREATE_GROUPS)
			result = err_set(&b->err, ERR_PROTOCOL, "wrong rows: %s gave %" PRId64 " rows, not %d", v[k].query,
					 t.count[k], CREATE_ROWS / CREATE_GROUPS);
	if (result != 0)
		goto cleanup;
	s = sample_new(&b->results, "create", "new shapes", "shapes", (double)n, sv->name, round);
	sample_variant(s, "%s", variant);
	sample_metric(s, "new shapes", "/s", (double)n / st.seconds, 1);
	sample_metric(s, "p50", "ms", (double)hist_percentile(each, 50) / 1e6, -1);
	sample_metric(s, "p99", "ms", (double)hist_percentile(each, 99) / 1e6, -1);
	sample_metric(s, "max", "ms", (double)each->max / 1e6, -1);
	if (st.retries > 0)
		sample_metric(s, "retries", "", (double)st.retries, -1);
	if (sv->pid > 0 && proc_read(sv->pid, &after) == 0 && after.anon_kb > before.anon_kb)
		sample_metric(s, "RssAnon a shape", "KB", (double)(after.anon_kb - before.anon_kb) / (double)n, -1);
	usage_metrics(&usage, sv, s);
	sample_done(&b->results, s);
cleanup:
	if (v[0].query != NULL)
		shapes_delete(b, sv, v, (size_t)n);
	shapes_free(v, (size_t)n);
	free(t.count);
	free(each);
	bench_drop(b, table);
	return result;
}

void scen_create(struct bench *b)
{
	static const int64_t normal[] = {1000}, quick[] = {200};
	struct list l = list_or(&b->opt.shapes, 1, normal, 1, quick, b->opt.quick);
	char variant[80], number[32];

	for (int i = 0; i < l.n && !stopping(); i++) {
		if (l.v[i] < 1)
			continue;
		bool broken[2] = {false, false};
		format_value(number, sizeof number, (double)l.v[i], "");
		snprintf(variant, sizeof variant, "%s new shapes, %d at a time", number, CREATE_WORKERS);
		for (int round = 0; round < b->opt.rounds && !stopping(); round++)
			for (int k = 0; k < b->servers && !stopping(); k++) {
				int which = turn(b, round, k);
				if (!broken[which] && create_round(b, which, l.v[i], variant, round)) {
					broken[which] = true;
					case_failed(b, "create", variant, b->server[which].name);
				}
			}
	}
}

/* ---- restart ---- */

struct restart {
	struct bench *bench;
	struct server *server;
	struct shape *shape;
	int64_t n, clients, next_id, due;
	char table[NAME_BYTES], variant[80];
	struct crowd crowd;
	int64_t *got; /* rows of each client */
	int64_t finished, closed_ns;
};

static bool restart_msg(struct crowd *c, struct client *who, const struct msg *m, int64_t now)
{
	struct restart *r = c->ctx;
	struct rows_want want = {.payload = r->bench->opt.payload, .groups = r->n, .last_id = -1};
	int64_t id, group;
	const char *why;

	(void)now;
	if (m->kind == MSG_UP_TO_DATE)
		return true;
	if (!row_check(m, &want, &id, &group, &why))
		return crowd_wrong(c, who, "%s", why);
	if (group != who->number % r->n || id < r->next_id || r->got[who->number]++ > 0)
		return crowd_wrong(c, who, "row %" PRId64 " isn't the one that was due", id);
	if (++r->finished == r->clients)
		c->done = true;
	return true;
}

static bool gone(pid_t pid)
{
	char path[64], state[32];

	if (waitpid(pid, NULL, WNOHANG) == pid)
		return true;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file_field(path, "State", state, sizeof state);
	return state[0] == '\0' || state[0] == 'Z';
}

static bool active(const struct url *u)
{
	char path[300], body[128];

	snprintf(path, sizeof path, "%s/v1/health", u->base);
	return http_once(u, "GET", path, body, sizeof body, NULL, 2000) == 200 && strstr(body, "\"active\"") != NULL;
}

/* Lets the clients see what happens for a while. */
static int look(struct restart *r, int64_t ms)
{
	if (loop_run(&r->crowd.loop, NULL, now_ns() + ms * NS_PER_MS) == -2)
		return err_set(&r->bench->err, ERR_CANCELLED, "stopped");
	return r->crowd.failed ? -1 : 0;
}

struct restart_times {
	double stop_s, answered_s, active_s, clients_s;
	int64_t dropped;
};

/* SIGTERM until every client was let go, and until the process is gone. */
static int stop_server(struct restart *r, struct restart_times *t)
{
	int64_t start = now_ns(), gone_ns;

	r->crowd.let_go = mem_zalloc((size_t)r->clients + 1);
	if (kill(r->server->pid, SIGTERM) != 0)
		return err_errno(&r->bench->err, errno, "SIGTERM to process %d", (int)r->server->pid);
	while (!gone(r->server->pid)) {
		if (look(r, 1))
			return -1;
		if (now_ns() - start > STOP_S * NS_PER_S)
			return err_set(&r->bench->err, ERR_TIMEOUT, "it is still there %d s after SIGTERM", STOP_S);
	}
	gone_ns = now_ns();
	while (r->crowd.gone < r->clients && now_ns() - gone_ns < LET_GO_S * NS_PER_S)
		if (look(r, 1))
			return -1;
	if (r->crowd.gone < r->clients)
		return err_set(&r->bench->err, ERR_TIMEOUT, "%" PRId64 " clients don't notice that the server is gone",
			       r->clients - r->crowd.gone);
	t->stop_s = (double)(gone_ns - start) / 1e9;
	t->answered_s = r->clients > 0 ? (double)(r->crowd.gone_ns - start) / 1e9 : 0;
	t->dropped = r->crowd.dropped;
	return 0;
}

/* Waits for the health check; seconds since start_ns. */
static int wait_active(struct restart *r, int64_t start_ns, double *seconds)
{
	while (!active(&r->server->url)) {
		if (stopping())
			return err_set(&r->bench->err, ERR_CANCELLED, "stopped");
		if (now_ns() - start_ns > ACTIVE_S * NS_PER_S)
			return err_set(&r->bench->err, ERR_TIMEOUT, "it isn't active after %d s", ACTIVE_S);
		sleep_ms(2);
	}
	*seconds = (double)(now_ns() - start_ns) / 1e9;
	return 0;
}

/* A shell's only child is the server. */
static pid_t server_of(pid_t pid)
{
	char path[64], text[64];
	long child;
	FILE *f;

	for (int depth = 0; depth < 4; depth++) {
		snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
		file_field(path, "Name", text, sizeof text);
		if (strcmp(text, "sh") != 0 && strcmp(text, "bash") != 0 && strcmp(text, "dash") != 0)
			return pid;
		snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
		if ((f = fopen(path, "r")) == NULL)
			return pid;
		child = fscanf(f, "%ld", &child) == 1 ? child : 0;
		fclose(f);
		if (child <= 0)
			return pid;
		pid = (pid_t)child;
	}
	return pid;
}

/* One row for each shape's clients, written while the server is away. */
static int write_rows(struct restart *r)
{
	int64_t a = (r->next_id + r->n - 1) / r->n * r->n; /* so that the groups are 0..n-1 */

	r->next_id = a;
	r->due = a + r->n;
	return rows_insert(&r->bench->admin, r->table, a, a + r->n, r->n, r->bench->opt.payload, &r->bench->err);
}

static int by_command(struct restart *r, struct restart_times *t)
{
	struct bench *b = r->bench;
	int64_t start = now_ns();
	int status = -1;
	pid_t pid = run_command(b->opt.restart_cmd);

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (look(r, 2))
			return -1;
		if (now_ns() - start > STOP_S * NS_PER_S)
			return err_set(&b->err, ERR_TIMEOUT, "--restart-cmd isn't done after %d s", STOP_S);
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(&b->err, ERR_IO, "--restart-cmd failed");
	r->server->pid = 0;
	t->stop_s = 0;
	return wait_active(r, start, &t->active_s) || write_rows(r) ? -1 : 0;
}

static int start_server(struct restart *r, struct restart_times *t)
{
	int64_t start = now_ns();
	pid_t pid = run_command(r->bench->opt.start_cmd);

	if (wait_active(r, start, &t->active_s))
		return -1;
	r->server->pid = server_of(pid);
	return 0;
}

static int by_pid(struct restart *r, struct restart_times *t)
{
	return stop_server(r, t) || write_rows(r) || start_server(r, t) ? -1 : 0;
}

int server_renew(struct bench *b, bool cold)
{
	struct restart r = {.bench = b, .server = &b->server[0]};
	struct restart_times t = {0};
	int result;

	if (b->opt.start_cmd == NULL || b->server[0].pid == 0)
		return 0;
	if (loop_init(&r.crowd.loop, &b->err))
		return -1;
	result = stop_server(&r, &t) || (cold && files_evict(b->opt.store, &b->err)) || start_server(&r, &t) ? -1 : 0;
	free(r.crowd.let_go);
	loop_clear(&r.crowd.loop);
	return result;
}

static int restart_round(struct restart *r, int round)
{
	struct bench *b = r->bench;
	struct restart_times t = {0};
	struct tally tally = {.want = {.payload = b->opt.payload, .groups = r->n, .last_id = -1}, .groups = r->n};
	struct sync_stats st = {.refetch_ok = true};
	struct sample *s;
	int64_t start;
	int result;

	progress("restart, %s, round %d", r->variant, round + 1);
	if (crowd_start(&r->crowd, b, &r->server->url, r->server->secret, r->shape, (size_t)r->n, r->clients, CLIENT_POLL, false))
		return -1;
	r->crowd.on_msg = restart_msg;
	r->crowd.ctx = r;
	r->finished = 0;
	r->got = mem_zalloc(sizeof *r->got * (size_t)r->clients);
	tally.count = mem_zalloc(sizeof *tally.count * (size_t)r->n);
	for (int64_t i = 0; i < r->clients; i++)
		r->crowd.client[i].persist = true;
	result = look(r, 300);
	if (result == 0)
		result = b->opt.restart_cmd != NULL ? by_command(r, &t) : by_pid(r, &t);
	start = now_ns();
	if (result == 0)
		result = crowd_run(&r->crowd, now_ns() + 60 * NS_PER_S, "a client hasn't got its row 60 s after the restart");
	t.clients_s = (double)(now_ns() - start) / 1e9;
	free(r->crowd.let_go);
	crowd_stop(&r->crowd);
	if (result == 0)
		result = shapes_sync(b, r->server, r->shape, (size_t)r->n, 64, CLIENT_SYNC, tally_msg, &tally, &st);
	for (int64_t i = 0; result == 0 && i < r->n; i++)
		if (r->shape[i].handle[0] && tally.count[i] != 1)
			result = err_set(&b->err, ERR_PROTOCOL, "wrong rows: after the restart %s has %" PRId64 " new rows, not 1",
					 r->shape[i].query, tally.count[i]);
	if (result == 0) {
		s = sample_new(&b->results, "restart", "restart", "shapes", (double)r->n, r->server->name, round);
		sample_variant(s, "%s", r->variant);
		sample_metric(s, b->opt.restart_cmd ? "command to active" : "start to active", "ms", t.active_s * 1e3, -1);
		if (b->opt.restart_cmd == NULL) {
			sample_metric(s, "SIGTERM to gone", "ms", t.stop_s * 1e3, -1);
			sample_metric(s, "to last client let go", "ms", t.answered_s * 1e3, -1);
			sample_metric(s, "dropped unanswered", "", (double)t.dropped, -1);
		}
		sample_metric(s, "all clients served", "ms", t.clients_s * 1e3, -1);
		sample_metric(s, "handles lost", "", (double)st.refetched, -1);
		sample_done(&b->results, s);
	}
	if (result == 0 && st.refetched > 0) /* the next round starts with what is there now */
		result = shapes_sync(b, r->server, r->shape, (size_t)r->n, 64, CLIENT_SYNC, NULL, NULL, NULL);
	r->next_id = r->due;
	free(tally.count);
	free(r->got);
	return result;
}

static void restart_case(struct bench *b, int64_t n)
{
	struct restart r = {.bench = b, .server = &b->server[0], .n = n, .clients = RESTART_CLIENTS, .next_id = n};
	char number[32], waiting[32];

	if (b->opt.clients.n > 0)
		r.clients = b->opt.clients.v[0];
	format_value(number, sizeof number, (double)n, "");
	format_value(waiting, sizeof waiting, (double)r.clients, "");
	snprintf(r.variant, sizeof r.variant, "%s shape%s, %s waiting clients", number, n == 1 ? "" : "s", waiting);
	r.shape = mem_zalloc(sizeof *r.shape * (size_t)n);
	if (bench_table(b, r.table, "restart", false))
		goto failed;
	for (int64_t k = 0; k < n; k++)
		r.shape[k].query = n == 1 ? shape_query(r.table, NULL) : shape_query(r.table, "n = %" PRId64, k);
	progress("restart, %s: making the shapes", r.variant);
	if (shapes_sync(b, r.server, r.shape, (size_t)n, 64, CLIENT_SYNC, NULL, NULL, NULL))
		goto failed;
	for (int round = 0; round < b->opt.rounds && !stopping(); round++)
		if (restart_round(&r, round))
			goto failed;
	goto cleanup;
failed:
	case_failed(b, "restart", r.variant, r.server->name);
cleanup:
	if (r.shape[0].query != NULL)
		shapes_delete(b, r.server, r.shape, (size_t)n);
	shapes_free(r.shape, (size_t)n);
	bench_drop(b, r.table);
}

void scen_restart(struct bench *b)
{
	static const int64_t normal[] = {1000}, quick[] = {100};
	struct list l = list_or(&b->opt.shapes, 1, normal, 1, quick, b->opt.quick);

	if (b->opt.restart_cmd == NULL && (b->server[0].pid == 0 || b->opt.start_cmd == NULL)) {
		case_skipped(b, "restart", "", b->server[0].name, "needs --restart-cmd, or --pid with --start-cmd");
		return;
	}
	for (int i = 0; i < l.n && !stopping(); i++)
		if (l.v[i] > 0)
			restart_case(b, l.v[i]);
}

/* ---- idle ---- */

static int idle_point(struct bench *b, const struct server *sv, int64_t shapes, int64_t clients, const struct shape *v,
		      const struct proc_stat *empty, struct proc_stat *now)
{
	struct proc_stat later, before = *now;
	struct crowd crowd;
	struct sample *s;
	char n[32], c[32];

	progress("idle, %s: %" PRId64 " shapes, %" PRId64 " clients", sv->name, shapes, clients);
	if (crowd_start(&crowd, b, &sv->url, sv->secret, v, shapes ? (size_t)shapes : 1, clients, CLIENT_POLL, false))
		return -1;
	if (loop_run(&crowd.loop, NULL, now_ns() + IDLE_SETTLE_MS * NS_PER_MS) == -2 || crowd.failed ||
	    proc_read(sv->pid, now) != 0)
		goto failed;
	if (loop_run(&crowd.loop, NULL, now_ns() + NS_PER_S) == -2 || crowd.failed || proc_read(sv->pid, &later) != 0)
		goto failed;
	format_value(n, sizeof n, (double)shapes, "");
	format_value(c, sizeof c, (double)clients, "");
	snprintf(c + strlen(c), sizeof c - strlen(c), " client%s", clients == 1 ? "" : "s");
	snprintf(n + strlen(n), sizeof n - strlen(n), shapes == 1 ? " shape" : " shapes");
	s = sample_new(&b->results, "idle", n, "clients", (double)clients, sv->name, 0);
	sample_variant(s, "%s, %s", n, c);
	sample_metric(s, "RssAnon", "MB", (double)now->anon_kb / 1024, -1);
	sample_metric(s, "VmRSS", "MB", (double)now->rss_kb / 1024, -1);
	if (shapes > 0 && clients == 0)
		sample_metric(s, "RssAnon a shape", "KB", (double)(now->anon_kb - empty->anon_kb) / (double)shapes, -1);
	if (clients > 0)
		sample_metric(s, "RssAnon a client", "KB", (double)(now->anon_kb - before.anon_kb) / (double)clients, -1);
	sample_metric(s, "CPU", "%", (later.cpu_s - now->cpu_s) * 100, -1);
	sample_done(&b->results, s);
	crowd_stop(&crowd);
	return 0;
failed:
	crowd_stop(&crowd);
	return err_set(&b->err, stopping() ? ERR_CANCELLED : ERR_IO, "the clients or the process ended");
}

static int idle_shapes(struct bench *b, const struct server *sv, int64_t n, const struct proc_stat *empty, const struct list *clients)
{
	struct shape *v = mem_zalloc(sizeof *v * (size_t)n);
	struct proc_stat base, now = *empty;
	char table[NAME_BYTES];
	int result = -1;

	if (bench_table(b, table, "idle", false))
		goto cleanup;
	for (int64_t k = 0; k < n; k++)
		v[k].query = n == 1 ? shape_query(table, NULL) : shape_query(table, "n = %" PRId64, k);
	progress("idle, %s: making %" PRId64 " shapes", sv->name, n);
	if (shapes_sync(b, sv, v, (size_t)n, 64, CLIENT_SYNC, NULL, NULL, NULL) || idle_point(b, sv, n, 0, v, empty, &now))
		goto cleanup;
	base = now;
	result = 0;
	for (int i = 0; result == 0 && i < clients->n && !stopping(); i++) {
		now = base;
		if (clients->v[i] > 0)
			result = idle_point(b, sv, n, clients->v[i], v, empty, &now);
	}
cleanup:
	if (v[0].query != NULL)
		shapes_delete(b, sv, v, (size_t)n);
	shapes_free(v, (size_t)n);
	bench_drop(b, table);
	return result;
}

void scen_idle(struct bench *b)
{
	static const int64_t normal[] = {1, 1000}, quick[] = {1}, many[] = {0, 1000, 2000, 4000}, few[] = {0, 1000};
	struct list shapes = list_or(&b->opt.shapes, 2, normal, 1, quick, b->opt.quick);
	struct list clients = list_or(&b->opt.clients, 4, many, 2, few, b->opt.quick);
	struct proc_stat empty = {0};
	struct shape none = {0};

	for (int i = 0; i < b->servers; i++) {
		const struct server *sv = &b->server[i];
		if (sv->pid == 0) {
			case_skipped(b, "idle", "", sv->name, i ? "needs --against-pid" : "needs --pid");
			continue;
		}
		if (idle_point(b, sv, 0, 0, &none, &empty, &empty)) {
			case_failed(b, "idle", "0 shapes", sv->name);
			continue;
		}
		for (int k = 0; k < shapes.n && !stopping(); k++)
			if (shapes.v[k] > 0 && idle_shapes(b, sv, shapes.v[k], &empty, &clients)) {
				char what[40];
				snprintf(what, sizeof what, "%" PRId64 " shapes", shapes.v[k]);
				case_failed(b, "idle", what, sv->name);
			}
	}
}
