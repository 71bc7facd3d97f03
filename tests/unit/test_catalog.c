/* test_catalog.c - the pure parts of src/pg: stored tables, schema header, COPY text, snapshot membership. */
#include <stdlib.h>

#include "base/mem.h"
#include "check.h"
#include "pg/table/table.h"
#include "pg/query.h"
#include "pg/snapshot.h"

#define MAX_BYTES (1u << 20)
#define DEFAULT_COLLATION "[100,\"pg_catalog\",\"default\",\"c\",true,\"C\",\"C\",null]"
#define NO_MORE "\"leaves\":[],\"types\":[],\"collations\":[" DEFAULT_COLLATION "]}"

static struct pg_table *parse(const char *json)
{
	struct pg_table *t = NULL;
	struct err e;
	if (pg_table_from_json(json, strlen(json), &t, &e) != 0)
		return NULL;
	return t;
}

/* A table of one column with this type, as stored. */
static struct pg_table *one_column(const char *type_name, int typmod, int dims)
{
	char json[512];
	snprintf(json, sizeof json,
	         "{\"v\":2,\"oid\":1,\"schema\":\"public\",\"name\":\"t\",\"relkind\":\"r\",\"columns\":"
	         "[[\"c\",1,25,%d,\"%s\",%d,false,false,false,-1,0]]," NO_MORE,
	         typmod, type_name, dims);
	return parse(json);
}

static void check_header(const char *type_name, int typmod, int dims, const char *want)
{
	struct pg_table *t = one_column(type_name, typmod, dims);
	CHECK(t != NULL);
	if (t == NULL)
		return;
	char all[256];
	snprintf(all, sizeof all, "{\"c\":{\"type\":\"%s\"%s}}", type_name, want);
	CHECK_STR(t->schema_json, all);
	pg_table_unref(t);
}

static void test_schema_header(void)
{
	check_header("int4", -1, 0, "");
	check_header("int4", -1, 2, ",\"dims\":2");
	check_header("_int4", -1, 0, "");
	check_header("varchar", 14, 0, ",\"max_length\":10");
	check_header("varchar", 14, 1, ",\"dims\":1,\"max_length\":10");
	check_header("varchar", -1, 0, "");
	check_header("text", 9, 0, ",\"max_length\":5");
	check_header("bpchar", 9, 0, ",\"length\":5");
	check_header("bpchar", -1, 0, "");
	check_header("bit", 3, 0, ",\"length\":3");
	check_header("varbit", -1, 0, ",\"length\":-1");
	check_header("time", 3, 0, ",\"precision\":3");
	check_header("timetz", 6, 0, ",\"precision\":6");
	check_header("timestamp", 0, 0, ",\"type_mod\":0");
	check_header("time", 0, 0, ",\"type_mod\":0");
	check_header("timestamptz", -1, 0, "");
	check_header("numeric", (10 << 16 | 2) + 4, 0, ",\"precision\":10,\"scale\":2");
	check_header("numeric", (5 << 16) + 4, 0, ",\"precision\":5,\"scale\":0");
	check_header("numeric", -1, 0, "");
	check_header("interval", 0x7FFF << 16 | 0xFFFF, 0, "");
	check_header("interval", 0x7FFF << 16 | 3, 0, ",\"precision\":3");
	check_header("interval", 0x0004 << 16 | 0xFFFF, 0, ",\"fields\":\"YEAR\"");
	check_header("interval", 0x0006 << 16 | 0xFFFF, 0, ",\"fields\":\"YEAR TO MONTH\"");
	check_header("interval", 0x1C08 << 16 | 2, 0, ",\"fields\":\"DAY TO SECOND\",\"precision\":2");
	check_header("interval", 0x1800 << 16 | 0xFFFF, 0, ",\"fields\":\"MINUTE TO SECOND\"");
	check_header("interval", -1, 0, "");
	check_header("geometry", 7, 0, ",\"type_mod\":7");
}

