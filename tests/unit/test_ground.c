/* test_ground.c - what a difference between two readings of a table's ground means. */
#include <string.h>

#include "check.h"
#include "pg/ground.h"

static void gap(const char *then, const char *now, const char *want)
{
	const char *got = pg_ground_gap(then, now);
	if (!CHECK(want == NULL ? got == NULL : got != NULL && strstr(got, want) != NULL))
		printf("  %s -> %s: %s\n", then, now, got != NULL ? got : "nothing");
}

static void test_publication(void)
{
	gap("p1.5.111100 r7", "p1.5.111100 r7", NULL);
	gap("p1.5.111100 r7", "p1.6.111100 r7", "altered");
	gap("p1.5.111100 r7", "p1.6.100000 r7", "all operations");
	gap("p1.5.111100 r7", "p1.6.111110 r7", "options");
	gap("p1.5.111100 r7", "p2.5.111100 r7", "made again");
	gap("p1.5.111100 r7", "p11.5.111100 r7", "made again");
	gap("p1.5.111100 r7", "-", "was dropped");
	gap("-", "p1.5.111100 r7", "made again");
}

static void test_entries(void)
{
	gap("p1.5.111100 r7", "p1.5.111100 r8", "came back");
	gap("p1.5.111100 r7", "p1.5.111100 r77", "came back");
	gap("p1.5.111100 r7", "p1.5.111100", "taken out");
	gap("p1.5.111100 r7", "f9.8 p1.5.111100 r7", "filter");
	gap("p1.5.111100 r7", "p1.5.111100 r7 s9", NULL);
	gap("p1.5.111100 r7 s9", "p1.5.111100 s9", NULL);
	gap("p1.5.111100 r7", "p1.5.111100 s9", "came back");
	gap("a p1.5.111100", "a p1.5.111100 r3", NULL);
	gap("p1.5.111100 s7", "p1.5.111100 s8", "came back");
}

static void test_children(void)
{
	gap("c20.r8 p1.5.111100 r7", "c20.r8 p1.5.111100 r7", NULL);
	gap("c20.r8 p1.5.111100 r7", "c20.r9 p1.5.111100 r7", "child");
	gap("c20.r8 p1.5.111100 r7", "c2.r8 c201.r8 p1.5.111100 r7", "child");
	gap("c20.r8 c20.s3 p1.5.111100 r7", "c20.s3 p1.5.111100 r7", NULL);
	gap("c20.r8 p1.5.111100 r7", "c20.r8 c21.r9 p1.5.111100 r7", NULL); /* one more: others see to that */
}

static void test_check(void)
{
	struct err e;
	char name[] = "p", user[] = "u";
	struct config c = {.publication_name = name, .database = {.user = user}};
	CHECK_INT(pg_ground_check("p1.5.111100 r7", &c, "s", "t", &e), 0);
	CHECK_INT(pg_ground_check("-", &c, "s", "t", &e), -1);
	CHECK_STR(e.text, "Publication \"p\" not found in the database. Run, as the database's owner: CREATE PUBLICATION \"p\"; "
	                  "ALTER PUBLICATION \"p\" OWNER TO \"u\"");
	CHECK_INT(pg_ground_check("p1.5.110100 r7", &c, "s", "t", &e), -1);
	CHECK_INT(e.kind, ERR_CONFIG);
	CHECK_STR(e.text, "Publication \"p\" does not publish all required operations: INSERT, UPDATE, DELETE, TRUNCATE. Run, as its owner: "
	                  "ALTER PUBLICATION \"p\" SET (publish = 'insert, update, delete, truncate')");
	CHECK_INT(pg_ground_check("p1.5.1111", &c, "s", "t", &e), -1);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK_INT(pg_ground_check("f7.8 p1.5.111100 s4", &c, "s", "t", &e), -1);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK_INT(pg_ground_check("", &c, "s", "t", &e), -1);
}

static void test_columns(void)
{
	const char *at = "a k1.5.0.0 k12.6.1.7 p1.5.111100 x7.100.";
	int16_t n;
	CHECK(pg_ground_next_column(&at, &n) && n == 1);
	CHECK(pg_ground_next_column(&at, &n) && n == 12);
	CHECK(!pg_ground_next_column(&at, &n));
}

