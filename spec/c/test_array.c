/* The array reader in both formats and the quoting of elements: what it must accept, what it must
 * refuse, and that no bytes at all can make it read too far, stand still or promise too much. Inputs
 * are exact heap blocks, so that a sanitizer build sees any read behind the end.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "wire.h"

#include "trace.h"

static void check_trace(lph_bytes in, bool binary, char delim, const char *want) {
  lph_buf out = {0};
  lph_bytes copy = exact_copy(in.data, in.len);
  trace_array(&out, copy, binary, delim);
  lph_buf_terminate(&out);
  if (strcmp(out.data, want) != 0)
    fail_msg("%s %.*s: got %s, expected %s", binary ? "binary" : "text", binary ? 0 : (int)in.len, in.data,
             out.data, want);
  free((char *)copy.data);
  lph_buf_free(&out);
}

static void check_text(const char *text, const char *want) {
  check_trace((lph_bytes){text, strlen(text)}, false, ',', want);
}

/* The whole input must be refused, wherever that becomes clear. */
static void check_refused(lph_bytes in, bool binary, char delim) {
  lph_buf out = {0};
  lph_bytes copy = exact_copy(in.data, in.len);
  trace_array(&out, copy, binary, delim);
  if (out.data[out.len - 1] != '!') fail_msg("accepted: %.*s", binary ? 0 : (int)in.len, in.data);
  free((char *)copy.data);
  lph_buf_free(&out);
}

/* int32 ndim, flags, element type int4, then pairs of size and lower bound. */
static wire head(int ndim, const int32_t *dims) {
  wire w = {.len = 0};
  wire_int(&w, 4, (uint64_t)ndim);
  wire_int(&w, 4, 0);
  wire_int(&w, 4, 23);
  for (int i = 0; i < 2 * ndim; i++) wire_int(&w, 4, (uint64_t)(uint32_t)dims[i]);
  return w;
}

static void item(wire *w, const char *text) {
  wire_int(w, 4, text == NULL ? UINT64_MAX : strlen(text));
  if (text == NULL) return;
  memcpy(w->data + w->len, text, strlen(text));
  w->len += strlen(text);
}

static lph_bytes bytes_of(const wire *w) { return (lph_bytes){w->data, w->len}; }

/* ---- text -------------------------------------------------------------------------------------- */

static void text_arrays_are_walked_as_array_out_prints_them(void **state) {
  (void)state;
  check_text("{}", "[].");
  check_text("{1}", "['1'].");
  check_text("{1,NULL,3}", "['1'N'3'].");
  check_text("{\"NULL\",null,nulls}", "['NULL'N'nulls'].");
  check_text("{\"\",\"a b\",\"a,b\",\"{}\"}", "['''a b''a,b''{}'].");
  check_text("{\"a\\\"b\",\"\\\\\",\"\\\\\\\"x\"}", "['a\"b''\\''\\\"x'].");
  check_text("{{1,2},{3,NULL}}", "[['1''2']['3'N]].");
  check_text("{{{1}},{{2}}}", "[[['1']][['2']]].");
  check_text("{{{{{{x}}}}}}", "[[[[[['x']]]]]].");
  check_text("[0:2]={a,b,c}", "['a''b''c'].");
  check_text("[-3:-2][1:1]={{a},{b}}", "[['a']['b']].");
  check_text("[-2147483648:-2147483648]={a}", "['a'].");
  check_text("{\xc3\xa9,\xff}", "['\xc3\xa9''\xff']."); /* encodings are not our business */
}

static void a_delimiter_other_than_the_comma_is_honoured(void **state) {
  (void)state;
  const char *text = "{(1,1),(0,0);(2,2),(1,1)}";
  check_trace((lph_bytes){text, strlen(text)}, false, ';', "['(1,1),(0,0)''(2,2),(1,1)'].");
  check_refused((lph_bytes){"{1;2}x", 6}, false, ';');
}

