/*
 * scen_soak.c - hours of churn: tables, shapes and clients come and go, DDL rotates what there is, and one shape stays.
 * Memory, descriptors and the store's file must come to rest.
 *
 * A lap: a new table with its shapes and a crowd that follows them; rows that are added and deleted; one piece of DDL;
 * every shape compared with what Postgres counts; the table dropped under its clients. Beside it a session commits
 * rows all the time, and a shape of that table is read on from its handle in each lap: a 409 there ends the run.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/writer.h"

#define SOAK_GROUPS 20
#define SOAK_ROWS 1000      /* of a lap's table at its beginning */
#define SOAK_STEP_ROWS 100  /* added, and deleted, between two looks */
#define SOAK_STEPS 8        /* of a lap */
#define SOAK_STEP_MS 500
#define SOAK_CLIENTS 200
#define SOAK_KEEP 5000      /* rows of the table that stays */
#define SOAK_LOOK_S 60      /* a line on the terminal this often */
#define SOAK_SECONDS 7200.0
#define SOAK_QUICK_SECONDS 60.0
#define SOAK_LAPS_MAX 20000

struct reading {
	double anon_mb, files, store_mb, log_mb;
};

struct soak {
	struct bench *bench;
	const struct server *server;
	char stays[NAME_BYTES], table[NAME_BYTES];
	struct shape stay;         /* the shape that stays */
	uint64_t stay_bytes;       /* of its log, read so far: the store keeps all of it */
	struct shape *shape;       /* of the lap */
	int64_t *count;            /* rows of each, as they are told */
	int64_t next_id;
	unsigned laps;
	uint64_t refetches;
	struct reading *reading;   /* one a lap */
	int64_t shown_ns;
};

/* ---- what the process holds ---- */

/* Descriptors, and the bytes on disk of the store's file among them. */
static void read_files(pid_t pid, struct reading *r)
{
	char folder[64], path[320], target[512];
	struct stat st;
	snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
	DIR *d = opendir(folder);
	if (d == NULL)
		return;
	for (const struct dirent *at; (at = readdir(d)) != NULL;) {
		if (at->d_name[0] == '.')
			continue;
		r->files++;
		snprintf(path, sizeof path, "%s/%.200s", folder, at->d_name);
		ssize_t n = readlink(path, target, sizeof target - 1);
		target[n > 0 ? n : 0] = '\0';
		const char *name = strrchr(target, '/');
		if (r->store_mb == 0 && name != NULL && strcmp(name, "/data.mdb") == 0 && stat(path, &st) == 0)
			r->store_mb = (double)st.st_blocks * 512 / 1e6;
	}
	closedir(d);
}

static void take_reading(struct soak *k, int64_t began_ns)
{
	struct proc_stat p = {0};
	struct reading *r = &k->reading[k->laps];
	(void)!proc_read(k->server->pid, &p);
	*r = (struct reading){.anon_mb = (double)p.anon_kb / 1024, .log_mb = (double)k->stay_bytes / 1e6};
	read_files(k->server->pid, r);
	k->laps++;
	if (now_ns() - k->shown_ns < SOAK_LOOK_S * NS_PER_S)
		return;
	k->shown_ns = now_ns();
	progress_end();
	printf("soak: %3.0f min, %u laps, RssAnon %.1f MB, %.0f descriptors, store %.1f MB with a log of %.1f MB, %" PRIu64 " refetches\n",
	       (double)(now_ns() - began_ns) / 60e9, k->laps, r->anon_mb, r->files, r->store_mb, r->log_mb, k->refetches);
	fflush(stdout);
}

/* ---- a lap ---- */

static bool tally(void *ctx, size_t i, const struct msg *m, const char **why)
{
	struct soak *k = ctx;
	struct rows_want want = {.payload = k->bench->opt.payload, .groups = SOAK_GROUPS, .last_id = -1};
	int64_t id, group;
	if (m->kind == MSG_UP_TO_DATE || m->kind == MSG_SNAPSHOT_END)
		return true;
	if (m->kind == MSG_DELETE) {
		k->count[i]--;
		return true;
	}
	if (!row_check(m, &want, &id, &group, why))
		return false;
	k->count[i]++;
	return true;
}

