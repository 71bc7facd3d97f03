/*
 * row.c - the rows of a snapshot: from the values of a COPY to the JSON lines that clients get.
 *
 * Most of a line is the same in each row: the names of the columns, the relation. So it is rendered once, and a row
 * is a few copies. Large snapshots lie in the store without it ("packed", store/FORMAT.md), which is what the
 * writing of a snapshot costs most for; a reader puts it back.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "shapes/core/limits.h"
#include "shapes/routing/keys.h"
#include "shapes/routing/render.h"
#include "shapes/routing/row.h"

#define VALUES_KEPT_BYTES (1u << 20) /* from one row to the next */
/* The first byte of a packed piece; lines begin with another. */
#define PACKED_UNSIZED 1 /* without the length of its lines: of format 2 */
#define PACKED 2
#define PACKED_LINES_AT 1 /* where that length stands */

/* Bytes that are the same in each row. */
struct fixed {
	const char *text;
	size_t len;
};

/*
 * A line is: head, the parts of the key, then for each column what stands before its value and the value, tail.
 * before[i] ends with the quote that opens the value, which a null doesn't have.
 */
struct frame {
	uint16_t nkey, nselected;
	uint16_t *key;        /* the key's columns, as indexes into the selected ones */
	struct fixed *before; /* [nselected], then tail, then head */
};

struct row_form {
	struct frame frame;
	bool *is_bool;
	char *text;           /* of all that is fixed */
	uint32_t *lens;       /* of the values of the row at hand, for row_pack(); 0: null, else one more */
	struct buf values;
	const struct pg_table *table; /* of the definition */
	uint32_t of;               /* the table whose rows are at hand: itself or a child */
	struct fixed *heads;       /* with children: its own, then theirs */
	struct key_counts *counts; /* NULL: no two rows are equal */
	struct buf key;
};

static const struct fixed *frame_tail(const struct frame *f) { return &f->before[f->nselected]; }
static const struct fixed *frame_head(const struct frame *f) { return &f->before[f->nselected + 1]; }

/* The texts follow one another in the order of `before`; their lengths are known before their positions. */
static void frame_place(struct frame *f, const char *text)
{
	for (size_t i = 0; i < (size_t)f->nselected + 2; i++) {
		f->before[i].text = text;
		text += f->before[i].len;
	}
}

static void put_head(const char *schema, const char *name, struct buf *out)
{
	struct buf prefix = BUF_INIT(RECORD_BYTES_MAX);
	line_key_prefix(schema, name, &prefix);
	buf_puts(out, "{\"key\":\"");
	buf_json_escape(out, prefix.data, prefix.len);
	buf_clear(&prefix);
}

/* Keys of a child's rows begin with its own name. */
static void make_heads(struct row_form *f, const struct pg_table *t)
{
	f->table = t;
	f->of = t->oid;
	if (t->nmembers == 0)
		return;
	f->heads = mem_alloc(((size_t)t->nmembers + 1) * sizeof *f->heads);
	f->heads[0] = *frame_head(&f->frame);
	for (uint32_t i = 0; i < t->nmembers; i++) {
		struct buf b = BUF_INIT(RECORD_BYTES_MAX);
		put_head(t->members[i].schema, t->members[i].name, &b);
		f->heads[i + 1].text = buf_detach(&b, &f->heads[i + 1].len);
	}
}

int row_form_turn(struct row_form *f, struct pg_copy_value oid)
{
	uint32_t now = 0, at = 0;
	for (uint32_t i = 0; i < oid.len && oid.data[i] >= '0' && oid.data[i] <= '9'; i++)
		now = now * 10 + (uint32_t)(oid.data[i] - '0');
	if (now == f->of)
		return 0;
	const struct pg_member *m = pg_table_member(f->table, now);
	if (m == NULL && now != f->table->oid)
		return -1;
	if (m != NULL)
		at = (uint32_t)(m - f->table->members) + 1;
	f->of = now;
	f->frame.before[f->frame.nselected + 1] = f->heads[at];
	return 1;
}

