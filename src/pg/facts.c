/* facts.c - what a server says of itself, for `busbar doctor`; see facts.h. */
#include "pg/facts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pg/conn.h"
#include "pg/query.h"

#define ROW_FILTERS_SINCE 150000  /* and column lists */
#define CONFLICTING_SINCE 160000
#define INVALIDATION_REASON_SINCE 170000
#define GENERATED_COLUMNS_SINCE 180000
#define STRANGERS_MAX "50"

struct gather {
	const struct config *config;
	PGconn *conn;
	struct pg_facts *out;
	struct err err;
};

/* ---- strings, statements ---- */

static const char *keep(struct pg_facts *f, const char *s) { return arena_strndup(&f->arena, s, strlen(s)); }

static const char *text(struct gather *g, const PGresult *res, int row, int col) { return keep(g->out, pg_value(res, row, col)); }

/* -1 for NULL. */
static int64_t number(const PGresult *res, int row, int col)
{
	return PQgetisnull(res, row, col) ? -1 : pg_value_int(res, row, col);
}

/* One statement in a transaction of its own. */
static PGresult *ask(struct gather *g, const char *sql, int nparams, const char *const *params)
{
	char begin[700];
	snprintf(begin, sizeof begin, "BEGIN READ ONLY; %s; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d",
	         pg_session_settings_sql(true), FACTS_STATEMENT_TIMEOUT_MS, FACTS_LOCK_TIMEOUT_MS);
	if (pg_command(g->conn, begin, &g->err) != 0)
		return NULL;
	PGresult *res = pg_query(g->conn, sql, nparams, params, &g->err);
	struct err ignored;
	if (res == NULL)
		pg_rollback(g->conn);
	else if (pg_command(g->conn, "COMMIT", &ignored) != 0)
		pg_rollback(g->conn);
	return res;
}

/* The same for a part; NULL: its trouble is noted. */
static PGresult *ask_part(struct gather *g, enum pg_facts_part part, const char *sql, int nparams, const char *const *params)
{
	PGresult *res = ask(g, sql, nparams, params);
	if (res == NULL)
		g->out->trouble[part] = keep(g->out, g->err.text);
	return res;
}

static int kept_rows(const PGresult *res) { return PQntuples(res) < FACTS_ROWS_MAX ? PQntuples(res) : FACTS_ROWS_MAX; }

/* ---- connections ---- */

static void link_failed(struct gather *g, const struct config *c, struct pg_facts_link *l)
{
	char line[sizeof g->err.text];
	(void)pg_classify(c, &g->err, line, sizeof line);
	l->line = keep(g->out, line);
	l->error = keep(g->out, g->err.text);
	l->sqlstate = keep(g->out, g->err.sqlstate);
	l->pooler = pg_is_pooler(&g->err);
}

static PGconn *open_link(struct gather *g, const struct config *c, enum pg_role role, struct pg_facts_link *l)
{
	*l = (struct pg_facts_link){.tried = true, .error = "", .sqlstate = "", .line = "", .tls_version = ""};
	err_clear(&g->err);
	PGconn *conn = pg_connect_plain(c, role, &g->err);
	if (conn == NULL) {
		link_failed(g, c, l);
		return NULL;
	}
	l->connected = true;
	l->tls = PQsslInUse(conn) != 0;
	const char *version = l->tls ? PQsslAttribute(conn, "protocol") : NULL;
	l->tls_version = keep(g->out, version != NULL ? version : "");
	return conn;
}

/* Both URLs are connected to in the same way: as snapshots are, without settings of a session. */
static struct config as_snapshots(const struct config *c, const struct config_url *u)
{
	struct config out = *c; /* to look at; whose it is doesn't change */
	out.pooled_database = *u;
	out.database = *u; /* for messages */
	return out;
}

static const char *read_system_id(struct gather *g)
{
	PGresult *res = ask(g, "SELECT system_identifier FROM pg_catalog.pg_control_system()", 0, NULL);
	const char *id = res != NULL && PQntuples(res) > 0 ? text(g, res, 0, 0) : NULL; /* not every role may */
	PQclear(res);
	return id;
}

