/*
 * create.c - the birth of shapes of one table, up to their rows: the table, and those that their conditions name, join the
 * publication one after the other, INGEST registers the shapes, the snapshot is taken, and taken again until INGEST agrees to
 * it. The rows are copy.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "pg/encoding.h"
#include "pg/publication.h"
#include "pg/snapshot.h"
#include "shapes/core/cache.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/held_back.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/core/sets.h"
#include "shapes/prep/prep.h"

#define QUICK_COPY_MS 20 /* for a shape, on average */
#define JOINS_MAX 3 /* of the tables for one snapshot: the publication was altered in between */

/* What subqueries select in a snapshot is what their shapes are registered with, for that snapshot or for the next. If it has
 * changed in between, so often at most before who changes that fast is given up. */
#define GUESSES_MAX 5

/* Of take_once(): what is left to do. GROUND_JOIN is another. */
enum taken { TAKEN = 0, TAKE_ANEW = 1, TAKE_AGAIN = 3 /* the registration stands */, TAKE_GUESSED = 4 /* there is another guess */ };

/* Retaking a snapshot that calls running what the stream has passed (a synchronous standby may be slow). */
#define SNAPSHOT_RETAKE_MAX_MS 20000

struct creation {
	struct pg_thread *w;
	struct shape **shapes;
	int n;
	struct pg_snapshot_tables tables; /* that all of them name */
	struct ground_since *since;       /* of each table */
	bool registered;
	int guesses;
	struct sets *found[SNAPSHOT_SHARED_MAX]; /* what subqueries select in the snapshot, by shape; their `sets` are the guesses, which
	                                            for the first snapshot are the same */
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

/* Joins the table, or with `now` NULL only looks whether it could. */
static int ask_publication(struct creation *c, const struct pg_table *table, const struct pg_join *known, struct pg_join *now, struct err *e)
{
	const struct config *config = c->w->s->config;
	int version = shapes_server_version(c->w->s), rc = -1;
	for (int tries = 0; tries < 2; tries++) {
		bool fresh = c->w->admin == NULL;
		PGconn *admin = session_admin(c->w, e);
		if (admin != NULL)
			rc = now == NULL ? pg_publication_look(admin, config, version, table, e)
			                 : pg_publication_join(admin, config, version, table, known, creation_cancelled, c, now, e);
		if (rc == 0 || fresh || e->kind != ERR_PG_CONN)
			break;
		pg_disconnect(&c->w->admin); /* it broke while idle */
	}
	return rc;
}

static int join_table(struct creation *c, struct pg_table *table, struct ground_since *since, struct err *e)
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
	int rc = ask_publication(c, table, has_known ? &known : NULL, &now, e);
	/* It left and came back: what older shapes missed is gone for them. Before the record says so. */
	if (rc == 0 && has_known && known.publication_rel_oid != now.publication_rel_oid)
		claim_rotate_older(s, table->oid, c->shapes, c->n, REASON_PUBLICATION_CHANGED,
		                   "the table left the publication and came back");
	claim_release(s, table, rc == 0 ? &now : NULL, NULL);
	since->publication_xmin = now.publication_xmin;
	since->publication_rel_oid = now.publication_rel_oid;
	return rc;
}

/* Whether a table has joined before, so that to join again alters nothing of it. */
static bool has_joined(struct shapes *s, uint32_t oid)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct table_state *t = registry_table(s, oid);
	bool joined = t != NULL && t->joined;
	pthread_rwlock_unlock(&s->registry_lock);
	return joined;
}

/* A table that can't join is refused before another is altered for its sake. */
static int look_at_tables(struct creation *c, struct err *e)
{
	size_t fresh = 0;
	for (size_t i = 0; i < c->tables.n; i++)
		fresh += !has_joined(c->w->s, c->tables.list[i]->oid);
	for (size_t i = 0; fresh > 1 && i < c->tables.n; i++) {
		c->tables.failed = c->tables.list[i];
		if (!has_joined(c->w->s, c->tables.list[i]->oid) && ask_publication(c, c->tables.list[i], NULL, NULL, e) != 0)
			return -1;
	}
	c->tables.failed = NULL;
	return 0;
}

