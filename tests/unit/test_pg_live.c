/*
 * test_pg_live.c - src/pg against a real Postgres: BUSBAR_TEST_DATABASE_URL, a superuser's, on a server
 * with wal_level = logical and nothing else going on in that database; without it nothing is tested.
 * BUSBAR_TEST_SLOW=1 adds the tests that wait for our longest limits. All is made in schema bb_live.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "check.h"
#include "pg/catalog.h"
#include "pg/conn.h"
#include "pg/encoding.h"
#include "pg/ground.h"
#include "pg/horizon.h"
#include "pg/kept.h"
#include "pg/publication.h"
#include "pg/query.h"
#include "pg/slot.h"
#include "pg/snapshot.h"

/* Told instead of the server's own version; on 14 the catalog lacks what 15 has. */
#define NEW_MINOR (PQserverVersion(admin) < 150000 ? 140018 : 150018)
#define OLD_MINOR (PQserverVersion(admin) < 150000 ? 140012 : 150012)
#define WAIT_MS 10000 /* for things that happen at once */

static const char *url;
static PGconn *admin, *other; /* `other` plays the user */
static struct config config;
static char user[] = "postgres";

/* ---- helpers ---- */

static PGconn *connect_db(void)
{
	PGconn *conn = PQconnectdb(url);
	if (PQstatus(conn) != CONNECTION_OK) {
		printf("can't connect: %s", PQerrorMessage(conn));
		exit(1);
	}
	PQclear(PQexec(conn, "SET client_min_messages = warning"));
	return conn;
}

/* Runs SQL that must succeed. */
static void run(PGconn *conn, const char *sql)
{
	struct err e;
	if (!CHECK(pg_command(conn, sql, &e) == 0))
		printf("  %s: %s\n", sql, e.text);
}

/* The first value of a query, in a static buffer. */
static const char *value(PGconn *conn, const char *sql)
{
	static char text[1024];
	struct err e;
	PGresult *res = pg_query(conn, sql, 0, NULL, &e);
	if (res == NULL)
		snprintf(text, sizeof text, "error: %s", e.text);
	else
		snprintf(text, sizeof text, "%s", PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "(none)");
	PQclear(res);
	return text;
}

static struct pg_table *lookup(const char *name)
{
	struct pg_table *t = NULL;
	struct err e = {0};
	if (!CHECK_INT(pg_catalog_lookup(admin, "bb_live", name, &t, &e), 0)) {
		printf("  lookup of %s: %s\n", name, e.text);
		exit(1);
	}
	return t;
}

static void tiny_pause(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* A join in a thread of its own, with a session of its own. */
struct job {
	pthread_t thread;
	PGconn *conn;
	const struct pg_table *t;
	const struct pg_join *known;
	int version;
	_Atomic int waits; /* how often it asked whether it is cancelled */
	atomic_bool cancel, done;
	int rc;
	struct pg_join out;
	struct err e;
};

static bool job_cancelled(void *ctx)
{
	struct job *j = ctx;
	atomic_fetch_add(&j->waits, 1);
	return atomic_load(&j->cancel);
}

static void *job_run(void *ctx)
{
	struct job *j = ctx;
	j->rc = pg_publication_join(j->conn, &config, j->version, j->t, j->known, job_cancelled, j, &j->out, &j->e);
	atomic_store(&j->done, true);
	return NULL;
}

static void job_start(struct job *j, const struct pg_table *t, const struct pg_join *known)
{
	*j = (struct job){.t = t, .known = known, .version = NEW_MINOR, .conn = connect_db()};
	REQUIRE(pthread_create(&j->thread, NULL, job_run, j) == 0);
}

static void job_end(struct job *j)
{
	pthread_join(j->thread, NULL);
	PQfinish(j->conn);
}

/* Until the job has polled several times more: then it is really waiting. */
static bool job_waits(struct job *j)
{
	int from = atomic_load(&j->waits);
	int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
	while (!atomic_load(&j->done) && atomic_load(&j->waits) < from + 5 && clock_mono_ms() < deadline_ms)
		tiny_pause();
	return !atomic_load(&j->done);
}

/* What a snapshot says of the table agrees with what its join brought, however it is published. */
static void check_ground(const struct config *c, const struct pg_table *t, const struct pg_join *join)
{
	char oids[16];
	snprintf(oids, sizeof oids, "{%u}", t->oid);
	struct pg_texts read;
	struct err e;
	if (!CHECK_INT(pg_ground_read(admin, c->publication_name, oids, &read, &e), 0))
		return;
	const char *ground = pg_texts_of(&read, t->oid);
	if (!CHECK(ground != NULL && pg_ground_has_entry(ground, join->publication_rel_oid)))
		printf("  %s of %s: %u isn't in %s\n", t->name, c->publication_name, join->publication_rel_oid, ground != NULL ? ground : "nothing");
	CHECK(ground != NULL && pg_ground_publication_xmin(ground) == join->publication_xmin);
	pg_texts_clear(&read);
}

static int join_as(PGconn *conn, int version, const struct pg_table *t, const struct pg_join *known, struct pg_join *out, struct err *e)
{
	err_clear(e);
	int rc = pg_publication_join(conn, &config, version, t, known, NULL, NULL, out, e);
	if (rc == 0)
		check_ground(&config, t, out);
	return rc;
}

static int join(const struct pg_table *t, const struct pg_join *known, struct pg_join *out, struct err *e)
{
	return join_as(admin, NEW_MINOR, t, known, out, e);
}

static int look(const struct pg_table *t, struct err *e)
{
	err_clear(e);
	return pg_publication_look(admin, &config, NEW_MINOR, t, e);
}

static int keep(const struct pg_table *t, const struct pg_join *known, struct pg_join *out, struct err *e)
{
	err_clear(e);
	return pg_publication_keep(admin, &config, NEW_MINOR, t, known, NULL, NULL, out, e);
}

static void setup(void)
{
	run(admin, "DROP SCHEMA IF EXISTS bb_live CASCADE; DROP PUBLICATION IF EXISTS bb_live_pub;"
	           "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bb_live_role') THEN"
	           " CREATE ROLE bb_live_role; END IF; END $$;"
	           "CREATE SCHEMA bb_live; GRANT USAGE ON SCHEMA bb_live TO bb_live_role; CREATE PUBLICATION bb_live_pub");
	config = (struct config){0};
	config.publication_name = mem_strdup("bb_live_pub");
	config.database.user = config.database.database = user;
}

static void teardown(void)
{
	run(admin, "DROP SCHEMA bb_live CASCADE; DROP PUBLICATION bb_live_pub; DROP ROLE bb_live_role");
	free(config.publication_name);
}

/* ---- catalog ---- */

static void test_lookup(void)
{
	run(admin, "CREATE DOMAIN bb_live.yes AS bool; CREATE DOMAIN bb_live.yes2 AS bb_live.yes;"
	           "CREATE TYPE bb_live.mood AS ENUM ('a');"
	           "CREATE TABLE bb_live.\"Odd \"\"t\" (z int, gone int, id int8, b bool, d bb_live.yes2, arr varchar(5)[],"
	           " g int GENERATED ALWAYS AS (1) STORED, m bb_live.mood NOT NULL, n numeric(6,2), ba bool[], extra int,"
	           " i interval day to second(2), PRIMARY KEY (id, z) INCLUDE (extra));"
	           "ALTER TABLE bb_live.\"Odd \"\"t\" DROP COLUMN gone");
	struct pg_table *t = lookup("Odd \"t");
	CHECK_STR(t->name, "Odd \"t");
	CHECK_STR(t->schema, "bb_live");
	CHECK_INT(t->relkind, 'r');
	CHECK_INT(t->ncolumns, 11);
	CHECK_INT(t->npk, 2);
	CHECK_STR(t->columns[t->pk[0]].name, "id");
	CHECK_STR(t->columns[t->pk[1]].name, "z");
	CHECK_INT(t->columns[1].attnum, 3);
	CHECK_INT(t->columns[1].type_oid, 20);
	CHECK(t->columns[2].is_bool && t->columns[3].is_bool && !t->columns[0].is_bool);
	CHECK(!t->columns[pg_table_column(t, "ba", 2)].is_bool);
	CHECK(t->columns[pg_table_column(t, "g", 1)].generated);
	CHECK_STR(t->schema_json,
	          "{\"arr\":{\"type\":\"varchar\",\"dims\":1,\"max_length\":5},\"b\":{\"type\":\"bool\"},"
	          "\"ba\":{\"type\":\"bool\",\"dims\":1},\"d\":{\"type\":\"yes2\"},\"extra\":{\"type\":\"int4\"},\"g\":{\"type\":\"int4\"},"
	          "\"i\":{\"type\":\"interval\",\"fields\":\"DAY TO SECOND\",\"precision\":2},"
	          "\"id\":{\"type\":\"int8\",\"pk_index\":0,\"not_null\":true},\"m\":{\"type\":\"mood\",\"not_null\":true},"
	          "\"n\":{\"type\":\"numeric\",\"precision\":6,\"scale\":2},\"z\":{\"type\":\"int4\",\"pk_index\":1,\"not_null\":true}}");
	struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
	struct pg_table *by_oid = NULL, *stored = NULL;
	struct err e;
	CHECK_INT(pg_catalog_lookup_oid(admin, t->oid, &by_oid, &e), 0);
	pg_table_to_json(t, &a);
	pg_table_to_json(by_oid, &b);
	CHECK_STR(b.data, a.data);
	CHECK_INT(pg_table_from_json(a.data, a.len, &stored, &e), 0);
	CHECK(pg_table_same_columns(t, stored));
	pg_table_unref(stored);
	pg_table_unref(by_oid);
	pg_table_unref(t);
	buf_clear(&a);
	buf_clear(&b);

	run(admin, "CREATE VIEW bb_live.v AS SELECT 1; CREATE TABLE bb_live.empty ()");
	struct pg_table *none;
	CHECK_INT(pg_catalog_lookup(admin, "bb_live", "v", &none, &e), 1);
	CHECK_INT(pg_catalog_lookup(admin, "bb_live", "empty", &none, &e), 1);
	CHECK_INT(pg_catalog_lookup(admin, "bb_live", "odd", &none, &e), 1);
	CHECK_INT(pg_catalog_lookup(admin, "nowhere", "odd", &none, &e), 1);
	CHECK_INT(pg_catalog_lookup_oid(admin, 1, &none, &e), 1);
	run(other, "BEGIN; SELECT 1/1");
	CHECK(pg_command(other, "SELECT 1/0", &e) == -1);
	CHECK_INT(pg_catalog_lookup(other, "bb_live", "t", &none, &e), -1);
	CHECK_STR(e.sqlstate, "25P02");
	run(other, "ROLLBACK");
}

/* What keeps keys apart, and what doesn't. */
static void test_key_kinds(void)
{
	static const struct {
		const char *sql;
		enum pg_keys keys;
		const char *clash;
	} cases[] = {
		{"CREATE TABLE bb_live.k (a int, b int, PRIMARY KEY (a, b))", PG_KEYS_UNIQUE, NULL},
		{"CREATE TABLE bb_live.k (a int, b int, PRIMARY KEY (a, b) DEFERRABLE)", PG_KEYS_AT_COMMIT, NULL},
		{"CREATE TABLE bb_live.k (a int, b int, PRIMARY KEY (a) DEFERRABLE INITIALLY DEFERRED)", PG_KEYS_AT_COMMIT, NULL},
		/* Another index has the key's columns, or some of them. */
		{"CREATE TABLE bb_live.k (a int, b int, PRIMARY KEY (a, b) DEFERRABLE, UNIQUE (b, a))", PG_KEYS_UNIQUE, NULL},
		{"CREATE TABLE bb_live.k (a int, b int, PRIMARY KEY (a, b) DEFERRABLE, UNIQUE (b))", PG_KEYS_UNIQUE, NULL},
		{"CREATE TABLE bb_live.k (a int PRIMARY KEY DEFERRABLE, b int NOT NULL UNIQUE)", PG_KEYS_AT_COMMIT, NULL},
		{"CREATE TABLE bb_live.k (a int, b int)", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int, b int, UNIQUE (b))", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int, b int NOT NULL, UNIQUE (a, b))", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int, b int NOT NULL, UNIQUE (b) INCLUDE (a))", PG_KEYS_UNIQUE, NULL},
		{"CREATE TABLE bb_live.k (a int, b int NOT NULL, UNIQUE (b) DEFERRABLE)", PG_KEYS_AT_COMMIT, NULL},
		{"CREATE TABLE bb_live.k (a int, b int NOT NULL); CREATE UNIQUE INDEX ON bb_live.k (b) WHERE a > 1", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int, b int NOT NULL); CREATE UNIQUE INDEX ON bb_live.k (b, (a + 1))", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int, b int NOT NULL); CREATE INDEX ON bb_live.k (b)", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int PRIMARY KEY DEFERRABLE) PARTITION BY RANGE (a);"
		 "CREATE TABLE bb_live.k1 PARTITION OF bb_live.k FOR VALUES FROM (0) TO (9)", PG_KEYS_AT_COMMIT, NULL},
		{"CREATE TABLE bb_live.k (a int) PARTITION BY RANGE (a);"
		 "CREATE TABLE bb_live.k1 PARTITION OF bb_live.k (PRIMARY KEY (a)) FOR VALUES FROM (0) TO (9)", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int NOT NULL) PARTITION BY RANGE (a);"
		 "CREATE TABLE bb_live.k1 PARTITION OF bb_live.k FOR VALUES FROM (0) TO (9);"
		 "ALTER TABLE ONLY bb_live.k ADD PRIMARY KEY (a)", PG_KEYS_CLASH, "bb_live.k"},
		{"CREATE TABLE bb_live.k (a int PRIMARY KEY); CREATE TABLE bb_live.\"K 1\" (c int) INHERITS (bb_live.k)", PG_KEYS_CLASH,
		 "bb_live.\"K 1\""},
		{"CREATE TABLE bb_live.k (a int PRIMARY KEY); CREATE TABLE bb_live.k1 (c int, PRIMARY KEY (a)) INHERITS (bb_live.k)",
		 PG_KEYS_UNIQUE, NULL},
		{"CREATE TABLE bb_live.k (a int PRIMARY KEY); CREATE TABLE bb_live.k1 (PRIMARY KEY (a)) INHERITS (bb_live.k);"
		 "CREATE TABLE bb_live.k2 () INHERITS (bb_live.k1)", PG_KEYS_CLASH, "bb_live.k2"},
		{"CREATE TABLE bb_live.k (a int PRIMARY KEY);"
		 "CREATE TABLE bb_live.k1 (PRIMARY KEY (a) DEFERRABLE) INHERITS (bb_live.k)", PG_KEYS_AT_COMMIT, NULL},
		/* A column that only the child has is none of its parent's. */
		{"CREATE TABLE bb_live.k (a int PRIMARY KEY); CREATE TABLE bb_live.k1 (c int, PRIMARY KEY (a, c)) INHERITS (bb_live.k)",
		 PG_KEYS_CLASH, "bb_live.k1"},
		{"CREATE TABLE bb_live.k (a int); CREATE TABLE bb_live.k1 () INHERITS (bb_live.k)", PG_KEYS_COUNTED, NULL},
		{"CREATE TABLE bb_live.k (a int NOT NULL UNIQUE); CREATE TABLE bb_live.k1 (PRIMARY KEY (a)) INHERITS (bb_live.k)",
		 PG_KEYS_UNIQUE, NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		run(admin, cases[i].sql);
		struct pg_table *t = lookup("k");
		if (!CHECK_INT(t->keys, cases[i].keys))
			printf("  %s\n", cases[i].sql);
		CHECK_STR(t->clash != NULL ? t->clash : "", cases[i].clash != NULL ? cases[i].clash : "");
		for (uint32_t k = 0; k < t->nmembers; k++)
			CHECK(t->relkind == 'r' && pg_table_has_leaf(t, t->members[k].oid) && strcmp(t->members[k].schema, "bb_live") == 0);
		CHECK(t->relkind == 'p' ? t->nmembers == 0 : t->nmembers == t->nleaves);
		pg_table_unref(t);
		run(admin, "DROP TABLE bb_live.k CASCADE");
	}
	if (PQserverVersion(admin) >= 150000) {
		run(admin, "CREATE TABLE bb_live.k (a int, b int, UNIQUE NULLS NOT DISTINCT (a))");
		struct pg_table *t = lookup("k");
		CHECK_INT(t->keys, PG_KEYS_UNIQUE);
		pg_table_unref(t);
		run(admin, "DROP TABLE bb_live.k");
	}
}

