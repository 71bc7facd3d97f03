/*
 * load.c - from the store back to a running engine: definitions, tails, the durable LSN.
 *
 * Runs before any thread does. Shapes whose first snapshot a crash interrupted are dropped; leftovers
 * of a staged transaction are cut; tails are rebuilt from the journal, so that what was delivered and
 * durable is there again at the same offsets. What is damaged costs the shapes that it belongs to, or may belong to.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/cache.h"
#include "shapes/core/engine.h"
#include "shapes/core/gone.h"
#include "shapes/core/registry.h"
#include "shapes/core/sets.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/sink.h"
#include "shapes/load.h"
#include "shapes/logs/record.h"
#include "shapes/logs/writer.h"

struct loading {
	struct shapes *s;
	struct map by_id;    /* id -> shape */
	struct map tables;   /* interned */
	uint64_t *doomed;
	size_t ndoomed, doomed_cap;
	uint32_t *bad_tables; /* keys of damaged records */
	size_t nbad_tables;
	uint64_t max_id, seq;
	struct store_read *read;
	uint64_t *bad_batches, good_next; /* damaged ones; behind the last that isn't */
	size_t nbad_batches;
	bool after_bad;
	bool journal_lost; /* rows of shapes that can't be named */
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
	writer_untrack(s, shape);
	pthread_rwlock_wrlock(&s->registry_lock);
	map_del(&s->by_handle, shape->handle, strlen(shape->handle));
	map_del(&s->by_identity, shape->def.identity, shape->def.identity_len);
	atomic_fetch_sub(&s->nshapes, 1);
	registry_leave(s, shape);
	pthread_rwlock_unlock(&s->registry_lock);
	shape_unref(shape);
}

/* One that was to be served, and can't be. */
static void doom_loaded(struct loading *l, struct shape *shape, const char *why)
{
	log_error("Shape %s of %s.%s is dropped: %s", shape->handle, shape->def.table->schema, shape->def.table->name, why);
	gone_note(shape->handle, REASON_STORE_DAMAGED);
	doom(l, shape->id);
	forget(l, shape);
}

static int doom_record(void *ctx, uint64_t id, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	(void)p, (void)len;
	log_error("Shape %" PRIu64 " is dropped: %s", id, e->text);
	doom(l, id);
	return 0;
}

/* It stands on what is stored as its tables' ground. */
static void ground_loaded(struct shape *shape)
{
	atomic_store(&shape->link.grounded, true);
	for (uint16_t i = 0; i < shape->def.ninner; i++)
		atomic_store(&shape->inner_links[i].grounded, true);
}

/* A shape as its record says. */
static void take_shape(struct loading *l, uint64_t id, struct shape_record *r, struct sets *sets)
{
	struct shapes *s = l->s;
	/* Two of one definition: the older one's rotation wasn't durable when the newer was made. */
	struct shape *twin = map_get(&s->by_identity, r->def.identity, r->def.identity_len);
	if (twin != NULL) {
		doom(l, twin->id);
		forget(l, twin);
	}
	struct shape *shape = shape_make(s, &r->def, id, r->handle);
	shape->sets = sets;
	shape->chunk_bytes = r->chunk_bytes;
	tail_restore_snapshot(shape, r->nchunks);
	ingest_restore_snapshot(shape, &r->snap);
	pthread_rwlock_wrlock(&s->registry_lock);
	atomic_store(&shape->rows, SHAPE_ROWS_UNKNOWN);
	registry_link(s, shape);
	pthread_rwlock_unlock(&s->registry_lock);
	ground_loaded(shape);
	map_put(&l->by_id, &shape->id, sizeof shape->id, shape);
	l->nloaded++;
}

static int load_shape(void *ctx, uint64_t id, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	struct shapes *s = l->s;
	struct shape_record r;
	struct sets *sets = NULL;
	int rc = 0;
	if (record_shape_parse(p, len, &l->tables, &r, e) != 0)
		return e->kind == ERR_CONFIG ? -1 : doom_record(l, id, p, len, e);
	int64_t made = 0;
	const char *dash = strchr(r.handle, '-');
	if (dash != NULL)
		made = strtoll(dash + 1, NULL, 10);
	s->last_handle_us = made > s->last_handle_us ? made : s->last_handle_us;
	if (!r.complete) {
		doom(l, id);
	} else if (r.def.table->keys >= PG_KEYS_CLASH) {
		log_info("Removing shape %s of %s.%s: keys of its rows may be the same, which the Busbar that made it didn't tell apart",
		         r.handle, r.def.table->schema, r.def.table->name);
		gone_note(r.handle, REASON_KEY_CHANGED);
		doom(l, id);
	} else if (r.sets != NULL && (sets_restore(&r.def, r.sets, r.sets_len, &sets, e) != 0 ||
	                              sets_charge(sets, &s->sets_bytes, SIZE_MAX, e) != 0)) {
		rc = doom_record(l, id, p, len, e);
	} else {
		take_shape(l, id, &r, sets);
	}
	shape_record_clear(&r);
	return rc;
}

