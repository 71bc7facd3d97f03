/*
 * registry.c - which shapes there are: by handle, by definition; their birth and their end.
 *
 * A shape leaves the maps at once when it is rotated or deleted (no new request finds it), and is gone
 * for those who hold it when the store has forgotten it: a rotation is durable before it is told.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/internal.h"

#define CACHE_KEY_MAX (2 * 64 * 4 + 2) /* schema and name: identifiers have at most 63 characters */
#define REMOVED_TOGETHER_MS 1000 /* shapes that go by one cause within this are counted, not named */
#define HANDLE_HASH_MASK ((1u << 27) - 1) /* as Electric's: phash2's range */

pthread_mutex_t *shape_lock(const struct shape *s) { return &s->engine->shape_locks[s->id % SHAPE_LOCKS]; }

/* ---- references ---- */

struct shape *shape_ref(struct shape *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

/* ---- schema headers ---- */

static struct header *header_intern(struct shapes *s, const struct shape_def *def)
{
	struct buf key = BUF_INIT(RECORD_BYTES_MAX);
	buf_put(&key, &def->table, sizeof(struct pg_table *));
	buf_put(&key, def->selected, def->nselected * sizeof *def->selected);
	pthread_mutex_lock(&s->headers_lock);
	struct header *h = map_get(&s->headers, key.data, key.len);
	if (h == NULL) {
		h = mem_zalloc(sizeof *h + key.len);
		h->table = pg_table_ref(def->table); /* its address is in the key */
		h->key_len = key.len;
		memcpy(h->key, key.data, key.len);
		struct buf text = BUF_INIT(RECORD_BYTES_MAX);
		pg_table_schema_json(def->table, def->selected, def->nselected, &text);
		h->text = buf_detach(&text, NULL);
		map_put(&s->headers, h->key, h->key_len, h);
	}
	h->refs++;
	pthread_mutex_unlock(&s->headers_lock);
	buf_clear(&key);
	return h;
}

static void header_unref(struct shapes *s, struct header *h)
{
	pthread_mutex_lock(&s->headers_lock);
	bool last = --h->refs == 0;
	if (last)
		map_del(&s->headers, h->key, h->key_len);
	if (s->headers.len == 0)
		map_clear(&s->headers);
	pthread_mutex_unlock(&s->headers_lock);
	if (!last)
		return;
	pg_table_unref(h->table);
	free(h->text);
	free(h);
}

/* ---- a shape's memory ---- */

void shape_unref(struct shape *s)
{
	if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	tail_clear(s);
	pg_snapshot_clear(&s->in.filter.snap);
	shape_def_clear(&s->def);
	free(s->tail.err);
	header_unref(s->engine, s->header);
	free(s);
}

struct shape *shape_make(struct shapes *s, const struct shape_def *def, uint64_t id, const char *handle)
{
	struct shape *shape = mem_zalloc(sizeof *shape);
	atomic_init(&shape->refs, 1);
	shape->engine = s;
	shape->id = id;
	snprintf(shape->handle, sizeof shape->handle, "%s", handle);
	shape_def_copy(&shape->def, def);
	shape->header = header_intern(s, def);
	shape->chunk_bytes = (uint64_t)s->config->chunk_bytes_threshold;
	atomic_init(&shape->read_ms, clock_mono_ms());
	shape->tail.state = SHAPE_CREATING;
	shape->tail.folded = shape->tail.last = shape->tail.last_chunk_end = (struct log_offset){0, LOG_OP_INF};
	wait_list_init(&shape->tail.waiters, shape_lock(shape));
	return shape;
}

void registry_link(struct shapes *s, struct shape *shape)
{
	map_put(&s->by_handle, shape->handle, strlen(shape->handle), shape);
	map_put(&s->by_identity, shape->def.identity, shape->def.identity_len, shape);
	atomic_fetch_add(&s->nshapes, 1);
	uint32_t oid = shape->def.table->oid;
	struct table_state *t = map_get(&s->tables, &oid, sizeof oid);
	if (t == NULL) {
		t = mem_zalloc(sizeof *t);
		t->oid = oid;
		t->table = pg_table_ref(shape->def.table);
		map_put(&s->tables, &t->oid, sizeof t->oid, t);
	}
	/* Nobody depends on what was known of it before: the new shape's view is the one to watch from. */
	shape->table_next = t->shapes;
	shape->table_at = &t->shapes;
	if (t->shapes != NULL)
		t->shapes->table_at = &shape->table_next;
	t->shapes = shape;
	if (t->nshapes++ == 0 && t->table != shape->def.table) {
		pg_table_unref(t->table);
		t->table = pg_table_ref(shape->def.table);
	}
}

void registry_leave(struct table_state *t, struct shape *shape)
{
	*shape->table_at = shape->table_next;
	if (shape->table_next != NULL)
		shape->table_next->table_at = shape->table_at;
	shape->table_next = NULL;
	t->nshapes--;
}

struct shape **registry_shapes(struct shapes *s, uint32_t oid, size_t *n)
{
	struct shape **all, *x;
	*n = 0;
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct table_state *t = oid != 0 ? registry_table(s, oid) : NULL;
	all = mem_alloc(((oid == 0 ? s->by_handle.len : t != NULL ? t->nshapes : 0) + 1) * sizeof *all);
	if (oid == 0)
		for (size_t i = 0; (x = map_next(&s->by_handle, &i)) != NULL;)
			all[(*n)++] = shape_ref(x);
	for (x = t != NULL ? t->shapes : NULL; x != NULL; x = x->table_next)
		all[(*n)++] = shape_ref(x);
	pthread_rwlock_unlock(&s->registry_lock);
	return all;
}

struct server_id server_id(struct shapes *s)
{
	struct server_id id;
	pthread_mutex_lock(&s->server_lock);
	memcpy(id.system_id, s->server.system_id, sizeof id.system_id);
	id.timeline = s->server.timeline;
	pthread_mutex_unlock(&s->server_lock);
	return id;
}

struct table_state *registry_table(struct shapes *s, uint32_t oid) { return map_get(&s->tables, &oid, sizeof oid); }

/* Handles are never used again, across restarts too: the clock's microseconds, made to rise. */
static void make_handle(struct shapes *s, const struct shape_def *def, char out[HANDLE_TEXT_MAX])
{
	int64_t us = clock_wall_us();
	if (us <= s->last_handle_us)
		us = s->last_handle_us + 1;
	s->last_handle_us = us;
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < def->identity_len; i++)
		h = (h ^ (unsigned char)def->identity[i]) * 16777619u;
	snprintf(out, HANDLE_TEXT_MAX, "%" PRIu32 "-%" PRId64, (h ^ (h >> 27)) & HANDLE_HASH_MASK, us);
}

