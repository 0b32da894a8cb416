/* feed.c - see feed.h. SPDX-License-Identifier: MIT */
#include "core/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct feed {
  int number;  /* of the descriptor libpq uses */
  int real;    /* the connection, parked */
  int pair[2]; /* ours, libpq's */
} feed;

static void shut(int fd) {
  if (fd >= 0) close(fd);
}

/* libpq may have given the connection up and opened another one, perhaps under the same number. */
static bool is_ours(const feed *f, int fd) {
  struct stat a, b;
  return fd == f->number && fstat(fd, &a) == 0 && fstat(f->pair[1], &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

static bool put_in(int fd, const char *data, size_t len) {
  return send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* The judged bytes change over to the pair. They are fewer than any socket buffer holds. */
static bool carry_in(const feed *f, size_t count) {
  char chunk[4096];
  while (count > 0) {
    ssize_t n = recv(f->real, chunk, count < sizeof chunk ? count : sizeof chunk, MSG_DONTWAIT);
    if (n <= 0 || !put_in(f->pair[0], chunk, (size_t)n)) return false;
    count -= (size_t)n;
  }
  return true;
}

static bool send_all(lph_job *job, int fd, const char *data, size_t len, double deadline) {
  while (len > 0) {
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN && lph_job_wait(job, fd, POLLOUT, deadline) > 0) continue;
    if (n < 0) return false; /* the next read from the socket tells why */
    data += n;
    len -= (size_t)n;
  }
  return true;
}

static void carry_out(lph_job *job, const feed *f, double deadline) {
  char chunk[4096];
  for (;;) {
    ssize_t n = recv(f->pair[0], chunk, sizeof chunk, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || !send_all(job, f->real, chunk, (size_t)n, deadline)) return;
  }
}

/* Non-blocking like libpq's own socket, and not for programs we may start. */
static bool open_feed(feed *f, int fd) {
  *f = (feed){.number = fd, .real = -1, .pair = {-1, -1}};
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, f->pair) != 0) return false;
  for (int i = 0; i < 2; i++)
    if (fcntl(f->pair[i], F_SETFD, FD_CLOEXEC) != 0 || fcntl(f->pair[i], F_SETFL, O_NONBLOCK) != 0)
      return false;
  f->real = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return f->real >= 0;
}

static void close_feed(feed *f) {
  shut(f->real);
  shut(f->pair[0]);
  shut(f->pair[1]);
}

static bool put_under(int fd, int number) {
  return dup2(fd, number) >= 0 && fcntl(number, F_SETFD, FD_CLOEXEC) == 0;
}

PostgresPollingStatusType lph_feed_poll(lph_job *job, PGconn *pg, size_t count, double deadline) {
  feed f;
  PostgresPollingStatusType want = PGRES_POLLING_FAILED;
  if (open_feed(&f, PQsocket(pg)) && carry_in(&f, count) && put_under(f.pair[1], f.number)) {
    want = PQconnectPoll(pg);
    /* A failed attempt still owes the server its last words (a TLS alert, a Terminate). */
    carry_out(job, &f, deadline);
    if (is_ours(&f, PQsocket(pg)) && !put_under(f.real, f.number)) want = PGRES_POLLING_FAILED;
  }
  close_feed(&f);
  return want;
}
