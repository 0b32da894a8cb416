/* lresult.h - a result that is read row by row as plain values, no table made.
 *
 * It owns its PGresult apart from the connection, which is free for other statements while the
 * loop runs. SPDX-License-Identifier: MIT */
#ifndef LPH_LRESULT_H
#define LPH_LRESULT_H

#include "bind/lconn.h"

void lresult_open(lua_State *L);
/* Takes the result of the operation that has just ended on `b`; pushes an iterator function for a
 * generic `for`: each call gives the next row's columns, NULL as luphant.NULL; a value that cannot be decoded raises the
 * error object. Answers 1, or -1 with b->c.error set. */
int lresult_push(lua_State *L, lconn *b, int box, const lph_stmt *stmt);

#endif
