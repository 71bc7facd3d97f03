/*
 * filter.c - a filter's life, and looking up a row: down the indexes first, then the residuals of those
 * conditions that the row got through to.
 */
#include "shapes/routing/filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/routing/filter_private.h"
#include "where/catalog.h"

/* An index over an expression that failed: one of its members stands for all. Such candidates have this bit. */
#define FAILED_INDEX 0x80000000u
#define FAILED_RESIDUAL 0x40000000u /* likewise, of one by himself */
#define EXPR_OF(c) ((c)->expr & ~(FAILED_INDEX | FAILED_RESIDUAL))
_Static_assert(POOL_NODES_MAX <= FAILED_RESIDUAL, "a node's id leaves these bits alone");

/* Of a row's work, what one expression may have once another was too costly: a fourth each time, and no less than this
 * part. */
#define SHARE_SHRINKS 4
#define SHARE_LEAST 1024

struct filter *filter_new(struct pg_table *table)
{
	struct filter *f = mem_zalloc(sizeof *f);
	f->table = table ? pg_table_ref(table) : NULL;
	f->pool = where_pool_new(table);
	return f;
}

void filter_free(struct filter *f)
{
	if (f == NULL)
		return;
	filter_node_clear(f, &f->root);
	map_clear(&f->indexes);
	where_pool_free(f->pool);
	arena_clear(&f->scratch);
	free(f->candidates);
	if (f->table)
		pg_table_unref(f->table);
	free(f);
}

struct where_pool *filter_pool(const struct filter *f) { return f->pool; }

size_t filter_members(const struct filter *f)
{
	return f->members;
}

size_t filter_tested(const struct filter *f) { return f->ncandidates; }

/* ---- what a row costs ------------------------------------------------------------------------------- */

void filter_limit(struct filter *f, uint64_t work, void (*costly)(void *ctx, void *member))
{
	f->work_max = work;
	f->costly = costly;
}

/* The list has the dearest first. */
static void note_spender(struct filter *f, const struct filter_index *x, uint32_t expr, uint64_t steps)
{
	size_t i = FILTER_SPENDERS;
	if (steps <= f->spenders[i - 1].steps)
		return;
	for (i--; i > 0 && f->spenders[i - 1].steps < steps; i--)
		f->spenders[i] = f->spenders[i - 1];
	f->spenders[i] = (struct filter_spender){x, expr, steps};
}

static void tell_costly(void *ctx, struct filter_member *m)
{
	struct filter *f = ctx;
	m->seen = f->row;
	f->costly(f->ctx, m->member);
}

/* Those who had this evaluated are out, and what it cost is there for others. */
static void dismiss(struct filter *f, const struct filter_spender *who)
{
	if (who->index != NULL)
		filter_index_each(who->index, tell_costly, f);
	for (size_t i = 0; who->index == NULL && i < f->ncandidates; i++)
		if (EXPR_OF(&f->candidates[i]) == who->expr && !(f->candidates[i].expr & FAILED_INDEX))
			tell_costly(f, f->candidates[i].member);
	where_pool_refund(f->pool, who->steps);
	/* However many of them there are, all their attempts together cost less than twice the row's work. */
	f->share_max = f->share_max / SHARE_SHRINKS > f->work_max / SHARE_LEAST ? f->share_max / SHARE_SHRINKS : f->work_max / SHARE_LEAST;
}

/* The value of an expression, within what is left for the row. NULL: it is too costly, and its members were told so. */
static const struct where_value *evaluate(struct filter *f, const struct filter_index *x, uint32_t expr)
{
	if (f->work_max == 0)
		return where_pool_eval(f->pool, expr);
	for (;;) {
		uint64_t before = where_pool_work(f->pool), share = before + f->share_max;
		where_pool_budget(f->pool, share < f->work_max ? share : f->work_max);
		const struct where_value *v = where_pool_eval(f->pool, expr);
		struct filter_spender here = {x, expr, where_pool_work(f->pool) - before}, most = f->spenders[0];
		if (!where_pool_too_costly(f->pool)) {
			note_spender(f, x, expr, here.steps);
			return v;
		}
		if (here.steps > f->share_max || here.steps >= most.steps) {
			dismiss(f, &here);
			return NULL;
		}
		memmove(f->spenders, f->spenders + 1, (FILTER_SPENDERS - 1) * sizeof *f->spenders);
		f->spenders[FILTER_SPENDERS - 1] = (struct filter_spender){NULL, 0, 0};
		dismiss(f, &most);
		where_pool_refund(f->pool, here.steps); /* it is tried again */
	}
}

/* ---- a row ------------------------------------------------------------------------------------------ */

