/*
 * start.c - the stream starts: does what we have still belong to this server? (docs/invariants.md
 * 2.3, 2.4, 2.13, 6.5)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/items.h"
#include "shapes/core/jobs.h"
#include "shapes/core/registry.h"
#include "shapes/ingest/ingest.h"
#include "shapes/logs/writer.h"
#include "shapes/routing/render.h"

/* The start of the stream waits so long until somebody has looked at the ground of all tables; beyond, the stream
 * starts again. */
#define GROUND_WAIT_MS 30000

struct identity {
	char system_id[32];
	uint32_t timeline, database_oid;
	int64_t incarnation_us;
};

static int identity_load(struct shapes *s, struct identity *out, bool *found, struct err *e)
{
	struct buf b = BUF_INIT(256);
	struct store_read *r = store_read_begin(s->store, e);
	if (r == NULL)
		return -1;
	int rc = store_get_meta(r, "identity", &b, e);
	store_read_end(r);
	*found = rc == 0 && b.len == sizeof *out;
	if (*found)
		memcpy(out, b.data, sizeof *out);
	buf_clear(&b);
	return rc < 0 ? -1 : 0;
}

/* Where the server's history leaves the timeline `ours`; 0: it never had it. */
static lsn_t left_at(const struct stream_server *server, uint32_t ours)
{
	for (int i = 0; i < server->nhistory; i++)
		if (server->history[i].timeline == ours)
			return server->history[i].end;
	return 0;
}

/* NULL: everything stays; else why all shapes rotate, and what their clients are told. */
static const char *why_rotate_all(struct shapes *s, const struct stream_server *server, const struct identity *was, bool known,
                                  char *text, size_t max, enum reason *reason)
{
	*reason = REASON_DATABASE_CHANGED;
	lsn_t durable = atomic_load(&s->durable), reach = atomic_load(&s->delivered);
	char a[LSN_TEXT_MAX], b[LSN_TEXT_MAX];
	if (!known)
		return NULL;
	if (s->ingest->other_history != NULL) {
		*reason = s->ingest->other_reason;
		snprintf(text, max, "%s", s->ingest->other_history);
		return text;
	}
	if (strcmp(was->system_id, server->system_id) != 0 || was->database_oid != server->database_oid) {
		snprintf(text, max, "Detected different Postgres DB, with ID: %s", server->system_id);
		return text;
	}
	if (server->slot_created && server->publication != PUBLICATION_STAYED && !atomic_load(&s->guard.gave_up)) {
		*reason = REASON_PUBLICATION_CHANGED;
		snprintf(text, max, "the publication was dropped%s, so the replication slot was made anew: changes since %s are not known",
		         server->publication == PUBLICATION_WENT ? " while Busbar was running" : "", lsn_text(durable, a));
		return text;
	}
	if (server->slot_created || (atomic_load(&s->guard.gave_up) && server->confirmed_flush > durable)) {
		bool gave_up = atomic_load(&s->guard.gave_up);
		*reason = gave_up ? REASON_LIMIT_WAL : REASON_SLOT_LOST;
		snprintf(text, max, "the replication slot is new%s: changes since %s are not known",
		         gave_up ? ", since the old one was given up for the WAL it kept" : "", lsn_text(durable, a));
		return text;
	}
	if (server->timeline != was->timeline) {
		lsn_t end = left_at(server, was->timeline);
		if (end == 0 || reach > end) {
			snprintf(text, max, "Detected PITR to timeline %u: it left ours at %s, clients may have seen %s", server->timeline,
			         end == 0 ? "an unknown position" : lsn_text(end, a), lsn_text(reach, b));
			return text;
		}
		log_notice("the server is on timeline %u now, which left ours at %s after everything clients can have seen (%s)",
		           server->timeline, lsn_text(end, a), lsn_text(reach, b));
	}
	if (server->timeline == was->timeline && server->wal_end < durable) {
		snprintf(text, max, "the server's WAL ends at %s, before our %s: it was restored from the past", lsn_text(server->wal_end, a),
		         lsn_text(durable, b));
		return text;
	}
	if (durable != 0 && server->confirmed_flush > durable) {
		snprintf(text, max, "the replication slot is at %s, ahead of our %s: somebody else has read from it",
		         lsn_text(server->confirmed_flush, a), lsn_text(durable, b));
		return text;
	}
	return NULL;
}

