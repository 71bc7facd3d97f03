/*
 * record.c - what the store holds of shapes, tables and transactions, as bytes and back.
 *
 * Layouts are in store/FORMAT.md. Numbers are in native byte order: the store doesn't move between
 * machines. Reading is through a cursor that turns bad once and stays bad: a damaged record is an
 * error, never a crash.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/def.h"
#include "shapes/core/items.h"
#include "shapes/core/limits.h"
#include "shapes/core/registry.h"
#include "shapes/core/sets.h"
#include "shapes/logs/record.h"
#include "store/store.h"

/* The store takes a first byte of 1 for a record or batch without a seal: versions of those that have one are even. */
#define RECORD_VERSION 2
#define RECORD_VERSION_SETS 4 /* with what its condition's subqueries select: others stay readable for a Busbar that knows none */
#define RECORD_VERSION_UNSEALED 1
#define TABLE_RECORD_VERSION 2
#define TABLE_RECORD_VERSION_OLDEST 1 /* without the publication's xmin and a ground */

#define FLAG_REPLICA_FULL 1u
#define FLAG_CHANGES_ONLY 2u
#define FLAG_EXPLICIT 4u
#define FLAG_SELECTS_ALL 8u
#define FLAG_COMPLETE 16u
#define FLAG_WHERE 32u

/* ---- writing ---- */

static void put_u8(struct buf *b, uint8_t v) { buf_put(b, &v, 1); }
static void put_u16(struct buf *b, uint16_t v) { buf_put(b, &v, 2); }
static void put_u32(struct buf *b, uint32_t v) { buf_put(b, &v, 4); }
static void put_u64(struct buf *b, uint64_t v) { buf_put(b, &v, 8); }

static void put_bytes(struct buf *b, const void *p, size_t n)
{
	put_u32(b, (uint32_t)n);
	buf_put(b, p, n);
}

static void put_text(struct buf *b, const char *s) { put_bytes(b, s, strlen(s)); }

/* ---- reading ---- */

struct cursor {
	const char *p;
	size_t left;
	bool bad;
};

static void take(struct cursor *c, void *to, size_t n)
{
	if (c->bad || c->left < n) {
		c->bad = true;
		memset(to, 0, n);
		return;
	}
	memcpy(to, c->p, n);
	c->p += n;
	c->left -= n;
}

static uint8_t get_u8(struct cursor *c)
{
	uint8_t v;
	take(c, &v, sizeof v);
	return v;
}

static uint16_t get_u16(struct cursor *c)
{
	uint16_t v;
	take(c, &v, sizeof v);
	return v;
}

static uint32_t get_u32(struct cursor *c)
{
	uint32_t v;
	take(c, &v, sizeof v);
	return v;
}

static uint64_t get_u64(struct cursor *c)
{
	uint64_t v;
	take(c, &v, sizeof v);
	return v;
}

/* Borrowed bytes with a length before them. */
static const char *get_bytes(struct cursor *c, size_t *len)
{
	*len = get_u32(c);
	if (c->bad || c->left < *len) {
		c->bad = true;
		*len = 0;
		return "";
	}
	const char *p = c->p;
	c->p += *len;
	c->left -= *len;
	return p;
}

static bool is_known(uint8_t version) { return version == RECORD_VERSION || version == RECORD_VERSION_UNSEALED; }

/* At the end of a record: too short and too long are both damage. */
static bool is_done(const struct cursor *c) { return !c->bad && c->left == 0; }

/* ---- shapes ---- */

/* What the subqueries of the condition selected, and the other tables that it names. */
static void put_sets(const struct shape *s, struct buf *scratch, struct buf *out)
{
	REQUIRE(s->sets != NULL); /* a shape with subqueries gets a record when they have been read */
	put_bytes(out, s->sets->texts.data, s->sets->texts.len);
	put_u16(out, s->def.ninner);
	for (uint16_t i = 0; i < s->def.ninner; i++) {
		buf_reset(scratch);
		pg_table_to_json(s->def.inner[i], scratch);
		put_bytes(out, scratch->data, scratch->len);
	}
}

