/* doctor_server.c - checks of the server: version, settings, places that are free. */
#include <stdlib.h>
#include <string.h>

#include "ops/doctor_checks.h"

#define VERSION_MIN 140000
#define VERSION_UNTESTED 190000
#define POOL_MIN 5                 /* below it Busbar's threads wait for each other */
#define KEEP_SMALL_MB 1024         /* an outage of minutes may write that much */
#define SENDER_TIMEOUT_MIN_MS 5000
#define DECODING_MEMORY_MIN_KB 65536

static const struct doctor_fix sentence = {.services = DOCTOR_ANYWHERE};

void doctor_check_server_version(struct doctor_look *l, struct doctor_finding *out)
{
	static const int fixed_in[] = {140018, 150013, 160009, 170005}; /* docs/invariants.md 6.2 */
	int v = l->facts->version_num;
	if (v < VERSION_MIN) {
		doctor_say(l, out, DOCTOR_ERROR, "Busbar refuses to start on it.", "PostgreSQL %d.%d is older than 14", v / 10000, v % 10000);
		doctor_fix(l, out, sentence, "upgrade to PostgreSQL 14 or later");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(fixed_in); i++) {
		if (v / 10000 != fixed_in[i] / 10000 || v >= fixed_in[i])
			continue;
		doctor_say(l, out, DOCTOR_WARNING, "Its walsenders can miss the changes of a table that is published while it is written to; Busbar works "
		           "around it where it may alter the publication, else it refuses the shape.",
		           "PostgreSQL %d.%d has a fault that %d.%d mends", v / 10000, v % 10000, v / 10000, fixed_in[i] % 10000);
		doctor_fix(l, out, sentence, "upgrade to the latest minor of PostgreSQL %d", v / 10000);
		return;
	}
	if (v >= VERSION_UNTESTED)
		doctor_say(l, out, DOCTOR_WARNING, "Something may have changed that Busbar depends on.",
		           "PostgreSQL %d is newer than what Busbar has been tested with, 14 to %d", v / 10000, VERSION_UNTESTED / 10000 - 1);
	else
		doctor_say(l, out, DOCTOR_OK, NULL, "PostgreSQL %s", l->facts->version);
}

void doctor_check_primary(struct doctor_look *l, struct doctor_finding *out)
{
	if (!l->facts->standby) {
		doctor_say(l, out, DOCTOR_OK, NULL, "the server is a primary");
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "Slots, publications and snapshots have to be made on the primary.", "the server is a standby (in recovery)");
	doctor_fix(l, out, sentence, "set DATABASE_URL to the primary");
}

void doctor_check_database_encoding(struct doctor_look *l, struct doctor_finding *out)
{
	if (strcmp(l->facts->encoding, "SQL_ASCII") != 0) {
		doctor_say(l, out, DOCTOR_OK, NULL, "the encoding is %s", l->facts->encoding);
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "Its bytes can't be told to clients as UTF-8, so Busbar refuses to start.", "the database's encoding is SQL_ASCII");
	doctor_fix(l, out, sentence, "make a database with ENCODING 'UTF8', and dump and restore into it");
}

static bool waits_for_restart(const struct pg_facts *f, const char *name)
{
	for (int i = 0; i < f->nsettings; i++)
		if (strcmp(f->settings[i].name, name) == 0)
			return f->settings[i].pending_restart;
	return false;
}

void doctor_check_wal_level(struct doctor_look *l, struct doctor_finding *out)
{
	const char *level = pg_facts_setting(l->facts, "wal_level");
	if (strcmp(level, "logical") == 0) {
		doctor_say(l, out, DOCTOR_OK, NULL, "wal_level is logical");
		return;
	}
	bool waits = waits_for_restart(l->facts, "wal_level");
	doctor_say(l, out, DOCTOR_ERROR, "With less, the WAL doesn't hold what a logical slot reads: Busbar can't start.",
	           waits ? "wal_level is %s; another value waits for a restart of Postgres" : "wal_level is %s, it must be logical", level);
	if (waits) {
		doctor_fix(l, out, sentence, "restart Postgres");
		return;
	}
	struct doctor_fix sql = {
		.services = DOCTOR_PLAIN, .apply = l->facts->superuser ? DOCTOR_ASK : DOCTOR_SHOW, .sql = true, .restart = true, .who = "a superuser",
	};
	doctor_fix(l, out, sql, "ALTER SYSTEM SET wal_level = 'logical';");
	sql.restart = false;
	doctor_fix(l, out, sql, "SELECT pg_reload_conf();");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_RDS)},
	           "set rds.logical_replication to 1 in the DB (cluster) parameter group, and reboot the instance");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_CLOUD_SQL)},
	           "set the database flag cloudsql.logical_decoding to on; the instance restarts");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_AZURE)},
	           "set the server parameter wal_level to logical, and restart the server");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_SUPABASE)},
	           "Supabase has logical replication on: is this the project's own database, and not paused?");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ON(PG_SERVICE_NEON)},
	           "enable logical replication in the project's settings (it can't be disabled again; computes restart)");
}

