/* Rows, ranges, multiranges and hstore: the readers in both formats, the quoting of the writers, and that
 * no bytes lead a reader astray. Inputs are exact heap blocks, so that a sanitizer build sees any read
 * behind the end.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "wire.h"

#include "trace.h"

typedef void tracer(lph_buf *out, lph_bytes in, bool binary);

static void check_trace(tracer *trace, lph_bytes in, bool binary, const char *want) {
  lph_buf out = {0};
  lph_bytes copy = exact_copy(in.data, in.len);
  trace(&out, copy, binary);
  lph_buf_terminate(&out);
  if (strcmp(out.data, want) != 0)
    fail_msg("%.*s: got %s, expected %s", binary ? 0 : (int)in.len, in.data, out.data, want);
  free((char *)copy.data);
  lph_buf_free(&out);
}

static void check_text(tracer *trace, const char *text, const char *want) {
  check_trace(trace, (lph_bytes){text, strlen(text)}, false, want);
}

static void check_refused(tracer *trace, lph_bytes in, bool binary) {
  lph_buf out = {0};
  lph_bytes copy = exact_copy(in.data, in.len);
  trace(&out, copy, binary);
  if (out.data[out.len - 1] != '!') fail_msg("accepted: %.*s", binary ? 0 : (int)in.len, in.data);
  free((char *)copy.data);
  lph_buf_free(&out);
}

static void check_all_refused(tracer *trace, const char *const *texts, size_t count) {
  for (size_t i = 0; i < count; i++) check_refused(trace, (lph_bytes){texts[i], strlen(texts[i])}, false);
}

/* Good as it is; refused at every other length. */
static void check_length(tracer *trace, wire w, bool binary, const char *want) {
  size_t whole = w.len;
  check_trace(trace, (lph_bytes){w.data, whole}, binary, want);
  for (size_t n = 0; n < whole; n++) check_refused(trace, (lph_bytes){w.data, n}, binary);
  w.data[whole] = '\0';
  check_refused(trace, (lph_bytes){w.data, whole + 1}, binary);
}

static void sized(wire *w, const char *text) {
  wire_int(w, 4, text == NULL ? UINT64_MAX : strlen(text));
  if (text == NULL) return;
  memcpy(w->data + w->len, text, strlen(text));
  w->len += strlen(text);
}

static wire text_of(const char *text) { return wire_raw(text, strlen(text)); }

/* ---- rows ---------------------------------------------------------------------------------------- */

static void rows_are_read_as_record_out_prints_them(void **state) {
  (void)state;
  check_text(trace_row, "(1,2)", "'1''2'.");
  check_text(trace_row, "(,)", "NN.");
  check_text(trace_row, "()", "N.");
  check_text(trace_row, "(\"\",)", "''N.");
  check_text(trace_row, "(\"a b\",\"c,d\")", "'a b''c,d'.");
  check_text(trace_row, "(\"say \"\"hi\"\"\",\"back\\\\slash\")", "'say \"hi\"''back\\slash'.");
  check_text(trace_row, "(\"(1,\"\"x\"\")\",2)", "'(1,\"x\")''2'.");
  check_text(trace_row, "(a\"b\"c,\"\"\"\")", "'abc''\"'."); /* record_in's grammar: quotes open anywhere */
  check_text(trace_row, "(a\\,b,\"x\\\"y\")", "'a,b''x\"y'.");
  check_length(trace_row, text_of("(a,\"b\"\"c\",)"), false, "'a''b\"c'N.");
}

static void text_that_is_no_row_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",      "(",    ")",        "1,2",     "(1",       "(1,",  "(1)x",
                                    "(1) ",  " (1)", "(1))",     "(\"a)",   "(\"a\"",   "(a\\", "(a\\)",
                                    "(1(2)", "((1)", "(\"a\"\"", "(\"\"\"", "(\"a\\\")"};
  check_all_refused(trace_row, bad, lph_countof(bad));
  check_refused(trace_row, (lph_bytes){NULL, 0}, false);
  check_refused(trace_row, (lph_bytes){NULL, 0}, true);
}

