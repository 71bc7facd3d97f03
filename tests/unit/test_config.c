/*
 * test_config.c - what the environment becomes, and the texts of what is refused.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/mem.h"
#include "check.h"

#define DB "DATABASE_URL=postgresql://bob:pw@db.example/app"
#define OPEN "ELECTRIC_INSECURE=true"

static struct config c;
static struct err e;
static char *warnings;

/* Loads with exactly these "NAME=value" in the environment; the last is NULL. */
static int load(const char *const *env)
{
	config_clear(&c);
	free(warnings);
	warnings = NULL;
	err_clear(&e);
	clearenv();
	for (; *env != NULL; env++) {
		const char *eq = strchr(*env, '=');
		char *name = mem_strndup(*env, (size_t)(eq - *env));
		setenv(name, eq + 1, 1);
		free(name);
	}
	size_t len;
	FILE *f = open_memstream(&warnings, &len);
	int rc = config_load(&c, f, &e);
	fclose(f);
	return rc;
}

#define LOAD(...) load((const char *const[]){__VA_ARGS__, NULL})
/* Loads with a database and without a secret, or prints why not. */
#define GOOD(...) CHECK_STR(LOAD(DB, OPEN, __VA_ARGS__) == 0 ? "" : e.text, "")
#define BAD(want, ...) (CHECK(LOAD(DB, OPEN, __VA_ARGS__) == -1 && e.kind == ERR_CONFIG), CHECK_STR(e.text, want))

static void test_defaults(void)
{
	GOOD(DB);
	CHECK_STR(c.database.host, "db.example");
	CHECK_STR(c.pooled_database.host, "db.example");
	CHECK(!c.database_use_ipv6 && c.ca_certificate_file == NULL && !c.manual_table_publishing);
	CHECK_INT(c.db_pool_size, 20);
	CHECK(c.tcp_keepalive_idle_ms == -1 && c.tcp_keepalive_interval_ms == -1 && c.tcp_keepalive_count == -1 &&
	      c.tcp_user_timeout_ms == -1);
	CHECK_STR(c.slot_name, "electric_slot_default");
	CHECK_STR(c.publication_name, "electric_publication_default");
	CHECK(!c.temporary_slot && !c.temporary_slot_random_name);
	CHECK_INT(c.publication_refresh_ms, 60000);
	CHECK_INT(c.schema_reconciler_ms, 60000);
	CHECK_INT(c.max_txn_bytes, 0);
	CHECK(atomic_load(&c.secrets) == NULL && c.port == 3000 && !c.listen_on_ipv6);
	CHECK_INT(c.tcp_send_timeout_ms, 30000);
	CHECK_INT(c.tcp_read_timeout_ms, 60000);
	CHECK_INT(c.live.long_poll_timeout_ms, 20000);
	CHECK_INT(c.live.max_concurrent_initial, 300);
	CHECK_INT(c.live.max_concurrent_existing, 10000);
	CHECK(c.live.cache_max_age_s == 60 && c.live.cache_stale_age_s == 300 && c.chunk_bytes_threshold == 10485760);
	CHECK(!c.enable_integration_testing && c.conn_max_requests == 50 && c.live.max_shapes == 0);
	CHECK_STR(c.storage_dir, "./persistent");
	CHECK(!c.storage_memory && c.log_level == LOG_INFO);
	CHECK_STR(warnings, "ELECTRIC_INSECURE=true: everybody who reaches port 3000 can read the database. Set "
	                    "ELECTRIC_SECRET, or let only your own proxy reach the port\n");
}

static void test_secret(void)
{
	CHECK(LOAD(DB) == -1);
	CHECK_STR(e.text, "You must set ELECTRIC_SECRET unless ELECTRIC_INSECURE=true. Setting ELECTRIC_INSECURE=true risks "
	                  "exposing your database, only use insecure mode in development or you've otherwise secured the "
	                  "Electric API");
	BAD("You cannot set both ELECTRIC_SECRET and ELECTRIC_INSECURE=true", "ELECTRIC_SECRET=");
	CHECK(LOAD(DB, "ELECTRIC_SECRET=s p", "ELECTRIC_INSECURE=FALSE") == 0);
	CHECK_STR(atomic_load(&c.secrets)->now, "s p");
	CHECK_STR(warnings, "");
	CHECK(LOAD(DB, "ELECTRIC_SECRET=") == 0);
	CHECK_STR(atomic_load(&c.secrets)->now, "");
	CHECK(strstr(warnings, "ELECTRIC_SECRET is empty") != NULL);
}

