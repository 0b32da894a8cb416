/* JSON tokens and writers. Inputs are exact heap blocks, so that a sanitizer build sees any read
 * behind the end.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "types/json.h"
#include "types/type.h"

static uint64_t seed = 88172645463325252u;
static unsigned next_random(unsigned limit) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return (unsigned)((seed >> 20) % limit);
}

static lph_bytes bytes(const char *text) { return (lph_bytes){text, strlen(text)}; }

/* ---- a document as a line of tokens --------------------------------------------------------------- */

static void trace_string(lph_buf *out, const char *name, const lph_json_reader *r) {
  char *value = malloc(r->text.len + 1);
  size_t len = r->text.len;
  if (r->escaped)
    len = lph_json_unescape(r, value);
  else if (len > 0)
    memcpy(value, r->text.data, len);
  assert_true(len <= r->text.len);
  lph_buf_puts(out, name);
  lph_buf_add(out, value, len);
  lph_buf_putc(out, ' ');
  free(value);
}

/* Appends "[ i1 s:x ] ." for `[1,"x"]`; ends in "." (all read) or "!<offset>". Answers the last
 * token. Also checks what holds for every text: one token for each byte and an END is the most there
 * can be, containers close as they opened, and the last answer is repeated. */
static lph_json_token trace(lph_bytes text, lph_buf *out) {
  char *copy = malloc(text.len ? text.len : 1);
  if (text.len > 0) memcpy(copy, text.data, text.len);
  lph_json_reader r;
  lph_json_open(&r, (lph_bytes){copy, text.len});
  char open[LPH_JSON_MAX_DEPTH];
  int depth = 0;
  lph_json_token token;
  for (size_t calls = 0;; calls++) {
    assert_true(calls <= text.len);
    token = lph_json_next(&r);
    assert_true(lph_json_left(&r) <= text.len);
    if (token == LPH_JSON_END || token == LPH_JSON_BAD) break;
    switch (token) {
      case LPH_JSON_OPEN_ARRAY:
        open[depth++] = '[';
        lph_buf_puts(out, "[ ");
        break;
      case LPH_JSON_OPEN_OBJECT:
        open[depth++] = '{';
        lph_buf_puts(out, "{ ");
        break;
      case LPH_JSON_CLOSE_ARRAY:
        assert_int_equal(open[--depth], '[');
        lph_buf_puts(out, "] ");
        break;
      case LPH_JSON_CLOSE_OBJECT:
        assert_int_equal(open[--depth], '{');
        lph_buf_puts(out, "} ");
        break;
      case LPH_JSON_KEY: trace_string(out, "k:", &r); break;
      case LPH_JSON_STRING: trace_string(out, "s:", &r); break;
      case LPH_JSON_INT: lph_buf_printf(out, "i%" PRId64 " ", r.integer); break;
      case LPH_JSON_BIG: lph_buf_printf(out, "b%.*s ", (int)r.text.len, r.text.data); break;
      case LPH_JSON_FLOAT: lph_buf_printf(out, "f%.*s ", (int)r.text.len, r.text.data); break;
      case LPH_JSON_TRUE: lph_buf_puts(out, "true "); break;
      case LPH_JSON_FALSE: lph_buf_puts(out, "false "); break;
      case LPH_JSON_NULL: lph_buf_puts(out, "null "); break;
      default: fail_msg("no such token: %d", token);
    }
  }
  assert_int_equal(lph_json_next(&r), token);
  if (token == LPH_JSON_END) {
    assert_int_equal(depth, 0);
    lph_buf_puts(out, ".");
  } else {
    assert_non_null(r.why);
    assert_true(r.at <= text.len);
    lph_buf_printf(out, "!%zu", r.at);
  }
  lph_buf_terminate(out);
  free(copy);
  return token;
}

