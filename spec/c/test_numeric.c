/* Binary numeric -> text: against strings PostgreSQL 15 printed, against a second, slow way of
 * writing the same number, and over truncated and nonsense input. Inputs are exact heap blocks, so
 * that a sanitizer build sees any read behind the end.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "types/scalar.h"

enum { POSITIVE = 0, NEGATIVE = 0x4000, NOT_A_NUMBER = 0xc000, PLUS_INF = 0xd000, MINUS_INF = 0xf000 };

static uint64_t seed = 88172645463325252u;
static unsigned next_random(unsigned limit) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)((seed >> 20) % limit);
}

static void put16(char *p, int v) {
  p[0] = (char)((unsigned)v >> 8 & 255);
  p[1] = (char)((unsigned)v & 255);
}

/* The wire form in a block of its own; the caller frees it. */
static lph_bytes numeric(int count, int weight, int sign, int scale, const int *digits) {
  size_t n = 8 + 2 * (size_t)count;
  char *p = malloc(n);
  put16(p, count);
  put16(p + 2, weight);
  put16(p + 4, sign);
  put16(p + 6, scale);
  for (int i = 0; i < count; i++) put16(p + 8 + 2 * i, digits[i]);
  return (lph_bytes){p, n};
}

static void numbers_are_printed_as_postgresql_does(void **state) {
  (void)state;
  static const struct {
    int count, weight, sign, scale, digits[6];
    const char *text;
  } cases[] = {
    {0, 0, POSITIVE, 0, {0}, "0"},
    {0, 0, POSITIVE, 3, {0}, "0.000"},
    {1, 0, POSITIVE, 0, {1}, "1"},
    {1, 0, NEGATIVE, 0, {9999}, "-9999"},
    {1, 1, POSITIVE, 0, {1}, "10000"},
    {2, 1, POSITIVE, 0, {1, 1}, "10001"},
    {2, 0, POSITIVE, 2, {12, 3400}, "12.34"},
    {2, 0, POSITIVE, 4, {12, 34}, "12.0034"},
    {3, 1, NEGATIVE, 2, {123, 4567, 8900}, "-1234567.89"},
    {1, -1, POSITIVE, 1, {5000}, "0.5"},
    {1, -1, NEGATIVE, 4, {1}, "-0.0001"},
    {1, -2, POSITIVE, 5, {1000}, "0.00001"},
    {1, -3, POSITIVE, 12, {1}, "0.000000000001"},
    {1, 7, POSITIVE, 0, {1}, "10000000000000000000000000000"},
    {1, 0, POSITIVE, 6, {7}, "7.000000"},
    {3, 0, POSITIVE, 6, {7, 0, 100}, "7.000001"},
    {0, 0, NOT_A_NUMBER, 0, {0}, "NaN"},
    {0, 0, PLUS_INF, 0x20, {0}, "Infinity"},
    {0, 0, MINUS_INF, 0x20, {0}, "-Infinity"},
    /* What no server sends but numeric_recv takes: leading zeros, minus zero, hidden digits. */
    {3, 2, POSITIVE, 0, {0, 0, 7}, "7"},
    {2, 0, POSITIVE, 2, {0, 1200}, "0.12"},
    {3, 0, POSITIVE, 8, {0, 0, 1200}, "0.00001200"},
    {2, 0, NEGATIVE, 1, {0, 0}, "0.0"},
    {0, 0, NEGATIVE, 0, {0}, "0"},
    {0, 32767, NEGATIVE, 2, {0}, "0.00"},
    {2, 0, POSITIVE, 1, {1, 2599}, "1.2"},
    {1, -1, NEGATIVE, 2, {9}, "0.00"},
    {1, -1, NEGATIVE, 0, {9000}, "0"},
  };
  lph_buf out = {0};
  for (size_t i = 0; i < lph_countof(cases); i++) {
    lph_bytes in = numeric(cases[i].count, cases[i].weight, cases[i].sign, cases[i].scale, cases[i].digits);
    out.len = 0;
    assert_int_equal(lph_buf_puts(&out, "> "), LPH_OK);
    assert_int_equal(lph_numeric_text(in, &out), LPH_OK);
    assert_int_equal(lph_buf_terminate(&out), LPH_OK);
    assert_string_equal(out.data + 2, cases[i].text);
    free((char *)in.data);
  }
  lph_buf_free(&out);
}

