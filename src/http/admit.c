/* admit.c - how many requests may run at once, by kind (reference http.md 8.1). */
#include <stdio.h>

#include "http/reply.h"

#define RETRY_AFTER_S_MIN 6
#define RETRY_AFTER_S_SPREAD 5 /* so that those who were refused don't all come back together */

static bool take(_Atomic unsigned *count, int64_t limit)
{
	if ((int64_t)atomic_fetch_add(count, 1) < limit)
		return true;
	atomic_fetch_sub(count, 1);
	return false;
}

void admit(struct request *r, bool existing)
{
	struct http *h = r->http;
	if (existing)
		r->admission = take(&h->existing, h->config->max_concurrent_existing) ? ADMIT_EXISTING : ADMIT_REFUSED_EXISTING;
	else
		r->admission = take(&h->initial, h->config->max_concurrent_initial) ? ADMIT_INITIAL : ADMIT_REFUSED_INITIAL;
}

void admit_swap(struct request *r)
{
	if (r->admission != ADMIT_INITIAL)
		return;
	/* Over the limit of the other kind or not: it has been let in already. */
	atomic_fetch_add(&r->http->existing, 1);
	atomic_fetch_sub(&r->http->initial, 1);
	r->admission = ADMIT_EXISTING;
}

void admit_release(struct request *r)
{
	if (r->admission == ADMIT_INITIAL)
		atomic_fetch_sub(&r->http->initial, 1);
	else if (r->admission == ADMIT_EXISTING)
		atomic_fetch_sub(&r->http->existing, 1);
	r->admission = ADMIT_NONE;
}

enum step admit_refuse(struct request *r)
{
	bool initial = r->admission == ADMIT_REFUSED_INITIAL;
	const struct config *c = r->http->config;
	struct reply p;
	struct buf body = BUF_INIT(512);
	reply_begin(r, &p, 503, r->method == METHOD_POST ? "no-cache" : "no-store", true);
	reply_header(&p, "content-type", TYPE_JSON);
	reply_header(&p, "surrogate-control", "no-store");
	reply_header(&p, "electric-internal-known-error", "true");
	reply_headerf(&p, "retry-after", "%d",
	              RETRY_AFTER_S_MIN + (int)(loop_random(r->conn->loop) % RETRY_AFTER_S_SPREAD));
	buf_printf(&body, "{\"code\":\"concurrent_request_limit_exceeded\",\"message\":\"Concurrent %s request limit exceeded "
	           "(limit: %lld), please retry\"}", initial ? "initial" : "existing",
	           (long long)(initial ? c->max_concurrent_initial : c->max_concurrent_existing));
	return reply_buf(r, &p, &body);
}
