/*
 * test_subquery.c - subqueries of conditions: which are taken, the SQL that is made of them, the stored form, how refusals read.
 *
 * With a database (BUSBAR_TEST_DATABASE_URL) Postgres answers each text and our SQL of it on the same rows, NULLs among them;
 * and the same comes of evaluating the condition with the sets that the subqueries' SQL gave.
 */
#include <libpq-fe.h>

#include "check.h"
#include "shape_test.h"
#include "where/pool.h"
#include "where/where.h"

static struct pg_table *items;
static const struct pg_table *others[4];
static struct where_tables tables = {.list = others};
static char message[WHERE_MESSAGE_MAX];
static struct err e;

static struct where *parse(const char *text)
{
	static const struct where_param values[] = {{"ada", 3}, {"2", 1}};
	struct where_params params = {values, 2};
	struct where *w = NULL;
	return where_parse(items, &tables, text, strlen(text), &params, NULL, false, &w, message) == 0 ? w : NULL;
}

static const char *sql_of(const struct where *w)
{
	static struct buf out = BUF_INIT(1u << 20);
	buf_reset(&out);
	where_sql(w, &out);
	return out.failed ? "too long" : out.data;
}

/* The stored form comes back as itself and means the same; damaged at any place it is refused or well-formed. */
static void check_stored(const struct where *w)
{
	struct buf stored = BUF_INIT(WHERE_CANONICAL_MAX), again = BUF_INIT(WHERE_CANONICAL_MAX);
	struct where *loaded;
	char *sql = mem_strdup(sql_of(w));
	where_canonical(w, &stored);
	CHECK(memcmp(stored.data, "w2 ", 3) == 0);
	if (CHECK(where_load(items, &tables, stored.data, stored.len, &loaded, &e) == 0)) {
		where_canonical(loaded, &again);
		CHECK_STR(again.data, stored.data);
		CHECK_STR(sql_of(loaded), sql);
		CHECK_INT(where_subqueries(loaded), where_subqueries(w));
		where_free(loaded);
	} else {
		printf("%s: %s\n", stored.data, e.text);
	}
	CHECK(where_load(items, NULL, stored.data, stored.len, &loaded, &e) == -1);
	for (size_t i = 3; i < stored.len; i++) {
		char was = stored.data[i];
		stored.data[i] = (char)(was + 1);
		if (where_load(items, &tables, stored.data, stored.len, &loaded, &e) == 0)
			where_free(loaded);
		stored.data[i] = was;
		if (where_load(items, &tables, stored.data, i, &loaded, &e) == 0)
			where_free(loaded);
	}
	buf_clear(&stored);
	buf_clear(&again);
	free(sql);
}

/* ---- what is taken -------------------------------------------------------------------------------------- */

static const struct taken { const char *text, *sql; } taken[] = {
	{"project IN (SELECT project FROM members WHERE user_id = $1)",
	 "((\"project\" OPERATOR(pg_catalog.=) ANY (SELECT \"project\" FROM \"public\".\"members\" WHERE (\"user_id\" "
	 "OPERATOR(pg_catalog.=) 'ada'::\"pg_catalog\".\"text\"))))"},
	{"project IN (SELECT project FROM members)",
	 "((\"project\" OPERATOR(pg_catalog.=) ANY (SELECT \"project\" FROM \"public\".\"members\")))"},
	{"EXISTS (SELECT 1 FROM members WHERE active)", "(EXISTS (SELECT FROM \"public\".\"members\" WHERE \"active\"))"},
	{"EXISTS (SELECT FROM members)", "(EXISTS (SELECT FROM \"public\".\"members\"))"},
	{"EXISTS (SELECT * FROM members m WHERE m.project = items.project)",
	 "(((\"project\" OPERATOR(pg_catalog.=) ANY (SELECT \"project\" FROM \"public\".\"members\")) IS TRUE))"},
	{"project IN (SELECT DISTINCT big FROM members)",
	 "((\"project\" OPERATOR(pg_catalog.=) ANY (SELECT \"big\" FROM \"public\".\"members\")))"},
	{"name IN (SELECT code FROM members)",
	 "((\"name\" OPERATOR(pg_catalog.=) ANY (SELECT (\"code\"::\"pg_catalog\".\"text\") FROM \"public\".\"members\")))"},
	{"(project, name) IN (SELECT project, user_id FROM members)",
	 "((ROW(\"project\", \"name\") OPERATOR(pg_catalog.=) ANY (SELECT \"project\", \"user_id\" FROM \"public\".\"members\")))"},
};

