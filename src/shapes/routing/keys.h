/*
 * keys.h - what is remembered of keys: sets of them, how often each is there, and what a transaction comes to for
 * each. Plain data without I/O; the owner is one thread at a time.
 *
 * A key is known by a hash of 128 bits, or 96 of them, under a secret of the process: two keys with the same one
 * are taken for one, which neither chance nor a client's choice brings about.
 */
#ifndef BUSBAR_SHAPES_KEYS_H
#define BUSBAR_SHAPES_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "pg/table/table.h"

struct key_hash {
	uint64_t a, b;
};

/* Of one run of bytes, or of several put one after the other. */
struct key_hasher {
	uint64_t v[4];
	uint64_t rest; /* bytes that don't fill a word yet */
	size_t len;
};
void key_hash_begin(struct key_hasher *h);
void key_hash_put(struct key_hasher *h, const void *p, size_t n);
/* A value with its length or, for NULL, without: no two lists of values are the same bytes. */
void key_hash_put_value(struct key_hasher *h, const void *p, size_t n, bool null);
struct key_hash key_hash_end(struct key_hasher *h);
struct key_hash key_hash(const void *p, size_t n);

static inline bool key_hash_same(struct key_hash x, struct key_hash y) { return x.a == y.a && x.b == y.b; }

/* ---- sets ---- */

struct key_set {
	struct key_hash *slots; /* {0, 0}: free */
	size_t cap, n;
};

void key_set_add(struct key_set *s, struct key_hash k);
bool key_set_has(const struct key_set *s, struct key_hash k);
void key_set_clear(struct key_set *s);

/* ---- counts: how many rows have a key ---- */

struct key_count {
	uint64_t a;
	uint32_t b;
	uint32_t n; /* 0: free */
};

struct key_counts {
	struct key_count *slots;
	size_t cap, n;  /* n: keys */
	size_t charged; /* as the owner has counted them against a limit */
};

/* How many there are now. */
uint32_t key_counts_add(struct key_counts *c, struct key_hash k);
/* How many there were; 0: none, and nothing has changed. */
uint32_t key_counts_take(struct key_counts *c, struct key_hash k);
uint32_t key_counts_of(const struct key_counts *c, struct key_hash k);
void key_counts_clear(struct key_counts *c);

/* ---- keys in lines ----
 *
 * Where rows may be equal, the n-th of them has "/n" appended to its key, from the second on. No part of a key looks like
 * that: parts are quoted, or `_`.
 */

/* What a line, of a snapshot or a log, says of a key. Borrowed from the line. */
struct key_line {
	size_t key_at, key_len; /* as in the line, without its number */
	size_t key_end;         /* the quote after it */
	char operation;         /* 'i', 'u', 'd' */
	int partner;            /* 1: the other half of a changed key comes next, -1: it came before, 0: there is none */
};
/* `split`: where to look for its headers, 0 if that isn't known. false: the line has no key (a control message), or
 * isn't one of ours. */
bool key_line_read(const char *line, size_t len, size_t split, struct key_line *out);

/* ---- net effects ---- */

/* Half of a change: a row that came under a key, or went from under it. */
struct key_half {
	struct key_hash key, row; /* of the row's contents */
	uint64_t op;
	bool added;
	const void *of;           /* the caller's */
};

/* What halves come to for one key: what it lost, what it got; NULL: nothing. */
struct key_net {
	uint64_t op; /* of the last half that touched the key */
	const void *removed, *added;
};

/*
 * A row that came and went, whichever was first, counts for nothing. What is left becomes one key_net for each key,
 * ascending by op; their number, or -1 if more than one row came to a key or went: then the halves aren't all there
 * was. Sorts `halves`; `out` has room for n.
 */
long key_nets(struct key_half *halves, size_t n, struct key_net *out);

/* Keys counted for a shape of a table where rows may be equal, and for all such shapes: up to 40 bytes each. */
#define SHAPE_KEYS_MAX 8000000u
#define KEYS_MAX 24000000u
/* Any thread: counts `c` in `*all`, which is of all shapes, against these. -1: too many. */
int key_counts_charge(struct key_counts *c, _Atomic size_t *all, const struct pg_table *t, struct err *e) MUST_USE;
/* Takes it off again, and frees it. */
void key_counts_release(struct key_counts *c, _Atomic size_t *all);

#endif
