/* explain_main.c - `busbar explain`: its arguments, the tables from the database, the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"
#include "base/mem.h"
#include "ops/explain.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "shapes/core/def.h"

#define PARAMS_MAX 1000
#define ANSWER_BYTES_MAX (32u << 20)

struct options {
	const char *table, *where;
	struct where_param params[PARAMS_MAX];
	size_t nparams;
	bool json, help;
};

/* What is asked for, with the tables that have been looked up. */
struct asked {
	const struct options *o;
	const struct config *config;
	PGconn *conn;
	struct arena arena;
	struct pg_table *tables[EXPLAIN_PARTS_MAX]; /* references; the first one is the shape's */
	size_t ntables;
};

void explain_usage(FILE *out)
{
	fputs("  busbar explain --table T [--where W] [--param N=V ...] [--json]\n"
	      "                         what the condition costs, by which index a change finds it, and how to write it better;\n"
	      "                         asks the database for the tables that are named, and alters nothing\n",
	      out);
}

static int usage(FILE *out)
{
	explain_usage(out);
	return out == stdout ? 0 : 2;
}

/* N=V, N from 1 */
static bool take_param(struct options *o, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (text[0] < '1' || text[0] > '9' || *end != '=' || n > PARAMS_MAX)
		return false;
	o->params[n - 1] = (struct where_param){end + 1, strlen(end + 1)};
	o->nparams = n > o->nparams ? n : o->nparams;
	return true;
}

static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 0; i < argc; i++) {
		bool last = i + 1 == argc;
		if (strcmp(argv[i], "--json") == 0)
			o->json = true;
		else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			o->help = true;
		else if (strcmp(argv[i], "--table") == 0 && !last)
			o->table = argv[++i];
		else if (strcmp(argv[i], "--where") == 0 && !last)
			o->where = argv[++i];
		else if (strcmp(argv[i], "--param") != 0 || last || !take_param(o, argv[++i]))
			return false;
	}
	return o->help || o->table != NULL;
}

/* Without a secret, which nobody needs here, too. */
static int load(struct config *c, struct err *e)
{
	if (getenv("ELECTRIC_SECRET") == NULL)
		setenv("ELECTRIC_INSECURE", "true", 1);
	return config_load(c, NULL, e);
}

static int look_up(struct asked *a, const struct def_table_name *name, struct err *e)
{
	struct pg_table *t = NULL;
	struct def_error missing;
	int rc = pg_catalog_lookup(a->conn, name->schema, name->name, &t, e);
	if (rc == 1) {
		def_no_such_table(&a->arena, name, &missing);
		return err_set(e, ERR_REQUEST, "%s", missing.text);
	}
	if (rc != 0)
		return -1;
	a->tables[a->ntables++] = t;
	return 0;
}

static int connect_read_only(struct asked *a, struct err *e)
{
	a->conn = pg_connect(a->config, PG_ROLE_ADMIN, e);
	return a->conn != NULL ? pg_catalog_read_only(a->conn, e) : -1;
}

struct telling {
	struct asked *a;
	struct where_tables *tables;
	struct err *e;
};

static bool look_up_inner(void *ctx, const struct def_table_name *name)
{
	struct telling *t = ctx;
	int rc = look_up(t->a, name, t->e);
	t->tables->n = t->a->ntables;
	return rc == 0;
}

static int explain_it(struct asked *a, struct explain *x, struct err *e)
{
	const struct options *o = a->o;
	struct where_tables tables = {.list = (const struct pg_table *const *)a->tables, .n = a->ntables};
	struct telling t = {a, &tables, e};
	struct explain_input in = {.table = a->tables[0], .tables = &tables, .where = o->where, .params = {o->params, o->nparams}};
	char message[WHERE_MESSAGE_MAX];
	in.where_len = o->where != NULL ? strlen(o->where) : 0;
	enum explain_result result = explain_condition(&in, look_up_inner, &t, x, message);
	if (result == EXPLAIN_REFUSED)
		return err_set(e, ERR_REQUEST, "The condition is refused: %s", message);
	return result == EXPLAIN_DONE ? 0 : -1;
}

static int ask(struct asked *a, struct explain *x, struct err *e)
{
	struct def_table_name name;
	struct def_error complaint;
	if (def_parse_table(&a->arena, a->o->table, strlen(a->o->table), &name, &complaint) != 0)
		return err_set(e, ERR_REQUEST, "--table %s", complaint.text);
	if (connect_read_only(a, e) != 0 || look_up(a, &name, e) != 0)
		return -1;
	return explain_it(a, x, e);
}

int explain_main(int argc, char **argv)
{
	struct options *o = mem_zalloc(sizeof *o);
	struct explain *x = mem_zalloc(sizeof *x);
	struct config c;
	struct asked a = {.o = o, .config = &c};
	struct err e = {0};
	struct buf out = BUF_INIT(ANSWER_BYTES_MAX);
	int rc = 1;
	bool parsed = parse(argc, argv, o);
	if (!parsed || o->help) {
		rc = usage(parsed ? stdout : stderr);
		goto options;
	}
	log_init(LOG_EMERGENCY);
	if (load(&c, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		goto options;
	}
	if (ask(&a, x, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		goto all;
	}
	(o->json ? explain_put_json : explain_put_text)(x, &out);
	rc = out.failed || fwrite(out.data, 1, out.len, stdout) != out.len;
all:
	explain_clear(x);
	for (size_t i = 0; i < a.ntables; i++)
		pg_table_unref(a.tables[i]);
	pg_disconnect(&a.conn);
	arena_clear(&a.arena);
	config_clear(&c);
	buf_clear(&out);
options:
	free(x);
	free(o);
	return rc;
}
