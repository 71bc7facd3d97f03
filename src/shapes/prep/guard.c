/*
 * guard.c - the WAL guard: looks at our slot beside the stream, and sees to it that what *we* hold stays below the limits.
 *
 * What can hold our position back (docs/invariants.md 4.1: no shape or client does), and what dropping would help:
 *   - the store can't be written, or takes less than what comes: nothing, for a drop is written there, too;
 *   - the publication or a table's ancestors can't be looked at, so that the stream begins again and again: the shapes for
 *     which that is needed. Postgres may be out of sessions while walsenders, which are counted apart, still get theirs;
 *   - no replication connection: nothing;
 *   - there is much to read, or one large transaction: nothing; shapes cost time, but a walsender takes most of it.
 * The last step, another slot, helps in all of these.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/events.h"
#include "base/log.h"
#include "shapes/core/engine.h"
#include "shapes/core/guard.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

/* Of a limit, in thousandths, from where on a step is taken; it is taken back this much lower (in tenths of that). */
static const int steps_at[] = {0, 500, 700, 850, 1000};
#define BACK_TENTHS 9

/* Between two looks: without a limit, for those who read the figures; with one; and near it. */
#define LOOK_MS 10000
#define LOOK_LIMITED_MS 5000
#define LOOK_NEAR_MS 1000
#define NEAR_PERMILLE 250
/*
 * ... and while all connections are closed for idleness, one of which each look needs; a database that is suspended meanwhile is
 * woken by it. Of a limit by age a fifth at most, so that the stream is back at half of it.
 */
#define LOOK_ASLEEP_MS 3600000
#define LOOK_ASLEEP_LIMITED_MS 300000
#define LOOK_ASLEEP_AGE_PART 5
#define UNREAD_ASLEEP_MAX_BYTES (INT64_C(100) << 20) /* then it is read, limit or not */

#define GIVE_UP_MS 10000     /* a stream that was told to give the slot up is told again if that took longer */
#define TELL_MS 60000        /* what stays so is told again */
#define OLD_MS 10000         /* a transaction that runs longer keeps us from making a slot at once, and is named */
#define HELD_RECENT_MS 15000 /* longer than the stream's back-offs */
#define STALLED_MS 20000     /* the look that INGEST waits for has failed again by then */
#define BLIND_MAX_MS 30000   /* so old may be what the stream's own start has shown, where no other session is to be had */
#define OTHERS_TELL_BYTES (INT64_C(1) << 30) /* of what others hold; with a limit, half of that */
#define SEGMENTS_MIN 4       /* a limit below so many is reached by any burst */

/* ---- the policy ---- */

static int permille(int64_t of, int64_t limit)
{
	if (limit <= 0 || of <= 0)
		return 0;
	return of >= limit * 2 ? 2000 : (int)((double)of / (double)limit * 1000);
}

struct guard_figures {
	int64_t ours_bytes, age_ms, limit_bytes, limit_age_ms; /* a limit of 0: none */
};

/* Of the limit that is nearer, in thousandths. */
static int guard_permille(const struct guard_figures *f)
{
	int bytes = permille(f->ours_bytes, f->limit_bytes), age = permille(f->age_ms, f->limit_age_ms);
	return bytes > age ? bytes : age;
}

/* The step that calls for, after the step that was taken. GUARD_GIVEN_UP: the slot is to be given up, if that can be. */
static enum guard_step guard_decide(int permille, enum guard_step was)
{
	enum guard_step step = GUARD_GIVEN_UP;
	while (step > GUARD_NONE && permille < steps_at[step])
		step--;
	/* Not back and forth; but a slot that was given up is another now. */
	for (enum guard_step up = was == GUARD_GIVEN_UP ? GUARD_NONE : was; up > step; up--)
		if (permille * 10 >= steps_at[up] * BACK_TENTHS)
			return up;
	return step;
}

/* ---- texts ---- */

static void put_bytes(char *out, size_t max, int64_t bytes)
{
	if (bytes >= 10000000000)
		snprintf(out, max, "%.1f GB", (double)bytes / 1e9);
	else
		snprintf(out, max, "%" PRId64 " MB", bytes / 1000000);
}