static void test_database(void)
{
	const char *missing = "DATABASE_URL is not set. Set it to the URL of your database, "
	                      "postgresql://user:password@host:5432/database";
	CHECK(LOAD(OPEN) == -1);
	CHECK_STR(e.text, missing);
	BAD(missing, "DATABASE_URL=");
	BAD("DATABASE_URL: invalid URL scheme: \"mysql\"", "DATABASE_URL=mysql://u@h/d");
	BAD("ELECTRIC_POOLED_DATABASE_URL: missing host", "ELECTRIC_POOLED_DATABASE_URL=postgres://u@/d");
	BAD("ELECTRIC_QUERY_DATABASE_URL: invalid or missing username", "ELECTRIC_QUERY_DATABASE_URL=postgres://h/d");

	GOOD("ELECTRIC_QUERY_DATABASE_URL=postgres://q@old:6432/d");
	CHECK_STR(c.pooled_database.host, "old");
	GOOD("ELECTRIC_QUERY_DATABASE_URL=postgres://q@old/d", "ELECTRIC_POOLED_DATABASE_URL=postgres://q@new/d");
	CHECK_STR(c.pooled_database.host, "new");
	CHECK_STR(c.database.host, "db.example");

	const char *ca = "When ELECTRIC_DATABASE_CA_CERTIFICATE_FILE is set, sslmode must be omitted or set to a value "
	                 "other than 'disable'";
	BAD(ca, "DATABASE_URL=postgres://u@h/d?sslmode=disable", "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE=/ca.pem");
	GOOD("DATABASE_URL=postgres://u@h/d?sslmode=allow", "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE=/ca.pem");
	CHECK_STR(c.ca_certificate_file, "/ca.pem");
	CHECK(LOAD(DB, OPEN, "ELECTRIC_POOLED_DATABASE_URL=postgres://u@h/d?sslmode=disable",
	           "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE=/ca.pem") == -1 && strstr(e.text, "POOLED") != NULL);
	CHECK(LOAD(DB, OPEN, "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE=") == -1);

	GOOD("ELECTRIC_DATABASE_TCP_KEEPALIVE_IDLE=1999ms", "ELECTRIC_DATABASE_TCP_KEEPALIVE_INTERVAL=10",
	     "ELECTRIC_DATABASE_TCP_KEEPALIVE_COUNT=3", "ELECTRIC_DATABASE_TCP_USER_TIMEOUT=1.5s");
	CHECK(c.tcp_keepalive_idle_ms == 1000 && c.tcp_keepalive_interval_ms == 1000 && c.tcp_keepalive_count == 3 &&
	      c.tcp_user_timeout_ms == 1500);
	GOOD("ELECTRIC_DB_POOL_SIZE=1");
	CHECK(c.db_pool_size == 5 && strstr(warnings, "ELECTRIC_DB_POOL_SIZE=1 is too small, up to 5 are used") != NULL);
	GOOD("ELECTRIC_DB_POOL_SIZE=5");
	CHECK(c.db_pool_size == 5 && strstr(warnings, "POOL_SIZE") == NULL);
	/* A secret's file ends with a newline. */
	GOOD("DATABASE_URL= \tpostgres://u:p@h/d?sslmode=require\r\n");
	CHECK_STR(c.database.user, "u");
	CHECK(c.database.sslmode == SSLMODE_REQUIRE);
	GOOD("DATABASE_URL=postgres://u@h/d\n");
	CHECK_STR(c.database.database, "d");
	BAD("DATABASE_URL: there are quotes around the URL: remove them (docker's --env-file, for one, takes them as part of the "
	    "value)", "DATABASE_URL=\"postgres://u:s3cret@h/d\"");
}

