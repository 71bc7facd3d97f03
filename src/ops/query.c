/* query.c - see query.h. */
#include "ops/query.h"

#include <string.h>

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int decode(const char *p, size_t len, char *out, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		char c = p[i] == '+' ? ' ' : p[i];
		if (c == '%') {
			int high = i + 2 < len ? hex(p[i + 1]) : -1, low = i + 2 < len ? hex(p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return -1;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\0' || n + 1 >= max)
			return -1;
		out[n++] = c;
	}
	out[n] = '\0';
	return n > 0;
}

/* Its value, of *len bytes; NULL: it isn't there. */
static const char *find(const char *query, const char *name, size_t *len)
{
	size_t name_len = strlen(name);
	for (const char *p = query; *p != '\0';) {
		size_t n = strcspn(p, "&");
		if (n > name_len && strncmp(p, name, name_len) == 0 && p[name_len] == '=') {
			*len = n - name_len - 1;
			return p + name_len + 1;
		}
		p += n + (p[n] == '&');
	}
	return NULL;
}

int query_param(const char *query, const char *name, char *out, size_t max)
{
	size_t len;
	const char *value = find(query, name, &len);
	out[0] = '\0';
	return value != NULL ? decode(value, len, out, max) : 0;
}

int query_next(const char **at, char *name, size_t max, char *value, size_t value_max)
{
	const char *p = *at + strspn(*at, "&");
	size_t len = strcspn(p, "&"), name_len = strcspn(p, "&=");
	*at = p + len;
	if (len == 0)
		return 0;
	size_t value_at = name_len < len ? name_len + 1 : len;
	int rc = decode(p, name_len, name, max);
	if (value != NULL && rc >= 0)
		rc = decode(p + value_at, len - value_at, value, value_max);
	return rc < 0 ? -1 : 1;
}
