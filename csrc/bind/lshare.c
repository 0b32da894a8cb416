/* lshare.c - rides of many tasks on one session: from SQL text and parameters to a ride, from its answer to values.
 *
 * luphant.share does the waiting. A ride is known to Lua by its slot, a small number; a slot belongs to whoever
 * submitted until he has collected, or left.
 *
 *   submit  -> slot                 under way
 *           |  slot, "unflushed"    under way, and part of it has not left yet
 *           |  PENDING, "request"   `sql` is no text
 *           |  PENDING, "alone"     it needs a connection of its own
 *           |  PENDING, "full"      as much is under way as may be: pump first
 *           |  PENDING, "slow"      the statement that is running takes long
 *           |  PENDING, "types"     as conn:run
 *           |  PENDING, "again"     as conn:run
 *           |  nil, err             nothing was sent
 *   pump    -> under_way, news, depth, next, stuck, unflushed, swollen
 *              reads and writes what can be; list[1 ... news] are the slots that have landed. `depth`: how many may be
 *              under way here rather than elsewhere (lph_share_depth). `next`: the first slot under way that somebody
 *              waits for, or nil. `stuck`: the running one is of no use any more and should be
 *              cancelled; `swollen`: at once, and nothing is read before the request is through, because its result
 *              would fill the memory. under_way is -1 when the session is lost.
 *   collect -> result               the slot is free again, as in all cases but "wait"
 *           |  PENDING, "wait"      not landed
 *           |  PENDING, "again"     the statement is described now: submit again
 *           |  nil, err [, "stale"] forgotten and rolled back: submit again
 *           |  nil, err [, "hit"]   hit by a cancel request for another ride, rolled back
 *
 * To the code two flags may be added: AGAIN, the same call goes on; PATIENT, queue behind a slow one.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lshare.h"

#include "bind/lenter.h"
#include "bind/lerror.h"
#include "bind/lrun.h"
#include "core/share.h"

#define AGAIN 64
#define PATIENT 128

/* More parameters than this are looked at where an error may leave safely. */
#define PLAIN_ARGUMENTS 60

static lconn *inside(lua_State *L) { return lua_touserdata(L, 1); }

static lconn *lshare_check(lua_State *L) { return lbox_self(L, 1, &lconn_class); }

static int slot_of(const lconn *b, const lph_ride *ride) { return (int)(ride - b->c.share->rides) + 1; }

/* NULL: there is no such ride. */
static lph_ride *ride_at(lua_State *L, const lconn *b, int index) {
  lua_Integer slot = luaL_checkinteger(L, index);
  if (b->c.share == NULL || slot < 1 || slot > LPH_SHARE_SLOTS) return NULL;
  lph_ride *ride = &b->c.share->rides[slot - 1];
  return ride->kind == LPH_RIDE_FREE || !ride->wanted ? NULL : ride;
}

/* `choosy`: none ride that their last runs advise against.
 * conn:share_begin([choosy]) -> true | nil, err; from now on only single statements ride on it */
int lshare_begin(lua_State *L) {
  lconn *b = inside(L);
  if (lph_share_begin(&b->c, lua_toboolean(L, 2)) != LPH_OK) return lerror_push(L, &b->c.error, 0);
  lua_pushboolean(L, 1);
  return 1;
}

