/* dial.c - see dial.h.
 *
 *   settle     what libpq would do with these parameters: hosts, ports, wanted session kind
 *   for each host: resolve; for each address: attempt
 *   attempt    PQconnectStartParams for this one address, then PQconnectPoll under guard and deadline
 *
 * The result fields are written by the thread before the job says done, and read by the caller
 * after it: the atomic flag of the job orders the two.
 *
 * SPDX-License-Identifier: MIT */
#include "core/dial.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/feed.h"
#include "core/guard.h"
#include "core/offload.h"
#include "core/outcome.h"
#include "crypto/crypto.h"

struct lph_dial {
  lph_job job; /* first: the job is the dial */
  char **keywords, **values;
  int param_count;
  double deadline;
  double attempt_timeout;
  int hosts_ahead, addresses_ahead; /* still to be tried, the present ones included */
  bool allow_plaintext_password;
  /* results */
  PGconn *pg;
  lph_attempt attempts[LPH_DIAL_ATTEMPTS];
  int attempt_count;
  lph_error error; /* failures that belong to no attempt: memory, bad parameters */
};

/* What the parameters come to once libpq has added its environment, service file and defaults. */
typedef struct settled {
  char *host, *hostaddr, *port, *session_attrs;
} settled;

static char *copy(const char *text) { return text == NULL ? NULL : lph_strndup(text, strlen(text)); }

/* Which entry of a comma list; the only one of a one-entry list serves every host, as in libpq. */
static char *list_entry(const char *list, int index) {
  if (list == NULL || *list == '\0') return NULL;
  if (strchr(list, ',') == NULL) index = 0;
  for (; index > 0; index--) {
    list = strchr(list, ',');
    if (list == NULL) return NULL;
    list++;
  }
  return lph_strndup(list, strcspn(list, ","));
}

static int list_length(const char *list) {
  int n = list != NULL && *list != '\0';
  for (; list != NULL && *list != '\0'; list++) n += *list == ',';
  return n;
}

/* ---- parameters ------------------------------------------------------------------------------ */

#define EXTRA_PARAMS 5 /* host, hostaddr, port, target_session_attrs, and the closing NULL */

typedef struct overlay {
  const char *keywords[EXTRA_PARAMS], *values[EXTRA_PARAMS];
  int count;
} overlay;

static void overlay_put(overlay *o, const char *keyword, const char *value) {
  o->keywords[o->count] = keyword;
  o->values[o->count++] = value;
}

/* PQconnectStartParams with the user's parameters and ours behind them: later ones win. */
static PGconn *start_with(const lph_dial *d, const overlay *o) {
  size_t n = (size_t)d->param_count + (size_t)o->count + 1;
  const char **keywords = lph_array(n, sizeof *keywords), **values = lph_array(n, sizeof *values);
  PGconn *pg = NULL;
  if (keywords != NULL && values != NULL) {
    memcpy(keywords, d->keywords, (size_t)d->param_count * sizeof *keywords);
    memcpy(values, d->values, (size_t)d->param_count * sizeof *values);
    memcpy(keywords + d->param_count, o->keywords, (size_t)o->count * sizeof *keywords);
    memcpy(values + d->param_count, o->values, (size_t)o->count * sizeof *values);
    pg = PQconnectStartParams(keywords, values, 0);
  }
  lph_free(keywords);
  lph_free(values);
  return pg;
}

static void settled_free(settled *s) {
  lph_free(s->host);
  lph_free(s->hostaddr);
  lph_free(s->port);
  lph_free(s->session_attrs);
}

/* libpq alone knows how environment, service file and defaults mix. A start that must fail before
 * it touches the network (no such channel_binding) leaves the mixture behind for PQconninfo. */
static bool settle(const lph_dial *d, settled *s) {
  overlay stop = {0};
  overlay_put(&stop, "channel_binding", "(only looking)");
  PGconn *pg = start_with(d, &stop);
  PQconninfoOption *options = pg == NULL ? NULL : PQconninfo(pg);
  bool ok = options != NULL;
  for (PQconninfoOption *o = options; ok && o->keyword != NULL; o++) {
    char **to = strcmp(o->keyword, "host") == 0                   ? &s->host
                : strcmp(o->keyword, "hostaddr") == 0             ? &s->hostaddr
                : strcmp(o->keyword, "port") == 0                 ? &s->port
                : strcmp(o->keyword, "target_session_attrs") == 0 ? &s->session_attrs
                                                                  : NULL;
    if (to == NULL || o->val == NULL) continue;
    *to = copy(o->val);
    ok = *to != NULL;
  }
  PQconninfoFree(options);
  PQfinish(pg);
  return ok;
}