static void a_binary_row_tells_the_types_of_its_fields(void **state) {
  (void)state;
  wire w = wire_of(4, 3);
  wire_int(&w, 4, 23);
  sized(&w, "four");
  wire_int(&w, 4, 25);
  sized(&w, "");
  wire_int(&w, 4, UINT32_MAX);
  sized(&w, NULL);
  check_length(trace_row, w, true, "'four'''N.");
  lph_row_reader r;
  assert_int_equal(lph_row_open(&r, (lph_bytes){w.data, w.len}, true), LPH_OK);
  assert_int_equal(r.count, 3);
  assert_int_equal(lph_row_next(&r), 1);
  assert_int_equal(r.field_type, 23);
  assert_int_equal(lph_row_next(&r), 1);
  assert_int_equal(r.field_type, 25);
  assert_int_equal(lph_row_next(&r), 1);
  assert_true(r.field_type == UINT32_MAX);
  lph_row_close(&r);
  check_length(trace_row, wire_of(4, 0), true, ".");
}

static void binary_rows_that_lie_are_refused(void **state) {
  (void)state;
  const int32_t counts[] = {2, -1, INT32_MIN, INT32_MAX, 0};
  for (size_t i = 0; i < lph_countof(counts); i++) {
    wire w = wire_of(4, (uint64_t)(uint32_t)counts[i]);
    wire_int(&w, 4, 23);
    sized(&w, "x");
    check_refused(trace_row, (lph_bytes){w.data, w.len}, true);
  }
  const int32_t lens[] = {-2, INT32_MIN, INT32_MAX, 3, 1};
  for (size_t i = 0; i < lph_countof(lens); i++) {
    wire w = wire_of(4, 1);
    wire_int(&w, 4, 23);
    wire_int(&w, 4, (uint64_t)(uint32_t)lens[i]);
    wire_int(&w, 2, 0x6162);
    check_refused(trace_row, (lph_bytes){w.data, w.len}, true);
  }
}

/* ---- ranges -------------------------------------------------------------------------------------- */

static void ranges_are_read_as_range_out_prints_them(void **state) {
  (void)state;
  check_text(trace_range, "empty", "empty");
  check_text(trace_range, "[1,10)", "['1''10')");
  check_text(trace_range, "(1,10]", "('1''10']");
  check_text(trace_range, "(,)", "(NN)");
  check_text(trace_range, "[,]", "(NN)"); /* infinity is never included */
  check_text(trace_range, "[1,)", "['1'N)");
  check_text(trace_range, "[\"\",\"a,b\"]", "['''a,b']");
  check_text(trace_range, "[\"2020-01-01 00:00:00\",\"2021-01-01 00:00:00\")",
             "['2020-01-01 00:00:00''2021-01-01 00:00:00')");
  check_text(trace_range, "[\"a\"\"b\\\\c\",\"d\"\"e\\\\f\"]", "['a\"b\\c''d\"e\\f']"); /* both unescaped */
  check_text(trace_range, "[\"[1,2)\",\"[3,4)\"]", "['[1,2)''[3,4)']");
  check_length(trace_range, text_of("[\"a\"\"b\",c]"), false, "['a\"b''c']");
}

/* To see it fail: let read_pieces (quote.c) reserve for its own field only. */
static void two_long_bounds_are_unescaped_side_by_side(void **state) {
  (void)state;
  char text[1024] = "[\"", want[1024] = "['";
  for (int bound = 0; bound < 2; bound++) {
    for (int i = 0; i < 150; i++) {
      strcat(text, "\"\"");
      strcat(want, "\"");
    }
    strcat(text, bound == 0 ? "\",\"" : "\"]");
    strcat(want, bound == 0 ? "''" : "']");
  }
  check_text(trace_range, text, want);
}

static void text_that_is_no_range_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",       "e",      "Empty", "empty ", "[",       "[1",
                                    "[1,",    "[1,2",   "1,2)",  "[1)",    "[1,2)x",  "[1,2,3)",
                                    "[1,2)]", "[(1,2)", "[1,2(", "[1,[2)", "[\"1,2)", "[1,\"2)",
                                    "[1\\",   "[1)2)",  "[1]2]", "[1(2]"};
  check_all_refused(trace_range, bad, lph_countof(bad));
  check_refused(trace_range, (lph_bytes){NULL, 0}, false);
  check_refused(trace_range, (lph_bytes){NULL, 0}, true);
}

static wire range_of(int flags, const char *lower, const char *upper) {
  wire w = wire_of(1, (uint64_t)flags);
  if (lower != NULL) sized(&w, lower);
  if (upper != NULL) sized(&w, upper);
  return w;
}

