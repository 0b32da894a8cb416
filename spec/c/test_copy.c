/* COPY as messages: rows become pieces, an error of the server in the middle is seen, each end says what it is, and
 * nothing is read while a row waits. The server's answers are made by hand (played.h); test_copytext.c has the fields.
 *
 * To see it fail: let look in csrc/core/copy.c forget where in a message it stopped, send_end pass no reason, or
 * must_go_on always answer false.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/copy.h"
#include "played.h"

/* The server is willing; `kind` is G (in) or H (out). */
static void begun(played *p, char kind, bool binary) {
  const char willing[] = {binary, 0, 2, 0, binary, 0, binary};
  played_open(p);
  assert_int_equal(lph_op_copy(&p->c, "copy t", kind == 'G'), LPH_WANT_READ);
  assert_string_equal(played_sent(p), "Q");
  played_say(p, kind, willing, sizeof willing);
  played_flush(p);
  assert_int_equal(lph_conn_step(&p->c), LPH_DONE);
  assert_int_equal(p->c.state, LPH_BUSY);
  assert_int_equal(p->c.copy.columns, 2);
  assert_int_equal(p->c.copy.binary, binary);
}

static void put(played *p, const char *row) {
  assert_true(lph_copy_has_room(&p->c.copy));
  assert_int_equal(lph_buf_puts(lph_copy_room(&p->c.copy), row), LPH_OK);
}

static void ended(played *p, const char *tag) {
  played_complete(p, tag);
  played_ready(p, 'I');
  played_flush(p);
  assert_int_equal(lph_conn_step(&p->c), LPH_DONE);
  assert_int_equal(p->c.state, LPH_IDLE);
}

/* ---- in --------------------------------------------------------------------------------------------------------- */

static void rows_go_out_as_pieces(void **state) {
  (void)state;
  played p;
  begun(&p, 'G', false);
  assert_true(lph_copy_has_room(&p.c.copy));
  put(&p, "1\ta\n");
  put(&p, "2\tb\n");
  assert_false(lph_copy_is_full(&p.c.copy));
  assert_string_equal(played_sent(&p), ""); /* gathered */
  assert_int_equal(lph_copy_push(&p.c), LPH_DONE);
  assert_string_equal(played_sent(&p), "d");
  assert_int_equal(p.in.len, 5 + 8);
  assert_memory_equal(p.in.data + 5, "1\ta\n2\tb\n", 8);
  assert_int_equal(lph_copy_push(&p.c), LPH_DONE); /* nothing to send */
  assert_string_equal(played_sent(&p), "");
  put(&p, "3\tc\n");
  assert_int_equal(lph_copy_end(&p.c, NULL), LPH_WANT_READ);
  assert_string_equal(played_sent(&p), "dc");
  ended(&p, "COPY 3");
  assert_int_equal(p.c.copy.bytes, 12);
  played_close(&p);
}

/* Memory is bounded by a piece: what the socket does not take allows no more rows. */
static void a_server_that_does_not_read_allows_no_more_rows(void **state) {
  (void)state;
  played p;
  begun(&p, 'G', false);
  lph_want want = LPH_DONE;
  size_t put_in = 0, came = 0;
  for (int i = 0; i < 1000 && want == LPH_DONE; i++) {
    while (!lph_copy_is_full(&p.c.copy)) put(&p, "a row that is not very long\n"), put_in += 28;
    want = (lph_want)lph_copy_push(&p.c);
  }
  assert_int_equal(want, LPH_WANT_RW);
  assert_false(lph_copy_has_room(&p.c.copy));
  assert_true(p.c.copy.piece.cap < 4 * LPH_COPY_PIECE);
  lph_buf all = {0};
  assert_int_equal(lph_copy_end(&p.c, NULL), LPH_WANT_RW); /* the rest of the message has to follow */
  for (int i = 0; i < 1000; i++) {
    char piece[65536];
    ssize_t n;
    while ((n = recv(p.fd, piece, sizeof piece, MSG_DONTWAIT)) > 0) lph_buf_add(&all, piece, (size_t)n);
    if (p.c.copy.phase == LPH_COPY_NONE) break;
    lph_conn_step(&p.c);
  }
  for (size_t at = 0; at < all.len; at += lph_get_u32(all.data + at + 1) + 1)
    if (all.data[at] == 'd') came += lph_get_u32(all.data + at + 1) - 4;
  assert_int_equal(came, put_in);
  assert_int_equal(all.data[all.len - 5], 'c');
  lph_buf_free(&all);
  ended(&p, "COPY 1");
  played_close(&p);
}

