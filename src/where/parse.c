/*
 * parse.c - a client's text to a typed tree.
 *
 * libpg_query parses the text behind `SELECT 1 WHERE `; its JSON is walked here and typed as Postgres's
 * parser analysis would (parse_expr.c is the reference for what each construct means). Texts of refusals
 * are Electric's wherever Electric has one (docs/protocol.md 2.7). Rows exist only until
 * the comparison or null test around them has been taken apart.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "where/build.h"
#include "where/pool.h"
#include "where/subquery.h"
#include "where/syntax.h"

#define PREFIX "SELECT 1 WHERE "
#define NUMERIC_PRECISION_MAX 1000
#define ROW_WIDTH_MAX 1664     /* as in Postgres */
#define TEXT_LENGTH_MAX 10485760 /* of char(n) and varchar(n), as in Postgres */

static node_ref expr(struct builder *b, const json_t *j);

static node_ref unsupported_node(struct builder *b, const char *kind, int location)
{
	return build_fail(b, location, "%s is not supported in this context", kind);
}

/* ---- constants ----------------------------------------------------------------------------------------- */

static const struct where_type *builtin(uint32_t oid) { return where_type_builtin(oid); }

/*
 * libpg_query 15 leaves out an integer that is 0 and one that is negative (its JSON has no `ival` for
 * either), so the text itself is asked: behind signs, blanks and comments, at the constant's place.
 */
static int64_t integer_in_text(const struct builder *b, int location)
{
	size_t i = location < 0 ? b->text_len : (size_t)location;
	while (i < b->text_len && !(b->text[i] >= '0' && b->text[i] <= '9')) {
		if (b->text[i] == '-' && i + 1 < b->text_len && b->text[i + 1] == '-') {
			while (i < b->text_len && b->text[i] != '\n')
				i++;
		} else if (b->text[i] == '/' && i + 1 < b->text_len && b->text[i + 1] == '*') {
			int depth = 0;
			do {
				if (b->text[i] == '/' && b->text[i + 1] == '*') {
					depth++;
					i += 2;
				} else if (b->text[i] == '*' && b->text[i + 1] == '/') {
					depth--;
					i += 2;
				} else {
					i++;
				}
			} while (depth > 0 && i + 1 < b->text_len);
		} else {
			i++;
		}
	}
	int64_t v = 0;
	for (; i < b->text_len && b->text[i] >= '0' && b->text[i] <= '9' && v < INT32_MAX; i++)
		v = v * 10 + (b->text[i] - '0');
	return -v;
}

static int64_t integer_value(const struct builder *b, const json_t *ival, int location)
{
	const json_t *v = syntax_field(ival, "ival");
	return json_is_integer(v) ? json_integer_value(v) : integer_in_text(b, location);
}

static node_ref unknown_const(struct builder *b, const char *p, size_t n, int location)
{
	return node_const(b, builtin(OID_UNKNOWN), where_bytes(arena_dup(b->mem, p, n), n), 'q', location);
}

/* A number with a point or an exponent, or an integer beyond 32 bits: int4, int8 or numeric. */
static node_ref float_const(struct builder *b, const char *text, int location)
{
	static const uint32_t ints[] = {OID_INT4, OID_INT8};
	size_t n = strlen(text);
	struct where_call call = {.mem = b->mem, .typmod = -1};
	struct where_value v;
	bool integer = strspn(text, "+-0123456789") == n;
	for (size_t i = 0; integer && i < ARRAY_LEN(ints); i++)
		if (where_in(&call, builtin(ints[i]), text, n, &v) == 0)
			return node_const(b, builtin(ints[i]), v, '\0', location);
	if (where_in(&call, builtin(OID_NUMERIC), text, n, &v) < 0)
		return build_fail(b, location, "invalid syntax for type numeric: %s", text);
	return node_const(b, builtin(OID_NUMERIC), v, '\0', location);
}

static node_ref constant(struct builder *b, const json_t *f)
{
	int location = syntax_location(f);
	const json_t *v;
	if (json_is_true(syntax_field(f, "isnull")))
		return node_null(b, builtin(OID_UNKNOWN), location);
	if ((v = syntax_field(f, "ival")) != NULL)
		return node_const(b, builtin(OID_INT4), where_int(integer_value(b, v, location)), '\0', location);
	if ((v = syntax_field(f, "fval")) != NULL)
		return float_const(b, syntax_text(v, "fval"), location);
	if ((v = syntax_field(f, "boolval")) != NULL)
		return node_const(b, builtin(OID_BOOL), where_bool(json_is_true(syntax_field(v, "boolval"))), '\0', location);
	if ((v = syntax_field(f, "sval")) != NULL) {
		const char *s = syntax_text(v, "sval");
		return unknown_const(b, s, strlen(s), location);
	}
	return build_fail(b, location, "BitString values are not supported");
}

/* What Postgres could hold as a text. */
static bool is_text(const struct where_param *p)
{
	return memchr(p->p, '\0', p->len) == NULL && utf8_valid(p->p, p->len);
}

/* A parameter is an unknown literal until its first use gives it a type; from then on it has that. */
static node_ref param_value(struct builder *b, const json_t *f, const struct where_type *as)
{
	int location = syntax_location(f);
	json_int_t number = json_integer_value(syntax_field(f, "number"));
	if (number < 1 || number > UINT16_MAX || (size_t)number > b->params->n || b->params->values[number - 1].p == NULL)
		return build_fail(b, location, "parameter $%" JSON_INTEGER_FORMAT " was not provided", number);
	const struct where_param *p = &b->params->values[number - 1];
	const struct where_type **known = &b->param_types[number - 1];
	if (as != NULL) {
		if (*known != NULL && *known != as && ((*known)->oid != as->oid || as->oid == 0))
			return build_fail(b, location, "type conflict for $%" JSON_INTEGER_FORMAT ": %s and %s", number,
			                  build_type_text(b, *known), build_type_text(b, as));
		*known = as;
	}
	const char **text = &b->param_texts[number - 1];
	if (*text == NULL && !is_text(p))
		return build_fail(b, location, "parameter $%" JSON_INTEGER_FORMAT " is not a text in UTF-8", number);
	if (*text == NULL) /* however often it is used: it may be large */
		*text = arena_strndup(b->mem, p->p, p->len);
	if (*known != NULL && (*known)->oid != OID_UNKNOWN)
		return node_text_const(b, build_same_type(b->w, *known), *text, p->len, location); /* another query of the text may know it */
	node_ref n = node_const(b, builtin(OID_UNKNOWN), where_bytes(*text, p->len), 'q', location);
	((struct where_node *)n)->column = (uint16_t)number; /* so that note_params() finds it again */
	return n;
}

/*
 * Where an unknown of a parameter has become a typed constant, the parameter has that type. Constants made
 * from it keep its location, which is how the two are matched.
 */