static void text_that_no_server_prints_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
    "",
    "{",
    "}",
    "{}}",
    "{}x",
    " {}",
    "{ }",
    "{1",
    "{1,",
    "{1,}",
    "{,1}",
    "{,}",
    "1",
    "{1}}",
    "{1}{2}",
    "{1 }",
    "{ 1}",
    "{1, 2}",
    "{a\"b\"}",
    "{\"a\"b}",
    "{\"a",
    "{\"a\\",
    "{\"a\\\"",
    "{\"a\"",
    "{a\\b}",
    "{{1},2}",
    "{1,{2}}",
    "{{1},{}}",
    "{{}}",
    "{{1},{2,3}}",
    "{{1,2},{3}}",
    "{{{1}},{2}}",
    "{{1},{{2}}}",
    "{{{{{{{1}}}}}}}",
    "[0:1]={1}",
    "[0:1]={1,2,3}",
    "[1:0]={}",
    "[1:1]={}",
    "[1:1]={{1}}",
    "[1:1][1:1]={1}",
    "[1:1]{1}",
    "[1:1]=",
    "[1:1",
    "[1:",
    "[",
    "[]={1}",
    "[:1]={1}",
    "[1]={1}",
    "[a:b]={1}",
    "[1:1]x={1}",
    "[2:1]={1}",
    "[1:2147483647]={1}",
    "[1:99999999999999999999]={1}",
    "[--1:1]={1}",
    "[-:1]={1}",
    "[-2147483649:-2147483649]={1}",
    "[2147483647:2147483647]={1}",
    "[1:1000000]={1}",
    "[1:1][1:1][1:1][1:1][1:1][1:1][1:1]={{{{{{{1}}}}}}}",
    "[1:65536][1:65536]={{1}}",
    "[-2147483648:2147483646]={1}",
  };
  for (size_t i = 0; i < lph_countof(bad); i++)
    check_refused((lph_bytes){bad[i], strlen(bad[i])}, false, ',');
  check_refused((lph_bytes){NULL, 0}, false, ',');
}

static void sizes_and_bounds_are_known_after_the_walk(void **state) {
  (void)state;
  lph_array_reader r;
  const char *text = "{{1,2,3},{4,5,6}}";
  assert_int_equal(lph_array_open(&r, (lph_bytes){text, strlen(text)}, false, ','), LPH_OK);
  assert_int_equal(r.ndim, 2);
  assert_int_equal(r.size[0], -1);
  while (lph_array_next(&r) != LPH_ARRAY_END) continue;
  assert_int_equal(r.size[0], 2);
  assert_int_equal(r.size[1], 3);
  assert_int_equal(r.lower[0], 1);
  assert_int_equal(r.lower[1], 1);
  lph_array_close(&r);
  text = "[-1:0][5:5]={{1},{2}}";
  assert_int_equal(lph_array_open(&r, (lph_bytes){text, strlen(text)}, false, ','), LPH_OK);
  assert_int_equal(r.size[0], 2);
  assert_int_equal(r.size[1], 1);
  assert_int_equal(r.lower[0], -1);
  assert_int_equal(r.lower[1], 5);
  lph_array_close(&r);
}

/* ---- binary ------------------------------------------------------------------------------------ */

static void binary_arrays_give_the_same_events(void **state) {
  (void)state;
  wire w = head(0, NULL);
  check_trace(bytes_of(&w), true, ',', "[].");
  w = head(1, (int32_t[]){3, 1});
  item(&w, "one");
  item(&w, NULL);
  item(&w, "");
  check_trace(bytes_of(&w), true, ',', "['one'N''].");
  w = head(2, (int32_t[]){2, -1, 2, 0});
  for (const char *p = "abcd"; *p; p++) item(&w, (char[]){*p, '\0'});
  check_trace(bytes_of(&w), true, ',', "[['a''b']['c''d']].");
  lph_array_reader r;
  assert_int_equal(lph_array_open(&r, bytes_of(&w), true, ','), LPH_OK);
  assert_int_equal(r.elem, 23);
  assert_int_equal(r.lower[0], -1);
  assert_int_equal(r.size[1], 2);
  lph_array_close(&r);
  w = head(6, (int32_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  item(&w, "x");
  check_trace(bytes_of(&w), true, ',', "[[[[[['x']]]]]].");
}

static void elements_of_one_width_are_had_at_once(void **state) {
  (void)state;
  wire w = head(1, (int32_t[]){3, 1});
  item(&w, "abcd");
  item(&w, "efgh");
  item(&w, "ijkl");
  lph_bytes copy = exact_copy(w.data, w.len);
  lph_array_reader r;
  int count;
  assert_int_equal(lph_array_open(&r, copy, true, ','), LPH_OK);
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_OPEN);
  assert_null(lph_array_run(&r, 2, &count)); /* and nothing is lost by having asked */
  const char *p = lph_array_run(&r, 4, &count);
  assert_non_null(p);
  assert_int_equal(count, 3);
  assert_memory_equal(p + 2 * (4 + 4), "ijkl", 4);
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_CLOSE);
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_END);
  lph_array_close(&r);
  free((char *)(uintptr_t)copy.data);
}

