/* Words, classes and retryability of errors: total over every code PostgreSQL knows, every code it does not
 * know, and every kind the client makes.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/sqlstate.h"

static void check(const char *code, const char *kind, const char *class_name, bool retryable) {
  if (strcmp(lph_sqlstate_kind(code), kind) != 0)
    fail_msg("%s is %s, expected %s", code, lph_sqlstate_kind(code), kind);
  if (strcmp(lph_sqlstate_class(code), class_name) != 0)
    fail_msg("%s is of class %s, expected %s", code, lph_sqlstate_class(code), class_name);
  assert_int_equal(lph_sqlstate_retryable(code), retryable);
}

static bool is_class(const char *word) {
  static const char *const classes[] = {"connection",  "query", "constraint", "timeout",
                                        "transaction", "pool",  "usage"};
  for (size_t i = 0; i < lph_countof(classes); i++)
    if (strcmp(classes[i], word) == 0) return true;
  return false;
}

static bool is_word(const char *kind) {
  for (const char *p = kind; *p; p++)
    if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_') return false;
  return kind[0] != '\0';
}

/* The generator's input, beside the source tree this file is in. */
static FILE *open_codes(void) {
  char path[4096];
  const char *here = __FILE__, *slash = strrchr(here, '/');
  int n = snprintf(path, sizeof path, "%.*s/../../csrc/gen/errcodes.tsv", slash ? (int)(slash - here) : 1,
                   slash ? here : ".");
  assert_true(n > 0 && (size_t)n < sizeof path);
  FILE *file = fopen(path, "r");
  if (file == NULL) fail_msg("cannot read %s", path);
  return file;
}

static void every_code_of_postgresql_has_its_own_word(void **state) {
  (void)state;
  FILE *file = open_codes();
  char line[256], code[8], severity[4], condition[128];
  int count = 0;
  while (fgets(line, sizeof line, file) != NULL) {
    if (line[0] == '#') continue;
    assert_int_equal(sscanf(line, "%7s %3s %127s", code, severity, condition), 3);
    count++;
    const char *kind = lph_sqlstate_kind(code);
    if (strcmp(kind, "auth") != 0 && strcmp(kind, condition) != 0)
      fail_msg("%s is %s, PostgreSQL says %s", code, kind, condition);
    assert_true(is_word(kind));
    assert_true(is_class(lph_sqlstate_class(code)));
    if (strncmp(code, "23", 2) == 0) assert_string_equal(lph_sqlstate_class(code), "constraint");
    if (strncmp(code, "08", 2) == 0) assert_string_equal(lph_sqlstate_class(code), "connection");
    /* The same word in two codes must not mean two classes, or lph_kind_class could not answer. */
    if (strcmp(kind, condition) == 0) assert_string_equal(lph_kind_class(kind), lph_sqlstate_class(code));
  }
  fclose(file);
  assert_true(count >= 264);
}

static void the_codes_programs_decide_on(void **state) {
  (void)state;
  check("23505", "unique_violation", "constraint", false);
  check("23503", "foreign_key_violation", "constraint", false);
  check("23514", "check_violation", "constraint", false);
  check("44000", "with_check_option_violation", "constraint", false);
  check("40001", "serialization_failure", "transaction", true);
  check("40P01", "deadlock_detected", "transaction", true);
  check("40003", "statement_completion_unknown", "transaction", false);
  check("25P02", "in_failed_sql_transaction", "transaction", false);
  check("25006", "read_only_sql_transaction", "transaction", false);
  check("25P03", "idle_in_transaction_session_timeout", "timeout", false);
  check("25P04", "transaction_timeout", "timeout", false);
  check("55P03", "lock_not_available", "timeout", false);
  check("57014", "query_canceled", "timeout", false);
  check("57P01", "admin_shutdown", "connection", false);
  check("57P02", "crash_shutdown", "connection", false);
  check("57P03", "cannot_connect_now", "connection", true);
  check("57P05", "idle_session_timeout", "connection", false);
  check("53300", "too_many_connections", "connection", true);
  check("08006", "connection_failure", "connection", false);
  check("28000", "auth", "connection", false);
  check("28P01", "auth", "connection", false);
  check("3D000", "invalid_catalog_name", "connection", false);
  check("42601", "syntax_error", "query", false);
  check("42P01", "undefined_table", "query", false);
  check("22P02", "invalid_text_representation", "query", false);
  check("0A000", "feature_not_supported", "query", false);
  check("53200", "out_of_memory", "query", false);
  check("P0001", "raise_exception", "query", false);
}

