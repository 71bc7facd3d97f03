/* test_arrival.c - what is said of a request by its first bytes. */
#include <string.h>

#include "check.h"
#include "http/arrival.h"

/* "small", "whole", "more" for what isn't all there, or the refusal's status. "whole N": it is followed by others. */
static const char *look_at(const char *text, size_t len)
{
	static char name[32];
	struct arrival a;
	arrival_look(text, len, &a);
	if (a.kind == ARRIVAL_REFUSED)
		snprintf(name, sizeof name, "%u", a.status);
	else if (a.kind == ARRIVAL_WHOLE && a.requests > 1)
		snprintf(name, sizeof name, "whole %u", a.requests);
	else
		snprintf(name, sizeof name, "%s", a.kind == ARRIVAL_PARTIAL ? "more" : a.small ? "small" : "whole");
	return name;
}

static const char *look(const char *text) { return look_at(text, strlen(text)); }

/* A request with these header lines. */
static const char *field(const char *lines)
{
	char text[4096];
	snprintf(text, sizeof text, "POST /v1/shape?table=t HTTP/1.1\r\n%s\r\n", lines);
	return look(text);
}

static struct arrival arrival_of(const char *text)
{
	struct arrival a;
	arrival_look(text, strlen(text), &a);
	return a;
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* ---- where a request ends, and what it needs -------------------------------------------------------- */

static void test_whole(void)
{

	CHECK_STR(look("GET /v1/shape?table=t&live=true&offset=1_0 HTTP/1.1\r\nHost: a\r\n\r\n"), "small");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"), "small");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\nHost: a\n\n"), "small");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.0\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true&live=false HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\nCookie: b=c\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?xlive=true HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true1 HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true"), "more");
	CHECK_STR(look("GET /v1/live=true HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("HEAD /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("DELETE /v1/shape?table=t HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	/* parts of one, more than one, one with a body */
	CHECK_STR(look(""), "more");
	CHECK_STR(look("G"), "more");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n"), "more");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n\r"), "more");
	CHECK_STR(look("GET /?live=true HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n"), "whole");
	CHECK_STR(look("POST /v1/shape?live=true HTTP/1.1\r\nHost: a\r\n\r\n"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\ncontent-Length: 3\r\n\r\nabc"), "whole");
	CHECK_STR(look("GET /v1/shape?live=true HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), "whole");

	/* what the response would repeat; what doesn't fit */
	char text[ARRIVAL_SMALL_BYTES_MAX + 200], pad[ARRIVAL_SMALL_BYTES_MAX + 100];
	memset(pad, 'x', sizeof pad);
	snprintf(text, sizeof text, "GET /?live=true HTTP/1.1\r\nHost: a\r\nOrigin: %.*s\r\n\r\n", 300, pad);
	CHECK_STR(look(text), "whole");
	snprintf(text, sizeof text, "GET /?live=true HTTP/1.1\r\nHost: a\r\nOther: %.*s\r\n\r\n", 300, pad);
	CHECK_STR(look(text), "small");
	snprintf(text, sizeof text, "GET /?live=true HTTP/1.1\r\nHost: a\r\nOther: %.*s\r\n\r\n", ARRIVAL_SMALL_BYTES_MAX, pad);
	CHECK_STR(look(text), "whole");
}

static void test_ends(void)
{
	const char *post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nabc";
	struct arrival a = arrival_of(post);
	CHECK_INT(a.bytes, strlen(post) + 9); /* with what is still to come */
	CHECK(!a.endless);
	a = arrival_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n");
	CHECK(a.kind == ARRIVAL_WHOLE && a.endless);
	/* one behind the other: as far as they are well */
	CHECK_STR(look(GET GET GET), "whole 3");
	const char *three = GET "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET;
	a = arrival_of(three);
	CHECK_INT(a.requests, 3);
	CHECK_INT(a.bytes, strlen(three));
	a = arrival_of(GET "GET / HT");
	CHECK_INT(a.requests, 1);
	CHECK_INT(a.bytes, strlen(GET));
	a = arrival_of(GET "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n" GET);
	CHECK(a.kind == ARRIVAL_WHOLE);
	CHECK_INT(a.bytes, strlen(GET));
	a = arrival_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET);
	CHECK_INT(a.requests, 1);
	/* empty lines before it */
	a = arrival_of("\r\n" GET);
	CHECK(a.kind == ARRIVAL_WHOLE);
	CHECK_INT(a.skip, 2);
	CHECK_INT(a.bytes, strlen(GET));
	a = arrival_of("\n\r\n");
	CHECK(a.kind == ARRIVAL_PARTIAL);
	CHECK_INT(a.skip, 3);
	a = arrival_of("\r\n\r");
	CHECK(a.kind == ARRIVAL_PARTIAL);
	CHECK_INT(a.skip, 2);
	CHECK_STR(look("\r\n\rGET / HTTP/1.1\r\n"), "400");
}

/* ---- what is refused -------------------------------------------------------------------------------- */

static void test_request_lines(void)
{
	static const char *const bad[] = {
		"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", " GET / HTTP/1.1\r\n", "GET /\r\nHost: a\r\n\r\n", "GET\r\n", "GET / HTTP/1.x\r\n\r\n",
		"GET / http/1.1\r\n\r\n", "GET / HTTP/11\r\n\r\n", "GET  HTTP/1.1\r\n\r\n", "G(T / HTTP/1.1\r\n\r\n", "GET /\x01 HTTP/1.1\r\n\r\n",
		"GET /\rA HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
		"ALONGWORDTHATISNOMETHODOFANYPROTOCOL", ": a\r\n"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		check_str(look(bad[i]), "400", bad[i], __FILE__, __LINE__);
	CHECK_STR(look("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), "505");
	CHECK_STR(look("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "505");
	CHECK_STR(look("GET / HTTP/0.9\r\n\r\n"), "505");
	CHECK_STR(look("GET http://a/v1/shape?live=true HTTP/1.1\r\nHost: b\r\n\r\n"), "small");
	CHECK_STR(look("OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"), "whole");
	CHECK_STR(look_at("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 30), "400");
}

static void test_fields(void)
{
	CHECK_STR(field("Host: a\r\nContent-Length: 3\r\n"), "whole");
	CHECK_STR(field("Host:\r\nX:\r\nY:\t\x80 \t\r\n"), "whole");
	CHECK_STR(field(""), "400");
	CHECK_STR(field("Host: a\r\nHost: a\r\n"), "400");
	CHECK_STR(field("Host: a\r\nhOST:\r\n"), "400");
	CHECK_STR(field("Host: a b\r\n"), "400");
	CHECK_STR(field("Host: a, b\r\n"), "400");
	CHECK_STR(field("Host: a:3000 \r\n"), "whole");
	CHECK_STR(field("Host: [::1]:3000\r\n"), "whole");
	/* lengths */
	CHECK_STR(field("Host: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n"), "whole");
	CHECK_STR(field("Host: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: 3, 3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: +3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: -3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: 0x3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: 3 \r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: 3 4\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length:\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: 999999999999999999\r\n"), "whole");
	CHECK_STR(field("Host: a\r\nContent-Length: 18446744073709551617\r\n"), "413");
	/* codings */
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: CHUNKED\r\n"), "whole");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: gzip\r\n"), "501");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: identity\r\n"), "501");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"), "501");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: chunked, chunked\r\n"), "501");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: chunked \r\n"), "501");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding:\r\n"), "501");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), "400");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"), "400");
	CHECK_STR(look("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "400");
	CHECK_STR(look("POST / HTTP/1.0\r\n\r\n"), "whole");
	/* names, values, ends of lines */
	CHECK_STR(field("Host: a\r\nContent-Length : 3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nContent-Length\t: 3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nTransfer-Encoding\x0b: chunked\r\n"), "400");
	CHECK_STR(field("Host: a\r\n: b\r\n"), "400");
	CHECK_STR(field("Host: a\r\nno colon\r\n"), "400");
	CHECK_STR(field("Host: a\r\nA: b\r\n\tc\r\n"), "400");
	CHECK_STR(field("Host: a\r\n c: d\r\n"), "400");
	CHECK_STR(field(" Host: a\r\n"), "400");
	CHECK_STR(field("Host: a\r\nA: b\rContent-Length: 3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nA: b\nContent-Length: 3\r\n"), "400");
	CHECK_STR(field("Host: a\r\nA: \x7f\r\n"), "400");
	CHECK_STR(look("GET / HTTP/1.1\nHost: a\n\n"), "whole");
	CHECK_STR(look("GET / HTTP/1.1\r\nHost: a\r\n\n"), "400");
	CHECK_STR(look_at("GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n", 37), "400");
}

static void test_limits(void)
{
	static char text[4 * ARRIVAL_BYTES_MAX], pad[2 * ARRIVAL_BYTES_MAX];
	memset(pad, 'x', sizeof pad);
	int rest = (int)strlen("GET / HTTP/1.1");
	for (int over = 0; over < 2; over++) {
		snprintf(text, sizeof text, "GET /%.*s HTTP/1.1\r\nHost: a\r\n\r\n", ARRIVAL_LINE_BYTES_MAX - rest + over, pad);
		CHECK_STR(look(text), over ? "414" : "whole");
	}
	snprintf(text, sizeof text, "GET /%.*s", ARRIVAL_LINE_BYTES_MAX, pad);
	CHECK_STR(look(text), "414");
	text[ARRIVAL_LINE_BYTES_MAX - 100] = '\0';
	CHECK_STR(look(text), "more");
	snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nA: %.*s", ARRIVAL_HEAD_BYTES_MAX, pad);
	CHECK_STR(look(text), "431");
	snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nA: %.*s\r\n\r\n", ARRIVAL_HEAD_BYTES_MAX, pad);
	CHECK_STR(look(text), "431");
	/* many small ones take the library's memory too, and so do cookies */
	size_t at = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < 1000; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "A:b\r\n");
	snprintf(text + at, sizeof text - at, "\r\n");
	CHECK_STR(look(text), "431");
	memset(pad, ';', 1000);
	snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nCookie: %.1000s\r\n\r\n", pad);
	CHECK_STR(look(text), "431");
}

int main(void)
{
	RUN(test_whole);
	RUN(test_ends);
	RUN(test_request_lines);
	RUN(test_fields);
	RUN(test_limits);
	return check_done("arrival");
}