/* What they are in Postgres's eyes is compared below, if there is one. */
static const char *const more[] = {
	"project NOT IN (SELECT project FROM members WHERE user_id = $1)",
	"name IN (SELECT concat(user_id, '\"{},\\ NULL') FROM members) OR 'NULL' IN (SELECT 'null' FROM members)",
	"(name, 'a\"\\') IN (SELECT user_id, 'a\"\\' FROM members)",
	"(id = 1) IN (SELECT active FROM members)",
	"ARRAY[project, id] IN (SELECT ARRAY[project, project] FROM members)",
	"id / 2.0 IN (SELECT project * 0.50 FROM members)",
	"id::float8 IN (SELECT project::real FROM members)",
	"timestamp '2024-01-01' + id * interval '1 day' IN (SELECT date '2024-01-01' + project FROM members)",
	"to_jsonb(name) IN (SELECT to_jsonb(user_id) FROM members)",
	"project NOT IN (SELECT project FROM members WHERE project IS NOT NULL)",
	"project = ANY (SELECT project FROM members)",
	"project = SOME (SELECT project FROM public.members m WHERE m.active)",
	"project <> ALL (SELECT project FROM members WHERE project > 2)",
	"project != ALL (SELECT project FROM members WHERE false)",
	"NOT project IN (SELECT project FROM members WHERE user_id = $1) OR name = 'x'",
	"project IN (SELECT project FROM members WHERE user_id = $1) AND id NOT IN (SELECT id FROM projects WHERE owner = $1)",
	"project IN (SELECT project FROM members WHERE active) = (id IN (SELECT id FROM projects))",
	"(project IN (SELECT project FROM members WHERE active)) IS UNKNOWN",
	"(name, project) IN (SELECT user_id, project FROM members)",
	"(project, name) NOT IN (SELECT project, user_id FROM members)",
	"(project, name) = ANY (SELECT big, user_id FROM members)",
	"ROW(project) IN (SELECT project FROM members)",
	"big IN (SELECT project FROM members)",
	"project + 1 IN (SELECT project - 1 FROM members WHERE project % 2 = 0)",
	"lower(name) IN (SELECT lower(user_id) FROM members)",
	"$1 IN (SELECT user_id FROM members WHERE active) AND id > 1",
	"'ada' IN (SELECT user_id FROM members)",
	"5 IN (SELECT project FROM members) OR id = 1",
	"name IN (SELECT 'x' FROM members)",
	"name IN (SELECT code FROM members WHERE code <> '')",
	"project IN (SELECT id FROM projects WHERE owner IN (SELECT user_id FROM members WHERE active))",
	"project IN (SELECT id FROM projects p WHERE p.id IN (SELECT m.project FROM members m WHERE m.user_id = $1) OR p.owner = $1)",
	"project IN (SELECT id FROM projects WHERE EXISTS (SELECT FROM members WHERE members.project = projects.id AND active))",
	"id IN (SELECT project FROM items)",
	"project IN (SELECT i.id FROM items AS i WHERE i.name IS NOT NULL)",
	"EXISTS (SELECT FROM members m WHERE m.project = items.project AND m.active AND user_id = $1)",
	"EXISTS (SELECT 1 FROM members m WHERE items.project = m.project AND items.name = m.user_id)",
	"NOT EXISTS (SELECT 1 FROM members m WHERE m.project = items.project)",
	"NOT EXISTS (SELECT 1 FROM members m WHERE m.big = items.project AND m.user_id = items.name)",
	"EXISTS (SELECT 1 FROM members m WHERE (m.project, m.user_id) = (items.project, items.name))",
	"EXISTS (SELECT 1 FROM items other WHERE other.project = items.id AND other.id > 2)",
	"EXISTS (SELECT 1 FROM members WHERE lower(user_id) = lower(name) AND (active OR project = 1))",
	"EXISTS (SELECT 1 FROM members WHERE user_id = name AND project IN (SELECT id FROM projects))",
	"NOT EXISTS (SELECT 1 FROM members WHERE false)",
	"EXISTS (SELECT DISTINCT project FROM members WHERE project = $2::int)",
	"CASE WHEN id > 2 THEN project IN (SELECT project FROM members) ELSE name IN (SELECT owner FROM projects) END",
	"coalesce(project IN (SELECT project FROM members), id = 2)",
};

