/* notify.c - see notify.h. SPDX-License-Identifier: MIT */
#include "core/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/marks.h"
#include "core/outcome.h"
#include "crypto/crypto.h"

lph_err lph_notify_begin(lph_conn *c, bool beside) {
  if (lph_conn_check_idle(c) != LPH_OK) return LPH_EFAIL;
  if (c->hears) return LPH_OK;
  int fd = fcntl(PQsocket(c->pg), F_DUPFD_CLOEXEC, 0);
  if (fd < 0)
    return lph_error_set(&c->error, "resource", "no descriptor to listen with: %s", strerror(errno));
  c->ear = fd;
  c->hears = true;
  c->hears_beside = beside;
  if (beside) c->marks |= LPH_MARK_LASTING;
  return LPH_OK;
}

void lph_notify_end(lph_conn *c) {
  lph_conn_close(c);
  if (!c->hears) return;
  c->hears = c->hears_beside = false;
  close(c->ear);
  if (c->notification != NULL) PQfreemem(c->notification);
  c->notification = NULL;
}

/* The server sends notifications, notices and reports of settings, all of them short. One message that never ends is
 * not one of them. */
static bool is_flood(const lph_conn *c) {
  return c->max_result_bytes != 0 && c->op.received > c->max_result_bytes;
}

lph_want lph_notify_hear(lph_conn *c) {
  if (lph_conn_check_idle(c) != LPH_OK) return LPH_FAILED;
  bool there = lph_op_consume(c);
  lph_notify_peek(
    c); /* libpq takes messages apart when it is asked for them, and may give the session up over one */
  if (PQstatus(c->pg) == CONNECTION_BAD) there = false;
  /* What came before the end is delivered first; the end stays what it is. */
  if (!there) return c->notification != NULL ? LPH_WANT_READ : lph_conn_lost(c, LPH_SENT_NO);
  c->last_use = lph_now();
  if (!is_flood(c)) return LPH_WANT_READ;
  lph_error_set(&c->error, "protocol", "the server sends what no server sends to who listens: %zu bytes",
                c->op.received);
  lph_conn_close(c);
  return LPH_FAILED;
}

bool lph_notify_has_input(const lph_conn *c) { return c->ssl != NULL && lph_tls_pending(c->ssl) > 0; }

const PGnotify *lph_notify_peek(lph_conn *c) {
  if (c->notification == NULL && c->pg != NULL && c->hears) c->notification = PQnotifies(c->pg);
  return c->notification;
}

void lph_notify_drop(lph_conn *c) {
  if (c->notification == NULL) return;
  PQfreemem(c->notification);
  c->notification = NULL;
  c->op.received = 0;
}
