/*
 * catalog.c - table descriptions from the catalog, their stored JSON, and the electric-schema header.
 *
 * A lookup is one statement, so that name, columns, key and partitions are of one moment.
 */
#include "pg/catalog.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pg/query.h"

#define TABLE_JSON_VERSION 3
#define TABLE_JSON_VERSION_OLDEST 2 /* knows nothing of keys, members and the parts of types */
#define TABLE_COLUMNS_MAX 1600            /* Postgres's own */
#define TABLE_JSON_MAX_BYTES (16u << 20)  /* 1,600 columns and 100,000 partitions are 2 MB */
#define BOOL_OID 16
#define VARCHAR_OID 1043
#define NUMERIC_OID 1700
#define DEFAULT_COLLATION_OID 100
#define VARLENA_HEADER_BYTES 4            /* counted in the typmod of text types and numeric */

/* ---- life cycle ---- */

struct pg_table *pg_table_ref(struct pg_table *t)
{
	uint32_t before = atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	REQUIRE(before > 0);
	return t;
}

static void type_clear(struct pg_type *y)
{
	for (uint16_t i = 0; i < y->nlabels; i++)
		free(y->labels[i]);
	free(y->labels);
	for (uint16_t i = 0; i < y->nparts; i++)
		free(y->parts[i].name);
	free(y->parts);
	free(y->schema);
	free(y->name);
}

static void collation_clear(struct pg_collation *c)
{
	free(c->schema);
	free(c->name);
	free(c->collate);
	free(c->ctype);
	free(c->version);
}

void pg_table_unref(struct pg_table *t)
{
	if (t == NULL)
		return;
	uint32_t before = atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel);
	REQUIRE(before > 0);
	if (before > 1)
		return;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		free(t->columns[i].name);
		free(t->columns[i].type_name);
	}
	for (uint16_t i = 0; i < t->ntypes; i++)
		type_clear(&t->types[i]);
	for (uint16_t i = 0; i < t->ncollations; i++)
		collation_clear(&t->collations[i]);
	free(t->types);
	free(t->collations);
	free(t->columns);
	free(t->pk);
	free(t->leaves);
	for (uint32_t i = 0; i < t->nmembers; i++) {
		free(t->members[i].schema);
		free(t->members[i].name);
	}
	free(t->members);
	free(t->clash);
	free(t->schema);
	free(t->name);
	free(t->schema_json);
	free(t);
}

static struct pg_table *table_new(uint16_t ncolumns)
{
	struct pg_table *t = mem_zalloc(sizeof *t);
	atomic_init(&t->refs, 1);
	t->ncolumns = ncolumns;
	t->columns = mem_zalloc(ncolumns * sizeof t->columns[0]);
	return t;
}

bool pg_table_has_leaf(const struct pg_table *t, uint32_t oid)
{
	for (uint32_t i = 0; i < t->nleaves; i++)
		if (t->leaves[i] == oid)
			return true;
	return false;
}

const struct pg_member *pg_table_member(const struct pg_table *t, uint32_t oid)
{
	for (uint32_t i = 0; i < t->nmembers; i++)
		if (t->members[i].oid == oid)
			return &t->members[i];
	return NULL;
}

int pg_table_column(const struct pg_table *t, const char *name, size_t len)
{
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		const char *have = t->columns[i].name;
		if (strlen(have) == len && memcmp(have, name, len) == 0)
			return i;
	}
	return -1;
}

const struct pg_type *pg_table_type(const struct pg_table *t, uint32_t oid)
{
	for (uint16_t i = 0; i < t->ntypes; i++)
		if (t->types[i].oid == oid)
			return &t->types[i];
	return NULL;
}

/* Fills pk from the columns' pk_index, which must be 0 to n-1, each once. */
static bool table_index_pk(struct pg_table *t)
{
	uint16_t n = 0;
	for (uint16_t i = 0; i < t->ncolumns; i++)
		if (t->columns[i].pk_index >= 0)
			n++;
	if (n == 0)
		return true;
	t->npk = n;
	t->pk = mem_alloc(n * sizeof t->pk[0]);
	memset(t->pk, 0xff, n * sizeof t->pk[0]);
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		int at = t->columns[i].pk_index;
		if (at < 0)
			continue;
		if (at >= n || t->pk[at] != UINT16_MAX)
			return false;
		t->pk[at] = i;
	}
	return true;
}

static int by_name(const void *a, const void *b, void *columns)
{
	const struct pg_column *c = columns;
	return strcmp(c[*(const uint16_t *)a].name, c[*(const uint16_t *)b].name);
}

