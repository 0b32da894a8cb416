/* lsession.c - see lsession.h. SPDX-License-Identifier: MIT */
#include "bind/lsession.h"

#include "bind/lconn.h"
#include "bind/lerror.h"
#include "base/process.h"
#include "core/guard.h"
#include "core/marks.h"

static lconn *check(lua_State *L) { return lbox_self(L, 1, &lconn_class); }

/* conn:state() -> "closed" | "dialing" | "idle" | "busy" | "shared" | "forked" */
int lsession_state(lua_State *L) {
  static const char *const names[] = {"closed", "dialing", "idle", "busy", "shared"};
  const lph_conn *c = &check(L)->c;
  lua_pushstring(L, c->owner == lph_process_id() ? names[c->state] : "forked");
  return 1;
}

/* Facts of a session that is not there are nil. */
static PGconn *session(lua_State *L) {
  lph_conn *c = &check(L)->c;
  return c->owner == lph_process_id() ? c->pg : NULL;
}

/* conn:backend_pid() -> integer | nil */
int lsession_backend_pid(lua_State *L) {
  PGconn *pg = session(L);
  if (pg == NULL) return 0;
  lua_pushinteger(L, PQbackendPID(pg));
  return 1;
}

/* conn:server_version() -> integer | nil */
int lsession_server_version(lua_State *L) {
  PGconn *pg = session(L);
  if (pg == NULL) return 0;
  lua_pushinteger(L, PQserverVersion(pg));
  return 1;
}

/* conn:parameter_status(name) -> string | nil */
int lsession_parameter_status(lua_State *L) {
  PGconn *pg = session(L);
  const char *value = pg == NULL ? NULL : PQparameterStatus(pg, luaL_checkstring(L, 2));
  if (value == NULL) return 0;
  lua_pushstring(L, value);
  return 1;
}

/* conn:transaction_status() -> "idle" | "active" | "intrans" | "inerror" | "unknown"; libpq's words */
int lsession_transaction_status(lua_State *L) {
  static const char *const names[] = {"idle", "active", "intrans", "inerror", "unknown"};
  PGconn *pg = session(L);
  lua_pushstring(L, pg == NULL ? "unknown" : names[PQtransactionStatus(pg)]);
  return 1;
}

/* conn:tls() -> { version =, cipher =, bits =, verified = } | false | nil; false: no TLS, nil: no session */
int lsession_tls(lua_State *L) {
  static const struct {
    const char *attribute, *key;
  } texts[] = {{"protocol", "version"}, {"cipher", "cipher"}, {"key_bits", "bits"}};
  PGconn *pg = session(L);
  if (pg == NULL) return 0;
  if (!PQsslInUse(pg)) return lua_pushboolean(L, 0), 1;
  lua_createtable(L, 0, 4);
  for (size_t i = 0; i < lph_countof(texts); i++) {
    const char *value = PQsslAttribute(pg, texts[i].attribute);
    if (value == NULL) continue;
    lua_pushstring(L, value);
    lua_setfield(L, -2, texts[i].key);
  }
  lua_pushboolean(L, lph_guard_is_proven(pg));
  lua_setfield(L, -2, "verified");
  return 1;
}

/* conn:target() -> { host =, address =, port =, dbname =, user = } | nil; never the password */
int lsession_target(lua_State *L) {
  PGconn *pg = session(L);
  if (pg == NULL) return 0;
  struct {
    const char *key, *value;
  } texts[] = {{"host", PQhost(pg)},
               {"address", PQhostaddr(pg)},
               {"port", PQport(pg)},
               {"dbname", PQdb(pg)},
               {"user", PQuser(pg)}};
  lua_createtable(L, 0, 5);
  for (size_t i = 0; i < lph_countof(texts); i++) {
    if (texts[i].value == NULL || texts[i].value[0] == '\0') continue;
    lua_pushstring(L, texts[i].value);
    lua_setfield(L, -2, texts[i].key);
  }
  return 1;
}

/* conn:last_statement() -> text | nil; what ran last, or runs, as far as the cache still knows it */
int lsession_last_statement(lua_State *L) {
  const lph_stmt *stmt = check(L)->c.op.stmt;
  if (stmt == NULL || stmt->sql == NULL) return 0;
  lua_pushstring(L, stmt->sql);
  return 1;
}

