/*
 * targets.c - the cases behind a list of targets, one after another in one run (--targets), and the list with what
 * was measured against each. The targets are ratios to floors of the same run wherever there is one.
 */
#include "bench/targets.h"

#include <string.h>

/* Each in a fresh process where --start-cmd is given, which begins with the shapes whose tables are gone but not yet
 * noticed; so what is measured in memory comes before what leaves many. About a quarter of an hour. */
const char *const target_steps[] = {
	"idle --shapes 100k --clients 0",
	"restart --shapes 100k --clients 100 --rounds 1",
	"restart --shapes 1 --clients 10k --rounds 2",
	"idle --shapes 1 --clients 0,1k,10k --request-bytes 2900",
	"lag --clients 1,100 --rate 50 --duration 10 --rounds 3",
	"throughput --kinds eq --shapes 100 --modes rows,huge --changes 200k --huge 1m --rounds 2", /* before many shapes: its memory */
	"throughput --kinds eq --shapes 1,100,10k --modes backlog --changes 100k --rounds 3",
	"throughput --kinds eq --shapes 100k --modes backlog --changes 100k --rounds 2",
	"throughput --kinds ilike --shapes 1k --modes backlog --changes 100k --rounds 3",
	"fanout --clients 1k,10k --events 7 --rounds 3",
	"diverse --shapes 1k --rounds 3",
	"initial --rows 1m --rounds 3",
	"concurrent --clients 200 --sync-rows 500 --syncs 100 --rounds 3",
	"create --shapes 5k --rounds 3",
	NULL,
};

enum how { AT_LEAST, AT_MOST, TIMES_AT_LEAST, TIMES_AT_MOST, PLUS_AT_MOST, OTHER_AT_LEAST };

#define BARE "bare client"
#define FAN "minimal epoll server"
#define NGINX "nginx, static file"
#define ONE_EQ "1 eq shape, backlog of 100,000"

static const struct target {
	const char *what, *wanted; /* for people */
	const char *scenario, *variant, *metric;
	enum how how;
	const char *than; /* the floor; OTHER_AT_LEAST: the variant whose figure it is compared with */
	double limit;
} targets[] = {
	{"lag, 1 client, 50 commits/s, p50", "bare client's + 0.15 ms", "lag", "1 client, 50 commits/s, long-poll", "p50 ack",
	 PLUS_AT_MOST, BARE, 0.15},
	{"the same, p99", "2 × the bare client's", "lag", "1 client, 50 commits/s, long-poll", "p99 ack", TIMES_AT_MOST, BARE, 2},
	{"lag, 100 clients, 50 commits/s, p50", "2 ms", "lag", "100 clients, 50 commits/s, long-poll", "p50 ack", AT_MOST, BARE, 2},
	{"single-row transactions, 1 shape", "80 % of the bare client", "throughput", ONE_EQ, "changes", TIMES_AT_LEAST, BARE, 0.8},
	{"…, 100 shapes", "80 % of the bare client", "throughput", "100 eq shapes, backlog of 100,000", "changes", TIMES_AT_LEAST, BARE, 0.8},
	{"…, 10,000 shapes", "80 % of the bare client", "throughput", "10,000 eq shapes, backlog of 100,000", "changes", TIMES_AT_LEAST,
	 BARE, 0.8},
	{"…, 10,000 shapes against 1", "within 10 %", "throughput", "10,000 eq shapes, backlog of 100,000", "changes", OTHER_AT_LEAST,
	 ONE_EQ, 0.9},
	{"…, 100,000 shapes against 1", "within 20 %", "throughput", "100,000 eq shapes, backlog of 100,000", "changes", OTHER_AT_LEAST,
	 ONE_EQ, 0.8},
	{"50-row transactions, 100 shapes", "(70 % of the bare client)", "throughput", "100 eq shapes, backlog of 50-row transactions",
	 "rows", TIMES_AT_LEAST, BARE, 0.7},
	{"one transaction of 1M rows, 100 shapes", "70 % of the bare client", "throughput",
	 "100 eq shapes, one transaction of 1,000,000 rows", "rows", TIMES_AT_LEAST, BARE, 0.7},
	{"…, peak RssAnon", "150 MB", "throughput", "100 eq shapes, one transaction of 1,000,000 rows", "peak RssAnon", AT_MOST, NULL,
	 150},
	{"1,000 ILIKE shapes, none matching", "5,000,000 evaluations/s", "throughput", "1,000 ilike shapes, backlog of 5,000",
	 "evaluations", AT_LEAST, NULL, 5e6},
	{"one row to 10,000 clients, last one", "2 × the minimal server", "fanout", "10,000 clients, long-poll", "last client",
	 TIMES_AT_MOST, FAN, 2},
	{"…, event streams", "2 × the minimal server", "fanout", "10,000 clients, SSE", "last client", TIMES_AT_MOST, FAN, 2},
	{"a waiting client, requests of 2.9 KB", "RssAnon 10 KB", "idle", "1 shape, 10,000 clients", "RssAnon a client", AT_MOST, NULL, 10},
	{"1,000 shapes matching a row, last client", "50 ms", "diverse", "1,000 shapes, a client each, long-poll", "last client", AT_MOST,
	 FAN, 50},
	{"initial sync of 1M rows, cold", "2 × COPY of rows", "initial", "1,000,000 rows, cold", "took", TIMES_AT_MOST, "COPY of rows", 2},
	{"…, first byte", "50 ms", "initial", "1,000,000 rows, cold", "first byte", AT_MOST, NULL, 50},
	{"…, warm", "nginx's rate", "initial", "1,000,000 rows, warm", "rate", TIMES_AT_LEAST, NGINX, 1},
	{"new shapes, 200 at once", "2,000/s", "create", "5,000 new shapes, 200 at a time", "new shapes", AT_LEAST, NULL, 2000},
	{"200 clients syncing 500 rows, warm", "20,000/s", "concurrent", "200 clients at a time, 500 rows, warm", "syncs", AT_LEAST,
	 NGINX, 20000},
	{"SIGTERM, 10,000 clients: last one let go", "1 s", "restart", "1 shape, 10,000 waiting clients", "to last client let go", AT_MOST,
	 NULL, 1000},
	{"…, process gone", "1 s", "restart", "1 shape, 10,000 waiting clients", "SIGTERM to gone", AT_MOST, NULL, 1000},
	{"RssAnon, nothing there", "12 MB", "idle", "0 shapes, 0 clients", "RssAnon", AT_MOST, NULL, 12},
	{"RssAnon a shape, of 100,000", "1.5 KB", "idle", "100,000 shapes, 0 clients", "RssAnon a shape", AT_MOST, NULL, 1.5},
	{"restart, 100,000 shapes: active", "1 s", "restart", "100,000 shapes, 100 waiting clients", "start to active", AT_MOST, NULL, 1000},
	{"…, handles lost", "0", "restart", "100,000 shapes, 100 waiting clients", "handles lost", AT_MOST, NULL, 0},
};

