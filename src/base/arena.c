/* arena.c - chained blocks, bump allocation. */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/require.h"

/* Small: many arenas hold one parsed condition, and hundreds of them at once leave holes behind in the heap. */
#define ARENA_FIRST_BYTES 2048
#define ARENA_KEPT_BYTES 16384 /* what arena_reset() keeps at most */
#define ARENA_ALIGN 16

struct arena_block {
	struct arena_block *next;
	size_t cap, used;
	char bytes[] __attribute__((aligned(ARENA_ALIGN)));
};

void arena_reserve(struct arena *a, size_t n)
{
	REQUIRE(a->head == NULL);
	a->head = mem_alloc(sizeof *a->head + n);
	*a->head = (struct arena_block){NULL, n, 0};
}

void *arena_alloc(struct arena *a, size_t n)
{
	REQUIRE(n <= SIZE_MAX / 2); /* a product that came out negative, say */
	n = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
	struct arena_block *b = a->head;
	if (b == NULL || b->cap - b->used < n) {
		size_t cap = b == NULL ? ARENA_FIRST_BYTES : b->cap < (1u << 20) ? b->cap * 2 : b->cap;
		if (cap < n)
			cap = n;
		b = mem_alloc(sizeof *b + cap);
		*b = (struct arena_block){a->head, cap, 0};
		a->head = b;
	}
	void *p = b->bytes + b->used;
	b->used += n;
	a->used += n;
	return p;
}

void *arena_dup(struct arena *a, const void *p, size_t n)
{
	void *to = arena_alloc(a, n);
	if (n > 0)
		memcpy(to, p, n);
	return to;
}

char *arena_strndup(struct arena *a, const char *p, size_t n)
{
	char *to = arena_alloc(a, n + 1);
	if (n > 0)
		memcpy(to, p, n);
	to[n] = '\0';
	return to;
}

void arena_reset(struct arena *a)
{
	struct arena_block *keep = NULL;
	for (struct arena_block *b = a->head, *next; b != NULL; b = next) {
		next = b->next;
		if (keep == NULL && b->cap <= ARENA_KEPT_BYTES) {
			keep = b;
			keep->used = 0;
		} else {
			free(b);
		}
	}
	if (keep != NULL)
		keep->next = NULL;
	a->head = keep;
	a->used = 0;
}

void arena_clear(struct arena *a)
{
	for (struct arena_block *b = a->head, *next; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	a->head = NULL;
	a->used = 0;
}
