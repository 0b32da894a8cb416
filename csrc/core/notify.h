/* notify.h - a session that is there to listen.
 *
 * Elsewhere notifications are dropped: nobody listens on a connection that runs statements. A listening one keeps them in
 * libpq until they are taken, one by one and in order; its owner takes all of them after each step, so what piles up is
 * what one mouthful holds (sip.h), however fast the server sends.
 *
 * Whoever waits for such a session waits for a descriptor of ours, a duplicate of libpq's. libpq closes its own in whatever
 * call finds the session broken, which may be another task's; an event loop would never wake who waits for that.
 * Closing the session ends the stream, so that the waiter wakes, and leaves the descriptor open until lph_notify_end.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_NOTIFY_H
#define LPH_NOTIFY_H

#include "core/conn.h"

/* From now on notifications are kept. IDLE only; fails without a descriptor, conn->error tells. `beside`: its owner runs
 * statements as well, which are served as on any other connection, so that a flood of notifications under a statement
 * does pile up; and the session cannot be put in order for somebody else. */
lph_err lph_notify_begin(lph_conn *c, bool beside);
/* Closes the session and the descriptor: nobody may be waiting for it any more. Idempotent. */
void lph_notify_end(lph_conn *c);

/* Reads what is there, without waiting; only between operations. LPH_WANT_READ, or LPH_FAILED when the session is lost. */
lph_want lph_notify_hear(lph_conn *c);
/* Is there input that waiting for the descriptor would not tell of? */
bool lph_notify_has_input(const lph_conn *c);

/* The oldest notification, or NULL. It stays conn's until lph_notify_drop. */
const PGnotify *lph_notify_peek(lph_conn *c);
void lph_notify_drop(lph_conn *c);

#endif
