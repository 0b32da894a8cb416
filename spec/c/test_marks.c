/* What an SQL text may leave in its session, told from the text alone.
 *
 * To see it fail: take a line out of the table of words in marks.c, or the doubled quote out of read_quoted.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/marks.h"

enum {
  NONE = 0,
  SETTINGS = LPH_MARK_SETTINGS,
  ROLE = LPH_MARK_ROLE,
  LISTEN = LPH_MARK_LISTEN,
  LOCKS = LPH_MARK_LOCKS,
  TEMP = LPH_MARK_TEMP,
  CURSORS = LPH_MARK_CURSORS,
  PREPARED = LPH_MARK_PREPARED,
  LASTING = LPH_MARK_LASTING,
  NAMES = LPH_MARK_NAMES,
  DOUBT = LPH_MARKS_DOUBT,
};

/* The text lies at the very end of its block: a read beyond it is seen by AddressSanitizer. */
static unsigned marks_of(const char *text) {
  size_t len = strlen(text);
  char *block = malloc(len > 0 ? len : 1);
  memcpy(block, text, len);
  unsigned marks = lph_marks_of((lph_bytes){block, len}, NULL);
  free(block);
  return marks;
}

typedef struct expectation {
  const char *text;
  unsigned marks;
} expectation;

static void check(const expectation *list, size_t count) {
  int wrong = 0;
  for (size_t i = 0; i < count; i++) {
    unsigned marks = marks_of(list[i].text);
    if (marks == list[i].marks) continue;
    print_error("%s\n  marks %#x, expected %#x\n", list[i].text, marks, list[i].marks);
    wrong++;
  }
  assert_int_equal(wrong, 0);
}
#define CHECK(list) check(list, lph_countof(list))

static void everyday_statements_leave_nothing(void **state) {
  (void)state;
  static const expectation list[] = {
    {"", NONE},
    {";;", NONE},
    {"select 1", NONE},
    {"select * from t where a = $1 and b = any($2)", NONE},
    {"insert into temp (a, b) values (1, 2) on conflict (a) do update set b = 3", NONE},
    {"insert into temp select 1", NONE},
    {"merge into temp using s on true when matched then update set a = 1", NONE},
    {"update t set temp = 1, role = 'x', listen = $1 where set_at < now()", NONE},
    {"delete from t", NONE},
    {"select temp, load, listen, hold from weather", NONE},
    {"select temp from weather where temp > 20", NONE},
    {"begin", NONE},
    {"begin isolation level serializable read only; commit", NONE},
    {"savepoint a; rollback to a; release a", NONE},
    {"create table t (a int references b on delete set null, c text default 'x')", NONE},
    {"create table temperature (temp int)", NONE},
    {"alter table t alter column a set default 1, set schema s", NONE},
    {"alter role x set search_path = a", NONE},
    {"alter database d reset all", NONE},
    {"create function f() returns int language sql set search_path = a as 'select 1'", NONE},
    {"create function f() returns void language plpgsql as $$ begin perform pg_advisory_lock(1); end $$",
     NONE},
    {"declare c cursor for select 1", NONE},
    {"declare c cursor without hold for select 1", NONE},
    {"declare c cursor for with hold as (select 1) select * from hold2", CURSORS}, /* careful */
    {"fetch all from c; move next in c; close c", NONE},
    {"unlisten *; notify a, 'listen b'", NONE},
    {"deallocate all; deallocate x", NONE},
    {"discard plans; discard sequences; discard temp", NONE},
    {"lock table t in share mode", NONE},
    {"select pg_advisory_unlock(1), pg_advisory_unlock_shared(1), pg_advisory_unlock_all()", NONE},
    {"select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1)", NONE},
    {"prepare transaction 'prepare x as select 1'", NONE},
    {"commit prepared 'a'", NONE},
    {"call p(1)", NONE},
    {"copy t from stdin", LPH_MARK_COPY},
    {"/* x */ Copy (select 1) to stdout", LPH_MARK_COPY},
    {"select copy from t", NONE},
    {"explain analyze select 1", NONE},
    {"select current_setting('search_path'), 'set x = 1'", NONE},
    {"vacuum; analyze; checkpoint", NONE},
    {"create rule r as on insert to t do also (update u set a = 1; delete from v)", NONE},
  };
  CHECK(list);
}

