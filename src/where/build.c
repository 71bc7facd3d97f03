/*
 * build.c - makes typed nodes and derives what each carries: its type, its collation, which columns are used.
 *
 * Collations follow Postgres's rules (parse_collate.c is the reference): explicit beats implicit, an
 * implicit one that isn't the default beats the default, two different ones are a conflict that matters
 * only to a function that needs one. What we can't reproduce of a collation is refused here.
 */
#include "where/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "where/pool.h"

enum strength { STRENGTH_NONE, STRENGTH_IMPLICIT, STRENGTH_EXPLICIT, STRENGTH_CONFLICT };

/* ---- failing ---------------------------------------------------------------------------------------- */

static node_ref fail_text(struct builder *b, int location, bool with_location, const char *fmt, va_list ap)
{
	if (b->failed)
		return NULL;
	b->failed = true;
	size_t at = 0;
	if (with_location) {
		int n = location < (int)b->prefix ? 0 : location - (int)b->prefix;
		at = (size_t)snprintf(b->message, WHERE_MESSAGE_MAX, "At location %d: ", n);
	}
	vsnprintf(b->message + at, WHERE_MESSAGE_MAX - at, fmt, ap);
	return NULL;
}

node_ref build_fail(struct builder *b, int location, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fail_text(b, location, true, fmt, ap);
	va_end(ap);
	return NULL;
}

node_ref build_fail_plain(struct builder *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fail_text(b, 0, false, fmt, ap);
	va_end(ap);
	return NULL;
}

/* ---- constants ------------------------------------------------------------------------------------------ */

void build_check_constants(struct builder *b, node_ref n)
{
	char reason[WHERE_REASON_MAX] = "";
	uint32_t id;
	struct where_pool *pool = where_pool_new(b->w->table);
	where_pool_fold_as_planner(pool, b->fold_steps);
	int rc = where_pool_add(pool, n, &id, reason);
	if (rc == 0)
		where_pool_unref(pool, id);
	else if (rc == -2)
		build_fail(b, -1, "%s", reason);
	else if (rc == -3)
		build_fail(b, -1, WHERE_TOO_COSTLY ": the constants of this condition take too much work to compute; put the results in "
		           "their place");
	else
		build_fail(b, -1, "Failed to apply function to constant arguments");
	where_pool_free(pool);
}

/* ---- the condition ------------------------------------------------------------------------------------- */

struct where *where_new(const struct pg_table *t)
{
	struct where *w = mem_zalloc(sizeof *w);
	w->table = pg_table_ref((struct pg_table *)t);
	w->uses = arena_alloc(&w->mem, t->ncolumns * sizeof *w->uses + 1);
	memset(w->uses, 0, t->ncolumns * sizeof *w->uses + 1);
	w->column_types = arena_alloc(&w->mem, (t->ncolumns + 1u) * sizeof *w->column_types);
	memset(w->column_types, 0, (t->ncolumns + 1u) * sizeof *w->column_types);
	w->collations = arena_alloc(&w->mem, (t->ncollations + 1u) * sizeof *w->collations);
	memset(w->collations, 0, (t->ncollations + 1u) * sizeof *w->collations);
	return w;
}

void where_free(struct where *w)
{
	if (w == NULL)
		return;
	for (uint16_t i = 0; i < w->nsubqueries; i++)
		where_free(w->subqueries[i].inner);
	free(w->subqueries);
	pg_table_unref(w->table);
	arena_clear(&w->mem);
	free(w);
}

struct where_subquery *where_add_subquery(struct where *w, struct where *inner)
{
	w->subqueries = mem_realloc(w->subqueries, (w->nsubqueries + 1u) * sizeof *w->subqueries);
	w->subqueries[w->nsubqueries] = (struct where_subquery){.inner = inner};
	return &w->subqueries[w->nsubqueries++];
}

size_t where_subqueries(const struct where *w) { return w->nsubqueries; }

const struct where *where_subquery(const struct where *w, size_t i)
{
	REQUIRE(i < w->nsubqueries);
	return w->subqueries[i].inner;
}

