/*
 * filter_ask.c - conditions taken apart: which conjuncts an index can answer, and what they ask.
 *
 * Works on the pool's nodes, where constants are folded and equal expressions have one id.
 */
#include <string.h>

#include "shapes/routing/filter_ask.h"
#include "where/catalog.h"
#include "where/collation.h"

/* ---- conjuncts -------------------------------------------------------------------------------------- */

static struct ask *ask_new(struct placing *a, struct asks *out, enum ask_kind kind, uint32_t test)
{
	struct where_pool_node n;
	where_pool_look(a->f->pool, test, &n);
	struct ask *k = arena_alloc(&a->f->scratch, sizeof *k);
	*k = (struct ask){.kind = (uint8_t)kind, .safe = n.safe, .test = test};
	if (out->first == NULL)
		out->first = k;
	else
		*out->last = k;
	out->last = &k->next;
	out->n++;
	return k;
}

static struct where_value *ask_value(struct placing *a, struct ask *k, const struct where_value *v)
{
	k->values = arena_dup(&a->f->scratch, v, sizeof *v);
	k->nvalues = 1;
	return k->values;
}

/* A bool expression is to be true or false. */
static void ask_bool(struct placing *a, uint32_t test, uint32_t expr, bool want, struct asks *out)
{
	struct where_value v = where_bool(want);
	struct ask *k = ask_new(a, out, ASK_EQ, test);
	k->part = (struct filter_part){where_type_builtin(OID_BOOL), expr};
	ask_value(a, k, &v);
}

static uint32_t make(struct placing *a, enum where_kind kind, uint32_t of)
{
	struct made *m = arena_alloc(&a->f->scratch, sizeof *m);
	*m = (struct made){a->made, where_pool_make(a->f->pool, kind, &of, 1)};
	a->made = m;
	return m->id;
}

/* ---- types ------------------------------------------------------------------------------------------ */

static bool is_int(const struct where_type *t) { return t->oid == OID_INT2 || t->oid == OID_INT4 || t->oid == OID_INT8; }
static bool is_float(const struct where_type *t) { return t->oid == OID_FLOAT4 || t->oid == OID_FLOAT8; }
static bool is_text(const struct where_type *t)
{
	return t->oid == OID_TEXT || t->oid == OID_VARCHAR || t->oid == OID_NAME;
}

/* The type as which values of both compare in our representation; NULL: they don't. */
static const struct where_type *key_type(const struct where_type *a, const struct where_type *b)
{
	if (a == NULL || b == NULL)
		return NULL;
	a = filter_base(a);
	b = filter_base(b);
	if (is_int(a) && is_int(b))
		return where_type_builtin(OID_INT8);
	if (is_float(a) && is_float(b))
		return where_type_builtin(OID_FLOAT8);
	if (is_text(a) && is_text(b))
		return where_type_builtin(OID_TEXT);
	return a == b ? a : NULL;
}

static bool is_collated(const struct where_type *t)
{
	while (where_type_is_array(t))
		t = filter_base(t->elem);
	return t->collatable;
}

static bool can_hash(const struct where_type *t, const struct where_collation *c)
{
	return t != NULL && where_hashable(t) && (!is_collated(t) || (c != NULL && c->deterministic));
}

/* jsonb is left out: the order of its strings is the database's collation's. */
static bool can_order(const struct where_type *t, const struct where_collation *c)
{
	return t != NULL && t->oid != OID_JSONB && where_comparable(t) &&
	       (!is_collated(t) || (c != NULL && c->deterministic && c->order == WHERE_ORDER_BYTES));
}

static const struct where_value *const_of(struct placing *a, uint32_t id)
{
	struct where_pool_node n;
	where_pool_look(a->f->pool, id, &n);
	return n.value;
}

/* ---- comparisons ------------------------------------------------------------------------------------ */

static void ask_test(struct placing *a, uint32_t id, struct asks *out)
{
	ask_new(a, out, ASK_TEST, id);
}

static bool ask_equal(struct placing *a, uint32_t id, const struct where_pool_node *n, uint32_t expr,
                      const struct where_value *v, struct asks *out)
{
	const struct where_type *t = key_type(n->arg_types[0], n->arg_types[1]);
	if (!can_hash(t, n->collation))
		return false;
	struct ask *k = ask_new(a, out, ASK_EQ, id);
	k->part = (struct filter_part){t, expr};
	ask_value(a, k, v);
	return true;
}