static void binary_ranges_give_the_same(void **state) {
  (void)state;
  check_length(trace_range, range_of(0x01, NULL, NULL), true, "empty");
  check_length(trace_range, range_of(0x02, "1", "10"), true, "['1''10')");
  check_length(trace_range, range_of(0x04, "1", ""), true, "('1''']");
  check_length(trace_range, range_of(0x18, NULL, NULL), true, "(NN)");
  check_length(trace_range, range_of(0x1e, NULL, NULL), true, "(NN)");
  check_length(trace_range, range_of(0x0c, NULL, "7"), true, "(N'7']");
  check_length(trace_range, range_of(0x12, "7", NULL), true, "['7'N)");
  wire w = range_of(0x20, "1", "2"); /* a flag no server sends */
  check_refused(trace_range, (lph_bytes){w.data, w.len}, true);
  w = range_of(0x01, "1", "2"); /* an empty range with bounds */
  check_refused(trace_range, (lph_bytes){w.data, w.len}, true);
  w = wire_of(1, 0x10); /* a bound that is NULL, or longer than what is there */
  sized(&w, NULL);
  check_refused(trace_range, (lph_bytes){w.data, w.len}, true);
  w = wire_of(1, 0x10);
  wire_int(&w, 4, INT32_MAX);
  check_refused(trace_range, (lph_bytes){w.data, w.len}, true);
}

static void multiranges_are_cut_into_ranges(void **state) {
  (void)state;
  check_text(trace_multirange, "{}", ".");
  check_text(trace_multirange, "{[1,2)}", "['1''2').");
  check_text(trace_multirange, "{(,1],[3,4),(5,)}", "(N'1']['3''4')('5'N).");
  check_text(trace_multirange, "{[\"a]\",\"b\"\"}\"],[\"c\\\\\",d)}", "['a]''b\"}']['c\\''d').");
  wire w = wire_of(4, 2);
  wire one = range_of(0x02, "1", "2"), two = range_of(0x18, NULL, NULL);
  wire_int(&w, 4, one.len);
  memcpy(w.data + w.len, one.data, one.len);
  w.len += one.len;
  wire_int(&w, 4, two.len);
  memcpy(w.data + w.len, two.data, two.len);
  w.len += two.len;
  check_length(trace_multirange, w, true, "['1''2')(NN).");
  check_length(trace_multirange, text_of("{[1,2),[3,\"4)\"]}"), false, "['1''2')['3''4)'].");
  check_length(trace_multirange, wire_of(4, 0), true, ".");
}

static void what_is_no_multirange_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
    "",         "{",       "}",   "{[1,2)",   "[1,2)}", "{[1,2)[3,4)}", "{,}",       "{[1,2),}", "{,[1,2)}",
    "{[1,2)}}", "{empty}", "{1}", "{[1,2) }", "{ }",    "{[1,\"2)}",    "{[1,2\\)}", "{[}"};
  check_all_refused(trace_multirange, bad, lph_countof(bad));
  const uint32_t counts[] = {2, UINT32_MAX, INT32_MAX, 0x33333334}; /* the last: times 5 is 4 in 32 bits */
  for (size_t i = 0; i < lph_countof(counts); i++) {
    wire w = wire_of(4, counts[i]);
    wire_int(&w, 4, 1);
    wire_int(&w, 1, 1);
    check_refused(trace_multirange, (lph_bytes){w.data, w.len}, true);
  }
}

/* ---- hstore -------------------------------------------------------------------------------------- */

