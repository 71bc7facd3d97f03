/*
 * sql.c - a typed tree as SQL of our own: what snapshots and subsets send to Postgres.
 *
 * Nothing of a client's text is copied: names come from the catalog and are quoted, operators, functions
 * and types are qualified by their schema, constants are written by our output functions and quoted here.
 * Everything stands in parentheses, so precedence never matters.
 */
#include <locale.h>
#include <pthread.h>
#include <string.h>
#include <wctype.h>

#include "base/utf8.h"
#include "where/build.h"

void sql_identifier(struct buf *out, const char *name)
{
	buf_putc(out, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"')
			buf_putc(out, '"');
		buf_putc(out, *name);
	}
	buf_putc(out, '"');
}

static locale_t unicode;
static pthread_once_t unicode_once = PTHREAD_ONCE_INIT;

static void load_unicode(void) { unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0); }

static bool is_lower(uint32_t c)
{
	if (c < 0x80)
		return c >= 'a' && c <= 'z';
	return unicode != (locale_t)0 && iswlower_l((wint_t)c, unicode) != 0;
}

static bool is_plain(const char *name)
{
	const char *p = name, *end = name + strlen(name);
	bool plain = p < end;
	while (plain && p < end) {
		bool first = p == name;
		uint32_t c = utf8_decode(&p, end);
		plain = is_lower(c) || c == '_' || (!first && c >= '0' && c <= '9');
	}
	return plain;
}

void sql_name_shown(struct buf *out, const char *name)
{
	pthread_once(&unicode_once, load_unicode);
	if (is_plain(name))
		buf_puts(out, name);
	else
		sql_identifier(out, name);
}

/* Right under both settings of standard_conforming_strings: with a backslash in it as E'…'. */
static void sql_quoted(struct buf *out, const char *p, size_t n)
{
	if (memchr(p, '\\', n) != NULL)
		buf_puts(out, " E");
	buf_putc(out, '\'');
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\'' || p[i] == '\\')
			buf_putc(out, p[i]);
		buf_putc(out, p[i]);
	}
	buf_putc(out, '\'');
}

/* From behind an opening quote, which comes twice where it stands for itself; *same: what is inside is p. */
static const char *past_quoted(const char *at, char quote, const char *p, size_t n, bool *same)
{
	size_t i = 0;
	*same = true;
	for (; *at != '\0'; at++, i++) {
		if (*at == quote && *++at != quote)
			break;
		if (*at == '\\' && quote == '\'')
			at++;
		*same = *same && i < n && *at == p[i];
	}
	*same = *same && i == n;
	return at;
}

bool where_sql_holds(const char *sql, const char *p, size_t n)
{
	bool same;
	while (*sql != '\0') {
		char quote = *sql++;
		if (quote != '\'' && quote != '"')
			continue;
		sql = past_quoted(sql, quote, p, n, &same);
		if (same && quote == '\'')
			return true;
	}
	return false;
}

static void sql_type(struct buf *out, const struct where_type *t)
{
	if (where_type_is_array(t)) {
		/* Elements of a domain are held as its base type: named as the domain, its checks would be made in
		 * Postgres only. */
		sql_type(out, build_base(t->elem));
		buf_puts(out, "[]");
		return;
	}
	sql_identifier(out, t->schema != NULL ? t->schema : "pg_catalog");
	buf_putc(out, '.');
	sql_identifier(out, t->name);
}

static void sql_list(struct buf *out, const struct where *w, const node_ref *args, uint32_t n, const char *between)
{
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0)
			buf_puts(out, between);
		sql_node(out, w, args[i]);
	}
}

static void sql_const(struct buf *out, node_ref n)
{
	if (n->value.is == WHERE_NULL) {
		buf_puts(out, "NULL::");
		sql_type(out, n->type);
		return;
	}
	/* Its text can't fail to be written: it was read from one. */
	struct arena scratch = ARENA_INIT;
	struct where_call call = {.mem = &scratch, .collation = where_collation_c(), .result = n->type, .typmod = -1};
	struct buf text = BUF_INIT(WHERE_STATEMENT_MAX * 8u);
	if (where_out(&call, n->type, &n->value, &text) < 0 || text.failed)
		out->failed = true;
	else
		sql_quoted(out, text.data != NULL ? text.data : "", text.len);
	buf_puts(out, "::");
	sql_type(out, n->type);
	buf_clear(&text);
	arena_clear(&scratch);
}