static bool ask_order(struct placing *a, uint32_t id, const struct where_pool_node *n, uint32_t expr, const char *op,
                      const struct where_value *v, struct asks *out)
{
	const struct where_type *t = key_type(n->arg_types[0], n->arg_types[1]);
	if (!can_order(t, n->collation))
		return false;
	struct ask *k = ask_new(a, out, ASK_RANGE, id);
	k->part = (struct filter_part){t, expr};
	if (op[0] == '>') {
		k->range.from = *v;
		k->range.flags = (uint8_t)(RANGE_FROM | (op[1] == '=' ? RANGE_FROM_INCLUSIVE : 0));
	} else {
		k->range.to = *v;
		k->range.flags = (uint8_t)(RANGE_TO | (op[1] == '=' ? RANGE_TO_INCLUSIVE : 0));
	}
	return true;
}

/* The operator with its sides exchanged. */
static const char *turned(const char *op)
{
	static const char *const pairs[][2] = {{"<", ">"}, {"<=", ">="}, {">", "<"}, {">=", "<="}};
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		if (strcmp(op, pairs[i][0]) == 0)
			return pairs[i][1];
	return op;
}

/* expr op constant, or the other way round. */
static bool ask_comparison(struct placing *a, uint32_t id, const struct where_pool_node *n, struct asks *out)
{
	if (n->oper == NULL || n->nargs != 2)
		return false;
	const struct where_value *right = const_of(a, n->args[1]), *left = const_of(a, n->args[0]);
	const struct where_value *v = right ? right : left;
	const char *op = right ? n->oper->name : turned(n->oper->name);
	uint32_t expr = n->args[right ? 0 : 1];
	if (v != NULL && v->is == WHERE_NULL && n->kind == WHERE_NOT_DISTINCT) {
		ask_bool(a, id, make(a, WHERE_IS_NULL, expr), true, out);
		return true;
	}
	if (v == NULL || v->is != WHERE_VALUE)
		return false;
	if (strcmp(op, "=") == 0)
		return ask_equal(a, id, n, expr, v, out);
	if (strcmp(op, "<") == 0 || strcmp(op, "<=") == 0 || strcmp(op, ">") == 0 || strcmp(op, ">=") == 0)
		return ask_order(a, id, n, expr, op, v, out);
	return false;
}

/* ---- texts ------------------------------------------------------------------------------------------ */

/* How a LIKE pattern begins: `out` gets its bytes up to the first wildcard. `rest` is 0 if there is none, '%' if
 * only % follows, '?' otherwise. false: it ends in its escape character. */
static bool pattern_start(const struct where_value *pattern, char *out, uint32_t *n, char *rest)
{
	const char *p = pattern->u.p, *end = p + pattern->len;
	*n = 0;
	for (; p < end && *p != '%' && *p != '_'; p++) {
		if (*p == '\\' && ++p == end)
			return false;
		out[(*n)++] = *p;
	}
	*rest = p == end ? '\0' : '%';
	for (; p < end; p++) {
		if (*p == '\\' && p + 1 == end)
			return false;
		if (*p != '%')
			*rest = '?';
		if (*p == '\\')
			p++;
	}
	return true;
}

static void ask_prefix(struct placing *a, uint32_t id, uint32_t expr, const char *p, uint32_t n, bool whole, struct asks *out)
{
	struct where_value v = where_bytes(p, n);
	if (n == 0 && !whole) { /* any text has it */
		ask_bool(a, id, make(a, WHERE_IS_NULL, expr), false, out);
		return;
	}
	struct ask *k = ask_new(a, out, whole ? ASK_EQ : ASK_PREFIX, id);
	k->part = (struct filter_part){where_type_builtin(OID_TEXT), expr};
	ask_value(a, k, &v);
}

static bool ask_pattern(struct placing *a, uint32_t id, const struct where_pool_node *n, struct asks *out)
{
	bool like = strcmp(n->proc->prosrc, "textlike") == 0, starts = strcmp(n->proc->prosrc, "text_starts_with") == 0;
	if ((!like && !starts) || n->nargs != 2 || n->collation == NULL || !n->collation->deterministic)
		return false;
	const struct where_value *v = const_of(a, n->args[1]);
	if (v == NULL || v->is != WHERE_VALUE)
		return false;
	char *bytes = arena_alloc(&a->f->scratch, v->len + 1), rest = '%';
	uint32_t len = v->len;
	if (starts)
		memcpy(bytes, v->len ? v->u.p : "", v->len);
	else if (!pattern_start(v, bytes, &len, &rest) || (len == 0 && rest == '?'))
		return false;
	ask_prefix(a, id, n->args[0], bytes, len, rest == '\0', out);
	if (rest == '?')
		ask_test(a, id, out);
	return true;
}

/* ---- arrays ----------------------------------------------------------------------------------------- */

