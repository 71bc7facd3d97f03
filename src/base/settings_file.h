/*
 * settings_file.h - BUSBAR_SETTINGS_FILE: settings that may change while we run, NAME=VALUE on a line each.
 *
 * A value is the rest of its line, without the blanks around it: no quotes, no expansion. Empty lines and those that begin with #
 * are skipped. A file with anything else in it, or with a name that can't change, is refused as a whole, and the error says which
 * line. It may hold secrets: texts of errors never show values of lines that can't be understood.
 */
#ifndef BUSBAR_BASE_SETTINGS_FILE_H
#define BUSBAR_BASE_SETTINGS_FILE_H

#include <stddef.h>

#include "base/err.h"

#define SETTINGS_FILE_BYTES_MAX (64u << 10)

struct setting {
	const char *name, *value;
	int line; /* from 1 */
};

struct settings {
	char *path, *text; /* NULL: none was read */
	struct setting *list; /* each name once */
	size_t n;
};

/* -1: it can't be read, or isn't of that form; nothing to clear then. */
int settings_read(const char *path, struct settings *out, struct err *e) MUST_USE;
/* Also of a zeroed one. */
void settings_clear(struct settings *s);

#endif