/* ---- one attempt ------------------------------------------------------------------------------ */

static lph_attempt *new_attempt(lph_dial *d, const char *host, const char *address, const char *port) {
  if (d->attempt_count == LPH_DIAL_ATTEMPTS) return NULL;
  lph_attempt *a = &d->attempts[d->attempt_count++];
  a->host = copy(host);
  a->address = copy(address);
  a->port = copy(port);
  return a;
}

static void say_timeout(lph_attempt *a, PGconn *pg) {
  ConnStatusType status = PQstatus(pg);
  const char *where = status == CONNECTION_STARTED             ? "waiting for the TCP connection"
                      : status == CONNECTION_SSL_STARTUP       ? "in the TLS handshake"
                      : status == CONNECTION_AWAITING_RESPONSE ? "waiting for the server to answer"
                                                               : "while the session was being set up";
  lph_error_set(&a->error, "connect_timeout", "timed out %s", where);
}

/* Drives PQconnectPoll. True = connected; false = a->error says why (or the caller let go). */
static bool drive(lph_dial *d, PGconn *pg, double deadline, lph_attempt *a) {
  lph_error refusal = {0}, server_error = {0};
  PostgresPollingStatusType want = PGRES_POLLING_WRITING;
  bool decided = false, connected = false;
  while (!decided) {
    int ready = lph_job_wait(&d->job, PQsocket(pg), want == PGRES_POLLING_READING ? POLLIN : POLLOUT,
                             deadline);
    if (ready < 0) break;
    if (ready == 0) {
      say_timeout(a, pg);
      break;
    }
    size_t judged = 0;
    lph_verdict verdict = lph_guard_look(pg, d->allow_plaintext_password, &refusal, &server_error, &judged);
    if (verdict == LPH_GUARD_REFUSE) {
      lph_error_copy(&a->error, &refusal);
      break;
    }
    if (verdict == LPH_GUARD_WAIT) {
      if (lph_is_past(deadline)) say_timeout(a, pg);
      if (lph_is_past(deadline)) break;
      lph_job_wait(&d->job, -1, 0, lph_deadline(0.002));
      continue;
    }
    ConnStatusType before = PQstatus(pg);
    want = judged > 0 ? lph_feed_poll(&d->job, pg, judged, deadline) : PQconnectPoll(pg);
    if (PQstatus(pg) == CONNECTION_SSL_STARTUP && PQsslInUse(pg)) lph_tls_watch(PQsslStruct(pg, "OpenSSL"));
    connected = want == PGRES_POLLING_OK;
    decided = connected || want == PGRES_POLLING_FAILED;
    if (decided && !connected) lph_outcome_connect(pg, before, &server_error, &a->error);
  }
  lph_error_free(&refusal);
  lph_error_free(&server_error);
  return connected;
}

/* An address gets what the user grants each, or else an equal share of the time that is left: one that swallows packets
 * must not use up what the next one needs. */
static double attempt_deadline(const lph_dial *d) {
  if (d->attempt_timeout >= 0 || d->deadline < 0)
    return lph_sooner(d->deadline, lph_deadline(d->attempt_timeout));
  int ahead = d->hosts_ahead - 1 + d->addresses_ahead;
  double now = lph_now();
  return now + (d->deadline - now) / (ahead > 1 ? ahead : 1);
}

/* One address. True when connected. */
static bool attempt(lph_dial *d, const char *host, const char *address, const char *port,
                    const char *session_attrs) {
  lph_attempt *a = new_attempt(d, host, address, port);
  if (a == NULL) return false;
  overlay o = {0};
  if (host != NULL) overlay_put(&o, "host", host);
  if (host != NULL || address != NULL) overlay_put(&o, "hostaddr", address == NULL ? "" : address);
  if (port != NULL) overlay_put(&o, "port", port);
  if (session_attrs != NULL) overlay_put(&o, "target_session_attrs", session_attrs);
  PGconn *pg = start_with(d, &o);
  if (pg == NULL) {
    lph_error_oom(&a->error);
    return false;
  }
  PQsetNoticeProcessor(pg, lph_outcome_ignore_notice, NULL);
  double deadline = attempt_deadline(d);
  bool connected = false;
  if (PQstatus(pg) == CONNECTION_BAD) {
    lph_outcome_connect(pg, CONNECTION_STARTED, NULL, &a->error);
  } else {
    connected = drive(d, pg, deadline, a);
  }
  if (connected && PQsetnonblocking(pg, 1) == 0) {
    d->pg = pg;
    return true;
  }
  PQfinish(pg);
  return false;
}

