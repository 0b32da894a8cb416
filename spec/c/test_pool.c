/* The pool's state machine, rule by rule: what each option does, and who is served when. Growth and changes while it
 * runs are in test_pool_change.c, random interleavings of all of this in test_pool_property.c.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pool_fixture.h"

/* ---- options ----------------------------------------------------------------------------------------- */

static void it_grows_to_max_and_no_further(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 3});
  int slots[3];
  borrow_new(3, slots);
  for (int i = 0; i < 3; i++) assert_int_equal(lph_pool_slot(&pool, slots[i])->state, LPH_SLOT_USED);
  assert_true(slots[0] != slots[1] && slots[1] != slots[2] && slots[0] != slots[2]);
  assert_int_equal(lph_pool_total(&pool), 3);
  int ticket = lph_pool_enqueue(&pool, now);
  assert_int_equal(lph_pool_grow(&pool, now), LPH_POOL_NONE);
  expect_chore(LPH_CHORE_NONE, 0);
  assert_int_equal(lph_pool_served(&pool, ticket), LPH_POOL_NONE);
  assert_null(lph_pool_slot(&pool, 0));
  assert_null(lph_pool_slot(&pool, 4));
  check_sound(3);
  close_pool();
}

static void min_is_filled_and_refilled_without_a_borrower(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 16, .min = 3});
  pool.proven = true;
  pool.proven_at = now;
  int slot, slots[3];
  for (int i = 0; i < 3; i++) { /* side by side, as the cap of 16 / 4 allows */
    assert_true(lph_pool_chore_at(&pool, now) == now);
    assert_int_equal(lph_pool_chore(&pool, now, &slots[i]), LPH_CHORE_CONNECT);
  }
  expect_chore(LPH_CHORE_NONE, 0);
  for (int i = 0; i < 3; i++) assert_int_equal(lph_pool_born(&pool, slots[i], now), LPH_POOL_NONE);
  assert_int_equal(pool.idle_count, 3);
  assert_true(lph_pool_chore_at(&pool, now) == 0);
  lph_pool_drop(&pool, slots[1]);
  expect_chore(LPH_CHORE_CONNECT, 0);
  expect_chore(LPH_CHORE_NONE, 0);
  resize((lph_pool_options){.max = 2, .min = 3}); /* max is stronger */
  assert_int_equal(lph_pool_chore(&pool, now, &slot), LPH_CHORE_CLOSE);
  check_sound(3);
  close_pool();
}

static void max_waiting_bounds_the_queue(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1, .max_waiting = 2});
  int a = lph_pool_enqueue(&pool, now), b = lph_pool_enqueue(&pool, now);
  assert_true(a > 0 && b > 0 && a != b);
  assert_int_equal(lph_pool_enqueue(&pool, now), LPH_POOL_FULL);
  assert_int_equal(pool.count.refused, 1);
  assert_int_equal(pool.count.waited, 2);
  lph_pool_leave(&pool, a, now);
  assert_true(lph_pool_enqueue(&pool, now) > 0);
  resize((lph_pool_options){.max = 1, .max_waiting = 1}); /* those who wait stay */
  assert_int_equal(pool.waiting, 2);
  assert_int_equal(lph_pool_enqueue(&pool, now), LPH_POOL_FULL);
  resize((lph_pool_options){.max = 1});
  assert_true(lph_pool_enqueue(&pool, now) > 0);
  close_pool();
}

static void no_more_tickets_is_a_full_queue_and_no_lack_of_memory(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  for (int i = 1; i <= LPH_POOL_MAX; i++) assert_int_equal(lph_pool_enqueue(&pool, now), i);
  assert_int_equal(lph_pool_enqueue(&pool, now), LPH_POOL_FULL);
  assert_int_equal(pool.count.refused, 1);
  lph_pool_leave(&pool, 77, now);
  assert_int_equal(lph_pool_enqueue(&pool, now), 77);
  assert_int_equal(lph_pool_enqueue(&pool, now), LPH_POOL_FULL);
  close_pool();
}

