/* lpool.c - the pool's state machine (core/pool.h) as Lua sees it, and the one borrow that costs next to nothing.
 *
 * The Lua side (luphant.pool) opens, checks, cleans and closes connections and makes borrowers wait. Here a slot is
 * tied to the box of its connection, so that taking and giving back look at the session itself:
 *
 *   pool:run(code, sql, ...) runs a whole verb on whatever is idle. It answers
 *     true, result              done, and the connection is idle again
 *     slot, result, err, stale  to be gone on with, as conn:run (lrun.c); the slot is lent
 *     slot, RAISED, err         the verb raised; the slot is lent
 *     slot, DUE, due            as take (nil: as if that had been called); nothing has run
 *     false                     nothing is idle
 *
 * What a connection must be to be lent again without a look from Lua: open, between two statements, no transaction,
 * nothing left in the session. Everything else is "clean": tended now, and for Lua to put in order or to close.
 *
 * SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "bind/bind.h"
#include "bind/lconn.h"
#include "bind/lenter.h"
#include "bind/lrun.h"
#include "core/pool.h"

typedef struct lpool {
  lph_pool p;
  bool open;
  bool keep_state; /* what borrowers leave in their sessions stays */
  pid_t owner;
  double glance,
    glance_at;   /* seconds between two looks at what is due, the next one; 0: somebody else looks */
  lconn **conns; /* by slot number; borrowed: the boxes are anchored in the store under the same number */
  int room;
} lpool;

static const char raised_mark, due_mark; /* their addresses are RAISED and DUE */

static const lbox_class pool_class;

static lpool *check(lua_State *L) { return lbox_self(L, 1, &pool_class); }

/* For methods that change something: not after the state's end has finalized the box. */
static lpool *check_open(lua_State *L) {
  lpool *b = check(L);
  if (!b->open) luaL_error(L, "the pool is gone");
  return b;
}

static int check_slot(lua_State *L, lpool *b) {
  int slot = (int)luaL_checkinteger(L, 2);
  if (lph_pool_slot(&b->p, slot) == NULL) luaL_error(L, "no slot %d", slot);
  return slot;
}

static lconn *conn_of(lpool *b, int slot) { return slot < b->room ? b->conns[slot] : NULL; }

static int push_slot(lua_State *L, int slot) {
  if (slot <= 0) return 0;
  lua_pushinteger(L, slot);
  return 1;
}

/* ---- options ------------------------------------------------------------------------------------------ */

static double number(lua_State *L, int at, const char *key) {
  lua_getfield(L, at, key);
  double n = lua_isnil(L, -1) ? 0 : luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return n;
}

static int count(lua_State *L, int at, const char *key) {
  double n = number(L, at, key);
  return n < 0 ? 0 : n > LPH_POOL_MAX ? LPH_POOL_MAX : (int)n;
}

