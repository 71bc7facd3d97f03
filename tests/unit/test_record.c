/*
 * test_record.c - what the store holds of shapes, tables and transactions: there and back, and what a
 * damaged record does: an error, never a crash. Each record lies in memory of its exact length, so that
 * the sanitizers see a byte too many.
 */
#include "shape_test.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/limits.h"
#include "shapes/core/line.h"
#include "shapes/core/registry.h"
#include "shapes/core/sets.h"
#include "shapes/core/shape.h"
#include "shapes/logs/record.h"

#define LIMIT ((size_t)64 << 20)

static struct err e;

/* ---- shapes ---- */

static struct shape *shape_of(struct shape_def def, const char *handle, uint64_t chunk_bytes)
{
	struct shape *s = mem_zalloc(sizeof *s);
	s->def = def;
	s->chunk_bytes = chunk_bytes;
	snprintf(s->handle, sizeof s->handle, "%s", handle);
	return s;
}

static void shape_done(struct shape *s)
{
	shape_def_clear(&s->def);
	free(s);
}

/* Parses a copy of exactly `len` bytes. */
static int parse_shape(const char *p, size_t len, struct map *tables, struct shape_record *out)
{
	char *exact = mem_alloc(len);
	memcpy(exact, p, len);
	err_clear(&e);
	int rc = record_shape_parse(exact, len, tables, out, &e);
	free(exact);
	return rc;
}

static void check_same(const struct shape_record *r, const struct shape *s, const struct pg_snapshot *snap, bool complete,
                       uint32_t nchunks)
{
	const struct shape_def *a = &r->def, *b = &s->def;
	CHECK_STR(r->handle, s->handle);
	CHECK_INT(r->chunk_bytes, s->chunk_bytes);
	CHECK_INT(r->complete, complete);
	CHECK_INT(r->nchunks, nchunks);
	CHECK(r->snap.xmin == snap->xmin && r->snap.xmax == snap->xmax && r->snap.insert_lsn == snap->insert_lsn);
	CHECK(r->snap.nxip == snap->nxip && (snap->nxip == 0 || memcmp(r->snap.xip, snap->xip, snap->nxip * sizeof *snap->xip) == 0));
	CHECK(a->replica == b->replica && a->log_mode == b->log_mode);
	CHECK(a->explicit_columns == b->explicit_columns && a->selects_all == b->selects_all);
	CHECK(a->nselected == b->nselected && memcmp(a->selected, b->selected, b->nselected * sizeof *b->selected) == 0);
	if (b->where == NULL)
		CHECK(a->where == NULL);
	else
		CHECK_STR(a->where, b->where);
	CHECK(a->identity_len == b->identity_len && memcmp(a->identity, b->identity, b->identity_len) == 0);
	CHECK(pg_table_identical(a->table, b->table));
}

/* An identity of any bytes; it ends in the condition. */
static void set_where(struct shape_def *d, const char *where)
{
	struct buf b = BUF_INIT(LIMIT);
	buf_put(&b, "a\0b\xff" "c", 5);
	buf_puts(&b, where != NULL ? where : "");
	free(d->identity);
	d->identity = buf_detach(&b, &d->identity_len);
	d->where = where != NULL ? d->identity + 5 : NULL;
}

static void test_shape(void)
{
	uint64_t xip[] = {100, 101, ((uint64_t)3 << 32) + 5};
	static const char *const wheres[] = {NULL, "", "id > 10 AND name = 'x'"};
	struct map tables = MAP_INIT;
	for (int i = 0; i < 48; i++) {
		struct pg_table *t = table_make(16384, "public", "items", "id:23:pk0 name:25 ok:16:bool");
		struct shape_def d = def_make(t, i & 1 ? "id ok" : NULL, i & 2 ? REPLICA_FULL : REPLICA_DEFAULT);
		d.log_mode = i & 4 ? LOG_MODE_CHANGES_ONLY : LOG_MODE_FULL;
		d.selects_all = (i & 8) != 0;
		set_where(&d, wheres[i % 3]);
		struct shape *s = shape_of(d, "102030-1700000000000001", UINT64_MAX - (uint64_t)i);
		struct pg_snapshot snap = {.xmin = 100, .xmax = UINT64_MAX, .xip = xip, .nxip = (uint32_t)i % 4,
		                           .insert_lsn = 0x123456789ABC};
		if (snap.nxip == 0)
			snap.xip = NULL;
		struct buf rec = BUF_INIT(LIMIT);
		record_shape(s, &snap, (i & 16) != 0, (uint32_t)i * 1000, &rec);
		struct shape_record r;
		CHECK_OK(parse_shape(rec.data, rec.len, &tables, &r), &e);
		check_same(&r, s, &snap, (i & 16) != 0, (uint32_t)i * 1000);
		shape_record_clear(&r);
		buf_clear(&rec);
		shape_done(s);
	}
	CHECK_INT(tables.len, 1); /* one table, forty-eight records */
	interned_clear(&tables);
}

