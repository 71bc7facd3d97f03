/*
 * fuzz_where.c - arbitrary bytes as a condition with parameters (0xFF between them), or as a stored form.
 *
 * What is accepted is written as SQL, which stays below its bound, and as the stored form, which loads as the
 * same condition. The stored form is then read again with bytes of the input written over it. Evaluation of
 * rows isn't tried: it takes well-typed trees for granted, and only where_parse() makes these.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/where.h"

#define PARAMS_MAX 8
#define SQL_BYTES_MAX (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char table_json[] =
	"{\"v\":2,\"oid\":16390,\"schema\":\"public\",\"name\":\"t\",\"relkind\":\"r\",\"columns\":["
	"[\"i2\",1,21,-1,\"int2\",0,true,false,false,0,-1],[\"i4\",2,23,-1,\"int4\",0,true,false,false,-1,-1],"
	"[\"i8\",3,20,-1,\"int8\",0,true,false,false,-1,-1],[\"n\",4,1700,-1,\"numeric\",0,true,false,false,-1,-1],"
	"[\"f4\",5,700,-1,\"float4\",0,true,false,false,-1,-1],[\"f8\",6,701,-1,\"float8\",0,true,false,false,-1,-1],"
	"[\"b\",7,16,-1,\"bool\",0,true,false,true,-1,-1],[\"t\",8,25,-1,\"text\",0,true,false,false,-1,0],"
	"[\"v\",9,1043,14,\"varchar\",0,true,false,false,-1,0],[\"c\",10,1042,9,\"bpchar\",0,true,false,false,-1,0],"
	"[\"qc\",11,18,-1,\"char\",0,true,false,false,-1,-1],[\"nm\",12,19,-1,\"name\",0,true,false,false,-1,1],"
	"[\"u\",13,2950,-1,\"uuid\",0,true,false,false,-1,-1],[\"d\",14,1082,-1,\"date\",0,true,false,false,-1,-1],"
	"[\"tm\",15,1083,-1,\"time\",0,true,false,false,-1,-1],[\"tz\",16,1266,-1,\"timetz\",0,true,false,false,-1,-1],"
	"[\"ts\",17,1114,-1,\"timestamp\",0,true,false,false,-1,-1],"
	"[\"tstz\",18,1184,-1,\"timestamptz\",0,true,false,false,-1,-1],"
	"[\"iv\",19,1186,-1,\"interval\",0,true,false,false,-1,-1],[\"j\",20,114,-1,\"json\",0,true,false,false,-1,-1],"
	"[\"jb\",21,3802,-1,\"jsonb\",0,true,false,false,-1,-1],[\"by\",22,17,-1,\"bytea\",0,true,false,false,-1,-1],"
	"[\"ia\",23,1007,-1,\"int4\",1,true,false,false,-1,-1],[\"ta\",24,1009,-1,\"text\",1,true,false,false,-1,0],"
	"[\"m\",25,20001,-1,\"mood\",0,true,false,false,-1,-1],[\"ma\",26,20002,-1,\"mood\",1,true,false,false,-1,-1],"
	"[\"dom\",27,20003,-1,\"dom\",0,true,false,false,-1,-1],[\"td\",28,20004,-1,\"td\",0,true,false,false,-1,0],"
	"[\"da\",29,20005,-1,\"da\",0,true,false,false,-1,-1],[\"tde\",30,25,-1,\"text\",0,true,false,false,-1,2],"
	"[\"ip\",31,869,-1,\"inet\",0,true,false,false,-1,-1],[\"q\\\"q\",32,25,-1,\"text\",0,true,false,false,-1,1],"
	"[\"x\",33,30000,-1,\"x\",0,true,false,false,-1,-1]],\"leaves\":[],"
	"\"types\":[[20001,\"s\",\"Mood\",\"e\",0,0,-1,[\"sad\",\"o'k\",\"\",\"b\\\\\"]],[20002,\"s\",\"_Mood\",\"b\",20001,0,-1,[]],"
	"[20003,\"s\",\"dom\",\"d\",0,23,-1,[]],[20004,\"s\",\"td\",\"d\",0,25,-1,[]],[20005,\"s\",\"da\",\"d\",0,1007,-1,[]]],"
	"\"collations\":[[100,\"pg_catalog\",\"default\",\"c\",true,\"C.UTF-8\",\"C.UTF-8\",null],"
	"[950,\"pg_catalog\",\"C\",\"c\",true,\"C\",\"C\",null],[20006,\"s\",\"de\",\"i\",true,\"de\",\"de\",null]]}";

static struct pg_table *table;
static const struct pg_table *list[1]; /* what subqueries may name: the same table */
static struct where_tables tables = {.list = list, .n = 1};

