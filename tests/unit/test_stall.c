/* test_stall.c - a replication connection that is silent (wal/stall.c): what was seen of the server's process in, go on or not out. */
#include "wal/stall.h"

#include <stdio.h>
#include <string.h>

#include "check.h"

#define MINUTE INT64_C(60000)
#define HEARD 1000
#define AT 500 /* how far connections come */

static struct setup_look works(const char *state)
{
	struct setup_look look = {.there = true};
	snprintf(look.state, sizeof look.state, "%s", state);
	return look;
}

static void test_who_waits_for_us(void)
{
	struct stall t = {0};
	stall_begin(&t, HEARD);
	struct setup_look gone = {.there = false}, waits = {.there = true, .waits = true};
	CHECK_INT(stall_decide(&t, &gone, HEARD, HEARD, AT), STALL_GONE);
	CHECK_INT(stall_decide(&t, &waits, HEARD, HEARD, AT), STALL_HANGS);
}

/* As long as each look shows something new it isn't cut off, whatever has been given up before. */
static void test_progressing(void)
{
	struct stall t = {0};
	stall_begin(&t, HEARD);
	for (int i = 1; i <= 1000; i++) {
		char state[32];
		snprintf(state, sizeof state, "at 0/%d", i);
		struct setup_look look = works(state);
		if (!CHECK_INT(stall_decide(&t, &look, HEARD + i * (STALL_FIRST_MS - 1), HEARD, AT), STALL_GO_ON))
			return;
	}
}

static void test_standing(void)
{
	struct stall t = {0};
	struct setup_look look = works("ReorderBufferRead"), other = works("at 0/2");
	stall_begin(&t, HEARD);
	CHECK_INT(stall_decide(&t, &look, HEARD + 10, HEARD, AT), STALL_GO_ON);
	CHECK_INT(stall_decide(&t, &look, HEARD + 9 + STALL_FIRST_MS, HEARD, AT), STALL_GO_ON);
	CHECK_INT(stall_decide(&t, &look, HEARD + 10 + STALL_FIRST_MS, HEARD, AT), STALL_STANDS);
	/* a look that failed is none */
	CHECK_INT(stall_decide(&t, NULL, HEARD + 9 + STALL_FIRST_MS, HEARD, AT), STALL_GO_ON);
	CHECK_INT(stall_decide(&t, NULL, HEARD + 10 + STALL_FIRST_MS, HEARD, AT), STALL_STANDS);
	CHECK_STR(t.looked_like, look.state);
	/* what came counts, too, and what it does then */
	CHECK_INT(stall_decide(&t, &look, HEARD + 2 * STALL_FIRST_MS, HEARD + STALL_FIRST_MS + 1, AT), STALL_GO_ON);
	CHECK_INT(stall_decide(&t, &other, HEARD + 9 * STALL_FIRST_MS, HEARD, AT), STALL_GO_ON);
	/* another connection's time is its own */
	stall_begin(&t, HEARD + 20 * STALL_FIRST_MS);
	CHECK_STR(t.looked_like, "");
	CHECK_INT(stall_decide(&t, NULL, HEARD + 21 * STALL_FIRST_MS - 1, HEARD, AT), STALL_GO_ON);
}

/* How long one that stands may do so. */
static int64_t allowed(struct stall *t, lsn_t received)
{
	struct setup_look look = works("the same");
	stall_begin(t, 0);
	CHECK_INT(stall_decide(t, &look, 0, 0, received), STALL_GO_ON);
	int64_t low = 0, high = 1000 * MINUTE;
	while (low + 1 < high) {
		int64_t ms = low + (high - low) / 2;
		*(stall_decide(t, &look, ms, 0, received) == STALL_GO_ON ? &low : &high) = ms;
	}
	return high;
}

/* Each that gets no further has twice the time, up to an hour or so; one that gets further begins anew. */
static void test_doubling(void)
{
	struct stall t = {0};
	CHECK_INT(allowed(&t, AT), MINUTE);
	for (int i = 1; i <= 100; i++) {
		stall_gave_up(&t, i % 3 == 0 ? AT - 1 : AT); /* the slot may be behind what was received */
		CHECK_INT(allowed(&t, AT), i < 6 ? MINUTE << i : 64 * MINUTE);
		CHECK_INT(allowed(&t, AT - 1), i < 6 ? MINUTE << i : 64 * MINUTE);
		CHECK_INT(allowed(&t, AT + 1), MINUTE);
	}
	stall_gave_up(&t, AT + 1);
	CHECK_INT(allowed(&t, AT + 1), 2 * MINUTE);
	CHECK_INT(allowed(&t, AT), 2 * MINUTE);
	CHECK_INT(allowed(&t, AT + 2), MINUTE);
	stall_gave_up(&t, AT); /* no progress: it goes on from there */
	CHECK_INT(allowed(&t, AT + 1), 4 * MINUTE);
}

int main(void)
{
	RUN(test_who_waits_for_us);
	RUN(test_progressing);
	RUN(test_standing);
	RUN(test_doubling);
	return check_done("stall");
}
