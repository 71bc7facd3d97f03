/* test_pg_classify.c - what Postgres 14 to 18, libpq and poolers say, and what follows from it. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "pg/conn.h"

static char host[] = "db.example", user[] = "u", database[] = "d", v6[] = "::1";
static struct config config = {.database = {.user = user, .host = host, .database = database, .port = 5433}};
static char line[900];

static enum pg_error_class classify(enum err_kind kind, const char *sqlstate, const char *text)
{
	struct err e;
	(void)err_set(&e, kind, "%s", text);
	snprintf(e.sqlstate, sizeof e.sqlstate, "%s", sqlstate);
	line[0] = '\0';
	return pg_classify(&config, &e, line, sizeof line);
}

static void network(enum pg_error_class class, const char *text, const char *want)
{
	CHECK_INT(classify(ERR_PG_CONN, "", text), class);
	CHECK_STR(line, want);
}

static void refused(enum pg_error_class class, const char *sqlstate, const char *text, const char *want)
{
	CHECK_INT(classify(ERR_PG_CONN, sqlstate, text), class);
	CHECK_STR(line, want ? want : text);
}

static void answer(enum pg_error_class class, const char *sqlstate, const char *text, const char *want)
{
	CHECK_INT(classify(ERR_PG, sqlstate, text), class);
	CHECK_STR(line, want ? want : text);
}

static void test_network(void)
{
	network(PG_FATAL, "could not translate host name \"db.example\" to address: Name or service not known",
	        "domain does not exist: db.example");
	network(PG_RETRY, "could not translate host name \"db.example\" to address: Temporary failure in name resolution",
	        "could not translate host name \"db.example\" to address: Temporary failure in name resolution");
	network(PG_RETRY, "connection to server at \"db.example\" (10.0.0.1), port 5433 failed: Connection refused",
	        "connection refused while trying to connect to db.example:5433");
	network(PG_RETRY, "timeout expired while connecting", "connection timed out while trying to connect to db.example:5433");
	network(PG_RETRY, "connection to server at \"db.example\" (10.0.0.1), port 5433 failed: Connection timed out",
	        "connection timed out while trying to connect to db.example:5433");
	network(PG_RETRY, "server closed the connection unexpectedly", "connection closed while talking to the database");
	network(PG_RETRY, "connection to server at \"x\" (10.0.0.1), port 1 failed: server closed the connection unexpectedly",
	        "connection closed while connecting to the database");
	network(PG_FATAL, "connection to server at \"x\" (10.0.0.1), port 1 failed: server does not support SSL, but SSL was required",
	        "Database server not configured to accept SSL connections");
	network(PG_FATAL, "connection to server at \"x\" failed: root certificate file \"foo\" does not exist",
	        "SSL connection failed to verify server certificate: Invalid CA certificate file");
	network(PG_FATAL, "connection to server at \"x\" failed: could not read root certificate file \"foo\": no start line",
	        "SSL connection failed to verify server certificate: Invalid CA certificate file");
	network(PG_FATAL, "connection to server at \"x\" failed: SSL error: certificate verify failed",
	        "SSL connection failed to verify server certificate: Unknown CA");
	network(PG_FATAL, "server certificate for \"a\" does not match host name \"b\"",
	        "SSL connection failed to verify server certificate: server certificate for \"a\" does not match host name \"b\"");
	network(PG_RETRY, "No route to host", "No route to host");
}

static void test_authorization(void)
{
	refused(PG_FATAL, "28P01", "password authentication failed for user \"u\"",
	        "password authentication failed for user \"u\": is the user's password in the URL the right one, with its special "
	        "characters percent-encoded?");
	refused(PG_FATAL, "XX000", "password authentication failed for user 'u'", NULL);
	refused(PG_FATAL, "08P01", "password authentication failed for user \"u\"", NULL);
	refused(PG_FATAL, "3D000", "database \"x\" does not exist", NULL);
	refused(PG_FATAL, "XX000", "database \"x\" does not exist", NULL);
	refused(PG_FATAL, "28000", "no pg_hba.conf entry for host \"10.0.0.1\", user \"u\", database \"d\", no encryption",
	        "Connection refused: server requires SSL/TLS but the client connected without encryption. Take sslmode=disable "
	        "out of DATABASE_URL, or set it to require");
	refused(PG_FATAL, "28000", "no pg_hba.conf entry for host \"10.0.0.1\", user \"u\", database \"d\", SSL encryption",
	        "Connection rejected: no pg_hba.conf entry for host \"10.0.0.1\", user \"u\", database \"d\", SSL encryption");
	refused(PG_RETRY, "28000", "pg_hba.conf rejects connection for host \"10.0.0.1\", user \"u\", database \"d\"", NULL);
	refused(PG_RETRY, "28000", "branch is being made", NULL);
	const char *const no_attribute = "User does not have the REPLICATION attribute: run ALTER ROLE \"u\" REPLICATION as a "
	                                 "superuser (on Amazon RDS: GRANT rds_replication TO \"u\")";
	refused(PG_FATAL, "42501", "must be superuser or replication role to start walsender", no_attribute);   /* 14, 15 */
	refused(PG_FATAL, "42501", "permission denied to start WAL sender", no_attribute);                      /* 16 to 18 */
	answer(PG_FATAL, "42501", "must be superuser or replication role to use replication slots", no_attribute);
	answer(PG_FATAL, "42501", "permission denied to use replication slots", no_attribute);
	answer(PG_RETRY, "42501", "permission denied for table items", NULL);
}

