/* health.c - GET /v1/health and /v1/ready (docs/protocol.md 1.7), and of / alone: whether anybody is there. */
#include <string.h>

#include "http/handlers.h"
#include "http/reply.h"

#define NO_CACHE "no-cache, no-store, must-revalidate"

enum step health_start(struct request *r)
{
	enum shapes_status status = shapes_asleep(r->http->shapes) ? SHAPES_ACTIVE : shapes_status(r->http->shapes); /* COMPAT */
	const char *body = status == SHAPES_ACTIVE    ? "{\"status\":\"active\"}"
	                   : status == SHAPES_WAITING ? "{\"status\":\"waiting\"}"
	                                              : "{\"status\":\"starting\"}";
	struct reply p;
	char why[STORE_FAILING_TEXT_MAX];
	/* Never worse than 202: a restart, which is what an orchestrator answers a 503 with, makes no room on a disk. */
	if (shapes_store_failing(r->http->shapes, NULL, why, sizeof why)) {
		struct buf text = BUF_INIT(4096);
		buf_printf(&text, "{\"status\":\"%s\",\"reason\":", status == SHAPES_WAITING ? "waiting" : "starting");
		buf_json_string(&text, why, strlen(why));
		buf_putc(&text, '}');
		reply_begin(r, &p, 202, NO_CACHE, true);
		reply_header(&p, "content-type", TYPE_JSON);
		enum step done = reply_text(r, &p, text.data, text.len);
		buf_clear(&text);
		return done;
	}
	reply_begin(r, &p, status == SHAPES_ACTIVE ? 200 : 202, NO_CACHE, true);
	reply_header(&p, "content-type", TYPE_JSON);
	return reply_text(r, &p, body, strlen(body));
}

/* For a proxy: 200 only when a request for a shape would be answered here and now. */
enum step ready_start(struct request *r)
{
	struct shapes_ready ready;
	shapes_ready(r->http->shapes, &ready);
	if (r->conn->loop->stopping)
		ready = (struct shapes_ready){.status = "stopping", .why = REASON_STOPPING};
	struct reply p;
	struct buf body = BUF_INIT(4096);
	reply_begin(r, &p, ready.ready ? 200 : 503, NO_CACHE, true);
	reply_header(&p, "content-type", TYPE_JSON);
	if (!ready.ready)
		reply_reason(&p, ready.why);
	buf_printf(&body, "{\"status\":\"%s\"", ready.status);
	if (ready.away || ready.asleep)
		buf_puts(&body, ready.away ? ",\"postgres\":\"away\"" : ",\"postgres\":\"asleep\"");
	if (ready.wal != NULL) {
		buf_printf(&body, ",\"wal\":{\"step\":\"%s\",\"reason\":", ready.wal);
		buf_json_string(&body, ready.wal_text, strlen(ready.wal_text));
		buf_putc(&body, '}');
	}
	if (ready.reason != NULL) {
		buf_puts(&body, ",\"reason\":");
		buf_json_string(&body, ready.reason, strlen(ready.reason));
	}
	buf_putc(&body, '}');
	return reply_buf(r, &p, &body);
}

enum step root_start(struct request *r)
{
	struct reply p;
	reply_begin(r, &p, 200, CACHE_DEFAULT, true);
	return reply_text(r, &p, "", 0);
}