void record_shape(const struct shape *s, const struct pg_snapshot *snap, bool complete, uint32_t nchunks, struct buf *out)
{
	const struct shape_def *d = &s->def;
	put_u8(out, d->has_subqueries ? RECORD_VERSION_SETS : RECORD_VERSION);
	put_u8(out, (uint8_t)((d->replica == REPLICA_FULL ? FLAG_REPLICA_FULL : 0) |
	                      (d->log_mode == LOG_MODE_CHANGES_ONLY ? FLAG_CHANGES_ONLY : 0) | (d->explicit_columns ? FLAG_EXPLICIT : 0) |
	                      (d->selects_all ? FLAG_SELECTS_ALL : 0) | (complete ? FLAG_COMPLETE : 0) |
	                      (d->where != NULL ? FLAG_WHERE : 0)));
	put_text(out, s->handle);
	put_u64(out, s->chunk_bytes);
	put_u32(out, nchunks);
	put_u64(out, snap->xmin);
	put_u64(out, snap->xmax);
	put_u64(out, snap->insert_lsn);
	put_u32(out, snap->nxip);
	buf_put(out, snap->xip, snap->nxip * sizeof *snap->xip);
	put_u16(out, d->nselected);
	buf_put(out, d->selected, d->nselected * sizeof *d->selected);
	if (d->where != NULL)
		put_text(out, d->where);
	put_bytes(out, d->identity, d->identity_len);
	struct buf table = BUF_INIT(RECORD_BYTES_MAX);
	pg_table_to_json(d->table, &table);
	put_bytes(out, table.data, table.len);
	if (d->has_subqueries)
		put_sets(s, &table, out);
	buf_clear(&table);
}

void shape_record_clear(struct shape_record *r)
{
	shape_def_clear(&r->def);
	pg_snapshot_clear(&r->snap);
	free(r->sets);
	r->sets = NULL;
}

void interned_clear(struct map *m)
{
	struct interned *in;
	for (size_t i = 0; (in = map_next(m, &i)) != NULL;) {
		pg_table_unref(in->table);
		free(in);
	}
	map_clear(m);
}

static int intern_table(struct map *tables, const char *p, size_t len, struct pg_table **out, struct err *e)
{
	struct interned *in = map_get(tables, p, len);
	if (in == NULL) {
		struct pg_table *t;
		if (pg_table_from_json(p, len, &t, e) != 0)
			return -1;
		in = mem_alloc(sizeof *in + len);
		in->table = t;
		in->len = len;
		memcpy(in->bytes, p, len);
		map_put(tables, in->bytes, len, in);
	}
	*out = pg_table_ref(in->table);
	return 0;
}

static int parse_sets(struct cursor *c, struct map *tables, struct shape_record *out, struct err *e)
{
	size_t n;
	const char *texts = get_bytes(c, &n);
	out->sets = mem_strndup(texts, n);
	out->sets_len = n;
	uint16_t ninner = get_u16(c);
	if (c->bad || ninner > WHERE_SUBQUERIES_MAX || !def_has_subqueries(out->def.where))
		return err_set(e, ERR_DAMAGED, "store: a damaged shape record (subqueries)");
	out->def.has_subqueries = true;
	out->def.inner = mem_alloc((ninner + 1u) * sizeof *out->def.inner);
	for (uint16_t i = 0; i < ninner; i++) {
		const char *table = get_bytes(c, &n);
		if (c->bad)
			return err_set(e, ERR_DAMAGED, "store: a damaged shape record (subqueries)");
		if (intern_table(tables, table, n, &out->def.inner[i], e) != 0)
			return -1;
		out->def.ninner++;
	}
	return 0;
}

