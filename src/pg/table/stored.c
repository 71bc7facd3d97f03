/*
 * stored.c - a table description as JSON, as the store keeps it, and back.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pg/table/make.h"
#include "pg/table/table.h"

#define TABLE_JSON_VERSION 3
#define TABLE_JSON_VERSION_OLDEST 2 /* knows nothing of keys, members and the parts of types */

/* ---- the stored form ----
 *
 * {"v":3,"oid":16390,"schema":"public","name":"items","relkind":"r",
 *  "columns":[["id",1,23,-1,"int4",0,not_null,generated,is_bool,pk_index,collation],…],"leaves":[…],
 *  (generated: false, true, or "v" if it is virtual)
 *  "keys":0,"clash":"\"schema\".\"name\"" or null,"members":[[oid,"schema","name"],…],
 *  "types":[[oid,"schema","name","kind",elem_oid,base_oid,base_typmod,["label",…],[[id,type_oid,typmod,"name"],…]],…],
 *  "denied":[attnum,…] if there are such columns, "tableoid_denied":true if so,
 *  "collations":[[oid,"schema","name","provider",deterministic,"collate","ctype","version" or null],…]}
 */

static const char *json_bool_text(bool v)
{
	return v ? "true" : "false";
}

static void put_text(struct buf *out, const char *text)
{
	buf_json_string(out, text, strlen(text));
}

static void put_type(const struct pg_type *y, struct buf *out)
{
	buf_printf(out, "[%" PRIu32 ",", y->oid);
	put_text(out, y->schema);
	buf_putc(out, ',');
	put_text(out, y->name);
	buf_printf(out, ",\"%c\",%" PRIu32 ",%" PRIu32 ",%" PRId32 ",[", y->kind, y->elem_oid, y->base_oid, y->base_typmod);
	for (uint16_t i = 0; i < y->nlabels; i++) {
		buf_puts(out, i > 0 ? "," : "");
		put_text(out, y->labels[i]);
	}
	buf_puts(out, y->parts_known ? "],[" : "]");
	for (uint16_t i = 0; i < y->nparts; i++) {
		const struct pg_type_part *p = &y->parts[i];
		buf_printf(out, "%s[%" PRIu32 ",%" PRIu32 ",%" PRId32 ",", i > 0 ? "," : "", p->id, p->type_oid, p->typmod);
		put_text(out, p->name);
		buf_putc(out, ']');
	}
	buf_puts(out, y->parts_known ? "]]" : "]");
}

static void put_collation(const struct pg_collation *c, struct buf *out)
{
	buf_printf(out, "[%" PRIu32 ",", c->oid);
	put_text(out, c->schema);
	buf_putc(out, ',');
	put_text(out, c->name);
	buf_printf(out, ",\"%c\",%s,", c->provider, json_bool_text(c->deterministic));
	put_text(out, c->collate);
	buf_putc(out, ',');
	put_text(out, c->ctype);
	buf_putc(out, ',');
	if (c->version != NULL)
		put_text(out, c->version);
	else
		buf_puts(out, "null");
	buf_putc(out, ']');
}

void pg_table_to_json(const struct pg_table *t, struct buf *out)
{
	buf_printf(out, "{\"v\":%d,\"oid\":%" PRIu32 ",\"schema\":", TABLE_JSON_VERSION, t->oid);
	buf_json_string(out, t->schema, strlen(t->schema));
	buf_puts(out, ",\"name\":");
	buf_json_string(out, t->name, strlen(t->name));
	buf_printf(out, ",\"relkind\":\"%c\",\"columns\":[", t->relkind);
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		const struct pg_column *c = &t->columns[i];
		buf_puts(out, i > 0 ? ",[" : "[");
		buf_json_string(out, c->name, strlen(c->name));
		buf_printf(out, ",%d,%" PRIu32 ",%" PRId32 ",", c->attnum, c->type_oid, c->typmod);
		buf_json_string(out, c->type_name, strlen(c->type_name));
		buf_printf(out, ",%d,%s,%s,%s,%d,%d]", c->dims, json_bool_text(c->not_null),
		           c->is_virtual ? "\"v\"" : json_bool_text(c->generated), json_bool_text(c->is_bool), c->pk_index,
		           c->collation);
	}
	buf_puts(out, "],\"leaves\":[");
	for (uint32_t i = 0; i < t->nleaves; i++)
		buf_printf(out, i > 0 ? ",%" PRIu32 : "%" PRIu32, t->leaves[i]);
	bool denied = false;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		if (!t->columns[i].denied)
			continue;
		buf_printf(out, denied ? ",%d" : "],\"denied\":[%d", t->columns[i].attnum);
		denied = true;
	}
	buf_printf(out, "],%s\"keys\":%d,\"clash\":", t->tableoid_denied ? "\"tableoid_denied\":true," : "", (int)t->keys);
	if (t->clash != NULL)
		put_text(out, t->clash);
	else
		buf_puts(out, "null");
	buf_puts(out, ",\"members\":[");
	for (uint32_t i = 0; i < t->nmembers; i++) {
		buf_printf(out, i > 0 ? ",[%" PRIu32 "," : "[%" PRIu32 ",", t->members[i].oid);
		put_text(out, t->members[i].schema);
		buf_putc(out, ',');
		put_text(out, t->members[i].name);
		buf_putc(out, ']');
	}
	buf_puts(out, "],\"types\":[");
	for (uint16_t i = 0; i < t->ntypes; i++) {
		buf_puts(out, i > 0 ? "," : "");
		put_type(&t->types[i], out);
	}
	buf_puts(out, "],\"collations\":[");
	for (uint16_t i = 0; i < t->ncollations; i++) {
		buf_puts(out, i > 0 ? "," : "");
		put_collation(&t->collations[i], out);
	}
	buf_puts(out, "]}");
}

