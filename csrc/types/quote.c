/* quote.c - see quote.h. SPDX-License-Identifier: MIT */
#include "types/quote.h"

const uint8_t lph_quote_class[256] = {
  ['\t'] = LPH_Q_SPACE, ['\n'] = LPH_Q_SPACE, ['\v'] = LPH_Q_SPACE, ['\f'] = LPH_Q_SPACE,
  ['\r'] = LPH_Q_SPACE, [' '] = LPH_Q_SPACE,  ['"'] = LPH_Q_ESCAPE, ['\\'] = LPH_Q_ESCAPE,
  ['{'] = LPH_Q_BRACE,  ['}'] = LPH_Q_BRACE,  ['('] = LPH_Q_PAREN,  [')'] = LPH_Q_PAREN,
  ['['] = LPH_Q_SQUARE, [']'] = LPH_Q_SQUARE, [','] = LPH_Q_COMMA,
};

bool lph_quote_has(lph_bytes text, unsigned mask) {
  for (size_t i = 0; i < text.len; i++)
    if (lph_quote_class_of(text.data[i]) & mask) return true;
  return false;
}

lph_err lph_quote_put(lph_buf *out, lph_bytes text, char escape) {
  size_t extra = 2;
  for (size_t i = 0; i < text.len; i++) extra += (lph_quote_class_of(text.data[i]) & LPH_Q_ESCAPE) != 0;
  if (extra > SIZE_MAX - text.len || lph_buf_reserve(out, text.len + extra) != LPH_OK) return LPH_ENOMEM;
  lph_buf_putc_unsafe(out, '"');
  if (extra == 2) {
    lph_buf_add_unsafe(out, text.data, text.len);
  } else {
    for (size_t i = 0; i < text.len; i++) {
      char c = text.data[i];
      if (lph_quote_class_of(c) & LPH_Q_ESCAPE) lph_buf_putc_unsafe(out, escape ? escape : c);
      lph_buf_putc_unsafe(out, c);
    }
  }
  lph_buf_putc_unsafe(out, '"');
  return LPH_OK;
}

lph_err lph_quote_read_string(const char **p, const char *end, lph_buf *scratch, lph_bytes *out) {
  const char *s = *p + 1, *from = s;
  while (s < end && !(lph_quote_class_of(*s) & LPH_Q_ESCAPE)) s++;
  if (s == end) return LPH_EFORMAT;
  if (*s == '"') { /* no escape inside: lend the input */
    *out = (lph_bytes){from, (size_t)(s - from)};
    *p = s + 1;
    return LPH_OK;
  }
  /* Unescaped text is never longer than what is left of the input: one reserve, no checks below. */
  if (lph_buf_reserve(scratch, (size_t)(end - from)) != LPH_OK) return LPH_ENOMEM;
  size_t start = scratch->len;
  for (s = from; s < end && *s != '"'; s++) {
    if (*s == '\\' && ++s == end) break;
    lph_buf_putc_unsafe(scratch, *s);
  }
  if (s == end) return LPH_EFORMAT;
  *out = (lph_bytes){scratch->data + start, scratch->len - start};
  *p = s + 1;
  return LPH_OK;
}

/* The general case: pieces in and out of quotes, doubled quotes, backslashes. */
static lph_err read_pieces(const char **p, const char *end, unsigned stop, lph_buf *scratch, lph_bytes *out) {
  const char *s = *p;
  if (lph_buf_reserve(scratch, (size_t)(end - s)) != LPH_OK) return LPH_ENOMEM;
  size_t start = scratch->len;
  bool quoted = false;
  for (; s < end && (quoted || !(lph_quote_class_of(*s) & stop)); s++) {
    if (*s == '\\') {
      if (++s == end) return LPH_EFORMAT;
    } else if (*s == '"') {
      if (!quoted || s + 1 == end || s[1] != '"') {
        quoted = !quoted;
        continue;
      }
      s++; /* "" inside quotes is one quote */
    }
    lph_buf_putc_unsafe(scratch, *s);
  }
  if (s == end) return LPH_EFORMAT;
  *out = (lph_bytes){scratch->data + start, scratch->len - start};
  *p = s;
  return LPH_OK;
}

lph_err lph_quote_read_field(const char **p, const char *end, unsigned stop, lph_buf *scratch,
                             lph_bytes *out) {
  const char *s = *p;
  bool quoted = s < end && *s == '"';
  const char *from = s += quoted;
  unsigned ends = quoted ? LPH_Q_ESCAPE : LPH_Q_ESCAPE | stop;
  while (s < end && !(lph_quote_class_of(*s) & ends)) s++;
  if (s == end) return LPH_EFORMAT;
  /* Lend the input where the field is one plain run, bare or in quotes. */
  const char *after = s + quoted;
  bool plain = quoted ? *s == '"' : !(lph_quote_class_of(*s) & LPH_Q_ESCAPE);
  if (!plain || after == end || !(lph_quote_class_of(*after) & stop))
    return read_pieces(p, end, stop, scratch, out);
  *out = (lph_bytes){from, (size_t)(s - from)};
  *p = after;
  return LPH_OK;
}
