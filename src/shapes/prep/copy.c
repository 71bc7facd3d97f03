/*
 * copy.c - the rows of one shape out of the snapshot and into the store, in pieces that readers follow, and its completion.
 */
#include <inttypes.h>

#include "base/mem.h"
#include "pg/query.h"
#include "pg/snapshot.h"
#include "shapes/core/cmds.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/logs/record.h"
#include "shapes/logs/writer.h"
#include "shapes/prep/prep.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/row.h"

/* A snapshot's first bytes lie in the store as they are sent, which is the faster to read again; beyond, packed, which
 * is the faster to write and less to keep. */
#define SNAPSHOT_PLAIN_BYTES (1u << 20)

/* A snapshot's rows go to the store in pieces of about this size. */
#define SNAPSHOT_PIECE_BYTES (128u << 10)

struct copy {
	struct shapes *s;
	struct shape *shape;
	struct row_form *form;
	struct buf piece;
	uint32_t chunk, pieces;
	uint64_t chunk_bytes;
	size_t piece_bytes; /* of the lines in the piece */
	int64_t piece_rows;
	size_t all_bytes;   /* of the pieces before it */
	bool packed;        /* the piece is */
	struct key_counts counts; /* where rows may be equal */
	bool counts_only;   /* log=changes_only: no row is put anywhere */
	bool large;         /* ROW_ROOM_KEPT_BYTES */
	bool discard; /* the shape is gone; the transaction must stay usable for those that share it */
};

static int put_piece(struct copy *c, bool closes, struct err *e)
{
	REQUIRE(!c->discard);
	int room = usage_room(c->s, c->shape, e);
	if (room == 0)
		room = writer_room(c->s, c->shape, e);
	if (room != 0) {
		c->discard = true;
		buf_reset(&c->piece);
		return room < 0 ? -1 : 0;
	}
	row_pack_end(&c->piece, c->piece_bytes);
	writer_put(c->s, item_piece_new(c->shape, c->chunk, c->pieces++, closes, &c->piece));
	atomic_fetch_add(&c->shape->rows, c->piece_rows);
	c->all_bytes += c->piece_bytes;
	c->piece_rows = 0;
	c->piece_bytes = 0;
	if (closes) {
		c->chunk++;
		c->pieces = 0;
		c->chunk_bytes = 0;
	}
	return 0;
}

static bool is_counted(const struct shape *shape) { return shape->def.table->keys == PG_KEYS_COUNTED; }

static int copy_row(void *ctx, const struct pg_copy_value *values, struct err *e)
{
	struct copy *c = ctx;
	if (c->discard)
		return 0;
	const struct shape_def *def = &c->shape->def;
	int turned = def->table->nmembers > 0 ? row_form_turn(c->form, values[def->nselected]) : 0;
	if (turned < 0) {
		err_set(e, ERR_NOT_FOUND, "the table's children changed meanwhile");
		return err_why(e, REASON_PARTITION_CHANGED);
	}
	if (turned > 0 && c->packed && c->piece.len > 0 && put_piece(c, false, e) != 0)
		return -1;
	if (c->discard) /* dropped meanwhile */
		return 0;
	if (c->piece.len == 0) {
		buf_room(&c->piece, SNAPSHOT_PIECE_BYTES / (c->all_bytes == 0 ? 8 : 1));
		c->packed = c->all_bytes >= SNAPSHOT_PLAIN_BYTES;
		if (c->packed)
			row_pack_begin(c->form, &c->piece);
	}
	size_t before = c->piece.len, line;
	if (c->packed) {
		line = row_pack(c->form, values, &c->piece);
	} else {
		row_put(c->form, values, &c->piece);
		line = c->piece.len - before;
	}
	if (c->piece.failed)
		return err_set(e, ERR_LIMIT, "a row is too large for a snapshot");
	c->large = c->large || line > ROW_ROOM_KEPT_BYTES;
	if (is_counted(c->shape) && key_counts_charge(&c->counts, &c->s->keys_counted, c->shape->def.table, e) != 0)
		return -1;
	if (c->counts_only) {
		buf_reset(&c->piece);
		return 0;
	}
	c->piece_bytes += line;
	c->piece_rows++;
	c->chunk_bytes += line; /* the row and one byte, as Electric counts */
	if (c->chunk_bytes >= c->shape->chunk_bytes)
		return put_piece(c, true, e);
	/* The first piece goes early: a client waits for it. */
	if (c->piece_bytes >= SNAPSHOT_PIECE_BYTES || (c->all_bytes == 0 && c->piece_bytes >= SNAPSHOT_PIECE_BYTES / 8))
		return put_piece(c, false, e);
	return 0;
}

/* INGEST goes on counting. What it has kept for the shape meanwhile is in the writer's queue when it has them, ahead of
 * the snapshot's end. */
static void hand_over_counts(struct copy *c)
{
	struct cmd cmd = {.kind = CMD_COUNTS, .shapes = {c->shape}, .nshapes = 1, .counts = &c->counts};
	cmd_call(c->s, &cmd);
}

static void put_snapshot_end(const struct pg_snapshot *snap, struct buf *out)
{
	buf_printf(out, "{\"headers\":{\"control\":\"snapshot-end\",\"xmin\":\"%" PRIu64 "\",\"xmax\":\"%" PRIu64 "\",\"xip_list\":[",
	           snap->xmin, snap->xmax);
	for (uint32_t i = 0; i < snap->nxip; i++)
		buf_printf(out, "%s\"%" PRIu64 "\"", i > 0 ? "," : "", snap->xip[i]);
	buf_puts(out, "]}}\n");
}

int copy_shape(struct pg_thread *w, struct shape *shape, const struct pg_snapshot *snap, bool (*cancelled)(void *), void *cancel_ctx,
               struct err *e)
{
	struct shapes *s = w->s;
	enum shape_state state = tail_state(shape);
	REQUIRE(w->snapshot_open);
	REQUIRE(state == SHAPE_CREATING || state == SHAPE_SNAPSHOTTING || state == SHAPE_GONE); /* the WRITER may be slow, or done with it */
	struct copy c = {.s = s, .shape = shape, .form = row_form_new(&shape->def, "")};
	buf_init(&c.piece, (size_t)2 << 30);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	int rc = def_where_sql(&shape->def, &sql, e);
	if (is_counted(shape))
		row_form_count(c.form, &c.counts);
	c.counts_only = shape->def.log_mode == LOG_MODE_CHANGES_ONLY;
	if (rc == 0 && (!c.counts_only || is_counted(shape)))
		rc = pg_snapshot_copy(w->snap, shape->def.table, shape->def.selected, shape->def.nselected, sql.data, copy_row, &c,
		                      cancelled, cancel_ctx, e);
	buf_clear(&sql);
	if (rc == 0 && c.packed && c.piece.len > 0)
		rc = put_piece(&c, false, e); /* what follows is a line */
	if (rc == 0 && !c.discard && is_counted(shape))
		hand_over_counts(&c);
	if (rc == 0 && !c.discard) {
		put_snapshot_end(snap, &c.piece);
		rc = put_piece(&c, true, e);
	}
	if (rc == 0 && !c.discard) {
		struct buf b = BUF_INIT(RECORD_BYTES_MAX);
		record_shape(shape, snap, true, c.chunk, &b);
		writer_put(s, item_complete_new(shape, &b, c.chunk, atomic_load(&s->next_id)));
	}
	w->large = w->large || c.large;
	buf_clear(&c.piece);
	row_form_free(c.form);
	key_counts_release(&c.counts, &s->keys_counted);
	return rc;
}
