/* admin_shapes.c - /admin/shapes: all shapes, a page of them at a time, in an order of what they have. docs/admin.md has the fields. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ops/admin_private.h"
#include "ops/fields.h"
#include "ops/query.h"
#include "ops/readable.h"
#include "shapes/list.h"

#define LIMIT_MAX 1000        /* shapes of one answer */
#define LIMIT_DEFAULT 100
#define WHERE_BYTES_MAX 2000u /* of a condition; longer ones are cut */
#define COLUMNS_BYTES_MAX 4000u
#define RATE_LEAST_MS 1000    /* a rate over less says nothing */
#define TABLE_MAX 300

enum sort { SORT_MADE, SORT_BYTES, SORT_ROWS, SORT_READERS, SORT_CHANGES, SORT_READ, SORTS };
static const char *const sorts[SORTS] = {"made", "bytes", "rows", "readers", "changes", "read"};

/* A shape, and by what it is sorted. */
struct line_of {
	const struct shape_facts *facts;
	int64_t key, rate; /* rate: changes a second, in thousandths; -1: not known yet */
};

struct ask {
	enum sort sort;
	bool ascending;
	size_t limit;
	bool later; /* those behind: */
	int64_t key;
	uint64_t id;
	char table[TABLE_MAX]; /* "": all */
};

/* ---- what is asked for ---- */

static unsigned read_limit(const char *query, struct ask *q, struct buf *out)
{
	char text[24], *end = text;
	int given = query_param(query, "limit", text, sizeof text);
	unsigned long n = given > 0 ? strtoul(text, &end, 10) : LIMIT_DEFAULT;
	if (given < 0 || *end != '\0' || n < 1 || n > LIMIT_MAX)
		return field_refusal(out, "limit", "must be from 1 to 1000");
	q->limit = n;
	return 200;
}

static unsigned read_order(const char *query, struct ask *q, struct buf *out)
{
	char text[24];
	int given = query_param(query, "sort", text, sizeof text);
	q->sort = given == 0 ? SORT_MADE : SORTS;
	for (unsigned i = 0; given > 0 && i < SORTS; i++)
		if (strcmp(text, sorts[i]) == 0)
			q->sort = (enum sort)i;
	if (q->sort == SORTS)
		return field_refusal(out, "sort", "must be one of: made, bytes, rows, readers, changes, read");
	given = query_param(query, "order", text, sizeof text);
	q->ascending = given > 0 && strcmp(text, "asc") == 0;
	if (given < 0 || (given > 0 && !q->ascending && strcmp(text, "desc") != 0))
		return field_refusal(out, "order", "must be asc or desc");
	return 200;
}

static unsigned read_rest(const char *query, struct ask *q, struct buf *out)
{
	char text[64];
	int used = 0, given = query_param(query, "after", text, sizeof text);
	q->later = given > 0;
	if (given < 0 || (given > 0 && (sscanf(text, "%" SCNd64 ".%" SCNu64 "%n", &q->key, &q->id, &used) != 2 || text[used] != '\0')))
		return field_refusal(out, "after", "must be the `next` of an answer");
	if (query_param(query, "table", q->table, sizeof q->table) < 0)
		return field_refusal(out, "table", "must be SCHEMA.NAME");
	return 200;
}

/* ---- rates ---- */

/* What a rate is measured from: the newest look that is a second old. */
static const struct admin_base *base_for(const struct admin *a, int64_t now_ms)
{
	if (a->base.mono_ms != 0 && now_ms - a->base.mono_ms >= RATE_LEAST_MS)
		return &a->base;
	return a->older.mono_ms != 0 ? &a->older : NULL;
}

/* Both are by id. */
static void rate_all(const struct admin_base *from, int64_t now_ms, struct line_of *lines, const struct shape_facts *facts, size_t n)
{
	for (size_t i = 0, at = 0; i < n; i++) {
		lines[i] = (struct line_of){.facts = &facts[i], .rate = -1};
		while (from != NULL && at < from->n && from->list[at].id < facts[i].id)
			at++;
		if (from != NULL && at < from->n && from->list[at].id == facts[i].id)
			lines[i].rate = admin_rate(from->list[at].changes, facts[i].changes, now_ms - from->mono_ms);
	}
}

