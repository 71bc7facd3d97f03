/*
 * canonical.c - the stored form of a condition, and back.
 *
 * It is the typed tree in prefix form, so that reading it needs neither libpg_query nor the rules for
 * overloads, and means the same whatever library is installed later:
 *
 *   condition  := "w1 " node                      or "w2 ", if there is a subquery
 *   node       := "c" TYPE TEXT                     column, with its type
 *               | "k" TYPE TEXT | "q" TYPE TEXT     constant: of its own type, or written as a string
 *               | "n" TYPE                          NULL
 *               | "(" "o" OID TYPE node* ")"        operator, by pg_operator.oid (fixed for built-in ones)
 *               | "(" "f" OID TYPE node* ")"        function, by pg_proc.oid
 *               | "(" "C" TEXT node ")"             COLLATE, by name
 *               | "(" "m" TYPE node node ")"        array cast: the array, the cast of an element
 *               | "e" TYPE                          the element
 *               | "(" "S" OID TEXT TEXT N (OID node){N} where node{N} ")"
 *                                                   subquery: its table by oid, schema and name; for each of N comparisons the
 *                                                   operator and its right side, a node of that table; its condition, "-": none,
 *                                                   another one; the left sides
 *               | "(" KIND [OID] TYPE node* ")"     everything else, by its letter below; "-" is an absent bound
 *   TYPE       := OID | "[" TYPE "]" | "@" TEXT TEXT   built in; array; schema and name of an enum or a domain
 *   TEXT       := length ":" bytes
 *
 * A form of another version is refused by where_load(); a later version of Busbar reads this one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "where/build.h"

#define VERSION "w1 "
#define VERSION_SUBQUERIES "w2 "

static const struct { enum where_kind kind; char letter; bool oper; } letters[] = {
	{WHERE_RELABEL, 'r', false}, {WHERE_VIA_TEXT, 't', false}, {WHERE_AND, '&', false}, {WHERE_OR, '|', false},
	{WHERE_NOT, '!', false}, {WHERE_IS_NULL, '0', false}, {WHERE_IS_NOT_NULL, '1', false}, {WHERE_IS_TRUE, 'T', false},
	{WHERE_IS_NOT_TRUE, 'U', false}, {WHERE_IS_FALSE, 'F', false}, {WHERE_IS_NOT_FALSE, 'G', false},
	{WHERE_IS_UNKNOWN, 'H', false}, {WHERE_IS_NOT_UNKNOWN, 'I', false}, {WHERE_DISTINCT, 'd', true},
	{WHERE_NOT_DISTINCT, 'D', true}, {WHERE_NULLIF, 'N', true}, {WHERE_ANY, 'a', true}, {WHERE_ALL, 'A', true},
	{WHERE_IN, 'i', true}, {WHERE_ARRAY, 'v', false}, {WHERE_CASE, 's', false}, {WHERE_COALESCE, 'x', false},
	{WHERE_GREATEST, 'g', false}, {WHERE_LEAST, 'l', false}, {WHERE_SUBSCRIPT, 'b', false}, {WHERE_SLICE, 'B', false},
};

/* ---- writing ------------------------------------------------------------------------------------------- */

static void put_text(struct buf *out, const char *p, size_t n)
{
	buf_printf(out, "%zu:", n);
	buf_put(out, p, n);
}

static void put_type(struct buf *out, const struct where_type *t)
{
	if (t->schema == NULL) {
		buf_printf(out, "%" PRIu32 " ", t->oid);
	} else if (where_type_is_array(t)) {
		buf_putc(out, '[');
		put_type(out, t->elem);
		buf_putc(out, ']');
	} else {
		buf_putc(out, '@');
		put_text(out, t->schema, strlen(t->schema));
		put_text(out, t->name, strlen(t->name));
	}
}

static void put_const(struct buf *out, node_ref n)
{
	if (n->value.is == WHERE_NULL) {
		buf_putc(out, 'n');
		put_type(out, n->type);
		return;
	}
	struct arena scratch = ARENA_INIT;
	struct where_call call = {.mem = &scratch, .collation = where_collation_c(), .result = n->type, .typmod = -1};
	struct buf text = BUF_INIT(WHERE_STATEMENT_MAX * 8u);
	buf_putc(out, n->written == 'q' ? 'q' : 'k');
	put_type(out, n->type);
	if (where_out(&call, n->type, &n->value, &text) < 0 || text.failed)
		out->failed = true;
	else
		put_text(out, text.data != NULL ? text.data : "", text.len);
	buf_clear(&text);
	arena_clear(&scratch);
}

