/*
 * pgwork.c - the PG threads: look-ups, the birth of a shape, and looking after our tables.
 *
 * ADMIN threads answer look-ups and what INGEST asks; one of them reconciles what we remember of our
 * tables with the catalog. CREATE threads take a table into the publication and its snapshots into the
 * store; shapes of one table that wait together share one snapshot. (Subset queries have threads of their
 * own, subset.c.) Connections are opened when needed and closed when idle, at most ELECTRIC_DB_POOL_SIZE in
 * all, if that is not below 5.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/query.h"
#include "shapes/core/cache.h"
#include "shapes/core/cmds.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/logs/record.h"
#include "shapes/logs/writer.h"
#include "shapes/prep/prep.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/row.h"
#include "where/where.h"

/* A table leaves the publication this long after its last shape. */
#define TABLE_LINGER_MS 600000

/* …and as soon as the stream gives a sign, at most this often. */
#define TABLE_WATCH_SOON_MS 100

/* …but rest so many times as long as two looks took at least, up to this. */
#define WATCH_REST_TIMES 20
#define WATCH_REST_MAX_MS 30000
#define WATCH_FREE_MS 100 /* a look may take so long without a rest: on the way to a server far away */

/* Tables with shapes are watched by one small query this often: drops, renames, partitions. */
#define TABLE_WATCH_MS 1000

/* They are copied one after another by one thread: of a table that isn't known to be quick, few, so that the other
 * threads take their part and no transaction stays open for many long copies. */
#define SNAPSHOT_SHARED_SLOW_MAX 8
#define QUICK_COPY_MS 20 /* for a shape, on average */

/* Retaking a snapshot that calls running what the stream has passed (a synchronous standby may be slow). */
#define SNAPSHOT_RETAKE_MAX_MS 20000

/* A snapshot's first bytes lie in the store as they are sent, which is the faster to read again; beyond, packed, which
 * is the faster to write and less to keep. */
#define SNAPSHOT_PLAIN_BYTES (1u << 20)

/* A snapshot's rows go to the store in pieces of about this size. */
#define SNAPSHOT_PIECE_BYTES (128u << 10)

#define ADMIN_THREADS 2
#define CREATE_THREADS_MAX 6 /* two connections each */
#define CREATE_LOOK_MAX 1000 /* jobs that a thread looks through for one it may take */
#define SUBSET_THREADS_MAX 4
#define SUBSET_POOL_PART 5 /* one connection in so many is for subsets */
#define EVICT_PERIOD_MS 60000 /* as Electric's */
#define JOINS_MAX 3 /* of a table for one snapshot: the publication was altered in between */
#define GENERATED_COLUMNS_SINCE 180000
#define ATTACH_LOCK_MS 200 /* the stream waits while a new partition is looked into */
#define ATTACH_LOOK_MS 5000
#define LOOK_NAMED_MAX 5 /* tables named in a warning */
#define UNSEEN_WAIT_MS 3000 /* the stream waits for a transaction to become visible */
#define UNSEEN_POLL_MIN_MS 2 /* all of pg_locks is read each time */
#define UNSEEN_POLL_MAX_MS 50
#define WHY_MAX 400 /* of why a shape ends, with what Postgres said */

struct worker {
	struct shapes *s;
	bool creates;
	int index; /* among all of them */
	PGconn *admin, *snap;
	unsigned outages; /* when they were opened */
	int64_t used_ms;
	bool large; /* a row above ROW_ROOM_KEPT_BYTES came over `snap` */
};

static void job_free(struct job *j)
{
	table_lookup_unref(j->lookup);
	for (int i = 0; i < j->nshapes; i++)
		shape_unref(j->shapes[i]);
	free(j->oids);
	free(j);
}

/* ---- connections ---- */

static void drop_connection(PGconn **conn)
{
	if (*conn != NULL)
		PQfinish(*conn);
	*conn = NULL;
}

/* Tables are read by the pooled URL's role, look-ups are made by the other's. */
static int set_reader(const struct config *c, PGconn *conn, struct err *e)
{
	if (strcmp(c->database.user, c->pooled_database.user) == 0)
		return 0;
	PGresult *r = pg_query(conn, "SELECT pg_catalog.set_config('" PG_READER_SETTING "', $1, false)", 1,
	                       (const char *const[]){c->pooled_database.user}, e);
	PQclear(r);
	return r != NULL ? 0 : -1;
}

static PGconn *connection(struct worker *w, bool snapshot, struct err *e)
{
	PGconn **conn = snapshot ? &w->snap : &w->admin;
	unsigned outages = atomic_load(&w->s->outages);
	if (w->outages != outages) {
		/* The stream broke since: most likely these did too, and would say so at the worst moment. */
		drop_connection(&w->admin);
		drop_connection(&w->snap);
		w->outages = outages;
	}
	if (*conn != NULL && PQstatus(*conn) != CONNECTION_OK)
		drop_connection(conn);
	if (*conn == NULL)
		*conn = pg_connect(w->s->config, snapshot ? PG_ROLE_SNAPSHOT : PG_ROLE_ADMIN, e);
	if (*conn == NULL && snapshot)
		pg_advise(e, w->s->config, PG_ROLE_SNAPSHOT, "", "");
	if (*conn != NULL && !snapshot && set_reader(w->s->config, *conn, e) != 0)
		drop_connection(conn);
	w->used_ms = clock_mono_ms();
	return *conn;
}

static bool stopping(void *ctx) { return atomic_load(&((struct shapes *)ctx)->stopping); }

static int server_version(struct shapes *s)
{
	pthread_mutex_lock(&s->server_lock);
	int v = s->server.version_num;
	pthread_mutex_unlock(&s->server_lock);
	return v;
}

/* ---- look-ups ---- */

static void rotate_misfits(struct shapes *s, struct pg_table *now);

/* The name stands for another table, or for a changed one: what was made of the old one ends. */
static void look_up_differs(struct shapes *s, const struct pg_table *was, struct pg_table *now)
{
	if (now == NULL || now->oid != was->oid)
		shapes_rotate_table(s, was->oid, "the table was dropped or renamed");
	else if (!pg_table_same_columns(was, now))
		rotate_misfits(s, now);
}

/* The stream's set-up found that the publication leaves generated columns out; the operator may have been told since, and
 * have altered it. */
static void look_whether_generated(struct shapes *s, PGconn *conn, const struct pg_table *table)
{
	bool matters = false;
	for (uint16_t i = 0; i < table->ncolumns; i++)
		matters = matters || (table->columns[i].generated && !table->columns[i].is_virtual);
	if (!matters || PQserverVersion(conn) < GENERATED_COLUMNS_SINCE || shapes_publishes_generated(s))
		return;
	struct err ignored;
	PGresult *r = pg_query(conn, "SELECT FROM pg_catalog.pg_publication WHERE pubname = $1::pg_catalog.text AND pubgencols = 's'", 1,
	                       (const char *const[]){s->config->publication_name}, &ignored);
	if (r != NULL && PQntuples(r) > 0) {
		pthread_mutex_lock(&s->server_lock);
		s->server.publishes_generated = true;
		pthread_mutex_unlock(&s->server_lock);
	}
	PQclear(r);
}

