/*
 * tail.c - the newest entries of a shape, in memory: what readers see ahead of the store's blocks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/engine.h"

static void push(struct shape *s, const struct entry *entries, size_t n)
{
	size_t need = s->tail.first + s->tail.n + n;
	if (need > s->tail.cap && s->tail.first > 0) {
		memmove(s->tail.entries, s->tail.entries + s->tail.first, s->tail.n * sizeof *entries);
		s->tail.first = 0;
		need = s->tail.n + n;
	}
	if (need > s->tail.cap) {
		size_t cap = s->tail.cap ? s->tail.cap * 2 : 4;
		while (cap < need)
			cap *= 2;
		s->tail.entries = mem_realloc(s->tail.entries, cap * sizeof *entries);
		s->tail.cap = cap;
	}
	memcpy(s->tail.entries + s->tail.first + s->tail.n, entries, n * sizeof *entries);
	s->tail.n += n;
	uint64_t bytes = 0;
	for (size_t i = 0; i < n; i++) {
		bytes += entry_bytes(&entries[i]);
		if (entries[i].flags & ENTRY_CHUNK_END)
			s->tail.last_chunk_end = entries[i].at;
	}
	atomic_fetch_add_explicit(&s->log_bytes, bytes, memory_order_relaxed);
	s->tail.last = entries[n - 1].at;
}

enum shape_state tail_state(struct shape *s)
{
	pthread_mutex_lock(shape_lock(s));
	enum shape_state state = s->tail.state;
	pthread_mutex_unlock(shape_lock(s));
	return state;
}

void tail_look(struct shape *s, struct tail_facts *out)
{
	pthread_mutex_lock(shape_lock(s));
	*out = (struct tail_facts){s->tail.state, s->tail.waiters.n};
	pthread_mutex_unlock(shape_lock(s));
}

bool tail_is_awaited(struct shape *s, enum shape_state *state)
{
	pthread_mutex_lock(shape_lock(s));
	bool awaited = s->tail.waiters.head != NULL;
	*state = s->tail.state;
	pthread_mutex_unlock(shape_lock(s));
	return awaited;
}

void tail_publish(struct shape *s, struct entry *entries, size_t n, struct change_times times)
{
	if (n == 0)
		return;
	for (size_t i = 1; i < n; i++)
		REQUIRE(log_offset_cmp(entries[i - 1].at, entries[i].at) < 0);
	pthread_mutex_t *lock = shape_lock(s);
	pthread_mutex_lock(lock);
	REQUIRE(s->tail.last.tx == 0 || log_offset_cmp(s->tail.last, entries[0].at) < 0 || atomic_load(&s->dropped));
	push(s, entries, n);
	int64_t rows = 0;
	for (size_t i = 0; i < n; i++)
		rows += entries[i].line->grows;
	atomic_fetch_add_explicit(&s->changes, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->rows, rows, memory_order_relaxed);
	wait_list_wake_above(&s->tail.waiters, s->tail.last, times);
	pthread_mutex_unlock(lock);
}

void tail_restore(struct shape *s, struct log_offset at, uint32_t flags, struct line *line)
{
	struct entry e = {at, line_ref(line), flags};
	push(s, &e, 1);
}

void tail_restore_snapshot(struct shape *s, uint32_t chunks)
{
	s->tail.snap_complete = true;
	s->tail.snap_chunk = chunks;
}

void tail_restore_log(struct shape *s, struct log_offset last, struct log_offset chunk_end)
{
	s->tail.state = SHAPE_LIVE;
	shape_count(s);
	s->tail.folded = s->tail.last = last;
	s->tail.last_chunk_end = chunk_end;
}

void tail_folded(struct shape *s, struct log_offset upto)
{
	struct line *dead[64];
	size_t n;
	/* In steps: freeing lines doesn't need the lock, and a fold may drop tens of thousands. */
	do {
		n = 0;
		pthread_mutex_lock(shape_lock(s));
		REQUIRE((log_offset_cmp(s->tail.folded, upto) <= 0 && log_offset_cmp(upto, s->tail.last) <= 0) || atomic_load(&s->dropped));
		s->tail.folded = upto;
		while (n < ARRAY_LEN(dead) && s->tail.n > 0 && log_offset_cmp(s->tail.entries[s->tail.first].at, upto) <= 0) {
			dead[n++] = s->tail.entries[s->tail.first].line;
			s->tail.first++;
			s->tail.n--;
		}
		if (s->tail.n == 0) {
			free(s->tail.entries);
			s->tail.entries = NULL;
			s->tail.first = s->tail.cap = 0;
		}
		pthread_mutex_unlock(shape_lock(s));
		for (size_t i = 0; i < n; i++)
			line_unref(dead[i]);
	} while (n == ARRAY_LEN(dead));
}

void tail_clear(struct shape *s)
{
	for (size_t i = 0; i < s->tail.n; i++)
		line_unref(s->tail.entries[s->tail.first + i].line);
	free(s->tail.entries);
	s->tail.entries = NULL;
	s->tail.first = s->tail.n = s->tail.cap = 0;
}
