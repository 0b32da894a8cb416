/* lcell.h - one cell of a result -> one Lua value.
 *
 * All policies of "what becomes what" stand here: int8 on LuaJIT, numeric, json, dates, arrays.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LCELL_H
#define LPH_LCELL_H

#include "bind/compat.h"
#include "types/type.h"

enum { LINT8_AUTO, LINT8_STRING, LINT8_NUMBER, LINT8_CDATA };
enum { LNUMERIC_STRING, LNUMERIC_NUMBER };
enum { LJSON_TABLE, LJSON_TEXT, LJSON_CJSON };
enum { LDATETIME_TEXT, LDATETIME_TABLE, LDATETIME_EPOCH };

typedef struct lcell_options {
  unsigned char int8, numeric, json, datetime;
  bool raw; /* every value is the text that came; the others mean nothing then */
} lcell_options;

typedef struct lcell {
  lcell_options options;
  const lph_typemap *types;
  lph_buf *scratch; /* belongs to a box: Lua errors may pass */
  bool binary;
  bool plain; /* neither raw nor codecs: what lcell_push_common needs */
  int depth;  /* of nested values, while one is being read */
  /* Stack slots or upvalues, 0 where there is none: */
  int codecs; /* table: OID -> { decode =, encode = } */
  int json;   /* function text -> value (json = "cjson") */
  int int64;  /* function (high, low) -> cdata (int8 = "cdata") */
  /* After a failure: */
  const char *why;
  bool outdated; /* a user type is not what it was when it was looked up */
} lcell;

/* NULL as it stands where nil cannot: light userdata NULL, the same as cjson.null and ngx.null. */
#define lcell_push_null(L) lua_pushlightuserdata(L, NULL)

void lcell_open(lua_State *L);

/* Pushes the value of one non-NULL cell of type `type` (NULL: unknown, text only). False: pushed
 * nothing, x->why says in a half-sentence what is wrong. May raise (memory; a codec of the user). */
bool lcell_push(lua_State *L, lcell *x, const lph_type *type, const char *data, size_t len);

/* What most cells are, without a call of ours; `x->plain`. False: pushed nothing, lcell_push knows what to do. */
static LPH_INLINE bool lcell_push_common(lua_State *L, const lcell *x, uint8_t kind, const char *p,
                                         size_t n) {
  double real;
  uint64_t bits;
  switch (kind) {
    case LPH_TEXT: lua_pushlstring(L, p, n); return true;
    case LPH_INT4:
      if (!x->binary || n != 4) return false;
      lua_pushinteger(L, (int32_t)lph_get_u32(p));
      return true;
    case LPH_INT8:
      if (!LCOMPAT_HAS_INTEGERS || !x->binary || n != 8 || x->options.int8 != LINT8_AUTO) return false;
      lua_pushinteger(L, (lua_Integer)lph_get_u64(p));
      return true;
    case LPH_FLOAT8:
      if (!x->binary || n != 8) return false;
      bits = lph_get_u64(p);
      memcpy(&real, &bits, sizeof real);
      lua_pushnumber(L, real);
      return true;
    case LPH_BOOL:
      if (n != 1) return false;
      lua_pushboolean(L, x->binary ? p[0] != 0 : p[0] == 't');
      return true;
    default: return false;
  }
}

#endif