static void ask_has(struct placing *a, uint32_t id, uint32_t expr, const struct where_type *elem,
                    const struct where_value *values, uint32_t n, struct asks *out)
{
	struct ask *k = ask_new(a, out, ASK_HAS, id);
	k->part = (struct filter_part){elem, expr};
	k->values = arena_dup(&a->f->scratch, values, n * sizeof *values);
	for (uint32_t i = 0; i < n; i++) /* a NULL is equal to nothing */
		if (values[i].is == WHERE_VALUE)
			k->values[k->nvalues++] = values[i];
}

/* All of these are in the array. */
static void ask_contains(struct placing *a, uint32_t id, uint32_t expr, const struct where_type *elem,
                         const struct where_array *of, struct asks *out)
{
	for (uint32_t i = 0; i < of->n; i++)
		if (of->values[i].is != WHERE_VALUE) {
			ask_new(a, out, ASK_NEVER, id);
			return;
		}
	if (of->n == 0)
		ask_bool(a, id, make(a, WHERE_IS_NULL, expr), false, out);
	for (uint32_t i = 0; i < of->n && i < FILTER_HAS_MAX; i++)
		ask_has(a, id, expr, elem, &of->values[i], 1, out);
	if (of->n > FILTER_HAS_MAX)
		ask_test(a, id, out);
}

static bool ask_arrays(struct placing *a, uint32_t id, const struct where_pool_node *n, struct asks *out)
{
	const char *f = n->proc->prosrc;
	bool contains = strcmp(f, "arraycontains") == 0, contained = strcmp(f, "arraycontained") == 0;
	bool overlap = strcmp(f, "arrayoverlap") == 0;
	if ((!contains && !contained && !overlap) || n->nargs != 2)
		return false;
	const struct where_value *left = const_of(a, n->args[0]), *right = const_of(a, n->args[1]);
	const struct where_value *v = contains ? right : contained ? left : left ? left : right;
	if (v == NULL || v->is != WHERE_VALUE)
		return false;
	uint32_t expr = n->args[v == left ? 1 : 0];
	const struct where_type *ta = filter_base(n->arg_types[0]), *tb = filter_base(n->arg_types[1]);
	const struct where_type *elem = key_type(ta->elem, tb->elem);
	if (!can_hash(elem, n->collation))
		return false;
	if (overlap)
		ask_has(a, id, expr, elem, v->u.array->values, v->u.array->n, out);
	else
		ask_contains(a, id, expr, elem, v->u.array, out);
	return true;
}

/* expr = ANY(constants), constant = ANY(expr) */
static bool ask_any(struct placing *a, uint32_t id, const struct where_pool_node *n, struct asks *out)
{
	const struct where_type *t = key_type(n->arg_types[0], n->arg_types[1]);
	const struct where_value *left = const_of(a, n->args[0]), *right = const_of(a, n->args[1]);
	if (n->oper == NULL || strcmp(n->oper->name, "=") != 0 || !can_hash(t, n->collation))
		return false;
	if (left != NULL && left->is == WHERE_VALUE) {
		ask_has(a, id, n->args[1], t, left, 1, out);
		return true;
	}
	if (right == NULL || right->is != WHERE_VALUE)
		return false;
	ask_has(a, id, n->args[0], t, right->u.array->values, right->u.array->n, out);
	((struct ask *)CONTAINER_OF(out->last, struct ask, next))->kind = ASK_EQ;
	return true;
}

/* ---- logic ------------------------------------------------------------------------------------------ */

/* Branches that all are equalities of one expression are one equality with more values. */
static bool merge_equal(struct placing *a, uint32_t id, const struct asks *branches, uint32_t n, struct asks *out)
{
	uint32_t values = 0;
	const struct ask *first = branches[0].first;
	for (uint32_t i = 0; i < n; i++) {
		const struct ask *k = branches[i].first;
		if (branches[i].n != 1 || k->kind != ASK_EQ || k->part.expr != first->part.expr || k->part.type != first->part.type)
			return false;
		values += k->nvalues;
	}
	struct ask *k = ask_new(a, out, ASK_EQ, id);
	k->part = first->part;
	k->values = arena_alloc(&a->f->scratch, (values + 1) * sizeof *k->values);
	for (uint32_t i = 0; i < n; i++) {
		const struct ask *one = branches[i].first;
		if (one->nvalues > 0)
			memcpy(k->values + k->nvalues, one->values, one->nvalues * sizeof *one->values);
		k->nvalues += one->nvalues;
	}
	return true;
}

