/* lconn.c - the connection as Lua sees it: configuration, dialling, its deadline, closing.
 *
 * Running statements is in lrun.c, what a session tells about itself in lsession.c.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lconn.h"

#include "base/clock.h"
#include "base/mem.h"
#include "bind/bind.h"
#include "bind/lbatch.h"
#include "bind/lcopy.h"
#include "bind/lenter.h"
#include "bind/lerror.h"
#include "bind/lnotify.h"
#include "bind/lrun.h"
#include "bind/lsession.h"
#include "bind/lshare.h"
#include "bind/lstream.h"
#include "bind/ltxn.h"

static lconn *lconn_check(lua_State *L) { return lbox_self(L, 1, &lconn_class); }

/* ---- configuration -------------------------------------------------------------------------------------- */

static int choice(lua_State *L, int at, const char *key, const char *const names[]) {
  lua_getfield(L, at, key);
  int found = 0;
  if (!lua_isnil(L, -1)) {
    const char *name = luaL_checkstring(L, -1);
    while (names[found] != NULL && strcmp(names[found], name) != 0) found++;
    if (names[found] == NULL) luaL_error(L, "%s cannot be \"%s\"", key, name);
  }
  lua_pop(L, 1);
  return found;
}

static double number(lua_State *L, int at, const char *key, double otherwise) {
  lua_getfield(L, at, key);
  double n = lua_isnil(L, -1) ? otherwise : luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return n;
}

static bool flag(lua_State *L, int at, const char *key) {
  lua_getfield(L, at, key);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

/* A function of the options becomes an entry of the store. */
static void store_function(lua_State *L, int options, int box, const char *key, int slot) {
  lua_getfield(L, options, key);
  if (lua_isfunction(L, -1)) {
    lcompat_getstore(L, box);
    lua_insert(L, -2);
    lua_rawseti(L, -2, slot);
  }
  lua_pop(L, 1);
}

static void note_evicted(void *arg, int serial) {
  lconn *b = arg;
  lph_buf_add(&b->evicted, &serial, sizeof serial); /* without memory one table stays a little longer */
  if (b->untyped != NULL && b->untyped->serial == serial) b->untyped = NULL;
  if (b->c.op.stmt != NULL && b->c.op.stmt->serial == serial) b->c.op.stmt = NULL;
}

static void configure(lua_State *L, lconn *b, int options) {
  static const char *const int8[] = {"auto", "string", "number", "cdata", NULL};
  static const char *const numeric[] = {"string", "number", NULL};
  static const char *const json[] = {"table", "text", "cjson", NULL};
  static const char *const datetime[] = {"text", "table", "epoch", NULL};
  static const char *const format[] = {"auto", "text", "binary", "raw", NULL};
  b->options.int8 = (unsigned char)choice(L, options, "int8", int8);
  b->options.numeric = (unsigned char)choice(L, options, "numeric", numeric);
  b->options.json = (unsigned char)choice(L, options, "json", json);
  b->options.datetime = (unsigned char)choice(L, options, "datetime", datetime);
  b->c.stmts.format = (lph_format_choice)choice(L, options, "result_format", format);
  b->options.raw = b->c.stmts.format == LPH_FORMAT_RAW;
  b->c.stmts.unnamed = flag(L, options, "unnamed");
  b->blocking = flag(L, options, "blocking");
  b->yields = flag(L, options, "yields");
  b->keep_notices = flag(L, options, "keep_notices");
  b->timeout = number(L, options, "timeout", -1);
  b->c.max_result_bytes = (size_t)number(L, options, "max_result_bytes", 0);
}

int lconn_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lconn *b = lbox_new(L, &lconn_class, sizeof *b);
  lph_conn_init(&b->c);
  b->deadline = b->ceiling = b->seconds = LPH_NEVER;
  lph_stmts_init(&b->c.stmts, (size_t)number(L, 1, "statement_cache_size", 256),
                 (size_t)number(L, 1, "statement_cache_bytes", 8388608));
  b->c.stmts.on_evict = note_evicted;
  b->c.stmts.on_evict_arg = b;
  lua_getfield(L, 1, "types");
  struct lph_typemap *map = ltypemap_test(L, -1);
  lua_pop(L, 1);
  b->c.types = map != NULL ? lph_typemap_retain(map) : lph_typemap_new();
  if (b->c.types == NULL) return luaL_error(L, "not enough memory");
  configure(L, b, 1);
  store_function(L, 1, 2, "json_decode", LSTORE_JSON_DECODE);
  store_function(L, 1, 2, "json_encode", LSTORE_JSON_ENCODE);
  store_function(L, 1, 2, "make_int64", LSTORE_INT64);
  store_function(L, 1, 2, "make_constructor", LSTORE_CONSTRUCTOR);
  return 1;
}

