/* readable.c - see readable.h. */
#include "ops/readable.h"

#include <string.h>

#include "base/mem.h"

static const struct { const char *from; size_t len; } parts[] = {{"OPERATOR(pg_catalog.", 20}, {"pg_catalog.", 11}, {"\"pg_catalog\".", 13}};

/* The length of what is quoted and begins here, with its quotes, of which doubled ones are inside. 0: nothing is. */
static size_t quoted(const char *p)
{
	if (*p != '\'' && *p != '"')
		return 0;
	for (const char *end = p + 1; *end != '\0'; end++)
		if (*end == *p && *++end != *p)
			return (size_t)(end - p);
	return strlen(p); /* it was cut */
}

/* What is left out here; *oper: inside of OPERATOR(), whose end goes, too. */
static size_t needless(const char *p, bool *oper)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (strncmp(p, parts[i].from, parts[i].len) == 0) {
			*oper = *oper || i == 0;
			return parts[i].len;
		}
	if (!*oper || *p != ')')
		return 0;
	*oper = false;
	return 1;
}

void readable_sql(struct buf *sql)
{
	bool oper = false;
	char *to = sql->data;
	for (const char *p = sql->data; p != NULL && *p != '\0';) {
		size_t skips = needless(p, &oper), n = skips > 0 ? 0 : quoted(p);
		n = skips + n > 0 ? n : 1;
		p += skips;
		memmove(to, p, n);
		to += n;
		p += n;
	}
	if (to != NULL) {
		*to = '\0';
		sql->len = (size_t)(to - sql->data);
	}
}
