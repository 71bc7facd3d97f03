/* def.c - identifiers, column lists, the identity of a shape. */
#include "shapes/core/def.h"

#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

#include "base/mem.h"
#include "pg/query.h"
#include "where/where.h"

#define IDENTIFIER_CHARS_MAX 63
#define IDENTITY_BYTES_MAX (4u << 20) /* 1,600 columns of 252 bytes with room to spare */
#define LIST_PARTS_MAX 10000          /* a table has at most 1,600 columns; a name has two parts */
#define TEXT_BYTES_MAX (64u << 10)    /* an error text quotes at most what the request said */
#define BLANKS " \t\r\n"
#define PG_GENERATED_REPLICATED 180000
#define PG_FIRST_NORMAL_OID 16384 /* below are the catalogs and information_schema, made by initdb */

/* ---- texts ------------------------------------------------------------------------------------ */

static int fail(struct arena *a, struct def_error *e, const char *field, struct buf *text)
{
	e->field = field;
	e->text = arena_strndup(a, text->data == NULL ? "" : text->data, text->len);
	buf_clear(text);
	return -1;
}

static int fail_text(struct arena *a, struct def_error *e, const char *field, const char *before, struct def_name n)
{
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	buf_puts(&text, before);
	buf_put(&text, n.p, n.len);
	return fail(a, e, field, &text);
}

/* "<before>a, b<after>" */
static int fail_names(struct arena *a, struct def_error *e, const char *field, const char *before,
                      const struct def_name *names, size_t count, const char *after)
{
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	buf_puts(&text, before);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_puts(&text, ", ");
		buf_put(&text, names[i].p, names[i].len);
	}
	buf_puts(&text, after);
	return fail(a, e, field, &text);
}

/* ---- identifiers ------------------------------------------------------------------------------ */

static locale_t unicode;
static pthread_once_t unicode_once = PTHREAD_ONCE_INIT;

static void load_unicode(void) { unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0); }

/* The next character of UTF-8 text that was checked before; *p moves on. */
static uint32_t next_char(const unsigned char **p, const unsigned char *end)
{
	const unsigned char *s = *p;
	uint32_t c = *s++;
	int more = c < 0xC0 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
	if (more > 0)
		c &= 0x3Fu >> more;
	while (more-- > 0 && s < end)
		c = c << 6 | (*s++ & 0x3Fu);
	*p = s;
	return c;
}

/* Without the locale every character beyond ASCII counts as a letter: Postgres thinks so too. */
static bool is_letter(uint32_t c)
{
	if (c < 0x80)
		return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
	return unicode == (locale_t)0 || iswalpha_l((wint_t)c, unicode) != 0;
}

/* The C library calls some combining marks punctuation, so their blocks are named. */
static bool is_mark_or_digit(uint32_t c)
{
	if (c < 0x80)
		return c >= '0' && c <= '9';
	if ((c >= 0x300 && c <= 0x36F) || (c >= 0x1AB0 && c <= 0x1AFF) || (c >= 0x1DC0 && c <= 0x1DFF) ||
	    (c >= 0x20D0 && c <= 0x20FF) || (c >= 0xFE20 && c <= 0xFE2F) || unicode == (locale_t)0)
		return true;
	return iswprint_l((wint_t)c, unicode) && !iswpunct_l((wint_t)c, unicode) && !iswspace_l((wint_t)c, unicode);
}

static bool unquoted_ok(struct def_name n)
{
	const unsigned char *p = (const unsigned char *)n.p, *end = p + n.len;
	for (bool first = true; p < end; first = false) {
		uint32_t c = next_char(&p, end);
		if (is_letter(c) || c == '_')
			continue;
		if (first)
			return false;
		if (c != '$' && !is_mark_or_digit(c))
			return false;
	}
	return true;
}

static size_t count_chars(const char *p, size_t len)
{
	size_t chars = 0;
	for (size_t i = 0; i < len; i++)
		chars += ((unsigned char)p[i] & 0xC0) != 0x80;
	return chars;
}

