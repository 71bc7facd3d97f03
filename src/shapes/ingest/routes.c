/*
 * routes.c - the routes there are, and the subqueries that watch them. Who is in one: route.c and inner.c.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/inner.h"
#include "shapes/ingest/route.h"

struct route *route_get(struct ingest *in, uint32_t oid, bool make)
{
	struct route *r = map_get(&in->routes, &oid, sizeof oid);
	if (r == NULL && make) {
		r = mem_zalloc(sizeof *r);
		r->oid = oid;
		map_put(&in->routes, &r->oid, sizeof r->oid, r);
	}
	return r;
}

/* What is held for the route outlives it: it belongs to nobody. */
static void held_gone(struct route *r)
{
	if (r->held != NULL)
		r->held->route = NULL;
	r->held = NULL;
}

void route_tidy(struct ingest *in, struct route *r)
{
	if (r->n == 0)
		held_gone(r);
	if (r->n > 0 || r->nwatches > 0)
		return;
	map_del(&in->routes, &r->oid, sizeof r->oid);
	free(r->shapes);
	free(r->plain);
	free(r->watches);
	free(r);
}

size_t route_watch(struct route *r, struct inner *i)
{
	if (r->nwatches == r->watches_cap) {
		r->watches_cap = r->watches_cap ? r->watches_cap * 2 : 4;
		r->watches = mem_realloc(r->watches, r->watches_cap * sizeof(struct inner *));
	}
	r->watches[r->nwatches] = i;
	return r->nwatches++;
}

void route_unwatch(struct ingest *in, struct inner *i)
{
	struct route *r = i->route;
	REQUIRE(r->watches[i->route_at] == i);
	struct inner *moved = r->watches[i->route_at] = r->watches[--r->nwatches];
	moved->route_at = i->route_at;
	route_tidy(in, r);
}
