/*
 * prep_test.h - the jobs of src/shapes/prep without Postgres: registry, queues and doors are the real ones; src/pg, INGEST and the
 * clock are played here.
 *
 * Each call into src/pg, and each command that INGEST is to run, is a step with a name. `script` says at which step what happens:
 * the connection is lost, Postgres refuses, the engine stops, the shapes are dropped; at all others everything goes well. So
 * a test can go through all steps of a job. A statement on a connection that was lost fails until another one is opened.
 */
#ifndef BUSBAR_TESTS_PREP_TEST_H
#define BUSBAR_TESTS_PREP_TEST_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "check.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "pg/encoding.h"
#include "pg/horizon.h"
#include "pg/publication.h"
#include "pg/query.h"
#include "pg/slot.h"
#include "pg/snapshot.h"
#include "shape_test.h"
#include "shapes/core/cache.h"
#include "shapes/core/cmds.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/core/sets.h"
#include "shapes/logs/record.h"
#include "shapes/logs/writer.h"
#include "shapes/prep/prep.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/row.h"
#include "where/where.h"

enum act { ACT_NONE, ACT_LOSE, ACT_REFUSE, ACT_STOP, ACT_DROP };

/* What is played: connections, the catalog, INGEST. One for a test; the lock is for tests with threads. */
static struct script {
	pthread_mutex_t lock;
	struct shapes *engine;
	int steps, at;         /* so many were made; at this one (counted from 0)… */
	const char *at_name;   /* …or at the next one of this name, if it isn't NULL… */
	enum act act;          /* …this happens */
	bool happened;
	struct err refusal;    /* ACT_REFUSE */
	char log[4096];        /* names of the steps */
	int connections;       /* that are open */
	/* the catalog */
	struct pg_table *table; /* of every name, NULL: there is none */
	struct pg_table *inner[3]; /* those that conditions name */
	size_t ninner;
	const char *said;       /* of every type */
	uint32_t ancestor;      /* of every relation, 0: none */
	bool nulls;             /* a column has become NOT NULL, or no longer is */
	int unseen;             /* so often transactions are still running */
	uint32_t rel_oid;       /* of every entry in the publication… */
	uint32_t back, out;     /* …but of the table that came back, and of the one that is out of it */
	int born[4];            /* what ground_born() returns, one after the other */
	uint32_t ground_gone;   /* ground_look() finds no such table */
	int begin_rc;           /* of pg_snapshot_begin() */
	int filter[4], then;    /* what INGEST says of snapshots, one after the other; and of all after them */
	int locked[4];          /* what pg_snapshot_lock_columns() returns, in the same way */
	int nborn, nfilter, nlocked;
	int rows;               /* of a copy */
	const char *value;      /* of each column, NULL: "1" */
	int turn;               /* from this row on they are the child's, if the table has one */
	bool looks_away;        /* between rows nobody asks whether the copy is still wanted */
	int failing_shape;      /* the copy with this number (from 1) ends in an error of data */
	int copies;
	const char *unheld;     /* the condition that the encoding lacks */
	/* What a subquery selects, at its call with this number: rows as "1,2;3,\\N"; NULL: always "1;2", or one number. */
	const char *(*select)(const char *sql, int call);
	int selects;
	struct pg_slot_look slot;  /* what the guard sees, if `slot_there`; else it can't look… */
	bool slot_there, slot_dropped; /* …and what it did to it */
	struct pg_oldest oldest;
	int gave_up;            /* so often INGEST was asked to; the last time: */
	lsn_t gave_up_at;
	int looks; /* at the slot */
	int64_t gave_up_bytes;
	int registered;         /* shapes, in INGEST, whose snapshot it hasn't agreed to… */
	int registered_then;    /* …and when the snapshot was taken */
	int64_t now_ms;
} script;

struct fake_conn {
	bool broken, in_transaction, snapshot;
};

static void lose(PGconn *conn, struct err *e)
{
	if (conn != NULL)
		((struct fake_conn *)conn)->broken = true;
	err_set(e, ERR_PG_CONN, "the connection was lost");
}

static void drop_all(struct shapes *s)
{
	shapes_rotate_all(s, REASON_DELETED, "a test drops it");
}

