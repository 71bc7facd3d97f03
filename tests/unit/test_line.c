/*
 * test_line.c - a change, or a snapshot's row, as the line that clients get:
 * docs/protocol.md 5.2 to 5.5.
 *
 * Expected lines are written with ' for ", see want(). `K` in them stands for the key's table part.
 */
#include <jansson.h>

#include "shape_test.h"
#include "shapes/core/engine.h"
#include "shapes/core/line.h"
#include "shapes/ingest/ingest.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/render.h"
#include "shapes/routing/row.h"

#define LIMIT ((size_t)16 << 20)
#define LSN 26800816u
#define XID 741u
#define OP 4u
/* Headers up to the operation, and from there on. */
#define H(op) H_FROM "'" op "','lsn':'26800816','op_position':4,'txids':[741]}}"
#define H_FROM ",'headers':{'relation':['public','items'],'operation':"
#define H_DEL H_FROM "'delete','lsn':'26800816','op_position':4,'txids':[741],'key_change_to':"
#define H_INS H_FROM "'insert','lsn':'26800816','op_position':5,'txids':[741],'key_change_from':"

static const char unsent[] = "unsent"; /* a value that the stream leaves out: TOASTed and unchanged */
#define COLUMNS_MAX 8
#define ROW(...) (const char *const[COLUMNS_MAX + 1]){__VA_ARGS__, end_of_row}
static const char end_of_row[] = "end";

static struct buf scratch = BUF_INIT(LIMIT);

/* ' becomes ", K the table part of the key. */
static const char *want(const char *s)
{
	static char text[8][4096];
	static int next;
	char *out = text[next++ % 8];
	size_t n = 0;
	for (; *s != '\0' && n < sizeof text[0] - 64; s++)
		if (*s == '\'')
			out[n++] = '"';
		else if (*s == 'K')
			n += (size_t)sprintf(out + n, "%s", "\\\"public\\\".\\\"items\\\"");
		else
			out[n++] = *s;
	out[n] = '\0';
	return out;
}

/* ---- formats and relations ---- */

static struct relation *relation_make(const struct pg_table *t)
{
	struct relation *r = mem_zalloc(sizeof *r);
	r->oid = t->oid;
	r->version = 1;
	r->schema = mem_strdup(t->schema);
	r->name = mem_strdup(t->name);
	r->replica_identity = 'f';
	r->ncolumns = t->ncolumns;
	r->names = mem_alloc(COLUMNS_MAX * sizeof *r->names);
	r->types = mem_alloc(COLUMNS_MAX * sizeof *r->types);
	r->identity = mem_alloc(COLUMNS_MAX * sizeof *r->identity);
	for (uint16_t i = 0; i < t->ncolumns; i++) {
		r->identity[i] = true;
		r->names[i] = mem_strdup(t->columns[i].name);
		r->types[i] = t->columns[i].type_oid;
	}
	return r;
}

static struct format format_make(struct pg_table *t, const char *columns, enum shape_replica replica)
{
	struct format f = {.def = def_make(t, columns, replica)};
	struct buf b = BUF_INIT(LIMIT);
	line_key_prefix(t->schema, t->name, &b);
	f.key_prefix = buf_detach(&b, NULL);
	line_relation_json(t, &b);
	f.relation_json = buf_detach(&b, NULL);
	struct relation *r = relation_make(t);
	format_bind(&f, r);
	CHECK(f.bound_ok && f.bound == r && f.bound_version == 1);
	return f;
}

static void clear_lines(struct format *f)
{
	for (int i = 0; i < 2; i++)
		if (f->views[VIEW_AS_IS].lines[i] != NULL)
			line_unref(f->views[VIEW_AS_IS].lines[i]);
	f->views[VIEW_AS_IS].lines[0] = f->views[VIEW_AS_IS].lines[1] = NULL;
}

static void format_done(struct format *f)
{
	clear_lines(f);
	if (f->bound != NULL)
		relation_free((struct relation *)(uintptr_t)f->bound);
	free(f->map);
	free(f->key_prefix);
	free(f->member_prefix);
	free(f->relation_json);
	shape_def_clear(&f->def);
}

static struct format items(const char *columns, enum shape_replica replica)
{
	return format_make(table_make(100, "public", "items", "id:23:pk0 name:25 ok:16:bool"), columns, replica);
}

/* ---- changes ---- */

static struct wal_tuple tuple(const char *const *row, struct wal_value values[COLUMNS_MAX])
{
	struct wal_tuple t = {0, values};
	for (; row != NULL && row[t.ncolumns] != end_of_row; t.ncolumns++) {
		const char *s = row[t.ncolumns];
		values[t.ncolumns] = s == NULL     ? (struct wal_value){WAL_NULL, 0, NULL}
		                     : s == unsent ? (struct wal_value){WAL_UNCHANGED, 0, NULL}
		                                   : (struct wal_value){WAL_TEXT, (uint32_t)strlen(s), s};
	}
	return t;
}

