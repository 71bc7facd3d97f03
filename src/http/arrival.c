/* arrival.c - see arrival.h. A look, not a parser: in doubt it says no, and the library decides. */
#include "http/arrival.h"

#include <string.h>
#include <strings.h>

static bool starts(const char *p, size_t n, const char *word)
{
	size_t len = strlen(word);
	return n >= len && strncasecmp(p, word, len) == 0;
}

/* `live=true` as the only parameter of that name in the request line, of a client whose connections last. */
static bool asks_live(const char *p, size_t n)
{
	static const char name[] = "live=", yes[] = "true", version[] = " HTTP/1.1";
	const char *end = p + n;
	int found = 0;
	bool live = false;
	while (end > p && (end[-1] == '\r' || end[-1] == ' '))
		end--;
	if ((size_t)(end - p) < sizeof version - 1 || memcmp(end - (sizeof version - 1), version, sizeof version - 1) != 0)
		return false;
	for (const char *at = memchr(p, '?', n); at != NULL; at = memchr(at, '&', (size_t)(end - at))) {
		at++;
		if (!starts(at, (size_t)(end - at), name))
			continue;
		found++;
		at += sizeof name - 1;
		live = starts(at, (size_t)(end - at), yes) && (at[sizeof yes - 1] == '&' || at[sizeof yes - 1] == ' ');
	}
	return live && found == 1;
}

static bool has_no_body(const char *line, size_t n)
{
	return !starts(line, n, "content-length") && !starts(line, n, "transfer-encoding") && !starts(line, n, "expect") &&
	       !starts(line, n, "upgrade");
}

void arrival_look(const char *p, size_t n, struct arrival *out)
{
	*out = (struct arrival){false, false};
	const char *end = p + n, *eol = memchr(p, '\n', n);
	bool get = starts(p, n, "GET "), known = get || starts(p, n, "HEAD ") || starts(p, n, "DELETE ") || starts(p, n, "OPTIONS ");
	if (eol == NULL || !known)
		return;
	bool small = get && n <= ARRIVAL_SMALL_BYTES_MAX && asks_live(p, (size_t)(eol - p));
	int lines = 0;
	for (const char *line = eol + 1; line < end; line = eol + 1) {
		eol = memchr(line, '\n', (size_t)(end - line));
		if (eol == NULL)
			return;
		size_t len = (size_t)(eol - line);
		if (len == 0 || (len == 1 && line[0] == '\r')) {
			out->whole = eol + 1 == end;
			out->small = out->whole && small;
			return;
		}
		/* A line that goes on the one before, or that ends all for the library: not what it seems. */
		if (line[0] == ' ' || line[0] == '\t' || memchr(line, '\0', len) != NULL || !has_no_body(line, len))
			return;
		/* The library keeps a structure for each, and cookies twice. */
		small = small && ++lines <= ARRIVAL_SMALL_LINES_MAX && !starts(line, len, "cookie") &&
		        !(starts(line, len, "origin") && len > ARRIVAL_REPEATED_BYTES_MAX);
	}
}
