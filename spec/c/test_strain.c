/* What libpq gets to see of an answer that is too big: whole messages, however the bytes arrive, and no row beyond the
 * limit.
 *
 * To see it fail: drop `held` in core/strain.c, or let end_answer keep `refusing`.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/strain.h"

#define LIMIT 1000

static lph_strain s;
static lph_buf in, out, expected;
static unsigned refused_answer, refusals;
static size_t refused_bytes;

static void note(void *arg, unsigned answer, size_t bytes) {
  (void)arg;
  refused_answer = answer;
  refused_bytes = bytes;
  refusals++;
}

/* One message with so many bytes behind its head; `seen` by libpq, too. */
static void say(char type, size_t body, bool seen) {
  uint32_t len = (uint32_t)body + 4;
  char head[] = {type, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len};
  lph_buf_add(&in, head, sizeof head);
  if (seen) lph_buf_add(&expected, head, sizeof head);
  for (size_t i = 0; i < body; i++) {
    char byte = type == 'Z' ? 'I' : i % 3 == 0 ? 'D' : '\0'; /* rows that look like heads */
    lph_buf_putc(&in, byte);
    if (seen) lph_buf_putc(&expected, byte);
  }
}

/* All of `in`, so many bytes at a time, each piece in a block of its own size. */
static void pass(size_t piece) {
  for (size_t at = 0; at < in.len; at += piece) {
    size_t n = in.len - at < piece ? in.len - at : piece;
    char *block = lph_alloc(LPH_STRAIN_HEAD + n), *data = block + LPH_STRAIN_HEAD;
    memcpy(data, in.data + at, n);
    size_t left = lph_strain_pass(&s, &data, n, LIMIT);
    assert_true(data >= block && data + left <= block + LPH_STRAIN_HEAD + n);
    if (left > 0) lph_buf_add(&out, data, left);
    lph_free(block);
  }
}

static void begin(bool anchored) {
  s = (lph_strain){.refused = note};
  refusals = 0;
  lph_buf_clear(&in);
  lph_buf_clear(&out);
  lph_buf_clear(&expected);
  if (!anchored) return;
  memcpy(s.tail, "Z\0\0\0\5I", LPH_STRAIN_READY);
  lph_strain_anchor(&s);
  assert_true(s.anchored);
}

static void assert_seen(void) {
  assert_int_equal(out.len, expected.len);
  assert_memory_equal(out.data, expected.data, out.len);
}

static void each_piece(void (*speak)(void)) {
  for (size_t piece = 1; piece < 40; piece++) {
    begin(true);
    speak();
    pass(piece);
    assert_seen();
    assert_false(lph_strain_is_shut(&s));
  }
  begin(true);
  speak();
  pass(in.len);
  assert_seen();
}

static void small_answers(void) {
  for (int i = 0; i < 5; i++) {
    say('2', 0, true);
    say('T', 30, true);
    for (int row = 0; row < 7; row++) say('D', 100, true);
    say('N', 5000, true); /* what is no row is not counted */
    say('C', 9, true);
    say('Z', 1, true);
  }
}

static void what_is_within_the_limit_passes(void **state) {
  (void)state;
  each_piece(small_answers);
  assert_int_equal(refusals, 0);
  assert_int_equal(s.answers, 5);
}

static void many_rows_between_others(void) {
  small_answers();
  say('T', 30, true);
  for (int row = 0; row < 40; row++) say('D', 95, row < 10); /* ten of a hundred bytes are a thousand */
  say('C', 9, true);
  say('Z', 1, true);
  small_answers();
}

static void rows_beyond_the_limit_are_dropped_and_nothing_else(void **state) {
  (void)state;
  each_piece(many_rows_between_others);
  assert_int_equal(refusals, 1);
  assert_int_equal(refused_answer, 5);
  assert_int_equal(refused_bytes, 1100);
}

static void one_row_that_is_too_long(void) {
  say('T', 30, true);
  say('D', 3, true);
  say('D', 20000, false);
  say('D', 0, false);
  say('E', 60, true);
  say('Z', 1, true);
  say('D', 3, true);
}

static void a_row_is_dropped_as_a_whole(void **state) {
  (void)state;
  each_piece(one_row_that_is_too_long);
  assert_int_equal(refusals, 1);
}

static void nothing_is_dropped_before_a_border_is_known(void **state) {
  (void)state;
  begin(false);
  lph_strain_anchor(&s);
  assert_false(s.anchored);
  say('D', 5000, true);
  say('Z', 1, true);
  pass(7);
  assert_seen();
  lph_strain_anchor(&s); /* the caller knows that nothing is under way */
  assert_true(s.anchored);
  lph_strain_lose(&s);
  lph_strain_anchor(&s);
  assert_false(s.anchored); /* what came last is not known any more */
  lph_buf_clear(&in);
  say('Z', 1, true);
  say('A', 20, true);
  pass(64);
  lph_strain_anchor(&s);
  assert_false(s.anchored);
}

static void nothing_may_be_sent_while_something_is_kept_back(void **state) {
  (void)state;
  begin(true);
  lph_buf_add(&in, "D\0\0", 3);
  pass(8);
  assert_int_equal(out.len, 0);
  assert_true(lph_strain_is_shut(&s));
  lph_buf_clear(&in);
  lph_buf_add(&in, "\0\5x", 3);
  pass(8);
  assert_int_equal(out.len, 6);
  assert_memory_equal(out.data, "D\0\0\0\5x", 6);
  assert_false(lph_strain_is_shut(&s));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_within_the_limit_passes),
    cmocka_unit_test(rows_beyond_the_limit_are_dropped_and_nothing_else),
    cmocka_unit_test(a_row_is_dropped_as_a_whole),
    cmocka_unit_test(nothing_is_dropped_before_a_border_is_known),
    cmocka_unit_test(nothing_may_be_sent_while_something_is_kept_back),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lph_buf_free(&in);
  lph_buf_free(&out);
  lph_buf_free(&expected);
  return failed;
}
