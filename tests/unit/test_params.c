/* test_params.c - query strings, JSON bodies, casting, offsets, paths, trimming of texts. */
#include <stdlib.h>

#include "check.h"
#include "http/condition.h"
#include "http/params.h"
#include "http/path.h"

static struct arena arena;

static struct pval decode(const char *query)
{
	struct pval v;
	if (params_decode_query(&arena, query, strlen(query), &v) < 0)
		v = (struct pval){.type = PVAL_NULL};
	return v;
}

static const char *text(const struct pval *v) { return v == NULL ? "(absent)" : v->type == PVAL_STRING ? v->p : "(other)"; }

/* The tree as JSON-like text, for comparing. */
static void show(const struct pval *v, struct buf *b)
{
	switch (v->type) {
	case PVAL_NULL: buf_puts(b, "null"); break;
	case PVAL_BOOL: buf_puts(b, v->boolean ? "true" : "false"); break;
	case PVAL_NUMBER: buf_put(b, v->p, v->len); break;
	case PVAL_STRING: buf_json_string(b, v->p, v->len); break;
	case PVAL_LIST:
	case PVAL_MAP:
		buf_putc(b, v->type == PVAL_LIST ? '[' : '{');
		for (struct pentry *e = v->first; e != NULL; e = e->next) {
			if (e != v->first)
				buf_putc(b, ',');
			if (v->type == PVAL_MAP) {
				buf_json_string(b, e->key, e->key_len);
				buf_putc(b, ':');
			}
			show(&e->value, b);
		}
		buf_putc(b, v->type == PVAL_LIST ? ']' : '}');
		break;
	}
}

static const char *shown(const struct pval *v)
{
	struct buf b = BUF_INIT(1 << 20);
	if (v == NULL)
		return "(absent)";
	show(v, &b);
	const char *s = arena_strndup(&arena, b.data, b.len);
	buf_clear(&b);
	return s;
}

static void test_query(void)
{
	struct pval v = decode("table=items&offset=-1");
	CHECK_STR(text(pval_get(&v, "table")), "items");
	CHECK_STR(text(pval_get(&v, "offset")), "-1");
	v = decode("table=a&table=b");
	CHECK_STR(text(pval_get(&v, "table")), "b");
	v = decode("live&table=");
	CHECK_STR(text(pval_get(&v, "live")), "");
	CHECK_STR(text(pval_get(&v, "table")), "");
	v = decode("table=a+b%20c%2Bd&%74able2=x");
	CHECK_STR(text(pval_get(&v, "table")), "a b c+d");
	v = decode("table=%zz%4&where=%");
	CHECK_STR(text(pval_get(&v, "table")), "%zz%4");
	CHECK_STR(text(pval_get(&v, "where")), "%");
	v = decode("table=a=b=c");
	CHECK_STR(text(pval_get(&v, "table")), "a=b=c");
	v = decode("columns[]=a&columns[]=b");
	CHECK_STR(shown(pval_get(&v, "columns")), "[\"a\",\"b\"]");
	v = decode("params[1]=x&params[2]=y&params[1]=z");
	CHECK_STR(shown(pval_get(&v, "params")), "{\"1\":\"z\",\"2\":\"y\"}");
	v = decode("params[a][b]=1&params[a][]=2");
	CHECK_STR(shown(pval_get(&v, "params")), "{\"a\":[\"2\"]}");
	v = decode("columns[]=a&columns=b");
	CHECK_STR(shown(pval_get(&v, "columns")), "\"b\"");
	v = decode("columns=a&columns[]=b");
	CHECK_STR(shown(pval_get(&v, "columns")), "[\"b\"]");
	v = decode("columns[][x]=1&columns[][x]=2");
	CHECK_STR(shown(pval_get(&v, "columns")), "[{\"x\":\"1\"},{\"x\":\"2\"}]");
	v = decode("table[=1&table]=2");
	CHECK_STR(text(pval_get(&v, "table")), "2");
	v = decode("unknown=1&&&");
	CHECK_INT(v.count, 0);
	v = decode("");
	CHECK_INT(v.count, 0);
	CHECK_INT(decode("table=%ff").type, PVAL_NULL);
	CHECK_INT(decode("x=%C0%80").type, PVAL_NULL);
	CHECK_INT(decode("%ed%a0%80=1").type, PVAL_NULL);
	CHECK_INT(decode("table=%D0%BA").type, PVAL_MAP);
}