/* What keeps our position where it is, as far as it can be told; NULL: nothing of it is known. */
static const char *held_by(struct shapes *s, int64_t now_ms)
{
	static const char *const texts[] = {
		[GUARD_HOLD_PARTITION] = "whose partition a table is can't be looked up", [GUARD_HOLD_GROUND] = "the publication and the tables can't be looked at",
		[GUARD_HOLD_LOOK] = "a table that may have changed is looked at", [GUARD_HOLD_STORE] = "the store takes less than what comes",
	};
	if (atomic_load(&s->store_failing))
		return "the store can't be written";
	int64_t last_ms = now_ms - HELD_RECENT_MS;
	const char *text = NULL;
	for (int i = 0; i < GUARD_HOLDS; i++) {
		int64_t at_ms = atomic_load_explicit(&s->guard.held_ms[i], memory_order_relaxed);
		if (at_ms != 0 && at_ms >= last_ms) {
			last_ms = at_ms;
			text = texts[i];
		}
	}
	if (text == NULL && status_phase_now(s) != STREAM_RUNNING)
		return "there is no replication connection";
	return text;
}

static bool is_held(struct shapes *s, enum guard_hold why, int64_t now_ms)
{
	int64_t at_ms = atomic_load_explicit(&s->guard.held_ms[why], memory_order_relaxed);
	return at_ms != 0 && now_ms - at_ms < HELD_RECENT_MS;
}

static void put_step(struct shapes *s, struct guard_state *st, int64_t now_ms, const char *in_the_way)
{
	static const char *const ends[] = {"", "", ": no new shapes are made", ": no new shapes are made", ": it is given up, and all shapes are made anew"};
	const char *why = held_by(s, now_ms);
	char bytes[32], first[160];
	int of_bytes = permille(st->ours_bytes, st->limit_bytes), of_age = permille(st->age_ms, st->limit_age_ms);
	put_bytes(bytes, sizeof bytes, st->ours_bytes);
	if (of_bytes >= of_age)
		snprintf(first, sizeof first, "Postgres keeps %s of WAL for the replication slot, %d %% of BUSBAR_WAL_LIMIT", bytes, of_bytes / 10);
	else
		snprintf(first, sizeof first, "the replication slot has stood still for %" PRId64 " s, %d %% of BUSBAR_WAL_LIMIT_AGE",
		         st->age_ms / 1000, of_age / 10);
	snprintf(st->text, sizeof st->text, "%s%s%s%s%s%s", first, ends[st->step], in_the_way, why != NULL ? " (" : "", why != NULL ? why : "",
	         why != NULL ? ")" : "");
}

/* ---- loud lines ---- */

static void say_limits(struct shapes *s, const struct pg_slot_look *look)
{
	const struct config *c = s->config;
	char ours[32], theirs[32];
	put_bytes(ours, sizeof ours, c->wal_limit_bytes);
	put_bytes(theirs, sizeof theirs, look->keep_bytes);
	if (c->wal_limit_bytes == 0 && c->wal_limit_age_ms == 0 && look->keep_bytes < 0)
		log_warning("Nothing limits the WAL that Postgres keeps for replication slots: while Busbar is stopped, or can't go on, that may "
		            "fill the disk. Set max_slot_wal_keep_size in Postgres, and BUSBAR_WAL_LIMIT to something less");
	if (c->wal_limit_bytes > 0 && look->keep_bytes >= 0 && c->wal_limit_bytes >= look->keep_bytes)
		log_warning("BUSBAR_WAL_LIMIT (%s) should be below Postgres's max_slot_wal_keep_size (%s), which acts first, and without warning",
		            ours, theirs);
	if (c->wal_limit_bytes > 0 && c->wal_limit_bytes < look->segment_bytes * SEGMENTS_MIN)
		log_warning("BUSBAR_WAL_LIMIT (%s) is less than %d files of WAL: any burst of writes may reach it, and costs all shapes", ours,
		            SEGMENTS_MIN);
}

static void say_sync(struct shapes *s, const struct pg_slot_look *look)
{
	struct guard_turn *t = &s->guard.turn;
	if (strcmp(t->sync_said, look->sync_names) == 0)
		return;
	memcpy(t->sync_said, look->sync_names, sizeof t->sync_said);
	bool all = pg_sync_names_all(look->sync_names);
	atomic_store(&s->guard.is_standby, all);
	if (all)
		log_warning("synchronous_standby_names = '%s' counts each walsender, so commits in Postgres may wait for Busbar, for as long as it "
		            "is away too: name the standbys there instead of *%s", look->sync_names,
		            s->config->idle_timeout_ms > 0 ? ". Until then, ELECTRIC_REPLICATION_IDLE_TIMEOUT has no effect" : "");
}

/* ---- looking ---- */

