/* The growing buffer: content survives growth, failure changes nothing, sizes cannot overflow.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static void an_empty_buffer_owns_nothing(void **state) {
  (void)state;
  long live = lph_mem_live();
  lph_buf b;
  lph_buf_init(&b);
  assert_null(b.data);
  assert_int_equal(b.len, 0);
  assert_int_equal(lph_mem_live(), live);
  lph_buf_free(&b);
  lph_buf_free(&b);
  assert_int_equal(lph_buf_reserve(&b, 0), LPH_OK); /* even for nothing: data can be pointed into */
  assert_non_null(b.data);
  lph_buf_free(&b);
  assert_int_equal(lph_buf_add(&b, NULL, 0), LPH_OK);
  lph_buf_free(&b);
  assert_int_equal(lph_mem_live(), live);
}

static void what_is_appended_stays_through_growth(void **state) {
  (void)state;
  lph_buf b = {0};
  for (int i = 0; i < 100000; i++) assert_int_equal(lph_buf_putc(&b, (char)(i % 251)), LPH_OK);
  assert_int_equal(b.len, 100000);
  assert_true(b.cap >= b.len && b.cap < 3 * b.len);
  for (int i = 0; i < 100000; i++)
    if (b.data[i] != (char)(i % 251)) fail_msg("byte %d was lost", i);
  size_t cap = b.cap;
  lph_buf_clear(&b);
  assert_int_equal(b.len, 0);
  assert_int_equal(b.cap, cap); /* the block is kept */
  lph_buf_free(&b);
}

static void texts_bytes_and_formats_follow_each_other(void **state) {
  (void)state;
  lph_buf b = {0};
  assert_int_equal(lph_buf_puts(&b, "a"), LPH_OK);
  assert_int_equal(lph_buf_add(&b, "\0b", 2), LPH_OK);
  assert_int_equal(lph_buf_putc(&b, '='), LPH_OK);
  assert_int_equal(lph_buf_printf(&b, "%d%s", 42, "!"), LPH_OK);
  assert_int_equal(lph_buf_printf(&b, "%s", ""), LPH_OK);
  assert_int_equal(b.len, 7);
  assert_memory_equal(b.data, "a\0b=42!", 7);
  assert_int_equal(lph_buf_terminate(&b), LPH_OK);
  assert_int_equal(b.len, 7);
  assert_int_equal(b.data[7], '\0');
  assert_int_equal(lph_buf_printf(&b, "%*d", 500, 1), LPH_OK);
  assert_int_equal(b.len, 507);
  assert_int_equal(b.data[506], '1');
  lph_buf_free(&b);
}

static void a_terminated_buffer_that_is_full_grows(void **state) {
  (void)state;
  lph_buf b = {0};
  while (b.cap == 0 || b.len < b.cap) assert_int_equal(lph_buf_putc(&b, 'x'), LPH_OK);
  size_t len = b.len;
  assert_int_equal(lph_buf_terminate(&b), LPH_OK);
  assert_int_equal(strlen(b.data), len);
  lph_buf_free(&b);
}

static void a_reserve_makes_the_unsafe_twins_safe(void **state) {
  (void)state;
  lph_buf b = {0};
  assert_int_equal(lph_buf_reserve(&b, 1000), LPH_OK);
  char *data = b.data;
  for (int i = 0; i < 500; i++) lph_buf_putc_unsafe(&b, 'a');
  char more[500];
  memset(more, 'b', sizeof more);
  lph_buf_add_unsafe(&b, more, sizeof more);
  lph_buf_add_unsafe(&b, NULL, 0);
  assert_ptr_equal(b.data, data);
  assert_int_equal(b.len, 1000);
  lph_buf_free(&b);
}

static void sizes_that_overflow_are_refused(void **state) {
  (void)state;
  lph_buf b = {0};
  assert_int_equal(lph_buf_puts(&b, "kept"), LPH_OK);
  assert_int_equal(lph_buf_reserve(&b, SIZE_MAX), LPH_ENOMEM);
  assert_int_equal(lph_buf_reserve(&b, SIZE_MAX - 3), LPH_ENOMEM);
  assert_int_equal(b.len, 4);
  assert_memory_equal(b.data, "kept", 4);
  lph_buf_free(&b);
}

static lph_err append(lph_buf *b, int way) {
  switch (way) {
    case 0: return lph_buf_add(b, "x", 1);
    case 1: return lph_buf_puts(b, "x");
    case 2: return lph_buf_putc(b, 'x');
    case 3: return lph_buf_printf(b, "%c", 'x');
    case 4: return lph_buf_terminate(b);
    default: return lph_buf_reserve(b, 1);
  }
}

static void without_memory_the_content_stays(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live();
  for (int way = 0; way < 6; way++) {
    lph_buf b = {0};
    lph_mem_fail_at(1, false);
    assert_int_equal(append(&b, way), LPH_ENOMEM);
    assert_null(b.data);
    while (b.cap == 0 || b.len < b.cap) assert_int_equal(lph_buf_putc(&b, 'y'), LPH_OK);
    size_t len = b.len;
    lph_mem_fail_at(1, false);
    assert_int_equal(append(&b, way), LPH_ENOMEM);
    assert_int_equal(b.len, len);
    for (size_t i = 0; i < len; i++) assert_int_equal(b.data[i], 'y');
    lph_mem_fail_at(0, false);
    assert_int_equal(append(&b, way), LPH_OK);
    lph_buf_free(&b);
  }
  assert_int_equal(lph_mem_live(), live);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_empty_buffer_owns_nothing),
    cmocka_unit_test(what_is_appended_stays_through_growth),
    cmocka_unit_test(texts_bytes_and_formats_follow_each_other),
    cmocka_unit_test(a_terminated_buffer_that_is_full_grows),
    cmocka_unit_test(a_reserve_makes_the_unsafe_twins_safe),
    cmocka_unit_test(sizes_that_overflow_are_refused),
    cmocka_unit_test(without_memory_the_content_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