/* Types that aren't built in, down to the last, and collations; and that what matters of them is noticed. */
static void test_types(void)
{
	run(admin, "CREATE TYPE bb_live.feel AS ENUM ('b', 'a'); ALTER TYPE bb_live.feel ADD VALUE 'o''k' BEFORE 'a';"
	           "CREATE DOMAIN bb_live.short AS varchar(7); CREATE DOMAIN bb_live.shorter AS bb_live.short CHECK (value <> '');"
	           "CREATE TYPE bb_live.pair AS (x int); CREATE DOMAIN bb_live.feels AS bb_live.feel[];"
	           "CREATE COLLATION bb_live.\"my \"\"c\" (locale = 'C');"
	           "CREATE TABLE bb_live.typed (id int PRIMARY KEY, f bb_live.feel[], d bb_live.shorter, p bb_live.pair,"
	           " t text, c text COLLATE \"C\", m bb_live.shorter[] COLLATE bb_live.\"my \"\"c\", fs bb_live.feels, n name,"
	           " s information_schema.sql_identifier, po point)");
	struct pg_table *t = lookup("typed");
	const struct pg_column *f = &t->columns[pg_table_column(t, "f", 1)];
	const struct pg_type *array = pg_table_type(t, f->type_oid);
	CHECK(array != NULL && array->kind == 'b' && array->elem_oid != 0);
	const struct pg_type *feel = array != NULL ? pg_table_type(t, array->elem_oid) : NULL;
	CHECK(feel != NULL && feel->kind == 'e' && feel->nlabels == 3 && feel->elem_oid == 0);
	if (feel != NULL && feel->nlabels == 3) {
		CHECK_STR(feel->schema, "bb_live");
		CHECK_STR(feel->name, "feel");
		CHECK_STR(feel->labels[0], "b");
		CHECK_STR(feel->labels[1], "o'k");
	}
	const struct pg_type *shorter = pg_table_type(t, t->columns[pg_table_column(t, "d", 1)].type_oid);
	const struct pg_type *below = shorter != NULL ? pg_table_type(t, shorter->base_oid) : NULL;
	CHECK(shorter != NULL && shorter->kind == 'd');
	CHECK(below != NULL && below->base_oid == 1043 && below->base_typmod == 11);
	const struct pg_type *feels = pg_table_type(t, t->columns[pg_table_column(t, "fs", 2)].type_oid);
	CHECK(feels != NULL && feels->kind == 'd' && feels->elem_oid == 0 && feels->base_oid == f->type_oid);
	const struct pg_type *pair = pg_table_type(t, t->columns[pg_table_column(t, "p", 1)].type_oid);
	CHECK(pair != NULL && pair->kind == 'c');
	const struct pg_type *identifier = pg_table_type(t, t->columns[pg_table_column(t, "s", 1)].type_oid);
	CHECK(identifier != NULL && identifier->base_oid == 19);
	CHECK(pg_table_type(t, 600) == NULL && pg_table_type(t, 25) == NULL);

	CHECK_INT(t->columns[0].collation, -1);
	CHECK_INT(t->columns[pg_table_column(t, "t", 1)].collation, 0);
	CHECK_INT(t->columns[pg_table_column(t, "d", 1)].collation, 0);
	CHECK_STR(t->collations[t->columns[pg_table_column(t, "c", 1)].collation].name, "C");
	CHECK_STR(t->collations[t->columns[pg_table_column(t, "n", 1)].collation].collate, "C");
	const struct pg_collation *mine = &t->collations[t->columns[pg_table_column(t, "m", 1)].collation];
	CHECK_STR(mine->name, "my \"c");
	CHECK_STR(mine->schema, "bb_live");
	CHECK_STR(mine->ctype, "C");
	CHECK(mine->provider == 'c' && mine->deterministic);
	const struct pg_collation *db = &t->collations[0];
	CHECK_INT(db->oid, 100);
	CHECK_STR(db->name, "default");
	CHECK_STR(db->collate, value(admin, "SELECT coalesce(j->>'datlocale', j->>'daticulocale', j->>'datcollate') FROM"
	                                    " (SELECT to_jsonb(d) AS j FROM pg_database d WHERE datname = current_database()) x"));
	CHECK_STR(db->version != NULL ? db->version : "none",
	          value(admin, "SELECT coalesce(to_jsonb(d)->>'datcollversion', 'none') FROM pg_database d WHERE datname = current_database()"));

	struct err e;
	static const char *const changes[] = {
		"ALTER TYPE bb_live.feel ADD VALUE 'new'",
		"ALTER TYPE bb_live.feel RENAME VALUE 'b' TO 'bb'",
		"ALTER DOMAIN bb_live.short RENAME TO shirt",
		"ALTER TYPE bb_live.pair ADD ATTRIBUTE f bb_live.feel",
		"ALTER TYPE bb_live.pair RENAME ATTRIBUTE x TO y",
		"ALTER TYPE bb_live.pair DROP ATTRIBUTE f",
		"ALTER TABLE bb_live.typed ALTER t TYPE text COLLATE \"POSIX\"",
	};
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		struct pg_table *now = NULL;
		run(admin, changes[i]);
		CHECK_INT(pg_catalog_lookup_oid(admin, t->oid, &now, &e), 0);
		if (!CHECK(!pg_table_same_columns(t, now)))
			printf("  %s: not noticed\n", changes[i]);
		pg_table_unref(t);
		t = now;
	}
	struct pg_table *now = NULL, *stored = NULL;
	struct buf json = BUF_INIT(1 << 20);
	run(admin, "ALTER DOMAIN bb_live.shirt SET DEFAULT 'x'");
	CHECK_INT(pg_catalog_lookup_oid(admin, t->oid, &now, &e), 0);
	CHECK(pg_table_same_columns(t, now));
	pg_table_to_json(now, &json);
	CHECK_INT(pg_table_from_json(json.data, json.len, &stored, &e), 0);
	CHECK(pg_table_same_columns(t, stored));
	pg_table_unref(stored);
	pg_table_unref(now);
	pg_table_unref(t);
	buf_clear(&json);
}

/* Whether the transaction of `other` may have given `oid` a partition or child, as far as others can tell. */
static bool is_unseen_parent(uint32_t oid, int *count)
{
	uint32_t *parents, xid = (uint32_t)strtoull(value(other, "SELECT pg_catalog.pg_current_xact_id()"), NULL, 10);
	struct err e;
	bool found = false;
	*count = pg_catalog_unseen_parents(admin, xid, &parents, &e);
	if (!CHECK(*count >= 0))
		return false;
	for (int i = 0; i < *count; i++)
		found = found || parents[i] == oid;
	free(parents);
	return found;
}

static void test_unseen_parents(void)
{
	run(admin, "CREATE TABLE bb_live.tree (id int, k int) PARTITION BY LIST (k);"
	           "CREATE TABLE bb_live.branch PARTITION OF bb_live.tree FOR VALUES IN (1) PARTITION BY RANGE (id);"
	           "CREATE TABLE bb_live.twig PARTITION OF bb_live.branch FOR VALUES FROM (0) TO (10);"
	           "CREATE TABLE bb_live.loose (id int, k int); CREATE TABLE bb_live.elder (id int);"
	           "CREATE TABLE bb_live.middle (id int); CREATE TABLE bb_live.young () INHERITS (bb_live.middle)");
	struct pg_table *tree = lookup("tree"), *elder = lookup("elder");
	const struct {
		const char *sql;
		const struct pg_table *parent;
	} makes[] = {
		{"CREATE TABLE bb_live.leaf PARTITION OF bb_live.tree FOR VALUES IN (2)", tree},
		{"CREATE TABLE bb_live.leaf PARTITION OF bb_live.branch FOR VALUES FROM (10) TO (20)", tree},
		{"CREATE TABLE bb_live.limb PARTITION OF bb_live.branch DEFAULT PARTITION BY LIST (k);"
		 "CREATE TABLE bb_live.leaf PARTITION OF bb_live.limb DEFAULT", tree},
		{"ALTER TABLE bb_live.tree ATTACH PARTITION bb_live.loose FOR VALUES IN (3)", tree},
		{"SAVEPOINT s; ALTER TABLE bb_live.branch ATTACH PARTITION bb_live.loose DEFAULT; RELEASE s", tree},
		{"CREATE TABLE bb_live.leaf () INHERITS (bb_live.elder)", elder},
		{"ALTER TABLE bb_live.middle INHERIT bb_live.elder", elder},
	};
	int n;
	for (size_t i = 0; i < ARRAY_LEN(makes); i++) {
		run(other, "BEGIN");
		run(other, makes[i].sql);
		if (!CHECK(is_unseen_parent(makes[i].parent->oid, &n)))
			printf("  after %s\n", makes[i].sql);
		run(other, "ROLLBACK");
	}
	/* rows alone make nobody wait, nor does what has ended */
	run(other, "BEGIN; INSERT INTO bb_live.tree VALUES (1, 1); DELETE FROM bb_live.elder; SELECT FROM bb_live.loose FOR UPDATE");
	CHECK(!is_unseen_parent(tree->oid, &n));
	CHECK_INT(n, 0);
	run(other, "ROLLBACK; CREATE TABLE bb_live.leaf PARTITION OF bb_live.tree FOR VALUES IN (2)");
	CHECK(!is_unseen_parent(tree->oid, &n));
	CHECK_INT(n, 0);
	pg_table_unref(tree);
	pg_table_unref(elder);
}