static int render(struct format *f, enum wal_kind kind, char old_kind, const char *const *old_row, const char *const *new_row)
{
	struct wal_value old_values[COLUMNS_MAX], new_values[COLUMNS_MAX];
	struct wal_change c = {.kind = kind};
	c.u.row.relation_oid = f->def.table->oid;
	c.u.row.old_kind = old_kind;
	c.u.row.old_tuple = tuple(old_row, old_values);
	c.u.row.new_tuple = tuple(new_row, new_values);
	clear_lines(f);
	line_render(f, VIEW_AS_IS, &c, LSN, OP, XID, &scratch);
	CHECK(f->views[VIEW_AS_IS].nlines >= -1 && f->views[VIEW_AS_IS].nlines <= 2);
	return f->views[VIEW_AS_IS].nlines;
}

/* The line's text; and with `last` put in at the split it is JSON, with the header where it belongs. */
static const char *text_of(const struct format *f, int i)
{
	static char text[2][4096];
	const struct line *l = f->views[VIEW_AS_IS].lines[i];
	if (l == NULL)
		return NULL;
	snprintf(text[i], sizeof text[i], "%.*s%s%.*s", (int)l->split, l->text, LINE_LAST, (int)(l->len - l->split),
	         l->text + l->split);
	json_error_t why;
	json_t *v = json_loads(text[i], JSON_REJECT_DUPLICATES, &why);
	CHECK(v != NULL && json_is_true(json_object_get(json_object_get(v, "headers"), "last")));
	json_decref(v);
	snprintf(text[i], sizeof text[i], "%.*s", (int)l->len, l->text);
	v = json_loads(text[i], JSON_REJECT_DUPLICATES, &why);
	CHECK(v != NULL);
	json_decref(v);
	return text[i];
}

#define CHECK_LINE(f, i, expected) CHECK_STR(text_of(&(f), (i)), want(expected))
#define CHECK_INSERT(f, row) CHECK_INT(render(&(f), WAL_INSERT, 0, NULL, row), 1)
#define CHECK_UPDATE(f, lines, old_kind, old_row, new_row) CHECK_INT(render(&(f), WAL_UPDATE, old_kind, old_row, new_row), lines)
#define CHECK_DELETE(f, lines, old_kind, old_row) CHECK_INT(render(&(f), WAL_DELETE, old_kind, old_row, NULL), lines)

static void test_insert(void)
{
	for (int full = 0; full < 2; full++) {
		struct format f = items(NULL, full ? REPLICA_FULL : REPLICA_DEFAULT);
		CHECK_INSERT(f, ROW("1", "a", "t"));
		CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a','ok':'t'}" H("insert"));
		CHECK_INSERT(f, ROW("-5", NULL, "f"));
		CHECK_LINE(f, 0, "{'key':'K/\\'-5\\'','value':{'id':'-5','name':null,'ok':'f'}" H("insert"));
		CHECK_INSERT(f, ROW("1", "", NULL));
		CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'','ok':null}" H("insert"));
		CHECK_INSERT(f, ROW("1", "a\"b\\c/d\n\t\x01\x7f\xc3\xa9", "t"));
		CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a\\'b\\\\c/d\\n\\t\\u0001\x7f\xc3\xa9','ok':'t'}" H("insert"));
		format_done(&f);
	}
}

