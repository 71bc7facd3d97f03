/*
 * params.h - what a request asks for: query string, JSON body, and the checks that need no database.
 *
 * Decoding and casting follow docs/protocol.md 2.1 to 2.6. Everything is plain data in the caller's
 * arena; one thread at a time; nothing here does I/O.
 */
#ifndef BUSBAR_HTTP_PARAMS_H
#define BUSBAR_HTTP_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "shapes/core/def.h"

/* ---- untyped: a tree ---------------------------------------------------------------------------- */

enum pval_type { PVAL_NULL, PVAL_BOOL, PVAL_NUMBER, PVAL_STRING, PVAL_LIST, PVAL_MAP };

struct pentry;
struct pval {
	enum pval_type type;
	bool boolean;
	const char *p; /* string: its bytes, terminated; number: as it was written */
	size_t len;
	struct pentry *first, *last; /* list and map */
	size_t count;
};

struct pentry {
	struct pentry *next;
	const char *key; /* NULL in a list */
	size_t key_len;
	struct pval value;
};

/* The last of that name, NULL if there is none. */
struct pval *pval_get(const struct pval *map, const char *key);
/* Sets or replaces. */
void pval_put(struct arena *a, struct pval *map, const char *key, size_t key_len, const struct pval *value);
bool pval_is(const struct pval *v, const char *text); /* a string with these bytes */
/* By all of a key's bytes; the first of that name, NULL if there is none. */
struct pentry *pval_find(const struct pval *map, const char *key, size_t len);
/* An entry more of a list or map, empty; behind the others, or with a value before them. */
struct pentry *pval_append(struct arena *a, struct pval *to);
void pval_prepend(struct arena *a, struct pval *to, const struct pval *value);

/* Deeper brackets or JSON, and more values than this, are refused: they cost more memory than bytes. */
#define PARAMS_DEPTH_MAX 64
#define PARAMS_NODES_MAX 100000

/*
 * Decodes what follows the `?`: brackets make lists and maps, the last of equal names wins, malformed
 * percent signs stay as they are. Names that mean nothing here are dropped. -1: not UTF-8.
 */
int params_decode_query(struct arena *a, const char *query, size_t len, struct pval *out) MUST_USE;

/* `+` is a space, %XX a byte, anything else itself. Returns the length written to `to` (>= len bytes). */
size_t params_unescape(const char *p, size_t len, char *to, bool plus);

/* ---- JSON body ---------------------------------------------------------------------------------- */

enum body_result { BODY_OK, BODY_SYNTAX /* `details` */, BODY_NOT_OBJECT, BODY_TOO_LARGE };

/* Parses a JSON text; on BODY_SYNTAX `details` has the decoder text of docs/protocol.md 2.4. */
enum body_result json_parse(struct arena *a, const char *p, size_t len, struct pval *out, struct buf *details);

/* Merges a POST body into the query's parameters (docs/protocol.md 2.4). An empty body changes nothing. */
enum body_result body_merge(struct arena *a, const char *p, size_t len, struct pval *params, struct buf *details);

/* ---- typed -------------------------------------------------------------------------------------- */

enum offset_kind { OFFSET_START /* -1 */, OFFSET_NOW, OFFSET_AT };

struct shape_params {
	const char *table; /* NULL: not given (DELETE only) */
	size_t table_len;
	enum offset_kind offset_kind;
	struct log_offset offset;
	const char *handle; /* NULL: not given, or discarded because of the offset */
	size_t handle_len;
	bool live, sse, compaction;
	const char *where;
	size_t where_len;
	const struct pval *where_params; /* NULL: none */
	/* A map without the prefix `subset__`, or what no subset can be (params_subset_ok()); NULL: an ordinary shape
	 * request. */
	const struct pval *subset;
	struct def_request def;
};

/* Complaints by field. */
#define PARAMS_ERRORS_MAX 16
struct params_errors {
	struct def_error list[PARAMS_ERRORS_MAX];
	size_t count;
};

void params_error(struct params_errors *e, const char *field, const char *text);
/* As Elixir shows a value, for texts that quote it: lists of up to 50 elements, numbers as they were written. */
void params_inspect(struct buf *out, const struct pval *v);
/* {"message":"Invalid request","errors":{…}} */
void params_errors_json(const struct params_errors *e, struct buf *out);

/* Casts and checks up to and with `table` (docs/protocol.md 2.6, a to f). -1 with complaints. */
int params_check(struct arena *a, const struct pval *params, struct shape_params *out,
                 struct params_errors *e) MUST_USE;
/* Is it a map (or, as Electric takes one, an empty list)? What isn't is refused after all else (2.6 h). */
bool params_subset_ok(const struct pval *subset);

/* What a subset is of (docs/protocol.md 2.6 h). */
struct subset_params {
	const char *where, *order_by; /* NULL: none */
	size_t where_len, order_by_len;
	int64_t limit, offset;        /* limit -1: none */
	const struct pval *params;    /* a map of strings, or NULL */
};
/* Casts, numbers, and that a limit comes with an order. -1 with complaints, whose fields are those below `subset`. */
int params_check_subset(struct arena *a, const struct pval *subset, struct subset_params *out,
                        struct params_errors *e) MUST_USE;

/* The same for DELETE, which needs a table or a handle and casts `live` strictly. */
int params_check_delete(struct arena *a, const struct pval *params, struct shape_params *out,
                        struct params_errors *e) MUST_USE;

/* `-1`, `now`, `N_M`, `N_inf`. */
bool params_parse_offset(const char *p, size_t len, enum offset_kind *kind, struct log_offset *out);

/* If-None-Match: a list with commas, quotes and `W/` optional; `*` never matches. */
bool params_etag_listed(const char *list, const char *etag);

#endif