static void test_partitions(void)
{
	run(admin, "CREATE TABLE bb_live.root (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);"
	           "CREATE TABLE bb_live.p1 PARTITION OF bb_live.root FOR VALUES IN (1);"
	           "CREATE TABLE bb_live.p2 PARTITION OF bb_live.root FOR VALUES IN (2) PARTITION BY RANGE (id);"
	           "CREATE TABLE bb_live.p2a PARTITION OF bb_live.p2 FOR VALUES FROM (0) TO (10);"
	           "CREATE TABLE bb_live.parent (id int PRIMARY KEY); CREATE TABLE bb_live.child (x int) INHERITS (bb_live.parent);"
	           "CREATE TABLE bb_live.grandchild () INHERITS (bb_live.child)");
	struct pg_table *root = lookup("root"), *p2a = lookup("p2a"), *p2 = lookup("p2");
	CHECK_INT(root->relkind, 'p');
	CHECK_INT(root->nleaves, 3);
	CHECK_INT(root->npk, 2);
	uint32_t up[4];
	struct err e;
	CHECK_INT(pg_catalog_ancestors(admin, p2a->oid, up, 4, &e), 2);
	CHECK(up[0] == p2->oid && up[1] == root->oid);
	CHECK_INT(pg_catalog_ancestors(admin, p2a->oid, up, 1, &e), 1);
	CHECK_INT(pg_catalog_ancestors(admin, root->oid, up, 4, &e), 0);

	/* all get FULL, the root alone is listed */
	struct pg_join first, again;
	CHECK_INT(join(root, NULL, &first, &e), 0);
	CHECK(first.added_by_us);
	CHECK_STR(value(admin, "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relreplident = 'f'"
	                       " AND relnamespace = 'bb_live'::regnamespace"), "p1 p2 p2a root");
	CHECK_STR(value(admin, "SELECT string_agg(prrelid::regclass::text, ' ') FROM pg_publication_rel r JOIN pg_publication p"
	                       " ON p.oid = prpubid WHERE pubname = 'bb_live_pub'"), "bb_live.root");
	/* a new leaf: known, but something to do */
	run(admin, "CREATE TABLE bb_live.p3 PARTITION OF bb_live.root FOR VALUES IN (3)");
	CHECK_INT(join_as(admin, OLD_MINOR, root, &first, &again, &e), 0);
	CHECK(again.added_by_us && again.publication_rel_oid == first.publication_rel_oid);
	CHECK_STR(value(admin, "SELECT relreplident FROM pg_class WHERE oid = 'bb_live.p3'::regclass"), "f");

	/* a leaf that is published through its root: enough in manual mode, unless changes come as the root's */
	config.manual_table_publishing = true;
	CHECK_INT(join(p2a, NULL, &again, &e), 0);
	CHECK(again.publication_rel_oid == first.publication_rel_oid && !again.added_by_us);
	uint32_t oids[] = {p2a->oid, root->oid, 1}, rel[3];
	for (int i = 0; i < 3; i++)
		CHECK_INT(pg_publication_check(admin, &config, oids[i], &rel[i], &e), 0);
	CHECK(rel[0] == first.publication_rel_oid && rel[1] == first.publication_rel_oid && rel[2] == 0);
	run(admin, "ALTER PUBLICATION bb_live_pub SET (publish_via_partition_root = true)");
	CHECK_INT(join(p2a, NULL, &again, &e), -1);
	CHECK(e.kind == ERR_CONFIG && strstr(e.text, "publish_via_partition_root") != NULL);
	run(admin, "ALTER PUBLICATION bb_live_pub SET (publish_via_partition_root = false)");
	config.manual_table_publishing = false;
	CHECK_INT(join(p2a, NULL, &again, &e), 0);
	CHECK(again.publication_rel_oid != first.publication_rel_oid && again.added_by_us);

	/* inheritance: children are listed each */
	struct pg_table *parent = lookup("parent");
	CHECK_INT(parent->nleaves, 2);
	CHECK_INT(join(parent, NULL, &again, &e), 0);
	CHECK_STR(value(admin, "SELECT count(*) FROM pg_publication_rel JOIN pg_class c ON c.oid = prrelid"
	                       " WHERE relname IN ('parent', 'child', 'grandchild') AND relreplident = 'f'"), "3");
	run(admin, "ALTER PUBLICATION bb_live_pub DROP TABLE ONLY bb_live.grandchild");
	CHECK_INT(join(parent, &again, &first, &e), 0);
	CHECK(first.publication_rel_oid == again.publication_rel_oid);
	CHECK_STR(value(admin, "SELECT count(*) FROM pg_publication_rel JOIN pg_class c ON c.oid = prrelid"
	                       " WHERE relname = 'grandchild'"), "1");
	pg_table_unref(parent);
	pg_table_unref(p2a);
	pg_table_unref(p2);

	/* rows that could never be streamed */
	run(admin, "CREATE UNLOGGED TABLE bb_live.p4 PARTITION OF bb_live.root FOR VALUES IN (4)");
	run(admin, "ALTER TABLE bb_live.p1 REPLICA IDENTITY DEFAULT");
	CHECK_INT(look(root, &e), -1);
	CHECK(e.kind == ERR_CONFIG && strstr(e.text, "bb_live.p4") != NULL);
	CHECK_INT(join(root, NULL, &again, &e), -1);
	CHECK(e.kind == ERR_CONFIG && strstr(e.text, "bb_live.p4") != NULL);
	CHECK_STR(value(admin, "SELECT relreplident FROM pg_class WHERE oid = 'bb_live.p1'::regclass"), "d");
	pg_table_unref(root);
}

/* ---- joining ---- */

/* Statements that begin with `tag` fail, until may_all(). */
static void may_not(const char *tag)
{
	char text[300];
	run(admin, "CREATE OR REPLACE FUNCTION bb_live.no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not now'; END$$");
	snprintf(text, sizeof text, "CREATE EVENT TRIGGER bb_live_no ON ddl_command_end WHEN TAG IN ('%s') EXECUTE FUNCTION bb_live.no()", tag);
	run(admin, text);
}

static void may_all(void) { run(admin, "DROP EVENT TRIGGER bb_live_no"); }

/* Cut in between, a table is FULL and not published, never the other way round: users' UPDATEs of one without a key would fail. */
static void test_full_before_published(void)
{
	run(admin, "CREATE TABLE bb_live.cut (v text)");
	run(admin, "INSERT INTO bb_live.cut VALUES ('a')");
	struct pg_table *t = lookup("cut");
	struct pg_join j;
	struct err e;
	uint32_t rel;
	may_not("ALTER TABLE");
	CHECK_INT(join(t, NULL, &j, &e), -1);
	may_all();
	CHECK_INT(pg_publication_check(admin, &config, t->oid, &rel, &e), 0);
	CHECK_INT(rel, 0);
	run(admin, "UPDATE bb_live.cut SET v = 'b'");
	may_not("ALTER PUBLICATION");
	CHECK_INT(join(t, NULL, &j, &e), -1);
	may_all();
	CHECK_STR(value(admin, "SELECT relreplident FROM pg_class WHERE oid = 'bb_live.cut'::regclass"), "f");
	run(admin, "UPDATE bb_live.cut SET v = 'c'");
	CHECK_INT(join(t, NULL, &j, &e), 0);
	CHECK(j.added_by_us);
	run(admin, "UPDATE bb_live.cut SET v = 'd'");
	CHECK_INT(pg_publication_leave(admin, &config, t, &e), 0);
	run(admin, "DROP TABLE bb_live.cut");
	pg_table_unref(t);
}

static void test_join_and_leave(void)
{
	run(admin, "CREATE TABLE bb_live.items (id int PRIMARY KEY, v text)");
	struct pg_table *t = lookup("items");
	struct pg_join j, known;
	struct err e;
	CHECK_INT(look(t, &e), 0);
	CHECK_STR(value(admin, "SELECT relreplident FROM pg_class WHERE oid = 'bb_live.items'::regclass"), "d");
	config.manual_table_publishing = true;
	CHECK_INT(look(t, &e), -1);
	CHECK(e.kind == ERR_CONFIG && strstr(e.text, "is missing from the publication") != NULL);
	config.manual_table_publishing = false;
	CHECK_INT(join(t, NULL, &known, &e), 0);
	CHECK(known.added_by_us && known.publication_rel_oid != 0);
	CHECK_STR(value(admin, "SELECT relreplident FROM pg_class WHERE oid = 'bb_live.items'::regclass"), "f");
	uint32_t rel;
	CHECK_INT(pg_publication_check(admin, &config, t->oid, &rel, &e), 0);
	CHECK_INT(rel, known.publication_rel_oid);
	/* nothing known: not ours */
	CHECK_INT(join(t, NULL, &j, &e), 0);
	CHECK(!j.added_by_us && j.publication_rel_oid == known.publication_rel_oid);
	CHECK_INT(join(t, &known, &j, &e), 0);
	CHECK(j.added_by_us && j.publication_rel_oid == known.publication_rel_oid);

	CHECK_INT(pg_publication_leave(admin, &config, t, &e), 0);
	CHECK_INT(pg_publication_check(admin, &config, t->oid, &rel, &e), 0);
	CHECK_INT(rel, 0);
	CHECK_INT(pg_publication_leave(admin, &config, t, &e), 0);
	CHECK_INT(join(t, &known, &j, &e), 0);
	CHECK(j.added_by_us && j.publication_rel_oid != known.publication_rel_oid);

	/* a filter loses rows: taken away where we may */
	if (PQserverVersion(admin) >= 150000) {
		run(admin, "ALTER PUBLICATION bb_live_pub SET TABLE bb_live.items WHERE (id > 5)");
		config.manual_table_publishing = true;
		CHECK_INT(join(t, NULL, &j, &e), -1);
		CHECK(e.kind == ERR_CONFIG && strstr(e.text, "row filter") != NULL);
		const char *sql = strstr(e.text, "BEGIN; ");
		if (CHECK(sql != NULL))
			run(admin, sql); /* what it says to run mends it */
		CHECK_INT(join(t, NULL, &j, &e), 0);
		run(admin, "ALTER PUBLICATION bb_live_pub SET TABLE bb_live.items WHERE (id > 5)");
		config.manual_table_publishing = false;
		CHECK_INT(join(t, NULL, &j, &e), 0);
		CHECK_STR(value(admin, "SELECT count(*) FROM pg_publication_rel WHERE prqual IS NOT NULL"), "0");
	}

	/* renamed: left by its name of today, not joined */
	run(admin, "ALTER TABLE bb_live.items RENAME TO moved");
	CHECK_INT(join(t, &j, &known, &e), -1);
	CHECK_INT(e.kind, ERR_NOT_FOUND);
	CHECK_INT(pg_publication_leave(admin, &config, t, &e), 0);
	CHECK_INT(pg_publication_check(admin, &config, t->oid, &rel, &e), 0);
	CHECK_INT(rel, 0);
	run(admin, "DROP TABLE bb_live.moved");
	CHECK_INT(join(t, &j, &known, &e), -1);
	CHECK_INT(e.kind, ERR_NOT_FOUND);
	CHECK_INT(pg_publication_leave(admin, &config, t, &e), 0);
	pg_table_unref(t);

	/* FOR ALL TABLES, and by schema */
	run(admin, "CREATE TABLE bb_live.alls (id int PRIMARY KEY); CREATE PUBLICATION bb_live_all FOR ALL TABLES");
	t = lookup("alls");
	struct config all = config;
	all.publication_name = mem_strdup("bb_live_all");
	CHECK_INT(pg_publication_join(admin, &all, OLD_MINOR, t, NULL, NULL, NULL, &j, &e), 0);
	CHECK(!j.added_by_us);
	check_ground(&all, t, &j);
	CHECK_STR(value(admin, "SELECT relreplident FROM pg_class WHERE oid = 'bb_live.alls'::regclass"), "f");
	CHECK_INT(pg_publication_check(admin, &all, t->oid, &rel, &e), 0);
	CHECK(rel == j.publication_rel_oid && rel == strtoul(value(admin, "SELECT oid FROM pg_publication WHERE pubname = 'bb_live_all'"), NULL, 10));
	run(admin, "DROP PUBLICATION bb_live_all");
	if (PQserverVersion(admin) >= 150000) {
		run(admin, "CREATE PUBLICATION bb_live_all FOR TABLES IN SCHEMA bb_live");
		CHECK_INT(pg_publication_join(admin, &all, NEW_MINOR, t, NULL, NULL, NULL, &j, &e), 0);
		CHECK_INT(pg_publication_check(admin, &all, t->oid, &rel, &e), 0);
		CHECK(rel == j.publication_rel_oid && !j.added_by_us && rel != 0);
		check_ground(&all, t, &j);
		run(admin, "DROP PUBLICATION bb_live_all");
	}
	run(admin, "CREATE PUBLICATION bb_live_all WITH (publish = 'insert')");
	CHECK_INT(pg_publication_join(admin, &all, NEW_MINOR, t, NULL, NULL, NULL, &j, &e), -1);
	CHECK_STR(e.text, "Publication \"bb_live_all\" does not publish all required operations: INSERT, UPDATE, DELETE, TRUNCATE. Run, "
	                  "as its owner: ALTER PUBLICATION \"bb_live_all\" SET (publish = 'insert, update, delete, truncate')");
	run(admin, "DROP PUBLICATION bb_live_all");
	CHECK_INT(pg_publication_join(admin, &all, NEW_MINOR, t, NULL, NULL, NULL, &j, &e), -1);
	CHECK(strstr(e.text, "Publication \"bb_live_all\" not found in the database. Run, as the database's owner: CREATE PUBLICATION "
	                     "\"bb_live_all\"; ALTER") == e.text);
	CHECK_INT(e.kind, ERR_CONFIG);
	free(all.publication_name);
	pg_table_unref(t);
}