/* docs/invariants.md 6.5: a snapshot may show commits that crash recovery of Postgres has lost. */
static void rotate_unflushed(struct shapes *s, const struct stream_server *server, const struct identity *was)
{
	if (was->incarnation_us == server->incarnation_us && was->timeline == server->timeline)
		return;
	struct shape *doomed[64];
	size_t n;
	do {
		n = 0;
		pthread_rwlock_rdlock(&s->registry_lock);
		struct shape *shape;
		for (size_t i = 0; n < ARRAY_LEN(doomed) && (shape = map_next(&s->by_handle, &i)) != NULL;)
			if (shape->in.filter.known && shape->in.filter.snap.insert_lsn > s->ingest->processed && !atomic_load(&shape->dropped))
				doomed[n++] = shape_ref(shape);
		pthread_rwlock_unlock(&s->registry_lock);
		for (size_t i = 0; i < n; i++) {
			ingest_rotate(s, doomed[i], REASON_POSTGRES_CRASHED,
			              "Postgres crashed before the shape's snapshot was known to be on its disk");
			shape_unref(doomed[i]);
		}
	} while (n == ARRAY_LEN(doomed));
}

/* The store forgets the commits it has as it sets the durable LSN. */
static void set_durable(struct shapes *s, lsn_t to)
{
	writer_put(s, item_lsn_new_set(to));
	commits_reset(&s->ingest->commits, to);
}

/* What the slot has is all there is, and positions may be smaller than before. The stream goes on
 * when the store says so too: a flush position of the old history must not be acknowledged. */
static int begin_anew(struct shapes *s, lsn_t from, struct err *e)
{
	struct ingest *in = s->ingest;
	set_durable(s, from);
	in->mark_limit = 0;
	mark_request(s, from);
	if (writer_flush(s, e) != 0)
		return -1;
	in->processed = from;
	in->snapshots_lsn = 0;
	atomic_store(&s->seen, 0);
	atomic_store(&s->delivered, from);
	struct passed_page *p;
	for (size_t i = 0; (p = map_next(&in->passed, &i)) != NULL;)
		free(p);
	map_clear(&in->passed);
	return 0;
}

static int rewind_to(struct shapes *s, lsn_t to, struct err *e)
{
	set_durable(s, to);
	if (writer_flush(s, e) != 0)
		return -1;
	s->ingest->processed = to;
	s->ingest->keepalive = 0;
	return 0;
}

/*
 * While there was no stream nobody watched: the publication may have left out changes that are not to come. So nothing is
 * read until a PG thread has compared what our shapes stand on, and rotated those that don't bear it.
 */
static void await_ground(struct shapes *s)
{
	struct ingest *in = s->ingest;
	in->starts++;
	if (atomic_load(&s->nshapes) == 0)
		return;
	in->grounding = true;
	in->grounding_until_ms = clock_mono_ms() + GROUND_WAIT_MS;
	struct job *j = mem_zalloc(sizeof *j);
	j->kind = JOB_GROUND;
	j->number = in->starts;
	job_post(s, j);
}

bool ground_awaited(struct shapes *s)
{
	struct ingest *in = s->ingest;
	if (in->grounding && clock_mono_ms() > in->grounding_until_ms) {
		log_warning("Nobody could look at the publication and our tables within %d s", GROUND_WAIT_MS / 1000);
		in->grounding = false;
		in->unresolved = true;
	}
	return in->grounding;
}

