/* lbox.h - userdata that own C things: box first, then the thing.
 *
 * A class is a metatable. A box carries a mark of its class as long as it has not been finalized, and the methods the
 * metatable as first upvalue: "is it mine?" is a look at the mark, else one raw comparison. Every class has one function
 * that closes, idempotent, which is __gc and __close alike.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LBOX_H
#define LPH_LBOX_H

#include "bind/compat.h"

typedef struct lbox_class {
  const char *name; /* "luphant.core.conn": __name and registry key */
  const luaL_Reg *methods;
  const luaL_Reg *meta; /* __gc, __tostring ... */
} lbox_class;

/* Makes the metatable (once per state). May raise. */
void lbox_open(lua_State *L, const lbox_class *class);

/* Pushes a zeroed userdata of `size` bytes that already has its metatable and an empty store. May
 * raise. `zeroed` must be a state its close function accepts. */
void *lbox_new(lua_State *L, const lbox_class *class, size_t size);

/* The object at `index` of the class whose method is running (upvalue 1). Raises otherwise. */
void *lbox_self(lua_State *L, int index, const lbox_class *class);
/* The object at `index`, from outside its methods; NULL when it is something else. */
void *lbox_test(lua_State *L, int index, const lbox_class *class);

#endif
