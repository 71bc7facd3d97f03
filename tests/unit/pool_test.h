/*
 * pool_test.h - what the tests of pools and filters share: a table with columns of many types, and rows as
 * arrays of texts.
 */
#ifndef BUSBAR_TESTS_POOL_TEST_H
#define BUSBAR_TESTS_POOL_TEST_H

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"
#include "where/pool.h"
#include "where/where.h"

enum { COL_ID, COL_A, COL_B, COL_C, COL_F, COL_N, COL_T, COL_V, COL_BC, COL_FLAG, COL_TAGS, COL_NUMS, COL_MOOD, COL_DOM, COL_BOX,
       COL_J, COL_OID, COL_TS, COL_D, COL_IV, COL_TZ, COL_U, COLUMNS };

#define TEXT_MISSING "\1" /* not in the change */

struct row { const char *texts[COLUMNS]; /* NULL: null */ };

static inline struct pg_table *test_table(void)
{
	static const struct { const char *name; unsigned oid; int collation; } columns[COLUMNS] = {
		{"id", 23, -1}, {"a", 23, -1}, {"b", 23, -1}, {"c", 20, -1}, {"f", 701, -1}, {"n", 1700, -1}, {"t", 25, 0},
		{"v", 1043, 0}, {"bc", 1042, 0}, {"flag", 16, -1}, {"tags", 1009, 0}, {"nums", 1007, -1}, {"mood", 50001, -1},
		{"dom", 50003, -1}, {"box", 603, -1}, {"j", 3802, -1}, {"o", 26, -1}, {"ts", 1114, -1}, {"d", 1082, -1},
		{"iv", 1186, -1}, {"tz", 1266, -1}, {"u", 2950, -1},
	};
	struct buf json = BUF_INIT((size_t)1 << 20);
	buf_puts(&json, "{\"v\":2,\"oid\":1,\"schema\":\"public\",\"name\":\"things\",\"relkind\":\"r\",\"columns\":[");
	for (int i = 0; i < COLUMNS; i++)
		buf_printf(&json, "%s[\"%s\",%d,%u,-1,\"x\",0,false,false,%s,%d,%d]", i ? "," : "", columns[i].name, i + 1, columns[i].oid,
		           i == COL_FLAG ? "true" : "false", i == COL_ID ? 0 : -1, columns[i].collation);
	buf_puts(&json, "],\"leaves\":[],\"types\":[[50001,\"public\",\"mood\",\"e\",0,0,-1,[\"sad\",\"ok\",\"happy\"]],"
	                "[50003,\"public\",\"positive\",\"d\",0,23,-1,[]]],\"collations\":"
	                "[[100,\"pg_catalog\",\"default\",\"c\",true,\"C.UTF-8\",\"C.UTF-8\",null]]}");
	struct pg_table *t = NULL;
	struct err e;
	if (pg_table_from_json(json.data, json.len, &t, &e) != 0) {
		printf("table: %s\n%s\n", e.text, json.data);
		exit(2);
	}
	buf_clear(&json);
	return t;
}

static inline bool test_fetch(void *ctx, uint16_t column, struct where_text *out)
{
	const struct row *row = ctx;
	const char *p = row->texts[column];
	if (p != NULL && strcmp(p, TEXT_MISSING) == 0)
		return false;
	*out = (struct where_text){p, p ? (uint32_t)strlen(p) : 0, p == NULL};
	return true;
}

/* NULL (with a message unless `quiet`) if the text is refused. */
static inline struct where *test_parse(struct pg_table *t, const char *text, bool quiet)
{
	struct where *w = NULL;
	char message[WHERE_MESSAGE_MAX];
	if (where_parse(t, NULL, text, strlen(text), NULL, NULL, false, &w, message) == 0)
		return w;
	if (!quiet)
		printf("%s: %s\n", text, message);
	return NULL;
}

/* "t", "f", "null", or "error". */
static inline const char *test_answer(const struct where_value *v)
{
	return v->is == WHERE_NULL ? "null" : v->is == WHERE_ERROR ? "error" : v->u.i ? "t" : "f";
}

#endif
