/*
 * publication.c - publishing tables, waiting for their writers; see publication.h.
 *
 * A join reads the state of the table and all below it in one query, alters what is missing, reads
 * again (so that a rename in between is seen) and then waits. The identity is changed before the table
 * is added and in a transaction of its own: the other way round, UPDATEs of a table without a key
 * would fail in between, and the publication would stay locked while we queue for the table.
 */
#include "pg/publication.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "pg/conn.h"
#include "pg/query.h"

#define PUB_ROUNDS_MAX 4         /* reading and altering again because the catalog changed meanwhile */
#define PUB_RETRY_PAUSE_MS 100   /* lets the queue behind our lock request through */
#define WRITERS_POLL_MIN_MS 5
#define WRITERS_POLL_MAX_MS 100
#define WRITERS_NAMED_MAX 5      /* blockers named in a message */
#define REFUSED_MAX 256          /* tables remembered by refused_before() */
#define SCHEMA_PUBLICATIONS_SINCE 150000 /* also row filters and column lists */
#define GENERATED_COLUMNS_SINCE 180000

struct join {
	PGconn *conn;
	const struct config *config;
	int server_version;
	const struct pg_table *table;
	bool (*cancelled)(void *);
	void *cancel_ctx;
	int64_t deadline_ms; /* for altering */
	bool keeps;          /* it waits for no writers */
	PGresult *state;     /* rows of STATE_*; row 0 is the table itself */
};

static bool join_cancelled(const struct join *j)
{
	return j->cancelled != NULL && j->cancelled(j->cancel_ctx);
}

static int err_cancelled(struct err *e)
{
	return err_set(e, ERR_CANCELLED, "joining the publication was cancelled");
}

static void pause_ms(int64_t ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
	nanosleep(&ts, NULL);
}

/* ---- state ----
 *
 * Row 0 is the table, the others are those below it that may need something: without FULL, not
 * published through a partitioned parent, filtered, or not publishable at all.
 */
enum {
	STATE_OID, STATE_SCHEMA, STATE_NAME, STATE_IS_PARTITION, STATE_FULL, STATE_PUBLISHABLE, STATE_REL_OID, STATE_FILTERED,
	STATE_BY_SCHEMA, STATE_ANCESTOR_REL_OID, STATE_PUB_OID, STATE_ALL_TABLES, STATE_ALL_OPERATIONS, STATE_VIA_ROOT,
	STATE_MAY_ALTER, STATE_GENERATED, STATE_RELKIND, STATE_PUB_XMIN,
};

/* Is table `c` in publication `pub` through its schema? */
static const char *by_schema_sql(int server_version)
{
	if (server_version < SCHEMA_PUBLICATIONS_SINCE)
		return "false";
	return "EXISTS (SELECT 1 FROM pg_catalog.pg_publication_namespace pn"
	       " WHERE pn.pnpubid = pub.oid AND pn.pnnspid = c.relnamespace)";
}

static const char *filtered_sql(int server_version)
{
	return server_version < SCHEMA_PUBLICATIONS_SINCE ? "false" : "(pr.prqual IS NOT NULL OR pr.prattrs IS NOT NULL)";
}

/* The entry of the partitioned ancestor of `c` that is published, or the publication itself if it is
 * the ancestor's schema that is; NULL for others. */
static void put_ancestor_sql(int server_version, struct buf *sql)
{
	buf_puts(sql, "COALESCE((SELECT pg_catalog.min(ar.oid) FROM pg_catalog.pg_partition_ancestors(c.oid) an"
	              " JOIN pg_catalog.pg_publication_rel ar ON ar.prrelid = an.relid AND ar.prpubid = pub.oid"
	              " WHERE an.relid <> c.oid)");
	if (server_version >= SCHEMA_PUBLICATIONS_SINCE)
		buf_puts(sql, ", (SELECT pg_catalog.min(pn.pnpubid) FROM pg_catalog.pg_partition_ancestors(c.oid) an"
		              " JOIN pg_catalog.pg_class ac ON ac.oid = an.relid"
		              " JOIN pg_catalog.pg_publication_namespace pn ON pn.pnnspid = ac.relnamespace AND pn.pnpubid = pub.oid"
		              " WHERE an.relid <> c.oid)");
	buf_puts(sql, ")");
}

static void put_state_sql(int server_version, struct buf *sql)
{
	buf_puts(sql, "WITH RECURSIVE pub AS (SELECT p.*, p.xmin AS altered FROM pg_catalog.pg_publication p WHERE pubname = $1::pg_catalog.text),"
	              " down (oid) AS ("
	              "  SELECT $2::pg_catalog.oid"
	              "  UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN down ON down.oid = i.inhparent) "
	              "SELECT c.oid, n.nspname, c.relname, c.relispartition, c.relreplident = 'f',"
	              " pg_catalog.pg_relation_is_publishable(c.oid), COALESCE(pr.oid, 0), COALESCE(");
	buf_puts(sql, filtered_sql(server_version));
	buf_puts(sql, ", false), ");
	buf_puts(sql, by_schema_sql(server_version));
	buf_puts(sql, ", CASE WHEN c.oid = $2::pg_catalog.oid THEN ");
	put_ancestor_sql(server_version, sql);
	buf_puts(sql, " END, pub.oid, pub.puballtables, pub.pubinsert AND pub.pubupdate AND pub.pubdelete AND pub.pubtruncate,"
	              " pub.pubviaroot, pg_catalog.pg_has_role(pub.pubowner, 'USAGE'), ");
	buf_puts(sql, server_version < GENERATED_COLUMNS_SINCE ? "false" : "pub.pubgencols = 's'");
	buf_puts(sql, ", c.relkind, pub.altered "
	              "FROM down JOIN pg_catalog.pg_class c ON c.oid = down.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
	              " LEFT JOIN pub ON true"
	              " LEFT JOIN pg_catalog.pg_publication_rel pr ON pr.prpubid = pub.oid AND pr.prrelid = c.oid "
	              "WHERE c.oid = $2::pg_catalog.oid OR c.relreplident <> 'f' OR NOT c.relispartition"
	              " OR NOT pg_catalog.pg_relation_is_publishable(c.oid) OR ");
	buf_puts(sql, filtered_sql(server_version));
	buf_puts(sql, " ORDER BY c.oid <> $2::pg_catalog.oid, c.oid");
}

