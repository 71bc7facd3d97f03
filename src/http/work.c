/* work.c - see work.h. */
#include "http/work.h"

#include <stdlib.h>

#include "base/mem.h"
#include "http/condition.h"
#include "http/page.h"
#include "http/stream.h"

struct loop_work *work_new(void)
{
	struct loop_work *w = mem_zalloc(sizeof *w);
	buf_init(&w->lines, SIZE_MAX / 2);
	w->pages = pages_new();
	w->conditions = condition_cache_new();
	return w;
}

static void free_spares(struct loop_work *w)
{
	while (w->nspares > 0)
		buf_clear(&w->spares[--w->nspares]);
	buf_clear(&w->lines);
}

void work_free(struct loop_work *w)
{
	if (w == NULL)
		return;
	pages_free(w->pages);
	condition_cache_free(w->conditions);
	free_spares(w);
	free(w);
}

bool work_upkeep(struct loop *l, bool trims)
{
	struct loop_work *w = l->work;
	size_t huge = pages_expire(w->pages, l->now_ms);
	w->held.freed_bytes += huge;
	w->held.let_go = w->held.let_go || huge > 0;
	streams_let_go(w, l->now_ms);
	if (!w->spares_used)
		free_spares(w);
	w->spares_used = false;
	if (!trims && !(w->held.let_go && w->held.freed_bytes > FREED_BYTES_MAX))
		return false;
	w->held.let_go = false;
	w->held.freed_bytes = 0;
	return true;
}

bool work_wanted(const struct loop *l)
{
	const struct loop_work *w = l->work;
	return !pages_empty(w->pages) || w->nspares > 0 || w->held.first != NULL;
}