static void test_deep_query(void)
{
	struct buf b = BUF_INIT(1 << 20);
	buf_puts(&b, "params");
	for (int i = 0; i < 5000; i++)
		buf_puts(&b, "[a]");
	buf_puts(&b, "=1&table=x");
	struct pval v = decode(b.data);
	CHECK(pval_get(&v, "params") == NULL);
	CHECK_STR(text(pval_get(&v, "table")), "x");
	buf_clear(&b);
}

static void syntax(const char *json, const char *want)
{
	struct buf details = BUF_INIT(4096);
	struct pval v;
	CHECK_INT(json_parse(&arena, json, strlen(json), &v, &details), BODY_SYNTAX);
	CHECK_STR(details.data, want);
	buf_clear(&details);
}

static void test_json_errors(void)
{
	syntax("{", "unexpected end of input at position 1");
	syntax("{\"a\":", "unexpected end of input at position 5");
	syntax("x", "unexpected byte at position 0: 0x78 (\"x\")");
	syntax("[", "unexpected end of input at position 1");
	syntax("{\"a\" 1}", "unexpected byte at position 5: 0x31 (\"1\")");
	syntax("{\"a\":1,}", "unexpected byte at position 7: 0x7D (\"}\")");
	syntax("{'a':1}", "unexpected byte at position 1: 0x27 (\"'\")");
	syntax(" ", "unexpected end of input at position 1");
	syntax("{}x", "unexpected byte at position 2: 0x78 (\"x\")");
	syntax("{\"a\":\"\001\"}", "unexpected byte at position 6: 0x1");
	syntax("{\"a\":\"\\u12\"}", "unexpected sequence at position 6: \"\\\\u12\\\"}\"");
	syntax("{\"a\":01}", "unexpected byte at position 6: 0x31 (\"1\")");
	syntax("-", "unexpected end of input at position 1");
	syntax("1.", "unexpected end of input at position 2");
	syntax("1.5e", "unexpected end of input at position 4");
	syntax("[1 2]", "unexpected byte at position 3: 0x32 (\"2\")");
	syntax("tru", "unexpected byte at position 0: 0x74 (\"t\")");
	syntax("\"a\nb\"", "unexpected byte at position 2: 0xA (\"\\n\")");
	syntax("\"\\", "unexpected byte at position 1: 0x5C (\"\\\\\")");
	syntax("\"\\q\"", "unexpected byte at position 2: 0x71 (\"q\")");
	syntax("\"\\ud800\"", "unexpected byte at position 7: 0x22 (\"\\\"\")");
	syntax("\"\\udc00\"", "unexpected sequence at position 1: \"\\\\udc00\"");
	syntax("\"\\ud800\\u0041\"", "unexpected sequence at position 1: \"\\\\ud800\\\\u0041\"");
	syntax("\"\303\"", "unexpected byte at position 1: 0xC3");
	syntax("1e999", "unexpected sequence at position 0: \"1e999\"");
}

static void test_json_values(void)
{
	static const char json[] = " {\"a\": [1, -2.5e3, true, false, null, \"x\\u00e9\\ud83d\\ude00\\n\\/\"], \"b\":{}, \"c\":[]} ";
	struct buf details = BUF_INIT(4096);
	struct pval v;
	CHECK_INT(json_parse(&arena, json, sizeof json - 1, &v, &details), BODY_OK);
	CHECK_STR(shown(&v), "{\"a\":[1,-2.5e3,true,false,null,\"x\303\251\360\237\230\200\\n/\"],\"b\":{},\"c\":[]}");
	struct buf deep = BUF_INIT(1 << 20);
	for (int i = 0; i < 100000; i++)
		buf_putc(&deep, '[');
	CHECK_INT(json_parse(&arena, deep.data, deep.len, &v, &details), BODY_TOO_LARGE);
	buf_reset(&deep);
	buf_putc(&deep, '[');
	for (int i = 0; i < PARAMS_NODES_MAX; i++)
		buf_puts(&deep, "1,");
	buf_puts(&deep, "1]");
	CHECK_INT(json_parse(&arena, deep.data, deep.len, &v, &details), BODY_TOO_LARGE);
	buf_clear(&deep);
	buf_clear(&details);
}

