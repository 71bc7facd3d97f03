/*
 * resolve.c - which operator, function or cast is meant: Postgres's rules for overloads.
 *
 * The rules are those of the manual's chapter "Type Conversion" (10.1 to 10.5), in the detail in which
 * parse_func.c, parse_oper.c and parse_coerce.c decide them. Unknown-typed literals, domains as their
 * base types, preferred types and the polymorphic families any* and anycompatible* are handled; ranges
 * are not computed with here, so nothing resolves to them.
 */
#include <stdlib.h>
#include <string.h>

#include "where/build.h"

#define CANDIDATES_MAX 128 /* of one name, variadic expansions included; the most a name has is about 60 */
#define CALL_ARGS_MAX 100 /* Postgres's FUNC_MAX_ARGS */

static bool is_polymorphic(uint32_t oid)
{
	switch (oid) {
	case OID_ANYELEMENT: case OID_ANYARRAY: case OID_ANYNONARRAY: case OID_ANYENUM: case OID_ANYRANGE:
	case OID_ANYMULTIRANGE: case OID_ANYCOMPATIBLE: case OID_ANYCOMPATIBLEARRAY: case OID_ANYCOMPATIBLENONARRAY:
	case OID_ANYCOMPATIBLERANGE: case OID_ANYCOMPATIBLEMULTIRANGE:
		return true;
	default:
		return false;
	}
}

/* ---- coercion ------------------------------------------------------------------------------------------- */

static enum pathway resolve_pathway(struct where *w, const struct where_type *target, const struct where_type *source,
                             enum coercion context, const struct where_cast **cast)
{
	*cast = NULL;
	target = build_base(target);
	source = build_base(source);
	if (target == source)
		return PATH_RELABEL;
	const struct where_cast *c = NULL;
	if (target->oid != 0 && source->oid != 0)
		c = where_cast_find(source->oid, target->oid);
	if (c != NULL) {
		enum coercion needed = c->context == 'i' ? COERCE_IMPLICIT : c->context == 'a' ? COERCE_ASSIGNMENT : COERCE_EXPLICIT;
		if (context < needed)
			return PATH_NONE;
		*cast = c;
		return c->method == 'f' ? PATH_FUNC : c->method == 'b' ? PATH_RELABEL : PATH_TEXT;
	}
	if (where_type_is_array(target) && where_type_is_array(source) &&
	    resolve_pathway(w, target->elem, source->elem, context, cast) != PATH_NONE) {
		*cast = NULL;
		return PATH_ARRAY;
	}
	*cast = NULL;
	if (context >= COERCE_ASSIGNMENT && target->category == 'S')
		return PATH_TEXT;
	if (context >= COERCE_EXPLICIT && source->category == 'S')
		return PATH_TEXT;
	return PATH_NONE;
}

bool resolve_can_coerce(struct where *w, const struct where_type *source, const struct where_type *target,
                        enum coercion context)
{
	const struct where_cast *cast;
	if (source == target || target->oid == OID_ANY || source->oid == OID_UNKNOWN)
		return true;
	return resolve_pathway(w, target, source, context, &cast) != PATH_NONE;
}

static node_ref int_const(struct builder *b, int32_t v)
{
	return node_const(b, where_type_builtin(OID_INT4), where_int(v), '\0', -1);
}

/* A cast function takes the value, maybe the typmod, maybe whether it is explicit. */
static node_ref call_cast(struct builder *b, const struct where_proc *proc, const struct where_type *target, node_ref n,
                          int32_t typmod, bool is_explicit, int location)
{
	node_ref args[3] = {n, NULL, NULL};
	if (proc->nargs > 1)
		args[1] = int_const(b, typmod);
	if (proc->nargs > 2)
		args[2] = node_const(b, where_type_builtin(OID_BOOL), where_bool(is_explicit), '\0', -1);
	return node_call(b, proc, NULL, target, args, proc->nargs, location);
}

