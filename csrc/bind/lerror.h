/* lerror.h - error record -> Lua error object: the one exit for failures of the world.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LERROR_H
#define LPH_LERROR_H

#include "base/error.h"
#include "bind/compat.h"

#define LERROR_METATABLE "luphant.error" /* registry key; set by core.set_error_metatable */

/* Pushes the error object. `sql_index`: stack slot of the SQL text, or 0. May raise (memory). */
void lerror_object(lua_State *L, const lph_error *e, int sql_index);
/* Pushes nil and the error object; answers 2. May raise (memory). */
int lerror_push(lua_State *L, const lph_error *e, int sql_index);
/* core.set_error_metatable(metatable) */
int lerror_set_metatable(lua_State *L);

#endif
