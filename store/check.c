/*
 * check.c - walks the pages of an LMDB 0.9 data file. See check.h.
 *
 * What is required of a page is what LMDB's own code takes for granted: its number and kind; that its nodes fill the
 * space between `upper` and the page's end exactly; that keys ascend, inside of what the branch above it says; that a
 * page belongs to one owner. Pages that belong to nobody are only lost space, and no damage.
 */
#include "store/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/seal.h"

#define PAGE_BYTES_MIN 512u
#define PAGE_BYTES_MAX 65536u
#define DEPTH_MAX 32 /* LMDB's own limit of a cursor */
#define KEY_BYTES_MAX 511
/* Pages that were given out but never written may lie behind the file's end. */
#define UNWRITTEN_PAGES_MAX ((uint64_t)1 << 20)

#define MAGIC 0xBEEFC0DEu
#define DATA_VERSION 1u
#define PAGE_BRANCH 1u
#define PAGE_LEAF 2u
#define PAGE_OVERFLOW 4u
#define PAGE_META 8u
#define NODE_BIG 1u
#define NODE_DB 2u
#define DB_INTEGER_KEY 8u
#define NO_PAGE UINT64_MAX

/* As they lie in the file, in native byte order. */
struct page_header {
	uint64_t number;
	uint16_t pad, flags;
	union {
		struct {
			uint16_t lower, upper;
		} at;
		uint32_t pages; /* of an overflow page */
	} u;
};

struct tree {
	uint32_t pad;
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
	uint32_t magic, version;
	uint64_t address, map_bytes;
	struct tree free_pages, main;
	uint64_t last_page, txn;
};

#define HEADER_BYTES sizeof(struct page_header)
#define NODE_BYTES 8

struct node {
	const unsigned char *key, *data; /* data: of a leaf; 8 bytes with a page number if big */
	size_t key_len, data_len;
	uint64_t child;                  /* of a branch */
	unsigned flags;
};

struct bound {
	const unsigned char *p;
	size_t len;
	bool set;
};

struct walk {
	int fd;
	uint64_t file_pages;
	size_t page_bytes;
	const struct meta *meta;
	unsigned char *levels;  /* DEPTH_MAX pages */
	uint16_t *sizes;        /* of nodes, by where they begin in the page at hand */
	uint64_t *claimed;      /* a bit for each page */
	struct tree dbs[DB_COUNT];
	bool has_db[DB_COUNT];
	bool failed;            /* can't be read */
	struct err *e;
};

static int damaged(struct walk *w, uint64_t page, const char *what)
{
	if (!w->failed)
		(void)err_set(w->e, ERR_DAMAGED, "page %llu: %s", (unsigned long long)page, what);
	return -1;
}

static int read_at(struct walk *w, void *to, size_t n, uint64_t off)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(w->fd, (char *)to + done, n - done, (off_t)(off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			w->failed = true;
			return got < 0 ? err_errno(w->e, errno, "store: cannot read the data file")
			               : err_set(w->e, ERR_IO, "store: the data file ends while it is read");
		}
		done += (size_t)got;
	}
	return 0;
}

/* A page, or several, that nobody else has. */
static int claim(struct walk *w, uint64_t page, uint64_t n, bool written, const char *what)
{
	if (page < 2 || page > w->meta->last_page || n > w->meta->last_page - page + 1)
		return damaged(w, page, what);
	if (written && page + n > w->file_pages)
		return damaged(w, page, "the file ends before it");
	for (uint64_t i = page; i < page + n; i++) {
		uint64_t bit = (uint64_t)1 << (i % 64);
		if (w->claimed[i / 64] & bit)
			return damaged(w, i, "it has two owners");
		w->claimed[i / 64] |= bit;
	}
	return 0;
}

/* ---- one page ---- */