/* The length coercion of a type to itself: numeric(10,2), varchar(3), timestamp(0). */
static node_ref apply_typmod(struct builder *b, node_ref n, int32_t typmod, enum coercion context, int location)
{
	if (n == NULL || typmod < 0)
		return n;
	const struct where_type *t = n->type;
	const struct where_type *elem = where_type_is_array(t) ? t->elem : t;
	const struct where_cast *c = where_cast_find(elem->oid, elem->oid);
	const struct where_proc *proc = c != NULL && c->method == 'f' ? where_proc_by_oid(c->proc) : NULL;
	if (proc == NULL)
		return n;
	if (elem == t)
		return call_cast(b, proc, t, n, typmod, context == COERCE_EXPLICIT, location);
	return node_array_cast(b, n, call_cast(b, proc, elem, node_element(b, elem), typmod, context == COERCE_EXPLICIT, location), t,
	                       location);
}

static node_ref cannot_cast(struct builder *b, node_ref n, const struct where_type *target, int location)
{
	return build_fail(b, location, "unknown cast from type %s to type %s", build_type_text(b, n->type),
	                  build_type_text(b, target));
}

static node_ref coerce_plain(struct builder *b, node_ref n, const struct where_type *target, int32_t typmod,
                             enum coercion context, int location)
{
	const struct where_cast *cast;
	if (n == NULL || n->type == target)
		return n;
	if (node_is_unknown(n) && n->kind == WHERE_CONST) {
		const struct where_type *base = build_base(target);
		if (n->value.is == WHERE_NULL)
			return node_null(b, base, n->location);
		/* As in Postgres, only interval's input function is told the modifier. */
		return node_text_const_as(b, base, base->oid == OID_INTERVAL ? typmod : -1, n->value.u.p, n->value.len,
		                          n->location >= 0 ? n->location : location);
	}
	enum pathway path = resolve_pathway(b->w, target, n->type, context, &cast);
	const struct where_type *base = build_base(target);
	if (n->type->base != NULL && path != PATH_NONE) /* a domain's value is its base type's */
		n = node_relabel(b, n, n->type->base, n->location);
	if (n == NULL) /* the build has failed before */
		return NULL;
	switch (path) {
	case PATH_NONE:
		return cannot_cast(b, n, target, location);
	case PATH_RELABEL:
		if (n->type->io == NULL && !where_type_is_array(n->type))
			return cannot_cast(b, n, target, location);
		return n->type == base ? n : node_relabel(b, n, base, location);
	case PATH_FUNC: {
		const struct where_proc *proc = where_proc_by_oid(cast->proc);
		if (proc == NULL || where_impl_of(proc) == NULL)
			return cannot_cast(b, n, target, location);
		return call_cast(b, proc, base, n, typmod, context == COERCE_EXPLICIT, location);
	}
	case PATH_TEXT:
		if ((n->type->io == NULL && !where_type_is_array(n->type)) || (base->io == NULL && !where_type_is_array(base)))
			return cannot_cast(b, n, target, location);
		return node_logic(b, WHERE_VIA_TEXT, base, &n, 1, location);
	case PATH_ARRAY: {
		node_ref elem = coerce_plain(b, node_element(b, n->type->elem), base->elem, typmod, context, location);
		return elem == NULL ? NULL : node_array_cast(b, n, elem, base, location);
	}
	}
	return NULL;
}

node_ref resolve_coerce(struct builder *b, node_ref n, const struct where_type *target, int32_t typmod,
                        enum coercion context, int location)
{
	if (n == NULL)
		return NULL;
	if (target->base != NULL && n->type != target && context == COERCE_EXPLICIT)
		return build_fail(b, location, "unsupported type %s", build_type_text(b, target)); /* its constraints aren't known here */
	bool was_unknown = node_is_unknown(n);
	node_ref out = coerce_plain(b, n, target, typmod, context, location);
	/* A function that took the typmod has applied it. */
	if (out != NULL && typmod >= 0 && (was_unknown || out->kind != WHERE_CALL || out == n || out->nargs < 2))
		out = apply_typmod(b, out, typmod, context, location);
	return out;
}

