/* ltrip.h - verbs of a pool inside of nginx; see ltrip.c.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LTRIP_H
#define LPH_LTRIP_H

#include "bind/lpool.h"

extern const luaL_Reg ltrip_methods[];
void ltrip_push_mark(lua_State *L); /* core.LATE */

void ltrip_init(lpool *b);
void ltrip_clear(lpool *b); /* in __gc */

/* Room on the stack for what may come then. May raise. */
void ltrip_reserve(lua_State *L);
/* A slot was given to the ticket. If a trip holds that it goes on, or is found dead and the slot given to the next.
 * Answers what lph_pool_give does, tickets only of others. ltrip_reserve comes first. */
int ltrip_serve(lua_State *L, lpool *b, int slot, int ticket, double now);
/* The slot is taken away from whoever runs a verb there. */
void ltrip_detach(lpool *b, int slot);
/* Sends the first in the queue away, to start anew, if it is a trip. */
bool ltrip_dismiss(lpool *b);

#endif
