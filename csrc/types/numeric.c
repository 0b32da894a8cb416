/* numeric.c - the binary form of numeric -> its exact decimal text.
 *
 * On the wire: count of base-10000 digits, weight of the first of them (as a power of 10000), sign,
 * display scale, digits; all 16 bit. The text is what numeric_out writes: as many decimals as the
 * display scale says, no exponent. No arithmetic happens here, only layout; a binary numeric is
 * not turned into a float anywhere.
 *
 * SPDX-License-Identifier: MIT */
#include "types/scalar.h"

#define HEAD 8
#define GROUP 4 /* decimal digits in one base-10000 digit */
#define BASE 10000

enum { POSITIVE = 0x0000, NEGATIVE = 0x4000, NOT_A_NUMBER = 0xc000, PLUS_INF = 0xd000, MINUS_INF = 0xf000 };
#define MAX_SCALE 0x3fff

static inline void put_group(char *p, unsigned v) {
  memcpy(p, &lph_digit_pairs[v / 100 * 2], 2);
  memcpy(p + 2, &lph_digit_pairs[v % 100 * 2], 2);
}

static bool digits_are_valid(const char *digits, int count) {
  unsigned bad = 0;
  for (int i = 0; i < count; i++) bad |= lph_get_u16(digits + 2 * i) >= BASE;
  return !bad;
}

static lph_err put_special(unsigned sign, lph_buf *out) {
  switch (sign) {
    case NOT_A_NUMBER: return lph_buf_add(out, "NaN", 3);
    case PLUS_INF: return lph_buf_add(out, "Infinity", 8);
    case MINUS_INF: return lph_buf_add(out, "-Infinity", 9);
    default: return LPH_EFORMAT;
  }
}

/* The integer part: the digits of weight `weight` down to 0, those that are missing being 0. */
static char *put_whole(char *p, const char *digits, int count, int weight) {
  if (weight < 0) {
    *p++ = '0';
    return p;
  }
  p += lph_put_digits(p, lph_get_u16(digits));
  for (int i = 1; i <= weight; i++, p += GROUP) put_group(p, i < count ? lph_get_u16(digits + 2 * i) : 0);
  return p;
}

/* `scale` decimals. Whole groups are written, so up to three characters past them are touched. */
static char *put_decimals(char *p, const char *digits, int count, int weight, int scale) {
  char *end = p + scale;
  for (int i = weight + 1; p < end; i++, p += GROUP)
    put_group(p, i >= 0 && i < count ? lph_get_u16(digits + 2 * i) : 0);
  return end;
}

static bool has_nonzero(const char *p, const char *end) {
  while (p < end && (*p == '0' || *p == '.')) p++;
  return p < end;
}

lph_err lph_numeric_text(lph_bytes binary, lph_buf *out) {
  if (binary.len < HEAD) return LPH_EFORMAT;
  int count = lph_get_u16(binary.data), weight = (int16_t)lph_get_u16(binary.data + 2);
  unsigned sign = lph_get_u16(binary.data + 4);
  int scale = lph_get_u16(binary.data + 6);
  const char *digits = binary.data + HEAD;
  if (binary.len != HEAD + 2 * (size_t)count) return LPH_EFORMAT;
  if (sign != POSITIVE && sign != NEGATIVE) return count == 0 ? put_special(sign, out) : LPH_EFORMAT;
  if (scale > MAX_SCALE || !digits_are_valid(digits, count)) return LPH_EFORMAT;

  /* The server sends neither leading zeros nor a weight without digits, but accepts both. */
  while (count > 0 && lph_get_u16(digits) == 0) {
    digits += 2;
    count--;
    weight--;
  }
  if (count == 0) weight = -1;

  size_t whole = weight < 0 ? 1 : GROUP * ((size_t)weight + 1);
  if (lph_buf_reserve(out, 1 + whole + 1 + (size_t)scale + GROUP) != LPH_OK) return LPH_ENOMEM;
  char *start = out->data + out->len, *p = start;
  if (sign == NEGATIVE) *p++ = '-';
  p = put_whole(p, digits, count, weight);
  if (scale > 0) {
    *p++ = '.';
    p = put_decimals(p, digits, count, weight, scale);
  }
  /* Digits behind the display scale are cut off, as numeric_recv does; -0 is not a numeric. */
  if (sign == NEGATIVE && !has_nonzero(start + 1, p)) memmove(start, start + 1, (size_t)(--p - start));
  out->len += (size_t)(p - start);
  return LPH_OK;
}