size_t where_subquery_width(const struct where *w, size_t i)
{
	REQUIRE(i < w->nsubqueries);
	return w->subqueries[i].nvalues;
}

const struct where_type *const *where_subquery_types(const struct where *w, size_t i)
{
	REQUIRE(i < w->nsubqueries);
	return w->subqueries[i].types;
}

const struct where_node *const *where_subquery_values(const struct where *w, size_t i)
{
	REQUIRE(i < w->nsubqueries);
	return w->subqueries[i].values;
}

/* How a subquery stands below a node: not at all, below IS TRUE only, or where unknown isn't the same as false. */
enum standing { STANDS_NOWHERE, STANDS_IS_TRUE, STANDS_OPEN };

static enum standing standing_of(node_ref n, size_t i, bool is_true)
{
	if (n == NULL)
		return STANDS_NOWHERE;
	enum standing found = STANDS_NOWHERE;
	if (n->kind == WHERE_SUBQUERY && n->column == i)
		found = is_true ? STANDS_IS_TRUE : STANDS_OPEN;
	for (uint32_t k = 0; k < n->nargs && found != STANDS_OPEN; k++) {
		enum standing below = standing_of(n->args[k], i, n->kind == WHERE_IS_TRUE);
		found = below > found ? below : found;
	}
	return found;
}

bool where_subquery_ignores_nulls(const struct where *w, size_t i)
{
	REQUIRE(i < w->nsubqueries);
	return w->subqueries[i].nvalues > 0 && standing_of(w->root, i, false) == STANDS_IS_TRUE;
}

const struct pg_table *where_table(const struct where *w) { return w->table; }

/* Of so many bytes that an array of all columns has less than Postgres's limit. */
static bool is_small(const struct where_type *t) { return strchr("BDNT", t->category) != NULL; }

static bool node_may_fail(struct where_pool *pool, const struct where_node *n)
{
	char reason[WHERE_REASON_MAX];
	struct where_pool_node node;
	uint32_t id;
	if (where_pool_add(pool, n, &id, reason) != 0)
		return true;
	where_pool_look(pool, id, &node);
	where_pool_unref(pool, id);
	return !node.safe;
}

/*
 * Each part by itself: the pool computes more than Postgres's planner does, stable functions of constants foremost, and leaves out
 * what these decide; Postgres computes it.
 */
static bool part_may_fail(struct where_pool *pool, const struct where_node *n)
{
	if (n->kind == WHERE_CONST || n->kind == WHERE_COLUMN)
		return false;
	for (uint32_t i = 0; i < n->nargs; i++) {
		const struct where_node *a = n->args[i];
		if (a != NULL && ((n->kind == WHERE_ARRAY && a->kind != WHERE_CONST && !is_small(a->type)) || part_may_fail(pool, a)))
			return true;
	}
	return n->kind != WHERE_ROW && node_may_fail(pool, n); /* a row is only what is below it */
}

bool where_may_fail(const struct where *w)
{
	uint64_t steps = WHERE_FOLD_STEPS_MAX;
	struct where_pool *pool = where_pool_new(w->table);
	where_pool_fold_as_planner(pool, &steps);
	bool may = part_may_fail(pool, w->root);
	where_pool_free(pool);
	return may;
}

const struct where_node *where_root(const struct where *w) { return w->root; }

bool where_uses(const struct where *w, uint16_t column) { return column < w->table->ncolumns && w->uses[column]; }

bool where_uses_of(const struct where *w, uint32_t oid, uint16_t column)
{
	bool uses = w->table->oid == oid && where_uses(w, column);
	for (uint16_t i = 0; i < w->nsubqueries && !uses; i++)
		uses = where_uses_of(w->subqueries[i].inner, oid, column);
	return uses;
}

/* ---- types ----------------------------------------------------------------------------------------------- */

static struct where_type *new_type(struct where *w)
{
	struct where_user_type *u = arena_alloc(&w->mem, sizeof *u);
	memset(u, 0, sizeof *u);
	u->next = w->types;
	w->types = u;
	return &u->type;
}

