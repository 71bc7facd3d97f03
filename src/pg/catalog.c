/*
 * catalog.c - table descriptions from the catalog.
 *
 * A lookup is one statement, so that name, columns, key and partitions are of one moment.
 */
#include "pg/catalog.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "pg/query.h"

#define ATTACH_LOCK_MS 200 /* the stream waits while a new partition is looked into */
#define ATTACH_LOOK_MS 5000
#define ATTNUMS_BYTES_MAX 16384 /* 1,600 of at most 4 digits */
#define ATTACH_SQL_MAX 640 /* a quoted name of two parts has at most 257 bytes */
#include "pg/table/make.h"

/*
 * One row per column. The partitions' oids come with the first row only, and so do types, collations and what is
 * known of keys, as they are stored. An index guards the keys of a table (or of a child by inheritance) if it is valid
 * and unique without a condition, over columns of the key alone, none of which can be null twice. What a type is made of
 * is followed down to the last; type names are of the element for
 * columns with declared dimensions. Types below FIRST_UNPINNED_OID are those of pg_type.dat. What a major
 * version calls a locale, and where it keeps the provider, is read through JSON, so that one statement
 * serves all of them.
 */
#define FIRST_UNPINNED_OID "10000"
/* clang-format off */
#define LOOKUP_SQL(condition) \
	"WITH RECURSIVE rel AS (" \
	"  SELECT c.oid, n.nspname, c.relname, c.relkind, n.oid AS nsp" \
	"  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace" \
	"  WHERE c.relkind IN ('r', 'p') AND " condition \
	"), down (oid) AS (" \
	"  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN rel ON rel.oid = i.inhparent" \
	"  UNION" \
	"  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN down ON down.oid = i.inhparent" \
	"), members (oid) AS (" \
	"  SELECT oid FROM rel" \
	"  UNION" \
	"  SELECT down.oid FROM down JOIN rel ON rel.relkind = 'r'" \
	"    JOIN pg_catalog.pg_class k ON k.oid = down.oid AND k.relkind = 'r'" \
	"), keyed (name) AS (" \
	"  SELECT a.attname FROM rel" \
	"    JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped" \
	"    LEFT JOIN pg_catalog.pg_index x ON x.indrelid = rel.oid AND x.indisprimary" \
	"  WHERE x.indexrelid IS NULL OR pg_catalog.array_position(x.indkey::pg_catalog.int2[], a.attnum) < x.indnkeyatts" \
	"), guarded (oid, keys) AS (" \
	"  SELECT members.oid, coalesce(pg_catalog.min(CASE x.indimmediate WHEN true THEN 0 WHEN false THEN 1 END), 2)" \
	"  FROM members LEFT JOIN pg_catalog.pg_index x ON x.indrelid = members.oid AND x.indisunique AND x.indisvalid" \
	"    AND x.indpred IS NULL AND NOT EXISTS (" \
	"      SELECT FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) i (at)" \
	"        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[i.at]" \
	"          AND a.attname IN (SELECT keyed.name FROM keyed)" \
	"      WHERE a.attnum IS NULL OR (NOT coalesce((pg_catalog.to_jsonb(x)->>'indnullsnotdistinct')::pg_catalog.bool, false)" \
	"        AND (NOT a.attnotnull OR EXISTS (" \
	"          SELECT FROM pg_catalog.pg_constraint n WHERE n.conrelid = x.indrelid AND n.contype = 'n'" \
	"            AND n.conkey[1] = a.attnum AND NOT n.convalidated))))" \
	"  GROUP BY members.oid" \
	"), keys (json) AS (" \
	"  SELECT pg_catalog.json_build_object(" \
	"    'keys', CASE WHEN pg_catalog.max(g.keys) = 2 AND pg_catalog.bool_or(p.has) THEN 3 ELSE pg_catalog.max(g.keys) END," \
	"    'clash', pg_catalog.min(pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname))" \
	"      FILTER (WHERE g.keys = 2 AND p.has)," \
	"    'members', coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::pg_catalog.int8, n.nspname::pg_catalog.text," \
	"      c.relname::pg_catalog.text) ORDER BY c.oid) FILTER (WHERE c.oid <> rel.oid), '[]'))" \
	"  FROM guarded g JOIN pg_catalog.pg_class c ON c.oid = g.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace," \
	"    rel, LATERAL (SELECT EXISTS (" \
	"      SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = rel.oid AND x.indisprimary)) p (has)" \
	"), below (oid) AS (" \
	"  SELECT a.atttypid FROM rel" \
	"    JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped" \
	"  UNION" \
	"  SELECT x.oid FROM below JOIN pg_catalog.pg_type t ON t.oid = below.oid AND t.oid >= " FIRST_UNPINNED_OID "," \
	"  LATERAL (" \
	"   SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END" \
	"   WHERE t.typtype = 'd' OR t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc" \
	"   UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a" \
	"   WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped" \
	"   UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE t.typtype = 'r' AND r.rngtypid = t.oid" \
	"   UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE t.typtype = 'm' AND r.rngmultitypid = t.oid" \
	"  ) x (oid)" \
	"), types (list) AS (" \
	"  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(t.oid::pg_catalog.int8, n.nspname::pg_catalog.text," \
	"    t.typname::pg_catalog.text, t.typtype::pg_catalog.text," \
	"    CASE WHEN t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc AND t.typtype <> 'd'" \
	"      THEN t.typelem::pg_catalog.int8 ELSE 0 END," \
	"    t.typbasetype::pg_catalog.int8, t.typtypmod," \
	"    coalesce((SELECT pg_catalog.json_agg(l.enumlabel::pg_catalog.text ORDER BY l.enumsortorder)" \
	"      FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid), '[]')," \
	"    coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_array(p.id, p.type, p.typmod, p.name) ORDER BY p.at) FROM (" \
	"      SELECT l.oid::pg_catalog.int8, 0, -1, '', l.enumsortorder FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid" \
	"      UNION ALL SELECT a.attnum, a.atttypid::pg_catalog.int8, a.atttypmod, a.attname::pg_catalog.text, a.attnum" \
	"      FROM pg_catalog.pg_attribute a" \
	"      WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped" \
	"      UNION ALL SELECT 0, r.rngsubtype::pg_catalog.int8, -1, '', 0 FROM pg_catalog.pg_range r" \
	"      WHERE t.typtype = 'r' AND r.rngtypid = t.oid" \
	"      UNION ALL SELECT 0, r.rngtypid::pg_catalog.int8, -1, '', 0 FROM pg_catalog.pg_range r" \
	"      WHERE t.typtype = 'm' AND r.rngmultitypid = t.oid" \
	"    ) p (id, type, typmod, name, at)), '[]')) ORDER BY t.oid)" \
	"  FROM below JOIN pg_catalog.pg_type t ON t.oid = below.oid AND t.oid >= " FIRST_UNPINNED_OID \
	"    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace" \
	"), collations (list) AS (" \
	"  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::pg_catalog.int8, n.nspname::pg_catalog.text," \
	"    c.collname::pg_catalog.text, x.provider, c.collisdeterministic," \
	"    CASE x.provider WHEN 'c' THEN x.lc_collate ELSE x.locale END," \
	"    CASE x.provider WHEN 'c' THEN x.lc_ctype ELSE x.locale END," \
	"    x.version) ORDER BY c.oid <> 100, c.oid)" \
	"  FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace," \
	"    LATERAL (" \
	"      SELECT coalesce(d.j->>'datlocprovider', 'c'), d.j->>'datcollate', d.j->>'datctype'," \
	"        coalesce(d.j->>'datlocale', d.j->>'daticulocale', d.j->>'datcollate'), d.j->>'datcollversion'" \
	"      FROM (SELECT pg_catalog.to_jsonb(b) FROM pg_catalog.pg_database b" \
	"        WHERE b.datname = pg_catalog.current_database()) d (j)" \
	"      WHERE c.oid = 100" \
	"      UNION ALL" \
	"      SELECT c.collprovider::pg_catalog.text, k.j->>'collcollate', k.j->>'collctype'," \
	"        coalesce(k.j->>'colllocale', k.j->>'colliculocale', k.j->>'collcollate'), c.collversion" \
	"      FROM (SELECT pg_catalog.to_jsonb(c)) k (j)" \
	"      WHERE c.oid <> 100" \
	"    ) x (provider, lc_collate, lc_ctype, locale, version)" \
	"  WHERE c.oid = 100 OR c.oid IN (SELECT a.attcollation FROM rel" \
	"    JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped)" \
	") " \
	"SELECT rel.oid, rel.nspname, rel.relname, rel.relkind," \
	"  CASE WHEN a.attnum = pg_catalog.min(a.attnum) OVER () THEN" \
	"    (SELECT pg_catalog.string_agg(k.oid::pg_catalog.text, ' ' ORDER BY k.oid)" \
	"     FROM down JOIN pg_catalog.pg_class k ON k.oid = down.oid AND k.relkind IN ('r', 'p')) END," \
	"  a.attname, a.attnum, a.atttypid, a.atttypmod," \
	"  COALESCE(CASE WHEN a.attndims > 0 THEN el.typname END, ty.typname)," \
	"  a.attndims, a.attnotnull, a.attgenerated," \
	"  a.atttypid = 16 OR (ty.typtype = 'd' AND EXISTS (" \
	"    WITH RECURSIVE base (oid) AS (" \
	"      SELECT ty.typbasetype" \
	"      UNION SELECT b.typbasetype FROM base JOIN pg_catalog.pg_type b ON b.oid = base.oid AND b.typtype = 'd'" \
	"    ) SELECT 1 FROM base WHERE base.oid = 16))," \
	"  CASE WHEN pk.at < pk.n THEN pk.at ELSE -1 END, a.attcollation," \
	"  CASE WHEN a.attnum = pg_catalog.min(a.attnum) OVER () THEN" \
	"    (SELECT pg_catalog.json_build_object('types', coalesce(types.list, '[]'), 'collations', collations.list," \
	"       'keys', keys.json) FROM types, collations, keys) END," \
	"  NOT pg_catalog.has_column_privilege(reader.name, rel.oid, a.attnum, 'SELECT')," \
	"  NOT pg_catalog.has_column_privilege(reader.name, rel.oid, 'tableoid', 'SELECT')," \
	"  NOT pg_catalog.has_schema_privilege(reader.name, rel.nsp, 'USAGE') " \
	"FROM rel CROSS JOIN (SELECT coalesce((SELECT r.rolname FROM pg_catalog.pg_roles r" \
	"    WHERE r.rolname = pg_catalog.current_setting('" PG_READER_SETTING "', true)), CURRENT_USER) AS name) reader" \
	"  JOIN pg_catalog.pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped" \
	"  JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid" \
	"  LEFT JOIN pg_catalog.pg_type el ON el.oid = ty.typelem AND ty.typelem <> 0" \
	"  LEFT JOIN LATERAL (" /* an int2vector counts from 0; behind indnkeyatts are INCLUDEd columns */ \
	"    SELECT pg_catalog.array_position(x.indkey::pg_catalog.int2[], a.attnum) AS at, x.indnkeyatts AS n" \
	"    FROM pg_catalog.pg_index x WHERE x.indrelid = rel.oid AND x.indisprimary) pk ON true " \
	"ORDER BY a.attnum"
