/* The pool's state machine, rule by rule: how it grows, what resize, refresh and closing do to all that is under way,
 * and that a lack of memory changes nothing.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pool_fixture.h"

/* ---- growing --------------------------------------------------------------------------------------------- */

static int attempts_at_once(int max, int waiters) {
  open_pool((lph_pool_options){.max = max});
  pool.proven = true;
  pool.proven_at = now;
  for (int i = 0; i < waiters; i++) lph_pool_enqueue(&pool, now);
  int n = 0;
  while (lph_pool_grow(&pool, now) > 0) n++;
  assert_true(lph_pool_grow_at(&pool, now) == 0); /* until one of them ends */
  assert_int_equal(pool.connecting, n);
  check_sound(max);
  close_pool();
  return n;
}

static void attempts_at_once_are_a_quarter_of_max_and_no_more_than_are_needed(void **state) {
  (void)state;
  assert_int_equal(attempts_at_once(1, 50), 1);
  assert_int_equal(attempts_at_once(7, 50), 1);
  assert_int_equal(attempts_at_once(8, 50), 2);
  assert_int_equal(attempts_at_once(15, 50), 3);
  assert_int_equal(attempts_at_once(40, 50), 10);
  assert_int_equal(attempts_at_once(40, 4), 4);
  assert_int_equal(attempts_at_once(40, 0), 0);
}

static void until_there_was_a_connection_one_attempt_at_a_time_asks(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 40});
  for (int i = 0; i < 30; i++) lph_pool_enqueue(&pool, now);
  int first = lph_pool_grow(&pool, now);
  assert_true(first > 0);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  lph_pool_stillborn(&pool, first, now);
  now += 10;
  first = lph_pool_grow(&pool, now);
  assert_true(first > 0);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  assert_true(lph_pool_born(&pool, first, now) > 0);
  for (int i = 0; i < 10; i++) assert_true(lph_pool_grow(&pool, now) > 0);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  check_sound(40);
  close_pool();
}

static void what_was_right_a_while_ago_one_attempt_asks_first(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 16});
  lph_pool_enqueue(&pool, now);
  assert_true(lph_pool_born(&pool, lph_pool_grow(&pool, now), now) > 0);
  now += 60; /* meanwhile the password may have changed */
  for (int i = 0; i < 10; i++) lph_pool_enqueue(&pool, now);
  int first = lph_pool_grow(&pool, now);
  assert_true(first > 0);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  assert_true(lph_pool_born(&pool, first, now) > 0);
  for (int i = 0; i < 4; i++) assert_true(lph_pool_grow(&pool, now) > 0);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  check_sound(16);
  close_pool();
}

static void after_a_failure_one_attempt_at_a_time_asks_again(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 16});
  pool.proven = true;
  pool.proven_at = now;
  for (int i = 0; i < 10; i++) lph_pool_enqueue(&pool, now);
  int slots[4];
  for (int i = 0; i < 4; i++) slots[i] = lph_pool_grow(&pool, now);
  lph_pool_stillborn(&pool, slots[0], now);
  assert_int_equal(lph_pool_slot(&pool, slots[0])->state, LPH_SLOT_EMPTY);
  now += 10; /* the pause is over, but three are still under way */
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  assert_true(lph_pool_grow_at(&pool, now) == 0);
  double pause = pool.pause;
  for (int i = 1; i < 4; i++) lph_pool_stillborn(&pool, slots[i], now);
  assert_true(pool.pause == pause); /* one trouble, one step */
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  now = lph_pool_grow_at(&pool, now);
  assert_true(now == START + 10 + pause);
  int probe = lph_pool_grow(&pool, now);
  assert_true(probe > 0);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  assert_true(lph_pool_born(&pool, probe, now) > 0);
  for (int i = 0; i < 4; i++) assert_true(lph_pool_grow(&pool, now) > 0);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  assert_int_equal(pool.count.connect_failed, 4);
  check_sound(16);
  close_pool();
}

/* One pause after another, as long as the server is away. */
static double fail_once(void) {
  int slot;
  assert_int_equal(lph_pool_chore(&pool, now, &slot), LPH_CHORE_CONNECT);
  now += 0.001;
  lph_pool_stillborn(&pool, slot, now);
  double at = lph_pool_grow_at(&pool, now), pause = at - now;
  assert_true(lph_pool_chore_at(&pool, now) == at);
  assert_int_equal(lph_pool_grow(&pool, now + pause * 0.999), LPH_POOL_NONE);
  now = at;
  return pause;
}