static void idle_timeout_shrinks_to_min_whoever_is_idle_longest_first(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 6, .min = 2, .idle_timeout = 60});
  int slots[6], slot;
  have_idle(6, slots); /* the first at START + 1, the last at START + 6 */
  for (int i = 0; i < 4; i++) {
    expect_next_chore_at(START + 61 + i);
    expect_chore(LPH_CHORE_CLOSE, slots[i]);
    if (i % 2 == 0) lph_pool_drop(&pool, slots[i]); /* two stay under way: they must not count */
  }
  assert_true(lph_pool_chore_at(&pool, now) == 0);
  now += 1e6;
  assert_int_equal(lph_pool_chore(&pool, now, &slot), LPH_CHORE_NONE);
  lph_pool_drop(&pool, slots[1]);
  lph_pool_drop(&pool, slots[3]);
  assert_int_equal(pool.idle_count, 2);
  expect_chore(LPH_CHORE_NONE, 0);
  check_sound(6);
  close_pool();
}

static void idle_time_runs_from_the_last_use_and_no_ping_renews_it(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 2, .idle_timeout = 60, .keepalive = 25});
  int slots[1];
  have_idle(1, slots);
  now = START + 20;
  assert_int_equal(lph_pool_give(&pool, take(LPH_DUE_NOTHING), now), LPH_POOL_NONE);
  for (int i = 1; i <= 2; i++) {
    expect_next_chore_at(START + 20 + 25 * i);
    expect_chore(LPH_CHORE_PING, slots[0]);
    assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  }
  expect_next_chore_at(START + 80);
  expect_chore(LPH_CHORE_CLOSE, slots[0]);
  close_pool();
}

static void an_expired_connection_is_not_lent_or_kept(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 3, .max_lifetime = 100});
  int slots[3];
  borrow_new(3, slots);
  for (int i = 0; i < 3; i++) assert_true(lph_pool_slot(&pool, slots[i])->expires == START + 100);
  now = START + 99;
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  assert_int_equal(lph_pool_give(&pool, slots[1], now), LPH_POOL_NONE);
  expect_next_chore_at(START + 100);
  uint64_t borrowed = pool.count.borrowed;
  assert_int_equal(take(LPH_DUE_RETIRE), slots[1]); /* at borrowing: not lent, not counted as such */
  assert_int_equal(lph_pool_slot(&pool, slots[1])->state, LPH_SLOT_TENDED);
  assert_int_equal(pool.count.borrowed, borrowed);
  expect_chore(LPH_CHORE_CLOSE, slots[0]);                                /* by time */
  assert_int_equal(lph_pool_give(&pool, slots[2], now), LPH_POOL_RETIRE); /* on return */
  assert_int_equal(lph_pool_slot(&pool, slots[2])->state, LPH_SLOT_TENDED);
  for (int i = 0; i < 3; i++) lph_pool_drop(&pool, slots[i]);
  assert_int_equal(lph_pool_total(&pool), 0);
  assert_int_equal(pool.count.closed, 3);
  check_sound(3);
  close_pool();
}

/* Ten thousand lives, counted by tenths of the range that is promised. */
static void lifetimes_are_spread_over_the_promised_range(void **state) {
  (void)state;
  enum { BIRTHS = 10000 };
  open_pool((lph_pool_options){.max = 1, .min = 1, .max_lifetime = 1800, .jitter = 0.2});
  int tenth[10] = {0}, slot;
  for (int i = 0; i < BIRTHS; i++) {
    assert_int_equal(lph_pool_chore(&pool, now, &slot), LPH_CHORE_CONNECT);
    assert_int_equal(lph_pool_born(&pool, slot, now), LPH_POOL_NONE);
    double life = lph_pool_slot(&pool, slot)->expires - now;
    assert_true(life >= 1800 * 0.8 - 1e-6 && life <= 1800 + 1e-6);
    int k = (int)((1800 - life) / 36);
    tenth[k < 0 ? 0 : k > 9 ? 9 : k]++;
    now = lph_pool_chore_at(&pool, now);
    assert_true(now == lph_pool_slot(&pool, slot)->expires);
    assert_int_equal(lph_pool_chore(&pool, now, &slot), LPH_CHORE_CLOSE);
    lph_pool_drop(&pool, slot);
  }
  /* 1000 each, standard deviation sqrt(10000 * 0.1 * 0.9) = 30: five of them. */
  for (int k = 0; k < 10; k++) assert_in_range(tenth[k], 850, 1150);
  close_pool();
}

