/* The error record: what is put in comes out, setting replaces, and without memory it still says what kind
 * of failure it was.
 *
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/error.h"
#include "base/mem.h"

static void a_fresh_record_says_nothing(void **state) {
  (void)state;
  lph_error e;
  lph_error_init(&e);
  assert_false(lph_error_is_set(&e));
  for (int f = 0; f < LPH_E_FIELDS; f++) assert_null(lph_error_get(&e, (lph_efield)f));
  lph_error_clear(&e);
  lph_error_free(&e);
  lph_error_free(&e);
}

static void what_is_put_in_comes_out(void **state) {
  (void)state;
  lph_error e = {0};
  assert_int_equal(lph_error_set(&e, "unique_violation", "duplicate %s %d", "key", 7), LPH_EFAIL);
  assert_true(lph_error_is_set(&e));
  assert_string_equal(e.kind, "unique_violation");
  for (int f = LPH_E_DETAIL; f < LPH_E_FIELDS; f++) lph_error_putf(&e, (lph_efield)f, "field %d", f);
  lph_error_sqlstate(&e, "23505");
  assert_string_equal(lph_error_get(&e, LPH_E_MESSAGE), "duplicate key 7");
  for (int f = LPH_E_DETAIL; f < LPH_E_FIELDS; f++) {
    char want[32];
    snprintf(want, sizeof want, "field %d", f);
    assert_string_equal(lph_error_get(&e, (lph_efield)f), want);
  }
  assert_string_equal(e.sqlstate, "23505");
  lph_error_put(&e, LPH_E_HINT, "another"); /* the last one counts */
  assert_string_equal(lph_error_get(&e, LPH_E_HINT), "another");
  lph_error_free(&e);
}

static void nothing_adds_nothing(void **state) {
  (void)state;
  lph_error e = {0};
  lph_error_set(&e, "closed", "x");
  lph_error_put(&e, LPH_E_DETAIL, NULL);
  lph_error_put(&e, LPH_E_HINT, "");
  lph_error_putf(&e, LPH_E_CONTEXT, "%s", "");
  lph_error_sqlstate(&e, NULL);
  assert_null(lph_error_get(&e, LPH_E_DETAIL));
  assert_null(lph_error_get(&e, LPH_E_HINT));
  assert_null(lph_error_get(&e, LPH_E_CONTEXT));
  assert_string_equal(e.sqlstate, "");
  lph_error_set(&e, "closed", "%s", "");
  assert_non_null(lph_error_get(&e, LPH_E_MESSAGE)); /* an error is never without words */
  lph_error_free(&e);
}

static void trailing_newlines_go_from_messages_only(void **state) {
  (void)state;
  lph_error e = {0};
  lph_error_set(&e, "closed", "%s", "server closed the connection\n\tunexpectedly\n\n");
  assert_string_equal(lph_error_get(&e, LPH_E_MESSAGE), "server closed the connection\n\tunexpectedly");
  lph_error_put(&e, LPH_E_CONTEXT, "line\n");
  assert_string_equal(lph_error_get(&e, LPH_E_CONTEXT), "line\n");
  lph_error_free(&e);
}

static void long_texts_are_kept_whole(void **state) {
  (void)state;
  lph_error e = {0};
  for (int len = 505; len < 520; len++) { /* around the size of the first attempt */
    lph_error_set(&e, "closed", "%0*d", len, 7);
    assert_int_equal(strlen(lph_error_get(&e, LPH_E_MESSAGE)), len);
  }
  lph_error_putf(&e, LPH_E_DETAIL, "%0*d", 100000, 7);
  assert_int_equal(strlen(lph_error_get(&e, LPH_E_DETAIL)), 100000);
  lph_error_free(&e);
}

static void setting_replaces_all_that_was(void **state) {
  (void)state;
  lph_error e = {0};
  lph_error_set(&e, "unique_violation", "first");
  lph_error_put(&e, LPH_E_DETAIL, "detail");
  lph_error_sqlstate(&e, "23505");
  e.sent = LPH_SENT_YES;
  e.position = 7;
  e.param = 2;
  /* A cause reworded: the arguments point into the record that is being replaced. */
  lph_error_set(&e, "closed", "after: %s", lph_error_get(&e, LPH_E_MESSAGE));
  assert_string_equal(lph_error_get(&e, LPH_E_MESSAGE), "after: first");
  assert_null(lph_error_get(&e, LPH_E_DETAIL));
  assert_string_equal(e.sqlstate, "");
  assert_int_equal(e.sent, LPH_SENT_NO);
  assert_int_equal(e.position, 0);
  assert_int_equal(e.param, 0);
  lph_error_clear(&e);
  assert_false(lph_error_is_set(&e));
  assert_null(lph_error_get(&e, LPH_E_MESSAGE));
  lph_error_free(&e);
}

