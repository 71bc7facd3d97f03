/*
 * test_doctor.c - each check of `busbar doctor` in each of its outcomes, over facts that are written here; what is printed; what
 * --fix runs. That a server's facts are these is tests/e2e/suites/doctor.mjs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "check.h"
#include "ops/doctor_report.h"

static char user[] = "app", reader_user[] = "reader", host[] = "db.example", other_host[] = "pool.example", database[] = "d", password[] = "geheim",
            slot[] = "electric_slot_default", publication[] = "electric_publication_default", ca[] = "ca.pem";
static struct config c;
static struct pg_facts f;
static struct arena arena;
static struct doctor_look look;
static struct doctor_finding findings[DOCTOR_CHECKS];
static int seen[DOCTOR_CHECKS][DOCTOR_LEVELS];

static struct pg_facts_setting settings[20];

static void set(const char *name, const char *value)
{
	int i = 0;
	while (i < f.nsettings && strcmp(settings[i].name, name) != 0)
		i++;
	f.nsettings = i == f.nsettings ? i + 1 : f.nsettings;
	settings[i] = (struct pg_facts_setting){.name = name, .value = value};
}

static struct pg_facts_link connected(void)
{
	return (struct pg_facts_link){
		.tried = true, .connected = true, .error = "", .sqlstate = "", .line = "", .tls = true, .tls_version = "TLSv1.3",
	};
}

/* A server with which nothing is wrong. */
static void healthy(void)
{
	arena_clear(&arena);
	c = (struct config){
		.database = {.user = user, .password = password, .host = host, .database = database, .port = 5432}, .db_pool_size = 20,
		.pooled_database = {.user = user, .password = password, .host = host, .database = database, .port = 5432},
		.slot_name = slot, .publication_name = publication, .ca_certificate_file = ca,
	};
	f = (struct pg_facts){
		.main = connected(), .replication = connected(), .version_num = 180004, .version = "18.4", .encoding = "UTF8", .system_id = "7",
		.database = database, .user = user, .backends = 4, .database_limit = -1, .role_limit = -1, .may_create = true, .may_replicate = true,
		.monitors = true, .standby_snapshot = 1, .settings = settings, .published = true, .may_alter = true, .inserts = true, .updates = true,
		.deletes = true, .truncates = true, .generated = 's', .publication_owner = user, .user_tables = 3, .readable = 3,
	};
	set("wal_level", "logical");
	set("max_replication_slots", "10");
	set("max_wal_senders", "10");
	set("max_connections", "100");
	set("superuser_reserved_connections", "3");
	set("max_slot_wal_keep_size", "10240");
	set("idle_replication_slot_timeout", "0");
	set("wal_sender_timeout", "60000");
	set("logical_decoding_work_mem", "65536");
	set("synchronous_commit", "on");
	set("synchronous_standby_names", "");
	set("statement_timeout", "0");
	look = (struct doctor_look){.config = &c, .facts = &f, .arena = &arena, .configuration_warnings = ""};
}

static const struct doctor_finding *examine(const char *code)
{
	const struct doctor_finding *out = NULL;
	(void)doctor_examine(&look, findings);
	for (int i = 0; i < DOCTOR_CHECKS; i++)
		if (strcmp(findings[i].code, code) == 0)
			out = &findings[i];
	REQUIRE(out != NULL);
	if (out->what != NULL)
		seen[out - findings][out->level]++;
	CHECK(out->level == DOCTOR_OK || (out->why != NULL && out->why[strlen(out->why) - 1] == '.'));
	for (int i = 0; i < out->nfixes; i++)
		CHECK(!out->fixes[i].sql || out->fixes[i].text[strlen(out->fixes[i].text) - 1] == ';');
	return out;
}

/* The outcome of a check; `what` is a part of its line. All others are as they were: `others` of them aren't OK. */
#define IS(code, want, what) is(code, want, what, __LINE__)
static void is(const char *code, enum doctor_level want, const char *what, int line)
{
	const struct doctor_finding *x = examine(code);
	if (!CHECK(x->what != NULL && x->level == want && strstr(x->what, what) != NULL))
		printf("  line %d: %s: level %d, %s\n", line, code, x->level, x->what != NULL ? x->what : "(not run)");
}

/* Statement i of the last look at this check, on a Postgres of one's own. */
#define MENDS(code, i, want, how) mends(code, PG_SERVICE_NONE, i, want, how, __LINE__)
#define MENDS_ON(service, code, want) mends(code, service, 0, want, DOCTOR_SHOW, __LINE__)
static void mends(const char *code, enum pg_service service, int i, const char *want, enum doctor_apply how, int line)
{
	const struct doctor_finding *x = examine(code);
	for (int k = 0; k < x->nfixes; k++)
		if ((x->fixes[k].services & DOCTOR_ON(service)) && i-- == 0) {
			CHECK_STR(x->fixes[k].text, want);
			if (x->fixes[k].apply != how)
				printf("  line %d: %s\n", line, code);
			CHECK_INT(x->fixes[k].apply, how);
			return;
		}
	printf("  line %d: %s has no such fix\n", line, code);
	CHECK(false);
}

/* ---- nothing wrong ---- */

static void test_healthy(void)
{
	healthy();
	(void)doctor_examine(&look, findings);
	for (int i = 0; i < DOCTOR_CHECKS; i++) {
		if (!CHECK(findings[i].what != NULL && findings[i].level == DOCTOR_OK && findings[i].nfixes == 0 && findings[i].why == NULL))
			printf("  %s: %s\n", findings[i].code, findings[i].what);
		seen[i][DOCTOR_OK]++;
	}
}

/* ---- the way there ---- */

