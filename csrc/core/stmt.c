/* stmt.c - see stmt.h. SPDX-License-Identifier: MIT */
#include "core/stmt.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/batch.h"
#include "core/marks.h"
#include "core/share.h"

/* What a statement weighs beside its text: the structs here and about as much on the Lua side. */
#define STMT_WEIGHT 768

/* ---- one statement ---------------------------------------------------------------------------------- */

static void clear_columns(lph_stmt *stmt) {
  for (int i = 0; i < stmt->column_count; i++) lph_free(stmt->columns[i].name);
  lph_free(stmt->columns);
  stmt->columns = NULL;
  stmt->column_count = 0;
}

void lph_stmts_clear_description(lph_stmt *stmt) {
  clear_columns(stmt);
  lph_free(stmt->param_oids);
  lph_free(stmt->param_types);
  stmt->param_oids = NULL;
  stmt->param_types = NULL;
  stmt->param_count = 0;
  stmt->described = false;
}

static void free_stmt(lph_stmt *stmt) {
  if (stmt == NULL) return;
  lph_stmts_clear_description(stmt);
  lph_free(stmt->sql);
  lph_free(stmt->forced);
  lph_free(stmt);
}

static bool is_taken(const lph_stmts *s, int serial) {
  if (s->transient != NULL && s->transient->serial == serial) return true;
  for (const lph_stmt *stmt = s->retired; stmt != NULL; stmt = stmt->next_retired)
    if (stmt->serial == serial) return true;
  for (lph_lru_entry *e = lph_lru_next(&s->lru, NULL); e != NULL; e = lph_lru_next(&s->lru, e))
    if (((lph_stmt *)e)->serial == serial) return true;
  return false;
}

/* An int is what an array in Lua is indexed with. A program that prepares a thousand statements a second comes around
 * in 25 days, so from then on those in use are passed over. */
static int give_serial(lph_stmts *s) {
  do {
    if (s->last_serial == INT_MAX) {
      s->last_serial = 0;
      s->went_around = true;
    }
    s->last_serial++;
  } while (LPH_UNLIKELY(s->went_around) && is_taken(s, s->last_serial));
  return s->last_serial;
}

static lph_stmt *new_stmt(lph_stmts *s, lph_bytes sql, const lph_oid *forced, int forced_count) {
  lph_stmt *stmt = lph_zalloc(sizeof *stmt);
  if (stmt == NULL) return NULL;
  stmt->sql = lph_strndup(sql.data, sql.len);
  stmt->serial = give_serial(s);
  unsigned marks = lph_marks_of(sql, &stmt->highest_param);
  stmt->moves_names = (marks & LPH_MARK_NAMES) != 0;
  stmt->is_copy = (marks & LPH_MARK_COPY) != 0;
  stmt->is_barrier = stmt->moves_names || lph_batch_class_of(sql) != LPH_BATCH_PLAIN;
  stmt->marks = lph_marks_left(marks);
  stmt->shareable = marks == 0 && lph_share_takes(sql);
  bool ok = stmt->sql != NULL;
  if (ok && forced_count > 0) {
    stmt->forced = lph_array((size_t)forced_count, sizeof *forced);
    ok = stmt->forced != NULL;
    if (ok) memcpy(stmt->forced, forced, (size_t)forced_count * sizeof *forced);
    stmt->forced_count = forced_count;
  }
  if (ok) return stmt;
  free_stmt(stmt);
  return NULL;
}

/* ---- the cache ----------------------------------------------------------------------------------------- */

/* The server keeps a statement until it is told. Out of memory here means that one name
 * stays until the session ends. */
static void say_goodbye(lph_stmts *s, const lph_stmt *stmt) {
  if (!stmt->on_server || stmt->name[0] == '\0') return;
  if (s->goodbye_count == s->goodbye_room) {
    int room = s->goodbye_room == 0 ? 16 : s->goodbye_room * 2;
    char(*grown)[LPH_STMT_NAME] = lph_regrow(s->goodbyes, (size_t)room, sizeof *grown);
    if (grown == NULL) return;
    s->goodbyes = grown;
    s->goodbye_room = room;
  }
  memcpy(s->goodbyes[s->goodbye_count++], stmt->name, LPH_STMT_NAME);
}