static bool state_bool(const struct join *j, int row, int col)
{
	return pg_value_bool(j->state, row, col);
}

static const char *state_text(const struct join *j, int row, int col)
{
	return pg_value(j->state, row, col);
}

static int err_not_found(const struct pg_table *t, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "table \"%s.%s\" is gone or renamed", t->schema, t->name);
}

/* Reads j->state anew. */
static int state_read(struct join *j, struct err *e)
{
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, j->table->oid);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	put_state_sql(j->server_version, &sql);
	PQclear(j->state);
	j->state = pg_query(j->conn, sql.data, 2, (const char *const[]){j->config->publication_name, oid}, e);
	buf_clear(&sql);
	if (j->state == NULL)
		return -1;
	if (PQntuples(j->state) == 0 || pg_value_oid(j->state, 0, STATE_OID) != j->table->oid ||
	    strcmp(state_text(j, 0, STATE_SCHEMA), j->table->schema) != 0 ||
	    strcmp(state_text(j, 0, STATE_NAME), j->table->name) != 0)
		return err_not_found(j->table, e);
	return 0;
}

/* Adds a statement that the user may run, made of these and the names of the row's table and the publication. */
static int advise(const struct join *j, int row, const char *before, bool publication, const char *between, bool table,
                  const char *after, struct err *e)
{
	struct buf sql = BUF_INIT(sizeof e->text);
	buf_puts(&sql, before);
	if (publication)
		pg_put_ident(&sql, j->config->publication_name);
	buf_puts(&sql, between);
	if (table)
		pg_put_table(&sql, state_text(j, row, STATE_SCHEMA), state_text(j, row, STATE_NAME));
	buf_puts(&sql, after);
	size_t len = e == NULL ? 0 : strlen(e->text);
	if (e != NULL && !sql.failed)
		snprintf(e->text + len, sizeof e->text - len, ". Run, as the owner: %s", sql.data);
	buf_clear(&sql);
	return -1;
}

/* Changes of a leaf then come as its root's, a TRUNCATE of a leaf doesn't come at all. */
static int check_via_root(const struct join *j, struct err *e)
{
	bool root_published = state_bool(j, 0, STATE_ALL_TABLES) || !PQgetisnull(j->state, 0, STATE_ANCESTOR_REL_OID);
	const char *why;
	if (state_text(j, 0, STATE_RELKIND)[0] == 'p')
		why = "would not tell of a TRUNCATE of one of its partitions";
	else if (state_bool(j, 0, STATE_IS_PARTITION) && root_published)
		why = "publishes its changes as those of its root";
	else
		return 0;
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_puts(&sql, "ALTER PUBLICATION ");
	pg_put_ident(&sql, j->config->publication_name);
	(void)err_set(e, ERR_CONFIG, "Publication \"%s\" has publish_via_partition_root set: for table \"%s.%s\" it %s. "
	              "Run this: %s SET (publish_via_partition_root = false);",
	              j->config->publication_name, j->table->schema, j->table->name, why, sql.data);
	buf_clear(&sql);
	return -1;
}

/* What no ALTER of ours can put right, or none that we would run without being asked. */
static int state_check(const struct join *j, struct err *e)
{
	if (PQgetisnull(j->state, 0, STATE_PUB_OID))
		return pg_publication_missing(j->config, false, e);
	if (!state_bool(j, 0, STATE_ALL_OPERATIONS))
		return pg_publication_incomplete(j->config->publication_name, e);
	/* Rows of these would be in the snapshot and their changes never come. */
	for (int i = 0; i < PQntuples(j->state); i++)
		if (!state_bool(j, i, STATE_PUBLISHABLE))
			return err_set(e, ERR_CONFIG, "Unable to create initial snapshot: table \"%s.%s\" can't be published "
			               "(it is unlogged, temporary, foreign or a system table)",
			               state_text(j, i, STATE_SCHEMA), state_text(j, i, STATE_NAME));
	return state_bool(j, 0, STATE_VIA_ROOT) ? check_via_root(j, e) : 0;
}

/* Is the table of this row published, all columns and rows? Partitions below the table are through it. */
static bool row_published(const struct join *j, int row, bool count_ancestors)
{
	if (state_bool(j, row, STATE_ALL_TABLES))
		return true;
	if (state_bool(j, row, STATE_FILTERED))
		return false;
	return pg_value_oid(j->state, row, STATE_REL_OID) != 0 || state_bool(j, row, STATE_BY_SCHEMA) ||
	       (row > 0 && state_bool(j, row, STATE_IS_PARTITION)) ||
	       (row == 0 && count_ancestors && !PQgetisnull(j->state, 0, STATE_ANCESTOR_REL_OID));
}

/* Only ordinary tables have rows that need an identity; where we may, partitioned ones get it too, so
 * that their partitions of tomorrow are less of a surprise to whoever looks. */
static bool row_full(const struct join *j, int row, bool partitioned_too)
{
	return state_bool(j, row, STATE_FULL) || (!partitioned_too && state_text(j, row, STATE_RELKIND)[0] == 'p');
}

