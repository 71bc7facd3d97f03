/*
 * timezone.h - time zones: the system's tz database, POSIX rules, and Postgres's abbreviations.
 *
 * Zones by name are read from TZif files in ZONE_DIR at first use and kept for the life of the process;
 * they never change after that, any thread. Names are found whatever their case, below ZONE_DIR only.
 * POSIX zone texts ('EST5EDT,M3.2.0,M11.1.0', '+03') are made in the caller's arena. How local times in gaps
 * and overlaps are read is the rule of Postgres's DetermineTimeZoneOffset(): before a gap's change,
 * after an overlap's.
 */
#ifndef BUSBAR_WHERE_TIMEZONE_H
#define BUSBAR_WHERE_TIMEZONE_H

#include "where/datetime.h"

#define ZONE_DIR "/usr/share/zoneinfo"
#define ZONE_NAME_MAX 255

struct zone;

enum zone_abbrev {
	ZONE_ABBREV_NONE,
	ZONE_ABBREV_FIXED,    /* standard time */
	ZONE_ABBREV_DST,      /* daylight saving time */
	ZONE_ABBREV_DYNAMIC,  /* as its zone had it at the time in question */
};

/* A zone by its full name or POSIX text, not by abbreviation. NULL after where_fail(). */
const struct zone *zone_named(struct where_call *c, const char *name, size_t n);
/* One of the abbreviations of Postgres's "Default" set, any case. *east for fixed ones, *name (of the zone)
 * for dynamic ones. */
enum zone_abbrev zone_abbrev_find(const char *p, size_t n, int32_t *east, const char **name);

/* Seconds east of UTC at this instant (Unix time) and at this local time. */
int32_t zone_east_at(const struct zone *z, int64_t unix_time);
int32_t zone_east_local(const struct zone *z, const struct dt_fields *local);
/* The same for a dynamic abbreviation, as Postgres resolves it. */
int32_t zone_abbrev_at(const struct zone *z, const char *abbrev, size_t n, int64_t unix_time);
int32_t zone_abbrev_local(const struct zone *z, const char *abbrev, size_t n, const struct dt_fields *local);
/* True if the zone has had one offset only. */
bool zone_constant(const struct zone *z, int32_t *east);

#endif
