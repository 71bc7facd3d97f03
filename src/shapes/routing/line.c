/*
 * line.c - one change as the JSON line that clients get. (A row of a snapshot: row.c.)
 *
 * Forms: docs/protocol.md 5.2 to 5.5. A change is rendered once per format
 * (table, selected columns, replica mode) and shared by all shapes that have it. Member order is
 * Electric's: key, value, (old_value,) headers; `"last":true,` is inserted at the split by whoever
 * writes the line out, because it is a matter of the shape and not of the change.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/limits.h"
#include "shapes/routing/render.h"

/* ---- names ---- */

/* An identifier in the form it has in a key: quoted, `"` and `/` doubled, so that keys are unambiguous. */
static void key_identifier(const char *name, struct buf *out)
{
	buf_putc(out, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"' || *name == '/')
			buf_putc(out, *name);
		buf_putc(out, *name);
	}
	buf_putc(out, '"');
}

void line_key_prefix(const char *schema, const char *name, struct buf *out)
{
	key_identifier(schema, out);
	buf_putc(out, '.');
	key_identifier(name, out);
}

void line_relation_json(const struct pg_table *t, struct buf *out)
{
	buf_putc(out, '[');
	buf_json_string(out, t->schema, strlen(t->schema));
	buf_putc(out, ',');
	buf_json_string(out, t->name, strlen(t->name));
	buf_putc(out, ']');
}

/* The bytes of a key value inside JSON: slashes doubled, then JSON-escaped. */
static void key_value(const char *p, size_t n, struct buf *out)
{
	size_t done = 0;
	for (size_t i = 0; i < n; i++) {
		if (p[i] != '/')
			continue;
		buf_json_escape(out, p + done, i + 1 - done);
		buf_putc(out, '/');
		done = i + 1;
	}
	buf_json_escape(out, p + done, n - done);
}

void line_key_part(const char *p, size_t n, bool null, struct buf *out)
{
	if (null) {
		buf_puts(out, "/_");
		return;
	}
	buf_puts(out, "/\\\"");
	key_value(p, n, out);
	buf_puts(out, "\\\"");
}

uint16_t line_key_columns(const struct pg_table *t) { return t->npk > 0 ? t->npk : t->ncolumns; }

uint16_t line_key_column(const struct pg_table *t, uint16_t i) { return t->npk > 0 ? t->pk[i] : i; }

/* ---- binding a format to a relation ---- */

static int relation_column(const struct relation *r, const char *name)
{
	for (uint16_t i = 0; i < r->ncolumns; i++)
		if (strcmp(r->names[i], name) == 0)
			return i;
	return -1;
}

static void misfit(struct format *f, const char *fmt, const char *name)
{
	f->bound_ok = false;
	snprintf(f->bound_why, sizeof f->bound_why, fmt, name);
}

/* Without an old tuple in a change, the columns of the replica identity are as they were. That says something of our
 * key only where it is made of such columns: the identity may be another unique index. */
static bool key_identifies(const struct format *f, const struct relation *r)
{
	const struct pg_table *t = f->def.table;
	for (uint16_t i = 0; i < line_key_columns(t); i++) {
		int at = f->map[line_key_column(t, i)];
		if (at < 0 || !r->identity[at])
			return false;
	}
	return true;
}

/* Rows of a child by inheritance have its name in their keys, as the definition knows it. */
static void bind_member(struct format *f, const struct relation *r)
{
	const struct pg_table *t = f->def.table;
	free(f->member_prefix);
	f->member_prefix = NULL;
	if (t->relkind == 'p' || r->oid == t->oid)
		return;
	const struct pg_member *m = pg_table_member(t, r->oid);
	if (m == NULL) {
		misfit(f, "table %s became a child of it", r->name);
		return;
	}
	if (strcmp(m->schema, r->schema) != 0 || strcmp(m->name, r->name) != 0)
		misfit(f, "a child was renamed to %s", r->name);
	struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	line_key_prefix(m->schema, m->name, &b);
	f->member_prefix = buf_detach(&b, NULL);
}

