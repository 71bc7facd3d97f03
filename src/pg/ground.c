/* ground.c - reading the ground that shapes depend on, and comparing two readings; see ground.h. */
#include "pg/ground.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg/publication.h"
#include "pg/query.h"

#define SCHEMA_PUBLICATIONS_SINCE 150000 /* also row filters and column lists */
#define GENERATED_COLUMNS_SINCE 180000

#define FLAG_OPERATIONS 4 /* the first so many flags must be set */

/* ---- reading ---- */

/* The words of ground.h, a row each: (root, word). A partition is published through its root, whatever entries
 * it has: only a filter of its own matters. */
/* clang-format off */
static const char family_sql[] =
	"),"
	" family (root, oid) AS ("
	"  SELECT t.oid, t.oid FROM t"
	"  UNION SELECT f.root, i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid),"
	/* OFFSET 0: by the index, though a recursion is taken to have many rows. */
	" member (root, oid, prefix, whole, nsp, file, changed) AS MATERIALIZED ("
	"  SELECT f.root, c.oid, CASE WHEN c.oid = f.root THEN '' ELSE 'c' || c.oid::pg_catalog.text || '.' END,"
	"   c.oid = f.root OR NOT c.relispartition, c.relnamespace, CASE c.relkind WHEN 'r' THEN c.relfilenode END, c.changed"
	"  FROM family f, LATERAL (SELECT k.*, k.xmin AS changed FROM pg_catalog.pg_class k WHERE k.oid = f.oid OFFSET 0) c),"
	/* The table itself is among its ancestors where it is a partition. */
	" above (root, oid) AS ("
	"  SELECT t.oid, an.relid FROM t JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relispartition,"
	"   LATERAL pg_catalog.pg_partition_ancestors(t.oid) an (relid) WHERE an.relid <> t.oid),"
	" pub AS MATERIALIZED (SELECT p.*, p.xmin::pg_catalog.text AS altered FROM pg_catalog.pg_publication p"
	"  WHERE p.pubname = $1::pg_catalog.text),"
	" word (root, w) AS (";

static const char entries_sql[] =
	"  UNION ALL SELECT m.root, m.prefix || 'a' FROM member m, pub WHERE pub.puballtables AND m.whole"
	"  UNION ALL SELECT a.root, 'r' || r.oid::pg_catalog.text FROM above a"
	"   JOIN pg_catalog.pg_publication_rel r ON r.prrelid = a.oid JOIN pub ON pub.oid = r.prpubid";

static const char files_sql[] =
	"  UNION ALL SELECT m.root, 'x' || m.oid::pg_catalog.text || '.' || m.file::pg_catalog.text || '.' ||"
	"   coalesce((SELECT pg_catalog.string_agg(a.attnum::pg_catalog.text || ':' || a.xmin::pg_catalog.text, ',' ORDER BY a.attnum)"
	"    FROM pg_catalog.pg_attribute a WHERE a.attrelid = m.oid AND a.attgenerated = 's' AND NOT a.attisdropped), '')"
	"   FROM member m WHERE m.file IS NOT NULL"
	"  UNION ALL SELECT m.root, 'm' || m.oid::pg_catalog.text FROM member m WHERE m.file IS NULL"
	/* Indexes keep keys apart; of children by inheritance what their columns may hold counts, too. */
	"  UNION ALL SELECT m.root, 'w' || m.changed::pg_catalog.text || '.' || m.nsp::pg_catalog.text || '.' ||"
	"   coalesce((SELECT pg_catalog.count(*)::pg_catalog.text || ':' || pg_catalog.sum(i.xmin::pg_catalog.text::pg_catalog.int8)::pg_catalog.text"
	"    FROM pg_catalog.pg_index i WHERE i.indrelid = m.oid), '0') || CASE WHEN m.oid = m.root THEN '' ELSE '.' || m.oid::pg_catalog.text || '.' ||"
	"   (SELECT pg_catalog.sum(a.xmin::pg_catalog.text::pg_catalog.int8)::pg_catalog.text FROM pg_catalog.pg_attribute a WHERE a.attrelid = m.oid) END"
	"   FROM member m WHERE m.whole"
	"  UNION ALL SELECT t.oid, 'k' || a.attnum::pg_catalog.text || '.' || a.xmin::pg_catalog.text || '.' ||"
	"   a.atthasmissing::pg_catalog.int4::pg_catalog.text || '.' || coalesce(d.oid, 0)::pg_catalog.text"
	"   FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped"
	"    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum";