static void a_null_or_a_lie_among_them_leaves_them_to_be_read_one_by_one(void **state) {
  (void)state;
  for (int shortened = 0; shortened < 2; shortened++) {
    wire w = head(1, (int32_t[]){2, 1});
    item(&w, "abcd");
    item(&w, shortened ? "efgh" : NULL);
    lph_bytes copy = exact_copy(w.data, w.len - (shortened ? 1 : 0));
    lph_array_reader r;
    int count;
    assert_int_equal(lph_array_open(&r, copy, true, ','), LPH_OK);
    assert_int_equal(lph_array_next(&r), LPH_ARRAY_OPEN);
    assert_null(lph_array_run(&r, 4, &count));
    assert_int_equal(count, 0);
    assert_int_equal(lph_array_next(&r), LPH_ARRAY_ITEM);
    assert_int_equal(lph_array_next(&r), shortened ? LPH_ARRAY_BAD : LPH_ARRAY_NULL);
    lph_array_close(&r);
    free((char *)(uintptr_t)copy.data);
  }
}

static void a_dimension_of_size_zero_is_an_empty_array(void **state) { /* int2vector, oidvector */
  (void)state;
  wire w = head(1, (int32_t[]){0, 0});
  check_trace(bytes_of(&w), true, ',', "[].");
  lph_array_reader r;
  assert_int_equal(lph_array_open(&r, bytes_of(&w), true, ','), LPH_OK);
  assert_int_equal(r.ndim, 0);
  lph_array_close(&r);
  item(&w, "x");
  check_refused(bytes_of(&w), true, ',');
}

static void every_shortened_or_lengthened_value_is_refused(void **state) {
  (void)state;
  wire w = head(2, (int32_t[]){2, 1, 2, 1});
  item(&w, "one");
  item(&w, NULL);
  item(&w, "three");
  item(&w, "4");
  size_t whole = w.len;
  for (w.len = 0; w.len < whole; w.len++) check_refused(bytes_of(&w), true, ',');
  w.len = whole;
  check_trace(bytes_of(&w), true, ',', "[['one'N]['three''4']].");
  wire_int(&w, 1, 0);
  check_refused(bytes_of(&w), true, ',');
  const char *text = "[2:3]={\"a\\\"b\",\"c\"}";
  for (size_t n = 0; n < strlen(text); n++) check_refused((lph_bytes){text, n}, false, ',');
}

static void headers_that_lie_are_refused_before_anything_is_promised(void **state) {
  (void)state;
  const struct {
    int ndim;
    int32_t dims[12];
  } lies[] = {
    {7, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}}, /* (the seventh pair is missing as well) */
    {1, {-1, 1}},
    {1, {INT32_MIN, 1}},
    {1, {4, 1}}, /* three items follow */
    {1, {INT32_MAX, 1}},
    {2, {65536, 1, 65536, 1}},                     /* product 2^32: zero in 32 bits */
    {4, {65536, 1, 65536, 1, 65536, 1, 65536, 1}}, /* product 2^64: zero in 64 bits */
    {3, {3, 1, INT32_MAX, 1, INT32_MAX, 1}},
    {1, {3, INT32_MAX}}, /* upper bound overflows */
    {1, {3, INT32_MAX - 2}},
  };
  for (size_t i = 0; i < lph_countof(lies); i++) {
    wire w = head(lies[i].ndim > 6 ? 6 : lies[i].ndim, lies[i].dims);
    w.data[3] = (char)lies[i].ndim;
    for (int k = 0; k < 3; k++) item(&w, "x");
    lph_array_reader r;
    if (lph_array_open(&r, bytes_of(&w), true, ',') != LPH_EFORMAT) fail_msg("lie %zu was believed", i);
    lph_array_close(&r);
  }
  wire w = head(1, (int32_t[]){1, 1});
  item(&w, "x");
  w.data[0] = (char)0xff; /* a negative number of dimensions */
  check_refused(bytes_of(&w), true, ',');
  w = head(1, (int32_t[]){1, 1});
  item(&w, "x");
  w.data[7] = 2; /* flags are 0 or 1 */
  check_refused(bytes_of(&w), true, ',');
}