/* ---- finding and making ---- */

struct shape *shapes_by_handle(struct shapes *s, const char *handle, size_t len)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	struct shape *shape = map_get(&s->by_handle, handle, len);
	if (shape != NULL)
		shape_ref(shape);
	pthread_rwlock_unlock(&s->registry_lock);
	return shape;
}

struct shape *shapes_find(struct shapes *s, const struct shape_def *def)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	struct shape *shape = map_get(&s->by_identity, def->identity, def->identity_len);
	if (shape != NULL)
		shape_ref(shape);
	pthread_rwlock_unlock(&s->registry_lock);
	return shape;
}

struct shape *shapes_get(struct shapes *s, const struct shape_def *def, struct err *e)
{
	struct shape *shape = shapes_find(s, def);
	if (shape != NULL)
		return shape;
	if (shapes_status(s) != SHAPES_ACTIVE) {
		err_set(e, ERR_PG_CONN, "shapes can only be created while Postgres is connected");
		return NULL;
	}
	char why[STORE_FAILING_TEXT_MAX];
	if (shapes_store_failing(s, NULL, why, sizeof why)) {
		err_set(e, ERR_TIMEOUT, "The storage can't be written: %s", why);
		return NULL;
	}
	pthread_rwlock_wrlock(&s->registry_lock);
	shape = map_get(&s->by_identity, def->identity, def->identity_len);
	bool made = shape == NULL;
	if (made) {
		char handle[HANDLE_TEXT_MAX];
		make_handle(s, def, handle);
		shape = shape_make(s, def, atomic_fetch_add(&s->next_id, 1), handle);
		registry_link(s, shape); /* the engine's reference */
	}
	shape_ref(shape);
	pthread_rwlock_unlock(&s->registry_lock);
	if (made) {
		struct job *j = mem_zalloc(sizeof *j);
		j->kind = JOB_CREATE;
		j->shapes[0] = shape_ref(shape);
		j->nshapes = 1;
		job_post(s, j);
	}
	return shape;
}