static bool flag(lua_State *L, int at, const char *key) {
  lua_getfield(L, at, key);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

static lph_pool_options read_options(lua_State *L, int at) {
  luaL_checktype(L, at, LUA_TTABLE);
  lph_pool_options o = {
    .max = count(L, at, "max_connections"),
    .min = count(L, at, "min_connections"),
    .max_waiting = count(L, at, "max_waiting"),
    .idle_timeout = number(L, at, "idle_timeout"),
    .max_lifetime = number(L, at, "max_lifetime"),
    .jitter = number(L, at, "lifetime_jitter"),
    .check_after = number(L, at, "check_after"),
    .keepalive = number(L, at, "keepalive"),
    .max_uses = (uint64_t)number(L, at, "max_uses"),
    .fifo = flag(L, at, "fifo"),
  };
  return o;
}

/* The array of boxes must reach as far as the slots do. */
static bool make_room(lpool *b, int max) {
  int wanted = (max > b->p.slot_room ? max : b->p.slot_room) + 1;
  if (wanted <= b->room) return true;
  lconn **grown = lph_regrow(b->conns, (size_t)wanted, sizeof *grown);
  if (grown == NULL) return false;
  while (b->room < wanted) grown[b->room++] = NULL;
  b->conns = grown;
  return true;
}

/* core.pool(options, seed) -> pool */
int lpool_new(lua_State *L) {
  lph_pool_options o = read_options(L, 1);
  double seed = luaL_optnumber(L, 2, 0);
  lpool *b = lbox_new(L, &pool_class, sizeof *b);
  b->open = true;
  b->keep_state = flag(L, 1, "keep_state");
  b->owner = lph_process_id();
  if (lph_pool_init(&b->p, &o, (uint64_t)(seed < 0 ? -seed : seed)) != LPH_OK || !make_room(b, o.max))
    return luaL_error(L, "not enough memory");
  return 1;
}

/* pool:resize(options) */
static int lpool_resize(lua_State *L) {
  lpool *b = check_open(L);
  lph_pool_options o = read_options(L, 2);
  /* Room first: slots must never reach beyond it. */
  if (!make_room(b, o.max) || lph_pool_resize(&b->p, &o) != LPH_OK) return luaL_error(L, "not enough memory");
  return 0;
}

static int lpool__gc(lua_State *L) {
  lpool *b = check(L);
  if (b->open) {
    lph_pool_clear(&b->p);
    lph_free(b->conns);
    b->conns = NULL;
    b->room = 0;
  }
  b->open = false;
  return 0;
}

/* ---- taking and giving back ------------------------------------------------------------------------------ */

/* pool:attach(slot [, connection]); the box behind a slot, nil takes it away */
static int lpool_attach(lua_State *L) {
  lpool *b = check_open(L);
  int slot = check_slot(L, b);
  lua_settop(L, 3);
  lconn *conn = lua_isnil(L, 3) ? NULL : lbox_test(L, 3, &lconn_class);
  if (conn == NULL && !lua_isnil(L, 3)) return luaL_error(L, "connection expected");
  lcompat_getstore(L, 1);
  lua_pushvalue(L, 3);
  lua_rawseti(L, -2, slot);
  b->conns[slot] = conn;
  return 0;
}

/* What keeps this connection from being lent as it is; NULL: nothing. */
static const char *obstacle(lconn *conn, lph_pool_due due) {
  if (LPH_UNLIKELY(due == LPH_DUE_RETIRE)) return "retire";
  if (LPH_UNLIKELY(conn == NULL || conn->finalized || conn->entered || conn->c.state != LPH_IDLE))
    return "lost";
  if (LPH_UNLIKELY(lph_conn_look(&conn->c) != LPH_OK)) return "lost";
  return LPH_UNLIKELY(due == LPH_DUE_CHECK) ? "check" : NULL;
}

/* pool:take() -> slot, nil | slot, due | nil, "forked" | nil, nil */
static int lpool_take(lua_State *L) {
  lpool *b = check_open(L);
  if (LPH_UNLIKELY(b->owner != lph_process_id())) {
    lua_pushnil(L);
    lua_pushliteral(L, "forked");
    return 2;
  }
  lph_pool_due due;
  int slot = lph_pool_take(&b->p, lph_now(), &due);
  if (slot == LPH_POOL_NONE) return 0;
  const char *why = obstacle(conn_of(b, slot), due);
  lua_pushinteger(L, slot);
  if (LPH_LIKELY(why == NULL)) return 1;
  lua_pushstring(L, why);
  return 2;
}

static bool is_in_order(const lpool *b, const lconn *conn) {
  return conn->c.state == LPH_IDLE && (conn->c.marks == 0 || b->keep_state) && !conn->untaken &&
         !conn->held && !conn->entered && conn->reader == NULL && !conn->ahead && !conn->forsaken &&
         conn->owner == NULL && conn->c.txn.depth == 0 && PQtransactionStatus(conn->c.pg) == PQTRANS_IDLE;
}

static bool is_glance_due(const lpool *b, double now) { return b->glance > 0 && now >= b->glance_at; }

/* Pushes nothing when the connection is idle again. */
static int give(lua_State *L, lpool *b, int slot) {
  lconn *conn = conn_of(b, slot);
  double now = lph_now();
  const char *what;
  if (LPH_UNLIKELY(conn == NULL || conn->finalized || conn->c.state == LPH_CLOSED ||
                   conn->c.owner != lph_process_id())) {
    lph_pool_tend(&b->p, slot, now);
    what = "closed";
  } else if (LPH_UNLIKELY(!is_in_order(b, conn))) {
    lph_pool_tend(&b->p, slot, now);
    what = "clean";
  } else {
    int ticket = lph_pool_give(&b->p, slot, now);
    if (LPH_LIKELY(ticket == LPH_POOL_NONE && !is_glance_due(b, now))) return 0;
    if (ticket > 0) return push_slot(L, ticket);
    what = ticket == LPH_POOL_NONE ? "glance" : "retire";
  }
  lua_pushstring(L, what);
  return 1;
}

/* pool:give(slot) -> nil | ticket | "retire" | "closed" | "clean" | "glance"; nil: it is idle, a ticket: lent to that waiter */
static int lpool_give(lua_State *L) {
  lpool *b = check_open(L);
  int slot = check_slot(L, b);
  lph_slot_state state = lph_pool_slot(&b->p, slot)->state;
  if (state != LPH_SLOT_USED && state != LPH_SLOT_TENDED) return luaL_error(L, "slot %d is not lent", slot);
  return give(L, b, slot);
}

/* Upvalues: class, lconn_run. */
/* pool:run(code, sql, ...) -> true, result | slot, result, err, stale | false; see the head of lpool.c */
static int lpool_run(lua_State *L) {
  lpool *b = check_open(L);
  lph_pool_due due;
  if (LPH_UNLIKELY(b->owner != lph_process_id())) return lua_pushboolean(L, 0), 1;
  int slot = lph_pool_take(&b->p, lph_now(), &due);
  if (slot == LPH_POOL_NONE) return lua_pushboolean(L, 0), 1;
  lconn *conn = conn_of(b, slot);
  const char *why = obstacle(conn, due);
  if (LPH_UNLIKELY(why != NULL)) {
    lua_pushinteger(L, slot);
    lua_pushlightuserdata(L, (void *)&due_mark);
    lua_pushstring(L, why);
    return 3;
  }
  if (LPH_UNLIKELY(conn->yields && !lua_isyieldable(L))) /* Lua goes on, as far as lrun_gate */
    return lua_pushinteger(L, slot), lua_pushlightuserdata(L, (void *)&due_mark), 2;
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, slot);
  lua_replace(L, 1); /* the box in the pool's place */
  lua_pop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  int rc = lenter_call(L, conn, lua_gettop(L) - 1); /* results stand at 1 ... */
  int n = lua_gettop(L);
  double now = lph_now();
  bool done = rc == 0 && n == 1 && is_in_order(b, conn) && b->p.waiting == 0 && !is_glance_due(b, now);
  if (LPH_LIKELY(done) && LPH_LIKELY(lph_pool_give(&b->p, slot, now) == LPH_POOL_NONE)) {
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    return 2;
  }
  lua_pushinteger(L, slot);
  lua_insert(L, 1);
  if (rc != 0) {
    lua_pushlightuserdata(L, (void *)&raised_mark);
    lua_insert(L, 2);
  }
  return lua_gettop(L);
}

