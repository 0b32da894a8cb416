/* lnotify.h - a session that is there to listen (core/notify.h): methods of the connection's box.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LNOTIFY_H
#define LPH_LNOTIFY_H

#include "bind/compat.h"

int lnotify_begin(lua_State *L);
int lnotify_hear(lua_State *L);
int lnotify_next(lua_State *L);
int lnotify_has_input(lua_State *L);
int lnotify_end(lua_State *L);

#define LNOTIFY_METHODS \
  {"hear_end", lnotify_end}, { "has_input", lnotify_has_input }

/* They read libpq's memory or the connection's record: they go through lenter.h. */
#define LNOTIFY_ENTERED                                                              \
  {"hear_begin", lnotify_begin, false, NULL}, {"hear", lnotify_hear, false, NULL}, { \
    "next_notification", lnotify_next, false, NULL                                   \
  }

#endif