/* ---- the server ---- */

static enum pg_service service_of(const char *roles)
{
	static const char *const mark[PG_SERVICES] = {
		NULL, "rds_superuser", "cloudsqlsuperuser", "azure_pg_admin", "supabase_admin", "neon_superuser",
	};
	for (enum pg_service s = PG_SERVICE_NONE + 1; s < PG_SERVICES; s++)
		if (strstr(roles, mark[s]) != NULL)
			return s;
	return PG_SERVICE_NONE;
}

#define IS_BUSBAR "(application_name = 'busbar' OR application_name LIKE 'busbar %')"

enum {
	SERVER_VERSION_NUM, SERVER_VERSION, SERVER_STANDBY, SERVER_ENCODING, SERVER_PID, SERVER_CLOCK, SERVER_DATABASE, SERVER_USER,
	SERVER_MAY_CREATE, SERVER_OWNS, SERVER_DATABASE_LIMIT, SERVER_SUPER, SERVER_REPLICATION, SERVER_BYPASS, SERVER_ROLE_LIMIT,
	SERVER_ROLES, SERVER_RDS, SERVER_MONITORS, SERVER_STANDBY_SNAPSHOT, SERVER_BACKENDS, SERVER_OURS, SERVER_SENDERS, SERVER_OUR_SENDERS,
};

static const char server_sql[] =
	"SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_version'),"
	" pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_encoding'), pg_catalog.pg_backend_pid(),"
	" (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8, d.datname, r.rolname,"
	" pg_catalog.has_database_privilege(d.oid, 'CREATE'), pg_catalog.pg_has_role(d.datdba, 'USAGE'), d.datconnlimit,"
	" r.rolsuper, r.rolreplication, r.rolbypassrls, r.rolconnlimit,"
	" (SELECT pg_catalog.string_agg(s.rolname, ' ') FROM pg_catalog.pg_roles s WHERE s.rolname IN ('rds_superuser',"
	"  'cloudsqlsuperuser', 'azure_pg_admin', 'supabase_admin', 'neon_superuser')),"
	" EXISTS (SELECT FROM pg_catalog.pg_roles s WHERE s.rolname = 'rds_replication' AND pg_catalog.pg_has_role(s.oid, 'MEMBER')),"
	" pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'),"
	" (SELECT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')::pg_catalog.int4 FROM pg_catalog.pg_proc p"
	"  WHERE p.proname = 'pg_log_standby_snapshot' AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace),"
	" (SELECT pg_catalog.sum(b.numbackends) FROM pg_catalog.pg_stat_database b),"
	" (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE usename = r.rolname AND datname = d.datname"
	"  AND pid <> pg_catalog.pg_backend_pid() AND " IS_BUSBAR "),"
	" (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication),"
	" (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication WHERE usename = r.rolname AND " IS_BUSBAR ")"
	" FROM pg_catalog.pg_roles r, pg_catalog.pg_database d"
	" WHERE r.rolname = CURRENT_USER AND d.datname = pg_catalog.current_database()";

