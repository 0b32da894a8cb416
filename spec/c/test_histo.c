/* The histogram of durations: every duration lies in the one bucket whose borders enclose it, sums and the longest are
 * kept, and nothing that a clock cannot say writes beside the buckets.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "base/histo.h"

/* The bucket that this duration is counted in. */
static int bucket_of(double seconds) {
  lph_histo h = {{0}, 0, 0, 0};
  lph_histo_add(&h, seconds);
  int found = -1;
  for (int k = 0; k < LPH_HISTO_BUCKETS; k++) {
    if (h.bucket[k] == 0) continue;
    assert_int_equal(h.bucket[k], 1);
    assert_int_equal(found, -1);
    found = k;
  }
  assert_int_not_equal(found, -1);
  assert_int_equal(h.count, 1);
  return found;
}

static void borders_double_from_a_microsecond(void **state) {
  (void)state;
  assert_true(lph_histo_border(0) == 1e-6);
  for (int k = 1; k < LPH_HISTO_BUCKETS - 1; k++)
    assert_true(lph_histo_border(k) == 2 * lph_histo_border(k - 1));
  assert_true(fabs(lph_histo_border(LPH_HISTO_BUCKETS - 2) - 16.777216) < 1e-9);
  assert_true(isinf(lph_histo_border(LPH_HISTO_BUCKETS - 1)));
}

static void a_border_belongs_to_the_bucket_above_it(void **state) {
  (void)state;
  for (int k = 0; k < LPH_HISTO_BUCKETS - 1; k++) {
    double border = lph_histo_border(k);
    assert_int_equal(bucket_of(border * (1 - 1e-12)), k);
    assert_int_equal(bucket_of(border), k + 1);
    assert_int_equal(bucket_of(border * (1 + 1e-12)), k + 1);
  }
}

static void every_duration_lies_between_the_borders_of_its_bucket(void **state) {
  (void)state;
  int last = 0;
  for (double seconds = 1e-9; seconds < 100; seconds *= 1.0173) {
    int k = bucket_of(seconds);
    assert_true(seconds < lph_histo_border(k));
    assert_true(k == 0 || seconds >= lph_histo_border(k - 1));
    assert_true(k >= last);
    last = k;
  }
  assert_int_equal(last, LPH_HISTO_BUCKETS - 1);
}

static void what_no_clock_says_is_counted_all_the_same(void **state) {
  (void)state;
  assert_int_equal(bucket_of(0), 0);
  assert_int_equal(bucket_of(-1), 0);
  assert_int_equal(bucket_of(-INFINITY), 0);
  assert_int_equal(bucket_of(DBL_TRUE_MIN), 0);
  assert_int_equal(bucket_of(NAN), 0);
  assert_int_equal(bucket_of(DBL_MAX), LPH_HISTO_BUCKETS - 1);
  assert_int_equal(bucket_of(INFINITY), LPH_HISTO_BUCKETS - 1);
  lph_histo h = {{0}, 0, 0, 0};
  lph_histo_add(&h, -3);
  lph_histo_add(&h, NAN);
  assert_true(h.sum == 0 && h.max == 0);
}

static void sum_count_and_the_longest_are_kept(void **state) {
  (void)state;
  lph_histo h = {{0}, 0, 0, 0};
  double sum = 0;
  for (int i = 1; i <= 1000; i++) {
    double seconds = (i * 389 % 1000) / 4096.0; /* exact in binary: the sum has no rounding */
    lph_histo_add(&h, seconds);
    sum += seconds;
  }
  assert_int_equal(h.count, 1000);
  assert_true(h.sum == sum);
  assert_true(h.max == 999 / 4096.0);
  uint64_t counted = 0;
  for (int k = 0; k < LPH_HISTO_BUCKETS; k++) counted += h.bucket[k];
  assert_int_equal(counted, 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(borders_double_from_a_microsecond),
    cmocka_unit_test(a_border_belongs_to_the_bucket_above_it),
    cmocka_unit_test(every_duration_lies_between_the_borders_of_its_bucket),
    cmocka_unit_test(what_no_clock_says_is_counted_all_the_same),
    cmocka_unit_test(sum_count_and_the_longest_are_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