/* After a failure: would another address do better? A server that answered and said no (wrong
 * password, no such database, a certificate that does not verify) is final, as in libpq; one that is starting,
 * stopping or full is not. */
static bool worth_going_on(const lph_dial *d) {
  if (lph_job_stopped((lph_job *)&d->job) || lph_is_past(d->deadline)) return false;
  const lph_error *last = &d->attempts[d->attempt_count - 1].error;
  if (last->kind == NULL || strcmp(last->kind, "out_of_memory") == 0) return false;
  if (strcmp(last->kind, "tls_verify") == 0 || strcmp(last->kind, "auth_method") == 0) return false;
  if (last->sqlstate[0] == '\0') return strcmp(last->kind, "config") != 0;
  return strncmp(last->sqlstate, "57P0", 4) == 0 || strcmp(last->sqlstate, "53300") == 0;
}

/* ---- all hosts --------------------------------------------------------------------------------- */

typedef enum outcome { CONNECTED, GO_ON, GIVE_UP } outcome;

static outcome try_address(lph_dial *d, const char *host, const char *address, const char *port,
                           const char *session_attrs) {
  if (d->attempt_count == LPH_DIAL_ATTEMPTS) return GIVE_UP;
  if (attempt(d, host, address, port, session_attrs)) return CONNECTED;
  return worth_going_on(d) ? GO_ON : GIVE_UP;
}

static outcome try_name(lph_dial *d, const char *host, const char *port, const char *session_attrs) {
  struct addrinfo hints = {0}, *found = NULL;
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  int rc = getaddrinfo(host, NULL, &hints, &found);
  if (rc != 0) {
    lph_attempt *a = new_attempt(d, host, NULL, port);
    if (a == NULL) return GIVE_UP;
    lph_error_set(&a->error, "dns", "cannot resolve host name \"%s\": %s", host, gai_strerror(rc));
    return lph_is_past(d->deadline) ? GIVE_UP : GO_ON;
  }
  outcome end = GO_ON;
  d->addresses_ahead = 0;
  for (struct addrinfo *at = found; at != NULL; at = at->ai_next) d->addresses_ahead++;
  for (struct addrinfo *at = found; at != NULL && end == GO_ON; at = at->ai_next, d->addresses_ahead--) {
    char address[128];
    if (getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof address, NULL, 0, NI_NUMERICHOST) != 0)
      continue;
    end = try_address(d, host, address, port, session_attrs);
  }
  freeaddrinfo(found);
  return end;
}

static outcome try_host(lph_dial *d, const settled *s, int index, const char *session_attrs) {
  char *host = list_entry(s->host, index), *address = list_entry(s->hostaddr, index);
  char *port = list_entry(s->port, index);
  bool is_name = host != NULL && host[0] != '\0' && host[0] != '/' && host[0] != '@';
  outcome end;
  d->addresses_ahead = 1;
  if (address != NULL && address[0] != '\0') {
    end = try_address(d, host, address, port, session_attrs);
  } else if (is_name) {
    end = try_name(d, host, port, session_attrs);
  } else {
    end = try_address(d, host, NULL, port, session_attrs);
  }
  lph_free(host);
  lph_free(address);
  lph_free(port);
  return end;
}

static outcome try_all(lph_dial *d, const settled *s, const char *session_attrs) {
  int hosts = list_length(s->host), addresses = list_length(s->hostaddr);
  if (addresses > hosts) hosts = addresses;
  d->hosts_ahead = hosts;
  if (hosts == 0) return try_host(d, s, 0, session_attrs); /* libpq's default socket or localhost */
  outcome end = GO_ON;
  for (int i = 0; i < hosts && end == GO_ON; i++, d->hosts_ahead--) end = try_host(d, s, i, session_attrs);
  return end;
}

/* Lists of different lengths are a configuration error that libpq words best. */
static bool lists_agree(const settled *s) {
  int hosts = list_length(s->host), addresses = list_length(s->hostaddr), ports = list_length(s->port);
  if (hosts > 0 && addresses > 0 && hosts != addresses) return false;
  return ports <= 1 || ports == (hosts > addresses ? hosts : addresses);
}