static int node_at(struct walk *w, uint64_t page, const unsigned char *p, unsigned i, bool leaf, struct node *out, size_t *bytes)
{
	const struct page_header *h = (const void *)p;
	uint16_t at, f[4];
	memcpy(&at, p + HEADER_BYTES + i * 2, 2);
	if (at < h->u.at.upper || at % 2 != 0 || (size_t)at + NODE_BYTES > w->page_bytes)
		return damaged(w, page, "a node lies outside");
	memcpy(f, p + at, sizeof f);
	out->key = p + at + NODE_BYTES;
	out->key_len = f[3];
	size_t room = w->page_bytes - at - NODE_BYTES;
	if (out->key_len > room || out->key_len > KEY_BYTES_MAX)
		return damaged(w, page, "a key's length");
	out->flags = leaf ? f[2] : 0;
	out->child = f[0] | (uint64_t)f[1] << 16 | (leaf ? 0 : (uint64_t)f[2] << 32);
	out->data = out->key + out->key_len;
	out->data_len = leaf ? (size_t)(f[0] | (uint32_t)f[1] << 16) : 0;
	size_t held = !leaf ? 0 : out->flags & NODE_BIG ? sizeof(uint64_t) : out->data_len;
	if (held > room - out->key_len || (out->flags & ~(NODE_BIG | NODE_DB)) != 0)
		return damaged(w, page, "a node's length");
	*bytes = (NODE_BYTES + out->key_len + held + 1) & ~(size_t)1;
	return 0;
}

/* Its header, and that its nodes fill it; *n: how many there are. */
static int page_is_whole(struct walk *w, uint64_t page, const unsigned char *p, bool *leaf, unsigned *n)
{
	const struct page_header *h = (const void *)p;
	if (h->number != page)
		return damaged(w, page, "it has another number");
	if (h->flags != PAGE_BRANCH && h->flags != PAGE_LEAF)
		return damaged(w, page, "it is of another kind");
	*leaf = h->flags == PAGE_LEAF;
	if (h->u.at.lower < HEADER_BYTES || h->u.at.lower % 2 != 0 || h->u.at.upper < h->u.at.lower || h->u.at.upper > w->page_bytes)
		return damaged(w, page, "its bounds");
	*n = (unsigned)(h->u.at.lower - HEADER_BYTES) / 2;
	if (*n < (*leaf ? 1u : 2u))
		return damaged(w, page, "it is empty");
	memset(w->sizes, 0, w->page_bytes / 2 * sizeof *w->sizes);
	for (unsigned i = 0; i < *n; i++) {
		struct node node;
		size_t bytes;
		if (node_at(w, page, p, i, *leaf, &node, &bytes) != 0)
			return -1;
		w->sizes[(size_t)(node.key - NODE_BYTES - p) / 2] = (uint16_t)bytes;
	}
	size_t at = h->u.at.upper;
	unsigned seen = 0;
	for (; at < w->page_bytes && w->sizes[at / 2] != 0; seen++)
		at += w->sizes[at / 2];
	return at == w->page_bytes && seen == *n ? 0 : damaged(w, page, "its nodes overlap");
}

static int read_page(struct walk *w, uint64_t page, unsigned level, bool *leaf, unsigned *n, unsigned char **out)
{
	if (level >= DEPTH_MAX)
		return damaged(w, page, "the tree is too deep");
	if (page >= w->file_pages)
		return damaged(w, page, "the file ends before it");
	*out = w->levels + level * w->page_bytes;
	if (read_at(w, *out, w->page_bytes, page * w->page_bytes) != 0)
		return -1;
	return page_is_whole(w, page, *out, leaf, n);
}

static int compare(const void *a, size_t a_len, const void *b, size_t b_len, bool integers)
{
	if (integers) {
		uint64_t x, y;
		memcpy(&x, a, sizeof x);
		memcpy(&y, b, sizeof y);
		return x < y ? -1 : x > y;
	}
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return c != 0 ? c : a_len < b_len ? -1 : a_len > b_len;
}

/* ---- trees ---- */

