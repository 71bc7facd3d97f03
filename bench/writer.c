/* writer.c - see writer.h. */
#include "bench/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bench/rows.h"
#include "bench/util.h"

#define PENDING_MAX 1000000

struct lag *lag_new(void)
{
	struct lag *l = mem_zalloc(sizeof *l);

	atomic_store(&l->acked_id, -1);
	return l;
}

void lag_free(struct lag *l)
{
	if (l == NULL)
		return;
	free(l->pending);
	free(l);
}

static void from_ack(struct lag *l, int64_t id, int64_t at)
{
	int64_t ns = at - atomic_load(&l->acked[id % LAG_RING]);

	if (ns < 0)
		l->early++;
	hist_add(&l->ack, ns);
}

void lag_settle(struct lag *l)
{
	int64_t acked = atomic_load(&l->acked_id);
	size_t kept = 0;

	for (size_t i = 0; i < l->pending_len; i++) {
		if (l->pending[i].id > acked)
			l->pending[kept++] = l->pending[i];
		else
			from_ack(l, l->pending[i].id, l->pending[i].at);
	}
	l->pending_len = kept;
}

void lag_arrived(struct lag *l, int64_t id, int64_t at)
{
	hist_add(&l->sched, at - atomic_load(&l->intended[id % LAG_RING]));
	if (id <= atomic_load(&l->acked_id)) {
		from_ack(l, id, at);
		return;
	}
	if (l->pending_len >= PENDING_MAX)
		return;
	if (l->pending_len == l->pending_cap) {
		l->pending_cap = l->pending_cap ? l->pending_cap * 2 : 256;
		l->pending = mem_realloc(l->pending, l->pending_cap * sizeof *l->pending);
	}
	l->pending[l->pending_len++] = (struct lag_arrival){id, at};
}

static int write_one(struct pace *p, int64_t id)
{
	char text[24];
	const char *values[2] = {text, "0"};
	PGresult *r;
	int ok;

	snprintf(text, sizeof text, "%" PRId64, id);
	r = PQexecPrepared(p->db.conn, "put", 2, values, NULL, NULL, 0);
	ok = PQresultStatus(r) == PGRES_COMMAND_OK;
	if (!ok)
		err_set(&p->err, ERR_PG, "writing row %" PRId64 ": %s", id, PQerrorMessage(p->db.conn));
	PQclear(r);
	return ok ? 0 : -1;
}

static void *pace_main(void *arg)
{
	struct pace *p = arg;

	for (int64_t i = 0; p->count == 0 || i < p->count; i++) {
		int64_t id = p->first_id + i, at = p->start_ns + (int64_t)((double)i * 1e9 / p->rate), now;
		while (!atomic_load(&p->stop) && !stopping() && (now = now_ns()) < at)
			sleep_until_ns(at - now > 50 * NS_PER_MS ? now + 50 * NS_PER_MS : at);
		if (atomic_load(&p->stop) || stopping())
			break;
		if (p->lag != NULL)
			atomic_store(&p->lag->intended[id % LAG_RING], at);
		if (write_one(p, id)) {
			p->failed = !stopping();
			break;
		}
		now = now_ns();
		if (p->lag != NULL) {
			atomic_store(&p->lag->acked[id % LAG_RING], now);
			atomic_store(&p->lag->acked_id, id);
			hist_add(&p->lag->commit, now - at);
		}
		atomic_store(&p->written, id);
	}
	atomic_store(&p->done, true);
	return NULL;
}

int pace_start(struct pace *p, const char *url, const char *table, int payload, struct err *e)
{
	char sql[2048];
	size_t at = 0;
	PGresult *r;

	if (p->keep > 0)
		at = (size_t)snprintf(sql, sizeof sql,
				      "WITH gone AS (DELETE FROM " SCHEMA ".%s WHERE id = $1::bigint - %" PRId64 ") ", table, p->keep);
	if (db_open(&p->db, url, false, e))
		return -1;
	rows_insert_sql(sql + at, sizeof sql - at, table, payload);
	r = PQprepare(p->db.conn, "put", sql, 2, NULL);
	if (PQresultStatus(r) != PGRES_COMMAND_OK) {
		err_set(e, ERR_PG, "Postgres: %s", PQerrorMessage(p->db.conn));
		PQclear(r);
		db_close(&p->db);
		return -1;
	}
	PQclear(r);
	atomic_store(&p->written, p->first_id - 1);
	if (pthread_create(&p->thread, NULL, pace_main, p) != 0) {
		db_close(&p->db);
		return err_set(e, ERR_IO, "a thread couldn't be started");
	}
	p->started = true;
	return 0;
}

int pace_join(struct pace *p, struct err *e)
{
	if (!p->started)
		return 0;
	pthread_join(p->thread, NULL);
	p->started = false;
	db_close(&p->db);
	if (!p->failed)
		return 0;
	if (e != NULL)
		*e = p->err;
	return -1;
}

int crew_open(struct crew *c, int size, const char *url, const char *setup, struct err *e)
{
	memset(c, 0, sizeof *c);
	for (; c->size < size && c->size < CREW_MAX; c->size++) {
		struct db *d = &c->member[c->size].db;
		if (db_open(d, url, false, e) || (setup != NULL && db_exec(d, e, "%s", setup))) {
			db_close(d);
			crew_close(c);
			return -1;
		}
	}
	return 0;
}

struct crew_arg {
	struct crew *crew;
	struct crew_member *member;
};

static void *crew_main(void *p)
{
	struct crew_arg *a = p;

	if (db_exec(&a->member->db, &a->member->err, "%s", a->member->sql))
		a->member->failed = true;
	if (atomic_fetch_sub(&a->crew->running, 1) == 1) {
		atomic_store(&a->crew->done_ns, now_ns());
		if (a->crew->last_sql[0] && !a->member->failed &&
		    db_exec(&a->member->db, &a->member->err, "%s", a->crew->last_sql))
			a->member->failed = true;
		atomic_store(&a->crew->finished, true);
	}
	free(a);
	return NULL;
}

void crew_go(struct crew *c)
{
	atomic_store(&c->running, c->size);
	atomic_store(&c->finished, false);
	for (int i = 0; i < c->size; i++) {
		struct crew_arg *a = mem_alloc(sizeof *a);
		a->crew = c;
		a->member = &c->member[i];
		a->member->failed = false;
		if (pthread_create(&a->member->thread, NULL, crew_main, a) != 0) {
			err_set(&a->member->err, ERR_IO, "a thread couldn't be started");
			a->member->failed = true;
			a->member->thread = 0;
			atomic_fetch_sub(&c->running, 1);
			free(a);
		}
	}
}

int crew_join(struct crew *c, struct err *e)
{
	int result = 0;

	for (int i = 0; i < c->size; i++) {
		if (c->member[i].thread != 0)
			pthread_join(c->member[i].thread, NULL);
		c->member[i].thread = 0;
		if (c->member[i].failed && result == 0) {
			*e = c->member[i].err;
			result = -1;
		}
	}
	return result;
}

void crew_close(struct crew *c)
{
	for (int i = 0; i < c->size; i++) {
		if (c->member[i].thread != 0)
			pthread_join(c->member[i].thread, NULL);
		c->member[i].thread = 0;
		db_close(&c->member[i].db);
	}
	c->size = 0;
}
