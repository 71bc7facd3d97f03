/*
 * recount.c - before the stream begins: how often each key is there, of shapes whose rows may be equal, is read from their logs.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/ingest/ingest.h"
#include "shapes/routing/keys.h"

#define RESTORE_BYTES (256u << 10) /* of lines read at a time */

/* Counts whole lines. */
static int restore_lines(struct key_counts *c, const struct buf *lines, uint64_t *rows)
{
	const char *p = lines->data, *end = p + lines->len;
	for (const char *stop; p < end && (stop = memchr(p, '\n', (size_t)(end - p))) != NULL; p = stop + 1) {
		struct key_line k;
		struct key_hash key;
		if (!key_line_read(p, (size_t)(stop - p), 0, &k))
			continue;
		if (counts_line(c, p, &k, &key) == 0)
			return -1;
		(*rows)++;
	}
	return 0;
}

static int restore_slice(struct shape *shape, const struct shape_slice *slice, struct key_counts *c, uint64_t *rows, struct err *e)
{
	struct shape_reader *r = shape_reader_new(shape, slice);
	struct buf lines = BUF_INIT((size_t)2 << 30);
	struct waiter nobody = {0};
	enum shape_read got;
	int rc = 0;
	do {
		status_poll(shape->engine); /* the others aren't kept waiting: they are served as in an outage */
		buf_reset(&lines);
		got = shape_reader_next(r, &lines, RESTORE_BYTES, &nobody, e);
		if (got == SHAPE_READ_GONE || got == SHAPE_READ_WAIT)
			rc = err_set(e, ERR_CANCELLED, "it is gone"); /* a complete shape waits for nothing */
		else if (got == SHAPE_READ_ERROR)
			rc = -1;
		else if (restore_lines(c, &lines, rows) != 0)
			rc = err_set(e, ERR_IO, "its log deletes a row that it didn't have");
		else
			rc = key_counts_charge(c, &shape->engine->keys_counted, shape->def.table, e);
	} while (rc == 0 && got == SHAPE_READ_MORE && !atomic_load(&shape->engine->stopping));
	waiter_cancel(&nobody);
	buf_clear(&lines);
	shape_reader_free(r);
	return rc;
}

static int restore(struct shape *shape, uint64_t *rows, struct err *e)
{
	struct key_counts *c = shape->in.counts = mem_zalloc(sizeof *c);
	shape->engine->ingest->ncounts++;
	struct log_offset at = {0, 0};
	struct shape_slice slice;
	struct waiter nobody = {0};
	/* Its log alone doesn't say which rows there are. */
	if (shape->def.log_mode == LOG_MODE_CHANGES_ONLY)
		return err_set(e, ERR_CONFIG, "equal rows of its table, which has no key, are counted anew: its log has no first rows");
	for (bool start = true;; start = false, at = slice.to) {
		shape_slice(shape, start, at, &nobody, &slice);
		waiter_cancel(&nobody);
		if (slice.kind == SLICE_GONE || slice.kind == SLICE_WAIT || atomic_load(&shape->engine->stopping))
			return err_set(e, ERR_CANCELLED, "it is gone");
		if (slice.kind != SLICE_SNAPSHOT && slice.empty)
			return 0;
		if (restore_slice(shape, &slice, c, rows, e) != 0)
			return -1;
	}
}

void counts_restore(struct shapes *s)
{
	int64_t began_ms = clock_mono_ms();
	uint64_t rows = 0;
	size_t n = 0;
	pthread_rwlock_rdlock(&s->registry_lock);
	struct shape **all = mem_alloc((s->by_handle.len + 1) * sizeof *all), *shape;
	for (size_t i = 0; (shape = map_next(&s->by_handle, &i)) != NULL;)
		if (shape->def.table->keys == PG_KEYS_COUNTED)
			all[n++] = shape_ref(shape);
	pthread_rwlock_unlock(&s->registry_lock);
	for (size_t i = 0; i < n; i++) {
		struct err e;
		if (restore(all[i], &rows, &e) != 0 && !atomic_load(&s->stopping))
			ingest_rotate(s, all[i], REASON_ROWS_UNCOUNTED, e.text);
		shape_unref(all[i]);
	}
	free(all);
	if (n > 0)
		log_info("Counted %" PRIu64 " rows of %zu shapes whose tables have no key, in %" PRId64 " ms", rows, n,
		         clock_mono_ms() - began_ms);
}
