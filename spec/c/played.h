/* played.h - a session whose server the test plays, message by message.
 *
 * libpq and the core are the real ones; on the other end of a Unix socket stands the test, which reads what was sent
 * and answers with bytes made by hand. Nothing waits: what is sent is there when it is looked for. Include after
 * cmocka.h.
 *
 *   played p;
 *   played_open(&p);
 *   ... lph_batch_begin(&p.c, false) ...
 *   assert_string_equal(played_sent(&p), "BDEBDES");      the types of the messages, in order
 *   played_say(&p, '2', NULL, 0); played_complete(&p, "SELECT 1"); played_ready(&p, 'I');
 *   played_close(&p);
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SPEC_PLAYED_H
#define LPH_SPEC_PLAYED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/conn.h"

typedef struct played {
  lph_conn c;
  int listener, fd; /* the server's side */
  long blocks;      /* alive before it was opened */
  char dir[64];
  char types[65536]; /* of the messages that were read last */
  lph_buf in, out;   /* the last of them as bytes; what is to be said */
} played;

/* ---- what the server says; it goes out with played_flush ------------------------------------------------------ */

static inline void played_say(played *p, char type, const char *body, size_t len) {
  uint32_t size = (uint32_t)len + 4;
  char head[5] = {type, (char)(size >> 24), (char)(size >> 16), (char)(size >> 8), (char)size};
  assert_int_equal(lph_buf_add(&p->out, head, sizeof head), LPH_OK);
  assert_int_equal(lph_buf_add(&p->out, body, len), LPH_OK);
}

static inline void played_flush(played *p) {
  for (size_t done = 0; done < p->out.len;) {
    ssize_t n = send(p->fd, p->out.data + done, p->out.len - done, MSG_NOSIGNAL);
    assert_true(n > 0);
    done += (size_t)n;
  }
  lph_buf_clear(&p->out);
}

static inline void played_ready(played *p, char status) { played_say(p, 'Z', &status, 1); }

static inline void played_complete(played *p, const char *tag) { played_say(p, 'C', tag, strlen(tag) + 1); }

/* BindComplete, NoData and the tag: what INSERT is answered. */
static inline void played_done(played *p, const char *tag) {
  played_say(p, '2', NULL, 0);
  played_say(p, 'n', NULL, 0);
  played_complete(p, tag);
}

static inline void played_error(played *p, const char *severity, const char *sqlstate) {
  char body[128];
  int n = snprintf(body, sizeof body, "S%s%cV%s%cC%s%cMplayed%c", severity, 0, severity, 0, sqlstate, 0, 0);
  played_say(p, 'E', body, (size_t)n + 1);
}

/* One column of type text, and a row with it. */
static inline void played_text_row(played *p, const char *value, size_t len) {
  static const char columns[] = "\0\1t\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0";
  char head[6] = {0, 1, (char)(len >> 24), (char)(len >> 16), (char)(len >> 8), (char)len};
  lph_buf row = {0};
  played_say(p, '2', NULL, 0);
  played_say(p, 'T', columns, sizeof columns);
  assert_int_equal(lph_buf_add(&row, head, sizeof head), LPH_OK);
  assert_int_equal(lph_buf_add(&row, value, len), LPH_OK);
  played_say(p, 'D', row.data, row.len);
  lph_buf_free(&row);
  played_complete(p, "SELECT 1");
}

/* Sends what was said by pieces of `size` bytes; `look` is called behind each. */
static inline void played_in_pieces(played *p, size_t size, void (*look)(played *p, void *arg), void *arg) {
  lph_buf all = p->out;
  lph_buf_init(&p->out);
  for (size_t done = 0; done < all.len; done += size) {
    size_t n = all.len - done < size ? all.len - done : size;
    assert_int_equal(lph_buf_add(&p->out, all.data + done, n), LPH_OK);
    played_flush(p);
    look(p, arg);
  }
  lph_buf_free(&all);
}

