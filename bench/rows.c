/* rows.c - see rows.h. */
#include "bench/rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SEAL_FACTOR 2654435761 /* ids below 2^31 give no overflow of a bigint */

static uint32_t row_seal(int64_t id)
{
	return (uint32_t)(((uint64_t)id * SEAL_FACTOR) & 0xffffffffu);
}

/* The columns as SQL expressions of an id and a group. */
static void columns_sql(char *out, size_t size, const char *id, const char *group, int payload)
{
	char seal[128];

	snprintf(seal, sizeof seal, "lpad(to_hex((%s * %ld) & 4294967295), 8, '0')", id, SEAL_FACTOR);
	snprintf(out, size,
		 "%s, (%s)::integer, (%s)::bigint * %d + %s %% %d, ARRAY['all', 't' || (%s)], 'item-' || (%s) || '-' || %s, "
		 "repeat(%s, %d)",
		 id, group, group, GROUP_WIDTH, id, GROUP_WIDTH, group, group, seal, seal, payload / 8);
}

int rows_create(struct db *d, const char *name, int payload, struct err *e)
{
	char columns[1024], many[1024];

	columns_sql(columns, sizeof columns, "i", "i % groups", payload);
	columns_sql(many, sizeof many, "g", "g % groups", payload);
	if (db_exec(d, e,
		    "CREATE TABLE " SCHEMA ".%s (id bigint PRIMARY KEY, n integer NOT NULL, v bigint NOT NULL, "
		    "tags text[] NOT NULL, name text NOT NULL, payload text NOT NULL)",
		    name) ||
	    db_exec(d, e, "ALTER TABLE " SCHEMA ".%s REPLICA IDENTITY FULL", name))
		return -1;
	return db_exec(d, e,
		       "CREATE PROCEDURE " SCHEMA ".put_%s(a bigint, b bigint, groups bigint, per_txn bigint) LANGUAGE plpgsql "
		       "AS $$ DECLARE i bigint := a; BEGIN WHILE i < b LOOP IF per_txn = 1 THEN "
		       "INSERT INTO " SCHEMA ".%s VALUES (%s); i := i + 1; ELSE "
		       "INSERT INTO " SCHEMA ".%s SELECT %s FROM generate_series(i, least(i + per_txn, b) - 1) g; "
		       "i := i + per_txn; END IF; COMMIT; END LOOP; END $$",
		       name, name, columns, name, many);
}

int rows_insert(struct db *d, const char *name, int64_t from, int64_t to, int64_t groups, int payload, struct err *e)
{
	char sql[2048];

	rows_batch_sql(sql, sizeof sql, name, from, to, groups, payload);
	return db_exec(d, e, "%s", sql);
}

void rows_batch_sql(char *out, size_t size, const char *name, int64_t from, int64_t to, int64_t groups, int payload)
{
	char columns[1024], group[64];

	snprintf(group, sizeof group, groups ? "i %% %" PRId64 : "0", groups);
	columns_sql(columns, sizeof columns, "i", group, payload);
	snprintf(out, size, "INSERT INTO " SCHEMA ".%s SELECT %s FROM generate_series(%" PRId64 "::bigint, %" PRId64 ") i", name,
		 columns, from, to - 1);
}

int rows_drop(struct db *d, const char *name, struct err *e)
{
	if (db_exec(d, e, "DROP TABLE IF EXISTS " SCHEMA ".%s CASCADE", name))
		return -1;
	return db_exec(d, e, "DROP PROCEDURE IF EXISTS " SCHEMA ".put_%s", name);
}

void rows_insert_sql(char *out, size_t size, const char *name, int payload)
{
	char columns[1024];

	columns_sql(columns, sizeof columns, "$1::bigint", "$2::integer", payload);
	snprintf(out, size, "INSERT INTO " SCHEMA ".%s VALUES (%s)", name, columns);
}

