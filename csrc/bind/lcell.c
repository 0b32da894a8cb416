/* lcell.c - see lcell.h. Compound values are in lcompound.c.
 * SPDX-License-Identifier: MIT */
#include "bind/lcell.h"

#include <math.h>

#include "bind/lcompound.h"
#include "bind/ljson.h"

static bool bad(lcell *x, const char *why) {
  x->why = why;
  return false;
}

static bool malformed(lcell *x) { return bad(x, "the bytes from the server are not a value of this type"); }

/* ---- integers -------------------------------------------------------------------------------------- */

static void push_digits(lua_State *L, int64_t v) {
  char text[32];
  lua_pushlstring(L, text, lph_format_int8(text, v));
}

/* The whole int8 policy: exact always, a number wherever the Lua at hand can hold it. */
static void push_int8(lua_State *L, const lcell *x, int64_t v) {
  switch (x->options.int8) {
    case LINT8_STRING: push_digits(L, v); return;
    case LINT8_NUMBER: lua_pushinteger(L, (lua_Integer)v); return;
    case LINT8_CDATA:
      if (x->int64 == 0) break;
      lua_pushvalue(L, x->int64);
      lua_pushnumber(L, (lua_Number)(int32_t)(v >> 32));
      lua_pushnumber(L, (lua_Number)(uint32_t)v);
      lua_call(L, 2, 1);
      return;
    default: break;
  }
  if (LCOMPAT_HAS_INTEGERS || (v >= -LCOMPAT_EXACT && v <= LCOMPAT_EXACT)) {
    lua_pushinteger(L, (lua_Integer)v);
  } else {
    push_digits(L, v);
  }
}

static bool push_integer(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n) {
  int64_t v;
  if (x->binary) {
    switch (type->kind) {
      case LPH_INT2:
        if (n != 2) return malformed(x);
        v = (int16_t)lph_get_u16(p);
        break;
      case LPH_INT4:
        if (n != 4) return malformed(x);
        v = (int32_t)lph_get_u32(p);
        break;
      case LPH_UINT4:
        if (n != 4) return malformed(x);
        v = lph_get_u32(p);
        break;
      default:
        if (n != 8) return malformed(x);
        v = (int64_t)lph_get_u64(p);
        break;
    }
  } else if (!lph_parse_int8((lph_bytes){p, n}, &v)) {
    return malformed(x);
  }
  if (type->kind == LPH_INT8) {
    push_int8(L, x, v);
  } else {
    lua_pushinteger(L, (lua_Integer)v);
  }
  return true;
}

/* ---- other numbers, booleans ------------------------------------------------------------------------- */

static bool push_float(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n) {
  double v;
  if (!x->binary) {
    if (!lph_parse_float8((lph_bytes){p, n}, &v)) return malformed(x);
    /* float4's text is short for the float4, not for the double next to it. */
    if (type->kind == LPH_FLOAT4) v = (double)(float)v;
  } else if (type->kind == LPH_FLOAT4) {
    if (n != 4) return malformed(x);
    uint32_t bits = lph_get_u32(p);
    float f;
    memcpy(&f, &bits, sizeof f);
    v = f;
  } else {
    if (n != 8) return malformed(x);
    uint64_t bits = lph_get_u64(p);
    memcpy(&v, &bits, sizeof v);
  }
  lua_pushnumber(L, v);
  return true;
}

static bool push_bool(lua_State *L, lcell *x, const char *p, size_t n) {
  if (n != 1) return malformed(x);
  lua_pushboolean(L, x->binary ? p[0] != 0 : p[0] == 't');
  return true;
}

/* ---- values that are text in Lua ------------------------------------------------------------------------ */

static bool no_memory(lua_State *L) { return luaL_error(L, "not enough memory"), false; }

/* The canonical text of a scalar, in x->scratch from `*start` on. */
static bool render(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n, size_t *start) {
  *start = x->scratch->len;
  lph_err rc = lph_render(type, (lph_bytes){p, n}, x->scratch);
  if (rc == LPH_OK) return true;
  x->scratch->len = *start;
  return rc == LPH_ENOMEM ? no_memory(L) : malformed(x);
}

