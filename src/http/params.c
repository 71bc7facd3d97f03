/* params.c - query strings to a tree (pval.c), the tree to typed parameters. */
#include "base/utf8.h"
#include "http/params.h"

#include <stdint.h>
#include <string.h>

#define INSPECTED_BYTES_MAX (64u << 10) /* what a refusal shows of a value; the rest is left out */

/* ---- query strings ---------------------------------------------------------------------------- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t params_unescape(const char *p, size_t len, char *to, bool plus)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		int high = p[i] == '%' && i + 2 < len ? hex(p[i + 1]) : -1;
		int low = high >= 0 ? hex(p[i + 2]) : -1;
		if (low >= 0) {
			to[n++] = (char)(high << 4 | low);
			i += 2;
		} else {
			to[n++] = plus && p[i] == '+' ? ' ' : p[i];
		}
	}
	return n;
}

/* Names with a meaning; everything else in a query string is ignored. */
static bool known_name(const char *key, size_t len)
{
	static const char *const names[] = {
		"table", "offset", "handle", "live", "live_sse", "experimental_live_sse", "where", "params", "columns",
		"queryable_columns", "replica", "log", "experimental_compaction", "subset", "cursor", "secret", "api_secret"};
	static const char prefix[] = "subset__";
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i]) == len && memcmp(names[i], key, len) == 0)
			return true;
	return len >= sizeof prefix - 1 && memcmp(key, prefix, sizeof prefix - 1) == 0;
}

/* One key: the name and what stands in its brackets. */
struct key_parts {
	struct def_name part[PARAMS_DEPTH_MAX];
	size_t count;
};

static bool split_key(const char *key, size_t len, struct key_parts *out)
{
	const char *open = len > 0 && key[len - 1] == ']' ? memchr(key, '[', len) : NULL;
	out->count = 1;
	out->part[0] = (struct def_name){key, open == NULL ? len : (size_t)(open - key)};
	if (open == NULL) {
		/* A last `]` without a `[` is dropped. */
		if (len > 0 && key[len - 1] == ']')
			out->part[0].len--;
		return true;
	}
	const char *at = open + 1, *end = key + len - 1;
	for (;;) {
		const char *next = at;
		while (next + 1 < end && !(next[0] == ']' && next[1] == '['))
			next++;
		if (out->count == PARAMS_DEPTH_MAX)
			return false;
		if (next + 1 >= end) {
			out->part[out->count++] = (struct def_name){at, (size_t)(end - at)};
			return true;
		}
		out->part[out->count++] = (struct def_name){at, (size_t)(next - at)};
		at = next + 2;
	}
}

/*
 * Puts a value at its place. Pairs come from the last to the first, so what is there already wins, and
 * lists grow at their front.
 */
static void assign(struct arena *a, struct pval *map, const struct def_name *parts, size_t count,
                   const struct pval *value)
{
	struct pentry *e = pval_find(map, parts[0].p, parts[0].len);
	if (count == 1) {
		if (e == NULL)
			pval_put(a, map, parts[0].p, parts[0].len, value);
		return;
	}
	bool list = parts[1].len == 0;
	if (e == NULL) {
		struct pval empty = {.type = list ? PVAL_LIST : PVAL_MAP};
		pval_put(a, map, parts[0].p, parts[0].len, &empty);
		e = pval_find(map, parts[0].p, parts[0].len);
	}
	if (!list) {
		if (e->value.type == PVAL_MAP)
			assign(a, &e->value, parts + 1, count - 1, value);
	} else if (e->value.type == PVAL_LIST) {
		struct pval item = *value;
		if (count > 2) {
			item = (struct pval){.type = PVAL_MAP};
			assign(a, &item, parts + 2, count - 2, value);
		}
		pval_prepend(a, &e->value, &item);
	}
}

static int decode_pair(struct arena *a, const char *p, size_t len, struct pval *out)
{
	if (len == 0)
		return 0;
	const char *eq = memchr(p, '=', len);
	size_t key_raw = eq == NULL ? len : (size_t)(eq - p);
	char *key = arena_alloc(a, len + 2);
	size_t key_len = params_unescape(p, key_raw, key, true);
	key[key_len] = '\0';
	char *text = key + key_len + 1;
	size_t text_len = eq == NULL ? 0 : params_unescape(eq + 1, len - key_raw - 1, text, true);
	text[text_len] = '\0';
	if (!utf8_valid(key, key_len) || !utf8_valid(text, text_len))
		return -1;
	struct key_parts parts;
	if (!split_key(key, key_len, &parts) || !known_name(parts.part[0].p, parts.part[0].len))
		return 0;
	struct pval value = {.type = PVAL_STRING, .p = text, .len = text_len};
	assign(a, out, parts.part, parts.count, &value);
	return 0;
}