static void max_uses_ends_a_connection_on_return(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1, .max_uses = 3});
  int slots[1];
  borrow_new(1, slots);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  assert_int_equal(lph_pool_give(&pool, take(LPH_DUE_NOTHING), now), LPH_POOL_NONE);
  assert_int_equal(lph_pool_give(&pool, take(LPH_DUE_NOTHING), now), LPH_POOL_RETIRE);
  lph_pool_drop(&pool, slots[0]);
  borrow_new(1, slots); /* the next one in this slot begins at none */
  assert_int_equal(lph_pool_slot(&pool, slots[0])->uses, 1);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  assert_int_equal(pool.count.borrowed, 4);
  close_pool();
}

static void lifo_lends_the_last_used_and_fifo_the_longest_idle(void **state) {
  (void)state;
  for (int fifo = 0; fifo <= 1; fifo++) {
    open_pool((lph_pool_options){.max = 4, .fifo = fifo});
    int slots[4];
    have_idle(4, slots);
    for (int i = 0; i < 4; i++) assert_int_equal(take(LPH_DUE_NOTHING), slots[fifo ? i : 3 - i]);
    assert_int_equal(lph_pool_take(&pool, now, &due), LPH_POOL_NONE);
    close_pool();
  }
}

/* Otherwise keepalive would bring the stalest connection to the front, and nothing would ever shrink. */
static void a_ping_does_not_change_the_order_of_use(void **state) {
  (void)state;
  for (int fifo = 0; fifo <= 1; fifo++) {
    now = START;
    open_pool((lph_pool_options){.max = 4, .fifo = fifo, .keepalive = 30});
    int slots[4];
    have_idle(4, slots);
    for (int i = 0; i < 4; i++) {
      expect_next_chore_at(START + 31 + i);
      expect_chore(LPH_CHORE_PING, slots[i]);
      assert_int_equal(lph_pool_give(&pool, slots[i], now), LPH_POOL_NONE);
      check_sound(4);
    }
    for (int i = 0; i < 4; i++) assert_int_equal(take(LPH_DUE_NOTHING), slots[fifo ? i : 3 - i]);
    close_pool();
  }
}

static void a_check_is_due_only_after_check_after(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1, .check_after = 0.5});
  int slots[1];
  have_idle(1, slots);
  now += 0.5;
  assert_int_equal(lph_pool_give(&pool, take(LPH_DUE_NOTHING), now), LPH_POOL_NONE);
  now += 0.51;
  assert_int_equal(lph_pool_give(&pool, take(LPH_DUE_CHECK), now), LPH_POOL_NONE);
  now += 0.51;
  lph_pool_touch(&pool, slots[0], now); /* it has just answered */
  assert_int_equal(lph_pool_give(&pool, take(LPH_DUE_NOTHING), now), LPH_POOL_NONE);
  resize((lph_pool_options){.max = 1});
  now += 1e6;
  assert_int_equal(take(LPH_DUE_NOTHING), slots[0]);
  close_pool();
}

static void keepalive_pings_what_is_idle_and_only_that(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 2, .keepalive = 120});
  int slots[2];
  borrow_new(2, slots);
  assert_true(lph_pool_chore_at(&pool, now) == 0); /* both in use */
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  for (int i = 1; i <= 3; i++) {
    expect_next_chore_at(START + 120 * i);
    expect_chore(LPH_CHORE_PING, slots[0]);
    expect_chore(LPH_CHORE_NONE, 0);
    assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  }
  now += 119;
  lph_pool_touch(&pool, slots[0], now);
  expect_next_chore_at(START + 360 + 119 + 120);
  close_pool();
}

/* ---- waiters ------------------------------------------------------------------------------------------- */