int record_shape_parse(const char *p, size_t len, struct map *tables, struct shape_record *out, struct err *e)
{
	struct cursor c = {p, len, false};
	memset(out, 0, sizeof *out);
	uint8_t version = get_u8(&c);
	if (!c.bad && version != RECORD_VERSION_SETS && !is_known(version))
		return err_set(e, ERR_CONFIG, "store: a shape record of an unknown version: run the Busbar that wrote it");
	uint8_t flags = get_u8(&c);
	out->def.replica = flags & FLAG_REPLICA_FULL ? REPLICA_FULL : REPLICA_DEFAULT;
	out->def.log_mode = flags & FLAG_CHANGES_ONLY ? LOG_MODE_CHANGES_ONLY : LOG_MODE_FULL;
	out->def.explicit_columns = (flags & FLAG_EXPLICIT) != 0;
	out->def.selects_all = (flags & FLAG_SELECTS_ALL) != 0;
	out->complete = (flags & FLAG_COMPLETE) != 0;
	size_t n;
	const char *handle = get_bytes(&c, &n);
	if (n >= sizeof out->handle)
		return err_set(e, ERR_DAMAGED, "store: a damaged shape record (handle)");
	memcpy(out->handle, handle, n);
	out->chunk_bytes = get_u64(&c);
	out->nchunks = get_u32(&c);
	out->snap.xmin = get_u64(&c);
	out->snap.xmax = get_u64(&c);
	out->snap.insert_lsn = get_u64(&c);
	out->snap.nxip = get_u32(&c);
	if (c.bad || c.left / sizeof(uint64_t) < out->snap.nxip)
		return err_set(e, ERR_DAMAGED, "store: a damaged shape record (snapshot)");
	if (out->snap.nxip > 0) {
		out->snap.xip = mem_alloc(out->snap.nxip * sizeof(uint64_t));
		take(&c, out->snap.xip, out->snap.nxip * sizeof(uint64_t));
	}
	out->def.nselected = get_u16(&c);
	out->def.selected = mem_alloc(out->def.nselected * sizeof(uint16_t));
	take(&c, out->def.selected, out->def.nselected * sizeof(uint16_t));
	size_t nwhere = 0;
	const char *where = flags & FLAG_WHERE ? get_bytes(&c, &nwhere) : NULL;
	const char *identity = get_bytes(&c, &n);
	out->def.identity = mem_strndup(identity, n);
	out->def.identity_len = n;
	if (where != NULL && (n < nwhere || memcmp(identity + n - nwhere, where, nwhere) != 0))
		c.bad = true; /* an identity ends in its condition */
	else if (where != NULL)
		out->def.where = out->def.identity + n - nwhere;
	const char *table = get_bytes(&c, &n);
	int rc = c.bad ? err_set(e, ERR_DAMAGED, "store: a damaged shape record") : intern_table(tables, table, n, &out->def.table, e);
	if (rc == 0 && version == RECORD_VERSION_SETS)
		rc = parse_sets(&c, tables, out, e);
	if (rc == 0 && !is_done(&c))
		rc = err_set(e, ERR_DAMAGED, "store: a damaged shape record");
	for (uint16_t i = 0; rc == 0 && i < out->def.nselected; i++)
		if (out->def.selected[i] >= out->def.table->ncolumns)
			rc = err_set(e, ERR_DAMAGED, "store: a damaged shape record (columns)");
	if (rc != 0)
		shape_record_clear(out);
	return rc;
}

/* ---- tables ---- */

void record_table(const struct table_state *t, struct buf *out)
{
	put_u8(out, TABLE_RECORD_VERSION);
	put_u8(out, (uint8_t)((t->join.added_by_us ? 1u : 0u) | (t->join.generated_published ? 2u : 0u)));
	put_u32(out, t->join.publication_rel_oid);
	put_u32(out, t->join.publication_xmin);
	struct buf json = BUF_INIT(RECORD_BYTES_MAX);
	pg_table_to_json(t->table, &json);
	put_bytes(out, json.data, json.len);
	buf_clear(&json);
	put_text(out, t->ground != NULL ? t->ground : "");
}

