/* admit.c - how many requests may run at once, by kind (docs/protocol.md 8.1). */
#include "http/admit.h"

#include <stdio.h>

#include "base/metrics.h"
#include "http/note.h"
#include "http/reply.h"

#define RETRY_AFTER_S_MIN 1 /* of a time of one's own; Electric's are 6 to 10 for everybody */
#define EXISTING_RETRY_AFTER_S 6
#define RETRY_AFTER_S_SPREAD 5
#define RETRY_AFTER_S_MAX 90
/* Until it has been seen how fast shapes are made: who comes too early is sent away again, and then it is known. */
#define PLACES_PER_S 400
#define PACE_MS 250 /* it is looked at again so often, while places are taken */
/* One slow moment (a table that is joined, a checkpoint) isn't the pace of the minute to come; and a place that nobody comes for
 * costs all who wait, while who comes too early costs one more answer like this. */
#define PACE_FALL 4
#define PACE_EAGER 1.5

void admit_init(struct http *h)
{
	pthread_mutex_init(&h->pace.lock, NULL);
	h->pace.per_s = PLACES_PER_S;
}

void admit_clear(struct http *h) { pthread_mutex_destroy(&h->pace.lock); }

static bool take(_Atomic unsigned *count, int64_t limit)
{
	if ((int64_t)atomic_fetch_add(count, 1) < limit)
		return true;
	atomic_fetch_sub(count, 1);
	return false;
}

/* ---- when to come back ------------------------------------------------------------------------------ */

static void pace_count(struct admit_pace *p, int64_t now_ms)
{
	p->counting = true;
	p->since_ms = now_ms;
	p->freed = 0;
}

/* From the first place that is freed on: until then the first of them has waited for what all need. */
static void pace_look(struct admit_pace *p, int64_t now_ms)
{
	if (p->freed++ == 0) {
		p->since_ms = now_ms;
		return;
	}
	if (now_ms - p->since_ms < PACE_MS)
		return;
	double per_s = (double)(p->freed - 1) * 1000 / (double)(now_ms - p->since_ms);
	p->per_s += (per_s - p->per_s) / (per_s < p->per_s ? PACE_FALL : 1);
	p->since_ms = now_ms;
	p->freed = 1;
}

/*
 * Of a crowd that comes at once (all shapes of a table rotated) most are sent away. Each is given a time of its own at
 * which to come back, one behind the other, a little faster than places became free when they were wanted: so they find a place then,
 * and Postgres always has as much to do as it may have.
 */
static void pace_freed(struct http *h, int64_t now_ms)
{
	struct admit_pace *p = &h->pace;
	pthread_mutex_lock(&p->lock);
	if (p->counting)
		pace_look(p, now_ms);
	/* With fewer taken it is a matter of who comes, not of how fast we are. */
	if ((int64_t)atomic_load(&h->initial) < (h->config->live.max_concurrent_initial + 1) / 2)
		p->counting = false;
	else if (!p->counting)
		pace_count(p, now_ms);
	pthread_mutex_unlock(&p->lock);
}

/* Milliseconds from now. */
static int64_t pace_next(struct http *h, int64_t now_ms)
{
	struct admit_pace *p = &h->pace;
	pthread_mutex_lock(&p->lock);
	if (!p->counting)
		pace_count(p, now_ms);
	double first = (double)now_ms + RETRY_AFTER_S_MIN * 1000, last = (double)now_ms + RETRY_AFTER_S_MAX * 1000;
	p->next_ms = (p->next_ms < first ? first : p->next_ms) + 1000 / (PACE_EAGER * (p->per_s < 1 ? 1 : p->per_s));
	if (p->next_ms > last)
		p->next_ms = last;
	int64_t wait_ms = (int64_t)p->next_ms - now_ms;
	pthread_mutex_unlock(&p->lock);
	return wait_ms;
}

/* Seconds; spread a little the further away they are, for the less is known of the pace then. */
static int own_time(struct request *r)
{
	int64_t ms = pace_next(r->http, r->conn->loop->now_ms);
	int s = (int)((ms + 999) / 1000);
	return s + (s >= 4 ? (int)(loop_random(r->conn->loop) % (unsigned)(s / 4 + 1)) : 0);
}

int admit_retry_after(struct request *r, int64_t ms)
{
	int s = (int)((ms + 999) / 1000), spread = s / 4 > RETRY_AFTER_S_SPREAD ? s / 4 : RETRY_AFTER_S_SPREAD;
	return s + (int)(loop_random(r->conn->loop) % (unsigned)spread);
}

/* ---- places ----------------------------------------------------------------------------------------- */

bool admit(struct request *r, bool existing)
{
	struct http *h = r->http;
	r->release[HELD_ADMISSION] = admit_release;
	if (existing)
		r->admission = take(&h->existing, h->config->live.max_concurrent_existing) ? ADMIT_EXISTING : ADMIT_REFUSED_EXISTING;
	else
		r->admission = take(&h->initial, h->config->live.max_concurrent_initial) ? ADMIT_INITIAL : ADMIT_REFUSED_INITIAL;
	bool taken = r->admission == ADMIT_EXISTING || r->admission == ADMIT_INITIAL;
	metric_add_label(taken ? METRIC_E_ADMITTED : METRIC_E_REJECTED, existing ? ADMISSION_EXISTING : ADMISSION_INITIAL, 1);
	return taken;
}

static void free_initial(struct request *r)
{
	atomic_fetch_sub(&r->http->initial, 1);
	metric_add_label(METRIC_E_ADMITTED, ADMISSION_INITIAL, -1);
	pace_freed(r->http, r->conn->loop->now_ms);
}

void admit_swap(struct request *r)
{
	if (r->admission != ADMIT_INITIAL)
		return;
	/* Over the limit of the other kind or not: it has been let in already. */
	atomic_fetch_add(&r->http->existing, 1);
	metric_add_label(METRIC_E_ADMITTED, ADMISSION_EXISTING, 1);
	free_initial(r);
	r->admission = ADMIT_EXISTING;
}

void admit_release(struct request *r)
{
	if (r->admission == ADMIT_INITIAL)
		free_initial(r);
	else if (r->admission == ADMIT_EXISTING) {
		atomic_fetch_sub(&r->http->existing, 1);
		metric_add_label(METRIC_E_ADMITTED, ADMISSION_EXISTING, -1);
	}
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
	reply_headerf(&p, "retry-after", "%d", initial ? own_time(r) : admit_retry_after(r, EXISTING_RETRY_AFTER_S * 1000));
	enum reason why = initial ? REASON_LIMIT_INITIAL : REASON_LIMIT_EXISTING;
	reply_reason(&p, why);
	char text[120];
	snprintf(text, sizeof text, "Concurrent %s request limit exceeded (limit: %lld), please retry", initial ? "initial" : "existing",
	         (long long)(initial ? c->live.max_concurrent_initial : c->live.max_concurrent_existing));
	note_refusal(r, why, text);
	buf_printf(&body, "{\"code\":\"concurrent_request_limit_exceeded\",\"message\":\"%s\"}", text);
	return reply_buf(r, &p, &body);
}
