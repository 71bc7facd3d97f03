/*
 * keeper.c - the KEEPER: which shapes go because of BUSBAR_STORE_LIMIT, BUSBAR_STORE_MIN_FREE, BUSBAR_SHAPE_EXPIRY and
 * BUSBAR_SHAPE_GROWTH_LIMIT, and when. policy.c says which.
 *
 * It looks at all shapes, so it does that seldom: when the WRITER has measured that the store is nearly full, and otherwise when it
 * is time. Those that go go in small groups with pauses, for INGEST and the WRITER have work with each, between the rows of the
 * stream; what is on its way out counts as gone (usage.going), so that no more go than must.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/core/shape.h"
#include "shapes/prep/policy.h"
#include "shapes/prep/prep.h"

/* Read so lately, a shape is in use, whether its client is parked just now or not. */
#define IN_USE_MS 30000

#define GROUP_MAX 64        /* shapes that go at once */
#define GROUP_REST_MS 25
#define EVICT_LOOK_MS 250   /* where nothing could go, or what goes isn't deleted yet */
#define EXPIRE_LOOK_MIN_MS 1000
#define EXPIRE_LOOK_MAX_MS 60000
#define GROWTH_LOOK_MS 5000 /* so at most one shape in that time */
#define GROWTH_AGAIN_MS 250 /* it was no quiet moment */
#define GROWTH_LOG_LEAST ((uint64_t)1 << 20) /* a log of this size is no burden, however few the rows are */

struct keeper {
	struct shapes *s;
	int64_t expire_at, grow_at, evict_at; /* INT64_MAX: never */
	int level;                            /* at the last look: one that has risen is looked at at once */
};

struct look {
	struct candidate *list;
	size_t n, awaiting; /* shapes that wait to be made */
	uint64_t unborn_bytes;
};

/* ---- looking at all shapes ---- */

static void look_at(struct shapes *s, struct shape *shape, int64_t now, struct look *l)
{
	enum shape_state state;
	bool awaited = tail_is_awaited(shape, &state);
	if (awaited)
		shape_touch(shape); /* whoever is parked on it reads it */
	int64_t read_ms = atomic_load(&shape->read_ms);
	struct candidate *c = &l->list[l->n++];
	*c = (struct candidate){
		.shape = shape, .id = shape->id, .read_ms = read_ms, .born = state == SHAPE_LIVE,
		.snapshot_bytes = atomic_load(&shape->snapshot_bytes), .log_bytes = atomic_load(&shape->log_bytes),
		.in_use = awaited || (read_ms > s->loaded_ms && now - read_ms < IN_USE_MS),
		.only_log = shape->def.log_mode == LOG_MODE_CHANGES_ONLY,
	};
	l->awaiting += state == SHAPE_CREATING;
	l->unborn_bytes += c->born ? 0 : c->snapshot_bytes + c->log_bytes;
}

static void look_begin(struct shapes *s, struct look *l)
{
	size_t n;
	struct shape **all = registry_shapes(s, 0, &n);
	int64_t now = clock_mono_ms();
	*l = (struct look){.list = mem_alloc((n + 1) * sizeof *l->list)};
	for (size_t i = 0; i < n; i++)
		look_at(s, all[i], now, l);
	free(all);
}

static void look_end(struct look *l)
{
	for (size_t i = 0; i < l->n; i++)
		shape_unref(l->list[i].shape);
	free(l->list);
}

/* ---- letting go ---- */

static bool rest(struct shapes *s, int64_t ms)
{
	struct usage *u = &s->usage;
	int64_t until = clock_mono_ms() + ms, left;
	pthread_mutex_lock(&u->lock);
	while (!u->stop && (left = until - clock_mono_ms()) > 0)
		clock_cond_wait(&u->keeper, &u->lock, left);
	bool stop = u->stop;
	pthread_mutex_unlock(&u->lock);
	return !stop;
}

/* Nobody has come for it since it was looked at. */
static bool still_unread(const struct candidate *c)
{
	enum shape_state state;
	return !tail_is_awaited(c->shape, &state) && atomic_load(&c->shape->read_ms) == c->read_ms;
}