/* -1: the call is to fail with `e`. `conn` NULL: of INGEST, or of connecting. */
static int step(const char *name, PGconn *conn, struct err *e)
{
	struct err ignored;
	pthread_mutex_lock(&script.lock);
	size_t len = strlen(script.log);
	snprintf(script.log + len, sizeof script.log - len, "%s%s", len > 0 ? " " : "", name);
	bool here = !script.happened && (script.at_name != NULL ? strcmp(script.at_name, name) == 0 : script.steps == script.at);
	script.steps++;
	script.happened = script.happened || (here && script.act != ACT_NONE);
	enum act act = here ? script.act : ACT_NONE;
	pthread_mutex_unlock(&script.lock);
	if (e == NULL)
		e = &ignored;
	if (conn != NULL && ((struct fake_conn *)conn)->broken) {
		err_set(e, ERR_PG_CONN, "the connection was lost before");
		return -1;
	}
	switch (act) {
	case ACT_LOSE:
		lose(conn, e);
		return -1;
	case ACT_REFUSE:
		*e = script.refusal;
		return -1;
	case ACT_STOP:
		atomic_store(&script.engine->stopping, true);
		return 0;
	case ACT_DROP:
		drop_all(script.engine);
		return 0;
	case ACT_NONE:
		break;
	}
	return 0;
}

/* Steps that are about one of several tables have its name, if it isn't the shape's own: "join.members". Until the thread's next
 * call. */
static const char *about(const char *name, uint32_t oid)
{
	static _Thread_local char text[100];
	for (size_t i = 0; i < script.ninner; i++)
		if (script.inner[i] != NULL && script.inner[i]->oid == oid) {
			snprintf(text, sizeof text, "%s.%s", name, script.inner[i]->name);
			return text;
		}
	return name;
}

static uint32_t rel_of(uint32_t oid) { return oid == script.out ? 0 : oid == script.back ? script.rel_oid + 1 : script.rel_oid; }

/* ---- src/pg ---- */

static PGconn *fake_connect(const struct config *c, enum pg_role role, struct err *e)
{
	(void)c;
	if (step("connect", NULL, e) != 0)
		return NULL;
	struct fake_conn *f = mem_zalloc(sizeof *f);
	f->snapshot = role == PG_ROLE_SNAPSHOT;
	pthread_mutex_lock(&script.lock);
	script.connections++;
	pthread_mutex_unlock(&script.lock);
	return (PGconn *)f;
}

static void fake_disconnect(PGconn **conn)
{
	if (*conn != NULL) {
		free(*conn);
		pthread_mutex_lock(&script.lock);
		script.connections--;
		pthread_mutex_unlock(&script.lock);
	}
	*conn = NULL;
}

/* What breaks shows when it is used, and from then on, as with libpq. */
static bool fake_is_connected(const PGconn *conn) { return !((const struct fake_conn *)conn)->broken; }

static int fake_set_reader(PGconn *conn, const char *role, struct err *e)
{
	(void)role;
	return step("reader", conn, e);
}

static int find(PGconn *conn, const char *name, uint32_t oid, struct pg_table **out, struct err *e)
{
	*out = NULL;
	if (step(name, conn, e) != 0)
		return -1;
	struct pg_table *t = script.table;
	for (size_t i = 0; i < script.ninner && oid != 0; i++)
		if (script.inner[i] != NULL && script.inner[i]->oid == oid)
			t = script.inner[i];
	if (t == NULL || (oid != 0 && oid != t->oid))
		return 1;
	*out = pg_table_ref(t);
	return 0;
}

static int fake_lookup(PGconn *conn, const char *schema, const char *name, struct pg_table **out, struct err *e)
{
	(void)schema, (void)name;
	return find(conn, "lookup", 0, out, e);
}

static int fake_lookup_oid(PGconn *conn, uint32_t oid, struct pg_table **out, struct err *e)
{
	return find(conn, about("lookup_oid", oid), oid, out, e);
}

static int fake_ancestors(PGconn *conn, uint32_t oid, uint32_t *out, int max, struct err *e)
{
	(void)oid, (void)max;
	if (step("ancestors", conn, e) != 0)
		return -1;
	out[0] = script.ancestor;
	return script.ancestor != 0 ? 1 : 0;
}

