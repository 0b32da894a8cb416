/* outcome.h - what libpq says about success and failure, as error records.
 *
 * One place reads PGresult error fields and PQerrorMessage, so that every operation tells its
 * failures in the same words. SPDX-License-Identifier: MIT */
#ifndef LPH_OUTCOME_H
#define LPH_OUTCOME_H

#include <libpq-fe.h>

#include "base/error.h"

/* A failed connection attempt. `phase` is the status before the last PQconnectPoll; `server_error`
 * (may be NULL or unset) is what the guard saw the server say. */
void lph_outcome_connect(PGconn *pg, ConnStatusType phase, const lph_error *server_error, lph_error *e);

/* A result of status PGRES_FATAL_ERROR or PGRES_NONFATAL_ERROR (notices). */
void lph_outcome_result(PGconn *pg, const PGresult *res, lph_error *e);

/* How long the message was that `res` (an error or a notice) was made from; never more. */
size_t lph_outcome_size(const PGresult *res);

/* In pipeline mode: has the session been lost before libpq read this result? It forgets then what it had sent, and takes
 * the messages it still has for answers to nothing: a description becomes an empty result, and each statement may have
 * two. Only the server's last words (severity FATAL) can be believed. */
bool lph_outcome_is_void(PGconn *pg, const PGresult *res);

/* The session is gone. `last_words` (may be NULL or unset) is the FATAL message the server left
 * while nobody was asking; its SQLSTATE and text go into the record. */
void lph_outcome_lost(PGconn *pg, lph_sent sent, const lph_error *last_words, lph_error *e);

/* A libpq function refused for a local reason; PQerrorMessage says which. */
void lph_outcome_refused(PGconn *pg, lph_error *e);

/* For PQsetNoticeProcessor: nothing of ours ever prints to stderr. */
void lph_outcome_ignore_notice(void *arg, const char *message);

#endif
