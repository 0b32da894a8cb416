/* net.c - inet, cidr, macaddr and macaddr8 in binary form -> text.
 *
 * IPv6 follows PostgreSQL's own rules, not RFC 5952 and not inet_ntop: the longest run of two or
 * more zero words becomes "::" (the first of equals), and addresses of the forms ::a.b.c.d and
 * ::ffff:a.b.c.d end in dotted decimal. No libc address function is used: theirs differ by platform.
 *
 * SPDX-License-Identifier: MIT */
#include "types/scalar.h"

enum { WIRE_IPV4 = 2, WIRE_IPV6 = 3 }; /* the server's own numbers, the same on every platform */

static char *put_decimal(char *p, unsigned v) { /* v < 1000 */
  if (v >= 100) *p++ = (char)('0' + v / 100);
  if (v >= 10) *p++ = (char)('0' + v / 10 % 10);
  *p++ = (char)('0' + v % 10);
  return p;
}

static char *put_ipv4(char *p, const unsigned char *octet) {
  for (int i = 0; i < 4; i++) {
    if (i > 0) *p++ = '.';
    p = put_decimal(p, octet[i]);
  }
  return p;
}

static const char hex_digits[] = "0123456789abcdef";

static char *put_word(char *p, unsigned word) { /* no leading zeros */
  int shift = 12;
  while (shift > 0 && word >> shift == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) *p++ = hex_digits[(word >> shift) & 15];
  return p;
}

typedef struct run {
  int at, len;
} run;

static run longest_zero_run(const unsigned word[8]) {
  run best = {-1, 1}; /* a single zero word is not worth a "::" */
  for (int i = 0; i < 8; i++) {
    int start = i;
    while (i < 8 && word[i] == 0) i++;
    if (i - start > best.len) best = (run){start, i - start};
  }
  return best;
}

static char *put_ipv6(char *p, const unsigned char *octet) {
  unsigned word[8];
  for (int i = 0; i < 8; i++) word[i] = ((unsigned)octet[2 * i] << 8) | octet[2 * i + 1];
  run zeros = longest_zero_run(word);
  bool has_ipv4 = zeros.at == 0 && (zeros.len == 6 || (zeros.len == 5 && word[5] == 0xffff));
  for (int i = 0; i < 8; i++) {
    if (i == zeros.at) {
      *p++ = ':';
      i += zeros.len - 1;
      if (i == 7) *p++ = ':';
      continue;
    }
    if (i > 0) *p++ = ':';
    if (i == 6 && has_ipv4) return put_ipv4(p, octet + 12);
    p = put_word(p, word[i]);
  }
  return p;
}

/* family, mask bits, is it cidr, address length, address */
lph_err lph_inet_text(lph_bytes in, lph_buf *out) {
  if (in.len < 4) return LPH_EFORMAT;
  const unsigned char *head = (const unsigned char *)in.data;
  bool is_ipv4 = head[0] == WIRE_IPV4;
  if (!is_ipv4 && head[0] != WIRE_IPV6) return LPH_EFORMAT;
  unsigned size = is_ipv4 ? 4 : 16, bits = head[1];
  if (in.len != 4 + size || head[3] != size || bits > size * 8 || head[2] > 1) return LPH_EFORMAT;
  /* 7 words with their colons or 6 and an IPv4 address, and "/128" */
  if (lph_buf_reserve(out, 56) != LPH_OK) return LPH_ENOMEM;
  char *p = out->data + out->len;
  p = is_ipv4 ? put_ipv4(p, head + 4) : put_ipv6(p, head + 4);
  if (head[2] == 1 || bits != size * 8) {
    *p++ = '/';
    p = put_decimal(p, bits);
  }
  out->len = (size_t)(p - out->data);
  return LPH_OK;
}

static lph_err mac_text(lph_bytes in, size_t size, lph_buf *out) {
  if (in.len != size) return LPH_EFORMAT;
  if (lph_buf_reserve(out, size * 3) != LPH_OK) return LPH_ENOMEM;
  for (size_t i = 0; i < size; i++) {
    unsigned char octet = (unsigned char)in.data[i];
    if (i > 0) lph_buf_putc_unsafe(out, ':');
    lph_buf_putc_unsafe(out, hex_digits[octet >> 4]);
    lph_buf_putc_unsafe(out, hex_digits[octet & 15]);
  }
  return LPH_OK;
}

lph_err lph_macaddr_text(lph_bytes in, lph_buf *out) { return mac_text(in, 6, out); }

lph_err lph_macaddr8_text(lph_bytes in, lph_buf *out) { return mac_text(in, 8, out); }