static void one_that_is_given_up_says_so(void **state) {
  (void)state;
  played p;
  begun(&p, 'G', false);
  put(&p, "1\ta\n");
  assert_int_equal(lph_copy_end(&p.c, "row 2 cannot be read"), LPH_WANT_READ);
  assert_string_equal(played_sent(&p), "f"); /* a row that was not sent stays unsent */
  assert_true(played_heard(&p, "row 2 cannot be read"));
  played_error(&p, "ERROR", "57014");
  played_ready(&p, 'I');
  played_flush(&p);
  assert_int_equal(lph_conn_step(&p.c), LPH_FAILED);
  assert_int_equal(p.c.state, LPH_IDLE);
  assert_string_equal(p.c.error.sqlstate, "57014");
  played_close(&p);
}

static void one_that_is_discarded_is_ended_by_steps(void **state) {
  (void)state;
  played p;
  begun(&p, 'G', true);
  put(&p, "half of a row");
  lph_op_discard(&p.c);
  assert_string_equal(played_sent(&p), "");
  assert_int_equal(lph_conn_step(&p.c), LPH_WANT_READ);
  assert_string_equal(played_sent(&p), "f");
  played_error(&p, "ERROR", "57014");
  played_ready(&p, 'I');
  played_flush(&p);
  assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
  assert_int_equal(p.c.state, LPH_IDLE);
  played_close(&p);
}

/* Wherever the messages of the server are cut: notices are passed over, an error is none of them. */
static void an_error_in_the_middle_is_seen_when_it_comes(void **state) {
  (void)state;
  played p;
  begun(&p, 'G', false);
  static const char notice[] = "SNOTICE\0VNOTICE\0C00000\0Mthe letter E is no error: EEEE\0";
  played_say(&p, 'N', notice, sizeof notice);
  played_say(&p, 'S', "E\0E", 4);
  played_error(&p, "ERROR", "22P02");
  char all[512];
  size_t len = p.out.len, error_at = 5 + sizeof notice + 5 + 4;
  memcpy(all, p.out.data, len);
  lph_buf_clear(&p.out);
  for (size_t i = 0; i < len && p.c.copy.phase == LPH_COPY_IN; i++) {
    assert_int_equal(p.c.copy.refused, false);
    assert_int_equal(send(p.fd, all + i, 1, 0), 1);
    put(&p, "1\ta\n");
    int want = lph_copy_push(&p.c);
    if (i < error_at + 4) {
      assert_int_equal(want, LPH_DONE);
    } else { /* its head is there */
      assert_true(p.c.copy.refused);
      assert_int_equal(send(p.fd, all + i + 1, len - i - 1, 0), (ssize_t)(len - i - 1));
    }
  }
  assert_true(p.c.copy.refused);
  played_sent(&p);
  played_ready(&p, 'I');
  played_flush(&p);
  int want = LPH_WANT_READ;
  for (int i = 0; i < 5 && want == LPH_WANT_READ; i++) want = lph_conn_step(&p.c);
  assert_int_equal(want, LPH_FAILED);
  assert_string_equal(p.c.error.sqlstate, "22P02");
  assert_int_equal(p.c.state, LPH_IDLE);
  assert_int_equal(p.c.notice_count, 1);
  played_close(&p);
}

static void the_other_direction_is_refused(void **state) {
  (void)state;
  for (int inward = 0; inward <= 1; inward++) {
    played p;
    played_open(&p);
    assert_int_equal(lph_op_copy(&p.c, "copy t", inward != 0), LPH_WANT_READ);
    played_say(&p, inward ? 'H' : 'G', "\0\0\0", 3);
    if (inward) {
      played_say(&p, 'd', "row\n", 4);
      played_say(&p, 'c', NULL, 0);
      played_complete(&p, "COPY 1");
      played_ready(&p, 'I');
    }
    played_flush(&p);
    int want = lph_conn_step(&p.c);
    if (!inward) { /* it waits for rows that nobody has */
      played_sent(&p);
      assert_true(played_heard(&p, "f"));
      played_error(&p, "ERROR", "57014");
      played_ready(&p, 'I');
      played_flush(&p);
      want = lph_conn_step(&p.c);
    }
    assert_int_equal(want, LPH_FAILED);
    assert_int_equal(p.c.state, LPH_IDLE);
    assert_string_equal(p.c.error.kind, "usage");
    played_close(&p);
  }
}

/* ---- out -------------------------------------------------------------------------------------------------------- */

