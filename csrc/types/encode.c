/* encode.c - a Lua value -> the text form of a parameter, refused here when the server would refuse
 * it or, worse, take it for something else. Contract: lph_encode in type.h.
 *
 * Each refusal is half a sentence that finishes "parameter $2 (integer): " and says what would be
 * right; the caller knows the number, the type's name and the value's Lua type.
 *
 * SPDX-License-Identifier: MIT */
#include <math.h>

#include "types/scalar.h"

/* Lets a check say its code and its reason in one statement. */
static lph_err refuse(const char **why, lph_err rc, const char *reason) {
  *why = reason;
  return rc;
}

static lph_err append(lph_buf *out, const char *data, size_t len, const char **why) {
  return lph_buf_add(out, data, len) == LPH_OK ? LPH_OK : refuse(why, LPH_ENOMEM, "out of memory");
}

static lph_err append_bool(lph_buf *out, bool value, const char **why) {
  return value ? append(out, "true", 4, why) : append(out, "false", 5, why);
}

static lph_err append_int(lph_buf *out, int64_t value, const char **why) {
  char text[32];
  return append(out, text, lph_format_int8(text, value), why);
}

static lph_err append_float(lph_buf *out, double value, const char **why) {
  char text[32];
  return append(out, text, lph_format_float8(text, value), why);
}

/* ---- strings ---------------------------------------------------------------------------------- */

static lph_err put_text(lph_bytes s, lph_buf *out, const char **why) {
  if (s.len == 0) return LPH_OK;
  if (memchr(s.data, '\0', s.len) != NULL)
    return refuse(why, LPH_EFORMAT,
                  "contains a NUL byte, which PostgreSQL cannot store in text; use bytea for binary data");
  if (!lph_utf8_valid(s))
    return refuse(why, LPH_EFORMAT, "is not valid UTF-8; convert it first, or use bytea for binary data");
  return append(out, s.data, s.len, why);
}

/* What to say when a kind that takes strings only was given something else. */
static const char *string_expected(uint8_t kind) {
  switch (kind) {
    case LPH_TEXT: return "expected a string; tostring(value) makes one";
    case LPH_BYTEA: return "expected a string with the raw bytes";
    case LPH_DATE: return "expected a string such as \"2024-02-29\"";
    case LPH_TIME:
    case LPH_TIMETZ: return "expected a string such as \"13:45:00\"";
    case LPH_TIMESTAMP: return "expected a string such as \"2024-02-29 13:45:00\"";
    case LPH_TIMESTAMPTZ: return "expected a string such as \"2024-02-29 13:45:00+00\"";
    case LPH_INTERVAL: return "expected a string such as \"1 day 02:30:00\"";
    default: return "expected a string in the form PostgreSQL prints this type";
  }
}

/* ---- integers --------------------------------------------------------------------------------- */

typedef struct int_range {
  int64_t low, high;
  const char *message;
} int_range;

static const int_range int2_range = {INT16_MIN, INT16_MAX, "out of range (-32768 to 32767)"};
static const int_range int4_range = {INT32_MIN, INT32_MAX, "out of range (-2147483648 to 2147483647)"};
static const int_range int8_range = {INT64_MIN, INT64_MAX,
                                     "out of range (-9223372036854775808 to 9223372036854775807)"};
static const int_range uint4_range = {0, UINT32_MAX, "out of range (0 to 4294967295)"};

#define UINT8_MESSAGE "out of range (0 to 18446744073709551615)"
#define TWO_63 9223372036854775808.0
#define TWO_64 18446744073709551616.0

/* Is there an integer in this float? From 2^53 on every float is one, Infinity included: that is for
 * the range check to refuse. */
static lph_err check_whole(double d, const char **why) {
  if (isnan(d)) return refuse(why, LPH_ERANGE, "NaN is not an integer");
  if (fabs(d) < 9007199254740992.0 && d != (double)(int64_t)d)
    return refuse(why, LPH_ERANGE, "has a fraction; round it first, for example with math.floor(value)");
  return LPH_OK;
}

static bool is_decimal_integer(lph_bytes s) {
  size_t i = s.len > 0 && s.data[0] == '-';
  if (i == s.len) return false;
  for (; i < s.len; i++)
    if (s.data[i] < '0' || s.data[i] > '9') return false;
  return true;
}

static lph_err encode_int(const int_range *range, const lph_value *v, lph_buf *out, const char **why) {
  int64_t n;
  if (v->tag == LPH_V_INT) {
    n = v->integer;
  } else if (v->tag == LPH_V_FLOAT) {
    lph_err rc = check_whole(v->number, why);
    if (rc != LPH_OK) return rc;
    if (v->number < -TWO_63 || v->number >= TWO_63) return refuse(why, LPH_ERANGE, range->message);
    n = (int64_t)v->number;
  } else if (v->tag == LPH_V_STRING && range == &int8_range) {
    if (!is_decimal_integer(v->string))
      return refuse(why, LPH_ETYPE, "expected an integer or a string of decimal digits");
    if (!lph_parse_int8(v->string, &n)) return refuse(why, LPH_ERANGE, range->message);
  } else {
    return refuse(why, LPH_ETYPE,
                  v->tag == LPH_V_STRING ? "expected an integer; tonumber(value) makes one of a string"
                                         : "expected an integer");
  }
  if (n < range->low || n > range->high) return refuse(why, LPH_ERANGE, range->message);
  return append_int(out, n, why);
}

