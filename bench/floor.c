/* floor.c - the least a client can do: plain C over libpq, text results, every value touched, nothing built.
 *
 * Every contender is measured against this program, in the same run. It makes the same protocol calls on the same
 * data. It keeps glibc from giving memory back to the kernel after each large result (M_TRIM_THRESHOLD), as
 * that would measure page faults and not the client.
 *
 *   floor <question> <operations> <url> <sql>   prints "CPU-seconds wall-seconds units check"
 *   floor --probe                               prints versions
 *
 * SPDX-License-Identifier: MIT */
#include <libpq-fe.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static PGconn *conn;
static const char *sql;
static volatile unsigned touched; /* what keeps the compiler from leaving the touching out */

static void die(const char *what) {
  fprintf(stderr, "floor: %s: %s\n", what, PQerrorMessage(conn));
  exit(1);
}

static PGresult *expect(PGresult *res, ExecStatusType status) {
  if (PQresultStatus(res) != status) die(sql);
  return res;
}

/* ---- clocks ------------------------------------------------------------------------------------------------ */

/* Finer than getrusage: a few operations of a question that sends nothing take less than a microsecond. */
static double cpu_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double wall_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- operations --------------------------------------------------------------------------------------------- */

static int key_of(long i, int keys) { return (int)(i * 7919 % keys) + 1; }

static long touch(const PGresult *res) {
  int rows = PQntuples(res), columns = PQnfields(res);
  unsigned sum = 0;
  for (int row = 0; row < rows; row++) {
    for (int column = 0; column < columns; column++) {
      int length = PQgetlength(res, row, column);
      if (length == 0 && PQgetisnull(res, row, column)) continue;
      sum += (unsigned)length + (unsigned char)PQgetvalue(res, row, column)[0];
    }
  }
  touched += sum;
  return rows;
}

/* Decimal digits by hand: snprintf would be a third of the client's work. */
static const char *digits(char out[16], int value) {
  char *p = out + 15;
  *p = '\0';
  do *--p = (char)('0' + value % 10);
  while ((value /= 10) > 0);
  return p;
}

static PGresult *ask_key(int key, int prepared) {
  char text[16];
  const char *values[1] = {digits(text, key)};
  int length = (int)strlen(values[0]);
  return prepared ? PQexecPrepared(conn, "s", 1, values, &length, NULL, 0)
                  : PQexecParams(conn, sql, 1, NULL, values, &length, NULL, 0);
}

static long by_key(long n, int keys, int prepared) {
  long units = 0;
  for (long i = 1; i <= n; i++) {
    PGresult *res = expect(ask_key(key_of(i, keys), prepared), PGRES_TUPLES_OK);
    units += touch(res);
    PQclear(res);
  }
  return units;
}

static long whole(long n) {
  long units = 0;
  for (long i = 0; i < n; i++) {
    PGresult *res = expect(PQexecPrepared(conn, "s", 0, NULL, NULL, NULL, 0), PGRES_TUPLES_OK);
    units += touch(res);
    PQclear(res);
  }
  return units;
}

static long streamed(long n) {
  long units = 0;
  for (long i = 0; i < n; i++) {
    if (!PQsendQueryPrepared(conn, "s", 0, NULL, NULL, NULL, 0) || !PQsetSingleRowMode(conn)) die("stream");
    PGresult *res;
    while ((res = PQgetResult(conn)) != NULL) {
      if (PQresultStatus(res) != PGRES_SINGLE_TUPLE) expect(res, PGRES_TUPLES_OK);
      units += touch(res);
      PQclear(res);
    }
  }
  return units;
}

/* In kB; 0 where /proc does not tell. The same as meter.lua's. */
static long peak_memory(int reset) {
  FILE *file = fopen(reset ? "/proc/self/clear_refs" : "/proc/self/status", reset ? "w" : "r");
  char line[128];
  long peak = 0;
  if (file == NULL) return 0;
  if (reset) fputs("5", file);
  while (!reset && fgets(line, sizeof line, file) != NULL) sscanf(line, "VmHWM: %ld", &peak);
  fclose(file);
  return peak;
}

