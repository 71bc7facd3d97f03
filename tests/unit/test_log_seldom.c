/* test_log_seldom.c - what is left out of lines that repeat is told, also when they have stopped; by a clock of the test's own. */
#include <stdint.h>
#include <unistd.h>

#include "check.h"

#include "base/clock.h"

static int64_t now_ms = 1000000;
static int64_t fake_mono_ms(void) { return now_ms; }

#define clock_mono_ms fake_mono_ms
#include "../../src/base/log.c"

static char said[64 << 10];

static void say(int what)
{
	uint64_t a = log_repeat_key(0, "a", 1);
	for (int i = 0; what == 0 && i < 5; i++)
		log_seldom(LOG_ERROR, a, "line a %d", i);
	for (int i = 0; what == 1 && i < 100; i++)
		log_seldom(LOG_ERROR, log_repeat_key(0, &i, sizeof i), "line of its own %d", i);
	if (what == 2)
		log_tell_seldom();
}

/* The lines that it makes, by a pipe in stdout's place. */
static const char *lines_of(int what)
{
	int fds[2], saved = dup(STDOUT_FILENO);
	fflush(stdout);
	if (saved < 0 || pipe(fds) != 0)
		return "no pipe";
	dup2(fds[1], STDOUT_FILENO);
	say(what);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(fds[1]);
	size_t len = 0;
	for (ssize_t n; (n = read(fds[0], said + len, sizeof said - 1 - len)) > 0;)
		len += (size_t)n;
	close(fds[0]);
	said[len] = '\0';
	return said;
}

static int count(const char *text, const char *what)
{
	int n = 0;
	for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

static void test_left_over(void)
{
	CHECK_INT(count(lines_of(0), "\n"), 1);
	CHECK(strstr(said, "[error] line a 0\n") != NULL);
	now_ms += LOG_SELDOM_MS - 1;
	CHECK_STR(lines_of(2), "");
	now_ms += 1;
	CHECK_INT(count(lines_of(2), "\n"), 1);
	CHECK(strstr(said, "[error] line a 0 (4 times more since it was said)\n") != NULL);
	CHECK_STR(lines_of(2), "");
	/* It is due again, and nothing is counted twice. */
	CHECK_INT(count(lines_of(0), "\n"), 1);
	CHECK(strstr(said, "[error] line a 0\n") != NULL);
}

static void test_others_left_over(void)
{
	now_ms += 10 * LOG_SELDOM_MS;
	(void)lines_of(2);
	int shown = count(lines_of(1), "\n");
	CHECK(shown >= 30 && shown < 60);
	now_ms += LOG_SELDOM_MS - 1;
	CHECK_STR(lines_of(2), "");
	now_ms += 1;
	char want[100];
	snprintf(want, sizeof want, "[warning] %d other lines of kinds that repeat were left out\n", 100 - shown);
	CHECK(strstr(lines_of(2), want) != NULL);
	CHECK_INT(count(said, "\n"), 1);
}

int main(void)
{
	RUN(test_left_over);
	RUN(test_others_left_over);
	return check_done("log_seldom");
}
