/*
 * stores_test.h - the data files of older formats in tests/unit/stores: where they are, and one of them as the store of a
 * directory.
 */
#ifndef BUSBAR_TESTS_STORES_TEST_H
#define BUSBAR_TESTS_STORES_TEST_H

#include "store_test.h"

#define STORES_PATH_MAX 512

static inline void stores_folder(char out[STORES_PATH_MAX])
{
	snprintf(out, STORES_PATH_MAX, "%s", __FILE__);
	char *slash = strrchr(out, '/');
	snprintf(slash + 1, STORES_PATH_MAX - (size_t)(slash + 1 - out), "stores");
}

static inline bool stores_unpack(const char *dir, int version)
{
	char stores[STORES_PATH_MAX], command[2 * TEMP_DIR_MAX + STORES_PATH_MAX + 100];
	stores_folder(stores);
	snprintf(command, sizeof command, "mkdir '%s/busbar' && xz -dc '%s/format-%d.mdb.xz' > '%s/busbar/data.mdb'", dir, stores, version, dir);
	return CHECK_INT(system(command), 0);
}

#endif
