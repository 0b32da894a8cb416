/* The legs of a batch: what goes out in which order, whose answer is whose, what a failure takes along, and what is
 * bounded. The server's answers are made by hand (played.h).
 *
 * To see it fail: let take_failure in csrc/core/batch.c note the last failure instead of the first, is_undone answer
 * true whenever the batch is not isolated, or lph_batch_has_place ask for no place.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/batch.h"
#include "core/params.h"
#include "played.h"

static lph_params nothing;

static void hand_over(played *p, lph_stmt *stmt, int index) {
  assert_true(lph_batch_has_room(&p->c));
  assert_int_equal(lph_batch_execute(&p->c, stmt, &nothing, index, 100 + index), LPH_OK);
}

/* Takes what has come; answers the numbers of the statements that were told, as text. */
static const char *told(played *p, int *want) {
  static char text[256];
  const lph_leg *leg;
  size_t len = 0;
  text[0] = '\0';
  lph_batch_pull(&p->c);
  while ((*want = lph_batch_next(&p->c, &leg)) == LPH_DONE) {
    ExecStatusType status = PQresultStatus(p->c.op.result);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
    assert_int_equal(leg->code, 100 + leg->index);
    len += (size_t)snprintf(text + len, sizeof text - len, "%s%d%s", len > 0 ? " " : "", leg->index,
                            ok                          ? ""
                            : leg->kind == LPH_LEG_SYNC ? " not kept"
                                                        : " failed");
    lph_batch_release(&p->c);
  }
  return text;
}

/* An end of the stream is seen one look after what came before it. */
static void expect(played *p, const char *numbers, int expected) {
  int want;
  assert_string_equal(told(p, &want), numbers);
  for (int i = 0; i < 3 && expected == LPH_FAILED && want == LPH_WANT_READ; i++)
    assert_string_equal(told(p, &want), "");
  assert_int_equal(want, expected);
}

/* ---- one transaction ----------------------------------------------------------------------------------------- */

static void one_transaction_is_one_sync(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  assert_int_equal(p.c.state, LPH_BUSY);
  for (int i = 1; i <= 3; i++) hand_over(&p, stmt, i);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  assert_false(lph_batch_has_room(&p.c));
  assert_string_equal(played_sent(&p), "BDEBDEBDES");
  for (int i = 0; i < 3; i++) played_done(&p, "INSERT 0 1");
  played_flush(&p);
  expect(&p, "1 2 3", LPH_WANT_READ);
  assert_false(lph_batch_is_over(&p.c));
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "", LPH_WANT_READ);
  assert_true(lph_batch_is_over(&p.c));
  assert_int_equal(lph_batch_finish(&p.c), LPH_DONE);
  assert_true(p.c.op.kept);
  lph_batch_free(&p.c);
  assert_int_equal(p.c.state, LPH_IDLE);
  assert_int_equal(stmt->pins, 0);
  played_close(&p);
}

static void answers_in_single_bytes_are_the_same_answers(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "select");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  hand_over(&p, stmt, 1);
  hand_over(&p, stmt, 2);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  played_text_row(&p, "one", 3);
  played_done(&p, "INSERT 0 1");
  played_ready(&p, 'I');
  char all[1024];
  size_t len = p.out.len;
  memcpy(all, p.out.data, len);
  lph_buf_clear(&p.out);
  int seen = 0;
  for (size_t i = 0; i < len; i++) {
    int want;
    assert_int_equal(send(p.fd, all + i, 1, 0), 1);
    const char *numbers = told(&p, &want);
    assert_int_equal(want, LPH_WANT_READ);
    if (numbers[0] != '\0') assert_int_equal(atoi(numbers), ++seen);
    assert_int_equal(lph_batch_is_over(&p.c), i + 1 == len);
  }
  assert_int_equal(seen, 2);
  assert_int_equal(lph_batch_finish(&p.c), LPH_DONE);
  lph_batch_free(&p.c);
  played_close(&p);
}

