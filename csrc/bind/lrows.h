/* lrows.h - whole results -> what the verbs return.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LROWS_H
#define LPH_LROWS_H

#include "bind/lconn.h"
#include "bind/lfields.h"

#define LROWS_NAMES_ON_STACK 200 /* more columns than this: names are fetched from the info table */

/* Pushes the info table of the statement, made on first use and kept in the box's store:
 *   [1..n] column names   [0] metatable of its row arrays   [-1] row constructor (LuaJIT) or false
 *   columns = { { name =, type =, oid = }, ... } */
void lrows_push_info(lua_State *L, lconn *b, int box, lph_stmt *stmt);

/* Pushes { { name =, type =, oid = }, ... }, the caller's own. */
void lrows_push_columns(lua_State *L, const lph_stmt *stmt);

/* Pushes { params = { { type =, oid = }, ... }, columns = ... }, all of it the caller's own. */
void lrows_push_description(lua_State *L, const lph_stmt *stmt);

/* Pushes what `code` (verb and row style) makes of b->c.op.result and b->c.op.rows; answers the number of values, or
 * fills b->c.error and answers -1 with nothing pushed. May raise (memory, user codecs). */
int lrows_push(lua_State *L, lconn *b, int box, lph_stmt *stmt, int code);

/* A result under conversion, row by row. Slots are of the stack. */
typedef struct lrows_build {
  lconn *b;
  lph_stmt *stmt;
  lfields in;
  lcell cell;
  int rows, columns;
  int info;
  int first_name;  /* slot of the first name, or 0: they are in the info table */
  int name_step;   /* from one name to the next: 1 on the stack, -1 in upvalues */
  int constructor; /* 0 = none */
  double before;   /* rows that came before this result: for messages */
} lrows_build;

/* Pushes one row; answers the number of values (more than one for LROWS_VALUES), or fills b->c.error and answers -1. The
 * stack has room for columns + 24. May raise (memory, user codecs). */
int lrows_push_one(lua_State *L, lrows_build *w, int row, int style);

/* Pushes { rows =, columns =, command =, affected = } for one result of a script. */
int lrows_push_script(lua_State *L, lconn *b, int box, PGresult *res);

/* A value has shown that a user type is not what it was: all are looked up anew when next they are met. */
void lrows_doubt_types(lconn *b);

/* "INSERT 0 5" -> pushes "INSERT" */
void lrows_push_command(lua_State *L, const PGresult *res);

#endif