/* Where to, of which condition; its subqueries' sets if they are to stand in their places. */
struct form {
	struct buf *out;
	const struct where *w;
	const struct where_set *sets;
};

static void canonical_node(const struct form *f, node_ref n);

static void put_nodes(const struct form *f, node_ref n)
{
	struct buf *out = f->out;
	for (uint32_t i = 0; i < n->nargs; i++) {
		if (n->args[i] == NULL)
			buf_putc(out, '-');
		else
			canonical_node(f, n->args[i]);
	}
	buf_putc(out, ')');
}

static void put_call(const struct form *f, node_ref n)
{
	struct buf *out = f->out;
	if (n->oper != NULL)
		buf_printf(out, "(o%" PRIu32 " ", n->oper->oid);
	else
		buf_printf(out, "(f%" PRIu32 " ", n->proc->oid);
	put_type(out, n->type);
	put_nodes(f, n);
}

static void put_subquery(const struct form *f, node_ref n)
{
	struct buf *out = f->out;
	const struct where_subquery *q = &f->w->subqueries[n->column];
	const struct pg_table *t = q->inner->table;
	const struct form inside = {out, q->inner, NULL};
	buf_printf(out, "(S%" PRIu32 " ", t->oid);
	put_text(out, t->schema, strlen(t->schema));
	put_text(out, t->name, strlen(t->name));
	buf_printf(out, "%" PRIu32 " ", n->nargs);
	for (uint32_t i = 0; i < n->nargs; i++) {
		buf_printf(out, "%" PRIu32 " ", n->row_ops[i]->oid);
		canonical_node(&inside, q->values[i]);
	}
	if (q->inner->root == NULL)
		buf_putc(out, '-');
	else
		canonical_node(&inside, q->inner->root);
	put_nodes(f, n);
}

/* ---- sets in the places of subqueries ---- */

static void put_bool(struct buf *out, bool b)
{
	buf_printf(out, "k%u 1:%c", OID_BOOL, b ? 't' : 'f');
}

static void put_value(struct buf *out, const struct where_type *t, const struct where_text_value *v)
{
	buf_putc(out, v->p == NULL ? 'n' : 'k');
	put_type(out, t);
	if (v->p != NULL)
		put_text(out, v->p, v->len);
}

/* As array_in() reads it: every element in quotes. */
static void put_array_text(struct buf *out, const struct where_set *set)
{
	struct buf text = BUF_INIT(WHERE_BOUND_MAX);
	buf_putc(&text, '{');
	for (size_t i = 0; i < set->nrows; i++) {
		const struct where_text_value *v = &set->values[i];
		buf_puts(&text, i > 0 ? "," : "");
		buf_puts(&text, v->p == NULL ? "NULL" : "\"");
		for (size_t k = 0; v->p != NULL && k < v->len; k++) {
			if (v->p[k] == '"' || v->p[k] == '\\')
				buf_putc(&text, '\\');
			buf_putc(&text, v->p[k]);
		}
		buf_puts(&text, v->p == NULL ? "" : "\"");
	}
	buf_putc(&text, '}');
	out->failed = out->failed || text.failed;
	put_text(out, text.data, text.len);
	buf_clear(&text);
}

/* x = ANY of an array. */
static void put_any(const struct form *f, node_ref n, const struct where_type *array, const struct where_set *set)
{
	struct buf *out = f->out;
	buf_printf(out, "(a%" PRIu32 " %u ", n->row_ops[0]->oid, OID_BOOL);
	canonical_node(f, n->args[0]);
	buf_putc(out, 'k');
	put_type(out, array);
	put_array_text(out, set);
	buf_putc(out, ')');
}

/* All columns are as in this row. */
static void put_row(const struct form *f, node_ref n, const struct where_subquery *q, const struct where_text_value *row)
{
	if (n->nargs > 1)
		buf_printf(f->out, "(&%u ", OID_BOOL);
	for (uint32_t i = 0; i < n->nargs; i++) {
		buf_printf(f->out, "(o%" PRIu32 " %u ", n->row_ops[i]->oid, OID_BOOL);
		canonical_node(f, n->args[i]);
		put_value(f->out, q->values[i]->type, &row[i]);
		buf_putc(f->out, ')');
	}
	if (n->nargs > 1)
		buf_putc(f->out, ')');
}