static void put_shape(struct buf *rec, const char *schema, const char *name, const char *columns, const char *where)
{
	struct shape_def d = def_make(table_make(20000, schema, name, columns), NULL, REPLICA_DEFAULT);
	set_where(&d, where);
	struct shape *s = shape_of(d, "1-2", 10485760);
	uint64_t xip[] = {7, 8};
	struct pg_snapshot snap = {.xmin = 7, .xmax = 9, .xip = xip, .nxip = 2, .insert_lsn = 1000};
	record_shape(s, &snap, true, 3, rec);
	shape_done(s);
}

static void test_interned(void)
{
	struct map tables = MAP_INIT;
	struct buf a = BUF_INIT(LIMIT), b = BUF_INIT(LIMIT);
	put_shape(&a, "public", "a", "id:23:pk0", NULL);
	put_shape(&b, "public", "b/\"c\" \n", "id:23:pk0 \xc3\xa9\"\\:25", "x");
	struct shape_record r[3];
	CHECK_OK(parse_shape(a.data, a.len, &tables, &r[0]), &e);
	CHECK_OK(parse_shape(b.data, b.len, &tables, &r[1]), &e);
	CHECK_OK(parse_shape(a.data, a.len, &tables, &r[2]), &e);
	CHECK(r[0].def.table == r[2].def.table && r[0].def.table != r[1].def.table);
	CHECK_STR(r[1].def.table->name, "b/\"c\" \n");
	CHECK_STR(r[1].def.table->columns[1].name, "\xc3\xa9\"\\");
	interned_clear(&tables); /* the records have references of their own */
	for (int i = 0; i < 3; i++)
		shape_record_clear(&r[i]);
	buf_clear(&a);
	buf_clear(&b);
}

static void test_damaged_shape(uint64_t seed)
{
	struct map tables = MAP_INIT;
	struct buf rec = BUF_INIT(LIMIT);
	put_shape(&rec, "public", "items", "id:23:pk0 name:25 ok:16:bool", "a = 1");
	struct shape_record r;
	for (size_t len = 0; len < rec.len; len++) {
		CHECK_INT(parse_shape(rec.data, len, &tables, &r), -1);
		CHECK(e.kind == ERR_DAMAGED && e.text[0] != '\0');
		CHECK(r.def.table == NULL && r.def.selected == NULL && r.snap.xip == NULL); /* nothing to free */
	}
	buf_putc(&rec, 'x');
	CHECK_INT(parse_shape(rec.data, rec.len, &tables, &r), -1); /* a byte too many */
	rec.len--;
	char version = rec.data[0];
	rec.data[0] = 77;
	CHECK_INT(parse_shape(rec.data, rec.len, &tables, &r), -1);
	CHECK(strstr(e.text, "version") != NULL);
	rec.data[0] = version;
	struct rng rng = rng_seeded(seed);
	for (int i = 0; i < 3000; i++) {
		size_t where = rng_below(&rng, i % 2 ? 80 : rec.len);
		char was = rec.data[where];
		rec.data[where] = (char)(i % 3 == 0 ? 0xFF : rng_next(&rng));
		if (parse_shape(rec.data, rec.len, &tables, &r) == 0) {
			CHECK(strlen(r.handle) < HANDLE_TEXT_MAX);
			for (uint16_t c = 0; c < r.def.nselected; c++)
				CHECK(r.def.selected[c] < r.def.table->ncolumns);
			shape_record_clear(&r);
		}
		rec.data[where] = was;
	}
	CHECK_OK(parse_shape(rec.data, rec.len, &tables, &r), &e);
	shape_record_clear(&r);
	interned_clear(&tables);
	buf_clear(&rec);
}

