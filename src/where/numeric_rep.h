/*
 * numeric_rep.h - how a numeric is held. Private to numeric.c, numeric_text.c and numeric_math.c.
 *
 * Every finite value has one representation, so that equal values have equal parts whatever their display
 * scale: up to 18 digits without trailing zeros as `small`, anything longer as limbs. Most values of real
 * tables are small, and comparing two of the same exponent compares two integers.
 */
#ifndef BUSBAR_WHERE_NUMERIC_REP_H
#define BUSBAR_WHERE_NUMERIC_REP_H

#include "where/decimal.h"
#include "where/numeric.h"

#define NUMERIC_SCALE_MAX 16383     /* display scale */
#define NUMERIC_EXPONENT_MAX 131071 /* of the first digit */
#define NUMERIC_RESULT_SCALE_MAX 1000 /* that division and the like choose */
#define NUMERIC_SIG_DIGITS_MIN 16
#define SMALL_DIGITS 18               /* of a small value's integer */

enum numeric_kind { NUMERIC_SMALL, NUMERIC_LARGE, NUMERIC_INF, NUMERIC_NEG_INF, NUMERIC_NAN };

struct numeric {
	uint8_t kind;    /* enum numeric_kind */
	uint16_t dscale;
	int32_t e;       /* small: the value is m * 10^e */
	union {
		int64_t m;   /* small: |m| < 10^18, no multiple of ten; 0 with e = 0 */
		struct dec big;
	} u;
};

/* The value as limbs; `space` must live as long as the result. Finite values only. */
struct dec numeric_dec(const struct numeric *v, uint32_t space[DEC_SMALL_LIMBS]);
/* NULL if Postgres couldn't hold it (fails with c). Limbs are copied if they have to stay. */
const struct numeric *numeric_make(struct where_call *c, const struct dec *v, int32_t dscale);
const struct numeric *numeric_special(enum numeric_kind kind);
const struct numeric *numeric_small(struct arena *mem, int64_t m, int32_t e, int32_t dscale); /* e, m as in the struct */
const struct numeric *numeric_overflow(struct where_call *c);
/* As numeric_to_double(), 0 or an infinity where that fails. */
double numeric_dec_to_double(const struct dec *v);
/* v: stripped, not small; its limbs are kept. */
const struct numeric *numeric_large(struct arena *mem, struct dec v, int32_t dscale);
/* Groups of four digits, in which Postgres chooses scales: exponent of the first one, and its value. */
int32_t numeric_group4(const struct dec *v, int32_t *first);
int32_t numeric_div_scale(const struct dec *a, int32_t scale_a, const struct dec *b, int32_t scale_b);

/* Scratch memory goes, and what was worked in it counts. */
static inline void numeric_release(struct where_call *c, struct arena *scratch)
{
	c->work += scratch->work;
	arena_clear(scratch);
}

/* Before work that takes so many steps, which numeric_release() counts: false if they are more than may be done. */
static inline bool numeric_affords(struct where_call *c, uint64_t steps)
{
	return steps <= where_work_left(c) || where_too_costly(c) == 0;
}

static inline bool numeric_finite(const struct numeric *v) { return v->kind <= NUMERIC_LARGE; }

#endif