static void run_lookup(struct worker *w, struct job *j)
{
	struct shapes *s = w->s;
	struct table_lookup *l = j->lookup;
	struct pg_table *table = NULL;
	struct err e = {0};
	int rc = -1;
	int64_t asked = clock_mono_ms();
	/* A connection that broke while idle shows now: once more on a new one. */
	for (int tries = 0; tries < 2; tries++) {
		bool fresh = w->admin == NULL;
		PGconn *conn = connection(w, false, &e);
		rc = conn == NULL ? -1 : pg_catalog_lookup(conn, l->schema, l->name, &table, &e);
		if (rc >= 0 || fresh || e.kind != ERR_PG_CONN)
			break;
		drop_connection(&w->admin);
	}
	if (rc < 0 && e.kind == ERR_PG && pg_sqlstate_is(&e, PG_SQLSTATE_UNTRANSLATABLE))
		rc = 1; /* a name that the database's encoding can't have */
	if (rc < 0)
		pg_advise_catalog(&e, s->config);
	if (l->stale != NULL && rc >= 0)
		look_up_differs(s, l->stale, table);
	if (rc == 0) {
		look_whether_generated(s, w->admin, table);
		struct pg_table *shared = registry_cache_put(s, table, asked);
		pg_table_unref(table);
		table = shared;
	} else if (rc < 0 && e.kind == ERR_PG_CONN && l->stale != NULL) {
		table = pg_table_ref(l->stale); /* Postgres is away: what is known is served */
		rc = 0;
	}
	pthread_mutex_lock(&s->lookup_lock);
	map_del(&s->inflight, l->key, l->key_len);
	l->rc = rc;
	l->table = table;
	l->err = e;
	l->done = true;
	wait_list_wake_all(&l->waiters);
	pthread_mutex_unlock(&s->lookup_lock);
}

static void run_wal_end(struct worker *w)
{
	struct shapes *s = w->s;
	struct err e = {0};
	int64_t asked = clock_mono_ms();
	PGconn *conn = connection(w, false, &e);
	lsn_t lsn = 0;
	if (conn != NULL) {
		PGresult *r = PQexec(conn, "SELECT pg_catalog.pg_current_wal_insert_lsn()");
		if (PQresultStatus(r) != PGRES_TUPLES_OK || !lsn_parse(PQgetvalue(r, 0, 0), &lsn))
			lsn = 0;
		PQclear(r);
	}
	pthread_mutex_lock(&s->server_lock);
	s->wal_end_queued = false;
	if (lsn != 0) {
		s->wal_end = lsn;
		s->wal_end_ms = asked;
	}
	pthread_mutex_unlock(&s->server_lock);
}

/* ---- partitions ---- */

/*
 * Whether `oid` came to its ancestors with rows in it (ATTACH), rows the stream never had: there is a row
 * older than one of the links above it, or of the same transaction and an earlier command. Rows put in
 * later are younger than all links. When we may not look, or not at once, it had rows. INGEST waits for
 * the answer, so it looks only for a moment.
 */
static bool attached_with_rows(PGconn *conn, uint32_t oid)
{
	char text[16];
	snprintf(text, sizeof text, "%" PRIu32, oid);
	const char *params[] = {text};
	PGresult *r = PQexecParams(conn,
		"WITH RECURSIVE link AS ("
		" SELECT i.inhparent, i.xmin AS made, i.cmin AS cmd FROM pg_catalog.pg_inherits i WHERE i.inhrelid = $1::pg_catalog.oid"
		" UNION ALL"
		" SELECT i.inhparent, i.xmin, i.cmin FROM pg_catalog.pg_inherits i JOIN link l ON i.inhrelid = l.inhparent)"
		" SELECT l.made, l.cmd, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"
		" FROM link l, pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE c.oid = $1::pg_catalog.oid AND c.relkind = 'r'",
		1, NULL, params, NULL, NULL, 0);
	bool rows = PQresultStatus(r) != PGRES_TUPLES_OK;
	for (int i = 0; !rows && i < PQntuples(r); i++) {
		char sql[640];
		snprintf(sql, sizeof sql,
		         "BEGIN; SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d;"
		         " SELECT 1 FROM ONLY %s t WHERE pg_catalog.age(t.xmin) > pg_catalog.age('%s'::pg_catalog.xid)"
		         " OR (t.xmin = '%s'::pg_catalog.xid AND t.cmin::pg_catalog.text::pg_catalog.int8 < %s) LIMIT 1",
		         ATTACH_LOCK_MS, ATTACH_LOOK_MS, PQgetvalue(r, i, 2), PQgetvalue(r, i, 0), PQgetvalue(r, i, 0), PQgetvalue(r, i, 1));
		PGresult *found = PQexec(conn, sql);
		rows = PQresultStatus(found) != PGRES_TUPLES_OK || PQntuples(found) > 0;
		PQclear(found);
		PQclear(PQexec(conn, "ROLLBACK"));
	}
	PQclear(r);
	return rows;
}

static bool table_has_shapes(struct shapes *s, uint32_t oid)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct table_state *t = registry_table(s, oid);
	bool has = t != NULL && t->nshapes > 0;
	pthread_rwlock_unlock(&s->registry_lock);
	return has;
}

/*
 * The stream brings a transaction as soon as it is flushed; others see what it did a little later, with a slow
 * synchronous standby much later. Until then the catalog doesn't show the partitions it made, and its rows in
 * them would go nowhere. So INGEST waits - but not for ever, for that standby may be ourselves: then the
 * shapes whose tables it may have given partitions begin again, with a snapshot that shows it.
 */
static int wait_until_seen(struct shapes *s, PGconn *conn, uint32_t xid, struct err *e)
{
	int64_t until = clock_mono_ms() + UNSEEN_WAIT_MS, poll_ms = UNSEEN_POLL_MIN_MS;
	for (bool waits = true, late = false; waits && !late;) {
		uint32_t *parents;
		int n = pg_catalog_unseen_parents(conn, xid, &parents, e);
		if (n < 0)
			return -1;
		late = clock_mono_ms() >= until;
		waits = false;
		for (int i = 0; i < n; i++) {
			if (!table_has_shapes(s, parents[i]))
				continue;
			waits = true;
			if (late)
				shapes_rotate_table(s, parents[i], "a transaction that changed the table still counts as running");
		}
		free(parents);
		if (waits && stopping(s))
			return err_set(e, ERR_CANCELLED, "stopping");
		struct timespec ts = {0, poll_ms * 1000000};
		if (waits && !late)
			nanosleep(&ts, NULL);
		poll_ms = poll_ms * 2 < UNSEEN_POLL_MAX_MS ? poll_ms * 2 : UNSEEN_POLL_MAX_MS;
	}
	return 0;
}

/* Postgres is there and doesn't let us look: the stream isn't to begin again for that, over and over. */
static bool is_refusal(const PGconn *conn, const struct err *e)
{
	return conn != NULL && e->kind != ERR_PG_CONN && e->kind != ERR_CANCELLED;
}

/* Whether the root has shapes, and this leaf of it has not been dealt with yet. */
static bool leaf_is_news(struct shapes *s, uint32_t root, uint32_t leaf)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct table_state *t = registry_table(s, root);
	bool news = t != NULL && t->nshapes > 0 && !pg_table_has_leaf(t->table, leaf);
	pthread_rwlock_unlock(&s->registry_lock);
	return news;
}

/* The shapes of all tables that have, or may have, partitions or children. */
static void rotate_families(struct shapes *s, const char *why)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	uint32_t *oids = mem_alloc((s->tables.len + 1) * sizeof *oids);
	size_t n = 0;
	const struct table_state *t;
	for (size_t i = 0; (t = map_next(&s->tables, &i)) != NULL;)
		if (t->table->relkind == 'p' || t->table->nleaves > 0)
			oids[n++] = t->oid;
	pthread_rwlock_unlock(&s->registry_lock);
	for (size_t i = 0; i < n; i++)
		shapes_rotate_table(s, oids[i], why);
	free(oids);
}

/* `xid`: of the transaction in which INGEST waits for this, 0 if it doesn't. `conn` NULL: an outage; the stream
 * will break too, and ask again. */
