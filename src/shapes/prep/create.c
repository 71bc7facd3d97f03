/*
 * create.c - the birth of shapes of one table, up to their rows: the table joins the publication, INGEST registers the shapes, the
 * snapshot is taken, and taken again until INGEST agrees to it. The rows are copy.c's.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "pg/encoding.h"
#include "pg/publication.h"
#include "pg/snapshot.h"
#include "shapes/core/cache.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

#define QUICK_COPY_MS 20 /* for a shape, on average */
#define JOINS_MAX 3 /* of a table for one snapshot: the publication was altered in between */

/* Retaking a snapshot that calls running what the stream has passed (a synchronous standby may be slow). */
#define SNAPSHOT_RETAKE_MAX_MS 20000

struct creation {
	struct pg_thread *w;
	struct shape **shapes;
	int n;
	uint32_t publication_xmin; /* as the join saw it */
};

static bool creation_cancelled(void *ctx)
{
	struct creation *c = ctx;
	if (atomic_load(&c->w->s->stopping))
		return true;
	for (int i = 0; i < c->n; i++)
		if (!atomic_load(&c->shapes[i]->dropped))
			return false;
	return true;
}

static int join_table(struct creation *c, struct pg_table *table, struct err *e)
{
	struct shapes *s = c->w->s;
	struct pg_join known = {0}, now = {0};
	bool has_known = false;
	while (!claim_table(s, table->oid, &known, &has_known)) {
		if (creation_cancelled(c))
			return err_set(e, ERR_CANCELLED, "stopping");
		struct timespec ts = {0, 2 * 1000000};
		nanosleep(&ts, NULL); /* another thread joins this very table; it is short or ends by its limits */
	}
	int rc = -1;
	for (int tries = 0; tries < 2; tries++) {
		bool fresh = c->w->admin == NULL;
		PGconn *admin = session_admin(c->w, e);
		rc = admin == NULL ? -1 : pg_publication_join(admin, s->config, shapes_server_version(s), table, has_known ? &known : NULL,
		                                              creation_cancelled, c, &now, e);
		if (rc == 0 || fresh || e->kind != ERR_PG_CONN)
			break;
		pg_disconnect(&c->w->admin); /* it broke while idle */
	}
	/* It left and came back: what older shapes missed is gone for them. Before the record says so. */
	if (rc == 0 && has_known && known.publication_rel_oid != now.publication_rel_oid)
		claim_rotate_older(s, table->oid, c->shapes, c->n, "the table left the publication and came back");
	claim_release(s, table, rc == 0 ? &now : NULL, NULL);
	c->publication_xmin = now.publication_xmin;
	return rc;
}

static struct cmd command(enum cmd_kind kind, const struct creation *c)
{
	struct cmd cmd = {.kind = kind, .nshapes = c->n};
	memcpy(cmd.shapes, c->shapes, (size_t)c->n * sizeof(struct shape *));
	return cmd;
}

static void end_snapshot(struct pg_thread *w)
{
	struct err ignored;
	w->snapshot_open = false;
	if (w->snap != NULL && pg_snapshot_end(w->snap, &ignored) != 0)
		pg_disconnect(&w->snap);
}

/*
 * In the snapshot the table has the leaves that the shapes' definition knows. INGEST asks whose partition a
 * relation is when it is described while a shape wants to know, so from the registration on; what the stream
 * had passed by then is in the snapshot, or that is taken again.
 */
static int check_leaves(PGconn *conn, const struct pg_table *table, struct err *e)
{
	bool same;
	if (table->relkind == 'p' || table->nleaves > 0) {
		struct pg_table *now;
		int rc = pg_catalog_lookup_oid(conn, table->oid, &now, e);
		if (rc != 0)
			return rc > 0 ? err_set(e, ERR_NOT_FOUND, "the table was dropped meanwhile") : -1;
		same = leaves_same(table, now);
		pg_table_unref(now);
	} else {
		bool has;
		if (pg_catalog_has_children(conn, table->oid, &has, e) != 0)
			return -1;
		same = !has;
	}
	return same ? 0 : err_set(e, ERR_NOT_FOUND, "the table's partitions or children changed meanwhile");
}

