/*
 * subquery.c - subqueries of a condition: what they select is a set of values, and a row is compared with that.
 *
 *   x IN (SELECT y FROM t WHERE …), x = ANY (…), (a, b) IN (…)   a WHERE_SUBQUERY over x and y, with the NULLs of Postgres
 *   x NOT IN (…), x <> ALL (…)                                   NOT of that
 *   EXISTS (SELECT … WHERE t.y = x AND …)                        (x IN (SELECT y …)) IS TRUE: where an equality isn't true, be it
 *                                                                for a NULL on either side, there is no row
 *   EXISTS (SELECT … WHERE …), which doesn't look outside        a WHERE_SUBQUERY over nothing: is there a row?
 *
 * Everything else is refused, with the nearest form that is supported. Texts begin as Electric's where it has one
 * (docs/protocol.md 2.7). Types and operators are found as for x = y; the two sides belong to conditions on two tables, each
 * with types of its own.
 */
#include "where/subquery.h"

#include <stdio.h>
#include <string.h>

#include "where/syntax.h"

#define CONJUNCTS_MAX 1024 /* of an EXISTS */

/* One that is being parsed. */
struct link {
	struct builder *b, in;  /* outside, inside */
	uint16_t index;         /* among those of b->w, which move when there are more */
	int location;
	uint32_t n;             /* what is compared, so far */
	node_ref *left, *values;
	const struct where_oper **opers;
	bool differ;            /* two sides that no operator compares; the message says so already */
};

/* ---- names ---------------------------------------------------------------------------------------------- */

static bool names_table(const struct builder *b, const json_t *parts, size_t n)
{
	const char *table = syntax_name(parts, n - 2), *schema = n == 3 ? syntax_name(parts, 0) : NULL;
	const struct pg_table *t = b->w->table;
	if (table == NULL || (n == 3 && schema == NULL))
		return false;
	if (b->alias != NULL)
		return n == 2 && strcmp(table, b->alias) == 0;
	return strcmp(table, t->name) == 0 && (schema == NULL || strcmp(schema, t->schema) == 0);
}

int subquery_own_column(const struct builder *b, const json_t *parts)
{
	size_t n = json_array_size(parts);
	const char *name = n > 0 ? syntax_name(parts, n - 1) : NULL;
	if (name == NULL || n > 3 || (n > 1 && !names_table(b, parts, n)))
		return -1;
	int i = pg_table_column(b->w->table, name, strlen(name));
	return i < 0 || (b->columns != NULL && !b->columns[i]) ? -1 : i;
}

node_ref subquery_not_here(struct builder *b, const json_t *parts, int location)
{
	const struct builder *around = b->outer;
	while (around != NULL && subquery_own_column(around, parts) < 0)
		around = around->outer;
	if (around == NULL)
		return build_fail(b, location, "unknown reference %s", syntax_dotted(b, parts));
	if (around != b->outer)
		return build_fail(b, location, "unknown reference %s: it belongs to a query further out, and a subquery may refer to the one "
		                  "right around it only", syntax_dotted(b, parts));
	return build_fail(b, location, "unknown reference %s: it belongs to the query around this one, and only EXISTS may refer to "
	                  "that, by conditions \"inner column = outer column\" that are joined by AND", syntax_dotted(b, parts));
}

/* Which queries' columns an expression names. */
enum { NAMES_INNER = 1, NAMES_OUTER = 2, NAMES_OTHER = 4 };

static unsigned names_in(const struct link *l, const json_t *j)
{
	unsigned found = 0;
	size_t i;
	const char *key;
	json_t *value;
	if (json_is_array(j)) {
		json_array_foreach((json_t *)j, i, value)
			found |= names_in(l, value);
		return found;
	}
	json_object_foreach((json_t *)j, key, value) {
		if (strcmp(key, "ColumnRef") == 0) {
			const json_t *parts = syntax_field(value, "fields");
			found |= subquery_own_column(&l->in, parts) >= 0 ? NAMES_INNER
			         : subquery_own_column(l->b, parts) >= 0 ? NAMES_OUTER : NAMES_OTHER;
		} else if (strcmp(key, "SubLink") == 0) {
			found |= NAMES_OTHER;
		} else {
			found |= names_in(l, value);
		}
	}
	return found;
}

