/* settings.c - see settings.h. */
#include "base/settings.h"

#include <stddef.h>
#include <string.h>

#include "base/config.h"

/* ---- secrets ---- */

static bool same_text(const char *a, const char *b) { return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0; }

static void take_secrets(struct config *c, const struct config *fresh, FILE *changes)
{
	const struct config_secrets *was = atomic_load(&c->secrets), *now = atomic_load(&fresh->secrets);
	if (was == NULL || now == NULL) /* insecure is the environment's, and stays */
		return;
	bool same = strcmp(was->now, now->now) == 0, same_previous = same_text(was->previous, now->previous);
	if (!same)
		fputs("ELECTRIC_SECRET is another one\n", changes);
	if (!same_previous)
		fputs(now->previous == NULL ? "BUSBAR_SECRET_PREVIOUS is not accepted any more\n"
		                            : "BUSBAR_SECRET_PREVIOUS is accepted beside ELECTRIC_SECRET\n", changes);
	if (!same || !same_previous)
		config_set_secrets(c, now->now, now->previous);
}

/* ---- taking over ---- */

#define LIVE(field, what) {what, offsetof(struct config_live, field)}

static const struct {
	const char *name;
	size_t at;
} numbers[] = {
	LIVE(max_shapes, "ELECTRIC_MAX_SHAPES (0: no limit)"),
	LIVE(max_concurrent_initial, "ELECTRIC_MAX_CONCURRENT_REQUESTS, initial"),
	LIVE(max_concurrent_existing, "ELECTRIC_MAX_CONCURRENT_REQUESTS, existing"),
	LIVE(long_poll_timeout_ms, "ELECTRIC_LONG_POLL_TIMEOUT"),
	LIVE(cache_max_age_s, "ELECTRIC_CACHE_MAX_AGE"),
	LIVE(cache_stale_age_s, "ELECTRIC_CACHE_STALE_AGE"),
	LIVE(subquery_cache_max_age_s, "BUSBAR_SUBQUERY_CACHE_MAX_AGE"),
};

_Static_assert(sizeof(struct config_live) == ARRAY_LEN(numbers) * sizeof(_Atomic int64_t), "each of config_live is in the list");

static _Atomic int64_t *number_at(struct config *c, size_t at) { return (_Atomic int64_t *)(void *)((char *)&c->live + at); }

static void take_log(struct config *c, const struct config *fresh, FILE *changes)
{
	if (c->log_level != fresh->log_level)
		fprintf(changes, "ELECTRIC_LOG_LEVEL is %s now, was %s\n", log_level_text(fresh->log_level), log_level_text(c->log_level));
	if (c->log_format != fresh->log_format)
		fprintf(changes, "BUSBAR_LOG_FORMAT is %s now\n", fresh->log_format == LOG_JSON ? "json" : "text");
	c->log_level = fresh->log_level;
	c->log_format = fresh->log_format;
	log_init(c->log_level);
	log_format(c->log_format);
}

int settings_reload(struct config *c, FILE *changes, struct err *e)
{
	struct config fresh;
	if (config_load(&fresh, NULL, e) != 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int64_t was = atomic_load(number_at(c, numbers[i].at)), now = atomic_load(number_at(&fresh, numbers[i].at));
		if (was == now)
			continue;
		fprintf(changes, "%s is %lld now, was %lld\n", numbers[i].name, (long long)now, (long long)was);
		atomic_store(number_at(c, numbers[i].at), now);
	}
	take_secrets(c, &fresh, changes);
	take_log(c, &fresh, changes);
	config_clear(&fresh);
	return 0;
}