struct tree_walk {
	size_t key_bytes; /* 0: any */
	bool integers;
	uint64_t entries;
	int (*leaf)(struct walk *w, uint64_t page, const struct node *node);
};

static int check_key(struct walk *w, const struct tree_walk *t, uint64_t page, const struct node *node, const struct bound *before,
                     const struct bound *lo, const struct bound *hi)
{
	if (node->key_len == 0 || (t->key_bytes != 0 && node->key_len != t->key_bytes))
		return damaged(w, page, "a key's length");
	if (before->set && compare(before->p, before->len, node->key, node->key_len, t->integers) >= 0)
		return damaged(w, page, "its keys are not in order");
	if (lo->set && compare(lo->p, lo->len, node->key, node->key_len, t->integers) > 0)
		return damaged(w, page, "a key is below what the page above says");
	if (hi->set && compare(node->key, node->key_len, hi->p, hi->len, t->integers) >= 0)
		return damaged(w, page, "a key is above what the page above says");
	return 0;
}

static int walk_page(struct walk *w, struct tree_walk *t, uint64_t page, unsigned level, unsigned depth, struct bound lo,
                     struct bound hi)
{
	bool leaf;
	unsigned n;
	unsigned char *p;
	if (claim(w, page, 1, true, "a page number out of range") != 0 || read_page(w, page, level, &leaf, &n, &p) != 0)
		return -1;
	if (leaf != (level + 1 == depth))
		return damaged(w, page, "a page of the wrong level");
	struct bound before = {NULL, 0, false};
	struct node node, next;
	size_t bytes;
	for (unsigned i = 0; i < n; i++) {
		if (node_at(w, page, p, i, leaf, &node, &bytes) != 0)
			return -1;
		/* The first key of a branch means nothing. */
		if ((leaf || i > 0) && check_key(w, t, page, &node, &before, &lo, &hi) != 0)
			return -1;
		struct bound here = {node.key, node.key_len, leaf || i > 0};
		if (leaf) {
			t->entries++;
			if (t->leaf(w, page, &node) != 0)
				return -1;
		} else {
			struct bound from = here.set ? here : lo, to = hi;
			if (i + 1 < n) {
				if (node_at(w, page, p, i + 1, false, &next, &bytes) != 0)
					return -1;
				if (t->key_bytes != 0 && next.key_len != t->key_bytes)
					return damaged(w, page, "a key's length");
				to = (struct bound){next.key, next.key_len, true};
			}
			if (walk_page(w, t, node.child, level + 1, depth, from, to) != 0)
				return -1;
		}
		before = here;
	}
	return 0;
}

static int walk_tree(struct walk *w, const struct tree *tree, struct tree_walk *t)
{
	struct bound none = {NULL, 0, false};
	t->entries = 0;
	if (tree->root == NO_PAGE)
		return tree->depth == 0 && tree->entries == 0 ? 0 : damaged(w, 0, "a tree without a root");
	if (tree->depth == 0 || tree->depth > DEPTH_MAX)
		return damaged(w, tree->root, "a tree's depth");
	if (walk_page(w, t, tree->root, 0, tree->depth, none, none) != 0)
		return -1;
	return t->entries == tree->entries ? 0 : damaged(w, tree->root, "a tree's number of entries");
}

static uint64_t overflow_pages(const struct walk *w, size_t len) { return (HEADER_BYTES - 1 + len) / w->page_bytes + 1; }

static int claim_value(struct walk *w, uint64_t page, const struct node *node)
{
	(void)page;
	if (!(node->flags & NODE_BIG))
		return 0;
	uint64_t at;
	memcpy(&at, node->data, sizeof at);
	return claim(w, at, overflow_pages(w, node->data_len), true, "a value's page number");
}

static int value_leaf(struct walk *w, uint64_t page, const struct node *node)
{
	return node->flags & NODE_DB ? damaged(w, page, "a node's kind") : claim_value(w, page, node);
}