void format_bind(struct format *f, const struct relation *r)
{
	const struct pg_table *t = f->def.table;
	f->bound = r;
	f->bound_version = r->version;
	f->bound_ok = true;
	f->bound_why[0] = '\0';
	if (f->map == NULL)
		f->map = mem_alloc(t->ncolumns * sizeof *f->map);
	for (uint16_t i = 0; i < t->ncolumns; i++)
		f->map[i] = relation_column(r, t->columns[i].name);
	f->key_identifies = key_identifies(f, r);
	bind_member(f, r);
	if (r->oid == t->oid && (strcmp(r->schema, t->schema) != 0 || strcmp(r->name, t->name) != 0)) {
		misfit(f, "the table was renamed to %s", r->name);
		return;
	}
	for (uint16_t i = 0; i < f->def.nselected; i++) {
		uint16_t c = f->def.selected[i];
		if (f->map[c] < 0)
			misfit(f, "column %s was dropped or renamed", t->columns[c].name);
		else if (r->types[f->map[c]] != t->columns[c].type_oid)
			misfit(f, "the type of column %s changed", t->columns[c].name);
	}
	/* What inherits may have more columns than its parent, whose rows they aren't part of. */
	if (!f->def.selects_all || (r->oid != t->oid && t->relkind != 'p'))
		return;
	for (uint16_t i = 0; i < r->ncolumns; i++)
		if (pg_table_column(t, r->names[i], strlen(r->names[i])) < 0)
			misfit(f, "column %s was added", r->names[i]);
}

/* ---- values of a change ---- */

struct rendering {
	struct format *f;
	const struct wal_tuple *old_tuple, *new_tuple; /* NULL: none */
	char old_kind;
	struct buf *out;
};

static const struct wal_value *tuple_value(const struct format *f, const struct wal_tuple *t, uint16_t column)
{
	static const struct wal_value absent = {WAL_UNCHANGED, 0, NULL};
	if (t == NULL || f->map[column] < 0 || f->map[column] >= t->ncolumns)
		return &absent;
	return &t->values[f->map[column]];
}

/* A value of the new row; what TOAST left out is what the old row had. */
static const struct wal_value *new_value(const struct rendering *r, uint16_t column)
{
	const struct wal_value *v = tuple_value(r->f, r->new_tuple, column);
	if (v->kind == WAL_UNCHANGED && r->old_kind == 'O')
		return tuple_value(r->f, r->old_tuple, column);
	return v;
}

static const struct wal_value *old_value(const struct rendering *r, uint16_t column)
{
	return tuple_value(r->f, r->old_tuple, column);
}

