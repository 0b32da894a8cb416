/* Parameters: what each kind takes, what it refuses and what the refusal says.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "types/type.h"

static uint64_t seed = 88172645463325252u;
static uint64_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static lph_value boolean(bool b) { return (lph_value){.tag = LPH_V_BOOL, .boolean = b}; }
static lph_value integer(int64_t n) { return (lph_value){.tag = LPH_V_INT, .integer = n}; }
static lph_value number(double d) { return (lph_value){.tag = LPH_V_FLOAT, .number = d}; }
static lph_value bytes(const char *data, size_t n) {
  return (lph_value){.tag = LPH_V_STRING, .string = {data, n}};
}
static lph_value string(const char *text) { return bytes(text, strlen(text)); }

/* `v` becomes `want`, behind what is in the buffer already. */
static void gives_bytes(lph_kind kind, lph_value v, const char *want, size_t want_len) {
  lph_type type = {.kind = (uint8_t)kind};
  lph_buf out = {0};
  const char *why = NULL;
  assert_int_equal(lph_buf_puts(&out, "> "), LPH_OK);
  lph_err rc = lph_encode(&type, &v, &out, &why);
  if (rc != LPH_OK) fail_msg("kind %d: %s instead of %s", kind, why, want);
  if (out.len != want_len + 2 || memcmp(out.data + 2, want, want_len) != 0)
    fail_msg("kind %d: \"%.*s\" instead of \"%s\"", kind, (int)out.len, out.data, want);
  assert_memory_equal(out.data, "> ", 2);
  lph_buf_free(&out);
}
static void gives(lph_kind kind, lph_value v, const char *want) { gives_bytes(kind, v, want, strlen(want)); }

/* `v` is refused with `code`, nothing is appended, and the reason contains `word`. */
static void refuses(lph_kind kind, lph_value v, lph_err code, const char *word) {
  lph_type type = {.kind = (uint8_t)kind};
  lph_buf out = {0};
  const char *why = NULL;
  assert_int_equal(lph_buf_puts(&out, "kept"), LPH_OK);
  lph_err rc = lph_encode(&type, &v, &out, &why);
  if (rc != code)
    fail_msg("kind %d: code %d (%s) instead of %d (... %s ...)", kind, rc, why ? why : "-", code, word);
  assert_non_null(why);
  if (strstr(why, word) == NULL) fail_msg("kind %d: \"%s\" does not say \"%s\"", kind, why, word);
  assert_int_equal(out.len, 4);
  assert_memory_equal(out.data, "kept", 4);
  lph_buf_free(&out);
}

static void booleans_take_booleans_only(void **state) {
  (void)state;
  gives(LPH_BOOL, boolean(true), "true");
  gives(LPH_BOOL, boolean(false), "false");
  refuses(LPH_BOOL, integer(1), LPH_ETYPE, "true or false");
  refuses(LPH_BOOL, number(0), LPH_ETYPE, "true or false");
  refuses(LPH_BOOL, string("true"), LPH_ETYPE, "true or false");
}

static const struct {
  lph_kind kind;
  int64_t low, high;
  const char *range;
} integer_kinds[] = {
  {LPH_INT2, INT16_MIN, INT16_MAX, "(-32768 to 32767)"},
  {LPH_INT4, INT32_MIN, INT32_MAX, "(-2147483648 to 2147483647)"},
  {LPH_INT8, INT64_MIN, INT64_MAX, "(-9223372036854775808 to 9223372036854775807)"},
  {LPH_UINT4, 0, UINT32_MAX, "(0 to 4294967295)"},
  {LPH_UINT8, 0, INT64_MAX, "(0 to 18446744073709551615)"}, /* the upper half: see below */
};