static void fill_user_type(struct where *w, struct where_type *t, const struct pg_type *p)
{
	t->schema = arena_strndup(&w->mem, p->schema, strlen(p->schema));
	t->name = arena_strndup(&w->mem, p->name, strlen(p->name));
	t->kind = p->kind;
	if (p->kind == 'e') {
		const char **labels = arena_alloc(&w->mem, (p->nlabels + 1u) * sizeof *labels);
		for (uint16_t i = 0; i < p->nlabels; i++)
			labels[i] = arena_strndup(&w->mem, p->labels[i], strlen(p->labels[i]));
		t->category = 'E';
		t->labels = labels;
		t->nlabels = p->nlabels;
		t->io = where_type_builtin(OID_TEXT)->io;
	} else if (p->kind == 'd') {
		const struct where_type *base = build_type(w, p->base_oid);
		if (base == NULL)
			return;
		t->base = base->base != NULL ? base->base : base;
		t->category = t->base->category;
		t->collatable = t->base->collatable;
		t->io = t->base->io;
	} else if (p->elem_oid != 0) {
		t->category = 'A';
		t->elem_oid = p->elem_oid;
		t->elem = build_type(w, p->elem_oid);
		t->collatable = t->elem != NULL && t->elem->collatable;
	} else {
		t->category = 'U';
	}
}

const struct where_type *build_type(struct where *w, uint32_t oid)
{
	const struct where_type *builtin = where_type_builtin(oid);
	if (builtin != NULL)
		return builtin;
	for (const struct where_user_type *u = w->types; u != NULL; u = u->next)
		if (u->type.oid == oid && oid != 0)
			return &u->type;
	const struct pg_type *p = pg_table_type(w->table, oid);
	if (p == NULL)
		return NULL;
	struct where_type *t = new_type(w);
	t->oid = oid; /* set first: a type that leads to itself ends here */
	fill_user_type(w, t, p);
	return t;
}

const struct where_type *build_type_named(struct where *w, const char *schema, const char *name)
{
	if (schema == NULL || strcmp(schema, "pg_catalog") == 0) {
		const struct where_type *t = where_type_by_name(name);
		if (t != NULL || schema != NULL)
			return t;
	}
	const struct pg_table *table = w->table;
	const struct pg_type *found = NULL;
	for (uint16_t i = 0; i < table->ntypes; i++) {
		const struct pg_type *p = &table->types[i];
		if (strcmp(p->name, name) != 0 || (schema != NULL && strcmp(p->schema, schema) != 0))
			continue;
		if (found == NULL || strcmp(p->schema, "public") == 0)
			found = p;
	}
	return found == NULL ? NULL : build_type(w, found->oid);
}

const struct where_type *build_array_of(struct where *w, const struct where_type *elem)
{
	if (elem->array_oid != 0)
		return where_type_builtin(elem->array_oid);
	for (uint16_t i = 0; elem->oid != 0 && i < w->table->ntypes; i++)
		if (w->table->types[i].elem_oid == elem->oid)
			return build_type(w, w->table->types[i].oid);
	for (const struct where_user_type *u = w->types; u != NULL; u = u->next)
		if (u->type.elem == elem)
			return &u->type;
	if (elem->kind != 'e' && elem->kind != 'd')
		return NULL;
	/* No column has it, so its oid isn't known; it is written as its element with []. */
	struct where_type *t = new_type(w);
	t->kind = 'b';
	t->category = 'A';
	t->schema = elem->schema;
	t->name = "";
	t->elem = elem;
	t->elem_oid = elem->oid;
	t->collatable = elem->collatable;
	return t;
}

static const struct where_type *copy_type(struct where *w, const struct where_type *t)
{
	struct where_type *own = new_type(w);
	const char **labels = arena_alloc(&w->mem, (t->nlabels + 1u) * sizeof *labels);
	for (uint32_t i = 0; i < t->nlabels; i++)
		labels[i] = arena_strndup(&w->mem, t->labels[i], strlen(t->labels[i]));
	*own = *t;
	own->name = arena_strndup(&w->mem, t->name, strlen(t->name));
	own->schema = t->schema == NULL ? NULL : arena_strndup(&w->mem, t->schema, strlen(t->schema));
	own->labels = labels;
	return own;
}

