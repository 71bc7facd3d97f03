/*
 * gone.c - see gone.h. A table of words, each of one handle's hash and its reason: a handle has one place, which the next that
 * falls there takes. Handles are never used again, so that what a place says of a hash stays true.
 */
#include "shapes/core/gone.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "shapes/shapes.h"

#define GONE_PLACES 65536u /* a power of two, 8 bytes each; of 100,000 shapes that end at once half are remembered */
#define REASON_BITS 8
#define REASON_MASK ((1u << REASON_BITS) - 1)

_Static_assert(REASONS <= REASON_MASK, "a reason fits its bits");

static _Atomic uint64_t places[GONE_PLACES];

static _Atomic uint64_t *place_of(const char *handle, size_t len, uint64_t *mark)
{
	uint64_t h = log_repeat_key(0, handle, len);
	h ^= h >> 32;
	*mark = h & ~(uint64_t)REASON_MASK;
	return &places[(h >> REASON_BITS) % GONE_PLACES];
}

void gone_note(const char *handle, enum reason why)
{
	uint64_t mark;
	_Atomic uint64_t *place = place_of(handle, strlen(handle), &mark);
	atomic_store_explicit(place, mark | (uint64_t)why, memory_order_relaxed);
}

enum reason shapes_why_gone(const char *handle, size_t len)
{
	uint64_t mark;
	uint64_t there = atomic_load_explicit(place_of(handle, len, &mark), memory_order_relaxed);
	enum reason why = (enum reason)(there & REASON_MASK);
	return (there & ~(uint64_t)REASON_MASK) == mark && why != REASON_NONE ? why : REASON_UNKNOWN_HANDLE;
}