static void note_param(struct builder *b, node_ref before, node_ref after)
{
	if (before == NULL || after == NULL || before->kind != WHERE_CONST || !node_is_unknown(before) || before->column == 0)
		return;
	while (after->location != before->location || after->kind != WHERE_CONST) {
		if (after->nargs == 0 || after->args[0] == NULL)
			return;
		after = after->args[0];
	}
	if (b->param_types[before->column - 1] == NULL)
		b->param_types[before->column - 1] = after->type;
}

static void note_params(struct builder *b, node_ref const *before, uint32_t n, node_ref after)
{
	if (after == NULL)
		return;
	for (uint32_t i = 0; i < n && i < after->nargs; i++)
		note_param(b, before[i], after->args[i]);
}

/* ---- columns ------------------------------------------------------------------------------------------------ */

/* An array of a domain as one of its base type: to Postgres they have no operator in common, to us they are one. */
static node_ref plain_elements(struct builder *b, node_ref n)
{
	const struct where_type *elem = n == NULL ? NULL : build_base(n->type)->elem;
	if (elem == NULL || elem->base == NULL)
		return n;
	const struct where_type *array = build_array_of(b->w, elem->base);
	if (array == NULL)
		return n;
	return node_array_cast(b, n, node_relabel(b, node_element(b, elem), elem->base, n->location), array, n->location);
}

static node_ref column(struct builder *b, const json_t *f)
{
	const json_t *parts = syntax_field(f, "fields");
	size_t n = json_array_size(parts);
	int location = syntax_location(f);
	if (n == 0 || syntax_name(parts, n - 1) == NULL)
		return unsupported_node(b, "A_Star", location);
	int i = subquery_own_column(b, parts);
	return i < 0 ? subquery_not_here(b, parts, location) : plain_elements(b, node_column(b, (uint16_t)i, location));
}

/* ---- types ----------------------------------------------------------------------------------------------------- */

static bool typmod_ints(struct builder *b, const json_t *typmods, int64_t *out, size_t max, size_t *n)
{
	*n = json_array_size(typmods);
	if (*n > max)
		return false;
	for (size_t i = 0; i < *n; i++) {
		const json_t *f;
		if (strcmp(syntax_kind(json_array_get(typmods, i), &f), "A_Const") != 0 || syntax_field(f, "ival") == NULL)
			return false;
		out[i] = integer_value(b, syntax_field(f, "ival"), syntax_location(f));
	}
	return true;
}

/* pg_attribute.atttypmod for what stands in the parentheses; false: not a valid one. */
static bool read_typmod(struct builder *b, const struct where_type *t, const json_t *typmods, int32_t *out)
{
	int64_t v[2] = {0, 0};
	size_t n;
	*out = -1;
	if (json_array_size(typmods) == 0)
		return true;
	if (!typmod_ints(b, typmods, v, 2, &n))
		return false;
	switch (t->oid) {
	case OID_NUMERIC:
		if (n == 1)
			v[1] = 0;
		if (v[0] < 1 || v[0] > NUMERIC_PRECISION_MAX || v[1] < 0 || v[1] > v[0])
			return false;
		*out = (int32_t)((v[0] << 16 | v[1]) + 4);
		return true;
	case OID_BPCHAR:
	case OID_VARCHAR:
		if (n != 1 || v[0] < 1 || v[0] > TEXT_LENGTH_MAX)
			return false;
		*out = (int32_t)v[0] + 4;
		return true;
	case OID_TIME:
	case OID_TIMETZ:
	case OID_TIMESTAMP:
	case OID_TIMESTAMPTZ:
		if (n != 1 || v[0] < 0)
			return false;
		*out = v[0] > 6 ? 6 : (int32_t)v[0];
		return true;
	case OID_INTERVAL: /* the fields as a mask, then maybe a precision */
		if (v[0] < 0 || v[0] > 0x7FFF || (n == 2 && v[1] < 0))
			return false;
		if (n == 1 && v[0] == 0x7FFF)
			return true;
		*out = (int32_t)((v[0] & 0x7FFF) << 16 | (n == 2 ? (v[1] > 6 ? 6 : v[1]) : 0xFFFF));
		return true;
	default:
		return false;
	}
}

static bool usable(const struct where_type *t)
{
	return t != NULL && t->kind != 'p' && (where_type_is_array(t) ? usable(t->elem) : t->io != NULL);
}

static const struct where_type *type_name(struct builder *b, const json_t *f, int32_t *typmod)
{
	const json_t *names = syntax_field(f, "names");
	int location = syntax_location(f);
	size_t n = json_array_size(names);
	const char *name = syntax_name(names, n - 1), *schema = n == 2 ? syntax_name(names, 0) : NULL;
	const struct where_type *t = n > 2 || name == NULL ? NULL : build_type_named(b->w, schema, name);
	if (!usable(t) || json_is_true(syntax_field(f, "setof")) || json_is_true(syntax_field(f, "pct_type")) ||
	    !read_typmod(b, t, syntax_field(f, "typmods"), typmod)) {
		build_fail(b, location, "unsupported type %s", syntax_dotted(b, names));
		return NULL;
	}
	if (json_array_size(syntax_field(f, "arrayBounds")) > 0 && !where_type_is_array(t))
		t = build_array_of(b->w, t);
	if (t == NULL || t->base != NULL) {
		build_fail(b, location, "unsupported type %s", syntax_dotted(b, names));
		return NULL;
	}
	return t;
}

static const char *quoted_value(struct builder *b, node_ref n)
{
	struct buf out = BUF_INIT(WHERE_MESSAGE_MAX);
	buf_json_string(&out, n->value.u.p, n->value.len);
	char *s = arena_strndup(b->mem, out.data != NULL ? out.data : "", out.len);
	buf_clear(&out);
	return s;
}

/* A constant that its cast can't take is refused with the value, as Electric says it. */
static bool cast_would_fail(struct builder *b, node_ref n, const struct where_type *t, int32_t typmod, int location)
{
	/* INTERVAL '1 2' DAY TO HOUR is nothing without its fields. */
	bool fields = t->oid == OID_INTERVAL && node_is_unknown(n);
	struct where_call call = {.mem = b->mem, .typmod = fields ? typmod : -1};
	struct where_value v;
	if (n->kind != WHERE_CONST || n->value.is != WHERE_VALUE || (n->type->oid != OID_TEXT && !node_is_unknown(n)))
		return false;
	if (where_in(&call, t, n->value.u.p, n->value.len, &v) == 0)
		return false;
	build_fail(b, location, "could not cast value %s from text to %s", quoted_value(b, n), build_type_text(b, t));
	return true;
}

static node_ref array_expr(struct builder *b, const json_t *f, const struct where_type *as);

