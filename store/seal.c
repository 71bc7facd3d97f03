/*
 * seal.c - see seal.h. The hash is in xxhash's header: there is no library to find at run time.
 */
#include "store/seal.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

const struct seal_db seal_dbs[DB_COUNT] = {
	[DB_META] = {"meta", 0},       [DB_SHAPES] = {"shapes", 8},         [DB_TABLES] = {"tables", 4},
	[DB_JOURNAL] = {"journal", 8}, [DB_BLOCKS] = {"blocks", 24},        [DB_CHUNKS] = {"chunks", 24},
	[DB_SNAPSHOTS] = {"snapshots", 16}, [DB_DROPPED] = {"dropped", 8},  [DB_HEADS] = {"heads", 8},
};

uint64_t seal_of(int db, const void *key, size_t key_len, const void *p, size_t len)
{
	return XXH3_64bits_withSeed(p, len, XXH3_64bits_withSeed(key, key_len, (uint64_t)db + 1));
}

bool seal_holds(int db, const void *key, size_t key_len, const void *p, size_t *len)
{
	uint64_t seal;
	if (*len < SEAL_BYTES)
		return false;
	*len -= SEAL_BYTES;
	memcpy(&seal, (const char *)p + *len, SEAL_BYTES);
	return seal == seal_of(db, key, key_len, p, *len);
}
