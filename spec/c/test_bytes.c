/* bytea in both text forms, uuid, bit strings and "char". Inputs are exact heap blocks, so that a
 * sanitizer build sees any read behind the end.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "types/scalar.h"

typedef lph_err (*codec)(lph_bytes in, lph_buf *out);

static uint64_t seed = 88172645463325252u;
static unsigned next_random(unsigned limit) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)((seed >> 20) % limit);
}

static lph_err run(codec f, const void *data, size_t n, lph_buf *out) {
  char *copy = malloc(n ? n : 1);
  memcpy(copy, data, n);
  lph_err rc = f((lph_bytes){copy, n}, out);
  free(copy);
  return rc;
}

/* `f` appends exactly `want` to what was there. */
static void gives(codec f, const void *data, size_t n, const void *want, size_t want_len) {
  lph_buf out = {0};
  assert_int_equal(lph_buf_puts(&out, "> "), LPH_OK);
  assert_int_equal(run(f, data, n, &out), LPH_OK);
  assert_int_equal(out.len, want_len + 2);
  assert_memory_equal(out.data, "> ", 2);
  assert_memory_equal(out.data + 2, want, want_len);
  lph_buf_free(&out);
}

static void refuses(codec f, const void *data, size_t n) {
  lph_buf out = {0};
  assert_int_equal(lph_buf_puts(&out, "kept"), LPH_OK);
  assert_int_equal(run(f, data, n, &out), LPH_EFORMAT);
  assert_int_equal(out.len, 4);
  assert_memory_equal(out.data, "kept", 4);
  lph_buf_free(&out);
}

#define GIVES(f, text, want) gives(f, text, sizeof(text) - 1, want, sizeof(want) - 1)
#define REFUSES(f, text) refuses(f, text, sizeof(text) - 1)

static void bytea_is_read_in_hex(void **state) {
  (void)state;
  GIVES(lph_bytea_unescape, "\\x", "");
  GIVES(lph_bytea_unescape, "\\x00", "\0");
  GIVES(lph_bytea_unescape, "\\xDEADbeef", "\xde\xad\xbe\xef");
  GIVES(lph_bytea_unescape, "\\x000aff", "\0\x0a\xff");
  REFUSES(lph_bytea_unescape, "\\x0");
  REFUSES(lph_bytea_unescape, "\\x0g");
  REFUSES(lph_bytea_unescape, "\\xg0");
  REFUSES(lph_bytea_unescape, "\\x00 0");
  REFUSES(lph_bytea_unescape, "\\x0\0");
  REFUSES(lph_bytea_unescape, "\\x\xff\xff");
  for (int c = 0; c < 256; c++) { /* all pairs with one good half */
    char low[4] = {'\\', 'x', '0', (char)c}, high[4] = {'\\', 'x', (char)c, '0'};
    if (c != 0 && strchr("0123456789abcdefABCDEF", c) != NULL) {
      char text[2] = {(char)c, '\0'}, value = (char)strtol(text, NULL, 16);
      gives(lph_bytea_unescape, low, 4, &value, 1);
      value = (char)(value << 4);
      gives(lph_bytea_unescape, high, 4, &value, 1);
    } else {
      refuses(lph_bytea_unescape, low, 4);
      refuses(lph_bytea_unescape, high, 4);
    }
  }
}

static void bytea_is_read_in_escape_form(void **state) {
  (void)state;
  GIVES(lph_bytea_unescape, "", "");
  GIVES(lph_bytea_unescape, "plain 'text' \"too\"", "plain 'text' \"too\"");
  GIVES(lph_bytea_unescape, "a\\\\b", "a\\b");
  GIVES(lph_bytea_unescape, "\\\\x41", "\\x41"); /* the two bytes \ and x, not hex form */
  GIVES(lph_bytea_unescape, "\\000\\001\\377\\0107", "\0\1\xff\b7");
  REFUSES(lph_bytea_unescape, "\\");
  REFUSES(lph_bytea_unescape, "a\\");
  REFUSES(lph_bytea_unescape, "\\0");
  REFUSES(lph_bytea_unescape, "\\00");
  REFUSES(lph_bytea_unescape, "\\400");
  REFUSES(lph_bytea_unescape, "\\080");
  REFUSES(lph_bytea_unescape, "\\008");
  REFUSES(lph_bytea_unescape, "\\n");
  assert_int_equal(lph_bytea_unescape((lph_bytes){NULL, 0}, &(lph_buf){0}), LPH_OK);
}

static void bytea_survives_both_forms(void **state) {
  (void)state;
  char raw[256], escaped[1024];
  for (int i = 0; i < 256; i++) raw[i] = (char)i;
  GIVES(lph_bytea_hex, "", "\\x");
  GIVES(lph_bytea_hex, "\0\x0a\x1b\xff", "\\x000a1bff");
  for (int round = 0; round < 2000; round++) {
    size_t n = next_random(257), used = 0;
    lph_buf hex = {0};
    assert_int_equal(run(lph_bytea_hex, raw, n, &hex), LPH_OK);
    assert_int_equal(hex.len, 2 + 2 * n);
    for (size_t i = 0; i < n; i++) { /* printf as the second opinion */
      char pair[3];
      snprintf(pair, sizeof pair, "%02x", (unsigned char)raw[i]);
      assert_memory_equal(hex.data + 2 + 2 * i, pair, 2);
    }
    gives(lph_bytea_unescape, hex.data, hex.len, raw, n);
    lph_buf_free(&hex);
    for (size_t i = 0; i < n; i++) { /* byteaout with bytea_output = escape */
      unsigned char c = (unsigned char)raw[i];
      if (c == '\\')
        used += (size_t)sprintf(escaped + used, "\\\\");
      else if (c < 0x20 || c > 0x7e)
        used += (size_t)sprintf(escaped + used, "\\%03o", c);
      else
        escaped[used++] = raw[i];
    }
    gives(lph_bytea_unescape, escaped, used, raw, n);
    for (int i = 0; i < 16; i++) raw[next_random(256)] = (char)next_random(256);
  }
}