/*
 * The stream begins where the slot stands, and what it brings of what we have is compared. Meanwhile known shapes are
 * served as they were at our last position, as in an outage: if it turns out that the server lost that history, clients
 * were told no more than what was true when we got it.
 */
static void begin_comparing(struct shapes *s, const struct stream_server *server)
{
	struct ingest *in = s->ingest;
	char a[LSN_TEXT_MAX], b[LSN_TEXT_MAX];
	/* A store from before commits were remembered (or whose list was damaged) has none. */
	if (in->commits.n == 0)
		set_durable(s, in->processed);
	size_t n = commits_compare(&in->commits, server->confirmed_flush, in->processed);
	if (n > 0)
		log_notice("The server sends from %s on, where the slot stands; up to %s, %zu transactions are compared with what was "
		           "received", lsn_text(server->confirmed_flush, a), lsn_text(in->processed, b), n);
}

int ingest_on_start(void *ctx, const struct stream_server *server, lsn_t *start_at, struct err *e)
{
	struct shapes *s = ctx;
	struct ingest *in = s->ingest;
	if (in->ending && !txn_try_finish(s))
		return err_set(e, ERR_IO, "waiting for the store to take the last transaction");
	struct identity was, now = {.timeline = server->timeline, .database_oid = server->database_oid,
	                            .incarnation_us = server->incarnation_us};
	snprintf(now.system_id, sizeof now.system_id, "%s", server->system_id);
	bool known;
	if (identity_load(s, &was, &known, e) != 0)
		return -1;
	char text[900];
	enum reason reason;
	const char *why = why_rotate_all(s, server, &was, known, text, sizeof text, &reason);
	if (why != NULL) {
		if (atomic_load(&s->nshapes) > 0)
			log_warning("%s. Purging shape logs from disk. Clients will refetch shape data automatically. (%s)",
			            reason == REASON_DATABASE_CHANGED ? "Database ID or timeline changed" : "Changes are missing from the stream", why);
		shapes_rotate_all(s, reason, why);
		cmd_run_all(s); /* their drops go to the writer before anything that follows */
		/* Kept until all of it is done: what says so now may say it only once (a slot is new only once). */
		char *kept = mem_strdup(why);
		free(in->other_history);
		in->other_history = kept;
		in->other_reason = reason;
	} else if (known) {
		rotate_unflushed(s, server, &was);
		cmd_run_all(s);
		/* What was delivered came from WAL that the server had flushed. */
		if (atomic_load(&s->delivered) > server->wal_end && server->wal_end >= atomic_load(&s->seen))
			atomic_store(&s->delivered, server->wal_end);
	}
	if ((why != NULL || atomic_load(&s->durable) == 0) && begin_anew(s, server->confirmed_flush, e) != 0)
		return -1;
	free(in->other_history);
	in->other_history = NULL;
	/* Positions we have from keepalives alone may lie beyond where the new timeline left the old one;
	 * what it wrote there since is to come. */
	lsn_t left = why == NULL && known && was.timeline != server->timeline ? left_at(server, was.timeline) : 0;
	if (left != 0 && left < in->processed && rewind_to(s, left, e) != 0)
		return -1;
	if (!in->started) {
		in->started = true;
		in->ndoubts = (size_t)server->nrunning;
		in->doubts = mem_alloc(in->ndoubts * sizeof *in->doubts);
		memcpy(in->doubts, server->running, in->ndoubts * sizeof *in->doubts);
	}
	writer_put(s, item_meta_new("identity", &now, sizeof now));
	struct relation *r;
	for (size_t i = 0; (r = map_next(&in->relations, &i)) != NULL;)
		r->resolved = false;
	await_ground(s);
	begin_comparing(s, server);
	*start_at = server->confirmed_flush;
	in->streaming = true;
	idle_started(s, server->wal_end);
	atomic_store(&s->guard.gave_up, false);
	pthread_mutex_lock(&s->server_lock);
	s->server = *server;
	s->server_ms = clock_mono_ms();
	pthread_mutex_unlock(&s->server_lock);
	return 0;
}
