/* side.c - see side.h. */
#include "http/side.h"

#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "http/listen.h"

#define SIDE_CONNECTIONS_MAX 16u /* more are closed at once: a scraper and a few people */
#define SIDE_ADDRESS_MAX 8u      /* of one address: one peer that never ends its requests keeps no scraper elsewhere away */
#define SIDE_IDLE_MAX_S 10u      /* without a byte from or to it */
#define SIDE_POOL_BYTES ((size_t)16384) /* of a request and the headers of its answer */
#define SIDE_ANSWER_BYTES_MAX ((size_t)64 << 20)
#define SIDE_BACKLOG 64

#define SIDE_POLICY "default-src 'none'; frame-ancestors 'none'"

struct side {
	struct MHD_Daemon *mhd;
	const struct side_path *paths;
	size_t n;
	const char *own_host; /* what a Host must say, if not a name of this machine; NULL: anything */
};

/* A request, from its first line to its end. */
struct asked {
	bool begun;
	char query[];
};

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type, const char *policy, struct buf *body)
{
	const char *const headers[][2] = {
		{"content-type", type}, {"cache-control", "no-store"}, {"electric-server", "Busbar/" BUSBAR_VERSION},
		{"content-security-policy", policy != NULL ? policy : SIDE_POLICY}, {"x-content-type-options", "nosniff"},
		{"x-frame-options", "DENY"}, {"referrer-policy", "no-referrer"}, {"cross-origin-resource-policy", "same-origin"},
	};
	size_t len = body->len;
	char *data = body->data == NULL ? mem_strdup("") : buf_detach(body, &len);
	struct MHD_Response *r = MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
	if (r == NULL) {
		free(data);
		return MHD_NO;
	}
	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		MHD_add_response_header(r, headers[i][0], headers[i][1]);
	enum MHD_Result done = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result reply_text(struct MHD_Connection *c, unsigned status, const char *text)
{
	struct buf body = BUF_INIT(256);
	buf_puts(&body, text);
	return reply(c, status, "text/plain; charset=utf-8", NULL, &body);
}

/* Whether a Host names the machine itself: a name of somebody else's that leads here would make our answers that site's own. */
static bool is_own_host(const char *host, const char *address)
{
	const char *const names[] = {"localhost", "127.0.0.1", "::1", address};
	char name[64];
	size_t len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
	if (host[0] == '[') {
		host++;
		len--;
	}
	if (len >= sizeof name)
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

static enum MHD_Result answer(const struct side *s, struct MHD_Connection *c, const char *url, const char *query)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct side_path *p = &s->paths[i];
		if (strcmp(p->path, url) != 0)
			continue;
		struct buf body = BUF_INIT(SIDE_ANSWER_BYTES_MAX);
		unsigned status = p->fill(p->ctx, query, &body);
		if (!body.failed)
			return reply(c, status, p->type, p->policy, &body);
		buf_clear(&body);
		return reply_text(c, 500, "The answer is too large");
	}
	return reply_text(c, 404, "Not found");
}

/* Called with the head, and again when all of the request is there: a body is let go by. */
static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_len, void **seen)
{
	const struct side *s = cls;
	struct asked *a = *seen;
	(void)version;
	(void)upload;
	if (!a->begun || *upload_len > 0) {
		a->begun = true;
		*upload_len = 0;
		return MHD_YES;
	}
	const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	if (s->own_host != NULL && host != NULL && !is_own_host(host, s->own_host))
		return reply_text(c, 403, "This port answers to localhost, 127.0.0.1 and [::1] only");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return reply_text(c, 404, "Not found");
	return answer(s, c, url, a->query);
}

/* With the first line, whatever comes of it: keeps the query, of which the library has only the parts. */
static void *begin(void *cls, const char *uri, struct MHD_Connection *c)
{
	const char *mark = strchr(uri, '?'), *query = mark != NULL ? mark + 1 : "";
	(void)cls;
	(void)c;
	struct asked *a = mem_alloc(sizeof *a + strlen(query) + 1);
	a->begun = false;
	memcpy(a->query, query, strlen(query) + 1);
	return a;
}

static void end(void *cls, struct MHD_Connection *c, void **seen, enum MHD_RequestTerminationCode why)
{
	(void)cls;
	(void)c;
	(void)why;
	free(*seen);
	*seen = NULL;
}

/* What it would print on stderr is about clients that break off. */
static void say_nothing(void *cls, const char *fmt, va_list ap)
{
	(void)cls;
	(void)fmt;
	(void)ap;
}

int side_start(struct side **out, const struct side_port *port, const struct side_path *paths, size_t n, struct err *e)
{
	int fd = listen_open(port->address, port->port, port->v6, SIDE_BACKLOG, port->setting, e);
	if (fd < 0)
		return -1;
	bool v6 = port->address != NULL ? strchr(port->address, ':') != NULL : port->v6;
	struct side *s = mem_zalloc(sizeof *s);
	s->paths = paths;
	s->n = n;
	if (port->address != NULL && listen_is_loopback(port->address))
		s->own_host = port->address;
	/* Signals belong to the main thread. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	s->mhd = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | (v6 ? MHD_USE_IPv6 : 0u), 0, NULL, NULL, handle, s,
	                          MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
	                          MHD_OPTION_URI_LOG_CALLBACK, begin, NULL, MHD_OPTION_NOTIFY_COMPLETED, end, NULL,
	                          MHD_OPTION_CONNECTION_LIMIT, SIDE_CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT, SIDE_ADDRESS_MAX,
	                          MHD_OPTION_CONNECTION_TIMEOUT, SIDE_IDLE_MAX_S,
	                          MHD_OPTION_CONNECTION_MEMORY_LIMIT, SIDE_POOL_BYTES, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (s->mhd == NULL) {
		close(fd);
		free(s);
		return err_set(e, ERR_IO, "cannot start the listener of port %d (%s)", port->port, port->setting);
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
