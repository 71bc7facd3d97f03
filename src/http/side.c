/* side.c - see side.h. */
#include "http/side.h"

#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/listen.h"

#define SIDE_CONNECTIONS_MAX 16u /* more are closed at once: a scraper and a few people */
#define SIDE_IDLE_MAX_S 10u      /* without a byte from or to it */
#define SIDE_POOL_BYTES ((size_t)16384) /* of a request and the headers of its answer */
#define SIDE_ANSWER_BYTES_MAX ((size_t)64 << 20)
#define SIDE_BACKLOG 64

struct side {
	struct MHD_Daemon *mhd;
	const struct side_path *paths;
	size_t n;
};

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type, struct buf *body)
{
	size_t len = body->len;
	char *data = body->data == NULL ? mem_strdup("") : buf_detach(body, &len);
	struct MHD_Response *r = MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
	if (r == NULL) {
		free(data);
		return MHD_NO;
	}
	MHD_add_response_header(r, "content-type", type);
	MHD_add_response_header(r, "cache-control", "no-store");
	MHD_add_response_header(r, "electric-server", "Busbar/" BUSBAR_VERSION);
	enum MHD_Result done = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result reply_text(struct MHD_Connection *c, unsigned status, const char *text)
{
	struct buf body = BUF_INIT(256);
	buf_puts(&body, text);
	return reply(c, status, "text/plain; charset=utf-8", &body);
}

/* Called with the head, and again when all of the request is there: a body is let go by. */
static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_len, void **seen)
{
	const struct side *s = cls;
	(void)version;
	(void)upload;
	if (*seen == NULL || *upload_len > 0) {
		*seen = cls;
		*upload_len = 0;
		return MHD_YES;
	}
	bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
	for (size_t i = 0; get && i < s->n; i++) {
		if (strcmp(s->paths[i].path, url) != 0)
			continue;
		struct buf body = BUF_INIT(SIDE_ANSWER_BYTES_MAX);
		s->paths[i].fill(s->paths[i].ctx, &body);
		if (!body.failed)
			return reply(c, 200, s->paths[i].type, &body);
		buf_clear(&body);
		return reply_text(c, 500, "The answer is too large");
	}
	return reply_text(c, 404, "Not found");
}

/* What it would print on stderr is about clients that break off. */
static void say_nothing(void *cls, const char *fmt, va_list ap)
{
	(void)cls;
	(void)fmt;
	(void)ap;
}

int side_start(struct side **out, int port, bool v6, const char *setting, const struct side_path *paths, size_t n, struct err *e)
{
	int fd = listen_open(port, v6, SIDE_BACKLOG, setting, e);
	if (fd < 0)
		return -1;
	struct side *s = mem_zalloc(sizeof *s);
	s->paths = paths;
	s->n = n;
	/* Signals belong to the main thread. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	s->mhd = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | (v6 ? MHD_USE_IPv6 : 0u), 0, NULL, NULL, handle, s,
	                          MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
	                          MHD_OPTION_CONNECTION_LIMIT, SIDE_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, SIDE_IDLE_MAX_S,
	                          MHD_OPTION_CONNECTION_MEMORY_LIMIT, SIDE_POOL_BYTES, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (s->mhd == NULL) {
		close(fd);
		free(s);
		return err_set(e, ERR_IO, "cannot start the listener of port %d (%s)", port, setting);
	}
	*out = s;
	return 0;
}

void side_stop(struct side *s)
{
	if (s == NULL)
		return;
	MHD_stop_daemon(s->mhd); /* closes the listening socket, too */
	free(s);
}
