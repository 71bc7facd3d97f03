/*
 * same.c - whether a table's columns still mean what they meant when a shape was made of them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pg/table/make.h"
#include "pg/table/table.h"

#define VARCHAR_OID 1043
#define NUMERIC_OID 1700

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* A type and its components at any depth, each once, into `list`; returns how many. */
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
