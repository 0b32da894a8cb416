/* lpoll.c - poll(2) and the clock, for the plain waiter.
 *
 *   core.poll(fd, events [, seconds]) -> "r" | "w" | "rw" | nil
 *   core.now() -> seconds; on the monotonic clock
 *
 * SPDX-License-Identifier: MIT */
#include <poll.h>

#include "base/clock.h"
#include "bind/bind.h"

static short read_events(lua_State *L, int at) {
  const char *s = luaL_checkstring(L, at);
  short events = 0;
  for (; *s != '\0'; s++) {
    if (*s != 'r' && *s != 'w') luaL_argerror(L, at, "\"r\", \"w\" or \"rw\" expected");
    events |= *s == 'r' ? POLLIN : POLLOUT;
  }
  return events;
}

/* fd -1 only waits. nil: the time is over, or a signal came (the caller's loop runs its handlers and
 * looks at the clock). Seconds nil = no limit. Errors and hang-ups count as ready: the next read tells. */
static int lpoll_poll(lua_State *L) {
  struct pollfd p = {(int)luaL_checkinteger(L, 1), 0, 0};
  p.events = read_events(L, 2);
  double deadline = lua_isnoneornil(L, 3) ? LPH_NEVER
                                          : lph_deadline(luaL_checknumber(L, 3) < 0 ? 0 : lua_tonumber(L, 3));
  int n = poll(&p, p.fd < 0 ? 0 : 1, lph_poll_ms(deadline));
  if (n <= 0) return lua_pushnil(L), 1;
  bool broken = (p.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
  bool r = (p.revents & POLLIN) || (broken && (p.events & POLLIN));
  bool w = (p.revents & POLLOUT) || (broken && (p.events & POLLOUT));
  lua_pushstring(L, r && w ? "rw" : w ? "w" : "r");
  return 1;
}

static int lpoll_now(lua_State *L) {
  lua_pushnumber(L, lph_now());
  return 1;
}

const luaL_Reg lpoll_functions[] = {{"poll", lpoll_poll}, {"now", lpoll_now}, {NULL, NULL}};