/* The first `n`, in groups; returns how many went. */
static size_t let_go(struct shapes *s, const struct look *l, size_t n, enum reason reason, const char *why)
{
	size_t gone = 0;
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && i % GROUP_MAX == 0 && !rest(s, GROUP_REST_MS))
			break;
		if (!still_unread(&l->list[i]))
			continue;
		shape_rotate(l->list[i].shape, reason, why);
		gone++;
	}
	return gone;
}

static void expire(struct shapes *s, struct look *l)
{
	int64_t expiry = s->config->shape_expiry_ms;
	size_t n = policy_expired(l->list, l->n, clock_mono_ms() - expiry);
	(void)let_go(s, l, n, REASON_EXPIRED, "nobody has read it for BUSBAR_SHAPE_EXPIRY");
}

/* All shapes are in use, and what the stream brings doesn't fit any more: it is `over` bytes too much. */
static void evict_in_use(struct shapes *s, struct look *l, uint64_t over)
{
	if (policy_in_use(l->list, l->n, over) == 0) {
		log_seldom(LOG_WARNING, log_repeat_key(0, "store limit", 11), "The store takes %" PRIu64 " MiB, more than the %" PRIu64 " MiB it may, and "
		           "there is no shape whose log could go for it: what takes place is rows that are being read, and the journal, which is always written",
		           atomic_load(&s->usage.used) >> 20, atomic_load(&s->usage.most) >> 20);
		return;
	}
	const struct candidate *c = &l->list[0];
	char why[200];
	snprintf(why, sizeof why, "the store is full (%s), all shapes in it are being read, and this one's log is the largest, %" PRIu64 " KiB",
	         atomic_load(&s->usage.by_disk) ? "BUSBAR_STORE_MIN_FREE" : "BUSBAR_STORE_LIMIT", c->log_bytes >> 10);
	log_warning("Shape %s is read, and starts over: %s", shape_handle(c->shape), why);
	shape_rotate(c->shape, REASON_LIMIT_STORE, why);
}

/* Down to USAGE_TARGET_PERCENT, by what nobody uses; if that isn't there, and more than all is used, by one that is. */
static void evict(struct shapes *s, struct look *l)
{
	struct usage *u = &s->usage;
	uint64_t used = atomic_load(&u->used), most = atomic_load(&u->most), going = atomic_load(&u->going);
	uint64_t stays = used > going ? used - going : 0, target = most / 100 * USAGE_TARGET_PERCENT;
	if (most == 0 || stays <= target)
		return; /* it is being deleted */
	size_t n = policy_idle(l->list, l->n, stays - target);
	size_t gone = let_go(s, l, n, REASON_LIMIT_STORE, atomic_load(&u->by_disk) ? "the disk has less free space than BUSBAR_STORE_MIN_FREE, and nobody is reading it"
	                                                       : "the store has reached BUSBAR_STORE_LIMIT, and nobody is reading it");
	pthread_mutex_lock(&u->lock);
	atomic_store(&u->nothing_left, gone == 0);
	pthread_cond_broadcast(&u->room); /* those who make shapes: nothing goes for them */
	pthread_mutex_unlock(&u->lock);
	/* What is being made gives way by itself, first. */
	if (gone == 0 && stays > most + l->unborn_bytes)
		evict_in_use(s, l, stays - most - l->unborn_bytes);
}

/* Its clients will want its rows at once, and what they wait for then is a birth. */
static bool is_quiet(struct shapes *s, const struct look *l)
{
	return l->awaiting == 0 && atomic_load(&s->usage.level) == USAGE_FINE && !shapes_store_failing(s, NULL, NULL, 0) &&
	       shapes_status(s) == SHAPES_ACTIVE;
}