static void test_replication(void)
{
	GOOD("ELECTRIC_REPLICATION_STREAM_ID=My_Stream2");
	CHECK_STR(c.replication_stream_id, "my_stream2");
	CHECK_STR(c.slot_name, "electric_slot_my_stream2");
	CHECK_STR(c.publication_name, "electric_publication_my_stream2");
	static const char *const refused[] = {"deploy-blue", "", "1st", "$a", "a b", "a\"", "\xc3\xa9t\xc3\xa9", "a$"};
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		char text[64];
		snprintf(text, sizeof text, "ELECTRIC_REPLICATION_STREAM_ID=%s", refused[i]);
		CHECK(LOAD(DB, OPEN, text) == -1 && strstr(e.text, "ELECTRIC_REPLICATION_STREAM_ID: \"") == e.text);
	}
	/* 49 characters fill a slot's name; Postgres cuts the publication's at 63 bytes. */
	GOOD("ELECTRIC_REPLICATION_STREAM_ID=a123456789b123456789c123456789d123456789e12345678");
	CHECK_INT(strlen(c.slot_name), 63);
	CHECK_INT(strlen(c.publication_name), 63);
	BAD("ELECTRIC_REPLICATION_STREAM_ID: must have at most 49 characters, has 50",
	    "ELECTRIC_REPLICATION_STREAM_ID=a123456789b123456789c123456789d123456789e123456789");

	GOOD("CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN=yes");
	CHECK(c.temporary_slot && !c.temporary_slot_random_name);
	CHECK_STR(c.slot_name, "electric_slot_default");
	GOOD("CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN=1", "ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME=1");
	CHECK(c.temporary_slot && c.temporary_slot_random_name);
	CHECK_INT(strlen(c.slot_name), strlen("electric_slot_") + 32);
	CHECK_INT(strspn(c.slot_name + 14, "0123456789abcdef"), 32);
	CHECK_STR(c.publication_name, "electric_publication_default");
	char first[64];
	snprintf(first, sizeof first, "%s", c.slot_name);
	GOOD("CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN=1", "ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME=1");
	CHECK(strcmp(first, c.slot_name) != 0);
	GOOD("ELECTRIC_TEMPORARY_REPLICATION_SLOT_USE_RANDOM_NAME=1");
	CHECK(!c.temporary_slot_random_name && strcmp(c.slot_name, "electric_slot_default") == 0);

	BAD("Invalid value for ELECTRIC_REPLICATION_IDLE_TIMEOUT: 29000. The minimum supported timeout is 30sec.",
	    "ELECTRIC_REPLICATION_IDLE_TIMEOUT=29s");
	GOOD("ELECTRIC_REPLICATION_IDLE_TIMEOUT=30s");
	CHECK(c.idle_timeout_ms == 30000 && strstr(warnings, "ELECTRIC_REPLICATION_IDLE_TIMEOUT") == NULL);
	GOOD("ELECTRIC_REPLICATION_IDLE_TIMEOUT=30s", "CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN=1");
	CHECK(c.idle_timeout_ms == 0 && strstr(warnings, "ELECTRIC_REPLICATION_IDLE_TIMEOUT has no effect: ") != NULL);
	GOOD("ELECTRIC_MANUAL_TABLE_PUBLISHING=true");
	CHECK(c.idle_timeout_ms == 0);
	GOOD("ELECTRIC_MANUAL_TABLE_PUBLISHING=true", "ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE=262144000");
	CHECK(c.manual_table_publishing && c.max_txn_bytes == 262144000);
}

static void test_http(void)
{
	GOOD("ELECTRIC_PORT=");
	CHECK_INT(c.port, 0);
	BAD("ELECTRIC_PORT: must be from 0 to 65535, not 65536", "ELECTRIC_PORT=65536");
	BAD("ELECTRIC_PORT: \"http\" is not an integer", "ELECTRIC_PORT=http");
	BAD("ELECTRIC_PORT: \"99999999999999999999\" is not an integer", "ELECTRIC_PORT=99999999999999999999");
	GOOD("ELECTRIC_LONG_POLL_TIMEOUT=20s");
	CHECK(c.live.long_poll_timeout_ms == 20 && strstr(warnings, "ELECTRIC_LONG_POLL_TIMEOUT=20s is read as 20\n") != NULL);
	BAD("ELECTRIC_TCP_SEND_TIMEOUT: invalid time unit: \"1h\". Must be one of [\"ms\", \"msec\", \"s\", \"sec\", \"m\", "
	    "\"min\"]", "ELECTRIC_TCP_SEND_TIMEOUT=1h");
	GOOD("ELECTRIC_TCP_READ_TIMEOUT=2 min");
	CHECK_INT(c.tcp_read_timeout_ms, 120000);
	BAD("ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: must be at least 1, not 0", "ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD=0");
	GOOD("ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD=10000", "ELECTRIC_ENABLE_INTEGRATION_TESTING=true",
	     "ELECTRIC_CACHE_MAX_AGE=1", "ELECTRIC_CACHE_STALE_AGE=3", "ELECTRIC_LISTEN_ON_IPV6=1");
	CHECK(c.chunk_bytes_threshold == 10000 && c.enable_integration_testing && c.live.cache_max_age_s == 1 &&
	      c.live.cache_stale_age_s == 3 && c.listen_on_ipv6);

	GOOD("ELECTRIC_MAX_CONCURRENT_REQUESTS={\"existing\": 20000, \"initial\": 5}");
	CHECK(c.live.max_concurrent_initial == 5 && c.live.max_concurrent_existing == 20000);
	BAD("ELECTRIC_MAX_CONCURRENT_REQUESTS: the key \"existing\" is missing",
	    "ELECTRIC_MAX_CONCURRENT_REQUESTS={\"initial\":300}");
	BAD("ELECTRIC_MAX_CONCURRENT_REQUESTS: \"initial\" must be a positive integer",
	    "ELECTRIC_MAX_CONCURRENT_REQUESTS={\"initial\":\"300\",\"existing\":1}");
	BAD("ELECTRIC_MAX_CONCURRENT_REQUESTS: must be a JSON object", "ELECTRIC_MAX_CONCURRENT_REQUESTS=[1,2]");
	CHECK(LOAD(DB, OPEN, "ELECTRIC_MAX_CONCURRENT_REQUESTS={") == -1 &&
	      strstr(e.text, "ELECTRIC_MAX_CONCURRENT_REQUESTS: not valid JSON: ") == e.text);
	CHECK(LOAD(DB, OPEN, "ELECTRIC_MAX_CONCURRENT_REQUESTS=") == -1);
}

