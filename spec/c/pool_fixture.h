/* pool_fixture.h - a pool, a clock that is a variable, and the steps that most tests of the pool are made of.
 * Included after cmocka.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_POOL_FIXTURE_H
#define LPH_POOL_FIXTURE_H

#include <math.h>

#include "base/mem.h"
#include "pool_sound.h"

#define START 1000.0

static lph_pool pool;
static double now;
static long blocks_before;
static lph_pool_due due;

static inline int begin(void **state) {
  (void)state;
  blocks_before = lph_mem_live();
  now = START;
  return 0;
}

static inline void open_pool(lph_pool_options options) {
  assert_int_equal(lph_pool_init(&pool, &options, 42), LPH_OK);
}

/* Ends every test that opened a pool. */
static inline void close_pool(void) {
  lph_pool_clear(&pool);
  assert_int_equal(lph_mem_live(), blocks_before);
}

static inline void check_sound(int most) {
  const char *wrong = pool_unsound(&pool, most);
  if (wrong != NULL) fail_msg("%s", wrong);
}

static inline void resize(lph_pool_options options) {
  assert_int_equal(lph_pool_resize(&pool, &options), LPH_OK);
}

/* n connections that are lent, made for as many waiters; their slots in `slots`. */
static inline void borrow_new(int n, int *slots) {
  for (int i = 0; i < n; i++) {
    assert_int_equal(lph_pool_take(&pool, now, &due), LPH_POOL_NONE);
    int ticket = lph_pool_enqueue(&pool, now);
    assert_true(ticket > 0);
    int slot = lph_pool_grow(&pool, now);
    assert_true(slot > 0);
    assert_int_equal(lph_pool_born(&pool, slot, now), ticket);
    assert_int_equal(lph_pool_leave(&pool, ticket, now), slot);
    slots[i] = slot;
  }
}

/* n idle connections, given back a second after each other. */
static inline void have_idle(int n, int *slots) {
  borrow_new(n, slots);
  for (int i = 0; i < n; i++) assert_int_equal(lph_pool_give(&pool, slots[i], now += 1), LPH_POOL_NONE);
}

static inline int take(lph_pool_due expected) {
  int slot = lph_pool_take(&pool, now, &due);
  assert_true(slot > 0);
  assert_int_equal(due, expected);
  return slot;
}

static inline void expect_chore(lph_chore expected, int expected_slot) {
  double at = lph_pool_chore_at(&pool, now);
  int slot;
  assert_int_equal(lph_pool_chore(&pool, now, &slot), expected);
  if (expected == LPH_CHORE_NONE) {
    assert_true(at == 0 || at > now);
    return;
  }
  assert_true(at > 0 && at <= now);
  if (expected_slot > 0) assert_int_equal(slot, expected_slot);
}

/* Nothing to do until then, and then there is. */
static inline void expect_next_chore_at(double at) {
  assert_true(fabs(lph_pool_chore_at(&pool, now) - at) < 1e-9);
  at = lph_pool_chore_at(&pool, now);
  int slot;
  for (int i = 0; i < 100; i++)
    assert_int_equal(lph_pool_chore(&pool, now + (at - now) * i / 100, &slot), LPH_CHORE_NONE);
  now = at;
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

#endif