static long inserts(long n) {
  static char names[1000][32];
  for (int i = 0; i < 1000; i++) snprintf(names[i], sizeof names[i], "event number %d", i);
  PQclear(expect(PQexec(conn, "begin"), PGRES_COMMAND_OK));
  for (long i = 1; i <= n; i++) {
    char id[16], whole[16], amount[32];
    strcat(strcpy(amount, digits(whole, (int)i)), ".25");
    const char *values[3] = {digits(id, (int)i), names[i % 1000], amount};
    PQclear(expect(PQexecPrepared(conn, "s", 3, values, NULL, NULL, 0), PGRES_COMMAND_OK));
  }
  PQclear(expect(PQexec(conn, "commit"), PGRES_COMMAND_OK));
  return n;
}

static void wait_for(short events) {
  struct pollfd p = {PQsocket(conn), events, 0};
  poll(&p, 1, -1);
}

/* Takes the answers that are there; the number of them that told of a row. */
static long take_answers(int *synced) {
  long rows = 0;
  if (!PQconsumeInput(conn)) die("consume");
  for (int nulls = 0; nulls < 2 && !PQisBusy(conn);) {
    PGresult *res = PQgetResult(conn);
    nulls = res == NULL ? nulls + 1 : 0;
    if (res == NULL) continue;
    if (PQresultStatus(res) == PGRES_PIPELINE_SYNC) {
      *synced = 1;
    } else {
      expect(res, PGRES_COMMAND_OK);
      rows += atol(PQcmdTuples(res));
    }
    PQclear(res);
    if (*synced) break;
  }
  return rows;
}

static void flush_all(long *rows, int *synced) {
  while (PQflush(conn) > 0) {
    wait_for(POLLIN | POLLOUT);
    *rows += take_answers(synced);
  }
}

/* Bind and Execute of all of them before one Sync; answers are taken every 256, as is what the socket does not take. */
static long inserts_batched(long n) {
  static char names[1000][32];
  long rows = 0;
  int synced = 0;
  for (int i = 0; i < 1000; i++) snprintf(names[i], sizeof names[i], "event number %d", i);
  PQsetnonblocking(conn, 1);
  PQenterPipelineMode(conn);
  for (long i = 1; i <= n; i++) {
    char id[16], whole[16], amount[32];
    strcat(strcpy(amount, digits(whole, (int)i)), ".25");
    const char *values[3] = {digits(id, (int)i), names[i % 1000], amount};
    if (!PQsendQueryPrepared(conn, "s", 3, values, NULL, NULL, 0)) die("send");
    if (i % 256 != 0) continue;
    PQsendFlushRequest(conn);
    flush_all(&rows, &synced);
    rows += take_answers(&synced);
  }
  PQpipelineSync(conn);
  flush_all(&rows, &synced);
  while (!synced) {
    rows += take_answers(&synced);
    if (!synced) wait_for(POLLIN);
  }
  PQexitPipelineMode(conn);
  PQsetnonblocking(conn, 0);
  return rows;
}

/* One array for each column, 1000 rows in a statement, one after the other in a transaction. */
static long inserts_bulk(long n) {
  enum { ROWS = 1000 };
  static char names[1000][32], lists[3][ROWS * 40];
  for (int i = 0; i < 1000; i++) snprintf(names[i], sizeof names[i], "event number %d", i);
  PQclear(expect(PQexec(conn, "begin"), PGRES_COMMAND_OK));
  for (long i = 1; i <= n;) {
    char *at[3] = {lists[0], lists[1], lists[2]}, number[16];
    long last = i + ROWS - 1 < n ? i + ROWS - 1 : n;
    for (char separator = '{'; i <= last; i++, separator = ',') {
      for (int c = 0; c < 3; c++) *at[c]++ = separator;
      const char *id = digits(number, (int)i);
      at[0] = stpcpy(at[0], id);
      *at[1]++ = '"';
      at[1] = stpcpy(at[1], names[i % 1000]);
      *at[1]++ = '"';
      at[2] = stpcpy(stpcpy(at[2], id), ".25");
    }
    for (int c = 0; c < 3; c++) strcpy(at[c], "}");
    const char *values[3] = {lists[0], lists[1], lists[2]};
    PQclear(expect(PQexecPrepared(conn, "s", 3, values, NULL, NULL, 0), PGRES_COMMAND_OK));
  }
  PQclear(expect(PQexec(conn, "commit"), PGRES_COMMAND_OK));
  return n;
}