static void rows_come_one_by_one_whatever_they_are_cut_into(void **state) {
  (void)state;
  played p;
  begun(&p, 'H', false);
  static const char *const rows[] = {"1\ta\n", "\n", "a longer row, with more in it\n"};
  for (size_t i = 0; i < lph_countof(rows); i++) played_say(&p, 'd', rows[i], strlen(rows[i]));
  played_say(&p, 'c', NULL, 0);
  played_complete(&p, "COPY 3");
  played_ready(&p, 'I');
  char all[512];
  size_t len = p.out.len, seen = 0;
  memcpy(all, p.out.data, len);
  lph_buf_clear(&p.out);
  lph_copy_drop_row(&p.c.copy);
  for (size_t i = 0; i < len; i++) {
    assert_int_equal(send(p.fd, all + i, 1, 0), 1);
    lph_want want = lph_conn_step(&p.c);
    if (p.c.copy.row != NULL) {
      lph_bytes row = lph_copy_row(&p.c.copy);
      assert_int_equal(want, LPH_DONE);
      assert_int_equal(row.len, strlen(rows[seen]));
      assert_memory_equal(row.data, rows[seen], row.len);
      seen++;
      lph_copy_drop_row(&p.c.copy);
    } else {
      assert_int_equal(want, i + 1 < len ? LPH_WANT_READ : LPH_DONE);
    }
  }
  assert_int_equal(seen, lph_countof(rows));
  assert_int_equal(p.c.state, LPH_IDLE);
  played_close(&p);
}

static void nothing_is_read_while_a_row_waits(void **state) {
  (void)state;
  played p;
  begun(&p, 'H', false);
  played_say(&p, 'd', "1\n", 2);
  played_flush(&p);
  assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
  assert_non_null(p.c.copy.row);
  played_say(&p, 'd', "2\n", 2);
  played_flush(&p);
  char byte;
  assert_int_equal(lph_conn_step(&p.c), LPH_DONE); /* the same row */
  assert_memory_equal(lph_copy_row(&p.c.copy).data, "1\n", 2);
  assert_int_equal(recv(PQsocket(p.c.pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT), 1);
  lph_copy_drop_row(&p.c.copy);
  assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
  assert_memory_equal(lph_copy_row(&p.c.copy).data, "2\n", 2);
  played_close(&p);
}

static void rows_that_nobody_wants_are_read_away(void **state) {
  (void)state;
  played p;
  begun(&p, 'H', false);
  played_say(&p, 'd', "1\n", 2);
  played_flush(&p);
  assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
  lph_op_discard(&p.c);
  for (int i = 0; i < 100; i++) played_say(&p, 'd', "more\n", 5);
  played_error(&p, "ERROR", "57014"); /* it was cancelled */
  played_ready(&p, 'I');
  played_flush(&p);
  assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
  assert_int_equal(p.c.state, LPH_IDLE);
  assert_null(p.c.copy.row);
  played_close(&p);
}

static void a_loss_in_the_middle_is_no_end(void **state) {
  (void)state;
  for (int inward = 0; inward <= 1; inward++) {
    played p;
    begun(&p, inward ? 'G' : 'H', false);
    if (!inward) played_say(&p, 'd', "1\n", 2);
    played_flush(&p);
    if (!inward) assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
    lph_copy_drop_row(&p.c.copy);
    played_hang_up(&p);
    int want = LPH_WANT_READ;
    for (int i = 0; i < 5 && want >= LPH_DONE; i++) {
      if (inward) put(&p, "1\ta\n");
      want = inward ? lph_copy_push(&p.c) : lph_conn_step(&p.c);
    }
    assert_int_equal(want, LPH_FAILED);
    assert_int_equal(p.c.state, LPH_CLOSED);
    assert_string_equal(p.c.error.kind, "closed");
    played_close(&p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_go_out_as_pieces),
    cmocka_unit_test(a_server_that_does_not_read_allows_no_more_rows),
    cmocka_unit_test(one_that_is_given_up_says_so),
    cmocka_unit_test(one_that_is_discarded_is_ended_by_steps),
    cmocka_unit_test(an_error_in_the_middle_is_seen_when_it_comes),
    cmocka_unit_test(the_other_direction_is_refused),
    cmocka_unit_test(rows_come_one_by_one_whatever_they_are_cut_into),
    cmocka_unit_test(nothing_is_read_while_a_row_waits),
    cmocka_unit_test(rows_that_nobody_wants_are_read_away),
    cmocka_unit_test(a_loss_in_the_middle_is_no_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
