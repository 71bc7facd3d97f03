/*
 * jsonb.h - jsonb as a tree, and the JSON text under it.
 *
 * Private to src/where and its tests. A value is made once per row by jsonb_parse(); everything else walks
 * it. Trees are immutable and live in the arena they were made in; parts of one may be shared by others.
 * Numbers are kept as the text that numeric's output would have, so that most of them are never turned
 * into a numeric: order, equality and hash are those of the decimals themselves.
 */
#ifndef BUSBAR_WHERE_JSONB_H
#define BUSBAR_WHERE_JSONB_H

#include "where/value.h"

/* Deepest nesting of arrays and objects. Postgres's limit is its stack (some 12,000 with the default of
 * 2 MB); ours keeps every recursion below 1 MB. */
#define JSON_DEPTH_MAX 4000
#define JSONB_STRING_MAX 0x0FFFFFFFu /* Postgres's: lengths inside a jsonb have 28 bits */

enum jsonb_kind { JSONB_NULL, JSONB_STRING, JSONB_NUMBER, JSONB_BOOL, JSONB_ARRAY, JSONB_OBJECT }; /* in their order */

struct jsonb_pair;
struct jsonb {
	uint8_t kind;   /* enum jsonb_kind */
	bool truth;
	uint16_t depth; /* 0: scalar; else one more than the deepest below */
	uint32_t n;     /* bytes, elements or pairs */
	union {
		const char *text; /* string: UTF-8, unescaped; number: numeric's text */
		const struct jsonb *items;
		const struct jsonb_pair *pairs; /* by length of the key, then by its bytes; no key twice */
	} u;
};

struct jsonb_pair {
	struct jsonb key; /* JSONB_STRING */
	struct jsonb value;
};

struct where_collation;

static inline bool jsonb_is_scalar(const struct jsonb *j) { return j->kind < JSONB_ARRAY; }

/* jsonb's input; NULL after where_fail(). The text needn't outlive the call. */
const struct jsonb *jsonb_parse(struct where_call *c, const char *p, size_t n);
/* jsonb's output: `{"a": [1, 2]}`. */
void jsonb_format(const struct jsonb *j, struct buf *out);
/* As jsonb_pretty(). */
void jsonb_format_pretty(const struct jsonb *j, struct buf *out);

/* Postgres's btree order of jsonb; strings by `collation` (Postgres: the database's), NULL: by bytes. The
 * result is 0 only for equal values, whatever the collation. */
int jsonb_cmp(const struct jsonb *a, const struct jsonb *b, const struct where_collation *collation);
bool jsonb_equal(const struct jsonb *a, const struct jsonb *b);
uint64_t jsonb_hash(const struct jsonb *j);

/* NULL: no such key, or no object. */
const struct jsonb *jsonb_field(const struct jsonb *j, const char *key, size_t n);
/* `i` counts from the end if negative. NULL: none, or no array. */
const struct jsonb *jsonb_element(const struct jsonb *j, int64_t i);
/* a @> b; false if c->too_costly, for it may take the product of both */
bool jsonb_contains(struct where_call *c, const struct jsonb *a, const struct jsonb *b);
/* A key of an object, or a string among an array's elements, or the string itself: the operator `?`. */
bool jsonb_exists(const struct jsonb *j, const char *key, size_t n);

/* New containers of `n` parts in the arena; the parts are copied, what they point to is shared. NULL after
 * where_fail() if too deep or too many. Pairs must be in order and without duplicates. */
const struct jsonb *jsonb_array_of(struct where_call *c, const struct jsonb *items, size_t n);
const struct jsonb *jsonb_object_of(struct where_call *c, const struct jsonb_pair *pairs, size_t n);
/* Order of keys in an object: by length, then by bytes. */
int jsonb_key_cmp(const struct jsonb *a, const char *key, size_t n);

/* ---- text ---- */

/* json's input: 0, or -1 after where_fail(). */
int json_check(struct where_call *c, const char *p, size_t n);

enum { JSON_ESCAPED = 1, /* has a backslash */ JSON_NOT_TEXT = 2 /* \u0000 or half a surrogate pair */ };
/* From behind the opening quote to the closing one; NULL: not a JSON string. Adds to *seen. */
const char *json_string_end(const char *p, const char *end, unsigned *seen);
/* Undoes the escapes of a string that json_string_end() took without JSON_NOT_TEXT; `to` may be `from`. */
size_t json_unescape(char *to, const char *from, const char *end);
/* The string in quotes, escaped as Postgres does. */
void json_quote(struct buf *out, const char *p, size_t n);

static inline const char *json_skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}

#endif
