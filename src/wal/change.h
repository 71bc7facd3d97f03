/*
 * change.h - what the replication stream says, as plain data.
 *
 * Produced by pgoutput.c from bytes, consumed by src/shapes. Everything is borrowed: pointers go
 * into the message that was parsed or into the decoder's scratch memory, and are valid until the
 * next message is parsed.
 */
#ifndef BUSBAR_WAL_CHANGE_H
#define BUSBAR_WAL_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lsn.h"

struct wal_column {
	const char *name;
	uint32_t type_oid;
	int32_t typmod;
	bool key; /* part of the replica identity */
};

struct wal_relation {
	uint32_t oid;
	const char *schema, *name;
	char replica_identity; /* 'd' default, 'n' nothing, 'f' full, 'i' index */
	uint16_t ncolumns;
	const struct wal_column *columns;
};

enum wal_value_kind { WAL_NULL = 'n', WAL_UNCHANGED = 'u' /* TOASTed and not sent */, WAL_TEXT = 't' };

struct wal_value {
	enum wal_value_kind kind;
	uint32_t len;
	const char *data; /* not terminated */
};

struct wal_tuple {
	uint16_t ncolumns; /* 0: no tuple */
	const struct wal_value *values;
};

enum wal_kind {
	WAL_BEGIN = 'B',
	WAL_COMMIT = 'C',
	WAL_ORIGIN = 'O',
	WAL_RELATION = 'R',
	WAL_TYPE = 'Y',
	WAL_INSERT = 'I',
	WAL_UPDATE = 'U',
	WAL_DELETE = 'D',
	WAL_TRUNCATE = 'T',
	WAL_MESSAGE = 'M',
	WAL_STREAM_ABORT = 'A', /* PostgreSQL 18 sends it for an aborted transaction, streaming or not */
};

struct wal_change {
	enum wal_kind kind;
	union {
		struct {
			lsn_t final_lsn; /* the commit record's position: the `tx` of every offset of the transaction */
			int64_t commit_time_us; /* since 2000-01-01 */
			uint32_t xid;
		} begin;
		struct {
			lsn_t commit_lsn;
			lsn_t end_lsn; /* where the next record starts, which may be the next commit's position */
			int64_t commit_time_us;
		} commit;
		struct wal_relation relation;
		struct {
			uint32_t relation_oid;
			char old_kind; /* 'K' key columns only, 'O' the whole old row, 0 none */
			struct wal_tuple old_tuple, new_tuple;
		} row; /* WAL_INSERT (new), WAL_UPDATE (new, maybe old), WAL_DELETE (old) */
		struct {
			uint32_t count;
			bool cascade, restart_identity;
			const uint32_t *relation_oids;
		} truncate;
		struct {
			const char *prefix, *data; /* `data` isn't terminated */
			uint32_t len;
		} message;
	} u;
};

#endif
