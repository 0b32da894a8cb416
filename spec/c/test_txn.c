/* The state machine of transactions: what goes to the server and when, how levels open and close, and what the
 * outcome is. No server; the random walk at the end plays one.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/txn.h"

static const lph_txn_mode plain = {.isolation = LPH_TXN_DEFAULT};

static lph_txn begun(void) {
  lph_txn t = {0};
  assert_int_equal(lph_txn_begin(&t, &plain), LPH_OK);
  return t;
}

/* All that the next flight starts with, as text. `does`: the server does it. */
static const char *flight(lph_txn *t, bool does) {
  static char text[4096];
  text[0] = '\0';
  lph_txn_plan plan = lph_txn_make_plan(t);
  lph_txn_step step, steps[64];
  int n = 0;
  while ((step = lph_txn_next(&plan)) != LPH_TXN_NOTHING) {
    char room[LPH_TXN_TEXT];
    if (n > 0) strcat(text, "; ");
    strcat(text, step == LPH_TXN_SETTINGS ? "settings" : lph_txn_text(t, &plan, step, room));
    steps[n++] = step;
  }
  for (int i = 0; does && i < n; i++) lph_txn_did(t, steps[i]);
  return text;
}

static void begin_waits_for_the_first_statement(void **state) {
  (void)state;
  lph_txn t = begun();
  assert_true(lph_txn_is_pending(&t));
  assert_int_equal(t.on_server, 0);
  assert_string_equal(flight(&t, true), "begin");
  assert_false(lph_txn_is_pending(&t));
  assert_string_equal(flight(&t, true), "");
  assert_int_equal(lph_txn_begin(&t, &plain), LPH_EFAIL); /* one at a time */
  lph_txn_free(&t);
}

static void begin_says_what_the_transaction_is(void **state) {
  (void)state;
  static const char *const isolation[] = {
    "", " isolation level read uncommitted", " isolation level read committed",
    " isolation level repeatable read", " isolation level serializable"};
  static const char *const access[] = {"", " read write", " read only"};
  static const char *const deferrable[] = {"", " not deferrable", " deferrable"};
  for (int i = 0; i < 45; i++) {
    lph_txn_mode mode = {(lph_txn_isolation)(i % 5), (lph_txn_choice)(i / 5 % 3), (lph_txn_choice)(i / 15),
                         false};
    lph_txn t = {0};
    char expected[LPH_TXN_TEXT];
    snprintf(expected, sizeof expected, "begin%s%s%s", isolation[i % 5], access[i / 5 % 3],
             deferrable[i / 15]);
    assert_int_equal(lph_txn_begin(&t, &mode), LPH_OK);
    assert_string_equal(flight(&t, true), expected);
    assert_int_equal(t.has_plain, i == 0);
    lph_txn_free(&t);
  }
}

static void settings_follow_begin_and_are_parameters(void **state) {
  (void)state;
  lph_txn t = begun();
  assert_int_equal(lph_txn_set(&t, "app.tenant", "a'b"), LPH_OK);
  assert_int_equal(lph_txn_set(&t, "statement_timeout", "5ms"), LPH_OK);
  lph_txn_nest(&t);
  assert_string_equal(flight(&t, false), "begin; settings; savepoint luphant_2");
  lph_buf text = {0};
  assert_int_equal(lph_txn_settings_text(&t, &text), LPH_OK);
  assert_null(strstr(text.data, "a'b"));
  assert_non_null(strstr(text.data, "select pg_catalog.set_config($1::text, $2::text, true),"));
  assert_non_null(strstr(text.data, "then null else pg_catalog.set_config($3::text, $4::text, true)"));
  lph_buf_free(&text);
  flight(&t, true);
  assert_string_equal(flight(&t, true), ""); /* once */
  lph_txn_free(&t);
}

static void savepoints_travel_with_the_next_statement(void **state) {
  (void)state;
  lph_txn t = begun();
  lph_txn_nest(&t);
  lph_txn_nest(&t);
  assert_string_equal(flight(&t, true), "begin; savepoint luphant_2; savepoint luphant_3");
  lph_txn_release(&t);
  lph_txn_release(&t);
  lph_txn_nest(&t);
  /* One RELEASE takes the one above along; the name is used again. */
  assert_string_equal(flight(&t, true), "release savepoint luphant_2; savepoint luphant_2");
  lph_txn_release(&t);
  lph_txn_nest(&t);
  lph_txn_release(&t); /* one that ran nothing leaves no trace */
  assert_string_equal(flight(&t, true), "release savepoint luphant_2");
  lph_txn_free(&t);
}