static int fake_unseen(PGconn *conn, uint32_t xid, uint32_t **out, struct err *e)
{
	(void)xid;
	*out = NULL;
	if (step("unseen", conn, e) != 0)
		return -1;
	*out = mem_alloc(sizeof **out);
	**out = script.table != NULL ? script.table->oid : 0;
	return script.unseen-- > 0 ? 1 : 0;
}

static int fake_glance(PGconn *conn, const struct pg_table *t, bool *children, bool *nulls, struct err *e)
{
	*children = false;
	*nulls = script.nulls;
	return step(about("children", t->oid), conn, e);
}

static bool fake_attached(PGconn *conn, uint32_t oid)
{
	(void)oid;
	return step("attached", conn, NULL) != 0;
}

static int fake_types_said(PGconn *conn, const char *oids, struct pg_texts *out, struct err *e)
{
	(void)oids, (void)out;
	return step("types", conn, e);
}

static const char *fake_texts_of(const struct pg_texts *t, uint32_t oid)
{
	(void)t, (void)oid;
	return script.said;
}

static void fake_texts_clear(struct pg_texts *t) { (void)t; }

static int fake_wal_end(PGconn *conn, lsn_t *lsn, struct err *e)
{
	*lsn = 77;
	return step("wal_end", conn, e);
}

static int fake_oldest(PGconn *conn, uint64_t *xmin, struct err *e)
{
	*xmin = 5;
	return step("oldest", conn, e);
}

/* The guard's are no steps: it looks when it is time, beside what is tested. */
static int fake_slot_look(PGconn *conn, const char *slot, struct pg_slot_look *out, struct err *e)
{
	(void)conn, (void)slot;
	script.looks++;
	*out = script.slot;
	return script.slot_there ? 0 : err_set(e, ERR_PG_CONN, "no look");
}

static int fake_slot_oldest(PGconn *conn, struct pg_oldest *out, struct err *e)
{
	(void)conn, (void)e;
	*out = script.oldest;
	return 0;
}

static int fake_slot_drop(PGconn *conn, const char *slot, lsn_t upto, bool *dropped, struct err *e)
{
	(void)conn, (void)slot, (void)e;
	*dropped = script.slot_dropped = !script.slot.active && script.slot.confirmed <= upto;
	return 0;
}

static void fake_give_up(struct shapes *s, lsn_t confirmed, int64_t bytes)
{
	(void)s;
	script.gave_up++;
	script.gave_up_at = confirmed;
	script.gave_up_bytes = bytes;
}

static int fake_horizon(PGconn *conn, lsn_t *lsn, uint64_t *xmin, struct err *e)
{
	*lsn = 77;
	*xmin = 5;
	return step("horizon", conn, e);
}

static int fake_check_encoding(PGconn *conn, const char *text, struct err *e)
{
	if (step("encoding", conn, e) != 0)
		return -1;
	return script.unheld != NULL && strcmp(text, script.unheld) == 0 ? err_set(e, ERR_REQUEST, "no such character") : 0;
}

static bool fake_generates(PGconn *conn, const char *publication)
{
	(void)publication;
	return step("generates", conn, NULL) == 0;
}

static int fake_join(PGconn *conn, const struct config *c, int version, const struct pg_table *t, const struct pg_join *known,
                     bool (*cancelled)(void *), void *ctx, struct pg_join *out, struct err *e)
{
	(void)c, (void)version, (void)known;
	if (step(about("join", t->oid), conn, e) != 0)
		return -1;
	if (cancelled(ctx))
		return err_set(e, ERR_CANCELLED, "joining was cancelled");
	*out = (struct pg_join){.publication_rel_oid = rel_of(t->oid), .publication_xmin = 3, .added_by_us = true};
	return 0;
}

static int fake_look(PGconn *conn, const struct config *c, int version, const struct pg_table *t, struct err *e)
{
	(void)c, (void)version;
	return step(about("look", t->oid), conn, e);
}