static unsigned long number_of(const char *name) { return strtoul(strrchr(name, '_') + 1, NULL, 10); }

/* A name that is missing has not gone alone: somebody has deallocated all there were (a function, a pooler's change
 * of server). Names are numbered as they are given, so whatever is older went with it. */
void lph_stmts_parted(lph_stmts *s, bool was_there) {
  if (s->goodbye_count == 0) return;
  unsigned long missing = number_of(s->goodbyes[--s->goodbye_count]);
  if (was_there) return;
  int left = 0;
  for (int i = 0; i < s->goodbye_count; i++) {
    if (number_of(s->goodbyes[i]) < missing) continue;
    if (i != left) memcpy(s->goodbyes[left], s->goodbyes[i], LPH_STMT_NAME);
    left++;
  }
  s->goodbye_count = left;
}

static void bury(lph_stmts *s, lph_stmt *stmt) {
  say_goodbye(s, stmt);
  if (s->on_evict != NULL) s->on_evict(s->on_evict_arg, stmt->serial);
  free_stmt(stmt);
}

static void retire(lph_stmts *s, lph_stmt *stmt) {
  if (LPH_UNLIKELY(stmt->pins > 0)) {
    stmt->retired = true;
    stmt->next_retired = s->retired;
    s->retired = stmt;
  } else {
    bury(s, stmt);
  }
}

void lph_stmts_unpin(lph_stmts *s, lph_stmt *stmt) {
  if (--stmt->pins > 0 || !stmt->retired) return;
  lph_stmt **at = &s->retired;
  while (*at != stmt) at = &(*at)->next_retired;
  *at = stmt->next_retired;
  bury(s, stmt);
}

static void on_evict(void *context, lph_lru_entry *entry) {
  lph_stmts *s = context;
  s->evictions++;
  retire(s, (lph_stmt *)entry); /* entry is the first member */
}

static void make_prefix(lph_stmts *s) {
  static const char digits[] = "abcdefghijklmnopqrstuvwxyz012345";
  unsigned char random[sizeof s->prefix - 1];
  if (getentropy(random, sizeof random) != 0) memset(random, (int)getpid(), sizeof random);
  for (size_t i = 0; i < sizeof random; i++) s->prefix[i] = digits[random[i] % 32];
  s->prefix[0] = 'l';
  s->helpers = 0;
  s->prefix[sizeof random] = '\0';
}

lph_err lph_stmts_init(lph_stmts *s, size_t max_count, size_t max_bytes) {
  *s = (lph_stmts){0};
  lph_lru_init(&s->lru, max_count, max_bytes, on_evict, s);
  make_prefix(s);
  return LPH_OK;
}

void lph_stmts_free(lph_stmts *s) {
  s->on_evict = NULL;
  if (s->lru.evict != NULL) lph_lru_free(&s->lru);
  free_stmt(s->transient);
  lph_free(s->goodbyes);
  *s = (lph_stmts){0};
}

/* The key of a statement with forced types: text, NUL, OIDs. SQL itself has no NUL. */
static lph_err make_key(lph_buf *key, lph_bytes sql, const lph_oid *forced, int forced_count) {
  if (lph_buf_add(key, sql.data, sql.len) != LPH_OK || lph_buf_putc(key, '\0') != LPH_OK) return LPH_ENOMEM;
  return lph_buf_add(key, forced, (size_t)forced_count * sizeof *forced);
}

