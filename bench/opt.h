/*
 * opt.h - the command line.
 */
#ifndef BUSBAR_BENCH_OPT_H
#define BUSBAR_BENCH_OPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define LIST_MAX 16
#define CLIENTS_MAX 18000 /* a process may have 20,000 open files where this was made */

enum scenario_id {
	SCEN_LAG,
	SCEN_THROUGHPUT,
	SCEN_FANOUT,
	SCEN_DIVERSE,
	SCEN_INITIAL,
	SCEN_CONCURRENT,
	SCEN_CREATE,
	SCEN_RESTART,
	SCEN_IDLE,
	SCEN_MEMBERSHIP, /* only where it is asked for: not every server knows subqueries */
	SCEN_SOAK, /* likewise: it takes hours */
	SCENARIOS
};

extern const char *const scenario_names[SCENARIOS];

struct list {
	int n;
	int64_t v[LIST_MAX];
};

struct server_opt {
	const char *url, *secret, *name;
	int pid;
};

struct options {
	bool run[SCENARIOS], chosen; /* chosen: named on the command line */
	struct server_opt server, against; /* against.url NULL: none */
	const char *db, *json, *html, *start_cmd, *restart_cmd, *store, *pause_cmd, *resume_cmd;
	bool quick, watch, sse, no_floor, clean, targets;
	int rounds, payload;
	double rate, duration_s, soak_s; /* soak_s 0: the scenario's own */
	struct list clients, shapes, rows; /* n 0: the scenario's own default */
	int64_t changes, huge, txn_rows, events, syncs, sync_rows, request_bytes;
	char kinds[200]; /* with commas; "" for the default */
	char modes[80];
};

enum opt_result { OPT_RUN, OPT_EXIT, OPT_USAGE };

/* OPT_EXIT: --help and the like were printed. OPT_USAGE: e says what is wrong. Strings are borrowed from argv. */
enum opt_result opt_parse(struct options *o, int argc, char **argv, struct err *e);

/* What a command line of scenarios and numbers (a step of --targets) makes of `base`; -1 with *e. */
int opt_step(const struct options *base, const char *line, struct options *out, struct err *e);

/* Whether a list with commas holds a word; an empty list holds every word of `defaults`. */
bool opt_lists(const char *list, const char *defaults, const char *word);

#endif
