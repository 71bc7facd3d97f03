/* floors.c - see floors.h. */
#include "bench/floors.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench/client.h"

#define FD_MAX 65536
#define NGINX_BINARIES {"/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx", "/usr/bin/nginx"}

/* ---- the minimal epoll server, in the child ---- */

#define UP_TO_DATE                                                                                                      \
	"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\nelectric-handle: floor\r\n"          \
	"electric-offset: 0_0\r\nelectric-up-to-date: \r\n\r\n[]"
#define STREAM_HEAD                                                                                                     \
	"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\nelectric-handle: floor\r\n" \
	"electric-offset: 0_0\r\n\r\n"

enum peer_state { PEER_NONE, PEER_OPEN, PEER_WAITS, PEER_STREAMS };

static void send_all(int fd, const char *p, size_t len)
{
	/* Responses here are far below a socket's buffer; a client that takes nothing isn't waited for. */
	if (send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		shutdown(fd, SHUT_RDWR);
}

static bool read_exactly(int fd, char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, p, len);
		if (n <= 0)
			return false;
		p += n, len -= (size_t)n;
	}
	return true;
}

/* A length and that many bytes from the parent, for all who wait. */
static bool broadcast(int control, uint8_t *state, int fd_top)
{
	uint32_t len;
	char *bytes;
	bool ok = read_exactly(control, (char *)&len, sizeof len);

	if (!ok)
		return false;
	bytes = mem_alloc(len);
	ok = read_exactly(control, bytes, len);
	for (int fd = 0; ok && fd <= fd_top; fd++) {
		if (state[fd] == PEER_WAITS || state[fd] == PEER_STREAMS)
			send_all(fd, bytes, len);
		if (state[fd] == PEER_WAITS)
			state[fd] = PEER_OPEN;
	}
	free(bytes);
	return ok;
}

static void request(int fd, uint8_t *state)
{
	char text[8192];
	ssize_t n = recv(fd, text, sizeof text - 1, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		state[fd] = PEER_NONE;
		close(fd);
		return;
	}
	text[n] = '\0';
	if (strstr(text, "\r\n\r\n") == NULL) /* never cut on loopback by our own clients */
		return;
	if (strstr(text, "live_sse=true") != NULL) {
		state[fd] = PEER_STREAMS;
		send_all(fd, STREAM_HEAD, sizeof STREAM_HEAD - 1);
	} else if (strstr(text, "live=true") != NULL) {
		state[fd] = PEER_WAITS;
	} else {
		send_all(fd, UP_TO_DATE, sizeof UP_TO_DATE - 1);
	}
}

static int accept_all(int listener, int epoll, uint8_t *state, int fd_top)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event ev = {EPOLLIN, {.fd = fd}};
		if (fd >= FD_MAX) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
		state[fd] = PEER_OPEN;
		if (fd > fd_top)
			fd_top = fd;
	}
	return fd_top;
}

static void serve(int listener, int control)
{
	struct epoll_event events[512], ev = {EPOLLIN, {.fd = listener}};
	uint8_t *state = mem_zalloc(FD_MAX);
	int epoll = epoll_create1(EPOLL_CLOEXEC), fd_top = 0;

	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);
	ev.data.fd = control;
	epoll_ctl(epoll, EPOLL_CTL_ADD, control, &ev);
	for (;;) {
		int n = epoll_wait(epoll, events, 512, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener)
				fd_top = accept_all(listener, epoll, state, fd_top);
			else if (fd != control)
				request(fd, state);
			else if (!broadcast(control, state, fd_top))
				_exit(0);
		}
	}
}

/* What a child of ours must not keep: our descriptors, our signal handlers; and it ends with us. */
static void become_child(int keep_a, int keep_b)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole group; the parent ends its children itself */
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_IGN);
	for (int fd = 3; fd < 1024; fd++)
		if (fd != keep_a && fd != keep_b)
			close(fd);
}

static int listen_loopback(struct url *u, struct err *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
		err_errno(e, errno, "a listening socket");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	memset(u, 0, sizeof *u);
	snprintf(u->host, sizeof u->host, "127.0.0.1");
	snprintf(u->port, sizeof u->port, "%u", (unsigned)ntohs(a.sin_port));
	snprintf(u->shape, sizeof u->shape, "/v1/shape");
	memcpy(&u->addr, &a, sizeof a);
	u->addr_len = sizeof a;
	return fd;
}

