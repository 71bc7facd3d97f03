/*
 * err.h - errors as values, with a text a user can act on.
 *
 * A function that can fail returns int, 0 on success and -1 on failure, and fills the `struct err`
 * it was given. Lower layers put what happened; callers add where with err_wrap(); the edge that
 * decides (HTTP reply, retry, exit) logs once. Plain data, nothing to free, owned by the caller.
 */
#ifndef BUSBAR_BASE_ERR_H
#define BUSBAR_BASE_ERR_H

#include <stdbool.h>

#include "base/reason.h"
#include "base/require.h"

enum err_kind {
	ERR_NONE = 0,
	ERR_IO,       /* disk, file, socket */
	ERR_FULL,     /* a disk or the store's map is full */
	ERR_PROTOCOL, /* a peer sent bytes that make no sense */
	ERR_CONFIG,   /* the user's settings, or the database's, must be changed; retrying won't help */
	ERR_PG,       /* Postgres answered with an error; sqlstate is set */
	ERR_PG_CONN,  /* the connection to Postgres failed or broke: an outage */
	ERR_LIMIT,    /* one of our named limits */
	ERR_TIMEOUT,
	ERR_CANCELLED, /* we are stopping */
	ERR_NOT_FOUND,
	ERR_DAMAGED,  /* what the disk holds is not what was written */
	ERR_REQUEST,  /* what a client asked for can't be; the text says why */
};

struct err {
	enum err_kind kind;
	char sqlstate[6]; /* "" unless kind is ERR_PG or ERR_PG_CONN */
	char text[800];   /* cut at the end if longer, always terminated */
	enum reason why;  /* what clients are told it is; REASON_NONE: err_reason() knows by the kind */
	bool of_rows;     /* of a statement that computes a condition for rows */
};

/* Sets kind and text; returns -1 so that `return err_set(...)` reads well. `e` may be NULL. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "<prefix>: " before the text that is there; returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* As err_set, with ": <strerror(errnum)>" behind the text. ENOSPC becomes ERR_FULL. */
int err_errno(struct err *e, int errnum, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Whether what Postgres says may quote a value of a row: an error of data (class 22), or, of_rows, of what a function was given. */
bool err_may_quote(const struct err *e);
/* If so, the text becomes one that doesn't. */
void err_hide_values(struct err *e);

/* Says what clients are told it is, where the kind doesn't; returns -1. */
int err_why(struct err *e, enum reason why);
/* What a client that gets a 503 or a 409 for it is told; never REASON_NONE. */
enum reason err_reason(const struct err *e);

void err_clear(struct err *e);

#endif
