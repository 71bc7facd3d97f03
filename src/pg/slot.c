/* slot.c - a look at a replication slot, and at who keeps it from moving; see slot.h. */
#include "pg/slot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg/query.h"

/*
 * invalidation_reason came with 17, so it is taken from the row as JSON. pg_size_bytes() reads what current_setting() writes, and -1.
 */
static const char look_sql[] =
	"SELECT s.slot_name IS NOT NULL, s.wal_status, s.active, s.restart_lsn, s.confirmed_flush_lsn, pg_catalog.pg_current_wal_lsn(),"
	" s.safe_wal_size, pg_catalog.to_jsonb(s) ->> 'invalidation_reason',"
	" pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_slot_wal_keep_size')),"
	" pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),"
	" pg_catalog.current_setting('synchronous_standby_names')"
	" FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_replication_slots s"
	" ON s.slot_name = $1 AND s.plugin = 'pgoutput' AND s.database = pg_catalog.current_database()";

enum {
	LOOK_THERE, LOOK_STATUS, LOOK_ACTIVE, LOOK_RESTART, LOOK_CONFIRMED, LOOK_WAL_END, LOOK_SAFE, LOOK_INVALIDATION, LOOK_KEEP,
	LOOK_SEGMENT, LOOK_SYNC,
};

static enum pg_slot_status status_of(const PGresult *res)
{
	static const struct { const char *name; enum pg_slot_status status; } all[] = {
		{"extended", SLOT_EXTENDED}, {"unreserved", SLOT_UNRESERVED}, {"lost", SLOT_LOST},
	};
	if (!pg_value_bool(res, 0, LOOK_THERE))
		return SLOT_MISSING;
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (strcmp(pg_value(res, 0, LOOK_STATUS), all[i].name) == 0)
			return all[i].status;
	return SLOT_RESERVED;
}

static lsn_t lsn_or_0(const PGresult *res, int column)
{
	lsn_t lsn;
	return lsn_parse(pg_value(res, 0, column), &lsn) ? lsn : 0;
}

int pg_slot_look(PGconn *conn, const char *slot, struct pg_slot_look *out, struct err *e)
{
	const char *const params[] = {slot};
	PGresult *res = pg_query_kept(conn, "slot_look", look_sql, 1, params, e);
	if (res == NULL)
		return -1;
	*out = (struct pg_slot_look){
		.status = status_of(res), .active = pg_value_bool(res, 0, LOOK_ACTIVE), .wal_end = lsn_or_0(res, LOOK_WAL_END),
		.restart = lsn_or_0(res, LOOK_RESTART), .confirmed = lsn_or_0(res, LOOK_CONFIRMED),
		.safe_bytes = PQgetisnull(res, 0, LOOK_SAFE) ? -1 : pg_value_int(res, 0, LOOK_SAFE),
		.keep_bytes = pg_value_int(res, 0, LOOK_KEEP), .segment_bytes = pg_value_int(res, 0, LOOK_SEGMENT),
	};
	snprintf(out->invalidation, sizeof out->invalidation, "%s", pg_value(res, 0, LOOK_INVALIDATION));
	snprintf(out->sync_names, sizeof out->sync_names, "%s", pg_value(res, 0, LOOK_SYNC));
	int rc = out->wal_end != 0 ? 0 : err_set(e, ERR_PROTOCOL, "Postgres answered with a position that can't be read");
	PQclear(res);
	return rc;
}

/*
 * Whoever has an xid holds a lock on it, prepared transactions too, and everybody may see that; since when it runs is shown to
 * its own role, to superusers and to members of pg_read_all_stats. A slot's restart_lsn stays where the oldest transaction began
 * that was running where the slot stands, of any database; a new slot waits for all that run.
 */
static const char oldest_sql[] =
	"SELECT l.transactionid::pg_catalog.text, l.pid,"
	" (extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(p.prepared, a.xact_start)) * 1000)::pg_catalog.int8,"
	" coalesce(p.owner, a.usename), coalesce(p.database, a.datname), a.application_name, p.gid"
	" FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
	" LEFT JOIN pg_catalog.pg_prepared_xacts p ON l.pid IS NULL AND p.transaction = l.transactionid"
	" WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted"
	" AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()"
	" ORDER BY pg_catalog.age(l.transactionid) DESC LIMIT 1";

enum { OLDEST_XID, OLDEST_PID, OLDEST_AGE, OLDEST_USER, OLDEST_DATABASE, OLDEST_APPLICATION, OLDEST_GID };

static void put_who(const PGresult *res, char *out, size_t max)
{
	const char *user = pg_value(res, 0, OLDEST_USER), *database = pg_value(res, 0, OLDEST_DATABASE);
	if (PQgetisnull(res, 0, OLDEST_PID))
		snprintf(out, max, "prepared transaction \"%s\" (user \"%s\", database \"%s\")", pg_value(res, 0, OLDEST_GID), user, database);
	else
		snprintf(out, max, "process %s (user \"%s\", database \"%s\", application \"%s\")", pg_value(res, 0, OLDEST_PID), user, database,
		         pg_value(res, 0, OLDEST_APPLICATION));
}

int pg_slot_oldest(PGconn *conn, struct pg_oldest *out, struct err *e)
{
	*out = (struct pg_oldest){0};
	PGresult *res = pg_query_kept(conn, "slot_oldest", oldest_sql, 0, NULL, e);
	if (res == NULL)
		return -1;
	if (PQntuples(res) > 0) {
		out->xid = pg_value_oid(res, 0, OLDEST_XID);
		out->pid = (int)pg_value_int(res, 0, OLDEST_PID);
		out->age_ms = PQgetisnull(res, 0, OLDEST_AGE) ? -1 : pg_value_int(res, 0, OLDEST_AGE);
		put_who(res, out->who, sizeof out->who);
	}
	PQclear(res);
	return 0;
}

/* The lock is the one that wal/setup.c takes; whoever has it owns the slot. */
static const char drop_sql[] =
	"WITH lock AS MATERIALIZED (SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext($1)) AS got)"
	" SELECT pg_catalog.pg_drop_replication_slot(s.slot_name) FROM lock, pg_catalog.pg_replication_slots s"
	" WHERE lock.got AND s.slot_name = $1 AND s.plugin = 'pgoutput' AND s.database = pg_catalog.current_database()"
	" AND NOT s.active AND s.confirmed_flush_lsn <= $2::pg_catalog.pg_lsn";

int pg_slot_drop_unused(PGconn *conn, const char *slot, lsn_t upto, bool *dropped, struct err *e)
{
	char at[LSN_TEXT_MAX];
	const char *const params[] = {slot, lsn_text(upto, at)};
	PGresult *res = pg_query(conn, drop_sql, 2, params, e);
	*dropped = res != NULL && PQntuples(res) > 0;
	PQclear(res);
	return res != NULL ? 0 : -1;
}

/* What follows the quoted name at `p`, in which a quote is written twice. */
static const char *after_quoted(const char *p)
{
	for (p++; *p != '\0'; p++)
		if (*p == '"' && *++p != '"')
			return p;
	return p;
}

bool pg_sync_names_all(const char *names)
{
	for (const char *p = names, *end; *p != '\0'; p = end) {
		end = *p == '"' ? after_quoted(p) : p + strcspn(p, ",()\" \t\r\n");
		size_t n = (size_t)(end - p);
		if ((n == 1 && *p == '*') || (n == 3 && memcmp(p, "\"*\"", 3) == 0))
			return true;
		end += n == 0;
	}
	return false;
}
