/* Rows that are read past libpq come out in their order, however the bytes are cut, whatever stands between them, and
 * wherever libpq was left; all else still reaches libpq.
 *
 * To see it fail: let measure in csrc/core/tap.c stop counting `owed`, lph_tap_take_rows answer without looking, or
 * lph_tap_close forget what is left.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/copy.h"
#include "played.h"

#define LONG_ROW 100000 /* more than the tap holds */

static void say_notice(played *p) {
  static const char body[] = "SNOTICE\0VNOTICE\0C00000\0Mlook here\0";
  played_say(p, 'N', body, sizeof body);
}

/* ---- COPY ------------------------------------------------------------------------------------------------------- */

static void begin_copy(played *p) {
  assert_int_equal(lph_op_copy(&p->c, "copy t to stdout", false), LPH_WANT_READ);
  assert_true(lph_tap_is_open(&p->c.tap));
  played_say(p, 'H', "\0\0\1\0\0", 5);
}

/* 1, 2, a notice, a notification, a long row, a setting, 3, another long one, 4, 5. Answers the sum of their lengths. */
static size_t say_rows(played *p) {
  char *row = malloc(LONG_ROW);
  memset(row, 'x', LONG_ROW);
  played_say(p, 'd', "1\n", 2);
  played_say(p, 'd', "2\n", 2);
  say_notice(p);
  played_say(p, 'A', "\0\0\0\1channel\0payload\0", 20);
  played_say(p, 'd', row, LONG_ROW);
  played_say(p, 'S', "application_name\0another", 25);
  played_say(p, 'd', NULL, 0);
  played_say(p, 'd', "3\n", 2);
  played_say(p, 'd', row, LONG_ROW - 1);
  played_say(p, 'd', "4\n", 2);
  played_say(p, 'd', "5\n", 2);
  free(row);
  return 10 + 2 * LONG_ROW - 1;
}

typedef struct seen {
  char text[64];
  size_t len, bytes;
  lph_want want;
} seen;

static void take_some(played *p, seen *s) {
  while (p->c.state == LPH_BUSY && (s->want = lph_conn_step(&p->c)) == LPH_DONE && p->c.state == LPH_BUSY) {
    lph_bytes row = lph_copy_row(&p->c.copy);
    if (row.data == NULL) continue; /* the COPY has begun */
    s->text[s->len++] = row.len > 2 ? 'x' : row.data[0];
    s->bytes += row.len;
    lph_copy_drop_row(&p->c.copy);
  }
}

static void take_copied(played *p, void *arg) {
  do take_some(p, arg);
  while (played_is_left(p));
}

static void copied_rows_keep_their_order(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 2, 3, 5, 7, 64, 1000, 8192, 65536, 1 << 20};
  for (size_t i = 0; i < lph_countof(sizes); i++) {
    played p;
    seen s = {0};
    played_open(&p);
    begin_copy(&p);
    size_t bytes = say_rows(&p);
    played_say(&p, 'c', NULL, 0);
    played_complete(&p, "COPY 7");
    played_ready(&p, 'I');
    played_in_pieces(&p, sizes[i], take_copied, &s);
    assert_int_equal(p.c.state, LPH_IDLE);
    assert_int_equal(s.want, LPH_DONE);
    assert_string_equal(s.text, "12x3x45");
    assert_int_equal(s.bytes, bytes);
    assert_int_equal(p.c.copy.bytes, bytes);
    assert_int_equal(p.c.notice_count, 1);
    assert_false(lph_tap_is_open(&p.c.tap));
    played_close(&p);
  }
}

