/* crypto.h - the only door to OpenSSL.
 *
 * `ssl` is what libpq hands out as PQsslStruct(conn, "OpenSSL"): the session object of a live
 * connection, borrowed. NULL is allowed and means "no TLS".
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_CRYPTO_H
#define LPH_CRYPTO_H

#include "base/base.h"

/* Once, before anybody else in the process uses OpenSSL if that can be. OpenSSL then does not clean up
 * when the process exits: a helper thread may be inside it just then, and would crash. */
void lph_crypto_prepare(void);
/* Looks at decrypted bytes without taking them. > 0: that many; 0: none yet; -1: broken or closed. */
int lph_tls_peek(void *ssl, char *buf, int size);
/* Decrypted bytes that wait inside OpenSSL, where no poll(2) can see them. */
int lph_tls_pending(void *ssl);
/* The peer's certificate was asked for, checked against a trusted CA, and passed. */
bool lph_tls_verified(void *ssl);
/* During a handshake: takes note of why OpenSSL will refuse the peer's certificate. */
void lph_tls_watch(void *ssl);
/* The note of this thread's latest handshake ("certificate has expired"), static; NULL = none.
 * Reading it takes it away. */
const char *lph_tls_refusal(void);
#define LPH_SHA256_SIZE 32
/* Writes the digest of `len` bytes. False: OpenSSL would not (no memory, or a policy that forbids it). */
bool lph_sha256(const char *data, size_t len, unsigned char digest[LPH_SHA256_SIZE]);
/* The OpenSSL library in the process, e.g. "OpenSSL 3.0.17 1 Jul 2025". Static. */
const char *lph_crypto_version(void);

#endif
