/*
 * config_table.h - every environment variable, once: X(name, type, default, state, text).
 *
 * Parser, `--help` and the test that compares docs/configuration.md with this list come from it, so
 * it is included several times with another X and has no include guard. Names, types and defaults
 * are Electric's, but for those that begin with BUSBAR_; a default of NULL means "none". CONFIG_GROUP starts a heading.
 *
 * type   TEXT, BOOL, BOOL_STRICT (an empty value is refused), INT, FLOAT, TIME, SIZE, URL, JSON
 * state  USED
 *        NO_EFFECT  tunes something that Busbar doesn't have; checked, logged at startup, otherwise ignored
 *        LATER      a feature that isn't built yet; checked, logged at startup, otherwise ignored
 *        OLD        Electric 1.7.12 doesn't read it either; logged at startup. Its text is the current name, "" if none
 */
#ifndef CONFIG_GROUP
#define CONFIG_GROUP(title)
#endif

CONFIG_GROUP("Database")
X(DATABASE_URL, URL, NULL, USED,
  "Required. The replication stream and administration; sslmode may be disable, allow, prefer or require")
X(ELECTRIC_POOLED_DATABASE_URL, URL, NULL, USED,
  "Used for snapshots in place of DATABASE_URL; may be a pooler in transaction mode, must reach the same primary")
X(ELECTRIC_QUERY_DATABASE_URL, URL, NULL, USED, "Older name of ELECTRIC_POOLED_DATABASE_URL, read if that is unset")
X(ELECTRIC_DATABASE_USE_IPV6, BOOL, "false", USED, "Connect over IPv6 first, then over IPv4")
X(ELECTRIC_DATABASE_CA_CERTIFICATE_FILE, TEXT, NULL, USED,
  "CA certificates: every connection then needs TLS with a verified chain and host name")
X(ELECTRIC_DB_POOL_SIZE, INT, "20", USED,
  "Most connections at a time besides the replication stream's, at least 5; a fifth of them, 1 to 4, for subsets")
X(ELECTRIC_DATABASE_TCP_KEEPALIVE_IDLE, TIME, NULL, USED,
  "TCP_KEEPIDLE of database connections, whole seconds; 30 s if unset")
X(ELECTRIC_DATABASE_TCP_KEEPALIVE_INTERVAL, TIME, NULL, USED,
  "TCP_KEEPINTVL of database connections, whole seconds; 10 s if unset")
X(ELECTRIC_DATABASE_TCP_KEEPALIVE_COUNT, INT, NULL, USED,
  "TCP_KEEPCNT of database connections; 3 if unset")
X(ELECTRIC_DATABASE_TCP_USER_TIMEOUT, TIME, NULL, USED,
  "TCP_USER_TIMEOUT of database connections; 60 s if unset")
X(ELECTRIC_REPLICATION_STREAM_ID, TEXT, "default", USED,
  "An SQL identifier, lower-cased: slot electric_slot_ID, publication electric_publication_ID")
X(CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN, BOOL, "false", USED,
  "Use a temporary slot: every start makes a new one and all shapes start over")
X(ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME, BOOL, "false", USED,
  "With a temporary slot only: its name is random, so that instances don't exclude each other")
X(ELECTRIC_REPLICATION_IDLE_TIMEOUT, TIME, NULL, USED,
  "Close all database connections after this long without a change or a request, at least 30 s; never if unset")
X(BUSBAR_WAL_LIMIT, SIZE, NULL, USED,
  "Most WAL that Postgres keeps for our slot, at least 16 MiB; nearing it new shapes are refused, at it the slot is given up")
X(BUSBAR_WAL_LIMIT_AGE, TIME, NULL, USED,
  "The same for how long the slot may stand still with WAL behind it, at least 1 min")
X(ELECTRIC_MANUAL_TABLE_PUBLISHING, BOOL, "false", USED,
  "Never alter the publication or a table; only check that they are as they must be")
