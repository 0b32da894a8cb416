/* shortest.c - float8 and float4 to the shortest decimal that reads back to the same value.
 *
 * The method is known as Schubfach ("The Schubfach way to render doubles"): scale the value and the
 * two borders of its rounding interval by one power of ten, then pick the multiple of ten inside the
 * interval, else the nearest integer. As in PostgreSQL the borders themselves do not count as inside,
 * so a reader with sloppy rounding gets the value back too, and the digits are the server's.
 *
 * No locale, no allocation, no libc formatting.
 *
 * SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>

#include "types/scalar.h"

/* ---- 128-bit powers of ten --------------------------------------------------------------------- */

typedef lph_wide wide;

static inline wide multiply(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
  __extension__ typedef unsigned __int128 u128;
  u128 product = (u128)a * b;
  return (wide){(uint64_t)(product >> 64), (uint64_t)product};
#else
  uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
  uint64_t p00 = a0 * b0, p01 = a0 * b1, p10 = a1 * b0;
  uint64_t middle = (p00 >> 32) + (uint32_t)p01 + (uint32_t)p10;
  return (wide){a1 * b1 + (p01 >> 32) + (p10 >> 32) + (middle >> 32), middle << 32 | (uint32_t)p00};
#endif
}

/* The leading 192 bits of 5^(27 q), q from -11 to 12. All 617 powers in use would take 10 KB; these
 * and one multiplication by 5^0 ... 5^26 give each of them exactly, rounded up to 128 bits
 * (spec/c/test_shortest.c compares all of them with long arithmetic). */
#define STEP 27
#define FIRST_Q (-11)
static const uint64_t coarse[24][3] = {
  {UINT64_C(0xa76c582338ed2621), UINT64_C(0xaf2af2b80af6f24e), UINT64_C(0x657c8f4d43323a36)}, /* 5^-297 */
  {UINT64_C(0x873e4f75e2224e68), UINT64_C(0x5a7744a6e804a291), UINT64_C(0xcc35eddfcf0996d7)}, /* 5^-270 */
  {UINT64_C(0xda7f5bf590966848), UINT64_C(0xaf39a475506a899e), UINT64_C(0xa30294cc2934e662)}, /* 5^-243 */
  {UINT64_C(0xb080392cc4349dec), UINT64_C(0xbd8d794d96aacfb3), UINT64_C(0xfe13a5c86af64418)}, /* 5^-216 */
  {UINT64_C(0x8e938662882af53e), UINT64_C(0x547eb47b7282ee9c), UINT64_C(0x41b0230e1421487d)}, /* 5^-189 */
  {UINT64_C(0xe65829b3046b0afa), UINT64_C(0x0cb4a5a3112a5112), UINT64_C(0xa3b561b1cb208396)}, /* 5^-162 */
  {UINT64_C(0xba121a4650e4ddeb), UINT64_C(0x92f34d62616ce413), UINT64_C(0x21a0183e10583cd3)}, /* 5^-135 */
  {UINT64_C(0x964e858c91ba2655), UINT64_C(0x3a6a07f8d510f86f), UINT64_C(0xe9082f25e9c5e9ec)}, /* 5^-108 */
  {UINT64_C(0xf2d56790ab41c2a2), UINT64_C(0xfae27299423fb9c3), UINT64_C(0x3695dad7e8858901)}, /* 5^-81 */
  {UINT64_C(0xc428d05aa4751e4c), UINT64_C(0xaa97e14c3c26b886), UINT64_C(0x96842dc95323f5a8)}, /* 5^-54 */
  {UINT64_C(0x9e74d1b791e07e48), UINT64_C(0x775ea264cf55347d), UINT64_C(0xca49f1c05120c9c7)}, /* 5^-27 */
  {UINT64_C(0x8000000000000000), UINT64_C(0x0000000000000000), UINT64_C(0x0000000000000000)}, /* 5^0 */
  {UINT64_C(0xcecb8f27f4200f3a), UINT64_C(0x0000000000000000), UINT64_C(0x0000000000000000)}, /* 5^27 */
  {UINT64_C(0xa70c3c40a64e6c51), UINT64_C(0x999090b65f67d924), UINT64_C(0x0000000000000000)}, /* 5^54 */
  {UINT64_C(0x86f0ac99b4e8dafd), UINT64_C(0x69a028bb3ded71a3), UINT64_C(0xdf9f915627c04e28)}, /* 5^81 */
  {UINT64_C(0xda01ee641a708de9), UINT64_C(0xe80e6f4820cc9495), UINT64_C(0xd74baad03bc1d8d3)}, /* 5^108 */
  {UINT64_C(0xb01ae745b101e9e4), UINT64_C(0x5ec05dcff72e7f8f), UINT64_C(0xc04c79ffe324301f)}, /* 5^135 */
  {UINT64_C(0x8e41ade9fbebc27d), UINT64_C(0x14588f13be847307), UINT64_C(0x23bd6a2059c002f5)}, /* 5^162 */
  {UINT64_C(0xe5d3ef282a242e81), UINT64_C(0x8f1668c8a86da5fa), UINT64_C(0xf0b5ccf5176ecc7c)}, /* 5^189 */
  {UINT64_C(0xb9a74a0637ce2ee1), UINT64_C(0x6d953e2bd7173692), UINT64_C(0x88efb0037ac08bde)}, /* 5^216 */
  {UINT64_C(0x95f83d0a1fb69cd9), UINT64_C(0x4abdaf101564f98e), UINT64_C(0x0d5a4af7b3a98e47)}, /* 5^243 */
  {UINT64_C(0xf24a01a73cf2dccf), UINT64_C(0xbc633b39673c8cec), UINT64_C(0x3d9c44cd2f36917c)}, /* 5^270 */
  {UINT64_C(0xc3b8358109e84f07), UINT64_C(0x0a862f80ec4700c8), UINT64_C(0x02606ea01029dc37)}, /* 5^297 */
  {UINT64_C(0x9e19db92b4e31ba9), UINT64_C(0x6c07a2c26a8346d1), UINT64_C(0x4944d9f52cd0dec2)}, /* 5^324 */
};
/* 5^0 ... 5^26, leading bit at the top. */
static const uint64_t fine[STEP] = {
  UINT64_C(0x8000000000000000), UINT64_C(0xa000000000000000), UINT64_C(0xc800000000000000),
  UINT64_C(0xfa00000000000000), UINT64_C(0x9c40000000000000), UINT64_C(0xc350000000000000),
  UINT64_C(0xf424000000000000), UINT64_C(0x9896800000000000), UINT64_C(0xbebc200000000000),
  UINT64_C(0xee6b280000000000), UINT64_C(0x9502f90000000000), UINT64_C(0xba43b74000000000),
  UINT64_C(0xe8d4a51000000000), UINT64_C(0x9184e72a00000000), UINT64_C(0xb5e620f480000000),
  UINT64_C(0xe35fa931a0000000), UINT64_C(0x8e1bc9bf04000000), UINT64_C(0xb1a2bc2ec5000000),
  UINT64_C(0xde0b6b3a76400000), UINT64_C(0x8ac7230489e80000), UINT64_C(0xad78ebc5ac620000),
  UINT64_C(0xd8d726b7177a8000), UINT64_C(0x878678326eac9000), UINT64_C(0xa968163f0a57b400),
  UINT64_C(0xd3c21bcecceda100), UINT64_C(0x84595161401484a0), UINT64_C(0xa56fa5b99019a5c8),
};