static void waiters_are_served_in_order_and_no_newcomer_overtakes(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 2});
  int slots[2], tickets[5];
  borrow_new(2, slots);
  for (int i = 0; i < 5; i++) tickets[i] = lph_pool_enqueue(&pool, now);
  for (int i = 0; i < 5; i++) {
    assert_int_equal(lph_pool_give(&pool, slots[i % 2], now += 1), tickets[i]);
    assert_int_equal(lph_pool_take(&pool, now, &due), LPH_POOL_NONE);
    assert_int_equal(lph_pool_served(&pool, tickets[i]), slots[i % 2]);
    if (i < 4) assert_int_equal(lph_pool_served(&pool, tickets[i + 1]), LPH_POOL_NONE);
    assert_int_equal(lph_pool_leave(&pool, tickets[i], now), slots[i % 2]);
    assert_int_equal(lph_pool_served(&pool, tickets[i]), LPH_POOL_NONE); /* the ticket is over */
    assert_int_equal(lph_pool_leave(&pool, tickets[i], now), LPH_POOL_NONE);
    check_sound(2);
  }
  assert_int_equal(lph_pool_give(&pool, slots[0], now), LPH_POOL_NONE);
  assert_int_equal(take(LPH_DUE_NOTHING), slots[0]);
  close_pool();
}

static void who_leaves_unserved_loses_nothing_for_the_others(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  int slots[1];
  borrow_new(1, slots);
  int a = lph_pool_enqueue(&pool, now), b = lph_pool_enqueue(&pool, now), c = lph_pool_enqueue(&pool, now);
  assert_int_equal(lph_pool_leave(&pool, b, now), LPH_POOL_NONE);
  assert_int_equal(pool.waiting, 2);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), a);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), c);
  check_sound(1);
  close_pool();
}

/* Served and timed out in the same moment: what it was given must go on. */
static void who_leaves_served_hands_it_on(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  int slots[1];
  borrow_new(1, slots);
  int a = lph_pool_enqueue(&pool, now), b = lph_pool_enqueue(&pool, now);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), a);
  int slot = lph_pool_leave(&pool, a, now);
  assert_int_equal(slot, slots[0]);
  assert_int_equal(lph_pool_slot(&pool, slot)->state, LPH_SLOT_USED);
  assert_int_equal(lph_pool_give(&pool, slot, now), b);
  slot = lph_pool_leave(&pool, b, now);
  assert_int_equal(lph_pool_give(&pool, slot, now), LPH_POOL_NONE);
  assert_int_equal(pool.idle_count, 1);
  check_sound(1);
  close_pool();
}

/* Its waiter was found dead before he came for it. Whoever believes to act for him must not find it in his ticket: it
 * would be passed on while it is being cleaned, and have two owners. */
static void what_is_taken_away_from_a_waiter_is_not_his_any_more(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  int slots[1];
  borrow_new(1, slots);
  int a = lph_pool_enqueue(&pool, now), b = lph_pool_enqueue(&pool, now);
  assert_int_equal(lph_pool_promised(&pool, slots[0]), LPH_POOL_NONE);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), a);
  assert_int_equal(lph_pool_promised(&pool, slots[0]), a);
  lph_pool_tend(&pool, slots[0], now);
  assert_int_equal(lph_pool_promised(&pool, slots[0]), LPH_POOL_NONE);
  assert_int_equal(lph_pool_served(&pool, a), LPH_POOL_NONE);
  assert_int_equal(lph_pool_give(&pool, slots[0], now), b);
  assert_int_equal(lph_pool_leave(&pool, a, now), LPH_POOL_NONE);
  assert_int_equal(lph_pool_promised(&pool, slots[0]), b);
  assert_int_equal(lph_pool_leave(&pool, b, now), slots[0]);
  assert_int_equal(lph_pool_promised(&pool, slots[0]), LPH_POOL_NONE);
  lph_pool_drop(&pool, slots[0]);
  check_sound(1);
  close_pool();
}

static void who_is_dismissed_is_out_of_the_queue_but_keeps_the_ticket(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  int slots[1];
  borrow_new(1, slots);
  int a = lph_pool_enqueue(&pool, now), b = lph_pool_enqueue(&pool, now);
  assert_int_equal(lph_pool_dismiss(&pool), a);
  assert_int_equal(pool.waiting, 1);
  int c = lph_pool_enqueue(&pool, now);
  assert_int_not_equal(c, a); /* it is still held */
  assert_int_equal(lph_pool_give(&pool, slots[0], now), b);
  assert_int_equal(lph_pool_served(&pool, a), LPH_POOL_NONE);
  assert_int_equal(lph_pool_leave(&pool, a, now), LPH_POOL_NONE);
  assert_int_equal(pool.waiting, 1);
  assert_int_equal(lph_pool_dismiss(&pool), c);
  assert_int_equal(lph_pool_dismiss(&pool), LPH_POOL_NONE);
  check_sound(1);
  close_pool();
}