/* The parameters of a POST, shown. */
static const char *merged(const char *query, const char *body)
{
	struct buf details = BUF_INIT(4096);
	struct pval v = decode(query);
	enum body_result result = body_merge(&arena, body, strlen(body), &v, &details);
	buf_clear(&details);
	return result == BODY_OK ? shown(&v) : result == BODY_NOT_OBJECT ? "not an object" : "refused";
}

static void test_merge(void)
{
	CHECK_STR(merged("table=a", ""), "{\"table\":\"a\"}");
	CHECK_STR(merged("table=a", "{\"table\":\"b\"}"), "{\"table\":\"b\"}");
	CHECK_STR(merged("", "{\"table\":\"b\",\"offset\":\"-1\"}"), "{\"table\":\"b\",\"subset\":{\"offset\":\"-1\"}}");
	CHECK_STR(merged("offset=-1", "{\"where\":\"x\",\"subset\":{\"limit\":1}}"),
	          "{\"offset\":\"-1\",\"where\":\"x\",\"subset\":{\"limit\":1}}");
	CHECK_STR(merged("subset__limit=1&subset__where=a", "{\"where\":\"b\"}"),
	          "{\"subset__where\":\"a\",\"subset__limit\":\"1\",\"subset\":{\"where\":\"b\",\"limit\":\"1\"}}");
	CHECK_STR(merged("offset=-1", "{\"subset\":[]}"), "{\"offset\":\"-1\",\"subset\":[]}");
	CHECK_STR(merged("secret=x", "{\"secret\":\"y\"}"), "{\"secret\":\"x\"}");
	CHECK_STR(merged("", "[1]"), "not an object");
	CHECK_STR(merged("", "null"), "not an object");
}

/* The complaints about a query, "" if there are none. */
static const char *complaints(const char *query, bool deleting)
{
	struct params_errors e;
	struct shape_params p;
	struct pval v = decode(query);
	struct buf b = BUF_INIT(1 << 16);
	if ((deleting ? params_check_delete(&arena, &v, &p, &e) : params_check(&arena, &v, &p, &e)) == 0)
		return "";
	for (size_t i = 0; i < e.count; i++)
		buf_printf(&b, "%s%s: %s", i > 0 ? "; " : "", e.list[i].field, e.list[i].text);
	const char *s = arena_strndup(&arena, b.data, b.len);
	buf_clear(&b);
	return s;
}

/* The complaint about the body's list of columns, or "". */
static const char *elements(const char *query, const char *body)
{
	struct pval params = decode(query);
	struct buf details = BUF_INIT(4096);
	struct shape_params p;
	struct params_errors e;
	if (body_merge(&arena, body, strlen(body), &params, &details) != BODY_OK)
		return "bad body";
	buf_clear(&details);
	return params_check(&arena, &params, &p, &e) == 0 ? "" : e.list[0].text;
}

#define ELEMENTS(field, all, at, one) \
	"expected :" field " option to match at least one given type, but didn't match any. Here are the reasons why it didn't " \
	"match each of the allowed types:\n\n  * invalid value for :" field " option: expected nil, got: " all "\n  * invalid " \
	"list in :" field " option: invalid value for list element at position " at ": expected string, got: " one

static void test_elements(void)
{
	CHECK_STR(elements("table=a&offset=-1", "{\"columns\":[\"id\",1]}"), ELEMENTS("columns", "[\"id\", 1]", "1", "1"));
	CHECK_STR(elements("table=a&offset=-1", "{\"queryable_columns\":[null,\"a\\\"#{b\",{\"x\":[true,1.5]},[104,105]]}"),
	          ELEMENTS("queryable_columns", "[nil, \"a\\\"\\#{b\", %{\"x\" => [true, 1.5]}, ~c\"hi\"]", "0", "nil"));
	/* A name without a letter is seen before, a table that isn't named too. */
	CHECK_STR(elements("table=a&offset=-1", "{\"columns\":[\"id\",[9e1,104]]}"), ELEMENTS("columns", "[\"id\", [9e1, 104]]", "1", "[9e1, 104]"));
	CHECK_STR(elements("table=a&offset=-1", "{\"columns\":[1,\"\"]}"), "Invalid zero-length identifier");
	CHECK_STR(elements("offset=-1", "{\"columns\":[1]}"), "can't be blank");
	CHECK_STR(elements("table=a&offset=-1", "{\"columns\":[\"id\"]}"), "");
	CHECK_STR(elements("table=a&offset=-1", "{\"columns\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,"
	                   "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}"),
	          ELEMENTS("columns", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "
	                   "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...]", "0", "0"));
}

