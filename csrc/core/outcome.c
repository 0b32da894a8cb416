/* outcome.c - see outcome.h. SPDX-License-Identifier: MIT */
#include "core/outcome.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/sqlstate.h"
#include "crypto/crypto.h"

/* libpq builds its messages from strerror in the language of the process; so do we, and the
 * comparison holds in every language. */
static bool tells(const char *message, int code) {
  char room[256];
  return strstr(message, lph_error_of_errno(code, room, sizeof room)) != NULL;
}

static const char *transport_kind(const char *message, const char *otherwise) {
  if (tells(message, ECONNREFUSED) || tells(message, ENOENT)) return "refused";
  if (tells(message, EHOSTUNREACH) || tells(message, ENETUNREACH) || tells(message, ETIMEDOUT))
    return "unreachable";
  if (tells(message, EACCES) || tells(message, EADDRNOTAVAIL)) return "unreachable";
  if (tells(message, ECONNRESET) || tells(message, EPIPE)) return "closed";
  return otherwise;
}

/* OpenSSL's sentences are English whatever the language; libpq's own may be translated. */
static const char *tls_kind(const char *message) {
  static const char *const verify[] = {"certificate verify failed", "does not match host name",
                                       "could not get server's host name", "unknown ca"};
  for (size_t i = 0; i < lph_countof(verify); i++)
    if (strstr(message, verify[i]) != NULL) return "tls_verify";
  return "tls";
}

/* What libpq says when target_session_attrs is not met; in another language the kind stays "closed". */
static bool tells_wrong_session(const char *message) {
  static const char *const texts[] = {"session is read-only", "session is not read-only",
                                      "server is in hot standby mode", "server is not in hot standby mode"};
  for (size_t i = 0; i < lph_countof(texts); i++)
    if (strstr(message, texts[i]) != NULL) return true;
  return false;
}

static const char *connect_kind(PGconn *pg, ConnStatusType phase, const char *message) {
  if (strstr(message, "certificate verify failed") != NULL) return "tls_verify";
  if (tells_wrong_session(message)) return "target_session";
  switch (phase) {
    case CONNECTION_SSL_STARTUP: return transport_kind(message, tls_kind(message));
    case CONNECTION_AWAITING_RESPONSE:
      if (PQconnectionNeedsPassword(pg)) return "auth";
      if (strstr(message, "channel binding") != NULL) return "auth_method";
      if (strstr(message, "SCRAM") != NULL || strstr(message, "server signature") != NULL) return "auth";
      return transport_kind(message, "closed");
    case CONNECTION_STARTED:
    case CONNECTION_MADE:
    case CONNECTION_NEEDED:
      /* Without a socket libpq never got as far as the network: the parameters are at fault. */
      return transport_kind(message, PQsocket(pg) < 0 ? "config" : "closed");
    default: return transport_kind(message, "closed");
  }
}

void lph_outcome_connect(PGconn *pg, ConnStatusType phase, const lph_error *server_error, lph_error *e) {
  if (server_error != NULL && lph_error_is_set(server_error)) {
    lph_error_copy(e, server_error);
    if (PQconnectionNeedsPassword(pg) && PQpass(pg)[0] == '\0')
      lph_error_put(e, LPH_E_HINT, "No password was given: set password, password_file or PGPASSWORD.");
    return;
  }
  const char *message = PQerrorMessage(pg);
  lph_error_set(e, connect_kind(pg, phase, message), "%s", message);
  lph_error_put(e, LPH_E_DETAIL, lph_tls_refusal());
  if (PQconnectionNeedsPassword(pg))
    lph_error_put(e, LPH_E_HINT, "Set password (text or function), password_file, or a pass file entry.");
}

/* A server may lie: what is no position in a text is none. */
static int number_of(const char *digits) {
  long n = digits == NULL ? 0 : strtol(digits, NULL, 10);
  return n > 0 && n <= INT_MAX ? (int)n : 0;
}