/* 0 if the branch can't be found by an index, or may fail; then so is the whole OR. */
static bool branch_indexable(const struct asks *branch)
{
	bool indexed = false;
	for (const struct ask *k = branch->first; k != NULL; k = k->next) {
		if (!k->safe)
			return false;
		indexed |= k->kind != ASK_TEST;
	}
	return indexed;
}

static void ask_or(struct placing *a, uint32_t id, const struct where_pool_node *n, struct asks *out)
{
	struct asks *branches = arena_alloc(&a->f->scratch, n->nargs * sizeof *branches);
	uint32_t *args = arena_dup(&a->f->scratch, n->args, n->nargs * sizeof *args), kept = 0;
	for (uint32_t i = 0; i < n->nargs; i++) {
		branches[kept] = (struct asks){NULL, NULL, 0};
		filter_ask(a, args[i], &branches[kept]);
		bool never = false; /* also if something beside it fails: that could only make it NULL */
		for (const struct ask *k = branches[kept].first; k != NULL && !never; k = k->next)
			never = k->kind == ASK_NEVER;
		kept += !never;
	}
	if (kept == 0) {
		ask_new(a, out, ASK_NEVER, id);
		return;
	}
	if (merge_equal(a, id, branches, kept, out))
		return;
	for (uint32_t i = 0; i < kept; i++)
		if (!branch_indexable(&branches[i])) {
			ask_test(a, id, out);
			return;
		}
	struct ask *k = ask_new(a, out, ASK_OR, id);
	k->branches = branches;
	k->nvalues = kept;
}

static void classify_false(struct placing *a, uint32_t test, uint32_t id, struct asks *out)
{
	struct where_pool_node n;
	where_pool_look(a->f->pool, id, &n);
	switch (n.kind) {
	case WHERE_NOT:
		filter_ask(a, n.args[0], out);
		break;
	case WHERE_COLUMN: case WHERE_IS_TRUE: case WHERE_IS_FALSE: case WHERE_IS_NULL:
		ask_bool(a, test, id, false, out);
		break;
	case WHERE_IS_NOT_NULL:
		ask_bool(a, test, make(a, WHERE_IS_NULL, n.args[0]), true, out);
		break;
	default:
		ask_test(a, test, out);
	}
}

static void classify_const(struct placing *a, uint32_t id, const struct where_value *v, struct asks *out)
{
	if (v->is != WHERE_VALUE || v->u.i == 0)
		ask_new(a, out, ASK_NEVER, id);
}

/* What the truth of a bool expression asks. Each adds to `out`; the pool's nodes may move while others are made. */
void filter_ask(struct placing *a, uint32_t id, struct asks *out)
{
	struct where_pool_node n;
	where_pool_look(a->f->pool, id, &n);
	uint32_t arg = n.nargs > 0 ? n.args[0] : 0;
	switch (n.kind) {
	case WHERE_CONST:
		classify_const(a, id, n.value, out);
		return;
	case WHERE_AND:
		for (uint32_t i = 0; i < n.nargs; i++) {
			filter_ask(a, n.args[i], out);
			where_pool_look(a->f->pool, id, &n);
		}
		return;
	case WHERE_OR:
		ask_or(a, id, &n, out);
		return;
	case WHERE_NOT: case WHERE_IS_FALSE:
		classify_false(a, id, arg, out);
		return;
	case WHERE_COLUMN: case WHERE_IS_NULL:
		ask_bool(a, id, id, true, out);
		return;
	case WHERE_IS_TRUE:
		filter_ask(a, arg, out);
		return;
	case WHERE_IS_NOT_NULL:
		ask_bool(a, id, make(a, WHERE_IS_NULL, arg), false, out);
		return;
	case WHERE_IS_UNKNOWN: case WHERE_IS_NOT_UNKNOWN:
		ask_bool(a, id, make(a, WHERE_IS_NULL, arg), n.kind == WHERE_IS_UNKNOWN, out);
		return;
	case WHERE_IS_NOT_TRUE: case WHERE_IS_NOT_FALSE:
		ask_bool(a, id, make(a, n.kind == WHERE_IS_NOT_TRUE ? WHERE_IS_TRUE : WHERE_IS_FALSE, arg), false, out);
		return;
	case WHERE_ANY:
		if (ask_any(a, id, &n, out))
			return;
		break;
	case WHERE_NOT_DISTINCT:
	case WHERE_CALL:
		if (ask_comparison(a, id, &n, out))
			return;
		if (n.kind == WHERE_CALL && n.proc != NULL && (ask_pattern(a, id, &n, out) || ask_arrays(a, id, &n, out)))
			return;
		break;
	default:
		break;
	}
	ask_test(a, id, out);
}
