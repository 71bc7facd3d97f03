/*
 * table.c - the life of a table description, what it is asked for, and the electric-schema header.
 */
#include "pg/table/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pg/table/make.h"

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

struct pg_table *pg_table_new(uint16_t ncolumns)
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

bool pg_table_finish(struct pg_table *t)
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

/* COMPAT: by type name alone and with Electric's limits of each kind (docs/protocol.md 4.5), among
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