/* What the stream's own start has shown: it may have a connection where others are refused. */
static bool look_by_stream(struct shapes *s, int64_t now_ms, struct pg_slot_look *out)
{
	pthread_mutex_lock(&s->server_lock);
	bool fresh = s->server.version_num != 0 && now_ms - s->server_ms < BLIND_MAX_MS;
	*out = (struct pg_slot_look){
		.status = SLOT_RESERVED, .wal_end = s->server.wal_end, .restart = s->server.confirmed_flush,
		.confirmed = s->server.confirmed_flush, .safe_bytes = -1,
	};
	pthread_mutex_unlock(&s->server_lock);
	return fresh;
}

static int64_t between(lsn_t from, lsn_t to) { return from != 0 && to > from ? (int64_t)(to - from) : 0; }

static void measure(struct guard_turn *t, const struct pg_slot_look *look, int64_t now_ms, struct guard_state *st)
{
	bool there = look->status != SLOT_MISSING && look->status != SLOT_LOST;
	if (t->still_ms == 0 || !there || look->confirmed != t->confirmed || look->wal_end <= look->confirmed)
		t->still_ms = now_ms;
	if (!there || look->wal_end <= look->confirmed)
		t->behind_ms = 0;
	else if (t->behind_ms == 0 || look->confirmed != t->confirmed)
		t->behind_ms = now_ms;
	t->confirmed = look->confirmed;
	st->known = true;
	st->looked_ms = now_ms;
	st->slot = look->status;
	st->active = look->active;
	if (!there)
		return;
	st->ours_bytes = between(look->confirmed, look->wal_end);
	st->others_bytes = between(look->restart, look->confirmed != 0 ? look->confirmed : look->wal_end);
	st->retained_bytes = st->ours_bytes + st->others_bytes;
	st->age_ms = now_ms - t->still_ms;
	st->behind_ms = t->behind_ms != 0 ? now_ms - t->behind_ms : 0;
}

/* Since when the oldest transaction runs: what Postgres says, or how long we have seen it. 0: there is none. */
static int64_t oldest_age(struct guard_turn *t, const struct pg_oldest *o, int64_t now_ms)
{
	if (o->xid != t->oldest)
		t->oldest_ms = now_ms;
	t->oldest = o->xid;
	if (o->xid == 0)
		return 0;
	int64_t seen_ms = now_ms - t->oldest_ms;
	return o->age_ms > seen_ms ? o->age_ms : seen_ms;
}

static void tell_others(struct guard_state *st, const struct pg_oldest *o, int64_t age_ms)
{
	char bytes[32];
	put_bytes(bytes, sizeof bytes, st->others_bytes);
	st->others = true;
	log_seldom(LOG_WARNING, log_repeat_key(0, &o->xid, sizeof o->xid), "Postgres keeps %s of WAL for %s, which has been running for %" PRId64
	           " s: end it. Nothing that Busbar does frees that WAL", bytes, o->who, age_ms / 1000);
	if (st->step == GUARD_NONE && o->pid != 0)
		snprintf(st->text, sizeof st->text, "another session's transaction (process %d, for %" PRId64 " s) makes Postgres keep %s of WAL, "
		         "which nothing that Busbar does frees", o->pid, age_ms / 1000, bytes);
	else if (st->step == GUARD_NONE)
		snprintf(st->text, sizeof st->text, "a prepared transaction (for %" PRId64 " s) makes Postgres keep %s of WAL, which nothing that "
		         "Busbar does frees", age_ms / 1000, bytes);
}

/* ---- the steps ---- */

static void drop_what_holds(struct shapes *s, const struct guard_state *st, int64_t now_ms)
{
	if (st->age_ms < STALLED_MS || atomic_load(&s->nshapes) == 0)
		return;
	if (is_held(s, GUARD_HOLD_GROUND, now_ms)) {
		log_warning("All shapes are dropped, since the stream can't go on with them: %s", st->text);
		shapes_rotate_all(s, REASON_LIMIT_WAL, "the publication and the tables could not be looked at, and too much WAL was kept for that");
	} else if (is_held(s, GUARD_HOLD_PARTITION, now_ms)) {
		log_warning("The shapes of tables with partitions or children are dropped, since the stream can't go on with them: %s", st->text);
		leaves_rotate_families(s, REASON_LIMIT_WAL, "whose partition a relation is could not be looked up, and too much WAL was kept for that");
	}
}

/* Nobody may have it. Another instance's lock, or a walsender, keeps the slot; so does its having moved. */
static bool drop_unused(struct shapes *s, PGconn *conn, const struct pg_slot_look *look)
{
	struct err e = {0};
	bool dropped;
	if (pg_slot_drop_unused(conn, s->config->slot_name, look->confirmed, &dropped, &e) != 0)
		log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "The replication slot could not be given up: %s", e.text);
	if (dropped)
		log_warning("Gave up the replication slot %s while there is no replication connection: another is made once there is one, and all "
		            "shapes anew", s->config->slot_name);
	return dropped;
}