/* The server skips what stands behind a failure up to the Sync. */
static void a_failure_takes_all_of_it_along(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  for (int i = 1; i <= 4; i++) hand_over(&p, stmt, i);
  played_done(&p, "INSERT 0 1");
  played_error(&p, "ERROR", "23505");
  played_flush(&p);
  expect(&p, "1", LPH_WANT_READ);
  assert_false(lph_batch_has_room(&p.c)); /* nothing more is handed over */
  assert_int_equal(lph_batch_end(&p.c, true), LPH_OK);
  assert_string_equal(played_sent(&p), "BDEBDEBDEBDES"); /* the server rolls back by itself */
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "", LPH_WANT_READ);
  assert_true(lph_batch_is_over(&p.c));
  assert_int_equal(p.c.batch->failed, 2);
  assert_int_equal(p.c.batch->failed_code, 102);
  assert_ptr_equal(p.c.batch->culprit, stmt);
  assert_int_equal(lph_batch_finish(&p.c), LPH_FAILED);
  assert_false(p.c.op.kept);
  assert_string_equal(p.c.error.sqlstate, "23505");
  lph_batch_free(&p.c);
  assert_int_equal(p.c.state, LPH_IDLE);
  assert_int_equal(stmt->pins, 0);
  played_close(&p);
}

static void the_first_failure_counts(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  hand_over(&p, stmt, 1);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  played_error(&p, "ERROR", "22012");
  played_error(&p, "ERROR", "40001"); /* what COMMIT, at the Sync, says besides */
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "", LPH_WANT_READ);
  if (lph_batch_is_over(&p.c)) assert_int_equal(lph_batch_finish(&p.c), LPH_FAILED);
  assert_string_equal(p.c.op.failure.sqlstate, "22012");
  lph_batch_free(&p.c);
  played_close(&p);
}

/* A constraint that is checked at the end: all statements were done, and nothing is kept. */
static void what_fails_at_the_end_belongs_to_no_statement(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  hand_over(&p, stmt, 1);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  played_done(&p, "INSERT 0 1");
  played_error(&p, "ERROR", "23503");
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "1", LPH_WANT_READ);
  assert_true(lph_batch_is_over(&p.c));
  assert_int_equal(p.c.batch->failed, 0);
  assert_int_equal(lph_batch_finish(&p.c), LPH_FAILED);
  assert_false(p.c.op.kept);
  lph_batch_free(&p.c);
  played_close(&p);
}

static void one_that_is_given_up_is_rolled_back(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  hand_over(&p, stmt, 1);
  lph_batch_stop(p.c.batch);
  assert_false(lph_batch_has_room(&p.c));
  assert_int_equal(lph_batch_drain(&p.c), LPH_WANT_READ);
  assert_string_equal(played_sent(&p), "BDEPBDES");
  assert_true(played_heard(&p, "rollback"));
  played_done(&p, "INSERT 0 1");
  played_say(&p, '1', NULL, 0);
  played_done(&p, "ROLLBACK");
  played_ready(&p, 'I');
  played_flush(&p);
  assert_int_equal(lph_batch_drain(&p.c), LPH_DONE);
  assert_int_equal(p.c.state, LPH_IDLE);
  assert_false(p.c.op.kept);
  assert_null(p.c.batch);
  played_close(&p);
}

/* ---- isolated --------------------------------------------------------------------------------------------------- */

static void isolated_statements_fail_alone(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, true), LPH_OK);
  for (int i = 1; i <= 4; i++) hand_over(&p, stmt, i);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  assert_string_equal(played_sent(&p), "BDESBDESBDESBDES");
  played_done(&p, "INSERT 0 1");
  played_ready(&p, 'I');
  played_error(&p, "ERROR", "23505");
  played_ready(&p, 'I');
  played_done(&p, "INSERT 0 1"); /* and its COMMIT fails */
  played_error(&p, "ERROR", "23503");
  played_ready(&p, 'I');
  played_done(&p, "INSERT 0 1");
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "1 2 failed 3 3 not kept 4", LPH_WANT_READ);
  assert_true(lph_batch_is_over(&p.c));
  assert_int_equal(lph_batch_finish(&p.c), LPH_DONE);
  lph_batch_free(&p.c);
  assert_int_equal(stmt->pins, 0);
  played_close(&p);
}

