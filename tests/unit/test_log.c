/* test_log.c - lines on a pipe: in order, and without waiting for whoever doesn't read them. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "check.h"

#define LINES 20000
#define THREADS 4

/* Runs `child` with its stdout on a pipe; gives the reading end. */
static int start(void (*child)(int result), int *result, pid_t *pid)
{
	int lines[2], results[2];
	if (pipe(lines) != 0 || pipe(results) != 0)
		exit(2);
	fflush(NULL);
	*pid = fork();
	if (*pid == 0) {
		dup2(lines[1], STDOUT_FILENO);
		close(lines[0]);
		close(lines[1]);
		close(results[0]);
		child(results[1]);
		_exit(0);
	}
	close(lines[1]);
	close(results[1]);
	*result = results[0];
	return lines[0];
}

static void read_all(int fd, struct buf *out)
{
	char bytes[4096];
	ssize_t n;
	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		buf_put(out, bytes, (size_t)n);
	buf_putc(out, '\0');
	close(fd);
}

static int status_of(pid_t pid)
{
	int status = -1;
	waitpid(pid, &status, 0);
	return status;
}

static void start_log(void)
{
	struct err e;
	log_init(LOG_INFO);
	if (log_thread_start(&e) < 0)
		_exit(3);
}

/* Says how long so many lines took, then how long the end took. */
static void unread(int result)
{
	start_log();
	int64_t ms[2], began = clock_mono_ms();
	for (int i = 0; i < LINES; i++)
		log_info("line %d of a log that nobody reads", i);
	ms[0] = clock_mono_ms() - began;
	began = clock_mono_ms();
	log_thread_stop();
	log_info("a line after the end");
	ms[1] = clock_mono_ms() - began;
	ssize_t ignored = write(result, ms, sizeof ms);
	(void)ignored;
}

static void test_unread(void)
{
	int result;
	pid_t pid;
	int64_t ms[2] = {-1, -1};
	int lines = start(unread, &result, &pid);
	/* If a line waited, the child would never come to its result. */
	alarm(60);
	CHECK_INT(read(result, ms, sizeof ms), sizeof ms);
	alarm(0);
	CHECK_INT(status_of(pid), 0);
	CHECK(ms[0] >= 0 && ms[0] < 10000);
	CHECK(ms[1] >= LOG_STOP_WAIT_MS && ms[1] < LOG_STOP_WAIT_MS + 5000);
	struct buf b = BUF_INIT(64u << 20);
	read_all(lines, &b);
	CHECK(strstr(b.data, "line 0 of a log") != NULL);
	buf_clear(&b);
	close(result);
}

/* Many more lines than the ring holds before anybody reads, then a reader. */
static void late_reader(int result)
{
	start_log();
	for (int i = 0; i < LINES; i++)
		log_info("line %d of a log that is read late", i);
	ssize_t ignored = write(result, "x", 1);
	(void)ignored;
	log_flush(30000);
	log_info("the last line");
	log_thread_stop();
}

static void test_dropped(void)
{
	int result;
	pid_t pid;
	char x;
	int lines = start(late_reader, &result, &pid);
	CHECK_INT(read(result, &x, 1), 1);
	struct buf b = BUF_INIT(64u << 20);
	read_all(lines, &b);
	CHECK_INT(status_of(pid), 0);
	int shown = 0, missing = 0, notes = 0;
	for (char *line = b.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		const char *text = strstr(line, "] ");
		int n;
		if (text == NULL)
			CHECK_STR(line, "a line with its level");
		else if (sscanf(text, "] line %d of", &n) == 1 && n >= shown)
			shown++;
		else if (sscanf(text, "] %d lines of the log are missing here", &n) == 1) {
			missing += n;
			notes++;
		} else
			CHECK_STR(text, "] the last line");
	}
	CHECK(notes > 0 && shown > 1000);
	CHECK_INT(shown + missing, LINES);
	buf_clear(&b);
	close(result);
}

static void *some_lines(void *arg)
{
	for (int i = 0; i < LINES / THREADS; i++)
		log_info("thread %d says %d", *(int *)arg, i);
	return NULL;
}

static void many_threads(int result)
{
	start_log();
	pthread_t threads[THREADS];
	int ids[THREADS];
	for (int i = 0; i < THREADS; i++) {
		ids[i] = i;
		if (pthread_create(&threads[i], NULL, some_lines, &ids[i]) != 0)
			_exit(4);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_thread_stop();
	(void)result;
}

/* Each thread's lines stay whole and in order; what is missing is told. */
static void test_threads(void)
{
	int result;
	pid_t pid;
	int lines = start(many_threads, &result, &pid), last[THREADS] = {-1, -1, -1, -1}, seen = 0, bad = 0;
	struct buf b = BUF_INIT(64u << 20);
	read_all(lines, &b);
	CHECK_INT(status_of(pid), 0);
	for (char *line = b.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		const char *text = strstr(line, "] ");
		int id, n;
		if (text != NULL && sscanf(text, "] thread %d says %d", &id, &n) == 2 && id >= 0 && id < THREADS && n > last[id]) {
			last[id] = n;
			seen++;
		} else if (text != NULL && sscanf(text, "] %d lines of the log are missing", &n) == 1)
			seen += n;
		else
			bad++;
	}
	CHECK_INT(bad, 0);
	CHECK_INT(seen, LINES);
	buf_clear(&b);
	close(result);
}

static void fails(int result)
{
	(void)result;
	int null = open("/dev/null", O_WRONLY);
	dup2(null, STDERR_FILENO);
	start_log();
	for (int i = 0; i < 1000; i++)
		log_info("line %d before it breaks", i);
	REQUIRE(result < 0);
}

/* What was said before a broken assumption is there to be read. */
static void test_abort(void)
{
	int result;
	pid_t pid;
	int lines = start(fails, &result, &pid);
	struct buf b = BUF_INIT(64u << 20);
	read_all(lines, &b);
	int status = status_of(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK(strstr(b.data, "line 999 before it breaks") != NULL);
	buf_clear(&b);
	close(result);
}

static void repeats(int result)
{
	start_log();
	uint64_t a = log_repeat_key(log_repeat_key(0, "shape", 5), "reason", 6), b = log_repeat_key(log_repeat_key(0, "shape", 5), "another", 7);
	for (int i = 0; i < 1000; i++) {
		log_seldom(LOG_INFO, a, "line a %d", i);
		log_seldom(LOG_INFO, b, "line b %d", i);
	}
	for (int i = 0; i < 5000; i++) {
		uint64_t key = log_repeat_key(0, &i, sizeof i);
		log_seldom(LOG_INFO, key, "line of its own %d", i);
	}
	log_thread_stop();
	(void)result;
}

static int count(const char *text, const char *what)
{
	int n = 0;
	for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

/* What comes again and again is said once, and different lines not without an end either. */
static void test_seldom(void)
{
	int result;
	pid_t pid;
	int lines = start(repeats, &result, &pid);
	struct buf b = BUF_INIT(64u << 20);
	read_all(lines, &b);
	CHECK_INT(status_of(pid), 0);
	CHECK_INT(count(b.data, "] line a "), 1);
	CHECK_INT(count(b.data, "] line b "), 1);
	CHECK(count(b.data, "] line of its own") >= 30 && count(b.data, "] line of its own") < 1000);
	buf_clear(&b);
	close(result);
}

int main(void)
{
	RUN(test_seldom);
	RUN(test_unread);
	RUN(test_dropped);
	RUN(test_threads);
	RUN(test_abort);
	return check_done("log");
}
