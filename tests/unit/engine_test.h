/*
 * engine_test.h - an engine without threads but the writer's, if the test starts it, for tests that load a store as the
 * daemon does.
 */
#ifndef BUSBAR_TESTS_ENGINE_TEST_H
#define BUSBAR_TESTS_ENGINE_TEST_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "shape_test.h"
#include "shapes/core/cache.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/core/shape.h"
#include "shapes/ingest/ingest.h"
#include "shapes/ingest/sink.h"
#include "shapes/load.h"
#include "shapes/logs/writer.h"
#include "store/store.h"

/* The engine on the store in `dir`, loaded; also after a failure engine_close() frees it. Readers see all there is. */
static inline int engine_open(const struct config *config, const char *dir, struct shapes **engine, struct err *why)
{
	struct shapes *s = *engine = mem_zalloc(sizeof *s);
	s->config = config;
	engine_init_locks(s);
	ingest_new(s);
	atomic_store(&s->seen, UINT64_MAX);
	return store_open(&s->store, dir, false, why) != 0 || engine_load(s, why) != 0 ? -1 : 0;
}

/* The same with its writer; a test that can't have that ends. */
static inline struct shapes *engine_begin(const struct config *config, const char *dir)
{
	struct shapes *s;
	struct err e;
	if (engine_open(config, dir, &s, &e) != 0 || writer_start(s, &e) != 0) {
		printf("cannot start: %s\n", e.text);
		exit(2);
	}
	return s;
}

/* A writer that was started has been stopped before. */
static inline void engine_close(struct shapes *s)
{
	ingest_release(s);
	registry_free(s);
	ingest_free(s);
	store_close(s->store);
	engine_free_locks(s);
	free(s);
}

#endif