/* All groups as text, then the point is set and both ends are trimmed. */
static char *slow_text(int count, int weight, int sign, int scale, const int *digits) {
  int before = weight >= 0 ? weight + 1 : 0, lead = weight < -1 ? -1 - weight : 0;
  int groups = count + lead > before ? count + lead : before;
  char *all = malloc((size_t)(groups * 4 + scale + 8)), *p = all;
  for (int i = 0; i < groups; i++)
    p += sprintf(p, "%04d", i >= lead && i - lead < count ? digits[i - lead] : 0);
  int have = groups * 4 - before * 4;
  for (; have < scale; have++) *p++ = '0';
  *p = '\0';
  char *text = malloc(strlen(all) + 8), *whole = all;
  int whole_length = before * 4;
  while (whole_length > 1 && *whole == '0') whole++, whole_length--;
  sprintf(text, "%s%.*s%s%.*s", sign == NEGATIVE ? "-" : "", whole_length, whole_length ? whole : "",
          scale > 0 ? "." : "", scale, all + before * 4);
  if (whole_length == 0) {
    sprintf(text, "%s0%s%.*s", sign == NEGATIVE ? "-" : "", scale > 0 ? "." : "", scale, all);
  }
  free(all);
  return text;
}

static void random_numbers_agree_with_the_slow_way(void **state) {
  (void)state;
  lph_buf out = {0};
  for (int i = 0; i < 50000; i++) {
    int digits[12], count = 1 + (int)next_random(12), weight = (int)next_random(24) - 12;
    for (int j = 0; j < count; j++) {
      digits[j] = (int)next_random(next_random(2) ? 10000 : 12);
    }
    digits[0] = 1 + (int)next_random(9999);
    int hidden = (count - weight - 1) * 4; /* decimals the digits fill */
    int scale = (hidden > 0 ? hidden : 0) + (int)next_random(9);
    int sign = next_random(2) ? NEGATIVE : POSITIVE;
    lph_bytes in = numeric(count, weight, sign, scale, digits);
    char *expected = slow_text(count, weight, sign, scale, digits);
    out.len = 0;
    assert_int_equal(lph_numeric_text(in, &out), LPH_OK);
    assert_int_equal(lph_buf_terminate(&out), LPH_OK);
    assert_string_equal(out.data, expected);
    free(expected);
    free((char *)in.data);
  }
  lph_buf_free(&out);
}

static void the_largest_numbers_keep_every_digit(void **state) {
  (void)state;
  lph_buf out = {0};
  int one = 1;
  lph_bytes in = numeric(1, 32767, POSITIVE, 16383, &one);
  assert_int_equal(lph_numeric_text(in, &out), LPH_OK);
  assert_int_equal(out.len, 32767 * 4 + 1 + 1 + 16383);
  assert_int_equal(out.data[0], '1');
  for (size_t i = 1; i < out.len; i++) assert_int_equal(out.data[i], i == 32767 * 4 + 1 ? '.' : '0');
  free((char *)in.data);
  out.len = 0;
  in = numeric(1, -32768, NEGATIVE, 16383, &one); /* far behind the last decimal shown */
  assert_int_equal(lph_numeric_text(in, &out), LPH_OK);
  assert_int_equal(out.len, 2 + 16383);
  assert_int_equal(out.data[0], '0');
  free((char *)in.data);
  lph_buf_free(&out);
}

static void refuse(lph_bytes in) {
  lph_buf out = {0};
  assert_int_equal(lph_buf_puts(&out, "kept"), LPH_OK);
  assert_int_equal(lph_numeric_text(in, &out), LPH_EFORMAT);
  assert_int_equal(out.len, 4);
  assert_memory_equal(out.data, "kept", 4);
  lph_buf_free(&out);
  free((char *)in.data);
}

