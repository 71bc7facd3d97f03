/*
 * watch.c - the small look at all tables with shapes, each second, and the one at the start of the stream.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

/*
 * DDL writes nothing into the stream, and a table that was dropped, changed, taken out of the publication, or got a
 * partition must not wait for the next reconciliation. Whatever looks different is then looked at in full: the
 * ground (ground.c), and here types that aren't built in and collations by name, if our tables have any, for `ALTER
 * TYPE` touches nothing of a table. The database's default collation can wait for the reconciliation.
 */
static bool is_watched_oid(uint32_t oid) { return oid >= 10000; } /* those below came with Postgres and stay as they are */

static void put_watched_oid(struct buf *list, struct map *seen, const uint32_t *oid)
{
	if (is_watched_oid(*oid) && map_put(seen, oid, sizeof *oid, seen) == NULL)
		buf_printf(list, "%s%" PRIu32, list->len == 0 ? "{" : ",", *oid);
}

/* What the catalog says of the types of these tables, the caller's to clear. */
static int watch_types(PGconn *conn, struct pg_table *const *used, size_t n, struct pg_texts *out)
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
		return 0;
	buf_putc(&list, '}');
	struct err ignored;
	int rc = pg_catalog_types_said(conn, list.data, out, &ignored);
	buf_clear(&list);
	return rc;
}

static uint64_t hash_said(uint64_t h, const struct pg_texts *texts, uint32_t oid)
{
	const char *said = is_watched_oid(oid) ? pg_texts_of(texts, oid) : NULL;
	for (const char *p = said != NULL ? said : ""; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(1099511628211);
	return h * 31 + oid;
}

/* All that is said of a table's types and collations. */
static uint64_t watched_hash(const struct pg_table *t, const struct pg_texts *types)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (uint16_t i = 0; i < t->ntypes; i++)
		h = hash_said(h, types, t->types[i].oid);
	for (uint16_t i = 0; i < t->ncollations; i++)
		h = hash_said(h, types, t->collations[i].oid);
	return h != 0 ? h : 1;
}

/* `now`: a hash of what the query says of the table's types, 0: the table isn't there. */
static void watch_result(struct pg_thread *w, uint64_t now, struct pg_table *t)
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
		log_seldom(LOG_WARNING, log_repeat_key(log_repeat_key(0, &t->oid, sizeof t->oid), e.text, strlen(e.text)),
		           "Looking after table %s.%s: %s", t->schema, t->name, e.text);
		jobs_reconcile_now(s);
	}
}

/* The stream has started and waits for this: what happened while there was none. */
void watch_ground(struct pg_thread *w, struct job *j)
{
	struct shapes *s = w->s;
	struct err e = {0};
	PGconn *conn = session_admin(w, &e);
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_GROUND;
	c->number = j->number;
	uint32_t *gone = NULL; /* others see to that */
	size_t ngone;
	c->result = conn == NULL ? -1 : ground_look(s, conn, &gone, &ngone, &e);
	free(gone);
	if (c->result != 0) {
		pg_advise_catalog(&e, s->config);
		log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "Looking at the publication and our tables: %s", e.text);
	}
	if (c->result != 0 && session_refused(conn, &e)) {
		shapes_rotate_all(s, REASON_CATALOG_UNREAD,
		                  "the publication and the tables could not be looked at as the stream began");
		c->result = 0;
	}
	cmd_post(s, c);
}

void watch_run(struct pg_thread *w)
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
	struct pg_texts types = PG_TEXTS_INIT;
	uint32_t *gone = NULL;
	PGconn *conn = n > 0 ? session_admin(w, &e) : NULL;
	bool failed = conn == NULL;
	int64_t began_ms = clock_mono_ms();
	if (conn != NULL && ground_look(s, conn, &gone, &ngone, &e) != 0) {
		pg_advise_catalog(&e, s->config);
		log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "Looking at the publication and our tables: %s", e.text);
		failed = true;
	}
	if (!failed)
		failed = watch_types(conn, used, n, &types) != 0;
	queue_rest_from_watch(s, began_ms);
	for (size_t i = 0; i < n; i++) {
		if (!failed)
			watch_result(w, has_oid(gone, ngone, used[i]->oid) ? 0 : watched_hash(used[i], &types), used[i]);
		pg_table_unref(used[i]);
	}
	pg_texts_clear(&types);
	free(gone);
	free(used);
}