static void put_piece(const char *piece, size_t len) {
  if (PQputCopyData(conn, piece, (int)len) != 1) die("PQputCopyData");
}

static long copy_in(long n) {
  static char names[1000][32], piece[65536 + 128];
  size_t lengths[1000], len = 0;
  for (int i = 0; i < 1000; i++)
    lengths[i] = (size_t)snprintf(names[i], sizeof names[i], "event number %d", i);
  PQclear(expect(PQexec(conn, sql), PGRES_COPY_IN));
  for (long i = 1; i <= n; i++) {
    char whole[16];
    const char *id = digits(whole, (int)i);
    size_t id_len = (size_t)(whole + 15 - id), name_len = lengths[i % 1000];
    char *p = piece + len;
    memcpy(p, id, id_len);
    p += id_len;
    *p++ = '\t';
    memcpy(p, names[i % 1000], name_len);
    p += name_len;
    *p++ = '\t';
    memcpy(p, id, id_len);
    p += id_len;
    memcpy(p, ".25\n", 4);
    len = (size_t)(p + 4 - piece);
    if (len < 65536) continue;
    put_piece(piece, len);
    len = 0;
  }
  put_piece(piece, len);
  if (PQputCopyEnd(conn, NULL) != 1) die("PQputCopyEnd");
  PQclear(expect(PQgetResult(conn), PGRES_COMMAND_OK));
  PQclear(PQgetResult(conn));
  return n;
}

static long copy_out(long n) {
  char query[256], text[300], *line;
  long units = 0;
  int len;
  snprintf(query, sizeof query, sql, (int)n);
  snprintf(text, sizeof text, "copy (%s) to stdout", query);
  PQclear(expect(PQexec(conn, text), PGRES_COPY_OUT));
  for (; (len = PQgetCopyData(conn, &line, 0)) > 0; units++) {
    touched += (unsigned)len;
    PQfreemem(line);
  }
  PQclear(expect(PQgetResult(conn), PGRES_COMMAND_OK));
  PQclear(PQgetResult(conn));
  return units;
}

static long transactions(long n) {
  for (long i = 1; i <= n; i++) {
    PQclear(expect(PQexec(conn, "begin"), PGRES_COMMAND_OK));
    PQclear(expect(ask_key(key_of(i, 10000), 1), PGRES_COMMAND_OK));
    PQclear(expect(PQexec(conn, "commit"), PGRES_COMMAND_OK));
  }
  return n;
}

/* What a pool does at the very least. */
static long borrowings(long n) {
  PGconn *idle[4] = {conn};
  int count = 1;
  long units = 0;
  for (long i = 0; i < n; i++) {
    PGconn *one = idle[--count];
    if (PQstatus(one) == CONNECTION_OK && PQtransactionStatus(one) == PQTRANS_IDLE) units++;
    idle[count++] = one;
  }
  return units;
}

static long run(const char *question, long n) {
  if (strcmp(question, "acquire_release") == 0) return borrowings(n);
  if (strncmp(question, "transaction", 11) == 0) return transactions(n);
  if (strcmp(question, "inserts") == 0) return inserts(n);
  if (strcmp(question, "inserts_batched") == 0) return inserts_batched(n);
  if (strcmp(question, "inserts_bulk") == 0) return inserts_bulk(n);
  if (strcmp(question, "copy_in") == 0) return copy_in(n);
  if (strncmp(question, "copy_out", 8) == 0) return copy_out(n);
  if (strcmp(question, "int4_array") == 0) return by_key(n, 1000, 1);
  if (strncmp(question, "stream_", 7) == 0) return streamed(n);
  if (strcmp(question, "same_text") == 0) return by_key(n, 10000, 0);
  if (strncmp(question, "tasks_", 6) == 0) return by_key(n, 10000, 1);
  if (strcmp(question, "one_row_prepared") == 0 || strcmp(question, "in_coroutine") == 0 ||
      strcmp(question, "small_row") == 0)
    return by_key(n, 10000, 1);
  return whole(n);
}

