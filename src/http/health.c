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
	char why[300];
	/* Never worse than 202: a restart, which is what an orchestrator answers a 503 with, makes no room on a disk. */
	if (shapes_store_failing(r->http->shapes, NULL, why, sizeof why)) {
		struct buf text = BUF_INIT(4096);
		buf_printf(&text, "{\"status\":\"%s\",\"reason\":", status == SHAPES_WAITING ? "waiting" : "starting");
		buf_json_string(&text, why, strlen(why));
		buf_putc(&text, '}');
		reply_begin(r, &p, 202, "no-cache, no-store, must-revalidate", true);
		reply_header(&p, "content-type", TYPE_JSON);
		enum step done = reply_text(r, &p, text.data, text.len);
		buf_clear(&text);
		return done;
	}
	reply_begin(r, &p, status == SHAPES_ACTIVE ? 200 : 202, "no-cache, no-store, must-revalidate", true);
	reply_header(&p, "content-type", TYPE_JSON);
	return reply_text(r, &p, body, strlen(body));
}
