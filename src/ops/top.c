/* top.c - see top.h. */
#include "ops/top.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "ops/top_fetch.h"
#include "ops/top_show.h"

#define EVERY_MS 1000
#define SCREEN_BYTES_MAX ((size_t)4 << 20)
#define WIDTH_ELSE 160 /* where the output is no terminal */
#define ONCE_SHAPES 20

struct top {
	struct top_place place;
	const char *sort;
	bool once;
};

static const char *const sorts[] = {"bytes", "rows", "readers", "changes", "read", "made"};
/* The keys that choose them. */
static const char keys[] = "brdclm";

static volatile sig_atomic_t ended;

static void on_signal(int signal)
{
	(void)signal;
	ended = 1;
}

void top_usage(FILE *out)
{
	fprintf(out, "  busbar top [URL]       what a running Busbar does, anew each second, by its BUSBAR_ADMIN_PORT; with --once,\n"
	             "                         one look; with --sort=bytes, rows, readers, changes, read or made, shapes in that\n"
	             "                         order, which the keys b, r, d, c, l and m change; q ends it\n");
}

static int usage(const char *what)
{
	fprintf(stderr, "busbar top: %s\n", what);
	top_usage(stderr);
	return 2;
}

/* ---- a look ---- */

static int look(const struct top *t, unsigned width, unsigned height, bool colours, struct buf *out, struct err *e)
{
	char path[80];
	struct top_look l = {0};
	json_t *status = NULL, *clients = NULL, *shapes = NULL;
	snprintf(path, sizeof path, "/admin/shapes?sort=%s&limit=%d", t->sort, t->once ? ONCE_SHAPES : 200);
	int rc = -1;
	if ((status = top_fetch(&t->place, "/admin/status", e)) != NULL && (clients = top_fetch(&t->place, "/admin/clients", e)) != NULL &&
	    (shapes = top_fetch(&t->place, path, e)) != NULL) {
		l = (struct top_look){status, clients, shapes};
		top_show(out, &l, width, height, colours);
		rc = 0;
	}
	json_decref(status);
	json_decref(clients);
	json_decref(shapes);
	return rc;
}

static int once(const struct top *t)
{
	struct err e = {0};
	struct buf out = BUF_INIT(SCREEN_BYTES_MAX);
	int rc = look(t, WIDTH_ELSE, 0, false, &out, &e);
	if (rc == 0)
		fwrite(out.data, 1, out.len, stdout);
	else
		fprintf(stderr, "busbar top: %s\n", e.text);
	buf_clear(&out);
	return rc == 0 && fflush(stdout) == 0 ? 0 : 1;
}

/* ---- a terminal ---- */

static void screen(const struct top *t)
{
	struct winsize size = {0};
	struct err e = {0};
	struct buf out = BUF_INIT(SCREEN_BYTES_MAX), text = BUF_INIT(SCREEN_BYTES_MAX);
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		size = (struct winsize){.ws_col = 80, .ws_row = 24};
	if (look(t, size.ws_col, size.ws_row, true, &text, &e) != 0) {
		buf_reset(&text);
		char line[sizeof e.text + 16];
		snprintf(line, sizeof line, "busbar top: %s", e.text);
		top_line(&text, line, size.ws_col);
	}
	buf_puts(&out, "\033[H");
	/* A line's old end goes; the last one has no newline, which would scroll. */
	for (const char *p = text.data; p != NULL && *p != '\0';) {
		size_t n = strcspn(p, "\n");
		buf_put(&out, p, n);
		p += n + (p[n] == '\n');
		buf_puts(&out, *p != '\0' ? "\033[K\n" : "\033[K");
	}
	buf_puts(&out, "\033[J");
	for (size_t at = 0; !out.failed && at < out.len;) {
		ssize_t n = write(STDOUT_FILENO, out.data + at, out.len - at);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	buf_clear(&text);
	buf_clear(&out);
}

/* False: it is to end. */
static bool take_keys(struct top *t)
{
	char typed[32];
	struct pollfd fd = {STDIN_FILENO, POLLIN, 0};
	if (poll(&fd, 1, EVERY_MS) <= 0)
		return !ended;
	ssize_t n = read(STDIN_FILENO, typed, sizeof typed);
	for (ssize_t i = 0; i < n; i++) {
		const char *key = typed[i] != '\0' ? strchr(keys, typed[i]) : NULL;
		if (typed[i] == 'q' || typed[i] == 3 || typed[i] == 4)
			return false;
		if (key != NULL)
			t->sort = sorts[key - keys];
	}
	return n > 0 && !ended;
}

static int watch(struct top *t)
{
	struct termios before, raw;
	struct sigaction act = {.sa_handler = on_signal};
	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return once(t);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	fputs("\033[?1049h\033[?25l", stdout); /* another screen, no cursor */
	fflush(stdout);
	do
		screen(t);
	while (take_keys(t));
	fputs("\033[?25h\033[?1049l", stdout);
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
	return 0;
}

/* ---- arguments ---- */

static int find_place(const char *url, struct top_place *out)
{
	const char *port = getenv("BUSBAR_ADMIN_PORT"), *address = getenv("BUSBAR_ADMIN_ADDRESS");
	if (url == NULL && (port == NULL || *port == '\0'))
		return usage("no URL is given, and BUSBAR_ADMIN_PORT isn't set: the setting that opens the port which it asks");
	if (url == NULL)
		url = address == NULL || *address == '\0' || strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0
		          ? "127.0.0.1" : address;
	if (top_place_parse(url, port, out) == 0)
		return 0;
	return usage("the URL must be like http://127.0.0.1:3002, with the port of BUSBAR_ADMIN_PORT");
}

int top_main(int argc, char **argv)
{
	struct top t = {.sort = sorts[0]};
	const char *url = NULL;
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--once") == 0) {
			t.once = true;
		} else if (strncmp(argv[i], "--sort=", 7) == 0) {
			t.sort = NULL;
			for (size_t k = 0; k < sizeof sorts / sizeof sorts[0]; k++)
				if (strcmp(argv[i] + 7, sorts[k]) == 0)
					t.sort = sorts[k];
			if (t.sort == NULL)
				return usage("--sort must be one of: bytes, rows, readers, changes, read, made");
		} else if (argv[i][0] == '-' || url != NULL) {
			return usage("it takes a URL, --once and --sort=ORDER");
		} else {
			url = argv[i];
		}
	}
	int rc = find_place(url, &t.place);
	if (rc != 0)
		return rc;
	t.once = t.once || !isatty(STDOUT_FILENO);
	return t.once ? once(&t) : watch(&t);
}
