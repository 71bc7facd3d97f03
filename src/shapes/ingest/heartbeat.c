/* heartbeat.c - how long it takes from writing to Postgres until the stream has it: a logical message, there and back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/ingest/ingest.h"

void heartbeat_poll(struct shapes *s)
{
	struct ingest *in = s->ingest;
	int64_t every_ms = s->config->heartbeat_ms, now_ms = every_ms > 0 ? clock_mono_ms() : 0;
	if (every_ms == 0 || !in->streaming || now_ms < in->heartbeat_due_ms || atomic_load(&s->heartbeat_queued))
		return;
	in->heartbeat_due_ms = now_ms + every_ms;
	atomic_store(&s->heartbeat_queued, true);
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_HEARTBEAT;
	job_post(s, j);
}

/* Others may write messages too, or have written ours: of this process there is one id. */
void heartbeat_came(const struct shapes *s, const struct wal_change *c)
{
	char text[64];
	uint64_t id;
	int64_t sent_us;
	if (strcmp(c->u.message.prefix, HEARTBEAT_PREFIX) != 0 || c->u.message.len >= sizeof text)
		return;
	memcpy(text, c->u.message.data, c->u.message.len);
	text[c->u.message.len] = '\0';
	if (sscanf(text, HEARTBEAT_SCAN, &id, &sent_us) == 2 && id == s->heartbeat_id)
		metric_observe(METRIC_HEARTBEAT, clock_mono_us() - sent_us);
}