static int parse_quoted(struct arena *a, struct def_name n, struct def_name *out, const char *field,
                        struct def_error *e)
{
	struct def_name inner = {n.p + 1, n.len < 2 ? 0 : n.len - 2};
	if (inner.len == 0)
		return fail_text(a, e, field, "Invalid zero-length delimited identifier", inner);
	char *to = arena_alloc(a, inner.len + 1);
	size_t len = 0;
	for (size_t i = 0; i < inner.len; i++) {
		if (inner.p[i] == '"' && (i + 1 >= inner.len || inner.p[++i] != '"'))
			return fail_text(a, e, field, "Invalid identifier with unescaped quote: ", inner);
		to[len++] = inner.p[i];
	}
	to[len] = '\0';
	*out = (struct def_name){to, len};
	return 0;
}

static int parse_unquoted(struct arena *a, struct def_name n, struct def_name *out, const char *field,
                          struct def_error *e)
{
	if (n.len == 0)
		return fail_text(a, e, field, "Invalid zero-length delimited identifier", n);
	if (!unquoted_ok(n))
		return fail_text(a, e, field, "Invalid unquoted identifier contains special characters: ", n);
	char *to = arena_strndup(a, n.p, n.len);
	for (size_t i = 0; i < n.len; i++)
		if (to[i] >= 'A' && to[i] <= 'Z')
			to[i] = (char)(to[i] - 'A' + 'a');
	*out = (struct def_name){to, n.len};
	return 0;
}

static int parse_identifier(struct arena *a, struct def_name n, struct def_name *out, const char *field,
                            struct def_error *e)
{
	pthread_once(&unicode_once, load_unicode);
	bool quoted = n.len > 0 && n.p[0] == '"' && n.p[n.len - 1] == '"';
	if ((quoted ? parse_quoted : parse_unquoted)(a, n, out, field, e) < 0)
		return -1;
	/* Postgres's names hold no zero byte; it would also end our copies early. */
	if (memchr(out->p, '\0', out->len) != NULL)
		return fail_text(a, e, field, "Invalid unquoted identifier contains special characters: ", n);
	if (count_chars(out->p, out->len) > IDENTIFIER_CHARS_MAX)
		return fail_text(a, e, field, "Identifier is too long (max length is 63)", (struct def_name){"", 0});
	return 0;
}

/*
 * Splits at `at` where an even number of quotes follows, that is outside of quotes if these are
 * balanced; text with a lone quote stays in one piece up to there and is refused as an identifier.
 */
static struct def_name *split(struct arena *a, struct def_name text, char at, size_t *count)
{
	size_t quotes = 0, parts = 1;
	for (size_t i = 0; i < text.len; i++) {
		quotes += text.p[i] == '"';
		parts += text.p[i] == at;
	}
	struct def_name *out = arena_alloc(a, parts * sizeof *out);
	size_t start = 0;
	*count = 0;
	for (size_t i = 0; i < text.len; i++) {
		quotes -= text.p[i] == '"';
		if (text.p[i] != at || quotes % 2 != 0)
			continue;
		out[(*count)++] = (struct def_name){text.p + start, i - start};
		start = i + 1;
	}
	out[(*count)++] = (struct def_name){text.p + start, text.len - start};
	return out;
}

int def_parse_table(struct arena *a, const char *text, size_t len, struct def_table_name *out, struct def_error *e)
{
	struct def_name whole = {text, len}, names[2];
	size_t count, dots = 0;
	for (size_t i = 0; i < len; i++)
		dots += text[i] == '.';
	struct def_name *parts = dots > LIST_PARTS_MAX ? NULL : split(a, whole, '.', &count);
	if (parts == NULL || count > 2)
		return fail_text(a, e, "table", "Invalid relation identifier, too many delimiters: ", whole);
	for (size_t i = 0; i < count; i++)
		if (parse_identifier(a, parts[i], &names[i], "table", e) < 0)
			return -1;
	out->schema = count == 2 ? names[0].p : "public";
	out->name = names[count - 1].p;
	return 0;
}

static struct def_name trim(struct def_name n)
{
	while (n.len > 0 && strchr(BLANKS, n.p[0]) != NULL) {
		n.p++;
		n.len--;
	}
	while (n.len > 0 && strchr(BLANKS, n.p[n.len - 1]) != NULL)
		n.len--;
	return n;
}