int params_decode_query(struct arena *a, const char *query, size_t len, struct pval *out)
{
	*out = (struct pval){.type = PVAL_MAP};
	for (size_t end = len;;) {
		size_t start = end;
		while (start > 0 && query[start - 1] != '&')
			start--;
		if (decode_pair(a, query + start, end - start, out) < 0)
			return -1;
		if (start == 0)
			return 0;
		end = start - 1;
	}
}

/* ---- complaints ------------------------------------------------------------------------------- */

void params_error(struct params_errors *e, const char *field, const char *text)
{
	if (e->count < PARAMS_ERRORS_MAX)
		e->list[e->count++] = (struct def_error){field, text};
}

static bool has_error(const struct params_errors *e, const char *field)
{
	for (size_t i = 0; i < e->count; i++)
		if (strcmp(e->list[i].field, field) == 0)
			return true;
	return false;
}

void params_errors_json(const struct params_errors *e, struct buf *out)
{
	buf_puts(out, "{\"message\":\"Invalid request\",\"errors\":{");
	for (size_t i = 0; i < e->count; i++) {
		if (i > 0)
			buf_putc(out, ',');
		buf_json_string(out, e->list[i].field, strlen(e->list[i].field));
		buf_puts(out, ":[");
		buf_json_string(out, e->list[i].text, strlen(e->list[i].text));
		buf_putc(out, ']');
	}
	buf_puts(out, "}}");
}

/* ---- casting ---------------------------------------------------------------------------------- */

static bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Absent, null, or a string of blanks only. */
static bool blank(const struct pval *v)
{
	if (v == NULL || v->type == PVAL_NULL)
		return true;
	if (v->type != PVAL_STRING)
		return false;
	for (size_t i = 0; i < v->len; i++)
		if (!is_space((unsigned char)v->p[i]))
			return false;
	return true;
}

/* The string, NULL if it is absent; complains about anything else. */
static const struct pval *cast_string(const struct pval *params, const char *field, struct params_errors *e)
{
	const struct pval *v = pval_get(params, field);
	if (blank(v))
		return NULL;
	if (v->type == PVAL_STRING)
		return v;
	params_error(e, field, "is invalid");
	return NULL;
}

static bool cast_bool(const struct pval *v, const char *field, struct params_errors *e)
{
	if (blank(v))
		return false;
	if (v->type == PVAL_BOOL)
		return v->boolean;
	if (pval_is(v, "true") || pval_is(v, "1"))
		return true;
	if (!pval_is(v, "false") && !pval_is(v, "0"))
		params_error(e, field, "is invalid");
	return false;
}

/* One of two words; the first is the default. */
static bool cast_second(const struct pval *params, const char *field, const char *first, const char *second,
                        struct params_errors *e)
{
	const struct pval *v = pval_get(params, field);
	if (blank(v) || pval_is(v, first))
		return false;
	if (!pval_is(v, second))
		params_error(e, field, "is invalid");
	return true;
}

static void cast_list(struct arena *a, const struct pval *params, const char *field, struct def_list *out,
                      struct params_errors *e)
{
	const struct pval *v = pval_get(params, field);
	struct def_error complaint;
	*out = (struct def_list){.given = false};
	if (blank(v))
		return;
	if (v->type == PVAL_STRING) {
		if (def_read_list(a, field, v->p, v->len, out, &complaint) < 0)
			params_error(e, field, complaint.text);
		return;
	}
	if (v->type != PVAL_LIST || v->count == 0) {
		params_error(e, field, "is invalid");
		return;
	}
	struct def_name *names = arena_alloc(a, v->count * sizeof *names);
	*out = (struct def_list){.given = true, .names = names};
	for (struct pentry *item = v->first; item != NULL; item = item->next) {
		if (item->value.type == PVAL_STRING && item->value.len == 0) {
			params_error(e, field, "Invalid zero-length identifier");
			return;
		}
		names[out->count++] = (struct def_name){item->value.p, item->value.len};
	}
}

