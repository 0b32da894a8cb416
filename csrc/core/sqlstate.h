/* sqlstate.h - what an error means to a program: its word, its class, may it be tried again.
 *
 * Two vocabularies meet in err.kind: conditions of the server, by SQLSTATE (sqlstate.inc, generated), and
 * kinds the client makes itself (kind.inc). A class is one of "connection", "query", "constraint",
 * "timeout", "transaction", "pool" and "usage". Every function is total: any string, or NULL, has an
 * answer, and every answer is static. Messages are never looked at; they are translated.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SQLSTATE_H
#define LPH_SQLSTATE_H

#include "base/base.h"

/* "23505" -> "unique_violation". An unknown code gets the word of its class ("23ABC" ->
 * "integrity_constraint_violation"), one of no known class, or none at all, "server_error". */
const char *lph_sqlstate_kind(const char *sqlstate);
const char *lph_sqlstate_class(const char *sqlstate); /* falls back in the same way; at last "query" */
/* The same transaction may be run again as it stands; nothing of it remained on the server. */
bool lph_sqlstate_retryable(const char *sqlstate);

/* The same for a kind, made by the client or not. Unknown: "query", false. */
const char *lph_kind_class(const char *kind);
bool lph_kind_retryable(const char *kind);
/* One of kind.inc: made by the client, or at least said by it too. */
bool lph_kind_is_client(const char *kind);

#endif