static void uuid_is_sixteen_bytes(void **state) {
  (void)state;
  static const char uuid[17] = "\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11\x00";
  gives(lph_uuid_text, uuid, 16, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", 36);
  for (size_t n = 0; n < 16; n++) refuses(lph_uuid_text, uuid, n);
  refuses(lph_uuid_text, uuid, 17);
}

static void bit_strings_keep_their_length(void **state) {
  (void)state;
  GIVES(lph_bit_text, "\0\0\0\0", "");
  GIVES(lph_bit_text, "\0\0\0\1\x80", "1");
  GIVES(lph_bit_text, "\0\0\0\1\x7f", "0"); /* padding bits are nobody's */
  GIVES(lph_bit_text, "\0\0\0\x8\xa5", "10100101");
  GIVES(lph_bit_text, "\0\0\0\xa\xa5\x40", "1010010101");
  REFUSES(lph_bit_text, "");
  REFUSES(lph_bit_text, "\0\0\0");
  REFUSES(lph_bit_text, "\0\0\0\0\0");
  REFUSES(lph_bit_text, "\0\0\0\1");
  REFUSES(lph_bit_text, "\0\0\0\x9\xff");
  REFUSES(lph_bit_text, "\0\0\0\x8\xff\xff");
  REFUSES(lph_bit_text, "\x7f\xff\xff\xff\xff");
  REFUSES(lph_bit_text, "\xff\xff\xff\xff\xff");
  REFUSES(lph_bit_text, "\xff\xff\xff\xff");
  REFUSES(lph_bit_text, "\x80\0\0\0");
  for (int round = 0; round < 5000; round++) {
    char wire[4 + 16] = {0}, text[128];
    size_t n = next_random(129);
    wire[3] = (char)n;
    for (size_t i = 0; i < n; i++) {
      bool set = next_random(2);
      text[i] = set ? '1' : '0';
      if (set) wire[4 + i / 8] = (char)((unsigned char)wire[4 + i / 8] | 0x80u >> i % 8);
    }
    gives(lph_bit_text, wire, 4 + (n + 7) / 8, text, n);
  }
}

static void char_is_one_byte(void **state) {
  (void)state;
  GIVES(lph_char_text, "\0", "");
  GIVES(lph_char_text, "A", "A");
  GIVES(lph_char_text, "\\", "\\");
  GIVES(lph_char_text, "\x7f", "\x7f");
  GIVES(lph_char_text, "\x80", "\\200");
  GIVES(lph_char_text, "\xff", "\\377");
  REFUSES(lph_char_text, "");
  REFUSES(lph_char_text, "AB");
}

static void random_bytes_give_a_value_or_a_refusal(void **state) {
  (void)state;
  static const codec all[] = {lph_bytea_unescape, lph_uuid_text, lph_bit_text, lph_char_text};
  static const char likely[] = "\\x01237abf\0\0\0\4";
  for (int round = 0; round < 200000; round++) {
    char bytes[24];
    size_t n = next_random(sizeof bytes + 1);
    for (size_t i = 0; i < n; i++)
      bytes[i] = next_random(4) ? likely[next_random(sizeof likely - 1)] : (char)next_random(256);
    lph_buf out = {0};
    lph_err rc = run(all[round % 4], bytes, n, &out);
    assert_true(rc == LPH_OK || rc == LPH_EFORMAT);
    if (rc != LPH_OK) assert_int_equal(out.len, 0);
    assert_true(out.len <= 8 * n);
    lph_buf_free(&out);
  }
}

static void without_memory_nothing_is_appended(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  static const struct {
    codec f;
    const char *in;
    size_t n;
  } cases[] = {{lph_bytea_unescape, "\\x00", 4},  {lph_bytea_unescape, "abc", 3},
               {lph_bytea_hex, "abc", 3},         {lph_uuid_text, "0123456789abcdef", 16},
               {lph_bit_text, "\0\0\0\1\x80", 5}, {lph_char_text, "A", 1},
               {lph_char_text, "\xff", 1}};
  for (size_t i = 0; i < lph_countof(cases); i++) {
    lph_buf out = {0};
    lph_mem_fail_at(1, true);
    lph_err rc = cases[i].f((lph_bytes){cases[i].in, cases[i].n}, &out);
    lph_mem_fail_at(0, false);
    assert_int_equal(rc, LPH_ENOMEM);
    assert_int_equal(out.len, 0);
    assert_null(out.data);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(bytea_is_read_in_hex),
    cmocka_unit_test(bytea_is_read_in_escape_form),
    cmocka_unit_test(bytea_survives_both_forms),
    cmocka_unit_test(uuid_is_sixteen_bytes),
    cmocka_unit_test(bit_strings_keep_their_length),
    cmocka_unit_test(char_is_one_byte),
    cmocka_unit_test(random_bytes_give_a_value_or_a_refusal),
    cmocka_unit_test(without_memory_nothing_is_appended),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