static void fill_server(struct gather *g, const PGresult *res)
{
	struct pg_facts *f = g->out;
	f->version_num = (int)pg_value_int(res, 0, SERVER_VERSION_NUM);
	f->version = text(g, res, 0, SERVER_VERSION);
	f->standby = pg_value_bool(res, 0, SERVER_STANDBY);
	f->encoding = text(g, res, 0, SERVER_ENCODING);
	f->main.pooler = pg_value_int(res, 0, SERVER_PID) != PQbackendPID(g->conn);
	f->database = text(g, res, 0, SERVER_DATABASE);
	f->user = text(g, res, 0, SERVER_USER);
	f->may_create = pg_value_bool(res, 0, SERVER_MAY_CREATE);
	f->owns_database = pg_value_bool(res, 0, SERVER_OWNS);
	f->database_limit = (int)number(res, 0, SERVER_DATABASE_LIMIT);
	f->superuser = pg_value_bool(res, 0, SERVER_SUPER);
	f->may_replicate = f->superuser || pg_value_bool(res, 0, SERVER_REPLICATION) || pg_value_bool(res, 0, SERVER_RDS);
	f->bypasses_row_security = f->superuser || pg_value_bool(res, 0, SERVER_BYPASS);
	f->role_limit = (int)number(res, 0, SERVER_ROLE_LIMIT);
	f->service = service_of(pg_value(res, 0, SERVER_ROLES));
	f->monitors = pg_value_bool(res, 0, SERVER_MONITORS);
	f->standby_snapshot = (int)number(res, 0, SERVER_STANDBY_SNAPSHOT);
	f->ours = (int)pg_value_int(res, 0, SERVER_OURS);
	f->senders = (int)pg_value_int(res, 0, SERVER_SENDERS);
	f->our_senders = (int)pg_value_int(res, 0, SERVER_OUR_SENDERS);
	/* Walsenders have places of their own. */
	int64_t backends = pg_value_int(res, 0, SERVER_BACKENDS) - f->senders;
	f->backends = backends > 0 ? (int)backends : 0;
}

static void gather_server(struct gather *g)
{
	/* Once before, so that what is slow the first time isn't in the round trip. */
	PQclear(ask(g, server_sql, 0, NULL));
	int64_t before_us = clock_wall_us();
	PGresult *res = ask_part(g, PG_FACTS_SERVER, server_sql, 0, NULL);
	int64_t after_us = clock_wall_us();
	if (res != NULL && PQntuples(res) == 1) {
		fill_server(g, res);
		g->out->round_trip_us = after_us - before_us;
		g->out->skew_us = pg_value_int(res, 0, SERVER_CLOCK) - (before_us + (after_us - before_us) / 2);
		g->out->system_id = read_system_id(g);
	} else if (res != NULL) {
		g->out->trouble[PG_FACTS_SERVER] = "the catalog doesn't show this role or this database";
	}
	PQclear(res);
}

/* reset_val: our own statement_timeout isn't meant. */
static const char settings_sql[] =
	"SELECT s.name, s.reset_val, s.pending_restart, EXISTS (SELECT FROM pg_catalog.pg_db_role_setting d, pg_catalog.unnest(d.setconfig) AS c (t)"
	"  WHERE d.setrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)"
	"  AND d.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
	"  AND pg_catalog.split_part(c.t, '=', 1) = s.name)"
	" FROM pg_catalog.pg_settings s WHERE s.name IN ('wal_level', 'max_replication_slots', 'max_wal_senders', 'max_connections',"
	" 'superuser_reserved_connections', 'reserved_connections', 'max_slot_wal_keep_size', 'idle_replication_slot_timeout',"
	" 'wal_sender_timeout', 'logical_decoding_work_mem', 'synchronous_commit', 'synchronous_standby_names', 'statement_timeout',"
	" 'idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout')";

static struct pg_facts_setting *read_settings(struct gather *g, const PGresult *res, int *n)
{
	*n = kept_rows(res);
	struct pg_facts_setting *list = arena_alloc(&g->out->arena, sizeof *list * (size_t)(*n + 1));
	for (int i = 0; i < *n; i++)
		list[i] = (struct pg_facts_setting){
			.name = text(g, res, i, 0), .value = text(g, res, i, 1), .pending_restart = pg_value_bool(res, i, 2),
			.in_database = pg_value_bool(res, i, 3),
		};
	return list;
}

static void gather_settings(struct gather *g)
{
	PGresult *res = ask_part(g, PG_FACTS_SETTINGS, settings_sql, 0, NULL);
	if (res != NULL)
		g->out->settings = read_settings(g, res, &g->out->nsettings);
	PQclear(res);
}

/* ---- slots, transactions, the lock ---- */

enum {
	SLOT_NAME, SLOT_PLUGIN, SLOT_DATABASE, SLOT_ACTIVE, SLOT_TEMPORARY, SLOT_PID, SLOT_STATUS, SLOT_REASON, SLOT_RETAINED, SLOT_BEHIND,
};

