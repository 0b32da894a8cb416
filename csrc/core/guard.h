/* guard.h - looks at what the server says while it authenticates us, before libpq reads it.
 *
 * Two things libpq (15) cannot refuse: a request for the password in plain text (its
 * require_auth came with 16), and a SCRAM iteration count that keeps the CPU busy for minutes. And
 * one it does not tell: the fields of a start-up ErrorResponse, SQLSTATE first of all.
 *
 * The guard peeks (MSG_PEEK, SSL_peek): nothing is taken from libpq. It runs on the dialling
 * thread, whenever the socket is readable, until the server has accepted us. libpq must then be
 * given what was looked at and no byte more (feed.h).
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_GUARD_H
#define LPH_GUARD_H

#include <libpq-fe.h>

#include "base/error.h"

typedef enum lph_verdict {
  LPH_GUARD_PASS,   /* let libpq read */
  LPH_GUARD_WAIT,   /* a message is there in part only: come back when more has arrived */
  LPH_GUARD_REFUSE, /* the record says why; close the connection */
} lph_verdict;

/* A server proves itself by a Unix socket of ours, or by a certificate we have checked. */
bool lph_guard_is_proven(PGconn *pg);

/* PASS at once outside the authentication phase. `*judged` = the bytes libpq may read now; 0 = it
 * may read freely. An ErrorResponse of the server is taken down in `server_error` (kind, SQLSTATE,
 * texts). */
lph_verdict lph_guard_look(PGconn *pg, bool allow_plaintext, lph_error *refusal, lph_error *server_error,
                           size_t *judged);

/* The reading of one buffer, apart for tests: bytes as they came, from the head of a message on. `*judged` =
 * how many of them are complete messages (all, when they are no messages at all); WAIT: none is complete. */
lph_verdict lph_guard_read(lph_bytes in, bool allow_plaintext, lph_error *refusal, lph_error *server_error,
                           size_t *judged);

#endif