static void settings_are_told_from_those_that_end_with_the_transaction(void **state) {
  (void)state;
  static const expectation list[] = {
    {"set timezone = 'UTC'", SETTINGS},
    {"SET TimeZone TO 'UTC'", SETTINGS},
    {"set session timezone = 'UTC'", SETTINGS},
    {"set local timezone = 'UTC'", NONE},
    {"SET\n\tLOCAL\r\n timezone = 'UTC'", NONE},
    {"set/**/local/* a /* nested */ comment */timezone = 'UTC'", NONE},
    {"set -- local\n timezone = 'UTC'", SETTINGS},
    {"set time zone local", SETTINGS},
    {"set names 'UTF8'", SETTINGS},
    {"set xml option document", SETTINGS},
    {"set transaction isolation level serializable", NONE},
    {"set transaction snapshot '1'", NONE},
    {"set session transaction read only", NONE},
    {"set constraints all deferred", NONE},
    {"set session characteristics as transaction read only", SETTINGS},
    {"set app.user = '1'", SETTINGS},
    {"set local app.user = '1'", NONE},
    {"set local.user = '1'", SETTINGS},
    {"set local . user = '1'", SETTINGS},
    {"set session.user = '1'", SETTINGS},
    {"set session local.user = '1'", SETTINGS},
    {"set transaction.mark = '1'", SETTINGS},
    {"set session transaction.mark = '1'", SETTINGS},
    {"set constraints.mark = '1'", SETTINGS},
    {"set role.mark = '1'", SETTINGS | ROLE},
    {"set local local.mark = '1'", NONE},
    {"set \"local\" = 1", SETTINGS},
    {"set \"TimeZone\" = 'UTC'", SETTINGS},
    {"reset timezone", SETTINGS | ROLE},
    {"reset all", SETTINGS | ROLE},
    {"discard all", SETTINGS | ROLE},
    {"set search_path = a, b", SETTINGS | NAMES},
    {"set search_path = pg_temp", SETTINGS | NAMES | TEMP},
    {"set local search_path = a", NAMES},
    {"set \"search_path\" = a", SETTINGS | NAMES},
    {"set schema 'a'", SETTINGS | NAMES},
    {"set local schema 'a'", NAMES},
    {"set session schema 'a'", SETTINGS | NAMES},
    {"select 1; set timezone = 'UTC'", SETTINGS},
    {"; ;set timezone = 'UTC'", SETTINGS},
    {"/* x */ -- y\n set timezone = 'UTC'", SETTINGS},
    {"select set_limit(0.5)", SETTINGS},
    {"set seed = 0.5", LASTING},
    {"select setseed(0.5)", LASTING},
  };
  CHECK(list);
}

static void roles_are_marked(void **state) {
  (void)state;
  static const expectation list[] = {
    {"set role bob", ROLE},
    {"SET ROLE NONE", ROLE},
    {"set session role bob", ROLE},
    {"set local role bob", NONE},
    {"set role to bob", ROLE},
    {"set \"role\" = 'bob'", ROLE},
    {"set session authorization bob", ROLE},
    {"set session session authorization bob", SETTINGS}, /* no SQL */
    {"set local session authorization bob", NONE},
    {"set session_authorization = 'bob'", ROLE},
    {"reset role", SETTINGS | ROLE},
    {"create role bob", NONE},
    {"grant role_a to role_b", NONE},
  };
  CHECK(list);
}