static void hstores_are_read_as_hstore_out_prints_them(void **state) {
  (void)state;
  check_text(trace_hstore, "", ".");
  check_trace(trace_hstore, (lph_bytes){NULL, 0}, false, ".");
  check_text(trace_hstore, "\"a\"=>\"1\"", "'a''1'.");
  check_text(trace_hstore, "\"a\"=>\"1\", \"b\"=>NULL", "'a''1''b'N.");
  check_text(trace_hstore, "\"\"=>\"\", \"NULL\"=>\"NULL\"", "'''''NULL''NULL'.");
  check_text(trace_hstore, "\"=>\"=>\", \"", "'=>'', '.");
  check_text(trace_hstore, "\"k\\\"\"=>\"v\\\\\", \"k\\\\\"=>\"v\\\"\"", "'k\"''v\\''k\\''v\"'.");
  static const char *const bad[] = {
    "\"",
    "\"a\"",
    "\"a\"=",
    "\"a\"=>",
    "\"a\"=>\"1",
    "a=>1",
    "\"a\"=>1",
    "\"a\"=>null",
    "\"a\"=>NUL",
    "\"a\"=>NULLx",
    "\"a\" => \"1\"",
    " \"a\"=>\"1\"",
    "\"a\"=>\"1\" ",
    "\"a\"=>\"1\",",
    "\"a\"=>\"1\", ",
    "\"a\"=>\"1\",\"b\"=>\"2\"",
    "NULL=>\"1\"",
    "\"a\\",
  };
  check_all_refused(trace_hstore, bad, lph_countof(bad));
}

static void binary_hstores_give_the_same(void **state) {
  (void)state;
  wire w = wire_of(4, 3);
  sized(&w, "a");
  sized(&w, "1");
  sized(&w, "");
  sized(&w, NULL);
  sized(&w, "k");
  sized(&w, "");
  check_length(trace_hstore, w, true, "'a''1'''N'k'''.");
  check_length(trace_hstore, wire_of(4, 0), true, ".");
  const uint32_t counts[] = {2, UINT32_MAX, INT32_MAX, 0x20000001, 0};
  for (size_t i = 0; i < lph_countof(counts); i++) {
    w = wire_of(4, counts[i]);
    sized(&w, "a");
    sized(&w, "1");
    check_refused(trace_hstore, (lph_bytes){w.data, w.len}, true);
  }
  w = wire_of(4, 1); /* a key cannot be NULL */
  sized(&w, NULL);
  sized(&w, "1");
  check_refused(trace_hstore, (lph_bytes){w.data, w.len}, true);
  w = wire_of(4, 1);
  sized(&w, "a");
  wire_int(&w, 4, (uint32_t)-2);
  check_refused(trace_hstore, (lph_bytes){w.data, w.len}, true);
}

/* ---- the writers --------------------------------------------------------------------------------- */

static void check_put(lph_err (*put)(lph_buf *, lph_bytes), const char *text, const char *want) {
  lph_buf out = {0};
  lph_buf_puts(&out, "kept");
  assert_int_equal(put(&out, (lph_bytes){text, text == NULL ? 0 : strlen(text)}), LPH_OK);
  lph_buf_terminate(&out);
  assert_string_equal(out.data + 4, want);
  lph_buf_free(&out);
}

static void fields_are_quoted_where_record_out_does(void **state) {
  (void)state;
  check_put(lph_row_put, NULL, "");
  check_put(lph_row_put, "", "\"\"");
  check_put(lph_row_put, "1", "1");
  check_put(lph_row_put, "NULL", "NULL"); /* no keyword in a row */
  check_put(lph_row_put, "a b", "\"a b\"");
  check_put(lph_row_put, "\n", "\"\n\"");
  check_put(lph_row_put, "a,b", "\"a,b\"");
  check_put(lph_row_put, "(", "\"(\"");
  check_put(lph_row_put, "a)", "\"a)\"");
  check_put(lph_row_put, "{[]}", "{[]}");
  check_put(lph_row_put, "a\"b", "\"a\"\"b\"");
  check_put(lph_row_put, "a\\b", "\"a\\\\b\"");
}

static void bounds_are_quoted_where_range_out_does(void **state) {
  (void)state;
  check_put(lph_range_put, "", "\"\"");
  check_put(lph_range_put, "1", "1");
  check_put(lph_range_put, "2020-01-01 00:00:00", "\"2020-01-01 00:00:00\"");
  check_put(lph_range_put, "[", "\"[\"");
  check_put(lph_range_put, "]", "\"]\"");
  check_put(lph_range_put, "(", "\"(\"");
  check_put(lph_range_put, "a,b)", "\"a,b)\"");
  check_put(lph_range_put, "{}", "{}");
  check_put(lph_range_put, "a\"b\\c", "\"a\"\"b\\\\c\"");
}