struct row_form *row_form_new(const struct shape_def *def, const char *more_headers)
{
	const struct pg_table *t = def->table;
	struct row_form *f = mem_zalloc(sizeof *f);
	struct frame *fr = &f->frame;
	struct buf b = BUF_INIT(RECORD_BYTES_MAX);
	fr->nselected = def->nselected;
	fr->nkey = line_key_columns(t);
	fr->before = mem_zalloc(((size_t)fr->nselected + 2) * sizeof *fr->before);
	fr->key = mem_alloc(fr->nkey * sizeof *fr->key);
	f->is_bool = mem_alloc(fr->nselected * sizeof *f->is_bool);
	f->lens = mem_alloc(((size_t)fr->nselected + fr->nkey) * sizeof *f->lens);
	buf_init(&f->values, (size_t)2 << 30);
	buf_init(&f->key, (size_t)2 << 30);
	for (uint16_t i = 0; i < fr->nselected; i++) {
		const struct pg_column *c = &t->columns[def->selected[i]];
		size_t start = b.len;
		f->is_bool[i] = c->is_bool;
		buf_puts(&b, i > 0 ? "," : "\",\"value\":{");
		buf_json_string(&b, c->name, strlen(c->name));
		buf_puts(&b, ":\"");
		fr->before[i].len = b.len - start;
	}
	size_t start = b.len;
	buf_puts(&b, "},\"headers\":{\"operation\":\"insert\",\"relation\":");
	line_relation_json(t, &b);
	buf_puts(&b, more_headers);
	buf_puts(&b, "}}\n");
	fr->before[fr->nselected].len = b.len - start;
	start = b.len;
	put_head(t->schema, t->name, &b);
	fr->before[fr->nselected + 1].len = b.len - start;
	f->text = buf_detach(&b, NULL);
	frame_place(fr, f->text);
	make_heads(f, t);
	for (uint16_t i = 0; i < fr->nkey; i++) {
		uint16_t at = 0;
		while (at < def->nselected && def->selected[at] != line_key_column(t, i))
			at++;
		REQUIRE(at < def->nselected); /* a definition selects the whole key */
		fr->key[i] = at;
	}
	return f;
}

void row_form_count(struct row_form *f, struct key_counts *counts) { f->counts = counts; }

void row_form_free(struct row_form *f)
{
	if (f == NULL)
		return;
	for (uint32_t i = 0; f->heads != NULL && i < f->table->nmembers; i++)
		free((char *)(uintptr_t)f->heads[i + 1].text);
	free(f->heads);
	free(f->frame.before);
	free(f->frame.key);
	free(f->is_bool);
	free(f->lens);
	free(f->text);
	buf_clear(&f->values);
	buf_clear(&f->key);
	free(f);
}

static struct pg_copy_value shown(const struct row_form *f, uint16_t i, struct pg_copy_value v)
{
	if (!f->is_bool[i] || v.len != 1)
		return v;
	return v.data[0] == 't' ? (struct pg_copy_value){"true", 4, true} : (struct pg_copy_value){"false", 5, true};
}

static void put_json(struct buf *out, struct pg_copy_value v)
{
	if (v.plain)
		buf_put(out, v.data, v.len);
	else
		pg_copy_json(out, v);
}

/* A key's value with a slash in it, which a key doubles. */
static void put_slashed(struct buf *out, struct pg_copy_value v)
{
	struct buf raw = BUF_INIT(RECORD_BYTES_MAX * 64);
	pg_copy_raw(&raw, v);
	line_key_part(raw.data, raw.len, false, out);
	buf_clear(&raw);
}

/* ---- lines ---- */

static void put_key_value(struct buf *out, struct pg_copy_value v)
{
	if (PG_COPY_IS_NULL(v)) {
		line_key_part(NULL, 0, true, out);
	} else if (memchr(v.data, '/', v.len) != NULL) {
		put_slashed(out, v);
	} else {
		buf_put(out, "/\\\"", 3);
		put_json(out, v);
		buf_put(out, "\\\"", 2);
	}
}

#define HEAD_BEFORE_KEY 8 /* {"key":" */

/* Counts the row whose line so far ends with its key: the how many-th of its kind it is. */
static uint32_t count_row(struct row_form *f, const struct buf *line, size_t start)
{
	size_t key = start + HEAD_BEFORE_KEY;
	return line->failed ? 1 : key_counts_add(f->counts, key_hash(line->data + key, line->len - key));
}

static void put_ordinal(struct buf *out, uint32_t n)
{
	if (n < 2)
		return;
	buf_putc(out, '/');
	buf_put_u64(out, n);
}

