/* Floats to text: laid out as PostgreSQL does it, reading back to the same bits, and not a digit
 * longer than that takes; over every binary exponent and random values (fixed seed).
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "types/scalar.h"

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static double double_of(uint64_t bits) {
  double d;
  memcpy(&d, &bits, sizeof d);
  return d;
}
static uint64_t bits_of(double d) {
  uint64_t bits;
  memcpy(&bits, &d, sizeof bits);
  return bits;
}

/* The strings are what PostgreSQL 15 prints. */
static void shortest_digits_are_laid_out_as_postgresql_does(void **state) {
  (void)state;
  static const struct {
    double value;
    const char *text;
  } float8[] = {{0, "0"},
                {-0.0, "-0"},
                {1, "1"},
                {-1.5, "-1.5"},
                {0.1, "0.1"},
                {0.0001, "0.0001"},
                {0.00012345, "0.00012345"},
                {0.00001, "1e-05"},
                {0.000123456789012345678, "0.00012345678901234567"},
                {123456.789, "123456.789"},
                {100, "100"},
                {99999999999999, "99999999999999"},
                {123456789012345, "123456789012345"},
                {999999999999999, "999999999999999"},
                {1e15, "1e+15"},
                {1234567890123456, "1.234567890123456e+15"},
                {1.5e300, "1.5e+300"},
                {-2.5e-10, "-2.5e-10"},
                {1e22, "1e+22"},
                {1e23, "9.999999999999999e+22"},
                {9007199254740992, "9.007199254740992e+15"},
                {5e-324, "5e-324"},
                {1e-323, "1e-323"},
                {2.2250738585072014e-308, "2.2250738585072014e-308"},
                {1.7976931348623157e308, "1.7976931348623157e+308"},
                {5.684341886080801e-14, "5.684341886080801e-14"}, /* 2^-44: the lower gap is narrower */
                {1125899906842624.25, "1.1258999068426242e+15"},  /* equally near: the even one */
                {1125899906842624.75, "1.1258999068426248e+15"},
                {0.30000000000000004, "0.30000000000000004"}},
    float4[] = {{0, "0"},
                {-0.0, "-0"},
                {0.1f, "0.1"},
                {1.0f / 3, "0.33333334"},
                {99999, "99999"},
                {999999, "999999"},
                {1e6f, "1e+06"},
                {-62729608, "-6.2729608e+07"},
                {1234567, "1.234567e+06"},
                {16777216, "1.6777216e+07"},
                {2097152.25, "2.0971522e+06"},
                {2097152.75, "2.0971528e+06"},
                {0.0001f, "0.0001"},
                {0.00001f, "1e-05"},
                {3.4028234663852886e38, "3.4028235e+38"},
                {1.401298464324817e-45, "1e-45"},
                {1.1754943508222875e-38, "1.1754944e-38"}};
  char out[32];
  for (size_t i = 0; i < lph_countof(float8); i++) {
    assert_int_equal(lph_format_float_shortest(out, float8[i].value, false), strlen(float8[i].text));
    assert_string_equal(out, float8[i].text);
  }
  for (size_t i = 0; i < lph_countof(float4); i++) {
    assert_int_equal(lph_format_float_shortest(out, float4[i].value, true), strlen(float4[i].text));
    assert_string_equal(out, float4[i].text);
  }
  for (int is_float4 = 0; is_float4 <= 1; is_float4++) {
    lph_format_float_shortest(out, NAN, is_float4);
    assert_string_equal(out, "NaN");
    lph_format_float_shortest(out, -(double)NAN, is_float4);
    assert_string_equal(out, "NaN");
    lph_format_float_shortest(out, INFINITY, is_float4);
    assert_string_equal(out, "Infinity");
    assert_int_equal(lph_format_float_shortest(out, -INFINITY, is_float4), 9);
    assert_string_equal(out, "-Infinity");
  }
}

#define LIMBS 80

/* The leading 128 bits of a long number (least limb first), rounded up if `rest` or bits below say so. */
static lph_wide leading_bits(const uint32_t *limb, bool rest) {
  int top = LIMBS * 32 - 1;
  while ((limb[top / 32] >> top % 32 & 1) == 0) top--;
  lph_wide bits = {0, 0};
  for (int i = 0; i < 128; i++) {
    int at = top - i;
    bits.high = bits.high << 1 | bits.low >> 63;
    bits.low = bits.low << 1 | (at >= 0 ? limb[at / 32] >> at % 32 & 1 : 0);
  }
  for (int at = top - 128; at >= 0 && !rest; at--) rest = limb[at / 32] >> at % 32 & 1;
  if (rest && ++bits.low == 0) bits.high++;
  return bits;
}

/* The table behind the shortest digits: a wrong bit at its end would show in one float of many
 * millions, so no sample finds it. */
static void powers_of_ten_are_right_to_the_last_bit(void **state) {
  (void)state;
  uint32_t limb[LIMBS] = {1};
  for (int k = 0; k <= 324; k++) {
    lph_wide ours = lph_power_of_ten(k), right = leading_bits(limb, false);
    if (ours.high != right.high || ours.low != right.low) fail_msg("10^%d", k);
    uint64_t carry = 0;
    for (int i = 0; i < LIMBS; i++) {
      carry += (uint64_t)limb[i] * 10;
      limb[i] = (uint32_t)carry;
      carry >>= 32;
    }
  }
  memset(limb, 0, sizeof limb);
  limb[LIMBS - 1] = 1; /* a power of two from which 970 bits may go */
  for (int k = -1; k >= -292; k--) {
    uint64_t rest = 0;
    for (int i = LIMBS - 1; i >= 0; i--) {
      rest = rest << 32 | limb[i];
      limb[i] = (uint32_t)(rest / 10);
      rest %= 10;
    }
    lph_wide ours = lph_power_of_ten(k), right = leading_bits(limb, true);
    if (ours.high != right.high || ours.low != right.low) fail_msg("10^%d", k);
  }
}