/* ---- shapes with subqueries ---- */

/* A shape whose condition names two other tables; its sets are what the record has of them. */
static struct shape *shape_with_sets(struct sets *sets)
{
	struct pg_table *t = table_make(20000, "public", "items", "id:23:pk0 name:25");
	struct pg_table *others[] = {table_make(30000, "public", "teams", "id:23:pk0"), table_make(10000, "public", "members", "item_id:23 team_id:23")};
	const struct pg_table *list[] = {others[0], others[1]};
	struct where_tables tables = {.list = list, .n = 2};
	static const char condition[] = "id IN (SELECT item_id FROM members WHERE team_id IN (SELECT id FROM teams))";
	char message[WHERE_MESSAGE_MAX];
	struct where *w = NULL;
	struct buf canonical = BUF_INIT(WHERE_CANONICAL_MAX);
	CHECK_INT(where_parse(t, &tables, condition, strlen(condition), NULL, NULL, false, &w, message), 0);
	where_canonical(w, &canonical);
	where_free(w);
	buf_putc(&canonical, '\0');
	struct shape_def d = def_make(t, NULL, REPLICA_DEFAULT);
	def_set_where(&d, canonical.data, others, 2);
	buf_clear(&canonical);
	pg_table_unref(others[0]);
	pg_table_unref(others[1]);
	struct sets_plan *plan = sets_plan_new(&d, &e);
	CHECK_OK(plan != NULL ? 0 : -1, &e);
	struct sets *read = sets_new(plan);
	for (size_t i = 0; i < 2; i++)
		CHECK_OK(sets_put(read, i, &(struct where_text_value){i == 0 ? "7" : "12345", i == 0 ? 1 : 5}, 1, &e), &e);
	CHECK_OK(sets_finish(read, &e), &e);
	buf_init(&sets->texts, LIMIT);
	buf_put(&sets->texts, read->texts.data, read->texts.len);
	sets_free(read);
	struct shape *s = shape_of(d, "1-2", 10485760);
	s->sets = sets;
	return s;
}

/* What it has of sets is enough to restore them, or is refused. */
static void check_sets(const struct shape_record *r, bool whole)
{
	struct sets *restored;
	int rc = r->sets == NULL ? -1 : sets_restore(&r->def, r->sets, r->sets_len, &restored, &e);
	if (whole)
		CHECK_OK(rc, &e);
	if (rc == 0)
		sets_free(restored);
}

static void test_shape_with_sets(void)
{
	struct map tables = MAP_INIT;
	struct sets sets = {.n = 2};
	struct shape *s = shape_with_sets(&sets);
	struct pg_snapshot snap = {.xmin = 7, .xmax = 9, .insert_lsn = 1000};
	struct buf rec = BUF_INIT(LIMIT);
	record_shape(s, &snap, true, 3, &rec);
	CHECK_INT(rec.data[0], 4);
	struct shape_record r;
	CHECK_OK(parse_shape(rec.data, rec.len, &tables, &r), &e);
	check_same(&r, s, &snap, true, 3);
	CHECK(r.def.has_subqueries && r.def.ninner == 2);
	for (uint16_t i = 0; i < 2; i++)
		CHECK(pg_table_identical(r.def.inner[i], s->def.inner[i]));
	CHECK(r.sets_len == sets.texts.len && memcmp(r.sets, sets.texts.data, r.sets_len) == 0);
	check_sets(&r, true);
	/* Inner tables are shared like all others. */
	struct shape_record other;
	CHECK_OK(parse_shape(rec.data, rec.len, &tables, &other), &e);
	CHECK(other.def.inner[0] == r.def.inner[0] && other.def.inner[1] == r.def.inner[1] && other.def.inner[0] != other.def.inner[1]);
	CHECK_INT(tables.len, 3);
	shape_record_clear(&other);
	shape_record_clear(&r);
	/* One without subqueries is written as ever: a Busbar that knows none reads it. */
	struct buf plain = BUF_INIT(LIMIT);
	put_shape(&plain, "public", "items", "id:23:pk0", "a = 1");
	CHECK_INT(plain.data[0], 2);
	CHECK_OK(parse_shape(plain.data, plain.len, &tables, &r), &e);
	CHECK(r.sets == NULL && !r.def.has_subqueries && r.def.ninner == 0);
	shape_record_clear(&r);
	/* Sets belong to a condition that has subqueries. */
	plain.data[0] = 4;
	buf_put(&plain, "\0\0\0\0\0\0", 6);
	CHECK(parse_shape(plain.data, plain.len, &tables, &r) == -1 && e.kind == ERR_DAMAGED);
	buf_clear(&plain);
	buf_clear(&rec);
	buf_clear(&sets.texts);
	shape_done(s);
	interned_clear(&tables);
}

