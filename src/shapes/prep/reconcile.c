/*
 * reconcile.c - what we remember of our tables against the catalog and the publication, each now and then: entries, identities,
 * tables that no shape needs any more.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/horizon.h"
#include "pg/publication.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/logs/writer.h"
#include "shapes/prep/prep.h"

/* A table leaves the publication this long after its last shape. */
#define TABLE_LINGER_MS 600000

/* Still in the publication, by the same entry; leaves that came since become REPLICA IDENTITY FULL. Writers are the
 * concern of shapes to come: here nobody is waited for, since all other tables would be watched only after that. */
static int check_publication(struct pg_thread *w, PGconn *conn, struct pg_table *was, struct pg_table *now, struct err *e)
{
	struct shapes *s = w->s;
	struct pg_join known = {0}, join = {0};
	bool has_known = false;
	if (!claim_table(s, was->oid, &known, &has_known))
		return 0; /* somebody joins it right now */
	uint32_t rel = 0;
	if (!has_known) {
		claim_release(s, was, NULL, NULL);
		return 0;
	}
	if (pg_publication_check(conn, s->config, was->oid, &rel, e) != 0) {
		claim_release(s, was, NULL, NULL);
		return -1;
	}
	if (rel != known.publication_rel_oid) {
		/* What happened to the table meanwhile never came. The next request joins it again. */
		claim_rotate_older(s, was->oid, NULL, 0, REASON_PUBLICATION_CHANGED,
		                   rel == 0 ? "the table was taken out of the publication" : "the table left the publication and came back");
		claim_release(s, was, NULL, NULL);
		return 0;
	}
	int rc = pg_publication_keep(conn, s->config, shapes_server_version(s), now, &known, prep_stopping, s, &join, e);
	claim_release(s, now, rc == 0 ? &join : NULL, was);
	if (rc != 0)
		log_seldom(LOG_WARNING, log_repeat_key(log_repeat_key(0, &now->oid, sizeof now->oid), e->text, strlen(e->text)), "Table %s.%s: %s",
		           now->schema, now->name, e->text);
	return 0;
}

int reconcile_table(struct pg_thread *w, struct pg_table *was, struct err *e)
{
	struct pg_table *now;
	PGconn *conn = session_admin(w, e);
	if (conn == NULL || inspect_table(w->s, conn, was, &now, e) != 0)
		return -1;
	int rc = now != NULL ? check_publication(w, conn, was, now, e) : 0;
	pg_table_unref(now);
	return rc;
}

/* Tables without shapes for a while leave the publication, if it was us who added them. */
static void leave_table(struct pg_thread *w, struct pg_table *t)
{
	struct shapes *s = w->s;
	struct err e = {0};
	struct pg_join join = {0};
	bool known = false;
	PGconn *conn = session_admin(w, &e);
	if (conn == NULL || !claim_table(s, t->oid, &join, &known))
		return;
	pthread_rwlock_rdlock(&s->registry_lock);
	bool used = registry_table(s, t->oid)->nshapes > 0;
	pthread_rwlock_unlock(&s->registry_lock);
	if (used) { /* meanwhile; one that comes after our claim waits for it, and joins the table again */
		claim_release(s, t, NULL, NULL);
		return;
	}
	int rc = known && join.added_by_us ? pg_publication_leave(conn, s->config, t, &e) : 0;
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *st = registry_table(s, t->oid);
	REQUIRE(st != NULL && st->joining);
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
		log_seldom(LOG_WARNING, log_repeat_key(log_repeat_key(0, &t->oid, sizeof t->oid), e.text, strlen(e.text)),
		           "Table %s.%s stays in the publication: %s", t->schema, t->name, e.text);
	else
		log_info("Table %s.%s has no shapes any more and left the publication", t->schema, t->name);
}

static void prune(struct pg_thread *w, PGconn *conn)
{
	struct err ignored;
	uint64_t xmin;
	if (pg_oldest_running(conn, &xmin, &ignored) != 0)
		return;
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_PRUNE;
	c->xmin = xmin;
	cmd_post(w->s, c);
}

void reconcile_run(struct pg_thread *w)
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
			log_seldom(LOG_WARNING, log_repeat_key(log_repeat_key(0, &used[i]->oid, sizeof used[i]->oid), e.text, strlen(e.text)),
			           "Looking after table %s.%s: %s", used[i]->schema, used[i]->name, e.text);
			if (e.kind == ERR_PG_CONN)
				pg_disconnect(&w->admin);
		}
		pg_table_unref(used[i]);
	}
	for (size_t i = 0; i < nidle; i++) {
		if (fine && !atomic_load(&s->stopping))
			leave_table(w, idle[i]);
		pg_table_unref(idle[i]);
	}
	PGconn *conn = fine ? session_admin(w, &e) : NULL;
	if (conn != NULL)
		prune(w, conn);
	free(used);
	free(idle);
}