int record_table_parse(const char *p, size_t len, struct table_state *out, struct err *e)
{
	struct cursor c = {p, len, false};
	memset(out, 0, sizeof *out);
	uint8_t version = get_u8(&c);
	if (!c.bad && version != TABLE_RECORD_VERSION_OLDEST && version != TABLE_RECORD_VERSION)
		return err_set(e, ERR_CONFIG, "store: a table record of an unknown version: run the Busbar that wrote it");
	uint8_t flags = get_u8(&c);
	out->join.added_by_us = (flags & 1) != 0;
	out->join.generated_published = (flags & 2) != 0;
	out->join.publication_rel_oid = get_u32(&c);
	out->join.publication_xmin = version == TABLE_RECORD_VERSION_OLDEST ? 0 : get_u32(&c);
	out->joined = true;
	size_t n;
	const char *json = get_bytes(&c, &n);
	size_t nground = 0;
	const char *ground = version == TABLE_RECORD_VERSION_OLDEST ? "" : get_bytes(&c, &nground);
	if (!is_done(&c) || memchr(ground, '\0', nground) != NULL)
		return err_set(e, ERR_DAMAGED, "store: a damaged table record");
	if (pg_table_from_json(json, n, &out->table, e) != 0)
		return -1;
	out->ground = nground > 0 ? mem_strndup(ground, nground) : NULL;
	out->oid = out->table->oid;
	return 0;
}

/* ---- the journal ---- */

/*
 * Lines first, each once, then the references. Consecutive rows that share a line (one change in many
 * shapes) are one group: its position once, then the shapes.
 *
 *   u8 version · u32 lines · { u32 len, u32 split, text } · u32 groups ·
 *   { u64 tx, u64 op, u32 line, u32 shapes, { u64 shape id | flags << 62 } } ·
 *   u64 where the groups begin · u64 seal of all from there to here
 *
 * The last two aren't in version 1. With them the groups can be believed when the lines, which are most of a batch,
 * are damaged: they say which shapes that costs.
 */
#define JOURNAL_FLAGS_SHIFT 62
#define JOURNAL_ID_MASK (((uint64_t)1 << JOURNAL_FLAGS_SHIFT) - 1)

struct flat_row {
	const struct row *row;
	uint32_t line;
};

static int by_line(const struct row *x, const struct row *y)
{
	int c = log_offset_cmp(x->entry.at, y->entry.at);
	if (c != 0 || x->entry.line == y->entry.line)
		return c;
	return (uintptr_t)x->entry.line < (uintptr_t)y->entry.line ? -1 : 1;
}

static int by_position(const void *a, const void *b)
{
	const struct row *x = ((const struct flat_row *)a)->row, *y = ((const struct flat_row *)b)->row;
	int c = by_line(x, y);
	if (c != 0)
		return c;
	return x->shape->id < y->shape->id ? -1 : x->shape->id > y->shape->id;
}

void journal_encode(struct item_rows *const *items, size_t n, struct buf *out)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += items[i]->nrows;
	struct flat_row *flat = mem_alloc(count * sizeof *flat);
	size_t at = 0;
	for (size_t i = 0; i < n; i++) {
		/* Rows come shape by shape: with one shape, or one change, they are in order already. */
		size_t start = at;
		bool in_order = true;
		for (size_t j = 0; j < items[i]->nrows; j++) {
			flat[at++].row = &items[i]->rows[j];
			in_order = in_order && (j == 0 || by_line(&items[i]->rows[j - 1], &items[i]->rows[j]) <= 0);
		}
		if (!in_order)
			qsort(flat + start, at - start, sizeof *flat, by_position);
	}
	put_u8(out, RECORD_VERSION);
	size_t lines_at = out->len;
	put_u32(out, 0);
	uint32_t nlines = 0, ngroups = 0;
	for (size_t i = 0; i < count; i++) {
		const struct line *l = flat[i].row->entry.line;
		if (i == 0 || flat[i - 1].row->entry.line != l) {
			put_u32(out, l->len);
			put_u32(out, l->split);
			buf_put(out, l->text, l->len);
			nlines++;
		}
		flat[i].line = nlines - 1;
	}
	size_t groups_at = out->len;
	put_u32(out, 0);
	for (size_t i = 0; i < count;) {
		size_t end = i;
		while (end < count && flat[end].line == flat[i].line && log_offset_cmp(flat[end].row->entry.at, flat[i].row->entry.at) == 0)
			end++;
		put_u64(out, flat[i].row->entry.at.tx);
		put_u64(out, flat[i].row->entry.at.op);
		put_u32(out, flat[i].line);
		put_u32(out, (uint32_t)(end - i));
		for (; i < end; i++)
			put_u64(out, flat[i].row->shape->id | (uint64_t)flat[i].row->entry.flags << JOURNAL_FLAGS_SHIFT);
		ngroups++;
	}
	free(flat);
	if (out->failed)
		return;
	memcpy(out->data + lines_at, &nlines, 4);
	memcpy(out->data + groups_at, &ngroups, 4);
	put_u64(out, groups_at);
	if (!out->failed)
		put_u64(out, store_sum(out->data + groups_at, out->len - groups_at));
}

