/*
 * fuzz_jsonb.c - arbitrary bytes as two JSON texts (a zero byte between them): input, output, every function.
 *
 * What parses as jsonb is json too, is written and read again as an equal value with the same hash, and
 * contains itself; order is the same from both sides. Texts are copied to memory of their exact size, where
 * the sanitizer sees one byte too many.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/jsonb.h"
#include "where/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arena mem;
static volatile uint64_t sum;

struct pair { struct where_value value; bool jsonb; };

static void touch(const struct where_type *type, const struct where_value *v)
{
	struct where_call c = {.mem = &mem, .typmod = -1};
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	if (v->is == WHERE_VALUE && where_out(&c, type, v, &text) == 0 && text.len > 0)
		sum += (unsigned char)text.data[text.len - 1];
	buf_clear(&text);
}

static void call(const char *prosrc, const char *result, const struct where_value *a, const struct where_value *b,
                 const struct where_value *more)
{
	const struct where_value args[] = {*a, b ? *b : where_null(), more ? *more : where_null(), where_bool(b && b->len & 1)};
	struct where_value out;
	struct where_call c = {.mem = &mem, .typmod = -1, .nargs = 4, .result = where_type_by_name(result)};
	const struct where_impl *f = where_impl_json;
	while (f->prosrc != NULL && strcmp(f->prosrc, prosrc) != 0)
		f++;
	REQUIRE(f->prosrc != NULL && c.result != NULL);
	int rc = f->fn(&c, args, &out);
	REQUIRE(rc == 0 || c.reason[0] != '\0');
	if (rc == 0)
		touch(c.result, &out);
}

/* A text and a path made of what the other text has. */
static void call_both(const struct where_value *json, const struct where_value *jsonb, const char *other, size_t n)
{
	struct where_call c = {.mem = &mem, .typmod = -1};
	const struct where_value key = where_bytes(other, n), index = where_int((int64_t)n - 3);
	struct where_value path;
	call("json_object_field_text", "text", json, &key, NULL);
	call("json_array_element", "json", json, &index, NULL);
	call("json_strip_nulls", "json", json, NULL, NULL);
	call("json_typeof", "text", json, NULL, NULL);
	call("json_array_length", "int4", json, NULL, NULL);
	if (where_in(&c, where_type_by_name("_text"), other, n, &path) == 0) {
		call("json_extract_path", "json", json, &path, NULL);
		call("json_extract_path_text", "text", json, &path, NULL);
		if (jsonb != NULL) {
			call("jsonb_extract_path_text", "text", jsonb, &path, NULL);
			call("jsonb_delete_path", "jsonb", jsonb, &path, NULL);
			call("jsonb_delete_array", "jsonb", jsonb, &path, NULL);
			call("jsonb_exists_any", "bool", jsonb, &path, NULL);
			call("jsonb_set", "jsonb", jsonb, &path, jsonb);
			call("jsonb_insert", "jsonb", jsonb, &path, jsonb);
		}
	}
	if (jsonb == NULL)
		return;
	call("jsonb_object_field", "jsonb", jsonb, &key, NULL);
	call("jsonb_array_element_text", "text", jsonb, &index, NULL);
	call("jsonb_exists", "bool", jsonb, &key, NULL);
	call("jsonb_delete", "jsonb", jsonb, &key, NULL);
	call("jsonb_delete_idx", "jsonb", jsonb, &index, NULL);
	call("jsonb_strip_nulls", "jsonb", jsonb, NULL, NULL);
	if (n < 100) /* its indentation grows with the square of the depth */
		call("jsonb_pretty", "text", jsonb, NULL, NULL);
	call("jsonb_bool", "bool", jsonb, NULL, NULL);
	call("jsonb_int4", "int4", jsonb, NULL, NULL);
	call("jsonb_numeric", "numeric", jsonb, NULL, NULL);
	call("jsonb_float8", "float8", jsonb, NULL, NULL);
}

static void again(const struct jsonb *j)
{
	struct where_call c = {.mem = &mem, .typmod = -1};
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	jsonb_format(j, &text);
	const struct jsonb *copy = jsonb_parse(&c, text.data, text.len);
	REQUIRE(copy != NULL && jsonb_equal(j, copy) && jsonb_cmp(j, copy, NULL) == 0 && jsonb_hash(j) == jsonb_hash(copy));
	REQUIRE(jsonb_contains(&c, j, copy));
	buf_clear(&text);
}

static struct pair one(const char *p, size_t n, const char *other, size_t m)
{
	struct where_call c = {.mem = &mem, .typmod = -1};
	struct where_value json, jsonb;
	bool is_json = where_in(&c, where_type_by_name("json"), p, n, &json) == 0;
	bool is_jsonb = where_in(&c, where_type_by_name("jsonb"), p, n, &jsonb) == 0;
	REQUIRE(is_json || !is_jsonb);
	if (is_jsonb)
		again(jsonb.u.jsonb);
	if (is_json)
		call_both(&json, is_jsonb ? &jsonb : NULL, other, m);
	return (struct pair){is_jsonb ? jsonb : where_null(), is_jsonb};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
	size_t n = zero ? (size_t)(zero - data) : size, m = zero ? size - n - 1 : 0;
	char *p = mem_alloc(n), *q = mem_alloc(m);
	memcpy(p, data, n);
	memcpy(q, data + size - m, m);
	struct pair a = one(p, n, q, m), b = one(q, m, p, n);
	if (a.jsonb && b.jsonb) {
		const struct jsonb *x = a.value.u.jsonb, *y = b.value.u.jsonb;
		int order = jsonb_cmp(x, y, NULL), back = jsonb_cmp(y, x, NULL);
		REQUIRE((order > 0) == (back < 0) && (order < 0) == (back > 0) && (order == 0) == jsonb_equal(x, y));
		REQUIRE(order != 0 || jsonb_hash(x) == jsonb_hash(y));
		call("jsonb_concat", "jsonb", &a.value, &b.value, NULL);
		call("jsonb_contains", "bool", &a.value, &b.value, NULL);
	}
	free(p);
	free(q);
	arena_reset(&mem);
	return 0;
}