const struct where_type *build_same_type(struct where *w, const struct where_type *t)
{
	if (t == NULL || where_type_builtin(t->oid) == t)
		return t;
	if (where_type_is_array(t)) {
		const struct where_type *elem = build_same_type(w, t->elem);
		return elem == NULL ? NULL : build_array_of(w, elem);
	}
	const struct where_type *known = build_type(w, t->oid);
	if (known != NULL || t->base != NULL) /* a domain that no column has means its base */
		return known != NULL ? known : build_same_type(w, t->base);
	return copy_type(w, t);
}

const struct where_type *build_base(const struct where_type *t) { return t->base != NULL ? t->base : t; }

const char *build_type_text(struct builder *b, const struct where_type *t)
{
	struct buf out = BUF_INIT(512);
	if (where_type_is_array(t))
		buf_printf(&out, "%s[]", build_type_text(b, t->elem));
	else if (t->kind == 'e')
		buf_printf(&out, "enum %s", t->name);
	else
		buf_puts(&out, t->name);
	char *text = arena_strndup(b->mem, out.data != NULL ? out.data : "", out.len);
	buf_clear(&out);
	return text;
}

const struct where_collation *build_collation(struct where *w, int index)
{
	if (index < 0 || index >= w->table->ncollations)
		return NULL;
	if (w->collations[index] == NULL) {
		const struct pg_collation *c = &w->table->collations[index];
		w->collations[index] = where_collation_get(index == 0 ? "default" : c->name, c->provider, c->collate, c->ctype,
		                                           c->version, c->deterministic);
	}
	return w->collations[index];
}

static const struct where_collation *default_collation(struct where *w)
{
	const struct where_collation *c = build_collation(w, 0);
	return c != NULL ? c : where_collation_c();
}

/* What a value of the type brings with it: pg_type.typcollation, "C" for name. */
static const struct where_collation *type_collation(struct where *w, const struct where_type *t)
{
	const struct where_type *elem = build_base(t);
	if (elem->elem != NULL)
		elem = build_base(elem->elem);
	return elem->oid == OID_NAME ? where_collation_c() : default_collation(w);
}

/* ---- collations of nodes --------------------------------------------------------------------------------- */

enum need { NEED_NOTHING, NEED_EQUALITY, NEED_ORDER, NEED_CASE };

struct need_of { const char *prosrc; enum need need; };