const struct where_type *resolve_common(struct builder *b, node_ref const *args, uint32_t n, const struct where_type *bad[2])
{
	struct where *w = b->w;
	const struct where_type *type = args[0]->type;
	uint32_t i = 1;
	while (i < n && args[i]->type == type)
		i++;
	if (i == n && type->oid != OID_UNKNOWN)
		return type;
	type = build_base(type);
	for (i = 1; i < n; i++) {
		const struct where_type *next = build_base(args[i]->type);
		if (next->oid == OID_UNKNOWN || next == type)
			continue;
		if (type->oid == OID_UNKNOWN) {
			type = next;
		} else if (next->category != type->category) {
			if (bad != NULL) {
				bad[0] = type;
				bad[1] = next;
			}
			return NULL;
		} else if (!type->preferred && resolve_can_coerce(w, type, next, COERCE_IMPLICIT) &&
		           !resolve_can_coerce(w, next, type, COERCE_IMPLICIT)) {
			type = next;
		}
	}
	return type->oid == OID_UNKNOWN ? where_type_builtin(OID_TEXT) : type;
}

/* ---- candidates -------------------------------------------------------------------------------------------- */

struct candidate {
	const struct where_proc *proc;
	const struct where_oper *oper;
	const uint32_t *args; /* declared types, nargs of them */
	bool expanded;        /* a VARIADIC one taken with its elements one by one */
};

struct inputs {
	const struct where_type **types;
	uint32_t n;
};

static bool is_anycompatible(uint32_t oid)
{
	return oid == OID_ANYCOMPATIBLE || oid == OID_ANYCOMPATIBLEARRAY || oid == OID_ANYCOMPATIBLENONARRAY;
}

struct generic {
	const struct where_type *elem, *array; /* of the any* family; NULL: none seen */
	const struct where_type *common, *common_array; /* of anycompatible* */
	bool simple, compatible; /* families in use */
};

static bool same_or_set(const struct where_type **slot, const struct where_type *t)
{
	if (*slot == NULL)
		*slot = t;
	return *slot == t;
}

/* The common type of plain types, as resolve_common(). */
static const struct where_type *merge_common(struct where *w, const struct where_type *a, const struct where_type *t)
{
	if (a == NULL || a == t)
		return t;
	const struct where_type *type = build_base(a), *next = build_base(t);
	if (type == next)
		return type;
	if (type->category != next->category)
		return NULL;
	if (!type->preferred && resolve_can_coerce(w, type, next, COERCE_IMPLICIT) &&
	    !resolve_can_coerce(w, next, type, COERCE_IMPLICIT))
		return next;
	return type;
}

