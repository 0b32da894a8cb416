/* sip.c - see sip.h. SPDX-License-Identifier: MIT */
#include "core/sip.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/crypto.h"

/* Much less than the buffer of a socket pair holds (about 200 kB), and more than libpq reads at a time. */
#define MOUTHFUL 32768

/* Non-blocking like libpq's own socket, and not for programs we may start. */
static bool open_sip(lph_sip *s, int fd) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s->pair) != 0) return false;
  s->real = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  s->open = s->real >= 0;
  if (s->open) return true;
  close(s->pair[0]);
  close(s->pair[1]);
  return false;
}

void lph_sip_close(lph_sip *s) {
  if (!s->open) return;
  close(s->real);
  close(s->pair[0]);
  close(s->pair[1]);
  s->open = false;
}

static bool put_under(int fd, int number) {
  int rc;
  do rc = dup3(fd, number, O_CLOEXEC);
  while (rc < 0 && errno == EINTR);
  return rc >= 0;
}

static bool is_empty(int fd) {
  int n = 0;
  return ioctl(fd, FIONREAD, &n) != 0 || n == 0;
}

/* For so much libpq makes room before it reads, and one call takes it; a TLS record at a time it may be less. */
#define AT_ONCE 8192

static bool swallow(const lph_sip *s, PGconn *pg, int fd, bool at_once) {
  if (!put_under(s->pair[1], fd)) return false;
  bool ok;
  do ok = PQconsumeInput(pg);
  while (ok && !at_once && !is_empty(s->pair[1]));
  /* After a broken TLS record libpq has closed the number already, and it may be somebody else's. */
  return (PQsocket(pg) != fd || put_under(s->real, fd)) && ok;
}

/* Only for want of memory in the kernel. The number keeps our end, so that nobody reads behind the gap. */
bool lph_sip_cut(lph_sip *s, PGconn *pg) {
  int fd = PQsocket(pg);
  shutdown(s->real, SHUT_RDWR);
  shutdown(s->pair[0], SHUT_RDWR);
  if (fd >= 0) put_under(s->pair[1], fd);
  return PQconsumeInput(pg);
}

static bool consume(lph_sip *s, PGconn *pg, void *ssl, lph_sip_look *look, void *arg, size_t *taken) {
  char room[LPH_SIP_ROOM + MOUTHFUL], *mouthful = room + LPH_SIP_ROOM;
  int fd = PQsocket(pg);
  *taken = 0;
  /* libpq writes what is left first, which must not go into the pair. Nothing long comes from a server that has not
   * got all of the statement. */
  if (PQflush(pg) != 0 || (!s->open && !open_sip(s, fd))) {
    s->passed_by = true;
    return PQconsumeInput(pg);
  }
  ssize_t n = recv(fd, mouthful, MOUTHFUL, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    return lph_tls_pending(ssl) > 0 ? swallow(s, pg, fd, false) : true;
  }
  if (n <= 0) return PQconsumeInput(pg); /* the end, which libpq shall see itself */
  *taken = (size_t)n;
  if (look != NULL) n = (ssize_t)look(arg, &mouthful, (size_t)n);
  if (n == 0) return true;
  bool at_once = ssl == NULL && n <= AT_ONCE;
  if (send(s->pair[0], mouthful, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
    return swallow(s, pg, fd, at_once);
  return lph_sip_cut(s, pg);
}

bool lph_sip_open(lph_sip *s, PGconn *pg) { return s->open || open_sip(s, PQsocket(pg)); }

bool lph_sip_feed(lph_sip *s, PGconn *pg, const char *data, size_t len) {
  int fd = PQsocket(pg);
  while (len > 0) {
    size_t n = len < MOUTHFUL ? len : MOUTHFUL;
    if (send(s->pair[0], data, n, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n) return lph_sip_cut(s, pg);
    if (!swallow(s, pg, fd, n <= AT_ONCE)) return false;
    data += n;
    len -= n;
  }
  return true;
}

bool lph_sip_consume(lph_sip *s, PGconn *pg, void *ssl, size_t *taken) {
  return consume(s, pg, ssl, NULL, NULL, taken);
}

bool lph_sip_consume_seen(lph_sip *s, PGconn *pg, lph_sip_look *look, void *arg, size_t *taken) {
  return consume(s, pg, NULL, look, arg, taken);
}
