/* table.c - see table.h. */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wal/pgoutput.h"

static const char *const labels[] = {"sad",
                                     "ok",
                                     "happy",
                                     "So So",
                                     "\xc3\xbc"
                                     "ber",
                                     "it's",
                                     NULL};

static const char setup_sql[] = "DROP SCHEMA IF EXISTS truth CASCADE; CREATE SCHEMA truth;"
								"CREATE TYPE truth.mood AS ENUM ('sad', 'ok', 'happy', 'So So', '\xc3\xbc"
								"ber', 'it''s');"
								"CREATE DOMAIN truth.small AS int CHECK (VALUE < 1000000);"
								"CREATE DOMAIN truth.code AS varchar(10);"
								"CREATE DOMAIN truth.amount AS numeric(12,3);"
								"CREATE DOMAIN truth.tags AS text[];"
								"CREATE DOMAIN truth.feeling AS truth.mood;"
								"CREATE DOMAIN truth.smaller AS truth.small CHECK (VALUE <> 7)";

/* Columns besides one of each type. */
static const struct {
	const char *name, *sql;
	uint32_t type;
} extras[] = {
	{"Mixed Case", "text", OID_TEXT},
	{"sel\"ect", "int", OID_INT4},
	{"\xc3\xbc", "text COLLATE \"C\"", OID_TEXT},
	{"posix", "varchar(8) COLLATE \"POSIX\"", OID_VARCHAR},
	{"vc3", "varchar(3)", OID_VARCHAR},
	{"c1", "char", OID_BPCHAR},
	{"c6", "char(6)", OID_BPCHAR},
	{"n52", "numeric(5,2)", OID_NUMERIC},
	{"n10", "numeric(10)", OID_NUMERIC},
	{"ts0", "timestamp(0)", OID_TIMESTAMP},
	{"tz3", "timestamptz(3)", OID_TIMESTAMPTZ},
	{"t2", "time(2)", OID_TIME},
	{"iv0", "interval(0)", OID_INTERVAL},
	{"small", "truth.small", OID_INT4},
	{"smaller", "truth.smaller", OID_INT4},
	{"code", "truth.code", OID_VARCHAR},
	{"amount", "truth.amount", OID_NUMERIC},
	{"tags", "truth.tags", 1009},
	{"i1", "int", OID_INT4},
	{"i2", "int", OID_INT4},
	{"big", "bigint", OID_INT8},
	{"b1", "boolean", OID_BOOL},
	{"b2", "boolean", OID_BOOL},
	{"txt", "text", OID_TEXT},
	{"price", "numeric", OID_NUMERIC},
	{"vc2a", "varchar(2)[]", 1015},
	{"n31a", "numeric(3,1)[]", 1231},
	{"js", "jsonb", OID_JSONB},
	{"f", "float8", OID_FLOAT8},
};

static void die(PGconn *conn, const char *what)
{
	fprintf(stderr, "truth: %s: %s", what, PQerrorMessage(conn));
	exit(2);
}

static PGresult *must(PGconn *conn, const char *sql)
{
	PGresult *res = PQexec(conn, sql);
	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		die(conn, sql);
	return res;
}

static void run(PGconn *conn, const char *sql)
{
	PQclear(must(conn, sql));
}

static uint32_t oid_of(PGconn *conn, const char *type)
{
	char sql[128];
	snprintf(sql, sizeof sql, "SELECT '%s'::regtype::oid", type);
	PGresult *res = must(conn, sql);
	uint32_t oid = (uint32_t)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
	PQclear(res);
	return oid;
}

PGconn *table_connect(const char *url)
{
	PGconn *conn = PQconnectdb(url);
	if (PQstatus(conn) != CONNECTION_OK)
		die(conn, "can't connect");
	/* The five settings of every session of ours, and what keeps a test short. */
	run(conn, "SET client_min_messages = error; SET bytea_output = hex; SET DateStyle = 'ISO, DMY'; SET TimeZone = UTC;"
	          "SET extra_float_digits = 1; SET IntervalStyle = iso_8601; SET statement_timeout = '2s'; SET jit = off;"
	          "SET search_path = truth, public; SET client_encoding = UTF8");
	return conn;
}

const char *const *table_enum_labels(void)
{
	return labels;
}

/* ---- columns ---------------------------------------------------------------------------------------- */