/* Do the arguments agree with the polymorphic parts of a declaration; and what do those stand for? */
static bool resolve_generic(struct where *w, const uint32_t *declared, const struct inputs *in, struct generic *g)
{
	memset(g, 0, sizeof *g);
	bool need_nonarray = false, need_enum = false, compatible_nonarray = false;
	for (uint32_t i = 0; i < in->n; i++) {
		const struct where_type *t = in->types[i];
		bool unknown = t->oid == OID_UNKNOWN;
		switch (declared[i]) {
		case OID_ANYNONARRAY:
		case OID_ANYENUM:
		case OID_ANYELEMENT:
			need_nonarray |= declared[i] == OID_ANYNONARRAY;
			need_enum |= declared[i] == OID_ANYENUM;
			g->simple = true;
			if (!unknown && !same_or_set(&g->elem, t))
				return false;
			break;
		case OID_ANYARRAY:
			g->simple = true;
			if (!unknown && !same_or_set(&g->array, build_base(t)))
				return false;
			break;
		case OID_ANYCOMPATIBLENONARRAY:
			compatible_nonarray = true; /* fall through */
		case OID_ANYCOMPATIBLE:
			g->compatible = true;
			if (!unknown && (g->common = merge_common(w, g->common, t)) == NULL)
				return false;
			break;
		case OID_ANYCOMPATIBLEARRAY:
			g->compatible = true;
			if (unknown)
				break;
			t = build_base(t);
			if (!where_type_is_array(t) || (g->common = merge_common(w, g->common, t->elem)) == NULL)
				return false;
			g->common_array = t;
			break;
		case OID_ANYRANGE:
		case OID_ANYMULTIRANGE:
		case OID_ANYCOMPATIBLERANGE:
		case OID_ANYCOMPATIBLEMULTIRANGE:
			if (unknown)
				break;
			return false; /* the caller refuses columns of range types */
		default:
			break;
		}
	}
	if (g->array != NULL) {
		if (!where_type_is_array(g->array))
			return false;
		if (g->elem == NULL)
			g->elem = g->array->elem;
		if (g->elem != g->array->elem)
			return false;
	}
	if (need_nonarray && g->elem != NULL && where_type_is_array(build_base(g->elem)))
		return false;
	if (need_enum && g->elem != NULL && g->elem->kind != 'e')
		return false;
	if (compatible_nonarray && g->common != NULL && where_type_is_array(g->common))
		return false;
	if (g->common != NULL) /* everything must be coercible to what was found */
		for (uint32_t i = 0; i < in->n; i++) {
			const struct where_type *t = in->types[i];
			if (t->oid == OID_UNKNOWN || !is_anycompatible(declared[i]))
				continue;
			if (declared[i] == OID_ANYCOMPATIBLEARRAY)
				t = build_base(t)->elem;
			if (!resolve_can_coerce(w, t, g->common, COERCE_IMPLICIT))
				return false;
		}
	return true;
}

/* What a declared type stands for in this call; NULL: not determined. */
static const struct where_type *concrete(struct where *w, uint32_t declared, const struct generic *g,
                                         const struct where_type *input)
{
	switch (declared) {
	case OID_ANYELEMENT: case OID_ANYNONARRAY: case OID_ANYENUM:
		return g->elem;
	case OID_ANYARRAY:
		return g->array != NULL ? g->array : g->elem != NULL ? build_array_of(w, g->elem) : NULL;
	case OID_ANYCOMPATIBLE: case OID_ANYCOMPATIBLENONARRAY:
		return g->common != NULL ? g->common : where_type_builtin(OID_TEXT);
	case OID_ANYCOMPATIBLEARRAY:
		return build_array_of(w, g->common != NULL ? g->common : where_type_builtin(OID_TEXT));
	case OID_ANY:
		return input != NULL && input->oid == OID_UNKNOWN ? where_type_builtin(OID_TEXT) : input;
	default:
		return is_polymorphic(declared) ? NULL : where_type_builtin(declared);
	}
}

static bool coercible(struct where *w, const struct inputs *in, const uint32_t *declared)
{
	bool generic = false;
	for (uint32_t i = 0; i < in->n; i++) {
		if (is_polymorphic(declared[i])) {
			generic = true;
			continue;
		}
		const struct where_type *target = where_type_builtin(declared[i]);
		if (target == NULL)
			return false;
		if (!resolve_can_coerce(w, in->types[i], target, COERCE_IMPLICIT))
			return false;
	}
	struct generic g;
	return !generic || resolve_generic(w, declared, in, &g);
}

static void category_of(uint32_t oid, char *category, bool *preferred)
{
	const struct where_type *t = where_type_builtin(oid);
	*category = t != NULL ? t->category : 'U';
	*preferred = t != NULL && t->preferred;
}

/* Keeps the candidates with the highest score; returns how many. */
static size_t keep_best(struct candidate *c, size_t n, const int *score)
{
	int best = -1;
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		if (score[i] > best)
			best = score[i];
	for (size_t i = 0; i < n; i++)
		if (score[i] == best)
			c[kept++] = c[i];
	return kept;
}

