/* stats.c - see stats.h. */
#include "shapes/stats.h"

#include "shapes/core/engine.h"

void shapes_stats(struct shapes *s, struct shapes_stats *out)
{
	bool asleep = shapes_asleep(s);
	*out = (struct shapes_stats){
		.status = asleep ? SHAPES_ACTIVE : shapes_status(s),
		.asleep = asleep,
		.store_failing = shapes_store_failing(s, NULL, NULL, 0),
		.sets = atomic_load(&s->sets_bytes),
		.journal = writer_journal_bytes(s),
		.ahead = atomic_load(&s->ahead_bytes),
		.subset_rows = atomic_load(&s->subset_bytes),
		.store_used = atomic_load(&s->usage.used),
		.store_limit = atomic_load(&s->usage.most),
	};
	store_sizes(s->store, &out->store_file, &out->store_free);
	guard_read(s, &out->wal);
}
