/* marks.c - see marks.h.
 *
 * A lexer with the server's rules for literals, comments and names (scan.l), and a grammar that is only deep enough
 * to know a statement by its first words. Statements begin at the start, behind each semicolon, and in a DO body
 * behind the words after which PL/pgSQL takes one.
 *
 * SPDX-License-Identifier: MIT */
#include "core/marks.h"

#include <string.h>
#include <strings.h>

/* A word on each line would be half a page. */
/* clang-format off */
typedef enum word {
  W_OTHER, /* any other word, a number */
  W_STRING, W_COMMA, W_OPEN, W_CLOSE, W_DOT, W_SYMBOL,
  W_ALL, W_AUTHORIZATION, W_BEGIN, W_COMMIT, W_CONSTRAINTS, W_COPY, W_CREATE, W_DECLARE, W_DISCARD, W_DO, W_DROP,
  W_ELSE, W_EXECUTE, W_GLOBAL, W_HOLD, W_INSERT, W_INTO, W_LANGUAGE, W_LISTEN, W_LOAD, W_LOCAL, W_LOOP,
  W_MERGE, W_ON, W_PREPARE, W_REPLACE, W_RESET, W_SCHEMA, W_SESSION, W_SET, W_TEMP, W_THEN, W_TRANSACTION,
  W_TRUE, W_WITH,
  /* From here on names, which mean the same in double quotes. */
  W_PLPGSQL, W_ROLE, W_SEED, W_SET_CONFIG, W_SET_LIMIT, W_LOCK, W_LASTING
} word;
/* clang-format on */

static const struct entry {
  const char *text;
  word word;
} words[26][12] = {
  ['a' - 'a'] = {{"all", W_ALL}, {"authorization", W_AUTHORIZATION}},
  ['b' - 'a'] = {{"begin", W_BEGIN}},
  ['c' -
    'a'] = {{"commit", W_COMMIT}, {"constraints", W_CONSTRAINTS}, {"copy", W_COPY}, {"create", W_CREATE}},
  ['d' - 'a'] = {{"dblink_connect", W_LASTING},
                 {"dblink_connect_u", W_LASTING},
                 {"declare", W_DECLARE},
                 {"discard", W_DISCARD},
                 {"do", W_DO},
                 {"drop", W_DROP}},
  ['e' - 'a'] = {{"else", W_ELSE}, {"execute", W_EXECUTE}},
  ['g' - 'a'] = {{"global", W_GLOBAL}},
  ['h' - 'a'] = {{"hold", W_HOLD}},
  ['i' - 'a'] = {{"insert", W_INSERT}, {"into", W_INTO}},
  ['l' - 'a'] =
    {{"language", W_LANGUAGE}, {"listen", W_LISTEN}, {"load", W_LOAD}, {"local", W_LOCAL}, {"loop", W_LOOP}},
  ['m' - 'a'] = {{"merge", W_MERGE}},
  ['o' - 'a'] = {{"on", W_ON}},
  ['p' - 'a'] = {{"pg_advisory_lock", W_LOCK},
                 {"pg_advisory_lock_shared", W_LOCK},
                 {"pg_backup_start", W_LASTING},
                 {"pg_create_logical_replication_slot", W_LASTING},
                 {"pg_create_physical_replication_slot", W_LASTING},
                 {"pg_replication_origin_session_setup", W_LASTING},
                 {"pg_start_backup", W_LASTING},
                 {"pg_try_advisory_lock", W_LOCK},
                 {"pg_try_advisory_lock_shared", W_LOCK},
                 {"plpgsql", W_PLPGSQL},
                 {"prepare", W_PREPARE}},
  ['r' - 'a'] = {{"replace", W_REPLACE}, {"reset", W_RESET}, {"role", W_ROLE}},
  ['s' - 'a'] = {{"schema", W_SCHEMA},
                 {"seed", W_SEED},
                 {"session", W_SESSION},
                 {"session_authorization", W_ROLE},
                 {"set", W_SET},
                 {"set_config", W_SET_CONFIG},
                 {"set_limit", W_SET_LIMIT}, /* of pg_trgm */
                 {"setseed", W_LASTING}},
  ['t' - 'a'] = {{"temp", W_TEMP},
                 {"temporary", W_TEMP},
                 {"then", W_THEN},
                 {"transaction", W_TRANSACTION},
                 {"true", W_TRUE}},
  ['w' - 'a'] = {{"with", W_WITH}},
};

/* A body within a body within ...: deeper than any text is meant. */
#define NESTING_MAX 4

