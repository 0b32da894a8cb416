/* json.c - see json.h.
 *
 * The reader is one state and one bit per open container. Between two calls it stands at one of
 * these points of the grammar; white space is skipped on arrival.
 *
 *            '{'  -> FIRST_KEY --key ':'--> VALUE --value--> AFTER
 *            '['  -> FIRST_ITEM ------------- value -------> AFTER
 *   AFTER: ',' in an object -> KEY --key ':'--> VALUE
 *          ',' in an array  -> VALUE
 *          '}' or ']'       -> AFTER of the container around it
 *          at depth 0       -> END
 *
 * SPDX-License-Identifier: MIT */
#include "types/json.h"

#include <math.h>
#include <stdio.h>

#include "types/type.h"

enum { VALUE, FIRST_ITEM, FIRST_KEY, KEY, AFTER, BAD };

static inline bool is_digit(char c) { return (unsigned char)(c - '0') <= 9; }

void lph_json_open(lph_json_reader *r, lph_bytes text) {
  if (text.data == NULL) text = (lph_bytes){"", 0}; /* arithmetic on NULL is undefined */
  r->start = r->p = text.data;
  r->end = text.data + text.len;
  r->depth = 0;
  r->state = VALUE;
  r->in_object = false;
  /* The bits of outer_is_object are written before they are read. */
}

static lph_json_token fail(lph_json_reader *r, const char *at, const char *why) {
  r->state = BAD;
  r->why = why;
  r->at = (size_t)(at - r->start);
  return LPH_JSON_BAD;
}

static inline const char *skip_space(const char *p, const char *end) {
  while (p < end && (unsigned char)*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
  return p;
}

/* ---- strings ----------------------------------------------------------------------------------- */

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* The first byte at or after p that is not plain: a quote, a backslash, a control character or not
 * ASCII. Eight bytes at a time; a byte's top bit is set in `hit` if it is one of those. Borrows
 * only run upwards, so the lowest bit set is always right, which is the only one used. */
static inline const char *skip_plain(const char *p, const char *end) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  while (end - p >= 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    uint64_t quote = (word ^ EACH_BYTE('"')) - EACH_BYTE(1);
    uint64_t slash = (word ^ EACH_BYTE('\\')) - EACH_BYTE(1);
    uint64_t hit = (quote | slash | (word - EACH_BYTE(0x20)) | word) & EACH_BYTE(0x80);
    if (hit != 0) return p + (__builtin_ctzll(hit) >> 3);
    p += 8;
  }
#endif
  while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of \uXXXX at p, -1 if they are not all there. */
static int32_t read_hex4(const char *p, const char *end) {
  if (end - p < 4) return -1;
  int32_t unit = 0;
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(p[i]);
    if (digit < 0) return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

/* p stands on a backslash; answers what follows the escape, or NULL after fail(). */
static const char *check_escape(lph_json_reader *r, const char *p) {
  const char *end = r->end;
  if (end - p < 2) return fail(r, end, "the text ends inside a string"), NULL;
  switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return p + 2;
    case 'u': break;
    default: return fail(r, p, "there is no such escape"), NULL;
  }
  int32_t unit = read_hex4(p + 2, end);
  if (unit < 0) return fail(r, p, "\\u needs four hexadecimal digits"), NULL;
  if (unit < 0xd800 || unit > 0xdfff) return p + 6;
  int32_t low = end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? read_hex4(p + 8, end) : -1;
  if (unit >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
    return fail(r, p, "half of a surrogate pair stands alone"), NULL;
  return p + 12;
}

/* p stands behind the opening quote. True: r->text, r->escaped and r->p are set. */
static inline bool read_string(lph_json_reader *r, const char *p) {
  const char *first = p, *end = r->end;
  bool escaped = false, ascii = true;
  for (;;) {
    p = skip_plain(p, end);
    if (LPH_UNLIKELY(p == end)) return fail(r, p, "the text ends inside a string"), false;
    unsigned char c = (unsigned char)*p;
    if (LPH_LIKELY(c == '"')) break;
    if (c == '\\') {
      escaped = true;
      if ((p = check_escape(r, p)) == NULL) return false;
    } else if (c < 0x20) {
      return fail(r, p, "a control character inside a string must be escaped"), false;
    } else {
      ascii = false;
      while (p < end && (unsigned char)*p >= 0x80) p++;
    }
  }
  r->text = (lph_bytes){first, (size_t)(p - first)};
  r->escaped = escaped;
  if (!ascii && !lph_utf8_valid(r->text)) return fail(r, first, "a string is not valid UTF-8"), false;
  r->p = p + 1;
  return true;
}

static char *put_utf8(char *out, uint32_t c) {
  if (c < 0x80) {
    *out++ = (char)c;
    return out;
  }
  if (c < 0x800) {
    *out++ = (char)(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      *out++ = (char)(0xe0 | c >> 12);
    } else {
      *out++ = (char)(0xf0 | c >> 18);
      *out++ = (char)(0x80 | (c >> 12 & 0x3f));
    }
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
  }
  *out++ = (char)(0x80 | (c & 0x3f));
  return out;
}

/* read_string has checked every escape already. */
size_t lph_json_unescape(const lph_json_reader *r, char *out) {
  const char *p = r->text.data, *end = p + r->text.len;
  char *o = out;
  while (p < end) {
    const char *slash = memchr(p, '\\', (size_t)(end - p));
    size_t run = (size_t)((slash != NULL ? slash : end) - p);
    memcpy(o, p, run);
    o += run;
    if (slash == NULL) break;
    p = slash + 2;
    switch (slash[1]) {
      case 'b': *o++ = '\b'; break;
      case 'f': *o++ = '\f'; break;
      case 'n': *o++ = '\n'; break;
      case 'r': *o++ = '\r'; break;
      case 't': *o++ = '\t'; break;
      case 'u': {
        uint32_t c = (uint32_t)read_hex4(p, end);
        p += 4;
        if (c >= 0xd800 && c <= 0xdfff) {
          c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)read_hex4(p + 2, end) - 0xdc00);
          p += 6;
        }
        o = put_utf8(o, c);
        break;
      }
      default: *o++ = slash[1]; break;
    }
  }
  return (size_t)(o - out);
}