/* A JSON list may hold what isn't a string. COMPAT: known when the shape is, not among the casts, in these words. */
static void check_elements(struct arena *a, const struct pval *params, const char *field, struct params_errors *e)
{
	const struct pval *v = pval_get(params, field);
	if (v == NULL || v->type != PVAL_LIST)
		return;
	size_t at = 0;
	const struct pentry *item = v->first;
	for (; item != NULL && item->value.type == PVAL_STRING; item = item->next)
		at++;
	if (item == NULL)
		return;
	struct buf list = BUF_INIT(INSPECTED_BYTES_MAX), element = BUF_INIT(INSPECTED_BYTES_MAX);
	struct buf text = BUF_INIT(3 * INSPECTED_BYTES_MAX);
	params_inspect(&list, v);
	params_inspect(&element, &item->value);
	buf_printf(&text, "expected :%s option to match at least one given type, but didn't match any. Here are the reasons why "
	           "it didn't match each of the allowed types:\n\n  * invalid value for :%s option: expected nil, got: ", field,
	           field);
	buf_put(&text, list.data, list.len);
	buf_printf(&text, "\n  * invalid list in :%s option: invalid value for list element at position %zu: expected string, "
	           "got: ", field, at);
	buf_put(&text, element.data, element.len);
	params_error(e, field, arena_strndup(a, text.data, text.len));
	buf_clear(&list);
	buf_clear(&element);
	buf_clear(&text);
}

/* A map from text to text; a string, even of JSON, is not one. */
static const struct pval *cast_params(const struct pval *params, struct params_errors *e)
{
	const struct pval *v = pval_get(params, "params");
	if (blank(v))
		return NULL;
	bool ok = v->type == PVAL_MAP;
	for (struct pentry *item = v->first; ok && item != NULL; item = item->next)
		ok = item->value.type == PVAL_STRING || item->value.type == PVAL_NULL;
	if (!ok) {
		params_error(e, "params", "is invalid");
		return NULL;
	}
	return v;
}

bool params_subset_ok(const struct pval *subset)
{
	return subset->type == PVAL_MAP || (subset->type == PVAL_LIST && subset->count == 0);
}

/*
 * A request is about a subset if it has any `subset__…` key, even an empty one, or `subset` itself. COMPAT:
 * an empty JSON list is taken for an empty object.
 */
static const struct pval *find_subset(struct arena *a, const struct pval *params)
{
	static const char prefix[] = "subset__";
	const size_t skip = sizeof prefix - 1;
	const struct pval *v = pval_get(params, "subset");
	if (!blank(v))
		return v;
	struct pval *map = NULL;
	for (struct pentry *item = params->first; item != NULL; item = item->next) {
		if (item->key_len < skip || memcmp(item->key, prefix, skip) != 0)
			continue;
		if (map == NULL) {
			map = arena_alloc(a, sizeof *map);
			*map = (struct pval){.type = PVAL_MAP};
		}
		pval_put(a, map, item->key + skip, item->key_len - skip, &item->value);
	}
	return map;
}

/* ---- offsets ---------------------------------------------------------------------------------- */

/* Digits with an optional `+` before them; too large for 64 bits becomes the largest that isn't "inf". */
static bool parse_number(const char *p, size_t len, uint64_t *out)
{
	if (len > 0 && p[0] == '+') {
		p++;
		len--;
	}
	if (len == 0)
		return false;
	uint64_t v = 0;
	bool over = false;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		uint64_t digit = (uint64_t)(p[i] - '0');
		over = over || v > (UINT64_MAX - 3 - digit) / 10;
		v = over ? UINT64_MAX - 3 : v * 10 + digit;
	}
	*out = v;
	return true;
}

bool params_parse_offset(const char *p, size_t len, enum offset_kind *kind, struct log_offset *out)
{
	*out = (struct log_offset){0, 0};
	if ((len == 2 && memcmp(p, "-1", 2) == 0) || (len == 4 && memcmp(p, "-1_0", 4) == 0)) {
		*kind = OFFSET_START;
		*out = OFFSET_BEFORE_ALL;
		return true;
	}
	if (len == 3 && memcmp(p, "now", 3) == 0) {
		*kind = OFFSET_NOW;
		return true;
	}
	const char *mid = len == 0 ? NULL : memchr(p, '_', len);
	if (mid == NULL)
		return false;
	const char *op = mid + 1;
	size_t op_len = (size_t)(p + len - op);
	*kind = OFFSET_AT;
	if (!parse_number(p, (size_t)(mid - p), &out->tx))
		return false;
	if (op_len == 3 && memcmp(op, "inf", 3) == 0) {
		out->op = LOG_OP_INF;
		return true;
	}
	return parse_number(op, op_len, &out->op);
}

/* ---- typed parameters ------------------------------------------------------------------------- */

