/*
 * inspect.c - one table with shapes, compared with the catalog: what doesn't fit it any more rotates. For INGEST, which waits
 * (JOB_LOOK), and for the watch and the reconciliation.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "pg/horizon.h"
#include "shapes/core/cache.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

#define LOOK_NAMED_MAX 5 /* tables named in a warning */
#define WHY_MAX 400 /* of why a shape ends, with what Postgres said */

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
	if (leaves_same(was, now))
		return 0;
	registry_cache_doubt(s, was->oid); /* whoever comes after a rotation finds the leaves of now */
	if (!is_tables_view(s, was))
		return 0; /* somebody else is dealing with it */
	/* A partition is published through its table, from its first row on; a child's rows come once it is itself. */
	if (now->relkind != 'p')
		shapes_rotate_table(s, was->oid, REASON_PARTITION_CHANGED, "a child was added or removed");
	for (uint32_t i = 0; i < was->nleaves; i++)
		if (!pg_table_has_leaf(now, was->leaves[i])) {
			shapes_rotate_table(s, was->oid, REASON_PARTITION_CHANGED, "a partition was detached or dropped");
			if (leaves_post(s, conn, was->leaves[i], 0, NULL, e) < 0)
				return -1;
		}
	for (uint32_t i = 0; i < now->nleaves; i++)
		if (!pg_table_has_leaf(was, now->leaves[i]) && leaves_post(s, conn, now->leaves[i], 0, NULL, e) < 0)
			return -1;
	cmd_settle(s);
	return 0;
}

int inspect_table(struct shapes *s, PGconn *conn, struct pg_table *was, struct pg_table **now, struct err *e)
{
	*now = NULL;
	int rc = pg_catalog_lookup_oid(conn, was->oid, now, e);
	if (rc < 0)
		return -1;
	if (rc == 1) {
		shapes_rotate_table(s, was->oid, REASON_TABLE_GONE, "the table was dropped");
		return 0;
	}
	if (!pg_table_same_columns(was, *now) || strcmp(was->schema_json, (*now)->schema_json) != 0)
		registry_cache_doubt(s, was->oid);
	misfits_rotate(s, *now);
	if (look_at_leaves(s, conn, was, *now, e) == 0)
		return 0;
	pg_table_unref(*now);
	*now = NULL;
	return -1;
}

/* The table is known as `now` from here on, with registry_lock held. Nothing of the table is to be dealt with, but for what the
 * publication has. */
static void set_view(struct shapes *s, struct table_state *t, struct pg_table *now)
{
	pg_table_unref(t->table);
	t->table = pg_table_ref(now);
	if (t->joined)
		table_save(s, t);
}

/* The leaves of `was` have been dealt with; the publication hasn't been looked at. */
static void view_replaced(struct shapes *s, const struct pg_table *was, struct pg_table *now)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *t = registry_table(s, was->oid);
	if (t != NULL && t->table == was)
		set_view(s, t, now);
	pthread_rwlock_unlock(&s->registry_lock);
}

void table_renew(struct shapes *s, struct pg_table *now)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *t = registry_table(s, now->oid);
	if (t != NULL && leaves_same(t->table, now) && strcmp(t->table->schema_json, now->schema_json) != 0)
		set_view(s, t, now);
	pthread_rwlock_unlock(&s->registry_lock);
}

static int look_at_one(struct pg_thread *w, PGconn *conn, uint32_t oid, bool *changed, struct err *e)
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
	int rc = inspect_table(s, conn, was, &now, e);
	if (rc == 0 && now != NULL && !leaves_same(was, now)) {
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
void inspect_run(struct pg_thread *w, struct job *j)
{
	struct shapes *s = w->s;
	struct err e = {0};
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_LOOKED;
	c->number = j->number;
	REQUIRE(j->noids > 0);
	bool changed = false;
	PGconn *conn = session_admin(w, &e);
	if (conn == NULL || (j->xid != 0 && leaves_wait_seen(s, conn, j->xid, &e) != 0) || pg_horizon(conn, &c->lsn, &c->xmin, &e) != 0)
		c->result = -1;
	for (size_t i = 0; c->result == 0 && i < j->noids; i++)
		c->result = look_at_one(w, conn, j->oids[i], &changed, &e);
	if (c->result != 0) {
		pg_advise_catalog(&e, s->config);
		warn_not_looked_at(s, j, &e);
	}
	if (c->result != 0 && session_refused(conn, &e)) {
		char why[WHY_MAX];
		snprintf(why, sizeof why, "a change of the table could not be looked at: %s", e.text);
		for (size_t i = 0; i < j->noids; i++)
			shapes_rotate_table(s, j->oids[i], REASON_CATALOG_UNREAD, why);
		c->result = 0;
	}
	cmd_post(s, c);
	if (changed)
		jobs_reconcile_now(s);
}
