/*
 * main.c - settings, start, signals, stop. Parts are built from the disk outwards and stopped the
 * other way round: HTTP first (parked requests get their answer), then the stream, then the store.
 */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/events.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/settings.h"
#include "http/http.h"
#include "http/side.h"
#include "ops/admin.h"
#include "ops/doctor.h"
#include "ops/explain.h"
#include "ops/ops.h"
#include "ops/prometheus.h"
#include "ops/statsd.h"
#include "ops/top.h"
#include "pg/conn.h"
#include "shapes/shapes.h"
#include "version.h"

static void usage(FILE *out)
{
	fprintf(out, "Busbar " BUSBAR_VERSION ": one Postgres replication feed, carried to any number of clients.\n"
	             "\n"
	             "  busbar                 run, configured by environment variables\n"
	             "  busbar --check-config  read the configuration, say what is wrong with it, and exit\n");
	doctor_usage(out);
	explain_usage(out);
	top_usage(out);
	fprintf(out, "  busbar compact         make the file of a stopped Busbar's store as small as what is in it\n"
	             "  busbar --version\n"
	             "  busbar --help\n"
	             "\n");
	config_help(out);
}

/* Warnings of the configuration go to the log, a line each; also where it is refused, for a name that nobody knows may
 * be why. */
static int load_config(struct config *c, bool quiet, struct err *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *warnings = open_memstream(&text, &len);
	int rc = config_load(c, warnings, e);
	if (warnings != NULL)
		fclose(warnings);
	if (rc == 0) {
		log_init(c->log_level);
		log_format(quiet ? LOG_TEXT : c->log_format);
	}
	for (char *line = text, *end; line != NULL && *line != '\0'; line = end + 1) {
		end = strchrnul(line, '\n');
		bool last = *end == '\0';
		*end = '\0';
		if (quiet)
			printf("%s\n", line);
		else
			log_warning("%s", line);
		if (last)
			break;
	}
	free(text);
	return rc;
}

static int fatal(const struct err *e)
{
	log_line(LOG_EMERGENCY, "%s", e->text);
	return 1;
}

/* What the stream ended with: of the database's causes, more can be said from outside. */
static int fatal_stream(const struct err *e)
{
	bool database = e->kind == ERR_CONFIG || e->kind == ERR_PG || e->kind == ERR_PG_CONN;
	log_line(LOG_EMERGENCY, "%s%s", e->text, database ? " (run `busbar doctor`: it says what is wrong with the database, and what mends it)" : "");
	return 1;
}

static void notify_fatal(void *ctx)
{
	uint64_t one = 1;
	ssize_t ignored = write(*(int *)ctx, &one, sizeof one);
	(void)ignored;
}

static void tick(struct shapes *shapes, struct admin *admin)
{
	shapes_tick(shapes);
	if (admin != NULL)
		admin_sample(admin);
	log_tell_seldom();
}

/* SIGHUP. What is wrong with the file changes nothing. */
static void reload(struct config *c)
{
	struct err e = {0};
	char *text = NULL, *rest = NULL;
	size_t len = 0;
	if (c->settings_file == NULL) {
		log_notice("SIGHUP changes nothing: BUSBAR_SETTINGS_FILE is not set, and the log goes to stdout");
		return;
	}
	FILE *changes = open_memstream(&text, &len);
	int rc = changes != NULL ? settings_reload(c, changes, &e) : err_errno(&e, errno, "no memory for the settings");
	if (changes != NULL)
		fclose(changes);
	if (rc != 0) {
		log_error("SIGHUP changes nothing: %s", e.text);
		event_put(EVENT_SETTINGS, REASON_NONE, NULL, NULL, "nothing has changed: %s", e.text);
	} else if (len == 0) {
		log_notice("SIGHUP: the settings in %s are those that hold already", c->settings_file);
	}
	for (char *line = rc == 0 && len > 0 ? strtok_r(text, "\n", &rest) : NULL; line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		log_notice("SIGHUP: %s", line);
		event_put(EVENT_SETTINGS, REASON_NONE, NULL, NULL, "%s", line);
	}
	free(text);
}

/* Waits for a signal (0) or the engine's fatal error (1). */
static int wait_for_end(int signals, int event, struct shapes *shapes, struct admin *admin, struct config *config)
{
	for (;;) {
		struct pollfd fds[] = {{signals, POLLIN, 0}, {event, POLLIN, 0}};
		int ready = poll(fds, 2, SHAPES_TICK_MS);
		if (ready == 0)
			tick(shapes, admin);
		if (ready == 0 || (ready < 0 && errno == EINTR))
			continue;
		if (fds[1].revents != 0)
			return 1;
		struct signalfd_siginfo info;
		if (read(signals, &info, sizeof info) != (ssize_t)sizeof info)
			return 0;
		if (info.ssi_signo != SIGHUP) {
			log_notice("Stopping: received %s", strsignal((int)info.ssi_signo));
			return 0;
		}
		reload(config);
	}
}

/*
 * glibc learns from each large block that is freed to keep blocks of that size, and twice as much free memory on top of a
 * heap: after one huge row it would keep hundreds of megabytes. What is larger than a batch of the writer is always a
 * mapping of its own.
 */
