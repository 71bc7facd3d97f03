/*
 * condition.c - see condition.h. A remembered condition belongs to one description of its table (by
 * address; the memory holds a reference, so an address isn't used again) and to the very text.
 */
#include "http/condition.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

struct remembered {
	char *key;
	size_t key_len;
	struct pg_table *table; /* a reference */
	char *canonical;
};

struct condition_cache {
	struct map by_key;
	struct remembered *ring[CONDITION_CACHE_MAX]; /* in the order they came */
	size_t at;
};

struct condition_cache *condition_cache_new(void) { return mem_zalloc(sizeof(struct condition_cache)); }

static void forget(struct condition_cache *c, struct remembered *r)
{
	if (r == NULL)
		return;
	map_del(&c->by_key, r->key, r->key_len);
	pg_table_unref(r->table);
	free(r->canonical);
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

static void remember(struct condition_cache *c, const struct buf *key, struct pg_table *table, const char *canonical)
{
	if (key->failed)
		return;
	struct remembered *r = mem_zalloc(sizeof *r);
	r->key = mem_strndup(key->data, key->len);
	r->key_len = key->len;
	r->table = pg_table_ref(table);
	r->canonical = mem_strdup(canonical);
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
	for (size_t i = 0; i < params->n; i++) {
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

static int complain(struct arena *a, struct params_errors *e, const char *message)
{
	params_error(e, "where", arena_strndup(a, message, strlen(message)));
	return -1;
}

int condition_apply(struct condition_cache *c, struct arena *a, const struct shape_params *p, struct shape_def *def,
                    struct params_errors *e)
{
	char message[WHERE_MESSAGE_MAX];
	struct where_params params;
	struct where *w;
	if (p->where == NULL)
		return 0;
	/* A text that doesn't parse is complained about before its parameters are. */
	if (condition_params(a, p->where_params, "params", &params, e) != 0) {
		if (where_check_syntax(p->where, p->where_len, message) == 0)
			return -1;
		e->count = 0;
		return complain(a, e, message);
	}
	struct buf key = BUF_INIT(CONDITION_CACHED_BYTES_MAX);
	put_key(&key, def->table, p, &params);
	const struct remembered *known = key.failed ? NULL : map_get(&c->by_key, key.data, key.len);
	int rc = 0;
	if (known != NULL) {
		def_set_where(def, known->canonical, NULL, 0);
	} else if (where_parse(def->table, NULL, p->where, p->where_len, &params, NULL, false, &w, message) != 0) {
		rc = complain(a, e, message);
		if (p->compaction && strstr(message, WHERE_SUBQUERIES_REFUSED) != NULL)
			e->list[0] = (struct def_error){"experimental_compaction", "can't be enabled for shapes with subqueries"};
	} else {
		struct buf canonical = BUF_INIT(WHERE_CANONICAL_MAX);
		where_canonical(w, &canonical);
		where_free(w);
		if (canonical.failed) {
			rc = complain(a, e, "the condition with its parameters is too long");
		} else {
			def_set_where(def, canonical.data, NULL, 0);
			remember(c, &key, def->table, canonical.data);
		}
		buf_clear(&canonical);
	}
	buf_clear(&key);
	return rc;
}
