/* lnest.c - many descriptors behind one, for an event loop that takes exception to some of them.
 *
 * libuv ends a poll handle whose socket has failed with EBADF, and luv prints that to the standard error: a connection
 * that the network resets would look like a fault of the program. So the loop watches one descriptor, that of an epoll
 * of ours, which is readable when any of those in it is ready; a failed one is.
 *
 * Each is watched once (ONESHOT): nothing happens between two waits, and nothing is remembered about a descriptor but a
 * generation, by which an event is known that is about an earlier one of the same number.
 *
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "base/mem.h"
#include "base/process.h"
#include "bind/bind.h"
#include "bind/lbox.h"

typedef struct lnest {
  bool open;
  int ep;
  long owner;
  uint32_t *generations; /* by descriptor */
  int room;
} lnest;

static const lbox_class lnest_class;

static lnest *check(lua_State *L) {
  lnest *b = lbox_self(L, 1, &lnest_class);
  if (!b->open) luaL_error(L, "this nest is closed");
  return b;
}

static int lnest__gc(lua_State *L) {
  lnest *b = lbox_self(L, 1, &lnest_class);
  if (!b->open) return 0;
  b->open = false;
  close(b->ep);
  lph_free(b->generations);
  b->generations = NULL;
  return 0;
}

/* nest:fd() -> fd; readable when take has something to tell */
static int lnest_fd(lua_State *L) {
  lua_pushinteger(L, check(L)->ep);
  return 1;
}

#ifdef __linux__

#define BATCH 64 /* what is left after that the loop reports again: ours stays readable */

static bool make_room(lnest *b, int fd) {
  if (fd < b->room) return true;
  int room = b->room < 64 ? 64 : b->room;
  while (room <= fd) room *= 2;
  uint32_t *grown = lph_regrow(b->generations, (size_t)room, sizeof *grown);
  if (grown == NULL) return false;
  memset(grown + b->room, 0, (size_t)(room - b->room) * sizeof *grown);
  b->generations = grown;
  b->room = room;
  return true;
}

/* After a fork the epoll is still the parent's, too: ours would change what it waits for. Another under the same
 * number. */
static void leave_parent(lnest *b) {
  int ep = epoll_create1(EPOLL_CLOEXEC);
  if (ep < 0) return;
  dup3(ep, b->ep, O_CLOEXEC);
  close(ep);
  b->owner = (long)lph_process_id();
}

static uint32_t read_events(lua_State *L, int at) {
  uint32_t events = EPOLLONESHOT;
  for (const char *s = luaL_checkstring(L, at); *s != '\0'; s++)
    events |= *s == 'w' ? EPOLLOUT : EPOLLIN | EPOLLRDHUP;
  return events;
}

/* Once; what was asked about the same number before is forgotten. false: it cannot be watched, because it is closed, or a
 * file, which is always ready.
 * nest:watch(fd, events) -> boolean */
static int lnest_watch(lua_State *L) {
  lnest *b = check(L);
  int fd = (int)luaL_checkinteger(L, 2);
  struct epoll_event event = {.events = read_events(L, 3)};
  if (fd < 0) return lua_pushboolean(L, 0), 1;
  if (!make_room(b, fd)) return luaL_error(L, "not enough memory");
  if (LPH_UNLIKELY(b->owner != (long)lph_process_id())) leave_parent(b);
  event.data.u64 = (uint64_t)++b->generations[fd] << 32 | (uint32_t)fd;
  int rc = epoll_ctl(b->ep, EPOLL_CTL_MOD, fd, &event);
  if (rc != 0 && errno == ENOENT) rc = epoll_ctl(b->ep, EPOLL_CTL_ADD, fd, &event);
  lua_pushboolean(L, rc == 0);
  return 1;
}

static const char *ready_events(uint32_t events) {
  bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  bool r = broken || (events & (EPOLLIN | EPOLLRDHUP)) != 0, w = broken || (events & EPOLLOUT) != 0;
  return r && w ? "rw" : w ? "w" : "r";
}

/* What is ready, and is not watched any more: list[1], list[2] = descriptor, events; and so on.
 * nest:take(list) -> count; how many */
static int lnest_take(lua_State *L) {
  lnest *b = check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  struct epoll_event list[BATCH];
  int n = epoll_wait(b->ep, list, BATCH, 0), count = 0;
  for (int i = 0; i < n; i++) {
    int fd = (int)(uint32_t)list[i].data.u64;
    if (fd >= b->room || b->generations[fd] != (uint32_t)(list[i].data.u64 >> 32)) continue;
    lua_pushinteger(L, fd);
    lua_rawseti(L, 2, ++count * 2 - 1);
    lua_pushstring(L, ready_events(list[i].events));
    lua_rawseti(L, 2, count * 2);
  }
  lua_pushinteger(L, count);
  return 1;
}

static int open_nest(void) { return epoll_create1(EPOLL_CLOEXEC); }

#else

static int lnest_watch(lua_State *L) { return check(L), lua_pushboolean(L, 0), 1; }
static int lnest_take(lua_State *L) { return check(L), lua_pushinteger(L, 0), 1; }
static int open_nest(void) { return -1; }

#endif

/* nil: this system has no epoll, or no descriptor is left.
 * core.nest() -> nest | nil */
static int lnest_new(lua_State *L) {
  lnest *b = lbox_new(L, &lnest_class, sizeof *b);
  b->ep = open_nest();
  b->open = b->ep >= 0;
  b->owner = (long)lph_process_id();
  if (!b->open) lua_pushnil(L);
  return 1;
}

static const luaL_Reg nest_methods[] = {
  {"fd", lnest_fd}, {"watch", lnest_watch}, {"take", lnest_take}, {NULL, NULL}};
static const luaL_Reg nest_meta[] = {{"__gc", lnest__gc}, {NULL, NULL}};
static const lbox_class lnest_class = {"luphant.core.nest", nest_methods, nest_meta};

const luaL_Reg lnest_functions[] = {{"nest", lnest_new}, {NULL, NULL}};

void lnest_open(lua_State *L) { lbox_open(L, &lnest_class); }
