/* path.c - see path.h. */
#include "http/path.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "http/params.h"

enum route_path route_path(const char *p, size_t len)
{
	char segments[2][8]; /* nothing longer is a segment of ours */
	size_t count = 0, start = 0;
	/* The absolute form, http://host/path, which a server must take too (RFC 9112, 3.2.2). */
	if (len > 7 && strncasecmp(p, "http://", 7) == 0) {
		const char *slash = memchr(p + 7, '/', len - 7);
		start = slash == NULL ? len : (size_t)(slash - p);
	}
	for (size_t at = start; at < len;) {
		const char *slash = memchr(p + at, '/', len - at);
		size_t end = slash == NULL ? len : (size_t)(slash - p);
		if (end > at) {
			/* At most three bytes for each that is left; a decoded slash stays inside its segment. */
			char decoded[sizeof segments[0] * 3];
			if (count == 2 || end - at > sizeof decoded)
				return PATH_NONE;
			size_t n = params_unescape(p + at, end - at, decoded, false);
			if (n >= sizeof segments[0] || memchr(decoded, '\0', n) != NULL)
				return PATH_NONE;
			memcpy(segments[count], decoded, n);
			segments[count++][n] = '\0';
		}
		at = end + 1;
	}
	if (count == 0)
		return PATH_ROOT;
	if (count != 2 || strcmp(segments[0], "v1") != 0)
		return PATH_NONE;
	return strcmp(segments[1], "shape") == 0 ? PATH_SHAPE : strcmp(segments[1], "health") == 0 ? PATH_HEALTH :
	       strcmp(segments[1], "ready") == 0 ? PATH_READY : PATH_NONE;
}
