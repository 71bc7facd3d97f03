/*
 * filter_place.c - where a condition is placed: its tests (filter_ask.c) lead down the indexes of the filter's nodes, and
 * back out when its member leaves.
 *
 * A member matches if all conjuncts are true, whatever their order. The order matters for reported failures: expressions
 * that can fail are evaluated after all that can't, in the order in which they were written, so that few failures are
 * reported for rows that another conjunct excludes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/routing/filter_ask.h"

/* Where conditions may end: a node, or an entry that has no node yet. */
struct target { struct filter_node *node; struct filter_entry *entry; };

/* ---- places ----------------------------------------------------------------------------------------- */

/* A place is the address of an entry, or that of a leaf plus one. One place is kept in the member itself; there is
 * room for twice as many until all are found (filter_add_node()). */
static void remember(struct filter_member *m, void *place, bool leaf)
{
	uintptr_t tagged = (uintptr_t)place | leaf;
	if (m->nentries == 0) {
		m->entries = (void *)tagged;
	} else {
		uintptr_t *all = m->entries;
		if (m->nentries == 1) {
			all = mem_alloc(2 * sizeof *all);
			all[0] = (uintptr_t)m->entries;
		} else if ((m->nentries & (m->nentries - 1)) == 0) {
			all = mem_realloc(all, m->nentries * 2 * sizeof *all);
		}
		all[m->nentries] = tagged;
		m->entries = all;
	}
	m->nentries++;
}

static struct filter_node *target_node(struct target *at)
{
	if (at->node == NULL)
		at->node = at->entry->node;
	if (at->node == NULL) {
		at->node = at->entry->node = mem_zalloc(sizeof *at->node);
		at->node->parent = at->entry;
	}
	return at->node;
}

/* The condition ends here, but for the residual (its reference is taken). */
static void end_here(struct placing *a, struct target at, uint32_t residual)
{
	if (at.entry != NULL && at.entry->member == NULL) {
		at.entry->member = a->m;
		at.entry->residual = residual;
		remember(a->m, at.entry, false);
		return;
	}
	struct filter_node *node = at.entry && at.entry->member == a->m && at.entry->residual == residual ? NULL : target_node(&at);
	if (node == NULL || (node->leaves != NULL && node->leaves->member == a->m && node->leaves->residual == residual)) {
		where_pool_unref(a->f->pool, residual); /* twice the same value in a list */
		return;
	}
	struct filter_leaf *l = mem_alloc(sizeof *l);
	*l = (struct filter_leaf){.next = node->leaves, .link = &node->leaves, .node = node, .member = a->m, .residual = residual};
	if (l->next != NULL)
		l->next->link = &l->next;
	node->leaves = l;
	remember(a->m, l, true);
}

/* What can't fail goes first. */
static uint32_t residual_of(struct placing *a, struct ask *const *asks, uint32_t n)
{
	uint32_t *ids = arena_alloc(&a->f->scratch, (n + 1) * sizeof *ids), count = 0;
	for (int safe = 1; safe >= 0; safe--)
		for (uint32_t i = 0; i < n; i++)
			if (asks[i]->safe == safe && (count == 0 || ids[count - 1] != asks[i]->test)) /* parts of one test follow */
				ids[count++] = asks[i]->test;
	if (count == 0)
		return 0;
	if (count > 1)
		return where_pool_make(a->f->pool, WHERE_AND, ids, count);
	where_pool_ref(a->f->pool, ids[0]);
	return ids[0];
}

static void place(struct placing *a, struct target at, struct ask *const *asks, uint32_t n, uint32_t budget, int level);

/* Goes on below an entry with what isn't done. */
static void descend(struct placing *a, struct filter_entry *e, struct ask *const *asks, uint32_t n, uint32_t budget, int level)
{
	place(a, (struct target){e->node, e}, asks, n, budget, level + 1);
}

/* Those of `asks` that aren't among `gone`. */
static struct ask **without(struct placing *a, struct ask *const *asks, uint32_t *n, struct ask *const *gone, uint32_t ngone)
{
	struct ask **rest = arena_alloc(&a->f->scratch, (*n + 1) * sizeof *rest);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < ngone; i++)
		gone[i]->done = true;
	for (uint32_t i = 0; i < *n; i++)
		if (!asks[i]->done)
			rest[kept++] = asks[i];
	for (uint32_t i = 0; i < ngone; i++)
		gone[i]->done = false;
	*n = kept;
	return rest;
}