static void pauses_grow_from_50_ms_to_5_s_with_jitter_and_end_with_a_success(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1, .min = 1});
  double first_least = 1, first_most = 0, sum = 0;
  for (int round = 0; round < 200; round++) {
    double before = fail_once();
    assert_true(before >= 0.05 - 1e-9 && before <= 0.15 + 1e-9);
    if (before < first_least) first_least = before;
    if (before > first_most) first_most = before;
    for (int i = 0; i < 50; i++) {
      double pause = fail_once();
      assert_true(pause >= 0.05 - 1e-9 && pause <= 5 + 1e-9 && pause <= 3 * before + 1e-9);
      if (i >= 10) sum += pause;
      before = pause;
    }
    int slot;
    assert_int_equal(lph_pool_chore(&pool, now, &slot), LPH_CHORE_CONNECT);
    assert_int_equal(lph_pool_born(&pool, slot, now), LPH_POOL_NONE);
    lph_pool_drop(&pool, slot);
  }
  assert_true(first_least < 0.055 &&
              first_most > 0.145); /* a herd of pools is spread from the first failure on */
  double mean = sum / (200 * 40);
  assert_true(mean > 1 && mean < 3);
  close_pool();
}

/* ---- live changes ------------------------------------------------------------------------------------------ */

static void resize_up_lets_waiters_grow_at_once(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  int slots[1];
  borrow_new(1, slots);
  int ticket = lph_pool_enqueue(&pool, now);
  assert_true(lph_pool_chore_at(&pool, now) == 0);
  resize((lph_pool_options){.max = 5});
  assert_true(lph_pool_grow_at(&pool, now) == 0); /* no pause lasts */
  assert_true(lph_pool_chore_at(&pool, now) == now);
  int slot = lph_pool_grow(&pool, now);
  assert_int_not_equal(slot, slots[0]);
  assert_int_equal(lph_pool_born(&pool, slot, now), ticket);
  int more[3];
  lph_pool_leave(&pool, ticket, now);
  borrow_new(3, more);
  assert_int_equal(lph_pool_slot(&pool, 5)->state, LPH_SLOT_USED);
  check_sound(5);
  close_pool();
}

static void resize_down_closes_what_is_over_and_not_one_more(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 8});
  int slots[8], idle[4];
  borrow_new(8, slots);
  for (int i = 0; i < 4; i++) assert_int_equal(lph_pool_give(&pool, slots[i], now += 1), LPH_POOL_NONE);
  resize((lph_pool_options){.max = 5});
  for (int i = 0; i < 3; i++) { /* none is dropped yet: closing takes its time */
    assert_true(lph_pool_chore_at(&pool, now) == now);
    assert_int_equal(lph_pool_chore(&pool, now, &idle[i]), LPH_CHORE_CLOSE);
  }
  expect_chore(LPH_CHORE_NONE, 0);
  for (int i = 4; i < 8; i++) assert_int_equal(lph_pool_give(&pool, slots[i], now), LPH_POOL_NONE);
  for (int i = 0; i < 3; i++) lph_pool_drop(&pool, idle[i]);
  assert_int_equal(pool.idle_count, 5);
  check_sound(5);
  for (int i = 0; i < 5; i++) slots[i] = take(LPH_DUE_NOTHING);
  resize((lph_pool_options){.max = 3});
  int ticket = lph_pool_enqueue(&pool, now);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_RETIRE);
  assert_int_equal(lph_pool_give(&pool, slots[1], now), LPH_POOL_RETIRE);
  assert_int_equal(lph_pool_give(&pool, slots[2], now), ticket);
  lph_pool_drop(&pool, slots[0]);
  lph_pool_drop(&pool, slots[1]);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  check_sound(3);
  close_pool();
}

static void what_was_to_go_may_stay_when_max_is_raised_again(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 2});
  int slots[2];
  borrow_new(2, slots);
  resize((lph_pool_options){.max = 1});
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_RETIRE);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_RETIRE); /* still the same one too many */
  assert_int_equal(lph_pool_give(&pool, slots[1], now), LPH_POOL_NONE);
  resize((lph_pool_options){.max = 2});
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  assert_int_equal(pool.idle_count, 2);
  check_sound(2);
  close_pool();
}

