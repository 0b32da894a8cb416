/* The guard over single buffers: what is refused, what libpq may read, and never a byte past the end.
 *
 * The specs in spec/auth_guard_spec.lua play the same over sockets; here every length is tried.
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/guard.h"

#define SASL "R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"
#define CLEARTEXT "R\0\0\0\x08\0\0\0\x03"
#define MD5 "R\0\0\0\x0c\0\0\0\x05salt"
#define ACCEPTED "R\0\0\0\x08\0\0\0\0"
#define PARAMETER "S\0\0\0\x0bTZ\0UTC\0"
#define READY "Z\0\0\0\x05I"
#define FATAL "E\0\0\0\x1aVFATAL\0C28P01\0Mwrong\0\0"

#define BYTES(text) ((lph_bytes){text, sizeof(text) - 1})

/* Reads from a block of exactly this size, so that a sanitizer sees a byte too far. */
static lph_verdict look(lph_bytes in, bool allow, lph_error *refusal, lph_error *said, size_t *judged) {
  char *copy = malloc(in.len + (in.len == 0));
  memcpy(copy, in.data, in.len);
  lph_verdict verdict = lph_guard_read((lph_bytes){copy, in.len}, allow, refusal, said, judged);
  free(copy);
  return verdict;
}

static void check(lph_bytes in, bool allow, lph_verdict expected, size_t expected_judged) {
  lph_error refusal = {0}, said = {0};
  size_t judged = 12345;
  assert_int_equal(look(in, allow, &refusal, &said, &judged), expected);
  if (expected == LPH_GUARD_REFUSE) {
    assert_string_equal(refusal.kind, "auth_method");
  } else {
    assert_int_equal(judged, expected_judged);
    assert_false(lph_error_is_set(&refusal));
  }
  lph_error_free(&refusal);
  lph_error_free(&said);
}

static void harmless_requests_pass_whole(void **state) {
  (void)state;
  check(BYTES(SASL), false, LPH_GUARD_PASS, sizeof(SASL) - 1);
  check(BYTES(MD5), false, LPH_GUARD_PASS, sizeof(MD5) - 1);
  check(BYTES(ACCEPTED PARAMETER READY), false, LPH_GUARD_PASS, sizeof(ACCEPTED PARAMETER READY) - 1);
}

static void a_request_for_plain_text_is_refused_wherever_it_stands(void **state) {
  (void)state;
  check(BYTES(CLEARTEXT), false, LPH_GUARD_REFUSE, 0);
  check(BYTES(SASL CLEARTEXT), false, LPH_GUARD_REFUSE, 0);
  check(BYTES(MD5 SASL CLEARTEXT READY), false, LPH_GUARD_REFUSE, 0);
  check(BYTES(PARAMETER CLEARTEXT), false, LPH_GUARD_REFUSE, 0);
  check(BYTES(CLEARTEXT), true, LPH_GUARD_PASS, sizeof(CLEARTEXT) - 1);
}

static void what_is_cut_anywhere_is_never_given_to_libpq(void **state) {
  (void)state;
  lph_bytes all = BYTES(SASL PARAMETER CLEARTEXT);
  size_t first = sizeof(SASL) - 1, second = first + sizeof(PARAMETER) - 1;
  for (size_t len = 0; len < all.len; len++) {
    size_t whole = len < first ? 0 : len < second ? first : second;
    check((lph_bytes){all.data, len}, false, whole == 0 ? LPH_GUARD_WAIT : LPH_GUARD_PASS, whole);
  }
  check(all, false, LPH_GUARD_REFUSE, 0);
}