static void check_same(const struct buf *a, const struct buf *b)
{
	REQUIRE(a->failed == b->failed && (a->failed || (a->len == b->len && memcmp(a->data, b->data, a->len) == 0)));
}

static struct where *load(const char *p, size_t n)
{
	struct where *w;
	struct err e = {0};
	char *copy = mem_alloc(n + 1); /* of its exact size, where the sanitizer sees one byte too many */
	memcpy(copy, p, n);
	int rc = where_load(table, &tables, copy, n, &w, &e);
	free(copy);
	REQUIRE(rc == 0 || e.text[0] != '\0');
	return rc == 0 ? w : NULL;
}

/* A stored form, maybe damaged: what loads is written as what loads again as the same. */
static void try_stored(const char *p, size_t n)
{
	struct buf stored = BUF_INIT(WHERE_CANONICAL_MAX), again = BUF_INIT(WHERE_CANONICAL_MAX), sql = BUF_INIT(SQL_BYTES_MAX);
	struct where *w = load(p, n);
	if (w != NULL) {
		where_sql(w, &sql);
		where_canonical(w, &stored);
		where_free(w);
	}
	if (w != NULL && !stored.failed && (w = load(stored.data, stored.len)) != NULL) {
		where_canonical(w, &again);
		check_same(&stored, &again);
		where_free(w);
	}
	buf_clear(&stored);
	buf_clear(&again);
	buf_clear(&sql);
}

static void try_condition(const struct where *w, const uint8_t *data, size_t size)
{
	struct buf stored = BUF_INIT(WHERE_CANONICAL_MAX), again = BUF_INIT(WHERE_CANONICAL_MAX);
	struct buf sql = BUF_INIT(SQL_BYTES_MAX), sql_again = BUF_INIT(SQL_BYTES_MAX);
	where_sql(w, &sql);
	where_canonical(w, &stored);
	if (!stored.failed) {
		REQUIRE(!sql.failed && memchr(sql.data, '\0', sql.len) == NULL);
		struct where *same = load(stored.data, stored.len);
		REQUIRE(same != NULL);
		where_canonical(same, &again);
		where_sql(same, &sql_again);
		check_same(&stored, &again);
		check_same(&sql, &sql_again);
		where_free(same);
		for (size_t i = 0; i + 1 < size && i < 16; i += 2) {
			size_t at = 3 + data[i] % (stored.len - 3);
			char was = stored.data[at];
			stored.data[at] = (char)data[i + 1];
			try_stored(stored.data, stored.len);
			stored.data[at] = was;
		}
	}
	buf_clear(&stored);
	buf_clear(&again);
	buf_clear(&sql);
	buf_clear(&sql_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char message[WHERE_MESSAGE_MAX];
	struct err e = {0};
	if (table == NULL)
		REQUIRE(pg_table_from_json(table_json, sizeof table_json - 1, &table, &e) == 0);
	list[0] = table;
	if (size >= 3 && (memcmp(data, "w1 ", 3) == 0 || memcmp(data, "w2 ", 3) == 0)) {
		try_stored((const char *)data, size);
		return 0;
	}
	struct where_param parts[PARAMS_MAX + 1];
	size_t n = 0;
	const char *p = (const char *)data, *end = p + size;
	while (n < ARRAY_LEN(parts)) {
		const char *stop = p < end ? memchr(p, 0xFF, (size_t)(end - p)) : NULL;
		parts[n++] = (struct where_param){p, (size_t)((stop != NULL ? stop : end) - p)};
		if (stop == NULL)
			break;
		p = stop + 1;
	}
	/* A copy that is gone before the condition is used: it must keep nothing of what it was made of. */
	char *copy = mem_alloc(size + 1);
	if (size > 0)
		memcpy(copy, data, size);
	for (size_t i = 0; i < n; i++)
		parts[i].p = copy + (parts[i].p - (const char *)data);
	struct where_params params = {parts + 1, n - 1};
	struct where *w;
	int rc = where_parse(table, &tables, parts[0].p, parts[0].len, &params, NULL, size % 2 == 0, &w, message);
	free(copy);
	REQUIRE(rc == 0 || message[0] != '\0');
	if (rc == 0) {
		try_condition(w, data, size);
		where_free(w);
	}
	return 0;
}