/* ---- the form of the SELECT ------------------------------------------------------------------------------ */

static const struct clause { const char *field, *name, *instead; } clauses[] = {
	{"groupClause", "GROUP BY", "how often a value is selected makes no difference"},
	{"havingClause", "HAVING", "what counts rows isn't followed"},
	{"windowClause", "WINDOW", "what counts rows isn't followed"},
	{"limitOffset", "OFFSET", "which rows are among the first isn't followed"},
	{"sortClause", "ORDER BY", "the order of the values makes no difference"},
	{"lockingClause", "FOR UPDATE", "leave it out"},
	{"withClause", "WITH", "write its query as an IN (SELECT ...) inside"},
	{"intoClause", "INTO", "leave it out"},
	{"limitCount", "LIMIT", "which rows are among the first isn't followed"},
};

static bool plain_distinct(const json_t *list)
{
	return list == NULL || (json_array_size(list) == 1 && json_object_size(json_array_get(list, 0)) == 0);
}

/* The first of the clauses that is there, LIMIT last; NULL: none. */
static const struct clause *find_clause(const json_t *select)
{
	for (size_t i = 0; i < ARRAY_LEN(clauses); i++)
		if (syntax_field(select, clauses[i].field) != NULL)
			return &clauses[i];
	return NULL;
}

static bool check_clauses(struct builder *b, const json_t *select)
{
	static const struct clause on = {NULL, "DISTINCT ON", "select the columns that are compared"};
	const struct clause *found = find_clause(select);
	const char *op = syntax_text(select, "op");
	if (found == NULL && !plain_distinct(syntax_field(select, "distinctClause")))
		found = &on;
	if (found != NULL)
		build_fail_plain(b, "SELECT statement must not contain any clauses, this has %s: %s", found->name, found->instead);
	else if (op[0] != '\0' && strcmp(op, "SETOP_NONE") != 0)
		build_fail_plain(b, "Expected a single table reference: in place of UNION, INTERSECT or EXCEPT join two IN (SELECT ...) by "
		                 "OR, AND or AND NOT");
	return !b->failed;
}

/* The fields of the only table; NULL: there are others, or none. */
static const json_t *find_from(const json_t *select)
{
	const json_t *tables = syntax_field(select, "fromClause"), *from;
	bool one = json_array_size(tables) == 1 && strcmp(syntax_kind(json_array_get(tables, 0), &from), "RangeVar") == 0;
	return one ? from : NULL;
}

/* The same, with a message if it isn't one to be read whole, under its own columns' names. */
static const json_t *only_table(struct builder *b, const json_t *select)
{
	const json_t *from = find_from(select);
	if (from == NULL) {
		build_fail_plain(b, "Expected a single table reference: write what a join would do as an IN (SELECT ...) inside");
		return NULL;
	}
	const json_t *alias = syntax_field(from, "alias");
	if (syntax_field(alias, "colnames") != NULL)
		build_fail_plain(b, "Expected a single table reference: new names for its columns are not supported");
	else if (!json_is_true(syntax_field(from, "inh")))
		build_fail_plain(b, "Expected a single table reference: ONLY is not supported");
	else if (syntax_text(from, "catalogname")[0] != '\0')
		build_fail_plain(b, "Expected a single table reference: leave the database's name out");
	return b->failed ? NULL : from;
}

/* The parts of a column's name; NULL: the node is something else. */
static const json_t *column_parts(const json_t *node)
{
	const json_t *ref;
	return strcmp(syntax_kind(node, &ref), "ColumnRef") == 0 ? syntax_field(ref, "fields") : NULL;
}

/* What is selected, `res` its ResTarget. */
static const json_t *target_node(const json_t *target, const json_t **res)
{
	syntax_kind(target, res);
	return syntax_field(*res, "val");
}