static void born_after_max_was_lowered_it_goes(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 2});
  int slots[1];
  borrow_new(1, slots);
  int ticket = lph_pool_enqueue(&pool, now);
  int slot = lph_pool_grow(&pool, now);
  resize((lph_pool_options){.max = 1});
  assert_int_equal(lph_pool_born(&pool, slot, now), LPH_POOL_RETIRE);
  lph_pool_drop(&pool, slot);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), ticket);
  check_sound(1);
  close_pool();
}

static void new_lifetimes_hold_for_old_connections(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 2});
  int slots[2];
  borrow_new(2, slots);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  now += 50;
  resize((lph_pool_options){.max = 2, .max_lifetime = 60});
  expect_next_chore_at(START + 60);
  expect_chore(LPH_CHORE_CLOSE, slots[0]);
  assert_int_equal(lph_pool_give(&pool, slots[1], now), LPH_POOL_RETIRE);
  resize((lph_pool_options){.max = 2});
  assert_int_equal(lph_pool_give(&pool, slots[1], now), LPH_POOL_NONE);
  double expires = lph_pool_slot(&pool, slots[1])->expires;
  resize((lph_pool_options){.max = 2, .max_uses = 9}); /* what is not about lifetimes draws no new ones */
  assert_true(lph_pool_slot(&pool, slots[1])->expires == expires);
  close_pool();
}

static void refresh_replaces_all_that_are_and_all_that_are_under_way(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 12});
  int slots[2];
  borrow_new(2, slots);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  int taken = take(LPH_DUE_NOTHING);
  int ticket = lph_pool_enqueue(&pool, now);
  int early = lph_pool_grow(&pool, now);
  assert_int_equal(lph_pool_give(&pool, taken, now), ticket);
  lph_pool_leave(&pool, ticket, now);
  ticket = lph_pool_enqueue(&pool, now);
  lph_pool_refresh(&pool);
  assert_int_equal(lph_pool_give(&pool, taken, now), LPH_POOL_RETIRE);
  assert_int_equal(lph_pool_born(&pool, early, now), LPH_POOL_RETIRE); /* its connect began before */
  lph_pool_drop(&pool, early);
  lph_pool_drop(&pool, taken);
  int late = lph_pool_grow(&pool, now);
  assert_int_equal(lph_pool_born(&pool, late, now), ticket);
  assert_int_equal(lph_pool_give(&pool, late, now), LPH_POOL_NONE);
  expect_chore(LPH_CHORE_NONE, 0);
  lph_pool_refresh(&pool);
  expect_chore(LPH_CHORE_CLOSE, late); /* what is idle goes at once */
  assert_int_equal(lph_pool_give(&pool, slots[1], now), LPH_POOL_RETIRE);
  check_sound(12);
  close_pool();
}

static void closing_lends_nothing_and_keeps_nothing(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 16, .min = 16});
  int slots[3], slot;
  borrow_new(3, slots);
  for (int i = 0; i < 2; i++) assert_int_equal(lph_pool_give(&pool, slots[i], now += 1), LPH_POOL_NONE);
  assert_int_equal(lph_pool_chore(&pool, now, &slot), LPH_CHORE_CONNECT);
  pool.closing = true;
  assert_int_equal(take(LPH_DUE_RETIRE), slots[1]);
  expect_chore(LPH_CHORE_CLOSE, slots[0]);
  assert_int_equal(lph_pool_born(&pool, slot, now), LPH_POOL_RETIRE);
  assert_int_equal(lph_pool_slot(&pool, slot)->state, LPH_SLOT_TENDED);
  int ticket = lph_pool_enqueue(&pool, now); /* too late: nobody will serve it */
  assert_int_equal(lph_pool_give(&pool, slots[2], now), LPH_POOL_RETIRE);
  assert_int_equal(lph_pool_dismiss(&pool), ticket);
  lph_pool_drop(&pool, slot);
  for (int i = 0; i < 3; i++) lph_pool_drop(&pool, slots[i]);
  assert_int_equal(lph_pool_total(&pool), 0);
  assert_int_equal(pool.count.closed, pool.count.connected);
  expect_chore(LPH_CHORE_NONE, 0);
  assert_true(lph_pool_chore_at(&pool, now) == 0);
  check_sound(16);
  close_pool();
}