const char *shape_handle(const struct shape *s) { return s->handle; }
const struct shape_def *shape_definition(const struct shape *s) { return &s->def; }
const char *shape_schema_header(const struct shape *s) { return s->header->text; }

void shape_touch(struct shape *s) { atomic_store_explicit(&s->read_ms, clock_mono_ms(), memory_order_relaxed); }

enum shape_state shape_started(struct shape *s, struct waiter *w, struct err *e)
{
	pthread_mutex_lock(shape_lock(s));
	enum shape_state state = s->tail.state;
	bool rows = s->tail.snap_pieces > 0 || s->tail.snap_chunk > 0 || s->tail.snap_complete;
	if (state == SHAPE_SNAPSHOTTING && !rows)
		state = SHAPE_CREATING;
	if (state == SHAPE_FAILED)
		*e = *s->tail.err;
	if (state == SHAPE_CREATING) {
		w->seen = (struct log_offset){0, 0};
		wait_list_add(&s->tail.waiters, w);
	}
	pthread_mutex_unlock(shape_lock(s));
	return state;
}

/* ---- definitions that are too costly ---- */

#define COSTLY_WAIT_MIN_S 10   /* doubled each time… */
#define COSTLY_WAIT_MAX_S 3600 /* …up to this */
#define COSTLY_FORGET_MS (2 * COSTLY_WAIT_MAX_S * (int64_t)1000) /* without another time it is as if new */
#define COSTLY_MAX 4096        /* beyond, the one whose wait ends first is forgotten */

struct costly {
	int64_t until_ms;
	int wait_s;
	size_t identity_len;
	char identity[];
};

/* Makes room, and drops what is long past. */
static void costly_tidy(struct shapes *s, int64_t now)
{
	struct costly *first = NULL, *c;
	for (size_t i = 0; (c = map_next(&s->costly, &i)) != NULL;)
		if (first == NULL || c->until_ms < first->until_ms)
			first = c;
	if (first == NULL || (s->costly.len < COSTLY_MAX && now - first->until_ms < COSTLY_FORGET_MS))
		return;
	map_del(&s->costly, first->identity, first->identity_len);
	free(first);
}

void registry_note_costly(struct shapes *s, const struct shape_def *def)
{
	int64_t now = clock_mono_ms();
	pthread_rwlock_wrlock(&s->registry_lock);
	struct costly *c = map_get(&s->costly, def->identity, def->identity_len);
	if (c == NULL) {
		costly_tidy(s, now);
		c = mem_zalloc(sizeof *c + def->identity_len);
		c->identity_len = def->identity_len;
		memcpy(c->identity, def->identity, def->identity_len);
		map_put(&s->costly, c->identity, c->identity_len, c);
	}
	if (c->wait_s == 0 || now - c->until_ms > COSTLY_FORGET_MS)
		c->wait_s = COSTLY_WAIT_MIN_S;
	else
		c->wait_s = c->wait_s * 2 < COSTLY_WAIT_MAX_S ? c->wait_s * 2 : COSTLY_WAIT_MAX_S;
	c->until_ms = now + c->wait_s * (int64_t)1000;
	pthread_rwlock_unlock(&s->registry_lock);
}

