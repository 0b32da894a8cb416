/* lrun.h - the methods of a connection's box that run statements. Their contract is in lrun.c.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LRUN_H
#define LPH_LRUN_H

#include "bind/lconn.h"

int lconn_run(lua_State *L);
int lconn_rerun(lua_State *L);
int lconn_script(lua_State *L);
int lconn_step(lua_State *L);
int lconn_take(lua_State *L);

/* In front of those that begin a statement: where its answer could not be waited for nothing is begun, and PENDING,
 * "r" lets the waiter say so. */
int lrun_gate(lua_State *L);

void lrun_push_mark(lua_State *L); /* core.PENDING */

/* For other ways of running a statement (lshare.c). All may raise, and are called inside the box (lenter.h). */
int lrun_push_pending(lua_State *L, const char *what);
/* The statement of the text in slot `sql`, with its parameters behind it up to slot `last`. NULL: b->c.error */
lph_stmt *lrun_find_stmt(lua_State *L, lconn *b, int sql, int last);
/* Puts `given` values from slot `first` on into b->c.params; false: b->c.error. Raises nothing and allocates nothing
 * in Lua when there are no codecs and all values are nil, booleans, numbers and strings. */
bool lrun_encode(lua_State *L, lconn *b, lph_stmt *stmt, int first, int given);
/* What b->verb makes of b->c.op.result, the answer to b->c.op.stmt. */
int lrun_take_result(lua_State *L, lconn *b);
/* For those who run something themselves. The first two set the connection's error when they answer false. */
bool lrun_is_free(lconn *b);
bool lrun_begin_call(lconn *b); /* also starts the clock of the call */
/* Has a stream something under way here, or the connection for itself? Then the call's clock is started, and the answer
 * is PENDING, "ahead". */
bool lrun_is_ahead(lconn *b);
/* Steps until the operation ends. > 0: interrupted by the deadline or a signal, still under way. */
lph_want lrun_wait(lconn *b, lph_want want);
const char *lrun_want_name(lph_want want);
/* A statement the server lost could not be saved: what to do about it, as a hint. */
void lrun_hint_at_lost_statement(lph_error *e);
int lrun_push_failure(lua_State *L, lconn *b, int sql); /* `sql`: stack slot of the text, or 0 */

#endif