/* Functions whose answer depends on the collation. Others of text don't look at it. */
static const struct need_of needs[] = {
	{"texteq", NEED_EQUALITY}, {"textne", NEED_EQUALITY}, {"bpchareq", NEED_EQUALITY}, {"bpcharne", NEED_EQUALITY},
	{"nameeq", NEED_EQUALITY}, {"namene", NEED_EQUALITY}, {"nameeqtext", NEED_EQUALITY}, {"texteqname", NEED_EQUALITY},
	{"namenetext", NEED_EQUALITY}, {"textnename", NEED_EQUALITY},
	{"text_lt", NEED_ORDER}, {"text_le", NEED_ORDER}, {"text_gt", NEED_ORDER}, {"text_ge", NEED_ORDER},
	{"bpcharlt", NEED_ORDER}, {"bpcharle", NEED_ORDER}, {"bpchargt", NEED_ORDER}, {"bpcharge", NEED_ORDER},
	{"namelt", NEED_ORDER}, {"namele", NEED_ORDER}, {"namegt", NEED_ORDER}, {"namege", NEED_ORDER},
	{"namelttext", NEED_ORDER}, {"nameletext", NEED_ORDER}, {"namegttext", NEED_ORDER}, {"namegetext", NEED_ORDER},
	{"textltname", NEED_ORDER}, {"textlename", NEED_ORDER}, {"textgtname", NEED_ORDER}, {"textgename", NEED_ORDER},
	{"text_larger", NEED_ORDER}, {"text_smaller", NEED_ORDER}, {"bpchar_larger", NEED_ORDER},
	{"bpchar_smaller", NEED_ORDER}, {"bttextcmp", NEED_ORDER}, {"bpcharcmp", NEED_ORDER},
	{"array_lt", NEED_ORDER}, {"array_le", NEED_ORDER}, {"array_gt", NEED_ORDER}, {"array_ge", NEED_ORDER},
	{"array_larger", NEED_ORDER}, {"array_smaller", NEED_ORDER}, {"btarraycmp", NEED_ORDER},
	{"array_eq", NEED_EQUALITY}, {"array_ne", NEED_EQUALITY}, {"arraycontains", NEED_EQUALITY},
	{"arraycontained", NEED_EQUALITY}, {"arrayoverlap", NEED_EQUALITY}, {"array_position", NEED_EQUALITY},
	{"array_position_start", NEED_EQUALITY}, {"array_positions", NEED_EQUALITY}, {"array_remove", NEED_EQUALITY},
	{"array_replace", NEED_EQUALITY},
	{"textlike", NEED_EQUALITY}, {"textnlike", NEED_EQUALITY}, {"namelike", NEED_EQUALITY}, {"namenlike", NEED_EQUALITY},
	{"text_starts_with", NEED_EQUALITY}, {"textpos", NEED_EQUALITY}, {"replace_text", NEED_EQUALITY},
	{"split_part", NEED_EQUALITY}, {"text_to_array", NEED_EQUALITY}, {"text_to_array_null", NEED_EQUALITY},
	{"jsonb_lt", NEED_ORDER}, {"jsonb_le", NEED_ORDER}, {"jsonb_gt", NEED_ORDER}, {"jsonb_ge", NEED_ORDER},
	{"texticlike", NEED_CASE}, {"texticnlike", NEED_CASE}, {"nameiclike", NEED_CASE}, {"nameicnlike", NEED_CASE},
	{"lower", NEED_CASE}, {"upper", NEED_CASE}, {"initcap", NEED_CASE},
	{"textregexeq", NEED_CASE}, {"textregexne", NEED_CASE}, {"texticregexeq", NEED_CASE}, {"texticregexne", NEED_CASE},
	{"nameregexeq", NEED_CASE}, {"nameregexne", NEED_CASE}, {"nameicregexeq", NEED_CASE},
	{"nameicregexne", NEED_CASE}, {"regexp_like", NEED_CASE}, {"regexp_like_no_flags", NEED_CASE},
};

static enum need need_of(const struct where_proc *p)
{
	for (size_t i = 0; p != NULL && i < ARRAY_LEN(needs); i++)
		if (strcmp(needs[i].prosrc, p->prosrc) == 0)
			return needs[i].need;
	return NEED_NOTHING;
}

/* What the arguments give together. */
static void merge_collations(struct builder *b, node_ref const *args, uint32_t n, const struct where_collation **out,
                             uint8_t *strength)
{
	const struct where_collation *by_default = default_collation(b->w);
	*out = NULL;
	*strength = STRENGTH_NONE;
	for (uint32_t i = 0; i < n; i++) {
		if (args[i] == NULL)
			continue;
		uint8_t s = args[i]->strength;
		const struct where_collation *c = args[i]->own;
		if (s > *strength) {
			*strength = s;
			*out = c;
		} else if (s == *strength && s == STRENGTH_IMPLICIT && c != *out) {
			if (*out == by_default)
				*out = c;
			else if (c != by_default)
				*strength = STRENGTH_CONFLICT;
		} else if (s == *strength && s == STRENGTH_EXPLICIT && c != *out) {
			build_fail(b, args[i]->location, "collation mismatch between explicit collations \"%s\" and \"%s\"",
			           (*out)->name, c->name);
			return;
		}
	}
}