int shapes_costly_wait(struct shapes *s, const struct shape_def *def)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct costly *c = def->where == NULL ? NULL : map_get(&s->costly, def->identity, def->identity_len);
	int64_t left_ms = c == NULL ? 0 : c->until_ms - clock_mono_ms();
	pthread_rwlock_unlock(&s->registry_lock);
	return left_ms > 0 ? (int)((left_ms + 999) / 1000) : 0;
}

void registry_forget_costly(struct shapes *s)
{
	struct costly *c;
	for (size_t i = 0; (c = map_next(&s->costly, &i)) != NULL;)
		free(c);
	map_clear(&s->costly);
}

/* ---- the end of a shape ---- */

/* Out of the maps; false if it was out already. */
static bool unlink_shape(struct shapes *s, struct shape *shape)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	bool was_in = !atomic_exchange(&shape->dropped, true);
	if (was_in) {
		map_del(&s->by_handle, shape->handle, strlen(shape->handle));
		if (map_get(&s->by_identity, shape->def.identity, shape->def.identity_len) == shape)
			map_del(&s->by_identity, shape->def.identity, shape->def.identity_len);
		atomic_fetch_sub(&s->nshapes, 1);
		struct table_state *t = registry_table(s, shape->def.table->oid);
		if (t != NULL)
			registry_leave(t, shape);
		if (t != NULL && t->nshapes == 0)
			t->idle_since_ms = clock_mono_ms();
	}
	pthread_rwlock_unlock(&s->registry_lock);
	return was_in;
}

static void post_drop(struct shapes *s, struct shape *shape)
{
	struct cmd *c = mem_zalloc(sizeof *c);
	c->kind = CMD_DROP;
	c->shapes[0] = shape_ref(shape);
	c->nshapes = 1;
	cmd_post(s, c);
}

/* A copy that waits for room looks again whether its shape is still wanted. */
static void give_up_copy(struct shapes *s)
{
	pthread_mutex_lock(&s->writer.lock);
	pthread_cond_broadcast(&s->writer.room);
	pthread_mutex_unlock(&s->writer.lock);
}

/* With the lock. */
static void tell_removed(struct shapes *s)
{
	if (s->removed.more > 0)
		log_info("Removed %zu more shapes of %s: %s", s->removed.more, s->removed.table, s->removed.why);
	s->removed.more = 0;
	s->removed.said_ms = 0;
}

void registry_tell_removed(struct shapes *s)
{
	pthread_mutex_lock(&s->removed_lock);
	if (s->removed.said_ms != 0 && clock_mono_ms() - s->removed.said_ms >= REMOVED_TOGETHER_MS)
		tell_removed(s);
	pthread_mutex_unlock(&s->removed_lock);
}

/* A cause that ends thousands of shapes is two lines: the first shape's, and how many followed. */
static void log_removed(struct shapes *s, const struct shape *shape, const char *why)
{
	char table[sizeof s->removed.table], reason[sizeof s->removed.why];
	snprintf(table, sizeof table, "%s.%s", shape->def.table->schema, shape->def.table->name);
	snprintf(reason, sizeof reason, "%s", why);
	pthread_mutex_lock(&s->removed_lock);
	bool again = s->removed.said_ms != 0 && strcmp(s->removed.table, table) == 0 && strcmp(s->removed.why, reason) == 0;
	if (!again) {
		tell_removed(s);
		memcpy(s->removed.table, table, sizeof table);
		memcpy(s->removed.why, reason, sizeof reason);
		s->removed.said_ms = clock_mono_ms();
	} else {
		s->removed.more++;
	}
	log_line(again ? LOG_DEBUG : LOG_INFO, "Removing shape %s of %s: %s", shape->handle, table, why);
	pthread_mutex_unlock(&s->removed_lock);
}

