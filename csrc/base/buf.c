/* buf.c - see buf.h. SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void lph_buf_free(lph_buf *b) {
  lph_free(b->data);
  *b = (lph_buf){0};
}

lph_err lph_buf_grow(lph_buf *b, size_t more) {
  if (more > SIZE_MAX - b->len) return LPH_ENOMEM;
  size_t need = b->len + more;
  /* Doubling keeps appending linear; 64 spares the first few regrows of short texts. */
  size_t cap = b->cap < 32 ? 64 : b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * 2;
  if (cap < need) cap = need;
  char *data = lph_regrow(b->data, cap, 1);
  if (data == NULL) return LPH_ENOMEM;
  b->data = data;
  b->cap = cap;
  return LPH_OK;
}

lph_err lph_buf_add(lph_buf *b, const void *data, size_t len) {
  if (lph_buf_reserve(b, len) != LPH_OK) return LPH_ENOMEM;
  lph_buf_add_unsafe(b, data, len);
  return LPH_OK;
}

lph_err lph_buf_puts(lph_buf *b, const char *text) { return lph_buf_add(b, text, strlen(text)); }

lph_err lph_buf_putc(lph_buf *b, char c) { return lph_buf_add(b, &c, 1); }

lph_err lph_buf_printf(lph_buf *b, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  if (n < 0) return LPH_EFORMAT;
  if (lph_buf_reserve(b, (size_t)n + 1) != LPH_OK) return LPH_ENOMEM;
  va_start(args, fmt);
  vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
  va_end(args);
  b->len += (size_t)n;
  return LPH_OK;
}

lph_err lph_buf_terminate(lph_buf *b) {
  if (lph_buf_reserve(b, 1) != LPH_OK) return LPH_ENOMEM;
  b->data[b->len] = '\0';
  return LPH_OK;
}
