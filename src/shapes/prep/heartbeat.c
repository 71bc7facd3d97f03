/* heartbeat.c - a logical message into the WAL, which the stream brings back (ingest/heartbeat.c). */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/message.h"
#include "shapes/core/engine.h"
#include "shapes/core/jobs.h"
#include "shapes/prep/prep.h"

void heartbeat_send(struct pg_thread *w)
{
	struct shapes *s = w->s;
	struct err e = {0};
	char text[64];
	PGconn *conn = session_admin(w, &e);
	snprintf(text, sizeof text, HEARTBEAT_FORMAT, s->heartbeat_id, clock_mono_us());
	if (conn == NULL || pg_emit_message(conn, HEARTBEAT_PREFIX, text, &e) != 0)
		log_seldom(e.kind == ERR_PG_CONN ? LOG_DEBUG : LOG_WARNING, log_repeat_key(0, HEARTBEAT_PREFIX, sizeof HEARTBEAT_PREFIX),
		           "No heartbeat could be written (BUSBAR_HEARTBEAT_INTERVAL): %s", e.text);
	atomic_store(&s->heartbeat_queued, false);
}
