/* Which names of prepared statements wait to be deallocated, and which need not any more.
 *
 * To see it fail: let lph_stmts_parted return before its loop, or goes_unnamed forget the names that wait.
 *
 * SPDX-License-Identifier: MIT */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/stmt.h"

/* A statement that is on the server under a name, as after its PREPARE. */
static lph_stmt *prepared(lph_stmts *s, int number) {
  char sql[32];
  int len = snprintf(sql, sizeof sql, "select %d", number);
  lph_stmt *stmt = lph_stmts_get(s, (lph_bytes){sql, (size_t)len}, NULL, 0);
  assert_non_null(stmt);
  assert_int_equal(lph_stmts_rename(s, stmt), LPH_OK);
  stmt->on_server = stmt->name[0] != '\0';
  return stmt;
}

static void a_name_waits_until_the_server_has_answered(void **state) {
  (void)state;
  lph_stmts s;
  lph_stmts_init(&s, 2, 1 << 20);
  for (int i = 0; i < 10; i++) prepared(&s, i);
  assert_int_equal(s.goodbye_count, 8);
  lph_stmts_parted(&s, true);
  assert_int_equal(s.goodbye_count, 7);
  while (s.goodbye_count > 0) lph_stmts_parted(&s, true);
  lph_stmts_parted(&s, true);
  assert_int_equal(s.goodbye_count, 0);
  lph_stmts_free(&s);
}

static void a_missing_name_takes_the_older_ones_along(void **state) {
  (void)state;
  lph_stmts s;
  lph_stmts_init(&s, 100, 1 << 20);
  lph_stmt *all[5];
  for (int i = 0; i < 5; i++) all[i] = prepared(&s, i);
  static const int order[] = {3, 0, 4, 1, 2}; /* the last one is asked for first */
  char newer[2][LPH_STMT_NAME];
  memcpy(newer[0], all[3]->name, LPH_STMT_NAME);
  memcpy(newer[1], all[4]->name, LPH_STMT_NAME);
  for (int i = 0; i < 5; i++) lph_stmts_drop(&s, all[order[i]]);
  assert_int_equal(s.goodbye_count, 5);
  lph_stmts_parted(&s, false);
  assert_int_equal(s.goodbye_count, 2);
  assert_string_equal(s.goodbyes[0], newer[0]);
  assert_string_equal(s.goodbyes[1], newer[1]);
  lph_stmts_free(&s);
}

static void while_too_many_wait_no_new_name_is_given(void **state) {
  (void)state;
  lph_stmts s;
  lph_stmts_init(&s, 4, 1 << 20);
  for (int i = 0; i < LPH_GOODBYES_MAX + 3; i++) assert_true(prepared(&s, i)->on_server);
  assert_int_equal(s.goodbye_count, LPH_GOODBYES_MAX - 1);
  lph_stmt *stmt = prepared(&s, -1);
  assert_int_equal(s.goodbye_count, LPH_GOODBYES_MAX);
  assert_false(stmt->on_server);
  stmt->described = true;
  stmt->generation = s.generation;
  assert_true(lph_stmts_is_ready(&s, stmt));
  while (s.goodbye_count > 0) lph_stmts_parted(&s, true);
  assert_false(lph_stmts_is_ready(&s, stmt)); /* it gets a name now */
  lph_stmts_free(&s);
}

/* The Lua side keeps tables under them, and others under negative numbers. */
static void serials_are_positive_and_never_shared(void **state) {
  (void)state;
  lph_stmts s;
  lph_stmts_init(&s, 8, 1 << 20);
  lph_stmt *old[4];
  for (int i = 0; i < 4; i++) old[i] = prepared(&s, i);
  s.last_serial = INT_MAX - 2;
  for (int i = 0; i < 1000; i++) {
    for (int k = 0; k < 4; k++) assert_ptr_equal(prepared(&s, k), old[k]); /* in use all the time */
    int serial = prepared(&s, 4 + i)->serial;
    assert_true(serial > 0);
    for (int k = 0; k < 4; k++) assert_int_not_equal(serial, old[k]->serial);
    while (s.goodbye_count > 0) lph_stmts_parted(&s, true);
  }
  lph_stmts_free(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_name_waits_until_the_server_has_answered),
    cmocka_unit_test(a_missing_name_takes_the_older_ones_along),
    cmocka_unit_test(serials_are_positive_and_never_shared),
    cmocka_unit_test(while_too_many_wait_no_new_name_is_given),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
