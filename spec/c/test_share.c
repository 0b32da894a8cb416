/* Which texts may ride on a shared session, and pins: a statement outlives its place in the cache while somebody still
 * needs it.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "core/share.h"
#include "core/stmt.h"

static lph_bytes text(const char *sql) { return (lph_bytes){sql, strlen(sql)}; }

static void only_what_is_known_to_be_harmless_may_ride(void **state) {
  (void)state;
  static const char *const welcome[] = {
    "select 1",
    "SELECT\n1",
    "\t -- x\n ( /* a /* b */ c */ (select 1))",
    "with a as (select 1) insert into b select * from a",
    "values(1)",
    "insert into a values ($1)",
    "update a set b = 1",
    "delete from a",
    "table a",
    "merge into a using b on true when matched then do nothing",
  };
  static const char *const refused[] = {
    "",
    " ",
    "(",
    "--",
    "-- select 1",
    "/*",
    "/* select 1",
    "/* /* */ select 1",
    "begin",
    "/**/begin",
    "selection",
    "sel",
    "select_",
    "set a = 1",
    "call f()",
    "do $$ $$",
    "copy a to stdout",
    "explain select 1",
    "select pg_advisory_lock(1)",
    "select PG_TRY_ADVISORY_LOCK(1)",
    "select set_config('a', 'b', true)",
    "select 1 into temp a",
    "select currval('a')",
    "select dblink('a', 'b')",
  };
  for (size_t i = 0; i < lph_countof(welcome); i++)
    if (!lph_share_takes(text(welcome[i]))) fail_msg("refused: %s", welcome[i]);
  for (size_t i = 0; i < lph_countof(refused); i++)
    if (lph_share_takes(text(refused[i]))) fail_msg("taken: %s", refused[i]);
}

/* Each beginning of a text in a block of its own size, so that a sanitizer sees any step behind the end. */
static void a_text_that_ends_anywhere_is_read_to_its_end(void **state) {
  (void)state;
  static const char sql[] =
    "/* a /* b */ c */ -- d\n ((with x as (select advisory) insert into temp select 1))";
  for (size_t len = 0; len < sizeof sql; len++) {
    char *copy = lph_alloc(len + 1);
    memcpy(copy, sql, len);
    char *tight = lph_regrow(copy, len == 0 ? 1 : len, 1);
    lph_share_takes((lph_bytes){tight, len});
    lph_free(tight);
  }
}

static int evicted[16];
static int evicted_count;

static void note(void *arg, int serial) {
  (void)arg;
  evicted[evicted_count++] = serial;
}

static lph_stmt *get(lph_stmts *s, const char *sql) { return lph_stmts_get(s, text(sql), NULL, 0); }

static void a_pinned_statement_outlives_its_place(void **state) {
  (void)state;
  lph_stmts s;
  evicted_count = 0;
  assert_int_equal(lph_stmts_init(&s, 2, 1 << 20), LPH_OK);
  s.on_evict = note;
  lph_stmt *first = get(&s, "select 1");
  lph_stmts_rename(&s, first);
  first->on_server = true;
  lph_stmts_pin(first);
  lph_stmts_pin(first);
  get(&s, "select 2");
  get(&s, "select 3"); /* makes the first leave the cache */
  assert_true(first->retired);
  assert_string_equal(first->sql, "select 1");
  assert_int_equal(evicted_count, 0);
  assert_int_equal(s.goodbye_count, 0); /* it is still in use on the server */
  lph_stmt *again = get(&s, "select 1");
  assert_ptr_not_equal(again, first);
  lph_stmts_drop(&s, first); /* has gone already */
  int serial = first->serial;
  lph_stmts_unpin(&s, first);
  assert_int_equal(s.goodbye_count, 0);
  lph_stmts_unpin(&s, first);
  assert_int_equal(s.goodbye_count, 1);
  assert_int_equal(evicted[evicted_count - 1], serial);
  lph_stmts_pin(again);
  lph_stmts_unpin(&s, again); /* in its place: nothing happens */
  assert_ptr_equal(get(&s, "select 1"), again);
  lph_stmts_free(&s);
}

static void a_dropped_one_lets_the_next_be_made_anew(void **state) {
  (void)state;
  lph_stmts s;
  assert_int_equal(lph_stmts_init(&s, 8, 1 << 20), LPH_OK);
  const char *sql = "select 1";
  lph_stmt *first = get(&s, sql);
  assert_ptr_equal(lph_stmts_peek(&s, text(sql)), first); /* by its address */
  lph_stmts_pin(first);
  lph_stmts_drop(&s, first);
  assert_null(lph_stmts_peek(&s, text(sql)));
  assert_ptr_not_equal(get(&s, sql), first);
  lph_stmts_unpin(&s, first);
  lph_stmts_free(&s);
}

static unsigned depth_at(double pace) {
  lph_share s = {.pace = pace};
  return lph_share_depth(&s);
}

static void rides_queue_as_deep_as_the_last_of_them_hardly_waits(void **state) {
  (void)state;
  assert_int_equal(depth_at(0), 1); /* nothing is known yet */
  assert_int_equal(depth_at(1), 1);
  assert_int_equal(depth_at(LPH_SHARE_WAIT * 2), 1);
  assert_int_equal(depth_at(LPH_SHARE_WAIT / 4), 4);
  assert_int_equal(depth_at(LPH_SHARE_WAIT / 1e9), LPH_SHARE_FLIGHT);
}

static void a_choosy_session_turns_a_statement_away_once(void **state) {
  (void)state;
  lph_share choosy = {.choosy = true}, any = {.choosy = false};
  lph_stmt stmt = {.apart = true, .slow_rides = 2};
  assert_true(lph_share_takes_now(&any, &stmt));
  assert_false(lph_share_takes_now(&choosy, &stmt));
  assert_true(lph_share_takes_now(&choosy, &stmt));
  assert_int_equal(stmt.slow_rides, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_what_is_known_to_be_harmless_may_ride),
    cmocka_unit_test(a_text_that_ends_anywhere_is_read_to_its_end),
    cmocka_unit_test(a_pinned_statement_outlives_its_place),
    cmocka_unit_test(a_dropped_one_lets_the_next_be_made_anew),
    cmocka_unit_test(rides_queue_as_deep_as_the_last_of_them_hardly_waits),
    cmocka_unit_test(a_choosy_session_turns_a_statement_away_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