static void push_scratch(lua_State *L, lcell *x, size_t start) {
  lua_pushlstring(L, x->scratch->data + start, x->scratch->len - start);
  x->scratch->len = start;
}

static bool push_rendered(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n) {
  size_t start;
  if (!x->binary) {
    lua_pushlstring(L, p, n);
    return true;
  }
  if (!render(L, x, type, p, n, &start)) return false;
  push_scratch(L, x, start);
  return true;
}

static bool push_numeric(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n) {
  if (!push_rendered(L, x, type, p, n)) return false;
  if (x->options.numeric == LNUMERIC_STRING) return true;
  lph_bytes text;
  double v;
  text.data = lua_tolstring(L, -1, &text.len);
  if (!lph_parse_float8(text, &v)) {
    lua_pop(L, 1);
    return malformed(x);
  }
  lua_pop(L, 1);
  lua_pushnumber(L, v);
  return true;
}

static bool push_bytea(lua_State *L, lcell *x, const char *p, size_t n) {
  if (x->binary) {
    lua_pushlstring(L, p, n);
    return true;
  }
  size_t start = x->scratch->len;
  lph_err rc = lph_bytea_unescape((lph_bytes){p, n}, x->scratch);
  if (rc == LPH_ENOMEM) return no_memory(L);
  if (rc != LPH_OK) {
    x->scratch->len = start;
    return malformed(x);
  }
  if (x->scratch->len == start) {
    lua_pushliteral(L, "");
    return true;
  }
  push_scratch(L, x, start);
  return true;
}

/* ---- json --------------------------------------------------------------------------------------------------- */

static bool push_json(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n) {
  if (x->binary && type->kind == LPH_JSONB) { /* version byte */
    if (n < 1 || p[0] != 1) return malformed(x);
    p++;
    n--;
  }
  if (x->options.json == LJSON_TEXT) {
    lua_pushlstring(L, p, n);
    return true;
  }
  if (x->options.json == LJSON_CJSON && x->json != 0) {
    lua_pushvalue(L, x->json);
    lua_pushlstring(L, p, n);
    lua_call(L, 1, 1);
    return true;
  }
  ljson_fault fault;
  if (ljson_push(L, (lph_bytes){p, n}, &fault) == LPH_OK) return true;
  return bad(x, fault.why);
}

/* ---- dates and times -------------------------------------------------------------------------------------------- */

/* Only the microseconds of an interval of 285 years or more can be too large for a number of LuaJIT. */
static void set_int(lua_State *L, const char *key, int64_t v) {
  if (LCOMPAT_HAS_INTEGERS || (v >= -LCOMPAT_EXACT && v <= LCOMPAT_EXACT)) {
    lua_pushinteger(L, (lua_Integer)v);
  } else {
    push_digits(L, v);
  }
  lua_setfield(L, -2, key);
}

static void push_datetime_table(lua_State *L, const lph_type *type, const lph_datetime *d) {
  lua_createtable(L, 0, 8);
  if (d->infinity != 0) {
    set_int(L, "infinity", d->infinity);
    return;
  }
  if (type->kind == LPH_INTERVAL) {
    set_int(L, "months", d->months);
    set_int(L, "days", d->days);
    set_int(L, "us", d->time_us);
    return;
  }
  if (type->kind != LPH_TIME && type->kind != LPH_TIMETZ) {
    set_int(L, "year", d->year);
    set_int(L, "month", d->month);
    set_int(L, "day", d->day);
  }
  if (type->kind == LPH_DATE) return;
  set_int(L, "hour", d->hour);
  set_int(L, "min", d->minute);
  set_int(L, "sec", d->second);
  set_int(L, "us", d->us);
  if (type->kind == LPH_TIMETZ || type->kind == LPH_TIMESTAMPTZ) set_int(L, "offset", d->offset_s);
}

static bool has_epoch(const lph_type *type) {
  return type->kind == LPH_DATE || type->kind == LPH_TIMESTAMP || type->kind == LPH_TIMESTAMPTZ;
}

