/*
 * decimal.h - exact decimal arithmetic on numbers of any length, below numeric.c and numeric_math.c.
 *
 * A struct dec is sign and limbs of nine decimal digits, the first one worth 10^(9 w), aligned to the
 * decimal point so that sums and comparisons go limb by limb. Neither the first nor the last limb is
 * zero; zero has no limbs. It knows no display scale. Results live in the arena that is given and may
 * share limbs with the arguments, which nobody changes. Products and quotients add to the arena's `work`, a step
 * (value.h) for each pair of limbs. Nothing here fails; lengths are bounded by
 * numeric.c, which refuses what Postgres's numeric couldn't hold.
 */
#ifndef BUSBAR_WHERE_DECIMAL_H
#define BUSBAR_WHERE_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

#define DEC_BASE 1000000000u
#define DEC_WIDTH 9

__extension__ typedef __int128 dec_i128;
__extension__ typedef unsigned __int128 dec_u128;

struct dec {
	bool neg;
	int32_t w; /* exponent of d[0], in limbs */
	int32_t n; /* limbs; 0: zero */
	uint32_t *d;
};

#define DEC_SMALL_LIMBS 4
extern const uint64_t dec_pow10[20];

/* m * 10^exponent, m < 10^18; the limbs are written to `space`. */
struct dec dec_view(uint64_t m, int32_t exponent, bool neg, uint32_t space[DEC_SMALL_LIMBS]);
struct dec dec_int(struct arena *mem, int64_t v);
/* The inverse: true if v is m * 10^exponent with m < 10^18 not divisible by ten (0: 0, 0). */
bool dec_is_small(const struct dec *v, uint64_t *m, int32_t *exponent);
struct dec dec_copy(struct arena *mem, const struct dec *v);
struct dec dec_strip(struct dec v); /* after writing limbs by hand: drops zero limbs at both ends */

/* Decimal exponent of the first digit (0 for 1..9.99); zero: 0. */
int32_t dec_exponent(const struct dec *v);
bool dec_is_integer(const struct dec *v);
bool dec_is_odd(const struct dec *v); /* of an integer */
int dec_cmp_abs(const struct dec *a, const struct dec *b);
int dec_cmp(const struct dec *a, const struct dec *b);

struct dec dec_neg(struct dec v);
struct dec dec_add(struct arena *mem, const struct dec *a, const struct dec *b);
struct dec dec_sub(struct arena *mem, const struct dec *a, const struct dec *b);
struct dec dec_mul(struct arena *mem, const struct dec *a, const struct dec *b);
/* Towards zero, or to the nearest with halves away from zero, at `scale` decimals (may be negative). */
struct dec dec_trunc(struct arena *mem, const struct dec *v, int32_t scale);
struct dec dec_round(struct arena *mem, const struct dec *v, int32_t scale);
/* a / b, b not zero; rounding as above. */
struct dec dec_div_trunc(struct arena *mem, const struct dec *a, const struct dec *b, int32_t scale);
struct dec dec_div_round(struct arena *mem, const struct dec *a, const struct dec *b, int32_t scale);
/* The work of these two and of dec_mul(), as they count it, before it is done. */
uint64_t dec_div_steps(const struct dec *a, const struct dec *b, int32_t scale);
uint64_t dec_mul_steps(const struct dec *a, const struct dec *b);
/* The root of v >= 0, rounded as dec_round(). */
struct dec dec_sqrt(struct arena *mem, const struct dec *v, int32_t scale);

/* ---- with a fixed number of limbs, cut off without rounding: for series ---- */
struct dec dec_limit(struct dec v, int32_t limbs);
struct dec dec_div_limbs(struct arena *mem, const struct dec *a, const struct dec *b, int32_t limbs);

#endif
