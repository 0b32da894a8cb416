/* guard.c - see guard.h. SPDX-License-Identifier: MIT */
#include "core/guard.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "core/sqlstate.h"
#include "crypto/crypto.h"

/* The authentication phase is a handful of short messages; ErrorResponse is the longest. */
#define WINDOW 16384

/* PostgreSQL uses 4096 by default. A million costs about 0.7 s of CPU and is more than any
 * administrator has reason to set; beyond it somebody wants to keep us busy. */
#define MAX_SCRAM_ITERATIONS 1000000

enum { AUTH_OK = 0, AUTH_CLEARTEXT = 3, AUTH_SASL_CONTINUE = 11 };

/* Asked of the socket: with hostaddr, the host parameter need not tell where we are connected. */
static bool is_unix_socket(PGconn *pg) {
  struct sockaddr_storage address = {0};
  socklen_t len = sizeof address;
  return getsockname(PQsocket(pg), (struct sockaddr *)&address, &len) == 0 && address.ss_family == AF_UNIX;
}

bool lph_guard_is_proven(PGconn *pg) {
  if (is_unix_socket(pg)) return true;
  return PQsslInUse(pg) && lph_tls_verified(PQsslStruct(pg, "OpenSSL"));
}

/* Peeks at most `size` bytes. 0 = nothing yet, -1 = end or failure (libpq shall find out itself). */
static int peek(PGconn *pg, char *buf, int size) {
  if (PQsslInUse(pg)) return lph_tls_peek(PQsslStruct(pg, "OpenSSL"), buf, size);
  ssize_t n = recv(PQsocket(pg), buf, (size_t)size, MSG_PEEK | MSG_DONTWAIT);
  if (n > 0) return (int)n;
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static lph_verdict refuse_cleartext(lph_error *refusal) {
  lph_error_set(refusal, "auth_method",
                "the server asks for the password in plain text, and nothing proves that it is the right "
                "server; the password was not sent");
  lph_error_put(refusal, LPH_E_HINT,
                "Use sslmode=verify-full with the server's CA, or have the server ask for scram-sha-256. "
                "plaintext_password = \"allow\" sends it all the same.");
  return LPH_GUARD_REFUSE;
}

/* server-first-message: "r=<nonce>,s=<salt>,i=<count>" */
static lph_verdict check_scram(lph_bytes body, lph_error *refusal) {
  for (size_t at = 0; at + 2 < body.len; at++) {
    bool starts = at == 0 || body.data[at - 1] == ',';
    if (!starts || body.data[at] != 'i' || body.data[at + 1] != '=') continue;
    uint64_t count = 0;
    for (at += 2; at < body.len && body.data[at] >= '0' && body.data[at] <= '9'; at++) {
      count = count * 10 + (uint64_t)(body.data[at] - '0');
      if (count > MAX_SCRAM_ITERATIONS) break;
    }
    /* libpq reads with strtol, which takes "+2000000000" and " 2000000000" as well: digits only. */
    bool ends_here = at == body.len || body.data[at] == ',' || body.data[at] == '\0';
    if (count <= MAX_SCRAM_ITERATIONS && ends_here) return LPH_GUARD_PASS;
    lph_error_set(refusal, "auth_method",
                  "the server asks for more than %d SCRAM iterations, which would only keep this "
                  "program busy; refused",
                  MAX_SCRAM_ITERATIONS);
    lph_error_put(refusal, LPH_E_HINT,
                  "Set a smaller scram_iterations and the password anew, if the server is yours.");
    return LPH_GUARD_REFUSE;
  }
  return LPH_GUARD_PASS;
}

static lph_verdict check_request(lph_bytes body, bool allow_plaintext, lph_error *refusal) {
  if (body.len < 4) return LPH_GUARD_PASS; /* malformed: libpq's to refuse */
  uint32_t method = lph_get_u32(body.data);
  if (method == AUTH_CLEARTEXT && !allow_plaintext) return refuse_cleartext(refusal);
  if (method == AUTH_SASL_CONTINUE) return check_scram((lph_bytes){body.data + 4, body.len - 4}, refusal);
  return LPH_GUARD_PASS;
}

/* ErrorResponse: (code byte, text, NUL)*, NUL */
static void take_error(lph_bytes body, lph_error *e) {
  static const struct {
    char code;
    lph_efield field;
  } fields[] = {
    {'M', LPH_E_MESSAGE}, {'D', LPH_E_DETAIL}, {'H', LPH_E_HINT}, {'V', LPH_E_SEVERITY},
    {'W', LPH_E_CONTEXT}, {'F', LPH_E_FILE},   {'L', LPH_E_LINE}, {'R', LPH_E_ROUTINE},
  };
  lph_error_set(e, "server_error", "%s", "");
  const char *p = body.data, *end = body.data + body.len;
  while (p < end && *p != '\0') {
    char code = *p++;
    const char *stop = memchr(p, '\0', (size_t)(end - p));
    if (stop == NULL) return;
    if (code == 'C') {
      lph_error_sqlstate(e, p);
      e->kind = lph_sqlstate_kind(e->sqlstate);
    }
    for (size_t i = 0; i < lph_countof(fields); i++)
      if (fields[i].code == code) lph_error_put(e, fields[i].field, p);
    p = stop + 1;
  }
}

lph_verdict lph_guard_read(lph_bytes in, bool allow_plaintext, lph_error *refusal, lph_error *server_error,
                           size_t *judged) {
  const char *p = in.data;
  size_t left = in.len;
  *judged = in.len;
  while (left >= 5) {
    char type = p[0];
    uint32_t len = lph_get_u32(p + 1);
    if (len < 4 || len > WINDOW - 1) return LPH_GUARD_PASS; /* nonsense, or no request: libpq will say so */
    if (left < (size_t)len + 1) break;
    lph_bytes body = {p + 5, len - 4};
    if (type == 'E') take_error(body, server_error);
    lph_verdict verdict = type == 'R' ? check_request(body, allow_plaintext, refusal) : LPH_GUARD_PASS;
    if (verdict != LPH_GUARD_PASS) return verdict;
    p += (size_t)len + 1;
    left -= (size_t)len + 1;
  }
  *judged = in.len - left;
  return *judged > 0 ? LPH_GUARD_PASS : LPH_GUARD_WAIT;
}

/* The answer to SSLRequest or GSSENCRequest is one byte. libpq would keep whatever else came with it
 * and, after an "N", take it for the server's answer to the start-up packet. */
static lph_verdict look_at_offer(PGconn *pg, size_t *judged) {
  char byte;
  int n = PQsslInUse(pg) ? -1 : peek(pg, &byte, 1);
  if (n > 0) *judged = 1;
  return n == 0 ? LPH_GUARD_WAIT : LPH_GUARD_PASS;
}

/* The server will send nothing more; what has arrived can still be read. */
static bool has_hung_up(PGconn *pg) {
#ifdef POLLRDHUP
  struct pollfd p = {PQsocket(pg), POLLRDHUP, 0};
  return poll(&p, 1, 0) > 0;
#else
  (void)pg;
  return false; /* noticed by the deadline only */
#endif
}

/* A message that is there in part only. */
static lph_verdict wait_for_rest(bool hung_up, size_t n, lph_error *refusal) {
  if (hung_up) {
    lph_error_set(refusal, "closed", "the server closed the connection in the middle of a message");
    return LPH_GUARD_REFUSE;
  }
  if (n < WINDOW) return LPH_GUARD_WAIT;
  /* Sixteen kilobytes and no end: a request could hide behind the window's edge. */
  lph_error_set(refusal, "protocol", "the server floods the client while it lets it in; refused");
  return LPH_GUARD_REFUSE;
}

lph_verdict lph_guard_look(PGconn *pg, bool allow_plaintext, lph_error *refusal, lph_error *server_error,
                           size_t *judged) {
  ConnStatusType status = PQstatus(pg);
  *judged = 0;
  if (status == CONNECTION_SSL_STARTUP || status == CONNECTION_GSS_STARTUP) return look_at_offer(pg, judged);
  if (status != CONNECTION_AWAITING_RESPONSE && status != CONNECTION_AUTH_OK) return LPH_GUARD_PASS;
  char window[WINDOW];
  bool hung_up = has_hung_up(pg); /* asked first: then everything it sent has arrived */
  int n = peek(pg, window, (int)sizeof window);
  if (n <= 0) return n == 0 ? LPH_GUARD_WAIT : LPH_GUARD_PASS;
  bool allow = allow_plaintext || lph_guard_is_proven(pg);
  size_t whole = 0; /* bytes of complete messages */
  lph_verdict verdict = lph_guard_read((lph_bytes){window, (size_t)n}, allow, refusal, server_error, &whole);
  if (verdict == LPH_GUARD_REFUSE) return verdict;
  if (PQsslInUse(pg)) {
    /* SSL_peek shows one record, and libpq will take all of it. A request that goes on in the next record
     * would be judged there without its head; a server sends each in a record of its own. The long
     * answer after the last request may well go on. */
    bool cut = whole < (size_t)n && window[whole] == 'R';
    return cut ? wait_for_rest(hung_up, (size_t)n, refusal) : LPH_GUARD_PASS;
  }
  /* libpq gets complete messages: what is peeked next time begins with the head of one. */
  if (verdict == LPH_GUARD_WAIT) return wait_for_rest(hung_up, (size_t)n, refusal);
  *judged = whole;
  return LPH_GUARD_PASS;
}
