/* lrun.h - the methods of a connection's box that run statements. Their contract is in lrun.c.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LRUN_H
#define LPH_LRUN_H

#include "bind/lconn.h"

int lconn_run(lua_State *L);
int lconn_rerun(lua_State *L);
int lconn_script(lua_State *L);
int lconn_step(lua_State *L);
int lconn_take(lua_State *L);

void lrun_push_mark(lua_State *L); /* core.PENDING */

#endif