static void test_configuration(void)
{
	healthy();
	look.configuration_warnings = "ELECTRIC_FOO is not read";
	IS("configuration", DOCTOR_ADVICE, "ELECTRIC_FOO");
	look.configuration_error = "You must set ELECTRIC_SECRET";
	IS("configuration", DOCTOR_ERROR, "ELECTRIC_SECRET");
}

static void refused(const char *sqlstate, const char *error, const char *line)
{
	healthy();
	f.main = (struct pg_facts_link){.tried = true, .error = error, .sqlstate = sqlstate, .line = line, .tls_version = ""};
	f.replication = (struct pg_facts_link){.tried = false};
	for (int i = PG_FACTS_SERVER; i < PG_FACTS_PARTS; i++)
		f.trouble[i] = line;
}

static void test_connect(void)
{
	refused("28P01", "password authentication failed for user \"app\"", "password");
	IS("connect", DOCTOR_ERROR, "password");
	MENDS("connect", 0, "ALTER ROLE \"app\" PASSWORD '...';", DOCTOR_SHOW);
	CHECK(examine("wal-level")->what == NULL && examine("wal-level")->level == DOCTOR_OK); /* not run, and not an error more */
	refused("28000", "role \"app\" does not exist", "role \"app\" does not exist");
	MENDS("connect", 0, "CREATE ROLE \"app\" LOGIN REPLICATION PASSWORD '...';", DOCTOR_SHOW);
	refused("28000", "role \"app\" is not permitted to log in", "");
	MENDS("connect", 0, "ALTER ROLE \"app\" LOGIN;", DOCTOR_SHOW);
	refused("28000", "no pg_hba.conf entry for host", "Connection rejected");
	IS("connect", DOCTOR_ERROR, "Connection rejected");
	CHECK(strstr(examine("connect")->fixes[0].text, "pg_hba.conf that lets user \"app\" into database \"d\"") != NULL);
	refused("3D000", "database \"d\" does not exist", "database \"d\" does not exist");
	MENDS("connect", 0, "CREATE DATABASE \"d\" OWNER \"app\";", DOCTOR_SHOW);
	refused("42501", "permission denied for database \"d\"", "permission denied");
	MENDS("connect", 0, "GRANT CONNECT ON DATABASE \"d\" TO \"app\";", DOCTOR_SHOW);
	refused("53300", "sorry, too many clients already", "sorry");
	CHECK(strstr(examine("connect")->fixes[0].text, "max_connections") != NULL);
	refused("57P03", "the database system is starting up", "starting up");
	CHECK(strstr(examine("connect")->fixes[0].text, "wait until") != NULL);
	refused("", "", "SSL connection failed to verify server certificate: Unknown CA");
	CHECK(strstr(examine("connect")->fixes[0].text, "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE") != NULL);
	refused("", "connection refused", "connection refused while trying to connect to db.example:5432");
	CHECK(strstr(examine("connect")->fixes[0].text, "listen_addresses") != NULL);
	f.main.tried = false;
	IS("connect", DOCTOR_OK, "not tried");
}

static void test_pooler(void)
{
	static char neon[] = "ep-x-pooler.eu.aws.neon.tech";
	healthy();
	f.main.pooler = true;
	f.service = PG_SERVICE_NEON;
	IS("pooler", DOCTOR_ERROR, "leads to a connection pooler");
	MENDS_ON(PG_SERVICE_NEON, "pooler", "take \"-pooler\" out of the host in DATABASE_URL; the name with it may be ELECTRIC_POOLED_DATABASE_URL");
	healthy();
	f.replication = (struct pg_facts_link){.tried = true, .pooler = true, .error = "", .line = "the URL leads to a pooler"};
	IS("pooler", DOCTOR_ERROR, "leads to");
	MENDS("pooler", 0, "set DATABASE_URL to the address of Postgres itself, and ELECTRIC_POOLED_DATABASE_URL to the pooler", DOCTOR_SHOW);
	CHECK(strstr(examine("pooler")->fixes[1].text, "db.PROJECT.supabase.co") != NULL);
	CHECK_INT(examine("replication-connection")->nfixes, 0); /* the pooler's finding has what mends it */
	healthy();
	c.database.port = 6543;
	IS("pooler", DOCTOR_OK, "itself"); /* it only looks like one */
	f.replication = (struct pg_facts_link){.tried = false};
	IS("pooler", DOCTOR_WARNING, "host or port");
	refused("", "", "timed out");
	c.database.host = neon;
	IS("pooler", DOCTOR_WARNING, "host or port");
	refused("08P01", "unsupported startup parameter", "leads to a pooler");
	f.main.pooler = true;
	IS("pooler", DOCTOR_ERROR, "leads to");
	CHECK(strstr(examine("connect")->fixes[0].text, "Postgres itself") != NULL);
}

static void test_replication_connection(void)
{
	healthy();
	f.replication = (struct pg_facts_link){.tried = true, .error = "no pg_hba.conf entry", .sqlstate = "28000", .line = "Connection rejected"};
	IS("replication-connection", DOCTOR_ERROR, "Connection rejected");
	CHECK(strstr(examine("replication-connection")->fixes[0].text, "pg_hba.conf") != NULL);
	f.replication.tried = false;
	IS("replication-connection", DOCTOR_OK, "not tried");
}

