/*
 * shape.c - the life of a shape's memory, and the schema header that shapes of the same columns share.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"

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

struct shape *shape_ref(struct shape *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

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

const char *shape_handle(const struct shape *s) { return s->handle; }
const struct shape_def *shape_definition(const struct shape *s) { return &s->def; }
const char *shape_schema_header(const struct shape *s) { return s->header->text; }

void shape_touch(struct shape *s) { atomic_store_explicit(&s->read_ms, clock_mono_ms(), memory_order_relaxed); }
