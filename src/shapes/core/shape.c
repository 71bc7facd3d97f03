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
#include "shapes/core/sets.h"

/* ---- schema headers ---- */

static struct header *header_intern(struct shapes *s, struct pg_table *table, const uint16_t *selected, uint16_t n)
{
	struct buf key = BUF_INIT(RECORD_BYTES_MAX);
	buf_put(&key, &table, sizeof(struct pg_table *));
	buf_put(&key, selected, n * sizeof *selected);
	pthread_mutex_lock(&s->headers_lock);
	struct header *h = map_get(&s->headers, key.data, key.len);
	if (h == NULL) {
		h = mem_zalloc(sizeof *h + key.len);
		h->table = pg_table_ref(table); /* its address is in the key */
		h->key_len = key.len;
		memcpy(h->key, key.data, key.len);
		struct buf text = BUF_INIT(RECORD_BYTES_MAX);
		pg_table_schema_json(table, selected, n, &text);
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
	shape_in_clear(&s->in);
	shape_def_clear(&s->def);
	free(s->inner_links);
	sets_free(s->sets);
	free(s->tail.err);
	header_unref(s->engine, atomic_load(&s->header));
	for (unsigned i = 0; i < s->nold_headers; i++)
		header_unref(s->engine, s->old_headers[i]);
	free(s->old_headers);
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
	atomic_init(&shape->header, header_intern(s, shape->def.table, shape->def.selected, shape->def.nselected));
	shape->chunk_bytes = (uint64_t)s->config->chunk_bytes_threshold;
	atomic_init(&shape->read_ms, clock_mono_ms());
	shape->tail.state = SHAPE_CREATING;
	shape->tail.folded = shape->tail.last = shape->tail.last_chunk_end = (struct log_offset){0, LOG_OP_INF};
	wait_list_init(&shape->tail.waiters, shape_lock(shape));
	return shape;
}

struct shape_link *shape_link_to(struct shape *s, uint32_t oid)
{
	struct shape_link *l = s->def.table->oid == oid ? &s->link : NULL;
	for (uint16_t i = 0; l == NULL && i < s->def.ninner; i++)
		if (s->def.inner[i]->oid == oid)
			l = &s->inner_links[i];
	REQUIRE(l != NULL);
	return l;
}

/* Where the column that the definition calls `column` is now, -1: it is gone. */
static int column_in(const struct pg_table *now, const struct shape *shape, uint16_t column)
{
	int16_t attnum = shape->def.table->columns[column].attnum;
	for (uint16_t i = 0; i < now->ncolumns; i++)
		if (now->columns[i].attnum == attnum)
			return i;
	return -1;
}

bool shape_renew_header(struct shape *shape, struct pg_table *now)
{
	struct shapes *s = shape->engine;
	if (strcmp(atomic_load(&shape->header)->table->schema_json, now->schema_json) == 0)
		return false;
	uint16_t *selected = mem_alloc(shape->def.nselected * sizeof *selected);
	for (uint16_t i = 0; i < shape->def.nselected; i++) {
		int at = column_in(now, shape, shape->def.selected[i]);
		if (at < 0) {
			free(selected);
			return false;
		}
		selected[i] = (uint16_t)at;
	}
	struct header *h = header_intern(s, now, selected, shape->def.nselected), *unused = h;
	free(selected);
	pthread_mutex_lock(&s->headers_lock);
	struct header *was = atomic_load(&shape->header);
	bool differs = strcmp(was->text, h->text) != 0;
	if (differs) {
		shape->old_headers = mem_realloc(shape->old_headers, (shape->nold_headers + 1) * sizeof(struct header *));
		shape->old_headers[shape->nold_headers++] = was;
		atomic_store(&shape->header, h);
		unused = NULL;
	}
	pthread_mutex_unlock(&s->headers_lock);
	if (unused != NULL)
		header_unref(s, unused);
	return differs;
}

const char *shape_handle(const struct shape *s) { return s->handle; }
const struct shape_def *shape_definition(const struct shape *s) { return &s->def; }
enum reason shape_why(const struct shape *s)
{
	return atomic_load(&s->dropped) ? (enum reason)s->why : REASON_UNKNOWN_HANDLE;
}

const char *shape_schema_header(const struct shape *s) { return atomic_load(&s->header)->text; }
bool shape_schema_renewed(const struct shape *s) { return atomic_load(&s->nold_headers) > 0; }

void shape_touch(struct shape *s) { atomic_store_explicit(&s->read_ms, clock_mono_ms(), memory_order_relaxed); }