void rows_last_sql(char *out, size_t size, const char *name, int64_t id, int payload)
{
	char columns[1024], text[40], group[16];

	snprintf(text, sizeof text, "%" PRId64 "::bigint", id);
	snprintf(group, sizeof group, "%d", LAST_GROUP);
	columns_sql(columns, sizeof columns, text, group, payload);
	snprintf(out, size, "INSERT INTO " SCHEMA ".%s VALUES (%s)", name, columns);
}

void rows_copy_sql(char *out, size_t size, const char *name, bool json)
{
	if (!json) {
		snprintf(out, size, "COPY (SELECT id, n, name, payload, tags, v FROM " SCHEMA ".%s) TO STDOUT", name);
		return;
	}
	snprintf(out, size,
		 "COPY (SELECT '{\"key\":\"\\\"" SCHEMA "\\\".\\\"%s\\\"/\\\"' || id || '\\\"\",\"value\":{\"id\":\"' || id || "
		 "'\",\"n\":\"' || n || '\",\"name\":' || to_json(name)::text || ',\"payload\":' || to_json(payload)::text || "
		 "',\"tags\":' || to_json(tags::text)::text || ',\"v\":\"' || v || "
		 "'\"},\"headers\":{\"operation\":\"insert\",\"relation\":[\"" SCHEMA "\",\"%s\"]}}' FROM " SCHEMA ".%s) TO STDOUT",
		 name, name, name);
}

void row_json(struct buf *b, const char *table, int64_t id, int64_t group, int payload)
{
	buf_printf(b, "{\"key\":\"\\\"" SCHEMA "\\\".\\\"%s\\\"/\\\"%" PRId64 "\\\"\",\"value\":{\"id\":\"%" PRId64 "\",\"n\":\"%" PRId64
		   "\",\"name\":\"item-%" PRId64 "-%08" PRIx32 "\",\"payload\":\"", table, id, id, group, group, row_seal(id));
	for (int i = 0; i < payload / 8; i++)
		buf_printf(b, "%08" PRIx32, row_seal(id));
	buf_printf(b, "\",\"tags\":\"{all,t%" PRId64 "}\",\"v\":\"%" PRId64 "\"},\"headers\":{\"operation\":\"insert\",\"relation\":[\"" SCHEMA
		   "\",\"%s\"],\"lsn\":\"%" PRId64 "\",\"op_position\":0,\"last\":true,\"txids\":[1]}}",
		   group, group * GROUP_WIDTH + id % GROUP_WIDTH, table, 1000 + id);
}

static bool same(const struct text *t, const char *want, size_t len)
{
	return t != NULL && t->p != NULL && t->len == len && memcmp(t->p, want, len) == 0;
}

/* A number in decimal behind `to`; its length. Rows are checked by the million: no printf here. */
static size_t put_number(char *to, int64_t v)
{
	char digits[24];
	size_t n = 0, len = 0;
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	if (v < 0)
		to[len++] = '-';
	do
		digits[n++] = (char)('0' + u % 10);
	while ((u /= 10) > 0);
	while (n > 0)
		to[len++] = digits[--n];
	return len;
}

static void put_seal(char to[8], int64_t id)
{
	uint32_t v = row_seal(id);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	/* All eight digits at once: a nibble to a byte, the highest first; then what is above 9 becomes a letter. */
	uint64_t x = (v & 0xffff0000u) >> 16 | (uint64_t)(v & 0xffff) << 32;

	x = (x & 0x0000ff000000ff00u) >> 8 | (x & 0x000000ff000000ffu) << 16;
	x = (x & 0x00f000f000f000f0u) >> 4 | (x & 0x000f000f000f000fu) << 8;
	x += 0x3030303030303030u + ((x + 0x0606060606060606u) >> 4 & 0x0101010101010101u) * ('a' - '0' - 10);
	memcpy(to, &x, 8);
#else
	for (int i = 7; i >= 0; i--, v >>= 4)
		to[i] = "0123456789abcdef"[v & 15];
#endif
}