static void test_outages(void)
{
	refused(PG_RETRY, "53300", "sorry, too many clients already", NULL);
	refused(PG_RETRY, "53300", "number of requested standby connections exceeds max_wal_senders (currently 0)", NULL);
	refused(PG_RETRY, "57P01", "terminating connection due to administrator command", NULL);
	refused(PG_RETRY, "57P03", "the database system is starting up", NULL);
	refused(PG_RETRY, "XX000", "server conn crashed?", NULL);
	refused(PG_RETRY, "XX000", "MaxClientsInSessionMode: max clients reached", NULL);
	answer(PG_RETRY, "53400", "all replication slots are in use", NULL);
	answer(PG_RETRY, "53100", "could not extend file: No space left on device", NULL);
	answer(PG_RETRY, "57014", "canceling statement due to user request", NULL);
	answer(PG_RETRY, "42704", "publication \"electric_publication_default\" does not exist", NULL);
	answer(PG_RETRY, "55006", "replication slot \"electric_slot_default\" is active for PID 7",
	       "Replication slot already in use by another database connection, possibly external to Busbar.");
	refused(PG_FATAL, "XX000", "The requested endpoint could not be found, or you don't have access to it.", NULL);
	refused(PG_FATAL, "XX000", "Your account or project has exceeded the compute time quota.", NULL);
}

static void test_configuration(void)
{
	const char *const wal = "Busbar requires wal_level >= logical: set wal_level = logical in postgresql.conf and restart Postgres";
	answer(PG_FATAL, "55000", "logical decoding requires wal_level >= logical", wal);
	answer(PG_FATAL, "55000", "logical decoding requires \"wal_level\" >= \"logical\"", wal);
	answer(PG_FATAL, "42601", "syntax error at or near \"x\"", NULL);
	answer(PG_FATAL, "42602", "replication slot name \"a$b\" contains invalid character", NULL);
	CHECK_INT(classify(ERR_CONFIG, "", "Publication \"p\" not found in the database"), PG_FATAL);
	CHECK_STR(line, "Publication \"p\" not found in the database");
	CHECK_INT(classify(ERR_PROTOCOL, "", "malformed"), PG_RETRY);
}

/* A URL that leads elsewhere than to Postgres. */
static void test_pooler(void)
{
#define LEADS \
	"The database URL leads to a connection pooler, which has no replication connections: set DATABASE_URL to the address of " \
	"Postgres itself, and ELECTRIC_POOLED_DATABASE_URL to the pooler (it said: "
	refused(PG_FATAL, "08P01", "unsupported startup parameter: replication", LEADS "unsupported startup parameter: replication)");
	answer(PG_FATAL, "42601", "syntax error at or near \"IDENTIFY_SYSTEM\"", LEADS "syntax error at or near \"IDENTIFY_SYSTEM\")");
	network(PG_FATAL, "connection to server at \"x\" (10.0.0.1), port 1 failed: fe_sendauth: no password supplied",
	        "the database asks for the password of user \"u\", and the URL has none: postgresql://user:password@host/database");
}

