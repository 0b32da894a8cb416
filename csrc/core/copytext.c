/* copytext.c - fields of COPY's text format. Contract in copy.h. SPDX-License-Identifier: MIT */
#include "core/copy.h"

/* What a byte looks like behind a backslash; 0: it stands for itself. */
static char escape_of(char c) {
  switch (c) {
    case '\\': return '\\';
    case '\t': return 't';
    case '\n': return 'n';
    case '\r': return 'r';
    default: return 0;
  }
}

lph_err lph_copy_put_text(lph_buf *out, lph_bytes text) {
  if (text.len > (SIZE_MAX - 8) / 2 || lph_buf_reserve(out, 2 * text.len) != LPH_OK) return LPH_ENOMEM;
  char *p = out->data + out->len;
  for (size_t i = 0; i < text.len; i++) {
    char escape = escape_of(text.data[i]);
    if (LPH_UNLIKELY(escape != 0)) *p++ = '\\';
    *p++ = escape != 0 ? escape : text.data[i];
  }
  out->len = (size_t)(p - out->data);
  return LPH_OK;
}

static int digit(char c, int base) {
  int v = c >= '0' && c <= '9'   ? c - '0'
          : c >= 'a' && c <= 'f' ? c - 'a' + 10
          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                 : 99;
  return v < base ? v : -1;
}

/* Up to `most` digits. Answers how many there were. */
static size_t number(const char *p, const char *end, int base, size_t most, char *out) {
  size_t n = 0;
  int value = 0;
  while (n < most && p + n < end && digit(p[n], base) >= 0) value = value * base + digit(p[n++], base);
  *out = (char)value;
  return n;
}

/* What follows a backslash. The server writes single letters only; the rest of what it would read is read here, too. */
static size_t unescape(const char *p, const char *end, char *out) {
  static const char letters[] = "bfnrtv", values[] = "\b\f\n\r\t\v";
  if (*p >= '0' && *p <= '7') return number(p, end, 8, 3, out);
  if (*p == 'x' && p + 1 < end && digit(p[1], 16) >= 0) return 1 + number(p + 1, end, 16, 2, out);
  const char *known = memchr(letters, *p, sizeof letters - 1);
  *out = known != NULL ? values[known - letters] : *p;
  return 1;
}

static lph_err unescape_all(lph_bytes raw, lph_buf *scratch, lph_bytes *field) {
  if (lph_buf_reserve(scratch, raw.len) != LPH_OK) return LPH_ENOMEM;
  const char *p = raw.data, *end = raw.data + raw.len;
  char *start = scratch->data + scratch->len, *to = start;
  while (p < end) {
    if (*p == '\\' && p + 1 < end) {
      p++;
      p += unescape(p, end, to++);
    } else {
      *to++ = *p++;
    }
  }
  *field = (lph_bytes){start, (size_t)(to - start)};
  return LPH_OK;
}

bool lph_copy_next_field(lph_bytes *line, lph_buf *scratch, lph_bytes *field, lph_err *rc) {
  *rc = LPH_OK;
  if (line->data == NULL) return false;
  const char *tab = memchr(line->data, '\t', line->len); /* inside a field it is written as \t */
  size_t len = tab != NULL ? (size_t)(tab - line->data) : line->len;
  *field = (lph_bytes){line->data, len};
  *line = tab != NULL ? (lph_bytes){tab + 1, line->len - len - 1} : (lph_bytes){NULL, 0};
  if (memchr(field->data, '\\', len) == NULL) return true;
  if (len == 2 && field->data[1] == 'N') {
    field->data = NULL;
    return true;
  }
  *rc = unescape_all(*field, scratch, field);
  return true;
}
