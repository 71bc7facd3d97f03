/*
 * condition.c - see condition.h. A remembered condition belongs to one description of its table (by
 * address; the memory holds a reference, so an address isn't used again) and to the very text. What it
 * says of the tables of its subqueries holds as long as their names lead to the same descriptions.
 */
#include "http/condition.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

struct remembered {
	char *key;
	size_t key_len;
	struct pg_table *table;  /* a reference */
	struct pg_table **inner; /* references: the tables of its subqueries */
	size_t ninner;
	char *canonical;
};

/* The tables that a condition names in subqueries, but for the shape's own. */
struct named {
	struct pg_table *list[CONDITION_TABLES_MAX];
	size_t n;
};

struct condition_cache {
	struct map by_key;
	struct remembered *ring[CONDITION_CACHE_MAX]; /* in the order they came */
	size_t at;
};

struct condition_cache *condition_cache_new(void) { return mem_zalloc(sizeof(struct condition_cache)); }

static void clear_meaning(struct remembered *r)
{
	for (size_t i = 0; i < r->ninner; i++)
		pg_table_unref(r->inner[i]);
	free(r->inner);
	free(r->canonical);
}

static void set_meaning(struct remembered *r, const char *canonical, const struct named *named)
{
	r->canonical = mem_strdup(canonical);
	r->ninner = named->n;
	r->inner = named->n == 0 ? NULL : mem_alloc(named->n * sizeof *r->inner);
	for (size_t i = 0; i < named->n; i++)
		r->inner[i] = pg_table_ref(named->list[i]);
}

static void forget(struct condition_cache *c, struct remembered *r)
{
	if (r == NULL)
		return;
	map_del(&c->by_key, r->key, r->key_len);
	pg_table_unref(r->table);
	clear_meaning(r);
	free(r->key);
	free(r);
}

void condition_cache_free(struct condition_cache *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < CONDITION_CACHE_MAX; i++)
		forget(c, c->ring[i]);
	map_clear(&c->by_key);
	free(c);
}

static void remember(struct condition_cache *c, const struct buf *key, struct pg_table *table, const char *canonical,
                     const struct named *named)
{
	if (key->failed)
		return;
	struct remembered *r = map_get(&c->by_key, key->data, key->len);
	if (r != NULL) { /* one of its tables has changed */
		clear_meaning(r);
		set_meaning(r, canonical, named);
		return;
	}
	r = mem_zalloc(sizeof *r);
	r->key = mem_strndup(key->data, key->len);
	r->key_len = key->len;
	r->table = pg_table_ref(table);
	set_meaning(r, canonical, named);
	forget(c, c->ring[c->at]);
	c->ring[c->at] = r;
	c->at = (c->at + 1) % CONDITION_CACHE_MAX;
	map_put(&c->by_key, r->key, r->key_len, r);
}

static void put_key(struct buf *key, const struct pg_table *table, const struct shape_params *p, const struct where_params *params)
{
	buf_put(key, &table, sizeof table);
	buf_put(key, &p->where_len, sizeof p->where_len);
	buf_put(key, p->where, p->where_len);
	for (size_t i = 0; i < params->n && !key->failed; i++) {
		const struct where_param *v = &params->values[i];
		size_t len = v->p != NULL ? v->len : SIZE_MAX; /* none isn't an empty one */
		buf_put(key, &len, sizeof len);
		if (v->p != NULL)
			buf_put(key, v->p, v->len);
	}
}

/* ---- parameters ------------------------------------------------------------------------------------------ */

/* Decimal digits with an optional sign, nothing else, as Elixir reads an integer. */
static bool key_number(const struct pentry *p, int64_t *out)
{
	size_t i = p->key_len > 0 && (p->key[0] == '+' || p->key[0] == '-'), start = i;
	int64_t v = 0;
	for (; i < p->key_len && p->key[i] >= '0' && p->key[i] <= '9' && v < INT32_MAX; i++)
		v = v * 10 + (p->key[i] - '0');
	*out = p->key[0] == '-' ? -v : v;
	return i == p->key_len && i > start;
}

/* COMPAT: `01` and `+1` count as 1, but a condition finds its $1 as `1` only. */
static bool names_it(const struct pentry *p)
{
	return p->key[0] >= '1' && p->key[0] <= '9';
}

int condition_params(struct arena *a, const struct pval *params, const char *field, struct where_params *out,
                     struct params_errors *e)
{
	*out = (struct where_params){NULL, 0};
	if (params == NULL)
		return 0;
	size_t n = 0;
	int64_t number;
	for (const struct pentry *p = params->first; p != NULL; p = p->next, n++)
		if (!key_number(p, &number)) {
			params_error(e, field, "Parameters can only use numbers as keys");
			return -1;
		}
	struct where_param *values = arena_alloc(a, (n + 1) * sizeof *values);
	memset(values, 0, (n + 1) * sizeof *values);
	bool *taken = arena_alloc(a, n + 1);
	memset(taken, 0, n + 1);
	for (const struct pentry *p = params->first; p != NULL; p = p->next) {
		bool ok = key_number(p, &number) && number >= 1 && (uint64_t)number <= n && !taken[number - 1];
		if (!ok) {
			params_error(e, field, "Parameters must be numbered sequentially, starting from 1");
			return -1;
		}
		taken[number - 1] = true;
		if (names_it(p))
			values[number - 1] = (struct where_param){p->value.p != NULL ? p->value.p : "", p->value.len};
	}
	*out = (struct where_params){values, n};
	return 0;
}