static lph_stmt *keep_new(lph_stmts *s, lph_stmt *stmt, lph_bytes key) {
  lph_err rc = lph_lru_insert(&s->lru, &stmt->entry, key.data, key.len, key.len * 2 + STMT_WEIGHT);
  if (rc == LPH_OK) return stmt;
  if (rc == LPH_ENOMEM) {
    free_stmt(stmt);
    return NULL;
  }
  if (s->transient != NULL) retire(s, s->transient);
  s->transient = stmt;
  return stmt;
}

lph_stmt *lph_stmts_peek(lph_stmts *s, lph_bytes sql) {
  lph_lru_entry *found = lph_lru_find_alias(&s->lru, sql.data, sql.len);
  if (LPH_LIKELY(found != NULL)) s->hits++;
  return (lph_stmt *)found;
}

lph_stmt *lph_stmts_get(lph_stmts *s, lph_bytes sql, const lph_oid *forced, int forced_count) {
  lph_lru_entry *found = NULL;
  lph_buf buf = {0};
  lph_bytes key = sql;
  if (LPH_LIKELY(forced_count == 0)) {
    lph_stmt *known = lph_stmts_peek(s, sql);
    if (LPH_LIKELY(known != NULL)) return known;
  } else {
    if (make_key(&buf, sql, forced, forced_count) != LPH_OK) {
      lph_buf_free(&buf);
      return NULL;
    }
    key = (lph_bytes){buf.data, buf.len};
  }
  found = lph_lru_find(&s->lru, key.data, key.len);
  lph_stmt *stmt = (lph_stmt *)found;
  if (stmt != NULL) {
    s->hits++;
  } else if (s->transient != NULL && forced_count == 0 && s->transient->forced_count == 0 &&
             strlen(s->transient->sql) == sql.len && memcmp(s->transient->sql, sql.data, sql.len) == 0) {
    lph_buf_free(&buf);
    return s->transient;
  } else {
    s->misses++;
    stmt = new_stmt(s, sql, forced, forced_count);
    if (stmt != NULL) stmt = keep_new(s, stmt, key);
  }
  if (stmt != NULL && stmt != s->transient && forced_count == 0)
    lph_lru_set_alias(&s->lru, &stmt->entry, sql.data);
  lph_buf_free(&buf);
  return stmt;
}

/* Unnamed in pooler mode, for what the cache would not keep, and while the server holds enough that it could not be
 * told to forget. */
static bool goes_unnamed(const lph_stmts *s, const lph_stmt *stmt) {
  return s->unnamed || stmt == s->transient || s->goodbye_count >= LPH_GOODBYES_MAX;
}

bool lph_stmts_is_ready(const lph_stmts *s, const lph_stmt *stmt) {
  if (!stmt->described || stmt->generation != s->generation) return false;
  return LPH_LIKELY(stmt->on_server) || (stmt->name[0] == '\0' && goes_unnamed(s, stmt));
}

lph_err lph_stmts_rename(lph_stmts *s, lph_stmt *stmt) {
  say_goodbye(s, stmt);
  stmt->on_server = false;
  if (goes_unnamed(s, stmt)) {
    stmt->name[0] = '\0';
  } else {
    snprintf(stmt->name, sizeof stmt->name, "%s_%u", s->prefix, ++s->next_name);
  }
  return LPH_OK;
}

static lph_err describe_columns(lph_stmt *stmt, const PGresult *d) {
  int columns = PQnfields(d);
  stmt->columns = lph_array((size_t)columns, sizeof *stmt->columns);
  if (stmt->columns == NULL) return LPH_ENOMEM;
  for (int i = 0; i < columns; i++) {
    const char *name = PQfname(d, i);
    lph_column *column = &stmt->columns[i];
    column->name = lph_strndup(name, strlen(name));
    if (column->name == NULL) return LPH_ENOMEM;
    stmt->column_count = i + 1;
    column->oid = PQftype(d, i);
    column->table = PQftable(d, i);
    column->table_column = PQftablecol(d, i);
  }
  stmt->bound = false;
  stmt->info_stale = true;
  return LPH_OK;
}

