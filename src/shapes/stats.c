/* stats.c - see stats.h. */
#include "shapes/stats.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "shapes/core/engine.h"

#define PATH_BYTES_MAX 4200

static void look_at_disk(const struct config *c, struct shapes_stats *out)
{
	char file[PATH_BYTES_MAX];
	struct stat st;
	struct statvfs fs;
	out->store_file = out->store_free = -1;
	if (c->storage_memory || snprintf(file, sizeof file, "%s/busbar/data.mdb", c->storage_dir) >= (int)sizeof file)
		return;
	if (stat(file, &st) == 0)
		out->store_file = st.st_size;
	if (statvfs(file, &fs) == 0)
		out->store_free = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
}

void shapes_stats(struct shapes *s, struct shapes_stats *out)
{
	*out = (struct shapes_stats){
		.status = shapes_status(s),
		.store_failing = shapes_store_failing(s, NULL, NULL, 0),
		.sets = atomic_load(&s->sets_bytes),
		.journal = writer_journal_bytes(s),
		.ahead = atomic_load(&s->ahead_bytes),
		.store_used = atomic_load(&s->usage.used),
		.store_limit = atomic_load(&s->usage.most),
	};
	look_at_disk(s->config, out);
	guard_read(s, &out->wal);
}
