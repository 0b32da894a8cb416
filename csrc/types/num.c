/* num.c - text <-> integers and floats, and the UTF-8 check. Contract: type.h.
 *
 * Everything here runs once per value of a result or a parameter, so nothing allocates and nothing
 * asks the locale. Float to text lives in shortest.c.
 *
 * SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "types/scalar.h"

const char lph_digit_pairs[200] =
  "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
  "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
  "8081828384858687888990919293949596979899";

/* ---- integers --------------------------------------------------------------------------------- */

static inline bool is_digit(char c) { return (unsigned char)(c - '0') <= 9; }

bool lph_parse_int8(lph_bytes text, int64_t *value) {
  if (text.len == 0) return false; /* data may be NULL then */
  const char *p = text.data, *end = p + text.len;
  bool negative = *p == '-';
  p += negative;
  /* Nineteen digits cannot overflow 64 bits; leading zeros are not counted among them. */
  while (end - p > 1 && *p == '0') p++;
  if (p == end || end - p > 19) return false;
  uint64_t magnitude = 0;
  for (; p < end; p++) {
    if (!is_digit(*p)) return false;
    magnitude = magnitude * 10 + (uint64_t)(*p - '0');
  }
  if (magnitude > (uint64_t)INT64_MAX + negative) return false;
  *value = (int64_t)(negative ? 0 - magnitude : magnitude);
  return true;
}

static unsigned count_digits(uint64_t v) {
  static const uint64_t power[20] = {0,
                                     10,
                                     100,
                                     1000,
                                     10000,
                                     100000,
                                     1000000,
                                     10000000,
                                     100000000,
                                     1000000000,
                                     10000000000,
                                     100000000000,
                                     1000000000000,
                                     10000000000000,
                                     100000000000000,
                                     1000000000000000,
                                     10000000000000000,
                                     100000000000000000,
                                     1000000000000000000,
                                     10000000000000000000u};
#if defined(__GNUC__)
  /* log10(2) is about 1233 / 4096: right or one too small over 64 bits. */
  unsigned guess = ((64u - (unsigned)__builtin_clzll(v | 1)) * 1233u) >> 12;
  return guess + (v >= power[guess]);
#else
  unsigned n = 1;
  while (n < 20 && v >= power[n]) n++;
  return n;
#endif
}

size_t lph_put_digits(char *out, uint64_t v) {
  size_t n = count_digits(v);
  char *p = out + n;
  while (v >= 100) {
    p -= 2;
    memcpy(p, &lph_digit_pairs[v % 100 * 2], 2);
    v /= 100;
  }
  if (v >= 10)
    memcpy(p - 2, &lph_digit_pairs[v * 2], 2);
  else
    p[-1] = (char)('0' + v);
  return n;
}

size_t lph_format_int8(char out[32], int64_t value) {
  bool negative = value < 0;
  out[0] = '-';
  size_t n = negative + lph_put_digits(out + negative, negative ? 0 - (uint64_t)value : (uint64_t)value);
  out[n] = '\0';
  return n;
}

/* ---- text to float ---------------------------------------------------------------------------- */

/* value = digits * 10^(scale + written) as long as `digits` holds all of them: below 10^18 it does. */
typedef struct decimal {
  uint64_t digits; /* the first nineteen significant ones */
  int64_t scale;   /* where the point stands relative to them */
  int64_t written; /* the exponent the text gives */
  bool negative;
  const char *first, *last; /* mantissa, point included, within the text */
} decimal;

static inline void take_digit(decimal *d, char c, bool after_point) {
  if (LPH_LIKELY(d->digits < UINT64_C(1000000000000000000))) {
    d->digits = d->digits * 10 + (uint64_t)(c - '0');
    d->scale -= after_point;
  } else {
    d->scale += !after_point;
  }
}

static bool scan_exponent(const char *p, const char *end, int64_t *exponent) {
  bool negative = p < end && *p == '-';
  if (p < end && (*p == '-' || *p == '+')) p++;
  if (p == end) return false;
  int64_t e = 0;
  for (; p < end; p++) {
    if (!is_digit(*p)) return false;
    if (e < INT64_C(1000000000000000)) e = e * 10 + (*p - '0'); /* beyond the length of any text */
  }
  *exponent = negative ? -e : e;
  return true;
}