static void an_unknown_code_gets_the_word_of_its_class(void **state) {
  (void)state;
  check("23ABC", "integrity_constraint_violation", "constraint", false);
  check("40ZZZ", "transaction_rollback", "transaction", false);
  check("08ZZZ", "connection_exception", "connection", false);
  check("28ZZZ", "auth", "connection", false);
  check("57P99", "operator_intervention", "query", false);
  check("XX999", "internal_error", "query", false);
  check("10999", "server_error", "query", false);
  check("ABCDE", "server_error", "query", false);
}

static void no_string_is_without_an_answer(void **state) {
  (void)state;
  static const char *const odd[] = {
    "", "2", "2350", "235055", "unique_violation", "\xff\xff\xff\xff\xff", "23\n05 "};
  for (size_t i = 0; i < lph_countof(odd); i++) check(odd[i], "server_error", "query", false);
  check(NULL, "server_error", "query", false);
  static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  char code[6] = "";
  for (int i = 0; i < 36 * 36; i++) /* every group, with the general code and one that nobody has */
    for (int k = 0; k < 2; k++) {
      snprintf(code, sizeof code, "%c%c%s", digits[i / 36], digits[i % 36], k ? "000" : "ZZY");
      assert_true(is_word(lph_sqlstate_kind(code)));
      assert_true(is_class(lph_sqlstate_class(code)));
    }
}

static void every_kind_of_the_client_is_in_one_list(void **state) {
  (void)state;
  static const struct {
    const char *kind, *class_name;
    bool retryable;
    const char *explanation;
  } kinds[] = {
#define LPH_CLIENT_KIND(kind_, class_, retryable_, explanation_) {kind_, class_, retryable_, explanation_},
#include "core/kind.inc"
#undef LPH_CLIENT_KIND
  };
  for (size_t i = 0; i < lph_countof(kinds); i++) {
    assert_true(is_word(kinds[i].kind));
    assert_true(is_class(kinds[i].class_name));
    assert_true(lph_kind_is_client(kinds[i].kind));
    assert_string_equal(lph_kind_class(kinds[i].kind), kinds[i].class_name);
    assert_int_equal(lph_kind_retryable(kinds[i].kind), kinds[i].retryable);
    size_t n = strlen(kinds[i].explanation);
    assert_true(n > 10 && kinds[i].explanation[n - 1] == '.');
    for (size_t k = 0; k < i; k++) assert_string_not_equal(kinds[i].kind, kinds[k].kind);
  }
  static const char *const promised[] = {
    "config",
    "dns",
    "refused",
    "unreachable",
    "connect_timeout",
    "tls",
    "tls_verify",
    "auth",
    "auth_method",
    "target_session",
    "protocol",
    "closed",
    "query_timeout",
    "forked",
    "busy",
    "tx_state",
    "tx_closed",
    "commit_unknown",
    "commit_unresolved",
    "parameter",
    "decode",
    "result_too_big",
    "no_rows",
    "too_many_rows",
    "out_of_memory",
    "cancelled",
    "usage",
  };
  for (size_t i = 0; i < lph_countof(promised); i++)
    if (!lph_kind_is_client(promised[i])) fail_msg("%s is not in kind.inc", promised[i]);
}

static void a_kind_of_the_server_has_a_class_too(void **state) {
  (void)state;
  assert_string_equal(lph_kind_class("unique_violation"), "constraint");
  assert_false(lph_kind_is_client("unique_violation"));
  assert_true(lph_kind_retryable("serialization_failure"));
  assert_false(lph_kind_retryable("admin_shutdown"));
  assert_string_equal(lph_kind_class("server_error"), "query");
  assert_string_equal(lph_kind_class("no such word"), "query");
  assert_string_equal(lph_kind_class(NULL), "query");
  assert_false(lph_kind_retryable("no such word"));
  assert_false(lph_kind_retryable(NULL));
  assert_false(lph_kind_is_client(NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_code_of_postgresql_has_its_own_word),
    cmocka_unit_test(the_codes_programs_decide_on),
    cmocka_unit_test(an_unknown_code_gets_the_word_of_its_class),
    cmocka_unit_test(no_string_is_without_an_answer),
    cmocka_unit_test(every_kind_of_the_client_is_in_one_list),
    cmocka_unit_test(a_kind_of_the_server_has_a_class_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