static int fake_keep(PGconn *conn, const struct config *c, int version, const struct pg_table *t, const struct pg_join *known,
                     bool (*cancelled)(void *), void *ctx, struct pg_join *out, struct err *e)
{
	(void)c, (void)version, (void)cancelled, (void)ctx;
	*out = *known;
	return step(about("keep", t->oid), conn, e);
}

static int fake_leave(PGconn *conn, const struct config *c, const struct pg_table *t, struct err *e)
{
	(void)c;
	return step(about("leave", t->oid), conn, e);
}

static int fake_check(PGconn *conn, const struct config *c, uint32_t oid, uint32_t *rel, struct err *e)
{
	(void)c;
	*rel = rel_of(oid);
	return step(about("check", oid), conn, e);
}

/* By oid, and none twice. */
static void check_order(const struct pg_snapshot_tables *tables)
{
	CHECK(tables->n > 0);
	for (size_t i = 1; i < tables->n; i++)
		CHECK(tables->list[i - 1]->oid < tables->list[i]->oid);
}

/* A step for all of them; what goes wrong is about the last one. */
static int step_of_all(const char *name, PGconn *conn, struct pg_snapshot_tables *tables, struct err *e)
{
	check_order(tables);
	bool fails = step(name, conn, e) != 0;
	tables->failed = fails ? tables->list[tables->n - 1] : NULL;
	return fails ? -1 : 0;
}

static int fake_begin(PGconn *conn, struct pg_snapshot_tables *tables, struct err *e)
{
	struct fake_conn *f = (struct fake_conn *)conn;
	CHECK(f->snapshot && !f->in_transaction);
	f->in_transaction = true;
	return step_of_all("begin", conn, tables, e) != 0 ? -1 : script.begin_rc;
}

static int fake_lock_columns(PGconn *conn, struct pg_snapshot_tables *tables, struct err *e)
{
	if (step_of_all("lock_columns", conn, tables, e) != 0)
		return -1;
	return script.nlocked < (int)ARRAY_LEN(script.locked) ? script.locked[script.nlocked++] : 0;
}

static int fake_take(PGconn *conn, struct pg_snapshot_tables *tables, const char *system_id, uint32_t timeline, struct pg_snapshot *out,
                     struct err *e)
{
	(void)system_id, (void)timeline;
	CHECK(((struct fake_conn *)conn)->in_transaction);
	script.registered_then = script.registered;
	if (step_of_all("take", conn, tables, e) != 0)
		return -1;
	*out = (struct pg_snapshot){.xmin = 5, .xmax = 9, .nxip = 1, .insert_lsn = 70};
	out->xip = mem_alloc(sizeof *out->xip);
	out->xip[0] = 7;
	return 0;
}

static int fake_copy(PGconn *conn, const struct pg_table *t, const uint16_t *selected, uint16_t nselected, const char *where,
                     int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                     bool (*cancelled)(void *), void *cancel_ctx, struct err *e)
{
	(void)selected, (void)where;
	CHECK(((struct fake_conn *)conn)->in_transaction);
	if (step("copy", conn, e) != 0)
		return -1;
	struct pg_copy_value values[8];
	char oid[16];
	for (uint16_t i = 0; i < nselected; i++)
		values[i] = script.value == NULL ? (struct pg_copy_value){"1", 1, true}
		                                 : (struct pg_copy_value){script.value, (uint32_t)strlen(script.value), true};
	bool fails = ++script.copies == script.failing_shape;
	for (int i = 0; i < script.rows; i++) {
		if (step("row", conn, e) != 0)
			return -1;
		if (!script.looks_away && cancelled(cancel_ctx))
			return err_set(e, ERR_CANCELLED, "the snapshot was cancelled");
		int len = snprintf(oid, sizeof oid, "%u", t->nmembers > 0 && i >= script.turn ? t->members[0].oid : t->oid);
		values[nselected] = (struct pg_copy_value){oid, (uint32_t)len, true};
		if (row(ctx, values, e) != 0)
			return -1;
	}
	if (fails) {
		err_set(e, ERR_PG, "division by zero");
		snprintf(e->sqlstate, sizeof e->sqlstate, "22012");
		return -1;
	}
	return 0;
}