/* A conflict is settled by nothing but an explicit collation above it; it outranks an implicit one. */
static bool check_need(struct builder *b, enum need need, const struct where_collation *c, uint8_t strength, int location)
{
	if (need == NEED_NOTHING || c == NULL)
		return true;
	if (strength == STRENGTH_CONFLICT)
		build_fail(b, location, "could not determine which collation to use: name one by COLLATE");
	else if (!c->deterministic)
		build_fail(b, location, "comparisons under the nondeterministic collation \"%s\" are not supported: write COLLATE "
		           "\"C\" behind the column", c->name);
	else if (need == NEED_ORDER && c->order == WHERE_ORDER_NONE)
		build_fail(b, location, "the order of texts under the collation \"%s\" can only be told by the database: write "
		           "COLLATE \"C\" behind the column to compare by bytes", c->name);
	return !b->failed;
}

/*
 * Evaluation orders arrays of jsonb, and jsonb and arrays in GREATEST and LEAST, by bytes; Postgres orders the texts in
 * them by a collation, in jsonb always by the database's.
 */
static bool check_inner_order(struct builder *b, const struct where_type *t, bool extreme, int location)
{
	const struct where_type *base = build_base(t);
	bool array = where_type_is_array(base);
	const struct where_collation *c = default_collation(b->w);
	if (array)
		base = build_base(base->elem);
	bool by_bytes = base->oid == OID_JSONB ? array || extreme : array && extreme && base->collatable;
	bool untold = base->oid == OID_JSONB && c->order == WHERE_ORDER_NONE;
	if (untold || (by_bytes && c->order != WHERE_ORDER_BYTES))
		build_fail(b, location, "the order of values of type %s under the collation \"%s\" can only be told by the database",
		           build_type_text(b, t), c->name);
	return !b->failed;
}

static void set_collation(struct builder *b, struct where_node *n, node_ref const *args, uint32_t nargs, enum need need)
{
	const struct where_collation *c;
	uint8_t strength;
	merge_collations(b, args, nargs, &c, &strength);
	if (b->failed || !check_need(b, need, c, strength, n->location))
		return;
	n->collation = c != NULL ? c : type_collation(b->w, n->type);
	if (!n->type->collatable)
		return;
	n->own = n->collation;
	n->strength = strength == STRENGTH_NONE ? STRENGTH_IMPLICIT : strength;
}

/* ---- nodes -------------------------------------------------------------------------------------------------- */

static struct where_node *node_new(struct builder *b, enum where_kind kind, const struct where_type *type, uint32_t nargs,
                            int location)
{
	struct where_node *n = arena_alloc(b->mem, sizeof *n);
	memset(n, 0, sizeof *n);
	n->kind = (uint8_t)kind;
	n->type = type;
	n->typmod = -1;
	n->location = location;
	n->nargs = nargs;
	n->depth = 1;
	n->size = 1;
	if (nargs > 0)
		n->args = arena_alloc(b->mem, nargs * sizeof *n->args);
	return n;
}

/* Its values can be read from their text. Of others only their being NULL is known. */
static bool readable(const struct where_type *t)
{
	t = build_base(t);
	if (where_type_is_array(t))
		return readable(t->elem);
	return t->io != NULL || t->oid == OID_RECORD || t->oid == OID_UNKNOWN;
}

static node_ref unreadable(struct builder *b, const struct where_type *t, int location)
{
	return build_fail(b, location, "values of type %s can only be tested by IS NULL and IS NOT NULL", build_type_text(b, t));
}

/* Trees are walked by recursion, and a shared argument as often as it stands there: both are bounded here. */
static bool count_below(struct builder *b, struct where_node *n, node_ref below)
{
	if (below == NULL)
		return true;
	if (!readable(below->type) && n->kind != WHERE_IS_NULL && n->kind != WHERE_IS_NOT_NULL && n->kind != WHERE_ROW)
		unreadable(b, below->type, below->location);
	if (below->depth >= n->depth)
		n->depth = (uint16_t)(below->depth + 1);
	n->size += below->size; /* neither is above WHERE_NODES_MAX */
	if (n->depth > WHERE_DEPTH_MAX)
		build_fail(b, n->location, "the expression is nested more than %d levels deep", WHERE_DEPTH_MAX);
	else if (n->size > WHERE_NODES_MAX)
		build_fail(b, n->location, "the expression is too large");
	return !b->failed;
}

