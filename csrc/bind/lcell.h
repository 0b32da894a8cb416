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
  int depth; /* of nested values, while one is being read */
  /* Stack slots, 0 where there is none: */
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

#endif
