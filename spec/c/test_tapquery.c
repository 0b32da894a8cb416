/* Rows of a statement's own answer that are read past libpq (core/tap.h): a stream gets them in their order, however the
 * bytes are cut and wherever a row is too long for us; what stands behind them in a flight is not taken for more of them.
 *
 * To see it fail: let is_served in csrc/core/op.c not look for rows, or ends_rows in csrc/core/tap.c answer false.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bind/lfields.h"
#include "played.h"

#define LONG_ROW 100000 /* more than the tap holds */

static const size_t sizes[] = {1, 2, 3, 5, 7, 64, 1000, 8192, 65536, 130000};

static const lph_params none;

/* With one column of type text. */
static lph_stmt *known_query(played *p) {
  lph_stmt *stmt = lph_stmts_get(&p->c.stmts, (lph_bytes){"select t", 8}, NULL, 0);
  PGresAttDesc column = {.name = "t", .typid = 25, .typlen = -1, .atttypmod = -1};
  PGresult *description = PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
  assert_non_null(stmt);
  assert_int_equal(PQsetResultAttrs(description, 1, &column), 1);
  assert_int_equal(lph_stmts_rename(&p->c.stmts, stmt), LPH_OK);
  assert_int_equal(lph_stmts_describe(&p->c.stmts, stmt, description), LPH_OK);
  PQclear(description);
  lph_stmts_bind(&p->c.stmts, stmt, p->c.types, NULL, 0);
  assert_int_equal(stmt->column_count, 1);
  return stmt;
}

static void say_column(played *p) {
  static const char column[] = "\0\1t\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0";
  played_say(p, '2', NULL, 0);
  played_say(p, 'T', column, sizeof column);
}

static void say_value(played *p, const char *value, size_t len) {
  char head[6] = {0, 1, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len};
  lph_buf row = {0};
  assert_int_equal(lph_buf_add(&row, head, sizeof head), LPH_OK);
  assert_int_equal(lph_buf_add(&row, value, len), LPH_OK);
  played_say(p, 'D', row.data, row.len);
  lph_buf_free(&row);
}

static void say_notice(played *p) {
  static const char body[] = "SNOTICE\0VNOTICE\0C00000\0Mlook here\0";
  played_say(p, 'N', body, sizeof body);
}

/* 1, 2, a notice, two long rows, 3, a long row, a notice, 4 */
static void say_rows(played *p) {
  char *value = malloc(LONG_ROW);
  memset(value, 'x', LONG_ROW);
  say_column(p);
  say_value(p, "1", 1);
  say_value(p, "2", 1);
  say_notice(p);
  say_value(p, value, LONG_ROW);
  say_value(p, value, LONG_ROW);
  say_value(p, "3", 1);
  say_value(p, value, LONG_ROW);
  say_notice(p);
  say_value(p, "4", 1);
  free(value);
}

typedef struct seen {
  char text[64];
  size_t len;
  lph_want want;
} seen;

static void note_value(seen *s, const char *data, int len) {
  assert_true(len == 1 || len == LONG_ROW);
  s->text[s->len++] = len == 1 ? data[0] : 'x';
}

static void note_rows(seen *s, PGresult *res, const lph_wirerows *rows) {
  lfields in = lfields_of(res, rows);
  int count = lfields_count(res, rows);
  for (int row = 0; row < count; row++) {
    const char *data = NULL;
    int len = 0;
    assert_true(lfields_open_row(&in, row, 1));
    assert_true(lfields_next(&in, row, 0, &data, &len));
    assert_true(lfields_is_read(&in));
    note_value(s, data, len);
  }
}