static const char stored[] =
	"{\"v\":2,\"oid\":4000000000,\"schema\":\"pu\\\"b\",\"name\":\"t\\u00e4\",\"relkind\":\"p\",\"columns\":["
	"[\"id\",1,20,-1,\"int8\",0,true,false,false,1,-1],"
	"[\"b\",3,16,-1,\"bool\",0,false,false,true,-1,-1],"
	"[\"a\\\"\\n\",4,25,-1,\"text\",0,true,true,false,0,1],"
	"[\"m\",5,20003,-1,\"_mood\",0,false,\"v\",false,-1,-1]],\"leaves\":[5,7],"
	"\"types\":[[20001,\"s\",\"mood\",\"e\",0,0,-1,[\"sad\",\"o\\\"k\"]],[20002,\"s\",\"d\",\"d\",0,20001,-1,[]],"
	"[20003,\"s\",\"_mood\",\"b\",20002,0,-1,[]]],"
	"\"collations\":[[100,\"pg_catalog\",\"default\",\"b\",true,\"C.UTF-8\",\"C.UTF-8\",\"1\"],"
	"[20004,\"s\",\"other\",\"i\",false,\"\",\"\",null]]}";

/* What a condition may depend on, changed in a copy and changed back. */
static void check_differences(const struct pg_table *t, struct pg_table *copy)
{
	const struct pg_column *m = &t->columns[3], *m2 = &copy->columns[3], *a = &t->columns[2], *a2 = &copy->columns[2];
	char *label = copy->types[0].labels[0];
	copy->types[0].labels[0] = label + 1;
	CHECK(!pg_table_same_columns(t, copy) && !pg_column_same_meaning(t, m, copy, m2));
	CHECK(pg_column_same_meaning(t, a, copy, a2));
	copy->types[0].labels[0] = label;
	copy->types[0].nlabels--;
	CHECK(!pg_table_same_columns(t, copy));
	copy->types[0].nlabels++;
	copy->types[1].base_oid = 25;
	CHECK(!pg_table_same_columns(t, copy));
	copy->types[1].base_oid = 20001;
	copy->types[1].base_typmod = 9;
	CHECK(!pg_table_same_columns(t, copy));
	copy->types[1].base_typmod = -1;
	copy->ntypes--; /* m's own type is gone */
	CHECK(!pg_table_same_columns(t, copy));
	copy->ntypes++;
	copy->collations[1].deterministic = true;
	CHECK(!pg_table_same_columns(t, copy) && !pg_column_same_meaning(t, a, copy, a2));
	CHECK(pg_column_same_meaning(t, m, copy, m2));
	copy->collations[1].deterministic = false;
	char *version = copy->collations[0].version;
	copy->collations[0].version = NULL;
	CHECK(!pg_table_same_columns(t, copy));
	copy->collations[0].version = version;
	copy->columns[2].collation = 0;
	CHECK(!pg_table_same_columns(t, copy));
	copy->columns[2].collation = 1;
	copy->types[2].elem_oid = copy->types[2].oid; /* a circle: damage, and no end of the world */
	((struct pg_table *)t)->types[2].elem_oid = t->types[2].oid;
	CHECK(pg_table_same_columns(t, copy));
	copy->types[2].elem_oid = ((struct pg_table *)t)->types[2].elem_oid = 20002;
	CHECK(pg_table_same_columns(t, copy));
}

