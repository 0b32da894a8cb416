/* txn.c - see txn.h. SPDX-License-Identifier: MIT */
#include "core/txn.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void lph_txn_free(lph_txn *t) {
  lph_buf_free(&t->settings);
  *t = (lph_txn){0};
}

/* ---- beginning ------------------------------------------------------------------------------------ */

static void make_begin(lph_txn *t, const lph_txn_mode *mode) {
  static const char *const isolation[] = {
    "", " isolation level read uncommitted", " isolation level read committed",
    " isolation level repeatable read", " isolation level serializable"};
  static const char *const access[] = {"", " read write", " read only"};
  static const char *const deferrable[] = {"", " not deferrable", " deferrable"};
  t->has_plain = mode->isolation == LPH_TXN_DEFAULT && mode->read_only == LPH_TXN_UNSAID &&
                 mode->deferrable == LPH_TXN_UNSAID;
  if (LPH_LIKELY(t->has_plain)) {
    memcpy(t->begin, "begin", sizeof "begin");
  } else {
    snprintf(t->begin, sizeof t->begin, "begin%s%s%s", isolation[mode->isolation], access[mode->read_only],
             deferrable[mode->deferrable]);
  }
}

lph_err lph_txn_begin(lph_txn *t, const lph_txn_mode *mode) {
  if (t->depth != 0) return LPH_EFAIL;
  t->depth = 1;
  t->on_server = t->keep = t->setting_count = 0;
  t->outcome = LPH_TXN_OPEN;
  t->rides = t->sent = t->strayed = t->unasked = t->restarts = false;
  t->wants_id = mode->wants_id;
  t->id[0] = '\0';
  lph_buf_clear(&t->settings);
  make_begin(t, mode);
  return LPH_OK;
}

lph_err lph_txn_set(lph_txn *t, const char *name, const char *value) {
  size_t before = t->settings.len;
  if (lph_buf_add(&t->settings, name, strlen(name) + 1) != LPH_OK ||
      lph_buf_add(&t->settings, value, strlen(value) + 1) != LPH_OK) {
    t->settings.len = before;
    return LPH_ENOMEM;
  }
  t->setting_count++;
  return LPH_OK;
}

/* A limit of time for the server is only ever lowered: what a role or the session has may be stricter. */
static bool is_limit(const char *name) { return strcmp(name, "statement_timeout") == 0; }

/* Values are parameters, $1 and $2 of the first setting, and so on. */
lph_err lph_txn_settings_text(const lph_txn *t, lph_buf *out) {
  const char *name = t->settings.data;
  lph_err rc = lph_buf_puts(out, "select");
  for (int i = 0; i < t->setting_count && rc == LPH_OK; i++) {
    int n = 2 * i + 1;
    const char *comma = i == 0 ? "" : ",";
    if (is_limit(name)) {
      rc = lph_buf_printf(
        out,
        "%s case when pg_catalog.current_setting($%d::text)::interval between '1 us' and $%d::text::interval"
        " then null else pg_catalog.set_config($%d::text, $%d::text, true) end",
        comma, n, n + 1, n, n + 1);
    } else {
      rc = lph_buf_printf(out, "%s pg_catalog.set_config($%d::text, $%d::text, true)", comma, n, n + 1);
    }
    name += strlen(name) + 1;
    name += strlen(name) + 1;
  }
  return rc == LPH_OK ? lph_buf_terminate(out) : rc;
}

/* ---- levels ---------------------------------------------------------------------------------------- */

void lph_txn_nest(lph_txn *t) { t->depth++; }

void lph_txn_release(lph_txn *t) {
  t->depth--;
  if (t->keep > t->depth) t->keep = t->depth;
}

void lph_txn_end(lph_txn *t) {
  t->depth = t->on_server = t->keep = 0;
  t->rides = false;
}

lph_txn_plan lph_txn_make_plan(const lph_txn *t) {
  return (lph_txn_plan){t->on_server, t->keep, t->depth, t->on_server == 0 && t->setting_count > 0,
                        t->restarts};
}

lph_txn_step lph_txn_next(lph_txn_plan *p) {
  if (LPH_UNLIKELY(p->restarts)) {
    p->restarts = false;
    return LPH_TXN_RESTART;
  }
  if (p->on_server == 0 && p->depth > 0) {
    p->on_server = p->keep = 1;
    return LPH_TXN_BEGIN;
  }
  if (p->settings) {
    p->settings = false;
    return LPH_TXN_SETTINGS;
  }
  if (p->on_server > p->keep) {
    p->on_server = p->keep;
    return LPH_TXN_RELEASE;
  }
  if (p->on_server < p->depth) {
    p->keep = ++p->on_server;
    return LPH_TXN_SAVEPOINT;
  }
  return LPH_TXN_NOTHING;
}

