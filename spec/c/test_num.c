/* Numbers and UTF-8: parsing and printing compared with what libc says, over edge values, random
 * values (fixed seed) and malformed texts. Inputs are exact heap blocks, so that a sanitizer build
 * sees any read behind the end.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <locale.h>
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

/* Calls a parser with a copy that ends where its memory ends. */
static bool parse_int(const char *text, int64_t *value) {
  size_t n = strlen(text);
  char *copy = malloc(n ? n : 1);
  memcpy(copy, text, n);
  bool ok = lph_parse_int8((lph_bytes){copy, n}, value);
  free(copy);
  return ok;
}
static bool parse_float(const char *text, double *value) {
  size_t n = strlen(text);
  char *copy = malloc(n ? n : 1);
  memcpy(copy, text, n);
  bool ok = lph_parse_float8((lph_bytes){copy, n}, value);
  free(copy);
  return ok;
}

/* ---- integers --------------------------------------------------------------------------------- */

static void an_integer_is_read_whole_or_not_at_all(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t value;
  } good[] = {{"0", 0},
              {"-0", 0},
              {"7", 7},
              {"-1", -1},
              {"000000000000000000000000000012", 12},
              {"-0012", -12},
              {"9223372036854775807", INT64_MAX},
              {"-9223372036854775807", -INT64_MAX},
              {"-9223372036854775808", INT64_MIN},
              {"1000000000000000000", 1000000000000000000}};
  static const char *const bad[] = {"",
                                    "-",
                                    "--1",
                                    "+1",
                                    " 1",
                                    "1 ",
                                    "1.0",
                                    "1e3",
                                    "0x1",
                                    "1-",
                                    "abc",
                                    "12a",
                                    "１",
                                    "-a",
                                    "NaN",
                                    "00000000000000000000x",
                                    "9223372036854775808",
                                    "-9223372036854775809",
                                    "18446744073709551616",
                                    "99999999999999999999",
                                    "10000000000000000000"};
  int64_t value;
  for (size_t i = 0; i < lph_countof(good); i++) {
    assert_true(parse_int(good[i].text, &value));
    assert_true(value == good[i].value);
  }
  for (size_t i = 0; i < lph_countof(bad); i++) {
    value = 42;
    if (parse_int(bad[i], &value)) fail_msg("\"%s\" was read as %" PRId64, bad[i], value);
    assert_int_equal(value, 42);
  }
  assert_false(lph_parse_int8((lph_bytes){NULL, 0}, &value));
}

static void check_int(int64_t value) {
  char ours[32], libc[32];
  int64_t back;
  int n = snprintf(libc, sizeof libc, "%" PRId64, value);
  assert_int_equal(lph_format_int8(ours, value), n);
  assert_string_equal(ours, libc);
  assert_true(parse_int(ours, &back));
  assert_true(back == value);
}

static void integers_are_printed_as_libc_does_and_read_back(void **state) {
  (void)state;
  check_int(INT64_MIN);
  check_int(INT64_MAX);
  int64_t power = 1;
  for (int i = 0; i < 19; i++, power *= i < 19 ? 10 : 1) {
    for (int64_t near = -2; near <= 2; near++) {
      check_int(power + near);
      check_int(-power + near);
    }
  }
  for (int bit = 0; bit < 63; bit++) {
    check_int((int64_t)1 << bit);
    check_int(((int64_t)1 << bit) - 1);
  }
  for (int i = 0; i < 100000; i++) check_int((int64_t)(next_random() >> next_random() % 64));
}

/* ---- text to float ---------------------------------------------------------------------------- */

static void check_like_strtod(const char *text) {
  double value;
  if (!parse_float(text, &value)) fail_msg("\"%s\" was refused", text);
  double expected = strtod(text, NULL);
  if (bits_of(value) != bits_of(expected)) fail_msg("\"%s\": %a instead of %a", text, value, expected);
}

