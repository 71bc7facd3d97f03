/*
 * session.c - the two connections of a PG thread: one for the catalog and the publication, one for snapshots. Opened when
 * needed; pool.c closes them when they are idle.
 */
#include <string.h>

#include "base/clock.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "shapes/core/engine.h"
#include "shapes/prep/prep.h"

/* Tables are read by the pooled URL's role, look-ups are made by the other's. */
static int set_reader(const struct config *c, PGconn *conn, struct err *e)
{
	if (strcmp(c->database.user, c->pooled_database.user) == 0)
		return 0;
	return pg_catalog_set_reader(conn, c->pooled_database.user, e);
}

static PGconn *session(struct pg_thread *w, bool snapshot, struct err *e)
{
	REQUIRE(pthread_equal(w->self, pthread_self()));
	REQUIRE(!w->snapshot_open); /* both connections may be closed here */
	PGconn **conn = snapshot ? &w->snap : &w->admin;
	unsigned outages = atomic_load(&w->s->outages);
	if (w->outages != outages) {
		/* The stream broke since: most likely these did too, and would say so at the worst moment. */
		pg_disconnect(&w->admin);
		pg_disconnect(&w->snap);
		w->outages = outages;
	}
	if (*conn != NULL && !pg_is_connected(*conn))
		pg_disconnect(conn);
	if (*conn == NULL)
		*conn = pg_connect(w->s->config, snapshot ? PG_ROLE_SNAPSHOT : PG_ROLE_ADMIN, e);
	if (*conn == NULL && snapshot)
		pg_advise(e, w->s->config, PG_ROLE_SNAPSHOT, "", "");
	if (*conn != NULL && !snapshot && set_reader(w->s->config, *conn, e) != 0)
		pg_disconnect(conn);
	w->used_ms = clock_mono_ms();
	return *conn;
}

PGconn *session_admin(struct pg_thread *w, struct err *e) { return session(w, false, e); }
PGconn *session_snapshot(struct pg_thread *w, struct err *e) { return session(w, true, e); }

void session_close(struct pg_thread *w)
{
	REQUIRE(!w->snapshot_open);
	pg_disconnect(&w->admin);
	pg_disconnect(&w->snap);
}

bool session_refused(const PGconn *conn, const struct err *e)
{
	return conn != NULL && e->kind != ERR_PG_CONN && e->kind != ERR_CANCELLED;
}