static bool is_star(const json_t *node)
{
	const json_t *parts = column_parts(node);
	size_t n = json_array_size(parts);
	return n > 0 && syntax_name(parts, n - 1) == NULL;
}

enum form { FORM_ANY, FORM_NOT_ALL, FORM_EXISTS, FORM_OTHER };

static enum form form_of(const json_t *f)
{
	const char *type = syntax_text(f, "subLinkType");
	const json_t *name = syntax_field(f, "operName");
	const char *op = name == NULL ? "=" : syntax_catalog_name(name);
	if (strcmp(type, "EXISTS_SUBLINK") == 0)
		return FORM_EXISTS;
	if (syntax_field(f, "testexpr") == NULL || op == NULL)
		return FORM_OTHER;
	if (strcmp(type, "ANY_SUBLINK") == 0 && strcmp(op, "=") == 0)
		return FORM_ANY;
	return strcmp(type, "ALL_SUBLINK") == 0 && (strcmp(op, "<>") == 0 || strcmp(op, "!=") == 0) ? FORM_NOT_ALL : FORM_OTHER;
}

/* ---- inside ------------------------------------------------------------------------------------------------ */

static const struct pg_table *find_table(struct where_tables *tables, const char *schema, const char *name)
{
	for (size_t i = 0; i < tables->n; i++)
		if (strcmp(tables->list[i]->name, name) == 0 && strcmp(tables->list[i]->schema, schema) == 0)
			return tables->list[i];
	snprintf(tables->missing_schema, sizeof tables->missing_schema, "%s", schema);
	snprintf(tables->missing_name, sizeof tables->missing_name, "%s", name);
	return NULL;
}

/* The table of a RangeVar, with a message if it isn't there. */
static const struct pg_table *table_of(struct builder *b, const json_t *from)
{
	const char *schema = syntax_text(from, "schemaname");
	const struct pg_table *t = find_table(b->tables, schema[0] != '\0' ? schema : "public", syntax_text(from, "relname"));
	if (t == NULL)
		build_fail(b, syntax_location(from), "the table %s.%s isn't there", b->tables->missing_schema, b->tables->missing_name);
	return t;
}

static bool count_one(struct builder *b, unsigned *n, int location)
{
	if (++*n > WHERE_SUBQUERIES_MAX)
		build_fail(b, location, "a condition may have %d subqueries at most", WHERE_SUBQUERIES_MAX);
	return !b->failed;
}

static void find_tables(struct builder *b, const json_t *j, unsigned *n)
{
	const json_t *select, *from;
	size_t i;
	const char *key;
	json_t *value;
	if (json_is_array(j))
		json_array_foreach((json_t *)j, i, value)
			find_tables(b, value, n);
	if (!json_is_object(j) || b->failed)
		return;
	json_object_foreach((json_t *)j, key, value) {
		if (strcmp(key, "SubLink") == 0 && count_one(b, n, syntax_location(value))) {
			syntax_kind(syntax_field(value, "subselect"), &select);
			from = find_clause(select) == NULL ? find_from(select) : NULL; /* else it is refused, for one WITH, whose name is no table's */
			if (from != NULL)
				table_of(b, from);
		}
		find_tables(b, value, n);
	}
}

void subquery_find_tables(struct builder *b, const json_t *where)
{
	unsigned n = 0;
	find_tables(b, where, &n);
}

static bool begin_inside(struct link *l, const json_t *from)
{
	struct builder *b = l->b;
	const char *alias = syntax_text(syntax_field(from, "alias"), "aliasname");
	const struct pg_table *t = NULL;
	if (b->level >= WHERE_SUBQUERY_DEPTH_MAX)
		build_fail(b, l->location, "subqueries are nested more than %d levels deep", WHERE_SUBQUERY_DEPTH_MAX);
	else if (count_one(b, b->subqueries, l->location))
		t = table_of(b, from);
	if (t == NULL)
		return false;
	l->index = b->w->nsubqueries;
	l->in = *b;
	l->in.w = where_add_subquery(b->w, where_new(t))->inner;
	l->in.mem = &l->in.w->mem;
	l->in.outer = b;
	l->in.columns = NULL;
	l->in.level++;
	l->in.alias = alias[0] != '\0' ? arena_strndup(b->mem, alias, strlen(alias)) : NULL;
	return true;
}

