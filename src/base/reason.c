/* reason.c - see reason.h. */
#include "base/reason.h"

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

/* Not REQUIRE(): the log, which that writes to, asks for codes. */
const char *reason_code(enum reason r) { return r < REASONS ? codes[r] : ""; }

const char *reason_text(enum reason r) { return r < REASONS ? texts[r] : ""; }
