/*
 * fold.c - from the tree of a condition to nodes of a pool: constants are folded, NULLs and truths
 * simplified as Postgres's planner does (clauses.c, eval_const_expressions), relabelings left out, IN and
 * ILIKE written in terms of what is shared better.
 *
 * A constant part that fails is reported if it is needed in any case. In an arm of AND or OR, and behind CASE and COALESCE,
 * it stays a call and fails when a row reaches it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/collation.h"
#include "where/pool_private.h"

#define DEPTH_MAX (WHERE_DEPTH_MAX + 16) /* the parser's bound is below; this one is for the stack */

/* Where in the tree: under something that may not be needed, and how deep. */
struct at { bool lazy; int depth; };

static int add(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id);

static const struct where_value *const_of(const struct where_pool *p, uint32_t id)
{
	return p->slots[id].kind == WHERE_CONST ? &p->slots[id].memo : NULL;
}

static bool is_null(const struct where_pool *p, uint32_t id)
{
	const struct where_value *v = const_of(p, id);
	return v != NULL && v->is == WHERE_NULL;
}

static void unref_all(struct where_pool *p, const uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		where_pool_unref(p, ids[i]);
}

static uint32_t null_const(struct where_pool *p, const struct where_type *t)
{
	struct where_value null = where_null();
	return pool_const(p, t, &null);
}

static uint32_t bool_const(struct where_pool *p, bool b)
{
	struct where_value v = where_bool(b);
	return pool_const(p, where_type_builtin(OID_BOOL), &v);
}

/* ---- which nodes can't fail ------------------------------------------------------------------------- */

/* Functions that have no errors, whatever they are called with. */
static const char *const harmless[] = {
	"textlen", "bpcharlen", "textoctetlen", "btrim", "btrim1", "ltrim", "ltrim1", "rtrim", "rtrim1",
	"text_starts_with", "arraycontains", "arraycontained", "arrayoverlap", "jsonb_contains", "jsonb_contained",
	"jsonb_exists", "jsonb_exists_any", "jsonb_exists_all", "jsonb_object_field", "jsonb_object_field_text",
	"jsonb_array_element", "jsonb_array_element_text", "jsonb_extract_path", "jsonb_extract_path_text", "array_length",
	"array_cardinality", "i2toi4", "int28", "int48", "i2tod", "i4tod", "i8tod", "ftod", "int2_numeric", "int4_numeric",
	"int8_numeric", "name_text", "bool_text", "md5_text",
};

/* Under ICU the case of some characters isn't known here. */
static bool is_harmless_case(const struct sig *g)
{
	return strcmp(g->proc->prosrc, "lower") == 0 && g->collation != NULL && g->collation->provider != 'i';
}

static bool is_comparison(const char *name)
{
	return strcmp(name, "=") == 0 || strcmp(name, "<>") == 0 || strcmp(name, "<") == 0 || strcmp(name, "<=") == 0 ||
	       strcmp(name, ">") == 0 || strcmp(name, ">=") == 0;
}

/* A pattern may not end in its escape character. */
static bool is_plain_like(const struct where_pool *p, const struct sig *g, const uint32_t *args, uint32_t n)
{
	const char *f = g->proc->prosrc;
	if (n != 2 || (strcmp(f, "textlike") != 0 && strcmp(f, "textnlike") != 0))
		return false;
	const struct where_value *v = const_of(p, args[1]);
	return v != NULL && v->is == WHERE_VALUE && (v->len == 0 || v->u.p[v->len - 1] != '\\');
}

static bool is_harmless(const struct where_pool *p, const struct slot *s, const uint32_t *args, uint32_t n)
{
	switch (s->kind) {
	case WHERE_VIA_TEXT: case WHERE_ARRAY_CAST: case WHERE_IN: case WHERE_ELEMENT:
		return false;
	case WHERE_ARRAY:
		return !(s->flags & SLOT_NESTED);
	case WHERE_CALL: case WHERE_ANY: case WHERE_ALL: case WHERE_DISTINCT: case WHERE_NOT_DISTINCT: case WHERE_NULLIF:
		if (s->sig->oper && is_comparison(s->sig->oper->name))
			return true;
		for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
			if (strcmp(s->sig->proc->prosrc, harmless[i]) == 0)
				return true;
		return s->kind == WHERE_CALL && (is_plain_like(p, s->sig, args, n) || is_harmless_case(s->sig));
	default:
		return true;
	}
}

