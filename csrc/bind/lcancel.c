/* lcancel.c - a cancel request under way, as Lua sees it: something to wait for.
 * SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "bind/bind.h"
#include "bind/lbox.h"
#include "bind/lconn.h"
#include "bind/lerror.h"
#include "core/batch.h"
#include "core/cancel.h"

typedef struct lcancel {
  lph_cancel *cancel;
  pid_t owner;
  lph_error error; /* its own: that of the connection may be in use while we start or end */
} lcancel;

static const lbox_class cancel_class;

static lph_cancel *lcancel_open_job(lua_State *L) {
  lcancel *box = lbox_self(L, 1, &cancel_class);
  if (box->cancel == NULL) luaL_error(L, "this cancel request is closed");
  return box->cancel;
}

/* cancel:fd() -> integer; readable when it has ended */
static int lcancel_fd(lua_State *L) {
  lua_pushinteger(L, lph_cancel_fd(lcancel_open_job(L)));
  return 1;
}

/* cancel:is_done() -> boolean */
static int lcancel_is_done(lua_State *L) {
  lua_pushboolean(L, lph_cancel_is_done(lcancel_open_job(L)));
  return 1;
}

/* cancel:result() -> true | nil, message; after the end */
static int lcancel_result(lua_State *L) {
  lph_cancel *cancel = lcancel_open_job(L);
  lcancel *box = lua_touserdata(L, 1);
  if (lph_cancel_was_sent(cancel, &box->error)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, lph_error_get(&box->error, LPH_E_MESSAGE));
  return 2;
}

/* cancel:close() */
static int lcancel_close(lua_State *L) {
  lcancel *box = lbox_self(L, 1, &cancel_class);
  lph_cancel *cancel = box->cancel;
  box->cancel = NULL;
  if (cancel == NULL) return 0;
  if (box->owner == getpid()) {
    lph_cancel_release(cancel);
  } else {
    lph_cancel_forget(cancel);
  }
  return 0;
}

static int lcancel__gc(lua_State *L) {
  lcancel_close(L);
  lcancel *box = lua_touserdata(L, 1);
  lph_error_free(&box->error);
  return 0;
}

static const luaL_Reg cancel_methods[] = {{"fd", lcancel_fd},
                                          {"is_done", lcancel_is_done},
                                          {"result", lcancel_result},
                                          {"close", lcancel_close},
                                          {NULL, NULL}};
static const luaL_Reg cancel_meta[] = {{"__gc", lcancel__gc}, {"__close", lcancel_close}, {NULL, NULL}};
static const lbox_class cancel_class = {"luphant.core.cancel", cancel_methods, cancel_meta};

void lcancel_open(lua_State *L) { lbox_open(L, &cancel_class); }

/* conn:start_cancel([timeout]) -> cancel | nil, err */
int lcancel_start(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  double timeout = luaL_optnumber(L, 2, -1);
  lcancel *box = lbox_new(L, &cancel_class, sizeof *box);
  box->owner = getpid();
  if (b->c.owner != getpid()) {
    lph_error_set(&box->error, "forked",
                  "this connection belongs to process %ld; a forked child must not cancel there",
                  (long)b->c.owner);
    return lerror_push(L, &box->error, 0);
  }
  if (b->c.pg == NULL) {
    lph_error_set(&box->error, "closed", "there is nothing to cancel: the connection is closed");
    return lerror_push(L, &box->error, 0);
  }
  lph_batch_stop(b->c.batch); /* all of it, not only the statement the server is at */
  box->cancel = lph_cancel_start(b->c.pg, timeout, &box->error);
  return box->cancel == NULL ? lerror_push(L, &box->error, 0) : 1;
}