/* Seconds since 1970 as a float: exact to the microsecond until the year 2255 (2^53 us). */
static void push_epoch(lua_State *L, const lph_datetime *d) {
  double seconds = (double)d->epoch_s;
  if (d->infinity != 0) {
    seconds = d->infinity * HUGE_VAL;
  } else if (d->us != 0) {
    /* One division rounds once; the sum of two floats might round twice. */
    bool fits = d->epoch_s > -9000000000000 && d->epoch_s < 9000000000000;
    seconds = fits ? (double)(d->epoch_s * 1000000 + d->us) / 1e6 : seconds + d->us / 1e6;
  }
  lua_pushnumber(L, seconds);
}

static bool push_datetime(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n) {
  int mode = x->options.datetime;
  if (mode == LDATETIME_EPOCH && !has_epoch(type)) mode = LDATETIME_TEXT;
  if (mode == LDATETIME_TEXT && x->binary) return push_rendered(L, x, type, p, n);
  lph_datetime d;
  if (lph_datetime_read(type, (lph_bytes){p, n}, x->binary, &d) != LPH_OK)
    return x->binary ? malformed(x)
                     : bad(x, "this text form of a date or time is not understood: DateStyle must be ISO and "
                              "IntervalStyle postgres where a result cannot be read in binary");
  if (mode == LDATETIME_TABLE) {
    push_datetime_table(L, type, &d);
  } else if (mode == LDATETIME_EPOCH) {
    push_epoch(L, &d);
  } else {
    size_t start = x->scratch->len;
    if (lph_datetime_write(type, &d, x->scratch) != LPH_OK) return no_memory(L);
    push_scratch(L, x, start);
  }
  return true;
}

/* ---- all ------------------------------------------------------------------------------------------------------------ */

static bool push_plain(lua_State *L, lcell *x, const lph_type *type, const char *p, size_t n) {
  switch ((lph_kind)type->kind) {
    case LPH_INT2:
    case LPH_INT4:
    case LPH_INT8:
    case LPH_UINT4: return push_integer(L, x, type, p, n);
    case LPH_TEXT: lua_pushlstring(L, p, n); return true;
    case LPH_BOOL: return push_bool(L, x, p, n);
    case LPH_FLOAT4:
    case LPH_FLOAT8: return push_float(L, x, type, p, n);
    case LPH_NUMERIC: return push_numeric(L, x, type, p, n);
    case LPH_BYTEA: return push_bytea(L, x, p, n);
    case LPH_JSON:
    case LPH_JSONB: return push_json(L, x, type, p, n);
    case LPH_DATE:
    case LPH_TIME:
    case LPH_TIMETZ:
    case LPH_TIMESTAMP:
    case LPH_TIMESTAMPTZ:
    case LPH_INTERVAL: return push_datetime(L, x, type, p, n);
    case LPH_ARRAY:
    case LPH_COMPOSITE:
    case LPH_RECORD:
    case LPH_RANGE:
    case LPH_MULTIRANGE:
    case LPH_HSTORE: return lcompound_push(L, x, type, p, n);
    case LPH_VOID: lcell_push_null(L); return true;
    case LPH_OPAQUE:
      if (x->binary) return bad(x, "this type can only be read in text form");
      lua_pushlstring(L, p, n);
      return true;
    default: return push_rendered(L, x, type, p, n);
  }
}

/* value, of type OID -> what the user's codec makes of it */
static void apply_codec(lua_State *L, const lcell *x, lph_oid oid) {
  lua_rawgeti(L, x->codecs, (lua_Integer)oid); /* value codec? */
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "decode"); /* value codec decode? */
    if (lua_isfunction(L, -1)) {
      lua_pushvalue(L, -3);
      lua_call(L, 1, 1); /* value codec new */
      lua_replace(L, -3);
      lua_pop(L, 1);
      return;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

bool lcell_push(lua_State *L, lcell *x, const lph_type *type, const char *data, size_t len) {
  if (LPH_UNLIKELY(type == NULL || x->options.raw)) {
    if (x->binary) return bad(x, "this type is not known here and came in binary form");
    lua_pushlstring(L, data, len);
    return true;
  }
  if (!push_plain(L, x, type, data, len)) return false;
  if (LPH_UNLIKELY(x->codecs != 0)) apply_codec(L, x, type->oid);
  return true;
}

void lcell_open(lua_State *L) { lcompound_open(L); }
