/*
 * work.h - what the requests of a loop share: pages, conditions, buffers. Private to src/http; a loop's own thread only.
 */
#ifndef BUSBAR_HTTP_WORK_H
#define BUSBAR_HTTP_WORK_H

#include "base/buf.h"
#include "http/loop.h"

/* Buffers of streams that are kept for the next, until one upkeep finds none of them used since the last. */
#define SPARES_MAX 4
#define SPARE_BYTES_MAX (1u << 20)
/* What a stream of events has read for a client that takes nothing for so long, and for as long as it would take at this
 * rate, is let go, and read again when it is wanted. */
#define HELD_MAX_MS 500
#define HELD_BYTES_PER_MS 2000
#define HELD_BYTES_MAX (16u << 20) /* of a loop; beyond, those who took nothing for the longest let go before */
#define FREED_BYTES_MAX (2u << 20) /* that the C library may keep once streams were let go */

struct page_cache;
struct condition_cache;

/* Streams of events with something that their clients haven't taken; those who took some last are the last. */
struct held {
	struct stream *first, *last;
	size_t bytes;
	size_t freed_bytes; /* by all streams, and pages of huge rows, since memory was given back */
	bool let_go;        /* some were, or such a page went, since then */
};

struct loop_work {
	struct page_cache *pages;
	struct condition_cache *conditions;
	struct buf spares[SPARES_MAX];
	unsigned nspares;
	bool spares_used;
	unsigned large_blocks; /* LARGE_BLOCKS_MAX */
	struct held held;
	struct buf lines; /* of one step of a stream of events */
};

/* For struct loop_handlers. */
struct loop_work *work_new(void);
void work_free(struct loop_work *w);
bool work_upkeep(struct loop *l, bool trims);
bool work_wanted(const struct loop *l);

#endif
