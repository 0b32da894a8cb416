-- What does a small transaction cost: BEGIN, one UPDATE by key, COMMIT?
--
-- BEGIN travels with the first statement and COMMIT with the last: one round trip where the floor makes three.
-- SPDX-License-Identifier: MIT
return {
  order = 12,
  unit = "transaction",
  operations = 10000,
  sql = "update luphant_bench.account set balance = balance + 0 where id = $1",
  floor = "PQexec begin, PQexecPrepared, PQexec commit: three round trips",
}