/*
 * True if the slot goes, or has gone; else *in_the_way says why not. `oldest_ms` below 0: nobody could look. A new slot has the
 * old one's place; what it may have to wait for is whoever has written and not ended.
 */
static bool give_up(struct shapes *s, PGconn *conn, const struct guard_state *st, const struct pg_slot_look *look,
                    const struct pg_oldest *o, int64_t oldest_ms, char *in_the_way, size_t max)
{
	if (oldest_ms < 0) {
		snprintf(in_the_way, max, "; it isn't given up, as nobody could look whether another can be made");
		return false;
	}
	if (oldest_ms >= OLD_MS && o->pid != 0)
		snprintf(in_the_way, max, "; it isn't given up, as another could not be made before the transaction of process %d, which runs for %"
		         PRId64 " s, has ended", o->pid, oldest_ms / 1000);
	else if (oldest_ms >= OLD_MS)
		snprintf(in_the_way, max, "; it isn't given up, as another could not be made before a prepared transaction has ended");
	if (in_the_way[0] != '\0') {
		log_seldom(LOG_WARNING, log_repeat_key(0, &o->xid, sizeof o->xid), "The replication slot would be given up, but another could "
		           "not be made before %s has ended", o->who);
		return false;
	}
	struct guard_turn *t = &s->guard.turn;
	if (t->gave_up_ms != 0 && st->looked_ms - t->gave_up_ms < GIVE_UP_MS)
		return true; /* it is under way */
	enum stream_phase phase = status_phase_now(s);
	bool running = phase == STREAM_RUNNING || phase == STREAM_SETTING_UP; /* INGEST has the lock */
	atomic_store(&s->guard.gave_up, true);
	if (running)
		guard_give_up(s, look->confirmed, permille(st->ours_bytes, st->limit_bytes) >= steps_at[GUARD_GIVEN_UP] ? st->limit_bytes : 0);
	if (!running && !drop_unused(s, conn, look)) {
		atomic_store(&s->guard.gave_up, false);
		return false;
	}
	t->gave_up_ms = st->looked_ms;
	return true;
}

static void tell_step(struct guard_turn *t, const struct guard_state *st, enum guard_step was, int64_t now_ms)
{
	if (st->step == was && (st->step == GUARD_NONE || now_ms - t->told_ms < TELL_MS))
		return;
	t->told_ms = now_ms;
	if (st->step != was)
		event_put(EVENT_WAL, REASON_LIMIT_WAL, NULL, NULL, "%s: %s", st->step == GUARD_NONE ? "none" : guard_step_name(st->step), st->text);
	if (st->step == GUARD_NONE)
		log_notice("The WAL that Postgres keeps for the replication slot is well below the limit again");
	else
		log_line(st->step == GUARD_GIVEN_UP ? LOG_ERROR : st->step < was ? LOG_NOTICE : LOG_WARNING, "WAL guard (%s): %s",
		         guard_step_name(st->step), st->text);
}

/* `conn` NULL: the figures are those of the stream's start, and nothing more is asked. */
static void act(struct shapes *s, PGconn *conn, const struct pg_slot_look *look, enum guard_step was, int64_t now_ms, struct guard_state *st)
{
	struct guard_turn *t = &s->guard.turn;
	struct err e = {0};
	struct pg_oldest oldest = {0};
	char in_the_way[160] = "";
	int64_t tell = st->limit_bytes > 0 ? st->limit_bytes / 2 : OTHERS_TELL_BYTES, oldest_ms = -1;
	int of_limit = guard_permille(&(struct guard_figures){st->ours_bytes, st->age_ms, st->limit_bytes, st->limit_age_ms});
	st->step = guard_decide(of_limit, was);
	if (conn != NULL && (st->others_bytes >= tell || st->step >= GUARD_DROP)) {
		if (pg_slot_oldest(conn, &oldest, &e) == 0)
			oldest_ms = oldest_age(t, &oldest, now_ms);
		else
			log_seldom(LOG_WARNING, log_repeat_key(0, e.text, strlen(e.text)), "Looking for the oldest transaction: %s", e.text);
	}
	if (st->step == GUARD_GIVEN_UP && !give_up(s, conn, st, look, &oldest, oldest_ms, in_the_way, sizeof in_the_way))
		st->step = GUARD_DROP;
	if (st->step > GUARD_NONE)
		put_step(s, st, now_ms, in_the_way);
	if (st->others_bytes >= tell && oldest_ms >= OLD_MS)
		tell_others(st, &oldest, oldest_ms);
	if (st->step == GUARD_DROP)
		drop_what_holds(s, st, now_ms);
	tell_step(t, st, was, now_ms);
}

