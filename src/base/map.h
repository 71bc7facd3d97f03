/*
 * map.h - a hash map from bytes to pointers (open addressing, linear probing, FNV-1a with a
 * per-process seed so that keys from the network can't be chosen to collide).
 *
 * Keys are borrowed: they must live as long as their entry (usually inside the value). Not
 * thread-safe; the owner has a lock or is one thread. Values must not be NULL.
 */
#ifndef BUSBAR_BASE_MAP_H
#define BUSBAR_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
	const void *key;
	uint32_t key_len;
	uint32_t hash;
	void *value; /* NULL: free */
};

struct map {
	struct map_slot *slots;
	size_t cap; /* a power of two, or 0 */
	size_t len;
};

#define MAP_INIT {NULL, 0, 0}

void map_clear(struct map *m); /* frees the table, not the values */
void *map_get(const struct map *m, const void *key, size_t len);
/* Sets or replaces (the new key pointer too); returns the value that was there or NULL. */
void *map_put(struct map *m, const void *key, size_t len, void *value);
/* Returns the value that was there or NULL. */
void *map_del(struct map *m, const void *key, size_t len);
/* Iterates: start with *i = 0; NULL at the end. No changes to the map meanwhile. */
void *map_next(const struct map *m, size_t *i);

#endif