/* ---- preparing in the flight -------------------------------------------------------------------------------------- */

static void a_statement_is_prepared_between_the_others(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *known = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  hand_over(&p, known, 1);
  lph_stmt *fresh = lph_stmts_get(&p.c.stmts, (lph_bytes){"select 2", 8}, NULL, 0);
  assert_false(lph_stmts_is_ready(&p.c.stmts, fresh));
  assert_int_equal(lph_batch_prepare(&p.c, fresh, 2, 102), LPH_OK);
  assert_true(lph_batch_is_preparing(p.c.batch, fresh));
  assert_false(lph_batch_is_preparing(p.c.batch, known));
  lph_batch_wait_for(p.c.batch, fresh);
  assert_false(lph_batch_has_room(&p.c)); /* its parameters cannot be encoded yet */
  assert_true(lph_batch_has_place(&p.c));
  assert_int_equal(lph_batch_ask(&p.c), LPH_OK);
  assert_string_equal(played_sent(&p), "BDEPDH");
  played_done(&p, "INSERT 0 1");
  played_say(&p, '1', NULL, 0);
  played_say(&p, 't', "\0\1\0\0\0\x17", 6); /* one parameter, int4 */
  played_say(&p, 'n', NULL, 0);
  played_flush(&p);
  expect(&p, "1", LPH_WANT_READ);
  assert_ptr_equal(p.c.batch->ready, fresh);
  assert_int_equal(fresh->param_count, 1);
  assert_int_equal(fresh->param_oids[0], 23);
  assert_true(lph_batch_has_room(&p.c));
  lph_batch_forget(&p.c);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "", LPH_WANT_READ);
  assert_true(lph_batch_is_over(&p.c));
  assert_int_equal(lph_batch_finish(&p.c), LPH_DONE);
  lph_batch_free(&p.c);
  assert_int_equal(fresh->pins + known->pins, 0);
  played_close(&p);
}

static void a_text_that_cannot_be_prepared_names_its_statement(void **state) {
  (void)state;
  played p;
  played_open(&p);
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  lph_stmt *wrong = lph_stmts_get(&p.c.stmts, (lph_bytes){"selekt", 6}, NULL, 0);
  assert_int_equal(lph_batch_prepare(&p.c, wrong, 7, 107), LPH_OK);
  lph_batch_wait_for(p.c.batch, wrong);
  assert_int_equal(lph_batch_end(&p.c, true), LPH_OK);
  played_error(&p, "ERROR", "42601");
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "", LPH_WANT_READ);
  assert_int_equal(p.c.batch->failed, 7);
  assert_true(p.c.batch->failed_preparing);
  lph_batch_forget(&p.c);
  assert_int_equal(lph_batch_finish(&p.c), LPH_FAILED);
  lph_batch_free(&p.c);
  assert_int_equal(wrong->pins, 0);
  played_close(&p);
}

/* ---- bounds --------------------------------------------------------------------------------------------------------- */

static void what_is_under_way_is_bounded_and_asked_for(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  int given = 0, answered = 0, asked = 0;
  for (int round = 0; round < 5; round++) {
    while (lph_batch_has_room(&p.c)) hand_over(&p, stmt, ++given);
    assert_true((int)p.c.batch->count <= LPH_BATCH_FLIGHT - 4);
    assert_int_equal(lph_batch_ask(&p.c), LPH_OK);
    for (const char *type = played_sent(&p); *type != '\0'; type++) asked += *type == 'H';
    for (; answered < given; answered++) {
      int want;
      played_done(&p, "INSERT 0 1");
      played_flush(&p);
      assert_int_equal(atoi(told(&p, &want)), answered + 1);
    }
  }
  assert_true(given >= 5 * (LPH_BATCH_FLIGHT - 5));
  assert_true(asked >= given / LPH_BATCH_FLUSH); /* or the server would keep short answers to itself */
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  played_ready(&p, 'I');
  played_flush(&p);
  expect(&p, "", LPH_WANT_READ);
  assert_int_equal(lph_batch_finish(&p.c), LPH_DONE);
  lph_batch_free(&p.c);
  played_close(&p);
}

