/* lcrypto.c - what Lua asks of OpenSSL.
 *
 *   core.sha256(text) -> string; 64 hexadecimal digits
 *
 * SPDX-License-Identifier: MIT */
#include "bind/bind.h"
#include "crypto/crypto.h"

static int lcrypto_sha256(lua_State *L) {
  static const char digits[] = "0123456789abcdef";
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  unsigned char digest[LPH_SHA256_SIZE];
  if (!lph_sha256(text, len, digest)) return luaL_error(L, "OpenSSL refuses to compute SHA-256");
  char hex[2 * LPH_SHA256_SIZE];
  for (size_t i = 0; i < LPH_SHA256_SIZE; i++) {
    hex[2 * i] = digits[digest[i] >> 4];
    hex[2 * i + 1] = digits[digest[i] & 15];
  }
  lua_pushlstring(L, hex, sizeof hex);
  return 1;
}

const luaL_Reg lcrypto_functions[] = {{"sha256", lcrypto_sha256}, {NULL, NULL}};
