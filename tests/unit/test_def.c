/* test_def.c - identifiers, column lists, the identity of a definition. */
#include <stdlib.h>

#include "check.h"
#include "shapes/core/def.h"
#include "shapes/core/engine.h"
#include "shapes/core/shape.h"
#include "shapes/routing/render.h"

static struct arena arena;

static const char *table_of(const char *s)
{
	struct def_table_name t;
	struct def_error e;
	struct buf b = BUF_INIT(4096);
	if (def_parse_table(&arena, s, strlen(s), &t, &e) < 0)
		return e.text;
	buf_printf(&b, "%s|%s", t.schema, t.name);
	const char *out = arena_strndup(&arena, b.data, b.len);
	buf_clear(&b);
	return out;
}

static void test_tables(void)
{
	CHECK_STR(table_of("items"), "public|items");
	CHECK_STR(table_of("Items"), "public|items");
	CHECK_STR(table_of("\"Items\""), "public|Items");
	CHECK_STR(table_of("a.b"), "a|b");
	CHECK_STR(table_of("\"a.b\".\"c\"\"d\""), "a.b|c\"d");
	CHECK_STR(table_of("_x$1"), "public|_x$1");
	CHECK_STR(table_of("\320\272\320\273\321\216\321\207"), "public|\320\272\320\273\321\216\321\207");
	CHECK_STR(table_of("a\314\201b"), "public|a\314\201b");
	CHECK_STR(table_of("a b"), "Invalid unquoted identifier contains special characters: a b");
	CHECK_STR(table_of("1a"), "Invalid unquoted identifier contains special characters: 1a");
	CHECK_STR(table_of("$a"), "Invalid unquoted identifier contains special characters: $a");
	CHECK_STR(table_of("a\342\202\254"), "Invalid unquoted identifier contains special characters: a\342\202\254");
	CHECK_STR(table_of("\"a"), "Invalid unquoted identifier contains special characters: \"a");
	CHECK_STR(table_of("a\""), "Invalid unquoted identifier contains special characters: a\"");
	CHECK_STR(table_of("\"a\"b\""), "Invalid identifier with unescaped quote: a\"b");
	CHECK_STR(table_of("\"\""), "Invalid zero-length delimited identifier");
	CHECK_STR(table_of("\""), "Invalid zero-length delimited identifier");
	CHECK_STR(table_of(".a"), "Invalid zero-length delimited identifier");
	CHECK_STR(table_of("a."), "Invalid zero-length delimited identifier");
	CHECK_STR(table_of("\"a\"."), "Invalid zero-length delimited identifier");
	CHECK_STR(table_of("a.b.c"), "Invalid relation identifier, too many delimiters: a.b.c");
	CHECK_STR(table_of("a..b"), "Invalid relation identifier, too many delimiters: a..b");
	char name[70];
	memset(name, 'a', 64);
	name[64] = '\0';
	CHECK_STR(table_of(name), "Identifier is too long (max length is 63)");
	name[63] = '\0';
	CHECK(strncmp(table_of(name), "public|", 7) == 0);
}

/* id (key), v, n, and g, which is generated if `generated`. */
static struct pg_table *table_new(bool key, bool generated)
{
	static const char *const names[] = {"id", "v", "n", "g"};
	struct pg_table *t = calloc(1, sizeof *t);
	t->refs = 1;
	t->oid = 16390;
	t->schema = strdup("public");
	t->name = strdup("items");
	t->relkind = 'r';
	t->ncolumns = 4;
	t->columns = calloc(4, sizeof *t->columns);
	for (int i = 0; i < 4; i++) {
		t->columns[i].name = strdup(names[i]);
		t->columns[i].type_name = strdup("text");
		t->columns[i].attnum = (int16_t)(i + 1);
		t->columns[i].pk_index = key && i == 0 ? 0 : -1;
	}
	t->columns[3].generated = generated;
	if (key) {
		t->npk = 1;
		t->pk = calloc(1, sizeof *t->pk);
	}
	return t;
}

/* The selected columns with commas between them, or the complaint. */
static const char *build(struct pg_table *t, const char *columns, const char *queryable, int version)
{
	struct def_request r = {.replica = REPLICA_DEFAULT};
	struct shape_def d = {0};
	struct def_error e;
	struct buf b = BUF_INIT(4096);
	if ((columns != NULL && def_read_list(&arena, "columns", columns, strlen(columns), &r.columns, &e) < 0) ||
	    (queryable != NULL &&
	     def_read_list(&arena, "queryable_columns", queryable, strlen(queryable), &r.queryable_columns, &e) < 0) ||
	    def_build(&arena, t, &r, version, &d, &e) < 0)
		buf_printf(&b, "%s: %s", e.field, e.text);
	else
		for (size_t i = 0; i < d.nselected; i++)
			buf_printf(&b, "%s%s", i > 0 ? "," : "", t->columns[d.selected[i]].name);
	shape_def_clear(&d);
	const char *out = arena_strndup(&arena, b.data, b.len);
	buf_clear(&b);
	return out;
}

