/* ljson.c - JSON text -> Lua value, and what Lua can call. Contract: ljson.h; the other way is in
 * ljsonout.c.
 *
 * The containers under construction lie on the Lua stack, so an error anywhere leaves nothing
 * behind that the collector does not know:
 *
 *   [array metatable | nil] [table] [key] [table] ... [key] [value]
 *                            depth 1       depth 2
 *
 * (a table that is an array has no key above it).
 *
 * SPDX-License-Identifier: MIT */
#include "bind/ljson.h"

#include <math.h>

#include "types/json.h"
#include "types/type.h"

/* ---- decoding ---------------------------------------------------------------------------------- */

/* A fresh Lua table grows 0, 1, 2, 4 ... and rehashes each time. What stood at the same place before
 * - same depth, and same position if the parent is an object - mostly has the same size, so a
 * table is made that large at once (bench/json.lua: without, decoding takes 1.45 times as long on
 * Lua 5.4 and 1.28 times on LuaJIT). Places that share a slot only cost a bad guess. */
#define GUESSES 64
#define FIRST_GUESS 4 /* where nothing stood before: saves two rehashes, wastes two small nodes */

typedef struct decoder {
  lua_State *L;
  lph_json_reader in;
  int mark; /* stack index of the array metatable, nil until the first array is met */
  int depth;
  uint32_t count[LPH_JSON_MAX_DEPTH + 1]; /* members so far of the open container, by depth */
  uint8_t place[LPH_JSON_MAX_DEPTH + 1];  /* slot of `guess` it was made from */
  bool is_object[LPH_JSON_MAX_DEPTH + 1];
  uint16_t guess[2][GUESSES]; /* arrays, objects: members of the last one, plus 1; 0 = none yet */
} decoder;

static void push_string(lua_State *L, const lph_json_reader *in) {
  char small[256];
  if (LPH_LIKELY(!in->escaped)) {
    lua_pushlstring(L, in->text.data, in->text.len);
  } else if (in->text.len <= sizeof small) {
    lua_pushlstring(L, small, lph_json_unescape(in, small));
  } else {
    char *block = lua_newuserdata(L, in->text.len);
    lua_pushlstring(L, block, lph_json_unescape(in, block));
    lua_remove(L, -2);
  }
}

static inline void push_integer(lua_State *L, const lph_json_reader *in) {
#if LCOMPAT_HAS_INTEGERS
  lua_pushinteger(L, in->integer);
#else
  if (LPH_LIKELY(in->integer >= -LCOMPAT_EXACT && in->integer <= LCOMPAT_EXACT))
    lua_pushnumber(L, (lua_Number)in->integer);
  else
    lua_pushlstring(L, in->text.data, in->text.len);
#endif
}

static void push_number(lua_State *L, const lph_json_reader *in, bool is_float) {
  double value;
  bool fits = is_float ? lph_parse_float8(in->text, &value) && isfinite(value)
                       : lph_json_big_is_float(in->text, &value);
  if (LPH_LIKELY(fits))
    lua_pushnumber(L, value);
  else
    lua_pushlstring(L, in->text.data, in->text.len);
}

static void open_table(decoder *d, bool is_object) {
  luaL_checkstack(d->L, 6, "JSON nested too deep");
  int outer = d->depth++;
  uint32_t position = outer > 0 && d->is_object[outer] ? d->count[outer] : 0;
  uint8_t place = (uint8_t)(((uint32_t)outer * 11 + position) % GUESSES);
  d->place[d->depth] = place;
  d->is_object[d->depth] = is_object;
  d->count[d->depth] = 0;
  /* No text can make us reserve more than its rest could fill. */
  size_t most = lph_json_left(&d->in) / 2, guess = d->guess[is_object][place];
  guess = guess > 0 ? guess - 1 : lph_json_is_empty(&d->in) ? 0 : FIRST_GUESS;
  int size = (int)(guess < most ? guess : most);
  lua_createtable(d->L, is_object ? 0 : size, is_object ? size : 0);
}

static void close_table(decoder *d, bool is_object) {
  lua_State *L = d->L;
  uint32_t count = d->count[d->depth];
  d->guess[is_object][d->place[d->depth]] = (uint16_t)(count < UINT16_MAX ? count + 1 : UINT16_MAX);
  d->depth--;
  if (is_object) return;
  if (lua_isnil(L, d->mark)) {
    luaL_getmetatable(L, LJSON_ARRAY);
    lua_replace(L, d->mark);
  }
  lua_pushvalue(L, d->mark);
  lua_setmetatable(L, -2);
}

/* Puts the value on top of the stack where it belongs. */
static inline void store(decoder *d) {
  if (d->depth == 0) return;
  uint32_t n = ++d->count[d->depth];
  if (d->is_object[d->depth])
    lua_rawset(d->L, -3);
  else
    lua_rawseti(d->L, -2, (int)n);
}