static void test_json_round_trip(void)
{
	struct pg_table *t = parse(stored);
	CHECK(t != NULL);
	if (t == NULL)
		return;
	CHECK(t->oid == 4000000000u);
	CHECK_STR(t->schema, "pu\"b");
	CHECK_STR(t->name, "t\xc3\xa4");
	CHECK_INT(t->relkind, 'p');
	CHECK_INT(t->ncolumns, 4);
	CHECK_INT(t->npk, 2);
	CHECK_INT(t->pk[0], 2);
	CHECK_INT(t->pk[1], 0);
	CHECK_INT(t->nleaves, 2);
	CHECK_INT(t->leaves[1], 7);
	CHECK(t->columns[1].is_bool && t->columns[2].generated && !t->columns[1].not_null);
	CHECK(!t->columns[2].is_virtual && t->columns[3].generated && t->columns[3].is_virtual && !t->columns[1].generated);
	CHECK_INT(pg_table_column(t, "a\"\n", 3), 2);
	CHECK_INT(pg_table_column(t, "a", 1), -1);
	/* sorted by name */
	CHECK_STR(t->schema_json, "{\"a\\\"\\n\":{\"type\":\"text\",\"pk_index\":0,\"not_null\":true},\"b\":{\"type\":\"bool\"},"
	                          "\"id\":{\"type\":\"int8\",\"pk_index\":1,\"not_null\":true},\"m\":{\"type\":\"_mood\"}}");
	CHECK_INT(t->columns[0].collation, -1);
	CHECK_INT(t->columns[2].collation, 1);
	CHECK_INT(t->ntypes, 3);
	CHECK_INT(t->ncollations, 2);
	CHECK(pg_table_type(t, 25) == NULL);
	const struct pg_type *mood = pg_table_type(t, 20001);
	CHECK(mood != NULL && mood->kind == 'e' && mood->nlabels == 2);
	if (mood != NULL)
		CHECK_STR(mood->labels[1], "o\"k");
	CHECK_INT(pg_table_type(t, 20003)->elem_oid, 20002);
	CHECK_INT(pg_table_type(t, 20002)->base_oid, 20001);
	CHECK_INT(t->collations[0].provider, 'b');
	CHECK_STR(t->collations[0].version, "1");
	CHECK(t->collations[1].version == NULL && !t->collations[1].deterministic);
	CHECK_STR(t->collations[1].collate, "");
	struct buf first = BUF_INIT(MAX_BYTES), second = BUF_INIT(MAX_BYTES);
	pg_table_to_json(t, &first);
	struct pg_table *again = parse(first.data);
	CHECK(again != NULL);
	if (again != NULL) {
		pg_table_to_json(again, &second);
		CHECK_STR(second.data, first.data);
		CHECK(pg_table_same_columns(t, again));
		again->columns[1].not_null = true;
		CHECK(pg_table_same_columns(t, again));
		check_differences(t, again);
		again->columns[1].type_oid = 25;
		CHECK(!pg_table_same_columns(t, again));
	}
	pg_table_unref(again);
	buf_reset(&first);
	uint16_t some[] = {1};
	pg_table_schema_json(t, some, 1, &first);
	CHECK_STR(first.data, "{\"b\":{\"type\":\"bool\"}}");
	CHECK(pg_table_ref(t) == t);
	pg_table_unref(t);
	pg_table_unref(t);
	pg_table_unref(NULL);
	buf_clear(&first);
	buf_clear(&second);
}

/* [0] a composite type with a range of an enum in it. */
#define NESTED(v, pair, mood, more) \
	"{\"v\":" v ",\"oid\":1,\"schema\":\"s\",\"name\":\"t\",\"relkind\":\"r\",\"columns\":[" \
	"[\"p\",1,20001,-1,\"pair\",0,true,false,false,0,-1]],\"leaves\":[],\"keys\":0,\"clash\":null,\"members\":[],\"types\":[" \
	"[20001,\"s\",\"pair\",\"c\",0,0,-1,[]" pair "]" more ",[20003,\"s\",\"mood\",\"e\",0,0,-1,[" mood "]]" \
	"],\"collations\":[" DEFAULT_COLLATION "]}"
#define PAIR ",[[1,20002,-1,\"m\"],[3,23,-1,\"n\"]]"
#define RANGE ",[20002,\"s\",\"span\",\"r\",0,0,-1,[],[[0,20003,-1,\"\"]]]"
#define MOOD "\"a\",\"b\"],[[31,0,-1,\"\"],[33,0,-1,\"\"]"

