/* test_pgoutput.c - each message kind from hand-made bytes, every truncation of it, and bad fields. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "check.h"
#include "wal/pgoutput.h"

/* A literal with NULs in it. */
#define BYTES(s) (s), sizeof(s) - 1

static struct pgoutput *decoder;
static struct wal_change change;

/* From memory of the exact size, so that a sanitizer build sees reads past the end. */
static int parse(const char *p, size_t len)
{
	static char *copy;
	free(copy);
	copy = mem_alloc(len);
	memcpy(copy, p, len);
	struct err e;
	err_clear(&e);
	int r = pgoutput_parse(decoder, copy, len, &change, &e);
	CHECK(r == 0 || (e.kind == ERR_PROTOCOL && e.text[0] != '\0'));
	return r;
}

/* The message is good, every shorter one is bad, and so is one with a byte more. */
static void good(const char *p, size_t len)
{
	for (size_t n = 0; n < len; n++)
		if (!CHECK_INT(parse(p, n), -1))
			printf("  cut to %zu of %zu bytes of '%c'\n", n, len, p[0]);
	char *longer = mem_zalloc(len + 1);
	memcpy(longer, p, len);
	CHECK_INT(parse(longer, len + 1), -1);
	free(longer);
	CHECK_INT(parse(p, len), 0);
	CHECK_INT(change.kind, p[0]);
}

static void bad(const char *p, size_t len)
{
	CHECK_INT(parse(p, len), -1);
}

static void check_value(const struct wal_tuple *t, int i, enum wal_value_kind kind, const char *text)
{
	CHECK(i < t->ncolumns);
	CHECK_INT(t->values[i].kind, kind);
	CHECK_INT(t->values[i].len, strlen(text));
	CHECK(memcmp(t->values[i].data ? t->values[i].data : "", text, strlen(text)) == 0);
}

static void test_transaction(void)
{
	good(BYTES("B" "\0\0\0\x16\xB3\x74\xD8\x48" "\0\0\0\0\0\0\0\x07" "\0\0\x02\xDB"));
	CHECK_INT(change.u.begin.final_lsn, 0x16B374D848);
	CHECK_INT(change.u.begin.commit_time_us, 7);
	CHECK_INT(change.u.begin.xid, 731);
	good(BYTES("C" "\0" "\0\0\0\x16\xB3\x74\xD8\x48" "\0\0\0\x16\xB3\x74\xD8\x78" "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"));
	CHECK_INT(change.u.commit.commit_lsn, 0x16B374D848);
	CHECK_INT(change.u.commit.end_lsn, 0x16B374D878);
	CHECK_INT(change.u.commit.commit_time_us, -1);
	bad(BYTES("C" "\1" "\0\0\0\0\0\0\0\1" "\0\0\0\0\0\0\0\2" "\0\0\0\0\0\0\0\3"));
}

static void test_ignored(void)
{
	good(BYTES("O" "\0\0\0\0\0\0\0\1" "upstream\0"));
	good(BYTES("Y" "\0\0\x40\1" "public\0" "mood\0"));
	good(BYTES("M" "\1" "\0\0\0\0\0\0\0\1" "prefix\0" "\0\0\0\3" "abc"));
	good(BYTES("M" "\0" "\0\0\0\0\0\0\0\1" "\0" "\0\0\0\0"));
	bad(BYTES("M" "\2" "\0\0\0\0\0\0\0\1" "\0" "\0\0\0\0"));
	bad(BYTES("M" "\0" "\0\0\0\0\0\0\0\1" "\0" "\xFF\xFF\xFF\xFF" "abc"));
}

static void test_relation(void)
{
	good(BYTES("R" "\0\0\x40\x0A" "public\0" "items\0" "f" "\0\2"
	           "\1" "id\0" "\0\0\0\x17" "\xFF\xFF\xFF\xFF"
	           "\0" "title\0" "\0\0\x04\x13" "\0\0\0\x0E"));
	const struct wal_relation *r = &change.u.relation;
	CHECK_INT(r->oid, 16394);
	CHECK_STR(r->schema, "public");
	CHECK_STR(r->name, "items");
	CHECK_INT(r->replica_identity, 'f');
	CHECK_INT(r->ncolumns, 2);
	CHECK_STR(r->columns[0].name, "id");
	CHECK_INT(r->columns[0].type_oid, 23);
	CHECK_INT(r->columns[0].typmod, -1);
	CHECK(r->columns[0].key);
	CHECK_STR(r->columns[1].name, "title");
	CHECK_INT(r->columns[1].type_oid, 1043);
	CHECK_INT(r->columns[1].typmod, 14);
	CHECK(!r->columns[1].key);
	good(BYTES("R" "\0\0\0\1" "\0" "t\0" "d" "\0\0"));
	CHECK_STR(change.u.relation.schema, "pg_catalog");
	CHECK_INT(change.u.relation.ncolumns, 0);
	bad(BYTES("R" "\0\0\0\1" "\0" "t\0" "x" "\0\0"));  /* no such identity */
	bad(BYTES("R" "\0\0\0\1" "\0" "t\0" "\0" "\0\0"));
	bad(BYTES("R" "\0\0\0\1" "\0" "t\0" "d" "\0\1" "\2" "c\0" "\0\0\0\1" "\0\0\0\1")); /* unknown flag */
	bad(BYTES("R" "\0\0\0\1" "\0" "t\0" "d" "\xFF\xFF")); /* more columns than bytes */
}

