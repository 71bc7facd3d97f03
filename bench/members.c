/* members.c - see members.h. */
#include "bench/members.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define NOTE_BYTES 50 /* and the payload: what a row of rows.h has in its other columns */
#define STRANGERS 1000

int members_create(struct bench *b, char name[NAME_BYTES])
{
	char put[512];

	snprintf(name, NAME_BYTES, "members_%" PRIx64 "_%u", (uint64_t)time(NULL) & 0xffffff, b->tables++);
	if (db_exec(&b->admin, &b->err,
		    "CREATE TABLE " SCHEMA ".%s (user_id integer, project_id integer, note text NOT NULL DEFAULT '', "
		    "PRIMARY KEY (user_id, project_id))",
		    name) ||
	    db_exec(&b->admin, &b->err, "ALTER TABLE " SCHEMA ".%s REPLICA IDENTITY FULL", name))
		return -1;
	snprintf(put, sizeof put,
		 "INSERT INTO " SCHEMA ".%s SELECT -1 - g %% %d, g, repeat('x', %d) "
		 "FROM generate_series(i, least(i + per_txn, b) - 1) g",
		 name, STRANGERS, NOTE_BYTES + b->opt.payload);
	return db_exec(&b->admin, &b->err,
		       "CREATE PROCEDURE " SCHEMA ".put_%s(a bigint, b bigint, groups bigint, per_txn bigint) LANGUAGE plpgsql "
		       "AS $$ DECLARE i bigint := a; BEGIN WHILE i < b LOOP %s; i := i + per_txn; COMMIT; END LOOP; END $$",
		       name, put);
}

int members_fill(struct bench *b, const char *name, int64_t users)
{
	if (db_exec(&b->admin, &b->err,
		    "INSERT INTO " SCHEMA ".%s SELECT i %% %" PRId64 ", i FROM generate_series(0::bigint, %" PRId64 ") i", name,
		    users, users * MEMBERS_SET - 1))
		return -1;
	return db_exec(&b->admin, &b->err, "ANALYZE " SCHEMA ".%s", name);
}

char *members_query(const char *items, const char *members, const char *in, int64_t user)
{
	return shape_query(items, "n %s (SELECT project_id FROM " SCHEMA ".%s WHERE user_id = %" PRId64 ")", in, members, user);
}