/* From nothing, so that log and snapshot together are what is compared. */
static int compare(struct soak *k)
{
	struct bench *b = k->bench;
	struct sync_stats st = {0};
	memset(k->count, 0, sizeof *k->count * SOAK_GROUPS);
	for (int i = 0; i < SOAK_GROUPS; i++)
		k->shape[i].handle[0] = '\0';
	if (shapes_sync(b, k->server, k->shape, SOAK_GROUPS, 8, CLIENT_SYNC, tally, k, &st))
		return -1;
	for (int i = 0; i < SOAK_GROUPS; i++) {
		int64_t want;
		if (db_number(&b->admin, &want, &b->err, "SELECT count(*) FROM " SCHEMA ".%s WHERE n = %d", k->table, i))
			return -1;
		if (k->count[i] != want)
			return err_set(&b->err, ERR_PROTOCOL, "wrong rows: %s has %" PRId64 " rows, Postgres has %" PRId64,
				       k->shape[i].query, k->count[i], want);
	}
	return 0;
}

/* One kind a lap; some rotate shapes, some must not. */
static int ddl(struct soak *k)
{
	static const char *const kinds[] = {
		"ALTER TABLE " SCHEMA ".%s ALTER payload SET STATISTICS 50",
		"TRUNCATE " SCHEMA ".%s",
		"VACUUM FULL " SCHEMA ".%s",
		"ALTER TABLE " SCHEMA ".%s ALTER n TYPE int4 USING n + 0",
		"CREATE INDEX ON " SCHEMA ".%s (n)",
		"ALTER TABLE " SCHEMA ".%s ADD COLUMN more int DEFAULT 5, DROP COLUMN IF EXISTS less",
	};
	/* The last adds a column that row_check() doesn't know: it goes again at once. */
	unsigned kind = k->laps % (sizeof kinds / sizeof *kinds);
	struct bench *b = k->bench;
	char sql[300];
	int n = snprintf(sql, sizeof sql, kinds[kind], k->table);
	if (n < 0 || db_exec(&b->admin, &b->err, "%s", sql))
		return -1;
	if (kind == sizeof kinds / sizeof *kinds - 1)
		return db_exec(&b->admin, &b->err, "ALTER TABLE " SCHEMA ".%s DROP COLUMN more", k->table);
	return 0;
}

static int step(struct soak *k, struct crowd *c, int i)
{
	struct bench *b = k->bench;
	if (rows_insert(&b->admin, k->table, k->next_id, k->next_id + SOAK_STEP_ROWS, SOAK_GROUPS, b->opt.payload, &b->err))
		return -1;
	k->next_id += SOAK_STEP_ROWS;
	if (db_exec(&b->admin, &b->err, "DELETE FROM " SCHEMA ".%s WHERE id IN (SELECT id FROM " SCHEMA ".%s ORDER BY id LIMIT %d)",
		    k->table, k->table, SOAK_STEP_ROWS))
		return -1;
	if (i == SOAK_STEPS / 2 && ddl(k))
		return -1;
	if (loop_run(&c->loop, &c->done, now_ns() + SOAK_STEP_MS * NS_PER_MS) == -2)
		return err_set(&b->err, ERR_CANCELLED, "stopped");
	return c->failed ? -1 : 0;
}

/* Read on from where it stands. Its log grows for as long as the run takes, and is told beside the store's size. */
static int read_on(struct soak *k)
{
	struct sync_stats st = {0};
	if (shapes_sync(k->bench, k->server, &k->stay, 1, 1, CLIENT_SYNC, NULL, NULL, &st))
		return -1;
	k->stay_bytes += st.bytes;
	return 0;
}

static int lap(struct soak *k)
{
	struct bench *b = k->bench;
	struct crowd crowd;
	int result = -1;
	progress("soak: lap %u", k->laps + 1);
	k->next_id = SOAK_ROWS + 1;
	if (bench_table(b, k->table, "soak", false) ||
	    rows_insert(&b->admin, k->table, 1, k->next_id, SOAK_GROUPS, b->opt.payload, &b->err))
		return -1;
	k->shape = mem_zalloc(sizeof *k->shape * SOAK_GROUPS);
	for (int i = 0; i < SOAK_GROUPS; i++)
		k->shape[i].query = shape_query(k->table, "n = %d", i);
	if (compare(k) || crowd_start(&crowd, b, &k->server->url, k->server->secret, k->shape, SOAK_GROUPS, SOAK_CLIENTS,
				      k->laps % 2 ? CLIENT_SSE : CLIENT_POLL, false))
		goto cleanup;
	crowd.refetch = true;
	result = 0;
	for (int i = 0; result == 0 && i < SOAK_STEPS; i++)
		result = step(k, &crowd, i);
	k->refetches += crowd.refetches;
	crowd_stop(&crowd);
	if (result == 0)
		result = compare(k) || read_on(k) ? -1 : 0;
cleanup:
	shapes_free(k->shape, SOAK_GROUPS);
	bench_drop(b, k->table);
	return result;
}

