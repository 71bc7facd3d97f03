/*
 * ground.c - what the shapes of a table stand on (pg/ground.h), and their end when it is no longer the same.
 *
 * A table has one ground, stored with it; all its shapes stand on it. Whoever reads another one judges the shapes
 * that stand there, rotates those it doesn't bear, and only then is it the table's: a shape's birth by its
 * snapshot, the start of the stream, and the watch. `ground_version` tells whether somebody else was quicker:
 * then what was read may be the older of the two, and is read again.
 *
 * A shape whose condition names other tables stands on the ground of each, and on each by itself (shape_link.grounded):
 * while it is born it may stand on the first already, whose changes then concern it, when the second isn't settled yet.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock_order.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/ground.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

#define ATTNUM_MAX 1600 /* Postgres's own; dropped columns count */
#define WHY_MAX 320 /* of why a shape ends: a column's name has at most 63 bytes, or what a server was built for */

uint64_t ground_version(struct shapes *s, uint32_t oid)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct table_state *t = registry_table(s, oid);
	uint64_t version = t != NULL ? t->ground_version : 0;
	pthread_rwlock_unlock(&s->registry_lock);
	return version;
}

/* With registry_lock held for writing. */
static void set_ground(struct shapes *s, struct table_state *t, const char *now)
{
	lock_held_writing(&s->registry_lock);
	free(t->ground);
	t->ground = mem_strdup(now);
	t->ground_version++;
	if (t->joined)
		table_save(s, t);
}

/* By attnum: whether such a column was written anew; `generated`: for a generated one. */
struct rewritten {
	bool any;
	bool plain[ATTNUM_MAX + 1], generated[ATTNUM_MAX + 1];
};

static void find_rewritten(const char *then, const char *now, struct rewritten *out)
{
	memset(out, 0, sizeof *out);
	if (!pg_ground_moved(then, now))
		return;
	int16_t i;
	for (const char *at = then; pg_ground_next_column(&at, &i);) {
		if (i <= 0 || i > ATTNUM_MAX)
			continue;
		out->plain[i] = pg_ground_rewrote(then, now, i, false);
		out->generated[i] = pg_ground_rewrote(then, now, i, true);
		out->any = out->any || out->plain[i] || out->generated[i];
	}
}

/* Why a shape can't stand on the table as it is now, in `why`; false: it can. */
static bool misfit(const struct shape *x, uint32_t oid, const struct rewritten *r, char *why, size_t max)
{
	const struct pg_table *t = shape_def_table(&x->def, oid);
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		const struct pg_column *c = &t->columns[i];
		if (c->attnum > ATTNUM_MAX || !(c->generated ? r->generated : r->plain)[c->attnum] || !shape_uses(x, oid, i))
			continue;
		snprintf(why, max, "the values of column \"%s\" were written anew", c->name);
		return true;
	}
	return false;
}

/* Rotates what doesn't bear the difference; its drops are in the writer's queue when it returns. */
static void judge(struct shapes *s, uint32_t oid, const char *then, const char *now)
{
	const char *gap = pg_ground_gap(then, now);
	struct rewritten rewritten;
	find_rewritten(then, now, &rewritten);
	if (gap == NULL && !rewritten.any)
		return;
	size_t n;
	struct shape **standing = registry_shapes(s, oid, &n);
	for (size_t i = 0; i < n; i++) {
		char why[WHY_MAX];
		if (!atomic_load(&shape_link_to(standing[i], oid)->grounded))
			continue;
		if (gap != NULL)
			shape_rotate_for(standing[i], oid, REASON_PUBLICATION_CHANGED, gap);
		else if (misfit(standing[i], oid, &rewritten, why, sizeof why))
			shape_rotate_for(standing[i], oid, REASON_TABLE_REWRITTEN, why);
	}
	for (size_t i = 0; i < n; i++)
		shape_unref(standing[i]);
	free(standing);
	cmd_settle(s);
}

/*
 * 0: `now` is the table's ground. 1: somebody moved it since `version`. A shape may be born onto the old ground while those
 * there are judged: then they are judged again, at most once for each snapshot that was open when the ground changed.
 */
