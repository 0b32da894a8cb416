/* render.c - the door of this room for "show me the text": binary form -> what psql prints.
 *
 * One entry per kind. Compound kinds have none: they are walked by their readers, which come here
 * with each scalar part. A failure leaves `out` as it was.
 *
 * SPDX-License-Identifier: MIT */
#include "types/scalar.h"

typedef lph_err render_fn(lph_bytes in, lph_buf *out);

static lph_err text_text(lph_bytes in, lph_buf *out) { return lph_buf_add(out, in.data, in.len); }

/* jsonb, jsonpath, ltree and the like: 1 is the only version there has ever been. */
static lph_err versioned_text(lph_bytes in, lph_buf *out) {
  if (in.len < 1 || in.data[0] != 1) return LPH_EFORMAT;
  return lph_buf_add(out, in.data + 1, in.len - 1);
}

static lph_err bool_text(lph_bytes in, lph_buf *out) {
  if (in.len != 1 || (in.data[0] != 0 && in.data[0] != 1)) return LPH_EFORMAT;
  return lph_buf_putc(out, in.data[0] ? 't' : 'f');
}

static lph_err put_integer(int64_t value, lph_buf *out) {
  if (lph_buf_reserve(out, 32) != LPH_OK) return LPH_ENOMEM;
  out->len += lph_format_int8(out->data + out->len, value);
  return LPH_OK;
}

static lph_err int2_text(lph_bytes in, lph_buf *out) {
  return in.len == 2 ? put_integer((int16_t)lph_get_u16(in.data), out) : LPH_EFORMAT;
}

static lph_err int4_text(lph_bytes in, lph_buf *out) {
  return in.len == 4 ? put_integer((int32_t)lph_get_u32(in.data), out) : LPH_EFORMAT;
}

static lph_err int8_text(lph_bytes in, lph_buf *out) {
  return in.len == 8 ? put_integer((int64_t)lph_get_u64(in.data), out) : LPH_EFORMAT;
}

static lph_err uint4_text(lph_bytes in, lph_buf *out) {
  return in.len == 4 ? put_integer((int64_t)lph_get_u32(in.data), out) : LPH_EFORMAT;
}

static lph_err put_float(double value, bool is_float4, lph_buf *out) {
  if (lph_buf_reserve(out, 32) != LPH_OK) return LPH_ENOMEM;
  out->len += lph_format_float_shortest(out->data + out->len, value, is_float4);
  return LPH_OK;
}

static lph_err float4_text(lph_bytes in, lph_buf *out) {
  if (in.len != 4) return LPH_EFORMAT;
  uint32_t bits = lph_get_u32(in.data);
  float value;
  memcpy(&value, &bits, sizeof value);
  return put_float((double)value, true, out);
}

static lph_err float8_text(lph_bytes in, lph_buf *out) {
  if (in.len != 8) return LPH_EFORMAT;
  uint64_t bits = lph_get_u64(in.data);
  double value;
  memcpy(&value, &bits, sizeof value);
  return put_float(value, false, out);
}

static render_fn *const renderers[] = {
  [LPH_TEXT] = text_text,
  [LPH_BOOL] = bool_text,
  [LPH_INT2] = int2_text,
  [LPH_INT4] = int4_text,
  [LPH_INT8] = int8_text,
  [LPH_UINT4] = uint4_text,
  [LPH_FLOAT4] = float4_text,
  [LPH_FLOAT8] = float8_text,
  [LPH_BYTEA] = lph_bytea_hex,
  [LPH_JSON] = text_text,
  [LPH_JSONB] = versioned_text,
  [LPH_NUMERIC] = lph_numeric_text,
  [LPH_DATE] = lph_date_text,
  [LPH_TIME] = lph_time_text,
  [LPH_TIMETZ] = lph_timetz_text,
  [LPH_TIMESTAMP] = lph_timestamp_text,
  [LPH_TIMESTAMPTZ] = lph_timestamptz_text,
  [LPH_INTERVAL] = lph_interval_text,
  [LPH_UUID] = lph_uuid_text,
  [LPH_INET] = lph_inet_text,
  [LPH_MACADDR] = lph_macaddr_text,
  [LPH_MACADDR8] = lph_macaddr8_text,
  [LPH_BIT] = lph_bit_text,
  [LPH_CHAR] = lph_char_text,
  [LPH_UINT8] = lph_xid8_text,
  [LPH_LSN] = lph_lsn_text,
  [LPH_TID] = lph_tid_text,
  [LPH_POINT] = lph_point_text,
  [LPH_LSEG] = lph_lseg_text,
  [LPH_PATH] = lph_path_text,
  [LPH_BOX] = lph_box_text,
  [LPH_POLYGON] = lph_polygon_text,
  [LPH_LINE] = lph_line_text,
  [LPH_CIRCLE] = lph_circle_text,
  [LPH_VERSIONED] = versioned_text,
};

/* A kind added to type.h in the middle must get its renderer here. */
_Static_assert(lph_countof(renderers) == LPH_VERSIONED + 1, "the scalar kinds end with LPH_VERSIONED");

lph_err lph_render(const lph_type *type, lph_bytes binary, lph_buf *out) {
  if (type->kind >= lph_countof(renderers)) return LPH_EFORMAT;
  size_t mark = out->len;
  lph_err rc = renderers[type->kind](binary, out);
  if (LPH_UNLIKELY(rc != LPH_OK)) out->len = mark;
  return rc;
}