/* ---- the plain rest ------------------------------------------------------------------------------------------ */

/* pool:glance([seconds]); from now on give says "glance" so often, nil = never: there is nobody else who looks at chores
 */
static int lpool_glance(lua_State *L) {
  lpool *b = check_open(L);
  b->glance = luaL_optnumber(L, 2, 0);
  b->glance_at = lph_now() + b->glance;
  return 0;
}

/* pool:tend(slot); it is in our own hands now */
static int lpool_tend(lua_State *L) {
  lpool *b = check_open(L);
  lph_pool_tend(&b->p, check_slot(L, b), lph_now());
  return 0;
}

/* pool:drop(slot); its connection is gone: the slot is empty and holds on to no box */
static int lpool_drop(lua_State *L) {
  lpool *b = check_open(L);
  int slot = check_slot(L, b);
  lph_pool_drop(&b->p, slot);
  b->conns[slot] = NULL;
  lcompat_getstore(L, 1);
  lua_pushnil(L);
  lua_rawseti(L, -2, slot);
  return 0;
}

/* pool:touch(slot); its connection has just answered */
static int lpool_touch(lua_State *L) {
  lpool *b = check_open(L);
  lph_pool_touch(&b->p, check_slot(L, b), lph_now());
  return 0;
}

/* pool:enqueue() -> ticket | nil, "full" */
static int lpool_enqueue(lua_State *L) {
  lpool *b = check_open(L);
  int ticket = lph_pool_enqueue(&b->p, lph_now());
  if (ticket > 0) return push_slot(L, ticket);
  if (ticket == LPH_POOL_NO_MEMORY) return luaL_error(L, "not enough memory");
  lua_pushnil(L);
  lua_pushliteral(L, "full");
  return 2;
}

/* pool:served(ticket) -> slot | nil */
static int lpool_served(lua_State *L) {
  lpool *b = check_open(L);
  return push_slot(L, lph_pool_served(&b->p, (int)luaL_checkinteger(L, 2)));
}

/* pool:promised(slot) -> ticket | nil; of the one it was given to and who has yet to leave with it */
static int lpool_promised(lua_State *L) {
  lpool *b = check_open(L);
  return push_slot(L, lph_pool_promised(&b->p, check_slot(L, b)));
}