static void test_storage_and_rest(void)
{
	GOOD("ELECTRIC_STORAGE=memory", "ELECTRIC_STORAGE_DIR=/data");
	CHECK(c.storage_memory);
	CHECK_STR(c.storage_dir, "/data");
	GOOD("ELECTRIC_STORAGE=Fast_File");
	CHECK(!c.storage_memory);
	BAD("ELECTRIC_STORAGE: \"file\" storage is deprecated. Please change to \"fast_file\"", "ELECTRIC_STORAGE=file");
	BAD("ELECTRIC_STORAGE: \"file\" storage is deprecated. Please change to \"fast_file\"", "ELECTRIC_STORAGE=LEGACY_FILE");
	BAD("ELECTRIC_STORAGE: storage must be one of: MEMORY, FAST_FILE", "ELECTRIC_STORAGE=");
	BAD("ELECTRIC_PERSISTENT_STATE must be one of: MEMORY, FILE", "ELECTRIC_PERSISTENT_STATE=disk");
	GOOD("ELECTRIC_PERSISTENT_STATE=MEMORY");
	CHECK(strstr(warnings, "ELECTRIC_PERSISTENT_STATE has no effect: ") != NULL);

	GOOD("ELECTRIC_EXPERIMENTAL_MAX_SHAPES=7");
	CHECK_INT(c.live.max_shapes, 7);
	GOOD("ELECTRIC_EXPERIMENTAL_MAX_SHAPES=7", "ELECTRIC_MAX_SHAPES=9");
	CHECK_INT(c.live.max_shapes, 9);
	GOOD("ELECTRIC_MAX_SHAPES=");
	CHECK(c.live.max_shapes == 0 && strstr(warnings, "ELECTRIC_MAX_SHAPES=0 is read as no limit") != NULL);

	GOOD("BUSBAR_STORAGE=disk");
	CHECK(!c.storage_ephemeral && c.store_limit == 0 && c.store_min_free == 0 && c.shape_expiry_ms == 0 && c.shape_growth_limit == 0);
	GOOD("BUSBAR_STORAGE=ephemeral", "BUSBAR_STORE_LIMIT=64MiB", "BUSBAR_STORE_MIN_FREE=1GB", "BUSBAR_SHAPE_EXPIRY=30d",
	     "BUSBAR_SHAPE_GROWTH_LIMIT=10");
	CHECK(c.storage_ephemeral);
	CHECK_INT(c.store_limit, 64 << 20);
	CHECK_INT(c.store_min_free, 1000000000);
	CHECK_INT(c.shape_expiry_ms, INT64_C(30) * 86400000);
	CHECK_INT(c.shape_growth_limit, 10);
	BAD("BUSBAR_STORAGE must be one of: disk, ephemeral", "BUSBAR_STORAGE=tmpfs");
	BAD("BUSBAR_STORE_LIMIT must be at least 64MiB", "BUSBAR_STORE_LIMIT=64MB");
	BAD("BUSBAR_SHAPE_EXPIRY must be at least 1s", "BUSBAR_SHAPE_EXPIRY=999");
	BAD("BUSBAR_SHAPE_EXPIRY: \"1w\" is not a time: a number above 0 with ms, s, min, h or d, as in 90min or 30d", "BUSBAR_SHAPE_EXPIRY=1w");
	CHECK(LOAD(DB, OPEN, "BUSBAR_SHAPE_GROWTH_LIMIT=1") == -1 && strstr(e.text, "BUSBAR_SHAPE_GROWTH_LIMIT") != NULL);
	GOOD("BUSBAR_STORAGE=disk");
	CHECK(c.snapshot_concurrency == 0 && c.subset_concurrency == 0 && c.subset_memory == 64 << 20 && c.body_memory == 128 << 20);
	GOOD("BUSBAR_SNAPSHOT_CONCURRENCY=12", "BUSBAR_SUBSET_CONCURRENCY=1", "BUSBAR_SUBSET_MEMORY=1MiB", "BUSBAR_BODY_MEMORY=16MiB");
	CHECK(c.snapshot_concurrency == 12 && c.subset_concurrency == 1 && c.subset_memory == 1 << 20 && c.body_memory == 16 << 20);
	static const char *const out_of_range[] = {"BUSBAR_SNAPSHOT_CONCURRENCY=0", "BUSBAR_SUBSET_CONCURRENCY=13", "BUSBAR_SUBSET_MEMORY=1MB",
	                                           "BUSBAR_BODY_MEMORY=16MB"};
	for (size_t i = 0; i < sizeof out_of_range / sizeof *out_of_range; i++)
		CHECK(LOAD(DB, OPEN, out_of_range[i]) == -1 && strncmp(e.text, out_of_range[i], strcspn(out_of_range[i], "=")) == 0);
	/* Electric's own know neither hours nor days. */
	CHECK(LOAD(DB, OPEN, "ELECTRIC_TCP_READ_TIMEOUT=1h") == -1);

	GOOD("ELECTRIC_LOG_LEVEL=warn");
	CHECK(c.log_level == LOG_WARNING);
	BAD("ELECTRIC_LOG_LEVEL: Must be one of [\"error\", \"warning\", \"info\", \"debug\"]", "ELECTRIC_LOG_LEVEL=INFO");
	BAD("ELECTRIC_LOG_COLORS: non-empty value required", "ELECTRIC_LOG_COLORS=");
	BAD("ELECTRIC_SHAPE_DB_CACHE_SIZE: invalid size unit: \"4mb\". Must be one of [\"KB\", \"KiB\", \"MB\", \"MiB\", "
	    "\"GB\", \"GiB\"]", "ELECTRIC_SHAPE_DB_CACHE_SIZE=4mb");

	GOOD("ELECTRIC_FEATURE_FLAGS= allow_subqueries,,tagged_subqueries");
	CHECK(strstr(warnings, "feature flags") == NULL);
	GOOD("ELECTRIC_FEATURE_FLAGS=x, allow_subqueries,yy");
	CHECK(strstr(warnings, "Unknown feature flags specified: [\"x\", \"yy\"]. Known feature flags: [\"allow_subqueries\", \"tagged_subqueries\"]\n") != NULL);
}

