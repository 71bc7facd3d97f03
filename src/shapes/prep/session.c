/*
 * session.c - the two connections of a PG thread: one for the catalog and the publication, one for snapshots. Opened when
 * needed; pool.c closes them when they are idle.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "shapes/core/engine.h"
#include "shapes/prep/prep.h"

/* After a refused attempt, all threads: with no session to be had (too many clients) requests would make a storm of attempts. */
#define SESSION_REST_MS 250

static bool rests(struct shapes *s, bool snapshot, struct err *e)
{
	pthread_mutex_lock(&s->server_lock);
	int64_t failed_ms = s->session[snapshot].failed_ms;
	bool too_soon = failed_ms != 0 && clock_mono_ms() - failed_ms < SESSION_REST_MS;
	if (too_soon)
		*e = s->session[snapshot].err;
	pthread_mutex_unlock(&s->server_lock);
	return too_soon;
}

/* NULL: it was opened. While the stream runs nothing else tells why there is none. */
static void note_attempt(struct shapes *s, bool snapshot, const struct err *e)
{
	pthread_mutex_lock(&s->server_lock);
	s->session[snapshot].failed_ms = e != NULL ? clock_mono_ms() : 0;
	if (e != NULL)
		s->session[snapshot].err = *e;
	pthread_mutex_unlock(&s->server_lock);
	if (e != NULL && shapes_status(s) == SHAPES_ACTIVE)
		log_seldom(LOG_WARNING, log_repeat_key(0, e->text, strlen(e->text)), "Postgres gives no session for %s: %s", snapshot ? "snapshots" : "look-ups", e->text);
}

static PGconn *open_session(struct pg_thread *w, bool snapshot, struct err *e)
{
	struct shapes *s = w->s;
	if (rests(s, snapshot, e))
		return NULL;
	PGconn *conn = pg_connect(s->config, snapshot ? PG_ROLE_SNAPSHOT : PG_ROLE_ADMIN, e);
	if (conn == NULL && snapshot)
		pg_advise(e, s->config, PG_ROLE_SNAPSHOT, "", "");
	note_attempt(s, snapshot, conn == NULL ? e : NULL);
	return conn;
}

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
		*conn = open_session(w, snapshot, e);
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