static void reads_n(const char *text, size_t len, const char *want, size_t want_len) {
  lph_buf out = {0};
  trace((lph_bytes){text, len}, &out);
  if (out.len != want_len || memcmp(out.data, want, want_len) != 0)
    fail_msg("%.*s gave: %s instead of: %s", (int)len, text, out.data, want);
  lph_buf_free(&out);
}
static void reads(const char *text, const char *want) { reads_n(text, strlen(text), want, strlen(want)); }

static bool is_json(lph_bytes text) {
  lph_buf out = {0};
  lph_json_token token = trace(text, &out);
  lph_buf_free(&out);
  return token == LPH_JSON_END;
}

/* ---- reading --------------------------------------------------------------------------------------- */

static void test_documents(void **state) {
  (void)state;
  reads("[]", "[ ] .");
  reads("{}", "{ } .");
  reads(" [ ] ", "[ ] .");
  reads("null", "null .");
  reads("\t\n\r true\n", "true .");
  reads("[[],{},[{}]]", "[ [ ] { } [ { } ] ] .");
  reads("{\"a\":1,\"b\":[true,false,null],\"c\":{\"d\":\"e\"}}",
        "{ k:a i1 k:b [ true false null ] k:c { k:d s:e } } .");
  reads("{\"a\": 1, \"a\": 2}", "{ k:a i1 k:a i2 } .");
  reads("{\"\": \"\"}", "{ k: s: } .");
  reads(" { \"a\" : [ 1 , 2 ] , \"b\" : { } } ", "{ k:a [ i1 i2 ] k:b { } } .");
}

/* One text a line would make three pages of the two tables. */
/* clang-format off */
static void test_accepted(void **state) {
  (void)state;
  static const char *const texts[] = {
      "0", "-0", "-1", "1e5", "1E+5", "1.5e-5", "123.456", "0.0", "0e1", "-0.0e-0", "1e00005", "\"\"",
      "\"/\"", "\"\\/\"", "\"\x7f\"", "\"\xc3\xa9\"", "\"\xf4\x8f\xbf\xbf\"", "\"\\uD834\\uDd1e\"",
      "\"\\uFFFF\"", "\"\\ud7ff\\ue000\"", "\"\xe2\x80\xa8\"", "[1,2,3]", "[[[[]]]]",
      "[0.4e00669999999999]", "[true]", "{\"a\\u0000b\":1}",
  };
  for (size_t i = 0; i < lph_countof(texts); i++)
    if (!is_json(bytes(texts[i]))) fail_msg("refused: %s", texts[i]);
}

