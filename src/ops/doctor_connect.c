/* doctor_connect.c - checks of the way to the server: settings, URLs, TLS, poolers, the clock. */
#include <stdlib.h>
#include <string.h>

#include "ops/doctor_checks.h"

#define SKEW_MAX_US 1000000 /* beyond it figures of lag mislead */

void doctor_check_configuration(struct doctor_look *l, struct doctor_finding *out)
{
	if (l->configuration_error != NULL)
		doctor_say(l, out, DOCTOR_ERROR, "Busbar ends with this line instead of starting.", "%s", l->configuration_error);
	else if (l->configuration_warnings[0] != '\0')
		doctor_say(l, out, DOCTOR_ADVICE, "Busbar says this at each start. A setting that isn't read may be one that was meant to protect you.", "%s",
		           l->configuration_warnings);
	else
		doctor_say(l, out, DOCTOR_OK, NULL, "the settings can be read");
}

/* ---- connecting ---- */

static const struct doctor_fix sentence = {.services = DOCTOR_ANYWHERE};

static void fix_role(struct doctor_look *l, struct doctor_finding *out, const struct pg_facts_link *m)
{
	struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true, .who = "a superuser, or the service's admin role"};
	if (strstr(m->error, "does not exist") != NULL)
		doctor_fix(l, out, sql, "CREATE ROLE %s LOGIN REPLICATION PASSWORD '...';", doctor_user(l));
	else if (strstr(m->error, "not permitted to log in") != NULL)
		doctor_fix(l, out, sql, "ALTER ROLE %s LOGIN;", doctor_user(l));
	else if (strstr(m->error, "pg_hba.conf") != NULL)
		doctor_fix(l, out, sentence, "add a line to pg_hba.conf that lets user %s into database %s from this machine (hostssl, or with "
		           "sslmode=disable in the URL: host), and SELECT pg_reload_conf(); on a service: allow this machine's address",
		           doctor_user(l), doctor_ident(l, l->config->database.database));
}

static void fix_connect(struct doctor_look *l, struct doctor_finding *out, const struct pg_facts_link *m)
{
	struct doctor_fix sql = {.services = DOCTOR_ANYWHERE, .sql = true, .who = "a superuser, or the service's admin role"};
	const char *state = m->sqlstate;
	if (m->pooler)
		doctor_fix(l, out, sentence, "set DATABASE_URL to the address of Postgres itself");
	else if (strcmp(state, "28P01") == 0)
		doctor_fix(l, out, sql, "ALTER ROLE %s PASSWORD '...';", doctor_user(l));
	else if (strcmp(state, "28000") == 0)
		fix_role(l, out, m);
	else if (strcmp(state, "3D000") == 0)
		doctor_fix(l, out, sql, "CREATE DATABASE %s OWNER %s;", doctor_ident(l, l->config->database.database), doctor_user(l));
	else if (strcmp(state, "42501") == 0)
		doctor_fix(l, out, sql, "GRANT CONNECT ON DATABASE %s TO %s;", doctor_ident(l, l->config->database.database), doctor_user(l));
	else if (strcmp(state, "53300") == 0)
		doctor_fix(l, out, sentence, "end sessions that nobody needs (SELECT pid, usename, application_name, state FROM pg_stat_activity), or "
		           "raise max_connections or the role's CONNECTION LIMIT");
	else if (strncmp(state, "57P", 3) == 0)
		doctor_fix(l, out, sentence, "wait until Postgres has started, and look again");
	else if (strstr(m->line, "SSL") != NULL)
		doctor_fix(l, out, sentence, "set ELECTRIC_DATABASE_CA_CERTIFICATE_FILE to the service's CA bundle, or sslmode in the URL to what "
		           "the server has (disable, require)");
	else
		doctor_fix(l, out, sentence, "is host and port in DATABASE_URL right as seen from this machine or container, does Postgres listen there "
		           "(listen_addresses), does a firewall or security group let it through?");
}

void doctor_check_connect(struct doctor_look *l, struct doctor_finding *out)
{
	const struct config_url *u = &l->config->database;
	const struct pg_facts_link *m = &l->facts->main;
	if (m->connected) {
		doctor_say(l, out, DOCTOR_OK, NULL, "connected to %s port %d, database %s, as %s", u->host, u->port,
		           doctor_ident(l, u->database), doctor_user(l));
		return;
	}
	if (!m->tried) {
		doctor_say(l, out, DOCTOR_OK, NULL, "not tried, for want of an address");
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "Without the database nothing new is served; all other checks need it too.", "%s", m->line);
	fix_connect(l, out, m);
}

/* ---- poolers ---- */

/* Names and ports that poolers have: only a hint, for asking tells more. */
static bool looks_pooled(const struct config_url *u)
{
	static const char *const names[] = {"-pooler.", ".pooler.", "pgbouncer", "pooler-", ".proxy-"};
	for (size_t i = 0; u->host != NULL && i < ARRAY_LEN(names); i++)
		if (strstr(u->host, names[i]) != NULL)
			return true;
	return u->port == 6543 || u->port == 6432;
}

