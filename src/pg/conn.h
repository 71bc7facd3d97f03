/*
 * conn.h - connections to Postgres by libpq: parameters, session settings, classes of errors.
 *
 * Every session of ours: client_encoding UTF8, search_path pinned to pg_catalog, the five display
 * settings of Electric (bytea_output hex, DateStyle 'ISO, DMY', TimeZone UTC, extra_float_digits 1,
 * IntervalStyle iso_8601), application_name busbar. libpq does TLS (sslmode; verify-full with the CA
 * file), keepalives and address fallback. A PGconn belongs to one thread at a time.
 */
#ifndef BUSBAR_PG_CONN_H
#define BUSBAR_PG_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/config.h"
#include "base/err.h"

enum pg_role { PG_ROLE_ADMIN, PG_ROLE_SNAPSHOT /* the pooled URL: nothing may be set outside a transaction */, PG_ROLE_REPLICATION };

#define PG_CONNECT_TIMEOUT_S 30
/* Every statement of an ADMIN session is bounded by this (statement_timeout), unless set otherwise. */
#define PG_ADMIN_STATEMENT_TIMEOUT_MS 10000

/* Before other threads run: libpq's environment variables (PGHOST, PGOPTIONS, PGSERVICE, ...) are forgotten,
 * because each would change connections behind the settings' back. Also initialises libpq's own locks. */
void pg_init(void);

/* Connects (blocking, at most PG_CONNECT_TIMEOUT_S and the resolver's time) and applies the session
 * settings (for a snapshot session they are set per transaction, by pg_snapshot). All addresses of the
 * host are tried in turn. */
PGconn *pg_connect(const struct config *c, enum pg_role role, struct err *e) MUST_USE;

/* The same without the session settings, for whoever may be connected to a pooler. */
PGconn *pg_connect_plain(const struct config *c, enum pg_role role, struct err *e) MUST_USE;

/* Closes it and forgets it; *conn may be NULL. */
void pg_disconnect(PGconn **conn);

/* False once the connection is known to be broken; one that broke while nobody used it shows that when it is used. */
bool pg_is_connected(const PGconn *conn);

/* The addresses of a host as numbers, IPv4 first unless `prefer_ipv6`. Blocks as long as the resolver does;
 * touches no libpq: any thread. For a socket directory there is one, "". */
#define PG_ADDRESSES_MAX 8
#define PG_ADDRESS_TEXT_MAX 64
struct pg_addresses {
	int n;
	char text[PG_ADDRESSES_MAX][PG_ADDRESS_TEXT_MAX];
};
int pg_resolve(const char *host, bool prefer_ipv6, struct pg_addresses *out, struct err *e) MUST_USE;

/* Starts connecting to one of pg_resolve()'s addresses without blocking (PQconnectPoll() is the caller's,
 * and so is the session settings). Failures are explained by pg_error(e, conn, NULL), with sqlstate. */
PGconn *pg_connect_start(const struct config *c, enum pg_role role, const char *address, struct err *e) MUST_USE;

/* "SET client_encoding…; SET search_path…": one simple query with all of them; `local`: SET LOCAL. */
const char *pg_session_settings_sql(bool local);

/* Fills `e` from a failed result or, with res NULL, from the connection: kind ERR_PG with sqlstate and
 * the primary message (without "ERROR:"), or ERR_PG_CONN (sqlstate set if the server gave a reason) when
 * the connection is what failed. Returns -1. */
int pg_error(struct err *e, PGconn *conn, const PGresult *res);

/*
 * What an error asks for. PG_RETRY: an outage, try again. PG_FATAL: the user must change
 * something: the process exits with `line`. PG_SLOT_LOST: drop and recreate the slot.
 */
enum pg_error_class { PG_RETRY, PG_FATAL, PG_SLOT_LOST };
/* Works on every PostgreSQL from 14 to 18, whose wordings differ. `line` gets the text to show. */
enum pg_error_class pg_classify(const struct config *c, const struct err *e, char *line, size_t line_max);

/* True if an error of Postgres (ERR_PG) is about what was asked for, a name, a right, a value, and comes again as long as
 * that is asked; false for what the server couldn't do at the time: a timeout, a lack of memory or disk, a shutdown. */
bool pg_is_askers(const struct err *e);

/* True if it is a pooler that says so: it has no replication connections. */
bool pg_is_pooler(const struct err *e);

/* Adds what mends it to an error about a table, with the names filled in: a missing right, or which URL it was. */
void pg_advise(struct err *e, const struct config *c, enum pg_role role, const char *schema, const char *table);

/* The same for an error about a catalog that the ADMIN role reads. */
void pg_advise_catalog(struct err *e, const struct config *c);

/* True if snapshots have a URL of their own. */
bool pg_pooled_differs(const struct config *c);

/* host:port for messages. */
const char *pg_address(const struct config_url *u, char *buf, size_t max);

#endif
