/*
 * leaves.c - partitions and children: whose a relation is that INGEST met, and whether the catalog can say so yet.
 */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

#define UNSEEN_WAIT_MS 3000 /* the stream waits for a transaction to become visible */
#define UNSEEN_POLL_MIN_MS 2 /* all of pg_locks is read each time */
#define UNSEEN_POLL_MAX_MS 50

bool leaves_same(const struct pg_table *a, const struct pg_table *b)
{
	bool same = a->nleaves == b->nleaves;
	for (uint32_t i = 0; same && i < a->nleaves; i++)
		same = a->leaves[i] == b->leaves[i];
	return same;
}

static bool table_has_shapes(struct shapes *s, uint32_t oid)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct table_state *t = registry_table(s, oid);
	bool has = t != NULL && t->nshapes > 0;
	pthread_rwlock_unlock(&s->registry_lock);
	return has;
}

int leaves_wait_seen(struct shapes *s, PGconn *conn, uint32_t xid, struct err *e)
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
				shapes_rotate_table(s, parents[i], REASON_CATALOG_UNREAD,
				                    "a transaction that changed the table still counts as running");
		}
		free(parents);
		if (waits && prep_stopping(s))
			return err_set(e, ERR_CANCELLED, "stopping");
		struct timespec ts = {0, poll_ms * 1000000};
		if (waits && !late)
			nanosleep(&ts, NULL);
		poll_ms = poll_ms * 2 < UNSEEN_POLL_MAX_MS ? poll_ms * 2 : UNSEEN_POLL_MAX_MS;
	}
	return 0;
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

void leaves_rotate_families(struct shapes *s, enum reason reason, const char *why)
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
		shapes_rotate_table(s, oids[i], reason, why);
	free(oids);
}

int leaves_post(struct shapes *s, PGconn *conn, uint32_t oid, uint32_t xid, const char *relation, struct err *e)
{
	REQUIRE(xid == 0 || relation != NULL);
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_RESOLVED;
	c->oid = oid;
	c->xid = xid;
	int n = -1;
	if (conn != NULL && (xid == 0 || leaves_wait_seen(s, conn, xid, e) == 0))
		n = pg_catalog_ancestors(conn, oid, c->ancestors, (int)ARRAY_LEN(c->ancestors), e);
	c->nancestors = n < 0 ? 0 : n;
	c->result = n < 0 ? -1 : 0;
	if (n < 0 && xid != 0) {
		pg_advise_catalog(e, s->config);
		log_warning("Looking whose partition relation %s is: %s", relation, e->text);
	}
	if (n < 0 && xid != 0 && session_refused(conn, e)) {
		leaves_rotate_families(s, REASON_CATALOG_UNREAD,
		                "a relation may be a partition of the table, and Postgres didn't say of which it is one");
		c->result = 0;
	}
	bool asked = false, rows = false;
	for (int i = 0; i < c->nancestors; i++) {
		if (!leaf_is_news(s, c->ancestors[i], oid))
			continue;
		if (!asked)
			rows = pg_catalog_attached_with_rows(conn, oid);
		asked = true;
		c->had_rows[i] = rows;
	}
	cmd_post(s, c);
	return n;
}

/* INGEST met a relation it doesn't know and waits for this. */
void leaves_resolve(struct pg_thread *w, struct job *j)
{
	struct err e = {0};
	PGconn *conn = session_admin(w, &e);
	if (leaves_post(w->s, conn, j->oid, j->xid, j->relation, &e) > 0)
		jobs_reconcile_now(w->s); /* the leaf is to be REPLICA IDENTITY FULL */
}