/* conn:attempts() -> list; after a failed dial: { host =, address =, port =, kind =, message = } each */
int lsession_attempts(lua_State *L) {
  lconn *b = check(L);
  lua_newtable(L);
  if (b->c.dial == NULL || !lph_dial_is_done(b->c.dial)) return 1;
  const lph_attempt *list;
  int n = lph_dial_attempts(b->c.dial, &list);
  for (int i = 0; i < n; i++) {
    lua_createtable(L, 0, 5);
    struct {
      const char *key, *value;
    } texts[] = {{"host", list[i].host},
                 {"address", list[i].address},
                 {"port", list[i].port},
                 {"kind", list[i].error.kind},
                 {"message", lph_error_get(&list[i].error, LPH_E_MESSAGE)}};
    for (size_t t = 0; t < lph_countof(texts); t++) {
      if (texts[t].value == NULL) continue;
      lua_pushstring(L, texts[t].value);
      lua_setfield(L, -2, texts[t].key);
    }
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* conn:next_notice() -> err | nil; the oldest notice, kind by its SQLSTATE */
int lsession_next_notice(lua_State *L) {
  lph_conn *c = &check(L)->c;
  if (c->notice_count == 0) return 0;
  /* The record stays in its slot until the Lua object is made: making it may raise. */
  lerror_object(L, &c->notices[c->notice_first], 0);
  lph_error gone = {0};
  lph_conn_next_notice(c, &gone);
  lph_error_free(&gone);
  return 1;
}

/* conn:has_notices() -> boolean */
int lsession_has_notices(lua_State *L) {
  lua_pushboolean(L, check(L)->c.notice_count > 0);
  return 1;
}

/* conn:keep_notices(on); whether run says so when there are some */
int lsession_keep_notices(lua_State *L) {
  check(L)->keep_notices = lua_toboolean(L, 2);
  return 0;
}

/* Whether run answers PENDING, "observe"; whether there are hooks of any kind.
 * conn:observe(statements, anything) */
int lsession_observe(lua_State *L) {
  lconn *b = check(L);
  b->observed = lua_toboolean(L, 2);
  b->has_listeners = lua_toboolean(L, 3);
  return 0;
}

/* conn:set_portion(rows); of the next stream in the form "rows", 0 = our choice */
int lsession_set_portion(lua_State *L) {
  check(L)->portion_rows = (int)luaL_checkinteger(L, 2);
  return 0;
}

/* conn:notices_lost() -> number */
int lsession_notices_lost(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->c.notices_lost);
  return 1;
}

/* conn:statements() -> { count =, bytes =, hits =, misses =, evictions = }; of the statement cache */
int lsession_statements(lua_State *L) {
  const lph_stmts *s = &check(L)->c.stmts;
  struct {
    const char *key;
    double value;
  } numbers[] = {{"count", (double)lph_lru_count(&s->lru)},
                 {"bytes", (double)lph_lru_weight(&s->lru)},
                 {"hits", (double)s->hits},
                 {"misses", (double)s->misses},
                 {"evictions", (double)s->evictions}};
  lua_createtable(L, 0, 5);
  for (size_t i = 0; i < lph_countof(numbers); i++) {
    lua_pushinteger(L, (lua_Integer)numbers[i].value);
    lua_setfield(L, -2, numbers[i].key);
  }
  return 1;
}

/* conn:marks() -> integer; what statements may have left in the session, bits of core.MARKS; 0 = nothing */
int lsession_marks(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->c.marks);
  return 1;
}

/* conn:clear_marks(); the session is as it was when it began */
int lsession_clear_marks(lua_State *L) {
  check(L)->c.marks = 0;
  return 0;
}

void lsession_push_marks(lua_State *L) {
  static const struct {
    const char *word;
    int bit;
  } marks[] = {
    {"settings", LPH_MARK_SETTINGS}, {"role", LPH_MARK_ROLE},       {"listen", LPH_MARK_LISTEN},
    {"locks", LPH_MARK_LOCKS},       {"temp", LPH_MARK_TEMP},       {"cursors", LPH_MARK_CURSORS},
    {"prepared", LPH_MARK_PREPARED}, {"lasting", LPH_MARK_LASTING},
  };
  lua_createtable(L, 0, (int)lph_countof(marks));
  for (size_t i = 0; i < lph_countof(marks); i++) {
    lua_pushinteger(L, marks[i].bit);
    lua_setfield(L, -2, marks[i].word);
  }
}
