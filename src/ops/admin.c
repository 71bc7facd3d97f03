/* admin.c - see admin.h. */
#include <stdlib.h>

#include "base/mem.h"
#include "ops/admin_page.h"
#include "ops/admin_private.h"

struct admin *admin_new(const struct ops *o)
{
	struct admin *a = mem_zalloc(sizeof *a);
	a->ops = o;
	a->ring = mem_zalloc(ADMIN_SAMPLES * sizeof *a->ring);
	pthread_mutex_init(&a->lock, NULL);
	admin_sample(a); /* there is always one */
	return a;
}

void admin_free(struct admin *a)
{
	if (a == NULL)
		return;
	pthread_mutex_destroy(&a->lock);
	free(a->ring);
	free(a->base.list);
	free(a->older.list);
	free(a);
}

/* ---- the table ---- */

static unsigned put_page(struct buf *out, const unsigned char *data, size_t len)
{
	buf_put(out, data, len);
	return 200;
}

static unsigned page_html(void *ctx, const char *query, struct buf *out)
{
	(void)ctx;
	(void)query;
	return put_page(out, admin_html, admin_html_len);
}

static unsigned page_css(void *ctx, const char *query, struct buf *out)
{
	(void)ctx;
	(void)query;
	return put_page(out, admin_css, admin_css_len);
}

static unsigned page_js(void *ctx, const char *query, struct buf *out)
{
	(void)ctx;
	(void)query;
	return put_page(out, admin_js, admin_js_len);
}

#define PAGE_POLICY \
	"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; " \
	"form-action 'none'; frame-ancestors 'none'"

const struct admin_path admin_paths[] = {
	{"/", "text/html; charset=utf-8", page_html, PAGE_POLICY},
	{"/admin", "text/html; charset=utf-8", page_html, PAGE_POLICY},
	{"/admin/page.css", "text/css; charset=utf-8", page_css, NULL},
	{"/admin/page.js", "text/javascript; charset=utf-8", page_js, NULL},
	{"/admin/status", ADMIN_JSON, admin_status, NULL},
	{"/admin/shapes", ADMIN_JSON, admin_shapes, NULL},
	{"/admin/clients", ADMIN_JSON, admin_clients, NULL},
	{"/admin/events", ADMIN_JSON, admin_events, NULL},
	{"/admin/memory", ADMIN_JSON, admin_memory, NULL},
	{"/admin/lag", ADMIN_JSON, admin_lag, NULL},
	{"/admin/explain", ADMIN_JSON, admin_explain, NULL},
};
const size_t admin_npaths = sizeof admin_paths / sizeof admin_paths[0];
_Static_assert(sizeof admin_paths / sizeof admin_paths[0] <= ADMIN_PATHS_MAX, "room for all paths");