/* One after the other, each claimed for itself: nobody holds a claim while he waits for another. */
static int join_tables(struct creation *c, struct err *e)
{
	for (size_t i = 0; i < c->tables.n; i++) {
		c->tables.failed = c->tables.list[i];
		if (join_table(c, c->tables.list[i], &c->since[i], e) != 0)
			return -1;
	}
	c->tables.failed = NULL;
	return 0;
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

/* The shapes of the table, which were registered with a description of before: the watch has passed what they missed. */
static void renew_headers(struct creation *c, struct pg_table *now)
{
	bool stale = false;
	for (int i = 0; i < c->n; i++) {
		if (c->shapes[i]->def.table->oid != now->oid)
			continue;
		stale |= strcmp(c->shapes[i]->def.table->schema_json, now->schema_json) != 0;
		(void)shape_renew_header(c->shapes[i], now);
	}
	if (!stale)
		return;
	registry_cache_doubt(c->w->s, now->oid);
	/* The claim left the description of before in the table's record, maybe in place of a younger one. */
	table_renew(c->w->s, now);
	jobs_reconcile_now(c->w->s); /* a look that is younger than the snapshot's may have been before us */
}

/*
 * In the snapshot the table has the leaves that the shapes' definition knows of it. INGEST asks whose partition a
 * relation is when it is described while a shape wants to know, so from the registration on; what the stream
 * had passed by then is in the snapshot, or that is taken again. Its columns may be NULL, or not, as the shapes' header has
 * it: nothing else ends a shape for that, and who looks at the catalog may have looked before the shapes were registered.
 */
static int check_table(struct creation *c, PGconn *conn, const struct pg_table *table, struct err *e)
{
	struct pg_table *now = NULL;
	bool children = false, nulls = false, families = table->relkind == 'p' || table->nleaves > 0;
	if (!families && pg_catalog_glance(conn, table, &children, &nulls, e) != 0)
		return -1;
	int rc = families || nulls ? pg_catalog_lookup_oid(conn, table->oid, &now, e) : 0;
	if (rc > 0) {
		err_set(e, ERR_NOT_FOUND, "table \"%s.%s\" was dropped meanwhile", table->schema, table->name);
		err_why(e, REASON_TABLE_GONE);
	}
	if (rc != 0)
		return -1;
	bool same = now != NULL ? leaves_same(table, now) : !children;
	if (now != NULL)
		renew_headers(c, now);
	pg_table_unref(now);
	if (same)
		return 0;
	err_set(e, ERR_NOT_FOUND, "the partitions or children of table \"%s.%s\" changed meanwhile", table->schema, table->name);
	return err_why(e, REASON_PARTITION_CHANGED);
}

static int check_tables(struct creation *c, PGconn *conn, struct err *e)
{
	for (size_t i = 0; i < c->tables.n; i++) {
		c->tables.failed = c->tables.list[i];
		if (check_table(c, conn, c->tables.list[i], e) != 0)
			return -1;
	}
	c->tables.failed = NULL;
	return 0;
}

/* NULL: one of several. */
static const struct pg_table *table_at_fault(const struct creation *c)
{
	return c->tables.failed != NULL ? c->tables.failed : c->tables.n == 1 ? c->tables.list[0] : NULL;
}

/* The client's text for what went wrong (docs/protocol.md 8.3). */
static void client_text(const struct creation *c, struct err *e)
{
	if (e->kind == ERR_PG_CONN) {
		log_seldom(LOG_WARNING, log_repeat_key(0, e->text, strlen(e->text)), "Snapshot: %s", e->text);
		snprintf(e->text, sizeof e->text, "Database connection not available");
		return;
	}
	const struct pg_table *t = table_at_fault(c);
	err_hide_values(e);
	if (t != NULL)
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

/* Not among those that are being made any more; the job lets go of it. */
static void drop_out(struct creation *c, int i, const struct err *why)
{
	struct shape *shape = c->shapes[i];
	shape_set_failed(shape, why);
	sets_free(c->found[i]);
	c->n--;
	c->shapes[i] = c->shapes[c->n];
	c->found[i] = c->found[c->n];
	c->shapes[c->n] = shape;
	c->found[c->n] = NULL;
}

static void forget_found(struct creation *c)
{
	for (int i = 0; i < c->n; i++) {
		sets_free(c->found[i]);
		c->found[i] = NULL;
	}
}

/* Reads what the subqueries of each shape select. A shape whose subqueries fail fails alone. */
static int read_sets(struct creation *c, PGconn *conn, struct err *e)
{
	if (c->n > 1 && pg_snapshot_save(conn, e) != 0)
		return -1;
	for (int i = 0; i < c->n; i++) {
		struct err own = {0};
		REQUIRE(c->found[i] == NULL);
		if (selects_read(conn, c->shapes[i], creation_cancelled, c, &c->found[i], &own) == 0)
			continue;
		*e = own;
		/* One that takes too long, too: nothing but its own query was waited for. */
		if (c->n == 1 || own.kind == ERR_CANCELLED || go_on_without(c->w, &own) != 0)
			return -1;
		client_text(c, &own);
		drop_out(c, i--, &own);
	}
	return c->n > 0 ? 0 : err_set(e, ERR_CANCELLED, "no shape is left to be made");
}

static int register_shapes(struct creation *c, struct err *e)
{
	struct cmd reg = command(CMD_REGISTER, c);
	if (c->registered)
		return 0;
	c->registered = true;
	return cmd_call(c->w->s, &reg) == 0 ? 0 : err_set(e, ERR_PG_CONN, "Database connection not available");
}

static void unregister_shapes(struct creation *c)
{
	struct cmd undo = command(CMD_UNREGISTER, c);
	if (c->registered)
		cmd_call(c->w->s, &undo);
	c->registered = false;
}

/* What was read is what the shapes are registered with next. */
static void guess(struct creation *c)
{
	REQUIRE(!c->registered);
	for (int i = 0; i < c->n; i++) {
		sets_free(c->shapes[i]->sets);
		c->shapes[i]->sets = c->found[i];
		c->found[i] = NULL;
	}
	c->guesses++;
}

static bool has_subqueries(const struct creation *c) { return c->n > 0 && c->shapes[0]->def.has_subqueries; }

/* What the first snapshot shows is what the shapes are registered with, after it: whatever the stream passes in between INGEST
 * holds against that snapshot, which then isn't taken. The next one finds them registered. */
static int guess_first(struct creation *c, PGconn *conn, struct err *e)
{
	if (read_sets(c, conn, e) != 0)
		return -1;
	guess(c);
	return register_shapes(c, e);
}

/* Whether the shapes are registered with what their subqueries select in this snapshot. Those that never are are given up. */
static int compare_sets(struct creation *c, PGconn *conn, struct err *e)
{
	struct err changes = {.kind = ERR_TIMEOUT, .why = REASON_SET_CHANGED};
	bool last = c->guesses >= GUESSES_MAX, same = true;
	if (read_sets(c, conn, e) != 0)
		return -1;
	snprintf(changes.text, sizeof changes.text, "What the subqueries of this condition select changed %d times while the shape was made. "
	         "Retry when it changes less often than a snapshot takes", GUESSES_MAX);
	for (int i = 0; i < c->n; i++) {
		if (sets_same(c->shapes[i]->sets, c->found[i]))
			continue;
		same = false;
		if (last) {
			held_back_changed(c->w->s, &c->shapes[i]->def);
			drop_out(c, i--, &changes);
		}
	}
	if (same || (last && c->n > 0))
		return 0;
	if (last) {
		*e = changes;
		return -1;
	}
	unregister_shapes(c); /* INGEST looks at what it was guessed to be */
	guess(c);
	return TAKE_GUESSED;
}

/* INGEST agrees to the snapshot, or not. */
static int hand_over(struct creation *c, struct pg_snapshot *snap, struct err *e)
{
	struct cmd filter = command(CMD_FILTER, c);
	struct sets *own[SNAPSHOT_SHARED_MAX];
	for (int i = 0; i < c->n; i++)
		own[i] = c->shapes[i]->sets;
	filter.snap = snap;
	filter.sets = !has_subqueries(c) ? NULL : c->found[0] != NULL ? c->found : own;
	int rc = cmd_call(c->w->s, &filter);
	if (rc < 0)
		return err_set(e, ERR_PG_CONN, "Database connection not available");
	return rc == 0 ? TAKEN : rc == CMD_AGAIN ? TAKE_AGAIN : TAKE_ANEW;
}

/* Begins, registers, takes, and hands the snapshot to INGEST: an enum taken, or GROUND_JOIN, after another join. */
static int take_once(struct creation *c, struct pg_snapshot *snap, struct err *e)
{
	struct shapes *s = c->w->s;
	PGconn *conn = session_snapshot(c->w, e);
	if (conn == NULL)
		return -1;
	for (size_t i = 0; i < c->tables.n; i++)
		c->since[i].version = ground_version(s, c->tables.list[i]->oid);
	bool first = has_subqueries(c) && c->guesses == 0;
	c->w->snapshot_open = true;
	int rc = pg_snapshot_begin(conn, &c->tables, e);
	if (rc < 0 || (!first && register_shapes(c, e) != 0))
		return -1;
	if (rc == 1 && (rc = pg_snapshot_lock_columns(conn, &c->tables, e)) != 0)
		return rc;
	struct server_id server = server_id(s);
	if (pg_snapshot_take(conn, &c->tables, server.system_id, server.timeline, snap, e) != 0 || check_tables(c, conn, e) != 0)
		return -1;
	rc = ground_born(s, conn, &c->tables, c->since, c->shapes, c->n, e);
	if (rc == 0 && has_subqueries(c))
		rc = first ? guess_first(c, conn, e) : compare_sets(c, conn, e);
	return rc == 0 ? hand_over(c, snap, e) : rc;
}

/* What INGEST remembers of passed transactions must reach back to before the snapshot, also while no shape is registered. */
static int take_once_kept(struct creation *c, struct pg_snapshot *snap, struct err *e)
{
	atomic_fetch_add(&c->w->s->snapshots_ahead, 1);
	int rc = take_once(c, snap, e);
	atomic_fetch_sub(&c->w->s->snapshots_ahead, 1);
	return rc;
}

static int outgrown(const struct creation *c, struct err *e)
{
	const struct pg_table *t = c->shapes[0]->def.table;
	return err_set(e, ERR_TIMEOUT, "More changed while the snapshot of table \"%s.%s\" was taken than Busbar keeps for that time, or it was truncated, "
	               "again and again for %d s. It is tried again when the shape is asked for", t->schema, t->name, SNAPSHOT_RETAKE_MAX_MS / 1000);
}

static int take_snapshot(struct creation *c, struct pg_snapshot *snap, struct err *e)
{
	int64_t until = clock_mono_ms() + SNAPSHOT_RETAKE_MAX_MS;
	bool retried = false;
	for (int joins = 1;;) {
		bool fresh = c->w->snap == NULL, first = c->guesses == 0;
		int rc = take_once_kept(c, snap, e);
		forget_found(c);
		if (rc == TAKEN)
			return 0;
		if (rc != TAKE_AGAIN)
			unregister_shapes(c);
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
		if (rc == TAKE_GUESSED || (rc == TAKE_AGAIN && first && c->guesses == 1)) /* that one is newer than the registration */
			continue;
		if (rc == GROUND_JOIN) {
			const struct pg_table *about = c->tables.failed;
			if (joins++ == JOINS_MAX)
				return err_set(e, ERR_TIMEOUT, "Publication \"%s\" kept being altered while the snapshot of table \"%s.%s\" was taken",
				               c->w->s->config->publication_name, about->schema, about->name);
			if (join_tables(c, e) != 0)
				return -1;
			until = clock_mono_ms() + SNAPSHOT_RETAKE_MAX_MS;
			continue;
		}
		if (clock_mono_ms() > until)
			return rc == TAKE_ANEW ? outgrown(c, e) : pg_snapshot_outrun(c->w->snap, e);
		struct timespec ts = {0, RETAKE_WAIT_MS * 1000000};
		nanosleep(&ts, NULL); /* the transaction in question must end on the server; nothing tells us */
	}
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
		drop_out(c, i--, &e);
	}
}

/* Nothing of it is anywhere yet; it may have been given up while it waited. */
static void check_unborn(struct shape *shape, const struct shape_def *first)
{
	enum shape_state state = tail_state(shape);
	REQUIRE(state == SHAPE_CREATING || (state == SHAPE_GONE && atomic_load(&shape->dropped)));
	REQUIRE(same_tables(&shape->def, first));
}

/* All tables that the definition names, in the order in which they are joined and locked. */
static void list_tables(const struct shape_def *def, struct creation *c)
{
	struct pg_table **list = mem_alloc((def->ninner + 1u) * sizeof *list);
	size_t n = 0;
	uint16_t i = 0;
	for (; i < def->ninner && def->inner[i]->oid < def->table->oid; i++)
		list[n++] = def->inner[i];
	list[n++] = def->table;
	for (; i < def->ninner; i++)
		list[n++] = def->inner[i];
	c->tables = (struct pg_snapshot_tables){.list = list, .n = n};
	c->since = mem_zalloc(n * sizeof *c->since);
}

/* What the catalog said of them is asked again. */
static void doubt_tables(struct creation *c)
{
	for (size_t i = 0; i < c->tables.n; i++)
		registry_cache_doubt(c->w->s, c->tables.list[i]->oid);
}

void create_run(struct pg_thread *w, struct job *j)
{
	struct shapes *s = w->s;
	struct creation c = {.w = w, .shapes = j->shapes, .n = j->nshapes};
	const struct shape_def *def = &j->shapes[0]->def;
	struct pg_snapshot snap = {0};
	struct err e = {0};
	int done = 0;
	REQUIRE(w->creates && c.n > 0 && c.n <= SNAPSHOT_SHARED_MAX);
	for (int i = 0; i < c.n; i++)
		check_unborn(c.shapes[i], def);
	refuse_unheld(&c);
	if (c.n == 0) {
		queue_prepared(w);
		return;
	}
	list_tables(def, &c);
	int rc = look_at_tables(&c, &e);
	if (rc == 0)
		rc = join_tables(&c, &e);
	/* A subquery may take its time, twice: births of other conditions on the table don't wait for that. */
	if (rc == 0 && has_subqueries(&c))
		queue_prepared(w);
	if (rc == 0)
		rc = take_snapshot(&c, &snap, &e);
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
		queue_quick(s, def->table->oid);
	end_snapshot(w);
	if (w->large)
		pg_disconnect(&w->snap);
	w->large = false;
	if (rc != 0) {
		if (e.kind == ERR_NOT_FOUND)
			doubt_tables(&c);
		client_text(&c, &e);
		for (int i = done; i < c.n; i++)
			shape_set_failed(j->shapes[i], &e);
	}
	pg_snapshot_clear(&snap);
	free((void *)c.tables.list);
	free(c.since);
}