static int main_leaf(struct walk *w, uint64_t page, const struct node *node)
{
	if (node->flags != NODE_DB || node->data_len != sizeof(struct tree))
		return damaged(w, page, "a database's record");
	for (int i = 0; i < DB_COUNT; i++) {
		if (node->key_len != strlen(seal_dbs[i].name) || memcmp(node->key, seal_dbs[i].name, node->key_len) != 0)
			continue;
		memcpy(&w->dbs[i], node->data, sizeof w->dbs[i]);
		w->has_db[i] = true;
		return w->dbs[i].flags == 0 && w->dbs[i].pad == 0 ? 0 : damaged(w, page, "a database's flags");
	}
	return damaged(w, page, "a database of an unknown name");
}

/* A list of pages: LMDB deletes it by its header, too. */
static int free_list(struct walk *w, uint64_t page, const struct node *node, const unsigned char *list, size_t len)
{
	uint64_t n, at, before = UINT64_MAX;
	if (len < 8 || len % 8 != 0)
		return damaged(w, page, "a list of free pages");
	memcpy(&n, list, 8);
	if (n > len / 8 - 1)
		return damaged(w, page, "a list of free pages");
	for (uint64_t i = 1; i <= n; i++, before = at) {
		memcpy(&at, list + i * 8, 8);
		if (at >= before)
			return damaged(w, page, "a list of free pages");
		if (claim(w, at, 1, false, "a free page's number") != 0)
			return -1;
	}
	uint64_t txn;
	memcpy(&txn, node->key, 8);
	return txn <= w->meta->txn ? 0 : damaged(w, page, "free pages of a transaction to come");
}

static int free_leaf(struct walk *w, uint64_t page, const struct node *node)
{
	if (node->flags & NODE_DB)
		return damaged(w, page, "a node's kind");
	if (!(node->flags & NODE_BIG))
		return free_list(w, page, node, node->data, node->data_len);
	if (claim_value(w, page, node) != 0)
		return -1;
	uint64_t at, n = overflow_pages(w, node->data_len);
	memcpy(&at, node->data, sizeof at);
	unsigned char *all = mem_alloc((size_t)n * w->page_bytes);
	int rc = read_at(w, all, (size_t)n * w->page_bytes, at * w->page_bytes);
	const struct page_header *h = (const void *)all;
	if (rc == 0 && (h->number != at || h->flags != PAGE_OVERFLOW || h->u.pages < n))
		rc = damaged(w, at, "the head of a list of free pages");
	if (rc == 0 && h->u.pages > n)
		rc = claim(w, at + n, h->u.pages - n, true, "the length of a list of free pages");
	if (rc == 0)
		rc = free_list(w, at, node, all + HEADER_BYTES, node->data_len);
	free(all);
	return rc;
}

/* ---- one value by its key ---- */

/* 0 found, 1 not there, -1 damage. Copies the value if it has `len` bytes, else it isn't there. */
static int find(struct walk *w, const struct tree *tree, const char *key, unsigned want_flags, void *out, size_t len)
{
	uint64_t page = tree->root;
	if (page == NO_PAGE)
		return 1;
	for (unsigned level = 0;; level++) {
		bool leaf;
		unsigned n, i;
		unsigned char *p;
		struct node node;
		size_t bytes;
		uint64_t child = 0;
		if (page < 2 || page > w->meta->last_page)
			return damaged(w, page, "a page number out of range");
		if (read_page(w, page, level, &leaf, &n, &p) != 0)
			return -1;
		for (i = 0; i < n; i++) {
			if (node_at(w, page, p, i, leaf, &node, &bytes) != 0)
				return -1;
			int c = !leaf && i == 0 ? 1 : compare(key, strlen(key), node.key, node.key_len, false);
			if (leaf && c == 0) {
				if (node.flags != want_flags || node.data_len != len)
					return 1;
				memcpy(out, node.data, len);
				return 0;
			}
			if (c < 0)
				break;
			child = node.child;
		}
		if (leaf)
			return 1;
		page = child;
	}
}

