/*
 * test_reason.c - the list of reasons: codes that a header can carry, each once, each in docs/protocol.md; what errors are called;
 * what is remembered of shapes that ended.
 */
#include <ctype.h>
#include <stdlib.h>

#include "base/err.h"
#include "check.h"
#include "shapes/core/gone.h"
#include "shapes/shapes.h"

static bool is_kebab(const char *s)
{
	bool letter = false;
	for (; *s != '\0'; s++) {
		if (*s == '-' && !letter)
			return false;
		letter = islower((unsigned char)*s) != 0;
		if (!letter && *s != '-')
			return false;
	}
	return letter;
}

static void test_codes(void)
{
	CHECK_STR(reason_code(REASON_NONE), "");
	CHECK_STR(reason_code(REASON_SET_CHANGED), "set-changed");
	CHECK_STR(reason_code(REASON_LIMIT_SIZE), "limit-size");
	for (int i = 1; i < REASONS; i++) {
		const char *code = reason_code((enum reason)i), *text = reason_text((enum reason)i);
		CHECK(is_kebab(code) && strlen(code) <= 24);
		CHECK(text[0] != '\0' && text[strlen(text) - 1] != '.');
		for (int k = 1; k < i; k++)
			CHECK(strcmp(code, reason_code((enum reason)k)) != 0);
	}
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return NULL;
	size_t cap = 1 << 20;
	char *text = malloc(cap);
	if (text != NULL)
		text[fread(text, 1, cap - 1, f)] = '\0';
	fclose(f);
	return text;
}

/* Section 11 has a line for each, in this order, and no others. */
static void test_protocol_lists_them(void)
{
	char path[4096], line[512];
	snprintf(path, sizeof path, "%s", __FILE__); /* CMake compiles with absolute paths */
	char *tests = strstr(path, "tests/unit/");
	if (!CHECK(tests != NULL))
		return;
	snprintf(tests, sizeof path - (size_t)(tests - path), "docs/protocol.md");
	char *page = slurp(path);
	const char *at = page != NULL ? strstr(page, "\n## 11 Reasons\n") : NULL;
	if (CHECK(at != NULL)) {
		at = strstr(at, "|---|---|---|\n");
		at = at != NULL ? at + strlen("|---|---|---|\n") : "";
		for (int i = 1; i < REASONS; i++) {
			snprintf(line, sizeof line, "| `%s` | %s | ", reason_code((enum reason)i), reason_text((enum reason)i));
			if (!CHECK(strncmp(at, line, strlen(line)) == 0))
				printf("  docs/protocol.md 11 lacks, at its place, the line\n%s…\n", line);
			at = strchr(at, '\n') != NULL ? strchr(at, '\n') + 1 : "";
		}
		CHECK(at[0] != '|');
	}
	free(page);
}

static void test_errors(void)
{
	struct err e = {0};
	err_set(&e, ERR_PG_CONN, "x");
	CHECK(err_reason(&e) == REASON_POSTGRES_AWAY);
	CHECK_INT(err_why(&e, REASON_SLOT_LOST), -1);
	CHECK(err_reason(&e) == REASON_SLOT_LOST);
	err_wrap(&e, "more");
	CHECK(err_reason(&e) == REASON_SLOT_LOST);
	err_set(&e, ERR_TIMEOUT, "y"); /* another error: what was said of the first is not true of it */
	CHECK(err_reason(&e) == REASON_POSTGRES_SLOW);
	for (int k = ERR_NONE; k <= ERR_REQUEST; k++) {
		err_set(&e, (enum err_kind)k, "z");
		CHECK(err_reason(&e) != REASON_NONE);
	}
	CHECK_INT(err_why(NULL, REASON_SLOT_LOST), -1);
}

static enum reason why_gone(const char *handle) { return shapes_why_gone(handle, strlen(handle)); }

static void test_gone(void)
{
	CHECK(why_gone("1-1700000000000000") == REASON_UNKNOWN_HANDLE);
	CHECK(why_gone("") == REASON_UNKNOWN_HANDLE);
	gone_note("1-1700000000000000", REASON_TABLE_TRUNCATED);
	gone_note("2-1700000000000001", REASON_SET_CHANGED);
	CHECK(why_gone("1-1700000000000000") == REASON_TABLE_TRUNCATED);
	CHECK(why_gone("2-1700000000000001") == REASON_SET_CHANGED);
	CHECK(why_gone("1-170000000000000") == REASON_UNKNOWN_HANDLE);
	/* A great many: the newest are known, the oldest may not be, and none is told what another was. */
	char handle[64];
	for (int i = 0; i < 200000; i++) {
		snprintf(handle, sizeof handle, "%d-%lld", i * 7919 % 134217727, 1700000000100000LL + i);
		gone_note(handle, i % 2 == 0 ? REASON_EXPIRED : REASON_DELETED);
	}
	int known = 0, wrong = 0;
	for (int i = 0; i < 200000; i++) {
		snprintf(handle, sizeof handle, "%d-%lld", i * 7919 % 134217727, 1700000000100000LL + i);
		enum reason why = why_gone(handle);
		known += why != REASON_UNKNOWN_HANDLE;
		wrong += why != REASON_UNKNOWN_HANDLE && why != (i % 2 == 0 ? REASON_EXPIRED : REASON_DELETED);
	}
	CHECK_INT(wrong, 0);
	CHECK(known > 50000 && known <= 65536);
	CHECK(why_gone(handle) == REASON_DELETED); /* the last */
}

int main(void)
{
	RUN(test_codes);
	RUN(test_protocol_lists_them);
	RUN(test_errors);
	RUN(test_gone);
	return check_done("reason");
}