/* ---- equality --------------------------------------------------------------------------------------- */

static int part_order(const void *x, const void *y)
{
	const struct filter_part *a = &(*(struct ask *const *)x)->part, *b = &(*(struct ask *const *)y)->part;
	if (a->expr != b->expr)
		return a->expr < b->expr ? -1 : 1;
	return ((uintptr_t)a->type > (uintptr_t)b->type) - ((uintptr_t)a->type < (uintptr_t)b->type);
}

/* Which equalities become one key: the ones with the fewest values, while their combinations are affordable; of
 * an expression that is asked twice, one. */
static uint32_t choose_equal(struct ask *const *asks, uint32_t n, uint32_t budget, struct ask **out, uint32_t *product)
{
	uint32_t count = 0;
	*product = 1;
	while (count < FILTER_PARTS_MAX) {
		struct ask *best = NULL;
		for (uint32_t i = 0; i < n; i++) {
			bool taken = asks[i]->kind != ASK_EQ || !asks[i]->safe;
			for (uint32_t j = 0; j < count && !taken; j++)
				taken = part_order(&out[j], &asks[i]) == 0;
			if (!taken && (best == NULL || asks[i]->nvalues < best->nvalues))
				best = asks[i];
		}
		if (best == NULL || (uint64_t)best->nvalues * *product > budget)
			break;
		*product *= best->nvalues;
		out[count++] = best;
	}
	qsort(out, count, sizeof *out, part_order);
	return count;
}

/* One entry for each combination. */
static void place_equal(struct placing *a, struct target at, struct ask *const *keys, uint32_t nkeys, uint32_t product,
                        struct ask *const *asks, uint32_t n, uint32_t budget, int level)
{
	struct filter_part parts[FILTER_PARTS_MAX];
	struct where_value tuple[FILTER_PARTS_MAX];
	struct ask **rest = without(a, asks, &n, keys, nkeys);
	for (uint32_t i = 0; i < nkeys; i++)
		parts[i] = keys[i]->part;
	for (uint32_t c = 0; c < product; c++) { /* the index may go when a combination leads to nothing */
		uint32_t left = c;
		for (uint32_t i = 0; i < nkeys; i++) {
			tuple[i] = keys[i]->values[left % keys[i]->nvalues];
			left /= keys[i]->nvalues;
		}
		struct filter_index *x = filter_index_get(a->f, target_node(&at), INDEX_EQ, parts, nkeys);
		descend(a, filter_entry_get(a->f, x, tuple), rest, n, budget / product, level);
	}
}

/* ---- the others ------------------------------------------------------------------------------------- */

static void place_values(struct placing *a, struct target at, struct ask *k, struct ask *const *asks, uint32_t n,
                         uint32_t budget, int level)
{
	enum index_kind kind = k->kind == ASK_HAS ? INDEX_HAS : k->kind == ASK_PREFIX ? INDEX_PREFIX : INDEX_EQ;
	struct ask **rest = without(a, asks, &n, &k, 1);
	for (uint32_t i = 0; i < k->nvalues; i++) {
		struct filter_index *x = filter_index_get(a->f, target_node(&at), kind, &k->part, 1);
		descend(a, filter_entry_get(a->f, x, &k->values[i]), rest, n, budget / k->nvalues, level);
	}
}

/* The narrower of two ranges over the same type. */
static void narrow(const struct where_type *t, struct filter_range *r, const struct filter_range *by)
{
	if (by->flags & RANGE_FROM) {
		int c = r->flags & RANGE_FROM ? where_cmp(t, &by->from, &r->from) : 1;
		if (c > 0 || (c == 0 && !(by->flags & RANGE_FROM_INCLUSIVE))) {
			r->from = by->from;
			r->flags = (uint8_t)((r->flags & ~(RANGE_FROM | RANGE_FROM_INCLUSIVE)) |
			                     (by->flags & (RANGE_FROM | RANGE_FROM_INCLUSIVE)));
		}
	}
	if (by->flags & RANGE_TO) {
		int c = r->flags & RANGE_TO ? where_cmp(t, &by->to, &r->to) : -1;
		if (c < 0 || (c == 0 && !(by->flags & RANGE_TO_INCLUSIVE))) {
			r->to = by->to;
			r->flags =
				(uint8_t)((r->flags & ~(RANGE_TO | RANGE_TO_INCLUSIVE)) | (by->flags & (RANGE_TO | RANGE_TO_INCLUSIVE)));
		}
	}
}

