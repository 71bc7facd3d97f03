/* opt.c - see opt.h. */
#include "bench/opt.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const scenario_names[SCENARIOS] = {
	"lag", "throughput", "fanout", "diverse", "initial", "concurrent", "create", "restart", "idle", "membership", "soak",
};

static const char help[] =
	"busbar-bench: measures a server of /v1/shape (Busbar, Electric, a proxy in front of either) against the least\n"
	"that Postgres and the machine allow, in the same run. docs/benchmarks.md explains each scenario.\n"
	"\n"
	"  busbar-bench [scenario…] [options]       without a scenario: all that can run\n"
	"\n"
	"Scenarios\n"
	"  lag          commit to client: percentiles, K clients, a fixed rate\n"
	"  throughput   changes a second: live, from a backlog, one huge transaction; against 1 to N shapes\n"
	"  fanout       one row to C waiting clients, long-poll and SSE\n"
	"  diverse      one row to N shapes with a client each\n"
	"  initial      the first sync of a table, cold and warm\n"
	"  concurrent   many clients that sync at once\n"
	"  create       new shapes a second\n"
	"  restart      time to active, handles kept (needs --restart-cmd, or --pid with --start-cmd)\n"
	"  idle         memory with N shapes and C clients (needs --pid)\n"
	"  membership   subqueries: a grant or revocation to the client's new rows; births, memory (only if named)\n"
	"  soak         two hours of churn: memory, descriptors and store come to rest (needs --pid; only if named)\n"
	"\n"
	"What is measured\n"
	"  --url URL            the server, default http://127.0.0.1:3000\n"
	"  --secret TEXT        its secret, default $ELECTRIC_SECRET\n"
	"  --pid N              its process on this machine: CPU, memory, and stopping it to build up a backlog\n"
	"  --db URL             the database it reads, default $DATABASE_URL; a schema busbar_bench is made and removed\n"
	"  --name TEXT          what to call it, default what it calls itself\n"
	"  --against URL        a second server on the same database, measured in turns with the first;\n"
	"                       with --against-secret, --against-pid, --against-name\n"
	"\n"
	"How much\n"
	"  --quick              about a minute in all\n"
	"  --targets            all cases of the list of targets, in about a quarter of an hour, and the list filled in;\n"
	"                       with scenarios: theirs\n"
	"  --rounds N           each case so often, in turns; figures are medians (3)\n"
	"  --rate N             lag: commits a second (50)\n"
	"  --duration SECONDS   lag: of each round (4); soak: of all (7200)\n"
	"  --sse                lag: event streams instead of long-polls\n"
	"  --clients N,N,…      lag (1,100), fanout (100,1000), concurrent (200), idle (0,1000,2000,4000), restart (100),\n"
	"                       membership (1000: shapes that one transaction changes)\n"
	"  --shapes N,N,…       throughput (1,100,1000), diverse (100,1000), create (1000), restart (1000),\n"
	"                       idle (1,1000; an empty server always), membership (10000: births and memory)\n"
	"  --rows N,N,…         initial (10000,100000,1000000), membership (10,1000,100000)\n"
	"  --kinds LIST         throughput: table,eq,range,array,like,ilike,all,subquery,notin,inner; default all but the last three;\n"
	"                       membership's births: eq,subquery\n"
	"  --modes LIST         throughput: live,backlog,rows,huge\n"
	"  --changes N          throughput: of each round (50000; live an eighth of it)\n"
	"  --txn-rows N         throughput, mode rows: rows in a transaction (50)\n"
	"  --huge N             throughput: rows of the huge transaction (200000)\n"
	"  --events N           fanout, diverse: rows of each round (10)\n"
	"  --syncs N            concurrent: of each client (10)\n"
	"  --sync-rows N        concurrent: rows of the table (500)\n"
	"  --payload BYTES      of each row besides about 80 others (96)\n"
	"  --request-bytes N    fills up the requests of waiting clients with a header, to N bytes (0: as they are)\n"
	"\n"
	"Around it\n"
	"  --watch              lag for ever with a live line, until Ctrl-C\n"
	"  --start-cmd CMD      starts the server after it was stopped (restart); it is left running\n"
	"  --restart-cmd CMD    stops and starts it\n"
	"  --store DIR          initial: also after a restart, with the files in DIR out of the page cache (needs --pid and\n"
	"                       --start-cmd)\n"
	"  --pause-cmd CMD, --resume-cmd CMD   for a backlog, where SIGSTOP to --pid can't be used (docker pause …)\n"
	"  --no-floor           without the floors\n"
	"  --json FILE          a line of JSON for each sample\n"
	"  --html FILE          a report with plots, in one file\n"
	"  --clean              only removes what a killed run left in the database\n"
	"  --list, --help, --version\n"
	"\n"
	"Exit status: 0 all well (also --watch when stopped), 1 a wrong answer or a failure, 2 usage,\n130 stopped.\n";