void row_put(struct row_form *f, const struct pg_copy_value *values, struct buf *out)
{
	const struct frame *fr = &f->frame;
	size_t start = out->len;
	buf_put(out, frame_head(fr)->text, frame_head(fr)->len);
	for (uint16_t i = 0; i < fr->nkey; i++)
		put_key_value(out, values[fr->key[i]]);
	if (f->counts != NULL)
		put_ordinal(out, count_row(f, out, start));
	for (uint16_t i = 0; i < fr->nselected; i++) {
		if (PG_COPY_IS_NULL(values[i])) {
			buf_put(out, fr->before[i].text, fr->before[i].len - 1);
			buf_put(out, "null", 4);
			continue;
		}
		buf_put(out, fr->before[i].text, fr->before[i].len);
		put_json(out, shown(f, i, values[i]));
		buf_putc(out, '"');
	}
	buf_put(out, frame_tail(fr)->text, frame_tail(fr)->len);
}

/* ---- packed ---- */

void row_pack_begin(const struct row_form *f, struct buf *out)
{
	const struct frame *fr = &f->frame;
	size_t text = 0;
	static const uint32_t later = 0; /* row_pack_end() */
	buf_putc(out, PACKED);
	buf_put(out, &later, sizeof later);
	buf_put(out, &fr->nkey, sizeof fr->nkey);
	buf_put(out, &fr->nselected, sizeof fr->nselected);
	buf_put(out, fr->key, fr->nkey * sizeof *fr->key);
	for (size_t i = 0; i < (size_t)fr->nselected + 2; i++) {
		uint32_t len = (uint32_t)fr->before[i].len;
		buf_put(out, &len, sizeof len);
		text += len;
	}
	buf_put(out, f->text, text - frame_head(fr)->len); /* the head is the last of them */
	buf_put(out, frame_head(fr)->text, frame_head(fr)->len);
}

/* Seven bits at a time, the lowest first; the highest bit says that more follow. */
static void put_number(struct buf *out, uint32_t n)
{
	for (; n >= 0x80; n >>= 7)
		buf_putc(out, (char)(n | 0x80));
	buf_putc(out, (char)n);
}

static uint32_t ordinal_of(struct row_form *f, const struct pg_copy_value *values)
{
	const struct frame *fr = &f->frame;
	if (f->counts == NULL)
		return 1;
	buf_reset(&f->key);
	buf_put(&f->key, frame_head(fr)->text, frame_head(fr)->len);
	for (uint16_t i = 0; i < fr->nkey; i++)
		put_key_value(&f->key, values[fr->key[i]]);
	return count_row(f, &f->key, 0);
}

size_t row_pack(struct row_form *f, const struct pg_copy_value *values, struct buf *out)
{
	const struct frame *fr = &f->frame;
	uint32_t ordinal = ordinal_of(f, values);
	size_t line = frame_head(fr)->len + frame_tail(fr)->len;
	struct buf *v = &f->values;
	buf_reset(v);
	for (uint16_t i = 0; i < fr->nselected; i++) {
		size_t start = v->len;
		f->lens[i] = 0;
		line += fr->before[i].len;
		if (PG_COPY_IS_NULL(values[i])) {
			line += 3; /* null, without the quote before it */
			continue;
		}
		put_json(v, shown(f, i, values[i]));
		f->lens[i] = (uint32_t)(v->len - start) + 1;
		line += f->lens[i];
	}
	for (uint16_t i = 0; i < fr->nkey; i++) {
		uint16_t at = fr->key[i];
		uint32_t *len = &f->lens[fr->nselected + i];
		*len = 0; /* what the column has */
		/* But that of a slash is another one, a boolean in a key is t or f, and of equal rows each has its number. */
		bool own = f->lens[at] != 0 && (f->is_bool[at] || memchr(values[at].data, '/', values[at].len) != NULL);
		bool numbered = i == fr->nkey - 1 && ordinal > 1; /* the number goes with the last part */
		size_t start = v->len;
		own = own || numbered;
		if (own) {
			put_key_value(v, values[at]);
			put_ordinal(v, numbered ? ordinal : 1);
			*len = (uint32_t)(v->len - start) + 1;
		}
		line += own ? *len - 1 : f->lens[at] == 0 ? 2 : f->lens[at] - 1 + 5;
	}
	for (size_t i = 0; i < (size_t)fr->nselected + fr->nkey; i++)
		put_number(out, f->lens[i]);
	buf_put(out, v->data, v->len);
	out->failed = out->failed || v->failed || line > UINT32_MAX;
	if (v->cap > VALUES_KEPT_BYTES)
		buf_clear(v);
	if (f->key.cap > VALUES_KEPT_BYTES)
		buf_clear(&f->key);
	return line;
}

