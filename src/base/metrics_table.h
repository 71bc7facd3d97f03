/*
 * metrics_table.h - every metric, once. Included several times with other LABELS and METRIC, and has no include guard.
 *
 * LABELS(set, name, values...)  a closed list of values of one label. Whoever counts names a value by its place in the list:
 *                               metrics.h has an enum where nobody else has one.
 * METRIC(id, name, type, unit, set, help)
 *
 * The set REASON is that of reason_table.h, by enum reason; REASON_NONE isn't shown.
 *
 * name   as StatsD shows it, parts with dots; Prometheus gets underscores. Electric's where they mean the same
 *        (docs/operations.md), ours begin with busbar. Counters end in no `_total`, as Electric's
 * type   COUNTER    rises. Per thread
 *        GAUGE      goes up and down by what threads add and take away. Per thread: a thread's own part may be below zero.
 *                   What is set as with a level comes on top, for values of the label that are known somewhere as a whole
 *        LEVEL      is set, by whoever knows it; not shown before, nor after metric_unset(). One place, no threads
 *        HISTOGRAM  of times: METRIC_BOUNDS. Per thread
 * unit   ONE, BYTES, SECONDS or MILLISECONDS; the last two are kept in microseconds and shown in what they say
 */
LABELS(NONE, "", NULL)
LABELS(STATUS, "status", "starting", "waiting", "active")
LABELS(HTTP_STATUS, "status", "200", "204", "304", "400", "401", "404", "405", "409", "413", "500", "503", "other")
LABELS(ADMISSION, "kind", "initial", "existing")
LABELS(SHAPE_STATE, "state", "creating", "snapshotting", "live", "leaving")
LABELS(ROUTING, "kind", "all", "indexed", "residual", "unindexed")
LABELS(WAITERS, "kind", "long_poll", "sse", "parked")
LABELS(EVALUATION, "kind", "lookup", "condition", "subquery", "failed")
LABELS(SLOT_STATE, "state", "reserved", "extended", "unreserved", "lost", "none")
LABELS(COST, "kind", "conditions", "subqueries")
LABELS(MEMORY, "part", "store_cache", "subquery_sets", "journal", "writer_queue", "request_bodies", "event_streams",
       "subset_rows")

/* Electric's. */
METRIC(E_TOTAL_SHAPES, "electric.shapes.total_shapes.count", LEVEL, ONE, NONE, "Shapes that are known")
METRIC(E_ACTIVE_SHAPES, "electric.shapes.active_shapes.count", LEVEL, ONE, NONE, "Shapes that the stream of changes is looked through for")
METRIC(E_RETAINED_WAL, "electric.postgres.replication.slot_retained_wal_size", LEVEL, BYTES, NONE,
       "WAL that Postgres keeps for our slot: its current position less restart_lsn")
METRIC(E_CONFIRMED_LAG, "electric.postgres.replication.slot_confirmed_flush_lsn_lag", LEVEL, BYTES, NONE,
       "WAL that we haven't confirmed: Postgres's current position less confirmed_flush_lsn")
METRIC(E_RECEIVE_LAG, "electric.postgres.replication.transaction_received.receive_lag", HISTOGRAM, MILLISECONDS, NONE,
       "From a transaction's commit in Postgres until all of it is here, in milliseconds")
METRIC(E_REQUESTS, "electric.plug.serve_shape.requests.count", COUNTER, ONE, HTTP_STATUS, "Answers to requests for shapes, by status")
METRIC(E_ADMITTED, "electric.admission_control.acquire.current", GAUGE, ONE, ADMISSION, "Requests that hold a place now, by kind")
METRIC(E_REJECTED, "electric.admission_control.reject.count", COUNTER, ONE, ADMISSION, "Requests for which there was no place, by kind")

/* How late. */
METRIC(UP_STATUS, "busbar.up_status", LEVEL, ONE, STATUS, "1 for the state we are in, as GET /v1/health says it, 0 for the others")
METRIC(ASLEEP, "busbar.asleep", LEVEL, ONE, NONE, "1 while all connections to Postgres are closed for idleness, ELECTRIC_REPLICATION_IDLE_TIMEOUT")
METRIC(COMMIT_TO_LOG, "busbar.commit_to_log_seconds", HISTOGRAM, SECONDS, NONE,
       "From a transaction's commit in Postgres until its rows are in the logs of its shapes, by two clocks")
METRIC(LOG_TO_SOCKET, "busbar.log_to_socket_seconds", HISTOGRAM, SECONDS, NONE,
       "From then until the socket of a client that waited has taken all of its answer, for each such client")
METRIC(COMMIT_TO_CLIENT, "busbar.commit_to_client_seconds", HISTOGRAM, SECONDS, NONE,
       "From the commit until a waiting client's socket has taken its answer, by two clocks")
METRIC(HEARTBEAT, "busbar.heartbeat_seconds", HISTOGRAM, SECONDS, NONE,
       "From writing a logical message to Postgres until the stream brings it back, by one clock; each BUSBAR_HEARTBEAT_INTERVAL")
METRIC(CLOCK_SKEW, "busbar.clock_skew_seconds", LEVEL, SECONDS, NONE, "Postgres's clock less ours")
METRIC(CLOCK_SKEW_ERROR, "busbar.clock_skew_error_seconds", LEVEL, SECONDS, NONE, "How wrong that may be: half of the round trip it was seen in")