static void test_publication_xmin(void)
{
	CHECK_INT(pg_ground_publication_xmin("f9.8 p1.4294967295.111100 r7"), 4294967295);
	CHECK_INT(pg_ground_publication_xmin("p16400.5.111100"), 5);
	CHECK_INT(pg_ground_publication_xmin("-"), 0);
	CHECK_INT(pg_ground_publication_xmin("p1"), 0);
}

static void test_has_entry(void)
{
	CHECK(pg_ground_has_entry("k1.5.0.0 p1.5.111100 r17 r7 x7.100.", 7));
	CHECK(pg_ground_has_entry("p1.5.111100 r17", 17));
	CHECK(!pg_ground_has_entry("p1.5.111100 r17", 7));
	CHECK(!pg_ground_has_entry("c9.r7 f7.7 p7.5.111100 r17", 7)); /* a child's, a filter's, the publication itself */
	CHECK(pg_ground_has_entry("a p16400.5.111100", 16400));
	CHECK(pg_ground_has_entry("p16400.5.111100 r9 s12", 16400));
	CHECK(!pg_ground_has_entry("a p16401.5.111100", 16400)); /* made again */
	CHECK(!pg_ground_has_entry("p16400.5.111100 s12", 12));
	CHECK(!pg_ground_has_entry("a", 0));
	CHECK(!pg_ground_has_entry("-", 0));
}

static void rewrote(const char *then, const char *now, bool generated, bool want)
{
	if (!CHECK(pg_ground_rewrote(then, now, 3, generated) == want))
		printf("  %s -> %s\n", then, now);
}

static void test_rewrites(void)
{
	const char *then = "k3.764.0.0 k4.764.1.88 x20.5001. x200.5003.";
	rewrote(then, then, false, false);
	rewrote(then, "k3.765.0.0 k4.764.1.88 x20.5009. x200.5003.", false, true);  /* TYPE … USING */
	rewrote(then, "k3.765.0.0 k4.764.1.88 x20.5001. x200.5009.", false, true);  /* of a partition's rows */
	rewrote(then, "k3.765.0.0 k4.764.1.88 x20.5001. x200.5003.", false, false); /* SET STATISTICS */
	rewrote(then, "k3.764.0.0 k4.765.0.88 x20.5009. x200.5003.", false, false); /* VACUUM FULL, another's fast default */
	rewrote(then, "k3.765.0.0 k4.764.1.88 x20.5001. x21.5009. x200.5003.", false, false); /* one more partition */
	rewrote(then, "k3.765.0.0 k4.764.1.88 x200.5003.", false, false);
	rewrote("k3.764.1.88 x20.5001.", "k3.765.0.88 x20.5002.", false, false); /* VACUUM FULL after a fast default */
	rewrote("k3.764.1.88 x20.5001.", "k3.765.0.89 x20.5002.", false, true);  /* a TYPE makes the default anew */
	rewrote("k3.764.1.0 x20.5001.", "k3.765.0.0 x20.5002.", false, true);    /* the default is gone: nobody knows */
	rewrote("k3.764.0.88 x20.5001.3:764", "k3.764.0.88 x20.5002.3:765", true, true); /* a partition's own expression */
	rewrote("k3.764.0.88 x20.5001.3:764", "k3.764.0.88 x20.5002.3:765", false, false);
	rewrote("k3.764.0.88 x20.5001.3:764", "k3.764.0.88 x20.5002.3:764", true, false);
	rewrote("p1.5.111100 r7", "k3.765.0.0 p1.5.111100 r7 x20.5002.", false, false);
	CHECK(pg_ground_gap("k3.1.0.0 p1.5.111100 r7 x1.2.", "k3.2.0.0 p1.5.111100 r7 x1.3.") == NULL);
}

int main(void)
{
	RUN(test_rewrites);
	RUN(test_publication);
	RUN(test_entries);
	RUN(test_children);
	RUN(test_check);
	RUN(test_publication_xmin);
	RUN(test_has_entry);
	RUN(test_columns);
	return check_done("ground");
}
