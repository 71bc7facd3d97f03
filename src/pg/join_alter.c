/*
 * join_alter.c - what a joining table lacks is altered, or said with the SQL that mends it; see join_private.h. The identity is changed
 * before the table is added and in a transaction of its own: the other way round, UPDATEs of a table without a key
 * would fail in between, and the publication would stay locked while we queue for the table.
 */
#include "pg/join_private.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

#define PUB_ROUNDS_MAX 4         /* reading and altering again because the catalog changed meanwhile */
#define PUB_RETRY_PAUSE_MS 100   /* lets the queue behind our lock request through */
#define SCHEMA_PUBLICATIONS_SINCE 150000 /* also row filters and column lists */
#define GENERATED_COLUMNS_SINCE 180000

/* ---- texts for clients (docs/protocol.md 8.3) ---- */

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
		if (!pg_join_row_published(j, i, true))
			return err_missing(j, i, true, e);
	for (int i = 0; i < PQntuples(j->state); i++)
		if (!pg_join_row_full(j, i, false))
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

int pg_join_alter(const struct join *j, int row, const char *statements, struct err *e)
{
	for (;;) {
		if (pg_join_cancelled(j))
			return pg_join_err_cancelled(e);
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
		pg_join_pause_ms(PUB_RETRY_PAUSE_MS);
	}
}

static void put_row_table(const struct join *j, int row, struct buf *sql)
{
	pg_put_table(sql, state_text(j, row, STATE_SCHEMA), state_text(j, row, STATE_NAME));
}

void pg_join_put_alter(const struct join *j, int row, const char *verb, struct buf *sql)
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
	int rc = pg_join_alter(j, row, sql.data, e);
	buf_clear(&sql);
	return rc == 0 ? 0 : alter_outcome(j, row, true, e);
}

int pg_join_add(const struct join *j, int row, struct err *e)
{
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	if (pg_value_oid(j->state, row, STATE_REL_OID) != 0) {
		pg_join_put_alter(j, row, "DROP", &sql);
		buf_puts(&sql, "; ");
	}
	pg_join_put_alter(j, row, "ADD", &sql);
	int rc = pg_join_alter(j, row, sql.data, e);
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
 * identity is to change, or has been FULL with our shapes. */
static void put_left_out_sql(int server_version, bool joined, struct buf *sql)
{
	const char *others = joined ? "NOT pub.ours" : "NOT pub.ours AND fam.relreplident <> 'f'";
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
	              " WHERE (");
	buf_puts(sql, others);
	buf_puts(sql, " AND pr.prattrs IS NOT NULL)");
	if (server_version >= GENERATED_COLUMNS_SINCE)
		buf_printf(sql, " OR (pub.ours AND (a.attgenerated = 'v' OR (a.attgenerated = 's' AND pub.pubgencols <> 's')))"
		              " OR (%s AND a.attgenerated = 's' AND pub.pubgencols <> 's'"
		              "  AND (pub.puballtables OR pr.oid IS NOT NULL OR EXISTS (SELECT 1"
		              "   FROM pg_catalog.pg_publication_namespace pn WHERE pn.pnpubid = pub.oid AND pn.pnnspid = pc.relnamespace)))", others);
	buf_puts(sql, " ORDER BY NOT pub.ours, a.attgenerated DESC, fam.oid, a.attnum LIMIT 1");
}

static int err_left_out(const struct join *j, const PGresult *found, struct err *e)
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
	const char *schema = pg_value(found, 0, LEFT_OUT_SCHEMA), *table = pg_value(found, 0, LEFT_OUT_TABLE);
	if (j->keeps)
		(void)err_set(e, ERR_CONFIG, "publication \"%s\" %s, so Postgres refuses every UPDATE and DELETE of table \"%s.%s\", whose replica "
		              "identity is FULL, as shapes need it. To mend that, %s", pub, why.data, schema, table, remedy.data);
	else
		(void)err_set(e, ERR_CONFIG, "Unable to create initial snapshot: publication \"%s\" %s, and with the replica identity FULL, which "
		              "shapes need, Postgres would refuse every UPDATE and DELETE of table \"%s.%s\". To have shapes of it, %s",
		              pub, why.data, schema, table, remedy.data);
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
	put_left_out_sql(j->server_version, j->keeps, &sql);
	PGresult *found = pg_query(j->conn, sql.data, 2, (const char *const[]){j->config->publication_name, oid}, e);
	buf_clear(&sql);
	if (found == NULL)
		return -1;
	int rc = PQntuples(found) > 0 ? err_left_out(j, found, e) : 0;
	PQclear(found);
	return rc;
}

/* One pass over what is missing. */
static int alter_missing(const struct join *j, bool *added, struct err *e)
{
	bool may_alter = state_bool(j, 0, STATE_MAY_ALTER);
	int n = PQntuples(j->state);
	for (int i = 0; i < n; i++)
		if (!pg_join_row_full(j, i, may_alter) && set_full(j, i, e) != 0)
			return -1;
	for (int i = 0; i < n; i++) {
		if (pg_join_row_published(j, i, !may_alter))
			continue;
		if (pg_join_add(j, i, e) == 0)
			*added = *added || i == 0;
		else if (alter_outcome(j, i, false, e) != 0)
			return -1;
	}
	return 0;
}

int pg_join_look(struct join *j, bool *complete, struct err *e)
{
	*complete = true;
	if (pg_join_read(j, e) != 0 || pg_join_check(j, e) != 0)
		return -1;
	if (j->config->manual_table_publishing)
		return verify_manual(j, e);
	if (pg_join_is_complete(j)) /* of one that we keep: a column or a publication may have come since */
		return j->keeps ? check_left_out(j, e) : 0;
	*complete = false;
	if (check_left_out(j, e) != 0)
		return -1;
	for (int i = 0; !state_bool(j, 0, STATE_MAY_ALTER) && i < PQntuples(j->state); i++)
		if (!pg_join_row_published(j, i, true))
			return err_missing(j, i, false, e);
	return 0;
}

int pg_join_make_complete(struct join *j, bool *changed, bool *added, struct err *e)
{
	*changed = *added = false;
	for (int round = 0; round < PUB_ROUNDS_MAX; round++) {
		bool complete;
		if (pg_join_look(j, &complete, e) != 0)
			return -1;
		if (complete)
			return 0;
		*changed = true;
		if (alter_missing(j, added, e) != 0)
			return -1;
	}
	return err_set(e, ERR_TIMEOUT, "Table \"%s.%s\" or its partitions kept changing while they were added to publication \"%s\"",
	               j->table->schema, j->table->name, j->config->publication_name);
}