/* For the unknown at one place: the one category, and whether a preferred type is among the candidates. */
static bool unknown_category(const struct candidate *c, size_t n, uint32_t at, char *category, bool *preferred)
{
	bool conflict = false;
	*category = '\0';
	*preferred = false;
	for (size_t i = 0; i < n; i++) {
		char cat;
		bool pref;
		category_of(c[i].args[at], &cat, &pref);
		if (*category == '\0') {
			*category = cat;
			*preferred = pref;
		} else if (cat == *category) {
			*preferred |= pref;
		} else if (cat == 'S') {
			*category = cat;
			*preferred = pref;
		} else {
			conflict = true;
		}
	}
	return !conflict || *category == 'S';
}

static size_t strip_by_category(const struct inputs *in, struct candidate *c, size_t n)
{
	char category[WHERE_PROC_ARGS_MAX];
	bool preferred[WHERE_PROC_ARGS_MAX];
	uint32_t slots = in->n < WHERE_PROC_ARGS_MAX ? in->n : WHERE_PROC_ARGS_MAX;
	for (uint32_t i = 0; i < slots; i++)
		if (in->types[i]->oid == OID_UNKNOWN && !unknown_category(c, n, i, &category[i], &preferred[i]))
			return n;
	bool keep[CANDIDATES_MAX];
	size_t kept = 0;
	for (size_t k = 0; k < n; k++) {
		keep[k] = true;
		for (uint32_t i = 0; i < slots; i++) {
			char cat;
			bool pref;
			if (in->types[i]->oid != OID_UNKNOWN)
				continue;
			category_of(c[k].args[i], &cat, &pref);
			if (cat != category[i] || (preferred[i] && !pref))
				keep[k] = false;
		}
		kept += keep[k];
	}
	if (kept == 0)
		return n;
	kept = 0;
	for (size_t k = 0; k < n; k++)
		if (keep[k])
			c[kept++] = c[k];
	return kept;
}

/* Rules 10.3.4.b on: `c` are those that the inputs can be coerced to. NULL: none or more than one is best. */
static const struct candidate *select_candidate(struct where *w, const struct inputs *in, struct candidate *c, size_t n)
{
	int score[CANDIDATES_MAX];
	uint32_t unknowns = 0;
	if (n == 1)
		return &c[0];
	for (uint32_t i = 0; i < in->n; i++)
		unknowns += in->types[i]->oid == OID_UNKNOWN;
	for (int round = 0; round < 2; round++) { /* most exact matches, then most exact or preferred ones */
		for (size_t k = 0; k < n; k++) {
			score[k] = 0;
			for (uint32_t i = 0; i < in->n; i++) {
				const struct where_type *t = build_base(in->types[i]);
				if (t->oid == OID_UNKNOWN)
					continue;
				char cat;
				bool pref;
				category_of(c[k].args[i], &cat, &pref);
				score[k] += c[k].args[i] == t->oid || (round == 1 && pref && cat == t->category);
			}
		}
		n = keep_best(c, n, score);
		if (n == 1)
			return &c[0];
	}
	if (unknowns == 0)
		return NULL;
	n = strip_by_category(in, c, n);
	if (n == 1)
		return &c[0];
	if (unknowns == in->n)
		return NULL;
	const struct where_type *known = NULL;
	for (uint32_t i = 0; i < in->n; i++) {
		const struct where_type *t = build_base(in->types[i]);
		if (t->oid == OID_UNKNOWN)
			continue;
		if (known != NULL && known != t)
			return NULL;
		known = t;
	}
	const struct where_type *same[CALL_ARGS_MAX];
	for (uint32_t i = 0; i < in->n; i++)
		same[i] = known;
	struct inputs assumed = {same, in->n};
	const struct candidate *found = NULL;
	for (size_t k = 0; k < n; k++) {
		if (!coercible(w, &assumed, c[k].args))
			continue;
		if (found != NULL)
			return NULL;
		found = &c[k];
	}
	return found;
}