/* Automatic mode: anything to alter? */
static bool state_complete(const struct join *j)
{
	bool may_alter = state_bool(j, 0, STATE_MAY_ALTER);
	for (int i = 0; i < PQntuples(j->state); i++)
		if (!row_published(j, i, !may_alter) || !row_full(j, i, may_alter))
			return false;
	return true;
}

static uint32_t state_rel_oid(const struct join *j)
{
	uint32_t oid = pg_value_oid(j->state, 0, STATE_REL_OID);
	if (oid != 0)
		return oid;
	if (state_bool(j, 0, STATE_ALL_TABLES) || state_bool(j, 0, STATE_BY_SCHEMA))
		return pg_value_oid(j->state, 0, STATE_PUB_OID);
	return pg_value_oid(j->state, 0, STATE_ANCESTOR_REL_OID);
}

/* ---- texts for clients (docs/protocol.md 8.3) ---- */

/* What takes the table's row filter and column list away, in one transaction, so that no change is left out meanwhile. */
static void put_readd(struct buf *sql, const char *publication, const char *schema, const char *name)
{
	static const char *const verbs[] = {"BEGIN; ", " DROP TABLE ONLY ", "; ", " ADD TABLE ONLY "};
	for (size_t i = 0; i < ARRAY_LEN(verbs); i += 2) {
		buf_printf(sql, "%sALTER PUBLICATION ", verbs[i]);
		pg_put_ident(sql, publication);
		buf_puts(sql, verbs[i + 1]);
		pg_put_table(sql, schema, name);
	}
	buf_puts(sql, "; COMMIT");
}

static int err_missing(const struct join *j, int row, bool manual, struct err *e)
{
	const char *schema = state_text(j, row, STATE_SCHEMA), *name = state_text(j, row, STATE_NAME);
	const char *pub = j->config->publication_name;
	if (state_bool(j, row, STATE_FILTERED)) {
		struct buf sql = BUF_INIT(sizeof e->text);
		put_readd(&sql, pub, schema, name);
		(void)err_set(e, ERR_CONFIG, "Publication \"%s\" publishes table \"%s.%s\" with a row filter or a column list. Run, as the "
		              "owner: %s", pub, schema, name, sql.data);
		buf_clear(&sql);
		return -1;
	}
	(void)err_set(e, ERR_CONFIG, "Database table \"%s.%s\" is missing from the publication \"%s\" and %s", schema, name, pub,
	              manual ? "the ELECTRIC_MANUAL_TABLE_PUBLISHING setting prevents Electric from adding it"
	                     : "Electric lacks privileges to add it");
	return advise(j, row, "ALTER PUBLICATION ", true, " ADD TABLE ", true, "", e);
}

static int err_not_full(const struct join *j, int row, struct err *e)
{
	(void)err_set(e, ERR_CONFIG, "Database table \"%s.%s\" does not have its replica identity set to FULL",
	              state_text(j, row, STATE_SCHEMA), state_text(j, row, STATE_NAME));
	return advise(j, row, "ALTER TABLE ", false, "", true, " REPLICA IDENTITY FULL", e);
}

static int verify_manual(const struct join *j, struct err *e)
{
	for (int i = 0; i < PQntuples(j->state); i++)
		if (!row_published(j, i, true))
			return err_missing(j, i, true, e);
	for (int i = 0; i < PQntuples(j->state); i++)
		if (!row_full(j, i, false))
			return err_not_full(j, i, e);
	return 0;
}

/* ---- altering ---- */

/* Errors of two who alter at once; the next try finds out how it ended. */
static bool worth_retrying(const struct err *e)
{
	return pg_sqlstate_is(e, PG_SQLSTATE_LOCK_TIMEOUT) || pg_sqlstate_is(e, PG_SQLSTATE_DEADLOCK) ||
	       pg_sqlstate_is(e, "23505") /* the same entry added twice */ ||
	       pg_sqlstate_is(e, "XX000") /* "tuple concurrently updated" */;
}

static bool is_lock_error(const struct err *e)
{
	return pg_sqlstate_is(e, PG_SQLSTATE_LOCK_TIMEOUT) || pg_sqlstate_is(e, PG_SQLSTATE_DEADLOCK);
}

/* Runs `statements` in one transaction, again and again while locks can't be had. */
static int alter(const struct join *j, int row, const char *statements, struct err *e)
{
	for (;;) {
		if (join_cancelled(j))
			return err_cancelled(e);
		int64_t left_ms = j->deadline_ms - clock_mono_ms();
		if (left_ms <= 0)
			return pg_lock_timed_out(state_text(j, row, STATE_SCHEMA), state_text(j, row, STATE_NAME), e);
		int64_t lock_timeout_ms = left_ms < PUB_LOCK_TIMEOUT_MS ? left_ms : PUB_LOCK_TIMEOUT_MS;
		struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
		buf_printf(&sql, "BEGIN; SET LOCAL lock_timeout = %" PRId64 "; %s; COMMIT", lock_timeout_ms, statements);
		int rc = pg_command(j->conn, sql.data, e);
		buf_clear(&sql);
		if (rc == 0)
			return 0;
		pg_rollback(j->conn);
		if (e->kind != ERR_PG || !worth_retrying(e))
			return -1;
		if (clock_mono_ms() + PUB_RETRY_PAUSE_MS >= j->deadline_ms)
			return is_lock_error(e) ? pg_lock_timed_out(state_text(j, row, STATE_SCHEMA), state_text(j, row, STATE_NAME), e) : -1;
		pause_ms(PUB_RETRY_PAUSE_MS);
	}
}

static void put_row_table(const struct join *j, int row, struct buf *sql)
{
	pg_put_table(sql, state_text(j, row, STATE_SCHEMA), state_text(j, row, STATE_NAME));
}

