/*
 * lock_order.h - the order in which locks may be taken, checked while a debug build runs.
 *
 * With BUSBAR_LOCK_ORDER (CMake sets it for Debug builds and those with a sanitizer) the linker puts our own functions in
 * the place of pthread's. A thread that takes a lock of the same rank as one it holds, or of a lower one, or that waits on a
 * condition with a lock beside the condition's, ends the process with both names. This sees an order that is wrong the
 * first time it is used, where a deadlock needs two threads at the same moment. In other builds nothing of this exists.
 *
 * lock_rank() says what a lock is, after its init and before its use; a destroyed lock is forgotten. A lock that nobody
 * ranked is innermost: nothing may be taken while it is held. lock_held() is for functions that want a lock held: whoever calls one
 * without it ends the process too.
 */
#ifndef BUSBAR_BASE_LOCK_ORDER_H
#define BUSBAR_BASE_LOCK_ORDER_H

#include <stdbool.h>

/* Outermost first. The engine's are in shapes/core/engine.h, with what each guards. */
enum lock_rank {
	LOCK_STORE_GATE = 1, /* the store's: so none of the engine's is held during a call into LMDB */
	LOCK_STORE,
	LOCK_REGISTRY,
	LOCK_SHAPE,
	LOCK_LEAF,
	LOCK_QUEUE,  /* of subset queries; LOCK_QUERY: of one */
	LOCK_QUERY,
	LOCK_WAITER, /* what a waiter takes, who is called under one of the above: of a loop */
	LOCK_INNERMOST,
};

#ifdef BUSBAR_LOCK_ORDER
/* Any thread. `name` must stay. */
void lock_order_rank(const void *lock, enum lock_rank rank, const char *name);
/* Ends the process if the calling thread holds a lock that is ranked above `above`; `what` names the call. */
void lock_order_none_held(enum lock_rank above, const char *what);
/* Ends the process unless the calling thread holds the lock; with `writing`, a read-write lock for writing. */
void lock_order_held(const void *lock, bool writing, const char *name);
/* The calling thread is about to abort, whatever it holds: it isn't looked at any more. */
void lock_order_end(void);
#define lock_rank(lock, rank) lock_order_rank((lock), (rank), #lock)
#define lock_held(lock) lock_order_held((lock), false, #lock)
#define lock_held_writing(lock) lock_order_held((lock), true, #lock)
#else
#define lock_order_end() ((void)0)
#define lock_rank(lock, rank) ((void)0)
#define lock_held(lock) ((void)0)
#define lock_held_writing(lock) ((void)0)
#endif

#endif