static int find_meta(struct walk *w, const struct tree *main, const char *name, void *out, size_t len)
{
	struct tree meta;
	int rc = find(w, main, seal_dbs[DB_META].name, NODE_DB, &meta, sizeof meta);
	return rc != 0 ? rc : find(w, &meta, name, 0, out, len);
}

/* The number of the transaction that wrote this tree, as its own stamp says; as `find`. */
static int find_stamp(struct walk *w, const struct tree *main, uint64_t *out)
{
	unsigned char sealed[8 + SEAL_BYTES];
	size_t len = sizeof sealed;
	int rc = find_meta(w, main, "commit", sealed, len);
	if (rc == 0 && !seal_holds(DB_META, "commit", 6, sealed, &len))
		return damaged(w, 0, "the stamp of a commit");
	memcpy(out, sealed, 8);
	return rc;
}

/* ---- the file ---- */

static int meta_is_whole(struct walk *w, unsigned i, const unsigned char *p, struct meta *m)
{
	struct page_header h;
	memcpy(&h, p, sizeof h);
	memcpy(m, p + HEADER_BYTES, sizeof *m);
	if (h.number != i || h.flags != PAGE_META || m->magic != MAGIC || m->version != DATA_VERSION)
		return damaged(w, i, "not a meta page of LMDB");
	if (m->free_pages.pad != w->page_bytes || m->free_pages.flags != DB_INTEGER_KEY || m->main.flags != 0)
		return damaged(w, i, "the meta page's flags");
	if (m->txn != 0 && m->txn % 2 != i)
		return damaged(w, i, "the meta page's transaction");
	if (m->last_page < 1 || m->last_page > w->file_pages + UNWRITTEN_PAGES_MAX)
		return damaged(w, i, "the meta page's last page");
	return 0;
}

static int read_metas(struct walk *w, struct meta m[2], uint64_t file_bytes)
{
	unsigned char page[HEADER_BYTES + sizeof(struct meta)];
	w->page_bytes = PAGE_BYTES_MIN;
	if (read_at(w, page, sizeof page, 0) != 0)
		return -1;
	memcpy(&m[0], page + HEADER_BYTES, sizeof m[0]);
	size_t size = m[0].free_pages.pad;
	if (size < PAGE_BYTES_MIN || size > PAGE_BYTES_MAX || (size & (size - 1)) != 0 || file_bytes < 2 * size)
		return damaged(w, 0, "the size of pages");
	w->page_bytes = size;
	w->file_pages = file_bytes / size;
	if (meta_is_whole(w, 0, page, &m[0]) != 0 || read_at(w, page, sizeof page, size) != 0 || meta_is_whole(w, 1, page, &m[1]) != 0)
		return -1;
	uint64_t a = m[0].txn, b = m[1].txn;
	return (a > b ? a - b : b - a) <= 1 ? 0 : damaged(w, a > b, "the meta pages are too far apart");
}

/* The two that say the format: the second tells a flipped bit in the first from a store of a Busbar to come. */
static int read_versions(struct walk *w, uint64_t *version, uint64_t *twin, bool *has_twin)
{
	int rc = find_meta(w, &w->meta->main, "format", version, sizeof *version);
	if (rc < 0)
		return -1;
	if (rc == 1)
		return damaged(w, w->meta->main.root, "no format version");
	rc = find_meta(w, &w->meta->main, "version", twin, sizeof *twin);
	*has_twin = rc == 0;
	return rc < 0 ? -1 : 0;
}