int def_parse_tables(struct arena *a, const char *text, size_t len, struct def_table_name **out, size_t *n, struct def_error *e)
{
	struct def_name *parts = split(a, (struct def_name){text, len}, ',', n), schema;
	*out = arena_alloc(a, *n * sizeof **out);
	for (size_t i = 0; i < *n; i++) {
		struct def_name part = trim(parts[i]);
		bool all = part.len > 2 && memcmp(part.p + part.len - 2, ".*", 2) == 0;
		if (!all && def_parse_table(a, part.p, part.len, &(*out)[i], e) < 0)
			return -1;
		if (all && parse_identifier(a, (struct def_name){part.p, part.len - 2}, &schema, "table", e) < 0)
			return -1;
		if (all)
			(*out)[i] = (struct def_table_name){.schema = schema.p};
	}
	return 0;
}

/* COMPAT: Electric prints the names as Elixir strings: `"` and `\` with a backslash before them. */
static void put_inspected(struct buf *out, const char *name)
{
	buf_putc(out, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"' || *name == '\\')
			buf_putc(out, '\\');
		buf_putc(out, *name);
	}
	buf_putc(out, '"');
}

void def_no_such_table(struct arena *a, const struct def_table_name *t, struct def_error *e)
{
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	buf_puts(&text, "Table ");
	put_inspected(&text, t->schema);
	buf_putc(&text, '.');
	put_inspected(&text, t->name);
	buf_puts(&text, " does not exist. If the table name contains capitals or special characters you must quote it.");
	fail(a, e, "table", &text);
}

bool def_is_system_table(const struct pg_table *t) { return t->oid < PG_FIRST_NORMAL_OID; }

static int fail_system_table(struct arena *a, const struct pg_table *t, struct def_error *e)
{
	struct buf text = BUF_INIT(TEXT_BYTES_MAX);
	buf_puts(&text, "Table ");
	put_inspected(&text, t->schema);
	buf_putc(&text, '.');
	put_inspected(&text, t->name);
	buf_puts(&text, " is a system table: Postgres does not replicate its changes");
	return fail(a, e, "table", &text);
}

/* ---- column lists ----------------------------------------------------------------------------- */

int def_read_list(struct arena *a, const char *field, const char *text, size_t len, struct def_list *out,
                  struct def_error *e)
{
	struct def_name whole = {text, len}, *names;
	size_t parts = 1, count;
	for (size_t i = 0; i < len; i++)
		parts += text[i] == ',';
	if (parts > LIST_PARTS_MAX)
		return fail_text(a, e, field, "is invalid", (struct def_name){"", 0});
	names = split(a, whole, ',', &count);
	for (size_t i = 0; i < count; i++)
		if (parse_identifier(a, names[i], &names[i], field, e) < 0)
			return -1;
	*out = (struct def_list){.given = true, .names = names, .count = count};
	return 0;
}

static bool has_name(const struct def_name *names, size_t count, const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < count; i++)
		if (names[i].len == len && memcmp(names[i].p, name, len) == 0)
			return true;
	return false;
}

/* The words in which the two lists are told apart. */
struct list_words {
	const char *field, *missing, *not_found;
};
static const struct list_words columns_words = {
	"columns", "The list of columns must include all primary key columns, missing: ",
	"The following columns are not found on the table: "};
static const struct list_words queryable_words = {
	"queryable_columns", "The list of queryable columns must include all primary key columns, missing: ",
	"The following queryable columns are not found on the table: "};

/* Without a primary key every column is part of the key. */
static int check_key(struct arena *a, const struct pg_table *t, const struct def_name *names, size_t count,
                     const struct list_words *words, struct def_error *e)
{
	size_t nkey = t->npk > 0 ? t->npk : t->ncolumns, nmissing = 0;
	struct def_name *missing = arena_alloc(a, (nkey + 1) * sizeof *missing);
	for (size_t i = 0; i < nkey; i++) {
		const char *name = t->columns[t->npk > 0 ? t->pk[i] : i].name;
		if (!has_name(names, count, name))
			missing[nmissing++] = (struct def_name){name, strlen(name)};
	}
	if (nmissing > 0)
		return fail_names(a, e, words->field, words->missing, missing, nmissing, "");
	return 0;
}