/* ---- places ---- */

void doctor_check_replication_slots(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int64_t places = pg_facts_number(f, "max_replication_slots");
	if (!l->config->temporary_slot && pg_facts_slot(f, l->config->slot_name) != NULL) {
		doctor_say(l, out, DOCTOR_OK, NULL, "our slot is there");
		return;
	}
	if (f->slots_in_all < places) {
		doctor_say(l, out, DOCTOR_OK, NULL, "%lld of %lld replication slots are free", (long long)(places - f->slots_in_all), (long long)places);
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "Busbar needs one for itself: it can't start.", "all %lld replication slots are taken (max_replication_slots)",
	           (long long)places);
	for (int i = 0; i < f->nslots; i++)
		if (!f->slots[i].active)
			doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = "whoever knows that nobody needs that slot"},
			           "SELECT pg_drop_replication_slot(%s);", doctor_literal(l, f->slots[i].name));
	doctor_fix_setting(l, out, "max_replication_slots", doctor_text(l, "%lld", (long long)places + 5), true);
}

void doctor_check_wal_senders(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int64_t places = pg_facts_number(f, "max_wal_senders");
	if (f->our_senders > 0 || f->senders < places) {
		doctor_say(l, out, DOCTOR_OK, NULL, f->our_senders > 0 ? "ours runs, of %lld walsenders" : "%lld walsenders, of which one is free for us",
		           (long long)places);
		return;
	}
	doctor_say(l, out, DOCTOR_ERROR, "The stream needs one: Busbar can't start, or come back after an interruption.",
	           "all %lld walsenders are taken (max_wal_senders)", (long long)places);
	doctor_fix_setting(l, out, "max_wal_senders", doctor_text(l, "%lld", (long long)places + 5), true);
}

/* The server's places, less those that are kept from this role. */
static int64_t connections_shared(const struct pg_facts *f)
{
	int64_t most = pg_facts_number(f, "max_connections"), reserved = pg_facts_number(f, "reserved_connections"); /* from 16 on */
	return f->superuser ? most : most - pg_facts_number(f, "superuser_reserved_connections") - (reserved > 0 ? reserved : 0);
}

/* The least of what the server, the database and the role allow. */
static int64_t connections_allowed(const struct pg_facts *f)
{
	int64_t most = connections_shared(f);
	if (!f->superuser && f->role_limit >= 0 && f->role_limit < most)
		most = f->role_limit;
	return !f->superuser && f->database_limit >= 0 && f->database_limit < most ? f->database_limit : most;
}

void doctor_check_connections(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	/* With a pooled URL half of them, those that read, are elsewhere. */
	int need = f->pooled_differs ? (l->config->db_pool_size + 1) / 2 : l->config->db_pool_size;
	int64_t most = connections_allowed(f), others = f->backends - f->ours, server = connections_shared(f);
	if (need <= most && need + others <= server) {
		doctor_say(l, out, DOCTOR_OK, NULL, "Busbar may need %d connections; of %lld, others use %lld", need, (long long)server, (long long)others);
		return;
	}
	doctor_say(l, out, most < POOL_MIN ? DOCTOR_ERROR : DOCTOR_WARNING, "Where none is left, new shapes wait or get a 503, and other programs are shut out.",
	           need > most ? "Busbar may need %d connections, and this role can have %lld (others use %lld)"
	                       : "Busbar may need %d connections; of %lld, others use %lld", need, (long long)(need > most ? most : server),
	           (long long)others);
	if (most >= POOL_MIN)
		doctor_fix(l, out, sentence, "set ELECTRIC_DB_POOL_SIZE to %lld or less",
		           (long long)(most < server - others ? most : server - others > POOL_MIN ? server - others : POOL_MIN));
	if (f->role_limit >= 0 && f->role_limit < need)
		doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = "a superuser, or the service's admin role"},
		           "ALTER ROLE %s CONNECTION LIMIT -1;", doctor_user(l));
	else if (f->database_limit >= 0 && f->database_limit < need)
		doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .sql = true, .who = "the database's owner",
		           .apply = f->owns_database ? DOCTOR_ASK : DOCTOR_SHOW}, "ALTER DATABASE %s CONNECTION LIMIT -1;", doctor_ident(l, f->database));
	else
		doctor_fix_setting(l, out, "max_connections", doctor_text(l, "%lld", (long long)(need + others + 20)), true);
}

/* ---- what is retained ---- */