static void add_column(struct table *t, struct buf *ddl, const char *name, const char *sql, uint32_t type)
{
	buf_puts(ddl, ", \"");
	for (const char *p = name; *p; p++)
		buf_printf(ddl, *p == '"' ? "\"\"" : "%c", *p);
	buf_printf(ddl, "\" %s", sql);
	t->columns[t->ncolumns++] = (struct gen_column){
		mem_strdup(name), type, strncmp(sql, "truth.", 6) == 0 && strncmp(sql, "truth.mood", 10) != 0};
}

static void add_types(PGconn *conn, struct table *t)
{
	memcpy(t->types, gen_builtin_types, gen_nbuiltin_types * sizeof *t->types);
	t->ntypes = gen_nbuiltin_types;
	t->enum_oid = oid_of(conn, "truth.mood");
	t->types[t->ntypes++] = (struct gen_type){t->enum_oid, "truth.mood", labels, 0, 'E'};
	t->types[t->ntypes++] = (struct gen_type){oid_of(conn, "truth.mood[]"), "truth.mood[]", NULL, t->enum_oid, 'A'};
}

static void add_columns(struct gen *g, struct table *t, struct buf *ddl)
{
	char name[64];
	for (size_t i = 0; i < t->ntypes; i++) {
		const struct gen_type *type = &t->types[i];
		if (type->category == 'P')
			continue;
		snprintf(name, sizeof name, "c_%s", type->sql);
		name[strcspn(name, "[")] = '\0';
		for (char *p = name; *p; p++)
			if (*p < 'a' || *p > 'z')
				*p = *p >= '0' && *p <= '9' ? *p : '_';
		if (type->elem)
			snprintf(name + strlen(name), sizeof name - strlen(name), "_a");
		add_column(t, ddl, name, type->sql, type->oid);
	}
	for (size_t i = 0; i < sizeof extras / sizeof *extras; i++)
		if (gen_random(g, 10) < 8)
			add_column(t, ddl, extras[i].name, extras[i].sql, extras[i].type);
	add_column(t, ddl, "feeling", "truth.feeling", t->enum_oid);
}

/* ---- rows ------------------------------------------------------------------------------------------- */

static void identifier(struct buf *out, const char *name)
{
	buf_putc(out, '"');
	for (; *name; name++)
		buf_printf(out, *name == '"' ? "\"\"" : "%c", *name);
	buf_putc(out, '"');
}

/* Values that don't fit the column (its length, its domain) leave it null. */
static void fill(PGconn *conn, struct gen *g, struct table *t)
{
	for (int row = 1; row < TABLE_ROWS; row++)
		for (size_t i = 1; i < t->ncolumns; i++) {
			struct buf sql = BUF_INIT(1 << 16), value = BUF_INIT(1 << 16);
			if (gen_random(g, 100) < 12)
				continue;
			gen_value(g, gen_find_type(g, t->columns[i].type), &value);
			/* Rounded up, the last moment becomes one that Postgres itself can't read again. */
			if (strcmp(t->columns[i].name, "ts0") == 0 || strcmp(t->columns[i].name, "tz3") == 0)
				if (strncmp(value.data, "294276", 6) == 0)
					value.data[5] = '5';
			if (t->columns[i].type == OID_TEXT && gen_random(g, 100) == 0)
				for (int n = 0; n < 300; n++)
					buf_puts(&value, "long text ");
			buf_puts(&sql, "UPDATE truth.staging SET ");
			identifier(&sql, t->columns[i].name);
			buf_printf(&sql, " = $1 WHERE id = %d", row);
			const char *values[] = {value.data ? value.data : ""};
			PQclear(PQexecParams(conn, sql.data, 1, NULL, values, NULL, NULL, 0));
			buf_clear(&sql);
			buf_clear(&value);
		}
}

static void keep_row(struct table *t, int row, const struct wal_tuple *tuple)
{
	if (row >= TABLE_ROWS || tuple->ncolumns != t->catalog->ncolumns) {
		fprintf(stderr, "truth: a row of %d columns, the table has %d\n", tuple->ncolumns, t->catalog->ncolumns);
		exit(2);
	}
	for (uint16_t i = 0; i < tuple->ncolumns; i++) {
		const struct wal_value *v = &tuple->values[i];
		t->rows[row][i] = (struct where_text){.null = v->kind == WAL_NULL};
		if (v->kind == WAL_TEXT)
			t->rows[row][i] = (struct where_text){mem_strndup(v->data, v->len), v->len, false};
	}
}

