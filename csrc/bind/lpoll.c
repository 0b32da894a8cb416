/* lpoll.c - poll(2) and the clock, for the plain waiter.
 *
 *   core.poll(fd, events [, seconds]) -> "r" | "w" | "rw" | nil
 *   core.poll_any(descriptors, wants [, seconds]) -> table | nil; index -> events that are ready
 *   core.now() -> seconds; on the monotonic clock
 *
 * SPDX-License-Identifier: MIT */
#include <poll.h>

#include "base/clock.h"
#include "bind/bind.h"

/* May raise: the argument `arg`, or what it holds, is no such word. */
static short read_events(lua_State *L, int at, int arg) {
  if (lua_type(L, at) != LUA_TSTRING) luaL_argerror(L, arg, "\"r\", \"w\" or \"rw\" expected");
  const char *s = lua_tostring(L, at);
  short events = 0;
  for (; *s != '\0'; s++) {
    if (*s != 'r' && *s != 'w') luaL_argerror(L, arg, "\"r\", \"w\" or \"rw\" expected");
    events |= *s == 'r' ? POLLIN : POLLOUT;
  }
  return events;
}

static double read_deadline(lua_State *L, int at) {
  if (lua_isnoneornil(L, at)) return LPH_NEVER;
  double seconds = luaL_checknumber(L, at);
  return lph_deadline(seconds < 0 ? 0 : seconds);
}

/* Errors and hang-ups count as ready: the next read tells. */
static const char *ready_events(const struct pollfd *p) {
  bool broken = (p->revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
  bool r = (p->revents & POLLIN) || (broken && (p->events & POLLIN));
  bool w = (p->revents & POLLOUT) || (broken && (p->events & POLLOUT));
  return r && w ? "rw" : w ? "w" : "r";
}

/* fd -1 only waits. nil: the time is over, or a signal came (the caller's loop runs its handlers and
 * looks at the clock). Seconds nil = no limit. */
static int lpoll_poll(lua_State *L) {
  struct pollfd p = {(int)luaL_checkinteger(L, 1), 0, 0};
  p.events = read_events(L, 2, 2);
  int n = poll(&p, p.fd < 0 ? 0 : 1, lph_poll_ms(read_deadline(L, 3)));
  if (n <= 0) return lua_pushnil(L), 1;
  lua_pushstring(L, ready_events(&p));
  return 1;
}

static struct pollfd *read_descriptors(lua_State *L, size_t count) {
  struct pollfd *list = lua_newuserdata(L, (count + 1) *
                                             sizeof *list); /* the collector's: anything below may raise */
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, (int)i + 1);
    lua_rawgeti(L, 2, (int)i + 1);
    if (lua_type(L, -2) != LUA_TNUMBER) luaL_argerror(L, 1, "a list of descriptors expected");
    list[i] = (struct pollfd){(int)lua_tointeger(L, -2), read_events(L, -1, 2), 0};
    lua_pop(L, 2);
  }
  return list;
}

static int lpoll_any(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  double deadline = read_deadline(L, 3);
  size_t count = lua_rawlen(L, 1);
  struct pollfd *list = read_descriptors(L, count);
  int n = poll(list, (nfds_t)count, lph_poll_ms(deadline));
  if (n <= 0) return lua_pushnil(L), 1;
  lua_createtable(L, 0, n);
  for (size_t i = 0; i < count; i++) {
    if (list[i].revents == 0) continue;
    lua_pushstring(L, ready_events(&list[i]));
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

static int lpoll_now(lua_State *L) {
  lua_pushnumber(L, lph_now());
  return 1;
}

const luaL_Reg lpoll_functions[] = {
  {"poll", lpoll_poll}, {"poll_any", lpoll_any}, {"now", lpoll_now}, {NULL, NULL}};