/* A row of `n` values; returns what follows it. */
static const char *split_row(const char *text, struct pg_copy_value *values, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		size_t len = strcspn(text, ",;");
		values[i] = (struct pg_copy_value){text, (uint32_t)len, false};
		text += len;
		CHECK(*text == (i + 1 < n ? ',' : *text == '\0' ? '\0' : ';'));
		text += *text != '\0';
	}
	return text;
}

static int fake_select(PGconn *conn, const char *sql, uint16_t ncolumns,
                       int (*row)(void *ctx, const struct pg_copy_value *values, struct err *e), void *ctx,
                       bool (*cancelled)(void *), void *cancel_ctx, struct err *e)
{
	struct pg_copy_value values[8];
	CHECK(((struct fake_conn *)conn)->in_transaction && ncolumns > 0 && ncolumns <= ARRAY_LEN(values));
	if (step("select", conn, e) != 0)
		return -1;
	if (cancelled(cancel_ctx))
		return err_set(e, ERR_CANCELLED, "the snapshot was cancelled");
	int call = script.selects++;
	const char *rows = script.select != NULL ? script.select(sql, call) : strstr(sql, "count(*)") != NULL ? "2" : "1;2";
	if (rows == NULL) {
		err_set(e, ERR_PG, "division by zero");
		snprintf(e->sqlstate, sizeof e->sqlstate, "22012");
		return -1;
	}
	while (*rows != '\0') {
		rows = split_row(rows, values, ncolumns);
		if (row(ctx, values, e) != 0)
			return -1;
	}
	return 0;
}

static int fake_save(PGconn *conn, struct err *e) { return step("save", conn, e); }
static int fake_back(PGconn *conn) { return step("back", conn, NULL); }

static int fake_end(PGconn *conn, struct err *e)
{
	((struct fake_conn *)conn)->in_transaction = false;
	return step("end", conn, e);
}

static int fake_outrun(PGconn *conn, struct err *e)
{
	(void)conn;
	return err_set(e, ERR_TIMEOUT, "snapshots don't show what the stream has passed");
}

/* ---- the rest of the engine ---- */

static uint64_t fake_ground_version(struct shapes *s, uint32_t oid)
{
	(void)s, (void)oid;
	return 1;
}

static int fake_ground_born(struct shapes *s, PGconn *conn, struct pg_snapshot_tables *tables, const struct ground_since *since,
                            struct shape *const *shapes, int n, struct err *e)
{
	(void)s, (void)shapes, (void)n;
	for (size_t i = 0; i < tables->n; i++)
		CHECK(since[i].version == 1 && since[i].publication_xmin == 3 && since[i].publication_rel_oid == rel_of(tables->list[i]->oid));
	if (step_of_all("ground", conn, tables, e) != 0)
		return -1;
	int rc = script.nborn < (int)ARRAY_LEN(script.born) ? script.born[script.nborn++] : 0;
	tables->failed = rc != 0 ? tables->list[tables->n - 1] : NULL;
	return rc;
}

static int fake_ground_look(struct shapes *s, PGconn *conn, uint32_t **gone, size_t *ngone, struct err *e)
{
	(void)s;
	*gone = mem_alloc(sizeof **gone);
	*ngone = 0;
	if (step("ground_look", conn, e) != 0)
		return -1;
	if (script.ground_gone != 0)
		(*gone)[(*ngone)++] = script.ground_gone;
	return 0;
}

static int fake_subsets_start(struct shapes *s, int threads, struct err *e)
{
	(void)s, (void)threads, (void)e;
	return 0;
}

static void fake_subsets_stop(struct shapes *s) { (void)s; }

static void set_state(struct shape *shape, enum shape_state state)
{
	pthread_mutex_lock(shape_lock(shape));
	if (shape->tail.state != SHAPE_GONE && shape->tail.state != SHAPE_FAILED)
		shape->tail.state = state;
	pthread_mutex_unlock(shape_lock(shape));
}

/* What the snapshot shows of its subqueries is the shape's, as inner_take() has it. */
static void take_sets(const struct cmd *c, int i)
{
	struct shape *shape = c->shapes[i];
	if (!CHECK(c->sets[i] != NULL && sets_same(shape->sets, c->sets[i])))
		return;
	sets_unbind(c->sets[i]);
	if (c->sets[i] != shape->sets)
		sets_free(shape->sets);
	shape->sets = c->sets[i];
	c->sets[i] = NULL;
}