/* The rows as a replication slot sends them. */
static void read_rows(PGconn *conn, struct table *t)
{
	static const char sql[] =
		"SELECT data FROM pg_logical_slot_get_binary_changes('truth_slot', NULL, NULL, 'proto_version', '1', "
		"'publication_names', 'truth_publication')";
	PGresult *res = PQexecParams(conn, sql, 0, NULL, NULL, NULL, NULL, 1);
	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		die(conn, "reading the slot");
	struct pgoutput *decoder = pgoutput_new();
	struct wal_change change;
	struct err e;
	int row = 0;
	for (int i = 0; i < PQntuples(res); i++) {
		if (pgoutput_parse(decoder, PQgetvalue(res, i, 0), (size_t)PQgetlength(res, i, 0), &change, &e) != 0) {
			fprintf(stderr, "truth: %s\n", e.text);
			exit(2);
		}
		if (change.kind == WAL_INSERT)
			keep_row(t, row++, &change.u.row.new_tuple);
	}
	if (row != TABLE_ROWS) {
		fprintf(stderr, "truth: %d rows came, %d were written\n", row, TABLE_ROWS);
		exit(2);
	}
	pgoutput_free(decoder);
	PQclear(res);
}

void table_make(PGconn *conn, struct gen *g, struct table *t)
{
	struct buf ddl = BUF_INIT(1 << 20);
	struct err e;
	memset(t, 0, sizeof *t);
	run(conn, setup_sql);
	add_types(conn, t);
	buf_puts(&ddl, "CREATE TABLE truth.staging (id int PRIMARY KEY");
	t->columns[t->ncolumns++] = (struct gen_column){mem_strdup("id"), OID_INT4, false};
	add_columns(g, t, &ddl);
	buf_puts(&ddl, ")");
	run(conn, ddl.data);
	buf_clear(&ddl);
	g->types = t->types, g->ntypes = t->ntypes;
	g->columns = t->columns, g->ncolumns = t->ncolumns;
	g->table = "t";
	g->enum_oid = t->enum_oid;
	run(conn, "INSERT INTO truth.staging (id) SELECT * FROM generate_series(0, 23)");
	fill(conn, g, t);
	run(conn, "CREATE TABLE truth.t (LIKE truth.staging INCLUDING ALL); DROP PUBLICATION IF EXISTS truth_publication");
	run(conn, "CREATE PUBLICATION truth_publication FOR TABLE truth.t");
	run(conn, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'truth_slot'");
	run(conn, "SELECT pg_create_logical_replication_slot('truth_slot', 'pgoutput', true)");
	run(conn, "INSERT INTO truth.t SELECT * FROM truth.staging ORDER BY id");
	if (pg_catalog_lookup(conn, "truth", "t", &t->catalog, &e) != 0) {
		fprintf(stderr, "truth: the table isn't found: %s\n", e.text);
		exit(2);
	}
	read_rows(conn, t);
}

void table_free(struct table *t)
{
	for (int row = 0; row < TABLE_ROWS; row++)
		for (size_t i = 0; i < t->ncolumns; i++)
			free((char *)t->rows[row][i].p);
	for (size_t i = 0; i < t->ncolumns; i++)
		free((char *)t->columns[i].name);
	pg_table_unref(t->catalog);
}

/* ---- questions -------------------------------------------------------------------------------------- */

void outcomes_clear(struct outcome rows[TABLE_ROWS])
{
	for (int i = 0; i < TABLE_ROWS; i++) {
		free(rows[i].text);
		rows[i] = (struct outcome){OUTCOME_NULL, NULL};
	}
}

static struct outcome answer(const PGresult *res, int row)
{
	if (PQgetisnull(res, row, 0))
		return (struct outcome){OUTCOME_NULL, NULL};
	return (struct outcome){OUTCOME_VALUE, mem_strdup(PQgetvalue(res, row, 0))};
}

/* Out of time, memory or stack says nothing of the expression's value. */
static bool is_limit(const char *state)
{
	return strncmp(state, "57", 2) == 0 || strncmp(state, "53", 2) == 0 || strcmp(state, "54001") == 0 ||
	       strcmp(state, "54000") == 0;
}

static struct outcome failure(const PGresult *res)
{
	const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE),
			   *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	return (struct outcome){state && is_limit(state) ? OUTCOME_SKIP : OUTCOME_ERROR, mem_strdup(text ? text : "?")};
}