static int lconn__gc(lua_State *L) {
  lconn *b = lconn_check(L);
  if (b->entered) return lenter_close(b), 0; /* called by hand; the collector comes again */
  b->finalized = true;
  lph_conn_clear(&b->c);
  lph_buf_free(&b->scratch);
  lph_buf_free(&b->evicted);
  for (int i = 0; i < LVALUE_DEPTH; i++) lph_buf_free(&b->level[i]);
  lph_stmts_clear_description(&b->script);
  return 0;
}

/* ---- the call under way --------------------------------------------------------------------------------- */

/* conn:fd() -> fd; may change from step to step, -1 = none */
static int lconn_fd(lua_State *L) {
  lua_pushinteger(L, lph_conn_fd(&lconn_check(L)->c));
  return 1;
}

/* conn:set_timeout([seconds]); the next call's time limit, nil = none, in spite of the default */
static int lconn_set_timeout(lua_State *L) {
  lconn *b = lconn_check(L);
  b->next_timeout = lua_isnoneornil(L, 2) ? -1 : luaL_checknumber(L, 2);
  b->has_next_timeout = true;
  return 0;
}

/* conn:deadline() -> number | nil; of the call under way, on core.now()'s clock */
static int lconn_deadline(lua_State *L) {
  lconn *b = lconn_check(L);
  if (b->deadline < 0) return 0;
  lua_pushnumber(L, b->deadline);
  return 1;
}

/* conn:set_deadline([at]) */
static int lconn_set_deadline(lua_State *L) {
  lconn_check(L)->deadline = lua_isnoneornil(L, 2) ? LPH_NEVER : luaL_checknumber(L, 2);
  return 0;
}

/* conn:set_ceiling([at]); from now on no call has a later deadline, nil = none. Answers the one before. */
static int lconn_set_ceiling(lua_State *L) {
  lconn *b = lconn_check(L);
  double before = b->ceiling;
  b->ceiling = lua_isnoneornil(L, 2) ? LPH_NEVER : luaL_checknumber(L, 2);
  if (before < 0) return 0;
  lua_pushnumber(L, before);
  return 1;
}

/* conn:discard(); the answer under way is of no interest any more */
static int lconn_discard(lua_State *L) {
  lph_op_discard(&lconn_check(L)->c);
  return 0;
}

/* conn:shutdown(); ends the stream both ways, so that whoever waits for the socket wakes up; the rest is close's */
static int lconn_shutdown(lua_State *L) {
  lph_conn_shut(&lconn_check(L)->c);
  return 0;
}

/* conn:close(); idempotent, never waits */
static int lconn_close(lua_State *L) {
  lenter_close(lconn_check(L));
  return 0;
}

/* conn:hold(on) -> boolean; refuses new statements while a cancel request is on its way */
static int lconn_hold(lua_State *L) {
  lconn *b = lconn_check(L);
  lua_pushboolean(L, b->held);
  b->held = lua_toboolean(L, 2);
  return 1;
}

/* conn:is_free() -> boolean; is there nothing under way, nothing to be taken, and no cancel request that could still
 * hit what comes next? */
static int lconn_is_free(lua_State *L) {
  const lconn *b = lconn_check(L);
  lua_pushboolean(L, b->c.state == LPH_IDLE && !b->untaken && !b->held);
  return 1;
}

/* ---- dialling ---------------------------------------------------------------------------------------------------------------- */

/* { keyword1, value1, keyword2, value2, ... }; a negative time limit is none:
 * conn:dial(parameters [, connect_timeout, attempt_timeout, allow_plaintext]) -> true | nil, err */