static node_ref type_cast(struct builder *b, const json_t *f)
{
	const json_t *arg = syntax_field(f, "arg"), *fields;
	int32_t typmod;
	const struct where_type *t = type_name(b, syntax_field(f, "typeName"), &typmod);
	if (t == NULL)
		return NULL;
	const char *kind = syntax_kind(arg, &fields);
	node_ref n;
	if (strcmp(kind, "ParamRef") == 0)
		n = param_value(b, fields, t);
	else if (strcmp(kind, "A_ArrayExpr") == 0 && where_type_is_array(t))
		n = array_expr(b, fields, t);
	else
		n = expr(b, arg);
	if (n == NULL)
		return NULL;
	int location = n->location;
	if (cast_would_fail(b, n, t, typmod, location))
		return NULL;
	return resolve_coerce(b, n, t, typmod, COERCE_EXPLICIT, location);
}

/* ---- logic -------------------------------------------------------------------------------------------------------- */

static const char *described(struct builder *b, node_ref n)
{
	struct buf out = BUF_INIT(WHERE_MESSAGE_MAX);
	const char *type = build_type_text(b, n->type);
	if (n->kind == WHERE_COLUMN) {
		const char *name = b->w->table->columns[n->column].name;
		buf_puts(&out, "reference ");
		sql_name_shown(&out, name);
		buf_printf(&out, " of type %s", type);
	} else if (n->kind == WHERE_CALL) {
		buf_printf(&out, "function \"%s\" returning %s", n->oper != NULL ? n->oper->name : n->proc->name, type);
	} else {
		buf_printf(&out, "expression of type %s", type);
	}
	char *s = arena_strndup(b->mem, out.data, out.len);
	buf_clear(&out);
	return s;
}

static node_ref as_bool(struct builder *b, node_ref n)
{
	if (n == NULL)
		return NULL;
	if (build_base(n->type)->oid == OID_BOOL || node_is_unknown(n)) {
		node_ref out = resolve_coerce(b, n, builtin(OID_BOOL), -1, COERCE_IMPLICIT, n->location);
		note_param(b, n, out);
		return out;
	}
	return build_fail(b, n->location, "%s is not castable to bool", described(b, n));
}

static node_ref logic(struct builder *b, enum where_kind kind, node_ref const *args, uint32_t n, int location)
{
	return n == 1 ? args[0] : node_logic(b, kind, builtin(OID_BOOL), args, n, location);
}

static node_ref negate(struct builder *b, node_ref n, int location)
{
	return node_logic(b, WHERE_NOT, builtin(OID_BOOL), &n, 1, location);
}

static node_ref *expr_list(struct builder *b, const json_t *list, uint32_t *n)
{
	*n = (uint32_t)json_array_size(list);
	node_ref *out = arena_alloc(b->mem, (*n + 1) * sizeof *out);
	for (uint32_t i = 0; i < *n; i++)
		if ((out[i] = expr(b, json_array_get(list, i))) == NULL)
			return NULL;
	return out;
}

static node_ref bool_expr(struct builder *b, const json_t *f)
{
	uint32_t n;
	const char *op = syntax_text(f, "boolop");
	node_ref *args = expr_list(b, syntax_field(f, "args"), &n);
	if (args == NULL)
		return NULL;
	for (uint32_t i = 0; i < n; i++)
		if ((args[i] = as_bool(b, args[i])) == NULL)
			return NULL;
	if (strcmp(op, "NOT_EXPR") == 0)
		return negate(b, args[0], syntax_location(f));
	return logic(b, strcmp(op, "AND_EXPR") == 0 ? WHERE_AND : WHERE_OR, args, n, syntax_location(f));
}

/* ---- comparisons, rows taken apart ------------------------------------------------------------------------------ */

static node_ref binary(struct builder *b, const char *op, node_ref l, node_ref r, int location);

static bool same_width(struct builder *b, node_ref l, node_ref r, int location)
{
	if (l->kind == WHERE_ROW && r->kind == WHERE_ROW && l->nargs == r->nargs && l->nargs > 0)
		return true;
	build_fail(b, location, l->kind == r->kind ? "unequal number of entries in row expressions"
	                                           : "Could not select an operator overload");
	return false;
}

/* (a, b) < (c, d) is a < c OR (a = c AND b < d), also where something is NULL. */
static node_ref row_order(struct builder *b, const char *op, node_ref l, node_ref r, uint32_t from, int location)
{
	bool last = from + 1 == l->nargs;
	const char strict[2] = {op[0], '\0'};
	node_ref first = binary(b, last ? op : strict, l->args[from], r->args[from], location);
	if (last || first == NULL)
		return first;
	node_ref rest[2] = {binary(b, "=", l->args[from], r->args[from], location), row_order(b, op, l, r, from + 1, location)};
	node_ref parts[2] = {first, logic(b, WHERE_AND, rest, 2, location)};
	return logic(b, WHERE_OR, parts, 2, location);
}

static node_ref row_binary(struct builder *b, const char *op, node_ref l, node_ref r, int location)
{
	if (!same_width(b, l, r, location))
		return NULL;
	if (strcmp(op, "<") == 0 || strcmp(op, "<=") == 0 || strcmp(op, ">") == 0 || strcmp(op, ">=") == 0)
		return row_order(b, op, l, r, 0, location);
	bool equal = strcmp(op, "=") == 0;
	if (!equal && strcmp(op, "<>") != 0)
		return build_fail(b, location, "Could not select an operator overload");
	node_ref *parts = arena_alloc(b->mem, l->nargs * sizeof *parts);
	for (uint32_t i = 0; i < l->nargs; i++)
		if ((parts[i] = binary(b, op, l->args[i], r->args[i], location)) == NULL)
			return NULL;
	return logic(b, equal ? WHERE_AND : WHERE_OR, parts, l->nargs, location);
}

static node_ref binary(struct builder *b, const char *op, node_ref l, node_ref r, int location)
{
	if (l == NULL || r == NULL)
		return NULL;
	if (l->kind == WHERE_ROW || r->kind == WHERE_ROW)
		return row_binary(b, op, l, r, location);
	node_ref before[2] = {l, r};
	node_ref n = resolve_binary(b, op, l, r, location);
	note_params(b, before, 2, n);
	return n;
}

static bool is_null_literal(node_ref n)
{
	return n->kind == WHERE_CONST && node_is_unknown(n) && n->value.is == WHERE_NULL;
}

static node_ref null_test(struct builder *b, node_ref n, bool is_null, int location)
{
	if (n == NULL)
		return NULL;
	if (n->kind == WHERE_ROW) { /* of a row: of all its fields */
		node_ref *parts = arena_alloc(b->mem, (n->nargs + 1) * sizeof *parts);
		for (uint32_t i = 0; i < n->nargs; i++) /* a field that is a row itself isn't null, whatever is in it */
			parts[i] = n->args[i]->kind == WHERE_ROW
			               ? node_const(b, builtin(OID_BOOL), where_bool(!is_null), '\0', location)
			               : null_test(b, n->args[i], is_null, location);
		if (n->nargs == 0)
			return build_fail(b, location, "RowExpr is not supported in this context");
		return logic(b, WHERE_AND, parts, n->nargs, location);
	}
	if (node_is_unknown(n)) {
		node_ref text = resolve_coerce(b, n, builtin(OID_TEXT), -1, COERCE_IMPLICIT, location);
		note_param(b, n, text);
		n = text;
	}
	return node_logic(b, is_null ? WHERE_IS_NULL : WHERE_IS_NOT_NULL, builtin(OID_BOOL), &n, 1, location);
}

