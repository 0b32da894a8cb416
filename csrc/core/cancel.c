/* cancel.c - see cancel.h. SPDX-License-Identifier: MIT */
#include "core/cancel.h"

#include <dlfcn.h>
#include <poll.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/offload.h"

/* libpq 17, looked up at run time: one build serves every libpq it meets. */
typedef struct modern_api {
  void *(*create)(PGconn *);
  int (*start)(void *);
  PostgresPollingStatusType (*poll)(void *);
  int (*socket)(const void *);
  char *(*message)(const void *);
  void (*finish)(void *);
} modern_api;

struct lph_cancel {
  lph_job job;
  modern_api api;
  void *modern; /* PGcancelConn */
  PGcancel *old;
  double deadline;
  bool sent;
  bool counted; /* among those nobody waits for */
  char message[256];
};

/* An old libpq sends a request blocking: to a host that swallows packets a thread may take minutes. */
#define UNATTENDED_MAX 4
#define UNATTENDED_SECONDS 5
static atomic_int unattended;

static bool find_modern(modern_api *api) {
  void *create = dlsym(RTLD_DEFAULT, "PQcancelCreate");
  if (create == NULL) return false;
  /* POSIX says a function pointer survives the way through void *; ISO C wants it copied. */
  void *found[] = {create,
                   dlsym(RTLD_DEFAULT, "PQcancelStart"),
                   dlsym(RTLD_DEFAULT, "PQcancelPoll"),
                   dlsym(RTLD_DEFAULT, "PQcancelSocket"),
                   dlsym(RTLD_DEFAULT, "PQcancelErrorMessage"),
                   dlsym(RTLD_DEFAULT, "PQcancelFinish")};
  for (size_t i = 0; i < lph_countof(found); i++)
    if (found[i] == NULL) return false;
  memcpy(&api->create, &found[0], sizeof found[0]);
  memcpy(&api->start, &found[1], sizeof found[1]);
  memcpy(&api->poll, &found[2], sizeof found[2]);
  memcpy(&api->socket, &found[3], sizeof found[3]);
  memcpy(&api->message, &found[4], sizeof found[4]);
  memcpy(&api->finish, &found[5], sizeof found[5]);
  return true;
}

bool lph_cancel_is_encrypted(void) {
  modern_api api;
  return find_modern(&api);
}

static void run_modern(lph_cancel *c) {
  PostgresPollingStatusType want = c->api.start(c->modern) ? PGRES_POLLING_WRITING : PGRES_POLLING_FAILED;
  while (want == PGRES_POLLING_WRITING || want == PGRES_POLLING_READING) {
    short events = want == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (lph_job_wait(&c->job, c->api.socket(c->modern), events, c->deadline) <= 0) break;
    want = c->api.poll(c->modern);
  }
  c->sent = want == PGRES_POLLING_OK;
  if (!c->sent) strncpy(c->message, c->api.message(c->modern), sizeof c->message - 1);
}

static void run(lph_job *job) {
  lph_cancel *c = (lph_cancel *)job;
  if (c->modern != NULL) {
    run_modern(c);
  } else {
    /* Returns when the server has closed the request's connection, that is after the signal. */
    c->sent = PQcancel(c->old, c->message, (int)sizeof c->message);
  }
}

static void destroy(lph_job *job) {
  lph_cancel *c = (lph_cancel *)job;
  PQfreeCancel(c->old);
  if (c->modern != NULL) c->api.finish(c->modern);
  if (c->counted) atomic_fetch_sub(&unattended, 1);
  lph_free(c);
}

static lph_cancel *start(PGconn *pg, double timeout, bool counted, lph_error *e) {
  lph_cancel *c = lph_zalloc(sizeof *c);
  if (c == NULL) {
    if (counted) atomic_fetch_sub(&unattended, 1);
    lph_error_oom(e);
    return NULL;
  }
  c->counted = counted;
  c->deadline = lph_deadline(timeout);
  if (find_modern(&c->api)) {
    c->modern = c->api.create(pg);
  } else {
    c->old = PQgetCancel(pg);
  }
  if (c->modern == NULL && c->old == NULL) {
    destroy(&c->job);
    lph_error_set(e, "closed", "there is nothing to cancel: the connection is closed");
    return NULL;
  }
  return lph_job_start(&c->job, run, destroy, e) == LPH_OK ? c : NULL;
}

lph_cancel *lph_cancel_start(PGconn *pg, double timeout, lph_error *e) {
  return start(pg, timeout, false, e);
}

void lph_cancel_abandoned(PGconn *pg) {
  if (PQstatus(pg) != CONNECTION_OK) return;
  if (atomic_fetch_add(&unattended, 1) >= UNATTENDED_MAX) {
    atomic_fetch_sub(&unattended, 1);
    return;
  }
  lph_error ignored = {0};
  lph_cancel *c = start(pg, UNATTENDED_SECONDS, true, &ignored);
  if (c != NULL) lph_job_detach(&c->job);
  lph_error_free(&ignored);
}

int lph_cancel_fd(const lph_cancel *c) { return lph_job_fd(&c->job); }
bool lph_cancel_is_done(lph_cancel *c) { return lph_job_is_done(&c->job); }

bool lph_cancel_was_sent(lph_cancel *c, lph_error *e) {
  if (c->sent) return true;
  lph_error_set(e, "cancelled", "the cancel request could not be delivered: %s", c->message);
  return false;
}

void lph_cancel_release(lph_cancel *c) { lph_job_release(&c->job); }
void lph_cancel_forget(lph_cancel *c) { lph_job_forget(&c->job); }
