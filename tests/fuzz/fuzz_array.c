/*
 * fuzz_array.c - arbitrary bytes as two arrays (a zero byte between them) of the type that the first byte says:
 * input, output, every function.
 *
 * What parses is written and read again as an equal array with the same hash; order is the same from both
 * sides. Texts are copied to memory of their exact size, where the sanitizer sees one byte too many.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "where/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arena mem;
static volatile uint64_t sum;

static void call(const char *prosrc, const struct where_type *result, const struct where_value *a,
                 const struct where_value *b, const struct where_value *more)
{
	const struct where_value args[] = {a ? *a : where_null(), b ? *b : where_null(), more ? *more : where_null()};
	struct where_value out;
	struct where_call c = {.mem = &mem, .typmod = -1, .nargs = 3, .result = result};
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	const struct where_impl *f = where_impl_array;
	while (f->prosrc != NULL && strcmp(f->prosrc, prosrc) != 0)
		f++;
	REQUIRE(f->prosrc != NULL && result != NULL);
	int rc = f->fn(&c, args, &out);
	REQUIRE(rc == 0 || c.reason[0] != '\0');
	if (rc == 0 && out.is == WHERE_VALUE && where_out(&c, result, &out, &text) == 0 && text.len > 0)
		sum += (unsigned char)text.data[text.len - 1];
	buf_clear(&text);
}

static void again(const struct where_type *type, const struct where_value *v)
{
	struct where_call c = {.mem = &mem, .typmod = -1};
	struct where_value copy;
	struct buf text = BUF_INIT(WHERE_VALUE_BYTES_MAX);
	REQUIRE(where_out(&c, type, v, &text) == 0 && where_in(&c, type, text.data, text.len, &copy) == 0);
	REQUIRE(where_array_equal(type, v, &copy) && where_array_cmp(type, v, &copy) == 0);
	REQUIRE(where_array_hash(type, v) == where_array_hash(type, &copy));
	buf_clear(&text);
}

static void both(const struct where_type *type, const struct where_value *a, const struct where_value *b)
{
	int order = where_array_cmp(type, a, b), back = where_array_cmp(type, b, a);
	REQUIRE((order > 0) == (back < 0) && (order < 0) == (back > 0) && (order == 0) == where_array_equal(type, a, b));
	REQUIRE(order != 0 || where_array_hash(type, a) == where_array_hash(type, b));
	const struct where_type *boolean = where_type_by_name("bool");
	call("arraycontains", boolean, a, b, NULL);
	call("arrayoverlap", boolean, a, b, NULL);
	call("array_cat", type, a, b, NULL);
	call("array_larger", type, a, b, NULL);
}

static void one(const struct where_type *type, const struct where_value *a, const struct where_value *elem)
{
	const struct where_type *integer = where_type_by_name("int4"), *text = where_type_by_name("text");
	const struct where_value n = where_int(a->u.array->n % 8), comma = where_bytes(",", 1), null = where_null();
	call("array_position", integer, a, elem, NULL);
	call("array_position_start", integer, a, elem, &n);
	call("array_positions", where_type_by_name("_int4"), a, elem, NULL);
	call("array_remove", type, a, elem, NULL);
	call("array_replace", type, a, elem, &null);
	call("array_append", type, a, elem, NULL);
	call("array_prepend", type, elem, a, NULL);
	call("trim_array", type, a, &n, NULL);
	call("array_length", integer, a, &n, NULL);
	call("array_upper", integer, a, &n, NULL);
	call("array_dims", text, a, NULL, NULL);
	call("array_to_text", text, a, &comma, NULL);
	call("array_to_text_null", text, a, &comma, &comma);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"_text", "_int4", "_bool", "_numeric", "_jsonb"};
	if (size == 0)
		return 0;
	const struct where_type *type = where_type_by_name(names[data[0] % ARRAY_LEN(names)]);
	data++;
	size--;
	const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
	size_t n = zero ? (size_t)(zero - data) : size, m = zero ? size - n - 1 : 0;
	char *p = mem_alloc(n), *q = mem_alloc(m);
	memcpy(p, data, n);
	memcpy(q, data + size - m, m);
	struct where_call c = {.mem = &mem, .typmod = -1};
	struct where_value a, b;
	bool is_a = where_in(&c, type, p, n, &a) == 0, is_b = where_in(&c, type, q, m, &b) == 0;
	if (is_a) {
		again(type, &a);
		one(type, &a, a.u.array->n > 0 ? &a.u.array->values[a.u.array->n / 2] : NULL);
	}
	if (is_a && is_b)
		both(type, &a, &b);
	const struct where_value left = where_bytes(p, n), right = where_bytes(q, m);
	call("text_to_array", where_type_by_name("_text"), &left, &right, NULL);
	call("text_to_array_null", where_type_by_name("_text"), &left, NULL, &right);
	free(p);
	free(q);
	arena_reset(&mem);
	return 0;
}