static void test_table_lists(void)
{
	static const char text[] = " public.members , Auth.*,\t\"Other\".\"a,b.*\",roles,\"x.y\".*";
	static const char *const want[][2] = {
		{"public", "members"}, {"auth", NULL}, {"Other", "a,b.*"}, {"public", "roles"}, {"x.y", NULL},
	};
	static const char *const wrong[] = {"a,,b", "a,", "*", ".*", "a.b.c", "a.b.*", "a b", "\"a", "a.*.*"};
	struct arena a = ARENA_INIT;
	struct def_table_name *list;
	struct def_error e;
	size_t n;
	if (CHECK_INT(def_parse_tables(&a, text, strlen(text), &list, &n, &e), 0) && CHECK_INT(n, ARRAY_LEN(want)))
		for (size_t i = 0; i < n; i++) {
			CHECK_STR(list[i].schema, want[i][0]);
			if (CHECK((list[i].name == NULL) == (want[i][1] == NULL)) && want[i][1] != NULL)
				CHECK_STR(list[i].name, want[i][1]);
		}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (!CHECK_INT(def_parse_tables(&a, wrong[i], strlen(wrong[i]), &list, &n, &e), -1))
			printf("  %s\n", wrong[i]);
	arena_clear(&a);
}

static void test_columns(void)
{
	struct pg_table *t = table_new(true, false), *nokey = table_new(false, false), *gen = table_new(true, true);
	CHECK_STR(build(t, NULL, NULL, 150000), "g,id,n,v");
	CHECK_STR(build(t, "v,id", NULL, 150000), "id,v");
	CHECK_STR(build(t, "V,\"id\"", NULL, 150000), "id,v");
	CHECK_STR(build(t, "v", NULL, 150000), "columns: The list of columns must include all primary key columns, missing: id");
	CHECK_STR(build(t, "id,x,y", NULL, 150000), "columns: The following columns are not found on the table: x, y");
	CHECK_STR(build(t, "id,id", NULL, 150000), "columns: The following columns are not found on the table: id");
	CHECK_STR(build(t, "id, v", NULL, 150000), "columns: Invalid unquoted identifier contains special characters:  v");
	CHECK_STR(build(t, "id,,v", NULL, 150000), "columns: Invalid zero-length delimited identifier");
	CHECK_STR(build(t, "id,\"v", NULL, 150000), "columns: Invalid unquoted identifier contains special characters: id,\"v");
	CHECK_STR(build(nokey, "v,n", NULL, 150000),
	          "columns: The list of columns must include all primary key columns, missing: id, g");
	CHECK_STR(build(nokey, "v,n,g,id", NULL, 150000), "g,id,n,v");
	CHECK_STR(build(t, NULL, "id,v", 150000), "id,v");
	CHECK_STR(build(t, "id", "id,v", 150000), "id");
	CHECK_STR(build(t, "id,n", "id,v", 150000), "columns: The following columns are not found on the table: n");
	CHECK_STR(build(t, "nope", "v", 150000),
	          "queryable_columns: The list of queryable columns must include all primary key columns, missing: id");
	CHECK_STR(build(t, NULL, "id,nope", 150000),
	          "queryable_columns: The following queryable columns are not found on the table: nope");
	CHECK_STR(build(gen, "id,g", NULL, 150000),
	          "columns: The following columns are generated and cannot be included in the shape: g");
	CHECK_STR(build(gen, NULL, NULL, 170000),
	          "columns: The following columns are generated and cannot be included in the shape: g. You can exclude them from "
	          "the shape by explicitly listing which columns to fetch in the 'columns' query param");
	CHECK_STR(build(gen, NULL, NULL, 180000), "g,id,n,v");
	CHECK_STR(build(gen, NULL, NULL, 0), "g,id,n,v");
	CHECK_STR(build(gen, "id,v", NULL, 150000), "id,v");
	gen->columns[3].is_virtual = true; /* in no version's stream */
	CHECK_STR(build(gen, "id,g", NULL, 180000),
	          "columns: The following columns are generated and cannot be included in the shape: g");
	CHECK_STR(build(gen, "id,g", NULL, 0), "columns: The following columns are generated and cannot be included in the shape: g");
	CHECK_STR(build(gen, "id,v", NULL, 180000), "id,v");
	pg_table_unref(t);
	pg_table_unref(nokey);
	pg_table_unref(gen);
}

static void test_system_table(void)
{
	struct pg_table *t = table_new(true, false);
	t->oid = 16383;
	CHECK_STR(build(t, "nope", NULL, 150000),
	          "table: Table \"public\".\"items\" is a system table: Postgres does not replicate its changes");
	pg_table_unref(t);
}

