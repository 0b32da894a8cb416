/* sip.h - PQconsumeInput that takes a known, small number of bytes.
 *
 * libpq gathers a message in memory before it shows any of it. Once it has seen how long the message is, one
 * PQconsumeInput reads from the socket for as long as there is something to read: while the server keeps up, all of a
 * row of hundreds of megabytes. Nothing outside can stop it, or see afterwards how much it was.
 *
 * So under max_result_bytes we take a mouthful from the socket ourselves and hand it to libpq through a socket pair, of
 * which one end stands under the descriptor's number for the time of the call (as in feed.h). The count is exact. With
 * TLS the bytes are those on the wire, which is as good: OpenSSL reads by the same number.
 *
 * That takes three more descriptors, from its first use on. To open and close them costs about four times what one
 * PQconsumeInput through them does, so they stay open from one operation to the next; a pool closes them when its
 * connection has been idle for a second (lph_conn_rest).
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SIP_H
#define LPH_SIP_H

#include <libpq-fe.h>

#include "base/base.h"

typedef struct lph_sip {
  bool open;
  bool passed_by; /* libpq has read from the socket by itself; cleared by whoever keeps account */
  int real;       /* the connection, under a second number of ours */
  int pair[2];    /* ours, libpq's */
} lph_sip;

/* As PQconsumeInput. `*taken` = how many bytes came off the socket. `ssl` may be NULL. */
bool lph_sip_consume(lph_sip *s, PGconn *pg, void *ssl, size_t *taken);
/* The same without TLS; `look` sees the bytes before libpq does, and answers how many of them it gets. They may begin
 * elsewhere then, up to LPH_SIP_ROOM bytes earlier. */
#define LPH_SIP_ROOM 8
typedef size_t lph_sip_look(void *arg, char **data, size_t len);
bool lph_sip_consume_seen(lph_sip *s, PGconn *pg, lph_sip_look *look, void *arg, size_t *taken);
/* Hands over what somebody else has taken from the socket, all of it. No descriptors, no feeding: open it first. Not while
 * libpq has something to write. */
bool lph_sip_open(lph_sip *s, PGconn *pg);
bool lph_sip_feed(lph_sip *s, PGconn *pg, const char *data, size_t len);
/* Bytes are lost, or would be: libpq finds the end of the stream behind what it has got, and nothing of what is behind that. */
bool lph_sip_cut(lph_sip *s, PGconn *pg);
/* Before PQfinish: the server sees the end of the stream only when all numbers of it are closed. */
void lph_sip_close(lph_sip *s);

#endif