/* What a new table needs once its columns are there; false if they make no sense. */
static bool table_finish(struct pg_table *t)
{
	if (!table_index_pk(t) || t->ncollations == 0)
		return false;
	for (uint16_t i = 0; i < t->ncolumns; i++)
		if (t->columns[i].collation >= t->ncollations)
			return false;
	uint16_t *all = mem_alloc(t->ncolumns * sizeof *all);
	for (uint16_t i = 0; i < t->ncolumns; i++)
		all[i] = i;
	qsort_r(all, t->ncolumns, sizeof *all, by_name, t->columns);
	struct buf json = BUF_INIT(TABLE_JSON_MAX_BYTES);
	pg_table_schema_json(t, all, t->ncolumns, &json);
	free(all);
	t->schema_json = buf_detach(&json, NULL); /* NULL past the maximum: only a damaged stored form has such names */
	buf_clear(&json);
	return t->schema_json != NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* A type of a table, and what it is made of, at any depth: each once, in `list`; returns how many. */
static size_t type_closure(const struct pg_table *t, uint32_t oid, const struct pg_type **list, bool *seen)
{
	size_t n = 0;
	const struct pg_type *first = pg_table_type(t, oid);
	memset(seen, 0, t->ntypes * sizeof *seen);
	if (first == NULL)
		return 0;
	seen[first - t->types] = true;
	list[n++] = first;
	for (size_t at = 0; at < n; at++) {
		const struct pg_type *y = list[at];
		for (uint32_t k = 0; k < 2u + y->nparts; k++) {
			const struct pg_type *below = pg_table_type(t, k == 0 ? y->elem_oid : k == 1 ? y->base_oid : y->parts[k - 2].type_oid);
			if (below == NULL || seen[below - t->types])
				continue;
			seen[below - t->types] = true;
			list[n++] = below;
		}
	}
	return n;
}

/* Holds for a type of the column and all it is made of, as they were then and are now. */
static bool each_type(const struct pg_table *then, const struct pg_table *now, uint32_t oid,
                      bool (*holds)(const struct pg_type *a, const struct pg_type *b))
{
	if (pg_table_type(then, oid) == NULL)
		return true;
	const struct pg_type **list = mem_alloc(then->ntypes * sizeof *list);
	bool *seen = mem_alloc(then->ntypes * sizeof *seen), all = true;
	size_t n = type_closure(then, oid, list, seen);
	for (size_t i = 0; all && i < n; i++) {
		const struct pg_type *b = pg_table_type(now, list[i]->oid);
		all = b != NULL && holds(list[i], b);
	}
	free(list);
	free(seen);
	return all;
}

static bool same_parts(const struct pg_type *a, const struct pg_type *b, bool names)
{
	bool same = a->nparts == b->nparts;
	for (uint16_t i = 0; same && i < a->nparts; i++)
		same = a->parts[i].id == b->parts[i].id && a->parts[i].type_oid == b->parts[i].type_oid &&
		       a->parts[i].typmod == b->parts[i].typmod && (!names || strcmp(a->parts[i].name, b->parts[i].name) == 0);
	return same || !a->parts_known || !b->parts_known;
}

static bool type_is_same(const struct pg_type *a, const struct pg_type *b)
{
	if (a->kind != b->kind || a->elem_oid != b->elem_oid || a->base_oid != b->base_oid || a->base_typmod != b->base_typmod ||
	    a->nlabels != b->nlabels || strcmp(a->schema, b->schema) != 0 || strcmp(a->name, b->name) != 0)
		return false;
	for (uint16_t i = 0; i < a->nlabels; i++)
		if (strcmp(a->labels[i], b->labels[i]) != 0)
			return false;
	return same_parts(a, b, true);
}

static bool same_type(const struct pg_table *then, const struct pg_table *now, uint32_t oid)
{
	return (pg_table_type(then, oid) == NULL) == (pg_table_type(now, oid) == NULL) && each_type(then, now, oid, type_is_same);
}

static bool same_collation(const struct pg_collation *a, const struct pg_collation *b)
{
	return a->oid == b->oid && a->provider == b->provider && a->deterministic == b->deterministic &&
	       strcmp(a->schema, b->schema) == 0 && strcmp(a->name, b->name) == 0 && strcmp(a->collate, b->collate) == 0 &&
	       strcmp(a->ctype, b->ctype) == 0 && same_text(a->version, b->version);
}

bool pg_column_same_meaning(const struct pg_table *then, const struct pg_column *a, const struct pg_table *now,
                            const struct pg_column *b)
{
	if (a->type_oid != b->type_oid || a->typmod != b->typmod || (a->collation < 0) != (b->collation < 0))
		return false;
	if (a->collation >= 0 && !same_collation(&then->collations[a->collation], &now->collations[b->collation]))
		return false;
	return same_type(then, now, a->type_oid);
}

static bool typmod_keeps_values(uint32_t type_oid, int32_t then, int32_t now)
{
	/* numeric: precision in the upper half, scale in the lower. */
	uint32_t was = (uint32_t)then - VARLENA_HEADER_BYTES, is = (uint32_t)now - VARLENA_HEADER_BYTES;
	if (now == then || now == -1)
		return true;
	if (then == -1)
		return false;
	if (type_oid == VARCHAR_OID)
		return now > then;
	return type_oid == NUMERIC_OID && (was & 0xffff) == (is & 0xffff) && is > was;
}

static bool has_label(const struct pg_type *t, const char *label)
{
	for (uint16_t i = 0; i < t->nlabels; i++)
		if (strcmp(t->labels[i], label) == 0)
			return true;
	return false;
}

/* Each label of then is there, and is what it was. */
static bool keeps_labels(const struct pg_type *a, const struct pg_type *b)
{
	bool by_oid = a->parts_known && b->parts_known && a->nparts == a->nlabels && b->nparts == b->nlabels;
	for (uint16_t i = 0; i < a->nlabels; i++) {
		if (!by_oid && !has_label(b, a->labels[i]))
			return false;
		uint16_t at = 0;
		while (by_oid && at < b->nparts && b->parts[at].id != a->parts[i].id)
			at++;
		if (by_oid && (at == b->nparts || strcmp(a->labels[i], b->labels[at]) != 0))
			return false;
	}
	return true;
}

/* The text of a value is what it was. Names of attributes aren't in it. */
static bool type_keeps_values(const struct pg_type *a, const struct pg_type *b)
{
	return keeps_labels(a, b) && (a->kind == 'e' || same_parts(a, b, false));
}

bool pg_column_keeps_values(const struct pg_table *then, const struct pg_column *a, const struct pg_table *now,
                            const struct pg_column *b)
{
	return a->type_oid == b->type_oid && typmod_keeps_values(a->type_oid, a->typmod, b->typmod) &&
	       each_type(then, now, a->type_oid, type_keeps_values);
}

static bool same_members(const struct pg_table *then, const struct pg_table *now)
{
	bool same = then->nmembers == now->nmembers;
	for (uint32_t i = 0; same && i < then->nmembers; i++) {
		const struct pg_member *a = &then->members[i], *b = &now->members[i];
		same = a->oid == b->oid && strcmp(a->schema, b->schema) == 0 && strcmp(a->name, b->name) == 0;
	}
	return same;
}

bool pg_table_same_columns(const struct pg_table *then, const struct pg_table *now)
{
	if (then->ncolumns != now->ncolumns || then->npk != now->npk || then->keys != now->keys || !same_members(then, now) ||
	    !same_collation(&then->collations[0], &now->collations[0]))
		return false;
	for (uint16_t i = 0; i < then->ncolumns; i++) {
		const struct pg_column *a = &then->columns[i], *b = &now->columns[i];
		/* not_null only shows in the header. A typmod matters: numeric(10,2) to numeric(10,4) rewrites
		 * the values without a word in the stream. */
		if (a->attnum != b->attnum || a->generated != b->generated || a->is_bool != b->is_bool || a->pk_index != b->pk_index ||
		    strcmp(a->name, b->name) != 0 || !pg_column_same_meaning(then, a, now, b))
			return false;
	}
	return true;
}

/* ---- the electric-schema header ---- */

/* The field mask of an interval's typmod, bits as Postgres numbers them (YEAR 2, MONTH 1, DAY 3,
 * HOUR 10, MINUTE 11, SECOND 12). */
static const char *interval_fields(uint32_t mask)
{
	static const struct {
		uint32_t mask;
		const char *text;
	} names[] = {
		{0x0004, "YEAR"},           {0x0002, "MONTH"},          {0x0008, "DAY"},
		{0x0400, "HOUR"},           {0x0800, "MINUTE"},         {0x1000, "SECOND"},
		{0x0006, "YEAR TO MONTH"},  {0x0408, "DAY TO HOUR"},    {0x0C08, "DAY TO MINUTE"},
		{0x1C08, "DAY TO SECOND"},  {0x0C00, "HOUR TO MINUTE"}, {0x1C00, "HOUR TO SECOND"},
		{0x1800, "MINUTE TO SECOND"},
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].mask == mask)
			return names[i].text;
	return NULL;
}

