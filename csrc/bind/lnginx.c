/* lnginx.c - the nginx side of waiting: one epoll of ours inside the event loop of an nginx worker.
 *
 *      nginx's epoll                 ours                          Lua (wait/openresty.lua)
 *      ... sockets of nginx          a socket somebody waits for    nginx:wait(...) yield()
 *      our epoll, level-triggered    EPOLLONESHOT, armed for each   ^
 *          |                         wait                           |
 *          '-> on_ready: epoll_wait(ours), notes what is ready, posts the semaphore of whoever waits
 *
 * No header and no struct of nginx is used, only functions that nginx and ngx_lua export; dlsym finds them. Without those
 * of ngx_lua there is no box; without the two of nginx's events there are semaphores, and the Lua side polls.
 *
 * Here is what nginx offers, and the box; events and waits are in lnginxwait.c, the end of requests in lnginxguard.c.
 * Handlers run in nginx's main thread and never touch Lua.
 *
 * What belongs to a Lua state lives in its nginx: with lua_code_cache off states come and go while the worker, its epoll
 * and this file stay (the object is linked nodelete).
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lnginx.h"

#include <dlfcn.h>
#include <string.h>

#include "base/mem.h"
#include "base/process.h"

struct lnginx_worker lnginx_worker;

static const lbox_class nginx_class;

/* The master's Lua state, and what it may have made there, goes on in each worker; nothing it has waited for does. */
static void settle_in(lnginx *b) {
  pid_t pid = lph_process_id();
  if (lnginx_worker.owner != pid) {
    lph_free(lnginx_worker.watches);
    memset(&lnginx_worker, 0, sizeof lnginx_worker);
    lnginx_worker.owner = pid;
    lnginx_worker.ep = lnginx_worker.bell = -1;
  }
  b->pid = pid;
  b->state = ++lnginx_worker.states[b->subsystem];
  for (int i = 0; i < b->count; i++) b->slots[i]->waiting = false;
}

lnginx *lnginx_check(lua_State *L) {
  lnginx *b = lbox_self(L, 1, &nginx_class);
  if (!b->open) luaL_error(L, "the Lua state is being closed");
  if (LPH_UNLIKELY(b->pid != lph_process_id())) settle_in(b);
  return b;
}

lnginx *lnginx_test(lua_State *L, int index) { return lbox_test(L, index, &nginx_class); }

/* ---- what nginx offers ----------------------------------------------------------------------------------------- */

typedef struct export {
  const char *http, *stream;
  size_t at;
}
export;

#define EXPORT(field, http, stream) \
  { http, stream, offsetof(nginx_exports, field) }

static const export needed[] = {
  EXPORT(get_request, "ngx_http_lua_get_request", "ngx_stream_lua_get_request"),
  EXPORT(sema_wait, "ngx_http_lua_ffi_sema_wait", "ngx_stream_lua_ffi_sema_wait"),
  EXPORT(sema_post, "ngx_http_lua_ffi_sema_post", "ngx_stream_lua_ffi_sema_post"),
  EXPORT(sema_count, "ngx_http_lua_ffi_sema_count", "ngx_stream_lua_ffi_sema_count"),
  EXPORT(cleanup_add, "ngx_http_cleanup_add", "ngx_stream_lua_cleanup_add"),
};
static const export for_phases[] = {
  EXPORT(get_phase, "ngx_http_lua_ffi_get_phase", "ngx_stream_lua_ffi_get_phase"),
};
static const export for_events[] = {
  EXPORT(cycle, "ngx_cycle", "ngx_cycle"),
  EXPORT(add_channel_event, "ngx_add_channel_event", "ngx_add_channel_event"),
};

/* Where ngx_lua notes which request runs, in its own LuaJIT; the stream module hides its get_request, which answers this,
 * since 0.0.9. */
static const export noted = {
  "lua_getexdata",
  "lua_getexdata",
  offsetof(nginx_exports, get_request),
};

static void *find(const export *e, bool http) { return dlsym(RTLD_DEFAULT, http ? e->http : e->stream); }

/* Answers the name of what is missing. */
static const char *find_exports(nginx_exports *x, const export *list, size_t count, bool http) {
  for (size_t i = 0; i < count; i++) {
    void *found = find(&list[i], http);
    if (found == NULL && list[i].at == noted.at) found = find(&noted, http);
    if (found == NULL) return http ? list[i].http : list[i].stream;
    /* POSIX says a function pointer survives the way through void *; ISO C wants it copied. */
    memcpy((char *)x + list[i].at, &found, sizeof found);
  }
  return NULL;
}

/* ---- the box --------------------------------------------------------------------------------------------------------- */

/* nginx:generation() -> integer, boolean; which state of its subsystem in this worker, and is it the latest? */
static int lnginx_generation(lua_State *L) {
  const lnginx *b = lnginx_check(L);
  lua_pushinteger(L, (lua_Integer)b->state);
  lua_pushboolean(L, lnginx_worker.states[b->subsystem] == b->state);
  return 2;
}

/* core.nginx(subsystem) -> nginx | nil, text; the text is what this ngx_lua lacks */
static int lnginx_new(lua_State *L) {
  bool http = strcmp(luaL_checkstring(L, 1), "http") == 0;
  nginx_exports x = {0};
  const char *missing = find_exports(&x, needed, lph_countof(needed), http);
  if (missing != NULL) {
    lua_pushnil(L);
    lua_pushfstring(L, "this nginx does not export %s", missing);
    return 2;
  }
  lnginx *b = lbox_new(L, &nginx_class, sizeof *b);
  b->x = x;
  find_exports(&b->x, for_phases, lph_countof(for_phases), http);
  b->missing = find_exports(&b->x, for_events, lph_countof(for_events), http);
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
    if (b->pid == lph_process_id()) lnginx_unlink_slot(b->slots[i]);
    lph_free(b->slots[i]);
  }
  lph_free(b->slots);
  lnginx_forget_records(b);
  return 0;
}

/* core.can_yield() -> boolean; whether the calling coroutine could be suspended where it is */
static int lnginx_can_yield(lua_State *L) { return lua_pushboolean(L, lua_isyieldable(L)), 1; }

const luaL_Reg lnginx_functions[] = {{"nginx", lnginx_new}, {"can_yield", lnginx_can_yield}, {NULL, NULL}};
static const luaL_Reg nginx_methods[] = {{"start", lnginx_start},
                                         {"bell", lnginx_bell},
                                         {"slot", lnginx_slot},
                                         {"sweep", lnginx_sweep},
                                         {"brief", lnginx_brief},
                                         {"ready", lnginx_ready},
                                         {"wait", lnginx_wait},
                                         {"park", lnginx_park},
                                         {"again", lnginx_again},
                                         {"wake", lnginx_wake},
                                         {"is_over", lnginx_is_over},
                                         {"guard", lnginx_guard},
                                         {"unguard", lnginx_unguard},
                                         {"ended", lnginx_ended},
                                         {"guarded", lnginx_guarded},
                                         {"janitor", lnginx_janitor},
                                         {"tended", lnginx_tended},
                                         {"generation", lnginx_generation},
                                         {NULL, NULL}};
static const luaL_Reg nginx_meta[] = {{"__gc", lnginx__gc}, {NULL, NULL}};
static const lbox_class nginx_class = {"luphant.core.nginx", nginx_methods, nginx_meta};

void lnginx_open(lua_State *L) { lbox_open(L, &nginx_class); }