/* What is in the environment and isn't read gets a line, and doesn't stop the start. */
static void test_not_read(void)
{
	GOOD("LOG_LEVEL=nonsense", "ELECTRIC_USAGE_REPORTING=x", "ELECTRIC_WRITE_TO_PG_MODE=direct_writes", "AUTH_MODE=insecure");
	CHECK(strstr(warnings, "LOG_LEVEL is not read: ELECTRIC_LOG_LEVEL has taken its place\n") != NULL);
	CHECK(strstr(warnings, "AUTH_MODE is not read: ELECTRIC_INSECURE has taken its place\n") != NULL);
	CHECK(strstr(warnings, "ELECTRIC_USAGE_REPORTING is not read: it is a setting of older versions of Electric\n") != NULL);
	CHECK(strstr(warnings, "ELECTRIC_WRITE_TO_PG_MODE is not read: ") != NULL);
	CHECK(LOAD(DB, "AUTH_MODE=insecure") == -1);
	CHECK(strstr(e.text, "Electric API. AUTH_MODE is not read any more: ELECTRIC_INSECURE=true is what AUTH_MODE=insecure was"));

	static const char *const like[][2] = {
		{"ELECTRIC_LOG_LVEL", "ELECTRIC_LOG_LEVEL"}, {"ELECTRIC_PROT", "ELECTRIC_PORT"}, {"BUSBAR_SUBQUERY_TABLE", "BUSBAR_SUBQUERY_TABLES"},
		{"BUSBAR_COLOUR", NULL}, {"ELECTRIC_DATABASE_URL", "DATABASE_URL"},
		{"ELECTRIC_API_SECRET", NULL}, {"ELECTRIC_STORAGE_DIRECTORY", NULL}, {"ELECTRIC_LONG_POLL_TIMEOUT_MS", "ELECTRIC_LONG_POLL_TIMEOUT"},
		{"ELECTRIC_CACHE_MAXAGE", "ELECTRIC_CACHE_MAX_AGE"}, {"ELECTRIC_NO_SUCH", NULL}, {"ELECTRIC_X", NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(like); i++) {
		char env[64], want[200];
		snprintf(env, sizeof env, "%s=1", like[i][0]);
		snprintf(want, sizeof want, like[i][1] != NULL ? "\n%s is not known. Is %s meant?\n" : "\n%s is not known\n", like[i][0],
		         like[i][1]);
		GOOD("LOG_LEVEL=x", env);
		if (!CHECK(strstr(warnings, want) != NULL || strncmp(warnings, want + 1, strlen(want + 1)) == 0))
			printf("  %s  wanted%s", warnings, want);
	}
	GOOD("NOT_ELECTRIC_X=1", "electric_x=1", "ELECTRIC_=1");
	CHECK(strstr(warnings, "known") == NULL);
}

static void test_kubernetes(void)
{
	GOOD("ELECTRIC_PORT=tcp://10.0.0.7:80", "ELECTRIC_SERVICE_HOST=10.0.0.7", "ELECTRIC_SERVICE_PORT=80", "ELECTRIC_SERVICE_PORT_HTTP=80",
	     "ELECTRIC_PORT_80_TCP=tcp://10.0.0.7:80", "ELECTRIC_PORT_80_TCP_ADDR=10.0.0.7", "ELECTRIC_PORT_80_TCP_PROTO=tcp",
	     "ELECTRIC_PROXY_PORT=tcp://10.0.0.8:80", "ELECTRIC_PROMETHEUS_PORT=udp://10.0.0.9:9");
	CHECK_INT(c.port, 3000);
	CHECK(strstr(warnings, "ELECTRIC_PORT=tcp://10.0.0.7:80 is taken as unset: Kubernetes") != NULL);
	CHECK(strstr(warnings, "ELECTRIC_PROMETHEUS_PORT=udp://10.0.0.9:9 is taken as unset") != NULL);
	CHECK(strstr(warnings, "is not known") == NULL && strstr(warnings, "is ignored") == NULL);
}

static void test_bool(void)
{
	static const char *const no[] = {"", "0", "false", "False", "FALSE"};
	static const char *const yes[] = {"1", "true", "no", "off", "00", " ", "f", "false "};
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		CHECK(!config_parse_bool(no[i]));
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		CHECK(config_parse_bool(yes[i]));
}

static void test_time_and_size(void)
{
	static const struct {
		const char *text;
		int64_t want; /* -1: refused */
	} times[] = {
		{"1", 1}, {"30s", 30000}, {"30 s", 30000}, {"1.5s", 1500}, {"0.5 min", 30000}, {"2m", 120000}, {"7msec", 7},
		{"3sec", 3000}, {"1.9", 1}, {"+4ms", 4}, {"5s ", 5000}, {"0", -1}, {"0s", -1}, {"-1", -1}, {"1h", -1}, {"1d", -1},
		{"", -1}, {"s", -1}, {"1 S", -1}, {".5s", -1}, {"1.s", -1}, {"1e3", -1}, {"0x10", -1}, {"nan", -1}, {"inf", -1},
		{" 1", -1}, {"1s s", -1}, {"99999999999999999999999999999s", -1}, {"1.00000000000000000000000000000000001s", 1000},
	}, own[] = {
		{"1", 1}, {"90min", 5400000}, {"12h", 43200000}, {"1.5 d", 129600000}, {"3650d", INT64_C(3650) * 86400000}, {"3651d", -1},
		{"0h", -1}, {"1w", -1}, {"", -1},
	}, sizes[] = {
		{"4MiB", 4194304}, {"4 MB", 4000000}, {"1KB", 1000}, {"1KiB", 1024}, {"0.5GiB", 536870912}, {"2GB", 2000000000},
		{"123", 123}, {"1kb", -1}, {"0", -1}, {"1B", -1}, {"", -1}, {"99999999999GiB", -1},
	};
	int64_t v;
	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		CHECK_INT(config_parse_time_ms(times[i].text, &v, &e) == 0 ? v : -1, times[i].want);
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		CHECK_INT(config_parse_own_time_ms(own[i].text, &v, &e) == 0 ? v : -1, own[i].want);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		CHECK_INT(config_parse_size(sizes[i].text, &v, &e) == 0 ? v : -1, sizes[i].want);
}

static void test_url_good(void)
{
	static const struct {
		const char *text, *user, *password, *host, *database;
		int port;
		enum config_sslmode mode;
	} good[] = {
		{"postgresql://bob:pw@h:6543/app?sslmode=require", "bob", "pw", "h", "app", 6543, SSLMODE_REQUIRE},
		{"POSTGRES://bob@h", "bob", NULL, "h", "bob", 5432, SSLMODE_UNSET},
		{"postgres://bob:@h:/", "bob", "", "h", "bob", 5432, SSLMODE_UNSET},
		{"postgres://b%40b:p%3a+%25@h/a%2Fb", "b@b", "p:+%", "h", "a/b", 5432, SSLMODE_UNSET},
		{"postgres://bob:p@ss@h/d", "bob", "p@ss", "h", "d", 5432, SSLMODE_UNSET},
		{"postgres://bob@[2001:db8::1]:7/d", "bob", NULL, "2001:db8::1", "d", 7, SSLMODE_UNSET},
		{"postgres://bob@[::1]/d", "bob", NULL, "::1", "d", 5432, SSLMODE_UNSET},
		{"postgres://bob@%2Frun%2Fpg/d", "bob", NULL, "/run/pg", "d", 5432, SSLMODE_UNSET},
		{"postgres://bob@h/d?uselibpqcompat=true&options=-c%20a&sslmode=disable#x?y", "bob", NULL, "h", "d", 5432,
		 SSLMODE_DISABLE},
		{"postgres://bob@h?sslmode=prefer&sslmode=allow&", "bob", NULL, "h", "bob", 5432, SSLMODE_ALLOW},
	};
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct config_url u;
		if (!CHECK_STR(config_parse_url(good[i].text, &u, &e) == 0 ? "" : e.text, ""))
			continue;
		CHECK_STR(u.user, good[i].user);
		CHECK(good[i].password == NULL ? u.password == NULL : CHECK_STR(u.password, good[i].password));
		CHECK_STR(u.host, good[i].host);
		CHECK_STR(u.database, good[i].database);
		CHECK_INT(u.port, good[i].port);
		CHECK_INT(u.sslmode, good[i].mode);
		config_url_clear(&u);
	}
}

