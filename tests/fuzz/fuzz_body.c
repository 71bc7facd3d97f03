/* fuzz_body.c - a POST body: read, merged over a query's parameters, cast. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/require.h"
#include "http/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char query[] = "table=a&offset=0_0&handle=x&subset__limit=1&columns[]=id";
	struct arena a = ARENA_INIT;
	struct buf details = BUF_INIT(4096);
	struct pval tree;
	struct shape_params p;
	struct params_errors e;
	REQUIRE(params_decode_query(&a, query, sizeof query - 1, &tree) == 0);
	enum body_result result = body_merge(&a, (const char *)data, size, &tree, &details);
	if (result == BODY_SYNTAX)
		REQUIRE(details.len > 0 && utf8_valid(details.data, details.len));
	if (result == BODY_OK && params_check(&a, &tree, &p, &e) < 0)
		REQUIRE(e.count > 0);
	buf_clear(&details);
	arena_clear(&a);
	return 0;
}
