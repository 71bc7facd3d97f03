/* once.c - one request that the calling thread waits for; see client.h. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/client.h"

static int once_connect(const struct url *u, int timeout_ms)
{
	struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	int fd = socket(u->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
	if (connect(fd, (const struct sockaddr *)&u->addr, u->addr_len) == 0)
		return fd;
	close(fd);
	return -1;
}

struct once {
	char *body;
	size_t size, len;
};

static bool once_body(void *ctx, const char *data, size_t len)
{
	struct once *o = ctx;

	for (size_t i = 0; i < len && o->len + 1 < o->size; i++)
		o->body[o->len++] = data[i];
	return true;
}

int http_once(const struct url *u, const char *method, const char *path, char *body, size_t size, struct httpres *head,
	      int timeout_ms)
{
	char text[REQUEST_BYTES_MAX];
	struct once o = {body, size, 0};
	struct httpres own;
	int fd, len, status = -1;
	ssize_t n;

	if (size > 0)
		body[0] = '\0';
	if ((fd = once_connect(u, timeout_ms)) < 0)
		return -1;
	httpres_init(&own);
	len = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", method, path, u->host,
		       u->port);
	if (len <= 0 || (size_t)len >= sizeof text || send(fd, text, (size_t)len, MSG_NOSIGNAL) != len)
		goto cleanup;
	while (own.state != HTTP_DONE) {
		n = recv(fd, text, sizeof text, 0);
		if (n < 0 && errno == EINTR && !stopping())
			continue;
		if (n < 0 || (n == 0 && httpres_eof(&own) != 0))
			goto cleanup;
		if (n > 0 && httpres_feed(&own, text, (size_t)n, once_body, &o) < 0)
			goto cleanup;
	}
	status = own.status;
	if (size > 0)
		body[o.len] = '\0';
cleanup:
	if (head != NULL) {
		*head = own;
		head->line = (struct buf)BUF_INIT(0);
	}
	httpres_clear(&own);
	close(fd);
	return status;
}