static void test_taken(void)
{
	for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
		struct where *w = parse(taken[i].text);
		if (!CHECK(w != NULL)) {
			printf("%s: %s\n", taken[i].text, message);
			continue;
		}
		CHECK_STR(sql_of(w), taken[i].sql);
		check_stored(w);
		where_free(w);
	}
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		struct where *w = parse(more[i]);
		if (CHECK(w != NULL))
			check_stored(w);
		else
			printf("%s: %s\n", more[i], message);
		where_free(w);
	}
}

static void test_what_it_looks_at(void)
{
	struct where *w = parse("(project, 1) IN (SELECT project, big FROM members WHERE user_id IN (SELECT owner FROM projects)) AND "
	                        "id > 0 OR EXISTS (SELECT FROM members)");
	if (!CHECK(w != NULL))
		return;
	CHECK(where_uses(w, (uint16_t)pg_table_column(items, "project", 7)));
	CHECK(where_uses(w, (uint16_t)pg_table_column(items, "id", 2)));
	CHECK(!where_uses(w, (uint16_t)pg_table_column(items, "name", 4)));
	CHECK_INT(where_subqueries(w), 2);
	CHECK(where_table(where_subquery(w, 0)) == others[0] && where_table(where_subquery(w, 1)) == others[0]);
	CHECK_INT(where_subqueries(where_subquery(w, 0)), 1);
	CHECK(where_table(where_subquery(where_subquery(w, 0), 0)) == others[1]);
	CHECK(where_uses(where_subquery(w, 0), (uint16_t)pg_table_column(others[0], "user_id", 7)));
	CHECK(!where_uses(where_subquery(w, 0), (uint16_t)pg_table_column(others[0], "active", 6)));
	where_free(w);
}

/* Where nobody can tell a row with a NULL from none. */
static void test_ignores_nulls(void)
{
#define CORRELATED "EXISTS (SELECT FROM members m WHERE m.project = items.project)"
	static const struct { const char *text; bool ignores[2]; } cases[] = {
		{CORRELATED, {true}},
		{"NOT " CORRELATED, {true}},
		{CORRELATED " IS NULL OR NOT (" CORRELATED " AND id > 1)", {true, true}},
		{"EXISTS (SELECT FROM members m WHERE m.project = items.project AND m.user_id = items.name)", {true}},
		{"(project IN (SELECT project FROM members)) IS TRUE", {true}},
		{"project IN (SELECT project FROM members) AND " CORRELATED, {false, true}},
		{"project IN (SELECT project FROM members)", {false}},
		{"project NOT IN (SELECT project FROM members)", {false}},
		{"(project NOT IN (SELECT project FROM members)) IS TRUE", {false}},
		{"(project IN (SELECT project FROM members) AND id > 1) IS TRUE", {false}}, /* not looked into */
		{"(project IN (SELECT project FROM members)) IS NOT TRUE", {false}},
		{"EXISTS (SELECT FROM members)", {false}}, /* there are no values */
		{"((project IN (SELECT project FROM members)) IN (SELECT active FROM members)) IS TRUE", {true, false}},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct where *w = parse(cases[i].text);
		if (!CHECK(w != NULL))
			continue;
		for (size_t k = 0; k < where_subqueries(w); k++)
			if (!CHECK_INT(where_subquery_ignores_nulls(w, k), cases[i].ignores[k]))
				printf("%s, %zu\n", cases[i].text, k);
		where_free(w);
	}
	struct where *w = parse("project IN (SELECT id FROM projects WHERE EXISTS (SELECT FROM members m WHERE m.project = projects.id))");
	if (CHECK(w != NULL))
		CHECK(!where_subquery_ignores_nulls(w, 0) && where_subquery_ignores_nulls(where_subquery(w, 0), 0));
	where_free(w);
#undef CORRELATED
}

/* ---- what isn't -------------------------------------------------------------------------------------------- */

static const char clauses[] = "SELECT statement must not contain any clauses, this has ";
static const char one_table[] = "Expected a single table reference: ";
static const char sublinks[] = "only `value IN (SELECT ...)` sublinks are supported right now";