/* INGEST. Of a shape that it agrees to, the record becomes durable at once. */
static int fake_call(struct shapes *s, struct cmd *c)
{
	struct err e;
	static const char *const names[] = {
		[CMD_REGISTER] = "REGISTER", [CMD_FILTER] = "FILTER", [CMD_UNREGISTER] = "UNREGISTER", [CMD_COUNTS] = "COUNTS", [CMD_NOP] = "NOP",
	};
	int lost = step(names[c->kind], NULL, &e);
	if (c->kind == CMD_UNREGISTER)
		script.registered = 0;
	if (lost != 0)
		return -1;
	for (int i = 0; c->kind == CMD_REGISTER && i < c->nshapes; i++) {
		const struct shape *shape = c->shapes[i];
		CHECK(shape->def.has_subqueries ? shape->sets != NULL && shape->sets->bound != NULL : shape->sets == NULL);
		script.registered++;
	}
	if (c->kind != CMD_FILTER)
		return 0;
	/* Before there was a snapshot, or with what it shows. */
	bool own = c->sets != NULL && c->sets[0] == c->shapes[0]->sets;
	CHECK(script.registered >= c->nshapes && (own || script.registered_then >= c->nshapes));
	CHECK(atomic_load(&s->snapshots_ahead) > 0);
	int rc = script.nfilter < (int)ARRAY_LEN(script.filter) ? script.filter[script.nfilter++] : script.then;
	for (int i = 0; rc == 0 && i < c->nshapes; i++) {
		CHECK_INT(c->shapes[i]->def.has_subqueries, c->sets != NULL);
		if (atomic_load(&c->shapes[i]->dropped))
			continue;
		if (c->sets != NULL)
			take_sets(c, i);
		set_state(c->shapes[i], SHAPE_SNAPSHOTTING);
	}
	if (rc == 0)
		script.registered = 0;
	return rc;
}

static void fake_settle(struct shapes *s) { (void)s; }

static int64_t real_mono_ms(void) { return clock_mono_ms(); }

static int64_t fake_mono_ms(void)
{
	pthread_mutex_lock(&script.lock);
	int64_t now = script.now_ms;
	pthread_mutex_unlock(&script.lock);
	return now;
}

static int fake_nanosleep(const struct timespec *ts, struct timespec *left)
{
	(void)left;
	pthread_mutex_lock(&script.lock);
	script.now_ms += ts->tv_sec * 1000 + ts->tv_nsec / 1000000;
	pthread_mutex_unlock(&script.lock);
	return 0;
}

#define pg_connect fake_connect
#define pg_disconnect fake_disconnect
#define pg_is_connected fake_is_connected
#define pg_catalog_set_reader fake_set_reader
#define pg_catalog_lookup fake_lookup
#define pg_catalog_lookup_oid fake_lookup_oid
#define pg_catalog_ancestors fake_ancestors
#define pg_catalog_unseen_parents fake_unseen
#define pg_catalog_glance fake_glance
#define pg_catalog_attached_with_rows fake_attached
#define pg_catalog_types_said fake_types_said
#define pg_texts_of fake_texts_of
#define pg_texts_clear fake_texts_clear
#define pg_wal_end fake_wal_end
#define pg_oldest_running fake_oldest
#define pg_horizon fake_horizon
#define pg_slot_look(conn, slot, out, e) fake_slot_look(conn, slot, out, e)
#define pg_slot_oldest fake_slot_oldest
#define pg_slot_drop_unused fake_slot_drop
#define guard_give_up fake_give_up
#define pg_check_encoding fake_check_encoding
#define pg_publication_generates fake_generates
#define pg_publication_join fake_join
#define pg_publication_look fake_look
#define pg_publication_keep fake_keep
#define pg_publication_leave fake_leave
#define pg_publication_check fake_check
#define pg_snapshot_begin fake_begin
#define pg_snapshot_lock_columns fake_lock_columns
#define pg_snapshot_take fake_take
#define pg_snapshot_copy fake_copy
#define pg_snapshot_select fake_select
#define pg_snapshot_save fake_save
#define pg_snapshot_back fake_back
#define pg_snapshot_end fake_end
#define pg_snapshot_outrun fake_outrun
#define ground_version(s, oid) fake_ground_version(s, oid)
#define ground_born fake_ground_born
#define ground_look fake_ground_look
#define subsets_start fake_subsets_start
#define subsets_stop fake_subsets_stop
#define cmd_call fake_call
#define cmd_settle fake_settle
#define clock_mono_ms fake_mono_ms
#define nanosleep fake_nanosleep