/* clang-format on */

enum {
	COL_OID, COL_SCHEMA, COL_NAME, COL_RELKIND, COL_LEAVES, COL_ATTNAME, COL_ATTNUM, COL_TYPE, COL_TYPMOD,
	COL_TYPE_NAME, COL_DIMS, COL_NOT_NULL, COL_GENERATED, COL_IS_BOOL, COL_PK_INDEX,
	COL_COLLATION, COL_MORE, COL_DENIED, COL_TABLEOID_DENIED, COL_NO_USAGE,
};

/* "16390 16401" */
static void parse_leaves(const char *s, struct pg_table *t)
{
	uint32_t n = s[0] != '\0';
	for (const char *p = s; *p != '\0'; p++)
		if (*p == ' ')
			n++;
	if (n == 0)
		return;
	t->leaves = mem_alloc(n * sizeof t->leaves[0]);
	for (char *end; *s != '\0'; s = *end == ' ' ? end + 1 : end) {
		uint32_t oid = (uint32_t)strtoul(s, &end, 10);
		if (end == s)
			break;
		t->leaves[t->nleaves++] = oid;
	}
}

/* The place of a collation in the table's list; -1 for 0, beyond the list if it isn't there. */
static int collation_index(const struct pg_table *t, uint32_t oid)
{
	if (oid == 0)
		return -1;
	int at = 0;
	while (at < t->ncollations && t->collations[at].oid != oid)
		at++;
	return at;
}