static const char *advised(enum pg_role role, enum err_kind kind, const char *sqlstate, const char *text)
{
	static struct err e;
	(void)err_set(&e, kind, "%s", text);
	snprintf(e.sqlstate, sizeof e.sqlstate, "%s", sqlstate);
	pg_advise(&e, &config, role, "my\"s", "items");
	return e.text;
}

static const char *advised_catalog(enum err_kind kind, const char *sqlstate, const char *text)
{
	static struct err e;
	(void)err_set(&e, kind, "%s", text);
	snprintf(e.sqlstate, sizeof e.sqlstate, "%s", sqlstate);
	pg_advise_catalog(&e, &config);
	return e.text;
}

/* The SQL that mends it, ready to be run. */
static void test_advice(void)
{
	static char pooled[] = "reader";
	config.pooled_database = (struct config_url){.user = pooled, .host = host, .database = database, .port = 6432};
	CHECK_STR(advised(PG_ROLE_SNAPSHOT, ERR_PG, "42501", "permission denied for table items"),
	          "permission denied for table items. Run, as its owner: GRANT SELECT ON \"my\"\"s\".\"items\" TO \"reader\"");
	CHECK_STR(advised(PG_ROLE_ADMIN, ERR_PG, "42501", "permission denied for schema my\"s"),
	          "permission denied for schema my\"s. Run, as its owner: GRANT USAGE ON SCHEMA \"my\"\"s\" TO \"u\"");
	CHECK(strstr(advised(PG_ROLE_ADMIN, ERR_PG, "42501", "must be owner of table items"),
	             "ALTER TABLE \"my\"\"s\".\"items\" OWNER TO \"u\"") != NULL);
	CHECK_STR(advised(PG_ROLE_SNAPSHOT, ERR_PG_CONN, "28P01", "password authentication failed"),
	          "password authentication failed (ELECTRIC_POOLED_DATABASE_URL)");
	CHECK_STR(advised(PG_ROLE_ADMIN, ERR_PG_CONN, "28P01", "password authentication failed"), "password authentication failed");
	CHECK_STR(advised(PG_ROLE_ADMIN, ERR_PG, "57014", "cancelled"), "cancelled");
	CHECK_STR(advised_catalog(ERR_PG, "42501", "permission denied for table pg_publication_rel"),
	          "permission denied for table pg_publication_rel. Run, as a superuser: GRANT SELECT ON pg_catalog.pg_publication_rel TO \"u\"");
	CHECK(strstr(advised_catalog(ERR_PG, "57014", "canceling statement due to statement timeout"), "10 s") != NULL);
	CHECK_STR(advised_catalog(ERR_PG_CONN, "57014", "cancelled"), "cancelled");
}

static void test_slot(void)
{
	CHECK_INT(classify(ERR_PG, "55000", "cannot read from logical replication slot \"s\""), PG_SLOT_LOST);     /* 14 to 17 */
	CHECK_INT(classify(ERR_PG, "55000", "can no longer access replication slot \"s\""), PG_SLOT_LOST);         /* 18 */
	CHECK_INT(classify(ERR_PG, "55000", "can no longer get changes from replication slot \"s\""), PG_SLOT_LOST);
	CHECK_INT(classify(ERR_PG, "58P01", "requested WAL segment 000000010000000000000001 has already been removed"), PG_SLOT_LOST);
	CHECK_INT(classify(ERR_PG, "58P01", "could not open file \"x\""), PG_RETRY);
	CHECK_INT(classify(ERR_PG, "55000", "something else"), PG_RETRY);
}

