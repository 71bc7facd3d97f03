/*
 * main.c - busbar-bench: sets up the scratch schema, runs the scenarios, prints, and leaves nothing behind.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/floors.h"
#include "bench/targets.h"

static void (*const scenario[SCENARIOS])(struct bench *) = {
	[SCEN_LAG] = scen_lag,		   [SCEN_THROUGHPUT] = scen_throughput, [SCEN_FANOUT] = scen_fanout,
	[SCEN_DIVERSE] = scen_diverse,	   [SCEN_INITIAL] = scen_initial,	[SCEN_CONCURRENT] = scen_concurrent,
	[SCEN_CREATE] = scen_create,	   [SCEN_RESTART] = scen_restart,	[SCEN_IDLE] = scen_idle,
	[SCEN_MEMBERSHIP] = scen_membership, [SCEN_SOAK] = scen_soak,
};

/* The restart comes last: it may change the server's process. */
static const enum scenario_id order[SCENARIOS] = {
	SCEN_IDLE, SCEN_LAG, SCEN_THROUGHPUT, SCEN_FANOUT, SCEN_DIVERSE, SCEN_INITIAL, SCEN_CONCURRENT, SCEN_CREATE,
	SCEN_MEMBERSHIP, SCEN_RESTART, SCEN_SOAK,
};

static int server_init(struct server *s, const struct server_opt *o, const char *secret, struct err *e)
{
	struct proc_stat p;
	struct httpres head;
	char path[300], body[128];
	int status;

	if (url_parse(&s->url, o->url, e))
		return -1;
	s->secret = o->secret ? o->secret : secret;
	s->pid = o->pid;
	if (s->pid > 0 && proc_read(s->pid, &p) != 0)
		return err_set(e, ERR_CONFIG, "there is no process %d on this machine", (int)s->pid);
	snprintf(path, sizeof path, "%s/v1/health", s->url.base);
	memset(&head, 0, sizeof head);
	status = http_once(&s->url, "GET", path, body, sizeof body, &head, 5000);
	if (status < 0)
		return err_set(e, ERR_IO, "%s doesn't answer", o->url);
	if (status != 200 || strstr(body, "\"active\"") == NULL)
		return err_set(e, ERR_IO, "%s isn't active: %d %s", o->url, status, body);
	snprintf(s->version, sizeof s->version, "%s", head.server[0] ? head.server : "unknown version");
	snprintf(s->name, sizeof s->name, "%s", o->name ? o->name : head.server[0] ? head.server : "server");
	return 0;
}

static int servers_init(struct bench *b, struct err *e)
{
	const struct options *o = &b->opt;

	if (server_init(&b->server[0], &o->server, NULL, e))
		return -1;
	b->servers = 1;
	if (o->against.url == NULL)
		return 0;
	if (server_init(&b->server[1], &o->against, o->server.secret, e))
		return -1;
	b->servers = 2;
	if (strcmp(b->server[0].name, b->server[1].name) == 0) {
		for (int i = 0; i < 2; i++) {
			size_t n = strlen(b->server[i].name);
			n = n > NAME_BYTES - 5 ? NAME_BYTES - 5 : n;
			snprintf(b->server[i].name + n, NAME_BYTES - n, i ? " (B)" : " (A)");
		}
	}
	return 0;
}

static int database_init(struct bench *b, struct err *e)
{
	char level[32];

	if (db_open(&b->admin, b->opt.db, false, e) ||
	    db_text(&b->admin, b->results.postgres, sizeof b->results.postgres, e, "SHOW server_version") ||
	    db_text(&b->admin, level, sizeof level, e, "SHOW wal_level"))
		return -1;
	if (strcmp(level, "logical") != 0)
		return err_set(e, ERR_CONFIG, "Postgres has wal_level = %s; it must be logical", level);
	if (db_text(&b->admin, level, sizeof level, e, "SHOW synchronous_commit"))
		return -1;
	if (strcmp(level, "off") == 0)
		fprintf(stderr, "busbar-bench: synchronous_commit is off: Postgres itself then adds up to 200 ms of lag\n");
	return scratch_open(&b->admin, e);
}

/* With a session of its own if the first one is lost; the signal that stopped us doesn't stop this. */
static void clean_up(struct bench *b)
{
	struct err e;
	struct db again;

	server_continue();
	progress("cleaning up");
	b->admin.unstoppable = true;
	if (b->admin.conn != NULL && PQstatus(b->admin.conn) == CONNECTION_OK && scratch_remove(&b->admin, &e) == 0) {
		progress_end();
		return;
	}
	if (db_open(&again, b->opt.db, false, &e) == 0) {
		again.unstoppable = true;
		if (scratch_remove(&again, &e) == 0) {
			db_close(&again);
			progress_end();
			return;
		}
		db_close(&again);
	}
	progress_end();
	fprintf(stderr, "busbar-bench: the schema " SCHEMA " couldn't be removed: %s; busbar-bench --clean does it later\n", e.text);
}