static void dropping_what_never_connected_closes_nothing(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1, .min = 1});
  int slot = lph_pool_grow(&pool, now);
  lph_pool_drop(&pool, slot); /* a fork: the child forgets it */
  lph_pool_drop(&pool, slot);
  assert_int_equal(pool.count.closed, 0);
  check_sound(1);
  close_pool();
}

/* ---- out of memory -------------------------------------------------------------------------------------------- */

static lph_pool picture(void) { /* all but where the arrays lie */
  lph_pool copy = pool;
  copy.slots = NULL;
  copy.tickets = NULL;
  return copy;
}

static void without_memory_a_pool_does_not_open(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  lph_pool_options options = {.max = 5};
  for (long n = 1; n <= 6; n++) {
    lph_mem_fail_at(n, false);
    assert_int_equal(lph_pool_init(&pool, &options, 1), LPH_ENOMEM);
    lph_mem_fail_at(0, false);
    close_pool();
  }
  lph_mem_fail_at(7, false);
  assert_int_equal(lph_pool_init(&pool, &options, 1), LPH_OK);
  assert_false(lph_mem_failed());
  lph_mem_fail_at(0, false);
  close_pool();
}

static void without_memory_resize_and_enqueue_change_nothing(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  open_pool((lph_pool_options){.max = 3, .max_lifetime = 100, .jitter = 0.5});
  int slots[2];
  borrow_new(2, slots);
  lph_pool_enqueue(&pool, now); /* the ticket that borrow_new has used */
  lph_pool before = picture();
  double expires = lph_pool_slot(&pool, slots[0])->expires;
  lph_pool_options larger = {.max = 9, .max_lifetime = 50, .jitter = 0.5};
  for (long n = 1; n <= 7; n++) {
    long blocks = lph_mem_live();
    lph_mem_fail_at(n, false);
    assert_int_equal(lph_pool_resize(&pool, &larger), LPH_ENOMEM);
    lph_mem_fail_at(n < 3 ? n : 2, false); /* the array of tickets, the ticket */
    assert_int_equal(lph_pool_enqueue(&pool, now), LPH_POOL_NO_MEMORY);
    lph_mem_fail_at(0, false);
    lph_pool after = picture();
    assert_memory_equal(&before, &after, sizeof before);
    assert_true(lph_pool_slot(&pool, slots[0])->expires == expires);
    assert_int_equal(lph_mem_live(), blocks);
    check_sound(3);
  }
  resize(larger);
  assert_true(lph_pool_enqueue(&pool, now) > 0);
  assert_int_equal(pool.slot_room, 9);
  check_sound(9);
  close_pool();
}

static void nothing_but_opening_resizing_and_waiting_needs_memory(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  open_pool((lph_pool_options){.max = 4, .keepalive = 10, .max_lifetime = 40});
  lph_pool_leave(&pool, lph_pool_enqueue(&pool, now), now);
  lph_mem_fail_at(1, true);
  int slots[4];
  have_idle(4, slots); /* one ticket, used again and again */
  expect_next_chore_at(START + 11);
  expect_chore(LPH_CHORE_PING, slots[0]);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  lph_pool_refresh(&pool);
  expect_chore(LPH_CHORE_CLOSE, 0);
  resize((lph_pool_options){.max = 2});
  assert_false(lph_mem_failed());
  lph_mem_fail_at(0, false);
  close_pool();
}

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(until_there_was_a_connection_one_attempt_at_a_time_asks),
    TEST(attempts_at_once_are_a_quarter_of_max_and_no_more_than_are_needed),
    TEST(what_was_right_a_while_ago_one_attempt_asks_first),
    TEST(after_a_failure_one_attempt_at_a_time_asks_again),
    TEST(pauses_grow_from_50_ms_to_5_s_with_jitter_and_end_with_a_success),
    TEST(resize_up_lets_waiters_grow_at_once),
    TEST(resize_down_closes_what_is_over_and_not_one_more),
    TEST(what_was_to_go_may_stay_when_max_is_raised_again),
    TEST(born_after_max_was_lowered_it_goes),
    TEST(new_lifetimes_hold_for_old_connections),
    TEST(refresh_replaces_all_that_are_and_all_that_are_under_way),
    TEST(closing_lends_nothing_and_keeps_nothing),
    TEST(dropping_what_never_connected_closes_nothing),
    TEST(without_memory_a_pool_does_not_open),
    TEST(without_memory_resize_and_enqueue_change_nothing),
    TEST(nothing_but_opening_resizing_and_waiting_needs_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