static size_t keep_coercible(struct where *w, const struct inputs *in, struct candidate *c, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		if (coercible(w, in, c[i].args))
			c[kept++] = c[i];
	return kept;
}

/* ---- operators ----------------------------------------------------------------------------------------------- */

static const struct where_oper *oper_exact(const struct where_oper *const *o, size_t n, uint32_t left, uint32_t right)
{
	for (size_t i = 0; i < n; i++)
		if (o[i]->left == left && o[i]->right == right)
			return o[i];
	return NULL;
}

static const struct where_oper *select_oper(struct where *w, const struct where_oper *const *o, size_t n,
                                            const struct where_type *l, const struct where_type *r)
{
	struct candidate c[CANDIDATES_MAX];
	uint32_t args[CANDIDATES_MAX][2];
	const struct where_type *types[2] = {l != NULL ? l : r, r};
	struct inputs in = {types, l != NULL ? 2 : 1};
	size_t count = 0;
	if (l != NULL && (l->oid == OID_UNKNOWN) != (r->oid == OID_UNKNOWN)) {
		const struct where_type *known = l->oid == OID_UNKNOWN ? r : l;
		const struct where_oper *found = oper_exact(o, n, known->oid, known->oid);
		if (found == NULL && known->base != NULL)
			found = oper_exact(o, n, known->base->oid, known->base->oid);
		if (found != NULL && known->oid != 0)
			return found;
	} else if (r->oid != 0 && (l == NULL || l->oid != 0)) {
		const struct where_oper *found = oper_exact(o, n, l != NULL ? l->oid : 0, r->oid);
		if (found != NULL)
			return found;
	}
	for (size_t i = 0; i < n && count < CANDIDATES_MAX; i++) {
		if ((o[i]->left == 0) != (l == NULL))
			continue;
		args[count][0] = l != NULL ? o[i]->left : o[i]->right;
		args[count][1] = o[i]->right;
		c[count] = (struct candidate){.oper = o[i], .args = args[count]};
		count++;
	}
	count = keep_coercible(w, &in, c, count);
	if (count == 0)
		return NULL;
	const struct candidate *best = select_candidate(w, &in, c, count);
	return best != NULL ? best->oper : NULL;
}

static bool computed(const struct where_oper *o)
{
	const struct where_proc *p = where_proc_by_oid(o->proc);
	return p != NULL && where_impl_of(p) != NULL;
}

const struct where_oper *resolve_oper(struct builder *b, const char *name, const struct where_type *l,
                                      const struct where_type *r, int location, const struct where_type *declared[2],
                                      const struct where_type **result)
{
	size_t n;
	const struct where_oper *const *named = where_opers_named(name, &n);
	bool any = false;
	for (size_t i = 0; i < n; i++)
		any |= (named[i]->left == 0) == (l == NULL) && computed(named[i]);
	if (!any) {
		build_fail(b, location, "unknown %s operator \"%s\"", l == NULL ? "unary" : "binary", name);
		return NULL;
	}
	const struct where_oper *o = select_oper(b->w, named, n, l, r);
	const struct where_proc *proc = o != NULL ? where_proc_by_oid(o->proc) : NULL;
	if (proc == NULL || where_impl_of(proc) == NULL) {
		build_fail(b, location, "Could not select an operator overload");
		return NULL;
	}
	uint32_t want[2] = {l != NULL ? o->left : o->right, o->right};
	const struct where_type *types[2] = {l != NULL ? l : r, r};
	struct inputs in = {types, l != NULL ? 2 : 1};
	struct generic g;
	bool ok = resolve_generic(b->w, want, &in, &g);
	for (uint32_t i = 0; ok && i < in.n; i++) {
		declared[i] = concrete(b->w, want[i], &g, types[i]);
		ok = declared[i] != NULL;
	}
	*result = ok ? concrete(b->w, o->result, &g, NULL) : NULL;
	if (*result == NULL) {
		build_fail(b, location, "Could not select an operator overload");
		return NULL;
	}
	return o;
}