static void end_inside(struct link *l)
{
	l->b->failed = l->in.failed;
	l->b->constants = l->in.constants;
}

/* One more pair to compare, as the operator that x = y has wants them. */
static bool compare(struct link *l, node_ref left, node_ref value)
{
	struct builder *b = l->b;
	const struct where_type *declared[2], *result;
	if (left == NULL || value == NULL)
		return false;
	if (node_is_unknown(value)) /* as a subquery's column is */
		value = resolve_coerce(&l->in, value, where_type_builtin(OID_TEXT), -1, COERCE_IMPLICIT, l->location);
	const struct where_type *type = value == NULL ? NULL : build_same_type(b->w, build_base(value->type));
	if (type == NULL && !l->in.failed)
		build_fail(b, l->location, "Could not select an operator overload");
	const struct where_oper *o = type == NULL ? NULL : resolve_oper(b, "=", left->type, type, l->location, declared, &result);
	l->differ = o == NULL && !l->in.failed;
	if (o == NULL)
		return false;
	node_ref as = resolve_coerce(b, left, declared[0], -1, COERCE_IMPLICIT, l->location);
	l->in.parse->note_param(b, left, as);
	const struct where_type *want = build_same_type(l->in.w, declared[1]);
	value = want == NULL ? NULL : resolve_coerce(&l->in, value, want, -1, COERCE_IMPLICIT, l->location);
	if (as == NULL || value == NULL)
		return false;
	l->left[l->n] = as;
	l->values[l->n] = value;
	l->opers[l->n++] = o;
	return true;
}

static void make_room(struct link *l, size_t n)
{
	l->left = arena_alloc(l->b->mem, (n + 1) * sizeof *l->left);
	l->values = arena_alloc(l->in.mem, (n + 1) * sizeof *l->values);
	l->opers = arena_alloc(l->b->mem, (n + 1) * sizeof *l->opers);
}

static node_ref finish(struct link *l)
{
	if (l->b->failed || l->in.failed) {
		end_inside(l);
		l->b->failed = true;
		return NULL;
	}
	if (l->in.w->root != NULL)
		build_check_constants(&l->in, l->in.w->root);
	for (uint32_t i = 0; i < l->n && !l->in.failed; i++)
		build_check_constants(&l->in, l->values[i]);
	end_inside(l);
	if (l->b->failed)
		return NULL;
	struct where_subquery *q = &l->b->w->subqueries[l->index];
	q->values = l->values;
	q->nvalues = (uint16_t)l->n;
	return node_subquery(l->b, l->index, l->opers, l->left, l->values, l->n, l->location);
}

/* ---- IN, ANY, ALL ---------------------------------------------------------------------------------------------- */

static node_ref target_value(struct link *l, const json_t *target)
{
	const json_t *res, *node = target_node(target, &res);
	if (is_star(node)) {
		int location = syntax_location(res); /* of TABLE t there is none */
		build_fail_plain(&l->in, "At location %d: Expected a plain column reference: name the columns instead of *",
		                 location >= 0 ? location : l->location);
		return NULL;
	}
	node_ref n = l->in.parse->expr(&l->in, node);
	if (n != NULL && n->kind == WHERE_ROW)
		return build_fail(&l->in, n->location, "RowExpr is not supported in this context");
	return n;
}

/* All that is selected; NULL: one of it is refused. */
static node_ref *target_values(struct link *l, const json_t *targets)
{
	size_t n = json_array_size(targets);
	node_ref *values = arena_alloc(l->in.mem, (n + 1) * sizeof *values);
	for (size_t i = 0; i < n; i++)
		if ((values[i] = target_value(l, json_array_get(targets, i))) == NULL)
			return NULL;
	return values;
}