/* Always a table; one whose parts don't fit has columns with impossible collations, and pg_table_finish() refuses it. */
static struct pg_table *table_from_rows(const PGresult *res)
{
	struct pg_table *t = pg_table_new((uint16_t)PQntuples(res));
	t->oid = pg_value_oid(res, 0, COL_OID);
	t->schema = mem_strdup(pg_value(res, 0, COL_SCHEMA));
	t->name = mem_strdup(pg_value(res, 0, COL_NAME));
	t->relkind = pg_value(res, 0, COL_RELKIND)[0];
	t->no_usage = pg_value_bool(res, 0, COL_NO_USAGE);
	parse_leaves(pg_value(res, 0, COL_LEAVES), t);
	bool fits = pg_table_parse_more(pg_value(res, 0, COL_MORE), t);
	t->tableoid_denied = t->nmembers > 0 && pg_value_bool(res, 0, COL_TABLEOID_DENIED);
	for (int i = 0; i < PQntuples(res); i++)
		t->columns[i] = (struct pg_column){
			.name = mem_strdup(pg_value(res, i, COL_ATTNAME)),
			.attnum = (int16_t)pg_value_int(res, i, COL_ATTNUM),
			.type_oid = pg_value_oid(res, i, COL_TYPE),
			.typmod = (int32_t)pg_value_int(res, i, COL_TYPMOD),
			.type_name = mem_strdup(pg_value(res, i, COL_TYPE_NAME)),
			.dims = (int)pg_value_int(res, i, COL_DIMS),
			.not_null = pg_value_bool(res, i, COL_NOT_NULL),
			.generated = pg_value(res, i, COL_GENERATED)[0] != '\0',
			.is_virtual = pg_value(res, i, COL_GENERATED)[0] == 'v',
			.is_bool = pg_value_bool(res, i, COL_IS_BOOL),
			.pk_index = (int)pg_value_int(res, i, COL_PK_INDEX),
			.denied = pg_value_bool(res, i, COL_DENIED),
			.collation = fits ? collation_index(t, pg_value_oid(res, i, COL_COLLATION)) : t->ncollations,
		};
	return t;
}