static void sql_operator(struct buf *out, const struct where_oper *o)
{
	buf_puts(out, "OPERATOR(pg_catalog.");
	buf_puts(out, o->name);
	buf_putc(out, ')');
}

/*
 * A cast may use another type's function: int2 to oid that to int4, char(n) to "char" that of text, and without the
 * conversions that a call by name would have.
 */
static bool is_borrowed_cast(node_ref n)
{
	if (n->oper != NULL || n->nargs != 1)
		return false;
	const struct where_type *from = build_base(n->args[0]->type);
	const struct where_cast *c = where_cast_find(from->oid, n->type->oid);
	return c != NULL && c->proc == n->proc->oid && (from->oid != n->proc->args[0] || n->type->oid != n->proc->result);
}

static void sql_plain_call(struct buf *out, const struct where *w, node_ref n)
{
	if (n->oper != NULL) {
		buf_putc(out, '(');
		if (n->nargs == 2) {
			sql_node(out, w, n->args[0]);
			buf_putc(out, ' ');
		}
		sql_operator(out, n->oper);
		buf_putc(out, ' ');
		sql_node(out, w, n->args[n->nargs - 1]);
		buf_putc(out, ')');
		return;
	}
	buf_puts(out, "pg_catalog.");
	sql_identifier(out, n->proc->name);
	buf_putc(out, '(');
	bool packed = n->proc->variadic != 0 && n->proc->variadic != OID_ANY;
	for (uint32_t i = 0; i < n->nargs; i++) {
		if (i > 0)
			buf_puts(out, ", ");
		if (packed && i + 1 == n->nargs)
			buf_puts(out, "VARIADIC ");
		sql_node(out, w, n->args[i]);
	}
	buf_putc(out, ')');
}

static void sql_call(struct buf *out, const struct where *w, node_ref n)
{
	if (!is_borrowed_cast(n)) {
		sql_plain_call(out, w, n);
		return;
	}
	buf_putc(out, '(');
	sql_node(out, w, n->args[0]);
	buf_puts(out, "::");
	sql_type(out, n->type);
	buf_putc(out, ')');
}

static const char *postfix_of(uint8_t kind)
{
	switch (kind) {
	case WHERE_IS_NULL: return " IS NULL)";
	case WHERE_IS_NOT_NULL: return " IS NOT NULL)";
	case WHERE_IS_TRUE: return " IS TRUE)";
	case WHERE_IS_NOT_TRUE: return " IS NOT TRUE)";
	case WHERE_IS_FALSE: return " IS FALSE)";
	case WHERE_IS_NOT_FALSE: return " IS NOT FALSE)";
	case WHERE_IS_UNKNOWN: return " IS UNKNOWN)";
	case WHERE_IS_NOT_UNKNOWN: return " IS NOT UNKNOWN)";
	default: return NULL;
	}
}

static void sql_array(struct buf *out, const struct where *w, node_ref n)
{
	if (n->nested) {
		buf_puts(out, "ARRAY[");
		sql_list(out, w, n->args, n->nargs, ", ");
		buf_putc(out, ']');
	} else {
		buf_puts(out, "(ARRAY[");
		sql_list(out, w, n->args, n->nargs, ", ");
		buf_puts(out, "]::");
		sql_type(out, n->type);
		buf_putc(out, ')');
	}
}

static void sql_case(struct buf *out, const struct where *w, node_ref n)
{
	buf_puts(out, "(CASE");
	for (uint32_t i = 0; i + 1 < n->nargs; i += 2) {
		buf_puts(out, " WHEN ");
		sql_node(out, w, n->args[i]);
		buf_puts(out, " THEN ");
		sql_node(out, w, n->args[i + 1]);
	}
	buf_puts(out, " ELSE ");
	sql_node(out, w, n->args[n->nargs - 1]);
	buf_puts(out, " END)");
}