/* conn:share_end() -> true | nil, err; refused while anything is under way */
int lshare_end(lua_State *L) {
  lconn *b = inside(L);
  if (lph_share_end(&b->c) != LPH_OK) return lerror_push(L, &b->c.error, 0);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- submitting ------------------------------------------------------------------------------------------- */

static int push_ride(lua_State *L, lconn *b, const lph_ride *ride) {
  if (LPH_UNLIKELY(ride == NULL)) return lerror_push(L, &b->c.error, 3);
  lua_pushinteger(L, slot_of(b, ride));
  if (LPH_LIKELY(!b->c.share->unflushed)) return 1;
  lua_pushliteral(L, "unflushed");
  return 2;
}

static int push_refusal(lua_State *L, lconn *b, lph_boarding answer) {
  if (answer == LPH_BOARD_FAILED) return lerror_push(L, &b->c.error, 3);
  return lrun_push_pending(L, answer == LPH_BOARD_FULL ? "full" : "slow");
}

static int submit_prepare(lua_State *L, lconn *b, lph_stmt *stmt, bool patient) {
  size_t bytes = strlen(stmt->sql);
  if (bytes > LPH_SHARE_RIDE_BYTES) return lrun_push_pending(L, "alone");
  lph_boarding answer = lph_share_board(&b->c, bytes, patient);
  return answer == LPH_BOARD_YES ? push_ride(L, b, lph_share_prepare(&b->c, stmt))
                                 : push_refusal(L, b, answer);
}

static int submit_execute(lua_State *L, lconn *b, lph_stmt *stmt, int flags) {
  size_t bytes = b->c.params.bytes + (stmt->name[0] == '\0' ? strlen(stmt->sql) : 0);
  if (LPH_UNLIKELY(bytes > LPH_SHARE_RIDE_BYTES)) return lrun_push_pending(L, "alone");
  lph_boarding answer = lph_share_board(&b->c, bytes, (flags & PATIENT) != 0);
  if (LPH_UNLIKELY(answer != LPH_BOARD_YES)) return push_refusal(L, b, answer);
  lph_ride *ride = lph_share_execute(&b->c, stmt, &b->c.params);
  if (LPH_LIKELY(ride != NULL)) {
    ride->verb = b->verb;
    ride->fresh = (flags & AGAIN) != 0;
  }
  return push_ride(L, b, ride);
}

/* As lrun's may_have_changed: the type a value was refused for may be another one by now. */
static bool may_have_changed(lconn *b, lph_stmt *stmt, int flags) {
  const lph_error *e = &b->c.error;
  if ((flags & AGAIN) != 0 || e->param < 1 || e->param > stmt->param_count) return false;
  if (stmt->param_oids[e->param - 1] >= LPH_FIRST_USER_OID) lph_typemap_doubt(b->c.types);
  stmt->described = false;
  return true;
}

/* Results that were asked for under the old description are read under it: a new one gets a statement of its own. */
static lph_stmt *renew(lua_State *L, lconn *b, lph_stmt *stmt, int last) {
  if (stmt->pins == 0 || lph_share_is_preparing(b->c.share, stmt)) return stmt;
  lph_stmts_drop(&b->c.stmts, stmt);
  return lrun_find_stmt(L, b, 3, last);
}

/* conn:submit(code, sql, ...) -> slot | PENDING, want | nil, err; see the head of lshare.c */
int lshare_submit(lua_State *L) {
  lconn *b = inside(L);
  int flags = (int)luaL_checkinteger(L, 2), last = lua_gettop(L);
  if (LPH_UNLIKELY(lua_type(L, 3) != LUA_TSTRING)) return lrun_push_pending(L, "request");
  b->verb = flags & (AGAIN - 1);
  if (LPH_UNLIKELY(last - 3 > LPH_PARAMS_MAX || LVERB_OF(b->verb) == LVERB_DESCRIBE))
    return lrun_push_pending(L, "alone");
  luaL_checkstack(L, 24, "statement");
  if (LPH_UNLIKELY(lph_share_check(&b->c) != LPH_OK)) return lerror_push(L, &b->c.error, 3);
  lph_stmt *stmt = lrun_find_stmt(L, b, 3, last);
  if (stmt != NULL && LPH_UNLIKELY(!lph_stmts_is_ready(&b->c.stmts, stmt))) stmt = renew(L, b, stmt, last);
  if (LPH_UNLIKELY(stmt == NULL)) return lerror_push(L, &b->c.error, 3);
  if (LPH_UNLIKELY(!stmt->shareable || !lph_share_takes_now(b->c.share, stmt)))
    return lrun_push_pending(L, "alone");
  if (LPH_UNLIKELY(!lph_stmts_is_ready(&b->c.stmts, stmt)))
    return submit_prepare(L, b, stmt, (flags & PATIENT) != 0);
  bool bound = stmt->bound && stmt->types_version == lph_typemap_version(b->c.types);
  if (LPH_UNLIKELY(!bound) && lph_stmts_bind(&b->c.stmts, stmt, b->c.types, NULL, 0) > 0) {
    b->untyped = stmt;
    return lrun_push_pending(L, "types");
  }
  if (LPH_UNLIKELY(stmt->prints_floats)) return lrun_push_pending(L, "alone"); /* it has company (flight.h) */
  if (LPH_UNLIKELY(!lrun_encode(L, b, stmt, 4, last - 3)))
    return may_have_changed(b, stmt, flags) ? lrun_push_pending(L, "again") : lerror_push(L, &b->c.error, 3);
  int n = submit_execute(L, b, stmt, flags);
  lph_params_shrink(&b->c.params);
  return n;
}

/* Nothing but plain values: encoding them allocates nothing in Lua and calls nobody, so that no finalizer and no error
 * can come in between. */
static bool is_plain(lua_State *L, const lconn *b) {
  int last = lua_gettop(L);
  if (last > PLAIN_ARGUMENTS || b->has_codecs) return false;
  for (int i = 3; i <= last; i++) {
    int type = lua_type(L, i);
    if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TNIL && type != LUA_TBOOLEAN) return false;
  }
  return true;
}