static int note_bad_table(void *ctx, uint64_t oid, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	(void)p, (void)len;
	log_error("%s: shapes of a table without a record are dropped", e->text);
	l->bad_tables = mem_realloc(l->bad_tables, (l->nbad_tables + 1) * sizeof *l->bad_tables);
	l->bad_tables[l->nbad_tables++] = (uint32_t)oid;
	return 0;
}

static int load_table(void *ctx, uint64_t oid, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	struct shapes *s = l->s;
	struct table_state t;
	if (record_table_parse(p, len, &t, e) != 0)
		return e->kind == ERR_CONFIG ? -1 : note_bad_table(l, oid, p, len, e);
	/* The shapes' description, if it is the same: shapes to come share their formats and filters. */
	struct buf json = BUF_INIT(RECORD_BYTES_MAX);
	pg_table_to_json(t.table, &json);
	const struct interned *same = map_get(&l->tables, json.data, json.len);
	if (same != NULL) {
		pg_table_unref(t.table);
		t.table = pg_table_ref(same->table);
	}
	buf_clear(&json);
	pthread_rwlock_wrlock(&s->registry_lock);
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
		/* A shape's record has the table as it was at its birth. */
		for (const struct shape_link *x = at->shapes; x != NULL; x = x->next)
			if (x->shape->def.table->oid == at->oid && x->shape->def.table != at->table)
				(void)shape_renew_header(x->shape, at->table);
	}
	at->idle_since_ms = clock_mono_ms();
	pthread_rwlock_unlock(&s->registry_lock);
	ingest_adopt_table(s, at->table);
	pg_table_unref(registry_cache_put(s, at->table, 0));
	return 0;
}

static int load_row(void *ctx, uint64_t id, struct log_offset at, uint32_t flags, struct line *line, struct err *e)
{
	struct loading *l = ctx;
	(void)e;
	l->max_id = id > l->max_id ? id : l->max_id;
	struct shape *shape = map_get(&l->by_id, &id, sizeof id);
	/* Of a dropped shape, or folded into blocks already. */
	if (shape == NULL || (shape->tail.last.tx != 0 && log_offset_cmp(at, shape->tail.last) <= 0))
		return 0;
	tail_restore(shape, at, flags, line);
	ingest_restore_entry(shape, line, flags);
	writer_restore_row(l->s, shape, l->seq);
	return 0;
}

/* Batches follow each other; only the oldest go. */
static void count_batch(struct loading *l, uint64_t seq, size_t len)
{
	uint64_t due = writer_restore_batch(l->s, seq, len);
	if (seq != due && !l->after_bad && !l->journal_lost) {
		l->journal_lost = true;
		log_error("store: journal batch %" PRIu64 " is missing", due);
	}
	l->seq = seq;
	l->after_bad = false;
}

/* It must not cost anything at the next start. */
static void note_bad_batch(struct loading *l, uint64_t seq)
{
	l->after_bad = true;
	l->bad_batches = mem_realloc(l->bad_batches, (l->nbad_batches + 1) * sizeof *l->bad_batches);
	l->bad_batches[l->nbad_batches++] = seq;
}

static void lose_rows(void *ctx, uint64_t id)
{
	struct loading *l = ctx;
	struct shape *shape = map_get(&l->by_id, &id, sizeof id);
	if (shape != NULL)
		doom_loaded(l, shape, "rows of it in the journal are damaged");
}

static int lose_batch(void *ctx, uint64_t seq, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	log_error("%s", e->text);
	if (!journal_names(p, len, lose_rows, l))
		l->journal_lost = true;
	/* If it is the key that is damaged, the batch that is missing is this one: keys have no gaps, so that it is the
	 * first or the last. */
	l->after_bad = true;
	count_batch(l, seq, len);
	note_bad_batch(l, seq);
	return 0;
}

static int load_batch(void *ctx, uint64_t seq, const void *p, size_t len, struct err *e)
{
	struct loading *l = ctx;
	count_batch(l, seq, len);
	if (journal_decode(p, len, load_row, l, e) == 0) {
		l->good_next = seq + 1;
		return 0;
	}
	if (e->kind == ERR_CONFIG)
		return -1;
	l->journal_lost = true;
	note_bad_batch(l, seq);
	log_error("%s (batch %" PRIu64 ")", e->text, seq);
	return 0;
}