static void only_what_the_server_has_is_undone(void **state) {
  (void)state;
  char room[LPH_TXN_TEXT];
  lph_txn t = begun();
  assert_null(lph_txn_undo_text(&t, room));
  lph_txn_nest(&t);
  assert_null(lph_txn_undo_text(&t, room));
  flight(&t, true);
  assert_string_equal(lph_txn_undo_text(&t, room),
                      "rollback to savepoint luphant_2; release savepoint luphant_2");
  lph_txn_nest(&t);
  assert_null(lph_txn_undo_text(&t, room));
  lph_txn_undone(&t);
  assert_int_equal(t.depth, 2);
  lph_txn_undone(&t);
  assert_int_equal(t.on_server, 1);
  assert_int_equal(t.outcome, LPH_TXN_OPEN);
  assert_string_equal(lph_txn_undo_text(&t, room), "rollback");
  lph_txn_undone(&t);
  assert_int_equal(t.outcome, LPH_TXN_ROLLED_BACK);
  lph_txn_free(&t);
}

static void a_closed_savepoint_under_an_undone_one_is_forgotten(void **state) {
  (void)state;
  lph_txn t = begun();
  lph_txn_nest(&t);
  lph_txn_nest(&t);
  flight(&t, true);
  lph_txn_release(&t); /* luphant_3 is still there, on the server */
  lph_txn_undone(&t);  /* ROLLBACK TO luphant_2 took it along */
  assert_string_equal(flight(&t, true), "");
  lph_txn_free(&t);
}

static lph_txn_outcome after_commit(const char *tag, bool lost) {
  lph_txn t = begun();
  flight(&t, true);
  lph_txn_commit_sent(&t);
  if (tag != NULL) lph_txn_commit_answered(&t, tag);
  if (lost) lph_txn_lost(&t);
  lph_txn_settle(&t, true);
  lph_txn_outcome outcome = t.outcome;
  lph_txn_free(&t);
  return outcome;
}

static void only_the_tag_commit_is_a_commit(void **state) {
  (void)state;
  assert_int_equal(after_commit("COMMIT", false), LPH_TXN_COMMITTED);
  assert_int_equal(after_commit("COMMIT", true), LPH_TXN_COMMITTED); /* the answer was there */
  assert_int_equal(after_commit("ROLLBACK", false), LPH_TXN_ROLLED_BACK);
  assert_int_equal(after_commit("COMMIT PREPARED", false), LPH_TXN_ROLLED_BACK);
  assert_int_equal(after_commit(NULL, false), LPH_TXN_ROLLED_BACK); /* an error */
  assert_int_equal(after_commit(NULL, true), LPH_TXN_UNKNOWN);
  lph_txn t = begun();
  flight(&t, true);
  lph_txn_lost(&t); /* before COMMIT left */
  assert_int_equal(t.outcome, LPH_TXN_ROLLED_BACK);
  lph_txn_free(&t);
}

static void a_commit_that_was_skipped_leaves_it_open(void **state) {
  (void)state;
  lph_txn t = begun();
  flight(&t, true);
  lph_txn_commit_sent(&t);
  lph_txn_settle(&t, false); /* the statement it rode with failed */
  assert_int_equal(t.outcome, LPH_TXN_OPEN);
  lph_txn_lost(&t);
  assert_int_equal(t.outcome, LPH_TXN_ROLLED_BACK);
  lph_txn_free(&t);
}

static bool strays(const char *tag, const char *text, bool idle) {
  lph_txn t = begun();
  flight(&t, true);
  lph_txn_observe(&t, tag, text);
  lph_txn_settle(&t, idle);
  bool strayed = t.strayed;
  lph_txn_free(&t);
  return strayed;
}

static void a_statement_that_ends_it_is_noticed(void **state) {
  (void)state;
  assert_true(strays("COMMIT", "commit", true));
  assert_true(strays("COMMIT", "commit; begin", false));
  assert_true(strays("BEGIN", "begin", false));
  assert_true(strays("START TRANSACTION", "start transaction", false));
  assert_true(strays("PREPARE TRANSACTION", "prepare transaction 'x'", true));
  assert_true(strays("ROLLBACK", "rollback", true));
  assert_true(strays("ROLLBACK", "rollback and CHAIN", false));
  assert_false(strays("ROLLBACK", "rollback to savepoint mine", false));
  assert_false(strays("SAVEPOINT", "savepoint mine", false));
  assert_false(strays("RELEASE", "release mine", false));
  assert_false(strays("UPDATE 1", "update t set n = 1", false));
}