static void integers_end_where_their_type_ends(void **state) {
  (void)state;
  char text[32];
  for (size_t i = 0; i < lph_countof(integer_kinds); i++) {
    lph_kind kind = integer_kinds[i].kind;
    int64_t low = integer_kinds[i].low, high = integer_kinds[i].high;
    const char *range = integer_kinds[i].range;
    int64_t inside[] = {low, low + 1, 0, 1, 42, high - 1, high};
    for (size_t j = 0; j < lph_countof(inside); j++) {
      snprintf(text, sizeof text, "%" PRId64, inside[j]);
      gives(kind, integer(inside[j]), text);
      /* A float with the same value, where there is one. */
      if (inside[j] > -((int64_t)1 << 53) && inside[j] < (int64_t)1 << 53)
        gives(kind, number((double)inside[j]), text);
    }
    if (low > INT64_MIN) {
      refuses(kind, integer(low - 1), LPH_ERANGE, range);
      refuses(kind, integer(INT64_MIN), LPH_ERANGE, range);
      refuses(kind, number((double)low - 1), LPH_ERANGE, range);
    }
    if (high < INT64_MAX) {
      refuses(kind, integer(high + 1), LPH_ERANGE, range);
      refuses(kind, integer(INT64_MAX), LPH_ERANGE, range);
      refuses(kind, number((double)high + 1), LPH_ERANGE, range);
    }
    refuses(kind, number(1e300), LPH_ERANGE, range);
    refuses(kind, number(-1e300), LPH_ERANGE, range);
    refuses(kind, number(INFINITY), LPH_ERANGE, range);
    refuses(kind, number(-INFINITY), LPH_ERANGE, range);
    refuses(kind, number(NAN), LPH_ERANGE, "NaN");
    refuses(kind, number(1.5), LPH_ERANGE, "fraction");
    refuses(kind, number(5e-324), LPH_ERANGE, "fraction");
    refuses(kind, boolean(true), LPH_ETYPE, "integer");
    refuses(kind, string("abc"), LPH_ETYPE, "integer");
    gives(kind, number(-0.0), "0");
  }
  gives(LPH_INT8, number(-9223372036854775808.0), "-9223372036854775808");
  refuses(LPH_INT8, number(9223372036854775808.0), LPH_ERANGE, "out of range");
}

static void decimal_strings_are_for_64_bits_only(void **state) {
  (void)state;
  refuses(LPH_INT2, string("1"), LPH_ETYPE, "tonumber");
  refuses(LPH_INT4, string("1"), LPH_ETYPE, "tonumber");
  refuses(LPH_UINT4, string("1"), LPH_ETYPE, "tonumber");
  gives(LPH_INT8, string("0"), "0");
  gives(LPH_INT8, string("007"), "7");
  gives(LPH_INT8, string("9223372036854775807"), "9223372036854775807");
  gives(LPH_INT8, string("-9223372036854775808"), "-9223372036854775808");
  refuses(LPH_INT8, string("9223372036854775808"), LPH_ERANGE, "out of range");
  refuses(LPH_INT8, string("-9223372036854775809"), LPH_ERANGE, "out of range");
  refuses(LPH_INT8, string("100000000000000000000000"), LPH_ERANGE, "out of range");
  gives(LPH_UINT8, string("18446744073709551615"), "18446744073709551615");
  gives(LPH_UINT8, string("9999999999999999999"), "9999999999999999999");
  gives(LPH_UINT8, string("00000000000000000000000012"), "12");
  gives(LPH_UINT8, string("0"), "0");
  refuses(LPH_UINT8, string("18446744073709551616"), LPH_ERANGE, "out of range");
  refuses(LPH_UINT8, string("-1"), LPH_ERANGE, "out of range");
  refuses(LPH_UINT8, string("100000000000000000000"), LPH_ERANGE, "out of range");
  gives(LPH_UINT8, number(9223372036854775808.0), "9223372036854775808");
  gives(LPH_UINT8, number(18446744073709549568.0), "18446744073709549568");
  refuses(LPH_UINT8, number(18446744073709551616.0), LPH_ERANGE, "out of range");
  static const char *const bad[] = {"", "-", "1.0", "1e3", " 1", "1 ", "+1", "0x10", "1-", "ten"};
  for (size_t i = 0; i < lph_countof(bad); i++) {
    refuses(LPH_INT8, string(bad[i]), LPH_ETYPE, "decimal digits");
    refuses(LPH_UINT8, string(bad[i]), LPH_ETYPE, "decimal digits");
  }
  refuses(LPH_INT8, bytes("1\0", 2), LPH_ETYPE, "decimal digits");
}