static const char plain_entries_sql[] =
	"  UNION ALL SELECT m.root, m.prefix || 'r' || r.oid::pg_catalog.text"
	"   FROM member m JOIN pg_catalog.pg_publication_rel r ON r.prrelid = m.oid JOIN pub ON pub.oid = r.prpubid WHERE m.whole";

static const char filtered_entries_sql[] =
	"  UNION ALL SELECT m.root, CASE WHEN r.prqual IS NULL AND r.prattrs IS NULL THEN m.prefix || 'r'"
	"    ELSE 'f' || m.oid::pg_catalog.text || '.' END || r.oid::pg_catalog.text"
	"   FROM member m JOIN pg_catalog.pg_publication_rel r ON r.prrelid = m.oid JOIN pub ON pub.oid = r.prpubid"
	"   WHERE m.whole OR r.prqual IS NOT NULL OR r.prattrs IS NOT NULL"
	"  UNION ALL SELECT m.root, m.prefix || 's' || n.oid::pg_catalog.text"
	"   FROM member m JOIN pg_catalog.pg_publication_namespace n ON n.pnnspid = m.nsp JOIN pub ON pub.oid = n.pnpubid WHERE m.whole"
	"  UNION ALL SELECT a.root, 's' || n.oid::pg_catalog.text FROM above a JOIN pg_catalog.pg_class c ON c.oid = a.oid"
	"   JOIN pg_catalog.pg_publication_namespace n ON n.pnnspid = c.relnamespace JOIN pub ON pub.oid = n.pnpubid";
/* clang-format on */

static void put_sql(int server_version, bool one, struct buf *sql)
{
	buf_puts(sql, "WITH RECURSIVE t (oid) AS (SELECT DISTINCT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ");
	buf_puts(sql, one ? "$2::pg_catalog.oid" : "ANY ($2::pg_catalog.oid[])");
	buf_puts(sql, family_sql);
	buf_puts(sql, "SELECT t.oid, 'p' || pub.oid::pg_catalog.text || '.' || pub.altered || '.' || pg_catalog.translate(pg_catalog.concat("
	              "pub.pubinsert, pub.pubupdate, pub.pubdelete, pub.pubtruncate, pub.pubviaroot, ");
	buf_puts(sql, server_version < GENERATED_COLUMNS_SINCE ? "false" : "pub.pubgencols = 's'");
	buf_puts(sql, "), 'tf', '10') FROM t, pub");
	buf_puts(sql, entries_sql);
	buf_puts(sql, files_sql);
	buf_puts(sql, server_version < SCHEMA_PUBLICATIONS_SINCE ? plain_entries_sql : filtered_entries_sql);
	buf_puts(sql, "), said (root, text) AS ("
	              "  SELECT d.root, pg_catalog.string_agg(d.w, ' ' ORDER BY d.w COLLATE \"C\")"
	              "  FROM (SELECT DISTINCT word.root, word.w FROM word) d GROUP BY d.root)"
	              " SELECT t.oid, coalesce(said.text, '-') FROM t LEFT JOIN said ON said.root = t.oid");
}

static int read_ground(PGconn *conn, const char *publication, bool one, const char *oids, struct pg_texts *out, struct err *e)
{
	struct buf sql = BUF_INIT(PG_SQL_MAX_BYTES);
	put_sql(PQserverVersion(conn), one, &sql);
	int rc = pg_texts_query(conn, one ? "busbar_ground" : NULL, sql.data, 2, (const char *const[]){publication, oids}, out, e);
	buf_clear(&sql);
	return rc;
}

int pg_ground_read(PGconn *conn, const char *publication, const char *oids, struct pg_texts *out, struct err *e)
{
	return read_ground(conn, publication, false, oids, out, e);
}

int pg_ground_read_one(PGconn *conn, const char *publication, uint32_t oid, struct pg_texts *out, struct err *e)
{
	char text[12];
	snprintf(text, sizeof text, "%" PRIu32, oid);
	return read_ground(conn, publication, true, text, out, e);
}

