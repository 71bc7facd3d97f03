/*
 * engine.c - the engine as a whole: its parts are started from the disk outwards, and stopped the other way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/log.h"
#include "base/mem.h"
#include "shapes/core/engine.h"
#include "shapes/core/registry.h"
#include "shapes/ingest/sink.h"
#include "shapes/load.h"
#include "shapes/logs/writer.h"
#include "shapes/prep/prep.h"

void engine_init_locks(struct shapes *s)
{
	pthread_rwlock_init(&s->registry_lock, NULL);
	pthread_mutex_init(&s->removed_lock, NULL);
	pthread_mutex_init(&s->headers_lock, NULL);
	for (int i = 0; i < SHAPE_LOCKS; i++)
		pthread_mutex_init(&s->shape_locks[i], NULL);
	pthread_mutex_init(&s->status_lock, NULL);
	pthread_mutex_init(&s->lookup_lock, NULL);
	pthread_mutex_init(&s->lsn_lock, NULL);
	pthread_mutex_init(&s->cmd_lock, NULL);
	pthread_cond_init(&s->cmd_cond, NULL);
	pthread_mutex_init(&s->job_lock, NULL);
	pthread_cond_init(&s->job_cond, NULL);
	pthread_mutex_init(&s->server_lock, NULL);
	pthread_mutex_init(&s->failing_lock, NULL);
	pthread_mutex_init(&s->guard.lock, NULL);
	lock_rank(&s->registry_lock, LOCK_REGISTRY);
	for (int i = 0; i < SHAPE_LOCKS; i++)
		lock_rank(&s->shape_locks[i], LOCK_SHAPE);
	lock_rank(&s->removed_lock, LOCK_LEAF);
	lock_rank(&s->headers_lock, LOCK_LEAF);
	lock_rank(&s->status_lock, LOCK_LEAF);
	lock_rank(&s->lookup_lock, LOCK_LEAF);
	lock_rank(&s->lsn_lock, LOCK_LEAF);
	lock_rank(&s->cmd_lock, LOCK_LEAF);
	lock_rank(&s->job_lock, LOCK_LEAF);
	lock_rank(&s->server_lock, LOCK_LEAF);
	lock_rank(&s->failing_lock, LOCK_LEAF);
	lock_rank(&s->guard.lock, LOCK_LEAF);
	wait_list_init(&s->status_waiters, &s->status_lock);
	wait_list_init(&s->lsn_waiters, &s->lsn_lock);
	s->cmds_tail = &s->cmds;
	s->admin_tail = &s->admin_jobs;
	s->create_tail = &s->create_jobs;
	writer_init(&s->writer);
	usage_init(&s->usage);
}

void engine_free_locks(struct shapes *s)
{
	pthread_rwlock_destroy(&s->registry_lock);
	for (int i = 0; i < SHAPE_LOCKS; i++)
		pthread_mutex_destroy(&s->shape_locks[i]);
	pthread_mutex_t *leaves[] = {&s->removed_lock, &s->headers_lock, &s->status_lock, &s->lookup_lock, &s->lsn_lock, &s->cmd_lock,
	                             &s->job_lock, &s->server_lock, &s->failing_lock, &s->guard.lock};
	for (size_t i = 0; i < ARRAY_LEN(leaves); i++)
		pthread_mutex_destroy(leaves[i]);
	writer_free(&s->writer);
	usage_free(&s->usage);
}

static enum store_disk disk_of(const struct config *config)
{
	return config->storage_memory ? STORE_TEMPORARY : config->storage_ephemeral ? STORE_EPHEMERAL : STORE_KEPT;
}

int shapes_compact(const struct config *config, char *text, size_t max, struct err *e)
{
	struct store_compacted done;
	if (config->storage_memory)
		return err_set(e, ERR_CONFIG, "ELECTRIC_STORAGE=MEMORY: there is no store that outlives the process");
	if (store_compact(config->storage_dir, disk_of(config), &done, e) != 0)
		return -1;
	snprintf(text, max, "The store's file took %.1f MiB and takes %.1f MiB now", (double)done.before / 1048576,
	         (double)done.after / 1048576);
	return 0;
}

int shapes_start(struct shapes **out, const struct config *config, struct err *e)
{
	struct shapes *s = mem_zalloc(sizeof *s);
	s->config = config;
	s->started_ms = s->unproven_ms = clock_mono_ms();
	atomic_store(&s->idle.active_ms, s->started_ms);
	s->heartbeat_id = (uint64_t)clock_wall_us() << 16 ^ (uint64_t)getpid();
	engine_init_locks(s);
	ingest_new(s);
	s->usage.limit = (uint64_t)config->store_limit;
	s->usage.min_free = (uint64_t)config->store_min_free;
	if (store_open(&s->store, config->storage_dir, disk_of(config), e) != 0 || engine_load(s, e) != 0 || writer_start(s, e) != 0)
		goto failed;
	s->loaded_ms = clock_mono_ms();
	s->currency = s->nshapes > 0 ? SHAPES_UNPROVEN : SHAPES_CURRENT; /* before the stream runs */
	if (ingest_start(s, e) != 0 || prep_start(s, e) != 0)
		goto failed;
	*out = s;
	return 0;
failed:
	shapes_stop(s);
	return -1;
}

void shapes_stop(struct shapes *s)
{
	if (s == NULL)
		return;
	atomic_store(&s->stopping, true);
	writer_room_again(s);
	usage_again(s);
	prep_stop(s);
	ingest_stop(s);
	writer_stop(s);
	ingest_release(s);
	registry_free(s);
	ingest_free(s);
	if (s->stream != NULL)
		stream_free(s->stream);
	store_close(s->store);
	engine_free_locks(s);
	free(s);
}

void shapes_tick(struct shapes *s)
{
	registry_tell_removed(s);
	if (store_deleted(s->store))
		log_seldom(LOG_ERROR, log_repeat_key(0, "deleted", 7), "The files in ELECTRIC_STORAGE_DIR (%s) were deleted while in use: what "
		           "they hold is still served, and lost at the next start. Restart Busbar to begin anew", s->config->storage_dir);
}