static int load_head(void *ctx, uint64_t id, const struct store_head *h, struct err *e)
{
	struct loading *l = ctx;
	struct shape *shape = map_get(&l->by_id, &id, sizeof id);
	if (shape == NULL) { /* what a damaged record, or a damaged entry of `dropped`, named */
		int rc = store_is_dropped(l->read, id, e);
		if (rc == 1)
			doom(l, id);
		return rc < 0 ? -1 : 0;
	}
	tail_restore_log(shape, h->last, h->chunk_end);
	ingest_restore_open(shape, h->open_bytes);
	return 0;
}

/* Calls doom_loaded() for the shapes that `lost` picks. */
static void doom_where(struct loading *l, bool (*lost)(struct loading *l, const struct shape *shape), const char *why)
{
	struct shape *shape, **all = NULL;
	size_t n = 0;
	for (size_t i = 0; (shape = map_next(&l->by_id, &i)) != NULL;)
		if (lost(l, shape)) {
			all = mem_realloc(all, (n + 1) * sizeof(struct shape *));
			all[n++] = shape;
		}
	for (size_t i = 0; i < n; i++)
		doom_loaded(l, all[i], why);
	free(all);
}

static bool has_no_head(struct loading *l, const struct shape *shape)
{
	(void)l;
	return shape->tail.state != SHAPE_LIVE;
}

/* ... or of one that its condition names. */
static bool has_no_table(struct loading *l, const struct shape *shape)
{
	struct shapes *s = l->s;
	pthread_rwlock_rdlock(&s->registry_lock);
	bool lost = !registry_table(s, shape->def.table->oid)->joined;
	for (uint16_t i = 0; i < shape->def.ninner; i++)
		lost = lost || !registry_table(s, shape->def.inner[i]->oid)->joined;
	pthread_rwlock_unlock(&s->registry_lock);
	return lost;
}

static bool is_any(struct loading *l, const struct shape *shape)
{
	(void)l, (void)shape;
	return true;
}

/* What a staged transaction left. */
static int cut_staged(struct loading *l, lsn_t staging, struct err *e)
{
	struct store *store = l->s->store;
	if (staging == 0)
		return 0;
	if (store_begin(store, e) != 0)
		return -1;
	struct shape *shape;
	for (size_t i = 0; (shape = map_next(&l->by_id, &i)) != NULL;) {
		/* One whose log is damaged is found by its head. */
		if (store_cut_log(store, shape->id, staging, e) != 0 && (e->kind != ERR_DAMAGED || store_drop_head(store, shape->id, e) != 0))
			return -1;
		if (store_txn_is_large(store) && (store_commit(store, e) != 0 || store_begin(store, e) != 0))
			return -1;
	}
	if (store_put_meta_u64(store, "staging", 0, e) != 0 || store_commit(store, e) != 0)
		return -1;
	store_writer_done(store);
	return 0;
}

/* One between others leaves an empty one, as there are no gaps. */
static int drop_bad_batches(struct loading *l, struct err *e)
{
	struct buf empty = BUF_INIT(1024);
	journal_encode(NULL, 0, &empty);
	int rc = 0;
	for (size_t i = 0; i < l->nbad_batches && rc == 0; i++) {
		uint64_t seq = l->bad_batches[i];
		bool at_end = seq == writer_first_batch(l->s) || seq >= l->good_next;
		rc = at_end ? store_drop_journal(l->s->store, seq, e) : store_put_journal(l->s->store, seq, empty.data, empty.len, e);
	}
	buf_clear(&empty);
	if (l->nbad_batches > 0)
		writer_journal_ends(l->s, l->good_next);
	return rc;
}

static int by_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Each once: a shape whose record is damaged is met by its head again. */
static void count_doomed(struct loading *l)
{
	size_t n = 0;
	if (l->ndoomed > 0)
		qsort(l->doomed, l->ndoomed, sizeof *l->doomed, by_id);
	for (size_t i = 0; i < l->ndoomed; i++)
		if (n == 0 || l->doomed[n - 1] != l->doomed[i])
			l->doomed[n++] = l->doomed[i];
	l->ndoomed = n;
}