/* A node whose kind stands for what a binary operator gives. */
static node_ref from_binary(struct builder *b, enum where_kind kind, node_ref op, const struct where_type *type, int location)
{
	if (op == NULL)
		return NULL;
	if (op->kind != WHERE_CALL || op->oper == NULL || op->type->oid != OID_BOOL)
		return build_fail(b, location, "Could not select an operator overload");
	return node_with_oper(b, kind, type, op->oper, op->args, op->nargs, location);
}

static node_ref distinct(struct builder *b, node_ref l, node_ref r, bool want_distinct, int location)
{
	if (l == NULL || r == NULL)
		return NULL;
	/* Unlike IS NULL this is about a row as a whole, and a row is there whatever is in it. */
	if ((is_null_literal(r) && l->kind == WHERE_ROW) || (is_null_literal(l) && r->kind == WHERE_ROW))
		return node_const(b, builtin(OID_BOOL), where_bool(want_distinct), '\0', location);
	if (is_null_literal(r))
		return null_test(b, l, !want_distinct, location);
	if (is_null_literal(l))
		return null_test(b, r, !want_distinct, location);
	if (l->kind == WHERE_ROW || r->kind == WHERE_ROW) {
		if (!same_width(b, l, r, location))
			return NULL;
		node_ref *parts = arena_alloc(b->mem, l->nargs * sizeof *parts);
		for (uint32_t i = 0; i < l->nargs; i++)
			if ((parts[i] = distinct(b, l->args[i], r->args[i], want_distinct, location)) == NULL)
				return NULL;
		return logic(b, want_distinct ? WHERE_OR : WHERE_AND, parts, l->nargs, location);
	}
	return from_binary(b, want_distinct ? WHERE_DISTINCT : WHERE_NOT_DISTINCT, binary(b, "=", l, r, location), builtin(OID_BOOL),
	                   location);
}

static bool names_column(node_ref n)
{
	if (n->kind == WHERE_COLUMN)
		return true;
	for (uint32_t i = 0; i < n->nargs; i++)
		if (n->args[i] != NULL && names_column(n->args[i]))
			return true;
	return false;
}

/* x IN (constants) of a common type: one look-up. NULL without a failure: take it as an OR of equalities. */
static node_ref in_constants(struct builder *b, node_ref x, node_ref const *items, uint32_t n, int location)
{
	node_ref *all = arena_alloc(b->mem, (n + 1) * sizeof *all);
	all[0] = x;
	memcpy(all + 1, items, n * sizeof *all);
	const struct where_type *t = resolve_common(b, all, n + 1, NULL);
	if (t == NULL || t->kind == 'p' || (t->oid != OID_TEXT && !usable(t)) || where_type_is_array(build_base(t)))
		return NULL; /* there are no arrays of arrays */
	for (uint32_t i = 0; i <= n; i++)
		if (!resolve_can_coerce(b->w, all[i]->type, t, COERCE_IMPLICIT))
			return NULL;
	node_ref *args = arena_alloc(b->mem, (n + 1) * sizeof *args);
	node_ref op = NULL;
	for (uint32_t i = 0; i < n; i++) {
		node_ref item = resolve_coerce(b, items[i], t, -1, COERCE_IMPLICIT, location);
		if (item == NULL)
			return NULL;
		note_param(b, items[i], item);
		if (i > 0) { /* of the same type as the first: the same operator */
			args[i + 1] = resolve_coerce(b, item, args[1]->type, -1, COERCE_IMPLICIT, location);
			if (args[i + 1] == NULL)
				return NULL;
			continue;
		}
		op = binary(b, "=", x, item, location);
		if (op == NULL)
			return NULL;
		if (op->kind != WHERE_CALL || op->nargs != 2)
			return build_fail(b, location, "Could not select an operator overload");
		args[0] = op->args[0];
		args[1] = op->args[1];
	}
	return node_with_oper(b, WHERE_IN, builtin(OID_BOOL), op->oper, args, n + 1, location);
}

static node_ref in_list(struct builder *b, node_ref x, node_ref const *items, uint32_t n, bool is_not, int location)
{
	node_ref *consts = arena_alloc(b->mem, n * sizeof *consts), *parts = arena_alloc(b->mem, (n + 1) * sizeof *parts);
	bool *rest = arena_alloc(b->mem, n * sizeof *rest); /* what the set can't have */
	uint32_t nconsts = 0, nparts = 0;
	for (uint32_t i = 0; i < n; i++) {
		rest[i] = x->kind == WHERE_ROW || items[i]->kind == WHERE_ROW || names_column(items[i]);
		if (!rest[i])
			consts[nconsts++] = items[i];
	}
	node_ref set = NULL;
	if (nconsts > 1)
		set = in_constants(b, x, consts, nconsts, location);
	else if (nconsts == 1)
		set = from_binary(b, WHERE_IN, binary(b, "=", x, consts[0], location), builtin(OID_BOOL), location);
	if (b->failed)
		return NULL;
	if (set != NULL)
		parts[nparts++] = is_not ? negate(b, set, location) : set;
	for (uint32_t i = 0; i < n; i++) {
		if (set != NULL && !rest[i])
			continue;
		if ((parts[nparts++] = binary(b, is_not ? "<>" : "=", x, items[i], location)) == NULL)
			return NULL;
	}
	return logic(b, is_not ? WHERE_AND : WHERE_OR, parts, nparts, location);
}

static node_ref between(struct builder *b, node_ref x, node_ref lo, node_ref hi, bool is_not, int location)
{
	node_ref parts[2] = {binary(b, is_not ? "<" : ">=", x, lo, location), NULL};
	if (parts[0] == NULL)
		return NULL;
	parts[1] = binary(b, is_not ? ">" : "<=", x, hi, location);
	return parts[1] == NULL ? NULL : logic(b, is_not ? WHERE_OR : WHERE_AND, parts, 2, location);
}