/* ---- words ---- */

struct word {
	const char *p;
	size_t len;
};

static bool next_word(const char **at, struct word *out)
{
	*at += strspn(*at, " ");
	out->p = *at;
	out->len = strcspn(*at, " ");
	*at += out->len;
	return out->len > 0;
}

static bool same_word(struct word a, struct word b) { return a.len == b.len && memcmp(a.p, b.p, a.len) == 0; }

static bool has_word(const char *ground, struct word w)
{
	struct word have;
	for (const char *at = ground; next_word(&at, &have);)
		if (same_word(have, w))
			return true;
	return false;
}

/* The first word of this kind; len 0: none. */
static struct word word_of(const char *ground, char kind)
{
	struct word w;
	for (const char *at = ground; next_word(&at, &w);)
		if (w.p[0] == kind)
			return w;
	return (struct word){"", 0};
}

/* The length of the part before the n-th dot. */
static size_t up_to_dot(struct word w, int n)
{
	size_t i = 0;
	while (i < w.len && (w.p[i] != '.' || --n > 0))
		i++;
	return i;
}

static bool publishes(struct word w) { return w.p[0] == 'a' || w.p[0] == 'r' || w.p[0] == 's'; }

/* Of a child's word: "c<relation>." */
static bool of_child(struct word w, struct word child)
{
	size_t n = up_to_dot(child, 1);
	return w.len > n && w.p[n] == '.' && memcmp(w.p, child.p, n) == 0;
}

static struct word flags_of(struct word publication)
{
	size_t at = up_to_dot(publication, 2);
	return at < publication.len ? (struct word){publication.p + at + 1, publication.len - at - 1} : (struct word){"", 0};
}

static bool all_operations(struct word publication)
{
	struct word flags = flags_of(publication);
	return flags.len >= FLAG_OPERATIONS && memchr(flags.p, '0', FLAG_OPERATIONS) == NULL;
}

uint32_t pg_ground_publication_xmin(const char *ground)
{
	struct word pub = word_of(ground, 'p');
	size_t at = up_to_dot(pub, 1);
	return at < pub.len ? (uint32_t)strtoul(pub.p + at + 1, NULL, 10) : 0;
}

bool pg_ground_has_entry(const char *ground, uint32_t publication_rel_oid)
{
	char name[16];
	struct word entry = {name, (size_t)snprintf(name, sizeof name, "r%" PRIu32, publication_rel_oid)};
	if (has_word(ground, entry))
		return true;
	struct word pub = word_of(ground, 'p');
	bool whole = word_of(ground, 'a').len > 0 || word_of(ground, 's').len > 0;
	return whole && pub.len > 0 && (uint32_t)strtoul(pub.p + 1, NULL, 10) == publication_rel_oid;
}

static bool is_published(const char *ground)
{
	return word_of(ground, 'a').len > 0 || word_of(ground, 'r').len > 0 || word_of(ground, 's').len > 0;
}

/* ---- comparing ---- */

int pg_ground_check(const char *ground, const struct config *c, const char *schema, const char *name, struct err *e)
{
	struct word pub = word_of(ground, 'p');
	if (pub.len == 0)
		return pg_publication_missing(c, false, e);
	if (!all_operations(pub))
		return pg_publication_incomplete(c->publication_name, e);
	/* A moment ago, when the table joined, it was. */
	if (!is_published(ground) || word_of(ground, 'f').len > 0)
		return err_set(e, ERR_TIMEOUT, "Publication \"%s\" changed while the snapshot of table \"%s.%s\" was taken: try again",
		               c->publication_name, schema, name);
	return 0;
}

static const char *publication_gap(struct word then, struct word now)
{
	if (same_word(then, now))
		return NULL;
	if (now.len == 0)
		return "the publication was dropped";
	if (!all_operations(now))
		return "the publication does not publish all operations any more";
	size_t a = up_to_dot(then, 1), b = up_to_dot(now, 1);
	if (a != b || memcmp(then.p, now.p, a) != 0)
		return "the publication was dropped and made again";
	if (!same_word(flags_of(then), flags_of(now)))
		return "the publication's options changed";
	return "the publication was altered, and may have published less meanwhile";
}

