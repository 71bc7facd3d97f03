/*
 * test_lock_order.c - who breaks the order of locks is ended at once, by one thread alone (base/lock_order.h). In a build
 * that doesn't check it there is nothing to see.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "check.h"

#ifdef BUSBAR_LOCK_ORDER
static pthread_rwlock_t registry = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t shape = PTHREAD_MUTEX_INITIALIZER, leaf = PTHREAD_MUTEX_INITIALIZER, other_leaf = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t unranked = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

static void in_order(void)
{
	pthread_rwlock_rdlock(&registry);
	pthread_mutex_lock(&shape);
	pthread_mutex_lock(&leaf);
	pthread_mutex_lock(&unranked);
	/* Not in the order in which they were taken: that is nobody's business. */
	pthread_mutex_unlock(&leaf);
	pthread_mutex_unlock(&unranked);
	pthread_mutex_unlock(&shape);
	pthread_rwlock_unlock(&registry);
	pthread_mutex_lock(&shape);
	clock_cond_wait(&cond, &shape, 1);
	pthread_mutex_unlock(&shape);
	lock_order_none_held(0, "a library");
}

static void backwards(void)
{
	pthread_mutex_lock(&leaf);
	pthread_mutex_lock(&shape);
}

static void two_of_a_rank(void)
{
	pthread_mutex_lock(&leaf);
	pthread_mutex_lock(&other_leaf);
}

static void read_twice(void)
{
	pthread_rwlock_rdlock(&registry);
	pthread_rwlock_rdlock(&registry);
}

static void below_one_without_a_rank(void)
{
	pthread_mutex_lock(&unranked);
	pthread_mutex_lock(&leaf);
}

static void waits_with_another(void)
{
	pthread_mutex_lock(&shape);
	pthread_mutex_lock(&leaf);
	clock_cond_wait(&cond, &leaf, 1);
}

static void calls_with_one(void)
{
	pthread_rwlock_rdlock(&registry);
	lock_order_none_held(LOCK_STORE, "a library");
}

/* What it said at its end; "" if it ended well. */
static const char *ended_by(void (*act)(void))
{
	static char said[300];
	int out[2];
	memset(said, 0, sizeof said);
	if (pipe(out) != 0)
		return "no pipe";
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(out[1], STDERR_FILENO);
		act();
		_exit(0);
	}
	close(out[1]);
	size_t len = 0;
	for (ssize_t n; len + 1 < sizeof said && (n = read(out[0], said + len, sizeof said - 1 - len)) > 0;)
		len += (size_t)n;
	close(out[0]);
	int status;
	waitpid(pid, &status, 0);
	return said;
}

static void test_order(void)
{
	lock_rank(&registry, LOCK_REGISTRY);
	lock_rank(&shape, LOCK_SHAPE);
	lock_rank(&leaf, LOCK_LEAF);
	lock_rank(&other_leaf, LOCK_LEAF);
	CHECK_STR(ended_by(in_order), "");
	const struct {
		void (*act)(void);
		const char *said;
	} wrong[] = {
		{backwards, "taking &shape while holding &leaf"},
		{two_of_a_rank, "taking &other_leaf while holding &leaf"},
		{read_twice, "taking &registry while holding &registry"},
		{below_one_without_a_rank, "taking &leaf while holding a lock without a rank"},
		{waits_with_another, "waiting on a condition of &leaf while holding &shape"},
		{calls_with_one, "calling a library while holding &registry"},
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		const char *said = ended_by(wrong[i].act);
		if (!CHECK(strstr(said, wrong[i].said) != NULL))
			printf("  said %s\n", said);
	}
}

static void test_forgotten(void)
{
	pthread_mutex_t m;
	for (int i = 0; i < 10000; i++) { /* more than the table has places */
		pthread_mutex_init(&m, NULL);
		lock_rank(&m, LOCK_SHAPE);
		pthread_mutex_lock(&m);
		pthread_mutex_unlock(&m);
		pthread_mutex_destroy(&m);
	}
	CHECK(1);
}
#endif

int main(void)
{
#ifdef BUSBAR_LOCK_ORDER
	RUN(test_order);
	RUN(test_forgotten);
#else
	CHECK(1);
#endif
	return check_done("lock_order");
}
