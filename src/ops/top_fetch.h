/* top_fetch.h - a path of an admin port as parsed JSON: a small HTTP client. Private to src/ops; one thread. */
#ifndef BUSBAR_OPS_TOP_FETCH_H
#define BUSBAR_OPS_TOP_FETCH_H

#include <jansson.h>

#include "base/err.h"

#define TOP_HOST_MAX 256

struct top_place {
	char host[TOP_HOST_MAX]; /* a name or an IP, without brackets */
	char port[8];
};

/* "http://host:port", "host:port", "host" (then `port`), "port"; what follows is let go by. -1: no address of a port. */
int top_place_parse(const char *text, const char *port, struct top_place *out) MUST_USE;

/* The answer, the caller's; NULL with a line that says where it was asked for. Waits TOP_WAIT_S at most for each step. */
#define TOP_WAIT_S 5
json_t *top_fetch(const struct top_place *p, const char *path, struct err *e);

#endif