static int only_clean(struct bench *b, struct err *e)
{
	int r = db_open(&b->admin, b->opt.db, false, e) || scratch_open(&b->admin, e) || scratch_remove(&b->admin, e);

	db_close(&b->admin);
	return r ? -1 : 0;
}

static void run_all(struct bench *b)
{
	for (int i = 0; i < SCENARIOS && !stopping(); i++) {
		enum scenario_id id = order[i];
		if (!b->opt.run[id])
			continue;
		size_t from = b->results.samples;
		err_clear(&b->err);
		scenario[id](b);
		progress_end();
		report_table(&b->results, scenario_names[id], from, stdout);
		fflush(stdout);
	}
}

static void run_targets(struct bench *b)
{
	const struct options base = b->opt;
	struct err e;

	for (int i = 0; target_steps[i] != NULL && !stopping(); i++) {
		if (opt_step(&base, target_steps[i], &b->opt, &e)) {
			fprintf(stderr, "busbar-bench: %s\n", e.text);
			continue;
		}
		bool any = false;
		for (int k = 0; k < SCENARIOS; k++) {
			b->opt.run[k] = b->opt.run[k] && base.run[k];
			any = any || b->opt.run[k];
		}
		if (!any)
			continue;
		/* No step finds memory that an earlier one has left behind. */
		if (server_renew(b, false))
			fprintf(stderr, "busbar-bench: the server couldn't be started anew: %s\n", b->err.text);
		printf("\n-- %s\n", target_steps[i]);
		fflush(stdout);
		run_all(b);
	}
	b->opt = base;
	targets_print(&b->results, b->server[0].name, stdout);
}

static void print_head(const struct bench *b)
{
	printf("%s\n%s", b->results.command, b->server[0].version);
	if (b->servers == 2)
		printf(" against %s", b->server[1].version);
	printf(", PostgreSQL %s, %d cores (%s), %s\n", b->results.postgres, b->results.cores, b->results.cpu, b->results.kernel);
	fflush(stdout);
}

static int open_json(struct bench *b, struct err *e)
{
	if (b->opt.json == NULL)
		return 0;
	b->results.json = strcmp(b->opt.json, "-") == 0 ? stdout : fopen(b->opt.json, "w");
	return b->results.json ? 0 : err_errno(e, errno, "%s", b->opt.json);
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct err e = {0};
	int status = 1;
	const char *other;

	results_init(&b.results, argc, argv); /* before getopt sorts the arguments */
	switch (opt_parse(&b.opt, argc, argv, &e)) {
	case OPT_EXIT: return 0;
	case OPT_USAGE:
		fprintf(stderr, "busbar-bench: %s\n", e.text);
		return 2;
	default: break;
	}
	stop_init();
	if (b.opt.clean) {
		if (only_clean(&b, &e) == 0)
			return 0;
		fprintf(stderr, "busbar-bench: %s\n", e.text);
		return 1;
	}
	if (servers_init(&b, &e) || open_json(&b, &e) || database_init(&b, &e)) {
		fprintf(stderr, "busbar-bench: %s\n", e.text);
		db_close(&b.admin);
		results_clear(&b.results);
		return 1;
	}
	other = b.servers == 2 ? b.server[1].version : "";
	report_json_run(&b.results, &b.opt, b.server[0].version, other);
	print_head(&b);
	if (!b.opt.watch) {
		if (b.opt.targets)
			run_targets(&b);
		else
			run_all(&b);
		status = b.results.failed ? 1 : 0;
	} else if (scen_watch(&b) == 0) {
		status = 0;
	} else if (!stopping()) {
		fprintf(stderr, "busbar-bench: %s\n", b.err.text);
	}
	clean_up(&b);
	db_close(&b.admin);
	report_json_end(&b.results);
	if (b.opt.html != NULL && b.results.samples > 0 &&
	    report_html(&b.results, &b.opt, b.server[0].version, other, &e)) {
		fprintf(stderr, "busbar-bench: %s\n", e.text);
		status = 1;
	}
	results_clear(&b.results);
	/* Ctrl-C is how --watch ends. */
	return stopping() && !b.opt.watch ? 130 : status;
}