/* The usual case without the protected call of lenter.h: everything about it is known before it begins. */
static int submit_plainly(lua_State *L, lconn *b) {
  lph_bytes sql;
  sql.data = lua_tolstring(L, 3, &sql.len);
  int flags = (int)lua_tointeger(L, 2), given = lua_gettop(L) - 3;
  lph_stmt *stmt = lph_stmts_peek(&b->c.stmts, sql);
  if (stmt == NULL || !stmt->shareable || stmt->apart || !lph_stmts_is_ready(&b->c.stmts, stmt)) return 0;
  if (!stmt->bound || stmt->types_version != lph_typemap_version(b->c.types) || stmt->prints_floats) return 0;
  b->verb = flags & (AGAIN - 1);
  if (LVERB_OF(b->verb) == LVERB_DESCRIBE) return 0;
  if (!lrun_encode(L, b, stmt, 4, given) || b->c.params.bytes > LPH_SHARE_RIDE_BYTES) return 0;
  if (stmt->name[0] == '\0' || lph_share_board(&b->c, b->c.params.bytes, false) != LPH_BOARD_YES) return 0;
  lph_ride *ride = lph_share_execute(&b->c, stmt, &b->c.params);
  if (ride == NULL || b->c.share->unflushed) return ride == NULL ? -1 : push_ride(L, b, ride);
  ride->verb = b->verb;
  ride->fresh = (flags & AGAIN) != 0;
  lua_pushinteger(L, slot_of(b, ride));
  return 1;
}

