/* lnginx.c - the nginx side of waiting: one epoll of ours inside the event loop of an nginx worker.
 *
 *      nginx's epoll                 ours                          Lua (wait/openresty.lua)
 *      ... sockets of nginx          a socket somebody waits for    sem:wait(t)
 *      our epoll, level-triggered    EPOLLONESHOT, armed for each   ^
 *          |                         wait                           |
 *          '-> on_ready: epoll_wait(ours), notes what is ready, posts the semaphore of whoever waits
 *
 * No header and no struct of nginx is used, only functions that nginx and ngx_lua export; dlsym finds them. Where one is
 * missing there is no box, and the Lua side polls.
 *
 * A *slot* is a semaphore that Lua has made and keeps for ever, with the wait it is used for now. Each wait arms its
 * descriptor anew, which makes the kernel look again: what libpq has left in the socket is found without a new edge.
 * ONESHOT: between two waits nothing happens here whatever the server sends. Nothing is remembered about a descriptor
 * but a generation, by which an event that is late is known.
 *
 * The *guard*: a request may end without its coroutines running another line. Whoever holds something for a request
 * has it counted in the request's record, and the record's cleanup handler wakes the janitor (wait/nginxguard.lua) when
 * the request ends before it was given back. Handlers run in nginx's main thread and never touch Lua.
 *
 * What belongs to a Lua state lives in its nginx: with lua_code_cache off states come and go while the worker, its epoll
 * and this file stay (the object is linked nodelete).
 *
 * SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif

#include "base/list.h"
#include "base/mem.h"
#include "base/process.h"
#include "bind/bind.h"
#include "bind/lbox.h"

/* The first members of ngx_http_cleanup_t and ngx_stream_lua_cleanup_t. */
typedef struct nginx_cleanup {
  void (*handler)(void *data);
  void *data;
} nginx_cleanup;

typedef struct nginx_exports {
  void **cycle; /* the variable ngx_cycle */
  intptr_t (*add_channel_event)(void *cycle, int fd, intptr_t event, void (*handler)(void *event));
  int (*sema_post)(void *sem, int n);
  nginx_cleanup *(*cleanup_add)(void *request, size_t size);
} nginx_exports;

typedef struct lnginx lnginx;

typedef struct slot {
  lnginx *owner;
  void *sem;
  struct slot *next; /* others that wait for the same descriptor */
  int fd;
  short wanted, ready; /* POLLIN, POLLOUT */
  bool waiting;
} slot;

typedef struct record {
  struct record *next; /* in its bucket */
  lph_list link;       /* in the box's records, or in its ended ones */
  lnginx *owner;       /* NULL: its Lua state is gone */
  void *request;
  double serial;
  int count; /* things held for the request */
} record;

struct lnginx {
  nginx_exports x;
  slot **slots;
  int count, room;
  void *janitor; /* semaphore */
  lph_list records, ended;
  int guarded; /* sum of the counts */
  double serial;
  pid_t pid;
  unsigned state; /* which one of its subsystem in this worker */
  int subsystem;
  bool open;
};

typedef struct watch {
  slot *first;
  uint32_t generation;
} watch;

#define BUCKETS 512

/* Of this worker, whatever Lua states it has. */
static struct {
  pid_t owner;
  int ep, bell;
  bool started;
  watch *watches; /* by descriptor */
  int room;
  unsigned states[2]; /* http, stream */
  record *buckets[BUCKETS];
} worker;

static const lbox_class nginx_class;

/* The master's Lua state, and what it may have made there, goes on in each worker; nothing it has waited for does. */
static void settle_in(lnginx *b) {
  pid_t pid = lph_process_id();
  if (worker.owner != pid) {
    lph_free(worker.watches);
    memset(&worker, 0, sizeof worker);
    worker.owner = pid;
    worker.ep = worker.bell = -1;
  }
  b->pid = pid;
  b->state = ++worker.states[b->subsystem];
  for (int i = 0; i < b->count; i++) b->slots[i]->waiting = false;
}

static lnginx *check(lua_State *L) {
  lnginx *b = lbox_self(L, 1, &nginx_class);
  if (!b->open) luaL_error(L, "the Lua state is being closed");
  if (LPH_UNLIKELY(b->pid != lph_process_id())) settle_in(b);
  return b;
}

/* ---- what nginx offers ----------------------------------------------------------------------------------------- */

static const char *find_exports(nginx_exports *x, bool http) {
  const char *const names[] = {"ngx_cycle", "ngx_add_channel_event",
                               http ? "ngx_http_lua_ffi_sema_post" : "ngx_stream_lua_ffi_sema_post",
                               http ? "ngx_http_cleanup_add" : "ngx_stream_lua_cleanup_add"};
  void *found[lph_countof(names)];
  for (size_t i = 0; i < lph_countof(names); i++) {
    found[i] = dlsym(RTLD_DEFAULT, names[i]);
    if (found[i] == NULL) return names[i];
  }
  /* POSIX says a function pointer survives the way through void *; ISO C wants it copied. */
  x->cycle = found[0];
  memcpy(&x->add_channel_event, &found[1], sizeof found[1]);
  memcpy(&x->sema_post, &found[2], sizeof found[2]);
  memcpy(&x->cleanup_add, &found[3], sizeof found[3]);
  return NULL;
}

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

