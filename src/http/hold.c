/* hold.c - see hold.h: nothing is served that can't be called current, and nothing made before the service has started. */
#include "http/hold.h"

#include "http/reply.h"

#define UNPROVEN_HOLD_MS 10000 /* the engine's own limit is shorter */
#define FOREIGN_RETRY_AFTER_S_MIN 1
#define FOREIGN_RETRY_AFTER_S_SPREAD 5 /* so that all who waited don't come back together */

static int64_t now(const struct request *r) { return r->conn->loop->now_ms; }
static bool stopping(const struct request *r) { return r->conn->loop->stopping; }

enum step hold_ready(struct request *r)
{
	int64_t until = r->began_ms + READY_HOLD_MS;
	request_cancel(r);
	if (shapes_status_wait(r->http->shapes, &r->waiter) == SHAPES_ACTIVE)
		return STEP_NEXT;
	if (now(r) < until && !stopping(r))
		return request_park(r, until);
	char text[800];
	shapes_status_text(r->http->shapes, text, sizeof text);
	return reply_refused(r, stopping(r) ? REASON_STOPPING : shapes_status_why(r->http->shapes), text, 5, false);
}

/* Of a request that has just come: STEP_NEXT, and it is as current as it can be now; else it is parked. */
static enum step hold_awake(struct request *r)
{
	int64_t until = r->began_ms + READY_HOLD_MS;
	if (r->awake)
		return STEP_NEXT;
	request_cancel(r);
	if (now(r) < until && !stopping(r) && shapes_wake(r->http->shapes, &r->waiter))
		return request_park(r, until);
	request_cancel(r);
	r->awake = true; /* what happens later is no concern of it: who waits for a change doesn't keep connections open */
	return STEP_NEXT;
}

enum step hold_current(struct request *r)
{
	int64_t until = r->began_ms + UNPROVEN_HOLD_MS;
	enum step step = hold_awake(r);
	if (step != STEP_NEXT)
		return step;
	switch (shapes_currency_wait(r->http->shapes, &r->waiter)) {
	case SHAPES_CURRENT:
		return STEP_NEXT;
	case SHAPES_UNPROVEN:
		if (now(r) < until && !stopping(r))
			return request_park(r, until);
		return reply_refused_by(r, stopping(r) ? REASON_STOPPING : REASON_STARTING, "Starting, please retry",
		                        "whether another instance holds the lock of the replication slot isn't known yet", 1, false);
	default:
		break;
	}
	int wait_s = FOREIGN_RETRY_AFTER_S_MIN + (int)(loop_random(r->conn->loop) % FOREIGN_RETRY_AFTER_S_SPREAD);
	return reply_refused(r, REASON_LOCK_HELD,
	                     "Another instance holds the lock of the replication slot, so this one can't tell whether "
	                     "what it has is current. Please retry", wait_s, true);
}