static void floats_take_numbers(void **state) {
  (void)state;
  gives(LPH_FLOAT8, number(0.1), "0.1");
  gives(LPH_FLOAT8, number(0.30000000000000004), "0.30000000000000004");
  gives(LPH_FLOAT8, number(-0.0), "-0");
  gives(LPH_FLOAT8, number(NAN), "NaN");
  gives(LPH_FLOAT8, number(-INFINITY), "-Infinity");
  gives(LPH_FLOAT8, number(1.7976931348623157e308), "1.7976931348623157e+308");
  gives(LPH_FLOAT8, integer(INT64_MIN), "-9223372036854775808");
  gives(LPH_FLOAT4, integer(16777216), "16777216");
  gives(LPH_FLOAT4, number(0.1), "0.1");
  gives(LPH_FLOAT4, number(-0.0), "-0");
  gives(LPH_FLOAT4, number(INFINITY), "Infinity");
  gives(LPH_FLOAT4, number(NAN), "NaN");
  gives(LPH_FLOAT4, number(3.4028234663852886e38), "3.4028235e+38");
  gives(LPH_FLOAT4, number(3.4028235677973362e38), "3.4028235e+38"); /* rounds down, just */
  refuses(LPH_FLOAT4, number(3.4028235677973366e38), LPH_ERANGE, "3.4e38");
  refuses(LPH_FLOAT4, number(-1e39), LPH_ERANGE, "3.4e38");
  gives(LPH_FLOAT4, number(1e-45), "1e-45");
  gives(LPH_FLOAT4, number(0.0), "0");
  refuses(LPH_FLOAT4, number(1e-46), LPH_ERANGE, "zero");
  refuses(LPH_FLOAT4, number(-5e-324), LPH_ERANGE, "zero");
  /* Halfway between two float4: to even. Its 17 digits are above the half and would go up. */
  gives(LPH_FLOAT4, number(1.000000059604644775390625), "1");
  for (int i = 0; i <= 1; i++) {
    lph_kind kind = i ? LPH_FLOAT4 : LPH_FLOAT8;
    refuses(kind, string("1.5"), LPH_ETYPE, "tonumber");
    refuses(kind, boolean(false), LPH_ETYPE, "number");
  }
}

static void random_numbers_read_back(void **state) {
  (void)state;
  static const lph_type float8 = {.kind = LPH_FLOAT8}, float4 = {.kind = LPH_FLOAT4},
                        numeric = {.kind = LPH_NUMERIC};
  lph_buf out = {0};
  const char *why;
  for (int i = 0; i < 50000; i++) {
    uint64_t bits = next_random();
    lph_value v = number(0);
    memcpy(&v.number, &bits, sizeof bits);
    if (!isfinite(v.number)) continue;
    for (int j = 0; j < 2; j++) {
      lph_buf_clear(&out);
      assert_int_equal(lph_encode(j ? &float8 : &numeric, &v, &out, &why), LPH_OK);
      assert_int_equal(lph_buf_terminate(&out), LPH_OK);
      assert_true(strtod(out.data, NULL) == v.number);
    }
    v.number = ldexp(v.number / (fabs(v.number) + 1), (int)(next_random() % 250) - 125); /* float4's realm */
    lph_buf_clear(&out);
    if (lph_encode(&float4, &v, &out, &why) != LPH_OK) {
      assert_true((float)v.number == 0);
    } else {
      assert_int_equal(lph_buf_terminate(&out), LPH_OK);
      assert_true(strtof(out.data, NULL) == (float)v.number);
    }
  }
  lph_buf_free(&out);
}

static void numeric_keeps_decimal_strings_as_they_are(void **state) {
  (void)state;
  static const char *const good[] = {
    "0",        "-12.50",    "+1", "0.10000000000000000000000000000001", "1e-20", "NaN",
    "Infinity", "-Infinity", ".5", "123456789012345678901234567890"};
  static const char *const bad[] = {"", " 1", "1,5", "0x10", "abc", "1e", "--1", "1.2.3", "1\n"};
  for (size_t i = 0; i < lph_countof(good); i++) gives(LPH_NUMERIC, string(good[i]), good[i]);
  for (size_t i = 0; i < lph_countof(bad); i++) refuses(LPH_NUMERIC, string(bad[i]), LPH_ETYPE, "12.50");
  gives(LPH_NUMERIC, integer(INT64_MAX), "9223372036854775807");
  gives(LPH_NUMERIC, number(0.1), "0.1");
  gives(LPH_NUMERIC, number(1e300), "1e+300");
  gives(LPH_NUMERIC, number(NAN), "NaN");
  refuses(LPH_NUMERIC, boolean(true), LPH_ETYPE, "12.50");
}