static void check_nested(const char *now, bool same, bool keeps)
{
	struct pg_table *a = parse(NESTED("3", PAIR, MOOD, RANGE)), *b = parse(now);
	CHECK(a != NULL && b != NULL);
	if (a != NULL && b != NULL && !(CHECK(pg_table_same_columns(a, b) == same) &
	                                CHECK(pg_column_keeps_values(a, &a->columns[0], b, &b->columns[0]) == keeps)))
		printf("  %s\n", now);
	struct buf json = BUF_INIT(MAX_BYTES);
	if (b != NULL)
		pg_table_to_json(b, &json);
	struct pg_table *again = b != NULL ? parse(json.data) : NULL;
	CHECK(again != NULL && pg_table_same_columns(again, b) && pg_table_same_columns(b, again));
	pg_table_unref(again);
	pg_table_unref(a);
	pg_table_unref(b);
	buf_clear(&json);
}

/* What types are made of: a label that another one took the name of, attributes that came, went and were renamed. */
static void test_nested_types(void)
{
	check_nested(NESTED("3", PAIR, MOOD, RANGE), true, true);
	check_nested(NESTED("3", ",[[1,20002,-1,\"x\"],[3,23,-1,\"n\"]]", MOOD, RANGE), false, true);
	check_nested(NESTED("3", ",[[1,20002,-1,\"m\"]]", MOOD, RANGE), false, false);
	check_nested(NESTED("3", ",[[1,20002,-1,\"m\"],[3,23,-1,\"n\"],[4,23,-1,\"o\"]]", MOOD, RANGE), false, false);
	check_nested(NESTED("3", ",[[1,20002,-1,\"m\"],[4,23,-1,\"n\"]]", MOOD, RANGE), false, false);
	check_nested(NESTED("3", PAIR, "\"b\",\"a\"],[[31,0,-1,\"\"],[33,0,-1,\"\"]", RANGE), false, false);
	check_nested(NESTED("3", PAIR, "\"a\",\"c\",\"b\"],[[31,0,-1,\"\"],[35,0,-1,\"\"],[33,0,-1,\"\"]", RANGE), false, true);
	check_nested(NESTED("3", PAIR, "\"c\",\"a\",\"b\"],[[31,0,-1,\"\"],[35,0,-1,\"\"],[33,0,-1,\"\"]", RANGE), false, false);
	check_nested(NESTED("3", PAIR, "\"a\"],[[31,0,-1,\"\"]", RANGE), false, false);
	/* As it was stored before: nobody knows what is inside, and nothing rotates for that. */
	struct pg_table *old = parse(NESTED("2", "", "\"a\",\"b\"", "")), *now = parse(NESTED("3", PAIR, MOOD, RANGE));
	CHECK(old != NULL && now != NULL && pg_table_same_columns(old, now));
	CHECK(old != NULL && now != NULL && pg_column_keeps_values(old, &old->columns[0], now, &now->columns[0]));
	pg_table_unref(old);
	pg_table_unref(now);
}