static void test_damaged_sets(void)
{
	static const char flips[] = {1, 4, 16, (char)0xff};
	struct map tables = MAP_INIT;
	struct sets sets = {.n = 2};
	struct shape *s = shape_with_sets(&sets);
	struct pg_snapshot snap = {.xmin = 7, .xmax = 9, .insert_lsn = 1000};
	struct buf rec = BUF_INIT(LIMIT);
	struct shape_record r;
	record_shape(s, &snap, true, 3, &rec);
	for (size_t at = 0; at < rec.len; at++) {
		CHECK(parse_shape(rec.data, at, &tables, &r) == -1 && e.kind == ERR_DAMAGED);
		CHECK(r.def.table == NULL && r.def.inner == NULL && r.sets == NULL); /* nothing to free */
		for (size_t f = 0; f < ARRAY_LEN(flips); f++) {
			rec.data[at] ^= flips[f];
			if (parse_shape(rec.data, rec.len, &tables, &r) == 0) {
				CHECK(r.def.has_subqueries == (r.sets != NULL));
				check_sets(&r, false);
				shape_record_clear(&r);
			} else {
				CHECK(e.text[0] != '\0' && (e.kind != ERR_CONFIG || at == 0)); /* that ends the start */
			}
			rec.data[at] ^= flips[f];
		}
	}
	buf_putc(&rec, '\0');
	CHECK(parse_shape(rec.data, rec.len, &tables, &r) == -1 && e.kind == ERR_DAMAGED);
	buf_clear(&rec);
	buf_clear(&sets.texts);
	shape_done(s);
	interned_clear(&tables);
}

/* ---- tables ---- */

static int parse_table(const char *p, size_t len, struct table_state *out)
{
	char *exact = mem_alloc(len);
	memcpy(exact, p, len);
	err_clear(&e);
	int rc = record_table_parse(exact, len, out, &e);
	free(exact);
	return rc;
}

static void test_table(uint64_t seed)
{
	struct rng rng = rng_seeded(seed);
	for (int i = 0; i < 4; i++) {
		struct table_state t = {.oid = 777, .table = table_make(777, "s\"x", "t.t/t", "a:25 b:1700 c:16:bool")}, got;
		t.join.added_by_us = (i & 1) != 0;
		t.join.generated_published = (i & 2) != 0;
		t.join.publication_rel_oid = UINT32_MAX - (uint32_t)i;
		t.join.publication_xmin = UINT32_MAX / 2 + (uint32_t)i;
		char ground[] = "p16400.761.111100 r16401";
		t.ground = i < 2 ? ground : NULL;
		struct buf rec = BUF_INIT(LIMIT);
		record_table(&t, &rec);
		CHECK_OK(parse_table(rec.data, rec.len, &got), &e);
		CHECK_STR(got.ground != NULL ? got.ground : "none", t.ground != NULL ? t.ground : "none");
		free(got.ground);
		CHECK(got.oid == 777 && got.joined && got.nshapes == 0 && !got.joining);
		CHECK(got.join.added_by_us == t.join.added_by_us && got.join.generated_published == t.join.generated_published);
		CHECK_INT(got.join.publication_rel_oid, t.join.publication_rel_oid);
		CHECK_INT(got.join.publication_xmin, t.join.publication_xmin);
		CHECK(pg_table_identical(got.table, t.table));
		pg_table_unref(got.table);
		for (size_t len = 0; len < rec.len; len++) {
			CHECK_INT(parse_table(rec.data, len, &got), -1);
			CHECK(e.text[0] != '\0');
		}
		for (int j = 0; j < 500; j++) {
			size_t where = rng_below(&rng, rec.len);
			char was = rec.data[where];
			rec.data[where] = (char)rng_next(&rng);
			if (parse_table(rec.data, rec.len, &got) == 0) {
				pg_table_unref(got.table);
				free(got.ground);
			}
			rec.data[where] = was;
		}
		buf_putc(&rec, ' ');
		CHECK_INT(parse_table(rec.data, rec.len, &got), -1);
		if (t.ground == NULL) {
			/* As it was written before: without the xmin, and the table is the last. */
			memmove(rec.data + 6, rec.data + 10, rec.len - 10);
			rec.data[0] = 1;
			CHECK_OK(parse_table(rec.data, rec.len - 9, &got), &e);
			CHECK(got.ground == NULL && pg_table_identical(got.table, t.table));
			pg_table_unref(got.table);
		}
		buf_clear(&rec);
		pg_table_unref(t.table);
	}
}