static void pairs_are_written_as_hstore_out_does(void **state) {
  (void)state;
  lph_buf out = {0};
  assert_int_equal(lph_hstore_put(&out, (lph_bytes){"k", 1}, (lph_bytes){"v", 1}), LPH_OK);
  assert_int_equal(lph_hstore_put(&out, (lph_bytes){"", 0}, (lph_bytes){NULL, 0}), LPH_OK);
  assert_int_equal(lph_hstore_put(&out, (lph_bytes){"\"\\", 2}, (lph_bytes){"NULL", 4}), LPH_OK);
  lph_buf_terminate(&out);
  assert_string_equal(out.data, "\"k\"=>\"v\"\"\"=>NULL\"\\\"\\\\\"=>\"NULL\"");
  lph_buf_free(&out);
}

static lph_bytes random_text(char *text, size_t max) {
  static const char alphabet[] = "ab\"\\{},; \n\tNULL()[]:=>\xc3";
  size_t len = next_random() % (max + 1);
  for (size_t i = 0; i < len; i++) text[i] = alphabet[next_random() % (sizeof alphabet - 1)];
  return (lph_bytes){text, len};
}

static void check_same(lph_bytes got, lph_bytes want) {
  assert_int_equal(got.len, want.len);
  if (want.len > 0) assert_memory_equal(got.data, want.data, want.len);
}

static void check_row_round_trip(const lph_bytes *texts, lph_buf *literal) {
  lph_buf_clear(literal);
  for (int i = 0; i < 3; i++) {
    lph_buf_putc(literal, i == 0 ? '(' : ',');
    assert_int_equal(lph_row_put(literal, texts[i]), LPH_OK);
  }
  lph_buf_putc(literal, ')');
  lph_row_reader r;
  assert_int_equal(lph_row_open(&r, (lph_bytes){literal->data, literal->len}, false), LPH_OK);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(lph_row_next(&r), 1);
    assert_false(r.is_null);
    check_same(r.item, texts[i]);
  }
  assert_int_equal(lph_row_next(&r), 0);
  lph_row_close(&r);
}

static void check_range_round_trip(const lph_bytes *texts, lph_buf *literal) {
  lph_buf_clear(literal);
  lph_buf_putc(literal, '[');
  assert_int_equal(lph_range_put(literal, texts[0]), LPH_OK);
  lph_buf_putc(literal, ',');
  assert_int_equal(lph_range_put(literal, texts[1]), LPH_OK);
  lph_buf_putc(literal, ']');
  lph_range r;
  assert_int_equal(lph_range_read(&r, (lph_bytes){literal->data, literal->len}, false), LPH_OK);
  check_same(r.lower, texts[0]);
  check_same(r.upper, texts[1]);
  lph_range_close(&r);
}

static void check_hstore_round_trip(const lph_bytes *texts, lph_buf *literal) {
  lph_buf_clear(literal);
  assert_int_equal(lph_hstore_put(literal, texts[0], texts[1]), LPH_OK);
  lph_hstore_reader r;
  assert_int_equal(lph_hstore_open(&r, (lph_bytes){literal->data, literal->len}, false), LPH_OK);
  assert_int_equal(lph_hstore_next(&r), 1);
  check_same(r.key, texts[0]);
  check_same(r.value, texts[1]);
  assert_int_equal(lph_hstore_next(&r), 0);
  lph_hstore_close(&r);
}

static void whatever_is_written_reads_back(void **state) {
  (void)state;
  lph_buf literal = {0};
  for (int round = 0; round < 20000; round++) {
    char room[3][12];
    lph_bytes texts[3];
    for (int i = 0; i < 3; i++) texts[i] = random_text(room[i], sizeof room[i]);
    check_row_round_trip(texts, &literal);
    check_range_round_trip(texts, &literal);
    check_hstore_round_trip(texts, &literal);
  }
  lph_buf_free(&literal);
}

/* ---- hostile bytes, no memory -------------------------------------------------------------------- */

