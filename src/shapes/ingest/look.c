/*
 * look.c - INGEST waits until the tables of a Relation message have been looked at.
 *
 * A Relation comes again after each change of its table, before the first row that was written behind it: the one
 * sign in the stream that a column took another's name, or that a partition went whose rows a default partition
 * may get now. The catalog tells more than the message; so the transaction is held until a PG thread has looked
 * (JOB_LOOK) and its rotations are in the queue, as for a relation that isn't known (resolve()).
 *
 * The server sends all Relations again after each change of the publication, too, so a message that says what the
 * last one said holds nothing but for partitions, whose parents it doesn't speak of; it asks for a look without
 * waiting. And a look covers all that was in the WAL, and visible, when it began: what comes from there isn't looked
 * at again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/ingest/route.h"
#include "shapes/routing/render.h"

static bool same_relation(const struct relation *r, const struct wal_relation *w)
{
	if (strcmp(r->name, w->name) != 0 || strcmp(r->schema, w->schema) != 0 || r->replica_identity != w->replica_identity ||
	    r->ncolumns != w->ncolumns)
		return false;
	for (uint16_t i = 0; i < r->ncolumns; i++)
		if (r->types[i] != w->columns[i].type_oid || strcmp(r->names[i], w->columns[i].name) != 0)
			return false;
	return true;
}

/* The columns of the definition, in their order; generated ones may not be published. */
static bool says_the_same(const struct pg_table *t, const struct wal_relation *w)
{
	uint16_t at = 0;
	if (strcmp(t->name, w->name) != 0 || strcmp(t->schema, w->schema) != 0)
		return false;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		const struct pg_column *c = &t->columns[i];
		bool here = at < w->ncolumns && c->type_oid == w->columns[at].type_oid && strcmp(c->name, w->columns[at].name) == 0;
		if (!here && !c->generated)
			return false;
		at += here;
	}
	return at == w->ncolumns;
}

static bool fits_route(const struct route *route, const struct wal_relation *w)
{
	const struct pg_table *last = NULL;
	for (size_t i = 0; i < route->n; i++) {
		if (route->shapes[i]->def.table != last && !says_the_same(route->shapes[i]->def.table, w))
			return false;
		last = route->shapes[i]->def.table;
	}
	for (size_t i = 0; i < route->nwatches; i++) {
		if (route->watches[i]->table != last && !says_the_same(route->watches[i]->table, w))
			return false;
		last = route->watches[i]->table;
	}
	return true;
}

/* Adds a table to those to be looked at, unless a look has covered this place of the WAL. */
static void want(struct ingest *in, struct route *route)
{
	if (route == NULL || (in->tx < route->looked_upto && (int32_t)(in->xid - route->looked_xmin) < 0))
		return;
	in->look_oids = mem_realloc(in->look_oids, (in->nlook + 1) * sizeof *in->look_oids);
	in->look_oids[in->nlook++] = route->oid;
}

void look_at_relation(struct shapes *s, const struct wal_relation *w)
{
	struct ingest *in = s->ingest;
	struct route *route = route_get(in, w->oid, false);
	const struct leaf *leaf = in->nroots > 0 ? leaf_get(in, w->oid) : NULL;
	const struct relation *last = relation_of(in, w->oid);
	/* What is skipped was looked at before it was passed. */
	if (in->skip || (route == NULL && (leaf == NULL || leaf->n == 0)))
		return;
	bool same = last != NULL ? last->looked && same_relation(last, w) : route == NULL || fits_route(route, w);
	in->nlook = 0;
	if (!same)
		want(in, route);
	for (size_t i = 0; leaf != NULL && i < leaf->n; i++)
		want(in, route_get(in, leaf->roots[i], false));
	if (in->nlook == 0) {
		if (route != NULL && last != NULL)
			jobs_watch_soon(s);
		return;
	}
	in->looking = true;
	in->look_relation = w->oid;
	in->looks++;
	in->look_until_ms = clock_mono_ms() + LOOK_WAIT_MS;
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_LOOK;
	j->number = in->looks;
	j->xid = in->xid;
	j->oids = mem_alloc(in->nlook * sizeof *j->oids);
	memcpy(j->oids, in->look_oids, in->nlook * sizeof *j->oids);
	j->noids = in->nlook;
	job_post(s, j);
}

/* What was wrong is in the queue of commands. */
static void look_ends(struct ingest *in)
{
	struct relation *r = relation_of(in, in->look_relation);
	if (r != NULL)
		r->looked = true;
}

void look_done(struct shapes *s, const struct cmd *c)
{
	struct ingest *in = s->ingest;
	if (!in->looking || c->number != in->looks)
		return;
	in->looking = false;
	if (c->result != 0) {
		in->unresolved = true;
		return;
	}
	look_ends(in);
	for (size_t i = 0; i < in->nlook; i++) {
		struct route *route = route_get(in, in->look_oids[i], false);
		if (route == NULL)
			continue;
		route->looked_upto = c->lsn;
		route->looked_xmin = (uint32_t)c->xmin;
	}
}

bool look_overdue(const struct ingest *in) { return in->looking && clock_mono_ms() > in->look_until_ms; }

void look_give_up(struct shapes *s)
{
	struct ingest *in = s->ingest;
	log_warning("Nobody could look at a changed table within %d s", LOOK_WAIT_MS / 1000);
	for (size_t i = 0; i < in->nlook; i++)
		shapes_rotate_table(s, in->look_oids[i], REASON_CATALOG_UNREAD,
		                    "the table may have changed, and could not be looked at in time");
	in->looking = false;
	look_ends(in);
}