static void gather_slots(struct gather *g)
{
	struct pg_facts *f = g->out;
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_puts(&sql, "SELECT s.slot_name, s.plugin, s.database, s.active, s.temporary, s.active_pid, s.wal_status, ");
	buf_puts(&sql, f->version_num >= INVALIDATION_REASON_SINCE ? "s.invalidation_reason"
	               : f->version_num >= CONFLICTING_SINCE       ? "CASE WHEN s.conflicting THEN 'conflict' END"
	                                                           : "NULL");
	buf_puts(&sql, ", pg_catalog.pg_wal_lsn_diff(w.lsn, s.restart_lsn)::pg_catalog.int8, CASE WHEN s.slot_type = 'logical' THEN"
	               " pg_catalog.pg_wal_lsn_diff(w.lsn, s.confirmed_flush_lsn)::pg_catalog.int8 END"
	               " FROM pg_catalog.pg_replication_slots s, (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN"
	               " pg_catalog.pg_last_wal_receive_lsn() ELSE pg_catalog.pg_current_wal_lsn() END) AS w (lsn) ORDER BY 1");
	PGresult *res = ask_part(g, PG_FACTS_SLOTS, sql.data, 0, NULL);
	buf_clear(&sql);
	if (res == NULL)
		return;
	f->slots_in_all = PQntuples(res);
	f->nslots = kept_rows(res);
	f->slots = arena_alloc(&f->arena, sizeof *f->slots * (size_t)(f->nslots + 1));
	for (int i = 0; i < f->nslots; i++) {
		struct pg_facts_slot *s = &f->slots[i];
		*s = (struct pg_facts_slot){
			.name = text(g, res, i, SLOT_NAME), .plugin = text(g, res, i, SLOT_PLUGIN), .database = text(g, res, i, SLOT_DATABASE),
			.active = pg_value_bool(res, i, SLOT_ACTIVE), .temporary = pg_value_bool(res, i, SLOT_TEMPORARY),
			.active_pid = (int)pg_value_int(res, i, SLOT_PID), .wal_status = text(g, res, i, SLOT_STATUS),
			.reason = text(g, res, i, SLOT_REASON), .retained_bytes = number(res, i, SLOT_RETAINED),
			.behind_bytes = number(res, i, SLOT_BEHIND),
		};
		s->lost = strcmp(s->wal_status, "lost") == 0 || s->reason[0] != '\0';
		if (s->lost)
			s->retained_bytes = -1;
	}
	PQclear(res);
}

static void gather_transactions(struct gather *g)
{
	static const char sql[] =
		"SELECT t.pid, t.gid, t.usr, t.application, t.db, t.state, (extract(epoch FROM pg_catalog.clock_timestamp() - t.since))::pg_catalog.int8"
		" FROM (SELECT a.pid, NULL::pg_catalog.text AS gid, a.usename AS usr, a.application_name AS application, a.datname AS db, a.state,"
		"  a.xact_start AS since, a.backend_xid AS xid FROM pg_catalog.pg_stat_activity a"
		"  WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.pid IN (SELECT l.pid FROM pg_catalog.pg_locks l"
		"   WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted)"
		"  UNION ALL SELECT 0, p.gid, p.owner, '', p.database, 'prepared', p.prepared, p.transaction FROM pg_catalog.pg_prepared_xacts p) t"
		" ORDER BY pg_catalog.age(t.xid) DESC NULLS LAST";
	struct pg_facts *f = g->out;
	PGresult *res = ask_part(g, PG_FACTS_TRANSACTIONS, sql, 0, NULL);
	if (res == NULL)
		return;
	f->ntransactions = kept_rows(res);
	f->transactions = arena_alloc(&f->arena, sizeof *f->transactions * (size_t)(f->ntransactions + 1));
	for (int i = 0; i < f->ntransactions; i++)
		f->transactions[i] = (struct pg_facts_transaction){
			.pid = (int)pg_value_int(res, i, 0), .gid = text(g, res, i, 1), .user = text(g, res, i, 2),
			.application = text(g, res, i, 3), .database = text(g, res, i, 4), .state = text(g, res, i, 5),
			.age_s = number(res, i, 6),
		};
	PQclear(res);
}