node_ref resolve_binary(struct builder *b, const char *name, node_ref l, node_ref r, int location)
{
	const struct where_type *declared[2], *result;
	if (l == NULL || r == NULL)
		return NULL;
	const struct where_oper *o = resolve_oper(b, name, l->type, r->type, location, declared, &result);
	if (o == NULL)
		return NULL;
	node_ref args[2] = {resolve_coerce(b, l, declared[0], -1, COERCE_IMPLICIT, location),
	                    resolve_coerce(b, r, declared[1], -1, COERCE_IMPLICIT, location)};
	if (args[0] == NULL || args[1] == NULL)
		return NULL;
	return node_call(b, where_proc_by_oid(o->proc), o, result, args, 2, location);
}

node_ref resolve_prefix(struct builder *b, const char *name, node_ref r, int location)
{
	const struct where_type *declared[2], *result;
	if (r == NULL)
		return NULL;
	const struct where_oper *o = resolve_oper(b, name, NULL, r->type, location, declared, &result);
	if (o == NULL)
		return NULL;
	node_ref arg = resolve_coerce(b, r, declared[0], -1, COERCE_IMPLICIT, location);
	if (arg == NULL)
		return NULL;
	return node_call(b, where_proc_by_oid(o->proc), o, result, &arg, 1, location);
}

/* ---- functions -------------------------------------------------------------------------------------------------- */

node_ref resolve_no_overload(struct builder *b, const char *name, node_ref const *args, uint32_t n, int location)
{
	struct buf list = BUF_INIT(WHERE_MESSAGE_MAX);
	for (uint32_t i = 0; i < n; i++)
		buf_printf(&list, "%s%s", i > 0 ? ", " : "", build_type_text(b, args[i]->type));
	build_fail(b, location, "Could not select a function overload for %s(%s)", name, list.data != NULL ? list.data : "");
	buf_clear(&list);
	return NULL;
}

static node_ref no_function(struct builder *b, const char *name, uint32_t nargs, int location)
{
	struct buf shown = BUF_INIT(WHERE_MESSAGE_MAX);
	sql_name_shown(&shown, name);
	build_fail(b, location, "unknown or unsupported function %s/%u", shown.data != NULL ? shown.data : "", nargs);
	buf_clear(&shown);
	return NULL;
}

/* Declared types for `nargs` arguments; false if the function can't be called with so many. */
static bool expand(struct builder *b, const struct where_proc *p, uint32_t nargs, struct candidate *c)
{
	uint32_t *args = arena_alloc(b->mem, (nargs + 1) * sizeof *args);
	*c = (struct candidate){.proc = p, .args = args};
	if (nargs == p->nargs && p->variadic == 0) {
		memcpy(args, p->args, nargs * sizeof *args);
		return true;
	}
	if (p->variadic == 0 || nargs < p->nargs)
		return false;
	c->expanded = true;
	for (uint32_t i = 0; i < nargs; i++)
		args[i] = i + 1 < p->nargs ? p->args[i] : p->variadic;
	return true;
}

/* int4(x) and the like: a cast in the form of a call. */
static node_ref as_cast(struct builder *b, const char *name, node_ref arg, int location)
{
	const struct where_cast *cast;
	const struct where_type *t = where_type_by_name(name);
	if (t == NULL || t->kind == 'p')
		return NULL;
	if (node_is_unknown(arg))
		return resolve_coerce(b, arg, t, -1, COERCE_EXPLICIT, location);
	enum pathway path = resolve_pathway(b->w, t, arg->type, COERCE_EXPLICIT, &cast);
	if (path != PATH_RELABEL && path != PATH_TEXT)
		return NULL;
	return resolve_coerce(b, arg, t, -1, COERCE_EXPLICIT, location);
}

