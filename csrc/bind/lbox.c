/* lbox.c - see lbox.h. SPDX-License-Identifier: MIT */
#include "bind/lbox.h"

#include <string.h>

static void add_functions(lua_State *L, const luaL_Reg *list) {
  for (; list != NULL && list->name != NULL; list++) { /* mt target */
    lua_pushvalue(L, -2);                              /* mt target mt */
    lua_pushcclosure(L, list->func, 1);                /* mt target f */
    lua_setfield(L, -2, list->name);
  }
}

void lbox_open(lua_State *L, const lbox_class *class) {
  lcompat_newmetatable(L, class->name); /* mt */
  lua_pushvalue(L, -1);                 /* mt mt: metamethods go into the metatable itself */
  add_functions(L, class->meta);
  lua_pop(L, 1);
  lua_newtable(L); /* mt methods */
  add_functions(L, class->methods);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0); /* getmetatable(box) gives nothing to tamper with */
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

void *lbox_new(lua_State *L, const lbox_class *class, size_t size) {
  void *box = lcompat_newbox(L, size);
  memset(box, 0, size);
  lua_newtable(L);
  lcompat_setstore(L, -2);
  luaL_getmetatable(L, class->name);
  lua_setmetatable(L, -2);
  return box;
}

void *lbox_self(lua_State *L, int index, const lbox_class *class) {
  void *box = lua_touserdata(L, index);
  if (LPH_LIKELY(box != NULL && lua_getmetatable(L, index))) {
    bool mine = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    if (LPH_LIKELY(mine)) return box;
  }
  luaL_error(L, "%s expected as argument #%d, got %s", class->name, index, luaL_typename(L, index));
  return NULL;
}

void *lbox_test(lua_State *L, int index, const lbox_class *class) {
  void *box = lua_touserdata(L, index);
  if (box == NULL || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, class->name);
  bool mine = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return mine ? box : NULL;
}