/* Reads that turn bad once and stay bad; the caller looks at `bad` at the end. */
static int64_t read_int(const json_t *v, int64_t least, int64_t most, bool *bad)
{
	if (!json_is_integer(v) || json_integer_value(v) < least || json_integer_value(v) > most) {
		*bad = true;
		return least;
	}
	return json_integer_value(v);
}

static char *read_name(const json_t *v, bool *bad)
{
	const char *s = json_string_value(v);
	if (s == NULL || s[0] == '\0')
		*bad = true;
	return mem_strdup(s != NULL ? s : "");
}

static bool read_bool(const json_t *v, bool *bad)
{
	if (!json_is_boolean(v))
		*bad = true;
	return json_is_true(v);
}

static void read_column(const json_t *v, struct pg_column *c, bool *bad)
{
	if (!json_is_array(v) || json_array_size(v) != 11)
		*bad = true;
	c->name = read_name(json_array_get(v, 0), bad);
	c->attnum = (int16_t)read_int(json_array_get(v, 1), 1, INT16_MAX, bad);
	c->type_oid = (uint32_t)read_int(json_array_get(v, 2), 0, UINT32_MAX, bad);
	c->typmod = (int32_t)read_int(json_array_get(v, 3), INT32_MIN, INT32_MAX, bad);
	c->type_name = read_name(json_array_get(v, 4), bad);
	c->dims = (int)read_int(json_array_get(v, 5), 0, INT16_MAX, bad);
	c->not_null = read_bool(json_array_get(v, 6), bad);
	const json_t *generated = json_array_get(v, 7);
	c->is_virtual = json_is_string(generated) && strcmp(json_string_value(generated), "v") == 0;
	c->generated = c->is_virtual || read_bool(generated, bad);
	c->is_bool = read_bool(json_array_get(v, 8), bad);
	c->pk_index = (int)read_int(json_array_get(v, 9), -1, TABLE_COLUMNS_MAX, bad);
	c->collation = (int)read_int(json_array_get(v, 10), -1, TABLE_COLUMNS_MAX, bad);
}

/* One character, a pg_type.typtype or the like. */
static char read_char(const json_t *v, bool *bad)
{
	if (json_string_length(v) != 1) {
		*bad = true;
		return ' ';
	}
	return json_string_value(v)[0];
}

/* A text that may be empty. */
static char *read_text(const json_t *v, bool *bad)
{
	*bad = *bad || !json_is_string(v);
	return mem_strdup(json_is_string(v) ? json_string_value(v) : "");
}

static void read_parts(const json_t *v, struct pg_type *y, bool *bad)
{
	size_t n = json_array_size(v);
	if (!json_is_array(v) || n > UINT16_MAX)
		*bad = true;
	y->parts_known = true;
	if (n == 0 || *bad)
		return;
	y->parts = mem_zalloc(n * sizeof y->parts[0]);
	y->nparts = (uint16_t)n;
	for (size_t i = 0; i < n; i++) {
		const json_t *part = json_array_get(v, i);
		if (!json_is_array(part) || json_array_size(part) != 4)
			*bad = true;
		y->parts[i].id = (uint32_t)read_int(json_array_get(part, 0), 0, UINT32_MAX, bad);
		y->parts[i].type_oid = (uint32_t)read_int(json_array_get(part, 1), 0, UINT32_MAX, bad);
		y->parts[i].typmod = (int32_t)read_int(json_array_get(part, 2), INT32_MIN, INT32_MAX, bad);
		y->parts[i].name = read_text(json_array_get(part, 3), bad);
	}
}

