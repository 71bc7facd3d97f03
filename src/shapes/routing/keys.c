/*
 * keys.c - hashes of keys, sets of them, and net effects; see keys.h.
 *
 * The hash is SipHash with one round for a word and three at the end, 128 bits long.
 */
#include "shapes/routing/keys.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

#define CHARGE_STEP 4096u          /* keys that one shape may be ahead of what is known of all */

#define SET_SLOTS_MIN 64

static uint64_t secret[2];

static void make_secret(void)
{
	/* Without randomness what is left is chance, which is enough but for who chooses keys. */
	if (getrandom(secret, sizeof secret, GRND_NONBLOCK) == (ssize_t)sizeof secret)
		return;
	secret[0] = (uint64_t)clock_wall_us();
	secret[1] = (uint64_t)(uintptr_t)&secret;
}

static inline uint64_t rotated(uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotated(v[1], 13) ^ v[0];
	v[3] = rotated(v[3], 16) ^ v[2];
	v[0] = rotated(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotated(v[1], 17) ^ v[2];
	v[3] = rotated(v[3], 21) ^ v[0];
	v[2] = rotated(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

void key_hash_begin(struct key_hasher *h)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, make_secret);
	*h = (struct key_hasher){.v = {secret[0] ^ UINT64_C(0x736f6d6570736575), secret[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
	                               secret[0] ^ UINT64_C(0x6c7967656e657261), secret[1] ^ UINT64_C(0x7465646279746573)}};
}

void key_hash_put(struct key_hasher *h, const void *data, size_t n)
{
	const unsigned char *p = data, *end = p + n;
	while (p < end && h->len % 8 != 0) {
		h->rest |= (uint64_t)*p++ << (h->len % 8 * 8);
		if (++h->len % 8 == 0) {
			sip_word(h->v, h->rest);
			h->rest = 0;
		}
	}
	for (; end - p >= 8; p += 8, h->len += 8) {
		uint64_t word;
		memcpy(&word, p, sizeof word);
		sip_word(h->v, word);
	}
	for (; p < end; h->len++)
		h->rest |= (uint64_t)*p++ << (h->len % 8 * 8);
}

void key_hash_put_value(struct key_hasher *h, const void *p, size_t n, bool null)
{
	uint64_t len = null ? UINT64_MAX : n;
	key_hash_put(h, &len, sizeof len);
	if (!null && n > 0)
		key_hash_put(h, p, n);
}

struct key_hash key_hash_end(struct key_hasher *h)
{
	struct key_hash k;
	sip_word(h->v, h->rest | (uint64_t)h->len << 56);
	h->v[2] ^= 0xee;
	for (int i = 0; i < 3; i++)
		sip_round(h->v);
	k.a = h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
	h->v[1] ^= 0xdd;
	for (int i = 0; i < 3; i++)
		sip_round(h->v);
	k.b = h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
	if (k.a == 0 && k.b == 0)
		k.b = 1; /* that stands for a free slot */
	return k;
}

struct key_hash key_hash(const void *p, size_t n)
{
	struct key_hasher h;
	key_hash_begin(&h);
	key_hash_put(&h, p, n);
	return key_hash_end(&h);
}

/* ---- sets ---- */

static bool is_free(struct key_hash k) { return k.a == 0 && k.b == 0; }

static struct key_hash *set_slot(const struct key_set *s, struct key_hash k)
{
	size_t i = k.a & (s->cap - 1);
	while (!is_free(s->slots[i]) && !key_hash_same(s->slots[i], k))
		i = (i + 1) & (s->cap - 1);
	return &s->slots[i];
}

void key_set_add(struct key_set *s, struct key_hash k)
{
	if (s->n + s->n / 2 >= s->cap) {
		struct key_set more = {.cap = s->cap > 0 ? s->cap * 2 : SET_SLOTS_MIN, .n = s->n};
		more.slots = mem_zalloc(more.cap * sizeof *more.slots);
		for (size_t i = 0; i < s->cap; i++)
			if (!is_free(s->slots[i]))
				*set_slot(&more, s->slots[i]) = s->slots[i];
		free(s->slots);
		*s = more;
	}
	struct key_hash *slot = set_slot(s, k);
	if (is_free(*slot))
		s->n++;
	*slot = k;
}

bool key_set_has(const struct key_set *s, struct key_hash k) { return s->n > 0 && !is_free(*set_slot(s, k)); }

void key_set_clear(struct key_set *s)
{
	free(s->slots);
	*s = (struct key_set){0};
}

/* ---- counts ---- */

#define COUNT_SLOTS_MIN 16

static size_t count_home(const struct key_counts *c, uint64_t a) { return a & (c->cap - 1); }

/* Its slot, or the free one where it would be. */
static struct key_count *count_slot(const struct key_counts *c, uint64_t a, uint32_t b)
{
	size_t i = count_home(c, a);
	while (c->slots[i].n > 0 && (c->slots[i].a != a || c->slots[i].b != b))
		i = (i + 1) & (c->cap - 1);
	return &c->slots[i];
}

static void counts_grow(struct key_counts *c)
{
	struct key_counts more = *c;
	more.cap = c->cap > 0 ? c->cap * 2 : COUNT_SLOTS_MIN;
	more.slots = mem_zalloc(more.cap * sizeof *more.slots);
	for (size_t i = 0; i < c->cap; i++)
		if (c->slots[i].n > 0)
			*count_slot(&more, c->slots[i].a, c->slots[i].b) = c->slots[i];
	free(c->slots);
	*c = more;
}

uint32_t key_counts_add(struct key_counts *c, struct key_hash k)
{
	if (c->n + c->n / 4 >= c->cap)
		counts_grow(c);
	struct key_count *slot = count_slot(c, k.a, (uint32_t)k.b);
	if (slot->n == 0) {
		*slot = (struct key_count){k.a, (uint32_t)k.b, 0};
		c->n++;
	}
	return ++slot->n;
}

/* Closes the gap: entries that hash there move up. */
static void counts_remove(struct key_counts *c, struct key_count *slot)
{
	size_t gap = (size_t)(slot - c->slots), i = gap;
	c->n--;
	for (;;) {
		i = (i + 1) & (c->cap - 1);
		if (c->slots[i].n == 0)
			break;
		size_t home = count_home(c, c->slots[i].a);
		if (((i - home) & (c->cap - 1)) < ((i - gap) & (c->cap - 1)))
			continue;
		c->slots[gap] = c->slots[i];
		gap = i;
	}
	c->slots[gap].n = 0;
}

uint32_t key_counts_take(struct key_counts *c, struct key_hash k)
{
	struct key_count *slot = c->n > 0 ? count_slot(c, k.a, (uint32_t)k.b) : NULL;
	if (slot == NULL || slot->n == 0)
		return 0;
	uint32_t was = slot->n--;
	if (was == 1)
		counts_remove(c, slot);
	return was;
}

uint32_t key_counts_of(const struct key_counts *c, struct key_hash k)
{
	return c->n > 0 ? count_slot(c, k.a, (uint32_t)k.b)->n : 0;
}

void key_counts_clear(struct key_counts *c)
{
	free(c->slots);
	*c = (struct key_counts){0};
}

/* ---- keys in lines ---- */

#define LINE_BEGINS "{\"key\":\""
/* A value is a text or null: `:{` comes behind no column's name. And a quote inside a text has a backslash before it. */
#define HEADERS_BEGIN ",\"headers\":{"

static const char *find(const char *p, const char *end, const char *what)
{
	return memmem(p, (size_t)(end - p), what, strlen(what));
}

bool key_line_read(const char *line, size_t len, size_t split, struct key_line *out)
{
	const size_t begins = sizeof LINE_BEGINS - 1;
	const char *end = line + len, *p = line + begins;
	if (len < begins || memcmp(line, LINE_BEGINS, begins) != 0)
		return false;
	while (p < end && *p != '"')
		p += *p == '\\' ? 2 : 1;
	if (p >= end)
		return false;
	out->key_at = begins;
	out->key_end = (size_t)(p - line);
	const char *headers = split > 0 ? line + split : find(p, end, HEADERS_BEGIN);
	const char *operation = headers != NULL ? find(headers, end, "\"operation\":\"") : NULL;
	if (operation == NULL || end - operation < 15)
		return false;
	out->operation = operation[13];
	out->partner = find(operation, end, ",\"key_change_to\":") != NULL ? 1 : find(operation, end, ",\"key_change_from\":") != NULL ? -1 : 0;
	const char *number = p;
	while (number > line + begins && number[-1] >= '0' && number[-1] <= '9')
		number--;
	out->key_len = (size_t)((number < p ? number - 1 : p) - (line + begins));
	return true;
}

/* ---- net effects ---- */

static int compare(uint64_t x, uint64_t y) { return x < y ? -1 : x > y; }

static int by_key_and_row(const void *a, const void *b)
{
	const struct key_half *x = a, *y = b;
	int c;
	if ((c = compare(x->key.a, y->key.a)) != 0 || (c = compare(x->key.b, y->key.b)) != 0 ||
	    (c = compare(x->row.a, y->row.a)) != 0 || (c = compare(x->row.b, y->row.b)) != 0)
		return c;
	return compare(x->op, y->op);
}

static int by_op(const void *a, const void *b)
{
	return compare(((const struct key_net *)a)->op, ((const struct key_net *)b)->op);
}

/* Halves with one row under one key, to add to what the key comes to. false: it comes to too much. */
static bool net_row(const struct key_half *h, size_t n, struct key_net *net)
{
	long sum = 0;
	const void *added = NULL, *removed = NULL;
	for (size_t i = 0; i < n; i++) {
		sum += h[i].added ? 1 : -1;
		*(h[i].added ? &added : &removed) = h[i].of;
		net->op = h[i].op > net->op ? h[i].op : net->op;
	}
	if (sum == 0)
		return true;
	const void **to = sum > 0 ? &net->added : &net->removed;
	if (sum < -1 || sum > 1 || *to != NULL)
		return false;
	*to = sum > 0 ? added : removed;
	return true;
}

long key_nets(struct key_half *halves, size_t n, struct key_net *out)
{
	long made = 0;
	if (n > 0)
		qsort(halves, n, sizeof *halves, by_key_and_row);
	for (size_t i = 0; i < n;) {
		struct key_hash key = halves[i].key;
		struct key_net net = {0};
		while (i < n && key_hash_same(halves[i].key, key)) {
			size_t from = i;
			while (i < n && key_hash_same(halves[i].key, key) && key_hash_same(halves[i].row, halves[from].row))
				i++;
			if (!net_row(halves + from, i - from, &net))
				return -1;
		}
		if (net.added != NULL || net.removed != NULL)
			out[made++] = net;
	}
	if (made > 0)
		qsort(out, (size_t)made, sizeof *out, by_op);
	return made;
}

/* ---- what all of them may take ---- */

int key_counts_charge(struct key_counts *c, _Atomic size_t *all, const struct pg_table *t, struct err *e)
{
	if (c->n >= c->charged + CHARGE_STEP || c->n + CHARGE_STEP <= c->charged) {
		atomic_fetch_add(all, c->n - c->charged); /* it may be less: it wraps, and so does the sum */
		c->charged = c->n;
	}
	if (c->n <= SHAPE_KEYS_MAX && atomic_load(all) <= KEYS_MAX)
		return 0;
	return err_set(e, ERR_LIMIT, "Table \"%s\".\"%s\" has no key, and %s different rows to tell apart: add a primary key, or a unique "
	               "index of columns that are NOT NULL", t->schema, t->name,
	               c->n > SHAPE_KEYS_MAX ? "more than 8000000" : "with others more than 24000000");
}

void key_counts_release(struct key_counts *c, _Atomic size_t *all)
{
	atomic_fetch_sub(all, c->charged);
	key_counts_clear(c);
}