enum {
	O_URL = 256, O_SECRET, O_PID, O_DB, O_NAME, O_AGAINST, O_AGAINST_SECRET, O_AGAINST_PID, O_AGAINST_NAME, O_QUICK,
	O_ROUNDS, O_RATE, O_DURATION, O_SSE, O_CLIENTS, O_SHAPES, O_ROWS, O_KINDS, O_MODES, O_CHANGES, O_TXN_ROWS, O_HUGE,
	O_EVENTS, O_SYNCS, O_SYNC_ROWS, O_PAYLOAD, O_REQUEST, O_TARGETS, O_WATCH, O_START, O_RESTART, O_STORE, O_PAUSE, O_RESUME,
	O_NO_FLOOR, O_JSON, O_HTML, O_CLEAN,
	O_LIST, O_HELP, O_VERSION,
};

static const struct option table[] = {
	{"url", 1, NULL, O_URL}, {"secret", 1, NULL, O_SECRET}, {"pid", 1, NULL, O_PID}, {"db", 1, NULL, O_DB},
	{"name", 1, NULL, O_NAME}, {"against", 1, NULL, O_AGAINST}, {"against-secret", 1, NULL, O_AGAINST_SECRET},
	{"against-pid", 1, NULL, O_AGAINST_PID}, {"against-name", 1, NULL, O_AGAINST_NAME}, {"quick", 0, NULL, O_QUICK},
	{"rounds", 1, NULL, O_ROUNDS}, {"rate", 1, NULL, O_RATE}, {"duration", 1, NULL, O_DURATION}, {"sse", 0, NULL, O_SSE},
	{"clients", 1, NULL, O_CLIENTS}, {"shapes", 1, NULL, O_SHAPES}, {"rows", 1, NULL, O_ROWS}, {"kinds", 1, NULL, O_KINDS},
	{"modes", 1, NULL, O_MODES}, {"changes", 1, NULL, O_CHANGES}, {"txn-rows", 1, NULL, O_TXN_ROWS},
	{"huge", 1, NULL, O_HUGE}, {"events", 1, NULL, O_EVENTS}, {"syncs", 1, NULL, O_SYNCS},
	{"sync-rows", 1, NULL, O_SYNC_ROWS}, {"payload", 1, NULL, O_PAYLOAD},
	{"targets", 0, NULL, O_TARGETS}, {"request-bytes", 1, NULL, O_REQUEST},
	{"watch", 0, NULL, O_WATCH}, {"start-cmd", 1, NULL, O_START}, {"restart-cmd", 1, NULL, O_RESTART},
	{"store", 1, NULL, O_STORE},
	{"pause-cmd", 1, NULL, O_PAUSE}, {"resume-cmd", 1, NULL, O_RESUME}, {"no-floor", 0, NULL, O_NO_FLOOR},
	{"json", 1, NULL, O_JSON}, {"html", 1, NULL, O_HTML}, {"clean", 0, NULL, O_CLEAN}, {"list", 0, NULL, O_LIST},
	{"help", 0, NULL, O_HELP}, {"version", 0, NULL, O_VERSION}, {NULL, 0, NULL, 0},
};

/* One integer, optionally with the suffix `k` or `m`. */
static bool whole(const char *s, int64_t least, int64_t most, int64_t *out, const char **rest)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(s, &end, 10);
	if (end == s || errno != 0 || v < 0 || v > 1000000000)
		return false;
	if (*end == 'k')
		v *= 1000, end++;
	else if (*end == 'm' || *end == 'M')
		v *= 1000000, end++;
	*rest = end;
	*out = v;
	return v >= least && v <= most;
}

static int one(const char *name, const char *s, int64_t least, int64_t most, int64_t *out, struct err *e)
{
	const char *rest;

	if (whole(s, least, most, out, &rest) && *rest == '\0')
		return 0;
	return err_set(e, ERR_CONFIG, "--%s %s: a whole number from %lld to %lld is wanted", name, s, (long long)least,
		       (long long)most);
}