/* ---- numbers ----------------------------------------------------------------------------------- */

static inline const char *skip_digits(const char *p, const char *end) {
  while (p < end && is_digit(*p)) p++;
  return p;
}

/* From the point or the exponent on. NULL after fail(). */
static const char *read_fraction(lph_json_reader *r, const char *p) {
  const char *end = r->end, *digits;
  if (p < end && *p == '.') {
    p = skip_digits(digits = p + 1, end);
    if (p == digits) return fail(r, p, "a digit must follow the decimal point"), NULL;
  }
  if (p < end && (*p == 'e' || *p == 'E')) {
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    p = skip_digits(digits = p, end);
    if (p == digits) return fail(r, p, "a number's exponent has no digits"), NULL;
  }
  return p;
}

static lph_json_token read_number(lph_json_reader *r, const char *p) {
  const char *first = p, *end = r->end;
  bool negative = *p == '-';
  const char *digits = p += negative;
  uint64_t magnitude = 0;
  while (p < end && is_digit(*p)) magnitude = magnitude * 10 + (uint64_t)(*p++ - '0');
  ptrdiff_t count = p - digits;
  if (count == 0) return fail(r, p, "a digit must follow the minus sign");
  if (*digits == '0' && count > 1) return fail(r, digits, "a number must not begin with 0");
  bool is_integer = p == end || (*p != '.' && *p != 'e' && *p != 'E');
  if (!is_integer && (p = read_fraction(r, p)) == NULL) return LPH_JSON_BAD;
  r->text = (lph_bytes){first, (size_t)(p - first)};
  r->p = p;
  r->state = AFTER;
  /* -0 is a float because int64 has no negative zero. */
  if (!is_integer || (negative && magnitude == 0 && count == 1)) return LPH_JSON_FLOAT;
  /* Nineteen digits cannot overflow 64 bits; with more, magnitude may have wrapped. */
  if (count > 19 || magnitude > (uint64_t)INT64_MAX + negative) return LPH_JSON_BIG;
  r->integer = (int64_t)(negative ? 0 - magnitude : magnitude);
  return LPH_JSON_INT;
}

