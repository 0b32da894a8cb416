/* Network addresses: the text is the server's, IPv6 compression included; expectations were taken
 * from a PostgreSQL.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "wire.h"

enum { INET, CIDR };

static wire ipv4(unsigned bits, int is_cidr, uint32_t address) {
  wire w = {.len = 0};
  wire_int(&w, 1, 2);
  wire_int(&w, 1, bits);
  wire_int(&w, 1, (uint64_t)is_cidr);
  wire_int(&w, 1, 4);
  return *wire_int(&w, 4, address);
}

static wire ipv6(unsigned bits, int is_cidr, uint64_t high, uint64_t low) {
  wire w = {.len = 0};
  wire_int(&w, 1, 3);
  wire_int(&w, 1, bits);
  wire_int(&w, 1, (uint64_t)is_cidr);
  wire_int(&w, 1, 16);
  wire_int(&w, 8, high);
  return *wire_int(&w, 8, low);
}

static void an_ipv4_inet_shows_its_mask_only_when_it_has_one(void **state) {
  (void)state;
  check_render(LPH_INET, ipv4(32, INET, 0xC0A80001), "192.168.0.1");
  check_render(LPH_INET, ipv4(24, INET, 0xC0A80001), "192.168.0.1/24");
  check_render(LPH_INET, ipv4(0, INET, 0), "0.0.0.0/0");
  check_render(LPH_INET, ipv4(32, INET, 0xFFFFFFFF), "255.255.255.255");
  check_render(LPH_INET, ipv4(9, INET, 0x01630A64), "1.99.10.100/9");
}

static void a_cidr_always_shows_its_mask(void **state) {
  (void)state;
  check_render(LPH_INET, ipv4(32, CIDR, 0x01020304), "1.2.3.4/32");
  check_render(LPH_INET, ipv4(8, CIDR, 0x0A000000), "10.0.0.0/8");
  check_render(LPH_INET, ipv6(128, CIDR, 0, 1), "::1/128");
  check_render(LPH_INET, ipv6(0, CIDR, 0, 0), "::/0");
  check_render(LPH_INET, ipv6(10, CIDR, 0xFE80000000000000, 0), "fe80::/10");
}

static void ipv6_is_compressed_as_the_server_does_it(void **state) {
  (void)state;
  static const struct {
    uint64_t high, low;
    const char *text;
  } cases[] = {
    {0, 0, "::"},
    {0, 1, "::1"},
    {0x0001000000000000, 0, "1::"},
    {0x0001000200030004, 0x0005000600070008, "1:2:3:4:5:6:7:8"},
    {0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {0x20010DB800000000, 0x0000000000000001, "2001:db8::1"},
    {0x0001000000000002, 0x0000000000000000, "1:0:0:2::"},       /* the longer run */
    {0x0001000000000002, 0x0003000000000004, "1::2:3:0:0:4"},    /* the first of equals */
    {0x0001000000020003, 0x0004000500060007, "1:0:2:3:4:5:6:7"}, /* one zero word stays */
    {0x0000000000000001, 0x0000000000000001, "::1:0:0:0:1"},     /* ... of three and three */
    {0x0000000000010000, 0x0000000000000001, "0:0:1::1"},
    {0, 0x0005000600070008, "::5:6:7:8"},
    /* dotted decimal: six zero words, or five and ffff */
    {0, 0x0000000001020304, "::1.2.3.4"},
    {0, 0x0000FFFF01020304, "::ffff:1.2.3.4"},
    {0, 0x0000FFFF00000000, "::ffff:0.0.0.0"},
    {0, 0x0000FFFE01020304, "::fffe:102:304"},
    {0, 0x0000000000010000, "::0.1.0.0"},
    {0, 0x0000000000000002, "::2"}, /* seven zero words: no address of four octets behind them */
    {0, 0xFFFF000001020304, "::ffff:0:102:304"},
    {0x00000000FFFF0000, 0, "0:0:ffff::"},
  };
  for (size_t i = 0; i < lph_countof(cases); i++)
    check_render(LPH_INET, ipv6(128, INET, cases[i].high, cases[i].low), cases[i].text);
  check_render(LPH_INET, ipv6(64, INET, 0x20010DB800000000, 1), "2001:db8::1/64");
  check_render(LPH_INET, ipv6(120, INET, 0, 0x0000FFFF01020304), "::ffff:1.2.3.4/120");
}

static void a_header_that_contradicts_itself_is_refused(void **state) {
  (void)state;
  check_refuse(LPH_INET, ipv4(33, INET, 1));
  check_refuse(LPH_INET, ipv6(129, INET, 0, 1));
  check_refuse(LPH_INET, ipv4(32, 2, 1));
  wire w = ipv4(32, INET, 1);
  w.data[0] = 4; /* no such family */
  check_refuse(LPH_INET, w);
  w.data[0] = 3; /* an IPv6 address of four bytes */
  check_refuse(LPH_INET, w);
  w = ipv4(32, INET, 1);
  w.data[3] = 16;
  check_refuse(LPH_INET, w);
  w = ipv6(128, INET, 0, 1);
  w.data[0] = 2;
  check_refuse(LPH_INET, w);
  check_strict_length(LPH_INET, ipv4(32, INET, 1));
  check_strict_length(LPH_INET, ipv6(128, CIDR, 0, 1));
}

static void hardware_addresses_are_pairs_of_lower_case_hex(void **state) {
  (void)state;
  check_render(LPH_MACADDR, wire_of(6, 0x08002B010203), "08:00:2b:01:02:03");
  check_render(LPH_MACADDR, wire_of(6, 0xFFFFFFFFFFFF), "ff:ff:ff:ff:ff:ff");
  check_render(LPH_MACADDR8, wire_of(8, 0x08002BFFFE010203), "08:00:2b:ff:fe:01:02:03");
  check_render(LPH_MACADDR8, wire_of(8, 0), "00:00:00:00:00:00:00:00");
  check_strict_length(LPH_MACADDR, wire_of(6, 0));
  check_strict_length(LPH_MACADDR8, wire_of(8, 0));
}

static void any_bytes_give_a_text_or_a_refusal(void **state) {
  (void)state;
  check_hostile(LPH_INET, ipv6(128, INET, 0, 0x0000FFFF01020304), 20000);
  check_hostile(LPH_INET, ipv4(24, CIDR, 0x0A000000), 20000);
  check_hostile(LPH_MACADDR, wire_of(6, 1), 2000);
  check_hostile(LPH_MACADDR8, wire_of(8, 1), 2000);
}

static void lack_of_memory_is_told_and_leaves_nothing(void **state) {
  (void)state;
  check_no_memory(LPH_INET, ipv6(127, INET, UINT64_MAX, UINT64_MAX),
                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127");
  check_no_memory(LPH_MACADDR8, wire_of(8, 1), "00:00:00:00:00:00:00:01");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_ipv4_inet_shows_its_mask_only_when_it_has_one),
    cmocka_unit_test(a_cidr_always_shows_its_mask),
    cmocka_unit_test(ipv6_is_compressed_as_the_server_does_it),
    cmocka_unit_test(a_header_that_contradicts_itself_is_refused),
    cmocka_unit_test(hardware_addresses_are_pairs_of_lower_case_hex),
    cmocka_unit_test(any_bytes_give_a_text_or_a_refusal),
    cmocka_unit_test(lack_of_memory_is_told_and_leaves_nothing),
  };
  return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