/* Half a notice is with libpq when the COPY begins: nobody may take its other half for messages. */
static void a_message_that_libpq_has_begun_is_left_to_it(void **state) {
  (void)state;
  for (size_t cut = 1; cut < 40; cut++) {
    played p;
    seen s = {0};
    played_open(&p);
    say_notice(&p);
    lph_buf notice = p.out;
    lph_buf_init(&p.out);
    assert_int_equal(send(p.fd, notice.data, cut, 0), cut);
    assert_int_equal(lph_conn_look_hard(&p.c), LPH_OK);
    begin_copy(&p);
    assert_int_equal(lph_buf_add(&notice, p.out.data, p.out.len), LPH_OK);
    lph_buf_clear(&p.out);
    assert_int_equal(send(p.fd, notice.data + cut, notice.len - cut, 0), notice.len - cut);
    lph_buf_free(&notice);
    size_t bytes = say_rows(&p);
    played_say(&p, 'c', NULL, 0);
    played_complete(&p, "COPY 7");
    played_ready(&p, 'I');
    played_in_pieces(&p, 8192, take_copied, &s);
    assert_int_equal(p.c.state, LPH_IDLE);
    assert_string_equal(s.text, "12x3x45");
    assert_int_equal(s.bytes, bytes);
    assert_int_equal(p.c.notice_count, 2);
    played_close(&p);
  }
}

/* Read from the third byte before the notice's end on, its last letter, the zeros, "H" and a zero are the head of a
 * message of 18433 bytes. Where that ends, few bytes may be left, and no more come. */
static void what_is_no_head_is_not_kept_back(void **state) {
  (void)state;
  enum { SEEN_AS_ONE = 1 + 0x4800, REST = 3 + 10 + 5 + 5 + 12 + 6 };
  for (size_t left = 0; left < 8; left++) {
    played p;
    seen s = {0};
    char row[SEEN_AS_ONE] = {0};
    played_open(&p);
    say_notice(&p);
    lph_buf notice = p.out;
    lph_buf_init(&p.out);
    assert_int_equal(send(p.fd, notice.data, notice.len - 3, 0), notice.len - 3);
    assert_int_equal(lph_conn_look_hard(&p.c), LPH_OK);
    assert_int_equal(lph_buf_add(&p.out, notice.data + notice.len - 3, 3), LPH_OK);
    lph_buf_free(&notice);
    begin_copy(&p);
    played_say(&p, 'd', row, SEEN_AS_ONE + left - REST);
    played_say(&p, 'c', NULL, 0);
    played_complete(&p, "COPY 1");
    played_ready(&p, 'I');
    assert_int_equal(p.out.len, SEEN_AS_ONE + left);
    played_in_pieces(&p, 1 << 20, take_copied, &s);
    assert_int_equal(p.c.state, LPH_IDLE);
    assert_int_equal(s.bytes, SEEN_AS_ONE + left - REST);
    played_close(&p);
  }
}

static void lengths_that_cannot_be_are_refused(void **state) {
  (void)state;
  static const char lengths[][5] = {"\0\0\0\0", "\0\0\0\3", "\200\0\0\0", "\377\377\377\377",
                                    "\377\377\377\373"};
  for (size_t i = 0; i < lph_countof(lengths); i++) {
    played p;
    seen s = {0};
    played_open(&p);
    begin_copy(&p);
    played_say(&p, 'd', "1\n", 2);
    played_say(&p, 'd', "2\n", 2);
    lph_buf_add(&p.out, "d", 1);
    lph_buf_add(&p.out, lengths[i], 4);
    for (int n = 0; n < 100; n++) played_say(&p, 'd', "3\n", 2);
    played_in_pieces(&p, 1 << 20, take_copied, &s);
    assert_string_equal(s.text, "12");
    assert_int_equal(s.want, LPH_FAILED);
    assert_int_equal(p.c.state, LPH_CLOSED);
    played_close(&p);
  }
}

/* The pair takes no more: as when the kernel is out of memory. What libpq has got in part must not be gone on with by
 * what is behind the gap. */