/* Begins, registers, takes, and hands the snapshot to INGEST. 1: take it again; GROUND_JOIN: after another join. */
static int take_once(struct creation *c, struct pg_table *table, struct pg_snapshot *snap, struct err *e)
{
	struct shapes *s = c->w->s;
	PGconn *conn = session_snapshot(c->w, e);
	if (conn == NULL)
		return -1;
	struct ground_since since = {ground_version(s, table->oid), c->publication_xmin};
	c->w->snapshot_open = true;
	int rc = pg_snapshot_begin(conn, table, e);
	if (rc < 0)
		return -1;
	struct cmd reg = command(CMD_REGISTER, c);
	if (cmd_call(s, &reg) != 0)
		return err_set(e, ERR_PG_CONN, "Database connection not available");
	if (rc == 1 && (rc = pg_snapshot_lock_columns(conn, table, e)) != 0)
		return rc;
	struct server_id server = server_id(s);
	if (pg_snapshot_take(conn, table, server.system_id, server.timeline, snap, e) != 0 || check_leaves(conn, table, e) != 0)
		return -1;
	rc = ground_born(s, conn, table, since, c->shapes, c->n, e);
	if (rc != 0)
		return rc;
	struct cmd filter = command(CMD_FILTER, c);
	filter.snap = snap;
	rc = cmd_call(s, &filter);
	if (rc < 0)
		return err_set(e, ERR_PG_CONN, "Database connection not available");
	return rc;
}

static int take_snapshot(struct creation *c, struct pg_table *table, struct pg_snapshot *snap, struct err *e)
{
	int64_t until = clock_mono_ms() + SNAPSHOT_RETAKE_MAX_MS;
	bool retried = false;
	for (int joins = 1;;) {
		bool fresh = c->w->snap == NULL;
		int rc = take_once(c, table, snap, e);
		if (rc == 0)
			return 0;
		struct cmd undo = command(CMD_UNREGISTER, c);
		cmd_call(c->w->s, &undo);
		end_snapshot(c->w);
		pg_snapshot_clear(snap);
		if (creation_cancelled(c))
			return err_set(e, ERR_CANCELLED, "stopping");
		if (rc < 0 && e->kind == ERR_PG_CONN && !fresh && !retried) {
			retried = true;
			continue;
		}
		if (rc < 0)
			return -1;
		if (rc == GROUND_JOIN) {
			if (joins++ == JOINS_MAX)
				return err_set(e, ERR_TIMEOUT, "Publication \"%s\" kept being altered while the snapshot of table \"%s.%s\" was taken",
				               c->w->s->config->publication_name, table->schema, table->name);
			if (join_table(c, table, e) != 0)
				return -1;
			until = clock_mono_ms() + SNAPSHOT_RETAKE_MAX_MS;
			continue;
		}
		if (clock_mono_ms() > until)
			return pg_snapshot_outrun(c->w->snap, e);
		struct timespec ts = {0, RETAKE_WAIT_MS * 1000000};
		nanosleep(&ts, NULL); /* the transaction in question must end on the server; nothing tells us */
	}
}

/* The client's text for what went wrong (docs/protocol.md 8.3). */
static void client_text(const struct creation *c, struct err *e)
{
	if (e->kind == ERR_PG_CONN) {
		log_seldom(LOG_WARNING, log_repeat_key(0, e->text, strlen(e->text)), "Snapshot: %s", e->text);
		snprintf(e->text, sizeof e->text, "Database connection not available");
		return;
	}
	const struct pg_table *t = c->shapes[0]->def.table;
	err_hide_values(e);
	pg_advise(e, c->w->s->config, c->w->snap != NULL ? PG_ROLE_SNAPSHOT : PG_ROLE_ADMIN, t->schema, t->name);
}