lph_err lph_stmts_copy_columns(lph_stmt *to, const lph_stmt *from) {
  to->columns = lph_array((size_t)from->column_count, sizeof *to->columns);
  if (to->columns == NULL) return LPH_ENOMEM;
  for (int i = 0; i < from->column_count; i++) {
    to->columns[i] = from->columns[i];
    to->columns[i].name = lph_strndup(from->columns[i].name, strlen(from->columns[i].name));
    if (to->columns[i].name == NULL) return LPH_ENOMEM;
    to->column_count = i + 1;
  }
  return LPH_OK;
}

lph_err lph_stmts_describe(lph_stmts *s, lph_stmt *stmt, const PGresult *d) {
  int params = PQnparams(d);
  lph_stmts_clear_description(stmt);
  stmt->on_server = stmt->name[0] != '\0'; /* also when memory runs out below: it is to be deallocated */
  stmt->param_oids = lph_array((size_t)params, sizeof *stmt->param_oids);
  stmt->param_types = lph_array((size_t)params, sizeof *stmt->param_types);
  if (stmt->param_oids == NULL || stmt->param_types == NULL) return LPH_ENOMEM;
  stmt->param_count = params;
  for (int i = 0; i < params; i++) stmt->param_oids[i] = PQparamtype(d, i);
  if (describe_columns(stmt, d) != LPH_OK) return LPH_ENOMEM;
  stmt->described = true;
  stmt->fresh = true;
  stmt->generation = s->generation;
  return LPH_OK;
}

int lph_stmts_bind(lph_stmts *s, lph_stmt *stmt, const lph_typemap *types, lph_oid *unknown, int room) {
  int missing = 0;
  bool raw = s->format == LPH_FORMAT_RAW, floats = false;
  bool binary = s->format != LPH_FORMAT_TEXT && !raw && stmt->column_count > 0;
  for (int i = 0; i < stmt->param_count + stmt->column_count; i++) {
    bool is_param = i < stmt->param_count;
    lph_column *column = is_param ? NULL : &stmt->columns[i - stmt->param_count];
    lph_oid oid = is_param ? stmt->param_oids[i] : column->oid;
    const lph_type *type = lph_typemap_find(types, oid);
    if (!raw && (type == NULL || !lph_typemap_is_current(types, type)) && missing++ < room)
      unknown[missing - 1] = oid;
    if (is_param) {
      stmt->param_types[i] = type;
    } else {
      column->type = type;
      binary = binary && type != NULL && lph_type_has_binary(types, type);
      floats = floats || (!raw && lph_type_has_float(types, type));
    }
  }
  stmt->binary = binary;
  stmt->prints_floats = floats && !binary;
  stmt->bound = missing == 0;
  stmt->types_version = lph_typemap_version(types);
  return missing;
}

static bool follows(const lph_stmt *stmt, const PGresult *res) {
  if (PQnfields(res) != stmt->column_count) return false;
  for (int i = 0; i < stmt->column_count; i++)
    if (PQftype(res, i) != stmt->columns[i].oid || strcmp(PQfname(res, i), stmt->columns[i].name) != 0)
      return false;
  return true;
}

bool lph_stmts_follow(lph_stmts *s, lph_stmt *stmt, const lph_typemap *types, const PGresult *res) {
  if (LPH_LIKELY(follows(stmt, res))) return true;
  clear_columns(stmt);
  return describe_columns(stmt, res) == LPH_OK && lph_stmts_bind(s, stmt, types, NULL, 0) == 0;
}

/* ---- doubt and forgetting ------------------------------------------------------------------------------- */

static bool is_state(const lph_error *e, const char *sqlstate) { return strcmp(e->sqlstate, sqlstate) == 0; }

/* Parse analysis fails when the plan is made anew and an operator for the old parameter type, a column, a type is
 * gone. It points into the statement; errors from within functions do not, and are left alone: the function has
 * run. Two of the plan cache's own failures have no position. */
