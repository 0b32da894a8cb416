/* lcopyrow.c - a row of plain values for COPY ... FROM STDIN, the way a million rows take.
 *
 *   guard:put(...)            -> boolean | nil, err, row
 *   guard:putter(user, rest)  -> function, boolean
 *
 * A row of numbers, strings, booleans and nil is put without memory of Lua, without code of the user and outside of the
 * connection's box; nothing of it can raise. Whatever else comes, or does not fit, is left to lcopyin.c from the start of
 * the row on.
 *
 * SPDX-License-Identifier: MIT */
#include <math.h>

#include "bind/lcopy.h"

static lph_err put_number(lua_State *L, int at, uint8_t kind, lph_buf *out) {
  if (lua_isinteger(L, at)) return lph_wire_int(kind, (int64_t)lua_tointeger(L, at), out);
  double v = lua_tonumber(L, at);
  if (kind == LPH_FLOAT8 || kind == LPH_FLOAT4) return lph_wire_float(kind, v, out);
  if (LCOMPAT_HAS_INTEGERS || !(fabs(v) <= (double)LCOMPAT_EXACT)) return LPH_ETYPE;
  int64_t whole = (int64_t)v;
  return (double)whole == v && (whole != 0 || !signbit(v)) ? lph_wire_int(kind, whole, out) : LPH_ETYPE;
}

lph_err lcopy_put_quickly(lua_State *L, int at, uint8_t kind, lph_buf *out) {
  lph_bytes s;
  switch (lua_type(L, at)) {
    case LUA_TNUMBER: return put_number(L, at, kind, out);
    case LUA_TSTRING: s.data = lua_tolstring(L, at, &s.len); return lph_wire_string(kind, s, out);
    case LUA_TNIL: return lph_wire_null(out);
    case LUA_TBOOLEAN: return lph_wire_bool(kind, lua_toboolean(L, at), out);
    default: return LPH_ETYPE;
  }
}

/* ---- what most values are -------------------------------------------------------------------------------------- */

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* No NUL and nothing but ASCII: what needs no look at its UTF-8. */
static LPH_INLINE bool is_ascii(const char *p, size_t n) {
  uint64_t word;
  for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
    memcpy(&word, p, sizeof word);
    if (((word | (word - ONES)) & HIGHS) != 0) return false; /* a high bit, or one that a zero has borrowed */
  }
  unsigned char seen = 0;
  bool nul = false;
  for (; n > 0; p++, n--) {
    seen |= (unsigned char)*p;
    nul |= *p == '\0';
  }
  return seen < 0x80 && !nul;
}

static LPH_INLINE bool put_text(lua_State *L, int at, lph_buf *out) {
  if (lua_type(L, at) != LUA_TSTRING) return false;
  size_t len;
  const char *p = lua_tolstring(L, at, &len);
  if (len > LPH_COPY_PIECE || !is_ascii(p, len) || lph_buf_reserve(out, len + 4) != LPH_OK) return false;
  lph_put_u32(out->data + out->len, (uint32_t)len);
  memcpy(out->data + out->len + 4, p, len);
  out->len += len + 4;
  return true;
}

static LPH_INLINE bool put_int4(lua_State *L, int at, lph_buf *out) {
  int32_t v;
  if (LCOMPAT_HAS_INTEGERS) {
    if (!lua_isinteger(L, at)) return false;
    lua_Integer given = lua_tointeger(L, at);
    v = (int32_t)given;
    if (v != given) return false;
  } else {
    if (lua_type(L, at) != LUA_TNUMBER) return false;
    double given = lua_tonumber(L, at);
    if (!(given >= INT32_MIN && given <= INT32_MAX)) return false;
    v = (int32_t)given;
    if (v != given || v == 0) return false; /* -0 is looked at elsewhere */
  }
  if (lph_buf_reserve(out, 8) != LPH_OK) return false;
  lph_put_u32(out->data + out->len, 4);
  lph_put_u32(out->data + out->len + 4, (uint32_t)v);
  out->len += 8;
  return true;
}

static LPH_INLINE bool put_wide(uint64_t bits, lph_buf *out) {
  if (lph_buf_reserve(out, 12) != LPH_OK) return false;
  lph_put_u32(out->data + out->len, 8);
  lph_put_u64(out->data + out->len + 4, bits);
  out->len += 12;
  return true;
}