lph_wide lph_power_of_ten(int k) {
  int q = (k + STEP * -FIRST_Q) / STEP; /* counted from FIRST_Q, hence never negative */
  const uint64_t *c = coarse[q];
  uint64_t f = fine[k - (q + FIRST_Q) * STEP];
  wide p0 = multiply(c[0], f), p1 = multiply(c[1], f), p2 = multiply(c[2], f);
  uint64_t w2 = p1.low + p2.high; /* bits 64 to 127 of the 256, counted from below */
  uint64_t w1 = p0.low + p1.high;
  uint64_t carry = w2 < p1.low;
  uint64_t w0 = p0.high + (w1 < p0.low);
  w1 += carry;
  w0 += w1 < carry;
  if (w0 >> 63 == 0) {
    w0 = w0 << 1 | w1 >> 63;
    w1 = w1 << 1 | w2 >> 63;
  }
  if (k >= 0 && k <= 55) return (wide){w0, w1}; /* 5^55 < 2^128: exact */
  w1++;
  return (wide){w0 + (w1 == 0), w1};
}

/* ---- digits ------------------------------------------------------------------------------------ */

/* The top 64 bits of power * c, the last bit set when anything but noise was cut off. */
static inline uint64_t scale(wide power, uint64_t c) {
  wide x = multiply(power.low, c), y = multiply(power.high, c);
  uint64_t middle = y.low + x.high;
  return (y.high + (middle < y.low)) | (middle > 1);
}

typedef struct decimal {
  uint64_t digits;
  int exponent;
} decimal;

/* value = c * 2^q, c > 0. `narrow`: the lower neighbour is only half as far away as the upper one. */
static decimal shortest(uint64_t c, int q, bool narrow) {
  /* k = floor(log10(2^q)), or of 3/4 of it: 1262611 / 2^22 is log10(2), 524031 / 2^22 is log10(4/3);
   * 1741647 / 2^19 is log2(10). Shifts of negative numbers round down, as wanted. */
  int k = (q * 1262611 - (narrow ? 524031 : 0)) >> 22;
  int shift = q + ((-k * 1741647) >> 19) + 1;
  wide power = lph_power_of_ten(-k);
  uint64_t lower = scale(power, (4 * c - 2 + narrow) << shift) + 1; /* + 1, - 1: borders are outside */
  uint64_t value = scale(power, (4 * c) << shift);
  uint64_t upper = scale(power, (4 * c + 2) << shift) - 1;
  uint64_t s = value / 4;
  if (s >= 10) {
    uint64_t tens = s / 10;
    bool below = lower <= 40 * tens, above = 40 * tens + 40 <= upper;
    if (below != above) return (decimal){tens + above, k + 1};
  }
  bool below = lower <= 4 * s, above = 4 * s + 4 <= upper;
  if (below != above) return (decimal){s + above, k};
  uint64_t half = 4 * s + 2; /* both or neither: the nearer one, the even one of two equally near */
  return (decimal){s + (value > half || (value == half && (s & 1) != 0)), k};
}