/* "ALTER PUBLICATION p <verb> TABLE ONLY s.t"; each child of an inheritance parent has its own turn. */
static void put_alter_publication(const struct join *j, int row, const char *verb, struct buf *sql)
{
	buf_puts(sql, "ALTER PUBLICATION ");
	pg_put_ident(sql, j->config->publication_name);
	buf_printf(sql, " %s TABLE ONLY ", verb);
	put_row_table(j, row, sql);
}

/* What the error of an ALTER means to a client. The table itself or one below it may have gone: then the
 * state is read again, which tells. */
static int alter_outcome(const struct join *j, int row, bool identity, struct err *e)
{
	if (e->kind != ERR_PG)
		return -1;
	if (pg_is_undefined(e) || pg_sqlstate_is(e, PG_SQLSTATE_DUPLICATE_OBJECT) ||
	    pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_OBJECT))
		return 0;
	if (pg_sqlstate_is(e, PG_SQLSTATE_PRIVILEGE) && identity && !state_bool(j, 0, STATE_MAY_ALTER))
		return err_not_full(j, row, e);
	return err_wrap(e, "Unable to create initial snapshot");
}

static int set_full(const struct join *j, int row, struct err *e)
{
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_puts(&sql, "ALTER TABLE ONLY ");
	put_row_table(j, row, &sql);
	buf_puts(&sql, " REPLICA IDENTITY FULL");
	int rc = alter(j, row, sql.data, e);
	buf_clear(&sql);
	return rc == 0 ? 0 : alter_outcome(j, row, true, e);
}

/* Adds the table of this row; one that is in already is dropped in the same transaction, which takes a
 * filter away and makes walsenders read anew. */
static int add(const struct join *j, int row, struct err *e)
{
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	if (pg_value_oid(j->state, row, STATE_REL_OID) != 0) {
		put_alter_publication(j, row, "DROP", &sql);
		buf_puts(&sql, "; ");
	}
	put_alter_publication(j, row, "ADD", &sql);
	int rc = alter(j, row, sql.data, e);
	buf_clear(&sql);
	return rc;
}

/* ---- what FULL would break ----
 *
 * Postgres refuses every UPDATE and DELETE of a FULL table while a publication of it leaves out a generated column (a
 * virtual one always, a stored one without publish_generated_columns) or has a column list. So that is looked for
 * before anything is altered: the users' statements would fail, not ours.
 */
enum {
	LEFT_OUT_SCHEMA, LEFT_OUT_TABLE, LEFT_OUT_COLUMN, LEFT_OUT_KIND, LEFT_OUT_PUBLICATION,
	LEFT_OUT_LISTED_SCHEMA, LEFT_OUT_LISTED_TABLE, /* that the publication has, with its list of columns: the table or its root */
};

/* Of our publication also if the identity is FULL already, since it will have the table; of others only if the
 * identity is to change. */
static void put_left_out_sql(int server_version, struct buf *sql)
{
	buf_puts(sql, "WITH RECURSIVE down (oid) AS (SELECT $2::pg_catalog.oid"
	              "  UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN down ON down.oid = i.inhparent),"
	              " fam AS (SELECT c.* FROM down JOIN pg_catalog.pg_class c ON c.oid = down.oid AND c.relkind = 'r')," /* has rows */
	              " up AS (SELECT fam.oid, fam.oid AS publ FROM fam"
	              "  UNION SELECT fam.oid, an.relid FROM fam, pg_catalog.pg_partition_ancestors(fam.oid) an),"
	              " pub AS (SELECT p.*, p.pubname = $1::pg_catalog.text AS ours FROM pg_catalog.pg_publication p"
	              "  WHERE p.pubupdate OR p.pubdelete) "
	              "SELECT n.nspname, fam.relname, a.attname, CASE WHEN pr.prattrs IS NULL OR pub.ours THEN a.attgenerated ELSE 'l' END,"
	              " pub.pubname, (SELECT x.nspname FROM pg_catalog.pg_namespace x WHERE x.oid = pc.relnamespace), pc.relname FROM fam"
	              " JOIN pg_catalog.pg_namespace n ON n.oid = fam.relnamespace"
	              " JOIN pg_catalog.pg_attribute a ON a.attrelid = fam.oid AND a.attnum > 0 AND NOT a.attisdropped"
	              " JOIN up ON up.oid = fam.oid JOIN pg_catalog.pg_class pc ON pc.oid = up.publ CROSS JOIN pub"
	              " LEFT JOIN pg_catalog.pg_publication_rel pr ON pr.prpubid = pub.oid AND pr.prrelid = up.publ"
	              " WHERE (NOT pub.ours AND fam.relreplident <> 'f' AND pr.prattrs IS NOT NULL)");
	if (server_version >= GENERATED_COLUMNS_SINCE)
		buf_puts(sql, " OR (pub.ours AND (a.attgenerated = 'v' OR (a.attgenerated = 's' AND pub.pubgencols <> 's')))"
		              " OR (NOT pub.ours AND fam.relreplident <> 'f' AND a.attgenerated = 's' AND pub.pubgencols <> 's'"
		              "  AND (pub.puballtables OR pr.oid IS NOT NULL OR EXISTS (SELECT 1"
		              "   FROM pg_catalog.pg_publication_namespace pn WHERE pn.pnpubid = pub.oid AND pn.pnnspid = pc.relnamespace)))");
	buf_puts(sql, " ORDER BY NOT pub.ours, a.attgenerated DESC, fam.oid, a.attnum LIMIT 1");
}

