/*
 * bench.h - what all scenarios share: the servers under test, the scratch tables, shapes, and crowds of clients.
 *
 * A scenario is a function that runs its cases and leaves samples in results; a case that fails is noted with its
 * reason and the next one runs. Everything here belongs to the main thread.
 */
#ifndef BUSBAR_BENCH_BENCH_H
#define BUSBAR_BENCH_BENCH_H

#include "bench/client.h"
#include "bench/db.h"
#include "bench/opt.h"
#include "bench/results.h"
#include "bench/rows.h"

#define NAME_BYTES 40

struct server {
	char name[NAME_BYTES];
	char version[NAME_BYTES];
	struct url url;
	const char *secret;
	pid_t pid; /* 0: unknown */
};

struct bench {
	struct options opt;
	struct results results;
	struct db admin;
	struct server server[2];
	int servers;
	bool publication; /* the floors' is made */
	unsigned tables;
	struct err err; /* of the case under way */
};

/* The scenarios (scen_*.c). */
void scen_lag(struct bench *b);
int scen_watch(struct bench *b); /* -1 with b->err */
void scen_throughput(struct bench *b);
void scen_fanout(struct bench *b);
void scen_diverse(struct bench *b);
void scen_initial(struct bench *b);
void scen_concurrent(struct bench *b);
void scen_create(struct bench *b);
void scen_restart(struct bench *b);
void scen_idle(struct bench *b);
void scen_membership(struct bench *b);
void scen_soak(struct bench *b);

/* A line on the terminal that says what is going on; nothing if stderr isn't one. */
void progress(const char *fmt, ...) PRINTF_LIKE(1, 2);
void progress_end(void);
bool progress_shown(void);

/* Notes b->err for a case and says it; nothing on a stop. */
void case_failed(struct bench *b, const char *scenario, const char *variant, const char *subject);
void case_skipped(struct bench *b, const char *scenario, const char *variant, const char *subject, const char *why);

/* The scenario's list, or its default. */
struct list list_or(const struct list *given, int n, const int64_t *normal, int quick_n, const int64_t *quick, bool is_quick);

/* The order of servers in a round: it changes each round, so that neither always comes first. */
int turn(const struct bench *b, int round, int i);

/* A new table of rows.h under a name never used before; `floor` puts it into the publication of the floors. */
int bench_table(struct bench *b, char name[NAME_BYTES], const char *prefix, bool floor);
void bench_drop(struct bench *b, const char *name);

struct shape {
	char *query; /* owned */
	char handle[HTTP_HANDLE_MAX], offset[HTTP_OFFSET_MAX];
};

/* "table=…[&where=…]", encoded; for a clause with printf's arguments. */
char *shape_query(const char *table, const char *where_fmt, ...) PRINTF_LIKE(2, 3);
void shapes_free(struct shape *s, size_t n);

/* A message of shape number `i`. False with *why (a static text) ends the run as a failure. */
typedef bool shape_msg_fn(void *ctx, size_t i, const struct msg *m, const char **why);
typedef size_t shape_fast_fn(void *ctx, size_t i, const char *data, size_t len); /* see scan_fast_fn */

struct sync_stats {
	double seconds;
	uint64_t bytes, retries;
	struct hist *each; /* if not NULL: the time of each sync */
	bool refetch_ok;   /* a 409 isn't a failure: it is counted, and the shape's handle is emptied */
	uint64_t refetched;
	shape_fast_fn *fast; /* may be NULL */
	struct trail *record; /* the first shape's bodies are kept here; may be NULL */
	const struct trail *trail; /* may be NULL. A sync whose rows are all the trail's is told to `same`, and not to fn */
	void (*same)(void *ctx, size_t i);
};

/*
 * Brings each shape up to date, at most `workers` at a time, each on a connection that is used again: from its handle and
 * offset, which are set to where it ended. fn may be NULL. Also with CLIENT_DELETE.
 */
int shapes_sync(struct bench *b, const struct server *s, struct shape *v, size_t n, int workers, enum client_mode mode,
		shape_msg_fn *fn, void *ctx, struct sync_stats *stats) MUST_USE;
void shapes_delete(struct bench *b, const struct server *s, struct shape *v, size_t n); /* where the server allows it */

/* Clients that follow, all from where their shapes stand. */
struct crowd {
	struct loop loop;
	struct client *client;
	int64_t size, ready, answered;
	bool all_ready;
	struct bench *bench;
	/* The scenario's: called for each message, in a client's number's name; false with bench->err set ends it. */
	bool (*on_msg)(struct crowd *c, struct client *who, const struct msg *m, int64_t now);
	void *ctx;
	bool done, failed;
	bool refetch; /* a 409 isn't the end: the client starts over */
	void (*on_refetch)(struct crowd *c, struct client *who); /* before it does; may be NULL */
	uint64_t refetches;
	/* Which clients a server that stops has let go: answered, or dropped. NULL: not asked for. */
	uint8_t *let_go;
	int64_t gone, dropped, gone_ns; /* how many in all; without an answer; when the last one was */
};

/* shape_of: client i follows shapes[i % shapes_n]. Waits until every client's live request is on its way. */
int crowd_start(struct crowd *c, struct bench *b, const struct url *url, const char *secret, const struct shape *shapes,
		size_t shapes_n, int64_t clients, enum client_mode mode, bool hold) MUST_USE;
void crowd_stop(struct crowd *c);
/* Until c->done; b->err says what went wrong (`what` for a deadline). */
int crowd_run(struct crowd *c, int64_t deadline_ns, const char *what) MUST_USE;
/* Ends the crowd with an error: for on_msg. */
bool crowd_wrong(struct crowd *c, struct client *who, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Ends the first server and starts it again with --start-cmd, `cold` with the files of --store out of the page cache; does
 * nothing where it isn't known how. */
int server_renew(struct bench *b, bool cold) MUST_USE;

/* The server's CPU seconds and memory; zeros without a pid. */
struct usage {
	struct proc_stat at_start;
	int64_t start_ns, peak_anon_kb;
};
void usage_start(struct usage *u, const struct server *s);
void usage_tick(struct usage *u, const struct server *s); /* for the peak of RssAnon */
void usage_metrics(const struct usage *u, const struct server *s, struct sample *sample);

#endif