/* [+-] digits [. digits] [e [+-] digits], at least one digit in the mantissa, nothing else. */
static bool scan_decimal(lph_bytes text, decimal *out) {
  if (text.len == 0) return false;
  const char *p = text.data, *end = p + text.len;
  decimal d = {0};
  d.negative = *p == '-';
  if (*p == '-' || *p == '+') p++;
  d.first = p;
  for (; p < end && is_digit(*p); p++) take_digit(&d, *p, false);
  bool any = p > d.first;
  if (p < end && *p == '.') {
    const char *point = p++;
    for (; p < end && is_digit(*p); p++) take_digit(&d, *p, true);
    any |= p - point > 1;
  }
  d.last = p;
  if (!any) return false;
  if (p < end) {
    if (*p != 'e' && *p != 'E') return false;
    if (!scan_exponent(p + 1, end, &d.written)) return false;
  }
  *out = d;
  return true;
}

/* A point halfway between two doubles has at most 767 significant digits. When more are given, one
 * nonzero digit behind the 770th says all that the rest could say. */
#define SLOW_DIGITS 770

/* The text is rewritten as an integer with an exponent: without a decimal point the locale has
 * nothing to say, and strtod of the C libraries we build on rounds correctly. */
static double slow_float8(const decimal *d) {
  char buf[SLOW_DIGITS + 32];
  size_t n = 0;
  int64_t exponent = d->written;
  bool rest = false, point = false;
  for (const char *p = d->first; p < d->last; p++) {
    if (*p == '.') {
      point = true;
    } else if (n < SLOW_DIGITS) {
      if (n > 0 || *p != '0') buf[n++] = *p;
      exponent -= point;
    } else {
      rest |= *p != '0';
      exponent += !point;
    }
  }
  if (rest) {
    buf[n++] = '1';
    exponent--;
  }
  /* 10^-2000 and 10^2000 are as good as anything beyond: the mantissa has at most 771 digits. */
  if (exponent > 2000) exponent = 2000;
  if (exponent < -2000) exponent = -2000;
  buf[n++] = 'e';
  n += lph_format_int8(buf + n, exponent);
  return strtod(buf, NULL);
}

static bool parse_special(lph_bytes text, double *value) {
  if (text.len == 3 && memcmp(text.data, "NaN", 3) == 0)
    *value = NAN;
  else if (text.len == 8 && memcmp(text.data, "Infinity", 8) == 0)
    *value = INFINITY;
  else if (text.len == 9 && memcmp(text.data, "-Infinity", 9) == 0)
    *value = -INFINITY;
  else
    return false;
  return true;
}

/* The exact fast path: a mantissa below 2^53 and a power of ten up to 10^22 are both exact
 * doubles, so one multiplication or division rounds once, which is the correct rounding. (Not so
 * where the compiler computes in more than double precision.) */
static bool fast_float8(const decimal *d, double *value) {
  static const double power[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  int64_t exponent = d->scale + d->written;
  if (FLT_EVAL_METHOD != 0 || d->digits >> 53 != 0) return false;
  if (exponent < -22 || exponent > 22) return false;
  double v = (double)d->digits;
  v = exponent < 0 ? v / power[-exponent] : v * power[exponent];
  *value = d->negative ? -v : v;
  return true;
}

/* Beyond the largest double is Infinity and below the smallest is 0, as rounding has it. */
bool lph_parse_float8(lph_bytes text, double *value) {
  decimal d;
  if (LPH_UNLIKELY(!scan_decimal(text, &d))) return parse_special(text, value);
  if (LPH_LIKELY(fast_float8(&d, value))) return true;
  double v = d.digits == 0 ? 0.0 : slow_float8(&d);
  *value = d.negative ? -v : v;
  return true;
}

/* ---- UTF-8 ------------------------------------------------------------------------------------ */

/* Length of the well-formed character at p, 0 if there is none (Unicode's table 3-7: the second
 * byte's range is what refuses overlong forms, surrogates and everything above U+10FFFF). */
static size_t utf8_char(const unsigned char *p, size_t left) {
  unsigned char c = p[0];
  if (c < 0x80) return 1;
  if (c < 0xc2 || c > 0xf4) return 0;
  if (c < 0xe0) return left >= 2 && (p[1] & 0xc0) == 0x80 ? 2 : 0;
  size_t n = c < 0xf0 ? 3 : 4;
  if (left < n) return 0;
  unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
  unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
  if (p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < n; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  return n;
}

bool lph_utf8_valid(lph_bytes text) {
  const unsigned char *p = (const unsigned char *)text.data;
  size_t left = text.len;
  while (left > 0) {
    uint64_t word;
    while (left >= 8 && (memcpy(&word, p, 8), (word & UINT64_C(0x8080808080808080)) == 0)) {
      p += 8;
      left -= 8;
    }
    /* In text that is not ASCII the next byte is most likely not either: try a few one by one. */
    for (int i = 0; i < 8 && left > 0; i++) {
      size_t n = utf8_char(p, left);
      if (n == 0) return false;
      p += n;
      left -= n;
    }
  }
  return true;
}