static void test_pooled_url(void)
{
	healthy();
	c.pooled_database.host = other_host;
	f.pooled_differs = true;
	f.pooled = connected();
	f.pooled_user = user;
	f.pooled_database = database;
	f.pooled_system_id = "7";
	f.pooled.pooler = true;
	IS("pooled-url", DOCTOR_OK, "same primary, through a pooler");
	f.pooled_system_id = NULL; /* not to be asked there */
	IS("pooled-url", DOCTOR_OK, "same primary");
	f.pooled_database = "e";
	IS("pooled-url", DOCTOR_ERROR, "leads to database \"e\", DATABASE_URL to \"d\"");
	f.pooled_system_id = "8";
	IS("pooled-url", DOCTOR_ERROR, "(system identifier 8, not 7)");
	f.pooled_standby = true;
	IS("pooled-url", DOCTOR_ERROR, "a standby");
	f.pooled = (struct pg_facts_link){.tried = true, .line = "connection refused"};
	IS("pooled-url", DOCTOR_ERROR, "ELECTRIC_POOLED_DATABASE_URL: connection refused");
}

static void test_tls_clock(void)
{
	static char local[] = "/run/postgresql";
	healthy();
	c.ca_certificate_file = NULL;
	IS("tls", DOCTOR_ADVICE, "TLSv1.3, and the certificate isn't verified");
	f.main.tls = false;
	IS("tls", DOCTOR_ADVICE, "isn't encrypted");
	c.database.host = local;
	IS("tls", DOCTOR_OK, "on this machine");
	f.skew_us = 3 * 1000000;
	f.round_trip_us = 5 * 1000000; /* may be all of it */
	IS("clock", DOCTOR_OK, "agree");
	f.round_trip_us = 1000;
	IS("clock", DOCTOR_WARNING, "3 s ahead of");
	f.skew_us = -7200 * INT64_C(1000000);
	IS("clock", DOCTOR_WARNING, "2 h behind");
}

/* ---- the server ---- */

static void version(int num, enum doctor_level want, const char *what)
{
	healthy();
	f.version_num = num;
	IS("server-version", want, what);
}

static void test_version(void)
{
	version(130020, DOCTOR_ERROR, "13.20 is older than 14");
	version(140017, DOCTOR_WARNING, "14.17 has a fault that 14.18 mends");
	version(150012, DOCTOR_WARNING, "15.13");
	version(160008, DOCTOR_WARNING, "16.9");
	version(170004, DOCTOR_WARNING, "17.5");
	version(140018, DOCTOR_OK, "PostgreSQL");
	version(170005, DOCTOR_OK, "PostgreSQL");
	version(190000, DOCTOR_WARNING, "newer than what Busbar has been tested with, 14 to 18");
	healthy();
	f.standby = true;
	IS("primary", DOCTOR_ERROR, "standby");
	f.encoding = "SQL_ASCII";
	IS("database-encoding", DOCTOR_ERROR, "SQL_ASCII");
}

static void test_wal_level(void)
{
	healthy();
	set("wal_level", "replica");
	IS("wal-level", DOCTOR_ERROR, "wal_level is replica, it must be logical");
	MENDS("wal-level", 0, "ALTER SYSTEM SET wal_level = 'logical';", DOCTOR_SHOW);
	CHECK(examine("wal-level")->fixes[0].restart && !examine("wal-level")->fixes[1].restart);
	MENDS_ON(PG_SERVICE_RDS, "wal-level", "set rds.logical_replication to 1 in the DB (cluster) parameter group, and reboot the instance");
	MENDS_ON(PG_SERVICE_CLOUD_SQL, "wal-level", "set the database flag cloudsql.logical_decoding to on; the instance restarts");
	MENDS_ON(PG_SERVICE_AZURE, "wal-level", "set the server parameter wal_level to logical, and restart the server");
	MENDS_ON(PG_SERVICE_SUPABASE, "wal-level", "Supabase has logical replication on: is this the project's own database, and not paused?");
	MENDS_ON(PG_SERVICE_NEON, "wal-level", "enable logical replication in the project's settings (it can't be disabled again; computes restart)");
	f.superuser = true; /* it may be asked, but --yes decides no such thing */
	MENDS("wal-level", 0, "ALTER SYSTEM SET wal_level = 'logical';", DOCTOR_ASK);
	settings[0].pending_restart = true;
	IS("wal-level", DOCTOR_ERROR, "waits for a restart");
	MENDS("wal-level", 0, "restart Postgres", DOCTOR_SHOW);
}

static void test_places(void)
{
	static struct pg_facts_slot others[] = {
		{.name = "in use", .plugin = "pgoutput", .database = "e", .active = true, .wal_status = "reserved", .reason = ""},
		{.name = "o'ld", .plugin = "", .database = "", .wal_status = "reserved", .reason = ""},
	};
	healthy();
	set("max_replication_slots", "2");
	f.slots = others;
	f.nslots = f.slots_in_all = 2;
	IS("replication-slots", DOCTOR_ERROR, "all 2 replication slots are taken");
	MENDS("replication-slots", 0, "SELECT pg_drop_replication_slot('o''ld');", DOCTOR_SHOW);
	MENDS("replication-slots", 1, "ALTER SYSTEM SET max_replication_slots = '7';", DOCTOR_SHOW);
	set("max_replication_slots", "3");
	IS("replication-slots", DOCTOR_OK, "1 of 3");
	set("max_replication_slots", "2");
	others[0].name = slot;
	IS("replication-slots", DOCTOR_OK, "our slot"), others[0].name = "in use";
	c.temporary_slot = true;
	IS("replication-slots", DOCTOR_ERROR, "all 2");
	f.senders = 10;
	IS("wal-senders", DOCTOR_ERROR, "all 10 walsenders are taken");
	MENDS("wal-senders", 0, "ALTER SYSTEM SET max_wal_senders = '15';", DOCTOR_SHOW);
	f.our_senders = 1;
	IS("wal-senders", DOCTOR_OK, "ours runs");
}