static int err_left_out(const PGresult *found, struct err *e)
{
	const char *pub = pg_value(found, 0, LEFT_OUT_PUBLICATION);
	char kind = pg_value(found, 0, LEFT_OUT_KIND)[0];
	struct buf why = BUF_INIT(PG_SQL_MAX_BYTES), remedy = BUF_INIT(PG_SQL_MAX_BYTES);
	if (kind == 'l')
		buf_printf(&why, "publishes it with a column list");
	else
		buf_printf(&why, "doesn't publish its %sgenerated column \"%s\"", kind == 'v' ? "virtual " : "",
		           pg_value(found, 0, LEFT_OUT_COLUMN));
	if (kind == 'l') {
		buf_puts(&remedy, "run, as the owner: ");
		put_readd(&remedy, pub, pg_value(found, 0, LEFT_OUT_LISTED_SCHEMA), pg_value(found, 0, LEFT_OUT_LISTED_TABLE));
	} else {
		buf_puts(&remedy, kind == 'v' ? "make the column STORED, and run ALTER PUBLICATION " : "run ALTER PUBLICATION ");
		pg_put_ident(&remedy, pub);
		buf_puts(&remedy, " SET (publish_generated_columns = stored)");
	}
	(void)err_set(e, ERR_CONFIG, "Unable to create initial snapshot: publication \"%s\" %s, and with the replica identity FULL, which "
	              "shapes need, Postgres would refuse every UPDATE and DELETE of table \"%s.%s\". To have shapes of it, %s",
	              pub, why.data, pg_value(found, 0, LEFT_OUT_SCHEMA), pg_value(found, 0, LEFT_OUT_TABLE), remedy.data);
	buf_clear(&why);
	buf_clear(&remedy);
	return -1;
}

static int check_left_out(const struct join *j, struct err *e)
{
	if (j->server_version < SCHEMA_PUBLICATIONS_SINCE) /* no generated columns are published there, no lists */
		return 0;
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, j->table->oid);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	put_left_out_sql(j->server_version, &sql);
	PGresult *found = pg_query(j->conn, sql.data, 2, (const char *const[]){j->config->publication_name, oid}, e);
	buf_clear(&sql);
	if (found == NULL)
		return -1;
	int rc = PQntuples(found) > 0 ? err_left_out(found, e) : 0;
	PQclear(found);
	return rc;
}

/* One pass over what is missing. */
static int alter_missing(const struct join *j, bool *added, struct err *e)
{
	bool may_alter = state_bool(j, 0, STATE_MAY_ALTER);
	int n = PQntuples(j->state);
	for (int i = 0; i < n; i++)
		if (!may_alter && !row_published(j, i, true))
			return err_missing(j, i, false, e);
	for (int i = 0; i < n; i++)
		if (!row_full(j, i, may_alter) && set_full(j, i, e) != 0)
			return -1;
	for (int i = 0; i < n; i++) {
		if (row_published(j, i, !may_alter))
			continue;
		if (add(j, i, e) == 0)
			*added = *added || i == 0;
		else if (alter_outcome(j, i, false, e) != 0)
			return -1;
	}
	return 0;
}

/* Alters until nothing is missing. *changed: something was altered; *added: the table was added. */
static int make_complete(struct join *j, bool *changed, bool *added, struct err *e)
{
	*changed = *added = false;
	for (int round = 0; round < PUB_ROUNDS_MAX; round++) {
		if (state_read(j, e) != 0 || state_check(j, e) != 0)
			return -1;
		if (j->config->manual_table_publishing)
			return verify_manual(j, e);
		if (state_complete(j))
			return 0;
		if (check_left_out(j, e) != 0)
			return -1;
		*changed = true;
		if (alter_missing(j, added, e) != 0)
			return -1;
	}
	return err_set(e, ERR_TIMEOUT, "Table \"%s.%s\" or its partitions kept changing while they were added to publication \"%s\"",
	               j->table->schema, j->table->name, j->config->publication_name);
}

/* ---- docs/invariants.md 6.1: the writers ----
 *
 * A change that was written before the table was published is decoded as unpublished, whenever its transaction
 * commits. So the snapshot must show it: whoever may have written to the table, or to one below it, before our
 * (or the operator's) ADD TABLE had committed must be gone from the list of running transactions first. All of
 * them hold a lock on what they wrote: RowExclusive, or AccessExclusive for a TRUNCATE. They took it before their
 * first WAL record, and release it after they have left that list (COMMIT and COMMIT PREPARED first become
 * visible, then let locks go; before that, a commit may hang for a synchronous standby, with its locks). So
 * nobody else need be waited for, whatever he has written elsewhere: what he writes to this table from now on is
 * written behind the publication's commit, and decoded as published.
 *
 * The holders are read when the publication has been changed and everybody sees that. The family is read by the
 * same statement: a partition that came since the table was looked up has writers, too. One that a transaction
 * made which is still running isn't to be seen, but whoever makes a child holds ShareUpdateExclusive on the
 * parent, which may itself be below the table, so that ADD TABLE didn't wait for him. That lock counts for those
 * who have an xid: VACUUM and CREATE INDEX CONCURRENTLY, which write no rows and may take hours, hold it without.
 * pg_locks shows locks of the fast path as well; one that moves from there to the shared table is seen twice
 * rather than never, and PREPARE gives all locks away under that table's lock.
 *
 * A holder is known by his virtual transaction; or by an xid, for before 14.1 PREPARE changed it to -1/xid. (If he
 * had no xid at the first look he had written nothing until then.) A prepared transaction has no pid. Locks of
 * subtransactions are their top transaction's; if they abort, both rows and locks are gone.
 */