static void test_check(void)
{
	CHECK_STR(complaints("", false), "offset: can't be blank");
	CHECK_STR(complaints("table=a&offset=%20", false), "offset: can't be blank");
	CHECK_STR(complaints("table=a&offset=-1", false), "");
	CHECK_STR(complaints("table=nope%20nope&offset=abc", false), "offset: has invalid format");
	CHECK_STR(complaints("offset[]=-1", false), "offset: is invalid");
	CHECK_STR(complaints("offset=0_0", false), "handle: can't be blank when offset != -1");
	CHECK_STR(complaints("offset=0_0&handle[]=x", false), "handle: is invalid");
	CHECK_STR(complaints("table=a&offset=-1&live=0", false), "live: can't be true when offset == -1");
	CHECK_STR(complaints("table=a&offset=now&live", false), "live: can't be true when offset is 'now'");
	CHECK_STR(complaints("table=a&offset=-1&live=false", false), "");
	CHECK_STR(complaints("table=a&offset=-1&live_sse=", false), "live_sse: can't be true unless live is also true");
	CHECK_STR(complaints("table=a&offset=-1&experimental_live_sse=banana", false), "live_sse: is invalid");
	CHECK_STR(complaints("offset=-1", false), "table: can't be blank");
	CHECK_STR(complaints("table=a&replica=half&log=none&experimental_compaction=maybe", false),
	          "replica: is invalid; log: is invalid; experimental_compaction: is invalid; offset: can't be blank");
	CHECK_STR(complaints("table=a&offset=-1&params=x", false), "params: is invalid");
	CHECK_STR(complaints("table=a&offset=-1&columns[x]=id", false), "columns: is invalid");
	CHECK_STR(complaints("table=a&offset=abc&columns=*&queryable_columns=b%20", false),
	          "columns: Invalid unquoted identifier contains special characters: *; queryable_columns: Invalid unquoted "
	          "identifier contains special characters: b ");
	CHECK_STR(complaints("table=a&offset=-1&replica=FULL&columns=*&params=1", false),
	          "params: is invalid; columns: Invalid unquoted identifier contains special characters: *; replica: is invalid");
	CHECK_STR(complaints("table=a&columns=*", false),
	          "columns: Invalid unquoted identifier contains special characters: *; offset: can't be blank");
	CHECK_STR(complaints("offset=-1&table=nope&columns[]=", false), "columns: Invalid zero-length identifier");
	/* A subset comes after all else, the table's existence too. */
	CHECK_STR(complaints("table=a&offset=-1&subset=1", false), "");
	CHECK_STR(complaints("", true), "handle: can't be blank when shape definition is missing");
	CHECK_STR(complaints("live=banana", true), "live: is invalid; handle: can't be blank when shape definition is missing");
	CHECK_STR(complaints("live=banana&handle[]=x", true), "handle: is invalid; live: is invalid");
	CHECK_STR(complaints("table[]=a&log=x", true),
	          "table: is invalid; log: is invalid; handle: can't be blank when shape definition is missing");
	CHECK_STR(complaints("table=a&live=banana", true), "live: is invalid");
	CHECK_STR(complaints("handle=x&offset=nonsense", true), "");
}