static void test_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
      /* structure */
      "", " ", "[", "]", "{", "}", "[1", "[1,", "[1,]", "[,1]", "[,]", "[1,,2]", "[1 2]", "[1]]", "[]]",
      "[1}", "{]", "[}", "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,\"a\":1}", "{\"a\" 1}",
      "{\"a\":1 \"b\":2}", "{\"a\":1,,\"b\":2}", "{\"a\":1", "{\"a\"", "{\"a\":", "{a:1}", "{'a':1}",
      "{\"a\":1]", "{null:1}", "{\"a\"::1}", "{\"a\":1:2}", "[\"a\":1]", "{\"a\",\"b\"}", "1 2", "[][]",
      "{}{}", "null,", ",", ":", "[:]",
      /* words */
      "nul", "nulll", "NULL", "True", "t", "tru", "fals", "falsee", "nan", "NaN", "Infinity", "-Infinity",
      "undefined", "[nul]", "a",
      /* numbers */
      "-", "+1", "01", "-01", "00", "-00", ".5", "-.5", "1.", "1.e5", "1e", "1e+", "1e-", "1.5e", "0x10",
      "1e1.5", "1.2.3", "--1", "- 1", "1-2", "0e", "1_000", "1,000", "[1.]", "[-]", "[1e]", "1ee2",
      "[2.e3]", "\xef\xbc\x91",
      /* strings */
      "\"", "\"a", "\"\\", "\"\\\"", "\"\\a\"", "\"\\x41\"", "\"\\u\"", "\"\\u1\"", "\"\\u123\"",
      "\"\\u123g\"", "\"\\U1234\"", "\"\\'\"", "\"\\0\"", "\"\n\"", "\"\t\"", "\"\x1f\"", "'a'",
      "\"a\"\"b\"", "\"\\ \"", "\"\\u 123\"", "\"\\u-123\"", "\"\\u+123\"", "\"\\u12\"34\"",
      /* halves of surrogate pairs */
      "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\\ud800x\"", "\"\\ud800\\n\"",
      "\"\\ud800\\u0041\"", "\"\\udc00\\ud800\"", "\"\\ud800\\udc0\"", "\"\\ud800\\u\"", "\"\\ud800\\",
      "\"\\ud800\\udc00\\udc00\"",
      /* not UTF-8 */
      "\"\x80\"", "\"\xc3\"", "\"\xc3(\"", "\"\xc0\x80\"", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"",
      "\"\xf5\x80\x80\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xff\"", "{\"\xe9\":1}", "\"\\n\xe9\"",
      /* what other readers let through */
      "\xef\xbb\xbf[]", "\xc2\xa0[]", "[] // no", "/* no */[]", "# no", "[1;2]", "\f[]", "\v1", "(1)",
      "<null>", "\\u005b]",
  };
  for (size_t i = 0; i < lph_countof(texts); i++)
    if (is_json(bytes(texts[i]))) fail_msg("accepted: %s", texts[i]);
  /* The NUL byte ends nothing and is no white space. */
  assert_false(is_json((lph_bytes){"1\0", 2}));
  assert_false(is_json((lph_bytes){"\0", 1}));
  assert_false(is_json((lph_bytes){"\"a\0b\"", 5}));
  assert_false(is_json((lph_bytes){"[1\0]", 4}));
  assert_false(is_json((lph_bytes){NULL, 0}));
}

/* clang-format on */

static void test_place_of_the_fault(void **state) {
  (void)state;
  reads("[1,]", "[ i1 !3");
  reads("[1, 2", "[ i1 i2 !5");
  reads("{\"a\" 1}", "{ !5");
  reads("{\"a\": 1, b: 2}", "{ k:a i1 !9");
  reads("  tru", "!2");
  reads("[1.x]", "[ !3");
  reads("\"ab\\q\"", "!3");
  reads("1 x", "i1 !2");
  reads("[1}", "[ i1 !2");
}

static void test_strings(void **state) {
  (void)state;
  reads("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "s:\"\\/\b\f\n\r\t .");
  reads("\"\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\"", "s:A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 .");
  reads("\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", "s:\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf .");
  reads("\"\\ud800\\udc00\\udbff\\udfff\"", "s:\xf0\x90\x80\x80\xf4\x8f\xbf\xbf .");
  reads("{\"a\\tb\":\"plain\"}", "{ k:a\tb s:plain } .");
  reads("\"x\\\\\"", "s:x\\ .");
  reads_n("\"a\\u0000b\"", 10, "s:a\0b .", 7);
}

/* The scanner takes eight bytes at a time: every kind of byte that stops it, at every offset, behind
 * and before bytes that nearly are one. */
static void test_every_offset_in_a_word(void **state) {
  (void)state;
  static const char filler[] = {'a', '!', '#', '[', ']', '\x7f', ' '};
  for (size_t f = 0; f < sizeof filler; f++) {
    for (size_t before = 0; before < 20; before++) {
      for (size_t after = 0; after < 10; after++) {
        char text[64], want[64];
        size_t n = 0;
        text[n++] = '"';
        memset(text + n, filler[f], before + 2 + after);
        size_t at = n + before;
        n += before + 2 + after;
        text[n++] = '"';
        text[at] = '\\', text[at + 1] = 'n';
        int w = snprintf(want, sizeof want, "s:%.*s\n%.*s .", (int)before, text + 1, (int)after,
                         text + at + 2);
        reads_n(text, n, want, (size_t)w);
        text[at] = '\xc3', text[at + 1] = '\xa9';
        w = snprintf(want, sizeof want, "s:%.*s .", (int)(n - 2), text + 1);
        reads_n(text, n, want, (size_t)w);
        text[at] = 'x', text[at + 1] = '\x1f';
        assert_false(is_json((lph_bytes){text, n}));
        text[at + 1] = '\x80';
        assert_false(is_json((lph_bytes){text, n}));
        text[at + 1] = '"';
        assert_int_equal(is_json((lph_bytes){text, n}), false);
        assert_true(is_json((lph_bytes){text, at + 2}));
      }
    }
  }
}

