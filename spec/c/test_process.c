/* A forked child knows that it is another process.
 *
 * To see it fail: take the child handler out of process.c.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/process.h"

static void it_is_the_process_id(void **state) {
  (void)state;
  assert_int_equal(lph_process_id(), getpid());
  assert_int_equal(lph_process_id(), getpid());
}

static void a_child_and_its_child_have_their_own(void **state) {
  (void)state;
  pid_t before = lph_process_id();
  pid_t child = fork();
  if (child == 0) {
    if (lph_process_id() == before || lph_process_id() != getpid()) _exit(1);
    pid_t mine = lph_process_id(), grandchild = fork();
    if (grandchild == 0) _exit(lph_process_id() == getpid() && lph_process_id() != mine ? 0 : 2);
    int status = -1;
    _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 3);
  }
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(lph_process_id(), before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(it_is_the_process_id),
    cmocka_unit_test(a_child_and_its_child_have_their_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