/*
 * Marks in `chosen` (a byte per column) what the list names, out of what `allowed` marks (NULL: all).
 * What is named twice counts as not found, as in the original.
 */
static int choose(struct arena *a, const struct pg_table *t, const struct def_list *list, const uint8_t *allowed,
                  const struct list_words *words, uint8_t *chosen, struct def_error *e)
{
	const struct def_name *names = list->names;
	size_t count = list->count, nunknown = 0;
	if (check_key(a, t, names, count, words, e) < 0)
		return -1;
	struct def_name *unknown = arena_alloc(a, (count + 1) * sizeof *unknown);
	for (size_t i = 0; i < count; i++) {
		int at = pg_table_column(t, names[i].p, names[i].len);
		if (at < 0 || chosen[at] || (allowed != NULL && !allowed[at]))
			unknown[nunknown++] = names[i];
		else
			chosen[at] = 1;
	}
	if (nunknown > 0)
		return fail_names(a, e, words->field, words->not_found, unknown, nunknown, "");
	return 0;
}

static int check_generated(struct arena *a, const struct pg_table *t, const uint8_t *chosen, bool listed,
                           int server_version, struct def_error *e)
{
	bool stored_too = server_version != 0 && server_version < PG_GENERATED_REPLICATED;
	struct def_name *names = arena_alloc(a, (t->ncolumns + 1u) * sizeof *names);
	size_t count = 0;
	for (size_t i = 0; i < t->ncolumns; i++)
		if (chosen[i] && t->columns[i].generated && (stored_too || t->columns[i].is_virtual))
			names[count++] = (struct def_name){t->columns[i].name, strlen(t->columns[i].name)};
	if (count == 0)
		return 0;
	return fail_names(a, e, "columns", "The following columns are generated and cannot be included in the shape: ", names,
	                  count, listed ? "" : ". You can exclude them from the shape by explicitly listing which columns to "
	                                       "fetch in the 'columns' query param");
}

/* ---- the definition --------------------------------------------------------------------------- */

static int by_name(const void *x, const void *y, void *table)
{
	const struct pg_table *t = table;
	return strcmp(t->columns[*(const uint16_t *)x].name, t->columns[*(const uint16_t *)y].name);
}

static void put_text(struct buf *b, const char *s)
{
	buf_put_u64(b, strlen(s));
	buf_putc(b, ':');
	buf_puts(b, s);
}

/*
 * Two requests are the same shape if these bytes are equal (docs/protocol.md 3.1). Stored with the shape: a
 * change of this form rotates every shape, so it begins with a version.
 */
static void put_identity(const struct shape_def *d, const char *where, struct buf *b)
{
	const struct pg_table *t = d->table;
	buf_printf(b, "1;%u;", t->oid);
	put_text(b, t->schema);
	put_text(b, t->name);
	buf_printf(b, ";key %u;", t->npk);
	for (size_t i = 0; i < t->npk; i++)
		put_text(b, t->columns[t->pk[i]].name);
	buf_printf(b, ";select %u;", d->nselected);
	for (size_t i = 0; i < d->nselected; i++)
		put_text(b, t->columns[d->selected[i]].name);
	buf_printf(b, ";all %d;replica %d;log %d;where ", d->selects_all, (int)d->replica, (int)d->log_mode);
	put_text(b, where == NULL ? "" : where);
}

static void set_identity(struct shape_def *d, const char *where)
{
	struct buf identity = BUF_INIT(IDENTITY_BYTES_MAX);
	put_identity(d, where, &identity);
	/* A table has at most 1,600 columns with names of at most 63 bytes, a condition is bounded when parsed. */
	REQUIRE(!identity.failed);
	free(d->identity);
	d->identity = buf_detach(&identity, &d->identity_len);
	d->where = where == NULL ? NULL : d->identity + d->identity_len - strlen(where);
}

