/*
 * cache.c - what the catalog said of tables lately, and look-ups that several requests share.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "shapes/core/cache.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"

/* What the catalog says of a table is believed for so long; then a request for a new definition asks
 * again. A table dropped and made again under its name must not get the old one's shape. */
#define TABLE_FRESH_MS 200

#define CACHE_KEY_MAX (2 * 64 * 4 + 2) /* schema and name: identifiers have at most 63 characters */

struct cached {
	struct pg_table *table;
	int64_t verified_ms; /* when the catalog said so */
	size_t key_len;
	char key[];
};

static size_t cache_key(const char *schema, const char *name, char *key, size_t max)
{
	int n = snprintf(key, max, "%s", schema);
	size_t at = (size_t)n + 1;
	int m = at < max ? snprintf(key + at, max - at, "%s", name) : 0;
	return at + (size_t)m;
}

struct pg_table *registry_cache_put(struct shapes *s, struct pg_table *t, int64_t verified_ms)
{
	char key[CACHE_KEY_MAX];
	size_t len = cache_key(t->schema, t->name, key, sizeof key);
	REQUIRE(len < sizeof key);
	struct pg_table *drop = NULL;
	pthread_rwlock_wrlock(&s->registry_lock);
	struct cached *c = map_get(&s->cache, key, len);
	if (c == NULL) {
		c = mem_zalloc(sizeof *c + len);
		c->key_len = len;
		memcpy(c->key, key, len);
		map_put(&s->cache, c->key, len, c);
	}
	if (c->table == NULL || !pg_table_identical(c->table, t)) {
		drop = c->table;
		c->table = pg_table_ref(t);
	}
	c->verified_ms = verified_ms;
	struct pg_table *now = pg_table_ref(c->table);
	pthread_rwlock_unlock(&s->registry_lock);
	if (drop != NULL)
		pg_table_unref(drop);
	return now;
}

void registry_cache_doubt(struct shapes *s, uint32_t oid)
{
	struct cached *c;
	pthread_rwlock_wrlock(&s->registry_lock);
	for (size_t i = 0; (c = map_next(&s->cache, &i)) != NULL;)
		if (oid == 0 || c->table->oid == oid)
			c->verified_ms = 0;
	pthread_rwlock_unlock(&s->registry_lock);
}

void registry_cache_clear(struct shapes *s)
{
	struct cached *c;
	for (size_t i = 0; (c = map_next(&s->cache, &i)) != NULL;) {
		pg_table_unref(c->table);
		free(c);
	}
	map_clear(&s->cache);
}

/* The look-up that is under way for this key, or the one made now: then it becomes a job. */
static struct table_lookup *join_lookup(struct shapes *s, struct table_lookup *l, const char *key, size_t len)
{
	pthread_mutex_lock(&s->lookup_lock);
	struct table_lookup *other = map_get(&s->inflight, key, len);
	if (other != NULL) {
		atomic_fetch_add(&other->refs, 1);
	} else {
		l->key = mem_strndup(key, len);
		l->key_len = len;
		map_put(&s->inflight, l->key, len, l);
	}
	pthread_mutex_unlock(&s->lookup_lock);
	if (other != NULL) {
		table_lookup_unref(l);
		return other;
	}
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_LOOKUP;
	j->lookup = l;
	atomic_fetch_add(&l->refs, 1);
	job_post(s, j);
	return l;
}

struct table_lookup *shapes_table_lookup(struct shapes *s, const char *schema, const char *name)
{
	struct table_lookup *l = mem_zalloc(sizeof *l);
	atomic_init(&l->refs, 1);
	l->engine = s;
	l->schema = mem_strdup(schema);
	l->name = mem_strdup(name);
	wait_list_init(&l->waiters, &s->lookup_lock);
	char key[CACHE_KEY_MAX];
	size_t len = cache_key(schema, name, key, sizeof key);
	if (len >= sizeof key) {
		l->rc = 1; /* longer than any name can be */
		l->done = true;
		return l;
	}
	bool away = shapes_status(s) != SHAPES_ACTIVE, fresh = false;
	pthread_rwlock_rdlock(&s->registry_lock);
	struct cached *c = map_get(&s->cache, key, len);
	if (c != NULL) {
		l->stale = pg_table_ref(c->table);
		fresh = away || (c->verified_ms != 0 && clock_mono_ms() - c->verified_ms < TABLE_FRESH_MS);
	}
	pthread_rwlock_unlock(&s->registry_lock);
	if (fresh) {
		l->table = pg_table_ref(l->stale);
		l->done = true;
		return l;
	}
	return join_lookup(s, l, key, len);
}

void table_lookup_unref(struct table_lookup *l)
{
	if (l == NULL || atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	if (l->table != NULL)
		pg_table_unref(l->table);
	if (l->stale != NULL)
		pg_table_unref(l->stale);
	free(l->schema);
	free(l->name);
	free(l->key);
	free(l);
}

int table_lookup_result(struct table_lookup *l, struct waiter *w, struct pg_table **out, struct err *e)
{
	struct shapes *s = l->engine;
	int rc = 2;
	pthread_mutex_lock(&s->lookup_lock);
	if (!l->done) {
		wait_list_add(&l->waiters, w);
	} else {
		rc = l->rc;
		*out = l->table;
		*e = l->err;
	}
	pthread_mutex_unlock(&s->lookup_lock);
	return rc;
}