static void test_typed(void)
{
	struct params_errors e;
	struct shape_params p;
	struct pval v = decode("table=a&offset=-1&handle=x&columns=id,b&replica=full&log=changes_only&experimental_compaction=1");
	CHECK_INT(params_check(&arena, &v, &p, &e), 0);
	CHECK(p.handle == NULL && p.offset_kind == OFFSET_START && p.compaction && p.subset == NULL);
	CHECK_INT(p.def.replica, REPLICA_FULL);
	CHECK_INT(p.def.log_mode, LOG_MODE_CHANGES_ONLY);
	CHECK(p.def.columns.given && p.def.columns.count == 2 && !p.def.queryable_columns.given);
	v = decode("table=a&offset=5_inf&handle=x&live&live_sse=true&subset__limit=");
	CHECK_INT(params_check(&arena, &v, &p, &e), 0);
	CHECK(p.live && p.sse && p.subset != NULL && p.handle != NULL);
	CHECK(p.offset.tx == 5 && p.offset.op == LOG_OP_INF);
}

static void test_offsets(void)
{
	static const char *const bad[] = {"10", "1_2_3", "1_2 ", " 1_2", "10_32.1", "0_-1", "abc", "-2", "_", "1_", "_1",
	                                  "1_inf_2", "0_INF", "inf", "-1_1", "NOW", "1,2", "0x1_0", "", "+_1", "-0_1"};
	enum offset_kind kind;
	struct log_offset o;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (!CHECK(!params_parse_offset(bad[i], strlen(bad[i]), &kind, &o)))
			printf("  %s\n", bad[i]);
	CHECK(params_parse_offset("0_02", 4, &kind, &o) && kind == OFFSET_AT && o.tx == 0 && o.op == 2);
	CHECK(params_parse_offset("+7_+8", 5, &kind, &o) && o.tx == 7 && o.op == 8);
	CHECK(params_parse_offset("-1_0", 4, &kind, &o) && kind == OFFSET_START);
	CHECK(params_parse_offset("now", 3, &kind, &o) && kind == OFFSET_NOW);
	CHECK(params_parse_offset("99999999999999999999999_99999999999999999999999", 47, &kind, &o));
	CHECK(o.tx == UINT64_MAX - 3 && o.op != LOG_OP_INF);
}

static void test_paths(void)
{
	static const char *const shape[] = {"/v1/shape", "/v1/shape/", "/v1//shape", "//v1/shape//", "/v1/%73hape", "/%761/shape"};
	static const char *const none[] = {"/v1", "/v1/", "/v1/shapes", "/v1/shape/x", "/v2/shape", "/v1/Shape", "/V1/shape",
	                                   "/v1%2fshape", "/v1/sh%zzape", "/v1/shape%00", "*", "/v1/health/x", "/v1/readyx", "/metrics"};
	for (size_t i = 0; i < ARRAY_LEN(shape); i++)
		CHECK_INT(route_path(shape[i], strlen(shape[i])), PATH_SHAPE);
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		if (!CHECK_INT(route_path(none[i], strlen(none[i])), PATH_NONE))
			printf("  %s\n", none[i]);
	CHECK_INT(route_path("/", 1), PATH_ROOT);
	CHECK_INT(route_path("", 0), PATH_ROOT);
	CHECK_INT(route_path("/v1/health/", 11), PATH_HEALTH);
	CHECK_INT(route_path("/v1/ready", 9), PATH_READY);
}

static void test_errors_json(void)
{
	struct params_errors e = {.count = 0};
	struct buf b = BUF_INIT(4096);
	params_error(&e, "table", "a \"b\"\n");
	params_error(&e, "offset", "can't be blank");
	params_errors_json(&e, &b);
	CHECK_STR(b.data, "{\"message\":\"Invalid request\",\"errors\":{\"table\":[\"a \\\"b\\\"\\n\"],"
	                  "\"offset\":[\"can't be blank\"]}}");
	buf_clear(&b);
}

static void test_etags(void)
{
	CHECK(params_etag_listed("\"h:-1:0_0\"", "h:-1:0_0"));
	CHECK(params_etag_listed("\"other\",  \"h:-1:0_0\" ", "h:-1:0_0"));
	CHECK(params_etag_listed("h:-1:0_0", "h:-1:0_0"));
	CHECK(params_etag_listed("W/\"h:-1:0_0\"", "h:-1:0_0"));
	CHECK(params_etag_listed("\"other\", W/\"h:-1:0_0\"", "h:-1:0_0"));
	CHECK(!params_etag_listed("W/", "h:-1:0_0"));
	CHECK(!params_etag_listed("w/\"h:-1:0_0\"", "h:-1:0_0"));
	CHECK(!params_etag_listed("*", "h:-1:0_0"));
	CHECK(!params_etag_listed("", "h:-1:0_0"));
	CHECK(!params_etag_listed("\",\",,", "h:-1:0_0"));
}

