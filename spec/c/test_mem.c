/* The allocator: sizes that overflow, the count of living blocks, and that the n-th allocation fails when
 * told to - the ground all other sweeps stand on.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/mem.h"

static void every_block_is_counted_and_given_back(void **state) {
  (void)state;
  long live = lph_mem_live();
  void *blocks[5] = {lph_alloc(10), lph_zalloc(10), lph_array(3, 7), lph_regrow(NULL, 4, 5),
                     lph_strndup("abc", 2)};
  for (size_t i = 0; i < lph_countof(blocks); i++) assert_non_null(blocks[i]);
  assert_int_equal(lph_mem_live(), live + 5);
  blocks[3] = lph_regrow(blocks[3], 1000, 5);
  assert_non_null(blocks[3]);
  assert_int_equal(lph_mem_live(), live + 5);
  for (size_t i = 0; i < lph_countof(blocks); i++) lph_free(blocks[i]);
  lph_free(NULL);
  assert_int_equal(lph_mem_live(), live);
}

static void blocks_are_as_promised(void **state) {
  (void)state;
  static const char zero[64];
  char *block = lph_zalloc(64);
  assert_memory_equal(block, zero, 64);
  lph_free(block);
  block = lph_array(8, 8);
  assert_memory_equal(block, zero, 64);
  lph_free(block);
  block = lph_strndup("a\0bc", 3);
  assert_memory_equal(block, "a\0b", 4); /* its own NUL behind the three bytes */
  block = lph_regrow(block, 100, 1);
  assert_memory_equal(block, "a\0b", 4);
  lph_free(block);
  block = lph_strndup(NULL, 0);
  assert_string_equal(block, "");
  lph_free(block);
}

static void a_size_of_zero_is_a_block(void **state) {
  (void)state;
  char *blocks[4] = {lph_alloc(0), lph_zalloc(0), lph_array(0, 8), lph_regrow(NULL, 0, 8)};
  for (size_t i = 0; i < lph_countof(blocks); i++) {
    assert_non_null(blocks[i]);
    blocks[i][0] = 1; /* one byte is ours; a sanitizer build says if not */
    lph_free(blocks[i]);
  }
}

static void sizes_that_overflow_are_refused(void **state) {
  (void)state;
  long live = lph_mem_live();
  assert_null(lph_array(SIZE_MAX / 2, 3));
  assert_null(lph_array(3, SIZE_MAX / 2));
  assert_null(lph_array(SIZE_MAX, SIZE_MAX));
  assert_null(lph_strndup("", SIZE_MAX));
  char *block = lph_alloc(4);
  memcpy(block, "abc", 4);
  assert_null(lph_regrow(block, SIZE_MAX / 2, 3));
  assert_string_equal(block, "abc"); /* the old block stays valid */
  lph_free(block);
  assert_int_equal(lph_mem_live(), live);
}

static void wiping_leaves_no_byte(void **state) {
  (void)state;
  static const char zero[16];
  char secret[16] = "top secret";
  lph_wipe(secret, sizeof secret);
  assert_memory_equal(secret, zero, sizeof secret);
  lph_wipe(NULL, 0);
}

static int allocate_five(bool *worked) {
  int failures = 0;
  void *blocks[5] = {lph_alloc(1), lph_zalloc(1), lph_array(1, 1), lph_regrow(NULL, 1, 1),
                     lph_strndup("", 0)};
  for (size_t i = 0; i < lph_countof(blocks); i++) {
    worked[i] = blocks[i] != NULL;
    failures += !worked[i];
    lph_free(blocks[i]);
  }
  return failures;
}

static void the_nth_allocation_fails(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live();
  bool worked[5];
  for (int n = 1; n <= 5; n++) {
    lph_mem_fail_at(n, false);
    assert_false(lph_mem_failed());
    assert_int_equal(allocate_five(worked), 1);
    assert_false(worked[n - 1]);
    assert_true(lph_mem_failed());
    lph_mem_fail_at(n, true);
    assert_int_equal(allocate_five(worked), 6 - n);
    for (int i = 0; i < 5; i++) assert_int_equal(worked[i], i < n - 1);
  }
  lph_mem_fail_at(6, true);
  assert_int_equal(allocate_five(worked), 0);
  assert_false(lph_mem_failed());
  assert_int_equal(allocate_five(worked), 5); /* the sixth and all after it */
  lph_mem_fail_at(0, false);
  assert_int_equal(allocate_five(worked), 0);
  assert_int_equal(lph_mem_live(), live);
}

static void a_refused_regrow_keeps_the_block(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  char *block = lph_strndup("kept", 4);
  lph_mem_fail_at(1, false);
  assert_null(lph_regrow(block, 1000, 1));
  lph_mem_fail_at(0, false);
  assert_string_equal(block, "kept");
  lph_free(block);
}

static void *churn(void *unused) {
  for (int i = 0; i < 20000; i++) lph_free(lph_alloc((size_t)(i % 64)));
  return unused;
}

static void threads_do_not_lose_count(void **state) {
  (void)state;
  long live = lph_mem_live();
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  assert_int_equal(lph_mem_live(), live);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_block_is_counted_and_given_back),
    cmocka_unit_test(blocks_are_as_promised),
    cmocka_unit_test(a_size_of_zero_is_a_block),
    cmocka_unit_test(sizes_that_overflow_are_refused),
    cmocka_unit_test(wiping_leaves_no_byte),
    cmocka_unit_test(the_nth_allocation_fails),
    cmocka_unit_test(a_refused_regrow_keeps_the_block),
    cmocka_unit_test(threads_do_not_lose_count),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
