/* decimal.c - limbs of nine digits: sums, products, Knuth's division, roots. See decimal.h. */
#include "where/decimal.h"

#include <math.h>
#include <string.h>

const uint64_t dec_pow10[20] = {
	1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull, 1000000000ull,
	10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull, 100000000000000ull,
	1000000000000000ull, 10000000000000000ull, 100000000000000000ull, 1000000000000000000ull,
	10000000000000000000ull,
};

static const struct dec dec_zero;

static int32_t floor_div(int32_t a, int32_t b)
{
	int32_t q = a / b;
	return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static int32_t ceil_div(int32_t a, int32_t b) { return -floor_div(-a, b); }

static struct dec fresh(struct arena *mem, bool neg, int32_t w, int32_t n)
{
	return (struct dec){neg, w, n, arena_alloc(mem, (size_t)n * sizeof(uint32_t))};
}

static struct dec fresh_zeroed(struct arena *mem, bool neg, int32_t w, int32_t n)
{
	struct dec v = fresh(mem, neg, w, n);
	memset(v.d, 0, (size_t)n * sizeof(uint32_t));
	return v;
}

struct dec dec_strip(struct dec v)
{
	while (v.n > 0 && v.d[0] == 0) {
		v.d++;
		v.n--;
		v.w--;
	}
	while (v.n > 0 && v.d[v.n - 1] == 0)
		v.n--;
	return v.n == 0 ? dec_zero : v;
}

/* ---- conversions ------------------------------------------------------------------------------------ */

struct dec dec_view(uint64_t m, int32_t exponent, bool neg, uint32_t space[DEC_SMALL_LIMBS])
{
	int32_t low = floor_div(exponent, DEC_WIDTH);
	dec_u128 x = (dec_u128)m * dec_pow10[exponent - low * DEC_WIDTH];
	int32_t at = DEC_SMALL_LIMBS;
	for (; x > UINT64_MAX; x /= DEC_BASE)
		space[--at] = (uint32_t)(x % DEC_BASE);
	for (uint64_t y = (uint64_t)x; y > 0; y /= DEC_BASE)
		space[--at] = (uint32_t)(y % DEC_BASE);
	int32_t n = DEC_SMALL_LIMBS - at;
	return dec_strip((struct dec){neg, low + n - 1, n, space + at});
}

struct dec dec_int(struct arena *mem, int64_t v)
{
	uint64_t m = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	struct dec r = fresh(mem, v < 0, 2, 3);
	r.d[0] = (uint32_t)(m / DEC_BASE / DEC_BASE);
	r.d[1] = (uint32_t)(m / DEC_BASE % DEC_BASE);
	r.d[2] = (uint32_t)(m % DEC_BASE);
	return dec_strip(r);
}

static int32_t digits_of(uint32_t limb)
{
	int32_t k = 1;
	while (k < DEC_WIDTH && limb >= dec_pow10[k])
		k++;
	return k;
}

int32_t dec_exponent(const struct dec *v)
{
	return v->n == 0 ? 0 : v->w * DEC_WIDTH + digits_of(v->d[0]) - 1;
}

bool dec_is_small(const struct dec *v, uint64_t *m, int32_t *exponent)
{
	*m = 0;
	*exponent = 0;
	if (v->n == 0)
		return true;
	if (v->n > 3)
		return false;
	uint32_t last = v->d[v->n - 1];
	int32_t zeros = 0;
	for (; last % 10 == 0; last /= 10)
		zeros++;
	if (digits_of(v->d[0]) + (v->n - 1) * DEC_WIDTH - zeros > 18)
		return false;
	dec_u128 x = 0;
	for (int32_t i = 0; i < v->n; i++)
		x = x * DEC_BASE + v->d[i];
	*m = (uint64_t)(x / dec_pow10[zeros]);
	*exponent = (v->w - v->n + 1) * DEC_WIDTH + zeros;
	return true;
}

struct dec dec_copy(struct arena *mem, const struct dec *v)
{
	struct dec r = *v;
	if (v->n > 0)
		r.d = arena_dup(mem, v->d, (size_t)v->n * sizeof(uint32_t));
	return r;
}

bool dec_is_integer(const struct dec *v) { return v->n <= v->w + 1 || v->n == 0; }
bool dec_is_odd(const struct dec *v) { return v->n > 0 && v->n == v->w + 1 && (v->d[v->n - 1] & 1) != 0; }

/* ---- order ------------------------------------------------------------------------------------------ */

int dec_cmp_abs(const struct dec *a, const struct dec *b)
{
	if (a->n == 0 || b->n == 0)
		return (a->n != 0) - (b->n != 0);
	if (a->w != b->w)
		return a->w > b->w ? 1 : -1;
	int32_t n = a->n < b->n ? a->n : b->n;
	for (int32_t i = 0; i < n; i++)
		if (a->d[i] != b->d[i])
			return a->d[i] > b->d[i] ? 1 : -1;
	return (a->n > n) - (b->n > n);
}

int dec_cmp(const struct dec *a, const struct dec *b)
{
	bool an = a->neg && a->n > 0, bn = b->neg && b->n > 0;
	if (an != bn)
		return an ? -1 : 1;
	int c = dec_cmp_abs(a, b);
	return an ? -c : c;
}

/* ---- sums ------------------------------------------------------------------------------------------- */

struct dec dec_neg(struct dec v)
{
	v.neg = v.n > 0 && !v.neg;
	return v;
}

static struct dec add_abs(struct arena *mem, const struct dec *a, const struct dec *b, bool neg)
{
	int32_t w = (a->w > b->w ? a->w : b->w) + 1;
	int32_t la = a->w - a->n, lb = b->w - b->n, low = la < lb ? la : lb;
	struct dec r = fresh_zeroed(mem, neg, w, w - low);
	memcpy(r.d + (w - a->w), a->d, (size_t)a->n * sizeof *a->d);
	uint32_t carry = 0;
	for (int32_t i = w - lb - 1, j = b->n - 1; i >= 0 && (j >= 0 || carry != 0); i--, j--) {
		uint32_t x = r.d[i] + carry + (j >= 0 ? b->d[j] : 0);
		carry = x >= DEC_BASE;
		r.d[i] = carry ? x - DEC_BASE : x;
	}
	return dec_strip(r);
}

/* |a| > |b| */
static struct dec sub_abs(struct arena *mem, const struct dec *a, const struct dec *b, bool neg)
{
	int32_t la = a->w - a->n, lb = b->w - b->n, low = la < lb ? la : lb;
	struct dec r = fresh_zeroed(mem, neg, a->w, a->w - low);
	memcpy(r.d, a->d, (size_t)a->n * sizeof *a->d);
	uint32_t borrow = 0;
	for (int32_t i = a->w - lb - 1, j = b->n - 1; i >= 0 && (j >= 0 || borrow != 0); i--, j--) {
		uint32_t y = borrow + (j >= 0 ? b->d[j] : 0);
		borrow = r.d[i] < y;
		r.d[i] = borrow ? r.d[i] + DEC_BASE - y : r.d[i] - y;
	}
	return dec_strip(r);
}

struct dec dec_add(struct arena *mem, const struct dec *a, const struct dec *b)
{
	if (b->n == 0)
		return *a;
	if (a->n == 0)
		return *b;
	if (a->neg == b->neg)
		return add_abs(mem, a, b, a->neg);
	int c = dec_cmp_abs(a, b);
	if (c == 0)
		return dec_zero;
	return c > 0 ? sub_abs(mem, a, b, a->neg) : sub_abs(mem, b, a, b->neg);
}

struct dec dec_sub(struct arena *mem, const struct dec *a, const struct dec *b)
{
	struct dec minus = dec_neg(*b);
	return dec_add(mem, a, &minus);
}

/* ---- products --------------------------------------------------------------------------------------- */

/* The sum of a[i] * b[k - i] over all i that both have. */
static dec_u128 column(const struct dec *a, const struct dec *b, int32_t k)
{
	int32_t i = k >= b->n ? k - b->n + 1 : 0, end = k < a->n ? k + 1 : a->n;
	dec_u128 sum = 0;
	while (i < end) {
		int32_t stop = end - i > 16 ? i + 16 : end; /* products of less than 10^18 that 64 bits hold */
		uint64_t part = 0;
		for (; i < stop; i++)
			part += (uint64_t)a->d[i] * b->d[k - i];
		sum += part;
	}
	return sum;
}

uint64_t dec_mul_steps(const struct dec *a, const struct dec *b) { return (uint64_t)a->n * (uint64_t)b->n; }

struct dec dec_mul(struct arena *mem, const struct dec *a, const struct dec *b)
{
	if (a->n == 0 || b->n == 0)
		return dec_zero;
	struct dec r = fresh(mem, a->neg != b->neg, a->w + b->w + 1, a->n + b->n);
	mem->work += dec_mul_steps(a, b);
	uint64_t carry = 0;
	for (int32_t k = a->n + b->n - 2; k >= 0; k--) {
		dec_u128 sum = column(a, b, k) + carry;
		carry = sum > UINT64_MAX ? (uint64_t)(sum / DEC_BASE) : (uint64_t)sum / DEC_BASE;
		r.d[k + 1] = (uint32_t)((uint64_t)sum - carry * DEC_BASE);
	}
	r.d[0] = (uint32_t)carry;
	return dec_strip(r);
}

/* ---- rounding --------------------------------------------------------------------------------------- */

/* The limb that holds the last digit kept, counted from d[0], and the power of ten of that digit in it. */
static int32_t last_kept(const struct dec *v, int32_t scale, uint32_t *unit)
{
	int32_t limb = floor_div(-scale, DEC_WIDTH);
	*unit = (uint32_t)dec_pow10[-scale - limb * DEC_WIDTH];
	return v->w - limb;
}

struct dec dec_trunc(struct arena *mem, const struct dec *v, int32_t scale)
{
	uint32_t unit;
	int32_t at = last_kept(v, scale, &unit);
	if (v->n == 0 || at < 0)
		return dec_zero;
	if (at >= v->n)
		return *v;
	struct dec r = *v;
	r.n = at + 1;
	if (r.d[at] % unit != 0) {
		r = dec_copy(mem, &r);
		r.d[at] -= r.d[at] % unit;
	}
	return dec_strip(r);
}

/* The digit after the last one kept. */
static uint32_t next_digit(const struct dec *v, int32_t scale)
{
	uint32_t unit;
	int32_t at = last_kept(v, scale + 1, &unit);
	return at < 0 || at >= v->n ? 0 : v->d[at] / unit % 10;
}

struct dec dec_round(struct arena *mem, const struct dec *v, int32_t scale)
{
	struct dec r = dec_trunc(mem, v, scale);
	if (v->n == 0 || next_digit(v, scale) < 5)
		return r;
	uint32_t space[DEC_SMALL_LIMBS];
	struct dec ulp = dec_view(1, -scale, v->neg, space);
	r = dec_add(mem, &r, &ulp);
	return r.d == ulp.d ? dec_copy(mem, &r) : r;
}

/* ---- quotients -------------------------------------------------------------------------------------- */

static void div_short(const uint32_t *a, int32_t n, uint32_t by, uint32_t *q)
{
	uint64_t rest = 0;
	for (int32_t i = 0; i < n; i++) {
		uint64_t x = rest * DEC_BASE + a[i];
		q[i] = (uint32_t)(x / by);
		rest = x % by;
	}
}

static void scale_limbs(const uint32_t *from, int32_t n, uint32_t factor, uint32_t *to)
{
	uint64_t carry = 0;
	for (int32_t i = n - 1; i >= 0; i--) {
		uint64_t t = (uint64_t)from[i] * factor + carry;
		to[i + 1] = (uint32_t)(t % DEC_BASE);
		carry = t / DEC_BASE;
	}
	to[0] = (uint32_t)carry;
}

/* u[0..m] -= v[0..m) * q, one limb longer; true if it went below zero. */
static bool mul_sub(uint32_t *u, const uint32_t *v, int32_t m, uint64_t q)
{
	uint64_t carry = 0;
	for (int32_t i = m - 1; i >= 0; i--) {
		uint64_t t = v[i] * q + carry;
		carry = t / DEC_BASE;
		uint32_t low = (uint32_t)(t - carry * DEC_BASE);
		if (u[i + 1] < low) {
			u[i + 1] += DEC_BASE;
			carry++;
		}
		u[i + 1] -= low;
	}
	bool below = u[0] < carry;
	u[0] = below ? (uint32_t)(u[0] + (uint64_t)DEC_BASE - carry) : (uint32_t)(u[0] - carry);
	return below;
}

static void add_back(uint32_t *u, const uint32_t *v, int32_t m)
{
	uint32_t carry = 0;
	for (int32_t i = m - 1; i >= 0; i--) {
		uint32_t x = u[i + 1] + v[i] + carry;
		carry = x >= DEC_BASE;
		u[i + 1] = carry ? x - DEC_BASE : x;
	}
	u[0] = (u[0] + carry) % DEC_BASE;
}

/* Knuth, The Art of Computer Programming 2, 4.3.1, algorithm D. q has n - m + 1 limbs, m >= 2, n >= m. */
static void div_long(struct arena *mem, const uint32_t *a, int32_t n, const uint32_t *b, int32_t m, uint32_t *q)
{
	uint32_t *u = arena_alloc(mem, ((size_t)n + 1 + (size_t)m + 1) * sizeof *u), *v = u + n + 1;
	uint32_t factor = DEC_BASE / (b[0] + 1);
	scale_limbs(a, n, factor, u);
	scale_limbs(b, m, factor, v);
	v++; /* the product has no more limbs than b */
	for (int32_t j = 0; j <= n - m; j++) {
		uint64_t top = (uint64_t)u[j] * DEC_BASE + u[j + 1], guess = top / v[0], rest = top % v[0];
		while (guess >= DEC_BASE || guess * v[1] > rest * DEC_BASE + u[j + 2]) {
			guess--;
			rest += v[0];
			if (rest >= DEC_BASE)
				break;
		}
		if (mul_sub(u + j, v, m, guess)) {
			guess--;
			add_back(u + j, v, m);
		}
		q[j] = (uint32_t)guess;
	}
}

/* As integers: so many limbs the dividend has, to reach down to the exponent low + that of b's last limb. */
static int32_t dividend_limbs(const struct dec *a, const struct dec *b, int32_t low)
{
	return a->w - (low + b->w - b->n + 1) + 1;
}

static uint64_t div_steps(int32_t n, const struct dec *b) { return n < b->n ? 0 : (uint64_t)(n - b->n + 1) * (uint64_t)b->n * 2; }

uint64_t dec_div_steps(const struct dec *a, const struct dec *b, int32_t scale)
{
	return div_steps(dividend_limbs(a, b, -ceil_div(scale + 1, DEC_WIDTH)), b);
}

/* a / b, cut off below the limb of exponent `low`. */
static struct dec divide(struct arena *mem, const struct dec *a, const struct dec *b, int32_t low)
{
	if (a->n == 0)
		return dec_zero;
	int32_t n = dividend_limbs(a, b, low);
	if (n < b->n)
		return dec_zero;
	const uint32_t *dividend = a->d;
	if (n > a->n) {
		uint32_t *padded = arena_alloc(mem, (size_t)n * sizeof *padded);
		memcpy(padded, a->d, (size_t)a->n * sizeof *padded);
		memset(padded + a->n, 0, (size_t)(n - a->n) * sizeof *padded);
		dividend = padded;
	}
	struct dec q = fresh(mem, a->neg != b->neg, low + n - b->n, n - b->n + 1);
	mem->work += div_steps(n, b);
	if (b->n == 1)
		div_short(dividend, n, b->d[0], q.d);
	else
		div_long(mem, dividend, n, b->d, b->n, q.d);
	return dec_strip(q);
}

struct dec dec_div_trunc(struct arena *mem, const struct dec *a, const struct dec *b, int32_t scale)
{
	struct dec q = divide(mem, a, b, -ceil_div(scale, DEC_WIDTH));
	return dec_trunc(mem, &q, scale);
}

struct dec dec_div_round(struct arena *mem, const struct dec *a, const struct dec *b, int32_t scale)
{
	struct dec q = divide(mem, a, b, -ceil_div(scale + 1, DEC_WIDTH));
	return dec_round(mem, &q, scale);
}

struct dec dec_limit(struct dec v, int32_t limbs)
{
	if (v.n <= limbs)
		return v;
	v.n = limbs;
	return dec_strip(v);
}

struct dec dec_div_limbs(struct arena *mem, const struct dec *a, const struct dec *b, int32_t limbs)
{
	return divide(mem, a, b, a->w - b->w - limbs);
}

/* ---- roots ------------------------------------------------------------------------------------------ */

/* A number not below the root of the integer v, wrong by less than one part in 10^14. */
static struct dec root_guess(struct arena *mem, const struct dec *v)
{
	int32_t low = v->w - 2; /* three limbs or four, at least 19 digits: the rest moves the root by 10^-18 */
	if (low & 1)
		low--;
	double x = 0;
	for (int32_t i = 0; i <= v->w - low; i++)
		x = x * DEC_BASE + (i < v->n ? v->d[i] : 0);
	double root = sqrt(x) * (1 + 4e-15) + 1; /* about 10^18 at most */
	struct dec r = dec_int(mem, (int64_t)root);
	r.w += low / 2;
	return r;
}

static struct dec integer_root(struct arena *mem, const struct dec *v)
{
	struct dec s;
	if (v->w < 4) {
		s = root_guess(mem, v);
	} else {
		/* From the root of the upper half, one too large. */
		int32_t k = v->w / 4;
		struct dec top = *v, one = dec_int(mem, 1);
		top.w -= 2 * k;
		top = dec_trunc(mem, &top, 0);
		s = integer_root(mem, &top);
		s = dec_add(mem, &s, &one);
		s.w += k;
	}
	s = dec_trunc(mem, &s, 0);
	struct dec two = dec_int(mem, 2);
	for (;;) { /* Newton from above: the first step that doesn't go down has found it */
		struct dec q = dec_div_trunc(mem, v, &s, 0), sum = dec_add(mem, &s, &q);
		struct dec next = dec_div_trunc(mem, &sum, &two, 0);
		if (dec_cmp_abs(&next, &s) >= 0)
			return s;
		s = next;
	}
}

struct dec dec_sqrt(struct arena *mem, const struct dec *v, int32_t scale)
{
	if (v->n == 0)
		return dec_zero;
	/* The root of v * B^(2k), an integer, has k limbs of decimals: one digit more than is kept. */
	int32_t k = ceil_div(scale + 1, DEC_WIDTH);
	struct dec x = *v;
	x.w += 2 * k;
	x = dec_trunc(mem, &x, 0);
	if (x.n == 0)
		return dec_zero;
	struct dec s = integer_root(mem, &x);
	s.w -= k;
	return dec_round(mem, &s, scale);
}