static bool set_args(struct builder *b, struct where_node *n, node_ref const *args)
{
	for (uint32_t i = 0; i < n->nargs; i++) {
		if (args[i] == NULL || !count_below(b, n, args[i]))
			return false;
		n->args[i] = args[i];
	}
	return true;
}

node_ref node_const(struct builder *b, const struct where_type *t, struct where_value v, char written, int location)
{
	struct where_node *n = node_new(b, WHERE_CONST, t, 0, location);
	n->value = v;
	n->written = (uint8_t)written;
	if (t->collatable) {
		n->own = n->collation = type_collation(b->w, t);
		n->strength = STRENGTH_IMPLICIT;
	}
	return n;
}

node_ref node_null(struct builder *b, const struct where_type *t, int location)
{
	return node_const(b, t, where_null(), 'q', location);
}

node_ref node_text_const(struct builder *b, const struct where_type *t, const char *p, size_t n, int location)
{
	return node_text_const_as(b, t, -1, p, n, location);
}

node_ref node_text_const_as(struct builder *b, const struct where_type *t, int32_t typmod, const char *p, size_t n, int location)
{
	struct where_call call = {.mem = b->mem, .collation = default_collation(b->w), .result = t, .typmod = typmod};
	struct where_value v;
	if (n > WHERE_CONSTANTS_MAX - b->constants)
		return build_fail(b, location, "the condition is too long with its parameters");
	b->constants += n;
	if (where_in(&call, t, p, n, &v) < 0)
		return build_fail(b, location, "invalid syntax for type %s: %.*s", build_type_text(b, t), (int)(n < 400 ? n : 400), p);
	return node_const(b, t, v, 'q', location);
}

node_ref node_column(struct builder *b, uint16_t column, int location)
{
	struct where *w = b->w;
	const struct pg_column *c = &w->table->columns[column];
	if (w->column_types[column] == NULL) {
		const struct where_type *t = build_type(w, c->type_oid);
		if (t == NULL) {
			/* Something we know nothing of but its name: null tests work. */
			struct where_type *opaque = new_type(w);
			opaque->oid = c->type_oid;
			opaque->name = arena_strndup(&w->mem, c->type_name, strlen(c->type_name));
			opaque->kind = 'b';
			opaque->category = 'U';
			t = opaque;
		}
		w->column_types[column] = t;
	}
	w->uses[column] = true;
	struct where_node *n = node_new(b, WHERE_COLUMN, w->column_types[column], 0, location);
	n->column = column;
	if (c->collation >= 0) {
		n->own = n->collation = build_collation(w, c->collation);
		n->strength = STRENGTH_IMPLICIT;
	}
	return n;
}

node_ref node_call(struct builder *b, const struct where_proc *proc, const struct where_oper *oper,
                   const struct where_type *result, node_ref const *args, uint32_t nargs, int location)
{
	const struct where_type *type = result != NULL ? result : build_type(b->w, proc->result);
	if (type == NULL)
		return build_fail(b, location, "the result type of %s is not supported", proc->name);
	struct where_node *n = node_new(b, WHERE_CALL, type, nargs, location);
	n->proc = proc;
	n->oper = oper;
	if (!set_args(b, n, args))
		return NULL;
	set_collation(b, n, args, nargs, need_of(proc));
	if (need_of(proc) == NEED_ORDER && nargs > 0)
		check_inner_order(b, args[0]->type, false, location);
	return b->failed ? NULL : n;
}

node_ref node_logic(struct builder *b, enum where_kind kind, const struct where_type *type, node_ref const *args,
                    uint32_t nargs, int location)
{
	struct where_node *n = node_new(b, kind, type, nargs, location);
	for (uint32_t i = 0; i < nargs; i++) {
		if ((args[i] == NULL && kind != WHERE_SLICE) || !count_below(b, n, args[i]))
			return NULL;
		n->args[i] = args[i];
	}
	bool extreme = kind == WHERE_GREATEST || kind == WHERE_LEAST;
	enum need need = extreme && type->collatable ? NEED_ORDER : NEED_NOTHING;
	if (extreme && !check_inner_order(b, type, true, location))
		return NULL;
	if (type->collatable || need != NEED_NOTHING)
		set_collation(b, n, args, nargs, need);
	return b->failed ? NULL : n;
}