static int significant_digits(const char *text) {
  int n = 0, zeros = 0;
  for (; *text != '\0' && *text != 'e'; text++) {
    if (*text == '.' || *text == '-' || (*text == '0' && n + zeros == 0)) continue;
    if (*text == '0') {
      zeros++;
    } else {
      n += zeros + 1;
      zeros = 0;
    }
  }
  return n;
}

/* A decimal halfway to a neighbour reads back only when ties happen to go our way, so it is not taken,
 * by PostgreSQL neither: 62729608 as float4 is not 6.272961e+07. */
static bool is_on_border(const char *text, double value, bool is_float4) {
  double up = is_float4 ? (double)nextafterf((float)value, INFINITY) : nextafter(value, INFINITY);
  double down = is_float4 ? (double)nextafterf((float)value, -INFINITY) : nextafter(value, -INFINITY);
  long double read = strtold(text, NULL) * 2;
  return read == (long double)value + up || read == (long double)value + down;
}

/* Reads back, and one digit less would not. */
static void check_shortest(double value, bool is_float4) {
  char ours[32], probe[32];
  size_t length = lph_format_float_shortest(ours, value, is_float4);
  assert_int_equal(length, strlen(ours));
  double back = is_float4 ? (double)strtof(ours, NULL) : strtod(ours, NULL);
  if (bits_of(back) != bits_of(value)) fail_msg("%a became %s", value, ours);
  int n = significant_digits(ours);
  assert_true(n <= (is_float4 ? 9 : 17));
  if (n < 2) return;
  snprintf(probe, sizeof probe, "%.*e", n - 2, value);
  back = is_float4 ? (double)strtof(probe, NULL) : strtod(probe, NULL);
  if (bits_of(back) == bits_of(value) && !is_on_border(probe, value, is_float4))
    fail_msg("%s where %s is enough", ours, probe);
}

static void check_float8(double value) {
  char out[32];
  size_t n = lph_format_float8(out, value);
  assert_int_equal(n, strlen(out));
  double back = strtod(out, NULL);
  if (bits_of(back) != bits_of(value)) fail_msg("%a became %s", value, out);
  assert_true(significant_digits(out) <= 17);
}

static void every_binary_exponent_reads_back(void **state) {
  (void)state;
  for (int e = -1074; e <= 1023; e++) {
    double value = ldexp(1, e), near[3] = {value, nextafter(value, 0), nextafter(value, INFINITY)};
    for (int i = 0; i < 3; i++) {
      if (near[i] == 0 || isinf(near[i])) continue;
      check_shortest(near[i], false);
      check_float8(near[i]);
      check_float8(-near[i]);
    }
  }
  for (int e = -149; e <= 127; e++) {
    float value = ldexpf(1, e), near[3] = {value, nextafterf(value, 0), nextafterf(value, INFINITY)};
    for (int i = 0; i < 3; i++)
      if (near[i] != 0 && !isinf(near[i])) check_shortest((double)near[i], true);
  }
}

static void random_floats_read_back(void **state) {
  (void)state;
  for (int i = 0; i < 60000; i++) {
    double any = double_of(next_random());
    if (isfinite(any)) {
      check_shortest(any, false);
      check_float8(any);
    }
    check_float8((double)(int64_t)(next_random() % 2000000000000) / 100);
    check_float8((double)(next_random() >> next_random() % 64));
    uint32_t bits = (uint32_t)(next_random() >> 20);
    float small;
    memcpy(&small, &bits, sizeof small);
    if (isfinite(small)) check_shortest((double)small, true);
  }
}

static void whole_floats_are_printed_like_integers(void **state) {
  (void)state;
  static const struct {
    double value;
    const char *text;
  } cases[] = {{0, "0"},
               {-0.0, "-0"},
               {3, "3"},
               {-42, "-42"},
               {1e15, "1000000000000000"},
               {9007199254740991, "9007199254740991"},
               {-9007199254740991, "-9007199254740991"},
               {9007199254740992, "9.007199254740992e+15"},
               {9223372036854775808.0, "9.223372036854776e+18"},
               {0.5, "0.5"}};
  char out[32];
  for (size_t i = 0; i < lph_countof(cases); i++) {
    assert_int_equal(lph_format_float8(out, cases[i].value), strlen(cases[i].text));
    assert_string_equal(out, cases[i].text);
  }
  lph_format_float8(out, NAN);
  assert_string_equal(out, "NaN");
  lph_format_float8(out, INFINITY);
  assert_string_equal(out, "Infinity");
  lph_format_float8(out, -INFINITY);
  assert_string_equal(out, "-Infinity");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(shortest_digits_are_laid_out_as_postgresql_does),
    cmocka_unit_test(powers_of_ten_are_right_to_the_last_bit),
    cmocka_unit_test(every_binary_exponent_reads_back),
    cmocka_unit_test(random_floats_read_back),
    cmocka_unit_test(whole_floats_are_printed_like_integers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
