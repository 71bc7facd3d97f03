/*
 * admin_explain.c - /admin/explain: `busbar explain` of a running Busbar, with the tables as its requests look them up. Waits for that
 * on the listener's own thread, a few seconds at most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "ops/admin_private.h"
#include "ops/explain.h"
#include "ops/fields.h"
#include "ops/query.h"
#include "shapes/core/def.h"
#include "shapes/core/wait.h"
#include "shapes/shapes.h"

#define PARAMS_MAX 32
#define NAME_BYTES_MAX 100
#define LOOKUPS_MAX_MS 5000
#define WHERE_BYTES_MAX 16384 /* a request line has less */

struct asked {
	struct shapes *shapes;
	struct arena arena;
	struct table_lookup *lookups[EXPLAIN_PARTS_MAX]; /* what was found lives as long as these */
	const struct pg_table *tables[EXPLAIN_PARTS_MAX];
	size_t n;
	int64_t until_ms; /* for all look-ups: others wait for this thread */
	char where[WHERE_BYTES_MAX];
	char values[PARAMS_MAX][1024];
	struct where_param params[PARAMS_MAX];
	size_t nparams;
};

/* As table_lookup_result(), but 2: nobody has answered in time. */
static int await(struct table_lookup *l, int64_t until_ms, struct pg_table **table, struct err *e)
{
	struct waiting w;
	int64_t left_ms;
	int rc;
	waiting_init(&w);
	while ((rc = table_lookup_result(l, &w.waiter, table, e)) == 2 && (left_ms = until_ms - clock_mono_ms()) > 0)
		waiting_nap(&w, left_ms);
	waiting_clear(&w);
	return rc;
}

/* 0, or the status of a refusal. */
static unsigned look_up(struct asked *a, const struct def_table_name *name, const char *param, struct buf *out)
{
	struct pg_table *table;
	struct err e = {0};
	struct def_error missing;
	struct table_lookup *l = a->lookups[a->n] = shapes_table_lookup(a->shapes, name->schema, name->name);
	int rc = await(l, a->until_ms, &table, &e);
	if (rc == 0) {
		a->tables[a->n++] = table;
		return 0;
	}
	table_lookup_unref(l);
	if (rc == 1)
		def_no_such_table(&a->arena, name, &missing);
	return field_refusal(out, param, rc == 1 ? missing.text : rc == 2 ? "Postgres doesn't say in time what the table is" : e.text);
}

/* The number of `1` or `params[1]`, as requests for shapes have it; 0: neither. */
static size_t param_number(const char *name)
{
	static const char open[] = "params[";
	bool bracketed = strncmp(name, open, sizeof open - 1) == 0;
	const char *digits = bracketed ? name + sizeof open - 1 : name;
	size_t n = strspn(digits, "0123456789");
	if (n == 0 || n > 2 || digits[0] == '0' || strcmp(digits + n, bracketed ? "]" : "") != 0)
		return 0;
	return strtoul(digits, NULL, 10);
}

/* A value may come once; nothing that isn't known is passed over. 0, or the status of a refusal. */
static unsigned read_names(struct asked *a, const char *query, struct buf *out)
{
	char name[NAME_BYTES_MAX], value[sizeof a->values[0]];
	bool given[PARAMS_MAX] = {false}, table = false, where = false;
	size_t n;
	int rc;
	for (const char *at = query, *from = at; (rc = query_next(&at, name, sizeof name, NULL, 0)) != 0; from = at) {
		if (rc < 0)
			return field_refusal(out, "parameters", "a name is no text, or too long");
		bool *named = strcmp(name, "table") == 0 ? &table : strcmp(name, "where") == 0 ? &where : NULL;
		if (named != NULL && *named)
			return field_refusal(out, name, "it is given twice");
		if (named != NULL) {
			*named = true;
			continue;
		}
		if ((n = param_number(name)) == 0 || n > PARAMS_MAX)
			return field_refusal(out, name, n == 0 ? "there is no such parameter: table, where and params[1], params[2], … are, the last also as 1, 2, …"
			                                       : "there may be 32 values");
		if (query_next(&from, name, sizeof name, value, sizeof value) < 0)
			return field_refusal(out, name, "it is no text, or too long");
		if (given[n - 1])
			return field_refusal(out, name, "it is given twice");
		given[n - 1] = true;
		memcpy(a->values[n - 1], value, sizeof value);
		a->nparams = a->nparams < n ? n : a->nparams;
	}
	for (n = 0; n < a->nparams; n++) {
		if (!given[n]) {
			snprintf(name, sizeof name, "params[%zu]", n + 1);
			return field_refusal(out, name, "it must be given: values are numbered from 1 without a gap");
		}
		a->params[n] = (struct where_param){a->values[n], strlen(a->values[n])};
	}
	return 0;
}

/* What a look-up for explain_condition() needs beside what is asked, and its refusal's status. */
struct telling {
	struct asked *a;
	struct where_tables *tables;
	struct buf *out;
	unsigned status;
};

static bool look_up_inner(void *ctx, const struct def_table_name *name)
{
	struct telling *t = ctx;
	t->status = look_up(t->a, name, "where", t->out);
	t->tables->n = t->a->n;
	return t->status == 0;
}

static unsigned tell(struct asked *a, struct explain *x, struct buf *out)
{
	char message[WHERE_MESSAGE_MAX];
	struct where_tables tables = {.list = a->tables, .n = a->n};
	struct telling t = {.a = a, .tables = &tables, .out = out};
	struct explain_input in = {.table = a->tables[0], .tables = &tables, .params = {a->params, a->nparams}};
	in.where = a->where[0] != '\0' ? a->where : NULL;
	in.where_len = strlen(a->where);
	switch (explain_condition(&in, look_up_inner, &t, x, message)) {
	case EXPLAIN_DONE:
		explain_put_json(x, out);
		return 200;
	case EXPLAIN_LACKS:
		return t.status;
	default:
		return field_refusal(out, "where", message);
	}
}

static unsigned read_query(struct asked *a, const char *query, struct buf *out)
{
	char text[512];
	struct def_table_name name;
	struct def_error complaint;
	unsigned status = read_names(a, query, out);
	if (status != 0)
		return status;
	if (query_param(query, "table", text, sizeof text) != 1)
		return field_refusal(out, "table", "it must be given");
	if (query_param(query, "where", a->where, sizeof a->where) < 0)
		return field_refusal(out, "where", "it is no text, or too long");
	if (def_parse_table(&a->arena, text, strlen(text), &name, &complaint) != 0)
		return field_refusal(out, "table", complaint.text);
	return look_up(a, &name, "table", out);
}

unsigned admin_explain(void *ctx, const char *query, struct buf *out)
{
	const struct admin *admin = ctx;
	struct asked *a = mem_zalloc(sizeof *a);
	struct explain *x = mem_zalloc(sizeof *x);
	a->shapes = admin->ops->shapes;
	a->until_ms = clock_mono_ms() + LOOKUPS_MAX_MS;
	unsigned status = read_query(a, query, out);
	if (status == 0)
		status = tell(a, x, out);
	explain_clear(x);
	for (size_t i = 0; i < a->n; i++)
		table_lookup_unref(a->lookups[i]);
	arena_clear(&a->arena);
	free(x);
	free(a);
	return status;
}
