/* filter_tell.c - see filter_tell.h. */
#include "shapes/routing/filter_tell.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/routing/filter_private.h"
#include "where/catalog.h"
#include "where/collation.h"
#include "where/node.h"

#define WAYS_BYTES_MAX 16384
#define REST_BYTES_MAX 65536
#define CONST_BYTES_MAX 60 /* of a constant that is shown */
#define SHOWN_DEPTH_MAX 40

/* ---- expressions as text ---- */

struct teller {
	const struct filter *f;
	struct buf *out;
};

static void put(struct teller *t, uint32_t id, int depth);

static void put_const(struct teller *t, const struct where_pool_node *n)
{
	struct arena mem = {0};
	struct where_call c = {.mem = &mem, .result = n->type, .typmod = -1};
	struct buf text = BUF_INIT(REST_BYTES_MAX);
	if (n->value->is != WHERE_VALUE)
		buf_puts(t->out, "NULL");
	else if (where_out(&c, n->type, n->value, &text) != 0 || text.failed)
		buf_puts(t->out, "'...'");
	else if (text.len > CONST_BYTES_MAX)
		buf_printf(t->out, "'...' (%zu bytes)", text.len);
	else
		buf_printf(t->out, "'%.*s'", (int)text.len, text.data != NULL ? text.data : "");
	buf_clear(&text);
	arena_clear(&mem);
}

static void put_args(struct teller *t, const struct where_pool_node *n, const char *between, int depth)
{
	for (uint32_t i = 0; i < n->nargs; i++) {
		if (i > 0)
			buf_puts(t->out, between);
		if (n->args[i] != 0)
			put(t, n->args[i], depth);
	}
}

static void put_all(struct teller *t, const struct where_pool_node *n, const char *between, int depth)
{
	buf_putc(t->out, '(');
	put_args(t, n, between, depth);
	buf_putc(t->out, ')');
}

static void put_call(struct teller *t, const struct where_pool_node *n, const char *name, int depth)
{
	buf_puts(t->out, name);
	put_all(t, n, ", ", depth);
}

static void put_after(struct teller *t, const struct where_pool_node *n, const char *what, int depth)
{
	put_args(t, n, ", ", depth);
	buf_puts(t->out, what);
}

/* As people write it. */
static const char *written(const char *oper)
{
	static const char *const names[][2] = {{"~~", "LIKE"}, {"~~*", "ILIKE"}, {"!~~", "NOT LIKE"}, {"!~~*", "NOT ILIKE"}};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(oper, names[i][0]) == 0)
			return names[i][1];
	return oper;
}

static void put(struct teller *t, uint32_t id, int depth)
{
	struct where_pool_node n;
	char oper[80];
	where_pool_look(t->f->pool, id, &n);
	if (depth++ > SHOWN_DEPTH_MAX) {
		buf_puts(t->out, "...");
		return;
	}
	switch ((enum where_kind)n.kind) {
	case WHERE_COLUMN:
		buf_puts(t->out, t->f->table->columns[n.column].name);
		return;
	case WHERE_CONST:
		put_const(t, &n);
		return;
	case WHERE_AND:
		put_all(t, &n, " AND ", depth);
		return;
	case WHERE_OR:
		put_all(t, &n, " OR ", depth);
		return;
	case WHERE_NOT:
		buf_puts(t->out, "NOT ");
		put_args(t, &n, "", depth);
		return;
	case WHERE_IS_NULL:
		put_after(t, &n, " IS NULL", depth);
		return;
	case WHERE_IS_NOT_NULL:
		put_after(t, &n, " IS NOT NULL", depth);
		return;
	case WHERE_ANY:
	case WHERE_ALL:
		snprintf(oper, sizeof oper, " %s %s (", n.oper != NULL ? n.oper->name : "?", n.kind == WHERE_ANY ? "ANY" : "ALL");
		put_args(t, &n, oper, depth);
		buf_putc(t->out, ')');
		return;
	case WHERE_DISTINCT:
		put_all(t, &n, " IS DISTINCT FROM ", depth);
		return;
	case WHERE_NOT_DISTINCT:
		put_all(t, &n, " IS NOT DISTINCT FROM ", depth);
		return;
	case WHERE_CASE:
		put_call(t, &n, "CASE", depth);
		return;
	default:
		break;
	}
	if (n.oper != NULL && n.nargs == 2) {
		snprintf(oper, sizeof oper, " %s ", written(n.oper->name));
		put_args(t, &n, oper, depth);
		return;
	}
	put_call(t, &n, n.proc != NULL ? n.proc->name : "expression", depth);
}

