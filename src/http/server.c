/* server.c - opening the listening socket, starting and stopping. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/admit.h"
#include "http/loop.h"
#include "http/permit.h"
#include "http/route.h"
#include "http/work.h"

/* One descriptor per waiting client: the soft limit of 1,024 is for programs that use select(). */
static unsigned raise_files_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {limit.rlim_max, limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			limit = raised;
	}
	return limit.rlim_cur > 1u << 20 ? 1u << 20 : (unsigned)limit.rlim_cur;
}

static int listen_on(struct http *h, struct err *e)
{
	bool v6 = h->config->listen_on_ipv6;
	int port = h->config->port, one = 1, zero = 0;
	h->listen_fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (h->listen_fd < 0)
		return err_errno(e, errno, "cannot open a listening socket%s", v6 ? " for IPv6 (ELECTRIC_LISTEN_ON_IPV6)" : "");
	setsockopt(h->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	/* Accepted sockets inherit this. (Not TCP_USER_TIMEOUT: to the kernel a slow reader's closed window is a dead peer;
	 * conn_check_progress() tells them apart.) */
	setsockopt(h->listen_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (v6)
		setsockopt(h->listen_fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	int bound = v6 ? bind(h->listen_fd, (struct sockaddr *)&a6, sizeof a6)
	               : bind(h->listen_fd, (struct sockaddr *)&a4, sizeof a4);
	if (bound == 0 && listen(h->listen_fd, LISTEN_BACKLOG) == 0)
		return 0;
	err_errno(e, errno, "cannot listen on port %d (ELECTRIC_PORT)", port);
	close(h->listen_fd);
	return -1;
}

/* The one that runs, which needn't be the one that we were built with. */
static void tell_library(void)
{
	const char *version = MHD_get_version();
	if (conn_can_sleep())
		log_notice("libmicrohttpd %s: connections sleep between requests, waiting ones take some 6 KB each", version);
	else
		log_warning("libmicrohttpd %s isn't one of the versions that Busbar knows well (0.9.75, 1.0.1): connections stay awake, "
		            "waiting ones take %u KB each, and to wake them takes longer", version, POOL_BYTES / 1024);
}

/* Whoever waits looks again, and finds that nothing here can be called current (hold_current()). */
static void on_foreign(void *ctx) { loops_unpark(ctx); }

static const struct loop_handlers handlers = {
	.uri = route_uri,
	.handle = route_handle,
	.completed = route_completed,
	.closed = route_closed,
	.work_new = work_new,
	.work_free = work_free,
	.upkeep = work_upkeep,
	.upkeep_wanted = work_wanted,
};

int http_start(struct http **out, const struct config *config, struct shapes *shapes, struct err *e)
{
	struct http *h = mem_zalloc(sizeof *h);
	h->config = config;
	h->handlers = &handlers;
	h->shapes = shapes;
	admit_init(h);
	if (permit_new(&h->permit, config->subquery_tables, e) < 0)
		goto failed;
	unsigned files = raise_files_limit();
	/* Two descriptors for each daemon, and either class may come to hold all connections. */
	unsigned usable = files > 2 * FILES_RESERVED ? files - FILES_RESERVED : files / 2;
	h->conns_max = usable - usable / (DAEMON_CONNECTIONS_MAX / 4);
	if (listen_on(h, e) < 0)
		goto failed;
	if (loops_start(h, e) < 0) {
		close(h->listen_fd);
		goto failed;
	}
	shapes_on_foreign(shapes, on_foreign, h);
	log_notice("listening on port %d, up to %u connections", config->port, h->conns_max);
	tell_library();
	*out = h;
	return 0;
failed:
	permit_free(h->permit);
	admit_clear(h);
	free(h);
	return -1;
}

void http_stop(struct http *h)
{
	if (h == NULL)
		return;
	shapes_on_foreign(h->shapes, NULL, NULL);
	loops_stop(h);
	close(h->listen_fd);
	permit_free(h->permit);
	admit_clear(h);
	free(h);
}