static void candidate(struct filter *f, struct filter_member *m, uint32_t expr)
{
	if (f->ncandidates == f->candidates_cap) {
		f->candidates_cap = f->candidates_cap ? f->candidates_cap * 2 : 64;
		f->candidates = mem_realloc(f->candidates, f->candidates_cap * sizeof *f->candidates);
	}
	f->candidates[f->ncandidates++] = (struct filter_candidate){m, expr};
}

static void reached(struct filter *f, struct filter_member *m, uint32_t residual)
{
	if (residual != 0) {
		candidate(f, m, residual);
	} else if (m->seen != f->row) {
		m->seen = f->row;
		f->found(f->ctx, m->member);
	}
}

static void walk(struct filter *f, const struct filter_node *node);

static void enter(struct filter *f, const struct filter_entry *e)
{
	if (e->member != NULL)
		reached(f, e->member, e->residual);
	if (e->node != NULL)
		walk(f, e->node);
}

/* NULL: nothing below is true for the row. */
static const struct where_value *part_value(struct filter *f, const struct filter_index *x, uint32_t i)
{
	const struct where_value *v = evaluate(f, x, (uint32_t)x->parts[i].expr);
	if (v == NULL)
		return NULL;
	if (v->is == WHERE_ERROR) {
		struct filter_member *m = filter_index_any(x);
		if (m != NULL)
			candidate(f, m, (uint32_t)x->parts[i].expr | FAILED_INDEX);
	}
	return v->is == WHERE_VALUE ? v : NULL;
}

static void walk_equal(struct filter *f, const struct filter_index *x)
{
	struct where_value keys[FILTER_PARTS_MAX];
	for (uint32_t i = 0; i < x->nparts; i++) {
		const struct where_value *v = part_value(f, x, i);
		if (v == NULL)
			return;
		keys[i] = *v;
	}
	const struct filter_entry *e = filter_entry_find(x, keys);
	if (e != NULL)
		enter(f, e);
}

static void walk_has(struct filter *f, const struct filter_index *x)
{
	const struct where_value *v = part_value(f, x, 0);
	const struct where_array *a = v ? v->u.array : NULL;
	for (uint32_t i = 0; a != NULL && i < a->n; i++) {
		if (a->values[i].is != WHERE_VALUE)
			continue;
		const struct filter_entry *e = filter_entry_find(x, &a->values[i]);
		if (e != NULL)
			enter(f, e);
	}
}

static void walk_prefix(struct filter *f, const struct filter_index *x)
{
	const struct where_value *v = part_value(f, x, 0);
	if (v == NULL)
		return;
	const char *p = v->u.p;
	uint32_t len = v->len;
	for (uint32_t i = 0; i < x->nlengths; i++) {
		if (x->lengths[i].len > len)
			continue;
		const struct filter_entry *e = filter_prefix_find(x, p, x->lengths[i].len);
		if (e != NULL)
			enter(f, e);
	}
}

/* All spans around the value: subtrees that end before it, or begin after it, are left out. */
static void walk_spans(struct filter *f, const struct filter_index *x, const struct filter_span *s, const struct where_value *v)
{
	while (s != NULL && !filter_span_beyond(x, s->last, v)) {
		walk_spans(f, x, s->left, v);
		int side = filter_span_side(x, s, v);
		if (side < 0)
			return;
		if (side == 0)
			enter(f, &s->entry);
		s = s->right;
	}
}

static void walk(struct filter *f, const struct filter_node *node)
{
	for (const struct filter_leaf *l = node->leaves; l != NULL; l = l->next)
		reached(f, l->member, l->residual);
	for (const struct filter_index *x = node->indexes; x != NULL; x = x->next)
		switch ((enum index_kind)x->kind) {
		case INDEX_EQ:
			walk_equal(f, x);
			break;
		case INDEX_HAS:
			walk_has(f, x);
			break;
		case INDEX_PREFIX:
			walk_prefix(f, x);
			break;
		case INDEX_RANGE: {
			const struct where_value *v = part_value(f, x, 0);
			struct where_value key = v ? *v : where_null();
			if (v != NULL)
				walk_spans(f, x, x->root, &key);
			break;
		}
		}
}

/* Marks the failed ones. */
static void test_candidates(struct filter *f)
{
	for (size_t i = 0; i < f->ncandidates; i++) {
		struct filter_candidate c = f->candidates[i];
		if ((c.expr & FAILED_INDEX) || c.member->seen == f->row)
			continue;
		const struct where_value *v = evaluate(f, NULL, c.expr);
		if (v == NULL)
			continue;
		if (v->is == WHERE_VALUE && v->u.i != 0)
			reached(f, c.member, 0);
		else if (v->is == WHERE_ERROR)
			f->candidates[i].expr |= FAILED_RESIDUAL;
		where_pool_trim(f->pool); /* no value of the pool is held here */
	}
}

