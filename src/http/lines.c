/* lines.c - see lines.h. */
#include "http/lines.h"

#include <string.h>

#include "base/log.h"

void put_up_to_date(struct buf *b, lsn_t seen)
{
	buf_puts(b, "{\"headers\":{\"control\":\"up-to-date\",\"global_last_seen_lsn\":\"");
	buf_put_u64(b, seen);
	buf_puts(b, "\"}}");
}

void put_lines(struct buf *to, const char *p, size_t len, bool sse, bool *first)
{
	for (const char *end = p + len; p < end;) {
		const char *eol = memchr(p, '\n', (size_t)(end - p));
		size_t n = eol == NULL ? (size_t)(end - p) : (size_t)(eol - p);
		if (sse)
			buf_puts(to, "data: ");
		else if (!*first)
			buf_putc(to, ',');
		buf_put(to, p, n);
		if (sse)
			buf_puts(to, "\n\n");
		*first = false;
		p += n + 1;
	}
}

void lines_cannot_read(const struct shape *s, const char *why)
{
	log_seldom(LOG_ERROR, log_repeat_key(0, why, strlen(why)), "cannot read the log of shape %s: %s", shape_handle(s), why);
}
