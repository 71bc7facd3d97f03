/*
 * wait.h - lists of those who wait (struct waiter is in shapes.h). A list shares the lock of what it waits for, so that "look,
 * then register" can't miss a change. Any thread, with that lock held.
 */
#ifndef BUSBAR_SHAPES_WAIT_H
#define BUSBAR_SHAPES_WAIT_H

#include <pthread.h>

#include "shapes/shapes.h"

struct wait_list {
	pthread_mutex_t *lock; /* guards the list and what its waiters wait for */
	struct waiter *head;
	uint32_t n; /* how many wait */
};

void wait_list_init(struct wait_list *l, pthread_mutex_t *lock);
/* With the lock held. */
void wait_list_add(struct wait_list *l, struct waiter *w);
void wait_list_wake_all(struct wait_list *l);
/* Those with seen below `tail`. `times`: of the change that put it there. */
void wait_list_wake_above(struct wait_list *l, struct log_offset tail, struct change_times times);
void wait_list_wake_lsn(struct wait_list *l, lsn_t lsn);

/* A thread that waits itself, as a request that is parked would. Its own; a nap ends when the waiter is woken or the time is over, and
 * takes it off its list. */
struct waiting {
	struct waiter waiter;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool woken;
};

void waiting_init(struct waiting *w);
void waiting_nap(struct waiting *w, int64_t ms);
void waiting_clear(struct waiting *w); /* takes it off its list, too */

#endif
