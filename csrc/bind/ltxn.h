/* ltxn.h - methods of a connection's box that begin and end transactions (core/txn.h).
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LTXN_H
#define LPH_LTXN_H

#include "bind/compat.h"

int ltxn_begin(lua_State *L);
int ltxn_set(lua_State *L);
int ltxn_nest(lua_State *L);
int ltxn_release(lua_State *L);
int ltxn_end(lua_State *L);
int ltxn_run(lua_State *L);
int ltxn_committed(lua_State *L);
int ltxn_state(lua_State *L);
int ltxn_id(lua_State *L);

/* The others make error objects out of the connection's record: they go through lenter.h. */
#define LTXN_METHODS                                                                                    \
  {"txn_set", ltxn_set}, {"txn_nest", ltxn_nest}, {"txn_release", ltxn_release}, {"txn_end", ltxn_end}, \
    {"txn_committed", ltxn_committed}, {"txn_state", ltxn_state}, {                                     \
    "txn_id", ltxn_id                                                                                   \
  }

#endif
