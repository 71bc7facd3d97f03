/*
 * fn_bytes.c - functions of bytea, uuid, enums and "char", and their input and output.
 *
 * A "char" is one byte, or none for the byte zero, as its text has it. Bytes beyond ASCII in it are read and
 * written differently by Postgres before and after version 16: the stream's forms of both are read, and what
 * would make text of them fails.
 */
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "where/digest.h"
#include "where/find.h"
#include "where/textfn.h"

#define DIGEST_BYTE_STEPS 3 /* beside reading it */

static const char hex_digits[] = "0123456789abcdef";

/* ---- comparisons ---------------------------------------------------------------------------------------------- */

int where_bytes_cmp(const struct where_value *a, const struct where_value *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	int cmp = n > 0 ? memcmp(a->u.p, b->u.p, n) : 0;
	return cmp != 0 ? cmp : (a->len > b->len) - (a->len < b->len);
}

uint64_t where_bytes_hash(const struct where_value *v) { return where_hash_bytes(v->u.p, v->len); }

static bool bytes_equal(const struct where_value *a, const struct where_value *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->u.p, b->u.p, a->len) == 0);
}

#define COMPARE(name, cmp_expression) \
	int name(struct where_call *c, const struct where_value *args, struct where_value *out) \
	{ \
		(void)c; \
		*out = where_bool(cmp_expression); \
		return 0; \
	}

COMPARE(where_byteaeq, bytes_equal(&args[0], &args[1]))
COMPARE(where_byteane, !bytes_equal(&args[0], &args[1]))
COMPARE(where_bytealt, where_bytes_cmp(&args[0], &args[1]) < 0)
COMPARE(where_byteale, where_bytes_cmp(&args[0], &args[1]) <= 0)
COMPARE(where_byteagt, where_bytes_cmp(&args[0], &args[1]) > 0)
COMPARE(where_byteage, where_bytes_cmp(&args[0], &args[1]) >= 0)

static int64_t sign(int cmp) { return (cmp > 0) - (cmp < 0); }

int where_byteacmp(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	*out = where_int(sign(where_bytes_cmp(&args[0], &args[1])));
	return 0;
}

/* ---- "char" --------------------------------------------------------------------------------------------------- */

static unsigned char char_of(const struct where_value *v) { return v->len > 0 ? (unsigned char)v->u.p[0] : 0; }

int where_char_cmp(const struct where_value *a, const struct where_value *b) { return char_of(a) - char_of(b); }
uint64_t where_char_hash(const struct where_value *v) { return where_hash_u64(char_of(v)); }

COMPARE(where_chareq, char_of(&args[0]) == char_of(&args[1]))
COMPARE(where_charne, char_of(&args[0]) != char_of(&args[1]))
COMPARE(where_charlt, char_of(&args[0]) < char_of(&args[1]))
COMPARE(where_charle, char_of(&args[0]) <= char_of(&args[1]))
COMPARE(where_chargt, char_of(&args[0]) > char_of(&args[1]))
COMPARE(where_charge, char_of(&args[0]) >= char_of(&args[1]))

int where_btcharcmp(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	*out = where_int(where_char_cmp(&args[0], &args[1]));
	return 0;
}

static struct where_value char_value(struct where_call *c, unsigned char ch)
{
	char *p = arena_alloc(c->mem, 1);
	*p = (char)ch;
	return where_bytes(p, ch != 0);
}

static bool is_octal(const char *p, size_t n)
{
	return n == 4 && p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' && p[3] <= '7';
}

static unsigned char octal_byte(const char *p)
{
	return (unsigned char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
}

int where_char_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	*out = char_value(c, is_octal(p, n) ? octal_byte(p) : n > 0 ? (unsigned char)p[0] : 0);
	return 0;
}

int where_char_out(struct where_call *c, const struct where_value *v, struct buf *text)
{
	unsigned char ch = char_of(v);
	(void)c;
	if (ch >= 0x80)
		buf_printf(text, "\\%03o", (unsigned)ch);
	else if (ch != 0)
		buf_putc(text, (char)ch);
	return 0;
}

static int high_char(struct where_call *c)
{
	return where_fail(c, "a \"char\" beyond ASCII as text depends on the version of PostgreSQL");
}