/* ---- the figures ---- */

/* The mean of a part of the laps: by quarters, the first left out, in which caches and pools fill. */
static struct reading mean(const struct soak *k, unsigned from, unsigned to)
{
	struct reading r = {0};
	for (unsigned i = from; i < to; i++) {
		r.anon_mb += k->reading[i].anon_mb / (to - from);
		r.files += k->reading[i].files / (to - from);
		r.store_mb += k->reading[i].store_mb / (to - from);
		r.log_mb += k->reading[i].log_mb / (to - from);
	}
	return r;
}

static void report(struct soak *k, double minutes)
{
	struct bench *b = k->bench;
	unsigned quarter = k->laps / 4;
	if (quarter == 0) {
		case_skipped(b, "soak", "", k->server->name, "too short: it takes four laps at least");
		return;
	}
	struct reading early = mean(k, quarter, 2 * quarter), late = mean(k, k->laps - quarter, k->laps);
	struct sample *s = sample_new(&b->results, "soak", "soak", "minutes", minutes, k->server->name, 0);
	sample_variant(s, "%.0f min, %u tables, %u shapes, %d clients at a time", minutes, k->laps, k->laps * SOAK_GROUPS, SOAK_CLIENTS);
	sample_metric(s, "RssAnon, last quarter", "MB", late.anon_mb, -1);
	sample_metric(s, "second quarter", "MB", early.anon_mb, 0);
	sample_metric(s, "descriptors, last", "", late.files, -1);
	sample_metric(s, "descriptors, second", "", early.files, 0);
	sample_metric(s, "store, last quarter", "MB", late.store_mb, -1);
	sample_metric(s, "store, second quarter", "MB", early.store_mb, 0);
	sample_metric(s, "log in it, last", "MB", late.log_mb, 0);
	sample_metric(s, "log in it, second", "MB", early.log_mb, 0);
	sample_metric(s, "refetches", "", (double)k->refetches, 0);
	sample_done(&b->results, s);
}

void scen_soak(struct bench *b)
{
	struct soak k = {.bench = b, .server = &b->server[0]};
	struct pace pace = {.first_id = 1, .rate = b->opt.rate, .keep = SOAK_KEEP};
	double seconds = b->opt.soak_s > 0 ? b->opt.soak_s : b->opt.quick ? SOAK_QUICK_SECONDS : SOAK_SECONDS;
	int64_t began = now_ns();
	bool paced = false;
	struct err e;

	if (k.server->pid == 0) {
		case_skipped(b, "soak", "", k.server->name, "needs --pid");
		return;
	}
	k.reading = mem_zalloc(sizeof *k.reading * SOAK_LAPS_MAX);
	k.count = mem_zalloc(sizeof *k.count * SOAK_GROUPS);
	pace.start_ns = began;
	if (bench_table(b, k.stays, "stays", false))
		goto failed;
	k.stay.query = shape_query(k.stays, NULL);
	if (pace_start(&pace, b->opt.db, k.stays, b->opt.payload, &b->err))
		goto failed;
	paced = true;
	if (read_on(&k))
		goto failed;
	while (!stopping() && k.laps < SOAK_LAPS_MAX && (double)(now_ns() - began) / 1e9 < seconds) {
		if (lap(&k))
			goto failed;
		take_reading(&k, began);
	}
	report(&k, (double)(now_ns() - began) / 60e9);
	goto cleanup;
failed:
	case_failed(b, "soak", "", k.server->name);
cleanup:
	if (paced) {
		atomic_store(&pace.stop, true);
		if (pace_join(&pace, &e) != 0 && !stopping())
			results_fail(&b->results, "soak", "", k.server->name, false, e.text);
	}
	bench_drop(b, k.stays);
	free(k.stay.query);
	free(k.reading);
	free(k.count);
}
