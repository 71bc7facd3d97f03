/* arrival.c - see arrival.h. A look, not a parser: in doubt it says no, and the library decides. */
#include "http/arrival.h"

#include <string.h>
#include <strings.h>

static bool starts(const char *p, size_t n, const char *word)
{
	size_t len = strlen(word);
	return n >= len && strncasecmp(p, word, len) == 0;
}

/* `live=true` as a parameter of the request line's query. */
static bool asks_live(const char *p, size_t n)
{
	static const char want[] = "live=true";
	const size_t len = sizeof want - 1;
	const char *end = p + n, *at = memchr(p, '?', n);
	while (at != NULL) {
		at++;
		if ((size_t)(end - at) > len && memcmp(at, want, len) == 0 && (at[len] == '&' || at[len] == ' '))
			return true;
		at = memchr(at, '&', (size_t)(end - at));
	}
	return false;
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
		if (!has_no_body(line, len))
			return;
		small = small && !(starts(line, len, "origin") && len > ARRIVAL_REPEATED_BYTES_MAX);
	}
}
