/*
 * check.h - the unit tests' framework: RUN() runs a test, CHECK() checks something in it, check_done() prints how many
 * tests passed and gives the exit status.
 *
 * A test program is a main() that runs its test functions with RUN(test_x) (RUN(test_x, argument) where it takes some) and
 * ends with `return check_done("name")`. The last line is `name: N passed, N failed`, of tests; the runner adds them up.
 * Tests that run others aren't counted themselves; what is checked outside of all is one test more.
 */
#ifndef BUSBAR_TESTS_CHECK_H
#define BUSBAR_TESTS_CHECK_H

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static _Atomic int check_passed, check_failed; /* checks; any thread of a test may check */
static int check_tests, check_tests_failed;  /* tests */
static int check_depth, check_inside, check_inside_failed; /* checks in tests */

#define RUN(test, ...) \
	do { \
		struct check_test check_this = check_begin(); \
		test(__VA_ARGS__); \
		check_end(&check_this, #test); \
	} while (0)

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

/* What had been counted when a test began. */
struct check_test {
	int checks, failed, tests, tests_failed;
};

static inline struct check_test check_begin(void)
{
	check_depth++;
	return (struct check_test){check_passed + check_failed, check_failed, check_tests, check_tests_failed};
}

static inline void check_end(const struct check_test *t, const char *name)
{
	int failed = check_failed > t->failed;
	if (--check_depth == 0) {
		check_inside += check_passed + check_failed - t->checks;
		check_inside_failed += check_failed - t->failed;
	}
	if (check_tests > t->tests && (!failed || check_tests_failed > t->tests_failed))
		return; /* those that it ran have been counted */
	check_tests++;
	check_tests_failed += failed;
	if (failed)
		printf("failed: %s\n", name);
}

static inline int check_done(const char *name)
{
	if (check_passed + check_failed > check_inside) {
		check_tests++;
		check_tests_failed += check_failed > check_inside_failed;
	}
	printf("%s: %d checks, %d failed\n", name, check_passed + check_failed, check_failed);
	printf("%s: %d passed, %d failed\n", name, check_tests - check_tests_failed, check_tests_failed);
	return check_failed ? 1 : 0;
}

#endif
