/*
 * hold.h - requests are held until the service can answer them. Private to src/http.
 */
#ifndef BUSBAR_HTTP_HOLD_H
#define BUSBAR_HTTP_HOLD_H

#include "http/request.h"

/* STEP_NEXT: what the process has may be served; for a request that has just come, the connections to Postgres were opened first, if
 * idleness had closed them. Else the request is parked, or answered 503. */
enum step hold_current(struct request *r) MUST_USE;
/* Holds the request while the service starts; STEP_NEXT: it is active. */
enum step hold_ready(struct request *r) MUST_USE;

#endif
