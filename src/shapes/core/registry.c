/*
 * registry.c - which shapes there are: by handle, by definition; their birth and their end.
 *
 * A shape leaves the maps as soon as it is rotated or deleted (no new request finds it). For those who hold a reference it
 * is gone once the store has dropped it: a rotation is durable before clients learn of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/events.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/cache.h"
#include "shapes/core/cmds.h"
#include "shapes/core/engine.h"
#include "shapes/core/gone.h"
#include "shapes/core/held_back.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/logs/writer.h"

#define REMOVED_TOGETHER_MS 1000 /* shapes that go by one cause within this are counted, not named */
#define WHY_MAX 1000 /* of why a shape ends: what Postgres said, and a table's name */
#define HANDLE_HASH_MASK ((1u << 27) - 1) /* as Electric's: phash2's range */

static void link_to(struct shapes *s, struct shape *shape, struct shape_link *l, struct pg_table *table)
{
	struct table_state *t = map_get(&s->tables, &table->oid, sizeof table->oid);
	if (t == NULL) {
		t = mem_zalloc(sizeof *t);
		t->oid = table->oid;
		t->table = pg_table_ref(table);
		map_put(&s->tables, &t->oid, sizeof t->oid, t);
	}
	*l = (struct shape_link){.shape = shape, .next = t->shapes, .at = &t->shapes};
	if (t->shapes != NULL)
		t->shapes->at = &l->next;
	t->shapes = l;
	/* Nobody depends on what was known of it before: the new shape's view is the one to watch from. */
	if (t->nshapes++ == 0 && t->table != table) {
		pg_table_unref(t->table);
		t->table = pg_table_ref(table);
	}
}

void registry_link(struct shapes *s, struct shape *shape)
{
	map_put(&s->by_handle, shape->handle, strlen(shape->handle), shape);
	map_put(&s->by_identity, shape->def.identity, shape->def.identity_len, shape);
	atomic_fetch_add(&s->nshapes, 1);
	link_to(s, shape, &shape->link, shape->def.table);
	if (shape->def.ninner > 0)
		shape->inner_links = mem_zalloc(shape->def.ninner * sizeof *shape->inner_links);
	for (uint16_t i = 0; i < shape->def.ninner; i++)
		link_to(s, shape, &shape->inner_links[i], shape->def.inner[i]);
	pthread_mutex_lock(shape_lock(shape));
	shape_count(shape);
	pthread_mutex_unlock(shape_lock(shape));
}

static void unlink_from(struct shapes *s, struct shape_link *l, uint32_t oid)
{
	struct table_state *t = registry_table(s, oid);
	REQUIRE(t != NULL && t->nshapes > 0); /* a table with shapes stays */
	*l->at = l->next;
	if (l->next != NULL)
		l->next->at = l->at;
	l->next = NULL;
	if (--t->nshapes == 0)
		t->idle_since_ms = clock_mono_ms();
}

void registry_leave(struct shapes *s, struct shape *shape)
{
	unlink_from(s, &shape->link, shape->def.table->oid);
	for (uint16_t i = 0; i < shape->def.ninner; i++)
		unlink_from(s, &shape->inner_links[i], shape->def.inner[i]->oid);
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
	for (const struct shape_link *l = t != NULL ? t->shapes : NULL; l != NULL; l = l->next)
		all[(*n)++] = shape_ref(l->shape);
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

struct shape *shapes_leaving(struct shapes *s, const char *handle, size_t len)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	struct shape *shape = map_get(&s->leaving, handle, len);
	if (shape != NULL)
		shape_ref(shape);
	pthread_rwlock_unlock(&s->registry_lock);
	return shape;
}

void registry_left(struct shapes *s, struct shape *shape)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	bool was_in = map_get(&s->leaving, shape->handle, strlen(shape->handle)) == shape;
	if (was_in)
		map_del(&s->leaving, shape->handle, strlen(shape->handle));
	pthread_rwlock_unlock(&s->registry_lock);
	if (was_in)
		shape_unref(shape);
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
		err_why(e, REASON_STORE_FAILING);
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

/* ---- the end of a shape ---- */