static int move(struct shapes *s, uint32_t oid, const char *now, uint64_t version, struct shape *const *born, int nborn)
{
	uint64_t births = 0;
	for (bool judged = false;; judged = true) {
		char *then = NULL;
		int rc = 1;
		pthread_rwlock_wrlock(&s->registry_lock);
		struct table_state *t = registry_table(s, oid);
		/* Without a ground there is nothing to compare with: the table is new, or its record older than this. */
		bool same = t != NULL && t->ground != NULL && strcmp(t->ground, now) == 0;
		bool all_judged = judged && t != NULL && t->ground_births == births;
		if (same || (t != NULL && t->ground_version == version && (t->ground == NULL || all_judged))) {
			rc = 0;
			if (!same)
				set_ground(s, t, now);
			for (int i = 0; i < nborn; i++)
				atomic_store(&shape_link_to(born[i], oid)->grounded, true);
			t->ground_births += nborn > 0;
		} else if (t != NULL && t->ground_version == version) {
			then = mem_strdup(t->ground);
			births = t->ground_births;
		}
		pthread_rwlock_unlock(&s->registry_lock);
		if (then == NULL)
			return rc;
		judge(s, oid, then, now);
		free(then);
	}
}

/* `now`: what the snapshot says of the table, NULL: nothing. */
static int born_onto(struct shapes *s, const struct pg_table *table, const char *now, struct ground_since since,
                     struct shape *const *shapes, int n, struct err *e)
{
	if (now == NULL) {
		err_set(e, ERR_NOT_FOUND, "table \"%s.%s\" is gone", table->schema, table->name);
		return err_why(e, REASON_TABLE_GONE);
	}
	if (pg_ground_check(now, s->config, table->schema, table->name, e) != 0)
		return -1;
	/* It may have published less in between, or nothing of the table. Who wrote then, and hasn't ended yet, is neither in the
	 * snapshot nor to come. While other tables joined there was time for that. */
	if (pg_ground_publication_xmin(now) != since.publication_xmin || !pg_ground_has_entry(now, since.publication_rel_oid))
		return GROUND_JOIN;
	return move(s, table->oid, now, since.version, shapes, n);
}

int ground_born(struct shapes *s, PGconn *snap, struct pg_snapshot_tables *tables, const struct ground_since *since,
                struct shape *const *shapes, int n, struct err *e)
{
	REQUIRE(n > 0 && tables->n > 0);
	struct buf oids = BUF_INIT(RECORD_BYTES_MAX);
	for (size_t i = 0; i < tables->n; i++) {
		/* It may be the second snapshot: what the first showed is nothing they stand on. */
		for (int k = 0; k < n; k++)
			atomic_store(&shape_link_to(shapes[k], tables->list[i]->oid)->grounded, false);
		buf_printf(&oids, "%s%" PRIu32, i == 0 ? "{" : ",", tables->list[i]->oid);
	}
	buf_putc(&oids, '}');
	struct pg_texts read;
	tables->failed = NULL;
	int rc = tables->n == 1 ? pg_ground_read_one(snap, s->config->publication_name, tables->list[0]->oid, &read, e)
	                        : pg_ground_read(snap, s->config->publication_name, oids.data, &read, e);
	buf_clear(&oids);
	if (rc != 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < tables->n; i++) {
		const struct pg_table *t = tables->list[i];
		rc = born_onto(s, t, pg_texts_of(&read, t->oid), since[i], shapes, n, e);
		tables->failed = rc != 0 ? t : NULL;
	}
	pg_texts_clear(&read);
	return rc;
}

struct seen {
	uint32_t oid;
	uint64_t version;
};

int ground_look(struct shapes *s, PGconn *conn, uint32_t **gone, size_t *ngone, struct err *e)
{
	*ngone = 0;
	struct buf oids = BUF_INIT(RECORD_BYTES_MAX);
	pthread_rwlock_rdlock(&s->registry_lock);
	struct seen *seen = mem_alloc((s->tables.len + 1) * sizeof *seen);
	size_t n = 0;
	struct table_state *t;
	for (size_t i = 0; (t = map_next(&s->tables, &i)) != NULL;)
		if (t->nshapes > 0) {
			buf_printf(&oids, "%s%" PRIu32, n == 0 ? "{" : ",", t->oid);
			seen[n++] = (struct seen){t->oid, t->ground_version};
		}
	pthread_rwlock_unlock(&s->registry_lock);
	*gone = mem_alloc((n + 1) * sizeof **gone);
	buf_putc(&oids, '}');
	struct pg_texts read = PG_TEXTS_INIT;
	int rc = 0;
	if (oids.failed)
		rc = err_set(e, ERR_LIMIT, "%zu tables are more than one look takes", n);
	else if (n > 0)
		rc = pg_ground_read(conn, s->config->publication_name, oids.data, &read, e);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const char *now = pg_texts_of(&read, seen[i].oid);
		if (now == NULL)
			(*gone)[(*ngone)++] = seen[i].oid;
		else
			(void)move(s, seen[i].oid, now, seen[i].version, NULL, 0); /* or whoever was quicker did */
	}
	pg_texts_clear(&read);
	free(seen);
	buf_clear(&oids);
	return rc;
}