void filter_row(struct filter *f, where_fetch *fetch, void *fetch_ctx, void (*found)(void *ctx, void *member),
                void (*failed)(void *ctx, void *member, int column, const char *reason), void *ctx)
{
	f->row++;
	REQUIRE(f->work_max == 0 || f->costly != NULL);
	f->found = found;
	f->ctx = ctx;
	f->ncandidates = 0;
	f->share_max = f->work_max;
	memset(f->spenders, 0, sizeof f->spenders);
	where_pool_row(f->pool, fetch, fetch_ctx);
	walk(f, &f->root);
	test_candidates(f);
	where_pool_budget(f->pool, 0); /* what comes was computed once */
	for (size_t i = 0; i < f->ncandidates; i++) {
		struct filter_candidate c = f->candidates[i];
		if (c.expr == EXPR_OF(&c) || c.member->seen == f->row) /* found by another way, or told already */
			continue;
		const struct where_value *v = where_pool_eval(f->pool, EXPR_OF(&c));
		if (v->is != WHERE_ERROR)
			continue;
		c.member->seen = f->row;
		failed(ctx, c.member->member, where_pool_column(f->pool), where_pool_reason(f->pool));
	}
}

/* ---- explain ---------------------------------------------------------------------------------------- */

static void put_expr(const struct filter *f, uint32_t id, struct buf *out)
{
	struct where_pool_node n;
	where_pool_look(f->pool, id, &n);
	if (n.kind == WHERE_COLUMN) {
		if (f->table != NULL && n.column < f->table->ncolumns)
			buf_puts(out, f->table->columns[n.column].name);
		else
			buf_printf(out, "$%u", n.column);
		return;
	}
	if (n.kind == WHERE_CONST) {
		buf_puts(out, "const");
		return;
	}
	if (n.oper != NULL && n.nargs == 2) {
		put_expr(f, n.args[0], out);
		buf_printf(out, " %s ", n.oper->name);
		put_expr(f, n.args[1], out);
		return;
	}
	if (n.kind == WHERE_IS_NULL)
		buf_puts(out, "null");
	else
		buf_puts(out, n.proc ? n.proc->name : "expression");
	buf_putc(out, '(');
	for (uint32_t i = 0; i < n.nargs; i++) {
		if (i > 0)
			buf_puts(out, ", ");
		if (n.args[i] != 0)
			put_expr(f, n.args[i], out);
	}
	buf_putc(out, ')');
}

static void put_index(const struct filter *f, const struct filter_index *x, struct buf *out)
{
	static const char *const names[] = {"eq", "has", "prefix", "range"};
	buf_printf(out, "%s(", names[x->kind]);
	for (uint32_t i = 0; i < x->nparts; i++) {
		if (i > 0)
			buf_puts(out, ", ");
		put_expr(f, (uint32_t)x->parts[i].expr, out);
	}
	buf_putc(out, ')');
}

/* What is left where the condition ends; *e: the entry that leads there, NULL: none. */
static uint32_t residual_at(const struct filter_member *m, uint32_t place, const struct filter_entry **e)
{
	uintptr_t at = m->nentries == 1 ? (uintptr_t)m->entries : ((const uintptr_t *)m->entries)[place];
	const struct filter_leaf *l = at & 1 ? (const struct filter_leaf *)(at - 1) : NULL;
	*e = l ? l->node->parent : (const struct filter_entry *)at;
	return l ? l->residual : (*e)->residual;
}

enum filter_way filter_way(const struct filter_member *m)
{
	const struct filter_entry *e;
	if (m->nentries == 0 || residual_at(m, 0, &e) == 0) /* never true, or nothing left */
		return FILTER_INDEX;
	return e != NULL ? FILTER_INDEX_AND_REST : FILTER_REST;
}

uint32_t filter_rest(const struct filter_member *m, uint32_t place)
{
	const struct filter_entry *e;
	REQUIRE(place < m->nentries);
	return residual_at(m, place, &e);
}

void filter_explain_place(struct filter *f, const struct filter_member *m, uint32_t place, struct buf *out)
{
	const struct filter_entry *e;
	uint32_t residual = residual_at(m, place, &e);
	const struct filter_index *way[FILTER_LEVELS_MAX + 1];
	int n = 0;
	for (; e != NULL && n <= FILTER_LEVELS_MAX; e = e->index->node->parent)
		way[n++] = e->index;
	if (n == 0 && residual == 0)
		buf_puts(out, "all");
	for (int i = n - 1; i >= 0; i--) {
		put_index(f, way[i], out);
		if (i > 0)
			buf_puts(out, " > ");
	}
	if (residual != 0)
		buf_puts(out, n > 0 ? " > residual" : "residual");
}

void filter_explain(struct filter *f, const struct filter_member *m, struct buf *out)
{
	if (m->nentries == 0) {
		buf_puts(out, "never");
		return;
	}
	filter_explain_place(f, m, 0, out);
	if (m->nentries > 1)
		buf_printf(out, " (%u entries)", m->nentries);
}
