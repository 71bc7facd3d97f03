/* test_commits.c - what the server sends again is compared with what it sent. */
#include "check.h"
#include "shapes/core/engine.h"
#include "shapes/logs/commits.h"

static struct commit made(lsn_t lsn) { return (struct commit){lsn, (int64_t)lsn * 7, (uint32_t)(lsn / 10)}; }

/* From 100: commits at 200, 300 … 900; our position is 950. */
static void fill(struct commits *c)
{
	*c = (struct commits){0};
	commits_reset(c, 100);
	for (lsn_t at = 200; at <= 900; at += 100)
		commits_add(c, made(at));
}

static int sent(struct commits *c, lsn_t lsn, bool again)
{
	struct err e;
	struct commit commit = made(lsn);
	return commits_sent(c, &commit, again, &e);
}

static int passed(struct commits *c, lsn_t wal_end)
{
	struct err e;
	return commits_passed(c, wal_end, 950, &e);
}

static void test_same(void)
{
	struct commits c;
	fill(&c);
	CHECK_INT(commits_compare(&c, 500, 950), 5); /* a commit that begins where the slot stands comes */
	size_t first = c.next;
	for (lsn_t at = 500; at <= 900; at += 100) {
		CHECK_INT(passed(&c, at), 0); /* its own position is the next record's: not passed yet */
		CHECK_INT(sent(&c, at, true), 0);
		CHECK(c.comparing);
	}
	CHECK_INT(sent(&c, 950, false), 0);
	CHECK(!c.comparing);
	CHECK_INT(c.next - first, 5);
	/* The slot stands where we do: nothing to compare, whatever comes. */
	CHECK_INT(commits_compare(&c, 950, 950), 0);
	CHECK(!c.comparing);
	CHECK_INT(sent(&c, 960, false), 0);
	/* An idle server tells by keepalives. */
	CHECK_INT(commits_compare(&c, 901, 950), 0);
	CHECK(c.comparing);
	CHECK_INT(passed(&c, 949), 0);
	CHECK(c.comparing);
	CHECK_INT(passed(&c, 950), 0);
	CHECK(!c.comparing);
	commits_clear(&c);
}

static void test_other(void)
{
	struct commits c;
	struct err e;
	struct commit commit;
	fill(&c);
	/* One is missing: seen by the next one sent, again or new, and by a keepalive. */
	(void)commits_compare(&c, 500, 950);
	CHECK_INT(sent(&c, 600, true), -1);
	(void)commits_compare(&c, 500, 950);
	CHECK_INT(sent(&c, 990, false), -1);
	(void)commits_compare(&c, 900, 950);
	CHECK_INT(passed(&c, 900), 0);
	CHECK_INT(passed(&c, 901), -1);
	/* One that wasn't there. */
	(void)commits_compare(&c, 500, 950);
	CHECK_INT(sent(&c, 500, true), 0);
	CHECK_INT(sent(&c, 550, true), -1);
	(void)commits_compare(&c, 910, 950);
	CHECK_INT(sent(&c, 920, true), -1);
	/* Another one at the same place. */
	(void)commits_compare(&c, 500, 950);
	commit = made(500);
	commit.xid++;
	CHECK_INT(commits_sent(&c, &commit, true, &e), -1);
	CHECK(strstr(e.text, "0/1F4") != NULL);
	(void)commits_compare(&c, 500, 950);
	commit = made(500);
	commit.time_us++;
	CHECK_INT(commits_sent(&c, &commit, true, &e), -1);
	commits_clear(&c);
}

static void test_older(void)
{
	struct commits c;
	fill(&c);
	/* Before the first that is remembered nothing is known; from there on all is. */
	(void)commits_compare(&c, 50, 950);
	CHECK_INT(sent(&c, 60, true), 0);
	CHECK_INT(sent(&c, 99, true), 0);
	CHECK_INT(sent(&c, 100, true), -1);
	/* The slot stands at the very place of which on all is remembered. */
	CHECK_INT(commits_compare(&c, 100, 950), 8);
	CHECK_INT(sent(&c, 200, true), 0);
	commits_clear(&c);
	/* A store that remembers none: never a complaint. */
	c = (struct commits){0};
	CHECK_INT(commits_compare(&c, 500, 950), 0);
	CHECK_INT(sent(&c, 500, true), 0);
	CHECK_INT(passed(&c, 950), 0);
	CHECK(!c.comparing);
	commits_clear(&c);
}

static void test_bounded(void)
{
	struct commits c = {0};
	commits_reset(&c, 1);
	for (lsn_t at = 10; at <= 10 * (lsn_t)COMMITS_MAX * 2; at += 10)
		commits_add(&c, made(at));
	CHECK(c.n >= COMMITS_MAX && c.n <= COMMITS_MAX + COMMITS_MAX / 8);
	CHECK(c.list[c.n - 1].lsn == 10 * (lsn_t)COMMITS_MAX * 2);
	CHECK(c.list[0].lsn == 10 * ((lsn_t)COMMITS_MAX * 2 - c.n + 1));
	(void)commits_compare(&c, 5, 10 * (lsn_t)COMMITS_MAX * 2 + 1);
	CHECK_INT(sent(&c, 10, true), 0);
	CHECK_INT(sent(&c, c.list[0].lsn, true), 0);
	CHECK_INT(sent(&c, c.list[1].lsn + 1, true), -1);
	commits_clear(&c);
}

static void test_stored(void)
{
	struct commits c, d = {0};
	struct buf b = BUF_INIT(4096);
	struct err e;
	fill(&c);
	for (size_t i = 0; i < c.n; i++)
		commits_encode(&c.list[i], &b);
	CHECK_INT(b.len, c.n * COMMIT_BYTES);
	CHECK_INT(commits_decode(&d, b.data, b.len, &e), 0);
	CHECK_INT(d.n, c.n);
	for (size_t i = 0; i < c.n; i++)
		CHECK(d.list[i].lsn == c.list[i].lsn && d.list[i].xid == c.list[i].xid && d.list[i].time_us == c.list[i].time_us);
	CHECK_INT(commits_decode(&d, b.data, COMMIT_BYTES, &e), -1); /* out of order */
	CHECK_INT(commits_decode(&d, b.data, COMMIT_BYTES - 1, &e), -1);
	buf_clear(&b);
	commits_clear(&c);
	commits_clear(&d);
}

int main(void)
{
	RUN(test_same);
	RUN(test_other);
	RUN(test_older);
	RUN(test_bounded);
	RUN(test_stored);
	return check_done("commits");
}