typedef struct scan {
  const char *p, *end;
  unsigned marks;
  unsigned pending; /* of this statement, unless it turns out to leave nothing */
  bool body;        /* of a DO statement */
  int nesting;
  bool touches_settings;
  int count; /* tokens of this statement so far */
  int depth; /* of parentheses */
  word first, second, before, last;
  lph_bytes string; /* the last literal's inside, */
  bool dollar;      /* which was in dollar quotes */
  int highest;      /* parameter */
  struct {
    bool open;
    int depth; /* inside its parentheses; 0 = they have not come yet */
    unsigned marks;
  } config; /* a call of set_config */
} scan;

static void read_all(scan *s);

static bool is_text(lph_bytes b, const char *text) {
  return b.len == strlen(text) && strncasecmp(b.data, text, b.len) == 0;
}

/* ---- set_config ------------------------------------------------------------------------------------------ */

/* What it may change when its first argument is not in the text. */
#define ANY_SETTING (LPH_MARK_SETTINGS | LPH_MARK_ROLE | LPH_MARK_NAMES)

static unsigned marks_of_setting(lph_bytes name) {
  if (memchr(name.data, '\\', name.len) != NULL) return ANY_SETTING;
  if (is_text(name, "role") || is_text(name, "session_authorization")) return LPH_MARK_ROLE;
  if (is_text(name, "seed")) return LPH_MARK_LASTING;
  return is_text(name, "search_path") ? LPH_MARK_SETTINGS | LPH_MARK_NAMES : LPH_MARK_SETTINGS;
}

static void begin_config(scan *s) {
  s->touches_settings = true;
  if (s->config.open) {
    s->marks |= ANY_SETTING; /* one within another: not worth the telling apart */
    return;
  }
  s->config.open = true;
  s->config.depth = 0;
  s->config.marks = ANY_SETTING;
}

static void end_config(scan *s, bool local) {
  if (!s->config.open) return;
  s->config.open = false;
  s->marks |= local ? s->config.marks & LPH_MARK_NAMES : s->config.marks;
}

/* set_config('name', value, true) ends with the transaction. */
static void follow_config(scan *s, word w) {
  if (s->config.depth == 0) {
    if (w == W_OPEN) {
      s->config.depth = s->depth;
    } else {
      end_config(s, false);
    }
  } else if (w == W_COMMA && s->depth == s->config.depth && s->last == W_STRING && s->before == W_OPEN) {
    s->config.marks = marks_of_setting(s->string);
  } else if (w == W_CLOSE && s->depth < s->config.depth) {
    end_config(s, s->last == W_TRUE && s->before == W_COMMA);
  }
}

/* ---- statements ------------------------------------------------------------------------------------------ */

static void end_statement(scan *s) {
  end_config(s, false);
  s->marks |= s->pending;
  s->pending = 0;
  s->count = 0;
}

static void begin_statement(scan *s, word w) {
  s->first = w;
  s->second = s->before = s->last = W_OTHER;
  s->depth = 0;
  switch (w) {
    case W_COPY: s->marks |= LPH_MARK_COPY; break;
    case W_LISTEN: s->marks |= LPH_MARK_LISTEN; break;
    case W_LOAD: s->marks |= LPH_MARK_LASTING; break;
    case W_PREPARE: s->pending |= LPH_MARK_PREPARED; break;
    case W_RESET:
      s->touches_settings = true;
      s->marks |= LPH_MARK_SETTINGS | LPH_MARK_ROLE;
      break;
    case W_SET: s->touches_settings = true; break;
    default: break;
  }
}

static unsigned marks_of_set(word w) {
  switch (w) {
    case W_TRANSACTION:
    case W_CONSTRAINTS: return 0;
    case W_ROLE:
    case W_AUTHORIZATION: return LPH_MARK_ROLE;
    case W_SEED: return LPH_MARK_LASTING;
    case W_SCHEMA: return LPH_MARK_SETTINGS | LPH_MARK_NAMES; /* means search_path */
    default: return LPH_MARK_SETTINGS;
  }
}

/* SET [SESSION | LOCAL] name. With a point behind it any of the words is the first half of a name. */
static void follow_set(scan *s, word w) {
  if (s->count == 1) {
    s->second = w;
    if (w != W_LOCAL && w != W_SESSION) s->marks |= marks_of_set(w);
  } else if (s->count == 2 && w == W_DOT) {
    s->marks |= LPH_MARK_SETTINGS;
  } else if (s->count == 2 && s->second == W_SESSION) {
    s->marks |= marks_of_set(w);
  } else if (s->count == 2 && s->second == W_LOCAL) {
    s->marks |= marks_of_set(w) & LPH_MARK_NAMES;
  } else if (s->count == 3 && s->second == W_SESSION && w == W_DOT) {
    s->marks |= LPH_MARK_SETTINGS;
  }
}

