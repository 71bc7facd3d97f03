/*
 * call_test.h - calls a function of conditions by Postgres's internal name, arguments and answer as text.
 *
 * call("jsonb_exists", "bool", "jsonb", "{\"a\": 1}", "text", "a", NULL) is "t"; a NULL answer is "NULL", a
 * failure "error: <reason>". An argument NULL_ARG is NULL (functions are called all the same: strictness is the
 * evaluator's). The function "" is the type itself: its first argument read and written. Answers live in a
 * ring of eight.
 */
#ifndef BUSBAR_TESTS_CALL_TEST_H
#define BUSBAR_TESTS_CALL_TEST_H

#include <stdarg.h>

#include "check.h"
#include "where/types.h"

#define CALL_ARGS_MAX 6

static const char call_null[] = "null argument";
#define NULL_ARG call_null

static struct arena call_mem;

static inline where_fn *call_find(const struct where_impl *table, const char *prosrc)
{
	while (table->prosrc != NULL && strcmp(table->prosrc, prosrc) != 0)
		table++;
	return table->fn;
}

/* Reads the text from memory of its exact size, where a sanitizer sees a byte too many. */
static inline int call_read(struct where_call *c, const struct where_type *t, const char *text, struct where_value *v)
{
	size_t n = strlen(text);
	char *copy = arena_dup(c->mem, text, n);
	return where_in(c, t, copy, n, v);
}

static inline const char *call_text(struct where_call *c, int rc, const struct where_value *v)
{
	static struct buf ring[8];
	static unsigned next;
	struct buf *text = &ring[next++ % 8];
	if (text->max == 0)
		buf_init(text, (size_t)64 << 20);
	buf_reset(text);
	if (rc == 0 && v->is == WHERE_VALUE)
		rc = where_out(c, c->result, v, text);
	else if (rc == 0)
		buf_puts(text, "NULL");
	if (rc != 0)
		buf_printf(text, "error: %s", c->reason);
	return text->data ? text->data : "";
}

static inline const char *call_list(const struct where_impl *table, const char *prosrc, const char *result, va_list ap)
{
	const struct where_type *types[CALL_ARGS_MAX];
	struct where_value args[CALL_ARGS_MAX], out = {.is = WHERE_NULL};
	struct where_call c = {.mem = &call_mem, .result = where_type_by_name(result), .arg_types = types, .typmod = -1};
	const char *type;
	int rc = 0;
	while (rc == 0 && (type = va_arg(ap, const char *)) != NULL) {
		const char *text = va_arg(ap, const char *);
		types[c.nargs] = where_type_by_name(type);
		args[c.nargs] = (struct where_value){.is = WHERE_NULL};
		if (text != NULL_ARG)
			rc = call_read(&c, types[c.nargs], text, &args[c.nargs]);
		c.nargs++;
	}
	if (rc == 0 && *prosrc == '\0') {
		out = args[0];
	} else if (rc == 0) {
		where_fn *fn = call_find(table, prosrc);
		if (fn == NULL)
			return "no such function";
		rc = fn(&c, args, &out);
	}
	return call_text(&c, rc, &out);
}

#endif