static int post_leaf(struct shapes *s, PGconn *conn, uint32_t oid, uint32_t xid, struct err *e)
{
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_RESOLVED;
	c->oid = oid;
	c->xid = xid;
	int n = -1;
	if (conn != NULL && (xid == 0 || wait_until_seen(s, conn, xid, e) == 0))
		n = pg_catalog_ancestors(conn, oid, c->ancestors, (int)ARRAY_LEN(c->ancestors), e);
	c->nancestors = n < 0 ? 0 : n;
	c->result = n < 0 ? -1 : 0;
	if (n < 0 && xid != 0) {
		pg_advise_catalog(e, s->config);
		log_warning("Looking whose partition relation %" PRIu32 " is: %s", oid, e->text);
	}
	if (n < 0 && xid != 0 && is_refusal(conn, e)) {
		rotate_families(s, "a relation may be a partition of the table, and Postgres didn't say of which it is one");
		c->result = 0;
	}
	bool asked = false, rows = false;
	for (int i = 0; i < c->nancestors; i++) {
		if (!leaf_is_news(s, c->ancestors[i], oid))
			continue;
		if (!asked)
			rows = attached_with_rows(conn, oid);
		asked = true;
		c->had_rows[i] = rows;
	}
	cmd_post(s, c);
	return n;
}

/* INGEST met a relation it doesn't know and waits for this. */
static void run_resolve(struct worker *w, struct job *j)
{
	struct err e = {0};
	PGconn *conn = connection(w, false, &e);
	if (post_leaf(w->s, conn, j->oid, j->xid, &e) > 0)
		jobs_reconcile_now(w->s); /* the leaf is to be REPLICA IDENTITY FULL */
}

/* ---- the birth of shapes ---- */

struct creation {
	struct worker *w;
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

/* One join of a table at a time. */
static bool claim_table(struct shapes *s, uint32_t oid, struct pg_join *known, bool *has_known)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *t = registry_table(s, oid);
	bool free_now = t != NULL && !t->joining;
	if (free_now) {
		t->joining = true;
		*has_known = t->joined;
		*known = t->join;
	}
	pthread_rwlock_unlock(&s->registry_lock);
	return free_now;
}

static bool same_leaves(const struct pg_table *a, const struct pg_table *b)
{
	bool same = a->nleaves == b->nleaves;
	for (uint32_t i = 0; same && i < a->nleaves; i++)
		same = a->leaves[i] == b->leaves[i];
	return same;
}

/*
 * `join`: what the join brought, NULL if it failed. The table's leaves are replaced only by whoever has
 * dealt with the difference (to `dealt_with`): an attached or detached partition must not be overlooked because
 * a new shape came with a newer view.
 */
static void release_table(struct shapes *s, struct pg_table *table, const struct pg_join *join, const struct pg_table *dealt_with)
{
	bool look = false;
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *t = registry_table(s, table->oid);
	if (t != NULL) {
		t->joining = false;
		if (join != NULL) {
			bool replace = t->table != table && (t->table == dealt_with || same_leaves(t->table, table));
			look = t->table != table && !replace;
			bool news = !t->joined || memcmp(&t->join, join, sizeof *join) != 0 || replace;
			t->joined = true;
			t->join = *join;
			if (replace) {
				pg_table_unref(t->table);
				t->table = pg_table_ref(table);
			}
			if (news)
				table_save(s, t);
		}
	}
	pthread_rwlock_unlock(&s->registry_lock);
	pthread_mutex_lock(&s->job_lock);
	s->reconcile_now = s->reconcile_now || look;
	pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
}

/* Shapes of the table that were there before, except those being made. Their drops are in the writer's
 * queue when it returns, ahead of whatever is put there next. */
static void rotate_older(struct shapes *s, uint32_t oid, struct shape *const *keep, int nkeep, const char *why)
{
	size_t n;
	struct shape **old = registry_shapes(s, oid, &n);
	for (size_t i = 0; i < n; i++) {
		bool ours = false;
		for (int k = 0; k < nkeep; k++)
			ours = ours || keep[k] == old[i];
		pthread_mutex_lock(shape_lock(old[i]));
		bool started = old[i]->tail.state != SHAPE_CREATING;
		pthread_mutex_unlock(shape_lock(old[i]));
		if (!ours && started)
			shape_rotate(old[i], why);
		shape_unref(old[i]);
	}
	free(old);
	cmd_settle(s);
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
		PGconn *admin = connection(c->w, false, e);
		rc = admin == NULL ? -1 : pg_publication_join(admin, s->config, server_version(s), table, has_known ? &known : NULL,
		                                              creation_cancelled, c, &now, e);
		if (rc == 0 || fresh || e->kind != ERR_PG_CONN)
			break;
		drop_connection(&c->w->admin); /* it broke while idle */
	}
	/* It left and came back: what older shapes missed is gone for them. Before the record says so. */
	if (rc == 0 && has_known && known.publication_rel_oid != now.publication_rel_oid)
		rotate_older(s, table->oid, c->shapes, c->n, "the table left the publication and came back");
	release_table(s, table, rc == 0 ? &now : NULL, NULL);
	c->publication_xmin = now.publication_xmin;
	return rc;
}

static struct cmd command(enum cmd_kind kind, const struct creation *c)
{
	struct cmd cmd = {.kind = kind, .nshapes = c->n};
	memcpy(cmd.shapes, c->shapes, (size_t)c->n * sizeof(struct shape *));
	return cmd;
}

static void end_snapshot(struct worker *w)
{
	struct err ignored;
	if (w->snap != NULL && pg_snapshot_end(w->snap, &ignored) != 0)
		drop_connection(&w->snap);
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
		same = same_leaves(table, now);
		pg_table_unref(now);
	} else {
		char oid[16];
		snprintf(oid, sizeof oid, "%" PRIu32, table->oid);
		PGresult *r = pg_query(conn, "SELECT FROM pg_catalog.pg_inherits WHERE inhparent = $1::pg_catalog.oid LIMIT 1", 1,
		                       (const char *const[]){oid}, e);
		if (r == NULL)
			return -1;
		same = PQntuples(r) == 0;
		PQclear(r);
	}
	return same ? 0 : err_set(e, ERR_NOT_FOUND, "the table's partitions or children changed meanwhile");
}

