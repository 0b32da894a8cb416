/* Time and deadlines: the clock goes forward at its proper pace, a deadline is not passed too early, and a
 * poll never wakes before it.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <limits.h>
#include <poll.h>
#include <time.h>

#include "base/clock.h"

static void the_clock_is_monotonic_and_in_seconds(void **state) {
  (void)state;
  double last = lph_now();
  assert_true(last > 0);
  for (int i = 0; i < 100000; i++) {
    double now = lph_now();
    assert_true(now >= last);
    last = now;
  }
  struct timespec t, pause = {0, 20 * 1000 * 1000};
  double before = lph_now();
  nanosleep(&pause, NULL);
  double passed = lph_now() - before;
  assert_true(passed >= 0.0199 && passed < 5);
  clock_gettime(CLOCK_MONOTONIC, &t);
  double difference = lph_now() - ((double)t.tv_sec + (double)t.tv_nsec / 1e9);
  assert_true(difference >= 0 && difference < 1);
}

static void a_deadline_is_as_far_away_as_was_said(void **state) {
  (void)state;
  double before = lph_now(), deadline = lph_deadline(2.5), after = lph_now();
  assert_true(deadline >= before + 2.5 && deadline <= after + 2.5);
  assert_false(lph_is_past(deadline));
  assert_true(lph_is_past(lph_deadline(0)));
  assert_true(lph_is_past(lph_now() - 1));
  assert_true(lph_deadline(-1) == LPH_NEVER);
  assert_true(lph_deadline(-0.001) == LPH_NEVER);
  assert_false(lph_is_past(LPH_NEVER));
}

static void the_sooner_of_two_wins_and_never_is_last(void **state) {
  (void)state;
  assert_true(lph_sooner(1, 2) == 1);
  assert_true(lph_sooner(2, 1) == 1);
  assert_true(lph_sooner(0, 1) == 0);
  assert_true(lph_sooner(LPH_NEVER, 5) == 5);
  assert_true(lph_sooner(5, LPH_NEVER) == 5);
  assert_true(lph_sooner(LPH_NEVER, LPH_NEVER) < 0);
}

static void poll_times_are_rounded_up_and_bounded(void **state) {
  (void)state;
  assert_int_equal(lph_poll_ms(LPH_NEVER), -1);
  assert_int_equal(lph_poll_ms(lph_now() - 5), 0);
  int ms = lph_poll_ms(lph_deadline(1.5));
  assert_true(ms > 1000 && ms <= 1501);
  assert_true(lph_poll_ms(lph_deadline(0.0001)) >= 0);
  assert_int_equal(lph_poll_ms(lph_deadline(1e12)), INT_MAX); /* further than an int of milliseconds */
  assert_int_equal(lph_poll_ms(lph_deadline(1e300)), INT_MAX);
}

static void a_poll_does_not_wake_before_its_deadline(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    double deadline = lph_deadline(0.0015 + i * 0.0003);
    poll(NULL, 0, lph_poll_ms(deadline));
    assert_true(lph_is_past(deadline));
    assert_int_equal(lph_poll_ms(deadline), 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_clock_is_monotonic_and_in_seconds),
    cmocka_unit_test(a_deadline_is_as_far_away_as_was_said),
    cmocka_unit_test(the_sooner_of_two_wins_and_never_is_last),
    cmocka_unit_test(poll_times_are_rounded_up_and_bounded),
    cmocka_unit_test(a_poll_does_not_wake_before_its_deadline),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
