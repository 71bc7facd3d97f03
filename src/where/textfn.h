/*
 * textfn.h - what the files of text functions share. Private to src/where.
 *
 * fn_text.c owns the table where_impl_text; the functions of fn_bytes.c and fn_match.c enter it by the lists
 * below: X(pg_proc.prosrc, function).
 */
#ifndef BUSBAR_WHERE_TEXTFN_H
#define BUSBAR_WHERE_TEXTFN_H

#include "where/collation.h"
#include "where/types.h"
#include "where/value.h"

/* Bytes of the call's arena for a result, or NULL after where_fail() if it would be larger than values or
 * evaluations may be. */
static inline char *textfn_room(struct where_call *c, uint64_t n)
{
	if (n > WHERE_VALUE_BYTES_MAX || n + c->mem->used > WHERE_EVAL_BYTES_MAX) {
		where_fail(c, "the result is too large");
		return NULL;
	}
	if (n > where_work_left(c)) {
		(void)where_spend(c, n); /* as if it had been made: who asked for most is known by it */
		return NULL;
	}
	return arena_alloc(c->mem, n > 0 ? (size_t)n : 1);
}

/* ---- fn_bytes.c: bytea, uuid, enums, "char" ---- */

#define WHERE_BYTES_FNS(X) \
	X("byteaeq", where_byteaeq) X("byteane", where_byteane) X("bytealt", where_bytealt) X("byteale", where_byteale) \
	X("byteagt", where_byteagt) X("byteage", where_byteage) X("byteacmp", where_byteacmp) \
	X("uuid_eq", where_byteaeq) X("uuid_ne", where_byteane) X("uuid_lt", where_bytealt) X("uuid_le", where_byteale) \
	X("uuid_gt", where_byteagt) X("uuid_ge", where_byteage) X("uuid_cmp", where_byteacmp) \
	X("chareq", where_chareq) X("charne", where_charne) X("charlt", where_charlt) X("charle", where_charle) \
	X("chargt", where_chargt) X("charge", where_charge) X("btcharcmp", where_btcharcmp) \
	X("char_text", where_char_text) X("char_bpchar", where_char_bpchar) X("text_char", where_text_char) \
	X("chartoi4", where_chartoi4) X("i4tochar", where_i4tochar) \
	X("enum_eq", where_enum_eq) X("enum_ne", where_enum_ne) X("enum_lt", where_enum_lt) X("enum_le", where_enum_le) \
	X("enum_gt", where_enum_gt) X("enum_ge", where_enum_ge) X("enum_cmp", where_enum_cmp) \
	X("enum_larger", where_enum_larger) X("enum_smaller", where_enum_smaller) \
	X("byteacat", where_byteacat) X("byteaoctetlen", where_byteaoctetlen) X("bytea_bit_count", where_bytea_bit_count) \
	X("bytea_substr", where_bytea_substr) X("bytea_substr_no_len", where_bytea_substr) X("byteapos", where_byteapos) \
	X("byteaoverlay", where_byteaoverlay) X("byteaoverlay_no_len", where_byteaoverlay) \
	X("byteatrim", where_byteatrim) X("bytealtrim", where_bytealtrim) X("byteartrim", where_byteartrim) \
	X("byteaGetByte", where_get_byte) X("byteaGetBit", where_get_bit) \
	X("binary_encode", where_binary_encode) X("binary_decode", where_binary_decode) \
	X("md5_text", where_md5) X("md5_bytea", where_md5) X("sha224_bytea", where_sha224) \
	X("sha256_bytea", where_sha256) X("sha384_bytea", where_sha384) X("sha512_bytea", where_sha512)

/* ---- fn_match.c: LIKE, SIMILAR TO, regular expressions ---- */

#define WHERE_LIKE_FNS(X) \
	X("textlike", where_textlike) X("textnlike", where_textnlike) X("namelike", where_textlike) \
	X("namenlike", where_textnlike)
#define WHERE_BYTEA_LIKE_FNS(X) X("bytealike", where_bytealike) X("byteanlike", where_byteanlike)
#define WHERE_ILIKE_FNS(X) \
	X("texticlike", where_texticlike) X("texticnlike", where_texticnlike) X("nameiclike", where_texticlike) \
	X("nameicnlike", where_texticnlike)
#define WHERE_REGEX_FNS(X) \
	X("textregexeq", where_textregexeq) X("textregexne", where_textregexne) X("nameregexeq", where_textregexeq) \
	X("nameregexne", where_textregexne) X("regexp_like_no_flags", where_textregexeq)
#define WHERE_IREGEX_FNS(X) \
	X("texticregexeq", where_texticregexeq) X("texticregexne", where_texticregexne) \
	X("nameicregexeq", where_texticregexeq) X("nameicregexne", where_texticregexne)
#define WHERE_ESCAPE_FNS(X) \
	X("like_escape", where_like_escape) X("like_escape_bytea", where_like_escape) \
	X("similar_to_escape_1", where_similar_escape) X("similar_to_escape_2", where_similar_escape) \
	X("similar_escape", where_similar_escape)

#define WHERE_FN_DECLARE(prosrc, function) where_fn function;
WHERE_BYTES_FNS(WHERE_FN_DECLARE)
WHERE_LIKE_FNS(WHERE_FN_DECLARE)
WHERE_BYTEA_LIKE_FNS(WHERE_FN_DECLARE)
WHERE_ILIKE_FNS(WHERE_FN_DECLARE)
WHERE_REGEX_FNS(WHERE_FN_DECLARE)
WHERE_IREGEX_FNS(WHERE_FN_DECLARE)
WHERE_ESCAPE_FNS(WHERE_FN_DECLARE)
where_fn where_regexp_like;
#undef WHERE_FN_DECLARE

void *where_like_prepare(struct where_call *c, const struct where_value *args, bool *failed);
void *where_bytealike_prepare(struct where_call *c, const struct where_value *args, bool *failed);
void *where_ilike_prepare(struct where_call *c, const struct where_value *args, bool *failed);
void *where_regex_prepare(struct where_call *c, const struct where_value *args, bool *failed);
void *where_iregex_prepare(struct where_call *c, const struct where_value *args, bool *failed);
void *where_regexp_like_prepare(struct where_call *c, const struct where_value *args, bool *failed);
void where_regex_release(void *prepared);

/* Input and output of bytea, uuid and "char". */
int where_bytea_in(struct where_call *c, const char *p, size_t n, struct where_value *out);
int where_bytea_out(struct where_call *c, const struct where_value *v, struct buf *text);
int where_uuid_in(struct where_call *c, const char *p, size_t n, struct where_value *out);
int where_uuid_out(struct where_call *c, const struct where_value *v, struct buf *text);
int where_char_in(struct where_call *c, const char *p, size_t n, struct where_value *out);
int where_char_out(struct where_call *c, const struct where_value *v, struct buf *text);
int where_char_cmp(const struct where_value *a, const struct where_value *b);
uint64_t where_char_hash(const struct where_value *v);
int where_bytes_cmp(const struct where_value *a, const struct where_value *b);
uint64_t where_bytes_hash(const struct where_value *v);

#endif
