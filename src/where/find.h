/*
 * find.h - one text in another. Private to src/where.
 */
#ifndef BUSBAR_WHERE_FIND_H
#define BUSBAR_WHERE_FIND_H

#include <string.h>

/* As memmem(). A single byte, which most searches are for, is what memchr() does several times as fast; and ThreadSanitizer
 * looks at all of the rest for each memmem(), so that a text in a million pieces takes it hours. */
static inline const char *where_find(const char *p, size_t n, const char *what, size_t len)
{
	return len == 1 ? memchr(p, what[0], n) : memmem(p, n, what, len);
}

#endif
