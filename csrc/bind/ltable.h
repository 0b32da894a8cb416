/* ltable.h - Lua table -> text form of an array, composite, range, multirange, hstore or date.
 * The other half of lvalue.c. SPDX-License-Identifier: MIT */
#ifndef LPH_LTABLE_H
#define LPH_LTABLE_H

#include "bind/lvalue.h"

/* From lvalue.c: */
lph_err lvalue_refuse(lvalue *x, const char *why); /* sets x->error unless it is set; answers LPH_EFAIL */
bool lvalue_is_null(lua_State *L, int at);
bool lvalue_is_wrapped(lua_State *L, int at); /* by luphant.json or luphant.typed */
/* The value at absolute index `at` as it shall be sent, in its place: a luphant.typed wrapper gives way to its
 * value, and that to what the user's codec makes of it. Answers the type to send it as. May raise. */
const lph_type *lvalue_resolve(lua_State *L, const lvalue *x, int at, const lph_type *type);
bool lvalue_has_encoder(lua_State *L, const lvalue *x, const lph_type *type);
/* Appends the text of one non-NULL value that was resolved; `at` absolute. */
lph_err lvalue_text(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth);

/* Appends the text of the table at `at`. */
lph_err ltable_put(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth);
/* The same for a date, time, timestamp or interval (ldate.c). */
lph_err ldate_put(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out);

#endif