static node_ref any_all(struct builder *b, const json_t *f, const char *op, bool all)
{
	int location = syntax_location(f);
	const json_t *right = syntax_field(f, "rexpr");
	node_ref l = expr(b, syntax_field(f, "lexpr"));
	node_ref r = l == NULL ? NULL : expr(b, right);
	if (r == NULL)
		return NULL;
	const struct where_type *base = build_base(r->type), *unknown = builtin(OID_UNKNOWN);
	bool is_unknown = node_is_unknown(r);
	if (!is_unknown && !where_type_is_array(base))
		return build_fail(b, r->location, "argument of ANY must be an array"); /* of ALL too, in these words */
	const struct where_type *declared[2], *result;
	const struct where_oper *o = resolve_oper(b, op, l->type, is_unknown ? unknown : base->elem, location, declared, &result);
	if (o == NULL)
		return NULL;
	if (result->oid != OID_BOOL)
		return build_fail(b, location, "ANY/ALL requires operator that returns bool");
	const struct where_type *array = build_array_of(b->w, declared[1]);
	if (array == NULL)
		return build_fail(b, location, "Could not select an operator overload");
	node_ref args[2] = {resolve_coerce(b, l, declared[0], -1, COERCE_IMPLICIT, location),
	                    resolve_coerce(b, r, array, -1, COERCE_IMPLICIT, location)};
	note_param(b, l, args[0]);
	note_param(b, r, args[1]);
	if (args[0] == NULL || args[1] == NULL)
		return NULL;
	return node_with_oper(b, all ? WHERE_ALL : WHERE_ANY, builtin(OID_BOOL), o, args, 2, location);
}

/* ---- A_Expr ------------------------------------------------------------------------------------------------------------ */

static node_ref a_expr_list(struct builder *b, const json_t *f, const char *kind, int location)
{
	const json_t *list;
	uint32_t n;
	node_ref x = expr(b, syntax_field(f, "lexpr"));
	syntax_kind(syntax_field(f, "rexpr"), &list);
	node_ref *items = x == NULL ? NULL : expr_list(b, syntax_field(list, "items"), &n);
	if (items == NULL)
		return NULL;
	if (strcmp(kind, "AEXPR_IN") == 0) {
		const char *op = syntax_catalog_name(syntax_field(f, "name"));
		return in_list(b, x, items, n, op != NULL && strcmp(op, "<>") == 0, location);
	}
	if (n != 2)
		return unsupported_node(b, "A_Expr", location);
	bool is_not = strncmp(kind, "AEXPR_NOT_", 10) == 0;
	if (strstr(kind, "_SYM") == NULL)
		return between(b, x, items[0], items[1], is_not, location);
	node_ref both[2] = {between(b, x, items[0], items[1], is_not, location), NULL};
	both[1] = both[0] == NULL ? NULL : between(b, x, items[1], items[0], is_not, location);
	return both[1] == NULL ? NULL : logic(b, is_not ? WHERE_AND : WHERE_OR, both, 2, location);
}

static node_ref a_expr(struct builder *b, const json_t *f)
{
	const char *kind = syntax_text(f, "kind");
	int location = syntax_location(f);
	if (strcmp(kind, "AEXPR_IN") == 0 || strstr(kind, "BETWEEN") != NULL)
		return a_expr_list(b, f, kind, location);
	const char *op = syntax_catalog_name(syntax_field(f, "name"));
	bool prefix = syntax_field(f, "lexpr") == NULL;
	if (op == NULL)
		return build_fail(b, location, "unknown %s operator \"%s\"", prefix ? "unary" : "binary", syntax_dotted(b, syntax_field(f, "name")));
	if (strcmp(op, "!=") == 0)
		op = "<>";
	if (strcmp(kind, "AEXPR_OP_ANY") == 0 || strcmp(kind, "AEXPR_OP_ALL") == 0)
		return any_all(b, f, op, strcmp(kind, "AEXPR_OP_ALL") == 0);
	node_ref r;
	if (prefix) {
		r = expr(b, syntax_field(f, "rexpr"));
		return r == NULL ? NULL : resolve_prefix(b, op, r, location);
	}
	node_ref l = expr(b, syntax_field(f, "lexpr"));
	r = l == NULL ? NULL : expr(b, syntax_field(f, "rexpr"));
	if (r == NULL)
		return NULL;
	if (strcmp(kind, "AEXPR_DISTINCT") == 0 || strcmp(kind, "AEXPR_NOT_DISTINCT") == 0)
		return distinct(b, l, r, strcmp(kind, "AEXPR_DISTINCT") == 0, location);
	if (strcmp(kind, "AEXPR_NULLIF") == 0) {
		if (l->kind == WHERE_ROW || r->kind == WHERE_ROW) /* compared as records: NULLs are equal then */
			return unsupported_node(b, "RowExpr", l->kind == WHERE_ROW ? l->location : r->location);
		node_ref equal = binary(b, "=", l, r, location);
		return from_binary(b, WHERE_NULLIF, equal, equal == NULL || equal->nargs == 0 ? NULL : equal->args[0]->type, location);
	}
	if (strcmp(kind, "AEXPR_OP") == 0 || strcmp(kind, "AEXPR_LIKE") == 0 || strcmp(kind, "AEXPR_ILIKE") == 0 ||
	    strcmp(kind, "AEXPR_SIMILAR") == 0)
		return binary(b, op, l, r, location);
	return build_fail(b, location, "expression \"%s\" of :%s is not currently supported", op, kind);
}

/* ---- functions, CASE and the rest ------------------------------------------------------------------------------------------ */

static node_ref func_call(struct builder *b, const json_t *f)
{
	static const char *const aggregate[] = {"agg_order", "agg_filter", "over", "agg_within_group", "agg_star", "agg_distinct"};
	int location = syntax_location(f);
	for (size_t i = 0; i < ARRAY_LEN(aggregate); i++)
		if (syntax_field(f, aggregate[i]) != NULL)
			return build_fail(b, location, "aggregation is not supported in this context");
	if (json_is_true(syntax_field(f, "func_variadic")))
		return build_fail(b, location, "explicit VARIADIC function calls are not currently supported");
	uint32_t n;
	node_ref *args = expr_list(b, syntax_field(f, "args"), &n);
	if (args == NULL)
		return NULL;
	const char *name = syntax_catalog_name(syntax_field(f, "funcname"));
	if (name == NULL)
		return build_fail(b, location, "unknown or unsupported function %s/%u", syntax_dotted(b, syntax_field(f, "funcname")), n);
	for (uint32_t i = 0; i < n; i++)
		if (args[i]->kind == WHERE_ROW)
			return build_fail(b, args[i]->location, "RowExpr is not supported in this context");
	node_ref call = resolve_function(b, name, args, n, location);
	note_params(b, args, n, call);
	return call;
}

static node_ref cannot_match(struct builder *b, const char *what, const struct where_type *const bad[2], int location)
{
	return build_fail(b, location, "%s%stypes %s and %s cannot be matched", what, what[0] != '\0' ? " " : "",
	                  build_type_text(b, bad[1]), build_type_text(b, bad[0]));
}

