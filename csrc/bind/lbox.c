/* lbox.c - see lbox.h. SPDX-License-Identifier: MIT */
#include "bind/lbox.h"

#include <string.h>

/* ---- the mark ------------------------------------------------------------------------------------------
 *
 * The last bytes of a box say of which class it is and where it stands. Comparing them costs a third of comparing
 * metatables, and there are some twenty checks in a query. They hold for as long as the box has not been finalized:
 * memory that comes to somebody else afterwards, at the same place and of the same size, is never taken for a box. */

static uintptr_t mark_for(const void *box, const lbox_class *class) {
  return (uintptr_t)box ^ (uintptr_t) class;
}

static void set_mark(void *box, size_t length, uintptr_t mark) {
  memcpy((char *)box + length - sizeof mark, &mark, sizeof mark);
}

static bool is_marked(const void *box, size_t length, const lbox_class *class) {
  uintptr_t mark;
  if (length < sizeof mark) return false; /* light userdata has no length */
  memcpy(&mark, (const char *)box + length - sizeof mark, sizeof mark);
  return mark == mark_for(box, class);
}

/* In front of each class's own. Upvalues: metatable, class. */
static int lbox__gc(lua_State *L) {
  const lbox_class *class = lua_touserdata(L, lua_upvalueindex(2));
  void *box = lua_touserdata(L, 1);
  if (box != NULL && is_marked(box, lua_rawlen(L, 1), class)) set_mark(box, lua_rawlen(L, 1), 0);
  const luaL_Reg *own = class->meta;
  while (strcmp(own->name, "__gc") != 0) own++;
  return own->func(L);
}

/* ---- classes ------------------------------------------------------------------------------------------- */

static void add_functions(lua_State *L, const luaL_Reg *list, const lbox_class *class) {
  for (; list != NULL && list->name != NULL; list++) { /* mt target */
    lua_pushvalue(L, -2);                              /* mt target mt */
    bool last = strcmp(list->name, "__gc") == 0;
    if (last) lua_pushlightuserdata(L, (void *)(uintptr_t) class);
    lua_pushcclosure(L, last ? lbox__gc : list->func, last ? 2 : 1); /* mt target f */
    lua_setfield(L, -2, list->name);
  }
}

void lbox_open(lua_State *L, const lbox_class *class) {
  lcompat_newmetatable(L, class->name); /* mt */
  lua_pushvalue(L, -1);                 /* mt mt: metamethods go into the metatable itself */
  add_functions(L, class->meta, class);
  lua_pop(L, 1);
  lua_newtable(L); /* mt methods */
  add_functions(L, class->methods, class);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0); /* getmetatable(box) gives nothing to tamper with */
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

void *lbox_new(lua_State *L, const lbox_class *class, size_t size) {
  size_t length = (size + sizeof(uintptr_t) - 1) / sizeof(uintptr_t) * sizeof(uintptr_t) + sizeof(uintptr_t);
  void *box = lcompat_newbox(L, length);
  memset(box, 0, length);
  lua_newtable(L);
  lcompat_setstore(L, -2);
  luaL_getmetatable(L, class->name);
  lua_setmetatable(L, -2);
  set_mark(box, length, mark_for(box, class)); /* from now on there is a __gc that takes it away */
  return box;
}

void *lbox_self(lua_State *L, int index, const lbox_class *class) {
  void *box = lua_touserdata(L, index);
  if (LPH_LIKELY(box != NULL && is_marked(box, lua_rawlen(L, index), class))) return box;
  if (box != NULL && lua_getmetatable(L, index)) { /* finalized, perhaps */
    bool mine = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    if (mine) return box;
  }
  luaL_error(L, "%s expected as argument #%d, got %s", class->name, index, luaL_typename(L, index));
  return NULL;
}

void *lbox_test(lua_State *L, int index, const lbox_class *class) {
  void *box = lua_touserdata(L, index);
  if (box != NULL && is_marked(box, lua_rawlen(L, index), class)) return box;
  if (box == NULL || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, class->name);
  bool mine = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return mine ? box : NULL;
}