static int lookup(PGconn *conn, const char *statement, const char *sql, int nparams, const char *const *params,
                  struct pg_table **out, struct err *e)
{
	*out = NULL;
	PGresult *res = pg_query_kept(conn, statement, sql, nparams, params, e);
	if (res == NULL)
		return -1;
	int n = PQntuples(res), rc = 0;
	if (n == 0) {
		rc = 1;
	} else if (n > TABLE_COLUMNS_MAX) {
		rc = err_set(e, ERR_PROTOCOL, "table %s has %d columns", pg_value(res, 0, COL_NAME), n);
	} else {
		struct pg_table *t = table_from_rows(res);
		if (pg_table_finish(t)) {
			*out = t;
		} else {
			rc = err_set(e, ERR_PROTOCOL, "what the catalog says of table %s makes no sense", t->name);
			pg_table_unref(t);
		}
	}
	PQclear(res);
	return rc;
}

int pg_catalog_lookup(PGconn *conn, const char *schema, const char *name, struct pg_table **out, struct err *e)
{
	/* As text: a parameter of type name would be cut to 63 bytes and find another table. */
	static const char sql[] = LOOKUP_SQL("n.nspname = $1::pg_catalog.text AND c.relname = $2::pg_catalog.text");
	int rc = lookup(conn, "busbar_table_by_name", sql, 2, (const char *const[]){schema, name}, out, e);
	if (rc < 0 && e->kind == ERR_PG && pg_sqlstate_is(e, PG_SQLSTATE_UNTRANSLATABLE))
		return 1; /* a name that the database's encoding can't have */
	return rc;
}

