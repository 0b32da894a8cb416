/* The dispatch: every scalar kind has its renderer, checks the length of its bytes and refuses what
 * is no value of it. Dates, networks and geometry have their own files for the details.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "wire.h"

static wire text(const char *s) { return wire_raw(s, strlen(s)); }

/* One good value of each kind, in the order of lph_kind. */
typedef struct sample {
  lph_kind kind;
  wire w;
  const char *want;
  bool any_length; /* the kind has values of every length */
} sample;

static wire inet_loopback(void) { return wire_of(8, 0x022000047F000001); }

static wire counted(wire head, uint32_t count) {
  wire_int(&head, 4, count);
  for (uint32_t i = 0; i < 2 * count; i++) wire_float(&head, 0);
  return head;
}

static wire zeros(size_t floats) {
  wire w = {.len = 0};
  for (size_t i = 0; i < floats; i++) wire_float(&w, 0);
  return w;
}

/* ndigits 1, weight 0, sign +, dscale 1; 7.0 */
static wire seven(void) {
  wire w = wire_of(8, 0x0001000000000001);
  return *wire_int(&w, 2, 7);
}

static wire uuid(void) {
  wire w = wire_of(8, 0x0011223344556677);
  return *wire_int(&w, 8, 0x8899AABBCCDDEEFF);
}

static wire bits(void) {
  wire w = wire_of(4, 3);
  return *wire_int(&w, 1, 0xA0);
}

static wire long_zero(int bytes) { return (wire){.len = (size_t)bytes}; }

static size_t samples(sample *s) {
  const sample all[] = {
    {LPH_TEXT, text("any \"text\""), "any \"text\"", true},
    {LPH_BOOL, wire_of(1, 1), "t", false},
    {LPH_INT2, wire_of(2, 0x8000), "-32768", false},
    {LPH_INT4, wire_of(4, 0x80000000), "-2147483648", false},
    {LPH_INT8, wire_of(8, UINT64_C(1) << 63), "-9223372036854775808", false},
    {LPH_UINT4, wire_of(4, UINT32_MAX), "4294967295", false},
    {LPH_FLOAT4, wire_of(4, 0x3DCCCCCD), "0.1", false},
    {LPH_FLOAT8, wire_of(8, 0x3FB999999999999A), "0.1", false},
    {LPH_BYTEA, wire_of(2, 0x00FF), "\\x00ff", true},
    {LPH_JSON, text("{\"a\": 1}"), "{\"a\": 1}", true},
    {LPH_JSONB, text("\1{\"a\": 1}"), "{\"a\": 1}", true},
    {LPH_NUMERIC, seven(), "7.0", false},
    {LPH_DATE, long_zero(4), "2000-01-01", false},
    {LPH_TIME, long_zero(8), "00:00:00", false},
    {LPH_TIMETZ, long_zero(12), "00:00:00+00", false},
    {LPH_TIMESTAMP, long_zero(8), "2000-01-01 00:00:00", false},
    {LPH_TIMESTAMPTZ, long_zero(8), "2000-01-01 00:00:00+00", false},
    {LPH_INTERVAL, long_zero(16), "00:00:00", false},
    {LPH_UUID, uuid(), "00112233-4455-6677-8899-aabbccddeeff", false},
    {LPH_INET, inet_loopback(), "127.0.0.1", false},
    {LPH_MACADDR, wire_of(6, 1), "00:00:00:00:00:01", false},
    {LPH_MACADDR8, wire_of(8, 1), "00:00:00:00:00:00:00:01", false},
    {LPH_BIT, bits(), "101", false},
    {LPH_CHAR, wire_of(1, 'x'), "x", false},
    {LPH_UINT8, wire_of(8, UINT64_MAX), "18446744073709551615", false},
    {LPH_LSN, wire_of(8, 0x0000000A0000000B), "A/B", false},
    {LPH_TID, wire_of(6, 0x000000070003), "(7,3)", false},
    {LPH_POINT, zeros(2), "(0,0)", false},
    {LPH_LSEG, zeros(4), "[(0,0),(0,0)]", false},
    {LPH_PATH, counted(wire_of(1, 0), 1), "[(0,0)]", false},
    {LPH_BOX, zeros(4), "(0,0),(0,0)", false},
    {LPH_POLYGON, counted((wire){.len = 0}, 1), "((0,0))", false},
    {LPH_LINE, zeros(3), "{0,0,0}", false},
    {LPH_CIRCLE, zeros(3), "<(0,0),0>", false},
    {LPH_VERSIONED, text("\1$.a[*]"), "$.a[*]", true},
  };
  memcpy(s, all, sizeof all);
  return lph_countof(all);
}

