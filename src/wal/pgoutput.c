/*
 * pgoutput.c - the reader of pgoutput messages, protocol version 1.
 *
 * A message is one letter and the fields drawn below, all integers big-endian, strings ended by a
 * NUL. The numbers above the boxes are bytes.
 *
 *   Begin     | 'B' | final_lsn 8 | commit_time 8 | xid 4 |
 *   Commit    | 'C' | flags 1 (0) | commit_lsn 8 | end_lsn 8 | commit_time 8 |
 *   Origin    | 'O' | commit_lsn 8 | name str |
 *   Relation  | 'R' | oid 4 | schema str ("" = pg_catalog) | name str | identity 1 | n 2 | n × column |
 *     column        | flags 1 (1 = key) | name str | type_oid 4 | typmod 4 |
 *   Type      | 'Y' | oid 4 | schema str | name str |
 *   Insert    | 'I' | oid 4 | 'N' | tuple |
 *   Update    | 'U' | oid 4 | 'N' | tuple |
 *             | 'U' | oid 4 | 'K' or 'O' | old tuple | 'N' | new tuple |
 *   Delete    | 'D' | oid 4 | 'K' or 'O' | old tuple |
 *   Truncate  | 'T' | n 4 | flags 1 (1 = cascade, 2 = restart identity) | n × oid 4 |
 *   Abort     | 'A' | xid 4 | subxid 4 (proto 1: only PostgreSQL 18, for aborted transactions it had spilled)
 *   Message   | 'M' | flags 1 (1 = transactional) | lsn 8 | prefix str | len 4 | len bytes |
 *   tuple     | n 2 | n × value |
 *     value         | 'n' | (NULL)   | 'u' | (unchanged, not sent)   | 't' | len 4 | len bytes |
 *
 * 'b' (a value in binary form) only comes when asked for, and we don't ask.
 */
#include "wal/pgoutput.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Arrays only ever grow: to the widest table seen (at most 65,535 columns by the format). */
struct pgoutput {
	struct wal_column *columns;
	struct wal_value *old_values, *new_values;
	uint32_t *oids;
	size_t columns_cap, old_cap, new_cap, oids_cap;
};

/* Turns bad at the first short read and stays bad; reads then give 0 and "". */
struct cursor {
	const char *at, *end;
	bool bad;
};

struct pgoutput *pgoutput_new(void)
{
	return mem_zalloc(sizeof(struct pgoutput));
}

void pgoutput_free(struct pgoutput *d)
{
	if (d == NULL)
		return;
	free(d->columns);
	free(d->old_values);
	free(d->new_values);
	free(d->oids);
	free(d);
}

static size_t left(const struct cursor *c)
{
	return (size_t)(c->end - c->at);
}

/* n bytes, or NULL. */
static const char *read_bytes(struct cursor *c, size_t n)
{
	if (c->bad || n > left(c)) {
		c->bad = true;
		return NULL;
	}
	const char *p = c->at;
	c->at += n;
	return p;
}

static uint8_t read_u8(struct cursor *c)
{
	const char *p = read_bytes(c, 1);
	return p == NULL ? 0 : (uint8_t)p[0];
}

static uint16_t read_u16(struct cursor *c)
{
	const char *p = read_bytes(c, 2);
	uint16_t v = 0;
	if (p != NULL)
		memcpy(&v, p, 2);
	return __builtin_bswap16(v);
}

