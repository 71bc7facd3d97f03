/* server.c - opening the listening socket, starting and stopping. */
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/admit.h"
#include "http/listen.h"
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
	h->listen_fd = listen_open(NULL, config->port, config->listen_on_ipv6, LISTEN_BACKLOG, "ELECTRIC_PORT", e);
	if (h->listen_fd < 0)
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