static bool lost_its_meaning(const lph_error *e) {
  if (is_state(e, "42704")) return true; /* type with OID ... does not exist */
  if (strncmp(e->sqlstate, "42", 2) == 0) return e->position > 0 && lph_error_get(e, LPH_E_CONTEXT) == NULL;
  /* An internal error, which the server never translates. */
  const char *message = lph_error_get(e, LPH_E_MESSAGE);
  return is_state(e, "XX000") && strncmp(message, "cache lookup failed for type", 28) == 0;
}

bool lph_stmt_is_stale(const lph_stmt *stmt, bool preparing, const lph_error *e) {
  const char *routine = lph_error_get(e, LPH_E_ROUTINE);
  if (preparing) return is_state(e, "42P05");
  if (is_state(e, "26000")) return stmt->name[0] != '\0';
  if (is_state(e, "0A000")) return routine != NULL && strcmp(routine, "RevalidateCachedQuery") == 0;
  return !stmt->fresh && lost_its_meaning(e);
}

void lph_stmts_distrust(lph_stmts *s, lph_stmt *stmt, const char *sqlstate) {
  bool taken = strcmp(sqlstate, "42P05") == 0;
  stmt->described = false;
  if (taken || strcmp(sqlstate, "26000") == 0)
    stmt->on_server = false; /* nothing of this name is ours to deallocate */
  if (taken) make_prefix(s);
}

void lph_stmts_drop(lph_stmts *s, lph_stmt *stmt) {
  if (stmt->retired) return;
  if (stmt == s->transient) {
    s->transient = NULL;
  } else {
    lph_lru_remove(&s->lru, &stmt->entry);
  }
  retire(s, stmt);
}

void lph_stmts_invalidate(lph_stmts *s) { s->generation++; }

void lph_stmts_forget_names(lph_stmts *s) {
  if (s->lru.evict == NULL) return; /* not initialised yet, or freed */
  for (lph_lru_entry *e = lph_lru_next(&s->lru, NULL); e != NULL; e = lph_lru_next(&s->lru, e))
    ((lph_stmt *)e)->on_server = ((lph_stmt *)e)->described = false;
  s->goodbye_count = 0;
  s->helpers = 0;
}

static bool begins(const char *tag, const char *word) { return strncmp(tag, word, strlen(word)) == 0; }

/* Temporary tables hide others of the same name, and may be made again with other columns. */
static void forget_temporary(lph_stmts *s) {
  for (lph_lru_entry *e = lph_lru_next(&s->lru, NULL); e != NULL; e = lph_lru_next(&s->lru, e))
    if (((lph_stmt *)e)->over_temp) ((lph_stmt *)e)->described = false;
}

bool lph_stmts_observe(lph_stmts *s, bool moves_names, bool moved_names, const char *tag,
                       bool in_transaction) {
  if (LPH_UNLIKELY(moves_names)) lph_stmts_invalidate(s);
  if (strchr("ACDR", tag[0]) == NULL) return false; /* SELECT, INSERT, UPDATE, BEGIN ...: a glance and out */
  if (begins(tag, "ALTER") || begins(tag, "DROP")) {
    lph_stmts_invalidate(s);
    s->ddl_in_transaction = in_transaction;
    return true;
  }
  if (begins(tag, "CREATE")) {
    s->ddl_in_transaction = in_transaction;
    return begins(tag, "CREATE VIEW"); /* OR REPLACE: its row type may have grown */
  }
  if (begins(tag, "ROLLBACK")) {
    if (s->ddl_in_transaction) lph_stmts_invalidate(s);
    return s->ddl_in_transaction;
  }
  if (begins(tag, "DISCARD ALL") || begins(tag, "DEALLOCATE ALL")) {
    lph_stmts_forget_names(s);
  } else if (begins(tag, "DISCARD TEMP")) {
    forget_temporary(s);
  } else if (begins(tag, "RESET") && moved_names) {
    lph_stmts_invalidate(s);
  }
  return false;
}
