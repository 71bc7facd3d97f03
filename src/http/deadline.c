/* deadline.c - the deadlines of a loop's connections: a binary heap, earliest first. Each connection has one. */
#include <stdlib.h>

#include "base/mem.h"
#include "http/loop.h"

static void heap_set(struct loop *l, size_t at, struct conn *c)
{
	l->heap[at] = c;
	c->heap_at = (uint32_t)at;
}

static void heap_up(struct loop *l, size_t at)
{
	struct conn *c = l->heap[at];
	for (size_t parent; at > 0 && l->heap[parent = (at - 1) / 2]->deadline_ms > c->deadline_ms; at = parent)
		heap_set(l, at, l->heap[parent]);
	heap_set(l, at, c);
}

static void heap_down(struct loop *l, size_t at)
{
	struct conn *c = l->heap[at];
	for (;;) {
		size_t child = 2 * at + 1;
		if (child + 1 < l->heap_len && l->heap[child + 1]->deadline_ms < l->heap[child]->deadline_ms)
			child++;
		if (child >= l->heap_len || l->heap[child]->deadline_ms >= c->deadline_ms)
			break;
		heap_set(l, at, l->heap[child]);
		at = child;
	}
	heap_set(l, at, c);
}

void conn_set_deadline(struct conn *c, int64_t deadline_ms)
{
	struct loop *l = c->loop;
	REQUIRE(l->heap[c->heap_at] == c);
	int64_t before = c->deadline_ms;
	c->deadline_ms = deadline_ms;
	if (deadline_ms < before)
		heap_up(l, c->heap_at);
	else
		heap_down(l, c->heap_at);
}

void deadline_add(struct loop *l, struct conn *c)
{
	if (l->heap_len == l->heap_cap) {
		l->heap_cap = l->heap_cap == 0 ? 256 : l->heap_cap * 2;
		l->heap = mem_realloc(l->heap, l->heap_cap * sizeof *l->heap);
	}
	heap_set(l, l->heap_len++, c);
	heap_up(l, c->heap_at);
}

void deadline_remove(struct loop *l, struct conn *c)
{
	REQUIRE(l->heap[c->heap_at] == c);
	struct conn *last = l->heap[--l->heap_len];
	if (last == c)
		return;
	heap_set(l, c->heap_at, last);
	heap_up(l, last->heap_at);
	heap_down(l, last->heap_at);
}
