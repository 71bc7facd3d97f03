/* conn.c - connecting by libpq, what a failure was, and which class (pg_classify()) it is. */
#include "pg/conn.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pg/kept.h"
#include "pg/query.h"
#include "pg/tls.h"

#define PARAMS_MAX 24
#define NUMBERS_MAX 8
#define NAME_TEXT_MAX 64
/* A path below a file exists nowhere. libpq takes an empty value for "use the default in the home
 * directory", and with a root certificate found there sslmode=require would silently verify. */
#define NO_FILE "/dev/null/none"
#define ERROR_TEXT_MAX 600 /* of a message from Postgres; a struct err holds 800 bytes */

/* Without JIT: our statements on the catalog are cheap and look costly (they are recursive), and compiling them takes
 * seconds; of a snapshot the first rows are what is waited for. With plans for any parameters: they are keys and lists of oids,
 * planning takes longer than the rest, and a plan made for a certain list reads whole catalogs. */
#define DISPLAY_SETTINGS(set) \
	set "client_encoding = 'UTF8'; " set "search_path = pg_catalog; " set "bytea_output = 'hex'; " \
	set "DateStyle = 'ISO, DMY'; " set "TimeZone = 'UTC'; " set "extra_float_digits = 1; " \
	set "IntervalStyle = 'iso_8601'; " set "jit = off; " set "plan_cache_mode = force_generic_plan"

/* ---- parameters ---- */

void pg_init(void)
{
	/* What libpq reads besides the variables that PQconndefaults() lists. The service file goes first,
	 * for PQconndefaults() reads it. */
	static const char *const others[] = {
		"PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGREALM",
		"PGCLIENTENCODING", "PGLOCALEDIR",
	};
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		unsetenv(others[i]);
	PQconninfoOption *options = PQconndefaults();
	for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
		if (o->envvar != NULL)
			unsetenv(o->envvar);
	PQconninfoFree(options);
}

struct params {
	const char *keywords[PARAMS_MAX + 1], *values[PARAMS_MAX + 1];
	char numbers[NUMBERS_MAX][24];
	int n, nnumbers;
};

static void param(struct params *p, const char *keyword, const char *value)
{
	REQUIRE(p->n < PARAMS_MAX);
	p->keywords[p->n] = keyword;
	p->values[p->n++] = value;
}

static void param_number(struct params *p, const char *keyword, int64_t value)
{
	REQUIRE(p->nnumbers < NUMBERS_MAX);
	char *text = p->numbers[p->nnumbers++];
	snprintf(text, sizeof p->numbers[0], "%lld", (long long)value);
	param(p, keyword, text);
}

static void param_tls(struct params *p, const struct config *c, const struct config_url *u)
{
	param(p, "sslcert", NO_FILE);
	param(p, "sslkey", NO_FILE);
	if (c->ca_certificate_file != NULL) {
		param(p, "sslmode", "verify-full");
		param(p, "sslrootcert", c->ca_certificate_file);
		return;
	}
	param(p, "sslrootcert", NO_FILE);
	if (u->sslmode == SSLMODE_DISABLE)
		param(p, "sslmode", "disable");
	else if (u->sslmode == SSLMODE_REQUIRE)
		param(p, "sslmode", "require");
	else
		param(p, "sslmode", "prefer"); /* COMPAT: absent, allow and prefer are one */
}

static int64_t whole_seconds(int64_t ms)
{
	return ms < 1000 ? 1 : ms / 1000;
}

/* For a network that drops packets: by default the kernel would try for a quarter of an hour to deliver a statement, and
 * a connection that only reads would wait for two hours. A busy server answers keepalives. */
#define TCP_KEEPALIVE_IDLE_S 30
#define TCP_KEEPALIVE_INTERVAL_S 10
#define TCP_KEEPALIVE_COUNT 3
#define TCP_UNACKNOWLEDGED_MAX_MS 60000

