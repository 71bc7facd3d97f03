/*
 * filter_private.h - the inside of a filter: nodes, their indexes, the entries of those.
 *
 *   node ── leaf, leaf …            conditions that end here, maybe with a residual
 *     └── index (what is asked of which expressions) ── entry (one key) ── a leaf of its own, and a node
 *
 * filter_ask.c takes conditions apart, filter_place.c says where they go, filter_index.c keeps the indexes,
 * filter.c looks rows up.
 */
#ifndef BUSBAR_SHAPES_FILTER_PRIVATE_H
#define BUSBAR_SHAPES_FILTER_PRIVATE_H

#include "base/map.h"
#include "shapes/routing/filter.h"

#define FILTER_ENTRIES_MAX 1024 /* places of one member: an IN list longer than that is a residual */
#define FILTER_LEVELS_MAX 8     /* indexes above one another; what is asked beyond is a residual */
#define FILTER_PARTS_MAX 8      /* expressions compared at once */
#define FILTER_HAS_MAX 8        /* elements of one @> that are indexed */

enum index_kind { INDEX_EQ, INDEX_HAS, INDEX_PREFIX, INDEX_RANGE };

struct filter_entry;
struct filter_index;

struct filter_leaf {
	struct filter_leaf *next, **link;
	struct filter_node *node;
	struct filter_member *member;
	uint32_t residual; /* what is left to be evaluated, 0: nothing */
};

struct filter_node {
	struct filter_entry *parent; /* NULL: the root */
	struct filter_leaf *leaves;
	struct filter_index *indexes;
};

/* The first leaf that ends at an entry is in the entry: with 100,000 keys that is the only one. */
struct filter_entry {
	struct filter_index *index;
	struct filter_entry *next; /* in its bucket */
	struct filter_member *member;
	struct filter_node *node;
	uint32_t residual, hash;
	struct where_value keys[]; /* one per part; what they point to is behind them, or in an arena (deep) */
};

enum { RANGE_FROM = 1, RANGE_FROM_INCLUSIVE = 2, RANGE_TO = 4, RANGE_TO_INCLUSIVE = 8 };

struct filter_range { struct where_value from, to; uint8_t flags; };

/* In a treap by lower bound; `last` has the greatest upper bound of its subtree. */
struct filter_span {
	struct filter_span *left, *right, *last;
	uint32_t priority;
	uint8_t flags;
	struct filter_entry entry; /* keys: from, to */
};

struct filter_part { const struct where_type *type; uint64_t expr; };

struct filter_lengths { uint32_t len, n; }; /* prefixes of this length */

struct filter_index {
	struct filter_index *next, **link;
	uint32_t n; /* entries */
	uint32_t mask, nlengths;
	bool deep;  /* keys point to more than bytes */
	struct filter_entry **buckets;
	struct filter_span *root;
	struct filter_lengths *lengths;
	/* From here on it is the key under which the filter finds it. */
	struct filter_node *node;
	uint32_t kind, nparts;
	struct filter_part parts[];
};

struct filter_candidate { struct filter_member *member; uint32_t expr; };

#define FILTER_SPENDERS 8 /* how many of the most expensive are remembered */

/* What had an expression evaluated (an index, or a member that has it as its residual), and the cost. */
struct filter_spender { const struct filter_index *index; uint32_t expr; uint64_t steps; };

struct filter {
	struct where_pool *pool;
	struct pg_table *table;
	struct filter_node root;
	struct map indexes;
	struct arena scratch;
	size_t members;
	uint64_t row, random;
	/* of the row at hand */
	struct filter_candidate *candidates;
	size_t ncandidates, candidates_cap;
	void (*found)(void *ctx, void *member);
	void *ctx;
	/* what it may cost */
	uint64_t work_max, share_max; /* the row's; one expression's */
	void (*costly)(void *ctx, void *member);
	struct filter_spender spenders[FILTER_SPENDERS];
};

/* filter_index.c */
struct filter_index *filter_index_get(struct filter *f, struct filter_node *node, enum index_kind kind,
                                      const struct filter_part *parts, uint32_t nparts);
struct filter_entry *filter_entry_get(struct filter *f, struct filter_index *x, const struct where_value *keys);
struct filter_entry *filter_span_get(struct filter *f, struct filter_index *x, const struct filter_range *r);
struct filter_entry *filter_entry_find(const struct filter_index *x, const struct where_value *keys);
/* A prefix of `n` bytes. */
struct filter_entry *filter_prefix_find(const struct filter_index *x, const char *p, size_t n);
/* Takes it out of its index and frees it; an index without entries goes too, true then. */
bool filter_entry_drop(struct filter *f, struct filter_entry *e);
void filter_node_clear(struct filter *f, struct filter_node *node);
/* Some member below, NULL if there is none. */
struct filter_member *filter_index_any(const struct filter_index *x);
/* All below, each as often as it has places there. */
void filter_index_each(const struct filter_index *x, void (*each)(void *ctx, struct filter_member *m), void *ctx);
/* Negative if the value is beyond the lower bound's outside, positive if beyond the upper's, 0 inside. */
int filter_span_side(const struct filter_index *x, const struct filter_span *s, const struct where_value *v);
bool filter_span_beyond(const struct filter_index *x, const struct filter_span *s, const struct where_value *v);
static inline struct filter_span *filter_span_of(struct filter_entry *e) { return CONTAINER_OF(e, struct filter_span, entry); }

/* Of a type as far as keys go: domains are their base. */
static inline const struct where_type *filter_base(const struct where_type *t) { return t->base ? t->base : t; }

#endif