#define IN_TYPES "left side of `IN (SELECT ...)` has type "

static const struct refused { const char *text, *starts; } refused[] = {
	{"project IN (SELECT project FROM members LIMIT 1)", clauses},
	{"project IN (SELECT project FROM members OFFSET 1)", clauses},
	{"project IN (SELECT project FROM members ORDER BY 1)", clauses},
	{"project IN (SELECT project FROM members GROUP BY project)", clauses},
	{"project IN (SELECT DISTINCT ON (big) project FROM members)", clauses},
	{"project IN (SELECT project FROM members FOR UPDATE)", clauses},
	{"project IN (WITH x AS (SELECT 1) SELECT project FROM members)", clauses},
	{"project IN (SELECT project FROM members UNION SELECT id FROM projects)", "Expected a single table reference: in place of UNION"},
	{"project IN (SELECT project FROM members INTERSECT SELECT id FROM projects ORDER BY 1)", clauses},
	{"project IN (SELECT project FROM members, projects)", one_table},
	{"project IN (SELECT project FROM members m JOIN projects p ON p.id = m.project)", one_table},
	{"project IN (SELECT project FROM (SELECT project FROM members) m)", one_table},
	{"project IN (SELECT project FROM ONLY members)", one_table},
	{"project IN (SELECT a FROM members m(a))", one_table},
	{"project IN (VALUES (1))", one_table},
	{"project IN (SELECT 1)", one_table},
	{"project = (SELECT project FROM members)", sublinks},
	{"project > ANY (SELECT project FROM members)", sublinks},
	{"project = ALL (SELECT project FROM members)", sublinks},
	{"id = any (ARRAY(SELECT project FROM members))", sublinks},
	{"project IN (SELECT * FROM members)", "Expected a plain column reference: name the columns"},
	{"project IN (SELECT project, big FROM members)", IN_TYPES "int4 but subquery returns row of (int4, int8)[]"},
	{"(project, name) IN (SELECT project FROM members)", IN_TYPES "row of (int4, text) but subquery returns int4[]"},
	{"(project, name) IN (SELECT project, big FROM members)", IN_TYPES "row of (int4, text) but subquery returns row of (int4, int8)[]"},
	{"project IN (SELECT FROM members)", IN_TYPES "int4 but subquery returns row of ()[]"},
	{"project IN (SELECT count(*) FROM members)", "aggregation is not supported"},
	{"project IN (SELECT nothing FROM members)", "unknown reference nothing"},
	{"project IN (SELECT project FROM members m WHERE members.active)", "unknown reference members.active"},
	{"nothing IN (SELECT project FROM members)", "unknown reference nothing"},
	{"project IN (SELECT project FROM members WHERE project)", "WHERE clause must return a boolean"},
	{"project IN (SELECT user_id FROM members)", IN_TYPES "int4 but subquery returns text[]"},
	{"project <> ALL (SELECT active FROM members)", IN_TYPES "int4 but subquery returns bool[]"},
	{"project IN (SELECT id FROM projects WHERE owner IN (SELECT project FROM members))", IN_TYPES "text but subquery returns int4[]"},
	{"EXISTS (SELECT FROM members WHERE user_id = items.project)", "Could not select an operator overload"},
	{"project IN (SELECT project FROM members WHERE 1 / 0 = 1)", "Failed to apply function to constant arguments"},
	{"project IN (SELECT project FROM members WHERE user_id = name)", "unknown reference name: it belongs to the query around this one, and only EXISTS"},
	{"EXISTS (SELECT FROM members WHERE user_id > name)", "unknown reference name: it belongs to the query around this one, and only EXISTS"},
	{"EXISTS (SELECT FROM members WHERE user_id = name OR active)", "unknown reference name: it belongs to the query around this one, and only EXISTS"},
	{"EXISTS (SELECT FROM members m WHERE items.project = 5)", "unknown reference items.project: it belongs to the query around this one"},
	{"project IN (SELECT id FROM projects WHERE EXISTS (SELECT FROM members WHERE user_id = name))",
	 "unknown reference name: it belongs to a query further out"},
	{"$1 IN (SELECT project FROM members) AND $1 IN (SELECT user_id FROM members)", "invalid syntax for type int4: ada"},
	{"$2 IN (SELECT project FROM members) AND $2::text IN (SELECT user_id FROM members)", "type conflict for $2: int4 and text"},
	{"project IN (SELECT project FROM nowhere)", "the table public.nowhere isn't there"},
};