/* docs/invariants.md 6.1, with a table that was FULL already, so that no exclusive lock hides the writer. */
static void test_waits_for_writers(void)
{
	run(admin, "CREATE TABLE bb_live.w (id int PRIMARY KEY); ALTER TABLE bb_live.w REPLICA IDENTITY FULL;"
	           "CREATE TABLE bb_live.unrelated (id int)");
	struct pg_table *t = lookup("w");
	struct job job;
	struct err e;
	uint32_t rel;
	run(other, "BEGIN; INSERT INTO bb_live.w VALUES (1)");
	job_start(&job, t, NULL);
	CHECK(job_waits(&job));
	CHECK_INT(pg_publication_check(admin, &config, t->oid, &rel, &e), 0);
	CHECK(rel != 0); /* published, and waiting */
	/* a transaction that came later isn't waited for */
	PGconn *later = connect_db();
	run(later, "BEGIN; INSERT INTO bb_live.w VALUES (2)");
	run(other, "COMMIT");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	CHECK(job.out.added_by_us && job.out.publication_rel_oid == rel);

	/* known: no waiting although a writer is there; a known that isn't true: waiting; so it does in manual mode */
	struct pg_join out, stale = {.publication_rel_oid = 1};
	CHECK_INT(join(t, &job.out, &out, &e), 0);
	job_start(&job, t, &stale);
	CHECK(job_waits(&job));
	atomic_store(&job.cancel, true);
	job_end(&job);
	CHECK_INT(job.e.kind, ERR_CANCELLED);
	config.manual_table_publishing = true;
	job_start(&job, t, NULL);
	CHECK(job_waits(&job));
	run(later, "ROLLBACK");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	config.manual_table_publishing = false;

	/* looking after it waits for nobody, and leaves that to the next join */
	struct pg_join kept;
	CHECK_INT(keep(t, &out, &kept, &e), 0);
	CHECK(kept.publication_xmin == out.publication_xmin && kept.publication_rel_oid == out.publication_rel_oid && kept.added_by_us);
	run(later, "BEGIN; INSERT INTO bb_live.w VALUES (5)");
	run(admin, "ALTER PUBLICATION bb_live_pub SET (publish = 'insert, update, delete, truncate')");
	CHECK_INT(keep(t, &out, &kept, &e), 0);
	CHECK(kept.publication_xmin == 0 && kept.publication_rel_oid == out.publication_rel_oid && kept.added_by_us);
	job_start(&job, t, &kept);
	CHECK(job_waits(&job));
	run(later, "COMMIT");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	CHECK(job.out.publication_xmin != 0 && job.out.publication_xmin != out.publication_xmin && job.out.added_by_us);

	/* a lock without an xid counts, an xid without a lock doesn't: whatever it writes here comes later */
	run(later, "BEGIN; DELETE FROM bb_live.w WHERE false");
	job_start(&job, t, NULL);
	CHECK(job_waits(&job));
	run(later, "COMMIT; BEGIN; INSERT INTO bb_live.unrelated VALUES (1)");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	CHECK_INT(join(t, NULL, &out, &e), 0);
	run(later, "COMMIT");

	/* a subtransaction that wrote, and one that was given up */
	run(later, "BEGIN; INSERT INTO bb_live.unrelated VALUES (2); SAVEPOINT s; INSERT INTO bb_live.w VALUES (7); RELEASE s");
	job_start(&job, t, NULL);
	CHECK(job_waits(&job));
	run(later, "COMMIT; BEGIN; SAVEPOINT s; INSERT INTO bb_live.w VALUES (8); ROLLBACK TO s; INSERT INTO bb_live.unrelated VALUES (3)");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	CHECK_INT(join(t, NULL, &out, &e), 0);
	run(later, "COMMIT");

	/* a partition that was written to, and one that nobody sees yet, of a partition */
	run(admin, "CREATE TABLE bb_live.wp (id int, k int) PARTITION BY LIST (k); ALTER TABLE bb_live.wp REPLICA IDENTITY FULL;"
	           "CREATE TABLE bb_live.wp_1 PARTITION OF bb_live.wp FOR VALUES IN (1) PARTITION BY RANGE (id);"
	           "CREATE TABLE bb_live.wp_11 PARTITION OF bb_live.wp_1 FOR VALUES FROM (0) TO (10);"
	           "ALTER TABLE bb_live.wp_1 REPLICA IDENTITY FULL; ALTER TABLE bb_live.wp_11 REPLICA IDENTITY FULL");
	struct pg_table *p = lookup("wp");
	run(later, "BEGIN; INSERT INTO bb_live.wp_11 VALUES (1, 1)");
	job_start(&job, p, NULL);
	CHECK(job_waits(&job));
	run(later, "COMMIT");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	CHECK_INT(pg_publication_leave(admin, &config, p, &e), 0);
	run(later, "BEGIN; CREATE TABLE bb_live.wp_12 PARTITION OF bb_live.wp_1 FOR VALUES FROM (10) TO (20);"
	           "INSERT INTO bb_live.wp_12 VALUES (11, 1)");
	job_start(&job, p, NULL);
	CHECK(job_waits(&job));
	run(later, "COMMIT; ALTER TABLE bb_live.wp_12 REPLICA IDENTITY FULL");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	/* and one that came since the table was looked up; vacuuming isn't writing */
	run(later, "BEGIN; INSERT INTO bb_live.wp_12 VALUES (12, 1)");
	job_start(&job, p, NULL);
	CHECK(job_waits(&job));
	run(later, "COMMIT; BEGIN; LOCK TABLE bb_live.wp_12 IN SHARE UPDATE EXCLUSIVE MODE");
	job_end(&job);
	CHECK_INT(job.rc, 0);
	CHECK_INT(join(p, NULL, &out, &e), 0);
	run(later, "COMMIT");
	pg_table_unref(p);

	/* readers and their snapshots don't count */
	run(later, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM bb_live.w");
	CHECK_INT(join(t, NULL, &out, &e), 0);
	run(later, "COMMIT");

	/* prepared transactions, one that is prepared while we wait and one that was */
	if (atoi(value(admin, "SHOW max_prepared_transactions")) > 0) {
		run(other, "BEGIN; INSERT INTO bb_live.w VALUES (3)");
		job_start(&job, t, NULL);
		CHECK(job_waits(&job));
		run(other, "PREPARE TRANSACTION 'bb_live_1'");
		CHECK(job_waits(&job));
		run(admin, "COMMIT PREPARED 'bb_live_1'");
		job_end(&job);
		CHECK_INT(job.rc, 0);
		run(other, "BEGIN; INSERT INTO bb_live.w VALUES (4); PREPARE TRANSACTION 'bb_live_2'");
		job_start(&job, t, NULL);
		CHECK(job_waits(&job));
		if (getenv("BUSBAR_TEST_SLOW") != NULL) {
			run(other, "BEGIN; INSERT INTO bb_live.w VALUES (5)");
			struct job slow;
			job_start(&slow, t, NULL);
			job_end(&slow);
			CHECK_INT(slow.rc, -1);
			CHECK_INT(slow.e.kind, ERR_TIMEOUT);
			printf("  %s\n", slow.e.text);
			char pid[32];
			snprintf(pid, sizeof pid, "pid %d (idle in transaction)", PQbackendPID(other));
			CHECK(strstr(slow.e.text, pid) != NULL);
			CHECK(strstr(slow.e.text, "prepared transaction \"bb_live_2\"") != NULL);
			CHECK(strstr(strstr(slow.e.text, "pid ") + 1, "pid ") == NULL);
			run(other, "ROLLBACK");
		}
		run(admin, "ROLLBACK PREPARED 'bb_live_2'");
		job_end(&job);
		CHECK_INT(job.rc, getenv("BUSBAR_TEST_SLOW") != NULL ? -1 : 0);
	}
	PQfinish(later);
	pg_table_unref(t);
}

static void test_lock_timeout(void)
{
	run(admin, "CREATE TABLE bb_live.busy (id int PRIMARY KEY)");
	struct pg_table *t = lookup("busy");
	struct pg_join out;
	struct err e;
	run(other, "BEGIN; LOCK TABLE bb_live.busy IN ROW EXCLUSIVE MODE");
	int64_t from_ms = clock_mono_ms();
	CHECK_INT(join(t, NULL, &out, &e), -1);
	int64_t took_ms = clock_mono_ms() - from_ms;
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK_STR(e.text, "Snapshot timed out while waiting for a table lock: others hold one on \"bb_live.busy\"");
	CHECK(took_ms >= PUB_JOIN_MAX_MS - 2 * PUB_LOCK_TIMEOUT_MS && took_ms < PUB_JOIN_MAX_MS + 2000);
	CHECK(PQtransactionStatus(admin) == PQTRANS_IDLE);
	run(other, "COMMIT");
	CHECK_INT(join(t, NULL, &out, &e), 0);
	pg_table_unref(t);
}

static void test_cannot_alter(void)
{
	run(admin, "CREATE TABLE bb_live.hands (id int PRIMARY KEY); GRANT SELECT ON bb_live.hands TO bb_live_role");
	struct pg_table *t = lookup("hands");
	struct pg_join out;
	struct err e;
	config.manual_table_publishing = true;
	CHECK_INT(join(t, NULL, &out, &e), -1);
	CHECK_STR(e.text, "Database table \"bb_live.hands\" is missing from the publication \"bb_live_pub\" and the "
	                  "ELECTRIC_MANUAL_TABLE_PUBLISHING setting prevents Electric from adding it. Run, as the owner: ALTER PUBLICATION "
	                  "\"bb_live_pub\" ADD TABLE \"bb_live\".\"hands\"");
	CHECK_INT(e.kind, ERR_CONFIG);
	run(admin, "ALTER PUBLICATION bb_live_pub ADD TABLE bb_live.hands");
	CHECK_INT(join(t, NULL, &out, &e), -1);
	CHECK_STR(e.text, "Database table \"bb_live.hands\" does not have its replica identity set to FULL. Run, as the owner: "
	                  "ALTER TABLE \"bb_live\".\"hands\" REPLICA IDENTITY FULL");
	CHECK_STR(value(admin, "SELECT relreplident FROM pg_class WHERE oid = 'bb_live.hands'::regclass"), "d");
	CHECK_INT(pg_publication_leave(admin, &config, t, &e), 0);
	run(admin, "ALTER TABLE bb_live.hands REPLICA IDENTITY FULL");
	CHECK_INT(join(t, NULL, &out, &e), 0);
	CHECK(!out.added_by_us && out.publication_rel_oid != 0);
	config.manual_table_publishing = false;

	/* neither owns the publication nor the table */
	run(admin, "ALTER PUBLICATION bb_live_pub DROP TABLE bb_live.hands; ALTER TABLE bb_live.hands REPLICA IDENTITY DEFAULT");
	run(other, "SET ROLE bb_live_role");
	CHECK_INT(join_as(other, NEW_MINOR, t, NULL, &out, &e), -1);
	CHECK_STR(e.text, "Database table \"bb_live.hands\" is missing from the publication \"bb_live_pub\" and Electric lacks "
	                  "privileges to add it. Run, as the owner: ALTER PUBLICATION \"bb_live_pub\" ADD TABLE \"bb_live\".\"hands\"");
	run(admin, "ALTER PUBLICATION bb_live_pub ADD TABLE bb_live.hands");
	CHECK_INT(join_as(other, NEW_MINOR, t, NULL, &out, &e), -1);
	CHECK_STR(e.text, "Database table \"bb_live.hands\" does not have its replica identity set to FULL. Run, as the owner: "
	                  "ALTER TABLE \"bb_live\".\"hands\" REPLICA IDENTITY FULL");
	run(admin, "ALTER TABLE bb_live.hands REPLICA IDENTITY FULL");
	CHECK_INT(join_as(other, NEW_MINOR, t, NULL, &out, &e), 0);

	/* owns the publication, not the table */
	run(admin, "ALTER PUBLICATION bb_live_pub DROP TABLE bb_live.hands; ALTER TABLE bb_live.hands REPLICA IDENTITY DEFAULT;"
	           "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO bb_live_role', current_database()); END $$;"
	           "ALTER PUBLICATION bb_live_pub OWNER TO bb_live_role");
	CHECK_INT(join_as(other, NEW_MINOR, t, NULL, &out, &e), -1);
	CHECK_STR(e.text, "Unable to create initial snapshot: must be owner of table hands");
	CHECK_STR(e.sqlstate, "42501");
	run(admin, "ALTER TABLE bb_live.hands REPLICA IDENTITY FULL");
	CHECK_INT(join_as(other, NEW_MINOR, t, NULL, &out, &e), -1);
	CHECK_STR(e.text, "Unable to create initial snapshot: must be owner of table hands");
	CHECK(PQtransactionStatus(other) == PQTRANS_IDLE);
	run(other, "RESET ROLE");
	run(admin, "ALTER PUBLICATION bb_live_pub OWNER TO CURRENT_USER; "
	           "DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM bb_live_role', current_database()); END $$");
	pg_table_unref(t);
}

/* docs/invariants.md 6.2 */
static void test_old_minor(void)
{
	run(admin, "CREATE TABLE bb_live.old (id int PRIMARY KEY)");
	struct pg_table *t = lookup("old");
	struct pg_join first, out;
	struct err e;
	CHECK_INT(join(t, NULL, &first, &e), 0);
	CHECK_INT(join_as(admin, OLD_MINOR, t, &first, &out, &e), 0); /* known: left alone */
	CHECK(out.publication_rel_oid == first.publication_rel_oid);
	CHECK_INT(join_as(admin, OLD_MINOR, t, NULL, &out, &e), 0);
	CHECK(out.publication_rel_oid != first.publication_rel_oid);
	CHECK(!out.added_by_us);
	uint32_t rel;
	CHECK_INT(pg_publication_check(admin, &config, t->oid, &rel, &e), 0);
	CHECK_INT(rel, out.publication_rel_oid);
	run(admin, "ALTER PUBLICATION bb_live_pub DROP TABLE bb_live.old");
	CHECK_INT(join_as(admin, OLD_MINOR, t, NULL, &out, &e), 0);
	CHECK(out.added_by_us);

	config.manual_table_publishing = true;
	for (int i = 0; i < 2; i++) {
		CHECK_INT(join_as(admin, OLD_MINOR, t, NULL, &out, &e), -1);
		CHECK_INT(e.kind, ERR_CONFIG);
		CHECK(strstr(e.text, "BEGIN; ALTER PUBLICATION \"bb_live_pub\" DROP TABLE ONLY \"bb_live\".\"old\"; "
		                     "ALTER PUBLICATION \"bb_live_pub\" ADD TABLE ONLY \"bb_live\".\"old\"; COMMIT;") != NULL);
	}
	printf("  %s\n", e.text);
	run(admin, strstr(e.text, "BEGIN;"));
	CHECK_INT(join_as(admin, OLD_MINOR, t, NULL, &out, &e), 0);
	CHECK_INT(join_as(admin, OLD_MINOR, t, &out, &first, &e), 0);
	config.manual_table_publishing = false;
	pg_table_unref(t);
}

/* ---- snapshots ---- */

struct rows {
	int n, stop_at;
	struct buf text; /* values separated by | and rows by newline */
	int ncolumns;
};

static int put_row(void *ctx, const struct pg_copy_value *values, struct err *e)
{
	struct rows *r = ctx;
	if (++r->n == r->stop_at)
		return err_set(e, ERR_LIMIT, "stopped by the row function");
	for (int i = 0; i < r->ncolumns && r->text.len < 4000; i++) {
		if (i > 0)
			buf_putc(&r->text, '|');
		if (PG_COPY_IS_NULL(values[i]))
			buf_puts(&r->text, "NULL");
		else
			pg_copy_json(&r->text, values[i]);
	}
	buf_putc(&r->text, '\n');
	return 0;
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static bool always(void *ctx)
{
	(void)ctx;
	return true;
}

static int copy(PGconn *conn, const struct pg_table *t, struct rows *r, const char *where_sql, bool (*cancelled)(void *), struct err *e)
{
	uint16_t all[16];
	r->ncolumns = t->ncolumns;
	for (uint16_t i = 0; i < t->ncolumns; i++)
		all[i] = i;
	r->n = 0;
	buf_clear(&r->text);
	buf_init(&r->text, 1 << 20);
	buf_puts(&r->text, "");
	return pg_snapshot_copy(conn, t, all, t->ncolumns, where_sql, put_row, r, cancelled, NULL, e);
}

/* One table; until the next call. */
static struct pg_snapshot_tables *only(const struct pg_table *t)
{
	static struct pg_snapshot_tables tables[4]; /* some are used by threads */
	static struct pg_table *list[4];
	static atomic_uint next;
	unsigned i = atomic_fetch_add(&next, 1) % 4;
	list[i] = (struct pg_table *)t;
	tables[i] = (struct pg_snapshot_tables){.list = &list[i], .n = 1};
	return &tables[i];
}

static void test_snapshot(void)
{
	run(admin, "CREATE TABLE bb_live.snap (id int PRIMARY KEY, v text, b bool, ts timestamptz, i interval, f float8, y bytea);"
	           "INSERT INTO bb_live.snap VALUES (1, E'a\\tb\\n\"\\\\\\x0B\\x01', true, '2024-01-31 12:00+02', '1 day 2 hours', 0.1, 'a'),"
	           " (2, NULL, NULL, NULL, NULL, 'NaN', NULL), (3, '', false, NULL, NULL, NULL, ''), (4, '\\N', false, NULL, NULL, NULL, NULL)");
	struct pg_table *t = lookup("snap");
	PGconn *conn = connect_db();
	run(conn, "SET timezone = 'Asia/Tokyo'; SET intervalstyle = sql_standard; SET bytea_output = escape; SET extra_float_digits = -5;"
	          "SET statement_timeout = '10min'");
	char system_id[32];
	snprintf(system_id, sizeof system_id, "%s", value(admin, "SELECT system_identifier FROM pg_control_system()"));
	uint32_t timeline = (uint32_t)atoi(value(admin, "SELECT timeline_id FROM pg_control_checkpoint()"));
	struct pg_snapshot s;
	struct err e;
	struct rows r = {.text = BUF_INIT(1 << 20)};

	run(other, "BEGIN; INSERT INTO bb_live.snap VALUES (10)");
	uint32_t xid = (uint32_t)strtoul(value(other, "SELECT pg_current_xact_id()::text"), NULL, 10);
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	/* what is committed between the lock and take is seen */
	run(admin, "INSERT INTO bb_live.snap (id, v) VALUES (5, 'five')");
	CHECK_INT(pg_snapshot_take(conn, only(t), system_id, timeline, &s, &e), 0);
	run(admin, "INSERT INTO bb_live.snap (id, v) VALUES (6, 'six')");
	CHECK_INT(s.nxip, 1);
	CHECK(s.nxip == 1 && (uint32_t)s.xip[0] == xid);
	CHECK(!pg_snapshot_holds(&s, xid) && s.xmax > s.xmin && s.insert_lsn != 0);
	char lsn[LSN_TEXT_MAX], ask[128];
	snprintf(ask, sizeof ask, "SELECT '%s'::pg_lsn <= pg_current_wal_insert_lsn()", lsn_text(s.insert_lsn, lsn));
	CHECK_STR(value(admin, ask), "t");
	CHECK_INT(copy(conn, t, &r, NULL, never, &e), 0);
	CHECK_STR(r.text.data, "1|a\\tb\\n\\\"\\\\\\u000B\\u0001|t|2024-01-31 10:00:00+00|P1DT2H|0.1|\\\\x61\n"
	                       "2|NULL|NULL|NULL|NULL|NaN|NULL\n3||f|NULL|NULL|NULL|\\\\x\n4|\\\\N|f|NULL|NULL|NULL|NULL\n5|five|NULL|NULL|NULL|NULL|NULL\n");
	CHECK_INT(copy(conn, t, &r, "id > 1 AND v IS NOT NULL OR false", NULL, &e), 0);
	CHECK_INT(r.n, 3);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	run(other, "ROLLBACK");
	pg_snapshot_clear(&s);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	CHECK_STR(value(conn, "SHOW timezone"), "Asia/Tokyo");

	/* another server */
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(t), "1", timeline, &s, &e), -1);
	CHECK(e.kind == ERR_CONFIG && strstr(e.text, "system identifier") != NULL);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(t), system_id, timeline + 1, &s, &e), -1);
	CHECK(e.kind == ERR_CONFIG && strstr(e.text, "timeline") != NULL);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);

	/* stopped by the row function, by the caller, by an error in the middle */
	run(admin, "INSERT INTO bb_live.snap (id, v) SELECT n, repeat('x', 100) FROM generate_series(100, 200000) n");
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(t), NULL, 0, &s, &e), 0);
	pg_snapshot_clear(&s);
	r.stop_at = 5000;
	CHECK_INT(copy(conn, t, &r, NULL, never, &e), -1);
	CHECK_STR(e.text, "stopped by the row function");
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	CHECK(PQtransactionStatus(conn) == PQTRANS_IDLE);
	r.stop_at = 0;
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	CHECK_INT(copy(conn, t, &r, "pg_catalog.pg_sleep(20) IS NOT NULL", always, &e), -1);
	CHECK_INT(e.kind, ERR_CANCELLED);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	CHECK_INT(copy(conn, t, &r, "1 / (id - 150000) < 5", never, &e), -1);
	CHECK_INT(e.kind, ERR_PG);
	CHECK_STR(e.sqlstate, "22012");
	CHECK(r.n > 1000);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	int64_t from_ms = clock_mono_ms();
	CHECK_INT(copy(conn, t, &r, NULL, never, &e), 0);
	printf("  %d rows in %lld ms\n", r.n, (long long)(clock_mono_ms() - from_ms));
	CHECK_INT(copy(conn, t, &r, "no_such_column", never, &e), -1);
	CHECK_INT(e.kind, ERR_NOT_FOUND);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	if (getenv("BUSBAR_TEST_SLOW") != NULL) {
		CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
		CHECK_INT(copy(conn, t, &r, "pg_catalog.pg_sleep(100) IS NULL", never, &e), -1);
		CHECK_STR(e.text, "Snapshot query took too long to return data (cancelled after 30000ms). Please ensure snapshot "
		                  "queries are using an index to avoid taking up all database connections.");
		CHECK_INT(pg_snapshot_end(conn, &e), 0);
		CHECK_STR(value(conn, "SELECT 1"), "1");
	}

	/* what is said when the stream is ahead of all snapshots: of standbys only where commits wait for them */
	CHECK_INT(pg_snapshot_outrun(conn, &e), -1);
	CHECK(e.kind == ERR_TIMEOUT && strstr(e.text, "standby") == NULL);
	run(conn, "SET synchronous_commit = local");
	run(conn, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
	run(conn, "SELECT pg_reload_conf()");
	int64_t deadline_ms = clock_mono_ms() + WAIT_MS;
	while (strcmp(value(conn, "SHOW synchronous_standby_names"), "nobody") != 0 && clock_mono_ms() < deadline_ms)
		tiny_pause();
	CHECK_INT(pg_snapshot_outrun(conn, &e), -1);
	CHECK(strstr(e.text, "synchronous_standby_names = 'nobody'") != NULL);
	run(conn, "ALTER SYSTEM RESET synchronous_standby_names");
	run(conn, "SELECT pg_reload_conf()");
	while (strcmp(value(conn, "SHOW synchronous_standby_names"), "") != 0 && clock_mono_ms() < deadline_ms)
		tiny_pause();

	/* the lock */
	run(other, "BEGIN; LOCK TABLE bb_live.snap");
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), -1);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK_STR(e.text, "Snapshot timed out while waiting for a table lock: others hold one on \"bb_live.snap\"");
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	run(other, "ROLLBACK");

	/* changed, renamed, gone */
	run(admin, "ALTER TABLE bb_live.snap ALTER v TYPE varchar(500)");
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(t), NULL, 0, &s, &e), -1);
	CHECK_INT(e.kind, ERR_NOT_FOUND);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	run(admin, "ALTER TABLE bb_live.snap RENAME TO snap2; CREATE TABLE bb_live.snap (id int PRIMARY KEY)");
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(t), NULL, 0, &s, &e), -1);
	CHECK_INT(e.kind, ERR_NOT_FOUND);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	run(admin, "DROP TABLE bb_live.snap");
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), -1);
	CHECK_INT(e.kind, ERR_NOT_FOUND);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	pg_table_unref(t);
	PQfinish(conn);
	buf_clear(&r.text);
}

