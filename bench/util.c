/* util.c - see util.h. */
#include "bench/util.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int stop_flag; /* lock-free: set by the handler, read by every thread */

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

void sleep_until_ns(int64_t when)
{
	struct timespec t = {when / NS_PER_S, when % NS_PER_S};

	while (!stopping() && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

void sleep_ms(int64_t ms)
{
	int64_t end = now_ns() + ms * NS_PER_MS, step;

	while (!stopping() && (step = end - now_ns()) > 0)
		sleep_until_ns(now_ns() + (step < 50 * NS_PER_MS ? step : 50 * NS_PER_MS));
}

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&stop_flag, 1);
}

void stop_init(void)
{
	struct sigaction a;

	memset(&a, 0, sizeof a);
	a.sa_handler = on_signal;
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGHUP, &a, NULL);
	a.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &a, NULL);
}

bool stopping(void) { return atomic_load_explicit(&stop_flag, memory_order_relaxed) != 0; }

int url_parse(struct url *u, const char *text, struct err *e)
{
	const char *p = text, *host, *colon, *slash;
	size_t host_len, n;
	struct addrinfo hints, *found;
	int r;

	memset(u, 0, sizeof *u);
	if (strncmp(p, "https://", 8) == 0)
		return err_set(e, ERR_CONFIG, "%s: only http:// is built in; measure in front of what does TLS", text);
	if (strncmp(p, "http://", 7) == 0)
		p += 7;
	slash = strchr(p, '/');
	n = slash ? (size_t)(slash - p) : strlen(p);
	host = p;
	host_len = n;
	colon = memrchr(p, ':', n);
	if (*p == '[') { /* an IPv6 address */
		const char *close = memchr(p, ']', n);
		if (close == NULL)
			return err_set(e, ERR_CONFIG, "%s: no ] behind the address", text);
		host = p + 1;
		host_len = (size_t)(close - host);
		if (colon != NULL && colon < close)
			colon = NULL;
	} else if (colon != NULL) {
		host_len = (size_t)(colon - p);
	}
	snprintf(u->port, sizeof u->port, "%.*s", colon ? (int)(p + n - colon - 1) : 2, colon ? colon + 1 : "80");
	if (host_len == 0 || host_len >= sizeof u->host || u->port[0] == '\0')
		return err_set(e, ERR_CONFIG, "%s: not an URL like http://127.0.0.1:3000", text);
	memcpy(u->host, host, host_len);
	snprintf(u->base, sizeof u->base, "%s", slash ? slash : "");
	n = strlen(u->base);
	while (n > 0 && u->base[n - 1] == '/')
		u->base[--n] = '\0';
	if (n >= 9 && strcmp(u->base + n - 9, "/v1/shape") == 0)
		u->base[n - 9] = '\0';
	snprintf(u->shape, sizeof u->shape, "%s/v1/shape", u->base);
	memset(&hints, 0, sizeof hints);
	hints.ai_socktype = SOCK_STREAM;
	if ((r = getaddrinfo(u->host, u->port, &hints, &found)) != 0)
		return err_set(e, ERR_CONFIG, "%s: %s", text, gai_strerror(r));
	memcpy(&u->addr, found->ai_addr, found->ai_addrlen);
	u->addr_len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

void url_encode(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
		    strchr("-_.~,", *s) != NULL)
			buf_putc(b, *s);
		else
			buf_printf(b, "%%%02X", (unsigned char)*s);
	}
}

void file_field(const char *path, const char *name, char *out, size_t size)
{
	char line[512];
	FILE *f = fopen(path, "r");

	out[0] = '\0';
	if (f == NULL)
		return;
	while (fgets(line, sizeof line, f) != NULL) {
		char *v;
		if (strncmp(line, name, strlen(name)) != 0 || (v = strchr(line, ':')) == NULL)
			continue;
		v += 1 + strspn(v + 1, " \t");
		v[strcspn(v, "\n")] = '\0';
		snprintf(out, size, "%s", v);
		break;
	}
	fclose(f);
}

static int evict(const char *path, const struct stat *st, int type, struct FTW *where)
{
	int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	int failed = 0;

	(void)st;
	(void)where;
	if (type != FTW_F)
		return 0;
	if (fd < 0)
		return errno;
	/* What isn't on the disk yet stays. */
	failed = fdatasync(fd) != 0 ? errno : posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	return failed;
}

int files_evict(const char *dir, struct err *e)
{
	int failed = nftw(dir, evict, 16, FTW_PHYS);

	return failed == 0 ? 0 : err_errno(e, failed > 0 ? failed : errno, "cannot take %s out of the page cache", dir);
}

int proc_read(pid_t pid, struct proc_stat *out)
{
	char path[64], text[1024], *p;
	unsigned long utime, stime, faults;
	size_t n;
	FILE *f;

	memset(out, 0, sizeof *out);
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if ((f = fopen(path, "r")) == NULL)
		return -1;
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	/* The name in brackets may hold anything; the fields behind it are plain. */
	if ((p = strrchr(text, ')')) == NULL ||
	    sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %lu %*u %lu %lu", &faults, &utime, &stime) != 3)
		return -1;
	out->major_faults = faults;
	out->cpu_s = (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK);
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file_field(path, "RssAnon", text, sizeof text);
	out->anon_kb = strtoll(text, NULL, 10);
	file_field(path, "VmRSS", text, sizeof text);
	out->rss_kb = strtoll(text, NULL, 10);
	return 0;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double median(double *v, int n)
{
	if (n == 0)
		return 0;
	qsort(v, (size_t)n, sizeof *v, compare_doubles);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}