static const char writers_sql[] =
	"WITH RECURSIVE family (oid) AS ("
	"  SELECT $1::pg_catalog.oid UNION SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid),"
	" l AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE granted),"
	" holder AS ("
	"  SELECT l.virtualtransaction AS vxid, pg_catalog.min(l.pid) AS pid,"
	"   pg_catalog.bool_or(l.mode <> 'ShareUpdateExclusiveLock') AS writes"
	"  FROM l JOIN family f ON f.oid = l.relation WHERE l.locktype = 'relation'"
	"   AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"
	"   AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',"
	"    'AccessExclusiveLock')"
	"   AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()"
	"  GROUP BY 1),"
	" writer AS ("
	"  SELECT h.vxid, h.pid, h.writes, (SELECT pg_catalog.string_agg(x.transactionid::pg_catalog.text, ' ') FROM l x"
	"   WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.virtualtransaction = h.vxid) AS xids"
	"  FROM holder h) "
	"SELECT w.vxid, w.pid, p.gid, a.state, w.xids FROM writer w"
	" LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid"
	" LEFT JOIN pg_catalog.pg_prepared_xacts p ON w.pid IS NULL"
	"  AND p.transaction::pg_catalog.text = ANY (pg_catalog.string_to_array(w.xids, ' '))"
	" WHERE w.writes OR w.xids IS NOT NULL"
	" ORDER BY w.pid, w.vxid";

enum { WRITER_VXID, WRITER_PID, WRITER_GID, WRITER_STATE, WRITER_XIDS };

/* Have two lists of xids, "755 756", one in common? */
static bool share_xid(const char *a, const char *b)
{
	for (size_t n; (n = strcspn(a, " ")) > 0; a += n + (a[n] == ' '))
		for (const char *p = b; *p != '\0'; p += strcspn(p, " "), p += *p == ' ')
			if (strcspn(p, " ") == n && memcmp(a, p, n) == 0)
				return true;
	return false;
}

static bool same_writer(const PGresult *first, int i, const PGresult *now, int k)
{
	return strcmp(pg_value(first, i, WRITER_VXID), pg_value(now, k, WRITER_VXID)) == 0 ||
	       share_xid(pg_value(first, i, WRITER_XIDS), pg_value(now, k, WRITER_XIDS));
}

/* Clears waiting[i] for each row of `first` that `now` doesn't have. Returns how many wait. */
static int still_there(const PGresult *first, bool *waiting, const PGresult *now)
{
	int left = 0;
	for (int i = 0; i < PQntuples(first); i++) {
		bool there = false;
		for (int k = 0; waiting[i] && !there && k < PQntuples(now); k++)
			there = same_writer(first, i, now, k);
		waiting[i] = there;
		left += there;
	}
	return left;
}

/* Is row k of `now` one of those waited for? */
static bool is_waited_for(const PGresult *first, const bool *waiting, const PGresult *now, int k)
{
	for (int i = 0; i < PQntuples(first); i++)
		if (waiting[i] && same_writer(first, i, now, k))
			return true;
	return false;
}

static int err_writers(const struct join *j, const PGresult *first, const bool *waiting, const PGresult *now,
                       struct err *e)
{
	struct buf who = BUF_INIT(sizeof e->text);
	int nnamed = 0;
	buf_puts(&who, "");
	for (int i = 0; i < PQntuples(now); i++) {
		if (!is_waited_for(first, waiting, now, i))
			continue;
		if (nnamed == WRITERS_NAMED_MAX) {
			buf_puts(&who, " and others");
			break;
		}
		buf_puts(&who, nnamed++ > 0 ? ", " : "");
		if (PQgetisnull(now, i, WRITER_PID))
			buf_printf(&who, "prepared transaction \"%s\"", pg_value(now, i, WRITER_GID));
		else if (PQgetisnull(now, i, WRITER_STATE))
			buf_printf(&who, "pid %s", pg_value(now, i, WRITER_PID)); /* the state of others' sessions may be hidden */
		else
			buf_printf(&who, "pid %s (%s)", pg_value(now, i, WRITER_PID), pg_value(now, i, WRITER_STATE));
	}
	(void)err_set(e, ERR_TIMEOUT, "Snapshot timed out waiting for transactions that were writing to table \"%s.%s\" when it was published "
	              "(%d s). End them or try again later: %s",
	              j->table->schema, j->table->name, PUB_WRITERS_MAX_MS / 1000, who.data);
	buf_clear(&who);
	return -1;
}

/* Waits until all who could have written before the table was published have ended. */
static int wait_for_writers(const struct join *j, struct err *e)
{
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, j->table->oid);
	const char *const params[] = {oid};
	int64_t deadline_ms = clock_mono_ms() + PUB_WRITERS_MAX_MS, poll_ms = WRITERS_POLL_MIN_MS;
	int rc = 0, left = 0;
	bool *waiting = NULL;
	PGresult *now = NULL, *first = pg_query(j->conn, writers_sql, 1, params, e);
	if (first == NULL) {
		rc = -1;
		goto out;
	}
	left = PQntuples(first);
	waiting = mem_alloc((size_t)left * sizeof *waiting);
	memset(waiting, 1, (size_t)left * sizeof *waiting);
	while (left > 0) {
		pause_ms(poll_ms);
		poll_ms = poll_ms * 2 < WRITERS_POLL_MAX_MS ? poll_ms * 2 : WRITERS_POLL_MAX_MS;
		if (join_cancelled(j)) {
			rc = err_cancelled(e);
			goto out;
		}
		PQclear(now);
		now = pg_query(j->conn, writers_sql, 1, params, e);
		if (now == NULL) {
			rc = -1;
			goto out;
		}
		left = still_there(first, waiting, now);
		if (left > 0 && clock_mono_ms() >= deadline_ms) {
			rc = err_writers(j, first, waiting, now, e);
			goto out;
		}
	}
out:
	PQclear(first);
	PQclear(now);
	free(waiting);
	return rc;
}

