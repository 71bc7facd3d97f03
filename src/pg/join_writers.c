/* join_writers.c - waiting for who wrote before the table was published; see join_private.h. */
#include "pg/join_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define WRITERS_POLL_MIN_MS 5
#define WRITERS_POLL_MAX_MS 100
#define WRITERS_NAMED_MAX 5      /* blockers named in a message */

/* ---- docs/invariants.md 6.1: the writers ----
 *
 * A change that was written before the table was published is decoded as unpublished, whenever its transaction
 * commits. So the snapshot must show it: whoever may have written to the table, or to one below it, before our
 * (or the operator's) ADD TABLE had committed must be gone from the list of running transactions first. All of
 * them hold a lock on what they wrote: RowExclusive, or AccessExclusive for a TRUNCATE. They took it before their
 * first WAL record, and release it after they have left that list (COMMIT and COMMIT PREPARED first become
 * visible, then let locks go; before that, a commit may hang for a synchronous standby, with its locks). So
 * nobody else need be waited for, whatever he has written elsewhere: what he writes to this table from now on is
 * written behind the publication's commit, and decoded as published.
 *
 * The holders are read when the publication has been changed and everybody sees that. The family is read by the
 * same statement: a partition that came since the table was looked up has writers, too. One that a transaction
 * made which is still running isn't to be seen, but whoever makes a child holds ShareUpdateExclusive on the
 * parent, which may itself be below the table, so that ADD TABLE didn't wait for him. That lock counts for those
 * who have an xid: VACUUM and CREATE INDEX CONCURRENTLY, which write no rows and may take hours, hold it without.
 * pg_locks shows locks of the fast path as well; one that moves from there to the shared table is seen twice
 * rather than never, and PREPARE gives all locks away under that table's lock.
 *
 * A holder is known by his virtual transaction; or by an xid, for before 14.1 PREPARE changed it to -1/xid. (If he
 * had no xid at the first look he had written nothing until then.) A prepared transaction has no pid. Locks of
 * subtransactions are their top transaction's; if they abort, both rows and locks are gone.
 */
static const char writers_sql[] =
	"WITH RECURSIVE family (oid) AS ("
	"  SELECT $1::pg_catalog.oid UNION SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid),"
	" l AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE granted),"
	" holder AS ("
	"  SELECT l.virtualtransaction AS vxid, pg_catalog.min(l.pid) AS pid,"
	"   pg_catalog.bool_or(l.mode <> 'ShareUpdateExclusiveLock') AS writes"
	"  FROM l JOIN family f ON f.oid = l.relation WHERE l.locktype = 'relation'"
	"   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
	"   AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',"
	"    'AccessExclusiveLock')"
	"   AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()"
	"  GROUP BY 1),"
	" writer AS ("
	"  SELECT h.vxid, h.pid, h.writes, (SELECT pg_catalog.string_agg(x.transactionid::pg_catalog.text, ' ') FROM l x"
	"   WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.virtualtransaction = h.vxid) AS xids"
	"  FROM holder h) "
	"SELECT w.vxid, w.pid, p.gid, a.state, w.xids FROM writer w"
	" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid"
	" LEFT JOIN pg_catalog.pg_prepared_xacts p ON w.pid IS NULL"
	"  AND p.transaction::pg_catalog.text = ANY (pg_catalog.string_to_array(w.xids, ' '))"
	" WHERE w.writes OR w.xids IS NOT NULL"
	" ORDER BY w.pid, w.vxid";

enum { WRITER_VXID, WRITER_PID, WRITER_GID, WRITER_STATE, WRITER_XIDS };

/* Have two lists of xids, "755 756", one in common? */
static bool share_xid(const char *a, const char *b)
{
	for (size_t n; (n = strcspn(a, " ")) > 0; a += n + (a[n] == ' '))
		for (const char *p = b; *p != '\0'; p += strcspn(p, " "), p += *p == ' ')
			if (strcspn(p, " ") == n && memcmp(a, p, n) == 0)
				return true;
	return false;
}

