/* system.c - the types of PostgreSQL's system columns and of its log in binary form -> text:
 * pg_lsn, tid and xid8.
 *
 * SPDX-License-Identifier: MIT */
#include "types/scalar.h"

static lph_err put_decimal(uint64_t value, lph_buf *out) {
  if (lph_buf_reserve(out, 20) != LPH_OK) return LPH_ENOMEM;
  out->len += lph_put_digits(out->data + out->len, value);
  return LPH_OK;
}

static char *put_hex(char *p, uint32_t value) { /* capitals, no leading zeros */
  int shift = 28;
  while (shift > 0 && value >> shift == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) *p++ = "0123456789ABCDEF"[(value >> shift) & 15];
  return p;
}

/* "16/B374D848" */
lph_err lph_lsn_text(lph_bytes in, lph_buf *out) {
  if (in.len != 8) return LPH_EFORMAT;
  if (lph_buf_reserve(out, 17) != LPH_OK) return LPH_ENOMEM;
  char *p = put_hex(out->data + out->len, lph_get_u32(in.data));
  *p++ = '/';
  out->len = (size_t)(put_hex(p, lph_get_u32(in.data + 4)) - out->data);
  return LPH_OK;
}

/* "(block,row)" */
lph_err lph_tid_text(lph_bytes in, lph_buf *out) {
  if (in.len != 6) return LPH_EFORMAT;
  if (lph_buf_putc(out, '(') != LPH_OK) return LPH_ENOMEM;
  if (put_decimal(lph_get_u32(in.data), out) != LPH_OK) return LPH_ENOMEM;
  if (lph_buf_putc(out, ',') != LPH_OK) return LPH_ENOMEM;
  if (put_decimal(lph_get_u16(in.data + 4), out) != LPH_OK) return LPH_ENOMEM;
  return lph_buf_putc(out, ')');
}

lph_err lph_xid8_text(lph_bytes in, lph_buf *out) {
  return in.len == 8 ? put_decimal(lph_get_u64(in.data), out) : LPH_EFORMAT;
}