struct begin_job {
	PGconn *conn;
	const struct pg_table *t;
	int rc;
	struct err e;
};

static void *begin_run(void *ctx)
{
	struct begin_job *j = ctx;
	j->rc = pg_snapshot_begin(j->conn, only(j->t), &j->e);
	return NULL;
}

/* docs/invariants.md 6.6: a rewriting ALTER commits while we queue for the lock; the snapshot comes after. */
static void test_rewrite_before_lock(void)
{
	run(admin, "CREATE TABLE bb_live.rw (id int PRIMARY KEY, v text); INSERT INTO bb_live.rw SELECT n, 'v' || n FROM generate_series(1, 5) n");
	struct pg_table *t = lookup("rw");
	struct begin_job j = {.conn = connect_db(), .t = t};
	struct rows r = {.text = BUF_INIT(1 << 20)};
	struct pg_snapshot s;
	struct err e;
	pthread_t thread;
	run(other, "BEGIN; ALTER TABLE bb_live.rw ALTER v TYPE text USING v || '!'");
	REQUIRE(pthread_create(&thread, NULL, begin_run, &j) == 0);
	char ask[128];
	snprintf(ask, sizeof ask, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %d", PQbackendPID(j.conn));
	int64_t deadline_ms = clock_mono_ms() + 4000;
	while (strcmp(value(admin, ask), "1") != 0 && clock_mono_ms() < deadline_ms)
		tiny_pause();
	run(other, "COMMIT");
	pthread_join(thread, NULL);
	CHECK_INT(j.rc, 0);
	CHECK_INT(pg_snapshot_take(j.conn, only(t), NULL, 0, &s, &e), 0);
	CHECK_INT(copy(j.conn, t, &r, NULL, never, &e), 0);
	CHECK_STR(r.text.data, "1|v1!\n2|v2!\n3|v3!\n4|v4!\n5|v5!\n");
	/* nobody can rewrite it now */
	CHECK_INT(pg_command(other, "SET lock_timeout = 100; TRUNCATE bb_live.rw", &e), -1);
	CHECK_STR(e.sqlstate, "55P03");
	run(other, "RESET lock_timeout");
	CHECK_INT(pg_snapshot_end(j.conn, &e), 0);
	pg_snapshot_clear(&s);
	pg_table_unref(t);
	PQfinish(j.conn);
	buf_clear(&r.text);
}

static void test_snapshot_privileges(void)
{
	run(admin, "CREATE TABLE bb_live.priv (id int PRIMARY KEY); CREATE TABLE bb_live.rls (id int PRIMARY KEY);"
	           "ALTER TABLE bb_live.rls ENABLE ROW LEVEL SECURITY; CREATE POLICY \"my own\" ON bb_live.rls USING (id > 1);"
	           "GRANT SELECT ON bb_live.rls TO bb_live_role");
	struct pg_table *priv = lookup("priv"), *rls = lookup("rls");
	PGconn *conn = connect_db();
	struct pg_snapshot s;
	struct err e;
	struct rows r = {.text = BUF_INIT(1 << 20)};
	run(conn, "SET ROLE bb_live_role");
	CHECK_INT(pg_snapshot_begin(conn, only(priv), &e), -1);
	CHECK_STR(e.text, "Unable to create initial snapshot: permission denied for table priv");
	CHECK_STR(e.sqlstate, "42501");
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	CHECK_INT(pg_snapshot_begin(conn, only(rls), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(rls), NULL, 0, &s, &e), -1);
	CHECK_INT(e.kind, ERR_CONFIG);
	CHECK(strstr(e.text, "bb_live.rls") != NULL && strstr(e.text, "\"my own\"") != NULL && strstr(e.text, "bb_live_role") != NULL);
	printf("  %s\n", e.text);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	/* and even unasked no row is left out silently */
	CHECK_INT(pg_snapshot_begin(conn, only(rls), &e), 0);
	CHECK_INT(copy(conn, rls, &r, NULL, never, &e), -1);
	CHECK_STR(e.sqlstate, "42501");
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	run(conn, "RESET ROLE");
	CHECK_INT(pg_snapshot_begin(conn, only(rls), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(rls), NULL, 0, &s, &e), 0);
	pg_snapshot_clear(&s);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	pg_table_unref(priv);
	pg_table_unref(rls);
	PQfinish(conn);
	buf_clear(&r.text);
}

static void *lock_columns_run(void *ctx)
{
	struct begin_job *j = ctx;
	j->rc = pg_snapshot_lock_columns(j->conn, only(j->t), &j->e);
	return NULL;
}

/* The lock waits behind what `change` did in `other`, the snapshot is older. What the lock then says. */
static int lock_columns_behind(PGconn *conn, const struct pg_table *t, const char *change)
{
	struct begin_job j = {.conn = conn, .t = t};
	struct err e;
	pthread_t thread;
	run(other, "BEGIN");
	run(other, change);
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 1);
	REQUIRE(pthread_create(&thread, NULL, lock_columns_run, &j) == 0);
	char ask[128];
	snprintf(ask, sizeof ask, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %d", PQbackendPID(conn));
	int64_t deadline_ms = clock_mono_ms() + 4000;
	while (strcmp(value(admin, ask), "1") != 0 && clock_mono_ms() < deadline_ms)
		tiny_pause();
	run(other, "COMMIT");
	pthread_join(thread, NULL);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	return j.rc;
}

/* The rows of a table with children come with tableoid, which rights on columns don't cover. */
static void test_tableoid_grant(void)
{
	run(admin, "CREATE TABLE bb_live.par (id int, secret text); CREATE TABLE bb_live.kid () INHERITS (bb_live.par);"
	           "CREATE TABLE bb_live.alone (id int); GRANT SELECT (id) ON bb_live.par TO bb_live_role;"
	           "SELECT set_config('" PG_READER_SETTING "', 'bb_live_role', false)");
	struct pg_table *t = lookup("par"), *alone = lookup("alone"), *stored = NULL;
	CHECK(t->nmembers == 1 && t->tableoid_denied && !alone->tableoid_denied);
	struct buf json = BUF_INIT(1 << 20);
	struct err e;
	pg_table_to_json(t, &json);
	CHECK_INT(pg_table_from_json(json.data, json.len, &stored, &e), 0);
	CHECK(stored != NULL && stored->tableoid_denied);
	buf_clear(&json);
	pg_table_unref(stored);
	pg_table_unref(alone);

	PGconn *conn = connect_db();
	struct pg_snapshot s;
	struct rows r = {.text = BUF_INIT(1 << 20), .ncolumns = 2};
	uint16_t first = 0;
	run(conn, "SET ROLE bb_live_role");
	for (int granted = 0; granted < 2; granted++) {
		CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 1);
		CHECK_INT(pg_snapshot_lock_columns(conn, only(t), &e), 0);
		CHECK_INT(pg_snapshot_take(conn, only(t), NULL, 0, &s, &e), 0);
		CHECK_INT(pg_snapshot_copy(conn, t, &first, 1, NULL, put_row, &r, never, NULL, &e), granted - 1);
		pg_snapshot_clear(&s);
		CHECK_INT(pg_snapshot_end(conn, &e), 0);
		run(admin, "GRANT SELECT (tableoid) ON bb_live.par TO bb_live_role");
	}
	PQfinish(conn);
	buf_clear(&r.text);
	pg_table_unref(t);
	t = lookup("par");
	CHECK(!t->tableoid_denied);
	pg_table_unref(t);
	run(admin, "SELECT set_config('" PG_READER_SETTING "', '', false)");
}