static void put_set(const struct form *f, node_ref n)
{
	REQUIRE(n->column < f->w->nsubqueries);
	const struct where_subquery *q = &f->w->subqueries[n->column];
	const struct where_set *set = &f->sets[n->column];
	REQUIRE(q->nvalues == n->nargs && (set->nrows == 0 || n->nargs == 0 || set->values != NULL));
	if (n->nargs == 0 || (q->array == NULL && set->nrows == 0)) {
		put_bool(f->out, set->nrows > 0);
	} else if (q->array != NULL) {
		put_any(f, n, q->array, set);
	} else if (set->nrows == 1) {
		put_row(f, n, q, set->values);
	} else {
		buf_printf(f->out, "(|%u ", OID_BOOL);
		for (size_t i = 0; i < set->nrows && !f->out->failed; i++)
			put_row(f, n, q, set->values + i * n->nargs);
		buf_putc(f->out, ')');
	}
}

static void canonical_node(const struct form *f, node_ref n)
{
	struct buf *out = f->out;
	const struct where *w = f->w;
	switch ((enum where_kind)n->kind) {
	case WHERE_CONST:
		put_const(out, n);
		return;
	case WHERE_COLUMN:
		buf_putc(out, 'c');
		put_type(out, n->type);
		put_text(out, w->table->columns[n->column].name, strlen(w->table->columns[n->column].name));
		return;
	case WHERE_CALL:
		put_call(f, n);
		return;
	case WHERE_ELEMENT:
		buf_putc(out, 'e');
		put_type(out, n->type);
		return;
	case WHERE_ARRAY_CAST:
		buf_puts(out, "(m");
		put_type(out, n->type);
		canonical_node(f, n->args[0]);
		canonical_node(f, n->elem_cast);
		buf_putc(out, ')');
		return;
	case WHERE_SUBQUERY:
		if (f->sets != NULL)
			put_set(f, n);
		else
			put_subquery(f, n);
		return;
	default:
		break;
	}
	if (n->kind == WHERE_RELABEL && n->type == n->args[0]->type) {
		buf_puts(out, "(C");
		put_text(out, n->own->name, strlen(n->own->name));
		put_nodes(f, n);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
		if (letters[i].kind != n->kind)
			continue;
		buf_putc(out, '(');
		buf_putc(out, letters[i].letter);
		if (n->kind == WHERE_ARRAY)
			buf_putc(out, n->nested ? '+' : '.');
		if (letters[i].oper)
			buf_printf(out, "%" PRIu32 " ", n->oper->oid);
		put_type(out, n->type);
		put_nodes(f, n);
		return;
	}
	out->failed = true;
}

void where_canonical(const struct where *w, struct buf *out)
{
	buf_puts(out, w->nsubqueries > 0 ? VERSION_SUBQUERIES : VERSION);
	canonical_node(&(struct form){out, w, NULL}, w->root);
}