static bool same_value(const struct wal_value *a, const struct wal_value *b)
{
	if (a->kind != b->kind)
		return false;
	return a->kind != WAL_TEXT || (a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
}

/* Without a whole old row every column that was sent counts as changed: a merge of it is right. */
static bool changed(const struct rendering *r, uint16_t column)
{
	const struct wal_value *now = new_value(r, column);
	if (r->old_kind != 'O')
		return now->kind != WAL_UNCHANGED;
	return !same_value(old_value(r, column), now);
}

/* A value that wasn't sent isn't null: the line can't be written, which the caller sees as `failed`. */
static void put_value(struct buf *out, const struct wal_value *v)
{
	if (v->kind == WAL_TEXT)
		buf_json_string(out, v->data, v->len);
	else if (v->kind == WAL_NULL)
		buf_puts(out, "null");
	else
		out->failed = true;
}

static void put_member(const struct rendering *r, uint16_t column, const struct wal_value *v, bool *first)
{
	const char *name = r->f->def.table->columns[column].name;
	if (!*first)
		buf_putc(r->out, ',');
	*first = false;
	buf_json_string(r->out, name, strlen(name));
	buf_putc(r->out, ':');
	put_value(r->out, v);
}

static void put_key(const struct rendering *r, bool of_old)
{
	const struct pg_table *t = r->f->def.table;
	const char *prefix = r->f->member_prefix != NULL ? r->f->member_prefix : r->f->key_prefix;
	buf_putc(r->out, '"');
	buf_json_escape(r->out, prefix, strlen(prefix));
	for (uint16_t i = 0; i < line_key_columns(t); i++) {
		uint16_t c = line_key_column(t, i);
		const struct wal_value *v = of_old ? old_value(r, c) : new_value(r, c);
		/* Not sent; or null in a primary key, which means that the old tuple is of another index. */
		if (v->kind == WAL_UNCHANGED || (v->kind == WAL_NULL && t->npk > 0))
			r->out->failed = true;
		line_key_part(v->data, v->len, v->kind != WAL_TEXT, r->out);
	}
	buf_putc(r->out, '"');
}

static bool key_changes(const struct rendering *r)
{
	const struct pg_table *t = r->f->def.table;
	if (r->old_kind == 0)
		return false; /* no old tuple is sent when the key didn't change */
	for (uint16_t i = 0; i < line_key_columns(t); i++) {
		uint16_t c = line_key_column(t, i);
		const struct wal_value *was = old_value(r, c), *now = new_value(r, c);
		if (was->kind != WAL_UNCHANGED && now->kind != WAL_UNCHANGED && !same_value(was, now))
			return true;
	}
	return false;
}

static bool is_key_column(const struct pg_table *t, uint16_t column)
{
	return t->npk == 0 || t->columns[column].pk_index >= 0;
}

enum part { ALL_NEW, ALL_OLD, KEY_OLD, KEY_AND_CHANGED, CHANGED_OLD };

static void put_object(const struct rendering *r, enum part part)
{
	const struct shape_def *d = &r->f->def;
	bool first = true;
	buf_putc(r->out, '{');
	for (uint16_t i = 0; i < d->nselected; i++) {
		uint16_t c = d->selected[i];
		switch (part) {
		case ALL_NEW:
			put_member(r, c, new_value(r, c), &first);
			break;
		case ALL_OLD:
			put_member(r, c, old_value(r, c), &first);
			break;
		case KEY_OLD:
			if (is_key_column(d->table, c))
				put_member(r, c, old_value(r, c), &first);
			break;
		case KEY_AND_CHANGED:
			if (d->table->columns[c].pk_index >= 0 || changed(r, c))
				put_member(r, c, new_value(r, c), &first);
			break;
		case CHANGED_OLD:
			if (changed(r, c))
				put_member(r, c, old_value(r, c), &first);
			break;
		}
	}
	buf_putc(r->out, '}');
}

/* ---- lines of a change ---- */

struct position {
	lsn_t lsn;
	uint64_t op;
	uint32_t xid;
};

/* `"headers":{…}` and the end of the line; returns the split. */
static size_t put_headers(const struct rendering *r, const char *operation, const struct position *at, const char *key_change,
                          bool key_change_of_old)
{
	struct buf *o = r->out;
	buf_puts(o, ",\"headers\":{");
	size_t split = o->len;
	buf_puts(o, "\"relation\":");
	buf_puts(o, r->f->relation_json);
	buf_puts(o, ",\"operation\":\"");
	buf_puts(o, operation);
	buf_puts(o, "\",\"lsn\":\"");
	buf_put_u64(o, at->lsn);
	buf_puts(o, "\",\"op_position\":");
	buf_put_u64(o, at->op);
	buf_puts(o, ",\"txids\":[");
	buf_put_u64(o, at->xid);
	buf_putc(o, ']');
	if (key_change != NULL) {
		buf_puts(o, ",\"");
		buf_puts(o, key_change);
		buf_puts(o, "\":");
		put_key(r, key_change_of_old);
	}
	buf_puts(o, "}}");
	return split;
}

static struct line *one_line(const struct rendering *r, const char *operation, bool key_of_old, enum part value, bool with_old,
                             const struct position *at, const char *key_change)
{
	buf_reset(r->out);
	buf_puts(r->out, "{\"key\":");
	put_key(r, key_of_old);
	buf_puts(r->out, ",\"value\":");
	put_object(r, value);
	if (with_old) {
		buf_puts(r->out, ",\"old_value\":");
		put_object(r, CHANGED_OLD);
	}
	size_t split = put_headers(r, operation, at, key_change, !key_of_old);
	if (r->out->failed)
		return NULL;
	struct line *line = line_new(r->out->data, r->out->len, split);
	line->grows = operation[0] == 'i' ? 1 : operation[0] == 'd' ? -1 : 0;
	return line;
}

/* Whether the old tuple has all that this shape must show or compare. */
static bool old_is_enough(const struct rendering *r, enum wal_kind kind)
{
	const struct shape_def *d = &r->f->def;
	if (r->old_kind == 'O')
		return true;
	/* The table isn't FULL (yet): with a key, and in the default mode, a merge of what was sent is right. */
	if (d->table->npk == 0 || d->replica == REPLICA_FULL || !r->f->key_identifies)
		return false;
	if (kind == WAL_UPDATE)
		return true;
	for (uint16_t i = 0; i < d->table->npk; i++)
		if (old_value(r, d->table->pk[i])->kind == WAL_UNCHANGED)
			return false;
	return r->old_kind == 'K';
}

/* A changed key on a row whose other values weren't all sent: the insert half would lack them. */
static bool new_is_whole(const struct rendering *r)
{
	for (uint16_t i = 0; i < r->f->def.nselected; i++)
		if (new_value(r, r->f->def.selected[i])->kind == WAL_UNCHANGED)
			return false;
	return true;
}

static void render_update(struct rendering *r, struct rendered *out, struct position *at)
{
	struct format *f = r->f;
	bool full = f->def.replica == REPLICA_FULL, any = false;
	if (!key_changes(r)) {
		for (uint16_t i = 0; i < f->def.nselected && !any; i++)
			any = changed(r, f->def.selected[i]);
		if (!any)
			return;
		out->lines[0] = one_line(r, "update", false, full ? ALL_NEW : KEY_AND_CHANGED, full, at, NULL);
		out->nlines = out->lines[0] != NULL ? 1 : -1;
		return;
	}
	if (!new_is_whole(r)) {
		out->nlines = -1;
		return;
	}
	out->lines[0] = one_line(r, "delete", true, full ? ALL_OLD : KEY_OLD, false, at, "key_change_to");
	at->op++;
	out->lines[1] = one_line(r, "insert", false, ALL_NEW, false, at, "key_change_from");
	out->nlines = out->lines[0] != NULL && out->lines[1] != NULL ? 2 : -1;
}

static void render_insert(struct rendering *r, struct rendered *out, const struct position *at)
{
	out->lines[0] = new_is_whole(r) ? one_line(r, "insert", false, ALL_NEW, false, at, NULL) : NULL;
	out->nlines = out->lines[0] != NULL ? 1 : -1;
}

static void render_delete(struct rendering *r, struct rendered *out, const struct position *at)
{
	bool all = r->f->def.replica == REPLICA_FULL || r->f->def.table->npk == 0;
	out->lines[0] = one_line(r, "delete", true, all ? ALL_OLD : KEY_OLD, false, at, NULL);
	out->nlines = out->lines[0] != NULL ? 1 : -1;
}

void line_render(struct format *f, enum change_view view, const struct wal_change *change, lsn_t lsn, uint64_t op,
                 uint32_t xid, struct buf *scratch)
{
	struct rendering r = {
		.f = f,
		.old_tuple = change->kind == WAL_INSERT ? NULL : &change->u.row.old_tuple,
		.new_tuple = change->kind == WAL_DELETE ? NULL : &change->u.row.new_tuple,
		.old_kind = change->kind == WAL_INSERT ? 0 : change->u.row.old_kind,
		.out = scratch,
	};
	struct position at = {lsn, op, xid};
	struct rendered *out = &f->views[view];
	out->nlines = 0;
	out->lines[0] = out->lines[1] = NULL;
	if (change->kind != WAL_INSERT && !old_is_enough(&r, change->kind))
		out->nlines = -1;
	else if (change->kind == WAL_INSERT || view == VIEW_ENTERS)
		render_insert(&r, out, &at);
	else if (change->kind == WAL_DELETE || view == VIEW_LEAVES)
		render_delete(&r, out, &at);
	else
		render_update(&r, out, &at);
}