/* ---- folding ---------------------------------------------------------------------------------------- */

/* Whose text is read, or written, by a stable function: dates and times by settings, enums and arrays by the catalog. */
static bool reads_stably(const struct where_type *t)
{
	return t->base != NULL || t->kind == 'e' || t->category == 'D' || t->category == 'T' || where_type_is_array(t);
}

static bool writes_stably(const struct where_type *t)
{
	t = t->base != NULL ? t->base : t;
	return t->kind == 'e' || t->oid == OID_DATE || t->oid == OID_TIMESTAMP || t->oid == OID_TIMESTAMPTZ || where_type_is_array(t);
}

/* The planner wouldn't compute this node over constants. */
static bool is_stable(const struct where_pool *p, uint32_t node)
{
	const struct slot *s = &p->slots[node];
	const uint32_t *args = slot_args(s);
	if (s->kind == WHERE_CONST)
		return (s->flags & SLOT_STABLE) != 0;
	if (s->sig != NULL && s->sig->proc != NULL && s->sig->proc->volatility != 'i')
		return true;
	/* Of a NULL that it knows, no function is asked. */
	if (s->kind == WHERE_VIA_TEXT && !is_null(p, args[0]) &&
	    (reads_stably(s->type) || writes_stably(p->slots[args[0]].type)))
		return true;
	for (uint32_t i = 0; i < s->nargs; i++)
		if (args[i] != 0 && is_stable(p, args[i]))
			return true;
	return false;
}

/* Replaces a node over constants by its value. Takes the reference. */
static int fold(struct where_pool *p, uint32_t node, struct at at, uint32_t *id)
{
	const struct where_type *type = p->slots[node].type;
	p->arena = &p->fold;
	p->limit = p->fold.used + WHERE_EVAL_BYTES_MAX;
	struct where_value v = *pool_eval(p, node);
	p->arena = &p->mem;
	p->slots[node].stamp = 0; /* what it remembers goes with the fold's memory */
	if (v.is != WHERE_ERROR) {
		*id = pool_const_as(p, type, &v, is_stable(p, node));
		where_pool_unref(p, node);
		return 0;
	}
	const struct where_proc *proc = p->slots[node].sig != NULL ? p->slots[node].sig->proc : NULL;
	bool planned = p->call.too_costly || (p->as_planner && (proc == NULL || proc->volatility == 'i'));
	if (at.lazy && !planned) {
		*id = node;
		return 0;
	}
	where_fail(&p->call, "%s", v.u.p);
	where_pool_unref(p, node);
	return -1;
}

static bool all_const(const struct where_pool *p, const uint32_t *args, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (args[i] != 0 && const_of(p, args[i]) == NULL)
			return false;
	return true;
}

static void set_flags(const struct where_pool *p, struct slot *s, const uint32_t *args, uint32_t n)
{
	bool safe = is_harmless(p, s, args, n);
	for (uint32_t i = 0; i < n; i++) {
		if (args[i] == 0)
			continue;
		safe &= (p->slots[args[i]].flags & SLOT_SAFE) != 0;
		if (s->kind != WHERE_ARRAY_CAST || i == 0)
			s->flags |= p->slots[args[i]].flags & SLOT_OPEN;
	}
	if (safe)
		s->flags |= SLOT_SAFE;
}

/* What a call's implementation makes of its constant arguments, once. -1: they are wrong. */
static int prepare(struct where_pool *p, uint32_t id)
{
	struct slot *s = &p->slots[id];
	const struct where_impl *impl = s->sig->impl;
	if (impl->prepare == NULL || s->extra != NULL)
		return 0;
	struct where_value *args = arena_alloc(&p->fold, (s->nargs + 1) * sizeof *args);
	bool any = false, is_failed = false;
	for (uint32_t i = 0; i < s->nargs; i++) {
		const struct where_value *v = const_of(p, slot_args(s)[i]);
		args[i] = v ? *v : (struct where_value){.is = WHERE_ERROR};
		any |= v != NULL;
	}
	if (!any)
		return 0;
	pool_call(p, s->sig, NULL);
	p->call.mem = &p->fold;
	s->extra = impl->prepare(&p->call, args, &is_failed);
	p->prepare_failed |= is_failed;
	return is_failed ? -1 : 0;
}

