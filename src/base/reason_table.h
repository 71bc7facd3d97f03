/*
 * reason_table.h - every reason why a shape ends (409) or a request is refused (503), once: X(name, code, meaning).
 *
 * The code is what clients and operators see: in the `electric-reason` header, in metrics, in the ring of events, in the log.
 * A code never changes its meaning; docs/protocol.md 11 says of each what to do, and a test compares the two lists. Included
 * with another X each time, so it has no include guard.
 */

/* the handle */
X(UNKNOWN_HANDLE, "unknown-handle", "no shape with this handle is known here, or not any more")
X(OTHER_DEFINITION, "other-definition", "the handle belongs to a shape with another definition")
X(DELETED, "deleted", "the shape was deleted by a request")

/* the data: what a subquery selects, the table, its rows */
X(SET_CHANGED, "set-changed", "what a subquery of the condition selects changed")
X(SET_UNSURE, "set-unsure", "what a subquery of the condition selects may have changed, and that can't be told any more")
X(TABLE_TRUNCATED, "table-truncated", "a table of the shape was truncated")
X(TABLE_GONE, "table-gone", "a table of the shape was dropped or renamed")
X(TABLE_REWRITTEN, "table-rewritten", "a statement wrote the values of a column anew, which the stream doesn't tell")
X(SCHEMA_CHANGED, "schema-changed", "a column that the shape uses was added, dropped or renamed, or has another type")
X(KEY_CHANGED, "key-changed", "the table's key changed, or doesn't tell its rows apart any more")
X(PARTITION_CHANGED, "partition-changed", "a partition or a child was attached, detached, added, removed or renamed")
X(REPLICA_IDENTITY, "replica-identity", "a row came without its old values: the table's replica identity is not FULL")
X(ROWS_UNCOUNTED, "rows-uncounted", "equal rows of a table without a key could not be counted")
X(CONDITION_COSTLY, "condition-costly", "the condition takes too much work for a changed row")
X(CONDITION_UNUSABLE, "condition-unusable", "the condition can't be evaluated for a changed row, or no longer fits the table")

/* the database */
X(PUBLICATION_CHANGED, "publication-changed", "the publication left something of a table out, or may have")
X(CATALOG_UNREAD, "catalog-unread", "Postgres didn't say, or not in time, what became of a table")
X(DATABASE_CHANGED, "database-changed", "the database, its history or the slot's position isn't the one known before")
X(SLOT_LOST, "slot-lost", "the replication slot is new: what came before it is not known")
X(POSTGRES_CRASHED, "postgres-crashed", "Postgres crashed before what a snapshot showed was on its disk")

/* our side */
X(STORE_DAMAGED, "store-damaged", "the shape's part of the store is damaged")
X(EXPIRED, "expired", "nobody had read the shape for longer than BUSBAR_SHAPE_EXPIRY")
X(LOG_GROWN, "log-grown", "the shape's log had become many times its rows (BUSBAR_SHAPE_GROWTH_LIMIT)")
X(LIMIT_SHAPES, "limit-shapes", "more shapes than ELECTRIC_MAX_SHAPES")
X(LIMIT_STORE, "limit-store", "the store has reached BUSBAR_STORE_LIMIT, or its disk BUSBAR_STORE_MIN_FREE")
X(LIMIT_WAL, "limit-wal", "Postgres keeps more WAL for the slot than BUSBAR_WAL_LIMIT or BUSBAR_WAL_LIMIT_AGE allow")
X(LIMIT_TRANSACTION, "limit-transaction", "a transaction was too large for what Busbar had to keep of it")

/* refusals */
X(STARTING, "starting", "the service has just started, or connects")
X(STOPPING, "stopping", "the service stops")
X(LOCK_HELD, "lock-held", "another instance holds the lock of the replication slot")
X(SLOT_WAITS, "slot-waits", "Postgres makes the replication slot once all open transactions have ended")
X(POSTGRES_AWAY, "postgres-away", "there is no connection to Postgres")
X(POSTGRES_SLOW, "postgres-slow", "Postgres didn't answer in time: a lock, a long query, too much to do")
X(POSTGRES_REFUSES, "postgres-refuses", "the database must be set up differently: the message says how")
X(STREAM_BEHIND, "stream-behind", "the replication stream has not reached the offset that was asked for")
X(STORE_FAILING, "store-failing", "the store can't be written")
X(LIMIT_INITIAL, "limit-initial", "too many requests without a known handle at once (ELECTRIC_MAX_CONCURRENT_REQUESTS)")
X(LIMIT_EXISTING, "limit-existing", "too many requests with a known handle at once (ELECTRIC_MAX_CONCURRENT_REQUESTS)")
X(LIMIT_BODIES, "limit-bodies", "the bodies of all requests together take too much memory")
X(LIMIT_SUBSETS, "limit-subsets", "too many subset queries at once")
X(LIMIT_SIZE, "limit-size", "a row, a condition or what must be kept of the shape exceeds a limit: the message says which")

#undef X