/* All as their common type; NULL if there is none. */
static const struct where_type *common(struct builder *b, node_ref *args, uint32_t n, const char *what, int location)
{
	const struct where_type *bad[2];
	for (uint32_t i = 0; i < n; i++)
		if (args[i]->kind == WHERE_ROW) {
			build_fail(b, args[i]->location, "RowExpr is not supported in this context");
			return NULL;
		}
	const struct where_type *t = resolve_common(b, args, n, bad);
	if (t == NULL) {
		cannot_match(b, what, bad, location);
		return NULL;
	}
	if (t->base != NULL)
		t = t->base;
	for (uint32_t i = 0; i < n; i++) {
		if (!resolve_can_coerce(b->w, args[i]->type, t, COERCE_IMPLICIT)) {
			build_fail(b, location, "%s cannot be matched to %s", build_type_text(b, args[i]->type), build_type_text(b, t));
			return NULL;
		}
		node_ref as = resolve_coerce(b, args[i], t, -1, COERCE_IMPLICIT, location);
		note_param(b, args[i], as);
		if ((args[i] = as) == NULL)
			return NULL;
	}
	return t;
}

static node_ref common_list(struct builder *b, const json_t *f, enum where_kind kind, const char *what)
{
	uint32_t n;
	int location = syntax_location(f);
	node_ref *args = expr_list(b, syntax_field(f, "args"), &n);
	if (args == NULL)
		return NULL;
	if (resolve_common(b, args, n, NULL) == NULL)
		return resolve_no_overload(b, what, args, n, location);
	const struct where_type *t = common(b, args, n, what, location);
	if (t == NULL)
		return NULL;
	if (kind != WHERE_COALESCE && !where_comparable(t))
		return resolve_no_overload(b, what, args, n, location);
	return node_logic(b, kind, t, args, n, location);
}

static node_ref case_expr(struct builder *b, const json_t *f)
{
	int location = syntax_location(f);
	const json_t *whens = syntax_field(f, "args");
	uint32_t n = (uint32_t)json_array_size(whens);
	node_ref test = NULL;
	if (syntax_field(f, "arg") != NULL) {
		if ((test = expr(b, syntax_field(f, "arg"))) == NULL)
			return NULL;
		if (test->kind == WHERE_ROW) /* compared as a record: NULLs are equal then */
			return unsupported_node(b, "RowExpr", test->location);
		if (node_is_unknown(test))
			test = resolve_coerce(b, test, builtin(OID_TEXT), -1, COERCE_IMPLICIT, location);
	}
	node_ref *when = arena_alloc(b->mem, (n + 1) * sizeof *when), *result = arena_alloc(b->mem, (n + 1) * sizeof *result);
	for (uint32_t i = 0; i < n; i++) {
		const json_t *w;
		syntax_kind(json_array_get(whens, i), &w);
		node_ref condition = expr(b, syntax_field(w, "expr"));
		if (condition != NULL && test != NULL)
			condition = binary(b, "=", test, condition, condition->location);
		if ((when[i] = as_bool(b, condition)) == NULL || (result[i + 1] = expr(b, syntax_field(w, "result"))) == NULL)
			return NULL;
	}
	/* The ELSE counts first when the common type is chosen. */
	const json_t *otherwise = syntax_field(f, "defresult");
	result[0] = otherwise != NULL ? expr(b, otherwise) : node_null(b, builtin(OID_UNKNOWN), location);
	const struct where_type *t = result[0] == NULL ? NULL : common(b, result, n + 1, "CASE", location);
	if (t == NULL)
		return NULL;
	node_ref *args = arena_alloc(b->mem, (2 * n + 1) * sizeof *args);
	for (uint32_t i = 0; i < n; i++) {
		args[2 * i] = when[i];
		args[2 * i + 1] = result[i + 1];
	}
	args[2 * n] = result[0];
	return node_logic(b, WHERE_CASE, t, args, 2 * n + 1, location);
}

static node_ref array_expr(struct builder *b, const json_t *f, const struct where_type *as)
{
	const json_t *elements = syntax_field(f, "elements"), *inner;
	int location = syntax_location(f);
	uint32_t n = (uint32_t)json_array_size(elements);
	node_ref *args = arena_alloc(b->mem, (n + 1) * sizeof *args);
	bool nested = false;
	for (uint32_t i = 0; i < n; i++) {
		const json_t *e = json_array_get(elements, i);
		bool sub = strcmp(syntax_kind(e, &inner), "A_ArrayExpr") == 0;
		args[i] = sub ? array_expr(b, inner, as) : expr(b, e);
		if (args[i] == NULL)
			return NULL;
		const struct where_type *t = args[i]->type;
		if (t->base != NULL && where_type_is_array(t->base)) /* elements for Postgres, not dimensions */
			return build_fail(b, args[i]->location, "ARRAY[] of the domain %s is not supported", build_type_text(b, t));
		nested |= sub || where_type_is_array(t);
	}
	const struct where_type *array;
	if (as != NULL) {
		array = as;
		for (uint32_t i = 0; i < n; i++) {
			node_ref given = args[i];
			args[i] = resolve_coerce(b, given, nested ? as : as->elem, -1, COERCE_EXPLICIT, given->location);
			note_param(b, given, args[i]);
			if (args[i] == NULL)
				return NULL;
		}
	} else if (n == 0) {
		array = build_array_of(b->w, builtin(OID_TEXT));
	} else {
		const struct where_type *t = common(b, args, n, "ARRAY", location);
		if (t == NULL)
			return NULL;
		array = nested ? t : build_array_of(b->w, t);
	}
	if (array == NULL || !where_type_is_array(array))
		return build_fail(b, location, "unsupported type of ARRAY elements");
	struct where_node *out = (struct where_node *)node_logic(b, WHERE_ARRAY, array, args, n, location);
	if (out != NULL)
		out->nested = nested;
	return out;
}

/* A subscript is an int4, assigned. */
static node_ref subscript(struct builder *b, const json_t *j, int location)
{
	node_ref n = j == NULL ? NULL : expr(b, j);
	if (n == NULL)
		return NULL;
	if (!resolve_can_coerce(b->w, n->type, builtin(OID_INT4), COERCE_ASSIGNMENT))
		return build_fail(b, n->location, "array subscript must have type int4");
	node_ref out = resolve_coerce(b, n, builtin(OID_INT4), -1, COERCE_ASSIGNMENT, location);
	note_param(b, n, out);
	return out;
}