static void param_tcp(struct params *p, const struct config *c)
{
	param(p, "keepalives", "1");
	param_number(p, "keepalives_idle", c->tcp_keepalive_idle_ms >= 0 ? whole_seconds(c->tcp_keepalive_idle_ms) : TCP_KEEPALIVE_IDLE_S);
	param_number(p, "keepalives_interval",
	             c->tcp_keepalive_interval_ms >= 0 ? whole_seconds(c->tcp_keepalive_interval_ms) : TCP_KEEPALIVE_INTERVAL_S);
	param_number(p, "keepalives_count", c->tcp_keepalive_count >= 0 ? c->tcp_keepalive_count : TCP_KEEPALIVE_COUNT);
	param_number(p, "tcp_user_timeout", c->tcp_user_timeout_ms >= 0 ? c->tcp_user_timeout_ms : TCP_UNACKNOWLEDGED_MAX_MS);
}

static const struct config_url *role_url(const struct config *c, enum pg_role role)
{
	return role == PG_ROLE_SNAPSHOT ? &c->pooled_database : &c->database;
}

/* Notices go to the log, not to libpq's default, stderr. */
static void notice(void *ctx, const char *message)
{
	(void)ctx;
	log_debug("Postgres says: %.*s", (int)strcspn(message, "\n"), message);
}

PGconn *pg_connect_start(const struct config *c, enum pg_role role, const char *address, struct err *e)
{
	const struct config_url *u = role_url(c, role);
	struct params p = {.n = 0};
	param(&p, "host", u->host);
	if (address != NULL && address[0] != '\0')
		param(&p, "hostaddr", address);
	param_number(&p, "port", u->port);
	param(&p, "user", u->user);
	param(&p, "password", u->password != NULL ? u->password : "");
	param(&p, "passfile", NO_FILE);
	param(&p, "dbname", u->database);
	param_tls(&p, c, u);
	param(&p, "gssencmode", "disable");
	param_tcp(&p, c);
	param(&p, "application_name", "busbar");
	param(&p, "client_encoding", "UTF8");
	/* No `options`: poolers refuse it, and pg_init() has removed PGOPTIONS. */
	if (role == PG_ROLE_REPLICATION)
		param(&p, "replication", "database");

	PGconn *conn = PQconnectStartParams(p.keywords, p.values, 0);
	if (conn == NULL) {
		(void)err_set(e, ERR_PG_CONN, "out of memory for a connection to Postgres");
		return NULL;
	}
	if (PQstatus(conn) == CONNECTION_BAD) {
		(void)pg_error(e, conn, NULL);
		PQfinish(conn);
		return NULL;
	}
	/* libpq doesn't tell the SQLSTATE of a refused connection but in the verbose form of the message. */
	PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	PQsetNoticeProcessor(conn, notice, NULL);
	return conn;
}

/* ---- addresses ---- */

static void add_addresses(const struct addrinfo *list, int family, struct pg_addresses *out)
{
	for (const struct addrinfo *a = list; a != NULL && out->n < PG_ADDRESSES_MAX; a = a->ai_next)
		if (a->ai_family == family &&
		    getnameinfo(a->ai_addr, a->ai_addrlen, out->text[out->n], PG_ADDRESS_TEXT_MAX, NULL, 0, NI_NUMERICHOST) == 0)
			out->n++;
}

int pg_resolve(const char *host, bool prefer_ipv6, struct pg_addresses *out, struct err *e)
{
	out->n = 0;
	if (host[0] == '/') {
		out->text[out->n++][0] = '\0';
		return 0;
	}
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
	int r = getaddrinfo(host, NULL, &hints, &list);
	if (r != 0)
		return err_set(e, ERR_PG_CONN, "could not translate host name \"%s\" to address: %s", host, gai_strerror(r));
	add_addresses(list, prefer_ipv6 ? AF_INET6 : AF_INET, out);
	add_addresses(list, prefer_ipv6 ? AF_INET : AF_INET6, out);
	freeaddrinfo(list);
	if (out->n == 0)
		return err_set(e, ERR_PG_CONN, "could not translate host name \"%s\" to address: no IP address", host);
	return 0;
}