static void floats_are_rounded_as_strtod_does(void **state) {
  (void)state;
  static const char *const texts[] = {
    "0",
    "-0",
    "0.0",
    "-0.000e99",
    "1",
    "-1",
    "+1",
    "1.5",
    ".5",
    "5.",
    "0.1",
    "3.141592653589793",
    "1e22",
    "1e23",
    "9007199254740992",
    "9007199254740993",
    "9007199254740993.0000000000000001",
    "1e308",
    "1.7976931348623157e308",
    "1.7976931348623158e308",
    "1.7976931348623159e308",
    "1e309",
    "-1e400",
    "2.2250738585072014e-308",
    "2.2250738585072011e-308",
    "4.9e-324",
    "5e-324",
    "2.4e-324",
    "2.5e-324",
    "1e-400",
    "1e99999999999999999999",
    "1e-99999999999999999999",
    "0e99999999999999999999",
    "123456789012345678901234567890",
    "0.000000000000000000000000000000000000000000001",
    "8.5e-05",
    "1E5",
    "1e+05",
    "1e-05",
    "0000000000000000000000000000000000000000000000001.25",
    "17976931348623157081452742373170435679807056752584499659891747680315726078002853876058955863276687"
    "81715404589535143824642343213268894641827684675467035375169860499105765512820762454900903893289440"
    "75868508455133942304583236903222948165808559332123347747979192e0"};
  for (size_t i = 0; i < lph_countof(texts); i++) check_like_strtod(texts[i]);

  char text[128];
  for (int i = 0; i < 100000; i++) {
    double value = double_of(next_random());
    if (!isfinite(value)) continue;
    snprintf(text, sizeof text, "%.*g", (int)(next_random() % 25), value);
    check_like_strtod(text);
  }
  for (int i = 0; i < 100000; i++) {
    uint64_t whole = next_random() >> next_random() % 64, part = next_random() >> next_random() % 64;
    int exponent = (int)(next_random() % 700) - 350;
    snprintf(text, sizeof text, "%" PRIu64 ".%" PRIu64 "e%d", whole, part, i % 3 ? exponent % 30 : exponent);
    check_like_strtod(text);
  }
}

/* Halfway between two doubles the 767th digit can decide; whatever comes behind it must as well. */
static void digits_far_behind_decide_a_tie(void **state) {
  (void)state;
  char text[4096];
  for (int e = -1074; e <= 900; e += 97) {
    for (int odd = 1; odd <= 3; odd += 2) { /* ties to even: once down, once up */
      /* Exactly between two neighbours; 1100 decimals print any double of this size in full. */
      long double half = ldexpl(e > -1022 ? 1 + odd * 0x1p-53L : 1 + odd * 0.5L, e);
      int n = snprintf(text, sizeof text, "%.1100Lf", half);
      check_like_strtod(text);
      memset(text + n, '0', 900);
      strcpy(text + n + 900, "1"); /* a little more than the half: up */
      check_like_strtod(text);
    }
  }
  memset(text, '1', 3000);
  strcpy(text + 3000, "e-2950");
  check_like_strtod(text);
  memset(text, '0', 3000);
  memcpy(text, "0.", 2);
  strcpy(text + 3000, "123e3000");
  check_like_strtod(text);
}

static void what_is_not_a_number_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
    "",     "-",    "+",    ".",  "-.",  "e5",   ".e5",  "1e",    "1e+",      "1e-",       "1.5.2",
    "1 ",   " 1",   "0x10", "1f", "nan", "inf",  "-NaN", "NaN ",  "infinity", "+Infinity", "1,5",
    "1e5x", "1e5.", "--1",  "1-", "1_0", "Infi", "1e 5", "1e++5", "-Infinit", "0b1",       "p1"};
  double value;
  for (size_t i = 0; i < lph_countof(bad); i++)
    if (parse_float(bad[i], &value)) fail_msg("\"%s\" was read as %g", bad[i], value);
  assert_false(lph_parse_float8((lph_bytes){NULL, 0}, &value));
  assert_false(lph_parse_float8((lph_bytes){"1\0", 2}, &value));
  assert_true(parse_float("NaN", &value) && isnan(value));
  assert_true(parse_float("Infinity", &value) && isinf(value) && value > 0);
  assert_true(parse_float("-Infinity", &value) && isinf(value) && value < 0);
}

static void random_bytes_do_no_harm(void **state) {
  (void)state;
  static const char alphabet[] = "0123456789+-.eENaInfity x\0\xff";
  char out[32];
  for (int i = 0; i < 200000; i++) {
    size_t n = next_random() % 24;
    char *text = malloc(n ? n : 1);
    for (size_t j = 0; j < n; j++) text[j] = alphabet[next_random() % (sizeof alphabet - 1)];
    double d;
    int64_t whole;
    if (lph_parse_float8((lph_bytes){text, n}, &d)) assert_true(lph_format_float8(out, d) < 32);
    if (lph_parse_int8((lph_bytes){text, n}, &whole)) {
      assert_true(lph_parse_float8((lph_bytes){text, n}, &d));
      assert_true(d == (double)whole);
    }
    free(text);
  }
}

/* No machine is sure to have a locale with a comma installed: localedef, which comes with the C library, makes one. */
static bool enter_comma_locale(char dir[]) {
  char command[512];
  if (mkdtemp(dir) == NULL) return false;
  snprintf(command, sizeof command,
           "cd %s && printf 'comment_char %%%%\\nescape_char /\\nLC_NUMERIC\\ndecimal_point \",\"\\n"
           "thousands_sep \".\"\\ngrouping 3;3\\nEND LC_NUMERIC\\n' > comma.src && "
           "localedef -c --no-archive -i comma.src -f ANSI_X3.4-1968 ./comma >/dev/null 2>&1; test -d comma",
           dir);
  setenv("LOCPATH", dir, 1);
  return system(command) == 0 && setlocale(LC_NUMERIC, "comma") != NULL &&
         *localeconv()->decimal_point == ',';
}