/* The elements of an expanded VARIADIC as the array that the function takes; for "any" they stay apart. */
static uint32_t pack_variadic(struct builder *b, const struct where_proc *p, node_ref *args, uint32_t nargs, int location)
{
	if (p->variadic == OID_ANY || args[p->nargs - 1] == NULL)
		return nargs;
	uint32_t first = p->nargs - 1u;
	const struct where_type *array = build_array_of(b->w, args[first]->type);
	args[first] = array == NULL ? NULL : node_logic(b, WHERE_ARRAY, array, args + first, nargs - first, location);
	return p->nargs;
}

static node_ref call_candidate(struct builder *b, const struct candidate *c, node_ref *args, uint32_t nargs,
                               const struct inputs *in, int location)
{
	const struct where_proc *p = c->proc;
	struct generic g;
	if (where_impl_of(p) == NULL)
		return no_function(b, p->name, nargs, location);
	if (!resolve_generic(b->w, c->args, in, &g))
		return resolve_no_overload(b, p->name, args, nargs, location);
	node_ref given[CALL_ARGS_MAX];
	for (uint32_t i = 0; i < nargs; i++) {
		const struct where_type *t = concrete(b->w, c->args[i], &g, in->types[i]);
		if (t == NULL)
			return resolve_no_overload(b, p->name, args, nargs, location);
		given[i] = resolve_coerce(b, args[i], t, -1, COERCE_IMPLICIT, args[i]->location);
		if (given[i] == NULL)
			return NULL;
	}
	const struct where_type *result = concrete(b->w, p->result, &g, NULL);
	if (result == NULL)
		return resolve_no_overload(b, p->name, args, nargs, location);
	if (c->expanded)
		nargs = pack_variadic(b, p, given, nargs, location);
	return node_call(b, p, NULL, result, given, nargs, location);
}

node_ref resolve_function(struct builder *b, const char *name, node_ref *args, uint32_t nargs, int location)
{
	size_t n, count = 0;
	const struct where_proc *const *named = where_procs_named(name, &n);
	struct candidate c[CANDIDATES_MAX];
	const struct where_type *types[CALL_ARGS_MAX];
	if (nargs > CALL_ARGS_MAX)
		return build_fail(b, location, "cannot pass more than %d arguments to a function", CALL_ARGS_MAX);
	bool known = false;
	for (size_t i = 0; i < n; i++)
		known |= where_impl_of(named[i]) != NULL;
	for (uint32_t i = 0; i < nargs; i++) {
		if (args[i] == NULL)
			return NULL;
		types[i] = args[i]->type;
	}
	struct inputs in = {types, nargs};
	for (size_t i = 0; i < n && count < CANDIDATES_MAX; i++)
		if (!named[i]->retset && expand(b, named[i], nargs, &c[count]))
			count++;
	for (size_t i = 0; i < count; i++) {
		bool exact = true;
		for (uint32_t k = 0; k < nargs; k++)
			exact &= c[i].args[k] == types[k]->oid && types[k]->oid != OID_UNKNOWN;
		if (exact && nargs > 0)
			return call_candidate(b, &c[i], args, nargs, &in, location);
	}
	if (nargs == 1) {
		node_ref cast = as_cast(b, name, args[0], location);
		if (cast != NULL || b->failed)
			return cast;
	}
	/* Of a comparison only the sign is Postgres's. */
	size_t len = strlen(name);
	if (!known || count == 0 || (len > 3 && strcmp(name + len - 3, "cmp") == 0))
		return no_function(b, name, nargs, location);
	count = keep_coercible(b->w, &in, c, count);
	/* A plain function beats a variadic one taken apart, if both fit. */
	bool plain = false;
	for (size_t i = 0; i < count; i++)
		plain |= !c[i].expanded;
	for (size_t i = 0; plain && i < count;) {
		if (c[i].expanded)
			c[i] = c[--count];
		else
			i++;
	}
	const struct candidate *best = count == 0 ? NULL : select_candidate(b->w, &in, c, count);
	if (best == NULL)
		return resolve_no_overload(b, name, args, nargs, location);
	return call_candidate(b, best, args, nargs, &in, location);
}