/* pool:leave(ticket) -> slot | nil; the ticket is void, the slot it was given is the caller's */
static int lpool_leave(lua_State *L) {
  lpool *b = check_open(L);
  return push_slot(L, lph_pool_leave(&b->p, (int)luaL_checkinteger(L, 2), lph_now()));
}

/* pool:dismiss() -> ticket | nil; the first waiter leaves the queue unserved */
static int lpool_dismiss(lua_State *L) { return push_slot(L, lph_pool_dismiss(&check_open(L)->p)); }

/* pool:grow() -> slot | nil; to be connected now */
static int lpool_grow(lua_State *L) { return push_slot(L, lph_pool_grow(&check_open(L)->p, lph_now())); }

static int push_time(lua_State *L, double at) {
  if (at <= 0) return 0;
  lua_pushnumber(L, at);
  return 1;
}

/* pool:grow_at() -> number | nil; when grow is worth another call */
static int lpool_grow_at(lua_State *L) {
  return push_time(L, lph_pool_grow_at(&check_open(L)->p, lph_now()));
}

/* pool:chore_at() -> number | nil; when there may be a chore */
static int lpool_chore_at(lua_State *L) {
  return push_time(L, lph_pool_chore_at(&check_open(L)->p, lph_now()));
}

/* pool:born(slot) -> nil | ticket | "retire" */
static int lpool_born(lua_State *L) {
  lpool *b = check_open(L);
  int ticket = lph_pool_born(&b->p, check_slot(L, b), lph_now());
  if (ticket >= 0) return push_slot(L, ticket);
  lua_pushliteral(L, "retire");
  return 1;
}

/* pool:stillborn(slot); connecting has failed */
static int lpool_stillborn(lua_State *L) {
  lpool *b = check_open(L);
  lph_pool_stillborn(&b->p, check_slot(L, b), lph_now());
  return 0;
}

/* pool:chore() -> chore, slot | nil */
static int lpool_chore(lua_State *L) {
  static const char *const names[] = {NULL, "close", "ping", "connect"};
  lpool *b = check_open(L);
  int slot = 0;
  lph_chore chore = lph_pool_chore(&b->p, lph_now(), &slot);
  if (chore == LPH_CHORE_NONE) return 0;
  lua_pushstring(L, names[chore]);
  lua_pushinteger(L, slot);
  return 2;
}

/* pool:refresh(); all connections of now are over */
static int lpool_refresh(lua_State *L) {
  lph_pool_refresh(&check_open(L)->p);
  return 0;
}

/* pool:close(); nothing is lent from now on, and what comes back is to be closed */
static int lpool_close(lua_State *L) {
  check_open(L)->p.closing = true;
  return 0;
}

/* pool:restart(); after a fork: the slots are empty, the tickets void, this process is the owner */
static int lpool_restart(lua_State *L) {
  lpool *b = check_open(L);
  for (int slot = 1; slot <= b->p.slot_room; slot++) {
    lph_pool_drop(&b->p, slot);
    b->conns[slot] = NULL;
  }
  for (int ticket = 1; ticket <= b->p.ticket_room; ticket++) lph_pool_leave(&b->p, ticket, 0);
  b->owner = lph_process_id();
  lua_newtable(L);
  lcompat_setstore(L, 1);
  return 0;
}

/* ---- where a connection was borrowed ---------------------------------------------------------------------------- */

#define SITE_FIRST 2 /* 0 is this function, 1 the pool's method */
#define SITE_LEVELS 5

/* Notes who borrows: files and lines, in a table that is used again for the slot's next borrower. Never the functions
 * themselves: one that refers to the task that borrows would keep it from being collected.
 * pool:remember(slot) */
static int lpool_remember(lua_State *L) {
  lpool *b = check_open(L);
  int slot = check_slot(L, b), n = 0;
  lua_Debug frame;
  luaL_checkstack(L, 8, "call sites");
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, -slot);
  if (!lua_istable(L, -1)) {
    lua_pop(L, 1);
    lua_createtable(L, 2 * SITE_LEVELS, 0);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, -slot);
  }
  for (int level = SITE_FIRST; n < SITE_LEVELS && lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.currentline <= 0) continue; /* C */
    lua_pushstring(L, frame.short_src);
    lua_rawseti(L, -2, 2 * n + 1);
    lua_pushinteger(L, frame.currentline);
    lua_rawseti(L, -2, 2 * ++n);
  }
  for (int i = 2 * n + 1; i <= 2 * SITE_LEVELS; i++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, i);
  }
  return 0;
}

