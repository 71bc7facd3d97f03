/*
 * collation.h - what text functions need to know about a collation, and what we can reproduce of it.
 *
 * Equality under a deterministic collation is equality of bytes. Order is reproduced by bytes for C,
 * POSIX, ucs_basic, C.UTF-8 and PostgreSQL 17's builtin provider, and through this machine's libc for
 * other libc locales if it has the locale in the version that the server's collation was made with;
 * else `order` is WHERE_ORDER_NONE and the parser refuses ordering. lower, upper, initcap and ILIKE follow
 * the ctype: ASCII only for C and POSIX, simple case mapping otherwise. Objects are interned for the
 * life of the process: compare by pointer, any thread.
 */
#ifndef BUSBAR_WHERE_COLLATION_H
#define BUSBAR_WHERE_COLLATION_H

#include <locale.h>
#include <stdbool.h>
#include <stddef.h>

enum where_order { WHERE_ORDER_BYTES, WHERE_ORDER_LIBC, WHERE_ORDER_NONE };

struct where_collation {
	char *name;                /* for messages and COLLATE, "default" for the database's */
	char provider;             /* 'c' libc, 'i' ICU, 'b' builtin */
	bool deterministic;
	bool ascii_case;           /* C, POSIX: case of ASCII letters only */
	enum where_order order;
	locale_t compare;          /* WHERE_ORDER_LIBC */
	locale_t ctype;            /* unless ascii_case; NULL: we don't have its mapping */
	bool ascii_known;          /* ASCII letters map as everywhere (not so in Turkish), even if ctype is NULL */
};

/* `collate`, `ctype`: as pg_database.datcollate or pg_collation.collcollate; `version`: the version the
 * server recorded for the collation (glibc's for libc), NULL if none. Never NULL. */
const struct where_collation *where_collation_get(const char *name, char provider, const char *collate, const char *ctype,
                                                  const char *version, bool deterministic);
const struct where_collation *where_collation_c(void);

/* Order of two texts in a collation (NULL: by bytes), 0 only if their bytes are equal; Postgres's varstr_cmp. */
int where_text_cmp(const struct where_collation *collation, const char *p, size_t n, const char *q, size_t m);

#endif