bool lph_json_big_is_float(lph_bytes text, double *value) {
  if (!lph_parse_float8(text, value) || !isfinite(*value)) return false;
  const char *digits = text.data + (text.data[0] == '-');
  size_t given = text.len - (size_t)(digits - text.data), n = given;
  while (n > 1 && digits[n - 1] == '0') n--;
  if (n > 17) return false; /* more than any double has */
  char printed[48], found[24] = "";
  snprintf(printed, sizeof printed, "%.*e", (int)n - 1, fabs(*value));
  size_t kept = 0;
  const char *p = printed;
  /* Only digits are looked at: the decimal point is the locale's. */
  for (; *p != '\0' && *p != 'e'; p++)
    if (is_digit(*p) && kept < sizeof found) found[kept++] = *p;
  int exponent = 0;
  return kept == n && memcmp(found, digits, n) == 0 && sscanf(p, "e%d", &exponent) == 1 &&
         (size_t)exponent == given - 1;
}

/* ---- the reader -------------------------------------------------------------------------------- */

static lph_json_token open_container(lph_json_reader *r, const char *p, bool is_object) {
  if (r->depth == LPH_JSON_MAX_DEPTH) return fail(r, p, "more than 512 levels deep");
  uint64_t bit = UINT64_C(1) << (r->depth % 64), *word = &r->outer_is_object[r->depth / 64];
  *word = r->in_object ? *word | bit : *word & ~bit;
  r->depth++;
  r->in_object = is_object;
  r->state = is_object ? FIRST_KEY : FIRST_ITEM;
  r->p = p + 1;
  return is_object ? LPH_JSON_OPEN_OBJECT : LPH_JSON_OPEN_ARRAY;
}

static lph_json_token close_container(lph_json_reader *r, const char *p) {
  lph_json_token token = r->in_object ? LPH_JSON_CLOSE_OBJECT : LPH_JSON_CLOSE_ARRAY;
  r->depth--;
  r->in_object = r->outer_is_object[r->depth / 64] >> (r->depth % 64) & 1;
  r->state = AFTER;
  r->p = p + 1;
  return token;
}

static lph_json_token read_word(lph_json_reader *r, const char *p, const char *word, size_t len,
                                lph_json_token token) {
  if ((size_t)(r->end - p) < len || memcmp(p, word, len) != 0) return fail(r, p, "a value is missing");
  r->p = p + len;
  r->state = AFTER;
  return token;
}

static lph_json_token read_key(lph_json_reader *r, const char *p) {
  if (*p != '"') return fail(r, p, "a key in double quotes is missing");
  if (!read_string(r, p + 1)) return LPH_JSON_BAD;
  p = skip_space(r->p, r->end);
  if (p == r->end || *p != ':') return fail(r, p, "the colon after a key is missing");
  r->p = p + 1;
  r->state = VALUE;
  return LPH_JSON_KEY;
}

static inline lph_json_token read_value(lph_json_reader *r, const char *p) {
  switch (*p) {
    case '"':
      if (!read_string(r, p + 1)) return LPH_JSON_BAD;
      r->state = AFTER;
      return LPH_JSON_STRING;
    case '{': return open_container(r, p, true);
    case '[': return open_container(r, p, false);
    case 't': return read_word(r, p, "true", 4, LPH_JSON_TRUE);
    case 'f': return read_word(r, p, "false", 5, LPH_JSON_FALSE);
    case 'n': return read_word(r, p, "null", 4, LPH_JSON_NULL);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return read_number(r, p);
    default: return fail(r, p, "a value is missing");
  }
}

/* What may come after a value: a comma, the end of its container, or nothing. Answers true when
 * there is a next value or key to read at r->p; false when *token says it all. */
static inline bool pass_comma(lph_json_reader *r, const char *p, lph_json_token *token) {
  if (r->depth == 0) {
    *token = p == r->end ? LPH_JSON_END : fail(r, p, "something follows the value");
    return false;
  }
  if (LPH_LIKELY(p < r->end && *p == ',')) {
    r->state = r->in_object ? KEY : VALUE;
    r->p = p + 1;
    return true;
  }
  if (LPH_LIKELY(p < r->end && *p == (r->in_object ? '}' : ']')))
    *token = close_container(r, p);
  else
    *token = fail(r, p, r->in_object ? "a comma or } is missing" : "a comma or ] is missing");
  return false;
}

