/* ltesting.c - hooks for the project's own tests: counting and failing allocations.
 *
 *   core.mem_live()              -> integer; blocks the core owns
 *   core.mem_fail_at(n [, forever]) -> boolean; false where the build cannot do it (LPH_FAULT_ALLOC)
 *   core.mem_failed()            -> boolean; was an allocation refused since?
 *
 * SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "bind/bind.h"

static int ltesting_live(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lph_mem_live());
  return 1;
}

static int ltesting_fail_at(lua_State *L) {
  lua_pushboolean(L, lph_mem_fail_at((long)luaL_checkinteger(L, 1), lua_toboolean(L, 2)));
  return 1;
}

static int ltesting_failed(lua_State *L) {
  lua_pushboolean(L, lph_mem_failed());
  return 1;
}

const luaL_Reg ltesting_functions[] = {{"mem_live", ltesting_live},
                                       {"mem_fail_at", ltesting_fail_at},
                                       {"mem_failed", ltesting_failed},
                                       {NULL, NULL}};