static void no_bytes_lead_astray(void **state) {
  (void)state;
  static tracer *const tracers[] = {trace_row, trace_range, trace_multirange, trace_hstore};
  static const char alphabet[] = "(()),,\"\"\\[[]]{}=>N1 ";
  long live = lph_mem_live();
  lph_buf out = {0};
  for (int round = 0; round < 400000; round++) {
    char text[40];
    bool binary = round % 2;
    size_t len = next_random() % sizeof text;
    for (size_t i = 0; i < len; i++) {
      uint64_t x = next_random();
      text[i] = binary ? (char)(x % 3 ? x % 6 : x >> 8) : alphabet[x % (sizeof alphabet - 1)];
    }
    if (binary && len > 4) memset(text, 0, 3); /* or nearly all counts would be too big */
    if (!binary && len > 1) text[0] = "(([{\""[round / 2 % 5];
    lph_bytes copy = exact_copy(text, len);
    for (size_t i = 0; i < lph_countof(tracers); i++) {
      lph_buf_clear(&out);
      tracers[i](&out, copy, binary);
    }
    free((char *)copy.data);
  }
  lph_buf_free(&out);
  assert_int_equal(lph_mem_live(), live);
}

static void without_memory_a_reader_says_so_and_leaks_nothing(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live();
  lph_row_reader row;
  lph_bytes in = {"(\"a\"\"b\")", 8};
  assert_int_equal(lph_row_open(&row, in, false), LPH_OK);
  lph_mem_fail_at(1, false);
  assert_int_equal(lph_row_next(&row), -1);
  assert_int_equal(row.why, LPH_ENOMEM);
  lph_row_close(&row);
  lph_range range;
  in = (lph_bytes){"[\"a\"\"b\",c)", 10};
  lph_mem_fail_at(1, false);
  assert_int_equal(lph_range_read(&range, in, false), LPH_ENOMEM);
  lph_range_close(&range);
  lph_hstore_reader hstore;
  in = (lph_bytes){"\"a\\\"\"=>\"b\\\"\"", 12};
  for (long n = 1; n <= 2; n++) { /* the key, then the value */
    assert_int_equal(lph_hstore_open(&hstore, in, false), LPH_OK);
    lph_mem_fail_at(n, false);
    assert_int_equal(lph_hstore_next(&hstore), -1);
    assert_true(lph_mem_failed());
    assert_int_equal(hstore.why, LPH_ENOMEM);
    lph_hstore_close(&hstore);
  }
  lph_mem_fail_at(0, false);
  assert_int_equal(lph_mem_live(), live);
}

static void a_write_without_memory_appends_nothing(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  lph_bytes text = {"a \"long\" text, longer than the 64 bytes that a buffer starts with, and \\", 72};
  lph_buf out = {0};
  for (int i = 0; i < 3; i++) {
    lph_mem_fail_at(1, true);
    if (i == 0) assert_int_equal(lph_row_put(&out, text), LPH_ENOMEM);
    if (i == 1) assert_int_equal(lph_range_put(&out, text), LPH_ENOMEM);
    if (i == 2) assert_int_equal(lph_hstore_put(&out, text, text), LPH_ENOMEM);
    lph_mem_fail_at(0, false);
    assert_int_equal(out.len, 0);
  }
  lph_mem_fail_at(2, true); /* the key goes in, the value does not */
  assert_int_equal(lph_hstore_put(&out, text, text), LPH_ENOMEM);
  assert_true(lph_mem_failed());
  assert_int_equal(out.len, 0);
  lph_mem_fail_at(0, false);
  lph_buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_are_read_as_record_out_prints_them),
    cmocka_unit_test(text_that_is_no_row_is_refused),
    cmocka_unit_test(a_binary_row_tells_the_types_of_its_fields),
    cmocka_unit_test(binary_rows_that_lie_are_refused),
    cmocka_unit_test(ranges_are_read_as_range_out_prints_them),
    cmocka_unit_test(two_long_bounds_are_unescaped_side_by_side),
    cmocka_unit_test(text_that_is_no_range_is_refused),
    cmocka_unit_test(binary_ranges_give_the_same),
    cmocka_unit_test(multiranges_are_cut_into_ranges),
    cmocka_unit_test(what_is_no_multirange_is_refused),
    cmocka_unit_test(hstores_are_read_as_hstore_out_prints_them),
    cmocka_unit_test(binary_hstores_give_the_same),
    cmocka_unit_test(fields_are_quoted_where_record_out_does),
    cmocka_unit_test(bounds_are_quoted_where_range_out_does),
    cmocka_unit_test(pairs_are_written_as_hstore_out_does),
    cmocka_unit_test(whatever_is_written_reads_back),
    cmocka_unit_test(no_bytes_lead_astray),
    cmocka_unit_test(without_memory_a_reader_says_so_and_leaks_nothing),
    cmocka_unit_test(a_write_without_memory_appends_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