static void a_ticket_knows_what_its_holder_left_there_until_it_ends(void **state) {
  (void)state;
  int first = 1, second = 2;
  open_pool((lph_pool_options){.max = 1});
  int slots[1];
  borrow_new(1, slots);
  int a = lph_pool_enqueue(&pool, now), b = lph_pool_enqueue(&pool, now);
  assert_null(lph_pool_first_holder(&pool));
  lph_pool_set_holder(&pool, a, &first);
  lph_pool_set_holder(&pool, b, &second);
  assert_ptr_equal(lph_pool_first_holder(&pool), &first);
  assert_ptr_equal(lph_pool_holder(&pool, b), &second);
  lph_pool_leave(&pool, a, now);
  assert_ptr_equal(lph_pool_first_holder(&pool), &second);
  assert_null(lph_pool_holder(&pool, a));
  assert_int_equal(lph_pool_enqueue(&pool, now), a);
  assert_null(lph_pool_holder(&pool, a)); /* of the one before nothing is left */
  check_sound(1);
  close_pool();
}

static void a_ticket_that_is_no_ticket_is_refused(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  static const int wrong[] = {0, -1, 1, LPH_POOL_MAX, LPH_POOL_MAX + 1};
  for (size_t i = 0; i < lph_countof(wrong); i++) {
    assert_int_equal(lph_pool_served(&pool, wrong[i]), LPH_POOL_NONE);
    assert_int_equal(lph_pool_leave(&pool, wrong[i], now), LPH_POOL_NONE);
  }
  close_pool();
}

static void times_are_kept_in_the_histograms(void **state) {
  (void)state;
  open_pool((lph_pool_options){.max = 1});
  int ticket = lph_pool_enqueue(&pool, now);
  int slot = lph_pool_grow(&pool, now);
  lph_pool_born(&pool, slot, now += 0.25);
  lph_pool_leave(&pool, ticket, now += 0.5);
  lph_pool_give(&pool, slot, now += 2); /* lent since its birth */
  assert_true(pool.connect.count == 1 && pool.connect.sum == 0.25);
  assert_true(pool.wait.count == 1 && pool.wait.sum == 0.75);
  assert_true(pool.use.count == 1 && pool.use.sum == 2.5);
  take(LPH_DUE_NOTHING);
  lph_pool_tend(&pool, slot, now += 1);
  lph_pool_give(&pool, slot, now += 8); /* cleaning is no use */
  assert_true(pool.wait.count == 2 && pool.wait.sum == 0.75);
  assert_true(pool.use.count == 2 && pool.use.sum == 3.5);
  close_pool();
}

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(it_grows_to_max_and_no_further),
    TEST(min_is_filled_and_refilled_without_a_borrower),
    TEST(max_waiting_bounds_the_queue),
    TEST(no_more_tickets_is_a_full_queue_and_no_lack_of_memory),
    TEST(idle_timeout_shrinks_to_min_whoever_is_idle_longest_first),
    TEST(idle_time_runs_from_the_last_use_and_no_ping_renews_it),
    TEST(an_expired_connection_is_not_lent_or_kept),
    TEST(lifetimes_are_spread_over_the_promised_range),
    TEST(max_uses_ends_a_connection_on_return),
    TEST(lifo_lends_the_last_used_and_fifo_the_longest_idle),
    TEST(a_ping_does_not_change_the_order_of_use),
    TEST(a_check_is_due_only_after_check_after),
    TEST(keepalive_pings_what_is_idle_and_only_that),
    TEST(waiters_are_served_in_order_and_no_newcomer_overtakes),
    TEST(who_leaves_unserved_loses_nothing_for_the_others),
    TEST(who_leaves_served_hands_it_on),
    TEST(what_is_taken_away_from_a_waiter_is_not_his_any_more),
    TEST(who_is_dismissed_is_out_of_the_queue_but_keeps_the_ticket),
    TEST(a_ticket_knows_what_its_holder_left_there_until_it_ends),
    TEST(a_ticket_that_is_no_ticket_is_refused),
    TEST(times_are_kept_in_the_histograms),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
