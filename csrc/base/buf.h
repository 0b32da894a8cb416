/* buf.h - a growing byte buffer.
 *
 * `lph_buf_init` (or zeroing) makes an empty one that owns nothing; `lph_buf_free` gives the
 * block back and leaves it empty again. Appending keeps what is there when memory is out.
 * The `_unsafe` twins skip the capacity check: only after lph_buf_reserve of at least that much.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_BUF_H
#define LPH_BUF_H

#include <string.h>

#include "base/base.h"

typedef struct lph_buf {
  char *data; /* NULL while cap is 0 */
  size_t len;
  size_t cap;
} lph_buf;

static inline void lph_buf_init(lph_buf *b) { *b = (lph_buf){0}; }
void lph_buf_free(lph_buf *b);
static inline void lph_buf_clear(lph_buf *b) { b->len = 0; } /* keeps the block */

lph_err lph_buf_grow(lph_buf *b, size_t more); /* slow half of reserve */
/* After LPH_OK, `more` bytes can be written at data + len. */
static inline lph_err lph_buf_reserve(lph_buf *b, size_t more) {
  return LPH_LIKELY(b->cap - b->len >= more && b->cap != 0) ? LPH_OK : lph_buf_grow(b, more);
}

static inline void lph_buf_add_unsafe(lph_buf *b, const void *data, size_t len) {
  if (len > 0) memcpy(b->data + b->len, data, len);
  b->len += len;
}
static inline void lph_buf_putc_unsafe(lph_buf *b, char c) { b->data[b->len++] = c; }

lph_err lph_buf_add(lph_buf *b, const void *data, size_t len);
lph_err lph_buf_puts(lph_buf *b, const char *text);
lph_err lph_buf_putc(lph_buf *b, char c);
lph_err lph_buf_printf(lph_buf *b, const char *fmt, ...) LPH_PRINTF(2, 3);
/* Puts a NUL behind the content without counting it; data is then a C string. */
lph_err lph_buf_terminate(lph_buf *b);

#endif
