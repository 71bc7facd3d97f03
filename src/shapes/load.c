/*
 * load.c - from the store back to a running engine: definitions, tails, the durable LSN.
 *
 * Runs before any thread does. Shapes whose first snapshot a crash interrupted are dropped; leftovers
 * of a staged transaction are cut; tails are rebuilt from the journal, so that what was delivered and
 * durable is there again at the same offsets.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/ingest.h"

struct loading {
	struct shapes *s;
	struct map by_id;    /* id -> shape */
	struct map tables;   /* interned */
	uint64_t *doomed;
	size_t ndoomed, doomed_cap;
	uint64_t max_id, seq;
	size_t nloaded;
};

static void doom(struct loading *l, uint64_t id)
{
	if (l->ndoomed == l->doomed_cap) {
		l->doomed_cap = l->doomed_cap ? l->doomed_cap * 2 : 16;
		l->doomed = mem_realloc(l->doomed, l->doomed_cap * sizeof *l->doomed);
	}
	l->doomed[l->ndoomed++] = id;
}

/* Frees a shape that only the loader and the maps know. */
static void forget(struct loading *l, struct shape *shape)
{
	struct shapes *s = l->s;
	map_del(&l->by_id, &shape->id, sizeof shape->id);
	map_del(&s->by_handle, shape->handle, strlen(shape->handle));
	map_del(&s->by_identity, shape->def.identity, shape->def.identity_len);
	atomic_fetch_sub(&s->nshapes, 1);
	registry_leave(registry_table(s, shape->def.table->oid), shape);
	shape_unref(shape);
}

static int load_shape(void *ctx, uint64_t id, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	struct shapes *s = l->s;
	struct shape_record r;
	if (record_shape_parse(p, len, &l->tables, &r, e) != 0)
		return err_wrap(e, "shape %" PRIu64, id);
	l->max_id = id > l->max_id ? id : l->max_id;
	int64_t made = 0;
	const char *dash = strchr(r.handle, '-');
	if (dash != NULL)
		made = strtoll(dash + 1, NULL, 10);
	s->last_handle_us = made > s->last_handle_us ? made : s->last_handle_us;
	if (!r.complete) {
		doom(l, id);
	} else {
		/* Two of one definition: the older one's rotation wasn't durable when the newer was made. */
		struct shape *twin = map_get(&s->by_identity, r.def.identity, r.def.identity_len);
		if (twin != NULL) {
			doom(l, twin->id);
			forget(l, twin);
		}
		struct shape *shape = shape_make(s, &r.def, id, r.handle);
		shape->chunk_bytes = r.chunk_bytes;
		shape->tail.state = SHAPE_LIVE;
		shape->tail.snap_complete = true;
		shape->tail.snap_chunk = r.nchunks;
		/* The filter stays: after a crash the stream may come from before the snapshot. */
		shape->in.filter.snap = r.snap;
		r.snap.xip = NULL;
		r.snap.nxip = 0;
		shape->in.filter.known = true;
		atomic_store(&shape->grounded, true);
		registry_link(s, shape);
		map_put(&l->by_id, &shape->id, sizeof shape->id, shape);
		l->nloaded++;
	}
	shape_def_clear(&r.def);
	pg_snapshot_clear(&r.snap);
	return 0;
}

static int load_table(void *ctx, uint64_t oid, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	struct shapes *s = l->s;
	struct table_state t;
	if (record_table_parse(p, len, &t, e) != 0)
		return err_wrap(e, "table %" PRIu64, oid);
	/* The shapes' description, if it is the same: shapes to come share their formats and filters. */
	struct buf json = BUF_INIT(RECORD_BYTES_MAX);
	pg_table_to_json(t.table, &json);
	const struct interned *same = map_get(&l->tables, json.data, json.len);
	if (same != NULL) {
		pg_table_unref(t.table);
		t.table = pg_table_ref(same->table);
	}
	buf_clear(&json);
	struct table_state *at = registry_table(s, t.oid);
	if (at == NULL) {
		at = mem_zalloc(sizeof *at);
		*at = t;
		map_put(&s->tables, &at->oid, sizeof at->oid, at);
	} else {
		pg_table_unref(at->table);
		at->table = t.table;
		at->join = t.join;
		at->joined = true;
		at->ground = t.ground;
	}
	at->idle_since_ms = clock_mono_ms();
	ingest_adopt_table(s, at->table);
	pg_table_unref(registry_cache_put(s, at->table, 0));
	return 0;
}

static int load_row(void *ctx, uint64_t id, struct log_offset at, uint32_t flags, struct line *line, struct err *e)
{
	struct loading *l = ctx;
	(void)e;
	struct shape *shape = map_get(&l->by_id, &id, sizeof id);
	/* Of a dropped shape, or folded into blocks already. */
	if (shape == NULL || (shape->tail.last.tx != 0 && log_offset_cmp(at, shape->tail.last) <= 0))
		return 0;
	tail_restore(shape, at, flags, line);
	if (flags & ENTRY_CHUNK_END)
		shape->in.open_bytes = 0;
	else
		shape->in.open_bytes += line->len + (flags & ENTRY_LAST ? (uint32_t)LINE_LAST_LEN : 0u);
	l->s->writer.journal_refs++;
	writer_track(l->s, shape, l->seq);
	return 0;
}

