/* usage.c - see usage.h. */
#include "shapes/core/usage.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/log.h"
#include "shapes/core/engine.h"
#include "shapes/core/held_back.h"

#define REFUSED_RETRY_S 10  /* until something may have gone by itself */
#define EVICTING_RETRY_S 1

void usage_init(struct usage *u)
{
	pthread_mutex_init(&u->lock, NULL);
	lock_rank(&u->lock, LOCK_LEAF);
	pthread_cond_init(&u->keeper, NULL);
	pthread_cond_init(&u->room, NULL);
}

void usage_free(struct usage *u) { pthread_mutex_destroy(&u->lock); }

/* ---- how much there may be ---- */

/*
 * While the disk has less free space than it should, the file may be as large as it was when that began: what goes makes room in
 * it for what comes. It could grow by the journal alone, step by step, if its size now were what counts.
 */
uint64_t usage_most(const struct usage *u, const struct store_usage *now, uint64_t *frozen)
{
	uint64_t most = u->limit;
	bool short_of = u->min_free > 0 && now->knows_free && now->free < u->min_free;
	if (!short_of)
		*frozen = 0;
	else if (*frozen == 0)
		*frozen = now->file > USAGE_LIMIT_LEAST ? now->file : USAGE_LIMIT_LEAST;
	if (u->min_free == 0 || !now->knows_free)
		return most;
	uint64_t by_disk = short_of ? *frozen : now->file + (now->free - u->min_free);
	by_disk = by_disk > USAGE_LIMIT_LEAST ? by_disk : USAGE_LIMIT_LEAST;
	return most == 0 || by_disk < most ? by_disk : most;
}

static uint64_t part(uint64_t most, unsigned percent) { return most / 100 * percent; }

enum usage_level usage_level_of(uint64_t used, uint64_t most)
{
	if (most == 0 || used <= part(most, USAGE_EVICT_PERCENT))
		return USAGE_FINE;
	return used > most ? USAGE_FULL : used > part(most, USAGE_REFUSE_PERCENT) ? USAGE_REFUSE : USAGE_EVICT;
}

void usage_measured(struct shapes *s, const struct store_usage *now, uint64_t came)
{
	struct usage *u = &s->usage;
	uint64_t most = usage_most(u, now, &u->frozen);
	enum usage_level level = usage_level_of(now->used, most);
	REQUIRE(came <= atomic_load(&u->coming));
	pthread_mutex_lock(&u->lock);
	atomic_store(&u->used, now->used);
	atomic_store(&u->file, now->file);
	atomic_store(&u->free, now->free);
	atomic_store(&u->most, most);
	atomic_store(&u->by_disk, most != 0 && most != u->limit);
	atomic_fetch_sub(&u->coming, came);
	if (level < USAGE_EVICT)
		atomic_store(&u->nothing_left, false);
	if (level != USAGE_FINE || atomic_load(&u->level) != USAGE_FINE)
		pthread_cond_signal(&u->keeper);
	pthread_cond_broadcast(&u->room);
	atomic_store(&u->level, level);
	pthread_mutex_unlock(&u->lock);
}

/* ---- what is on its way out ---- */

void usage_leaves(struct shapes *s, const struct shape *shape)
{
	atomic_fetch_add(&s->usage.going, atomic_load(&shape->snapshot_bytes) + atomic_load(&shape->log_bytes));
}

void usage_freed(struct shapes *s, uint64_t bytes)
{
	uint64_t going = atomic_load(&s->usage.going);
	while (!atomic_compare_exchange_weak(&s->usage.going, &going, going > bytes ? going - bytes : 0))
		;
}

void usage_all_freed(struct shapes *s) { atomic_store(&s->usage.going, 0); }

void usage_again(struct shapes *s)
{
	pthread_mutex_lock(&s->usage.lock);
	pthread_cond_broadcast(&s->usage.room);
	pthread_mutex_unlock(&s->usage.lock);
}

/* ---- who makes shapes ---- */

static const char *which(const struct usage *u)
{
	return atomic_load(&u->by_disk) ? "the disk has less free space than BUSBAR_STORE_MIN_FREE" : "it has reached BUSBAR_STORE_LIMIT";
}

static bool nothing_goes(const struct usage *u) { return atomic_load(&u->nothing_left) && atomic_load(&u->going) == 0; }

void usage_comes(struct shapes *s, uint64_t bytes) { atomic_fetch_add(&s->usage.coming, bytes); }

/*
 * What was measured, and what has been handed over since: a queue full of rows is a quarter of the smallest limit, and a shape
 * whose last rows went into it unseen would be there, complete, in use and too large. Exact with the lock held; without it,
 * rows may count twice.
 */
static bool has_room(const struct usage *u)
{
	uint64_t most = atomic_load(&u->most), coming = atomic_load(&u->coming); /* before `used`: else it may count too little */
	return most == 0 || atomic_load(&u->used) + coming <= most;
}

int usage_room(struct shapes *s, struct shape *shape, struct err *e)
{
	struct usage *u = &s->usage;
	if (has_room(u))
		return 0;
	int64_t until = clock_mono_ms() + USAGE_ROOM_MAX_MS, left;
	pthread_mutex_lock(&u->lock);
	bool room;
	while (!(room = has_room(u)) && !nothing_goes(u) && atomic_load(&s->store_failing) == 0 && !atomic_load(&s->stopping) && !atomic_load(&shape->dropped) &&
	       (left = until - clock_mono_ms()) > 0)
		clock_cond_wait(&u->room, &u->lock, left);
	pthread_mutex_unlock(&u->lock);
	if (room || atomic_load(&s->stopping) || atomic_load(&shape->dropped))
		return 0; /* of the two last others take notice */
	/* What is queued doesn't get there: a store that fails or is slow, which is writer_room()'s to say. */
	if (atomic_load(&u->used) <= atomic_load(&u->most) && !nothing_goes(u))
		return 0;
	held_back_large(s, &shape->def);
	(void)err_set(e, ERR_LIMIT, "The rows of this shape don't fit into the store: %s, and all other shapes are being read. Raise the limit, or "
	              "retry when fewer shapes are in use", which(u));
	return err_why(e, REASON_LIMIT_STORE);
}

bool shapes_full(struct shapes *s, char *text, size_t max, int *retry_s)
{
	struct usage *u = &s->usage;
	if (atomic_load(&u->level) < USAGE_REFUSE)
		return false;
	bool stuck = nothing_goes(u);
	*retry_s = stuck ? REFUSED_RETRY_S : EVICTING_RETRY_S;
	snprintf(text, max, "The store takes no new shapes: %s, and %s", which(u),
	         stuck ? "all shapes in it are being read. Raise the limit, or retry when fewer are in use"
	               : "shapes that nobody reads are being removed. Please retry");
	log_seldom(LOG_WARNING, log_repeat_key(0, "store full", 10), "New shapes are refused: the store takes %llu MiB of %llu MiB, as %s",
	           (unsigned long long)(atomic_load(&u->used) >> 20), (unsigned long long)(atomic_load(&u->most) >> 20), which(u));
	return true;
}