static node_ref indirection(struct builder *b, const json_t *f)
{
	const json_t *list = syntax_field(f, "indirection"), *index;
	node_ref base = expr(b, syntax_field(f, "arg"));
	uint32_t n = (uint32_t)json_array_size(list);
	if (base == NULL)
		return NULL;
	int location = base->location;
	bool slice = false;
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(syntax_kind(json_array_get(list, i), &index), "A_Indices") != 0)
			return build_fail(b, 0, "A_Indirection is not supported in this context");
		slice |= json_is_true(syntax_field(index, "is_slice"));
	}
	if (base->type->base != NULL)
		base = node_relabel(b, base, base->type->base, location);
	if (!where_type_is_array(base->type) || n > WHERE_ARRAY_DIMS_MAX)
		return build_fail(b, 0, "A_Indirection is not supported in this context");
	node_ref args[1 + 2 * WHERE_ARRAY_DIMS_MAX] = {base};
	uint32_t nargs = 1;
	for (uint32_t i = 0; i < n; i++) {
		syntax_kind(json_array_get(list, i), &index);
		const json_t *lower = syntax_field(index, "lidx"), *upper = syntax_field(index, "uidx");
		node_ref lo = lower != NULL ? subscript(b, lower, location) : NULL;
		node_ref hi = upper != NULL ? subscript(b, upper, location) : NULL;
		if (b->failed)
			return NULL;
		if (slice && !json_is_true(syntax_field(index, "is_slice")))
			lo = node_const(b, builtin(OID_INT4), where_int(1), '\0', location);
		if (slice)
			args[nargs++] = lo;
		args[nargs++] = hi;
	}
	if (slice)
		return node_logic(b, WHERE_SLICE, base->type, args, nargs, location);
	return node_logic(b, WHERE_SUBSCRIPT, base->type->elem, args, nargs, location);
}

static node_ref boolean_test(struct builder *b, const json_t *f)
{
	static const struct { const char *name, *text; enum where_kind kind; } tests[] = {
		{"IS_TRUE", "IS TRUE", WHERE_IS_TRUE}, {"IS_NOT_TRUE", "IS NOT TRUE", WHERE_IS_NOT_TRUE},
		{"IS_FALSE", "IS FALSE", WHERE_IS_FALSE}, {"IS_NOT_FALSE", "IS NOT FALSE", WHERE_IS_NOT_FALSE},
		{"IS_UNKNOWN", "IS UNKNOWN", WHERE_IS_UNKNOWN}, {"IS_NOT_UNKNOWN", "IS NOT UNKNOWN", WHERE_IS_NOT_UNKNOWN},
	};
	const char *test = syntax_text(f, "booltesttype");
	size_t i = 0;
	while (i + 1 < ARRAY_LEN(tests) && strcmp(tests[i].name, test) != 0)
		i++;
	node_ref n = expr(b, syntax_field(f, "arg"));
	if (n == NULL)
		return NULL;
	if (build_base(n->type)->oid != OID_BOOL && !node_is_unknown(n))
		return build_fail(b, syntax_location(f), "argument of %s must be bool, not %s", tests[i].text, build_type_text(b, n->type));
	n = as_bool(b, n);
	return n == NULL ? NULL : node_logic(b, tests[i].kind, builtin(OID_BOOL), &n, 1, syntax_location(f));
}

static node_ref row_expr(struct builder *b, const json_t *f)
{
	uint32_t n;
	node_ref *args = expr_list(b, syntax_field(f, "args"), &n);
	if (n > ROW_WIDTH_MAX)
		return build_fail(b, syntax_location(f), "ROW expressions can have at most %d entries", ROW_WIDTH_MAX);
	return args == NULL ? NULL : node_logic(b, WHERE_ROW, builtin(OID_RECORD), args, n, syntax_location(f));
}

/* The stored form has the name alone. */
static bool only_of_name(struct where *w, int at)
{
	const struct where_collation *c = build_collation(w, at);
	if (c != where_collation_c() && strcmp(c->name, where_collation_c()->name) == 0)
		return false;
	for (int i = 0; i < w->table->ncollations; i++)
		if (build_collation(w, i) != c && strcmp(build_collation(w, i)->name, c->name) == 0)
			return false;
	return true;
}

static const struct where_collation *named_collation(struct builder *b, const json_t *names)
{
	size_t n = json_array_size(names);
	const char *name = n > 0 ? syntax_name(names, n - 1) : NULL, *schema = n == 2 ? syntax_name(names, 0) : NULL;
	if (name == NULL || n > 2)
		return NULL;
	if ((schema == NULL || strcmp(schema, "pg_catalog") == 0) &&
	    (strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0))
		return where_collation_c();
	for (int i = 0; i < b->w->table->ncollations; i++) {
		const struct pg_collation *c = &b->w->table->collations[i];
		if (strcmp(i == 0 ? "default" : c->name, name) == 0 && (schema == NULL || strcmp(schema, c->schema) == 0))
			return only_of_name(b->w, i) ? build_collation(b->w, i) : NULL;
	}
	return NULL;
}

static node_ref collate(struct builder *b, const json_t *f)
{
	node_ref n = expr(b, syntax_field(f, "arg"));
	if (n == NULL)
		return NULL;
	int location = syntax_location(f);
	if (node_is_unknown(n))
		n = resolve_coerce(b, n, builtin(OID_TEXT), -1, COERCE_IMPLICIT, location);
	if (n == NULL)
		return NULL;
	if (!n->type->collatable)
		return build_fail(b, location, "collations are not supported by type %s", build_type_text(b, n->type));
	const struct where_collation *c = named_collation(b, syntax_field(f, "collname"));
	if (c == NULL)
		return build_fail(b, location, "collation %s is not supported: use \"C\", or the collation of a column of this table",
		                  syntax_dotted(b, syntax_field(f, "collname")));
	return node_collate(b, n, c, location);
}

/* ---- dispatch ---------------------------------------------------------------------------------------------------------- */

static node_ref dispatch(struct builder *b, const json_t *j)
{
	static const struct { const char *kind; node_ref (*build)(struct builder *b, const json_t *f); } kinds[] = {
		{"A_Expr", a_expr}, {"A_Const", constant}, {"ColumnRef", column}, {"BoolExpr", bool_expr}, {"FuncCall", func_call},
		{"TypeCast", type_cast}, {"BooleanTest", boolean_test}, {"CaseExpr", case_expr}, {"A_Indirection", indirection},
		{"RowExpr", row_expr}, {"CollateClause", collate}, {"SubLink", subquery_link},
	};
	const json_t *f;
	const char *kind = syntax_kind(j, &f);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i].kind, kind) == 0)
			return kinds[i].build(b, f);
	if (strcmp(kind, "ParamRef") == 0)
		return param_value(b, f, NULL);
	if (strcmp(kind, "NullTest") == 0)
		return null_test(b, expr(b, syntax_field(f, "arg")), strcmp(syntax_text(f, "nulltesttype"), "IS_NULL") == 0, syntax_location(f));
	if (strcmp(kind, "A_ArrayExpr") == 0)
		return array_expr(b, f, NULL);
	if (strcmp(kind, "CoalesceExpr") == 0)
		return common_list(b, f, WHERE_COALESCE, "coalesce");
	if (strcmp(kind, "MinMaxExpr") == 0) {
		bool greatest = strcmp(syntax_text(f, "op"), "IS_LEAST") != 0;
		return common_list(b, f, greatest ? WHERE_GREATEST : WHERE_LEAST, greatest ? "greatest" : "least");
	}
	return unsupported_node(b, kind, syntax_location(f));
}