void row_pack_end(struct buf *piece, uint64_t line_bytes)
{
	uint32_t n = (uint32_t)line_bytes;
	if (piece->len > PACKED_LINES_AT + sizeof n && piece->data[0] == PACKED && line_bytes <= UINT32_MAX)
		memcpy(piece->data + PACKED_LINES_AT, &n, sizeof n);
}

static bool is_packed(const char *p, size_t len) { return len > 0 && (p[0] == PACKED || p[0] == PACKED_UNSIZED); }

int64_t row_lines_len(const char *p, size_t len)
{
	uint32_t n;
	if (!is_packed(p, len))
		return (int64_t)len;
	if (p[0] == PACKED_UNSIZED || len < PACKED_LINES_AT + sizeof n)
		return -1;
	memcpy(&n, p + PACKED_LINES_AT, sizeof n);
	return n > 0 ? (int64_t)n : -1;
}

/*
 * What is put together is short texts, one behind the other. So they are copied by this many bytes at a time, past
 * their ends: whatever is read from or written to has so many bytes to spare, and the next text goes over the rest.
 */
#define STRIDE_BYTES 32
#define STRIDES_MAX 16 /* of longer ones, memcpy() knows better */

struct unpacking {
	struct frame frame;
	char *text; /* a copy of the frame's, with bytes to spare */
	size_t fixed; /* the most that a line takes besides its values */
	const unsigned char *p, *end;
	uint32_t *lens;
};

static bool take(struct unpacking *u, void *to, size_t n)
{
	if ((size_t)(u->end - u->p) < n)
		return false;
	memcpy(to, u->p, n);
	u->p += n;
	return true;
}

static bool take_number(struct unpacking *u, uint32_t *out)
{
	uint32_t n = 0;
	for (unsigned shift = 0; shift < 32 && u->p < u->end; shift += 7) {
		unsigned char c = *u->p++;
		n |= (uint32_t)(c & 0x7F) << shift;
		if ((c & 0x80) == 0) {
			*out = n;
			return true;
		}
	}
	return false;
}

static bool take_frame(struct unpacking *u)
{
	struct frame *f = &u->frame;
	if (!take(u, &f->nkey, sizeof f->nkey) || !take(u, &f->nselected, sizeof f->nselected) || f->nselected == 0)
		return false;
	f->key = mem_alloc((size_t)f->nkey * sizeof *f->key + 1);
	f->before = mem_zalloc(((size_t)f->nselected + 2) * sizeof *f->before);
	u->lens = mem_alloc(((size_t)f->nselected + f->nkey) * sizeof *u->lens + 1);
	if (!take(u, f->key, f->nkey * sizeof *f->key))
		return false;
	for (uint16_t i = 0; i < f->nkey; i++)
		if (f->key[i] >= f->nselected)
			return false;
	size_t text = 0;
	for (size_t i = 0; i < (size_t)f->nselected + 2; i++) {
		uint32_t len;
		if (!take(u, &len, sizeof len) || (i < f->nselected && len == 0))
			return false;
		f->before[i].len = len;
		text += len;
	}
	if ((size_t)(u->end - u->p) < text)
		return false;
	u->text = mem_alloc(text + STRIDE_BYTES);
	memcpy(u->text, u->p, text);
	memset(u->text + text, 0, STRIDE_BYTES);
	u->fixed = text + 4 * (size_t)f->nselected + 5 * (size_t)f->nkey + STRIDE_BYTES; /* nulls and quotes */
	frame_place(f, u->text);
	u->p += text;
	return true;
}

static inline char *copied(char *to, const char *p, size_t n)
{
	char *end = to + n;
	if (n > STRIDES_MAX * STRIDE_BYTES) {
		memcpy(to, p, n);
		return end;
	}
	do {
		memcpy(to, p, STRIDE_BYTES);
		to += STRIDE_BYTES;
		p += STRIDE_BYTES;
	} while (to < end);
	return end;
}

/* For values: after the last ones of a piece there is no spare room. */
static inline char *copied_value(char *to, const char *p, size_t n, bool spare)
{
	if (spare)
		return copied(to, p, n);
	memcpy(to, p, n);
	return to + n;
}

static inline char *copied_fixed(char *to, const struct fixed *f) { return copied(to, f->text, f->len); }

/* The lengths of a row's values and texts, and what they come to. */
static bool take_lens(struct unpacking *u, size_t *values, size_t *all)
{
	const struct frame *f = &u->frame;
	size_t sum = 0, n = (size_t)f->nselected + f->nkey;
	for (size_t i = 0; i < n; i++) {
		if (i == f->nselected)
			*values = sum;
		if (u->p < u->end && *u->p < 0x80)
			u->lens[i] = *u->p++;
		else if (!take_number(u, &u->lens[i]))
			return false;
		sum += u->lens[i] > 0 ? u->lens[i] - 1 : 0;
	}
	if (f->nkey == 0)
		*values = sum;
	*all = sum;
	return sum <= (size_t)(u->end - u->p);
}

