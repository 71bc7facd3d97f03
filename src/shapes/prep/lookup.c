/*
 * lookup.c - what requests ask of the catalog: a table by its name, and where the WAL ends.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "pg/horizon.h"
#include "pg/publication.h"
#include "shapes/core/cache.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

/* The name stands for another table, or for a changed one: what was made of the old one ends. */
static void look_up_differs(struct shapes *s, const struct pg_table *was, struct pg_table *now)
{
	if (now == NULL || now->oid != was->oid)
		shapes_rotate_table(s, was->oid, REASON_TABLE_GONE, "the table was dropped or renamed");
	else if (!pg_table_same_columns(was, now))
		misfits_rotate(s, now);
}

/* The stream's set-up found that the publication leaves generated columns out; the operator may have been told since, and
 * have altered it. */
static void look_whether_generated(struct shapes *s, PGconn *conn, const struct pg_table *table)
{
	bool matters = false;
	for (uint16_t i = 0; i < table->ncolumns; i++)
		matters = matters || (table->columns[i].generated && !table->columns[i].is_virtual);
	if (!matters || shapes_publishes_generated(s) || !pg_publication_generates(conn, s->config->publication_name))
		return;
	pthread_mutex_lock(&s->server_lock);
	s->server.publishes_generated = true;
	pthread_mutex_unlock(&s->server_lock);
}

void lookup_run(struct pg_thread *w, struct job *j)
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
		PGconn *conn = session_admin(w, &e);
		rc = conn == NULL ? -1 : pg_catalog_lookup(conn, l->schema, l->name, &table, &e);
		if (rc >= 0 || fresh || e.kind != ERR_PG_CONN)
			break;
		pg_disconnect(&w->admin);
	}
	if (rc < 0)
		pg_advise_catalog(&e, s->config);
	if (rc < 0 && e.kind == ERR_PG && !pg_is_askers(&e)) {
		log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "Looking up table %s.%s: %s", l->schema, l->name, e.text);
		err_wrap(&e, "Unable to look up table \"%s.%s\"", l->schema, l->name);
		e.kind = ERR_TIMEOUT;
	}
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
	void *asked_for = map_del(&s->inflight, l->key, l->key_len);
	REQUIRE(asked_for == l && !l->done); /* one look-up of a name at a time */
	REQUIRE((rc == 0) == (table != NULL));
	l->rc = rc;
	l->table = table;
	l->err = e;
	l->done = true;
	wait_list_wake_all(&l->waiters);
	pthread_mutex_unlock(&s->lookup_lock);
}

void lookup_wal_end(struct pg_thread *w)
{
	struct shapes *s = w->s;
	struct err e = {0};
	int64_t asked = clock_mono_ms();
	PGconn *conn = session_admin(w, &e);
	lsn_t lsn;
	if (conn == NULL || pg_wal_end(conn, &lsn, &e) != 0)
		lsn = 0;
	pthread_mutex_lock(&s->server_lock);
	s->wal_end_queued = false;
	if (lsn != 0) {
		s->wal_end = lsn;
		s->wal_end_ms = asked;
	}
	pthread_mutex_unlock(&s->server_lock);
}