static int load_batch(void *ctx, uint64_t seq, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	struct writer *w = &l->s->writer;
	l->seq = seq;
	w->journal_bytes += len;
	if (w->next_seq == 0)
		w->first_seq = seq;
	w->next_seq = seq + 1;
	return journal_decode(p, len, load_row, l, e) == 0 ? 0 : err_wrap(e, "journal batch %" PRIu64, seq);
}

static int load_tails(struct loading *l, struct store_read *r, struct err *e)
{
	struct shape *shape;
	for (size_t i = 0; (shape = map_next(&l->by_id, &i)) != NULL;) {
		struct log_offset at;
		uint64_t open_bytes;
		int rc = store_log_tail(r, shape->id, &at, &open_bytes, e);
		if (rc < 0)
			return -1;
		if (rc == 1)
			continue;
		shape->tail.folded = shape->tail.last = at;
		shape->in.open_bytes = open_bytes;
		if ((rc = store_last_chunk_end(r, shape->id, &at, e)) < 0)
			return -1;
		if (rc == 0)
			shape->tail.last_chunk_end = at;
	}
	return 0;
}

/* What a staged transaction left, and shapes that are not to be. */
static int clean(struct loading *l, lsn_t staging, struct err *e)
{
	struct store *store = l->s->store;
	if (staging == 0 && l->ndoomed == 0)
		return 0;
	if (store_begin(store, e) != 0)
		return -1;
	struct shape *shape;
	for (size_t i = 0; staging != 0 && (shape = map_next(&l->by_id, &i)) != NULL;) {
		if (store_cut_log(store, shape->id, staging, e) != 0)
			return -1;
		if (store_txn_is_large(store) && (store_commit(store, e) != 0 || store_begin(store, e) != 0))
			return -1;
	}
	for (size_t i = 0; i < l->ndoomed; i++)
		if (store_drop_shape(store, l->doomed[i], e) != 0)
			return -1;
	if (store_put_meta_u64(store, "staging", 0, e) != 0 || store_commit(store, e) != 0)
		return -1;
	store_writer_done(store);
	return 0;
}

static int get_u64(struct store_read *r, const char *name, uint64_t *out, struct err *e)
{
	int rc = store_get_meta_u64(r, name, out, e);
	if (rc == 1)
		*out = 0;
	return rc < 0 ? -1 : 0;
}

static int load_definitions(struct loading *l, uint64_t *durable, uint64_t *mark, uint64_t *staging, uint64_t *next_id, struct err *e)
{
	struct store_read *r = store_read_begin(l->s->store, e);
	if (r == NULL)
		return -1;
	int rc = get_u64(r, "durable", durable, e) != 0 || get_u64(r, "mark", mark, e) != 0 || get_u64(r, "staging", staging, e) != 0 ||
	         get_u64(r, "next_id", next_id, e) != 0 || store_each_shape(r, load_shape, l, e) != 0 ||
	         store_each_table(r, load_table, l, e) != 0;
	store_read_end(r);
	return rc ? -1 : 0;
}

static int load_logs(struct loading *l, struct err *e)
{
	struct store_read *r = store_read_begin(l->s->store, e);
	if (r == NULL)
		return -1;
	int rc = load_tails(l, r, e) != 0 || store_each_journal(r, load_batch, l, e) != 0;
	store_read_end(r);
	return rc ? -1 : 0;
}

/* Into INGEST's routes; those whose condition can't be used any more are gone. */
static void adopt_all(struct shapes *s)
{
	struct shape *shape, **unfit = NULL;
	size_t n = 0;
	struct err e = {0};
	for (size_t i = 0; (shape = map_next(&s->by_handle, &i)) != NULL;) {
		if (ingest_adopt(s, shape, &e) == 0)
			continue;
		log_warning("Shape %s is dropped: %s", shape->handle, e.text);
		unfit = mem_realloc(unfit, (n + 1) * sizeof(struct shape *));
		unfit[n++] = shape;
	}
	for (size_t i = 0; i < n; i++)
		ingest_rotate(s, unfit[i], "its condition no longer fits the table");
	free(unfit);
}

int engine_load(struct shapes *s, struct err *e)
{
	struct loading l = {.s = s};
	uint64_t durable, mark, staging, next_id;
	int rc = load_definitions(&l, &durable, &mark, &staging, &next_id, e);
	if (rc == 0)
		rc = clean(&l, staging, e);
	if (rc == 0)
		rc = load_logs(&l, e);
	if (rc == 0) {
		log_notice("Found %zu existing valid shapes and %zu shapes in an invalid state", (size_t)s->nshapes, l.ndoomed);
		s->next_id = next_id > l.max_id ? next_id : l.max_id + 1;
		s->writer.gc_pending = true;
		s->writer.next_id = s->next_id;
		if (s->writer.fold_head != NULL) {
			s->writer.trim_upto = s->writer.fold_head->wr.oldest_seq;
			s->writer.trim_pending = true;
		}
		s->durable = durable;
		s->mark = s->delivered = mark;
		/* All below the durable LSN is in the tails; what the mark doesn't cover was never told. */
		s->seen = durable == 0 ? 0 : durable - 1 < mark ? durable - 1 : mark;
		ingest_set_processed(s, durable);
		adopt_all(s);
	}
	interned_clear(&l.tables);
	map_clear(&l.by_id);
	free(l.doomed);
	return rc;
}
