/* wire.c - values -> the binary form of simple types, for COPY. Contract in type.h.
 *
 * Only what can be told from the value alone, and where the text form and the binary form of a value are surely the
 * same: numeric and dates are better left to the server's own reading of their texts.
 *
 * SPDX-License-Identifier: MIT */
#include <limits.h>
#include <math.h>

#include "types/type.h"

bool lph_wire_can(const lph_type *type) {
  switch ((lph_kind)type->kind) {
    case LPH_TEXT:
    case LPH_BOOL:
    case LPH_INT2:
    case LPH_INT4:
    case LPH_INT8:
    case LPH_UINT4:
    case LPH_FLOAT4:
    case LPH_FLOAT8:
    case LPH_BYTEA:
    case LPH_JSON:
    case LPH_JSONB:
    case LPH_UUID: return true;
    default: return false;
  }
}

static char *put_u16(char *p, uint16_t v) {
  p[0] = (char)(v >> 8);
  p[1] = (char)v;
  return p + 2;
}

static char *put_u32(char *p, uint32_t v) {
  p[0] = (char)(v >> 24);
  p[1] = (char)(v >> 16);
  p[2] = (char)(v >> 8);
  p[3] = (char)v;
  return p + 4;
}

static char *put_u64(char *p, uint64_t v) { return put_u32(put_u32(p, (uint32_t)(v >> 32)), (uint32_t)v); }

/* For a length and a fixed number of bytes. */
static char *room(lph_buf *out) { return lph_buf_reserve(out, 12) == LPH_OK ? out->data + out->len : NULL; }

static void done(lph_buf *out, const char *end) { out->len = (size_t)(end - out->data); }

lph_err lph_wire_null(lph_buf *out) {
  char *p = room(out);
  if (p == NULL) return LPH_ENOMEM;
  done(out, put_u32(p, UINT32_MAX));
  return LPH_OK;
}

lph_err lph_wire_int(uint8_t kind, int64_t v, lph_buf *out) {
  char *p = room(out);
  if (p == NULL) return LPH_ENOMEM;
  switch (kind) {
    case LPH_INT4:
      if (v < INT32_MIN || v > INT32_MAX) return LPH_ERANGE;
      p = put_u32(put_u32(p, 4), (uint32_t)(int32_t)v);
      break;
    case LPH_INT8: p = put_u64(put_u32(p, 8), (uint64_t)v); break;
    case LPH_INT2:
      if (v < INT16_MIN || v > INT16_MAX) return LPH_ERANGE;
      p = put_u16(put_u32(p, 2), (uint16_t)(int16_t)v);
      break;
    case LPH_UINT4:
      if (v < 0 || v > UINT32_MAX) return LPH_ERANGE;
      p = put_u32(put_u32(p, 4), (uint32_t)v);
      break;
    case LPH_FLOAT8:
      if (v < -((int64_t)1 << 53) || v > (int64_t)1 << 53) return LPH_ETYPE; /* not all of its digits */
      return lph_wire_float(kind, (double)v, out);
    default: return LPH_ETYPE;
  }
  done(out, p);
  return LPH_OK;
}

lph_err lph_wire_float(uint8_t kind, double v, lph_buf *out) {
  char *p = room(out);
  if (p == NULL) return LPH_ENOMEM;
  if (kind == LPH_FLOAT8) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    p = put_u64(put_u32(p, 8), bits);
  } else if (kind == LPH_FLOAT4) {
    float narrowed = (float)v;
    uint32_t bits;
    if ((isinf(narrowed) && !isinf(v)) || (narrowed == 0 && v != 0)) return LPH_ERANGE;
    memcpy(&bits, &narrowed, sizeof bits);
    p = put_u32(put_u32(p, 4), bits);
  } else {
    return LPH_ETYPE;
  }
  done(out, p);
  return LPH_OK;
}