/* A role that may read some columns only. */
static void test_column_grants(void)
{
	run(admin, "CREATE TABLE bb_live.granted (id int, secret text, v text) PARTITION BY RANGE (id);"
	           "CREATE TABLE bb_live.granted_1 PARTITION OF bb_live.granted FOR VALUES FROM (0) TO (10);"
	           "INSERT INTO bb_live.granted VALUES (1, 's', 'a'), (2, 's', 'b');"
	           "GRANT SELECT (id, v) ON bb_live.granted TO bb_live_role;"
	           "SELECT set_config('" PG_READER_SETTING "', 'bb_live_role', false)");
	struct pg_table *t = lookup("granted");
	CHECK(!t->columns[0].denied && t->columns[1].denied && !t->columns[2].denied);
	struct buf json = BUF_INIT(1 << 20);
	struct pg_table *stored = NULL;
	struct err e;
	pg_table_to_json(t, &json);
	CHECK_INT(pg_table_from_json(json.data, json.len, &stored, &e), 0);
	CHECK(stored != NULL && stored->columns[1].denied && !stored->columns[2].denied && pg_table_same_columns(t, stored));
	pg_table_unref(stored);
	run(admin, "SELECT set_config('" PG_READER_SETTING "', 'nobody at all', false)");
	stored = lookup("granted");
	CHECK(!stored->columns[1].denied);
	pg_table_unref(stored);
	run(admin, "SELECT set_config('" PG_READER_SETTING "', '', false)");

	test_tableoid_grant();
	PGconn *conn = connect_db();
	struct pg_snapshot s;
	struct rows r = {.text = BUF_INIT(1 << 20), .ncolumns = 2};
	uint16_t columns[] = {0, 2};
	run(conn, "SET ROLE bb_live_role");
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 1);
	CHECK_INT(pg_snapshot_lock_columns(conn, only(t), &e), 0);
	CHECK_INT(pg_snapshot_take(conn, only(t), NULL, 0, &s, &e), 0);
	CHECK_INT(pg_command(other, "SET lock_timeout = 100; TRUNCATE bb_live.granted_1", &e), -1);
	CHECK_STR(e.sqlstate, "55P03");
	run(other, "RESET lock_timeout");
	CHECK_INT(pg_snapshot_copy(conn, t, columns, 2, NULL, put_row, &r, never, NULL, &e), 0);
	CHECK_STR(r.text.data, "1|a\n2|b\n");
	pg_snapshot_clear(&s);
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	CHECK_INT(lock_columns_behind(conn, t, "ALTER TABLE bb_live.granted ALTER v TYPE text USING v || '!'"), 1);
	CHECK_INT(lock_columns_behind(conn, t, "TRUNCATE bb_live.granted_1"), 1);
	CHECK_INT(lock_columns_behind(conn, t, "LOCK TABLE bb_live.granted IN ACCESS EXCLUSIVE MODE"), 0);
	CHECK_INT(lock_columns_behind(conn, t, "ALTER TABLE bb_live.granted DROP v; ALTER TABLE bb_live.granted ADD v text;"
	                                       "GRANT SELECT (v) ON bb_live.granted TO bb_live_role"), -1);
	run(admin, "REVOKE ALL ON bb_live.granted FROM bb_live_role; REVOKE ALL (id, v) ON bb_live.granted FROM bb_live_role");
	CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 1); /* what is known of rights may be old */
	CHECK_INT(pg_snapshot_lock_columns(conn, only(t), &e), -1);
	CHECK_STR(e.sqlstate, "42501");
	CHECK_INT(pg_snapshot_end(conn, &e), 0);
	pg_table_unref(t);
	PQfinish(conn);
	buf_clear(&r.text);
	buf_clear(&json);
}

/* ---- a snapshot of several tables ---- */

#define TABLES 3

struct family {
	struct pg_table *list[TABLES];
	struct pg_snapshot_tables tables;
	PGconn *conn;
};

/* Made one after the other, so by oid. */
static void family_open(struct family *f, const char *a, const char *b, const char *c)
{
	const char *const names[TABLES] = {a, b, c};
	for (size_t i = 0; i < TABLES; i++) {
		char sql[200];
		snprintf(sql, sizeof sql, "CREATE TABLE bb_live.%s (id int PRIMARY KEY, v text, secret text); INSERT INTO bb_live.%s VALUES (1, 'a')",
		         names[i], names[i]);
		run(admin, sql);
		f->list[i] = lookup(names[i]);
		CHECK(i == 0 || f->list[i - 1]->oid < f->list[i]->oid);
	}
	f->tables = (struct pg_snapshot_tables){.list = f->list, .n = TABLES};
	f->conn = connect_db();
}

static void family_look(struct family *f)
{
	for (size_t i = 0; i < TABLES; i++) {
		struct pg_table *then = f->list[i];
		f->list[i] = lookup(then->name);
		pg_table_unref(then);
	}
}

