/* goodbye.h - tells the server which of our prepared statements it may forget.
 *
 * Statements that left the cache wait in `stmts.goodbyes`. DEALLOCATE of a name that is not there fails and would take
 * an open transaction along; so names only travel while none is open, in a segment of a flight where nothing can
 * suffer:
 *
 *   behind Parse and Describe, before the same Sync: what was prepared stays whatever happens then
 *   in front of an EXECUTE, or of a transaction's first statement, with a Sync of their own, once LPH_GOODBYES_DUE of
 *   them wait
 *
 * Neither costs a round trip, the first not even a system call. Work that never leaves its transactions gets no chance to
 * send any: at LPH_GOODBYES_MAX new statements stay unnamed (stmt.c), so the server is left with a bounded number.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_GOODBYE_H
#define LPH_GOODBYE_H

#include <libpq-fe.h>

#include "base/base.h"

struct lph_conn;

/* May names travel now? `due`: only when it is worth a Sync. */
bool lph_goodbye_may_ride(const struct lph_conn *c, bool due);
/* Sends them, in pipeline mode and without Sync. False: libpq refused. */
bool lph_goodbye_send(struct lph_conn *c);
/* One answer to it. */
void lph_goodbye_answer(struct lph_conn *c, const PGresult *res);

#endif
