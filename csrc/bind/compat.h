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

#define LCOMPAT_HAS_INTEGERS 1 /* numbers are integers or floats, and the difference shows */

#else

#define LCOMPAT_HAS_INTEGERS 0 /* every number is a double */

#define lua_rawlen(L, index) lua_objlen(L, index)

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