static bool payload_right(const struct text *t, const char *seal, int payload)
{
	size_t len = (size_t)(payload / 8 * 8);

	if (t == NULL || t->p == NULL || t->len != len)
		return false;
	return len == 0 || (memcmp(t->p, seal, 8) == 0 && memcmp(t->p, t->p + 8, len - 8) == 0);
}

static int64_t group_of(const struct rows_want *want, int64_t id)
{
	if (id == want->last_id || (want->gate_id > 0 && id == want->gate_id))
		return LAST_GROUP;
	return want->groups ? id % want->groups : 0;
}

bool row_check(const struct msg *m, const struct rows_want *want, int64_t *id, int64_t *group, const char **why)
{
	int64_t n, v, expect;
	char seal[8], text[64] = "{all,t";
	size_t len;

	*why = "not an insert";
	if (m->kind != MSG_INSERT)
		return false;
	*why = "no id, n or v";
	if (!msg_number(m, "id", id) || !msg_number(m, "n", &n) || !msg_number(m, "v", &v))
		return false;
	*group = n;
	expect = group_of(want, *id);
	*why = "wrong group";
	if (n != expect)
		return false;
	*why = "wrong v";
	if (v != n * GROUP_WIDTH + *id % GROUP_WIDTH)
		return false;
	put_seal(seal, *id);
	*why = "wrong tags";
	len = 6 + put_number(text + 6, n);
	text[len++] = '}';
	if (!same(msg_column(m, "tags"), text, len))
		return false;
	*why = "wrong name";
	memcpy(text, "item-", 5);
	len = 5 + put_number(text + 5, n);
	text[len++] = '-';
	memcpy(text + len, seal, 8);
	if (!same(msg_column(m, "name"), text, len + 8))
		return false;
	*why = "wrong payload";
	return payload_right(msg_column(m, "payload"), seal, want->payload);
}

enum { FIELD_ID, FIELD_N, FIELD_V, FIELD_TAGS, FIELD_NAME, FIELD_PAYLOAD, FIELD_NONE };

struct span {
	const char *p;
	size_t len;
	uint8_t field;
};

/* The id inside of the key: "\"schema\".\"table\"/\"17\"", in JSON. */
static bool key_id(const struct msg *m, const struct text *id, struct span *out)
{
	size_t len = id->len + 2;

	if (m->key.p == NULL || m->key.len < len + 2 || memcmp(m->key.p + m->key.len - 2, "\\\"", 2) != 0)
		return false;
	*out = (struct span){m->key.p + m->key.len - len, id->len, FIELD_ID};
	return memcmp(out->p, id->p, id->len) == 0 && out->p[-1] == '"';
}

void row_form_learn(struct row_form *f, const struct msg *m)
{
	static const char *const names[] = {"id", "n", "v", "tags", "name", "payload"};
	struct span span[ROW_FORM_PARTS], t;
	const char *from = m->whole.p;
	size_t n = 0, used = 0;

	f->parts = 0;
	f->row_len = 0;
	if (from == NULL || m->columns != FIELD_NONE)
		return;
	for (uint8_t i = 0; i < FIELD_NONE; i++) {
		const struct text *c = msg_column(m, names[i]);
		if (c == NULL || c->p == NULL)
			return;
		span[n++] = (struct span){c->p, c->len, i};
	}
	if (!key_id(m, msg_column(m, "id"), &span[n++]))
		return;
	for (size_t i = 1; i < n; i++) /* by position */
		for (size_t k = i; k > 0 && span[k].p < span[k - 1].p; k--)
			t = span[k], span[k] = span[k - 1], span[k - 1] = t;
	span[n++] = (struct span){m->whole.p + m->whole.len, 0, FIELD_NONE};
	if (span[0].field != FIELD_ID)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t len = (size_t)(span[i].p - from);
		if (len > sizeof f->text - used)
			return;
		memcpy(f->text + used, from, len);
		used += len;
		f->part[i].len = (uint16_t)len;
		f->part[i].field = span[i].field;
		from = span[i].p + span[i].len;
	}
	f->parts = (unsigned)n;
}