static void test_numbers(void **state) {
  (void)state;
  reads("[0,-1,42]", "[ i0 i-1 i42 ] .");
  reads("9223372036854775807", "i9223372036854775807 .");
  reads("-9223372036854775808", "i-9223372036854775808 .");
  reads("9223372036854775808", "b9223372036854775808 .");
  reads("-9223372036854775809", "b-9223372036854775809 .");
  reads("9999999999999999999", "b9999999999999999999 .");
  reads("10000000000000000000", "b10000000000000000000 .");
  reads("18446744073709551616", "b18446744073709551616 ."); /* 2^64: wraps to 0 */
  reads("-18446744073709551616", "b-18446744073709551616 .");
  reads("18446744073709551617", "b18446744073709551617 .");
  reads("9007199254740993", "i9007199254740993 .");
  reads("-0", "f-0 .");
  reads("[1.0,1e2,-0.0]", "[ f1.0 f1e2 f-0.0 ] .");
}

static void test_big_is_float(void **state) {
  (void)state;
  static const char *const floats[] = {"10000000000000000000", "-10000000000000000000",
                                       "9223372036854775800000", "12345678901234568000000",
                                       "179769313486231570000000"};
  for (size_t i = 0; i < lph_countof(floats); i++) {
    double value;
    if (!lph_json_big_is_float(bytes(floats[i]), &value)) fail_msg("not a float: %s", floats[i]);
    assert_true(value == strtod(floats[i], NULL));
  }
  static const char *const integers[] = {
    "9223372036854775808",  "18446744073709551615",    "9223372036854775809",    "-9223372036854775809",
    "12345678901234567890", "12345678901234567000000", "90071992547409930001000"};
  for (size_t i = 0; i < lph_countof(integers); i++) {
    double value;
    if (lph_json_big_is_float(bytes(integers[i]), &value)) fail_msg("not exact: %s", integers[i]);
  }
  char text[400];
  memset(text, '0', sizeof text);
  text[0] = '1';
  double value;
  assert_true(lph_json_big_is_float((lph_bytes){text, 309}, &value) && value == 1e308);
  assert_false(lph_json_big_is_float((lph_bytes){text, 310}, &value));
  assert_false(lph_json_big_is_float((lph_bytes){text, 400}, &value));
}

/* Opens `depth` containers, kind by the bits of `pattern`, and closes them; `wrong` (if not -1) is the
 * level whose closer is the other kind's. */
static bool nest(int depth, uint64_t pattern, int wrong) {
  lph_buf text = {0};
  for (int i = 0; i < depth; i++) lph_buf_puts(&text, pattern >> (i % 64) & 1 ? "{\"k\":" : "[");
  lph_buf_puts(&text, "0");
  for (int i = depth - 1; i >= 0; i--)
    lph_buf_putc(&text, (pattern >> (i % 64) & 1) != (i == wrong) ? '}' : ']');
  bool good = is_json((lph_bytes){text.data, text.len});
  lph_buf_free(&text);
  return good;
}