/* pool:forget(slot); whoever borrowed it is of no interest any more, and shall be collected */
static int lpool_forget(lua_State *L) {
  lpool *b = check_open(L);
  int slot = check_slot(L, b);
  lcompat_getstore(L, 1);
  lua_pushnil(L);
  lua_rawseti(L, -2, -slot);
  return 0;
}

/* pool:site(slot) -> { source, line, ... } | nil */
static int lpool_site(lua_State *L) {
  lpool *b = check_open(L);
  int slot = check_slot(L, b);
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, -slot);
  return 1;
}

/* ---- figures -------------------------------------------------------------------------------------------------- */

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
  const lph_pool *p = &check_open(L)->p;
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
  const lph_pool *p = &check_open(L)->p;
  lua_createtable(L, 0, 3);
  set_histo(L, "wait", &p->wait);
  set_histo(L, "connect", &p->connect);
  set_histo(L, "use", &p->use);
  return 1;
}

/* pool:slot(slot) -> state, seconds, seconds, integer, boolean | nil; seconds in that state, age, borrowings, whether a
 * verb is inside its connection */
static int lpool_slot(lua_State *L) {
  static const char *const names[] = {"empty", "connecting", "idle", "used", "tended"};
  lpool *b = check_open(L);
  const lph_slot *s = lph_pool_slot(&b->p, (int)luaL_checkinteger(L, 2));
  if (s == NULL || s->state == LPH_SLOT_EMPTY) return 0;
  double now = lph_now();
  lua_pushstring(L, names[s->state]);
  lua_pushnumber(L, now - s->since);
  lua_pushnumber(L, s->state == LPH_SLOT_CONNECTING ? 0 : now - s->born);
  lua_pushinteger(L, (lua_Integer)s->uses);
  const lconn *conn = conn_of(b, s->number);
  lua_pushboolean(L, conn != NULL && conn->entered);
  return 5;
}

/* pool:size() -> integer; the highest number of a slot */
static int lpool_size(lua_State *L) { return lua_pushinteger(L, check_open(L)->p.slot_room), 1; }
/* pool:waiting() -> integer */
static int lpool_waiting(lua_State *L) { return lua_pushinteger(L, check_open(L)->p.waiting), 1; }

static const luaL_Reg pool_methods[] = {{"take", lpool_take},
                                        {"give", lpool_give},
                                        {"attach", lpool_attach},
                                        {"tend", lpool_tend},
                                        {"drop", lpool_drop},
                                        {"touch", lpool_touch},
                                        {"enqueue", lpool_enqueue},
                                        {"served", lpool_served},
                                        {"promised", lpool_promised},
                                        {"leave", lpool_leave},
                                        {"dismiss", lpool_dismiss},
                                        {"grow", lpool_grow},
                                        {"grow_at", lpool_grow_at},
                                        {"born", lpool_born},
                                        {"stillborn", lpool_stillborn},
                                        {"chore", lpool_chore},
                                        {"chore_at", lpool_chore_at},
                                        {"refresh", lpool_refresh},
                                        {"close", lpool_close},
                                        {"restart", lpool_restart},
                                        {"resize", lpool_resize},
                                        {"counts", lpool_counts},
                                        {"slot", lpool_slot},
                                        {"histograms", lpool_histograms},
                                        {"size", lpool_size},
                                        {"glance", lpool_glance},
                                        {"remember", lpool_remember},
                                        {"site", lpool_site},
                                        {"forget", lpool_forget},
                                        {"waiting", lpool_waiting},
                                        {NULL, NULL}};
/* With a body of a connection's as second upvalue. */
static const luaL_Reg run_methods[] = {{"run", lpool_run}, {NULL, NULL}};
static const luaL_Reg pool_meta[] = {{"__gc", lpool__gc}, {NULL, NULL}};
static const lbox_class pool_class = {"luphant.core.pool", pool_methods, pool_meta};

void lpool_open(lua_State *L) {
  lbox_open(L, &pool_class);
  luaL_getmetatable(L, pool_class.name); /* mt */
  lua_getfield(L, -1, "__index");        /* mt methods */
  lua_pushvalue(L, -2);
  lua_pushcfunction(L, lconn_run);
  lua_pushcclosure(L, run_methods[0].func, 2);
  lua_setfield(L, -2, run_methods[0].name);
  lua_pop(L, 2);
  lua_pushlightuserdata(L, (void *)&raised_mark);
  lua_setfield(L, -2, "RAISED"); /* of the module table on top */
  lua_pushlightuserdata(L, (void *)&due_mark);
  lua_setfield(L, -2, "DUE");
}