/* ---- the journal ---- */

#define ROWS_MAX 4000

struct decoded {
	struct {
		uint64_t id;
		struct log_offset at;
		uint32_t flags;
		char text[32];
		uint32_t split;
	} rows[ROWS_MAX];
	size_t n, stop_at;
};

static int take_row(void *ctx, uint64_t id, struct log_offset o, uint32_t flags, struct line *line, struct err *err)
{
	struct decoded *d = ctx;
	if (d->stop_at != 0 && d->n == d->stop_at)
		return err_set(err, ERR_CANCELLED, "enough");
	if (d->n == ROWS_MAX)
		return 0;
	d->rows[d->n].id = id;
	d->rows[d->n].at = o;
	d->rows[d->n].flags = flags;
	d->rows[d->n].split = line->split;
	snprintf(d->rows[d->n].text, sizeof d->rows[0].text, "%.*s", (int)line->len, line->text);
	d->n++;
	return 0;
}

static int decode(const char *p, size_t len, struct decoded *d)
{
	char *exact = mem_alloc(len);
	memcpy(exact, p, len);
	err_clear(&e);
	d->n = 0;
	int rc = journal_decode(exact, len, take_row, d, &e);
	free(exact);
	return rc;
}

struct batch {
	struct item_rows items[40], *ptrs[40];
	size_t n, nrows;
};

static struct shape journal_shapes[6];

/* Transactions as INGEST queues them: shape by shape, each ascending, lines shared between shapes. */
static void random_batch(struct batch *b, struct rng *rng, size_t nitems, size_t nshapes)
{
	memset(b, 0, sizeof *b);
	for (; b->n < nitems; b->n++) {
		struct item_rows *it = &b->items[b->n];
		b->ptrs[b->n] = it;
		lsn_t tx = 1000 + b->n * 16;
		struct line *lines[12];
		size_t nlines = rng_below(rng, 13);
		for (size_t i = 0; i < nlines; i++) {
			char text[32];
			int len = i == 3 ? 0 : snprintf(text, sizeof text, "line %zu of %zu", i, b->n);
			lines[i] = line_new(text, (size_t)len, len > 0 ? rng_below(rng, (uint64_t)len + 1) : 0);
		}
		it->rows = mem_alloc((nlines * nshapes + 1) * sizeof *it->rows);
		for (size_t s = 0; s < nshapes; s++)
			for (size_t i = 0; i < nlines; i++)
				if (nshapes == 1 || rng_below(rng, 3) != 0)
					it->rows[it->nrows++] = (struct row){&journal_shapes[s],
					                                     {at(tx, i * 2), line_ref(lines[i]), (uint32_t)rng_below(rng, 4)}};
		for (size_t i = 0; i < nlines; i++)
			line_unref(lines[i]);
		b->nrows += it->nrows;
	}
}

static void batch_done(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		for (size_t j = 0; j < b->items[i].nrows; j++)
			line_unref(b->items[i].rows[j].entry.line);
		free(b->items[i].rows);
	}
}