/* ---- docs/invariants.md 6.2: walsenders with a stale cache ----
 *
 * On these minors a walsender that decodes a transaction which wrote before ADD TABLE and committed
 * after it keeps believing that the table isn't published. Once those writers have ended, DROP and
 * ADD in one transaction makes it look again: that commit is decoded after all of theirs.
 *
 * Where we may not do it ourselves the operator must, and there is nothing in the catalog that tells
 * when an entry was made relative to the writers of its time. So this process remembers the entry it
 * refused, after it had waited for all writers older than it. An entry with another oid came later:
 * whoever wrote meanwhile did so under the refused entry, which published the table, and the older
 * ones are decoded before the new entry. That entry is accepted, and `known` of later calls keeps it
 * accepted. (An age check, "its xmin precedes all running transactions", would also accept an entry
 * whose old writers have spoilt the cache and ended.) After a restart of the process an entry that was
 * never accepted is refused once more.
 */
static pthread_mutex_t refused_lock = PTHREAD_MUTEX_INITIALIZER;
static struct refused {
	uint32_t table_oid, rel_oid;
} refused[REFUSED_MAX];
static size_t refused_next; /* the oldest, overwritten next */

/* True if another entry of this table was refused before; else remembers this one as refused. */
static bool refused_before(uint32_t table_oid, uint32_t rel_oid)
{
	bool other = false;
	size_t i = 0;
	pthread_mutex_lock(&refused_lock);
	while (i < REFUSED_MAX && refused[i].table_oid != table_oid)
		i++;
	if (i < REFUSED_MAX) {
		other = refused[i].rel_oid != rel_oid;
	} else {
		refused[refused_next] = (struct refused){table_oid, rel_oid};
		refused_next = (refused_next + 1) % REFUSED_MAX;
	}
	pthread_mutex_unlock(&refused_lock);
	return other;
}

static bool keeps_stale_cache(int server_version)
{
	static const int fixed_in[] = {140018, 150013, 160009, 170005};
	for (size_t i = 0; i < ARRAY_LEN(fixed_in); i++)
		if (server_version / 10000 == fixed_in[i] / 10000)
			return server_version < fixed_in[i];
	return server_version < 140000;
}

static int refuse_entry(const struct join *j, struct err *e)
{
	if (refused_before(j->table->oid, state_rel_oid(j)))
		return 0;
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_puts(&sql, "BEGIN; ");
	if (pg_value_oid(j->state, 0, STATE_REL_OID) != 0) {
		put_alter_publication(j, 0, "DROP", &sql);
		buf_puts(&sql, "; ");
	}
	put_alter_publication(j, 0, "ADD", &sql);
	buf_puts(&sql, "; COMMIT;");
	int v = j->server_version;
	(void)err_set(e, ERR_CONFIG, "PostgreSQL %d.%d may miss changes of a table that was published while it was written to. "
	              "Upgrade to 14.18, 15.13, 16.9, 17.5 or later, or run this now: %s", v / 10000, v % 10000, sql.data);
	buf_clear(&sql);
	return -1;
}

/* DROP and ADD of the table and of children with entries of their own; j->state is read anew. An
 * operator's entry, renewed by us, stays the operator's (added_by_us). */
static int refresh_entries(struct join *j, struct err *e)
{
	j->deadline_ms = clock_mono_ms() + PUB_JOIN_MAX_MS;
	if (state_bool(j, 0, STATE_ALL_TABLES))
		return 0; /* published since the publication exists; decoding older writes ends in an error, not in silence */
	if (j->config->manual_table_publishing || !state_bool(j, 0, STATE_MAY_ALTER))
		return refuse_entry(j, e);
	for (int i = 0; i < PQntuples(j->state); i++) {
		if (i > 0 && pg_value_oid(j->state, i, STATE_REL_OID) == 0)
			continue;
		if (add(j, i, e) != 0) {
			if (e->kind == ERR_PG && pg_sqlstate_is(e, PG_SQLSTATE_PRIVILEGE))
				return refuse_entry(j, e);
			return e->kind == ERR_PG ? err_wrap(e, "Unable to create initial snapshot") : -1;
		}
	}
	if (state_read(j, e) != 0 || state_check(j, e) != 0)
		return -1;
	if (!state_complete(j))
		return err_set(e, ERR_TIMEOUT, "Table \"%s.%s\" left publication \"%s\" while it was joining", j->table->schema,
		               j->table->name, j->config->publication_name);
	return 0;
}

/* ---- public ---- */

int pg_publication_missing(const struct config *c, bool barred, struct err *e)
{
	struct buf sql = BUF_INIT(sizeof e->text);
	if (barred) {
		buf_puts(&sql, ", and user ");
		pg_put_ident(&sql, c->database.user);
		buf_puts(&sql, " may not create it");
	}
	buf_puts(&sql, ". Run, as the database's owner: CREATE PUBLICATION ");
	pg_put_ident(&sql, c->publication_name);
	buf_puts(&sql, "; ALTER PUBLICATION ");
	pg_put_ident(&sql, c->publication_name);
	buf_puts(&sql, " OWNER TO ");
	pg_put_ident(&sql, c->database.user);
	if (barred) {
		buf_puts(&sql, "; or GRANT CREATE ON DATABASE ");
		pg_put_ident(&sql, c->database.database);
		buf_puts(&sql, " TO ");
		pg_put_ident(&sql, c->database.user);
	}
	(void)err_set(e, ERR_CONFIG, "Publication \"%s\" not found in the database%s", c->publication_name, sql.data);
	buf_clear(&sql);
	return -1;
}