static void scram_counts(void **state) {
  (void)state;
  static const struct {
    const char *count;
    bool fine;
  } cases[] = {{"1", true},
               {"4096", true},
               {"1000000", true},
               {"1000001", false},
               {"2147483647", false},
               {"99999999999999999999999", false},
               {"+2147483647", false},
               {" 2147483647", false},
               {"\t5000000", false},
               {"4096x", false},
               {"-1", false},
               {"4096,m=ext", true},
               {"", true}};
  for (size_t i = 0; i < lph_countof(cases); i++) {
    char message[200];
    int body = snprintf(message + 9, sizeof message - 9, "r=nonce,s=c2FsdA==,i=%s", cases[i].count);
    memcpy(message, "R\0\0\0\0\0\0\0\x0b", 9);
    message[4] = (char)(body + 8);
    lph_bytes in = {message, (size_t)body + 9};
    check(in, false, cases[i].fine ? LPH_GUARD_PASS : LPH_GUARD_REFUSE, in.len);
  }
}

static void nonsense_is_left_to_libpq_as_it_is(void **state) {
  (void)state;
  check(BYTES("HTTP/1.1 400 Bad Request\r\n"), false, LPH_GUARD_PASS, 26);
  check(BYTES("R\0\0\0\0\0\0\0\3"), false, LPH_GUARD_PASS, 9);
  check(BYTES("R\xff\xff\xff\xff\0\0\0\3"), false, LPH_GUARD_PASS, 9);
  check(BYTES("R\0\0\0\4"), false, LPH_GUARD_PASS, 5); /* a request without a method */
}

static void the_servers_own_words_are_taken_down(void **state) {
  (void)state;
  lph_error refusal = {0}, said = {0};
  size_t judged = 0;
  assert_int_equal(look(BYTES(ACCEPTED FATAL), false, &refusal, &said, &judged), LPH_GUARD_PASS);
  assert_string_equal(said.sqlstate, "28P01");
  assert_string_equal(said.kind, "auth");
  assert_string_equal(lph_error_get(&said, LPH_E_MESSAGE), "wrong");
  lph_error_free(&said);
}

static void an_error_of_any_shape_is_read_within_its_bounds(void **state) {
  (void)state;
  lph_bytes all = BYTES(FATAL);
  for (size_t len = 5; len <= all.len; len++) { /* the same text under every length it could claim */
    char message[64];
    memcpy(message, all.data, all.len);
    message[4] = (char)(len - 1);
    lph_error refusal = {0}, said = {0};
    size_t judged = 0;
    look((lph_bytes){message, len}, false, &refusal, &said, &judged);
    assert_non_null(said.kind);
    lph_error_free(&said);
  }
}

static void chance_bytes_do_no_harm(void **state) {
  (void)state;
  unsigned seed = 1;
  for (int run = 0; run < 200000; run++) {
    char message[48];
    size_t len = 0;
    seed = seed * 1103515245u + 12345u;
    for (size_t want = seed >> 16 & 31; len < want; len++) {
      seed = seed * 1103515245u + 12345u;
      message[len] = (char)(seed >> 16);
      if (len % 9 == 0) message[len] = "REN"[seed >> 24 & 1];
      if (len % 9 > 0 && len % 9 < 4) message[len] = '\0';
      if (len % 9 == 4) message[len] = (char)(seed >> 16 & 15);
    }
    lph_error refusal = {0}, said = {0};
    size_t judged = 0;
    lph_verdict verdict = look((lph_bytes){message, len}, false, &refusal, &said, &judged);
    if (verdict == LPH_GUARD_PASS) assert_true(judged > 0 && judged <= len);
    lph_error_free(&refusal);
    lph_error_free(&said);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(harmless_requests_pass_whole),
    cmocka_unit_test(a_request_for_plain_text_is_refused_wherever_it_stands),
    cmocka_unit_test(what_is_cut_anywhere_is_never_given_to_libpq),
    cmocka_unit_test(scram_counts),
    cmocka_unit_test(nonsense_is_left_to_libpq_as_it_is),
    cmocka_unit_test(the_servers_own_words_are_taken_down),
    cmocka_unit_test(an_error_of_any_shape_is_read_within_its_bounds),
    cmocka_unit_test(chance_bytes_do_no_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
