/* A session that listens: every notification once and in order, what came before the end is delivered before the end,
 * and whoever waits for its descriptor is woken. The server's messages are made by hand (played.h).
 *
 * To see it fail: let lph_notify_hear in csrc/core/notify.c tell the end before what is there, lph_notify_end close the
 * ear of a session that never had one, or lph_conn_drop_notifications not ask whether somebody listens.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

#include "core/notify.h"
#include "played.h"

static void notify(played *p, const char *payload) {
  char body[8200] = "\0\0\0\7jobs";
  size_t len = strlen(payload) + 1;
  memcpy(body + 9, payload, len);
  played_say(p, 'A', body, 9 + len);
}

static void expect(played *p, const char *payload) {
  const PGnotify *n = lph_notify_peek(&p->c);
  assert_non_null(n);
  assert_string_equal(n->extra, payload);
  assert_string_equal(n->relname, "jobs");
  assert_int_equal(n->be_pid, 7);
  assert_ptr_equal(lph_notify_peek(&p->c), n); /* until it is dropped */
  lph_notify_drop(&p->c);
}

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void they_come_once_and_in_order(void **state) {
  (void)state;
  played p;
  played_open(&p);
  assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
  assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
  for (int i = 0; i < 300; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d", i);
    notify(&p, text);
  }
  played_flush(&p);
  assert_int_equal(lph_notify_hear(&p.c), LPH_WANT_READ);
  for (int i = 0; i < 300; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d", i);
    expect(&p, text);
  }
  assert_null(lph_notify_peek(&p.c));
  lph_notify_drop(&p.c);
  played_close(&p);
}

static void one_in_single_bytes_is_one(void **state) {
  (void)state;
  played p;
  played_open(&p);
  assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
  static char longest[8000];
  memset(longest, 'x', 7999);
  notify(&p, longest);
  for (size_t i = 0; i < p.out.len; i++) {
    assert_null(lph_notify_peek(&p.c));
    assert_int_equal(send(p.fd, p.out.data + i, 1, 0), 1);
    assert_int_equal(lph_notify_hear(&p.c), LPH_WANT_READ);
  }
  lph_buf_clear(&p.out);
  expect(&p, longest);
  played_close(&p);
}

static void what_came_before_the_end_is_delivered_before_it(void **state) {
  (void)state;
  for (int read_before = 0; read_before <= 1; read_before++) {
    played p;
    played_open(&p);
    assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
    notify(&p, "one");
    notify(&p, "two");
    played_error(&p, "FATAL", "57P01");
    played_flush(&p);
    if (read_before) assert_int_equal(PQconsumeInput(p.c.pg), 1); /* and nobody has looked at it */
    played_hang_up(&p);
    lph_want want = LPH_WANT_READ;
    int seen = 0;
    for (int i = 0; i < 20 && want == LPH_WANT_READ; i++) {
      want = lph_notify_hear(&p.c);
      while (want == LPH_WANT_READ && lph_notify_peek(&p.c) != NULL) {
        expect(&p, seen == 0 ? "one" : "two");
        seen++;
      }
    }
    assert_int_equal(want, LPH_FAILED);
    assert_int_equal(seen, 2);
    assert_string_equal(p.c.error.sqlstate, "57P01");
    assert_int_equal(p.c.state, LPH_CLOSED);
    played_close(&p);
  }
}

/* An event loop would never wake who waits for a descriptor that was closed. */
static void the_ear_outlives_the_session_and_tells_of_its_end(void **state) {
  (void)state;
  played p;
  played_open(&p);
  assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
  int ear = lph_conn_fd(&p.c);
  assert_int_not_equal(ear, PQsocket(p.c.pg));
  assert_true((fcntl(ear, F_GETFD) & FD_CLOEXEC) != 0);
  struct pollfd waiting = {ear, POLLIN, 0};
  assert_int_equal(poll(&waiting, 1, 0), 0);
  lph_conn_close(&p.c);
  assert_int_equal(lph_conn_fd(&p.c), ear);
  assert_int_equal(poll(&waiting, 1, 1000), 1);
  assert_string_equal(played_sent(&p), "X"); /* Terminate was sent all the same */
  lph_notify_end(&p.c);
  assert_false(is_open(ear));
  lph_notify_end(&p.c);
  assert_int_equal(lph_conn_fd(&p.c), -1);
  played_close(&p);
}

static void a_flood_ends_the_session(void **state) {
  (void)state;
  played p;
  played_open(&p);
  p.c.max_result_bytes = 20000;
  assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
  lph_want want = LPH_WANT_READ;
  char piece[1000];
  memset(piece, 'x', sizeof piece);
  assert_int_equal(send(p.fd, "A\x20\0\0\0", 5, 0), 5); /* half a gigabyte is announced */
  for (int i = 0; i < 50 && want == LPH_WANT_READ; i++) {
    assert_int_equal(send(p.fd, piece, sizeof piece, MSG_NOSIGNAL), sizeof piece);
    want = lph_notify_hear(&p.c);
  }
  assert_int_equal(want, LPH_FAILED);
  assert_int_equal(p.c.state, LPH_CLOSED);
  played_close(&p);
}

/* Taken one by one, any number of them is no flood. */
static void many_that_are_taken_are_no_flood(void **state) {
  (void)state;
  played p;
  played_open(&p);
  p.c.max_result_bytes = 20000;
  assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
  for (int i = 0; i < 5000; i++) {
    notify(&p, "a payload of some length");
    played_flush(&p);
    assert_int_equal(lph_notify_hear(&p.c), LPH_WANT_READ);
    expect(&p, "a payload of some length");
  }
  played_close(&p);
}

static void without_a_descriptor_nothing_changes(void **state) {
  (void)state;
  played p;
  played_open(&p);
  struct rlimit before, none;
  getrlimit(RLIMIT_NOFILE, &before);
  none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_NOFILE, &none);
  lph_err rc = lph_notify_begin(&p.c, false);
  setrlimit(RLIMIT_NOFILE, &before);
  assert_int_equal(rc, LPH_EFAIL);
  assert_string_equal(p.c.error.kind, "resource");
  assert_false(p.c.hears);
  assert_int_equal(p.c.state, LPH_IDLE);
  assert_int_equal(lph_notify_begin(&p.c, false), LPH_OK);
  played_close(&p);
}

/* On a session that runs statements they would pile up. */
static void nobody_listens_elsewhere(void **state) {
  (void)state;
  played p;
  played_open(&p);
  for (int i = 0; i < 100; i++) notify(&p, "for nobody");
  played_flush(&p);
  assert_int_equal(lph_conn_look_hard(&p.c), LPH_OK);
  assert_null(PQnotifies(p.c.pg));
  assert_null(lph_notify_peek(&p.c));
  played_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(they_come_once_and_in_order),
    cmocka_unit_test(one_in_single_bytes_is_one),
    cmocka_unit_test(what_came_before_the_end_is_delivered_before_it),
    cmocka_unit_test(the_ear_outlives_the_session_and_tells_of_its_end),
    cmocka_unit_test(a_flood_ends_the_session),
    cmocka_unit_test(many_that_are_taken_are_no_flood),
    cmocka_unit_test(without_a_descriptor_nothing_changes),
    cmocka_unit_test(nobody_listens_elsewhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