static void prepare_any(struct where_pool *p, uint32_t id)
{
	struct slot *s = &p->slots[id];
	const struct where_value *v = const_of(p, slot_args(s)[1]);
	const struct sig *g = s->sig;
	const char *want = s->kind == WHERE_ANY ? "=" : "<>";
	if (s->extra != NULL || v == NULL || v->is != WHERE_VALUE || g->oper == NULL || strcmp(g->oper->name, want) != 0 ||
	    g->oper->left != g->oper->right || g->arg_types[0] != g->arg_types[1] || !where_hashable(g->arg_types[0]))
		return;
	s->extra = pool_set(g->arg_types[1], v->u.array);
}

/* Interns the node, folds it if it is over constants. Takes the references of args and of proto->sig. */
static int finish(struct where_pool *p, struct slot *proto, const uint32_t *args, uint32_t n, struct at at, uint32_t *id)
{
	set_flags(p, proto, args, n);
	uint32_t consts = proto->kind == WHERE_ARRAY_CAST ? 1 : n;
	bool foldable = proto->kind != WHERE_ROW && !(proto->flags & SLOT_OPEN) && all_const(p, args, consts);
	if (proto->kind == WHERE_CALL && proto->sig->proc->volatility == 'v')
		foldable = false;
	uint32_t node = pool_intern(p, proto, args, n);
	/* A pattern that we don't take is refused wherever it stands, though Postgres might never look at it. */
	if (p->slots[node].kind == WHERE_CALL && prepare(p, node) != 0) {
		where_pool_unref(p, node);
		return -1;
	}
	if (p->slots[node].kind == WHERE_ANY || p->slots[node].kind == WHERE_ALL)
		prepare_any(p, node);
	if (foldable)
		return fold(p, node, at, id);
	*id = node;
	return 0;
}

/* ---- logic ------------------------------------------------------------------------------------------ */

/* AND, OR over ids in place: constants that change nothing go, one that decides is the result, of NULLs one stays, at the
 * end. Takes the references. */
static uint32_t make_logic(struct where_pool *p, enum where_kind kind, uint32_t *args, uint32_t n)
{
	bool or = kind == WHERE_OR, null = false;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct where_value *v = const_of(p, args[i]);
		if (v != NULL && v->is == WHERE_VALUE && (v->u.i != 0) == or) {
			unref_all(p, args, kept);
			unref_all(p, args + i, n - i);
			return bool_const(p, or);
		}
		null |= v != NULL && v->is == WHERE_NULL;
		if (v != NULL)
			where_pool_unref(p, args[i]);
		else
			args[kept++] = args[i];
	}
	if (null)
		args[kept++] = null_const(p, where_type_builtin(OID_BOOL));
	if (kept == 0)
		return bool_const(p, !or);
	if (kept == 1)
		return args[0];
	struct slot proto = {.kind = (uint8_t)kind, .type = where_type_builtin(OID_BOOL)};
	set_flags(p, &proto, args, kept);
	return pool_intern(p, &proto, args, kept);
}

static int add_logic(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	uint32_t *args = mem_alloc(n->nargs * sizeof *args), count = 0;
	int rc = 0;
	for (; rc == 0 && count < n->nargs; count += rc == 0) {
		rc = add(p, n->args[count], (struct at){true, at.depth}, &args[count]);
		const struct where_value *v = rc == 0 ? const_of(p, args[count]) : NULL;
		if (v != NULL && v->is == WHERE_VALUE && (v->u.i != 0) == (n->kind == WHERE_OR)) {
			count++; /* it decides: what follows isn't reached */
			break;
		}
	}
	if (rc == 0)
		*id = make_logic(p, n->kind, args, count);
	else
		unref_all(p, args, count);
	free(args);
	return rc;
}