static void family_close(struct family *f)
{
	for (size_t i = 0; i < TABLES; i++)
		pg_table_unref(f->list[i]);
	PQfinish(f->conn);
}

/* Which of the tables a session has locked, by name: "a b". */
static const char *locked(struct family *f, const char *schema)
{
	char ask[300];
	snprintf(ask, sizeof ask, "SELECT string_agg(c.relname, ' ' ORDER BY c.oid) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
	         " WHERE l.granted AND l.mode = 'AccessShareLock' AND l.pid = %d AND c.relkind = 'r' AND c.relnamespace = '%s'::regnamespace",
	         PQbackendPID(f->conn), schema);
	return value(admin, ask);
}

static void *family_begin(void *ctx)
{
	struct family *f = ctx;
	struct err e;
	CHECK_INT(pg_snapshot_begin(f->conn, &f->tables, &e), 0);
	return NULL;
}

static void wait_for_lock(PGconn *conn)
{
	char ask[128];
	snprintf(ask, sizeof ask, "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %d", PQbackendPID(conn));
	int64_t deadline_ms = clock_mono_ms() + 4000;
	while (strcmp(value(admin, ask), "1") != 0 && clock_mono_ms() < deadline_ms)
		tiny_pause();
}

/* All are locked before there is a snapshot, in their order; errors name the table that they are about. */
static void test_snapshot_of_several(void)
{
	struct family f;
	struct pg_snapshot s;
	struct err e;
	pthread_t thread;
	family_open(&f, "sev_a", "sev_b", "sev_c");

	/* A rewrite of the second is waited for: the first is locked by then, the third isn't. */
	run(other, "BEGIN; ALTER TABLE bb_live.sev_b ALTER v TYPE text USING v || '!'");
	REQUIRE(pthread_create(&thread, NULL, family_begin, &f) == 0);
	wait_for_lock(f.conn);
	CHECK_STR(locked(&f, "bb_live"), "sev_a");
	run(admin, "INSERT INTO bb_live.sev_c VALUES (2, 'b')");
	run(other, "COMMIT");
	pthread_join(thread, NULL);
	CHECK_STR(locked(&f, "bb_live"), "sev_a sev_b sev_c");
	CHECK_INT(pg_snapshot_take(f.conn, &f.tables, NULL, 0, &s, &e), 0);
	pg_snapshot_clear(&s);
	CHECK_STR(value(f.conn, "SELECT (SELECT v FROM bb_live.sev_b) || (SELECT count(*) FROM bb_live.sev_c)"), "a!2");
	CHECK_INT(pg_command(other, "SET lock_timeout = 100; TRUNCATE bb_live.sev_c", &e), -1);
	CHECK_STR(e.sqlstate, "55P03");
	run(other, "RESET lock_timeout");
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);

	/* who keeps us waiting */
	run(other, "BEGIN; LOCK TABLE bb_live.sev_b");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), -1);
	CHECK_INT(e.kind, ERR_TIMEOUT);
	CHECK(strstr(e.text, "\"bb_live.sev_b\"") != NULL && f.tables.failed == f.list[1]);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	run(other, "ROLLBACK");

	/* changed, gone */
	run(admin, "ALTER TABLE bb_live.sev_b ADD more int");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 0);
	CHECK_INT(pg_snapshot_take(f.conn, &f.tables, NULL, 0, &s, &e), -1);
	CHECK(e.kind == ERR_NOT_FOUND && strstr(e.text, "bb_live.sev_b") != NULL && f.tables.failed == f.list[1]);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	family_look(&f);
	run(admin, "ALTER TABLE bb_live.sev_c RENAME TO sev_d; CREATE TABLE bb_live.sev_c (id int PRIMARY KEY, v text, secret text)");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 0);
	CHECK_INT(pg_snapshot_take(f.conn, &f.tables, NULL, 0, &s, &e), -1);
	CHECK(e.kind == ERR_NOT_FOUND && f.tables.failed == f.list[2]);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	run(admin, "DROP TABLE bb_live.sev_c");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), -1);
	CHECK(e.kind == ERR_NOT_FOUND && f.tables.failed == f.list[2]);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	CHECK_INT(pg_snapshot_begin(f.conn, only(f.list[0]), &e), 0); /* the connection is usable */
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	family_close(&f);
}

static void *family_lock_columns(void *ctx)
{
	struct family *f = ctx;
	struct err e;
	CHECK_INT(pg_snapshot_lock_columns(f->conn, &f->tables, &e), 1);
	return NULL;
}

/* The role may read all of the first table, some columns of the second, and all of the third. */
static void test_rights_of_several(void)
{
	struct family f;
	struct pg_snapshot s;
	struct err e;
	pthread_t thread;
	family_open(&f, "rig_a", "rig_b", "rig_c");
	run(admin, "GRANT SELECT ON bb_live.rig_a, bb_live.rig_c TO bb_live_role; GRANT SELECT (id, v) ON bb_live.rig_b TO bb_live_role;"
	           "SELECT set_config('" PG_READER_SETTING "', 'bb_live_role', false)");
	family_look(&f);
	CHECK(f.list[1]->columns[2].denied && !f.list[0]->columns[2].denied);
	run(f.conn, "SET ROLE bb_live_role");

	/* Those with rights on the whole are locked before the snapshot exists, the other by reading. */
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 1);
	CHECK_STR(locked(&f, "bb_live"), "rig_a rig_c");
	run(admin, "INSERT INTO bb_live.rig_c VALUES (2, 'b')");
	CHECK_INT(pg_snapshot_lock_columns(f.conn, &f.tables, &e), 0);
	CHECK_STR(locked(&f, "bb_live"), "rig_a rig_b rig_c");
	CHECK_INT(pg_snapshot_take(f.conn, &f.tables, NULL, 0, &s, &e), 0);
	pg_snapshot_clear(&s);
	CHECK_STR(value(f.conn, "SELECT count(*) FROM bb_live.rig_a WHERE id IN (SELECT id FROM bb_live.rig_b WHERE v = 'a')"), "1");
	CHECK_STR(value(f.conn, "SELECT count(*) FROM bb_live.rig_c"), "2");
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);

	/* The snapshot is older than that lock: a TRUNCATE in between isn't overlooked. */
	run(other, "BEGIN; TRUNCATE bb_live.rig_b");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 1);
	REQUIRE(pthread_create(&thread, NULL, family_lock_columns, &f) == 0);
	wait_for_lock(f.conn);
	run(other, "COMMIT");
	pthread_join(thread, NULL);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);

	/* Two of them by columns: whichever was rewritten is found. */
	run(admin, "REVOKE SELECT ON bb_live.rig_c FROM bb_live_role; GRANT SELECT (id) ON bb_live.rig_c TO bb_live_role");
	family_look(&f);
	run(other, "BEGIN; ALTER TABLE bb_live.rig_c ALTER v TYPE text USING v || '!'");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 1);
	CHECK_STR(locked(&f, "bb_live"), "rig_a");
	REQUIRE(pthread_create(&thread, NULL, family_lock_columns, &f) == 0);
	wait_for_lock(f.conn);
	run(other, "COMMIT");
	pthread_join(thread, NULL);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);

	/* No right: of the one that is read by columns, of one that is read whole. */
	run(admin, "REVOKE SELECT (id, v) ON bb_live.rig_b FROM bb_live_role");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 1);
	CHECK_INT(pg_snapshot_lock_columns(f.conn, &f.tables, &e), -1);
	CHECK(f.tables.failed == f.list[1]);
	CHECK_STR(e.text, "Unable to create initial snapshot: permission denied for table rig_b");
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	run(admin, "REVOKE SELECT ON bb_live.rig_a FROM bb_live_role");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), -1);
	CHECK(f.tables.failed == f.list[0]);
	CHECK_STR(e.sqlstate, "42501");
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	run(admin, "SELECT set_config('" PG_READER_SETTING "', '', false)");
	family_close(&f);
}

/* Policies of any of them would hide rows. */
static void test_row_security_of_several(void)
{
	struct family f;
	struct pg_snapshot s;
	struct err e;
	family_open(&f, "rows_a", "rows_b", "rows_c");
	run(admin, "GRANT SELECT ON bb_live.rows_a, bb_live.rows_b, bb_live.rows_c TO bb_live_role;"
	           "ALTER TABLE bb_live.rows_b ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON bb_live.rows_b USING (id > 1)");
	run(f.conn, "SET ROLE bb_live_role");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 0);
	CHECK_INT(pg_snapshot_take(f.conn, &f.tables, NULL, 0, &s, &e), -1);
	CHECK(e.kind == ERR_CONFIG && strstr(e.text, "bb_live.rows_b") != NULL && strstr(e.text, "policies: mine") != NULL);
	CHECK(f.tables.failed == f.list[1]);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	run(admin, "ALTER TABLE bb_live.rows_b DISABLE ROW LEVEL SECURITY");
	CHECK_INT(pg_snapshot_begin(f.conn, &f.tables, &e), 0);
	CHECK_INT(pg_snapshot_take(f.conn, &f.tables, NULL, 0, &s, &e), 0);
	pg_snapshot_clear(&s);
	CHECK_INT(pg_snapshot_end(f.conn, &e), 0);
	family_close(&f);
}