/* ---- why it isn't indexed ---- */

static bool is_const(const struct filter *f, uint32_t id)
{
	struct where_pool_node n;
	where_pool_look(f->pool, id, &n);
	return n.kind == WHERE_CONST;
}

static bool orders(const char *op) { return strcmp(op, "<") == 0 || strcmp(op, "<=") == 0 || strcmp(op, ">") == 0 || strcmp(op, ">=") == 0; }

/* A LIKE that is left: is its beginning of use? */
static unsigned hint_of_pattern(const struct filter *f, const struct where_pool_node *n)
{
	struct where_pool_node pattern;
	where_pool_look(f->pool, n->args[1], &pattern);
	if (pattern.kind != WHERE_CONST || pattern.value->is != WHERE_VALUE)
		return HINT_COLUMNS;
	if (n->collation != NULL && !n->collation->deterministic)
		return HINT_COLLATION;
	return pattern.value->len > 0 && (pattern.value->u.p[0] == '%' || pattern.value->u.p[0] == '_') ? HINT_LIKE : HINT_LIKE_REST;
}

static unsigned hint_of_call(const struct filter *f, const struct where_pool_node *n)
{
	const char *src = n->proc != NULL ? n->proc->prosrc : "", *op = n->oper != NULL ? n->oper->name : "";
	if (n->nargs != 2)
		return HINT_OTHER;
	if (strcmp(src, "textlike") == 0)
		return hint_of_pattern(f, n);
	if (strcmp(src, "texticlike") == 0)
		return HINT_ILIKE;
	if (strstr(src, "regex") != NULL)
		return HINT_REGEX;
	if (strncmp(src, "jsonb", 5) == 0)
		return HINT_JSON;
	if (op[0] == '!' || strcmp(op, "<>") == 0)
		return HINT_NOT;
	if (!is_const(f, n->args[0]) && !is_const(f, n->args[1]))
		return op[0] != '\0' ? HINT_COLUMNS : HINT_OTHER;
	if (strcmp(op, "=") != 0 && !orders(op))
		return HINT_OTHER;
	bool text = n->collation != NULL && n->arg_types != NULL && n->arg_types[0]->collatable;
	if (text && (!n->collation->deterministic || (orders(op) && n->collation->order != WHERE_ORDER_BYTES)))
		return HINT_COLLATION;
	return n->arg_types != NULL && n->arg_types[0] != n->arg_types[1] ? HINT_TYPES : HINT_OTHER;
}

static unsigned hint_of(const struct filter *f, uint32_t id)
{
	struct where_pool_node n;
	where_pool_look(f->pool, id, &n);
	unsigned fails = n.safe ? 0 : HINT_FAILS;
	switch ((enum where_kind)n.kind) {
	case WHERE_OR:
		return fails | HINT_OR;
	case WHERE_NOT:
	case WHERE_ALL:
	case WHERE_DISTINCT:
		return fails | HINT_NOT;
	case WHERE_ANY:
		return fails | (is_const(f, n.args[1]) || is_const(f, n.args[0]) ? fails ? 0 : HINT_LIST : HINT_COLUMNS);
	case WHERE_CALL: {
		unsigned hint = hint_of_call(f, &n);
		return fails != 0 && hint == HINT_OTHER ? fails : fails | hint;
	}
	default:
		return fails != 0 ? fails : HINT_OTHER;
	}
}

/* ---- the places ---- */

