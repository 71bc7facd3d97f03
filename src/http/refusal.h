/*
 * refusal.h - answers by our own hand, which libmicrohttpd doesn't get to see. Any thread, no libmicrohttpd.
 */
#ifndef BUSBAR_HTTP_REFUSAL_H
#define BUSBAR_HTTP_REFUSAL_H

#include <stdbool.h>

#include "base/buf.h"

/* The status line and Date of one of those that we give so: refusals, and 304. */
void refusal_begin(struct buf *out, unsigned status);
/* All of a refusal; it says that the connection ends. `head`: the request was HEAD, as far as can be told. */
void refusal_put(struct buf *out, unsigned status, const char *why, bool head);

#endif
