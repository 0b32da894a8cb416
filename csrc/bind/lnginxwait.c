/* lnginxwait.c - waiting in a semaphore of ngx_lua: for a descriptor, or for somebody who wakes one.
 *
 * A *slot* is a semaphore that Lua has made and keeps for ever - one that was given up could be posted all the same,
 * and wake a stranger - with the wait it is used for now. Its caller may be ended from outside at any time; then nobody
 * waits in the semaphore, which it can be asked. Lua knows a use of a slot by a number of its own (the *pass*), so that
 * what is left of one use does nothing to the next.
 *
 *   free --wait, park--> busy: Lua yields; again() sees what woke it --ready, woken, time over--> free
 *                                                                    --nothing yet--> yields once more
 *
 * Each wait arms its descriptor anew, which makes the kernel look again: what libpq has left in the socket is found
 * without a new edge. ONESHOT: between two waits nothing happens here whatever the server sends. Nothing is remembered
 * about a descriptor but a generation, by which an event that is late is known.
 *
 * A C call from Lua costs a tenth of what ngx.semaphore's methods do in code that is not compiled, and code that waits
 * is not: so a wait is two of them.
 *
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif

#include "base/clock.h"
#include "base/mem.h"
#include "bind/lnginx.h"

#define worker lnginx_worker

/* ---- events ------------------------------------------------------------------------------------------------------ */

#ifdef __linux__

#define BATCH 64 /* what is left after that nginx reports again: our epoll stays readable */

