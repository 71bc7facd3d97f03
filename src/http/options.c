/* options.c - preflight requests on the shape route (docs/protocol.md 1.6). */
#include <string.h>

#include "http/handlers.h"
#include "http/reply.h"

/* COMPAT: only a line that asks for one of these two and nothing else is answered. */
static enum MHD_Result look(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	const char **found = cls;
	(void)kind;
	if (value != NULL && strcasecmp(name, "access-control-request-headers") == 0 &&
	    (strcasecmp(value, "if-none-match") == 0 || strcasecmp(value, "traceparent") == 0))
		*found = value;
	return MHD_YES;
}

enum step options_start(struct request *r)
{
	const char *allowed = NULL;
	struct reply p;
	MHD_get_connection_values(r->conn->mhd, MHD_HEADER_KIND, look, &allowed);
	reply_begin(r, &p, 204, NULL, true);
	reply_header(&p, "access-control-max-age", "86400");
	if (allowed != NULL)
		reply_header(&p, "access-control-allow-headers", allowed);
	reply_header(&p, "connection", "keep-alive");
	return reply_text(r, &p, "", 0);
}
