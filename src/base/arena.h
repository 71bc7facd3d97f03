/*
 * arena.h - memory for one unit of work, freed at once.
 *
 * arena_alloc() is aligned to 16 bytes and never fails (mem.h). One thread at a time.
 */
#ifndef BUSBAR_BASE_ARENA_H
#define BUSBAR_BASE_ARENA_H

#include <stddef.h>

struct arena_block;
struct arena {
	struct arena_block *head;
	size_t used; /* bytes handed out since the last reset, for limits */
	size_t work; /* what its user counts of his work, if he does; nobody resets it */
};

#define ARENA_INIT {NULL, 0, 0}

/* An empty arena gets a first block of just n bytes: for what lives long and whose size is known. */
void arena_reserve(struct arena *a, size_t n);
void *arena_alloc(struct arena *a, size_t n);
void *arena_dup(struct arena *a, const void *p, size_t n);
char *arena_strndup(struct arena *a, const char *p, size_t n);
void arena_reset(struct arena *a); /* everything is gone; one small block is kept for reuse */
void arena_clear(struct arena *a); /* everything is gone */

#endif
