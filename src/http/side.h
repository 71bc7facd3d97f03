/*
 * side.h - a side listener: a port beside the API for people who run Busbar (metrics, and whatever else is no shape).
 *
 * One small libmicrohttpd daemon with a thread of its own, so that nothing here waits for the API's loops nor they for it. It
 * answers GET and HEAD of the paths that it was given, by functions that fill a buffer, and 404 "Not found" to everything
 * else. No secret is asked for: who may reach the port is the operator's to say. Few connections, short waits (side.c).
 */
#ifndef BUSBAR_HTTP_SIDE_H
#define BUSBAR_HTTP_SIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct side;

struct side_path {
	const char *path; /* "/metrics"; exactly, without what stands behind a `?` */
	const char *type; /* the content-type */
	/* Called on the listener's thread, one at a time. What doesn't fit into `out` makes a 500 of the answer. */
	void (*fill)(void *ctx, struct buf *out);
	void *ctx;
};

/* `paths` and what they point to live until side_stop(). `setting` names the port's in an error. */
int side_start(struct side **out, int port, bool v6, const char *setting, const struct side_path *paths, size_t n,
               struct err *e) MUST_USE;
/* Once it has returned, none of the functions is called any more. NULL is fine. */
void side_stop(struct side *s);

#endif
