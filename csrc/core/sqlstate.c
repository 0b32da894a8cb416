/* sqlstate.c - see sqlstate.h. SPDX-License-Identifier: MIT */
#include "core/sqlstate.h"

#include <string.h>

typedef struct condition {
  char code[6];
  bool retryable;
  const char *kind, *class_name;
} condition;

static const condition conditions[] = {
#define LPH_SQLSTATE(code_, kind_, class_, retryable_) {code_, retryable_, kind_, class_},
#include "core/sqlstate.inc"
#undef LPH_SQLSTATE
};

static const struct client_kind {
  const char *kind, *class_name;
  bool retryable;
} client_kinds[] = {
#define LPH_CLIENT_KIND(kind_, class_, retryable_, explanation_) {kind_, class_, retryable_},
#include "core/kind.inc"
#undef LPH_CLIENT_KIND
};

static const condition unknown = {"", false, "server_error", "query"};

static const condition *search(const char *code) {
  size_t low = 0, high = lph_countof(conditions);
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(conditions[middle].code, code);
    if (order == 0) return &conditions[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

static const condition *condition_of(const char *sqlstate) {
  if (sqlstate == NULL || strnlen(sqlstate, 6) != 5) return &unknown;
  const condition *found = search(sqlstate);
  if (found != NULL) return found;
  char general[6] = {sqlstate[0], sqlstate[1], '0', '0', '0', '\0'};
  found = search(general);
  return found != NULL ? found : &unknown;
}

const char *lph_sqlstate_kind(const char *sqlstate) { return condition_of(sqlstate)->kind; }

const char *lph_sqlstate_class(const char *sqlstate) { return condition_of(sqlstate)->class_name; }

bool lph_sqlstate_retryable(const char *sqlstate) { return condition_of(sqlstate)->retryable; }

/* Both lists are walked: this runs once per error and they are short. */
static const struct client_kind *client_kind_of(const char *kind) {
  for (size_t i = 0; i < lph_countof(client_kinds); i++)
    if (strcmp(client_kinds[i].kind, kind) == 0) return &client_kinds[i];
  return NULL;
}

static const condition *condition_named(const char *kind) {
  for (size_t i = 0; i < lph_countof(conditions); i++)
    if (strcmp(conditions[i].kind, kind) == 0) return &conditions[i];
  return &unknown;
}

bool lph_kind_is_client(const char *kind) { return kind != NULL && client_kind_of(kind) != NULL; }

const char *lph_kind_class(const char *kind) {
  if (kind == NULL) return unknown.class_name;
  const struct client_kind *own = client_kind_of(kind);
  return own != NULL ? own->class_name : condition_named(kind)->class_name;
}

bool lph_kind_retryable(const char *kind) {
  if (kind == NULL) return false;
  const struct client_kind *own = client_kind_of(kind);
  return own != NULL ? own->retryable : condition_named(kind)->retryable;
}