/* ---- what the values are, outside the timing ------------------------------------------------------------------ */

static void check_accounts(void) {
  long sum = 0;
  for (int key = 1; key <= 100; key++) {
    PGresult *res = expect(ask_key(key, 1), PGRES_TUPLES_OK);
    sum += atol(PQgetvalue(res, 0, 0));
    for (int column = 1; column < PQnfields(res); column++) sum += PQgetlength(res, 0, column);
    PQclear(res);
  }
  printf("%ld\n", sum);
}

static void check_arrays(void) {
  long long sum = 0;
  for (int key = 1; key <= 100; key++) {
    PGresult *res = expect(ask_key(key, 1), PGRES_TUPLES_OK);
    for (char *p = PQgetvalue(res, 0, 0); *p == '{' || *p == ',';) sum += strtoll(p + 1, &p, 10);
    PQclear(res);
  }
  printf("%lld\n", sum);
}

static void check_items(void) {
  PGresult *res = expect(PQexecPrepared(conn, "s", 0, NULL, NULL, NULL, 0), PGRES_TUPLES_OK);
  long long id = 0, big = 0, lengths = 0, active = 0;
  double ratio = 0, price = 0;
  for (int row = 0; row < PQntuples(res); row++) {
    id += atoll(PQgetvalue(res, row, 0));
    big += atoll(PQgetvalue(res, row, 1));
    lengths += PQgetlength(res, row, 2) + PQgetlength(res, row, 3);
    active += PQgetvalue(res, row, 4)[0] == 't';
    ratio += atof(PQgetvalue(res, row, 5));
    price += atof(PQgetvalue(res, row, 7));
  }
  printf("%lld/%lld/%lld/%lld/%.3f/%.2f\n", id, big, lengths, active, ratio, price);
  PQclear(res);
}

static void check(const char *question) {
  if (strncmp(question, "inserts", 7) == 0 || strcmp(question, "acquire_release") == 0 ||
      strncmp(question, "copy_", 5) == 0 || strncmp(question, "transaction", 11) == 0) {
    puts("-"); /* inserts: the harness looks into the table */
  } else if (strcmp(question, "int4_array") == 0) {
    check_arrays();
  } else if (strncmp(question, "rows_", 5) == 0 || strncmp(question, "stream_", 7) == 0 ||
             strcmp(question, "values_iterator") == 0) {
    check_items();
  } else {
    check_accounts();
  }
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--probe") == 0) {
    printf("libpq %d.%d\n", PQlibVersion() / 10000, PQlibVersion() % 10000);
    return 0;
  }
  if (argc != 5) {
    fputs("usage: floor <question> <operations> <url> <sql>\n", stderr);
    return 2;
  }
  mallopt(M_TRIM_THRESHOLD, 256 * 1024 * 1024);
  sql = argv[4];
  long n = atol(argv[2]);
  conn = PQconnectdb(argv[3]);
  if (PQstatus(conn) != CONNECTION_OK) die("connect");
  if (strncmp(argv[1], "copy_", 5) != 0)
    PQclear(expect(PQprepare(conn, "s", sql, 0, NULL), PGRES_COMMAND_OK));
  /* no rehearsal: it would leave rows */
  int writes = strncmp(argv[1], "inserts", 7) == 0 || strcmp(argv[1], "copy_in") == 0;
  if (!writes) run(argv[1], n / 10 + 1);
  peak_memory(1);
  long memory = peak_memory(0);
  double wall = wall_now(), cpu = cpu_now();
  long units = run(argv[1], n);
  cpu = cpu_now() - cpu;
  wall = wall_now() - wall;
  memory = peak_memory(0) - memory;
  printf("%ld %.9f %.9f %ld ", memory, cpu, wall, units);
  check(argv[1]);
  PQfinish(conn);
  return 0;
}
