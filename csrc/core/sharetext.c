/* sharetext.c - which statements may ride on a shared session; see lph_share_takes in share.h.
 *
 * A short list of what is welcome, rather than a long one of what is not: a statement that is not known here runs on
 * a connection of its own, which is never wrong. SPDX-License-Identifier: MIT */
#include <string.h>
#include <strings.h>

#include "core/share.h"

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

static const char *skip_comment(const char *p, const char *end) {
  int open = 0;
  while (p + 1 < end) {
    if (p[0] == '/' && p[1] == '*') {
      open++;
      p += 2;
    } else if (p[0] == '*' && p[1] == '/') {
      p += 2;
      if (--open == 0) return p;
    } else {
      p++;
    }
  }
  return end;
}

/* Where the first word begins, behind white space, comments and parentheses. */
static const char *skip_to_word(const char *p, const char *end) {
  while (p < end) {
    if (is_space(*p) || *p == '(') {
      p++;
    } else if (end - p > 1 && p[0] == '-' && p[1] == '-') {
      while (p < end && *p != '\n' && *p != '\r') p++;
    } else if (end - p > 1 && p[0] == '/' && p[1] == '*') {
      p = skip_comment(p, end);
    } else {
      break;
    }
  }
  return p;
}

static bool is_welcome(const char *word, size_t len) {
  static const char *const welcome[] = {"select", "insert", "update", "delete",
                                        "with",   "values", "table",  "merge"};
  for (size_t i = 0; i < lph_countof(welcome); i++)
    if (strlen(welcome[i]) == len && strncasecmp(word, welcome[i], len) == 0) return true;
  return false;
}

/* Functions that read or write what belongs to a session, and what is temporary. Any word that contains one of these
 * is refused, wherever it stands. */
static bool is_bound_to_session(const char *p, const char *end) {
  static const char *const parts[] = {"advisory",  "currval", "dblink", "lastval",           "set_config",
                                      "set_limit", "setseed", "temp",   "replication_origin"};
  for (; p < end; p++)
    for (size_t i = 0; i < lph_countof(parts); i++) {
      size_t len = strlen(parts[i]);
      bool begins = (*p | 0x20) == parts[i][0] && (size_t)(end - p) >= len;
      if (begins && strncasecmp(p, parts[i], len) == 0) return true;
    }
  return false;
}

lph_bytes lph_share_first_word(lph_bytes sql) {
  const char *end = sql.data + sql.len;
  const char *word = skip_to_word(sql.data, end), *after = word;
  while (after < end && is_letter(*after)) after++;
  return (lph_bytes){word, (size_t)(after - word)};
}

bool lph_share_takes(lph_bytes sql) {
  lph_bytes word = lph_share_first_word(sql);
  return is_welcome(word.data, word.len) && !is_bound_to_session(word.data + word.len, sql.data + sql.len);
}
