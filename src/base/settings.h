/*
 * settings.h - BUSBAR_SETTINGS_FILE: settings that may change while we run, NAME=VALUE on a line each, and taking them over.
 *
 * A value is the rest of its line, without the blanks around it: no quotes, no expansion. Empty lines and those that begin with #
 * are skipped. A file with anything else in it is refused as a whole, and the error says which line. It may hold secrets: texts
 * of errors never show values of lines that can't be understood.
 */
#ifndef BUSBAR_BASE_SETTINGS_H
#define BUSBAR_BASE_SETTINGS_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

#define SETTINGS_FILE_BYTES_MAX (64u << 10)

struct config;

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

/*
 * Reads the environment and the file again, and takes over what may change (struct config_live, the secrets, level and format of
 * the log); a line for each that differs goes to `changes`, without secrets. -1: nothing has changed. One thread, any time.
 */
int settings_reload(struct config *c, FILE *changes, struct err *e) MUST_USE;

#endif