int where_char_text(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	if (char_of(&args[0]) >= 0x80)
		return high_char(c);
	*out = args[0];
	return 0;
}

int where_char_bpchar(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	if (char_of(&args[0]) == 0)
		return where_fail(c, "a \"char\" of zero as char(n) is not supported");
	return where_char_text(c, args, out);
}

int where_text_char(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	unsigned char ch = char_of(&args[0]);
	if (ch >= 0x80 || is_octal(args[0].u.p, args[0].len))
		return high_char(c);
	*out = char_value(c, ch);
	return 0;
}

int where_chartoi4(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	*out = where_int((signed char)char_of(&args[0]));
	return 0;
}

int where_i4tochar(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	if (args[0].u.i < SCHAR_MIN || args[0].u.i > SCHAR_MAX)
		return where_fail(c, "\"char\" out of range");
	*out = char_value(c, (unsigned char)args[0].u.i);
	return 0;
}

/* ---- enums: order is the labels' position ------------------------------------------------------------------ */

COMPARE(where_enum_eq, bytes_equal(&args[0], &args[1]))
COMPARE(where_enum_ne, !bytes_equal(&args[0], &args[1]))

static int64_t label_position(const struct where_type *t, const struct where_value *v)
{
	for (uint32_t i = 0; t != NULL && i < t->nlabels; i++)
		if (strlen(t->labels[i]) == v->len && memcmp(t->labels[i], v->u.p, v->len) == 0)
			return i;
	return -1;
}

static int enum_order(struct where_call *c, const struct where_value *args, int *cmp)
{
	*cmp = 0;
	if (bytes_equal(&args[0], &args[1]))
		return 0;
	const struct where_type *t = c->arg_types[0];
	if (t->base != NULL)
		t = t->base;
	int64_t a = label_position(t, &args[0]), b = label_position(t, &args[1]);
	if (a < 0 || b < 0)
		return where_fail(c, "the place of an enum label among the others is not known");
	*cmp = (a > b) - (a < b);
	return 0;
}

#define ENUM_COMPARE(name, result) \
	int name(struct where_call *c, const struct where_value *args, struct where_value *out) \
	{ \
		int cmp; \
		if (enum_order(c, args, &cmp) < 0) \
			return -1; \
		*out = (result); \
		return 0; \
	}

ENUM_COMPARE(where_enum_lt, where_bool(cmp < 0))
ENUM_COMPARE(where_enum_le, where_bool(cmp <= 0))
ENUM_COMPARE(where_enum_gt, where_bool(cmp > 0))
ENUM_COMPARE(where_enum_ge, where_bool(cmp >= 0))
ENUM_COMPARE(where_enum_cmp, where_int(cmp))
ENUM_COMPARE(where_enum_larger, args[cmp < 0])
ENUM_COMPARE(where_enum_smaller, args[cmp > 0])

/* ---- bytea as text -------------------------------------------------------------------------------------------- */

static int hex_value(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool is_space(char ch) { return ch == ' ' || ch == '\n' || ch == '\t' || ch == '\r'; }

static int decode_hex(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	char *start = textfn_room(c, n / 2 + 1), *to = start;
	if (to == NULL)
		return -1;
	for (const char *end = p + n; p < end; p++) {
		if (is_space(*p))
			continue;
		int high = hex_value(*p++);
		if (high < 0)
			return where_fail(c, "invalid hexadecimal digit");
		if (p == end)
			return where_fail(c, "invalid hexadecimal data: odd number of digits");
		int low = hex_value(*p);
		if (low < 0)
			return where_fail(c, "invalid hexadecimal digit");
		*to++ = (char)(high << 4 | low);
	}
	*out = where_bytes(start, (size_t)(to - start));
	return 0;
}

static int decode_escape(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	char *start = textfn_room(c, n), *to = start;
	if (to == NULL)
		return -1;
	for (const char *end = p + n; p < end;) {
		if (*p != '\\') {
			*to++ = *p++;
		} else if (end - p >= 4 && is_octal(p, 4)) {
			*to++ = (char)octal_byte(p);
			p += 4;
		} else if (end - p >= 2 && p[1] == '\\') {
			*to++ = '\\';
			p += 2;
		} else {
			return where_fail(c, "invalid input syntax for type bytea");
		}
	}
	*out = where_bytes(start, (size_t)(to - start));
	return 0;
}

int where_bytea_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	if (n >= 2 && p[0] == '\\' && p[1] == 'x')
		return decode_hex(c, p + 2, n - 2, out);
	return decode_escape(c, p, n, out);
}