static bool is_empty(const struct where_type *t, const struct filter_range *r)
{
	if (!(r->flags & RANGE_FROM) || !(r->flags & RANGE_TO))
		return false;
	int c = where_cmp(t, &r->from, &r->to);
	return c > 0 || (c == 0 && (r->flags & (RANGE_FROM_INCLUSIVE | RANGE_TO_INCLUSIVE)) !=
	                           (RANGE_FROM_INCLUSIVE | RANGE_TO_INCLUSIVE));
}

/* All that is asked of the order of one expression. */
static struct filter_range whole_range(struct ask *k, struct ask *const *asks, uint32_t n, struct ask **same, uint32_t *nsame)
{
	struct filter_range r = k->range;
	for (uint32_t i = 0; i < n; i++)
		if (asks[i]->kind == ASK_RANGE && part_order(&asks[i], &k) == 0) {
			same[(*nsame)++] = asks[i];
			narrow(k->part.type, &r, &asks[i]->range);
		}
	return r;
}

/* Nothing can be all that. Looked for before anything is placed: no entry is made that leads nowhere. */
static bool contradicts(struct placing *a, struct ask *const *asks, uint32_t n)
{
	struct ask **same = arena_alloc(&a->f->scratch, (n + 1) * sizeof *same);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t nsame = 0;
		if (asks[i]->kind == ASK_NEVER || ((asks[i]->kind == ASK_EQ || asks[i]->kind == ASK_HAS) && asks[i]->nvalues == 0))
			return true;
		if (asks[i]->kind != ASK_RANGE)
			continue;
		struct filter_range r = whole_range(asks[i], asks, n, same, &nsame);
		if (is_empty(asks[i]->part.type, &r))
			return true;
		if (nsame == n)
			break;
	}
	return false;
}

/* One entry for all that is asked of the order of this expression. */
static void place_range(struct placing *a, struct target at, struct ask *k, struct ask *const *asks, uint32_t n,
                        uint32_t budget, int level)
{
	struct ask **same = arena_alloc(&a->f->scratch, n * sizeof *same);
	uint32_t nsame = 0;
	struct filter_range r = whole_range(k, asks, n, same, &nsame);
	struct ask **rest = without(a, asks, &n, same, nsame);
	struct filter_index *x = filter_index_get(a->f, target_node(&at), INDEX_RANGE, &k->part, 1);
	descend(a, filter_span_get(a->f, x, &r), rest, n, budget, level);
}

/* Each branch with what else is asked. */
static void place_or(struct placing *a, struct target at, struct ask *k, struct ask *const *asks, uint32_t n, uint32_t budget,
                     int level)
{
	struct ask **rest = without(a, asks, &n, &k, 1);
	for (uint32_t i = 0; i < k->nvalues; i++) {
		struct ask **all = arena_alloc(&a->f->scratch, (n + k->branches[i].n + 1) * sizeof *all);
		uint32_t count = 0;
		for (struct ask *b = k->branches[i].first; b != NULL; b = b->next)
			all[count++] = b;
		memcpy(all + count, rest, n * sizeof(struct ask *));
		place(a, at, all, count + n, budget / k->nvalues, level);
	}
}

/* Of the safe ones of this kind that are affordable, the one with the fewest values. */
static struct ask *pick(struct ask *const *asks, uint32_t n, enum ask_kind kind, uint32_t budget)
{
	struct ask *best = NULL;
	for (uint32_t i = 0; i < n; i++)
		if (asks[i]->kind == kind && asks[i]->safe && asks[i]->nvalues <= budget &&
		    (best == NULL || asks[i]->nvalues < best->nvalues))
			best = asks[i];
	return best;
}

static void place_one(struct placing *a, struct target at, struct ask *k, struct ask *const *asks, uint32_t n, uint32_t budget,
                      int level)
{
	if (k->kind == ASK_RANGE)
		place_range(a, at, k, asks, n, budget, level);
	else
		place_values(a, at, k, asks, n, budget, level);
}

