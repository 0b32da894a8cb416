/* lenter.c - see lenter.h. SPDX-License-Identifier: MIT */
#include "bind/lenter.h"

#include "bind/lerror.h"
#include "bind/lshare.h"

static void close_now(lconn *b) {
  b->close_wanted = b->untaken = false;
  lph_conn_close(&b->c);
}

void lenter_close(lconn *b) {
  if (b->entered) {
    b->close_wanted = true;
  } else {
    close_now(b);
  }
}

static void leave(lconn *b, bool failed, bool shared) {
  b->entered = false;
  if (b->taking != NULL) lshare_end_taking(b);
  if (failed && !shared) {
    if (b->c.state == LPH_IDLE || b->c.state == LPH_SHARED) {
      lph_op_reset(&b->c.op); /* whoever would have taken the result is gone */
      b->untaken = false;
    } else if (b->c.op.kind != LPH_OP_COPY) { /* whose writer or reader ends it: it is between two rows */
      b->close_wanted = true;
    }
  }
  if (LPH_UNLIKELY(b->close_wanted)) close_now(b);
}

/* A protected call is what it takes to leave for certain. */
static int call(lua_State *L, lconn *b, int args, bool shared) {
  bool was_inside = b->entered;
  b->entered = true;
  int rc = lua_pcall(L, args, LUA_MULTRET, 0);
  if (!was_inside) leave(b, rc != 0, shared);
  return rc;
}

int lenter_call(lua_State *L, lconn *b, int args) { return call(L, b, args, false); }

/* Upvalues: class, body. */
static int enter(lua_State *L, lconn *b, bool shared) {
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  return call(L, b, lua_gettop(L) - 1, shared) == 0 ? lua_gettop(L) : lua_error(L);
}

/* The record of the box is in use, or the box is finalized: the object is made without it. */
static int refuse(lua_State *L, const char *kind, const char *why) {
  lph_error plain = {.kind = kind}; /* owns nothing */
  lerror_push(L, &plain, 0);
  lua_pushstring(L, why);
  lua_setfield(L, -2, "message");
  return 2;
}

int lenter_refuse(lua_State *L, const lconn *b) {
  if (LPH_UNLIKELY(b->entered))
    return refuse(L, "busy",
                  "this connection is converting values: code that runs meanwhile (a codec, "
                  "a JSON function, a finalizer) cannot use it");
  if (LPH_UNLIKELY(b->finalized)) return refuse(L, "closed", "the connection is closed");
  return 0;
}

int lenter_through(lua_State *L, lconn *b) {
  if (LPH_UNLIKELY(b->entered || b->finalized)) {
    b->has_next_timeout = false; /* it was this call's */
    return lenter_refuse(L, b);
  }
  return enter(L, b, false);
}

static int enter_alone(lua_State *L) { return lenter_through(L, lbox_self(L, 1, &lconn_class)); }

static int enter_shared(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  return b->finalized ? 0 : enter(L, b, true);
}

void lenter_open(lua_State *L, const lenter_method *list) {
  luaL_getmetatable(L, lconn_class.name); /* mt */
  lua_getfield(L, -1, "__index");         /* mt methods */
  for (; list->name != NULL; list++) {
    lua_pushvalue(L, -2);               /* mt methods mt */
    lua_pushvalue(L, -1);               /* mt methods mt mt */
    lua_pushcclosure(L, list->body, 1); /* mt methods mt body */
    lua_CFunction gate = list->gate != NULL ? list->gate : list->shared ? enter_shared : enter_alone;
    lua_pushcclosure(L, gate, 2);
    lua_setfield(L, -2, list->name);
  }
  lua_pop(L, 2);
}
