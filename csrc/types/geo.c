/* geo.c - the geometric types in binary form -> text.
 *
 * All of them are float8 coordinates between brackets of their own; a float is printed as the
 * shortest text that reads back the same, as the server does with extra_float_digits above 0.
 * Whether a shape makes sense (a radius below zero, a line without direction) is not judged here.
 *
 * SPDX-License-Identifier: MIT */
#include "types/scalar.h"

enum { COORD = 8, POINT = 2 * COORD };

static lph_err put_float(const char *wire, lph_buf *out) {
  if (lph_buf_reserve(out, 32) != LPH_OK) return LPH_ENOMEM;
  uint64_t bits = lph_get_u64(wire);
  double value;
  memcpy(&value, &bits, sizeof value);
  out->len += lph_format_float_shortest(out->data + out->len, value, false);
  return LPH_OK;
}

/* "x,y,z" */
static lph_err put_floats(const char *wire, size_t count, lph_buf *out) {
  for (size_t i = 0; i < count; i++) {
    if (i > 0 && lph_buf_putc(out, ',') != LPH_OK) return LPH_ENOMEM;
    if (put_float(wire + i * COORD, out) != LPH_OK) return LPH_ENOMEM;
  }
  return LPH_OK;
}

/* "(x,y),(x,y)" with a bracket on either side; 0 = none. */
static lph_err put_points(const char *wire, size_t count, char open, char close, lph_buf *out) {
  if (open != 0 && lph_buf_putc(out, open) != LPH_OK) return LPH_ENOMEM;
  for (size_t i = 0; i < count; i++) {
    if (lph_buf_puts(out, i > 0 ? ",(" : "(") != LPH_OK) return LPH_ENOMEM;
    if (put_floats(wire + i * POINT, 2, out) != LPH_OK) return LPH_ENOMEM;
    if (lph_buf_putc(out, ')') != LPH_OK) return LPH_ENOMEM;
  }
  return close != 0 ? lph_buf_putc(out, close) : LPH_OK;
}

lph_err lph_point_text(lph_bytes in, lph_buf *out) {
  return in.len == POINT ? put_points(in.data, 1, 0, 0, out) : LPH_EFORMAT;
}

lph_err lph_lseg_text(lph_bytes in, lph_buf *out) {
  return in.len == 2 * POINT ? put_points(in.data, 2, '[', ']', out) : LPH_EFORMAT;
}

lph_err lph_box_text(lph_bytes in, lph_buf *out) {
  return in.len == 2 * POINT ? put_points(in.data, 2, 0, 0, out) : LPH_EFORMAT;
}

/* A point count, then as many points; there is at least one. */
static lph_err counted_points(lph_bytes in, char open, char close, lph_buf *out) {
  if (in.len < 4) return LPH_EFORMAT;
  size_t count = lph_get_u32(in.data), room = in.len - 4;
  if (count == 0 || room % POINT != 0 || room / POINT != count) return LPH_EFORMAT;
  return put_points(in.data + 4, count, open, close, out);
}

lph_err lph_polygon_text(lph_bytes in, lph_buf *out) { return counted_points(in, '(', ')', out); }

/* Is it closed?, then as a polygon. */
lph_err lph_path_text(lph_bytes in, lph_buf *out) {
  if (in.len < 1 || (in.data[0] != 0 && in.data[0] != 1)) return LPH_EFORMAT;
  bool is_closed = in.data[0] == 1;
  lph_bytes points = {in.data + 1, in.len - 1};
  return counted_points(points, is_closed ? '(' : '[', is_closed ? ')' : ']', out);
}

lph_err lph_line_text(lph_bytes in, lph_buf *out) {
  if (in.len != 3 * COORD) return LPH_EFORMAT;
  if (lph_buf_putc(out, '{') != LPH_OK || put_floats(in.data, 3, out) != LPH_OK) return LPH_ENOMEM;
  return lph_buf_putc(out, '}');
}

lph_err lph_circle_text(lph_bytes in, lph_buf *out) {
  if (in.len != 3 * COORD) return LPH_EFORMAT;
  if (put_points(in.data, 1, '<', ',', out) != LPH_OK) return LPH_ENOMEM;
  return put_float(in.data + POINT, out) == LPH_OK ? lph_buf_putc(out, '>') : LPH_ENOMEM;
}
