/* bind.h - the inner menu: what the files of this room offer each other beyond their own headers.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_BIND_H
#define LPH_BIND_H

#include "bind/compat.h"

/* lconn.c */
void lconn_open(lua_State *L);
int lconn_new(lua_State *L); /* core.connection(options) -> connection */
/* lcancel.c */
void lcancel_open(lua_State *L);
int lcancel_start(lua_State *L); /* a method of the connection */
/* ltypemap.c */
void ltypemap_open(lua_State *L);
int ltypemap_new(lua_State *L);                             /* core.typemap() -> map */
struct lph_typemap *ltypemap_test(lua_State *L, int index); /* NULL when it is something else */
/* lpool.c */
void lpool_open(lua_State *L);
int lpool_new(lua_State *L); /* core.pool(options, seed) -> pool */
/* lpoll.c */
extern const luaL_Reg lpoll_functions[];
/* lnest.c */
extern const luaL_Reg lnest_functions[];
void lnest_open(lua_State *L);
/* lsignal.c */
extern const luaL_Reg lsignal_functions[];
/* lnginx.c */
struct lnginx;
struct lnginx *lnginx_test(lua_State *L, int index); /* NULL: something else */
extern const luaL_Reg lnginx_functions[];
void lnginx_open(lua_State *L);
/* lfacts.c */
extern const luaL_Reg lcrypto_functions[];
extern const luaL_Reg lfacts_functions[];
void lfacts_open(lua_State *L);
/* ltesting.c */
extern const luaL_Reg ltesting_functions[];

#endif