/* Has more come than the steps so far have read? (One takes no more than its buffer holds.) */
static inline bool played_is_left(const played *p) {
  char byte;
  return p->c.state == LPH_BUSY && recv(PQsocket(p->c.pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* ---- what it is told ------------------------------------------------------------------------------------------- */

/* The types of all messages that have come and were not looked at yet; their bytes are in p->in. */
static inline const char *played_sent(played *p) {
  size_t count = 0;
  lph_buf_clear(&p->in);
  for (;;) {
    char piece[8192];
    ssize_t n = recv(p->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n <= 0) break;
    assert_int_equal(lph_buf_add(&p->in, piece, (size_t)n), LPH_OK);
  }
  for (size_t at = 0; at + 5 <= p->in.len; at += lph_get_u32(p->in.data + at + 1) + 1) {
    assert_true(count + 1 < sizeof p->types);
    p->types[count++] = p->in.data[at];
  }
  p->types[count] = '\0';
  return p->types;
}

/* Does it stand in what came last? */
static inline bool played_heard(const played *p, const char *text) {
  return p->in.len > 0 && memmem(p->in.data, p->in.len, text, strlen(text)) != NULL;
}

/* ---- beginning and end ----------------------------------------------------------------------------------------- */

static inline void played_login(played *p) {
  char packet[1024];
  assert_true(recv(p->fd, packet, sizeof packet, 0) > 0);
  played_say(p, 'R', "\0\0\0\0", 4);
  played_say(p, 'S', "client_encoding\0UTF8", 21);
  played_say(p, 'S', "server_version\00015.0", 20);
  played_say(p, 'K', "\0\0\0\1\0\0\0\2", 8);
  played_ready(p, 'I');
  played_flush(p);
}

static inline void played_open(played *p) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  memset(p, 0, sizeof *p);
  p->blocks = lph_mem_live();
  snprintf(p->dir, sizeof p->dir, "/tmp/played.XXXXXX");
  assert_non_null(mkdtemp(p->dir));
  snprintf(name.sun_path, sizeof name.sun_path, "%s/.s.PGSQL.5432", p->dir);
  p->listener = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(p->listener, (struct sockaddr *)&name, sizeof name), 0);
  assert_int_equal(listen(p->listener, 1), 0);
  const char *keywords[] = {"host", "port", "user", "dbname", "sslmode", "gssencmode", NULL};
  const char *values[] = {p->dir, "5432", "app", "app", "disable", "disable", NULL};
  lph_dial_options options = {
    .keywords = keywords, .values = values, .connect_timeout = 10, .attempt_timeout = -1};
  lph_conn_init(&p->c);
  assert_int_equal(lph_stmts_init(&p->c.stmts, 100, 1 << 20), LPH_OK);
  p->c.types = lph_typemap_new();
  assert_int_equal(lph_conn_dial(&p->c, &options), LPH_OK);
  p->fd = accept(p->listener, NULL, NULL);
  assert_true(p->fd >= 0);
  played_login(p);
  lph_want want;
  while ((want = lph_conn_step(&p->c)) == LPH_WANT_READ) usleep(500);
  assert_int_equal(want, LPH_DONE);
  assert_int_equal(p->c.state, LPH_IDLE);
  unlink(name.sun_path);
  rmdir(p->dir);
}

/* The server goes away. */
static inline void played_hang_up(played *p) {
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
}

/* And everything is given back. */
static inline void played_close(played *p) {
  lph_conn_close(&p->c);
  lph_conn_clear(&p->c);
  played_hang_up(p);
  close(p->listener);
  lph_buf_free(&p->in);
  lph_buf_free(&p->out);
  for (int i = 0; i < 2000 && lph_mem_live() != p->blocks; i++) usleep(500); /* the thread that dialled */
  assert_int_equal(lph_mem_live(), p->blocks);
}

/* A statement without parameters and columns that the server is said to know. */
static inline lph_stmt *played_statement(played *p, const char *sql) {
  lph_stmt *stmt = lph_stmts_get(&p->c.stmts, (lph_bytes){sql, strlen(sql)}, NULL, 0);
  PGresult *description = PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
  assert_non_null(stmt);
  assert_int_equal(lph_stmts_rename(&p->c.stmts, stmt), LPH_OK);
  assert_int_equal(lph_stmts_describe(&p->c.stmts, stmt, description), LPH_OK);
  PQclear(description);
  lph_stmts_bind(&p->c.stmts, stmt, p->c.types, NULL, 0);
  return stmt;
}

#endif