int pg_publication_incomplete(const char *publication, struct err *e)
{
	struct buf name = BUF_INIT(sizeof e->text);
	pg_put_ident(&name, publication);
	(void)err_set(e, ERR_CONFIG, "Publication \"%s\" does not publish all required operations: INSERT, UPDATE, DELETE, TRUNCATE. Run, as "
	              "its owner: ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')", publication, name.data);
	buf_clear(&name);
	return -1;
}

static int join_run(struct join *j, const struct pg_join *known, struct pg_join *out, struct err *e)
{
	bool changed, added;
	if (make_complete(j, &changed, &added, e) != 0)
		return -1;
	bool as_known = known != NULL && known->publication_rel_oid == state_rel_oid(j);
	/* A publication that was altered may have left out what those who wrote before it changed had to tell. */
	bool altered = as_known && known->publication_xmin != pg_value_oid(j->state, 0, STATE_PUB_XMIN);
	if (changed || !as_known || altered) {
		if (j->keeps) {
			*out = *known;
			out->publication_xmin = 0;
			return 0;
		}
		if (wait_for_writers(j, e) != 0)
			return -1;
		/* Not for a known table below which something was new: its FULL, under an exclusive lock, did the
		 * same for that partition, and another entry would look as if the table had been away. */
		if (!as_known && keeps_stale_cache(j->server_version) && refresh_entries(j, e) != 0)
			return -1;
	}
	out->publication_rel_oid = state_rel_oid(j);
	out->publication_xmin = pg_value_oid(j->state, 0, STATE_PUB_XMIN);
	out->added_by_us = added || (as_known && known->added_by_us);
	out->generated_published = state_bool(j, 0, STATE_GENERATED);
	return 0;
}

static struct join begin_join(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                              bool (*cancelled)(void *), void *cancel_ctx)
{
	return (struct join){
		.conn = admin, .config = c, .server_version = server_version, .table = t,
		.cancelled = cancelled, .cancel_ctx = cancel_ctx,
		.deadline_ms = clock_mono_ms() + PUB_JOIN_MAX_MS + (int64_t)t->nleaves * PUB_JOIN_LEAF_MS,
	};
}

int pg_publication_join(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                        const struct pg_join *known, bool (*cancelled)(void *), void *cancel_ctx,
                        struct pg_join *out, struct err *e)
{
	struct join j = begin_join(admin, c, server_version, t, cancelled, cancel_ctx);
	int rc = join_run(&j, known, out, e);
	PQclear(j.state);
	return rc;
}

int pg_publication_keep(PGconn *admin, const struct config *c, int server_version, const struct pg_table *t,
                        const struct pg_join *known, bool (*cancelled)(void *), void *cancel_ctx,
                        struct pg_join *out, struct err *e)
{
	struct join j = begin_join(admin, c, server_version, t, cancelled, cancel_ctx);
	j.keeps = true;
	int rc = join_run(&j, known, out, e);
	PQclear(j.state);
	return rc;
}

int pg_publication_leave(PGconn *admin, const struct config *c, const struct pg_table *t, struct err *e)
{
	if (c->manual_table_publishing)
		return 0;
	struct join j = {.conn = admin, .config = c, .server_version = PQserverVersion(admin), .table = t};
	j.deadline_ms = clock_mono_ms() + PUB_JOIN_MAX_MS;
	int rc = state_read(&j, e);
	if (rc != 0 && e->kind == ERR_NOT_FOUND && j.state != NULL && PQntuples(j.state) > 0)
		rc = 0; /* renamed: the row has its name of today */
	if (rc == 0 && pg_value_oid(j.state, 0, STATE_REL_OID) != 0) {
		struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
		put_alter_publication(&j, 0, "DROP", &sql);
		rc = alter(&j, 0, sql.data, e);
		buf_clear(&sql);
	}
	PQclear(j.state);
	if (rc != 0 && (e->kind == ERR_NOT_FOUND ||
	                (e->kind == ERR_PG && (pg_is_undefined(e) || pg_sqlstate_is(e, PG_SQLSTATE_UNDEFINED_OBJECT)))))
		rc = 0;
	if (rc == 0)
		err_clear(e);
	return rc;
}

int pg_publication_check(PGconn *admin, const struct config *c, uint32_t table_oid, uint32_t *rel_oid, struct err *e)
{
	int version = PQserverVersion(admin);
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, table_oid);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	buf_puts(&sql, "SELECT COALESCE(pr.oid, CASE WHEN pub.puballtables OR ");
	buf_puts(&sql, by_schema_sql(version));
	buf_puts(&sql, " THEN pub.oid END, ");
	put_ancestor_sql(version, &sql);
	buf_puts(&sql, ", 0) FROM pg_catalog.pg_class c"
	               " JOIN pg_catalog.pg_publication pub ON pub.pubname = $1::pg_catalog.text"
	               " LEFT JOIN pg_catalog.pg_publication_rel pr ON pr.prpubid = pub.oid AND pr.prrelid = c.oid"
	               " WHERE c.oid = $2::pg_catalog.oid");
	PGresult *res = pg_query(admin, sql.data, 2, (const char *const[]){c->publication_name, oid}, e);
	*rel_oid = res != NULL && PQntuples(res) > 0 ? pg_value_oid(res, 0, 0) : 0;
	PQclear(res);
	buf_clear(&sql);
	return res != NULL ? 0 : -1;
}

bool pg_publication_generates(PGconn *admin, const char *publication)
{
	if (PQserverVersion(admin) < GENERATED_COLUMNS_SINCE)
		return false;
	struct err ignored;
	PGresult *res = pg_query(admin, "SELECT FROM pg_catalog.pg_publication WHERE pubname = $1::pg_catalog.text AND pubgencols = 's'", 1,
	                         (const char *const[]){publication}, &ignored);
	bool generates = res != NULL && PQntuples(res) > 0;
	PQclear(res);
	return generates;
}
