/*
 * floors.h - servers that do as little as possible, to measure a server against: the least that an event loop must do to
 * answer everybody who waits, and nginx with static files. Both are child processes that end with this one.
 */
#ifndef BUSBAR_BENCH_FLOORS_H
#define BUSBAR_BENCH_FLOORS_H

#include <sys/types.h>

#include "bench/httpres.h"
#include "bench/util.h"

/*
 * The minimal epoll server: parks every request that says live=true and, on floor_server_wake(), sends the same bytes to
 * all of them. Requests without live=true get an empty list, up to date.
 */
struct floor_server {
	pid_t pid;
	int control; /* a socket pair: the bytes to send go in */
	struct url url;
};

int floor_server_start(struct floor_server *s, struct err *e) MUST_USE;
void floor_server_wake(struct floor_server *s, const char *bytes, size_t len);
void floor_server_stop(struct floor_server *s);

/*
 * nginx on a loopback port, with the answers of a finished shape as static files: found by the request's offset, with the
 * headers that lead a client to the next. First opened, then given its answers in order, then run.
 */
struct nginx {
	pid_t pid;
	char dir[64], handle[HTTP_HANDLE_MAX];
	struct url url;
	struct buf next, last; /* lines of its configuration: the offset behind each answer's, and the last one */
};

int nginx_open(struct nginx *n, struct err *e) MUST_USE;
int nginx_put(struct nginx *n, const char *offset, const struct httpres *head, const char *data, size_t len,
	      struct err *e) MUST_USE;
int nginx_run(struct nginx *n, struct err *e) MUST_USE;
void nginx_stop(struct nginx *n); /* and removes the folder */
bool nginx_version(char *out, size_t size);

/* Runs `sh -c command` in a session of its own, output thrown away; its pid. */
pid_t run_command(const char *command);
int wait_command(pid_t pid, int timeout_ms); /* exit status; -1 if it didn't end in time, or was killed */

/*
 * Stops a server with SIGSTOP, two at most. A guard process continues it should we die before server_continue(), which
 * continues all.
 */
int server_pause(pid_t pid, struct err *e) MUST_USE;
void server_continue(void);

#endif