static void malformed_values_are_refused(void **state) {
  (void)state;
  static const int digits[3] = {1, 2, 3};
  for (size_t n = 0; n < 14; n++) {
    lph_bytes whole = numeric(3, 0, POSITIVE, 8, digits);
    char *cut = malloc(n ? n : 1);
    memcpy(cut, whole.data, n);
    free((char *)whole.data);
    refuse((lph_bytes){cut, n});
  }
  lph_bytes longer = numeric(3, 0, POSITIVE, 8, digits);
  put16((char *)longer.data, 2);
  refuse(longer);
  lph_bytes huge = numeric(3, 0, POSITIVE, 8, digits);
  put16((char *)huge.data, 0xffff);
  refuse(huge);
  static const int too_big[2] = {1, 10000}, negative[2] = {-1, 0};
  refuse(numeric(2, 0, POSITIVE, 4, too_big));
  refuse(numeric(2, 0, POSITIVE, 4, negative));
  refuse(numeric(1, 0, POSITIVE, 0x4000, digits));
  refuse(numeric(1, 0, POSITIVE, 0xffff, digits));
  refuse(numeric(1, 0, 0x8000, 0, digits));
  refuse(numeric(1, 0, 1, 0, digits));
  refuse(numeric(0, 0, 0xe000, 0, digits));
  refuse(numeric(1, 0, NOT_A_NUMBER, 0, digits));
}

/* Either refused with nothing appended, or [-] digits [. digits] with as many decimals as asked. */
static void random_bytes_give_a_number_or_a_refusal(void **state) {
  (void)state;
  int accepted = 0;
  for (int i = 0; i < 200000; i++) {
    int count = (int)next_random(5);
    size_t n = 8 + 2 * (size_t)count + (next_random(16) == 0);
    char *p = malloc(n);
    for (size_t j = 0; j < n; j++) p[j] = (char)next_random(256);
    put16(p, count);
    if (next_random(4) > 0) put16(p + 2, (int)next_random(40) - 20);
    if (next_random(4) > 0) put16(p + 4, next_random(2) ? NEGATIVE : POSITIVE);
    if (next_random(4) > 0) put16(p + 6, (int)next_random(30));
    for (int j = 0; j < count && next_random(8) > 0; j++) put16(p + 8 + 2 * j, (int)next_random(10000));
    lph_buf out = {0};
    lph_err rc = lph_numeric_text((lph_bytes){p, n}, &out);
    if (rc != LPH_OK) {
      assert_int_equal(rc, LPH_EFORMAT);
      assert_int_equal(out.len, 0);
    } else if (lph_get_u16(p + 4) != POSITIVE && lph_get_u16(p + 4) != NEGATIVE) {
      assert_int_equal(out.data[out.len - 1] == 'N' || out.data[out.len - 1] == 'y', 1); /* NaN, Infinity */
    } else {
      accepted++;
      size_t at = out.data[0] == '-', points = 0;
      assert_true(out.len > at);
      for (; at < out.len; at++) {
        points += out.data[at] == '.';
        assert_true(out.data[at] == '.' || (out.data[at] >= '0' && out.data[at] <= '9'));
      }
      size_t scale = lph_get_u16(p + 6);
      assert_int_equal(points, scale > 0);
      if (scale > 0) assert_int_equal(out.data[out.len - scale - 1], '.');
    }
    lph_buf_free(&out);
    free(p);
  }
  assert_true(accepted > 10000);
}

static void without_memory_nothing_is_appended(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  static const int digits[3] = {1, 2, 3};
  lph_bytes in = numeric(3, 20, NEGATIVE, 8, digits), nan = numeric(0, 0, NOT_A_NUMBER, 0, digits);
  lph_buf out = {0};
  lph_mem_fail_at(1, true);
  lph_err number = lph_numeric_text(in, &out), special = lph_numeric_text(nan, &out);
  assert_true(lph_mem_failed());
  lph_mem_fail_at(0, false);
  assert_int_equal(number, LPH_ENOMEM);
  assert_int_equal(special, LPH_ENOMEM);
  assert_int_equal(out.len, 0);
  assert_null(out.data);
  free((char *)in.data);
  free((char *)nan.data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbers_are_printed_as_postgresql_does),
    cmocka_unit_test(random_numbers_agree_with_the_slow_way),
    cmocka_unit_test(the_largest_numbers_keep_every_digit),
    cmocka_unit_test(malformed_values_are_refused),
    cmocka_unit_test(random_bytes_give_a_number_or_a_refusal),
    cmocka_unit_test(without_memory_nothing_is_appended),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