int floor_server_start(struct floor_server *s, struct err *e)
{
	int listener, pair[2];

	memset(s, 0, sizeof *s);
	if ((listener = listen_loopback(&s->url, e)) < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
		close(listener);
		return err_errno(e, errno, "a pair of sockets");
	}
	s->pid = fork();
	if (s->pid == 0) {
		become_child(listener, pair[1]);
		serve(listener, pair[1]);
	}
	close(listener);
	close(pair[1]);
	s->control = pair[0];
	if (s->pid < 0) {
		close(pair[0]);
		return err_errno(e, errno, "fork");
	}
	return 0;
}

void floor_server_wake(struct floor_server *s, const char *bytes, size_t len)
{
	uint32_t n = (uint32_t)len;
	char *all = mem_alloc(len + sizeof n);

	memcpy(all, &n, sizeof n);
	memcpy(all + sizeof n, bytes, len);
	if (send(s->control, all, len + sizeof n, MSG_NOSIGNAL) < 0) {
		/* The child is gone: the clients' deadline says so. */
	}
	free(all);
}

void floor_server_stop(struct floor_server *s)
{
	if (s->pid <= 0)
		return;
	close(s->control);
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

/* ---- nginx ---- */

static const char *nginx_binary(void)
{
	static const char *const where[] = NGINX_BINARIES;

	for (size_t i = 0; i < ARRAY_LEN(where); i++)
		if (access(where[i], X_OK) == 0)
			return where[i];
	return NULL;
}

bool nginx_version(char *out, size_t size)
{
	char command[200];
	FILE *p;

	out[0] = '\0';
	if (nginx_binary() == NULL)
		return false;
	snprintf(command, sizeof command, "%s -v 2>&1", nginx_binary());
	if ((p = popen(command, "r")) == NULL)
		return false;
	if (fgets(command, sizeof command, p) != NULL) {
		char *v = strchr(command, '/');
		snprintf(out, size, "%.*s", v ? (int)strcspn(v + 1, " \n") : 0, v ? v + 1 : "");
	}
	pclose(p);
	return out[0] != '\0';
}

static int nginx_config(struct nginx *n, struct err *e)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof path, "%s/nginx.conf", n->dir);
	if ((f = fopen(path, "w")) == NULL)
		return err_errno(e, errno, "%s", path);
	fprintf(f,
		"daemon off; master_process off; worker_processes 1; pid %s/pid; error_log %s/error.log;\n"
		"events { worker_connections 4096; }\n"
		"http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type application/json;\n"
		"open_file_cache max=1000; map_hash_max_size 65536; map_hash_bucket_size 256;\n"
		"client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s; scgi_temp_path %s;\n"
		"map $arg_offset $next { %s}\nmap $arg_offset $last { %s}\n"
		"server { listen 127.0.0.1:%s backlog=4096; root %s; location = /v1/shape {\n"
		"add_header electric-handle \"%s\"; add_header electric-offset $next; add_header electric-up-to-date $last;\n"
		"try_files /$arg_offset =404; } } }\n",
		n->dir, n->dir, n->dir, n->dir, n->dir, n->dir, n->dir, n->next.data, n->last.data, n->url.port, n->dir, n->handle);
	return fclose(f) ? err_errno(e, errno, "%s", path) : 0;
}

int nginx_open(struct nginx *n, struct err *e)
{
	int listener;

	memset(n, 0, sizeof *n);
	buf_init(&n->next, 1 << 20);
	buf_init(&n->last, 1024);
	/* A port that was free a moment ago. */
	if ((listener = listen_loopback(&n->url, e)) < 0)
		return -1;
	close(listener);
	snprintf(n->dir, sizeof n->dir, "/tmp/busbar-bench-XXXXXX");
	if (mkdtemp(n->dir) == NULL) {
		n->dir[0] = '\0';
		return err_errno(e, errno, "a folder for nginx");
	}
	return 0;
}