X(ELECTRIC_PUBLICATION_ALTER_DEBOUNCE_TIME, TIME, NULL, NO_EFFECT,
  "The publication is altered as soon as a shape needs it")
X(ELECTRIC_TWEAKS_PUBLICATION_REFRESH_PERIOD, TIME, "60s", USED,
  "How often the publication is compared with what the shapes need")
X(ELECTRIC_TWEAKS_SCHEMA_RECONCILER_PERIOD, TIME, "60s", USED, "How often known tables are compared with the catalog")
X(ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE, INT, "0", USED,
  "Most bytes of one transaction; a larger one resets all shapes. 0: no limit (Electric's default is 262144000)")
X(ELECTRIC_EXPERIMENTAL_MAX_BATCH_SIZE, INT, NULL, NO_EFFECT, "Batches have no fixed number of changes here")

CONFIG_GROUP("HTTP, secret, caching")
X(ELECTRIC_SECRET, TEXT, NULL, USED,
  "Required unless insecure: what requests must carry as the parameter secret (or api_secret)")
X(BUSBAR_SECRET_PREVIOUS, TEXT, NULL, USED, "A second secret that is accepted too, while clients change over to the new one")
X(ELECTRIC_INSECURE, BOOL, "false", USED, "true: no secret, everybody who reaches the port reads every table")
X(BUSBAR_SUBQUERY_TABLES, TEXT, NULL, USED,
  "Tables that subqueries in conditions may name, as in public.members, auth.*; all if unset or empty")
X(ELECTRIC_PORT, INT, "3000", USED, "Port of the HTTP API, on all addresses")
X(ELECTRIC_LISTEN_ON_IPV6, BOOL, "false", USED,
  "Listen on an IPv6 socket, which takes IPv4 too where the system says so")
X(ELECTRIC_TCP_SEND_TIMEOUT, TIME, "30s", USED, "A client that takes none of its response for this long is cut")
X(ELECTRIC_TCP_READ_TIMEOUT, TIME, "60s", USED,
  "An idle keep-alive connection is closed after this; set it above a load balancer's idle timeout")
X(ELECTRIC_LONG_POLL_TIMEOUT, INT, "20000", USED, "Milliseconds that a live request waits for a change")
X(ELECTRIC_MAX_CONCURRENT_REQUESTS, JSON, "{\"initial\":300,\"existing\":10000}", USED,
  "Most requests at a time without and with a known handle; both keys are required; more get 503")
X(ELECTRIC_CACHE_MAX_AGE, INT, "60", USED, "max-age of catch-up responses, in seconds")
X(ELECTRIC_CACHE_STALE_AGE, INT, "300", USED, "stale-while-revalidate of catch-up responses, in seconds")
X(BUSBAR_SUBQUERY_CACHE_MAX_AGE, INT, "60", USED,
  "Bounds each of these, first responses too, for shapes with subqueries: so long at most a cache can show a revoked row")
X(ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD, INT, "10485760", USED,
  "A response of the log ends when it has passed this many bytes; kept with a shape from its start")
X(ELECTRIC_ENABLE_INTEGRATION_TESTING, BOOL, "false", USED, "Allows DELETE /v1/shape")
X(ELECTRIC_TWEAKS_CONN_MAX_REQUESTS, INT, "50", USED,
  "Requests on one HTTP connection before it is closed; 0: no limit")
X(ELECTRIC_TWEAKS_HTTP_API_NUM_ACCEPTORS, INT, NULL, NO_EFFECT, "One thread accepts")
X(ELECTRIC_TWEAKS_HANDLER_FULLSWEEP_AFTER, INT, NULL, NO_EFFECT, "There is no garbage collector")
X(ELECTRIC_FEATURE_FLAGS, TEXT, NULL, USED,
  "A list with commas; none is needed (allow_subqueries and tagged_subqueries always hold), others are named at start and ignored")