/* "int4", or "row of (int4, text)": as much as a message holds. */
static const char *types_text(struct builder *b, node_ref const *nodes, size_t n)
{
	char *text = arena_alloc(b->mem, WHERE_MESSAGE_MAX);
	size_t at = (size_t)snprintf(text, WHERE_MESSAGE_MAX, "%s", n != 1 ? "row of (" : "");
	for (size_t i = 0; i < n && at < WHERE_MESSAGE_MAX; i++)
		at += (size_t)snprintf(text + at, WHERE_MESSAGE_MAX - at, "%s%s", i > 0 ? ", " : "", build_type_text(b, nodes[i]->type));
	if (n != 1 && at < WHERE_MESSAGE_MAX)
		snprintf(text + at, WHERE_MESSAGE_MAX - at, ")");
	return text;
}

static node_ref any(struct link *l, const json_t *f, const json_t *select)
{
	const json_t *targets = syntax_field(select, "targetList"), *where = syntax_field(select, "whereClause");
	node_ref left = l->in.parse->expr(l->b, syntax_field(f, "testexpr"));
	if (left == NULL)
		return NULL;
	l->in.constants = l->b->constants;
	size_t n = left->kind == WHERE_ROW ? left->nargs : 1, have = json_array_size(targets);
	make_room(l, n);
	if (n > WHERE_SUBQUERY_WIDTH_MAX)
		return build_fail(l->b, l->location, "ROW expressions can have at most %d entries", WHERE_SUBQUERY_WIDTH_MAX);
	node_ref *values = target_values(l, targets);
	if (values == NULL)
		return finish(l);
	node_ref const *sides = left->kind == WHERE_ROW ? left->args : &left;
	l->differ = have != n;
	for (size_t i = 0; i < n && !l->differ; i++)
		if (!compare(l, sides[i], values[i]) && !l->differ)
			return finish(l);
	if (l->differ) {
		l->b->failed = false; /* Electric's words in place of the operator's */
		return build_fail(l->b, l->location, "left side of `IN (SELECT ...)` has type %s but subquery returns %s[]",
		                  types_text(l->b, sides, n), types_text(l->b, values, have));
	}
	if (where != NULL)
		l->in.w->root = l->in.parse->condition(&l->in, where);
	return finish(l);
}

/* ---- EXISTS ------------------------------------------------------------------------------------------------------ */

struct conjuncts { const json_t *list[CONJUNCTS_MAX]; size_t n; };

static bool collect(struct link *l, const json_t *j, struct conjuncts *out)
{
	const json_t *f;
	if (strcmp(syntax_kind(j, &f), "BoolExpr") == 0 && strcmp(syntax_text(f, "boolop"), "AND_EXPR") == 0) {
		const json_t *args = syntax_field(f, "args");
		for (size_t i = 0; i < json_array_size(args); i++)
			if (!collect(l, json_array_get(args, i), out))
				return false;
		return true;
	}
	if (out->n == CONJUNCTS_MAX) {
		build_fail(l->b, l->location, "the WHERE of an EXISTS may have %d parts at most", CONJUNCTS_MAX);
		return false;
	}
	out->list[out->n++] = j;
	return true;
}

/* inner = outer or outer = inner: the two sides in *outer, *inner. */
static bool correlates(const struct link *l, const json_t *j, const json_t **outer, const json_t **inner)
{
	const json_t *f;
	if (strcmp(syntax_kind(j, &f), "A_Expr") != 0 || strcmp(syntax_text(f, "kind"), "AEXPR_OP") != 0)
		return false;
	const char *op = syntax_catalog_name(syntax_field(f, "name"));
	const json_t *a = syntax_field(f, "lexpr"), *b = syntax_field(f, "rexpr");
	if (op == NULL || strcmp(op, "=") != 0 || a == NULL || b == NULL)
		return false;
	unsigned names = names_in(l, a), other = names_in(l, b);
	bool turned = names == NAMES_INNER && other == NAMES_OUTER;
	*outer = turned ? b : a;
	*inner = turned ? a : b;
	return turned || (names == NAMES_OUTER && other == NAMES_INNER);
}