static void bytes_that_libpq_cannot_get_end_the_session(void **state) {
  (void)state;
  played p;
  seen s = {0};
  int small = 1;
  char *text = calloc(1, 40000);
  memset(text, 'x', 39990);
  played_open(&p);
  begin_copy(&p);
  played_flush(&p);
  take_copied(&p, &s);
  assert_int_equal(setsockopt(p.c.sip.pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
  played_say(&p, 'S', text, 40000); /* taken for a name and a value: harmless where all of it arrives */
  played_say(&p, 'd', "1\n", 2);
  played_say(&p, 'c', NULL, 0);
  played_complete(&p, "COPY 1");
  played_ready(&p, 'I');
  played_flush(&p);
  take_copied(&p, &s);
  assert_int_equal(s.want, LPH_FAILED);
  assert_string_equal(p.c.error.kind, "closed");
  assert_int_equal(p.c.state, LPH_CLOSED);
  assert_string_equal(s.text, "1");
  played_close(&p);
  free(text);
}

static void a_copy_that_fails_in_the_middle_gives_its_error(void **state) {
  (void)state;
  played p;
  seen s = {0};
  played_open(&p);
  begin_copy(&p);
  say_rows(&p);
  played_error(&p, "ERROR", "22012");
  played_ready(&p, 'I');
  played_in_pieces(&p, 8192, take_copied, &s);
  assert_int_equal(s.want, LPH_FAILED);
  assert_string_equal(p.c.error.sqlstate, "22012");
  assert_string_equal(s.text, "12x3x45");
  assert_int_equal(p.c.state, LPH_IDLE);
  played_close(&p);
}

static void what_was_read_of_a_copy_that_nobody_wants_goes_to_libpq(void **state) {
  (void)state;
  for (size_t before = 0; before < 3; before++) {
    played p;
    played_open(&p);
    begin_copy(&p);
    for (int i = 0; i < 500; i++) played_say(&p, 'd', "a row of some length\n", 21);
    played_flush(&p);
    for (size_t i = 0; i < before; i++) {
      assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
      if (i > 0) assert_int_equal(lph_copy_row(&p.c.copy).len, 21);
    }
    lph_op_discard(&p.c);
    assert_false(lph_tap_is_open(&p.c.tap));
    assert_int_equal(lph_conn_step(&p.c), LPH_WANT_READ);
    played_say(&p, 'c', NULL, 0);
    played_complete(&p, "COPY 500");
    played_ready(&p, 'I');
    played_flush(&p);
    assert_int_equal(lph_conn_step(&p.c), LPH_DONE);
    assert_int_equal(p.c.state, LPH_IDLE);
    played_close(&p);
  }
}

static void a_loss_behind_rows_is_seen_behind_them(void **state) {
  (void)state;
  played p;
  seen s = {0};
  played_open(&p);
  begin_copy(&p);
  played_say(&p, 'd', "1\n", 2);
  played_say(&p, 'd', "2\n", 2);
  assert_int_equal(lph_buf_add(&p.out, "d\0\0", 3), LPH_OK);
  played_flush(&p);
  played_hang_up(&p);
  take_copied(&p, &s);
  assert_string_equal(s.text, "12");
  assert_int_equal(s.want, LPH_FAILED);
  assert_string_equal(p.c.error.kind, "closed");
  played_close(&p);
}

/* Both come at once: the end of the stream must not hide what the server said before. */
static void last_words_behind_rows_are_told(void **state) {
  (void)state;
  played p;
  seen s = {0};
  played_open(&p);
  begin_copy(&p);
  say_rows(&p);
  played_error(&p, "FATAL", "57P01");
  played_flush(&p);
  played_hang_up(&p);
  take_copied(&p, &s);
  assert_string_equal(s.text, "12x3x45");
  assert_int_equal(s.want, LPH_FAILED);
  assert_string_equal(p.c.error.sqlstate, "57P01");
  assert_int_equal(p.c.state, LPH_CLOSED);
  played_close(&p);
}

/* ---- FETCH ------------------------------------------------------------------------------------------------------ */

static void say_column(played *p, size_t len) {
  static const char columns[] = "\0\1t\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0";
  played_say(p, '1', NULL, 0);
  played_say(p, '2', NULL, 0);
  played_say(p, 'T', columns, len);
}

#define COLUMN_SIZE 22

static void say_value(played *p, const char *value, size_t len) {
  char head[6] = {0, 1, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len};
  lph_buf row = {0};
  assert_int_equal(lph_buf_add(&row, head, sizeof head), LPH_OK);
  assert_int_equal(lph_buf_add(&row, value, len), LPH_OK);
  played_say(p, 'D', row.data, row.len);
  lph_buf_free(&row);
}

static void step_on(played *p, void *arg) {
  do *(lph_want *)arg = p->c.state == LPH_BUSY ? lph_conn_step(&p->c) : *(lph_want *)arg;
  while (played_is_left(p));
}

static void fetched_rows_are_put_together(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 3, 64, 8192, 65536, 1 << 20};
  char *value = malloc(LONG_ROW);
  memset(value, 'x', LONG_ROW);
  for (size_t i = 0; i < lph_countof(sizes); i++) {
    played p;
    lph_want want = LPH_WANT_READ;
    played_open(&p);
    assert_int_equal(lph_op_fetch(&p.c, "fetch 4 from c", false), LPH_WANT_READ);
    say_column(&p, COLUMN_SIZE);
    say_value(&p, "1", 1);
    say_value(&p, value, LONG_ROW);
    say_notice(&p);
    say_value(&p, "2", 1);
    say_value(&p, "3", 1);
    played_complete(&p, "FETCH 4");
    played_ready(&p, 'T');
    played_in_pieces(&p, sizes[i], step_on, &want);
    assert_int_equal(want, LPH_DONE);
    lph_op *op = &p.c.op;
    assert_int_equal(PQnfields(op->result), 1);
    assert_string_equal(PQcmdTuples(op->result), "4");
    bool split = sizes[i] < COLUMN_SIZE; /* the description came in pieces: all is libpq's */
    assert_int_equal(op->rows.count, split ? 0 : 4);
    assert_int_equal(PQntuples(op->result), split ? 4 : 1);
    static const char wire[] = "D\0\0\0\13\0\1\0\0\0\0011\0\0\0\0\4D\0\0\0\13\0\1\0\0\0\0012"
                               "D\0\0\0\13\0\1\0\0\0\0013";
    if (!split) assert_int_equal(op->rows.bytes.len, sizeof wire - 1);
    if (!split) assert_memory_equal(op->rows.bytes.data, wire, sizeof wire - 1);
    played_close(&p);
  }
  free(value);
}

static void a_description_that_is_none_is_left_to_libpq(void **state) {
  (void)state;
  played p;
  lph_want want = LPH_WANT_READ;
  played_open(&p);
  assert_int_equal(lph_op_fetch(&p.c, "fetch 1 from c", false), LPH_WANT_READ);
  say_column(&p, COLUMN_SIZE - 1);
  say_value(&p, "1", 1);
  played_in_pieces(&p, 1 << 20, step_on, &want);
  assert_int_not_equal(want, LPH_DONE);
  assert_int_equal(p.c.op.rows.count, 0);
  played_close(&p);
}

static void fetched_rows_that_nobody_wants_are_thrown_away(void **state) {
  (void)state;
  played p;
  lph_want want = LPH_WANT_READ;
  played_open(&p);
  assert_int_equal(lph_op_fetch(&p.c, "fetch 4 from c", false), LPH_WANT_READ);
  say_column(&p, COLUMN_SIZE);
  say_value(&p, "1", 1);
  played_in_pieces(&p, 1 << 20, step_on, &want);
  assert_int_equal(p.c.op.rows.count, 1);
  lph_op_discard(&p.c);
  say_value(&p, "2", 1);
  played_complete(&p, "FETCH 2");
  played_ready(&p, 'T');
  played_in_pieces(&p, 1 << 20, step_on, &want);
  assert_int_equal(want, LPH_DONE);
  assert_int_equal(p.c.op.rows.count, 0);
  assert_int_equal(p.c.state, LPH_IDLE);
  played_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(copied_rows_keep_their_order),
    cmocka_unit_test(a_message_that_libpq_has_begun_is_left_to_it),
    cmocka_unit_test(what_is_no_head_is_not_kept_back),
    cmocka_unit_test(lengths_that_cannot_be_are_refused),
    cmocka_unit_test(bytes_that_libpq_cannot_get_end_the_session),
    cmocka_unit_test(a_copy_that_fails_in_the_middle_gives_its_error),
    cmocka_unit_test(what_was_read_of_a_copy_that_nobody_wants_goes_to_libpq),
    cmocka_unit_test(a_loss_behind_rows_is_seen_behind_them),
    cmocka_unit_test(last_words_behind_rows_are_told),
    cmocka_unit_test(fetched_rows_are_put_together),
    cmocka_unit_test(a_description_that_is_none_is_left_to_libpq),
    cmocka_unit_test(fetched_rows_that_nobody_wants_are_thrown_away),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