/* A query's subset as `where|order_by|limit|offset|params`, or its complaints. */
static const char *subset(const char *query, const char *body)
{
	struct pval params = decode(query);
	struct buf b = BUF_INIT(1 << 20), details = BUF_INIT(4096);
	struct shape_params shape;
	struct subset_params p;
	struct params_errors e;
	if (body != NULL && body_merge(&arena, body, strlen(body), &params, &details) != BODY_OK)
		return "bad body";
	buf_clear(&details);
	if (params_check(&arena, &params, &shape, &e) < 0)
		return "bad request";
	if (shape.subset == NULL)
		return "no subset";
	if (!params_subset_ok(shape.subset))
		return "subset: is invalid";
	if (params_check_subset(&arena, shape.subset, &p, &e) == 0) {
		buf_printf(&b, "%s|%s|%lld|%lld|", p.where != NULL ? p.where : "-", p.order_by != NULL ? p.order_by : "-",
		           (long long)p.limit, (long long)p.offset);
		if (p.params != NULL)
			show(p.params, &b);
	} else {
		for (size_t i = 0; i < e.count; i++)
			buf_printf(&b, "%s%s: %s", i > 0 ? "; " : "", e.list[i].field, e.list[i].text);
	}
	const char *out = arena_strndup(&arena, b.data, b.len);
	buf_clear(&b);
	return out;
}

#define BASE "table=t&offset=-1&"
#define NEEDS_ORDER "order_by: order_by is required when limit or offset is present"

static void test_subset(void)
{
	CHECK_STR(subset(BASE, NULL), "no subset");
	CHECK_STR(subset(BASE "subset__where=", NULL), "-|-|-1|0|");
	CHECK_STR(subset(BASE "subset__where_expr=x", NULL), "-|-|-1|0|");
	CHECK_STR(subset(BASE "subset__where=n%3E1&subset__order_by=id&subset__limit=5&subset__offset=2", NULL), "n>1|id|5|2|");
	CHECK_STR(subset(BASE "subset[where]=a&subset[params][1]=x&where=b", NULL), "a|-|-1|0|{\"1\":\"x\"}");
	CHECK_STR(subset(BASE "subset__where=a&subset[where]=b", NULL), "b|-|-1|0|");
	CHECK_STR(subset(BASE "subset__params={\"1\":1.50,\"2\":true,\"3\":null,\"4\":\"s\"}", NULL),
	          "-|-|-1|0|{\"1\":\"1.50\",\"2\":\"true\",\"3\":\"\",\"4\":\"s\"}");
	CHECK_STR(subset(BASE "subset__params[1]=15", NULL), "-|-|-1|0|{\"1\":\"15\"}");
	CHECK_STR(subset(BASE "subset__params={", NULL), "params: params must be valid JSON");
	CHECK_STR(subset(BASE "subset__params=[1]", NULL), "params: params must be a JSON object");
	CHECK_STR(subset(BASE "subset__params=1", NULL), "params: params must be a JSON object");
	CHECK_STR(subset(BASE "subset__params={\"1\":[1]}", NULL), "params: is invalid");
	CHECK_STR(subset(BASE "subset__limit=0", NULL), "limit: must be greater than 0; " NEEDS_ORDER);
	CHECK_STR(subset(BASE "subset__limit=0&subset__order_by=id", NULL), "limit: must be greater than 0");
	CHECK_STR(subset(BASE "subset__limit=-1&subset__offset=-1", NULL),
	          "limit: must be greater than 0; offset: must be greater than or equal to 0; " NEEDS_ORDER);
	CHECK_STR(subset(BASE "subset__limit=x", NULL), "limit: is invalid");
	CHECK_STR(subset(BASE "subset__limit=1.5", NULL), "limit: is invalid");
	CHECK_STR(subset(BASE "subset__limit=%201", NULL), "limit: is invalid");
	CHECK_STR(subset(BASE "subset__limit=-", NULL), "limit: is invalid");
	CHECK_STR(subset(BASE "subset__limit=99999999999999999999", NULL), "limit: is invalid");
	CHECK_STR(subset(BASE "subset__limit=9223372036854775807&subset__order_by=id", NULL), "-|id|9223372036854775807|0|");
	CHECK_STR(subset(BASE "subset__limit=&subset__offset=", NULL), "-|-|-1|0|");
	CHECK_STR(subset(BASE "subset__offset=0", NULL), NEEDS_ORDER);
	CHECK_STR(subset(BASE "subset__where[]=1", NULL), "where: is invalid");
	CHECK_STR(subset(BASE "subset__limit=1&subset__order_by[]=id", NULL), "order_by: is invalid");
	CHECK_STR(subset(BASE "subset=1", NULL), "subset: is invalid");
	CHECK_STR(subset(BASE "subset[]=1", NULL), "subset: is invalid");
	CHECK_STR(subset(BASE, "{\"where\":\"n > 15\",\"order_by\":\"id\",\"limit\":2}"), "n > 15|id|2|0|");
	CHECK_STR(subset(BASE, "{\"order_by\":\"id\",\"limit\":\"1\",\"offset\":1}"), "-|id|1|1|");
	CHECK_STR(subset(BASE, "{\"limit\":2.0,\"order_by\":\"id\"}"), "limit: is invalid");
	CHECK_STR(subset(BASE, "{\"limit\":true,\"order_by\":\"id\"}"), "limit: is invalid");
	CHECK_STR(subset(BASE, "{\"params\":\"x\",\"where\":\"n = $1\"}"), "params: params must be valid JSON");
	CHECK_STR(subset(BASE, "{\"params\":[1],\"where\":\"n = $1\"}"), "params: is invalid");
	CHECK_STR(subset(BASE "subset__limit=1&subset__order_by=id", "{\"subset\":{\"limit\":2}}"), "-|id|2|0|");
	CHECK_STR(subset(BASE, "{\"subset\":[]}"), "-|-|-1|0|");
}