static void test_name_lists(void)
{
	struct pg_table *t = table_new(true, false);
	struct def_name upper[] = {{"id", 2}, {"V", 1}};
	struct def_request r = {.columns = {.given = true, .names = upper, .count = 2}};
	struct shape_def d;
	struct def_error e;
	CHECK_INT(def_build(&arena, t, &r, 150000, &d, &e), -1);
	CHECK_STR(e.text, "The following columns are not found on the table: V");
	pg_table_unref(t);
}

/* Of these columns (an index for each digit), those that are denied, with what mends it. */
static const char *readable(const struct pg_table *t, const char *columns, const char *field)
{
	bool wanted[4] = {false};
	struct def_error e;
	for (; *columns != '\0'; columns++)
		wanted[*columns - '0'] = true;
	if (def_check_readable(&arena, t, wanted, "the \"reader\"", field, &e) == 0)
		return "";
	if (e.field != NULL)
		CHECK_STR(e.field, field);
	return e.text;
}

static void test_rights(void)
{
	struct pg_table *t = table_new(true, false);
	free(t->schema);
	t->schema = strdup("My s");
	CHECK_STR(readable(t, "0123", "columns"), "");
	t->columns[1].denied = t->columns[3].denied = true;
	CHECK_STR(readable(t, "02", "columns"), "");
#define DENIED "The database role has no right to read the following columns: "
	CHECK_STR(readable(t, "0123", "columns"),
	          DENIED "v, g. Run, as the owner: GRANT SELECT (\"v\", \"g\") ON \"My s\".\"items\" TO \"the \"\"reader\"\"\"; "
	          "Or list only others in the 'columns' query param");
	CHECK_STR(readable(t, "13", "where"),
	          DENIED "v, g. Run, as the owner: GRANT SELECT (\"v\", \"g\") ON \"My s\".\"items\" TO \"the \"\"reader\"\"\";");
	t->columns[0].denied = t->columns[2].denied = true;
	CHECK_STR(readable(t, "1", "order_by"),
	          "Unable to create initial snapshot: permission denied for table items. Run, as the owner: GRANT SELECT ON \"My s\".\"items\" TO \"the \"\"reader\"\"\";");
	t->no_usage = true;
	CHECK_STR(readable(t, "1", "where"),
	          "Unable to create initial snapshot: permission denied for table items. Run, as the owner: GRANT USAGE ON SCHEMA \"My s\" TO \"the \"\"reader\"\"\"; "
	          "GRANT SELECT ON \"My s\".\"items\" TO \"the \"\"reader\"\"\";");
	pg_table_unref(t);
}

static struct def_list list(const char *s)
{
	struct def_list l;
	struct def_error e;
	CHECK_INT(def_read_list(&arena, "columns", s, strlen(s), &l, &e), 0);
	return l;
}

static bool same(struct pg_table *t, const struct def_request *a, const struct def_request *b)
{
	struct shape_def x, y;
	struct def_error e;
	CHECK_INT(def_build(&arena, t, a, 150000, &x, &e), 0);
	CHECK_INT(def_build(&arena, t, b, 150000, &y, &e), 0);
	bool is = x.identity_len == y.identity_len && memcmp(x.identity, y.identity, x.identity_len) == 0;
	struct shape_def copy;
	shape_def_copy(&copy, &x);
	CHECK(copy.identity_len == x.identity_len && memcmp(copy.identity, x.identity, x.identity_len) == 0);
	shape_def_clear(&copy);
	shape_def_clear(&x);
	shape_def_clear(&y);
	return is;
}

static void test_identity(void)
{
	struct pg_table *t = table_new(true, false);
	struct def_request all = {0}, named = {.columns = list("id,v,n,g")}, turned = {.columns = list("g,n,v,id")};
	struct def_request some = {.columns = list("id,v")}, queryable = {.queryable_columns = list("v,id")};
	struct def_request full = {.replica = REPLICA_FULL}, changes = {.log_mode = LOG_MODE_CHANGES_ONLY};
	CHECK(same(t, &all, &all));
	CHECK(same(t, &named, &turned));
	CHECK(same(t, &some, &queryable));
	CHECK(!same(t, &all, &named));
	CHECK(!same(t, &all, &some));
	CHECK(!same(t, &all, &full));
	CHECK(!same(t, &all, &changes));
	CHECK(!same(t, &full, &changes));
	pg_table_unref(t);
}

int main(void)
{
	RUN(test_tables);
	RUN(test_table_lists);
	RUN(test_columns);
	RUN(test_system_table);
	RUN(test_name_lists);
	RUN(test_rights);
	RUN(test_identity);
	arena_clear(&arena);
	return check_done("def");
}