/* Is one of the words that published the table, or this child of it, still there? */
static bool still_published(const char *then, const char *now, const struct word *child)
{
	struct word w;
	for (const char *at = then; next_word(&at, &w);)
		if ((child == NULL ? publishes(w) : of_child(w, *child)) && has_word(now, w))
			return true;
	return false;
}

static const char *children_gap(const char *then, const char *now)
{
	struct word w;
	for (const char *at = then; next_word(&at, &w);)
		if (w.p[0] == 'c' && !still_published(then, now, &w))
			return "a child of the table left the publication";
	return NULL;
}

const char *pg_ground_gap(const char *then, const char *now)
{
	if (strcmp(then, now) == 0)
		return NULL;
	const char *gap = publication_gap(word_of(then, 'p'), word_of(now, 'p'));
	if (gap != NULL)
		return gap;
	struct word w;
	for (const char *at = now; next_word(&at, &w);)
		if (w.p[0] == 'f' && !has_word(then, w))
			return "the table got a row filter or a column list in the publication";
	if (!still_published(then, now, NULL))
		return is_published(now) ? "the table left the publication and came back" : "the table was taken out of the publication";
	return children_gap(then, now);
}

/* ---- columns ---- */

/* A word's parts between dots: "k3.764.0.16401". */
static struct word part_of(struct word w, int n)
{
	size_t from = n == 0 ? 0 : up_to_dot(w, n) + 1;
	if (from > w.len)
		return (struct word){"", 0};
	return (struct word){w.p + from, up_to_dot((struct word){w.p + from, w.len - from}, 1)};
}

/* The word that begins with the same first part; len 0: none. */
static struct word word_like(const char *ground, struct word first)
{
	struct word w;
	for (const char *at = ground; next_word(&at, &w);)
		if (same_word(part_of(w, 0), first))
			return w;
	return (struct word){"", 0};
}

/* By their first parts; a dot sorts before all digits. */
static int by_first(struct word a, struct word b)
{
	size_t n = up_to_dot(a, 1) + 1, m = up_to_dot(b, 1) + 1, least = n < m ? n : m;
	int c = memcmp(a.p, b.p, least);
	return c != 0 || n == m ? c : n < m ? -1 : 1;
}

/* One that was there and still is has another file; `generated`: and other generated columns. */
static bool another_file(const char *then, const char *now, bool generated)
{
	struct word was, is = {"", 0};
	const char *now_at = now;
	for (const char *at = then; next_word(&at, &was);) {
		if (was.p[0] != 'x')
			continue;
		while ((is.len == 0 || by_first(is, was) < 0) && next_word(&now_at, &is))
			;
		if (is.len > 0 && by_first(is, was) == 0 && !same_word(part_of(was, 1), part_of(is, 1)) &&
		    (!generated || !same_word(part_of(was, 2), part_of(is, 2))))
			return true;
	}
	return false;
}

bool pg_ground_moved(const char *then, const char *now)
{
	return strcmp(then, now) != 0 && another_file(then, now, false);
}

bool pg_ground_next_column(const char **at, int16_t *attnum)
{
	struct word w;
	while (next_word(at, &w))
		if (w.p[0] == 'k') {
			*attnum = (int16_t)strtol(w.p + 1, NULL, 10);
			return true;
		}
	return false;
}

bool pg_ground_rewrote(const char *then, const char *now, int16_t attnum, bool generated)
{
	char name[16];
	struct word column = {name, (size_t)snprintf(name, sizeof name, "k%d", attnum)};
	struct word was = word_like(then, column), is = word_like(now, column);
	if (generated && another_file(then, now, true))
		return true;
	if (was.len == 0 || is.len == 0 || same_word(part_of(was, 1), part_of(is, 1)))
		return false;
	struct word missed = part_of(was, 2), misses = part_of(is, 2), was_default = part_of(was, 3), is_default = part_of(is, 3);
	bool filled = missed.p[0] == '1' && misses.p[0] == '0' && same_word(was_default, is_default) && is_default.p[0] != '0';
	return !filled && another_file(then, now, false);
}
