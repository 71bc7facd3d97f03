/*
 * types.c - built-in types, made once from catalog_data.c's lines.
 */
#include "where/types.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/catalog_data.h"

static const struct where_io *const io_tables[] = {where_io_number, where_io_datetime, where_io_text, where_io_json};

static struct where_type *types;           /* by oid */
static const struct where_type **by_name;
static size_t ntypes;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- built-in types --------------------------------------------------------------------------------- */

static const struct where_io *find_io(const char *name)
{
	for (size_t t = 0; t < sizeof io_tables / sizeof *io_tables; t++)
		for (const struct where_io *io = io_tables[t]; io->type; io++)
			if (strcmp(io->type, name) == 0)
				return io;
	return NULL;
}

static int oid_order(const void *oid, const void *item)
{
	uint32_t a = *(const uint32_t *)oid, b = ((const struct where_type *)item)->oid;
	return (a > b) - (a < b);
}

static int name_order(const void *a, const void *b)
{
	return strcmp((*(const struct where_type *const *)a)->name, (*(const struct where_type *const *)b)->name);
}

static int with_name(const void *name, const void *item)
{
	return strcmp(name, (*(const struct where_type *const *)item)->name);
}

static const struct where_type *find_type(uint32_t oid)
{
	return bsearch(&oid, types, ntypes, sizeof *types, oid_order);
}

static void load(void)
{
	char *pos = mem_strdup(where_catalog_types), *f[CATALOG_FIELDS_MAX]; /* kept: names point into it */
	size_t max = catalog_lines(pos);
	types = mem_alloc(max * sizeof *types);
	by_name = mem_alloc(max * sizeof *by_name);
	while (ntypes < max && catalog_line(&pos, f) == 7)
		types[ntypes++] = (struct where_type){
			.oid = (uint32_t)strtoul(f[0], NULL, 10),
			.name = f[1],
			.kind = f[2][0],
			.category = f[3][0],
			.preferred = strchr(f[4], 'p') != NULL,
			.collatable = strchr(f[4], 'c') != NULL,
			.elem_oid = (uint32_t)strtoul(f[5], NULL, 10),
			.array_oid = (uint32_t)strtoul(f[6], NULL, 10),
		};
	for (size_t i = 0; i < ntypes; i++) {
		struct where_type *t = &types[i];
		if (t->elem_oid != 0)
			t->elem = find_type(t->elem_oid);
		else
			t->io = find_io(t->name);
		by_name[i] = t;
	}
	qsort(by_name, ntypes, sizeof *by_name, name_order);
}

const struct where_type *where_type_builtin(uint32_t oid)
{
	pthread_once(&once, load);
	return find_type(oid);
}

const struct where_type *where_type_by_name(const char *name)
{
	pthread_once(&once, load);
	const struct where_type **found = bsearch(name, by_name, ntypes, sizeof *by_name, with_name);
	return found ? *found : NULL;
}