lph_err lph_wire_bool(uint8_t kind, bool v, lph_buf *out) {
  if (kind != LPH_BOOL) return LPH_ETYPE;
  char *p = room(out);
  if (p == NULL) return LPH_ENOMEM;
  p = put_u32(p, 1);
  *p++ = (char)v;
  done(out, p);
  return LPH_OK;
}

static lph_err put_bytes(lph_bytes s, bool version, lph_buf *out) {
  if (s.len > INT_MAX - 1024) return LPH_ERANGE;
  if (lph_buf_reserve(out, s.len + 5) != LPH_OK) return LPH_ENOMEM;
  char *p = put_u32(out->data + out->len, (uint32_t)(s.len + version));
  if (version) *p++ = 1;
  done(out, p);
  lph_buf_add_unsafe(out, s.data, s.len);
  return LPH_OK;
}

lph_err lph_wire_string(uint8_t kind, lph_bytes s, lph_buf *out) {
  if (kind == LPH_BYTEA) return put_bytes(s, false, out);
  if (kind != LPH_TEXT && kind != LPH_JSON && kind != LPH_JSONB) return LPH_ETYPE;
  if (memchr(s.data, '\0', s.len) != NULL || !lph_utf8_valid(s)) return LPH_EFORMAT;
  return put_bytes(s, kind == LPH_JSONB, out);
}

/* ---- from the text that lph_encode has made ---------------------------------------------------------------------- */

static int nibble(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/* As the server reads it: hyphens behind any group of four digits, and braces around the whole. */
static lph_err put_uuid(lph_bytes s, lph_buf *out) {
  if (s.len > 2 && s.data[0] == '{' && s.data[s.len - 1] == '}') s = (lph_bytes){s.data + 1, s.len - 2};
  char *p = lph_buf_reserve(out, 20) == LPH_OK ? put_u32(out->data + out->len, 16) : NULL;
  int digits = 0;
  if (p == NULL) return LPH_ENOMEM;
  for (size_t i = 0; i < s.len; i++) {
    if (s.data[i] == '-' && digits > 0 && digits < 32 && digits % 4 == 0 && s.data[i - 1] != '-') continue;
    int v = nibble(s.data[i]);
    if (v < 0 || digits == 32) return LPH_EFORMAT;
    p[digits / 2] = (char)(digits % 2 == 0 ? v << 4 : (unsigned char)p[digits / 2] | v);
    digits++;
  }
  if (digits != 32) return LPH_EFORMAT;
  done(out, p + 16);
  return LPH_OK;
}

static lph_err put_bytea(lph_bytes text, lph_buf *out) {
  size_t start = out->len;
  if (lph_buf_reserve(out, 4) != LPH_OK) return LPH_ENOMEM;
  out->len += 4;
  lph_err rc = lph_bytea_unescape(text, out);
  if (rc == LPH_OK) put_u32(out->data + start, (uint32_t)(out->len - start - 4));
  if (rc != LPH_OK) out->len = start;
  return rc;
}

lph_err lph_wire_from_text(const lph_type *type, lph_bytes text, lph_buf *out) {
  int64_t whole;
  double number;
  switch ((lph_kind)type->kind) {
    case LPH_BOOL: return lph_wire_bool(LPH_BOOL, text.len > 0 && text.data[0] == 't', out);
    case LPH_INT2:
    case LPH_INT4:
    case LPH_INT8:
    case LPH_UINT4: return lph_parse_int8(text, &whole) ? lph_wire_int(type->kind, whole, out) : LPH_EFORMAT;
    case LPH_FLOAT4:
    case LPH_FLOAT8:
      return lph_parse_float8(text, &number) ? lph_wire_float(type->kind, number, out) : LPH_EFORMAT;
    case LPH_BYTEA: return put_bytea(text, out);
    case LPH_UUID: return put_uuid(text, out);
    default: return lph_wire_string(type->kind, text, out);
  }
}
