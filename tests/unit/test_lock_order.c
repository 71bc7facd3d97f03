/*
 * test_lock_order.c - who breaks the order of locks is ended at once, by one thread alone (base/lock_order.h). In a build
 * that doesn't check it there is nothing to see.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock_order.h"
#include "base/log.h"
#include "base/require.h"
#include "check.h"

#ifdef BUSBAR_LOCK_ORDER
static pthread_rwlock_t registry = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t shape = PTHREAD_MUTEX_INITIALIZER, leaf = PTHREAD_MUTEX_INITIALIZER, other_leaf = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t unranked = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile bool nobody_holds_it;

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

static void holds_them(void)
{
	pthread_rwlock_rdlock(&registry);
	pthread_mutex_lock(&shape);
	lock_held(&registry);
	lock_held(&shape);
	lock_held_writing(&shape);
	pthread_mutex_unlock(&shape);
	pthread_rwlock_unlock(&registry);
	pthread_rwlock_wrlock(&registry);
	lock_held(&registry);
	lock_held_writing(&registry);
	pthread_rwlock_unlock(&registry);
	pthread_mutex_lock(&shape);
	clock_cond_wait(&cond, &shape, 1); /* which lets go of it meanwhile */
	lock_held(&shape);
}

static void holds_it_no_more(void)
{
	pthread_mutex_lock(&shape);
	pthread_mutex_unlock(&shape);
	lock_held(&shape);
}

static void holds_another(void)
{
	pthread_mutex_lock(&other_leaf);
	lock_held(&leaf);
}

static void holds_it_for_reading(void)
{
	pthread_rwlock_rdlock(&registry);
	lock_held_writing(&registry);
}

/* With lines on their way that nobody reads, so that the end waits for them. */
static void breaks_an_assumption(void)
{
	int unread[2];
	struct err e;
	if (pipe(unread) != 0)
		return;
	dup2(unread[1], STDOUT_FILENO);
	log_init(LOG_INFO);
	if (log_thread_start(&e) != 0)
		return;
	for (int i = 0; i < 5000; i++)
		log_info("a line that is as long as many others are, which a pipe has no room for in the end");
	pthread_mutex_lock(&leaf);
	REQUIRE(nobody_holds_it);
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
	CHECK_STR(ended_by(holds_them), "");
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
		{holds_it_no_more, "&shape isn't held\n"},
		{holds_another, "&leaf isn't held\n"},
		{holds_it_for_reading, "&registry isn't held for writing"},
		{breaks_an_assumption, "broken assumption"}, /* and not a word of the lock, which is held rightly */
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		const char *said = ended_by(wrong[i].act);
		if (!CHECK(strstr(said, wrong[i].said) != NULL))
			printf("  said %s\n", said);
	}
}

/* More than the table has places, at other addresses, some at a time. */
static void test_forgotten(void)
{
	enum { AT_ONCE = 100 };
	static pthread_mutex_t all[200 * AT_ONCE];
	for (size_t i = 0; i < sizeof all / sizeof *all; i += AT_ONCE) {
		for (size_t k = i; k < i + AT_ONCE; k++) {
			pthread_mutex_init(&all[k], NULL);
			lock_rank(&all[k], LOCK_SHAPE);
			pthread_mutex_lock(&all[k]);
			pthread_mutex_unlock(&all[k]);
		}
		for (size_t k = i; k < i + AT_ONCE; k++)
			pthread_mutex_destroy(&all[k]);
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
