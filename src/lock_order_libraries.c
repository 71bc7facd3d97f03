/*
 * lock_order_libraries.c - in debug builds of the daemon: that nobody calls a library that may wait (for Postgres, for the
 * disk) with one of our locks held. The linker puts these in the place of the libraries' own, base/lock_order.h.
 */
#include <libpq-fe.h>
#include <lmdb.h>
#include <microhttpd.h>

#include "base/lock_order.h"

/* Each is declared as the library declares it, and does what it does. */
#define WATCHED(library, above, type, name, parameters, arguments) \
	type __real_##name parameters; \
	type __wrap_##name parameters; \
	type __wrap_##name parameters \
	{ \
		lock_order_none_held(above, library " (" #name ")"); \
		return __real_##name arguments; \
	}

WATCHED("libpq", 0, PGresult *, PQexec, (PGconn * c, const char *sql), (c, sql))
WATCHED("libpq", 0, PGresult *, PQexecParams,
        (PGconn * c, const char *sql, int n, const Oid *types, const char *const *values, const int *lengths,
         const int *formats, int format),
        (c, sql, n, types, values, lengths, formats, format))
WATCHED("libpq", 0, PGresult *, PQgetResult, (PGconn * c), (c))
WATCHED("libpq", 0, PostgresPollingStatusType, PQconnectPoll, (PGconn * c), (c))
WATCHED("libpq", 0, int, PQconsumeInput, (PGconn * c), (c))
WATCHED("libpq", 0, int, PQflush, (PGconn * c), (c))
WATCHED("libpq", 0, int, PQgetCopyData, (PGconn * c, char **to, int async), (c, to, async))
/* The store takes its own locks round it. */
WATCHED("LMDB", LOCK_STORE, int, mdb_txn_begin, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn),
        (env, parent, flags, txn))
WATCHED("LMDB", LOCK_STORE, int, mdb_txn_commit, (MDB_txn * txn), (txn))
WATCHED("LMDB", LOCK_STORE, int, mdb_get, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *value), (txn, dbi, key, value))
WATCHED("LMDB", LOCK_STORE, int, mdb_cursor_get, (MDB_cursor * at, MDB_val *key, MDB_val *value, MDB_cursor_op op),
        (at, key, value, op))
WATCHED("libmicrohttpd", 0, enum MHD_Result, MHD_run, (struct MHD_Daemon * d), (d))
WATCHED("libmicrohttpd", 0, enum MHD_Result, MHD_queue_response, (struct MHD_Connection * c, unsigned status, struct MHD_Response *r),
        (c, status, r))