/* ---- blocking connect ---- */

static int wait_connected(PGconn *conn, int64_t deadline_ms, struct err *e)
{
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	while (state != PGRES_POLLING_OK) {
		if (state == PGRES_POLLING_FAILED)
			return pg_error(e, conn, NULL);
		int64_t left_ms = deadline_ms - clock_mono_ms();
		struct pollfd fd = {.fd = PQsocket(conn), .events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT};
		int r = left_ms <= 0 ? 0 : poll(&fd, 1, (int)left_ms);
		if (r == 0)
			return err_set(e, ERR_PG_CONN, "timeout expired while connecting");
		if (r < 0 && errno != EINTR)
			return err_errno(e, errno, "poll on the connection to Postgres");
		if (r > 0)
			state = PQconnectPoll(conn);
	}
	return 0;
}

static int run_settings(PGconn *conn, enum pg_role role, struct err *e)
{
	if (role == PG_ROLE_SNAPSHOT)
		return 0;
	char sql[600];
	/* A role's own default may be "read only". */
	snprintf(sql, sizeof sql, "%s; SET default_transaction_read_only = off; SET statement_timeout = %d; SELECT pg_catalog.pg_backend_pid()",
	         pg_session_settings_sql(false),
	         role == PG_ROLE_ADMIN ? PG_ADMIN_STATEMENT_TIMEOUT_MS : 0);
	PGresult *res = PQexec(conn, sql);
	int r = PQresultStatus(res) == PGRES_TUPLES_OK ? 0 : pg_error(e, conn, res);
	if (r == 0 && role == PG_ROLE_ADMIN)
		pg_keep_statements(conn, (int)strtol(PQgetvalue(res, 0, 0), NULL, 10));
	PQclear(res);
	return r;
}

static PGconn *connect_any(const struct config *c, enum pg_role role, bool plain, struct err *e)
{
	struct pg_addresses addresses;
	if (pg_resolve(role_url(c, role)->host, c->database_use_ipv6, &addresses, e) < 0)
		return NULL;
	int64_t deadline_ms = clock_mono_ms() + PG_CONNECT_TIMEOUT_S * 1000;
	for (int i = 0; i < addresses.n; i++) {
		PGconn *conn = pg_connect_start(c, role, addresses.text[i], e);
		if (conn == NULL)
			continue;
		/* An address that swallows packets must leave time for the next one. */
		int64_t now_ms = clock_mono_ms();
		if (wait_connected(conn, now_ms + (deadline_ms - now_ms) / (addresses.n - i), e) == 0 &&
		    (plain || run_settings(conn, role, e) == 0))
			return conn;
		PQfinish(conn);
		if (e != NULL && e->sqlstate[0] != '\0')
			return NULL; /* a server answered: another address is no remedy */
	}
	if (e != NULL)
		pg_tls_explain(c, role_url(c, role), addresses.text[addresses.n - 1], e);
	return NULL;
}

PGconn *pg_connect(const struct config *c, enum pg_role role, struct err *e) { return connect_any(c, role, false, e); }

PGconn *pg_connect_plain(const struct config *c, enum pg_role role, struct err *e) { return connect_any(c, role, true, e); }

void pg_disconnect(PGconn **conn)
{
	if (*conn != NULL)
		PQfinish(*conn);
	*conn = NULL;
}

bool pg_is_connected(const PGconn *conn) { return PQstatus(conn) == CONNECTION_OK; }

const char *pg_session_settings_sql(bool local)
{
	return local ? DISPLAY_SETTINGS("SET LOCAL ") : DISPLAY_SETTINGS("SET ");
}

const char *pg_address(const struct config_url *u, char *buf, size_t max)
{
	bool colons = u->host != NULL && strchr(u->host, ':') != NULL;
	snprintf(buf, max, colons ? "[%s]:%d" : "%s:%d", u->host != NULL ? u->host : "", u->port);
	return buf;
}

/* ---- errors ---- */

