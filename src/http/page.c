/* page.c - see page.h. */
#include "http/page.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct cached_response {
	char *headers;
	size_t len;
	struct MHD_Response *response;
};

struct cached_page {
	struct page *page; /* NULL: free */
	char *handle;
	struct page_key key;
	int64_t until_ms;
	struct cached_response responses[PAGE_RESPONSES_MAX];
	size_t next_response;
};

struct page_cache {
	struct cached_page pages[PAGES_MAX];
	size_t next, used;
};

struct page *page_take(struct buf *b)
{
	struct page *p = mem_zalloc(sizeof *p);
	p->refs = 1;
	p->data = buf_detach(b, &p->len);
	return p;
}

static struct page *page_ref(struct page *p)
{
	p->refs++;
	return p;
}

void page_unref(struct page *p)
{
	if (p == NULL || --p->refs > 0)
		return;
	free(p->data);
	free(p);
}

struct page_cache *pages_new(void) { return mem_zalloc(sizeof(struct page_cache)); }

static void response_clear(struct cached_response *r)
{
	if (r->response != NULL)
		MHD_destroy_response(r->response);
	free(r->headers);
	*r = (struct cached_response){0};
}

static void slot_clear(struct page_cache *c, struct cached_page *slot)
{
	if (slot->page == NULL)
		return;
	for (size_t i = 0; i < PAGE_RESPONSES_MAX; i++)
		response_clear(&slot->responses[i]);
	page_unref(slot->page);
	free(slot->handle);
	*slot = (struct cached_page){0};
	c->used--;
}

void pages_free(struct page_cache *c)
{
	for (size_t i = 0; i < PAGES_MAX; i++)
		slot_clear(c, &c->pages[i]);
	free(c);
}

size_t pages_expire(struct page_cache *c, int64_t now_ms)
{
	size_t huge = 0;
	for (size_t i = 0; i < PAGES_MAX; i++) {
		if (c->pages[i].page == NULL || c->pages[i].until_ms > now_ms)
			continue;
		if (c->pages[i].page->len > PAGE_BYTES_MAX)
			huge += c->pages[i].page->len;
		slot_clear(c, &c->pages[i]);
	}
	return huge;
}

bool pages_empty(const struct page_cache *c) { return c->used == 0; }

static bool same_key(const struct cached_page *slot, const struct page_key *k)
{
	const struct page_key *s = &slot->key;
	return s->kind == k->kind && s->slice == k->slice && log_offset_cmp(s->to, k->to) == 0 &&
	       log_offset_cmp(s->from, k->from) == 0 && s->seen == k->seen && s->up_to_date == k->up_to_date &&
	       strcmp(slot->handle, k->handle) == 0;
}

struct page *pages_find(struct page_cache *c, const struct page_key *key)
{
	for (size_t i = 0; i < PAGES_MAX; i++)
		if (c->pages[i].page != NULL && same_key(&c->pages[i], key))
			return page_ref(c->pages[i].page);
	return NULL;
}

void pages_add(struct page_cache *c, const struct page_key *key, struct page *p, int64_t now_ms)
{
	struct cached_page *slot = &c->pages[c->next];
	c->next = (c->next + 1) % PAGES_MAX;
	slot_clear(c, slot);
	slot->page = page_ref(p);
	slot->handle = mem_strdup(key->handle);
	slot->key = *key;
	slot->key.handle = slot->handle;
	slot->until_ms = now_ms + PAGE_AGE_MS;
	c->used++;
}

static struct cached_page *slot_of(struct page_cache *c, const struct page *p)
{
	for (size_t i = 0; i < PAGES_MAX; i++)
		if (c->pages[i].page == p)
			return &c->pages[i];
	return NULL;
}

struct MHD_Response *pages_find_response(struct page_cache *c, const struct page *p, const char *headers, size_t len)
{
	struct cached_page *slot = slot_of(c, p);
	for (size_t i = 0; slot != NULL && i < PAGE_RESPONSES_MAX; i++) {
		struct cached_response *r = &slot->responses[i];
		if (r->response != NULL && r->len == len && memcmp(r->headers, headers, len) == 0)
			return r->response;
	}
	return NULL;
}

bool pages_add_response(struct page_cache *c, const struct page *p, const char *headers, size_t len,
                        struct MHD_Response *response)
{
	struct cached_page *slot = slot_of(c, p);
	if (slot == NULL)
		return false;
	struct cached_response *r = &slot->responses[slot->next_response];
	slot->next_response = (slot->next_response + 1) % PAGE_RESPONSES_MAX;
	response_clear(r);
	r->headers = mem_strndup(headers, len);
	r->len = len;
	r->response = response;
	return true;
}