static void test_url_bad(void)
{
	static const struct {
		const char *text, *want;
	} bad[] = {
		{"", "invalid URL scheme: \"\""},
		{"host:5432", "invalid URL scheme: \"host\""},
		{"//u@h/d", "invalid URL scheme: \"\""},
		{"http://u@h/d", "invalid URL scheme: \"http\""},
		{"postgresql:", "missing host"},
		{"postgresql://u:p@/d", "missing host"},
		{"postgresql://u:p@:5432/d", "missing host"},
		{"postgresql://u@[]/d", "missing host"},
		{"postgresql://h/d", "invalid or missing username"},
		{"postgresql://:p@h/d", "invalid or missing username"},
		{"postgresql://u:p:q@h/d", "invalid or missing username"},
		{"postgresql://u:p%zz@h/d", "invalid percent-encoding in the password"},
		{"postgresql://u%0@h/d", "invalid percent-encoding in the user name"},
		{"postgresql://u@h/d%", "invalid percent-encoding in the database name"},
		{"postgresql://u@h/d%00x", "invalid percent-encoding in the database name"},
		{"postgresql://u@h:0/d", "invalid port (special characters in a password must be percent-encoded)"},
		{"postgresql://u@h:65536/d", "invalid port (special characters in a password must be percent-encoded)"},
		{"postgresql://u:s3cret/x@h/d", "invalid port (special characters in a password must be percent-encoded)"},
		{"postgresql://u@[::1/d", "the IPv6 address of the host has no closing bracket"},
		{"postgresql://u@h/d?sslmode=verify-full",
		 "unsupported \"sslmode\" value \"verify-full\". Use sslmode=require and set the "
		 "ELECTRIC_DATABASE_CA_CERTIFICATE_FILE config to a file of CA certificates; the public ones are often in "
		 "/etc/ssl/certs/ca-certificates.crt"},
		{"postgresql://u:s3cret@a:5432,b:5432/d", "several hosts: name one, the primary, or an address that always leads to it"},
		{"postgresql:///d?user=u&host=/run/pg",
		 "missing host. The query's \"host\" isn't read: for a socket, write its directory in the host's place, as in "
		 "postgresql://user@%2Fvar%2Frun%2Fpostgresql/database"},
		{"postgresql://u@/d?host=%2Frun",
		 "missing host. The query's \"host\" isn't read: for a socket, write its directory in the host's place, as in "
		 "postgresql://user@%2Fvar%2Frun%2Fpostgresql/database"},
		{"postgresql://u@/d?localhost=x", "missing host"},
		{"postgresql://u@h/d?sslmode=maybe", "invalid \"sslmode\" value: \"maybe\""},
		{"postgresql://u@h/d?sslmode", "invalid \"sslmode\" value: \"\""},
		{"postgresql://u@h/d?a=b&replication=database",
		 "unsupported \"replication\" query option. Remove it, Busbar sets it where it is needed"},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct config_url u;
		CHECK(config_parse_url(bad[i].text, &u, &e) == -1 && e.kind == ERR_CONFIG);
		CHECK_STR(e.text, bad[i].want);
		CHECK(u.user == NULL && u.password == NULL && u.host == NULL && u.database == NULL);
		CHECK(strstr(e.text, "s3cret") == NULL);
	}
}