static void set_config_is_read_to_its_third_argument(void **state) {
  (void)state;
  static const unsigned any = SETTINGS | ROLE | NAMES;
  const expectation list[] = {
    {"select set_config('timezone', 'UTC', false)", SETTINGS},
    {"select set_config('timezone', 'UTC', true)", NONE},
    {"select set_config('app.user', $1, true)", NONE},
    {"select pg_catalog.set_config('app.user', $1, TRUE)", NONE},
    {"select \"set_config\"('app.user', $1, true)", NONE},
    {"select \"set_config\"('app.user', $1, false)", SETTINGS},
    {"select set_config('app.user', coalesce($1, lower('A,b(')), true), 1", NONE},
    {"select set_config ( 'app.user' , f(1, true) , $2 )", SETTINGS},
    {"select set_config('app.user', f(1, true), not true)", SETTINGS},
    {"select set_config('app.user', 'x', is_local => true)", SETTINGS},
    {"select set_config($1, $2, false)", any},
    {"select set_config($1, $2, true)", NAMES},
    {"select set_config('search_path', $1, false)", SETTINGS | NAMES},
    {"select set_config('search_path', $1, true)", NAMES},
    {"select set_config('search_path', 'pg_temp', true)", NAMES | TEMP},
    {"select set_config('ROLE', $1, false)", ROLE},
    {"select set_config('role', $1, true)", NONE},
    {"select set_config('session_authorization', $1, false)", ROLE},
    {"select set_config('ro' || 'le', $1, false)", any},
    {"select set_config('ro'\n'le', $1, false)", any},
    {"select set_config(E'\\x72ole', $1, false)", any},
    {"select set_config('seed', '0.5', false)", LASTING},
    {"select set_config('a.b', set_config('c.d', 'x', true), true)", any},
    {"select set_config('a.b', 'x', true), set_config('c.d', 'x', false)", SETTINGS},
    {"select set_config('a.b', 'x', false), set_config('c.d', 'x', true)", SETTINGS},
    {"select set_config('a.b', 'x'", SETTINGS},
    {"select set_config", any},
    {"select set_config from t", any},
    {"select 'set_config(''a'', ''b'', false)'", NONE},
  };
  CHECK(list);
}

static void locks_channels_tables_and_cursors_are_marked(void **state) {
  (void)state;
  static const expectation list[] = {
    {"listen a", LISTEN},
    {"LISTEN \"a\"", LISTEN},
    {"select 1;listen a", LISTEN},
    {"select pg_advisory_lock(1)", LOCKS},
    {"select pg_advisory_lock_shared($1, $2)", LOCKS},
    {"select PG_TRY_ADVISORY_LOCK (1)", LOCKS},
    {"select pg_catalog.pg_try_advisory_lock_shared(1)", LOCKS},
    {"select pg_catalog . \"pg_advisory_lock\" (1)", LOCKS},
    {"with a as (select pg_advisory_lock(1)) select * from a", LOCKS},
    {"explain analyze select pg_advisory_lock(1)", LOCKS},
    {"create temp table t (a int)", TEMP},
    {"create temporary table t (a int)", TEMP},
    {"create local temp table t (a int)", TEMP},
    {"create global temporary table t (a int)", TEMP},
    {"create or replace temp view v as select 1", TEMP},
    {"create or replace temporary recursive view v (n) as values (1)", TEMP},
    {"create temp sequence s", TEMP},
    {"create/**/temp/**/table t (a int)", TEMP},
    {"create temp table t (a int) on commit drop", NONE},
    {"create temp table t (a int) on commit delete rows", TEMP},
    {"create temp table t on commit drop as select 1", NONE},
    {"create temp table t (a int) on commit drop; create temp table u (a int)", TEMP},
    {"create temp table u (a int); create temp table t (a int) on commit drop", TEMP},
    {"create table pg_temp.t (a int)", TEMP},
    {"create table \"pg_temp\".t (a int)", TEMP},
    {"create function pg_temp.f() returns int language sql as 'select 1'", TEMP},
    {"select * from pg_temp_3.t", TEMP},
    {"select 1 as a into temp t", TEMP},
    {"select 1 as a into temporary table t", TEMP},
    {"select 1 as a into local temp table t", TEMP},
    {"declare c cursor with hold for select 1", CURSORS},
    {"declare c scroll cursor with /* x */ hold for select 1", CURSORS},
    {"prepare x as select 1", PREPARED},
    {"prepare x (int) as select $1", PREPARED},
    {"prepare transaction as select 1", PREPARED},
    {"prepare transaction (int) as select 'a'", PREPARED},
    {"load 'auto_explain'", LASTING},
    {"select dblink_connect('a', 'b')", LASTING},
    {"listen a; select pg_advisory_lock(1); set x.y = 1", LISTEN | LOCKS | SETTINGS},
  };
  CHECK(list);
}