static void test_columns(void)
{
	/* Members in the order of the names, whatever the table's order; the key is always there. */
	struct format f = format_make(table_make(100, "public", "items", "z:23:pk0 b:25 a:25 Big:25"), NULL, REPLICA_DEFAULT);
	CHECK_INSERT(f, ROW("1", "B", "A", "x"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'Big':'x','a':'A','b':'B','z':'1'}" H("insert"));
	format_done(&f);
	f = format_make(table_make(100, "public", "items", "z:23:pk0 b:25 a:25 c:25"), "a z", REPLICA_FULL);
	CHECK_INSERT(f, ROW("1", "B", "A", "C"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'a':'A','z':'1'}" H("insert"));
	CHECK_UPDATE(f, 1, 'O', ROW("1", "B", "A", "C"), ROW("1", "X", "Y", "C"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'a':'Y','z':'1'},'old_value':{'a':'A'}" H("update"));
	CHECK_UPDATE(f, 0, 'O', ROW("1", "B", "A", "C"), ROW("1", "X", "A", "Y")); /* nothing selected changed */
	CHECK_DELETE(f, 1, 'O', ROW("1", "B", "A", "C"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'a':'A','z':'1'}" H("delete"));
	format_done(&f);
}

static void test_update(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT), full = items(NULL, REPLICA_FULL);
	const char *const *old = ROW("1", "a", "t");
	CHECK_UPDATE(f, 1, 'O', old, ROW("1", "b", "t"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'b'}" H("update"));
	CHECK_UPDATE(full, 1, 'O', old, ROW("1", "b", "t"));
	CHECK_LINE(full, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'b','ok':'t'},'old_value':{'name':'a'}" H("update"));
	CHECK_UPDATE(f, 0, 'O', old, ROW("1", "a", "t"));
	CHECK_UPDATE(full, 0, 'O', old, ROW("1", "a", "t"));
	/* NULL, the empty text and a text are three values. */
	CHECK_UPDATE(full, 1, 'O', old, ROW("1", NULL, "f"));
	CHECK_LINE(full, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':null,'ok':'f'},'old_value':{'name':'a','ok':'t'}" H("update"));
	CHECK_UPDATE(f, 1, 'O', ROW("1", "", NULL), ROW("1", NULL, NULL));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':null}" H("update"));
	CHECK_UPDATE(full, 1, 'O', ROW("1", NULL, NULL), ROW("1", "", NULL));
	CHECK_LINE(full, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'','ok':null},'old_value':{'name':null}" H("update"));
	CHECK_UPDATE(f, 0, 'O', ROW("1", NULL, NULL), ROW("1", NULL, NULL));
	/* The same length, other bytes; a longer text with the same beginning. */
	CHECK_UPDATE(f, 1, 'O', ROW("1", "ab", "t"), ROW("1", "ac", "t"));
	CHECK_UPDATE(f, 1, 'O', ROW("1", "ab", "t"), ROW("1", "abc", "t"));
	format_done(&f);
	format_done(&full);
}

/* What TOAST left out is what the old row had: not missing, not changed. */
static void test_toast(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT), full = items(NULL, REPLICA_FULL);
	CHECK_UPDATE(f, 1, 'O', ROW("1", "long", "t"), ROW("1", unsent, "f"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','ok':'f'}" H("update"));
	CHECK_UPDATE(full, 1, 'O', ROW("1", "long", "t"), ROW("1", unsent, "f"));
	CHECK_LINE(full, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'long','ok':'f'},'old_value':{'ok':'t'}" H("update"));
	CHECK_UPDATE(full, 0, 'O', ROW("1", "long", "t"), ROW("1", unsent, "t"));
	CHECK_UPDATE(f, 1, 'O', ROW("1", "long", "t"), ROW(unsent, "x", "t")); /* the key itself */
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'x'}" H("update"));
	CHECK_UPDATE(f, 2, 'O', ROW("1", "long", "t"), ROW("2", unsent, "t"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1'}" H_DEL "'K/\\'2\\''}}");
	CHECK_LINE(f, 1, "{'key':'K/\\'2\\'','value':{'id':'2','name':'long','ok':'t'}" H_INS "'K/\\'1\\''}}");
	format_done(&f);
	format_done(&full);
}

static void test_key_change(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT), full = items(NULL, REPLICA_FULL);
	CHECK_UPDATE(f, 2, 'O', ROW("1", "a", "t"), ROW("2", "a", "f"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1'}" H_DEL "'K/\\'2\\''}}");
	CHECK_LINE(f, 1, "{'key':'K/\\'2\\'','value':{'id':'2','name':'a','ok':'f'}" H_INS "'K/\\'1\\''}}");
	CHECK_UPDATE(full, 2, 'O', ROW("1", "a", "t"), ROW("2", "a", "f"));
	CHECK_LINE(full, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a','ok':'t'}" H_DEL "'K/\\'2\\''}}");
	CHECK_LINE(full, 1, "{'key':'K/\\'2\\'','value':{'id':'2','name':'a','ok':'f'}" H_INS "'K/\\'1\\''}}");
	/* And the next change starts from nothing. */
	CHECK_UPDATE(f, 1, 'O', ROW("2", "a", "t"), ROW("2", "b", "t"));
	CHECK(f.views[VIEW_AS_IS].lines[1] == NULL);
	format_done(&f);
	format_done(&full);
}

static void test_delete(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT), full = items(NULL, REPLICA_FULL);
	CHECK_DELETE(f, 1, 'O', ROW("1", "a", NULL));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1'}" H("delete"));
	CHECK_DELETE(full, 1, 'O', ROW("1", "a", NULL));
	CHECK_LINE(full, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a','ok':null}" H("delete"));
	format_done(&f);
	format_done(&full);
}

/* Tables that aren't REPLICA IDENTITY FULL (yet): right lines where that is possible, else none at all. */
static void test_missing_old(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT), full = items(NULL, REPLICA_FULL);
	CHECK_UPDATE(f, 1, 0, NULL, ROW("1", "a", "t"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a','ok':'t'}" H("update"));
	CHECK_UPDATE(f, 1, 0, NULL, ROW("1", unsent, "t"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','ok':'t'}" H("update"));
	CHECK_UPDATE(full, -1, 0, NULL, ROW("1", "a", "t"));
	CHECK_UPDATE(f, 2, 'K', ROW("1", NULL, NULL), ROW("2", "a", "t"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1'}" H_DEL "'K/\\'2\\''}}");
	CHECK_LINE(f, 1, "{'key':'K/\\'2\\'','value':{'id':'2','name':'a','ok':'t'}" H_INS "'K/\\'1\\''}}");
	CHECK_UPDATE(f, -1, 'K', ROW("1", NULL, NULL), ROW("2", unsent, "t")); /* the insert would lack a value */
	CHECK_UPDATE(full, -1, 'K', ROW("1", NULL, NULL), ROW("2", "a", "t"));
	CHECK_DELETE(f, 1, 'K', ROW("1", NULL, NULL));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1'}" H("delete"));
	CHECK_DELETE(full, -1, 'K', ROW("1", NULL, NULL));
	CHECK_DELETE(f, -1, 0, NULL);
	CHECK_DELETE(full, -1, 0, NULL);

	/* A value that wasn't sent is never shown as null, nor as `_` in a key. */
	CHECK_UPDATE(f, -1, 0, NULL, ROW(unsent, "a", "t"));
	CHECK_UPDATE(f, -1, 'K', ROW("1", NULL, NULL), ROW(unsent, "a", "t"));
	CHECK_UPDATE(f, -1, 'O', ROW("1", unsent, "t"), ROW("2", unsent, "t"));
	CHECK_UPDATE(full, -1, 'O', ROW("1", unsent, "t"), ROW("1", unsent, "f"));
	CHECK_DELETE(full, -1, 'O', ROW("1", unsent, "t"));
	CHECK_DELETE(f, 1, 'O', ROW("1", unsent, "t")); /* not needed */
	CHECK_INT(render(&f, WAL_INSERT, 0, NULL, ROW("1", unsent, "t")), -1);
	CHECK_INT(render(&f, WAL_INSERT, 0, NULL, ROW("1", "a")), -1); /* a tuple with too few values */
	/* The old tuple is of another index (REPLICA IDENTITY USING INDEX): the key isn't in it. */
	CHECK_DELETE(f, -1, 'K', ROW(NULL, "a", NULL));
	CHECK_UPDATE(f, -1, 'K', ROW(NULL, "a", NULL), ROW("1", "b", "t"));
	/* And where that index's columns are as they were, nothing comes at all: the key may be another. */
	struct relation *r = (struct relation *)(uintptr_t)f.bound;
	r->replica_identity = 'i';
	r->identity[0] = r->identity[2] = false;
	format_bind(&f, r);
	CHECK(f.bound_ok);
	CHECK_UPDATE(f, -1, 0, NULL, ROW("2", "a", "t"));
	CHECK_DELETE(f, -1, 'K', ROW("1", "a", NULL));
	CHECK_UPDATE(f, 1, 'O', ROW("1", "a", "t"), ROW("1", "b", "t"));
	CHECK_INSERT(f, ROW("1", "a", "t"));
	r->identity[0] = true;
	format_bind(&f, r);
	CHECK_UPDATE(f, 1, 0, NULL, ROW("1", "a", "t"));
	format_done(&f);
	format_done(&full);
}

static void test_without_key(void)
{
	for (int full = 0; full < 2; full++) {
		struct format f = format_make(table_make(100, "public", "items", "b:25 a:25"), NULL, full ? REPLICA_FULL : REPLICA_DEFAULT);
		CHECK_INSERT(f, ROW("x", "y"));
		CHECK_LINE(f, 0, "{'key':'K/\\'x\\'/\\'y\\'','value':{'a':'y','b':'x'}" H("insert"));
		CHECK_INSERT(f, ROW(NULL, ""));
		CHECK_LINE(f, 0, "{'key':'K/_/\\'\\'','value':{'a':'','b':null}" H("insert"));
		CHECK_UPDATE(f, 2, 'O', ROW("x", "y"), ROW("x", NULL));
		CHECK_LINE(f, 0, "{'key':'K/\\'x\\'/\\'y\\'','value':{'a':'y','b':'x'}" H_DEL "'K/\\'x\\'/_'}}");
		CHECK_LINE(f, 1, "{'key':'K/\\'x\\'/_','value':{'a':null,'b':'x'}" H_INS "'K/\\'x\\'/\\'y\\''}}");
		CHECK_UPDATE(f, 0, 'O', ROW("x", NULL), ROW("x", NULL));
		CHECK_UPDATE(f, 2, 'O', ROW("long", "y"), ROW(unsent, "z"));
		CHECK_LINE(f, 1, "{'key':'K/\\'long\\'/\\'z\\'','value':{'a':'z','b':'long'}" H_INS "'K/\\'long\\'/\\'y\\''}}");
		CHECK_DELETE(f, 1, 'O', ROW(NULL, "y"));
		CHECK_LINE(f, 0, "{'key':'K/_/\\'y\\'','value':{'a':'y','b':null}" H("delete"));
		CHECK_UPDATE(f, -1, 0, NULL, ROW("x", "y"));
		CHECK_UPDATE(f, -1, 'K', ROW("x", NULL), ROW("z", "y"));
		CHECK_DELETE(f, -1, 'K', ROW("x", NULL));
		format_done(&f);
	}
}

static void test_keys(void)
{
	/* The key's order is the index's; slashes doubled, quotes as JSON has them. */
	struct format f = format_make(table_make(100, "public", "items", "b:25:pk1 x:25 a:25:pk0"), NULL, REPLICA_DEFAULT);
	CHECK_INSERT(f, ROW("/b//", NULL, "a\"'\\\n/"));
	CHECK_STR(text_of(&f, 0), "{\"key\":\"\\\"public\\\".\\\"items\\\"/\\\"a\\\"'\\\\\\n//\\\"/\\\"//b////\\\"\",\"value\":{\"a\":\"a\\\"'\\\\\\n/\","
	          "\"b\":\"/b//\",\"x\":null},\"headers\":{\"relation\":[\"public\",\"items\"],\"operation\":\"insert\",\"lsn\":\"26800816\","
	          "\"op_position\":4,\"txids\":[741]}}");
	CHECK_UPDATE(f, 1, 'O', ROW("b", "1", "a"), ROW("b", "2", "a"));
	CHECK_LINE(f, 0, "{'key':'K/\\'a\\'/\\'b\\'','value':{'a':'a','b':'b','x':'2'}" H("update"));
	CHECK_UPDATE(f, 2, 'O', ROW("b", "1", "a"), ROW("a", "1", "b"));
	CHECK_LINE(f, 0, "{'key':'K/\\'a\\'/\\'b\\'','value':{'a':'a','b':'b'}" H_DEL "'K/\\'b\\'/\\'a\\''}}");
	format_done(&f);

	/* One form of exotic names on both paths: quotes and slashes doubled. */
	f = format_make(table_make(100, "s\"x", "t/y.z\t", "c\"d:25:pk0"), NULL, REPLICA_DEFAULT);
	CHECK_STR(f.key_prefix, "\"s\"\"x\".\"t//y.z\t\"");
	CHECK_STR(f.relation_json, "[\"s\\\"x\",\"t/y.z\\t\"]");
	CHECK_INSERT(f, ROW("1"));
	CHECK_STR(text_of(&f, 0), "{\"key\":\"\\\"s\\\"\\\"x\\\".\\\"t//y.z\\t\\\"/\\\"1\\\"\",\"value\":{\"c\\\"d\":\"1\"},"
	          "\"headers\":{\"relation\":[\"s\\\"x\",\"t/y.z\\t\"],\"operation\":\"insert\",\"lsn\":\"26800816\",\"op_position\":4,"
	          "\"txids\":[741]}}");
	format_done(&f);
}

static void test_limits(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT);
	struct buf tiny = BUF_INIT(150);
	struct wal_value values[COLUMNS_MAX];
	struct wal_change c = {.kind = WAL_INSERT};
	c.u.row.new_tuple = tuple(ROW("1", "a", "t"), values);
	line_render(&f, VIEW_AS_IS, &c, LSN, OP, XID, &tiny);
	CHECK_INT(f.views[VIEW_AS_IS].nlines, -1); /* doesn't fit: not a line cut in the middle */
	buf_clear(&tiny);
	line_render(&f, VIEW_AS_IS, &c, UINT64_MAX, (uint64_t)1 << 62, UINT32_MAX, &scratch);
	CHECK_INT(f.views[VIEW_AS_IS].nlines, 1);
	CHECK(strstr(text_of(&f, 0), "\"lsn\":\"18446744073709551615\",\"op_position\":4611686018427387904,"
	                             "\"txids\":[4294967295]") != NULL);
	/* References. */
	struct line *l = line_ref(f.views[VIEW_AS_IS].lines[0]);
	CHECK_INT(l->refs, 2);
	line_unref(l);
	CHECK_INT(l->refs, 1);
	l = line_new("", 0, 0);
	CHECK(l->len == 0 && l->split == 0);
	line_unref(l);
	format_done(&f);
}

/* ---- binding ---- */

static void rename_column(struct relation *r, uint16_t i, const char *name)
{
	free(r->names[i]);
	r->names[i] = mem_strdup(name);
}

static void replace_text(char **text, const char *with)
{
	free(*text);
	*text = mem_strdup(with);
}

static void swap_columns(struct relation *r, uint16_t i, uint16_t j)
{
	char *name = r->names[i];
	uint32_t type = r->types[i];
	r->names[i] = r->names[j];
	r->types[i] = r->types[j];
	r->names[j] = name;
	r->types[j] = type;
}

static void add_column(struct relation *r, const char *name)
{
	r->names[r->ncolumns] = mem_strdup(name);
	r->types[r->ncolumns++] = 25;
}

static void test_bind(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT), some = items("id name", REPLICA_DEFAULT);
	struct relation *r = relation_make(f.def.table), *first[] = {(struct relation *)(uintptr_t)f.bound,
	                                                               (struct relation *)(uintptr_t)some.bound};

	r->version = 2;
	format_bind(&f, r);
	CHECK(f.bound_ok && f.bound == r && f.bound_version == 2 && f.bound_why[0] == '\0');

	/* Another order of the columns, as after a dump and restore: still the same to us. */
	swap_columns(r, 0, 2);
	format_bind(&f, r);
	CHECK(f.bound_ok && f.map[0] == 2 && f.map[1] == 1 && f.map[2] == 0);
	CHECK_INSERT(f, ROW("t", "a", "1"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a','ok':'t'}" H("insert"));
	swap_columns(r, 0, 2);

	rename_column(r, 1, "title");
	format_bind(&f, r);
	CHECK(!f.bound_ok && strstr(f.bound_why, "title was added") != NULL);
	format_bind(&some, r);
	CHECK(!some.bound_ok && strstr(some.bound_why, "name was dropped or renamed") != NULL);
	rename_column(r, 1, "name");
	rename_column(r, 2, "fine");
	format_bind(&f, r);
	CHECK(!f.bound_ok);
	format_bind(&some, r); /* a column that isn't selected */
	CHECK(some.bound_ok);
	CHECK_INSERT(some, ROW("1", "a", "t"));
	CHECK_LINE(some, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a'}" H("insert"));
	rename_column(r, 2, "ok");

	r->types[1] = 1043;
	format_bind(&f, r);
	CHECK(!f.bound_ok && strstr(f.bound_why, "type of column name changed") != NULL);
	format_bind(&some, r);
	CHECK(!some.bound_ok);
	r->types[1] = 25;
	r->types[2] = 25;
	format_bind(&f, r);
	CHECK(!f.bound_ok);
	format_bind(&some, r);
	CHECK(some.bound_ok);
	r->types[2] = 16;

	add_column(r, "more");
	format_bind(&f, r);
	CHECK(!f.bound_ok && strstr(f.bound_why, "more was added") != NULL);
	format_bind(&some, r);
	CHECK(some.bound_ok);
	r->ncolumns--;
	free(r->names[r->ncolumns]);

	replace_text(&r->name, "items2");
	format_bind(&f, r);
	CHECK(!f.bound_ok && strstr(f.bound_why, "renamed to items2") != NULL);
	r->oid = 101; /* a partition: its name is its own, its rows count as the table's */
	f.def.table->relkind = 'p';
	format_bind(&f, r);
	CHECK(f.bound_ok);
	CHECK_INSERT(f, ROW("1", "a", "t"));
	CHECK_LINE(f, 0, "{'key':'K/\\'1\\'','value':{'id':'1','name':'a','ok':'t'}" H("insert"));
	f.def.table->relkind = 'r'; /* a child: it has its name in its keys, and must be known by it */
	format_bind(&f, r);
	CHECK(!f.bound_ok && strstr(f.bound_why, "items2 became a child") != NULL);
	f.def.table->nmembers = 1;
	f.def.table->members = mem_zalloc(sizeof *f.def.table->members);
	*f.def.table->members = (struct pg_member){101, mem_strdup("public"), mem_strdup("items2")};
	add_column(r, "its own");
	format_bind(&f, r);
	CHECK(f.bound_ok);
	CHECK_INSERT(f, ROW("1", "a", "t", "x"));
	CHECK_LINE(f, 0, "{'key':'\\'public\\'.\\'items2\\'/\\'1\\'','value':{'id':'1','name':'a','ok':'t'}" H("insert"));
	CHECK_UPDATE(f, 2, 'O', ROW("1", "a", "t", "x"), ROW("2", "a", "t", "x"));
	CHECK(strstr(text_of(&f, 0), "\"key_change_to\":\"\\\"public\\\".\\\"items2\\\"/") != NULL);
	r->ncolumns--;
	free(r->names[r->ncolumns]);
	replace_text(&r->name, "items3");
	format_bind(&f, r);
	CHECK(!f.bound_ok && strstr(f.bound_why, "renamed to items3") != NULL);
	r->oid = 100;
	replace_text(&r->name, "items");
	replace_text(&r->schema, "elsewhere");
	format_bind(&f, r);
	CHECK(!f.bound_ok);
	replace_text(&r->schema, "public");
	format_bind(&f, r); /* all is well again */
	CHECK(f.bound_ok && f.bound_why[0] == '\0');

	relation_free(first[0]);
	relation_free(first[1]);
	some.bound = NULL;
	format_done(&f);
	format_done(&some);
}

/* ---- snapshots ---- */

static const char *snapshot(const struct format *f, const char *const *row)
{
	static struct buf out = BUF_INIT(LIMIT);
	struct pg_copy_value values[COLUMNS_MAX];
	for (uint16_t i = 0; i < f->def.nselected; i++) {
		/* Values of exact size, as they lie between tabs. */
		size_t n = strlen(row[i]);
		char *p = mem_alloc(n);
		memcpy(p, row[i], n);
		values[i] = (struct pg_copy_value){p, (uint32_t)n, false};
	}
	buf_clear(&out);
	struct row_form *form = row_form_new(&f->def, "");
	row_put(form, values, &out);
	/* Packed it comes to the same. */
	struct buf packed = BUF_INIT(LIMIT), again = BUF_INIT(LIMIT);
	struct err e = {0};
	row_pack_begin(form, &packed);
	CHECK_INT(row_pack(form, values, &packed), out.len);
	CHECK_INT(row_pack(form, values, &packed), out.len);
	CHECK_INT(row_lines_len(packed.data, packed.len), -1);
	row_pack_end(&packed, 2 * out.len);
	CHECK_INT(row_lines_len(packed.data, packed.len), 2 * out.len);
	CHECK_INT(row_lines_len(out.data, out.len), out.len);
	CHECK_INT(row_unpack(packed.data, packed.len, ',', &again, &e), 0);
	CHECK(again.data[out.len - 1] == ',' && again.data[2 * out.len - 1] == ',');
	buf_reset(&again);
	CHECK_INT(row_unpack(out.data, out.len, ',', &again, &e), 0);
	CHECK(again.len == out.len && again.data[out.len - 1] == ',');
	buf_reset(&again);
	CHECK_INT(row_unpack(packed.data, packed.len, '\n', &again, &e), 0);
	CHECK(again.len == 2 * out.len && memcmp(again.data, out.data, out.len) == 0 &&
	      memcmp(again.data + out.len, out.data, out.len) == 0);
	/* As format 2 had it: without the length. */
	char *old = mem_alloc(packed.len - 4);
	old[0] = 1;
	memcpy(old + 1, packed.data + 5, packed.len - 5);
	buf_reset(&again);
	CHECK_INT(row_lines_len(old, packed.len - 4), -1);
	CHECK_INT(row_unpack(old, packed.len - 4, '\n', &again, &e), 0);
	CHECK(again.len == 2 * out.len && memcmp(again.data, out.data, out.len) == 0);
	free(old);
	/* A length that isn't right is damage. */
	row_pack_end(&packed, 2 * out.len + 1);
	CHECK_INT(row_unpack(packed.data, packed.len, '\n', &again, &e), -1);
	row_pack_end(&packed, 2 * out.len);
	/* A piece that was cut or damaged is an error or other lines, nothing worse. */
	for (size_t n = 0; n < packed.len; n++) {
		char *cut = mem_alloc(n + 1);
		memcpy(cut, packed.data, n);
		buf_reset(&again);
		(void)!row_unpack(cut, n, '\n', &again, &e);
		free(cut);
		cut = mem_alloc(packed.len);
		memcpy(cut, packed.data, packed.len);
		cut[n] = (char)(cut[n] ^ (n % 2 ? 0x80 : 0x7f));
		buf_reset(&again);
		(void)!row_unpack(cut, packed.len, '\n', &again, &e);
		free(cut);
	}
	buf_clear(&packed);
	buf_clear(&again);
	row_form_free(form);
	CHECK(out.len > 0 && out.data[out.len - 1] == '\n');
	out.data[--out.len] = '\0';
	for (uint16_t i = 0; i < f->def.nselected; i++)
		free((char *)(uintptr_t)values[i].data);
	json_t *v = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
	CHECK(v != NULL && !out.failed && memchr(out.data, '\n', out.len) == NULL);
	json_decref(v);
	return out.data;
}

#define SNAPSHOT_H ",'headers':{'operation':'insert','relation':['public','items']}}"
#define CHECK_SNAPSHOT(f, row, expected) CHECK_STR(snapshot(&(f), row), want(expected SNAPSHOT_H))

static void test_snapshot(void)
{
	struct format f = items(NULL, REPLICA_DEFAULT);
	CHECK_SNAPSHOT(f, ROW("1", "a", "t"), "{'key':'K/\\'1\\'','value':{'id':'1','name':'a','ok':'true'}");
	CHECK_SNAPSHOT(f, ROW("1", "t", "f"), "{'key':'K/\\'1\\'','value':{'id':'1','name':'t','ok':'false'}");
	CHECK_SNAPSHOT(f, ROW("1", "\\N", "\\N"), "{'key':'K/\\'1\\'','value':{'id':'1','name':null,'ok':null}");
	CHECK_SNAPSHOT(f, ROW("1", "", "t"), "{'key':'K/\\'1\\'','value':{'id':'1','name':'','ok':'true'}");
	CHECK_SNAPSHOT(f, ROW("1", "\\\\N", "t"), "{'key':'K/\\'1\\'','value':{'id':'1','name':'\\\\N','ok':'true'}");
	CHECK_SNAPSHOT(f, ROW("1", "a\\tb\\n\\\\\"/\x01\xc3\xa9", "t"),
	               "{'key':'K/\\'1\\'','value':{'id':'1','name':'a\\tb\\n\\\\\\'/\\u0001\xc3\xa9','ok':'true'}");
	format_done(&f);

	/* Keys: slashes doubled after the escapes are undone, and the same form as in the stream. */
	f = format_make(table_make(100, "public", "items", "b:25:pk1 flag:16:bool:pk2 a:25:pk0 arr:1000"), "a b flag", REPLICA_FULL);
	CHECK_SNAPSHOT(f, ROW("x/\\\\/\"", "\\t", "t"),
	               "{'key':'K/\\'x//\\\\//\\'\\'/\\'\\t\\'/\\'t\\'','value':{'a':'x/\\\\/\\'','b':'\\t','flag':'true'}");
	format_done(&f);
	f = format_make(table_make(100, "public", "items", "b:25 a:1000"), NULL, REPLICA_DEFAULT);
	CHECK_SNAPSHOT(f, ROW("{t,f}", "\\N"), "{'key':'K/_/\\'{t,f}\\'','value':{'a':'{t,f}','b':null}");
	CHECK_SNAPSHOT(f, ROW("\\N", "\\N"), "{'key':'K/_/_','value':{'a':null,'b':null}");
	format_done(&f);
	f = format_make(table_make(100, "public", "items", "z:25:pk0 b:25 a:25"), "b z", REPLICA_DEFAULT);
	CHECK_SNAPSHOT(f, ROW("B", "Z"), "{'key':'K/\\'Z\\'','value':{'b':'B','z':'Z'}");
	format_done(&f);
}

/* A text as COPY writes it. */
static void copy_escape(const char *p, char *out)
{
	static const char special[] = "\b\f\n\r\t\v\\", letters[] = "bfnrtv\\";
	for (; *p != '\0'; p++) {
		const char *at_special = strchr(special, *p);
		if (at_special != NULL) {
			*out++ = '\\';
			*out++ = letters[at_special - special];
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
}

/* The same row on both paths: the same key and the same value, whatever is in it. */
static void test_both_paths(uint64_t seed)
{
	static const char alphabet[] = "ab/\\\"'\b\f\n\r\t\v\x01\x1f\x7f_N.{}";
	struct rng rng = rng_seeded(seed);
	struct format f = format_make(table_make(100, "s/\"x", "T\\t", "k2:25:pk1 k1:25:pk0 v:25"), NULL, REPLICA_DEFAULT);
	int bad = 0;
	for (int i = 0; i < 3000; i++) {
		char raw[3][16], copy[3][40];
		for (int j = 0; j < 3; j++) {
			size_t n = rng_below(&rng, 12);
			for (size_t k = 0; k < n; k++)
				raw[j][k] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
			raw[j][n] = '\0';
			copy_escape(raw[j], copy[j]);
		}
		bool null = rng_below(&rng, 5) == 0;
		/* selected: k1, k2, v; the table has k2, k1, v */
		const char *snap = snapshot(&f, ROW(copy[1], copy[0], null ? "\\N" : copy[2]));
		render(&f, WAL_INSERT, 0, NULL, ROW(raw[0], raw[1], null ? NULL : raw[2]));
		const char *stream = text_of(&f, 0), *end = strstr(snap, ",\"headers\"");
		bad += stream == NULL || end == NULL || strncmp(snap, stream, (size_t)(end - snap)) != 0;
	}
	CHECK_INT(bad, 0);
	format_done(&f);
}

/* Equal rows: the second and those behind it have a number in their keys, in both forms. */
static void test_equal_rows(void)
{
	struct format f = format_make(table_make(100, "public", "items", "b:25 flag:16:bool a:25"), NULL, REPLICA_DEFAULT);
	struct row_form *form = row_form_new(&f.def, ""), *packing = row_form_new(&f.def, "");
	struct key_counts counts = {0}, packed_counts = {0};
	struct buf plain = BUF_INIT(LIMIT), packed = BUF_INIT(LIMIT), again = BUF_INIT(LIMIT);
	struct err e;
	static const char *const rows[][3] = {
		{"x", "y", "t"}, {"x", "y", "t"}, {"x/", "y", "f"}, {"x", "\\N", "\\N"}, {"x", "\\N", "\\N"}, {"x", "y", "t"}, {"x/", "y", "f"},
		{"\\N", "\\N", "\\N"}, {"\\N", "\\N", "\\N"}, {"y", "x", "t"},
	};
	row_form_count(form, &counts);
	row_form_count(packing, &packed_counts);
	row_pack_begin(packing, &packed);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pg_copy_value values[3];
		for (int k = 0; k < 3; k++)
			values[k] = (struct pg_copy_value){.data = rows[i][k], .len = (uint32_t)strlen(rows[i][k])};
		size_t before = plain.len;
		row_put(form, values, &plain);
		CHECK_INT(row_pack(packing, values, &packed), plain.len - before);
	}
	row_pack_end(&packed, plain.len);
	CHECK_INT(row_unpack(packed.data, packed.len, '\n', &again, &e), 0);
	buf_putc(&plain, '\0');
	buf_putc(&again, '\0');
	CHECK_STR(again.data, plain.data);
	CHECK_INT(counts.n, 5);
	static const char *const ends[] = {"", "/2", "", "", "/2", "/3", "/2", "", "/2", ""};
	const char *p = plain.data;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct key_line k;
		size_t n = strcspn(p, "\n");
		CHECK(key_line_read(p, n, 0, &k) && k.operation == 'i');
		CHECK(k.key_end - k.key_at - k.key_len == strlen(ends[i]) && memcmp(p + k.key_at + k.key_len, ends[i], strlen(ends[i])) == 0);
		p += n + 1;
	}
	key_counts_clear(&counts);
	key_counts_clear(&packed_counts);
	row_form_free(form);
	row_form_free(packing);
	buf_clear(&plain);
	buf_clear(&packed);
	buf_clear(&again);
	format_done(&f);
}

int main(void)
{
	uint64_t seed = test_seed("test_line");
	RUN(test_insert);
	RUN(test_columns);
	RUN(test_update);
	RUN(test_toast);
	RUN(test_key_change);
	RUN(test_delete);
	RUN(test_missing_old);
	RUN(test_without_key);
	RUN(test_keys);
	RUN(test_limits);
	RUN(test_bind);
	RUN(test_snapshot);
	RUN(test_equal_rows);
	RUN(test_both_paths, seed);
	buf_clear(&scratch);
	return check_done("test_line");
}