/* What GET, POST and DELETE cast alike. */
static void cast_common(struct arena *a, const struct pval *params, struct shape_params *out, struct params_errors *e)
{
	const struct pval *table = cast_string(params, "table", e);
	if (table != NULL) {
		out->table = table->p;
		out->table_len = table->len;
	}
	const struct pval *handle = cast_string(params, "handle", e);
	if (handle != NULL) {
		out->handle = handle->p;
		out->handle_len = handle->len;
	}
	const struct pval *where = cast_string(params, "where", e);
	if (where != NULL) {
		out->where = where->p;
		out->where_len = where->len;
	}
	out->where_params = cast_params(params, e);
	cast_list(a, params, "columns", &out->def.columns, e);
	cast_list(a, params, "queryable_columns", &out->def.queryable_columns, e);
	out->def.replica = cast_second(params, "replica", "default", "full", e) ? REPLICA_FULL : REPLICA_DEFAULT;
	out->def.log_mode = cast_second(params, "log", "full", "changes_only", e) ? LOG_MODE_CHANGES_ONLY : LOG_MODE_FULL;
	out->compaction = cast_bool(pval_get(params, "experimental_compaction"), "experimental_compaction", e);
}

/* Of `live`, only the string "false" means no; also a JSON false means yes. */
static bool loose_true(const struct pval *v) { return v != NULL && !pval_is(v, "false"); }

/* The first complaint about what only a shape needs, before its table is looked for. */
static void check_shape(struct arena *a, const struct pval *params, struct params_errors *e)
{
	check_elements(a, params, "columns", e);
	if (e->count == 0)
		check_elements(a, params, "queryable_columns", e);
}

static int check_combination(struct arena *a, const struct pval *params, struct shape_params *out,
                             const struct pval *offset, struct params_errors *e)
{
	if (!params_parse_offset(offset->p, offset->len, &out->offset_kind, &out->offset))
		params_error(e, "offset", "has invalid format");
	else if (out->offset_kind == OFFSET_AT && out->handle == NULL)
		params_error(e, "handle", "can't be blank when offset != -1");
	else if (out->live && out->offset_kind == OFFSET_START)
		params_error(e, "live", "can't be true when offset == -1");
	else if (out->live && out->offset_kind == OFFSET_NOW)
		params_error(e, "live", "can't be true when offset is 'now'");
	else if (out->sse && !out->live)
		params_error(e, "live_sse", "can't be true unless live is also true");
	else if (out->table == NULL)
		params_error(e, "table", "can't be blank");
	else
		check_shape(a, params, e);
	if (out->offset_kind != OFFSET_AT)
		out->handle = NULL;
	return e->count > 0 ? -1 : 0;
}

int params_check(struct arena *a, const struct pval *params, struct shape_params *out, struct params_errors *e)
{
	*out = (struct shape_params){0};
	*e = (struct params_errors){0};
	cast_common(a, params, out, e);
	out->live = loose_true(pval_get(params, "live"));
	const struct pval *sse = pval_get(params, "live_sse");
	out->sse = sse != NULL ? loose_true(sse) : cast_bool(pval_get(params, "experimental_live_sse"), "live_sse", e);

	const struct pval *offset = pval_get(params, "offset");
	if (blank(offset))
		params_error(e, "offset", "can't be blank");
	else if (offset->type != PVAL_STRING)
		params_error(e, "offset", "is invalid");
	if (e->count > 0)
		return -1;
	out->subset = find_subset(a, params);
	return check_combination(a, params, out, offset, e);
}

int params_check_delete(struct arena *a, const struct pval *params, struct shape_params *out, struct params_errors *e)
{
	*out = (struct shape_params){0};
	*e = (struct params_errors){0};
	cast_common(a, params, out, e);
	cast_bool(pval_get(params, "live"), "live", e);
	cast_bool(pval_get(params, "live_sse"), "live_sse", e);
	cast_string(params, "offset", e);
	if (out->table == NULL && out->handle == NULL && !has_error(e, "handle"))
		params_error(e, "handle", "can't be blank when shape definition is missing");
	else if (out->table != NULL && e->count == 0)
		check_shape(a, params, e);
	return e->count > 0 ? -1 : 0;
}

/* ---- subsets ---------------------------------------------------------------------------------- */

