/* lnotify.c - see lnotify.h. SPDX-License-Identifier: MIT */
#include "bind/lnotify.h"

#include "bind/lconn.h"
#include "bind/lenter.h"
#include "bind/lerror.h"
#include "core/notify.h"

static lconn *inside(lua_State *L) { return lua_touserdata(L, 1); } /* lenter.c has checked it */

/* From now on notifications are kept, and fd answers a descriptor that stays open. With `statements` these go on, too.
 * conn:hear_begin([statements]) -> true | nil, err */
int lnotify_begin(lua_State *L) {
  lconn *b = inside(L);
  if (lph_notify_begin(&b->c, lua_toboolean(L, 2)) != LPH_OK) return lerror_push(L, &b->c.error, 0);
  lua_pushboolean(L, 1);
  return 1;
}

/* conn:hear() -> true | nil, err; reads what is there, between operations. nil: the session is lost */
int lnotify_hear(lua_State *L) {
  lconn *b = inside(L);
  if (lph_notify_hear(&b->c) == LPH_FAILED) return lerror_push(L, &b->c.error, 0);
  lua_pushboolean(L, 1);
  return 1;
}

/* conn:next_notification() -> channel, payload, pid | nil; the oldest one */
int lnotify_next(lua_State *L) {
  lconn *b = inside(L);
  const PGnotify *n = lph_notify_peek(&b->c);
  if (n == NULL) return 0;
  /* It stays the connection's until its texts are Lua's: making them may raise. */
  lua_pushstring(L, n->relname);
  lua_pushstring(L, n->extra);
  lua_pushinteger(L, n->be_pid);
  lph_notify_drop(&b->c);
  return 3;
}

/* conn:has_input() -> boolean; of a listening connection: is there input that waiting would not tell of */
int lnotify_has_input(lua_State *L) {
  const lconn *b = lbox_self(L, 1, &lconn_class);
  lua_pushboolean(L, lph_notify_has_input(&b->c));
  return 1;
}

/* conn:hear_end(); closes the session, and the descriptor, for which nobody may wait any more */
int lnotify_end(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  lenter_close(b);
  if (!b->entered) lph_notify_end(&b->c);
  return 0;
}
