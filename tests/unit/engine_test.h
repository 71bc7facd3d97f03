/*
 * engine_test.h - an engine without its threads, for tests that load a store as the daemon does.
 */
#ifndef BUSBAR_TESTS_ENGINE_TEST_H
#define BUSBAR_TESTS_ENGINE_TEST_H

#include "shape_test.h"
#include "shapes/core/cache.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/core/shape.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/sink.h"
#include "shapes/load.h"

struct world {
	struct shapes *engine;
	struct config config;
};

static inline int world_open(struct world *w, const char *dir, struct err *why)
{
	memset(w, 0, sizeof *w);
	w->config.chunk_bytes_threshold = 20000;
	struct shapes *s = w->engine = mem_zalloc(sizeof *s);
	s->config = &w->config;
	engine_init_locks(s);
	ingest_new(s);
	atomic_store(&s->seen, UINT64_MAX);
	return store_open(&s->store, dir, false, why) != 0 || engine_load(s, why) != 0 ? -1 : 0;
}

static inline void world_close(struct world *w)
{
	struct shapes *s = w->engine;
	ingest_release(s);
	registry_free(s);
	ingest_free(s);
	store_close(s->store);
	engine_free_locks(s);
	free(s);
}

#endif