/* Digits with a sign before them, as a text or a JSON number; `fallback` if absent. */
static int64_t cast_integer(const struct pval *params, const char *field, int64_t fallback, struct params_errors *e)
{
	const struct pval *v = pval_get(params, field);
	if (blank(v))
		return fallback;
	int64_t n = 0;
	bool negative = v->len > 0 && v->p[0] == '-';
	size_t at = v->len > 0 && (v->p[0] == '-' || v->p[0] == '+');
	bool ok = (v->type == PVAL_STRING || v->type == PVAL_NUMBER) && at < v->len;
	for (; ok && at < v->len; at++)
		ok = v->p[at] >= '0' && v->p[at] <= '9' && !__builtin_mul_overflow(n, 10, &n) &&
		     !__builtin_add_overflow(n, v->p[at] - '0', &n);
	if (!ok) {
		params_error(e, field, "is invalid");
		return fallback;
	}
	return negative ? -n : n;
}

/* The value as a text; false for lists and maps. */
static bool stringify(struct pval *v)
{
	switch (v->type) {
	case PVAL_NULL:
		*v = (struct pval){.type = PVAL_STRING, .p = ""};
		return true;
	case PVAL_BOOL: {
		const char *text = v->boolean ? "true" : "false";
		*v = (struct pval){.type = PVAL_STRING, .p = text, .len = strlen(text)};
		return true;
	}
	case PVAL_NUMBER: /* as it was written: no digit is lost */
		v->type = PVAL_STRING;
		return true;
	default:
		return v->type == PVAL_STRING;
	}
}

/* A map, or a text with a JSON object. */
static const struct pval *cast_subset_params(struct arena *a, const struct pval *subset, struct params_errors *e)
{
	const struct pval *given = pval_get(subset, "params");
	if (blank(given))
		return NULL;
	struct pval *map = arena_alloc(a, sizeof *map);
	*map = *given;
	if (given->type == PVAL_STRING) {
		struct buf details = BUF_INIT(4096);
		enum body_result result = json_parse(a, given->p, given->len, map, &details);
		buf_clear(&details);
		if (result != BODY_OK || map->type != PVAL_MAP) {
			params_error(e, "params", result != BODY_OK ? "params must be valid JSON" : "params must be a JSON object");
			return NULL;
		}
	}
	bool ok = map->type == PVAL_MAP;
	for (struct pentry *item = map->first; ok && item != NULL; item = item->next)
		ok = stringify(&item->value);
	if (!ok) {
		params_error(e, "params", "is invalid");
		return NULL;
	}
	return map;
}

int params_check_subset(struct arena *a, const struct pval *subset, struct subset_params *out, struct params_errors *e)
{
	*out = (struct subset_params){.limit = -1};
	*e = (struct params_errors){0};
	const struct pval *where = cast_string(subset, "where", e);
	const struct pval *order_by = cast_string(subset, "order_by", e);
	if (where != NULL) {
		out->where = where->p;
		out->where_len = where->len;
	}
	if (order_by != NULL) {
		out->order_by = order_by->p;
		out->order_by_len = order_by->len;
	}
	size_t before = e->count;
	int64_t limit = cast_integer(subset, "limit", INT64_MAX, e);
	bool limited = !blank(pval_get(subset, "limit")) && e->count == before;
	before = e->count;
	int64_t offset = cast_integer(subset, "offset", 0, e);
	bool moved = !blank(pval_get(subset, "offset")) && e->count == before;
	out->params = cast_subset_params(a, subset, e);
	if (limit <= 0)
		params_error(e, "limit", "must be greater than 0");
	if (offset < 0)
		params_error(e, "offset", "must be greater than or equal to 0");
	if ((limited || moved) && order_by == NULL && blank(pval_get(subset, "order_by")))
		params_error(e, "order_by", "order_by is required when limit or offset is present");
	out->limit = limited ? limit : -1;
	out->offset = offset;
	return e->count > 0 ? -1 : 0;
}

/* ---- headers ---------------------------------------------------------------------------------- */

bool params_etag_listed(const char *list, const char *etag)
{
	size_t want = strlen(etag);
	for (const char *at = list; *at != '\0';) {
		size_t len = strcspn(at, ",");
		const char *p = at, *end = at + len;
		while (p < end && is_space((unsigned char)*p))
			p++;
		while (end > p && is_space((unsigned char)end[-1]))
			end--;
		if (end - p > 2 && p[0] == 'W' && p[1] == '/') /* a proxy that compresses makes them weak; this comparison is */
			p += 2;
		while (p < end && *p == '"')
			p++;
		while (end > p && end[-1] == '"')
			end--;
		if ((size_t)(end - p) == want && memcmp(p, etag, want) == 0)
			return true;
		at += len + (at[len] == ',');
	}
	return false;
}