static void test_json_refused(void)
{
	static const char head[] = "{\"v\":2,\"oid\":1,\"schema\":\"s\",\"name\":\"t\",\"relkind\":\"r\",\"columns\":[";
	static const char *const bad_columns[] = {
		"",
		"1",
		"[]",
		"[\"c\",1,25,-1,\"text\",0,false,false,false,-1]",
		"[\"\",1,25,-1,\"text\",0,false,false,false,-1,0]",
		"[\"c\",0,25,-1,\"text\",0,false,false,false,-1,0]",
		"[\"c\",1,25,-1,\"text\",0,false,false,1,-1,0]",
		"[\"c\",1,25,-1,\"text\",0,false,false,false,1,0]",
		"[\"c\",1,25,-1,\"text\",0,false,false,false,0,0],[\"d\",2,25,-1,\"text\",0,false,false,false,0,0]",
		"[\"c\",1,25,-1,\"text\",0,false,false,false,-2,0]",
		"[\"c\",1,25,-1,\"text\",0,false,false,false,-1,1]",
		"[\"c\",1,25,-1,\"text\",0,false,false,false,-1,-2]",
		"[\"c\",1,4294967296,-1,\"text\",0,false,false,false,-1,0]",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad_columns); i++) {
		char json[512];
		snprintf(json, sizeof json, "%s%s]," NO_MORE, head, bad_columns[i]);
		if (!CHECK(parse(json) == NULL))
			printf("  accepted %s\n", json);
	}
	static const char *const bad_ends[] = {
		"\"types\":[]",
		"\"types\":[],\"collations\":[]",
		"\"types\":[],\"collations\":[[1]]",
		"\"types\":[],\"collations\":[[101,\"pg_catalog\",\"default\",\"c\",true,\"C\",\"C\",null]]",
		"\"types\":[],\"collations\":[[100,\"pg_catalog\",\"default\",\"cc\",true,\"C\",\"C\",null]]",
		"\"types\":[],\"collations\":[[100,\"pg_catalog\",\"default\",\"c\",true,null,\"C\",null]]",
		"\"collations\":[" DEFAULT_COLLATION "]",
		"\"types\":[1],\"collations\":[" DEFAULT_COLLATION "]",
		"\"types\":[[1,\"s\",\"n\",\"e\",0,0,-1,[1]]],\"collations\":[" DEFAULT_COLLATION "]",
		"\"types\":[[1,\"s\",\"n\",\"\",0,0,-1,[]]],\"collations\":[" DEFAULT_COLLATION "]",
		"\"types\":[[1,\"s\",\"n\",\"e\",0,0,-1]],\"collations\":[" DEFAULT_COLLATION "]",
		"\"types\":[[1,\"s\",\"n\",\"e\",0,0,-1,[],1]],\"collations\":[" DEFAULT_COLLATION "]",
		"\"types\":[[1,\"s\",\"n\",\"e\",0,0,-1,[],[[1,2,3]]]],\"collations\":[" DEFAULT_COLLATION "]",
		"\"types\":[[1,\"s\",\"n\",\"e\",0,0,-1,[],[[1,2,3,4]]]],\"collations\":[" DEFAULT_COLLATION "]",
	};
	for (size_t i = 0; i < ARRAY_LEN(bad_ends); i++) {
		char json[512];
		snprintf(json, sizeof json, "%s[\"c\",1,25,-1,\"text\",0,false,false,false,-1,0]],\"leaves\":[],%s}", head, bad_ends[i]);
		struct pg_table *t = parse(json);
		if (!CHECK(t == NULL))
			printf("  accepted %s\n", json);
		pg_table_unref(t);
	}
	struct buf json = BUF_INIT(MAX_BYTES);
	for (size_t cut = 0; cut < sizeof stored - 1; cut++) {
		buf_reset(&json);
		buf_put(&json, stored, cut);
		struct pg_table *t = parse(json.data);
		CHECK(t == NULL);
		pg_table_unref(t);
	}
	buf_clear(&json);
	CHECK(parse("[]") == NULL);
	CHECK(parse("{\"v\":3}") == NULL);
	CHECK(parse("{\"v\":1}") == NULL);
	CHECK(parse("{\"v\":4}") == NULL);
	CHECK(parse("{\"v\":\"2\"}") == NULL);
}

static void check_copy(const char *copy, size_t len, const char *json, const char *raw, size_t raw_len)
{
	struct buf out = BUF_INIT(MAX_BYTES);
	/* A copy of exactly this size, so that the sanitizer sees a read past its end. */
	char *exact = mem_alloc(len);
	memcpy(exact, copy, len);
	struct pg_copy_value v = {exact, (uint32_t)len, false};
	buf_puts(&out, "");
	pg_copy_json(&out, v);
	CHECK_STR(out.data, json);
	buf_reset(&out);
	buf_puts(&out, "");
	pg_copy_raw(&out, v);
	CHECK_INT(out.len, raw_len);
	CHECK(out.len == raw_len && memcmp(out.data, raw, raw_len) == 0);
	buf_clear(&out);
	free(exact);
}

#define CHECK_COPY(copy, json, raw) check_copy(copy, sizeof(copy) - 1, json, raw, sizeof(raw) - 1)