static void put_interval_modifiers(uint32_t typmod, struct buf *out)
{
	const char *fields = interval_fields(typmod >> 16);
	if (fields != NULL)
		buf_printf(out, ",\"fields\":\"%s\"", fields);
	if ((typmod & 0xffff) != 0xffff)
		buf_printf(out, ",\"precision\":%u", typmod & 0xffff);
}

static bool one_of(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* COMPAT: by type name alone and with Electric's limits of each kind (reference http.md 4.5), among
 * them `time(0)`, which comes out as type_mod and not as a precision. */
static void put_modifiers(const struct pg_column *c, struct buf *out)
{
	static const char *const text_types[] = {"varchar", "text"};
	static const char *const bit_types[] = {"bit", "varbit"};
	static const char *const time_types[] = {"time", "timetz", "timestamp", "timestamptz"};
	int32_t mod = c->typmod;
	const char *type = c->type_name;
	if (mod > 0 && one_of(type, text_types, ARRAY_LEN(text_types))) {
		buf_printf(out, ",\"max_length\":%" PRId32, mod - VARLENA_HEADER_BYTES);
	} else if (mod > 0 && strcmp(type, "bpchar") == 0) {
		buf_printf(out, ",\"length\":%" PRId32, mod - VARLENA_HEADER_BYTES);
	} else if (one_of(type, bit_types, ARRAY_LEN(bit_types))) {
		buf_printf(out, ",\"length\":%" PRId32, mod);
	} else if (mod > 0 && one_of(type, time_types, ARRAY_LEN(time_types))) {
		buf_printf(out, ",\"precision\":%" PRId32, mod);
	} else if (mod > -1 && strcmp(type, "numeric") == 0) {
		uint32_t m = (uint32_t)mod - VARLENA_HEADER_BYTES;
		buf_printf(out, ",\"precision\":%d,\"scale\":%d", (int16_t)(m >> 16), (int16_t)(m & 0xffff));
	} else if (mod > -1 && strcmp(type, "interval") == 0) {
		put_interval_modifiers((uint32_t)mod, out);
	} else if (mod > -1) {
		buf_printf(out, ",\"type_mod\":%" PRId32, mod);
	}
}

void pg_table_schema_json(const struct pg_table *t, const uint16_t *selected, uint16_t nselected, struct buf *out)
{
	buf_putc(out, '{');
	for (uint16_t i = 0; i < nselected; i++) {
		REQUIRE(selected[i] < t->ncolumns);
		const struct pg_column *c = &t->columns[selected[i]];
		if (i > 0)
			buf_putc(out, ',');
		buf_json_string(out, c->name, strlen(c->name));
		buf_puts(out, ":{\"type\":");
		buf_json_string(out, c->type_name, strlen(c->type_name));
		if (c->dims > 0)
			buf_printf(out, ",\"dims\":%d", c->dims);
		put_modifiers(c, out);
		if (c->pk_index >= 0)
			buf_printf(out, ",\"pk_index\":%d", c->pk_index);
		if (c->not_null)
			buf_puts(out, ",\"not_null\":true");
		buf_putc(out, '}');
	}
	buf_putc(out, '}');
}

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
	struct pg_table *t = table_new((uint16_t)n);
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
	if (bad || !table_finish(t)) {
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

/* ---- the catalog ----
 *
 * One row per column. The partitions' oids come with the first row only, and so do types, collations and what is
 * known of keys, as they are stored. An index guards the keys of a table (or of a child by inheritance) if it is valid
 * and unique without a condition, over columns of the key alone, none of which can be null twice. What a type is made of
 * is followed down to the last; type names are of the element for
 * columns with declared dimensions. Types below FIRST_UNPINNED_OID are those of pg_type.dat. What a major
 * version calls a locale, and where it keeps the provider, is read through JSON, so that one statement
 * serves all of them.
 */
#define FIRST_UNPINNED_OID "10000"
/* clang-format off */
#define LOOKUP_SQL(condition) \
	"WITH RECURSIVE rel AS (" \
	"  SELECT c.oid, n.nspname, c.relname, c.relkind" \
	"  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace" \
	"  WHERE c.relkind IN ('r', 'p') AND " condition \
	"), down (oid) AS (" \
	"  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN rel ON rel.oid = i.inhparent" \
	"  UNION" \
	"  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN down ON down.oid = i.inhparent" \
	"), members (oid) AS (" \
	"  SELECT oid FROM rel" \
	"  UNION" \
	"  SELECT down.oid FROM down JOIN rel ON rel.relkind = 'r'" \
	"    JOIN pg_catalog.pg_class k ON k.oid = down.oid AND k.relkind = 'r'" \
	"), keyed (name) AS (" \
	"  SELECT a.attname FROM rel" \
	"    JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped" \
	"    LEFT JOIN pg_catalog.pg_index x ON x.indrelid = rel.oid AND x.indisprimary" \
	"  WHERE x.indexrelid IS NULL OR pg_catalog.array_position(x.indkey::pg_catalog.int2[], a.attnum) < x.indnkeyatts" \
	"), guarded (oid, keys) AS (" \
	"  SELECT members.oid, coalesce(pg_catalog.min(CASE x.indimmediate WHEN true THEN 0 WHEN false THEN 1 END), 2)" \
	"  FROM members LEFT JOIN pg_catalog.pg_index x ON x.indrelid = members.oid AND x.indisunique AND x.indisvalid" \
	"    AND x.indpred IS NULL AND NOT EXISTS (" \
	"      SELECT FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) i (at)" \
	"        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[i.at]" \
	"          AND a.attname IN (SELECT keyed.name FROM keyed)" \
	"      WHERE a.attnum IS NULL OR (NOT coalesce((pg_catalog.to_jsonb(x)->>'indnullsnotdistinct')::pg_catalog.bool, false)" \
	"        AND (NOT a.attnotnull OR EXISTS (" \
	"          SELECT FROM pg_catalog.pg_constraint n WHERE n.conrelid = x.indrelid AND n.contype = 'n'" \
	"            AND n.conkey[1] = a.attnum AND NOT n.convalidated))))" \
	"  GROUP BY members.oid" \
	"), keys (json) AS (" \
	"  SELECT pg_catalog.json_build_object(" \
	"    'keys', CASE WHEN pg_catalog.max(g.keys) = 2 AND pg_catalog.bool_or(p.has) THEN 3 ELSE pg_catalog.max(g.keys) END," \
	"    'clash', pg_catalog.min(pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname))" \
	"      FILTER (WHERE g.keys = 2 AND p.has)," \
	"    'members', coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::pg_catalog.int8, n.nspname::pg_catalog.text," \
	"      c.relname::pg_catalog.text) ORDER BY c.oid) FILTER (WHERE c.oid <> rel.oid), '[]'))" \
	"  FROM guarded g JOIN pg_catalog.pg_class c ON c.oid = g.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace," \
	"    rel, LATERAL (SELECT EXISTS (" \
	"      SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = rel.oid AND x.indisprimary)) p (has)" \
	"), below (oid) AS (" \
	"  SELECT a.atttypid FROM rel" \
	"    JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped" \
	"  UNION" \
	"  SELECT x.oid FROM below JOIN pg_catalog.pg_type t ON t.oid = below.oid AND t.oid >= " FIRST_UNPINNED_OID "," \
	"  LATERAL (" \
	"   SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END" \
	"   WHERE t.typtype = 'd' OR t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc" \
	"   UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a" \
	"   WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped" \
	"   UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.typtype = 'r' AND r.rngtypid = t.oid" \
	"   UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE t.typtype = 'm' AND r.rngmultitypid = t.oid" \
	"  ) x (oid)" \
	"), types (list) AS (" \
	"  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(t.oid::pg_catalog.int8, n.nspname::pg_catalog.text," \
	"    t.typname::pg_catalog.text, t.typtype::pg_catalog.text," \
	"    CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc AND t.typtype <> 'd'" \
	"      THEN t.typelem::pg_catalog.int8 ELSE 0 END," \
	"    t.typbasetype::pg_catalog.int8, t.typtypmod," \
	"    coalesce((SELECT pg_catalog.json_agg(l.enumlabel::pg_catalog.text ORDER BY l.enumsortorder)" \
	"      FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid), '[]')," \
	"    coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_array(p.id, p.type, p.typmod, p.name) ORDER BY p.at) FROM (" \
	"      SELECT l.oid::pg_catalog.int8, 0, -1, '', l.enumsortorder FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid" \
	"      UNION ALL SELECT a.attnum, a.atttypid::pg_catalog.int8, a.atttypmod, a.attname::pg_catalog.text, a.attnum" \
	"      FROM pg_catalog.pg_attribute a" \
	"      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped" \
	"      UNION ALL SELECT 0, r.rngsubtype::pg_catalog.int8, -1, '', 0 FROM pg_catalog.pg_range r" \
	"      WHERE t.typtype = 'r' AND r.rngtypid = t.oid" \
	"      UNION ALL SELECT 0, r.rngtypid::pg_catalog.int8, -1, '', 0 FROM pg_catalog.pg_range r" \
	"      WHERE t.typtype = 'm' AND r.rngmultitypid = t.oid" \
	"    ) p (id, type, typmod, name, at)), '[]')) ORDER BY t.oid)" \
	"  FROM below JOIN pg_catalog.pg_type t ON t.oid = below.oid AND t.oid >= " FIRST_UNPINNED_OID \
	"    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace" \
	"), collations (list) AS (" \
	"  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::pg_catalog.int8, n.nspname::pg_catalog.text," \
	"    c.collname::pg_catalog.text, x.provider, c.collisdeterministic," \
	"    CASE x.provider WHEN 'c' THEN x.lc_collate ELSE x.locale END," \
	"    CASE x.provider WHEN 'c' THEN x.lc_ctype ELSE x.locale END," \
	"    x.version) ORDER BY c.oid <> 100, c.oid)" \
	"  FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace," \
	"    LATERAL (" \
	"      SELECT coalesce(d.j->>'datlocprovider', 'c'), d.j->>'datcollate', d.j->>'datctype'," \
	"        coalesce(d.j->>'datlocale', d.j->>'daticulocale', d.j->>'datcollate'), d.j->>'datcollversion'" \
	"      FROM (SELECT pg_catalog.to_jsonb(b) FROM pg_catalog.pg_database b" \
	"        WHERE b.datname = pg_catalog.current_database()) d (j)" \
	"      WHERE c.oid = 100" \
	"      UNION ALL" \
	"      SELECT c.collprovider::pg_catalog.text, k.j->>'collcollate', k.j->>'collctype'," \
	"        coalesce(k.j->>'colllocale', k.j->>'colliculocale', k.j->>'collcollate'), c.collversion" \
	"      FROM (SELECT pg_catalog.to_jsonb(c)) k (j)" \
	"      WHERE c.oid <> 100" \
	"    ) x (provider, lc_collate, lc_ctype, locale, version)" \
	"  WHERE c.oid = 100 OR c.oid IN (SELECT a.attcollation FROM rel" \
	"    JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped)" \
	") " \
	"SELECT rel.oid, rel.nspname, rel.relname, rel.relkind," \
	"  CASE WHEN a.attnum = pg_catalog.min(a.attnum) OVER () THEN" \
	"    (SELECT pg_catalog.string_agg(k.oid::pg_catalog.text, ' ' ORDER BY k.oid)" \
	"     FROM down JOIN pg_catalog.pg_class k ON k.oid = down.oid AND k.relkind IN ('r', 'p')) END," \
	"  a.attname, a.attnum, a.atttypid, a.atttypmod," \
	"  COALESCE(CASE WHEN a.attndims > 0 THEN el.typname END, ty.typname)," \
	"  a.attndims, a.attnotnull, a.attgenerated," \
	"  a.atttypid = 16 OR (ty.typtype = 'd' AND EXISTS (" \
	"    WITH RECURSIVE base (oid) AS (" \
	"      SELECT ty.typbasetype" \
	"      UNION SELECT b.typbasetype FROM base JOIN pg_catalog.pg_type b ON b.oid = base.oid AND b.typtype = 'd'" \
	"    ) SELECT 1 FROM base WHERE base.oid = 16))," \
	"  CASE WHEN pk.at < pk.n THEN pk.at ELSE -1 END, a.attcollation," \
	"  CASE WHEN a.attnum = pg_catalog.min(a.attnum) OVER () THEN" \
	"    (SELECT pg_catalog.json_build_object('types', coalesce(types.list, '[]'), 'collations', collations.list," \
	"       'keys', keys.json) FROM types, collations, keys) END," \
	"  NOT pg_catalog.has_column_privilege(reader.name, rel.oid, a.attnum, 'SELECT')," \
	"  NOT pg_catalog.has_column_privilege(reader.name, rel.oid, 'tableoid', 'SELECT') " \
	"FROM rel CROSS JOIN (SELECT coalesce((SELECT r.rolname FROM pg_catalog.pg_roles r" \
	"    WHERE r.rolname = pg_catalog.current_setting('" PG_READER_SETTING "', true)), CURRENT_USER) AS name) reader" \
	"  JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped" \
	"  JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid" \
	"  LEFT JOIN pg_catalog.pg_type el ON el.oid = ty.typelem AND ty.typelem <> 0" \
	"  LEFT JOIN LATERAL (" /* an int2vector counts from 0; behind indnkeyatts are INCLUDEd columns */ \
	"    SELECT pg_catalog.array_position(x.indkey::pg_catalog.int2[], a.attnum) AS at, x.indnkeyatts AS n" \
	"    FROM pg_catalog.pg_index x WHERE x.indrelid = rel.oid AND x.indisprimary) pk ON true " \
	"ORDER BY a.attnum"
/* clang-format on */

enum {
	COL_OID, COL_SCHEMA, COL_NAME, COL_RELKIND, COL_LEAVES, COL_ATTNAME, COL_ATTNUM, COL_TYPE, COL_TYPMOD,
	COL_TYPE_NAME, COL_DIMS, COL_NOT_NULL, COL_GENERATED, COL_IS_BOOL, COL_PK_INDEX,
	COL_COLLATION, COL_MORE, COL_DENIED, COL_TABLEOID_DENIED,
};

/* "16390 16401" */
static void parse_leaves(const char *s, struct pg_table *t)
{
	uint32_t n = s[0] != '\0';
	for (const char *p = s; *p != '\0'; p++)
		if (*p == ' ')
			n++;
	if (n == 0)
		return;
	t->leaves = mem_alloc(n * sizeof t->leaves[0]);
	for (char *end; *s != '\0'; s = *end == ' ' ? end + 1 : end) {
		uint32_t oid = (uint32_t)strtoul(s, &end, 10);
		if (end == s)
			break;
		t->leaves[t->nleaves++] = oid;
	}
}

/* Types, collations and keys; false if that isn't what the statement makes. */
static bool parse_more(const char *text, struct pg_table *t)
{
	bool bad = false;
	json_t *v = json_loads(text, 0, NULL);
	read_types(json_object_get(v, "types"), t, &bad);
	read_collations(json_object_get(v, "collations"), t, &bad);
	read_keys(json_object_get(v, "keys"), t, &bad);
	json_decref(v);
	return !bad;
}

/* The place of a collation in the table's list; -1 for 0, beyond the list if it isn't there. */
static int collation_index(const struct pg_table *t, uint32_t oid)
{
	if (oid == 0)
		return -1;
	int at = 0;
	while (at < t->ncollations && t->collations[at].oid != oid)
		at++;
	return at;
}

/* Always a table; one whose parts don't fit has columns with impossible collations, and table_finish() refuses it. */
static struct pg_table *table_from_rows(const PGresult *res)
{
	struct pg_table *t = table_new((uint16_t)PQntuples(res));
	t->oid = pg_value_oid(res, 0, COL_OID);
	t->schema = mem_strdup(pg_value(res, 0, COL_SCHEMA));
	t->name = mem_strdup(pg_value(res, 0, COL_NAME));
	t->relkind = pg_value(res, 0, COL_RELKIND)[0];
	parse_leaves(pg_value(res, 0, COL_LEAVES), t);
	bool fits = parse_more(pg_value(res, 0, COL_MORE), t);
	t->tableoid_denied = t->nmembers > 0 && pg_value_bool(res, 0, COL_TABLEOID_DENIED);
	for (int i = 0; i < PQntuples(res); i++)
		t->columns[i] = (struct pg_column){
			.name = mem_strdup(pg_value(res, i, COL_ATTNAME)),
			.attnum = (int16_t)pg_value_int(res, i, COL_ATTNUM),
			.type_oid = pg_value_oid(res, i, COL_TYPE),
			.typmod = (int32_t)pg_value_int(res, i, COL_TYPMOD),
			.type_name = mem_strdup(pg_value(res, i, COL_TYPE_NAME)),
			.dims = (int)pg_value_int(res, i, COL_DIMS),
			.not_null = pg_value_bool(res, i, COL_NOT_NULL),
			.generated = pg_value(res, i, COL_GENERATED)[0] != '\0',
			.is_virtual = pg_value(res, i, COL_GENERATED)[0] == 'v',
			.is_bool = pg_value_bool(res, i, COL_IS_BOOL),
			.pk_index = (int)pg_value_int(res, i, COL_PK_INDEX),
			.denied = pg_value_bool(res, i, COL_DENIED),
			.collation = fits ? collation_index(t, pg_value_oid(res, i, COL_COLLATION)) : t->ncollations,
		};
	return t;
}

static int lookup(PGconn *conn, const char *sql, int nparams, const char *const *params, struct pg_table **out,
                  struct err *e)
{
	*out = NULL;
	PGresult *res = pg_query(conn, sql, nparams, params, e);
	if (res == NULL)
		return -1;
	int n = PQntuples(res), rc = 0;
	if (n == 0) {
		rc = 1;
	} else if (n > TABLE_COLUMNS_MAX) {
		rc = err_set(e, ERR_PROTOCOL, "table %s has %d columns", pg_value(res, 0, COL_NAME), n);
	} else {
		struct pg_table *t = table_from_rows(res);
		if (table_finish(t)) {
			*out = t;
		} else {
			rc = err_set(e, ERR_PROTOCOL, "what the catalog says of table %s makes no sense", t->name);
			pg_table_unref(t);
		}
	}
	PQclear(res);
	return rc;
}

int pg_catalog_lookup(PGconn *conn, const char *schema, const char *name, struct pg_table **out, struct err *e)
{
	/* As text: a parameter of type name would be cut to 63 bytes and find another table. */
	static const char sql[] = LOOKUP_SQL("n.nspname = $1::pg_catalog.text AND c.relname = $2::pg_catalog.text");
	return lookup(conn, sql, 2, (const char *const[]){schema, name}, out, e);
}

int pg_catalog_lookup_oid(PGconn *conn, uint32_t oid, struct pg_table **out, struct err *e)
{
	static const char sql[] = LOOKUP_SQL("c.oid = $1::pg_catalog.oid");
	char text[12];
	snprintf(text, sizeof text, "%" PRIu32, oid);
	return lookup(conn, sql, 1, (const char *const[]){text}, out, e);
}

int pg_catalog_ancestors(PGconn *conn, uint32_t oid, uint32_t *out, int max, struct err *e)
{
	/* A table can inherit from one ancestor on several ways: the shortest counts. */
	static const char sql[] =
		"WITH RECURSIVE up (oid, depth) AS ("
		"  SELECT inhparent, 1 FROM pg_catalog.pg_inherits WHERE inhrelid = $1::pg_catalog.oid"
		"  UNION"
		"  SELECT i.inhparent, up.depth + 1 FROM pg_catalog.pg_inherits i JOIN up ON up.oid = i.inhrelid"
		") SELECT oid FROM up GROUP BY oid ORDER BY pg_catalog.min(depth), oid";
	char text[12];
	snprintf(text, sizeof text, "%" PRIu32, oid);
	PGresult *res = pg_query(conn, sql, 1, (const char *const[]){text}, e);
	if (res == NULL)
		return -1;
	int n = PQntuples(res);
	if (n > max)
		n = max;
	for (int i = 0; i < n; i++)
		out[i] = pg_value_oid(res, i, 0);
	PQclear(res);
	return n;
}

int pg_catalog_unseen_parents(PGconn *conn, uint32_t xid, uint32_t **out, struct err *e)
{
	/* A transaction holds its locks until all others see what it did. Whatever gives a table a child (CREATE,
	 * ATTACH, INHERIT) takes at least ShareUpdateExclusive on it. One look at pg_locks, for one picture. */
	static const char sql[] =
		"WITH RECURSIVE l AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE granted),"
		" up (oid) AS ("
		"  SELECT l.relation FROM l JOIN l x ON x.virtualtransaction = l.virtualtransaction"
		"  WHERE x.locktype = 'transactionid' AND x.transactionid = $1::pg_catalog.xid AND x.mode = 'ExclusiveLock'"
		"  AND l.locktype = 'relation'"
		"  AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
		"  UNION"
		"  SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN up ON up.oid = i.inhrelid"
		") SELECT oid FROM up";
	char text[12];
	snprintf(text, sizeof text, "%" PRIu32, xid);
	PGresult *res = pg_query(conn, sql, 1, (const char *const[]){text}, e);
	if (res == NULL)
		return -1;
	int n = PQntuples(res);
	*out = mem_alloc((size_t)n * sizeof **out);
	for (int i = 0; i < n; i++)
		(*out)[i] = pg_value_oid(res, i, 0);
	PQclear(res);
	return n;
}
