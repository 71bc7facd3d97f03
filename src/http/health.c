/* health.c - GET /v1/health (reference http.md 1.7). */
#include <string.h>

#include "http/reply.h"

enum step health_start(struct request *r)
{
	enum shapes_status status = shapes_status(r->http->shapes);
	const char *body = status == SHAPES_ACTIVE    ? "{\"status\":\"active\"}"
	                   : status == SHAPES_WAITING ? "{\"status\":\"waiting\"}"
	                                              : "{\"status\":\"starting\"}";
	struct reply p;
	reply_begin(r, &p, status == SHAPES_ACTIVE ? 200 : 202, "no-cache, no-store, must-revalidate", true);
	reply_header(&p, "content-type", TYPE_JSON);
	return reply_text(r, &p, body, strlen(body));
}
