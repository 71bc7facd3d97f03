/*
 * claims.c - who joins a table to the publication: one thread at a time, and what becomes of the table and its older shapes
 * when it is done.
 */
#include <stdlib.h>
#include <string.h>

#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

bool claim_table(struct shapes *s, uint32_t oid, struct pg_join *known, bool *has_known)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *t = registry_table(s, oid);
	bool free_now = t != NULL && !t->joining;
	if (free_now) {
		t->joining = true;
		*has_known = t->joined;
		*known = t->join;
	}
	pthread_rwlock_unlock(&s->registry_lock);
	return free_now;
}

void claim_release(struct shapes *s, struct pg_table *table, const struct pg_join *join, const struct pg_table *dealt_with)
{
	bool look = false;
	pthread_rwlock_wrlock(&s->registry_lock);
	struct table_state *t = registry_table(s, table->oid);
	REQUIRE(t != NULL && t->joining); /* only who has the claim takes a table out */
	t->joining = false;
	if (join != NULL) {
		bool replace = t->table != table && (t->table == dealt_with || leaves_same(t->table, table));
		look = t->table != table && !replace;
		bool news = !t->joined || memcmp(&t->join, join, sizeof *join) != 0 || replace;
		t->joined = true;
		t->join = *join;
		if (replace) {
			pg_table_unref(t->table);
			t->table = pg_table_ref(table);
		}
		if (news)
			table_save(s, t);
	}
	pthread_rwlock_unlock(&s->registry_lock);
	if (look)
		jobs_reconcile_now(s);
}

void claim_rotate_older(struct shapes *s, uint32_t oid, struct shape *const *keep, int nkeep, enum reason reason, const char *why)
{
	size_t n;
	struct shape **old = registry_shapes(s, oid, &n);
	for (size_t i = 0; i < n; i++) {
		bool ours = false;
		for (int k = 0; k < nkeep; k++)
			ours = ours || keep[k] == old[i];
		if (!ours && tail_state(old[i]) != SHAPE_CREATING)
			shape_rotate_for(old[i], oid, reason, why);
		shape_unref(old[i]);
	}
	free(old);
	cmd_settle(s);
}