static void test_connections(void)
{
	healthy();
	f.backends = 90;
	IS("connections", DOCTOR_WARNING, "may need 20 connections; of 97, others use 90");
	MENDS("connections", 0, "set ELECTRIC_DB_POOL_SIZE to 7 or less", DOCTOR_SHOW);
	f.ours = 15; /* it runs: its own don't count twice */
	IS("connections", DOCTOR_OK, "others use 75");
	f.role_limit = 10;
	IS("connections", DOCTOR_WARNING, "this role can have 10");
	MENDS("connections", 1, "ALTER ROLE \"app\" CONNECTION LIMIT -1;", DOCTOR_SHOW);
	f.role_limit = 2;
	IS("connections", DOCTOR_ERROR, "this role can have 2");
	f.superuser = true; /* no limit is one's own */
	IS("connections", DOCTOR_OK, "of 100");
	f.superuser = false;
	f.role_limit = -1;
	f.database_limit = 12;
	f.owns_database = true;
	MENDS("connections", 1, "ALTER DATABASE \"d\" CONNECTION LIMIT -1;", DOCTOR_ASK);
	c.db_pool_size = 5;
	IS("connections", DOCTOR_OK, "may need 5");
	c.db_pool_size = 20;
	f.pooled_differs = true; /* half of them are elsewhere */
	f.pooled = connected();
	f.pooled_database = database;
	IS("connections", DOCTOR_OK, "may need 10");
	healthy();
	set("max_connections", "10");
	set("reserved_connections", "1");
	MENDS("connections", 1, "ALTER SYSTEM SET max_connections = '44';", DOCTOR_SHOW);
}

static void test_retention(void)
{
	healthy();
	set("max_slot_wal_keep_size", "-1");
	IS("wal-retention", DOCTOR_WARNING, "no limit");
	MENDS("wal-retention", 0, "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB';", DOCTOR_SHOW);
	MENDS_ON(PG_SERVICE_AZURE, "wal-retention", "set the server parameter max_slot_wal_keep_size to 50GB");
	set("max_slot_wal_keep_size", "0"); /* the last segment is nobody's fault */
	IS("slot-held-by-others", DOCTOR_OK, "running transactions hold");
	IS("slot-held-by-us", DOCTOR_OK, "no slot");
	IS("other-slots", DOCTOR_OK, "");
	set("max_slot_wal_keep_size", "-1");
	set("idle_replication_slot_timeout", "86400");
	IS("wal-retention", DOCTOR_OK, "idle_replication_slot_timeout");
	set("max_slot_wal_keep_size", "64");
	IS("wal-retention", DOCTOR_ADVICE, "only 64 MB");
	set("wal_sender_timeout", "0");
	IS("wal-sender-timeout", DOCTOR_ADVICE, "is 0");
	set("wal_sender_timeout", "1000");
	IS("wal-sender-timeout", DOCTOR_WARNING, "1000 ms");
	MENDS("wal-sender-timeout", 0, "ALTER ROLE \"app\" SET wal_sender_timeout = '60s';", DOCTOR_RUN);
	set("synchronous_standby_names", "FIRST 1 (a, b)");
	IS("synchronous-standbys", DOCTOR_OK, "not Busbar");
	set("synchronous_standby_names", "*");
	IS("synchronous-standbys", DOCTOR_ERROR, "every walsender");
	set("synchronous_commit", "local");
	IS("synchronous-standbys", DOCTOR_WARNING, "every walsender");
	set("synchronous_commit", "off");
	IS("synchronous-commit", DOCTOR_ADVICE, "off");
	set("logical_decoding_work_mem", "64");
	IS("decoding-memory", DOCTOR_ADVICE, "64 kB");
}

/* ---- the role ---- */

static void test_role(void)
{
	static struct pg_facts_setting theirs[] = {{.name = "idle_session_timeout", .value = "600000"}};
	healthy();
	f.may_replicate = false;
	IS("role-replication", DOCTOR_OK, "may replicate"); /* it just did */
	f.replication = (struct pg_facts_link){.tried = true, .line = "lacks REPLICATION", .error = ""};
	IS("role-replication", DOCTOR_ERROR, "role \"app\" lacks the REPLICATION attribute");
	MENDS("role-replication", 0, "ALTER ROLE \"app\" REPLICATION;", DOCTOR_SHOW);
	MENDS_ON(PG_SERVICE_RDS, "role-replication", "GRANT rds_replication TO \"app\";");
	MENDS_ON(PG_SERVICE_CLOUD_SQL, "role-replication", "ALTER ROLE \"app\" REPLICATION;");
	CHECK(strstr(examine("role-replication")->fixes[2].text, "Neon's console") != NULL);
	IS("replication-connection", DOCTOR_ERROR, "lacks REPLICATION");
	CHECK_INT(examine("replication-connection")->nfixes, 0);
	healthy();
	set("statement_timeout", "30000"); /* Busbar sets its own */
	set("idle_in_transaction_session_timeout", "60000");
	IS("role-timeouts", DOCTOR_OK, "no timeout");
	set("statement_timeout", "100");
	set("transaction_timeout", "5000");
	IS("role-timeouts", DOCTOR_WARNING, "statement_timeout is 100 ms for role \"app\"; transaction_timeout is 5000 ms");
	MENDS("role-timeouts", 1, "ALTER ROLE \"app\" SET transaction_timeout = 0;", DOCTOR_RUN);
	settings[f.nsettings - 1].in_database = true;
	MENDS("role-timeouts", 1, "ALTER ROLE \"app\" IN DATABASE \"d\" SET transaction_timeout = 0;", DOCTOR_RUN);
	healthy();
	c.pooled_database.user = reader_user;
	f.pooled_differs = true;
	f.pooled = connected();
	f.pooled_database = database;
	f.pooled_settings = theirs;
	f.npooled_settings = 1;
	IS("role-timeouts", DOCTOR_WARNING, "idle_session_timeout is 600000 ms for role \"reader\"");
	MENDS("role-timeouts", 0, "ALTER ROLE \"reader\" SET idle_session_timeout = 0;", DOCTOR_SHOW);
	f.standby_snapshot = 0;
	IS("standby-snapshot", DOCTOR_ADVICE, "may not call");
	MENDS("standby-snapshot", 0, "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO \"app\";", DOCTOR_SHOW);
	f.standby_snapshot = -1;
	IS("standby-snapshot", DOCTOR_OK, "this version has no");
	f.monitors = false;
	IS("monitoring", DOCTOR_ADVICE, "doesn't see");
}

