/* lvalue.c - see lvalue.h. Tables that become arrays, composites, ranges ... are in ltable.c.
 * SPDX-License-Identifier: MIT */
#include "bind/lvalue.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "bind/ljson.h"
#include "bind/ltable.h"

/* ---- refusals ------------------------------------------------------------------------------------- */

static const char *type_name(const lph_type *type) { return type == NULL ? "unknown type" : type->name; }

lph_err lvalue_refuse(lvalue *x, const char *why) {
  /* The innermost refusal knows best; the path was prepared on the way down. */
  if (!lph_error_is_set(x->error)) lph_error_set(x->error, "parameter", "%s", why);
  return LPH_EFAIL;
}

static const char *lua_type_of(lua_State *L, int at) {
  if (lua_type(L, at) == LUA_TNUMBER && LCOMPAT_HAS_INTEGERS)
    return lua_isinteger(L, at) ? "an integer" : "a float";
  switch (lua_type(L, at)) {
    case LUA_TNIL: return "nil";
    case LUA_TBOOLEAN: return "a boolean";
    case LUA_TNUMBER: return "a number";
    case LUA_TSTRING: return "a string";
    case LUA_TTABLE: return "a table";
    case LUA_TFUNCTION: return "a function";
    case LCOMPAT_TCDATA: return "a cdata";
    default: return "a userdata";
  }
}

static lph_err wrong_type(lua_State *L, lvalue *x, int at, const char *why) {
  char text[256];
  snprintf(text, sizeof text, "%s; got %s", why, lua_type_of(L, at));
  return lvalue_refuse(x, text);
}

/* The failure so far is a half-sentence; this makes it whole. */
static lph_err name_parameter(lvalue *x, int number, const lph_type *type) {
  char why[512];
  snprintf(why, sizeof why, "%s", lph_error_get(x->error, LPH_E_MESSAGE));
  lph_error_set(x->error, "parameter", "parameter $%d (%s): %s", number, type_name(type), why);
  x->error->param = number;
  return LPH_EFAIL;
}

/* ---- scalars ----------------------------------------------------------------------------------------- */

/* A 64-bit integer of LuaJIT's FFI. Its text ("-5LL", "5ULL") is the only way to it that needs no FFI here. */
static bool read_cdata(lua_State *L, int at, lph_value *v) {
  lph_bytes text;
  if (!luaL_callmeta(L, at, "__tostring")) return false;
  text.data = lua_tolstring(L, -1, &text.len);
  bool is_int = text.data != NULL && text.len > 2 && memcmp(text.data + text.len - 2, "LL", 2) == 0;
  if (is_int) text.len -= text.data[text.len - 3] == 'U' ? 3 : 2;
  is_int = is_int && lph_parse_int8(text, &v->integer);
  lua_pop(L, 1);
  v->tag = LPH_V_INT;
  return is_int;
}

static bool read_scalar(lua_State *L, int at, lph_value *v) {
  *v = (lph_value){0};
  switch (lua_type(L, at)) {
    case LUA_TBOOLEAN:
      v->tag = LPH_V_BOOL;
      v->boolean = lua_toboolean(L, at);
      return true;
    case LUA_TSTRING:
      v->tag = LPH_V_STRING;
      v->string.data = lua_tolstring(L, at, &v->string.len);
      return true;
    case LUA_TNUMBER:
      v->number = lua_tonumber(L, at);
      /* On LuaJIT every number is a double: an integral one counts as integer. */
      if (lua_isinteger(L, at) ||
          (!LCOMPAT_HAS_INTEGERS && v->number == floor(v->number) && fabs(v->number) < 9.2e18)) {
        v->tag = LPH_V_INT;
        v->integer = (int64_t)lua_tointeger(L, at);
        if (!LCOMPAT_HAS_INTEGERS) v->integer = (int64_t)v->number;
        if (v->integer == 0 && signbit(v->number)) v->tag = LPH_V_FLOAT; /* -0.0 stays itself */
      } else {
        v->tag = LPH_V_FLOAT;
      }
      return true;
    case LCOMPAT_TCDATA: return read_cdata(L, at, v);
    default: return false;
  }
}

static bool takes_epoch(const lph_type *type) {
  return type != NULL &&
         (type->kind == LPH_DATE || type->kind == LPH_TIMESTAMP || type->kind == LPH_TIMESTAMPTZ);
}