static void keep_base(struct admin *a, int64_t now_ms, const struct shape_facts *facts, size_t n)
{
	if (a->base.mono_ms != 0 && now_ms - a->base.mono_ms < RATE_LEAST_MS)
		return;
	free(a->older.list);
	a->older = a->base;
	a->base = (struct admin_base){.list = mem_alloc((n + 1) * sizeof *a->base.list), .n = n, .mono_ms = now_ms};
	for (size_t i = 0; i < n; i++)
		a->base.list[i] = (struct admin_changes){facts[i].id, facts[i].changes};
}

/* ---- order ---- */

static int64_t key_of(enum sort sort, const struct line_of *l)
{
	switch (sort) {
	case SORT_BYTES: return (int64_t)(l->facts->snapshot_bytes + l->facts->log_bytes);
	case SORT_ROWS: return l->facts->rows;
	case SORT_READERS: return l->facts->readers;
	case SORT_CHANGES: return l->rate;
	case SORT_READ: return l->facts->read_ms;
	default: return 0; /* by id alone */
	}
}

static int compare(const struct line_of *x, int64_t key, uint64_t id)
{
	if (x->key != key)
		return x->key < key ? -1 : 1;
	return (x->facts->id > id) - (x->facts->id < id);
}

static int ascending(const void *a, const void *b)
{
	const struct line_of *y = b;
	return compare(a, y->key, y->facts->id);
}

static int descending(const void *a, const void *b) { return ascending(b, a); }

/* Those that are listed, in order; how many. */
static size_t put_in_order(const struct ask *q, struct line_of *lines, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (!lines[i].facts->listed)
			continue;
		lines[kept] = lines[i];
		lines[kept].key = key_of(q->sort, &lines[kept]);
		kept++;
	}
	qsort(lines, kept, sizeof *lines, q->ascending ? ascending : descending);
	return kept;
}

static bool is_later(const struct ask *q, const struct line_of *l)
{
	int c = compare(l, q->key, q->id);
	return q->ascending ? c > 0 : c < 0;
}

/* ---- one shape ---- */

static const char *cost_of(int routing)
{
	switch (routing) {
	case ROUTING_ALL: return "no condition: every change of its table is its own";
	case ROUTING_INDEXED: return "a look-up in an index, whatever the number of shapes";
	case ROUTING_RESIDUAL: return "a look-up, then the rest of the condition for rows that it finds";
	case ROUTING_UNINDEXED: return "the whole condition, for every changed row of its table";
	default: return NULL;
	}
}

static void put_columns(const struct shape_def *d, struct buf *out)
{
	size_t begun = out->len;
	if (d->selects_all) {
		field_null(out, "columns");
		return;
	}
	field_open(out, "columns", '[');
	for (uint16_t i = 0; i < d->nselected && out->len - begun < COLUMNS_BYTES_MAX; i++)
		field_text(out, NULL, d->table->columns[d->selected[i]].name);
	field_close(out, ']');
}

static void put_definition(const struct shape *shape, struct buf *out)
{
	const struct shape_def *d = shape_definition(shape);
	struct buf name = BUF_INIT(TABLE_MAX), where = BUF_INIT(WHERE_BYTES_MAX);
	buf_printf(&name, "%s.%s", d->table->schema, d->table->name);
	bool whole = shapes_list_where(shape, &where);
	readable_sql(&where);
	field_text(out, "table", name.data);
	field_text(out, "where", d->where == NULL ? NULL : where.data != NULL ? where.data : "");
	field_bool(out, "where_cut", !whole);
	field_bool(out, "subqueries", d->has_subqueries);
	put_columns(d, out);
	field_text(out, "replica", d->replica == REPLICA_FULL ? "full" : "default");
	field_text(out, "log", d->log_mode == LOG_MODE_CHANGES_ONLY ? "changes_only" : "full");
	buf_clear(&name);
	buf_clear(&where);
}