/* n bytes as one line. */
static void one_line(char *out, size_t max, const char *p, size_t n)
{
	size_t len = 0;
	for (size_t i = 0; i < n && len + 1 < max; i++) {
		bool space = isspace((unsigned char)p[i]) != 0;
		if (space && (len == 0 || out[len - 1] == ' '))
			continue;
		out[len++] = space ? ' ' : p[i];
	}
	while (len > 0 && out[len - 1] == ' ')
		len--;
	out[len] = '\0';
}

/* In "…FATAL:  28P01: the text" (the verbose form; the severity is in the server's language) the position
 * of "28P01: the text", or NULL. */
static const char *find_sqlstate(const char *line, size_t n)
{
	const size_t code = 5;
	for (size_t i = 0; i + 3 + code + 2 <= n; i++) {
		if (memcmp(line + i, ":  ", 3) != 0 || memcmp(line + i + 3 + code, ": ", 2) != 0)
			continue;
		const char *p = line + i + 3;
		size_t ok = 0;
		while (ok < code && (isdigit((unsigned char)p[ok]) || isupper((unsigned char)p[ok])))
			ok++;
		if (ok == code)
			return p;
	}
	return NULL;
}

/*
 * The text of a connection that failed: a line or more for each address, and for TLS and plaintext when
 * both were tried. What a server said counts more than what the network said; and a reason more than
 * 28000, which the second try without TLS gets where pg_hba.conf wants TLS. Else the last try counts.
 */
static void connection_error(struct err *e, const char *message)
{
	const char *best = message, *said = NULL;
	size_t best_len = strcspn(message, "\n"), said_len = 0;
	for (const char *line = message; *line != '\0';) {
		size_t n = strcspn(line, "\n");
		const char *code = find_sqlstate(line, n);
		if (code != NULL && (said == NULL || (strncmp(said, "28000", 5) == 0 && strncmp(code, "28000", 5) != 0))) {
			said = code;
			said_len = n - (size_t)(code - line);
		}
		if (strncmp(line, "connection to server", 20) == 0) {
			best = line;
			best_len = n;
		}
		line += n + (line[n] == '\n');
	}
	char text[ERROR_TEXT_MAX];
	if (said != NULL) {
		one_line(text, sizeof text, said + 7, said_len - 7);
		(void)err_set(e, ERR_PG_CONN, "%s", text);
		memcpy(e->sqlstate, said, 5);
		e->sqlstate[5] = '\0';
		return;
	}
	one_line(text, sizeof text, best, best_len);
	(void)err_set(e, ERR_PG_CONN, "%s", text[0] != '\0' ? text : "connection to Postgres failed");
}

int pg_error(struct err *e, PGconn *conn, const PGresult *res)
{
	if (e == NULL)
		return -1;
	const char *sqlstate = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	if (sqlstate == NULL) {
		const char *message = res != NULL ? PQresultErrorMessage(res) : "";
		if (message[0] == '\0')
			message = conn != NULL ? PQerrorMessage(conn) : "";
		connection_error(e, message);
		/* A result without an error that was not the one expected, on a connection that lives. */
		if (message[0] == '\0' && res != NULL)
			return err_set(e, ERR_PROTOCOL, "unexpected answer from Postgres: %s", PQresStatus(PQresultStatus(res)));
		return -1;
	}
	/* FATAL and PANIC end the session, though its socket may not show it yet. */
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
	bool over = (severity != NULL && strcmp(severity, "ERROR") != 0) || PQstatus(conn) == CONNECTION_BAD;
	const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	char text[ERROR_TEXT_MAX];
	one_line(text, sizeof text, primary != NULL ? primary : "", primary != NULL ? strlen(primary) : 0);
	(void)err_set(e, over ? ERR_PG_CONN : ERR_PG, "%s", text);
	snprintf(e->sqlstate, sizeof e->sqlstate, "%s", sqlstate);
	return -1;
}

/* ---- classes ---- */