static void run(lph_job *job) {
  lph_dial *d = (lph_dial *)job;
  settled s = {0};
  if (!settle(d, &s)) {
    lph_error_oom(&d->error);
  } else if (!lists_agree(&s)) {
    attempt(d, NULL, NULL, NULL, NULL);
  } else if (s.session_attrs != NULL && strcmp(s.session_attrs, "prefer-standby") == 0) {
    /* Each attempt of ours knows one address only: libpq's second round over all hosts is ours. */
    if (try_all(d, &s, "standby") == GO_ON) try_all(d, &s, "any");
  } else {
    try_all(d, &s, NULL);
  }
  settled_free(&s);
}

/* ---- life --------------------------------------------------------------------------------------- */

static void destroy(lph_job *job) {
  lph_dial *d = (lph_dial *)job;
  PQfinish(d->pg);
  for (int i = 0; i < d->param_count; i++) {
    lph_free(d->keywords[i]);
    if (d->values[i] != NULL) lph_wipe(d->values[i], strlen(d->values[i])); /* one is the password */
    lph_free(d->values[i]);
  }
  lph_free(d->keywords);
  lph_free(d->values);
  for (int i = 0; i < d->attempt_count; i++) {
    lph_free(d->attempts[i].host);
    lph_free(d->attempts[i].address);
    lph_free(d->attempts[i].port);
    lph_error_free(&d->attempts[i].error);
  }
  lph_error_free(&d->error);
  lph_free(d);
}

static lph_dial *new_dial(const lph_dial_options *options) {
  int n = 0;
  while (options->keywords[n] != NULL) n++;
  lph_dial *d = lph_zalloc(sizeof *d);
  if (d == NULL) return NULL;
  d->keywords = lph_array((size_t)n + 1, sizeof *d->keywords);
  d->values = lph_array((size_t)n + 1, sizeof *d->values);
  bool ok = d->keywords != NULL && d->values != NULL;
  for (int i = 0; ok && i < n; i++) {
    d->keywords[i] = copy(options->keywords[i]);
    d->values[i] = copy(options->values[i]);
    d->param_count = i + 1;
    ok = d->keywords[i] != NULL && (d->values[i] != NULL || options->values[i] == NULL);
  }
  d->deadline = lph_deadline(options->connect_timeout);
  d->attempt_timeout = options->attempt_timeout;
  d->allow_plaintext_password = options->allow_plaintext_password;
  if (ok) return d;
  destroy(&d->job);
  return NULL;
}

lph_dial *lph_dial_start(const lph_dial_options *options, lph_error *e) {
  lph_dial *d = new_dial(options);
  if (d == NULL) {
    lph_error_oom(e);
    return NULL;
  }
  return lph_job_start(&d->job, run, destroy, e) == LPH_OK ? d : NULL;
}

int lph_dial_fd(const lph_dial *dial) { return lph_job_fd(&dial->job); }
bool lph_dial_is_done(lph_dial *dial) { return lph_job_is_done(&dial->job); }

/* A server's own words tell more than a refused port of another host; among equals the last. */
static const lph_error *most_telling(const lph_dial *d) {
  const lph_error *best = NULL;
  for (int i = 0; i < d->attempt_count; i++) {
    const lph_error *e = &d->attempts[i].error;
    if (e->kind != NULL && (best == NULL || best->sqlstate[0] == '\0' || e->sqlstate[0] != '\0')) best = e;
  }
  return best;
}

PGconn *lph_dial_take(lph_dial *dial, lph_error *e) {
  PGconn *pg = dial->pg;
  dial->pg = NULL;
  if (pg != NULL) return pg;
  const lph_error *why = most_telling(dial);
  if (why == NULL && lph_error_is_set(&dial->error)) why = &dial->error;
  if (why != NULL) {
    lph_error_copy(e, why);
  } else {
    lph_error_set(e, "connect_timeout", "timed out before a connection could be tried");
  }
  return NULL;
}

int lph_dial_attempts(const lph_dial *dial, const lph_attempt **list) {
  *list = dial->attempts;
  return dial->attempt_count;
}

void lph_dial_release(lph_dial *dial) { lph_job_release(&dial->job); }
void lph_dial_forget(lph_dial *dial) { lph_job_forget(&dial->job); }