/* ROW(…) IS NULL: all fields are; a row among them isn't. IS NOT NULL likewise. */
static int add_row_test(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	const struct where_node *row = n->args[0];
	uint32_t *args = mem_alloc((row->nargs + 1) * sizeof *args), count = 0;
	int rc = 0;
	for (; rc == 0 && count < row->nargs; count += rc == 0) {
		struct where_node test = *n;
		test.args = &row->args[count];
		if (row->args[count]->kind == WHERE_ROW)
			args[count] = bool_const(p, n->kind == WHERE_IS_NOT_NULL);
		else
			rc = add(p, &test, (struct at){at.lazy || row->nargs > 1, at.depth}, &args[count]);
	}
	if (rc == 0)
		*id = make_logic(p, WHERE_AND, args, count);
	else
		unref_all(p, args, count);
	free(args);
	return rc;
}

/* ---- CASE and COALESCE ------------------------------------------------------------------------------ */

/* One more of args: a branch that can be reached. Returns false at the last one. */
static int add_when(struct where_pool *p, const struct where_node *n, uint32_t i, struct at at, uint32_t *args,
                    uint32_t *count, bool *last)
{
	uint32_t when, then;
	if (add(p, n->args[i], (struct at){at.lazy || i > 0, at.depth}, &when) != 0)
		return -1;
	const struct where_value *v = const_of(p, when);
	bool known = v != NULL, taken = known && v->is == WHERE_VALUE && v->u.i != 0;
	if (known)
		where_pool_unref(p, when);
	if (known && !taken)
		return 0;
	if (add(p, n->args[i + 1], (struct at){at.lazy || !taken || *count > 0, at.depth}, &then) != 0) {
		if (!known)
			where_pool_unref(p, when);
		return -1;
	}
	if (!taken)
		args[(*count)++] = when;
	args[(*count)++] = then;
	*last = taken;
	return 0;
}

static int add_case(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	uint32_t *args = mem_alloc((n->nargs + 1) * sizeof *args), count = 0, i = 0;
	bool last = false;
	int rc = 0;
	for (; rc == 0 && !last && i + 1 < n->nargs; i += 2)
		rc = add_when(p, n, i, at, args, &count, &last);
	if (rc == 0 && !last) {
		rc = add(p, n->args[n->nargs - 1], (struct at){at.lazy || count > 0, at.depth}, &args[count]);
		count += rc == 0;
	}
	if (rc != 0) {
		unref_all(p, args, count);
	} else if (count == 1) {
		*id = args[0];
	} else {
		struct slot proto = {.kind = WHERE_CASE, .type = pool_type(p, n->type)};
		set_flags(p, &proto, args, count);
		*id = pool_intern(p, &proto, args, count);
	}
	free(args);
	return rc;
}

static int add_coalesce(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	uint32_t *args = mem_alloc(n->nargs * sizeof *args), count = 0;
	int rc = 0;
	for (uint32_t i = 0; rc == 0 && i < n->nargs; i++) {
		rc = add(p, n->args[i], (struct at){at.lazy || count > 0, at.depth}, &args[count]);
		const struct where_value *v = rc == 0 ? const_of(p, args[count]) : NULL;
		bool last = v != NULL && v->is == WHERE_VALUE;
		if (v != NULL && !last)
			where_pool_unref(p, args[count]);
		else
			count += rc == 0;
		if (last)
			break;
	}
	if (rc != 0) {
		unref_all(p, args, count);
	} else if (count == 0) {
		*id = null_const(p, n->type);
	} else if (count == 1) {
		*id = args[0];
	} else {
		struct slot proto = {.kind = WHERE_COALESCE, .type = pool_type(p, n->type)};
		set_flags(p, &proto, args, count);
		*id = pool_intern(p, &proto, args, count);
	}
	free(args);
	return rc;
}

/* ---- calls ------------------------------------------------------------------------------------------ */

/* A call over ids of the given types. Takes their references. */
static int make_call(struct where_pool *p, const struct sig_make *m, const uint32_t *args, struct at at, uint32_t *id)
{
	struct slot proto = {.kind = m->kind, .type = m->result, .sig = pool_sig(p, m)};
	if (proto.sig == NULL) {
		unref_all(p, args, m->nargs);
		return -1;
	}
	/* A strict call of NULL is NULL whatever the other arguments are, also if they fail: so the planner has it, if it knows
	 * of the NULL. */
	for (uint32_t i = 0; m->kind == WHERE_CALL && proto.sig->strict && i < m->nargs; i++) {
		if (!is_null(p, args[i]) || is_stable(p, args[i]))
			continue;
		*id = null_const(p, m->result);
		unref_all(p, args, m->nargs);
		pool_sig_unref(p, proto.sig);
		return 0;
	}
	return finish(p, &proto, args, m->nargs, at, id);
}