/* Each tree says which transaction wrote it: a meta page with another's number is damaged, whichever LMDB takes. */
static int check_stamps(struct walk *w, const struct meta *newest, const struct meta *other)
{
	uint64_t stamp = 0;
	int rc = find_stamp(w, &newest->main, &stamp);
	if (rc != 0 || stamp != newest->txn)
		return rc < 0 ? -1 : damaged(w, newest->txn % 2, "the meta page's transaction isn't its tree's");
	/* The other's pages matter to nobody, so what is wrong there does no harm, but its number must be right. */
	struct err ignored = {0};
	struct err *e = w->e;
	w->e = &ignored;
	w->meta = other;
	rc = find_stamp(w, &other->main, &stamp);
	w->e = e;
	w->meta = newest;
	w->failed = false; /* nor does it matter if they can't be read */
	/* After a commit whose last write failed LMDB puts the old number back, and leaves the new tree. */
	bool taken_back = stamp == newest->txn + 1 && other->txn + 1 == newest->txn;
	if (rc == 0 && stamp != other->txn && !taken_back)
		return damaged(w, other->txn % 2, "the meta page's transaction isn't its tree's");
	return 0;
}

static int check_trees(struct walk *w)
{
	struct tree_walk main = {.leaf = main_leaf}, frees = {.key_bytes = 8, .integers = true, .leaf = free_leaf};
	if (walk_tree(w, &w->meta->main, &main) != 0)
		return -1;
	for (int i = 0; i < DB_COUNT; i++) {
		struct tree_walk t = {.key_bytes = seal_dbs[i].key_bytes, .leaf = value_leaf};
		if (w->has_db[i] && walk_tree(w, &w->dbs[i], &t) != 0)
			return -1;
	}
	return walk_tree(w, &w->meta->free_pages, &frees);
}

static enum check_result check_open(struct walk *w, uint64_t file_bytes, unsigned known, unsigned sealed)
{
	struct meta m[2];
	if (read_metas(w, m, file_bytes) != 0)
		return CHECK_DAMAGED;
	w->meta = m[0].txn < m[1].txn ? &m[1] : &m[0];
	const struct meta *other = w->meta == &m[0] ? &m[1] : &m[0];
	w->levels = mem_alloc(DEPTH_MAX * w->page_bytes);
	w->sizes = mem_alloc(w->page_bytes / 2 * sizeof *w->sizes);
	w->claimed = mem_zalloc((size_t)(w->meta->last_page / 64 + 1) * sizeof *w->claimed);
	if (w->meta->main.root == NO_PAGE) /* a store that was just being born */
		return w->meta->txn == 0 ? CHECK_SOUND : (damaged(w, 0, "a store without databases"), CHECK_DAMAGED);
	uint64_t version, twin = 0;
	bool has_twin = false;
	if (read_versions(w, &version, &twin, &has_twin) != 0)
		return CHECK_DAMAGED;
	if (version > known && has_twin && twin == version) {
		(void)err_set(w->e, ERR_CONFIG, "%llu", (unsigned long long)version);
		return CHECK_NEWER;
	}
	if (has_twin ? twin != version : version >= sealed || version == 0) {
		damaged(w, 0, "the format version");
		return CHECK_DAMAGED;
	}
	if (version >= sealed && check_stamps(w, w->meta, other) != 0)
		return CHECK_DAMAGED;
	return check_trees(w) == 0 ? CHECK_SOUND : CHECK_DAMAGED;
}

enum check_result check_file(const char *path, unsigned known, unsigned sealed, struct err *e)
{
	struct walk w = {.fd = open(path, O_RDONLY | O_CLOEXEC), .e = e};
	struct stat st;
	if (w.fd < 0 || fstat(w.fd, &st) != 0) {
		(void)err_errno(e, errno, "store: cannot open %s", path);
		if (w.fd >= 0)
			close(w.fd);
		return CHECK_FAILED;
	}
	enum check_result rc = check_open(&w, (uint64_t)st.st_size, known, sealed);
	free(w.levels);
	free(w.sizes);
	free(w.claimed);
	close(w.fd);
	return rc == CHECK_DAMAGED && w.failed ? CHECK_FAILED : rc;
}
