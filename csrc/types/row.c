/* row.c - walks composite values and anonymous records; quotes fields of row literals.
 *
 * In binary form a row carries the OID of each field; in text form it carries nothing but commas,
 * and an empty field is NULL while an empty string is "". Nothing here knows the fields' types or
 * checks their number against the catalog: that is the caller's part.
 *
 * SPDX-License-Identifier: MIT */
#include "types/quote.h"
#include "types/type.h"

static int refuse(lph_row_reader *r, lph_err why) {
  r->why = why;
  return -1;
}

lph_err lph_row_open(lph_row_reader *r, lph_bytes in, bool binary) {
  *r = (lph_row_reader){.count = -1, .binary = binary};
  if (in.len < (binary ? 4u : 2u)) return LPH_EFORMAT;
  r->p = in.data;
  r->end = in.data + in.len;
  if (!binary) return *r->p++ == '(' ? LPH_OK : LPH_EFORMAT;
  uint32_t count = lph_get_u32(r->p);
  r->p += 4;
  /* A field has at least its OID and its length word. */
  if (count > (in.len - 4) / 8 || count > INT32_MAX) return LPH_EFORMAT;
  r->count = (int)count;
  return LPH_OK;
}

static int next_binary(lph_row_reader *r) {
  if (r->index == r->count) return r->p == r->end ? 0 : refuse(r, LPH_EFORMAT);
  if (r->end - r->p < 8) return refuse(r, LPH_EFORMAT);
  int32_t len = (int32_t)lph_get_u32(r->p + 4);
  const char *data = r->p + 8;
  r->is_null = len == -1;
  if (r->is_null) len = 0;
  if (len < 0 || len > r->end - data) return refuse(r, LPH_EFORMAT);
  r->field_type = lph_get_u32(r->p);
  r->item = (lph_bytes){r->is_null ? NULL : data, (size_t)len};
  r->p = data + len;
  r->index++;
  return 1;
}

static int next_text(lph_row_reader *r) {
  if (r->started) { /* p is at what ended the last field */
    if (*r->p == ')') return r->p + 1 == r->end ? 0 : refuse(r, LPH_EFORMAT);
    if (*r->p != ',') return refuse(r, LPH_EFORMAT); /* a "(" outside quotes */
    r->p++;
  }
  const char *from = r->p;
  lph_buf_clear(&r->scratch);
  lph_err err = lph_quote_read_field(&r->p, r->end, LPH_Q_COMMA | LPH_Q_PAREN, &r->scratch, &r->item);
  if (err != LPH_OK) {
    r->p = from - r->started; /* asking again gives the same answer */
    return refuse(r, err);
  }
  r->started = true;
  r->is_null = r->p == from;
  if (r->is_null) r->item = (lph_bytes){0};
  r->index++;
  return 1;
}

int lph_row_next(lph_row_reader *r) { return r->binary ? next_binary(r) : next_text(r); }

void lph_row_close(lph_row_reader *r) { lph_buf_free(&r->scratch); }

lph_err lph_row_put(lph_buf *out, lph_bytes text) {
  if (text.data == NULL) return LPH_OK;
  bool quote = text.len == 0 || lph_quote_has(text, LPH_Q_ESCAPE | LPH_Q_PAREN | LPH_Q_COMMA | LPH_Q_SPACE);
  return quote ? lph_quote_put(out, text, 0) : lph_buf_add(out, text.data, text.len);
}
