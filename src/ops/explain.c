/* explain.c - see explain.h. */
#include "ops/explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/fields.h"
#include "ops/readable.h"
#include "where/types.h"

#define SQL_BYTES_MAX (8u << 20)

/* ---- parts ---- */

/* Some value of a type: which one doesn't matter for how the condition is found. NULL: none is known. */
static const char *sample_of(const struct where_type *t)
{
	static const struct { uint32_t oid; const char *text; } samples[] = {
		{OID_BOOL, "true"}, {OID_INT2, "1"}, {OID_INT4, "1"}, {OID_INT8, "1"}, {OID_OID, "1"}, {OID_NUMERIC, "1"}, {OID_FLOAT4, "1"},
		{OID_FLOAT8, "1"}, {OID_TEXT, "a"}, {OID_VARCHAR, "a"}, {OID_BPCHAR, "a"}, {OID_NAME, "a"}, {OID_DATE, "2000-01-01"},
		{OID_TIME, "12:00"}, {OID_TIMESTAMP, "2000-01-01"}, {OID_TIMESTAMPTZ, "2000-01-01"}, {OID_JSONB, "1"},
		{OID_UUID, "00000000-0000-0000-0000-000000000001"},
	};
	if (t->nlabels > 0)
		return t->labels[0];
	const struct where_type *base = t->base != NULL ? t->base : t;
	for (size_t i = 0; i < ARRAY_LEN(samples); i++)
		if (samples[i].oid == base->oid)
			return samples[i].text;
	return where_type_is_array(base) ? "{}" : NULL;
}

/* The condition with a row of samples in the place of what each of its subqueries selects; NULL: there are none. */
static struct where *with_samples(const struct where *w)
{
	struct where_text_value values[WHERE_SUBQUERIES_MAX][16];
	struct where_set sets[WHERE_SUBQUERIES_MAX];
	size_t n = where_subqueries(w);
	for (size_t i = 0; i < n; i++) {
		size_t width = where_subquery_width(w, i);
		if (width > ARRAY_LEN(values[i]))
			return NULL;
		for (size_t k = 0; k < width; k++) {
			const char *text = sample_of(where_subquery_types(w, i)[k]);
			if (text == NULL)
				return NULL;
			values[i][k] = (struct where_text_value){text, strlen(text)};
		}
		sets[i] = (struct where_set){1, values[i]};
	}
	struct buf bound = BUF_INIT(WHERE_BOUND_MAX);
	struct where *out = NULL;
	struct err ignored;
	where_bind(w, sets, &bound);
	if (bound.failed || where_load(where_table(w), NULL, bound.data, bound.len, &out, &ignored) != 0)
		out = NULL;
	buf_clear(&bound);
	return out;
}

static void tell_nothing(struct filter_told *t) { *t = (struct filter_told){.cost = COST_ALL, .ways = BUF_INIT(16), .rest = BUF_INIT(16)}; }

static int tell(const struct where *w, struct explain_part *p, char message[WHERE_MESSAGE_MAX])
{
	char reason[WHERE_REASON_MAX];
	struct where *bound = NULL;
	p->told_by_sample = where_subqueries(w) > 0;
	if (p->told_by_sample && (bound = with_samples(w)) == NULL) {
		p->untold = true;
		tell_nothing(&p->told);
		return 0;
	}
	int rc = filter_tell(bound != NULL ? bound : w, &p->told, reason);
	if (rc != 0)
		snprintf(message, WHERE_MESSAGE_MAX, "a constant part of it fails: %s", reason);
	where_free(bound);
	return rc;
}

/* A condition, and its subqueries behind it. `select`: the subquery it is of, the part's. */
static int add_parts(const struct where *w, int depth, char *select, struct explain *out, char message[WHERE_MESSAGE_MAX])
{
	REQUIRE(out->nparts < EXPLAIN_PARTS_MAX); /* a text has no more subqueries */
	struct explain_part *p = &out->parts[out->nparts++];
	*p = (struct explain_part){.table = where_table(w), .depth = depth, .select = select};
	if (tell(w, p, message) != 0)
		return -1;
	for (size_t i = 0; i < where_subqueries(w); i++) {
		struct buf sql = BUF_INIT(SQL_BYTES_MAX);
		where_subquery_sql(w, i, &sql);
		readable_sql(&sql);
		char *text = mem_strdup(sql.failed ? "" : sql.data);
		buf_clear(&sql);
		if (add_parts(where_subquery(w, i), depth + 1, text, out, message) != 0)
			return -1;
	}
	return 0;
}