static void gather_lock(struct gather *g)
{
	static const char sql[] =
		"SELECT l.pid, a.application_name, a.usename FROM pg_catalog.pg_locks l"
		" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
		" WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"
		" AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
		" AND ((l.classid::pg_catalog.int8 << 32) | l.objid::pg_catalog.int8) = pg_catalog.hashtext($1::pg_catalog.text)::pg_catalog.int8";
	PGresult *res = ask_part(g, PG_FACTS_LOCK, sql, 1, (const char *const[]){g->config->slot_name});
	if (res != NULL && PQntuples(res) > 0) {
		g->out->lock_pid = (int)pg_value_int(res, 0, 0);
		g->out->lock_application = text(g, res, 0, 1);
		g->out->lock_user = text(g, res, 0, 2);
	}
	PQclear(res);
}

/* ---- publication, tables ---- */

static void gather_entries(struct gather *g)
{
	static const char sql[] =
		"SELECT n.nspname, c.relname, pr.prqual IS NOT NULL, pr.prattrs IS NOT NULL FROM pg_catalog.pg_publication_rel pr"
		" JOIN pg_catalog.pg_publication p ON p.oid = pr.prpubid JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid"
		" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE p.pubname = $1::pg_catalog.text AND (pr.prqual IS NOT NULL OR pr.prattrs IS NOT NULL) ORDER BY 1, 2";
	struct pg_facts *f = g->out;
	if (f->version_num < ROW_FILTERS_SINCE)
		return;
	PGresult *res = ask_part(g, PG_FACTS_PUBLICATION, sql, 1, (const char *const[]){g->config->publication_name});
	if (res == NULL)
		return;
	f->nentries = kept_rows(res);
	f->entries = arena_alloc(&f->arena, sizeof *f->entries * (size_t)(f->nentries + 1));
	for (int i = 0; i < f->nentries; i++)
		f->entries[i] = (struct pg_facts_entry){text(g, res, i, 0), text(g, res, i, 1), pg_value_bool(res, i, 2), pg_value_bool(res, i, 3)};
	PQclear(res);
}

static void gather_publication(struct gather *g)
{
	struct pg_facts *f = g->out;
	char sql[700];
	snprintf(sql, sizeof sql,
	         "SELECT p.puballtables, p.pubviaroot, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,"
	         " pg_catalog.pg_has_role(p.pubowner, 'USAGE'), pg_catalog.pg_get_userbyid(p.pubowner), %s"
	         " FROM pg_catalog.pg_publication p WHERE p.pubname = $1::pg_catalog.text",
	         f->version_num >= GENERATED_COLUMNS_SINCE ? "p.pubgencols" : "''");
	PGresult *res = ask_part(g, PG_FACTS_PUBLICATION, sql, 1, (const char *const[]){g->config->publication_name});
	f->published = res != NULL && PQntuples(res) > 0;
	if (f->published) {
		f->all_tables = pg_value_bool(res, 0, 0);
		f->via_root = pg_value_bool(res, 0, 1);
		f->inserts = pg_value_bool(res, 0, 2);
		f->updates = pg_value_bool(res, 0, 3);
		f->deletes = pg_value_bool(res, 0, 4);
		f->truncates = pg_value_bool(res, 0, 5);
		f->may_alter = pg_value_bool(res, 0, 6);
		f->publication_owner = text(g, res, 0, 7);
		f->generated = pg_value(res, 0, 8)[0];
		gather_entries(g);
	}
	PQclear(res);
}