static LPH_INLINE bool put_float8(lua_State *L, int at, lph_buf *out) {
  if (lua_type(L, at) != LUA_TNUMBER || lua_isinteger(L, at)) return false;
  double v = lua_tonumber(L, at);
  uint64_t bits;
  memcpy(&bits, &v, sizeof bits);
  return put_wide(bits, out);
}

static LPH_INLINE bool put_value(lua_State *L, int at, uint8_t kind, lph_buf *out) {
  bool done = false;
  switch (kind) {
    case LPH_TEXT: done = put_text(L, at, out); break;
    case LPH_INT4: done = put_int4(L, at, out); break;
    case LPH_FLOAT8: done = put_float8(L, at, out); break;
    case LPH_INT8: done = lua_isinteger(L, at) && put_wide((uint64_t)lua_tointeger(L, at), out); break;
    default: break;
  }
  return LPH_LIKELY(done) || lcopy_put_quickly(L, at, kind, out) == LPH_OK;
}

/* ---- a row -------------------------------------------------------------------------------------------------------- */

/* The values from slot 2 to the top. False: the row is not put, and has to go the long way. */
static bool put_row(lua_State *L, lcopy *w, int last) {
  lconn *b = w->b;
  bool plain = w->binary && w->has_header && !b->has_codecs && !b->entered && last - 1 == w->columns &&
               w->types != NULL && lcopy_is_live(w) && lph_copy_has_room(&b->c.copy);
  lph_buf *out = plain ? lph_copy_room(&b->c.copy) : NULL;
  if (LPH_UNLIKELY(out == NULL || lph_buf_reserve(out, 2) != LPH_OK)) return false;
  size_t start = out->len;
  out->data[start] = (char)(w->columns >> 8);
  out->data[start + 1] = (char)w->columns;
  out->len += 2;
  int at = 2;
  while (at <= last && LPH_LIKELY(put_value(L, at, w->types[at - 2]->kind, out))) at++;
  if (LPH_LIKELY(at > last && out->len - start <= LPH_COPY_PIECE)) {
    w->rows++;
    return true;
  }
  out->len = start;
  return false;
}

int lcopy_put(lua_State *L) {
  lcopy *w = lbox_self(L, 1, &lcopy_class);
  if (LPH_UNLIKELY(!put_row(L, w, lua_gettop(L)))) return lcopy_enter(L, w, lcopy_put_inside);
  lua_pushboolean(L, !lph_copy_is_full(&w->b->c.copy));
  return 1;
}

/* ---- for a writer ----------------------------------------------------------------------------------------------------- */

enum { UP_GUARD = 1, UP_USER, UP_REST };

#if LCOMPAT_HAS_CONTINUATIONS
static int hand_on(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L);
}

/* What rest(user, ...) makes of the answers on the stack, which may wait. */
static int go_on(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(UP_REST));
  lua_insert(L, 1);
  lua_pushvalue(L, lua_upvalueindex(UP_USER));
  lua_insert(L, 2);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, hand_on);
  return hand_on(L, LUA_OK, 0);
}
#else
static int go_on(lua_State *L) { return lua_gettop(L); }
#endif

/* user, ... -> true | what `put` answers otherwise, or what `rest` makes of it */
static int put(lua_State *L) {
  lcopy *w = lua_touserdata(L, lua_upvalueindex(UP_GUARD));
  luaL_checktype(L, 1, LUA_TTABLE);
  if (LPH_LIKELY(put_row(L, w, lua_gettop(L)))) {
    bool is_full = lph_copy_is_full(&w->b->c.copy);
    lua_pushboolean(L, !is_full);
    if (LPH_LIKELY(!is_full)) return 1;
    lua_replace(L, 1);
    lua_settop(L, 1);
    return go_on(L);
  }
  lua_pushvalue(L, lua_upvalueindex(UP_GUARD));
  lua_replace(L, 1);
  lcopy_enter(L, w, lcopy_put_inside);
  return lua_toboolean(L, 1) ? 1 : go_on(L);
}

/* A function (user, ...) that puts a row and answers what `put` does. With true it goes on by itself where that is not
 * true, with what advance(user, ...) makes of it.
 * guard:putter(table, advance) -> value, boolean */
int lcopy_putter(lua_State *L) {
  lbox_self(L, 1, &lcopy_class);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  lua_pushcclosure(L, put, UP_REST);
  lua_pushboolean(L, LCOMPAT_HAS_CONTINUATIONS);
  return 2;
}