int def_build(struct arena *a, struct pg_table *table, const struct def_request *r, int server_version,
              struct shape_def *out, struct def_error *e)
{
	*out = (struct shape_def){0};
	if (def_is_system_table(table))
		return fail_system_table(a, table, e);
	bool listed = r->columns.given, restricted = r->queryable_columns.given;
	uint8_t *queryable = arena_alloc(a, table->ncolumns + 1u), *chosen = arena_alloc(a, table->ncolumns + 1u);
	memset(queryable, restricted ? 0 : 1, table->ncolumns);
	memset(chosen, 0, table->ncolumns);
	if (restricted && choose(a, table, &r->queryable_columns, NULL, &queryable_words, queryable, e) < 0)
		return -1;
	if (listed && choose(a, table, &r->columns, queryable, &columns_words, chosen, e) < 0)
		return -1;
	if (!listed)
		memcpy(chosen, queryable, table->ncolumns);
	if (check_generated(a, table, chosen, listed, server_version, e) < 0)
		return -1;

	out->table = pg_table_ref(table);
	out->selected = mem_alloc((table->ncolumns + 1u) * sizeof *out->selected);
	for (uint16_t i = 0; i < table->ncolumns; i++)
		if (chosen[i])
			out->selected[out->nselected++] = i;
	qsort_r(out->selected, out->nselected, sizeof *out->selected, by_name, table);
	out->explicit_columns = listed;
	out->selects_all = !listed && !restricted;
	out->replica = r->replica;
	out->log_mode = r->log_mode;

	set_identity(out, NULL);
	return 0;
}

static int by_oid(const void *a, const void *b)
{
	uint32_t x = (*(struct pg_table *const *)a)->oid, y = (*(struct pg_table *const *)b)->oid;
	return (x > y) - (x < y);
}

static void clear_inner(struct shape_def *d)
{
	for (uint16_t i = 0; i < d->ninner; i++)
		pg_table_unref(d->inner[i]);
	free(d->inner);
	d->inner = NULL;
	d->ninner = 0;
}

bool def_has_subqueries(const char *canonical) { return canonical != NULL && where_has_subqueries(canonical); }

void def_set_where(struct shape_def *d, const char *canonical, struct pg_table *const *tables, size_t ntables)
{
	REQUIRE(ntables <= WHERE_SUBQUERIES_MAX);
	set_identity(d, canonical);
	d->has_subqueries = def_has_subqueries(canonical);
	clear_inner(d);
	if (ntables == 0)
		return;
	d->inner = mem_alloc(ntables * sizeof *d->inner);
	for (size_t i = 0; i < ntables; i++)
		if (shape_def_table(d, tables[i]->oid) == NULL)
			d->inner[d->ninner++] = pg_table_ref(tables[i]);
	qsort(d->inner, d->ninner, sizeof *d->inner, by_oid);
}

struct pg_table *shape_def_table(const struct shape_def *d, uint32_t oid)
{
	if (d->table->oid == oid)
		return d->table;
	for (uint16_t i = 0; i < d->ninner; i++)
		if (d->inner[i]->oid == oid)
			return d->inner[i];
	return NULL;
}

int def_load_where(const struct shape_def *d, struct where **out, struct err *e)
{
	*out = NULL;
	if (d->where == NULL)
		return 0;
	const struct pg_table *list[WHERE_SUBQUERIES_MAX + 1] = {d->table};
	struct where_tables tables = {.list = list, .n = d->ninner + 1u};
	for (uint16_t i = 0; i < d->ninner; i++)
		list[i + 1] = d->inner[i];
	return where_load(d->table, d->has_subqueries ? &tables : NULL, d->where, strlen(d->where), out, e);
}

const bool *def_queryable(struct arena *a, const struct pg_table *t, const struct def_request *r)
{
	if (!r->queryable_columns.given)
		return NULL;
	uint8_t *chosen = arena_alloc(a, t->ncolumns + 1u);
	bool *queryable = arena_alloc(a, (t->ncolumns + 1u) * sizeof *queryable);
	struct def_error ignored;
	memset(chosen, 0, t->ncolumns);
	bool ok = choose(a, t, &r->queryable_columns, NULL, &queryable_words, chosen, &ignored) == 0;
	for (uint16_t i = 0; i < t->ncolumns; i++)
		queryable[i] = ok && chosen[i] != 0;
	return queryable;
}