static const char *unit_of(const struct results *r, const struct target *t)
{
	for (size_t i = 0; i < r->samples; i++)
		for (int k = 0; k < r->sample[i]->metrics; k++)
			if (strcmp(r->sample[i]->scenario, t->scenario) == 0 && strcmp(r->sample[i]->m[k].name, t->metric) == 0)
				return r->sample[i]->m[k].unit;
	return "";
}

static bool met(const struct target *t, double figure, double floor, double ratio)
{
	switch (t->how) {
	case AT_LEAST: return figure >= t->limit;
	case AT_MOST: return figure <= t->limit;
	case TIMES_AT_LEAST:
	case OTHER_AT_LEAST: return ratio >= t->limit;
	case TIMES_AT_MOST: return ratio <= t->limit;
	default: return figure - floor <= t->limit;
	}
}

/* As a line of a table in Markdown. */
static void line(const struct results *r, const struct target *t, const char *server, FILE *f)
{
	double figure, floor = 0, ratio = 0, least, most;
	bool other = t->how == OTHER_AT_LEAST, has = t->than != NULL;
	const char *unit = unit_of(r, t);
	char text[2][64] = {"", ""}, by[64] = "";

	if (!results_median(r, t->scenario, t->variant, server, t->metric, &figure)) {
		fprintf(f, "| %s | %s | not measured | | | |\n", t->what, t->wanted);
		return;
	}
	if (has)
		has = results_median(r, t->scenario, other ? t->than : t->variant, other ? server : t->than, t->metric, &floor);
	if (has && floor > 0)
		ratio = figure / floor;
	if (has && !other && results_ratio(r, t->scenario, t->variant, server, t->than, t->metric, &ratio, &least, &most))
		snprintf(by, sizeof by, "%.2f (%.2f to %.2f)", ratio, least, most);
	else if (ratio > 0)
		snprintf(by, sizeof by, "%.2f", ratio);
	format_value(text[0], sizeof text[0], figure, unit);
	if (has)
		format_value(text[1], sizeof text[1], floor, unit);
	fprintf(f, "| %s | %s | %s | %s | %s | %s |\n", t->what, t->wanted, text[0], text[1], by,
		t->than != NULL && t->how > AT_MOST && !has ? "?" : met(t, figure, floor, ratio) ? "yes" : "no");
}

void targets_print(const struct results *r, const char *server, FILE *f)
{
	fprintf(f, "\n| what | at least | %s | floor | ratio | met |\n|---|---|---|---|---|---|\n", server);
	for (size_t i = 0; i < ARRAY_LEN(targets); i++)
		line(r, &targets[i], server, f);
	fputc('\n', f);
}
