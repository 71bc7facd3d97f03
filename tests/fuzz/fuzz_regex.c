/*
 * fuzz_regex.c - a pattern and a text, parted by a zero byte, through LIKE and regular expressions under several
 * collations: no crash, bounded work, and the same answer of a LIKE pattern compiled and as it stands.
 */
#include <stdlib.h>
#include <string.h>

#include "base/require.h"
#include "where/like.h"
#include "where/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_regex(const char *pattern, size_t n, const char *text, size_t text_n, const struct where_collation *c,
                      unsigned flags)
{
	char reason[WHERE_REASON_MAX] = "";
	uint64_t steps = UINT64_MAX, again = UINT64_MAX;
	struct regex *r = regex_compile(pattern, n, c, flags, &steps, reason);
	if (r == NULL) {
		REQUIRE(reason[0] != '\0');
		return;
	}
	steps = UINT64_MAX;
	int first = regex_match(r, text, text_n, &steps, reason);
	REQUIRE(first >= 0 || reason[0] != '\0');
	REQUIRE(regex_match(r, text, text_n, &again, reason) == first); /* the cache changes nothing */
	regex_free(r);
}

static void try_like(const char *pattern, size_t n, const char *text, size_t text_n, bool chars)
{
	struct like *l = like_compile(pattern, n, chars);
	uint64_t steps = UINT64_MAX, others = UINT64_MAX;
	REQUIRE(like_run(l, text, text_n, &steps) == like_match(text, text_n, pattern, n, chars, &others));
	free(l);
}

/* LIKE's two ways agree on valid UTF-8 only: pieces are found by bytes. */
static bool is_ascii(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] >= 0x80)
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 4096)
		return 0;
	unsigned flags = data[0] & 7;
	const char *pattern = (const char *)data + 1;
	const char *zero = memchr(pattern, 0, size - 1);
	size_t n = zero != NULL ? (size_t)(zero - pattern) : size - 1;
	const char *text = zero != NULL ? zero + 1 : pattern;
	size_t text_n = zero != NULL ? size - 2 - n : n;
	try_regex(pattern, n, text, text_n, where_collation_c(), flags);
	try_regex(pattern, n, text, text_n, where_collation_get("default", 'c', "C.UTF-8", "C.UTF-8", NULL, true), flags);
	try_regex(pattern, n, text, text_n, where_collation_get("icu", 'i', "de", "de", NULL, true), flags);
	try_like(pattern, n, text, text_n, false);
	if (is_ascii(data, size))
		try_like(pattern, n, text, text_n, true);
	return 0;
}
