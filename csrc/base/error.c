/* error.c - see error.h. SPDX-License-Identifier: MIT */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void lph_error_free(lph_error *e) {
  lph_buf_free(&e->text);
  lph_error_init(e);
}

void lph_error_clear(lph_error *e) {
  lph_buf text = e->text;
  lph_error_init(e);
  e->text = text;
  lph_buf_clear(&e->text);
}

static void put_n(lph_error *e, lph_efield field, const char *text, size_t len) {
  while (field == LPH_E_MESSAGE && len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' ')) len--;
  if (len == 0 || e->text.len + len + 1 >= UINT32_MAX) return;
  if (lph_buf_reserve(&e->text, len + 1) != LPH_OK) { /* an error about memory needs none */
    e->unworded = e->unworded || field == LPH_E_MESSAGE;
    return;
  }
  e->at[field] = (uint32_t)e->text.len + 1;
  lph_buf_add_unsafe(&e->text, text, len);
  lph_buf_putc_unsafe(&e->text, '\0');
}

void lph_error_put(lph_error *e, lph_efield field, const char *text) {
  if (text != NULL) put_n(e, field, text, strlen(text));
}

static void put_v(lph_error *e, lph_efield field, const char *fmt, va_list args) {
  char small[512];
  va_list again;
  va_copy(again, args);
  int n = vsnprintf(small, sizeof small, fmt, args);
  if (n >= 0 && (size_t)n < sizeof small) {
    put_n(e, field, small, (size_t)n);
  } else if (n > 0) {
    lph_buf big = {0};
    if (lph_buf_reserve(&big, (size_t)n + 1) == LPH_OK) {
      vsnprintf(big.data, (size_t)n + 1, fmt, again);
      put_n(e, field, big.data, (size_t)n);
    } else {
      put_n(e, field, small, sizeof small - 1);
    }
    lph_buf_free(&big);
  }
  va_end(again);
}

void lph_error_putf(lph_error *e, lph_efield field, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  put_v(e, field, fmt, args);
  va_end(args);
}

lph_err lph_error_set(lph_error *e, const char *kind, const char *fmt, ...) {
  va_list args;
  /* The arguments may point into this very record (a cause being reworded): fill a second one. */
  lph_error fresh = {0};
  fresh.kind = kind;
  va_start(args, fmt);
  put_v(&fresh, LPH_E_MESSAGE, fmt, args);
  va_end(args);
  lph_error_free(e);
  *e = fresh;
  return LPH_EFAIL;
}

lph_err lph_error_oom(lph_error *e) {
  lph_error_clear(e);
  e->kind = "out_of_memory";
  return LPH_EFAIL;
}

void lph_error_sqlstate(lph_error *e, const char *sqlstate) {
  if (sqlstate == NULL) return;
  size_t n = strnlen(sqlstate, sizeof e->sqlstate - 1);
  memcpy(e->sqlstate, sqlstate, n);
  e->sqlstate[n] = '\0';
}

const char *lph_error_get(const lph_error *e, lph_efield field) {
  if (e->at[field] != 0) return e->text.data + e->at[field] - 1;
  if (field != LPH_E_MESSAGE || e->kind == NULL) return NULL;
  if (strcmp(e->kind, "out_of_memory") == 0) return "out of memory";
  return e->unworded ? "out of memory: there was no room for the message of this error"
                     : "no message was given";
}

const char *lph_error_of_errno(int code, char *room, size_t size) {
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
  return strerror_r(code, room, size); /* GNU's form: may not use the room */
#else
  if (strerror_r(code, room, size) != 0) snprintf(room, size, "error %d", code);
  return room;
#endif
}

void lph_error_copy(lph_error *dst, const lph_error *src) {
  lph_buf text = dst->text;
  lph_buf_clear(&text);
  bool ok = lph_buf_add(&text, src->text.data, src->text.len) == LPH_OK;
  *dst = *src;
  dst->text = text;
  if (ok) return;
  dst->unworded = dst->unworded || dst->at[LPH_E_MESSAGE] != 0;
  memset(dst->at, 0, sizeof dst->at);
}