static void test_depth(void **state) {
  (void)state;
  static const uint64_t patterns[] = {0, UINT64_MAX, UINT64_C(0x5555555555555555),
                                      UINT64_C(0x123456789abcdef1)};
  for (size_t i = 0; i < lph_countof(patterns); i++) {
    assert_true(nest(LPH_JSON_MAX_DEPTH, patterns[i], -1));
    assert_false(nest(LPH_JSON_MAX_DEPTH + 1, patterns[i], -1));
    for (int wrong = 0; wrong < LPH_JSON_MAX_DEPTH; wrong += wrong < 130 ? 1 : 37)
      assert_false(nest(LPH_JSON_MAX_DEPTH, patterns[i], wrong));
  }
  /* Depth is what is open at once, not what was opened. */
  lph_buf text = {0};
  lph_buf_puts(&text, "[0");
  for (int i = 0; i < 2000; i++) lph_buf_puts(&text, ",[{}]");
  lph_buf_puts(&text, "]");
  assert_true(is_json((lph_bytes){text.data, text.len}));
  lph_buf_clear(&text);
  for (int i = 0; i < 100000; i++) lph_buf_putc(&text, '[');
  assert_false(is_json((lph_bytes){text.data, text.len}));
  lph_buf_free(&text);
}

static const char sample[] =
  "{\"id\": 12, \"name\": \"Z\\u00f6\xc3\xa9 \\ud83d\\ude00\", \"tags\": [\"a\", [], {}], "
  "\"price\": -1.5e+3, \"big\": 18446744073709551615, \"ok\": [true, false, null]}";

static void test_every_prefix_is_refused(void **state) {
  (void)state;
  size_t len = sizeof sample - 1;
  assert_true(is_json((lph_bytes){sample, len}));
  for (size_t n = 0; n < len; n++) assert_false(is_json((lph_bytes){sample, n}));
}

/* The properties that trace() asserts, over bytes nobody wrote on purpose. */
static void test_hostile_bytes(void **state) {
  (void)state;
  static const char alphabet[] = "{}[]\":,\\u0d8e19-+.tfn \n\xc3\xa9\x80";
  char text[sizeof sample];
  lph_buf out = {0};
  for (int i = 0; i < 60000; i++) {
    size_t len = sizeof sample - 1;
    if (i % 3 == 0) {
      len = next_random(40);
      for (size_t k = 0; k < len; k++) text[k] = (char)next_random(256);
    } else if (i % 3 == 1) {
      len = next_random(40);
      for (size_t k = 0; k < len; k++) text[k] = alphabet[next_random(sizeof alphabet - 1)];
    } else {
      memcpy(text, sample, len);
      for (unsigned changes = 1 + next_random(3); changes > 0; changes--)
        text[next_random((unsigned)len)] = alphabet[next_random(sizeof alphabet - 1)];
      len -= next_random(4) == 0 ? next_random(20) : 0;
    }
    lph_buf_clear(&out);
    trace((lph_bytes){text, len}, &out);
  }
  lph_buf_free(&out);
}

/* ---- writing --------------------------------------------------------------------------------------- */

static void writes_string(const char *text, size_t len, const char *want) {
  lph_buf out = {0};
  lph_buf_puts(&out, "> ");
  char *copy = malloc(len ? len : 1);
  memcpy(copy, text, len);
  assert_int_equal(lph_json_put_string(&out, (lph_bytes){copy, len}), LPH_OK);
  free(copy);
  lph_buf_terminate(&out);
  assert_string_equal(out.data + 2, want);
  lph_buf_free(&out);
}

