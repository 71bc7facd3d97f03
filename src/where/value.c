/*
 * value.c - what every function of conditions needs: saying why it failed, and hashing.
 */
#include "where/value.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

#define GOLDEN 0x9e3779b97f4a7c15u /* 2^64 divided by the golden ratio: odd, well mixed */

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

/* Rows come from anyone who writes to the database, who must not be able to choose keys that collide. */
static void seed_make(void)
{
	if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
		seed = (uint64_t)clock_wall_us();
}

int where_fail(struct where_call *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->reason, sizeof c->reason, fmt, ap);
	va_end(ap);
	return -1;
}

int where_too_costly(struct where_call *c)
{
	c->too_costly = true;
	return where_fail(c, WHERE_TOO_COSTLY);
}

/* The two halves of the 128-bit product, folded. */
static uint64_t fold(uint64_t a, uint64_t b)
{
	__uint128_t product = (__uint128_t)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* One to one for a given seed: different numbers never collide. */
uint64_t where_hash_u64(uint64_t x)
{
	pthread_once(&seed_once, seed_make);
	x ^= seed;
	x = (x ^ (x >> 32)) * GOLDEN;
	x = (x ^ (x >> 29)) * GOLDEN;
	return x ^ (x >> 32);
}

uint64_t where_hash_bytes(const void *bytes, size_t n)
{
	pthread_once(&seed_once, seed_make);
	const char *p = bytes;
	uint64_t h = seed ^ ((uint64_t)n * GOLDEN), word;
	for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
		memcpy(&word, p, sizeof word);
		h = fold(h ^ word ^ GOLDEN, seed | 1) + word;
	}
	word = 0;
	if (n > 0)
		memcpy(&word, p, n);
	return where_hash_u64(fold(h ^ word, GOLDEN) + word);
}