static void element_lengths_that_lie_are_refused(void **state) {
  (void)state;
  const int32_t lies[] = {-2, INT32_MIN, INT32_MAX, 4, 2};
  for (size_t i = 0; i < lph_countof(lies); i++) {
    wire w = head(1, (int32_t[]){1, 1});
    wire_int(&w, 4, (uint64_t)(uint32_t)lies[i]);
    wire_int(&w, 3, 0x616263);
    check_refused(bytes_of(&w), true, ',');
  }
}

/* ---- the writer --------------------------------------------------------------------------------- */

static void check_put(const char *text, char delim, const char *want) {
  lph_buf out = {0};
  lph_bytes in = {0};
  if (text != NULL) in = exact_copy(text, strlen(text));
  lph_buf_puts(&out, "kept");
  assert_int_equal(lph_array_put(&out, in, delim), LPH_OK);
  lph_buf_terminate(&out);
  assert_string_equal(out.data + 4, want);
  assert_int_equal(out.len, 4 + strlen(want));
  free((char *)in.data);
  lph_buf_free(&out);
}

static void elements_are_quoted_where_array_out_does(void **state) {
  (void)state;
  check_put("1", ',', "1");
  check_put("-1.5e10", ',', "-1.5e10");
  check_put(NULL, ',', "NULL");
  check_put("", ',', "\"\"");
  check_put("NULL", ',', "\"NULL\"");
  check_put("nUlL", ',', "\"nUlL\"");
  check_put("NULLS", ',', "NULLS");
  check_put("a b", ',', "\"a b\"");
  check_put("\v", ',', "\"\v\"");
  check_put("a,b", ',', "\"a,b\"");
  check_put("a;b", ',', "a;b");
  check_put("a;b", ';', "\"a;b\"");
  check_put("a,b", ';', "a,b");
  check_put("{", ',', "\"{\"");
  check_put("a}", ',', "\"a}\"");
  check_put("a\"b\\c", ',', "\"a\\\"b\\\\c\"");
  check_put("(a)[b]:=", ',', "(a)[b]:=");
  check_put("\xc3\xa9", ',', "\xc3\xa9");
}

static size_t random_text(char *text, size_t max) {
  static const char alphabet[] = "ab\"\\{},; \n\tNULL()[]:=-01\xc3";
  size_t len = next_random() % (max + 1);
  for (size_t i = 0; i < len; i++) text[i] = alphabet[next_random() % (sizeof alphabet - 1)];
  return len;
}

static void whatever_is_written_reads_back(void **state) {
  (void)state;
  lph_buf literal = {0};
  for (int round = 0; round < 20000; round++) {
    char texts[5][12];
    size_t lens[5], n = 1 + next_random() % 5;
    lph_buf_clear(&literal);
    lph_buf_putc(&literal, '{');
    for (size_t i = 0; i < n; i++) {
      lens[i] = random_text(texts[i], sizeof texts[i]);
      if (i > 0) lph_buf_putc(&literal, ',');
      assert_int_equal(lph_array_put(&literal, (lph_bytes){texts[i], lens[i]}, ','), LPH_OK);
    }
    lph_buf_putc(&literal, '}');
    lph_array_reader r;
    assert_int_equal(lph_array_open(&r, (lph_bytes){literal.data, literal.len}, false, ','), LPH_OK);
    assert_int_equal(lph_array_next(&r), LPH_ARRAY_OPEN);
    for (size_t i = 0; i < n; i++) {
      assert_int_equal(lph_array_next(&r), LPH_ARRAY_ITEM);
      assert_int_equal(r.item.len, lens[i]);
      if (lens[i] > 0) assert_memory_equal(r.item.data, texts[i], lens[i]);
    }
    assert_int_equal(lph_array_next(&r), LPH_ARRAY_CLOSE);
    assert_int_equal(lph_array_next(&r), LPH_ARRAY_END);
    lph_array_close(&r);
  }
  lph_buf_free(&literal);
}

