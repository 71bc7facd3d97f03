/* stall.c - how long a replication connection may be silent. */
#include "wal/stall.h"

#include <stdio.h>
#include <string.h>

void stall_begin(struct stall *t, int64_t now_ms)
{
	t->looked_like[0] = '\0';
	t->moved_ms = now_ms;
}

static int64_t limit(const struct stall *t, lsn_t received)
{
	int n = received > t->at ? 0 : t->given_up;
	return (int64_t)STALL_FIRST_MS << (n < STALL_DOUBLINGS_MAX ? n : STALL_DOUBLINGS_MAX);
}

enum stall_step stall_decide(struct stall *t, const struct setup_look *look, int64_t now_ms, int64_t heard_ms, lsn_t received)
{
	if (look != NULL && !look->there)
		return STALL_GONE;
	if (look != NULL && look->waits)
		return STALL_HANGS;
	if (look != NULL && strcmp(look->state, t->looked_like) != 0) {
		snprintf(t->looked_like, sizeof t->looked_like, "%s", look->state);
		t->moved_ms = now_ms;
	}
	int64_t still_since_ms = t->moved_ms > heard_ms ? t->moved_ms : heard_ms;
	return now_ms - still_since_ms < limit(t, received) ? STALL_GO_ON : STALL_STANDS;
}

void stall_gave_up(struct stall *t, lsn_t received)
{
	t->given_up = received > t->at ? 1 : t->given_up + 1;
	if (received > t->at)
		t->at = received;
}