static uint32_t read_u32(struct cursor *c)
{
	const char *p = read_bytes(c, 4);
	uint32_t v = 0;
	if (p != NULL)
		memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static uint64_t read_u64(struct cursor *c)
{
	const char *p = read_bytes(c, 8);
	uint64_t v = 0;
	if (p != NULL)
		memcpy(&v, p, 8);
	return __builtin_bswap64(v);
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the reads above swap bytes");

/* A string with its NUL in the message; "" if there is none. */
static const char *read_cstr(struct cursor *c)
{
	const char *nul = c->bad ? NULL : memchr(c->at, '\0', left(c));
	if (nul == NULL) {
		c->bad = true;
		return "";
	}
	const char *s = c->at;
	c->at = nul + 1;
	return s;
}

/* Room for n elements. Callers have checked n against the bytes that are left, so it can't be absurd. */
static void *grow(void *array, size_t *cap, size_t n, size_t size)
{
	if (n <= *cap)
		return array;
	*cap = n + n / 2 + 16;
	return mem_realloc(array, *cap * size);
}

static void parse_begin(struct cursor *c, struct wal_change *out)
{
	out->u.begin.final_lsn = read_u64(c);
	out->u.begin.commit_time_us = (int64_t)read_u64(c);
	out->u.begin.xid = read_u32(c);
}

static void parse_commit(struct cursor *c, struct wal_change *out)
{
	if (read_u8(c) != 0)
		c->bad = true;
	out->u.commit.commit_lsn = read_u64(c);
	out->u.commit.end_lsn = read_u64(c);
	out->u.commit.commit_time_us = (int64_t)read_u64(c);
}

static void parse_origin(struct cursor *c)
{
	read_u64(c);
	read_cstr(c);
}

static void parse_type(struct cursor *c)
{
	read_u32(c);
	read_cstr(c);
	read_cstr(c);
}

static void parse_message(struct cursor *c, struct wal_change *out)
{
	if (read_u8(c) > 1)
		c->bad = true;
	read_u64(c);
	out->u.message.prefix = read_cstr(c);
	out->u.message.len = read_u32(c);
	out->u.message.data = read_bytes(c, out->u.message.len);
}

static void parse_column(struct cursor *c, struct wal_column *column)
{
	uint8_t flags = read_u8(c);
	if (flags > 1)
		c->bad = true;
	column->key = flags == 1;
	column->name = read_cstr(c);
	column->type_oid = read_u32(c);
	column->typmod = (int32_t)read_u32(c);
}

static void parse_relation(struct pgoutput *d, struct cursor *c, struct wal_change *out)
{
	struct wal_relation *r = &out->u.relation;
	r->oid = read_u32(c);
	r->schema = read_cstr(c);
	if (r->schema[0] == '\0')
		r->schema = "pg_catalog";
	r->name = read_cstr(c);
	r->replica_identity = (char)read_u8(c);
	if (r->replica_identity == '\0' || strchr("dnfi", r->replica_identity) == NULL)
		c->bad = true;
	r->ncolumns = read_u16(c);
	if (c->bad || r->ncolumns > left(c)) {
		c->bad = true;
		return;
	}
	d->columns = grow(d->columns, &d->columns_cap, r->ncolumns, sizeof *d->columns);
	r->columns = d->columns;
	for (uint16_t i = 0; i < r->ncolumns; i++)
		parse_column(c, &d->columns[i]);
}

/* The hot path: one call per row, one turn per value. */
static struct wal_value *parse_tuple(struct cursor *c, struct wal_value *values, size_t *cap, struct wal_tuple *out)
{
	uint16_t n = read_u16(c);
	if (c->bad || n > left(c)) {
		c->bad = true;
		return values;
	}
	values = grow(values, cap, n, sizeof *values);
	for (uint16_t i = 0; i < n; i++) {
		struct wal_value *v = &values[i];
		v->kind = (enum wal_value_kind)read_u8(c);
		v->len = 0;
		v->data = NULL;
		if (v->kind == WAL_TEXT) {
			v->len = read_u32(c);
			v->data = read_bytes(c, v->len);
		} else if (v->kind != WAL_NULL && v->kind != WAL_UNCHANGED) {
			c->bad = true;
		}
		if (c->bad)
			return values;
	}
	out->ncolumns = n;
	out->values = values;
	return values;
}

static void parse_old_tuple(struct pgoutput *d, struct cursor *c, struct wal_change *out)
{
	d->old_values = parse_tuple(c, d->old_values, &d->old_cap, &out->u.row.old_tuple);
}

static void parse_new_tuple(struct pgoutput *d, struct cursor *c, struct wal_change *out)
{
	d->new_values = parse_tuple(c, d->new_values, &d->new_cap, &out->u.row.new_tuple);
}

static void parse_row(struct pgoutput *d, struct cursor *c, struct wal_change *out)
{
	out->u.row.relation_oid = read_u32(c);
	out->u.row.old_kind = 0;
	out->u.row.old_tuple = out->u.row.new_tuple = (struct wal_tuple){0, NULL};
	char what = (char)read_u8(c);
	if (out->kind != WAL_INSERT && (what == 'K' || what == 'O')) {
		out->u.row.old_kind = what;
		parse_old_tuple(d, c, out);
		if (out->kind == WAL_DELETE)
			return;
		what = (char)read_u8(c);
	}
	if (what != 'N' || out->kind == WAL_DELETE) {
		c->bad = true;
		return;
	}
	parse_new_tuple(d, c, out);
}

/* Nothing of an aborted transaction was sent to us: there is nothing to undo. */
static void parse_stream_abort(struct cursor *c)
{
	(void)read_u32(c); /* xid */
	(void)read_u32(c); /* xid of the subtransaction */
}

static void parse_truncate(struct pgoutput *d, struct cursor *c, struct wal_change *out)
{
	uint32_t n = read_u32(c);
	uint8_t flags = read_u8(c);
	if (c->bad || flags > 3 || n > left(c) / 4) {
		c->bad = true;
		return;
	}
	d->oids = grow(d->oids, &d->oids_cap, n, sizeof *d->oids);
	for (uint32_t i = 0; i < n; i++)
		d->oids[i] = read_u32(c);
	out->u.truncate.count = n;
	out->u.truncate.cascade = (flags & 1) != 0;
	out->u.truncate.restart_identity = (flags & 2) != 0;
	out->u.truncate.relation_oids = d->oids;
}

int pgoutput_parse(struct pgoutput *d, const char *p, size_t len, struct wal_change *out, struct err *e)
{
	struct cursor c = {p, p + len, false};
	char kind = (char)read_u8(&c);
	out->kind = (enum wal_kind)kind;
	switch (kind) {
	case WAL_BEGIN: parse_begin(&c, out); break;
	case WAL_COMMIT: parse_commit(&c, out); break;
	case WAL_ORIGIN: parse_origin(&c); break;
	case WAL_RELATION: parse_relation(d, &c, out); break;
	case WAL_TYPE: parse_type(&c); break;
	case WAL_INSERT:
	case WAL_UPDATE:
	case WAL_DELETE: parse_row(d, &c, out); break;
	case WAL_TRUNCATE: parse_truncate(d, &c, out); break;
	case WAL_MESSAGE: parse_message(&c, out); break;
	case WAL_STREAM_ABORT: parse_stream_abort(&c); break;
	default:
		return err_set(e, ERR_PROTOCOL, "replication message of unknown type 0x%02x (%zu bytes)", (unsigned char)kind, len);
	}
	if (c.bad)
		return err_set(e, ERR_PROTOCOL, "malformed replication message '%c' (%zu bytes)", kind, len);
	if (c.at != c.end)
		return err_set(e, ERR_PROTOCOL, "replication message '%c' has %zu bytes too many", kind, left(&c));
	return 0;
}