int journal_decode(const char *p, size_t len,
                   int (*row)(void *ctx, uint64_t shape_id, struct log_offset at, uint32_t flags, struct line *line, struct err *e),
                   void *ctx, struct err *e)
{
	struct cursor c = {p, len, false};
	uint8_t version = get_u8(&c);
	if (!c.bad && !is_known(version))
		return err_set(e, ERR_CONFIG, "store: a journal batch of an unknown version: run the Busbar that wrote it");
	uint32_t nlines = get_u32(&c);
	if (c.bad || nlines > c.left / 8)
		return err_set(e, ERR_DAMAGED, "store: a damaged journal batch");
	struct line **lines = mem_zalloc(nlines * sizeof *lines);
	int rc = 0;
	uint32_t made = 0;
	for (; made < nlines; made++) {
		uint32_t n = get_u32(&c), split = get_u32(&c);
		if (c.bad || n > c.left || split > n)
			break;
		lines[made] = line_new(c.p, n, split);
		c.p += n;
		c.left -= n;
	}
	c.bad = c.bad || made < nlines;
	uint32_t ngroups = get_u32(&c);
	for (uint32_t g = 0; g < ngroups && rc == 0 && !c.bad; g++) {
		struct log_offset at = {get_u64(&c), 0};
		at.op = get_u64(&c);
		uint32_t line = get_u32(&c), shapes = get_u32(&c);
		c.bad = c.bad || line >= nlines;
		for (uint32_t i = 0; i < shapes && rc == 0 && !c.bad; i++) {
			uint64_t id = get_u64(&c);
			if (!c.bad)
				rc = row(ctx, id & JOURNAL_ID_MASK, at, (uint32_t)(id >> JOURNAL_FLAGS_SHIFT), lines[line], e);
		}
	}
	if (version != RECORD_VERSION_UNSEALED) {
		(void)get_u64(&c);
		(void)get_u64(&c);
	}
	for (uint32_t i = 0; i < made; i++)
		line_unref(lines[i]);
	free(lines);
	return rc != 0 || is_done(&c) ? rc : err_set(e, ERR_DAMAGED, "store: a damaged journal batch");
}

bool journal_names(const char *p, size_t len, void (*each)(void *ctx, uint64_t shape_id), void *ctx)
{
	/* Without what the store appended, which may be the damaged part. */
	if (len < STORE_SEAL_BYTES + 2 * sizeof(uint64_t) || *p == RECORD_VERSION_UNSEALED)
		return false;
	len -= STORE_SEAL_BYTES;
	uint64_t at, sum;
	memcpy(&at, p + len - 16, sizeof at);
	memcpy(&sum, p + len - 8, sizeof sum);
	if (at > len - 16 || sum != store_sum(p + at, len - 8 - (size_t)at))
		return false;
	struct cursor c = {p + at, len - 16 - (size_t)at, false};
	uint32_t ngroups = get_u32(&c);
	for (uint32_t g = 0; g < ngroups && !c.bad; g++) {
		(void)get_u64(&c);
		(void)get_u64(&c);
		(void)get_u32(&c);
		uint32_t shapes = get_u32(&c);
		for (uint32_t i = 0; i < shapes && !c.bad; i++) {
			uint64_t id = get_u64(&c);
			if (!c.bad)
				each(ctx, id & JOURNAL_ID_MASK);
		}
	}
	return !c.bad;
}