void doctor_check_wal_retention(struct doctor_look *l, struct doctor_finding *out)
{
	const struct pg_facts *f = l->facts;
	int64_t keep_mb = pg_facts_number(f, "max_slot_wal_keep_size");
	const char *idle = pg_facts_setting(f, "idle_replication_slot_timeout");
	bool idles = idle[0] != '\0' && strcmp(idle, "0") != 0;
	if (keep_mb < 0 && !idles) {
		doctor_say(l, out, DOCTOR_WARNING, "While Busbar is stopped its slot retains all WAL: only Postgres's own limit keeps the disk from filling up, "
		           "and Postgres from stopping.", "what a slot may retain has no limit (max_slot_wal_keep_size = -1)");
		doctor_fix_setting(l, out, "max_slot_wal_keep_size", "50GB", false);
		doctor_fix(l, out, sentence, "choose what the disk can spare; beyond it the slot is lost, and all shapes start over");
	} else if (keep_mb >= 0 && keep_mb < KEEP_SMALL_MB) {
		doctor_say(l, out, DOCTOR_ADVICE, "A short interruption of Busbar loses the slot, and then all clients fetch everything again.",
		           "max_slot_wal_keep_size is only %s", doctor_bytes(l, keep_mb * 1048576));
		doctor_fix_setting(l, out, "max_slot_wal_keep_size", "10GB", false);
	} else
		doctor_say(l, out, DOCTOR_OK, NULL, "%s%s", keep_mb < 0 ? "idle_replication_slot_timeout is set" : "a slot may retain ",
		           keep_mb < 0 ? "" : doctor_bytes(l, keep_mb * 1048576));
}

void doctor_check_wal_sender_timeout(struct doctor_look *l, struct doctor_finding *out)
{
	int64_t ms = pg_facts_number(l->facts, "wal_sender_timeout");
	if (ms >= SENDER_TIMEOUT_MIN_MS) {
		doctor_say(l, out, DOCTOR_OK, NULL, "wal_sender_timeout is %s", doctor_seconds(l, ms / 1000));
		return;
	}
	if (ms == 0)
		doctor_say(l, out, DOCTOR_ADVICE, "After a broken network Postgres keeps the slot busy until TCP gives up, and Busbar can't come back to it.",
		           "wal_sender_timeout is 0");
	else
		doctor_say(l, out, DOCTOR_WARNING, "A pause of the network or of a busy machine ends the stream, which then starts over.",
		           "wal_sender_timeout is only %lld ms", (long long)ms);
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_ANYWHERE, .apply = DOCTOR_RUN, .sql = true},
	           "ALTER ROLE %s SET wal_sender_timeout = '60s';", doctor_user(l));
}

/* A standby's name is compared with application_name; Busbar's has a random number, so only * means it. */
void doctor_check_synchronous_standbys(struct doctor_look *l, struct doctor_finding *out)
{
	const char *names = pg_facts_setting(l->facts, "synchronous_standby_names"), *commit = pg_facts_setting(l->facts, "synchronous_commit");
	if (strchr(names, '*') == NULL) {
		doctor_say(l, out, DOCTOR_OK, NULL, names[0] == '\0' ? "no commit waits for a standby" : "synchronous_standby_names names standbys, not Busbar");
		return;
	}
	bool waits = strcmp(commit, "off") != 0 && strcmp(commit, "local") != 0;
	doctor_say(l, out, waits ? DOCTOR_ERROR : DOCTOR_WARNING, "Busbar's walsender counts as such a standby: commits of all users may wait for Busbar, "
	           "and hang while it is stopped.", "synchronous_standby_names is %s, which means every walsender", doctor_literal(l, names));
	doctor_fix(l, out, sentence, "name the standbys one by one, by their application_name:");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_PLAIN, .sql = true, .who = "a superuser"},
	           "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (standby1, standby2)';");
	doctor_fix(l, out, (struct doctor_fix){.services = DOCTOR_PLAIN, .sql = true, .who = "a superuser"}, "SELECT pg_reload_conf();");
}

void doctor_check_synchronous_commit(struct doctor_look *l, struct doctor_finding *out)
{
	const char *commit = pg_facts_setting(l->facts, "synchronous_commit");
	if (strcmp(commit, "off") != 0) {
		doctor_say(l, out, DOCTOR_OK, NULL, "synchronous_commit is %s", commit);
		return;
	}
	doctor_say(l, out, DOCTOR_ADVICE, "If Postgres crashes, commits of the last moments are lost; shapes whose snapshot showed them start over.",
	           "synchronous_commit is off");
	doctor_fix_setting(l, out, "synchronous_commit", "on", false);
}

void doctor_check_decoding_memory(struct doctor_look *l, struct doctor_finding *out)
{
	int64_t kb = pg_facts_number(l->facts, "logical_decoding_work_mem");
	if (kb >= DECODING_MEMORY_MIN_KB || kb < 0) {
		doctor_say(l, out, DOCTOR_OK, NULL, "logical_decoding_work_mem is %s", doctor_bytes(l, kb * 1024));
		return;
	}
	doctor_say(l, out, DOCTOR_ADVICE, "Larger transactions are written to disk and read back by the walsender, which makes them come late.",
	           "logical_decoding_work_mem is only %s", doctor_bytes(l, kb * 1024));
	doctor_fix_setting(l, out, "logical_decoding_work_mem", "64MB", false);
}