node_ref node_with_oper(struct builder *b, enum where_kind kind, const struct where_type *type,
                        const struct where_oper *oper, node_ref const *args, uint32_t nargs, int location)
{
	struct where_node *n = node_new(b, kind, type, nargs, location);
	n->oper = oper;
	n->proc = where_proc_by_oid(oper->proc);
	if (n->proc == NULL || !set_args(b, n, args))
		return n->proc == NULL ? build_fail(b, location, "Could not select an operator overload") : NULL;
	set_collation(b, n, args, nargs, need_of(n->proc));
	return b->failed ? NULL : n;
}

node_ref node_relabel(struct builder *b, node_ref arg, const struct where_type *type, int location)
{
	if (arg == NULL)
		return NULL;
	struct where_node *n = node_new(b, WHERE_RELABEL, type, 1, location);
	n->args[0] = arg;
	if (!count_below(b, n, arg))
		return NULL;
	set_collation(b, n, &arg, 1, NEED_NOTHING);
	return n;
}

node_ref node_collate(struct builder *b, node_ref arg, const struct where_collation *c, int location)
{
	if (arg == NULL)
		return NULL;
	struct where_node *n = node_new(b, WHERE_RELABEL, arg->type, 1, location);
	n->args[0] = arg;
	n->own = n->collation = c;
	n->strength = STRENGTH_EXPLICIT;
	return count_below(b, n, arg) ? n : NULL;
}

node_ref node_array_cast(struct builder *b, node_ref arg, node_ref elem_cast, const struct where_type *type, int location)
{
	if (arg == NULL || elem_cast == NULL)
		return NULL;
	struct where_node *n = node_new(b, WHERE_ARRAY_CAST, type, 1, location);
	n->args[0] = arg;
	n->elem_cast = elem_cast;
	if (!count_below(b, n, arg) || !count_below(b, n, elem_cast))
		return NULL;
	set_collation(b, n, &arg, 1, NEED_NOTHING);
	return n;
}

node_ref node_element(struct builder *b, const struct where_type *type)
{
	struct where_node *n = node_new(b, WHERE_ELEMENT, type, 0, -1);
	if (type->collatable) {
		n->own = n->collation = type_collation(b->w, type);
		n->strength = STRENGTH_IMPLICIT;
	}
	return n;
}

node_ref node_subquery(struct builder *b, uint16_t index, const struct where_oper **opers, node_ref const *args,
                       node_ref const *values, uint32_t nargs, int location)
{
	REQUIRE(index < b->w->nsubqueries && nargs <= WHERE_SUBQUERY_WIDTH_MAX);
	struct where_node *n = node_new(b, WHERE_SUBQUERY, where_type_builtin(OID_BOOL), nargs, location);
	const struct where_type **types = arena_alloc(b->mem, (nargs + 1) * sizeof *types);
	for (uint32_t i = 0; i < nargs; i++)
		types[i] = values[i]->type;
	b->w->subqueries[index].types = types;
	n->column = index;
	n->row_ops = opers;
	if (!set_args(b, n, args))
		return NULL;
	for (uint32_t i = 0; i < nargs; i++) {
		node_ref pair[2] = {args[i], values[i]};
		const struct where_collation *c;
		uint8_t strength;
		if (!readable(values[i]->type))
			return unreadable(b, values[i]->type, location);
		merge_collations(b, pair, 2, &c, &strength);
		if (b->failed || !check_need(b, need_of(where_proc_by_oid(opers[i]->proc)), c, strength, location))
			return NULL;
	}
	if (nargs == 1) /* now, as a condition is never changed later */
		b->w->subqueries[index].array = build_array_of(b->w, build_same_type(b->w, values[0]->type));
	return n;
}