/* (m.a, m.b) = (t.a, t.b) is as good as two of them. */
static bool correlate(struct link *l, const json_t *outer, const json_t *inner)
{
	node_ref left = l->in.parse->expr(l->b, outer), value = left == NULL ? NULL : l->in.parse->expr(&l->in, inner);
	if (value == NULL || left->kind != WHERE_ROW || value->kind != WHERE_ROW)
		return compare(l, left, value);
	if (left->nargs != value->nargs) {
		build_fail(l->b, l->location, "unequal number of entries in row expressions");
		return false;
	}
	for (uint32_t i = 0; i < left->nargs; i++)
		if (!compare(l, left->args[i], value->args[i]))
			return false;
	return true;
}

/* How many pairs there may be: rows have as many as their text has commas. */
static size_t pairs_max(const struct conjuncts *c)
{
	size_t n = c->n;
	for (size_t i = 0; i < c->n; i++) {
		const json_t *f, *row;
		syntax_kind(c->list[i], &f);
		if (strcmp(syntax_kind(syntax_field(f, "lexpr"), &row), "RowExpr") == 0)
			n += json_array_size(syntax_field(row, "args"));
	}
	return n;
}

/* What is selected isn't looked at, but has to mean something. */
static bool check_targets(struct link *l, const json_t *targets)
{
	for (size_t i = 0; i < json_array_size(targets); i++) {
		const json_t *target = json_array_get(targets, i), *res;
		if (!is_star(target_node(target, &res)) && target_value(l, target) == NULL)
			return false;
	}
	return true;
}

static node_ref exists(struct link *l, const json_t *select)
{
	struct conjuncts all = {.n = 0};
	const json_t *where = syntax_field(select, "whereClause"), *outer, *inner;
	if (!check_targets(l, syntax_field(select, "targetList")) || (where != NULL && !collect(l, where, &all)))
		return finish(l);
	make_room(l, pairs_max(&all));
	node_ref *rest = arena_alloc(l->in.mem, (all.n + 1) * sizeof *rest);
	uint32_t nrest = 0;
	for (size_t i = 0; i < all.n; i++) {
		bool ok = correlates(l, all.list[i], &outer, &inner) ? correlate(l, outer, inner)
		          : (rest[nrest++] = l->in.parse->condition(&l->in, all.list[i])) != NULL;
		if (!ok)
			return finish(l);
	}
	if (nrest > 0)
		l->in.w->root = nrest == 1 ? rest[0]
		                : node_logic(&l->in, WHERE_AND, where_type_builtin(OID_BOOL), rest, nrest, l->location);
	bool correlated = l->n > 0;
	node_ref n = finish(l);
	return n == NULL || !correlated ? n : node_logic(l->b, WHERE_IS_TRUE, n->type, &n, 1, l->location);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

node_ref subquery_link(struct builder *b, const json_t *f)
{
	struct link l = {.b = b, .location = syntax_location(f)};
	const json_t *select;
	enum form form = form_of(f);
	if (b->subset)
		return build_fail_plain(b, "Subqueries are not allowed in subsets");
	syntax_kind(syntax_field(f, "subselect"), &select);
	const json_t *from = check_clauses(b, select) ? only_table(b, select) : NULL;
	if (from == NULL)
		return NULL;
	if (form == FORM_OTHER)
		return build_fail(b, l.location, "only `value IN (SELECT ...)` sublinks are supported right now, and what means the same: = ANY, "
		                  "<> ALL, EXISTS");
	if (!begin_inside(&l, from))
		return NULL;
	node_ref n = form == FORM_EXISTS ? exists(&l, select) : any(&l, f, select);
	if (n == NULL || form != FORM_NOT_ALL)
		return n;
	return node_logic(b, WHERE_NOT, n->type, &n, 1, l.location);
}
