/* items.c - see items.h. */
#include "shapes/core/items.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void *make(enum item_kind kind, size_t size)
{
	struct item *it = mem_zalloc(size);
	it->kind = kind;
	return it;
}

struct item_rows *item_rows_new(const struct item_txn *txn, size_t room)
{
	struct item_rows *it = make(ITEM_ROWS, sizeof *it);
	it->txn = *txn;
	it->rows = mem_alloc(room * sizeof *it->rows);
	it->cap = room;
	it->item.bytes = sizeof *it;
	return it;
}

struct item *item_lsn_new(lsn_t lsn)
{
	struct item_lsn *it = make(ITEM_LSN, sizeof *it);
	it->lsn = lsn;
	return &it->item;
}

struct item *item_lsn_new_set(lsn_t lsn)
{
	struct item_lsn *it = make(ITEM_LSN, sizeof *it);
	it->lsn = lsn;
	it->set = true;
	return &it->item;
}

struct item *item_mark_new(lsn_t mark, uint64_t seq)
{
	struct item_mark *it = make(ITEM_MARK, sizeof *it);
	it->mark = mark;
	it->seq = seq;
	return &it->item;
}

static struct item_shape *record_of(enum item_kind kind, struct shape *shape, struct buf *record, uint64_t next_id)
{
	struct item_shape *it = make(kind, sizeof *it);
	it->shape = shape_ref(shape);
	it->record = buf_detach(record, &it->len);
	it->next_id = next_id;
	return it;
}

struct item *item_shape_new(struct shape *shape, struct buf *record, uint64_t next_id)
{
	return &record_of(ITEM_SHAPE, shape, record, next_id)->item;
}

struct item *item_complete_new(struct shape *shape, struct buf *record, uint32_t nchunks, uint64_t next_id)
{
	struct item_shape *it = record_of(ITEM_COMPLETE, shape, record, next_id);
	it->nchunks = nchunks;
	return &it->item;
}

struct item *item_drop_new(struct shape *shape)
{
	struct item_drop *it = make(ITEM_DROP, sizeof *it);
	it->shape = shape_ref(shape);
	return &it->item;
}

struct item *item_piece_new(struct shape *shape, uint32_t chunk, uint32_t piece, bool chunk_closed, struct buf *rows)
{
	struct item_piece *it = make(ITEM_PIECE, sizeof *it);
	it->shape = shape_ref(shape);
	it->chunk = chunk;
	it->piece = piece;
	it->chunk_closed = chunk_closed;
	size_t held = rows->cap;
	it->data = buf_detach(rows, &it->len);
	if (held > 2 * it->len) /* room was made for a piece of usual size */
		it->data = mem_realloc(it->data, held = it->len + 1);
	it->item.bytes = held + sizeof *it;
	return &it->item;
}

struct item *item_table_new(uint32_t oid, struct buf *record)
{
	struct item_table *it = make(ITEM_TABLE, sizeof *it);
	it->oid = oid;
	it->record = buf_detach(record, &it->len);
	return &it->item;
}

struct item *item_table_new_gone(uint32_t oid)
{
	struct item_table *it = make(ITEM_TABLE, sizeof *it);
	it->oid = oid;
	return &it->item;
}

/* ---- of staged transactions ---- */

struct item_stage *item_stage_new(lsn_t tx)
{
	struct item_stage *it = make(ITEM_STAGE, sizeof *it);
	it->tx = tx;
	it->item.bytes = sizeof *it;
	return it;
}

void item_stage_add(struct item_stage *it, struct shape *shape, const struct entry *e)
{
	if (it->nrows == it->cap) {
		it->cap = it->cap ? it->cap * 2 : 64;
		it->rows = mem_realloc(it->rows, it->cap * sizeof *it->rows);
	}
	if (it->nrows == 0 || it->rows[it->nrows - 1].shape != shape)
		it->item.scattered += ITEM_PAGE_BYTES;
	it->rows[it->nrows++] = (struct row){shape, *e};
	it->item.bytes += e->line->len + sizeof(struct row);
}

static void add_end(struct item *it, struct staged_ends *ends, struct staged_end end)
{
	if (ends->n == ends->cap) {
		ends->cap = ends->cap ? ends->cap * 2 : 16;
		ends->list = mem_realloc(ends->list, ends->cap * sizeof *ends->list);
	}
	ends->list[ends->n++] = end;
	it->bytes += sizeof end;
}

struct item_last *item_last_new(lsn_t tx)
{
	struct item_last *it = make(ITEM_LAST, sizeof *it);
	it->tx = tx;
	it->item.bytes = sizeof *it;
	return it;
}

void item_last_add(struct item_last *it, struct staged_end end, size_t rewritten)
{
	add_end(&it->item, &it->ends, end);
	it->item.scattered += ITEM_PAGE_BYTES + rewritten;
}

struct item_publish *item_publish_new(const struct item_txn *txn)
{
	struct item_publish *it = make(ITEM_PUBLISH, sizeof *it);
	it->txn = *txn;
	it->item.bytes = sizeof *it;
	return it;
}

void item_publish_add(struct item_publish *it, struct shape *shape, struct log_offset newest)
{
	add_end(&it->item, &it->ends, (struct staged_end){shape, newest, 0, false});
}

struct item *item_unstage_new(lsn_t tx, struct buf *ids, bool more)
{
	struct item_unstage *it = make(ITEM_UNSTAGE, sizeof *it);
	size_t len = 0;
	it->tx = tx;
	it->ids = (uint64_t *)(void *)buf_detach(ids, &len);
	it->n = len / sizeof *it->ids;
	it->more = more;
	it->item.scattered = it->n * 2 * ITEM_PAGE_BYTES; /* blocks and chunk ends */
	return &it->item;
}

struct item *item_meta_new(const char *name, const void *data, size_t len)
{
	struct item_meta *it = make(ITEM_META, sizeof *it);
	snprintf(it->name, sizeof it->name, "%s", name);
	it->data = mem_alloc(len);
	memcpy(it->data, data, len);
	it->len = len;
	return &it->item;
}

/* ---- the end ---- */

static void free_rows(struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		line_unref(rows[i].entry.line);
	free(rows);
}

void item_free(struct item *it)
{
	switch (it->kind) {
	case ITEM_ROWS:
		free_rows(item_as_rows(it)->rows, item_as_rows(it)->nrows);
		break;
	case ITEM_SHAPE:
	case ITEM_COMPLETE:
		free(item_as_shape(it)->record);
		shape_unref(item_as_shape(it)->shape);
		break;
	case ITEM_DROP:
		shape_unref(item_as_drop(it)->shape);
		break;
	case ITEM_PIECE:
		free(item_as_piece(it)->data);
		shape_unref(item_as_piece(it)->shape);
		break;
	case ITEM_TABLE:
		free(item_as_table(it)->record);
		break;
	case ITEM_STAGE:
		free_rows(item_as_stage(it)->rows, item_as_stage(it)->nrows);
		break;
	case ITEM_LAST:
		free(item_as_last(it)->ends.list);
		break;
	case ITEM_PUBLISH:
		free(item_as_publish(it)->ends.list);
		break;
	case ITEM_UNSTAGE:
		free(item_as_unstage(it)->ids);
		break;
	case ITEM_META:
		free(item_as_meta(it)->data);
		break;
	case ITEM_LSN:
	case ITEM_MARK:
		break;
	}
	free(it);
}