/* Most floats people store are short decimals. With at most six decimals and below 10^9 there are at
 * most fifteen digits, and no two such decimals share a double: if one divides back to the value, it is
 * the shortest. (Both operands are exact, so the division rounds as reading the text would; not so
 * where the compiler computes in more than double precision.) */
static inline bool few_decimals(double magnitude, decimal *d) {
  if (FLT_EVAL_METHOD != 0 || magnitude >= 1e9) return false;
  d->digits = (uint64_t)(magnitude * 1e6 + 0.5);
  d->exponent = -6;
  return (double)d->digits / 1e6 == magnitude;
}

static decimal digits_of(double value, bool is_float4) {
  if (is_float4) {
    float narrowed = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrowed, sizeof bits);
    uint32_t fraction = bits & 0x7fffffu, exponent = bits >> 23 & 0xffu;
    if (exponent == 0) return shortest(fraction, 1 - 150, false);
    return shortest(fraction | 0x800000u, (int)exponent - 150, fraction == 0 && exponent > 1);
  }
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint64_t fraction = bits & UINT64_C(0xfffffffffffff), exponent = bits >> 52 & 0x7ffu;
  if (exponent == 0) return shortest(fraction, 1 - 1075, false);
  return shortest(fraction | UINT64_C(0x10000000000000), (int)exponent - 1075, fraction == 0 && exponent > 1);
}

/* ---- layout ------------------------------------------------------------------------------------ */

static size_t put_fixed(char *out, const char *digits, int n, int exponent) {
  char *p = out;
  if (exponent < 0) {
    memcpy(p, "0.000", 5); /* exponent >= -4 */
    p += 1 - exponent;
    memcpy(p, digits, (size_t)n);
    return (size_t)(p + n - out);
  }
  int whole = exponent + 1 < n ? exponent + 1 : n;
  memcpy(p, digits, (size_t)whole);
  p += whole;
  for (int i = n; i <= exponent; i++) *p++ = '0';
  if (n > whole) {
    *p++ = '.';
    memcpy(p, digits + whole, (size_t)(n - whole));
    p += n - whole;
  }
  return (size_t)(p - out);
}

static size_t put_scientific(char *out, const char *digits, int n, int exponent) {
  char *p = out;
  *p++ = digits[0];
  if (n > 1) {
    *p++ = '.';
    memcpy(p, digits + 1, (size_t)n - 1);
    p += n - 1;
  }
  *p++ = 'e';
  *p++ = exponent < 0 ? '-' : '+';
  unsigned e = (unsigned)(exponent < 0 ? -exponent : exponent);
  if (e >= 100) *p++ = (char)('0' + e / 100);
  memcpy(p, &lph_digit_pairs[e % 100 * 2], 2);
  return (size_t)(p + 2 - out);
}

static size_t put_special(char *out, double value) {
  const char *text = isnan(value) ? "NaN" : signbit(value) ? "-Infinity" : "Infinity";
  size_t n = strlen(text);
  memcpy(out, text, n + 1);
  return n;
}

/* Scientific from 10^limit on and below 10^-4. */
static size_t format(char *out, double value, bool is_float4, int limit) {
  if (LPH_UNLIKELY(!isfinite(value))) return put_special(out, value);
  bool negative = signbit(value);
  out[0] = '-';
  size_t n = negative;
  if (value == 0) {
    out[n++] = '0';
  } else {
    decimal d;
    if (is_float4 || !few_decimals(fabs(value), &d)) d = digits_of(value, is_float4);
    char digits[20];
    int count = (int)lph_put_digits(digits, d.digits);
    int exponent = d.exponent + count - 1;
    while (digits[count - 1] == '0') count--;
    n += exponent < -4 || exponent >= limit ? put_scientific(out + n, digits, count, exponent)
                                            : put_fixed(out + n, digits, count, exponent);
  }
  out[n] = '\0';
  return n;
}

size_t lph_format_float_shortest(char out[32], double value, bool is_float4) {
  if (is_float4) {
    /* A double that is too big or too small for float4 is the caller's mistake; Infinity and 0 are
     * what a cast would make of it. */
    value = (double)(float)value;
    return format(out, value, true, 6);
  }
  return format(out, value, false, 15);
}

size_t lph_format_float8(char out[32], double value) {
  /* Whole numbers are the most frequent floats of all; below 2^53 they need no search. */
  if (value > -9007199254740992.0 && value < 9007199254740992.0) {
    int64_t whole = (int64_t)value;
    if ((double)whole == value && (whole != 0 || !signbit(value))) return lph_format_int8(out, whole);
  }
  return format(out, value, false, 15);
}