/* The words that operators grep a healthy log for must not be in what a good start says. */
static void test_warnings_are_calm(void)
{
	static const char *const alarming[] = {"error", "Error", "ERROR", "fatal", "Fatal", "FATAL", "no such"};
	GOOD("ELECTRIC_PROMETHEUS_PORT=9090", "ELECTRIC_SHAPE_HIBERNATE_AFTER=1s", "ELECTRIC_FEATURE_FLAGS=x",
	     "ELECTRIC_DB_POOL_SIZE=0", "CLEANUP_REPLICATION_SLOTS_ON_SHUTDOWN=1", "ELECTRIC_STATSD_HOST=x");
	for (size_t i = 0; i < ARRAY_LEN(alarming); i++)
		CHECK(strstr(warnings, alarming[i]) == NULL);
}

/* A line of docs/configuration.md, made from the table: paste it there when the test asks for it. */
static void doc_line(char *to, size_t max, const char *name, const char *type, const char *def, const char *state,
                     const char *text)
{
	const char *shown = strcmp(type, "URL") == 0 || strcmp(type, "JSON") == 0 ? type
	                    : strcmp(type, "BOOL_STRICT") == 0                    ? "bool"
	                                                                          : NULL;
	char lower[16];
	size_t n = 0;
	for (; type[n] != '\0' && n < sizeof lower - 1; n++)
		lower[n] = (char)(type[n] | 0x20);
	lower[n] = '\0';
	if (strcmp(state, "OLD") == 0)
		snprintf(to, max, text[0] != '\0' ? "- `%s` (now `%s`)" : "- `%s`", name, text);
	else
		snprintf(to, max, "| `%s` | %s | %s%s%s | %s%s |", name, shown ? shown : lower, def ? "`" : "", def ? def : "-",
		         def ? "`" : "", strcmp(state, "USED") == 0 ? "" : "No effect. ", text);
}

