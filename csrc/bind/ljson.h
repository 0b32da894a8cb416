/* ljson.h - json and jsonb as Lua values, both ways. Needs ljson_open once per Lua state.
 *
 *   JSON                      Lua
 *   null                      light userdata NULL (luphant.NULL)
 *   array                     sequence with the metatable "luphant.array"
 *   object                    table; of repeated keys the last one counts, as in jsonb
 *   integer                   integer; on LuaJIT beyond 2^53: its decimal text
 *   integer beyond int64      float if no digit is lost by that, else its decimal text
 *   fraction, exponent, -0    float; beyond the largest float: its text
 *
 * The mark on arrays is what keeps [] from turning into {} on the way back, also when a program
 * empties an array it was given.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LJSON_H
#define LPH_LJSON_H

#include "base/buf.h"
#include "bind/compat.h"

#define LJSON_ARRAY "luphant.array" /* key of the array metatable in the registry, and its __name */

typedef struct ljson_fault {
  const char *why; /* static half-sentence for "malformed JSON at byte 17: " */
  size_t at;       /* offset, from 0, of the offending byte */
} ljson_fault;

/* Makes the metatables. Idempotent; may raise (memory). */
void ljson_open(lua_State *L);

/* Pushes the value of `text`. LPH_EFORMAT: pushes nothing and fills `fault`. Owns no memory outside
 * Lua; may raise (memory, stack). `text` must outlive the call even though finalizers of Lua
 * objects can run during it. */
lph_err ljson_push(lua_State *L, lph_bytes text, ljson_fault *fault);

/* Appends the JSON text of the value at `index`. Tables are read raw. May raise (memory, stack), so
 * `out` must belong to a box. On failure `out` is as it was, one string is pushed, and *why is that
 * string: a sentence that names the place, such as "items[3].price: NaN has no JSON form".
 *   LPH_ETYPE  a value, key or table that has no JSON form; deeper than 512 levels; a cycle
 *   LPH_EFORMAT  a string that is not UTF-8
 *   LPH_ENOMEM */
lph_err ljson_encode(lua_State *L, int index, lph_buf *out, const char **why);

/* core.json_decode(text) -> value | nil, message, offset
 * core.json_encode(value) -> text | nil, message
 * core.json_array(array) -> array; the same table, marked as an array */
extern const luaL_Reg ljson_functions[];

#endif
