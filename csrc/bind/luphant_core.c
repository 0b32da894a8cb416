/* luphant_core.c - luaopen_luphant_core: the only door between Lua and C.
 * SPDX-License-Identifier: MIT */
#include "bind/bind.h"
#include "bind/lbatch.h"
#include "bind/lcell.h"
#include "bind/lcopy.h"
#include "bind/lerror.h"
#include "bind/ljson.h"
#include "bind/lresult.h"
#include "bind/lstream.h"
#include "bind/lvalue.h"
#include "crypto/crypto.h"

static const luaL_Reg own_functions[] = {{"connection", lconn_new},
                                         {"typemap", ltypemap_new},
                                         {"pool", lpool_new},
                                         {"batch", lbatch_new},
                                         {"set_error_metatable", lerror_set_metatable},
                                         {NULL, NULL}};

/* core.wrappers = { typed = metatable, json = metatable } for luphant.values */
static void add_wrappers(lua_State *L) {
  lua_createtable(L, 0, 2);
  luaL_getmetatable(L, LVALUE_TYPED);
  lua_setfield(L, -2, "typed");
  luaL_getmetatable(L, LVALUE_JSON);
  lua_setfield(L, -2, "json");
  lua_setfield(L, -2, "wrappers");
}

LPH_EXPORT int luaopen_luphant_core(lua_State *L);

int luaopen_luphant_core(lua_State *L) {
  lph_crypto_prepare();
  lua_newtable(L);
  luaL_setfuncs(L, own_functions, 0);
  luaL_setfuncs(L, lpoll_functions, 0);
  luaL_setfuncs(L, lsignal_functions, 0);
  luaL_setfuncs(L, lnest_functions, 0);
  luaL_setfuncs(L, lnginx_functions, 0);
  luaL_setfuncs(L, lcrypto_functions, 0);
  luaL_setfuncs(L, lfacts_functions, 0);
  luaL_setfuncs(L, ltesting_functions, 0);
  luaL_setfuncs(L, ljson_functions, 0);
  lcell_push_null(L);
  lua_setfield(L, -2, "NULL");
  lfacts_open(L);
  ljson_open(L);
  lcell_open(L);
  lvalue_open(L);
  lresult_open(L);
  lcopy_open(L);
  lstream_open(L);
  lcancel_open(L);
  lnginx_open(L);
  lnest_open(L);
  ltypemap_open(L);
  lconn_open(L);
  lpool_open(L);
  lbatch_open(L);
  add_wrappers(L);
  return 1;
}
