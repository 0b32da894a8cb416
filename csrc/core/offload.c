/* offload.c - see offload.h. SPDX-License-Identifier: MIT */
#include "core/offload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* glibc's resolver and OpenSSL stay well below this; the default of 8 MiB is only address space,
 * but it counts under RLIMIT_AS. */
#define THREAD_STACK ((size_t)1 << 19)

static void drop_share(lph_job *job) {
  if (atomic_fetch_sub(&job->owners, 1) != 1) return;
  close(job->thread_fd);
  job->destroy(job);
}

static void *thread_main(void *arg) {
  lph_job *job = arg;
  job->run(job);
  atomic_store(&job->done, true);
  char byte = 1;
  /* The caller may have gone: MSG_NOSIGNAL, and nobody to tell about a failure. */
  (void)!send(job->thread_fd, &byte, 1, MSG_NOSIGNAL);
  drop_share(job);
  return NULL;
}

static int open_pair(lph_job *job) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return errno;
  for (int i = 0; i < 2; i++) {
    fcntl(pair[i], F_SETFD, FD_CLOEXEC);
    fcntl(pair[i], F_SETFL, O_NONBLOCK);
  }
  job->caller_fd = pair[0];
  job->thread_fd = pair[1];
  return 0;
}

/* A thread inherits its creator's mask: block everything meanwhile, or the host program's signal
 * handlers (nginx's, an interpreter's) would run on our thread. */
static int spawn(lph_job *job) {
  sigset_t all, before;
  pthread_attr_t attr;
  pthread_t thread;
  sigfillset(&all);
  int rc = pthread_attr_init(&attr);
  if (rc != 0) return rc;
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, THREAD_STACK);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  rc = pthread_create(&thread, &attr, thread_main, job);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attr);
  return rc;
}

lph_err lph_job_start(lph_job *job, void (*run)(lph_job *), void (*destroy)(lph_job *), lph_error *e) {
  job->run = run;
  job->destroy = destroy;
  atomic_init(&job->owners, 2);
  atomic_init(&job->done, false);
  atomic_init(&job->stopped, false);
  atomic_init(&job->detached, false);
  job->caller_fd = job->thread_fd = -1;
  char room[128];
  int rc = open_pair(job);
  if (rc != 0) {
    destroy(job);
    return lph_error_set(e, "resource", "cannot make a socket pair: %s",
                         lph_error_of_errno(rc, room, sizeof room));
  }
  rc = spawn(job);
  if (rc != 0) {
    close(job->caller_fd);
    close(job->thread_fd);
    destroy(job);
    return lph_error_set(e, "resource", "cannot start a helper thread: %s",
                         lph_error_of_errno(rc, room, sizeof room));
  }
  return LPH_OK;
}

bool lph_job_is_done(lph_job *job) { return atomic_load(&job->done); }

void lph_job_release(lph_job *job) {
  atomic_store(&job->stopped, true);
  shutdown(job->caller_fd, SHUT_RDWR); /* wakes the thread, also where a forked child has a copy open */
  close(job->caller_fd);
  drop_share(job);
}

void lph_job_detach(lph_job *job) {
  atomic_store(&job->detached, true);
  close(job->caller_fd);
  drop_share(job);
}

/* The caller's share keeps the thread's descriptor open until here: it is the child's copy of that one. */
void lph_job_forget(lph_job *job) {
  close(job->caller_fd);
  close(job->thread_fd);
}

int lph_job_wait(lph_job *job, int fd, short events, double deadline) {
  struct pollfd set[2] = {{job->thread_fd, POLLIN, 0}, {fd, events, 0}};
  for (;;) {
    if (lph_job_stopped(job)) return -1;
    if (atomic_load(&job->detached)) set[0] = (struct pollfd){-1, 0, 0};
    int n = poll(set, fd < 0 ? 1 : 2, lph_poll_ms(deadline));
    if (n < 0 && errno != EINTR) return -1;
    if (n > 0 && set[0].revents != 0) {
      if (atomic_load(&job->detached)) continue;
      return -1;
    }
    if (n > 0) return set[1].revents;
    if (n == 0 && lph_is_past(deadline)) return 0;
  }
}
