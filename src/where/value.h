/*
 * value.h - values while a condition is evaluated, and how functions are written.
 *
 * A where_value is 16 bytes, copied freely. What it points to is owned by whatever made it: the
 * call's arena (`mem`, gone with the row), or, for constants, the memory of the condition. Functions
 * are pure: no globals, no I/O, any thread, no aborting on any input.
 *
 * Representations, by type (pg_type name):
 *   bool                     u.i, 0 or 1
 *   int2 int4 int8 oid       u.i
 *   float4 float8            u.f (a float4 is held exactly)
 *   numeric                  u.numeric
 *   text varchar name json bytea uuid enum "char" unknown
 *                            u.p and len: the bytes (bytea decoded, uuid 16 bytes, an enum its label, UTF-8)
 *   bpchar                   u.p and len, padded as Postgres sends it; comparisons ignore trailing blanks
 *   date                     u.i days since 2000-01-01; DATE_INFINITY, -DATE_INFINITY
 *   time                     u.i microseconds since midnight, up to 24:00 inclusive
 *   timestamp timestamptz    u.i microseconds since 2000-01-01 (UTC); TIMESTAMP_INFINITY and its negative
 *   timetz                   u.timetz
 *   interval                 u.interval
 *   jsonb                    u.jsonb (jsonb.h)
 *   arrays                   u.array
 *   row constructors         u.row
 * len is 0 but for bytes.
 * Domains are held as their base type.
 */
#ifndef BUSBAR_WHERE_VALUE_H
#define BUSBAR_WHERE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/require.h"

#define DATE_INFINITY INT32_MAX               /* later than all; -infinity is INT32_MIN */
#define DATE_NEG_INFINITY INT32_MIN
#define TIMESTAMP_INFINITY INT64_MAX
#define TIMESTAMP_NEG_INFINITY INT64_MIN
#define WHERE_VALUE_BYTES_MAX (1u << 30)       /* one value, as in Postgres */
#define WHERE_EVAL_BYTES_MAX (256u << 20)      /* memory of one evaluation; beyond: an evaluation error */
#define WHERE_ARRAY_DIMS_MAX 6

/*
 * Work is counted in steps, never in time, so that what is too much is so on every machine: a byte read or made is
 * one, and what takes about as long. Some 10^9 of them are a second.
 */
#define WHERE_CALL_STEPS 16
#define WHERE_TOO_COSTLY "too costly"

struct numeric;
struct jsonb;
struct where_array;
struct where_row;
struct where_interval { int64_t us; int32_t days, months; };
struct where_timetz { int64_t us; int32_t zone; /* seconds west of UTC, Postgres's sign */ };

enum where_is { WHERE_NULL, WHERE_VALUE, WHERE_ERROR };

struct where_value {
	union {
		int64_t i;
		double f;
		const char *p;
		const struct numeric *numeric;
		const struct where_interval *interval;
		const struct where_timetz *timetz;
		const struct jsonb *jsonb;
		const struct where_array *array;
		const struct where_row *row;
	} u;
	uint32_t len;
	uint8_t is; /* enum where_is */
};

struct where_type; /* types.h */

struct where_array {
	const struct where_type *elem;
	uint8_t ndims;                 /* 0: empty */
	int32_t dims[WHERE_ARRAY_DIMS_MAX], lower[WHERE_ARRAY_DIMS_MAX];
	uint32_t n;                    /* elements, the product of dims */
	const struct where_value *values; /* row-major; WHERE_NULL elements allowed */
};

struct where_row {
	uint32_t n;
	const struct where_value *values;
	const struct where_type *const *types;
};

/* ---- collations (collation.h makes them) --------------------------------------------------------- */

struct where_collation; /* opaque here; text functions of fn_text.c know it */

/* ---- calls --------------------------------------------------------------------------------------- */

#define WHERE_REASON_MAX 160

struct where_call {
	struct arena *mem;                        /* for results and scratch */
	const struct where_collation *collation;  /* of the call; never NULL for functions of collatable types */
	const struct where_type *result;          /* the call's actual types, polymorphic ones resolved */
	const struct where_type *const *arg_types;
	uint32_t nargs;
	int32_t typmod;                           /* input functions and length coercions; -1: none */
	bool printed;                             /* input functions: the text is a value as Postgres prints it, not what somebody wrote */
	void *prepared;                           /* what `prepare` made of constant arguments, or NULL */
	uint64_t work, work_max;                  /* steps so far, and how many may be taken; work_max 0: any number */
	bool too_costly;                          /* more were asked for; stays until who set work_max clears it */
	char reason[WHERE_REASON_MAX];            /* why it failed, without a client's or a row's text */
};