/* ---- the publication ---- */

static void test_publication(void)
{
	healthy();
	f.published = f.may_alter = f.inserts = f.updates = f.deletes = f.truncates = false;
	IS("publication", DOCTOR_OK, "Busbar makes it");
	IS("publication-operations", DOCTOR_OK, "none yet");
	IS("publication-rights", DOCTOR_OK, "none yet");
	f.may_create = false;
	IS("publication", DOCTOR_ERROR, "may not create it");
	MENDS("publication", 0, "GRANT CREATE ON DATABASE \"d\" TO \"app\";", DOCTOR_SHOW);
	healthy();
	f.updates = f.truncates = false;
	IS("publication-operations", DOCTOR_ERROR, "leaves out update truncate");
	MENDS("publication-operations", 0,
	      "ALTER PUBLICATION \"electric_publication_default\" SET (publish = 'insert, update, delete, truncate');", DOCTOR_RUN);
	f.may_alter = f.may_create = false;
	f.publication_owner = "dba";
	MENDS("publication-operations", 0,
	      "ALTER PUBLICATION \"electric_publication_default\" SET (publish = 'insert, update, delete, truncate');", DOCTOR_SHOW);
	IS("publication-rights", DOCTOR_WARNING, "belongs to \"dba\"");
	MENDS("publication-rights", 0, "GRANT CREATE ON DATABASE \"d\" TO \"app\";", DOCTOR_SHOW);
	MENDS("publication-rights", 1, "ALTER PUBLICATION \"electric_publication_default\" OWNER TO \"app\";", DOCTOR_SHOW);
	f.all_tables = true;
	IS("publication-rights", DOCTOR_OK, "FOR ALL TABLES");
	f.all_tables = false;
	c.manual_table_publishing = true;
	IS("publication-rights", DOCTOR_OK, "manual mode");
	IS("publication-tables", DOCTOR_WARNING, "no table is published");
	f.via_root = true;
	IS("publication-via-root", DOCTOR_WARNING, "is on");
	MENDS("publication-via-root", 0, "ALTER PUBLICATION \"electric_publication_default\" SET (publish_via_partition_root = false);", DOCTOR_SHOW);
}

static void test_filters(void)
{
	static struct pg_facts_entry entries[] = {
		{"public", "a", true, false}, {"public", "b\"b", false, true}, {"s", "c", true, true}, {"s", "d", true, true},
	};
	healthy();
	f.entries = entries;
	f.nentries = 4;
	IS("publication-filters", DOCTOR_WARNING, "for \"public\".\"a\", \"public\".\"b\"\"b\", \"s\".\"c\" and 1 more");
	MENDS("publication-filters", 1, "BEGIN; ALTER PUBLICATION \"electric_publication_default\" DROP TABLE ONLY \"public\".\"b\"\"b\"; ALTER PUBLICATION "
	      "\"electric_publication_default\" ADD TABLE ONLY \"public\".\"b\"\"b\"; COMMIT;", DOCTOR_RUN);
	c.manual_table_publishing = true;
	f.nentries = 1;
	IS("publication-filters", DOCTOR_ERROR, "for \"public\".\"a\"");
}

/* ---- tables ---- */

static struct pg_facts_table *a_table(void)
{
	static struct pg_facts_table table;
	healthy();
	table = (struct pg_facts_table){
		.oid = 1, .schema = "public", .name = "t", .owner = "app", .relkind = 'r', .identity = 'f', .owned = true, .may_use_schema = true,
		.may_select = true,
	};
	f.tables = &table;
	f.ntables = f.tables_in_all = 1;
	return &table;
}

static void test_identity(void)
{
	struct pg_facts_table *t = a_table();
	IS("replica-identity", DOCTOR_OK, "all published tables");
	t->identity = 'd';
	IS("replica-identity", DOCTOR_OK, "Busbar sets it for 1");
	c.manual_table_publishing = true;
	IS("replica-identity", DOCTOR_ERROR, "without REPLICA IDENTITY FULL: \"public\".\"t\"");
	MENDS("replica-identity", 0, "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL;", DOCTOR_RUN);
	t->owned = false;
	c.manual_table_publishing = false;
	MENDS("replica-identity", 0, "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL;", DOCTOR_SHOW);
	t->relkind = 'p'; /* it has no rows of its own */
	IS("replica-identity", DOCTOR_OK, "all");
}

static void test_generated(void)
{
	struct pg_facts_table *t = a_table();
	t->generated = 1;
	IS("generated-columns", DOCTOR_OK, "are published");
	f.generated = 'n';
	IS("generated-columns", DOCTOR_WARNING, "leaves out generated columns: \"public\".\"t\"");
	MENDS("generated-columns", 0, "ALTER PUBLICATION \"electric_publication_default\" SET (publish_generated_columns = stored);", DOCTOR_RUN);
	f.generated = '\0';
	IS("generated-columns", DOCTOR_ADVICE, "generated columns: \"public\".\"t\"");
	f.generated = 's';
	t->generated = 0;
	t->virtuals = 2;
	IS("generated-columns", DOCTOR_ADVICE, "virtual");
}