static void json_takes_text_and_plain_values(void **state) {
  (void)state;
  for (int i = 0; i <= 1; i++) {
    lph_kind kind = i ? LPH_JSONB : LPH_JSON;
    gives(kind, string("{\"a\": [1, 2]}"), "{\"a\": [1, 2]}");
    gives(kind, boolean(true), "true");
    gives(kind, boolean(false), "false");
    gives(kind, integer(-7), "-7");
    gives(kind, number(0.5), "0.5");
    gives(kind, number(1e300), "1e+300");
    refuses(kind, number(NAN), LPH_ERANGE, "JSON");
    refuses(kind, number(INFINITY), LPH_ERANGE, "JSON");
    refuses(kind, number(-INFINITY), LPH_ERANGE, "JSON");
    refuses(kind, bytes("\"\0\"", 3), LPH_EFORMAT, "NUL");
    refuses(kind, string("\"\xff\""), LPH_EFORMAT, "UTF-8");
  }
}

static void every_string_is_checked_but_bytea(void **state) {
  (void)state;
  static const struct {
    lph_kind kind;
    const char *hint; /* what the refusal of a number says */
  } kinds[] = {{LPH_TEXT, "tostring"},
               {LPH_DATE, "2024-02-29"},
               {LPH_TIME, "13:45:00"},
               {LPH_TIMETZ, "13:45:00"},
               {LPH_TIMESTAMP, "2024-02-29 13:45:00"},
               {LPH_TIMESTAMPTZ, "+00"},
               {LPH_INTERVAL, "1 day"},
               {LPH_UUID, "string"},
               {LPH_INET, "string"},
               {LPH_MACADDR, "string"},
               {LPH_BIT, "string"},
               {LPH_CHAR, "string"},
               {LPH_LSN, "string"},
               {LPH_TID, "string"},
               {LPH_POINT, "string"},
               {LPH_CIRCLE, "string"},
               {LPH_VERSIONED, "string"},
               {LPH_ARRAY, "string"},
               {LPH_COMPOSITE, "string"},
               {LPH_RECORD, "string"},
               {LPH_RANGE, "string"},
               {LPH_MULTIRANGE, "string"},
               {LPH_HSTORE, "string"},
               {LPH_OPAQUE, "string"}};
  for (size_t i = 0; i < lph_countof(kinds); i++) {
    lph_kind kind = kinds[i].kind;
    gives(kind, string("any text, \xe2\x82\xac, {} \" \\"), "any text, \xe2\x82\xac, {} \" \\");
    gives(kind, string(""), "");
    gives(kind, bytes(NULL, 0), "");
    refuses(kind, bytes("a\0b", 3), LPH_EFORMAT, "NUL");
    refuses(kind, bytes("\0", 1), LPH_EFORMAT, "NUL");
    refuses(kind, string("long enough for words \xe9"), LPH_EFORMAT, "UTF-8");
    refuses(kind, string("\xed\xa0\x80"), LPH_EFORMAT, "UTF-8");
    refuses(kind, integer(1), LPH_ETYPE, kinds[i].hint);
    refuses(kind, number(1.5), LPH_ETYPE, kinds[i].hint);
    refuses(kind, boolean(true), LPH_ETYPE, kinds[i].hint);
  }
  gives(LPH_BYTEA,
        bytes("\0\xff"
              "A",
              3),
        "\\x00ff41");
  gives(LPH_BYTEA, bytes(NULL, 0), "\\x");
  refuses(LPH_BYTEA, integer(1), LPH_ETYPE, "raw bytes");
}