CONFIG_GROUP("Shapes and memory")
X(ELECTRIC_MAX_SHAPES, INT, NULL, USED, "Most shapes kept; past it the least recently used go")
X(ELECTRIC_EXPERIMENTAL_MAX_SHAPES, INT, NULL, USED, "Older name of ELECTRIC_MAX_SHAPES, read if that is unset")
X(BUSBAR_SHAPE_EXPIRY, TIME, NULL, USED, "Shapes that nobody has read for so long go; from 1 s on, as in 12h or 30d")
X(BUSBAR_SHAPE_GROWTH_LIMIT, INT, NULL, USED,
  "A shape whose log has grown to so many times its first rows (2 or more) and 1 MiB starts over at a quiet moment")
X(BUSBAR_SNAPSHOT_CONCURRENCY, INT, NULL, USED,
  "Snapshots of new shapes that are taken at once, 1 to 12, if the pool has two connections for each; 6 if unset")
X(BUSBAR_SUBSET_CONCURRENCY, INT, NULL, USED,
  "Queries of subsets that run at once, 1 to 12, if the pool has a connection for each; a fifth of the pool and at most 4 if unset")
X(BUSBAR_SUBSET_MEMORY, SIZE, "64MiB", USED, "Rows of subsets that wait for slow clients, of all together, at least 1MiB; more waits in Postgres")
X(BUSBAR_BODY_MEMORY, SIZE, "128MiB", USED, "Bodies of requests, of all together, at least 16MiB; beyond, 503 with limit-bodies")
X(ELECTRIC_CONSUMER_PARTITIONS, INT, NULL, NO_EFFECT, "Shapes have no processes of their own")
X(ELECTRIC_SHAPE_HIBERNATE_AFTER, TIME, NULL, NO_EFFECT, "An idle shape holds nothing that could be put to sleep")
X(ELECTRIC_SHAPE_SUSPEND_CONSUMER, BOOL, "false", NO_EFFECT, "An idle shape holds nothing that could be put to sleep")
X(ELECTRIC_SHAPE_SUSPEND_AFTER, TIME, NULL, NO_EFFECT, "An idle shape holds nothing that could be put to sleep")
X(ELECTRIC_FLUSH_STALL_GRACE_PERIOD, TIME, NULL, NO_EFFECT,
  "No shape can hold back the others: one commit covers all")
X(ELECTRIC_SUBQUERY_BUFFER_MAX_TRANSACTIONS, INT, "1000", NO_EFFECT, "A shape whose set changes is made again: nothing is buffered")
X(ELECTRIC_CONSUMER_GC_HEAP_THRESHOLD, INT, NULL, NO_EFFECT, "There is no garbage collector")
X(ELECTRIC_PROCESS_SPAWN_OPTS, JSON, NULL, NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_TWEAKS_PROCESS_REGISTRY_PARTITIONS, INT, NULL, NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_CLEANUP_INTERVAL_MS, TIME, NULL, NO_EFFECT, "Dropped shapes are removed in small steps at once")

CONFIG_GROUP("Storage")
X(ELECTRIC_STORAGE_DIR, TEXT, "./persistent", USED,
  "Where everything that must survive is kept; made if missing. A local disk, not a network filesystem")
X(ELECTRIC_STORAGE, TEXT, "FAST_FILE", USED, "FAST_FILE, or MEMORY for a temporary store that a restart empties")
X(BUSBAR_STORAGE, TEXT, "disk", USED,
  "disk, or ephemeral for one that goes with the task: then no file system is refused")
X(BUSBAR_STORE_LIMIT, SIZE, NULL, USED,
  "What the store may take, 64MiB or more: near it shapes that nobody reads go, then new ones are refused")