static node_ref expr(struct builder *b, const json_t *j)
{
	if (b->failed)
		return NULL;
	if (++b->depth > WHERE_DEPTH_MAX)
		return build_fail(b, syntax_location_below(j), "the expression is nested more than %d levels deep", WHERE_DEPTH_MAX);
	node_ref n = dispatch(b, j);
	b->depth--;
	return n;
}

/* ---- statements --------------------------------------------------------------------------------------------------------- */

/* The statement's WHERE, or a part of it. */
static node_ref condition(struct builder *b, const json_t *j)
{
	node_ref n = expr(b, j);
	if (n != NULL && n->type->oid == OID_UNKNOWN && n->kind == WHERE_CONST && n->column != 0)
		n = as_bool(b, n); /* `$1` alone */
	if (n != NULL && build_base(n->type)->oid != OID_BOOL)
		return build_fail_plain(b, "WHERE clause must return a boolean");
	return n;
}

static const struct parse_steps steps = {expr, condition, note_param};

static struct builder builder_of(struct where *w, const struct where_params *params, const bool *columns, char *message)
{
	static const struct where_params none = {NULL, 0};
	if (params == NULL)
		params = &none;
	struct builder b = {.w = w, .mem = &w->mem, .params = params, .columns = columns, .message = message, .parse = &steps};
	size_t bytes = (params->n + 1) * sizeof *b.param_types;
	b.param_types = arena_alloc(b.mem, bytes);
	memset(b.param_types, 0, bytes);
	bytes = (params->n + 1) * sizeof *b.param_texts;
	b.param_texts = arena_alloc(b.mem, bytes);
	memset(b.param_texts, 0, bytes);
	message[0] = '\0';
	return b;
}

int where_parse(const struct pg_table *t, struct where_tables *tables, const char *text, size_t len,
                const struct where_params *params, const bool *columns, bool subset, struct where **out,
                char message[WHERE_MESSAGE_MAX])
{
	struct where *w = where_new(t);
	struct builder b = builder_of(w, params, columns, message);
	struct where_tables none = {.n = 0};
	unsigned subqueries = 0;
	uint64_t fold_steps = WHERE_FOLD_STEPS_MAX;
	b.subset = subset;
	b.subqueries = &subqueries;
	b.fold_steps = &fold_steps;
	b.tables = tables != NULL ? tables : &none;
	b.tables->missing_name[0] = '\0';
	json_t *select = syntax_parse(&b, PREFIX, text, len, "unescaped \";\" causing statement split");
	if (select != NULL && !syntax_only(select, "whereClause"))
		build_fail_plain(&b, "malformed query ending with SQL clauses");
	if (!b.failed && !subset)
		subquery_find_tables(&b, syntax_field(select, "whereClause"));
	node_ref n = b.failed ? NULL : condition(&b, syntax_field(select, "whereClause"));
	json_decref(select);
	if (n != NULL)
		build_check_constants(&b, n);
	if (b.failed || n == NULL) {
		where_free(w);
		return -1;
	}
	w->root = n;
	*out = w;
	return 0;
}

int where_check_syntax(const char *text, size_t len, char message[WHERE_MESSAGE_MAX])
{
	struct arena mem = ARENA_INIT;
	struct builder b = {.mem = &mem, .message = message};
	message[0] = '\0';
	json_t *select = syntax_parse(&b, PREFIX, text, len, "unescaped \";\" causing statement split");
	if (select != NULL && !syntax_only(select, "whereClause"))
		build_fail_plain(&b, "malformed query ending with SQL clauses");
	json_decref(select);
	arena_clear(&mem);
	return b.failed ? -1 : 0;
}

/* ---- ORDER BY ------------------------------------------------------------------------------------------------------------ */

static bool order_item(struct builder *b, const json_t *item, struct buf *sql, bool first)
{
	const json_t *f, *node;
	syntax_kind(item, &f);
	const char *kind = syntax_kind(syntax_field(f, "node"), &node);
	int location = syntax_location(node);
	if (strcmp(kind, "TypeCast") == 0)
		location = syntax_location(syntax_field(node, "typeName"));
	if (strcmp(kind, "ParamRef") == 0) {
		build_fail_plain(b, "At location %d: parameter $%" JSON_INTEGER_FORMAT " is not supported in ORDER BY clauses", location,
		                 json_integer_value(syntax_field(node, "number")));
		return false;
	}
	if (strcmp(kind, "ColumnRef") != 0 && strcmp(kind, "A_Const") != 0) {
		build_fail_plain(b, "At location %d: %s expressions are not allowed in ORDER BY clauses", location,
		                 strcmp(kind, "TypeCast") == 0 ? "TypeName" : kind);
		return false;
	}
	if (strcmp(kind, "A_Const") == 0)
		return true; /* orders nothing: a constant would be a column's number to Postgres */
	b->prefix = 0;
	node_ref n = column(b, node);
	if (n == NULL)
		return false;
	buf_puts(sql, first ? " ORDER BY " : ", ");
	sql_identifier(sql, b->w->table->columns[n->column].name);
	const char *dir = syntax_text(f, "sortby_dir"), *nulls = syntax_text(f, "sortby_nulls");
	if (strcmp(dir, "SORTBY_DESC") == 0)
		buf_puts(sql, " DESC");
	else if (strcmp(dir, "SORTBY_USING") == 0) {
		const char *op = syntax_catalog_name(syntax_field(f, "useOp"));
		if (op == NULL || (strcmp(op, "<") != 0 && strcmp(op, ">") != 0)) {
			build_fail_plain(b, "At location %d: only USING < and USING > are allowed in ORDER BY clauses", location);
			return false;
		}
		buf_puts(sql, op[0] == '>' ? " DESC" : "");
	}
	if (strcmp(nulls, "SORTBY_NULLS_FIRST") == 0)
		buf_puts(sql, " NULLS FIRST");
	else if (strcmp(nulls, "SORTBY_NULLS_LAST") == 0)
		buf_puts(sql, " NULLS LAST");
	return true;
}

int where_order_by(const struct pg_table *t, const char *text, size_t len, const bool *columns, struct buf *sql, bool *uses,
                   char message[WHERE_MESSAGE_MAX])
{
	struct where *w = where_new(t);
	struct builder b = builder_of(w, NULL, columns, message);
	json_t *select = syntax_parse(&b, "SELECT 1 ORDER BY ", text, len, "Unexpected `;` in order by");
	if (select != NULL && !syntax_only(select, "sortClause"))
		build_fail_plain(&b, "malformed query ending with SQL clauses");
	const json_t *list = select == NULL ? NULL : syntax_field(select, "sortClause");
	size_t start = sql->len;
	for (size_t i = 0; !b.failed && i < json_array_size(list); i++)
		order_item(&b, json_array_get(list, i), sql, sql->len == start);
	json_decref(select);
	memcpy(uses, w->uses, t->ncolumns * sizeof *uses);
	where_free(w);
	return b.failed ? -1 : 0;
}