/* Shapes that are not to be. */
static int drop_doomed(struct loading *l, struct err *e)
{
	struct store *store = l->s->store;
	count_doomed(l);
	if (l->ndoomed == 0 && l->nbad_tables == 0 && l->nbad_batches == 0)
		return 0;
	if (store_begin(store, e) != 0)
		return -1;
	for (size_t i = 0; i < l->ndoomed; i++)
		if (store_drop_shape(store, l->doomed[i], e) != 0 ||
		    (store_txn_is_large(store) && (store_commit(store, e) != 0 || store_begin(store, e) != 0)))
			return -1;
	if (drop_bad_batches(l, e) != 0)
		return -1;
	for (size_t i = 0; i < l->nbad_tables; i++)
		if (store_drop_table(store, l->bad_tables[i], e) != 0)
			return -1;
	if (store_commit(store, e) != 0)
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
	bool failed = get_u64(r, "durable", durable, e) != 0 || get_u64(r, "mark", mark, e) != 0 ||
	              get_u64(r, "staging", staging, e) != 0 || get_u64(r, "next_id", next_id, e) != 0;
	store_read_on_damage(r, doom_record);
	failed = failed || store_each_shape(r, load_shape, l, e) != 0;
	store_read_on_damage(r, note_bad_table);
	failed = failed || store_each_table(r, load_table, l, e) != 0;
	store_read_end(r);
	if (!failed && l->nbad_tables > 0)
		doom_where(l, has_no_table, "the record of its table is damaged");
	return failed ? -1 : 0;
}

static int load_run(void *ctx, uint64_t first, const void *p, size_t len, struct err *e)
{
	struct shapes *s = ctx;
	(void)first;
	writer_restore_commits(s, len);
	return ingest_restore_commits(s, p, len, e);
}

/* Without them nothing is lost but the proof that the server is the one we knew. */
static void load_commits(struct shapes *s)
{
	struct err e = {0};
	struct store_read *r = store_read_begin(s->store, &e);
	if (r != NULL && store_each_commits(r, load_run, s, &e) != 0) {
		log_warning("%s; it is forgotten", e.text);
		ingest_forget_commits(s);
	}
	if (r != NULL)
		store_read_end(r);
}

static int load_snapshot_bytes(void *ctx, uint64_t id, uint64_t bytes, struct err *e)
{
	struct loading *l = ctx;
	struct shape *shape = map_get(&l->by_id, &id, sizeof id);
	(void)e;
	if (shape != NULL)
		atomic_fetch_add(&shape->snapshot_bytes, bytes);
	return 0;
}

static int load_log_bytes(void *ctx, uint64_t id, uint64_t bytes, struct err *e)
{
	struct loading *l = ctx;
	struct shape *shape = map_get(&l->by_id, &id, sizeof id);
	(void)e;
	if (shape != NULL)
		atomic_fetch_add(&shape->log_bytes, bytes);
	return 0;
}

static int load_logs(struct loading *l, struct err *e)
{
	struct store_read *r = l->read = store_read_begin(l->s->store, e);
	if (r == NULL)
		return -1;
	bool failed = store_max_id(r, &l->max_id, e) != 0 || store_each_head(r, load_head, l, e) != 0;
	if (!failed)
		doom_where(l, has_no_head, "where its log ends is damaged");
	store_read_on_damage(r, lose_batch);
	failed = failed || store_each_journal(r, load_batch, l, e) != 0;
	failed = failed || store_each_bytes(r, STORE_SNAPSHOTS, load_snapshot_bytes, l, e) != 0 ||
	         store_each_bytes(r, STORE_LOGS, load_log_bytes, l, e) != 0;
	store_read_end(r);
	if (!failed && l->journal_lost)
		doom_where(l, is_any, "a part of the journal is lost, and it can't be told whose");
	return failed ? -1 : 0;
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
		ingest_rotate(s, unfit[i], REASON_CONDITION_UNUSABLE, "its condition no longer fits the table");
	free(unfit);
}

int engine_load(struct shapes *s, struct err *e)
{
	struct loading l = {.s = s};
	uint64_t durable, mark, staging, next_id;
	int rc = load_definitions(&l, &durable, &mark, &staging, &next_id, e);
	if (rc == 0)
		rc = cut_staged(&l, staging, e);
	if (rc == 0)
		rc = load_logs(&l, e);
	if (rc == 0)
		rc = drop_doomed(&l, e);
	if (rc == 0) {
		log_notice("Found %zu existing valid shapes and %zu shapes in an invalid state", (size_t)s->nshapes, l.ndoomed);
		/* Whatever stands under an id that was never counted must not become another shape's. */
		s->next_id = next_id > l.max_id ? next_id : l.max_id + 1;
		writer_restored(s);
		s->durable = durable;
		s->mark = s->delivered = mark;
		/* All below the durable LSN is in the tails; what the mark doesn't cover was never told. */
		s->seen = durable == 0 ? 0 : durable - 1 < mark ? durable - 1 : mark;
		ingest_set_processed(s, durable);
		load_commits(s);
		adopt_all(s);
	}
	interned_clear(&l.tables);
	map_clear(&l.by_id);
	free(l.doomed);
	free(l.bad_tables);
	free(l.bad_batches);
	return rc;
}
