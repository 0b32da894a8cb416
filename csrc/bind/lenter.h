/* lenter.h - one call at a time inside a connection's box.
 *
 * While a method reads a PGresult, a statement, an error record or parameters, Lua code of other people can
 * run: a codec, a JSON function, a metamethod, and any finalizer, because every allocation may collect. If
 * that code came back into the same box and ran another statement or closed the session, it would pull the
 * memory away from under the method. So such methods are entered through here:
 *
 *   - what would change the session is refused meanwhile (nil and an error of kind "busy"),
 *   - close() is remembered and done when the method ends,
 *   - an error that leaves the method leaves an idle session idle and closes one that is in the middle
 *     of something: nobody would know how to go on with it (but for COPY, whose writer or reader does).
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LENTER_H
#define LPH_LENTER_H

#include "bind/lconn.h"

typedef struct lenter_method {
  const char *name;
  lua_CFunction body; /* first argument: the box; upvalue 1: its class */
  bool shared;        /* only reads: allowed inside another method, too */
  lua_CFunction gate; /* NULL, or what is called first: it may do without entering, or call lenter_through */
} lenter_method;

/* Adds methods to the class of connections. May raise (memory). */
void lenter_open(lua_State *L, const lenter_method *list);

/* For other boxes that run a method on this one: calls the function below its `args` arguments (the first of them the
 * box, which nobody is inside of) like a method that is not shared. Results, or the error, replace them; answers what
 * lua_pcall does. */
int lenter_call(lua_State *L, lconn *b, int args);

/* For a gate, with the arguments as they came: enters and calls the body. */
int lenter_through(lua_State *L, lconn *b);

/* Answers 0 when the box can be entered, else pushes nil and why not (2). */
int lenter_refuse(lua_State *L, const lconn *b);

/* Ends the session now, or when the method that is inside the box ends. */
void lenter_close(lconn *b);

#endif