bool pg_is_askers(const struct err *e)
{
	static const char *const classes[] = {"22" /* data */, "3F" /* schema */, "42" /* syntax, names, rights */};
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (strncmp(e->sqlstate, classes[i], strlen(classes[i])) == 0)
			return true;
	return false;
}

static bool is(const struct err *e, const char *sqlstate) { return strcmp(e->sqlstate, sqlstate) == 0; }
static bool has(const struct err *e, const char *text) { return strcasestr(e->text, text) != NULL; }

struct verdict {
	char *line;
	size_t max;
	const struct config *config;
	char role[2 * 64 + 3]; /* the user's name, quoted as SQL has it */
};

/* A name as SQL has it; what doesn't fit is left out. */
static void quote_name(char *out, size_t max, const char *name)
{
	size_t n = 0;
	out[n++] = '"';
	for (; *name != '\0' && n + 4 < max; name++) {
		if (*name == '"')
			out[n++] = '"';
		out[n++] = *name;
	}
	out[n++] = '"';
	out[n] = '\0';
}

static enum pg_error_class say(struct verdict *v, enum pg_error_class class, const char *prefix, const char *text)
{
	snprintf(v->line, v->max, "%s%s", prefix, text);
	return class;
}

static enum pg_error_class sayf(struct verdict *v, enum pg_error_class class, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum pg_error_class sayf(struct verdict *v, enum pg_error_class class, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(v->line, v->max, fmt, ap);
	va_end(ap);
	return class;
}

static enum pg_error_class say_address(struct verdict *v, const char *prefix)
{
	char address[300];
	return say(v, PG_RETRY, prefix, pg_address(&v->config->database, address, sizeof address));
}

/* No server said anything: the network, the resolver, or TLS. Texts are libpq's and OpenSSL's. */
static enum pg_error_class classify_network(struct verdict *v, const struct err *e)
{
	static const char tls[] = "SSL connection failed to verify server certificate: ";
	static const char *const no_such_host[] = {
		"Name or service not known", "No address associated", "does not resolve", "Name has no usable address",
	};
	if (has(e, "could not translate host name")) {
		for (size_t i = 0; i < ARRAY_LEN(no_such_host); i++)
			if (has(e, no_such_host[i]))
				return say(v, PG_FATAL, "domain does not exist: ", v->config->database.host);
		return say(v, PG_RETRY, "", e->text); /* the resolver itself is down */
	}
	if (has(e, "no password supplied"))
		return sayf(v, PG_FATAL, "the database asks for the password of user \"%s\", and the URL has none: "
		            "postgresql://user:password@host/database", v->config->database.user);
	if (has(e, "server does not support SSL"))
		return say(v, PG_FATAL, "", "Database server not configured to accept SSL connections");
	if (has(e, "root certificate file"))
		return say(v, PG_FATAL, tls, "Invalid CA certificate file");
	const char *cause = strstr(e->text, PG_TLS_VERIFY_FAILED);
	if (cause != NULL)
		return say(v, PG_FATAL, tls, cause + sizeof PG_TLS_VERIFY_FAILED - 1);
	if (has(e, "certificate verify failed") || has(e, "unknown ca"))
		return say(v, PG_FATAL, tls, "Unknown CA");
	if (has(e, "bad certificate"))
		return say(v, PG_FATAL, tls, "Bad Certificate");
	if (has(e, "server certificate for") || has(e, "server's certificate"))
		return say(v, PG_FATAL, tls, e->text);
	if (has(e, "connection refused"))
		return say_address(v, "connection refused while trying to connect to ");
	if (has(e, "timeout expired") || has(e, "timed out"))
		return say_address(v, "connection timed out while trying to connect to ");
	if (has(e, "closed the connection") || has(e, "reset by peer") || has(e, "EOF detected") || has(e, "broken pipe"))
		return say(v, PG_RETRY, "connection closed while ",
		           has(e, "connection to server") ? "connecting to the database" : "talking to the database");
	return say(v, PG_RETRY, "", e->text);
}

static enum pg_error_class classify_authorization(struct verdict *v, const struct err *e)
{
	if (has(e, "no pg_hba.conf entry") && (has(e, "no encryption") || has(e, "SSL off")))
		return say(v, PG_FATAL, "",
		           "Connection refused: server requires SSL/TLS but the client connected without encryption. Take sslmode=disable "
		           "out of DATABASE_URL, or set it to require");
	if (has(e, "no pg_hba.conf entry"))
		return say(v, PG_FATAL, "Connection rejected: ", e->text);
	return say(v, PG_RETRY, "", e->text);
}

/* PgBouncer before 1.23, Amazon's RDS Proxy, and those that take a replication connection for an ordinary one. */
bool pg_is_pooler(const struct err *e)
{
	return has(e, "unsupported startup parameter") || has(e, "RDS Proxy") ||
	       (is(e, "42601") && has(e, "IDENTIFY_SYSTEM"));
}

/* What poolers and hosted services say with a code of no use; matched by text. */
static bool hosted_fatal(const struct err *e)
{
	static const char *const texts[] = {
		"password authentication failed for user", "requested endpoint could not be found", "compute time quota",
		"data transfer quota", "Failed to identify your database: Your account has restrictions",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (has(e, texts[i]))
			return true;
	return has(e, "database \"") && has(e, "\" does not exist");
}

/* PostgreSQL 14 to 17, and 18: the slot was invalidated. 58P01: WAL it needs is gone, which is the same. */
static bool slot_is_lost(const struct err *e)
{
	if (is(e, "55000"))
		return has(e, "cannot read from logical replication slot") || has(e, "can no longer access replication slot") ||
		       has(e, "can no longer get changes from replication slot");
	return is(e, "58P01") && has(e, "requested WAL segment");
}

/* 42501 has many meanings, only this one concerns the role as a whole: 14 and 15, and 16 and later. */
static bool lacks_replication(const struct err *e)
{
	return is(e, "42501") &&
	       (has(e, "superuser or replication role") || has(e, "permission denied to start WAL sender") ||
	        has(e, "permission denied to use replication slots") || has(e, "REPLICATION attribute"));
}

enum pg_error_class pg_classify(const struct config *c, const struct err *e, char *line, size_t line_max)
{
	struct verdict v = {.line = line, .max = line_max, .config = c};
	quote_name(v.role, sizeof v.role, c->database.user != NULL ? c->database.user : "");
	if (e->kind == ERR_CONFIG)
		return say(&v, PG_FATAL, "", e->text);
	if (e->kind == ERR_PG_CONN && e->sqlstate[0] == '\0')
		return classify_network(&v, e);
	if (e->kind != ERR_PG && e->kind != ERR_PG_CONN)
		return say(&v, PG_RETRY, "", e->text);
	if (slot_is_lost(e))
		return say(&v, PG_SLOT_LOST, "Couldn't start replication: slot has been invalidated: ", e->text);
	if (is(e, "55000") && has(e, "logical decoding requires") && has(e, "wal_level"))
		return say(&v, PG_FATAL, "",
		           "Busbar requires wal_level >= logical: set wal_level = logical in postgresql.conf and restart Postgres");
	if (lacks_replication(e))
		return sayf(&v, PG_FATAL, "User does not have the REPLICATION attribute: run ALTER ROLE %s REPLICATION as a superuser "
		            "(on Amazon RDS: GRANT rds_replication TO %s)", v.role, v.role);
	if (pg_is_pooler(e))
		return sayf(&v, PG_FATAL, "The database URL leads to a connection pooler, which has no replication connections: set "
		            "DATABASE_URL to the address of Postgres itself, and ELECTRIC_POOLED_DATABASE_URL to the pooler (it said: %s)",
		            e->text);
	if (is(e, "28P01"))
		return sayf(&v, PG_FATAL, "%s: is the user's password in the URL the right one, with its special characters "
		            "percent-encoded?", e->text);
	if (is(e, "3D000") || is(e, "42601") || is(e, "42602"))
		return say(&v, PG_FATAL, "", e->text);
	if (is(e, "28000"))
		return classify_authorization(&v, e);
	if (is(e, "55006") && has(e, "replication slot"))
		return say(&v, PG_RETRY, "",
		           "Replication slot already in use by another database connection, possibly external to Busbar.");
	if (is(e, "XX000") || is(e, "08P01") || is(e, "08000"))
		return say(&v, hosted_fatal(e) ? PG_FATAL : PG_RETRY, "", e->text);
	return say(&v, PG_RETRY, "", e->text);
}

/* ---- what to do about it ---- */

static void append(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void append(struct err *e, const char *fmt, ...)
{
	size_t len = strlen(e->text);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text + len, sizeof e->text - len, fmt, ap);
	va_end(ap);
}

void pg_advise(struct err *e, const struct config *c, enum pg_role role, const char *schema, const char *table)
{
	if (e->kind == ERR_PG_CONN && role == PG_ROLE_SNAPSHOT && pg_pooled_differs(c))
		append(e, " (ELECTRIC_POOLED_DATABASE_URL)");
	if (e->kind != ERR_PG || !is(e, "42501"))
		return;
	char user[140], s[140], t[140];
	bool owner = has(e, "must be owner of"); /* which only administration needs to be */
	quote_name(user, sizeof user, role_url(c, owner ? PG_ROLE_ADMIN : role)->user);
	quote_name(s, sizeof s, schema);
	quote_name(t, sizeof t, table);
	if (owner)
		append(e, ". Run, as the owner: ALTER TABLE %s.%s REPLICA IDENTITY FULL; and ALTER TABLE %s.%s OWNER TO %s, or GRANT the "
		       "owner's role TO %s; or add the table to the publication yourself and set ELECTRIC_MANUAL_TABLE_PUBLISHING=true",
		       s, t, s, t, user, user);
	else if (has(e, "row-level security")) /* no right to the rows helps: they would be some of them */
		append(e, ": shapes would lack rows that it hides from role %s. Run, as a superuser: ALTER ROLE %s BYPASSRLS; or, as the table's "
		       "owner: ALTER TABLE %s.%s DISABLE ROW LEVEL SECURITY", user, user, s, t);
	else if (has(e, "for schema"))
		append(e, ". Run, as its owner: GRANT USAGE ON SCHEMA %s TO %s", s, user);
	else
		append(e, ". Run, as its owner: GRANT SELECT ON %s.%s TO %s", s, t, user);
}

void pg_advise_catalog(struct err *e, const struct config *c)
{
	if (e->kind != ERR_PG)
		return;
	if (is(e, PG_SQLSTATE_CANCELLED)) {
		append(e, " (a look may take %d s: is a lock on a catalog held, or are there very many partitions?)",
		       PG_ADMIN_STATEMENT_TIMEOUT_MS / 1000);
		return;
	}
	const char *name = is(e, PG_SQLSTATE_PRIVILEGE) ? strstr(e->text, "pg_") : NULL;
	if (name == NULL)
		return;
	char user[140], catalog[NAME_TEXT_MAX];
	quote_name(user, sizeof user, c->database.user);
	snprintf(catalog, sizeof catalog, "%.*s", (int)strspn(name, "abcdefghijklmnopqrstuvwxyz_"), name);
	append(e, ". Run, as a superuser: GRANT SELECT ON pg_catalog.%s TO %s", catalog, user);
}

bool pg_pooled_differs(const struct config *c)
{
	const struct config_url *a = &c->database, *b = &c->pooled_database;
	if (b->host == NULL || b->user == NULL)
		return false;
	const char *ours = a->password != NULL ? a->password : "", *theirs = b->password != NULL ? b->password : "";
	return strcmp(a->host, b->host) != 0 || a->port != b->port || strcmp(a->user, b->user) != 0 ||
	       strcmp(a->database, b->database) != 0 || strcmp(ours, theirs) != 0 || a->sslmode != b->sslmode;
}