/* The values of $1, $2, …, with a comma between them; `-`: not provided. Or the complaint. */
static const char *numbered(const char *query)
{
	struct pval tree = decode(query);
	struct where_params values;
	struct params_errors e = {.count = 0};
	if (condition_params(&arena, pval_get(&tree, "params"), "params", &values, &e) < 0)
		return e.list[0].text;
	struct buf b = BUF_INIT(4096);
	for (size_t i = 0; i < values.n; i++)
		buf_printf(&b, "%s%s", i > 0 ? "," : "", values.values[i].p != NULL ? values.values[i].p : "-");
	const char *out = arena_strndup(&arena, b.data != NULL ? b.data : "", b.len);
	buf_clear(&b);
	return out;
}

/* Other ways to write a number count as that number, and provide nothing. */
static void test_numbers(void)
{
	CHECK_STR(numbered("params[2]=b&params[1]=a"), "a,b");
	CHECK_STR(numbered("params[1]="), "");
	CHECK_STR(numbered("params[01]=a"), "-");
	CHECK_STR(numbered("params[%2B1]=a&params[2]=b"), "-,b");
	CHECK_STR(numbered("params[1]=a&params[002]=b&params[3]=c"), "a,-,c");
	static const char *const gaps[] = {"params[1]=a&params[01]=b", "params[01]=b&params[1]=a", "params[2]=b", "params[0]=a", "params[-1]=a"};
	for (size_t i = 0; i < ARRAY_LEN(gaps); i++)
		CHECK_STR(numbered(gaps[i]), "Parameters must be numbered sequentially, starting from 1");
	static const char *const none[] = {"params[a]=1", "params[1a]=1", "params[+]=1", "params[1.0]=1"};
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		CHECK_STR(numbered(none[i]), "Parameters can only use numbers as keys");
}

int main(void)
{
	RUN(test_numbers);
	RUN(test_subset);
	RUN(test_query);
	RUN(test_deep_query);
	RUN(test_json_errors);
	RUN(test_json_values);
	RUN(test_merge);
	RUN(test_check);
	RUN(test_elements);
	RUN(test_typed);
	RUN(test_offsets);
	RUN(test_paths);
	RUN(test_errors_json);
	RUN(test_etags);
	arena_clear(&arena);
	return check_done("params");
}