static const struct where_oper *text_oper(const char *name)
{
	size_t n;
	const struct where_oper *const *o = where_opers_named(name, &n);
	for (size_t i = 0; i < n; i++)
		if (o[i]->left == OID_TEXT && o[i]->right == OID_TEXT)
			return o[i];
	return NULL;
}

static const struct where_proc *text_lower(void)
{
	size_t n;
	const struct where_proc *const *named = where_procs_named("lower", &n);
	for (size_t i = 0; i < n; i++)
		if (named[i]->nargs == 1 && named[i]->args[0] == OID_TEXT)
			return named[i];
	return NULL;
}

/* In a database in UTF-8, ILIKE is LIKE between the lower forms of both: the text's is shared by all who ask.
 * 1: not the case. */
static int make_ilike(struct where_pool *p, const struct sig_make *m, const uint32_t *args, struct at at, uint32_t *id)
{
	bool negated = strcmp(m->proc->prosrc, "texticnlike") == 0;
	if ((!negated && strcmp(m->proc->prosrc, "texticlike") != 0) || m->nargs != 2)
		return 1;
	const struct where_value *pattern = const_of(p, args[1]);
	const struct where_oper *oper = text_oper(negated ? "!~~" : "~~");
	const struct where_proc *lower = text_lower(), *like = oper ? where_proc_by_oid(oper->proc) : NULL;
	if (pattern == NULL || pattern->is != WHERE_VALUE || lower == NULL || like == NULL || where_impl_of(lower) == NULL ||
	    where_impl_of(like) == NULL)
		return 1;
	const struct where_type *text = where_type_builtin(OID_TEXT), *texts[2] = {text, text};
	struct sig_make low = {.kind = WHERE_CALL, .typmod = -1, .proc = lower, .collation = m->collation, .result = text,
	                       .arg_types = texts, .nargs = 1};
	struct sig_make lm = {.kind = WHERE_CALL, .typmod = -1, .proc = like, .oper = oper, .collation = m->collation,
	                      .result = m->result, .arg_types = texts, .nargs = 2};
	uint32_t pair[2];
	if (make_call(p, &low, &args[0], at, &pair[0]) != 0) {
		where_pool_unref(p, args[1]);
		return -1;
	}
	if (make_call(p, &low, &args[1], at, &pair[1]) != 0) {
		where_pool_unref(p, pair[0]);
		return -1;
	}
	return make_call(p, &lm, pair, at, id);
}

static int add_args(struct where_pool *p, const struct where_node *n, uint32_t count, struct at at, uint32_t *args)
{
	for (uint32_t i = 0; i < count; i++) {
		args[i] = 0;
		if (n->args[i] != NULL && add(p, n->args[i], at, &args[i]) != 0) {
			unref_all(p, args, i);
			return -1;
		}
	}
	return 0;
}