/* False: there is one, and this isn't the moment. */
static bool shrink_grown(struct shapes *s, struct look *l)
{
	uint64_t times = (uint64_t)s->config->shape_growth_limit;
	if (policy_grown(l->list, l->n, times, GROWTH_LOG_LEAST) == 0)
		return true;
	if (!is_quiet(s, l))
		return false;
	const struct candidate *c = &l->list[0];
	char why[160];
	snprintf(why, sizeof why, "its log of %" PRIu64 " KiB has grown to more than BUSBAR_SHAPE_GROWTH_LIMIT=%" PRIu64 " times its first rows (%" PRIu64 " KiB)",
	         c->log_bytes >> 10, times, (c->snapshot_bytes + 1023) >> 10);
	shape_rotate(c->shape, REASON_LOG_GROWN, why);
	return true;
}

/* ---- the thread ---- */

static bool evict_due(const struct keeper *k, int64_t now)
{
	int level = atomic_load(&k->s->usage.level);
	return level >= USAGE_EVICT && (now >= k->evict_at || level > k->level);
}

static void look(struct keeper *k)
{
	struct shapes *s = k->s;
	const struct config *c = s->config;
	int64_t now = clock_mono_ms();
	struct look l;
	bool full = evict_due(k, now);
	k->level = atomic_load(&s->usage.level);
	look_begin(s, &l);
	if (now >= k->expire_at) {
		int64_t often = c->shape_expiry_ms / 10;
		expire(s, &l);
		k->expire_at = now + (often < EXPIRE_LOOK_MIN_MS ? EXPIRE_LOOK_MIN_MS : often > EXPIRE_LOOK_MAX_MS ? EXPIRE_LOOK_MAX_MS : often);
	}
	if (full)
		evict(s, &l);
	if (now >= k->grow_at)
		k->grow_at = now + (shrink_grown(s, &l) ? GROWTH_LOOK_MS : GROWTH_AGAIN_MS);
	if (full)
		k->evict_at = now + EVICT_LOOK_MS;
	look_end(&l);
}

static bool is_due(const struct keeper *k, int64_t now)
{
	return now >= k->expire_at || now >= k->grow_at || evict_due(k, now);
}

static int64_t until_due(const struct keeper *k, int64_t now)
{
	int64_t at = k->expire_at < k->grow_at ? k->expire_at : k->grow_at;
	if (atomic_load(&k->s->usage.level) >= USAGE_EVICT && k->evict_at < at)
		at = k->evict_at;
	return at - now < EXPIRE_LOOK_MAX_MS ? at - now : EXPIRE_LOOK_MAX_MS;
}

static void *keeper_main(void *arg)
{
	struct shapes *s = arg;
	struct usage *u = &s->usage;
	int64_t now = clock_mono_ms();
	struct keeper k = {.s = s, .evict_at = now};
	k.expire_at = s->config->shape_expiry_ms > 0 ? now + EXPIRE_LOOK_MIN_MS : INT64_MAX;
	k.grow_at = s->config->shape_growth_limit > 0 ? now + GROWTH_LOOK_MS : INT64_MAX;
	pthread_mutex_lock(&u->lock);
	while (!u->stop) {
		now = clock_mono_ms();
		if (!is_due(&k, now)) {
			clock_cond_wait(&u->keeper, &u->lock, until_due(&k, now));
			continue;
		}
		pthread_mutex_unlock(&u->lock);
		look(&k);
		pthread_mutex_lock(&u->lock);
	}
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

int keeper_start(struct shapes *s, struct err *e)
{
	const struct config *c = s->config;
	if (c->store_limit == 0 && c->store_min_free == 0 && c->shape_expiry_ms == 0 && c->shape_growth_limit == 0)
		return 0;
	int rc = pthread_create(&s->usage.thread, NULL, keeper_main, s);
	if (rc != 0)
		return err_errno(e, rc, "cannot start the thread that keeps the limits");
	s->usage.started = true;
	return 0;
}

void keeper_stop(struct shapes *s)
{
	struct usage *u = &s->usage;
	if (!u->started)
		return;
	pthread_mutex_lock(&u->lock);
	u->stop = true;
	pthread_cond_signal(&u->keeper);
	pthread_mutex_unlock(&u->lock);
	pthread_join(u->thread, NULL);
	u->started = false;
}
