/* base.h - macros and small types every storey shares.
 *
 * Nothing here allocates, waits or knows libpq, OpenSSL or Lua.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_BASE_H
#define LPH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LPH_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#define LPH_EXPORT __attribute__((visibility("default")))
#define LPH_LIKELY(x) __builtin_expect(!!(x), 1)
#define LPH_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define LPH_INLINE inline __attribute__((always_inline))
#define LPH_NOINLINE __attribute__((noinline))
#else
#define LPH_PRINTF(fmt_at, args_at)
#define LPH_EXPORT
#define LPH_LIKELY(x) (x)
#define LPH_UNLIKELY(x) (x)
#define LPH_INLINE inline
#define LPH_NOINLINE
#endif

#define lph_countof(array) (sizeof(array) / sizeof((array)[0]))

/* What a fallible function of ours answers. LPH_OK is 0, so `if ((rc = f()) != 0)` reads well.
 * LPH_EFAIL means "the error record says what"; the others can be told without a record. */
typedef int lph_err;
enum {
  LPH_OK = 0,
  LPH_ENOMEM,  /* an allocation failed; nothing was changed */
  LPH_EFAIL,   /* failed; the error record that was passed says why */
  LPH_EFORMAT, /* bytes from the server are not what their type promises */
  LPH_ERANGE,  /* a value does not fit its type */
  LPH_ETYPE,   /* a value of this Lua type cannot become that PostgreSQL type */
};

/* Borrowed bytes. Never owned, never NUL-terminated unless said so. */
typedef struct lph_bytes {
  const char *data;
  size_t len;
} lph_bytes;

/* Network byte order, from possibly unaligned memory. The caller has checked the length. */
static inline uint16_t lph_get_u16(const char *p) {
  const unsigned char *u = (const unsigned char *)p;
  return (uint16_t)((u[0] << 8) | u[1]);
}
static inline uint32_t lph_get_u32(const char *p) {
  const unsigned char *u = (const unsigned char *)p;
  return ((uint32_t)u[0] << 24) | ((uint32_t)u[1] << 16) | ((uint32_t)u[2] << 8) | u[3];
}
static inline uint64_t lph_get_u64(const char *p) {
  return ((uint64_t)lph_get_u32(p) << 32) | lph_get_u32(p + 4);
}

static inline void lph_put_u32(char *p, uint32_t v) {
  p[0] = (char)(v >> 24);
  p[1] = (char)(v >> 16);
  p[2] = (char)(v >> 8);
  p[3] = (char)v;
}
static inline void lph_put_u64(char *p, uint64_t v) {
  lph_put_u32(p, (uint32_t)(v >> 32));
  lph_put_u32(p + 4, (uint32_t)v);
}

#endif