/* 0 with *out set (NULL values included), or -1 after where_fail(): Postgres would raise an error here. */
typedef int where_fn(struct where_call *c, const struct where_value *args, struct where_value *out);

/* Formats c->reason; returns -1. */
int where_fail(struct where_call *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

int where_too_costly(struct where_call *c); /* fails, and notes why */

/* Counts work that was or will be done: 0, or -1 after where_fail(). Whatever takes longer than its arguments and its
 * result are long calls this; those two are counted by the evaluator. */
static inline int where_spend(struct where_call *c, uint64_t steps)
{
	c->work += steps;
	return c->work <= c->work_max || c->work_max == 0 ? 0 : where_too_costly(c);
}

/* For loops with a bound of their own, and before memory is taken: how much more may be done. */
static inline uint64_t where_work_left(const struct where_call *c)
{
	return c->work_max == 0 ? UINT64_MAX : c->work < c->work_max ? c->work_max - c->work : 0;
}

/*
 * One implementation, named by Postgres's internal name of the function (pg_proc.prosrc of the
 * internal-language function, which is unique in meaning: "int4pl", "texteq", "numeric_add"; for a
 * function written in SQL, its proname). catalog.c maps operators, functions and casts to it.
 */
struct where_impl {
	const char *prosrc;
	where_fn *fn;
	/* Strict functions are never called with a NULL argument (the evaluator returns NULL); which are
	 * strict is known from Postgres's catalog. */
	/* NULL, or makes something of the constant arguments once per expression: args[i].is == WHERE_ERROR
	 * where an argument isn't constant. mem_alloc()ed as one block or freed by `release`; NULL if there is
	 * nothing to prepare; on invalid constants set *failed after where_fail(). */
	void *(*prepare)(struct where_call *c, const struct where_value *args, bool *failed);
	void (*release)(void *prepared); /* NULL: free() */
};

static inline struct where_value where_null(void) { return (struct where_value){.is = WHERE_NULL}; }
static inline struct where_value where_int(int64_t i) { return (struct where_value){.u.i = i, .is = WHERE_VALUE}; }
static inline struct where_value where_bool(bool b) { return where_int(b); }
static inline struct where_value where_float(double f) { return (struct where_value){.u.f = f, .is = WHERE_VALUE}; }
static inline struct where_value where_bytes(const char *p, size_t n)
{
	return (struct where_value){.u.p = p, .len = (uint32_t)n, .is = WHERE_VALUE};
}

/* ---- what a type can do --------------------------------------------------------------------------- */

/*
 * Input, output, equality, order and hash of one representation. `in` reads Postgres's text form as its
 * input function does under our session settings (DateStyle 'ISO, DMY', TimeZone UTC, IntervalStyle
 * iso_8601, bytea_output hex, extra_float_digits 1), -1 where Postgres raises an error or the result
 * would depend on the current time ('now', 'today'); what pgoutput sends and what a literal may say is
 * read by the same function. `out` writes the text of Postgres's output function. Values that the
 * type's default `=` calls equal have the same hash. `cmp` is the default btree order; for text types it
 * is by bytes (order by a collation is fn_text.c's).
 */
struct where_io {
	const char *type; /* pg_type.typname */
	int (*in)(struct where_call *c, const char *p, size_t n, struct where_value *out);
	int (*out)(struct where_call *c, const struct where_value *v, struct buf *text);
	int (*cmp)(const struct where_value *a, const struct where_value *b); /* NULL: the type has no order */
	uint64_t (*hash)(const struct where_value *v);                        /* NULL: no equality */
};

/* Mixing for hashes, and a hash of bytes; seeded per process. */
uint64_t where_hash_u64(uint64_t x);
uint64_t where_hash_bytes(const void *p, size_t n);

/* The tables of implementations and types, each ended by an entry whose name is NULL. */
extern const struct where_impl where_impl_number[];   /* fn_number.c, fn_numeric.c: int, float, numeric, bool, oid */
extern const struct where_impl where_impl_datetime[]; /* fn_datetime.c */
extern const struct where_impl where_impl_text[];     /* fn_text.c: text types, bytea, LIKE, regular expressions, uuid, enum */
extern const struct where_impl where_impl_array[];    /* fn_array.c */
extern const struct where_impl where_impl_json[];     /* fn_json.c: json, jsonb */
extern const struct where_io where_io_number[];
extern const struct where_io where_io_datetime[];
extern const struct where_io where_io_text[];
extern const struct where_io where_io_json[];
/* Arrays: by element type, in any.c. */

#endif
