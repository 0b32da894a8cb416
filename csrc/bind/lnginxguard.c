/* lnginxguard.c - what is held for requests of nginx that end under it.
 *
 * A request may end without its coroutines running another line. Whoever holds something for a request has it counted in
 * the request's record, and the record's cleanup handler wakes the janitor (wait/nginxtasks.lua) when the request ends
 * before it was given back. The handler runs in nginx's main thread and never touches Lua.
 *
 * SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "bind/lnginx.h"

typedef struct nginx_record {
  struct nginx_record *next; /* in its bucket */
  lph_list link;             /* in the box's records, or in its ended ones */
  lnginx *owner;             /* NULL: its Lua state is gone */
  void *request;
  double serial;
  int count;      /* things held for the request */
  lph_list holds; /* those of them that are C's */
} record;

static record **bucket_of(const void *request) {
  uintptr_t n = (uintptr_t)request;
  return &lnginx_worker.buckets[(n >> 4 ^ n >> 13) % LNGINX_BUCKETS];
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
  for (lph_list *node; (node = lph_list_pop_front(&rec->holds)) != NULL;) {
    lnginx_hold *hold = lph_list_entry(node, lnginx_hold, link);
    hold->record = NULL;
    hold->gone(hold);
  }
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
  lph_list_init(&rec->holds);
  lph_list_push_back(&b->records, &rec->link);
  record **bucket = bucket_of(request);
  rec->next = *bucket;
  *bucket = rec;
  return rec;
}

/* The bit of the request's phase, if it is the first one in it; else 0. */
static int new_phase(const lnginx *b, void *request) {
  const char *message = NULL;
  int phase = b->x.get_phase == NULL ? 0 : b->x.get_phase(request, &message);
  return phase <= 0 || (b->phases & phase) != 0 ? 0 : phase;
}

/* Is the request the first one in its phase? */
static bool is_first(lnginx *b, void *request) {
  int phase = new_phase(b, request);
  b->phases |= phase;
  return phase != 0;
}

/* Ends with the request anyway, or the worker has had others. */
static bool has_own_state(const lnginx *b) {
  return b->state > 1 || lnginx_worker.states[b->subsystem] != b->state;
}

bool lnginx_hold_for_request(lua_State *L, lnginx *b, lnginx_hold *hold) {
  if (LPH_UNLIKELY(!b->tended || has_own_state(b))) return false;
  void *request = b->x.get_request(L);
  if (LPH_UNLIKELY(request == NULL)) return false;
  record *rec = *find(b, request);
  if (rec == NULL && LPH_UNLIKELY(new_phase(b, request) != 0)) return false;
  if (rec == NULL) rec = new_record(b, request);
  if (LPH_UNLIKELY(rec == NULL)) return false;
  rec->count++;
  b->guarded++;
  hold->record = rec;
  lph_list_push_back(&rec->holds, &hold->link);
  return true;
}

void lnginx_let_go(lnginx *b, lnginx_hold *hold) {
  record *rec = hold->record;
  if (rec == NULL) return;
  hold->record = NULL;
  lph_list_remove(&hold->link);
  rec->count--;
  b->guarded--;
}

/* One more thing is held for the request that runs; the answer names its record and the request, and says whether it is
 * the first one in its phase. Nothing where a request has a Lua state of its own: that ends with it.
 * nginx:guard() -> number, number, boolean | nil */
int lnginx_guard(lua_State *L) {
  lnginx *b = lnginx_check(L);
  if (has_own_state(b)) return 0;
  void *request = b->x.get_request(L);
  if (request == NULL) return 0;
  record *rec = *find(b, request);
  bool first = rec == NULL && is_first(b, request);
  if (rec == NULL) rec = new_record(b, request);
  if (rec == NULL) return 0;
  rec->count++;
  b->guarded++;
  lua_pushnumber(L, rec->serial);
  lua_pushnumber(L, (double)(uintptr_t)request);
  lua_pushboolean(L, first);
  return 3;
}

/* It was given back; nothing when the request has ended.
 * nginx:unguard(request, serial) */
int lnginx_unguard(lua_State *L) {
  lnginx *b = lnginx_check(L);
  record *rec = *find(b, (void *)(uintptr_t)luaL_checknumber(L, 2));
  if (rec == NULL || rec->serial != luaL_checknumber(L, 3) || rec->count == 0) return 0;
  rec->count--;
  b->guarded--;
  return 0;
}

/* nginx:ended() -> number | nil; a request that ended holding something, each once */
int lnginx_ended(lua_State *L) {
  lnginx *b = lnginx_check(L);
  lph_list *node = lph_list_pop_front(&b->ended);
  if (node == NULL) return 0;
  record *rec = lph_list_entry(node, record, link);
  b->guarded -= rec->count;
  lua_pushnumber(L, rec->serial);
  lph_free(rec);
  return 1;
}

/* nginx:guarded() -> integer; how many things are held for requests, those that have ended included */
int lnginx_guarded(lua_State *L) { return lua_pushinteger(L, lnginx_check(L)->guarded), 1; }

/* nginx:janitor(semaphore); posted when ended() has something */
int lnginx_janitor(lua_State *L) {
  lnginx_check(L)->janitor = (void *)(uintptr_t)luaL_checknumber(L, 2);
  return 0;
}

/* nginx:tended(on); is there a janitor who looks at ended()? */
int lnginx_tended(lua_State *L) {
  lnginx_check(L)->tended = lua_toboolean(L, 2);
  return 0;
}

void lnginx_forget_records(lnginx *b) {
  lph_list_each(&b->records, node, after) {
    record *rec = lph_list_entry(node, record, link);
    rec->owner = NULL;
    for (lph_list *held; (held = lph_list_pop_front(&rec->holds)) != NULL;)
      lph_list_entry(held, lnginx_hold, link)->record = NULL;
    lph_list_remove(node);
  }
  for (lph_list *node; (node = lph_list_pop_front(&b->ended)) != NULL;)
    lph_free(lph_list_entry(node, record, link));
}