static void put_hex(char *to, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		to[2 * i] = hex_digits[(unsigned char)p[i] >> 4];
		to[2 * i + 1] = hex_digits[(unsigned char)p[i] & 15];
	}
}

int where_bytea_out(struct where_call *c, const struct where_value *v, struct buf *text)
{
	(void)c;
	char *to = buf_room(text, 2 * (size_t)v->len + 2);
	if (to == NULL)
		return 0; /* text->failed says so */
	memcpy(to, "\\x", 2);
	put_hex(to + 2, v->u.p, v->len);
	buf_added(text, 2 * (size_t)v->len + 2);
	return 0;
}

/* ---- uuid ------------------------------------------------------------------------------------------------------ */

#define UUID_BYTES 16

int where_uuid_in(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	const char *end = p + n;
	bool braces = n > 0 && *p == '{';
	char *to = arena_alloc(c->mem, UUID_BYTES);
	p += braces;
	for (unsigned i = 0; i < UUID_BYTES; i++) {
		if (end - p < 2 || hex_value(p[0]) < 0 || hex_value(p[1]) < 0)
			return where_fail(c, "invalid input syntax for type uuid");
		to[i] = (char)(hex_value(p[0]) << 4 | hex_value(p[1]));
		p += 2;
		if (i % 2 == 1 && i < UUID_BYTES - 1 && p < end && *p == '-')
			p++;
	}
	if (braces && (p == end || *p++ != '}'))
		return where_fail(c, "invalid input syntax for type uuid");
	if (p != end)
		return where_fail(c, "invalid input syntax for type uuid");
	*out = where_bytes(to, UUID_BYTES);
	return 0;
}