int def_where_sql(const struct shape_def *d, struct buf *out, struct err *e)
{
	struct where *w;
	if (d->where == NULL)
		return 0;
	if (def_load_where(d, &w, e) != 0)
		return -1;
	where_sql(w, out);
	where_free(w);
	return out->failed ? err_set(e, ERR_LIMIT, "the shape's condition is too long as SQL") : 0;
}

bool def_selects_generated(const struct shape_def *d)
{
	for (size_t i = 0; i < d->nselected; i++)
		if (d->table->columns[d->selected[i]].generated)
			return true;
	return false;
}

static bool is_unpublished(const struct pg_column *c, bool stored_published)
{
	return c->is_virtual || (c->generated && !stored_published);
}

static void put_key_names(const struct pg_table *t, struct buf *out)
{
	for (uint16_t i = 0; i < t->npk; i++) {
		if (i > 0)
			buf_puts(out, ", ");
		pg_put_ident(out, t->columns[t->pk[i]].name);
	}
}

void def_keys_clash(const struct pg_table *t, struct buf *out)
{
	if (t->relkind == 'p') {
		buf_puts(out, "the primary key is not valid for all partitions yet: each needs an index on (");
		put_key_names(t, out);
		buf_puts(out, ") that is attached to it");
		return;
	}
	buf_printf(out, "its child %s may have several rows with the same primary key; give it one of its own: ALTER TABLE %s ADD PRIMARY KEY (",
	           t->clash, t->clash);
	put_key_names(t, out);
	buf_putc(out, ')');
}

/* The tables that a definition names: its own, then those of its condition. */
static size_t tables_of(const struct shape_def *d) { return d->ninner + (size_t)1; }
static const struct pg_table *table_at(const struct shape_def *d, size_t i) { return i == 0 ? d->table : d->inner[i - 1]; }

static const char *find_unpublished(const struct pg_table *t, const struct where *w, bool stored_published)
{
	for (uint16_t i = 0; i < t->ncolumns; i++)
		if (is_unpublished(&t->columns[i], stored_published) && where_uses_of(w, t->oid, i))
			return t->columns[i].name;
	return NULL;
}

const char *def_where_unpublished(const struct shape_def *d, bool stored_published)
{
	struct where *w = NULL;
	struct err ignored;
	const char *name = NULL;
	bool any = false;
	for (size_t k = 0; d->where != NULL && k < tables_of(d); k++)
		for (uint16_t i = 0; i < table_at(d, k)->ncolumns; i++)
			any |= is_unpublished(&table_at(d, k)->columns[i], stored_published);
	if (!any || def_load_where(d, &w, &ignored) != 0)
		return NULL;
	for (size_t k = 0; k < tables_of(d) && name == NULL; k++)
		name = find_unpublished(table_at(d, k), w, stored_published);
	where_free(w);
	return name;
}

/* What gives the role SELECT on the whole table, or on the columns that are wanted, and lets it get there. */
static void put_grant(struct buf *out, const struct pg_table *t, const bool *wanted, bool all, const char *role)
{
	if (t->no_usage) {
		buf_puts(out, "GRANT USAGE ON SCHEMA ");
		pg_put_ident(out, t->schema);
		buf_puts(out, " TO ");
		pg_put_ident(out, role);
		buf_puts(out, "; ");
	}
	buf_puts(out, "GRANT SELECT ");
	const char *joint = "(";
	for (uint16_t i = 0; i < t->ncolumns && !all; i++) {
		if (!wanted[i] || !t->columns[i].denied)
			continue;
		buf_puts(out, joint);
		pg_put_ident(out, t->columns[i].name);
		joint = ", ";
	}
	buf_puts(out, all ? "ON " : ") ON ");
	pg_put_table(out, t->schema, t->name);
	buf_puts(out, " TO ");
	pg_put_ident(out, role);
	buf_putc(out, ';');
}