/* What no value of the database can hold. */
static void test_encoding(void)
{
	struct err e = {0};
	CHECK_INT(pg_check_encoding(admin, "日本 €", &e), 0);
	run(admin, "DROP DATABASE IF EXISTS bb_live_latin");
	run(admin, "CREATE DATABASE bb_live_latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	/* The URL is the first dbname; the second counts. */
	static const char *const keys[] = {"dbname", "dbname", "client_encoding", NULL};
	PGconn *conn = PQconnectdbParams(keys, (const char *const[]){url, "bb_live_latin", "UTF8", NULL}, 1);
	if (CHECK(PQstatus(conn) == CONNECTION_OK)) {
		CHECK_INT(pg_check_encoding(conn, "v = 'é'", &e), 0);
		CHECK_INT(pg_check_encoding(conn, "v = '€'", &e), -1);
		CHECK_INT(e.kind, ERR_REQUEST);
		CHECK(strstr(e.text, "0xe2 0x82 0xac") != NULL && e.sqlstate[0] == '\0');
		CHECK_INT(pg_command(conn, "SELECT '日本'", &e), -1);
		pg_blame_encoding(&e);
		CHECK_INT(e.kind, ERR_REQUEST);
		CHECK_INT(pg_command(conn, "SELECT 1/0", &e), -1);
		pg_blame_encoding(&e);
		CHECK_INT(e.kind, ERR_PG);
	}
	PQfinish(conn);
	run(admin, "DROP DATABASE bb_live_latin");
}

static void test_horizon(void)
{
	struct err e = {0};
	lsn_t before, end;
	uint64_t xmin, running;
	run(other, "BEGIN; SELECT pg_current_xact_id()");
	running = strtoull(value(other, "SELECT pg_current_xact_id()::text"), NULL, 10);
	CHECK_INT(pg_wal_end(admin, &before, &e), 0);
	CHECK_INT(pg_oldest_running(admin, &xmin, &e), 0);
	CHECK(xmin <= running); /* it hasn't ended */
	run(other, "COMMIT");
	run(admin, "CREATE TABLE bb_live.horizon (id int)");
	CHECK_INT(pg_horizon(admin, &end, &xmin, &e), 0);
	CHECK(end > before && xmin > running);
	run(admin, "DROP TABLE bb_live.horizon");
}

static bool came_with_rows(const char *name)
{
	struct pg_table *t = lookup(name);
	bool rows = pg_catalog_attached_with_rows(admin, t->oid);
	CHECK_INT(PQtransactionStatus(admin), PQTRANS_IDLE);
	pg_table_unref(t);
	return rows;
}

/* A leaf that brought rows, one that got them later; one that can't be looked into at once. */
static void test_children(void)
{
	struct err e = {0};
	run(admin, "CREATE TABLE bb_live.family (id int) PARTITION BY LIST (id); CREATE TABLE bb_live.brought (id int);"
	           "CREATE TABLE bb_live.bare (id int); INSERT INTO bb_live.brought VALUES (1)");
	struct pg_table *t = lookup("family");
	bool has = true, nulls = true;
	CHECK_INT(pg_catalog_glance(admin, t, &has, &nulls, &e), 0);
	CHECK(!has && !nulls);
	run(admin, "ALTER TABLE bb_live.family ATTACH PARTITION bb_live.brought FOR VALUES IN (1)");
	run(admin, "ALTER TABLE bb_live.family ATTACH PARTITION bb_live.bare FOR VALUES IN (2)");
	run(admin, "INSERT INTO bb_live.family VALUES (1), (2)");
	run(admin, "ALTER TABLE bb_live.family ALTER id SET NOT NULL");
	CHECK_INT(pg_catalog_glance(admin, t, &has, &nulls, &e), 0);
	CHECK(has && nulls);
	run(admin, "ALTER TABLE bb_live.family ALTER id DROP NOT NULL");
	CHECK_INT(pg_catalog_glance(admin, t, &has, &nulls, &e), 0);
	CHECK(!nulls);
	CHECK(came_with_rows("brought"));
	CHECK(!came_with_rows("bare"));
	run(other, "BEGIN; LOCK TABLE bb_live.bare");
	CHECK(came_with_rows("bare"));
	run(other, "ROLLBACK");
	pg_table_unref(t);
	run(admin, "DROP TABLE bb_live.family");
}

/* What is said of a type changes with it, and so does nothing else. */
static void test_types_said(void)
{
	struct err e = {0};
	struct pg_texts first, then;
	run(admin, "CREATE TYPE bb_live.said_enum AS ENUM ('a'); CREATE TYPE bb_live.said_pair AS (x int, y int)");
	uint32_t mood = (uint32_t)strtoul(value(admin, "SELECT 'bb_live.said_enum'::regtype::oid"), NULL, 10);
	uint32_t pair = (uint32_t)strtoul(value(admin, "SELECT 'bb_live.said_pair'::regtype::oid"), NULL, 10);
	char oids[40];
	snprintf(oids, sizeof oids, "{%u,%u}", mood, pair);
	if (!CHECK_INT(pg_catalog_types_said(admin, oids, &first, &e), 0))
		return;
	CHECK(pg_texts_of(&first, mood) != NULL && pg_texts_of(&first, pair) != NULL && pg_texts_of(&first, 1) == NULL);
	run(admin, "ALTER TYPE bb_live.said_enum ADD VALUE 'b'");
	if (CHECK_INT(pg_catalog_types_said(admin, oids, &then, &e), 0)) {
		CHECK(strcmp(pg_texts_of(&first, mood), pg_texts_of(&then, mood)) != 0);
		CHECK_STR(pg_texts_of(&then, pair), pg_texts_of(&first, pair));
		pg_texts_clear(&then);
	}
	run(admin, "ALTER TYPE bb_live.said_pair ALTER ATTRIBUTE y TYPE text");
	if (CHECK_INT(pg_catalog_types_said(admin, oids, &then, &e), 0)) {
		CHECK(strcmp(pg_texts_of(&first, pair), pg_texts_of(&then, pair)) != 0);
		pg_texts_clear(&then);
	}
	pg_texts_clear(&first);
	CHECK_INT(pg_catalog_types_said(admin, "{x}", &first, &e), -1);
	run(admin, "DROP TYPE bb_live.said_enum; DROP TYPE bb_live.said_pair");
}

/* A copy that fails takes no other with it; a transaction that is over can't be gone back in. */
static void test_savepoint(void)
{
	struct err e = {0};
	run(admin, "CREATE TABLE bb_live.shared (id int)");
	struct pg_table *t = lookup("shared");
	CHECK_INT(pg_snapshot_begin(admin, only(t), &e), 0);
	CHECK_INT(pg_snapshot_save(admin, &e), 0);
	CHECK_INT(pg_snapshot_back(admin), 0);
	for (int i = 0; i < 2; i++) {
		CHECK_INT(pg_command(admin, "SELECT 1/0", &e), -1);
		CHECK_INT(pg_snapshot_back(admin), 0);
		CHECK_STR(value(admin, "SELECT count(*) FROM bb_live.shared"), "0");
	}
	CHECK_INT(pg_snapshot_end(admin, &e), 0);
	CHECK_INT(pg_snapshot_back(admin), -1);
	pg_table_unref(t);
	run(admin, "DROP TABLE bb_live.shared");
}

/* How many of our statements a session keeps. */
static const char *kept(PGconn *conn) { return value(conn, "SELECT count(*) FROM pg_catalog.pg_prepared_statements"); }

static bool has_family(PGconn *conn, const struct pg_table *t, struct err *e)
{
	bool has = false, nulls;
	CHECK_INT(pg_catalog_glance(conn, t, &has, &nulls, e), 0);
	return has;
}

/* Kept where the session is the connection's own; what is kept has today's answer, whatever became of the transaction. */
static void test_kept(void)
{
	struct err e = {0};
	run(admin, "CREATE TABLE bb_live.kept (id int PRIMARY KEY); CREATE TABLE bb_live.kept_child () INHERITS (bb_live.kept)");
	struct pg_table *t = lookup("kept");
	PGconn *conn = connect_db();
	int pid = atoi(value(conn, "SELECT pg_backend_pid()"));
	pg_keep_statements(conn, pid + 1);
	CHECK(has_family(conn, t, &e));
	CHECK_STR(kept(conn), "0");
	pg_keep_statements(conn, pid);
	run(conn, "BEGIN");
	CHECK(has_family(conn, t, &e));
	run(conn, "ROLLBACK");
	pg_keep_statements(conn, pid);
	run(admin, "DROP TABLE bb_live.kept_child");
	CHECK(!has_family(conn, t, &e));
	CHECK_STR(kept(conn), "1");
	for (int i = 0; i < 8; i++) { /* the plan for any oid comes after five for one */
		struct pg_table *found;
		char add[100];
		snprintf(add, sizeof add, "ALTER TABLE bb_live.kept ADD COLUMN c%d text", i);
		run(admin, add);
		CHECK_INT(pg_catalog_lookup(conn, "bb_live", "kept", &found, &e), 0);
		CHECK_INT(found->ncolumns, i + 2);
		pg_table_unref(found);
	}
	CHECK_STR(kept(conn), "2");

	/* taken away: outside of a transaction it is asked anyway; inside, the transaction has to begin anew */
	run(conn, "DEALLOCATE ALL");
	CHECK(!has_family(conn, t, &e));
	CHECK(!has_family(conn, t, &e));
	CHECK_STR(kept(conn), "0");
	PQfinish(conn);
	conn = connect_db();
	pg_keep_statements(conn, atoi(value(conn, "SELECT pg_backend_pid()")));
	CHECK(!has_family(conn, t, &e));
	run(conn, "DEALLOCATE ALL; BEGIN");
	bool has, nulls;
	CHECK_INT(pg_catalog_glance(conn, t, &has, &nulls, &e), -1);
	CHECK_INT(e.kind, ERR_PG_CONN);
	run(conn, "ROLLBACK; BEGIN");
	CHECK(!has_family(conn, t, &e));
	run(conn, "COMMIT");
	PQfinish(conn);

	/* a name that somebody else has given */
	conn = connect_db();
	run(conn, "PREPARE busbar_glance AS SELECT 1");
	pg_keep_statements(conn, atoi(value(conn, "SELECT pg_backend_pid()")));
	CHECK(!has_family(conn, t, &e));
	PQfinish(conn);

	/* a snapshot's first statement finds out whose the session is */
	conn = connect_db();
	pg_table_unref(t);
	t = lookup("kept");
	for (int i = 0; i < 2; i++) {
		struct pg_snapshot snap;
		CHECK_INT(pg_snapshot_begin(conn, only(t), &e), 0);
		CHECK_INT(pg_snapshot_take(conn, only(t), NULL, 0, &snap, &e), 0);
		CHECK_STR(kept(conn), i == 0 ? "2" : "3");
		pg_snapshot_clear(&snap);
		CHECK_INT(pg_snapshot_end(conn, &e), 0);
	}
	PQfinish(conn);
	pg_table_unref(t);
	run(admin, "DROP TABLE bb_live.kept");
}

static void test_sessions(void)
{
	struct err e = {0};
	PGconn *conn = connect_db(), *none = NULL;
	CHECK(pg_is_connected(conn));
	CHECK_INT(pg_catalog_set_reader(conn, "some\"body", &e), 0);
	CHECK_STR(value(conn, "SELECT current_setting('" PG_READER_SETTING "')"), "some\"body");
	CHECK(pg_publication_generates(conn, "no such publication") == false);
	CHECK_INT(pg_command(conn, "SELECT pg_terminate_backend(pg_backend_pid())", &e), -1);
	CHECK(!pg_is_connected(conn));
	pg_disconnect(&conn);
	pg_disconnect(&none);
	CHECK(conn == NULL);
}

/* A slot from beside it: its figures, who keeps it from moving, and that nobody's is dropped who has its lock. */
static void test_slot(void)
{
	static const char name[] = "busbar_test_live";
	struct pg_slot_look look;
	struct pg_oldest oldest;
	struct err e = {0};
	bool dropped;
	CHECK_INT(pg_slot_look(admin, name, &look, &e), 0);
	CHECK(look.status == SLOT_MISSING && look.wal_end > 0 && look.keep_bytes == -1 && look.segment_bytes >= 1 << 20);
	CHECK_STR(look.sync_names, "");
	run(admin, "SELECT pg_create_logical_replication_slot('busbar_test_live', 'pgoutput')");
	run(other, "CREATE TABLE bb_live.of_slot AS SELECT i FROM generate_series(1, 10000) i");
	CHECK_INT(pg_slot_look(admin, name, &look, &e), 0);
	CHECK(look.status == SLOT_RESERVED && !look.active && look.safe_bytes == -1);
	CHECK(look.restart > 0 && look.restart <= look.confirmed && look.confirmed + 100000 < look.wal_end);
	CHECK_INT(pg_slot_oldest(admin, &oldest, &e), 0);
	CHECK_INT(oldest.xid, 0);
	run(other, "BEGIN");
	run(other, "INSERT INTO bb_live.of_slot VALUES (0)");
	CHECK_INT(pg_slot_oldest(admin, &oldest, &e), 0);
	CHECK(oldest.xid != 0 && oldest.pid == PQbackendPID(other) && oldest.age_ms >= 0);
	CHECK(strstr(oldest.who, "process ") == oldest.who && strstr(oldest.who, "database \"") != NULL);
	run(other, "PREPARE TRANSACTION 'bb_live_old'");
	CHECK_INT(pg_slot_oldest(admin, &oldest, &e), 0);
	CHECK(oldest.xid != 0 && oldest.pid == 0 && oldest.age_ms >= 0);
	CHECK(strstr(oldest.who, "prepared transaction \"bb_live_old\"") == oldest.who);
	run(other, "ROLLBACK PREPARED 'bb_live_old'");
	run(other, "SELECT pg_advisory_lock(hashtext('busbar_test_live'))"); /* as another instance */
	CHECK_INT(pg_slot_drop_unused(admin, name, look.confirmed, &dropped, &e), 0);
	CHECK(!dropped);
	run(other, "SELECT pg_advisory_unlock(hashtext('busbar_test_live'))");
	CHECK_INT(pg_slot_drop_unused(admin, name, look.confirmed - 1, &dropped, &e), 0); /* it has moved since */
	CHECK(!dropped);
	CHECK_INT(pg_slot_drop_unused(admin, name, look.confirmed, &dropped, &e), 0);
	CHECK(dropped);
	CHECK_STR(value(admin, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
	CHECK_INT(pg_slot_look(admin, name, &look, &e), 0);
	CHECK_INT(look.status, SLOT_MISSING);
	run(admin, "SELECT pg_create_logical_replication_slot('busbar_test_live', 'test_decoding')"); /* somebody else's */
	CHECK_INT(pg_slot_look(admin, name, &look, &e), 0);
	CHECK_INT(look.status, SLOT_MISSING);
	CHECK_INT(pg_slot_drop_unused(admin, name, UINT64_MAX, &dropped, &e), 0);
	CHECK(!dropped);
	run(admin, "SELECT pg_drop_replication_slot('busbar_test_live')");
}

int main(void)
{
	url = getenv("BUSBAR_TEST_DATABASE_URL");
	if (url == NULL || url[0] == '\0')
		return check_done("test_pg_live");
	admin = connect_db();
	other = connect_db();
	run(admin, pg_session_settings_sql(false));
	setup();
	RUN(test_lookup);
	RUN(test_types);
	RUN(test_key_kinds);
	RUN(test_unseen_parents);
	RUN(test_partitions);
	RUN(test_full_before_published);
	RUN(test_join_and_leave);
	RUN(test_waits_for_writers);
	RUN(test_lock_timeout);
	RUN(test_cannot_alter);
	RUN(test_old_minor);
	RUN(test_snapshot);
	RUN(test_rewrite_before_lock);
	RUN(test_snapshot_privileges);
	RUN(test_column_grants);
	RUN(test_snapshot_of_several);
	RUN(test_rights_of_several);
	RUN(test_row_security_of_several);
	RUN(test_encoding);
	RUN(test_horizon);
	RUN(test_children);
	RUN(test_types_said);
	RUN(test_savepoint);
	RUN(test_kept);
	RUN(test_sessions);
	RUN(test_slot);
	teardown();
	PQfinish(admin);
	PQfinish(other);
	return check_done("test_pg_live");
}
