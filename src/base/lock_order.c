/*
 * lock_order.c - see lock_order.h. Which locks there are stands in a table that is read without a lock: it is looked at each
 * time a lock is taken. Which ones a thread holds is the thread's own.
 */
#include "base/lock_order.h"

#ifdef BUSBAR_LOCK_ORDER
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS 4096 /* locks of a process: SHAPE_LOCKS and some dozens; tests make several engines */
#define HELD_MAX 8
#define UNRANKED "a lock without a rank"

struct slot {
	_Atomic(uintptr_t) lock; /* 0: never used, 1: forgotten */
	_Atomic int rank;
	_Atomic(const char *) name;
};

struct held {
	const void *lock;
	int rank;
	bool writing; /* a mutex always is */
	const char *name;
};

static struct slot slots[SLOTS];
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct held held[HELD_MAX];
static _Thread_local int nheld;
static _Thread_local bool ended;

int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __real_pthread_mutex_unlock(pthread_mutex_t *m);
int __real_pthread_mutex_destroy(pthread_mutex_t *m);
int __real_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __real_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int __real_pthread_rwlock_unlock(pthread_rwlock_t *l);
int __real_pthread_rwlock_destroy(pthread_rwlock_t *l);
int __real_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __real_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int __real_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock, const struct timespec *until);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *m);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *l);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock, const struct timespec *until);

/* Not REQUIRE(), which waits for the log, which takes a lock. */
static _Noreturn void broken(const char *what, const char *name, const struct held *while_held)
{
	fprintf(stderr, "busbar: lock order: %s %s while holding %s\n", what, name, while_held->name);
	fflush(NULL);
	abort();
}

static size_t slot_of(const void *lock) { return (size_t)(((uintptr_t)lock >> 4) * 0x9e3779b97f4a7c15ull >> 52) % SLOTS; }

static struct slot *find(const void *lock)
{
	for (size_t n = 0, i = slot_of(lock); n < SLOTS; n++, i = (i + 1) % SLOTS) {
		uintptr_t there = atomic_load(&slots[i].lock);
		if (there == (uintptr_t)lock)
			return &slots[i];
		if (there == 0)
			return NULL;
	}
	return NULL;
}

static struct slot *find_room(const void *lock)
{
	struct slot *s = find(lock);
	for (size_t n = 0, i = slot_of(lock); s == NULL && n < SLOTS; n++, i = (i + 1) % SLOTS)
		if (atomic_load(&slots[i].lock) <= 1)
			s = &slots[i];
	return s;
}

void lock_order_rank(const void *lock, enum lock_rank rank, const char *name)
{
	__real_pthread_mutex_lock(&changing);
	struct slot *s = find_room(lock);
	if (s != NULL) {
		atomic_store(&s->rank, (int)rank);
		atomic_store(&s->name, name);
		atomic_store(&s->lock, (uintptr_t)lock);
	}
	__real_pthread_mutex_unlock(&changing);
	if (s == NULL) {
		fprintf(stderr, "busbar: lock order: more than %d locks\n", SLOTS);
		abort();
	}
}

/* Behind the end of a chain nobody looks: what is forgotten there is free again. */
static void free_from(size_t i)
{
	while (atomic_load(&slots[(i + 1) % SLOTS].lock) == 0 && atomic_load(&slots[i].lock) == 1) {
		atomic_store(&slots[i].lock, 0);
		i = (i + SLOTS - 1) % SLOTS;
	}
}

static void forget(const void *lock)
{
	__real_pthread_mutex_lock(&changing);
	struct slot *s = find(lock);
	if (s != NULL) {
		atomic_store(&s->lock, 1);
		free_from((size_t)(s - slots));
	}
	__real_pthread_mutex_unlock(&changing);
}

void lock_order_end(void)
{
	ended = true;
	nheld = 0;
}

static void taking(const void *lock, bool writing)
{
	if (ended)
		return;
	const struct slot *s = find(lock);
	struct held h = {lock, s != NULL ? atomic_load(&s->rank) : LOCK_INNERMOST, writing, s != NULL ? atomic_load(&s->name) : UNRANKED};
	for (int i = 0; i < nheld; i++)
		if (held[i].rank >= h.rank)
			broken("taking", h.name, &held[i]);
	if (nheld == HELD_MAX)
		broken("taking", h.name, &held[nheld - 1]);
	held[nheld++] = h;
}

static void letting_go(const void *lock)
{
	for (int i = nheld - 1; i >= 0; i--) {
		if (held[i].lock != lock)
			continue;
		for (nheld--; i < nheld; i++)
			held[i] = held[i + 1];
		return;
	}
}

/* Whoever needs the other lock waits as long as this thread does. */
static void waiting(const pthread_mutex_t *m)
{
	const struct slot *s = find(m);
	for (int i = 0; i < nheld; i++)
		if (held[i].lock != (const void *)m)
			broken("waiting on a condition of", s != NULL ? atomic_load(&s->name) : UNRANKED, &held[i]);
}

void lock_order_none_held(enum lock_rank above, const char *what)
{
	for (int i = 0; i < nheld; i++)
		if (held[i].rank > (int)above)
			broken("calling", what, &held[i]);
}

void lock_order_held(const void *lock, bool writing, const char *name)
{
	for (int i = 0; i < nheld; i++)
		if (held[i].lock == lock && (held[i].writing || !writing))
			return;
	if (ended)
		return;
	fprintf(stderr, "busbar: lock order: %s isn't held%s\n", name, writing ? " for writing" : "");
	fflush(NULL);
	abort();
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	taking(m, true);
	return __real_pthread_mutex_lock(m);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
	letting_go(m);
	return __real_pthread_mutex_unlock(m);
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *m)
{
	forget(m);
	return __real_pthread_mutex_destroy(m);
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	taking(l, false);
	return __real_pthread_rwlock_rdlock(l);
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	taking(l, true);
	return __real_pthread_rwlock_wrlock(l);
}

int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l)
{
	letting_go(l);
	return __real_pthread_rwlock_unlock(l);
}

int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *l)
{
	forget(l);
	return __real_pthread_rwlock_destroy(l);
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	waiting(m);
	return __real_pthread_cond_wait(c, m);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
	waiting(m);
	return __real_pthread_cond_timedwait(c, m, until);
}

int __wrap_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m, clockid_t clock, const struct timespec *until)
{
	waiting(m);
	return __real_pthread_cond_clockwait(c, m, clock, until);
}
#else
typedef int lock_order_is_for_debug_builds; /* a translation unit must not be empty */
#endif
