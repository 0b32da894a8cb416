/* cancel.h - asks the server to stop what a connection is doing, without blocking the caller.
 *
 * A cancel request is a connection of its own, aimed at a session, not at a statement: it must
 * have been answered before the session is used again, or it hits the next statement. libpq 17 does it
 * encrypted and in steps; before that PQcancel blocks, and sends the key in plain text. Either runs
 * as a job (offload.h).
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_CANCEL_H
#define LPH_CANCEL_H

#include <libpq-fe.h>

#include "base/error.h"

typedef struct lph_cancel lph_cancel;

/* Takes what it needs from `pg` at once; `pg` may be closed meanwhile. NULL: `e` says why. */
lph_cancel *lph_cancel_start(PGconn *pg, double timeout, lph_error *e);
int lph_cancel_fd(const lph_cancel *cancel); /* readable when it has ended */
bool lph_cancel_is_done(lph_cancel *cancel);
/* After the end: did the server take the request? Otherwise `e` says why. */
bool lph_cancel_was_sent(lph_cancel *cancel, lph_error *e);
/* The statement under way on `pg` is of no use to anybody, and `pg` about to be closed: a request is sent, if that can
 * be, and nobody hears of it. Never waits; many at the same time are not all sent. */
void lph_cancel_abandoned(PGconn *pg);
void lph_cancel_release(lph_cancel *cancel); /* before or after the end */
void lph_cancel_forget(lph_cancel *cancel);  /* in a child after fork */

/* Whether the libpq at hand encrypts cancel requests (17 or newer). */
bool lph_cancel_is_encrypted(void);

#endif