/* Leaves, also where publish_via_partition_root has the roots listed: what is amiss with them is shown by one look, not by the next. */
static void gather_tables(struct gather *g)
{
	static const char sql[] =
		"WITH listed AS MATERIALIZED (SELECT c.oid, c.relkind FROM pg_catalog.pg_publication_tables t"
		"  JOIN pg_catalog.pg_namespace n ON n.nspname = t.schemaname"
		"  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename WHERE t.pubname = $1::pg_catalog.text),"
		" leaf AS (SELECT oid FROM listed WHERE relkind <> 'p' UNION SELECT p.relid FROM listed, LATERAL pg_catalog.pg_partition_tree(listed.oid) AS p"
		"  WHERE listed.relkind = 'p' AND p.isleaf) "
		"SELECT c.oid, n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner), c.relkind, c.relreplident,"
		" pg_catalog.pg_has_role(c.relowner, 'USAGE'), c.relispartition,"
		" (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
		"  AND a.attgenerated = 's'),"
		" (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
		"  AND a.attgenerated = 'v')"
		" FROM leaf JOIN pg_catalog.pg_class c ON c.oid = leaf.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 2, 3";
	struct pg_facts *f = g->out;
	PGresult *res = ask_part(g, PG_FACTS_TABLES, sql, 1, (const char *const[]){g->config->publication_name});
	if (res == NULL)
		return;
	f->tables_in_all = PQntuples(res);
	f->ntables = kept_rows(res);
	f->tables = arena_alloc(&f->arena, sizeof *f->tables * (size_t)(f->ntables + 1));
	for (int i = 0; i < f->ntables; i++)
		f->tables[i] = (struct pg_facts_table){
			.oid = pg_value_oid(res, i, 0), .schema = text(g, res, i, 1), .name = text(g, res, i, 2), .owner = text(g, res, i, 3),
			.relkind = pg_value(res, i, 4)[0], .identity = pg_value(res, i, 5)[0], .owned = pg_value_bool(res, i, 6),
			.partition = pg_value_bool(res, i, 7), .generated = (int)pg_value_int(res, i, 8),
			.virtuals = (int)pg_value_int(res, i, 9), .may_use_schema = true, .may_select = true,
		};
	PQclear(res);
}

/* Who reads a partitioned table needs rights on its root alone; and its policies count. */
static void gather_reader(struct gather *g)
{
	static const char sql[] =
		"SELECT c.oid, pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),"
		" pg_catalog.has_any_column_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(r.oid, 'SELECT'),"
		" pg_catalog.row_security_active(r.oid)"
		" FROM pg_catalog.pg_class c, LATERAL (SELECT COALESCE(pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid, c.oid)) AS r (oid)"
		" WHERE c.oid = ANY ($1::pg_catalog.oid[])";
	struct pg_facts *f = g->out;
	struct buf oids = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_putc(&oids, '{');
	for (int i = 0; i < f->ntables; i++)
		buf_printf(&oids, "%s%" PRIu32, i > 0 ? "," : "", f->tables[i].oid);
	buf_putc(&oids, '}');
	PGresult *res = ask_part(g, PG_FACTS_READER, sql, 1, (const char *const[]){oids.data});
	for (int row = 0; res != NULL && row < PQntuples(res); row++)
		for (int i = 0; i < f->ntables; i++) {
			if (f->tables[i].oid != pg_value_oid(res, row, 0))
				continue;
			f->tables[i].may_use_schema = pg_value_bool(res, row, 1);
			f->tables[i].may_select = pg_value_bool(res, row, 2);
			f->tables[i].row_security = pg_value_bool(res, row, 3);
		}
	PQclear(res);
	buf_clear(&oids);
}

/* Tables that could get shapes: not those of extensions. `ready`: published and FULL, whoever owns it. */
#define CANDIDATES_SQL                                                                                                 \
	"WITH p AS MATERIALIZED (SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables WHERE pubname = $1::pg_catalog.text"   \
	" UNION SELECT n.nspname, c.relname FROM pg_catalog.pg_publication_rel pr JOIN pg_catalog.pg_publication b ON b.oid = pr.prpubid"  \
	"  JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"       \
	"  WHERE b.pubname = $1::pg_catalog.text),"                                                                       \
	" t AS (SELECT c.oid, n.nspname, c.relname, c.relowner,"                                                           \
	" pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT') AS readable," \
	" pg_catalog.pg_has_role(c.relowner, 'USAGE') AS owned, pg_catalog.row_security_active(c.oid) AS secured,"         \
	" p.tablename IS NOT NULL AND (c.relreplident = 'f' OR c.relkind = 'p') AS ready"                                  \
	" FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                            \
	" LEFT JOIN p ON p.schemaname = n.nspname AND p.tablename = c.relname"                                            \
	" WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition AND NOT pg_catalog.starts_with(n.nspname, 'pg_')"  \
	" AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"                       \
	"  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')) "