static void follow_do(scan *s, word w) {
  if (s->last == W_LANGUAGE) {
    bool known = w == W_PLPGSQL || (w == W_STRING && is_text(s->string, "plpgsql"));
    if (!known) s->marks |= LPH_MARKS_DOUBT;
  } else if (w == W_STRING) {
    /* In other quotes the body would have to be unquoted first. */
    if (!s->dollar || s->nesting == NESTING_MAX) {
      s->marks |= LPH_MARKS_DOUBT;
      return;
    }
    scan body = {.p = s->string.data, .end = s->string.data + s->string.len, .body = true};
    body.nesting = s->nesting + 1;
    read_all(&body);
    s->marks |= body.marks;
    s->touches_settings |= body.touches_settings;
  }
}

static void follow_statement(scan *s, word w) {
  switch (s->first) {
    case W_SET: follow_set(s, w); break;
    case W_DO: follow_do(s, w); break;
    case W_PREPARE: /* PREPARE TRANSACTION '...' */
      if (s->count == 2 && s->last == W_TRANSACTION && w == W_STRING)
        s->pending &= ~(unsigned)LPH_MARK_PREPARED;
      break;
    case W_DECLARE:
      if (w == W_HOLD && s->last == W_WITH) s->marks |= LPH_MARK_CURSORS;
      break;
    case W_DISCARD:
      if (w == W_ALL) s->marks |= LPH_MARK_SETTINGS | LPH_MARK_ROLE;
      break;
    default: break;
  }
}

static bool makes_temporary(const scan *s) {
  if (s->last == W_INTO) return s->before != W_INSERT && s->before != W_MERGE;
  return s->last == W_CREATE || s->last == W_REPLACE || s->last == W_LOCAL || s->last == W_GLOBAL;
}

/* Words that count wherever they stand. */
static void notice(scan *s, word w) {
  switch (w) {
    case W_LOCK: s->marks |= LPH_MARK_LOCKS; break;
    case W_LASTING: s->marks |= LPH_MARK_LASTING; break;
    case W_SET_LIMIT: s->marks |= LPH_MARK_SETTINGS; break;
    case W_SET_CONFIG: begin_config(s); break;
    case W_TEMP:
      if (makes_temporary(s)) s->pending |= LPH_MARK_TEMP;
      break;
    case W_DROP: /* ON COMMIT DROP */
      if (s->last == W_COMMIT && s->before == W_ON) s->pending &= ~(unsigned)LPH_MARK_TEMP;
      break;
    case W_EXECUTE:
      if (s->body) s->marks |= LPH_MARKS_DOUBT; /* the text it runs is made as it goes */
      break;
    default: break;
  }
}

static void take(scan *s, word w) {
  if (w == W_CLOSE) s->depth--;
  if (s->count == 0) {
    begin_statement(s, w);
  } else {
    follow_statement(s, w);
  }
  if (w == W_OPEN) s->depth++;
  if (s->config.open) follow_config(s, w);
  notice(s, w);
  s->before = s->last;
  s->last = w;
  s->count++;
  if (s->body && (w == W_BEGIN || w == W_THEN || w == W_ELSE || w == W_LOOP)) end_statement(s);
}

/* ---- tokens ---------------------------------------------------------------------------------------------- */

