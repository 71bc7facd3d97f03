/*
 * config.h - the settings: Electric's environment variables, parsed by Electric's rules.
 *
 * Names, types, units, defaults and the texts of refused values are Electric's; a name that begins with BUSBAR_ is ours.
 * config_table.h lists every variable once: parser, `--help` and docs/configuration.md come from it.
 * Read once at start, then read-only, but for what settings.h changes: struct config_live and the secrets, which are atomic.
 * Any thread may read it; level and format of the log are MAIN's.
 */
#ifndef BUSBAR_BASE_CONFIG_H
#define BUSBAR_BASE_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"

enum config_sslmode { SSLMODE_UNSET, SSLMODE_DISABLE, SSLMODE_ALLOW, SSLMODE_PREFER, SSLMODE_REQUIRE };

/* A parsed DATABASE_URL. Strings are owned by the struct config and percent-decoded. */
struct config_url {
	char *user, *password /* NULL: none */, *host, *database;
	int port;
	enum config_sslmode sslmode;
};

/* What may change while we run: whoever needs the same value twice keeps it. Listed in settings.c too. */
struct config_live {
	_Atomic int64_t max_shapes; /* 0: unlimited */
	_Atomic int64_t max_concurrent_initial, max_concurrent_existing;
	_Atomic int64_t long_poll_timeout_ms;
	_Atomic int64_t cache_max_age_s, cache_stale_age_s;
	_Atomic int64_t subquery_cache_max_age_s; /* bounds them, for shapes with subqueries */
};

/* Either opens; they live as long as the struct config. */
struct config_secrets {
	char *now, *previous /* NULL: none */;
	struct config_secrets *older; /* accepted no more */
};

/* Threads for snapshots, and for subsets: BUSBAR_SNAPSHOT_CONCURRENCY, BUSBAR_SUBSET_CONCURRENCY. */
#define CONCURRENCY_MAX 12

struct config {
	struct config_live live;
	_Atomic(struct config_secrets *) secrets; /* NULL: insecure */
	char *settings_file; /* NULL: none */

	/* database */
	struct config_url database;
	struct config_url pooled_database; /* snapshots only; equals `database` unless set */
	bool database_use_ipv6;
	char *ca_certificate_file; /* NULL: none */
	int64_t idle_timeout_ms; /* ELECTRIC_REPLICATION_IDLE_TIMEOUT; 0: connections stay open */
	int db_pool_size;
	int64_t tcp_keepalive_idle_ms, tcp_keepalive_interval_ms, tcp_user_timeout_ms; /* -1: ours (pg/conn.c) */
	int64_t tcp_keepalive_count;                                                   /* -1: ours (pg/conn.c) */
	char *replication_stream_id;
	char *slot_name, *publication_name; /* electric_slot_<id>, electric_publication_<id> */
	bool temporary_slot;                /* CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN */
	bool temporary_slot_random_name;
	bool manual_table_publishing;
	int64_t publication_refresh_ms; /* ELECTRIC_TWEAKS_PUBLICATION_REFRESH_PERIOD, 60 s */
	int64_t schema_reconciler_ms;   /* ELECTRIC_TWEAKS_SCHEMA_RECONCILER_PERIOD, 60 s */
	int64_t wal_limit_bytes;        /* BUSBAR_WAL_LIMIT: of WAL that our slot keeps; 0: no limit */
	int64_t wal_limit_age_ms;       /* BUSBAR_WAL_LIMIT_AGE; 0: no limit */
	int64_t max_txn_bytes;          /* ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE; 0: no limit (ours is unlimited by default) */

	/* HTTP */
	char *subquery_tables; /* BUSBAR_SUBQUERY_TABLES as it is written; NULL: unset */
	int port;
	bool listen_on_ipv6;
	int64_t tcp_send_timeout_ms, tcp_read_timeout_ms;
	int64_t chunk_bytes_threshold;
	bool enable_integration_testing;
	int64_t conn_max_requests; /* 0: unlimited */

	/* shapes and storage */
	char *storage_dir;
	bool storage_memory; /* ELECTRIC_STORAGE=MEMORY */
	bool storage_ephemeral; /* BUSBAR_STORAGE=ephemeral */
	int64_t store_limit, store_min_free; /* bytes; 0: none */
	int64_t shape_expiry_ms;             /* 0: none */
	int64_t shape_growth_limit;          /* log to first rows; 0: none */
	int snapshot_concurrency, subset_concurrency; /* 0: as the pool allows */
	int64_t subset_memory, body_memory;           /* bytes */

	/* metrics */
	int prometheus_port; /* 0: none */
	int admin_port;      /* 0: none */
	char *admin_address; /* an IP */
	char *statsd_host;   /* as it is written; NULL: none */
	char *instance_id;   /* NULL: unset */
	int64_t system_metrics_poll_ms;
	int64_t heartbeat_ms; /* 0: none */

	/* logging */
	enum log_level log_level;
	enum log_format log_format;
};

/*
 * Reads the environment. On -1 `e` holds one line that says what to change. Never logs secrets.
 * What is accepted and has no effect here, and what deserves a warning, is appended to `warnings`
 * (may be NULL), a line each.
 */
int config_load(struct config *c, FILE *warnings, struct err *e) MUST_USE;
void config_clear(struct config *c);
/* secrets.c: copies of them from now on; `previous` may be NULL. One thread, any time. */
void config_set_secrets(struct config *c, const char *now, const char *previous);
void config_forget_secrets(struct config *c);

/* The table of variables for `--help`: name, type, default, text. */
void config_help(FILE *out);

/* Pure parsers, exposed for tests and the fuzzer. */
int config_parse_url(const char *text, struct config_url *out, struct err *e) MUST_USE;
void config_url_clear(struct config_url *u);
int config_parse_time_ms(const char *text, int64_t *out, struct err *e) MUST_USE;
int config_parse_own_time_ms(const char *text, int64_t *out, struct err *e) MUST_USE; /* of BUSBAR_: hours and days, too */
int config_parse_size(const char *text, int64_t *out, struct err *e) MUST_USE;
bool config_parse_bool(const char *text);

#endif