static void read_type(const json_t *v, struct pg_type *y, bool *bad)
{
	size_t size = json_array_size(v);
	if (!json_is_array(v) || (size != 8 && size != 9))
		*bad = true;
	if (size == 9)
		read_parts(json_array_get(v, 8), y, bad);
	y->oid = (uint32_t)read_int(json_array_get(v, 0), 1, UINT32_MAX, bad);
	y->schema = read_name(json_array_get(v, 1), bad);
	y->name = read_name(json_array_get(v, 2), bad);
	y->kind = read_char(json_array_get(v, 3), bad);
	y->elem_oid = (uint32_t)read_int(json_array_get(v, 4), 0, UINT32_MAX, bad);
	y->base_oid = (uint32_t)read_int(json_array_get(v, 5), 0, UINT32_MAX, bad);
	y->base_typmod = (int32_t)read_int(json_array_get(v, 6), INT32_MIN, INT32_MAX, bad);
	const json_t *labels = json_array_get(v, 7);
	size_t n = json_array_size(labels);
	if (!json_is_array(labels))
		*bad = true;
	if (n == 0 || n > UINT16_MAX)
		return; /* beyond all reason: an enum nothing can be compared with */
	y->labels = mem_zalloc(n * sizeof y->labels[0]);
	y->nlabels = (uint16_t)n;
	for (size_t i = 0; i < n; i++)
		y->labels[i] = read_text(json_array_get(labels, i), bad); /* a label may be empty */
}

static void read_types(const json_t *v, struct pg_table *t, bool *bad)
{
	size_t n = json_array_size(v);
	if (!json_is_array(v) || n > UINT16_MAX)
		*bad = true;
	if (n == 0 || *bad)
		return;
	t->types = mem_zalloc(n * sizeof t->types[0]);
	t->ntypes = (uint16_t)n;
	for (size_t i = 0; i < n; i++)
		read_type(json_array_get(v, i), &t->types[i], bad);
}

static void read_collation(const json_t *v, struct pg_collation *c, bool *bad)
{
	if (!json_is_array(v) || json_array_size(v) != 8)
		*bad = true;
	c->oid = (uint32_t)read_int(json_array_get(v, 0), 1, UINT32_MAX, bad);
	c->schema = read_name(json_array_get(v, 1), bad);
	c->name = read_name(json_array_get(v, 2), bad);
	c->provider = read_char(json_array_get(v, 3), bad);
	c->deterministic = read_bool(json_array_get(v, 4), bad);
	c->collate = read_text(json_array_get(v, 5), bad);
	c->ctype = read_text(json_array_get(v, 6), bad);
	const json_t *version = json_array_get(v, 7);
	c->version = json_is_null(version) ? NULL : read_text(version, bad);
}

static void read_collations(const json_t *v, struct pg_table *t, bool *bad)
{
	size_t n = json_array_size(v);
	if (n == 0 || n > TABLE_COLUMNS_MAX + 1)
		*bad = true;
	if (n == 0 || *bad)
		return;
	t->collations = mem_zalloc(n * sizeof t->collations[0]);
	t->ncollations = (uint16_t)n;
	for (size_t i = 0; i < n; i++)
		read_collation(json_array_get(v, i), &t->collations[i], bad);
	if (t->collations[0].oid != DEFAULT_COLLATION_OID)
		*bad = true;
}

static void read_leaves(const json_t *v, struct pg_table *t, bool *bad)
{
	if (!json_is_array(v))
		*bad = true;
	size_t n = json_array_size(v);
	if (n == 0)
		return;
	t->leaves = mem_alloc(n * sizeof t->leaves[0]);
	t->nleaves = (uint32_t)n;
	for (size_t i = 0; i < n; i++)
		t->leaves[i] = (uint32_t)read_int(json_array_get(v, i), 1, UINT32_MAX, bad);
}

/* Keys and members, of the stored form or of what the statement makes. */
static void read_keys(const json_t *v, struct pg_table *t, bool *bad)
{
	t->keys = (enum pg_keys)read_int(json_object_get(v, "keys"), PG_KEYS_UNIQUE, PG_KEYS_UNKNOWN, bad);
	const json_t *clash = json_object_get(v, "clash"), *members = json_object_get(v, "members");
	t->clash = json_is_null(clash) ? NULL : read_name(clash, bad);
	size_t n = json_array_size(members);
	if (!json_is_array(members))
		*bad = true;
	if (n == 0)
		return;
	t->members = mem_zalloc(n * sizeof t->members[0]);
	t->nmembers = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		const json_t *m = json_array_get(members, i);
		t->members[i].oid = (uint32_t)read_int(json_array_get(m, 0), 1, UINT32_MAX, bad);
		t->members[i].schema = read_name(json_array_get(m, 1), bad);
		t->members[i].name = read_name(json_array_get(m, 2), bad);
	}
}

