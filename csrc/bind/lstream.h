/* lstream.h - rows that are handed out one by one while the rest is still to come.
 *
 * A stream holds one portion of the rows and its own description of them; the statement may leave the cache meanwhile.
 * Two forms:
 *
 *   rows     The answer itself, row by row as it arrives (lph_op_stream). The connection is BUSY until the last row:
 *            `reader` of the box is the stream, and other statements are refused.
 *   portal   A cursor on the server. One FETCH is under way while the rows of the one before are handed out: `reader` is
 *            the stream and `ahead` is set. Any other statement first waits for that FETCH and puts its rows aside
 *            (stream_settle), and then finds the connection IDLE.
 *
 * A stream that is collected leaves what is under way to nobody: `reader` NULL and `ahead` set. Nothing is sent and
 * nobody waits in a finalizer; the next statement does, or whoever cleans the connection.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LSTREAM_H
#define LPH_LSTREAM_H

#include "bind/lconn.h"

void lstream_open(lua_State *L);

/* Starts the operation of a verb from LVERB_STREAM on; the parameters are encoded. */
lph_want lstream_begin(lua_State *L, lconn *b, lph_stmt *stmt);
/* Its first portion, or its end, is there: pushes the stream. Answers the number of values like lrun_take_result. */
int lstream_push(lua_State *L, lconn *b, lph_stmt *stmt);

/* Methods of the connection. */
int lstream_set_portal(lua_State *L);
int lstream_claim(lua_State *L);
int lstream_detach(lua_State *L);
int lstream_disown(lua_State *L);
int lstream_is_streaming(lua_State *L);
int lstream_taps_rows(lua_State *L);
int lstream_more(lua_State *L);
int lstream_skip(lua_State *L);
int lstream_ask(lua_State *L);
int lstream_settle(lua_State *L);

#define LSTREAM_METHODS                                                                                   \
  {"set_portal", lstream_set_portal}, {"stream_claim", lstream_claim}, {"stream_detach", lstream_detach}, \
    {"stream_disown", lstream_disown}, {"taps_rows", lstream_taps_rows}, {                                \
    "is_streaming", lstream_is_streaming                                                                  \
  }
#define LSTREAM_ENTERED                                                                   \
  {"stream_more", lstream_more, false, NULL}, {"stream_skip", lstream_skip, false, NULL}, \
    {"stream_ask", lstream_ask, false, NULL}, {                                           \
    "stream_settle", lstream_settle, false, NULL                                          \
  }

#endif
