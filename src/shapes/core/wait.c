/*
 * wait.c - lists of those who wait. A list shares the lock of what it waits for, so that "look, then
 * register" can't miss a change; wake() runs under it and only hands over.
 */
#include "shapes/core/wait.h"

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/require.h"

void wait_list_init(struct wait_list *l, pthread_mutex_t *lock)
{
	l->lock = lock;
	l->head = NULL;
	l->n = 0;
}

void wait_list_add(struct wait_list *l, struct waiter *w)
{
	lock_held(l->lock); /* docs/invariants.md 3.3 */
	REQUIRE(w->list == NULL);
	w->list = l;
	w->lock = l->lock;
	w->times = (struct change_times){0, 0};
	w->prev = NULL;
	w->next = l->head;
	if (l->head != NULL)
		l->head->prev = w;
	l->head = w;
	l->n++;
}

static void unlink_waiter(struct wait_list *l, struct waiter *w)
{
	lock_held(l->lock);
	if (w->prev != NULL)
		w->prev->next = w->next;
	else
		l->head = w->next;
	if (w->next != NULL)
		w->next->prev = w->prev;
	l->n--;
	w->list = NULL;
	w->next = w->prev = NULL;
}

static void wake_one(struct wait_list *l, struct waiter *w)
{
	unlink_waiter(l, w);
	w->wake(w);
}

void wait_list_wake_all(struct wait_list *l)
{
	lock_held(l->lock);
	while (l->head != NULL)
		wake_one(l, l->head);
}

void wait_list_wake_above(struct wait_list *l, struct log_offset tail, struct change_times times)
{
	lock_held(l->lock);
	for (struct waiter *w = l->head, *next; w != NULL; w = next) {
		next = w->next;
		if (log_offset_cmp(w->seen, tail) >= 0)
			continue;
		w->times = times;
		wake_one(l, w);
	}
}

void wait_list_wake_lsn(struct wait_list *l, lsn_t lsn)
{
	lock_held(l->lock);
	for (struct waiter *w = l->head, *next; w != NULL; w = next) {
		next = w->next;
		if (w->lsn <= lsn)
			wake_one(l, w);
	}
}

bool waiter_cancel(struct waiter *w)
{
	pthread_mutex_t *lock = w->lock;
	if (lock == NULL)
		return false;
	/* Under the lock a wake that was on its way has finished. */
	pthread_mutex_lock(lock);
	bool waiting = w->list != NULL;
	if (waiting)
		unlink_waiter(w->list, w);
	pthread_mutex_unlock(lock);
	w->lock = NULL;
	return waiting;
}

/* ---- a thread that waits itself ---- */

static void end_nap(struct waiter *waiter)
{
	struct waiting *w = CONTAINER_OF(waiter, struct waiting, waiter);
	pthread_mutex_lock(&w->lock);
	w->woken = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

void waiting_init(struct waiting *w)
{
	*w = (struct waiting){.waiter.wake = end_nap};
	pthread_mutex_init(&w->lock, NULL);
	lock_rank(&w->lock, LOCK_WAITER);
	pthread_cond_init(&w->cond, NULL);
}

void waiting_nap(struct waiting *w, int64_t ms)
{
	pthread_mutex_lock(&w->lock);
	if (!w->woken)
		clock_cond_wait(&w->cond, &w->lock, ms);
	w->woken = false;
	pthread_mutex_unlock(&w->lock);
	waiter_cancel(&w->waiter);
}

void waiting_clear(struct waiting *w)
{
	waiter_cancel(&w->waiter);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
}
