/* crypto.c - see crypto.h. SPDX-License-Identifier: MIT */
#include "crypto/crypto.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

/* OpenSSL 1.1.1 has other names for some things, and its first versions no way to leave cleaning up. */
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#define SSL_get1_peer_certificate SSL_get_peer_certificate
#endif
#ifndef OPENSSL_INIT_NO_ATEXIT
#define OPENSSL_INIT_NO_ATEXIT 0
#endif

void lph_crypto_prepare(void) { OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL); }

int lph_tls_peek(void *ssl, char *buf, int size) {
  if (ssl == NULL) return -1;
  /* Our look must leave no entry behind that libpq would later read as its own failure. */
  ERR_clear_error();
  int n = SSL_peek(ssl, buf, size);
  if (n > 0) return n;
  int why = SSL_get_error(ssl, n);
  ERR_clear_error();
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

int lph_tls_pending(void *ssl) { return ssl == NULL ? 0 : SSL_pending(ssl); }

bool lph_tls_verified(void *ssl) {
  if (ssl == NULL || (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) == 0) return false;
  if (SSL_get_verify_result(ssl) != X509_V_OK) return false; /* also said when there was no certificate: */
  X509 *certificate = SSL_get1_peer_certificate(ssl);
  X509_free(certificate);
  return certificate != NULL;
}

/* libpq's own callback sees the reason, drops it, and says "certificate verify failed" for
 * everything. A handshake stays on its thread, so the note may live there. */
static _Thread_local long refusal = X509_V_OK;
static _Thread_local SSL_verify_cb watched;

static int note_refusal(int ok, X509_STORE_CTX *store) {
  if (!ok && refusal == X509_V_OK) refusal = X509_STORE_CTX_get_error(store);
  return watched == NULL ? ok : watched(ok, store);
}

void lph_tls_watch(void *ssl) {
  if (ssl == NULL || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE) return;
  SSL_verify_cb now = SSL_get_verify_callback(ssl);
  if (now == note_refusal) return;
  watched = now;
  refusal = X509_V_OK;
  SSL_set_verify(ssl, SSL_get_verify_mode(ssl), note_refusal);
}

const char *lph_tls_refusal(void) {
  long code = refusal;
  refusal = X509_V_OK;
  return code == X509_V_OK ? NULL : X509_verify_cert_error_string(code);
}

bool lph_sha256(const char *data, size_t len, unsigned char digest[LPH_SHA256_SIZE]) {
  bool fine = EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL) == 1;
  if (!fine) ERR_clear_error(); /* else libpq would read it as its own failure */
  return fine;
}

const char *lph_crypto_version(void) { return OpenSSL_version(OPENSSL_VERSION); }