bool shape_unlink(struct shape *shape, const char *why)
{
	struct shapes *s = shape->engine;
	if (!unlink_shape(s, shape))
		return false;
	log_removed(s, shape, why);
	give_up_copy(s);
	return true;
}

void shape_rotate(struct shape *shape, const char *why)
{
	if (shape_unlink(shape, why))
		post_drop(shape->engine, shape);
}

void shape_set_failed(struct shape *shape, const struct err *e)
{
	struct shapes *s = shape->engine;
	bool was_in = unlink_shape(s, shape);
	pthread_mutex_lock(shape_lock(shape));
	if (shape->tail.state == SHAPE_CREATING || shape->tail.state == SHAPE_SNAPSHOTTING) {
		shape->tail.state = was_in ? SHAPE_FAILED : SHAPE_GONE;
		shape->tail.err = mem_alloc(sizeof *e);
		*shape->tail.err = *e;
	}
	wait_list_wake_all(&shape->tail.waiters);
	pthread_mutex_unlock(shape_lock(shape));
	if (was_in) {
		/* Clients ask again and again. What only they can mend is no warning. */
		uint64_t key = log_repeat_key(log_repeat_key(0, shape->def.identity, shape->def.identity_len), e->text, strlen(e->text));
		log_seldom(e->kind == ERR_REQUEST ? LOG_DEBUG : LOG_WARNING, key, "Shape %s of %s.%s could not be made: %s", shape->handle, shape->def.table->schema,
		           shape->def.table->name, e->text);
		post_drop(s, shape);
	}
}

static void rotate_all_of(struct shapes *s, uint32_t oid, const char *why)
{
	size_t n;
	struct shape **doomed = registry_shapes(s, oid, &n);
	registry_cache_doubt(s, oid);
	for (size_t i = 0; i < n; i++) {
		shape_rotate(doomed[i], why);
		shape_unref(doomed[i]);
	}
	free(doomed);
}

void shapes_rotate_table(struct shapes *s, uint32_t oid, const char *why) { rotate_all_of(s, oid, why); }
void shapes_rotate_all(struct shapes *s, const char *why) { rotate_all_of(s, 0, why); }

void shapes_delete(struct shapes *s, struct shape *shape)
{
	(void)s;
	shape_rotate(shape, "deleted by a request");
}

bool shape_wait_gone(struct shape *s, struct waiter *w)
{
	pthread_mutex_lock(shape_lock(s));
	bool wait = s->tail.state != SHAPE_GONE && s->tail.state != SHAPE_FAILED;
	if (wait) {
		w->seen = (struct log_offset){0, 0};
		wait_list_add(&s->tail.waiters, w);
	}
	pthread_mutex_unlock(shape_lock(s));
	return wait;
}

/* ---- the catalog cache and look-ups ---- */

static size_t cache_key(const char *schema, const char *name, char *key, size_t max)
{
	int n = snprintf(key, max, "%s", schema);
	size_t at = (size_t)n + 1;
	int m = at < max ? snprintf(key + at, max - at, "%s", name) : 0;
	return at + (size_t)m;
}

struct cached {
	struct pg_table *table;
	int64_t verified_ms; /* when the catalog said so */
	size_t key_len;
	char key[];
};

static bool same_table(const struct pg_table *a, const struct pg_table *b)
{
	struct buf x = BUF_INIT(RECORD_BYTES_MAX), y = BUF_INIT(RECORD_BYTES_MAX);
	pg_table_to_json(a, &x);
	pg_table_to_json(b, &y);
	bool same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
	buf_clear(&x);
	buf_clear(&y);
	return same;
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
	if (c->table == NULL || !same_table(c->table, t)) {
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