void lph_outcome_result(PGconn *pg, const PGresult *res, lph_error *e) {
  static const struct {
    int code;
    lph_efield field;
  } fields[] = {
    {PG_DIAG_MESSAGE_DETAIL, LPH_E_DETAIL},
    {PG_DIAG_MESSAGE_HINT, LPH_E_HINT},
    {PG_DIAG_CONTEXT, LPH_E_CONTEXT},
    {PG_DIAG_SEVERITY_NONLOCALIZED, LPH_E_SEVERITY},
    {PG_DIAG_SCHEMA_NAME, LPH_E_SCHEMA},
    {PG_DIAG_TABLE_NAME, LPH_E_TABLE},
    {PG_DIAG_COLUMN_NAME, LPH_E_COLUMN},
    {PG_DIAG_DATATYPE_NAME, LPH_E_DATATYPE},
    {PG_DIAG_CONSTRAINT_NAME, LPH_E_CONSTRAINT},
    {PG_DIAG_INTERNAL_QUERY, LPH_E_INTERNAL_QUERY},
    {PG_DIAG_SOURCE_FILE, LPH_E_FILE},
    {PG_DIAG_SOURCE_LINE, LPH_E_LINE},
    {PG_DIAG_SOURCE_FUNCTION, LPH_E_ROUTINE},
  };
  const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
  const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
  if (state == NULL && message == NULL) { /* made by libpq itself, not by a server */
    message = PQresultErrorMessage(res);
    bool lost = PQstatus(pg) == CONNECTION_BAD;
    lph_error_set(e,
                  lost                                ? "closed"
                  : strstr(message, "memory") != NULL ? "out_of_memory"
                                                      : "protocol",
                  "%s", message);
    e->sent = LPH_SENT_MAYBE;
    return;
  }
  lph_error_set(e, state == NULL ? "protocol" : lph_sqlstate_kind(state), "%s",
                message == NULL ? "" : message);
  lph_error_sqlstate(e, state);
  for (size_t i = 0; i < lph_countof(fields); i++)
    lph_error_put(e, fields[i].field, PQresultErrorField(res, fields[i].code));
  e->position = number_of(PQresultErrorField(res, PG_DIAG_STATEMENT_POSITION));
  e->internal_position = number_of(PQresultErrorField(res, PG_DIAG_INTERNAL_POSITION));
  e->sent = LPH_SENT_YES;
}

size_t lph_outcome_size(const PGresult *res) {
  static const int codes[] = {PG_DIAG_SEVERITY,       PG_DIAG_SQLSTATE,     PG_DIAG_MESSAGE_PRIMARY,
                              PG_DIAG_MESSAGE_DETAIL, PG_DIAG_MESSAGE_HINT, PG_DIAG_CONTEXT,
                              PG_DIAG_INTERNAL_QUERY, PG_DIAG_SOURCE_FILE,  PG_DIAG_SOURCE_LINE,
                              PG_DIAG_SOURCE_FUNCTION};
  size_t size = 6; /* type, length, and the end of the list */
  for (size_t i = 0; i < lph_countof(codes); i++) {
    const char *text = PQresultErrorField(res, codes[i]);
    if (text != NULL) size += strlen(text) + 2;
  }
  return size;
}

bool lph_outcome_is_void(PGconn *pg, const PGresult *res) {
  if (LPH_LIKELY(PQstatus(pg) != CONNECTION_BAD)) return false;
  const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
  return severity == NULL || (strcmp(severity, "FATAL") != 0 && strcmp(severity, "PANIC") != 0);
}

void lph_outcome_lost(PGconn *pg, lph_sent sent, const lph_error *last_words, lph_error *e) {
  if (last_words != NULL && lph_error_is_set(last_words)) {
    lph_error_set(e, "closed", "the server had ended this session: %s",
                  lph_error_get(last_words, LPH_E_MESSAGE));
    lph_error_sqlstate(e, last_words->sqlstate);
    lph_error_put(e, LPH_E_DETAIL, lph_error_get(last_words, LPH_E_DETAIL));
    lph_error_put(e, LPH_E_HINT, lph_error_get(last_words, LPH_E_HINT));
  } else {
    const char *message = PQerrorMessage(pg);
    lph_error_set(e, "closed", "%s", message[0] == '\0' ? "the connection is lost" : message);
  }
  e->sent = sent;
}

void lph_outcome_refused(PGconn *pg, lph_error *e) {
  const char *message = PQerrorMessage(pg);
  lph_error_set(e, strstr(message, "memory") != NULL ? "out_of_memory" : "protocol", "%s", message);
}

void lph_outcome_ignore_notice(void *arg, const char *message) {
  (void)arg;
  (void)message;
}