X(BUSBAR_STORE_MIN_FREE, SIZE, NULL, USED, "Less free space on the store's disk than this counts as a store at its limit")
X(ELECTRIC_PERSISTENT_STATE, TEXT, "FILE", NO_EFFECT, "FILE or MEMORY; all state lives in the one store")
X(ELECTRIC_SHAPE_DB_STORAGE_DIR, TEXT, NULL, NO_EFFECT, "All state lives in the one store")
X(ELECTRIC_SHAPE_DB_EXCLUSIVE_MODE, BOOL, "false", NO_EFFECT, "All state lives in the one store")
X(ELECTRIC_SHAPE_DB_SYNCHRONOUS, TEXT, NULL, NO_EFFECT, "All state lives in the one store, which syncs each commit")
X(ELECTRIC_SHAPE_DB_CACHE_SIZE, SIZE, NULL, NO_EFFECT, "All state lives in the one store")
X(ELECTRIC_DATABASE_ID, TEXT, NULL, NO_EFFECT, "One database per process, one store per storage directory")

CONFIG_GROUP("Logs and telemetry")
X(ELECTRIC_LOG_LEVEL, TEXT, "info", USED,
  "Least level shown: debug, info, notice, warning, error, critical, alert, emergency")
X(BUSBAR_SETTINGS_FILE, TEXT, NULL, USED,
  "A file of NAME=VALUE lines with settings that can change; read at start and on SIGHUP")
X(BUSBAR_LOG_FORMAT, TEXT, "text", USED, "text, or json: an object for each line")
X(ELECTRIC_LOG_COLORS, BOOL_STRICT, NULL, NO_EFFECT, "Log lines have no colours")
X(ELECTRIC_LOG_OTP_REPORTS, BOOL, "false", NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_INSTANCE_ID, TEXT, NULL, USED, "The tag instance_id of what StatsD is sent; random if unset or empty")
X(ELECTRIC_SERVICE_NAME, TEXT, NULL, NO_EFFECT, "Only telemetry would show it")
X(ELECTRIC_PROMETHEUS_PORT, INT, NULL, USED, "Port on which Prometheus finds GET /metrics, on all addresses, without a secret; 0 or unset: none")
X(BUSBAR_ADMIN_PORT, INT, NULL, USED, "Port of the admin page, its JSON and what `busbar top` shows, without a secret; 0 or unset: none")
X(BUSBAR_ADMIN_ADDRESS, TEXT, "127.0.0.1", USED, "The IP address that port is on; 0.0.0.0: all. It shows conditions of shapes, so keep it to those who may see them")
X(ELECTRIC_STATSD_HOST, TEXT, NULL, USED, "Where metrics are sent by UDP as StatsD with Datadog's tags: a host, or host:port; port 8125")
X(BUSBAR_HEARTBEAT_INTERVAL, TIME, NULL, USED,
  "How often Postgres is written a logical message, to measure its way back through the stream; at least 1s, none if unset")
X(ELECTRIC_OTLP_ENDPOINT, TEXT, NULL, LATER, "OpenTelemetry isn't built")
X(ELECTRIC_HNY_API_KEY, TEXT, NULL, NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_HNY_DATASET, TEXT, NULL, NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_OTEL_DEBUG, BOOL, "false", NO_EFFECT, "OpenTelemetry isn't built")
X(OTEL_RESOURCE_ATTRIBUTES, TEXT, NULL, NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_OTEL_EXPORT_PERIOD, TIME, NULL, NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_OTEL_SAMPLING_RATIO, FLOAT, NULL, NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_METRICS_SAMPLING_RATIO, FLOAT, NULL, NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_DROP_EMPTY_RESPONSE_SPANS, BOOL, "false", NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_EXCLUDE_SPANS, TEXT, NULL, NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_PROFILE_WHERE_CLAUSES, BOOL, "false", NO_EFFECT, "OpenTelemetry isn't built")
X(ELECTRIC_SYSTEM_METRICS_POLL_INTERVAL, TIME, "5s", USED, "How often StatsD is sent what has changed, whole seconds, at least one")
X(ELECTRIC_STACK_TELEMETRY_INIT_DELAY, TIME, NULL, NO_EFFECT, "There are no polled gauges")
X(ELECTRIC_TELEMETRY_TOP_PROCESS_LIMIT, TEXT, NULL, NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_TELEMETRY_TOP_PROCESS_COUNT, INT, NULL, NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_TELEMETRY_LONG_GC_THRESHOLD, INT, NULL, NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_TELEMETRY_LONG_SCHEDULE_THRESHOLD, INT, NULL, NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_TELEMETRY_LONG_MESSAGE_QUEUE_ENABLE_THRESHOLD, INT, NULL, NO_EFFECT, "There is no Erlang machine")
X(ELECTRIC_TELEMETRY_LONG_MESSAGE_QUEUE_DISABLE_THRESHOLD, INT, NULL, NO_EFFECT, "There is no Erlang machine")
X(SENTRY_DSN, TEXT, NULL, NO_EFFECT, "Nothing is sent to Sentry")
X(ELECTRIC_LIVE_DASHBOARD_PORT, INT, NULL, NO_EFFECT, "Its place is taken by BUSBAR_ADMIN_PORT")