static void take_portions(played *p, void *arg) {
  seen *s = arg;
  lph_wirerows rows = {0};
  do {
    PGresult *res;
    if (p->c.state == LPH_BUSY) s->want = lph_conn_step(&p->c);
    while (lph_op_take_portion(&p->c.op, &res, &rows)) {
      assert_int_equal(s->want, LPH_DONE);
      note_rows(s, res, &rows);
      PQclear(res);
      lph_wirerows_clear(&rows);
      s->want = lph_conn_step(&p->c);
    }
  } while (played_is_left(p));
  lph_wirerows_free(&rows);
}

static void step_on(played *p, void *arg) {
  seen *s = arg;
  do s->want = p->c.state == LPH_BUSY ? lph_conn_step(&p->c) : s->want;
  while (played_is_left(p));
}

/* ---- STREAM ----------------------------------------------------------------------------------------------------- */

static void streamed_rows_keep_their_order(void **state) {
  (void)state;
  for (size_t i = 0; i < lph_countof(sizes); i++) {
    played p;
    seen s = {0};
    played_open(&p);
    assert_int_equal(lph_op_stream(&p.c, known_query(&p), &none, 0), LPH_WANT_READ);
    assert_true(lph_tap_is_open(&p.c.tap));
    say_rows(&p);
    played_complete(&p, "SELECT 7");
    played_ready(&p, 'I');
    played_in_pieces(&p, sizes[i], take_portions, &s);
    assert_int_equal(s.want, LPH_DONE);
    assert_int_equal(p.c.state, LPH_IDLE);
    assert_string_equal(s.text, "12xx3x4");
    assert_string_equal(PQcmdTuples(p.c.op.result), "7");
    assert_int_equal(p.c.notice_count, 2);
    assert_false(lph_tap_is_open(&p.c.tap));
    played_close(&p);
  }
}

/* The first row is there before the second one has been sent. */
static void a_row_is_handed_out_when_it_has_come(void **state) {
  (void)state;
  played p;
  seen s = {0};
  played_open(&p);
  assert_int_equal(lph_op_stream(&p.c, known_query(&p), &none, 0), LPH_WANT_READ);
  say_column(&p);
  say_value(&p, "1", 1);
  played_in_pieces(&p, 1 << 20, take_portions, &s);
  assert_string_equal(s.text, "1");
  assert_int_equal(s.want, LPH_WANT_READ);
  say_value(&p, "2", 1);
  played_in_pieces(&p, 1 << 20, take_portions, &s);
  assert_string_equal(s.text, "12");
  played_close(&p);
}

static void a_failure_in_the_middle_comes_behind_the_rows(void **state) {
  (void)state;
  for (size_t i = 0; i < lph_countof(sizes); i++) {
    played p;
    seen s = {0};
    played_open(&p);
    assert_int_equal(lph_op_stream(&p.c, known_query(&p), &none, 0), LPH_WANT_READ);
    say_rows(&p);
    played_error(&p, "ERROR", "22012");
    played_ready(&p, 'I');
    played_in_pieces(&p, sizes[i], take_portions, &s);
    assert_string_equal(s.text, "12xx3x4");
    assert_int_equal(s.want, LPH_FAILED);
    assert_string_equal(p.c.error.sqlstate, "22012");
    assert_int_equal(p.c.state, LPH_IDLE);
    played_close(&p);
  }
}

static void rows_that_nobody_wants_any_more_are_thrown_away(void **state) {
  (void)state;
  for (size_t i = 0; i < lph_countof(sizes); i++) {
    played p;
    seen s = {0};
    played_open(&p);
    assert_int_equal(lph_op_stream(&p.c, known_query(&p), &none, 0), LPH_WANT_READ);
    say_column(&p);
    say_value(&p, "1", 1);
    played_in_pieces(&p, 1 << 20, take_portions, &s);
    lph_op_discard(&p.c);
    say_value(&p, "2", 1);
    played_say(&p, 'D', NULL, 0); /* not even a row */
    played_complete(&p, "SELECT 3");
    played_ready(&p, 'I');
    played_in_pieces(&p, sizes[i], step_on, &s);
    assert_int_equal(s.want, LPH_DONE);
    assert_int_equal(p.c.state, LPH_IDLE);
    assert_int_equal(p.c.op.rows.count, 0);
    played_close(&p);
  }
}