void where_bind(const struct where *w, const struct where_set *sets, struct buf *out)
{
	buf_puts(out, VERSION);
	if (w->root == NULL)
		put_bool(out, true);
	else
		canonical_node(&(struct form){out, w, sets}, w->root);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

struct reader {
	struct builder b;
	const char *p, *end;
	const struct where_tables *tables;
	struct err *e;
	bool bad;
};

static node_ref bad(struct reader *r, const char *what)
{
	if (!r->bad)
		err_set(r->e, ERR_NOT_FOUND, "a stored condition no longer fits its table: %s", what);
	r->bad = true;
	return NULL;
}

static bool take(struct reader *r, char c)
{
	if (r->p >= r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

static bool read_number(struct reader *r, char stop, uint32_t *out)
{
	uint64_t v = 0;
	const char *start = r->p;
	while (r->p < r->end && *r->p >= '0' && *r->p <= '9' && v <= UINT32_MAX)
		v = v * 10 + (uint64_t)(*r->p++ - '0');
	if (r->p == start || v > UINT32_MAX || !take(r, stop)) {
		bad(r, "it is damaged");
		return false;
	}
	*out = (uint32_t)v;
	return true;
}

static bool read_text(struct reader *r, const char **p, uint32_t *n)
{
	if (!read_number(r, ':', n))
		return false;
	if ((size_t)(r->end - r->p) < *n) {
		bad(r, "it is damaged");
		return false;
	}
	*p = r->p;
	r->p += *n;
	return true;
}

static const char *read_name(struct reader *r)
{
	const char *p;
	uint32_t n;
	return read_text(r, &p, &n) ? arena_strndup(r->b.mem, p, n) : NULL;
}

static const struct where_type *read_type(struct reader *r)
{
	const struct where_type *t = NULL;
	if (++r->b.depth > 2 * WHERE_DEPTH_MAX) { /* below the nodes around it */
		bad(r, "it is damaged");
	} else if (take(r, '[')) {
		t = read_type(r);
		t = t == NULL ? NULL : build_array_of(r->b.w, t);
		if (!take(r, ']'))
			t = NULL;
	} else if (take(r, '@')) {
		const char *schema = read_name(r), *name = schema == NULL ? NULL : read_name(r);
		t = name == NULL ? NULL : build_type_named(r->b.w, schema, name);
	} else {
		uint32_t oid;
		t = read_number(r, ' ', &oid) ? build_type(r->b.w, oid) : NULL;
	}
	r->b.depth--;
	if (t == NULL)
		bad(r, "a type it names is gone");
	return t;
}

static node_ref read_node(struct reader *r);

static node_ref read_column(struct reader *r)
{
	const char *p;
	uint32_t n;
	const struct where_type *t = read_type(r);
	if (t == NULL || !read_text(r, &p, &n))
		return NULL;
	int i = pg_table_column(r->b.w->table, p, n);
	node_ref c = i < 0 ? NULL : node_column(&r->b, (uint16_t)i, -1);
	return c == NULL || c->type != t ? bad(r, "a column it names is gone or has another type") : c;
}

static node_ref read_const(struct reader *r, char written)
{
	const char *p;
	uint32_t n;
	struct where_value v;
	const struct where_type *t = read_type(r);
	if (t == NULL || !read_text(r, &p, &n))
		return NULL;
	struct where_call call = {.mem = r->b.mem, .collation = where_collation_c(), .result = t, .typmod = -1};
	/* A value may point into the text that it was read from. */
	if (where_in(&call, t, arena_dup(r->b.mem, p, n), n, &v) < 0)
		return bad(r, "a constant can't be read");
	return node_const(&r->b, t, v, written == 'q' ? 'q' : '\0', -1);
}

/* Nodes up to the closing parenthesis. */
static node_ref *read_nodes(struct reader *r, uint32_t *n)
{
	uint32_t cap = 4;
	node_ref *out = arena_alloc(r->b.mem, cap * sizeof *out);
	*n = 0;
	while (!take(r, ')')) {
		if (*n == cap) {
			node_ref *more = arena_alloc(r->b.mem, 2 * cap * sizeof *more);
			memcpy(more, out, cap * sizeof *out);
			out = more;
			cap *= 2;
		}
		if (take(r, '-'))
			out[*n] = NULL;
		else if ((out[*n] = read_node(r)) == NULL)
			return NULL;
		++*n;
	}
	return out;
}

static bool none_absent(node_ref const *args, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (args[i] == NULL)
			return false;
	return true;
}

static node_ref read_call(struct reader *r, bool oper)
{
	uint32_t oid, n;
	const struct where_type *t = read_number(r, ' ', &oid) ? read_type(r) : NULL;
	node_ref *args = t == NULL ? NULL : read_nodes(r, &n);
	if (args == NULL)
		return NULL;
	const struct where_oper *o = oper ? where_oper_by_oid(oid) : NULL;
	const struct where_proc *p = oper ? (o != NULL ? where_proc_by_oid(o->proc) : NULL) : where_proc_by_oid(oid);
	if (p == NULL || where_impl_of(p) == NULL || !none_absent(args, n) ||
	    (n != p->nargs && p->variadic != OID_ANY))
		return bad(r, "a function it names is unknown");
	return node_call(&r->b, p, o, t, args, n, -1);
}

static const struct where_collation *find_collation(struct where *w, const char *name)
{
	if (strcmp(name, where_collation_c()->name) == 0)
		return where_collation_c();
	for (int i = 0; i < w->table->ncollations; i++)
		if (strcmp(build_collation(w, i)->name, name) == 0)
			return build_collation(w, i);
	return NULL;
}

static node_ref read_collate(struct reader *r)
{
	uint32_t n;
	const char *name = read_name(r);
	node_ref *args = name == NULL ? NULL : read_nodes(r, &n);
	if (args == NULL)
		return NULL;
	const struct where_collation *c = find_collation(r->b.w, name);
	if (c == NULL || n != 1 || args[0] == NULL)
		return bad(r, "a collation it names is gone");
	return node_collate(&r->b, args[0], c, -1);
}

static bool is_array(const struct where_type *t) { return where_type_is_array(build_base(t)); }

static node_ref read_array_cast(struct reader *r)
{
	uint32_t n;
	const struct where_type *t = read_type(r);
	node_ref *args = t == NULL ? NULL : read_nodes(r, &n);
	if (args == NULL)
		return NULL;
	if (n != 2 || !none_absent(args, n) || !where_type_is_array(t) || !is_array(args[0]->type))
		return bad(r, "it is damaged");
	return node_array_cast(&r->b, args[0], args[1], t, -1);
}

/* How many arguments a kind has, and what evaluation and SQL take for granted of them. */
static bool fits(enum where_kind kind, const struct where_type *t, node_ref const *args, uint32_t n)
{
	if (kind == WHERE_SLICE)
		return n % 2 == 1 && n <= 1 + 2 * WHERE_ARRAY_DIMS_MAX && args[0] != NULL && is_array(args[0]->type);
	if (!none_absent(args, n))
		return false;
	switch (kind) {
	case WHERE_ARRAY:
		return is_array(t);
	case WHERE_RELABEL:
		return n == 1 && t != args[0]->type;
	case WHERE_ANY:
	case WHERE_ALL:
		return n == 2 && is_array(args[1]->type);
	case WHERE_SUBSCRIPT:
		return n >= 2 && is_array(args[0]->type);
	case WHERE_CASE:
		return n % 2 == 1;
	default:
		return n > 0;
	}
}

static node_ref read_other(struct reader *r, char letter)
{
	uint32_t oid = 0, n;
	size_t k = 0;
	while (k < ARRAY_LEN(letters) && letters[k].letter != letter)
		k++;
	if (k == ARRAY_LEN(letters))
		return bad(r, "it is damaged");
	enum where_kind kind = letters[k].kind;
	bool nested = false;
	if (kind == WHERE_ARRAY && !(nested = take(r, '+')) && !take(r, '.'))
		return bad(r, "it is damaged");
	if (letters[k].oper && !read_number(r, ' ', &oid))
		return NULL;
	const struct where_type *t = read_type(r);
	node_ref *args = t == NULL ? NULL : read_nodes(r, &n);
	if (args == NULL)
		return NULL;
	if (!fits(kind, t, args, n))
		return bad(r, "it is damaged");
	if (letters[k].oper) {
		const struct where_oper *o = where_oper_by_oid(oid);
		const struct where_proc *p = o == NULL ? NULL : where_proc_by_oid(o->proc);
		if (p == NULL || where_impl_of(p) == NULL || n < 2)
			return bad(r, "an operator it names is unknown");
		return node_with_oper(&r->b, kind, t, o, args, n, -1);
	}
	if (kind == WHERE_RELABEL)
		return node_relabel(&r->b, args[0], t, -1);
	struct where_node *out = (struct where_node *)node_logic(&r->b, kind, t, args, n, -1);
	if (out != NULL)
		out->nested = nested;
	return out;
}

static const struct pg_table *read_table(struct reader *r)
{
	uint32_t oid;
	const char *schema, *name;
	if (!read_number(r, ' ', &oid) || (schema = read_name(r)) == NULL || (name = read_name(r)) == NULL)
		return NULL;
	for (size_t i = 0; r->tables != NULL && i < r->tables->n; i++) {
		const struct pg_table *t = r->tables->list[i];
		if (t->oid == oid && strcmp(t->schema, schema) == 0 && strcmp(t->name, name) == 0)
			return t;
	}
	bad(r, "a table of a subquery is gone");
	return NULL;
}

/* The right sides and the condition, by a reader on the table inside; what it consumed is consumed. */
static bool read_inside(struct reader *r, uint16_t index, const struct where_oper **opers, uint32_t n)
{
	struct where *inner = r->b.w->subqueries[index].inner;
	struct reader in = *r;
	in.b.w = inner;
	in.b.mem = &inner->mem;
	in.b.level++;
	in.b.depth = 0;
	node_ref *values = arena_alloc(in.b.mem, (n + 1) * sizeof *values);
	for (uint32_t i = 0; i < n && !in.bad; i++) {
		uint32_t oid;
		const struct where_oper *o = read_number(&in, ' ', &oid) ? where_oper_by_oid(oid) : NULL;
		const struct where_proc *p = o == NULL ? NULL : where_proc_by_oid(o->proc);
		if (p == NULL || where_impl_of(p) == NULL)
			bad(&in, "an operator it names is unknown");
		else
			values[i] = read_node(&in);
		opers[i] = o;
	}
	if (!in.bad && !take(&in, '-'))
		inner->root = read_node(&in);
	r->bad = in.bad;
	r->b.failed = in.b.failed;
	r->p = in.p;
	r->b.w->subqueries[index].values = values;
	r->b.w->subqueries[index].nvalues = (uint16_t)n;
	return !r->bad;
}

static node_ref read_subquery(struct reader *r)
{
	uint32_t n, nargs;
	const struct pg_table *t = read_table(r);
	if (t == NULL || !read_number(r, ' ', &n))
		return NULL;
	if (n > WHERE_SUBQUERY_WIDTH_MAX || r->b.level >= WHERE_SUBQUERY_DEPTH_MAX || ++*r->b.subqueries > WHERE_SUBQUERIES_MAX)
		return bad(r, "it is damaged");
	const struct where_oper **opers = arena_alloc(r->b.mem, (n + 1) * sizeof *opers);
	uint16_t index = r->b.w->nsubqueries;
	where_add_subquery(r->b.w, where_new(t));
	if (!read_inside(r, index, opers, n))
		return NULL;
	node_ref *args = read_nodes(r, &nargs);
	if (args == NULL)
		return NULL;
	if (nargs != n || !none_absent(args, n))
		return bad(r, "it is damaged");
	return node_subquery(&r->b, index, opers, args, r->b.w->subqueries[index].values, n, -1);
}

static node_ref read_group(struct reader *r)
{
	char letter = r->p < r->end ? *r->p++ : '\0';
	switch (letter) {
	case 'o': return read_call(r, true);
	case 'f': return read_call(r, false);
	case 'C': return read_collate(r);
	case 'm': return read_array_cast(r);
	case 'S': return read_subquery(r);
	default: return read_other(r, letter);
	}
}

static node_ref read_node(struct reader *r)
{
	node_ref n = NULL;
	const struct where_type *t;
	if (r->bad)
		return NULL;
	if (++r->b.depth > WHERE_DEPTH_MAX)
		return bad(r, "it is nested too deeply");
	if (take(r, 'c'))
		n = read_column(r);
	else if (take(r, 'k'))
		n = read_const(r, 'k');
	else if (take(r, 'q'))
		n = read_const(r, 'q');
	else if (take(r, 'n'))
		n = (t = read_type(r)) == NULL ? NULL : node_null(&r->b, t, -1);
	else if (take(r, 'e'))
		n = (t = read_type(r)) == NULL ? NULL : node_element(&r->b, t);
	else if (take(r, '('))
		n = read_group(r);
	r->b.depth--;
	return n != NULL ? n : bad(r, r->b.failed ? r->b.message : "it is damaged");
}

bool where_has_subqueries(const char *canonical)
{
	return strncmp(canonical, VERSION_SUBQUERIES, strlen(VERSION_SUBQUERIES)) == 0;
}

int where_load(const struct pg_table *t, const struct where_tables *tables, const char *canonical, size_t len,
               struct where **out, struct err *e)
{
	char message[WHERE_MESSAGE_MAX] = "";
	size_t version = strlen(VERSION);
	unsigned subqueries = 0;
	if (len < version || (memcmp(canonical, VERSION, version) != 0 && memcmp(canonical, VERSION_SUBQUERIES, version) != 0))
		return err_set(e, ERR_CONFIG, "a stored condition has a form that this version of Busbar doesn't know");
	struct where *w = where_new(t);
	struct reader r = {.b = {.w = w, .mem = &w->mem, .message = message, .subqueries = &subqueries}, .tables = tables,
	                   .p = canonical + version, .end = canonical + len, .e = e};
	node_ref n = read_node(&r);
	if (n != NULL && (r.p != r.end || build_base(n->type)->oid != OID_BOOL))
		n = bad(&r, "it is damaged");
	if (n == NULL) {
		where_free(w);
		return -1;
	}
	w->root = n;
	*out = w;
	return 0;
}