int def_check_readable(struct arena *a, const struct pg_table *t, const bool *wanted, const char *role, const char *field,
                       struct def_error *e)
{
	struct buf text = BUF_INIT(DEF_TEXT_BYTES_MAX);
	const char *joint = "The database role has no right to read the following columns: ";
	bool all = true;
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		all = all && t->columns[i].denied;
		if (!wanted[i] || !t->columns[i].denied)
			continue;
		buf_puts(&text, joint);
		buf_puts(&text, t->columns[i].name);
		joint = ", ";
	}
	if (text.len == 0)
		return 0;
	if (all) { /* a right that is granted late, or was taken away: nothing that the client could ask for otherwise */
		buf_reset(&text);
		buf_printf(&text, "Unable to create initial snapshot: permission denied for table %s", t->name); /* COMPAT */
		field = NULL;
	}
	buf_puts(&text, ". Run, as the owner: ");
	put_grant(&text, t, wanted, all, role);
	if (field != NULL && strcmp(field, "columns") == 0)
		buf_puts(&text, " Or list only others in the 'columns' query param");
	return fail(a, e, field, &text);
}

/* Rights on all columns there are don't cover it. */
static int fail_tableoid(struct arena *a, const struct pg_table *t, const char *role, struct def_error *e)
{
	struct buf text = BUF_INIT(DEF_TEXT_BYTES_MAX);
	buf_puts(&text, "The database role has no right to read tableoid, which tells the table's own rows from those of its children. "
	                "Run, as its owner: GRANT SELECT (tableoid) ON ");
	pg_put_table(&text, t->schema, t->name);
	buf_puts(&text, " TO ");
	pg_put_ident(&text, role);
	return fail(a, e, "table", &text);
}

static bool some_denied(const struct pg_table *t)
{
	for (uint16_t i = 0; i < t->ncolumns; i++)
		if (t->columns[i].denied)
			return true;
	return false;
}

/* What the condition looks at. */
static int check_where(struct arena *a, const struct shape_def *d, const char *role, struct def_error *e)
{
	struct where *w = NULL;
	struct err ignored;
	bool any = false;
	for (size_t k = 0; d->where != NULL && k < tables_of(d); k++)
		any = any || some_denied(table_at(d, k));
	if (!any || def_load_where(d, &w, &ignored) != 0)
		return 0;
	int rc = 0;
	for (size_t k = 0; rc == 0 && k < tables_of(d); k++) {
		const struct pg_table *t = table_at(d, k);
		bool *wanted = arena_alloc(a, t->ncolumns + 1u);
		for (uint16_t i = 0; i < t->ncolumns; i++)
			wanted[i] = where_uses_of(w, t->oid, i);
		rc = def_check_readable(a, t, wanted, role, "where", e);
	}
	where_free(w);
	return rc;
}

int def_check_rights(struct arena *a, const struct shape_def *d, const char *role, struct def_error *e)
{
	const struct pg_table *t = d->table;
	bool *wanted = arena_alloc(a, t->ncolumns + 1u);
	memset(wanted, 0, t->ncolumns + 1u);
	for (uint16_t i = 0; i < d->nselected; i++)
		wanted[d->selected[i]] = true;
	if (def_check_readable(a, t, wanted, role, "columns", e) < 0)
		return -1;
	if (t->tableoid_denied)
		return fail_tableoid(a, t, role, e);
	return check_where(a, d, role, e);
}

void shape_def_clear(struct shape_def *d)
{
	if (d->table != NULL)
		pg_table_unref(d->table);
	clear_inner(d);
	free(d->selected);
	free(d->identity);
	*d = (struct shape_def){0};
}

void shape_def_copy(struct shape_def *to, const struct shape_def *from)
{
	*to = *from;
	to->table = pg_table_ref(from->table);
	to->inner = from->ninner == 0 ? NULL : mem_alloc(from->ninner * sizeof *to->inner);
	for (uint16_t i = 0; i < from->ninner; i++)
		to->inner[i] = pg_table_ref(from->inner[i]);
	to->selected = mem_alloc((from->nselected + 1u) * sizeof *to->selected);
	memcpy(to->selected, from->selected, from->nselected * sizeof *to->selected);
	to->identity = mem_strndup(from->identity, from->identity_len);
	to->where = from->where == NULL ? NULL : to->identity + (from->where - from->identity);
}