static int64_t next_look(const struct guard_state *st)
{
	int of_limit = guard_permille(&(struct guard_figures){st->ours_bytes, st->age_ms, st->limit_bytes, st->limit_age_ms});
	if (st->step > GUARD_NONE || of_limit >= NEAR_PERMILLE)
		return LOOK_NEAR_MS;
	return st->limit_bytes > 0 || st->limit_age_ms > 0 ? LOOK_LIMITED_MS : LOOK_MS;
}

/* ---- asleep ---- */

static int64_t asleep_every(const struct config *c)
{
	int64_t every_ms = c->wal_limit_bytes > 0 || c->wal_limit_age_ms > 0 ? LOOK_ASLEEP_LIMITED_MS : LOOK_ASLEEP_MS;
	int64_t by_age_ms = c->wal_limit_age_ms / LOOK_ASLEEP_AGE_PART;
	return by_age_ms > 0 && by_age_ms < every_ms ? by_age_ms : every_ms;
}

/* Nobody reads, and that is as it should be, until there is much to read: the stream takes it away, no step of ours does. */
static bool must_read(const struct guard_state *st, const struct pg_slot_look *look)
{
	if (look->active) /* another instance reads */
		return false;
	int of_limit = guard_permille(&(struct guard_figures){st->ours_bytes, st->age_ms, st->limit_bytes, st->limit_age_ms});
	bool postgres_drops = look->safe_bytes >= 0 && look->safe_bytes < st->ours_bytes; /* half of what it keeps */
	return of_limit >= NEAR_PERMILLE || st->ours_bytes >= UNREAD_ASLEEP_MAX_BYTES || postgres_drops;
}

/* What guard_run() does while all connections are closed since `since_ms`. */
static int64_t look_asleep(struct pg_thread *w, int64_t since_ms, struct guard_state *st)
{
	struct shapes *s = w->s;
	struct guard_turn *t = &s->guard.turn;
	struct pg_slot_look look;
	struct err e = {0};
	int64_t now_ms = clock_mono_ms(), every_ms = asleep_every(s->config);
	int64_t last_ms = t->asleep_look_ms > since_ms ? t->asleep_look_ms : since_ms;
	if (now_ms - last_ms < every_ms) {
		guard_publish(s, st); /* nothing is known */
		return every_ms - (now_ms - last_ms);
	}
	t->asleep_look_ms = now_ms;
	PGconn *conn = session_admin(w, &e);
	if (conn != NULL && pg_slot_look(conn, s->config->slot_name, &look, &e) == 0) {
		measure(t, &look, now_ms, st);
		if (must_read(st, &look))
			idle_wake(s, "Postgres keeps WAL that is to be read");
	}
	guard_publish(s, st);
	return every_ms;
}

int64_t guard_run(struct pg_thread *w)
{
	struct shapes *s = w->s;
	int64_t asleep_ms = idle_asleep_since(s);
	struct guard_turn *t = &s->guard.turn;
	struct guard_state was, st = {.limit_bytes = s->config->wal_limit_bytes, .limit_age_ms = s->config->wal_limit_age_ms};
	struct pg_slot_look look;
	struct err e = {0};
	guard_read(s, &was);
	st.looked_ms = was.looked_ms;
	if (shapes_currency(s) != SHAPES_CURRENT) { /* the slot is another instance's, who looks after it */
		t->still_ms = t->behind_ms = 0;
		guard_publish(s, &st);
		return LOOK_LIMITED_MS;
	}
	if (asleep_ms != 0)
		return look_asleep(w, asleep_ms, &st);
	PGconn *conn = session_admin(w, &e);
	bool seen = conn != NULL && pg_slot_look(conn, s->config->slot_name, &look, &e) == 0;
	int64_t now_ms = clock_mono_ms();
	if (seen) {
		if (!t->limits_said)
			say_limits(s, &look);
		t->limits_said = true;
		say_sync(s, &look);
	} else if (!look_by_stream(s, now_ms, &look)) {
		/* Not knowing is no reason for a step, nor for taking one back. */
		was.known = false;
		guard_publish(s, &was);
		return LOOK_LIMITED_MS;
	}
	measure(t, &look, now_ms, &st);
	act(s, seen ? conn : NULL, &look, was.step, now_ms, &st);
	guard_publish(s, &st);
	return next_look(&st);
}
