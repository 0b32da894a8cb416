/* lcompound.h - arrays, composites, ranges, hstore -> Lua tables.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LCOMPOUND_H
#define LPH_LCOMPOUND_H

#include "bind/lcell.h"

#define LCOMPOUND_DEPTH 64 /* values nested deeper than this are refused */

void lcompound_open(lua_State *L);
/* As lcell_push, for the compound kinds. */
bool lcompound_push(lua_State *L, lcell *x, const lph_type *type, const char *data, size_t len);

#endif
