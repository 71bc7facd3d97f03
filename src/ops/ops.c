/*
 * ops.c - what somebody has to ask for before metrics are shown.
 */
#include "ops/ops.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "shapes/stats.h"

/* Of /proc/self/statm: resident pages, and those of them that are a file's. */
static bool resident(long *pages, long *of_files)
{
	long size;
	FILE *f = fopen("/proc/self/statm", "re");
	bool read = f != NULL && fscanf(f, "%ld %ld %ld", &size, pages, of_files) == 3;
	if (f != NULL)
		fclose(f);
	return read;
}

static void process_levels(void)
{
	long pages, of_files, page_bytes = sysconf(_SC_PAGESIZE);
	if (resident(&pages, &of_files)) {
		metric_set(METRIC_RESIDENT, (int64_t)pages * page_bytes);
		metric_set_label(METRIC_MEMORY, MEMORY_STORE_CACHE, (int64_t)of_files * page_bytes);
	}
	int64_t files = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d != NULL && readdir(d) != NULL)
		files++;
	if (d != NULL)
		closedir(d);
	if (files > 3) /* the folder itself, the one above, and what we read it by */
		metric_set(METRIC_OPEN_FILES, files - 3);
}

/* What the guard of the WAL found last; absent while nobody can look. */
static void wal_levels(const struct guard_state *wal)
{
	static const enum metric_slot_state states[] = {
		[SLOT_MISSING] = SLOT_IS_MISSING, [SLOT_RESERVED] = SLOT_IS_RESERVED, [SLOT_EXTENDED] = SLOT_IS_EXTENDED,
		[SLOT_UNRESERVED] = SLOT_IS_UNRESERVED, [SLOT_LOST] = SLOT_IS_LOST,
	};
	static const enum metric figures[] = {METRIC_E_RETAINED_WAL, METRIC_E_CONFIRMED_LAG, METRIC_WAL_RETAINED, METRIC_WAL_HELD_BY_US,
	                                      METRIC_WAL_HELD_BY_OTHERS, METRIC_WAL_STANDING_STILL, METRIC_SLOT_STATE};
	metric_set(METRIC_WAL_GUARD_STEP, wal->step);
	if (wal->limit_bytes > 0)
		metric_set(METRIC_WAL_LIMIT, wal->limit_bytes);
	if (wal->limit_age_ms > 0)
		metric_set(METRIC_WAL_LIMIT_AGE, wal->limit_age_ms * 1000);
	if (!wal->known) {
		for (size_t i = 0; i < ARRAY_LEN(figures); i++)
			metric_unset(figures[i]);
		return;
	}
	metric_set(METRIC_E_RETAINED_WAL, wal->retained_bytes);
	metric_set(METRIC_E_CONFIRMED_LAG, wal->ours_bytes);
	metric_set(METRIC_WAL_RETAINED, wal->retained_bytes);
	metric_set(METRIC_WAL_HELD_BY_US, wal->ours_bytes);
	metric_set(METRIC_WAL_HELD_BY_OTHERS, wal->others_bytes);
	metric_set(METRIC_WAL_STANDING_STILL, wal->age_ms * 1000);
	metric_set_state(METRIC_SLOT_STATE, states[wal->slot]);
}

static void engine_levels(struct shapes *s)
{
	struct shapes_stats st;
	shapes_stats(s, &st);
	metric_set_state(METRIC_UP_STATUS, (unsigned)st.status);
	metric_set(METRIC_ASLEEP, st.asleep);
	metric_set(METRIC_STORE_FAILING, st.store_failing);
	if (st.store_file >= 0)
		metric_set(METRIC_STORE, st.store_file);
	if (st.store_free >= 0)
		metric_set(METRIC_STORE_FREE, st.store_free);
	if (st.store_used > 0)
		metric_set(METRIC_STORE_USED, (int64_t)st.store_used);
	if (st.store_limit > 0)
		metric_set(METRIC_STORE_LIMIT, (int64_t)st.store_limit);
	wal_levels(&st.wal);
	metric_set(METRIC_SUBQUERY_SETS, (int64_t)st.sets);
	metric_set_label(METRIC_MEMORY, MEMORY_SETS, (int64_t)st.sets);
	metric_set_label(METRIC_MEMORY, MEMORY_JOURNAL, (int64_t)st.journal);
	metric_set_label(METRIC_MEMORY, MEMORY_WRITER_QUEUE, (int64_t)st.ahead);
	metric_set_label(METRIC_MEMORY, MEMORY_SUBSET_ROWS, (int64_t)st.subset_rows);
}

static int64_t now_of(const struct metric_values *v, enum metric_shape_state state)
{
	int64_t n = (int64_t)metric_values_of(v, METRIC_SHAPES)[state];
	return n > 0 ? n : 0; /* blocks are read one after the other: for a moment a part may be missing */
}

void ops_collect(const struct ops *o, struct metric_values *out)
{
	process_levels();
	engine_levels(o->shapes);
	metrics_read(out);
	int64_t active = now_of(out, SHAPES_SNAPSHOTTING) + now_of(out, SHAPES_LIVE);
	metric_value_set(out, METRIC_E_ACTIVE_SHAPES, active);
	metric_value_set(out, METRIC_LOG_LINES_DROPPED, (int64_t)log_left_out());
	metric_value_set(out, METRIC_E_TOTAL_SHAPES, active + now_of(out, SHAPES_CREATING));
}

void ops_put_value(struct buf *out, enum metric_unit unit, int64_t v)
{
	uint64_t per = unit == METRIC_SECONDS ? 1000000 : unit == METRIC_MILLISECONDS ? 1000 : 1, u = v < 0 ? -(uint64_t)v : (uint64_t)v;
	if (v < 0)
		buf_putc(out, '-');
	buf_put_u64(out, u / per);
	u %= per;
	if (u > 0)
		buf_putc(out, '.');
	for (per /= 10; u > 0; u %= per, per /= 10)
		buf_putc(out, (char)('0' + u / per));
}