/* Tells the kernel what the slots of a descriptor want, once. Answers 0 or errno. */
static int arm(int fd) {
  watch *w = &worker.watches[fd];
  struct epoll_event event = {EPOLLONESHOT, {0}};
  for (const slot *s = w->first; s != NULL; s = s->next)
    event.events |= (s->wanted & POLLIN ? EPOLLIN | EPOLLRDHUP : 0u) | (s->wanted & POLLOUT ? EPOLLOUT : 0u);
  event.data.u64 = (uint64_t)++w->generation << 32 | (uint32_t)fd;
  if (epoll_ctl(worker.ep, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
  if (errno != ENOENT) return errno; /* a descriptor that was closed is not in there any more */
  return epoll_ctl(worker.ep, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void lnginx_unlink_slot(slot *s) {
  if (!s->waiting) return;
  s->waiting = false;
  slot **at = &worker.watches[s->fd].first;
  while (*at != s) at = &(*at)->next;
  *at = s->next;
}

static void deliver(const struct epoll_event *event) {
  int fd = (int)(uint32_t)event->data.u64;
  if (fd >= worker.room || worker.watches[fd].generation != (uint32_t)(event->data.u64 >> 32)) return;
  bool broken = (event->events & (EPOLLERR | EPOLLHUP)) != 0;
  short ready = (short)((broken || (event->events & (EPOLLIN | EPOLLRDHUP)) ? POLLIN : 0) |
                        (broken || (event->events & EPOLLOUT) ? POLLOUT : 0));
  for (slot *s = worker.watches[fd].first, *next; s != NULL; s = next) {
    next = s->next;
    s->ready = s->wanted & ready;
    if (s->ready == 0) continue;
    lnginx_unlink_slot(s);
    s->owner->x.sema_post(s->sem, 1);
  }
  if (worker.watches[fd].first != NULL) arm(fd);
}

static void on_ready(void *event) {
  (void)event;
  struct epoll_event list[BATCH];
  int n = epoll_wait(worker.ep, list, BATCH, 0);
  for (int i = 0; i < n; i++) deliver(&list[i]);
}

static const char *start(const nginx_exports *x) {
  int ep = epoll_create1(EPOLL_CLOEXEC), bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const char *why = NULL;
  if (ep < 0 || bell < 0) {
    why = "no descriptors are left";
  } else if (x->add_channel_event(*x->cycle, ep, EPOLLIN | EPOLLRDHUP, on_ready) != 0) {
    why = "nginx takes no more connections (worker_connections)";
  }
  if (why == NULL) {
    worker.ep = ep;
    worker.bell = bell;
    worker.started = true;
    return NULL;
  }
  if (ep >= 0) close(ep);
  if (bell >= 0) close(bell);
  return why;
}

#else

static int arm(int fd) { return (void)fd, ENOSYS; }
void lnginx_unlink_slot(slot *s) { s->waiting = false; }
static const char *start(const nginx_exports *x) { return (void)x, "this system has no epoll"; }

#endif

/* Once in a worker, whichever state is first. The boolean: may it be better later?
 * nginx:start() -> true | nil, text, boolean */
int lnginx_start(lua_State *L) {
  lnginx *b = lnginx_check(L);
  lua_pushnil(L);
  if (b->missing != NULL) {
    lua_pushfstring(L, "this nginx does not export %s", b->missing);
    return lua_pushboolean(L, 0), 3;
  }
  const char *why = worker.started ? NULL : start(&b->x);
  if (why == NULL) return lua_pushboolean(L, 1), 1;
  lua_pushstring(L, why);
  return lua_pushboolean(L, 1), 3;
}

/* nginx:bell() -> integer; a descriptor that is always ready to be written to */
int lnginx_bell(lua_State *L) {
  lnginx_check(L);
  lua_pushinteger(L, worker.bell);
  return 1;
}

/* ---- slots ------------------------------------------------------------------------------------------------------- */

#define SLOTS_BITS 20 /* a pass is use * 2^20 + number, exact in a double */

static void push_pass(lua_State *L, const slot *s) {
  lua_pushnumber(L, (double)((uint64_t)s->use << SLOTS_BITS | (uint32_t)s->number));
}

/* NULL: that use of the slot is over. */
static slot *slot_of(lua_State *L, lnginx *b, int at) {
  uint64_t pass = (uint64_t)luaL_checknumber(L, at);
  int number = (int)(pass & ((1u << SLOTS_BITS) - 1));
  if (number >= b->count) luaL_error(L, "no slot %d", number);
  slot *s = b->slots[number];
  return s->busy && s->use == (uint32_t)(pass >> SLOTS_BITS) ? s : NULL;
}

slot *lnginx_take_slot(lnginx *b) {
  slot *s = b->free;
  b->free = s->next;
  s->use++;
  s->busy = true;
  s->ready = 0;
  s->woken = s->awake = false;
  return s;
}

/* What was posted and nobody has taken would end the next wait at once. */
void lnginx_release_slot(lua_State *L, slot *s) {
  lnginx *b = s->owner;
  lnginx_unlink_slot(s);
  if (b->x.sema_count(s->sem) > 0) {
    unsigned char message[128];
    size_t length = sizeof message;
    void *request = b->x.get_request(L);
    while (request != NULL && b->x.sema_wait(request, s->sem, 0, message, &length) == 0) {
    }
  }
  s->busy = false;
  s->next = b->free;
  b->free = s;
}

/* Its caller is gone: who waits makes the count negative, and who was woken takes what was posted. */
bool lnginx_is_dead(const slot *s) {
  if (s->awake) return false;
  return s->owner->x.sema_count(s->sem) > (s->woken || s->ready != 0 ? 0 : -1);
}

void lnginx_rouse(slot *s) {
  s->woken = true;
  s->owner->x.sema_post(s->sem, 1);
}

/* One more slot, free.
 * nginx:slot(semaphore) */
int lnginx_slot(lua_State *L) {
  lnginx *b = lnginx_check(L);
  void *sem = (void *)(uintptr_t)luaL_checknumber(L, 2);
  if (b->count >= 1 << SLOTS_BITS) return luaL_error(L, "too many tasks wait");
  if (b->count == b->room) {
    int room = b->room < 16 ? 16 : 2 * b->room;
    slot **grown = lph_regrow(b->slots, (size_t)room, sizeof *grown);
    if (grown == NULL) return luaL_error(L, "not enough memory");
    b->slots = grown;
    b->room = room;
  }
  slot *s = lph_zalloc(sizeof *s);
  if (s == NULL) return luaL_error(L, "not enough memory");
  s->owner = b;
  s->sem = sem;
  s->number = b->count;
  s->next = b->free;
  b->free = s;
  b->slots[b->count++] = s;
  return 0;
}

/* Frees slots whose callers were ended; not at every call: it looks at all of them.
 * nginx:sweep() -> boolean; are there free ones now? */
int lnginx_sweep(lua_State *L) {
  lnginx *b = lnginx_check(L);
  if (b->count >= 2 * b->live + 16) {
    b->live = 0;
    for (int i = 0; i < b->count; i++) {
      slot *s = b->slots[i];
      if (s->busy && lnginx_is_dead(s)) lnginx_release_slot(L, s);
      if (s->busy) b->live++;
    }
  }
  lua_pushboolean(L, b->free != NULL);
  return 1;
}

/* ---- waits ------------------------------------------------------------------------------------------------------- */

enum { SEMA_OK = 0, SEMA_AGAIN = -2, SEMA_DECLINED = -5 }; /* NGX_OK ... */

/* Seconds of one sleep: its timer keeps an exiting worker until we are through. */
#define LONGEST 60.0
#define BRIEF 1.0

/* While there is something to look at now and then.
 * nginx:brief(on) */
int lnginx_brief(lua_State *L) {
  lnginx_check(L)->brief = lua_toboolean(L, 2);
  return 0;
}

/* Events have been tried out, and arrive.
 * nginx:ready(on) */
int lnginx_ready(lua_State *L) {
  lnginx_check(L)->ready = lua_toboolean(L, 2);
  return 0;
}

/* A number, which costs a twentieth of a string. */
static int push_ready(lua_State *L, short ready) {
  return lua_pushinteger(L, ready == POLLIN ? 1 : ready == POLLOUT ? 2 : 3), 1;
}

lnginx_nap lnginx_doze(lua_State *L, slot *s, double deadline) {
  double longest = s->owner->brief ? BRIEF : LONGEST;
  while (true) {
    if (s->ready != 0 || s->woken) return LNGINX_AWAKE;
    double left = deadline >= 0 ? deadline - lph_now() : longest;
    if (left <= 0) return LNGINX_LATE;
    unsigned char message[128];
    size_t length = sizeof message;
    void *request = s->owner->x.get_request(L);
    if (request == NULL) return LNGINX_CANNOT;
    /* Milliseconds are what nginx counts in; one that is begun counts. */
    int ms = (int)ceil((left < longest ? left : longest) * 1e3);
    int rc = s->owner->x.sema_wait(request, s->sem, ms, message, &length);
    if (rc == SEMA_AGAIN) return LNGINX_ASLEEP;
    if (rc != SEMA_OK && rc != SEMA_DECLINED) return LNGINX_CANNOT;
  }
}

/* What a busy slot has come to: over (and free), or asleep: the caller is to yield at once. Deadlines are lph_now()'s,
 * at index `at`; nil: none. Pushes as again() answers. */
static int sleep_on(lua_State *L, slot *s, int at) {
  double deadline = lua_isnoneornil(L, at) ? -1 : fmax(luaL_checknumber(L, at), 0);
  lnginx_nap nap = lnginx_doze(L, s, deadline);
  if (LPH_LIKELY(nap == LNGINX_ASLEEP)) {
    lua_pushnil(L);
    push_pass(L, s);
    return 2;
  }
  short ready = s->ready;
  bool woken = s->woken;
  lnginx_release_slot(L, s);
  if (nap == LNGINX_CANNOT) return lua_pushnil(L), 1;
  if (ready != 0) return push_ready(L, ready);
  lua_pushboolean(L, woken);
  return 1;
}

bool lnginx_make_room(int fd) {
  if (fd < worker.room) return true;
  int room = worker.room < 64 ? 64 : worker.room;
  while (room <= fd) room *= 2;
  watch *grown = lph_regrow(worker.watches, (size_t)room, sizeof *grown);
  if (grown == NULL) return false;
  memset(grown + worker.room, 0, (size_t)(room - worker.room) * sizeof *grown);
  worker.watches = grown;
  worker.room = room;
  return true;
}

static short read_events(lua_State *L, int at) {
  short events = 0;
  for (const char *s = luaL_checkstring(L, at); *s != '\0'; s++) events |= *s == 'w' ? POLLOUT : POLLIN;
  return events;
}

bool lnginx_watch(slot *s, int fd, short wanted) {
  s->fd = fd;
  s->wanted = wanted;
  s->next = worker.watches[fd].first;
  worker.watches[fd].first = s;
  s->waiting = true;
  if (arm(fd) == 0) return true;
  lnginx_unlink_slot(s);
  return false;
}

/* Sleeps until the descriptor is ready. A descriptor that cannot be waited for is closed, or a file, which is always
 * ready: the next read tells. Answers as again(); and 0: there is no free slot, nothing has happened; nil alone: nginx
 * suspends nothing here.
 * nginx:wait(fd, events [, deadline]) -> integer | false | nil, pass */
int lnginx_wait(lua_State *L) {
  lnginx *b = lnginx_check(L);
  int fd = (int)luaL_checkinteger(L, 2);
  short wanted = read_events(L, 3);
  lua_settop(L, 4);
  if (!lua_isnil(L, 4)) luaL_checknumber(L, 4);
  if (LPH_UNLIKELY(!lua_isyieldable(L))) return lua_pushnil(L), 1;
  if (b->free == NULL) return lua_pushinteger(L, 0), 1;
  if (fd < 0) return push_ready(L, wanted);
  if (!lnginx_make_room(fd)) return luaL_error(L, "not enough memory");
  slot *s = lnginx_take_slot(b);
  if (LPH_LIKELY(lnginx_watch(s, fd, wanted))) return sleep_on(L, s, 4);
  lnginx_release_slot(L, s);
  return push_ready(L, wanted);
}

/* Sleeps until somebody wakes the pass. Answers as wait().
 * nginx:park([deadline]) -> true | false | integer | nil, pass */
int lnginx_park(lua_State *L) {
  lnginx *b = lnginx_check(L);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) luaL_checknumber(L, 2);
  if (LPH_UNLIKELY(!lua_isyieldable(L))) return lua_pushnil(L), 1;
  if (b->free == NULL) return lua_pushinteger(L, 0), 1;
  return sleep_on(L, lnginx_take_slot(b), 2);
}

/* The caller has yielded and runs again. 1, 2, 3: ready to be read, written, both; true: was woken; false: the deadline
 * has passed; nil and a pass: nothing of it, yield again; nil alone: that use of the slot is over.
 * nginx:again(pass [, deadline]) -> integer | true | false | nil, pass */
int lnginx_again(lua_State *L) {
  lnginx *b = lnginx_check(L);
  slot *s = slot_of(L, b, 2);
  lua_settop(L, 3);
  if (LPH_UNLIKELY(s == NULL)) return lua_pushnil(L), 1;
  return sleep_on(L, s, 3);
}

/* Lets the one who parked with this pass go on; false: he is gone.
 * nginx:wake(pass) -> boolean */
int lnginx_wake(lua_State *L) {
  lnginx *b = lnginx_check(L);
  slot *s = slot_of(L, b, 2);
  bool there = s != NULL && !lnginx_is_dead(s);
  if (there) {
    lnginx_rouse(s);
  } else if (s != NULL) {
    lnginx_release_slot(L, s);
  }
  lua_pushboolean(L, there);
  return 1;
}

/* nginx:is_over(pass) -> boolean; nobody waits with it any more */
int lnginx_is_over(lua_State *L) {
  lnginx *b = lnginx_check(L);
  slot *s = slot_of(L, b, 2);
  bool over = s == NULL || lnginx_is_dead(s);
  if (over && s != NULL) lnginx_release_slot(L, s);
  lua_pushboolean(L, over);
  return 1;
}