static bool begins_name(char c) {
  unsigned char u = (unsigned char)c;
  return (u >= 'a' && u <= 'z') || (u >= 'A' && u <= 'Z') || u == '_' || u >= 0x80;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool next_is(const scan *s, char c) { return s->end - s->p > 1 && s->p[1] == c; }

static word find_word(lph_bytes b) {
  unsigned letter = (unsigned char)(b.data[0] | 0x20) - (unsigned)'a';
  if (b.len < 2 || letter >= 26) return W_OTHER;
  for (const struct entry *e = words[letter]; e->text != NULL; e++)
    if (is_text(b, e->text)) return e->word;
  return W_OTHER;
}

static bool is_pg_temp(lph_bytes b) { return b.len >= 7 && strncasecmp(b.data, "pg_temp", 7) == 0; }

/* Doubled, the quote stands for itself. Answers what is inside and goes behind the end. */
static lph_bytes read_quoted(scan *s, char quote, bool escapes) {
  const char *from = ++s->p;
  for (; s->p < s->end; s->p++) {
    if (*s->p == '\\' && quote == '\'') {
      if (escapes) {
        if (s->end - s->p > 1) s->p++;
      } else if (next_is(s, '\'')) {
        /* With standard_conforming_strings = off the literal would go on: anything may follow. */
        s->marks |= LPH_MARKS_DOUBT;
      }
    } else if (*s->p == quote) {
      if (!next_is(s, quote)) break;
      s->p++;
    }
  }
  lph_bytes inside = {from, (size_t)(s->p - from)};
  if (s->p < s->end) s->p++;
  return inside;
}

static void read_literal(scan *s, bool escapes) {
  s->string = read_quoted(s, '\'', escapes);
  s->dollar = false;
  take(s, W_STRING);
}

static void read_quoted_name(scan *s) {
  lph_bytes name = read_quoted(s, '"', false);
  word w = name.len > 0 ? find_word(name) : W_OTHER;
  if (is_pg_temp(name)) s->marks |= LPH_MARK_TEMP;
  take(s, w >= W_PLPGSQL ? w : W_OTHER);
}

static void read_name(scan *s) {
  const char *from = s->p;
  while (s->p < s->end && (begins_name(*s->p) || is_digit(*s->p) || *s->p == '$')) s->p++;
  lph_bytes name = {from, (size_t)(s->p - from)};
  if (name.len == 1 && s->p < s->end) {
    if ((*from | 0x20) == 'e' && *s->p == '\'') {
      read_literal(s, true);
      return;
    }
    /* U&"..." can write any name in numbers. */
    if ((*from | 0x20) == 'u' && *s->p == '&' && next_is(s, '"')) s->marks |= LPH_MARKS_DOUBT;
  }
  if (is_pg_temp(name)) s->marks |= LPH_MARK_TEMP;
  take(s, find_word(name));
}

/* $tag$ ... $tag$, or a parameter, or a symbol */
static void read_dollar(scan *s) {
  const char *p = s->p + 1;
  if (p < s->end && begins_name(*p))
    while (p < s->end && (begins_name(*p) || is_digit(*p))) p++;
  if (p == s->end || *p != '$') {
    int number = 0;
    for (s->p++; s->p < s->end && is_digit(*s->p); s->p++)
      if (number < 1000000) number = number * 10 + (*s->p - '0');
    if (number > s->highest) s->highest = number;
    take(s, W_SYMBOL);
    return;
  }
  size_t tag = (size_t)(++p - s->p);
  const char *close = memmem(p, (size_t)(s->end - p), s->p, tag);
  if (close == NULL) close = s->end;
  s->string = (lph_bytes){p, (size_t)(close - p)};
  s->dollar = true;
  s->p = close == s->end ? close : close + tag;
  take(s, W_STRING);
}

static void skip_line(scan *s) {
  while (s->p < s->end && *s->p != '\n' && *s->p != '\r') s->p++;
}

static void skip_comment(scan *s) {
  int open = 0;
  while (s->p < s->end) {
    if (*s->p == '/' && next_is(s, '*')) {
      s->p += 2;
      open++;
    } else if (*s->p == '*' && next_is(s, '/')) {
      s->p += 2;
      if (--open == 0) return;
    } else {
      s->p++;
    }
  }
}

static void read_symbol(scan *s) {
  char c = *s->p++;
  switch (c) {
    case ';': end_statement(s); break;
    case '(': take(s, W_OPEN); break;
    case ')': take(s, W_CLOSE); break;
    case ',': take(s, W_COMMA); break;
    case '.': take(s, W_DOT); break;
    default:
      take(s, W_SYMBOL);
      if (c == '>' && s->body) end_statement(s); /* a label may have ended */
  }
}

static void read_all(scan *s) {
  while (s->p < s->end) {
    char c = *s->p;
    if (is_space(c)) {
      s->p++;
    } else if (begins_name(c)) {
      read_name(s);
    } else if (is_digit(c)) {
      while (s->p < s->end && is_digit(*s->p)) s->p++;
      take(s, W_OTHER);
    } else if (c == '\'') {
      read_literal(s, false);
    } else if (c == '"') {
      read_quoted_name(s);
    } else if (c == '$') {
      read_dollar(s);
    } else if (c == '-' && next_is(s, '-')) {
      skip_line(s);
    } else if (c == '/' && next_is(s, '*')) {
      skip_comment(s);
    } else {
      read_symbol(s);
    }
  }
  end_statement(s);
}

static bool speaks_of(lph_bytes sql, const char *what) {
  size_t len = strlen(what);
  for (size_t i = 0; i + len <= sql.len; i++)
    if (strncasecmp(sql.data + i, what, len) == 0) return true;
  return false;
}

unsigned lph_marks_of(lph_bytes sql, int *highest) {
  scan s = {.p = sql.data, .end = sql.data + sql.len};
  read_all(&s);
  /* The value of a setting may stand in a literal. */
  if (s.touches_settings && speaks_of(sql, "search_path")) s.marks |= LPH_MARK_NAMES;
  if (s.touches_settings && speaks_of(sql, "pg_temp")) s.marks |= LPH_MARK_TEMP;
  if (highest != NULL) *highest = s.highest;
  return s.marks;
}