static enum explain_result explain_once(const struct explain_input *in, struct explain *out, char message[WHERE_MESSAGE_MAX])
{
	*out = (struct explain){.sql = BUF_INIT(SQL_BYTES_MAX), .canonical = BUF_INIT(WHERE_CANONICAL_MAX)};
	struct where *w = NULL;
	if (in->where == NULL) {
		out->parts[out->nparts++] = (struct explain_part){.table = in->table};
		tell_nothing(&out->parts[0].told);
		return EXPLAIN_DONE;
	}
	if (where_parse(in->table, in->tables, in->where, in->where_len, &in->params, NULL, false, &w, message) != 0)
		return in->tables->missing_name[0] != '\0' ? EXPLAIN_LACKS : EXPLAIN_REFUSED;
	where_sql(w, &out->sql);
	readable_sql(&out->sql);
	where_canonical(w, &out->canonical);
	int rc = add_parts(w, 0, NULL, out, message);
	where_free(w);
	return rc == 0 ? EXPLAIN_DONE : EXPLAIN_REFUSED;
}

enum explain_result explain_condition(const struct explain_input *in, explain_look_up *look_up, void *ctx, struct explain *out,
                                      char message[WHERE_MESSAGE_MAX])
{
	struct where_tables *t = in->tables;
	for (;;) {
		t->missing_name[0] = t->missing_schema[0] = '\0';
		enum explain_result result = explain_once(in, out, message);
		if (result != EXPLAIN_LACKS)
			return result;
		if (t->n == EXPLAIN_PARTS_MAX)
			return EXPLAIN_REFUSED;
		explain_clear(out);
		if (!look_up(ctx, &(struct def_table_name){t->missing_schema, t->missing_name}))
			return EXPLAIN_LACKS;
	}
}

void explain_clear(struct explain *x)
{
	for (size_t i = 0; i < x->nparts; i++) {
		filter_told_clear(&x->parts[i].told);
		free(x->parts[i].select);
	}
	buf_clear(&x->sql);
	buf_clear(&x->canonical);
	*x = (struct explain){.nparts = 0};
}

/* ---- what is said ---- */

static const struct { const char *code, *text; } costs[] = {
	[COST_NEVER] = {"never", "no row can satisfy it"},
	[COST_ALL] = {"all", "every change of the table goes to the shape; nothing is evaluated"},
	[COST_INDEX] = {"indexed", "a changed row is looked up, however many shapes there are of this form"},
	[COST_INDEX_AND_REST] = {"residual", "a changed row is looked up, and the rest is evaluated for the shapes that the index leads to"},
	[COST_REST] = {"unindexed", "each changed row of the table is put to it: with many such shapes, changes become slow"},
};

static const char *const hints[] = {
	("OR: an alternative that can't be indexed keeps the whole OR from it. Make each one indexable (=, IN, a range, a prefix), or put "
	"what they have in common in front: owner = $1 AND (... OR ...)"),
	"NOT, <>, NOT IN, <> ALL: what is excluded isn't indexed. Say what is wanted (status IN ('new', 'open')), or add an equality beside it",
	"LIKE '%...': a pattern that begins with a wildcard has no prefix. LIKE 'abc%' is indexed; else add an equality beside it",
	"LIKE 'abc%d': only what stands before the first wildcard is indexed",
	"ILIKE: write lower(name) = 'abc' or lower(name) LIKE 'abc%', which are indexed",
	"regular expressions aren't indexed: where a prefix will do, use LIKE 'abc%' or starts_with()",
	"order under a collation other than C isn't indexed: compare by name COLLATE \"C\" < 'm', if the order of bytes will do",
	"two columns, or other expressions of the row, are compared with each other: add an equality with a constant beside it",
	"the constant has another type than the column, which is converted for each row: cast the constant to the column's type instead",
	"jsonb operators aren't indexed: compare a field, as in data->>'kind' = 'a'",
	"a list (or several, multiplied) of more than 1,024 values isn't indexed: use several shapes, or a subquery's own condition",
	"an expression that can fail on a row (a division, a cast of text) isn't indexed where others stand beside it: compare the column itself",
	"this form isn't indexed: add an equality with a constant beside it",
};

static const char set_for_all[] =
	"a subquery's own condition has no equality with a constant: what it selects is the same for everybody, and each change of it lets "
	"all clients start over. Limit it: WHERE user_id = $1";
static const char set_changes[] = "when a commit changes what it selects, the shape starts over (409, set-changed), and its clients fetch it once more";

static bool for_all(const struct explain_part *p) { return p->depth > 0 && !p->untold && !p->told.by_equality && p->told.cost != COST_NEVER; }

