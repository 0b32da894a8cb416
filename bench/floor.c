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
  if (strcmp(question, "int4_array") == 0) return by_key(n, 1000, 1);
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
  if (strcmp(question, "inserts") == 0 || strcmp(question, "acquire_release") == 0 ||
      strncmp(question, "transaction", 11) == 0) {
    puts("-"); /* inserts: the harness looks into the table */
  } else if (strcmp(question, "int4_array") == 0) {
    check_arrays();
  } else if (strncmp(question, "rows_", 5) == 0 || strcmp(question, "values_iterator") == 0) {
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
  PQclear(expect(PQprepare(conn, "s", sql, 0, NULL), PGRES_COMMAND_OK));
  int writes = strcmp(argv[1], "inserts") == 0; /* no rehearsal: it would leave rows */
  if (!writes) run(argv[1], n / 10 + 1);
  double wall = wall_now(), cpu = cpu_now();
  long units = run(argv[1], n);
  cpu = cpu_now() - cpu;
  wall = wall_now() - wall;
  printf("%.9f %.9f %ld ", cpu, wall, units);
  check(argv[1]);
  PQfinish(conn);
  return 0;
}