/* Every kind whose arguments are evaluated in any case, from left to right. */
static int add_plain(struct where_pool *p, const struct where_node *n, bool with_sig, struct at at, uint32_t *id)
{
	uint32_t few[POOL_FEW_ARGS], *args = few;
	const struct where_type *few_types[POOL_FEW_ARGS], **types = few_types;
	uint32_t count = n->nargs;
	struct slot proto = {.kind = n->kind, .type = pool_type(p, n->type), .flags = n->nested ? SLOT_NESTED : 0};
	if (count > POOL_FEW_ARGS) {
		args = mem_alloc(count * sizeof *args);
		types = mem_alloc(count * sizeof *types);
	}
	struct at below = {at.lazy || n->kind == WHERE_ROW_COMPARE, at.depth}; /* of that, later pairs may not be reached */
	int rc = add_args(p, n, count, below, args);
	if (rc == 0 && n->kind == WHERE_NULLIF && (is_null(p, args[0]) || is_null(p, args[1]))) {
		where_pool_unref(p, args[1]); /* nothing is equal to NULL: Postgres doesn't evaluate the second then */
		*id = args[0];
		return 0;
	}
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		types[i] = n->args[i] ? pool_type(p, n->args[i]->type) : NULL;
	if (rc == 0 && (n->kind == WHERE_ANY || n->kind == WHERE_ALL)) {
		const struct where_type *array = types[1]->base ? types[1]->base : types[1];
		types[1] = array->elem;
	}
	struct sig_make m = {.kind = n->kind, .typmod = n->typmod, .proc = n->proc, .oper = n->oper, .collation = n->collation,
	                     .result = proto.type, .arg_types = types, .nargs = count, .row_ops = n->row_ops};
	if (n->kind != WHERE_CALL && n->kind != WHERE_VIA_TEXT && n->proc != NULL)
		m.result = pool_type(p, where_type_builtin(n->proc->result));
	if (rc == 0 && n->kind == WHERE_CALL) {
		rc = make_ilike(p, &m, args, at, id);
		if (rc == 1)
			rc = make_call(p, &m, args, at, id);
	} else if (rc == 0) {
		if (with_sig && (proto.sig = pool_sig(p, &m)) == NULL) {
			unref_all(p, args, count);
			rc = -1;
		} else {
			rc = finish(p, &proto, args, count, at, id);
		}
	}
	if (args != few) {
		free(args);
		free(types);
	}
	return rc;
}

/* ---- IN --------------------------------------------------------------------------------------------- */

/* x IN (constants) is x = ANY of one array. Takes the references. */
static int make_any(struct where_pool *p, const struct where_node *n, const uint32_t *args, uint32_t count, struct at at,
                    uint32_t *id)
{
	const struct where_type *left = pool_type(p, n->args[0]->type), *elem = pool_type(p, n->args[1]->type);
	const struct where_type *types[2] = {left, elem}, *array = pool_array_type(p, elem);
	struct where_value *values = arena_alloc(&p->fold, count * sizeof *values), whole = {.is = WHERE_VALUE};
	for (uint32_t i = 1; i < count; i++)
		values[i - 1] = *const_of(p, args[i]);
	struct where_array list = {.elem = elem, .ndims = 1, .dims = {(int32_t)count - 1}, .lower = {1}, .n = count - 1,
	                           .values = values};
	whole.u.array = &list;
	uint32_t pair[2] = {args[0], pool_const(p, array, &whole)};
	unref_all(p, args + 1, count - 1);
	struct sig_make m = {.kind = WHERE_ANY, .typmod = -1, .proc = n->proc, .oper = n->oper, .collation = n->collation,
	                     .result = where_type_builtin(OID_BOOL), .arg_types = types, .nargs = 2};
	return make_call(p, &m, pair, at, id);
}

static int make_equal(struct where_pool *p, const struct where_node *n, uint32_t a, uint32_t b, struct at at, uint32_t *id)
{
	const struct where_type *types[2] = {pool_type(p, n->args[0]->type), pool_type(p, n->args[1]->type)};
	struct sig_make m = {.kind = WHERE_CALL, .typmod = -1, .proc = n->proc, .oper = n->oper, .collation = n->collation,
	                     .result = where_type_builtin(OID_BOOL), .arg_types = types, .nargs = 2};
	return make_call(p, &m, (uint32_t[]){a, b}, at, id);
}

/* The constants first, as one test; then the others, each by itself. Takes the references of `args`. */
static int make_in(struct where_pool *p, const struct where_node *n, uint32_t *args, struct at at, uint32_t *id)
{
	uint32_t consts = 1, done = 0;
	for (uint32_t i = 1; i < n->nargs; i++) {
		uint32_t arg = args[i];
		if (const_of(p, arg) == NULL)
			continue;
		memmove(args + consts + 1, args + consts, (i - consts) * sizeof *args);
		args[consts++] = arg;
	}
	uint32_t x = args[0], *tests = args; /* results take the places of what they are made of */
	int rc = 0;
	if (consts > 1) {
		where_pool_ref(p, x);
		rc = consts == 2 ? make_equal(p, n, x, args[1], at, &tests[0]) : make_any(p, n, args, consts, at, &tests[0]);
		done = rc == 0;
	}
	for (uint32_t i = consts; i < n->nargs; i++) {
		uint32_t arg = args[i];
		if (rc != 0) {
			where_pool_unref(p, arg);
			continue;
		}
		where_pool_ref(p, x);
		rc = make_equal(p, n, x, arg, (struct at){true, at.depth}, &tests[done]);
		done += rc == 0;
	}
	where_pool_unref(p, x);
	if (rc == 0)
		*id = make_logic(p, WHERE_OR, tests, done);
	else
		unref_all(p, tests, done);
	return rc;
}

