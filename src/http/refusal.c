/* refusal.c - see refusal.h. */
#include "http/refusal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static void put_date(struct buf *b)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t now = (time_t)(clock_wall_us() / 1000000);
	struct tm t;
	gmtime_r(&now, &t);
	buf_printf(b, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon,
	           t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static const char *status_name(unsigned status)
{
	switch (status) {
	case 304: return "Not Modified";
	case 400: return "Bad Request";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 431: return "Request Header Fields Too Large";
	case 501: return "Not Implemented";
	default: return "HTTP Version Not Supported";
	}
}

void refusal_begin(struct buf *out, unsigned status)
{
	buf_printf(out, "HTTP/1.1 %u %s\r\n", status, status_name(status));
	put_date(out);
}

void refusal_put(struct buf *out, unsigned status, const char *why, bool head)
{
	refusal_begin(out, status);
	buf_puts(out, "connection: close\r\n");
	if (status == 414) { /* COMPAT: nothing but the status */
		buf_puts(out, "content-length: 0\r\n\r\n");
		return;
	}
	buf_printf(out, "content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\ncontent-length: %zu\r\n\r\n%s%s",
	           strlen(why) + 1, head ? "" : why, head ? "" : "\n");
}