static void gather_candidates(struct gather *g)
{
	static const char counts_sql[] = CANDIDATES_SQL
		"SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE readable),"
		" pg_catalog.count(*) FILTER (WHERE readable AND NOT owned AND NOT ready),"
		" pg_catalog.count(*) FILTER (WHERE readable AND secured) FROM t";
	static const char strangers_sql[] = CANDIDATES_SQL
		"SELECT t.oid, nspname, relname, o.rolname, o.rolsuper FROM t JOIN pg_catalog.pg_roles o ON o.oid = relowner WHERE readable AND NOT owned AND NOT ready"
		" ORDER BY 2, 3 LIMIT " STRANGERS_MAX;
	struct pg_facts *f = g->out;
	const char *const params[] = {g->config->publication_name};
	PGresult *counts = ask_part(g, PG_FACTS_CANDIDATES, counts_sql, 1, params);
	PGresult *res = counts != NULL ? ask_part(g, PG_FACTS_CANDIDATES, strangers_sql, 1, params) : NULL;
	if (res != NULL) {
		f->user_tables = (int)pg_value_int(counts, 0, 0);
		f->readable = (int)pg_value_int(counts, 0, 1);
		f->unowned = (int)pg_value_int(counts, 0, 2);
		f->secured = (int)pg_value_int(counts, 0, 3);
		f->nstrangers = PQntuples(res);
		f->strangers = arena_alloc(&f->arena, sizeof *f->strangers * (size_t)(f->nstrangers + 1));
		for (int i = 0; i < f->nstrangers; i++)
			f->strangers[i] = (struct pg_facts_table){
				.oid = pg_value_oid(res, i, 0), .schema = text(g, res, i, 1), .name = text(g, res, i, 2), .owner = text(g, res, i, 3),
				.superusers = pg_value_bool(res, i, 4),
			};
	}
	PQclear(res);
	PQclear(counts);
}

/* ---- the other connections ---- */

/* A walsender that lives for a moment: only where another is free besides. */
static void gather_replication(struct gather *g)
{
	struct pg_facts *f = g->out;
	int64_t places = pg_facts_number(f, "max_wal_senders");
	if (places >= 0 && f->senders >= places)
		return;
	PGconn *conn = open_link(g, g->config, PG_ROLE_REPLICATION, &f->replication);
	if (conn == NULL)
		return;
	PGresult *res = PQexec(conn, "IDENTIFY_SYSTEM");
	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1) {
		f->system_id = text(g, res, 0, 0);
	} else {
		(void)pg_error(&g->err, conn, res);
		f->replication.connected = false;
		link_failed(g, g->config, &f->replication);
	}
	PQclear(res);
	PQfinish(conn);
}

static void gather_pooled(struct gather *g)
{
	static const char sql[] = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), CURRENT_USER, pg_catalog.current_database()";
	struct pg_facts *f = g->out;
	struct config c = as_snapshots(g->config, &g->config->pooled_database);
	f->pooled_differs = true;
	PGconn *conn = open_link(g, &c, PG_ROLE_SNAPSHOT, &f->pooled);
	if (conn == NULL) {
		f->trouble[PG_FACTS_READER] = f->pooled.line;
		return;
	}
	struct gather theirs = {.config = g->config, .conn = conn, .out = f};
	PGresult *res = ask(&theirs, sql, 0, NULL);
	if (res == NULL) {
		f->pooled.connected = false;
		link_failed(&theirs, &c, &f->pooled);
		f->trouble[PG_FACTS_READER] = f->pooled.line;
	} else {
		f->pooled.pooler = pg_value_int(res, 0, 0) != PQbackendPID(conn);
		f->pooled_standby = pg_value_bool(res, 0, 1);
		f->pooled_user = text(g, res, 0, 2);
		f->pooled_database = text(g, res, 0, 3);
		f->pooled_system_id = read_system_id(&theirs);
		PGresult *settings = ask(&theirs, settings_sql, 0, NULL);
		if (settings != NULL)
			f->pooled_settings = read_settings(&theirs, settings, &f->npooled_settings);
		PQclear(settings);
		gather_reader(&theirs);
	}
	PQclear(res);
	PQfinish(conn);
}

