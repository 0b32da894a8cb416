/* feed.h - one PQconnectPoll that can read only the bytes we have looked at.
 *
 * Peeking at a socket is not enough to judge what libpq will act on: its recv takes everything that
 * has arrived by then, and what follows the peeked bytes is acted on in the same call, unseen. A
 * request for the password in plain text right behind a harmless one would pass that way, and for
 * certain when it rides in the packet that answers SSLRequest: libpq keeps the rest of that packet.
 *
 * So the socket is replaced, under its own number and for the time of one call, by one end of a
 * socket pair that holds exactly the judged bytes; what libpq answers is carried over to the real one.
 * Not for TLS: OpenSSL takes one record at a time, and that is the one SSL_peek has shown.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_FEED_H
#define LPH_FEED_H

#include <libpq-fe.h>

#include "core/offload.h"

/* Takes `count` bytes, which must have arrived, from the socket of `pg`. On the thread of `job`; waits
 * only to send the answer, until `deadline`. */
PostgresPollingStatusType lph_feed_poll(lph_job *job, PGconn *pg, size_t count, double deadline);

#endif