/* Calls for each piece of advice, each once. */
static void each_advice(const struct explain *x, void (*say)(struct buf *out, const char *text, size_t i), struct buf *out)
{
	unsigned all = 0;
	bool sets = false;
	size_t n = 0;
	for (size_t i = 0; i < x->nparts; i++) {
		all |= x->parts[i].told.hints;
		sets = sets || for_all(&x->parts[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(hints); i++)
		if (all & 1u << i)
			say(out, hints[i], n++);
	if (sets)
		say(out, set_for_all, n);
}

static void each_line(const struct buf *lines, void (*say)(struct buf *out, const char *p, size_t len, size_t i), struct buf *out)
{
	size_t n = 0;
	for (const char *p = lines->data, *end; p != NULL && p < lines->data + lines->len; p = end + 1) {
		end = memchr(p, '\n', (size_t)(lines->data + lines->len - p));
		say(out, p, (size_t)(end - p), n++);
	}
}

/* ---- as text ---- */

static void text_way(struct buf *out, const char *p, size_t len, size_t i) { buf_printf(out, "  %s %.*s\n", i == 0 ? "index:    " : "          ", (int)len, p); }
static void text_rest(struct buf *out, const char *p, size_t len, size_t i) { buf_printf(out, "  %s %.*s\n", i == 0 ? "evaluated:" : "          ", (int)len, p); }
static void text_advice(struct buf *out, const char *text, size_t i) { buf_printf(out, "%s- %s\n", i == 0 ? "\n" : "", text); }

static void text_part(const struct explain_part *p, struct buf *out)
{
	if (p->depth > 0) {
		buf_printf(out, "\nsubquery of \"%s\".\"%s\"%s\n  selects:   ", p->table->schema, p->table->name, p->depth > 1 ? ", inside the one before" : "");
		buf_puts(out, p->select);
		buf_printf(out, "\n  rotates:   %s\n", set_changes);
	}
	if (p->untold)
		buf_puts(out, "  cost:      depends on what its subqueries select\n");
	else
		buf_printf(out, "  cost:      %s: %s\n", costs[p->told.cost].code, costs[p->told.cost].text);
	each_line(&p->told.ways, text_way, out);
	if (p->told.entries > 1)
		buf_printf(out, "             %u entries\n", p->told.entries);
	each_line(&p->told.rest, text_rest, out);
}

void explain_put_text(const struct explain *x, struct buf *out)
{
	const struct pg_table *t = x->parts[0].table;
	buf_printf(out, "\"%s\".\"%s\"\n", t->schema, t->name);
	if (x->sql.len > 0) {
		buf_puts(out, "  condition: ");
		buf_put(out, x->sql.data, x->sql.len);
		buf_putc(out, '\n');
	}
	for (size_t i = 0; i < x->nparts; i++)
		text_part(&x->parts[i], out);
	each_advice(x, text_advice, out);
}

/* ---- as JSON ---- */

static void json_line(struct buf *out, const char *p, size_t len, size_t i)
{
	(void)i;
	field_bytes(out, NULL, p, len);
}

static void json_advice(struct buf *out, const char *text, size_t i)
{
	(void)i;
	field_text(out, NULL, text);
}

static void json_lines(struct buf *out, const char *name, const struct buf *lines)
{
	field_open(out, name, '[');
	each_line(lines, json_line, out);
	field_close(out, ']');
}

static void json_part(const struct explain_part *p, struct buf *out)
{
	char table[2 * 64 + 2];
	snprintf(table, sizeof table, "%s.%s", p->table->schema, p->table->name);
	field_text(out, "table", table);
	if (p->depth > 0) {
		field_int(out, "depth", p->depth);
		field_text(out, "selects", p->select);
		field_text(out, "rotates", set_changes);
	}
	field_text(out, "cost", p->untold ? "unknown" : costs[p->told.cost].code);
	field_int(out, "entries", p->told.entries);
	json_lines(out, "index", &p->told.ways);
	json_lines(out, "evaluated", &p->told.rest);
}

void explain_put_json(const struct explain *x, struct buf *out)
{
	field_open(out, NULL, '{');
	json_part(&x->parts[0], out);
	if (x->sql.len > 0) {
		field_bytes(out, "condition", x->sql.data, x->sql.len);
		field_bytes(out, "canonical", x->canonical.data != NULL ? x->canonical.data : "", x->canonical.len);
	}
	field_open(out, "subqueries", '[');
	for (size_t i = 1; i < x->nparts; i++) {
		field_open(out, NULL, '{');
		json_part(&x->parts[i], out);
		field_close(out, '}');
	}
	field_close(out, ']');
	field_open(out, "advice", '[');
	each_advice(x, json_advice, out);
	field_close(out, ']');
	field_close(out, '}');
	buf_putc(out, '\n');
}
