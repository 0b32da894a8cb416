/* lshare.h - the methods of a connection's box that let single statements of many tasks ride on it. Their contract is
 * in lshare.c. SPDX-License-Identifier: MIT */
#ifndef LPH_LSHARE_H
#define LPH_LSHARE_H

#include "bind/lconn.h"

int lshare_begin(lua_State *L);
int lshare_end(lua_State *L);
int lshare_submit_gate(lua_State *L);
int lshare_submit(lua_State *L);
int lshare_collect_gate(lua_State *L);
int lshare_collect(lua_State *L);
int lshare_pump(lua_State *L);
int lshare_leave(lua_State *L);
int lshare_riders(lua_State *L);
int lshare_cancelling(lua_State *L);
int lshare_load(lua_State *L);

/* Of a ride whose answer is being made into Lua values: it is over. */
void lshare_end_taking(lconn *b);

#define LSHARE_METHODS                                                       \
  {"pump", lshare_pump}, {"leave", lshare_leave}, {"riders", lshare_riders}, \
    {"cancelling", lshare_cancelling}, {                                     \
    "load", lshare_load                                                      \
  }
#define LSHARE_ENTERED                                                                \
  {"share_begin", lshare_begin, false, NULL}, {"share_end", lshare_end, false, NULL}, \
    {"submit", lshare_submit, false, lshare_submit_gate}, {                           \
    "collect", lshare_collect, false, lshare_collect_gate                             \
  }

#endif