static int add_in(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	uint32_t *args = mem_alloc(n->nargs * sizeof *args);
	int rc = add_args(p, n, n->nargs, at, args);
	if (rc == 0)
		rc = make_in(p, n, args, at, id);
	free(args);
	return rc;
}

/* ---- any node --------------------------------------------------------------------------------------- */

static int add_column(struct where_pool *p, const struct where_node *n, uint32_t *id)
{
	struct slot proto = {.kind = WHERE_COLUMN, .type = pool_type(p, n->type), .column = n->column, .flags = SLOT_SAFE};
	*id = pool_intern(p, &proto, NULL, 0);
	return 0;
}

static int add_element(struct where_pool *p, const struct where_node *n, uint32_t *id)
{
	struct slot proto = {.kind = WHERE_ELEMENT, .type = pool_type(p, n->type), .flags = SLOT_OPEN};
	*id = pool_intern(p, &proto, NULL, 0);
	return 0;
}

/* Only between signed numbers and oids is it more than a name. */
static int add_relabel(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	uint32_t arg;
	if (add(p, n->args[0], at, &arg) != 0)
		return -1;
	const struct where_type *from = pool_type(p, n->args[0]->type), *to = pool_type(p, n->type);
	const struct where_value *v = const_of(p, arg);
	uint32_t a = from->base ? from->base->oid : from->oid, b = to->base ? to->base->oid : to->oid;
	if ((a == OID_INT4) != (b == OID_INT4)) {
		struct slot proto = {.kind = WHERE_RELABEL, .type = to->base ? to->base : to};
		return finish(p, &proto, &arg, 1, at, id);
	}
	*id = arg;
	if (v != NULL && from != to) {
		struct where_value copy = *v; /* stays where it is until the new constant has its own */
		*id = pool_const_as(p, to, &copy, is_stable(p, arg));
		where_pool_unref(p, arg);
	}
	return 0;
}

static int add_array_cast(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	struct slot proto = {.kind = WHERE_ARRAY_CAST, .type = pool_type(p, n->type)};
	uint32_t args[2];
	if (add(p, n->args[0], at, &args[0]) != 0)
		return -1;
	if (add(p, n->elem_cast, (struct at){true, at.depth}, &args[1]) != 0) {
		where_pool_unref(p, args[0]);
		return -1;
	}
	return finish(p, &proto, args, 2, at, id);
}

/* The parts of a nested one must be arrays: nobody checks that again. */
static int add_array(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	for (uint32_t i = 0; n->nested && i < n->nargs; i++) {
		const struct where_type *t = n->args[i]->type;
		if (!where_type_is_array(t->base ? t->base : t))
			return where_fail(&p->call, "this array is not computed here");
	}
	return add_plain(p, n, false, at, id);
}

static int add_subscripts(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	uint32_t most = n->kind == WHERE_SLICE ? WHERE_ARRAY_DIMS_MAX * 2 : WHERE_ARRAY_DIMS_MAX;
	const struct where_type *t = n->args[0]->type;
	if (!where_type_is_array(t->base ? t->base : t) || n->nargs < 2 || n->nargs - 1 > most)
		return where_fail(&p->call, "this subscript is not computed here");
	return add_plain(p, n, false, at, id);
}

/* Without its values: nothing is known of it, but what it is compared with is folded. */
static int add_subquery(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	struct slot proto = {.kind = WHERE_SUBQUERY, .type = pool_type(p, n->type), .column = n->column};
	uint32_t *args = mem_alloc((n->nargs + 1) * sizeof *args);
	int rc = add_args(p, n, n->nargs, at, args);
	if (rc == 0)
		*id = pool_intern(p, &proto, args, n->nargs);
	free(args);
	return rc;
}