static void unlink_slot(slot *s) {
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
    unlink_slot(s);
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
static void unlink_slot(slot *s) { s->waiting = false; }
static const char *start(const nginx_exports *x) { return (void)x, "this system has no epoll"; }

#endif

/* nginx:start() -> true | nil, text; once in a worker, whichever state is first */
static int lnginx_start(lua_State *L) {
  lnginx *b = check(L);
  const char *why = worker.started ? NULL : start(&b->x);
  if (why == NULL) return lua_pushboolean(L, 1), 1;
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

/* ---- slots ------------------------------------------------------------------------------------------------------- */

static void *check_pointer(lua_State *L, int at) { return (void *)(uintptr_t)luaL_checknumber(L, at); }

static slot *check_slot(lua_State *L, lnginx *b) {
  int number = (int)luaL_checkinteger(L, 2);
  if (number < 1 || number > b->count) luaL_error(L, "no slot %d", number);
  return b->slots[number - 1];
}

/* nginx:slot(semaphore) -> integer */
static int lnginx_slot(lua_State *L) {
  lnginx *b = check(L);
  void *sem = check_pointer(L, 2);
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
  b->slots[b->count++] = s;
  lua_pushinteger(L, b->count);
  return 1;
}

static bool make_room(int fd) {
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

/* From now on the slot's semaphore is posted when the descriptor is ready; once.
 * nginx:await(slot, fd, events) -> boolean; false: it cannot be waited for: closed, or a file, which is always ready */
static int lnginx_await(lua_State *L) {
  lnginx *b = check(L);
  slot *s = check_slot(L, b);
  int fd = (int)luaL_checkinteger(L, 3);
  short wanted = read_events(L, 4);
  unlink_slot(s);
  s->ready = 0;
  if (fd < 0) return lua_pushboolean(L, 0), 1;
  if (!make_room(fd)) return luaL_error(L, "not enough memory");
  s->fd = fd;
  s->wanted = wanted;
  s->next = worker.watches[fd].first;
  worker.watches[fd].first = s;
  s->waiting = true;
  bool armed = arm(fd) == 0;
  if (!armed) unlink_slot(s);
  lua_pushboolean(L, armed);
  return 1;
}

/* nginx:ready(slot) -> "r" | "w" | "rw" | nil */
static int lnginx_ready(lua_State *L) {
  short ready = check_slot(L, check(L))->ready;
  if (ready == 0) return 0;
  lua_pushstring(L, ready == POLLIN ? "r" : ready == POLLOUT ? "w" : "rw");
  return 1;
}

/* nginx:stop(slot); nobody waits with it any more */
static int lnginx_stop(lua_State *L) {
  unlink_slot(check_slot(L, check(L)));
  return 0;
}

/* nginx:bell() -> integer; a descriptor that is always ready to be written to */
static int lnginx_bell(lua_State *L) {
  check(L);
  lua_pushinteger(L, worker.bell);
  return 1;
}

/* ---- the guard --------------------------------------------------------------------------------------------------- */

static record **bucket_of(const void *request) {
  uintptr_t n = (uintptr_t)request;
  return &worker.buckets[(n >> 4 ^ n >> 13) % BUCKETS];
}

static record **find(const lnginx *b, const void *request) {
  record **at = bucket_of(request);
  while (*at != NULL && ((*at)->request != request || (*at)->owner != b)) at = &(*at)->next;
  return at;
}

static void unlink_record(record *rec) {
  record **at = bucket_of(rec->request);
  while (*at != rec) at = &(*at)->next;
  *at = rec->next;
}

static void on_request_end(void *data) {
  record *rec = data;
  lnginx *b = rec->owner;
  unlink_record(rec);
  lph_list_remove(&rec->link);
  if (b == NULL || rec->count == 0) {
    lph_free(rec);
    return;
  }
  lph_list_push_back(&b->ended, &rec->link);
  if (b->janitor != NULL) b->x.sema_post(b->janitor, 1);
}

static record *new_record(lnginx *b, void *request) {
  record *rec = lph_zalloc(sizeof *rec);
  nginx_cleanup *cleanup = rec == NULL ? NULL : b->x.cleanup_add(request, 0);
  if (cleanup == NULL) {
    lph_free(rec);
    return NULL;
  }
  cleanup->handler = on_request_end;
  cleanup->data = rec;
  rec->owner = b;
  rec->request = request;
  rec->serial = ++b->serial;
  lph_list_init(&rec->link);
  lph_list_push_back(&b->records, &rec->link);
  record **bucket = bucket_of(request);
  rec->next = *bucket;
  *bucket = rec;
  return rec;
}

/* One more thing is held for the request; the answer names its record.
 * nginx:guard(request) -> number | nil */
static int lnginx_guard(lua_State *L) {
  lnginx *b = check(L);
  void *request = check_pointer(L, 2);
  record *rec = *find(b, request);
  if (rec == NULL) rec = new_record(b, request);
  if (rec == NULL) return 0;
  rec->count++;
  b->guarded++;
  lua_pushnumber(L, rec->serial);
  return 1;
}

/* It was given back; nothing when the request has ended.
 * nginx:unguard(request, serial) */
static int lnginx_unguard(lua_State *L) {
  lnginx *b = check(L);
  record *rec = *find(b, check_pointer(L, 2));
  if (rec == NULL || rec->serial != luaL_checknumber(L, 3) || rec->count == 0) return 0;
  rec->count--;
  b->guarded--;
  return 0;
}

/* nginx:ended() -> number | nil; a request that ended holding something, each once */
static int lnginx_ended(lua_State *L) {
  lnginx *b = check(L);
  lph_list *node = lph_list_pop_front(&b->ended);
  if (node == NULL) return 0;
  record *rec = lph_list_entry(node, record, link);
  b->guarded -= rec->count;
  lua_pushnumber(L, rec->serial);
  lph_free(rec);
  return 1;
}

/* nginx:guarded() -> integer; how many things are held for requests, those that have ended included */
static int lnginx_guarded(lua_State *L) { return lua_pushinteger(L, check(L)->guarded), 1; }

/* nginx:janitor(semaphore); posted when ended() has something */
static int lnginx_janitor(lua_State *L) {
  check(L)->janitor = check_pointer(L, 2);
  return 0;
}

/* ---- the box --------------------------------------------------------------------------------------------------------- */

/* nginx:generation() -> integer, boolean; which state of its subsystem in this worker, and is it the latest? */
static int lnginx_generation(lua_State *L) {
  const lnginx *b = check(L);
  lua_pushinteger(L, (lua_Integer)b->state);
  lua_pushboolean(L, worker.states[b->subsystem] == b->state);
  return 2;
}

/* core.nginx(subsystem) -> nginx | nil, text; the text is what this nginx lacks */
static int lnginx_new(lua_State *L) {
  bool http = strcmp(luaL_checkstring(L, 1), "http") == 0;
  nginx_exports x;
  const char *missing = find_exports(&x, http);
  if (missing != NULL) {
    lua_pushnil(L);
    lua_pushfstring(L, "this nginx does not export %s", missing);
    return 2;
  }
  lnginx *b = lbox_new(L, &nginx_class, sizeof *b);
  b->x = x;
  b->subsystem = http ? 0 : 1;
  lph_list_init(&b->records);
  lph_list_init(&b->ended);
  settle_in(b);
  b->open = true;
  return 1;
}

static int lnginx__gc(lua_State *L) {
  lnginx *b = lbox_self(L, 1, &nginx_class);
  if (!b->open) return 0;
  b->open = false;
  for (int i = 0; i < b->count; i++) {
    if (b->pid == lph_process_id()) unlink_slot(b->slots[i]);
    lph_free(b->slots[i]);
  }
  lph_free(b->slots);
  /* Those of requests that go on are freed when these end. */
  lph_list_each(&b->records, node, after) {
    lph_list_entry(node, record, link)->owner = NULL;
    lph_list_remove(node);
  }
  for (lph_list *node; (node = lph_list_pop_front(&b->ended)) != NULL;)
    lph_free(lph_list_entry(node, record, link));
  return 0;
}

/* core.can_yield() -> boolean; whether the calling coroutine could be suspended where it is */
static int lnginx_can_yield(lua_State *L) { return lua_pushboolean(L, lua_isyieldable(L)), 1; }

const luaL_Reg lnginx_functions[] = {{"nginx", lnginx_new}, {"can_yield", lnginx_can_yield}, {NULL, NULL}};
static const luaL_Reg nginx_methods[] = {{"start", lnginx_start},
                                         {"slot", lnginx_slot},
                                         {"await", lnginx_await},
                                         {"ready", lnginx_ready},
                                         {"stop", lnginx_stop},
                                         {"bell", lnginx_bell},
                                         {"guard", lnginx_guard},
                                         {"unguard", lnginx_unguard},
                                         {"ended", lnginx_ended},
                                         {"guarded", lnginx_guarded},
                                         {"janitor", lnginx_janitor},
                                         {"generation", lnginx_generation},
                                         {NULL, NULL}};
static const luaL_Reg nginx_meta[] = {{"__gc", lnginx__gc}, {NULL, NULL}};
static const lbox_class nginx_class = {"luphant.core.nginx", nginx_methods, nginx_meta};

void lnginx_open(lua_State *L) { lbox_open(L, &nginx_class); }