/* xid8 is read as decimal text, so that text is taken back. */
static lph_err encode_uint8_text(lph_bytes s, lph_buf *out, const char **why) {
  if (!is_decimal_integer(s))
    return refuse(why, LPH_ETYPE, "expected an integer or a string of decimal digits");
  while (s.len > 1 && s.data[0] == '0') s = (lph_bytes){s.data + 1, s.len - 1};
  /* Equally long decimals compare like numbers. */
  static const char max[] = "18446744073709551615";
  size_t most = sizeof max - 1;
  if (s.data[0] == '-' || s.len > most || (s.len == most && memcmp(s.data, max, most) > 0))
    return refuse(why, LPH_ERANGE, UINT8_MESSAGE);
  return append(out, s.data, s.len, why);
}

static lph_err encode_uint8(const lph_value *v, lph_buf *out, const char **why) {
  char text[32];
  lph_err rc;
  switch (v->tag) {
    case LPH_V_INT:
      if (v->integer < 0) return refuse(why, LPH_ERANGE, UINT8_MESSAGE);
      return append_int(out, v->integer, why);
    case LPH_V_FLOAT:
      if ((rc = check_whole(v->number, why)) != LPH_OK) return rc;
      if (v->number < 0 || v->number >= TWO_64) return refuse(why, LPH_ERANGE, UINT8_MESSAGE);
      return append(out, text, lph_put_digits(text, (uint64_t)v->number), why);
    case LPH_V_STRING: return encode_uint8_text(v->string, out, why);
    default: return refuse(why, LPH_ETYPE, "expected an integer or a string of decimal digits");
  }
}

/* ---- floats and numeric ----------------------------------------------------------------------- */

static lph_err encode_float4(double value, lph_buf *out, const char **why) {
  float narrowed = (float)value;
  if (isinf(narrowed) && !isinf(value))
    return refuse(why, LPH_ERANGE, "out of range (about -3.4e38 to 3.4e38)");
  if (narrowed == 0 && value != 0)
    return refuse(why, LPH_ERANGE, "too close to zero (the smallest real is about 1.4e-45)");
  /* Rounded here and not by the server, which would see digits that were already rounded once. */
  char text[32];
  return append(out, text, lph_format_float_shortest(text, (double)narrowed, true), why);
}

static lph_err encode_float(bool is_float4, const lph_value *v, lph_buf *out, const char **why) {
  if (v->tag == LPH_V_INT) return append_int(out, v->integer, why);
  if (v->tag == LPH_V_FLOAT)
    return is_float4 ? encode_float4(v->number, out, why) : append_float(out, v->number, why);
  return refuse(why, LPH_ETYPE,
                v->tag == LPH_V_STRING ? "expected a number; tonumber(value) makes one of a string"
                                       : "expected a number");
}

/* Decimal notation or one of the three special values; lph_parse_float8 knows just these. */
static lph_err encode_numeric(const lph_value *v, lph_buf *out, const char **why) {
  double ignored;
  switch (v->tag) {
    case LPH_V_INT: return append_int(out, v->integer, why);
    case LPH_V_FLOAT: return append_float(out, v->number, why);
    case LPH_V_STRING:
      if (lph_parse_float8(v->string, &ignored)) return append(out, v->string.data, v->string.len, why);
      return refuse(why, LPH_ETYPE, "expected a number or a decimal string such as \"12.50\"");
    default: return refuse(why, LPH_ETYPE, "expected a number or a decimal string such as \"12.50\"");
  }
}

/* ---- json, bool, the door --------------------------------------------------------------------- */

static lph_err encode_json(const lph_value *v, lph_buf *out, const char **why) {
  switch (v->tag) {
    case LPH_V_BOOL: return append_bool(out, v->boolean, why);
    case LPH_V_INT: return append_int(out, v->integer, why);
    case LPH_V_FLOAT:
      if (!isfinite(v->number)) return refuse(why, LPH_ERANGE, "JSON has no NaN and no Infinity");
      return append_float(out, v->number, why);
    default: return put_text(v->string, out, why);
  }
}

static lph_err encode_string(uint8_t kind, const lph_value *v, lph_buf *out, const char **why) {
  if (v->tag != LPH_V_STRING) return refuse(why, LPH_ETYPE, string_expected(kind));
  if (kind != LPH_BYTEA) return put_text(v->string, out, why);
  return lph_bytea_hex(v->string, out) == LPH_OK ? LPH_OK : refuse(why, LPH_ENOMEM, "out of memory");
}

lph_err lph_encode(const lph_type *type, const lph_value *v, lph_buf *out, const char **why) {
  switch (type->kind) {
    case LPH_BOOL:
      if (v->tag == LPH_V_BOOL) return append_bool(out, v->boolean, why);
      return refuse(why, LPH_ETYPE, "expected true or false");
    case LPH_INT2: return encode_int(&int2_range, v, out, why);
    case LPH_INT4: return encode_int(&int4_range, v, out, why);
    case LPH_INT8: return encode_int(&int8_range, v, out, why);
    case LPH_UINT4: return encode_int(&uint4_range, v, out, why);
    case LPH_UINT8: return encode_uint8(v, out, why);
    case LPH_FLOAT4: return encode_float(true, v, out, why);
    case LPH_FLOAT8: return encode_float(false, v, out, why);
    case LPH_NUMERIC: return encode_numeric(v, out, why);
    case LPH_JSON:
    case LPH_JSONB: return encode_json(v, out, why);
    default: return encode_string(type->kind, v, out, why);
  }
}
