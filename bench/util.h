/*
 * util.h - the clock, waiting for a stop, a server's URL, and what /proc says about a process.
 */
#ifndef BUSBAR_BENCH_UTIL_H
#define BUSBAR_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL

int64_t now_ns(void); /* monotonic */
void sleep_until_ns(int64_t when);
void sleep_ms(int64_t ms); /* returns early when stopping */

/* Set by SIGINT, SIGTERM and SIGHUP; whatever waits looks at it. */
void stop_init(void);
bool stopping(void);

struct url {
	char host[128], port[8];
	char base[256];  /* path before /v1/shape: usually "" */
	char shape[280]; /* path of the shape endpoint */
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

/* http://host[:port][/path]; a path that ends in /v1/shape may be given whole. Resolves the name. */
int url_parse(struct url *u, const char *text, struct err *e) MUST_USE;

void url_encode(struct buf *b, const char *s); /* percent-encoding of a query's value */

struct proc_stat {
	double cpu_s;             /* user and system time of all threads since its start */
	uint64_t major_faults;    /* likewise: waits for a page that had to be read */
	int64_t anon_kb, rss_kb;  /* RssAnon and VmRSS */
};

int proc_read(pid_t pid, struct proc_stat *out); /* -1 if there is no such process */

/* Takes all files below a directory out of the page cache, as far as nobody has them mapped. */
int files_evict(const char *dir, struct err *e) MUST_USE;

/* The first line of a file that begins with `name`, behind the colon; "" if none. */
void file_field(const char *path, const char *name, char *out, size_t size);

double median(double *v, int n); /* sorts v; 0 for none */

#endif