/* ---- EXECUTE ---------------------------------------------------------------------------------------------------- */

static void execute(played *p, lph_stmt *stmt) {
  assert_int_equal(lph_op_execute(&p->c, stmt, &none), LPH_WANT_READ);
  assert_int_equal(lph_tap_is_open(&p->c.tap), stmt->lengthy);
}

static void a_result_is_read_past_libpq_when_the_last_one_was_long(void **state) {
  (void)state;
  char value[1000] = {0};
  played p;
  seen s = {0};
  played_open(&p);
  lph_stmt *stmt = known_query(&p);
  for (int round = 0; round < 4; round++) { /* libpq, us, us, libpq */
    execute(&p, stmt);
    say_column(&p);
    int rows = round < 2 ? 60 : 2;
    for (int row = 0; row < rows; row++) say_value(&p, value, sizeof value);
    played_complete(&p, "SELECT 60");
    played_ready(&p, 'I');
    played_in_pieces(&p, 1 << 20, step_on, &s);
    assert_int_equal(s.want, LPH_DONE);
    bool ours = round == 1 || round == 2;
    assert_int_equal(p.c.op.rows.count, ours ? rows : 0);
    assert_int_equal(PQntuples(p.c.op.result), ours ? 0 : rows);
    assert_int_equal(stmt->lengthy, round < 2);
  }
  played_close(&p);
}

/* The question for extra_float_digits is answered by a row, too. */
static void rows_of_what_rides_behind_are_left_to_libpq(void **state) {
  (void)state;
  for (size_t i = 0; i < lph_countof(sizes); i++) {
    played p;
    seen s = {0};
    played_open(&p);
    lph_stmt *stmt = known_query(&p);
    stmt->lengthy = stmt->prints_floats = true;
    p.c.stmts.unnamed = true; /* helpers are not prepared first */
    execute(&p, stmt);
    say_rows(&p);
    played_complete(&p, "SELECT 7");
    played_say(&p, '1', NULL, 0);
    played_text_row(&p, "1", 1);
    played_ready(&p, 'I');
    played_in_pieces(&p, sizes[i], step_on, &s);
    assert_int_equal(s.want, LPH_DONE);
    assert_int_equal(p.c.state, LPH_IDLE);
    note_rows(&s, p.c.op.result, &p.c.op.rows);
    assert_string_equal(s.text, "12xx3x4");
    played_close(&p);
  }
}

static void a_result_that_fails_in_the_middle_has_no_rows(void **state) {
  (void)state;
  for (size_t i = 0; i < lph_countof(sizes); i++) {
    played p;
    seen s = {0};
    played_open(&p);
    lph_stmt *stmt = known_query(&p);
    stmt->lengthy = true;
    execute(&p, stmt);
    say_rows(&p);
    played_error(&p, "ERROR", "22012");
    played_ready(&p, 'I');
    played_in_pieces(&p, sizes[i], step_on, &s);
    assert_int_equal(s.want, LPH_FAILED);
    assert_string_equal(p.c.error.sqlstate, "22012");
    assert_int_equal(p.c.op.rows.count, 0);
    assert_null(p.c.op.result);
    played_close(&p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(streamed_rows_keep_their_order),
    cmocka_unit_test(a_row_is_handed_out_when_it_has_come),
    cmocka_unit_test(a_failure_in_the_middle_comes_behind_the_rows),
    cmocka_unit_test(rows_that_nobody_wants_any_more_are_thrown_away),
    cmocka_unit_test(a_result_is_read_past_libpq_when_the_last_one_was_long),
    cmocka_unit_test(rows_of_what_rides_behind_are_left_to_libpq),
    cmocka_unit_test(a_result_that_fails_in_the_middle_has_no_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