static void bound_free_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 16 << 20);
}

static int start_prometheus(struct side **out, struct ops *ops, struct err *e)
{
	static struct side_path path = {"/metrics", PROMETHEUS_TYPE, prometheus_fill, NULL, NULL};
	const struct config *c = ops->config;
	path.ctx = ops;
	if (c->prometheus_port == 0)
		return 0;
	struct side_port port = {"ELECTRIC_PROMETHEUS_PORT", c->prometheus_port, NULL, c->listen_on_ipv6};
	return side_start(out, &port, &path, 1, e);
}

static int start_admin(struct side **out, struct admin **admin, const struct ops *ops, struct err *e)
{
	static struct side_path paths[ADMIN_PATHS_MAX];
	const struct config *c = ops->config;
	if (c->admin_port == 0)
		return 0;
	*admin = admin_new(ops);
	for (size_t i = 0; i < admin_npaths; i++)
		paths[i] = (struct side_path){admin_paths[i].path, admin_paths[i].type, admin_paths[i].fill, *admin, admin_paths[i].policy};
	struct side_port port = {"BUSBAR_ADMIN_PORT", c->admin_port, c->admin_address, false};
	return side_start(out, &port, paths, admin_npaths, e);
}

static int run(struct config *c)
{
	struct err e = {0};
	struct shapes *shapes = NULL;
	struct http *http = NULL;
	struct side *prometheus = NULL, *admin_port = NULL;
	struct admin *admin = NULL;
	struct statsd *statsd = NULL;
	struct ops ops = {.config = c, .version = BUSBAR_VERSION, .commit = busbar_commit};
	int rc = 1;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, SIG_IGN); /* would end us, and nobody who sends one means that */
	signal(SIGUSR2, SIG_IGN);
	int signals = signalfd(-1, &set, SFD_CLOEXEC), event = eventfd(0, EFD_CLOEXEC);
	if (signals < 0 || event < 0)
		(void)err_errno(&e, errno, "cannot set up signals");
	if (signals < 0 || event < 0 || log_thread_start(&e) < 0) {
		rc = fatal(&e);
		goto out;
	}
	metric_set(METRIC_STARTED, clock_wall_us());
	log_notice("Starting Busbar " BUSBAR_VERSION " (commit %s)", busbar_commit);
	event_put(EVENT_PROCESS, REASON_NONE, NULL, NULL, "started: Busbar " BUSBAR_VERSION " (commit %s)", busbar_commit);
	if (shapes_start(&shapes, c, &e) != 0) {
		rc = fatal(&e);
		goto out;
	}
	ops.shapes = shapes;
	/* The API's port last: who sees it answer finds the others open. */
	if (start_prometheus(&prometheus, &ops, &e) != 0 || start_admin(&admin_port, &admin, &ops, &e) != 0 || statsd_start(&statsd, &ops, &e) != 0 ||
	    http_start(&http, c, shapes, &e) != 0) {
		rc = fatal(&e);
		goto out;
	}
	shapes_on_fatal(shapes, notify_fatal, &event);
	rc = wait_for_end(signals, event, shapes, admin, c);
	if (rc == 1 && shapes_fatal(shapes, &e))
		(void)fatal_stream(&e);
out:
	http_stop(http); /* first: clients get their answers, whatever a page of another port waits for */
	statsd_stop(statsd);
	side_stop(admin_port);
	side_stop(prometheus);
	admin_free(admin);
	if (shapes != NULL)
		shapes_on_fatal(shapes, NULL, NULL);
	shapes_stop(shapes);
	if (event >= 0)
		close(event);
	if (signals >= 0)
		close(signals);
	log_notice("Stopped");
	log_thread_stop();
	return rc;
}

static int compact(const struct config *c)
{
	struct err e = {0};
	char text[COMPACTED_TEXT_MAX];
	if (shapes_compact(c, text, sizeof text, &e) != 0)
		return fatal(&e);
	printf("%s\n", text);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "doctor") == 0) {
		pg_init();
		return doctor_main(argc - 2, argv + 2);
	}
	if (argc >= 2 && strcmp(argv[1], "explain") == 0) {
		pg_init();
		return explain_main(argc - 2, argv + 2);
	}
	if (argc >= 2 && strcmp(argv[1], "top") == 0)
		return top_main(argc - 2, argv + 2);
	bool check = argc == 2 && strcmp(argv[1], "--check-config") == 0, compacts = argc == 2 && strcmp(argv[1], "compact") == 0;
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		usage(stdout);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("busbar " BUSBAR_VERSION " (commit %s)\n", busbar_commit);
		return 0;
	}
	if (argc > 1 && !check && !compacts) {
		usage(stderr);
		return 2;
	}
	struct config c;
	struct err e = {0};
	bound_free_memory();
	pg_init(); /* before any thread: it changes the environment */
	if (load_config(&c, check, &e) != 0 || http_check_config(&c, &e) != 0 || statsd_check_config(&c, &e) != 0)
		return fatal(&e);
	int rc = 0;
	if (check)
		printf("The configuration is fine.\n");
	else
		rc = compacts ? compact(&c) : run(&c);
	config_clear(&c);
	return rc;
}
