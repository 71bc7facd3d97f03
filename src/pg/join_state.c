/* join_state.c - where a table and all below it stand in the publication, in one query; see join_private.h. */
#include "pg/join_private.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define SCHEMA_PUBLICATIONS_SINCE 150000 /* also row filters and column lists */
#define GENERATED_COLUMNS_SINCE 180000

bool pg_join_cancelled(const struct join *j)
{
	return j->cancelled != NULL && j->cancelled(j->cancel_ctx);
}

int pg_join_err_cancelled(struct err *e)
{
	return err_set(e, ERR_CANCELLED, "joining the publication was cancelled");
}

void pg_join_pause_ms(int64_t ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
	nanosleep(&ts, NULL);
}

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
	buf_puts(sql, ", c.relkind, pub.altered, c.relpersistence "
	              "FROM down JOIN pg_catalog.pg_class c ON c.oid = down.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
	              " LEFT JOIN pub ON true"
	              " LEFT JOIN pg_catalog.pg_publication_rel pr ON pr.prpubid = pub.oid AND pr.prrelid = c.oid "
	              "WHERE c.oid = $2::pg_catalog.oid OR c.relreplident <> 'f' OR NOT c.relispartition"
	              " OR NOT pg_catalog.pg_relation_is_publishable(c.oid) OR ");
	buf_puts(sql, filtered_sql(server_version));
	buf_puts(sql, " ORDER BY c.oid <> $2::pg_catalog.oid, c.oid");
}

static int err_not_found(const struct pg_table *t, struct err *e)
{
	err_set(e, ERR_NOT_FOUND, "table \"%s.%s\" is gone or renamed", t->schema, t->name);
	return err_why(e, REASON_TABLE_GONE);
}

int pg_join_read(struct join *j, struct err *e)
{
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, j->table->oid);
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	put_state_sql(j->server_version, &sql);
	PQclear(j->state);
	j->state = pg_query_kept(j->conn, "busbar_join", sql.data, 2, (const char *const[]){j->config->publication_name, oid}, e);
	buf_clear(&sql);
	if (j->state == NULL)
		return -1;
	if (PQntuples(j->state) == 0 || pg_value_oid(j->state, 0, STATE_OID) != j->table->oid ||
	    strcmp(state_text(j, 0, STATE_SCHEMA), j->table->schema) != 0 ||
	    strcmp(state_text(j, 0, STATE_NAME), j->table->name) != 0)
		return err_not_found(j->table, e);
	return 0;
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

static int err_unpublishable(const struct join *j, int row, struct err *e)
{
	const char *schema = state_text(j, row, STATE_SCHEMA), *name = state_text(j, row, STATE_NAME);
	char kind = state_text(j, row, STATE_RELKIND)[0], persistence = state_text(j, row, STATE_PERSISTENCE)[0];
	(void)err_set(e, ERR_CONFIG, "Unable to create initial snapshot: table \"%s.%s\" can't be published, since it is %s", schema, name,
	              kind == 'f' ? "a foreign table: its changes are another server's"
	              : persistence == 'u' ? "unlogged: its changes are never in the WAL"
	              : persistence == 't' ? "a temporary one of some session" : "a system table");
	if (kind == 'f' || persistence != 'u')
		return -1;
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	pg_put_table(&sql, schema, name);
	size_t len = strlen(e->text);
	snprintf(e->text + len, sizeof e->text - len, ". Run, as the owner: ALTER TABLE %s SET LOGGED", sql.data);
	buf_clear(&sql);
	return -1;
}

int pg_join_check(const struct join *j, struct err *e)
{
	if (PQgetisnull(j->state, 0, STATE_PUB_OID))
		return pg_publication_missing(j->config, false, e);
	if (!state_bool(j, 0, STATE_ALL_OPERATIONS))
		return pg_publication_incomplete(j->config->publication_name, e);
	/* Rows of these would be in the snapshot and their changes never come. */
	for (int i = 0; i < PQntuples(j->state); i++)
		if (!state_bool(j, i, STATE_PUBLISHABLE))
			return err_unpublishable(j, i, e);
	return state_bool(j, 0, STATE_VIA_ROOT) ? check_via_root(j, e) : 0;
}

bool pg_join_row_published(const struct join *j, int row, bool count_ancestors)
{
	if (state_bool(j, row, STATE_ALL_TABLES))
		return true;
	if (state_bool(j, row, STATE_FILTERED))
		return false;
	return pg_value_oid(j->state, row, STATE_REL_OID) != 0 || state_bool(j, row, STATE_BY_SCHEMA) ||
	       (row > 0 && state_bool(j, row, STATE_IS_PARTITION)) ||
	       (row == 0 && count_ancestors && !PQgetisnull(j->state, 0, STATE_ANCESTOR_REL_OID));
}

bool pg_join_row_full(const struct join *j, int row, bool partitioned_too)
{
	return state_bool(j, row, STATE_FULL) || (!partitioned_too && state_text(j, row, STATE_RELKIND)[0] == 'p');
}

bool pg_join_is_complete(const struct join *j)
{
	bool may_alter = state_bool(j, 0, STATE_MAY_ALTER);
	for (int i = 0; i < PQntuples(j->state); i++)
		if (!pg_join_row_published(j, i, !may_alter) || !pg_join_row_full(j, i, may_alter))
			return false;
	return true;
}

uint32_t pg_join_rel_oid(const struct join *j)
{
	uint32_t oid = pg_value_oid(j->state, 0, STATE_REL_OID);
	if (oid != 0)
		return oid;
	if (state_bool(j, 0, STATE_ALL_TABLES) || state_bool(j, 0, STATE_BY_SCHEMA))
		return pg_value_oid(j->state, 0, STATE_PUB_OID);
	return pg_value_oid(j->state, 0, STATE_ANCESTOR_REL_OID);
}

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
