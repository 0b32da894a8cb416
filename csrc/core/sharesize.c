/* sharesize.c - max_result_bytes on a shared connection: one answer that is too big must neither fill the memory nor cost
 * the others theirs. See share.h.
 *
 * Without TLS the rest of such an answer is dropped before libpq sees it (strain.h). Else - with TLS, or as long as the
 * border between two messages is not known - reading stops until the cancel request has reached the server, and what
 * comes then is read away by libpq; if that is very much, at the cost of the connection.
 *
 * SPDX-License-Identifier: MIT */
#include "core/conn.h"
#include "core/share.h"

static lph_ride *ride_of(lph_list *node) {
  return node == NULL ? NULL : lph_list_entry(node, lph_ride, link);
}

static lph_ride *head_of(const lph_share *s) { return ride_of(lph_list_first(&s->flight)); }

bool lph_share_is_stuck(const lph_share *s) {
  const lph_ride *head = head_of(s);
  return head != NULL && (!head->wanted || head->too_big > 0);
}

bool lph_share_is_swollen(const lph_share *s) {
  const lph_ride *head = head_of(s);
  return head != NULL && head->too_big > 0 && !head->strained && (s->cancel_open || !head->stopped);
}

/* What arrives is not the same as what it takes in memory. */
static size_t most_bytes(const lph_conn *c) {
  return c->max_result_bytes > SIZE_MAX / 2 ? SIZE_MAX : 2 * c->max_result_bytes;
}

/* The ride to which the answer with this number belongs; a ride may have several. */
static void refuse(void *arg, unsigned answer, size_t bytes) {
  lph_share *s = arg;
  unsigned behind = answer - s->synced;
  lph_list_each(&s->flight, node, after) {
    lph_ride *ride = ride_of(node);
    if (behind < ride->syncs) {
      ride->too_big = bytes;
      ride->strained = true;
      return;
    }
    behind -= ride->syncs;
  }
}

static size_t strain(void *arg, char **data, size_t len) {
  lph_conn *c = arg;
  return lph_strain_pass(&c->share->strain, data, len, most_bytes(c));
}

static void forget_borders(lph_conn *c) {
  lph_strain_lose(&c->share->strain);
  c->sip.passed_by = false;
}

bool lph_share_consume(lph_conn *c) {
  if (LPH_LIKELY(c->max_result_bytes == 0) || c->ssl != NULL) return lph_op_consume(c);
  c->share->strain.refused = refuse;
  if (c->sip.passed_by || c->share->unflushed) forget_borders(c);
  size_t taken;
  bool ok = lph_sip_consume_seen(&c->sip, c->pg, strain, c, &taken);
  c->op.received += taken;
  if (c->sip.passed_by || c->share->unflushed) forget_borders(c);
  return ok;
}

/* libpq flushes by itself when it has this much. */
#define FLUSHED_AT 8192
#define AROUND 512 /* the messages of a ride without what differs from one to the next */

void lph_share_before_sending(lph_share *s, size_t bytes) {
  if (LPH_UNLIKELY(bytes + AROUND >= FLUSHED_AT) && s->strain.anchored) lph_strain_lose(&s->strain);
}

bool lph_share_fits(lph_conn *c, lph_ride *ride, const PGresult *res) {
  if (LPH_LIKELY(c->max_result_bytes == 0) || ride->kind == LPH_RIDE_PREPARE) return true;
  if (ride->too_big > 0) return false;
  size_t size = PQresultMemorySize(res);
  if (size <= c->max_result_bytes) return true;
  ride->too_big = size;
  ride->strained = true; /* all of it has come */
  return false;
}

/* The result that is arriving, seen through what was taken from the socket: libpq shows none of it before the end. */
static bool watch_head(lph_conn *c, lph_ride *head) {
  if (head->strained || head->kind != LPH_RIDE_EXECUTE) return true;
  if (head->too_big > 0) return c->op.received <= LPH_DISCARD_MAX;
  if (c->op.received <= most_bytes(c)) return true;
  head->too_big = c->op.received;
  c->op.received = 0; /* from here on: what is read away */
  return true;
}

bool lph_share_watch_size(lph_conn *c) {
  lph_share *s = c->share;
  if (LPH_LIKELY(c->max_result_bytes == 0)) return true;
  lph_ride *head = head_of(s);
  if (head != NULL) return watch_head(c, head);
  if (c->ssl == NULL && !s->strain.anchored && !c->sip.passed_by) {
    lph_strain_anchor(&s->strain);
    s->synced = 0;
  }
  return true;
}