int where_uuid_out(struct where_call *c, const struct where_value *v, struct buf *text)
{
	char hex[2 * UUID_BYTES];
	if (v->len != UUID_BYTES)
		return where_fail(c, "a uuid must have %d bytes", UUID_BYTES);
	put_hex(hex, v->u.p, UUID_BYTES);
	buf_printf(text, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
	return 0;
}

/* ---- functions of bytea ---------------------------------------------------------------------------------------- */

static int join(struct where_call *c, const struct where_value *a, const struct where_value *b, const struct where_value *d,
                struct where_value *out)
{
	uint64_t n = (uint64_t)a->len + b->len + d->len;
	char *to = textfn_room(c, n);
	if (to == NULL)
		return -1;
	memcpy(to, a->u.p, a->len);
	memcpy(to + a->len, b->u.p, b->len);
	memcpy(to + a->len + b->len, d->u.p, d->len);
	*out = where_bytes(to, (size_t)n);
	return 0;
}

int where_byteacat(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	struct where_value none = where_bytes("", 0);
	return join(c, &args[0], &args[1], &none, out);
}

int where_byteaoctetlen(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	*out = where_int(args[0].len);
	return 0;
}

int where_bytea_bit_count(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	int64_t bits = 0;
	for (uint32_t i = 0; i < args[0].len; i++)
		bits += __builtin_popcount((unsigned char)args[0].u.p[i]);
	*out = where_int(bits);
	return 0;
}

/* The bytes from position `from` (the first is 1) to before `to`. */
static struct where_value slice(const struct where_value *v, int64_t from, int64_t to)
{
	from = from < 1 ? 1 : from;
	to = to > (int64_t)v->len + 1 ? (int64_t)v->len + 1 : to;
	return from < to ? where_bytes(v->u.p + from - 1, (size_t)(to - from)) : where_bytes("", 0);
}

int where_bytea_substr(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	if (c->nargs > 2 && args[2].u.i < 0)
		return where_fail(c, "negative substring length not allowed");
	*out = slice(&args[0], args[1].u.i, c->nargs > 2 ? args[1].u.i + args[2].u.i : INT64_MAX);
	return 0;
}

int where_byteapos(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	const char *found = args[1].len == 0 ? args[0].u.p : where_find(args[0].u.p, args[0].len, args[1].u.p, args[1].len);
	*out = where_int(found != NULL ? found - args[0].u.p + 1 : 0);
	return 0;
}

int where_byteaoverlay(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	int64_t from = args[2].u.i, past = from + (c->nargs > 3 ? args[3].u.i : (int64_t)args[1].len);
	if (from <= 0)
		return where_fail(c, "negative substring length not allowed");
	if (past > INT32_MAX || past < INT32_MIN)
		return where_fail(c, "integer out of range");
	struct where_value before = slice(&args[0], 1, from), after = slice(&args[0], past, INT64_MAX);
	return join(c, &before, &args[1], &after, out);
}

static int trim(const struct where_value *args, bool left, bool right, struct where_value *out)
{
	bool in[256] = {false};
	const char *p = args[0].u.p, *end = p + args[0].len;
	for (uint32_t i = 0; i < args[1].len; i++)
		in[(unsigned char)args[1].u.p[i]] = true;
	while (left && p < end && in[(unsigned char)*p])
		p++;
	while (right && p < end && in[(unsigned char)end[-1]])
		end--;
	*out = where_bytes(p, (size_t)(end - p));
	return 0;
}

int where_byteatrim(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	return trim(args, true, true, out);
}

int where_bytealtrim(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	return trim(args, true, false, out);
}

int where_byteartrim(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	(void)c;
	return trim(args, false, true, out);
}

int where_get_byte(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	if (args[1].u.i < 0 || args[1].u.i >= args[0].len)
		return where_fail(c, "index out of valid range");
	*out = where_int((unsigned char)args[0].u.p[args[1].u.i]);
	return 0;
}

int where_get_bit(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	int64_t i = args[1].u.i;
	if (i < 0 || i / 8 >= args[0].len)
		return where_fail(c, "index out of valid range");
	*out = where_int((unsigned char)args[0].u.p[i / 8] >> (i % 8) & 1);
	return 0;
}

/* ---- encode(), decode() ---------------------------------------------------------------------------------------- */

#define BASE64_LINE 76

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Lines of 76 characters, each full one ended by a newline unless the text ends in it with padding. */
static int encode_base64(struct where_call *c, const struct where_value *v, struct where_value *out)
{
	uint64_t digits = ((uint64_t)v->len + 2) / 3 * 4;
	char *start = textfn_room(c, digits + digits / BASE64_LINE + 1), *to = start, *line = start;
	if (to == NULL)
		return -1;
	for (size_t i = 0; i < v->len; i += 3) {
		uint32_t left = v->len - (uint32_t)i, word = 0;
		for (uint32_t j = 0; j < 3; j++)
			word = word << 8 | (j < left ? (unsigned char)v->u.p[i + j] : 0);
		*to++ = base64_digits[word >> 18];
		*to++ = base64_digits[word >> 12 & 63];
		*to++ = left > 1 ? base64_digits[word >> 6 & 63] : '=';
		*to++ = left > 2 ? base64_digits[word & 63] : '=';
		if (to - line >= BASE64_LINE && left >= 3) {
			*to++ = '\n';
			line = to;
		}
	}
	*out = where_bytes(start, (size_t)(to - start));
	return 0;
}

static int decode_base64(struct where_call *c, const char *p, size_t n, struct where_value *out)
{
	char *start = textfn_room(c, (uint64_t)n / 4 * 3 + 3), *to = start;
	uint32_t word = 0;
	int digits = 0, ended = 0; /* ended: 1 or 2 once there was a =, how many bytes the last four digits are */
	if (to == NULL)
		return -1;
	for (const char *end = p + n; p < end; p++) {
		const char *digit = *p != '\0' ? strchr(base64_digits, *p) : NULL;
		if (is_space(*p))
			continue;
		if (*p == '=' && ended == 0 && (ended = digits - 1) < 1)
			return where_fail(c, "unexpected \"=\" while decoding base64 sequence");
		if (*p != '=' && digit == NULL)
			return where_fail(c, "invalid symbol found while decoding base64 sequence");
		word = word << 6 | (*p != '=' ? (uint32_t)(digit - base64_digits) : 0);
		if (++digits < 4)
			continue;
		for (int i = 0; i < (ended ? ended : 3); i++)
			*to++ = (char)(word >> (16 - 8 * i));
		word = 0;
		digits = 0;
	}
	if (digits != 0)
		return where_fail(c, "invalid base64 end sequence");
	*out = where_bytes(start, (size_t)(to - start));
	return 0;
}

static int encode_hex(struct where_call *c, const struct where_value *v, struct where_value *out)
{
	char *to = textfn_room(c, 2 * (uint64_t)v->len);
	if (to == NULL)
		return -1;
	put_hex(to, v->u.p, v->len);
	*out = where_bytes(to, 2 * (size_t)v->len);
	return 0;
}

static int encode_escape(struct where_call *c, const struct where_value *v, struct where_value *out)
{
	char *start = textfn_room(c, 4 * (uint64_t)v->len), *to = start;
	if (to == NULL)
		return -1;
	for (uint32_t i = 0; i < v->len; i++) {
		unsigned char ch = (unsigned char)v->u.p[i];
		if (ch == 0 || ch >= 0x80) {
			*to++ = '\\';
			*to++ = (char)('0' + (ch >> 6));
			*to++ = (char)('0' + (ch >> 3 & 7));
			*to++ = (char)('0' + (ch & 7));
			continue;
		}
		if (ch == '\\')
			*to++ = '\\';
		*to++ = (char)ch;
	}
	*out = where_bytes(start, (size_t)(to - start));
	return 0;
}

enum format { FORMAT_HEX, FORMAT_BASE64, FORMAT_ESCAPE, FORMAT_NONE };

static enum format format_of(struct where_call *c, const struct where_value *name)
{
	static const char *const names[] = {"hex", "base64", "escape"};
	for (unsigned i = 0; i < FORMAT_NONE; i++)
		if (strlen(names[i]) == name->len && strncasecmp(names[i], name->u.p, name->len) == 0)
			return (enum format)i;
	where_fail(c, "unrecognized encoding");
	return FORMAT_NONE;
}

int where_binary_encode(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	switch (format_of(c, &args[1])) {
	case FORMAT_HEX: return encode_hex(c, &args[0], out);
	case FORMAT_BASE64: return encode_base64(c, &args[0], out);
	case FORMAT_ESCAPE: return encode_escape(c, &args[0], out);
	case FORMAT_NONE: break;
	}
	return -1;
}

int where_binary_decode(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	switch (format_of(c, &args[1])) {
	case FORMAT_HEX: return decode_hex(c, args[0].u.p, args[0].len, out);
	case FORMAT_BASE64: return decode_base64(c, args[0].u.p, args[0].len, out);
	case FORMAT_ESCAPE: return decode_escape(c, args[0].u.p, args[0].len, out);
	case FORMAT_NONE: break;
	}
	return -1;
}

/* ---- digests ---------------------------------------------------------------------------------------------------- */

int where_md5(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	unsigned char digest[DIGEST_MD5_BYTES];
	if (where_spend(c, DIGEST_BYTE_STEPS * (uint64_t)args[0].len) != 0)
		return -1;
	char *to = arena_alloc(c->mem, 2 * sizeof digest);
	digest_md5(args[0].u.p, args[0].len, digest);
	put_hex(to, (const char *)digest, sizeof digest);
	*out = where_bytes(to, 2 * sizeof digest);
	return 0;
}

static int sha(struct where_call *c, unsigned bits, const struct where_value *args, struct where_value *out)
{
	if (where_spend(c, DIGEST_BYTE_STEPS * (uint64_t)args[0].len) != 0)
		return -1;
	unsigned char *to = arena_alloc(c->mem, DIGEST_BYTES_MAX);
	digest_sha2(bits, args[0].u.p, args[0].len, to);
	*out = where_bytes((const char *)to, bits / 8);
	return 0;
}

int where_sha224(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return sha(c, 224, args, out);
}

int where_sha256(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return sha(c, 256, args, out);
}

int where_sha384(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return sha(c, 384, args, out);
}

int where_sha512(struct where_call *c, const struct where_value *args, struct where_value *out)
{
	return sha(c, 512, args, out);
}