lph_json_token lph_json_next(lph_json_reader *r) {
  const char *p = skip_space(r->p, r->end);
  if (r->state == AFTER) {
    lph_json_token token;
    if (!pass_comma(r, p, &token)) return token;
    p = skip_space(r->p, r->end);
  }
  if (LPH_UNLIKELY(r->state == BAD)) return LPH_JSON_BAD;
  if (LPH_UNLIKELY(p == r->end)) return fail(r, p, "the text ends too early");
  switch (r->state) {
    case FIRST_KEY:
      if (*p == '}') return close_container(r, p);
      return read_key(r, p);
    case KEY: return read_key(r, p);
    case FIRST_ITEM:
      if (*p == ']') return close_container(r, p);
      return read_value(r, p);
    default: return read_value(r, p);
  }
}

/* ---- writers ----------------------------------------------------------------------------------- */

static lph_err put_escape(lph_buf *out, unsigned char c) {
  static const char letter[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
  static const char hex[] = "0123456789abcdef";
  if (c == '"' || c == '\\') return lph_buf_add(out, (char[2]){'\\', (char)c}, 2);
  if (letter[c] != 0) return lph_buf_add(out, (char[2]){'\\', letter[c]}, 2);
  return lph_buf_add(out, (char[6]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

static lph_err put_escaped(lph_buf *out, const char *p, const char *end) {
  while (p < end) {
    const char *first = p;
    for (;;) {
      p = skip_plain(p, end);
      if (p == end || (unsigned char)*p < 0x80) break;
      p++;
    }
    lph_err rc = lph_buf_add(out, first, (size_t)(p - first));
    if (rc == LPH_OK && p < end) rc = put_escape(out, (unsigned char)*p++);
    if (rc != LPH_OK) return rc;
  }
  return LPH_OK;
}

lph_err lph_json_put_string(lph_buf *out, lph_bytes text) {
  if (text.data == NULL) text = (lph_bytes){"", 0};
  const char *end = text.data + text.len, *p = skip_plain(text.data, end);
  if (p < end && !lph_utf8_valid(text)) return LPH_EFORMAT;
  if (text.len > SIZE_MAX - 2 || lph_buf_reserve(out, text.len + 2) != LPH_OK) return LPH_ENOMEM;
  size_t before = out->len, plain = (size_t)(p - text.data);
  lph_buf_putc_unsafe(out, '"');
  lph_buf_add_unsafe(out, text.data, plain);
  lph_err rc = p == end ? LPH_OK : put_escaped(out, p, end);
  if (rc == LPH_OK) rc = lph_buf_putc(out, '"');
  if (rc != LPH_OK) out->len = before;
  return rc;
}

lph_err lph_json_put_int(lph_buf *out, int64_t value) {
  if (lph_buf_reserve(out, 32) != LPH_OK) return LPH_ENOMEM;
  out->len += lph_format_int8(out->data + out->len, value);
  return LPH_OK;
}

/* "d.ddde+XX" -> "ddd000.0" in `out`; answers the length, 0 if the exponent is not one that makes
 * an integer of at most 19 digits (a longer one is recognised by lph_json_big_is_float). */
static size_t expand_exponent(char out[32], const char *text, size_t len) {
  const char *mark = memchr(text, 'e', len);
  int exponent = 0;
  if (mark == NULL || sscanf(mark, "e%d", &exponent) != 1 || exponent < 0 || exponent > 18) return 0;
  size_t n = 0, digits = 0;
  for (const char *p = text; p < mark; p++) {
    if (*p == '.') continue;
    digits += is_digit(*p);
    out[n++] = *p;
  }
  if (digits > (size_t)exponent + 1) return 0;
  for (; digits < (size_t)exponent + 1; digits++) out[n++] = '0';
  memcpy(out + n, ".0", 2);
  return n + 2;
}

/* jsonb rewrites 1e17 as 100000000000000000, an integer, but keeps the ".0" of
 * 100000000000000000.0; that is why the point is written out where an int64 could be meant. */
lph_err lph_json_put_float(lph_buf *out, double value) {
  if (!isfinite(value)) return LPH_ERANGE;
  char text[32], plain[32];
  size_t len = lph_format_float8(text, value), n = expand_exponent(plain, text, len);
  if (n > 0) return lph_buf_add(out, plain, n);
  bool is_bare = memchr(text, '.', len) == NULL && memchr(text, 'e', len) == NULL;
  if (is_bare && len <= sizeof text - 2) {
    memcpy(text + len, ".0", 2);
    len += 2;
  }
  return lph_buf_add(out, text, len);
}
