/* lvalue.h - Lua value -> parameter, by the type the server wants.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LVALUE_H
#define LPH_LVALUE_H

#include "base/error.h"
#include "bind/compat.h"
#include "core/params.h"
#include "types/type.h"

#define LVALUE_TYPED "luphant.typed" /* metatable of luphant.typed(v, "int8"): { value =, oid = } */
#define LVALUE_JSON "luphant.json"   /* metatable of luphant.json(v): { value = } */
#define LVALUE_DEPTH 32              /* values nested deeper than this are refused */

typedef struct lvalue {
  const lph_typemap *types;
  int codecs;     /* stack slot as in lcell.h, or 0 */
  int cjson;      /* stack slot of a function value -> text (json = "cjson"), or 0 */
  lph_buf *level; /* LVALUE_DEPTH scratch buffers of a box */
  lph_error *error;
} lvalue;

/* Pushes nothing. Encodes the value at absolute index `at` as parameter number `number` (from 1).
 * LPH_EFAIL: x->error names parameter, expected type and what is wrong. May raise (memory; a codec of
 * the user). Long strings are lent: the Lua value must stay on the stack until the statement is sent. */
lph_err lvalue_put(lua_State *L, lvalue *x, int at, const lph_type *type, lph_params *params, int number);

/* Is the value at `at` a luphant.typed wrapper? Then *oid is its type. */
bool lvalue_typed_oid(lua_State *L, int at, lph_oid *oid);
void lvalue_open(lua_State *L);

#endif