int pg_catalog_lookup_oid(PGconn *conn, uint32_t oid, struct pg_table **out, struct err *e)
{
	static const char sql[] = LOOKUP_SQL("c.oid = $1::pg_catalog.oid");
	char text[12];
	snprintf(text, sizeof text, "%" PRIu32, oid);
	return lookup(conn, "busbar_table", sql, 1, (const char *const[]){text}, out, e);
}

int pg_catalog_ancestors(PGconn *conn, uint32_t oid, uint32_t *out, int max, struct err *e)
{
	/* A table can inherit from one ancestor on several ways: the shortest counts. */
	static const char sql[] =
		"WITH RECURSIVE up (oid, depth) AS ("
		"  SELECT inhparent, 1 FROM pg_catalog.pg_inherits WHERE inhrelid = $1::pg_catalog.oid"
		"  UNION"
		"  SELECT i.inhparent, up.depth + 1 FROM pg_catalog.pg_inherits i JOIN up ON up.oid = i.inhrelid"
		") SELECT oid FROM up GROUP BY oid ORDER BY pg_catalog.min(depth), oid";
	char text[12];
	snprintf(text, sizeof text, "%" PRIu32, oid);
	PGresult *res = pg_query(conn, sql, 1, (const char *const[]){text}, e);
	if (res == NULL)
		return -1;
	int n = PQntuples(res);
	if (n > max)
		n = max;
	for (int i = 0; i < n; i++)
		out[i] = pg_value_oid(res, i, 0);
	PQclear(res);
	return n;
}

int pg_catalog_unseen_parents(PGconn *conn, uint32_t xid, uint32_t **out, struct err *e)
{
	/* A transaction holds its locks until all others see what it did. Whatever gives a table a child (CREATE,
	 * ATTACH, INHERIT) takes at least ShareUpdateExclusive on it. One look at pg_locks, for one picture. */
	static const char sql[] =
		"WITH RECURSIVE l AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE granted),"
		" up (oid) AS ("
		"  SELECT l.relation FROM l JOIN l x ON x.virtualtransaction = l.virtualtransaction"
		"  WHERE x.locktype = 'transactionid' AND x.transactionid = $1::pg_catalog.xid AND x.mode = 'ExclusiveLock'"
		"  AND l.locktype = 'relation'"
		"  AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
		"  UNION"
		"  SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN up ON up.oid = i.inhrelid"
		") SELECT oid FROM up";
	char text[12];
	snprintf(text, sizeof text, "%" PRIu32, xid);
	PGresult *res = pg_query(conn, sql, 1, (const char *const[]){text}, e);
	if (res == NULL)
		return -1;
	int n = PQntuples(res);
	*out = mem_alloc((size_t)n * sizeof **out);
	for (int i = 0; i < n; i++)
		(*out)[i] = pg_value_oid(res, i, 0);
	PQclear(res);
	return n;
}

int pg_catalog_read_only(PGconn *conn, struct err *e) { return pg_command(conn, "SET default_transaction_read_only = on", e); }

int pg_catalog_set_reader(PGconn *conn, const char *role, struct err *e)
{
	PGresult *res = pg_query(conn, "SELECT pg_catalog.set_config('" PG_READER_SETTING "', $1, false)", 1, (const char *const[]){role}, e);
	PQclear(res);
	return res != NULL ? 0 : -1;
}

/* Numbers of the columns that are NOT NULL, or aren't, as an array's text. */
static void put_attnums(const struct pg_table *t, bool not_null, struct buf *out)
{
	buf_putc(out, '{');
	for (uint16_t i = 0; i < t->ncolumns; i++)
		if (t->columns[i].not_null == not_null)
			buf_printf(out, "%s%d", out->data[out->len - 1] != '{' ? "," : "", t->columns[i].attnum);
	buf_puts(out, "}");
}

