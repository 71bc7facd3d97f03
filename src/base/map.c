/* map.c - hash map from bytes to pointers; deletion shifts back, so there are no tombstones. */
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/require.h"

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_make(void)
{
	if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
		seed = (uint64_t)clock_wall_us();
}

static uint32_t map_hash(const void *key, size_t len)
{
	pthread_once(&seed_once, seed_make);
	const unsigned char *p = key;
	uint64_t h = 14695981039346656037u ^ seed ^ len, word;
	/* Keys may be long (definitions of shapes, descriptions of tables): eight bytes at a time. */
	for (; len >= sizeof word; p += sizeof word, len -= sizeof word) {
		memcpy(&word, p, sizeof word);
		h = (h ^ word) * 0x9E3779B97F4A7C15u;
		h ^= h >> 32;
	}
	word = 0;
	if (len > 0)
		memcpy(&word, p, len);
	h ^= word;
	/* The last bytes are the high ones of a word: every bit must reach the low ones, which choose the slot. */
	h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDu;
	h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53u;
	return (uint32_t)(h ^ (h >> 33));
}

void map_clear(struct map *m)
{
	free(m->slots);
	*m = (struct map)MAP_INIT;
}

/* The slot that holds the key, or the free one where it would go. */
static struct map_slot *find(const struct map *m, const void *key, size_t len, uint32_t hash)
{
	for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct map_slot *s = &m->slots[i];
		if (s->value == NULL)
			return s;
		if (s->hash == hash && s->key_len == len && memcmp(s->key, key, len) == 0)
			return s;
	}
}

static void grow(struct map *m)
{
	struct map old = *m;
	m->cap = old.cap ? old.cap * 2 : 16;
	m->slots = mem_zalloc(m->cap * sizeof *m->slots);
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].value != NULL)
			*find(m, old.slots[i].key, old.slots[i].key_len, old.slots[i].hash) = old.slots[i];
	free(old.slots);
}

void *map_get(const struct map *m, const void *key, size_t len)
{
	return m->len == 0 ? NULL : find(m, key, len, map_hash(key, len))->value;
}

void *map_put(struct map *m, const void *key, size_t len, void *value)
{
	REQUIRE(value != NULL && len <= UINT32_MAX);
	if ((m->len + 1) * 4 > m->cap * 3)
		grow(m);
	REQUIRE(m->len < m->cap); /* find() ends at a free slot */
	uint32_t hash = map_hash(key, len);
	struct map_slot *s = find(m, key, len, hash);
	void *old = s->value;
	if (old == NULL)
		m->len++;
	*s = (struct map_slot){key, (uint32_t)len, hash, value};
	return old;
}

void *map_del(struct map *m, const void *key, size_t len)
{
	if (m->len == 0)
		return NULL;
	struct map_slot *s = find(m, key, len, map_hash(key, len));
	void *old = s->value;
	if (old == NULL)
		return NULL;
	size_t mask = m->cap - 1, hole = (size_t)(s - m->slots);
	for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
		size_t home = m->slots[i].hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole].value = NULL;
	m->len--;
	return old;
}

void *map_next(const struct map *m, size_t *i)
{
	while (*i < m->cap) {
		void *v = m->slots[(*i)++].value;
		if (v != NULL)
			return v;
	}
	return NULL;
}