/* Seconds since 1970 (os.time(), datetime = "epoch") for a date or timestamp. */
static lph_err put_epoch(lvalue *x, const lph_type *type, double seconds, lph_buf *out) {
  lph_datetime d = {0};
  lph_err rc = LPH_OK;
  if (isnan(seconds)) return lvalue_refuse(x, "NaN is not a point in time");
  if (isinf(seconds)) {
    d.infinity = seconds > 0 ? 1 : -1;
  } else if (fabs(seconds) > 1.9e14) {
    rc = LPH_ERANGE;
  } else {
    double whole = floor(seconds);
    long us = lround((seconds - whole) * 1e6);
    bool carry = us == 1000000;
    rc = lph_datetime_from_epoch((int64_t)whole + carry, carry ? 0 : (int32_t)us, &d);
  }
  if (rc == LPH_OK) rc = lph_datetime_write(type, &d, out);
  if (rc == LPH_ENOMEM) return lph_error_oom(x->error);
  return rc == LPH_OK ? LPH_OK : lvalue_refuse(x, "this many seconds since 1970 are out of range");
}

static lph_err put_scalar(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out) {
  static const lph_type text = {.kind = LPH_OPAQUE, .name = "text"};
  lph_value v;
  if (!read_scalar(L, at, &v)) return wrong_type(L, x, at, "this Lua type has no PostgreSQL form");
  if (takes_epoch(type) && v.tag != LPH_V_STRING && v.tag != LPH_V_BOOL)
    return put_epoch(x, type, v.tag == LPH_V_INT ? (double)v.integer : v.number, out);
  const char *why = "cannot be sent";
  lph_err rc = lph_encode(type == NULL ? &text : type, &v, out, &why);
  if (rc == LPH_ENOMEM) return lph_error_oom(x->error);
  return rc == LPH_OK ? LPH_OK : wrong_type(L, x, at, why);
}

static lph_err put_json(lua_State *L, lvalue *x, int at, lph_buf *out) {
  if (x->cjson != 0) {
    lua_pushvalue(L, x->cjson);
    lua_pushvalue(L, at);
    lua_call(L, 1, 1);
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    lph_err rc = text == NULL ? lvalue_refuse(x, "the JSON encoder gave no text")
                              : lph_buf_add(out, text, len);
    lua_pop(L, 1);
    return rc == LPH_ENOMEM ? lph_error_oom(x->error) : rc;
  }
  const char *why = "";
  lph_err rc = ljson_encode(L, at, out, &why);
  if (rc == LPH_ENOMEM) return lph_error_oom(x->error);
  if (rc == LPH_OK) return LPH_OK;
  lvalue_refuse(x, why);
  lua_pop(L, 1);
  return LPH_EFAIL;
}

static bool has_metatable(lua_State *L, int at, const char *name) {
  if (lua_type(L, at) != LUA_TTABLE || !lua_getmetatable(L, at)) return false;
  luaL_getmetatable(L, name);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

bool lvalue_typed_oid(lua_State *L, int at, lph_oid *oid) {
  if (!has_metatable(L, at, LVALUE_TYPED)) return false;
  lua_getfield(L, at, "oid");
  *oid = (lph_oid)lua_tonumber(L, -1);
  lua_pop(L, 1);
  return true;
}

bool lvalue_is_wrapped(lua_State *L, int at) {
  return has_metatable(L, at, LVALUE_JSON) || has_metatable(L, at, LVALUE_TYPED);
}

bool lvalue_is_null(lua_State *L, int at) {
  return lua_isnoneornil(L, at) || (lua_islightuserdata(L, at) && lua_touserdata(L, at) == NULL);
}

/* ---- any value as text: top level and elements ------------------------------------------------------------ */

static lph_err put_wrapped_json(lua_State *L, lvalue *x, int at, lph_buf *out) {
  lua_getfield(L, at, "value");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushlightuserdata(L, NULL);
  }
  lph_err rc = put_json(L, x, lua_gettop(L), out);
  lua_pop(L, 1);
  return rc;
}