int pg_catalog_glance(PGconn *conn, const struct pg_table *t, bool *children, bool *nulls, struct err *e)
{
	static const char sql[] =
		"SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = $1::pg_catalog.oid),"
		" EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = $1::pg_catalog.oid AND NOT attisdropped"
		"  AND attnum = ANY (CASE WHEN attnotnull THEN $3::pg_catalog.int2[] ELSE $2::pg_catalog.int2[] END))";
	struct buf yes = BUF_INIT(ATTNUMS_BYTES_MAX), no = BUF_INIT(ATTNUMS_BYTES_MAX);
	char oid[12];
	snprintf(oid, sizeof oid, "%" PRIu32, t->oid);
	put_attnums(t, true, &yes);
	put_attnums(t, false, &no);
	PGresult *res = pg_query_kept(conn, "busbar_glance", sql, 3, (const char *const[]){oid, yes.data, no.data}, e);
	*children = res != NULL && pg_value_bool(res, 0, 0);
	*nulls = res != NULL && pg_value_bool(res, 0, 1);
	PQclear(res);
	buf_clear(&yes);
	buf_clear(&no);
	return res != NULL ? 0 : -1;
}

/* A row of the relation that is older than the link. */
static bool has_older_row(PGconn *conn, const char *relation, const char *made, const char *cmd)
{
	char sql[ATTACH_SQL_MAX];
	snprintf(sql, sizeof sql,
	         "BEGIN; SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d;"
	         " SELECT 1 FROM ONLY %s t WHERE pg_catalog.age(t.xmin) > pg_catalog.age('%s'::pg_catalog.xid)"
	         " OR (t.xmin = '%s'::pg_catalog.xid AND t.cmin::pg_catalog.text::pg_catalog.int8 < %s) LIMIT 1",
	         ATTACH_LOCK_MS, ATTACH_LOOK_MS, relation, made, made, cmd);
	PGresult *found = PQexec(conn, sql);
	bool rows = PQresultStatus(found) != PGRES_TUPLES_OK || PQntuples(found) > 0;
	PQclear(found);
	PQclear(PQexec(conn, "ROLLBACK"));
	return rows;
}

bool pg_catalog_attached_with_rows(PGconn *conn, uint32_t oid)
{
	static const char links_sql[] =
		"WITH RECURSIVE link AS ("
		" SELECT i.inhparent, i.xmin AS made, i.cmin AS cmd FROM pg_catalog.pg_inherits i WHERE i.inhrelid = $1::pg_catalog.oid"
		" UNION ALL"
		" SELECT i.inhparent, i.xmin, i.cmin FROM pg_catalog.pg_inherits i JOIN link l ON i.inhrelid = l.inhparent)"
		" SELECT l.made, l.cmd, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"
		" FROM link l, pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
		" WHERE c.oid = $1::pg_catalog.oid AND c.relkind = 'r'";
	char text[12];
	struct err ignored;
	snprintf(text, sizeof text, "%" PRIu32, oid);
	PGresult *links = pg_query(conn, links_sql, 1, (const char *const[]){text}, &ignored);
	bool rows = links == NULL;
	for (int i = 0; !rows && i < PQntuples(links); i++)
		rows = has_older_row(conn, pg_value(links, i, 2), pg_value(links, i, 0), pg_value(links, i, 1));
	PQclear(links);
	return rows;
}

int pg_catalog_types_said(PGconn *conn, const char *oids, struct pg_texts *out, struct err *e)
{
	static const char said_sql[] =
		"SELECT t.oid, t.xmin::pg_catalog.text || ' ' || (SELECT pg_catalog.count(*)::pg_catalog.text || ' ' ||"
		" coalesce(pg_catalog.sum(l.xmin::pg_catalog.text::pg_catalog.int8), 0)::pg_catalog.text"
		" FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid) || coalesce((SELECT ' ' || pg_catalog.string_agg(a.attnum::pg_catalog.text ||"
		" a.attisdropped::pg_catalog.text || a.xmin::pg_catalog.text, ' ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a"
		" WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0), '') FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1::pg_catalog.oid[])"
		" UNION ALL"
		" SELECT c.oid, c.xmin::pg_catalog.text FROM pg_catalog.pg_collation c WHERE c.oid = ANY ($1::pg_catalog.oid[])";
	return pg_texts_query(conn, NULL, said_sql, 1, (const char *const[]){oids}, out, e);
}