const char *lph_txn_text(const lph_txn *t, const lph_txn_plan *after, lph_txn_step step,
                         char room[LPH_TXN_TEXT]) {
  switch (step) {
    case LPH_TXN_RESTART: return "rollback";
    case LPH_TXN_BEGIN: return t->begin;
    case LPH_TXN_RELEASE:
      snprintf(room, LPH_TXN_TEXT, "release savepoint luphant_%d", after->on_server + 1);
      return room;
    case LPH_TXN_SAVEPOINT:
      snprintf(room, LPH_TXN_TEXT, "savepoint luphant_%d", after->on_server);
      return room;
    case LPH_TXN_SETTINGS:
    case LPH_TXN_NOTHING: break;
  }
  return "";
}

void lph_txn_did(lph_txn *t, lph_txn_step step) {
  switch (step) {
    case LPH_TXN_RESTART: t->restarts = false; break;
    case LPH_TXN_BEGIN: t->on_server = t->keep = 1; break;
    case LPH_TXN_RELEASE: t->on_server = t->keep; break;
    case LPH_TXN_SAVEPOINT: t->keep = ++t->on_server; break;
    case LPH_TXN_SETTINGS:
    case LPH_TXN_NOTHING: break;
  }
}

void lph_txn_restart(lph_txn *t) {
  t->on_server = t->keep = 0;
  t->restarts = true;
}

const char *lph_txn_undo_text(const lph_txn *t, char room[LPH_TXN_TEXT]) {
  if (t->depth == 0) return NULL;
  if (t->restarts && t->depth == 1) return "rollback";
  if (t->keep < t->depth) return NULL;         /* the server has not heard of it, or of nothing at all */
  if (t->strayed && t->depth > 1) return NULL; /* its savepoints went with the transaction they were in */
  if (t->depth == 1) return "rollback";
  snprintf(room, LPH_TXN_TEXT, "rollback to savepoint luphant_%d; release savepoint luphant_%d", t->depth,
           t->depth);
  return room;
}

void lph_txn_undone(lph_txn *t) {
  if (t->depth == 0) return;
  if (t->keep >= t->depth) t->on_server = t->keep = t->depth - 1;
  if (--t->depth == 0 && t->outcome == LPH_TXN_OPEN) t->outcome = LPH_TXN_ROLLED_BACK;
}

/* ---- how it ends ----------------------------------------------------------------------------------- */

static bool begins(const char *tag, const char *word) { return strncmp(tag, word, strlen(word)) == 0; }

/* ROLLBACK is the tag of ROLLBACK TO SAVEPOINT, too, which ends nothing. Both leave a transaction open when it is
 * ROLLBACK AND CHAIN: only the text tells them apart. */
void lph_txn_observe(lph_txn *t, const char *tag, const char *text) {
  if (t->depth == 0) return;
  t->unasked = true;
  if (begins(tag, "COMMIT") || begins(tag, "BEGIN") || begins(tag, "START TRANSACTION") ||
      begins(tag, "PREPARE TRANSACTION"))
    t->strayed = true;
  if (begins(tag, "ROLLBACK") && text != NULL && strcasestr(text, "chain") != NULL) t->strayed = true;
}

void lph_txn_settle(lph_txn *t, bool idle) {
  if (t->depth == 0 || t->outcome != LPH_TXN_OPEN) return;
  if (!idle) {
    t->sent = false; /* COMMIT was skipped, as the statement it rode with failed */
  } else if (t->sent) {
    t->sent = false;
    t->outcome = LPH_TXN_ROLLED_BACK; /* it failed */
  } else if (t->on_server > 0) {
    t->strayed = true;
  }
}

void lph_txn_commit_sent(lph_txn *t) {
  t->rides = false;
  t->sent = true;
}

void lph_txn_commit_answered(lph_txn *t, const char *tag) {
  t->sent = false;
  t->outcome = strcmp(tag, "COMMIT") == 0 ? LPH_TXN_COMMITTED : LPH_TXN_ROLLED_BACK;
}

void lph_txn_lost(lph_txn *t) {
  if (t->depth == 0 || t->outcome != LPH_TXN_OPEN) return;
  t->outcome = t->sent ? LPH_TXN_UNKNOWN : LPH_TXN_ROLLED_BACK;
}

void lph_txn_set_id(lph_txn *t, const char *id) {
  t->unasked = false;
  if (id == NULL || strlen(id) >= sizeof t->id) return;
  memcpy(t->id, id, strlen(id) + 1);
  t->wants_id = false;
}