/* ---- hostile bytes, no memory -------------------------------------------------------------------- */

static void trace_copy(lph_bytes in, bool binary) {
  lph_buf out = {0};
  lph_bytes copy = exact_copy(in.data, in.len);
  trace_array(&out, copy, binary, ',');
  free((char *)copy.data);
  lph_buf_free(&out);
}

static void no_bytes_lead_astray(void **state) {
  (void)state;
  static const char alphabet[] = "{{{}}},,\"\\[]:=-0123N ";
  long live = lph_mem_live();
  for (int round = 0; round < 300000; round++) {
    char text[40];
    size_t len = next_random() % sizeof text;
    for (size_t i = 0; i < len; i++) text[i] = alphabet[next_random() % (sizeof alphabet - 1)];
    if (len > 0 && round % 2) text[0] = '{';
    trace_copy((lph_bytes){text, len}, false);
    for (size_t i = 0; i < len; i++) text[i] = (char)next_random();
    trace_copy((lph_bytes){text, len}, round % 4 < 2);
    wire w = head(2, (int32_t[]){2, 1, 1, 1});
    item(&w, "abc");
    item(&w, NULL);
    for (int k = 0; k < 3; k++)
      w.data[next_random() % w.len] = (char)(next_random() % 4 ? next_random() % 5 : 0xff);
    if (next_random() % 4 == 0) w.len = next_random() % w.len;
    trace_copy(bytes_of(&w), true);
  }
  assert_int_equal(lph_mem_live(), live);
}

static void without_memory_an_escaped_element_is_refused_as_such(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live();
  const char *text = "{plain,\"quoted\",\"es\\\"caped\"}";
  lph_array_reader r;
  assert_int_equal(lph_array_open(&r, (lph_bytes){text, strlen(text)}, false, ','), LPH_OK);
  lph_mem_fail_at(1, false);
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_OPEN);
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_ITEM);
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_ITEM); /* neither needed memory */
  assert_false(lph_mem_failed());
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_BAD);
  assert_true(lph_mem_failed());
  assert_int_equal(r.why, LPH_ENOMEM);
  lph_mem_fail_at(0, false);
  assert_int_equal(lph_array_next(&r), LPH_ARRAY_BAD);
  lph_array_close(&r);
  assert_int_equal(lph_mem_live(), live);
}

static void a_write_without_memory_appends_nothing(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  static const char *const texts[] = {"plain", "to quote", "to \" escape", NULL};
  for (size_t i = 0; i < lph_countof(texts); i++) {
    lph_buf out = {0};
    lph_mem_fail_at(1, false);
    lph_bytes text = {texts[i], texts[i] == NULL ? 0 : strlen(texts[i])};
    assert_int_equal(lph_array_put(&out, text, ','), LPH_ENOMEM);
    assert_int_equal(out.len, 0);
    lph_mem_fail_at(0, false);
    lph_buf_free(&out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(text_arrays_are_walked_as_array_out_prints_them),
    cmocka_unit_test(a_delimiter_other_than_the_comma_is_honoured),
    cmocka_unit_test(text_that_no_server_prints_is_refused),
    cmocka_unit_test(sizes_and_bounds_are_known_after_the_walk),
    cmocka_unit_test(binary_arrays_give_the_same_events),
    cmocka_unit_test(elements_of_one_width_are_had_at_once),
    cmocka_unit_test(a_null_or_a_lie_among_them_leaves_them_to_be_read_one_by_one),
    cmocka_unit_test(a_dimension_of_size_zero_is_an_empty_array),
    cmocka_unit_test(every_shortened_or_lengthened_value_is_refused),
    cmocka_unit_test(headers_that_lie_are_refused_before_anything_is_promised),
    cmocka_unit_test(element_lengths_that_lie_are_refused),
    cmocka_unit_test(elements_are_quoted_where_array_out_does),
    cmocka_unit_test(whatever_is_written_reads_back),
    cmocka_unit_test(no_bytes_lead_astray),
    cmocka_unit_test(without_memory_an_escaped_element_is_refused_as_such),
    cmocka_unit_test(a_write_without_memory_appends_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
