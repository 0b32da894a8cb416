/* dial.h - one attempt to get a connected PGconn, off the caller's thread.
 *
 * libpq resolves names and does its TLS and SCRAM arithmetic inside calls that cannot be
 * interrupted, and its asynchronous interface ignores connect_timeout. So the whole dialling runs
 * as a job (offload.h): every host and every address of it is an attempt with its own deadline,
 * all inside the total one.
 *
 * Before libpq may read a message of the authentication phase, the thread looks at it (guard.h):
 * a request for the password in plain text from a server that has not proven itself is refused,
 * and so is a SCRAM iteration count made to burn our CPU.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_DIAL_H
#define LPH_DIAL_H

#include <libpq-fe.h>

#include "base/error.h"

#define LPH_DIAL_ATTEMPTS 32 /* more addresses than this are not tried */

typedef struct lph_dial lph_dial;

typedef struct lph_dial_options {
  const char *const *keywords; /* NULL-terminated, as PQconnectStartParams takes them */
  const char *const *values;
  double connect_timeout;        /* seconds for everything; negative = none */
  double attempt_timeout;        /* seconds for one address; negative = an equal share of what is left */
  bool allow_plaintext_password; /* to a server that has not proven itself */
} lph_dial_options;

/* A failed attempt, for the error that lists them all. */
typedef struct lph_attempt {
  char *host, *address, *port; /* as tried; may be NULL */
  lph_error error;
} lph_attempt;

/* Copies all it is given. NULL: `e` says why. */
lph_dial *lph_dial_start(const lph_dial_options *options, lph_error *e);
int lph_dial_fd(const lph_dial *dial); /* readable when it has ended */
bool lph_dial_is_done(lph_dial *dial);

/* After the end: takes over the connection (status CONNECTION_OK, non-blocking), or NULL and the
 * reason in `e` (that of the attempt which tells most). */
PGconn *lph_dial_take(lph_dial *dial, lph_error *e);
int lph_dial_attempts(const lph_dial *dial, const lph_attempt **list); /* valid until release */

void lph_dial_release(lph_dial *dial); /* before or after the end */
void lph_dial_forget(lph_dial *dial);  /* in a child after fork */

#endif