static void test_rights(void)
{
	static struct pg_facts_table strangers[] = {
		{.schema = "public", .name = "x", .owner = "dba", .superusers = true}, {.schema = "public", .name = "y", .owner = "team"},
		{.schema = "public", .name = "z", .owner = "team"},
	};
	struct pg_facts_table *t = a_table();
	c.pooled_database.user = reader_user;
	t->may_select = false;
	IS("table-select", DOCTOR_ERROR, "role \"reader\" may not read \"public\".\"t\"");
	MENDS("table-select", 0, "GRANT SELECT ON \"public\".\"t\" TO \"reader\";", DOCTOR_ASK);
	t->may_use_schema = t->owned = false;
	MENDS("table-select", 0, "GRANT USAGE ON SCHEMA \"public\" TO \"reader\";", DOCTOR_SHOW);
	MENDS("table-select", 1, "GRANT SELECT ON \"public\".\"t\" TO \"reader\";", DOCTOR_SHOW);
	t->row_security = true;
	IS("row-security", DOCTOR_ERROR, "applies to role \"reader\" on \"public\".\"t\"");
	MENDS("row-security", 0, "ALTER ROLE \"reader\" BYPASSRLS;", DOCTOR_SHOW);
	t->row_security = false;
	f.secured = 2;
	IS("row-security", DOCTOR_ADVICE, "on 2 tables that aren't published yet");
	healthy();
	f.unowned = f.nstrangers = 3;
	f.strangers = strangers;
	IS("table-ownership", DOCTOR_WARNING, "may read tables that it doesn't own: \"public\".\"x\", \"public\".\"y\", \"public\".\"z\"");
	MENDS("table-ownership", 0, "ALTER TABLE \"public\".\"x\" OWNER TO \"app\";", DOCTOR_SHOW);
	MENDS("table-ownership", 1, "GRANT \"team\" TO \"app\";", DOCTOR_SHOW);
	CHECK(!examine("table-ownership")->fixes[2].sql); /* once an owner */
	f.readable = 30;
	IS("table-ownership", DOCTOR_ADVICE, "doesn't own");
	c.manual_table_publishing = true;
	IS("table-ownership", DOCTOR_OK, "may read 30");
	f.readable = 0;
	IS("table-ownership", DOCTOR_WARNING, "may read none of 3 tables");
}

/* ---- slots ---- */

#define GB (INT64_C(1) << 30)

static struct pg_facts_slot *a_slot(void)
{
	static struct pg_facts_slot s[2];
	healthy();
	s[0] = (struct pg_facts_slot){.name = slot, .plugin = "pgoutput", .database = "d", .wal_status = "reserved", .reason = ""};
	s[1] = (struct pg_facts_slot){
		.name = "backup", .plugin = "", .database = "", .wal_status = "extended", .reason = "", .retained_bytes = 5, .behind_bytes = -1,
	};
	f.slots = s;
	f.nslots = f.slots_in_all = 2;
	return s;
}

static void test_slot(void)
{
	struct pg_facts_slot *s = a_slot();
	IS("slot", DOCTOR_OK, "nobody reads it");
	s->active = true;
	s->active_pid = 77;
	IS("slot", DOCTOR_OK, "process 77");
	s->wal_status = "unreserved";
	IS("slot", DOCTOR_WARNING, "beyond what slots may retain");
	s->lost = true;
	IS("slot", DOCTOR_WARNING, "given up the slot electric_slot_default (unreserved)");
	s->reason = "idle_timeout";
	IS("slot", DOCTOR_WARNING, "(idle_timeout)");
	s->plugin = "wal2json";
	IS("slot", DOCTOR_ERROR, "belongs to something else (plugin \"wal2json\", database \"d\")");
	c.temporary_slot = true;
	IS("slot", DOCTOR_OK, "temporary");
}

static void test_retained(void)
{
	struct pg_facts_slot *s = a_slot();
	static struct pg_facts_transaction open = {
		.pid = 12, .gid = "", .user = "u", .application = "psql", .database = "d", .state = "idle in transaction", .age_s = 4000,
	};
	s->behind_bytes = s->retained_bytes = 3 * GB / 2;
	IS("slot-held-by-us", DOCTOR_WARNING, "1.5 GB of WAL wait for Busbar, which doesn't run");
	CHECK_STR(examine("slot-held-by-us")->fixes[1].text, "SELECT pg_drop_replication_slot('electric_slot_default');");
	IS("slot-held-by-others", DOCTOR_OK, "0 bytes");
	s->active = true;
	IS("slot-held-by-us", DOCTOR_WARNING, "which runs");
	s->behind_bytes = 100;
	IS("slot-held-by-us", DOCTOR_OK, "100 bytes of WAL");
	IS("slot-held-by-others", DOCTOR_WARNING, "no transaction that still runs needs it");
	f.transactions = &open;
	f.ntransactions = 1;
	IS("slot-held-by-others", DOCTOR_WARNING, "holds back 1.5 GB of WAL: process 12 (user \"u\", application \"psql\", database \"d\", idle in "
	   "transaction), for 66 min");
	MENDS("slot-held-by-others", 0, "SELECT pg_terminate_backend(12);", DOCTOR_SHOW);
	s->retained_bytes = 200 << 20; /* a small limit: half of it */
	IS("slot-held-by-others", DOCTOR_OK, "200 MB");
	set("max_slot_wal_keep_size", "256");
	IS("slot-held-by-others", DOCTOR_WARNING, "200 MB");
	s->lost = true;
	IS("slot-held-by-others", DOCTOR_OK, "0 bytes");
	s[1].retained_bytes = 2 * GB;
	IS("other-slots", DOCTOR_WARNING, "the slot \"backup\" (nobody reads it) retains 2.0 GB of WAL");
	MENDS("other-slots", 0, "SELECT pg_drop_replication_slot('backup');", DOCTOR_SHOW);
	s[1].active = true;
	IS("other-slots", DOCTOR_WARNING, "(in use)");
	CHECK_INT(examine("other-slots")->nfixes, 0);
}