/* Names of older Electric versions, and documented ones that it never reads. */
CONFIG_GROUP("Not read any more")
X(ELECTRIC_SHAPE_DB_ENABLE_STATS, TEXT, NULL, OLD, "")
X(ELECTRIC_SHAPE_DB_ENABLE_MEMORY_STATS, TEXT, NULL, OLD, "")
X(ELECTRIC_USAGE_REPORTING, TEXT, NULL, OLD, "")
X(ELECTRIC_TELEMETRY_URL, TEXT, NULL, OLD, "")
X(ELECTRIC_WRITE_TO_PG_MODE, TEXT, NULL, OLD, "")
X(ELECTRIC_LOG_CHUNK_BYTES_THRESHOLD, TEXT, NULL, OLD, "ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD")
X(AUTH_MODE, TEXT, NULL, OLD, "ELECTRIC_INSECURE")
X(CACHE_MAX_AGE, TEXT, NULL, OLD, "ELECTRIC_CACHE_MAX_AGE")
X(CACHE_STALE_AGE, TEXT, NULL, OLD, "ELECTRIC_CACHE_STALE_AGE")
X(CUBDB_FILE_PATH, TEXT, NULL, OLD, "ELECTRIC_STORAGE_DIR")
X(DATABASE_USE_IPV6, TEXT, NULL, OLD, "ELECTRIC_DATABASE_USE_IPV6")
X(DB_POOL_SIZE, TEXT, NULL, OLD, "ELECTRIC_DB_POOL_SIZE")
X(HNY_API_KEY, TEXT, NULL, OLD, "ELECTRIC_HNY_API_KEY")
X(HNY_DATASET, TEXT, NULL, OLD, "ELECTRIC_HNY_DATASET")
X(LISTEN_ON_IPV6, TEXT, NULL, OLD, "ELECTRIC_LISTEN_ON_IPV6")
X(LOG_CHUNK_BYTES_THRESHOLD, TEXT, NULL, OLD, "ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD")
X(LOG_LEVEL, TEXT, NULL, OLD, "ELECTRIC_LOG_LEVEL")
X(LOG_OTP_REPORTS, TEXT, NULL, OLD, "ELECTRIC_LOG_OTP_REPORTS")
X(OTEL_DEBUG, TEXT, NULL, OLD, "ELECTRIC_OTEL_DEBUG")
X(OTHER_DATABASE_URL, TEXT, NULL, OLD, "")
X(OTLP_ENDPOINT, TEXT, NULL, OLD, "ELECTRIC_OTLP_ENDPOINT")
X(PROMETHEUS_PORT, TEXT, NULL, OLD, "ELECTRIC_PROMETHEUS_PORT")
X(REPLICATION_STREAM_ID, TEXT, NULL, OLD, "ELECTRIC_REPLICATION_STREAM_ID")
X(STATSD_HOST, TEXT, NULL, OLD, "ELECTRIC_STATSD_HOST")
X(STORAGE, TEXT, NULL, OLD, "ELECTRIC_STORAGE")
X(STORAGE_DIR, TEXT, NULL, OLD, "ELECTRIC_STORAGE_DIR")

#undef X
#undef CONFIG_GROUP