/* A server that does not read: what the socket does not take stops the batch, and libpq's buffer stays small. */
static void a_server_that_does_not_read_stops_it(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_buf long_text = {0};
  assert_int_equal(lph_buf_puts(&long_text, "select '"), LPH_OK);
  for (int i = 0; i < 50000; i++) assert_int_equal(lph_buf_putc(&long_text, 'x'), LPH_OK);
  assert_int_equal(lph_buf_puts(&long_text, "'"), LPH_OK);
  assert_int_equal(lph_buf_terminate(&long_text), LPH_OK);
  p.c.stmts.unnamed = true; /* the text travels each time */
  lph_stmt *stmt = played_statement(&p, long_text.data);
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  int given = 0;
  while (lph_batch_has_room(&p.c)) hand_over(&p, stmt, ++given);
  assert_true(p.c.op.unflushed);
  assert_true(given < 100);
  assert_int_equal(lph_batch_want(&p.c), LPH_WANT_RW);
  for (int i = 0; i < 100 && p.c.op.unflushed; i++) { /* it reads again */
    char piece[65536];
    while (recv(p.fd, piece, sizeof piece, MSG_DONTWAIT) > 0) continue;
    lph_batch_pull(&p.c);
  }
  assert_false(p.c.op.unflushed);
  assert_true(lph_batch_has_room(&p.c));
  lph_conn_close(&p.c);
  lph_buf_free(&long_text);
  played_close(&p);
}

static void a_result_that_is_too_big_stops_it(void **state) {
  (void)state;
  played p;
  static char huge[100000];
  played_open(&p);
  p.c.max_result_bytes = 50000;
  memset(huge, 'x', sizeof huge);
  lph_stmt *stmt = played_statement(&p, "select");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  for (int i = 1; i <= 3; i++) hand_over(&p, stmt, i);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  played_text_row(&p, "small", 5);
  played_text_row(&p, huge, sizeof huge);
  played_text_row(&p, huge, sizeof huge);
  played_ready(&p, 'I');
  played_flush(&p);
  int want, turns = 0;
  char all[64] = "";
  while (!lph_batch_is_over(&p.c) && turns++ < 1000) strcat(all, told(&p, &want));
  assert_string_equal(all, "1");
  assert_int_equal(p.c.batch->failed, 2);
  assert_int_equal(lph_batch_finish(&p.c), LPH_FAILED);
  assert_string_equal(p.c.error.kind, "result_too_big");
  lph_batch_free(&p.c);
  played_close(&p);
}

/* ---- ends that nobody wished for -------------------------------------------------------------------------------- */

/* Whether the server can have kept anything: as long as the Sync has not left, nobody commits. */
static void a_loss_says_whether_anything_can_be_there(void **state) {
  (void)state;
  for (int sync_left = 0; sync_left <= 1; sync_left++) {
    for (int isolated = 0; isolated <= 1; isolated++) {
      played p;
      played_open(&p);
      lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
      assert_int_equal(lph_batch_begin(&p.c, isolated != 0), LPH_OK);
      hand_over(&p, stmt, 1);
      hand_over(&p, stmt, 2);
      if (sync_left) assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
      played_sent(&p);
      played_done(&p, "INSERT 0 1");
      if (isolated) played_ready(&p, 'I');
      played_flush(&p);
      played_hang_up(&p);
      expect(&p, "1", LPH_FAILED);
      assert_string_equal(p.c.error.kind, "closed");
      assert_int_equal(p.c.error.sent, !sync_left && !isolated ? LPH_SENT_NO : LPH_SENT_MAYBE);
      assert_int_equal(p.c.state, LPH_CLOSED);
      assert_null(p.c.batch);
      played_close(&p);
    }
  }
}