static bool same_writer(const PGresult *first, int i, const PGresult *now, int k)
{
	return strcmp(pg_value(first, i, WRITER_VXID), pg_value(now, k, WRITER_VXID)) == 0 ||
	       share_xid(pg_value(first, i, WRITER_XIDS), pg_value(now, k, WRITER_XIDS));
}

/* Clears waiting[i] for each row of `first` that `now` doesn't have. Returns how many wait. */
static int still_there(const PGresult *first, bool *waiting, const PGresult *now)
{
	int left = 0;
	for (int i = 0; i < PQntuples(first); i++) {
		bool there = false;
		for (int k = 0; waiting[i] && !there && k < PQntuples(now); k++)
			there = same_writer(first, i, now, k);
		waiting[i] = there;
		left += there;
	}
	return left;
}

/* Is row k of `now` one of those waited for? */
static bool is_waited_for(const PGresult *first, const bool *waiting, const PGresult *now, int k)
{
	for (int i = 0; i < PQntuples(first); i++)
		if (waiting[i] && same_writer(first, i, now, k))
			return true;
	return false;
}

static int err_writers(const struct join *j, const PGresult *first, const bool *waiting, const PGresult *now,
                       struct err *e)
{
	struct buf who = BUF_INIT(sizeof e->text);
	int nnamed = 0;
	buf_puts(&who, "");
	for (int i = 0; i < PQntuples(now); i++) {
		if (!is_waited_for(first, waiting, now, i))
			continue;
		if (nnamed == WRITERS_NAMED_MAX) {
			buf_puts(&who, " and others");
			break;
		}
		buf_puts(&who, nnamed++ > 0 ? ", " : "");
		if (PQgetisnull(now, i, WRITER_PID))
			buf_printf(&who, "prepared transaction \"%s\"", pg_value(now, i, WRITER_GID));
		else if (PQgetisnull(now, i, WRITER_STATE))
			buf_printf(&who, "pid %s", pg_value(now, i, WRITER_PID)); /* the state of others' sessions may be hidden */
		else
			buf_printf(&who, "pid %s (%s)", pg_value(now, i, WRITER_PID), pg_value(now, i, WRITER_STATE));
	}
	(void)err_set(e, ERR_TIMEOUT, "Snapshot timed out waiting for transactions that were writing to table \"%s.%s\" when it was published "
	              "(%d s). End them or try again later: %s",
	              j->table->schema, j->table->name, PUB_WRITERS_MAX_MS / 1000, who.data);
	buf_clear(&who);
	return -1;
}

int pg_join_wait_for_writers(const struct join *j, struct err *e)
{
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, j->table->oid);
	const char *const params[] = {oid};
	int64_t deadline_ms = clock_mono_ms() + PUB_WRITERS_MAX_MS, poll_ms = WRITERS_POLL_MIN_MS;
	int rc = 0, left = 0;
	bool *waiting = NULL;
	PGresult *now = NULL, *first = pg_query(j->conn, writers_sql, 1, params, e);
	if (first == NULL) {
		rc = -1;
		goto out;
	}
	left = PQntuples(first);
	waiting = mem_alloc((size_t)left * sizeof *waiting);
	memset(waiting, 1, (size_t)left * sizeof *waiting);
	while (left > 0) {
		pg_join_pause_ms(poll_ms);
		poll_ms = poll_ms * 2 < WRITERS_POLL_MAX_MS ? poll_ms * 2 : WRITERS_POLL_MAX_MS;
		if (pg_join_cancelled(j)) {
			rc = pg_join_err_cancelled(e);
			goto out;
		}
		PQclear(now);
		now = pg_query(j->conn, writers_sql, 1, params, e);
		if (now == NULL) {
			rc = -1;
			goto out;
		}
		left = still_there(first, waiting, now);
		if (left > 0 && clock_mono_ms() >= deadline_ms) {
			rc = err_writers(j, first, waiting, now, e);
			goto out;
		}
	}
out:
	PQclear(first);
	PQclear(now);
	free(waiting);
	return rc;
}
