/* Fields of COPY's text format: what is written is read back, and what only other clients write is read, too.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/copy.h"
#include "types/type.h"

static void every_byte_comes_back(void **state) {
  (void)state;
  char all[256];
  for (int i = 0; i < 256; i++) all[i] = (char)i;
  lph_buf out = {0}, scratch = {0};
  assert_int_equal(lph_copy_put_text(&out, (lph_bytes){all, sizeof all}), LPH_OK);
  assert_null(memchr(out.data, '\n', out.len));
  assert_null(memchr(out.data, '\t', out.len));
  lph_bytes line = {out.data, out.len}, field;
  lph_err rc;
  assert_true(lph_copy_next_field(&line, &scratch, &field, &rc));
  assert_int_equal(rc, LPH_OK);
  assert_int_equal(field.len, sizeof all);
  assert_memory_equal(field.data, all, sizeof all);
  assert_false(lph_copy_next_field(&line, &scratch, &field, &rc));
  lph_buf_free(&out);
  lph_buf_free(&scratch);
}

static void fields_are_taken_apart(void **state) {
  (void)state;
  const char *text = "a\t\\N\t\t\\101\\x42\\q\\b\\\\N";
  const char *want[] = {"a", NULL, "", "ABq\b\\N"};
  lph_bytes line = {text, strlen(text)}, field;
  lph_buf scratch = {0};
  lph_err rc;
  for (size_t i = 0; i < lph_countof(want); i++) {
    assert_true(lph_copy_next_field(&line, &scratch, &field, &rc));
    assert_int_equal(rc, LPH_OK);
    if (want[i] == NULL) {
      assert_null(field.data);
    } else {
      assert_int_equal(field.len, strlen(want[i]));
      assert_memory_equal(field.data, want[i], field.len);
    }
  }
  assert_false(lph_copy_next_field(&line, &scratch, &field, &rc));
  lph_buf_free(&scratch);
}

/* The binary form: what does not fit is left to lph_encode, and nothing of it stays. */
static void what_does_not_fit_appends_nothing(void **state) {
  (void)state;
  lph_buf out = {0};
  assert_int_equal(lph_wire_int(LPH_INT2, 32768, &out), LPH_ERANGE);
  assert_int_equal(lph_wire_int(LPH_INT4, (int64_t)1 << 31, &out), LPH_ERANGE);
  assert_int_equal(lph_wire_int(LPH_UINT4, -1, &out), LPH_ERANGE);
  assert_int_equal(lph_wire_int(LPH_TEXT, 1, &out), LPH_ETYPE);
  assert_int_equal(lph_wire_float(LPH_FLOAT4, 1e300, &out), LPH_ERANGE);
  assert_int_equal(lph_wire_string(LPH_TEXT, (lph_bytes){"a\0b", 3}, &out), LPH_EFORMAT);
  assert_int_equal(lph_wire_string(LPH_TEXT, (lph_bytes){"\377", 1}, &out), LPH_EFORMAT);
  lph_type uuid = {.kind = LPH_UUID, .name = "uuid"};
  assert_int_equal(lph_wire_from_text(&uuid, (lph_bytes){"a0eebc99", 8}, &out), LPH_EFORMAT);
  assert_int_equal(out.len, 0);
  assert_int_equal(lph_wire_int(LPH_INT2, -2, &out), LPH_OK);
  assert_memory_equal(out.data, "\0\0\0\2\377\376", 6);
  lph_buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_byte_comes_back),
    cmocka_unit_test(fields_are_taken_apart),
    cmocka_unit_test(what_does_not_fit_appends_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