static void test_put_string(void **state) {
  (void)state;
  writes_string("", 0, "\"\"");
  writes_string("plain", 5, "\"plain\"");
  writes_string("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
  writes_string("\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"");
  writes_string("\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\"");
  writes_string("\xc3\xa9\n\xf0\x9f\x98\x80", 7, "\"\xc3\xa9\\n\xf0\x9f\x98\x80\"");
  writes_string("0123456789abcdef\"", 17, "\"0123456789abcdef\\\"\"");
  lph_buf out = {0};
  assert_int_equal(lph_json_put_string(&out, (lph_bytes){NULL, 0}), LPH_OK);
  assert_int_equal(out.len, 2);
  /* A refusal leaves the buffer alone. */
  static const char *const bad[] = {"\xff", "abc\x80", "\xed\xa0\x80", "line\n\xc3"};
  for (size_t i = 0; i < lph_countof(bad); i++) {
    assert_int_equal(lph_json_put_string(&out, bytes(bad[i])), LPH_EFORMAT);
    assert_int_equal(out.len, 2);
  }
  lph_buf_free(&out);
}

static size_t random_text(char *out, size_t max) {
  size_t n = 0;
  for (unsigned chars = next_random(30); chars > 0 && n + 4 <= max; chars--) {
    switch (next_random(5)) {
      case 0: out[n++] = (char)next_random(0x20); break;
      case 1: out[n++] = "\"\\/u"[next_random(4)]; break;
      case 2: out[n++] = (char)(0xc2 + next_random(30)), out[n++] = (char)(0x80 + next_random(64)); break;
      case 3: memcpy(out + n, "\xf0\x9f\x98\x80", 4), n += 4; break;
      default: out[n++] = (char)(0x20 + next_random(0x60)); break;
    }
  }
  return n;
}

static void test_strings_come_back(void **state) {
  (void)state;
  lph_buf out = {0};
  for (int i = 0; i < 20000; i++) {
    char text[160], back[1024];
    size_t len = random_text(text, sizeof text);
    lph_buf_clear(&out);
    assert_int_equal(lph_json_put_string(&out, (lph_bytes){text, len}), LPH_OK);
    lph_json_reader r;
    lph_json_open(&r, (lph_bytes){out.data, out.len});
    assert_int_equal(lph_json_next(&r), LPH_JSON_STRING);
    assert_int_equal(lph_json_unescape(&r, back), len);
    assert_memory_equal(back, text, len);
    if (!r.escaped) assert_int_equal(r.text.len, len);
    assert_int_equal(lph_json_next(&r), LPH_JSON_END);
  }
  lph_buf_free(&out);
}

static void writes_float(double value, const char *want) {
  lph_buf out = {0};
  assert_int_equal(lph_json_put_float(&out, value), LPH_OK);
  lph_buf_terminate(&out);
  assert_string_equal(out.data, want);
  lph_buf_free(&out);
}

static void test_put_numbers(void **state) {
  (void)state;
  lph_buf out = {0};
  assert_int_equal(lph_json_put_int(&out, INT64_MIN), LPH_OK);
  lph_buf_terminate(&out);
  assert_string_equal(out.data, "-9223372036854775808");
  lph_buf_clear(&out);
  assert_int_equal(lph_json_put_int(&out, 9007199254740993), LPH_OK);
  lph_buf_terminate(&out);
  assert_string_equal(out.data, "9007199254740993");
  writes_float(0.1, "0.1");
  writes_float(3.0, "3.0");
  writes_float(-0.0, "-0.0");
  writes_float(1e17, "100000000000000000.0");
  writes_float(-1.5e17, "-150000000000000000.0");
  writes_float(9007199254740992.0, "9007199254740992.0");
  lph_buf_clear(&out);
  double none[] = {NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < lph_countof(none); i++) {
    assert_int_equal(lph_json_put_float(&out, none[i]), LPH_ERANGE);
    assert_int_equal(out.len, 0);
  }
  lph_buf_free(&out);
}

/* Both as json keeps it and as jsonb would rewrite it (digits without exponent, scale kept). */
static void float_comes_back(double value) {
  lph_buf out = {0};
  assert_int_equal(lph_json_put_float(&out, value), LPH_OK);
  lph_buf_terminate(&out);
  lph_json_reader r;
  lph_json_open(&r, (lph_bytes){out.data, out.len});
  assert_int_equal(lph_json_next(&r), LPH_JSON_FLOAT);
  double back = 0;
  assert_true(lph_parse_float8(r.text, &back) && back == value && signbit(back) == signbit(value));
  assert_int_equal(lph_json_next(&r), LPH_JSON_END);
  if (memchr(out.data, 'e', out.len) != NULL && fabs(value) > 1) {
    char mantissa[40], plain[400];
    size_t digits = 0;
    for (size_t i = 0; i < out.len && out.data[i] != 'e'; i++)
      if (out.data[i] >= '0' && out.data[i] <= '9') mantissa[digits++] = out.data[i];
    size_t total = (size_t)atoi((char *)memchr(out.data, 'e', out.len) + 1) + 1;
    memset(plain, '0', sizeof plain);
    plain[0] = '-';
    memcpy(plain + 1, mantissa, digits);
    if (digits > total) { /* 1.2345678901234567e+15 has a fraction, which jsonb keeps */
      lph_buf_free(&out);
      return;
    }
    bool negative = signbit(value);
    lph_json_open(&r, (lph_bytes){plain + !negative, total + negative});
    assert_int_equal(lph_json_next(&r), LPH_JSON_BIG);
    if (!lph_json_big_is_float(r.text, &back) || back != value)
      fail_msg("%.17g came back as %.17g from %.*s", value, back, (int)r.text.len, r.text.data);
  }
  lph_buf_free(&out);
}

static void test_floats_come_back(void **state) {
  (void)state;
  static const double values[] = {0.0,
                                  -0.0,
                                  1.0,
                                  -1.0,
                                  0.1,
                                  1e15,
                                  1e16,
                                  1e17,
                                  1e18,
                                  9.3e18,
                                  1e19,
                                  1e20,
                                  1e22,
                                  1e23,
                                  1.7976931348623157e308,
                                  2.2250738585072014e-308,
                                  5e-324,
                                  9007199254740993.0,
                                  123456789012345678.0,
                                  0x1p63,
                                  -0x1p63,
                                  0x1p64,
                                  1e300};
  for (size_t i = 0; i < lph_countof(values); i++) float_comes_back(values[i]);
  for (int i = 0; i < 50000; i++) {
    uint64_t bits = seed;
    next_random(2);
    double value;
    memcpy(&value, &bits, sizeof value);
    if (isfinite(value)) float_comes_back(value);
    float_comes_back(ldexp((double)next_random(1u << 20), (int)next_random(60)));
  }
}

static lph_err write_all(lph_buf *out) {
  char text[200];
  memset(text, 'x', sizeof text);
  for (size_t i = 0; i < sizeof text; i += 3) text[i] = '\n';
  size_t before = out->len;
  lph_err rc = lph_json_put_string(out, (lph_bytes){text, sizeof text});
  if (rc == LPH_OK) before = out->len, rc = lph_json_put_int(out, 1);
  for (int i = 0; i < 200 && rc == LPH_OK; i++) before = out->len, rc = lph_json_put_float(out, 1.5);
  assert_true(rc == LPH_OK || out->len == before);
  return rc;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live(), n = 1;
  for (;; n++) {
    lph_buf out = {0};
    assert_true(lph_mem_fail_at(n, false));
    lph_err rc = write_all(&out);
    bool failed = lph_mem_failed();
    lph_mem_fail_at(0, false);
    assert_int_equal(rc, failed ? LPH_ENOMEM : LPH_OK);
    lph_buf_free(&out);
    assert_int_equal(lph_mem_live(), live);
    if (!failed) break;
  }
  assert_true(n > 3); /* the sweep met something */
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_documents),
    cmocka_unit_test(test_accepted),
    cmocka_unit_test(test_refused),
    cmocka_unit_test(test_place_of_the_fault),
    cmocka_unit_test(test_strings),
    cmocka_unit_test(test_every_offset_in_a_word),
    cmocka_unit_test(test_numbers),
    cmocka_unit_test(test_big_is_float),
    cmocka_unit_test(test_depth),
    cmocka_unit_test(test_every_prefix_is_refused),
    cmocka_unit_test(test_hostile_bytes),
    cmocka_unit_test(test_put_string),
    cmocka_unit_test(test_strings_come_back),
    cmocka_unit_test(test_put_numbers),
    cmocka_unit_test(test_floats_come_back),
    cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
