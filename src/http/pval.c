/* pval.c - what a request says, as a tree; see params.h. */
#include "http/params.h"

#include <string.h>

struct pval *pval_get(const struct pval *map, const char *key)
{
	size_t len = strlen(key);
	struct pval *found = NULL;
	for (struct pentry *e = map->first; e != NULL; e = e->next)
		if (e->key != NULL && e->key_len == len && memcmp(e->key, key, len) == 0)
			found = &e->value;
	return found;
}

struct pentry *pval_append(struct arena *a, struct pval *to)
{
	struct pentry *e = arena_alloc(a, sizeof *e);
	*e = (struct pentry){0};
	if (to->last != NULL)
		to->last->next = e;
	else
		to->first = e;
	to->last = e;
	to->count++;
	return e;
}

void pval_prepend(struct arena *a, struct pval *to, const struct pval *value)
{
	struct pentry *e = arena_alloc(a, sizeof *e);
	*e = (struct pentry){.next = to->first, .value = *value};
	to->first = e;
	if (to->last == NULL)
		to->last = e;
	to->count++;
}

struct pentry *pval_find(const struct pval *map, const char *key, size_t len)
{
	for (struct pentry *e = map->first; e != NULL; e = e->next)
		if (e->key_len == len && memcmp(e->key, key, len) == 0)
			return e;
	return NULL;
}

void pval_put(struct arena *a, struct pval *map, const char *key, size_t key_len, const struct pval *value)
{
	struct pentry *e = pval_find(map, key, key_len);
	if (e == NULL) {
		e = pval_append(a, map);
		e->key = key;
		e->key_len = key_len;
	}
	e->value = *value;
}

bool pval_is(const struct pval *v, const char *text)
{
	return v != NULL && v->type == PVAL_STRING && v->len == strlen(text) && memcmp(v->p, text, v->len) == 0;
}