static bool has_line(const struct buf *lines, const char *line, size_t len)
{
	for (const char *p = lines->data; p != NULL && p < lines->data + lines->len;) {
		const char *end = memchr(p, '\n', (size_t)(lines->data + lines->len - p));
		if ((size_t)(end - p) == len && memcmp(p, line, len) == 0)
			return true;
		p = end + 1;
	}
	return false;
}

static void add_line(struct buf *lines, const struct buf *line)
{
	if (line->failed || has_line(lines, line->data != NULL ? line->data : "", line->len) || lines->len + line->len + 1 > lines->max)
		return;
	buf_put(lines, line->data, line->len);
	buf_putc(lines, '\n');
}

static void tell_rest(struct filter *f, uint32_t id, struct filter_told *out)
{
	struct where_pool_node n;
	where_pool_look(f->pool, id, &n);
	if (n.kind == WHERE_AND) {
		for (uint32_t i = 0; i < n.nargs; i++)
			tell_rest(f, n.args[i], out);
		return;
	}
	struct buf line = BUF_INIT(REST_BYTES_MAX);
	put(&(struct teller){f, &line}, id, 0);
	add_line(&out->rest, &line);
	buf_clear(&line);
	out->hints |= hint_of(f, id);
}

static void tell_place(struct filter *f, const struct filter_member *m, uint32_t place, struct filter_told *out)
{
	struct buf way = BUF_INIT(WAYS_BYTES_MAX);
	uint32_t rest = filter_rest(m, place);
	filter_explain_place(f, m, place, &way);
	static const char tails[2][12] = {" > residual", "residual"};
	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(tails[i]);
		if (rest != 0 && way.len >= n && memcmp(way.data + way.len - n, tails[i], n) == 0) {
			way.len -= n;
			way.data[way.len] = '\0';
			break;
		}
	}
	if (way.len > 0 && out->cost != COST_ALL) {
		out->by_equality = out->by_equality && (strstr(way.data, "eq(") != NULL || strstr(way.data, "has(") != NULL);
		add_line(&out->ways, &way);
	} else {
		out->by_equality = false;
	}
	if (rest != 0)
		tell_rest(f, rest, out);
	buf_clear(&way);
}

int filter_tell(const struct where *w, struct filter_told *out, char reason[WHERE_REASON_MAX])
{
	*out = (struct filter_told){.ways = BUF_INIT(WAYS_BYTES_MAX), .rest = BUF_INIT(REST_BYTES_MAX)};
	out->cost = COST_ALL;
	if (where_root(w) == NULL) /* of a subquery without a condition */
		return 0;
	struct filter *f = filter_new((struct pg_table *)(uintptr_t)where_table(w)); /* counts its reference, and changes nothing else */
	/* The first below a key keeps what else is asked as its rest, until there is another: told is the second one. */
	struct filter_member first = {.member = &first}, m = {.member = &m};
	int rc = filter_add(f, &first, w, reason);
	if (rc == 0 && (rc = filter_add(f, &m, w, reason)) != 0)
		filter_remove(f, &first);
	if (rc == 0) {
		struct buf short_form = BUF_INIT(WAYS_BYTES_MAX);
		filter_explain(f, &m, &short_form);
		bool all = !short_form.failed && strcmp(short_form.data, "all") == 0;
		enum filter_way way = filter_way(&m);
		out->entries = m.nentries;
		out->by_equality = m.nentries > 0;
		out->cost = m.nentries == 0 ? COST_NEVER : all ? COST_ALL : way == FILTER_INDEX ? COST_INDEX : way == FILTER_REST ? COST_REST : COST_INDEX_AND_REST;
		for (uint32_t i = 0; i < m.nentries; i++)
			tell_place(f, &m, i, out);
		if (out->cost == COST_INDEX && out->rest.len > 0)
			out->cost = COST_INDEX_AND_REST;
		buf_clear(&short_form);
		filter_remove(f, &m);
		filter_remove(f, &first);
	}
	filter_free(f);
	return rc;
}

void filter_told_clear(struct filter_told *t)
{
	buf_clear(&t->ways);
	buf_clear(&t->rest);
}
