/* test_arrival.c - what is said of a request by its first bytes. */
#include <string.h>

#include "check.h"
#include "http/arrival.h"

static const char *look(const char *text)
{
	struct arrival a;
	arrival_look(text, strlen(text), &a);
	return a.small ? "small" : a.whole ? "whole" : "no";
}

int main(void)
{
	CHECK_STR(look("GET /v1/shape?table=t&live=true&offset=1_0 HTTP/1.1\r\nHost: a\r\n\r\n"), "small");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"), "small");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\nHost: a\n\n"), "small");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.0\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true&live=false HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\nCookie: b=c\r\n\r\n"), "whole");
	CHECK_STR(look("GET /?live=true HTTP/1.1\r\nContent-: 99\r\n Length\r\n\r\n"), "no");
	CHECK_STR(look("GET /?live=true HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n"), "no");
	CHECK_STR(look("GET /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?xlive=true HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true1 HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true"), "no");
	CHECK_STR(look("GET /v1/live=true HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("HEAD /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("DELETE /v1/shape?table=t HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	/* parts of one, more than one, one with a body */
	CHECK_STR(look(""), "no");
	CHECK_STR(look("G"), "no");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n"), "no");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n\r"), "no");
	CHECK_STR(look("GET /?live=true HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n"), "no");
	CHECK_STR(look("POST /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n\r\n"), "no");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\ncontent-Length: 3\r\n\r\nabc"), "no");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), "no");
	CHECK_STR(look("\r\nGET /v1/shape?live=true HTTP/1.1\r\n\r\n"), "no");

	/* what the response would repeat; what doesn't fit */
	char text[ARRIVAL_SMALL_BYTES_MAX + 200], pad[ARRIVAL_SMALL_BYTES_MAX + 100];
	memset(pad, 'x', sizeof pad);
	snprintf(text, sizeof text, "GET /?live=true HTTP/1.1\r\nOrigin: %.*s\r\n\r\n", 300, pad);
	CHECK_STR(look(text), "whole");
	snprintf(text, sizeof text, "GET /?live=true HTTP/1.1\r\nOther: %.*s\r\n\r\n", 300, pad);
	CHECK_STR(look(text), "small");
	snprintf(text, sizeof text, "GET /?live=true HTTP/1.1\r\nOther: %.*s\r\n\r\n", ARRIVAL_SMALL_BYTES_MAX, pad);
	CHECK_STR(look(text), "whole");
	return check_done("arrival");
}