/* Begins, registers, takes, and hands the snapshot to INGEST. 1: take it again; GROUND_JOIN: after another join. */
static int take_once(struct creation *c, struct pg_table *table, struct pg_snapshot *snap, struct err *e)
{
	struct shapes *s = c->w->s;
	PGconn *conn = connection(c->w, true, e);
	if (conn == NULL)
		return -1;
	struct ground_since since = {ground_version(s, table->oid), c->publication_xmin};
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

/* ---- copying ---- */

struct copy {
	struct shapes *s;
	struct shape *shape;
	struct row_form *form;
	struct buf piece;
	uint32_t chunk, pieces;
	uint64_t chunk_bytes;
	size_t piece_bytes; /* of the lines in the piece */
	size_t all_bytes;   /* of the pieces before it */
	bool packed;        /* the piece is */
	struct key_counts counts; /* where rows may be equal */
	bool counts_only;   /* log=changes_only: no row is put anywhere */
	bool large;         /* ROW_ROOM_KEPT_BYTES */
	bool discard; /* the shape is gone; the transaction must stay usable for those that share it */
};

static int put_piece(struct copy *c, bool closes, struct err *e)
{
	int room = writer_room(c->s, c->shape, e);
	if (room != 0) {
		c->discard = true;
		buf_reset(&c->piece);
		return room < 0 ? -1 : 0;
	}
	row_pack_end(&c->piece, c->piece_bytes);
	writer_put(c->s, item_piece_new(c->shape, c->chunk, c->pieces++, closes, &c->piece));
	c->all_bytes += c->piece_bytes;
	c->piece_bytes = 0;
	if (closes) {
		c->chunk++;
		c->pieces = 0;
		c->chunk_bytes = 0;
	}
	return 0;
}

static bool is_counted(const struct shape *shape) { return shape->def.table->keys == PG_KEYS_COUNTED; }

static int copy_row(void *ctx, const struct pg_copy_value *values, struct err *e)
{
	struct copy *c = ctx;
	if (c->discard)
		return 0;
	const struct shape_def *def = &c->shape->def;
	int turned = def->table->nmembers > 0 ? row_form_turn(c->form, values[def->nselected]) : 0;
	if (turned < 0)
		return err_set(e, ERR_NOT_FOUND, "the table's children changed meanwhile");
	if (turned > 0 && c->packed && c->piece.len > 0 && put_piece(c, false, e) != 0)
		return -1;
	if (c->piece.len == 0) {
		buf_room(&c->piece, SNAPSHOT_PIECE_BYTES / (c->all_bytes == 0 ? 8 : 1));
		c->packed = c->all_bytes >= SNAPSHOT_PLAIN_BYTES;
		if (c->packed)
			row_pack_begin(c->form, &c->piece);
	}
	size_t before = c->piece.len, line;
	if (c->packed) {
		line = row_pack(c->form, values, &c->piece);
	} else {
		row_put(c->form, values, &c->piece);
		line = c->piece.len - before;
	}
	if (c->piece.failed)
		return err_set(e, ERR_LIMIT, "a row is too large for a snapshot");
	c->large = c->large || line > ROW_ROOM_KEPT_BYTES;
	if (is_counted(c->shape) && key_counts_charge(&c->counts, &c->s->keys_counted, c->shape->def.table, e) != 0)
		return -1;
	if (c->counts_only) {
		buf_reset(&c->piece);
		return 0;
	}
	c->piece_bytes += line;
	c->chunk_bytes += line; /* the row and one byte, as Electric counts */
	if (c->chunk_bytes >= c->shape->chunk_bytes)
		return put_piece(c, true, e);
	/* The first piece goes early: a client waits for it. */
	if (c->piece_bytes >= SNAPSHOT_PIECE_BYTES || (c->all_bytes == 0 && c->piece_bytes >= SNAPSHOT_PIECE_BYTES / 8))
		return put_piece(c, false, e);
	return 0;
}

/* INGEST goes on counting. What it has kept for the shape meanwhile is in the writer's queue when it has them, ahead of
 * the snapshot's end. */
static void hand_over_counts(struct copy *c)
{
	struct cmd cmd = {.kind = CMD_COUNTS, .shapes = {c->shape}, .nshapes = 1, .counts = &c->counts};
	cmd_call(c->s, &cmd);
}

static void put_snapshot_end(const struct pg_snapshot *snap, struct buf *out)
{
	buf_printf(out, "{\"headers\":{\"control\":\"snapshot-end\",\"xmin\":\"%" PRIu64 "\",\"xmax\":\"%" PRIu64 "\",\"xip_list\":[",
	           snap->xmin, snap->xmax);
	for (uint32_t i = 0; i < snap->nxip; i++)
		buf_printf(out, "%s\"%" PRIu64 "\"", i > 0 ? "," : "", snap->xip[i]);
	buf_puts(out, "]}}\n");
}

static int copy_shape(struct creation *cr, struct shape *shape, const struct pg_snapshot *snap, struct err *e)
{
	struct shapes *s = cr->w->s;
	struct copy c = {.s = s, .shape = shape, .form = row_form_new(&shape->def, "")};
	buf_init(&c.piece, (size_t)2 << 30);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	int rc = def_where_sql(&shape->def, &sql, e);
	if (is_counted(shape))
		row_form_count(c.form, &c.counts);
	c.counts_only = shape->def.log_mode == LOG_MODE_CHANGES_ONLY;
	if (rc == 0 && (!c.counts_only || is_counted(shape)))
		rc = pg_snapshot_copy(cr->w->snap, shape->def.table, shape->def.selected, shape->def.nselected, sql.data, copy_row, &c,
		                      creation_cancelled, cr, e);
	buf_clear(&sql);
	if (rc == 0 && c.packed && c.piece.len > 0)
		rc = put_piece(&c, false, e); /* what follows is a line */
	if (rc == 0 && !c.discard && is_counted(shape))
		hand_over_counts(&c);
	if (rc == 0 && !c.discard) {
		put_snapshot_end(snap, &c.piece);
		rc = put_piece(&c, true, e);
	}
	if (rc == 0 && !c.discard) {
		struct buf b = BUF_INIT(RECORD_BYTES_MAX);
		record_shape(shape, snap, true, c.chunk, &b);
		writer_put(s, item_complete_new(shape, &b, c.chunk, atomic_load(&s->next_id)));
	}
	cr->w->large = cr->w->large || c.large;
	buf_clear(&c.piece);
	row_form_free(c.form);
	key_counts_release(&c.counts, &s->keys_counted);
	return rc;
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
static int go_on_without(struct worker *w, const struct err *failed)
{
	struct err ignored;
	if (failed->kind == ERR_PG_CONN)
		return -1;
	switch (PQtransactionStatus(w->snap)) {
	case PQTRANS_INTRANS:
		return 0; /* it wasn't Postgres that failed */
	case PQTRANS_INERROR:
		return pg_command(w->snap, "ROLLBACK TO SAVEPOINT of_one_shape", &ignored);
	default:
		return -1;
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
		if (admin == NULL && (admin = connection(c->w, false, &e)) == NULL)
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

static bool has_oid(const uint32_t *oids, size_t n, uint32_t oid)
{
	for (size_t i = 0; i < n; i++)
		if (oids[i] == oid)
			return true;
	return false;
}

/* With job_lock held. */
static bool is_quick(const struct shapes *s, uint32_t oid) { return has_oid(s->quick, ARRAY_LEN(s->quick), oid); }

/* From here on others may make shapes of the table, too. */
static void prepared(struct worker *w)
{
	struct shapes *s = w->s;
	pthread_mutex_lock(&s->job_lock);
	s->preparing[w->index] = 0;
	if (s->create_jobs != NULL)
		pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
}

/* Shapes of the table take little time to copy. */
static void quick_table(struct shapes *s, uint32_t oid)
{
	pthread_mutex_lock(&s->job_lock);
	if (!is_quick(s, oid))
		s->quick[s->next_quick++ % ARRAY_LEN(s->quick)] = oid;
	pthread_mutex_unlock(&s->job_lock);
}

static void run_create(struct worker *w, struct job *j)
{
	struct shapes *s = w->s;
	struct creation c = {.w = w, .shapes = j->shapes, .n = j->nshapes};
	struct pg_table *table = j->shapes[0]->def.table;
	struct pg_snapshot snap = {0};
	struct err e = {0};
	int done = 0;
	refuse_unheld(&c);
	if (c.n == 0) {
		prepared(w);
		return;
	}
	int rc = join_table(&c, table, &e);
	if (rc == 0)
		rc = take_snapshot(&c, table, &snap, &e);
	if (rc == 0 && c.n > 1)
		rc = pg_command(w->snap, "SAVEPOINT of_one_shape", &e); /* one for all: going back to it keeps it */
	prepared(w);
	int64_t began_ms = clock_mono_ms();
	for (; rc == 0 && done < c.n; done++) {
		if (atomic_load(&j->shapes[done]->dropped))
			continue;
		struct err own = {0};
		if (copy_shape(&c, j->shapes[done], &snap, &own) == 0)
			continue;
		/* What the store doesn't take of one it doesn't take of the others: the transaction must end. */
		bool alone = own.kind != ERR_CANCELLED && own.kind != ERR_TIMEOUT;
		rc = c.n > 1 && alone ? go_on_without(w, &own) : -1;
		e = own;
		client_text(&c, &own);
		shape_set_failed(j->shapes[done], &own);
	}
	if (rc == 0 && clock_mono_ms() - began_ms <= (int64_t)QUICK_COPY_MS * c.n)
		quick_table(s, table->oid);
	if (w->snap != NULL)
		end_snapshot(w);
	if (w->large)
		drop_connection(&w->snap);
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

/* ---- looking after our tables ---- */

/* Where the column is now, -1: it is gone. One of its name with another number was made after it was dropped, or
 * renamed, and has values that the stream never told of. */
static int column_now(const struct pg_column *c, const struct pg_table *now)
{
	int at = pg_table_column(now, c->name, strlen(c->name));
	return at >= 0 && now->columns[at].attnum == c->attnum ? at : -1;
}

/* Labels of an enum, what a domain is made of, a collation: nothing in the stream tells of such changes, and
 * what the condition said of rows that are there already may not be true any more. */
static const char *condition_misfit(const struct shape *x, const struct pg_table *now)
{
	const struct pg_table *then = x->def.table;
	for (uint16_t i = 0; x->def.where != NULL && i < then->ncolumns; i++) {
		const struct pg_column *c = &then->columns[i];
		int at = column_now(c, now);
		if ((at < 0 || !pg_column_same_meaning(then, c, now, &now->columns[at])) && condition_uses(&x->def, i))
			return at < 0 ? "a column of the condition was dropped or renamed" : "the type or collation of a column of the condition changed";
	}
	return NULL;
}

static bool same_name(const struct pg_table *a, const struct pg_table *b)
{
	return strcmp(a->schema, b->schema) == 0 && strcmp(a->name, b->name) == 0;
}

/* NULL if the shape still is right for the table as it is now. */
static const char *shape_misfit(const struct shape *x, const struct pg_table *now)
{
	const struct pg_table *then = x->def.table;
	if (!same_name(then, now))
		return "the table was renamed";
	if (then->npk != now->npk)
		return "the table's key changed";
	for (uint16_t i = 0; i < then->npk; i++)
		if (strcmp(then->columns[then->pk[i]].name, now->columns[now->pk[i]].name) != 0)
			return "the table's key changed";
	if (now->keys > then->keys)
		return now->keys == PG_KEYS_CLASH ? "a child may have the same keys as its parent or another child" :
		       "what kept the table's keys unique was dropped, or made deferrable";
	for (uint32_t i = 0; i < then->nmembers; i++) {
		const struct pg_member *m = pg_table_member(now, then->members[i].oid);
		if (m != NULL && (strcmp(m->schema, then->members[i].schema) != 0 || strcmp(m->name, then->members[i].name) != 0))
			return "a child was renamed";
	}
	for (uint16_t i = 0; i < x->def.nselected; i++) {
		const struct pg_column *c = &then->columns[x->def.selected[i]];
		int at = column_now(c, now);
		if (at < 0)
			return "a selected column was dropped or renamed";
		if (!pg_column_keeps_values(then, c, now, &now->columns[at]))
			return "the type of a selected column changed";
	}
	if (x->def.selects_all && then->ncolumns != now->ncolumns)
		return "columns were added or dropped";
	return condition_misfit(x, now);
}

/* Those that stay have the schema header of now. */
static void rotate_misfits(struct shapes *s, struct pg_table *now)
{
	size_t n;
	struct shape **all = registry_shapes(s, now->oid, &n);
	/* Nearly always a table's shapes share one description, and it is as it was. */
	const struct pg_table *as_was = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct pg_table *then = all[i]->def.table;
		if (then != as_was && same_name(then, now) && pg_table_same_columns(then, now))
			as_was = then;
		const char *why = then == as_was ? NULL : shape_misfit(all[i], now);
		if (why != NULL)
			shape_rotate(all[i], why);
		else if (then != now)
			shape_renew_header(all[i], now);
		shape_unref(all[i]);
	}
	free(all);
}

/* Still in the publication, by the same entry; leaves that came since become REPLICA IDENTITY FULL. Writers are the
 * concern of shapes to come: here nobody is waited for, since all other tables would be watched only after that. */
static int check_publication(struct worker *w, PGconn *conn, struct pg_table *was, struct pg_table *now, struct err *e)
{
	struct shapes *s = w->s;
	struct pg_join known = {0}, join = {0};
	bool has_known = false;
	if (!claim_table(s, was->oid, &known, &has_known))
		return 0; /* somebody joins it right now */
	uint32_t rel = 0;
	if (!has_known) {
		release_table(s, was, NULL, NULL);
		return 0;
	}
	if (pg_publication_check(conn, s->config, was->oid, &rel, e) != 0) {
		release_table(s, was, NULL, NULL);
		return -1;
	}
	if (rel != known.publication_rel_oid) {
		/* What happened to the table meanwhile never came. The next request joins it again. */
		rotate_older(s, was->oid, NULL, 0, rel == 0 ? "the table was taken out of the publication" : "the table left the publication and came back");
		release_table(s, was, NULL, NULL);
		return 0;
	}
	int rc = pg_publication_keep(conn, s->config, server_version(s), now, &known, stopping, s, &join, e);
	release_table(s, now, rc == 0 ? &join : NULL, was);
	if (rc != 0)
		log_warning("Table %s.%s: %s", now->schema, now->name, e->text);
	return 0;
}

static bool is_tables_view(struct shapes *s, const struct pg_table *was)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct table_state *t = registry_table(s, was->oid);
	bool is = t != NULL && t->table == was;
	pthread_rwlock_unlock(&s->registry_lock);
	return is;
}

/* What became of the leaves since `was`. -1: an outage. */
static int look_at_leaves(struct shapes *s, PGconn *conn, const struct pg_table *was, const struct pg_table *now, struct err *e)
{
	/* INGEST hears of each leaf that came or went, not of all that there were a moment ago: it may have met
	 * a younger one since. */
	if (same_leaves(was, now))
		return 0;
	registry_cache_doubt(s, was->oid); /* whoever comes after a rotation finds the leaves of now */
	if (!is_tables_view(s, was))
		return 0; /* somebody else is dealing with it */
	/* A partition is published through its table, from its first row on; a child's rows come once it is itself. */
	if (now->relkind != 'p')
		shapes_rotate_table(s, was->oid, "a child was added or removed");
	for (uint32_t i = 0; i < was->nleaves; i++)
		if (!pg_table_has_leaf(now, was->leaves[i])) {
			shapes_rotate_table(s, was->oid, "a partition was detached or dropped");
			if (post_leaf(s, conn, was->leaves[i], 0, e) < 0)
				return -1;
		}
	for (uint32_t i = 0; i < now->nleaves; i++)
		if (!pg_table_has_leaf(was, now->leaves[i]) && post_leaf(s, conn, now->leaves[i], 0, e) < 0)
			return -1;
	cmd_settle(s);
	return 0;
}

/* The catalog's view of a table that has shapes: *now is the caller's, NULL if it is gone. -1: an outage. */
static int look_at_table(struct shapes *s, PGconn *conn, struct pg_table *was, struct pg_table **now, struct err *e)
{
	*now = NULL;
	int rc = pg_catalog_lookup_oid(conn, was->oid, now, e);
	if (rc < 0)
		return -1;
	if (rc == 1) {
		shapes_rotate_table(s, was->oid, "the table was dropped");
		return 0;
	}
	if (!pg_table_same_columns(was, *now) || strcmp(was->schema_json, (*now)->schema_json) != 0)
		registry_cache_doubt(s, was->oid);
	rotate_misfits(s, *now);
	if (look_at_leaves(s, conn, was, *now, e) == 0)
		return 0;
	pg_table_unref(*now);
	*now = NULL;
	return -1;
}

/* One table that has shapes: catalog, partitions, publication. -1: an outage, try again later. */
static int reconcile_table(struct worker *w, struct pg_table *was, struct err *e)
{
	struct pg_table *now;
	PGconn *conn = connection(w, false, e);
	if (conn == NULL || look_at_table(w->s, conn, was, &now, e) != 0)
		return -1;
	int rc = now != NULL ? check_publication(w, conn, was, now, e) : 0;
	pg_table_unref(now);
	return rc;
}

/* The leaves of `was` have been dealt with; the publication hasn't been looked at. */
static void view_replaced(struct shapes *s, const struct pg_table *was, struct pg_table *now)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *t = registry_table(s, was->oid);
	if (t != NULL && t->table == was) {
		t->table = pg_table_ref(now);
		if (t->joined)
			table_save(s, t);
	} else {
		was = NULL;
	}
	pthread_rwlock_unlock(&s->registry_lock);
	if (was != NULL)
		pg_table_unref((struct pg_table *)was);
}

/* What the look that begins now covers. */
static int covers(PGconn *conn, struct cmd *c, struct err *e)
{
	PGresult *r = pg_query(conn, "SELECT pg_catalog.pg_current_wal_insert_lsn(),"
	                             " pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())", 0, NULL, e);
	if (r == NULL)
		return -1;
	int rc = lsn_parse(PQgetvalue(r, 0, 0), &c->lsn) ? 0 : err_set(e, ERR_PROTOCOL, "Postgres answered with a position that can't be read");
	c->xmin = strtoull(PQgetvalue(r, 0, 1), NULL, 10);
	PQclear(r);
	return rc;
}

static int look_at_one(struct worker *w, PGconn *conn, uint32_t oid, bool *changed, struct err *e)
{
	struct shapes *s = w->s;
	struct pg_table *was = NULL, *now;
	pthread_rwlock_rdlock(&s->registry_lock);
	struct table_state *t = registry_table(s, oid);
	if (t != NULL && t->nshapes > 0)
		was = pg_table_ref(t->table);
	pthread_rwlock_unlock(&s->registry_lock);
	if (was == NULL)
		return 0;
	int rc = look_at_table(s, conn, was, &now, e);
	if (rc == 0 && now != NULL && !same_leaves(was, now)) {
		view_replaced(s, was, now);
		*changed = true; /* new leaves are to be REPLICA IDENTITY FULL */
	}
	pg_table_unref(now);
	pg_table_unref(was);
	return rc;
}

/* Says which tables couldn't be looked at, of those with shapes. */
static void warn_not_looked_at(struct shapes *s, const struct job *j, const struct err *e)
{
	struct buf names = BUF_INIT(RECORD_BYTES_MAX);
	size_t more = 0;
	buf_puts(&names, "");
	pthread_rwlock_rdlock(&s->registry_lock);
	for (size_t i = 0; i < j->noids; i++) {
		const struct table_state *t = registry_table(s, j->oids[i]);
		if (i < LOOK_NAMED_MAX && t != NULL)
			buf_printf(&names, "%s%s.%s", names.len > 0 ? ", " : "", t->table->schema, t->table->name);
		else
			more += t != NULL;
	}
	pthread_rwlock_unlock(&s->registry_lock);
	if (more > 0)
		buf_printf(&names, " and %zu more", more);
	log_warning("Looking at what changed of %s: %s", names.data, e->text);
	buf_clear(&names);
}

/* INGEST waits for this: tables of which it got another description. */
static void run_look(struct worker *w, struct job *j)
{
	struct shapes *s = w->s;
	struct err e = {0};
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_LOOKED;
	c->number = j->number;
	bool changed = false;
	PGconn *conn = connection(w, false, &e);
	if (conn == NULL || (j->xid != 0 && wait_until_seen(s, conn, j->xid, &e) != 0) || covers(conn, c, &e) != 0)
		c->result = -1;
	for (size_t i = 0; c->result == 0 && i < j->noids; i++)
		c->result = look_at_one(w, conn, j->oids[i], &changed, &e);
	if (c->result != 0) {
		pg_advise_catalog(&e, s->config);
		warn_not_looked_at(s, j, &e);
	}
	if (c->result != 0 && is_refusal(conn, &e)) {
		char why[WHY_MAX];
		snprintf(why, sizeof why, "a change of the table could not be looked at: %s", e.text);
		for (size_t i = 0; i < j->noids; i++)
			shapes_rotate_table(s, j->oids[i], why);
		c->result = 0;
	}
	cmd_post(s, c);
	if (changed)
		jobs_reconcile_now(s);
}

/* Tables without shapes for a while leave the publication, if it was us who added them. */
static void leave_table(struct worker *w, struct pg_table *t)
{
	struct shapes *s = w->s;
	struct err e = {0};
	struct pg_join join = {0};
	bool known = false;
	PGconn *conn = connection(w, false, &e);
	if (conn == NULL || !claim_table(s, t->oid, &join, &known))
		return;
	pthread_rwlock_rdlock(&s->registry_lock);
	bool used = registry_table(s, t->oid)->nshapes > 0;
	pthread_rwlock_unlock(&s->registry_lock);
	if (used) { /* meanwhile; one that comes after our claim waits for it, and joins the table again */
		release_table(s, t, NULL, NULL);
		return;
	}
	int rc = known && join.added_by_us ? pg_publication_leave(conn, s->config, t, &e) : 0;
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *st = registry_table(s, t->oid);
	st->joining = false;
	if (rc == 0) {
		st->joined = false;
		if (st->nshapes == 0) {
			map_del(&s->tables, &st->oid, sizeof st->oid);
			pg_table_unref(st->table);
			free(st->ground);
			free(st);
		}
		writer_put(s, item_table_new_gone(t->oid));
	}
	pthread_rwlock_unlock(&s->registry_lock);
	if (rc != 0)
		log_warning("Table %s.%s stays in the publication: %s", t->schema, t->name, e.text);
	else
		log_info("Table %s.%s has no shapes any more and left the publication", t->schema, t->name);
}

static void prune(struct worker *w, PGconn *conn)
{
	PGresult *r = PQexec(conn, "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())");
	if (PQresultStatus(r) == PGRES_TUPLES_OK) {
		struct cmd *c = mem_zalloc(sizeof *c);
		c->kind = CMD_PRUNE;
		c->xmin = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
		cmd_post(w->s, c);
	}
	PQclear(r);
}

static void run_reconcile(struct worker *w)
{
	struct shapes *s = w->s;
	if (shapes_status(s) != SHAPES_ACTIVE)
		return;
	int64_t now = clock_mono_ms();
	pthread_rwlock_rdlock(&s->registry_lock);
	size_t n = 0, max = s->tables.len;
	struct pg_table **used = mem_alloc((max + 1) * sizeof *used), **idle = mem_alloc((max + 1) * sizeof *idle);
	size_t nidle = 0;
	struct table_state *t;
	for (size_t i = 0; (t = map_next(&s->tables, &i)) != NULL;) {
		if (t->nshapes > 0)
			used[n++] = pg_table_ref(t->table);
		else if (now - t->idle_since_ms > TABLE_LINGER_MS)
			idle[nidle++] = pg_table_ref(t->table);
	}
	pthread_rwlock_unlock(&s->registry_lock);
	struct err e = {0};
	bool fine = true;
	for (size_t i = 0; i < n; i++) {
		if (fine && !atomic_load(&s->stopping) && reconcile_table(w, used[i], &e) != 0) {
			fine = false;
			log_warning("Looking after table %s.%s: %s", used[i]->schema, used[i]->name, e.text);
			if (e.kind == ERR_PG_CONN)
				drop_connection(&w->admin);
		}
		pg_table_unref(used[i]);
	}
	for (size_t i = 0; i < nidle; i++) {
		if (fine && !atomic_load(&s->stopping))
			leave_table(w, idle[i]);
		pg_table_unref(idle[i]);
	}
	PGconn *conn = fine ? connection(w, false, &e) : NULL;
	if (conn != NULL)
		prune(w, conn);
	free(used);
	free(idle);
}

/* ---- watching ---- */

/*
 * DDL writes nothing into the stream, and a table that was dropped, changed, taken out of the publication, or got a
 * partition must not wait for the next reconciliation. Whatever looks different is then looked at in full: the
 * ground (ground.c), and here types that aren't built in and collations by name, if our tables have any, for `ALTER
 * TYPE` touches nothing of a table. The database's default collation can wait for the reconciliation.
 */
static const char watch_types_sql[] =
	"SELECT t.oid, t.xmin::pg_catalog.text || ' ' || (SELECT pg_catalog.count(*)::pg_catalog.text || ' ' ||"
	" coalesce(pg_catalog.sum(l.xmin::pg_catalog.text::pg_catalog.int8), 0)::pg_catalog.text"
	" FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid) || coalesce((SELECT ' ' || pg_catalog.string_agg(a.attnum::pg_catalog.text ||"
	" a.attisdropped::pg_catalog.text || a.xmin::pg_catalog.text, ' ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a"
	" WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0), '') FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1::pg_catalog.oid[])"
	" UNION ALL"
	" SELECT c.oid, c.xmin::pg_catalog.text FROM pg_catalog.pg_collation c WHERE c.oid = ANY ($1::pg_catalog.oid[])";

#define OID_TEXT_MAX 12

static bool is_watched_oid(uint32_t oid) { return oid >= 10000; } /* those below came with Postgres and stay as they are */

static void put_watched_oid(struct buf *list, struct map *seen, const uint32_t *oid)
{
	if (is_watched_oid(*oid) && map_put(seen, oid, sizeof *oid, seen) == NULL)
		buf_printf(list, "%s%" PRIu32, list->len == 0 ? "{" : ",", *oid);
}

/* What the query says of the types of these tables: oid as text -> what is said, both in the result, which
 * the caller frees. NULL: nothing to ask for, or no answer (*failed). */
static PGresult *watch_types(PGconn *conn, struct pg_table *const *used, size_t n, struct map *rows, bool *failed)
{
	struct buf list = BUF_INIT(RECORD_BYTES_MAX);
	struct map seen = MAP_INIT;
	for (size_t i = 0; i < n; i++) {
		for (uint16_t k = 0; k < used[i]->ntypes; k++)
			put_watched_oid(&list, &seen, &used[i]->types[k].oid);
		for (uint16_t k = 0; k < used[i]->ncollations; k++)
			put_watched_oid(&list, &seen, &used[i]->collations[k].oid);
	}
	map_clear(&seen);
	if (list.len == 0)
		return NULL;
	buf_putc(&list, '}');
	PGresult *r = PQexecParams(conn, watch_types_sql, 1, NULL, (const char *const[]){list.data}, NULL, NULL, 0);
	*failed = PQresultStatus(r) != PGRES_TUPLES_OK;
	for (int i = 0; !*failed && i < PQntuples(r); i++)
		map_put(rows, PQgetvalue(r, i, 0), strlen(PQgetvalue(r, i, 0)), PQgetvalue(r, i, 1));
	buf_clear(&list);
	return r;
}

static uint64_t hash_said(uint64_t h, const struct map *rows, uint32_t oid)
{
	char text[OID_TEXT_MAX];
	int len = snprintf(text, sizeof text, "%" PRIu32, oid);
	const char *said = is_watched_oid(oid) ? map_get(rows, text, (size_t)len) : NULL;
	for (const char *p = said != NULL ? said : ""; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
	return h * 31 + oid;
}

/* All that is said of a table's types and collations. */
static uint64_t watched_hash(const struct pg_table *t, const struct map *types)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (uint16_t i = 0; i < t->ntypes; i++)
		h = hash_said(h, types, t->types[i].oid);
	for (uint16_t i = 0; i < t->ncollations; i++)
		h = hash_said(h, types, t->collations[i].oid);
	return h != 0 ? h : 1;
}

/* `now`: a hash of what the query says of the table's types, 0: the table isn't there. */
static void watch_result(struct worker *w, uint64_t now, struct pg_table *t)
{
	struct shapes *s = w->s;
	bool differs = now == 0;
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *st = registry_table(s, t->oid);
	if (st != NULL && now != 0) {
		/* At the first look too: the table may have changed since the shape was made, and the stream doesn't tell. */
		differs = st->watched != now || st->watched_ground != st->ground_version;
		st->watched = now;
		st->watched_ground = st->ground_version;
	}
	pthread_rwlock_unlock(&s->registry_lock);
	struct err e = {0};
	if (differs && reconcile_table(w, t, &e) != 0) {
		log_warning("Looking after table %s.%s: %s", t->schema, t->name, e.text);
		jobs_reconcile_now(s);
	}
}

/* The stream has started and waits for this: what happened while there was none. */
static void run_ground(struct worker *w, struct job *j)
{
	struct shapes *s = w->s;
	struct err e = {0};
	PGconn *conn = connection(w, false, &e);
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_GROUND;
	c->number = j->number;
	uint32_t *gone = NULL; /* others see to that */
	size_t ngone;
	c->result = conn == NULL ? -1 : ground_look(s, conn, &gone, &ngone, &e);
	free(gone);
	if (c->result != 0) {
		pg_advise_catalog(&e, s->config);
		log_warning("Looking at the publication and our tables: %s", e.text);
	}
	if (c->result != 0 && is_refusal(conn, &e)) {
		shapes_rotate_all(s, "the publication and the tables could not be looked at as the stream began");
		c->result = 0;
	}
	cmd_post(s, c);
}

/* What a look costs grows with all partitions of our tables: it may take a part of the time only. One that is slow by
 * itself says nothing of that: it waited for a lock, or found no cache filled. */
static void rest_from_watch(struct shapes *s, int64_t began_ms)
{
	int64_t now = clock_mono_ms(), took = now - began_ms;
	pthread_mutex_lock(&s->job_lock);
	int64_t least = took < s->watch_took_ms ? took : s->watch_took_ms;
	int64_t rest = least > WATCH_FREE_MS ? (least - WATCH_FREE_MS) * WATCH_REST_TIMES : 0;
	int64_t next = now + (rest < WATCH_REST_MAX_MS ? rest : WATCH_REST_MAX_MS);
	if (s->next_watch_ms < next)
		s->next_watch_ms = next;
	s->watch_took_ms = took;
	pthread_mutex_unlock(&s->job_lock);
}

static void run_watch(struct worker *w)
{
	struct shapes *s = w->s;
	if (shapes_status(s) != SHAPES_ACTIVE)
		return;
	pthread_rwlock_rdlock(&s->registry_lock);
	struct pg_table **used = mem_alloc((s->tables.len + 1) * sizeof *used);
	size_t n = 0, ngone = 0;
	struct table_state *t;
	for (size_t i = 0; (t = map_next(&s->tables, &i)) != NULL;)
		if (t->nshapes > 0)
			used[n++] = pg_table_ref(t->table);
	pthread_rwlock_unlock(&s->registry_lock);
	struct err e;
	struct map types = MAP_INIT; /* oid as text -> what is said of it */
	uint32_t *gone = NULL;
	PGresult *of_types = NULL;
	PGconn *conn = n > 0 ? connection(w, false, &e) : NULL;
	bool failed = conn == NULL;
	int64_t began_ms = clock_mono_ms();
	if (conn != NULL && ground_look(s, conn, &gone, &ngone, &e) != 0) {
		pg_advise_catalog(&e, s->config);
		log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "Looking at the publication and our tables: %s", e.text);
		failed = true;
	}
	if (!failed)
		of_types = watch_types(conn, used, n, &types, &failed);
	rest_from_watch(s, began_ms);
	for (size_t i = 0; i < n; i++) {
		if (!failed)
			watch_result(w, has_oid(gone, ngone, used[i]->oid) ? 0 : watched_hash(used[i], &types), used[i]);
		pg_table_unref(used[i]);
	}
	map_clear(&types);
	PQclear(of_types);
	free(gone);
	free(used);
}

/* ---- eviction ---- */

struct aged {
	int64_t read_ms;
	struct shape *shape;
};

static int by_age(const void *a, const void *b)
{
	int64_t x = ((const struct aged *)a)->read_ms, y = ((const struct aged *)b)->read_ms;
	return x < y ? -1 : x > y;
}

static void evict(struct shapes *s)
{
	if (s->config->max_shapes <= 0)
		return;
	pthread_rwlock_rdlock(&s->registry_lock);
	size_t n = 0, count = s->by_handle.len;
	struct aged *all = mem_alloc((count + 1) * sizeof *all);
	struct shape *x;
	for (size_t i = 0; (x = map_next(&s->by_handle, &i)) != NULL;)
		all[n++] = (struct aged){atomic_load(&x->read_ms), shape_ref(x)};
	pthread_rwlock_unlock(&s->registry_lock);
	size_t excess = n > (size_t)s->config->max_shapes ? n - (size_t)s->config->max_shapes : 0;
	if (excess > 0) {
		log_info("Expiring shapes as the number of shapes has exceeded the limit");
		qsort(all, n, sizeof *all, by_age);
	}
	for (size_t i = 0; i < n; i++) {
		if (i < excess)
			shape_rotate(all[i].shape, "the number of shapes exceeded ELECTRIC_MAX_SHAPES");
		shape_unref(all[i].shape);
	}
	free(all);
}

/* ---- the threads ---- */

static struct job *pop(struct job **head, struct job ***tail)
{
	struct job *j = *head;
	if (j == NULL)
		return NULL;
	*head = j->next;
	if (*head == NULL)
		*tail = head;
	return j;
}

/*
 * The first of a table that no other thread is joining and taking a snapshot of: those that wait for it will share
 * the next one, which costs more than the rows of a small table. With job_lock held.
 */
static struct job *pop_create(struct worker *w)
{
	struct shapes *s = w->s;
	struct job **at = &s->create_jobs, *j;
	for (size_t looked = 0; (j = *at) != NULL && looked < CREATE_LOOK_MAX; at = &j->next, looked++) {
		uint32_t oid = j->shapes[0]->def.table->oid;
		if (has_oid(s->preparing, ARRAY_LEN(s->preparing), oid))
			continue;
		*at = j->next;
		if (j->next == NULL)
			s->create_tail = at;
		s->preparing[w->index] = oid;
		return j;
	}
	return NULL;
}

/* Takes others of the same table along: they share the snapshot. With job_lock held. */
static void gather(struct shapes *s, struct job *first)
{
	struct job **at = &s->create_jobs;
	int max = is_quick(s, first->shapes[0]->def.table->oid) ? SNAPSHOT_SHARED_MAX : SNAPSHOT_SHARED_SLOW_MAX;
	while (*at != NULL && first->nshapes < max) {
		struct job *j = *at;
		if (j->shapes[0]->def.table != first->shapes[0]->def.table) {
			at = &j->next;
			continue;
		}
		*at = j->next;
		first->shapes[first->nshapes++] = j->shapes[0];
		free(j);
	}
	s->create_tail = &s->create_jobs;
	while (*s->create_tail != NULL)
		s->create_tail = &(*s->create_tail)->next;
}

static bool take_reconcile(struct shapes *s)
{
	int64_t now = clock_mono_ms();
	if (s->reconcile_queued || (!s->reconcile_now && now < s->next_reconcile_ms))
		return false;
	s->reconcile_queued = true;
	s->reconcile_now = false;
	int64_t period = s->config->schema_reconciler_ms < s->config->publication_refresh_ms ? s->config->schema_reconciler_ms
	                                                                                     : s->config->publication_refresh_ms;
	s->next_reconcile_ms = now + period;
	return true;
}

static bool take_watch(struct shapes *s)
{
	int64_t now = clock_mono_ms();
	bool soon = atomic_load(&s->watch_soon) && now >= s->next_watch_ms - TABLE_WATCH_MS + TABLE_WATCH_SOON_MS;
	if (s->reconcile_queued || (!soon && now < s->next_watch_ms))
		return false;
	atomic_store(&s->watch_soon, false);
	s->next_watch_ms = now + TABLE_WATCH_MS;
	s->reconcile_queued = true;
	return true;
}

static void run_job(struct worker *w, struct job *j)
{
	switch (j->kind) {
	case JOB_LOOKUP:
		run_lookup(w, j);
		break;
	case JOB_CREATE:
		run_create(w, j);
		break;
	case JOB_RESOLVE:
		run_resolve(w, j);
		break;
	case JOB_WAL_END:
		run_wal_end(w);
		break;
	case JOB_GROUND:
		run_ground(w, j);
		break;
	case JOB_LOOK:
		run_look(w, j);
		break;
	}
	job_free(j);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct shapes *s = w->s;
	pthread_mutex_lock(&s->job_lock);
	while (!s->pg_stop) {
		struct job *j = w->creates ? pop_create(w) : pop(&s->admin_jobs, &s->admin_tail);
		if (j != NULL && w->creates)
			gather(s, j);
		bool reconcile = j == NULL && !w->creates && take_reconcile(s);
		bool watch = j == NULL && !w->creates && !reconcile && take_watch(s);
		if (j == NULL && !reconcile && !watch) {
			clock_cond_wait(&s->job_cond, &s->job_lock, atomic_load(&s->watch_soon) ? TABLE_WATCH_SOON_MS : TABLE_WATCH_MS);
			if (clock_mono_ms() - w->used_ms > CONNECTION_IDLE_MS && (w->admin != NULL || w->snap != NULL)) {
				pthread_mutex_unlock(&s->job_lock);
				drop_connection(&w->admin);
				drop_connection(&w->snap);
				pthread_mutex_lock(&s->job_lock);
			}
			continue;
		}
		pthread_mutex_unlock(&s->job_lock);
		if (j != NULL) {
			run_job(w, j);
		} else if (watch) {
			run_watch(w);
		} else {
			run_reconcile(w);
			evict(s);
		}
		pthread_mutex_lock(&s->job_lock);
		if (reconcile || watch)
			s->reconcile_queued = false;
	}
	pthread_mutex_unlock(&s->job_lock);
	drop_connection(&w->admin);
	drop_connection(&w->snap);
	free(w);
	return NULL;
}

int pgwork_start(struct shapes *s, struct err *e)
{
	/* At least one of each, whatever the pool; subsets have theirs for themselves, so that shapes can always
	 * be made. */
	int pool = s->config->db_pool_size, subsets = pool / SUBSET_POOL_PART;
	subsets = subsets < 1 ? 1 : subsets > SUBSET_THREADS_MAX ? SUBSET_THREADS_MAX : subsets;
	int creates = (pool - ADMIN_THREADS - subsets) / 2;
	creates = creates < 1 ? 1 : creates > CREATE_THREADS_MAX ? CREATE_THREADS_MAX : creates;
	s->next_reconcile_ms = clock_mono_ms() + s->config->schema_reconciler_ms;
	for (int i = 0; i < ADMIN_THREADS + creates; i++) {
		struct worker *w = mem_zalloc(sizeof *w);
		w->s = s;
		w->creates = i >= ADMIN_THREADS;
		w->index = i;
		int rc = pthread_create(&s->pg_threads[s->npg], NULL, worker_main, w);
		if (rc != 0) {
			free(w);
			return err_errno(e, rc, "cannot start a database thread");
		}
		s->npg++;
	}
	return subsets_start(s, subsets, e);
}

void pgwork_stop(struct shapes *s)
{
	subsets_stop(s);
	pthread_mutex_lock(&s->job_lock);
	s->pg_stop = true;
	pthread_cond_broadcast(&s->job_cond);
	pthread_mutex_unlock(&s->job_lock);
	for (int i = 0; i < s->npg; i++)
		pthread_join(s->pg_threads[i], NULL);
	s->npg = 0;
	struct job *j;
	while ((j = pop(&s->admin_jobs, &s->admin_tail)) != NULL || (j = pop(&s->create_jobs, &s->create_tail)) != NULL)
		job_free(j);
}