static void place(struct placing *a, struct target at, struct ask *const *asks, uint32_t n, uint32_t budget, int level)
{
	struct ask *keys[FILTER_PARTS_MAX], *k;
	uint32_t product;
	if (level == 0 && contradicts(a, asks, n))
		return;
	if (at.entry != NULL && at.entry->member == NULL && at.entry->node == NULL) {
		/* Alone below a key, as the members of 100,000 keys are: an index of one isn't worth its memory. */
		end_here(a, at, residual_of(a, asks, n));
		return;
	}
	if (level < FILTER_LEVELS_MAX && (k = pick(asks, n, ASK_OR, budget)) != NULL) {
		place_or(a, at, k, asks, n, budget, level);
		return;
	}
	uint32_t nkeys = level < FILTER_LEVELS_MAX ? choose_equal(asks, n, budget, keys, &product) : 0;
	if (nkeys > 0) {
		place_equal(a, at, keys, nkeys, product, asks, n, budget, level);
		return;
	}
	static const enum ask_kind kinds[] = {ASK_HAS, ASK_PREFIX, ASK_RANGE};
	for (size_t i = 0; level < FILTER_LEVELS_MAX && i < ARRAY_LEN(kinds); i++)
		if ((k = pick(asks, n, kinds[i], budget)) != NULL) {
			place_one(a, at, k, asks, n, budget, level);
			return;
		}
	/* Nothing is left but what may fail, or isn't indexable: in the order written. */
	k = n > 0 && level < FILTER_LEVELS_MAX ? asks[0] : NULL;
	if (k != NULL && k->kind != ASK_TEST && k->kind != ASK_OR && !k->safe && k->nvalues <= budget)
		place_one(a, at, k, asks, n, budget, level);
	else
		end_here(a, at, residual_of(a, asks, n));
}

/* ---- in and out ------------------------------------------------------------------------------------- */

static int filter_add_node(struct filter *f, struct filter_member *m, const struct where_node *n, char reason[WHERE_REASON_MAX])
{
	struct placing a = {.f = f, .m = m};
	struct asks found = {NULL, NULL, 0};
	uint32_t root, count = 0;
	if (where_pool_add(f->pool, n, &root, reason) != 0)
		return -1;
	m->entries = NULL;
	m->nentries = 0;
	m->seen = 0;
	filter_ask(&a, root, &found);
	struct ask **asks = arena_alloc(&f->scratch, (found.n + 1) * sizeof *asks);
	for (struct ask *k = found.first; k != NULL; k = k->next)
		asks[count++] = k;
	place(&a, (struct target){&f->root, NULL}, asks, count, FILTER_ENTRIES_MAX, 0);
	if (m->nentries > 1) /* that was all: members are many and stay */
		m->entries = mem_realloc(m->entries, m->nentries * sizeof(uintptr_t));
	for (struct made *made = a.made; made != NULL; made = made->next)
		where_pool_unref(f->pool, made->id);
	where_pool_unref(f->pool, root);
	arena_reset(&f->scratch);
	f->members++;
	return 0;
}

int filter_add(struct filter *f, struct filter_member *m, const struct where *w, char reason[WHERE_REASON_MAX])
{
	return filter_add_node(f, m, where_root(w), reason);
}

static void tidy_entry(struct filter *f, struct filter_entry *e);

static void tidy_node(struct filter *f, struct filter_node *node)
{
	struct filter_entry *e = node->parent;
	if (e == NULL || node->leaves != NULL || node->indexes != NULL)
		return;
	e->node = NULL;
	free(node);
	tidy_entry(f, e);
}

/* What leads to nothing goes, up to the root. */
static void tidy_entry(struct filter *f, struct filter_entry *e)
{
	struct filter_node *node = e->index->node;
	if (e->member == NULL && e->node == NULL && filter_entry_drop(f, e))
		tidy_node(f, node);
}

static void leave(struct filter *f, uintptr_t place)
{
	if ((place & 1) == 0) {
		struct filter_entry *e = (struct filter_entry *)place;
		REQUIRE(e->member != NULL);
		where_pool_unref(f->pool, e->residual);
		e->residual = 0;
		e->member = NULL;
		tidy_entry(f, e);
		return;
	}
	struct filter_leaf *l = (struct filter_leaf *)(place - 1);
	struct filter_node *node = l->node;
	REQUIRE(*l->link == l);
	*l->link = l->next;
	if (l->next != NULL)
		l->next->link = l->link;
	where_pool_unref(f->pool, l->residual);
	free(l);
	tidy_node(f, node);
}

void filter_remove(struct filter *f, struct filter_member *m)
{
	REQUIRE(f->members > 0);
	if (m->nentries == 1) {
		leave(f, (uintptr_t)m->entries);
	} else if (m->nentries > 1) {
		uintptr_t *places = m->entries;
		for (uint32_t i = 0; i < m->nentries; i++)
			leave(f, places[i]);
		free(places);
	}
	m->entries = NULL;
	m->nentries = 0;
	f->members--;
}
