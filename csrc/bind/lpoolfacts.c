/* lpoolfacts.c - what a pool's state machine has counted, what its slots are doing, and who borrowed them.
 *
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/clock.h"
#include "bind/lpool.h"

static void set(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static void set_count(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

/* { count =, sum =, max =, buckets = { { le = seconds, count = cumulative } ... } }; empty upper buckets are left out */
static void set_histo(lua_State *L, const char *key, const lph_histo *h) {
  lua_createtable(L, 0, 4);
  set_count(L, "count", h->count);
  set(L, "sum", h->sum);
  set(L, "max", h->max);
  lua_newtable(L);
  uint64_t sum = 0;
  for (int k = 0; k < LPH_HISTO_BUCKETS && sum < h->count; k++) {
    sum += h->bucket[k];
    lua_createtable(L, 0, 2);
    set(L, "le", lph_histo_border(k));
    set_count(L, "count", sum);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "buckets");
  lua_setfield(L, -2, key);
}

/* pool:counts() -> { total =, idle =, used =, connecting =, waiting =, max =, min =, borrowed =, ... } */
static int lpool_counts(lua_State *L) {
  const lph_pool *p = &lpool_check_open(L)->p;
  lua_createtable(L, 0, 16);
  set_count(L, "total", (uint64_t)lph_pool_total(p));
  set_count(L, "idle", (uint64_t)p->idle_count);
  set_count(L, "used", (uint64_t)p->used);
  set_count(L, "connecting", (uint64_t)p->connecting);
  set_count(L, "waiting", (uint64_t)p->waiting);
  set_count(L, "max", (uint64_t)p->options.max);
  set_count(L, "min", (uint64_t)p->options.min);
  set_count(L, "borrowed", p->count.borrowed);
  set_count(L, "waited", p->count.waited);
  set_count(L, "refused", p->count.refused);
  set_count(L, "connected", p->count.connected);
  set_count(L, "connect_failed", p->count.connect_failed);
  set_count(L, "closed", p->count.closed);
  return 1;
}

/* pool:histograms() -> { wait =, connect =, use = } */
static int lpool_histograms(lua_State *L) {
  const lph_pool *p = &lpool_check_open(L)->p;
  lua_createtable(L, 0, 3);
  set_histo(L, "wait", &p->wait);
  set_histo(L, "connect", &p->connect);
  set_histo(L, "use", &p->use);
  return 1;
}

/* pool:slot(slot) -> state, seconds, seconds, integer, boolean | nil; seconds in that state, age, borrowings, whether a
 * verb is inside its connection */
static int lpool_slot_facts(lua_State *L) {
  static const char *const names[] = {"empty", "connecting", "idle", "used", "tended"};
  lpool *b = lpool_check_open(L);
  const lph_slot *s = lph_pool_slot(&b->p, (int)luaL_checkinteger(L, 2));
  if (s == NULL || s->state == LPH_SLOT_EMPTY) return 0;
  double now = lph_now();
  lua_pushstring(L, names[s->state]);
  lua_pushnumber(L, now - s->since);
  lua_pushnumber(L, s->state == LPH_SLOT_CONNECTING ? 0 : now - s->born);
  lua_pushinteger(L, (lua_Integer)s->uses);
  const lconn *conn = lpool_conn(b, s->number);
  lua_pushboolean(L, conn != NULL && conn->entered);
  return 5;
}

/* ---- where a connection was borrowed ------------------------------------------------------------------------ */

#define MOST_LEVELS 40 /* looked at for lines that are not our own */

/* Notes who borrows: files and lines. Never the functions themselves: one that refers to the task that borrows would
 * keep it from being collected. */
void lpool_note_borrower(lua_State *L, lpool *b, int slot, int level) {
  lpool_slot *s = &b->slots[slot];
  lpool_frame *to = b->frames + (size_t)slot * (size_t)b->depth;
  lua_Debug frame;
  s->told = false;
  s->noted = 0;
  for (int end = level + MOST_LEVELS; level < end && lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.currentline <= 0) continue; /* C */
    if (b->home != NULL && strncmp(frame.source, b->home, b->home_length) == 0) continue;
    to->line = frame.currentline;
    memcpy(to->source, frame.short_src, strlen(frame.short_src) + 1);
    to++;
    if (++s->noted == b->depth) break;
  }
}

/* pool:remember(slot); who borrows it is found by the lines that led here */
static int lpool_remember(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lpool_note_borrower(L, b, lpool_check_slot(L, b), 1);
  return 0;
}

/* pool:forget(slot); whoever borrowed it is of no interest any more */
static int lpool_forget(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lpool_slot *s = &b->slots[lpool_check_slot(L, b)];
  s->noted = 0;
  s->told = false;
  return 0;
}

/* pool:site(slot) -> list; { source, line, ... } */
static int lpool_site(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b), noted = b->slots[slot].noted;
  const lpool_frame *from = b->frames + (size_t)slot * (size_t)b->depth;
  lua_createtable(L, 2 * noted, 0);
  for (int i = 0; i < noted; i++) {
    lua_pushstring(L, from[i].source);
    lua_rawseti(L, -2, 2 * i + 1);
    lua_pushinteger(L, from[i].line);
    lua_rawseti(L, -2, 2 * i + 2);
  }
  return 1;
}

/* pool:told(slot [, on]) -> boolean; has this borrowing been reported as a leak? With true: now it has */
static int lpool_told(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lpool_slot *s = &b->slots[lpool_check_slot(L, b)];
  lua_pushboolean(L, s->told);
  if (lua_toboolean(L, 3)) s->told = true;
  return 1;
}

const luaL_Reg lpoolfacts_methods[] = {{"counts", lpool_counts},
                                       {"slot", lpool_slot_facts},
                                       {"histograms", lpool_histograms},
                                       {"remember", lpool_remember},
                                       {"forget", lpool_forget},
                                       {"site", lpool_site},
                                       {"told", lpool_told},
                                       {NULL, NULL}};