static int many(const char *name, const char *s, int64_t least, int64_t most, struct list *l, struct err *e)
{
	l->n = 0;
	for (;;) {
		if (l->n == LIST_MAX || !whole(s, least, most, &l->v[l->n], &s) || (*s != ',' && *s != '\0'))
			return err_set(e, ERR_CONFIG, "--%s: at most %d whole numbers from %lld to %lld, with commas, are wanted",
				       name, LIST_MAX, (long long)least, (long long)most);
		l->n++;
		if (*s++ == '\0')
			return 0;
	}
}

static int real(const char *name, const char *s, double least, double most, double *out, struct err *e)
{
	char *end;

	*out = strtod(s, &end);
	if (end != s && *end == '\0' && isfinite(*out) && *out >= least && *out <= most)
		return 0;
	return err_set(e, ERR_CONFIG, "--%s %s: a number from %g to %g is wanted", name, s, least, most);
}

bool opt_lists(const char *list, const char *defaults, const char *word)
{
	size_t n = strlen(word);

	if (list[0] == '\0')
		list = defaults;
	for (const char *p = list; p != NULL && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

static int words(const char *name, const char *s, const char *known, char *out, size_t size, struct err *e)
{
	char word[40];

	snprintf(out, size, "%s", s);
	for (const char *p = s; *p;) {
		size_t n = strcspn(p, ",");
		snprintf(word, sizeof word, "%.*s", (int)n, p);
		if (!opt_lists(known, "", word))
			return err_set(e, ERR_CONFIG, "--%s: \"%s\" isn't one of %s", name, word, known);
		p += n + (p[n] == ',');
	}
	return 0;
}

static int option_number(struct options *o, int c, const char *name, const char *v, struct err *e)
{
	int64_t n = 0;
	int r = 0;

	switch (c) {
	case O_PID: r = one(name, v, 1, 1 << 30, &n, e); o->server.pid = (int)n; break;
	case O_AGAINST_PID: r = one(name, v, 1, 1 << 30, &n, e); o->against.pid = (int)n; break;
	case O_ROUNDS: r = one(name, v, 1, 50, &n, e); o->rounds = (int)n; break;
	case O_PAYLOAD: r = one(name, v, 0, 8192, &n, e); o->payload = (int)(n / 8 * 8); break;
	case O_CHANGES: r = one(name, v, 1, 100000000, &o->changes, e); break;
	case O_TXN_ROWS: r = one(name, v, 2, 100000, &o->txn_rows, e); break;
	case O_HUGE: r = one(name, v, 1, 100000000, &o->huge, e); break;
	case O_EVENTS: r = one(name, v, 1, 10000, &o->events, e); break;
	case O_SYNCS: r = one(name, v, 1, 100000, &o->syncs, e); break;
	case O_SYNC_ROWS: r = one(name, v, 1, 1000000, &o->sync_rows, e); break;
	case O_REQUEST: r = one(name, v, 0, 8000, &o->request_bytes, e); break;
	case O_RATE: r = real(name, v, 0.1, 100000, &o->rate, e); break;
	case O_DURATION: r = real(name, v, 0.5, 86400, &o->duration_s, e); break;
	case O_CLIENTS: r = many(name, v, 0, CLIENTS_MAX, &o->clients, e); break;
	case O_SHAPES: r = many(name, v, 0, 1000000, &o->shapes, e); break;
	case O_ROWS: r = many(name, v, 1, 100000000, &o->rows, e); break;
	default: break;
	}
	return r;
}

static int option(struct options *o, int c, const char *name, const char *v, struct err *e)
{
	switch (c) {
	case O_URL: o->server.url = v; return 0;
	case O_SECRET: o->server.secret = v; return 0;
	case O_NAME: o->server.name = v; return 0;
	case O_AGAINST: o->against.url = v; return 0;
	case O_AGAINST_SECRET: o->against.secret = v; return 0;
	case O_AGAINST_NAME: o->against.name = v; return 0;
	case O_DB: o->db = v; return 0;
	case O_QUICK: o->quick = true; return 0;
	case O_SSE: o->sse = true; return 0;
	case O_WATCH: o->watch = true; return 0;
	case O_TARGETS: o->targets = true; return 0;
	case O_NO_FLOOR: o->no_floor = true; return 0;
	case O_CLEAN: o->clean = true; return 0;
	case O_START: o->start_cmd = v; return 0;
	case O_RESTART: o->restart_cmd = v; return 0;
	case O_STORE: o->store = v; return 0;
	case O_PAUSE: o->pause_cmd = v; return 0;
	case O_RESUME: o->resume_cmd = v; return 0;
	case O_JSON: o->json = v; return 0;
	case O_HTML: o->html = v; return 0;
	case O_KINDS:
		return words(name, v, "table,eq,range,array,like,ilike,all,subquery,notin,inner", o->kinds, sizeof o->kinds, e);
	case O_MODES:
		return words(name, v, "live,backlog,rows,huge", o->modes, sizeof o->modes, e);
	default: return option_number(o, c, name, v, e);
	}
}

static int scenarios(struct options *o, int argc, char **argv, struct err *e)
{
	for (int i = optind; i < argc; i++) {
		int k = 0;
		while (k < SCENARIOS && strcmp(argv[i], scenario_names[k]) != 0)
			k++;
		if (k == SCENARIOS)
			return err_set(e, ERR_CONFIG, "there is no scenario \"%s\"; --list shows them", argv[i]);
		o->run[k] = o->chosen = true;
	}
	for (int k = 0; !o->chosen && k < SCENARIOS; k++)
		o->run[k] = k != SCEN_MEMBERSHIP && k != SCEN_SOAK;
	return 0;
}

static void defaults(struct options *o)
{
	memset(o, 0, sizeof *o);
	o->server.url = "http://127.0.0.1:3000";
	o->server.secret = getenv("ELECTRIC_SECRET");
	o->db = getenv("DATABASE_URL");
	o->payload = 96;
	o->rate = 50;
	o->rounds = -1;
	o->duration_s = -1;
	o->changes = o->huge = o->events = o->syncs = -1;
	o->txn_rows = 50;
	o->sync_rows = 500;
}

/* What wasn't given depends on --quick. */
static void complete(struct options *o)
{
	bool q = o->quick;

	o->soak_s = o->duration_s > 0 ? o->duration_s : 0;
	o->rounds = o->rounds > 0 ? o->rounds : q ? 1 : 3;
	o->duration_s = o->duration_s > 0 ? o->duration_s : q ? 3 : 4;
	o->changes = o->changes > 0 ? o->changes : q ? 10000 : 50000;
	o->huge = o->huge > 0 ? o->huge : q ? 50000 : 200000;
	o->events = o->events > 0 ? o->events : q ? 5 : 10;
	o->syncs = o->syncs > 0 ? o->syncs : q ? 3 : 10;
	if (o->server.secret != NULL && o->server.secret[0] == '\0')
		o->server.secret = NULL;
}

int opt_step(const struct options *base, const char *line, struct options *out, struct err *e)
{
	char text[200], *argv[24], *rest = NULL;
	int argc = 0, c, index = 0;

	*out = *base;
	memset(out->run, 0, sizeof out->run);
	snprintf(text, sizeof text, "step %s", line);
	for (char *p = strtok_r(text, " ", &rest); p != NULL && argc < 23; p = strtok_r(NULL, " ", &rest))
		argv[argc++] = p;
	argv[argc] = NULL;
	optind = 0; /* begins anew */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", table, &index)) != -1)
		if (c < O_ROUNDS || c > O_REQUEST || option(out, c, table[index].name, optarg, e))
			return err_set(e, ERR_CONFIG, "a step that can't be: %s", line);
	return scenarios(out, argc, argv, e);
}

enum opt_result opt_parse(struct options *o, int argc, char **argv, struct err *e)
{
	int c, index = 0;

	defaults(o);
	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", table, &index)) != -1) {
		switch (c) {
		case O_HELP:
			fputs(help, stdout);
			return OPT_EXIT;
		case O_VERSION:
			puts("busbar-bench " BUSBAR_VERSION);
			return OPT_EXIT;
		case O_LIST:
			for (int i = 0; i < SCENARIOS; i++)
				puts(scenario_names[i]);
			return OPT_EXIT;
		case '?':
			err_set(e, ERR_CONFIG, "%s: no such option; --help lists them", argv[optind - 1]);
			return OPT_USAGE;
		case ':':
			err_set(e, ERR_CONFIG, "%s needs a value", argv[optind - 1]);
			return OPT_USAGE;
		default:
			if (option(o, c, table[index].name, optarg, e))
				return OPT_USAGE;
		}
	}
	if (scenarios(o, argc, argv, e))
		return OPT_USAGE;
	if (o->db == NULL || o->db[0] == '\0') {
		err_set(e, ERR_CONFIG, "which database? --db postgresql://… or DATABASE_URL");
		return OPT_USAGE;
	}
	complete(o);
	return OPT_RUN;
}
