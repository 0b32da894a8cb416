/* offload.h - work that libraries can only do blocking, done on a helper thread.
 *
 * Name resolution, TLS and SCRAM arithmetic, and libpq's old cancel block or burn CPU inside one
 * call. A job runs such work on a short-lived detached thread of its own (a hostile peer that holds
 * one thread must not delay the next job), and tells the end through a socket pair, so that any
 * event loop can wait for it like for any other socket.
 *
 *      caller                              thread
 *      lph_job_start  ------------------>  job->run(job)
 *      waits: lph_job_fd is readable  <--  one byte
 *      lph_job_is_done, takes the result
 *      lph_job_release                     (whoever is last calls job->destroy)
 *
 * Letting go before the end (deadline, close, garbage collection) is lph_job_release as well: the
 * thread sees it in lph_job_wait / lph_job_stopped, stops when it can, and frees what it made.
 * A thread of ours never touches Lua. SPDX-License-Identifier: MIT */
#ifndef LPH_OFFLOAD_H
#define LPH_OFFLOAD_H

#include <stdatomic.h>

#include "base/error.h"

typedef struct lph_job {
  void (*run)(struct lph_job *);     /* on the helper thread */
  void (*destroy)(struct lph_job *); /* frees what the struct around the job owns, and itself */
  atomic_int owners;
  atomic_bool done, stopped, detached;
  int caller_fd, thread_fd;
} lph_job;

/* To be embedded as first member. After LPH_OK the caller owns one share. On failure the job was
 * destroyed and `e` says why. */
lph_err lph_job_start(lph_job *job, void (*run)(lph_job *), void (*destroy)(lph_job *), lph_error *e);
static inline int lph_job_fd(const lph_job *job) { return job->caller_fd; }
bool lph_job_is_done(lph_job *job);
void lph_job_release(lph_job *job); /* the caller's share; the job must not be used afterwards */
/* The caller's share as well, but the thread goes on to the end of its work. */
void lph_job_detach(lph_job *job);
/* For a child after fork, where the thread does not exist: closes our descriptor, frees nothing. */
void lph_job_forget(lph_job *job);

/* On the thread: polls `fd` for POLLIN / POLLOUT until `deadline`. Returns the ready events, 0 when
 * the deadline passed, -1 when the caller let go. fd -1 only waits. */
int lph_job_wait(lph_job *job, int fd, short events, double deadline);
static inline bool lph_job_stopped(lph_job *job) { return atomic_load(&job->stopped); }

#endif
