/*
 * facts.h - what `busbar doctor` wants to know of a server, as plain data: gathered by few short statements, judged in src/ops.
 *
 * Nothing is altered and nothing is locked. Each statement runs in a transaction of its own that is READ ONLY, bounded by
 * FACTS_STATEMENT_TIMEOUT_MS and FACTS_LOCK_TIMEOUT_MS; what it sets ends with it, for behind a pooler the session is
 * somebody else's a moment later. Strings and arrays live in the facts' arena; one thread.
 */
#ifndef BUSBAR_PG_FACTS_H
#define BUSBAR_PG_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/config.h"

#define FACTS_STATEMENT_TIMEOUT_MS 5000
#define FACTS_LOCK_TIMEOUT_MS 1000
#define FACTS_ROWS_MAX 1000           /* of each list; what is beyond is counted, not kept */
#define FACTS_APPLY_TIMEOUT_MS 30000  /* of a statement that mends something... */
#define FACTS_APPLY_LOCK_MS 2000      /* ...and how long others may queue behind it */

/* Postgres as a service, where some things are done otherwise. */
enum pg_service {
	PG_SERVICE_NONE, PG_SERVICE_RDS, PG_SERVICE_CLOUD_SQL, PG_SERVICE_AZURE, PG_SERVICE_SUPABASE, PG_SERVICE_NEON, PG_SERVICES,
};

/* What is gathered together. A part that couldn't be has its reason in `trouble`. */
enum pg_facts_part {
	PG_FACTS_NOTHING, /* the settings alone: always there */
	PG_FACTS_SERVER, PG_FACTS_SETTINGS, PG_FACTS_SLOTS, PG_FACTS_TRANSACTIONS, PG_FACTS_PUBLICATION, PG_FACTS_TABLES, PG_FACTS_READER,
	PG_FACTS_CANDIDATES, PG_FACTS_LOCK, PG_FACTS_PARTS,
};

/* A connection that was tried. */
struct pg_facts_link {
	bool tried, connected;
	const char *error, *sqlstate; /* as Postgres or the network said it; "" */
	const char *line;             /* as the daemon would say it: pg_classify() */
	bool pooler;                  /* a pooler refused it, or the session is served by another process than connected */
	bool tls;
	const char *tls_version;
};

struct pg_facts_setting {
	const char *name, *value; /* value: in the setting's base unit; what a new session of this role has */
	bool pending_restart;     /* another value waits in the file */
	bool in_database;         /* set for this role in this database, which wins over the role's */
};

struct pg_facts_slot {
	const char *name, *plugin /* "" if physical */, *database;
	bool active, temporary, lost;
	int active_pid;
	const char *wal_status, *reason; /* "" where the version doesn't tell */
	int64_t retained_bytes;          /* WAL from its restart_lsn on; -1: it reserves none */
	int64_t behind_bytes;            /* from its confirmed position on: what its reader holds; -1: none yet, or physical */
};

/* A transaction that has written: it keeps the start of slots back, and new slots waiting. */
struct pg_facts_transaction {
	int pid;               /* 0: a prepared one */
	const char *gid;       /* of a prepared one, else "" */
	const char *user, *application, *database, *state;
	int64_t age_s;         /* -1: this role may not see it */
};

struct pg_facts_table {
	uint32_t oid;
	const char *schema, *name, *owner;
	char relkind, identity; /* as pg_class has them */
	bool owned;             /* this role may alter it */
	bool superusers;        /* its owner is a superuser; of strangers only */
	bool partition;
	int generated, virtuals; /* how many stored and virtual generated columns */
	/* PG_FACTS_READER: as the role that reads snapshots has it */
	bool may_use_schema, may_select, row_security;
};

/* An entry of the publication that leaves something out. */
struct pg_facts_entry {
	const char *schema, *name;
	bool filter, columns;
};

struct pg_facts {
	struct arena arena;
	const char *trouble[PG_FACTS_PARTS];
	struct pg_facts_link main, replication, pooled; /* replication isn't tried where no walsender is free */
	enum pg_service service;

	/* PG_FACTS_SERVER */
	int version_num;
	const char *version, *encoding, *system_id /* NULL: not known */, *database, *user;
	bool standby;
	int64_t skew_us, round_trip_us; /* its clock ahead of ours, to within half a round trip */
	int backends, ours, senders, our_senders; /* client sessions; those of a Busbar with this user and database; walsenders */
	int database_limit, role_limit;           /* of connections; -1: none */
	bool may_create, owns_database;           /* a publication in the database */
	bool superuser, may_replicate, bypasses_row_security, monitors;
	int standby_snapshot;                     /* pg_log_standby_snapshot(): may call it (1), may not (0), there is none (-1) */

	struct pg_facts_setting *settings; /* PG_FACTS_SETTINGS */
	int nsettings;
	struct pg_facts_slot *slots; /* PG_FACTS_SLOTS */
	int nslots, slots_in_all;
	struct pg_facts_transaction *transactions; /* PG_FACTS_TRANSACTIONS, oldest first */
	int ntransactions;

	/* PG_FACTS_PUBLICATION */
	bool published, may_alter, all_tables, via_root, inserts, updates, deletes, truncates;
	char generated; /* 's' if stored generated columns are published; '\0' before PostgreSQL 18 */
	const char *publication_owner;
	struct pg_facts_entry *entries;
	int nentries;

	struct pg_facts_table *tables; /* PG_FACTS_TABLES: what is published, leaves of partitioned tables */
	int ntables, tables_in_all;

	/* PG_FACTS_CANDIDATES: tables of users, published or not */
	int user_tables, readable, unowned, secured; /* unowned: readable, and not ready without our altering it; secured: row security */
	struct pg_facts_table *strangers;            /* of the unowned ones */
	int nstrangers;

	/* PG_FACTS_LOCK */
	int lock_pid; /* 0: free */
	const char *lock_application, *lock_user;

	/* the pooled URL, if it differs */
	bool pooled_differs, pooled_standby;
	const char *pooled_user, *pooled_database, *pooled_system_id;
	struct pg_facts_setting *pooled_settings;
	int npooled_settings;
};

/* Never fails: what couldn't be gathered is in `main`, `trouble` and so on. Blocks, for seconds where the network does. */
void pg_facts_gather(const struct config *c, struct pg_facts *out);
void pg_facts_clear(struct pg_facts *f);

/* "" if there is no such setting on this server. */
const char *pg_facts_setting(const struct pg_facts *f, const char *name);
/* -1 likewise, so "unlimited" and "unknown" are the same for those where -1 is unlimited. */
int64_t pg_facts_number(const struct pg_facts *f, const char *name);
const struct pg_facts_slot *pg_facts_slot(const struct pg_facts *f, const char *name); /* NULL: there is none */

/* Runs statements (one string, one PQexec()) as DATABASE_URL's user, in a session of its own that is bounded by the FACTS_APPLY_ limits. */
int pg_facts_apply(const struct config *c, const char *sql, struct err *e) MUST_USE;

#endif