/* The whole text of a row whose values have other lengths than the last one's, or another group. */
static void expect_anew(struct row_form *f, const char *id, size_t id_len, int64_t group, int payload)
{
	char *p = f->row, *text = f->text;

	for (unsigned i = 0; i < f->parts; i++) {
		memcpy(p, text, f->part[i].len);
		p += f->part[i].len;
		text += f->part[i].len;
		f->part[i].at = (uint16_t)(p - f->row);
		switch (f->part[i].field) {
		case FIELD_ID: memcpy(p, id, id_len), p += id_len; break;
		case FIELD_N: p += put_number(p, group); break;
		case FIELD_V: p += f->v_len; break;
		case FIELD_TAGS:
			memcpy(p, "{all,t", 6);
			p += 6;
			p += put_number(p, group);
			*p++ = '}';
			break;
		case FIELD_NAME:
			memcpy(p, "item-", 5);
			p += 5;
			p += put_number(p, group);
			*p++ = '-';
			f->part[i].at = (uint16_t)(p - f->row); /* of the seal, which is all that changes */
			p += 8;
			break;
		case FIELD_PAYLOAD: p += payload / 8 * 8; break;
		default: break;
		}
	}
	f->row_len = (size_t)(p - f->row);
	f->id_len = id_len;
	f->group = group;
	f->payload = payload;
}

/* The values that change from row to row. */
static void expect_values(struct row_form *f, const char *id, const char *v, const char seal[8])
{
	for (unsigned i = 0; i < f->parts; i++) {
		char *p = f->row + f->part[i].at;
		switch (f->part[i].field) {
		case FIELD_ID:
			for (size_t k = 0; k < f->id_len; k++)
				p[k] = id[k];
			break;
		case FIELD_V:
			for (size_t k = 0; k < f->v_len; k++)
				p[k] = v[k];
			break;
		case FIELD_NAME: memcpy(p, seal, 8); break;
		case FIELD_PAYLOAD:
			for (int k = 0; k < f->payload / 8; k++)
				memcpy(p + k * 8, seal, 8);
			break;
		default: break;
		}
	}
}

size_t row_form_match(struct row_form *f, const struct rows_want *want, const char *data, size_t len, int64_t *id,
		      int64_t *group)
{
	char seal[8], v[24];
	const char *p;
	size_t n, v_len, most;
	int64_t value = 0, g;

	if (f->parts == 0 || len <= f->part[0].len || want->payload > PAYLOAD_MAX)
		return 0;
	p = data + f->part[0].len;
	most = len - f->part[0].len < 18 ? len - f->part[0].len : 18;
	for (n = 0; n < most && p[n] >= '0' && p[n] <= '9'; n++)
		value = value * 10 + (p[n] - '0');
	if (n == 0 || p[0] == '0')
		return 0;
	g = group_of(want, value);
	put_seal(seal, value);
	v_len = put_number(v, g * GROUP_WIDTH + value % GROUP_WIDTH);
	if (f->row_len == 0 || n != f->id_len || v_len != f->v_len || g != f->group || want->payload != f->payload) {
		f->v_len = v_len;
		expect_anew(f, p, n, g, want->payload);
	}
	expect_values(f, p, v, seal);
	if (len < f->row_len || memcmp(data, f->row, f->row_len) != 0)
		return 0;
	*id = value;
	*group = g;
	return f->row_len;
}

void seen_init(struct seen *s, int64_t from, int64_t to)
{
	s->from = from;
	s->to = to;
	s->count = 0;
	s->bits = mem_zalloc((size_t)((to - from + 7) / 8));
}

void seen_clear(struct seen *s)
{
	free(s->bits);
	s->bits = NULL;
}

bool seen_add(struct seen *s, int64_t id)
{
	uint8_t bit;

	if (id < s->from || id >= s->to)
		return false;
	id -= s->from;
	bit = (uint8_t)(1u << (id & 7));
	if (s->bits[id >> 3] & bit)
		return false;
	s->bits[id >> 3] |= bit;
	s->count++;
	return true;
}