static void literals_names_and_comments_are_passed_over(void **state) {
  (void)state;
  static const expectation list[] = {
    {"select '; listen a'", NONE},
    {"select ';' || ';listen a;'", NONE},
    {"select 'it''s; listen a'", NONE},
    {"select ''; listen a", LISTEN},
    {"select ''''; listen a", LISTEN},
    {"select '''; listen a'", NONE},
    {"select E'\\'; listen a'", NONE},
    {"select e'\\\\'; listen a", LISTEN},
    {"select E'a''; listen a'", NONE},
    {"select 1 as e'; listen a'", NONE},
    {"select type'; listen a'", NONE},
    {"select n'; listen a', b'01', x'1f'; listen b", LISTEN},
    {"select U&'\\0041; listen a'", NONE},
    {"select \"; listen a\"", NONE},
    {"select \"a\"\"; listen a\"", NONE},
    {"select \"a\"; listen a", LISTEN},
    {"select \"'\"; listen a --'", LISTEN},
    {"select '\"'; listen a", LISTEN},
    {"select $$; listen a$$", NONE},
    {"select $$ $a$ $$; listen a", LISTEN},
    {"select $a$ $$; listen a; $b$ $a$", NONE},
    {"select $a$x$a$; listen a", LISTEN},
    {"select $1; listen a", LISTEN},
    {"select $1$$; listen a$$", NONE},
    {"select a$b$; listen a; select c$b$", LISTEN},
    {"select $\xc3\xa4$; listen a$\xc3\xa4$", NONE},
    {"select 1 -- ; listen a", NONE},
    {"select 1 -- '\n; listen a", LISTEN},
    {"select 1 --\r; listen a", LISTEN},
    {"select 1 /* ; listen a */", NONE},
    {"select 1 /* /* */ ; listen a */", NONE},
    {"select 1 /* ' */; listen a", LISTEN},
    {"select 1 +-- '\n 2; listen a", LISTEN},
    {"select 1 */* ; listen a */ 2", NONE},
    {"select 1 - - 2; listen a", LISTEN},
    {"select '--'; listen a", LISTEN},
    {"select '/*'; listen a", LISTEN},
    {"select \"pg_advisory_locks\", pg_advisory_lock_x, xpg_advisory_lock, pg_advisory_lock$ from t", NONE},
    {"select 'pg_advisory_lock(1)', $$pg_advisory_lock(1)$$ -- pg_advisory_lock(1)", NONE},
    {"\xc3\xa4set x.y = 1", NONE},
    {"listen\xc3\xa4 a", NONE},
  };
  CHECK(list);
}

/* Texts whose meaning hangs on the session's settings, or that could hide a name. */
static void what_cannot_be_told_counts_as_everything(void **state) {
  (void)state;
  static const expectation list[] = {
    {"select 'a\\', pg_x(), '", DOUBT},
    {"select 'C:\\'", DOUBT},
    {"select 'C:\\x'", NONE},
    {"select U&\"\\0070g_advisory_lock\"(1)", DOUBT},
  };
  CHECK(list);
}

