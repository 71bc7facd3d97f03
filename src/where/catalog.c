/*
 * catalog.c - operators, functions and casts by oid and by name, made once of catalog_data.c's lines, and
 * functions bound to their implementations by Postgres's internal name.
 */
#include "where/catalog.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/catalog_data.h"

#define PROC_DATE_PART_DATE 1384 /* date_part(text, date): the one SQL function of two arguments whose body casts one */

static const struct where_impl *const impl_tables[] = {where_impl_number, where_impl_datetime, where_impl_text,
                                                       where_impl_array, where_impl_json};

/* Procs, operators and casts are in the order of the data: by oid, casts by source and target. */
static struct {
	struct where_proc *procs;
	const struct where_impl **proc_impls; /* parallel to procs */
	const struct where_proc **procs_by_name;
	size_t nprocs;
	struct where_oper *opers;
	const struct where_oper **opers_by_name;
	size_t nopers;
	struct where_cast *casts;
	size_t ncasts;
} catalog;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t number(const char *field)
{
	return (uint32_t)strtoul(field, NULL, 10);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static void read_proc(struct where_proc *p, char *const *fields, int n)
{
	*p = (struct where_proc){
		.oid = number(fields[0]),
		.name = fields[1],
		.prosrc = strcmp(fields[2], "=") == 0 ? fields[1] : fields[2],
		.result = number(fields[3]),
		.volatility = fields[4][0],
		.strict = strchr(fields[4] + 1, 's') != NULL,
		.inlined = number(fields[0]) == PROC_DATE_PART_DATE,
		.retset = strchr(fields[4] + 1, 'r') != NULL,
		.ndefaults = (uint8_t)number(fields[5]),
		.variadic = number(fields[6]),
	};
	for (int i = 7; i < n && p->nargs < WHERE_PROC_ARGS_MAX; i++)
		p->args[p->nargs++] = number(fields[i]);
}

static void read_procs(void)
{
	char *pos = mem_strdup(where_catalog_procs), *fields[CATALOG_FIELDS_MAX]; /* kept: names point into it */
	size_t max = catalog_lines(pos);
	catalog.procs = mem_alloc(max * sizeof *catalog.procs);
	int n;
	while (catalog.nprocs < max && (n = catalog_line(&pos, fields)) >= 7)
		read_proc(&catalog.procs[catalog.nprocs++], fields, n);
}

static void read_opers(void)
{
	char *pos = mem_strdup(where_catalog_opers), *fields[CATALOG_FIELDS_MAX]; /* kept */
	size_t max = catalog_lines(pos);
	catalog.opers = mem_alloc(max * sizeof *catalog.opers);
	while (catalog.nopers < max && catalog_line(&pos, fields) == 8)
		catalog.opers[catalog.nopers++] = (struct where_oper){
			.oid = number(fields[0]),
			.name = fields[1],
			.left = number(fields[2]),
			.right = number(fields[3]),
			.result = number(fields[4]),
			.proc = number(fields[5]),
			.commutator = number(fields[6]),
			.negator = number(fields[7]),
		};
}

static void read_casts(void)
{
	char *text = mem_strdup(where_catalog_casts), *pos = text, *fields[CATALOG_FIELDS_MAX];
	size_t max = catalog_lines(pos);
	catalog.casts = mem_alloc(max * sizeof *catalog.casts);
	while (catalog.ncasts < max && catalog_line(&pos, fields) == 5)
		catalog.casts[catalog.ncasts++] = (struct where_cast){
			.source = number(fields[0]),
			.target = number(fields[1]),
			.proc = number(fields[2]),
			.context = fields[3][0],
			.method = fields[4][0],
		};
	free(text);
}

/* ---- indexes ---------------------------------------------------------------------------------------- */

static int by_oid(uint32_t a, uint32_t b)
{
	return (a > b) - (a < b);
}

static int proc_order(const void *a, const void *b)
{
	const struct where_proc *x = *(const struct where_proc *const *)a, *y = *(const struct where_proc *const *)b;
	int c = strcmp(x->name, y->name);
	return c != 0 ? c : by_oid(x->oid, y->oid);
}

static int oper_order(const void *a, const void *b)
{
	const struct where_oper *x = *(const struct where_oper *const *)a, *y = *(const struct where_oper *const *)b;
	int c = strcmp(x->name, y->name);
	return c != 0 ? c : by_oid(x->oid, y->oid);
}

static int impl_order(const void *a, const void *b)
{
	return strcmp((*(const struct where_impl *const *)a)->prosrc, (*(const struct where_impl *const *)b)->prosrc);
}

static int impl_named(const void *prosrc, const void *item)
{
	return strcmp(prosrc, (*(const struct where_impl *const *)item)->prosrc);
}

static void bind_impls(void)
{
	size_t n = 0, tables = sizeof impl_tables / sizeof *impl_tables;
	for (size_t t = 0; t < tables; t++)
		for (const struct where_impl *i = impl_tables[t]; i->prosrc; i++)
			n++;
	const struct where_impl **all = mem_alloc((n + 1) * sizeof *all);
	n = 0;
	for (size_t t = 0; t < tables; t++)
		for (const struct where_impl *i = impl_tables[t]; i->prosrc; i++)
			all[n++] = i;
	qsort(all, n, sizeof *all, impl_order);
	catalog.proc_impls = mem_zalloc(catalog.nprocs * sizeof *catalog.proc_impls);
	for (size_t i = 0; i < catalog.nprocs; i++) {
		const struct where_impl **found = bsearch(catalog.procs[i].prosrc, all, n, sizeof *all, impl_named);
		if (found)
			catalog.proc_impls[i] = *found;
	}
	free(all);
}

static void load(void)
{
	read_procs();
	read_opers();
	read_casts();
	catalog.procs_by_name = mem_alloc(catalog.nprocs * sizeof *catalog.procs_by_name);
	for (size_t i = 0; i < catalog.nprocs; i++)
		catalog.procs_by_name[i] = &catalog.procs[i];
	qsort(catalog.procs_by_name, catalog.nprocs, sizeof *catalog.procs_by_name, proc_order);
	catalog.opers_by_name = mem_alloc(catalog.nopers * sizeof *catalog.opers_by_name);
	for (size_t i = 0; i < catalog.nopers; i++)
		catalog.opers_by_name[i] = &catalog.opers[i];
	qsort(catalog.opers_by_name, catalog.nopers, sizeof *catalog.opers_by_name, oper_order);
	bind_impls();
}

/* ---- looking up ------------------------------------------------------------------------------------- */

static int proc_with_oid(const void *oid, const void *item)
{
	return by_oid(*(const uint32_t *)oid, ((const struct where_proc *)item)->oid);
}

static int oper_with_oid(const void *oid, const void *item)
{
	return by_oid(*(const uint32_t *)oid, ((const struct where_oper *)item)->oid);
}

static int cast_between(const void *types, const void *item)
{
	const uint32_t *key = types;
	const struct where_cast *cast = item;
	return key[0] != cast->source ? by_oid(key[0], cast->source) : by_oid(key[1], cast->target);
}

static int proc_with_name(const void *name, const void *item)
{
	return strcmp(name, (*(const struct where_proc *const *)item)->name);
}

static int oper_with_name(const void *name, const void *item)
{
	return strcmp(name, (*(const struct where_oper *const *)item)->name);
}

const struct where_proc *where_proc_by_oid(uint32_t oid)
{
	pthread_once(&once, load);
	return bsearch(&oid, catalog.procs, catalog.nprocs, sizeof *catalog.procs, proc_with_oid);
}

const struct where_oper *where_oper_by_oid(uint32_t oid)
{
	pthread_once(&once, load);
	return bsearch(&oid, catalog.opers, catalog.nopers, sizeof *catalog.opers, oper_with_oid);
}

const struct where_cast *where_cast_find(uint32_t source, uint32_t target)
{
	pthread_once(&once, load);
	uint32_t key[2] = {source, target};
	return bsearch(key, catalog.casts, catalog.ncasts, sizeof *catalog.casts, cast_between);
}

const struct where_proc *const *where_procs_named(const char *name, size_t *n)
{
	pthread_once(&once, load);
	const struct where_proc **end = catalog.procs_by_name + catalog.nprocs;
	const struct where_proc **first = bsearch(name, catalog.procs_by_name, catalog.nprocs, sizeof *first, proc_with_name);
	const struct where_proc **last = first;
	*n = 0;
	if (!first)
		return NULL;
	while (first > catalog.procs_by_name && strcmp(first[-1]->name, name) == 0)
		first--;
	while (last < end && strcmp((*last)->name, name) == 0)
		last++;
	*n = (size_t)(last - first);
	return first;
}

const struct where_oper *const *where_opers_named(const char *name, size_t *n)
{
	pthread_once(&once, load);
	const struct where_oper **end = catalog.opers_by_name + catalog.nopers;
	const struct where_oper **first = bsearch(name, catalog.opers_by_name, catalog.nopers, sizeof *first, oper_with_name);
	const struct where_oper **last = first;
	*n = 0;
	if (!first)
		return NULL;
	while (first > catalog.opers_by_name && strcmp(first[-1]->name, name) == 0)
		first--;
	while (last < end && strcmp((*last)->name, name) == 0)
		last++;
	*n = (size_t)(last - first);
	return first;
}

const struct where_impl *where_impl_of(const struct where_proc *p)
{
	pthread_once(&once, load);
	return catalog.proc_impls[p - catalog.procs];
}