static void a_stray_savepoint_is_not_undone(void **state) {
  (void)state;
  char room[LPH_TXN_TEXT];
  lph_txn t = begun();
  lph_txn_nest(&t);
  flight(&t, true);
  lph_txn_observe(&t, "COMMIT", "commit");
  assert_null(lph_txn_undo_text(&t, room));
  lph_txn_undone(&t);
  assert_string_equal(lph_txn_undo_text(&t, room), "rollback"); /* there may be another one by now */
  lph_txn_free(&t);
}

static void a_first_statement_can_have_another_try(void **state) {
  (void)state;
  char room[LPH_TXN_TEXT];
  lph_txn t = begun();
  lph_txn_nest(&t);
  flight(&t, true);
  lph_txn_restart(&t);
  assert_string_equal(flight(&t, false), "rollback; begin; savepoint luphant_2");
  lph_txn_undone(&t); /* nothing to send for the savepoint; the failed transaction is still there */
  assert_string_equal(lph_txn_undo_text(&t, room), "rollback");
  assert_string_equal(flight(&t, true), "rollback; begin");
  assert_string_equal(flight(&t, true), "");
  lph_txn_free(&t);
}

static void the_id_is_learnt_once(void **state) {
  (void)state;
  lph_txn_mode mode = {.wants_id = true};
  lph_txn t = {0};
  assert_int_equal(lph_txn_begin(&t, &mode), LPH_OK);
  lph_txn_observe(&t, "SELECT 1", "select");
  assert_true(t.unasked);
  lph_txn_set_id(&t, NULL);
  assert_true(t.wants_id && !t.unasked);
  lph_txn_set_id(&t, "123456789012345678901234567890"); /* a server that lies */
  assert_true(t.wants_id);
  lph_txn_set_id(&t, "18446744073709551615");
  assert_false(t.wants_id);
  assert_string_equal(t.id, "18446744073709551615");
  lph_txn_free(&t);
}

/* A server, as far as savepoints go: names on a stack. Every walk must leave both sides with the same levels. */
static int stack[64], height;

static void serve(const char *text) {
  char copy[4096];
  snprintf(copy, sizeof copy, "%s", text);
  for (char *word = strtok(copy, ";"); word != NULL; word = strtok(NULL, ";")) {
    int n = 0;
    while (*word == ' ') word++;
    if (strcmp(word, "begin") == 0) {
      assert_int_equal(height, 0);
      stack[height++] = 1;
    } else if (sscanf(word, "savepoint luphant_%d", &n) == 1) {
      stack[height++] = n;
    } else {
      bool back = sscanf(word, "rollback to savepoint luphant_%d", &n) == 1;
      if (!back) assert_int_equal(sscanf(word, "release savepoint luphant_%d", &n), 1);
      int at = height - 1;
      while (at > 0 && stack[at] != n) at--;
      assert_true(at > 0); /* else: no such savepoint */
      height = back ? at + 1 : at;
    }
  }
}

static void any_walk_keeps_both_sides_together(void **state) {
  (void)state;
  srand(7);
  for (int walk = 0; walk < 2000; walk++) {
    lph_txn t = begun();
    height = 0;
    for (int i = 0; i < 60; i++) {
      char room[LPH_TXN_TEXT];
      const char *undo;
      switch (rand() % 4) {
        case 0:
          if (t.depth < 30) lph_txn_nest(&t);
          break;
        case 1:
          if (t.depth > 1) lph_txn_release(&t);
          break;
        case 2:
          if (t.depth == 1) break;
          undo = lph_txn_undo_text(&t, room);
          if (undo != NULL) serve(undo);
          lph_txn_undone(&t);
          break;
        default:
          serve(flight(&t, true));
          assert_int_equal(height, t.depth);
          for (int level = 0; level < height; level++) assert_int_equal(stack[level], level + 1);
      }
    }
    lph_txn_free(&t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(begin_waits_for_the_first_statement),
    cmocka_unit_test(begin_says_what_the_transaction_is),
    cmocka_unit_test(settings_follow_begin_and_are_parameters),
    cmocka_unit_test(savepoints_travel_with_the_next_statement),
    cmocka_unit_test(only_what_the_server_has_is_undone),
    cmocka_unit_test(a_closed_savepoint_under_an_undone_one_is_forgotten),
    cmocka_unit_test(only_the_tag_commit_is_a_commit),
    cmocka_unit_test(a_commit_that_was_skipped_leaves_it_open),
    cmocka_unit_test(a_statement_that_ends_it_is_noticed),
    cmocka_unit_test(a_stray_savepoint_is_not_undone),
    cmocka_unit_test(a_first_statement_can_have_another_try),
    cmocka_unit_test(the_id_is_learnt_once),
    cmocka_unit_test(any_walk_keeps_both_sides_together),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