#include "shapes/prep/session.c"
#include "shapes/prep/queue.c"
#include "shapes/prep/lookup.c"
#include "shapes/prep/leaves.c"
#include "shapes/prep/claims.c"
#include "shapes/prep/copy.c"
#include "shapes/prep/selects.c"
#include "shapes/prep/create.c"
#include "shapes/prep/misfit.c"
#include "shapes/prep/inspect.c"
#include "shapes/prep/reconcile.c"
#include "shapes/prep/watch.c"
#include "shapes/prep/evict.c"
#include "shapes/prep/guard.c"
#include "shapes/prep/pool.c"

/* ---- a world ---- */

struct prep {
	struct config config;
	struct shapes *engine;
	struct pg_thread admin, create;
	struct shape *other; /* one that was made before */
	/* what came out of it, by drain() */
	int pieces, completed, drops, tables; /* items; CMD_DROP */
	int looked, resolved, grounded;       /* commands, and the last one's … */
	int result;                           /* … result */
	struct cmd last;
};

#define TABLE_OID 7

static void prep_open(struct prep *p)
{
	memset(p, 0, sizeof *p);
	script = (struct script){.at = -1, .rel_oid = 100, .rows = 3, .now_ms = real_mono_ms() - 10000}; /* the cache has the real clock */
	pthread_mutex_init(&script.lock, NULL);
	p->config.database.user = p->config.pooled_database.user = (char *)"electric";
	p->config.publication_name = (char *)"pub";
	p->config.chunk_bytes_threshold = 20000;
	p->config.db_pool_size = 5;
	p->config.subset_memory = 64 << 20;
	p->config.schema_reconciler_ms = p->config.publication_refresh_ms = 60000;
	struct shapes *s = p->engine = script.engine = mem_zalloc(sizeof *s);
	s->config = &p->config;
	s->next_id = 1;
	engine_init_locks(s);
	status_phase(s, STREAM_RUNNING, NULL);
	script.table = table_make(TABLE_OID, "public", "items", "id:23:pk0 name:25");
	p->admin = (struct pg_thread){.s = s, .self = pthread_self()};
	p->create = (struct pg_thread){.s = s, .self = pthread_self(), .creates = true, .index = 2};
}

/* The WRITER and INGEST at rest: what was put is counted, and freed. */
static void drain(struct prep *p)
{
	struct shapes *s = p->engine;
	struct writer *w = &s->writer;
	for (struct item *it; (it = w->head) != NULL;) {
		w->head = it->next;
		p->pieces += it->kind == ITEM_PIECE;
		p->completed += it->kind == ITEM_COMPLETE;
		p->tables += it->kind == ITEM_TABLE;
		if (it->kind == ITEM_COMPLETE)
			set_state(item_as_shape(it)->shape, SHAPE_LIVE);
		item_free(it);
	}
	w->tail = &w->head;
	w->queued_bytes = w->snapshot_bytes = 0;
	for (struct cmd *c; (c = cmd_take(s)) != NULL; cmd_done(s, c)) {
		p->drops += c->kind == CMD_DROP;
		p->looked += c->kind == CMD_LOOKED;
		p->resolved += c->kind == CMD_RESOLVED;
		p->grounded += c->kind == CMD_GROUND;
		if (c->kind == CMD_LOOKED || c->kind == CMD_RESOLVED || c->kind == CMD_GROUND)
			p->last = *c;
		if (c->kind == CMD_DROP) {
			script.registered -= script.registered > 0; /* INGEST lets go of it */
			set_state(c->shapes[0], SHAPE_GONE);
			shape_unref(c->shapes[0]); /* the registry's, which goes with the item that INGEST makes of this */
		}
	}
}