static void test_copy_text(void)
{
	CHECK_COPY("", "", "");
	CHECK_COPY("plain \xc3\xa4 /", "plain \xc3\xa4 /", "plain \xc3\xa4 /");
	CHECK_COPY("\\b\\f\\n\\r\\t\\\\", "\\b\\f\\n\\r\\t\\\\", "\b\f\n\r\t\\");
	CHECK_COPY("a\\vb", "a\\u000Bb", "a\vb");
	CHECK_COPY("\\v\\v", "\\u000B\\u000B", "\v\v");
	CHECK_COPY("say \"hi\"", "say \\\"hi\\\"", "say \"hi\"");
	CHECK_COPY("\"\"", "\\\"\\\"", "\"\"");
	CHECK_COPY("\x01\x1f\x7f", "\\u0001\\u001F\x7f", "\x01\x1f\x7f");
	CHECK_COPY("a\\,b\\\"", "a,b\\\"", "a,b\"");
	CHECK_COPY("\\\\n", "\\\\n", "\\n");
	CHECK_COPY("\\\\\\v", "\\\\\\u000B", "\\\v");
	CHECK_COPY("tail\\", "tail\\\\", "tail\\");
	CHECK_COPY("{\"a\\\\nb\"}", "{\\\"a\\\\nb\\\"}", "{\"a\\nb\"}");
	CHECK(PG_COPY_IS_NULL(((struct pg_copy_value){"\\N", 2, false})));
	CHECK(!PG_COPY_IS_NULL(((struct pg_copy_value){"\\\\N", 3, false})));
	CHECK(!PG_COPY_IS_NULL(((struct pg_copy_value){"", 0, false})));
}

static void test_snapshot_holds(void)
{
	uint64_t xip[] = {105, 107};
	struct pg_snapshot s = {.xmin = 105, .xmax = 110, .xip = xip, .nxip = 2};
	CHECK(pg_snapshot_holds(&s, 3));
	CHECK(pg_snapshot_holds(&s, 104));
	CHECK(!pg_snapshot_holds(&s, 105));
	CHECK(pg_snapshot_holds(&s, 106));
	CHECK(!pg_snapshot_holds(&s, 107));
	CHECK(pg_snapshot_holds(&s, 109));
	CHECK(!pg_snapshot_holds(&s, 110));
	CHECK(!pg_snapshot_holds(&s, 2000000000));
	struct pg_snapshot none = {.xmin = 110, .xmax = 110};
	CHECK(pg_snapshot_holds(&none, 109));
	CHECK(!pg_snapshot_holds(&none, 110));

	/* Across the end of an epoch: xmin in epoch 2, xmax in epoch 3. */
	uint64_t epoch = UINT64_C(1) << 32, wrapped_xip[] = {3 * epoch - 6, 3 * epoch + 4};
	struct pg_snapshot w = {.xmin = 3 * epoch - 6, .xmax = 3 * epoch + 8, .xip = wrapped_xip, .nxip = 2};
	CHECK(pg_snapshot_holds(&w, UINT32_MAX - 100));
	CHECK(!pg_snapshot_holds(&w, UINT32_MAX - 5));
	CHECK(pg_snapshot_holds(&w, UINT32_MAX - 4));
	CHECK(pg_snapshot_holds(&w, UINT32_MAX));
	CHECK(pg_snapshot_holds(&w, 3));
	CHECK(!pg_snapshot_holds(&w, 4));
	CHECK(pg_snapshot_holds(&w, 7));
	CHECK(!pg_snapshot_holds(&w, 8));
	CHECK(!pg_snapshot_holds(&w, 1000));
}

static void test_names(void)
{
	struct buf b = BUF_INIT(MAX_BYTES);
	pg_put_table(&b, "pub\"lic", "\"x\"");
	CHECK_STR(b.data, "\"pub\"\"lic\".\"\"\"x\"\"\"");
	buf_clear(&b);
}

int main(void)
{
	RUN(test_schema_header);
	RUN(test_json_round_trip);
	RUN(test_nested_types);
	RUN(test_json_refused);
	RUN(test_copy_text);
	RUN(test_snapshot_holds);
	RUN(test_names);
	return check_done("test_catalog");
}