/* The version before had neither: a primary key was believed to be one, and children had their parent's name. */
static void keys_of_before(struct pg_table *t)
{
	bool keyed = false;
	for (uint16_t i = 0; i < t->ncolumns; i++)
		keyed = keyed || t->columns[i].pk_index >= 0;
	t->keys = keyed && (t->relkind == 'p' || t->nleaves == 0) ? PG_KEYS_UNIQUE : PG_KEYS_UNKNOWN;
}

static void read_denied(const json_t *v, struct pg_table *t, bool *bad)
{
	if (v != NULL && !json_is_array(v))
		*bad = true;
	for (size_t i = 0; i < json_array_size(v); i++) {
		int64_t attnum = read_int(json_array_get(v, i), 1, INT16_MAX, bad);
		for (uint16_t k = 0; k < t->ncolumns; k++)
			t->columns[k].denied = t->columns[k].denied || t->columns[k].attnum == attnum;
	}
}

/* NULL if the value isn't what pg_table_to_json() writes. */
static struct pg_table *table_from_value(const json_t *v, bool has_keys)
{
	bool bad = false;
	const json_t *columns = json_object_get(v, "columns");
	size_t n = json_array_size(columns);
	if (n == 0 || n > TABLE_COLUMNS_MAX)
		return NULL;
	struct pg_table *t = pg_table_new((uint16_t)n);
	t->oid = (uint32_t)read_int(json_object_get(v, "oid"), 1, UINT32_MAX, &bad);
	t->schema = read_name(json_object_get(v, "schema"), &bad);
	t->name = read_name(json_object_get(v, "name"), &bad);
	const char *relkind = json_string_value(json_object_get(v, "relkind"));
	if (relkind == NULL || (strcmp(relkind, "r") != 0 && strcmp(relkind, "p") != 0))
		bad = true;
	else
		t->relkind = relkind[0];
	for (size_t i = 0; i < n; i++)
		read_column(json_array_get(columns, i), &t->columns[i], &bad);
	read_denied(json_object_get(v, "denied"), t, &bad);
	t->tableoid_denied = json_is_true(json_object_get(v, "tableoid_denied"));
	read_leaves(json_object_get(v, "leaves"), t, &bad);
	if (has_keys)
		read_keys(v, t, &bad);
	else
		keys_of_before(t);
	read_types(json_object_get(v, "types"), t, &bad);
	read_collations(json_object_get(v, "collations"), t, &bad);
	if (bad || !pg_table_finish(t)) {
		pg_table_unref(t);
		return NULL;
	}
	return t;
}

int pg_table_from_json(const char *p, size_t len, struct pg_table **out, struct err *e)
{
	json_error_t why;
	json_t *v = json_loadb(p, len, JSON_REJECT_DUPLICATES, &why);
	if (v == NULL)
		return err_set(e, ERR_PROTOCOL, "a stored table isn't JSON: %s", why.text);
	int rc = 0;
	json_int_t version = json_integer_value(json_object_get(v, "v"));
	if (version < TABLE_JSON_VERSION_OLDEST || version > TABLE_JSON_VERSION)
		rc = err_set(e, ERR_PROTOCOL, "a stored table isn't of version %d", TABLE_JSON_VERSION);
	else if ((*out = table_from_value(v, version > TABLE_JSON_VERSION_OLDEST)) == NULL)
		rc = err_set(e, ERR_PROTOCOL, "a stored table lacks parts or has wrong ones");
	json_decref(v);
	return rc;
}

bool pg_table_identical(const struct pg_table *a, const struct pg_table *b)
{
	struct buf x = BUF_INIT(TABLE_JSON_MAX_BYTES), y = BUF_INIT(TABLE_JSON_MAX_BYTES);
	pg_table_to_json(a, &x);
	pg_table_to_json(b, &y);
	bool same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
	buf_clear(&x);
	buf_clear(&y);
	return same;
}

bool pg_table_parse_more(const char *text, struct pg_table *t)
{
	bool bad = false;
	json_t *v = json_loads(text, 0, NULL);
	read_types(json_object_get(v, "types"), t, &bad);
	read_collations(json_object_get(v, "collations"), t, &bad);
	read_keys(json_object_get(v, "keys"), t, &bad);
	json_decref(v);
	return !bad;
}
