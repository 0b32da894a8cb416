/* bare.c - poll(2) for several descriptors, for the benchmark's own event loop (bare.lua).
 *
 *   poll(fds, n, seconds, ready) -> count    waits until one of fds[1 ... n] can be read; seconds < 0: for ever.
 *                                            ready[1 ... count] are those that can.
 *
 * SPDX-License-Identifier: MIT */
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>

#define MOST 256

static int bare_poll(lua_State *L) {
  struct pollfd set[MOST];
  int n = (int)luaL_checkinteger(L, 2), count = 0;
  double seconds = luaL_checknumber(L, 3);
  if (n > MOST) return luaL_error(L, "too many descriptors");
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 1, i + 1);
    set[i] = (struct pollfd){(int)lua_tointeger(L, -1), POLLIN, 0};
    lua_pop(L, 1);
  }
  poll(set, (nfds_t)n, seconds < 0 ? -1 : (int)(seconds * 1000 + 1));
  for (int i = 0; i < n; i++) {
    if (set[i].revents == 0) continue;
    lua_pushinteger(L, set[i].fd);
    lua_rawseti(L, 4, ++count);
  }
  lua_pushinteger(L, count);
  return 1;
}

int luaopen_bench_loops_bare_core(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, bare_poll);
  lua_setfield(L, -2, "poll");
  return 1;
}
