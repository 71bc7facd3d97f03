/*
 * reason.h - why a shape ended or a request was refused, as one of a closed list (reason_table.h). Plain values, any thread.
 */
#ifndef BUSBAR_BASE_REASON_H
#define BUSBAR_BASE_REASON_H

enum reason {
	REASON_NONE,
#define X(name, code, meaning) REASON_##name,
#include "base/reason_table.h"
	REASONS /* how many, REASON_NONE with them */
};

/* "set-changed"; "" for REASON_NONE. Constants. */
const char *reason_code(enum reason r);
/* One line for people; "" for REASON_NONE. */
const char *reason_text(enum reason r);

#endif