static void test_transactions(void)
{
	static struct pg_facts_transaction list[] = {
		{.pid = 12, .gid = "", .user = "u", .application = "psql", .database = "d", .state = "", .age_s = -1},
		{.pid = 13, .gid = "", .user = "u", .application = "psql", .database = "d", .state = "active", .age_s = 5},
		{.pid = 0, .gid = "g'1", .user = "u", .application = "", .database = "e", .state = "prepared", .age_s = 300000},
	};
	healthy();
	f.transactions = list;
	f.ntransactions = 3;
	IS("long-transactions", DOCTOR_WARNING, "process 12 (user \"u\", application \"psql\", database \"d\")");
	IS("prepared-transactions", DOCTOR_WARNING, "the prepared transaction 'g''1' of user \"u\", database \"e\", for 3 days");
	MENDS("prepared-transactions", 0, "ROLLBACK PREPARED 'g''1';", DOCTOR_SHOW);
	list[1].age_s = 100;
	IS("long-transactions", DOCTOR_WARNING, "and 1 more");
	struct pg_facts_slot *s = a_slot();
	f.transactions = list;
	f.ntransactions = 3;
	s->behind_bytes = s->retained_bytes = 0;
	IS("long-transactions", DOCTOR_ADVICE, "process 13"); /* nothing waits for one of unknown age */
	IS("prepared-transactions", DOCTOR_ADVICE, "'g''1'");
	list[1].age_s = 5;
	IS("long-transactions", DOCTOR_OK, "60 s");
}

static void test_lock(void)
{
	healthy();
	f.lock_pid = 5;
	f.lock_application = "busbar 0123456789abcdef";
	f.lock_user = "app";
	IS("advisory-lock", DOCTOR_OK, "a Busbar runs, as process 5");
	f.lock_application = "busbarista";
	IS("advisory-lock", DOCTOR_WARNING, "process 5 of the server (application \"busbarista\", user \"app\") holds the lock electric_slot_default");
}

/* ---- what couldn't be gathered ---- */

static void test_trouble(void)
{
	healthy();
	f.trouble[PG_FACTS_SLOTS] = "canceling statement due to statement timeout";
	IS("slot", DOCTOR_WARNING, "couldn't be looked at: canceling statement");
	IS("wal-level", DOCTOR_OK, "logical");
}

/* ---- printing ---- */

static char *printed(bool json)
{
	static struct doctor_applied applied[] = {{"wal-level", "SELECT 1;", NULL}, {"slot", "SELECT \"2\";", "no"}};
	struct doctor_mending m = {applied, 2, 2};
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	(void)doctor_examine(&look, findings);
	if (json)
		doctor_print_json(out, &look, findings, DOCTOR_CHECKS, &m);
	else
		doctor_print(out, &look, findings, DOCTOR_CHECKS);
	fclose(out);
	return text;
}

static void has(char *text, const char *want)
{
	if (!CHECK(strstr(text, want) != NULL))
		printf("  lacks %s\n  in %s\n", want, text);
}

static void test_print(void)
{
	healthy();
	set("wal_level", "replica");
	f.lock_pid = 5;
	f.lock_application = "evil\033[2J\302\233";
	f.lock_user = "app";
	char *text = printed(false);
	has(text, "Postgres, PostgreSQL 18.4, slot electric_slot_default, publication electric_publication_default\n\n");
	has(text, "ERROR     wal-level               wal_level is replica, it must be logical\n          With less, ");
	has(text, "          by a superuser:\n              ALTER SYSTEM SET wal_level = 'logical';  -- then restart Postgres\n"
	          "              SELECT pg_reload_conf();\n");
	has(text, "evil?[2J?\"");
	has(text, "\n1 error, 1 warning, 0 of advice, ");
	CHECK(strstr(text, "rds.logical") == NULL && strchr(text, '\033') == NULL && strstr(text, password) == NULL);
	free(text);
	f.service = PG_SERVICE_RDS;
	text = printed(false);
	has(text, "Amazon RDS or Aurora, PostgreSQL 18.4");
	has(text, "          - set rds.logical_replication to 1");
	CHECK(strstr(text, "ALTER SYSTEM") == NULL);
	free(text);
	refused("28P01", "password authentication failed", "password authentication failed");
	text = printed(false);
	has(text, "1 error, 0 warnings, 0 of advice, 2 ok\n");
	free(text);
}

static void test_json(void)
{
	healthy();
	set("wal_level", "repl\"ica");
	char *text = printed(true);
	has(text, "{\"status\":\"error\",\"version\":\"18.4\",\"service\":\"postgres\",\"slot\":\"electric_slot_default\"");
	has(text, "\"applied\":[{\"code\":\"wal-level\",\"sql\":\"SELECT 1;\",\"error\":null},{\"code\":\"slot\",\"sql\":\"SELECT \\\"2\\\";\",\"error\":\"no\"}]");
	has(text, "{\"code\":\"wal-level\",\"level\":\"error\",\"what\":\"wal_level is repl\\\"ica, it must be logical\",\"why\":\"With less");
	has(text, "{\"on\":[\"postgres\"],\"sql\":\"ALTER SYSTEM SET wal_level = 'logical';\",\"as\":\"a superuser\",\"restart\":true,\"fix\":\"never\"}");
	has(text, "{\"on\":[\"rds\"],\"do\":\"set rds.logical_replication");
	has(text, "\"code\":\"connect\",\"level\":\"ok\"");
	CHECK(strstr(text, password) == NULL);
	free(text);
}

