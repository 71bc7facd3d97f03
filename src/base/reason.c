/* reason.c - see reason.h. */
#include "base/reason.h"

#include "base/require.h"

static const char *const codes[REASONS] = {
	"",
#define X(name, code, meaning) code,
#include "base/reason_table.h"
};

static const char *const texts[REASONS] = {
	"",
#define X(name, code, meaning) meaning,
#include "base/reason_table.h"
};

const char *reason_code(enum reason r)
{
	REQUIRE(r < REASONS);
	return codes[r];
}

const char *reason_text(enum reason r)
{
	REQUIRE(r < REASONS);
	return texts[r];
}
