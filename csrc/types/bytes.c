/* bytes.c - bytea both ways, and the small binary kinds whose text is a spelling of their bytes:
 * uuid, bit strings, "char". Contract: type.h, scalar.h.
 *
 * SPDX-License-Identifier: MIT */
#include "types/scalar.h"

/* Two digits at a time: one byte of input is one copy. */
#define HEX_ROW(h) \
  h "0" h "1" h "2" h "3" h "4" h "5" h "6" h "7" h "8" h "9" h "a" h "b" h "c" h "d" h "e" h "f"
static const char hex_pairs[513] = HEX_ROW("0") HEX_ROW("1") HEX_ROW("2") HEX_ROW("3") HEX_ROW("4")
  HEX_ROW("5") HEX_ROW("6") HEX_ROW("7") HEX_ROW("8") HEX_ROW("9") HEX_ROW("a") HEX_ROW("b") HEX_ROW("c")
    HEX_ROW("d") HEX_ROW("e") HEX_ROW("f");

static inline char *put_hex(char *p, char c) {
  memcpy(p, &hex_pairs[(unsigned char)c * 2], 2);
  return p + 2;
}

/* Value of a hex digit with a mark, so that what is no digit (0) can be told from '0'. */
#define MARK 0x10
static const uint8_t hex_value[256] = {
  ['0'] = MARK | 0,  ['1'] = MARK | 1,  ['2'] = MARK | 2,  ['3'] = MARK | 3,  ['4'] = MARK | 4,
  ['5'] = MARK | 5,  ['6'] = MARK | 6,  ['7'] = MARK | 7,  ['8'] = MARK | 8,  ['9'] = MARK | 9,
  ['a'] = MARK | 10, ['b'] = MARK | 11, ['c'] = MARK | 12, ['d'] = MARK | 13, ['e'] = MARK | 14,
  ['f'] = MARK | 15, ['A'] = MARK | 10, ['B'] = MARK | 11, ['C'] = MARK | 12, ['D'] = MARK | 13,
  ['E'] = MARK | 14, ['F'] = MARK | 15,
};

/* ---- bytea ------------------------------------------------------------------------------------ */

/* Decodes into the reserved room behind `out`; the length is only moved when all was well. */
static lph_err unescape_hex(const char *p, const char *end, lph_buf *out) {
  size_t n = (size_t)(end - p) / 2;
  if ((end - p) % 2 != 0) return LPH_EFORMAT;
  if (lph_buf_reserve(out, n) != LPH_OK) return LPH_ENOMEM;
  char *to = out->data + out->len;
  unsigned marks = MARK;
  for (; p < end; p += 2) {
    unsigned high = hex_value[(unsigned char)p[0]], low = hex_value[(unsigned char)p[1]];
    marks &= high & low;
    *to++ = (char)((high << 4 | (low & 15)) & 255);
  }
  if (marks == 0) return LPH_EFORMAT;
  out->len += n;
  return LPH_OK;
}

static bool is_octal(char c, char max) { return c >= '0' && c <= max; }

/* "\\" is a backslash, "\ooo" a byte in octal, all else stands for itself. */
static lph_err unescape_octal(const char *p, const char *end, lph_buf *out) {
  if (lph_buf_reserve(out, (size_t)(end - p)) != LPH_OK) return LPH_ENOMEM;
  char *start = out->data + out->len, *to = start;
  while (p < end) {
    if (*p != '\\') {
      *to++ = *p++;
    } else if (end - p >= 2 && p[1] == '\\') {
      *to++ = '\\';
      p += 2;
    } else if (end - p >= 4 && is_octal(p[1], '3') && is_octal(p[2], '7') && is_octal(p[3], '7')) {
      *to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
      p += 4;
    } else {
      return LPH_EFORMAT;
    }
  }
  out->len += (size_t)(to - start);
  return LPH_OK;
}

lph_err lph_bytea_unescape(lph_bytes text, lph_buf *out) {
  if (text.len == 0) return LPH_OK; /* data may be NULL then */
  const char *p = text.data, *end = p + text.len;
  if (text.len >= 2 && p[0] == '\\' && p[1] == 'x') return unescape_hex(p + 2, end, out);
  return unescape_octal(p, end, out);
}

lph_err lph_bytea_hex(lph_bytes raw, lph_buf *out) {
  if (raw.len > (SIZE_MAX - 2) / 2) return LPH_ENOMEM;
  if (lph_buf_reserve(out, 2 + 2 * raw.len) != LPH_OK) return LPH_ENOMEM;
  char *p = out->data + out->len;
  *p++ = '\\';
  *p++ = 'x';
  for (size_t i = 0; i < raw.len; i++) p = put_hex(p, raw.data[i]);
  out->len += 2 + 2 * raw.len;
  return LPH_OK;
}

/* ---- uuid, bit, "char" ------------------------------------------------------------------------ */

lph_err lph_uuid_text(lph_bytes binary, lph_buf *out) {
  if (binary.len != 16) return LPH_EFORMAT;
  if (lph_buf_reserve(out, 36) != LPH_OK) return LPH_ENOMEM;
  char *p = out->data + out->len;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
    p = put_hex(p, binary.data[i]);
  }
  out->len += 36;
  return LPH_OK;
}

/* A count of bits (32 bit), then the bits from the top of each byte; the last byte may be padded. */
lph_err lph_bit_text(lph_bytes binary, lph_buf *out) {
  if (binary.len < 4) return LPH_EFORMAT;
  size_t count = lph_get_u32(binary.data);
  if (count > INT32_MAX || binary.len - 4 != (count + 7) / 8) return LPH_EFORMAT;
  if (lph_buf_reserve(out, count) != LPH_OK) return LPH_ENOMEM;
  char *p = out->data + out->len;
  for (size_t i = 0; i < count; i++) {
    unsigned byte = (unsigned char)binary.data[4 + i / 8];
    p[i] = (char)('0' + (byte >> (7 - i % 8) & 1));
  }
  out->len += count;
  return LPH_OK;
}

lph_err lph_char_text(lph_bytes binary, lph_buf *out) {
  if (binary.len != 1) return LPH_EFORMAT;
  unsigned c = (unsigned char)binary.data[0];
  if (c == 0) return LPH_OK;
  if (c < 0x80) return lph_buf_putc(out, (char)c);
  char octal[4] = {'\\', (char)('0' + (c >> 6)), (char)('0' + (c >> 3 & 7)), (char)('0' + (c & 7))};
  return lph_buf_add(out, octal, sizeof octal);
}
