/*
 * lines.c - rendered changes, which shapes share.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/line.h"

struct line *line_new(const char *text, size_t len, size_t split)
{
	REQUIRE(len <= UINT32_MAX && split <= len);
	struct line *l = mem_alloc(sizeof *l + len);
	atomic_init(&l->refs, 1);
	l->len = (uint32_t)len;
	l->split = (uint32_t)split;
	l->grows = 0;
	memcpy(l->text, text, len);
	return l;
}

struct line *line_ref(struct line *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void line_unref(struct line *l)
{
	if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
		free(l);
}
