/*
 * side.h - a side listener: a port beside the API for people who run Busbar (metrics, the admin page, and whatever else is no shape).
 *
 * One small libmicrohttpd daemon with a thread of its own, so that nothing here waits for the API's loops nor they for it. It
 * answers GET and HEAD of the paths that it was given, by functions that fill a buffer, and 404 "Not found" to everything
 * else. No secret is asked for: who may reach the port is the operator's to say. Few connections, short waits (side.c).
 *
 * What a browser of somebody who may reach the port could be made to do is refused: no other site may read an answer (none says
 * that it may), show it in a frame, or, where the port is on a loopback address, reach it by a name of its own.
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
	const char *type; /* the content-type, of refusals too */
	/* Gives the status: 200, or of a refusal whose text is in `out`. `query` is what stands behind the `?`, as it was sent; "": nothing.
	 * Called on the listener's thread, one at a time. What doesn't fit into `out` makes a 500 of the answer. */
	unsigned (*fill)(void *ctx, const char *query, struct buf *out);
	void *ctx;
	const char *policy; /* the content-security-policy; NULL: it may load nothing */
};

struct side_port {
	const char *setting; /* names the port's in an error */
	int port;
	const char *address; /* an IP; NULL: all addresses, by ... */
	bool v6;             /* ... an IPv6 socket */
};

/* `paths` and what they point to live until side_stop(). */
int side_start(struct side **out, const struct side_port *port, const struct side_path *paths, size_t n, struct err *e) MUST_USE;
/* Once it has returned, none of the functions is called any more. NULL is fine. */
void side_stop(struct side *s);

#endif