static void sql_subscripts(struct buf *out, const struct where *w, node_ref n)
{
	bool slice = n->kind == WHERE_SLICE;
	buf_putc(out, '(');
	sql_node(out, w, n->args[0]);
	buf_putc(out, ')');
	for (uint32_t i = 1; i < n->nargs; i += slice ? 2 : 1) {
		buf_putc(out, '[');
		if (n->args[i] != NULL)
			sql_node(out, w, n->args[i]);
		if (slice) {
			buf_putc(out, ':');
			if (n->args[i + 1] != NULL)
				sql_node(out, w, n->args[i + 1]);
		}
		buf_putc(out, ']');
	}
}

/* As written: one item, or arrays, which would be dimensions in an ARRAY[]. */
static void sql_in_each(struct buf *out, const struct where *w, node_ref n)
{
	for (uint32_t i = 1; i < n->nargs; i++) {
		buf_puts(out, i == 1 ? "((" : " OR (");
		sql_node(out, w, n->args[0]);
		buf_putc(out, ' ');
		sql_operator(out, n->oper);
		buf_putc(out, ' ');
		sql_node(out, w, n->args[i]);
		buf_putc(out, ')');
	}
	buf_putc(out, ')');
}

static void sql_any(struct buf *out, const struct where *w, node_ref n)
{
	if (n->kind == WHERE_IN && (n->nargs == 2 || where_type_is_array(build_base(n->args[1]->type)))) {
		sql_in_each(out, w, n);
		return;
	}
	buf_putc(out, '(');
	sql_node(out, w, n->args[0]);
	buf_putc(out, ' ');
	sql_operator(out, n->oper);
	buf_puts(out, n->kind == WHERE_ALL ? " ALL (" : " ANY (");
	if (n->kind == WHERE_IN) {
		buf_puts(out, "ARRAY[");
		sql_list(out, w, n->args + 1, n->nargs - 1, ", ");
		buf_putc(out, ']');
	} else {
		sql_node(out, w, n->args[1]);
	}
	buf_puts(out, "))");
}

static void sql_relabel(struct buf *out, const struct where *w, node_ref n)
{
	buf_putc(out, '(');
	sql_node(out, w, n->args[0]);
	if (n->type == n->args[0]->type) {
		buf_puts(out, " COLLATE ");
		if (n->own == where_collation_c()) {
			buf_puts(out, "pg_catalog.\"C\"");
		} else {
			for (int i = 0; i < w->table->ncollations; i++) {
				if (w->collations[i] != n->own)
					continue;
				sql_identifier(out, i == 0 ? "pg_catalog" : w->table->collations[i].schema);
				buf_putc(out, '.');
				sql_identifier(out, i == 0 ? "default" : w->table->collations[i].name);
				break;
			}
		}
	} else {
		buf_puts(out, "::");
		sql_type(out, n->type);
	}
	buf_putc(out, ')');
}

/* The type modifier of the elements' length coercion, as the type's typmodin function reads it; -1: there is none. */
static int32_t elem_typmod(node_ref n)
{
	node_ref c = n->kind == WHERE_ARRAY_CAST ? n->elem_cast : NULL;
	if (c == NULL || c->kind != WHERE_CALL || c->nargs < 2 || c->args[1]->kind != WHERE_CONST || c->args[1]->value.is != WHERE_VALUE ||
	    c->args[1]->type->oid != OID_INT4)
		return -1;
	return (int32_t)c->args[1]->value.u.i;
}

static void sql_typmod(struct buf *out, const struct where_type *t, int32_t typmod)
{
	int32_t low = typmod & 0xffff;
	if (typmod < 0)
		return;
	switch (t->oid) {
	case OID_VARCHAR: case OID_BPCHAR:
		buf_printf(out, "(%d)", typmod - 4);
		break;
	case OID_NUMERIC: /* the scale has 11 bits with a sign */
		buf_printf(out, "(%d,%d)", (typmod - 4) >> 16 & 0xffff, (((typmod - 4) & 0x7ff) ^ 1024) - 1024);
		break;
	case OID_INTERVAL: /* which fields, how many digits; 0xffff: all */
		buf_printf(out, low == 0xffff ? "(%d)" : "(%d,%d)", typmod >> 16, low);
		break;
	default:
		buf_printf(out, "(%d)", typmod);
	}
}

/* numeric(5,2)[]: each element is cast. */
static void sql_array_type(struct buf *out, const struct where_type *t, int32_t typmod)
{
	sql_type(out, t->elem);
	sql_typmod(out, t->elem, typmod);
	buf_puts(out, "[]");
}

