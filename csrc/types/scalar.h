/* scalar.h - renderers of single scalar kinds, shared by render.c and the other files of this room.
 *
 * Each takes the binary form the server sends and appends what psql prints. All answer LPH_OK,
 * LPH_ENOMEM or LPH_EFORMAT; what a failed one may have appended is cut off by lph_render. Public
 * contracts live in type.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SCALAR_H
#define LPH_SCALAR_H

#include "types/type.h"

/* num.c: "00" "01" ... "99" without separators. */
extern const char lph_digit_pairs[200];
/* Writes `v` in decimal without a NUL; answers the number of digits (at most 20). */
size_t lph_put_digits(char *out, uint64_t v);

/* shortest.c: 10^k scaled to 2^127 <= result < 2^128, rounded up; -292 <= k <= 324. */
typedef struct lph_wide {
  uint64_t high, low;
} lph_wide;
lph_wide lph_power_of_ten(int k);

/* numeric.c */
lph_err lph_numeric_text(lph_bytes binary, lph_buf *out);

/* bytes.c */
lph_err lph_uuid_text(lph_bytes binary, lph_buf *out);
lph_err lph_bit_text(lph_bytes binary, lph_buf *out);  /* bit and varbit */
lph_err lph_char_text(lph_bytes binary, lph_buf *out); /* "char": 0 is empty, >= 0x80 is \ooo */

/* datewire.c */
lph_err lph_date_text(lph_bytes binary, lph_buf *out);
lph_err lph_time_text(lph_bytes binary, lph_buf *out);
lph_err lph_timetz_text(lph_bytes binary, lph_buf *out);
lph_err lph_timestamp_text(lph_bytes binary, lph_buf *out);
lph_err lph_timestamptz_text(lph_bytes binary, lph_buf *out);
lph_err lph_interval_text(lph_bytes binary, lph_buf *out);

/* net.c */
lph_err lph_inet_text(lph_bytes binary, lph_buf *out); /* cidr too */
lph_err lph_macaddr_text(lph_bytes binary, lph_buf *out);
lph_err lph_macaddr8_text(lph_bytes binary, lph_buf *out);

/* geo.c */
lph_err lph_point_text(lph_bytes binary, lph_buf *out);
lph_err lph_lseg_text(lph_bytes binary, lph_buf *out);
lph_err lph_path_text(lph_bytes binary, lph_buf *out);
lph_err lph_box_text(lph_bytes binary, lph_buf *out);
lph_err lph_polygon_text(lph_bytes binary, lph_buf *out);
lph_err lph_line_text(lph_bytes binary, lph_buf *out);
lph_err lph_circle_text(lph_bytes binary, lph_buf *out);

/* system.c */
lph_err lph_lsn_text(lph_bytes binary, lph_buf *out);
lph_err lph_tid_text(lph_bytes binary, lph_buf *out);
lph_err lph_xid8_text(lph_bytes binary, lph_buf *out);

#endif