void doctor_check_pooler(struct doctor_look *l, struct doctor_finding *out)
{
	static const char why[] = "A pooler has no replication connections, so Busbar can't start through one.";
	const struct pg_facts *f = l->facts;
	bool asked = f->main.pooler || f->replication.pooler, looks = looks_pooled(&l->config->database);
	if (!asked && (!looks || f->replication.connected)) {
		doctor_say(l, out, DOCTOR_OK, NULL, f->main.connected ? "Postgres itself answers" : "the address isn't one of a known pooler");
		return;
	}
	doctor_say(l, out, asked ? DOCTOR_ERROR : DOCTOR_WARNING, why, asked ? "DATABASE_URL leads to a connection pooler" :
	           "DATABASE_URL has the host or port of a connection pooler");
	doctor_fix(l, out, (struct doctor_fix){.services = ~DOCTOR_ON(PG_SERVICE_SUPABASE) & ~DOCTOR_ON(PG_SERVICE_NEON)},
	           "set DATABASE_URL to the address of Postgres itself, and ELECTRIC_POOLED_DATABASE_URL to the pooler");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_SUPABASE)},
	           "use the direct connection, db.PROJECT.supabase.co:5432 (IPv6, or with the IPv4 add-on), for DATABASE_URL; the pooler may be "
	           "ELECTRIC_POOLED_DATABASE_URL");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_NEON)},
	           "take \"-pooler\" out of the host in DATABASE_URL; the name with it may be ELECTRIC_POOLED_DATABASE_URL");
}

void doctor_check_replication_connection(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts_link *r = &l->facts->replication;
	if (r->connected)
		doctor_say(l, out, DOCTOR_OK, NULL, "a replication connection can be made");
	else if (!r->tried)
		doctor_say(l, out, DOCTOR_OK, NULL, "not tried: no walsender is free");
	else {
		doctor_say(l, out, DOCTOR_ERROR, "The stream of changes comes by such a connection; without it Busbar can't start.", "%s", r->line);
		if (!l->facts->may_replicate || l->facts->main.pooler || r->pooler)
			return; /* role-replication or pooler says what to do */
		fix_connect(l, out, r);
	}
}

/* ---- the pooled URL ---- */

static void say_pooled(struct doctor_look *l, struct doctor_finding *out, const char *fmt, const char *a, const char *b) PRINTF_LIKE(3, 0);
static void say_pooled(struct doctor_look *l, struct doctor_finding *out, const char *fmt, const char *a, const char *b)
{
	doctor_say(l, out, DOCTOR_ERROR, "Snapshots are read there: rows would be missing or wrong, so Busbar refuses to make shapes.", fmt, a, b);
	doctor_fix(l, out, sentence, "ELECTRIC_POOLED_DATABASE_URL must lead to the same database on the same primary as DATABASE_URL");
}

void doctor_check_pooled_url(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	if (!f->pooled_differs)
		doctor_say(l, out, DOCTOR_OK, NULL, "not set, or the same: snapshots are read by DATABASE_URL");
	else if (!f->pooled.connected) {
		doctor_say(l, out, DOCTOR_ERROR, "Snapshots are read there: no shape can be made.", "ELECTRIC_POOLED_DATABASE_URL: %s", f->pooled.line);
		doctor_fix(l, out, sentence, "does psql get through with that URL from this machine? The pooler may know the role or the database under "
		           "another name");
	} else if (f->pooled_standby)
		say_pooled(l, out, "ELECTRIC_POOLED_DATABASE_URL leads to a standby%s%s", "", "");
	else if (f->system_id != NULL && f->pooled_system_id != NULL && strcmp(f->system_id, f->pooled_system_id) != 0)
		say_pooled(l, out, "ELECTRIC_POOLED_DATABASE_URL leads to another server (system identifier %s, not %s)", f->pooled_system_id,
		           f->system_id);
	else if (strcmp(f->database, f->pooled_database) != 0)
		say_pooled(l, out, "ELECTRIC_POOLED_DATABASE_URL leads to database %s, DATABASE_URL to %s", doctor_ident(l, f->pooled_database),
		           doctor_ident(l, f->database));
	else
		doctor_say(l, out, DOCTOR_OK, NULL, "ELECTRIC_POOLED_DATABASE_URL leads to the same primary%s",
		           f->pooled.pooler ? ", through a pooler" : "");
}

/* ---- TLS, clock ---- */

static bool is_local(const char *host)
{
	return host[0] == '/' || strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

void doctor_check_tls(struct doctor_look *l, struct doctor_finding *out)
{
	const struct config *c = l->config;
	const struct pg_facts_link *m = &l->facts->main;
	if (is_local(c->database.host))
		doctor_say(l, out, DOCTOR_OK, NULL, m->tls ? "%s, on this machine" : "%snot encrypted, on this machine", m->tls_version);
	else if (!m->tls) {
		doctor_say(l, out, DOCTOR_ADVICE, "Whoever is on the way reads the rows.", "the connection isn't encrypted");
		doctor_fix(l, out, sentence, "put sslmode=require into DATABASE_URL, or set ELECTRIC_DATABASE_CA_CERTIFICATE_FILE, where the server has TLS");
	} else if (c->ca_certificate_file == NULL) {
		doctor_say(l, out, DOCTOR_ADVICE, "Encrypted, but to whom isn't known: somebody on the way could pass for the server.",
		           "%s, and the certificate isn't verified", m->tls_version);
		doctor_fix(l, out, sentence, "set ELECTRIC_DATABASE_CA_CERTIFICATE_FILE to the CA's certificates");
	} else
		doctor_say(l, out, DOCTOR_OK, NULL, "%s, with a verified certificate", m->tls_version);
}

void doctor_check_clock(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int64_t skew_us = llabs(f->skew_us);
	/* What the round trip can't explain. */
	if (skew_us - f->round_trip_us / 2 < SKEW_MAX_US) {
		doctor_say(l, out, DOCTOR_OK, NULL, "the clocks agree to within %lld ms", (long long)((skew_us + f->round_trip_us / 2) / 1000));
		return;
	}
	doctor_say(l, out, DOCTOR_WARNING, "Figures of lag are the difference of the two clocks; rows don't depend on them.",
	           "the server's clock is %s %s this machine's", doctor_seconds(l, skew_us / 1000000), f->skew_us > 0 ? "ahead of" : "behind");
	doctor_fix(l, out, sentence, "run NTP on the one that is wrong");
}