static void test_small(void)
{
	char text[64];
	CHECK_STR(pg_address(&config.database, text, sizeof text), "db.example:5433");
	struct config_url u = {.host = v6, .port = 5432};
	CHECK_STR(pg_address(&u, text, sizeof text), "[::1]:5432");
	struct pg_addresses a;
	struct err e;
	CHECK_INT(pg_resolve("127.0.0.1", false, &a, &e), 0);
	CHECK_INT(a.n, 1);
	CHECK_STR(a.text[0], "127.0.0.1");
	CHECK_INT(pg_resolve("/run/postgresql", false, &a, &e), 0);
	CHECK_INT(a.n, 1);
	CHECK_STR(a.text[0], "");
	setenv("PGOPTIONS", "-c statement_timeout=1", 1);
	setenv("PGHOSTADDR", "192.0.2.1", 1);
	setenv("PGSERVICE", "nosuch", 1);
	pg_init();
	CHECK(getenv("PGOPTIONS") == NULL);
	CHECK(getenv("PGHOSTADDR") == NULL);
	CHECK(getenv("PGSERVICE") == NULL);
}

/* A port nobody listens on; without TLS and with "prefer" there are one and two tries. */
static void test_refused_port(void)
{
	static char local[] = "127.0.0.1";
	struct config c = {.database = {.user = user, .host = local, .database = database, .port = 1},
	                   .tcp_keepalive_idle_ms = -1, .tcp_keepalive_interval_ms = -1, .tcp_user_timeout_ms = 30000,
	                   .tcp_keepalive_count = -1};
	struct err e;
	err_clear(&e);
	CHECK(pg_connect(&c, PG_ROLE_ADMIN, &e) == NULL);
	CHECK_INT(e.kind, ERR_PG_CONN);
	CHECK_INT(pg_classify(&c, &e, line, sizeof line), PG_RETRY);
	CHECK_STR(line, "connection refused while trying to connect to 127.0.0.1:1");
}

static int option(PGconn *conn, int name)
{
	int value = -1;
	socklen_t len = sizeof value;
	CHECK_INT(getsockopt(PQsocket(conn), IPPROTO_TCP, name, &value, &len), 0);
	return value;
}

/* Somebody who never answers: no connection waits for the kernel's own limits. */
static void test_tcp_limits(void)
{
	static char local[] = "127.0.0.1";
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int silent = socket(AF_INET, SOCK_STREAM, 0);
	REQUIRE(bind(silent, (struct sockaddr *)&at, len) == 0 && listen(silent, 8) == 0 && getsockname(silent, (struct sockaddr *)&at, &len) == 0);
	struct config_url u = {.user = user, .host = local, .database = database, .port = ntohs(at.sin_port)};
	struct config c = {.database = u, .pooled_database = u, .tcp_keepalive_idle_ms = -1, .tcp_keepalive_interval_ms = -1,
	                   .tcp_user_timeout_ms = -1, .tcp_keepalive_count = -1};
	struct config set = {.database = u, .pooled_database = u, .tcp_keepalive_idle_ms = 5000, .tcp_keepalive_interval_ms = 2000,
	                     .tcp_user_timeout_ms = 7000, .tcp_keepalive_count = 4};
	for (int role = PG_ROLE_ADMIN; role <= PG_ROLE_REPLICATION; role++)
		for (int k = 0; k < 2; k++) {
			struct err e;
			PGconn *conn = pg_connect_start(k == 0 ? &c : &set, (enum pg_role)role, local, &e);
			if (!CHECK(conn != NULL))
				continue;
			CHECK_INT(option(conn, TCP_KEEPIDLE), k == 0 ? 30 : 5);
			CHECK_INT(option(conn, TCP_KEEPINTVL), k == 0 ? 10 : 2);
			CHECK_INT(option(conn, TCP_KEEPCNT), k == 0 ? 3 : 4);
			CHECK_INT(option(conn, TCP_USER_TIMEOUT), k == 0 ? 60000 : 7000);
			PQfinish(conn);
		}
	close(silent);
}

int main(void)
{
	RUN(test_network);
	RUN(test_authorization);
	RUN(test_outages);
	RUN(test_configuration);
	RUN(test_slot);
	RUN(test_pooler);
	RUN(test_advice);
	RUN(test_small);
	RUN(test_refused_port);
	RUN(test_tcp_limits);
	return check_done("test_pg_classify");
}