/* Out of the maps; false if it was out already. */
static bool unlink_shape(struct shapes *s, struct shape *shape, enum reason reason)
{
	pthread_rwlock_wrlock(&s->registry_lock);
	bool was_in = !atomic_load(&shape->dropped);
	if (was_in) {
		shape->why = (unsigned char)reason; /* first: who sees it dropped may ask */
		atomic_store(&shape->dropped, true);
		gone_note(shape->handle, reason);
		map_del(&s->by_handle, shape->handle, strlen(shape->handle));
		map_put(&s->leaving, shape->handle, strlen(shape->handle), shape_ref(shape));
		if (map_get(&s->by_identity, shape->def.identity, shape->def.identity_len) == shape)
			map_del(&s->by_identity, shape->def.identity, shape->def.identity_len);
		atomic_fetch_sub(&s->nshapes, 1);
		registry_leave(s, shape);
		usage_leaves(s, shape);
		pthread_mutex_lock(shape_lock(shape));
		shape_count(shape);
		pthread_mutex_unlock(shape_lock(shape));
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
	writer_room_again(s);
	usage_again(s);
}

/* With the lock. */
static void tell_removed(struct shapes *s)
{
	if (s->removed.more > 0)
		log_about(LOG_INFO, &(struct log_about){.table = s->removed.table, .reason = s->removed.reason}, "Removed %zu more shapes of %s: %s",
		          s->removed.more, s->removed.table, s->removed.why);
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
static void tell(struct shapes *s, const struct shape *shape, enum reason reason, const char *why)
{
	char table[sizeof s->removed.table], cut[sizeof s->removed.why];
	snprintf(table, sizeof table, "%s.%s", shape->def.table->schema, shape->def.table->name);
	snprintf(cut, sizeof cut, "%s", why);
	pthread_mutex_lock(&s->removed_lock);
	bool again = s->removed.said_ms != 0 && strcmp(s->removed.table, table) == 0 && strcmp(s->removed.why, cut) == 0;
	if (!again) {
		tell_removed(s);
		memcpy(s->removed.table, table, sizeof table);
		memcpy(s->removed.why, cut, sizeof cut);
		s->removed.reason = reason;
		s->removed.said_ms = clock_mono_ms();
	} else {
		s->removed.more++;
	}
	log_about(again ? LOG_DEBUG : LOG_INFO, &(struct log_about){shape->handle, table, reason}, "Removing shape %s of %s: %s",
	          shape->handle, table, why);
	pthread_mutex_unlock(&s->removed_lock);
	metric_add_label(METRIC_ROTATIONS, reason, 1);
	event_put(EVENT_ROTATION, reason, shape->handle, table, "%s", why);
}

bool shape_unlink(struct shape *shape, enum reason reason, const char *why)
{
	struct shapes *s = shape->engine;
	if (!unlink_shape(s, shape, reason))
		return false;
	tell(s, shape, reason, why);
	give_up_copy(s);
	return true;
}

void shape_rotate(struct shape *shape, enum reason reason, const char *why)
{
	if (shape_unlink(shape, reason, why))
		post_drop(shape->engine, shape);
}

void shape_rotate_for(struct shape *shape, uint32_t oid, enum reason reason, const char *why)
{
	const struct pg_table *t = shape_def_table(&shape->def, oid);
	char of_which[WHY_MAX];
	if (t != NULL && t != shape->def.table) {
		snprintf(of_which, sizeof of_which, "table %s.%s of its condition: %s", t->schema, t->name, why);
		why = of_which;
	}
	shape_rotate(shape, reason, why);
}

void shape_set_failed(struct shape *shape, const struct err *e)
{
	struct shapes *s = shape->engine;
	bool was_in = unlink_shape(s, shape, err_reason(e));
	pthread_mutex_lock(shape_lock(shape));
	if (shape->tail.state == SHAPE_CREATING || shape->tail.state == SHAPE_SNAPSHOTTING) {
		shape->tail.state = was_in ? SHAPE_FAILED : SHAPE_GONE;
		shape_count(shape);
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

static void rotate_all_of(struct shapes *s, uint32_t oid, enum reason reason, const char *why)
{
	size_t n;
	struct shape **doomed = registry_shapes(s, oid, &n);
	registry_cache_doubt(s, oid);
	for (size_t i = 0; i < n; i++) {
		shape_rotate_for(doomed[i], oid, reason, why);
		shape_unref(doomed[i]);
	}
	free(doomed);
}

void shapes_rotate_table(struct shapes *s, uint32_t oid, enum reason reason, const char *why)
{
	rotate_all_of(s, oid, reason, why);
}

void shapes_rotate_all(struct shapes *s, enum reason reason, const char *why) { rotate_all_of(s, 0, reason, why); }

void shapes_delete(struct shapes *s, struct shape *shape)
{
	(void)s;
	shape_rotate(shape, REASON_DELETED, "deleted by a request");
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

void registry_free(struct shapes *s)
{
	struct shape *shape;
	for (size_t i = 0; (shape = map_next(&s->by_handle, &i)) != NULL;)
		shape_unref(shape);
	for (size_t i = 0; (shape = map_next(&s->leaving, &i)) != NULL;)
		shape_unref(shape);
	map_clear(&s->leaving);
	struct table_state *t;
	for (size_t i = 0; (t = map_next(&s->tables, &i)) != NULL;) {
		pg_table_unref(t->table);
		free(t->ground);
		free(t);
	}
	registry_cache_clear(s);
	map_clear(&s->by_handle);
	map_clear(&s->by_identity);
	map_clear(&s->tables);
	held_back_free(s);
	map_clear(&s->inflight);
}
