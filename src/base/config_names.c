/* config_names.c - see config_names.h. */
#include "base/config_names.h"

#include <stdint.h>
#include <string.h>

#include "base/require.h"

#define PREFIX "ELECTRIC_"
#define UNKNOWN_NAME_BYTES_MAX 100 /* longer ones have no nearest name */

enum { IS_USED, IS_NO_EFFECT, IS_LATER, IS_OLD };

static const struct {
	const char *name;
	bool old; /* is not read any more */
} vars[] = {
#define X(name, type, def, state, text) {#name, IS_##state == IS_OLD},
#include "base/config_table.h"
};

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* How many letters must be put in, taken out or changed, or neighbours swapped, to make one name the other. */
static size_t distance(const char *a, size_t a_len, const char *b)
{
	size_t b_len = strlen(b), rows[3][UNKNOWN_NAME_BYTES_MAX + 1];
	if (a_len > UNKNOWN_NAME_BYTES_MAX || b_len > UNKNOWN_NAME_BYTES_MAX)
		return SIZE_MAX;
	size_t *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *oldest = before;
		before = last;
		last = row;
		row = oldest;
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
	}
	return row[b_len];
}

size_t config_prefix(const char *name)
{
	const char *prefix = strncmp(name, CONFIG_OWN_PREFIX, sizeof CONFIG_OWN_PREFIX - 1) == 0 ? CONFIG_OWN_PREFIX : PREFIX;
	return strncmp(name, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
}

const char *config_nearest(const char *name, size_t len)
{
	const size_t prefix = config_prefix(name);
	const char *best = NULL;
	size_t best_distance = 3 + (len - prefix) / 6;
	for (size_t v = 0; v < ARRAY_LEN(vars); v++) {
		if (vars[v].old)
			continue;
		bool prefixed = config_prefix(vars[v].name) > 0;
		size_t d = prefixed ? distance(name, len, vars[v].name) : distance(name + prefix, len - prefix, vars[v].name);
		if (d < best_distance) {
			best = vars[v].name;
			best_distance = d;
		}
	}
	return best;
}

const char *config_known(const char *name, size_t len)
{
	for (size_t v = 0; v < ARRAY_LEN(vars); v++)
		if (strlen(vars[v].name) == len && memcmp(vars[v].name, name, len) == 0)
			return vars[v].name;
	return NULL;
}

bool config_changeable(const char *name)
{
	static const char *const names[] = {
		"ELECTRIC_LOG_LEVEL", "BUSBAR_LOG_FORMAT", "ELECTRIC_SECRET", "BUSBAR_SECRET_PREVIOUS", "ELECTRIC_MAX_SHAPES",
		"ELECTRIC_MAX_CONCURRENT_REQUESTS", "ELECTRIC_LONG_POLL_TIMEOUT", "ELECTRIC_CACHE_MAX_AGE", "ELECTRIC_CACHE_STALE_AGE",
		"BUSBAR_SUBQUERY_CACHE_MAX_AGE",
	};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}
