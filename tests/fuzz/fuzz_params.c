/*
 * fuzz_params.c - a query string, decoded, cast and made into a definition and a subset; the same bytes as a path and as
 * an If-None-Match header. The first byte says whether it is a DELETE.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/require.h"
#include "http/params.h"
#include "http/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pg_table *a_table(void)
{
	static struct pg_column columns[] = {{.name = (char *)(uintptr_t) "id"}, {.name = (char *)(uintptr_t) "v", .pk_index = -1},
	                                     {.name = (char *)(uintptr_t) "g", .generated = true, .pk_index = -1}};
	static uint16_t pk[1];
	static struct pg_table t = {.refs = 1, .oid = 16390, .schema = (char *)(uintptr_t) "public",
	                            .name = (char *)(uintptr_t) "items", .relkind = 'r', .ncolumns = 3, .columns = columns,
	                            .npk = 1, .pk = pk};
	return &t;
}

static void try_definition(struct arena *a, const struct shape_params *p)
{
	struct def_table_name name;
	struct def_error e;
	struct shape_def d;
	if (p->table == NULL || def_parse_table(a, p->table, p->table_len, &name, &e) < 0)
		return;
	REQUIRE(name.name[0] != '\0' && name.schema[0] != '\0');
	if (def_build(a, a_table(), &p->def, 150000, &d, &e) == 0)
		REQUIRE(d.nselected > 0 && d.nselected <= 3);
	shape_def_clear(&d);
}

static void try_subset(struct arena *a, const struct shape_params *p)
{
	struct subset_params subset;
	struct params_errors e;
	if (p->subset == NULL || !params_subset_ok(p->subset))
		return;
	if (params_check_subset(a, p->subset, &subset, &e) < 0)
		REQUIRE(e.count > 0);
	else
		REQUIRE(subset.limit != 0 && subset.limit >= -1 && subset.offset >= 0);
	REQUIRE(def_queryable(a, a_table(), &p->def) == NULL || p->def.queryable_columns.given);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a = ARENA_INIT;
	struct pval tree;
	struct shape_params p;
	struct params_errors e;
	if (size == 0)
		return 0;
	const char *text = (const char *)data + 1;
	size_t len = size - 1;
	route_path(text, len);
	params_etag_listed(arena_strndup(&a, text, len), "h:-1:0_0");
	if (params_decode_query(&a, text, len, &tree) == 0) {
		int result = data[0] & 1 ? params_check_delete(&a, &tree, &p, &e) : params_check(&a, &tree, &p, &e);
		if (result == 0) {
			try_definition(&a, &p);
			try_subset(&a, &p);
		} else {
			struct buf b = BUF_INIT(1 << 22);
			REQUIRE(e.count > 0);
			params_errors_json(&e, &b);
			REQUIRE(!b.failed && utf8_valid(b.data, b.len));
			buf_clear(&b);
		}
	}
	arena_clear(&a);
	return 0;
}