static PGresult *ask_of(PGconn *conn, const char *format, const char *expression, int row, char *const *params, size_t nparams)
{
	struct buf sql = BUF_INIT(1 << 24);
	buf_printf(&sql, format, expression, row);
	PGresult *res = PQexecParams(conn, sql.data, (int)nparams, NULL, (const char *const *)params, NULL, NULL, 0);
	buf_clear(&sql);
	return res;
}

static void ask_row(PGconn *conn, const char *expression, char *const *params, size_t nparams, int row,
                    struct outcome *out)
{
	PGresult *res = ask_of(conn, "SELECT (%s) FROM truth.t WHERE t.id = %d", expression, row, params, nparams);
	*out = PQresultStatus(res) == PGRES_TUPLES_OK ? answer(res, 0) : failure(res);
	PQclear(res);
}

static int prepare(PGconn *conn, const char *format, const char *expression, char **refusal)
{
	struct buf sql = BUF_INIT(1 << 24);
	*refusal = NULL;
	buf_printf(&sql, format, expression);
	PGresult *res = PQprepare(conn, "", sql.data, 0, NULL);
	buf_clear(&sql);
	bool taken = PQresultStatus(res) == PGRES_COMMAND_OK;
	if (!taken) {
		const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
		*refusal = mem_strdup(text ? text : PQerrorMessage(conn));
	}
	PQclear(res);
	return taken ? 0 : -1;
}

int table_ask(PGconn *conn, const char *expression, char *const *params, size_t nparams,
              struct outcome rows[TABLE_ROWS], char **refusal)
{
	PGresult *res;
	memset(rows, 0, TABLE_ROWS * sizeof *rows);
	if (prepare(conn, "SELECT (%s) FROM truth.t ORDER BY t.id", expression, refusal) != 0)
		return -1;
	res = PQexecPrepared(conn, "", (int)nparams, (const char *const *)params, NULL, NULL, 0);
	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == TABLE_ROWS) {
		for (int i = 0; i < TABLE_ROWS; i++)
			rows[i] = answer(res, i);
	} else {
		struct outcome first = failure(res);
		for (int i = 0; i < TABLE_ROWS; i++) {
			if (first.kind == OUTCOME_SKIP)
				rows[i] = (struct outcome){OUTCOME_SKIP, NULL};
			else
				ask_row(conn, expression, params, nparams, i, &rows[i]);
		}
		free(first.text);
	}
	PQclear(res);
	if (PQstatus(conn) != CONNECTION_OK)
		die(conn, expression);
	return 0;
}

static struct outcome selected(bool is) { return (struct outcome){OUTCOME_VALUE, mem_strdup(is ? "t" : "f")}; }

int table_ask_where(PGconn *conn, const char *condition, char *const *params, size_t nparams,
                    struct outcome rows[TABLE_ROWS], char **refusal)
{
	bool found[TABLE_ROWS] = {false};
	memset(rows, 0, TABLE_ROWS * sizeof *rows);
	if (prepare(conn, "SELECT t.id FROM truth.t WHERE (%s)", condition, refusal) != 0)
		return -1;
	PGresult *res = PQexecPrepared(conn, "", (int)nparams, (const char *const *)params, NULL, NULL, 0);
	if (PQresultStatus(res) == PGRES_TUPLES_OK) {
		for (int i = 0; i < PQntuples(res); i++)
			found[atoi(PQgetvalue(res, i, 0))] = true;
		for (int i = 0; i < TABLE_ROWS; i++)
			rows[i] = selected(found[i]);
		PQclear(res);
		return 0;
	}
	struct outcome first = failure(res);
	PQclear(res);
	for (int i = 0; i < TABLE_ROWS; i++) {
		if (first.kind == OUTCOME_SKIP) {
			rows[i] = (struct outcome){OUTCOME_SKIP, NULL};
			continue;
		}
		/* Not `condition AND t.id = i`: by the index of id the planner leaves out what it takes for implied, as `x <> ALL ('{}')`,
		 * whose x then never fails. */
		res = ask_of(conn, "SELECT 1 FROM (SELECT * FROM truth.t WHERE id = %2$d OFFSET 0) t WHERE (%1$s)", condition, i, params, nparams);
		rows[i] = PQresultStatus(res) == PGRES_TUPLES_OK ? selected(PQntuples(res) > 0) : failure(res);
		PQclear(res);
	}
	free(first.text);
	if (PQstatus(conn) != CONNECTION_OK)
		die(conn, condition);
	return 0;
}