static void a_locale_with_a_decimal_comma_changes_nothing(void **state) {
  (void)state;
  char dir[] = "/tmp/luphant-locale-XXXXXX", command[64];
  bool entered = enter_comma_locale(dir), ok = false;
  double value = 0;
  char out[32] = "";
  if (entered) {
    ok = parse_float("0.30000000000000004", &value);
    lph_format_float8(out, 0.30000000000000004);
  }
  setlocale(LC_ALL, "C");
  snprintf(command, sizeof command, "rm -rf %s", dir);
  assert_int_equal(system(command), 0);
  assert_true(entered);
  assert_true(ok && value == 0.30000000000000004);
  assert_string_equal(out, "0.30000000000000004");
}

/* ---- UTF-8 ------------------------------------------------------------------------------------ */

/* The other way round than the code under test: decode, then ask what the number is. */
static bool reference_utf8(const unsigned char *p, size_t n) {
  for (size_t i = 0; i < n;) {
    unsigned c = p[i];
    size_t more = c < 0x80 ? 0 : (c & 0xe0) == 0xc0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : (c & 0xf8) == 0xf0 ? 3 : 9;
    if (more == 9 || n - i <= more) return false;
    uint32_t code = more == 0 ? c : c & (0x3fu >> more);
    for (size_t j = 1; j <= more; j++) {
      if ((p[i + j] & 0xc0) != 0x80) return false;
      code = code << 6 | (p[i + j] & 0x3f);
    }
    static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
    i += more + 1;
  }
  return true;
}

static bool utf8(const void *data, size_t n) {
  char *copy = malloc(n ? n : 1);
  memcpy(copy, data, n);
  bool ok = lph_utf8_valid((lph_bytes){copy, n});
  free(copy);
  return ok;
}

static void all_short_byte_sequences_are_judged_right(void **state) {
  (void)state;
  assert_true(lph_utf8_valid((lph_bytes){NULL, 0}));
  /* The bytes at which the rules change, one below and one above them; four of them in a row. */
  static const unsigned char edges[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                        0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec,
                                        0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff};
  const size_t n = sizeof edges;
  for (size_t i = 0; i < n * n * n * n; i++) {
    unsigned char text[4] = {edges[i % n], edges[i / n % n], edges[i / n / n % n], edges[i / n / n / n]};
    for (size_t length = 1; length <= 4; length++)
      if (utf8(text, length) != reference_utf8(text, length))
        fail_msg("%02x %02x %02x %02x, %zu bytes", text[0], text[1], text[2], text[3], length);
  }
}

static void one_bad_byte_is_found_wherever_it_stands(void **state) {
  (void)state;
  char text[64];
  for (size_t n = 1; n <= sizeof text; n++) {
    memset(text, 'a', n);
    assert_true(utf8(text, n));
    for (size_t at = 0; at < n; at++) {
      text[at] = (char)0x80;
      assert_false(utf8(text, n));
      text[at] = 'a';
    }
  }
  for (int i = 0; i < 200000; i++) {
    unsigned char mixed[40];
    size_t n = next_random() % sizeof mixed;
    static const char *const pieces[] = {"a",        "\xc3\xa9",     "\xe2\x82\xac", "\xf0\x9f\x90\x98",
                                         "abcdefgh", "\xed\xa0\x80", "\xc3"};
    size_t used = 0;
    while (used < n) {
      const char *piece = pieces[next_random() % (i % 4 ? 5 : 7)];
      size_t length = strlen(piece);
      if (used + length > n) break;
      memcpy(mixed + used, piece, length);
      used += length;
    }
    assert_int_equal(utf8(mixed, used), reference_utf8(mixed, used));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_integer_is_read_whole_or_not_at_all),
    cmocka_unit_test(integers_are_printed_as_libc_does_and_read_back),
    cmocka_unit_test(floats_are_rounded_as_strtod_does),
    cmocka_unit_test(digits_far_behind_decide_a_tie),
    cmocka_unit_test(what_is_not_a_number_is_refused),
    cmocka_unit_test(random_bytes_do_no_harm),
    cmocka_unit_test(a_locale_with_a_decimal_comma_changes_nothing),
    cmocka_unit_test(all_short_byte_sequences_are_judged_right),
    cmocka_unit_test(one_bad_byte_is_found_wherever_it_stands),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