static void the_body_of_do_is_read(void **state) {
  (void)state;
  static const expectation list[] = {
    {"do $$ begin perform 1; end $$", NONE},
    {"do $$ begin update t set a = 1; insert into u values (1) on conflict do nothing; end $$", NONE},
    {"do $$ begin perform pg_advisory_lock(1); end $$", LOCKS},
    {"do language plpgsql $$ begin perform pg_advisory_lock(1); end $$", LOCKS},
    {"do $$ begin perform pg_advisory_lock(1); end $$ language plpgsql", LOCKS},
    {"do $$ begin perform pg_advisory_lock(1); end $$ language 'plpgsql'", LOCKS},
    {"do $$ begin set timezone = 'UTC'; end $$", SETTINGS},
    {"do $$ begin set local timezone = 'UTC'; end $$", NONE},
    {"do $$ begin if true then set timezone = 'UTC'; end if; end $$", SETTINGS},
    {"do $$ begin if true then null; else set timezone = 'UTC'; end if; end $$", SETTINGS},
    {"do $$ begin loop set timezone = 'UTC'; end loop; end $$", SETTINGS},
    {"do $$ << a >> begin << b >> listen c; end $$", LISTEN},
    {"do $$ declare a int; begin listen c; end $$", LISTEN},
    {"do $$ begin create temp table t (a int); end $$", TEMP},
    {"do $$ begin create temp table t (a int) on commit drop; end $$", NONE},
    {"do $$ begin raise notice 'listen a; %', 1; end $$; select 1", NONE},
    {"do $$ begin perform set_config('app.user', 'x', true); end $$", NONE},
    {"do $$ begin perform set_config('app.user', 'x', false); end $$", SETTINGS},
    {"do $$ begin execute 'listen a'; end $$", DOUBT},
    {"do $$ begin raise notice 'execute'; end $$", NONE},
    {"do 'begin perform 1; end'", DOUBT},
    {"do E'begin perform 1; end'", DOUBT},
    {"do $$ x $$ language plpython3u", DOUBT},
    {"do language 'plperl' $$ x $$", DOUBT},
    {"do $$ begin do $a$ begin listen x; end $a$; end $$", LISTEN},
    {"do $a$ begin do $b$ begin do $c$ begin do $d$ begin do $e$ begin do $f$ begin null; end $f$; end $e$; "
     "end $d$; end $c$; end $b$; end $a$",
     DOUBT},
    {"do $$ begin", NONE},
    {"do", NONE},
    {"select $$ begin perform pg_advisory_lock(1); end $$", NONE},
  };
  CHECK(list);
}

static void the_highest_parameter_is_found(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int highest;
  } list[] = {
    {"", 0},
    {"select $1", 1},
    {"select $2 + $11 + $3", 11},
    {"select '$4', \"$5\", $$ $6 $$, $a$ $7 $a$, a$8 /* $9 */ -- $10", 0},
    {"select $007", 7},
    {"select $65536", 65536},
    {"select $99999999999999999999", 9999999},
    {"select $", 0},
    {"do $$ $1 $$", 0},
  };
  for (size_t i = 0; i < lph_countof(list); i++) {
    int highest = -1;
    lph_marks_of((lph_bytes){list[i].text, strlen(list[i].text)}, &highest);
    assert_int_equal(highest, list[i].highest);
  }
}

/* Pieces that open and close everything there is, in any order: no read beyond the end, no mark that a text before
 * could have taken away. */
static void any_mixture_is_read_to_its_end(void **state) {
  (void)state;
  static const char *const pieces[] = {
    "'",
    "\"",
    "$$",
    "$a$",
    "/*",
    "*/",
    "--",
    "\n",
    ";",
    " ",
    "(",
    ")",
    ",",
    "\\",
    "E'",
    "U&\"",
    "$",
    "1",
    "a",
    ".",
    "set ",
    "local ",
    "do ",
    "begin ",
    "then ",
    "set_config(",
    "true",
    "listen x",
    "pg_temp",
    "create temp ",
    "on commit drop",
    "execute ",
    "\xff",
    "language ",
    ">",
    "session ",
  };
  unsigned long random = 12345;
  for (int round = 0; round < 20000; round++) {
    char text[256] = "", after[300] = "listen x;";
    for (int i = 0; i < 14; i++) {
      random = random * 6364136223846793005ul + 1442695040888963407ul;
      strcat(text, pieces[(random >> 33) % lph_countof(pieces)]);
    }
    strcat(after, text);
    assert_int_equal(marks_of(after), marks_of(text) | LISTEN);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(everyday_statements_leave_nothing),
    cmocka_unit_test(settings_are_told_from_those_that_end_with_the_transaction),
    cmocka_unit_test(roles_are_marked),
    cmocka_unit_test(set_config_is_read_to_its_third_argument),
    cmocka_unit_test(locks_channels_tables_and_cursors_are_marked),
    cmocka_unit_test(literals_names_and_comments_are_passed_over),
    cmocka_unit_test(what_cannot_be_told_counts_as_everything),
    cmocka_unit_test(the_body_of_do_is_read),
    cmocka_unit_test(the_highest_parameter_is_found),
    cmocka_unit_test(any_mixture_is_read_to_its_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
