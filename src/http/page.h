/*
 * page.h - rendered bodies, shared by all clients of a loop that ask for the same. Private to src/http.
 *
 * A page is the finished body of one answer, counted; the cache finds it again for the next client of
 * the same shape and offset, together with the last response built around it. One thread (the loop's).
 */
#ifndef BUSBAR_HTTP_PAGE_H
#define BUSBAR_HTTP_PAGE_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "shapes/shapes.h"

/* Larger answers are streamed, each with a buffer of its own of about this size. */
#define PAGE_BYTES_MAX (256u << 10)
/*
 * Of those whose size is known, so much is put together and sent at a time: a piece of a snapshot (128 KB and part of a
 * row), or several. A client that is faster than we are sleeps between two sends, and to wake it costs more than all
 * else: with large blocks a first sync takes half the time. Slow ones hold them for long, so not all get one.
 */
#define SIZED_BLOCK_BYTES (192u << 10)
#define LARGE_BLOCK_BYTES (1u << 20)
#define LARGE_BLOCKS_MAX 8 /* of a loop, at a time */
#define PAGES_MAX 16          /* of the cache */
#define PAGE_RESPONSES_MAX 4  /* kept for each page */
#define PAGE_AGE_MS 1000

struct page {
	uint32_t refs;
	char *data;
	size_t len;
};

enum page_kind { PAGE_JSON, PAGE_SSE };

struct page *page_take(struct buf *b); /* empties b; one reference, the caller's */
void page_unref(struct page *p);

struct page_cache;
struct page_cache *pages_new(void);
void pages_free(struct page_cache *c);
/* Gives the bytes of those that are above PAGE_BYTES_MAX: of huge rows. */
size_t pages_expire(struct page_cache *c, int64_t now_ms);
bool pages_empty(const struct page_cache *c);

/* What a page shows: a slice of a shape, and the position in its up-to-date message (0: it has none). */
struct page_key {
	const char *handle;
	enum page_kind kind;
	enum slice_kind slice;
	struct log_offset from, to;
	lsn_t seen;
	bool up_to_date;
};

/* A reference, or NULL. */
struct page *pages_find(struct page_cache *c, const struct page_key *key);
void pages_add(struct page_cache *c, const struct page_key *key, struct page *p, int64_t now_ms);

/* A response around this page with exactly these headers (the bytes of a struct reply), borrowed. */
struct MHD_Response *pages_find_response(struct page_cache *c, const struct page *p, const char *headers, size_t len);
/* Takes the caller's reference to the response if the page is in the cache; else false. */
bool pages_add_response(struct page_cache *c, const struct page *p, const char *headers, size_t len,
                        struct MHD_Response *response);

#endif