static char *slurp(const char *path)
{
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return NULL;
	char *p = mem_zalloc(1 << 20);
	size_t n = fread(p, 1, (1 << 20) - 1, f);
	p[n] = '\0';
	fclose(f);
	return p;
}

static void check_doc_line(const char *page, const char *line)
{
	const char *at = strstr(page, line);
	if (!CHECK(at != NULL && (at == page || at[-1] == '\n') && at[strlen(line)] == '\n'))
		printf("  docs/configuration.md lacks the line\n%s\n", line);
}

static void test_docs_name_every_variable(void)
{
	/* CMake compiles with absolute paths. */
	char path[4096];
	snprintf(path, sizeof path, "%s", __FILE__);
	char *tests = strstr(path, "tests/unit/");
	if (!CHECK(tests != NULL))
		return;
	snprintf(tests, sizeof path - (size_t)(tests - path), "docs/configuration.md");
	char *page = slurp(path);
	char line[512];
	if (CHECK(page != NULL)) {
#define X(name, type, def, state, text)                                    \
	doc_line(line, sizeof line, #name, #type, def, #state, text);          \
	check_doc_line(page, line);
#include "base/config_table.h"
	}
	free(page);
}

static void test_help_names_every_variable(void)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	config_help(f);
	fclose(f);
#define X(name, type, def, state, words) CHECK(strstr(text, "\n  " #name) != NULL && strstr(text, words) != NULL);
#include "base/config_table.h"
	free(text);
}

int main(void)
{
	RUN(test_defaults);
	RUN(test_secret);
	RUN(test_database);
	RUN(test_replication);
	RUN(test_http);
	RUN(test_storage_and_rest);
	RUN(test_not_read);
	RUN(test_kubernetes);
	RUN(test_bool);
	RUN(test_time_and_size);
	RUN(test_url_good);
	RUN(test_url_bad);
	RUN(test_warnings_are_calm);
	RUN(test_docs_name_every_variable);
	RUN(test_help_names_every_variable);
	config_clear(&c);
	free(warnings);
	return check_done("config");
}
