/*
 * check.h - the unit tests' framework: CHECK() counts, check_done() prints and gives the exit status.
 *
 * A test program is a main() that calls its test functions and ends with `return check_done("name")`.
 * The last line is `name: N passed, N failed`; the runner adds them up.
 */
#ifndef BUSBAR_TESTS_CHECK_H
#define BUSBAR_TESTS_CHECK_H

#include <stdio.h>
#include <string.h>

static int check_passed, check_failed;

#define CHECK(cond) check_one((cond) ? 1 : 0, #cond, __FILE__, __LINE__)
#define CHECK_STR(got, want) check_str((got), (want), #got, __FILE__, __LINE__)
#define CHECK_INT(got, want) check_int((long long)(got), (long long)(want), #got, __FILE__, __LINE__)

static inline int check_one(int ok, const char *what, const char *file, int line)
{
	if (ok)
		check_passed++;
	else {
		check_failed++;
		printf("%s:%d: failed: %s\n", file, line, what);
		fflush(stdout); /* a crash may follow */
	}
	return ok;
}

static inline int check_str(const char *got, const char *want, const char *what, const char *file, int line)
{
	if (got != NULL && want != NULL && strcmp(got, want) == 0)
		return check_one(1, what, file, line);
	printf("  got  %s\n  want %s\n", got ? got : "(null)", want ? want : "(null)");
	return check_one(0, what, file, line);
}

static inline int check_int(long long got, long long want, const char *what, const char *file, int line)
{
	if (got != want)
		printf("  got  %lld\n  want %lld\n", got, want);
	return check_one(got == want, what, file, line);
}

static inline int check_done(const char *name)
{
	printf("%s: %d passed, %d failed\n", name, check_passed, check_failed);
	return check_failed ? 1 : 0;
}

#endif