static void test_refused(void)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct where *w = parse(refused[i].text);
		const char *at = strncmp(message, "At location ", 12) == 0 ? strchr(message, ':') + 2 : message;
		if (!CHECK(w == NULL) || !CHECK(strncmp(at, refused[i].starts, strlen(refused[i].starts)) == 0))
			printf("%s: %s\n", refused[i].text, w != NULL ? "is taken" : message);
		where_free(w);
	}
	CHECK_STR(tables.missing_schema, "public"); /* of the last one */
	CHECK_STR(tables.missing_name, "nowhere");
	CHECK(parse("project IN (SELECT a FROM \"Some\".\"Where\")") == NULL);
	CHECK_STR(tables.missing_schema, "Some");
	CHECK_STR(tables.missing_name, "Where");
	CHECK(parse("project IN (SELECT user_id FROM members)") == NULL);
	CHECK_STR(tables.missing_name, "");
}

/* Where a table isn't there nothing else is looked at: who asks again with it pays for the rest once. */
static void test_missing_first(void)
{
	static const char *const texts[] = {
		"nothing = 1 AND project IN (SELECT project FROM nowhere)",
		"project IN (SELECT project FROM members WHERE user_id IN (SELECT 1 / 0 FROM nowhere) AND nothing = 1)",
		"project IN (SELECT project FROM members) OR project > ANY (SELECT nothing FROM nowhere)",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		CHECK(parse(texts[i]) == NULL);
		CHECK_STR(tables.missing_name, "nowhere");
		CHECK(strstr(message, "the table public.nowhere isn't there") != NULL);
	}
	CHECK(parse("project IN (SELECT nothing FROM members, nowhere)") == NULL);
	CHECK_STR(tables.missing_name, "");
	CHECK(parse("project IN (WITH nowhere AS (SELECT 1 AS project) SELECT project FROM nowhere)") == NULL);
	CHECK_STR(tables.missing_name, "");
}

/* What its constants may cost is the whole condition's. */
static void test_costs_together(void)
{
#define COSTLY "length(repeat('x', 3000000)) > 0"
	struct where *w = parse("project IN (SELECT project FROM members WHERE " COSTLY ")");
	CHECK(w != NULL);
	where_free(w);
	CHECK(parse("project IN (SELECT project FROM members WHERE " COSTLY ") OR id IN (SELECT id FROM projects WHERE " COSTLY " AND owner "
	            "IN (SELECT user_id FROM members WHERE " COSTLY ")) OR " COSTLY) == NULL);
	CHECK(strstr(message, "take too much work") != NULL);
#undef COSTLY
}

static void test_limits(void)
{
	struct buf text = BUF_INIT(1u << 20);
	for (int i = 0; i <= WHERE_SUBQUERIES_MAX; i++)
		buf_printf(&text, "%sproject IN (SELECT project FROM members WHERE project <> %d)", i ? " OR " : "", i);
	CHECK(parse(text.data) == NULL);
	CHECK(strstr(message, "a condition may have 32 subqueries at most") != NULL);
	buf_reset(&text);
	for (int i = 0; i <= WHERE_SUBQUERY_DEPTH_MAX; i++)
		buf_puts(&text, "project IN (SELECT project FROM members WHERE ");
	buf_puts(&text, "true");
	for (int i = 0; i <= WHERE_SUBQUERY_DEPTH_MAX; i++)
		buf_putc(&text, ')');
	CHECK(parse(text.data) == NULL);
	CHECK(strstr(message, "subqueries are nested more than 8 levels deep") != NULL);
	buf_clear(&text);
}

/* ---- Postgres's answer -------------------------------------------------------------------------------------- */

static char *answer(PGconn *c, const char *condition)
{
	struct buf text = BUF_INIT(1u << 20);
	buf_printf(&text, "SELECT coalesce(string_agg(concat(id, ':', (%s)), ' ' ORDER BY id), '') FROM subquery_test.items", condition);
	PGresult *r = PQexec(c, text.data);
	char *s = mem_strdup(PQresultStatus(r) == PGRES_TUPLES_OK ? PQgetvalue(r, 0, 0) : PQresultErrorMessage(r));
	PQclear(r);
	buf_clear(&text);
	return s;
}