static void test_rows(void)
{
	good(BYTES("I" "\0\0\x40\x0A" "N" "\0\4" "t\0\0\0\2" "42" "n" "u" "t\0\0\0\0"));
	CHECK_INT(change.u.row.relation_oid, 16394);
	CHECK_INT(change.u.row.old_kind, 0);
	CHECK_INT(change.u.row.old_tuple.ncolumns, 0);
	CHECK_INT(change.u.row.new_tuple.ncolumns, 4);
	check_value(&change.u.row.new_tuple, 0, WAL_TEXT, "42");
	check_value(&change.u.row.new_tuple, 1, WAL_NULL, "");
	check_value(&change.u.row.new_tuple, 2, WAL_UNCHANGED, "");
	check_value(&change.u.row.new_tuple, 3, WAL_TEXT, "");

	good(BYTES("U" "\0\0\0\1" "N" "\0\1" "t\0\0\0\1" "7"));
	CHECK_INT(change.u.row.old_kind, 0);
	check_value(&change.u.row.new_tuple, 0, WAL_TEXT, "7");
	good(BYTES("U" "\0\0\0\1" "O" "\0\2" "t\0\0\0\1" "1" "t\0\0\0\1" "a" "N" "\0\2" "t\0\0\0\1" "2" "u"));
	CHECK_INT(change.u.row.old_kind, 'O');
	check_value(&change.u.row.old_tuple, 0, WAL_TEXT, "1");
	check_value(&change.u.row.old_tuple, 1, WAL_TEXT, "a");
	check_value(&change.u.row.new_tuple, 0, WAL_TEXT, "2");
	check_value(&change.u.row.new_tuple, 1, WAL_UNCHANGED, "");
	good(BYTES("U" "\0\0\0\1" "K" "\0\1" "n" "N" "\0\1" "n"));
	CHECK_INT(change.u.row.old_kind, 'K');

	good(BYTES("D" "\0\0\0\1" "O" "\0\1" "t\0\0\0\3" "xyz"));
	CHECK_INT(change.u.row.old_kind, 'O');
	CHECK_INT(change.u.row.new_tuple.ncolumns, 0);
	check_value(&change.u.row.old_tuple, 0, WAL_TEXT, "xyz");
	good(BYTES("D" "\0\0\0\1" "K" "\0\0"));
	CHECK_INT(change.u.row.old_kind, 'K');

	bad(BYTES("I" "\0\0\0\1" "O" "\0\0"));                 /* an insert has no old row */
	bad(BYTES("I" "\0\0\0\1" "K" "\0\0" "N" "\0\0"));
	bad(BYTES("D" "\0\0\0\1" "N" "\0\0"));                 /* a delete has no new one */
	bad(BYTES("D" "\0\0\0\1" "O" "\0\0" "N" "\0\0"));
	bad(BYTES("U" "\0\0\0\1" "O" "\0\0" "K" "\0\0"));
	bad(BYTES("I" "\0\0\0\1" "N" "\0\1" "b\0\0\0\1" "x")); /* binary was not asked for */
	bad(BYTES("I" "\0\0\0\1" "N" "\0\1" "t\xFF\xFF\xFF\xFF" "x"));
	bad(BYTES("I" "\0\0\0\1" "N" "\xFF\xFF" "n"));
}

static void test_truncate(void)
{
	good(BYTES("T" "\0\0\0\2" "\3" "\0\0\0\x0A" "\0\0\0\x0B"));
	CHECK_INT(change.u.truncate.count, 2);
	CHECK(change.u.truncate.cascade);
	CHECK(change.u.truncate.restart_identity);
	CHECK_INT(change.u.truncate.relation_oids[0], 10);
	CHECK_INT(change.u.truncate.relation_oids[1], 11);
	good(BYTES("T" "\0\0\0\1" "\2" "\0\0\0\x0A"));
	CHECK(!change.u.truncate.cascade);
	bad(BYTES("T" "\0\0\0\1" "\4" "\0\0\0\x0A"));
	bad(BYTES("T" "\x40\0\0\1" "\0" "\0\0\0\x0A")); /* a count whose bytes would overflow 32 bits */
}

/* The scratch arrays grow with a wide row and don't remember anything of it. */
static void test_wide_row(void)
{
	struct buf b = BUF_INIT(1 << 20);
	buf_put(&b, BYTES("I" "\0\0\0\1" "N" "\x06\x40"));
	for (int i = 0; i < 1600; i++)
		buf_put(&b, BYTES("t\0\0\0\1" "z"));
	CHECK_INT(parse(b.data, b.len), 0);
	CHECK_INT(change.u.row.new_tuple.ncolumns, 1600);
	check_value(&change.u.row.new_tuple, 1599, WAL_TEXT, "z");
	CHECK_INT(parse(b.data, b.len - 1), -1);
	CHECK_INT(parse(BYTES("I" "\0\0\0\1" "N" "\0\1" "n")), 0);
	CHECK_INT(change.u.row.new_tuple.ncolumns, 1);
	check_value(&change.u.row.new_tuple, 0, WAL_NULL, "");
	buf_clear(&b);
}

static void test_unknown(void)
{
	bad(BYTES(""));
	bad(BYTES("Z"));
	bad(BYTES("S" "\0\0\0\1" "\1")); /* streaming was not asked for */
	bad(BYTES("\0"));
}

int main(void)
{
	decoder = pgoutput_new();
	RUN(test_transaction);
	RUN(test_ignored);
	RUN(test_relation);
	RUN(test_rows);
	RUN(test_truncate);
	RUN(test_wide_row);
	RUN(test_unknown);
	pgoutput_free(decoder);
	return check_done("test_pgoutput");
}