static int add(struct where_pool *p, const struct where_node *n, struct at at, uint32_t *id)
{
	if (++at.depth > DEPTH_MAX)
		return where_fail(&p->call, "nested more than %d levels deep", WHERE_DEPTH_MAX);
	switch ((enum where_kind)n->kind) {
	case WHERE_CONST:
		*id = pool_const(p, n->type, &n->value);
		return 0;
	case WHERE_ARRAY:
		return add_array(p, n, at, id);
	case WHERE_COLUMN:
		return add_column(p, n, id);
	case WHERE_RELABEL:
		return add_relabel(p, n, at, id);
	case WHERE_ARRAY_CAST:
		return add_array_cast(p, n, at, id);
	case WHERE_ELEMENT:
		return add_element(p, n, id);
	case WHERE_AND:
	case WHERE_OR:
		return add_logic(p, n, at, id);
	case WHERE_IN:
		return add_in(p, n, at, id);
	case WHERE_CASE:
		return add_case(p, n, at, id);
	case WHERE_COALESCE:
		return add_coalesce(p, n, at, id);
	case WHERE_SUBSCRIPT:
	case WHERE_SLICE:
		return add_subscripts(p, n, at, id);
	case WHERE_SUBQUERY:
		return add_subquery(p, n, at, id);
	case WHERE_IS_NULL: case WHERE_IS_NOT_NULL:
		if (n->args[0]->kind == WHERE_ROW)
			return add_row_test(p, n, at, id);
		return add_plain(p, n, false, at, id);
	case WHERE_NOT: case WHERE_IS_TRUE: case WHERE_IS_NOT_TRUE: case WHERE_IS_FALSE: case WHERE_IS_NOT_FALSE:
	case WHERE_IS_UNKNOWN: case WHERE_IS_NOT_UNKNOWN:
		return add_plain(p, n, false, at, id);
	case WHERE_CALL: case WHERE_VIA_TEXT: case WHERE_DISTINCT: case WHERE_NOT_DISTINCT: case WHERE_NULLIF:
	case WHERE_ANY: case WHERE_ALL: case WHERE_ROW: case WHERE_ROW_COMPARE: case WHERE_GREATEST: case WHERE_LEAST:
		return add_plain(p, n, true, at, id);
	}
	return where_fail(&p->call, "unknown node");
}

void where_pool_fold_as_planner(struct where_pool *p, uint64_t *steps)
{
	p->as_planner = true;
	p->fold_steps = steps;
}

/* A budget of 0 would be one without end. */
static uint64_t fold_budget(const struct where_pool *p)
{
	uint64_t steps = p->fold_steps == NULL ? WHERE_FOLD_STEPS_MAX : *p->fold_steps;
	return steps > 0 ? steps : 1;
}

int where_pool_add(struct where_pool *p, const struct where_node *n, uint32_t *id, char reason[WHERE_REASON_MAX])
{
	p->prepare_failed = false;
	p->call.work = 0;
	where_pool_budget(p, fold_budget(p));
	int rc = add(p, n, (struct at){false, 0}, id);
	bool too_costly = p->call.too_costly;
	if (p->fold_steps != NULL)
		*p->fold_steps -= p->call.work < *p->fold_steps ? p->call.work : *p->fold_steps;
	where_pool_budget(p, 0);
	arena_reset(&p->fold);
	if (rc == 0)
		return 0;
	memcpy(reason, p->call.reason, WHERE_REASON_MAX);
	return too_costly ? -3 : p->prepare_failed ? -2 : -1;
}

uint32_t where_pool_make(struct where_pool *p, enum where_kind kind, const uint32_t *args, uint32_t nargs)
{
	uint32_t *own = mem_alloc((nargs + 1) * sizeof *own), id;
	for (uint32_t i = 0; i < nargs; i++) {
		own[i] = args[i];
		where_pool_ref(p, own[i]);
	}
	if (kind == WHERE_AND || kind == WHERE_OR) {
		id = make_logic(p, kind, own, nargs);
	} else {
		struct slot proto = {.kind = (uint8_t)kind, .type = where_type_builtin(OID_BOOL)};
		if (finish(p, &proto, own, nargs, (struct at){true, 0}, &id) != 0)
			id = bool_const(p, false); /* can't be: lazy */
	}
	free(own);
	arena_reset(&p->fold);
	return id;
}
