/*
 * syntax.c - see syntax.h.
 */
#include "where/syntax.h"

#include <pg_query.h>

#include <stdio.h>
#include <string.h>

const char *syntax_kind(const json_t *j, const json_t **fields)
{
	void *it = json_is_object(j) ? json_object_iter((json_t *)j) : NULL;
	if (it == NULL) {
		*fields = NULL;
		return "";
	}
	*fields = json_object_iter_value(it);
	return json_object_iter_key(it);
}

const json_t *syntax_field(const json_t *j, const char *name) { return json_object_get(j, name); }

const char *syntax_text(const json_t *j, const char *name)
{
	const char *s = json_string_value(syntax_field(j, name));
	return s != NULL ? s : "";
}

int syntax_location(const json_t *fields)
{
	const json_t *l = syntax_field(fields, "location");
	return json_is_integer(l) ? (int)json_integer_value(l) : -1;
}

int syntax_location_below(const json_t *j)
{
	const json_t *f;
	syntax_kind(j, &f);
	return syntax_location(f);
}

const char *syntax_name(const json_t *list, size_t i)
{
	const json_t *f;
	if (strcmp(syntax_kind(json_array_get(list, i), &f), "String") != 0)
		return NULL;
	const json_t *s = syntax_field(f, "sval");
	if (s == NULL)
		s = syntax_field(f, "str"); /* before version 15 */
	return s != NULL ? json_string_value(s) : "";
}

const char *syntax_catalog_name(const json_t *list)
{
	size_t n = json_array_size(list);
	if (n == 1)
		return syntax_name(list, 0);
	const char *schema = n == 2 ? syntax_name(list, 0) : NULL;
	return schema != NULL && strcmp(schema, "pg_catalog") == 0 ? syntax_name(list, 1) : NULL;
}

const char *syntax_dotted(struct builder *b, const json_t *list)
{
	struct buf out = BUF_INIT(WHERE_MESSAGE_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = syntax_name(list, i);
		if (s == NULL || (i == 0 && strcmp(s, "pg_catalog") == 0 && json_array_size(list) > 1))
			continue;
		if (out.len > 0)
			buf_putc(&out, '.');
		sql_name_shown(&out, s);
	}
	char *text = arena_strndup(b->mem, out.data != NULL ? out.data : "", out.len);
	buf_clear(&out);
	return text;
}

/* ---- statements ------------------------------------------------------------------------------------------ */

json_t *syntax_parse(struct builder *b, const char *prefix, const char *text, size_t len, const char *split)
{
	size_t n = strlen(prefix);
	if (n + len > WHERE_STATEMENT_MAX) {
		build_fail_plain(b, "cannot parse query: query size %zu is bigger than maximum size %d", n + len, WHERE_STATEMENT_MAX);
		return NULL;
	}
	char *statement = arena_alloc(b->mem, n + len + 1);
	memcpy(statement, prefix, n);
	memcpy(statement + n, text, len);
	statement[n + len] = '\0';
	b->text = statement;
	b->text_len = n + len;
	b->prefix = n;
	if (strlen(statement) != n + len) {
		build_fail_plain(b, "At location %zu: a NUL byte cannot be part of a condition", strlen(statement));
		return NULL;
	}
	PgQueryParseResult r = pg_query_parse(statement);
	json_t *tree = NULL;
	if (r.error != NULL) {
		build_fail_plain(b, "At location %d: %s", r.error->cursorpos > 0 ? r.error->cursorpos - 1 : 0, r.error->message);
	} else {
		json_error_t ignored;
		tree = json_loads(r.parse_tree, 0, &ignored);
		if (tree == NULL)
			build_fail_plain(b, "the expression is nested too deeply");
	}
	pg_query_free_parse_result(r);
	if (tree == NULL)
		return NULL;
	const json_t *statements = syntax_field(tree, "stmts"), *first = json_array_get(statements, 0), *select;
	json_t *out = NULL;
	if (json_array_size(statements) > 1)
		build_fail_plain(b, "%s", split);
	else if (strcmp(syntax_kind(syntax_field(first, "stmt"), &select), "SelectStmt") != 0)
		build_fail_plain(b, "malformed query ending with SQL clauses");
	else
		out = json_incref((json_t *)select);
	json_decref(tree);
	return out;
}

bool syntax_only(const json_t *select, const char *clause)
{
	static const char *const allowed[] = {"targetList", "limitOption", "op"};
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)select, key, value) {
		bool ok = strcmp(key, clause) == 0;
		for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
			ok |= strcmp(key, allowed[i]) == 0;
		if (!ok)
			return false;
	}
	const char *op = syntax_text(select, "op"), *limit = syntax_text(select, "limitOption");
	if ((op[0] != '\0' && strcmp(op, "SETOP_NONE") != 0) || (limit[0] != '\0' && strcmp(limit, "LIMIT_OPTION_DEFAULT") != 0))
		return false;
	return json_array_size(syntax_field(select, "targetList")) == 1 && syntax_field(select, clause) != NULL;
}