/* Every row once, a shape's rows in their order. */
static bool same_rows(const struct batch *b, const struct decoded *d)
{
	size_t matched = 0;
	if (d->n != b->nrows)
		return false;
	for (size_t s = 0; s < ARRAY_LEN(journal_shapes); s++) {
		size_t next = 0;
		for (size_t i = 0; i < b->n; i++)
			for (size_t j = 0; j < b->items[i].nrows; j++) {
				const struct row *row = &b->items[i].rows[j];
				if (row->shape != &journal_shapes[s])
					continue;
				while (next < d->n && d->rows[next].id != row->shape->id)
					next++;
				if (next == d->n || log_offset_cmp(d->rows[next].at, row->entry.at) != 0 ||
				    d->rows[next].flags != row->entry.flags || d->rows[next].split != row->entry.line->split || strlen(d->rows[next].text) != row->entry.line->len ||
				    memcmp(d->rows[next].text, row->entry.line->text, row->entry.line->len) != 0)
					return false;
				next++;
				matched++;
			}
	}
	return matched == b->nrows;
}

static void test_journal(uint64_t seed)
{
	static const uint64_t ids[] = {1, 2, 255, 256, ((uint64_t)1 << 62) - 1, 1000};
	static struct decoded d;
	struct rng rng = rng_seeded(seed);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		journal_shapes[i].id = ids[i];
	for (int round = 0; round < 60; round++) {
		struct batch b;
		random_batch(&b, &rng, rng_below(&rng, 30), 1 + rng_below(&rng, ARRAY_LEN(ids)));
		struct buf rec = BUF_INIT(LIMIT);
		journal_encode(b.ptrs, b.n, &rec);
		CHECK(!rec.failed);
		d.stop_at = 0;
		CHECK_OK(decode(rec.data, rec.len, &d), &e);
		CHECK(same_rows(&b, &d));
		if (b.nrows > 1) {
			d.stop_at = 1 + rng_below(&rng, b.nrows - 1);
			CHECK_INT(decode(rec.data, rec.len, &d), -1);
			CHECK_STR(e.text, "enough");
			d.stop_at = 0;
		}
		for (size_t len = 0; len < rec.len; len += round < 5 ? 1 : 1 + rng_below(&rng, 200)) {
			CHECK_INT(decode(rec.data, len, &d), -1);
			CHECK_INT(e.kind, ERR_DAMAGED);
		}
		for (int i = 0; i < 300; i++) {
			size_t where = rng_below(&rng, rec.len);
			char was = rec.data[where];
			rec.data[where] = (char)(i % 3 == 0 ? 0xFF : rng_next(&rng));
			(void)!decode(rec.data, rec.len, &d);
			rec.data[where] = was;
		}
		buf_putc(&rec, 0);
		CHECK_INT(decode(rec.data, rec.len, &d), -1);
		buf_clear(&rec);
		batch_done(&b);
	}
}

/* One change in many shapes costs its text once and eight bytes a shape. */
static void test_journal_size(void)
{
	enum { SHAPES = 1000 };
	static struct shape shapes[SHAPES];
	static struct decoded d;
	char text[500];
	memset(text, 'x', sizeof text);
	struct line *l = line_new(text, sizeof text, 10);
	struct item_rows it = {.nrows = SHAPES}, *items[] = {&it};
	it.rows = mem_alloc(SHAPES * sizeof *it.rows);
	for (size_t i = 0; i < SHAPES; i++) {
		shapes[i].id = i * 3;
		it.rows[i] = (struct row){&shapes[i], {at(77, 4), l, ENTRY_LAST}};
	}
	struct buf rec = BUF_INIT(LIMIT);
	journal_encode(items, 1, &rec);
	CHECK(rec.len < sizeof text + SHAPES * 8 + 100);
	CHECK_OK(decode(rec.data, rec.len, &d), &e);
	CHECK_INT(d.n, SHAPES);
	bool good = true;
	for (size_t i = 0; i < d.n; i++)
		good = good && d.rows[i].id == i * 3 && d.rows[i].flags == ENTRY_LAST && d.rows[i].at.tx == 77;
	CHECK(good);
	buf_clear(&rec);
	struct buf small = BUF_INIT(100); /* too small: it fails, and says so */
	journal_encode(items, 1, &small);
	CHECK(small.failed);
	buf_clear(&small);
	free(it.rows);
	line_unref(l);
}

int main(void)
{
	uint64_t seed = test_seed("test_record");
	RUN(test_shape);
	RUN(test_interned);
	RUN(test_damaged_shape, seed);
	RUN(test_shape_with_sets);
	RUN(test_damaged_sets);
	RUN(test_table, seed);
	RUN(test_journal, seed);
	RUN(test_journal_size);
	return check_done("test_record");
}