/* False: it has gone meanwhile. */
static bool put_shape(struct admin *a, const struct line_of *l, int64_t now_ms, struct buf *out)
{
	static const char *const states[] = {[SHAPE_CREATING] = "creating", [SHAPE_SNAPSHOTTING] = "snapshotting", [SHAPE_LIVE] = "live",
	                                     [SHAPE_FAILED] = "failed", [SHAPE_GONE] = "gone"};
	const struct shape_facts *f = l->facts;
	struct shape *shape = shapes_by_handle(a->ops->shapes, f->handle, strlen(f->handle));
	if (shape == NULL)
		return false;
	const char *made = strchr(f->handle, '-');
	field_open(out, NULL, '{');
	field_text(out, "handle", f->handle);
	put_definition(shape, out);
	field_text(out, "state", states[f->state]);
	if (made != NULL)
		field_time(out, "made", strtoll(made + 1, NULL, 10));
	field_known(out, "rows", f->rows);
	field_int(out, "bytes", (int64_t)(f->snapshot_bytes + f->log_bytes));
	field_int(out, "log_bytes", (int64_t)f->log_bytes);
	field_int(out, "readers", f->readers);
	field_milli(out, "read_s_ago", f->readers > 0 ? 0 : now_ms > f->read_ms ? now_ms - f->read_ms : 0);
	field_int(out, "changes", (int64_t)f->changes);
	field_milli(out, "changes_s", l->rate);
	field_text(out, "routing", f->routing >= 0 ? metric_info(METRIC_SHAPES_BY_INDEX)->values[f->routing] : NULL);
	field_text(out, "cost", cost_of(f->routing));
	field_close(out, '}');
	shape_unref(shape);
	return true;
}

static void put_page(struct admin *a, const struct ask *q, const struct line_of *lines, size_t n, int64_t now_ms, struct buf *out)
{
	size_t i = 0, shown = 0;
	while (q->later && i < n && !is_later(q, &lines[i]))
		i++;
	field_open(out, "shapes", '[');
	for (; i < n && shown < q->limit; i++)
		shown += put_shape(a, &lines[i], now_ms, out);
	field_close(out, ']');
	if (i == n) {
		field_null(out, "next");
		return;
	}
	char next[64];
	snprintf(next, sizeof next, "%" PRId64 ".%" PRIu64, lines[i - 1].key, lines[i - 1].facts->id);
	field_text(out, "next", next);
}

unsigned admin_shapes(void *ctx, const char *query, struct buf *out)
{
	struct admin *a = ctx;
	struct ask q;
	if (read_limit(query, &q, out) != 200 || read_order(query, &q, out) != 200 || read_rest(query, &q, out) != 200)
		return 400;
	size_t n;
	struct shape_facts *facts = shapes_list(a->ops->shapes, q.table[0] != '\0' ? q.table : NULL, &n);
	int64_t now_ms = clock_mono_ms();
	struct line_of *lines = mem_alloc((n + 1) * sizeof *lines);
	const struct admin_base *from = base_for(a, now_ms);
	int64_t over_ms = from != NULL ? now_ms - from->mono_ms : -1;
	rate_all(from, now_ms, lines, facts, n);
	keep_base(a, now_ms, facts, n);
	size_t listed = put_in_order(&q, lines, n);
	field_open(out, NULL, '{');
	field_int(out, "total", (int64_t)listed);
	field_text(out, "sort", sorts[q.sort]);
	field_text(out, "order", q.ascending ? "asc" : "desc");
	field_int(out, "limit", (int64_t)q.limit);
	field_milli(out, "changes_over_s", over_ms);
	put_page(a, &q, lines, listed, now_ms, out);
	field_close(out, '}');
	free(lines);
	free(facts);
	return 200;
}
