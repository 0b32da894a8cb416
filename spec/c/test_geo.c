/* Geometric types and the types of system columns: brackets, floats and counts.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "wire.h"

static wire floats(wire w, const double *value, size_t count) {
  for (size_t i = 0; i < count; i++) wire_float(&w, value[i]);
  return w;
}

static const double corner[] = {1.5, -2, 0, 1e21};

static wire polygon(uint32_t count, size_t given) {
  wire w = wire_of(4, count);
  for (size_t i = 0; i < given; i++) w = floats(w, corner, 2);
  return w;
}

static wire path(int closed, uint32_t count, size_t given) {
  wire w = wire_of(1, (uint64_t)closed);
  wire_int(&w, 4, count);
  for (size_t i = 0; i < given; i++) w = floats(w, corner, 2);
  return w;
}

static const wire empty = {.len = 0};

static void each_shape_has_its_own_brackets(void **state) {
  (void)state;
  check_render(LPH_POINT, floats(empty, corner, 2), "(1.5,-2)");
  check_render(LPH_LSEG, floats(empty, corner, 4), "[(1.5,-2),(0,1e+21)]");
  check_render(LPH_BOX, floats(empty, corner, 4), "(1.5,-2),(0,1e+21)");
  check_render(LPH_LINE, floats(empty, corner, 3), "{1.5,-2,0}");
  check_render(LPH_CIRCLE, floats(empty, corner, 3), "<(1.5,-2),0>");
  check_render(LPH_POLYGON, polygon(1, 1), "((1.5,-2))");
  check_render(LPH_POLYGON, polygon(2, 2), "((1.5,-2),(1.5,-2))");
}

static void a_path_says_whether_it_is_closed(void **state) {
  (void)state;
  check_render(LPH_PATH, path(1, 2, 2), "((1.5,-2),(1.5,-2))");
  check_render(LPH_PATH, path(0, 2, 2), "[(1.5,-2),(1.5,-2)]");
  check_render(LPH_PATH, path(0, 1, 1), "[(1.5,-2)]");
  check_refuse(LPH_PATH, path(2, 1, 1));
}

static void coordinates_are_the_shortest_exact_text(void **state) {
  (void)state;
  check_render(LPH_POINT, floats(empty, (double[]){NAN, INFINITY}, 2), "(NaN,Infinity)");
  check_render(LPH_POINT, floats(empty, (double[]){-INFINITY, -0.0}, 2), "(-Infinity,-0)");
  check_render(LPH_POINT, floats(empty, (double[]){0.1, 5e-324}, 2), "(0.1,5e-324)");
  check_render(LPH_POINT, floats(empty, (double[]){1e15, 0.0001}, 2), "(1e+15,0.0001)");
  check_render(LPH_POINT, floats(empty, (double[]){123456789012345.0, 1.7976931348623157e308}, 2),
               "(123456789012345,1.7976931348623157e+308)");
}

static void a_count_that_is_not_true_is_refused(void **state) {
  (void)state;
  check_refuse(LPH_POLYGON, polygon(0, 0));
  check_refuse(LPH_POLYGON, polygon(2, 1));
  check_refuse(LPH_POLYGON, polygon(1, 2));
  /* 2^28 points are 2^32 bytes: a product in 32 bits would be 0. */
  check_refuse(LPH_POLYGON, polygon(1u << 28, 0));
  check_refuse(LPH_POLYGON, polygon((1u << 28) + 1, 1));
  check_refuse(LPH_POLYGON, polygon(UINT32_MAX, 1));
  check_refuse(LPH_PATH, path(1, 0, 0));
  check_refuse(LPH_PATH, path(1, 3, 2));
  check_strict_length(LPH_POLYGON, polygon(2, 2));
  check_strict_length(LPH_PATH, path(0, 2, 2));
  check_strict_length(LPH_POINT, floats(empty, corner, 2));
  check_strict_length(LPH_LSEG, floats(empty, corner, 4));
  check_strict_length(LPH_BOX, floats(empty, corner, 4));
  check_strict_length(LPH_LINE, floats(empty, corner, 3));
  check_strict_length(LPH_CIRCLE, floats(empty, corner, 3));
}

static void system_column_types(void **state) {
  (void)state;
  check_render(LPH_LSN, wire_of(8, 0), "0/0");
  check_render(LPH_LSN, wire_of(8, 0x16B374D848), "16/B374D848");
  check_render(LPH_LSN, wire_of(8, UINT64_MAX), "FFFFFFFF/FFFFFFFF");
  check_render(LPH_LSN, wire_of(8, 0x10000000000F), "1000/F");
  check_render(LPH_TID, wire_of(6, 0), "(0,0)");
  check_render(LPH_TID, wire_of(6, 0xFFFFFFFFFFFF), "(4294967295,65535)");
  check_render(LPH_UINT8, wire_of(8, 0), "0");
  check_render(LPH_UINT8, wire_of(8, UINT64_MAX), "18446744073709551615");
  check_render(LPH_UINT8, wire_of(8, UINT64_C(1) << 63), "9223372036854775808");
  check_strict_length(LPH_LSN, wire_of(8, 1));
  check_strict_length(LPH_TID, wire_of(6, 1));
  check_strict_length(LPH_UINT8, wire_of(8, 1));
}

static void any_bytes_give_a_text_or_a_refusal(void **state) {
  (void)state;
  check_hostile(LPH_PATH, path(1, 3, 3), 20000);
  check_hostile(LPH_POLYGON, polygon(3, 3), 20000);
  check_hostile(LPH_CIRCLE, floats(empty, corner, 3), 5000);
  check_hostile(LPH_LINE, floats(empty, corner, 3), 5000);
  check_hostile(LPH_LSEG, floats(empty, corner, 4), 5000);
  check_hostile(LPH_TID, wire_of(6, 1), 2000);
}

static void lack_of_memory_is_told_and_leaves_nothing(void **state) {
  (void)state;
  /* Long enough for the buffer to grow several times: a failure in the middle has text to take back. */
  wire w = path(0, 8, 0);
  const double third[] = {1 / 3.0, -1e-300 / 3};
  char want[512] = "[";
  for (int i = 0; i < 8; i++) {
    w = floats(w, third, 2);
    strcat(want, i > 0 ? ",(" : "(");
    strcat(want, "0.3333333333333333,-3.3333333333333334e-301)");
  }
  strcat(want, "]");
  check_no_memory(LPH_PATH, w, want);
  check_no_memory(LPH_LINE, floats(empty, corner, 3), "{1.5,-2,0}");
  check_no_memory(LPH_CIRCLE, floats(empty, corner, 3), "<(1.5,-2),0>");
  check_no_memory(LPH_LSN, wire_of(8, 1), "0/1");
  check_no_memory(LPH_TID, wire_of(6, 1), "(0,1)");
  check_no_memory(LPH_UINT8, wire_of(8, 1), "1");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_shape_has_its_own_brackets),
    cmocka_unit_test(a_path_says_whether_it_is_closed),
    cmocka_unit_test(coordinates_are_the_shortest_exact_text),
    cmocka_unit_test(a_count_that_is_not_true_is_refused),
    cmocka_unit_test(system_column_types),
    cmocka_unit_test(any_bytes_give_a_text_or_a_refusal),
    cmocka_unit_test(lack_of_memory_is_told_and_leaves_nothing),
  };
  return cmocka_run_group_tests_name("geo", tests, NULL, NULL);
}