/* ---- mending ---- */

static char ran[4000];

static int run(const struct config *config, const char *sql, struct err *e)
{
	CHECK(config == &c);
	size_t n = strlen(ran);
	snprintf(ran + n, sizeof ran - n, "%s|", sql);
	return strstr(sql, "wal_sender_timeout") != NULL ? err_set(e, ERR_PG, "no, \033really") : 0;
}

/* What is run with these answers; NULL: --yes. */
static char *mend(const char *answers, struct doctor_mending *m)
{
	char *text = NULL, input[200];
	size_t len;
	snprintf(input, sizeof input, "%s", answers != NULL ? answers : "");
	FILE *out = open_memstream(&text, &len), *in = answers != NULL ? fmemopen(input, strlen(input) + 1, "r") : NULL;
	ran[0] = '\0';
	*m = (struct doctor_mending){.list = mem_zalloc(sizeof *m->list * DOCTOR_APPLIED_MAX)};
	(void)doctor_examine(&look, findings);
	doctor_mend(out, in, &look, findings, DOCTOR_CHECKS, run, m);
	fclose(out);
	if (in != NULL)
		fclose(in);
	return text;
}

static void test_mend(void)
{
	struct doctor_mending m;
	struct pg_facts_table *t = a_table();
	t->identity = 'd';
	c.manual_table_publishing = true;
	f.superuser = true;
	set("wal_level", "replica");
	set("wal_sender_timeout", "1");
	set("logical_decoding_work_mem", "64"); /* advice is never run */
	char *text = mend(NULL, &m);
	CHECK_STR(ran, "ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL;|ALTER ROLE \"app\" SET wal_sender_timeout = '60s';|");
	has(text, "wal-level: ALTER SYSTEM SET wal_level = 'logical';\nleft to you");
	has(text, "wal-sender-timeout: ALTER ROLE \"app\" SET wal_sender_timeout = '60s';\nfailed: no, ?really\n");
	CHECK(m.n == 2 && m.offered == 4 && m.list[0].error == NULL);
	CHECK_STR(m.list[1].error, "no, \033really");
	free(text);
	free(m.list);
	text = mend("y\nno\n\n", &m); /* and then the answers end */
	CHECK_STR(ran, "ALTER SYSTEM SET wal_level = 'logical';|");
	has(text, "Run this? [y/N] done; it takes effect when Postgres is restarted\n");
	CHECK(m.n == 1 && m.offered == 4);
	free(text);
	free(m.list);
	f.service = PG_SERVICE_RDS; /* where nobody may */
	text = mend("y\ny\ny\ny\n", &m);
	CHECK(strstr(ran, "ALTER SYSTEM") == NULL && m.n == 2);
	free(text);
	free(m.list);
}

/* ---- the list ---- */

static void test_each_was_seen(void)
{
	for (int i = 0; i < DOCTOR_CHECKS; i++)
		if (!CHECK(seen[i][DOCTOR_OK] > 0 && seen[i][DOCTOR_ADVICE] + seen[i][DOCTOR_WARNING] + seen[i][DOCTOR_ERROR] > 0))
			printf("  %s\n", findings[i].code);
}

static void test_docs_name_every_code(void)
{
	char path[4096];
	snprintf(path, sizeof path, "%s", __FILE__);
	char *tests = strstr(path, "tests/unit/");
	if (!CHECK(tests != NULL))
		return;
	snprintf(tests, sizeof path - (size_t)(tests - path), "docs/doctor.md");
	FILE *file = fopen(path, "r");
	if (!CHECK(file != NULL))
		return;
	char *page = mem_zalloc(1 << 20);
	CHECK(fread(page, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	const char *at = page;
	int n = 0;
#define X(name, code, part, text)                                                                 \
	if (CHECK((at = strstr(at, "\n| `" code "` | " text " | ")) != NULL ? true : (at = page, false))) \
		at++;                                                                                       \
	else                                                                                          \
		printf("  docs/doctor.md lacks, in this order: | `%s` | %s | ...\n", code, text);
#include "ops/doctor_table.h"
	for (const char *row = page; (row = strstr(row, "\n| `")) != NULL; row++)
		n++;
	CHECK_INT(n, DOCTOR_CHECKS);
	free(page);
}

int main(void)
{
	RUN(test_healthy);
	RUN(test_configuration);
	RUN(test_connect);
	RUN(test_pooler);
	RUN(test_replication_connection);
	RUN(test_pooled_url);
	RUN(test_tls_clock);
	RUN(test_version);
	RUN(test_wal_level);
	RUN(test_places);
	RUN(test_connections);
	RUN(test_retention);
	RUN(test_role);
	RUN(test_publication);
	RUN(test_filters);
	RUN(test_identity);
	RUN(test_generated);
	RUN(test_rights);
	RUN(test_slot);
	RUN(test_retained);
	RUN(test_transactions);
	RUN(test_lock);
	RUN(test_trouble);
	RUN(test_print);
	RUN(test_json);
	RUN(test_mend);
	RUN(test_each_was_seen);
	RUN(test_docs_name_every_code);
	arena_clear(&arena);
	return check_done("doctor");
}
