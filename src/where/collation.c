/*
 * collation.c - interns collations and decides what of each we can reproduce; see collation.h.
 *
 * Order: bytes, or this machine's libc if it is the version that the server recorded. Case: this machine's
 * locale of that name, else the tables of C.UTF-8, which differ from other locales' only for the languages
 * listed below.
 */
#include "where/collation.h"

#include <gnu/libc-version.h>
#include <langinfo.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wctype.h>

#include "base/mem.h"

#define COLLATE_STACK_BYTES 512 /* texts up to this are compared without asking for memory */

struct interned {
	struct where_collation c;
	char *collate, *ctype, *version;
	struct interned *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct interned *all;

/* Languages in which i and I are no pair, or (tt) some locales of which say so. */
static const char *const dotted_i[] = {"tr", "az", "ku", "crh", "tt", NULL};
/* Languages for which ICU has rules of its own beyond ASCII. */
static const char *const icu_tailored[] = {"el", "hy", "lt", "nl", NULL};

static bool is_c(const char *name) { return strcmp(name, "C") == 0 || strcmp(name, "POSIX") == 0; }

static bool is_c_utf8(const char *name) { return strcasecmp(name, "C.UTF-8") == 0 || strcasecmp(name, "C.UTF8") == 0; }

static bool language_in(const char *locale, const char *const *languages)
{
	size_t n = strcspn(locale, "_-.@");
	for (; *languages != NULL; languages++)
		if (strlen(*languages) == n && strncasecmp(locale, *languages, n) == 0)
			return true;
	return false;
}

/* This machine's locale, if it has it in UTF-8. */
static locale_t open_locale(int mask, const char *name)
{
	locale_t l = newlocale(mask, name, (locale_t)0);
	if (l == (locale_t)0)
		return l;
	if (strcmp(nl_langinfo_l(CODESET, l), "UTF-8") == 0)
		return l;
	freelocale(l);
	return (locale_t)0;
}

static void set_order(struct where_collation *c, const char *collate, const char *version)
{
	c->order = WHERE_ORDER_NONE;
	if (!c->deterministic || c->provider == 'i')
		return;
	if (c->provider == 'b' || is_c(collate) || is_c_utf8(collate)) {
		c->order = WHERE_ORDER_BYTES;
		return;
	}
	if (version == NULL || strcmp(version, gnu_get_libc_version()) != 0)
		return;
	c->compare = open_locale(LC_COLLATE_MASK | LC_CTYPE_MASK, collate);
	if (c->compare != (locale_t)0)
		c->order = WHERE_ORDER_LIBC;
}

static void set_ctype(struct where_collation *c, const char *ctype)
{
	if (c->provider != 'i' && is_c(ctype)) {
		c->ascii_case = c->ascii_known = true;
		return;
	}
	bool dotted = language_in(ctype, dotted_i);
	c->ascii_known = !dotted;
	if (c->provider == 'c') {
		c->ctype = open_locale(LC_CTYPE_MASK, ctype);
		if (c->ctype != (locale_t)0)
			c->ascii_known = towlower_l(L'I', c->ctype) == L'i' && towupper_l(L'i', c->ctype) == L'I';
		if (c->ctype != (locale_t)0 || dotted)
			return;
	} else if (c->provider == 'i') {
		if (dotted || language_in(ctype, icu_tailored))
			return;
	} else if (!is_c_utf8(ctype)) {
		return; /* PG_UNICODE_FAST: full case mapping */
	}
	c->ctype = open_locale(LC_CTYPE_MASK, "C.UTF-8");
}

static bool same(const char *a, const char *b) { return (a == NULL) == (b == NULL) && (a == NULL || strcmp(a, b) == 0); }

static struct interned *find(const char *name, char provider, const char *collate, const char *ctype,
                             const char *version, bool deterministic)
{
	for (struct interned *i = all; i != NULL; i = i->next)
		if (i->c.provider == provider && i->c.deterministic == deterministic && same(i->c.name, name) &&
		    same(i->collate, collate) && same(i->ctype, ctype) && same(i->version, version))
			return i;
	return NULL;
}

const struct where_collation *where_collation_get(const char *name, char provider, const char *collate, const char *ctype,
                                                  const char *version, bool deterministic)
{
	collate = collate != NULL ? collate : "";
	ctype = ctype != NULL ? ctype : collate;
	pthread_mutex_lock(&lock);
	struct interned *i = find(name, provider, collate, ctype, version, deterministic);
	if (i == NULL) {
		i = mem_zalloc(sizeof *i);
		i->c.name = mem_strdup(name);
		i->c.provider = provider;
		i->c.deterministic = deterministic;
		i->collate = mem_strdup(collate);
		i->ctype = mem_strdup(ctype);
		i->version = version != NULL ? mem_strdup(version) : NULL;
		set_order(&i->c, collate, version);
		set_ctype(&i->c, ctype);
		i->next = all;
		all = i;
	}
	pthread_mutex_unlock(&lock);
	return &i->c;
}

const struct where_collation *where_collation_c(void)
{
	return where_collation_get("C", 'c', "C", "C", NULL, true);
}

/* ---- order ---- */

static int bytes_cmp(const char *p, size_t n, const char *q, size_t m)
{
	int order = n && m ? memcmp(p, q, n < m ? n : m) : 0;
	return order != 0 ? order : (n > m) - (n < m);
}

int where_text_cmp(const struct where_collation *collation, const char *p, size_t n, const char *q, size_t m)
{
	char small[2][COLLATE_STACK_BYTES];
	if (collation == NULL || collation->order != WHERE_ORDER_LIBC || (n == m && bytes_cmp(p, n, q, m) == 0))
		return bytes_cmp(p, n, q, m);
	char *a = n < sizeof small[0] ? small[0] : mem_alloc(n + 1);
	char *b = m < sizeof small[1] ? small[1] : mem_alloc(m + 1);
	memcpy(a, n ? p : "", n);
	memcpy(b, m ? q : "", m);
	a[n] = b[m] = '\0';
	int order = strcoll_l(a, b, collation->compare);
	if (a != small[0])
		free(a);
	if (b != small[1])
		free(b);
	return order != 0 ? order : bytes_cmp(p, n, q, m);
}
