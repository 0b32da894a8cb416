/* compat.h - the differences between Lua 5.4 and LuaJIT (5.1 with parts of 5.2), as seen from C.
 *
 * The only file that may look at LUA_VERSION_NUM. Where 5.4 has a function, its name and meaning
 * are given to LuaJIT; where the language itself differs, a macro says how.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_COMPAT_H
#define LPH_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#include "base/base.h"

#if LUA_VERSION_NUM >= 503

#define LCOMPAT_HAS_INTEGERS 1      /* numbers are integers or floats, and the difference shows */
#define LCOMPAT_HAS_CONTINUATIONS 1 /* lua_callk: what C calls may be suspended */

/* A userdata with room for one associated value. */
#define lcompat_newbox(L, size) lua_newuserdatauv(L, size, 1)
/* Pops a table and associates it; pushes it again. */
#define lcompat_setstore(L, index) ((void)lua_setiuservalue(L, index, 1))
#define lcompat_getstore(L, index) ((void)lua_getiuservalue(L, index, 1))

#else

#define LCOMPAT_HAS_INTEGERS 0 /* every number is a double */
#define LCOMPAT_HAS_CONTINUATIONS 0

#define lua_rawlen(L, index) lua_objlen(L, index)
#define lua_isinteger(L, index) 0

#define lcompat_newbox(L, size) lua_newuserdata(L, size)
#define lcompat_setstore(L, index) ((void)lua_setfenv(L, index))
#define lcompat_getstore(L, index) lua_getfenv(L, index)

static inline int lua_absindex(lua_State *L, int index) {
  return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + index + 1;
}

/* `key` is an address, as in 5.2 and later. `index` may not be relative to the top. */
static inline void lua_rawgetp(lua_State *L, int index, const void *key) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_rawget(L, index);
}
static inline void lua_rawsetp(lua_State *L, int index, const void *key) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_insert(L, -2);
  lua_rawset(L, index);
}

#endif

/* What lua_type says of a value of LuaJIT's FFI, such as a 64-bit integer; its headers have no name for it. */
#define LCOMPAT_TCDATA 10

/* Largest magnitude up to which every integer is exact in a double. */
#define LCOMPAT_EXACT ((int64_t)1 << 53)

/* luaL_newmetatable that fills in __name on LuaJIT too. */
static inline int lcompat_newmetatable(lua_State *L, const char *name) {
  int is_new = luaL_newmetatable(L, name);
#if LUA_VERSION_NUM < 503
  if (is_new) {
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
  }
#endif
  return is_new;
}

#endif
