/* top_fetch.c - see top_fetch.h. */
#include "ops/top_fetch.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/buf.h"

#define ANSWER_BYTES_MAX ((size_t)16 << 20)

static bool all_digits(const char *p) { return *p != '\0' && strspn(p, "0123456789") == strlen(p); }

int top_place_parse(const char *text, const char *port, struct top_place *out)
{
	if (strncasecmp(text, "http://", 7) == 0)
		text += 7;
	char place[TOP_HOST_MAX];
	size_t len = strcspn(text, "/?#");
	if (len == 0 || len >= sizeof place)
		return -1;
	memcpy(place, text, len);
	place[len] = '\0';
	const char *host = place;
	char *behind;
	if (all_digits(place)) {
		host = "127.0.0.1";
		port = place;
	} else if (place[0] == '[') {
		if ((behind = strchr(place, ']')) == NULL)
			return -1;
		*behind++ = '\0';
		host = place + 1;
		port = *behind == ':' ? behind + 1 : port;
	} else if ((behind = strchr(place, ':')) != NULL && strchr(behind + 1, ':') == NULL) {
		*behind = '\0';
		port = behind + 1;
	}
	if (port == NULL || !all_digits(port) || strlen(port) >= sizeof out->port)
		return -1;
	snprintf(out->host, sizeof out->host, "%s", host);
	snprintf(out->port, sizeof out->port, "%s", port);
	return 0;
}

static int failed(const struct top_place *p, const char *why, struct err *e)
{
	return err_set(e, ERR_IO, "nobody answers at %s, port %s (%s): is BUSBAR_ADMIN_PORT set where Busbar runs?", p->host, p->port, why);
}

static int connect_to(const struct top_place *p, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	struct timeval wait = {.tv_sec = TOP_WAIT_S};
	int fd = -1, rc = getaddrinfo(p->host, p->port, &hints, &list), why = 0;
	if (rc != 0)
		return failed(p, gai_strerror(rc), e);
	for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
		if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		why = errno;
		close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd >= 0 ? fd : failed(p, strerror(why), e);
}

/* The whole answer, to its end. HTTP/1.0: the connection ends with it, and it comes in one piece. */
static int ask(int fd, const struct top_place *p, const char *path, struct buf *in, struct err *e)
{
	bool v6 = strchr(p->host, ':') != NULL;
	char head[600];
	int n = snprintf(head, sizeof head, "GET %s HTTP/1.0\r\nHost: %s%s%s:%s\r\n\r\n", path, v6 ? "[" : "", p->host, v6 ? "]" : "", p->port);
	if (n < 0 || (size_t)n >= sizeof head || send(fd, head, (size_t)n, MSG_NOSIGNAL) != n)
		return failed(p, "it can't be asked", e);
	for (;;) {
		char *to = buf_room(in, 65536);
		if (to == NULL)
			return failed(p, "the answer is too large", e);
		ssize_t got = recv(fd, to, 65536, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return failed(p, errno == EAGAIN ? "no answer in time" : strerror(errno), e);
		if (got == 0)
			return 0;
		buf_added(in, (size_t)got);
	}
}

static json_t *parse(const struct top_place *p, const struct buf *in, struct err *e)
{
	int status = 0;
	json_error_t wrong;
	const char *body = in->data != NULL ? strstr(in->data, "\r\n\r\n") : NULL;
	if (body == NULL || sscanf(in->data, "HTTP/%*s %d", &status) != 1) {
		(void)failed(p, "what answers doesn't speak HTTP", e);
		return NULL;
	}
	if (status != 200) {
		err_set(e, ERR_IO, "%s, port %s, answers with %d: it is no admin port of a Busbar of this version (BUSBAR_ADMIN_PORT)",
		        p->host, p->port, status);
		return NULL;
	}
	body += 4;
	json_t *root = json_loadb(body, in->len - (size_t)(body - in->data), 0, &wrong);
	if (root == NULL)
		(void)failed(p, "its answer is no JSON", e);
	return root;
}

json_t *top_fetch(const struct top_place *p, const char *path, struct err *e)
{
	struct buf in = BUF_INIT(ANSWER_BYTES_MAX);
	json_t *root = NULL;
	int fd = connect_to(p, e);
	if (fd < 0)
		return NULL;
	if (ask(fd, p, path, &in, e) == 0)
		root = parse(p, &in, e);
	close(fd);
	buf_clear(&in);
	return root;
}
