/*
 * evict.c - ELECTRIC_MAX_SHAPES: beyond, those that were read the longest ago go.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/prep/prep.h"

struct aged {
	int64_t read_ms;
	struct shape *shape;
};

static int by_age(const void *a, const void *b)
{
	int64_t x = ((const struct aged *)a)->read_ms, y = ((const struct aged *)b)->read_ms;
	return x < y ? -1 : x > y;
}

void evict_run(struct shapes *s)
{
	int64_t most = s->config->live.max_shapes;
	if (most <= 0)
		return;
	pthread_rwlock_rdlock(&s->registry_lock);
	size_t n = 0, count = s->by_handle.len;
	struct aged *all = mem_alloc((count + 1) * sizeof *all);
	struct shape *x;
	for (size_t i = 0; (x = map_next(&s->by_handle, &i)) != NULL;)
		all[n++] = (struct aged){atomic_load(&x->read_ms), shape_ref(x)};
	pthread_rwlock_unlock(&s->registry_lock);
	size_t excess = n > (size_t)most ? n - (size_t)most : 0;
	if (excess > 0) {
		log_seldom(LOG_INFO, log_repeat_key(0, "expiring", 8), "Expiring shapes as the number of shapes has exceeded the limit");
		qsort(all, n, sizeof *all, by_age);
	}
	for (size_t i = 0; i < n; i++) {
		if (i < excess)
			shape_rotate(all[i].shape, REASON_LIMIT_SHAPES, "the number of shapes exceeded ELECTRIC_MAX_SHAPES");
		shape_unref(all[i].shape);
	}
	free(all);
}
