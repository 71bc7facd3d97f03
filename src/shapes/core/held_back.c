/*
 * held_back.c - see held_back.h.
 *
 * Nobody watches what the subqueries of a definition without a shape select. So whether it has calmed down is found out by
 * making one, and the wait for that is short.
 */
#include "shapes/core/held_back.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "shapes/core/engine.h"

#define COSTLY_WAIT_MIN_S 10   /* doubled each time… */
#define COSTLY_WAIT_MAX_S 3600 /* …up to this */
#define COSTLY_FORGET_MS (2 * COSTLY_WAIT_MAX_S * (int64_t)1000) /* without another time it is as if new */

#define LARGE_WAIT_MIN_S 10    /* doubled each time, for a table that the store has no room for is read in vain */
#define LARGE_WAIT_MAX_S 300
#define LARGE_FORGET_MS (2 * LARGE_WAIT_MAX_S * (int64_t)1000)

#define CHANGES_FREE 5         /* so often within CHANGES_FORGET_MS of each other are nothing special */
#define CHANGES_FORGET_MS 10000
#define CHANGES_WAIT_MAX_S 4   /* from 1 s on, doubled each time */

#define HELD_BACK_MAX 16384    /* beyond, the one that would be forgotten first is */
#define TIDY_MS 1000

struct held_back {
	int64_t noted_ms, until_ms;
	int wait_s, changes;
	bool costly, large;
	size_t identity_len;
	char identity[];
};

static int64_t forgotten_ms(const struct held_back *h)
{
	return h->costly ? h->until_ms + COSTLY_FORGET_MS : h->large ? h->until_ms + LARGE_FORGET_MS : h->noted_ms + CHANGES_FORGET_MS;
}

static void forget(struct shapes *s, struct held_back *h)
{
	map_del(&s->held_back, h->identity, h->identity_len);
	free(h);
}

/* Makes room: what is long past goes, now and then, and at the limit one that isn't. */
static void tidy(struct shapes *s, int64_t now)
{
	struct held_back *first = NULL, *h;
	size_t n = 0;
	if (s->held_back.len < HELD_BACK_MAX && now - s->held_back_tidied_ms < TIDY_MS)
		return;
	s->held_back_tidied_ms = now;
	struct held_back **past = mem_alloc((s->held_back.len + 1) * sizeof *past);
	for (size_t i = 0; (h = map_next(&s->held_back, &i)) != NULL;) {
		if (now > forgotten_ms(h))
			past[n++] = h;
		else if (first == NULL || forgotten_ms(h) < forgotten_ms(first))
			first = h;
	}
	if (n == 0 && s->held_back.len >= HELD_BACK_MAX)
		past[n++] = first;
	for (size_t i = 0; i < n; i++)
		forget(s, past[i]);
	free(past);
}

/* With registry_lock held for writing. One that was noted so long ago that it doesn't count any more is as if new. */
static struct held_back *note(struct shapes *s, const struct shape_def *def, int64_t now)
{
	struct held_back *h = map_get(&s->held_back, def->identity, def->identity_len);
	if (h == NULL) {
		tidy(s, now);
		h = mem_zalloc(sizeof *h + def->identity_len);
		h->identity_len = def->identity_len;
		memcpy(h->identity, def->identity, def->identity_len);
		map_put(&s->held_back, h->identity, h->identity_len, h);
	} else if (now > forgotten_ms(h)) {
		h->wait_s = h->changes = 0;
		h->costly = h->large = false;
	}
	h->noted_ms = now;
	return h;
}

static void hold(struct held_back *h, int64_t now, int least_s, int most_s)
{
	h->wait_s = h->wait_s == 0 ? least_s : h->wait_s * 2 < most_s ? h->wait_s * 2 : most_s;
	if (h->until_ms < now + h->wait_s * (int64_t)1000)
		h->until_ms = now + h->wait_s * (int64_t)1000;
}

void held_back_costly(struct shapes *s, const struct shape_def *def)
{
	int64_t now = clock_mono_ms();
	pthread_rwlock_wrlock(&s->registry_lock);
	struct held_back *h = note(s, def, now);
	if (!h->costly)
		h->wait_s = 0;
	h->costly = true;
	hold(h, now, COSTLY_WAIT_MIN_S, COSTLY_WAIT_MAX_S);
	pthread_rwlock_unlock(&s->registry_lock);
}

void held_back_large(struct shapes *s, const struct shape_def *def)
{
	int64_t now = clock_mono_ms();
	pthread_rwlock_wrlock(&s->registry_lock);
	struct held_back *h = note(s, def, now);
	if (!h->costly && !h->large)
		h->wait_s = 0;
	h->large = true;
	if (!h->costly)
		hold(h, now, LARGE_WAIT_MIN_S, LARGE_WAIT_MAX_S);
	pthread_rwlock_unlock(&s->registry_lock);
}

void held_back_changed(struct shapes *s, const struct shape_def *def)
{
	int64_t now = clock_mono_ms();
	pthread_rwlock_wrlock(&s->registry_lock);
	struct held_back *h = note(s, def, now);
	if (!h->costly && !h->large && ++h->changes > CHANGES_FREE)
		hold(h, now, 1, CHANGES_WAIT_MAX_S);
	pthread_rwlock_unlock(&s->registry_lock);
}

int shapes_held_back(struct shapes *s, const struct shape_def *def, enum reason *reason, const char **why)
{
	pthread_rwlock_rdlock(&s->registry_lock);
	const struct held_back *h = map_get(&s->held_back, def->identity, def->identity_len);
	int64_t left_ms = h == NULL ? 0 : h->until_ms - clock_mono_ms();
	*reason = h == NULL || h->costly ? REASON_CONDITION_COSTLY : h->large ? REASON_LIMIT_STORE : REASON_SET_CHANGED;
	*why = *reason == REASON_LIMIT_STORE
	           ? "The rows of this shape did not fit into the store, which has reached its limit (BUSBAR_STORE_LIMIT, BUSBAR_STORE_MIN_FREE). Raise the limit, or retry later"
	       : *reason == REASON_SET_CHANGED
	           ? "What the subqueries of this condition select keeps changing, and each change ends the shape. It is made when that has become calmer"
	           : "The condition of this shape is too costly: it took too much work for a changed row. Write it so that it takes less, or retry later";
	pthread_rwlock_unlock(&s->registry_lock);
	return left_ms > 0 ? (int)((left_ms + 999) / 1000) : 0;
}

void held_back_free(struct shapes *s)
{
	struct held_back *h;
	for (size_t i = 0; (h = map_next(&s->held_back, &i)) != NULL;)
		free(h);
	map_clear(&s->held_back);
}