static void the_servers_last_words_are_the_reason(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  hand_over(&p, stmt, 1);
  played_sent(&p);
  played_error(&p, "FATAL", "57P01");
  played_flush(&p);
  played_hang_up(&p);
  expect(&p, "", LPH_WANT_READ); /* nothing else is awaited */
  assert_true(p.c.batch->stopped);
  if (lph_batch_end(&p.c, true) == LPH_OK) expect(&p, "", LPH_FAILED);
  assert_int_equal(p.c.state, LPH_CLOSED);
  assert_string_equal(p.c.error.sqlstate, "57P01");
  assert_int_equal(p.c.error.sent, LPH_SENT_NO);
  played_close(&p);
}

/* What was read from the socket while something was written, and not looked at before the loss: libpq has forgotten
 * what it had sent by then. */
static void answers_that_libpq_reads_after_a_loss_are_nobodys(void **state) {
  (void)state;
  for (int isolated = 0; isolated <= 1; isolated++) {
    played p;
    played_open(&p);
    lph_stmt *stmt = played_statement(&p, "select");
    assert_int_equal(lph_batch_begin(&p.c, isolated != 0), LPH_OK);
    for (int i = 1; i <= 3; i++) hand_over(&p, stmt, i);
    assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
    played_sent(&p);
    for (int i = 0; i < 3; i++) {
      played_text_row(&p, "one", 3);
      if (isolated) played_ready(&p, 'I');
    }
    played_flush(&p);
    assert_int_equal(PQconsumeInput(p.c.pg), 1);
    played_hang_up(&p);
    for (int i = 0; i < 3 && PQconsumeInput(p.c.pg); i++) continue;
    assert_int_equal(PQstatus(p.c.pg), CONNECTION_BAD);
    expect(&p, "", LPH_FAILED);
    assert_string_equal(p.c.error.kind, "closed");
    assert_int_equal(p.c.error.sent, LPH_SENT_MAYBE);
    played_close(&p);
  }
}

static void a_copy_that_nobody_asked_for_ends_the_session(void **state) {
  (void)state;
  static const char kinds[] = {'G', 'H', 'W'};
  for (size_t i = 0; i < sizeof kinds; i++) {
    played p;
    played_open(&p);
    lph_stmt *stmt = played_statement(&p, "select 1");
    assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
    hand_over(&p, stmt, 1);
    assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
    played_say(&p, '2', NULL, 0);
    played_say(&p, kinds[i], "\0\0\0", 3);
    played_flush(&p);
    expect(&p, "", LPH_FAILED);
    assert_int_equal(p.c.state, LPH_CLOSED);
    played_close(&p);
  }
}

/* More answers than questions: they must not become somebody else's. */
static void answers_too_many_shift_nothing(void **state) {
  (void)state;
  played p;
  played_open(&p);
  lph_stmt *stmt = played_statement(&p, "insert into t values (1)");
  assert_int_equal(lph_batch_begin(&p.c, false), LPH_OK);
  hand_over(&p, stmt, 1);
  assert_int_equal(lph_batch_end(&p.c, false), LPH_OK);
  played_done(&p, "INSERT 0 1");
  played_done(&p, "INSERT 0 2");
  played_done(&p, "INSERT 0 3");
  played_ready(&p, 'I');
  played_flush(&p);
  int want;
  const char *numbers = told(&p, &want);
  assert_true(strcmp(numbers, "1") == 0 || strcmp(numbers, "") == 0);
  assert_true(want == LPH_FAILED || want == LPH_WANT_READ);
  lph_conn_close(&p.c);
  played_close(&p);
}

/* All of it once, with the n-th allocation failing. True: it came to its end. */
static bool run_short_of_memory(played *p, lph_stmt *known, lph_stmt *fresh) {
  if (lph_batch_begin(&p->c, false) != LPH_OK) return false;
  if (lph_batch_execute(&p->c, known, &nothing, 1, 101) != LPH_OK) return false;
  if (lph_batch_prepare(&p->c, fresh, 2, 102) != LPH_OK) return false;
  if (lph_batch_end(&p->c, false) != LPH_OK) return false;
  int want;
  played_flush(p);
  told(p, &want);
  return want == LPH_WANT_READ && lph_batch_is_over(&p->c) && lph_batch_finish(&p->c) == LPH_DONE;
}