enum { MOST = LPH_OPAQUE };

static void every_scalar_kind_is_rendered(void **state) {
  (void)state;
  sample s[MOST];
  size_t count = samples(s);
  assert_int_equal(count, LPH_VERSIONED + 1); /* a new kind needs its sample here */
  for (size_t i = 0; i < count; i++) {
    assert_int_equal(s[i].kind, i);
    check_render(s[i].kind, s[i].w, s[i].want);
  }
}

static void a_length_that_does_not_fit_is_refused(void **state) {
  (void)state;
  sample s[MOST];
  size_t count = samples(s);
  for (size_t i = 0; i < count; i++) {
    if (!s[i].any_length) check_strict_length(s[i].kind, s[i].w);
  }
  check_render(LPH_TEXT, (wire){.len = 0}, "");
  check_render(LPH_BYTEA, (wire){.len = 0}, "\\x");
}

static void only_zero_and_one_are_booleans(void **state) {
  (void)state;
  check_render(LPH_BOOL, wire_of(1, 0), "f");
  for (uint64_t v = 2; v < 256; v++) check_refuse(LPH_BOOL, wire_of(1, v));
}

static void a_version_nobody_has_seen_is_refused(void **state) {
  (void)state;
  const lph_kind kinds[] = {LPH_JSONB, LPH_VERSIONED};
  for (size_t i = 0; i < lph_countof(kinds); i++) {
    check_refuse(kinds[i], (wire){.len = 0});
    check_refuse(kinds[i], text("\2{}"));
    check_refuse(kinds[i], text("{}"));
    check_render(kinds[i], text("\1"), "");
  }
}

static void numbers_at_their_limits(void **state) {
  (void)state;
  check_render(LPH_INT2, wire_of(2, 0x7FFF), "32767");
  check_render(LPH_INT4, wire_of(4, 0x7FFFFFFF), "2147483647");
  check_render(LPH_INT8, wire_of(8, INT64_MAX), "9223372036854775807");
  check_render(LPH_INT8, wire_of(8, UINT64_MAX), "-1");
  check_render(LPH_UINT4, wire_of(4, 0), "0");
  check_render(LPH_FLOAT4, wire_of(4, 0x7F800000), "Infinity");
  check_render(LPH_FLOAT4, wire_of(4, 1), "1e-45");
  check_render(LPH_FLOAT4, wire_of(4, 0x7FC00000), "NaN");
  check_render(LPH_FLOAT8, wire_of(8, 0xFFF0000000000000), "-Infinity");
  check_render(LPH_FLOAT8, wire_of(8, 0x8000000000000000), "-0");
  check_render(LPH_FLOAT8, wire_of(8, 0x7FEFFFFFFFFFFFFF), "1.7976931348623157e+308");
}

static void compound_kinds_are_not_scalars(void **state) {
  (void)state;
  for (int kind = LPH_ARRAY; kind <= LPH_OPAQUE; kind++) check_refuse((lph_kind)kind, long_zero(16));
  check_refuse((lph_kind)255, long_zero(16));
}

static void any_bytes_give_a_text_or_a_refusal(void **state) {
  (void)state;
  sample s[MOST];
  size_t count = samples(s);
  for (size_t i = 0; i < count; i++) check_hostile(s[i].kind, s[i].w, 2000);
}

static void lack_of_memory_is_told_and_leaves_nothing(void **state) {
  (void)state;
  sample s[MOST];
  size_t count = samples(s);
  for (size_t i = 0; i < count; i++) check_no_memory(s[i].kind, s[i].w, s[i].want);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_scalar_kind_is_rendered),
    cmocka_unit_test(a_length_that_does_not_fit_is_refused),
    cmocka_unit_test(only_zero_and_one_are_booleans),
    cmocka_unit_test(a_version_nobody_has_seen_is_refused),
    cmocka_unit_test(numbers_at_their_limits),
    cmocka_unit_test(compound_kinds_are_not_scalars),
    cmocka_unit_test(any_bytes_give_a_text_or_a_refusal),
    cmocka_unit_test(lack_of_memory_is_told_and_leaves_nothing),
  };
  return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