/* ---- public ---- */

static void gather_all(struct gather *g)
{
	gather_server(g);
	if (g->out->trouble[PG_FACTS_SERVER] != NULL) {
		for (enum pg_facts_part p = PG_FACTS_SERVER + 1; p < PG_FACTS_PARTS; p++)
			g->out->trouble[p] = g->out->trouble[PG_FACTS_SERVER];
		return;
	}
	gather_settings(g);
	gather_slots(g);
	gather_transactions(g);
	gather_lock(g);
	gather_publication(g);
	gather_tables(g);
	gather_candidates(g);
	if (pg_pooled_differs(g->config))
		gather_pooled(g);
	else
		gather_reader(g);
	gather_replication(g);
}

void pg_facts_gather(const struct config *c, struct pg_facts *out)
{
	*out = (struct pg_facts){.arena = ARENA_INIT, .database_limit = -1, .role_limit = -1, .standby_snapshot = -1};
	struct gather g = {.config = c, .out = out};
	struct config plain = as_snapshots(c, &c->database);
	g.conn = open_link(&g, &plain, PG_ROLE_SNAPSHOT, &out->main);
	if (g.conn == NULL) {
		for (enum pg_facts_part p = PG_FACTS_SERVER; p < PG_FACTS_PARTS; p++)
			out->trouble[p] = out->main.line;
		return;
	}
	gather_all(&g);
	PQfinish(g.conn);
}

void pg_facts_clear(struct pg_facts *f)
{
	arena_clear(&f->arena);
	*f = (struct pg_facts){.arena = ARENA_INIT};
}

const char *pg_facts_setting(const struct pg_facts *f, const char *name)
{
	for (int i = 0; i < f->nsettings; i++)
		if (strcmp(f->settings[i].name, name) == 0)
			return f->settings[i].value;
	return "";
}

int64_t pg_facts_number(const struct pg_facts *f, const char *name)
{
	const char *value = pg_facts_setting(f, name);
	return value[0] != '\0' ? strtoll(value, NULL, 10) : -1;
}

const struct pg_facts_slot *pg_facts_slot(const struct pg_facts *f, const char *name)
{
	for (int i = 0; i < f->nslots; i++)
		if (strcmp(f->slots[i].name, name) == 0)
			return &f->slots[i];
	return NULL;
}

int pg_facts_apply(const struct config *c, const char *sql, struct err *e)
{
	struct config plain = as_snapshots(c, &c->database);
	PGconn *conn = pg_connect_plain(&plain, PG_ROLE_SNAPSHOT, e);
	if (conn == NULL)
		return -1;
	char settings[200];
	/* A session of a pooler is never altered: the server's own process must be the one that answers. */
	snprintf(settings, sizeof settings, "SET search_path = pg_catalog; SET default_transaction_read_only = off;"
	         " SET statement_timeout = %d; SET lock_timeout = %d", FACTS_APPLY_TIMEOUT_MS, FACTS_APPLY_LOCK_MS);
	PGresult *res = pg_query(conn, "SELECT pg_catalog.pg_backend_pid()", 0, NULL, e);
	int rc = res == NULL ? -1 : 0;
	if (rc == 0 && pg_value_int(res, 0, 0) != PQbackendPID(conn))
		rc = err_set(e, ERR_CONFIG, "a pooler stands in between; run it in a session with Postgres itself");
	PQclear(res);
	if (rc == 0)
		rc = pg_command(conn, settings, e);
	if (rc == 0)
		rc = pg_command(conn, sql, e);
	PQfinish(conn);
	return rc;
}