int nginx_put(struct nginx *n, const char *offset, const struct httpres *head, const char *data, size_t len, struct err *e)
{
	char path[160];
	FILE *f;
	bool ok;

	snprintf(path, sizeof path, "%s/%s", n->dir, offset);
	memcpy(n->handle, head->handle, sizeof n->handle);
	buf_printf(&n->next, "\"%s\" \"%s\"; ", offset, head->offset);
	if (head->up_to_date)
		buf_printf(&n->last, "\"%s\" \"true\"; ", offset);
	if (n->next.failed || n->last.failed)
		return err_set(e, ERR_LIMIT, "more answers than are kept for nginx");
	if ((f = fopen(path, "w")) == NULL)
		return err_errno(e, errno, "%s", path);
	ok = fwrite(data, 1, len, f) == len;
	return fclose(f) != 0 || !ok ? err_errno(e, errno, "%s", path) : 0;
}

int nginx_run(struct nginx *n, struct err *e)
{
	const char *binary = nginx_binary();
	char config[128], answer[8];

	if (binary == NULL)
		return err_set(e, ERR_IO, "nginx isn't installed");
	if (nginx_config(n, e))
		return -1;
	snprintf(config, sizeof config, "%s/nginx.conf", n->dir);
	n->pid = fork();
	if (n->pid == 0) {
		become_child(-1, -1);
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execl(binary, binary, "-p", config, "-c", config, "-e", "/dev/null", (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 100 && !stopping(); i++) {
		if (http_once(&n->url, "GET", "/", answer, sizeof answer, NULL, 1000) > 0)
			return 0;
		sleep_ms(20);
	}
	return err_set(e, ERR_IO, "nginx doesn't answer");
}

static void remove_folder(const char *dir)
{
	char path[400];
	struct dirent *entry;
	DIR *d = opendir(dir);

	while (d != NULL && (entry = readdir(d)) != NULL) {
		snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
		if (entry->d_name[0] != '.')
			remove(path);
	}
	if (d != NULL)
		closedir(d);
	rmdir(dir);
}

void nginx_stop(struct nginx *n)
{
	if (n->pid > 0) {
		kill(n->pid, SIGKILL);
		waitpid(n->pid, NULL, 0);
	}
	n->pid = 0;
	if (n->dir[0])
		remove_folder(n->dir);
	n->dir[0] = '\0';
	buf_clear(&n->next);
	buf_clear(&n->last);
}

/* ---- commands, and a server that is stopped for a while ---- */

pid_t run_command(const char *command)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	setsid();
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	for (int fd = 3; fd < 20000; fd++)
		close(fd);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

int wait_command(pid_t pid, int timeout_ms)
{
	int64_t end = now_ns() + timeout_ms * NS_PER_MS;
	int status;

	while (now_ns() < end && !stopping()) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		sleep_ms(5);
	}
	return -1;
}

#define PAUSED_MAX 2
static struct paused {
	pid_t pid, guard;
	int pipe; /* closed to have the guard continue it */
} paused[PAUSED_MAX];
static int paused_n;

static void guard_main(int end, pid_t pid)
{
	char byte;

	setsid();
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	for (int fd = 3; fd < 1024; fd++)
		if (fd != end)
			close(fd);
	if (read(end, &byte, 1) >= 0) /* the parent said so, or is gone */
		kill(pid, SIGCONT);
	_exit(0);
}

int server_pause(pid_t pid, struct err *e)
{
	struct paused *p = &paused[paused_n];
	int ends[2];

	if (paused_n == PAUSED_MAX)
		return err_set(e, ERR_LIMIT, "more than %d servers to stop", PAUSED_MAX);
	if (pipe2(ends, O_CLOEXEC) != 0)
		return err_errno(e, errno, "a pipe");
	p->guard = fork();
	if (p->guard == 0)
		guard_main(ends[0], pid);
	close(ends[0]);
	p->pipe = ends[1];
	p->pid = pid;
	paused_n++;
	if (kill(pid, SIGSTOP) == 0)
		return 0;
	err_errno(e, errno, "stopping process %d", (int)pid);
	server_continue();
	return -1;
}

void server_continue(void)
{
	while (paused_n > 0) {
		struct paused *p = &paused[--paused_n];
		kill(p->pid, SIGCONT);
		close(p->pipe);
		if (p->guard > 0)
			waitpid(p->guard, NULL, 0);
	}
}
