/*
 * shape_test.h - what the tests of src/shapes share: tables and definitions from a few words.
 *
 * A table is written as `id:23:pk0 name:25 ok:16:bool`: columns with their type's oid; a name is taken
 * as it stands, with any character but a space and a colon. Texts have the database's collation, C.UTF-8.
 */
#ifndef BUSBAR_TESTS_SHAPE_TEST_H
#define BUSBAR_TESTS_SHAPE_TEST_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/engine.h"
#include "store_test.h"

static inline void table_column_json(struct buf *out, int attnum, char *spec)
{
	char *rest = NULL, *name = strtok_r(spec, ":", &rest), *part;
	unsigned long type = 25;
	int pk = -1, is_bool = 0, not_null = 0, generated = 0;
	while ((part = strtok_r(NULL, ":", &rest)) != NULL) {
		if (strncmp(part, "pk", 2) == 0)
			pk = atoi(part + 2);
		else if (strcmp(part, "bool") == 0)
			is_bool = 1;
		else if (strcmp(part, "notnull") == 0)
			not_null = 1;
		else if (strcmp(part, "generated") == 0)
			generated = 1;
		else
			type = strtoul(part, NULL, 10);
	}
	buf_puts(out, attnum > 1 ? ",[" : "[");
	buf_json_string(out, name, strlen(name));
	int collation = type == 25 || type == 1043 || type == 1042 || type == 1009 || type == 1015 || type == 1014 ? 0 : -1;
	buf_printf(out, ",%d,%lu,-1,\"t%lu\",0,%s,%s,%s,%d,%d]", attnum, type, type, not_null || pk >= 0 ? "true" : "false",
	           generated ? "true" : "false", is_bool ? "true" : "false", pk, collation);
}

static inline struct pg_table *table_make(uint32_t oid, const char *schema, const char *name, const char *columns)
{
	struct buf json = BUF_INIT((size_t)1 << 20);
	buf_printf(&json, "{\"v\":2,\"oid\":%u,\"schema\":", oid);
	buf_json_string(&json, schema, strlen(schema));
	buf_puts(&json, ",\"name\":");
	buf_json_string(&json, name, strlen(name));
	buf_puts(&json, ",\"relkind\":\"r\",\"columns\":[");
	char *copy = mem_strdup(columns), *rest = NULL;
	int attnum = 1;
	for (char *spec = strtok_r(copy, " ", &rest); spec != NULL; spec = strtok_r(NULL, " ", &rest))
		table_column_json(&json, attnum++, spec);
	buf_puts(&json, "],\"leaves\":[],\"types\":[],\"collations\":"
	                "[[100,\"pg_catalog\",\"default\",\"c\",true,\"C.UTF-8\",\"C.UTF-8\",null]]}");
	struct pg_table *t = NULL;
	struct err e;
	if (pg_table_from_json(json.data, json.len, &t, &e) != 0) {
		printf("table %s: %s\n%s\n", name, e.text, json.data);
		exit(2);
	}
	buf_clear(&json);
	free(copy);
	return t;
}

static inline int def_by_name(const void *a, const void *b, void *table)
{
	const struct pg_table *t = table;
	return strcmp(t->columns[*(const uint16_t *)a].name, t->columns[*(const uint16_t *)b].name);
}

/* Takes the reference to the table. `columns`: names with spaces between, NULL for all. */
static inline struct shape_def def_make(struct pg_table *t, const char *columns, enum shape_replica replica)
{
	struct shape_def d = {.table = t, .replica = replica, .explicit_columns = columns != NULL, .selects_all = columns == NULL};
	d.selected = mem_alloc(t->ncolumns * sizeof *d.selected);
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		size_t n = strlen(t->columns[i].name);
		const char *in = columns != NULL ? strstr(columns, t->columns[i].name) : "";
		if (columns == NULL || (in != NULL && (in == columns || in[-1] == ' ') && (in[n] == ' ' || in[n] == '\0')))
			d.selected[d.nselected++] = i;
	}
	qsort_r(d.selected, d.nselected, sizeof *d.selected, def_by_name, t);
	d.identity = mem_strdup("identity");
	d.identity_len = strlen(d.identity);
	return d;
}

#endif