/* ---- the check --------------------------------------------------------------------------------------------- */

static enum condition_result complain(struct arena *a, struct params_errors *e, const char *message)
{
	params_error(e, "where", arena_strndup(a, message, strlen(message)));
	return CONDITION_REFUSED;
}

static enum condition_result lacks(struct arena *a, struct condition_input *in, const char *schema, const char *name)
{
	in->missing = (struct def_table_name){arena_strndup(a, schema, strlen(schema)), arena_strndup(a, name, strlen(name))};
	return CONDITION_LACKS;
}

/* What is remembered, if its tables are what they were; CONDITION_REFUSED: they aren't. */
static enum condition_result recall(struct arena *a, const struct remembered *r, struct shape_def *def, struct condition_input *in)
{
	bool same = true;
	for (size_t i = 0; i < r->ninner; i++) {
		const struct pg_table *was = r->inner[i];
		size_t k = 0;
		while (k < in->ntables && (strcmp(in->tables[k]->name, was->name) != 0 || strcmp(in->tables[k]->schema, was->schema) != 0))
			k++;
		if (k == in->ntables)
			return lacks(a, in, was->schema, was->name);
		same = same && in->tables[k] == was;
	}
	if (!same)
		return CONDITION_REFUSED;
	def_set_where(def, r->canonical, r->inner, r->ninner);
	return CONDITION_SET;
}

static void name_tables(const struct where *w, const struct shape_def *def, const struct condition_input *in, struct named *out)
{
	for (size_t i = 0; i < where_subqueries(w); i++) {
		const struct where *inside = where_subquery(w, i);
		size_t at = 0, seen = 0;
		while (in->tables[at] != where_table(inside))
			at++;
		while (seen < out->n && out->list[seen] != in->tables[at])
			seen++;
		if (seen == out->n && in->tables[at] != def->table)
			out->list[out->n++] = in->tables[at];
		name_tables(inside, def, in, out);
	}
}

static enum condition_result parse(struct condition_cache *c, struct arena *a, const struct shape_params *p,
                                   const struct buf *key, struct shape_def *def, struct condition_input *in, struct params_errors *e)
{
	char message[WHERE_MESSAGE_MAX];
	struct where *w;
	struct where_tables tables = {.list = (const struct pg_table *const *)in->tables, .n = in->ntables};
	if (where_parse(def->table, &tables, p->where, p->where_len, &in->params, NULL, false, &w, message) != 0) {
		if (tables.missing_name[0] != '\0')
			return lacks(a, in, tables.missing_schema, tables.missing_name);
		return complain(a, e, message);
	}
	struct named named = {.n = 0};
	struct buf canonical = BUF_INIT(WHERE_CANONICAL_MAX);
	enum condition_result result = CONDITION_SET;
	name_tables(w, def, in, &named);
	where_canonical(w, &canonical);
	where_free(w);
	if (canonical.failed) {
		result = complain(a, e, "the condition with its parameters is too long");
	} else {
		def_set_where(def, canonical.data, named.list, named.n);
		remember(c, key, def->table, canonical.data, &named);
	}
	buf_clear(&canonical);
	return result;
}

/* A text that doesn't parse is complained about before its parameters are. */
static enum condition_result check_params(struct arena *a, const struct shape_params *p, struct condition_input *in,
                                          struct params_errors *e)
{
	char message[WHERE_MESSAGE_MAX];
	if (in->checked || condition_params(a, p->where_params, "params", &in->params, e) == 0) {
		in->checked = true;
		return CONDITION_SET;
	}
	if (where_check_syntax(p->where, p->where_len, message) == 0)
		return CONDITION_REFUSED;
	e->count = 0;
	return complain(a, e, message);
}

enum condition_result condition_apply(struct condition_cache *c, struct arena *a, const struct shape_params *p, struct shape_def *def,
                                      struct condition_input *in, struct params_errors *e)
{
	if (p->where == NULL)
		return CONDITION_SET;
	if (check_params(a, p, in, e) != CONDITION_SET)
		return CONDITION_REFUSED;
	struct buf key = BUF_INIT(CONDITION_CACHED_BYTES_MAX);
	put_key(&key, def->table, p, &in->params);
	const struct remembered *known = key.failed ? NULL : map_get(&c->by_key, key.data, key.len);
	enum condition_result result = known == NULL ? CONDITION_REFUSED : recall(a, known, def, in);
	if (result == CONDITION_REFUSED)
		result = parse(c, a, p, &key, def, in, e);
	buf_clear(&key);
	if (result == CONDITION_SET && def->has_subqueries && p->compaction) {
		params_error(e, "experimental_compaction", "can't be enabled for shapes with subqueries");
		return CONDITION_REFUSED;
	}
	return result;
}