/* Postgres's WAL and our slot; from the guard. */
METRIC(WAL_RETAINED, "busbar.wal_retained_bytes", LEVEL, BYTES, NONE, "WAL that Postgres keeps for our slot")
METRIC(WAL_HELD_BY_US, "busbar.wal_held_by_us_bytes", LEVEL, BYTES, NONE, "... of which we haven't confirmed so much")
METRIC(WAL_HELD_BY_OTHERS, "busbar.wal_held_by_others_bytes", LEVEL, BYTES, NONE,
       "... and so much is behind what we have confirmed: a transaction that is still open holds it")
METRIC(WAL_LIMIT, "busbar.wal_limit_bytes", LEVEL, BYTES, NONE, "BUSBAR_WAL_LIMIT; absent: none")
METRIC(WAL_STANDING_STILL, "busbar.wal_standing_still_seconds", LEVEL, SECONDS, NONE,
       "How long what we have confirmed has stood still while there was more; 0 while it moves")
METRIC(WAL_LIMIT_AGE, "busbar.wal_limit_age_seconds", LEVEL, SECONDS, NONE, "BUSBAR_WAL_LIMIT_AGE; absent: none")
METRIC(WAL_GUARD_STEP, "busbar.wal_guard_step", LEVEL, ONE, NONE,
       "What the guard of the WAL does: 0 nothing, 1 warns, 2 refuses new shapes, 3 drops what holds us back, 4 has given the slot up")
METRIC(SLOT_STATE, "busbar.slot_state", LEVEL, ONE, SLOT_STATE, "1 for what Postgres says of our slot, 0 for the others")

/* Shapes, and who waits for them. */
METRIC(SHAPES, "busbar.shapes", GAUGE, ONE, SHAPE_STATE, "Shapes by state; leaving: rotated or deleted, which isn't durable yet")
METRIC(SHAPES_BY_INDEX, "busbar.shapes_by_index", GAUGE, ONE, ROUTING,
       "Shapes by how a change finds them: without a condition, by an index, by an index and the rest of the condition, by the condition alone")
METRIC(SUBQUERY_SETS, "busbar.subquery_sets_bytes", LEVEL, BYTES, NONE, "What subqueries of all shapes select")
METRIC(WAITERS, "busbar.waiters", GAUGE, ONE, WAITERS, "Clients that wait: for a change, as an event stream, for anything else")
METRIC(ROTATIONS, "busbar.rotations", COUNTER, ONE, REASON, "Shapes that ended, by reason: docs/protocol.md 11")
METRIC(REFUSALS, "busbar.refusals", COUNTER, ONE, REASON, "Requests refused with 503, by reason: docs/protocol.md 11")
METRIC(REFETCHES, "busbar.refetches", COUNTER, ONE, REASON, "Requests answered 409, to fetch anew, by reason: docs/protocol.md 11")
METRIC(TRANSACTIONS, "busbar.transactions", COUNTER, ONE, NONE, "Transactions read from the stream")
METRIC(CHANGES, "busbar.changes", COUNTER, ONE, NONE, "Changed rows read from the stream")
METRIC(LOG_ENTRIES, "busbar.log_entries", COUNTER, ONE, NONE, "Entries put into the logs of shapes")
METRIC(EVALUATIONS, "busbar.evaluations", COUNTER, ONE, EVALUATION,
       "Work on conditions: rows looked up in indexes, conditions evaluated for a row, those of subqueries, and evaluations that failed")

METRIC(EVALUATION_STEPS, "busbar.evaluation_steps", COUNTER, ONE, COST,
       "What evaluating took, in steps: some nanoseconds each; by whose conditions it was")

/* The store, the process. */
METRIC(STORE, "busbar.store_bytes", LEVEL, BYTES, NONE, "Size of the store's file")
METRIC(STORE_USED, "busbar.store_used_bytes", LEVEL, BYTES, NONE, "... of which so much is in use; known while a limit is set")
METRIC(STORE_LIMIT, "busbar.store_limit_bytes", LEVEL, BYTES, NONE, "What the store may use now, by BUSBAR_STORE_LIMIT and BUSBAR_STORE_MIN_FREE; absent: no limit")
METRIC(STORE_FREE, "busbar.store_free_bytes", LEVEL, BYTES, NONE, "Free on the disk of the store, for us")
METRIC(STORE_FAILING, "busbar.store_failing", LEVEL, ONE, NONE, "1 while the store can't be written")
METRIC(MEMORY, "busbar.memory_bytes", GAUGE, BYTES, MEMORY, "Memory by part; what isn't counted is in process_resident_memory_bytes")
METRIC(RESIDENT, "process.resident_memory_bytes", LEVEL, BYTES, NONE, "Resident memory of the process, with the pages of the store that are mapped")
METRIC(OPEN_FILES, "process.open_fds", LEVEL, ONE, NONE, "Open files and sockets")
METRIC(STARTED, "process.start_time_seconds", LEVEL, SECONDS, NONE, "When the process started, since 1970")
METRIC(CONNECTIONS, "busbar.connections", GAUGE, ONE, NONE, "Connections of clients")
METRIC(LOG_LINES_DROPPED, "busbar.log_lines_dropped", COUNTER, ONE, NONE, "Lines of the log that were left out, because nobody read it or because of one kind there were too many")

#undef LABELS
#undef METRIC