/* The next job of either kind of threads. */
static inline bool run_next(struct prep *p, struct pg_thread *w)
{
	pthread_mutex_lock(&p->engine->job_lock);
	struct job *j = queue_take(w);
	pthread_mutex_unlock(&p->engine->job_lock);
	if (j != NULL)
		run_job(w, j);
	return j != NULL;
}

static void prep_close(struct prep *p)
{
	struct shapes *s = p->engine;
	session_close(&p->admin);
	session_close(&p->create);
	CHECK_INT(script.connections, 0);
	queue_clear(s);
	drain(p);
	shape_unref(p->other);
	registry_free(s);
	pg_table_unref(script.table);
	for (size_t i = 0; i < script.ninner; i++)
		pg_table_unref(script.inner[i]);
	engine_free_locks(s);
	free(s);
}

/* A definition of the table that is in the catalog; `n` tells them apart, `where` may be NULL. */
static struct shape *prep_shape(struct prep *p, int n, const char *where)
{
	struct shape_def d = def_make(pg_table_ref(script.table), NULL, 0);
	free(d.identity);
	char identity[32];
	d.identity_len = (size_t)snprintf(identity, sizeof identity, "shape %d", n);
	d.identity = mem_strdup(identity);
	if (where != NULL)
		def_set_where(&d, where, NULL, 0);
	struct err e;
	struct shape *shape = shapes_get(p->engine, &d, &e);
	CHECK(shape != NULL);
	shape_def_clear(&d);
	return shape;
}

/* What the registry has of a table; the test is alone. */
static inline struct table_state *known_table(struct shapes *s, uint32_t oid)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	struct table_state *t = registry_table(s, oid);
	pthread_rwlock_unlock(&s->registry_lock);
	return t;
}

/* A table of the catalog that conditions may name. */
static inline void prep_inner(uint32_t oid, const char *name, const char *columns)
{
	REQUIRE(script.ninner < ARRAY_LEN(script.inner));
	script.inner[script.ninner++] = table_make(oid, "public", name, columns);
}

/* A shape whose condition is `text`, with subqueries of the tables that prep_inner() made. */
static inline struct shape *prep_shape_in(struct prep *p, const char *text)
{
	const struct pg_table *list[ARRAY_LEN(script.inner)];
	struct pg_table *named[ARRAY_LEN(script.inner)];
	struct where_tables tables = {.list = list, .n = script.ninner};
	for (size_t i = 0; i < script.ninner; i++)
		list[i] = script.inner[i];
	char message[WHERE_MESSAGE_MAX];
	struct where *w = NULL;
	if (!CHECK(where_parse(script.table, &tables, text, strlen(text), NULL, NULL, false, &w, message) == 0))
		printf("%s: %s\n", text, message);
	size_t n = 0;
	for (size_t i = 0; i < script.ninner; i++) /* the other way round, as they may come */
		if (strstr(text, script.inner[script.ninner - 1 - i]->name) != NULL)
			named[n++] = script.inner[script.ninner - 1 - i];
	struct buf canonical = BUF_INIT(WHERE_CANONICAL_MAX);
	where_canonical(w, &canonical);
	where_free(w);
	buf_putc(&canonical, '\0');
	struct shape_def d = def_make(pg_table_ref(script.table), NULL, 0);
	def_set_where(&d, canonical.data, named, n);
	buf_clear(&canonical);
	struct err e;
	struct shape *shape = shapes_get(p->engine, &d, &e);
	CHECK(shape != NULL && shape->def.ninner == n);
	shape_def_clear(&d);
	return shape;
}

static void script_at(int step_number, enum act act)
{
	script.at = script.steps + step_number;
	script.at_name = NULL;
	script.act = act;
	script.happened = false;
	script.log[0] = '\0';
}

static inline void script_at_name(const char *name, enum act act)
{
	script_at(0, act);
	script.at_name = name;
}

static inline void script_refuse(const char *name, enum err_kind kind, const char *sqlstate, const char *text)
{
	script_at_name(name, ACT_REFUSE);
	err_set(&script.refusal, kind, "%s", text);
	snprintf(script.refusal.sqlstate, sizeof script.refusal.sqlstate, "%s", sqlstate);
}

#endif