static void memory_that_runs_out_leaves_nothing_half(void **state) {
  (void)state;
  bool done = false;
  int n = 0;
  if (!lph_mem_fail_at(0, false)) skip();
  while (!done && n < 200) {
    played p;
    played_open(&p);
    lph_stmt *known = played_statement(&p, "select 'one'");
    lph_stmt *fresh = lph_stmts_get(&p.c.stmts, (lph_bytes){"select $1::int", 14}, NULL, 0);
    played_text_row(&p, "one", 3); /* beforehand: the test itself is not short of memory */
    played_say(&p, '1', NULL, 0);
    played_say(&p, 't', "\0\1\0\0\0\x17", 6);
    played_say(&p, 'n', NULL, 0);
    played_ready(&p, 'I');
    lph_mem_fail_at(++n, false);
    done = run_short_of_memory(&p, known, fresh) && !lph_mem_failed();
    lph_mem_fail_at(0, false);
    if (!done && lph_error_is_set(&p.c.error)) assert_string_equal(p.c.error.kind, "out_of_memory");
    played_close(&p); /* which counts what is left */
  }
  assert_true(done);
  assert_true(n > 3);
}

static void texts_are_sorted_by_their_first_word(void **state) {
  (void)state;
  static const struct {
    const char *sql;
    lph_batch_class class;
  } cases[] = {
    {"select 1", LPH_BATCH_PLAIN},
    {"-- x\n INSERT into t values (1)", LPH_BATCH_PLAIN},
    {"with a as (select 1) table a", LPH_BATCH_PLAIN},
    {"create table t ()", LPH_BATCH_BARRIER},
    {"do $$ begin end $$", LPH_BATCH_BARRIER},
    {"", LPH_BATCH_BARRIER},
    {"COPY t from stdin", LPH_BATCH_COPY},
    {"copying", LPH_BATCH_BARRIER},
    {"/* a */ listen b", LPH_BATCH_LISTEN},
    {"unlisten *", LPH_BATCH_LISTEN},
    {"begin", LPH_BATCH_CONTROL},
    {"START transaction", LPH_BATCH_CONTROL},
    {"savepoint a", LPH_BATCH_CONTROL},
    {"prepare transaction 'x'", LPH_BATCH_CONTROL},
  };
  for (size_t i = 0; i < lph_countof(cases); i++)
    assert_int_equal(lph_batch_class_of((lph_bytes){cases[i].sql, strlen(cases[i].sql)}), cases[i].class);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_transaction_is_one_sync),
    cmocka_unit_test(answers_in_single_bytes_are_the_same_answers),
    cmocka_unit_test(a_failure_takes_all_of_it_along),
    cmocka_unit_test(the_first_failure_counts),
    cmocka_unit_test(what_fails_at_the_end_belongs_to_no_statement),
    cmocka_unit_test(one_that_is_given_up_is_rolled_back),
    cmocka_unit_test(isolated_statements_fail_alone),
    cmocka_unit_test(a_statement_is_prepared_between_the_others),
    cmocka_unit_test(a_text_that_cannot_be_prepared_names_its_statement),
    cmocka_unit_test(what_is_under_way_is_bounded_and_asked_for),
    cmocka_unit_test(a_server_that_does_not_read_stops_it),
    cmocka_unit_test(a_result_that_is_too_big_stops_it),
    cmocka_unit_test(a_loss_says_whether_anything_can_be_there),
    cmocka_unit_test(the_servers_last_words_are_the_reason),
    cmocka_unit_test(answers_that_libpq_reads_after_a_loss_are_nobodys),
    cmocka_unit_test(a_copy_that_nobody_asked_for_ends_the_session),
    cmocka_unit_test(answers_too_many_shift_nothing),
    cmocka_unit_test(memory_that_runs_out_leaves_nothing_half),
    cmocka_unit_test(texts_are_sorted_by_their_first_word),
  };
  lph_params_begin(&nothing, 0);
  lph_params_seal(&nothing);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  lph_params_free(&nothing);
  return failed;
}