static void a_megabyte_passes_unchanged(void **state) {
  (void)state;
  size_t n = 1 << 20;
  char *text = malloc(n);
  for (size_t i = 0; i < n; i++) text[i] = (char)('a' + i % 26);
  gives_bytes(LPH_TEXT, bytes(text, n), text, n);
  text[n - 1] = '\0';
  refuses(LPH_TEXT, bytes(text, n), LPH_EFORMAT, "NUL");
  text[n - 1] = (char)0xc3; /* the first half of a character */
  refuses(LPH_TEXT, bytes(text, n), LPH_EFORMAT, "UTF-8");
  free(text);
}

/* Every kind, every sort of value, random bytes as strings: one of the promised answers, a reason
 * with each refusal, and text that is clean whenever it was accepted. */
static void random_values_are_encoded_or_refused_with_a_reason(void **state) {
  (void)state;
  static const char likely[] = "0123456789+-.eNaInfity\xc3\xa9";
  for (int i = 0; i < 200000; i++) {
    size_t n = next_random() % 24;
    char *text = malloc(n ? n : 1);
    for (size_t j = 0; j < n; j++)
      text[j] = next_random() % 8 ? likely[next_random() % (sizeof likely - 1)] : (char)next_random();
    lph_value v = {.tag = (lph_vtag)(next_random() % 4),
                   .integer = (int64_t)(next_random() >> next_random() % 64),
                   .boolean = next_random() & 1,
                   .string = {text, n}};
    uint64_t bits = next_random();
    memcpy(&v.number, &bits, sizeof bits);
    if (next_random() % 2) v.number = (double)v.integer;
    lph_type type = {.kind = (uint8_t)(next_random() % (LPH_OPAQUE + 1))};
    lph_buf out = {0};
    const char *why = NULL;
    lph_err rc = lph_encode(&type, &v, &out, &why);
    if (rc == LPH_OK) {
      assert_true(out.len == 0 || memchr(out.data, '\0', out.len) == NULL);
      assert_true(lph_utf8_valid((lph_bytes){out.data, out.len}));
    } else {
      assert_true(rc == LPH_ETYPE || rc == LPH_ERANGE || rc == LPH_EFORMAT);
      assert_non_null(why);
      assert_true(strlen(why) > 10 && out.len == 0);
    }
    lph_buf_free(&out);
    free(text);
  }
}

static void without_memory_nothing_is_appended(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  struct {
    lph_kind kind;
    lph_value v;
  } cases[] = {{LPH_BOOL, boolean(true)}, {LPH_BOOL, boolean(false)}, {LPH_INT4, integer(1)},
               {LPH_INT8, string("1")},   {LPH_UINT8, string("1")},   {LPH_UINT8, number(1)},
               {LPH_FLOAT4, number(1)},   {LPH_FLOAT8, number(1.5)},  {LPH_NUMERIC, string("1")},
               {LPH_JSON, boolean(true)}, {LPH_TEXT, string("a")},    {LPH_BYTEA, string("a")}};
  for (size_t i = 0; i < lph_countof(cases); i++) {
    lph_type type = {.kind = (uint8_t)cases[i].kind};
    lph_buf out = {0};
    const char *why = NULL;
    lph_mem_fail_at(1, true);
    lph_err rc = lph_encode(&type, &cases[i].v, &out, &why);
    lph_mem_fail_at(0, false);
    assert_int_equal(rc, LPH_ENOMEM);
    assert_string_equal(why, "out of memory");
    assert_int_equal(out.len, 0);
    assert_null(out.data);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(booleans_take_booleans_only),
    cmocka_unit_test(integers_end_where_their_type_ends),
    cmocka_unit_test(decimal_strings_are_for_64_bits_only),
    cmocka_unit_test(floats_take_numbers),
    cmocka_unit_test(random_numbers_read_back),
    cmocka_unit_test(numeric_keeps_decimal_strings_as_they_are),
    cmocka_unit_test(json_takes_text_and_plain_values),
    cmocka_unit_test(every_string_is_checked_but_bytea),
    cmocka_unit_test(a_megabyte_passes_unchanged),
    cmocka_unit_test(random_values_are_encoded_or_refused_with_a_reason),
    cmocka_unit_test(without_memory_nothing_is_appended),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