static bool run(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);
	bool ok = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
	if (!ok)
		printf("%s: %s\n", sql, PQresultErrorMessage(r));
	PQclear(r);
	return CHECK(ok);
}

/* The text as Postgres would have it, in place of our parameters. */
static char *with_params(const char *text)
{
	struct buf out = BUF_INIT(1u << 16);
	for (const char *p = text; *p != '\0'; p++) {
		if (p[0] == '$' && (p[1] == '1' || p[1] == '2'))
			buf_puts(&out, *++p == '1' ? "'ada'" : "'2'");
		else
			buf_putc(&out, *p);
	}
	return buf_detach(&out, NULL);
}

/* Ours names public, the tables are elsewhere. */
static void without_schema(char *sql, const char *schema)
{
	for (char *p = sql; (p = strstr(p, schema)) != NULL;)
		memset(p, ' ', strlen(schema));
}

struct at_row { PGresult *from; int at; };

static bool fetch(void *ctx, uint16_t column, struct where_text *out)
{
	const struct at_row *row = ctx;
	bool null = PQgetisnull(row->from, row->at, column);
	*out = (struct where_text){null ? NULL : PQgetvalue(row->from, row->at, column), (uint32_t)PQgetlength(row->from, row->at, column), null};
	return true;
}

/* Of each row: its id, and the condition's value as Postgres writes it. */
static char *evaluated(PGconn *c, const struct where *w)
{
	struct buf out = BUF_INIT(1u << 20);
	struct at_row row = {PQexec(c, "SELECT id, project, big, name FROM subquery_test.items ORDER BY id"), 0};
	struct where_pool *pool = where_pool_new(items);
	char reason[WHERE_REASON_MAX];
	uint32_t id;
	if (CHECK_INT(where_pool_add(pool, where_root(w), &id, reason), 0)) {
		for (; row.at < PQntuples(row.from); row.at++) {
			where_pool_row(pool, fetch, &row);
			const struct where_value *v = where_pool_eval(pool, id);
			buf_printf(&out, "%s%s:%s", row.at > 0 ? " " : "", PQgetvalue(row.from, row.at, 0),
			           v->is == WHERE_NULL ? "" : v->is == WHERE_ERROR ? where_pool_reason(pool) : v->u.i ? "t" : "f");
		}
		where_pool_unref(pool, id);
	}
	where_pool_free(pool);
	PQclear(row.from);
	return buf_detach(&out, NULL);
}

/* As those who read sets do where it makes no difference: which Postgres's answer shows. */
static void leave_nulls_out(struct where_set *set, size_t width)
{
	struct where_text_value *values = (struct where_text_value *)(uintptr_t)set->values;
	size_t kept = 0;
	for (size_t i = 0; i < set->nrows; i++) {
		bool null = false;
		for (size_t k = 0; k < width; k++)
			null = null || values[i * width + k].p == NULL;
		if (!null)
			memmove(values + kept++ * width, values + i * width, width * sizeof *values);
	}
	set->nrows = kept;
}

static PGresult *read_set(PGconn *c, const struct where *w, size_t i, struct where_set *set)
{
	struct buf sql = BUF_INIT(1u << 20);
	where_subquery_sql(w, i, &sql);
	without_schema(sql.data, "\"public\".");
	PGresult *r = PQexec(c, sql.data);
	if (!CHECK(PQresultStatus(r) == PGRES_TUPLES_OK))
		printf("%s: %s\n", sql.data, PQresultErrorMessage(r));
	int width = PQnfields(r), n = PQntuples(r);
	struct where_text_value *values = mem_zalloc((size_t)(width * n + 1) * sizeof *values);
	for (int k = 0; k < width * n; k++)
		if (!PQgetisnull(r, k / width, k % width))
			values[k] = (struct where_text_value){PQgetvalue(r, k / width, k % width), (size_t)PQgetlength(r, k / width, k % width)};
	*set = (struct where_set){(size_t)n, values};
	if (where_subquery_ignores_nulls(w, i))
		leave_nulls_out(set, (size_t)width);
	buf_clear(&sql);
	return r;
}

