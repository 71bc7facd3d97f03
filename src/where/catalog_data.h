/*
 * catalog_data.h - the lines of catalog_data.c (written by scripts/where-catalog.sh) and how they are read.
 *
 * Private to catalog.c and types.c, which make their tables of a writable copy at first use. Lines end
 * with '\n', fields are separated by single blanks; the comment above each text in catalog_data.c names
 * its fields.
 */
#ifndef BUSBAR_WHERE_CATALOG_DATA_H
#define BUSBAR_WHERE_CATALOG_DATA_H

#include <stddef.h>

extern const char where_catalog_types[], where_catalog_opers[], where_catalog_procs[], where_catalog_casts[];

#define CATALOG_FIELDS_MAX 16

/* Number of lines. */
static inline size_t catalog_lines(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* The next line of `*pos` as NUL terminated fields (it is cut in place); returns their number, 0 at the end. */
static inline int catalog_line(char **pos, char *fields[CATALOG_FIELDS_MAX])
{
	char *p = *pos;
	int n = 0;
	while (*p && n < CATALOG_FIELDS_MAX) {
		fields[n++] = p;
		while (*p != ' ' && *p != '\n')
			p++;
		char end = *p;
		*p++ = '\0';
		if (end == '\n')
			break;
	}
	*pos = p;
	return n;
}

#endif