static void errno_has_words(void **state) {
  (void)state;
  char room[128];
  assert_string_equal(lph_error_of_errno(ENOENT, room, sizeof room), strerror(ENOENT));
  assert_true(strlen(lph_error_of_errno(123456, room, sizeof room)) > 0);
}

static void a_sqlstate_is_cut_to_five(void **state) {
  (void)state;
  lph_error e = {0};
  lph_error_sqlstate(&e, "2350512345");
  assert_string_equal(e.sqlstate, "23505");
  lph_error_sqlstate(&e, "42");
  assert_string_equal(e.sqlstate, "42");
}

static void a_copy_stands_on_its_own(void **state) {
  (void)state;
  long live = lph_mem_live();
  lph_error a = {0}, b = {0};
  lph_error_set(&b, "closed", "old content");
  lph_error_set(&a, "unique_violation", "duplicate");
  lph_error_put(&a, LPH_E_CONSTRAINT, "users_email_key");
  lph_error_sqlstate(&a, "23505");
  a.position = 9;
  a.sent = LPH_SENT_MAYBE;
  lph_error_copy(&b, &a);
  lph_error_free(&a);
  assert_string_equal(b.kind, "unique_violation");
  assert_string_equal(lph_error_get(&b, LPH_E_MESSAGE), "duplicate");
  assert_string_equal(lph_error_get(&b, LPH_E_CONSTRAINT), "users_email_key");
  assert_string_equal(b.sqlstate, "23505");
  assert_int_equal(b.position, 9);
  assert_int_equal(b.sent, LPH_SENT_MAYBE);
  lph_error_copy(&b, &a); /* a is empty now */
  assert_false(lph_error_is_set(&b));
  lph_error_free(&b);
  assert_int_equal(lph_mem_live(), live);
}

static void out_of_memory_needs_no_memory(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  lph_error e = {0};
  lph_mem_fail_at(1, true);
  assert_int_equal(lph_error_oom(&e), LPH_EFAIL);
  assert_string_equal(e.kind, "out_of_memory");
  assert_string_equal(lph_error_get(&e, LPH_E_MESSAGE), "out of memory");
  lph_mem_fail_at(0, false);
  lph_error_free(&e);
}

/* Every allocation of a rich error fails in turn: texts may be missing, the record stays sound. */
static void without_memory_the_kind_is_kept(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live();
  bool failed = true;
  for (long n = 1; failed; n++)
    for (int forever = 0; forever < 2; forever++) {
      lph_error a = {0}, b = {0};
      lph_mem_fail_at(n, forever != 0);
      lph_error_set(&a, "decode", "%0*d", 700, 1);
      lph_error_putf(&a, LPH_E_DETAIL, "%0*d", 900, 1);
      lph_error_put(&a, LPH_E_HINT, "hint");
      lph_error_copy(&b, &a);
      failed = lph_mem_failed();
      lph_mem_fail_at(0, false);
      assert_string_equal(a.kind, "decode");
      assert_string_equal(b.kind, "decode");
      for (int each = 0; each < 2; each++) {
        const char *message = lph_error_get(each == 0 ? &a : &b, LPH_E_MESSAGE);
        if (message[0] != '0') assert_non_null(strstr(message, "out of memory"));
      }
      for (int f = 0; f < LPH_E_FIELDS; f++)
        if (lph_error_get(&b, (lph_efield)f) != NULL)
          assert_true(strlen(lph_error_get(&b, (lph_efield)f)) < 1000);
      if (!failed) assert_int_equal(strlen(lph_error_get(&b, LPH_E_DETAIL)), 900);
      lph_error_free(&a);
      lph_error_free(&b);
      assert_int_equal(lph_mem_live(), live);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_fresh_record_says_nothing),
    cmocka_unit_test(what_is_put_in_comes_out),
    cmocka_unit_test(nothing_adds_nothing),
    cmocka_unit_test(trailing_newlines_go_from_messages_only),
    cmocka_unit_test(long_texts_are_kept_whole),
    cmocka_unit_test(setting_replaces_all_that_was),
    cmocka_unit_test(errno_has_words),
    cmocka_unit_test(a_sqlstate_is_cut_to_five),
    cmocka_unit_test(a_copy_stands_on_its_own),
    cmocka_unit_test(out_of_memory_needs_no_memory),
    cmocka_unit_test(without_memory_the_kind_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