/* With the sets in its places the condition is one on its own table alone. */
static void check_bound(PGconn *c, const struct where *w, const char *want, const char *text)
{
	struct where_set sets[WHERE_SUBQUERIES_MAX];
	PGresult *results[WHERE_SUBQUERIES_MAX];
	struct buf bound = BUF_INIT(WHERE_CANONICAL_MAX);
	struct where *loaded;
	for (size_t i = 0; i < where_subqueries(w); i++)
		results[i] = read_set(c, w, i, &sets[i]);
	where_bind(w, sets, &bound);
	if (CHECK(where_load(items, NULL, bound.data, bound.len, &loaded, &e) == 0)) {
		CHECK_INT(where_subqueries(loaded), 0);
		char *got = evaluated(c, loaded);
		if (!CHECK_STR(got, want))
			printf("  %s\n  %s\n", text, bound.data);
		free(got);
		where_free(loaded);
	} else {
		printf("%s: %s\n", bound.data, e.text);
	}
	for (size_t i = 0; i < where_subqueries(w); i++) {
		free((void *)(uintptr_t)sets[i].values);
		PQclear(results[i]);
	}
	buf_clear(&bound);
}

static void compare(PGconn *c, const char *text)
{
	struct where *w = parse(text);
	if (!CHECK(w != NULL))
		return;
	char *original = with_params(text), *sql = mem_strdup(sql_of(w));
	without_schema(sql, "\"public\".");
	without_schema(original, "public.");
	char *want = answer(c, original), *got = answer(c, sql);
	if (!CHECK_STR(got, want))
		printf("  %s\n  %s\n", original, sql);
	CHECK(strchr(want, ':') != NULL); /* Postgres takes it */
	check_bound(c, w, want, text);
	free(want);
	free(got);
	free(original);
	free(sql);
	where_free(w);
}

static void test_against_postgres(const char *url)
{
	PGconn *c = PQconnectdb(url);
	if (!CHECK(PQstatus(c) == CONNECTION_OK)) {
		PQfinish(c);
		return;
	}
	if (run(c, "BEGIN; CREATE SCHEMA subquery_test; SET LOCAL search_path = subquery_test;"
	           "CREATE TABLE items (id int PRIMARY KEY, project int, big bigint, name text);"
	           "CREATE TABLE members (user_id text, project int, big bigint, active bool, code varchar(9));"
	           "CREATE TABLE projects (id int PRIMARY KEY, owner text);"
	           "INSERT INTO items VALUES (1, 1, 1, 'ada'), (2, 2, 3, 'bob'), (3, NULL, 1, 'ada'), (4, 4, NULL, NULL), (5, 5, 2, 'x');"
	           "INSERT INTO members VALUES ('ada', 1, 1, true, 'x'), ('ada', 2, 2, false, ''), ('bob', 2, 3, true, 'bob'),"
	           " (NULL, 4, NULL, NULL, NULL), ('x', NULL, 5, true, 'ada');"
	           "INSERT INTO projects VALUES (1, 'ada'), (2, 'x'), (4, NULL)")) {
		for (size_t i = 0; i < ARRAY_LEN(taken); i++)
			compare(c, taken[i].text);
		for (size_t i = 0; i < ARRAY_LEN(more); i++)
			compare(c, more[i]);
	}
	run(c, "ROLLBACK");
	PQfinish(c);
}

int main(void)
{
	const char *url = getenv("BUSBAR_TEST_DATABASE_URL");
	items = table_make(1, "public", "items", "id:23:pk0 project:23 big:20 name:25");
	others[0] = table_make(2, "public", "members", "user_id:25 project:23 big:20 active:16 code:1043");
	others[1] = table_make(3, "public", "projects", "id:23:pk0 owner:25");
	others[2] = items;
	tables.n = 3;
	RUN(test_taken);
	RUN(test_what_it_looks_at);
	RUN(test_ignores_nulls);
	RUN(test_refused);
	RUN(test_missing_first);
	RUN(test_costs_together);
	RUN(test_limits);
	if (url != NULL)
		RUN(test_against_postgres, url);
	pg_table_unref((struct pg_table *)others[0]);
	pg_table_unref((struct pg_table *)others[1]);
	pg_table_unref(items);
	return check_done("test_subquery");
}