/* Reads until the text ends. */
static lph_json_token build(decoder *d) {
  lua_State *L = d->L;
  for (;;) {
    lph_json_token token = lph_json_next(&d->in);
    switch (token) {
      case LPH_JSON_KEY: push_string(L, &d->in); continue;
      case LPH_JSON_OPEN_ARRAY: open_table(d, false); continue;
      case LPH_JSON_OPEN_OBJECT: open_table(d, true); continue;
      case LPH_JSON_CLOSE_ARRAY: close_table(d, false); break;
      case LPH_JSON_CLOSE_OBJECT: close_table(d, true); break;
      case LPH_JSON_STRING: push_string(L, &d->in); break;
      case LPH_JSON_INT: push_integer(L, &d->in); break;
      case LPH_JSON_BIG: push_number(L, &d->in, false); break;
      case LPH_JSON_FLOAT: push_number(L, &d->in, true); break;
      case LPH_JSON_TRUE: lua_pushboolean(L, 1); break;
      case LPH_JSON_FALSE: lua_pushboolean(L, 0); break;
      case LPH_JSON_NULL: lua_pushlightuserdata(L, NULL); break;
      default: return token;
    }
    store(d);
  }
}

lph_err ljson_push(lua_State *L, lph_bytes text, ljson_fault *fault) {
  decoder d;
  luaL_checkstack(L, 6, "JSON");
  d.L = L;
  d.depth = 0;
  memset(d.guess, 0, sizeof d.guess);
  lua_pushnil(L);
  d.mark = lua_gettop(L);
  lph_json_open(&d.in, text);
  if (build(&d) != LPH_JSON_END) {
    lua_settop(L, d.mark - 1);
    *fault = (ljson_fault){d.in.why, d.in.at};
    return LPH_EFORMAT;
  }
  lua_replace(L, d.mark);
  return LPH_OK;
}

/* ---- Lua functions ----------------------------------------------------------------------------- */

static int ljson_decode(lua_State *L) {
  lph_bytes text;
  text.data = luaL_checklstring(L, 1, &text.len);
  ljson_fault fault;
  if (ljson_push(L, text, &fault) == LPH_OK) return 1;
  lua_pushnil(L);
  lua_pushfstring(L, "malformed JSON at byte %d: %s", (int)fault.at + 1, fault.why);
  lua_pushinteger(L, (lua_Integer)fault.at);
  return 3;
}

/* The output buffer of json_encode, kept in the registry between calls. While a call uses it the
 * registry holds false, so a finalizer that runs within the call and encodes too makes its own; and
 * a call that ends in a Lua error leaves its buffer to the collector. */
#define SCRATCH "luphant.scratch"
#define SCRATCH_KEEP 65536 /* a larger block goes back at once */
static const char scratch_key = 0;

static int lscratch__gc(lua_State *L) {
  lph_buf_free(luaL_checkudata(L, 1, SCRATCH));
  return 0;
}

static lph_buf *scratch_take(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &scratch_key);
  lph_buf *buf = lua_touserdata(L, -1);
  if (buf == NULL) {
    lua_pop(L, 1);
    buf = lua_newuserdata(L, sizeof *buf);
    lph_buf_init(buf);
    luaL_getmetatable(L, SCRATCH);
    lua_setmetatable(L, -2);
  }
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &scratch_key);
  return buf;
}

static void scratch_give(lua_State *L, int index, lph_buf *buf) {
  lph_buf_clear(buf);
  if (buf->cap > SCRATCH_KEEP) lph_buf_free(buf);
  lua_pushvalue(L, index);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &scratch_key);
}

static int ljson_encode_value(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  lph_buf *out = scratch_take(L);
  const char *why;
  if (ljson_encode(L, 1, out, &why) == LPH_OK) {
    lua_pushlstring(L, out->data, out->len);
    scratch_give(L, 2, out);
    return 1;
  }
  scratch_give(L, 2, out);
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

static int ljson_array(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  luaL_getmetatable(L, LJSON_ARRAY);
  if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, 2))
    return luaL_argerror(L, 1, "the table has a metatable of its own");
  lua_settop(L, 2);
  lua_setmetatable(L, 1);
  return 1;
}

const luaL_Reg ljson_functions[] = {
  {"json_decode", ljson_decode},
  {"json_encode", ljson_encode_value},
  {"json_array", ljson_array},
  {NULL, NULL},
};

void ljson_open(lua_State *L) {
  lcompat_newmetatable(L, LJSON_ARRAY);
  lcompat_newmetatable(L, SCRATCH); /* it may be there, half made: loading ran out of memory before */
  lua_pushcfunction(L, lscratch__gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 2);
}
