/* lsession.h - what a connection tells about its session: methods of the connection's box.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LSESSION_H
#define LPH_LSESSION_H

#include "bind/compat.h"

int lsession_state(lua_State *L);
int lsession_backend_pid(lua_State *L);
int lsession_server_version(lua_State *L);
int lsession_parameter_status(lua_State *L);
int lsession_transaction_status(lua_State *L);
int lsession_tls(lua_State *L);
int lsession_target(lua_State *L);
int lsession_attempts(lua_State *L);
int lsession_last_statement(lua_State *L);
int lsession_next_notice(lua_State *L);
int lsession_has_notices(lua_State *L);
int lsession_notices_lost(lua_State *L);
int lsession_keep_notices(lua_State *L);
int lsession_set_portion(lua_State *L);
int lsession_observe(lua_State *L);
int lsession_statements(lua_State *L);
int lsession_marks(lua_State *L);
int lsession_clear_marks(lua_State *L);
void lsession_push_marks(lua_State *L); /* core.MARKS: { word = bit, ... } */

/* The others read memory that is libpq's or the connection's: they go through lenter.h. */
#define LSESSION_METHODS                                                                              \
  {"state", lsession_state}, {"backend_pid", lsession_backend_pid},                                   \
    {"server_version", lsession_server_version}, {"transaction_status", lsession_transaction_status}, \
    {"last_statement", lsession_last_statement}, {"has_notices", lsession_has_notices},               \
    {"keep_notices", lsession_keep_notices}, {"set_portion", lsession_set_portion},                   \
    {"observe", lsession_observe}, {"notices_lost", lsession_notices_lost},                           \
    {"statements", lsession_statements}, {"marks", lsession_marks}, {                                 \
    "clear_marks", lsession_clear_marks                                                               \
  }

#endif