lph_err lvalue_text(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  if (lua_type(L, at) != LUA_TTABLE) return put_scalar(L, x, at, type, out);
  if (has_metatable(L, at, LVALUE_JSON)) return put_wrapped_json(L, x, at, out);
  if (type != NULL && (type->kind == LPH_JSON || type->kind == LPH_JSONB)) return put_json(L, x, at, out);
  if (depth >= LVALUE_DEPTH - 1)
    return lvalue_refuse(x, "the table is nested too deeply (or contains itself)");
  luaL_checkstack(L, 12, "nested parameter");
  return ltable_put(L, x, at, type, out, depth);
}

/* ---- what stands for another value --------------------------------------------------------------------------- */

/* codecs[oid].encode, pushed; nothing pushed where there is none */
static bool push_encoder(lua_State *L, const lvalue *x, const lph_type *type) {
  if (LPH_LIKELY(x->codecs == 0) || type == NULL) return false;
  lua_rawgeti(L, x->codecs, (lua_Integer)type->oid);
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "encode");
    lua_remove(L, -2);
  }
  if (lua_isfunction(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

bool lvalue_has_encoder(lua_State *L, const lvalue *x, const lph_type *type) {
  bool has = push_encoder(L, x, type);
  if (has) lua_pop(L, 1);
  return has;
}

const lph_type *lvalue_resolve(lua_State *L, const lvalue *x, int at, const lph_type *type) {
  lph_oid oid;
  if (LPH_UNLIKELY(lvalue_typed_oid(L, at, &oid))) {
    lua_getfield(L, at, "value");
    lua_replace(L, at);
    type = lph_typemap_find(x->types, oid);
  }
  if (LPH_UNLIKELY(x->codecs != 0) && !lvalue_is_null(L, at) && push_encoder(L, x, type)) {
    lua_pushvalue(L, at);
    lua_call(L, 1, 1);
    lua_replace(L, at);
  }
  return type;
}

/* ---- parameters --------------------------------------------------------------------------------------------- */

/* Strings for text and bytea go out as they lie in Lua's memory. */
static bool lend_string(lua_State *L, lvalue *x, int at, const lph_type *type, lph_params *params, int number,
                        lph_err *rc) {
  if (type == NULL || (type->kind != LPH_TEXT && type->kind != LPH_BYTEA) || lua_type(L, at) != LUA_TSTRING)
    return false;
  lph_bytes s;
  s.data = lua_tolstring(L, at, &s.len);
  *rc = LPH_OK;
  if (s.len > INT_MAX - 1024) {
    *rc = lvalue_refuse(x, "is longer than PostgreSQL can take (1 GB)");
  } else if (type->kind == LPH_TEXT && memchr(s.data, '\0', s.len) != NULL) {
    *rc = wrong_type(L, x, at,
                     "contains a NUL byte, which PostgreSQL cannot store in text; use bytea for binary data");
  } else if (type->kind == LPH_TEXT && !lph_utf8_valid(s)) {
    *rc = wrong_type(L, x, at, "is not valid UTF-8; convert it first, or use bytea for binary data");
  } else {
    lph_params_lend(params, number - 1, s.data, s.len, type->kind == LPH_BYTEA);
  }
  return true;
}

lph_err lvalue_put(lua_State *L, lvalue *x, int at, const lph_type *type, lph_params *params, int number) {
  if (LPH_UNLIKELY(x->codecs != 0 || lua_type(L, at) == LUA_TTABLE)) type = lvalue_resolve(L, x, at, type);
  if (lvalue_is_null(L, at)) return LPH_OK;
  lph_err rc;
  if (!lend_string(L, x, at, type, params, number, &rc)) {
    size_t start = params->text.len;
    rc = lvalue_text(L, x, at, type, &params->text, 0);
    if (rc == LPH_OK && params->text.len - start > INT_MAX - 1024)
      rc = lvalue_refuse(x, "is longer than PostgreSQL can take (1 GB)");
    if (rc == LPH_OK && lph_params_put(params, number - 1, start) != LPH_OK) rc = lph_error_oom(x->error);
  }
  if (LPH_LIKELY(rc == LPH_OK)) return LPH_OK;
  if (strcmp(x->error->kind, "out_of_memory") == 0) return LPH_EFAIL;
  return name_parameter(x, number, type);
}

void lvalue_open(lua_State *L) {
  lcompat_newmetatable(L, LVALUE_TYPED);
  lcompat_newmetatable(L, LVALUE_JSON);
  lua_pop(L, 2);
}