/* Where the value of a column begins; keys are short and mostly the first columns. */
static const char *value_of(const struct unpacking *u, uint16_t column)
{
	const char *at = (const char *)u->p;
	for (uint16_t i = 0; i < column; i++)
		at += u->lens[i] > 0 ? u->lens[i] - 1 : 0;
	return at;
}

static bool unpack_row(struct unpacking *u, struct buf *out)
{
	const struct frame *f = &u->frame;
	size_t values = 0, all = 0;
	if (!take_lens(u, &values, &all))
		return false;
	size_t room = u->fixed + all;
	for (uint16_t i = 0; i < f->nkey; i++)
		room += u->lens[f->key[i]]; /* once more, in the key */
	if (room > UINT32_MAX) /* no row_pack() makes that */
		return false;
	char *start = buf_room(out, room), *to = start;
	if (to == NULL)
		return true; /* the caller looks at `failed` */
	const char *value = (const char *)u->p, *own = value + values;
	bool spare = (size_t)(u->end - u->p) - all >= STRIDE_BYTES;
	to = copied_fixed(to, frame_head(f));
	for (uint16_t i = 0; i < f->nkey; i++) {
		uint32_t own_len = u->lens[f->nselected + i], len = u->lens[f->key[i]];
		if (own_len > 0) {
			to = copied_value(to, own, own_len - 1, spare);
			own += own_len - 1;
		} else if (len == 0) {
			*to++ = '/';
			*to++ = '_';
		} else {
			memcpy(to, "/\\\"", 3);
			to = copied_value(to + 3, value_of(u, f->key[i]), len - 1, spare);
			*to++ = '\\';
			*to++ = '"';
		}
	}
	for (uint16_t i = 0; i < f->nselected; i++) {
		uint32_t len = u->lens[i];
		to = copied_fixed(to, &f->before[i]);
		if (len == 0) {
			memcpy(to - 1, "null", 4); /* without the quote */
			to += 3;
			continue;
		}
		to = copied_value(to, value, len - 1, spare);
		*to++ = '"';
		value += len - 1;
	}
	to = copied_fixed(to, frame_tail(f));
	buf_added(out, (size_t)(to - start));
	u->p += all;
	return true;
}

/* Lines as they are. */
static void put_plain(const char *p, size_t len, char end, struct buf *out)
{
	size_t at = out->len;
	buf_put(out, p, len);
	if (end == '\n' || out->failed)
		return;
	for (char *q = out->data + at, *stop = q + len; (q = memchr(q, '\n', (size_t)(stop - q))) != NULL;)
		*q++ = end;
}

static int unpack(const char *p, size_t len, char end, struct buf *out, struct err *e)
{
	struct unpacking u = {.p = (const unsigned char *)p + 1, .end = (const unsigned char *)p + len};
	int64_t lines = row_lines_len(p, len);
	size_t before = out->len;
	uint32_t skipped;
	bool good = (p[0] == PACKED_UNSIZED || take(&u, &skipped, sizeof skipped)) && take_frame(&u);
	if (good && frame_tail(&u.frame)->len > 0)
		u.text[frame_tail(&u.frame)->text - u.text + (ptrdiff_t)frame_tail(&u.frame)->len - 1] = end;
	/* What is damaged may say that it stands for any amount of text. */
	size_t most = lines >= 0 ? (size_t)lines : UINT32_MAX;
	while (good && u.p < u.end && !out->failed)
		good = unpack_row(&u, out) && out->len - before <= most;
	free(u.frame.key);
	free(u.frame.before);
	free(u.lens);
	free(u.text);
	if (good && !out->failed && lines >= 0 && (uint64_t)lines != out->len - before)
		good = false;
	return good ? 0 : err_set(e, ERR_DAMAGED, "store: a damaged snapshot piece (%zu bytes)", len);
}

int row_unpack(const char *p, size_t len, char end, struct buf *out, struct err *e)
{
	if (!is_packed(p, len))
		put_plain(p, len, end, out);
	else if (unpack(p, len, end, out, e) != 0)
		return -1;
	return out->failed ? err_set(e, ERR_LIMIT, "store: a piece of %zu bytes does not fit the reader's buffer", len) : 0;
}