int lshare_submit_gate(lua_State *L) {
  lconn *b = lshare_check(L);
  if (LPH_LIKELY(!b->entered && !b->finalized && lua_type(L, 3) == LUA_TSTRING && is_plain(L, b))) {
    int n = b->c.state == LPH_SHARED && lua_checkstack(L, 24) ? submit_plainly(L, b) : 0;
    if (LPH_LIKELY(n > 0)) return n;
  }
  return lenter_through(L, b);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

/* conn:pump(list) -> under_way, news, depth, slot, stuck, unflushed, swollen; see the head of lshare.c */
int lshare_pump(lua_State *L) {
  lconn *b = lshare_check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  /* While values are converted nothing may land: descriptions would change under the conversion. */
  if (LPH_UNLIKELY(b->entered || b->finalized || b->c.share == NULL)) return lua_pushinteger(L, -1), 1;
  int want = b->c.state == LPH_SHARED ? lph_share_step(&b->c) : LPH_FAILED;
  lph_share *s = b->c.share;
  if (LPH_UNLIKELY(b->c.state != LPH_SHARED)) lph_share_close_fd(s); /* who pumps does not wait */
  lua_Integer news = 0;
  lph_ride *ride;
  while ((ride = lph_share_next_news(s)) != NULL) {
    lua_pushinteger(L, slot_of(b, ride));
    lua_rawseti(L, 2, (int)++news);
  }
  lua_pushinteger(L, want == LPH_FAILED ? -1 : (lua_Integer)s->in_flight);
  lua_pushinteger(L, news);
  lua_pushinteger(L, (lua_Integer)lph_share_depth(s));
  if (LPH_LIKELY(s->in_flight == 0)) return 3;
  ride = lph_share_first_wanted(s);
  if (ride != NULL) {
    lua_pushinteger(L, slot_of(b, ride));
  } else {
    lua_pushnil(L);
  }
  lua_pushboolean(L, lph_share_is_stuck(s));
  lua_pushboolean(L, s->unflushed);
  lua_pushboolean(L, lph_share_is_swollen(s));
  return 7;
}

/* conn:riders(list) -> number; the slots under way that somebody waits for, in order */
int lshare_riders(lua_State *L) {
  lconn *b = lshare_check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  int n = 0;
  if (b->c.share != NULL) {
    lph_list_each(&b->c.share->flight, node, after) {
      const lph_ride *ride = lph_list_entry(node, lph_ride, link);
      if (!ride->wanted) continue;
      lua_pushinteger(L, slot_of(b, ride));
      lua_rawseti(L, 2, ++n);
    }
  }
  lua_pushinteger(L, n);
  return 1;
}

/* conn:load() -> under_way, occupied, stuck; `occupied` slots, the others as pump tells them */
int lshare_load(lua_State *L) {
  lconn *b = lshare_check(L);
  int occupied = 0;
  for (int i = 0; b->c.share != NULL && i < LPH_SHARE_SLOTS; i++)
    occupied += b->c.share->rides[i].kind != LPH_RIDE_FREE;
  lua_pushinteger(L, b->c.share == NULL ? 0 : (lua_Integer)b->c.share->in_flight);
  lua_pushinteger(L, occupied);
  lua_pushboolean(L, b->c.share != NULL && lph_share_is_stuck(b->c.share));
  return 3;
}

/* conn:cancelling(on); a cancel request is being sent to this session, or is through */
int lshare_cancelling(lua_State *L) {
  lconn *b = lshare_check(L);
  if (b->c.share == NULL) return 0;
  if (lua_toboolean(L, 2)) {
    lph_share_cancel_begins(b->c.share);
  } else {
    lph_share_cancel_ends(b->c.share);
  }
  return 0;
}

/* conn:leave(slot) -> boolean; had it begun to run, as far as anybody knows? */
int lshare_leave(lua_State *L) {
  lconn *b = lshare_check(L);
  lph_ride *ride = ride_at(L, b, 2);
  lua_pushboolean(L, ride != NULL && ride->kind == LPH_RIDE_EXECUTE);
  if (ride != NULL && ride != b->taking) lph_share_leave(&b->c, ride);
  return 1;
}

/* ---- collecting ------------------------------------------------------------------------------------------- */

void lshare_end_taking(lconn *b) {
  lph_ride *ride = b->taking;
  b->taking = NULL;
  lph_op_reset(&b->c.op);
  lph_share_free_ride(&b->c, ride);
}

/* What a failure says about the statement in the cache. NULL, or why submitting it again may help. */
static const char *judge(lconn *b, const lph_ride *ride) {
  lph_stmts *stmts = &b->c.stmts;
  if (ride->lost || ride->failure == NULL) return NULL;
  if (lph_ride_was_hit(ride)) return "hit";
  bool preparing = ride->kind == LPH_RIDE_PREPARE;
  ride->stmt->fresh = ride->fresh;
  if (!ride->stmt->retired && lph_stmt_is_stale(ride->stmt, preparing, &b->c.error)) {
    lph_stmts_distrust(stmts, ride->stmt, b->c.error.sqlstate);
    return "stale";
  }
  if (ride->stmt->retired && lph_stmt_is_stale(ride->stmt, preparing, &b->c.error)) return "stale";
  if (preparing) lph_stmts_drop(stmts, ride->stmt);
  return NULL;
}

static int push_failed_ride(lua_State *L, lconn *b, const lph_ride *ride) {
  const char *more = judge(b, ride);
  lerror_push(L, &b->c.error, 0);
  if (more == NULL) return 2;
  lua_pushstring(L, more);
  return 3;
}

/* conn:collect(slot) -> result | PENDING, want | nil, err, more; see the head of lshare.c */
int lshare_collect(lua_State *L) {
  lconn *b = inside(L);
  lph_ride *ride = ride_at(L, b, 2);
  if (ride == NULL) return luaL_error(L, "there is no such ride");
  if (!ride->landed) return lrun_push_pending(L, "wait");
  b->taking = ride;
  if (LPH_UNLIKELY(lph_share_failure(&b->c, ride))) return push_failed_ride(L, b, ride);
  if (LPH_UNLIKELY(ride->kind != LPH_RIDE_EXECUTE)) return lrun_push_pending(L, "again");
  b->c.op.result = ride->result;
  ride->result = NULL;
  b->c.op.stmt = ride->stmt;
  b->verb = ride->verb;
  return lrun_take_result(L, b);
}

int lshare_collect_gate(lua_State *L) {
  lconn *b = lshare_check(L);
  if (LPH_UNLIKELY(!b->entered && !b->finalized)) {
    const lph_ride *ride = ride_at(L, b, 2);
    if (ride != NULL && !ride->landed) return lrun_push_pending(L, "wait");
  }
  return lenter_through(L, b);
}
