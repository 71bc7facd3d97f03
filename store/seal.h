/*
 * seal.h - the checksum behind each value of the store: XXH3 of its bytes, seeded with its database and key, so that
 * a value which stands under another key fails, too.
 *
 * Thread:  any. Memory: none.
 */
#ifndef BUSBAR_STORE_SEAL_H
#define BUSBAR_STORE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEAL_BYTES 8

/* Part of the format: numbers are never given twice. */
enum { DB_META, DB_SHAPES, DB_TABLES, DB_JOURNAL, DB_BLOCKS, DB_CHUNKS, DB_SNAPSHOTS, DB_DROPPED, DB_HEADS, DB_COUNT };

struct seal_db {
	const char *name;
	size_t key_bytes; /* 0: any */
};
extern const struct seal_db seal_dbs[DB_COUNT];

uint64_t seal_of(int db, const void *key, size_t key_len, const void *p, size_t len);
/* The value without its seal, whose length goes to *len; false if it doesn't fit the seal behind it. */
bool seal_holds(int db, const void *key, size_t key_len, const void *p, size_t *len);

#endif
