/*
 * cache.h - what the catalog said of tables lately, and look-ups that several requests share. (Requests ask through
 * shapes_table_lookup(), shapes.h.) Any thread.
 */
#ifndef BUSBAR_SHAPES_CACHE_H
#define BUSBAR_SHAPES_CACHE_H

#include "base/err.h"
#include "pg/table/table.h"
#include "shapes/core/wait.h"

struct shapes;

struct table_lookup {
	_Atomic uint32_t refs;
	struct shapes *engine;
	char *schema, *name;
	struct pg_table *stale; /* what the cache had: the answer if Postgres is away */
	char *key;              /* in `inflight`: several requests share one look-up */
	size_t key_len;
	/* under lookup_lock */
	bool done;
	int rc;
	struct pg_table *table;
	struct err err;
	struct wait_list waiters;
};

/* Returns what the cache holds now: the older of two that say the same, so that shapes share it. */
struct pg_table *registry_cache_put(struct shapes *s, struct pg_table *t, int64_t verified_ms);
/* Not believed any more (0: of all tables); it stays as the answer for when Postgres is away. */
void registry_cache_doubt(struct shapes *s, uint32_t oid);
void registry_cache_clear(struct shapes *s);

#endif