/* Columns are bare inside as well: there each is found in the table inside first. */
void where_subquery_sql(const struct where *w, size_t i, struct buf *out)
{
	REQUIRE(i < w->nsubqueries);
	const struct where_subquery *q = &w->subqueries[i];
	buf_puts(out, q->nvalues > 0 ? "SELECT " : "SELECT");
	sql_list(out, q->inner, q->values, q->nvalues, ", ");
	buf_puts(out, " FROM ");
	sql_identifier(out, q->inner->table->schema);
	buf_putc(out, '.');
	sql_identifier(out, q->inner->table->name);
	if (q->inner->root != NULL) {
		buf_puts(out, " WHERE ");
		sql_node(out, q->inner, q->inner->root);
	}
}

static void sql_subquery(struct buf *out, const struct where *w, node_ref n)
{
	if (n->nargs == 0) {
		buf_puts(out, "EXISTS (");
	} else {
		buf_puts(out, n->nargs > 1 ? "(ROW(" : "(");
		sql_list(out, w, n->args, n->nargs, ", ");
		buf_puts(out, n->nargs > 1 ? ") OPERATOR(pg_catalog.=) ANY (" : " OPERATOR(pg_catalog.=) ANY (");
	}
	where_subquery_sql(w, n->column, out);
	buf_puts(out, n->nargs > 0 ? "))" : ")");
}

/* Kinds that are their arguments with something between, between parentheses. */
static bool sql_list_like(struct buf *out, const struct where *w, node_ref n)
{
	static const struct { enum where_kind kind; const char *open, *between; } forms[] = {
		{WHERE_AND, "(", " AND "}, {WHERE_OR, "(", " OR "}, {WHERE_NOT, "(NOT ", ""}, {WHERE_DISTINCT, "(", " IS DISTINCT FROM "},
		{WHERE_NOT_DISTINCT, "(", " IS NOT DISTINCT FROM "}, {WHERE_NULLIF, "NULLIF(", ", "}, {WHERE_COALESCE, "COALESCE(", ", "},
		{WHERE_GREATEST, "GREATEST(", ", "}, {WHERE_LEAST, "LEAST(", ", "},
	};
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (forms[i].kind != n->kind)
			continue;
		buf_puts(out, forms[i].open);
		sql_list(out, w, n->args, n->nargs, forms[i].between);
		buf_putc(out, ')');
		return true;
	}
	return false;
}

void sql_node(struct buf *out, const struct where *w, node_ref n)
{
	const char *postfix = postfix_of(n->kind);
	if (postfix != NULL) {
		buf_putc(out, '(');
		sql_node(out, w, n->args[0]);
		buf_puts(out, postfix);
		return;
	}
	if (sql_list_like(out, w, n))
		return;
	switch ((enum where_kind)n->kind) {
	case WHERE_CONST:
		sql_const(out, n);
		break;
	case WHERE_COLUMN:
		sql_identifier(out, w->table->columns[n->column].name);
		break;
	case WHERE_CALL:
		sql_call(out, w, n);
		break;
	case WHERE_RELABEL:
		sql_relabel(out, w, n);
		break;
	case WHERE_VIA_TEXT:
	case WHERE_ARRAY_CAST:
		buf_putc(out, '(');
		sql_node(out, w, n->args[0]);
		buf_puts(out, "::");
		if (n->kind == WHERE_ARRAY_CAST)
			sql_array_type(out, n->type, elem_typmod(n));
		else
			sql_type(out, n->type);
		buf_putc(out, ')');
		break;
	case WHERE_ANY:
	case WHERE_ALL:
	case WHERE_IN:
		sql_any(out, w, n);
		break;
	case WHERE_ARRAY:
		sql_array(out, w, n);
		break;
	case WHERE_CASE:
		sql_case(out, w, n);
		break;
	case WHERE_SUBSCRIPT:
	case WHERE_SLICE:
		sql_subscripts(out, w, n);
		break;
	case WHERE_SUBQUERY:
		sql_subquery(out, w, n);
		break;
	default: /* rows and elements never stand alone in a finished tree */
		out->failed = true;
		break;
	}
}

void where_sql(const struct where *w, struct buf *out)
{
	buf_putc(out, '(');
	sql_node(out, w, w->root);
	buf_putc(out, ')');
}