/*
 * A condition that fails on some row (a division by zero) is the concern of its shape alone: the others go on with
 * the snapshot. -1: they can't.
 */
static int go_on_without(struct pg_thread *w, const struct err *failed)
{
	return failed->kind == ERR_PG_CONN ? -1 : pg_snapshot_back(w->snap);
}

/*
 * A condition with a character that the database's encoding lacks is refused before anything is done for its shape. Where
 * this can't be asked, what follows says why.
 */
static void refuse_unheld(struct creation *c)
{
	PGconn *admin = NULL;
	for (int i = 0; i < c->n && !creation_cancelled(c); i++) {
		struct shape *shape = c->shapes[i];
		struct err e = {0};
		if (shape->def.where == NULL)
			continue;
		if (admin == NULL && (admin = session_admin(c->w, &e)) == NULL)
			return;
		if (pg_check_encoding(admin, shape->def.where, &e) == 0)
			continue;
		if (e.kind == ERR_PG_CONN)
			return;
		if (e.kind != ERR_REQUEST)
			continue;
		shape_set_failed(shape, &e);
		c->shapes[i--] = c->shapes[--c->n];
		c->shapes[c->n] = shape; /* the job lets go of it */
	}
}

/* Nothing of it is anywhere yet; it may have been given up while it waited. */
static void check_unborn(struct shape *shape, const struct pg_table *table)
{
	enum shape_state state = tail_state(shape);
	REQUIRE(state == SHAPE_CREATING || (state == SHAPE_GONE && atomic_load(&shape->dropped)));
	REQUIRE(shape->def.table == table);
}

void create_run(struct pg_thread *w, struct job *j)
{
	struct shapes *s = w->s;
	struct creation c = {.w = w, .shapes = j->shapes, .n = j->nshapes};
	struct pg_table *table = j->shapes[0]->def.table;
	struct pg_snapshot snap = {0};
	struct err e = {0};
	int done = 0;
	REQUIRE(w->creates && c.n > 0 && c.n <= SNAPSHOT_SHARED_MAX);
	for (int i = 0; i < c.n; i++)
		check_unborn(c.shapes[i], table);
	refuse_unheld(&c);
	if (c.n == 0) {
		queue_prepared(w);
		return;
	}
	int rc = join_table(&c, table, &e);
	if (rc == 0)
		rc = take_snapshot(&c, table, &snap, &e);
	if (rc == 0 && c.n > 1)
		rc = pg_snapshot_save(w->snap, &e); /* one for all: going back to it keeps it */
	queue_prepared(w);
	int64_t began_ms = clock_mono_ms();
	for (; rc == 0 && done < c.n; done++) {
		if (atomic_load(&j->shapes[done]->dropped))
			continue;
		struct err own = {0};
		if (copy_shape(w, j->shapes[done], &snap, creation_cancelled, &c, &own) == 0)
			continue;
		/* What the store doesn't take of one it doesn't take of the others: the transaction must end. */
		bool alone = own.kind != ERR_CANCELLED && own.kind != ERR_TIMEOUT;
		rc = c.n > 1 && alone ? go_on_without(w, &own) : -1;
		e = own;
		client_text(&c, &own);
		shape_set_failed(j->shapes[done], &own);
	}
	if (rc == 0 && clock_mono_ms() - began_ms <= (int64_t)QUICK_COPY_MS * c.n)
		queue_quick(s, table->oid);
	end_snapshot(w);
	if (w->large)
		pg_disconnect(&w->snap);
	w->large = false;
	if (rc != 0) {
		if (e.kind == ERR_NOT_FOUND)
			registry_cache_doubt(s, table->oid);
		client_text(&c, &e);
		for (int i = done; i < c.n; i++)
			shape_set_failed(j->shapes[i], &e);
	}
	pg_snapshot_clear(&snap);
}