static int lconn_dial(lua_State *L) {
  lconn *b = lconn_check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  int n = (int)lua_rawlen(L, 2) / 2;
  lph_dial_options o = {.connect_timeout = luaL_optnumber(L, 3, -1),
                        .attempt_timeout = luaL_optnumber(L, 4, -1),
                        .allow_plaintext_password = lua_toboolean(L, 5)};
  luaL_checkstack(L, 2 * n + 8, "connection parameters");
  /* The two arrays live in a userdata; the strings stay anchored in the table. */
  const char **lists = lua_newuserdata(L, sizeof *lists * 2 * (size_t)(n + 1));
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 2, 2 * i + 1);
    lua_rawgeti(L, 2, 2 * i + 2);
    lists[i] = luaL_checkstring(L, -2);
    lists[n + 1 + i] = luaL_checkstring(L, -1);
  }
  lists[n] = lists[2 * n + 1] = NULL;
  o.keywords = lists;
  o.values = lists + n + 1;
  lph_stmts_forget_names(&b->c.stmts);
  if (lph_conn_dial(&b->c, &o) != LPH_OK) return lerror_push(L, &b->c.error, 0);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- codecs of the user ------------------------------------------------------------------------------------------------------- */

/* conn:set_codecs([codecs]); OID -> { decode =, encode = } */
static int lconn_set_codecs(lua_State *L) {
  lconn *b = lconn_check(L);
  lua_settop(L, 2);
  b->has_codecs = lua_istable(L, 2);
  lcompat_getstore(L, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, LSTORE_CODECS);
  return 0;
}

/* conn:unknown_types() -> { oid, ... }; of the statement that waits for types, right after run said so */
static int lconn_unknown_types(lua_State *L) {
  lconn *b = lconn_check(L);
  lph_oid unknown[64];
  lua_newtable(L);
  lph_stmt *stmt = b->untyped;
  b->untyped = NULL;
  if (stmt == NULL) return 1;
  int n = lph_stmts_bind(&b->c.stmts, stmt, b->c.types, unknown, (int)lph_countof(unknown));
  for (int i = 0; i < n && i < (int)lph_countof(unknown); i++) {
    lua_pushnumber(L, unknown[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static const luaL_Reg conn_methods[] = {{"fd", lconn_fd},
                                        {"set_timeout", lconn_set_timeout},
                                        {"deadline", lconn_deadline},
                                        {"set_deadline", lconn_set_deadline},
                                        {"set_ceiling", lconn_set_ceiling},
                                        {"close", lconn_close},
                                        {"shutdown", lconn_shutdown},
                                        {"hold", lconn_hold},
                                        {"is_free", lconn_is_free},
                                        {"set_codecs", lconn_set_codecs},
                                        LSESSION_METHODS,
                                        LSHARE_METHODS,
                                        LNOTIFY_METHODS,
                                        LSTREAM_METHODS,
                                        LTXN_METHODS,
                                        LCOPY_METHODS,
                                        {NULL, NULL}};
/* Those that read memory Lua does not own while Lua may allocate, or change what is read so. */
static const lenter_method entered_methods[] = {{"run", lconn_run, false, lrun_gate},
                                                {"rerun", lconn_rerun, false, NULL},
                                                {"script", lconn_script, false, lrun_gate},
                                                {"step", lconn_step, false, NULL},
                                                {"take", lconn_take, false, NULL},
                                                {"batch", lconn_batch, false, lrun_gate},
                                                {"discard", lconn_discard, false, NULL},
                                                {"txn_begin", ltxn_begin, false, NULL},
                                                {"txn_run", ltxn_run, false, NULL},
                                                {"dial", lconn_dial, false, NULL},
                                                {"unknown_types", lconn_unknown_types, false, NULL},
                                                {"next_notice", lsession_next_notice, false, NULL},
                                                {"attempts", lsession_attempts, true, NULL},
                                                {"start_cancel", lcancel_start, true, NULL},
                                                {"parameter_status", lsession_parameter_status, true, NULL},
                                                {"tls", lsession_tls, true, NULL},
                                                {"target", lsession_target, true, NULL},
                                                LSHARE_ENTERED,
                                                LCOPY_ENTERED,
                                                LNOTIFY_ENTERED,
                                                LSTREAM_ENTERED,
                                                {NULL, NULL, false, NULL}};
static const luaL_Reg conn_meta[] = {{"__gc", lconn__gc}, {"__close", lconn_close}, {NULL, NULL}};
const lbox_class lconn_class = {"luphant.core.conn", conn_methods, conn_meta};

void lconn_open(lua_State *L) {
  lbox_open(L, &lconn_class);
  lenter_open(L, entered_methods);
  lrun_push_mark(L);
  lua_setfield(L, -2, "PENDING"); /* of the module table on top */
  lsession_push_marks(L);
  lua_setfield(L, -2, "MARKS");
}
